"""Gemini's generateContent and streamGenerateContent, as their callers see them.

Source: Gemini API reference, "Generating content", "Function calling". The API takes field
names in camel case and in snake case.
"""

from collections.abc import Sequence
from typing import Any

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
from omni_cli.wire.facts import Operation
from omni_cli.wire.gemini import GeminiFacts
from omni_cli.wire.server import (
    Answered,
    Caller,
    JsonObject,
    Parsed,
    count_field,
    encode,
    integer_field,
    left_of,
    message_of,
    number_field,
    object_field,
    objects,
    optional_text,
    sse,
    status_of,
    text_field,
    texts,
    untranslatable,
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
        "thinking_config",
    }
)
_HARMLESS: dict[str, tuple[object, ...]] = {
    "candidate_count": (1,),
    "response_modalities": (["TEXT"],),
}
_CHOICES = {"AUTO": "auto", "NONE": "none", "VALIDATED": "auto"}
_EFFORTS = ((16_384, "high"), (4_096, "medium"), (1, "low"))


def _snake(name: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name)


def _renamed(value: object, name: str) -> JsonObject:
    """An object with its own field names in snake case."""
    return {_snake(key): item for key, item in object_field(value, name).items()}


class GeminiContent(GeminiFacts, Caller):
    """The caller's side of protocol ``gemini``."""

    operations = (
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
    )

    def parse(self, body: JsonObject) -> Parsed:
        body = _renamed(body, "body")
        settings = _renamed(body.get("generation_config") or {}, "generationConfig")
        messages: list[Message] = []
        if system := body.get("system_instruction"):
            parts = objects(system.get("parts"), "parts") if isinstance(system, dict) else []
            messages.append(
                Message("system", tuple(TextPart(text_field(p, "text")) for p in parts))
            )
        ids: dict[str, str] = {}
        contents = objects(body.get("contents"), "contents")
        if not contents:
            raise wrong("'contents' must hold at least one turn")
        for number, turn in enumerate(contents):
            messages += _turn(turn, number, ids)
        schema = settings.get("response_json_schema")
        request = ChatRequest(
            messages=tuple(messages),
            tools=tuple(_tools(objects(body.get("tools"), "tools"))),
            tool_choice=_choice(body.get("tool_config")),
            max_output_tokens=count_field(settings, "max_output_tokens"),
            temperature=number_field(settings, "temperature"),
            top_p=number_field(settings, "top_p"),
            stop=texts(settings.get("stop_sequences"), "stopSequences"),
            seed=integer_field(settings, "seed"),
            json_mode=settings.get("response_mime_type") == "application/json",
            json_schema=schema if isinstance(schema, dict) else None,
            reasoning_effort=_effort(settings.get("thinking_config")),
            stream=False,
        )
        left = left_of(body, _KNOWN, {"safety_settings": ([],)})
        left += tuple(f"generationConfig.{n}" for n in left_of(settings, _SETTINGS, _HARMLESS))
        return Parsed(request, left)

    def whole(self, completion: Completion, about: Answered) -> bytes:
        return encode(_body(_parts(completion), completion, about))

    def writer(self, about: Answered) -> "_Writer":
        return _Writer(about)

    def counted(self, body: JsonObject) -> ChatRequest:
        inner = body.get("generateContentRequest", body)
        return self.parse(object_field(inner, "generateContentRequest")).request

    def count(self, tokens: int) -> JsonObject:
        return {"totalTokens": tokens}

    def models(self, listed: Sequence[JsonObject], others: Sequence[JsonObject]) -> JsonObject:
        del others  # its clients ask for what is listed by the path of one model
        return {
            "models": [
                {
                    "name": f"models/{model['id']}",
                    "displayName": model["display_name"],
                    "inputTokenLimit": model["context_window"],
                    "outputTokenLimit": model["max_tokens"],
                    "supportedGenerationMethods": ["generateContent", "countTokens"],
                }
                for model in listed
            ]
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
    thinking = _renamed(config, "thinkingConfig")
    if isinstance(level := thinking.get("thinking_level"), str):
        return level.lower()
    budget = integer_field(thinking, "thinking_budget")
    if budget is None or budget < 0:
        return None
    return next((word for least, word in _EFFORTS if budget >= least), "none")


def _choice(value: object) -> str | None:
    if value is None:
        return None
    config = _renamed(
        _renamed(value, "toolConfig").get("function_calling_config") or {}, "functionCallingConfig"
    )
    mode = str(config.get("mode", "AUTO")).upper()
    if mode == "ANY":
        names = texts(config.get("allowed_function_names"), "allowedFunctionNames")
        if len(names) > 1:
            raise untranslatable("more than one of allowedFunctionNames", "chosen")
        return names[0] if names else "required"
    return _CHOICES.get(mode, "auto")


def _tools(tools: list[JsonObject]) -> list[Tool]:
    found = []
    for tool in tools:
        for kind, value in tool.items():
            if _snake(kind) != "function_declarations":
                raise untranslatable(f"the tool {kind!r}", "chosen")
            for entry in objects(value, kind):
                declared = _renamed(entry, kind)
                schema = declared.get("parameters_json_schema") or _lower(
                    declared.get("parameters") or {}
                )
                found.append(
                    Tool(
                        text_field(declared, "name"),
                        optional_text(declared, "description"),
                        object_field(schema, "parameters"),
                    )
                )
    return found


def _lower(schema: Any) -> Any:
    """Google's schemas write types in capitals; JSON Schema does not."""
    if isinstance(schema, list):
        return [_lower(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: value.lower() if key == "type" and isinstance(value, str) else _lower(value)
        for key, value in schema.items()
    }


def _turn(turn: JsonObject, number: int, ids: dict[str, str]) -> list[Message]:
    """``ids``: of the latest call by function name; calls may come without an id."""
    role = turn.get("role", "user")
    if role not in ("user", "model", "function"):
        raise wrong(f"a turn of role {role!r} is not known")
    results: list[Message] = []
    parts: list[Part] = []
    calls: list[ToolCall] = []
    reasoning: list[JsonObject] = []
    for raw in objects(turn.get("parts"), "parts"):
        part = _renamed(raw, "parts")
        signature = part.get("thought_signature")
        if "function_call" in part:
            call = object_field(part["function_call"], "functionCall")
            name = text_field(call, "name")
            ident = optional_text(call, "id") or f"call_{number}_{len(calls)}"
            ids[name] = ident
            if signature:
                reasoning.append(_signed(len(calls), signature))
            calls.append(ToolCall(ident, name, compact(call.get("args") or {})))
        elif "function_response" in part:
            answer = object_field(part["function_response"], "functionResponse")
            name = text_field(answer, "name")
            ident = optional_text(answer, "id") or ids.get(name, name)
            text = TextPart(_output(answer.get("response") or {}))
            results.append(Message("tool", (text,), tool_call_id=ident, name=name))
        elif part.get("thought") is not True:
            if signature:
                reasoning.append(_signed(None, signature))
            parts.append(_part(part))
    if not (parts or calls):
        return results
    side = "assistant" if role == "model" else "user"
    message = Message(
        side,  # type: ignore[arg-type]  # one of two roles
        tuple(parts),
        tuple(calls),
        reasoning=tuple(reasoning),
    )
    return [*results, message]


def _output(response: Any) -> str:
    """A function's result; the API wants an object, and plain text is wrapped in this one."""
    if isinstance(response, dict) and set(response) == {"output"}:
        inner = response["output"]
        if isinstance(inner, str):
            return inner
    return compact(response)


def _signed(call: int | None, signature: object) -> JsonObject:
    return {"protocol": "gemini", "call": call, "thoughtSignature": signature}


def _part(part: JsonObject) -> Part:
    if "text" in part:
        return TextPart(text_field(part, "text"))
    if "inline_data" in part:
        data = _renamed(part["inline_data"], "inlineData")
        return MediaPart(text_field(data, "mime_type"), data=text_field(data, "data"))
    if "file_data" in part:
        file = _renamed(part["file_data"], "fileData")
        return MediaPart(text_field(file, "mime_type", ""), url=text_field(file, "file_uri"))
    raise untranslatable(f"a part with {', '.join(part) or 'nothing'}", "chosen")


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


def _body(parts: list[JsonObject], completion: Completion | None, about: Answered) -> JsonObject:
    candidate: JsonObject = {"content": {"parts": parts, "role": "model"}, "index": 0}
    body: JsonObject = {"candidates": [candidate], "modelVersion": about.model}
    if completion is not None:
        candidate["finishReason"] = GeminiFacts.finish_word(completion.finish_reason)
        body["usageMetadata"] = usage_of(completion.usage or Usage())
    return body | {"responseId": about.id}


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
        return sse(_body(parts, None, self._about)) if parts else b""

    def end(self, completion: Completion) -> bytes:
        calls = self._calls.completion().tool_calls
        parts: list[JsonObject] = [{"functionCall": _call(call)} for call in calls]
        return sse(_body(parts or [{"text": ""}], completion, self._about))
