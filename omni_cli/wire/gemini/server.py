"""Gemini's generateContent and streamGenerateContent, as their callers see them.

Source: Gemini API reference, "Generating content", "Function calling". The API takes field
names in camel case and in snake case.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from omni_cli.domain.chat import (
    ChatChunk,
    ChatRequest,
    Completion,
    CompletionFolder,
    MediaPart,
    Message,
    MessageRole,
    Part,
    TextPart,
    Tool,
    ToolCall,
    Usage,
)
from omni_cli.domain.errors import OmniError
from omni_cli.wire.facts import Operation
from omni_cli.wire.features import wishes_in
from omni_cli.wire.gemini import GeminiFacts
from omni_cli.wire.server import (
    Answered,
    Caller,
    JsonObject,
    Parsed,
    Unsaid,
    count_field,
    encode,
    integer_field,
    message_of,
    number_field,
    object_field,
    objects,
    optional_text,
    sse,
    status_of,
    strange_tools,
    text_field,
    texts,
    wrong,
)
from omni_cli.wire.values import arguments_object, compact

_KNOWN = frozenset(
    {"contents", "system_instruction", "tools", "tool_config", "generation_config", "model"}
)
_SETTINGS = frozenset(
    {
        "max_output_tokens",
        "temperature",
        "top_p",
        "stop_sequences",
        "seed",
        "response_mime_type",
        "response_json_schema",
        "_response_json_schema",
        "response_schema",
        "response_format",
        "thinking_config",
    }
)
_CHOICES = {"AUTO": "auto", "NONE": "none", "VALIDATED": "auto"}
_EFFORTS = ((16_384, "high"), (4_096, "medium"), (1, "low"))


def _snake(name: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name)


def renamed(value: object, name: str) -> JsonObject:
    """An object with its own field names in snake case."""
    return {_snake(key): item for key, item in object_field(value, name).items()}


class GeminiContent(GeminiFacts, Caller):
    """The caller's side of protocol ``gemini``."""

    operations: ClassVar[tuple[Operation, ...]] = (
        Operation("chat", "/models/{model+}:generateContent", "Content", stream=False),
        Operation(
            "chat",
            "/models/{model+}:streamGenerateContent",
            "Content, streamed",
            stream=True,
            query=("alt",),
            needs="alt=sse",
        ),
        Operation("count", "/models/{model+}:countTokens", "Tokens"),
        Operation("models", "/models", "Models", "GET", prefixes=("/v1beta",)),
        Operation("model", "/models/{model+}", "One model", "GET", prefixes=("/v1beta",)),
    )

    def parse(self, body: JsonObject) -> Parsed:
        body = renamed(body, "body")
        settings = renamed(body.get("generation_config") or {}, "generationConfig")
        unsaid = Unsaid()
        messages: list[Message] = []
        if system := body.get("system_instruction"):
            messages.append(Message("system", _system(system)))
        calls = _Calls()
        contents = _contents(body.get("contents"))
        if not contents:
            raise wrong("'contents' must hold at least one turn")
        for number, turn in enumerate(contents):
            messages += _turn(turn, number, calls, unsaid)
        schema = settings.get("response_json_schema") or settings.get("_response_json_schema")
        schema = schema or json_schema(settings.get("response_schema"))
        formed = schema or settings.get("response_mime_type") == "application/json"
        offered = tuple(_tools(objects(body.get("tools"), "tools"), unsaid))
        choice, tools = _choice(body.get("tool_config"), offered)
        wishes, strange = wishes_in(GeminiFacts, body, _KNOWN)
        more, others = wishes_in(GeminiFacts, settings, _SETTINGS, "generation_config")
        request = ChatRequest(
            messages=tuple(messages),
            tools=tools,
            tool_choice=choice,
            max_output_tokens=count_field(settings, "max_output_tokens"),
            temperature=number_field(settings, "temperature"),
            top_p=number_field(settings, "top_p"),
            stop=texts(settings.get("stop_sequences"), "stopSequences"),
            seed=integer_field(settings, "seed"),
            json_mode=bool(formed),
            json_schema=schema if isinstance(schema, dict) else None,
            reasoning_effort=_effort(settings.get("thinking_config")),
            stream=False,
            wishes=wishes | more,
        )
        return unsaid.parsed(request, strange + others)

    def whole(self, completion: Completion, about: Answered) -> bytes:
        return encode(_body(_parts(completion), completion, about, completion.logprobs))

    def writer(self, about: Answered) -> "_Writer":
        return _Writer(about)

    def counted(self, body: JsonObject) -> ChatRequest:
        inner = body.get("generateContentRequest", body)
        return self.parse(object_field(inner, "generateContentRequest")).request

    def count(self, tokens: int) -> JsonObject:
        return {"totalTokens": tokens}

    def models(self, listed: Sequence[JsonObject], others: Sequence[JsonObject]) -> JsonObject:
        return {"models": [self.model(model) for model in (*listed, *others)]}

    def model(self, listed: JsonObject) -> JsonObject:
        outputs = listed.get("output_types") or ["text"]
        methods = ["embedContent", "batchEmbedContents"]
        if "embedding" not in outputs:
            methods = ["generateContent", "streamGenerateContent", "countTokens"]
        limits = {
            "inputTokenLimit": listed.get("context_window"),
            "outputTokenLimit": listed.get("max_tokens"),
        }
        return {
            "name": f"models/{listed['id']}",
            "version": "001",
            "displayName": listed["display_name"],
            # Google's own packages take no null for a number.
            **{name: limit for name, limit in limits.items() if limit},
            "supportedGenerationMethods": methods,
        }

    def error(self, error: OmniError, request_id: str) -> JsonObject:  # noqa: ARG002  # protocol
        code = status_of(error)
        status = self.error_words.get(code, self.error_word)
        return {"error": {"code": code, "message": message_of(error), "status": status}}

    def error_event(self, error: OmniError, request_id: str) -> bytes:
        return sse(self.error(error, request_id))


def _effort(config: object) -> str | None:
    if config is None:
        return None
    thinking = renamed(config, "thinkingConfig")
    if isinstance(level := thinking.get("thinking_level"), str):
        return level.lower()
    budget = integer_field(thinking, "thinking_budget")
    if budget is None or budget < 0:
        return None
    return next((word for least, word in _EFFORTS if budget >= least), "none")


def _system(value: object) -> tuple[Part, ...]:
    """The API takes a text, a part, or parts in a content."""
    if isinstance(value, str):
        return (TextPart(value),)
    if isinstance(value, list):
        return tuple(part for item in value for part in _system(item))
    content = object_field(value, "systemInstruction")
    if "text" in content:
        return (TextPart(text_field(content, "text")),)
    return tuple(
        TextPart(text_field(part, "text")) for part in objects(content.get("parts"), "parts")
    )


def _contents(value: object) -> list[JsonObject]:
    """The API takes a text, or one turn, for a list of one turn."""
    if isinstance(value, str):
        return [{"role": "user", "parts": [{"text": value}]}]
    return [value] if isinstance(value, dict) else objects(value, "contents")


def _choice(value: object, tools: tuple[Tool, ...]) -> tuple[str | None, tuple[Tool, ...]]:
    """The choice, and the tools that it leaves."""
    if value is None:
        return None, tools
    config = renamed(
        renamed(value, "toolConfig").get("function_calling_config") or {}, "functionCallingConfig"
    )
    mode = str(config.get("mode", "AUTO")).upper()
    names = texts(config.get("allowed_function_names"), "allowedFunctionNames")
    if mode == "ANY" and len(names) == 1:
        return names[0], tools
    kept = tuple(tool for tool in tools if not names or tool.name in names)
    return "required" if mode == "ANY" else _CHOICES.get(mode, "auto"), kept


def _tools(tools: list[JsonObject], unsaid: Unsaid) -> list[Tool]:
    found: list[Tool] = []
    strange: list[str] = []
    for tool in tools:
        for kind, value in tool.items():
            if _snake(kind) != "function_declarations":
                if value is not None:
                    strange.append(str(kind))
                continue
            for entry in objects(value, kind):
                declared = renamed(entry, kind)
                schema = declared.get("parameters_json_schema") or json_schema(
                    declared.get("parameters") or {}
                )
                found.append(
                    Tool(
                        text_field(declared, "name"),
                        optional_text(declared, "description"),
                        object_field(schema, "parameters"),
                    )
                )
    strange_tools(strange, bool(found), unsaid)
    return found


#: Words of Google's schemas that are counts and come as text, and that JSON Schema does not have.
_SCHEMA_COUNTS = frozenset(
    {"minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties"}
)
_SCHEMA_OWN = frozenset({"propertyOrdering", "property_ordering", "nullable"})
_SCHEMA_WORDS = {
    "any_of": "anyOf",
    "min_items": "minItems",
    "max_items": "maxItems",
    "min_length": "minLength",
    "max_length": "maxLength",
    "additional_properties": "additionalProperties",
}


def json_schema(schema: Any) -> Any:
    """A schema of Google's as JSON Schema: types in small letters, null as one of them.

    Source: Gemini API reference, "Schema".
    """
    if isinstance(schema, list):
        return [json_schema(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    found: JsonObject = {}
    for key, value in schema.items():
        word = _SCHEMA_WORDS.get(key, key)
        if key in _SCHEMA_OWN:
            continue
        if word in ("properties", "$defs") and isinstance(value, dict):
            found[word] = {name: json_schema(item) for name, item in value.items()}
        elif word in ("enum", "required", "default", "example"):
            found[word] = value
        elif word == "type":
            found[word] = _lower(value)
        elif word in _SCHEMA_COUNTS and isinstance(value, str) and value.isdigit():
            found[word] = int(value)
        elif word == "format" and value == "enum":
            continue
        else:
            found[str(word)] = json_schema(value)
    if schema.get("nullable") is True:
        if isinstance(kind := found.get("type"), str) and kind != "null":
            found["type"] = [kind, "null"]
        elif isinstance(choices := found.get("anyOf"), list):
            found["anyOf"] = [*choices, {"type": "null"}]
        if isinstance(found.get("enum"), list):
            found["enum"] = [*found["enum"], None]
    return found


def _lower(kind: Any) -> Any:
    if isinstance(kind, list):
        return [_lower(item) for item in kind]
    return kind.lower() if isinstance(kind, str) else kind


class _Calls:
    """Calls that wait for their results. One without an id is the first of its function that
    waits: the API's order."""

    def __init__(self) -> None:
        self._waiting: list[tuple[str, str]] = []

    def called(self, ident: str, name: str) -> None:
        self._waiting.append((ident, name))

    def answered(self, ident: str, name: str) -> str:
        """The id of the call that a result is of."""
        found = next(
            (call for call in self._waiting if (call[0] == ident if ident else call[1] == name)),
            None,
        )
        if found is None:
            return ident or name
        self._waiting.remove(found)
        return found[0]


#: Everybody else is the user.
_ROLES: dict[str, MessageRole] = {"model": "assistant", "system": "system"}


def _turn(turn: JsonObject, number: int, waiting: _Calls, unsaid: Unsaid) -> list[Message]:
    role = turn.get("role") or "user"
    if role not in ("user", "model", "function", "tool", "system"):
        raise wrong(f"a turn of role {role!r} is not known")
    results: list[Message] = []
    parts: list[Part] = []
    calls: list[ToolCall] = []
    reasoning: list[JsonObject] = []
    for raw in objects(turn.get("parts"), "parts"):
        part = renamed(raw, "parts")
        signature = part.get("thought_signature")
        if "function_call" in part:
            call = object_field(part["function_call"], "functionCall")
            name = text_field(call, "name")
            ident = optional_text(call, "id") or f"call_{number}_{len(calls)}"
            waiting.called(ident, name)
            if signature:
                reasoning.append(_signed(len(calls), signature))
            calls.append(ToolCall(ident, name, compact(call.get("args") or {})))
        elif "function_response" in part:
            answer = object_field(part["function_response"], "functionResponse")
            whose = text_field(answer, "name")
            ident = waiting.answered(optional_text(answer, "id"), whose)
            text, failed = _output(answer.get("response") or {})
            inner: list[Part] = [TextPart(text)] if text else []
            for piece in objects(answer.get("parts"), "functionResponse.parts"):
                inner += _part(renamed(piece, "parts"), unsaid)
            results.append(
                Message("tool", tuple(inner), tool_call_id=ident, name=whose, is_error=failed)
            )
        elif part.get("thought") is True:
            if thought := optional_text(part, "text"):
                reasoning.append({"protocol": "text", "value": thought})
        else:
            if signature:
                reasoning.append(_signed(None, signature))
            parts += _part(part, unsaid)
    if not (parts or calls):
        return results
    message = Message(
        _ROLES.get(str(role), "user"),
        tuple(parts),
        tuple(calls),
        reasoning=tuple(reasoning),
    )
    return [*results, message]


def _output(response: Any) -> tuple[str, bool]:
    """(a function's result, whether it failed); the API wants an object: plain text is wrapped."""
    if isinstance(response, dict) and len(response) == 1:
        ((word, inner),) = response.items()
        if word in ("output", "result") and isinstance(inner, str):
            return inner, False
        if word == "error":
            return inner if isinstance(inner, str) else compact(inner), True
    return compact(response), False


def _signed(call: int | None, signature: object) -> JsonObject:
    return {"protocol": "gemini", "call": call, "thoughtSignature": signature}


def _part(part: JsonObject, unsaid: Unsaid) -> list[Part]:
    if "text" in part:
        return [TextPart(text_field(part, "text"))]
    if "inline_data" in part:
        data = renamed(part["inline_data"], "inlineData")
        name = optional_text(data, "display_name") or None
        return [MediaPart(text_field(data, "mime_type"), data=text_field(data, "data"), name=name)]
    if "file_data" in part:
        file = renamed(part["file_data"], "fileData")
        uri = text_field(file, "file_uri")
        if uri.startswith("gs://") or "generativelanguage.googleapis.com" in uri:
            unsaid.refuse("a file that Google keeps")
        return [MediaPart(text_field(file, "mime_type", ""), url=uri)]
    if "executable_code" in part:
        code = renamed(part["executable_code"], "executableCode")
        return [TextPart(f"```\n{optional_text(code, 'code')}\n```")]
    if "code_execution_result" in part:
        done = renamed(part["code_execution_result"], "codeExecutionResult")
        return [TextPart(f"```\n{optional_text(done, 'output')}\n```")]
    if set(part) <= {"thought_signature", "thought", "part_metadata", "video_metadata"}:
        return []
    unsaid.refuse(f"a part with {', '.join(part)}")
    return []


def usage_of(usage: Usage) -> JsonObject:
    """Usage in the API's form, which counts thoughts beside the answer."""
    return {
        "promptTokenCount": usage.input_tokens,
        "cachedContentTokenCount": usage.cached_tokens,
        "candidatesTokenCount": usage.output_tokens - usage.reasoning_tokens,
        "thoughtsTokenCount": usage.reasoning_tokens,
        "totalTokenCount": usage.total_tokens,
    }


def _parts(completion: Completion) -> list[JsonObject]:
    parts: list[JsonObject] = []
    if completion.reasoning:
        parts.append({"text": completion.reasoning, "thought": True})
    if completion.text:
        parts.append({"text": completion.text})
    parts += [_media(part) for part in completion.images]
    signatures = {
        block.get("call"): block.get("thoughtSignature")
        for block in completion.reasoning_blocks
        if block.get("protocol") == "gemini"
    }
    for number, call in enumerate(completion.tool_calls):
        written: JsonObject = {"functionCall": _call(call)}
        if number in signatures:
            written["thoughtSignature"] = signatures[number]
        parts.append(written)
    return parts


def _call(call: ToolCall) -> JsonObject:
    return {"id": call.id, "name": call.name, "args": arguments_object(call)}


def _media(part: MediaPart) -> JsonObject:
    if part.url is not None:
        return {"fileData": {"mimeType": part.media_type, "fileUri": part.url}}
    return {"inlineData": {"mimeType": part.media_type, "data": part.data}}


def _body(
    parts: list[JsonObject],
    completion: Completion | None,
    about: Answered,
    likely: Sequence[Mapping[str, Any]] = (),
) -> JsonObject:
    candidate: JsonObject = {"content": {"parts": parts, "role": "model"}, "index": 0}
    if likely:
        candidate["logprobsResult"] = {
            "chosenCandidates": [_token(token) for token in likely],
            "topCandidates": [
                {"candidates": [_token(other) for other in token.get("top_logprobs") or ()]}
                for token in likely
            ],
        }
    body: JsonObject = {"candidates": [candidate], "modelVersion": about.model}
    if completion is not None:
        candidate["finishReason"] = GeminiFacts.finish_word(completion.finish_reason)
        body["usageMetadata"] = usage_of(completion.usage or Usage())
    return body | {"responseId": about.id}


def _token(token: Mapping[str, Any]) -> JsonObject:
    return {"token": token.get("token"), "logProbability": token.get("logprob")}


class _Writer:
    """Writes chunks; a call is written once it is whole, as its arguments are an object."""

    def __init__(self, about: Answered) -> None:
        self._about = about
        self._calls = CompletionFolder()

    def chunk(self, chunk: ChatChunk) -> bytes:
        if chunk.tool_calls:
            self._calls.add(ChatChunk(tool_calls=chunk.tool_calls))
        parts: list[JsonObject] = []
        if chunk.reasoning:
            parts.append({"text": chunk.reasoning, "thought": True})
        if chunk.text:
            parts.append({"text": chunk.text})
        parts += [_media(part) for part in chunk.images]
        if not parts and not chunk.logprobs:
            return b""
        return sse(_body(parts, None, self._about, chunk.logprobs))

    def end(self, completion: Completion) -> bytes:
        calls = self._calls.completion().tool_calls
        parts: list[JsonObject] = [{"functionCall": _call(call)} for call in calls]
        return sse(_body(parts or [{"text": ""}], completion, self._about))
