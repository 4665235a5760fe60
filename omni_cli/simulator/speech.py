"""Requests as the protocols' own server sides read them, and answers as these write them."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from omni_cli.domain.chat import (
    ChatChunk,
    ChatRequest,
    Completion,
    CompletionFolder,
    MediaPart,
    ToolCallDelta,
)
from omni_cli.simulator.ask import Ask, Delta, Event, Reply, ToolSpec, Turn
from omni_cli.simulator.tokens import count
from omni_cli.simulator.vendors import Json, Vendor
from omni_cli.wire.server import Answered, encode

#: Where protocols tell what an answer counts.
_COUNTS = re.compile(r"usage(Metadata)?|\w*eval_count|\w*_duration")
_DATA = re.compile(rb"^(data: )?(\{.*\})$", re.MULTILINE)


def read(vendor: Vendor, body: Json, model: str, *, stream: bool | None, counts: bool) -> Ask:
    """What a body asks.

    Args:
        stream: whether the answer streams, where the path says so.
        counts: only the prompt's tokens are asked for.

    Raises:
        BadRequest: the body is not what the protocol asks for.
    """
    caller = vendor.caller
    assert caller is not None
    # A vendor takes what other protocols have no word for: that is passed over.
    request = caller.counted(body) if counts else caller.parse(body).request
    if stream is None:
        stream = bool(body.get("stream", caller.streams_unasked))
    return Ask(
        model=model,
        turns=tuple(vendor.turns(body) if vendor.turns else _turns(request)) or (Turn("user", ""),),
        stream=stream,
        tools=tuple(ToolSpec(tool.name, tool.parameters) for tool in request.tools),
        tool_choice=request.tool_choice or "auto",
        max_tokens=request.max_output_tokens,
        json_mode=request.json_mode,
        schema=request.json_schema,
        thinking=vendor.thinks(body, request),
        effort=request.reasoning_effort,
        stop=request.stop,
        user=_nonce(body),
        tells_thoughts=vendor.tells(body, model),
        options={name: body.get(name) for name in caller.answers_by},
    )


def _turns(request: ChatRequest) -> Iterator[Turn]:
    """Offered tools count as the prompt's first block."""
    if request.tools:
        tools = [
            {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
            for tool in request.tools
        ]
        yield Turn("tools", encode(tools).decode())
    for message in request.messages:
        calls = [{"name": call.name, "arguments": call.arguments} for call in message.tool_calls]
        text = message.text + (encode(calls).decode() if calls else "")
        images = sum(isinstance(part, MediaPart) for part in message.parts)
        yield Turn(message.role, text, images)


def _nonce(body: Mapping[str, Any]) -> str | None:
    """What the client sent to recognise its request by: ``user``, or values of ``metadata`` or, at
    Google, of ``labels``."""
    if isinstance(body.get("user"), str):
        return str(body["user"])
    metadata = body.get("metadata") or body.get("labels")
    values = metadata.values() if isinstance(metadata, Mapping) else ()
    return ",".join(value for value in values if isinstance(value, str)) or None


def _about(vendor: Vendor, ask: Ask, reply: Reply) -> Answered:
    assert vendor.caller is not None
    prefix = vendor.caller.id_prefix
    return Answered(prefix + reply.ident, ask.model, reply.created, ask.options)


def _chunks(vendor: Vendor, ask: Ask, reply: Reply) -> Iterator[tuple[ChatChunk, int]]:
    """The answer in pieces, each with the tokens that it carries."""
    yield ChatChunk(), 0
    if ask.tells_thoughts and reply.reasoning:
        for delta in _grouped(reply.reasoning, vendor.step):
            yield ChatChunk(reasoning=delta.text), delta.tokens
        # Its own vendor wants a thought back signed.
        block = {"type": "thinking", "thinking": reply.whole_reasoning, "signature": _SIGNATURE}
        yield ChatChunk(reasoning_blocks=({"protocol": vendor.protocol, "block": block},)), 0
    for delta in _grouped(reply.text, vendor.step):
        yield ChatChunk(text=delta.text), delta.tokens
    for index, call in enumerate(reply.calls):
        first = ToolCallDelta(index, f"call_{reply.ident}{index}", call.name, "")
        yield ChatChunk(tool_calls=(first,)), count(call.name)
        middle = len(call.arguments) // 2
        for part in filter(None, (call.arguments[:middle], call.arguments[middle:])):
            # Arguments arrive in two pieces, so that clients must join them.
            yield ChatChunk(tool_calls=(ToolCallDelta(index, None, None, part),)), count(part)
    yield ChatChunk(usage=reply.usage, finish_reason=reply.finish), 0


_SIGNATURE = "simulated-signature"


def _grouped(deltas: Any, size: int) -> Iterator[Delta]:
    for at in range(0, len(deltas), size):
        group = deltas[at : at + size]
        yield Delta("".join(d.text for d in group), sum(d.tokens for d in group))


def _completion(vendor: Vendor, ask: Ask, reply: Reply) -> Completion:
    folder = CompletionFolder()
    for chunk, _ in _chunks(vendor, ask, reply):
        folder.add(chunk)
    return folder.completion()


def plain(vendor: Vendor, ask: Ask, reply: Reply) -> bytes:
    assert vendor.caller is not None
    body = vendor.caller.whole(_completion(vendor, ask, reply), _about(vendor, ask, reply))
    return body if reply.usage else _without_counts(body)


def events(vendor: Vendor, ask: Ask, reply: Reply) -> Iterator[Event]:
    assert vendor.caller is not None
    writer = vendor.caller.writer(_about(vendor, ask, reply))
    waiting = 0  # tokens of what the protocol says only once it is whole
    for chunk, tokens in _chunks(vendor, ask, reply):
        data, waiting = writer.chunk(chunk), waiting + tokens
        if data:
            yield (data if reply.usage else _without_counts(data)), waiting
            waiting = 0
    data = writer.end(_completion(vendor, ask, reply))
    yield (data if reply.usage else _without_counts(data)), waiting


def _without_counts(data: bytes) -> bytes:
    """The same answer, or events, of a provider that says nothing about tokens."""

    def stripped(match: re.Match[bytes]) -> bytes:
        value = _stripped(json.loads(match[2]))
        return (match[1] or b"") + json.dumps(value, separators=(",", ":")).encode()

    return _DATA.sub(stripped, data)


def _stripped(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _stripped(item) for k, item in value.items() if not _COUNTS.fullmatch(k)}
    return [_stripped(item) for item in value] if isinstance(value, list) else value
