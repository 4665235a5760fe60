"""One attempt's answer on its way to the caller: whole or streamed, passed on or translated."""

from collections.abc import Iterable

from omni_cli.domain.chat import ChatChunk
from omni_cli.domain.errors import Malformed, ProviderError
from omni_cli.domain.record import replace
from omni_cli.gateway.asks import Ask
from omni_cli.gateway.calls import error_body
from omni_cli.gateway.delivery import Delivery, interrupted
from omni_cli.gateway.fleet import Fleet
from omni_cli.gateway.hedging import Race
from omni_cli.gateway.passing import PassReader, UsageFilter
from omni_cli.gateway.plans import Line, Plan
from omni_cli.gateway.receipts import Receipt, Streams
from omni_cli.http.answer import Answer
from omni_cli.services.engine.attempts import Target
from omni_cli.services.engine.settlement import Reading
from omni_cli.wire.framing import MAX_EVENT_BYTES
from omni_cli.wire.reader import AnswerReader, refused, request_id_of
from omni_cli.wire.server import Answered, StreamWriter


class Relay:
    """Of one request; its attempts come one after the other."""

    def __init__(
        self,
        fleet: Fleet,
        streams: Streams,
        ask: Ask,
        plan: Plan,
        receipt: Receipt,
        out: Delivery,
    ) -> None:
        self._fleet = fleet
        self._streams = streams
        self._ask = ask
        self._plan = plan
        self._receipt = receipt
        self._out = out
        #: Where attempts run beside each other.
        self.race: Race | None = None

    async def read(
        self,
        answer: Answer,
        line: Line,
        target: Target,
        reading: Reading,
        *,
        same: bool,
        wished: bool,
    ) -> None:
        """The whole of an attempt's answer, to the caller.

        Args:
            same: caller and provider speak one protocol.
            wished: usage was asked for though the caller had not.

        Raises:
            ProviderError: the provider refused, or its answer broke off.
        """
        headers = answer.headers
        reading.response_id = request_id_of(headers, line.secrets)
        if not 200 <= answer.status < 300:
            adapter = self._fleet.adapter(target.provider)
            body = await error_body(answer)
            raise refused(adapter, line.call, answer.status, headers, body)
        if self._ask.embeds:
            await self._read_embeddings(answer, target, reading, same=same)
            return
        if not self._ask.stream:
            await self._read_whole(answer, line, target, reading, same=same)
            return
        adapter = self._fleet.adapter(target.provider)
        content_type = headers.get("content-type", "")
        plain = content_type.lower().startswith("application/json") and line.call.framing == "sse"
        self._streams.add(self._receipt)
        answer.lines = line.call.framing == "ndjson"
        if same and not plain:
            reader = PassReader(
                lambda: adapter.parser(stream=True),
                line.call.framing,
                reading,
                whole=not self._ask.caller.short_tail or bool(self._receipt.cached),
            )
            await self._pass(answer, reader, target, reading, content_type, wished=wished)
        else:
            await self._translate(
                answer, AnswerReader(adapter, line.call, content_type), target, reading
            )

    async def _claim(self, target: Target, reading: Reading) -> None:
        """Before anything of this attempt's answer goes out, or is settled as an answer."""
        if self.race is not None:
            await self.race.claim()
            self._receipt.reading, self._receipt.asked = reading, target

    async def _read_whole(
        self,
        answer: Answer,
        line: Line,
        target: Target,
        reading: Reading,
        *,
        same: bool,
    ) -> None:
        body = answer.at_once() or await answer.whole(MAX_EVENT_BYTES)
        quick = self._ask.caller.glance(body) if same else None
        if quick is not None:
            reading.take(quick)
        else:
            reader = AnswerReader(self._fleet.adapter(target.provider), line.call)
            for chunk in reader.feed(body):
                reading.take(chunk)
            for chunk in reader.end():
                reading.take(chunk)
        if self.race is not None:  # a coroutine less where it is not
            await self._claim(target, reading)
        reading.finish()
        receipt = self._receipt
        receipt.end("ok")
        if not same:
            completion = receipt.progress.completion
            assert completion is not None
            body = self._ask.caller.whole(completion, self._about(target))
        self._out.whole(body)

    async def _read_embeddings(
        self, answer: Answer, target: Target, reading: Reading, *, same: bool
    ) -> None:
        """A list of vectors; of the caller's own protocol it is passed on as it came, and only
        its usage is read."""
        client = self._fleet.adapter(target.provider)
        body = await answer.whole(MAX_EVENT_BYTES)
        vectors = None if same else client.vectors(body)
        usage = client.vectors_usage(body) if vectors is None else vectors.usage
        reading.take(ChatChunk(usage=usage, finish_reason="stop"))
        await self._claim(target, reading)
        reading.finish()
        self._receipt.end("ok", compared=False)  # no chat model answers with vectors
        if vectors is not None:
            used = replace(vectors, usage=self._receipt.usage)
            body = self._ask.caller.embeddings(self._ask.texts(), used, self._about(target))
        self._out.whole(body)

    async def _pass(
        self,
        answer: Answer,
        reader: PassReader,
        target: Target,
        reading: Reading,
        content_type: str,
        *,
        wished: bool,
    ) -> None:
        """A stream of the caller's own protocol: its bytes go on as they came."""
        keeps_out = UsageFilter() if wished else None
        held: list[bytes] = []
        fault: ProviderError | None = None
        signs = 0
        while not self._out.started and (data := await answer.read()):
            reader.feed(data)
            if reader.signs != signs:
                signs = reader.signs
                answer.progress()
            held.append(data if keeps_out is None else keeps_out.feed(data))
            if reader.begun:
                await self._claim(target, reading)
                self._out.begin_stream(content_type)
                await self._out.piece(b"".join(held))
        if self._out.started:
            fault = await self._pass_on(answer, reader, keeps_out)
        if fault is None:
            try:
                reader.end()
            except Malformed:
                raise
            except ProviderError as exc:
                if not self._out.started:
                    raise
                fault = exc
        if fault is not None:
            reading.fail(fault)
            self._receipt.fail(interrupted(target, reading, fault))
            self._out.end()
            return
        rest = keeps_out.finish() if keeps_out is not None else b""
        if not self._out.started:
            await self._claim(target, reading)
            self._out.begin_stream(content_type)
            rest = b"".join(held) + rest
        self._finish_stream(reading, rest)

    async def _pass_on(
        self, answer: Answer, reader: PassReader, keeps_out: UsageFilter | None
    ) -> ProviderError | None:
        """What comes after a stream's beginning; returns the fault that it told of in itself."""
        send = self._out.send
        faults: list[ProviderError] = []

        def take(data: bytes) -> bool:
            try:
                reader.feed(data)
            except ProviderError as exc:
                faults.append(exc)
            if keeps_out is not None:
                data = keeps_out.feed(data)
            return (bool(data) and send(data)) or bool(faults)

        async def ready() -> bool:
            if faults:  # the caller was told of it in the stream itself
                return False
            await self._out.drain()
            return True

        await answer.forward(take, ready)
        return faults[0] if faults else None

    async def _translate(
        self, answer: Answer, reader: AnswerReader, target: Target, reading: Reading
    ) -> None:
        """A stream of another protocol: read into chunks and written anew."""
        writer: StreamWriter | None = None
        held: list[bytes] = []
        faults: list[ProviderError] = []

        def take(chunks: Iterable[ChatChunk]) -> bytes:
            nonlocal writer
            out = b""
            try:
                for chunk in chunks:
                    reading.take(chunk)
                    if writer is None:
                        writer = self._ask.caller.writer(self._about(target))
                    out += writer.chunk(chunk)
            except ProviderError as exc:  # what came before it in the same read has come
                faults.append(exc)
            return out

        signs = 0
        while data := await answer.read():
            out = take(reader.feed(data))
            if reader.signs != signs:
                signs = reader.signs
                answer.progress()
            if self._out.started and out and self._out.send(out):
                await self._out.drain()
                answer.progress()
            if faults:
                raise faults[0]
            if self._out.started:
                continue
            held.append(out)
            if reading.shown:
                await self._claim(target, reading)
                self._out.begin_stream(self._ask.caller.stream_type)
                await self._out.piece(b"".join(held))
        out = take(reader.end())
        if faults:
            raise faults[0]
        if not self._out.started:
            await self._claim(target, reading)
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
            {name: ask.value(name) for name in ask.caller.answers_by},
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
