"""Random requests of each protocol through each other one and back: what comes back means the same,
or the loss was said, and no vendor would refuse what was written (tests/vendor_rules.py)."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omni_cli.domain.chat import ChatRequest, MediaPart, Message, Part, TextPart, Tool, ToolCall
from omni_cli.domain.errors import BadRequest
from omni_cli.domain.models import ModelInfo, ProtocolName
from omni_cli.domain.record import replace
from omni_cli.gateway.plans import written
from omni_cli.ports import Endpoint
from omni_cli.wire.anthropic.server import AnthropicMessages
from omni_cli.wire.features import FEATURES, Feature, put
from omni_cli.wire.gemini.server import GeminiContent
from omni_cli.wire.ollama.server import OllamaChat
from omni_cli.wire.openai.server import OpenAiChat
from omni_cli.wire.registry import adapter
from omni_cli.wire.responses.server import OpenAiResponses
from omni_cli.wire.server import Caller, Parsed
from tests.vendor_rules import broken

CALLERS: dict[ProtocolName, Caller] = {
    "openai": OpenAiChat(),
    "openai-responses": OpenAiResponses(),
    "anthropic": AnthropicMessages(),
    "gemini": GeminiContent(),
    "ollama": OllamaChat(),
}
MODELS: dict[ProtocolName, str] = {
    "openai": "some-model",
    "openai-responses": "some-model",
    "anthropic": "claude-sonnet-4-5",
    "gemini": "gemini-3-pro",
    "ollama": "qwen3",
}
_PROTOCOLS = st.sampled_from(sorted(CALLERS))
HERE = Endpoint("http://models.example/v1")
#: A value of each wish that asks for something.
VALUES: dict[str, Any] = {
    "top_k": 40,
    "min_p": 0.1,
    "repeat_penalty": 1.2,
    "frequency_penalty": 0.5,
    "presence_penalty": 0.5,
    "logit_bias": {"1": 1},
    "n": 2,
    "logprobs": True,
    "top_logprobs": 2,
    "modalities": ["text", "image"],
    "audio": {"voice": "v"},
    "verbosity": "low",
    "parallel_tool_calls": False,
    "functions": [{"name": "f"}],
    "mcp_servers": [{"url": "u"}],
    "background": True,
    "inference_geo": "eu",
    "safety_settings": [{"category": "c", "threshold": "t"}],
    "context_management": {"edits": [{"type": "clear_tool_uses"}]},
    "cache_control": {"type": "ephemeral"},
    "metadata": {"a": "b"},
    "store": True,
}
_words = st.text('abc DEF.,{}"\\üß猫', min_size=1, max_size=12).filter(str.strip)
#: Objects are given to Gemini as such, and come back without their spaces.
_results = st.one_of(
    _words.filter(lambda text: "{" not in text), st.sampled_from(['""', "7", "[1]"])
)
_marks = st.sampled_from([None, None, {"type": "ephemeral"}])
#: What each vendor's models, and others, leave of a turn's thinking.
_THOUGHTS: tuple[tuple[dict[str, Any], ...], ...] = (
    (),
    ({"protocol": "text", "value": "hm"},),
    ({"protocol": "openai", "field": "reasoning_content", "value": "hm"},),
    (
        {
            "protocol": "anthropic",
            "block": {"type": "thinking", "thinking": "hm", "signature": "c2ln"},
        },
    ),
    (
        {
            "protocol": "openai-responses",
            "block": {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x"},
        },
    ),
    ({"protocol": "gemini", "call": 0, "thoughtSignature": "c2ln"},),
)
#: Forms of an answer: any JSON, one that every strict mode takes, one that none does.
_FORMS: tuple[dict[str, Any], ...] = (
    {},
    {
        "type": "object",
        "properties": {"at": {"type": "string"}},
        "required": ["at"],
        "additionalProperties": False,
    },
    {"type": "object", "properties": {"n": {"type": "integer", "minimum": 1}}},
)
_names = st.text("abcXYZ019_-./ ü", min_size=1, max_size=80).filter(str.strip)
_ids = st.one_of(st.text("abc019:._- ", max_size=50), st.just("call_0"))


@st.composite
def _requests(draw: st.DrawFn) -> ChatRequest:
    """A conversation that any protocol's callers may have: every call is answered."""
    names = draw(st.lists(_names, unique=True, max_size=3))
    messages: list[Message] = []
    if draw(st.booleans()):
        messages.append(Message.text_of("system", draw(_words)))
    for _ in range(draw(st.integers(1, 3))):
        parts: tuple[Part, ...] = (TextPart(draw(_words), draw(_marks)),)
        if draw(st.booleans()):
            parts += (MediaPart("image/png", data=draw(st.sampled_from(["iVBORAAA", "iVBORBBB"]))),)
        messages.append(Message("user", parts))
        if names and draw(st.booleans()):
            calls = []
            for n in range(draw(st.integers(1, 2))):
                arguments = json.dumps({"at": draw(_words), "n": n}, ensure_ascii=False)
                calls.append(ToolCall(draw(_ids), draw(st.sampled_from(names)), arguments))
            if len({call.id for call in calls}) < len(calls):
                calls = calls[:1]
            thought = draw(st.sampled_from(_THOUGHTS))
            messages.append(Message("assistant", (), tuple(calls), reasoning=thought))
            for call in calls:
                result: tuple[Part, ...] = (TextPart(draw(_results)),)
                if draw(st.booleans()):
                    result += (MediaPart("image/png", data="iVBORCCC"),)
                failed = draw(st.booleans())
                messages.append(
                    Message("tool", result, tool_call_id=call.id, name=call.name, is_error=failed)
                )
        messages.append(Message.text_of("assistant", draw(_words)))
        if draw(st.integers(0, 4)) == 0:
            messages.append(Message.text_of("system", draw(_words)))
    messages.append(Message.text_of("user", draw(_words)))
    schema = {"type": "object", "properties": {"at": {"type": "string"}}}
    return ChatRequest(
        tuple(messages),
        tuple(Tool(name, draw(_words), schema, cache=draw(_marks)) for name in names),
        draw(st.sampled_from([None, "auto", "none", "required", *names])) if names else None,
        draw(st.sampled_from([None, 50, 9_000])),
        draw(st.sampled_from([None, 0.0, 0.7, 1.9])),
        draw(st.sampled_from([None, 0.5])),
        draw(st.sampled_from([(), ("END",), ("a", "b", "c", "d", "e", "f")])),
        draw(st.sampled_from([None, 7])),
        json_mode=(form := draw(st.sampled_from([None, *_FORMS]))) is not None,
        json_schema=form or None,
        reasoning_effort=draw(st.sampled_from([None, "low", "high"])),
        stream=False,
    )


def _texts(request: ChatRequest) -> str:
    return "\n".join(_squeezed(message.text) for message in request.messages)


def _squeezed(text: str) -> str:
    return " ".join(text.split())


def _media(request: ChatRequest) -> list[str]:
    return [
        part.data or ""
        for message in request.messages
        for part in message.parts
        if isinstance(part, MediaPart)
    ]


def _calls(request: ChatRequest, renamed: dict[str, str]) -> Iterator[tuple[str, Any, str]]:
    """(function, arguments, what it gave) of each call, its result found by its id."""
    waiting: dict[str, tuple[str, Any]] = {}
    for message in request.messages:
        for call in message.tool_calls:
            name = renamed.get(call.name, call.name)
            waiting[call.id] = (name, json.loads(call.arguments))
        if message.role == "tool":
            name, arguments = waiting.pop(message.tool_call_id or "")
            yield name, arguments, _squeezed(message.text)
    assert not waiting, "a call without its result"


def _same(before: ChatRequest, after: ChatRequest, renamed: dict[str, str], told: str) -> None:
    """Both ask the same, but for what was told."""
    later = _texts(after)
    place = 0
    for message in before.messages:
        text = _squeezed(message.text)
        found = later.find(text, place)
        assert found >= 0, f"{text!r} is lost, or stands elsewhere in {later!r}"
        place = found
    assert sorted(_media(before)) == sorted(_media(after))
    for (name, arguments, gave), other in zip(
        _calls(before, {}), _calls(after, renamed), strict=True
    ):
        assert (name, arguments) == other[:2]
        assert gave in other[2]
    tools = [(renamed.get(t.name, t.name), t.description, t.parameters) for t in after.tools]
    kept = bool(before.tools) or after.tool_choice != "none"  # a history is given its tools
    if kept and "tool_choice" not in told and before.tool_choice != "none":
        assert tools == [(t.name, t.description, t.parameters) for t in before.tools]
    if "response_format" not in told and "form of the answer" not in told:
        assert before.json_mode == after.json_mode
        assert (before.json_schema is None) == (after.json_schema is None)
    for name in ("temperature", "top_p", "seed", "stop", "max_output_tokens", "reasoning_effort"):
        if getattr(before, name) != getattr(after, name):
            assert name in told or _thinks(name, before), (name, told)
    if before.tool_choice not in (None, "auto", "none") and before.tools:
        choice = renamed.get(after.tool_choice or "", after.tool_choice)
        assert choice == before.tool_choice or "tool_choice" in told


def _thinks(name: str, request: ChatRequest) -> bool:
    """A thinking budget of Claude's counts against its limit, which has a default, and stands for
    an effort."""
    if name == "max_output_tokens" and request.max_output_tokens is None:
        return True
    names = ("max_output_tokens", "reasoning_effort")
    return request.reasoning_effort is not None and name in names


def _through(parsed: Parsed, protocol: ProtocolName) -> tuple[Parsed, dict[str, str], str]:
    """As a provider of that protocol reads it, the names that were changed, what was told."""
    name = MODELS[protocol]
    model = ModelInfo(f"p/{name}", "p", name, name, badges=frozenset({"reasoning"}))
    call = written(parsed, model, protocol, HERE, stream=False)
    body = json.loads(call.body or b"")
    assert not broken(protocol, body, name)
    read = CALLERS[protocol].parse(body)
    return read, dict(call.renamed), " ".join(call.told)


@settings(max_examples=60, deadline=None)
@given(_requests(), _PROTOCOLS)
def test_there_and_back(meant: ChatRequest, here: ProtocolName) -> None:
    body = json.loads(adapter(here).build(meant, MODELS[here], HERE).body or b"")
    asked = CALLERS[here].parse(body)
    assert not asked.refused
    for there in CALLERS:
        read, renamed, told = _through(asked, there)
        assert not read.refused
        _same(asked.request, read.request, renamed, told)
        back, again, lost = _through(read, here)
        _same(read.request, back.request, again, lost)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(FEATURES), _PROTOCOLS, _PROTOCOLS)
def test_every_wish_is_carried_told_or_refused(
    feature: Feature, here: ProtocolName, there: ProtocolName
) -> None:
    path = CALLERS[here].reads.get(feature.name)
    if path is None or (feature.name == "parallel_tool_calls" and here == "anthropic"):
        return
    meant = ChatRequest(
        (Message.text_of("user", "hi"),), (Tool("f", "f", {"type": "object"}),), stream=False
    )
    body = json.loads(adapter(here).build(meant, MODELS[here], HERE).body or b"")
    value = VALUES.get(feature.name, "some")
    put(body, re.sub("generation_config", "generationConfig", path), value)
    asked = CALLERS[here].parse(body)
    assert asked.request.wishes[feature.name] == value
    if feature.lacking == "refused" and feature.name not in CALLERS[there].writes:
        with pytest.raises(BadRequest, match=feature.name):
            _through(asked, there)
        return
    read, _, told = _through(asked, there)
    carried = read.request.wishes.get(feature.name)
    assert carried == value or feature.name in told or isinstance(carried, list)


def _cut(messages: list[Message], draw: st.DrawFn) -> tuple[Message, ...]:
    """Some of the turns, as what trims or interrupts a history leaves them."""
    return tuple(m for m in messages if draw(st.integers(0, 3))) or tuple(messages[-1:])


@st.composite
def _torn(draw: st.DrawFn) -> ChatRequest:
    meant = draw(_requests())
    return replace(meant, messages=_cut(list(meant.messages), draw))


@settings(max_examples=40, deadline=None)
@given(_torn(), _PROTOCOLS)
def test_no_vendor_refuses_a_torn_history(torn: ChatRequest, there: ProtocolName) -> None:
    """Calls without results, results without calls, turns of one side only."""
    _through(Parsed(torn), there)


#: A schema's faults that vendors answer 400 to, and validators let pass.
_FAULTS: tuple[dict[str, Any], ...] = (
    {"type": "object", "properties": {"a": {"type": "array"}}},
    {"type": "object", "properties": {"a": {"type": ["array", "null"]}}},
    {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a", "a"]},
    {"type": "object", "properties": {"a": {"type": "string", "required": True}}},
    {"type": "object", "properties": {"a": {"anyOf": [{"type": ""}, {"type": "null"}]}}},
    {"type": "object", "properties": None},
    {"type": ["object", "null"], "properties": {}},
    {"enum": [{}], "properties": {}},
    {},
)


@pytest.mark.parametrize("schema", _FAULTS, ids=str)
@pytest.mark.parametrize("strict", [None, True])
def test_no_vendor_refuses_a_tools_schema(schema: dict[str, Any], strict: bool | None) -> None:
    asked = (Message.text_of("user", "hi"),)
    tools = (Tool("f", "f", schema, strict),)
    for there in CALLERS:
        _through(Parsed(ChatRequest(asked, tools, stream=False)), there)
