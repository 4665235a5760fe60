"""Anthropic's Messages API, as its callers see it.

Source: Anthropic API reference, "Messages", "Streaming messages", "Errors".
"""

from omni_cli.domain.chat import (
    ChatChunk,
    ChatRequest,
    Completion,
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
from omni_cli.domain.record import replace
from omni_cli.wire.anthropic import AnthropicFacts
from omni_cli.wire.facts import Operation
from omni_cli.wire.features import wishes_in
from omni_cli.wire.server import (
    Answered,
    Caller,
    InOrder,
    JsonObject,
    Parsed,
    StreamWriter,
    Unsaid,
    count_field,
    effort_of,
    encode,
    flag,
    marker,
    message_of,
    number_field,
    object_field,
    objects,
    optional_flag,
    optional_text,
    sse,
    status_of,
    strange_tools,
    text_field,
    texts,
    wrong,
)
from omni_cli.wire.values import arguments_object, as_object, compact

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
        "output_format",
        "anthropic_version",
        "betas",
    }
)
_CHOICE = frozenset({"type", "name", "disable_parallel_tool_use"})
_CONFIG = frozenset({"effort", "format"})


class AnthropicMessages(AnthropicFacts, Caller):
    """The caller's side of protocol ``anthropic``."""

    operations = (
        Operation("chat", "/messages", "Message"),
        Operation("count", "/messages/count_tokens", "Tokens of a message, estimated"),
        Operation("batches", "/messages/batches", "Have requests answered within a day"),
        Operation(
            "batches",
            "/messages/batches",
            "Batches",
            "GET",
            query=("limit", "after_id", "before_id"),
        ),
        Operation("batch", "/messages/batches/{batch}", "A batch", "GET"),
        Operation("batch", "/messages/batches/{batch}", "Delete a batch", "DELETE"),
        Operation("batch_cancel", "/messages/batches/{batch}/cancel", "Stop a batch"),
        Operation("batch_results", "/messages/batches/{batch}/results", "A batch's results", "GET"),
    )

    def parse(self, body: JsonObject) -> Parsed:
        if count_field(body, "max_tokens") is None:
            raise wrong("'max_tokens' is required")
        unsaid = Unsaid()
        messages: list[Message] = []
        if body.get("system"):
            messages.append(Message("system", _content(body["system"], unsaid)))
        for turn in objects(body.get("messages"), "messages"):
            messages += _turn(turn, unsaid)
        if not any(message.role != "system" for message in messages):
            raise wrong("'messages' must hold at least one message")
        config = object_field(body.get("output_config") or {}, "output_config")
        shape = config.get("format") or body.get("output_format") or {}
        wishes, strange = wishes_in(AnthropicFacts, body, _KNOWN)
        for inside, known in (("output_config", _CONFIG), ("tool_choice", _CHOICE)):
            inner = body.get(inside)
            more, others = wishes_in(
                AnthropicFacts, inner if isinstance(inner, dict) else {}, known, inside
            )
            wishes |= more
            strange += others
        metadata = as_object(body.get("metadata"))
        wishes |= wishes_in(AnthropicFacts, metadata, frozenset(), "metadata")[0]
        if as_object(body.get("tool_choice")).get("disable_parallel_tool_use"):
            wishes["parallel_tool_calls"] = False  # the API's field says the contrary
        request = ChatRequest(
            messages=tuple(messages),
            tools=_tools(objects(body.get("tools"), "tools"), unsaid),
            tool_choice=_choice(body.get("tool_choice")),
            max_output_tokens=count_field(body, "max_tokens"),
            temperature=number_field(body, "temperature"),
            top_p=number_field(body, "top_p"),
            stop=texts(body.get("stop_sequences"), "stop_sequences"),
            json_mode=bool(shape),
            json_schema=shape.get("schema") if isinstance(shape, dict) else None,
            reasoning_effort=_effort(body.get("thinking"), config.get("effort")),
            stream=flag(body, "stream"),
            wishes=wishes,
        )
        return unsaid.parsed(request, strange)

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

    def writer(self, about: Answered) -> StreamWriter:
        return InOrder(_Writer(about))

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


def _effort(thinking: object, effort: object) -> str | None:
    asked = None if thinking is None else object_field(thinking, "thinking")
    if asked is not None and asked.get("type") == "disabled":
        return None
    if isinstance(effort, str):
        return effort
    if asked is None:
        return None
    budget = count_field(asked, "budget_tokens")
    return "high" if budget is None else effort_of(budget)


def _choice(value: object) -> str | None:
    if value is None:
        return None
    choice = object_field(value, "tool_choice")
    match choice.get("type"):
        case "auto" | "none" as kind:
            return str(kind)
        case "any":
            return "required"
        case "tool":
            return text_field(choice, "name")
    raise wrong(f"tool_choice of type {choice.get('type')!r} is not known")


#: Tools that Anthropic defines and the caller runs, as functions of what they take (platform.claude
#: .com, "Bash tool", "Text editor tool", "Memory tool"); by the beginning of their type.
_COMMAND = {"type": "string"}
_FILES = {
    "command": _COMMAND,
    "path": {"type": "string", "description": "An absolute path."},
    "file_text": {"type": "string", "description": "For create: the file's whole text."},
    "old_str": {"type": "string", "description": "For str_replace: what is replaced, once."},
    "new_str": {"type": "string", "description": "For str_replace and insert: the new text."},
    "insert_line": {"type": "integer", "description": "For insert: after which line."},
    "insert_text": {"type": "string", "description": "For insert: the new text."},
    "view_range": {"type": "array", "items": {"type": "integer"}},
}
_CALLERS_OWN: tuple[tuple[str, str, JsonObject], ...] = (
    (
        "bash_",
        "Run a command in a bash session that keeps its state between calls.",
        {
            "type": "object",
            "properties": {"command": _COMMAND, "restart": {"type": "boolean"}},
        },
    ),
    (
        "text_editor_",
        "View and change files. command: view, create, str_replace or insert.",
        {"type": "object", "properties": _FILES, "required": ["command", "path"]},
    ),
    (
        "memory_",
        "Keep notes below /memories. command: view, create, str_replace, insert, delete, rename.",
        {
            "type": "object",
            "properties": {**_FILES, "old_path": _COMMAND, "new_path": _COMMAND},
            "required": ["command"],
        },
    ),
)


def _tools(tools: list[JsonObject], unsaid: Unsaid) -> tuple[Tool, ...]:
    found: list[Tool] = []
    strange: list[str] = []
    for tool in tools:
        kind = tool.get("type") or "custom"
        own = next((entry for entry in _CALLERS_OWN if str(kind).startswith(entry[0])), None)
        if own is not None:
            found.append(Tool(text_field(tool, "name"), own[1], own[2], cache=marker(tool)))
            unsaid.leave(f"the form of the tool {kind!r}")
            continue
        if kind != "custom":
            strange.append(str(kind))
            continue
        if tool.get("input_examples"):
            unsaid.leave("tools[].input_examples")
        found.append(
            Tool(
                text_field(tool, "name"),
                optional_text(tool, "description"),
                object_field(tool.get("input_schema") or {}, "tools[].input_schema"),
                optional_flag(tool, "strict"),
                marker(tool),
            )
        )
    strange_tools(strange, bool(found), unsaid)
    return tuple(found)


def _turn(turn: JsonObject, unsaid: Unsaid) -> list[Message]:
    """One turn; results of tools become messages of their own, before what the user adds."""
    role, content = turn.get("role"), turn.get("content")
    if role == "system":
        return [Message("system", _content(content, unsaid))]
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
            failed = optional_flag(block, "is_error") is True
            inner = _content(block.get("content"), unsaid)
            if (mark := marker(block)) and inner and not any(part.cache for part in inner):
                inner = (*inner[:-1], replace(inner[-1], cache=mark))
            results.append(Message("tool", inner, tool_call_id=call, is_error=failed))
        elif kind == "tool_use":
            calls.append(
                ToolCall(
                    text_field(block, "id"),
                    text_field(block, "name"),
                    compact(block.get("input") or {}),
                )
            )
        elif kind == "thinking" and not block.get("signature"):
            # Of a model of another protocol (see _blocks): nobody can verify it.
            reasoning.append({"protocol": "text", "value": block.get("thinking")})
        elif kind in ("thinking", "redacted_thinking"):
            reasoning.append({"protocol": "anthropic", "block": block})
        elif kind == "mid_conv_system":
            results.append(Message("system", _content(block.get("content"), unsaid)))
        elif (part := _part(block, unsaid)) is not None:
            parts.append(part)
    found = results
    if parts or calls or reasoning or not results:
        side: MessageRole = "assistant" if role == "assistant" else "user"
        message = Message(
            side,
            tuple(parts),
            tuple(calls),
            reasoning=tuple(reasoning),
        )
        found = [*results, message]
    return found


def _content(content: object, unsaid: Unsaid) -> tuple[Part, ...]:
    if content is None or isinstance(content, str):
        return (TextPart(content),) if content else ()
    found = (_part(block, unsaid) for block in objects(content, "content"))
    return tuple(part for part in found if part is not None)


def _part(block: JsonObject, unsaid: Unsaid) -> Part | None:
    """None for what only this API's own tools wrote, and no other model can read."""
    kind = block.get("type")
    mark = marker(block)
    if kind == "text":
        return TextPart(text_field(block, "text"), mark)
    if kind in ("image", "document"):
        source = object_field(block.get("source"), "source")
        title = optional_text(block, "title") or None
        usual = "application/pdf" if kind == "document" else ""
        about = optional_text(block, "context")
        match source.get("type"):
            case "base64":
                media_type = text_field(source, "media_type")
                return MediaPart(media_type, text_field(source, "data"), name=title, cache=mark)
            case "url":
                return MediaPart(usual, url=text_field(source, "url"), name=title, cache=mark)
            case "text":
                said = [title or "", about, text_field(source, "data")]
                return TextPart("\n".join(text for text in said if text), mark)
            case "content":
                inner = _content(source.get("content"), unsaid)
                texts_of = [part.text for part in inner if isinstance(part, TextPart)]
                if len(texts_of) == len(inner):
                    return TextPart("\n".join([*([title] if title else []), *texts_of]), mark)
                unsaid.refuse("a document of images")
            case other:
                unsaid.refuse(f"a {kind} by {other}")
        return None
    if kind == "search_result":
        inner = _content(block.get("content"), unsaid)
        said = [optional_text(block, "title"), optional_text(block, "source")]
        said += [part.text for part in inner if isinstance(part, TextPart)]
        return TextPart("\n".join(text for text in said if text), mark)
    if kind == "compaction":
        return TextPart(optional_text(block, "content"), mark)
    if kind in ("server_tool_use", "mcp_tool_use", "tool_reference"):
        unsaid.leave(f"content of type {kind!r}")
        return None
    if isinstance(kind, str) and kind.endswith("_tool_result"):
        unsaid.leave(f"the form of content of type {kind!r}")
        return _found(kind, block)
    unsaid.refuse(f"content of type {kind!r}")
    return None


def _found(kind: str, block: JsonObject) -> TextPart | None:
    """What a tool of the API's own found, as a text."""
    content = block.get("content")
    lines: list[str] = []
    for item in content if isinstance(content, list) else [content]:
        if isinstance(item, str):
            lines.append(item)
        elif isinstance(item, dict):
            said = [item.get(name) for name in ("title", "url", "text", "stdout", "stderr")]
            lines.append(" ".join(text for text in said if isinstance(text, str) and text))
    text = "\n".join(line for line in lines if line)
    what = kind.removesuffix("_tool_result").replace("_", " ")
    return TextPart(f"({what} found:\n{text})") if text else None


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
        del usage["cache_creation"]  # of a stream, its beginning tells
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
