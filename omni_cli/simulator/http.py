"""A small HTTP/1.1 server on asyncio: keep-alive, chunked bodies, and ways to break off."""

import asyncio
import socket
import struct
import sys
import traceback
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import cast

from msgspec import Struct

MAX_HEAD = 64 * 1024
MAX_BODY = 64 * 1024 * 1024
#: With this linger setting, closing a socket sends RST instead of FIN.
LINGER_RESET = struct.pack("ii", 1, 0)


class BadHttp(Exception):
    """The bytes received are not an HTTP/1.1 request that this server reads."""


class Request(Struct, frozen=True):
    """One request. ``path`` and ``query`` as sent; header names are lower-case."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes
    keep_alive: bool


class _Head(Struct):
    method: str
    target: str
    headers: dict[str, str]
    keep_alive: bool


def read_head(raw: bytes) -> _Head:
    """Raises BadHttp."""
    try:
        first, *lines = raw.decode("latin-1").split("\r\n")
        method, target, version = first.split(" ")
        pairs = (line.split(":", 1) for line in lines)
        headers = {name.strip().lower(): value.strip() for name, value in pairs}
    except ValueError as exc:
        raise BadHttp("malformed request head") from exc
    connection = headers.get("connection", "").lower()
    keep = connection != "close" and (version == "HTTP/1.1" or connection == "keep-alive")
    return _Head(method, target, headers, keep)


def read_body(head: _Head, buffer: bytearray) -> tuple[bytes, int] | None:
    """The body and how many bytes of ``buffer`` it took; None while it is incomplete.

    Raises BadHttp.
    """
    if "chunked" not in head.headers.get("transfer-encoding", ""):
        try:
            length = int(head.headers.get("content-length", "0"))
        except ValueError as exc:
            raise BadHttp("bad content-length") from exc
        if not 0 <= length <= MAX_BODY:
            raise BadHttp("body too large")
        return (bytes(buffer[:length]), length) if len(buffer) >= length else None
    parts: list[bytes] = []
    at = 0
    while True:
        end = buffer.find(b"\r\n", at)
        if end < 0:
            return None
        try:
            size = int(buffer[at:end].split(b";")[0], 16)
        except ValueError as exc:
            raise BadHttp("bad chunk size") from exc
        at = end + 2 + size + 2
        if len(buffer) < at:
            return None
        if size == 0:
            return b"".join(parts), at
        parts.append(bytes(buffer[end + 2 : end + 2 + size]))


class Out:
    """The answer to one request. Call ``send``, or ``start`` + ``write``... + ``end``."""

    def __init__(self, connection: "Connection", keep_alive: bool) -> None:
        self._connection = connection
        self.keep_alive = keep_alive
        self.started = False
        #: Called once, when the answer's first byte was written.
        self.on_first_byte: Callable[[], None] | None = None

    async def _first(self, data: bytes) -> None:
        hook, self.on_first_byte = self.on_first_byte, None
        await self._connection.write(data, hook)

    def _head(self, status: int, headers: Mapping[str, str], framing: str) -> bytes:
        self.started = True
        lines = [f"HTTP/1.1 {status} {_phrase(status)}", "server: omni-simulator"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        lines += [framing, f"connection: {'keep-alive' if self.keep_alive else 'close'}"]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

    async def send(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        head = self._head(status, headers, f"content-length: {len(body)}")
        await self._first(head + body)

    async def send_part(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """Announce ``body`` whole, send half of it."""
        head = self._head(status, headers, f"content-length: {len(body)}")
        await self._first(head + body[: len(body) // 2])

    async def start(self, status: int, headers: Mapping[str, str]) -> None:
        await self._first(self._head(status, headers, "transfer-encoding: chunked"))

    async def write(self, data: bytes) -> None:
        await self._connection.write(b"%x\r\n%b\r\n" % (len(data), data))

    async def end(self) -> None:
        await self._connection.write(b"0\r\n\r\n")

    def close(self) -> None:
        """FIN after what was written, whether or not the answer was whole."""
        self.keep_alive = False
        self._connection.transport.close()

    def reset(self) -> None:
        """RST: the peer sees "connection reset" once it has read what came before."""
        self.keep_alive = False
        sock: socket.socket = self._connection.transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_RESET)
        self._connection.transport.abort()


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Overloaded" if status == 529 else "Unknown"


Handler = Callable[[Request, Out], Awaitable[None]]


class Connection(asyncio.Protocol):
    """One client. Requests are answered one after the other, in order of arrival."""

    transport: asyncio.Transport

    def __init__(self, handler: Handler, connections: set["Connection"]) -> None:
        self._handler = handler
        self._connections = connections
        self._buffer = bytearray()
        self._head: _Head | None = None
        self._task: asyncio.Task[None] | None = None
        self._room: asyncio.Future[None] | None = None
        self.lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        # asyncio leaves this out for sockets made without an explicit protocol number; with it
        # missing, an answer in two writes waits 40 ms for the peer's delayed acknowledgement.
        sock: socket.socket = transport.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connections.add(self)

    def connection_lost(self, _exc: Exception | None) -> None:
        self.lost = True
        self._connections.discard(self)
        if self._task is not None:
            self._task.cancel()

    def abort(self) -> asyncio.Task[None] | None:
        """Drop the client; the task that was answering it, if any, ends soon after."""
        self.transport.abort()
        if self._task is not None:
            self._task.cancel()
        return self._task

    def pause_writing(self) -> None:
        self._room = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        room, self._room = self._room, None
        if room is not None and not room.done():
            room.set_result(None)

    async def write(self, data: bytes, wrote: Callable[[], None] | None = None) -> None:
        """``wrote`` is called before waiting for a slow peer. Raises ConnectionError."""
        if self.lost or self.transport.is_closing():
            raise ConnectionResetError("peer is gone")
        self.transport.write(data)
        if wrote is not None:
            wrote()
        if self._room is not None:
            await self._room

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._task is None:
            self._next()

    def _next(self) -> None:
        try:
            request = self._parse()
        except BadHttp as exc:
            body = str(exc).encode()
            head = f"HTTP/1.1 400 Bad Request\r\ncontent-length: {len(body)}\r\n\r\n"
            self.transport.write(head.encode() + body)
            self.transport.close()
            return
        if request is not None:
            self._task = asyncio.get_running_loop().create_task(self._serve(request))

    def _parse(self) -> Request | None:
        if self._head is None:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                if len(self._buffer) > MAX_HEAD:
                    raise BadHttp("head too large")
                return None
            self._head = read_head(bytes(self._buffer[:end]))
            del self._buffer[: end + 4]
            if self._head.headers.get("expect", "").lower() == "100-continue":
                self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        head = self._head
        found = read_body(head, self._buffer)
        if found is None:
            if len(self._buffer) > 2 * MAX_BODY:
                raise BadHttp("body too large")
            return None
        body, used = found
        del self._buffer[:used]
        self._head = None
        path, _, query = head.target.partition("?")
        return Request(head.method, path, query, head.headers, body, head.keep_alive)

    async def _serve(self, request: Request) -> None:
        out = Out(self, request.keep_alive)
        try:
            await self._handler(request, out)
        except ConnectionError:
            out.keep_alive = False
        except Exception:  # noqa: BLE001  # one bad request must not end the server
            traceback.print_exc(file=sys.stderr)
            if not out.started:
                await out.send(500, {"content-type": "text/plain"}, b"simulator error")
            out.close()
        finally:
            self._task = None
        if self.lost:
            return
        if out.keep_alive:
            self._next()
        else:
            self.transport.close()
