"""A request as the simulator understands it: read by its protocol's own server side."""

from collections.abc import Iterator, Mapping
from typing import Any

from omni_cli.domain.chat import ChatRequest, MediaPart, Message
from omni_cli.simulator.ask import Ask, ToolSpec, Turn
from omni_cli.simulator.vendors import Json, Vendor
from omni_cli.wire.server import encode


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
    parsed = None if counts else caller.parse(body)
    request = caller.counted(body) if parsed is None else parsed.request
    if parsed is not None and parsed.refused:
        # A vendor takes what other protocols have no word for: all of it is read as text.
        request = ChatRequest((Message.text_of("user", "\n".join(_texts(body))),))
    if stream is None:
        stream = bool(body.get("stream", caller.streams_unasked))
    return Ask(
        model=model,
        turns=tuple(vendor.turns(body) if vendor.turns else _turns(request)),
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


def _texts(value: Any) -> Iterator[str]:
    """Every text of a request that is said to somebody."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            if name in ("text", "content", "input", "instructions") and isinstance(item, str):
                yield item
            elif isinstance(item, Mapping | list):
                yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)


def _nonce(body: Mapping[str, Any]) -> str | None:
    """What the client sent to recognise its request by: ``user``, or values of ``metadata`` or, at
    Google, of ``labels``."""
    if isinstance(body.get("user"), str):
        return str(body["user"])
    metadata = body.get("metadata") or body.get("labels")
    values = metadata.values() if isinstance(metadata, Mapping) else ()
    return ",".join(value for value in values if isinstance(value, str)) or None
