"""OpenAI's Responses API, as its callers see it. Answers are not stored.

Source: OpenAI API reference, "Create a model response", "Streaming events".
"""

from typing import Any

from omni_cli.domain.chat import (
    ChatChunk,
    ChatRequest,
    Completion,
    MediaPart,
    Message,
    Part,
    TextPart,
    Tool,
    ToolCall,
    Usage,
)
from omni_cli.domain.errors import OmniError
from omni_cli.gateway.protocols.base import (
    Answered,
    JsonObject,
    Parsed,
    code_of,
    count_field,
    encode,
    flag,
    left_of,
    media_of,
    message_of,
    number_field,
    object_field,
    objects,
    sse,
    text_field,
    untranslatable,
    wrong,
)
from omni_cli.gateway.protocols.openai_chat import OpenAiChat

_KNOWN = frozenset(
    {
        "model",
        "input",
        "instructions",
        "tools",
        "tool_choice",
        "max_output_tokens",
        "temperature",
        "top_p",
        "reasoning",
        "text",
        "stream",
        "stream_options",
        "store",
        "include",
        "metadata",
        "user",
        "prompt_cache_key",
        "safety_identifier",
        "client_metadata",
    }
)
_HARMLESS: dict[str, tuple[object, ...]] = {
    "parallel_tool_calls": (True,),
    "truncation": ("disabled",),
    "service_tier": ("auto", "default"),
    "background": (False,),
    "top_logprobs": (0,),
}


class OpenAiResponses:
    """The caller's side of protocol ``openai-responses``."""

    name = "openai-responses"
    request_id = "x-request-id"
    id_prefix = "resp_"
    stream_type = "text/event-stream; charset=utf-8"
    comments = True

    def parse(self, body: JsonObject) -> Parsed:
        messages: list[Message] = []
        if body.get("instructions"):
            messages.append(Message.text_of("system", text_field(body, "instructions")))
        messages += _input(body.get("input"))
        shape = object_field(body.get("text") or {}, "text")
        schema = object_field(shape.get("format") or {}, "text.format")
        kind = schema.get("type", "text")
        if kind not in ("text", "json_object", "json_schema"):
            raise wrong(f"text.format of type {kind!r} is not known")
        reasoning = object_field(body.get("reasoning") or {}, "reasoning")
        request = ChatRequest(
            messages=tuple(messages),
            tools=tuple(_tool(tool) for tool in objects(body.get("tools"), "tools")),
            tool_choice=_choice(body.get("tool_choice")),
            max_output_tokens=count_field(body, "max_output_tokens"),
            temperature=number_field(body, "temperature"),
            top_p=number_field(body, "top_p"),
            json_mode=kind != "text",
            json_schema=schema.get("schema") if kind == "json_schema" else None,
            reasoning_effort=reasoning.get("effort"),
            stream=flag(body, "stream"),
        )
        left = left_of(body, _KNOWN, _HARMLESS)
        left += tuple(f"text.{n}" for n in left_of(shape, frozenset({"format"}), _VERBOSITY))
        return Parsed(request, left)

    def whole(self, completion: Completion, about: Answered) -> bytes:
        return encode(_response(about, _items(completion, about.id), completion))

    def writer(self, about: Answered) -> "_Writer":
        return _Writer(about)

    def error(self, error: OmniError, request_id: str) -> JsonObject:
        return OpenAiChat().error(error, request_id)

    def error_event(self, error: OmniError, request_id: str) -> bytes:  # noqa: ARG002  # protocol
        event = {
            "type": "error",
            "code": code_of(error),
            "message": message_of(error),
            "param": None,
            "sequence_number": 0,
        }
        return sse(event, "error")


_VERBOSITY: dict[str, tuple[object, ...]] = {"verbosity": ("medium",)}


def _choice(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    choice = object_field(value, "tool_choice")
    if choice.get("type") != "function":
        raise untranslatable(f"tool_choice of type {choice.get('type')!r}", "chosen")
    return text_field(choice, "name")


def _tool(tool: JsonObject) -> Tool:
    if tool.get("type") != "function":
        raise untranslatable(f"the tool {tool.get('type')!r}", "chosen")
    return Tool(
        text_field(tool, "name"),
        tool.get("description") or "",
        tool.get("parameters") or {},
        tool.get("strict"),
    )


def _input(value: object) -> list[Message]:
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
                text_field(item, "name"),
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
            return MediaPart(media.media_type, media.data, media.url, part.get("filename"))
        if part.get("file_url"):
            return MediaPart("application/pdf", url=text_field(part, "file_url"))
    raise untranslatable(f"content of type {kind!r} by id", "chosen")


def usage_of(usage: Usage) -> JsonObject:
    """Usage in the Responses API's form."""
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens},
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.total_tokens,
    }


def _reasoning_item(text: str, ident: str) -> JsonObject:
    summary = [{"type": "summary_text", "text": text}] if text else []
    return {"id": f"rs_{ident}", "type": "reasoning", "summary": summary}


def _message_item(text: str, ident: str, status: str = "completed") -> JsonObject:
    content = [{"type": "output_text", "text": text, "annotations": [], "logprobs": []}]
    return {
        "id": f"msg_{ident}",
        "type": "message",
        "role": "assistant",
        "status": status,
        "content": content if status == "completed" else [],
    }


def _call_item(call: ToolCall, ident: str, status: str = "completed") -> JsonObject:
    return {
        "id": f"fc_{ident}",
        "type": "function_call",
        "status": status,
        "call_id": call.id,
        "name": call.name,
        "arguments": call.arguments if status == "completed" else "",
    }


def _items(completion: Completion, ident: str) -> list[JsonObject]:
    items = []
    if completion.reasoning:
        items.append(_reasoning_item(completion.reasoning, ident))
    if completion.text or not completion.tool_calls:
        items.append(_message_item(completion.text, ident))
    items += [
        _call_item(call, f"{ident}_{number}") for number, call in enumerate(completion.tool_calls)
    ]
    return items


def _response(
    about: Answered, output: list[JsonObject], completion: Completion | None
) -> JsonObject:
    """The response object; without a completion it is under way."""
    status, details, usage = "in_progress", None, None
    if completion is not None:
        cut = {"length": "max_output_tokens", "content_filter": "content_filter"}.get(
            completion.finish_reason or ""
        )
        status = "incomplete" if cut else "completed"
        details = {"reason": cut} if cut else None
        usage = usage_of(completion.usage or Usage())
    return {
        "id": about.id,
        "object": "response",
        "created_at": about.created,
        "status": status,
        "error": None,
        "incomplete_details": details,
        "instructions": None,
        "metadata": {},
        "model": about.model,
        "output": output,
        "parallel_tool_calls": True,
        "store": False,
        "temperature": None,
        "tool_choice": "auto",
        "tools": [],
        "top_p": None,
        "usage": usage,
    }


class _Writer:
    """Writes typed events; one output item is open at a time."""

    def __init__(self, about: Answered) -> None:
        self._about = about
        self._number = -1
        self._items: list[JsonObject] = []
        self._open: tuple[str, list[str], ToolCall | None] | None = None

    def chunk(self, chunk: ChatChunk) -> bytes:
        out = b"" if self._number >= 0 else self._begin()
        if chunk.reasoning:
            out += self._enter("reasoning")
            out += self._piece("response.reasoning_summary_text.delta", chunk.reasoning)
        if chunk.text:
            out += self._enter("message")
            out += self._piece("response.output_text.delta", chunk.text)
        for delta in chunk.tool_calls:
            call = ToolCall(delta.id or f"call_{delta.index}", delta.name or "", "")
            out += self._enter(f"call {delta.index}", call)
            if delta.arguments:
                out += self._piece("response.function_call_arguments.delta", delta.arguments)
        return out

    def end(self, completion: Completion) -> bytes:
        out = b"" if self._number >= 0 else self._begin()
        if not self._items and self._open is None:
            out += self._enter("message")
        out += self._leave()
        response = _response(self._about, self._items, completion)
        return out + self._event(f"response.{response['status']}", response=response)

    def _begin(self) -> bytes:
        response = _response(self._about, [], None)
        return self._event("response.created", response=response) + self._event(
            "response.in_progress", response=response
        )

    def _event(self, kind: str, **fields: object) -> bytes:
        self._number += 1
        return sse({"type": kind, "sequence_number": self._number, **fields}, kind)

    def _ident(self) -> str:
        return f"{self._about.id}_{len(self._items)}"

    def _place(self) -> JsonObject:
        kind = self._open[0] if self._open else ""
        prefix = {"reasoning": "rs", "message": "msg"}.get(kind, "fc")
        place: JsonObject = {
            "item_id": f"{prefix}_{self._ident()}",
            "output_index": len(self._items),
        }
        if kind == "message":
            place |= {"content_index": 0, "logprobs": []}
        elif kind == "reasoning":
            place["summary_index"] = 0
        return place

    def _enter(self, kind: str, call: ToolCall | None = None) -> bytes:
        if self._open is not None and self._open[0] == kind:
            return b""
        out = self._leave()
        self._open = (kind, [], call)
        ident = self._ident()
        if kind == "message":
            item = _message_item("", ident, "in_progress")
        elif kind == "reasoning":
            item = _reasoning_item("", ident)
        else:
            item = _call_item(call or ToolCall("", "", ""), ident, "in_progress")
        out += self._event("response.output_item.added", output_index=len(self._items), item=item)
        if kind == "message":
            part = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
            out += self._event("response.content_part.added", **_part_place(self._place(), part))
        elif kind == "reasoning":
            part = {"type": "summary_text", "text": ""}
            out += self._event("response.reasoning_summary_part.added", **self._place(), part=part)
        return out

    def _piece(self, kind: str, text: str) -> bytes:
        assert self._open is not None
        self._open[1].append(text)
        return self._event(kind, **self._place(), delta=text)

    def _leave(self) -> bytes:
        if self._open is None:
            return b""
        kind, pieces, call = self._open
        text, place, ident = "".join(pieces), self._place(), self._ident()
        if kind == "message":
            item = _message_item(text, ident)
            part = item["content"][0]
            out = self._event("response.output_text.done", **place, text=text)
            out += self._event("response.content_part.done", **_part_place(place, part))
        elif kind == "reasoning":
            item = _reasoning_item(text, ident)
            part = {"type": "summary_text", "text": text}
            out = self._event("response.reasoning_summary_text.done", **place, text=text)
            out += self._event("response.reasoning_summary_part.done", **place, part=part)
        else:
            made = call or ToolCall("", "", "")
            item = _call_item(ToolCall(made.id, made.name, text or "{}"), ident)
            out = self._event(
                "response.function_call_arguments.done", **place, arguments=text or "{}"
            )
        out += self._event("response.output_item.done", output_index=len(self._items), item=item)
        self._items.append(item)
        self._open = None
        return out


def _part_place(place: JsonObject, part: JsonObject) -> JsonObject:
    return {key: value for key, value in place.items() if key != "logprobs"} | {"part": part}
