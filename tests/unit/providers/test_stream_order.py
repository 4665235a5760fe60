"""Tool calls whose pieces come mixed reach every caller whole, named and under their own ids."""

import json
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omni_cli.domain.chat import ChatChunk, Completion
from omni_cli.domain.errors import Malformed, Overloaded, ProviderError
from omni_cli.domain.models import ProtocolName
from omni_cli.ports import AnswerParser, HttpCall, WireEvent
from omni_cli.wire.reader import AnswerReader
from omni_cli.wire.registry import adapter, callers
from omni_cli.wire.server import Answered

CALLERS = ("openai", "openai-responses", "anthropic", "gemini", "ollama")
ABOUT = Answered("id-1", "some/model", 1_790_000_000, {"stream_options": {"include_usage": True}})


def delta(index: int | None, call_id: str | None, name: str | None, text: str) -> dict[str, Any]:
    call: dict[str, Any] = {"function": {"arguments": text}}
    if index is not None:
        call["index"] = index
    if call_id is not None:
        call["id"] = call_id
    if name is not None:
        call["function"]["name"] = name
    return call


def chunks_of(*deltas: dict[str, Any], finish: str | None = "tool_calls") -> list[ChatChunk]:
    """A Chat Completions stream as it is read."""
    parser = adapter("openai").parser(stream=True)
    events = [{"choices": [{"index": 0, "delta": d}]} for d in deltas]
    if finish is not None:
        events.append({"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]})
    events.append({"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2}})
    return read_all(parser, events)


def read_all(parser: AnswerParser, events: list[dict[str, Any]]) -> list[ChatChunk]:
    found: list[ChatChunk] = []
    for event in events:
        found += parser.feed(WireEvent(json.dumps(event)))
    found += parser.finish()
    return found


def told(caller: str, chunks: list[ChatChunk]) -> Completion:
    """What a client of that protocol reads of the answer that omni writes to it."""
    protocol: Any = caller
    writer = callers(protocol)[0].writer(ABOUT)
    body = b"".join(writer.chunk(chunk) for chunk in chunks)
    body += writer.end(Completion.from_chunks(chunks))
    framing: Any = "ndjson" if caller == "ollama" else "sse"
    reader = AnswerReader(adapter(protocol), HttpCall("POST", "http://x/", {}, None, framing))
    return Completion.from_chunks([*reader.feed(body), *reader.end()])


def calls_of(completion: Completion) -> list[tuple[str, Any]]:
    return [(call.name, json.loads(call.arguments)) for call in completion.tool_calls]


READ, LIST = ("read", {"p": "a"}), ("list", {"d": "b"})


def one(*calls: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"tool_calls": list(calls), **more}


@pytest.mark.parametrize("caller", CALLERS)
@pytest.mark.parametrize(
    ("deltas", "right"),
    [
        (  # their pieces alternate
            [
                one(delta(0, "a", "read", "")), one(delta(1, "b", "list", "")),
                one(delta(0, None, None, '{"p":')), one(delta(1, None, None, '{"d":')),
                one(delta(0, None, None, '"a"}')), one(delta(1, None, None, '"b"}')),
            ],
            [READ, LIST],
        ),
        (  # both in one piece
            [
                one(delta(0, "a", "read", '{"p":'), delta(1, "b", "list", '{"d":')),
                one(delta(1, None, None, '"b"}'), delta(0, None, None, '"a"}')),
            ],
            [READ, LIST],
        ),
        (  # text within a call
            [one(delta(0, "a", "read", '{"p":')), {"content": "\n"},
             one(delta(0, None, None, '"a"}')), one(delta(1, "b", "list", '{"d":"b"}'))],
            [READ, LIST],
        ),
        (  # the word "null"
            [one(delta(0, "a", "read", "")), one(delta(0, "null", "null", '{"p":"a"}'))],
            [READ],
        ),
        (  # a name that comes late, and an id that comes later
            [one(delta(0, "a", None, "")), one(delta(0, None, "read", '{"p":"a"}'))],
            [READ],
        ),
        (
            [one(delta(0, None, "read", '{"p":')), one(delta(0, "late", None, '"a"}'))],
            [READ],
        ),
        (  # a new id with each piece
            [one(delta(0, "x1", "read", "")), one(delta(0, "x2", None, '{"p":"a"}'))],
            [READ],
        ),
        (  # all numbered 0: told apart by ids, by names, by whole arguments
            [one(delta(0, "a", "read", '{"p":"a"}')), one(delta(0, "b", "list", '{"d":"b"}'))],
            [READ, LIST],
        ),
        (
            [one(delta(0, None, "read", '{"p":"a"}')), one(delta(0, None, "list", '{"d":"b"}'))],
            [READ, LIST],
        ),
        (
            [one(delta(0, None, "read", '{"p":"a"}')), one(delta(0, None, "read", '{"p":"c"}'))],
            [READ, ("read", {"p": "c"})],
        ),
        (  # the name again with each piece
            [one(delta(0, "a", "read", '{"p":')), one(delta(0, "a", "read", '"a"}'))],
            [READ],
        ),
        (  # no numbers
            [one(delta(None, "a", "read", '{"p":')), one(delta(None, None, None, '"a"}')),
             one(delta(None, "b", "list", '{"d":"b"}'))],
            [READ, LIST],
        ),
        ([one(delta(0, "", "now", ""))], [("now", {})]),
        (  # nothing to say to the first, and the second is there
            [one(delta(0, "a", "now", ""), delta(1, "b", "list", '{"d":"b"}'))],
            [("now", {}), LIST],
        ),
    ],
)  # fmt: skip
def test_calls_reach_every_caller_whole(
    caller: str, deltas: list[dict[str, Any]], right: list[tuple[str, Any]]
) -> None:
    found = told(caller, chunks_of(*deltas))
    assert sorted(calls_of(found), key=str) == sorted(right, key=str)
    ids = [call.id for call in found.tool_calls]
    assert all(ids)
    assert len(set(ids)) == len(ids)
    assert "null" not in ids


_JSON = st.dictionaries(st.sampled_from("pqr"), st.text(max_size=12) | st.integers(), max_size=3)


@pytest.mark.parametrize("caller", CALLERS)
@settings(max_examples=40, deadline=None)
@given(
    made=st.lists(st.tuples(st.sampled_from(["read", "list", "now"]), _JSON), max_size=3),
    texts=st.lists(st.text("ab \n", min_size=1, max_size=4), max_size=3),
    seed=st.integers(0, 2**16),
    ids=st.booleans(),
)
def test_any_order_of_pieces_means_the_same(
    caller: str, made: list[tuple[str, Any]], texts: list[str], seed: int, ids: bool
) -> None:
    rng = random.Random(seed)
    queues: list[list[dict[str, Any]]] = []
    for number, (name, value) in enumerate(made):
        text = json.dumps(value)
        cuts = sorted(rng.randrange(len(text) + 1) for _ in range(2))
        pieces = [text[: cuts[0]], text[cuts[0] : cuts[1]], text[cuts[1] :]]
        first = delta(number, f"call_{number}" if ids else None, name, pieces[0])
        queues.append([one(first), *(one(delta(number, None, None, p)) for p in pieces[1:])])
    if texts:
        queues.append([{"content": text} for text in texts])
    deltas: list[dict[str, Any]] = []
    while queues:
        queue = rng.choice(queues)
        deltas.append(queue.pop(0))
        queues = [q for q in queues if q]
    deltas = deltas or [{"content": "-"}]
    texts = texts if made or texts else ["-"]
    chunks = chunks_of(*deltas, finish="tool_calls" if made else "stop")
    found = told(caller, chunks)
    assert sorted(calls_of(found), key=str) == sorted(made, key=str)
    assert found.text == "".join(texts)


def test_two_answers_never_share_a_made_id() -> None:
    def ids(protocol: ProtocolName, event: dict[str, Any]) -> list[str]:
        parser = adapter(protocol).parser(stream=False)
        found = Completion.from_chunks(read_all(parser, [event]))
        return [call.id for call in found.tool_calls]

    function = {"name": "read", "arguments": {}}
    chat = {"choices": [{"message": {"tool_calls": [{"id": "", "function": function}]}}]}
    lines = {"message": {"tool_calls": [{"function": function}]}, "done": True}
    part = {"functionCall": {"name": "read", "args": {}}}
    content = {"candidates": [{"content": {"parts": [part]}, "finishReason": "STOP"}]}
    for protocol, event in (("openai", chat), ("ollama", lines), ("gemini", content)):
        first, second = ids(protocol, event), ids(protocol, event)
        assert first != second
        assert all([*first, *second])


def content_of(finish: str, *parts: dict[str, Any]) -> dict[str, Any]:
    return {"candidates": [{"content": {"parts": list(parts)}, "finishReason": finish}]}


def choice_of(finish: str, text: str = "") -> dict[str, Any]:
    choice = {"index": 0, "finish_reason": finish}
    return {"choices": [{**choice, "message": {"content": text}, "delta": {"content": text}}]}


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("protocol", "event", "fault"),
    [
        ("openai", choice_of("error"), Overloaded),
        ("openai", choice_of("error", "half of it"), Overloaded),
        ("openai", choice_of("insufficient_system_resource"), Overloaded),
        ("openai", choice_of("abort"), Overloaded),
        ("gemini", content_of("STOP"), Malformed),
        ("gemini", content_of("STOP", {"text": "hm", "thought": True}), Malformed),
        ("gemini", content_of("MALFORMED_FUNCTION_CALL"), Overloaded),
        ("gemini", content_of("UNEXPECTED_TOOL_CALL"), Overloaded),
        ("gemini", content_of("OTHER", {"text": "half of it"}), Overloaded),
        ("gemini", content_of("A_REASON_OF_TOMORROW"), Overloaded),
        ("openai", choice_of("stop"), None),  # a model may say nothing
        ("openai", choice_of("length", "half of it"), None),
        ("gemini", content_of("STOP", {"text": "all of it"}), None),
        ("gemini", content_of("MAX_TOKENS"), None),
        ("gemini", content_of("SAFETY"), None),
    ],
)
def test_an_end_is_told_as_what_it_is(
    protocol: ProtocolName, event: dict[str, Any], fault: type[ProviderError] | None, stream: bool
) -> None:
    parser = adapter(protocol).parser(stream=stream)
    if fault is None:
        assert read_all(parser, [event])
        return
    with pytest.raises(fault):
        read_all(parser, [event])


def test_a_whole_answer_that_failed_shows_nothing_and_is_charged() -> None:
    parser = adapter("openai").parser(stream=False)
    event = {**choice_of("error", "half of it"), "usage": {"prompt_tokens": 9}}
    (chunk,) = parser.feed(WireEvent(json.dumps(event)))
    assert not chunk.has_content
    assert chunk.usage is not None
    with pytest.raises(Overloaded):
        list(parser.finish())


@pytest.mark.parametrize("caller", CALLERS)
def test_a_refusal_is_no_normal_answer(caller: str) -> None:
    parser = adapter("anthropic").parser(stream=False)
    event = {"type": "message", "content": [], "stop_reason": "refusal", "usage": {}}
    found = told(caller, read_all(parser, [event]))
    assert found.finish_reason in ("refusal", "content_filter")


# --- what servers that copy a protocol leave out, double or add -----------------------------------

_CALL = {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "read"}
_WHOLE = {**_CALL, "arguments": '{"p":"a"}'}
_SAID = {"type": "message", "content": [{"type": "output_text", "text": "ab"}]}
_ADDED = {"type": "response.output_item.added", "item": {**_CALL, "arguments": ""}}


def _completed(*output: Any) -> dict[str, Any]:
    return {
        "type": "response.completed",
        "response": {"status": "completed", "output": list(output), "usage": {"input_tokens": 1}},
    }


_BLOCK = {"type": "tool_use", "id": "toolu_1", "name": "read", "input": {}}
_USED = [
    {"type": "message_start", "message": {"usage": {"input_tokens": 1}}},
    {"type": "content_block_start", "index": 0, "content_block": _BLOCK},
    {
        "type": "content_block_delta",
        "index": 0,
        "delta": {"type": "input_json_delta", "partial_json": '{"p":"a"}'},
    },
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}},
    {"type": "message_stop"},
]
_DONE = {"type": "response.output_item.done", "item": _WHOLE}
COPIES: dict[str, tuple[ProtocolName, list[dict[str, Any]], str, int]] = {
    "responses: arguments only with their end": (
        "openai-responses",
        [
            {**_ADDED, "output_index": 0},
            {
                "type": "response.function_call_arguments.done",
                "output_index": 0,
                "arguments": '{"p":"a"}',
            },
            _completed(_WHOLE),
        ],
        "",
        1,
    ),
    "responses: nothing but the end": ("openai-responses", [_completed(_SAID, _WHOLE)], "ab", 1),
    "responses: text only with its end": (
        "openai-responses",
        [
            {"type": "response.output_item.added", "output_index": 0, "item": {"type": "message"}},
            {"type": "response.output_item.done", "output_index": 0, "item": _SAID},
            _completed(_SAID),
        ],
        "ab",
        0,
    ),
    "responses: items without numbers": (
        "openai-responses",
        [
            _ADDED,
            {
                "type": "response.function_call_arguments.delta",
                "item_id": "fc_1",
                "delta": '{"p":"a"}',
            },
            _DONE,
            _completed(_WHOLE),
        ],
        "",
        1,
    ),
    "messages: end_turn with a call": ("anthropic", _USED, "", 1),
}


@pytest.mark.parametrize("caller", CALLERS)
@pytest.mark.parametrize("copy", COPIES)
def test_copies_of_a_protocol(copy: str, caller: str) -> None:
    """vercel/ai, LiteLLM, GLM's and other servers; new-api adds [DONE] to every protocol."""
    protocol, events, text, calls = COPIES[copy]
    parser = adapter(protocol).parser(stream=True)
    found = [chunk for event in events for chunk in parser.feed(WireEvent(json.dumps(event)))]
    found += [*parser.feed(WireEvent("[DONE]")), *parser.finish()]
    got = told(caller, found)
    assert got.text == text
    assert [(c.name, json.loads(c.arguments)) for c in got.tool_calls] == [
        ("read", {"p": "a"})
    ] * calls
    assert got.finish_reason == ("tool_calls" if calls else "stop")


DOUBLED = {
    "the whole call again": [
        delta(0, "a", "read", '{"p":'),
        delta(0, None, None, '"a"}'),
        delta(0, "a", "read", '{"p":"a"}'),
    ],
    "one id for two": [delta(0, "a", "read", '{"p":"a"}'), delta(1, "a", "read", '{"p":"a"}')],
}


@pytest.mark.parametrize("caller", CALLERS)
@pytest.mark.parametrize("way", DOUBLED)
def test_what_is_told_twice_is_read_once(way: str, caller: str) -> None:
    got = told(caller, chunks_of(*({"tool_calls": [d]} for d in DOUBLED[way])))
    calls = 2 if "two" in way else 1
    assert [(c.name, json.loads(c.arguments)) for c in got.tool_calls] == [
        ("read", {"p": "a"})
    ] * calls
    assert len({call.id for call in got.tool_calls}) == calls


@pytest.mark.parametrize("caller", CALLERS)
@pytest.mark.parametrize("word", ["{}", "null", ""])
def test_a_call_without_arguments_has_an_object(word: str, caller: str) -> None:
    got = told(caller, chunks_of({"tool_calls": [delta(0, "a", "now", word)]}))
    assert [json.loads(c.arguments or "0") for c in got.tool_calls] in ([{}], [None])
