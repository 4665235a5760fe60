"""One request of a caller, and its answer: HTTP/1.1 as the gateway's handlers see it."""

import asyncio
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import BinaryIO, Protocol

from msgspec import Struct

from omni_cli.domain.errors import OmniError
from omni_cli.wire.server import Refused, encode, retry_headers, status_of

_JSON = (b"content-type", b"application/json")
_CLOSE = b"connection: close\r\n"
_STATUS = {status.value: f"{status.value} {status.phrase}".encode() for status in HTTPStatus}

#: How much of a body that is too large is read before it is refused, and for how long.
_DRAIN_BYTES = 16 * 1024 * 1024
_DRAIN_S = 2.0


#: Pieces of a body that wait to be written to a file before the caller is held back.
_MOST_PIECES = 64
#: What a path ends with whose body is kept in a file while it comes, and may be larger.
_UPLOADS = ("/files", "/messages/batches")


class Limits(Struct, frozen=True):
    """Of one request: bytes of its body, seconds that these may take to come, and seconds that
    all of it may take; and the first two of an upload."""

    max_body: int = 32 * 1024 * 1024
    body_s: float = 30.0
    request_s: float = 900.0
    max_upload: int = 256 * 1024 * 1024
    upload_s: float = 600.0


class Gone(Exception):
    """The caller closed the connection."""


class Wire(Protocol):
    """The connection as a request uses it."""

    @property
    def ends(self) -> bool:
        """It is to be closed after this answer."""

    @property
    def full(self) -> bool:
        """The caller reads more slowly than it is written to."""

    def write(self, data: bytes) -> None: ...

    def go_on(self) -> None:
        """The body is wanted: tell a caller that waits for a word to send it."""

    def hold_back(self, *, on: bool) -> None:
        """Read no more from the caller, or go on."""

    async def drain(self) -> None:
        """Wait while it is full."""

    def cut(self, *, reset: bool) -> None:
        """Break the connection off after what was written."""

    def take_over(self, receive: Callable[[bytes], None]) -> None:
        """What comes from now on is another protocol's."""


class Request:
    """One request. Header names are lower-case; of repeated ones the last counts.

    Exactly one of ``respond`` and ``begin`` answers it. What is written after the caller has gone
    is dropped.

    Args:
        keeps: the caller wants the connection kept.
        chunks: it reads chunked bodies (HTTP/1.1).
    """

    __slots__ = (
        "_discarded",
        "_late",
        "_pieces",
        "_size",
        "_spools",
        "_too_large",
        "_waiter",
        "_wire",
        "answered",
        "begun",
        "chunks",
        "complete",
        "extra",
        "gone",
        "headers",
        "keeps",
        "limits",
        "method",
        "on_gone",
        "path",
        "query",
        "stops_when_gone",
    )

    def __init__(
        self,
        wire: Wire,
        limits: Limits,
        method: str,
        target: tuple[str, bytes],
        headers: dict[str, str],
        keeps: bool,  # one is made for each request: by names it takes twice as long
        chunks: bool,
    ) -> None:
        self.method = method
        self.path, self.query = target
        self.headers = headers
        self.limits = limits
        self.keeps = keeps
        self.chunks = chunks
        self.gone = False
        #: Its handler is to be cancelled when the caller leaves.
        self.stops_when_gone = False
        #: Called once when the caller leaves before it was answered.
        self.on_gone: Callable[[], object] | None = None
        #: The answer's head went out; all of it did.
        self.begun = self.answered = False
        #: Header lines that go with any answer.
        self.extra = b""
        self._wire = wire
        self._pieces: list[bytes] = []
        self._size = self._discarded = 0
        self._late = self._spools = False
        #: All of its body has come.
        self.complete = False
        self._waiter: asyncio.Future[None] | None = None
        stated = headers.get("content-length", "")
        self._too_large = (
            stated.isdecimal() and int(stated) > limits.max_body and int(stated) > self._most()
        )

    # --- told by the connection ---------------------------------------------------------------

    @property
    def ending(self) -> bool:
        """The server is about to end: a stream without end should."""
        return self._wire.ends

    def take(self, piece: bytes) -> None:
        """More of its body."""
        self._size += len(piece)
        if self._size > self.limits.max_body and self._size > self._most():
            self._too_large = True
            self._pieces.clear()
        if self._too_large or self.answered:
            self._discarded += len(piece)
            if self._discarded > _DRAIN_BYTES:
                self._wake()
            return
        self._pieces.append(piece)
        if self._spools:
            self._wake()
            if len(self._pieces) > _MOST_PIECES:
                self._wire.hold_back(on=True)

    def finish(self) -> None:
        """Its body is over."""
        self.complete = True
        self._wake()

    def lost(self) -> None:
        """The caller left."""
        self.gone = True
        self._wake()
        if self.on_gone is not None:
            self.on_gone()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # --- the body -----------------------------------------------------------------------------

    async def body(self) -> bytes:
        """The whole body.

        Raises:
            Refused: it is larger than allowed, or takes too long.
            Gone: the caller left before its end.
        """
        if not self.complete:
            await self._wait()
        return self.content()

    def content(self) -> bytes:
        """The body once it is complete, unpacked where it came compressed.

        Raises Refused: it is larger than allowed, or cannot be unpacked.
        """
        if self._too_large:
            raise self._refusal()
        pieces = self._pieces
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        codings = self.headers.get("content-encoding")
        return body if codings is None else self._plain(body, codings)

    def _plain(self, body: bytes, codings: str) -> bytes:
        from omni_cli.http.coding import plain

        return plain(body, codings, self._most())

    def _refusal(self) -> Refused:
        return Refused(413, "too_large", f"the body exceeds {self._most() // (1024 * 1024)} MB")

    def _most(self) -> int:
        """Bytes that its body may have."""
        limits = self.limits
        return limits.max_upload if self.path.endswith(_UPLOADS) else limits.max_body

    async def spool(self, target: BinaryIO) -> int:
        """The whole body into a file, as it comes; returns its bytes. Raises as ``body``."""
        size, loop = 0, asyncio.get_running_loop()
        self._wire.go_on()
        end = loop.time() + self.limits.upload_s
        codings = self.headers.get("content-encoding", "identity").strip().lower()
        if codings != "identity":  # it is unpacked whole, within the bound
            body = await self.body()
            await asyncio.to_thread(target.write, body)
            return len(body)
        self._spools = True
        while not self._too_large:
            if self._pieces:
                data = b"".join(self._pieces)
                self._pieces.clear()
                size += len(data)
                await asyncio.to_thread(target.write, data)
                self._wire.hold_back(on=False)
                continue
            if self.complete:
                return size
            if self.gone:
                raise Gone
            self._waiter = loop.create_future()
            try:
                async with asyncio.timeout_at(end):
                    await self._waiter
            except TimeoutError:
                raise Refused(408, "timeout", "the body did not come in time") from None
            finally:
                self._waiter = None
        await self._wait()
        raise self._refusal()

    async def _wait(self) -> None:
        """Until the body is over; one that is too large is read on a little, because a caller
        that is still sending would not see the refusal."""
        loop = asyncio.get_running_loop()
        if not self._too_large:
            self._wire.go_on()
        timer = loop.call_later(
            _DRAIN_S if self._too_large else self.limits.body_s, self._out_of_time
        )
        try:
            while not (self.complete or self._late or self._discarded > _DRAIN_BYTES):
                if self.gone:
                    raise Gone
                self._waiter = loop.create_future()
                await self._waiter
        finally:
            timer.cancel()
            self._waiter = None
        if self._late and not self._too_large:
            raise Refused(408, "timeout", "the body did not come in time")

    def _out_of_time(self) -> None:
        self._late = True
        self._wake()

    # --- the answer ---------------------------------------------------------------------------

    def respond(self, status: int, head: bytes, body: bytes) -> None:
        """Send a whole answer.

        Args:
            head: header lines, each ended by CR LF; without Content-Length.
        """
        self.begun = self.answered = True
        self.keeps = self._stays()
        top = b"HTTP/1.1 %b\r\n%b%bcontent-length: %d\r\n%b\r\n" % (
            _STATUS.get(status) or b"%d Unknown" % status,
            self.extra,
            head,
            len(body),
            b"" if self.keeps else _CLOSE,
        )
        self._wire.write(top if self.method == "HEAD" else top + body)

    def begin(self, head: bytes, length: int | None = None) -> None:
        """Begin a streamed answer of status 200; ``head`` as for ``respond``.

        Args:
            length: bytes of its body, where they are known; else it goes out in chunks.
        """
        self.begun = True
        if length is not None:
            self.chunks = False
            head = b"%bcontent-length: %d\r\n" % (head, length)
        self.keeps = (self.chunks or length is not None) and self._stays()
        self._wire.write(
            b"HTTP/1.1 200 OK\r\n%b%b%b%b\r\n"
            % (
                self.extra,
                head,
                b"transfer-encoding: chunked\r\n" if self.chunks else b"",
                b"" if self.keeps else _CLOSE,
            )
        )

    async def piece(self, data: bytes) -> None:
        """A piece of a streamed answer; waits while the caller does not read."""
        if self.send(data):
            await self._wire.drain()

    def send(self, data: bytes) -> bool:
        """A piece of a streamed answer; returns whether to wait (``drain``) before the next: it
        spares three coroutines a piece where the caller keeps up."""
        if data:
            self._wire.write(b"%x\r\n%b\r\n" % (len(data), data) if self.chunks else data)
        return self._wire.full

    async def drain(self) -> None:
        """Wait while the caller does not read."""
        await self._wire.drain()

    def end(self, data: bytes = b"") -> None:
        """The last piece of a streamed answer."""
        self.answered = True
        if self.chunks:
            last = b"%x\r\n%b\r\n" % (len(data), data) if data else b""
            data = last + b"0\r\n\r\n"
        self._wire.write(data)

    def take_over(self, receive: Callable[[bytes], None]) -> None:
        """The answer, its head included, is another protocol's: ``send`` and ``piece`` write bytes
        as they are, ``end`` closes, and what the caller sends goes to ``receive``."""
        self.begun, self.chunks, self.keeps = True, False, False
        self._wire.take_over(receive)

    def break_off(self, *, reset: bool = False) -> None:
        """Leave the answer as it stands and close: in order, or with a reset, which the caller sees
        once it has read what came before."""
        self.answered, self.keeps = True, False
        self._wire.cut(reset=reset)

    def _stays(self) -> bool:
        # A body that was not read to its end may be endless.
        return self.keeps and self.complete and not self._wire.ends

    async def answer(
        self,
        status: int,
        body: bytes,
        headers: Sequence[tuple[bytes, bytes]] = (_JSON,),
    ) -> None:
        """Send a whole answer; JSON unless ``headers`` say otherwise."""
        self.respond(status, header_lines(headers), body)

    async def json(self, value: object, status: int = 200, **headers: str) -> None:
        extra = [(k.replace("_", "-").encode(), v.encode("latin-1")) for k, v in headers.items()]
        await self.answer(status, encode(value), [_JSON, *extra])

    async def refuse(
        self,
        error: OmniError,
        body: object,
        request_id: tuple[str, str],
        receipt: Sequence[tuple[bytes, bytes]] = (),
    ) -> None:
        """An error answer, with what the caller needs to know when to come back.

        Args:
            request_id: (header, value) of the caller's protocol.
            receipt: headers about what was tried, and what it cost.
        """
        headers = [_JSON, (request_id[0].encode(), request_id[1].encode()), *receipt]
        given = {name for name, _ in receipt}
        headers += [
            (name, value.encode())
            for key, value in retry_headers(error).items()
            if (name := key.encode()) not in given
        ]
        if request_id[0] != "x-request-id":
            headers.append((b"x-request-id", request_id[1].encode()))
        await self.answer(status_of(error), encode(body), headers)


def header_lines(headers: Sequence[tuple[bytes, bytes]]) -> bytes:
    """Raises ValueError for a line break in any of them: it would begin a header of somebody
    else's making."""
    lines = b"".join([b"%b: %b\r\n" % header for header in headers])
    if lines.count(b"\n") != len(headers) or lines.count(b"\r") != len(headers):
        raise ValueError("a line break in a header")
    return lines
