"""Many requests' rows in one transaction: what the gateway writes through.

A batch holds requests that begin (row, attempt and budget leases, committed before the call is
made) and requests that end. It is all written or not at all, and the budgets are read once for
all of its leases, within the transaction: any number of processes never pass a limit together.
"""

import json
import sqlite3
import time
import zlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from omni_cli.domain.errors import StoreError
from omni_cli.domain.ledger import Allowance, AttemptEnd, NewAttempt, RequestEnd
from omni_cli.store.batch_leases import BudgetList, Leases, Opening
from omni_cli.store.batch_ledger import BatchLedger, Settled, Vanished
from omni_cli.store.budgets import BudgetStore
from omni_cli.store.connection import Store
from omni_cli.store.late_ledger import LateLedger
from omni_cli.store.open_calls import promote
from omni_cli.store.slots import (
    SHOW_S,
    Turns,
    give_up,
    show,
    take_ticket,
    tickets_of,
    whose_turn,
)
from omni_cli.store.spool import Record, attempt_record, request_record
from omni_cli.store.wide_insert import WideInsert

_STAGE = WideInsert("""
INSERT OR IGNORE INTO open_calls (id, created_at, source, owner, org, key, role, agent, task,
    complexity, difficulty, conversation, chain, model, provider, started_at, input_estimate,
    output_bound, price, held_nusd, decision)
SELECT {} WHERE NOT EXISTS (SELECT 1 FROM requests WHERE id = ?1)
""")
_GO = """
UPDATE open_calls SET model = ?, provider = ?, started_at = ?, input_estimate = ?,
    output_bound = ?, price = ?, held_nusd = ?, waited_ms = ?
WHERE id = ?
"""
_SENT = """
INSERT INTO attempts (request, n, model, provider, state, started_at, input_estimate,
                      output_bound, price, waited_ms, held_nusd)
VALUES (?, ?, ?, ?, 'sent', ?, ?, ?, ?, ?, ?)
"""
_SAVE = """
UPDATE attempts SET first_at = ?, received_chars = ?
WHERE request = ? AND n = ? AND state = 'sent'
"""
_SAVE_LIVE = "UPDATE open_calls SET first_at = ?, received_chars = ? WHERE id = ?"
_THERE = "SELECT id FROM open_calls WHERE id IN (SELECT value FROM json_each(?))"
_NOTHING_SENT = (None, None, None, None, None, None, 0)


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
    allowance: Allowance | None = None


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
    """What one transaction is to hold. ``jobs`` run within it, after everything else.
    ``leaving``: tickets of calls that wait for a slot no longer."""

    endings: list[AttemptEnding | RequestEnding] = field(default_factory=list)
    openings: list[Opening] = field(default_factory=list)
    progress: list[Progressed] = field(default_factory=list)
    jobs: list[Callable[[], None]] = field(default_factory=list)
    leaving: list[int] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.endings or self.openings or self.progress or self.jobs or self.leaving)


def pack_decision(text: str) -> bytes:
    """A decision as the ledger stores it."""
    return zlib.compress(text.encode(), 1)


class BatchWriter:
    """Args:
    store: a connection of its own; it is told not to wait for locks.
    ledger, budgets: over the same store.
    """

    def __init__(self, store: Store, ledger: LateLedger, budgets: BudgetStore) -> None:
        self._store = store
        self._ledger = ledger
        self._budgets = budgets
        self._batches = BatchLedger(store, budgets)
        #: What stands in ``open_calls``: requests whose first attempt is out and is the only one
        #: so far, and those that wait for a slot.
        self._under_way: dict[int, Opening] = {}
        self._waiting: set[int] = set()
        #: Where other processes ring when a slot is free for this one (store/bells.py).
        self.bell: Callable[[], int] = lambda: 0
        self._shown_at = 0.0
        #: Attempts that were sent and have not ended.
        self._sent: dict[tuple[int, int], Opening] = {}
        store.db.execute("PRAGMA busy_timeout = 0")
        # Checkpoints sync to disk; they are run elsewhere (checkpoint()).
        store.db.execute("PRAGMA wal_autocheckpoint = 0")

    @property
    def owner(self) -> str:
        """This process's name in rows that are open."""
        return self._store.owner

    def calls_of(self, allowance: Allowance) -> int:
        """How many of the month's free calls are used by what is written."""
        return self._ledger.calls_between(allowance.model, allowance.since_ms, allowance.until_ms)

    def note_skipped(self, request: int, skipped: list[dict[str, str | None]]) -> None:
        """Within a job; see LedgerStore."""
        self._ledger.note_skipped(request, skipped)

    def patient(self, wait_ms: int) -> None:
        """Wait for locks from now on: for the last batch of a process."""
        self._store.db.execute(f"PRAGMA busy_timeout = {int(wait_ms)}")

    def write(self, batch: Batch) -> Sequence[int]:
        """Write the batch in one transaction.

        Returns:
            The bells of other processes for which a slot is free now.

        Raises:
            Locked: nothing was written; try again.
            SameId: nothing was written; give the new requests other ids.
            StoreError: nothing was written; the disk is full, or the store is broken.
        """
        try:
            return self._write(batch, *self._paired(batch.endings))
        except Vanished:
            # A restore has put another store in this one's place: each finds its row, or makes it.
            return self._write(batch, [], list(batch.endings))

    def _write(
        self,
        batch: Batch,
        whole: list[Settled],
        single: list[AttemptEnding | RequestEnding],
    ) -> Sequence[int]:
        budgets = BudgetList(self._store, self._budgets)
        leases = Leases(self._budgets, budgets)
        moved = {ending.request for ending in single} | {
            opening.request.id for opening in batch.openings if opening.n > 1
        }
        try:
            with self._store.transaction() as db:
                if whole and (changed := self._batches.changed(whole, budgets.enabled())):
                    single += _parts(changed)
                    moved |= {item.opening.request.id for item in changed}
                    whole = [item for item in whole if item.opening.request.id not in moved]
                moved = {ident for ident in moved if self._is_live(ident)}
                if moved:
                    promote(db, moved)
                for ending in single:
                    self._end(ending)
                if whole:
                    self._batches.settle(whole)
                if batch.leaving:
                    give_up(db, batch.leaving)
                refused, tickets = set[int](), list[tuple[Opening, int | None]]()
                if batch.openings:
                    refused = self._open(db, batch.openings, leases, tickets)
                if batch.progress:
                    self._save(db, batch.progress, moved)
                for job in batch.jobs:
                    job()
                bells: Sequence[int] = ()
                limited = any(item.opening.slots is not None for item in whole)
                if limited or single or batch.leaving or refused:
                    bells = whose_turn(db, self.owner)
        except StoreError as exc:
            code = getattr(exc.__cause__, "sqlite_errorcode", None)
            if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise Locked(exc.message, hint=exc.hint) from exc
            raise
        for item in whole:
            del self._under_way[item.opening.request.id]
        for ident in (*moved, *refused):
            self._under_way.pop(ident, None)
            self._waiting.discard(ident)
        for opening, ticket in tickets:
            opening.ticket = ticket
        for opening in batch.openings:
            self._opened(opening)
        for ending in batch.endings:
            if isinstance(ending, AttemptEnding):
                self._sent.pop((ending.request, ending.n), None)
        return bells

    def set_aside(
        self, endings: Sequence[AttemptEnding | RequestEnding], why: StoreError
    ) -> StoreError:
        """Keep what the store does not take, for whoever opens it next; returns what to tell."""
        records: list[Record] = []
        for ending in endings:
            if isinstance(ending, RequestEnding):
                records.append(request_record(ending.request, ending.end))
                continue
            opening = self._sent.get((ending.request, ending.n))
            records.append(
                attempt_record(
                    None if opening is None else opening.request,
                    None if opening is None else new_attempt(opening),
                    ending.request,
                    ending.n,
                    ending.end,
                    ending.priced,
                    ending.allowance,
                )
            )
        return self._ledger.set_aside(records, why)

    def _is_live(self, request: int) -> bool:
        return request in self._under_way or request in self._waiting

    def _opened(self, opening: Opening) -> None:
        """Its part of the batch is committed."""
        fresh, ident = not opening.opened, opening.request.id
        opening.opened = True
        opening.committed = opening.error is None and not opening.full
        if opening.committed:
            self._sent[ident, opening.n] = opening
            if fresh or ident in self._waiting:
                self._under_way[ident] = opening
                self._waiting.discard(ident)
        elif opening.full and fresh:
            self._waiting.add(ident)

    def _paired(
        self, endings: Sequence[AttemptEnding | RequestEnding]
    ) -> tuple[list[Settled], list[AttemptEnding | RequestEnding]]:
        """Requests that end here with their only attempt, and all other endings in order."""
        attempts: dict[int, AttemptEnding] = {}
        for ending in endings:
            if isinstance(ending, AttemptEnding):
                if (
                    ending.n == 1
                    and ending.request in self._under_way
                    and ending.allowance is None  # its cost hangs on the calls before it
                ):
                    attempts[ending.request] = ending
                else:
                    attempts.pop(ending.request, None)
        whole: list[Settled] = []
        done: set[int] = set()
        for ending in endings:
            if isinstance(ending, RequestEnding) and ending.request in attempts:
                done.add(ending.request)
                attempt = attempts[ending.request]
                opening = self._under_way[ending.request]
                whole.append(Settled(opening, attempt.end, attempt.priced, ending.end))
        return whole, [ending for ending in endings if ending.request not in done]

    def _end(self, ending: AttemptEnding | RequestEnding) -> None:
        if isinstance(ending, AttemptEnding):
            opening = self._sent.get((ending.request, ending.n))
            if opening is not None:
                self._ledger.reinstate(opening.request, new_attempt(opening))
            self._ledger.end_attempt(
                ending.request,
                ending.n,
                ending.end,
                priced=ending.priced,
                allowance=ending.allowance,
            )
        else:
            self._ledger.end_request(ending.request, ending.end)

    def _save(
        self, db: sqlite3.Connection, progress: Sequence[Progressed], moved: Collection[int]
    ) -> None:
        live = [p for p in progress if p.request in self._under_way and p.request not in moved]
        db.executemany(_SAVE_LIVE, [(p.first_at, p.received_chars, p.request) for p in live])
        rows = [p for p in progress if p not in live]
        db.executemany(_SAVE, [(p.first_at, p.received_chars, p.request, p.n) for p in rows])

    def _open(
        self,
        db: sqlite3.Connection,
        openings: Sequence[Opening],
        leases: Leases,
        tickets: list[tuple[Opening, int | None]],
    ) -> set[int]:
        """Returns the requests whose first attempt may not be sent: they are in the ledger now.

        Args:
            tickets: is told of places in queues that were taken and given up.
        """
        turns: dict[str, Turns] = {}
        held = self._held(db, openings)
        fresh: list[Opening] = []
        going: list[Opening] = []
        further: list[Opening] = []
        refused: set[int] = set()
        for opening in openings:
            opening.error, opening.full, opening.leases = None, False, ()
            ident = opening.request.id
            if not opening.opened:
                fresh.append(opening)
            turn: Turns | None = None
            ticket = opening.ticket if opening.ticket in held else None
            if opening.slots is not None:
                provider = opening.provider
                turn = turns.get(provider)
                if turn is None:
                    turn = turns[provider] = Turns(db, provider, opening.slots)
                if not turn.take(ticket, opening.slots):
                    opening.full = True
                    if ticket is None:
                        ticket = take_ticket(db, provider, self.owner, ident, self.bell())
                        tickets.append((opening, ticket))
                        turn.queue(ticket)
                    continue
                if ticket is not None:
                    give_up(db, (ticket,))
                    tickets.append((opening, None))
            opening.error = leases.grant(opening)
            if opening.error is not None:
                refused.add(ident)
                if turn is not None:
                    turn.give_back()
                continue
            if ident in self._waiting:
                going.append(opening)
            elif opening.opened:
                further.append(opening)
        if fresh:
            rows = [_live_row(opening) for opening in fresh]
            if _STAGE.write(db, rows) != len(rows):
                raise SameId
        if going:
            rows = [(*_attempt_part(o), o.waited_ms, o.request.id) for o in going]
            if db.executemany(_GO, rows).rowcount != len(going):
                self._stage_anew(db, going)
        if further:
            for opening in further:
                self._ledger.have(opening.request)
            db.executemany(_SENT, [_attempt_row(opening) for opening in further])
        if refused:
            promote(db, refused)
        leases.reserve(db)
        return refused

    def _stage_anew(self, db: sqlite3.Connection, going: Sequence[Opening]) -> None:
        """Have the rows of calls that waited, in a store that was put in the place of theirs."""
        ids = json.dumps([opening.request.id for opening in going])
        there = {row[0] for row in db.execute(_THERE, (ids,))}
        _STAGE.write(db, [_live_row(o) for o in going if o.request.id not in there])

    def _held(self, db: sqlite3.Connection, openings: Sequence[Opening]) -> Collection[int | None]:
        """Tickets of these that still stand: one that was not shown for long was thrown away."""
        held = {opening.ticket for opening in openings if opening.ticket is not None}
        now = time.monotonic()
        if not held or now - self._shown_at < SHOW_S:
            return held
        self._shown_at = now
        show(db, self.owner)
        return held & tickets_of(db, self.owner)


def new_attempt(opening: Opening) -> NewAttempt:
    """The attempt that ``opening`` began, as the ledger knows it."""
    return NewAttempt(
        opening.request.id,
        opening.n,
        opening.model,
        opening.provider,
        opening.started_at,
        opening.input_estimate,
        opening.price_id,
        opening.held_nusd,
        opening.output_bound,
        waited_ms=opening.waited_ms,
    )


def _parts(items: Sequence[Settled]) -> list[AttemptEnding | RequestEnding]:
    found: list[AttemptEnding | RequestEnding] = []
    for item in items:
        found.append(AttemptEnding(item.opening.request.id, 1, item.attempt, item.priced))
        found.append(RequestEnding(item.opening.request.id, item.end))
    return found


def _live_row(opening: Opening) -> tuple[object, ...]:
    new = opening.request
    sent = opening.error is None and not opening.full
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
        *(_attempt_part(opening) if sent else _NOTHING_SENT),
        None if sent and opening.named else opening.decision,
    )


def _attempt_part(opening: Opening) -> tuple[object, ...]:
    return (
        opening.model,
        opening.provider,
        opening.started_at,
        opening.input_estimate,
        opening.output_bound,
        opening.price_id,
        opening.held_nusd,
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
        opening.waited_ms,
        opening.held_nusd,
    )
