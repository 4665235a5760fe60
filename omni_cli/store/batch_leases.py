"""Granting the budget leases of a batch: the budgets are read once for all of them, within the
transaction, so that any number of processes never pass a limit together."""

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from omni_cli.domain.bounds import Most, fitting, over_maximum, worst_nusd
from omni_cli.domain.budgets import Budget, BudgetStatus, refusal
from omni_cli.domain.errors import BudgetExceeded, OmniError, UnknownPrice
from omni_cli.domain.ledger import NewRequest
from omni_cli.domain.pricing import Price
from omni_cli.store.batch_ledger import SCOPES, Lease
from omni_cli.store.budgets import BudgetStore, resets_at
from omni_cli.store.connection import Store

_RESERVE = """
UPDATE budget_periods SET reserved_nusd = reserved_nusd + ? WHERE budget = ? AND start_at = ?
"""


@dataclass(slots=True)
class Opening:
    """An attempt that is about to be sent, and its request's row when it is the first.

    ``most()`` bounds its tokens, and may raise any OmniError: where money is limited, the call must
    not be sent. ``ceiling_nusd``: what its request may still cost of the maximum
    ``ceiling_of_nusd``, None for none. ``slots`` is the most attempts that may be under way at its
    provider, None without a limit. After the write, one of these holds: ``error`` (it must not be
    sent), ``full`` (it waits for a slot with the ``ticket`` that it was given; ask again when one
    may be free), or ``committed``: it may go, and costs ``held_nusd`` at most. Where money is
    limited, it has ``output_bound`` tokens of answer then, ``each`` of every choice. ``opened``:
    the request's row is written. ``named``: its caller named the model, so that once it is sent
    nothing is kept of the decision.
    """

    request: NewRequest
    n: int
    model: str
    provider: str
    started_at: int
    input_estimate: int
    most: Callable[[], Most]
    slots: int | None
    price_id: int | None = None
    price: Price | None = None
    ceiling_nusd: int | None = None
    ceiling_of_nusd: int = 0
    decision: bytes | None = None
    named: bool = False
    output_bound: int | None = None
    each: int | None = None
    #: Tokens of answer that it can have at most, limited or not; None where nobody knows.
    most_out: int | None = None
    opened: bool = False
    committed: bool = False
    full: bool = False
    ticket: int | None = None
    waited_ms: int = 0
    error: OmniError | None = None
    #: What it may cost at most: its row holds it, also where no budget covers it yet.
    held_nusd: int = 0
    leases: tuple[Lease, ...] = ()
    #: The budgets that were kept when it was granted.
    budgets: Sequence[Budget] = ()


class BudgetList:
    """The enabled budgets as one transaction sees them, read once."""

    #: The rows that were read last, and what was made of them: they seldom change.
    _last: ClassVar[tuple[list[object], list[Budget]]] = ([], [])

    def __init__(self, store: Store, budgets: BudgetStore) -> None:
        self._store = store
        self._budgets = budgets
        self._found: list[Budget] | None = None

    def enabled(self) -> list[Budget]:
        if self._found is None:
            cursor = self._store.db.cursor()
            cursor.row_factory = None
            rows = cursor.execute("SELECT * FROM budgets WHERE enabled = 1").fetchall()
            if rows != BudgetList._last[0]:
                BudgetList._last = rows, [b for b in self._budgets.all() if b.enabled]
            self._found = BudgetList._last[1]
        return self._found


@dataclass(slots=True)
class _Room:
    """A budget's period as this transaction sees it. ``left_nusd``: less what it has granted."""

    status: BudgetStatus
    left_nusd: int
    lease: Lease
    granted_nusd: int = 0

    def grant(self, nusd: int) -> Lease:
        self.left_nusd -= nusd
        self.granted_nusd += nusd
        return self.lease


@dataclass(slots=True)
class _Cover:
    """The periods that cover calls of one scope which began in ``[start_at, end_at)``.
    ``knowing``: a budget among them that takes no call of an unknown price."""

    rooms: list[_Room]
    start_at: int
    end_at: int
    knowing: Budget | None


#: Of a call that no budget covers.
_NONE = _Cover([], 0, 0, None)


class Leases:
    """Grants the leases of one transaction."""

    def __init__(self, budgets: BudgetStore, all_budgets: BudgetList) -> None:
        self._budgets = budgets
        self._all = all_budgets
        self._rooms: dict[tuple[int, int], _Room] = {}
        self._covers: dict[tuple[str, ...], _Cover] = {}

    def grant(self, opening: Opening) -> OmniError | None:
        """Reserve the worst case in every budget that covers it; the error when one cannot."""
        opening.budgets = budgets = self._all.enabled()
        cover = self._cover_of(opening) if budgets else _NONE
        rooms, price = cover.rooms, opening.price
        limited = bool(rooms) or opening.ceiling_nusd is not None
        opening.each = opening.output_bound = opening.most_out = None
        opening.held_nusd = 0
        if price is not None and price.state == "free":
            opening.leases = tuple([room.grant(0) for room in rooms])
            return None
        try:
            if price is None or price.state == "unknown":
                raise UnknownPrice("")
            most = opening.most()
            need = worst_nusd(most, price, most.each)
        except UnknownPrice:
            return self._unknown(opening, cover)
        except OmniError as exc:
            return exc if limited else None
        except Exception as exc:  # noqa: BLE001  # one caller's body must not cost others theirs
            return OmniError(f"unexpected {type(exc).__name__} while its cost was worked out")
        opening.most_out = most.each * most.choices + most.beside
        if not limited:
            opening.held_nusd = need
            return None
        tightest = rooms[0] if len(rooms) == 1 else min(rooms, key=_left, default=None)
        left = opening.ceiling_nusd
        if tightest is not None and (left is None or tightest.left_nusd <= left):
            left = tightest.left_nusd
        else:
            tightest = None
        each = most.each
        if need and left is not None and need > left:
            each = fitting(most, price, left)
            if not each:
                return self._short(opening, tightest, need, most.why)
            need = worst_nusd(most, price, each)
        opening.held_nusd = need
        if most.each:
            opening.each, opening.output_bound = each, each * most.choices
        opening.leases = tuple([room.grant(need) for room in rooms])
        return None

    def _cover_of(self, opening: Opening) -> "_Cover":
        new = opening.request
        scope = (opening.provider, opening.model, new.role, new.agent, new.org, new.key)
        cover = self._covers.get(scope)
        if cover is None or not cover.start_at <= new.created_at < cover.end_at:
            cover = self._covers[scope] = self._cover(scope, new.created_at)
        return cover

    def _unknown(self, opening: Opening, cover: "_Cover") -> OmniError | None:
        """A call of unknown price: refused, or let pass uncounted."""
        whose = None if cover.knowing is None else f"the {cover.knowing.label}"
        if opening.ceiling_nusd is not None:
            whose = "a maximum cost"
        if whose is not None:
            return UnknownPrice(
                f"the price of {opening.model} is unknown, so {whose} cannot hold it",
                hint=f"omni models price {opening.model} --price-in USD --price-out USD",
            )
        opening.leases = tuple([room.grant(0) for room in cover.rooms])
        return None

    def _short(
        self, opening: Opening, tightest: "_Room | None", need: int, why: str
    ) -> BudgetExceeded:
        if tightest is not None:
            return refusal(tightest.status, need, resets_at(tightest.status), why)
        left, most = opening.ceiling_nusd or 0, opening.ceiling_of_nusd
        return over_maximum(opening.model, need, left, most, why)

    def _cover(self, scope: tuple[str, ...], at_ms: int) -> _Cover:
        named = dict(zip(SCOPES, scope, strict=True))
        covering = [budget for budget in self._all.enabled() if budget.covers(**named)]
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

    def reserve(self, db: sqlite3.Connection) -> None:
        """Hold back what was granted; each lease's own row is its caller's to write."""
        rows = [
            (room.granted_nusd, room.status.budget.id, room.status.start_at)
            for room in self._rooms.values()
            if room.granted_nusd
        ]
        if rows:
            db.executemany(_RESERVE, rows)

    def _room(self, budget: Budget, at_ms: int) -> _Room:
        status = self._budgets.status_within(budget, at_ms)
        key = budget.id, status.start_at
        lease = Lease(budget, status.start_at, status.end_at if budget.rollover else 0)
        return self._rooms.setdefault(key, _Room(status, status.left_nusd, lease))


def _left(room: _Room) -> int:
    return room.left_nusd
