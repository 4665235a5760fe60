"""The one writer of calls: requests that begin and end, many in one transaction or one.

A batch holds requests that begin (row, attempt and budget leases, committed before the call is
made) and requests that end. It is all written or not at all. A request that ends with its only
attempt is written whole, with sums added up in memory first; everything else goes row by row
through the ledger.

Where the store is over a network, a request that slices of its budgets can hold does not wait for
its row: it goes out once this machine's journal has it (late_ledger.py), and its row is in the next
batch, whole where it is over by then.
"""

import asyncio
import contextlib
import operator
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from omni_cli.domain.batch import (
    SHOW_S,
    AttemptEnding,
    Batch,
    Ending,
    Lease,
    Opening,
    Progressed,
    RequestEnding,
)
from omni_cli.domain.errors import SameId, StoreError, Unsure
from omni_cli.domain.ledger import Allowance, AttemptEnd, RequestEnd
from omni_cli.domain.periods import HOUR_MS
from omni_cli.domain.record import asdict
from omni_cli.records import Lock
from omni_cli.store.budgets import BudgetStore
from omni_cli.store.health_windows import HealthWindowStore, hour_sums
from omni_cli.store.late_ledger import LateLedger, Record, attempt_record, request_record
from omni_cli.store.leases import STRICT_S, Exchange, Leases, Slices
from omni_cli.store.port import LOCKS, Connection, Store, among
from omni_cli.store.rollups import NO_ATTEMPT, Counts, Outcome, RollupStore, attempt_sums
from omni_cli.store.rows import (
    ATTEMPTS,
    REQUESTS,
    SENDING,
    add_decisions,
    attempt_values,
    ended_of,
    id_list,
    known_of,
    over_of,
    pending,
    promote,
    sending_of,
    sent_row,
    stage,
    tokens_of,
    used_of,
)
from omni_cli.store.slots import (
    Turns,
    give_up,
    note_sent,
    ring_others,
    show,
    take_ticket,
    tickets_of,
    too_soon,
    whose_turn,
)

if TYPE_CHECKING:
    from omni_cli.domain.budgets import Budget
    from omni_cli.store.bells import Bell

_GO = f"""
UPDATE open_calls SET {", ".join(f"{name} = ?" for name in SENDING)} WHERE id = ?
"""  # noqa: S608  # column names only
_SAVE = """
UPDATE attempts SET first_at = ?, received_chars = ?
WHERE request = ? AND n = ? AND state = 'sent'
"""
_SAVE_LIVE = "UPDATE open_calls SET first_at = ?, received_chars = ? WHERE id = ?"
_THERE = f"SELECT id FROM open_calls WHERE id {among('?')}"  # noqa: S608  # a mark only
_CHARGE = """
UPDATE budget_periods SET spent_nusd = spent_nusd + ?, reserved_nusd = reserved_nusd - ?
WHERE budget = ? AND start_at = ?
"""
_KNOWN = f"""
SELECT id FROM open_calls WHERE id {among(":ids")}
UNION SELECT id FROM requests WHERE id {among(":ids")}
"""  # noqa: S608  # a mark only
_OURS = "SELECT 1 FROM requests WHERE id = ? AND coalesce(owner, ?) = ?"
#: Of a batch in one statement: each statement of its own costs 2 us more.
_OVER = f"DELETE FROM open_calls WHERE id {among('?')}"  # noqa: S608  # a mark only
_QUARTER_MS = 15 * 60 * 1000


class Vanished(Exception):
    """Calls under way have no row in the store any more: it was restored meanwhile."""


class Settled(Struct, frozen=True):
    """A request that is over with its only attempt, which ``opening`` was."""

    opening: Opening
    attempt: AttemptEnd
    priced: str | None
    end: RequestEnd


class Writer:
    """Args:
    store: where it is a gateway's a connection of its own; it is told not to wait for locks.
    ledger: over the same store.
    away_s: how long it grants from slices while the store is away, seconds.
    alone: it writes a command's batches of one: it waits for locks, and has no slices.
    """

    def __init__(
        self, store: Store, ledger: LateLedger, *, away_s: float = STRICT_S, alone: bool = False
    ) -> None:
        self._store = store
        self._ledger = ledger
        self._budgets = BudgetStore(store)
        self._rollups = RollupStore(store)
        self._health = HealthWindowStore(store)
        #: What stands in ``open_calls``: requests whose first attempt is out and is the only one
        #: so far, and those that wait for a slot.
        self._under_way: dict[int, Opening] = {}
        self._waiting: set[int] = set()
        self._bell: Bell | None = None
        #: Is told of the descriptor that can be read once another process has rung: a slot is free
        #: for one that waits here. None: nobody rings.
        self.listen: Callable[[int], None] | None = None
        self._shown_at = 0.0
        #: Attempts that were sent and have not ended.
        self._sent: dict[tuple[int, int], Opening] = {}
        apart = store.remote and not alone
        self._slices = Slices() if apart else None
        self.away_s = away_s
        self._journal = ledger.journal() if apart else None
        #: What the batch under way does to slices.
        self._change: Exchange | None = None
        #: Nobody knows whether a batch was written.
        self._unsure = False
        if not alone:
            store.for_batches()

    # --- what goes out before its row is written, in the event loop's thread ----------------------

    def grant(self, opening: Opening) -> bool:
        """Let an attempt go out that its budgets' slices can hold all of; it must be in the next
        batch. False: the store has to be asked."""
        slices, journal, store = self._slices, self._journal, self._store
        if slices is None or journal is None or store.away_s() > self.away_s:
            return False
        heard = store.heard()
        if heard < 0 or heard != slices.news:
            return False  # budgets may have been changed
        if not slices.grant_in_hand(opening, time.monotonic()):
            return False
        try:
            journal.begun(opening)
        except OSError:
            slices.give_back(opening, opening.held_nusd)
            return False
        opening.opened = opening.committed = True
        return True

    def ended(self, ending: Ending, opening: Opening | None) -> None:
        """An end that is to be written. ``opening``: where that attempt has no row yet."""
        slices, journal = self._slices, self._journal
        if slices is None or journal is None:
            return
        with contextlib.suppress(OSError):
            journal.ended(ending)
        if opening is not None and isinstance(ending, AttemptEnding) and ending.allowance is None:
            slices.ended(opening, ending.end)

    def plan(self, batch: Batch, *, part: bool = False, last: bool = False) -> None:
        """Before a batch, which has all that was granted and has ended so far where it is no
        ``part`` of that."""
        if self._slices is None or self._journal is None:
            return
        news = self._store.heard()
        granted = batch.granted.values()
        asked_ms = [opening.request.created_at for opening in granted]
        at_ms = max(asked_ms, default=int(time.time() * 1000))
        self._change = self._slices.plan(granted, time.monotonic(), at_ms, news, last=last)
        self._change.whole = not part
        if not part:
            self._journal.turn()

    def done(self) -> None:
        """That batch is written."""
        if self._slices is not None and self._journal is not None and self._change is not None:
            self._slices.done(self._change, time.monotonic())
            if self._change.whole:
                self._journal.done()
                self._unsure = False
            self._change = None

    def undone(self, why: Exception) -> None:
        """It was not."""
        if self._slices is not None and self._change is not None:
            unsure = isinstance(why, Unsure)
            self._unsure |= unsure
            self._slices.undone(self._change, unsure=unsure)
            self._change = None

    def waits(self) -> bool:
        """Whether there are slices to return."""
        slices = self._slices
        return slices is not None and slices.waits(time.monotonic(), int(time.time() * 1000))

    def keep(self) -> None:
        """What came of a batch is not known here, nor will be: the journal is for others."""
        if self._journal is not None:
            self._journal.keep()

    def renamed(self, old: int, new: int) -> None:
        """A request that is out has another id than the journal says."""
        if self._journal is not None:
            with contextlib.suppress(OSError):
                self._journal.renamed(old, new)

    def leave(self, *, written: bool) -> None:
        """The process ends. ``written``: with all that it had to write."""
        if self._journal is not None:
            self._journal.close(written=written)

    # --- batches ----------------------------------------------------------------------------------

    @property
    def owner(self) -> str:
        """This process's name in rows that are open."""
        return self._store.owner

    @property
    def remote(self) -> bool:
        """Whether a batch goes over a network: whoever must not wait writes it in a thread."""
        return self._store.remote

    def calls_of(self, allowance: Allowance) -> int:
        """How many of the month's free calls are used by what is written."""
        with self._store.reading():
            return self._ledger.calls_between(
                allowance.model, allowance.since_ms, allowance.until_ms
            )

    def note_carried_out(
        self, request: int, more: Mapping[str, Any], named: Mapping[str, Any] | None = None
    ) -> None:
        """Within a job; see LedgerStore."""
        self._ledger.note_carried_out(request, more, named)

    def disown(self, opening: Opening) -> None:
        """Within a job: close the row of an attempt that is not sent, where a batch that nobody
        knows the end of has written it."""
        ident, now = opening.request.id, int(time.time() * 1000)
        db = self._store.db
        promote(db, (ident,))
        if db.execute(_OURS, (ident, self.owner, self.owner)).fetchone() is None:
            return
        unsent = AttemptEnd("unsent", now, cost_nusd=0)
        self._ledger.end_attempt(ident, opening.n, unsent, priced=None)
        if opening.n == 1:
            end = RequestEnd(
                "failed",
                now,
                model=opening.model,
                provider=opening.provider,
                error_code="store",
            )
            self._ledger.end_request(ident, end)

    def patient(self, wait_ms: int) -> None:
        """Wait for locks from now on: for the last batch of a process."""
        self._store.patient(wait_ms)

    def impatient(self) -> contextlib.AbstractContextManager[None]:
        """Do not wait for locks meanwhile."""
        return self._store.impatient()

    @property
    def behind(self) -> StoreError | None:
        """See LateLedger."""
        return self._ledger.behind

    def checkpoint(self) -> None:
        """What writing leaves to do, in any thread."""
        self._store.checkpoint()

    def silence(self) -> None:
        """Take what was rung so far."""
        if self._bell is not None:
            self._bell.silence()

    async def rung(self, seconds: float) -> None:
        """Until a slot may be free for a call that waits here, at most so long."""
        if self._bell is None:
            await asyncio.sleep(seconds)
        else:
            await self._bell.rung(seconds)

    def wake(self) -> None:
        """A call of this process has ended: its own that wait may look."""
        if self._bell is not None:
            self._bell.wake()

    def hang_up(self) -> None:
        """Nobody can ring any more."""
        bell, self._bell = self._bell, None
        if bell is not None:
            bell.close()

    def _port(self) -> int:
        if self.listen is None or self._store.remote:
            return 0  # it would ring on this machine alone
        if self._bell is None:
            from omni_cli.store.bells import Bell

            self._bell = Bell()
            if self._bell.socket is not None:
                self.listen(self._bell.socket.fileno())
        return self._bell.port

    def write(self, batch: Batch) -> None:
        """Write the batch in one transaction, and wake other processes for which it freed slots.

        Raises:
            Locked: nothing was written; try again.
            SameId: nothing was written; give the new requests other ids.
            StoreError: nothing was written; the disk is full, or the store is broken.
        """
        try:
            bells = self._write(batch, *self._paired(batch))
        except Vanished:
            # A restore has put another store in this one's place: each finds its row, or makes it.
            bells = self._write(batch, [], list(batch.endings))
        ring_others(bells)

    def _write(
        self,
        batch: Batch,
        whole: list[Settled],
        single: list[Ending],
    ) -> Sequence[int]:
        leases, change, granted = Leases(self._budgets), self._change, dict(batch.granted)
        moved = {ending.request for ending in single} | {
            opening.request.id for opening in batch.openings if opening.n > 1
        }
        # Jobs write whatever they are about: all locks at once, for they are taken in one order.
        locks = LOCKS if batch.jobs else (Lock.LEDGER, Lock.BUDGETS, Lock.SLOTS)
        with self._store.transaction(*locks) as db:
            kept = leases.enabled() if whole or change is not None else ()
            if change is not None:
                self._return(db, change, granted)
            if changed := [item for item in whole if item.opening.budgets is not kept]:
                single += _parts(changed)
                moved |= {item.opening.request.id for item in changed}
                whole = [item for item in whole if item.opening.request.id not in moved]
            if granted:
                self._stage_granted(db, granted, whole, kept)
            moved = {ident for ident in moved if self._is_live(ident) or ident in batch.granted}
            if moved:
                promote(db, moved)
            if batch.requests:
                stage(db, (), batch.requests)
            for ending in single:
                self._end(ending)
            if whole:
                self._settle(db, whole, granted)
            if batch.leaving:
                give_up(db, batch.leaving)
            refused, tickets = set[int](), list[tuple[Opening, int | None]]()
            if batch.openings:
                refused = self._open(db, batch.openings, leases, tickets)
            if change is not None:
                self._take(leases, change)
            leases.reserve(db)
            if batch.progress:
                self._save(db, batch.progress, moved)
            for job in batch.jobs:
                job()
            bells: Sequence[int] = ()
            limited = any(item.opening.slots is not None for item in whole)
            if limited or single or batch.leaving or refused:
                bells = whose_turn(db, self.owner)
        self._waiting.update(new.id for new, _ in batch.requests)
        for ident, opening in batch.granted.items():
            self._sent[ident, opening.n] = self._under_way[ident] = opening
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

    def _return(self, db: Connection, change: Exchange, granted: dict[int, Opening]) -> None:
        """Give back what is not in hand any more, before anybody is granted anything."""
        change.filled.clear()
        change.kept = ()
        if self._unsure:
            # The last batch may have been written, with these, and its slices as it made them.
            values = {"ids": id_list(granted)}
            for (ident,) in db.execute(_KNOWN, values).fetchall():
                granted.pop(ident)
            change.row(granted.values())
            found = self._budgets.slices(self.owner) if change.whole else []
            change.there = {(row[0], row[1]): row[3] for row in found} if change.whole else None
            for budget, start, end, nusd in found:
                if (budget, start) not in change.left:
                    change.back[budget, start], change.ends[budget, start] = nusd, end
        self._budgets.shrink(self.owner, change.spent(), sweep=bool(change.back))
        back = [(*key, change.ends[key], nusd) for key, nusd in change.back.items()]
        if back:
            self._budgets.unslice(back)

    def _stage_granted(
        self,
        db: Connection,
        granted: dict[int, Opening],
        whole: Sequence[Settled],
        kept: "Sequence[Budget]",
    ) -> None:
        """Write the rows of calls that went out without asking, but for those that are over."""
        over = {item.opening.request.id for item in whole}
        rows = [opening for ident, opening in granted.items() if ident not in over]
        stage(db, rows)
        for opening in rows:
            if opening.budgets is kept or not opening.held_nusd:
                continue
            # Other budgets cover it by now, or other periods of the same.
            ends = {} if self._change is None else self._change.ends
            self._budgets.unslice(
                [(*lease.key, ends[lease.key], opening.held_nusd) for lease in opening.leases]
            )
            new = opening.request
            self._budgets.charge(
                pending(new), opening.provider, opening.model, 0, held=opening.held_nusd
            )

    def _take(self, leases: Leases, change: Exchange) -> None:
        """Take slices of what is left."""
        change.kept = leases.enabled()
        if not self._unsure:
            leases.fill(change)
        filled = change.filled.items()
        taken = [(*key, room.status.end_at, more) for key, (room, more, _) in filled if more]
        if taken:
            self._budgets.grow(self.owner, taken)

    def set_aside(
        self, endings: Sequence[Ending], why: StoreError, granted: Collection[Opening] = ()
    ) -> StoreError:
        """Keep what the store does not take, for whoever opens it next; returns what to tell.

        Args:
            granted: what went out before its row was written.
        """
        records: list[Record] = [
            {"opened": asdict(opening.request), "sent": asdict(opening.attempt())}
            for opening in granted
        ]
        for ending in endings:
            if isinstance(ending, RequestEnding):
                records.append(request_record(ending.request, ending.end))
                self._under_way.pop(ending.request, None)
                continue
            opening = self._sent.pop((ending.request, ending.n), None)
            records.append(
                attempt_record(
                    None if opening is None else opening.request,
                    None if opening is None else opening.attempt(),
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

    def _paired(self, batch: Batch) -> tuple[list[Settled], list[Ending]]:
        """Requests that end here with their only attempt, and all other endings in order."""
        endings, granted = batch.endings, {} if self._unsure else batch.granted
        attempts: dict[int, AttemptEnding] = {}
        for ending in endings:
            if isinstance(ending, AttemptEnding):
                if (
                    ending.n == 1
                    and (ending.request in self._under_way or ending.request in granted)
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
                opening = granted.get(ending.request) or self._under_way[ending.request]
                whole.append(Settled(opening, attempt.end, attempt.priced, ending.end))
        return whole, [ending for ending in endings if ending.request not in done]

    def _end(self, ending: Ending) -> None:
        if isinstance(ending, AttemptEnding):
            opening = self._sent.get((ending.request, ending.n))
            if opening is not None:
                self._ledger.reinstate(opening.request, opening.attempt())
            self._ledger.end_attempt(
                ending.request,
                ending.n,
                ending.end,
                priced=ending.priced,
                allowance=ending.allowance,
            )
        else:
            self._ledger.end_request(ending.request, ending.end)

    def _save(self, db: Connection, progress: Sequence[Progressed], moved: Collection[int]) -> None:
        live = [p for p in progress if p.request in self._under_way and p.request not in moved]
        db.executemany(_SAVE_LIVE, [(p.first_at, p.received_chars, p.request) for p in live])
        rows = [p for p in progress if p not in live]
        db.executemany(_SAVE, [(p.first_at, p.received_chars, p.request, p.n) for p in rows])

    def _open(
        self,
        db: Connection,
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
            if opening.error is not None or opening.full:
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
                        ticket = take_ticket(db, provider, self.owner, ident, self._port())
                        tickets.append((opening, ticket))
                        turn.queue(ticket)
                    continue
                if ticket is not None:
                    give_up(db, (ticket,))
                    tickets.append((opening, None))
            error = too_soon(self._store, opening) or leases.grant(opening)
            if error is None:
                note_sent(self._store, opening)
            else:
                opening.error = error
                refused.add(ident)
                if turn is not None:
                    turn.give_back()
                continue
            if ident in self._waiting:
                going.append(opening)
            elif opening.opened:
                further.append(opening)
        stage(db, fresh)
        if going:
            rows = [(*sending_of(opening), opening.request.id) for opening in going]
            if db.executemany(_GO, rows).rowcount != len(going):
                self._stage_anew(db, going)
        if further:
            for opening in further:
                self._ledger.open(opening.request, None)
            again = [sent_row(opening.attempt()) for opening in further]
            ATTEMPTS.write(db, [attempt_values(row) for row in again])
        if refused:
            promote(db, refused)
        return refused

    def _stage_anew(self, db: Connection, going: Sequence[Opening]) -> None:
        """Have the rows of calls that waited, in a store that was put in the place of theirs."""
        ids = id_list(opening.request.id for opening in going)
        there = {row[0] for row in db.execute(_THERE, (ids,))}
        with contextlib.suppress(SameId):
            stage(db, [opening for opening in going if opening.request.id not in there])

    def _held(self, db: Connection, openings: Sequence[Opening]) -> Collection[int | None]:
        """Tickets of these that still stand: one that was not shown for long was thrown away."""
        held = {opening.ticket for opening in openings if opening.ticket is not None}
        now = time.monotonic()
        if not held or now - self._shown_at < SHOW_S:
            return held
        self._shown_at = now
        show(db, self.owner)
        return held & tickets_of(db, self.owner)

    # --- requests that are over, whole ------------------------------------------------------------

    def _settle(self, db: Connection, items: Sequence[Settled], granted: Collection[int]) -> None:
        """Write calls that are over into the ledger, whole.

        Args:
            items: each has its row in ``open_calls``, but for those just ``granted``, and its
                budgets are as when it began.

        Raises:
            Vanished: some have none; the transaction must roll back.
        """
        ids = [item.opening.request.id for item in items if item.opening.request.id not in granted]
        if ids:
            over = db.execute(_OVER, (id_list(ids),))
            if over.rowcount != len(ids):
                raise Vanished
        REQUESTS.write(db, [_settled_request(item) for item in items])
        ATTEMPTS.write(db, [_settled_attempt(item) for item in items])
        decisions = [
            (item.opening.request.id, item.opening.decision)
            for item in items
            if item.opening.decision is not None and not item.opening.named
        ]
        add_decisions(db, decisions)
        self._charge(items)
        self._count(items)

    def _charge(self, items: Sequence[Settled]) -> None:
        sums: dict[tuple[int, int], list[int]] = {}
        turned: dict[tuple[int, int], Lease] = {}
        for item in items:
            opening, attempt = item.opening, item.attempt
            cost = attempt.cost_nusd or 0
            held = opening.held_nusd
            free = held - attempt.held_nusd(held) if attempt.unseen else held
            for lease in opening.leases:
                key = lease.budget.id, lease.start_at
                total = sums.get(key)
                if total is None:
                    total = sums[key] = [0, 0]
                total[0] += cost
                total[1] += free
                if lease.turns_at and attempt.ended_at >= lease.turns_at:
                    turned[key] = lease
        if sums:
            rows = [(spent, free, *key) for key, (spent, free) in sums.items()]
            self._store.db.executemany(_CHARGE, rows)
        for lease in turned.values():
            self._budgets.carry_on(lease.budget, lease.turns_at)

    def _count(self, items: Sequence[Settled]) -> None:
        """In rollups and health windows: one statement for each row that the batch touches."""
        counts: dict[tuple[object, ...], Counts] = {}
        hours: dict[tuple[str, str, int], Sequence[int]] = {}
        counting = self._rollups.counting()
        building = counting.building
        for item in items:
            opening, end, attempt = item.opening, item.end, item.attempt
            new = opening.request
            key = (
                new.created_at // _QUARTER_MS,
                opening.model,
                opening.provider,
                new.source,
                new.org,
                new.key,
                new.role,
                new.agent,
                new.task,
                new.session,
                new.project,
                building is not None and new.id <= building.done,
            )
            group = counts.get(key)
            if group is None:
                targets = counting.targets(new.id)
                group = counts[key] = Counts(new, targets, opening.provider, opening.model)
            cost = attempt.cost_nusd
            outcome = Outcome(
                end.state == "ok",
                cost or 0,
                end.premium_cost_nusd is not None and cost is not None and item.priced != "unknown",
                end.premium_model,
                end.premium_cost_nusd,
                attempt.usage.output_tokens,
                end.latency_ms,
                end.ttft_ms,
            )
            if attempt.state == "unsent":
                group.add(NO_ATTEMPT, outcome)
                continue
            group.add(attempt_sums(attempt), outcome)
            sums = hour_sums(opening.started_at, attempt.first_at, attempt)
            if sums is not None:
                hour = (opening.provider, opening.model, attempt.ended_at // HOUR_MS)
                known = hours.get(hour)
                hours[hour] = sums if known is None else list(map(operator.add, known, sums))
        for group in counts.values():
            self._rollups.add(group)
        for hour, total in hours.items():
            self._health.add(hour, total)


def _parts(items: Sequence[Settled]) -> list[Ending]:
    found: list[Ending] = []
    for item in items:
        found.append(AttemptEnding(item.opening.request.id, 1, item.attempt, item.priced))
        found.append(RequestEnding(item.opening.request.id, item.end))
    return found


def _settled_request(item: Settled) -> tuple[object, ...]:
    """In the order of REQUEST_COLUMNS."""
    attempt = item.attempt
    return (
        *known_of(item.opening.request),
        *over_of(item.end),
        *tokens_of(attempt.usage),
        None,
        int(attempt.state != "unsent"),
        item.priced,
        attempt.cost_nusd,
        0,
        int(attempt.usage.estimated),
    )


def _settled_attempt(item: Settled) -> tuple[object, ...]:
    """In the order of ATTEMPT_COLUMNS."""
    opening, end = item.opening, item.attempt
    planned = sending_of(opening)[:-1]  # without what it holds back
    held = end.held_nusd(opening.held_nusd) if end.unseen else 0
    return (opening.request.id, opening.n, *planned, *ended_of(end), *used_of(end.usage), held)
