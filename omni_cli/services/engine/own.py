"""Requests of this process's own: ``omni chat``, comparisons, probes, the TUI's questions.

Each is a ``Call`` whose rows are written in batches of one; its chunks go to one reader.
"""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Awaitable, Callable, Coroutine, Generator, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from msgspec import Struct

from omni_cli.domain.batch import (
    SHOW_S,
    SLOT_WAIT_S,
    AttemptEnding,
    Batch,
    Ending,
    Opening,
    Progressed,
    RequestEnding,
    pack_decision,
)
from omni_cli.domain.bounds import Most, bound_of, worst_nusd
from omni_cli.domain.chat import ChatChunk, ChatRequest
from omni_cli.domain.consent import Consent
from omni_cli.domain.errors import (
    AuthError,
    BadRequest,
    BudgetExceeded,
    Busy,
    OmniError,
    Paced,
    ProviderError,
    SameId,
    StoreError,
    UnknownPrice,
)
from omni_cli.domain.ids import id_text
from omni_cli.domain.ledger import Allowance, AttemptEnd, Charged, NewRequest, RequestEnd
from omni_cli.domain.models import ProtocolName, Provider
from omni_cli.domain.money import format_usd
from omni_cli.domain.record import replace
from omni_cli.domain.vendor_env import refused_key_hint
from omni_cli.ports import Access, Clock, Endpoint, HttpCall, ProviderAdapter, Transport
from omni_cli.services.engine.attempts import Progress, Target
from omni_cli.services.engine.call import Call, none_passed
from omni_cli.services.engine.checks import Check
from omni_cli.services.engine.health import HealthRecorder
from omni_cli.services.engine.routing import input_estimate
from omni_cli.services.engine.sending import Sending
from omni_cli.services.engine.settlement import Reading
from omni_cli.wire.faults import KEY_HINT, is_foreign_thought
from omni_cli.wire.fitting import fit_model

if TYPE_CHECKING:
    from omni_cli.repositories import Writer

#: How often a call that waits for a slot looks where nobody rings it, seconds.
_SLOT_LOOK_S = 0.25
#: Names an attempt on the wire: ties a proxy's or a provider's log to the ledger.
ATTEMPT_HEADER = "x-omni-attempt"
#: What a request may take in all, seconds.
LIMIT_S = 900.0
_T = TypeVar("_T")
#: Takes a chunk; returns when its reader wants the next.
Give = Callable[[ChatChunk], Awaitable[None]]


class Keys(Protocol):
    def __call__(self, provider: Provider) -> str | Access | None:
        """The provider's key; raises MissingKey when it needs one and none is found."""
        ...


async def pause(seconds: float) -> None:
    """Between two tries."""
    await asyncio.sleep(seconds)


class Way(Struct):
    """``sent``: the body of ``call`` as it goes out."""

    call: HttpCall
    sent: Sending


class Tools(Struct, frozen=True):
    """What every request of this process works with.

    Args:
        adapters: protocol name to adapter.
        sleep: seconds to wait; replaced in tests.
        note: told of retries and failovers as they happen (one line each).
        limit_s: what a request may take with all its tries and stand-ins; an answer that began
            goes on to its end.
    """

    commits: Singly
    transport: Callable[[], Transport]
    adapters: Callable[[ProtocolName], ProviderAdapter]
    keys: Keys
    health: HealthRecorder
    clock: Clock
    rng: random.Random
    sleep: Callable[[float], Awaitable[None]]
    note: Callable[[str], None] = lambda _: None
    limit_s: float = LIMIT_S

    def way(self, request: ChatRequest, target: Target, endpoint: Endpoint) -> Way:
        """The call that asks a target. Raises BadRequest."""
        adapter = self.adapters(target.provider.protocol)
        call = adapter.build(fit_model(request, target.model), target.model.wire_name, endpoint)
        return Way(call, Sending(call.body or b"{}", target, adapter, "chat", call.headers))

    def worst_nusd(self, request: ChatRequest, target: Target) -> int | None:
        """The most that one call can cost, nothing being limited; None where that is unknown."""
        endpoint = Endpoint.of(target.provider, None)
        try:
            way = self.way(request, target, endpoint)
        except BadRequest:
            return 0  # it cannot be sent
        price = None if target.price is None else target.price.price
        if price is not None and price.state == "free":
            return 0
        most = bound_of(price, way.sent.most)
        if price is None or not isinstance(most, Most):
            return None
        try:
            return worst_nusd(most, price, most.each)
        except UnknownPrice:
            return None


class Singly:
    """The ledger of a command's calls: batches of one, each committed before it returns.

    A whole answer waits for the end of its request, with which it is one transaction.

    Args:
        pause: waits until a slot may be free, at most so many seconds.
        reclaim: frees what dead processes hold; called while waiting for a slot.
    """

    def __init__(
        self,
        writer: Writer,
        *,
        clock: Clock,
        pause: Callable[[float], Awaitable[None]],
        reclaim: Callable[[], object],
    ) -> None:
        self._writer = writer
        self._clock = clock
        self._pause = pause
        self._reclaim = reclaim
        #: Of requests without an attempt so far.
        self._decisions: dict[int, bytes] = {}
        #: Attempts that may have a row, and have not ended.
        self._sent: set[tuple[int, int]] = set()
        self._ended: list[Ending] = []
        self._waiting = 0
        writer.listen = lambda _: None  # it is rung where it waits (``pause``)

    @property
    def owner(self) -> str:
        """The name of this process in the rows that it has open."""
        return self._writer.owner

    def begin(
        self, make: Callable[[], NewRequest], decision: str, job: Callable[[NewRequest], None]
    ) -> NewRequest:
        """Write a request's row, before any money can flow.

        Args:
            make: the request, each time with another id: another process may draw the same one.
            decision: as JSON text.
            job: writes what belongs to it within the same transaction.
        """
        packed = pack_decision(decision)
        while True:
            new = make()
            with suppress(SameId):
                self._write(Batch(requests=[(new, packed)], jobs=[partial(job, new)]))
                self._decisions[new.id] = packed
                return new

    async def open(self, opening: Opening) -> None:
        """Returns once the attempt is committed, with what it may cost held back in every budget:
        it may go, and the provider charge for it.

        Raises:
            Busy: the slots of its provider stayed taken, or others came first.
            BudgetExceeded, UnknownPrice: as ``Leases.grant``.
            StoreError: its row could not be written.
        """
        key = opening.request.id, opening.n
        opening.decision = self._decisions.pop(opening.request.id, None)
        began = looked = opening.started_at
        self._waiting += 1
        try:
            while True:
                self._sent.add(key)
                try:
                    self._write(Batch(openings=[opening]))
                except Exception:
                    self._sent.discard(key)
                    raise
                if opening.committed:
                    return
                self._sent.discard(key)
                if opening.error is not None:
                    raise opening.error
                if opening.waited_ms >= SLOT_WAIT_S * 1000:
                    raise opening.busy()
                await self._pause(_SLOT_LOOK_S)
                opening.started_at = now = int(self._clock() * 1000)
                opening.waited_ms = max(now - began, 1)
                if now - looked >= SHOW_S * 1000:
                    looked = now
                    self._reclaim()
        finally:
            self._waiting -= 1
            if opening.ticket is not None:
                with suppress(StoreError):
                    self._write(Batch(leaving=[opening.ticket]))
            if not self._waiting:
                self._writer.hang_up()

    def checkpoint(self, request: int, n: int, *, first_at: int, received_chars: int) -> None:
        """How much of a stream has arrived: what a killed process will be charged for. Not worth
        waiting for, nor failing for: the answer goes on."""
        with suppress(StoreError), self._writer.impatient():
            self._writer.write(Batch(progress=[Progressed(request, n, first_at, received_chars)]))

    def end_attempt(
        self,
        request: int,
        n: int,
        end: AttemptEnd,
        *,
        priced: str | None,
        allowance: Allowance | None = None,
    ) -> Charged | None:
        """As the ledger's own, for settlement. Returns None where it has no row, or has ended.

        What the store does not take is set aside.
        """
        if (request, n) not in self._sent:
            return None
        self._sent.discard((request, n))
        self._ended.append(AttemptEnding(request, n, end, priced, allowance))
        charged = Charged(end, priced)
        if allowance is not None:
            with suppress(StoreError):  # judged again where it is written
                charged = allowance.charge(end, priced, self._writer.calls_of(allowance))
        if end.state != "ok" or allowance is not None:
            self.flush()
        return charged

    def flush(self) -> None:
        """Have written, or set aside, what has ended."""
        if self._ended:
            self._end(Batch())

    def end(self, request: int, end: RequestEnd, job: Callable[[], None]) -> StoreError | None:
        """Write a request's end, and what ``job`` writes within the same transaction; returns what
        its user is to be told where the store did not take it."""
        self._decisions.pop(request, None)
        self._ended.append(RequestEnding(request, end))
        try:
            return self._end(Batch(jobs=[job]))
        except BaseException:
            self.flush()  # the job failed
            raise

    def _end(self, batch: Batch) -> StoreError | None:
        try:
            # What was set aside comes first; a store that did not take it is not asked again.
            if self._writer.behind is not None:
                raise self._writer.behind
            self._write(batch)
        except StoreError as exc:
            ended, self._ended = self._ended, []
            return self._writer.set_aside(ended, exc)
        self._writer.wake()
        return None

    def _write(self, batch: Batch) -> None:
        batch.endings[:0] = self._ended
        self._writer.write(batch)
        self._ended.clear()


class OwnCall(Call[Way]):
    """
    Args:
        new: the request as ``Singly.begin`` wrote it.
        progress: tells at any time who answered and at what cost.
        give: takes each chunk; what it raises ends the request, settled as far as it came.
        accept: looks at each whole answer; one that fails is kept back and charged, and the next
            target is tried. Nothing is given before it passed.
    """

    broken_hint = (
        "what arrived was kept and charged; send it again, or use --no-stream to have whole "
        "answers only"
    )

    def __init__(
        self,
        tools: Tools,
        new: NewRequest,
        request: ChatRequest,
        targets: Sequence[Target],
        consent: Consent,
        progress: Progress,
        give: Give,
        *,
        accept: Check | None = None,
        hedge_s: float | None = None,
    ) -> None:
        super().__init__(
            tools.health,
            tools.clock,
            tools.rng,
            tools.sleep,
            targets,
            consent,
            progress,
        )
        self.accept = accept
        self.hedge_s = None if accept is not None else hedge_s
        self.ends_at_ms = int((tools.clock() + tools.limit_s) * 1000)
        self._tools = tools
        self._new = new
        self._id = new.id
        self._request = request
        self._give = give
        self._held: list[ChatChunk] = []
        self._rejected: list[ChatChunk] = []

    async def answer(self) -> None:
        """As ``Call.answer``.

        Raises AssertionFailed: no answer passed the check; the last one was given.
        """
        try:
            await super().answer()
        except OmniError:
            if not self._rejected:
                raise
            self._tools.commits.flush()  # whoever reads it may take their time
            for chunk in self._rejected:
                await self._give(chunk)
            raise none_passed(self.flaw) from None
        if self._held:
            self._tools.commits.flush()
        for chunk in self._held:
            await self._give(chunk)

    def mends(self, error: OmniError, target: Target) -> bool:
        """What other vendors' models thought, which this one cannot verify, is left out."""
        if not is_foreign_thought(error):
            return False
        messages = self._request.messages
        if not any(message.reasoning for message in messages):
            return False
        self._request = replace(
            self._request, messages=tuple(replace(m, reasoning=()) for m in messages)
        )
        self.tell(f"{target.model.id}: asked again without what other models thought")
        return True

    def prepare(self, target: Target) -> Way:
        """Raises MissingKey, BadRequest."""
        tools, provider = self._tools, target.provider
        endpoint = Endpoint.of(provider, tools.keys(provider))
        way = tools.way(self._request, target, endpoint)
        told = way.call.told
        self.note_unsaid(target, told)
        if told:
            self.tell(f"{target.model.id} cannot be told: {'; '.join(told)}")
        return way

    async def commit(self, way: Way, target: Target) -> Reading:
        """The call bounded to what budgets and the request's maximum leave; says so where that
        shortens its answer."""
        progress, estimate = self.progress, input_estimate(self._request)
        opening = self.opening(self._new, target, way.sent, estimate, opened=True)
        try:
            await self._tools.commits.open(opening)
            self._bound(way, opening)
            reading = self._read(opening, target)
            progress.tries = opening.n
            if progress.most_nusd is not None:
                progress.sent(opening.n, opening.held_nusd)
            reading.sent = True
        except BaseException as exc:
            refused = isinstance(exc, BudgetExceeded | UnknownPrice | Busy | Paced)
            if opening.committed or not refused:  # an interrupt may fall right behind the row
                self._read(opening, target).stop(exc)
            raise
        self.reading, self.asked = reading, target
        return reading

    def _read(self, opening: Opening, target: Target) -> Reading:
        tools = self._tools
        return Reading(tools.commits, tools.health, tools.clock, opening, target, self.progress)

    def _bound(self, way: Way, opening: Opening) -> None:
        """Have the call ask for no more than was granted."""
        if opening.each is None:
            return
        way.sent.limit(opening.each)
        way.call = replace(way.call, body=way.sent.written())
        room, most = opening.room_nusd, opening.most
        if room is not None and isinstance(most, Most):
            whose = "the maximum cost" if room == opening.ceiling_nusd else "a budget"
            self.tell(
                f"{opening.model}: {whose} leaves {format_usd(room)}, so the answer is limited "
                f"to {opening.output_bound or 0:,} tokens instead of {most.each:,}",
            )

    async def exchange(self, way: Way, target: Target, reading: Reading) -> None:
        tools = self._tools
        adapter = tools.adapters(target.provider.protocol)
        name = f"{id_text(self._id)}-{reading.opening.n}"
        call = replace(way.call, headers={**way.call.headers, ATTEMPT_HEADER: name})
        self._held = []
        answer = await tools.transport().open(adapter, call, timeout_s=target.timeout_ms / 1000)
        async with answer:
            told = answer.headers
            reading.response_id = (
                told.get("x-generation-id") or told.get("x-request-id") or told.get("request-id")
            )
            async for chunk in answer:
                reading.take(chunk)
                if self.accept is not None:
                    self._held.append(chunk)
                    continue
                if self.race is not None:
                    await self.claim(target, reading)
                await self._give(chunk)
        if self.accept is None:
            reading.finish()
            return
        self.judge(target, reading)
        if self.flaw:
            self._rejected = self._held

    def told(self, fault: ProviderError, way: Way, target: Target) -> ProviderError:  # noqa: ARG002  # as told
        if isinstance(fault, AuthError) and fault.hint in ("", KEY_HINT):
            fault.hint = refused_key_hint(target.provider.slug)
        return fault

    def tell(self, line: str) -> None:
        self.progress.notes.append(line)
        self._tools.note(line)

    def late_hint(self) -> str:
        limit_s = self._tools.limit_s
        return f"nobody else was asked, as its {limit_s:g} s (chat.limit_s) are over"


class Handover:
    """Chunks from whoever carries a request out to its one reader: the request goes on when its
    reader asks for more, so what was counted is what was handed over.

    Args:
        work: carries the request out; takes what gives a chunk.
    """

    def __init__(self, work: Callable[[Give], Coroutine[Any, Any, None]]) -> None:
        self._work = work
        self._task: asyncio.Task[None] | None = None
        self._offered: asyncio.Future[ChatChunk] | None = None
        self._wanted: asyncio.Future[None] | None = None

    async def next(self) -> ChatChunk | None:
        """The next chunk, None at the end. Raises what ends the request."""
        self._offered = asyncio.get_running_loop().create_future()
        if self._task is None:
            self._task = asyncio.create_task(self._work(self._give))
        elif self._wanted is not None and not self._wanted.done():
            self._wanted.set_result(None)
        await asyncio.wait((self._offered, self._task), return_when=asyncio.FIRST_COMPLETED)
        if self._offered.done():
            return self._offered.result()
        self._task.result()
        return None

    async def leave(self, reason: BaseException) -> None:
        """The reader goes: what has come is settled. A fault of the reader's own is told."""
        task, wanted = self._task, self._wanted
        if task is None or task.done():
            return
        if isinstance(reason, Exception) and wanted is not None and not wanted.done():
            wanted.set_exception(reason)
        else:
            task.cancel()
        await asyncio.wait((task,))
        if not task.cancelled():
            task.exception()  # it is told by whoever left

    async def _give(self, chunk: ChatChunk) -> None:
        assert self._offered is not None
        self._wanted = asyncio.get_running_loop().create_future()
        self._offered.set_result(chunk)
        await self._wanted


class Stopped(BaseException):
    """The user gave up. No Exception: nothing may take it for a failure and try again."""


def _loop() -> asyncio.AbstractEventLoop:
    """A loop that does not print what a signal's handler raised within a task: that ends the
    process, which tells it once."""

    def tell(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if not isinstance(context.get("exception"), KeyboardInterrupt):
            loop.default_exception_handler(context)

    loop = asyncio.new_event_loop()
    loop.set_exception_handler(tell)
    return loop


class Steps:
    """An event loop of its own, that code without one steps from a single thread. Ctrl-C ends what
    runs as it does elsewhere: it is cancelled, settled, and KeyboardInterrupt is raised."""

    def __init__(self) -> None:
        self._runner = asyncio.Runner(loop_factory=_loop)
        self._running: asyncio.Task[Any] | None = None
        self._stopped = False

    def run(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Raises what ``work`` does; Stopped."""
        return self._runner.run(self._stoppable(work))

    async def _stoppable(self, work: Coroutine[Any, Any, _T]) -> _T:
        self._running = asyncio.current_task()
        try:
            if self._stopped:
                work.close()
                raise Stopped
            return await work
        except asyncio.CancelledError:
            if not self._stopped:
                raise
            raise Stopped from None
        finally:
            self._running = None

    def chunks(self, handover: Handover) -> Generator[ChatChunk]:
        """One chunk after the other; a reader that leaves, or raises, ends the request."""
        try:
            while (chunk := self.run(handover.next())) is not None:
                yield chunk
        except BaseException as exc:
            self._runner.run(handover.leave(exc))
            raise

    def stop(self) -> None:
        """Give up what runs now and all that comes. May be called from any thread."""
        self._stopped = True
        loop, running = self._runner.get_loop(), self._running
        if running is not None:
            loop.call_soon_threadsafe(running.cancel)

    def close(self, last: Coroutine[Any, Any, None] | None = None) -> None:
        """Give up what is under way, which settles it, then do ``last``. Within another loop, as
        the TUI's is, a thread does it."""

        async def end() -> None:
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)
            if last is not None:
                await last

        def close() -> None:
            with self._runner:
                self._runner.run(end())

        try:
            asyncio.get_running_loop()
        except RuntimeError:
            close()
        else:
            ending = threading.Thread(target=close)
            ending.start()
            ending.join()
