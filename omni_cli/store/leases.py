"""The budget rule: what a call may cost is held back in every budget that covers it before it goes.

The budgets are read once for all calls of a transaction, within it: any number of processes never
pass a limit together.

Where the store is over a network, a gateway has a slice of each budget's room in hand: money that
the store holds back in its name, which it grants without asking. A slice is a part of what is
reserved, and is taken by the rule of calls; as calls get their rows, it goes over to these.
"""

from collections.abc import Iterable, Sequence

from msgspec import Struct, field

from omni_cli.domain.batch import Lease, LeaseKey, Opening
from omni_cli.domain.bounds import fitting, over_maximum, worst_nusd
from omni_cli.domain.budgets import Budget, BudgetStatus, refusal
from omni_cli.domain.errors import OmniError, UnknownPrice
from omni_cli.domain.ledger import AttemptEnd, NewRequest
from omni_cli.domain.periods import window
from omni_cli.store.budgets import BudgetStore, resets_at
from omni_cli.store.port import Connection

_RESERVE = """
UPDATE budget_periods SET reserved_nusd = reserved_nusd + ? WHERE budget = ? AND start_at = ?
"""
#: A slice is at most such a part of what is left. Where less is left than so many of the largest
#: calls there is none: each call asks the store.
_SHARE, _LEAST = 8, 16
#: How many of the largest calls it holds at first, and how many times as many where it was used up
#: before it was due to be measured.
_CALLS, _MORE = 64, 4
#: How long a slice that nobody uses stays in hand, and how often one that is used is measured anew,
#: seconds.
_IDLE_S, _MEASURE_S = 30.0, 2.0
#: Scopes of calls whose budgets are kept in mind: sessions come and go.
_MOST_SCOPES = 4096
#: How long a gateway that hears nothing of the store grants from its slices, seconds, and where it
#: is told not to. Twice as long after its last sign the others take them back.
AWAY_S, STRICT_S = 600.0, 5.0
FORSAKEN_S = 2 * AWAY_S
_ASK = OmniError("the store is asked")
#: What a budget may be about, as ``Budget.covers`` names it.
_SCOPES = ("provider", "model", "role", "agent", "org", "key", "session", "project")


class Room(Struct):
    """A budget's period as this transaction sees it. ``left_nusd``: less what it has granted.
    ``largest_nusd``: the most that one call was granted."""

    status: BudgetStatus
    left_nusd: int
    lease: Lease
    granted_nusd: int = 0
    largest_nusd: int = 0

    def grant(self, nusd: int) -> Lease:
        self.left_nusd -= nusd
        self.granted_nusd += nusd
        if nusd > self.largest_nusd:
            self.largest_nusd = nusd
        return self.lease

    @property
    def key(self) -> LeaseKey:
        return self.lease.key


class _Cover(Struct):
    """The periods that cover calls of one scope which began in ``[start_at, end_at)``.
    ``knowing``: a budget among them that takes no call of an unknown price."""

    rooms: list[Room]
    start_at: int
    end_at: int
    knowing: Budget | None

    def tightest(self) -> Room | None:
        rooms = self.rooms
        return rooms[0] if len(rooms) == 1 else min(rooms, key=_left, default=None)


#: Of a call that no budget covers.
_NONE = _Cover([], 0, 0, None)


def slice_nusd(left_nusd: int, largest_nusd: int, calls: int = _CALLS) -> int:
    """What a gateway may have in hand of a budget that has so much left, what is in hand counted
    in. Whoever takes it leaves room for ``_LEAST * (1 - 1 / _SHARE)`` of the largest calls."""
    if left_nusd < _LEAST * largest_nusd:
        return 0
    return min(left_nusd // _SHARE, calls * largest_nusd)


class Hand(Room):
    """A slice, of which ``left_nusd`` may be granted.

    ``lent_nusd``: what the store holds back for it; the rest of that was granted to calls that have
    no row yet. ``size_nusd``: what it was when it was last filled up. ``used_s``, ``measured_s``:
    when, of the monotonic clock. ``calls``: how many of the largest it is to hold. ``short``: one
    found too little in it.
    """

    lent_nusd: int = 0
    size_nusd: int = 0
    used_s: float = 0.0
    measured_s: float = 0.0
    calls: int = _CALLS
    short: bool = False

    def returns(self, now_s: float, at_ms: int) -> bool:
        """Nobody uses it any more."""
        return now_s - self.used_s > _IDLE_S or at_ms >= self.status.end_at


class Exchange(Struct):
    """What one transaction does to a gateway's slices, nano-dollars by period.

    ``back``: is not in hand any more, and returned; ``rowed``: what calls hold that get their rows
    in it; ``filled``: what is taken in hand, and what that should be. ``wanted``: there is little
    left of these. ``lent`` (with its largest call, and how many) and ``left``: of each as it began;
    ``ends``: of its period; ``void``: of these nothing may be taken. ``before``, ``kept``: the
    budgets by which the gateway has granted, and those that the transaction saw; ``news``: what had
    been told of by then. ``whole``: it has the rows of all that was granted. ``there``: what the
    store held for each, where that was not known.
    """

    at_ms: int
    news: int
    before: Sequence[Budget] | None
    kept: Sequence[Budget] = ()
    back: dict[LeaseKey, int] = field(default_factory=dict)
    rowed: dict[LeaseKey, int] = field(default_factory=dict)
    ends: dict[LeaseKey, int] = field(default_factory=dict)
    filled: dict[LeaseKey, tuple[Room, int, int]] = field(default_factory=dict)
    wanted: list[Hand] = field(default_factory=list)
    lent: dict[LeaseKey, tuple[int, int, int]] = field(default_factory=dict)
    left: dict[LeaseKey, int] = field(default_factory=dict)
    void: set[LeaseKey] = field(default_factory=set)
    whole: bool = True
    there: dict[LeaseKey, int] | None = None

    def row(self, granted: Iterable[Opening]) -> None:
        """These get their rows in it."""
        self.rowed = {}
        for opening in granted:
            for lease in opening.leases:
                self.rowed[lease.key] = self.rowed.get(lease.key, 0) + opening.held_nusd

    def spent(self) -> dict[LeaseKey, int]:
        """What each slice has less."""
        keys = self.back.keys() | self.rowed.keys()
        return {key: self.back.get(key, 0) + self.rowed.get(key, 0) for key in keys}


class Leases:
    """Grants the leases of one transaction."""

    #: Whether what is left is all that there is: an answer is made shorter to fit in.
    _all = True

    def __init__(self, budgets: BudgetStore) -> None:
        self._budgets = budgets
        self._enabled: Sequence[Budget] | None = None
        self._rooms: dict[LeaseKey, Room] = {}
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
                error = self._refused(tightest, 0, "")
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
            each = fitting(most, price, left) if self._all or tightest is None else 0
            if not each:
                if tightest is not None:
                    return self._refused(tightest, need, most.why)
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
            return self._refused(tightest, need, "")
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

    def fill(self, change: Exchange) -> None:
        """Take slices of what is left of all that was looked at."""
        if change.before is not None and change.before is not self.enabled():
            return
        for hand in change.wanted:
            self.room(hand.lease.budget, change.at_ms)
        for key, room in self._rooms.items():
            if key in change.void or room.left_nusd < 0:
                continue
            lent, largest, calls = change.lent.get(key, (0, 0, _CALLS))
            lent -= change.back.get(key, 0) + change.rowed.get(key, 0)
            largest = max(largest, room.largest_nusd)
            size = slice_nusd(room.left_nusd + lent, largest, calls)
            more = max(size - lent, 0)
            room.left_nusd -= more
            room.granted_nusd += more
            change.filled[key] = room, more, size

    @staticmethod
    def _refused(room: Room, need: int, why: str) -> OmniError:
        return refusal(room.status, need, resets_at(room.status), why)

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
            room = self.room(budget, at_ms)
            status = room.status
            end_at = min(cover.end_at, status.end_at) if cover.rooms else status.end_at
            cover.rooms.append(room)
            cover.start_at, cover.end_at = max(cover.start_at, status.start_at), end_at
            if not budget.allow_unknown and cover.knowing is None:
                cover.knowing = budget
        return cover

    def room(self, budget: Budget, at_ms: int) -> Room:
        """Of the period that a time lies in."""
        status = self._budgets.status_within(budget, at_ms)
        lease = Lease(budget, status.start_at, status.end_at if budget.rollover else 0)
        return self._rooms.setdefault(lease.key, Room(status, status.left_nusd, lease))


def _left(room: Room) -> int:
    return room.left_nusd


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


class _NotInHand(Exception):
    """Nothing is in hand of a budget that covers the call."""


class Slices(Leases):
    """What a gateway has in hand, and grants by the rule of all.

    It is its event loop's. What a transaction in another thread does to it stands in an
    ``Exchange``, from ``plan`` before it to ``done`` or ``undone``.
    """

    _all = False

    def __init__(self) -> None:
        self._enabled: Sequence[Budget] | None = None
        self._rooms: dict[LeaseKey, Room] = {}
        self._covers: dict[tuple[str, ...], _Cover] = {}
        self._hands: dict[LeaseKey, Hand] = {}
        #: Of budgets that were changed, or that nobody uses: nothing is granted from these.
        self._void: dict[LeaseKey, Hand] = {}
        #: What had been told of when the budgets were read last.
        self.news = -1

    def enabled(self) -> Sequence[Budget]:
        return self._enabled or ()

    def grant_in_hand(self, opening: Opening, now_s: float) -> bool:
        """Grant it all that it needs; False where that is for the store to judge."""
        if self._enabled is None:
            return False
        if len(self._covers) > _MOST_SCOPES:
            self._covers.clear()
        try:
            if self.grant(opening) is not None:
                return False
        except _NotInHand:
            return False
        for lease in opening.leases:
            self._hands[lease.key].used_s = now_s
        return True

    def room(self, budget: Budget, at_ms: int) -> Room:
        hand = self._hands.get((budget.id, window(budget.rule, at_ms)[0]))
        if hand is None:
            raise _NotInHand
        return hand

    @staticmethod
    def _refused(room: Room, need: int, why: str) -> OmniError:  # noqa: ARG004  # nobody is told
        assert isinstance(room, Hand)
        room.short = True
        return _ASK

    def give_back(self, opening: Opening, nusd: int) -> None:
        """A call that has no row yet needs so much less than it was granted."""
        opening.held_nusd -= nusd
        for lease in opening.leases:
            hand = self._of(lease.key)
            if hand is not None:
                hand.left_nusd += nusd

    def ended(self, opening: Opening, end: AttemptEnd) -> None:
        """A call that has no row yet is over: what it cannot have cost may be granted again."""
        free = opening.held_nusd - (end.cost_nusd or 0) - end.held_nusd(opening.held_nusd)
        if free > 0:
            self.give_back(opening, free)

    def plan(
        self, granted: Iterable[Opening], now_s: float, at_ms: int, news: int, *, last: bool = False
    ) -> Exchange:
        """What the next transaction is to do.

        Args:
            granted: what gets its rows in it.
            last: nothing is to stay in hand.
        """
        change = Exchange(at_ms, news, self._enabled)
        for key, hand in list(self._hands.items()):
            if last or hand.returns(now_s, at_ms):
                self._drop(key)
        for hand in self._hands.values():
            due = now_s - hand.measured_s > _MEASURE_S
            little = hand.short or hand.left_nusd * 2 < hand.size_nusd
            if not hand.status.start_at <= at_ms < hand.status.end_at:
                continue
            if little or (due and hand.used_s > hand.measured_s):
                hand.calls = max(hand.calls // 2, _CALLS) if due else hand.calls * _MORE
                change.wanted.append(hand)
        for key, hand in (*self._hands.items(), *self._void.items()):
            change.lent[key] = hand.lent_nusd, hand.largest_nusd, hand.calls
            change.ends[key] = hand.status.end_at
            if (hand.short or key in self._void) and hand.left_nusd > 0:
                change.back[key], hand.left_nusd = hand.left_nusd, 0
            change.left[key] = hand.left_nusd
        change.void |= self._void.keys()
        change.row(granted)
        return change

    def waits(self, now_s: float, at_ms: int) -> bool:
        """Whether there is something to return."""
        return bool(self._void) or any(h.returns(now_s, at_ms) for h in self._hands.values())

    def undone(self, change: Exchange, *, unsure: bool) -> None:
        """Its transaction failed. ``unsure``: or not; then what was returned is gone until the
        store says."""
        if unsure:
            return
        for key, nusd in change.back.items():
            hand = self._of(key)
            if hand is not None:
                hand.left_nusd += nusd

    def done(self, change: Exchange, now_s: float) -> None:
        """Its transaction is committed."""
        spent, there = change.spent(), change.there
        for key, before in change.left.items():
            hand = self._of(key)
            if hand is None:
                continue
            if there is not None:
                hand.lent_nusd = there.get(key, 0)
            more = change.filled[key][1] if key in change.filled else 0
            hand.lent_nusd += more - spent.get(key, 0)
            # What was granted meanwhile has no row yet.
            hand.left_nusd += more if there is None else hand.lent_nusd - before
        for key, hand in list(self._void.items()):
            if not hand.lent_nusd:
                del self._void[key]
        self.news = change.news
        if change.kept is not self._enabled:
            self._enabled = change.kept
            for key in list(self._hands):
                self._drop(key)
        for key, (room, more, size) in change.filled.items():
            hand = self._hands.get(key)
            if hand is None:
                hand = Hand(room.status, more, room.lease, 0, room.largest_nusd, more, used_s=now_s)
                self._hands[key] = hand
                self._covers.clear()
            else:
                hand.largest_nusd = max(hand.largest_nusd * 7 // 8, room.largest_nusd)
            # One that has grown too large for what is left is returned by the next.
            hand.short = hand.lent_nusd > 2 * size
            hand.size_nusd, hand.measured_s = size, now_s

    def _of(self, key: LeaseKey) -> Hand | None:
        return self._hands.get(key) or self._void.get(key)

    def _drop(self, key: LeaseKey) -> None:
        self._void[key] = self._hands.pop(key)
        self._covers.clear()
