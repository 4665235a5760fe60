"""An answer of a provider as it comes in."""

import asyncio
import zlib
from collections import deque
from collections.abc import Awaitable, Callable
from functools import lru_cache
from typing import Protocol

import httptools

from omni_cli.domain.errors import ConnectionFailed, Malformed, ProviderError, TimedOut
from omni_cli.wire.reader import GOOD_PIECE

#: Bytes of an answer that wait for their reader before the socket is read no further.
HIGH_WATER = 256 * 1024
#: Bytes that an answer's head may have, interim ones included, and what comes beside its body:
#: sizes of chunks and trailers.
MAX_HEAD = 256 * 1024
#: What one read of a compressed body may become.
_MOST_INFLATED = 16 * 1024 * 1024

_CLOSED = b""
SHORT_NAME = 64


def long_name(name: bytes) -> str:
    """A header's name in lower case."""
    return name.decode("latin-1").lower()


#: The same for names of SHORT_NAME bytes at most, which are remembered: anybody may send any.
header_name = lru_cache(maxsize=512)(long_name)


class Source(Protocol):
    """The connection that an answer comes over."""

    transport: asyncio.Transport | None
    parser: httptools.HttpResponseParser | None
    answer: "Answer | None"
    host: str

    def watch(self, due: float) -> None:
        """See to it that ``expire`` is called once the answer's time, ``due``, is over."""

    def abort(self) -> None: ...


class Answer:
    """An answer being received. ``read()`` gives pieces of its body, then ``b""``; ``forward()``
    hands on the pieces that are left.

    Not read to its end, it must be closed.
    """

    __slots__ = (
        "_beside",
        "_connection",
        "_error",
        "_full",
        "_head_bytes",
        "_host",
        "_inflater",
        "_loop",
        "_moved",
        "_paused",
        "_pieces",
        "_since",
        "_sink",
        "_timeout_s",
        "_waiter",
        "_waiting",
        "complete",
        "due",
        "headers",
        "reusable",
        "status",
        "top",
    )

    def __init__(self, connection: Source, loop: asyncio.AbstractEventLoop, timeout_s: float):
        self._connection = connection
        connection.answer, connection.parser = self, httptools.HttpResponseParser(self)
        # Small servers end lines by LF alone, which a recipient may take (RFC 9112 2.2).
        connection.parser.set_dangerous_leniencies(lenient_optional_cr_before_lf=True)
        self._loop = loop
        self._timeout_s = timeout_s
        self._host = connection.host
        self._pieces: deque[bytes] = deque()
        self._waiting = 0
        self._waiter: asyncio.Future[None] | None = None
        self._paused = False
        self._error: ProviderError | None = None
        self._sink: Callable[[bytes], bool] | None = None
        self._full = False
        self.top = False
        self.status = 0
        self.headers: dict[str, str] = {}
        self.complete = False
        self.reusable = False
        #: When the wait under way is too long, seconds of the loop's clock.
        self.due = 0.0
        #: Since when nothing came that tells of an answer: a head, a comment or a ping does not.
        self._since = loop.time()
        self._head_bytes = self._beside = 0
        self._moved = False
        self._inflater: Inflater | None = None

    # --- called by httptools ------------------------------------------------------------------

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.top:
            return  # a trailer
        key = header_name(name) if len(name) <= SHORT_NAME else long_name(name)
        self.headers[key] = value.decode("latin-1")

    def on_status_complete(self) -> None:
        parser = self._connection.parser
        assert parser is not None
        self.status = parser.get_status_code()

    def on_headers_complete(self) -> None:
        parser = self._connection.parser
        assert parser is not None
        self.status = parser.get_status_code()
        if 100 <= self.status < 200:
            return
        self.top = True
        if coding := coding_of(self.headers.get("content-encoding", "")):
            self._inflater = Inflater(coding)
        self._wake()

    def on_body(self, body: bytes) -> None:
        self._moved = True
        if self._inflater is not None:
            body = self._inflater.feed(body)
            if not body:
                return
        sink = self._sink
        if sink is not None:
            if sink(body):
                self._sink, self._full = None, True
                self._pause()
                self._wake()
            return
        self._pieces.append(body)
        self._waiting += len(body)
        if self._waiting > HIGH_WATER:
            self._pause()
        self._wake()

    def _pause(self) -> None:
        transport = self._connection.transport
        if not self._paused and transport is not None:
            self._paused = True
            transport.pause_reading()

    def _resume(self) -> None:
        self._waiting = 0
        if self._paused:
            self._unpause()

    def _unpause(self) -> None:
        self._paused = False
        transport = self._connection.transport
        if transport is not None:
            transport.resume_reading()

    def on_message_complete(self) -> None:
        if 100 <= self.status < 200:  # an interim answer: the real one follows
            self.headers.clear()
            return
        parser = self._connection.parser
        assert parser is not None
        # Asked for here: once the message is over, the parser has forgotten its head.
        self.reusable = parser.should_keep_alive()
        self.complete = True
        if self._paused:  # the connection serves others next
            self._unpause()
        self._wake()

    # --- called by the connection -------------------------------------------------------------

    def received(self, size: int) -> None:
        """So many bytes were parsed. Raises Malformed: too much that is no body."""
        if self._moved or self.complete:
            self._moved = False
            self._beside = 0
            return
        if not self.top:
            self._head_bytes += size
        else:
            self._beside += size
        if max(self._head_bytes, self._beside) > MAX_HEAD:
            raise Malformed(f"the headers of {self._host} exceed {MAX_HEAD // 1024} KB")

    def lost(self, exc: Exception | None) -> None:
        if self.complete:
            return
        if self.top and self._ends_by_close():
            self.complete = True
        elif self.top:
            self._failed(exc, "before the answer was whole")
        else:
            why = f": {exc.__class__.__name__}" if exc is not None else ""
            self._failed(exc, f"without an answer{why}")
        self._wake()

    def _failed(self, exc: Exception | None, words: str) -> None:
        self._error = ConnectionFailed(f"{self._host} closed the connection {words}")
        self._error.__cause__ = exc

    def broken(self, exc: Exception) -> None:
        cause = exc.__context__ if isinstance(exc, httptools.HttpParserCallbackError) else exc
        if isinstance(cause, Malformed):
            self._error = Malformed(f"{self._host}: {cause.message}")
        else:
            self._error = Malformed(f"{self._host} does not speak HTTP/1.1: {exc}")
        self._wake()

    def _ends_by_close(self) -> bool:
        return "content-length" not in self.headers and "transfer-encoding" not in self.headers

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    # --- called by the reader -----------------------------------------------------------------

    async def read(self) -> bytes:
        """The next bytes of the body, all that have come; ``b""`` at its end.

        Raises ConnectionFailed, TimedOut, Malformed.
        """
        while not self._pieces:
            if self.complete:
                return _CLOSED
            await self.more()
        pieces = self._pieces
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        self._resume()
        return data

    def progress(self) -> None:
        """What came tells of an answer: its silence begins anew."""
        self._since = self._loop.time()
        self.due = self._since + self._timeout_s

    async def forward(
        self, sink: Callable[[bytes], bool], ready: Callable[[], Awaitable[bool]]
    ) -> None:
        """Hand on what is left of the body as it comes, without waking anybody for each piece.

        Args:
            sink: takes a piece, and returns whether to wait before the next; says ``progress``.
            ready: waits until the next may come; returns False to give up the rest.

        Raises ConnectionFailed, TimedOut, Malformed.
        """
        while True:
            while self._pieces:
                if sink(self._pieces.popleft()):
                    if not await ready():
                        return
                    self.progress()  # the caller may have kept it waiting
            self._resume()
            if self.complete:
                return
            waiter = self.more()
            self._sink = sink
            try:
                await waiter
            finally:
                self._sink = None
            if self._full:
                self._full = False
                if not await ready():
                    return
                self.progress()

    def at_once(self) -> bytes | None:
        """The whole body, where it has come in one piece by now."""
        if self.complete and len(self._pieces) == 1 and self._waiting <= HIGH_WATER:
            return self._pieces.pop()
        return None

    async def whole(self, limit: int) -> bytes:
        """The whole body. Raises as ``read``; Malformed beyond ``limit`` bytes."""
        data = await self.read()
        body = bytearray()
        good = GOOD_PIECE
        while data:
            body += data
            if len(body) >= good:
                good = len(body) + GOOD_PIECE
                self.progress()
            if len(body) > limit:
                self.close()
                raise Malformed(f"the answer of {self._host} exceeds {limit} bytes")
            data = await self.read()
        return bytes(body)

    def close(self) -> None:
        """Give the call up, if it is not over: the provider sees the connection end."""
        if not self.complete:
            self._connection.answer = None
            self._connection.abort()

    def more(self) -> "asyncio.Future[None]":
        """To wait for until something more has happened.

        Raises ConnectionFailed, TimedOut, Malformed: nothing more will.
        """
        if self._error is not None:
            raise self._error
        loop = self._loop
        waiter = self._waiter = loop.create_future()
        self.due = due = self._since + self._timeout_s
        self._connection.watch(due)
        return waiter

    @property
    def waits(self) -> bool:
        """Somebody waits for more of it."""
        return self._waiter is not None and not self._waiter.done()

    def expire(self) -> None:
        self._error = TimedOut(f"{self._host} was silent for {self._timeout_s:g} s")
        self._wake()


#: That a body may really be in (IANA, "HTTP Content Coding Registry"). Servers that mean none write
#: "none" or a charset, and their bodies are plain.
_CODINGS = frozenset({"gzip", "x-gzip", "deflate", "br", "zstd", "compress", "x-compress"})


def coding_of(said: str) -> str:
    """What is to be undone of a body, by its ``content-encoding``; "" where it is plain."""
    codings = [coding.strip().lower() for coding in said.split(",")]
    return ", ".join(coding for coding in codings if coding in _CODINGS)


class Inflater:
    """A body in a coding that nobody asked for, made plain.

    Args:
        coding: what ``content-encoding`` says. Raises nothing; ``feed`` raises Malformed.
    """

    def __init__(self, coding: str) -> None:
        self._coding = coding
        self._raw = False
        self._stream = None
        if coding in ("gzip", "x-gzip"):
            self._stream = zlib.decompressobj(16 + zlib.MAX_WBITS)
        elif coding == "deflate":
            self._stream = zlib.decompressobj()

    def feed(self, data: bytes) -> bytes:
        """Raises Malformed: it is no such thing, or becomes too large."""
        if self._stream is None:
            shown = self._coding[:40] if self._coding.isprintable() else "?"
            raise Malformed(f"its answer is encoded as {shown}, which was not asked for")
        try:
            out = self._stream.decompress(data, _MOST_INFLATED)
        except zlib.error as exc:
            if self._coding != "deflate" or self._raw:
                raise Malformed(f"its answer is no {self._coding}, as it says: {exc}") from None
            # Many servers mean the raw form by it.
            self._raw, self._stream = True, zlib.decompressobj(-zlib.MAX_WBITS)
            return self.feed(data)
        if self._stream.unconsumed_tail:
            raise Malformed("its compressed answer unpacks to too much")
        return out
