"""A caller's request, carried out by this gateway over connections of its own.

Who is asked in turn, and what each attempt costs, is ``services/engine/call.py``'s. Where caller
and provider speak one protocol the bytes go on as they came. A caller that goes away ends the
provider's work, too.
"""

import asyncio

from omni_cli.domain.errors import (
    Cancelled,
    ModelNotFound,
    NotOffered,
    OmniError,
    ProviderError,
    StreamInterrupted,
    TimedOut,
    UsageError,
)
from omni_cli.domain.models import HEDGE_MS_RANGE, ModelInfo, ProtocolName
from omni_cli.domain.record import replace
from omni_cli.gateway import relay
from omni_cli.gateway.asks import Ask
from omni_cli.gateway.fleet import Fleet
from omni_cli.gateway.passing import PassReader
from omni_cli.gateway.plans import Line, line_of
from omni_cli.gateway.receipts import Receipt, Way
from omni_cli.http.access import signed
from omni_cli.ports import Endpoint, HttpCall
from omni_cli.services.engine.attempts import Target
from omni_cli.services.engine.sending import Sending
from omni_cli.services.engine.settlement import Reading
from omni_cli.wire.faults import is_foreign_thought
from omni_cli.wire.fitting import fit_model, untranslatable
from omni_cli.wire.reader import AnswerReader, cleaned, refused, request_id_of
from omni_cli.wire.registry import adapter as adapter_of
from omni_cli.wire.registry import facts
from omni_cli.wire.server import Parsed

#: How long a plain answer is waited for whose caller has gone, seconds.
READ_ON_S = 120.0
_OFF = ("off", "no", "0")


class Exchange(Receipt):
    """One request and its answer."""

    __slots__ = ()

    async def run(self, limit_s: float) -> None:
        """Answer the caller, or raise the error that it is to be told.

        Args:
            limit_s: what all of it may take, retries, fallbacks and the answer's stream.

        Raises:
            OmniError: nothing went out; the request is settled.
        """
        tools = self.tools
        task = self._task = asyncio.current_task(tools.pool.loop)
        tools.deadlines.add(self, limit_s)
        try:
            await self.answer()
        except StreamInterrupted as exc:
            self.fail(exc)
            self.break_off(exc)
        except OmniError as exc:
            if self.rejected is None:
                self.fail(exc)
                raise
            relay.give_rejected(self)
        except asyncio.CancelledError:
            if not self._expired:
                self.end("cancelled", self._why())
                raise
            if task is not None:
                task.uncancel()
            fault = TimedOut(f"not done within the {limit_s:g} s that a request may take")
            if self.rejected is not None:
                relay.give_rejected(self)
                return
            self.fail(fault)
            if not self.started:
                raise fault from None
            chars = 0 if self.reading is None else self.reading.folder.received_chars
            self.break_off(StreamInterrupted(fault.message, received_chars=chars, cause=fault))
        except Exception as exc:
            self.fail(OmniError(f"unexpected {type(exc).__name__}"))
            raise
        finally:
            tools.deadlines.remove(self)
            tools.streams.discard(self)

    # --- what ends it early -------------------------------------------------------------------

    def _why(self) -> Cancelled:
        """Why what was under way was given up."""
        if self._expired:
            return Cancelled("the request's time was over")
        if self.request.gone:
            return Cancelled("the caller went away")
        return Cancelled("the gateway was stopped")

    def stopped(self, reason: BaseException) -> BaseException:
        return self._why() if isinstance(reason, asyncio.CancelledError) else reason

    @property
    def gone(self) -> bool:
        return self.request.gone

    def _stay(self) -> None:
        """The caller has gone; the answer is paid for all the same, and tells what it cost."""
        self.left = True
        self.tools.staying.add(self)
        self._leaving = self.tools.pool.loop.call_later(READ_ON_S, self.give_up)

    def _go(self) -> None:
        """The answer has come, or will not."""
        self.request.on_gone = None
        self.request.stops_when_gone = True
        if self._leaving is not None:
            self._leaving.cancel()
            self.tools.staying.discard(self)

    def expire(self) -> None:
        """The request's time is over."""
        self._expired = True
        self.give_up()

    # --- one call -----------------------------------------------------------------------------

    def prepare(self, target: Target) -> Way:
        ask, fleet = self.ask, self.fleet
        same, wished = target.provider.protocol == ask.caller.name, False
        if same:
            line = forwarding(fleet.line(target, ask.operation, stream=ask.stream), ask)
            adapter, thoughts = fleet.adapter(target.provider), self.tools.thoughts
            sent, wished = ask.passed(target, adapter, line.call.headers, thoughts)
        else:
            line, sent = translated(fleet, ask, target)
        if line.call.told:
            self.note_unsaid(target, line.call.told)
        return Way(line, sent, same, wished)

    async def exchange(self, way: Way, target: Target, reading: Reading) -> None:
        line, sent, opening = way.line, way.sent, reading.opening
        # Where a stream is closed most providers stop; with a plain answer they go on, and charge.
        stays = not self.ask.stream and self.race is None
        if stays:
            self.request.stops_when_gone = False
            self.request.on_gone = self._stay
        try:
            if opening.each is not None:
                sent.limit(opening.each)
            name = f"x-omni-attempt: {self.name}-{opening.n}\r\n".encode()
            if self.trace is not None:
                name += self.trace.attempt(target, opening.n)
            content = sent.written()
            if line.call.access is not None:
                name += await signed(self.tools.pool, line.call, content)
            answer = await self.tools.pool.send(
                line.origin,
                line.head + name,
                content,
                timeout_s=target.timeout_ms / 1000,
                sending=reading,
            )
            try:
                headers = answer.headers
                reading.response_id = request_id_of(headers, line.secrets)
                if not 200 <= answer.status < 300:
                    adapter = self.fleet.adapter(target.provider)
                    body = await relay.error_body(answer)
                    fault = refused(adapter, line.call, answer.status, headers, body)
                    raise offered(fault, self.ask.operation, target)
                if self.ask.operation in self.ask.caller.passes:
                    await relay.read_passed(self, answer, sent, target, reading)
                elif self.ask.embeds:
                    await relay.read_embeddings(self, answer, target, reading, same=way.same)
                elif not self.ask.stream:
                    await relay.read_whole(self, answer, line, target, reading, same=way.same)
                else:
                    kind = headers.get("content-type", "")
                    plain = line.call.framing == "sse" and kind.lower().startswith(
                        "application/json"
                    )
                    adapter, caller = self.fleet.adapter(target.provider), self.ask.caller
                    self.tools.streams.add(self)
                    if way.same and not plain:
                        reader: relay.Reader = PassReader(
                            lambda: adapter.parser(stream=True),
                            line.call.framing,
                            reading,
                            whole=not caller.short_tail
                            or bool(self.cached)
                            or self.shadow is not None,
                            wished=way.wished,
                        )
                    else:
                        reader = relay.Translator(
                            AnswerReader(adapter, line.call, kind),
                            reading,
                            lambda: caller.writer(relay.about(self, target)),
                        )
                        kind = caller.stream_type
                    await relay.stream(self, answer, reader, target, reading, kind)
            finally:
                answer.close()
        finally:
            if stays:
                self._go()

    def mends(self, error: OmniError, target: Target) -> bool:
        """What other vendors' models thought, which this one cannot verify, is left out."""
        slug, foreign = target.provider.slug, self.ask.foreign
        if slug in foreign or not is_foreign_thought(error):
            return False
        foreign.add(slug)
        return target.provider.protocol == self.ask.caller.name

    def told(self, fault: ProviderError, way: Way, target: Target) -> ProviderError:  # noqa: ARG002  # as told
        return cleaned(fault, way.line.call)

    def veil(self, fault: ProviderError, way: Way, target: Target) -> None:
        relay.veil(fault, target, way.line.origin)

    def begun(self, reading: Reading) -> bool:  # noqa: ARG002  # what went out counts
        return self.started

    def over(self, reading: Reading, error: BaseException | None) -> None:
        if self.trace is not None:
            self.trace.attempt_over(reading, error)


#: The statuses of a server that has no such path, or takes nothing there.
_NO_SUCH_PATH = (404, 405, 501)


def offered(fault: ProviderError, operation: str, target: Target) -> ProviderError:
    """What a provider's refusal says about an operation that it may lack: of a model that is not
    there for it, nothing about the model's chats."""
    lacks = isinstance(fault, ModelNotFound) or fault.status in _NO_SUCH_PATH
    if operation == "chat" or not lacks:
        return fault
    return NotOffered(
        f"{target.provider.slug} does not offer /{operation} with {target.model.id}: "
        f"{fault.message}",
        hint=f"name a model of a provider that has /{operation}; omni models list",
        status=404,
        provider_code=fault.provider_code,
    )


def forwarding(line: Line, ask: Ask) -> Line:
    """The line with the caller's own headers that its protocol gives a meaning."""
    if not ask.forwarded:
        return line
    call = line.call
    return line_of(replace(call, headers={**call.headers, **ask.forwarded}))


def translated(fleet: Fleet, ask: Ask, target: Target) -> tuple[Line, Sending]:
    """The call in the target's own protocol.

    Raises:
        BadRequest: the protocol cannot say it.
        MissingKey, ConfigError: the provider cannot be called.
    """
    protocol, adapter = target.provider.protocol, fleet.adapter(target.provider)
    if ask.operation in ask.caller.passes:
        raise untranslatable(f"/{ask.operation}", facts(protocol))
    if ask.embeds:
        texts, endpoint = ask.texts(), fleet.endpoint(target.provider)
        call = adapter.embed(texts, target.model.wire_name, endpoint)
        if texts.left:
            raise untranslatable(", ".join(texts.left), facts(protocol))
        body = call.body or b"{}"
        return line_of(call), Sending(body, target, adapter, ask.operation, call.headers)
    endpoint = fleet.endpoint(target.provider)
    call = written(
        ask.parsed(), target.model, target.provider.protocol, endpoint, stream=ask.stream
    )
    return line_of(call), Sending(call.body or b"{}", target, adapter, ask.operation, call.headers)


def written(
    parsed: Parsed, model: ModelInfo, protocol: ProtocolName, endpoint: Endpoint, *, stream: bool
) -> HttpCall:
    """A caller's request for a model of another protocol. Raises BadRequest."""
    refused = parsed.refused
    if parsed.request.suffix and not facts(protocol).fills:
        refused = (*refused, "suffix")
    if refused:
        raise untranslatable(", ".join(refused), facts(protocol))
    request = replace(parsed.request, stream=stream, told=parsed.left)
    fitted = fit_model(request, model)
    return adapter_of(protocol).build(fitted, model.wire_name, endpoint)


def wanted(header: str | None, setting_ms: int | None) -> float | None:
    """Seconds until another model is asked as well; None: never.

    Args:
        header: ``x-omni-hedge``, which goes before the chain's ``setting_ms``.

    Raises:
        UsageError: the header is neither "off" nor milliseconds.
    """
    low, high = HEDGE_MS_RANGE
    if header is None:
        return None if setting_ms is None else setting_ms / 1000
    text = header.strip().lower()
    if text in _OFF:
        return None
    if not text.isdecimal() or len(text) > len(str(high)) or not low <= int(text) <= high:
        raise UsageError(f"x-omni-hedge is off, or milliseconds from {low} to {high}")
    return int(text) / 1000
