"""Amazon Bedrock's Converse and ConverseStream.

Source: Amazon Bedrock API reference, "Converse", "ConverseStream", "ListFoundationModels"; user
guide, "Prompt caching", "Use a tool to complete a model response"; "Troubleshooting API errors".
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from omni_cli.domain.chat import (
    ChatChunk,
    ChatRequest,
    MediaPart,
    Message,
    TextPart,
    ToolCallDelta,
    Usage,
)
from omni_cli.domain.errors import AuthError, Malformed, ModelNotFound, ProviderError
from omni_cli.domain.patterns import Pattern
from omni_cli.domain.record import replace
from omni_cli.ports import AnswerParser, Endpoint, HttpCall, RemoteModel, WireEvent
from omni_cli.wire import faults
from omni_cli.wire.anthropic.client import fit_claude, thinking_of, thinking_off
from omni_cli.wire.bedrock import BedrockFacts, bounds
from omni_cli.wire.bedrock.framing import EXCEPTION
from omni_cli.wire.client import Client
from omni_cli.wire.fitting import (
    Alphabet,
    Says,
    fit,
    in_words,
    object_schema,
    write_plain,
    write_wishes,
)
from omni_cli.wire.parsing import CallSlots, StreamParser, finished_as
from omni_cli.wire.values import (
    JsonObject,
    arguments_object,
    as_count,
    as_list,
    as_object,
    as_text,
    bearer,
    compact,
    get,
    listed,
    load_object,
    own_blocks,
    post,
    registered,
    tool_choice_kind,
    unsupported,
)

_SAYS = Says(
    BedrockFacts,
    Alphabet(Pattern(r"[a-zA-Z0-9_-]{1,64}"), "call_"),
    Alphabet(Pattern(r"[a-zA-Z0-9_-]{1,64}"), "_", 8),
    result_media=frozenset({"image"}),
    late_system=False,
    begins_with_user=True,
    hottest=1.0,
    seed=False,
    blank_stops=False,
    blank_turns=False,
)
#: Models that take markers of the cache, and most of them in a request.
_CACHES = re.compile(r"anthropic\.claude|amazon\.nova")
_MOST_MARKERS = 4
_DOCUMENTS = {
    "application/pdf": "pdf",
    "text/csv": "csv",
    "text/html": "html",
    "text/plain": "txt",
    "text/markdown": "md",
    "application/msword": "doc",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/vnd.ms-excel": "xls",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
}
_USUAL_TIERS = (None, "", "default")
#: By the words of a refusal, what it means and what to do about it.
_MEANS: tuple[tuple[re.Pattern[str], type[ProviderError] | None, str], ...] = (
    (
        re.compile(r"signature (?:expired|not yet current)|RequestTimeTooSkewed", re.IGNORECASE),
        AuthError,
        "this machine's clock is off: it has to agree with Amazon's to five minutes",
    ),
    (
        re.compile(r"request signature we calculated does not match", re.IGNORECASE),
        AuthError,
        "AWS_SECRET_ACCESS_KEY does not belong to AWS_ACCESS_KEY_ID",
    ),
    (
        re.compile(r"security token .* (?:invalid|expired)|ExpiredToken", re.IGNORECASE),
        AuthError,
        "the credentials have ended, or AWS_SESSION_TOKEN is not theirs: take new ones",
    ),
    (
        re.compile(r"credential should be scoped to a valid region", re.IGNORECASE),
        AuthError,
        "the base URL and AWS_REGION name two regions",
    ),
    (
        re.compile(r"on-demand throughput isn.t supported", re.IGNORECASE),
        ModelNotFound,
        "name its inference profile: us., eu., apac. or global. before the model's name",
    ),
    (
        re.compile(r"don.t have access to the model|model access", re.IGNORECASE),
        ModelNotFound,
        "ask for access to it in Bedrock's console, in this very region",
    ),
    (
        re.compile(r"model identifier is invalid|could not resolve the foundation", re.IGNORECASE),
        ModelNotFound,
        "is it served in this region? omni providers models SLUG lists what is",
    ),
)
_STATUS_OF_EVENTS = {
    "throttlingException": 429,
    "validationException": 400,
    "internalServerException": 500,
    "modelStreamErrorException": 424,
    "modelTimeoutException": 408,
    "serviceUnavailableException": 503,
}


class Bedrock(BedrockFacts, Client):
    """The adapter of protocol ``bedrock``."""

    def build(self, request: ChatRequest, wire_name: str, endpoint: Endpoint) -> HttpCall:
        claude = "claude" in wire_name
        fitted = fit(fit_claude(request, wire_name) if claude else request, _SAYS)
        request = fitted.request
        if request.json_mode or request.json_schema is not None:
            request = in_words(request)
        more: JsonObject = {}
        settings: JsonObject = {}
        most = request.max_output_tokens
        if claude:
            request = thinking_off(request, wire_name)
            thoughts, added = thinking_of(request, wire_name)
            more.update(thoughts)
            if added:
                most = min((most or _USUAL_LIMIT) + added, request.most_output_tokens or 1 << 30)
        elif request.reasoning_effort not in (None, "none"):
            told = (*request.told, "reasoning_effort")
            request = replace(request, reasoning_effort=None, told=told)
        if most is not None:
            settings["maxTokens"] = most
        write_plain(settings, request, "temperature", top_p="topP", stop="stopSequences")
        caches = _CACHES.search(wire_name) is not None
        body: JsonObject = {"messages": _messages(request.messages, caches, claude)}
        if system := _system(request.messages, caches):
            body["system"] = system
        if settings:
            body["inferenceConfig"] = settings
        request = _add_tools(body, request, caches)
        if more:
            body["additionalModelRequestFields"] = more
        write_wishes(body, request, _SAYS)
        _few_markers(body)
        body.update(request.extra)
        operation = "converse-stream" if request.stream else "converse"
        return post(
            f"{endpoint.base_url.rstrip('/')}/model/{quote(wire_name, safe='')}/{operation}",
            body,
            endpoint=endpoint,
            auth=bearer(endpoint),
            framing="aws" if request.stream else "json",
            told=request.told,
            renamed=fitted.renamed,
        )

    def parser(self, *, stream: bool) -> AnswerParser:
        return _Parser(stream)

    def explain(self, status: int, headers: Mapping[str, str], body: str) -> ProviderError:
        return _explained(faults.explain(status, headers, body))

    bound = staticmethod(bounds.bound)
    limit = staticmethod(bounds.write)

    def list_models(self, endpoint: Endpoint) -> HttpCall | None:
        # The list is the control plane's, at a host of its own.
        base = endpoint.base_url.rstrip("/").replace("://bedrock-runtime", "://bedrock", 1)
        url = f"{base}/foundation-models?byOutputModality=TEXT"
        return get(url, endpoint=endpoint, auth=bearer(endpoint))

    def parse_models(self, body: str) -> Sequence[RemoteModel]:
        entries = listed(load_object(body, "model list").get("modelSummaries"))
        return [
            RemoteModel(
                wire_name=wire_name,
                name=as_text(entry.get("modelName")) or None,
                input_types=_types(entry.get("inputModalities")),
                output_types=_types(entry.get("outputModalities")),
            )
            for entry in entries
            if (wire_name := as_text(entry.get("modelId")))
            and as_object(entry.get("modelLifecycle")).get("status") != "LEGACY"
        ]


#: Claude's limit where thinking needs one to be said.
_USUAL_LIMIT = 8192


def _types(value: object) -> tuple[str, ...]:
    return tuple(as_text(item).lower() for item in as_list(value))


def _explained(error: ProviderError) -> ProviderError:
    """The same error as it is meant here, with what to do about it."""
    said = f"{error.provider_code or ''} {error.message}"
    for pattern, kind, hint in _MEANS:
        if pattern.search(said):
            if kind is None or isinstance(error, kind):
                error.hint = hint
                return error
            return kind(
                error.message,
                hint=hint,
                status=error.status,
                provider_code=error.provider_code,
            )
    return error


# --- the request ----------------------------------------------------------------------------------


def _system(messages: Sequence[Message], caches: bool) -> list[JsonObject]:
    return [
        block
        for message in messages
        if message.role == "system"
        for part in message.parts
        for block in _part(part, caches)
    ]


def _messages(messages: Sequence[Message], caches: bool, claude: bool) -> list[JsonObject]:
    """Turns; neighbours of one side are joined: they have to alternate."""
    turns: list[JsonObject] = []
    for message in messages:
        if message.role == "system":
            continue
        side = "assistant" if message.role == "assistant" else "user"
        blocks = _blocks(message, caches, claude)
        if not blocks:
            continue
        if turns and turns[-1]["role"] == side:
            turns[-1]["content"].extend(blocks)
        else:
            turns.append({"role": side, "content": blocks})
    if turns and turns[-1]["role"] == "assistant" and "text" in turns[-1]["content"][-1]:
        last = turns[-1]["content"][-1]  # a beginning; a space at its end is refused
        last["text"] = last["text"].rstrip()
    return turns


def _blocks(message: Message, caches: bool, claude: bool) -> list[JsonObject]:
    if message.role == "tool":
        content = [block for part in message.parts for block in _part(part, False)]
        result: JsonObject = {
            "toolUseId": message.tool_call_id or "",
            "content": content or [{"text": " "}],
        }
        if message.is_error:
            result["status"] = "error"
        return [{"toolResult": result}]
    blocks = [_thought(block["block"]) for block in own_blocks(message, "anthropic") if claude]
    blocks += [block for part in message.parts for block in _part(part, caches)]
    blocks += [
        {"toolUse": {"toolUseId": call.id, "name": call.name, "input": arguments_object(call)}}
        for call in message.tool_calls
    ]
    return blocks


def _thought(block: Mapping[str, Any]) -> JsonObject:
    """Claude's own, in Converse's form."""
    if block.get("type") == "redacted_thinking":
        return {"reasoningContent": {"redactedContent": block.get("data")}}
    text = {"text": block.get("thinking", ""), "signature": block.get("signature", "")}
    return {"reasoningContent": {"reasoningText": text}}


def _part(part: TextPart | MediaPart, caches: bool) -> list[JsonObject]:
    if isinstance(part, TextPart):
        blocks: list[JsonObject] = [{"text": part.text}] if part.text.strip() else []
    else:
        blocks = [_media(part)]
    if blocks and caches and part.cache:
        blocks.append(_marker(part.cache))
    return blocks


def _marker(cache: Mapping[str, Any]) -> JsonObject:
    long = {"ttl": "1h"} if cache.get("ttl") == "1h" else {}
    return {"cachePoint": {"type": "default", **long}}


def _media(part: MediaPart) -> JsonObject:
    if part.url is not None:
        raise unsupported(f"{part.kind} by URL (only inline)", "bedrock")
    kind = registered(part.media_type)
    source = {"bytes": part.data or ""}
    if part.kind == "image":
        return {"image": {"format": kind.partition("/")[2], "source": source}}
    form = _DOCUMENTS.get(kind)
    if part.kind != "document" or form is None:
        raise unsupported(f"{kind or part.kind} input", "bedrock")
    # A name of letters, digits, single spaces, hyphens and brackets is taken.
    name = " ".join(re.sub(r"[^a-zA-Z0-9\s()\[\]-]", " ", part.name or "").split())[:200]
    return {"document": {"format": form, "name": name or "document", "source": source}}


def _add_tools(body: JsonObject, request: ChatRequest, caches: bool) -> ChatRequest:
    """The tools; the request with what could not be said of them."""
    kind = tool_choice_kind(request.tool_choice, [tool.name for tool in request.tools])
    called = dict.fromkeys(call.name for turn in request.messages for call in turn.tool_calls)
    tools: list[JsonObject] = []
    if kind != "none" or called:
        for tool in request.tools:
            spec: JsonObject = {
                "name": tool.name,
                "inputSchema": {"json": object_schema(tool.parameters)},
            }
            if tool.description:
                spec["description"] = tool.description
            tools.append({"toolSpec": spec})
            if caches and tool.cache:
                tools.append(_marker(tool.cache))
    offered = {tool.name for tool in request.tools} if tools else set()
    # A history with calls is refused without the tools that it is of.
    nothing = {"json": {"type": "object", "properties": {}}}
    tools += [
        {"toolSpec": {"name": name, "inputSchema": nothing}}
        for name in called
        if name not in offered
    ]
    if not tools:
        return request
    body["toolConfig"] = {"tools": tools}
    if kind == "named":
        body["toolConfig"]["toolChoice"] = {"tool": {"name": request.tool_choice}}
    elif kind == "required":
        body["toolConfig"]["toolChoice"] = {"any": {}}
    elif kind == "none":
        return replace(request, told=(*request.told, "tool_choice: none"))
    return request


def _few_markers(body: JsonObject) -> None:
    """Markers of the cache, no more than are taken: the first and the last ones."""
    places = [as_object(body.get("toolConfig")).get("tools"), body.get("system")]
    places += [turn["content"] for turn in body["messages"]]
    lists = [blocks for blocks in places if isinstance(blocks, list)]
    found = [(blocks, block) for blocks in lists for block in blocks if "cachePoint" in block]
    for blocks, block in found[1 : len(found) - _MOST_MARKERS + 1]:
        at = next(at for at, other in enumerate(blocks) if other is block)
        del blocks[at]


# --- the answer -----------------------------------------------------------------------------------


def _usage(usage: JsonObject, tier: object) -> Usage | None:
    """``inputTokens`` leaves cache reads and writes out; omni's includes them."""
    if "inputTokens" not in usage and "outputTokens" not in usage:
        return None
    cached = as_count(usage.get("cacheReadInputTokens"))
    written = as_count(usage.get("cacheWriteInputTokens"))
    long_lived = sum(
        as_count(item.get("inputTokens"))
        for item in map(as_object, as_list(usage.get("cacheDetails")))
        if item.get("ttl") == "1h"
    )
    return Usage(
        input_tokens=as_count(usage.get("inputTokens")) + cached + written,
        cached_tokens=cached,
        cache_write_tokens=written,
        cache_write_1h_tokens=min(long_lived, written),
        output_tokens=as_count(usage.get("outputTokens")),
        estimated=as_object(tier).get("type") not in _USUAL_TIERS,
    )


def _tagged(thought: JsonObject) -> tuple[Mapping[str, Any], ...]:
    """A thought with its signature, as Claude's own protocol has it: all places take it back."""
    if data := as_text(thought.get("redactedContent")):
        block: JsonObject = {"type": "redacted_thinking", "data": data}
    elif signature := as_text(thought.get("signature")):
        text = as_text(thought.get("text"))
        block = {"type": "thinking", "thinking": text, "signature": signature}
    else:
        return ()
    return ({"protocol": "anthropic", "block": block},)


class _Parser(StreamParser):
    """Reads events by their names, or the one object of a plain answer; ``messageStop`` ends the
    answer, and its usage comes after it."""

    def __init__(self, stream: bool) -> None:
        super().__init__()
        self._stream = stream
        self._slots = CallSlots()
        self._thoughts: dict[int, JsonObject] = {}
        self._without_arguments: set[int] = set()
        self._said = False

    def read(self, event: WireEvent) -> tuple[ChatChunk, ...]:
        if event.name.startswith(EXCEPTION):
            raise _in_stream(event)
        body = load_object(event.data, "event" if self._stream else "answer")
        if not self._stream:
            return (self._whole(body),)
        index = as_count(body.get("contentBlockIndex"))
        match event.name:
            case "contentBlockStart":
                return self._start(index, as_object(as_object(body.get("start")).get("toolUse")))
            case "contentBlockDelta":
                return self._delta(index, as_object(body.get("delta")))
            case "contentBlockStop":
                return self._stop(index)
            case "messageStop":
                return (self._ended(as_text(body.get("stopReason"))),)
            case "metadata":
                usage = _usage(as_object(body.get("usage")), body.get("serviceTier"))
                return (ChatChunk(usage=usage),)
        return ()

    def _ended(self, raw: str, chunk: ChatChunk | None = None) -> ChatChunk:
        self.complete = True
        finish = finished_as(BedrockFacts.means.get(raw, "stop"), self._slots)
        self.ended(finish, raw, empty=finish == "stop" and not self._said)
        return replace(chunk or ChatChunk(), finish_reason=finish, raw_finish_reason=raw or None)

    def _start(self, index: int, call: JsonObject) -> tuple[ChatChunk, ...]:
        if not call:
            return ()
        self._without_arguments.add(index)
        return (ChatChunk(tool_calls=(self._call(index, call, ""),)),)

    def _call(self, index: int, call: JsonObject, arguments: str) -> ToolCallDelta:
        self._said = True
        ident, name = as_text(call.get("toolUseId")), as_text(call.get("name"))
        return self._slots.delta(index, ident or None, name or None, arguments)

    def _delta(self, index: int, delta: JsonObject) -> tuple[ChatChunk, ...]:
        if text := as_text(delta.get("text")):
            self._said = True
            return (ChatChunk(text=text),)
        if piece := as_text(as_object(delta.get("toolUse")).get("input")):
            self._without_arguments.discard(index)
            return (ChatChunk(tool_calls=(self._slots.delta(index, None, None, piece),)),)
        if thought := as_object(delta.get("reasoningContent")):
            kept = self._thoughts.setdefault(index, {})
            for name in ("text", "signature", "redactedContent"):
                if words := as_text(thought.get(name)):
                    kept[name] = as_text(kept.get(name)) + words
            if text := as_text(thought.get("text")):
                return (ChatChunk(reasoning=text),)
        return ()

    def _stop(self, index: int) -> tuple[ChatChunk, ...]:
        if index in self._without_arguments:
            self._without_arguments.discard(index)
            return (ChatChunk(tool_calls=(self._slots.delta(index, None, None, "{}"),)),)
        blocks = _tagged(self._thoughts.pop(index, {}))
        return (ChatChunk(reasoning_blocks=blocks),) if blocks else ()

    def _whole(self, body: JsonObject) -> ChatChunk:
        message = as_object(as_object(body.get("output")).get("message"))
        content = message.get("content")
        if not isinstance(content, list):
            raise Malformed("The answer has no content")
        text, thought = "", ""
        calls: list[ToolCallDelta] = []
        blocks: list[Mapping[str, Any]] = []
        for block in map(as_object, content):
            text += as_text(block.get("text"))
            if call := as_object(block.get("toolUse")):
                calls.append(self._call(len(calls), call, compact(call.get("input") or {})))
            if reasoning := as_object(block.get("reasoningContent")):
                said = as_object(reasoning.get("reasoningText"))
                thought += as_text(said.get("text"))
                blocks += _tagged({**said, "redactedContent": reasoning.get("redactedContent")})
        self._said = self._said or bool(text)
        chunk = ChatChunk(
            text=text,
            reasoning=thought,
            tool_calls=tuple(calls),
            reasoning_blocks=tuple(blocks),
            usage=_usage(as_object(body.get("usage")), body.get("serviceTier")),
        )
        return self._ended(as_text(body.get("stopReason")), chunk)


def _in_stream(event: WireEvent) -> ProviderError:
    name = event.name.removeprefix(EXCEPTION)
    status = _STATUS_OF_EVENTS.get(name, 500)
    return _explained(faults.explain(status, {"x-amzn-errortype": name}, event.data))
