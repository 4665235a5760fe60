"""What the environment says of the way to a provider: proxies, and whose certificates to trust.

One rule for our own client and for httpx, whose own reading stops at the networks and brackets that
VPN clients and container tools write into NO_PROXY (encode/httpx#3574).
"""

from __future__ import annotations

import base64
import ipaddress
import os
import ssl
import sys
from collections.abc import Mapping
from contextlib import suppress
from urllib.parse import unquote, urlsplit

from msgspec import Struct

from omni_cli.domain.errors import ConfigError
from omni_cli.domain.hosts import is_loopback

_SCHEMES = {True: "https", False: "http"}


class Proxy(Struct, frozen=True):
    """``login``: the value of Proxy-Authorization, "" for none."""

    host: str
    port: int
    login: str = ""

    def __repr__(self) -> str:
        """Without the login: it is a secret."""
        return f"Proxy(host={self.host!r}, port={self.port})"


class ProxyRule:
    """HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY.

    Args:
        env: variables in capitals or not; those that are not go before.
    """

    def __init__(self, env: Mapping[str, str] = os.environ) -> None:
        found: dict[str, str] = {}
        for name, value in sorted(env.items()):  # capitals come first
            kind, _, rest = name.rpartition("_")
            if rest.lower() == "proxy":
                found[kind.lower()] = value.strip()
        #: The proxy's URL for https and for http, where there is one.
        self.urls: dict[bool, str] = {}
        for tls, scheme in _SCHEMES.items():
            if url := found.get(scheme) or found.get("all"):
                self.urls[tls] = url if "://" in url else f"http://{url}"
        self._none = [
            _Exception.of(item) for item in found.get("no", "").split(",") if item.strip()
        ]

    def url(self, host: str, port: int, *, tls: bool) -> str | None:
        """The proxy on the way to a host; None for this machine, and where none is wanted."""
        url = self.urls.get(tls)
        if url is None or is_loopback(host):
            return None
        host = host.strip("[]").rstrip(".").lower()
        return None if any(none.holds(host, port, tls) for none in self._none) else url


class Proxies(ProxyRule):
    """The same for our own client, which speaks to ``http://`` proxies only: calls go through a
    tunnel (CONNECT, RFC 9110 9.3.6), so that the proxy sees hosts and no contents.

    Raises:
        ConfigError: a proxy is of another kind.
    """

    def __init__(self, env: Mapping[str, str] = os.environ) -> None:
        super().__init__(env)
        self._made = {url: _proxy(url, tls) for tls, url in self.urls.items()}

    def of(self, host: str, port: int, *, tls: bool) -> Proxy | None:
        url = self.url(host, port, tls=tls)
        return None if url is None else self._made[url]


class _Exception(Struct, frozen=True):
    """One entry of NO_PROXY: ``*``, a name and the names below it, an address or a network; with a
    scheme before it or a port behind it where only these are meant.

    Sources: curl's manual, --noproxy; entries as OrbStack, Docker Desktop and VPN clients write
    them (orbstack#2456, kimi-cli#1959, basic-memory#1541, hermes-agent#59465).
    """

    name: str
    network: ipaddress.IPv4Network | ipaddress.IPv6Network | None
    port: int | None
    scheme: str

    @classmethod
    def of(cls, text: str) -> _Exception:
        scheme, _, host = text.strip().lower().rpartition("://")
        host, port = host.rstrip("/"), ""
        if host.startswith("["):  # [::1], [::1]:8080, [fd00::]/64
            host, _, rest = host[1:].partition("]")
            host, port = (host + rest, "") if rest.startswith("/") else (host, rest[1:])
        elif host.count(":") == 1:
            host, _, port = host.partition(":")
        network = None
        with suppress(ValueError):
            network = ipaddress.ip_network(host, strict=False)
        name = host if host == "*" else host.lstrip("*").strip(".")
        return cls(name, network, int(port) if port.isdecimal() else None, scheme)

    def holds(self, host: str, port: int, tls: bool) -> bool:
        if self.port not in (None, port) or self.scheme not in ("", "all", _SCHEMES[tls]):
            return False
        if self.network is not None:
            with suppress(ValueError):
                return ipaddress.ip_address(host) in self.network
        return bool(self.name) and (self.name in ("*", host) or host.endswith(f".{self.name}"))


def _proxy(url: str, tls: bool) -> Proxy:
    parts = urlsplit(url)
    try:
        port = parts.port or 80
    except ValueError:
        port = 0
    if parts.scheme != "http" or not parts.hostname or not port:
        raise ConfigError(
            f"{_SCHEMES[tls].upper()}_PROXY is no http:// proxy: the gateway speaks to no other",
            hint="name an http:// proxy, or list the providers' hosts in NO_PROXY",
        )
    login = ""
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        login = "Basic " + base64.b64encode(pair.encode()).decode()
    return Proxy(parts.hostname, port, login)


def trusted(env: Mapping[str, str] = os.environ) -> ssl.SSLContext:
    """Whose certificates are believed: SSL_CERT_FILE's or SSL_CERT_DIR's alone where one is set,
    else this system's, else (where it has none, as small containers) those that come with httpx.

    Raises OSError: the file cannot be read.
    """
    if file := env.get("SSL_CERT_FILE"):
        return ssl.create_default_context(cafile=file)
    if folder := env.get("SSL_CERT_DIR"):
        return ssl.create_default_context(capath=folder)
    usual = ssl.get_default_verify_paths()
    if usual.cafile or usual.capath or sys.platform == "win32":
        return ssl.create_default_context()
    import certifi

    return ssl.create_default_context(cafile=certifi.where())
