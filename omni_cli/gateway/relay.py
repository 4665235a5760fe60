"""One attempt's answer on its way to the caller: whole or streamed, passed on or translated."""

import re
from collections.abc import Callable, Iterable
from typing import Protocol

from omni_cli.domain.chat import ChatChunk
from omni_cli.domain.errors import Malformed, ModelNotFound, NotOffered, ProviderError
from omni_cli.domain.record import replace
from omni_cli.gateway.passing import PassReader, Unread
from omni_cli.gateway.plans import Way
from omni_cli.gateway.receipts import Receipt
from omni_cli.http.answer import Answer
from omni_cli.http.client import Origin
from omni_cli.ports import SentBody
from omni_cli.services.engine.attempts import Target
from omni_cli.services.engine.call import interrupted, none_passed
from omni_cli.services.engine.settlement import Reading
from omni_cli.wire.client import Client
from omni_cli.wire.framing import MAX_EVENT_BYTES
from omni_cli.wire.reader import AnswerReader, refused
from omni_cli.wire.registry import adapter
from omni_cli.wire.server import Answered, StreamWriter

#: The statuses of a server that has no such path, or takes nothing there.
_NO_SUCH_PATH = (404, 405, 501)
#: Most bytes of an error's body that are read.
_MAX_ERROR = 1024 * 1024


async def read(call: Receipt, answer: Answer, way: Way, target: Target, reading: Reading) -> None:
    """What a provider answers, and give it to the caller."""
    ask, caller, client = call.ask, call.ask.caller, adapter(target.provider.protocol)
    if ask.operation in caller.passes:
        await read_passed(call, answer, client, way.sent, target, reading)
        return
    if ask.embeds:
        await read_embeddings(call, answer, client, target, reading, same=way.same)
        return
    if not ask.stream:
        await read_whole(call, answer, client, way, target, reading)
        return
    kind, sent = answer.headers.get("content-type", ""), way.line.call
    call.tools.streams.add(call)
    # Some servers answer with plain JSON all the same.
    if way.same and not (sent.framing == "sse" and kind.lower().startswith("application/json")):
        reader: Reader = PassReader(
            lambda: client.parser(stream=True),
            sent.framing,
            reading,
            whole=not caller.short_tail or bool(call.cached) or call.shadow is not None,
            wished=way.wished,
        )
    else:
        reader = Translator(
            AnswerReader(client, sent, kind), reading, lambda: caller.writer(about(call, target))
        )
        kind = caller.stream_type
    await stream(call, answer, reader, target, reading, kind)


async def read_whole(
    call: Receipt, answer: Answer, client: Client, way: Way, target: Target, reading: Reading
) -> None:
    body = answer.at_once() or await answer.whole(MAX_EVENT_BYTES)
    checked = call.accept is not None
    quick = call.ask.caller.glance(body) if way.same and not checked else None
    if quick is not None:
        reading.take(quick)
    else:
        reader = AnswerReader(client, way.line.call)
        for chunk in reader.feed(body):
            reading.take(chunk)
        for chunk in reader.end():
            reading.take(chunk)
    if call.race is not None:  # a coroutine less where it is not
        await call.claim(target, reading)
    if not checked:
        reading.finish()
    else:
        call.judge(target, reading)
        if call.flaw:
            answered = reading.folder.completion(call.usage)
            call.rejected = target, answered, body if way.same else None
            return
    call.end("ok")
    if not way.same:
        completion = call.progress.completion
        assert completion is not None
        body = call.ask.caller.whole(completion, about(call, target))
    call.whole(body)


def give_rejected(call: Receipt) -> None:
    """The last answer, which failed its check: nobody had a better one, and it is paid for."""
    assert call.rejected is not None
    target, completion, body = call.rejected
    call.fail(none_passed(call.flaw))
    call.asked = target
    if body is None:
        body = call.ask.caller.whole(completion, about(call, target))
    call.whole(body)


async def read_embeddings(
    call: Receipt, answer: Answer, client: Client, target: Target, reading: Reading, *, same: bool
) -> None:
    """A list of vectors; of the caller's own protocol it is passed on as it came, and only
    its usage is read."""
    body = await answer.whole(MAX_EVENT_BYTES)
    vectors = None if same else client.vectors(body)
    usage = client.vectors_usage(body) if vectors is None else vectors.usage
    reading.take(ChatChunk(usage=usage, finish_reason="stop"))
    await call.claim(target, reading)
    reading.finish()
    call.end("ok")
    if vectors is not None:
        used = replace(vectors, usage=call.usage)
        body = call.ask.caller.embeddings(call.ask.texts(), used, about(call, target))
    call.whole(body)


async def read_passed(
    call: Receipt, answer: Answer, client: Client, sent: SentBody, target: Target, reading: Reading
) -> None:
    """What goes on as it came, whatever it is; only its usage is read."""
    kind = answer.headers.get("content-type", "")

    def counted(body: bytes) -> None:
        usage = client.passed_usage(sent, body)
        reading.take(ChatChunk(usage=usage, finish_reason="stop"))

    if kind.lower().startswith("text/event-stream"):
        await stream(call, answer, Unread(counted), target, reading, kind)
        return
    body = await answer.whole(MAX_EVENT_BYTES)
    counted(body)
    await call.claim(target, reading)
    reading.finish()
    call.end("ok")
    call.whole(body, kind)


class Reader(Protocol):
    """Of a stream on its way: what comes, and what of it goes on."""

    @property
    def tells(self) -> bool:
        """A caller reads of a fault in what goes on."""

    @property
    def fault(self) -> ProviderError | None:
        """The error that the stream has reported in itself."""

    @property
    def signs(self) -> int:
        """Signs of an answer so far: events that are no pings."""

    @property
    def begun(self) -> bool:
        """What a caller may see has come."""

    def feed(self, data: bytes) -> bytes:
        """Takes what came; returns what goes on."""

    def end(self) -> bytes:
        """The rest. Raises the ProviderError of a stream that failed or was cut off."""


class Translator:
    """A stream of another protocol: read into chunks and written anew."""

    tells = False

    def __init__(
        self, reader: AnswerReader, reading: Reading, writer: Callable[[], StreamWriter]
    ) -> None:
        self._reader = reader
        self._reading = reading
        self._new_writer = writer
        self._writer: StreamWriter | None = None
        self.fault: ProviderError | None = None

    @property
    def begun(self) -> bool:
        return self._reading.shown

    @property
    def signs(self) -> int:
        return self._reader.signs

    def feed(self, data: bytes) -> bytes:
        return self._written(self._reader.feed(data))

    def _written(self, chunks: Iterable[ChatChunk]) -> bytes:
        out, writer = b"", self._writer
        try:
            for chunk in chunks:
                self._reading.take(chunk)
                if writer is None:
                    writer = self._writer = self._new_writer()
                out += writer.chunk(chunk)
        except ProviderError as exc:  # what came before it in the same read has come
            self.fault = exc
        return out

    def end(self) -> bytes:
        out = self._written(self._reader.end())
        if self.fault is not None:
            raise self.fault
        writer = self._writer or self._new_writer()
        return out + writer.end(self._reading.folder.completion())


async def stream(
    call: Receipt, answer: Answer, reader: Reader, target: Target, reading: Reading, kind: str
) -> None:
    """A stream, handed on as it comes. Until its answer begins it is held back, so that another
    model may take over; its last bytes wait until it is settled.

    Args:
        kind: its content type.
    """
    request, held, signs = call.request, list[bytes](), 0

    def begin(more: bytes = b"") -> bytes:
        request.begin(call.stream_head(kind))
        return b"".join(held) + more

    def take(data: bytes) -> bool:
        nonlocal signs
        out = reader.feed(data)
        if reader.signs != signs:
            signs = reader.signs
            answer.progress()
        if not request.begun:
            held.append(out)
            if reader.fault is not None or not reader.begun:
                return reader.fault is not None
            if call.race is not None:
                return True
            out = begin()
        return request.send(out) or reader.fault is not None

    async def ready() -> bool:
        if reader.fault is not None:
            return False
        if not request.begun:
            await call.claim(target, reading)
            request.send(begin())
        await request.drain()
        return True

    await answer.forward(take, ready)
    fault, rest = reader.fault, b""
    if fault is None:
        try:
            rest = reader.end()
        except Malformed:
            raise
        except ProviderError as exc:
            fault = exc
    if fault is not None:
        if not (request.begun and reader.tells):
            raise fault
        reading.fail(fault)
        call.fail(interrupted(target, reading, fault, call.broken_hint))
        request.end()
        return
    if not request.begun:
        await call.claim(target, reading)
        rest = begin(rest)
    reading.finish()
    call.end("ok")
    request.end(rest + call.comment())


def about(call: Receipt, target: Target) -> Answered:
    ask, new, task = call.ask, call.new, call.plan.task
    _, premium = call.fleet.premium(call.usage)
    return Answered(
        f"{ask.caller.id_prefix}{call.name}",
        target.model.id,
        new.created_at // 1000,
        {name: ask.value(name) for name in ask.caller.answers_by},
        cost_nusd=call.total_nusd,
        premium_nusd=premium,
        latency_ms=call.fleet.app.now_ms() - new.created_at,
        task="" if task is None else task.task_type,
        attempts=call.progress.tries,
    )


def veil(fault: ProviderError, target: Target, origin: Origin) -> None:
    """Before a caller is told: a client key's holder need not know where a provider is. The ledger
    has the words as they were."""
    conceal(fault, target.provider.slug, origin.host)


def conceal(fault: ProviderError, slug: str, host: str) -> None:
    """The same of a provider's host."""
    if host in fault.message:
        place = rf"(?<![\w.-]){re.escape(host)}(:\d+)?(?![\w-])"
        fault.message = re.sub(place, slug, fault.message)
        fault.args = (fault.message,)
    if host in fault.hint:
        fault.hint = ""


async def refusal(call: Receipt, answer: Answer, way: Way, target: Target) -> ProviderError:
    """Why a provider refused. Of an operation that it may lack it says nothing of the model's
    chats."""
    client, operation = adapter(target.provider.protocol), call.ask.operation
    body = await error_body(answer)
    fault = refused(client, way.line.call, answer.status, answer.headers, body)
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


async def error_body(answer: Answer) -> str:
    """As much of an error's body as comes."""
    try:
        body = await answer.whole(_MAX_ERROR)
    except ProviderError:
        body = b""
    return body.decode("utf-8", "replace")
