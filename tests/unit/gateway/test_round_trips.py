"""What a caller's side writes, the provider's side of the same protocol reads; and back."""

import contextlib
import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omni_cli.domain.chat import (
    ChatChunk,
    ChatRequest,
    Completion,
    FinishReason,
    MediaPart,
    Message,
    TextPart,
    Tool,
    ToolCall,
    ToolCallDelta,
    Usage,
)
from omni_cli.domain.errors import BadRequest
from omni_cli.domain.models import ProtocolName
from omni_cli.ports import Endpoint, HttpCall
from omni_cli.wire.reader import AnswerReader
from omni_cli.wire.registry import adapter, callers
from omni_cli.wire.server import Answered, Caller

OPENAI, RESPONSES, ANTHROPIC, OLLAMA, GEMINI = CALLERS = tuple(
    callers(name)[0] for name in ("openai", "openai-responses", "anthropic", "ollama", "gemini")
)
ABOUT = Answered("id-1", "some/model", 1_790_000_000, {"stream_options": {"include_usage": True}})
_TEXT = st.text(
    st.characters(exclude_categories=("Cs",), exclude_characters="\x00"), min_size=1, max_size=20
)
_FINISH = st.sampled_from(["stop", "length"])


def _name(caller: Caller) -> ProtocolName:
    return caller.name


def _read(caller: Caller, body: bytes, *, stream: bool, pieces: int = 1) -> Completion:
    found = adapter(_name(caller))
    framing: Any = "json"
    if stream:
        framing = "ndjson" if caller.name == "ollama" else "sse"
    reader = AnswerReader(found, HttpCall("POST", "http://x/", {}, None, framing))
    chunks: list[ChatChunk] = []
    size = max(len(body) // pieces, 1)
    for start in range(0, len(body), size):
        chunks += reader.feed(body[start : start + size])
    chunks += reader.end()
    return Completion.from_chunks(chunks)


def _same(caller: Caller, got: Completion, meant: Completion) -> None:
    assert got.text == meant.text
    assert got.finish_reason == meant.finish_reason
    assert [(c.name, json.loads(c.arguments)) for c in got.tool_calls] == [
        (c.name, json.loads(c.arguments)) for c in meant.tool_calls
    ]
    if caller is not OLLAMA:
        assert [c.id for c in got.tool_calls] == [c.id for c in meant.tool_calls]
    assert got.usage is not None
    assert meant.usage is not None
    assert got.usage.input_tokens == meant.usage.input_tokens
    assert got.usage.output_tokens == meant.usage.output_tokens
    if caller is not OLLAMA:
        assert got.usage.cached_tokens == meant.usage.cached_tokens


@pytest.mark.parametrize("caller", CALLERS, ids=lambda c: c.name)
@settings(max_examples=25, deadline=None)
@given(
    texts=st.lists(_TEXT, max_size=5),
    thoughts=st.lists(_TEXT, max_size=2),
    calls=st.lists(st.dictionaries(_TEXT, st.integers(), max_size=3), max_size=2),
    finish=_FINISH,
    pieces=st.integers(1, 9),
)
def test_answers_are_read_as_they_were_meant(
    caller: Caller,
    texts: Sequence[str],
    thoughts: Sequence[str],
    calls: Sequence[dict[str, int]],
    finish: FinishReason,
    pieces: int,
) -> None:
    usage = Usage(input_tokens=90, cached_tokens=40, output_tokens=30, reasoning_tokens=5)
    chunks = [ChatChunk(reasoning=text) for text in thoughts]
    chunks += [ChatChunk(text=text) for text in texts]
    for index, arguments in enumerate(calls):
        written = json.dumps(arguments)
        head = ToolCallDelta(index, f"call_{index}", f"tool_{index}")
        chunks.append(ChatChunk(tool_calls=(head,)))
        chunks.append(ChatChunk(tool_calls=(ToolCallDelta(index, arguments=written[:3]),)))
        chunks.append(ChatChunk(tool_calls=(ToolCallDelta(index, arguments=written[3:]),)))
    if not (texts or calls):  # of Gemini's an answer with nothing in it is none
        chunks.append(ChatChunk(text="-"))
    reason: FinishReason = "tool_calls" if calls else finish
    chunks.append(ChatChunk(usage=usage, finish_reason=reason))
    meant = Completion.from_chunks(chunks)
    writer = caller.writer(ABOUT)
    stream = b"".join(writer.chunk(chunk) for chunk in chunks) + writer.end(meant)
    _same(caller, _read(caller, stream, stream=True, pieces=pieces), meant)
    _same(caller, _read(caller, caller.whole(meant, ABOUT), stream=False), meant)


def _request(caller: Caller) -> ChatRequest:
    call = ToolCall("call_1", "look", '{"at":1}')
    return ChatRequest(
        messages=(
            Message.text_of("system", "Be brief."),
            Message("user", (TextPart("What is this?"), MediaPart("image/png", data="iVBORw0K"))),
            Message("assistant", (TextPart("Let me see."),), (call,)),
            Message(
                "tool",
                (TextPart("a cat"),),
                tool_call_id="call_1" if caller is not OLLAMA else "call_0",
                name="look" if caller in (OLLAMA, GEMINI) else None,
            ),
        ),
        tools=(Tool("look", "looks", {"type": "object", "properties": {"at": {}}}),),
        max_output_tokens=50,
        temperature=0.5,
        top_p=0.9,
        stop=() if caller is RESPONSES else ("END",),
        json_schema={"type": "object", "properties": {}, "additionalProperties": False},
        stream=False,
    )


@pytest.mark.parametrize("caller", CALLERS, ids=lambda c: c.name)
def test_requests_are_understood_as_the_adapter_writes_them(caller: Caller) -> None:
    meant = _request(caller)
    call = adapter(_name(caller)).build(meant, "a-model", Endpoint("http://x/v1"))
    parsed = caller.parse(json.loads(call.body or b""))
    assert parsed.left == ()
    got = parsed.request
    assert [(m.role, m.text) for m in got.messages] == [(m.role, m.text) for m in meant.messages]
    assert got.has_images
    (made,) = got.messages[2].tool_calls
    assert (made.name, json.loads(made.arguments)) == ("look", {"at": 1})
    assert got.messages[3].tool_call_id == made.id
    assert [(t.name, t.parameters) for t in got.tools] == [
        (t.name, t.parameters) for t in meant.tools
    ]
    for name in ("max_output_tokens", "temperature", "top_p", "stop", "json_schema"):
        assert getattr(got, name) == getattr(meant, name), name


_INNER = (
    "model",
    "messages",
    "role",
    "content",
    "type",
    "text",
    "tools",
    "function",
    "name",
    "parts",
    "contents",
    "input",
    "tool_calls",
    "arguments",
    "image_url",
    "source",
    "tool_choice",
    "system",
    "options",
    "user",
)
_OUTER = (
    "messages",
    "contents",
    "input",
    "tools",
    "tool_choice",
    "system",
    "max_tokens",
    "options",
    "stream",
    "stop",
    "generationConfig",
    "systemInstruction",
    "text",
    "reasoning",
    "thinking",
    "response_format",
)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(_INNER),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@pytest.mark.parametrize("caller", CALLERS, ids=lambda c: c.name)
@settings(max_examples=80, deadline=None)
@given(
    body=st.dictionaries(
        st.sampled_from(_OUTER),
        _JSON,
    )
)
def test_no_body_breaks_the_reader(caller: Caller, body: dict[str, Any]) -> None:
    body.setdefault("max_tokens", 5)
    with contextlib.suppress(BadRequest):
        caller.parse(body)
