"""Anthropic's Messages API.

Source: Anthropic API reference, "Messages", "Streaming messages", "Extended thinking",
"Structured outputs", "Prompt caching".
"""

import base64
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import quote

from omni_cli.domain.chat import (
    ChatChunk,
    ChatRequest,
    MediaPart,
    Message,
    TextPart,
    Tool,
    ToolCallDelta,
    Usage,
)
from omni_cli.domain.clouds import USUAL_PLACES, vertex_location
from omni_cli.domain.errors import Malformed
from omni_cli.domain.patterns import Pattern
from omni_cli.domain.record import replace
from omni_cli.ports import AnswerParser, Endpoint, HttpCall, RemoteModel, SentBody, WireEvent
from omni_cli.wire import faults
from omni_cli.wire.anthropic import AnthropicFacts, bounds
from omni_cli.wire.client import Client
from omni_cli.wire.fitting import (
    Alphabet,
    Says,
    closed_schema,
    fit,
    fit_effort,
    in_words,
    leave_out,
    object_schema,
    write_plain,
    write_wishes,
)
from omni_cli.wire.parsing import CallSlots, StreamParser, finished_as
from omni_cli.wire.values import (
    JsonObject,
    arguments_object,
    as_count,
    as_limit,
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
from omni_cli.wire.vertex import published, published_models

API_VERSION = "2023-06-01"
#: The body says it where the model is in the path (Vertex AI).
_VERTEX_VERSION = "vertex-2023-10-16"
#: The API demands a limit; this one is within every current model's own.
DEFAULT_MAX_TOKENS = 8192
#: Thinking tokens by effort, for models that take a budget; 1024 is the API's least.
_BUDGET = {"minimal": 1024, "low": 2048, "medium": 8192, "high": 16384}
_LEAST_BUDGET = 1024
#: A result of a call whose id the API refuses.
_FOREIGN_ID = re.compile(rb'"tool_use_id"\s*:\s*"(?![a-zA-Z0-9_-]{1,64}")')
_THOUGHTS = ("thinking", "redacted_thinking")


def _mark(thought: JsonObject) -> str:
    return as_text(thought.get("signature")) or as_text(thought.get("data"))


_VERSION = Pattern(r"claude-(?:opus|sonnet|haiku)-(\d{1,2})(?:[-.](\d{1,2}))?(?!\d)")
#: Markers of the cache that a request may hold.
_MOST_MARKERS = 4


#: Anthropic API reference, "Messages", tool_use.id; the message of its 400 names the pattern.
_IDS = Alphabet(Pattern(r"[a-zA-Z0-9_-]{1,64}"), "toolu_")
_NAMES = Alphabet(Pattern(r"[a-zA-Z0-9_-]{1,128}"), "_", 8)
_SAYS = Says(
    AnthropicFacts,
    _IDS,
    _NAMES,
    frozenset({"image", "document"}),
    late_system=False,
    begins_with_user=True,
    hottest=1.0,
    seed=False,
    elsewhere=frozenset({"parallel_tool_calls"}),
    blank_stops=False,
    blank_turns=False,
    text_documents=True,
)
#: metadata.user_id: "String should have at most 256 characters".
_LONGEST_USER = 256


class Anthropic(AnthropicFacts, Client):
    """The adapter of protocol ``anthropic``."""

    def build(self, request: ChatRequest, wire_name: str, endpoint: Endpoint) -> HttpCall:
        fitted = fit(fit_claude(request, wire_name), _SAYS)
        request = thinking_off(fitted.request, wire_name)
        most = request.most_output_tokens
        max_tokens = request.max_output_tokens or min(
            DEFAULT_MAX_TOKENS, most or DEFAULT_MAX_TOKENS
        )
        body: JsonObject = {"model": wire_name, "stream": request.stream}
        if request.json_schema is not None:
            schema = {"type": "json_schema", "schema": closed_schema(request.json_schema)}
            body["output_config"] = {"format": schema}
        elif request.json_mode:  # the API knows no JSON mode without a schema
            request = in_words(request)
        if system := _system(request.messages):
            body["system"] = system
        thoughts, added = thinking_of(request, wire_name)
        # Thinking counts against max_tokens, and has to leave room for the answer.
        max_tokens = min(max_tokens + added, most or max_tokens + added)
        for name, value in thoughts.items():
            body[name] = {**body.get(name, {}), **value}
        body["max_tokens"] = max_tokens
        write_plain(body, request, "temperature", "top_p", stop="stop_sequences")
        _add_tools(body, request)
        write_wishes(body, request, _SAYS)
        body["messages"] = _messages(request.messages)
        _few_markers(body)
        body.update(request.extra)
        url = url_of(endpoint, "messages")
        if vertex_location(endpoint.base_url) is not None:
            how = "streamRawPredict" if request.stream else "rawPredict"
            url = f"{_publisher(endpoint)}/models/{quote(wire_name, safe='@')}:{how}"
            del body["model"]
            body["anthropic_version"] = _VERTEX_VERSION
        return post(
            url,
            body,
            endpoint=endpoint,
            auth=auth_of(endpoint),
            framing="sse" if request.stream else "json",
            told=request.told,
            renamed=fitted.renamed,
        )

    def parser(self, *, stream: bool) -> AnswerParser:
        return _StreamParser() if stream else _PlainParser()

    bound = staticmethod(bounds.bound)
    limit = staticmethod(bounds.write)

    def mend(self, sent: SentBody, body: bytes) -> None:
        """Ids that other vendors' models gave (``functions.read:0``) are a 400 here, and Vertex AI
        has the model in its path."""
        if vertex_location(sent.base_url) is not None:
            sent.drop("model")
            sent.put("anthropic_version", _VERTEX_VERSION)
        if _FOREIGN_ID.search(body) is None:
            return
        ids, turns = _SAYS.ids, sent.value("messages")
        for turn in map(as_object, as_list(turns)):
            for block in map(as_object, as_list(turn.get("content"))):
                for name in ("id", "tool_use_id"):
                    ident = block.get(name)
                    if isinstance(ident, str) and not ids.takes(ident):
                        block[name] = ids.make(ident)
        sent.put("messages", turns)

    def forget_thoughts(self, sent: SentBody, refused: Callable[[str], bool]) -> bool:
        turns = sent.value("messages")
        kept: list[JsonObject] = []
        found, calls = False, False
        for turn in map(as_object, as_list(turns)):
            content = turn.get("content")
            if not isinstance(content, list) or turn.get("role") != "assistant":
                kept.append(turn)
                continue
            blocks = [
                block
                for block in content
                if as_object(block).get("type") not in _THOUGHTS or not refused(_mark(block))
            ]
            found = found or len(blocks) != len(content)
            kinds = {as_object(block).get("type") for block in blocks}
            calls = "tool_use" in kinds and not kinds & set(_THOUGHTS)
            if blocks:
                kept.append({**turn, "content": blocks})
        if found:
            sent.put("messages", kept)
        # A turn under way has to begin with a thought, or without any.
        if calls and as_object(sent.value("thinking")).get("type") == "enabled":
            sent.put("thinking", {"type": "disabled"})
            return True
        return found

    def list_models(self, endpoint: Endpoint) -> HttpCall | None:
        if vertex_location(endpoint.base_url) is not None:
            return get(published(endpoint, "anthropic"), endpoint=endpoint, auth=auth_of(endpoint))
        return get(url_of(endpoint, "models?limit=1000"), endpoint=endpoint, auth=auth_of(endpoint))

    def parse_models(self, body: str) -> Sequence[RemoteModel]:
        said = load_object(body, "model list")
        if "publisherModels" in said:
            return published_models(said)
        entries = listed(said.get("data"))
        return [
            RemoteModel(
                wire_name=wire_name,
                name=as_text(entry.get("display_name")) or None,
                context_window=as_limit(entry.get("max_input_tokens")),
                max_output=as_limit(entry.get("max_tokens")),
            )
            for entry in entries
            if (wire_name := as_text(entry.get("id")))
        ]


def _version(wire_name: str) -> tuple[int, int] | None:
    """Of a Claude model: (4, 5). A Claude of a newer kind of name is newer than all; None for
    other vendors' models that speak the protocol."""
    match = _VERSION.search(wire_name)
    if match is not None:
        return int(match[1]), int(match[2] or 0)
    if "claude" not in wire_name:
        return None
    old = re.search(r"claude-(?:v?[123](?:[-.](\d))?(?!\d)|instant)", wire_name)
    return (3, int(old[1] or 0)) if old is not None else (99, 0)


def _thinks_adaptively(wire_name: str) -> bool:
    """From 4.6 on, effort replaces the thinking budget."""
    version = _version(wire_name)
    return version is not None and version >= (4, 6)


def thinking_of(request: ChatRequest, wire_name: str) -> tuple[JsonObject, int]:
    """The fields that say how hard Claude is to think, and the tokens that come to the limit."""
    effort, most = request.reasoning_effort, request.most_output_tokens
    if effort in (None, "none"):
        return {}, 0
    if _thinks_adaptively(wire_name):
        return {"thinking": {"type": "adaptive"}, "output_config": {"effort": effort}}, 0
    budget = _BUDGET.get(effort or "", _BUDGET["high"])
    asked = request.max_output_tokens or min(DEFAULT_MAX_TOKENS, most or DEFAULT_MAX_TOKENS)
    if most and asked + budget > most:
        budget, added = max(_LEAST_BUDGET, min(budget, most // 2)), budget
    else:
        added = budget
    return {"thinking": {"type": "enabled", "budget_tokens": budget}}, added


def fit_claude(request: ChatRequest, wire_name: str) -> ChatRequest:
    """What Claude's versions take (platform.claude.com, "Migration guide", "Effort", "Structured
    outputs"; the messages of the 400s)."""
    version = _version(wire_name)
    if len(as_text(request.wishes.get("user"))) > _LONGEST_USER:
        request = leave_out(request, "user")
    if request.reasoning_effort != "none":
        if version is None or version < (4, 6):
            request = fit_effort(request, ("minimal", "low", "medium", "high"))
        elif version < (4, 7):
            request = fit_effort(request, ("low", "medium", "high", "max"))
        else:
            request = fit_effort(request, ("low", "medium", "high", "xhigh", "max"))
    if version is None:
        return request
    if version >= (4, 7):
        request = leave_out(request, "temperature", "top_p", "top_k")
    elif version >= (4, 1) and request.temperature is not None:
        request = leave_out(request, "top_p")
    if version < (4, 5):
        if request.json_schema is not None:
            request = in_words(request)
        if any(tool.strict for tool in request.tools):
            tools = tuple(replace(tool, strict=None) for tool in request.tools)
            request = replace(request, tools=tools, told=(*request.told, "strict"))
    if version >= (4, 6) and request.messages[-1:] and request.messages[-1].role == "assistant":
        ask = "Go on exactly where your last message ends, and repeat none of it."
        request = replace(
            request,
            messages=(*request.messages, Message.text_of("user", ask)),
            told=(*request.told, "prefill: asked for in words"),
        )
    return request


def thinking_off(request: ChatRequest, wire_name: str) -> ChatRequest:
    """No thinking where the API refuses it beside what is asked (platform.claude.com, "Extended
    thinking"): a forced tool, a beginning of the answer, or, with a budget, a turn under way whose
    call of a tool was not thought by Claude. And no sampling of one's own where it thinks."""
    if request.reasoning_effort in (None, "none"):
        return request
    off = ""
    if request.tools and request.tool_choice not in (None, "auto", "none"):
        off = "off, as a tool is forced"
    elif request.messages[-1:] and request.messages[-1].role == "assistant":
        off = "off, as the answer's beginning is given"
    elif not _thinks_adaptively(wire_name):
        last = next((m for m in reversed(request.messages) if m.role == "assistant"), None)
        if last is not None and last.tool_calls and not own_blocks(last, "anthropic"):
            off = "off for this turn, whose call of a tool came without thinking"
    if off:
        told = (*request.told, f"reasoning_effort: {off}")
        return replace(request, reasoning_effort=None, told=told)
    return leave_out(request, "temperature", "top_p", "top_k")


def url_of(endpoint: Endpoint, path: str) -> str:
    base = endpoint.base_url.rstrip("/")
    return f"{base}/{path}" if base.endswith("/v1") else f"{base}/v1/{path}"


def _publisher(endpoint: Endpoint) -> str:
    return f"{endpoint.base_url.rstrip('/')}/publishers/anthropic"


def auth_of(endpoint: Endpoint) -> dict[str, str]:
    auth = {"anthropic-version": API_VERSION}
    if (endpoint.key or "").startswith("ya29."):  # an access token of Google's
        return auth | bearer(endpoint)
    if endpoint.key:
        auth["x-api-key"] = endpoint.key
    return auth


def _add_tools(body: JsonObject, request: ChatRequest) -> None:
    kind = tool_choice_kind(request.tool_choice, [tool.name for tool in request.tools])
    if not request.tools:
        _add_called_tools(body, request)
        return
    body["tools"] = [
        {
            "name": tool.name,
            "description": tool.description,
            "input_schema": _input_schema(tool),
            **({"strict": tool.strict} if tool.strict is not None else {}),
            **({"cache_control": tool.cache} if tool.cache else {}),
        }
        for tool in request.tools
    ]
    one = request.wishes.get("parallel_tool_calls") is False and kind != "none"
    if kind == "named":
        body["tool_choice"] = {"type": "tool", "name": request.tool_choice}
    elif kind is not None or one:
        body["tool_choice"] = {"type": "any" if kind == "required" else kind or "auto"}
    if one:
        body["tool_choice"]["disable_parallel_tool_use"] = True


def _input_schema(tool: Tool) -> JsonObject:
    schema = object_schema(tool.parameters)
    closed: JsonObject = closed_schema(schema) if tool.strict else schema
    return closed


def _add_called_tools(body: JsonObject, request: ChatRequest) -> None:
    """A history with calls is refused without tools, as a summary of it is asked for: "Requests
    which include tool_use or tool_result blocks must define tools"."""
    called = dict.fromkeys(call.name for turn in request.messages for call in turn.tool_calls)
    if called:
        schema = {"type": "object", "properties": {}}
        body["tools"] = [{"name": name, "input_schema": schema} for name in called]
        body["tool_choice"] = {"type": "none"}


def _system(messages: Sequence[Message]) -> str | list[JsonObject]:
    """The instructions: one text, or blocks where some carry a marker of the cache."""
    turns = [message for message in messages if message.role == "system"]
    if any(part.cache for message in turns for part in message.parts):
        return [
            block
            for message in turns
            for part in message.parts
            if isinstance(part, TextPart) and (block := _text_block(part))
        ]
    return "\n\n".join(text for message in turns if (text := message.text))


def _messages(messages: Sequence[Message]) -> list[JsonObject]:
    """Turns; neighbours of one side are joined, as all results of parallel calls must be."""
    turns: list[JsonObject] = []
    for message in messages:
        if message.role == "system":
            continue
        side = "assistant" if message.role == "assistant" else "user"
        blocks = _blocks(message)
        if not blocks:
            continue  # the API refuses empty content
        if turns and turns[-1]["role"] == side:
            turns[-1]["content"].extend(blocks)
        else:
            turns.append({"role": side, "content": blocks})
    if (
        turns and turns[-1]["role"] == "assistant"
    ):  # a beginning; the API refuses a space at its end
        last = turns[-1]["content"][-1]
        if last.get("type") == "text":
            last["text"] = last["text"].rstrip()
            if not last["text"]:
                turns[-1]["content"].pop()
        if not turns[-1]["content"]:
            turns.pop()
    return turns


def _few_markers(body: JsonObject) -> None:
    """Markers of the cache, no more than are taken: of those between the first and the last ones
    the cache of their neighbours holds most."""
    found: list[JsonObject] = []
    places = [body.get("tools"), body.get("system")]
    places += [turn["content"] for turn in body["messages"]]
    for blocks in places:
        for block in blocks if isinstance(blocks, list) else ():
            found += [block] if "cache_control" in block else []
            inner = block.get("content")
            found += [b for b in inner if "cache_control" in b] if isinstance(inner, list) else []
    room = _MOST_MARKERS - ("cache_control" in body)
    for block in found[1 : len(found) - room + 1] if len(found) > room else ():
        del block["cache_control"]


def _blocks(message: Message) -> list[JsonObject]:
    content = [
        block
        for part in message.parts
        if (block := _text_block(part) if isinstance(part, TextPart) else _media(part))
    ]
    if message.role == "tool":
        result: JsonObject = {"type": "tool_result", "tool_use_id": message.tool_call_id or ""}
        if content:
            result["content"] = content
        if message.is_error:
            result["is_error"] = True
        return [result]
    blocks: list[JsonObject] = [dict(b["block"]) for b in own_blocks(message, "anthropic")]
    blocks += content
    blocks += [
        {"type": "tool_use", "id": call.id, "name": call.name, "input": arguments_object(call)}
        for call in message.tool_calls
    ]
    return blocks


def _text_block(part: TextPart) -> JsonObject | None:
    """None where there is nothing to read: the API refuses that."""
    if not part.text.strip():
        return None
    block: JsonObject = {"type": "text", "text": part.text}
    return {**block, "cache_control": part.cache} if part.cache else block


def _media(part: MediaPart) -> JsonObject:
    if part.kind not in ("image", "document"):
        raise unsupported(f"{part.kind} input", "anthropic")
    source: JsonObject
    if part.url is not None:
        source = {"type": "url", "url": part.url}
    else:
        kind = registered(part.media_type)
        source = {"type": "base64", "media_type": kind, "data": part.data or ""}
    if part.kind == "document" and part.media_type.startswith("text/"):
        source = _text_source(part) or source
    block: JsonObject = {"type": part.kind, "source": source}
    if part.name and part.kind == "document":
        block["title"] = part.name
    return {**block, "cache_control": part.cache} if part.cache else block


def _text_source(part: MediaPart) -> JsonObject | None:
    """A document of text as the API takes it: in its own words."""
    if part.data is None:
        return None
    try:
        text = base64.b64decode(part.data).decode()
    except ValueError:
        return None
    return {"type": "text", "media_type": "text/plain", "data": text}


def read_usage(usage: JsonObject) -> Usage | None:
    """``input_tokens`` of the API leaves cache reads and writes out; omni's includes them.

    A compaction's own tokens stand in ``iterations`` only (Claude docs, "Compaction", understanding
    usage); a relay that has added them up already shows it by its totals.
    """
    if "input_tokens" not in usage and "output_tokens" not in usage:
        return None
    counts = _counts(usage)
    steps = [as_object(step) for step in as_list(usage.get("iterations"))]
    odd = _charged_otherwise(usage)
    if steps:
        by_kind: dict[str, list[_Counts]] = {}
        for step in steps:
            by_kind.setdefault(as_text(step.get("type")), []).append(_counts(step))
        compactions = by_kind.get("compaction", [])
        told = _Counts.total([*by_kind.get("message", []), *compactions])
        if compactions and (counts.input < told.input or counts.output < told.output):
            counts = _Counts.total([counts, *compactions])
        odd = odd or bool(by_kind.keys() - {"message", "compaction"})
        # Each is billed by its own length, and by its own model.
        longest = max(step.input for found in by_kind.values() for step in found)
        odd = odd or longest <= _LONG_CONTEXT < counts.input
        odd = odd or len({as_text(step.get("model")) for step in steps} - {""}) > 1
    thinking = as_count(as_object(usage.get("output_tokens_details")).get("thinking_tokens"))
    return Usage(
        input_tokens=counts.input,
        cached_tokens=counts.cached,
        cache_write_tokens=counts.written,
        cache_write_1h_tokens=counts.long_lived,
        output_tokens=counts.output,
        reasoning_tokens=min(thinking, counts.output),
        estimated=odd,
        beside=tuple(
            (name, _counts(step).usage())
            for step in steps
            if step.get("type") == "advisor_message" and (name := as_text(step.get("model")))
        )
        if steps
        else (),
    )


#: From so many tokens of one input on, some models cost more (Claude docs, "Long context pricing").
_LONG_CONTEXT = 200_000


class _Counts(NamedTuple):
    """Tokens of one sampling; ``input`` with what the cache read and wrote."""

    input: int = 0
    cached: int = 0
    written: int = 0
    long_lived: int = 0
    output: int = 0

    def usage(self) -> Usage:
        return Usage(
            input_tokens=self.input,
            cached_tokens=self.cached,
            cache_write_tokens=self.written,
            cache_write_1h_tokens=self.long_lived,
            output_tokens=self.output,
        )

    @classmethod
    def total(cls, counts: "Iterable[_Counts]") -> "_Counts":
        return cls(*(sum(column) for column in zip(*counts, strict=True)))


def _counts(usage: JsonObject) -> _Counts:
    cached = as_count(usage.get("cache_read_input_tokens"))
    written = as_count(usage.get("cache_creation_input_tokens"))
    lifetimes = as_object(usage.get("cache_creation"))
    long_lived = as_count(lifetimes.get("ephemeral_1h_input_tokens"))
    written = max(written, long_lived + as_count(lifetimes.get("ephemeral_5m_input_tokens")))
    fresh = as_count(usage.get("input_tokens"))
    if fresh and as_count(usage.get("prompt_tokens")) == fresh:  # vLLM's counts with the cache
        fresh = max(fresh - cached - written, 0)
    output = as_count(usage.get("output_tokens"))
    return _Counts(fresh + cached + written, cached, written, long_lived, output)


def _charged_otherwise(usage: JsonObject) -> bool:
    """Whether tokens at the usual rates are not all that is charged (Claude docs, "Service tiers",
    "Fast mode", "Data residency", "Web search tool": by the search, "Code execution": by the
    hour)."""
    tools = as_object(usage.get("server_tool_use"))
    by_use = ("web_search_requests", "code_execution_requests")
    return (
        usage.get("service_tier") not in (None, "", "standard", "auto", "standard_only")
        or usage.get("speed") not in (None, "", "standard")
        or usage.get("inference_geo") not in USUAL_PLACES
        or (bool(tools) and any(as_count(tools.get(name)) for name in by_use))
    )


def _tagged(block: JsonObject) -> Mapping[str, Any]:
    return {"protocol": "anthropic", "block": block}


_INPUTS = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")


class _StreamParser(StreamParser):
    """Reads named events; a stop reason or ``message_stop`` ends the answer."""

    def __init__(self) -> None:
        super().__init__()
        self._slots = CallSlots()
        self._usage: JsonObject = {}
        self._thinking: dict[int, JsonObject] = {}
        self._without_arguments: set[int] = set()

    def read(self, event: WireEvent) -> tuple[ChatChunk, ...]:
        if event.data == "[DONE]":  # not Anthropic, but relays that add it
            return ()
        body = load_object(event.data, "event")
        kind = body.get("type")
        if kind == "content_block_delta":
            return self._delta(as_count(body.get("index")), as_object(body.get("delta")))
        if kind == "content_block_start":
            return self._start(as_count(body.get("index")), as_object(body.get("content_block")))
        if kind == "content_block_stop":
            return self._stop(as_count(body.get("index")))
        if kind == "message_start":
            message = as_object(body.get("message"))
            usage = self._merged(message.get("usage"))
            model, response_id = as_text(message.get("model")), as_text(message.get("id"))
            return (ChatChunk(usage=usage, model=model or None, response_id=response_id or None),)
        if kind == "message_delta":
            raw = as_text(as_object(body.get("delta")).get("stop_reason"))
            means = AnthropicFacts.means.get(raw, "stop")
            finish = finished_as(means, self._slots) if raw else None
            # Some servers leave ``message_stop`` out: who says why it stopped has stopped.
            self.complete = self.complete or finish is not None
            usage = self._merged(body.get("usage"))
            return (ChatChunk(usage=usage, finish_reason=finish, raw_finish_reason=raw or None),)
        if kind == "message_stop":
            self.complete = True
        elif kind == "error" or event.name == "error":
            raise faults.in_band(body)
        return ()

    def _merged(self, usage: object) -> Usage | None:
        """Counts are cumulative: a later event replaces those that it names, but for an input of
        nothing."""
        told = {k: v for k, v in as_object(usage).items() if v is not None}
        if self._usage and not any(as_count(told.get(name)) for name in _INPUTS):
            told = {k: v for k, v in told.items() if k not in _INPUTS}
        self._usage.update(told)
        return read_usage(self._usage)

    def _start(self, index: int, block: JsonObject) -> tuple[ChatChunk, ...]:
        kind = block.get("type")
        if kind == "text" and (text := as_text(block.get("text"))):
            return (ChatChunk(text=text),)
        if kind == "tool_use":
            return (ChatChunk(tool_calls=(self._call(index, block),)),)
        if kind in ("thinking", "redacted_thinking"):
            self._thinking[index] = dict(block)
            if text := as_text(block.get("thinking")):
                return (ChatChunk(reasoning=text),)
        return ()

    def _call(self, index: int, block: JsonObject) -> ToolCallDelta:
        """A call as it begins; its arguments follow, unless the block brings them itself."""
        given = block.get("input")
        if not given:
            self._without_arguments.add(index)
        call_id, name = as_text(block.get("id")), as_text(block.get("name"))
        arguments = compact(given) if given else ""
        return self._slots.delta(index, call_id or None, name or None, arguments)

    def _delta(self, index: int, delta: JsonObject) -> tuple[ChatChunk, ...]:
        kind = delta.get("type")
        if kind == "text_delta":
            return (ChatChunk(text=as_text(delta.get("text"))),)
        if kind == "thinking_delta":
            text = as_text(delta.get("thinking"))
            if (block := self._thinking.get(index)) is not None:
                block["thinking"] = as_text(block.get("thinking")) + text
            return (ChatChunk(reasoning=text),)
        if kind == "signature_delta":
            if (block := self._thinking.get(index)) is not None:
                block["signature"] = as_text(block.get("signature")) + as_text(
                    delta.get("signature")
                )
        elif kind == "input_json_delta" and self._slots.knows(index):  # else a server-side tool
            piece = as_text(delta.get("partial_json"))
            if piece:
                self._without_arguments.discard(index)
                return (ChatChunk(tool_calls=(self._slots.delta(index, None, None, piece),)),)
        return ()

    def _stop(self, index: int) -> tuple[ChatChunk, ...]:
        if index in self._without_arguments:
            self._without_arguments.discard(index)
            return (ChatChunk(tool_calls=(self._slots.delta(index, None, None, "{}"),)),)
        if (block := self._thinking.pop(index, None)) is not None:
            return (ChatChunk(reasoning_blocks=(_tagged(block),)),)
        return ()


class _PlainParser(StreamParser):
    """Reads the one message object of an answer that is not streamed."""

    def read(self, event: WireEvent) -> tuple[ChatChunk, ...]:
        body = load_object(event.data)
        if body.get("type") == "error" or body.get("error"):
            raise faults.in_band(body)
        content = body.get("content")
        if not isinstance(content, list):
            raise Malformed("The answer has no content")
        self.complete = True
        text, thought = "", ""
        slots = CallSlots()
        calls: list[ToolCallDelta] = []
        thinking: list[Mapping[str, Any]] = []
        for block in map(as_object, content):
            kind = block.get("type")
            if kind == "text":
                text += as_text(block.get("text"))
            elif kind == "tool_use":
                call_id, name = as_text(block.get("id")), as_text(block.get("name"))
                arguments = compact(block.get("input") or {})
                calls.append(slots.delta(len(calls), call_id or None, name or None, arguments))
            elif kind in ("thinking", "redacted_thinking"):
                thought += as_text(block.get("thinking"))
                thinking.append(_tagged(block))
        raw = as_text(body.get("stop_reason"))
        return (
            ChatChunk(
                text=text,
                reasoning=thought,
                tool_calls=tuple(calls),
                reasoning_blocks=tuple(thinking),
                usage=read_usage(as_object(body.get("usage"))),
                finish_reason=finished_as(AnthropicFacts.means.get(raw, "stop"), slots),
                raw_finish_reason=raw or None,
                model=as_text(body.get("model")) or None,
                response_id=as_text(body.get("id")) or None,
            ),
        )
