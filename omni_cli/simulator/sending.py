"""Puts an answer on the wire: at its pace, whole, or broken as asked."""

import asyncio
from collections.abc import Callable, Iterator, Mapping

from omni_cli.http.request import Request, header_lines
from omni_cli.simulator.ask import Event, Problem, Reply
from omni_cli.simulator.record import Entry
from omni_cli.simulator.vendors import Vendor
from omni_cli.wire.server import encode

Shape = Mapping[str, float | None]
#: Faults that end a stream after so many content chunks.
_ENDINGS = ("reset-mid", "truncate", "cut", "error-in-stream", "hang-mid")
WRONG = {"object": "unexpected", "simulated": True, "data": [1, 2, 3]}
BROKEN = '{"id": "simulated", "choices": [{"index": 0, "mess'
#: Without a pace, events leave together up to this size.
BATCH_BYTES = 16 * 1024
#: Sleeps shorter than this cost more than they pace.
MIN_SLEEP_S = 0.001
#: The peer reads what was sent before the reset arrives.
RESET_DELAY_S = 0.02


class Out:
    """Call ``send``, or ``start`` + ``write``... + ``end``. What is written after the peer has left
    ends the request."""

    def __init__(self, request: Request) -> None:
        self._request = request
        #: Called once, when the answer's first byte was written.
        self.on_first_byte: Callable[[], None] | None = None

    def _first(self) -> None:
        hook, self.on_first_byte = self.on_first_byte, None
        if hook is not None:
            hook()

    async def send(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self._request.respond(status, _lines(headers), body)
        self._first()

    async def send_part(self, headers: Mapping[str, str], body: bytes) -> None:
        """Announce ``body`` whole, send half of it."""
        self._request.begin(_lines(headers), len(body))
        self._first()
        await self.write(body[: len(body) // 2])

    async def start(self, headers: Mapping[str, str]) -> None:
        self._request.begin(_lines(headers))
        self._first()

    async def write(self, data: bytes) -> None:
        if self._request.gone:
            raise asyncio.CancelledError
        await self._request.piece(data)

    async def end(self) -> None:
        self._request.end()

    def close(self) -> None:
        """FIN after what was written, whether or not the answer was whole."""
        self._request.break_off()

    def reset(self) -> None:
        """RST: the peer sees "connection reset" once it has read what came before."""
        self._request.break_off(reset=True)


def _lines(headers: Mapping[str, str]) -> bytes:
    return header_lines(
        [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    )


class Pace:
    """When the next token is due: ``ttft_s`` for the first, then ``tps`` a second."""

    def __init__(self, ttft_s: float = 0.0, tps: float | None = None) -> None:
        self._ttft_s = ttft_s
        self.tps = tps
        self._since: float | None = None
        self._sent = 0

    async def first(self) -> None:
        if self._ttft_s > 0:
            await asyncio.sleep(self._ttft_s)

    async def all(self, reply: Reply) -> None:
        """Wait as long as the whole answer would take."""
        if self.tps:
            chunks = (*reply.reasoning, *reply.text)
            await asyncio.sleep(sum(chunk.tokens for chunk in chunks) / self.tps)

    def wait_s(self, tokens: int) -> float:
        """Seconds from now until ``tokens`` more are due; 0 when late."""
        if not self.tps:
            return 0.0
        now = asyncio.get_running_loop().time()
        if self._since is None:
            self._since = now
        self._sent += tokens
        wait = self._since + self._sent / self.tps - now
        return wait if wait >= MIN_SLEEP_S else 0.0


async def send_stream(
    out: Out,
    vendor: Vendor,
    events: Iterator[Event],
    shape: Shape,
    pace: Pace,
    problem: Problem,
    entry: Entry,
) -> bool:
    """Send the events of an answer whose head was sent; True when it went out whole."""
    ending = next((kind for kind in _ENDINGS if kind in shape), None)
    limit = int(shape[ending] or 0) if ending else None
    batch = bytearray()
    for data, tokens in events:
        if limit is not None and tokens and entry.chunks >= limit:
            break
        wait = pace.wait_s(tokens) if tokens else 0.0
        if wait:
            if batch:
                await out.write(bytes(batch))
                batch.clear()
            await asyncio.sleep(wait)
        batch += data
        entry.chunks += 1 if tokens else 0
        if tokens and entry.chunks == 1:
            if "malformed" in shape:
                batch += vendor.frame(BROKEN)
            if "wrong-json" in shape:
                batch += vendor.frame(encode(WRONG).decode())
        if len(batch) >= BATCH_BYTES:
            await out.write(bytes(batch))
            batch.clear()
            await asyncio.sleep(0)  # others' turn
    if batch:
        await out.write(bytes(batch))
    if ending is None:
        await out.end()
        return True
    await _break_off(out, vendor, ending, problem)
    return False


async def _break_off(out: Out, vendor: Vendor, ending: str, problem: Problem) -> None:
    if ending == "reset-mid":
        await asyncio.sleep(RESET_DELAY_S)
        out.reset()
    elif ending == "cut":
        out.close()
    elif ending == "hang-mid":
        await asyncio.Event().wait()
    else:
        if ending == "error-in-stream":
            await out.write(vendor.error_event(problem))
        await out.end()


async def send_plain(
    out: Out,
    headers: Mapping[str, str],
    body: bytes,
    shape: Shape,
    problem: Problem,
    vendor: Vendor,
) -> bool:
    """Send a whole JSON answer, or what the faults make of it; True when it went out whole."""
    ending = next((kind for kind in _ENDINGS if kind in shape), None)
    if ending in ("reset-mid", "cut", "hang-mid"):
        await out.send_part(headers, body)
        await _break_off(out, vendor, ending, problem)
        return False
    whole = False
    if ending == "truncate":
        body = body[: len(body) // 2]
    elif ending == "error-in-stream":
        body = encode(vendor.problem(problem)[1])
    elif "malformed" in shape:
        body = BROKEN.encode()
    elif "wrong-json" in shape:
        body = encode(WRONG)
    else:
        whole = True
    await out.send(200, headers, body)
    return whole
