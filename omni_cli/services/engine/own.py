"""Requests of this process's own: ``omni chat``, comparisons, probes, the TUI's questions.

Each is a ``Call`` over httpx whose rows are written one at a time; its chunks go to one reader.
"""

import asyncio
import random
import threading
from collections.abc import Awaitable, Callable, Coroutine, Generator, Sequence
from typing import Any, Protocol, TypeVar

from msgspec import Struct

from omni_cli.domain.batch import SLOT_WAIT_S, Opening
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
    UnknownPrice,
)
from omni_cli.domain.ids import id_text
from omni_cli.domain.ledger import NewRequest
from omni_cli.domain.models import ProtocolName, Provider
from omni_cli.domain.pricing import format_usd
from omni_cli.domain.record import replace
from omni_cli.domain.vendor_env import refused_key_hint
from omni_cli.ports import Access, Clock, Endpoint, HttpCall, ProviderAdapter, Transport
from omni_cli.repositories import Ledger
from omni_cli.services.engine.attempts import Progress, Target
from omni_cli.services.engine.call import Call, none_passed
from omni_cli.services.engine.checks import Check
from omni_cli.services.engine.health import HealthRecorder
from omni_cli.services.engine.routing import input_estimate
from omni_cli.services.engine.sending import Sending
from omni_cli.services.engine.settlement import Reading
from omni_cli.wire.faults import KEY_HINT, is_foreign_thought
from omni_cli.wire.fitting import fit_model

#: How often a call that waits for a slot looks at least, and for slots that dead processes hold,
#: seconds.
_SLOT_LOOK_S = 1.0
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
        await_turn: waits for a request's (its id) turn at a provider of so many slots, so many
            seconds at most; else the time is slept through.
        reclaim: frees what dead processes hold; called while waiting for a slot.
        note: told of retries and failovers as they happen (one line each).
        limit_s: what a request may take with all its tries and stand-ins; an answer that began
            goes on to its end.
    """

    ledger: Ledger
    transport: Callable[[], Transport]
    adapters: Callable[[ProtocolName], ProviderAdapter]
    keys: Keys
    health: HealthRecorder
    clock: Clock
    rng: random.Random
    sleep: Callable[[float], Awaitable[None]]
    await_turn: Callable[[int, str, int, float], Awaitable[None]] | None = None
    reclaim: Callable[[], object] = lambda: None
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


class OwnCall(Call[Way]):
    """
    Args:
        new: the request as ``Ledger.open`` wrote it.
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
            for chunk in self._rejected:
                await self._give(chunk)
            raise none_passed(self.flaw) from None
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
        progress, stored = self.progress, target.price
        price = None if stored is None else stored.price
        opening = Opening(
            self._new,
            progress.tries + 1,
            target.model.id,
            target.provider.slug,
            self.now_ms(),
            input_estimate(self._request),
            bound_of(price, way.sent.most),
            target.provider.max_concurrency,
            None if stored is None else stored.id,
            price,
            progress.room_nusd,
            progress.most_nusd or 0,
            opened=True,
            rpm=target.rpm,
        )
        try:
            await self._begun(opening)
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
        tools, attempt = self._tools, opening.attempt()
        if attempt.output_bound is None:
            attempt.output_bound = opening.most_out
        return Reading(tools.ledger, tools.health, tools.clock, attempt, target, self.progress)

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

    async def _begun(self, opening: Opening) -> None:
        """Returns once the attempt is written: its provider had a slot for it.

        Raises:
            Busy: the slots stayed taken, or others came first. Nothing was written.
            BudgetExceeded, UnknownPrice: as ``Ledger.begin``.
        """
        tools, slots, slug, model = self._tools, opening.slots, opening.provider, opening.model
        began = opening.started_at
        try:
            while not tools.ledger.begin(opening):
                assert slots is not None
                if opening.waited_ms >= SLOT_WAIT_S * 1000:
                    raise Busy(
                        f"all {slots} slots of {slug} were taken for {SLOT_WAIT_S:.0f} s",
                        hint=f"omni providers edit {slug} --max-concurrency N",
                    )
                tools.reclaim()
                if tools.await_turn is None:
                    await tools.sleep(_SLOT_LOOK_S)
                else:
                    await tools.await_turn(self._id, slug, slots, _SLOT_LOOK_S)
                opening.started_at = now = self.now_ms()
                opening.waited_ms = max(now - began, 1)
        except BaseException as exc:
            tools.ledger.leave_queue(self._id)
            if isinstance(exc, UnknownPrice) and opening.ceiling_nusd is not None:
                raise UnknownPrice(
                    f"the price of {model} is unknown, so is whether it fits a maximum cost",
                    hint=f"omni models price {model} --price-in USD --price-out USD",
                ) from None
            raise

    async def exchange(self, way: Way, target: Target, reading: Reading) -> None:
        tools = self._tools
        adapter = tools.adapters(target.provider.protocol)
        name = f"{id_text(self._id)}-{reading.n}"
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
