"""A caller's request, carried out by this gateway over connections of its own.

Who is asked in turn, and what each attempt costs, is ``services/engine/call.py``'s. Where caller
and provider speak one protocol the bytes go on as they came. A caller that goes away ends the
provider's work, too.
"""

import asyncio

from omni_cli.domain.errors import Cancelled, OmniError, ProviderError, StreamInterrupted, TimedOut
from omni_cli.domain.record import replace
from omni_cli.gateway import relay
from omni_cli.gateway.plans import Way, line_of, translated
from omni_cli.gateway.receipts import Receipt
from omni_cli.http.access import signed
from omni_cli.services.engine.attempts import Target
from omni_cli.services.engine.settlement import Reading
from omni_cli.wire.faults import is_foreign_thought
from omni_cli.wire.reader import cleaned, request_id_of
from omni_cli.wire.registry import adapter

#: How long a plain answer is waited for whose caller has gone, seconds.
READ_ON_S = 120.0


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
        ask, protocol = self.ask, target.provider.protocol
        if protocol != ask.caller.name:
            way = translated(ask, target, self.fleet.endpoint)
            self.note_unsaid(target, way.line.call.told)
            return way
        line = self.fleet.line(target, ask.operation, stream=ask.stream)
        if ask.forwarded:  # the caller's own headers that its protocol gives a meaning
            headers = {**line.call.headers, **ask.forwarded}
            line = line_of(replace(line.call, headers=headers))
        thoughts = self.tools.thoughts
        sent, wished = ask.passed(target, adapter(protocol), line.call.headers, thoughts)
        return Way(line, sent, True, wished)

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
                    raise await relay.refusal(self, answer, way, target)
                await relay.read(self, answer, way, target, reading)
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
