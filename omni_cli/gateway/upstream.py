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
from typing import Protocol, cast

import httptools

from omni_cli.domain.errors import ConnectionFailed, Malformed, ProviderError, TimedOut
from omni_cli.gateway.address import Origin
from omni_cli.gateway.answer import Answer
from omni_cli.gateway.outbox import Outbox
from omni_cli.gateway.proxies import Proxies, tunnel

#: Longest wait for a connection, seconds; a call's own timeout may be shorter.
CONNECT_S = 10.0
#: Idle connections kept for an origin, and how long, seconds. Providers close theirs after a
#: minute or more; a connection that they close first costs a retry.
KEPT = 256
KEPT_S = 20.0


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
        self.parser: httptools.HttpResponseParser | None = None

    @property
    def host(self) -> str:
        return self.origin.host

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no asyncio.Transport, they only behave like one.
        self.transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.transport is not None:
            self.pool.outbox.drop(self.transport)
        self.pool.forget(self)
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        if self.answer is not None:
            self.answer.lost(exc)
            self.answer = None

    def send(self, answer: Answer, data: bytes) -> None:
        assert self.transport is not None
        self.answer = answer
        self.parser = httptools.HttpResponseParser(answer)
        self.pool.outbox.put(self.transport, data)

    def data_received(self, data: bytes) -> None:
        answer = self.answer
        if answer is None or self.parser is None:
            self.abort()  # bytes that nobody asked for: nothing after them can be trusted
            return
        try:
            self.parser.feed_data(data)
            answer.received(len(data))
        except (httptools.HttpParserError, Malformed) as exc:
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
        self.outbox = Outbox(self.loop)
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
            fault = ConnectionFailed(f"cannot connect to {origin.host}:{origin.port}: {_why(exc)}")
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


def _why(exc: OSError) -> str:
    """In the system's words; asyncio's hold the address, too."""
    if exc.errno is not None and exc.errno > 0:
        return os.strerror(exc.errno)
    return exc.strerror or "no address of it takes the connection"
