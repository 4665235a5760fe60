"""Callers' connections: HTTP/1.1 over asyncio and httptools.

The gateway does without an ASGI server because its answer goes out in one write, and no message
objects are made on the way: with uvicorn a request cost some 50 µs more (docs/gateway.md).
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import cast
from urllib.parse import unquote

import httptools

from omni_cli.gateway.http import Limits, Request, header_name
from omni_cli.gateway.outbox import Outbox

#: Seconds that a request's head may take to come.
HEAD_S = 15.0
#: Bytes that a request's head may have.
MAX_HEAD = 64 * 1024
#: Seconds that a connection may stay idle between requests, and that a caller may read nothing of
#: an answer that waits for it.
IDLE_S = 75.0
STUCK_S = 60.0
#: Seconds and bytes that are read on after an answer that came before its request's end.
_LINGER_S = 2.0
#: Requests that a caller may send ahead before its connection is read no further.
_AHEAD = 8
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_ERROR = (
    b"HTTP/1.1 %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\n"
    b"connection: close\r\n\r\n%b"
)

Handler = Callable[[Request], Awaitable[None]]


class Hall:
    """The connections of one server.

    Args:
        handler: answers a request; what it raises ends the connection.
    """

    def __init__(self, handler: Handler, limits: Limits) -> None:
        self.handler = handler
        self.limits = limits
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

    def sweep(self) -> None:
        """Close connections that have been idle, or stuck, for too long."""
        now = time.monotonic()
        for connection in list(self.connections):
            connection.sweep(now)


class Connection(asyncio.Protocol):
    """One caller's connection; its requests are answered one after the other."""

    def __init__(self, hall: Hall) -> None:
        self._hall = hall
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._url = b""
        self._headers: dict[str, str] = {}
        self._head_open = False
        self._head_bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        #: Whose body is coming, who is being answered, and who waits to be.
        self._incoming: Request | None = None
        self._current: Request | None = None
        self._ahead: deque[Request] = deque()
        self._task: asyncio.Task[None] | None = None
        self._writable: asyncio.Future[None] | None = None
        self._since = time.monotonic()
        self._full = False
        self._reads = True

    # --- told by the event loop ---------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no asyncio.Transport, they only behave like one.
        self._transport = cast("asyncio.Transport", transport)
        self._hall.connections.add(self)
        self._timer = self._loop.call_later(HEAD_S, self.abort)

    def connection_lost(self, _: Exception | None) -> None:
        self._hall.connections.discard(self)
        self._stop_timer()
        if self._transport is not None:
            self._hall.outbox.drop(self._transport)
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
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as exc:
            self._pass_over_offer(data[exc.args[0] :])
            return
        except httptools.HttpParserError:
            self._refuse(b"400 Bad Request", b"this is not HTTP/1.1")
            return
        if self._head_open:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD:
                self._refuse(b"431 Request Header Fields Too Large", b"the head is too large")
                return
            if self._timer is None:
                self._timer = self._loop.call_later(HEAD_S, self.abort)
        if self._ahead:
            if self._current is None:
                self._next()
            elif len(self._ahead) > _AHEAD and self._reads and self._transport is not None:
                self._reads = False
                self._transport.pause_reading()

    def _pass_over_offer(self, rest: bytes) -> None:
        """A head offers another protocol (h2c, websocket). The parser stops there and takes its
        body for that protocol's: read the head once more, without the offer."""
        request = self._ahead.pop()
        self._parser = httptools.HttpRequestParser(self)
        if request.method == "CONNECT":
            self._refuse(b"405 Method Not Allowed", b"this is no proxy")
            return
        version = "1.1" if request.chunks else "1.0"
        lines = [f"{request.method} {self._url.decode('latin-1')} HTTP/{version}"]
        lines += [f"{name}: {v}" for name, v in request.headers.items() if name != "upgrade"]
        self.data_received(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + rest)

    def pause_writing(self) -> None:
        self._full = True
        self._since = time.monotonic()

    def resume_writing(self) -> None:
        self._full = False
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)

    # --- told by httptools --------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self._url = b""
        self._headers = {}
        self._head_open = True
        self._head_bytes = 0

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[header_name(name)] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self._head_open = False
        self._stop_timer()
        parser, headers = self._parser, self._headers
        modern = parser.get_http_version() == "1.1"
        wish = headers.get("connection", "").lower()
        request = Request(
            self,
            self._hall.limits,
            parser.get_method().decode("latin-1"),
            _target(self._url),
            headers,
            "close" not in wish if modern else "keep-alive" in wish,
            modern,
        )
        self._incoming = request
        self._ahead.append(request)

    def on_body(self, body: bytes) -> None:
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
        return self._hall.closing

    def write(self, data: bytes) -> None:
        if self._transport is not None:
            self._hall.outbox.put(self._transport, data)

    def go_on(self) -> None:
        request = self._current
        if request is not None and "100-continue" in request.headers.get("expect", "").lower():
            self.write(_CONTINUE)

    @property
    def full(self) -> bool:
        return self._full

    async def drain(self) -> None:
        while self._full and self._transport is not None:
            self._writable = self._loop.create_future()
            try:
                await self._writable
            finally:
                self._writable = None

    # --- one after the other --------------------------------------------------------------------

    def _next(self) -> None:
        request = self._current = self._ahead.popleft()
        if not self._reads and self._transport is not None:
            self._reads = True
            self._transport.resume_reading()
        self._task = self._loop.create_task(self._answer(request))

    async def _answer(self, request: Request) -> None:
        try:
            await self._hall.handler(request)
        finally:
            self._current = None
            self._since = time.monotonic()
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
        elif not request.keeps or self._hall.closing:
            self._close()
        elif self._ahead and self._current is None:
            self._next()

    def _refuse(self, status: bytes, why: bytes) -> None:
        """What came cannot be read: say so, and close."""
        body = b'{"error":{"code":"bad_request","message":"%b"}}' % why
        if self._current is None and not self._ahead:
            self.write(_ERROR % (status, len(body), body))
        self._close()

    # --- the end --------------------------------------------------------------------------------

    @property
    def busy(self) -> bool:
        if self._current is not None or self._ahead:
            return True
        return self._transport in self._hall.outbox

    def close_if_idle(self) -> None:
        if not self.busy:
            self._close()

    def _close(self) -> None:
        """After what was written."""
        if self._transport is not None:
            self._hall.outbox.send(self._transport)
            self._transport.close()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def sweep(self, now: float) -> None:
        waits = now - self._since
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
