"""Telling the caller: heads, pieces, the receipt, and what went wrong."""

from functools import lru_cache

from omni_cli.domain.errors import ProviderError, StreamInterrupted
from omni_cli.domain.pricing import usd_string
from omni_cli.gateway.receipts import Receipt
from omni_cli.http.request import Request
from omni_cli.services.engine.attempts import Target
from omni_cli.services.engine.settlement import Reading
from omni_cli.wire.server import Caller

#: Models that ``x-omni-skipped`` names at most.
_MOST_SKIPPED = 8


class Delivery:
    """The way back to one caller. What is written after the caller has gone is dropped: its
    exchange is cancelled by then.

    Args:
        request_id: the caller's protocol's own id of this request.
    """

    def __init__(self, caller: Caller, receipt: Receipt, request: Request, request_id: str) -> None:
        self._caller = caller
        self._receipt = receipt
        self._request = request
        self._request_id = request_id

    @property
    def started(self) -> bool:
        """The head went out."""
        return self._request.begun

    def whole(self, body: bytes) -> None:
        """A whole answer of JSON. Its request must be settled: its cost is in the head."""
        cost = self._receipt.total_nusd
        told = "" if cost is None else f"x-omni-cost-usd: {usd_string(cost)}\r\n"
        head = f"{self._head()}{told}content-type: application/json\r\n"
        self._request.respond(200, head.encode("latin-1"), body)

    def begin_stream(self, content_type: str) -> None:
        kind = _header(content_type or self._caller.stream_type)
        head = f"{self._head()}content-type: {kind}\r\ncache-control: no-cache\r\n"
        self._request.begin(head.encode("latin-1"))

    async def piece(self, data: bytes) -> None:
        await self._request.piece(data)

    def send(self, data: bytes) -> bool:
        """A piece; returns whether to wait (``drain``) before the next."""
        return self._request.send(data)

    async def drain(self) -> None:
        await self._request.drain()

    def end(self) -> None:
        """The stream ends without a receipt: its own last event said why."""
        self._request.end()

    def end_stream(self, rest: bytes) -> None:
        """The last bytes, and the receipt as a comment where the protocol passes over one."""
        receipt = self._receipt
        if self._caller.comments:
            cost = receipt.total_nusd
            told = "unknown" if cost is None else usd_string(cost)
            line = f": omni request={receipt.name} cost_usd={told}"
            rest += f"{line} attempts={receipt.progress.tries}\n\n".encode()
        self._request.end(rest)

    def break_off(self, error: StreamInterrupted) -> None:
        """End a stream by its protocol's own error event."""
        self._request.end(self._caller.error_event(error, self._request_id))

    def _head(self) -> str:
        receipt = self._receipt
        asked = receipt.asked
        model = "" if asked is None else f"x-omni-model: {_header(asked.model.id)}\r\n"
        if receipt.cached:
            model += f"x-omni-cache: {receipt.cached}\r\n"
        if receipt.hedged:
            model += "x-omni-hedged: 1\r\n"
        if skipped := _skipped(receipt):
            model += f"x-omni-skipped: {skipped}\r\n"
        if receipt.told:
            left = ", ".join(what for what in receipt.told if ": " not in what)
            changed = "; ".join(what for what in receipt.told if ": " in what)
            model += f"x-omni-left-out: {_header(left)}\r\n" if left else ""
            model += f"x-omni-changed: {_header(changed)}\r\n" if changed else ""
        return (
            f"{self._caller.request_id}: {self._request_id}\r\n"
            f"x-omni-request-id: {receipt.name}\r\n"
            f"x-omni-attempts: {receipt.progress.tries}\r\n{model}"
        )


def receipt_headers(receipt: Receipt | None) -> list[tuple[bytes, bytes]]:
    """What an error's answer tells of its request's receipt; nothing where there is none."""
    if receipt is None or not receipt.opened:
        return []
    told = {"x-omni-request-id": receipt.name, "x-omni-attempts": str(receipt.progress.tries)}
    if receipt.asked is not None:
        told["x-omni-model"] = _header(receipt.asked.model.id)
    if skipped := _skipped(receipt):
        told["x-omni-skipped"] = skipped
    cost = receipt.total_nusd
    if cost is not None:
        told["x-omni-cost-usd"] = usd_string(cost)
    if receipt.progress.tries > 1:  # what the SDK would do again was done
        told["x-should-retry"] = "false"
    return [(name.encode(), value.encode("latin-1")) for name, value in told.items()]


def interrupted(target: Target, reading: Reading, fault: ProviderError) -> StreamInterrupted:
    """The error of an answer that broke off after part of it went out."""
    chars = reading.folder.received_chars
    return StreamInterrupted(
        f"{target.model.id} broke off after {chars} characters: {fault.message}",
        received_chars=chars,
        cause=fault,
        hint="what arrived was charged; send it again",
    )


def _skipped(receipt: Receipt) -> str:
    """Who was passed over and why, as a header's value; "" where nobody was."""
    skipped = receipt.progress.skipped
    if not skipped:
        return ""
    found = dict.fromkeys(f"{a.model}={a.error}" for a in skipped)
    return _header(", ".join(list(found)[:_MOST_SKIPPED]))


@lru_cache(maxsize=4096)
def _header(text: str) -> str:
    """A header's value: printable, without line breaks, of bytes that HTTP can carry."""
    printable = "".join(c if c.isprintable() else "?" for c in text)
    return printable.encode("latin-1", "replace").decode("latin-1")
