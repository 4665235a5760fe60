"""Carry out one request: attempts in order, retries, failover, and the answer to the caller.

The rules are those of ``services/dispatch.py``, on an event loop: another model may take over
until the first token of an answer went out; after that a failure ends the answer with a typed
error, and what arrived is charged. A caller that goes away ends the provider's work too.
"""

import asyncio
import random
from dataclasses import dataclass

from omni_cli.domain import retry
from omni_cli.domain.errors import (
    BadRequest,
    BudgetExceeded,
    Busy,
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
from omni_cli.gateway.fleet import Fleet, Plan
from omni_cli.gateway.http import Request
from omni_cli.gateway.protocols.base import untranslatable
from omni_cli.gateway.receipts import Receipt, Streams
from omni_cli.gateway.relay import Relay
from omni_cli.gateway.traces import Traces
from omni_cli.gateway.upstream import UpstreamPool
from omni_cli.providers.reader import cleaned
from omni_cli.services.attempts import AttemptSummary, Target
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


class Exchange:
    """One request and its answer.

    Args:
        request: nothing goes out before an answer's first token, or its error, is known.
        request_id: the caller's protocol's own id of this request.
    """

    def __init__(
        self,
        tools: Tools,
        ask: Ask,
        plan: Plan,
        receipt: Receipt,
        request: Request,
        request_id: str,
    ) -> None:
        self._fleet = tools.fleet
        self._pool = tools.pool
        self._streams = tools.streams
        self._rng = tools.rng
        self._ask = ask
        self._plan = plan
        self._receipt = receipt
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
        task = asyncio.current_task()
        timer = asyncio.get_running_loop().call_later(limit_s, self._expire, task)
        try:
            await self._run()
        except StreamInterrupted as exc:
            receipt.fail(exc)
            self._out.break_off(exc)
        except OmniError as exc:
            receipt.fail(exc)
            raise
        except asyncio.CancelledError:
            if not self._late:
                receipt.cancel()
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

    def _expire(self, task: "asyncio.Task[None] | None") -> None:
        self._late = True
        if task is not None:
            task.cancel()

    async def _run(self) -> None:
        plan, progress = self._plan, self._receipt.progress
        causes: list[tuple[str, OmniError]] = []
        guarded = len(plan.targets) > 1
        health = self._fleet.health
        for index, target in enumerate(plan.targets):
            if index:
                refusal = plan.consent.refusal(plan.targets[0], target)
                if refusal:
                    self._skip(target, "consent", refusal)
                    continue
            admitted_at = self._fleet.app.now_ms()
            # A model that stands alone is tried whatever its breaker says: nobody else can.
            closed = health.admit(target) if guarded else ""
            if closed:
                self._skip(target, "breaker", closed)
                continue
            tries = progress.tries
            try:
                await self._try_target(target)
            except _PASSED_ON as exc:
                causes.append((target.model.id, exc))
                if isinstance(exc, _FINAL) and progress.tries > tries:
                    break
            else:
                return
            finally:
                if guarded and progress.tries == tries:
                    health.cancelled(target, started_ms=admitted_at)
        raise verdict(causes, progress.attempts)

    async def _try_target(self, target: Target) -> None:
        """One model with its retries. Raises the last error."""
        progress = self._receipt.progress
        for attempt in range(1, target.max_retries + 2):
            tries = progress.tries
            try:
                await self._attempt(target)
            except _PASSED_ON as exc:
                if progress.tries == tries:
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

    async def _attempt(self, target: Target) -> None:
        """One call: committed, sent, read, settled."""
        ask, receipt, fleet = self._ask, self._receipt, self._fleet
        same = target.provider.protocol == ask.caller.name
        if not same and ask.operation != "chat":
            raise untranslatable(ask.operation, target.provider.protocol)
        if not same and (left := ask.parsed().left):
            raise untranslatable(", ".join(left), target.provider.protocol)
        # What cannot be built must not be charged, so it is built before the row is written.
        line = (
            fleet.line(target, ask.operation, stream=ask.stream)
            if same
            else translated(fleet, ask, target, None)[0]
        )
        price = target.price
        opening = Opening(
            request=receipt.new,
            n=receipt.progress.tries + 1,
            model=target.model.id,
            provider=target.provider.slug,
            started_at=fleet.app.now_ms(),
            input_estimate=ask.estimate(),
            most_in=lambda: ask.most_in(target),
            most_out=ask.most_out(target),
            slots=target.provider.max_concurrency,
            price_id=None if price is None else price.id,
            price=None if price is None else price.price,
        )
        reading = await receipt.open(opening, target)
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
            reading.sent = True
            answer = await self._pool.send(
                line.origin, line.head + name, body, timeout_s=target.timeout_ms / 1000
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
            reading.stop(exc)
            raise
        finally:
            if trace is not None:
                trace.attempt_over(reading, error)

    # --- the end ------------------------------------------------------------------------------

    def _skip(self, target: Target, code: str, why: str) -> None:
        self._receipt.progress.attempts.append(
            AttemptSummary(target.model.id, "skipped", code, None, 0, message=why)
        )
