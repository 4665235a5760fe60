"""Streams that go to their callers as they came: only their head and tail are read."""

import math
import re
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from omni_cli.domain.chat import ChatChunk, CompletionFolder
from omni_cli.domain.errors import ProviderError
from omni_cli.ports import AnswerParser, Framing, WireEvent
from omni_cli.services.engine.settlement import Reading
from omni_cli.wire.framing import splitter

#: Bytes kept of a stream's end, where its usage stands, and of its beginning, which is read where
#: no usage comes.
TAIL, KEPT = 16 * 1024, 256 * 1024
#: Longest event that is held back to be looked at.
_LONGEST = 1024 * 1024
#: A piece of a stream that is so long is no keep-alive.
_LONG = 2_048
_NO_CHOICES = re.compile(rb'"choices"\s*:\s*\[\s*\]')
_USAGE = re.compile(rb'"usage"\s*:\s*\{')
#: A quotation mark within a text is escaped: no text can look like these.
_REASON = re.compile(rb'"(?:finish_reason|stop_reason)"\s*:\s*"')


class PassedFolder(CompletionFolder):
    """Folds an answer whose middle passes by unread: its head is parsed, and of what passes the
    bytes and events are counted. An event's frame, what stands in it beside its text, is as long as
    that of the last one that was read."""

    def __init__(self) -> None:
        super().__init__()
        self.frame_bytes = 0
        self.passed_bytes = 0
        self.passed_events = 0
        #: Reads what passed after all, into another folder; returns which share of it was kept.
        self.reread: Callable[[CompletionFolder], float] | None = None
        self._found: tuple[int, int] | None = None

    @property
    def received_chars(self) -> int:
        """Characters received: counted where read, worked out for the rest."""
        if self._found is not None:
            return self._found[0]
        known = self.folded_chars()
        if not self.frame_bytes:
            return known
        return known + max(self.passed_bytes - self.passed_events * self.frame_bytes, 0)

    def estimated_tokens(self) -> int:
        """As of an answer that was read: its middle is read now."""
        if self.reread is None or not self.passed_bytes:
            return super().estimated_tokens()
        whole = CompletionFolder()
        share = self.reread(whole)
        self._found = (
            round(whole.received_chars / share),
            math.ceil(whole.estimated_tokens() / share),
        )
        return self._found[1]

    def most_tokens(self) -> int | None:
        """As of an answer that was read, where all of it was kept; else all that passed counts."""
        known = super().most_tokens()
        if self.reread is None or not self.passed_bytes:
            return known
        whole = CompletionFolder()
        if self.reread(whole) >= 1:
            return whole.most_tokens()
        return None if known is None else known + self.passed_bytes


class PassReader:
    """Reads what settlement needs of a stream (``relay.Reader``).

    Args:
        whole: read every event; else only those up to the first content, and the last ones.
        wished: usage was asked for that the caller had not: it is kept out.
    """

    tells = True

    def __init__(
        self,
        parser: Callable[[], AnswerParser],
        framing: Framing,
        reading: Reading,
        *,
        whole: bool,
        wished: bool = False,
    ) -> None:
        self._keeps_out = UsageFilter() if wished else None
        self._lines = framing == "ndjson"
        self._new_parser = parser
        self._parser = parser()
        self._framing = framing
        self._reading = reading
        assert isinstance(reading.folder, PassedFolder)
        self._folder = reading.folder
        self._head = splitter(framing)
        self._whole = whole
        self._folder.reread = self._reread
        self._kept: list[bytes] = []
        self._kept_bytes = self._head_bytes = 0
        self._tail: deque[bytes] = deque()
        self._tail_bytes = 0
        self.signs = 0
        self.fault: ProviderError | None = None

    @property
    def begun(self) -> bool:
        return self._reading.shown

    def feed(self, data: bytes) -> bytes:
        size, shown = len(data), self._reading.shown
        if self._kept_bytes < KEPT:
            self._kept.append(data)
            self._kept_bytes += size
        if shown and (size >= _LONG or tells(data, lines=self._lines)):
            self.signs += 1
        if shown and not self._whole:
            self._tail.append(data)
            self._tail_bytes += size
            folder = self._folder
            folder.passed_bytes += size
            folder.passed_events += data.count(b"\n\n") or data.count(b"\n\r\n")
            if self._tail_bytes > 2 * TAIL:  # now and then, not for each piece
                while self._tail_bytes - len(self._tail[0]) >= TAIL:
                    self._tail_bytes -= len(self._tail.popleft())
        else:
            self._head_bytes += size
            try:
                for event in self._head.feed(data):
                    self.signs += event.name != "ping"
                    before = self._folder.folded_chars()
                    for chunk in self._parser.feed(event):
                        self._reading.take(chunk)
                    if text := self._folder.folded_chars() - before:
                        self._folder.frame_bytes = _frame(event) - text
            except ProviderError as exc:
                self.fault = exc
        return data if self._keeps_out is None else self._keeps_out.feed(data)

    def _reread(self, folder: CompletionFolder) -> float:
        """Read what was kept of the whole stream; returns which share of its bytes that is."""
        parser, events = self._new_parser(), splitter(self._framing)
        with suppress(ProviderError):  # told already, or cut within an event
            for data in self._kept:
                for event in events.feed(data):
                    for chunk in parser.feed(event):
                        folder.add(chunk)
            for chunk in parser.finish():  # calls that were held back till their end
                folder.add(chunk)
        return self._kept_bytes / (self._head_bytes + self._folder.passed_bytes)

    def end(self) -> bytes:
        take = self._reading.take
        if self._tail:
            tail = b"".join(self._tail)
            at = _closing(tail)
            if at or self._folder.passed_bytes > len(tail):
                # Before it are contents, or the rest of an event, which cannot be read.
                at = at or max(tail.find(b"\n\n"), tail.find(b"\n\r\n")) + 1
                tail = tail[at:]
                events = splitter(self._framing)
            else:
                events = self._head
            for event in [*events.feed(tail), *events.finish()]:
                for chunk in self._parser.feed(event):
                    take(_without_content(chunk))
        else:
            for event in self._head.finish():
                for chunk in self._parser.feed(event):
                    take(chunk)
        for chunk in self._parser.finish():
            take(chunk)
        return b"" if self._keeps_out is None else self._keeps_out.finish()


class Unread:
    """A stream of events that nobody here reads, as of sound (``relay.Reader``).

    Args:
        counted: takes the end of it, where its usage stands.
    """

    tells, begun, fault = True, False, None

    def __init__(self, counted: Callable[[bytes], None]) -> None:
        self.signs = 0
        self._tail = b""
        self._counted = counted

    def feed(self, data: bytes) -> bytes:
        self.begun = True
        self.signs += 1
        self._tail = (self._tail + data)[-TAIL:]
        return data

    def end(self) -> bytes:
        self._counted(self._tail)
        return b""


def tells(data: bytes, *, lines: bool) -> bool:
    """Whether a short piece of a stream holds (the beginning of) an event that is no ping.

    Args:
        lines: of JSON lines; else of server-sent events, whose comments are keep-alives.
    """
    if lines:
        return b"\n" in data.lstrip()
    # By find: "in" first tries to take bytes for a number, which costs as much as all of this.
    if not data.startswith(b"data:") and data.find(b"\ndata:") < 0:
        return False
    return data.find(b'"ping"') < 0 or data.count(b"data:") != data.count(b"event: ping")


def _frame(event: WireEvent) -> int:
    """Bytes of a server-sent event: ``data: ...``, an empty line, and its name where it has one."""
    return len(event.data) + 8 + (len(event.name) + 8 if event.name else 0)


def _closing(tail: bytes) -> int:
    """Where the event begins from which on a stream tells its usage and why it ended; 0 where it
    does not tell both. What comes before it would be parsed for nothing: it is a hundred events."""
    usage, reason = _last(_USAGE, tail), _last(_REASON, tail)
    if usage < 0 or reason < 0:
        return 0
    first = min(usage, reason)
    return max(tail.rfind(b"\n\n", 0, first), tail.rfind(b"\n\r\n", 0, first)) + 1


def _last(pattern: re.Pattern[bytes], data: bytes) -> int:
    """Where its last match begins, -1 where there is none."""
    at = -1
    for match in pattern.finditer(data):
        at = match.start()
    return at


def _without_content(chunk: ChatChunk) -> ChatChunk:
    """Its content is counted already, by its bytes."""
    return ChatChunk(
        usage=chunk.usage,
        finish_reason=chunk.finish_reason,
        raw_finish_reason=chunk.raw_finish_reason,
        model=chunk.model,
        response_id=chunk.response_id,
    )


#: What is between two events: an empty line, however lines end.
_GAPS = (b"\n\n", b"\n\r\n", b"\r\r")


class UsageFilter:
    """Takes the usage event out of a stream whose caller did not ask for it."""

    def __init__(self) -> None:
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """Whole events; what may be the beginning of the usage event is held back."""
        data = self._held + data
        end = max((at + len(gap) for gap in _GAPS if (at := data.rfind(gap)) >= 0), default=0)
        if not end:
            self._held = data if len(data) < _LONGEST else b""
            return b"" if self._held else data
        self._held = data[end:]
        return _filtered(data[:end])

    def finish(self) -> bytes:
        held, self._held = self._held, b""
        return _filtered(held)


def _filtered(events: bytes) -> bytes:
    if not _NO_CHOICES.search(events):
        return events
    kept = [
        event
        for event in re.split(rb"(?<=\n\n)|(?<=\n\r\n)|(?<=\r\r)", events)
        if not (_NO_CHOICES.search(event) and _USAGE.search(event))
    ]
    return b"".join(kept)
