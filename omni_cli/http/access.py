"""Where a call goes, and the lines of its head, those that authorize it included."""

from collections.abc import Mapping

from omni_cli.domain.errors import ConfigError
from omni_cli.http.client import Origin, UpstreamPool, encode_head, locate
from omni_cli.ports import HttpCall
from omni_cli.wire.access import authorized

#: Longest wait for a token, seconds, and most bytes of one.
_TOKEN_S, _MOST_TOKEN = 10.0, 1 << 20


def addressed(call: HttpCall, more: Mapping[str, str] | None = None) -> tuple[Origin, bytes]:
    """Where it goes, and its head as ``UpstreamPool.send`` takes it.

    Args:
        more: headers beside its own.

    Raises ConfigError: the provider's address or headers cannot be sent.
    """
    try:
        origin, path, host = locate(call.url)
        headers = {"user-agent": "omni", **call.headers, **(more or {})}
        return origin, encode_head(call.method, path, host, headers)
    except ValueError as exc:
        message = f"the provider's address or headers cannot be used: {exc}"
    raise ConfigError(message, hint="omni providers edit SLUG --base-url URL")


async def signed(pool: UpstreamPool, call: HttpCall, body: bytes) -> bytes:
    """What goes behind the head of ``call`` with this body; b"" where it needs nothing more.

    Raises ProviderError: no token was given. Nothing of the call was sent.
    """

    async def fetch(asks: HttpCall) -> tuple[int, str]:
        origin, head = addressed(asks)
        answer = await pool.send(origin, head, asks.body or b"", timeout_s=_TOKEN_S)
        try:
            return answer.status, (await answer.whole(_MOST_TOKEN)).decode("utf-8", "replace")
        finally:
            answer.close()

    found = await authorized(call, body, fetch)
    return "".join(f"{name}: {value}\r\n" for name, value in found.items()).encode("latin-1")
