"""Callers' connections: HTTP/1.1 over asyncio and httptools.

The gateway does without an ASGI server because its answer goes out in one write, and no message
objects are made on the way: with uvicorn a request cost some 50 µs more (docs/gateway-costs.md).
"""

import asyncio
import logging
import socket
import struct
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import cast
from urllib.parse import unquote

import httptools

from omni_cli.http.answer import SHORT_NAME, header_name, long_name
from omni_cli.http.outbox import Outbox
from omni_cli.http.request import Limits, Request

log = logging.getLogger("omni.gateway")

#: Seconds that a request's head may take to come.
HEAD_S = 15.0
#: Bytes and fields that a request's head may have. As many bytes may come within a body without
#: being of it: sizes of chunks, their extensions, and trailers.
MAX_HEAD = 64 * 1024
_MOST_FIELDS = 1_000
#: What comes in one read and is smaller cannot hold a head that is too large.
_SMALL = 8 * 1024
#: Seconds that a connection may stay idle between requests, and that a caller may read nothing of
#: an answer that waits for it.
IDLE_S = 75.0
STUCK_S = 60.0
#: Seconds that are read on after an answer that came before its request's end.
_LINGER_S = 2.0
#: When a caller that has closed its half is looked for, seconds after one another.
_LOOKS_S = (0.01, 0.04, 0.2, 0.5)
#: How often a lack of room for callers is logged, seconds.
_TELL_S = 10.0
#: Requests that a caller may send ahead before its connection is read no further.
_AHEAD = 8
#: With this linger setting, closing a socket sends RST instead of FIN.
_RESET = struct.pack("ii", 1, 0)
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_TOO_LARGE = (b"431 Request Header Fields Too Large", b"the head is too large")
_HOST = (b"400 Bad Request", b"one Host header is required")
_ERROR = (
    b"HTTP/1.1 %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\n"
    b"connection: close\r\n\r\n%b"
)

Handler = Callable[[Request], Awaitable[None]]


class ServerState:
    """The connections of one server.

    Args:
        handler: answers a request; what it raises ends the connection.
        most: connections that there is room for.
    """

    def __init__(self, handler: Handler, limits: Limits, most: int = 1_000_000) -> None:
        self.handler = handler
        self.limits = limits
        self.most = most
        #: Idle connections that were closed to make room, and callers that were turned away.
        self.put_out = self.turned_away = 0
        self._told_at = -_TELL_S
        self.connections: set[Connection] = set()
        self.outbox = Outbox(asyncio.get_running_loop())
        #: The server is ending: each connection is closed after the answer under way.
        self.closing = False

    @property
    def busy(self) -> bool:
        return any(connection.busy for connection in self.connections)

    def close(self) -> None:
        """End: idle connections now, the others after their answers."""
        self.closing = True
        for connection in list(self.connections):
            connection.close_if_idle()

    def abort(self) -> None:
        """End what is still under way."""
        for connection in list(self.connections):
            connection.abort()

    def make_room(self, newcomer: "Connection") -> bool:
        """Close idle connections, the longest idle first; whether there is room for another."""
        idle = [c for c in self.connections if not c.busy and c is not newcomer]
        idle.sort(key=lambda connection: connection.since)
        over = len(self.connections) - self.most
        for connection in idle[: max(over, len(idle) // 16)]:
            self.put_out += 1
            connection.abort()
        room = len(idle) >= over
        self.turned_away += not room
        now = time.monotonic()
        if now - self._told_at >= _TELL_S:
            self._told_at = now
            log.warning(
                "no room for more than %d connections (ulimit -n): %d idle ones were closed so far "
                "and %d callers turned away",
                self.most,
                self.put_out,
                self.turned_away,
            )
        return room

    def sweep(self) -> None:
        """Close connections that have been idle, or stuck, for too long."""
        now = time.monotonic()
        for connection in list(self.connections):
            connection.sweep(now)


class Connection(asyncio.Protocol):
    """One caller's connection; its requests are answered one after the other."""

    def __init__(self, state: ServerState) -> None:
        self._state = state
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._url = b""
        self._headers: dict[str, str] = {}
        self._head_open = False
        self._head_bytes = 0
        self._fields = 0
        #: The head that comes may be too large: it is counted.
        self._counts = False
        #: Why it cannot be served: status and words.
        self._fault: tuple[bytes, bytes] | None = None
        #: Bytes since the last of a body.
        self._beside = 0
        self._moved = False
        #: What comes is thrown away, as the connection ends, or is another protocol's.
        self._deaf = False
        self._other: Callable[[bytes], None] | None = None
        #: The caller has closed its half.
        self._half = False
        self._timer: asyncio.TimerHandle | None = None
        #: Whose body is coming, who is being answered, and who waits to be.
        self._incoming: Request | None = None
        self._current: Request | None = None
        self._ahead: deque[Request] = deque()
        self._task: asyncio.Task[None] | None = None
        #: Who waits while it is full: a stream, and whoever keeps it open.
        self._writable: list[asyncio.Future[None]] = []
        self.since = time.monotonic()
        self._full = False
        self._reads = True

    # --- told by the event loop ---------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no asyncio.Transport, they only behave like one.
        self._transport = cast("asyncio.Transport", transport)
        state = self._state
        state.connections.add(self)
        self._timer = self._loop.call_later(HEAD_S, self.abort)
        if len(state.connections) > state.most and not state.make_room(self):
            self._refuse(b"503 Service Unavailable", b"there is no room for more connections")

    def connection_lost(self, _: Exception | None) -> None:
        self._state.connections.discard(self)
        self._stop_timer()
        if self._transport is not None:
            self._state.outbox.drop(self._transport)
        self._transport = None
        self.resume_writing()
        incoming, self._incoming = self._incoming, None
        current = self._current
        if current is not None:
            current.lost()
            if current.stops_when_gone and self._task is not None:
                self._task.cancel()
        if incoming is not None and incoming is not current:
            incoming.lost()
        self._ahead.clear()

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            if self._other is not None:
                self._other(data)
            return
        size = len(data)
        self._counts = size + self._head_bytes > _SMALL
        self._moved = False
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as exc:
            if self._fault is None:
                self._pass_over_offer(data[exc.args[0] :])
            else:
                self._refuse(*self._fault)
            return
        except httptools.HttpParserError:
            self._refuse(b"400 Bad Request", b"this is not HTTP/1.1")
            return
        if self._fault is not None:
            self._refuse(*self._fault)
            return
        if self._head_open:
            self._head_bytes += size
            if self._head_bytes > MAX_HEAD:
                self._refuse(*_TOO_LARGE)
                return
            if self._timer is None:
                self._timer = self._loop.call_later(HEAD_S, self.abort)
        elif self._incoming is not None:
            self._beside = 0 if self._moved else self._beside + size
            if self._beside > MAX_HEAD:
                self._refuse(*_TOO_LARGE)
                return
        if self._ahead:
            if self._current is None:
                self._next()
            elif len(self._ahead) > _AHEAD and self._reads and self._transport is not None:
                self._reads = False
                self._transport.pause_reading()

    def _pass_over_offer(self, rest: bytes) -> None:
        """A head offers another protocol (h2c, websocket). The parser stops there and takes its
        body for that protocol's: read the head once more, without the offer. Who answers is told
        of it all the same, and may take it up."""
        request = self._ahead.pop()
        self._parser = httptools.HttpRequestParser(self)
        if request.method == "CONNECT":
            self._refuse(b"405 Method Not Allowed", b"this is no proxy")
            return
        version = "1.1" if request.chunks else "1.0"
        lines = [f"{request.method} {self._url.decode('latin-1')} HTTP/{version}"]
        lines += [f"{name}: {v}" for name, v in request.headers.items() if name != "upgrade"]
        self.data_received(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + rest)
        self._headers["upgrade"] = request.headers.get("upgrade", "")

    def eof_received(self) -> bool:
        """The caller sends no more; returns whether the connection stays.

        One that has closed looks the same as one that only ended its half and waits for the
        answer. A word in between, which both ends of HTTP/1.1 must be able to take, tells them
        apart: the machine of one that has closed answers it with a reset.
        """
        request = self._current
        if request is None or self._incoming is not None or request.begun or not request.chunks:
            return False
        self._half = True
        self.write(_CONTINUE)
        self._loop.call_later(_LOOKS_S[0], self._look, 1)
        return True

    def _look(self, looks: int) -> None:
        """Whether a caller that sends no more is still there."""
        if self._transport is None:
            return
        sock = self._transport.get_extra_info("socket")
        if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self.abort()
        else:
            wait_s = _LOOKS_S[min(looks, len(_LOOKS_S) - 1)]
            self._loop.call_later(wait_s, self._look, looks + 1)

    def pause_writing(self) -> None:
        self._full = True
        self.since = time.monotonic()

    def resume_writing(self) -> None:
        self._full = False
        for waiter in self._writable:
            if not waiter.done():
                waiter.set_result(None)

    # --- told by httptools --------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self._url = b""
        self._headers = {}
        self._head_open = True
        self._head_bytes = self._fields = 0

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._head_open:
            return  # a trailer: it may not stand for a header (RFC 9110, 6.5.1)
        if self._counts and not self._fits(name, value):
            return
        key = header_name(name) if len(name) <= SHORT_NAME else long_name(name)
        headers = self._headers
        if key == "host" and key in headers:
            self._fault = _HOST
        headers[key] = value.decode("latin-1")

    def _fits(self, name: bytes, value: bytes) -> bool:
        """Count a field of a head that may be too large."""
        self._fields += 1
        self._head_bytes += len(name) + len(value) + 4
        if self._head_bytes <= MAX_HEAD and self._fields <= _MOST_FIELDS:
            return True
        self._fault = _TOO_LARGE
        return False

    def on_headers_complete(self) -> None:
        self._head_open = False
        self._head_bytes = self._beside = 0
        self._stop_timer()
        parser, headers = self._parser, self._headers
        modern = parser.get_http_version() == "1.1"
        if not headers.get("host") and (modern or "host" in headers):
            self._fault = self._fault or _HOST
        if self._fault is not None:
            return
        wish = headers.get("connection", "").lower()
        request = Request(
            self,
            self._state.limits,
            parser.get_method().decode("latin-1"),
            _target(self._url),
            headers,
            "close" not in wish if modern else "keep-alive" in wish,
            modern,
        )
        self._incoming = request
        self._ahead.append(request)

    def on_body(self, body: bytes) -> None:
        self._moved = True
        if self._incoming is not None:
            self._incoming.take(body)

    def on_message_complete(self) -> None:
        request, self._incoming = self._incoming, None
        if request is None:
            return
        request.finish()
        if request.answered and request is not self._current:
            # It was answered before its end, and only its rest was waited for.
            self._stop_timer()
            self._end(request)

    # --- asked by the request being answered ----------------------------------------------------

    @property
    def ends(self) -> bool:
        return self._state.closing

    def write(self, data: bytes) -> None:
        if self._transport is not None:
            self._state.outbox.put(self._transport, data)

    def go_on(self) -> None:
        request = self._current
        if request is not None and "100-continue" in request.headers.get("expect", "").lower():
            self.write(_CONTINUE)

    def hold_back(self, *, on: bool) -> None:
        if self._transport is None or self._ahead or on is not self._reads:
            return
        self._reads = not on
        if on:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    @property
    def full(self) -> bool:
        return self._full

    async def drain(self) -> None:
        while self._full and self._transport is not None:
            waiter = self._loop.create_future()
            self._writable.append(waiter)
            try:
                await waiter
            finally:
                self._writable.remove(waiter)

    def cut(self, *, reset: bool) -> None:
        if reset and self._transport is not None:
            self._state.outbox.send(self._transport)
            sock = self._transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self.abort()
        else:
            self._close()

    def take_over(self, receive: Callable[[bytes], None]) -> None:
        self._deaf, self._other = True, receive

    # --- one after the other --------------------------------------------------------------------

    def _next(self) -> None:
        request = self._current = self._ahead.popleft()
        if not self._reads and self._transport is not None:
            self._reads = True
            self._transport.resume_reading()
        # A name of its own: to number it costs more than to make the task.
        self._task = self._loop.create_task(self._answer(request), name="request")

    async def _answer(self, request: Request) -> None:
        try:
            await self._state.handler(request)
        finally:
            self._current = None
            self.since = time.monotonic()
            if request.complete or not request.answered:
                self._end(request)
            elif self._transport is not None:
                self._timer = self._loop.call_later(_LINGER_S, self.abort)

    def _end(self, request: Request) -> None:
        """The request is over, and so may be the connection."""
        if self._transport is None:
            return
        if not request.answered:
            self.abort()
        elif not request.keeps or self._state.closing:
            self._close()
        elif self._ahead and self._current is None:
            self._next()
        elif (self._half or self._deaf) and not self._ahead:
            self._close()

    def _refuse(self, status: bytes, why: bytes) -> None:
        """What came cannot be read, or not served: say so, and close.

        What was sent before it is answered first. What comes after it is thrown away for a moment:
        a caller that is still sending would not see the answer of a connection that was reset.
        """
        self._deaf = True
        self._stop_timer()
        incoming, self._incoming = self._incoming, None
        if incoming is not None and incoming in self._ahead:
            self._ahead.remove(incoming)
            if self._current is not None or self._ahead:
                incoming = None
        if incoming is None and (self._current is not None or self._ahead):
            if self._current is None:
                self._next()
            return
        if incoming is None or not incoming.begun:
            body = b'{"error":{"code":"bad_request","message":"%b"}}' % why
            self.write(_ERROR % (status, len(body), body))
        if self._transport is not None:
            self._state.outbox.send(self._transport)
            self._transport.write_eof()
            self._timer = self._loop.call_later(_LINGER_S, self.abort)
        if incoming is not None:
            incoming.begun = incoming.answered = True
            incoming.lost()
            if incoming.stops_when_gone and self._task is not None:
                self._task.cancel()

    # --- the end --------------------------------------------------------------------------------

    @property
    def busy(self) -> bool:
        if self._current is not None or self._ahead:
            return True
        return self._transport in self._state.outbox

    def close_if_idle(self) -> None:
        if not self.busy:
            self._close()

    def _close(self) -> None:
        """After what was written."""
        if self._transport is not None:
            self._state.outbox.send(self._transport)
            self._transport.close()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def sweep(self, now: float) -> None:
        waits = now - self.since
        if (self._full and waits > STUCK_S) or (not self.busy and waits > IDLE_S):
            self.abort()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _target(url: bytes) -> tuple[str, bytes]:
    """Path, its escapes undone, and query, as it came."""
    if not url.startswith(b"/"):
        url = _of_absolute(url)
    path, _, query = url.partition(b"#")[0].partition(b"?")
    text = path.decode("latin-1")
    return (unquote(text) if "%" in text else text), query


def _of_absolute(url: bytes) -> bytes:
    """``http://host/path`` as proxies are asked; ``*`` and the like are no paths."""
    _, found, rest = url.partition(b"://")
    return b"/" + rest.partition(b"/")[2] if found else b"/"
