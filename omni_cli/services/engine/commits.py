"""Group commit on the event loop: requests that begin or end together share a transaction.

Into a file a batch is written on the loop itself: a thread would have to hand the interpreter's
lock over twice for each statement; a batch takes some 0.1 ms here, and the write lock is never
waited for: while another process holds it, the batch is tried again a little later and other work
goes on. Over a network (``Writer.remote``) a batch is written in one thread, and what begins or
ends meanwhile is the next; a request that slices of its budgets can hold goes out at once.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

from omni_cli.domain.batch import (
    LOOK_S,
    SHOW_S,
    SLOT_WAIT_S,
    AttemptEnding,
    Batch,
    Ending,
    Opening,
    Progressed,
)
from omni_cli.domain.errors import Locked, OmniError, SameId, StoreError, Unsure
from omni_cli.domain.ledger import Allowance, AttemptEnd, Charged
from omni_cli.domain.record import replace
from omni_cli.repositories import Writer

#: How long an ended request waits for others to be written with, seconds.
SETTLE_S = 0.02
#: The same over a network, where a batch costs more, and what ends is on this machine's disk.
_APART_S = 0.05
#: How often slices are looked at that nobody uses, seconds.
_RETURN_S = 5.0
#: With so many requests under way, a new one waits so long for others, seconds: a transaction
#: costs as much as ten of its rows.
_BUSY, _GATHER_S = 8, 0.0025
#: Waits before another try while the store is locked (the first and the longest), and while it
#: cannot be written for another reason, seconds.
_LOCKED_S, _LOCKED_MOST_S, _BROKEN_S = 0.001, 0.05, 0.5
#: How long a new request waits for a locked store, seconds.
OPEN_WAIT_S = 15.0
#: How long the last batch waits for the store, ms.
_LAST_WAIT_MS = 15_000
_CHECKPOINT_S = 1.0
#: Of a process that ends, over a network.
_LAST_BATCHES = 5


#: A new request, whom to tell, and since when it waits.
_Waiting = tuple[Opening, "asyncio.Future[None]", float]
#: Batches to commit; is sent what came of each.
_Steps = Generator[Batch, Exception | None, None]


class _Pending(Batch):
    """``since``: when the oldest of its endings came, seconds of the loop's clock."""

    since: float = 0.0

    def due(self, now: float) -> bool:
        return bool(self.jobs or self.progress or self.leaving) or (
            bool(self.endings) and now - self.since >= SETTLE_S
        )

    def join(self, other: Batch) -> None:
        """Put before it what another batch holds, but for requests that begin."""
        self.endings[:0] = other.endings
        latest = {(p.request, p.n): p for p in (*other.progress, *self.progress)}
        self.progress = list(latest.values())
        self.jobs[:0] = other.jobs
        self.leaving[:0] = other.leaving
        self.granted = {**other.granted, **self.granted}


class Commits:
    """Args:
    writer: used from the event loop's thread only.
    new_id: for a request whose id another process has taken.
    """

    def __init__(
        self,
        writer: Writer,
        *,
        new_id: Callable[[], int],
        note: Callable[[str], None],
    ) -> None:
        self._writer = writer
        self._new_id = new_id
        self._note = note
        self._loop = asyncio.get_running_loop()
        writer.listen = self._listen
        self._ears: int | None = None
        self._batch = _Pending()
        self._waiting: list[_Waiting] = []
        #: By provider, those that found no slot, in the order in which they came.
        self._queued: dict[str, deque[_Waiting]] = {}
        self._looked_at = 0.0
        #: Called every second while requests wait for slots: dead processes may hold some.
        self.reclaim: Callable[[], None] = lambda: None
        #: Whom to tell when the transaction under way is committed.
        self._done: list[asyncio.Future[None]] = []
        #: A request found no slot or no room the last time.
        self._short = False
        self._timer: asyncio.Handle | None = None
        self._soon = False
        #: Roughly: attempts that were refused are counted in and never out.
        self._under_way = 0
        self._delay_s = _LOCKED_S
        self._checkpoints: asyncio.Task[None] | None = None
        #: Where batches are written apart from the loop, one after the other.
        self._thread = ThreadPoolExecutor(1, "batches") if writer.remote else None
        self._apart: asyncio.Task[None] | None = None
        self._missed = False
        #: The last batches are ``close``'s.
        self._closing = False
        self._returns: asyncio.TimerHandle | None = None
        self._settle_s = SETTLE_S if self._thread is None else _APART_S
        #: What ``open`` gives to those that need not wait.
        self._at_once: asyncio.Future[None] = self._loop.create_future()
        self._at_once.set_result(None)
        #: New ids of requests that went out with one that another process had taken, by the old.
        self._renamed: dict[int, int] = {}
        self.owner = writer.owner

    def start(self) -> None:
        self._checkpoints = self._loop.create_task(self._checkpoint())
        if self._thread is not None:
            self._returns = self._loop.call_later(_RETURN_S, self._return)

    def _return(self) -> None:
        """Slices that nobody uses."""
        if self._writer.waits():
            self._flush_soon()
        self._returns = self._loop.call_later(_RETURN_S, self._return)

    # --- what callers do ----------------------------------------------------------------------

    def open(self, opening: Opening) -> "asyncio.Future[None]":
        """Is done once the attempt's row and leases are committed, or this machine's disk has it
        and slices hold it.

        Its errors:
            BudgetExceeded, UnknownPrice: it must not be sent.
            Busy: no slot of its provider became free.
            StoreError: its row could not be written.
        """
        first = opening.slots is None and opening.rpm is None and not opening.opened
        if first and self._thread is not None and self._writer.grant(opening):
            self._under_way += 1
            self._begin()
            self._batch.granted[opening.request.id] = opening
            return self._at_once
        future: asyncio.Future[None] = self._loop.create_future()
        self._waiting.append((opening, future, self._loop.time()))
        self._under_way += 1
        self._flush_soon()
        return future

    def end(self, ending: Ending) -> None:
        """Write it soon, and again and again until the store takes it."""
        if self._thread is not None:
            if self._renamed:
                ending.request = self._renamed.get(ending.request, ending.request)
            self._writer.ended(ending, self._batch.granted.get(ending.request))
        self._begin()
        self._batch.endings.append(ending)
        if isinstance(ending, AttemptEnding):
            self._under_way -= 1
        if self._queued:
            self._flush_soon()  # it may free the slot that others wait for

    def _begin(self) -> None:
        """Something is to be written that can wait for others."""
        if not self._batch.endings and not self._batch.granted:
            self._batch.since = self._loop.time()
        if self._timer is None and not self._soon and not self._queued:
            self._timer = self._loop.call_later(self._settle_s, self._flush)

    def end_attempt(
        self,
        request: int,
        n: int,
        end: AttemptEnd,
        *,
        priced: str | None,
        allowance: Allowance | None = None,
    ) -> Charged:
        """As the ledger's own, for settlement; it is not waited for.

        Returns what will be written, unless another process takes the last free call meanwhile.
        """
        charged = Charged(end, priced)
        if allowance is not None:
            used = self._writer.calls_of(allowance) + sum(
                isinstance(other, AttemptEnding)
                and other.allowance is not None
                and other.allowance.model == allowance.model
                and other.end.state == "ok"
                for other in self._batch.endings
            )
            charged = allowance.charge(end, priced, used)
        self.end(AttemptEnding(request, n, end, priced, allowance))
        return charged

    def checkpoint(self, request: int, n: int, *, first_at: int, received_chars: int) -> None:
        self.progress([Progressed(request, n, first_at, received_chars)])

    def note_carried_out(
        self, request: int, more: Mapping[str, Any], named: Mapping[str, Any] | None = None
    ) -> None:
        """After the request's end: how it was carried out is added to its decision."""
        self.job(lambda: self._writer.note_carried_out(request, more, named))

    def progress(self, rows: list[Progressed]) -> None:
        self._batch.progress += rows
        self._flush_soon()

    def job(self, job: Callable[[], None]) -> None:
        """Run ``job``, which writes through the writer's store, within the next transaction.

        It runs again when that transaction fails.
        """
        self._batch.jobs.append(job)
        self._flush_soon()

    def beside(self, look: Callable[[], bool], then: Callable[[], None]) -> None:
        """``look`` into the writer's store where batches are written, between two of them, and go
        on with ``then`` where it found something."""
        if self._thread is None:
            if look():
                then()
            return

        def found(done: "Future[bool]") -> None:
            if (fault := done.exception()) is not None:
                self._note(f"the store cannot be read: {fault}")
            elif done.result():
                self._loop.call_soon_threadsafe(then)

        self._thread.submit(look).add_done_callback(found)

    async def within(self, job: Callable[[], None]) -> None:
        """Returns once ``job``, which writes through the writer's store, is committed.

        Raises StoreError: it was not, in all the time that a new request waits.
        """
        done: asyncio.Future[None] = self._loop.create_future()

        def run() -> None:
            job()
            self._done.append(done)

        self.job(run)
        try:
            await asyncio.wait_for(done, OPEN_WAIT_S)
        except TimeoutError:
            raise StoreError("the store did not take it in time") from None

    async def close(self) -> None:
        """Write what is left. Raises StoreError when the store does not take it."""
        self._closing = True
        if self._checkpoints is not None:
            self._checkpoints.cancel()
        for timer in (self._timer, self._returns):
            if timer is not None:
                timer.cancel()
        if self._apart is not None:
            await asyncio.wait([self._apart])
            if self._timer is not None:
                self._timer.cancel()
        self._writer.patient(_LAST_WAIT_MS)
        try:
            batch, self._batch = self._batch, _Pending()
            if self._thread is None:
                if batch:
                    self._write_last(batch)
                return
            for _ in range(_LAST_BATCHES):  # something may begin or end while one is written
                self._writer.plan(batch, last=True)
                written = await self._loop.run_in_executor(self._thread, self._write_last, batch)
                if written:
                    self._writer.done()
                batch, self._batch = self._batch, _Pending()
                if not (written and batch):
                    break
            self._writer.leave(written=written and not batch)
        finally:
            self._stop_listening()
            if self._thread is not None:
                self._thread.shutdown()
            for _, future, _ in self._waiting:
                if not future.done():
                    future.set_exception(StoreError("this gateway is ending"))

    def _write_last(self, batch: Batch) -> bool:
        try:
            self._writer.write(batch)
        except StoreError as exc:
            if batch.endings:
                told = self._writer.set_aside(batch.endings, exc)
                self._note(f"{told.message}; {told.hint}")
            return False
        return True

    # --- how it is written --------------------------------------------------------------------

    def _flush_soon(self) -> None:
        if self._soon:
            return
        self._soon = True
        if self._timer is not None:
            self._timer.cancel()
        if self._under_way >= _BUSY:
            # Where slots are wanting, each ms that one stands empty is everybody's.
            wait_s = _GATHER_S / 4 if self._queued else _GATHER_S
            self._timer = self._loop.call_later(wait_s, self._flush)
        else:
            # After the callbacks that are ready now: their requests join the batch.
            self._timer = self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._timer, self._soon = None, False
        if self._apart is not None or self._closing:
            self._missed = True  # it is made up for once the batch under way is written
            return
        steps = self._steps()
        if self._thread is None:
            batch = next(steps, None)
            while batch is not None:
                batch = _next(steps, self._commit(batch))
        elif (first := next(steps, None)) is not None:
            self._apart = self._loop.create_task(self._write_apart(steps, first))

    async def _write_apart(self, steps: "_Steps", batch: Batch | None) -> None:
        try:
            while batch is not None:
                fault = await self._loop.run_in_executor(self._thread, self._commit, batch)
                batch = _next(steps, fault)
        except Exception:
            # Nobody knows which of these rows are written; the journal still has them all.
            self._writer.keep()
            raise
        finally:
            self._apart = None
        if self._missed:
            self._missed = False
            self._flush_soon()

    def _steps(self) -> "_Steps":
        """Gives batches to commit, and takes what came of each: None, or why it was not."""
        waiting, self._waiting = self._waiting, []
        now = self._loop.time()
        if self._queued:
            waiting[:0] = self._first_in_line(now)
        waiting = [entry for entry in waiting if not entry[1].done()]  # not: caller went away
        # What has ended waits for more of its kind; it is written first where it is due, and
        # where it may free the slot or the money that a new request needs.
        if not waiting or self._thread is not None or self._batch.due(now) or self._short:
            batch, self._batch = self._batch, _Pending()
        else:
            batch = _Pending()
        batch.openings = [opening for opening, _, _ in waiting]
        if not batch and not self._writer.waits():
            return
        if not (yield from self._write(batch, waiting)):
            return
        if self._batch and self._is_short(waiting):
            ended, self._batch = self._batch, _Pending()
            again = [entry for entry in waiting if not entry[0].committed]
            ended.openings = [opening for opening, _, _ in again]
            if not (yield from self._write(ended, again)):
                done = [entry for entry in waiting if entry[0].committed]
                self._answer(done)
                return
        self._short = self._is_short(waiting)
        self._delay_s = _LOCKED_S
        self._answer(waiting)

    # --- who waits for a slot -----------------------------------------------------------------

    def _first_in_line(self, now: float) -> list[_Waiting]:
        """Of each provider's queue those that may find a slot, taken from it in their order."""
        found: list[_Waiting] = []
        for provider, queue in list(self._queued.items()):
            while queue and (queue[0][1].done() or now - queue[0][2] > SLOT_WAIT_S):
                opening, future, _ = queue.popleft()
                if not future.done():
                    future.set_exception(opening.busy())
            most = 0 if not queue else queue[0][0].slots or len(queue)
            for _ in range(min(most, len(queue))):
                entry = queue.popleft()
                if not entry[1].done():
                    opening, waited_ms = entry[0], max(int((now - entry[2]) * 1000), 1)
                    opening.started_at += waited_ms - opening.waited_ms
                    opening.waited_ms = waited_ms
                    found.append(entry)
            if not queue:
                del self._queued[provider]
        return found

    def _queue(self, entry: _Waiting, *, first: bool) -> None:
        queue = self._queued.setdefault(entry[0].provider, deque())
        if first:
            queue.appendleft(entry)
        else:
            queue.append(entry)
            entry[1].add_done_callback(lambda _: self._left(entry[0]))

    def _left(self, opening: Opening) -> None:
        """Its request waits no longer: where its place still stands it is given up."""
        if opening.ticket is not None:
            self._under_way -= 1
            self._batch.leaving.append(opening.ticket)
            opening.ticket = None
            self._flush_soon()

    def _listen(self, handle: int) -> None:
        """Other processes can ring from now on."""
        self._ears = handle
        if self._thread is None:
            self._loop.add_reader(handle, self._rung)
        else:
            self._loop.call_soon_threadsafe(self._loop.add_reader, handle, self._rung)

    def _rung(self) -> None:
        """Another process has freed a slot."""
        self._writer.silence()
        self._flush_soon()

    def _stop_listening(self) -> None:
        handle, self._ears = self._ears, None
        if handle is not None:
            self._loop.remove_reader(handle)
        self._writer.hang_up()

    def _look(self) -> None:
        """Nobody rang: slots may be free all the same."""
        self._timer = None
        now = self._loop.time()
        if now - self._looked_at >= SHOW_S:
            self._looked_at = now
            self.reclaim()
        self._flush_soon()

    # --- how it is written, the details -------------------------------------------------------

    def _is_short(self, waiting: "list[_Waiting]") -> bool:
        """Whether a request found no slot, or no room in a budget."""
        return any(opening.full or opening.error is not None for opening, _, _ in waiting)

    def _write(
        self, batch: Batch, waiting: "list[_Waiting]"
    ) -> Generator[Batch, Exception | None, bool]:
        """Write a batch, or put it back for later; returns whether it was written."""
        fault = yield from self._put(batch)
        if fault is None:
            return True
        if isinstance(fault, Locked):
            self._put_back(batch, waiting, fault, OPEN_WAIT_S, self._delay_s)
            self._delay_s = min(self._delay_s * 2, _LOCKED_MOST_S)
        elif isinstance(fault, SameId) and not batch.granted:
            for opening in batch.openings:
                if not opening.opened:
                    opening.request = replace(opening.request, id=self._new_id())
            self._put_back(batch, waiting, None, OPEN_WAIT_S, 0.0)
        elif isinstance(fault, StoreError) and not isinstance(fault, SameId):
            # Nothing that no slice holds may begin without its row; what has ended waits to be
            # written.
            self._note(f"the store cannot be written, trying again: {fault.message}")
            self._put_back(batch, waiting, fault, 0.0, _BROKEN_S)
        else:
            # Whatever it is, the others must be written.
            self._note(f"a batch was refused, writing its rows singly: {fault!r}")
            yield from self._one_by_one(batch, waiting)
        return False

    def _put(
        self, batch: Batch, *, part: bool = False
    ) -> Generator[Batch, Exception | None, Exception | None]:
        """Commit a batch with what is to become of slices; returns why it was not."""
        self._writer.plan(batch, part=part)
        fault = yield batch
        if fault is None:
            self._writer.done()
            self._tell()
        else:
            self._writer.undone(fault)
            if isinstance(fault, Unsure):  # nobody waits for these; their rows may be there
                disown = self._writer.disown
                self._batch.jobs += [partial(disown, opening) for opening in batch.openings]
        return fault

    def _commit(self, batch: Batch) -> Exception | None:
        """Write a batch; returns why it was not written."""
        self._done.clear()
        try:
            self._writer.write(batch)
        except Exception as exc:  # noqa: BLE001  # the loop decides what becomes of the batch
            return exc
        return None

    def _tell(self) -> None:
        """Those who wait for a job of the batch that was committed."""
        for done in self._done:
            if not done.done():
                done.set_result(None)

    def _one_by_one(
        self, batch: Batch, waiting: list[_Waiting]
    ) -> Generator[Batch, Exception | None, None]:
        """One row cannot be written, whatever comes: write all others, and tell of that one."""
        for opening in batch.granted.values():
            part = Batch(granted={opening.request.id: opening})
            fault = yield from self._put(part, part=True)
            if isinstance(fault, SameId):
                self._rename(opening, batch)
                part = Batch(granted={opening.request.id: opening})
                fault = yield from self._put(part, part=True)
            self._left_over(part, fault)
        late = [end for end in batch.endings if end.request in self._batch.granted]
        self._batch.join(Batch(endings=late))  # after its row
        parts = [Batch(endings=[ending]) for ending in batch.endings if ending not in late]
        parts += [Batch(jobs=[job]) for job in batch.jobs]
        parts += [Batch(leaving=[ticket]) for ticket in batch.leaving]
        for part in parts:
            fault = yield from self._put(part, part=True)
            self._left_over(part, fault)
        for entry in waiting:
            fault = yield from self._put(Batch(openings=[entry[0]]), part=True)
            if fault is None:
                self._answer([entry])
            elif isinstance(fault, SameId):
                entry[0].request = replace(entry[0].request, id=self._new_id())
                self._waiting.append(entry)
            elif not entry[1].done():
                entry[1].set_exception(StoreError(f"cannot write the request's row: {fault}"))
        if self._batch or self._waiting:
            self._timer = self._timer or self._loop.call_later(_BROKEN_S, self._flush)

    def _left_over(self, part: Batch, fault: Exception | None) -> None:
        if isinstance(fault, StoreError):
            self._batch.join(part)
        elif fault is not None:  # told, and left to recovery
            self._note(f"a row was refused by the store and is left out: {fault!r}: {part}")
            if self._thread is not None and (part.granted or part.endings):
                # Nothing but the journal knows of it, which forgets what whole batches have.
                why = StoreError(f"the row was refused: {type(fault).__name__}")
                self._writer.set_aside(part.endings, why, part.granted.values())

    def _rename(self, opening: Opening, batch: Batch) -> None:
        """Another process has taken the id of a request that is out: its row gets another."""
        old, new = opening.request.id, self._new_id()
        self._renamed[old] = new
        opening.request = replace(opening.request, id=new)
        self._writer.renamed(old, new)
        for ending in (*batch.endings, *self._batch.endings):
            if ending.request == old:
                ending.request = new

    def _answer(self, waiting: list[_Waiting]) -> None:
        full: list[_Waiting] = []
        for entry in waiting:
            opening, future, _ = entry
            if future.done():
                self._left(opening)
            elif opening.error is not None:
                self._under_way -= 1
                future.set_exception(opening.error)
                if self._queued and opening.slots is not None:
                    self._flush_soon()  # the slot that it does not take is another's
            elif opening.full:
                full.append(entry)
            else:
                future.set_result(None)
        for entry in reversed(full):
            if entry[0].waited_ms:  # it came out of the queue
                self._queue(entry, first=True)
        for entry in full:
            if not entry[0].waited_ms:
                self._queue(entry, first=False)
        if self._queued:
            if self._timer is None:
                self._timer = self._loop.call_later(LOOK_S, self._look)
        elif self._timer is None and self._batch:
            left = self._batch.since + self._settle_s - self._loop.time()
            self._timer = self._loop.call_later(max(left, 0.0), self._flush)

    def _put_back(
        self,
        batch: Batch,
        waiting: list[_Waiting],
        error: OmniError | None,
        patience_s: float,
        delay_s: float,
    ) -> None:
        now = self._loop.time()
        again: list[_Waiting] = []
        for entry in reversed(waiting):
            if entry[1].done():  # its caller went away while the batch was written
                self._left(entry[0])
            elif entry[0].ticket is not None and patience_s:
                self._queue(entry, first=True)  # how long it waits is limited there
            elif error is not None and now - entry[2] >= patience_s:
                entry[1].set_exception(error)
            else:
                again.append(entry)
        self._waiting[:0] = reversed(again)
        self._batch.join(batch)
        if self._timer is not None:
            self._timer.cancel()
        self._soon = True  # nobody flushes sooner
        self._timer = self._loop.call_later(delay_s, self._flush)

    async def _checkpoint(self) -> None:
        """Move the write-ahead log into the store, in a thread: it syncs to disk."""
        while True:
            await asyncio.sleep(_CHECKPOINT_S)
            await asyncio.to_thread(self._writer.checkpoint)


def _next(steps: _Steps, fault: Exception | None) -> Batch | None:
    """The next batch to commit, after what came of the last."""
    try:
        return steps.send(fault)
    except StopIteration:
        return None
