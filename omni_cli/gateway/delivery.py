"""Telling the caller: heads, pieces, the receipt, and what went wrong."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any

from omni_cli.domain.errors import (
    AllProvidersFailed,
    AuthError,
    BadRequest,
    BudgetExceeded,
    Busy,
    ConfigError,
    ContentFiltered,
    OmniError,
    ProviderError,
    StreamInterrupted,
    UnknownPrice,
)
from omni_cli.domain.pricing import usd_string
from omni_cli.gateway.protocols.base import Caller
from omni_cli.gateway.receipts import Receipt
from omni_cli.services.attempts import AttemptSummary, Target
from omni_cli.services.settlement import Reading

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

#: Errors that a single target's failure is told by, as they are.
_PLAIN = (AuthError, BadRequest, ContentFiltered, ConfigError, Busy)


class Delivery:
    """The way back to one caller.

    Every method raises CancelledError when the caller is gone: to its exchange that is the same
    as being stopped.

    Args:
        send: of ASGI.
        request_id: the caller's protocol's own id of this request.
    """

    def __init__(self, caller: Caller, receipt: Receipt, send: Send, request_id: str) -> None:
        self._caller = caller
        self._receipt = receipt
        self._send = send
        self._request_id = request_id
        #: The head went out.
        self.started = False

    async def whole(self, body: bytes) -> None:
        """A whole answer of JSON. Its request must be settled: its cost is in the head."""
        headers = self._headers()
        cost = self._receipt.total_nusd
        if cost is not None:
            headers.append((b"x-omni-cost-usd", usd_string(cost).encode()))
        headers.append((b"content-type", b"application/json"))
        headers.append((b"content-length", b"%d" % len(body)))
        await self._begin(headers)
        await self.piece(body, more=False)

    async def begin_stream(self, content_type: str) -> None:
        headers = self._headers()
        headers.append((b"content-type", _header(content_type or self._caller.stream_type)))
        headers.append((b"cache-control", b"no-cache"))
        await self._begin(headers)

    async def piece(self, data: bytes, *, more: bool = True) -> None:
        try:
            await self._send({"type": "http.response.body", "body": data, "more_body": more})
        except OSError:
            raise asyncio.CancelledError("the caller went away") from None

    async def end_stream(self, rest: bytes) -> None:
        """The last bytes, and the receipt as a comment where the protocol passes over one."""
        receipt = self._receipt
        if self._caller.comments:
            cost = receipt.total_nusd
            told = "unknown" if cost is None else usd_string(cost)
            line = f": omni request={receipt.name} cost_usd={told}"
            rest += f"{line} attempts={receipt.progress.tries}\n\n".encode()
        await self.piece(rest, more=False)

    async def break_off(self, error: StreamInterrupted) -> None:
        """End a stream by its protocol's own error event."""
        await self.piece(self._caller.error_event(error, self._request_id), more=False)

    def _headers(self) -> list[tuple[bytes, bytes]]:
        receipt = self._receipt
        headers = [
            (self._caller.request_id.encode(), self._request_id.encode()),
            (b"x-omni-request-id", receipt.name.encode()),
            (b"x-omni-attempts", b"%d" % receipt.progress.tries),
        ]
        if receipt.asked is not None:
            headers.append((b"x-omni-model", _header(receipt.asked.model.id)))
        return headers

    async def _begin(self, headers: list[tuple[bytes, bytes]]) -> None:
        self.started = True
        try:
            await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        except OSError:
            raise asyncio.CancelledError("the caller went away") from None


def verdict(
    causes: Sequence[tuple[str, OmniError]], attempts: Sequence[AttemptSummary]
) -> OmniError:
    """The error of a request that no target answered.

    Args:
        causes: (model id, its last error) of those that were tried.
        attempts: all of the request, with those that were passed over.
    """
    spared = "; ".join(
        f"{a.model}: {a.message}"
        for a in attempts
        if a.outcome == "skipped" and a.error in ("breaker", "consent")
    )
    if not causes:
        return AllProvidersFailed(f"no model may be called: {spared}")
    found = [exc for _, exc in causes]
    if all(isinstance(exc, BudgetExceeded | UnknownPrice) for exc in found):
        return found[0]
    # A single target's failure is told as it is: status and wait are the caller's to use.
    if len(found) == 1 and (isinstance(found[0], _PLAIN) or not spared):
        return found[0]
    listed = "; ".join(f"{model}: {exc.code}: {exc.message}" for model, exc in causes)
    hint = next((exc.hint for exc in reversed(found) if exc.hint), "")
    more = f"; not tried: {spared}" if spared else ""
    return AllProvidersFailed(f"no model answered: {listed}{more}", causes=causes, hint=hint)


def interrupted(target: Target, reading: Reading, fault: ProviderError) -> StreamInterrupted:
    """The error of an answer that broke off after part of it went out."""
    chars = reading.folder.received_chars
    return StreamInterrupted(
        f"{target.model.id} broke off after {chars} characters: {fault.message}",
        received_chars=chars,
        cause=fault,
        hint="what arrived was charged; send it again",
    )


def _header(text: str) -> bytes:
    """A header's value: printable, without line breaks."""
    return "".join(c if c.isprintable() else "?" for c in text).encode("latin-1", "replace")
