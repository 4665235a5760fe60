"""OpenAI Chat Completions, as its callers see it.

Source: OpenAI API reference, "Create chat completion", "The chat completion chunk object".
"""

import base64
import struct
from collections.abc import Sequence
from typing import Any, ClassVar

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
    ToolCallDelta,
    Usage,
)
from omni_cli.domain.embeddings import Texts, Vectors
from omni_cli.domain.errors import OmniError
from omni_cli.domain.record import replace
from omni_cli.wire.facts import Operation
from omni_cli.wire.features import wishes_in
from omni_cli.wire.openai import OpenAiFacts
from omni_cli.wire.openai.glance import glance
from omni_cli.wire.server import (
    ONE_TEXT,
    Answered,
    Caller,
    InOrder,
    JsonObject,
    Parsed,
    StreamWriter,
    Unsaid,
    code_of,
    count_field,
    detail_of,
    effort_of,
    encode,
    flag,
    inputs_of,
    integer_field,
    left_of,
    marker,
    media_of,
    message_of,
    number_field,
    object_field,
    objects,
    one_text_of,
    one_text_tool,
    optional_flag,
    optional_text,
    sse,
    status_of,
    strange_tools,
    text_field,
    texts,
    wrong,
)
from omni_cli.wire.values import compact

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
        # Of other vendors' dialects, to the same end as reasoning_effort.
        "reasoning",
        "thinking",
        "enable_thinking",
        "chat_template_kwargs",
        "include_reasoning",
        "usage",
    }
)
_EMBEDDINGS = frozenset({"model", "input", "dimensions", "encoding_format", "user"})


class OpenAiChat(OpenAiFacts, Caller):
    """The caller's side of protocol ``openai``."""

    operations: ClassVar[tuple[Operation, ...]] = (
        Operation("chat", "/chat/completions", "Chat completion", body="Completion"),
        Operation("embeddings", "/embeddings", "Embeddings"),
        # Azure's packages name the model in the path, and in the body as well.
        Operation(
            "chat", "/deployments/{name+}/chat/completions", "Azure's path", prefixes=("/openai",)
        ),
        Operation(
            "embeddings", "/deployments/{name+}/embeddings", "Azure's path", prefixes=("/openai",)
        ),
        Operation("pass", "/rerank", "Texts by how well they answer", prefixes=("/v1", "/v2", "")),
        Operation("pass", "/moderations", "Whether texts are harmful"),
        Operation("pass", "/images/generations", "Images"),
        Operation("pass", "/images/edits", "Images, changed"),
        Operation("pass", "/images/variations", "Images like another"),
        Operation("pass", "/audio/speech", "A text, spoken"),
        Operation("pass", "/audio/transcriptions", "What is said in a sound"),
        Operation("pass", "/audio/translations", "The same in English"),
        Operation("files", "/files", "Have a provider keep a file"),
        Operation("files", "/files", "Files", "GET", query=("purpose", "limit", "after", "order")),
        Operation("file", "/files/{file}", "A file", "GET"),
        Operation("file", "/files/{file}", "Delete a file", "DELETE"),
        Operation("file_content", "/files/{file}/content", "What is in a file", "GET"),
        Operation("batches", "/batches", "Have a file's requests answered within a day"),
        Operation("batches", "/batches", "Batches", "GET", query=("limit", "after")),
        Operation("batch", "/batches/{batch}", "A batch", "GET"),
        Operation("batch_cancel", "/batches/{batch}/cancel", "Stop a batch"),
        Operation("models", "/models", "Models, roles and chains", "GET"),
        Operation("model", "/models/{model+}", "One model", "GET", prefixes=("/v1",)),
    )

    def parse(self, body: JsonObject) -> Parsed:
        messages = objects(body.get("messages"), "messages")
        if not messages:
            raise wrong("'messages' must hold at least one message")
        unsaid = Unsaid()
        response_format = body.get("response_format")
        json_mode, schema = _format(response_format)
        tools, choice = _tools(body, unsaid)
        wishes, strange = wishes_in(OpenAiFacts, body, _KNOWN)
        request = ChatRequest(
            messages=tuple(_message(message, unsaid) for message in messages),
            tools=tools,
            tool_choice=choice,
            max_output_tokens=count_field(body, "max_completion_tokens", "max_tokens"),
            temperature=number_field(body, "temperature"),
            top_p=number_field(body, "top_p"),
            stop=texts(body.get("stop"), "stop"),
            seed=integer_field(body, "seed"),
            json_mode=json_mode,
            json_schema=schema,
            reasoning_effort=_effort(body),
            stream=flag(body, "stream"),
            wishes=wishes,
        )
        return unsaid.parsed(request, strange)

    def whole(self, completion: Completion, about: Answered) -> bytes:
        message: JsonObject = {"role": "assistant", "content": completion.text or None}
        if completion.reasoning:
            message["reasoning_content"] = completion.reasoning
        if completion.tool_calls:
            custom = custom_names(about.options.get("tools"))
            message["tool_calls"] = [_whole_call(c, custom) for c in completion.tool_calls]
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
                {
                    "index": 0,
                    "message": message,
                    "logprobs": _likely(completion.logprobs),
                    "finish_reason": finish,
                }
            ],
        }
        if completion.usage is not None:
            body["usage"] = usage_of(completion.usage)
        return encode(body)

    def writer(self, about: Answered) -> StreamWriter:
        return InOrder(_Writer(about))

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


def _effort(body: JsonObject) -> str | None:
    """How hard to think, in the words of OpenAI or of another vendor's dialect.

    Sources: OpenAI API reference; openrouter.ai, "Reasoning Tokens"; api-docs.deepseek.com,
    "Thinking Mode"; docs of Qwen's and Z.ai's APIs.
    """
    if stated := optional_text(body, "reasoning_effort"):
        return stated
    reasoning = body.get("reasoning")
    if isinstance(reasoning, dict):
        if reasoning.get("enabled") is False:
            return "none"
        if isinstance(effort := reasoning.get("effort"), str) and effort:
            return effort
        if isinstance(most := reasoning.get("max_tokens"), int):
            return effort_of(most)
        return "medium" if reasoning.get("enabled") is True else None
    template = body.get("chat_template_kwargs")
    thinks: object = body.get("enable_thinking")
    if thinks is None and isinstance(template, dict):
        thinks = template.get("enable_thinking", template.get("thinking"))
    thinking = body.get("thinking")
    if isinstance(thinking, dict):
        thinks = thinking.get("type") != "disabled"
        if isinstance(most := thinking.get("budget_tokens"), int):
            return effort_of(most)
    return None if not isinstance(thinks, bool) else "medium" if thinks else "none"


def _tools(body: JsonObject, unsaid: Unsaid) -> tuple[tuple[Tool, ...], str | None]:
    """The tools that may be called, and the choice."""
    tools: list[Tool] = []
    strange: list[str] = []
    for tool in objects(body.get("tools"), "tools"):
        kind = tool.get("type", "function")
        if kind == "function":
            tools.append(_tool(tool))
        elif kind == "custom":
            custom = object_field(tool.get("custom"), "tools[].custom")
            about = optional_text(custom, "description")
            name = text_field(custom, "name")
            tools.append(one_text_tool(name, about, custom.get("format"), cache=marker(tool)))
        else:
            strange.append(str(kind))
    strange_tools(strange, bool(tools), unsaid)
    value = body.get("tool_choice")
    if value is None or isinstance(value, str):
        return tuple(tools), value
    choice = object_field(value, "tool_choice")
    kind = choice.get("type")
    if kind in ("function", "custom"):
        return tuple(tools), text_field(
            object_field(choice.get(kind), f"tool_choice.{kind}"), "name"
        )
    if kind == "allowed_tools":
        allowed = object_field(choice.get(kind) or {}, "tool_choice.allowed_tools")
        names = set()
        for item in objects(allowed.get("tools"), "tool_choice.allowed_tools.tools"):
            one = item.get(str(item.get("type", "function")))
            names.add(one.get("name") if isinstance(one, dict) else item.get("name"))
        kept = tuple(tool for tool in tools if tool.name in names)
        return kept, optional_text(allowed, "mode") or "auto"
    unsaid.refuse(f"tool_choice of type {kind!r}")
    return tuple(tools), None


def _tool(tool: JsonObject) -> Tool:
    # Some send the function's fields without the object around them.
    inner = tool.get("function") if "function" in tool else tool
    function = object_field(inner, "tools[].function")
    return Tool(
        text_field(function, "name"),
        optional_text(function, "description"),
        object_field(function.get("parameters") or {}, "parameters"),
        optional_flag(function, "strict"),
        marker(tool) or marker(function),
    )


def _message(message: JsonObject, unsaid: Unsaid) -> Message:
    role = message.get("role")
    name = optional_text(message, "name") or None
    content = message.get("content")
    parts = _parts(content, unsaid)
    if (mark := marker(message)) and parts and not any(part.cache for part in parts):
        parts = (*parts[:-1], replace(parts[-1], cache=mark))
    match role:
        case "system" | "developer":
            return Message("system", parts, name=name)
        case "user":
            return Message("user", parts, name=name)
        case "tool":
            call = text_field(message, "tool_call_id")
            failed = message.get("is_error") is True
            return Message("tool", parts, tool_call_id=call, is_error=failed)
        case "function":
            return Message("tool", parts, tool_call_id=_LEGACY + (name or ""), name=name)
        case "assistant":
            if isinstance(refusal := message.get("refusal"), str) and refusal:
                parts = (*parts, TextPart(refusal))
            for image in objects(message.get("images"), "images"):
                parts = (*parts, _part(image, unsaid))
            calls = [_call(call) for call in objects(message.get("tool_calls"), "tool_calls")]
            if isinstance(legacy := message.get("function_call"), dict):
                made = text_field(legacy, "name")
                arguments = text_field(legacy, "arguments", "{}")
                calls.append(ToolCall(_LEGACY + made, made, arguments))
            reasoning: tuple[Any, ...] = tuple(
                {"protocol": "openai", "field": field, "value": message[field]}
                for field in ("reasoning_details", "reasoning_content")
                if message.get(field)
            )
            if not reasoning and isinstance(thought := message.get("reasoning"), str) and thought:
                reasoning = ({"protocol": "text", "value": thought},)
            return Message("assistant", parts, tuple(calls), reasoning=reasoning)
    raise wrong(f"a message of role {role!r} is not known")


#: Begins the ids of calls of the older form, which had none.
_LEGACY = "call_of_"


def _call(call: JsonObject) -> ToolCall:
    if call.get("type") == "custom":
        custom = object_field(call.get("custom"), "tool_calls[].custom")
        arguments = compact({ONE_TEXT: text_field(custom, "input", "")})
        return ToolCall(text_field(call, "id", ""), text_field(custom, "name"), arguments)
    function = object_field(call.get("function"), "tool_calls[].function")
    given = function.get("arguments")
    return ToolCall(
        optional_text(call, "id"),
        text_field(function, "name"),
        # Some send the object itself, or nothing.
        given if isinstance(given, str) else compact(given or {}),
    )


def _parts(content: object, unsaid: Unsaid) -> tuple[Part, ...]:
    if content is None or isinstance(content, str):
        return (TextPart(content),) if content else ()
    return tuple(
        TextPart(part) if isinstance(part, str) else _part(object_field(part, "content"), unsaid)
        for part in (content if isinstance(content, list) else objects(content, "content"))
    )


def _part(part: JsonObject, unsaid: Unsaid) -> Part:
    kind = part.get("type")
    mark = marker(part)
    if kind in ("text", "input_text", "output_text"):
        return TextPart(text_field(part, "text"), mark)
    if kind == "refusal":
        return TextPart(text_field(part, "refusal"))
    if kind == "image_url":
        image = part.get("image_url")
        if isinstance(image, str):
            return media_of(image, cache=mark)
        image = object_field(image, kind)
        detail = detail_of(image)
        return media_of(text_field(image, "url"), detail=detail, cache=mark)
    if kind == "input_audio":
        audio = object_field(part.get("input_audio"), kind)
        return MediaPart(f"audio/{text_field(audio, 'format')}", data=text_field(audio, "data"))
    if kind == "file":
        file = object_field(part.get("file"), kind)
        if "file_data" not in file:
            unsaid.refuse("a file by id")
            return TextPart("")
        name = optional_text(file, "filename") or None
        return media_of(text_field(file, "file_data"), "application/pdf", name=name, cache=mark)
    if kind == "video_url":
        video = object_field(part.get("video_url"), kind)
        return media_of(text_field(video, "url"), "video/mp4", cache=mark)
    if kind in ("thinking", "reasoning"):  # Mistral's; nobody else can read it
        return TextPart("")
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


def custom_names(tools: object) -> frozenset[str]:
    """The names of a request's custom tools, which are called with a text and not with JSON."""
    found = set()
    for tool in tools if isinstance(tools, list) else ():
        if isinstance(tool, dict) and tool.get("type") == "custom":
            inner = tool.get("custom")
            found.add(str((inner if isinstance(inner, dict) else tool).get("name")))
    return frozenset(found)


def _whole_call(call: ToolCall, custom: frozenset[str]) -> JsonObject:
    if call.name in custom:
        said = {"name": call.name, "input": one_text_of(call.arguments)}
        return {"id": call.id, "type": "custom", "custom": said}
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": call.id, "type": "function", "function": function}


def _image(part: MediaPart) -> JsonObject:
    url = part.url or f"data:{part.media_type};base64,{part.data or ''}"
    return {"type": "image_url", "image_url": {"url": url}}


def _likely(logprobs: Sequence[Any]) -> JsonObject | None:
    """How likely each token was; null where nobody told."""
    if not logprobs:
        return None
    content = [{"bytes": None, "top_logprobs": [], **token} for token in logprobs]
    return {"content": content, "refusal": None}


class _Writer:
    """Writes chunks; the first carries the role, the last one usage where it was asked for."""

    def __init__(self, about: Answered) -> None:
        self._about = about
        self._first = True
        self._named: set[int] = set()
        self._argued: set[int] = set()
        self._custom = custom_names(about.options.get("tools"))
        self._texts = CompletionFolder()
        self._held: set[int] = set()

    def chunk(self, chunk: ChatChunk) -> bytes:
        delta: JsonObject = {}
        if self._first:
            delta = {"role": "assistant", "content": ""}
            self._first = False
        if chunk.text:
            delta["content"] = chunk.text
        if chunk.reasoning:
            delta["reasoning_content"] = chunk.reasoning
        calls = self._functions(chunk) if self._custom else chunk.tool_calls
        if calls:
            delta["tool_calls"] = [self._call(d.index, d.id, d.name, d.arguments) for d in calls]
        if chunk.images:
            delta["images"] = [_image(part) for part in chunk.images]
        if chunk.logprobs:
            return self._event(delta, likely=chunk.logprobs)
        return self._event(delta) if delta else b""

    def _functions(self, chunk: ChatChunk) -> list[ToolCallDelta]:
        """Calls but for those of custom tools, whose text is known once they are whole."""
        found = []
        for delta in chunk.tool_calls:
            if delta.name in self._custom:
                self._held.add(delta.index)
            if delta.index in self._held:
                self._texts.add(ChatChunk(tool_calls=(delta,)))
            else:
                found.append(delta)
        return found

    def _held_calls(self) -> bytes:
        if not self._held:
            return b""
        calls = self._texts.completion().tool_calls
        written = [
            {"index": index, **_whole_call(call, self._custom)}
            for index, call in zip(sorted(self._held), calls, strict=True)
        ]
        return self._event({"tool_calls": written})

    def _call(self, index: int, call_id: str | None, name: str | None, text: str) -> JsonObject:
        function: JsonObject = {"arguments": text}
        call: JsonObject = {"index": index, "function": function}
        if text:
            self._argued.add(index)
        if index not in self._named:
            self._named.add(index)
            call |= {"id": call_id or f"call_{index}", "type": "function"}
            function["name"] = name or ""
        return call

    def end(self, completion: Completion) -> bytes:
        first = self.chunk(ChatChunk()) if self._first else b""
        finish = OpenAiFacts.finish_word(completion.finish_reason)
        events = first + self._held_calls() + self._whole_calls() + self._event({}, finish)
        options = self._about.options.get("stream_options")
        if isinstance(options, dict) and options.get("include_usage") and completion.usage:
            events += sse({**self._base(), "choices": [], "usage": usage_of(completion.usage)})
        return events + b"data: [DONE]\n\n"

    def _whole_calls(self) -> bytes:
        """A call without arguments has an empty object: many clients parse what they got."""
        bare = sorted(self._named - self._argued)
        if not bare:
            return b""
        return self._event({"tool_calls": [self._call(n, None, None, "{}") for n in bare]})

    def _base(self) -> JsonObject:
        return {
            "id": self._about.id,
            "object": "chat.completion.chunk",
            "created": self._about.created,
            "model": self._about.model,
        }

    def _event(
        self, delta: JsonObject, finish: str | None = None, likely: Sequence[Any] = ()
    ) -> bytes:
        told = _likely(likely)
        choice = {"index": 0, "delta": delta, "logprobs": told, "finish_reason": finish}
        return sse({**self._base(), "choices": [choice]})
