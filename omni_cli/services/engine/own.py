"""Requests of this process's own: ``omni chat``, comparisons, probes, the TUI's questions.

Each is a ``Call`` over httpx whose rows are written one at a time; its chunks go to one reader.
"""

import asyncio
import random
import threading
from collections.abc import Awaitable, Callable, Coroutine, Generator, Sequence
from typing import Any, Protocol, TypeVar

from msgspec import Struct

from omni_cli.domain.batch import SLOT_WAIT_S
from omni_cli.domain.bounds import over_maximum
from omni_cli.domain.chat import ChatChunk, ChatRequest, Completion
from omni_cli.domain.consent import Consent
from omni_cli.domain.errors import (
    AssertionFailed,
    AuthError,
    BadRequest,
    BudgetExceeded,
    Busy,
    OmniError,
    ProviderError,
    UnknownPrice,
)
from omni_cli.domain.ids import id_text
from omni_cli.domain.ledger import NewAttempt
from omni_cli.domain.models import ProtocolName, Provider
from omni_cli.domain.pricing import format_usd
from omni_cli.domain.record import replace
from omni_cli.domain.vendor_env import refused_key_hint
from omni_cli.ports import Clock, Endpoint, HttpCall, ProviderAdapter, Transport
from omni_cli.repositories import Ledger
from omni_cli.services.engine.attempts import Progress, Target
from omni_cli.services.engine.bounds import Bounds, bounds
from omni_cli.services.engine.call import Call
from omni_cli.services.engine.checks import Check
from omni_cli.services.engine.health import HealthRecorder
from omni_cli.services.engine.routing import input_estimate
from omni_cli.services.engine.settlement import Reading
from omni_cli.wire.faults import is_foreign_thought
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
    def __call__(self, provider: Provider) -> str | None:
        """The provider's key; raises MissingKey when it needs one and none is found."""
        ...


async def pause(seconds: float) -> None:
    """Between two tries."""
    await asyncio.sleep(seconds)


class Tools(Struct, frozen=True):
    """What every request of this process works with.

    Args:
        adapters: protocol name to adapter.
        sleep: seconds to wait; replaced in tests.
        room: nano-dollars that the budgets leave for a request at a target, None without budget.
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
    room: Callable[[int, Target], int | None]
    sleep: Callable[[float], Awaitable[None]]
    await_turn: Callable[[int, str, int, float], Awaitable[None]] | None = None
    reclaim: Callable[[], object] = lambda: None
    note: Callable[[str], None] = lambda _: None
    limit_s: float = LIMIT_S

    def bounds(self, call: HttpCall, target: Target, room: int | None) -> Bounds:
        price = None if target.price is None else target.price.price
        adapter = self.adapters(target.provider.protocol)
        return bounds(adapter, call, target.provider.base_url, target.model, price, room)

    def worst_nusd(self, request: ChatRequest, target: Target) -> int | None:
        """The most that one call can cost, nothing being limited; None where that is unknown."""
        adapter = self.adapters(target.provider.protocol)
        endpoint = Endpoint(target.provider.base_url, None, target.provider.headers)
        try:
            fitted = fit_model(request, target.model)
            call = adapter.build(fitted, target.model.wire_name, endpoint)
        except BadRequest:
            return 0  # it cannot be sent
        return self.bounds(call, target, None).reserve_nusd


class OwnCall(Call[Bounds]):
    """
    Args:
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
        request_id: int,
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
        self.hedge_s = None if accept is not None else hedge_s
        self.ends_at_ms = int((tools.clock() + tools.limit_s) * 1000)
        self._tools = tools
        self._id = request_id
        self._request = request
        self._give = give
        self._accept = accept
        self.holds = accept is not None
        self._held: list[ChatChunk] = []
        self._rejected: list[ChatChunk] = []
        self._flaw = ""

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
            raise AssertionFailed(
                f"no answer passed the check: {self._flaw}",
                hint="the last answer is shown; a better model may do: --priority best",
            ) from None
        for chunk in self._held:
            await self._give(chunk)

    def accepts(self) -> bool:
        if self._accept is None:
            return True
        self._flaw = flaw = self._accept(self.progress.completion or Completion())
        if not flaw:
            return True
        # An answer came and was charged, and failed its check.
        self._rejected = self._held
        self._tools.ledger.annotate(self._id, self.progress.tries, "check_failed", flaw)
        last = self.progress.attempts[-1]
        self.progress.attempts[-1] = replace(
            last, outcome="rejected", error="check_failed", message=flaw
        )
        self.tell(f"{last.model}: check failed: {flaw}")
        return False

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

    def prepare(self, target: Target) -> Bounds:
        """The call bounded to what budgets and the request's maximum leave; says so where that
        shortens its answer.

        Raises BudgetExceeded, UnknownPrice: the maximum cannot hold it; MissingKey, BadRequest.
        """
        tools, progress, model = self._tools, self.progress, target.model.id
        provider = target.provider
        adapter = tools.adapters(provider.protocol)
        endpoint = Endpoint(provider.base_url, tools.keys(provider), provider.headers)
        fitted = fit_model(self._request, target.model)
        call = adapter.build(fitted, target.model.wire_name, endpoint)
        self.note_unsaid(target, call.told)
        if call.told:
            self.tell(f"{model} cannot be told: {'; '.join(call.told)}")
        left = progress.room_nusd
        rooms = [room for room in (tools.room(self._id, target), left) if room is not None]
        room = min(rooms, default=None)
        found = tools.bounds(call, target, room)
        if left is not None and progress.most_nusd is not None:
            if found.reserve_nusd is None:
                raise UnknownPrice(
                    f"the price of {model} is unknown, so is whether it fits a maximum cost",
                    hint=f"omni models price {model} --price-in USD --price-out USD",
                )
            if found.reserve_nusd > left:
                raise over_maximum(model, found.reserve_nusd, left, progress.most_nusd, found.why)
        if found.cut_from is not None:
            whose = "the maximum cost" if room == left else "a budget"
            self.tell(
                f"{model}: {whose} leaves {format_usd(room)}, so the answer is limited "
                f"to {found.output_bound or 0:,} tokens instead of {found.cut_from:,}",
            )
        return found

    async def commit(self, way: Bounds, target: Target) -> Reading:
        tools, progress = self._tools, self.progress
        attempt = NewAttempt(
            request=self._id,
            n=progress.tries + 1,
            model=target.model.id,
            provider=target.provider.slug,
            started_at=self.now_ms(),
            input_estimate=input_estimate(self._request),
            price=None if target.price is None else target.price.id,
            reserve_nusd=way.reserve_nusd,
            output_bound=way.output_bound,
            reserve_why=way.why,
        )
        reading = Reading(tools.ledger, tools.health, tools.clock, attempt, target, progress)
        try:
            reading.begin(await self._planned(attempt, target))
            progress.tries = attempt.n
            if progress.most_nusd is not None:
                progress.sent(attempt.n, way.reserve_nusd or 0)
            reading.sent = True
            tools.ledger.mark_sent(self._id, attempt.n)
        except (BudgetExceeded, UnknownPrice, Busy):
            raise  # by the plan: nothing was written
        except BaseException as exc:
            reading.stop(exc)
            raise
        self.reading, self.asked = reading, target
        return reading

    async def _planned(self, attempt: NewAttempt, target: Target) -> NewAttempt:
        """The attempt as it was written once its provider had a slot for it.

        Raises:
            Busy: the slots stayed taken, or others came first. Nothing was written.
            BudgetExceeded, UnknownPrice: as ``Ledger.plan``.
        """
        tools, slots, slug = self._tools, target.provider.max_concurrency, target.provider.slug
        began = attempt.started_at
        try:
            while not tools.ledger.plan(attempt, slots=slots):
                assert slots is not None
                if attempt.waited_ms >= SLOT_WAIT_S * 1000:
                    raise Busy(
                        f"all {slots} slots of {slug} were taken for {SLOT_WAIT_S:.0f} s",
                        hint=f"omni providers edit {slug} --max-concurrency N",
                    )
                tools.reclaim()
                if tools.await_turn is None:
                    await tools.sleep(_SLOT_LOOK_S)
                else:
                    await tools.await_turn(attempt.request, slug, slots, _SLOT_LOOK_S)
                now = self.now_ms()
                attempt = replace(attempt, started_at=now, waited_ms=max(now - began, 1))
        except BaseException:
            tools.ledger.leave_queue(attempt.request)
            raise
        return attempt

    async def exchange(self, way: Bounds, target: Target, reading: Reading) -> None:
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
                if self.holds:
                    self._held.append(chunk)
                    continue
                if self.race is not None:
                    await self.claim(target, reading)
                await self._give(chunk)
        reading.finish()

    def told(self, fault: ProviderError, way: Bounds, target: Target) -> ProviderError:  # noqa: ARG002  # as told
        if isinstance(fault, AuthError):
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


class Steps:
    """An event loop of its own, that code without one steps from a single thread. Ctrl-C ends what
    runs as it does elsewhere: it is cancelled, settled, and KeyboardInterrupt is raised."""

    def __init__(self) -> None:
        self._runner = asyncio.Runner()
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
