"""Carry out one request: attempts in order, retries, failover, and the answer to the caller.

The rules are those of ``services/dispatch.py``, on an event loop: another model may take over
until the first token of an answer went out; after that a failure ends the answer with a typed
error, and what arrived is charged. A caller that goes away ends the provider's work too.
"""

import asyncio
import random
from dataclasses import dataclass

from omni_cli.domain import retry
from omni_cli.domain.chat import ChatChunk
from omni_cli.domain.errors import (
    BadRequest,
    BudgetExceeded,
    Busy,
    ConfigError,
    ContentFiltered,
    Malformed,
    OmniError,
    ProviderError,
    StreamInterrupted,
    TimedOut,
    UnknownPrice,
)
from omni_cli.gateway.asks import Ask, decode_object
from omni_cli.gateway.calls import error_body, forwarding, translated
from omni_cli.gateway.delivery import Delivery, interrupted, verdict
from omni_cli.gateway.fleet import Fleet, Line, Plan
from omni_cli.gateway.http import Request
from omni_cli.gateway.passing import PassReader, UsageFilter, glance
from omni_cli.gateway.protocols.base import Answered, StreamWriter, untranslatable
from omni_cli.gateway.receipts import Receipt, Streams
from omni_cli.gateway.traces import Traces
from omni_cli.gateway.upstream import Answer, UpstreamPool
from omni_cli.providers.framing import MAX_EVENT_BYTES
from omni_cli.providers.openai_usage import read_usage
from omni_cli.providers.reader import AnswerReader, cleaned, refused
from omni_cli.services.attempts import AttemptSummary, Target
from omni_cli.services.settlement import Reading
from omni_cli.store.batch_leases import Opening

_PASSED_ON = (ProviderError, Busy, BudgetExceeded, UnknownPrice, ConfigError)
#: Errors that say the request itself is wrong: another model would get it no righter.
_FINAL = (BadRequest, ContentFiltered)
#: Protocols whose streams tell their usage in a few last bytes. The others are read whole.
_SHORT_TAIL = ("openai", "anthropic")


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
        self._sent_usage_wish = False
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
        trace = receipt.trace
        error: BaseException | None = None
        try:
            if same:
                line = forwarding(line, ask)
                body, self._sent_usage_wish = ask.passed(target, opening.output_bound)
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
                await self._read(answer, line, target, reading, same=same)
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

    # --- reading ------------------------------------------------------------------------------

    async def _read(
        self, answer: Answer, line: Line, target: Target, reading: Reading, *, same: bool
    ) -> None:
        headers = answer.headers
        reading.response_id = headers.get("x-request-id") or headers.get("request-id")
        adapter = self._fleet.adapter(target.provider)
        if not 200 <= answer.status < 300:
            body = await error_body(answer)
            raise refused(adapter, line.call, answer.status, headers, body)
        content_type = headers.get("content-type", "")
        if self._ask.operation == "embeddings":
            await self._read_embeddings(answer, reading)
            return
        if not self._ask.stream:
            await self._read_whole(
                answer, AnswerReader(adapter, line.call), target, reading, same=same
            )
            return
        plain = content_type.lower().startswith("application/json") and line.call.framing == "sse"
        self._streams.add(self._receipt)
        if same and not plain:
            reader = PassReader(
                adapter.parser(stream=True),
                line.call.framing,
                reading,
                whole=self._ask.caller.name not in _SHORT_TAIL or bool(self._receipt.cached),
            )
            await self._pass(answer, reader, target, reading, content_type)
        else:
            await self._translate(
                answer, AnswerReader(adapter, line.call, content_type), target, reading
            )

    async def _read_whole(
        self,
        answer: Answer,
        reader: AnswerReader,
        target: Target,
        reading: Reading,
        *,
        same: bool,
    ) -> None:
        body = await answer.whole(MAX_EVENT_BYTES)
        quick = glance(body) if same and self._ask.caller.name == "openai" else None
        if quick is not None:
            reading.take(quick)
        else:
            for chunk in reader.feed(body):
                reading.take(chunk)
            for chunk in reader.end():
                reading.take(chunk)
        reading.finish()
        receipt = self._receipt
        receipt.end("ok")
        if not same:
            completion = receipt.progress.completion
            assert completion is not None
            body = self._ask.caller.whole(completion, self._about(target))
        self._out.whole(body)

    async def _read_embeddings(self, answer: Answer, reading: Reading) -> None:
        """A list of vectors, passed on as it came; only its usage is read."""
        body = await answer.whole(MAX_EVENT_BYTES)
        usage = read_usage(decode_object(body).get("usage"))
        reading.take(ChatChunk(usage=usage, finish_reason="stop"))
        reading.finish()
        self._receipt.end("ok")
        self._out.whole(body)

    async def _pass(
        self,
        answer: Answer,
        reader: PassReader,
        target: Target,
        reading: Reading,
        content_type: str,
    ) -> None:
        """A stream of the caller's own protocol: its bytes go on as they came."""
        keeps_out = UsageFilter() if self._sent_usage_wish else None
        held: list[bytes] = []
        fault: ProviderError | None = None
        while data := await answer.read():
            try:
                reader.feed(data)
            except ProviderError as exc:
                if not self.started:
                    raise
                fault = exc
            out = data if keeps_out is None else keeps_out.feed(data)
            if self.started:
                if out:
                    await self._out.piece(out)
            else:
                held.append(out)
                if reader.begun:
                    self._out.begin_stream(content_type)
                    await self._out.piece(b"".join(held))
            if fault is not None:  # the caller was told of it in the stream itself
                break
        if fault is None:
            try:
                reader.end()
            except Malformed:
                raise
            except ProviderError as exc:
                if not self.started:
                    raise
                fault = exc
        if fault is not None:
            reading.fail(fault)
            self._receipt.fail(interrupted(target, reading, fault))
            self._out.end()
            return
        rest = keeps_out.finish() if keeps_out is not None else b""
        if not self.started:
            self._out.begin_stream(content_type)
            rest = b"".join(held) + rest
        self._finish_stream(reading, rest)

    async def _translate(
        self, answer: Answer, reader: AnswerReader, target: Target, reading: Reading
    ) -> None:
        """A stream of another protocol: read into chunks and written anew."""
        writer: StreamWriter | None = None
        held: list[bytes] = []

        def take(chunks: list[ChatChunk]) -> bytes:
            nonlocal writer
            out = b""
            for chunk in chunks:
                reading.take(chunk)
                if writer is None:
                    writer = self._ask.caller.writer(self._about(target))
                out += writer.chunk(chunk)
            return out

        while data := await answer.read():
            out = take(list(reader.feed(data)))
            if self.started:
                if out:
                    await self._out.piece(out)
                continue
            held.append(out)
            if reading.shown:
                self._out.begin_stream(self._ask.caller.stream_type)
                await self._out.piece(b"".join(held))
        out = take(list(reader.end()))
        if not self.started:
            self._out.begin_stream(self._ask.caller.stream_type)
            out = b"".join(held) + out
        if writer is None:
            writer = self._ask.caller.writer(self._about(target))
        completion = reading.folder.completion()
        self._finish_stream(reading, out + writer.end(completion))

    def _about(self, target: Target) -> Answered:
        ask, receipt = self._ask, self._receipt
        new = receipt.new
        task = self._plan.task
        _, premium = self._fleet.premium(receipt.usage)
        return Answered(
            f"{ask.caller.id_prefix}{receipt.name}",
            target.model.id,
            new.created_at // 1000,
            {"stream_options": ask.value("stream_options")},
            cost_nusd=receipt.total_nusd,
            premium_nusd=premium,
            latency_ms=self._fleet.app.now_ms() - new.created_at,
            task="" if task is None else task.task_type,
            attempts=receipt.progress.tries,
        )

    def _finish_stream(self, reading: Reading, rest: bytes) -> None:
        """Settle, then send what is left: the caller's last byte tells of a settled call."""
        reading.finish()
        self._receipt.end("ok")
        self._out.end_stream(rest)

    # --- the end ------------------------------------------------------------------------------

    def _skip(self, target: Target, code: str, why: str) -> None:
        self._receipt.progress.attempts.append(
            AttemptSummary(target.model.id, "skipped", code, None, 0, message=why)
        )
