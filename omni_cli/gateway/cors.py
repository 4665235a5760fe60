"""Web pages that may call the gateway: what browsers ask before, and want to read in answers.

Only pages that ``--origin`` names get these headers; without them a browser shows a page nothing.
Source: the Fetch standard, "CORS protocol"; Private Network Access for a page of the web that asks
a server of this machine.
"""

from collections.abc import Collection, Mapping

#: Seconds that a browser may remember what it was told.
_AGE_S = 600
_METHODS = "GET, POST, PUT, PATCH, DELETE, OPTIONS"
_SHOWN = (
    "retry-after, request-id, x-request-id, x-should-retry, x-omni-request-id, x-omni-model, "
    "x-ratelimit-limit-requests, x-ratelimit-remaining-requests, x-ratelimit-reset-requests, "
    "x-ratelimit-limit-tokens, x-ratelimit-remaining-tokens, x-ratelimit-reset-tokens, "
    "x-omni-attempts, x-omni-hedged, x-omni-cost-usd, x-omni-cache, x-omni-estimated"
)


def is_named(origin: str, origins: Collection[str]) -> bool:
    return origin in origins or "*" in origins


def is_preflight(method: str, headers: Mapping[str, str]) -> bool:
    return method == "OPTIONS" and "access-control-request-method" in headers


def answer_lines(origin: str) -> bytes:
    """For every answer to a page that is named. ``origin`` is one of ours, or any for "*"."""
    return (
        f"access-control-allow-origin: {_clean(origin)}\r\nvary: origin\r\n"
        f"access-control-expose-headers: {_SHOWN}\r\n"
    ).encode("latin-1")


def preflight_lines(headers: Mapping[str, str]) -> bytes:
    """What the page may send."""
    wished = _clean(headers.get("access-control-request-headers", ""))
    lines = f"access-control-allow-methods: {_METHODS}\r\naccess-control-max-age: {_AGE_S}\r\n"
    if wished:
        lines += f"access-control-allow-headers: {wished}\r\n"
    if headers.get("access-control-request-private-network") == "true":
        lines += "access-control-allow-private-network: true\r\n"
    return lines.encode("latin-1")


def _clean(value: str) -> str:
    """Without what could begin a header of the caller's making."""
    return "".join(c for c in value if c.isprintable())[:1024]
