"""OpenAI's Responses API, which some models speak exclusively.

Source: OpenAI API reference, "Responses" and "Streaming events".
"""

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
from omni_cli.domain.errors import Malformed
from omni_cli.domain.patterns import Pattern
from omni_cli.domain.record import replace
from omni_cli.ports import AnswerParser, Endpoint, HttpCall, RemoteModel, SentBody, WireEvent
from omni_cli.wire import faults
from omni_cli.wire.client import Client
from omni_cli.wire.features import put
from omni_cli.wire.fitting import (
    USUAL_NAMES,
    Alphabet,
    Says,
    fit,
    fit_openai_model,
    loosened,
    object_schema,
    result_text,
    with_the_word,
    write_plain,
    write_wishes,
)
from omni_cli.wire.openai.azure import auth_of, url_of
from omni_cli.wire.openai.listing import parse_models
from omni_cli.wire.openai.usage import of_tier, read_usage
from omni_cli.wire.parsing import CallSlots, StreamParser, finished_as
from omni_cli.wire.responses import LOGPROBS, ResponsesFacts, bounds
from omni_cli.wire.values import (
    JsonObject,
    arguments_text,
    as_list,
    as_object,
    as_text,
    data_url,
    get,
    is_strict_schema,
    load_object,
    own_blocks,
    post,
    tool_choice_kind,
    unsupported,
)

_ENDS = frozenset({"completed", "incomplete", "failed", "cancelled"})
#: Calls of tools that OpenAI runs itself and charges by the call or the session
#: (platform.openai.com, "Pricing", built-in tools).
_CHARGED_CALLS = frozenset(
    {"web_search_call", "file_search_call", "code_interpreter_call", "image_generation_call"}
)
_WHY_INCOMPLETE: dict[str, FinishReason] = {
    "max_output_tokens": "length",
    "max_tokens": "length",
    "content_filter": "content_filter",
}
_THOUGHTS = frozenset({"response.reasoning_summary_text.delta", "response.reasoning_text.delta"})


_IDS = Alphabet(Pattern(r"[^\s\x00-\x1f]{1,64}"), "call_")
_SAYS = Says(
    ResponsesFacts,
    _IDS,
    USUAL_NAMES,
    frozenset({"image", "document"}),
    most_stops=0,
    seed=False,
    blank_turns=False,
    elsewhere=frozenset({"logprobs"}),
)
#: Stands for items that a server was said to have kept.
_KEPT_ELSEWHERE = "an item's id"
#: The API's 400: "integer below minimum value. Expected a value >= 16".
_LEAST_OUTPUT = 16


class OpenAiResponses(ResponsesFacts, Client):
    """The adapter of protocol ``openai-responses``."""

    def build(self, request: ChatRequest, wire_name: str, endpoint: Endpoint) -> HttpCall:
        fitted = fit(fit_openai_model(request, wire_name), _SAYS)
        request = with_the_word(fitted.request, instructions=False)
        request = _least_output(loosened(request))
        system, turns = _begun(request.messages)
        body: JsonObject = {
            "model": wire_name,
            "input": [item for message in turns for item in _items(message)],
            "stream": request.stream,
        }
        if system:
            body["instructions"] = system
        write_plain(body, request, "max_output_tokens", "temperature", "top_p")
        if request.reasoning_effort is not None:
            body["reasoning"] = {"effort": request.reasoning_effort, "summary": "auto"}
            # What the next turn needs to go on with this reasoning; others refuse the field.
            body["include"] = ["reasoning.encrypted_content"]
        if request.wishes.get("logprobs"):
            body["include"] = [*body.get("include", ()), LOGPROBS]
        _add_tools(body, request)
        write_wishes(body, request, _SAYS)
        if request.json_schema is not None:
            schema: JsonObject = {
                "type": "json_schema",
                "name": "answer",
                "schema": request.json_schema,
            }
            if is_strict_schema(request.json_schema):
                schema["strict"] = True
            put(body, "text.format", schema)
        elif request.json_mode:
            put(body, "text.format", {"type": "json_object"})
        body.update(request.extra)
        return post(
            url_of(endpoint, "responses"),
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

    def forget_thoughts(self, sent: SentBody, refused: Callable[[str], bool]) -> bool:
        items = sent.value("input")
        if not isinstance(items, list):
            return False
        gone = [
            item
            for item in map(as_object, items)
            if item.get("type") == "reasoning" and refused(as_text(item.get("encrypted_content")))
        ]
        # Whatever is left is not looked up by its id, which would ask for its thought.
        kept = [
            {name: value for name, value in item.items() if name != "id"}
            for item in map(as_object, items)
            if item not in gone and item.get("type") != "item_reference"
        ]
        if not gone and (kept == items or not refused(_KEPT_ELSEWHERE)):
            return False
        sent.put("input", kept)
        return True

    def list_models(self, endpoint: Endpoint) -> HttpCall | None:
        url = url_of(endpoint, "models")
        return get(url, endpoint=endpoint, auth=auth_of(endpoint))

    def parse_models(self, body: str) -> Sequence[RemoteModel]:
        return parse_models(body)

    def ask_cost(self, endpoint: Endpoint, response_id: str) -> HttpCall | None:
        """Answers are stored unless their caller forbade it (developers.openai.com, "Get a model
        response"); xAI's are called by UUIDs. A name of the call alone is no answer's."""
        if response_id.startswith("req"):
            return None
        from urllib.parse import quote

        url = url_of(endpoint, f"responses/{quote(response_id, safe='')}")
        return get(url, endpoint=endpoint, auth=auth_of(endpoint))

    def read_cost(self, body: str) -> tuple[Usage | None, int | None] | None:
        answer = load_object(body)
        if as_text(answer.get("status")) in ("queued", "in_progress"):
            return None
        usage = read_usage(answer.get("usage"))
        return None if usage is None else (usage, usage.reported_cost_nusd)


def _least_output(request: ChatRequest) -> ChatRequest:
    asked = request.max_output_tokens
    if asked is None or asked >= _LEAST_OUTPUT:
        return request
    told = (*request.told, f"max_output_tokens: {_LEAST_OUTPUT}")
    return replace(request, max_output_tokens=_LEAST_OUTPUT, told=told)


def _add_tools(body: JsonObject, request: ChatRequest) -> None:
    kind = tool_choice_kind(request.tool_choice, [tool.name for tool in request.tools])
    if not request.tools:
        return
    body["tools"] = [
        {
            "type": "function",
            "name": tool.name,
            "description": tool.description,
            "parameters": object_schema(tool.parameters),
            # The API's own default is strict, which refuses ordinary schemas.
            "strict": bool(tool.strict),
        }
        for tool in request.tools
    ]
    if kind == "named":
        body["tool_choice"] = {"type": "function", "name": request.tool_choice}
    elif kind is not None:
        body["tool_choice"] = kind


def _begun(messages: Sequence[Message]) -> tuple[str, Sequence[Message]]:
    """(instructions, the other turns): system turns at the beginning are the instructions."""
    first = next((n for n, m in enumerate(messages) if m.role != "system"), len(messages))
    if first == len(messages):  # nothing but instructions: they are what is asked
        return "", messages
    return "\n\n".join(message.text for message in messages[:first]), messages[first:]


def _items(message: Message) -> list[JsonObject]:
    if message.role == "system":
        return [{"role": "developer", "content": message.text}]
    if message.role == "tool":
        call_id = message.tool_call_id or ""
        media = any(isinstance(part, MediaPart) for part in message.parts)
        output = [_content(part) for part in message.parts] if media else result_text(message)
        return [{"type": "function_call_output", "call_id": call_id, "output": output}]
    if message.role == "user":
        content = [_content(part) for part in message.parts]
        return [{"role": "user", "content": content}] if content else []
    items: list[JsonObject] = [
        {key: value for key, value in block["block"].items() if key != "status"}
        for block in own_blocks(message, "openai-responses")
    ]
    if text := message.text:
        items.append({"role": "assistant", "content": text})
    items += [
        {
            "type": "function_call",
            "call_id": call.id,
            "name": call.name,
            "arguments": call.arguments or "{}",
        }
        for call in message.tool_calls
    ]
    return items


def _content(part: TextPart | MediaPart) -> JsonObject:
    if isinstance(part, TextPart):
        return {"type": "input_text", "text": part.text}
    if part.kind == "image":
        image: JsonObject = {"type": "input_image", "image_url": data_url(part)}
        return {**image, "detail": part.detail} if part.detail else image
    if part.kind != "document":
        raise unsupported(f"{part.kind} input", "openai-responses")
    if part.url is not None:
        return {"type": "input_file", "file_url": part.url}
    name = part.name or "document"
    return {"type": "input_file", "filename": name, "file_data": data_url(part)}


def _reasoning_block(item: JsonObject) -> tuple[Mapping[str, Any], ...]:
    """Only encrypted reasoning can be sent back without the provider storing the answer."""
    if not item.get("encrypted_content"):
        return ()
    return ({"protocol": "openai-responses", "block": item},)


def _ending(response: JsonObject, slots: CallSlots, refused: bool) -> ChatChunk:
    """The chunk of a finished response object. Raises what the provider reports in it."""
    status = as_text(response.get("status"))
    if status == "failed" or response.get("error"):
        raise faults.in_band(response)
    if status == "cancelled":
        raise Malformed("The provider cancelled the answer")
    raw, finish = status, finished_as("stop", slots, refused=refused)
    if status == "incomplete":
        raw = as_text(as_object(response.get("incomplete_details")).get("reason")) or status
        finish = _WHY_INCOMPLETE.get(raw, "error")
    usage = of_tier(read_usage(response.get("usage")), response.get("service_tier"))
    items = map(as_object, as_list(response.get("output")))
    if usage is not None and any(as_text(item.get("type")) in _CHARGED_CALLS for item in items):
        usage = replace(usage, estimated=True)
    return ChatChunk(
        usage=usage,
        finish_reason=finish,
        raw_finish_reason=raw or None,
        model=as_text(response.get("model")) or None,
        response_id=as_text(response.get("id")) or None,
    )


class _StreamParser(StreamParser):
    """Reads typed events; completed, incomplete or failed ends the answer.

    Servers that copy the protocol leave events or numbers out: what no piece told is taken from the
    item that is done, or from the whole answer at the end.
    """

    def __init__(self) -> None:
        super().__init__()
        self._slots = CallSlots()
        self._refused = False
        self._introduced = False
        self._argued: set[object] = set()
        self._summaries = 0
        self._said = self._told = False

    def read(self, event: WireEvent) -> tuple[ChatChunk, ...]:
        if event.data == "[DONE]":  # not OpenAI, but some that copy it
            return ()
        body = load_object(event.data, "event")
        kind = as_text(body.get("type"))
        place = body.get("output_index")
        if kind == "response.output_text.delta":
            self._said = self._told = True
            return (ChatChunk(text=as_text(body.get("delta")), logprobs=_likely(body)),)
        if kind == "response.function_call_arguments.delta":
            return self._arguments(self._key(body), as_text(body.get("delta")))
        if kind == "response.function_call_arguments.done":
            key = self._key(body)
            return (
                () if key in self._argued else self._arguments(key, as_text(body.get("arguments")))
            )
        if kind in _THOUGHTS:
            return (ChatChunk(reasoning=as_text(body.get("delta"))),)
        if kind == "response.reasoning_summary_part.added":
            self._summaries += 1
            return (ChatChunk(reasoning="\n\n"),) if self._summaries > 1 else ()
        if kind == "response.refusal.delta":
            self._refused = self._said = self._told = True
            return (ChatChunk(text=as_text(body.get("delta"))),)
        item = as_object(body.get("item"))
        if kind == "response.output_item.added":
            self._said = False
            return self._call(item, place)
        if kind == "response.output_item.done":
            return self._done(item, place)
        if kind == "error" or event.name == "error":
            raise faults.in_band(body)
        response = as_object(body.get("response"))
        if kind.removeprefix("response.") in _ENDS:
            self.complete = True
            late: tuple[ChatChunk, ...] = ()
            if not self._told:
                items = map(as_object, as_list(response.get("output")))
                late = tuple(chunk for item in items for chunk in self._done(item, None))
            ending = _ending(response, self._slots, self._refused)
            self.ended(ending.finish_reason, ending.raw_finish_reason or "")
            return (*late, ending)
        if response and not self._introduced:
            self._introduced = True
            model, response_id = as_text(response.get("model")), as_text(response.get("id"))
            return (ChatChunk(model=model or None, response_id=response_id or None),)
        if body.get("error"):
            raise faults.in_band(body)
        return ()

    def _key(self, event: JsonObject) -> object:
        """Which item an event is of: its number, else its id."""
        place = event.get("output_index")
        return place if isinstance(place, int) else event.get("item_id") or event.get("id")

    def _arguments(self, key: object, piece: str) -> tuple[ChatChunk, ...]:
        if not self._slots.knows(key) or not piece:
            return ()
        self._argued.add(key)
        return (ChatChunk(tool_calls=(self._slots.delta(key, None, None, piece),)),)

    def _done(self, item: JsonObject, place: object) -> tuple[ChatChunk, ...]:
        kind = item.get("type")
        if kind == "reasoning":
            blocks = _reasoning_block(item)
            return (ChatChunk(reasoning_blocks=blocks),) if blocks else ()
        if kind != "message":
            return self._call(item, place, done=True)
        said, self._said = self._said, False
        parts = [] if said else list(map(as_object, as_list(item.get("content"))))
        self._refused = self._refused or any(part.get("type") == "refusal" for part in parts)
        text = "".join(as_text(part.get("text")) or as_text(part.get("refusal")) for part in parts)
        self._told = self._told or bool(text)
        likely = tuple(token for part in parts for token in _likely(part))
        return (ChatChunk(text=text, logprobs=likely),) if text else ()

    def _call(
        self, item: JsonObject, place: object, *, done: bool = False
    ) -> tuple[ChatChunk, ...]:
        """A function call as it begins, or at its end when its arguments came in one piece."""
        if item.get("type") != "function_call":
            return ()
        self._told = True
        call_id, name = as_text(item.get("call_id")), as_text(item.get("name"))
        key = place if isinstance(place, int) else as_text(item.get("id")) or call_id or name
        arguments = arguments_text(item.get("arguments"))
        if self._slots.knows(key):
            return () if key in self._argued else self._arguments(key, arguments)
        if arguments or done:
            self._argued.add(key)
        delta = self._slots.delta(key, call_id or None, name or None, arguments)
        return (ChatChunk(tool_calls=(delta,)),)


def _likely(said: JsonObject) -> tuple[JsonObject, ...]:
    """How likely each token of a text, or of a piece of it, was."""
    return tuple(map(as_object, as_list(said.get("logprobs"))))


class _PlainParser(StreamParser):
    """Reads the one response object of an answer that is not streamed."""

    def __init__(self) -> None:
        super().__init__()
        self._stream = False

    def read(self, event: WireEvent) -> tuple[ChatChunk, ...]:
        body = load_object(event.data)
        if body.get("error"):
            raise faults.in_band(body)
        output = body.get("output")
        if not isinstance(output, list):
            raise Malformed("The answer has no output")
        text, refused = "", False
        likely: list[JsonObject] = []
        thoughts: list[str] = []
        slots = CallSlots()
        calls: list[ToolCallDelta] = []
        blocks: list[Mapping[str, Any]] = []
        for item in map(as_object, output):
            kind = item.get("type")
            if kind == "message":
                for part in map(as_object, as_list(item.get("content"))):
                    refused = refused or part.get("type") == "refusal"
                    text += as_text(part.get("text")) or as_text(part.get("refusal"))
                    likely.extend(_likely(part))
            elif kind == "function_call":
                call_id, name = as_text(item.get("call_id")), as_text(item.get("name"))
                arguments = arguments_text(item.get("arguments"))
                calls.append(slots.delta(len(calls), call_id or None, name or None, arguments))
            elif kind == "reasoning":
                parts = [*as_list(item.get("summary")), *as_list(item.get("content"))]
                thoughts.extend(as_text(as_object(part).get("text")) for part in parts)
                blocks.extend(_reasoning_block(item))
        self.complete = True
        whole = ChatChunk(
            text=text,
            reasoning="\n\n".join(filter(None, thoughts)),
            tool_calls=tuple(calls),
            reasoning_blocks=tuple(blocks),
            logprobs=tuple(likely),
        )
        ending = _ending(body, slots, refused)
        self.ended(ending.finish_reason, ending.raw_finish_reason or "")
        return (whole, ending)
