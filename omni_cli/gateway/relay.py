"""One attempt's answer on its way to the caller: whole or streamed, passed on or translated."""

import re
from collections.abc import Iterable

from omni_cli.domain.chat import ChatChunk
from omni_cli.domain.errors import Malformed, ProviderError
from omni_cli.domain.record import replace
from omni_cli.gateway.passing import TAIL, PassReader, UsageFilter
from omni_cli.gateway.plans import Line
from omni_cli.gateway.receipts import Receipt
from omni_cli.http.answer import Answer
from omni_cli.http.client import Origin
from omni_cli.ports import SentBody
from omni_cli.services.engine.attempts import Target
from omni_cli.services.engine.call import interrupted, none_passed
from omni_cli.services.engine.settlement import Reading
from omni_cli.wire.framing import MAX_EVENT_BYTES
from omni_cli.wire.reader import AnswerReader
from omni_cli.wire.server import Answered, StreamWriter

#: Most bytes of an error's body that are read.
_MAX_ERROR = 1024 * 1024


async def read_whole(
    call: Receipt,
    answer: Answer,
    line: Line,
    target: Target,
    reading: Reading,
    *,
    same: bool,
) -> None:
    body = answer.at_once() or await answer.whole(MAX_EVENT_BYTES)
    checked = call.accept is not None
    quick = call.ask.caller.glance(body) if same and not checked else None
    if quick is not None:
        reading.take(quick)
    else:
        reader = AnswerReader(call.fleet.adapter(target.provider), line.call)
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
            call.rejected = target, answered, body if same else None
            return
    call.end("ok")
    if not same:
        completion = call.progress.completion
        assert completion is not None
        body = call.ask.caller.whole(completion, _about(call, target))
    call.whole(body)


def give_rejected(call: Receipt) -> None:
    """The last answer, which failed its check: nobody had a better one, and it is paid for."""
    assert call.rejected is not None
    target, completion, body = call.rejected
    call.fail(none_passed(call.flaw))
    call.asked = target
    if body is None:
        body = call.ask.caller.whole(completion, _about(call, target))
    call.whole(body)


async def read_embeddings(
    call: Receipt, answer: Answer, target: Target, reading: Reading, *, same: bool
) -> None:
    """A list of vectors; of the caller's own protocol it is passed on as it came, and only
    its usage is read."""
    client = call.fleet.adapter(target.provider)
    body = await answer.whole(MAX_EVENT_BYTES)
    vectors = None if same else client.vectors(body)
    usage = client.vectors_usage(body) if vectors is None else vectors.usage
    reading.take(ChatChunk(usage=usage, finish_reason="stop"))
    await call.claim(target, reading)
    reading.finish()
    call.end("ok", compared=False)  # no chat model answers with vectors
    if vectors is not None:
        used = replace(vectors, usage=call.usage)
        body = call.ask.caller.embeddings(call.ask.texts(), used, _about(call, target))
    call.whole(body)


async def read_passed(
    call: Receipt, answer: Answer, sent: SentBody, target: Target, reading: Reading
) -> None:
    """What goes on as it came, whatever it is; only its usage is read."""
    kind = answer.headers.get("content-type", "")
    streams = kind.lower().startswith("text/event-stream")
    if streams:
        body = await _passed_stream(call, answer, target, reading, kind)
    else:
        body = await answer.whole(MAX_EVENT_BYTES)
    usage = call.fleet.adapter(target.provider).passed_usage(sent, body)
    reading.take(ChatChunk(usage=usage, finish_reason="stop"))
    if not streams:
        await call.claim(target, reading)
    reading.finish()
    call.end("ok", compared=False)
    if streams:
        call.end_stream(b"")
    else:
        call.whole(body, kind)


async def _passed_stream(
    call: Receipt, answer: Answer, target: Target, reading: Reading, kind: str
) -> bytes:
    """A stream of events that nobody here reads; returns the end of it, where its usage stands."""
    tail = b""
    while data := await answer.read():
        answer.progress()
        tail = (tail + data)[-TAIL:]
        if call.started:
            if call.request.send(data):
                await call.request.drain()
            continue
        await call.claim(target, reading)
        call.begin_stream(kind)
        await call.request.piece(data)
    if not call.started:
        await call.claim(target, reading)
        call.begin_stream(kind)
    return tail


async def pass_on(
    call: Receipt,
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
    while not call.started and (data := await answer.read()):
        reader.feed(data)
        if reader.signs != signs:
            signs = reader.signs
            answer.progress()
        held.append(data if keeps_out is None else keeps_out.feed(data))
        if reader.begun:
            await call.claim(target, reading)
            call.begin_stream(content_type)
            await call.request.piece(b"".join(held))
    if call.started:
        fault = await _rest(call, answer, reader, keeps_out)
    if fault is None:
        try:
            reader.end()
        except Malformed:
            raise
        except ProviderError as exc:
            if not call.started:
                raise
            fault = exc
    if fault is not None:
        reading.fail(fault)
        call.fail(interrupted(target, reading, fault, call.broken_hint))
        call.request.end()
        return
    rest = keeps_out.finish() if keeps_out is not None else b""
    if not call.started:
        await call.claim(target, reading)
        call.begin_stream(content_type)
        rest = b"".join(held) + rest
    _finish_stream(call, reading, rest)


async def _rest(
    call: Receipt, answer: Answer, reader: PassReader, keeps_out: UsageFilter | None
) -> ProviderError | None:
    """What comes after a stream's beginning; returns the fault that it told of in itself."""
    send = call.request.send
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
        await call.request.drain()
        return True

    await answer.forward(take, ready)
    return faults[0] if faults else None


async def translate(
    call: Receipt, answer: Answer, reader: AnswerReader, target: Target, reading: Reading
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
                    writer = call.ask.caller.writer(_about(call, target))
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
        if call.started and out and call.request.send(out):
            await call.request.drain()
            answer.progress()
        if faults:
            raise faults[0]
        if call.started:
            continue
        held.append(out)
        if reading.shown:
            await call.claim(target, reading)
            call.begin_stream(call.ask.caller.stream_type)
            await call.request.piece(b"".join(held))
    out = take(reader.end())
    if faults:
        raise faults[0]
    if not call.started:
        await call.claim(target, reading)
        call.begin_stream(call.ask.caller.stream_type)
        out = b"".join(held) + out
    if writer is None:
        writer = call.ask.caller.writer(_about(call, target))
    completion = reading.folder.completion()
    _finish_stream(call, reading, out + writer.end(completion))


def _about(call: Receipt, target: Target) -> Answered:
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


def _finish_stream(call: Receipt, reading: Reading, rest: bytes) -> None:
    """Settle, then send what is left: the caller's last byte tells of a settled call."""
    reading.finish()
    call.end("ok")
    call.end_stream(rest)


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


async def error_body(answer: Answer) -> str:
    """As much of an error's body as comes."""
    try:
        body = await answer.whole(_MAX_ERROR)
    except ProviderError:
        body = b""
    return body.decode("utf-8", "replace")
