"""Ollama's /api/chat, as its callers see it.

Source: ollama/ollama docs/api.md, "Generate a chat completion".
"""

from datetime import UTC, datetime

from omni_cli.domain.chat import (
    ChatChunk,
    ChatRequest,
    Completion,
    CompletionFolder,
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
    encode,
    integer_field,
    left_of,
    message_of,
    number_field,
    object_field,
    objects,
    optional_text,
    text_field,
    texts,
    wrong,
)
from omni_cli.providers._wire import arguments_object, compact

_KNOWN = frozenset(
    {"model", "messages", "tools", "format", "options", "stream", "think", "keep_alive"}
)
_OPTIONS = frozenset({"num_predict", "temperature", "top_p", "stop", "seed", "num_ctx"})
#: The first bytes of images in base64, by their type; Ollama's images carry none.
_SIGNATURES = (("iVBOR", "image/png"), ("/9j/", "image/jpeg"), ("R0lGOD", "image/gif"))


class OllamaChat:
    """The caller's side of protocol ``ollama``."""

    name = "ollama"
    request_id = "x-request-id"
    id_prefix = ""
    stream_type = "application/x-ndjson"
    comments = False
    answers_by: tuple[str, ...] = ()

    def parse(self, body: JsonObject) -> Parsed:
        options = object_field(body.get("options") or {}, "options")
        shape = body.get("format") or None
        think = body.get("think")
        limit = integer_field(options, "num_predict")
        request = ChatRequest(
            messages=_messages(objects(body.get("messages"), "messages")),
            tools=tuple(_tool(tool) for tool in objects(body.get("tools"), "tools")),
            max_output_tokens=limit if limit and limit > 0 else None,  # -1: without limit
            temperature=number_field(options, "temperature"),
            top_p=number_field(options, "top_p"),
            stop=texts(options.get("stop"), "options.stop"),
            seed=integer_field(options, "seed"),
            json_mode=shape is not None,
            json_schema=shape if isinstance(shape, dict) else None,
            reasoning_effort=think if isinstance(think, str) else ("medium" if think else None),
            stream=body.get("stream") is not False,
        )
        if not request.messages:
            raise wrong("'messages' must hold at least one message")
        left = left_of(body, _KNOWN, {})
        return Parsed(request, left + tuple(f"options.{n}" for n in options if n not in _OPTIONS))

    def whole(self, completion: Completion, about: Answered) -> bytes:
        message: JsonObject = {"role": "assistant", "content": completion.text}
        if completion.reasoning:
            message["thinking"] = completion.reasoning
        if completion.tool_calls:
            message["tool_calls"] = _calls(completion.tool_calls)
        return encode({**_base(about), "message": message, **_ending(completion, completion.usage)})

    def writer(self, about: Answered) -> "_Writer":
        return _Writer(about)

    def error(self, error: OmniError, request_id: str) -> JsonObject:  # noqa: ARG002  # protocol
        return {"error": message_of(error)}

    def error_event(self, error: OmniError, request_id: str) -> bytes:
        return encode(self.error(error, request_id)) + b"\n"


def _tool(tool: JsonObject) -> Tool:
    function = object_field(tool.get("function"), "tools[].function")
    return Tool(
        text_field(function, "name"),
        optional_text(function, "description"),
        object_field(function.get("parameters") or {}, "parameters"),
    )


def _messages(turns: list[JsonObject]) -> tuple[Message, ...]:
    """Ollama's calls have no ids: results belong to them by name, else by their order."""
    found: list[Message] = []
    waiting: list[ToolCall] = []
    counted = 0
    for turn in turns:
        role = turn.get("role")
        parts: tuple[Part, ...] = ()
        if text := text_field(turn, "content", ""):
            parts = (TextPart(text),)
        parts += tuple(_image(data) for data in texts(turn.get("images"), "images"))
        if role == "tool":
            name = optional_text(turn, "tool_name") or optional_text(turn, "name") or None
            call = next((c for c in waiting if not name or c.name == name), None)
            if call is not None:
                waiting.remove(call)
            ident = optional_text(turn, "tool_call_id") or (call.id if call else "call_0")
            found.append(Message("tool", parts, tool_call_id=ident, name=name))
            continue
        if role not in ("system", "user", "assistant"):
            raise wrong(f"a message of role {role!r} is not known")
        calls = []
        for call_object in objects(turn.get("tool_calls"), "tool_calls"):
            function = object_field(call_object.get("function"), "tool_calls[].function")
            ident = call_object.get("id") or f"call_{counted}"
            counted += 1
            arguments = compact(function.get("arguments") or {})
            calls.append(ToolCall(ident, text_field(function, "name"), arguments))
        waiting += calls
        found.append(Message(role, parts, tuple(calls)))
    return tuple(found)


def _image(data: str) -> MediaPart:
    kind = next((kind for start, kind in _SIGNATURES if data.startswith(start)), "image/webp")
    return MediaPart(kind, data=data)


def _base(about: Answered) -> JsonObject:
    created = datetime.fromtimestamp(about.created, UTC).isoformat().replace("+00:00", "Z")
    return {"model": about.model, "created_at": created}


def _calls(calls: tuple[ToolCall, ...]) -> list[JsonObject]:
    return [
        {"id": call.id, "function": {"name": call.name, "arguments": arguments_object(call)}}
        for call in calls
    ]


def _ending(completion: Completion, usage: Usage | None) -> JsonObject:
    counts = usage or Usage()
    reason = "length" if completion.finish_reason == "length" else "stop"
    return {
        "done": True,
        "done_reason": reason,
        "total_duration": 0,
        "load_duration": 0,
        "prompt_eval_count": counts.input_tokens,
        "prompt_eval_duration": 0,
        "eval_count": counts.output_tokens,
        "eval_duration": 0,
    }


class _Writer:
    """Writes lines; a call is written once it is whole, as its arguments are an object."""

    def __init__(self, about: Answered) -> None:
        self._about = about
        self._calls = CompletionFolder()

    def chunk(self, chunk: ChatChunk) -> bytes:
        message: JsonObject = {"role": "assistant", "content": chunk.text}
        if chunk.reasoning:
            message["thinking"] = chunk.reasoning
        if chunk.tool_calls:
            self._calls.add(ChatChunk(tool_calls=chunk.tool_calls))
        if not (chunk.text or chunk.reasoning):
            return b""
        return self._line({"message": message, "done": False})

    def end(self, completion: Completion) -> bytes:
        out = b""
        calls = self._calls.completion().tool_calls
        if calls:
            message = {"role": "assistant", "content": "", "tool_calls": _calls(calls)}
            out = self._line({"message": message, "done": False})
        last = {"message": {"role": "assistant", "content": ""}}
        return out + self._line({**last, **_ending(completion, completion.usage)})

    def _line(self, value: JsonObject) -> bytes:
        return encode({**_base(self._about), **value}) + b"\n"
