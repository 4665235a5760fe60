"""Sends any adapter's calls; the only module that imports httpx.

A call goes over our own client (``omni_cli/http``) where nothing but this machine and its network
is on the way: to import httpx with what it stands on takes as long as all else that ``omni chat``
does before its request, and a round of health checks over it as long as all else of that round.
Whatever has a proxy on its way or asks for a token goes over httpx.

Errors are raised outside the ``except`` that caught the library's: an httpx error carries the
request, whose headers hold the key, and a chained exception would take it along.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from functools import cached_property, lru_cache
from importlib import import_module
from itertools import chain
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar

from omni_cli.domain.chat import ChatChunk
from omni_cli.domain.errors import Malformed, ProviderError
from omni_cli.domain.hosts import host_and_port
from omni_cli.http.client import CONNECT_S, UpstreamPool, encode_head, locate
from omni_cli.http.environment import ProxyRule, trusted
from omni_cli.http.outside import Outside, addresses_outside, nowhere
from omni_cli.ports import HttpCall, ProviderAdapter, Transport
from omni_cli.wire import trouble
from omni_cli.wire.access import authorized, secrets_of
from omni_cli.wire.framing import MAX_EVENT_BYTES
from omni_cli.wire.reader import AnswerReader, cleaned, kept_headers, refused

if TYPE_CHECKING:
    import httpx

    from omni_cli.http.answer import Answer
else:

    class _Later:
        """httpx, once it is asked for something. Its own command line imports click and rich
        (132 -> 79 ms); it works without."""

        def __getattr__(self, name: str) -> Any:
            blocked = "httpx" not in sys.modules
            if blocked:
                sys.modules["httpx._main"] = None  # "not importable"
            module = globals()["httpx"] = import_module("httpx")
            if blocked:
                del sys.modules["httpx._main"]
            return getattr(module, name)

    httpx = _Later()


def _caught() -> tuple[type[Exception], ...]:
    """What our client and httpx raise, and what they let through: a header that is not ASCII
    (ValueError), a proxy setting that cannot be used (ValueError, ImportError), a certificate file
    that is not there."""
    own = (ProviderError, OSError, ValueError, ImportError)
    if "httpx" not in sys.modules:
        return own
    return (*own, httpx.HTTPError, httpx.InvalidURL, httpx.StreamError)


#: Most bytes of an error's body that are read.
_MAX_ERROR_BYTES = 1024 * 1024

_T = TypeVar("_T")

_HEADERS = {"user-agent": "omni"}


def _timeout(timeout_s: float) -> httpx.Timeout:
    return httpx.Timeout(timeout_s, connect=min(timeout_s, CONNECT_S))


def _client_key(url: httpx.URL, rule: ProxyRule) -> tuple[bool, str | None]:
    """Whether certificates are needed, and the proxy on the way: calls that agree in both share a
    client."""
    tls = url.scheme == "https"
    return tls, rule.url(url.host, _port(url), tls=tls)


def _port(url: httpx.URL) -> int:
    return url.port or (443 if url.scheme == "https" else 80)


def _options(key: tuple[bool, str | None]) -> dict[str, Any]:
    tls, proxy = key
    needs = tls or (proxy or "").startswith("https")
    # For plain HTTP nobody is trusted: loading the certificates would cost 20 ms.
    where = os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
    verify = _trusted(*where) if needs else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return {
        "proxy": proxy,
        "verify": verify,
        "trust_env": False,
        "limits": httpx.Limits(
            max_connections=512, max_keepalive_connections=32, keepalive_expiry=30.0
        ),
        "headers": _HEADERS,
    }


@lru_cache(maxsize=8)
def _trusted(*_: str | None) -> ssl.SSLContext:
    """The certificates that the environment's variables, the arguments, name: read once."""
    return trusted()


def _build(
    client: httpx.AsyncClient, call: HttpCall, more: Mapping[str, str], timeout_s: float
) -> httpx.Request:
    return client.build_request(
        call.method,
        call.url,
        headers={**call.headers, **more},
        content=call.body,
        timeout=_timeout(timeout_s),
    )


def _reader(
    adapter: ProviderAdapter, call: HttpCall, response: Received, max_bytes: int
) -> AnswerReader:
    content_type = response.headers.get("content-type", "")
    return AnswerReader(adapter, call, content_type, max_bytes=max_bytes)


def _refusal(
    adapter: ProviderAdapter, call: HttpCall, response: Received, body: str
) -> ProviderError:
    return refused(adapter, call, response.status_code, dict(response.headers), body)


class Received(Protocol):
    """An answer whose head has come, as httpx has it."""

    @property
    def status_code(self) -> int: ...

    @property
    def headers(self) -> Mapping[str, str]: ...

    def aiter_bytes(self) -> AsyncIterator[bytes]: ...

    async def aclose(self) -> None: ...


class _Direct:
    """One that came over our own client."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self.status_code = answer.status
        self.headers: Mapping[str, str] = answer.headers

    async def aiter_bytes(self) -> AsyncIterator[bytes]:
        while piece := await self._answer.read():
            yield piece
            self._answer.progress()

    async def aclose(self) -> None:
        self._answer.close()


class _Silence:
    """Adds up the waiting since the last event: keep-alive bytes without one do not count.

    Args:
        waited_s: for the answer's head.
    """

    def __init__(self, reader: AnswerReader, limit_s: float, waited_s: float) -> None:
        self._reader = reader
        self._limit_s = limit_s
        self._signs = 0
        self._waited_s = waited_s
        self._since = 0.0

    def begins(self) -> None:
        self._since = time.monotonic()

    def ends(self) -> None:
        self._waited_s += time.monotonic() - self._since

    @property
    def left_s(self) -> float:
        return max(self._limit_s - self._waited_s, 0.001)

    @property
    def too_long(self) -> bool:
        if self._reader.signs != self._signs:
            self._signs = self._reader.signs
            self._waited_s = 0.0
        return self._waited_s > self._limit_s


class HttpAnswer:
    """An answer being received: an async context manager and iterator; see ports.AnswerStream."""

    def __init__(
        self,
        response: Received,
        reader: AnswerReader,
        call: HttpCall,
        timeout_s: float,
        waited_s: float,
    ) -> None:
        self._response = response
        self._reader = reader
        self._call = call
        self._timeout_s = timeout_s
        self._silence = _Silence(reader, timeout_s, waited_s)
        self._pieces = response.aiter_bytes()
        self._chunks: Iterator[ChatChunk] = iter(())
        #: What is raised once its last chunk was read.
        self._fault: ProviderError | None = None
        self._over = False
        self.headers: Mapping[str, str] = kept_headers(response.headers, secrets_of(call))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._response.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ChatChunk:
        fault: ProviderError | None = None
        try:
            while True:
                for chunk in self._chunks:
                    return chunk
                if self._fault is not None:
                    raise self._fault
                if self._over:
                    break
                self._chunks = await self._more()
        except ProviderError as error:
            # The frames below hold what the server sent, which may echo the key.
            fault = cleaned(error.with_traceback(None), self._call)
        if fault is not None:
            raise fault
        raise StopAsyncIteration

    async def _more(self) -> Iterator[ChatChunk]:
        """The chunks of the next piece."""
        silence = self._silence
        fault: ProviderError
        silence.begins()
        try:
            async with asyncio.timeout(silence.left_s):
                piece = await anext(self._pieces, None)
        except _caught() as exc:
            fault = trouble.fault(exc, self._call, self._timeout_s)
        else:
            silence.ends()
            if piece is None:
                self._over = True
                return self._reader.end()
            chunks = [*self._fed(piece)]
            if self._fault is not None or not silence.too_long:
                return iter(chunks)
            fault = trouble.silent(self._call, self._timeout_s)
            self._over = True
            return chain(chunks, self._reader.end_after(fault))
        self._over = True
        return self._reader.end_after(fault)

    def _fed(self, piece: bytes) -> Iterator[ChatChunk]:
        """What a piece holds; a fault within it comes after what came before."""
        try:
            yield from self._reader.feed(piece)
        except ProviderError as error:
            self._fault = error


class HttpTransport:
    """Sends calls over pooled connections, within one event loop. See ports.Transport.

    Args:
        max_event_bytes: most bytes of one event or plain body; more raises Malformed.
        outside: which hosts must lead out of this machine's networks.
    """

    def __init__(
        self, *, max_event_bytes: int = MAX_EVENT_BYTES, outside: Outside = nowhere
    ) -> None:
        self._max_bytes = max_event_bytes
        self._outside = outside
        #: By TLS, proxy, and the name of a host whose connections are nobody else's.
        self._clients: dict[tuple[bool, str | None, str], httpx.AsyncClient] = {}
        self._pool: UpstreamPool | None = None

    async def open(
        self, adapter: ProviderAdapter, call: HttpCall, *, timeout_s: float
    ) -> HttpAnswer:
        began = time.monotonic()
        response = await self._send(adapter, call, timeout_s, whole=False)
        reader = _reader(adapter, call, response, self._max_bytes)
        return HttpAnswer(response, reader, call, timeout_s, time.monotonic() - began)

    async def fetch(self, adapter: ProviderAdapter, call: HttpCall, *, timeout_s: float) -> str:
        due = time.monotonic() + timeout_s
        response = await self._send(adapter, call, timeout_s, whole=True)
        body = bytearray()
        fault: ProviderError | None = None
        try:
            async with asyncio.timeout(due - time.monotonic()):
                async for piece in response.aiter_bytes():
                    body += piece
                    if len(body) > self._max_bytes:
                        fault = Malformed(f"The answer exceeds {self._max_bytes} bytes")
                        break
        except _caught() as exc:
            fault = trouble.fault(exc, call, timeout_s)
        finally:
            await response.aclose()
        if fault is not None:
            raise cleaned(fault, call)
        return body.decode("utf-8", "replace")

    async def _token(self, call: HttpCall) -> tuple[int, str]:
        """Status and body of a call that asks for a token; its caller bounds the time."""
        fault: ProviderError
        try:
            client = self._client(call.url)
            request = _build(client, call, {}, CONNECT_S)
            await self._lead_out(request, call.url)
            response = await client.send(request)
        except _caught() as exc:
            fault = trouble.fault(exc, call, CONNECT_S)
        else:
            return response.status_code, response.text
        raise fault

    async def close(self) -> None:
        clients, self._clients = self._clients, {}
        self.__dict__.pop("_rule", None)
        if self._pool is not None:
            self._pool.close()
            self._pool = None
        for client in clients.values():
            await client.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @cached_property
    def _rule(self) -> ProxyRule:
        return ProxyRule()

    async def _directly(
        self, call: HttpCall, more: Mapping[str, str], timeout_s: float, *, whole: bool
    ) -> _Direct | None:
        """What answers over our own client; None where that cannot send the call."""
        url = call.url
        if not url.isascii() or not url.isprintable() or " " in url or "@" in url:
            return None
        try:
            origin, path, host = locate(url)
        except ValueError:
            return None
        if self._rule.url(origin.host, origin.port, tls=origin.tls) is not None:
            return None
        try:
            headers = {**_HEADERS, **call.headers, **more}
            codings = "gzip, deflate" if whole else "identity"
            head = encode_head(call.method, path, host, headers, codings=codings)
            head.decode("ascii")
        except ValueError:
            head = b""
        if not head:
            raise UnicodeError("a header's value cannot be sent")
        if self._pool is None:
            self._pool = UpstreamPool(outside=self._outside)
        body = call.body or b""
        return _Direct(await self._pool.send(origin, head, body, timeout_s=timeout_s))

    def _client(self, url: str) -> httpx.AsyncClient:
        parts = httpx.URL(url)
        tls, proxy = _client_key(parts, self._rule)
        key = tls, proxy, parts.host if self._outside(*host_and_port(url)) else ""
        if key not in self._clients:
            self._clients[key] = httpx.AsyncClient(**_options((tls, proxy)))
        return self._clients[key]

    async def _lead_out(self, request: httpx.Request, said: str) -> None:
        """Have a request go to an address of its host that was looked at, where it must lead out
        of this machine's networks. Raises ConnectionFailed: it does not.

        Args:
            said: its URL as the fleet spells it: httpx writes names of other scripts otherwise.
        """
        if self._outside(*host_and_port(said)):
            url = request.url
            name = url.raw_host.decode("ascii")
            places = await addresses_outside(name, _port(url))
            request.url = url.copy_with(host=places[0])
            request.extensions = {**request.extensions, "sni_hostname": name}

    async def _over_httpx(
        self, call: HttpCall, more: Mapping[str, str], timeout_s: float
    ) -> Received:
        client = self._client(call.url)
        request = _build(client, call, more, timeout_s)
        await self._lead_out(request, call.url)
        return await client.send(request, stream=True)

    async def _send(
        self, adapter: ProviderAdapter, call: HttpCall, timeout_s: float, *, whole: bool
    ) -> Received:
        fault: ProviderError
        due = time.monotonic() + timeout_s
        try:
            async with asyncio.timeout(timeout_s):
                more = await authorized(call, call.body or b"", self._token) if call.access else {}
                directly = await self._directly(call, more, timeout_s, whole=whole)
                response = directly or await self._over_httpx(call, more, timeout_s)
        except _caught() as exc:
            fault = trouble.fault(exc, call, timeout_s)
        else:
            if 200 <= response.status_code < 300:
                return response
            left_s = due - time.monotonic()
            # Kept in no variable: it may echo the key, and a traceback shows its frames.
            fault = _refusal(adapter, call, response, await _error_body(response, left_s))
        raise cleaned(fault, call)


async def _error_body(response: Received, timeout_s: float) -> str:
    """As much of an error's body as comes; a failure on the way leaves what came before."""
    body = bytearray()
    try:
        async with asyncio.timeout(timeout_s):
            async for piece in response.aiter_bytes():
                body += piece
                if len(body) > _MAX_ERROR_BYTES:
                    break
    except _caught():
        return body.decode("utf-8", "replace")
    finally:
        await response.aclose()
    return body.decode("utf-8", "replace")


class HttpFetcher:
    """See ports.Fetcher. ``outside``: as HttpTransport's."""

    def __init__(self, *, outside: Outside = nowhere) -> None:
        self._outside = outside

    def fetch(self, adapter: ProviderAdapter, call: HttpCall, *, timeout_s: float) -> str:
        return self.run(lambda transport: transport.fetch(adapter, call, timeout_s=timeout_s))

    def run(self, work: Callable[[Transport], Coroutine[Any, Any, _T]]) -> _T:
        async def once() -> _T:
            async with HttpTransport(outside=self._outside) as transport:
                return await work(transport)

        return asyncio.run(once())

    def close(self) -> None:
        """Nothing is kept open."""
