"""What a caller of the Responses API asks: its input items as messages.

Source: OpenAI API reference, "Create a model response", input.
"""

from typing import Any

from omni_cli.domain.chat import MediaPart, Message, Part, TextPart, ToolCall
from omni_cli.wire.responses.tools import flat_name
from omni_cli.wire.server import (
    JsonObject,
    media_of,
    objects,
    optional_text,
    text_field,
    untranslatable,
    wrong,
)


def messages_of(value: object) -> list[Message]:
    """The messages of ``input``. Raises BadRequest."""
    if isinstance(value, str):
        return [Message.text_of("user", value)]
    found: list[Message] = []
    reasoning: list[Any] = []
    for item in objects(value, "input"):
        kind = item.get("type", "message")
        if kind == "message":
            role = item.get("role")
            role = "system" if role == "developer" else role
            if role not in ("system", "user", "assistant"):
                raise wrong(f"an input of role {role!r} is not known")
            found.append(Message(role, _parts(item.get("content"))))  # type: ignore[arg-type]  # tested above
        elif kind == "function_call":
            call = ToolCall(
                text_field(item, "call_id"),
                flat_name(text_field(item, "name"), item.get("namespace")),
                text_field(item, "arguments", "{}"),
            )
            last = found[-1] if found else None
            if last is not None and last.role == "assistant" and not reasoning:
                # Neighbouring calls, and the text before them, are one turn.
                found[-1] = Message(
                    "assistant", last.parts, (*last.tool_calls, call), reasoning=last.reasoning
                )
            else:
                found.append(Message("assistant", (), (call,), reasoning=tuple(reasoning)))
                reasoning = []
        elif kind == "function_call_output":
            output = item.get("output", "")
            parts = _parts(output) if not isinstance(output, str) else (TextPart(output),)
            found.append(Message("tool", parts, tool_call_id=text_field(item, "call_id")))
        elif kind == "reasoning":
            reasoning.append({"protocol": "openai-responses", "block": item})
        else:
            raise untranslatable(f"an input of type {kind!r}", "chosen")
    if not found:
        raise wrong("'input' must hold at least one message")
    return found


def _parts(content: object) -> tuple[Part, ...]:
    if isinstance(content, str):
        return (TextPart(content),) if content else ()
    return tuple(_part(part) for part in objects(content, "content"))


def _part(part: JsonObject) -> Part:
    kind = part.get("type")
    if kind in ("input_text", "output_text", "text"):
        return TextPart(text_field(part, "text"))
    if kind == "refusal":
        return TextPart(text_field(part, "refusal"))
    if kind == "input_image" and part.get("image_url"):
        return media_of(text_field(part, "image_url"))
    if kind == "input_file":
        if part.get("file_data"):
            media = media_of(text_field(part, "file_data"), "application/pdf")
            return MediaPart(
                media.media_type, media.data, media.url, optional_text(part, "filename") or None
            )
        if part.get("file_url"):
            return MediaPart("application/pdf", url=text_field(part, "file_url"))
    raise untranslatable(f"content of type {kind!r} by id", "chosen")
