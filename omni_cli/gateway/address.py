"""Where a provider is, and the head of a call to it."""

from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import urlsplit


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


def encode_head(method: str, path: str, host: str, headers: Mapping[str, str]) -> bytes:
    """Request line and headers without Content-Length and the empty line.

    Raises ValueError for a line break or another control character in any of them: it would
    begin a header, or a request, of somebody else's making.
    """
    lines = [f"{method} {path} HTTP/1.1", f"host: {host}", "accept-encoding: identity"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    for line in lines:
        if not line.isprintable():
            raise ValueError("a control character in a request's head")
    return ("\r\n".join(lines) + "\r\n").encode("latin-1")
