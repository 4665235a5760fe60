"""A small HTTP/1.1 client on asyncio and httptools: keep-alive, TLS, one call a connection.

It exists because a call over httpx costs 1.3 ms of CPU and one over this 20 µs (see
docs/gateway-costs.md). It speaks to providers' APIs only: no redirects, no cookies, no compression.
"""

import asyncio
import contextlib
import os
import ssl
import time
from collections import deque
from collections.abc import Mapping
from functools import lru_cache
from typing import BinaryIO, NamedTuple, Protocol, cast
from urllib.parse import urlsplit

import httptools

from omni_cli.domain.errors import ConnectionFailed, Malformed, ProviderError, TimedOut, Untrusted
from omni_cli.http.answer import Answer
from omni_cli.http.environment import Proxies, Proxy, trusted
from omni_cli.http.outbox import Outbox
from omni_cli.http.outside import Outside, addresses_outside, nowhere

#: Longest wait for a connection, seconds; a call's own timeout may be shorter.
CONNECT_S = 10.0
#: Idle connections kept for an origin, and how long, seconds. Providers close theirs after a
#: minute or more; a connection that they close first costs a retry.
KEPT = 256
KEPT_S = 20.0
#: Bytes of a file that are read, and handed to the socket, at once.
_PIECE = 256 * 1024
#: Say where a body ends, which is the client's own to say.
_FRAMING = frozenset({"content-length", "transfer-encoding"})
#: Longest head of a proxy's answer, bytes.
_MOST_HEAD = 16 * 1024


class Origin(NamedTuple):
    """Where a connection leads."""

    tls: bool
    host: str
    port: int


@lru_cache(maxsize=1024)
def locate(url: str) -> tuple[Origin, str, str]:
    """Origin, path with query, and Host header of a URL.

    Raises ValueError when it is not an http(s) URL with a host.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"not an http or https URL: {url!r}")
    tls = parts.scheme == "https"
    port = parts.port or (443 if tls else 80)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    usual = port == (443 if tls else 80)
    return Origin(tls, parts.hostname, port), path, host if usual else f"{host}:{port}"


def encode_head(
    method: str, path: str, host: str, headers: Mapping[str, str], *, codings: str = "identity"
) -> bytes:
    """Request line and headers without Content-Length and the empty line. Each name is said once,
    as the last of ``headers`` has it: an account may have a Host or User-Agent of its own.

    Args:
        codings: what the answer may be packed as: what comes in small pieces is not worth it.

    Raises ValueError for a line break or another control character in any of them: it would
    begin a header, or a request, of somebody else's making.
    """
    own = {"host": host, "accept-encoding": codings}
    lines = [f"{method} {path} HTTP/1.1"]
    for name, value in (own | {name.lower(): value for name, value in headers.items()}).items():
        if name not in _FRAMING:
            lines.append(f"{name}: {value}")
    for line in lines:
        if not line.isprintable():
            raise ValueError("a control character in a request's head")
    return ("\r\n".join(lines) + "\r\n").encode("latin-1")


class Sending(Protocol):
    """What wants to know whether anything of its call left this machine."""

    sent: bool


class _Connection(asyncio.Protocol):
    """One connection; at most one answer at a time is being read from it."""

    def __init__(self, pool: "UpstreamPool", origin: Origin) -> None:
        self.pool = pool
        self.origin = origin
        self.host = origin.host
        self.transport: asyncio.Transport | None = None
        self.answer: Answer | None = None
        self.kept_since = 0.0
        self._watch: asyncio.TimerHandle | None = None
        self.parser: httptools.HttpResponseParser | None = None
        #: Is done once more can be written; None while it can.
        self._room: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no asyncio.Transport, they only behave like one.
        self.transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.transport is not None:
            self.pool.outbox.drop(self.transport)
        self.pool.forget(self)
        self.resume_writing()
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        if self.answer is not None:
            self.answer.lost(exc)
            self.answer = None

    def data_received(self, data: bytes) -> None:
        answer = self.answer
        if answer is None or self.parser is None:
            self.abort()  # bytes that nobody asked for: nothing after them can be trusted
            return
        try:
            self.parser.feed_data(data)
            answer.received(len(data))
        except (httptools.HttpParserError, httptools.HttpParserUpgrade, Malformed) as exc:
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

    def pause_writing(self) -> None:
        self._room = self.pool.loop.create_future()

    def resume_writing(self) -> None:
        room, self._room = self._room, None
        if room is not None and not room.done():
            room.set_result(None)

    async def write(self, piece: bytes) -> None:
        """More of a body; waits until the socket takes it."""
        if self.transport is not None:
            self.pool.outbox.send(self.transport)  # what comes before it
            self.transport.write(piece)
        if self._room is not None:
            await self._room

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


class UpstreamPool:
    """Connections to providers, for one event loop.

    Args:
        tls: for https; by default those that the environment trusts, loaded on first use.
        proxies: on the way to providers; none by default.
        outside: which hosts must lead out of this machine's networks.
    """

    def __init__(
        self,
        *,
        tls: "ssl.SSLContext | None" = None,
        proxies: Proxies | None = None,
        outside: Outside = nowhere,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.outbox = Outbox(self.loop)
        self._tls = tls
        self._proxies = proxies
        self._outside = outside
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
        assert connection.transport is not None
        content = b"%bcontent-length: %d\r\n\r\n%b" % (head, len(body), body)
        self.outbox.put(connection.transport, content)
        try:
            while not answer.top:
                await answer.more()
        except BaseException:
            answer.close()
            raise
        return answer

    async def send_file(
        self, origin: Origin, head: bytes, source: BinaryIO, size: int, *, timeout_s: float
    ) -> Answer:
        """As ``send``, with a body that is a file: it is read piece by piece, in a thread.

        Args:
            size: bytes of it, from where it stands.

        Raises as ``send``; TimedOut, too, where the other end takes no more of it.
        """
        connection = await self._connect(origin, timeout_s)  # a kept one may be closed by now
        answer = Answer(connection, self.loop, timeout_s)
        assert connection.transport is not None
        self.outbox.put(connection.transport, b"%bcontent-length: %d\r\n\r\n" % (head, size))
        try:
            while not answer.top and (piece := await asyncio.to_thread(source.read, _PIECE)):
                try:
                    async with asyncio.timeout(timeout_s):
                        await connection.write(piece)
                except TimeoutError:
                    fault = TimedOut(f"{origin.host} took nothing for {timeout_s:g} s")
                else:
                    continue
                raise fault
            while not answer.top:
                await answer.more()
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
        why: BaseException | None = None
        try:
            async with asyncio.timeout(min(timeout_s, CONNECT_S)):
                connection = await self._connected(origin)
        except TimeoutError:
            fault = TimedOut(f"{origin.host} did not take the connection")
        except ProviderError as exc:
            fault = exc
        except ConnectionError as exc:  # before ssl, which nothing else may have loaded
            why = exc
            fault = _unconnected(origin, exc)
        except ssl.SSLCertVerificationError as exc:
            why = exc
            fault = Untrusted(
                f"{origin.host}: its certificate is not trusted: {exc.verify_message}",
                hint="SSL_CERT_FILE names the certificates of an authority of your own",
            )
        except ssl.SSLError as exc:
            why = exc
            fault = ConnectionFailed(f"{origin.host}: TLS failed: {exc.reason or exc}")
        except OSError as exc:
            why = exc
            fault = _unconnected(origin, exc)
        else:
            self._all.add(connection)
            return connection
        fault.reached = False  # nothing was sent, so nothing can have been charged
        raise fault from why or fault.__cause__

    async def _connected(self, origin: Origin) -> _Connection:
        loop = self.loop
        host, port = origin.host, origin.port
        context = self._context() if origin.tls else None
        proxy = None if self._proxies is None else self._proxies.of(host, port, tls=origin.tls)
        name = host if context is not None else None
        places = await addresses_outside(host, port) if self._outside(host, port) else [host]
        if proxy is None:
            for place in places[:-1]:
                with contextlib.suppress(OSError):  # the next may take it
                    return await self._directly(origin, place, context, name)
            return await self._directly(origin, places[-1], context, name)
        transport = await _tunnel(proxy, places[0], port)
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

    async def _directly(
        self, origin: Origin, place: str, context: "ssl.SSLContext | None", name: str | None
    ) -> _Connection:
        _, connection = await self.loop.create_connection(
            lambda: _Connection(self, origin), place, origin.port, ssl=context, server_hostname=name
        )
        return connection

    def _context(self) -> "ssl.SSLContext":
        if self._tls is None:
            try:
                self._tls = trusted()
            except OSError as exc:
                raise ConnectionFailed(
                    "the trusted certificates cannot be read", hint="Check SSL_CERT_FILE."
                ) from exc
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


class _Asking(asyncio.Protocol):
    """Waits for the head of the proxy's answer."""

    def __init__(self, answer: "asyncio.Future[bytes]") -> None:
        self._answer = answer
        self._head = b""

    def data_received(self, data: bytes) -> None:
        self._head += data
        if b"\r\n\r\n" in self._head or len(self._head) > _MOST_HEAD:
            self._settle()

    def connection_lost(self, _: Exception | None) -> None:
        self._settle()

    def _settle(self) -> None:
        if not self._answer.done():
            self._answer.set_result(self._head)


async def _tunnel(proxy: Proxy, host: str, port: int) -> asyncio.Transport:
    """A connection to ``host`` through the proxy; nothing was sent over it yet.

    Raises:
        OSError: the proxy cannot be reached.
        ConnectionFailed: it does not lead there.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[bytes] = loop.create_future()
    transport, _ = await loop.create_connection(lambda: _Asking(answer), proxy.host, proxy.port)
    fault: ProviderError | None = None
    try:
        target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        lines = [f"CONNECT {target} HTTP/1.1", f"host: {target}"]
        if proxy.login:
            lines.append(f"proxy-authorization: {proxy.login}")
        transport.write(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
        head = await answer
        status = head[9:12]
        if not head.startswith(b"HTTP/1.") or not status.isdigit():
            fault = ConnectionFailed(f"the proxy {proxy.host}:{proxy.port} does not speak HTTP/1.1")
        elif not status.startswith(b"2"):
            fault = ConnectionFailed(
                f"the proxy {proxy.host}:{proxy.port} does not lead to {host}:{port}: "
                f"HTTP {status.decode()}",
                hint="its name and password stand in HTTPS_PROXY, hosts without it in NO_PROXY",
            )
    except BaseException:
        transport.abort()
        raise
    if fault is not None:
        transport.abort()
        raise fault
    return transport


def _unconnected(origin: Origin, exc: OSError) -> ConnectionFailed:
    """In the system's words; asyncio's hold the address, too."""
    why = exc.strerror or "no address of it takes the connection"
    if exc.errno is not None and exc.errno > 0:
        why = os.strerror(exc.errno)
    return ConnectionFailed(f"cannot connect to {origin.host}:{origin.port}: {why}")
