"""Carry out one request: attempts in order, retries, failover, and the answer to the caller.

The rules are those of ``services/dispatch.py``, on an event loop: another model may take over
until the first token of an answer went out; after that a failure ends the answer with a typed
error, and what arrived is charged. A caller that goes away ends the provider's work too.
"""

import asyncio
import random
from collections.abc import Iterator
from dataclasses import dataclass

from omni_cli.domain import retry
from omni_cli.domain.errors import (
    BadRequest,
    BudgetExceeded,
    Busy,
    Cancelled,
    ConfigError,
    ContentFiltered,
    OmniError,
    ProviderError,
    StreamInterrupted,
    TimedOut,
    UnknownPrice,
)
from omni_cli.gateway.asks import Ask
from omni_cli.gateway.calls import forwarding, translated
from omni_cli.gateway.delivery import Delivery, interrupted, verdict
from omni_cli.gateway.fleet import Fleet
from omni_cli.gateway.hedging import Hedge, Outrun, Race
from omni_cli.gateway.http import Request
from omni_cli.gateway.plans import Plan
from omni_cli.gateway.receipts import Receipt, Streams
from omni_cli.gateway.relay import Relay
from omni_cli.gateway.traces import Traces
from omni_cli.gateway.upstream import UpstreamPool
from omni_cli.providers.reader import cleaned
from omni_cli.services.attempts import AttemptSummary, Target
from omni_cli.services.settlement import Reading
from omni_cli.store.batch_leases import Opening

_PASSED_ON = (ProviderError, Busy, BudgetExceeded, UnknownPrice, ConfigError)
#: Errors that say the request itself is wrong: another model would get it no righter.
_FINAL = (BadRequest, ContentFiltered)


@dataclass(frozen=True, slots=True)
class Tools:
    """What every exchange of a process works with."""

    fleet: Fleet
    pool: UpstreamPool
    streams: Streams
    rng: random.Random
    traces: Traces | None = None


@dataclass(slots=True)
class _Turn:
    """A model's turn in a request. ``tries``: attempts that were committed."""

    tries: int = 0


@dataclass(frozen=True, slots=True)
class _Fault:
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
        self._fleet = tools.fleet
        self._pool = tools.pool
        self._streams = tools.streams
        self._rng = tools.rng
        self._ask = ask
        self._plan = plan
        self._receipt = receipt
        self._request = request
        self._out = Delivery(ask.caller, receipt, request, request_id)
        self._relay = Relay(tools.fleet, tools.streams, ask, plan, receipt, self._out)
        self._late = False

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
        loop = self._pool.loop
        task = asyncio.current_task(loop)
        timer = loop.call_later(limit_s, self._expire, task)
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
            timer.cancel()
            self._streams.remove(receipt)

    def _stopped(self) -> Cancelled:
        """Why what was under way was given up."""
        if self._late:
            return Cancelled("the request's time was over")
        if self._request.gone:
            return Cancelled("the caller went away")
        return Cancelled("the gateway was stopped")

    def _expire(self, task: "asyncio.Task[None] | None") -> None:
        self._late = True
        if task is not None:
            task.cancel()

    async def _run(self) -> None:
        """One model after the other."""
        causes: list[tuple[str, OmniError]] = []
        for target in self._willing():
            fault = await self._try_target(target)
            if fault is None:
                return
            causes.append((target.model.id, fault.error))
            if fault.final:
                break
        raise verdict(causes, self._receipt.progress.attempts)

    async def _run_hedged(self, hedge: Hedge) -> None:
        """As ``_run``, and once the next model beside the one under way; the same one again where
        there is no other."""
        causes: list[tuple[str, OmniError]] = []
        willing = self._willing()
        race = self._race = self._relay.race = Race()
        now = self._pool.loop.time
        due: float | None = now() + hedge.after_s
        try:
            while True:
                if not race.asked:
                    first = next(willing, None)
                    if first is None:
                        break
                    race.start(first, self._try_target(first))
                ended = await race.next(None if due is None else max(due - now(), 0.0))
                if due is not None and now() >= due and not ended:
                    due = None
                    if not race.decided:
                        self._ask_more(race, hedge, willing)
                for target, task in ended:
                    fault = task.result()
                    if fault is None:
                        return
                    causes.append((target.model.id, fault.error))
                    if fault.final:
                        raise verdict(causes, self._receipt.progress.attempts)
        finally:
            await race.close()
        raise verdict(causes, self._receipt.progress.attempts)

    def _ask_more(self, race: Race, hedge: Hedge, willing: Iterator[Target]) -> None:
        asked = race.asked
        more = next(willing, asked[0])
        refusal = hedge.allows(asked, more)
        if refusal:
            self._skip(more, "hedge", refusal)
            return
        self._receipt.hedged = True
        race.start(more, self._try_target(more))

    def _willing(self) -> Iterator[Target]:
        """Those that may be asked, looked at when it is their turn."""
        plan = self._plan
        for index, target in enumerate(plan.targets):
            if index:
                refusal = plan.consent.refusal(plan.targets[0], target)
                if refusal:
                    self._skip(target, "consent", refusal)
                    continue
            # A model that stands alone is tried whatever its breaker says: nobody else can.
            closed = self._fleet.health.admit(target) if len(plan.targets) > 1 else ""
            if closed:
                self._skip(target, "breaker", closed)
                continue
            yield target

    async def _try_target(self, target: Target) -> "_Fault | None":
        """One model with its retries; what went wrong at last, None when it answered."""
        admitted_at = self._fleet.app.now_ms()
        turn = _Turn()
        try:
            await self._with_retries(target, turn)
        except _PASSED_ON as exc:
            return _Fault(exc, final=isinstance(exc, _FINAL) and turn.tries > 0)
        finally:
            if not turn.tries and len(self._plan.targets) > 1:
                self._fleet.health.cancelled(target, started_ms=admitted_at)
        return None

    async def _with_retries(self, target: Target, turn: "_Turn") -> None:
        """Raises the last error."""
        for attempt in range(1, target.max_retries + 2):
            tries = turn.tries
            try:
                await self._attempt(target, turn)
            except _PASSED_ON as exc:
                if turn.tries == tries:
                    self._skip(target, exc.code, exc.message)
                if not isinstance(exc, ProviderError):
                    raise
                if not exc.retryable or attempt > target.max_retries:
                    raise
                delay = retry.delay_s(attempt, retry_after_s=exc.retry_after_s, rng=self._rng)
                if delay is None:
                    raise
                await asyncio.sleep(delay)
            else:
                return

    async def _attempt(self, target: Target, turn: "_Turn") -> None:
        """One call: committed, sent, read, settled."""
        ask, receipt, fleet = self._ask, self._receipt, self._fleet
        same = target.provider.protocol == ask.caller.name
        # What cannot be built must not be charged, so it is built before the row is written.
        line = (
            fleet.line(target, ask.operation, stream=ask.stream)
            if same
            else translated(fleet, ask, target, None)[0]
        )
        if self._race is None:
            opening, reading = await self._open(target)
        else:
            async with self._race.opening:
                opening, reading = await self._open(target)
        turn.tries += 1
        trace, wished = receipt.trace, False
        error: BaseException | None = None
        try:
            if same:
                line = forwarding(line, ask)
                body, wished = ask.passed(target, opening.output_bound)
            else:
                line, body = translated(fleet, ask, target, opening.output_bound)
            name = f"x-omni-attempt: {receipt.name}-{opening.n}\r\n".encode()
            if trace is not None:
                name += trace.attempt(target, opening.n)
            answer = await self._pool.send(
                line.origin,
                line.head + name,
                body,
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
            if trace is not None:
                trace.attempt_over(reading, error)

    async def _open(self, target: Target) -> tuple[Opening, Reading]:
        """Commit the attempt's row and leases. Raises as ``Receipt.open``."""
        ask, receipt = self._ask, self._receipt
        price = target.price
        opening = Opening(
            receipt.new,
            receipt.progress.tries + 1,
            target.model.id,
            target.provider.slug,
            self._fleet.app.now_ms(),
            ask.estimate(),
            lambda: ask.most_in(target),
            ask.most_out(target),
            target.provider.max_concurrency,
            None if price is None else price.id,
            None if price is None else price.price,
            ask.choices(),
        )
        return opening, await receipt.open(opening, target)

    # --- the end ------------------------------------------------------------------------------

    def _skip(self, target: Target, code: str, why: str) -> None:
        self._receipt.progress.attempts.append(
            AttemptSummary(target.model.id, "skipped", code, None, 0, message=why)
        )
