"""Broken answers at every adapter: typed errors or a normal end, never another exception.

Real recorded answers are truncated, reordered, duplicated, sprinkled with values of wrong types
and with garbage; hypothesis draws how, from a fixed seed (requirements A1, B6).
"""

import json
import random
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from omni_cli.domain.chat import ChatChunk, Completion, CompletionFolder
from omni_cli.domain.errors import ProviderError
from omni_cli.domain.models import ProtocolName
from omni_cli.ports import HttpCall, WireEvent
from omni_cli.wire import registry
from omni_cli.wire.bedrock.framing import message
from omni_cli.wire.framing import splitter
from omni_cli.wire.reader import AnswerReader
from omni_cli.wire.registry import adapter
from tests.paths import REPO
from tests.unit.providers.wire import chats, wire_of

FUZZ = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
#: What a field may turn into.
WRONG: tuple[Any, ...] = (
    None,
    True,
    -1,
    10**30,
    1e308,
    "",
    "text",
    [],
    [None],
    [[{}]],
    {},
    {"type": []},
    "\ud800",
    "NaN",
)


@cache
def samples(protocol: ProtocolName) -> tuple[tuple[bytes, bool], ...]:
    """(body, streamed) of short recorded answers, and of the contract's own."""
    found = [
        (exchange.body, exchange.stream)
        for exchange in chats(protocol)
        if len(exchange.body) < 6000 and exchange.response["status"] == 200
    ]
    cases = json.loads((REPO / "fixtures" / protocol / "answers.json").read_text())
    found += [(wire_of(case), case["stream"]) for case in cases]
    return tuple(found)


def framing_of(protocol: ProtocolName, streamed: bool) -> Any:
    if not streamed:
        return "json"
    return {"ollama": "ndjson", "bedrock": "aws"}.get(protocol, "sse")


def read(protocol: ProtocolName, body: bytes, streamed: bool) -> Completion | None:
    """The completion, or None after a typed error; another exception fails the test."""
    call = HttpCall("POST", "http://test/", {}, None, framing_of(protocol, streamed))
    reader = AnswerReader(adapter(protocol), call)
    folder = CompletionFolder()
    try:
        for piece in (body[: len(body) // 2], body[len(body) // 2 :]):
            for chunk in reader.feed(piece):
                folder.add(check(chunk))
        for chunk in reader.end():
            folder.add(check(chunk))
    except ProviderError as error:
        caught = error
    else:
        return folder.completion()
    assert caught.message
    assert "\n" not in caught.message
    str(caught).encode()
    return None


def check(chunk: ChatChunk) -> ChatChunk:
    """A chunk of well-typed fields that can be printed and stored."""
    for text in (chunk.text, chunk.reasoning, chunk.raw_finish_reason, chunk.model):
        assert text is None or isinstance(text, str)
        (text or "").encode()
    for call in chunk.tool_calls:
        assert isinstance(call.arguments, str)
        f"{call.id}{call.name}{call.arguments}".encode()
    if (usage := chunk.usage) is not None:
        assert 0 <= usage.cached_tokens <= usage.input_tokens
        assert 0 <= usage.cache_write_1h_tokens <= usage.cache_write_tokens <= usage.input_tokens
        assert 0 <= usage.reasoning_tokens <= usage.output_tokens
    return chunk


def events_of(protocol: ProtocolName, body: bytes) -> list[bytes]:
    if protocol == "bedrock":
        return list(_messages(body))
    separator = b"\n" if protocol == "ollama" else b"\n\n"
    return [event + separator for event in body.split(separator) if event.strip()]


def _messages(body: bytes) -> Iterator[bytes]:
    """Amazon's binary messages: each begins with its length."""
    while len(body) > 4:
        size = int.from_bytes(body[:4])
        yield body[:size]
        body = body[max(size, 1) :]


protocols = pytest.mark.parametrize("protocol", registry.protocols())


@protocols
def test_samples_are_read_at_all(protocol: ProtocolName) -> None:
    whole = [read(protocol, body, streamed) for body, streamed in samples(protocol)]
    assert any(completion and completion.finish_reason for completion in whole)


@protocols
@FUZZ
@given(data=st.data())
def test_truncated(protocol: ProtocolName, data: st.DataObject) -> None:
    body, streamed = data.draw(st.sampled_from(samples(protocol)))
    whole = read(protocol, body, streamed)
    cut = body[: data.draw(st.integers(0, max(len(body) - 1, 0)))]
    found = read(protocol, cut, streamed)
    if found is None or whole is None:  # an error after the end marker may be cut away
        return
    # A cut answer may only pass when nothing but what follows its end marker is missing.
    assert found.finish_reason is not None
    assert (found.text, found.reasoning, found.tool_calls) == (
        whole.text,
        whole.reasoning,
        whole.tool_calls,
    )
    assert found.finish_reason == whole.finish_reason


@protocols
@FUZZ
@given(data=st.data())
def test_reordered_and_duplicated(protocol: ProtocolName, data: st.DataObject) -> None:
    body, streamed = data.draw(st.sampled_from(samples(protocol)))
    events = events_of(protocol, body)
    shuffled = data.draw(st.permutations(events)) if events else []
    repeated = data.draw(st.lists(st.sampled_from(events), max_size=3)) if events else []
    read(protocol, b"".join(shuffled + repeated), streamed)


@protocols
@FUZZ
@given(data=st.data())
def test_wrong_types(protocol: ProtocolName, data: st.DataObject) -> None:
    body, streamed = data.draw(st.sampled_from(samples(protocol)))
    chance = random.Random(data.draw(st.integers(0, 2**32)))
    mutated = b""
    if protocol == "bedrock" and streamed:
        for event in splitter("aws").feed(body):
            value = spoiled(json.loads(event.data), chance)
            mutated += message(event.name, json.dumps(value).encode())
        read(protocol, mutated, streamed)
        return
    for event in events_of(protocol, body) if streamed else [body]:
        head, brace, rest = event.partition(b"{")
        try:
            value = json.loads(brace + rest)
        except ValueError:
            mutated += event
            continue
        text = json.dumps(spoiled(value, chance))
        mutated += head + text.encode() + (b"\n" if protocol == "ollama" else b"\n\n")
    read(protocol, mutated, streamed)


def spoiled(value: Any, chance: random.Random) -> Any:
    """``value`` with a few of its parts replaced, dropped or wrapped."""
    if chance.random() < 0.06:
        return chance.choice(WRONG)
    if isinstance(value, dict):
        kept = {key: spoiled(item, chance) for key, item in value.items()}
        return {key: item for key, item in kept.items() if chance.random() > 0.03}
    if isinstance(value, list):
        items = [spoiled(item, chance) for item in value]
        return items * 2 if chance.random() < 0.05 else items
    return value


@protocols
@FUZZ
@given(data=st.data())
def test_garbage(protocol: ProtocolName, data: st.DataObject) -> None:
    body, streamed = data.draw(st.sampled_from(samples(protocol)))
    noise = data.draw(
        st.one_of(
            st.binary(max_size=40),
            st.sampled_from([b"data: \n\n", b"{}\n\n", b"data: []\n\n", b"null\n", b"\xff\xfe"]),
            st.just(b"data: " + b"[" * 5000 + b"\n\n"),
        )
    )
    at = data.draw(st.integers(0, len(body)))
    read(protocol, body[:at] + noise + body[at:], streamed)
    read(protocol, noise, streamed)


@protocols
@FUZZ
@given(status=st.integers(300, 599), body=st.one_of(st.text(max_size=80), st.from_type(type(None))))
def test_error_bodies(protocol: ProtocolName, status: int, body: str | None) -> None:
    for text in (body or "", json.dumps({"error": body}), json.dumps([{"error": {"code": body}}])):
        error = adapter(protocol).explain(status, {"retry-after": body or "x"}, text)
        assert isinstance(error, ProviderError)
        assert error.message
        assert error.retry_after_s is None or 0 <= error.retry_after_s <= 86_400


@FUZZ
@given(
    cuts=st.lists(st.integers(0, 200), max_size=8),
    body=st.lists(
        st.sampled_from(
            [
                *(b"data: a", b"data:b", b"event: x", b": note", b"id: 3", b"data", b""),
                *(b"\r", b"\n", b"\r\n", b"\xe2\x82", b"\xef\xbb\xbf"),
                "data: é\u2028💡".encode(),
            ]
        ),
        max_size=24,
    ).map(b"".join),
)
@pytest.mark.parametrize("framing", ["sse", "ndjson", "json"])
def test_where_the_bytes_are_cut_does_not_matter(
    framing: Any, body: bytes, cuts: list[int]
) -> None:
    whole = splitter(framing)
    expected = [*whole.feed(body), *whole.finish()]
    parted = splitter(framing)
    found: list[WireEvent] = []
    edges = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
    for start, end in pairwise(edges):
        found += parted.feed(body[start:end])
    assert [*found, *parted.finish()] == expected
