"""A small HTTP/1.1 client on asyncio and httptools: keep-alive, TLS, one call a connection.

It exists because a call over httpx costs 1.3 ms of CPU and one over this 20 µs (see
docs/gateway.md). It speaks to providers' APIs only: no redirects, no cookies, no compression.
"""

import asyncio
import contextlib
import ssl
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Protocol, cast

import httptools

from omni_cli.domain.errors import ConnectionFailed, Malformed, ProviderError, TimedOut
from omni_cli.gateway.address import Origin
from omni_cli.gateway.http import header_name
from omni_cli.gateway.proxies import Proxies, tunnel

#: Longest wait for a connection, seconds; a call's own timeout may be shorter.
CONNECT_S = 10.0
#: Idle connections kept for an origin, and how long, seconds. Providers close theirs after a
#: minute or more; a connection that they close first costs a retry.
KEPT = 256
KEPT_S = 20.0
#: Bytes of an answer that wait for their reader before the socket is read no further.
HIGH_WATER = 256 * 1024

_CLOSED = b""


class Sending(Protocol):
    """What wants to know whether anything of its call left this machine."""

    sent: bool


class _Connection(asyncio.Protocol):
    """One connection; at most one answer at a time is being read from it."""

    def __init__(self, pool: "UpstreamPool", origin: Origin) -> None:
        self.pool = pool
        self.origin = origin
        self.transport: asyncio.Transport | None = None
        self.answer: Answer | None = None
        self.kept_since = 0.0
        self._watch: asyncio.TimerHandle | None = None
        self._parser: httptools.HttpResponseParser | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no asyncio.Transport, they only behave like one.
        self.transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.pool.forget(self)
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        if self.answer is not None:
            self.answer.lost(exc)
            self.answer = None

    def send(self, answer: "Answer", data: bytes) -> None:
        assert self.transport is not None
        self.answer = answer
        self._parser = httptools.HttpResponseParser(answer)
        self.transport.write(data)

    def data_received(self, data: bytes) -> None:
        answer = self.answer
        if answer is None or self._parser is None:
            self.abort()  # bytes that nobody asked for: nothing after them can be trusted
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as exc:
            answer.broken(exc)
            self.abort()
            return
        if answer.complete:
            self.answer = None
            if answer.reusable:
                self.pool.keep(self)
            elif self.transport is not None:
                self.transport.close()

    def eof_received(self) -> None:
        return None

    def abort(self) -> None:
        if self.transport is not None:
            self.transport.abort()

    def watch(self, due: float) -> None:
        """See to it that ``expire`` is called once the answer's time, ``due``, is over.

        A timer costs as much as a tenth of a chunk's way: one serves all waits of a connection,
        looks when it rings for whom it should, and is set anew for the rest.
        """
        watch = self._watch
        if watch is not None:
            if watch.when() <= due:
                return
            watch.cancel()
        self._watch = self.pool.loop.call_at(due, self.expire)

    def expire(self) -> None:
        self._watch = None
        answer = self.answer
        if answer is None or not answer.waits:
            return
        if self.pool.loop.time() >= answer.due:
            answer.expire()
        else:
            self.watch(answer.due)


class Answer:
    """An answer being received. ``read()`` gives pieces of its body, then ``b""``; ``forward()``
    hands on the pieces that are left.

    Not read to its end, it must be closed.
    """

    __slots__ = (
        "_connection",
        "_error",
        "_full",
        "_host",
        "_loop",
        "_paused",
        "_pieces",
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

    def __init__(self, connection: _Connection, loop: asyncio.AbstractEventLoop, timeout_s: float):
        self._connection = connection
        self._loop = loop
        self._timeout_s = timeout_s
        self._host = connection.origin.host
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

    # --- called by httptools ------------------------------------------------------------------

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[header_name(name)] = value.decode("latin-1")

    def on_status_complete(self) -> None:
        parser = self._connection._parser
        assert parser is not None
        self.status = parser.get_status_code()

    def on_headers_complete(self) -> None:
        parser = self._connection._parser
        assert parser is not None
        self.status = parser.get_status_code()
        if 100 <= self.status < 200:
            return
        self.top = True
        self._wake()

    def on_body(self, body: bytes) -> None:
        sink = self._sink
        if sink is not None:
            self.due = self._loop.time() + self._timeout_s
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
        parser = self._connection._parser
        assert parser is not None
        # Asked for here: once the message is over, the parser has forgotten its head.
        self.reusable = parser.should_keep_alive()
        self.complete = True
        if self._paused:  # the connection serves others next
            self._unpause()
        self._wake()

    # --- called by the connection -------------------------------------------------------------

    def lost(self, exc: Exception | None) -> None:
        if self.complete:
            return
        if self.top and self._ends_by_close():
            self.complete = True
        elif self.top:
            self._error = ConnectionFailed(
                f"{self._host} closed the connection before the answer was whole"
            )
        else:
            why = f": {exc.__class__.__name__}" if exc is not None else ""
            self._error = ConnectionFailed(
                f"{self._host} closed the connection without an answer{why}"
            )
        self._wake()

    def broken(self, exc: Exception) -> None:
        self._error = Malformed(f"{self._host} does not speak HTTP/1.1: {exc}")
        self._wake()

    def _ends_by_close(self) -> bool:
        return "content-length" not in self.headers and "transfer-encoding" not in self.headers

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    # --- called by the reader -----------------------------------------------------------------

    async def head(self) -> None:
        """Wait for status and headers. Raises ConnectionFailed, TimedOut, Malformed."""
        while not self.top:
            if self._error is not None:
                raise self._error
            await self._wait()

    async def read(self) -> bytes:
        """The next bytes of the body, all that have come; ``b""`` at its end.

        Raises ConnectionFailed, TimedOut, Malformed.
        """
        while not self._pieces:
            if self.complete:
                return _CLOSED
            if self._error is not None:
                raise self._error
            await self._wait()
        pieces = self._pieces
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        self._resume()
        return data

    async def forward(
        self, sink: Callable[[bytes], bool], ready: Callable[[], Awaitable[bool]]
    ) -> None:
        """Hand on what is left of the body as it comes, without waking anybody for each piece.

        Args:
            sink: takes a piece, and returns whether to wait before the next.
            ready: waits until the next may come; returns False to give up the rest.

        Raises ConnectionFailed, TimedOut, Malformed.
        """
        while True:
            while self._pieces:
                if sink(self._pieces.popleft()) and not await ready():
                    return
            self._resume()
            if self.complete:
                return
            if self._error is not None:
                raise self._error
            self._sink = sink
            try:
                await self._wait()
            finally:
                self._sink = None
            if self._full:
                self._full = False
                if not await ready():
                    return

    async def whole(self, limit: int) -> bytes:
        """The whole body. Raises as ``read``; Malformed beyond ``limit`` bytes."""
        data = await self.read()
        if self.complete and not self._pieces and len(data) <= limit:
            return data
        body = bytearray()
        while data:
            body += data
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

    async def _wait(self) -> None:
        waiter = self._waiter = self._loop.create_future()
        self.due = due = self._loop.time() + self._timeout_s
        self._connection.watch(due)
        try:
            await waiter
        finally:
            self._waiter = None

    @property
    def waits(self) -> bool:
        """Somebody waits for more of it."""
        return self._waiter is not None

    def expire(self) -> None:
        self._error = TimedOut(f"{self._host} was silent for {self._timeout_s:g} s")
        self._wake()


class UpstreamPool:
    """Connections to providers, for one event loop.

    Args:
        tls: for https; by default the system's certificates, loaded on first use.
        proxies: on the way to providers; none by default.
    """

    def __init__(
        self, *, tls: ssl.SSLContext | None = None, proxies: Proxies | None = None
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self._tls = tls
        self._proxies = proxies
        self._idle: dict[Origin, deque[_Connection]] = {}
        self._all: set[_Connection] = set()

    async def send(
        self,
        origin: Origin,
        head: bytes,
        body: bytes,
        *,
        timeout_s: float,
        sending: Sending | None = None,
    ) -> Answer:
        """Send a request and wait for the head of its answer.

        Args:
            head: as ``encode_head`` writes it.
            timeout_s: longest silence, before the head and between pieces of the body.
            sending: is told when the first byte leaves, which is after a connection stands.

        Raises:
            ConnectionFailed, TimedOut: ``reached`` is False where there was no connection.
            Malformed.
        """
        connection = self._take(origin) or await self._connect(origin, timeout_s)
        if sending is not None:
            sending.sent = True
        answer = Answer(connection, self.loop, timeout_s)
        connection.send(answer, b"%bcontent-length: %d\r\n\r\n%b" % (head, len(body), body))
        try:
            await answer.head()
        except BaseException:
            answer.close()
            raise
        return answer

    def _take(self, origin: Origin) -> _Connection | None:
        idle = self._idle.get(origin)
        oldest = time.monotonic() - KEPT_S
        while idle:
            connection = idle.pop()  # the newest: the others grow old and are closed
            if connection.transport is None or connection.transport.is_closing():
                continue
            if connection.kept_since >= oldest:
                return connection
            connection.transport.close()
        return None

    async def _connect(self, origin: Origin, timeout_s: float) -> _Connection:
        fault: ProviderError
        try:
            async with asyncio.timeout(min(timeout_s, CONNECT_S)):
                connection = await self._connected(origin)
        except TimeoutError:
            fault = TimedOut(f"{origin.host} did not take the connection")
        except ProviderError as exc:
            fault = exc
        except ssl.SSLCertVerificationError as exc:
            fault = ConnectionFailed(
                f"{origin.host}: its certificate is not trusted: {exc.verify_message}",
                hint="SSL_CERT_FILE names the certificates of an authority of your own",
            )
        except ssl.SSLError as exc:
            fault = ConnectionFailed(f"{origin.host}: TLS failed: {exc.reason or exc}")
        except OSError as exc:
            fault = ConnectionFailed(f"cannot connect to {origin.host}:{origin.port}: {exc}")
        else:
            self._all.add(connection)
            return connection
        fault.reached = False  # nothing was sent, so nothing can have been charged
        raise fault

    async def _connected(self, origin: Origin) -> _Connection:
        loop = self.loop
        host, port = origin.host, origin.port
        context = self._context() if origin.tls else None
        proxy = None if self._proxies is None else self._proxies.of(host, port, tls=origin.tls)
        if proxy is None:
            _, connection = await loop.create_connection(
                lambda: _Connection(self, origin), host, port, ssl=context
            )
            return connection
        transport = await tunnel(proxy, host, port)
        connection = _Connection(self, origin)
        try:
            if context is not None:
                through = await loop.start_tls(transport, connection, context, server_hostname=host)
                if through is None:
                    raise ConnectionFailed(f"{host}: the connection ended within TLS")
            else:
                transport.set_protocol(connection)
                through = transport
        except BaseException:
            transport.abort()
            raise
        connection.connection_made(through)
        return connection

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = ssl.create_default_context()
            with contextlib.suppress(NotImplementedError):
                self._tls.set_alpn_protocols(["http/1.1"])
        return self._tls

    def keep(self, connection: _Connection) -> None:
        idle = self._idle.setdefault(connection.origin, deque())
        if len(idle) >= KEPT:
            connection.abort()
            return
        connection.kept_since = time.monotonic()
        idle.append(connection)

    def forget(self, connection: _Connection) -> None:
        self._all.discard(connection)
        idle = self._idle.get(connection.origin)
        if idle is not None:
            with contextlib.suppress(ValueError):
                idle.remove(connection)

    def close(self) -> None:
        """Close every connection, also those with a call on them."""
        for connection in list(self._all):
            connection.abort()
        self._all.clear()
        self._idle.clear()
