"""OpenAI Chat Completions, as its callers see it.

Source: OpenAI API reference, "Create chat completion", "The chat completion chunk object".
"""

import base64
import struct
from collections.abc import Sequence
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
from omni_cli.domain.embeddings import Texts, Vectors
from omni_cli.domain.errors import OmniError
from omni_cli.wire.facts import Operation
from omni_cli.wire.openai import OpenAiFacts
from omni_cli.wire.openai.glance import glance
from omni_cli.wire.server import (
    Answered,
    Caller,
    JsonObject,
    Parsed,
    code_of,
    count_field,
    encode,
    flag,
    inputs_of,
    integer_field,
    left_of,
    media_of,
    message_of,
    number_field,
    object_field,
    objects,
    optional_flag,
    optional_text,
    sse,
    status_of,
    text_field,
    texts,
    untranslatable,
    wrong,
)

#: Fields that ChatRequest holds, and those that say nothing to the model.
_KNOWN = frozenset(
    {
        "model",
        "messages",
        "tools",
        "tool_choice",
        "max_tokens",
        "max_completion_tokens",
        "temperature",
        "top_p",
        "stop",
        "seed",
        "response_format",
        "reasoning_effort",
        "stream",
        "stream_options",
        "user",
        "metadata",
        "store",
        "safety_identifier",
        "prompt_cache_key",
    }
)
_EMBEDDINGS = frozenset({"model", "input", "dimensions", "encoding_format", "user"})
#: Values of fields without a place in ChatRequest that change nothing.
_HARMLESS: dict[str, tuple[object, ...]] = {
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "logprobs": (False,),
    "logit_bias": ({},),
    "service_tier": ("auto", "default"),
    "modalities": (["text"],),
    "functions": ([],),
    "verbosity": ("medium",),
    "n": (1,),
    "parallel_tool_calls": (True,),
}


class OpenAiChat(OpenAiFacts, Caller):
    """The caller's side of protocol ``openai``."""

    operations = (
        Operation("chat", "/chat/completions", "Chat completion", body="Completion"),
        Operation("embeddings", "/embeddings", "Embeddings"),
        Operation("models", "/models", "Models, roles and chains", "GET"),
        Operation("model", "/models/{model+}", "One model", "GET", prefixes=("/v1",)),
    )

    def parse(self, body: JsonObject) -> Parsed:
        messages = objects(body.get("messages"), "messages")
        if not messages:
            raise wrong("'messages' must hold at least one message")
        response_format = body.get("response_format")
        json_mode, schema = _format(response_format)
        request = ChatRequest(
            messages=tuple(map(_message, messages)),
            tools=tuple(_tool(tool) for tool in objects(body.get("tools"), "tools")),
            tool_choice=_choice(body.get("tool_choice")),
            max_output_tokens=count_field(body, "max_completion_tokens", "max_tokens"),
            temperature=number_field(body, "temperature"),
            top_p=number_field(body, "top_p"),
            stop=texts(body.get("stop"), "stop"),
            seed=integer_field(body, "seed"),
            json_mode=json_mode,
            json_schema=schema,
            reasoning_effort=optional_text(body, "reasoning_effort") or None,
            stream=flag(body, "stream"),
        )
        return Parsed(request, left_of(body, _KNOWN, _HARMLESS))

    def whole(self, completion: Completion, about: Answered) -> bytes:
        message: JsonObject = {"role": "assistant", "content": completion.text or None}
        if completion.reasoning:
            message["reasoning_content"] = completion.reasoning
        if completion.tool_calls:
            message["tool_calls"] = [
                {
                    "id": c.id,
                    "type": "function",
                    "function": {"name": c.name, "arguments": c.arguments},
                }
                for c in completion.tool_calls
            ]
        elif completion.text == "":
            message["content"] = ""
        if completion.images:
            message["images"] = [_image(part) for part in completion.images]
        finish = OpenAiFacts.finish_word(completion.finish_reason)
        body: JsonObject = {
            "id": about.id,
            "object": "chat.completion",
            "created": about.created,
            "model": about.model,
            "choices": [
                {"index": 0, "message": message, "logprobs": None, "finish_reason": finish}
            ],
        }
        if completion.usage is not None:
            body["usage"] = usage_of(completion.usage)
        return encode(body)

    def writer(self, about: Answered) -> "_Writer":
        return _Writer(about)

    glance = staticmethod(glance)

    def models(self, listed: Sequence[JsonObject], others: Sequence[JsonObject]) -> JsonObject:
        """OpenAI's fields and Anthropic's, whose list has the same path; they do not contradict."""
        data = [*listed, *others]
        return {
            "object": "list",
            "data": data,
            "has_more": False,
            "first_id": data[0]["id"] if data else None,
            "last_id": data[-1]["id"] if data else None,
        }

    def texts(self, body: JsonObject) -> Texts:
        form = text_field(body, "encoding_format", "float")
        if form not in ("float", "base64"):
            raise wrong(f"'encoding_format' is float or base64, not {form!r}")
        left = left_of(body, _EMBEDDINGS, {"options": ({},)})
        return Texts(
            inputs_of(body), count_field(body, "dimensions"), packed=form == "base64", left=left
        )

    def embeddings(self, texts: Texts, vectors: Vectors, about: Answered) -> bytes:
        data = [
            {
                "object": "embedding",
                "index": index,
                "embedding": _packed(vector) if texts.packed else vector,
            }
            for index, vector in enumerate(vectors.vectors)
        ]
        tokens = vectors.usage.input_tokens if vectors.usage else 0
        counts = {"prompt_tokens": tokens, "total_tokens": tokens}
        return encode({"object": "list", "data": data, "model": about.model, "usage": counts})

    def error(self, error: OmniError, request_id: str) -> JsonObject:  # noqa: ARG002  # protocol
        status = status_of(error)
        return {
            "error": {
                "message": message_of(error),
                "type": self.error_words.get(status, self.error_word),
                "param": None,
                "code": code_of(error),
            }
        }

    def error_event(self, error: OmniError, request_id: str) -> bytes:
        return sse(self.error(error, request_id))


def _packed(vector: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def _format(value: object) -> tuple[bool, JsonObject | None]:
    if value is None:
        return False, None
    shape = object_field(value, "response_format")
    kind = shape.get("type")
    if kind == "text":
        return False, None
    if kind == "json_object":
        return True, None
    if kind == "json_schema":
        inner = object_field(shape.get("json_schema"), "response_format.json_schema")
        return True, object_field(inner.get("schema"), "response_format.json_schema.schema")
    raise wrong(f"response_format of type {kind!r} is not known")


def _choice(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    choice = object_field(value, "tool_choice")
    if choice.get("type") != "function":
        raise wrong(f"tool_choice of type {choice.get('type')!r} is not known")
    return text_field(object_field(choice.get("function"), "tool_choice.function"), "name")


def _tool(tool: JsonObject) -> Tool:
    if tool.get("type") != "function":
        raise untranslatable(f"a tool of type {tool.get('type')!r}", "chosen")
    function = object_field(tool.get("function"), "tools[].function")
    return Tool(
        text_field(function, "name"),
        optional_text(function, "description"),
        object_field(function.get("parameters") or {}, "parameters"),
        optional_flag(function, "strict"),
    )


def _message(message: JsonObject) -> Message:
    role = message.get("role")
    name = optional_text(message, "name") or None
    match role:
        case "system" | "developer":
            return Message("system", _parts(message.get("content")), name=name)
        case "user":
            return Message("user", _parts(message.get("content")), name=name)
        case "tool":
            call = text_field(message, "tool_call_id")
            return Message("tool", _parts(message.get("content")), tool_call_id=call)
        case "assistant":
            parts = _parts(message.get("content")) if message.get("content") is not None else ()
            if isinstance(refusal := message.get("refusal"), str):
                parts = (*parts, TextPart(refusal))
            calls = objects(message.get("tool_calls"), "tool_calls")
            reasoning: tuple[Any, ...] = tuple(
                {"protocol": "openai", "field": field, "value": message[field]}
                for field in ("reasoning_details", "reasoning_content")
                if message.get(field)
            )
            return Message("assistant", parts, tuple(map(_call, calls)), reasoning=reasoning)
    raise wrong(f"a message of role {role!r} is not known")


def _call(call: JsonObject) -> ToolCall:
    function = object_field(call.get("function"), "tool_calls[].function")
    return ToolCall(
        text_field(call, "id", ""),
        text_field(function, "name"),
        text_field(function, "arguments", "{}"),
    )


def _parts(content: object) -> tuple[Part, ...]:
    if isinstance(content, str):
        return (TextPart(content),) if content else ()
    return tuple(_part(part) for part in objects(content, "content"))


def _part(part: JsonObject) -> Part:
    kind = part.get("type")
    if kind == "text":
        return TextPart(text_field(part, "text"))
    if kind == "refusal":
        return TextPart(text_field(part, "refusal"))
    if kind == "image_url":
        image = part.get("image_url")
        return media_of(
            image if isinstance(image, str) else text_field(object_field(image, kind), "url")
        )
    if kind == "input_audio":
        audio = object_field(part.get("input_audio"), kind)
        return MediaPart(f"audio/{text_field(audio, 'format')}", data=text_field(audio, "data"))
    if kind == "file":
        file = object_field(part.get("file"), kind)
        if "file_data" not in file:
            raise untranslatable("a file by id", "chosen")
        media = media_of(text_field(file, "file_data"), "application/pdf")
        return MediaPart(
            media.media_type, media.data, media.url, optional_text(file, "filename") or None
        )
    raise wrong(f"content of type {kind!r} is not known")


def usage_of(usage: Usage) -> JsonObject:
    """Usage in Chat Completions' form."""
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": {
            "cached_tokens": usage.cached_tokens,
            "audio_tokens": usage.input_audio_tokens,
        },
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning_tokens,
            "audio_tokens": usage.output_audio_tokens,
        },
    }


def _image(part: MediaPart) -> JsonObject:
    url = part.url or f"data:{part.media_type};base64,{part.data or ''}"
    return {"type": "image_url", "image_url": {"url": url}}


class _Writer:
    """Writes chunks; the first carries the role, the last one usage where it was asked for."""

    def __init__(self, about: Answered) -> None:
        self._about = about
        self._first = True
        self._named: set[int] = set()

    def chunk(self, chunk: ChatChunk) -> bytes:
        delta: JsonObject = {}
        if self._first:
            delta = {"role": "assistant", "content": ""}
            self._first = False
        if chunk.text:
            delta["content"] = chunk.text
        if chunk.reasoning:
            delta["reasoning_content"] = chunk.reasoning
        if chunk.tool_calls:
            delta["tool_calls"] = [
                self._call(d.index, d.id, d.name, d.arguments) for d in chunk.tool_calls
            ]
        if chunk.images:
            delta["images"] = [_image(part) for part in chunk.images]
        return self._event(delta) if delta else b""

    def _call(self, index: int, call_id: str | None, name: str | None, text: str) -> JsonObject:
        function: JsonObject = {"arguments": text}
        call: JsonObject = {"index": index, "function": function}
        if index not in self._named:
            self._named.add(index)
            call |= {"id": call_id or f"call_{index}", "type": "function"}
            function["name"] = name or ""
        return call

    def end(self, completion: Completion) -> bytes:
        first = self.chunk(ChatChunk()) if self._first else b""
        finish = OpenAiFacts.finish_word(completion.finish_reason)
        events = first + self._event({}, finish)
        options = self._about.options.get("stream_options")
        if isinstance(options, dict) and options.get("include_usage") and completion.usage:
            events += sse({**self._base(), "choices": [], "usage": usage_of(completion.usage)})
        return events + b"data: [DONE]\n\n"

    def _base(self) -> JsonObject:
        return {
            "id": self._about.id,
            "object": "chat.completion.chunk",
            "created": self._about.created,
            "model": self._about.model,
        }

    def _event(self, delta: JsonObject, finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return sse({**self._base(), "choices": [choice]})
