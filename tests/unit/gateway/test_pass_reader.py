"""A stream that passes by unread but for its head and tail is settled as one that is read whole."""

import re
from typing import Any

import pytest

from omni_cli.domain.chat import CompletionFolder
from omni_cli.domain.errors import ProviderError
from omni_cli.gateway.passing import KEPT, TAIL, PassedFolder, PassReader
from omni_cli.wire.registry import adapter
from tests.unit.providers.wire import Exchange, chats

STREAMS = [
    e for e in chats("openai", "anthropic") if e.stream and e.response["status"] == 200 and e.body
]
_EVENT = re.compile(rb"(?<=\n\n)|(?<=\n\r\n)")


class _Reading:
    """The part of a reading that takes chunks."""

    def __init__(self) -> None:
        self.folder = PassedFolder()

    @property
    def shown(self) -> bool:
        return self.folder.folded_chars() > 0

    def take(self, chunk: Any) -> None:
        self.folder.add(chunk)


def _reader(exchange: Exchange, reading: Any, *, whole: bool) -> PassReader:
    parsers = adapter(exchange.protocol)
    return PassReader(lambda: parsers.parser(stream=True), "sse", reading, whole=whole)


def _passed(exchange: Exchange, body: bytes, pieces: list[bytes]) -> PassedFolder | type[Exception]:
    reading: Any = _Reading()
    reader = _reader(exchange, reading, whole=False)
    assert b"".join(pieces) == body
    try:
        for piece in pieces:
            assert reader.feed(piece) == piece
        if reader.fault is not None:
            raise reader.fault
        reader.end()
    except ProviderError as exc:
        return type(exc)
    folder: PassedFolder = reading.folder
    return folder


def _whole(exchange: Exchange, body: bytes) -> CompletionFolder | type[Exception]:
    reading: Any = _Reading()
    reader = _reader(exchange, reading, whole=True)
    try:
        reader.feed(body)
        if reader.fault is not None:
            raise reader.fault
        reader.end()
    except ProviderError as exc:
        return type(exc)
    folder: CompletionFolder = reading.folder
    return folder


def _told(found: CompletionFolder | type[Exception]) -> object:
    if isinstance(found, type):
        return found
    return found.usage, found.finish_reason, found.raw_finish_reason


@pytest.mark.parametrize("exchange", STREAMS, ids=lambda e: e.id)
def test_recorded_streams_are_settled_alike(exchange: Exchange) -> None:
    body = exchange.body
    whole = _told(_whole(exchange, body))
    events = [event for event in _EVENT.split(body) if event]
    assert _told(_passed(exchange, body, events)) == whole
    bytes_of_7 = [body[at : at + 7] for at in range(0, len(body), 7)]
    assert _told(_passed(exchange, body, bytes_of_7)) == whole


def test_there_are_enough_recordings() -> None:
    assert len(STREAMS) > 25


def _is_text(exchange: Exchange) -> bool:
    """Not what a provider's own tools found, which comes in large events among the text."""
    found = _whole(exchange, exchange.body)
    texts = not isinstance(found, type) and len(found.completion().text) > 100
    return texts and b"_tool_result" not in exchange.body and b"mcp_tool" not in exchange.body


@pytest.mark.parametrize("exchange", [e for e in STREAMS if _is_text(e)], ids=lambda e: e.id)
def test_a_long_stream_is_settled_by_its_end(exchange: Exchange) -> None:
    """Longer than what is kept of it; the text that passed by is worked out from its bytes."""
    body = exchange.body
    whole = _whole(exchange, body)
    assert not isinstance(whole, type)
    events = [event for event in _EVENT.split(body) if event]
    deltas = [e for e in events if re.search(rb'"content":"[^"\\]|text_delta', e)]
    middle = deltas[len(deltas) // 2]
    count = 3 * TAIL // len(middle)
    at = events.index(middle)
    longer = [*events[:at], *[middle] * count, *events[at:]]
    body = b"".join(longer)
    found, read = _passed(exchange, body, longer), _whole(exchange, body)
    assert not isinstance(found, type)
    assert not isinstance(read, type)
    assert _told(found) == _told(whole)
    assert 0.8 < found.received_chars / read.received_chars < 1.3


@pytest.mark.parametrize("exchange", STREAMS, ids=lambda e: e.id)
def test_without_counts_a_passed_stream_is_estimated_as_one_that_is_read(
    exchange: Exchange,
) -> None:
    body = exchange.body
    read = _whole(exchange, body)
    found = _passed(exchange, body, [event for event in _EVENT.split(body) if event])
    if not isinstance(read, type) and not isinstance(found, type):
        assert found.estimated_tokens() == read.estimated_tokens()
        assert found.received_chars == read.received_chars
        assert found.most_tokens() == read.most_tokens()


@pytest.mark.slow
def test_a_stream_too_long_to_keep_is_estimated_by_what_was_kept() -> None:
    words = [b"Budgets", b" hold,", b" whatever", b" the", b" weather.\n"]
    events = [
        b'data: {"id":"1","choices":[{"index":0,"delta":{"content":"%b"}}]}\n\n'
        % words[n % len(words)].replace(b"\n", b"\\n")
        for n in range(3 * KEPT // 60)
    ]
    exchange = next(e for e in STREAMS if e.protocol == "openai")
    body = b"".join([*events, b"data: [DONE]\n\n"])
    found = _passed(exchange, body, [*events, b"data: [DONE]\n\n"])
    read = _whole(exchange, body)
    assert not isinstance(found, type)
    assert not isinstance(read, type)
    assert abs(found.estimated_tokens() / read.estimated_tokens() - 1) < 0.01
    bound, least = found.most_tokens(), read.most_tokens()
    assert bound is not None
    assert least is not None
    assert bound >= least


def _passed_of_openai(body: bytes) -> Any:
    exchange = next(e for e in STREAMS if e.protocol == "openai")
    return _passed(exchange, body, [event for event in _EVENT.split(body) if event])


def test_an_end_without_usage_is_read_too() -> None:
    found = _passed_of_openai(
        b'data: {"id":"1","choices":[{"index":0,"delta":{"content":"Yes"}}]}\n\n'
        b'data: {"id":"1","choices":[{"index":0,"delta":{"content":" \\"usage\\":{"}}]}\n\n'
        b'data: {"id":"1","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
        b"data: [DONE]\n\n"
    )
    assert not isinstance(found, type)
    assert (found.usage, found.finish_reason) == (None, "stop")


def test_an_error_at_the_end_is_told() -> None:
    found = _passed_of_openai(
        b'data: {"id":"1","choices":[{"index":0,"delta":{"content":"Yes"}}]}\n\n'
        b'data: {"id":"1","choices":[{"index":0,"delta":{},"finish_reason":"stop"}],'
        b'"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}\n\n'
        b'data: {"error":{"message":"overloaded","code":503}}\n\n'
    )
    assert isinstance(found, type)
