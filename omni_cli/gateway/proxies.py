"""Providers behind a proxy: HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY, as the CLI keeps them.

Calls go through a tunnel (CONNECT, RFC 9110 9.3.6), so that the proxy sees hosts and no contents.
"""

import asyncio
import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from omni_cli.domain.errors import ConfigError, ConnectionFailed, ProviderError
from omni_cli.domain.hosts import is_loopback

#: Longest head of a proxy's answer, bytes.
_MOST_HEAD = 16 * 1024


@dataclass(frozen=True, slots=True)
class Proxy:
    """``login``: the value of Proxy-Authorization, "" for none."""

    host: str
    port: int
    login: str = field(default="", repr=False)


class Proxies:
    """Args:
    env: variables in capitals or not; those that are not go before.

    Raises:
        ConfigError: a proxy is of a kind that is not spoken.
    """

    def __init__(self, env: Mapping[str, str]) -> None:
        found: dict[str, str] = {}
        for name, value in sorted(env.items()):  # capitals come first
            kind, _, rest = name.rpartition("_")
            if rest.lower() == "proxy":
                found[kind.lower()] = value
        self._none = {"no": found.get("no", "")}
        self._by_scheme: dict[bool, Proxy] = {}
        for tls, scheme in ((True, "https"), (False, "http")):
            url = found.get(scheme) or found.get("all")
            if url:
                self._by_scheme[tls] = _proxy(url, scheme)

    def of(self, host: str, port: int, *, tls: bool) -> Proxy | None:
        """The proxy on the way to a host; None for this machine, and where none is wanted."""
        proxy = self._by_scheme.get(tls)
        if proxy is None or is_loopback(host):
            return None
        # It is there on all systems; the stubs know it on none.
        from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined]

        bypass = proxy_bypass_environment(f"{host}:{port}", self._none)
        return None if bypass else proxy


def _proxy(url: str, scheme: str) -> Proxy:
    parts = urlsplit(url if "://" in url else f"http://{url}")
    try:
        port = parts.port or 80
    except ValueError:
        port = 0
    if parts.scheme != "http" or not parts.hostname or not port:
        raise ConfigError(
            f"{scheme.upper()}_PROXY is no http:// proxy: the gateway speaks to no other",
            hint="name an http:// proxy, or list the providers' hosts in NO_PROXY",
        )
    login = ""
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        login = "Basic " + base64.b64encode(pair.encode()).decode()
    return Proxy(parts.hostname, port, login)


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


async def tunnel(proxy: Proxy, host: str, port: int) -> asyncio.Transport:
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
