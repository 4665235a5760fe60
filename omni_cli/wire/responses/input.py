"""What a caller of the Responses API asks: its input items as messages.

Source: OpenAI API reference, "Create a model response", input.
"""

from typing import Any

from omni_cli.domain.chat import MediaPart, Message, MessageRole, Part, TextPart, ToolCall
from omni_cli.wire.responses.tools import LATE_TOOLS, flat_name
from omni_cli.wire.server import (
    ONE_TEXT,
    JsonObject,
    Unsaid,
    detail_of,
    marker,
    media_of,
    object_field,
    objects,
    optional_text,
    text_field,
    wrong,
)
from omni_cli.wire.values import compact

#: Items of tools that OpenAI runs: what they found is in the text that follows them.
_HOSTED = frozenset(
    {
        "web_search_call",
        "file_search_call",
        "code_interpreter_call",
        "image_generation_call",
        "mcp_call",
        "mcp_list_tools",
        "mcp_approval_request",
        "mcp_approval_response",
        "tool_search_call",
    }
)


_ROLES: dict[str, MessageRole] = {
    "developer": "system",
    "system": "system",
    "user": "user",
    "assistant": "assistant",
}


def messages_of(value: object, unsaid: Unsaid) -> list[Message]:
    """The messages of ``input``. Raises BadRequest."""
    if isinstance(value, str):
        return [Message.text_of("user", value)]
    found: list[Message] = []
    reasoning: list[Any] = []
    for item in objects(value, "input"):
        kind = text_field(item, "type", "message")
        if kind == "message":
            role = _ROLES.get(str(item.get("role")))
            if role is None:
                raise wrong(f"an input of role {item.get('role')!r} is not known")
            thought: tuple[Any, ...] = ()
            if role == "assistant":
                thought, reasoning = tuple(reasoning), []
            parts = _parts(item.get("content"), unsaid)
            found.append(Message(role, parts, reasoning=thought))
        elif kind in ("function_call", "custom_tool_call", "local_shell_call"):
            call = _call(kind, item)
            last = found[-1] if found else None
            if last is not None and last.role == "assistant" and not reasoning:
                # Neighbouring calls, and the text before them, are one turn.
                found[-1] = Message(
                    "assistant", last.parts, (*last.tool_calls, call), reasoning=last.reasoning
                )
            else:
                found.append(Message("assistant", (), (call,), reasoning=tuple(reasoning)))
                reasoning = []
        elif kind in ("function_call_output", "custom_tool_call_output", "local_shell_call_output"):
            output = item.get("output")
            parts = _output(output, unsaid)
            call_id = text_field(item, "call_id" if "call_id" in item else "id")
            failed = item.get("status") == "failed"
            found.append(Message("tool", parts, tool_call_id=call_id, is_error=failed))
        elif kind == "reasoning":
            reasoning.append({"protocol": "openai-responses", "block": item})
        elif kind in LATE_TOOLS:
            pass  # read with the other tools
        elif kind in _HOSTED:
            unsaid.leave(f"an input of type {kind!r}")
        else:
            unsaid.refuse(f"an input of type {kind!r}")
    if not found and not unsaid.refused:
        raise wrong("'input' must hold at least one message")
    return found


def _call(kind: str, item: JsonObject) -> ToolCall:
    if kind == "local_shell_call":
        action = object_field(item.get("action") or {}, "action")
        ident = text_field(item, "call_id" if "call_id" in item else "id")
        return ToolCall(ident, "local_shell", compact(action))
    name = flat_name(text_field(item, "name"), item.get("namespace"))
    if kind == "custom_tool_call":
        said = compact({ONE_TEXT: text_field(item, "input", "")})
        return ToolCall(text_field(item, "call_id"), name, said)
    return ToolCall(text_field(item, "call_id"), name, text_field(item, "arguments", "{}"))


def _output(output: object, unsaid: Unsaid) -> tuple[Part, ...]:
    if isinstance(output, list) and all(
        isinstance(part, dict) and isinstance(part.get("type"), str) for part in output
    ):
        return _parts(output, unsaid)
    if output is None or isinstance(output, str):
        return (TextPart(output),) if output else ()
    return (TextPart(compact(output)),)


def _parts(content: object, unsaid: Unsaid) -> tuple[Part, ...]:
    if content is None or isinstance(content, str):
        return (TextPart(content),) if content else ()
    return tuple(_part(part, unsaid) for part in objects(content, "content"))


def _part(part: JsonObject, unsaid: Unsaid) -> Part:
    kind = part.get("type")
    mark = marker(part)
    if kind in ("input_text", "output_text", "text", "summary_text"):
        return TextPart(text_field(part, "text"), mark)
    if kind == "refusal":
        return TextPart(text_field(part, "refusal"))
    if kind in ("input_image", "image_url") and part.get("image_url"):
        image = part["image_url"]
        url = text_field(image, "url") if isinstance(image, dict) else text_field(part, "image_url")
        return media_of(url, detail=detail_of(part), cache=mark)
    if kind == "input_file":
        if part.get("file_data"):
            name = optional_text(part, "filename") or None
            return media_of(text_field(part, "file_data"), "application/pdf", name=name, cache=mark)
        if part.get("file_url"):
            return MediaPart("application/pdf", url=text_field(part, "file_url"), cache=mark)
    if kind == "input_audio":
        audio = object_field(part.get("input_audio"), kind)
        return MediaPart(f"audio/{text_field(audio, 'format')}", data=text_field(audio, "data"))
    unsaid.refuse(f"content of type {kind!r} by id")
    return TextPart("")
