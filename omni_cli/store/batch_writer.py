"""Many requests' rows in one transaction: what the gateway writes through.

A batch holds requests that begin (row, attempt and budget leases, committed before the call is
made) and requests that end. It is all written or not at all, and the budgets are read once for
all of its leases, within the transaction: any number of processes never pass a limit together.
"""

import sqlite3
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from omni_cli.domain.budgets import Budget, BudgetStatus, refusal
from omni_cli.domain.errors import OmniError, StoreError, UnknownPrice
from omni_cli.domain.ledger import AttemptEnd, NewRequest, RequestEnd
from omni_cli.domain.pricing import Price, worst_case_nusd
from omni_cli.services.bounds import LEAST_OUTPUT
from omni_cli.store.batch_ledger import BatchLedger, Lease, Settled
from omni_cli.store.budgets import BudgetStore, resets_at
from omni_cli.store.connection import Store
from omni_cli.store.ledger import LedgerStore

_OPEN = """
INSERT OR IGNORE INTO requests (id, created_at, state, source, owner, org, key, role, agent,
                                task, complexity, difficulty, conversation, chain)
VALUES (?, ?, 'pending', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_SENT = """
INSERT INTO attempts (request, n, model, provider, state, started_at, input_estimate,
                      output_bound, price)
VALUES (?, ?, ?, ?, 'sent', ?, ?, ?, ?)
"""
_LEASE = "INSERT INTO leases (request, n, budget, start_at, amount_nusd) VALUES (?, ?, ?, ?, ?)"
_RESERVE = """
UPDATE budget_periods SET reserved_nusd = reserved_nusd + ? WHERE budget = ? AND start_at = ?
"""
_SAVE = """
UPDATE attempts SET first_at = ?, received_chars = ?
WHERE request = ? AND n = ? AND state = 'sent'
"""


class Locked(StoreError):
    """Another process holds the write lock just now; the batch was not written."""


class SameId(Exception):
    """Another process has given a request one of these ids; the batch was not written."""


@dataclass(slots=True)
class Opening:
    """An attempt that is about to be sent, and its request's row when it is the first.

    ``most_in()`` and ``most_out`` bound its tokens, for the lease; ``slots`` is the most attempts
    that may be under way at its provider. After the write, one of these holds: ``error`` (it
    must not be sent), ``full`` (no slot is free; ask again), or ``committed``: it may go, with
    ``output_bound`` tokens of answer at most where a budget covers it. ``opened``: the request's
    row is written.
    """

    request: NewRequest
    n: int
    model: str
    provider: str
    started_at: int
    input_estimate: int
    most_in: Callable[[], int]
    most_out: int
    slots: int
    price_id: int | None = None
    price: Price | None = None
    decision: bytes | None = None
    output_bound: int | None = None
    opened: bool = False
    committed: bool = False
    full: bool = False
    error: OmniError | None = None
    leases: tuple[Lease, ...] = ()


@dataclass(frozen=True, slots=True)
class AttemptEnding:
    request: int
    n: int
    end: AttemptEnd
    priced: str | None


@dataclass(frozen=True, slots=True)
class RequestEnding:
    request: int
    end: RequestEnd


@dataclass(frozen=True, slots=True)
class Progressed:
    """How much of a stream has come."""

    request: int
    n: int
    first_at: int
    received_chars: int


@dataclass(slots=True)
class Batch:
    """What one transaction is to hold. ``jobs`` run within it, after everything else."""

    endings: list[AttemptEnding | RequestEnding] = field(default_factory=list)
    openings: list[Opening] = field(default_factory=list)
    progress: list[Progressed] = field(default_factory=list)
    jobs: list[Callable[[], None]] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.endings or self.openings or self.progress or self.jobs)


def pack_decision(text: str) -> bytes:
    """A decision as the ledger stores it."""
    return zlib.compress(text.encode(), 1)


class BatchWriter:
    """Args:
    store: a connection of its own; it is told not to wait for locks.
    ledger, budgets: over the same store.
    """

    def __init__(self, store: Store, ledger: LedgerStore, budgets: BudgetStore) -> None:
        self._store = store
        self._ledger = ledger
        self._budgets = budgets
        self._batches = BatchLedger(store, budgets)
        #: Requests whose first attempt is out, and is the only one so far.
        self._under_way: dict[int, Opening] = {}
        store.db.execute("PRAGMA busy_timeout = 0")
        # Checkpoints sync to disk; they are run elsewhere (checkpoint()).
        store.db.execute("PRAGMA wal_autocheckpoint = 0")

    @property
    def owner(self) -> str:
        """This process's name in rows that are open."""
        return self._store.owner

    def patient(self, wait_ms: int) -> None:
        """Wait for locks from now on: for the last batch of a process."""
        self._store.db.execute(f"PRAGMA busy_timeout = {int(wait_ms)}")

    def write(self, batch: Batch) -> None:
        """Write the batch in one transaction.

        Raises:
            Locked: nothing was written; try again.
            SameId: nothing was written; give the new requests other ids.
            StoreError: nothing was written; the disk is full, or the store is broken.
        """
        budgets = _BudgetList(self._store, self._budgets)
        leases = _Leases(self._budgets, budgets)
        whole, single = self._paired(batch.endings)
        try:
            with self._store.transaction() as db:
                for ending in single:
                    self._end(ending)
                if whole:
                    self._batches.settle(whole, budgets.enabled())
                if batch.openings:
                    self._open(db, batch.openings, leases)
                if batch.progress:
                    db.executemany(
                        _SAVE,
                        [(p.first_at, p.received_chars, p.request, p.n) for p in batch.progress],
                    )
                for job in batch.jobs:
                    job()
        except StoreError as exc:
            code = getattr(exc.__cause__, "sqlite_errorcode", None)
            if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise Locked(exc.message, hint=exc.hint) from exc
            raise
        for item in whole:
            del self._under_way[item.request.id]
        for ending in single:
            if isinstance(ending, RequestEnding):
                self._under_way.pop(ending.request, None)
        for opening in batch.openings:
            opening.opened = True
            opening.committed = opening.error is None and not opening.full
            if opening.committed and opening.n == 1:
                self._under_way[opening.request.id] = opening

    def _paired(
        self, endings: Sequence[AttemptEnding | RequestEnding]
    ) -> tuple[list[Settled], list[AttemptEnding | RequestEnding]]:
        """Requests that end here with their only attempt, and all other endings in order."""
        attempts: dict[int, AttemptEnding] = {}
        for ending in endings:
            if isinstance(ending, AttemptEnding):
                if ending.n == 1 and ending.request in self._under_way:
                    attempts[ending.request] = ending
                else:
                    attempts.pop(ending.request, None)
        whole: list[Settled] = []
        done: set[int] = set()
        for ending in endings:
            if isinstance(ending, RequestEnding) and ending.request in attempts:
                done.add(ending.request)
                opening = self._under_way[ending.request]
                whole.append(_settled(opening, attempts[ending.request], ending.end))
        return whole, [ending for ending in endings if ending.request not in done]

    def _end(self, ending: AttemptEnding | RequestEnding) -> None:
        if isinstance(ending, AttemptEnding):
            self._ledger.end_attempt(ending.request, ending.n, ending.end, priced=ending.priced)
        else:
            self._ledger.end_request(ending.request, ending.end)

    def _open(self, db: sqlite3.Connection, openings: Sequence[Opening], leases: "_Leases") -> None:
        taken: dict[str, int] = {}
        requests, attempts, decisions = [], [], []
        for opening in openings:
            opening.error, opening.full, opening.leases = None, False, ()
            provider = opening.provider
            if provider not in taken:
                taken[provider] = self._ledger.open_attempts(provider)
            new = opening.request
            if not opening.opened:
                requests.append(_request_row(new))
                if opening.decision is not None:
                    decisions.append((new.id, opening.decision))
            if taken[provider] >= opening.slots:
                opening.full = True
                continue
            opening.error = leases.grant(opening)
            if opening.error is None:
                taken[provider] += 1
                attempts.append(_attempt_row(opening))
        if requests:
            if db.executemany(_OPEN, requests).rowcount != len(requests):
                raise SameId
            db.executemany("INSERT INTO decisions VALUES (?, ?)", decisions)
        db.executemany(_SENT, attempts)
        leases.write(db)


def _request_row(new: NewRequest) -> tuple[object, ...]:
    return (
        new.id,
        new.created_at,
        new.source,
        new.owner,
        new.org,
        new.key,
        new.role,
        new.agent,
        new.task,
        new.complexity,
        new.difficulty,
        new.conversation,
        new.chain,
    )


def _attempt_row(opening: Opening) -> tuple[object, ...]:
    return (
        opening.request.id,
        opening.n,
        opening.model,
        opening.provider,
        opening.started_at,
        opening.input_estimate,
        opening.output_bound,
        opening.price_id,
    )


def _settled(opening: Opening, attempt: AttemptEnding, end: RequestEnd) -> Settled:
    return Settled(
        request=opening.request,
        started_at=opening.started_at,
        input_estimate=opening.input_estimate,
        output_bound=opening.output_bound,
        price=opening.price_id,
        leases=opening.leases,
        model=opening.model,
        provider=opening.provider,
        attempt=attempt.end,
        priced=attempt.priced,
        end=end,
    )


#: The budgets that were read last, by the rows they were read from.
_LAST_BUDGETS: dict[tuple[tuple[object, ...], ...], list[Budget]] = {}


class _BudgetList:
    """The enabled budgets as one transaction sees them, read once."""

    def __init__(self, store: Store, budgets: BudgetStore) -> None:
        self._store = store
        self._budgets = budgets
        self._found: list[Budget] | None = None

    def enabled(self) -> list[Budget]:
        if self._found is None:
            rows = self._store.db.execute("SELECT * FROM budgets WHERE enabled = 1")
            key = tuple(tuple(row) for row in rows)
            if key not in _LAST_BUDGETS:
                found = [budget for budget in self._budgets.all() if budget.enabled]
                _LAST_BUDGETS.clear()
                _LAST_BUDGETS[key] = found
            self._found = _LAST_BUDGETS[key]
        return self._found


@dataclass(slots=True)
class _Room:
    """A budget's period as this transaction sees it, with what it has granted so far."""

    status: BudgetStatus
    granted_nusd: int = 0

    @property
    def left_nusd(self) -> int:
        return self.status.left_nusd - self.granted_nusd


class _Leases:
    """Grants the leases of one transaction."""

    def __init__(self, budgets: BudgetStore, all_budgets: "_BudgetList") -> None:
        self._budgets = budgets
        self._all = all_budgets
        self._rooms: dict[tuple[int, int], _Room] = {}
        self._rows: list[tuple[int, int, int, int, int]] = []

    def grant(self, opening: Opening) -> OmniError | None:
        """Reserve the worst case in every budget that covers it; the error when one cannot."""
        enabled = self._all.enabled()
        if not enabled:
            return None
        new = opening.request
        covering = [
            budget
            for budget in enabled
            if budget.covers(
                provider=opening.provider,
                model=opening.model,
                role=new.role,
                agent=new.agent,
                org=new.org,
                key=new.key,
            )
        ]
        if not covering:
            return None
        most_in = opening.most_in()
        need, unknown = self._need(opening, most_in), False
        if need is None:
            unknown = True
            for budget in covering:
                if not budget.allow_unknown:
                    return UnknownPrice(
                        f"the price of {opening.model} is unknown, so the {budget.label} "
                        "cannot hold it",
                        hint=f"omni models price {opening.model} --price-in USD --price-out USD",
                    )
            need = 0
        rooms = [self._room(budget, new.created_at) for budget in covering]
        bound = opening.most_out
        tightest = min(rooms, key=lambda room: room.left_nusd)
        if opening.price is not None and need and need > tightest.left_nusd:
            bound = _fitting(most_in, bound, opening.price, tightest.left_nusd)
            if bound < min(LEAST_OUTPUT, opening.most_out):
                status = tightest.status
                return refusal(status, need, resets_at(status))
            need = worst_case_nusd(most_in, bound, opening.price)
        opening.output_bound = None if unknown else bound
        opening.leases = tuple(
            Lease(room.status.budget.id, room.status.start_at, need) for room in rooms
        )
        for room, lease in zip(rooms, opening.leases, strict=True):
            room.granted_nusd += need
            self._rows.append((new.id, opening.n, lease.budget, lease.start_at, need))
        return None

    def write(self, db: sqlite3.Connection) -> None:
        if not self._rows:
            return
        db.executemany(_LEASE, self._rows)
        db.executemany(
            _RESERVE,
            [
                (room.granted_nusd, room.status.budget.id, room.status.start_at)
                for room in self._rooms.values()
                if room.granted_nusd
            ],
        )

    def _need(self, opening: Opening, most_in: int) -> int | None:
        if opening.price is None or opening.price.state == "unknown":
            return None
        try:
            return worst_case_nusd(most_in, opening.most_out, opening.price)
        except UnknownPrice:
            return None

    def _room(self, budget: Budget, at_ms: int) -> _Room:
        for (budget_id, _), room in self._rooms.items():
            if budget_id == budget.id and room.status.start_at <= at_ms < room.status.end_at:
                return room
        status = self._budgets.status(budget, at_ms)
        return self._rooms.setdefault((budget.id, status.start_at), _Room(status))


def _fitting(input_tokens: int, most: int, price: Price, room_nusd: int) -> int:
    """The longest answer, in tokens, whose worst case fits into ``room_nusd``; may be 0."""
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        if worst_case_nusd(input_tokens, middle, price) <= room_nusd:
            low = middle
        else:
            high = middle - 1
    return low
