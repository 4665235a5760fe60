"""The lines of a head that authorize a call which no fixed header does."""

from omni_cli.http.client import UpstreamPool, encode_head, locate
from omni_cli.ports import HttpCall
from omni_cli.wire.access import authorized

#: Longest wait for a token, seconds, and most bytes of one.
_TOKEN_S, _MOST_TOKEN = 10.0, 1 << 20


async def signed(pool: UpstreamPool, call: HttpCall, body: bytes) -> bytes:
    """What goes behind the head of ``call`` with this body; b"" where it needs nothing more.

    Raises ProviderError: no token was given. Nothing of the call was sent.
    """

    async def fetch(asks: HttpCall) -> tuple[int, str]:
        origin, path, host = locate(asks.url)
        head = encode_head(asks.method, path, host, {"user-agent": "omni", **asks.headers})
        answer = await pool.send(origin, head, asks.body or b"", timeout_s=_TOKEN_S)
        try:
            return answer.status, (await answer.whole(_MOST_TOKEN)).decode("utf-8", "replace")
        finally:
            answer.close()

    found = await authorized(call, body, fetch)
    return "".join(f"{name}: {value}\r\n" for name, value in found.items()).encode("latin-1")
