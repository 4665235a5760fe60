"""The budget rule: what a call may cost is held back in every budget that covers it before it goes.

The budgets are read once for all calls of a transaction, within it: any number of processes never
pass a limit together.
"""

from collections.abc import Sequence

from msgspec import Struct

from omni_cli.domain.batch import Lease, Opening
from omni_cli.domain.bounds import fitting, over_maximum, worst_nusd
from omni_cli.domain.budgets import Budget, BudgetStatus, refusal
from omni_cli.domain.errors import OmniError, UnknownPrice
from omni_cli.domain.ledger import NewRequest
from omni_cli.store.budgets import BudgetStore, resets_at
from omni_cli.store.port import Connection

_RESERVE = """
UPDATE budget_periods SET reserved_nusd = reserved_nusd + ? WHERE budget = ? AND start_at = ?
"""
#: What a budget may be about, as ``Budget.covers`` names it.
_SCOPES = ("provider", "model", "role", "agent", "org", "key", "session", "project")


class _Room(Struct):
    """A budget's period as this transaction sees it. ``left_nusd``: less what it has granted."""

    status: BudgetStatus
    left_nusd: int
    lease: Lease
    granted_nusd: int = 0

    def grant(self, nusd: int) -> Lease:
        self.left_nusd -= nusd
        self.granted_nusd += nusd
        return self.lease


class _Cover(Struct):
    """The periods that cover calls of one scope which began in ``[start_at, end_at)``.
    ``knowing``: a budget among them that takes no call of an unknown price."""

    rooms: list[_Room]
    start_at: int
    end_at: int
    knowing: Budget | None

    def tightest(self) -> _Room | None:
        rooms = self.rooms
        return rooms[0] if len(rooms) == 1 else min(rooms, key=_left, default=None)


#: Of a call that no budget covers.
_NONE = _Cover([], 0, 0, None)


class Leases:
    """Grants the leases of one transaction."""

    def __init__(self, budgets: BudgetStore) -> None:
        self._budgets = budgets
        self._enabled: Sequence[Budget] | None = None
        self._rooms: dict[tuple[int, int], _Room] = {}
        self._covers: dict[tuple[str, ...], _Cover] = {}

    def enabled(self) -> Sequence[Budget]:
        """The budgets that are kept, as this transaction sees them."""
        if self._enabled is None:
            self._enabled = self._budgets.enabled()
        return self._enabled

    def grant(self, opening: Opening) -> OmniError | None:
        """Reserve the worst case in every budget that covers it; the error when one cannot."""
        if opening.budgets:  # it was asked for before, and is judged anew
            opening.each = opening.output_bound = opening.most_out = None
            opening.held_nusd, opening.room_nusd, opening.leases = 0, None, ()
        opening.budgets = budgets = self.enabled()
        cover = _NONE
        if budgets:
            cover = self._cover_of(opening.provider, opening.model, opening.request)
        rooms, price, most = cover.rooms, opening.price, opening.most
        limited = bool(rooms) or opening.ceiling_nusd is not None
        if price is not None and price.state == "free":
            opening.leases = tuple([room.grant(0) for room in rooms])
            return None
        try:
            if price is None or most is None or price.state == "unknown":
                raise UnknownPrice("")
            if isinstance(most, OmniError):
                raise most
            need = worst_nusd(most, price, most.each)
        except UnknownPrice:
            error = _unknown(opening.model, cover, opening.ceiling_nusd is not None)
            tightest = cover.tightest()
            # What costs nothing passes an overspent budget; what costs nobody knows what does not.
            if error is None and tightest is not None and tightest.left_nusd < 0:
                error = _refused(tightest, 0, "")
            if error is None:
                opening.leases = tuple([room.grant(0) for room in rooms])
            return error
        except OmniError as exc:
            return exc if limited else None
        opening.most_out = most.each * most.choices + most.beside
        if not limited:
            opening.held_nusd = need
            return None
        tightest = cover.tightest()
        left = opening.ceiling_nusd
        if tightest is not None and (left is None or tightest.left_nusd <= left):
            left = tightest.left_nusd
        else:
            tightest = None
        each = most.each
        if need and left is not None and need > left:
            each = fitting(most, price, left)
            if not each:
                if tightest is not None:
                    return _refused(tightest, need, most.why)
                ceiling, whole = opening.ceiling_nusd or 0, opening.ceiling_of_nusd
                return over_maximum(opening.model, need, ceiling, whole, most.why)
            need, opening.room_nusd = worst_nusd(most, price, each), left
        opening.held_nusd = need
        if most.each:
            opening.each, opening.output_bound = each, each * most.choices
        opening.leases = tuple([room.grant(need) for room in rooms])
        return None

    def hold(
        self, request: NewRequest, provider: str, model: str, need_nusd: int | None
    ) -> OmniError | None:
        """Reserve what a part of a batch may cost, all of it or nothing; the error when a budget
        cannot.

        Args:
            need_nusd: None where its price is unknown.
        """
        cover = self._cover_of(provider, model, request) if self.enabled() else _NONE
        tightest = cover.tightest()
        if need_nusd is None:
            error = _unknown(model, cover, ceiling=False)
            if error is not None:
                return error
        need = need_nusd or 0
        over = tightest is not None and need > tightest.left_nusd
        if tightest is not None and over and (need or need_nusd is None):
            return _refused(tightest, need, "")
        for room in cover.rooms:
            room.grant(need)
        return None

    def covered(self, request: NewRequest, provider: str, model: str) -> bool:
        """Whether any budget covers it."""
        return bool(self.enabled()) and bool(self._cover_of(provider, model, request).rooms)

    def reserve(self, db: Connection) -> None:
        """Hold back what was granted."""
        rows = [
            (room.granted_nusd, room.status.budget.id, room.status.start_at)
            for room in self._rooms.values()
            if room.granted_nusd
        ]
        if rows:
            db.executemany(_RESERVE, rows)

    def _cover_of(self, provider: str, model: str, new: NewRequest) -> _Cover:
        scope = (
            provider,
            model,
            new.role,
            new.agent,
            new.org,
            new.key,
            new.session,
            new.project,
        )
        cover = self._covers.get(scope)
        if cover is None or not cover.start_at <= new.created_at < cover.end_at:
            cover = self._covers[scope] = self._cover(scope, new.created_at)
        return cover

    def _cover(self, scope: tuple[str, ...], at_ms: int) -> _Cover:
        named = dict(zip(_SCOPES, scope, strict=True))
        covering = [budget for budget in self.enabled() if budget.covers(**named)]
        cover = _Cover([], 0, at_ms + 1, None)
        for budget in covering:
            room = self._room(budget, at_ms)
            status = room.status
            end_at = min(cover.end_at, status.end_at) if cover.rooms else status.end_at
            cover.rooms.append(room)
            cover.start_at, cover.end_at = max(cover.start_at, status.start_at), end_at
            if not budget.allow_unknown and cover.knowing is None:
                cover.knowing = budget
        return cover

    def _room(self, budget: Budget, at_ms: int) -> _Room:
        status = self._budgets.status_within(budget, at_ms)
        key = budget.id, status.start_at
        lease = Lease(budget, status.start_at, status.end_at if budget.rollover else 0)
        return self._rooms.setdefault(key, _Room(status, status.left_nusd, lease))


def _left(room: _Room) -> int:
    return room.left_nusd


def _refused(room: _Room, need: int, why: str) -> OmniError:
    return refusal(room.status, need, resets_at(room.status), why)


def _unknown(model: str, cover: _Cover, ceiling: bool) -> OmniError | None:
    """A call of unknown price: refused, or let pass uncounted."""
    if cover.knowing is None and not ceiling:
        return None
    whose = "a maximum cost" if ceiling or cover.knowing is None else f"the {cover.knowing.label}"
    lets = (
        ""
        if ceiling
        else (" sets it; omni budgets add ... --allow-unknown lets such calls pass uncounted")
    )
    return UnknownPrice(
        f"the price of {model} is unknown, so {whose} cannot hold it",
        hint=f"omni models price {model} --price-in USD --price-out USD{lets}",
    )
