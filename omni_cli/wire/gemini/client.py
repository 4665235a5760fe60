"""Google's Gemini API (Generative Language API, v1beta).

Source: Gemini API reference, "Generating content", "Function calling", "Thinking",
"Thought signatures", "Structured output".
"""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from omni_cli.domain.chat import (
    ChatChunk,
    ChatRequest,
    FinishReason,
    MediaPart,
    Message,
    TextPart,
    Tool,
    ToolCallDelta,
    Usage,
)
from omni_cli.domain.clouds import vertex_location
from omni_cli.domain.embeddings import Texts, Vectors
from omni_cli.domain.errors import ContentFiltered, Malformed
from omni_cli.domain.patterns import Pattern
from omni_cli.domain.record import replace
from omni_cli.ports import AnswerParser, Endpoint, HttpCall, RemoteModel, SentBody, WireEvent
from omni_cli.wire import faults
from omni_cli.wire.client import Client
from omni_cli.wire.fitting import (
    ANY_IDS,
    Alphabet,
    Says,
    fit,
    in_words,
    object_schema,
    write_plain,
    write_wishes,
)
from omni_cli.wire.gemini import GeminiFacts, bounds
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
    load_json,
    load_object,
    own_blocks,
    post,
    registered,
    tool_choice_kind,
    unsupported,
)
from omni_cli.wire.vertex import published, published_models

#: Thinking tokens by effort, for the 2.x models, which take a budget.
_BUDGET = {"none": 0, "minimal": 512, "low": 1024, "medium": 8192, "high": 24576}
#: The least budget of models that cannot be kept from thinking.
_LEAST_BUDGET = 128
#: Levels that a model takes, the first that fits (ai.google.dev, "Gemini thinking", thinking
#: levels), and what stands for an effort that it lacks.
_LEVELS = (
    (re.compile(r"gemini-3-pro"), ("low", "high")),
    (re.compile(r"pro"), ("low", "medium", "high")),
    (re.compile(r""), ("minimal", "low", "medium", "high")),
)
_NEAREST = {"none": "minimal", "minimal": "low", "medium": "high"}
#: Begins the ids that omni gives to calls which came without one; these are not sent back.
_OWN_ID = "omni_call_"
#: What Google's page on thought signatures says to send for calls that other models made.
_NO_SIGNATURE = "skip_thought_signature_validator"


#: Gemini API reference, FunctionDeclaration.name: it begins with no digit.
_NAMES = Alphabet(Pattern(r"[a-zA-Z_][a-zA-Z0-9_.:-]{0,63}"), "_", 8)
_SAYS = Says(
    GeminiFacts,
    ANY_IDS,
    _NAMES,
    answer_media=True,
    late_system=False,
    begins_with_user=True,
    most_stops=5,
    capitals=True,
    text_documents=True,
    blank_turns=False,
)
_SAYS_MEDIA = replace(_SAYS, result_media=frozenset({"image", "audio", "video", "document"}))


class Gemini(GeminiFacts, Client):
    """The adapter of protocol ``gemini``. The key goes into a header, never into the URL."""

    def build(self, request: ChatRequest, wire_name: str, endpoint: Endpoint) -> HttpCall:
        old = _takes_budget(wire_name)
        # Gemini 3 looks at the media of a function's result; before it they stand beside it.
        fitted = fit(request, _SAYS if old else _SAYS_MEDIA)
        request = _thinking(_formed(fitted.request, old), wire_name, old)
        on_vertex = vertex_location(endpoint.base_url) is not None
        contents = _contents(request.messages, needs_signature=not old)
        body: JsonObject = {"contents": _without_ids(contents) if on_vertex else contents}
        if system := request.system_text:
            body["systemInstruction"] = {"parts": [{"text": system}]}
        _add_tools(body, request)
        if settings := _settings(request, old, wire_name):
            body["generationConfig"] = settings
        write_wishes(body, request, _SAYS)
        body.update(request.extra)
        method = "streamGenerateContent?alt=sse" if request.stream else "generateContent"
        return post(
            f"{_base(endpoint)}/{quote(_path_of(wire_name, on_vertex))}:{method}",
            body,
            endpoint=endpoint,
            auth=_auth(endpoint),
            framing="sse" if request.stream else "json",
            told=request.told,
            renamed=fitted.renamed,
        )

    def parser(self, *, stream: bool) -> AnswerParser:
        return _Parser(stream)

    def embed(self, texts: Texts, wire_name: str, endpoint: Endpoint) -> HttpCall:
        if vertex_location(endpoint.base_url) is not None:
            raise unsupported("embeddings on Vertex AI", self.name)
        name = wire_name if "/" in wire_name else f"models/{wire_name}"
        wish: JsonObject = {"model": name}
        if texts.dimensions is not None:
            wish["outputDimensionality"] = texts.dimensions
        if texts.purpose:
            wish["taskType"] = texts.purpose
        requests = [{**wish, "content": {"parts": [{"text": text}]}} for text in texts.inputs]
        return post(
            f"{_base(endpoint)}/{quote(name)}:batchEmbedContents",
            {"requests": requests},
            endpoint=endpoint,
            auth=_auth(endpoint),
            framing="json",
        )

    def vectors_usage(self, body: bytes) -> Usage | None:
        return self.vectors(body).usage

    def vectors(self, body: bytes) -> Vectors:
        from omni_cli.wire.embeddings import valued

        found, usage = valued(body)
        tokens = as_count(as_object(usage).get("promptTokenCount"))
        return Vectors(found, Usage(input_tokens=tokens) if tokens else None)

    bound = staticmethod(bounds.bound)
    limit = staticmethod(bounds.write)

    def forget_thoughts(self, sent: SentBody, refused: Callable[[str], bool]) -> bool:
        turns = sent.value("contents")
        found = False
        for turn in map(as_object, as_list(turns)):
            for part in map(as_object, as_list(turn.get("parts"))):
                for name in ("thoughtSignature", "thought_signature"):
                    if name in part and refused(as_text(part[name])):
                        found = True
                        calls = "functionCall" in part or "function_call" in part
                        part[name] = _NO_SIGNATURE if calls else ""
                        if not calls:
                            del part[name]
        if found:
            sent.put("contents", turns)
        return found

    def list_models(self, endpoint: Endpoint) -> HttpCall | None:
        url = f"{_base(endpoint)}/models?pageSize=1000"
        if vertex_location(endpoint.base_url) is not None:
            url = published(endpoint, "google")
        return get(url, endpoint=endpoint, auth=_auth(endpoint))

    def parse_models(self, body: str) -> Sequence[RemoteModel]:
        said = load_object(body, "model list")
        if "publisherModels" in said:
            return published_models(said)
        entries = listed(said.get("models"))
        return [
            RemoteModel(
                wire_name=as_text(entry.get("name")).removeprefix("models/"),
                name=as_text(entry.get("displayName")) or None,
                context_window=as_limit(entry.get("inputTokenLimit")),
                max_output=as_limit(entry.get("outputTokenLimit")),
                badges=frozenset({"reasoning"}) if entry.get("thinking") is True else frozenset(),
            )
            for entry in entries
            if as_text(entry.get("name"))
            and "generateContent" in as_list(entry.get("supportedGenerationMethods"))
        ]


def _takes_budget(wire_name: str) -> bool:
    return wire_name.removeprefix("models/").startswith(("gemini-1", "gemini-2"))


def _base(endpoint: Endpoint) -> str:
    base = endpoint.base_url.rstrip("/")
    if vertex_location(base) is not None:
        return base
    return base if base.rpartition("/")[2].startswith("v1") else f"{base}/v1beta"


def _path_of(wire_name: str, on_vertex: bool) -> str:
    name = wire_name if "/" in wire_name else f"models/{wire_name}"
    return f"publishers/google/{name}" if on_vertex and name.startswith("models/") else name


def _without_ids(contents: list[JsonObject]) -> list[JsonObject]:
    """Vertex AI tells calls and their results by their order, and refuses ids."""
    for turn in contents:
        for part in map(as_object, as_list(turn.get("parts"))):
            for name in ("functionCall", "functionResponse"):
                as_object(part.get(name)).pop("id", None)
    return contents


def _auth(endpoint: Endpoint) -> dict[str, str]:
    if (endpoint.key or "").startswith("ya29."):  # an access token of Google's
        return bearer(endpoint)
    return {"x-goog-api-key": endpoint.key} if endpoint.key else {}


def _formed(request: ChatRequest, old: bool) -> ChatRequest:
    """Before Gemini 3, a form of the answer and functions exclude each other: the form is asked for
    in words."""
    formed = request.json_mode or request.json_schema is not None
    if not (old and formed and request.tools):
        return request
    return in_words(request)


def _thinking(request: ChatRequest, wire_name: str, old: bool) -> ChatRequest:
    """An effort that the model takes."""
    effort = request.reasoning_effort
    if effort is None:
        return request
    if old:
        thinks = "gemini-2.5" in wire_name or "thinking" in wire_name
        changed = effort if thinks else None
    else:
        takes = next(words for pattern, words in _LEVELS if pattern.search(wire_name))
        changed = "high" if effort in ("xhigh", "max") else effort
        while changed in _NEAREST and changed not in takes:
            changed = _NEAREST[changed]
    if changed == effort:
        return request
    word = "reasoning_effort" if changed is None else f"reasoning_effort: {changed}"
    told = request.told if effort == "none" and changed is None else (*request.told, word)
    return replace(request, reasoning_effort=changed, told=told)


def _settings(request: ChatRequest, old: bool, wire_name: str) -> JsonObject:
    settings: JsonObject = {}
    names = {"max_output_tokens": "maxOutputTokens", "top_p": "topP", "stop": "stopSequences"}
    write_plain(settings, request, "temperature", "seed", **names)
    if request.json_mode or request.json_schema is not None:
        settings["responseMimeType"] = "application/json"
    if request.json_schema is not None:
        settings["responseJsonSchema"] = request.json_schema
    effort = request.reasoning_effort
    if effort is not None:
        thinking: JsonObject = {"includeThoughts": effort != "none"}
        if old:
            budget = _BUDGET.get(effort, _BUDGET["high"])
            thinking["thinkingBudget"] = (
                max(budget, _LEAST_BUDGET) if "pro" in wire_name else budget
            )
        else:
            thinking["thinkingLevel"] = effort
        settings["thinkingConfig"] = thinking
    return settings


def _add_tools(body: JsonObject, request: ChatRequest) -> None:
    kind = tool_choice_kind(request.tool_choice, [tool.name for tool in request.tools])
    if not request.tools:
        return
    body["tools"] = [{"functionDeclarations": [_declaration(tool) for tool in request.tools]}]
    if kind is not None:
        mode = {"auto": "AUTO", "none": "NONE"}.get(kind, "ANY")
        config: JsonObject = {"mode": mode}
        if kind == "named":
            config["allowedFunctionNames"] = [request.tool_choice]
        body["toolConfig"] = {"functionCallingConfig": config}


def _declaration(tool: Tool) -> JsonObject:
    declaration: JsonObject = {"name": tool.name, "description": tool.description}
    if tool.parameters:
        declaration["parametersJsonSchema"] = object_schema(tool.parameters)
    return declaration


def _contents(messages: Sequence[Message], *, needs_signature: bool) -> list[JsonObject]:
    """Turns; neighbours of one side are joined, so that parallel results come together. A turn of
    results holds nothing else, which the API refuses while it waits for them."""
    contents: list[JsonObject] = []
    names: dict[str, str] = {}  # call id -> function: a result must name its function
    last = ""
    for message in messages:
        if message.role == "system":
            continue
        if message.role == "assistant":
            side, parts = "model", _model_parts(message, needs_signature)
            names.update((call.id, call.name) for call in message.tool_calls)
        elif message.role == "tool":
            side, parts = "user", [_result(message, names)]
        else:
            side, parts = "user", _parts(message)
        if not parts:
            continue
        if last == message.role:
            contents[-1]["parts"].extend(parts)
        else:
            contents.append({"role": side, "parts": parts})
        last = message.role
    return contents


def _parts(message: Message) -> list[JsonObject]:
    """But for empty texts, which the API refuses."""
    return [_part(p) for p in message.parts if not isinstance(p, TextPart) or p.text]


def _part(part: TextPart | MediaPart) -> JsonObject:
    if isinstance(part, TextPart):
        return {"text": part.text}
    if part.url is not None:
        file = {"fileUri": part.url}
        return {"fileData": {**file, "mimeType": part.media_type} if part.media_type else file}
    return {"inlineData": {"mimeType": registered(part.media_type), "data": part.data or ""}}


def _model_parts(message: Message, needs_signature: bool) -> list[JsonObject]:
    parts = _parts(message)
    signatures: dict[int, str] = {}
    for block in own_blocks(message, "gemini"):
        if block.get("call") is not None:
            signatures[block["call"]] = block["thoughtSignature"]
        elif parts:
            parts[-1]["thoughtSignature"] = block["thoughtSignature"]
    for position, call in enumerate(message.tool_calls):
        function: JsonObject = {"name": call.name, "args": arguments_object(call)}
        if not call.id.startswith(_OWN_ID):
            function["id"] = call.id
        part: JsonObject = {"functionCall": function}
        if position in signatures:
            part["thoughtSignature"] = signatures[position]
        elif needs_signature and position == 0:
            part["thoughtSignature"] = _NO_SIGNATURE
        parts.append(part)
    return parts


def _result(message: Message, names: Mapping[str, str]) -> JsonObject:
    call_id = message.tool_call_id or ""
    text = message.text
    try:
        # The API takes a reference in a result for one of its own, and refuses it.
        value = text if '"$ref"' in text else load_json(text)
    except Malformed:
        value = text
    if isinstance(value, str):
        value = text  # a text that is JSON, too, stays as it was written
    if message.is_error:
        value = {"error": value}
    response = value if isinstance(value, dict) else {"output": value}
    name = message.name or names.get(call_id, call_id)
    function: JsonObject = {"name": name, "response": response}
    if call_id and not call_id.startswith(_OWN_ID):
        function["id"] = call_id
    media = [part for part in message.parts if isinstance(part, MediaPart)]
    if media:
        function["parts"] = [_part(part) for part in media]
    return {"functionResponse": function}


_USUAL_TRAFFIC = (None, "", "ON_DEMAND", "TRAFFIC_TYPE_UNSPECIFIED")
_USUAL_TIERS = ("", "standard", "unspecified")


def _by_modality(details: object) -> dict[str, int]:
    counts: dict[str, int] = {}
    for entry in map(as_object, as_list(details)):
        modality = as_text(entry.get("modality"))
        counts[modality] = counts.get(modality, 0) + as_count(entry.get("tokenCount"))
    return counts


def _usage(usage: JsonObject) -> Usage | None:
    """The API counts thoughts beside the candidates and tool prompts beside the prompt."""
    if "promptTokenCount" not in usage and "candidatesTokenCount" not in usage:
        return None
    into = _by_modality(usage.get("promptTokensDetails"))
    out = _by_modality(usage.get("candidatesTokensDetails"))
    cached = _by_modality(usage.get("cacheTokensDetails"))
    thoughts = as_count(usage.get("thoughtsTokenCount"))
    prompt = as_count(usage.get("promptTokenCount"))
    candidates = as_count(usage.get("candidatesTokenCount"))
    input_tokens = prompt + as_count(usage.get("toolUsePromptTokenCount"))
    total = as_count(usage.get("totalTokenCount"))
    if 0 < thoughts <= candidates and total == input_tokens + candidates:
        candidates -= thoughts  # some count them within, which the total shows
    hidden = total - input_tokens - candidates - thoughts
    if hidden > 0 and "candidatesTokenCount" not in usage:
        candidates = hidden
    else:
        thoughts += max(hidden, 0)
    return Usage(
        input_tokens=input_tokens,
        cached_tokens=min(as_count(usage.get("cachedContentTokenCount")), prompt),
        input_image_tokens=min(into.get("IMAGE", 0), prompt),
        input_audio_tokens=min(into.get("AUDIO", 0), prompt),
        cached_audio_tokens=min(cached.get("AUDIO", 0), prompt),
        output_tokens=candidates + thoughts,
        reasoning_tokens=thoughts,
        output_image_tokens=min(out.get("IMAGE", 0), candidates),
        output_audio_tokens=min(out.get("AUDIO", 0), candidates),
        estimated=hidden > 0 or _charged_otherwise(usage),
    )


def _charged_otherwise(usage: JsonObject) -> bool:
    """Whether other rates than the usual ones hold: Vertex' flex and priority traffic, provisioned
    throughput, and the tiers of the Gemini API ("Flex inference", "Priority inference")."""
    tier = as_text(usage.get("serviceTier")).lower().removeprefix("service_tier_")
    return usage.get("trafficType") not in _USUAL_TRAFFIC or tier not in _USUAL_TIERS


def _likely(result: JsonObject) -> tuple[JsonObject, ...]:
    """How likely each token was, in OpenAI's words: the chosen one, and those beside it."""
    tops = list(map(as_object, as_list(result.get("topCandidates"))))
    found = []
    for place, chosen in enumerate(map(as_object, as_list(result.get("chosenCandidates")))):
        beside = as_list(tops[place].get("candidates")) if place < len(tops) else []
        others = [_token(as_object(other)) for other in beside]
        found.append({**_token(chosen), "top_logprobs": others})
    return tuple(found)


def _token(candidate: JsonObject) -> JsonObject:
    token = as_text(candidate.get("token"))
    sent = list(token.encode("utf-8", "replace"))
    return {"token": token, "logprob": candidate.get("logProbability"), "bytes": sent}


class _Parser(StreamParser):
    """Reads chunks, which have the shape of a whole answer; a finishReason ends the answer."""

    def __init__(self, stream: bool) -> None:
        super().__init__()
        self._stream = stream
        self._slots = CallSlots()
        self._introduced = False
        self._response_id = ""
        self._searched = False
        self._said = False

    def read(self, event: WireEvent) -> tuple[ChatChunk, ...]:
        if event.data == "[DONE]":  # not Google, but relays that add it
            return ()
        body = load_object(event.data, "event" if self._stream else "answer")
        if body.get("error"):
            raise faults.in_band(body)
        candidates = as_list(body.get("candidates"))
        candidate = as_object(candidates[0]) if candidates else {}
        if not candidates:
            blocked = as_text(as_object(body.get("promptFeedback")).get("blockReason"))
            if blocked:
                raise ContentFiltered(
                    f"The prompt was blocked: {blocked}", status=200, provider_code=blocked
                )
            if not self._stream:
                raise Malformed("The answer has no candidates")
        self._response_id = self._response_id or as_text(body.get("responseId"))
        text, thought = "", ""
        calls: list[ToolCallDelta] = []
        images: list[MediaPart] = []
        blocks: list[Mapping[str, Any]] = []
        for part in map(as_object, as_list(as_object(candidate.get("content")).get("parts"))):
            words = as_text(part.get("text"))
            position: int | None = None
            if part.get("thought") is True:
                thought += words
            else:
                text += words
            if function := as_object(part.get("functionCall")):
                position = len(self._slots)
                calls.append(self._call(function, position))
            inline = as_object(part.get("inlineData"))
            if data := as_text(inline.get("data")):
                images.append(MediaPart(as_text(inline.get("mimeType")) or "image/png", data=data))
            if signature := as_text(part.get("thoughtSignature")):
                blocks.append(
                    {"protocol": "gemini", "call": position, "thoughtSignature": signature}
                )
        raw = as_text(candidate.get("finishReason"))
        finish: FinishReason | None = None
        self._said = self._said or bool(text or calls or images)
        if raw:
            self.complete = True
            finish = finished_as(GeminiFacts.means.get(raw, "error"), self._slots)
            self.ended(finish, raw, empty=finish == "stop" and not self._said)
        elif not self._stream:
            self.complete = True
            finish = finished_as("stop", self._slots)
            self.ended(finish, "", empty=finish == "stop" and not self._said)
        introduce = not self._introduced
        self._introduced = True
        grounding = as_object(candidate.get("groundingMetadata"))
        self._searched = self._searched or bool(as_list(grounding.get("webSearchQueries")))
        usage = _usage(as_object(body.get("usageMetadata")))
        if usage is not None and self._searched:  # charged by the prompt, beside its tokens
            usage = replace(usage, estimated=True)
        return (
            ChatChunk(
                text=text,
                reasoning=thought,
                tool_calls=tuple(calls),
                images=tuple(images),
                reasoning_blocks=tuple(blocks),
                usage=usage,
                finish_reason=finish,
                raw_finish_reason=raw or None,
                model=(as_text(body.get("modelVersion")) or None) if introduce else None,
                response_id=(self._response_id or None) if introduce else None,
                logprobs=_likely(as_object(candidate.get("logprobsResult"))),
            ),
        )

    def _ident(self) -> str:
        """What sets this answer's calls apart from any other's."""
        self._response_id = self._response_id or os.urandom(8).hex()
        return self._response_id

    def _call(self, function: JsonObject, position: int) -> ToolCallDelta:
        call_id = as_text(function.get("id")) or f"{_OWN_ID}{self._ident()}_{position}"
        name = as_text(function.get("name")) or None
        return self._slots.delta(position, call_id, name, compact(function.get("args") or {}))
