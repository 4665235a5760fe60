"""Many requests' rows in one transaction: what the gateway writes through.

A batch holds requests that begin (row, attempt and budget leases, committed before the call is
made) and requests that end. It is all written or not at all, and the budgets are read once for
all of its leases, within the transaction: any number of processes never pass a limit together.
"""

import sqlite3
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from omni_cli.domain.errors import StoreError
from omni_cli.domain.ledger import AttemptEnd, NewRequest, RequestEnd
from omni_cli.store.batch_leases import BudgetList, Leases, Opening
from omni_cli.store.batch_ledger import BatchLedger, Settled
from omni_cli.store.budgets import BudgetStore
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
_SAVE = """
UPDATE attempts SET first_at = ?, received_chars = ?
WHERE request = ? AND n = ? AND state = 'sent'
"""


class Locked(StoreError):
    """Another process holds the write lock just now; the batch was not written."""


class SameId(Exception):
    """Another process has given a request one of these ids; the batch was not written."""


@dataclass(slots=True)
class AttemptEnding:
    request: int
    n: int
    end: AttemptEnd
    priced: str | None


@dataclass(slots=True)
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
        # The lists of states that a column may hold are looked through anew for each row, at 2 us;
        # what is written here is typed by these lists (domain/ledger.py).
        store.db.execute("PRAGMA ignore_check_constraints = ON")
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
        budgets = BudgetList(self._store, self._budgets)
        leases = Leases(self._budgets, budgets)
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
            self._under_way.pop(item.request.id, None)
        for ending in single:
            if isinstance(ending, RequestEnding):
                self._under_way.pop(ending.request, None)
        for opening in batch.openings:
            opening.opened = True
            opening.committed = opening.error is None and not opening.full
            if not opening.committed:
                continue
            if opening.n == 1:
                self._under_way[opening.request.id] = opening
            else:
                self._under_way.pop(opening.request.id, None)

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

    def _open(self, db: sqlite3.Connection, openings: Sequence[Opening], leases: Leases) -> None:
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
