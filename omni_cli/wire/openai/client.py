"""OpenAI Chat Completions, the wire format that most providers and local servers speak.

Source: OpenAI API reference, "Chat"; differences between servers as seen in recorded traffic
and in the providers' own references (see docs/protocols.md).
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from omni_cli.domain.chat import (
    ChatChunk,
    ChatRequest,
    FinishReason,
    MediaPart,
    Message,
    TextPart,
    ToolCallDelta,
    Usage,
)
from omni_cli.domain.embeddings import Texts, Vectors
from omni_cli.domain.errors import Malformed
from omni_cli.ports import AnswerParser, Endpoint, HttpCall, RemoteModel, SentBody, WireEvent
from omni_cli.wire import faults
from omni_cli.wire.client import Client
from omni_cli.wire.fitting import (
    fit,
    fit_openai_model,
    loosened,
    object_schema,
    reasoning_text,
    result_text,
    with_the_word,
    write_plain,
    write_wishes,
)
from omni_cli.wire.openai import OpenAiFacts, bounds
from omni_cli.wire.openai.azure import auth_of, url_of
from omni_cli.wire.openai.listing import is_litellm, parse_models
from omni_cli.wire.openai.usage import of_tier, read_timings, read_usage
from omni_cli.wire.parsing import CallSlots, StreamParser, finished_as
from omni_cli.wire.quirks import Quirks, quirks_of
from omni_cli.wire.values import (
    JsonObject,
    arguments_text,
    as_list,
    as_object,
    as_text,
    compact,
    data_url,
    get,
    is_strict_schema,
    load_object,
    media_of_data_url,
    own_blocks,
    post,
    tool_choice_kind,
    unsupported,
    usd_to_nusd,
)

#: The calls that results are of, in bytes of a body; and that a turn has calls.
_RESULT_OF = re.compile(rb'"tool_call_id"\s*:\s*"([^"\\]*)"')
_CALLS = b'"tool_calls"'
#: Stands for a turn without a thought, which some vendors refuse.
_NO_THOUGHT = "no reasoning_content"


class OpenAiCompatible(OpenAiFacts, Client):
    """The adapter of protocol ``openai``."""

    def build(self, request: ChatRequest, wire_name: str, endpoint: Endpoint) -> HttpCall:
        quirks = quirks_of(endpoint.base_url, wire_name)
        if request.suffix is not None and (request.suffix or quirks.completes):
            return _completion(request, wire_name, endpoint, quirks)
        fitted = fit(fit_openai_model(request, wire_name), quirks.says)
        request = loosened(with_the_word(fitted.request, instructions=True))
        body: JsonObject = {
            "model": wire_name,
            "messages": [_message(message, quirks) for message in request.messages],
            "stream": request.stream,
        }
        if quirks.prefix and request.messages[-1:] and request.messages[-1].role == "assistant":
            body["messages"][-1][quirks.prefix] = True
        if request.stream and quirks.stream_options:
            body["stream_options"] = {"include_usage": True}
        names = {"max_output_tokens": quirks.max_tokens, "seed": quirks.seed}
        same = ("temperature", "top_p", "stop", "reasoning_effort")
        write_plain(body, request, *same, **names)
        _add_tools(body, request, quirks)
        write_wishes(body, request, quirks.says)
        if request.json_schema is not None:
            schema: JsonObject = {"name": "answer", "schema": request.json_schema}
            if is_strict_schema(request.json_schema):
                schema["strict"] = True
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        elif request.json_mode:
            body["response_format"] = {"type": "json_object"}
        body.update(request.extra)
        return post(
            url_of(endpoint, "chat/completions", wire_name),
            body,
            endpoint=endpoint,
            auth=auth_of(endpoint),
            framing="sse" if request.stream else "json",
            told=request.told,
            renamed=fitted.renamed,
        )

    def parser(self, *, stream: bool) -> AnswerParser:
        return _Parser(stream)

    def wish_usage(self, sent: SentBody) -> bool:
        if not quirks_of(sent.base_url).stream_options:
            sent.drop("stream_options")
            return False
        stated = sent.value("stream_options")
        options = stated if isinstance(stated, dict) else {}
        if options.get("include_usage") is True:
            return False
        sent.put("stream_options", {**options, "include_usage": True})
        return True

    def passing(self, what: str, wire_name: str, endpoint: Endpoint) -> HttpCall:
        return post(
            url_of(endpoint, what, wire_name),
            {"model": wire_name},
            endpoint=endpoint,
            auth=auth_of(endpoint),
            framing="json",
        )

    def passed_usage(self, sent: SentBody, body: bytes) -> Usage | None:
        from omni_cli.wire.openai.media import used

        return used(sent, body)

    def embed(self, texts: Texts, wire_name: str, endpoint: Endpoint) -> HttpCall:
        return post(
            url_of(endpoint, "embeddings", wire_name),
            texts.body(wire_name),
            endpoint=endpoint,
            auth=auth_of(endpoint),
            framing="json",
        )

    def vectors_usage(self, body: bytes) -> Usage | None:
        from omni_cli.wire.embeddings import counts

        return read_usage(counts(body)[0])

    def vectors(self, body: bytes) -> Vectors:
        from omni_cli.wire.embeddings import indexed

        found, usage = indexed(body)
        return Vectors(found, read_usage(usage))

    bound = staticmethod(bounds.bound)
    limit = staticmethod(bounds.write)

    def mend(self, sent: SentBody, body: bytes) -> None:
        """OpenAI's newer names where they are not known, ids of calls in another form, and thoughts
        that are wanted back."""
        quirks = quirks_of(sent.base_url)
        if "max_completion_tokens" in sent.names and quirks.stranger:
            if "max_tokens" not in sent.names:
                sent.put("max_tokens", sent.value("max_completion_tokens"))
            sent.drop("max_completion_tokens")
        # By find: before bytes are looked for by "in", Python tries and fails to take them for a
        # number, which costs more than to look through a kilobyte.
        if quirks.stranger and body.find(b'"developer"') >= 0:
            turns = sent.value("messages")
            for turn in map(as_object, as_list(turns)):
                if turn.get("role") == "developer":
                    turn["role"] = "system"
            sent.put("messages", turns)
        if sent.texts_only("messages") or body.find(b'"tool_call_id"') < 0:
            return
        ids, replay = quirks.says.ids, quirks.replay == "reasoning_content"
        wrong = any(not ids.takes(found.decode()) for found in _RESULT_OF.findall(body))
        if not (wrong or (replay and body.count(b'"reasoning_content"') < body.count(_CALLS))):
            return
        turns = sent.value("messages")
        for turn in map(as_object, as_list(turns)):
            calls = [call for call in map(as_object, as_list(turn.get("tool_calls"))) if call]
            for holder, name in [(turn, "tool_call_id"), *((call, "id") for call in calls)]:
                ident = holder.get(name)
                if isinstance(ident, str) and not ids.takes(ident):
                    holder[name] = ids.make(ident)
            if replay and calls and turn.get("role") == "assistant":
                turn.setdefault("reasoning_content", "")
        sent.put("messages", turns)

    def forget_thoughts(self, sent: SentBody, refused: Callable[[str], bool]) -> bool:
        """Others' are left out, and none said where a vendor that we do not know asks for one."""
        turns = sent.value("messages")
        found = False
        for turn in map(as_object, as_list(turns)):
            details = turn.get("reasoning_details")
            if details and refused(compact(details)):
                del turn["reasoning_details"]
                found = True
            bare = as_list(turn.get("tool_calls")) and "reasoning_content" not in turn
            if bare and refused(_NO_THOUGHT):
                turn["reasoning_content"], found = "", True
        if found:
            sent.put("messages", turns)
        return found

    def list_models(self, endpoint: Endpoint) -> HttpCall | None:
        url = url_of(endpoint, "models")
        return get(url, endpoint=endpoint, auth=auth_of(endpoint))

    def list_details(self, endpoint: Endpoint, listing: str) -> HttpCall | None:
        """LiteLLM's list has no prices; its ``/model/info`` has."""
        if not is_litellm(listing):
            return None
        url = url_of(endpoint, "model/info")
        return get(url, endpoint=endpoint, auth=auth_of(endpoint))

    def parse_models(self, body: str) -> Sequence[RemoteModel]:
        return parse_models(body)

    def ask_cost(self, endpoint: Endpoint, response_id: str) -> HttpCall | None:
        """OpenRouter keeps what each generation cost (openrouter.ai, "Get a generation")."""
        if not response_id.startswith("gen-"):
            return None
        from urllib.parse import quote

        url = url_of(endpoint, f"generation?id={quote(response_id, safe='')}")
        return get(url, endpoint=endpoint, auth=auth_of(endpoint))

    def read_cost(self, body: str) -> tuple[Usage | None, int | None] | None:
        data = as_object(load_object(body).get("data"))
        cost = usd_to_nusd(data.get("total_cost"))
        return None if cost is None else (None, cost)


def _completion(
    request: ChatRequest, wire_name: str, endpoint: Endpoint, quirks: Quirks
) -> HttpCall:
    """A text to be gone on with (OpenAI, "Completions"; Mistral, "Fill-in-the-middle"; DeepSeek,
    "FIM Completion"). Raises BadRequest: the server has no such thing."""
    if not quirks.fills:
        raise unsupported("a text with a gap ('suffix')", "openai")
    body: JsonObject = {
        "model": wire_name,
        "prompt": request.last_user_text,
        "stream": request.stream,
    }
    if request.suffix:
        body["suffix"] = request.suffix
    if request.stream and quirks.stream_options:
        body["stream_options"] = {"include_usage": True}
    for name, value in (
        ("max_tokens", request.max_output_tokens),
        ("temperature", request.temperature),
        ("top_p", request.top_p),
        ("stop", list(request.stop) or None),
        (quirks.seed, request.seed),
    ):
        if value is not None:
            body[name] = value
    return post(
        url_of(endpoint, quirks.fills.lstrip("/"), wire_name),
        body,
        endpoint=endpoint,
        auth=auth_of(endpoint),
        framing="sse" if request.stream else "json",
        told=request.told,
    )


def _add_tools(body: JsonObject, request: ChatRequest, quirks: Quirks) -> None:
    kind = tool_choice_kind(request.tool_choice, [tool.name for tool in request.tools])
    if not request.tools:
        return
    tools = []
    for tool in request.tools:
        function: JsonObject = {
            "name": tool.name,
            "description": tool.description,
            "parameters": object_schema(tool.parameters),
        }
        if tool.strict is not None:
            function["strict"] = tool.strict
        tools.append({"type": "function", "function": function})
        if quirks.caches and tool.cache:
            tools[-1]["cache_control"] = tool.cache
    body["tools"] = tools
    if kind == "named":
        body["tool_choice"] = {"type": "function", "function": {"name": request.tool_choice}}
    elif kind is not None:
        body["tool_choice"] = kind


def _message(message: Message, quirks: Quirks) -> JsonObject:
    if message.role == "tool":
        return {
            "role": "tool",
            "tool_call_id": message.tool_call_id or "",
            "content": result_text(message),
        }
    written: JsonObject = {"role": message.role}
    if message.name:
        written["name"] = message.name
    if message.role != "assistant":
        written["content"] = _content(message, quirks)
        return written
    written["content"] = message.text or (None if message.tool_calls else "")
    if message.tool_calls:
        written["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments or "{}"},
            }
            for call in message.tool_calls
        ]
    if quirks.replay is not None:
        _add_reasoning(written, message, quirks.replay)
    return written


def _add_reasoning(written: JsonObject, message: Message, field: str) -> None:
    """What the turn thought, back to who wants it. A turn that calls a tool must have it, whoever
    thought it, and empty where nobody did (api-docs.deepseek.com, "Thinking Mode", tool calls;
    platform.moonshot.ai, "Kimi K2 Thinking")."""
    for block in own_blocks(message, "openai"):
        if block.get("field") == field:
            written[field] = block.get("value")
    if message.tool_calls and field == "reasoning_content" and field not in written:
        written[field] = reasoning_text(message)


def _content(message: Message, quirks: Quirks) -> str | list[JsonObject]:
    marked = quirks.caches and any(part.cache for part in message.parts)
    if not marked and all(isinstance(part, TextPart) for part in message.parts):
        return message.text  # many servers take only text here
    content: list[JsonObject] = [
        {"type": "text", "text": part.text} if isinstance(part, TextPart) else _media(part)
        for part in message.parts
    ]
    if marked:
        for written, part in zip(content, message.parts, strict=True):
            if part.cache:
                written["cache_control"] = part.cache
    return content


def _media(part: MediaPart) -> JsonObject:
    if part.kind == "image":
        image = {"url": data_url(part), **({"detail": part.detail} if part.detail else {})}
        return {"type": "image_url", "image_url": image}
    if part.kind == "audio" and part.data is not None:
        audio_format = part.media_type.partition("/")[2].removeprefix("x-")
        audio_format = {"mpeg": "mp3", "wave": "wav"}.get(audio_format, audio_format)
        return {"type": "input_audio", "input_audio": {"data": part.data, "format": audio_format}}
    if part.kind == "document" and part.data is not None:
        file = {"filename": part.name or "document", "file_data": data_url(part)}
        return {"type": "file", "file": file}
    if part.kind == "video":
        raise unsupported("a video", "openai")
    raise unsupported(f"{part.kind} by URL", "openai")


class _Parser(StreamParser):
    """Reads chunks of a stream, or the one object of a plain answer, which has their shape."""

    def __init__(self, stream: bool) -> None:
        super().__init__()
        self._stream = stream
        self._introduced = False
        self._slots = CallSlots()
        self._refused = False
        self._answered = False
        self._finished = False
        self._reasoning_content: list[str] = []
        self._details: list[JsonObject] = []

    def read(self, event: WireEvent) -> tuple[ChatChunk, ...]:
        data = event.data
        if data == "[DONE]":
            # Some servers send no finish_reason; after [DONE] the answer is whole all the same.
            self.complete = self.complete or self._answered
            return ()
        if not data or data.isspace():
            return ()
        body = load_object(data, "event" if self._stream else "answer")
        if body.get("base_resp") and as_object(body["base_resp"]).get("status_code"):  # MiniMax
            raise faults.in_band(body)
        error = body.get("error")
        if error or event.name == "error":
            raise faults.in_band(body)
        if body.get("object") == "error":  # Mistral, vLLM
            raise faults.in_band(body)
        usage = body.get("usage") or as_object(body.get("x_groq")).get("usage")
        choice: JsonObject = {}
        for entry in map(as_object, as_list(body.get("choices"))):
            if not entry.get("index"):
                choice = entry
                break
        else:
            if not self._stream:
                raise Malformed("The answer has no choices")
        chunk = self._chunk(body, choice, usage or choice.get("usage"))  # Moonshot's place
        if not self._stream:
            self.complete = True
        return () if chunk is None else (chunk,)

    def _chunk(self, body: JsonObject, choice: JsonObject, usage: object) -> ChatChunk | None:
        delta = as_object(choice.get("delta") or choice.get("message"))
        text, thought = _texts(delta.get("content"))
        text += as_text(choice.get("text"))  # of a text that was gone on with
        reasoning = delta.get("reasoning_content") or delta.get("reasoning")
        if isinstance(reasoning, str):
            thought += reasoning
            if delta.get("reasoning_content"):
                self._reasoning_content.append(reasoning)
        if refusal := as_text(delta.get("refusal")):
            self._refused = True
            text += refusal
        for detail in map(as_object, as_list(delta.get("reasoning_details"))):
            self._add_detail(detail)
        calls = self._calls(delta)
        images = tuple(
            media_of_data_url(url)
            for image in map(as_object, as_list(delta.get("images")))
            if (url := as_text(as_object(image.get("image_url")).get("url")))
        )
        raw = as_text(choice.get("finish_reason"))
        finish: FinishReason | None = None
        if choice:
            self._answered = True
        if raw:
            self.complete = self._finished = True
            finish = finished_as(
                OpenAiFacts.means.get(raw.lower(), "stop"), self._slots, refused=self._refused
            )
            self.ended(finish, raw)
        counts = of_tier(read_usage(usage), body.get("service_tier")) if usage else None
        if counts is None and "timings" in body:
            counts = read_timings(body["timings"])
        told = choice.get("logprobs")
        likely = tuple(map(as_object, as_list(as_object(told).get("content")))) if told else ()
        if not (text or thought or calls or images or raw or counts or likely) and (
            self._introduced
        ):
            return None
        model = response_id = None
        if not self._introduced:
            model = as_text(body.get("model")) or None
            response_id = as_text(body.get("id")) or None
            # Azure's first event tells of its filters only.
            self._introduced = bool(model or response_id)
        return ChatChunk(
            text=text,
            reasoning=thought,
            tool_calls=calls,
            images=images,
            usage=counts,
            finish_reason=finish,
            raw_finish_reason=raw or None,
            model=model,
            response_id=response_id,
            logprobs=likely,
        )

    def _calls(self, delta: JsonObject) -> tuple[ToolCallDelta, ...]:
        calls = as_list(delta.get("tool_calls"))
        legacy = delta.get("function_call")
        if isinstance(legacy, dict):
            calls = [{"index": 0, "function": legacy}]
        if not calls:
            return ()
        deltas = []
        for call in map(as_object, calls):
            function = as_object(call.get("function"))
            # A plain answer lists whole calls: their numbers, if any, need not be right.
            deltas.append(
                self._slots.delta(
                    call.get("index") if self._stream else len(self._slots),
                    as_text(call.get("id")) or None,
                    as_text(function.get("name")) or None,
                    arguments_text(function.get("arguments")),
                )
            )
        return tuple(deltas)

    def _add_detail(self, detail: JsonObject) -> None:
        """Joins the pieces of one reasoning block, told apart by type and index."""
        last = self._details[-1] if self._details else None
        key = (detail.get("type"), detail.get("index"))
        if last is None or (last.get("type"), last.get("index")) != key:
            self._details.append(dict(detail))
            return
        for name, value in detail.items():
            if name in ("text", "summary", "data") and isinstance(value, str):
                last[name] = as_text(last.get(name)) + value
            elif value is not None:
                last[name] = value

    def tail(self) -> tuple[ChatChunk, ...]:
        blocks: list[Mapping[str, Any]] = []
        if self._details:
            field = "reasoning_details"
            blocks.append({"protocol": "openai", "field": field, "value": self._details})
        if self._reasoning_content:
            value = "".join(self._reasoning_content)
            blocks.append({"protocol": "openai", "field": "reasoning_content", "value": value})
        finish: FinishReason | None = None
        if not self._finished:
            finish = finished_as("stop", self._slots, refused=self._refused)
        if not blocks and finish is None:
            return ()
        return (ChatChunk(reasoning_blocks=tuple(blocks), finish_reason=finish),)


def _texts(content: object) -> tuple[str, str]:
    """(text, reasoning) of content: text, or Mistral's list of text and thinking parts."""
    if isinstance(content, str):
        return content, ""
    text = thought = ""
    for part in map(as_object, as_list(content)):
        if part.get("type") == "thinking":
            inner = part.get("thinking")
            thought += as_text(inner) or "".join(
                as_text(as_object(piece).get("text")) for piece in as_list(inner)
            )
        else:
            text += as_text(part.get("text"))
    return text, thought
