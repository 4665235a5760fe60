"""Cuts a body that arrives in arbitrary pieces into events: SSE, NDJSON or one JSON body.

Lines are found on bytes and decoded whole, so a piece may end inside a character. Only CR, LF
and CRLF end a line: U+2028 and its like are text.
Source: WHATWG HTML, "Server-sent events", event stream interpretation.
"""

from collections.abc import Iterator
from typing import Protocol

from omni_cli.domain.errors import Malformed
from omni_cli.ports import Framing, WireEvent

#: Most bytes that one event, or a whole JSON body, may have.
MAX_EVENT_BYTES = 64 * 1024 * 1024

_BOM = b"\xef\xbb\xbf"


class Splitter(Protocol):
    def feed(self, piece: bytes) -> Iterator[WireEvent]:
        """The events that ``piece`` completes. Raises Malformed when one is too long."""
        ...

    def finish(self) -> Iterator[WireEvent]:
        """What the body's end completes."""
        ...


def splitter(framing: Framing, max_bytes: int = MAX_EVENT_BYTES) -> Splitter:
    if framing == "sse":
        return SseSplitter(max_bytes)
    if framing == "ndjson":
        return NdjsonSplitter(max_bytes)
    if framing == "aws":
        from omni_cli.wire.bedrock.framing import EventStreamSplitter

        return EventStreamSplitter(max_bytes)
    return JsonSplitter(max_bytes)


def _too_long(max_bytes: int) -> Malformed:
    return Malformed(f"The answer has an event of more than {max_bytes // 1_048_576} MiB")


class _Lines:
    """Complete lines, without their ends, of bytes that arrive in pieces."""

    def __init__(self, max_bytes: int) -> None:
        self._pieces: list[bytes] = []  # of the line that is not complete yet
        self._pending = 0
        self._max = max_bytes
        self._after_cr = False
        self._first = True

    def feed(self, piece: bytes) -> list[bytes]:
        if self._after_cr and piece:
            self._after_cr = False
            if piece[0] == 10:  # the LF of a CRLF that two pieces share
                piece = piece[1:]
        if not piece:
            return []
        lines = piece.splitlines()
        last = piece[-1]
        if last == 10 or last == 13:
            self._after_cr = last == 13
            rest = b""
        else:
            rest = lines.pop()
        if lines and self._pieces:
            lines[0] = b"".join(self._pieces) + lines[0]
            self._pieces.clear()
            self._pending = 0
        if lines and self._first:
            self._first = False
            lines[0] = lines[0].removeprefix(_BOM)
        if rest:
            self._pieces.append(rest)
            self._pending += len(rest)
            if self._pending > self._max:
                raise _too_long(self._max)
        return lines

    def finish(self) -> bytes:
        rest = b"".join(self._pieces)
        self._pieces.clear()
        return rest.removeprefix(_BOM) if self._first else rest


class SseSplitter:
    """Server-sent events. An event that the body's end cuts before its blank line still counts."""

    def __init__(self, max_bytes: int = MAX_EVENT_BYTES) -> None:
        self._lines = _Lines(max_bytes)
        self._data: list[bytes] = []
        self._size = 0
        self._name = ""
        self._max = max_bytes

    def feed(self, piece: bytes) -> Iterator[WireEvent]:
        for line in self._lines.feed(piece):
            if line:
                self._field(line)
            elif self._data:
                yield self._event()
            else:
                self._name = ""

    def finish(self) -> Iterator[WireEvent]:
        rest = self._lines.finish()
        if rest:
            self._field(rest)
        if self._data:
            yield self._event()

    def _field(self, line: bytes) -> None:
        if line.startswith(b"data:"):
            value = line[6:] if line[5:6] == b" " else line[5:]
            self._size += len(value)
            if self._size > self._max:
                raise _too_long(self._max)
            self._data.append(value)
        elif line.startswith(b"event:"):
            self._name = line[6:].strip().decode("utf-8", "replace")
        elif line == b"data":
            self._data.append(b"")

    def _event(self) -> WireEvent:
        data = self._data[0] if len(self._data) == 1 else b"\n".join(self._data)
        event = WireEvent(data.decode("utf-8", "replace"), self._name)
        self._data.clear()
        self._size = 0
        self._name = ""
        return event


class NdjsonSplitter:
    """One JSON value a line; empty lines are skipped."""

    def __init__(self, max_bytes: int = MAX_EVENT_BYTES) -> None:
        self._lines = _Lines(max_bytes)

    def feed(self, piece: bytes) -> Iterator[WireEvent]:
        for line in self._lines.feed(piece):
            if line and not line.isspace():
                yield WireEvent(line.decode("utf-8", "replace"))

    def finish(self) -> Iterator[WireEvent]:
        rest = self._lines.finish()
        if rest and not rest.isspace():
            yield WireEvent(rest.decode("utf-8", "replace"))


class JsonSplitter:
    """The whole body is one event; an empty body is none."""

    def __init__(self, max_bytes: int = MAX_EVENT_BYTES) -> None:
        self._pieces: list[bytes] = []
        self._size = 0
        self._max = max_bytes

    def feed(self, piece: bytes) -> Iterator[WireEvent]:
        self._size += len(piece)
        if self._size > self._max:
            raise _too_long(self._max)
        self._pieces.append(piece)
        return iter(())

    def finish(self) -> Iterator[WireEvent]:
        body = b"".join(self._pieces).removeprefix(_BOM)
        self._pieces.clear()
        if body and not body.isspace():
            yield WireEvent(body.decode("utf-8", "replace"))
