"""Anthropic's Messages API, as its callers see it.

Source: Anthropic API reference, "Messages", "Streaming messages", "Errors".
"""

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
from omni_cli.wire.anthropic import AnthropicFacts
from omni_cli.wire.facts import Operation
from omni_cli.wire.server import (
    Answered,
    Caller,
    JsonObject,
    Parsed,
    count_field,
    encode,
    flag,
    left_of,
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
from omni_cli.wire.values import arguments_object, compact

_KNOWN = frozenset(
    {
        "model",
        "messages",
        "system",
        "max_tokens",
        "tools",
        "tool_choice",
        "temperature",
        "top_p",
        "stop_sequences",
        "stream",
        "metadata",
        "thinking",
        "output_config",
    }
)
_HARMLESS: dict[str, tuple[object, ...]] = {"service_tier": ("auto", "standard_only")}
#: The least thinking budget, in tokens, that counts as this effort.
_EFFORTS = ((16_384, "high"), (8_192, "medium"), (2_048, "low"))


class AnthropicMessages(AnthropicFacts, Caller):
    """The caller's side of protocol ``anthropic``."""

    operations = (
        Operation("chat", "/messages", "Message"),
        Operation("count", "/messages/count_tokens", "Tokens of a message, estimated"),
    )

    def parse(self, body: JsonObject) -> Parsed:
        if count_field(body, "max_tokens") is None:
            raise wrong("'max_tokens' is required")
        messages: list[Message] = []
        if body.get("system"):
            messages.append(Message("system", _text_parts(body["system"], "system")))
        for turn in objects(body.get("messages"), "messages"):
            messages += _turn(turn)
        if not any(message.role != "system" for message in messages):
            raise wrong("'messages' must hold at least one message")
        config = object_field(body.get("output_config") or {}, "output_config")
        shape = config.get("format") or {}
        choice, parallel = _choice(body.get("tool_choice"))
        request = ChatRequest(
            messages=tuple(messages),
            tools=tuple(_tool(tool) for tool in objects(body.get("tools"), "tools")),
            tool_choice=choice,
            max_output_tokens=count_field(body, "max_tokens"),
            temperature=number_field(body, "temperature"),
            top_p=number_field(body, "top_p"),
            stop=texts(body.get("stop_sequences"), "stop_sequences"),
            json_mode=bool(shape),
            json_schema=shape.get("schema") if isinstance(shape, dict) else None,
            reasoning_effort=_effort(body.get("thinking"), config.get("effort")),
            stream=flag(body, "stream"),
        )
        left = left_of(body, _KNOWN, _HARMLESS)
        if _only_clears(body.get("context_management")):
            left = tuple(name for name in left if name != "context_management")
        return Parsed(request, left if parallel else (*left, "disable_parallel_tool_use"))

    def whole(self, completion: Completion, about: Answered) -> bytes:
        return encode(
            {
                "id": about.id,
                "type": "message",
                "role": "assistant",
                "model": about.model,
                "content": _blocks(completion),
                "stop_reason": AnthropicFacts.finish_word(completion.finish_reason),
                "stop_sequence": None,
                "usage": usage_of(completion.usage or Usage()),
            }
        )

    def writer(self, about: Answered) -> "_Writer":
        return _Writer(about)

    def counted(self, body: JsonObject) -> ChatRequest:
        text_field(body, "model")
        return self.parse({"max_tokens": 1, **body}).request

    def count(self, tokens: int) -> JsonObject:
        return {"input_tokens": tokens}

    def error(self, error: OmniError, request_id: str) -> JsonObject:
        kind = self.error_words.get(status_of(error), self.error_word)
        return {
            "type": "error",
            "error": {"type": kind, "message": message_of(error)},
            "request_id": request_id,
        }

    def error_event(self, error: OmniError, request_id: str) -> bytes:
        return sse(self.error(error, request_id), "error")


def _only_clears(management: object) -> bool:
    """Whether context management only leaves old tool results and thinking out of what a model
    reads. Elsewhere the model reads them all: the same question, with more of its past. Claude
    Code sends it with every request.

    Source: Anthropic, "Context editing".
    """
    edits = management.get("edits") if isinstance(management, dict) else None
    return isinstance(edits, list) and all(
        isinstance(edit, dict) and str(edit.get("type", "")).startswith("clear_") for edit in edits
    )


def _effort(thinking: object, effort: object) -> str | None:
    if isinstance(effort, str):
        return "high" if effort in ("xhigh", "max") else effort
    if thinking is None:
        return None
    asked = object_field(thinking, "thinking")
    if asked.get("type") == "disabled":
        return None
    budget = count_field(asked, "budget_tokens")
    if budget is None:
        return "high"
    return next((word for least, word in _EFFORTS if budget >= least), "minimal")


def _choice(value: object) -> tuple[str | None, bool]:
    """The choice, and whether calls may come in parallel."""
    if value is None:
        return None, True
    choice = object_field(value, "tool_choice")
    parallel = not choice.get("disable_parallel_tool_use")
    match choice.get("type"):
        case "auto" | "none" as kind:
            return str(kind), parallel
        case "any":
            return "required", parallel
        case "tool":
            return text_field(choice, "name"), parallel
    raise wrong(f"tool_choice of type {choice.get('type')!r} is not known")


def _tool(tool: JsonObject) -> Tool:
    kind = tool.get("type", "custom")
    if kind != "custom":
        raise untranslatable(f"the tool {kind!r}", "chosen")
    return Tool(
        text_field(tool, "name"),
        optional_text(tool, "description"),
        object_field(tool.get("input_schema"), "tools[].input_schema"),
        optional_flag(tool, "strict"),
    )


def _text_parts(value: object, name: str) -> tuple[Part, ...]:
    if isinstance(value, str):
        return (TextPart(value),)
    return tuple(TextPart(text_field(block, "text")) for block in objects(value, name))


def _turn(turn: JsonObject) -> list[Message]:
    """One turn; results of tools become messages of their own, before what the user adds."""
    role, content = turn.get("role"), turn.get("content")
    if role == "system":
        return [Message("system", _text_parts(content, "content"))]
    if role not in ("user", "assistant"):
        raise wrong(f"a message of role {role!r} is not known")
    blocks = (
        [{"type": "text", "text": content}]
        if isinstance(content, str)
        else objects(content, "content")
    )
    results: list[Message] = []
    parts: list[Part] = []
    calls: list[ToolCall] = []
    reasoning: list[JsonObject] = []
    for block in blocks:
        kind = block.get("type")
        if kind == "tool_result":
            call = text_field(block, "tool_use_id")
            inner = block.get("content", "")
            results.append(Message("tool", _content(inner), tool_call_id=call))
        elif kind == "tool_use":
            calls.append(
                ToolCall(
                    text_field(block, "id"),
                    text_field(block, "name"),
                    compact(block.get("input") or {}),
                )
            )
        elif kind == "thinking" and not block.get("signature"):
            pass  # of a model of another protocol (see _blocks): nobody can verify it
        elif kind in ("thinking", "redacted_thinking"):
            reasoning.append({"protocol": "anthropic", "block": block})
        else:
            parts.append(_part(block))
    found = results
    if parts or calls or reasoning or not results:
        side = "assistant" if role == "assistant" else "user"
        message = Message(
            side,  # type: ignore[arg-type]  # one of the two roles tested above
            tuple(parts),
            tuple(calls),
            reasoning=tuple(reasoning),
        )
        found = [*results, message]
    return found


def _content(content: object) -> tuple[Part, ...]:
    if isinstance(content, str):
        return (TextPart(content),) if content else ()
    return tuple(_part(block) for block in objects(content, "content"))


def _part(block: JsonObject) -> Part:
    kind = block.get("type")
    if kind == "text":
        return TextPart(text_field(block, "text"))
    if kind in ("image", "document"):
        source = object_field(block.get("source"), "source")
        title = block.get("title")
        usual = "application/pdf" if kind == "document" else ""
        match source.get("type"):
            case "base64":
                media_type = text_field(source, "media_type")
                return MediaPart(media_type, text_field(source, "data"), name=title)
            case "url":
                return MediaPart(usual, url=text_field(source, "url"), name=title)
            case "text":
                return TextPart(text_field(source, "data"))
            case other:
                raise untranslatable(f"a {kind} by {other}", "chosen")
    raise untranslatable(f"content of type {kind!r}", "chosen")


def usage_of(usage: Usage) -> JsonObject:
    """Usage in the API's form, which counts cached input beside the rest."""
    return {
        "input_tokens": max(usage.input_tokens - usage.cached_tokens - usage.cache_write_tokens, 0),
        "cache_creation_input_tokens": usage.cache_write_tokens,
        "cache_creation": {
            "ephemeral_5m_input_tokens": usage.cache_write_tokens - usage.cache_write_1h_tokens,
            "ephemeral_1h_input_tokens": usage.cache_write_1h_tokens,
        },
        "cache_read_input_tokens": usage.cached_tokens,
        "output_tokens": usage.output_tokens,
    }


def _thinking(blocks: tuple[object, ...]) -> list[JsonObject]:
    """Thinking that this API itself signed; that of other models cannot be sent back."""
    return [
        dict(block["block"])
        for block in blocks
        if isinstance(block, dict) and block.get("protocol") == "anthropic"
    ]


def _blocks(completion: Completion) -> list[JsonObject]:
    blocks = _thinking(completion.reasoning_blocks)
    if completion.reasoning and not blocks:
        blocks.append({"type": "thinking", "thinking": completion.reasoning, "signature": ""})
    if completion.text:
        blocks.append({"type": "text", "text": completion.text})
    blocks += [_image(part) for part in completion.images]
    blocks += [
        {"type": "tool_use", "id": call.id, "name": call.name, "input": arguments_object(call)}
        for call in completion.tool_calls
    ]
    return blocks


def _image(part: MediaPart) -> JsonObject:
    source: JsonObject
    if part.url is not None:
        source = {"type": "url", "url": part.url}
    else:
        source = {"type": "base64", "media_type": part.media_type, "data": part.data}
    return {"type": "image", "source": source}


class _Writer:
    """Writes events; one content block is open at a time."""

    def __init__(self, about: Answered) -> None:
        self._about = about
        self._begun = False
        self._index = -1
        self._open = ""

    def chunk(self, chunk: ChatChunk) -> bytes:
        out = b"" if self._begun else self._begin()
        if chunk.reasoning:
            out += self._enter("thinking", {"type": "thinking", "thinking": "", "signature": ""})
            out += self._delta({"type": "thinking_delta", "thinking": chunk.reasoning})
        for block in _thinking(chunk.reasoning_blocks):
            if self._open == "thinking" and block.get("signature"):
                out += self._delta({"type": "signature_delta", "signature": block["signature"]})
        if chunk.text:
            out += self._enter("text", {"type": "text", "text": ""})
            out += self._delta({"type": "text_delta", "text": chunk.text})
        for part in chunk.images:
            out += self._enter("", _image(part))
        for call in chunk.tool_calls:
            block = {
                "type": "tool_use",
                "id": call.id or f"toolu_{call.index}",
                "name": call.name or "",
                "input": {},
            }
            out += self._enter(f"call {call.index}", block)
            if call.arguments:
                out += self._delta({"type": "input_json_delta", "partial_json": call.arguments})
        return out

    def end(self, completion: Completion) -> bytes:
        out = b"" if self._begun else self._begin()
        out += self._leave()
        delta = {
            "stop_reason": AnthropicFacts.finish_word(completion.finish_reason),
            "stop_sequence": None,
        }
        usage = usage_of(completion.usage or Usage())
        out += sse({"type": "message_delta", "delta": delta, "usage": usage}, "message_delta")
        return out + sse({"type": "message_stop"}, "message_stop")

    def _begin(self) -> bytes:
        self._begun = True
        message: JsonObject = {
            "id": self._about.id,
            "type": "message",
            "role": "assistant",
            "model": self._about.model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {"input_tokens": 0, "output_tokens": 0},
        }
        return sse({"type": "message_start", "message": message}, "message_start")

    def _enter(self, kind: str, block: JsonObject) -> bytes:
        if kind and self._open == kind:
            return b""
        out = self._leave()
        self._index += 1
        self._open = kind or "image"
        event = {"type": "content_block_start", "index": self._index, "content_block": block}
        return out + sse(event, "content_block_start")

    def _leave(self) -> bytes:
        if not self._open:
            return b""
        self._open = ""
        event = {"type": "content_block_stop", "index": self._index}
        return sse(event, "content_block_stop")

    def _delta(self, delta: JsonObject) -> bytes:
        event = {"type": "content_block_delta", "index": self._index, "delta": delta}
        return sse(event, "content_block_delta")
