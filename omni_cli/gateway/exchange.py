"""Carry out one request: attempts in order, retries, failover, and the answer to the caller.

The rules are those of ``services/engine/dispatch.py``, on an event loop: another model may take
over until the first token of an answer went out; after that a failure ends the answer with a typed
error, and what arrived is charged. A caller that goes away ends the provider's work too.
"""

import asyncio
import random
from collections.abc import Iterator

from msgspec import Struct, field

from omni_cli.domain import retry
from omni_cli.domain.batch import Opening
from omni_cli.domain.bounds import bound_of
from omni_cli.domain.errors import (
    Cancelled,
    OmniError,
    ProviderError,
    StreamInterrupted,
    TimedOut,
)
from omni_cli.gateway.asks import Ask
from omni_cli.gateway.calls import forwarding, translated, veil
from omni_cli.gateway.deadlines import Deadlines
from omni_cli.gateway.delivery import Delivery, interrupted
from omni_cli.gateway.fleet import Fleet
from omni_cli.gateway.hedging import Hedge, Outrun, Race
from omni_cli.gateway.plans import Plan
from omni_cli.gateway.receipts import Receipt, Streams
from omni_cli.gateway.relay import Relay
from omni_cli.gateway.sending import Sending
from omni_cli.gateway.traces import Traces
from omni_cli.http.client import UpstreamPool
from omni_cli.http.request import Request
from omni_cli.services.engine.attempts import AttemptSummary, Target
from omni_cli.services.engine.turns import PASSED_ON, Turns, final, verdict
from omni_cli.wire.faults import is_foreign_thought
from omni_cli.wire.reader import cleaned

#: A longer wait that a provider asks for is told to the caller, whose SDK keeps to it.
_MOST_WAIT_S = 5.0
#: How long a plain answer is waited for whose caller has gone, seconds.
READ_ON_S = 120.0


class Tools(Struct, frozen=True):
    """What every exchange of a process works with."""

    fleet: Fleet
    pool: UpstreamPool
    streams: Streams
    rng: random.Random
    deadlines: Deadlines
    traces: Traces | None = None
    #: Exchanges whose callers have gone, and that wait for a plain answer all the same.
    staying: "set[Exchange]" = field(default_factory=set)


class _Turn(Struct):
    """A model's turn in a request. ``tries``: attempts that were committed."""

    tries: int = 0


class _Fault(Struct, frozen=True):
    """Why a model did not answer. ``final``: no other would."""

    error: OmniError
    final: bool


class Exchange:
    """One request and its answer.

    Args:
        request: nothing goes out before an answer's first token, or its error, is known.
        request_id: the caller's protocol's own id of this request.
        hedge: when a second model is asked beside the first.
    """

    def __init__(
        self,
        tools: Tools,
        ask: Ask,
        plan: Plan,
        receipt: Receipt,
        request: Request,
        request_id: str,
        hedge: Hedge | None = None,
    ) -> None:
        self._hedge = hedge
        self._race: Race | None = None
        self._staying = tools.staying
        self._leaving: asyncio.TimerHandle | None = None
        self._fleet = tools.fleet
        self._pool = tools.pool
        self._streams = tools.streams
        self._rng = tools.rng
        self._ask = ask
        self._plan = plan
        self._receipt = receipt
        receipt.sent = ask.sent_tokens
        self._request = request
        self._out = Delivery(ask.caller, receipt, request, request_id)
        self._relay = Relay(tools.fleet, tools.streams, ask, plan, receipt, self._out)
        self._late = False
        self._deadlines = tools.deadlines
        self._task: asyncio.Task[None] | None = None

    @property
    def started(self) -> bool:
        """The answer's head went out."""
        return self._out.started

    async def run(self, limit_s: float) -> None:
        """Answer the caller, or raise the error that it is to be told.

        Args:
            limit_s: what all of it may take, retries, fallbacks and the answer's stream.

        Raises:
            OmniError: nothing went out; the receipt is settled.
        """
        receipt = self._receipt
        task = self._task = asyncio.current_task(self._pool.loop)
        self._deadlines.add(self, limit_s)
        try:
            if self._hedge is None:
                await self._run()
            else:
                await self._run_hedged(self._hedge)
        except StreamInterrupted as exc:
            receipt.fail(exc)
            self._out.break_off(exc)
        except OmniError as exc:
            receipt.fail(exc)
            raise
        except asyncio.CancelledError:
            if not self._late:
                receipt.cancel(self._stopped())
                raise
            if task is not None:
                task.uncancel()
            fault = TimedOut(f"not done within the {limit_s:g} s that a request may take")
            receipt.fail(fault)
            if not self.started:
                raise fault from None
            reading = receipt.reading
            chars = 0 if reading is None else reading.folder.received_chars
            self._out.break_off(StreamInterrupted(fault.message, received_chars=chars, cause=fault))
        except Exception as exc:
            receipt.fail(OmniError(f"unexpected {type(exc).__name__}"))
            raise
        finally:
            self._deadlines.remove(self)
            self._streams.remove(receipt)

    def _stopped(self) -> Cancelled:
        """Why what was under way was given up."""
        if self._late:
            return Cancelled("the request's time was over")
        if self._request.gone:
            return Cancelled("the caller went away")
        return Cancelled("the gateway was stopped")

    def _stay(self) -> None:
        """The caller has gone; the answer is paid for all the same, and tells what it cost."""
        self._receipt.left = True
        self._staying.add(self)
        self._leaving = self._pool.loop.call_later(READ_ON_S, self.give_up)

    def give_up(self) -> None:
        """Nobody waits for the answer any longer."""
        if self._task is not None:
            self._task.cancel()

    def _go(self) -> None:
        """The answer has come, or will not."""
        self._request.on_gone = None
        self._request.stops_when_gone = True
        if self._leaving is not None:
            self._leaving.cancel()
            self._staying.discard(self)

    def expire(self) -> None:
        """The request's time is over."""
        self._late = True
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        """One model after the other."""
        causes: list[tuple[str, OmniError]] = []
        turns = self._turns()
        while (target := turns.next()) is not None:
            fault = await self._try_target(target, turns)
            if fault is None:
                return
            self._note(causes, turns, target, fault)
        raise self._verdict(causes, turns)

    def _turns(self) -> Turns:
        return Turns(self._plan.targets, self._plan.consent, self._fleet.health.admit, self._skip)

    def _note(
        self,
        causes: list[tuple[str, OmniError]],
        turns: Turns,
        target: Target,
        fault: "_Fault",
    ) -> None:
        """A target's turn is over."""
        causes.append((target.model.id, fault.error))
        turns.failed(target, fault.error)
        if fault.final:
            turns.end()

    def _verdict(self, causes: list[tuple[str, OmniError]], turns: Turns) -> OmniError:
        return verdict(causes, self._receipt.progress, turns.lift, as_they_are=True)

    async def _run_hedged(self, hedge: Hedge) -> None:
        """As ``_run``, and once the next model beside the one under way; the same one again where
        there is no other."""
        causes: list[tuple[str, OmniError]] = []
        turns = self._turns()
        willing = iter(turns.next, None)
        race = self._race = self._relay.race = Race()
        now = self._pool.loop.time
        due: float | None = now() + hedge.after_s
        try:
            while True:
                if not race.asked:
                    first = next(willing, None)
                    if first is None:
                        break
                    race.start(first, self._try_target(first, turns))
                ended = await race.next(None if due is None else max(due - now(), 0.0))
                if due is not None and now() >= due and not ended:
                    due = None
                    if not race.decided:
                        self._ask_more(race, willing, turns)
                for target, task in ended:
                    fault = task.result()
                    if fault is None:
                        return
                    self._note(causes, turns, target, fault)
                    if fault.final:
                        raise self._verdict(causes, turns)
        finally:
            await race.close()
        raise self._verdict(causes, turns)

    def _ask_more(self, race: Race, willing: Iterator[Target], turns: Turns) -> None:
        asked = race.asked
        more = next(willing, asked[0])
        race.start(more, self._try_target(more, turns))

    async def _try_target(self, target: Target, turns: Turns) -> "_Fault | None":
        """One model with its retries; what went wrong at last, None when it answered."""
        shared = len(self._plan.targets) > 1
        admitted_at = self._fleet.app.now_ms() if shared else 0
        turn = _Turn()
        attempt = 0
        try:
            while True:
                attempt += 1
                tries = turn.tries
                try:
                    await self._attempt(target, turn)
                except PASSED_ON as exc:
                    if self.mends(exc, target):
                        continue
                    if turn.tries == tries:
                        self._skip(target, exc.code, exc.message)
                    if self._request.gone:
                        raise asyncio.CancelledError from None
                    delay = self._wait_s(exc, attempt, target) if turns.again(exc) else None
                    if delay is None:
                        return _Fault(exc, final=final(exc) and turn.tries > 0)
                else:
                    return None
                await asyncio.sleep(delay)
        finally:
            if shared and not turn.tries:
                self._fleet.health.cancelled(target, started_ms=admitted_at)

    def mends(self, error: OmniError, target: Target) -> bool:
        """Whether the same model is to be asked again at once, without what it refused: what other
        vendors' models thought, which it cannot verify."""
        slug, foreign = target.provider.slug, self._ask.foreign
        if slug in foreign or not is_foreign_thought(error):
            return False
        foreign.add(slug)
        return target.provider.protocol == self._ask.caller.name

    def _wait_s(self, error: OmniError, attempt: int, target: Target) -> float | None:
        """Before the same model is asked again, seconds; None: it is not."""
        if not isinstance(error, ProviderError) or attempt > target.max_retries:
            return None
        return retry.delay_s(
            attempt,
            retry_after_s=error.retry_after_s,
            rng=self._rng,
            max_retry_after_s=_MOST_WAIT_S,
        )

    async def _attempt(self, target: Target, turn: "_Turn") -> None:
        """One call: committed, sent, read, settled."""
        ask, receipt, fleet = self._ask, self._receipt, self._fleet
        same, wished = target.provider.protocol == ask.caller.name, False
        # What cannot be built must not be charged, so it is built before the row is written.
        if same:
            line = forwarding(fleet.line(target, ask.operation, stream=ask.stream), ask)
            sent, wished = ask.passed(target, fleet.adapter(target.provider), line.call.headers)
        else:
            line, sent = translated(fleet, ask, target)
        receipt.told = line.call.told
        if self._race is None:
            opening = self._opening(target, sent)
            reading = await receipt.open(opening, target)
        else:
            async with self._race.opening:
                opening = self._opening(target, sent)
                reading = await receipt.open(opening, target)
        turn.tries += 1
        if self._race is not None and len(self._race.asked) > 1:
            receipt.hedged = True
        # Where a stream is closed most providers stop; with a plain answer they go on, and charge.
        stays = not ask.stream and self._race is None
        if stays:
            self._request.stops_when_gone = False
            self._request.on_gone = self._stay
        trace = receipt.trace
        error: BaseException | None = None
        try:
            if opening.each is not None:
                sent.limit(opening.each)
            name = f"x-omni-attempt: {receipt.name}-{opening.n}\r\n".encode()
            if trace is not None:
                name += trace.attempt(target, opening.n)
            answer = await self._pool.send(
                line.origin,
                line.head + name,
                sent.written(),
                timeout_s=target.timeout_ms / 1000,
                sending=reading,
            )
            try:
                await self._relay.read(answer, line, target, reading, same=same, wished=wished)
            finally:
                answer.close()
        except ProviderError as exc:
            fault = error = cleaned(exc, line.call)
            reading.fail(fault)
            veil(fault, target, line.origin)
            if self.started:
                raise interrupted(target, reading, fault) from None
            raise
        except BaseException as exc:
            error = exc
            if self._race is not None and self._race.outran():
                error = Outrun("another model's answer began first")
            elif isinstance(exc, asyncio.CancelledError):
                error = self._stopped()
            reading.stop(error)
            raise
        finally:
            if stays:
                self._go()
            if trace is not None:
                trace.attempt_over(reading, error)

    def _opening(self, target: Target, sent: Sending) -> Opening:
        """What is to be committed before the call is made."""
        ask, receipt = self._ask, self._receipt
        price, progress = target.price, receipt.progress
        return Opening(
            receipt.new,
            progress.tries + 1,
            target.model.id,
            target.provider.slug,
            self._fleet.app.now_ms(),
            ask.estimate(),
            bound_of(None if price is None else price.price, sent.most),
            target.provider.max_concurrency,
            None if price is None else price.id,
            None if price is None else price.price,
            None if progress.most_nusd is None else progress.room_nusd,
            progress.most_nusd or 0,
        )

    # --- the end ------------------------------------------------------------------------------

    def _skip(self, target: Target, code: str, why: str) -> None:
        self._receipt.progress.attempts.append(
            AttemptSummary(target.model.id, "skipped", code, None, 0, message=why)
        )
