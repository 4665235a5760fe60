"""Cutting a body into events (WHATWG HTML, "Server-sent events")."""

import pytest

from omni_cli.domain.errors import Malformed
from omni_cli.ports import Framing, WireEvent
from omni_cli.wire.framing import splitter


def _events(framing: Framing, *pieces: bytes, max_bytes: int = 1000) -> list[WireEvent]:
    parts = splitter(framing, max_bytes)
    found: list[WireEvent] = []
    for piece in pieces:
        found += parts.feed(piece)
    return [*found, *parts.finish()]


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        ([b"data: a\n\ndata: b\n\n"], [("a", ""), ("b", "")]),
        ([b"event: x\r\ndata: a\r\n\r\n"], [("a", "x")]),
        ([b"data: a\r", b"\ndata: b\r", b"\r"], [("a\nb", "")]),
        ([b"\xef", b"\xbb\xbfdata: a\n\n"], [("a", "")]),
        ([b"data: a\ndata:\ndata: b\n\n"], [("a\n\nb", "")]),
        ([b"data\n\n"], [("", "")]),
        ([b": comment\n\n: another\n\ndata: a\n\n"], [("a", "")]),
        ([b"data: \xf0\x9f", b"\x92\xa1\n\n"], [("💡", "")]),
        (["data: a\u2028b\u0085c\n\n".encode()], [("a\u2028b\u0085c", "")]),
        ([b"data: last, without its blank line"], [("last, without its blank line", "")]),
        ([b"data:  two spaces\n\n"], [(" two spaces", "")]),
        ([b"event: ping\n\ndata: a\n\n"], [("a", "")]),
        ([b"id: 1\nretry: 5\ndatabase: x\ndata: a\n\n"], [("a", "")]),
        ([b"data: \xff\n\n"], [("\ufffd", "")]),
        ([b""], []),
    ],
)
def test_server_sent_events(pieces: list[bytes], expected: list[tuple[str, str]]) -> None:
    assert [(event.data, event.name) for event in _events("sse", *pieces)] == expected


def test_newline_delimited_json() -> None:
    found = _events("ndjson", b'{"a":1}\r\n\n  \n{"b"', b':2}\n{"c":3}')
    assert [event.data for event in found] == ['{"a":1}', '{"b":2}', '{"c":3}']


def test_one_body() -> None:
    found = _events("json", b'\xef\xbb\xbf{"a":\n', b"1}")
    assert [event.data for event in found] == ['{"a":\n1}']
    assert _events("json", b" \n") == []


@pytest.mark.parametrize("framing", ["sse", "ndjson", "json"])
def test_no_event_grows_without_end(framing: Framing) -> None:
    with pytest.raises(Malformed, match="more than"):
        _events(framing, *[b"data: xxxxxxx"] * 200)
    with pytest.raises(Malformed, match="more than"):
        _events("sse", *[b"data: xxxxxxx\n"] * 200)
    assert len(_events("sse", *[b"data: xxxxxxx\n\n"] * 200)) == 200
