"""Ollama's native chat API: newline-delimited JSON, counts with the last line.

Source: ollama/ollama docs/api.md, "Generate a chat completion", "List Local Models".
"""

from collections.abc import Mapping, Sequence

from omni_cli.domain.chat import ChatChunk, ChatRequest, MediaPart, Message, ToolCallDelta, Usage
from omni_cli.domain.embeddings import Texts, Vectors
from omni_cli.domain.errors import Malformed, ModelNotFound, ProviderError
from omni_cli.domain.models import parse_size
from omni_cli.domain.record import replace
from omni_cli.ports import AnswerParser, Endpoint, HttpCall, RemoteModel, WireEvent
from omni_cli.wire import faults
from omni_cli.wire.client import Client
from omni_cli.wire.fitting import (
    ANY_IDS,
    USUAL_NAMES,
    Says,
    fit,
    inlined,
    object_schema,
    reasoning_text,
    result_text,
    write_plain,
    write_wishes,
)
from omni_cli.wire.ollama import OllamaFacts, bounds
from omni_cli.wire.parsing import CallSlots, StreamParser, finished_as
from omni_cli.wire.values import (
    JsonObject,
    arguments_object,
    arguments_text,
    as_count,
    as_list,
    as_object,
    as_text,
    bearer,
    get,
    load_object,
    post,
    tool_choice_kind,
    unsupported,
)

_SAYS = Says(OllamaFacts, ANY_IDS, USUAL_NAMES, hottest=float("inf"))


class Ollama(OllamaFacts, Client):
    """The adapter of protocol ``ollama``."""

    def build(self, request: ChatRequest, wire_name: str, endpoint: Endpoint) -> HttpCall:
        fitted = fit(request, _SAYS)
        request = fitted.request
        names: dict[str, str] = {}  # call id -> function: a result must name its function
        messages = []
        for message in request.messages:
            names.update((call.id, call.name) for call in message.tool_calls)
            messages.append(_message(message, names))
        body: JsonObject = {"model": wire_name, "messages": messages, "stream": request.stream}
        if request.suffix is not None:  # a text to be gone on with: /api/generate
            del body["messages"]
            body["prompt"] = request.last_user_text
            if request.suffix:
                body["suffix"] = request.suffix
        kind = tool_choice_kind(request.tool_choice, [tool.name for tool in request.tools])
        called = ""
        if request.tools and kind in ("required", "named"):
            request, called = _asked_for_call(request, body, named=kind == "named")
        if request.tools and kind != "none" and not called:
            body["tools"] = [
                {
                    "type": "function",
                    "function": {
                        "name": tool.name,
                        "description": tool.description,
                        "parameters": inlined(object_schema(tool.parameters)),
                    },
                }
                for tool in request.tools
            ]
        if request.json_schema is not None:
            body["format"] = request.json_schema
        elif request.json_mode:
            body["format"] = "json"
        if request.reasoning_effort is not None:
            body["think"] = _think(request.reasoning_effort, wire_name)
        if options := _options(request):
            body["options"] = options
        write_wishes(body, request, _SAYS)
        body.update(request.extra)
        return post(
            _url(endpoint, "chat" if request.suffix is None else "generate"),
            body,
            endpoint=endpoint,
            auth=bearer(endpoint),
            framing="ndjson" if request.stream else "json",
            told=request.told,
            renamed=fitted.renamed,
            called=called,
        )

    def parser(self, *, stream: bool) -> AnswerParser:
        return _Parser("event" if stream else "answer")

    def explain(self, status: int, headers: Mapping[str, str], body: str) -> ProviderError:
        error = faults.explain(status, headers, body)
        if isinstance(error, ModelNotFound):
            error.hint = "Fetch the model first: ollama pull MODEL"
        return error

    def embed(self, texts: Texts, wire_name: str, endpoint: Endpoint) -> HttpCall:
        return post(
            _url(endpoint, "embed"),
            texts.body(wire_name),
            endpoint=endpoint,
            auth=bearer(endpoint),
            framing="json",
        )

    def vectors_usage(self, body: bytes) -> Usage | None:
        from omni_cli.wire.embeddings import counts

        tokens = counts(body)[1]
        return None if tokens is None else Usage(input_tokens=tokens)

    def vectors(self, body: bytes) -> Vectors:
        from omni_cli.wire.embeddings import listed

        found, tokens = listed(body)
        return Vectors(found, None if tokens is None else Usage(input_tokens=tokens))

    bound = staticmethod(bounds.bound)
    limit = staticmethod(bounds.write)

    def list_models(self, endpoint: Endpoint) -> HttpCall | None:
        return get(_url(endpoint, "tags"), endpoint=endpoint, auth=bearer(endpoint))

    def parse_models(self, body: str) -> Sequence[RemoteModel]:
        listing = load_object(body, "model list")
        if "models" not in listing:
            raise Malformed("The model list holds no list of models")
        return [
            RemoteModel(
                wire_name=name,
                parameters_b=_size(entry),
                # Models of Ollama's cloud stand in the same list, with where they really run.
                own_weights=not (entry.get("remote_host") or entry.get("remote_model")),
            )
            for entry in map(as_object, as_list(listing["models"]))
            if (name := as_text(entry.get("model")) or as_text(entry.get("name")))
        ]


def _size(entry: JsonObject) -> float | None:
    """``details.parameter_size`` ("7.2B"): what the weights' own header says."""
    return parse_size(as_text(as_object(entry.get("details")).get("parameter_size")))


def _url(endpoint: Endpoint, path: str) -> str:
    base = endpoint.base_url.rstrip("/").removesuffix("/v1").removesuffix("/api")
    return f"{base}/api/{path}"


def _think(effort: str, wire_name: str) -> bool | str:
    """gpt-oss takes a level and cannot be silenced; other models are switched on or off."""
    if "gpt-oss" in wire_name:
        return effort if effort in ("low", "medium", "high") else "low"
    return effort != "none"


def _options(request: ChatRequest) -> JsonObject:
    options: JsonObject = {}
    write_plain(
        options, request, "temperature", "top_p", "stop", "seed", max_output_tokens="num_predict"
    )
    return options


def _message(message: Message, names: Mapping[str, str]) -> JsonObject:
    if message.role == "tool":
        name = message.name or names.get(message.tool_call_id or "", "")
        return {"role": "tool", "content": result_text(message), "tool_name": name}
    written: JsonObject = {"role": message.role, "content": message.text}
    images = [_image(part) for part in message.parts if isinstance(part, MediaPart)]
    if images:
        written["images"] = images
    if message.role == "assistant" and (thought := reasoning_text(message)):
        written["thinking"] = thought
    if message.tool_calls:
        written["tool_calls"] = [
            {"function": {"name": call.name, "arguments": arguments_object(call)}}
            for call in message.tool_calls
        ]
    return written


def _asked_for_call(
    request: ChatRequest, body: JsonObject, *, named: bool
) -> tuple[ChatRequest, str]:
    """The API cannot force a call. Of one tool the arguments are asked for as the form of the
    answer, which it can force; of several the model is asked to call one.

    Returns: the request, and the tool whose arguments the answer is, "" for none.
    """
    tools = tuple(t for t in request.tools if t.name == request.tool_choice or not named)
    one = tools[0] if len(tools) == 1 and request.json_schema is None else None
    if one is None or request.json_mode:
        body["messages"].append({"role": "system", "content": _CALL_ONE})
        told = (*request.told, "tool_choice: the model is asked for the call, not forced")
        return replace(request, tools=tools, told=told), ""
    wish = f"Answer with the arguments of the function {one.name}, as JSON. {one.description}"
    body["messages"].append({"role": "system", "content": wish.strip()})
    told = (*request.told, "tool_choice: the arguments are the form of the answer")
    schema = inlined(object_schema(one.parameters))
    return replace(request, tools=tools, json_schema=schema, told=told), one.name


_CALL_ONE = "Answer with a call of one of the tools and nothing else."


def _image(part: MediaPart) -> str:
    if part.kind != "image":
        raise unsupported(f"{part.kind} input", "ollama")
    if part.data is None:
        raise unsupported("an image by URL (only inline)", "ollama")
    return part.data


class _Parser(StreamParser):
    """Reads lines of a stream, or the one object of a plain answer; ``done`` ends it."""

    def __init__(self, what: str) -> None:
        super().__init__()
        self._what = what
        self._slots = CallSlots()
        self._introduced = False

    def read(self, event: WireEvent) -> tuple[ChatChunk, ...]:
        body = load_object(event.data, self._what)
        if body.get("error"):
            raise faults.in_band(body)
        message = as_object(body.get("message"))
        calls = tuple(self._call(as_object(c)) for c in as_list(message.get("tool_calls")))
        text, thought = as_text(message.get("content")), as_text(message.get("thinking"))
        text = text or as_text(body.get("response"))
        likely = tuple(map(as_object, as_list(body.get("logprobs"))))
        if body.get("done") is not True:
            if not (text or thought or calls) and self._introduced:
                return ()
            return (
                ChatChunk(
                    text=text,
                    reasoning=thought,
                    tool_calls=calls,
                    model=self._model(body),
                    logprobs=likely,
                ),
            )
        self.complete = True
        raw = as_text(body.get("done_reason"))
        return (
            ChatChunk(
                text=text,
                reasoning=thought,
                tool_calls=calls,
                usage=_usage(body),
                finish_reason=finished_as(OllamaFacts.means.get(raw, "stop"), self._slots),
                raw_finish_reason=raw or None,
                model=self._model(body),
                logprobs=likely,
            ),
        )

    def _model(self, body: JsonObject) -> str | None:
        if self._introduced:
            return None
        self._introduced = True
        return as_text(body.get("model")) or None

    def _call(self, call: JsonObject) -> ToolCallDelta:
        """Each call comes whole; servers before 0.12 send no id."""
        function = as_object(call.get("function"))
        position = len(self._slots)
        call_id = as_text(call.get("id")) or None
        arguments = arguments_text(function.get("arguments"))
        return self._slots.delta(
            position, call_id, as_text(function.get("name")) or None, arguments
        )


def _usage(body: JsonObject) -> Usage | None:
    """None unless both counts are there: a prompt count is left out when all was cached."""
    if "prompt_eval_count" not in body or "eval_count" not in body:
        return None
    return Usage(
        input_tokens=as_count(body["prompt_eval_count"]),
        output_tokens=as_count(body["eval_count"]),
    )
