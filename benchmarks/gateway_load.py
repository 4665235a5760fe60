"""An upstream that answers at once, and a load generator: both ends of the gateway's benchmark.

python -m benchmarks.gateway_load upstream PORT
python -m benchmarks.gateway_load load PORT CONNECTIONS SECONDS < REQUEST
"""

import asyncio
import json
import socket
import sys
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

CHUNKS = 256
#: From one chunk of a stream to the next, seconds: each is a piece of its own on the wire, as a
#: model writes them.
CHUNK_S = 0.001
_ANSWER = {
    "id": "chatcmpl-bench",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-4o-2024-08-06",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "All is well. " * 20},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ],
    "usage": {"prompt_tokens": 250, "completion_tokens": 60, "total_tokens": 310},
}


def _stream_pieces() -> list[bytes]:
    def event(delta: dict[str, str], finish: str | None = None) -> str:
        chunk = {
            "id": "chatcmpl-bench",
            "object": "chat.completion.chunk",
            "created": 1,
            "model": "gpt-4o-2024-08-06",
            "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}],
        }
        return f"data: {json.dumps(chunk, separators=(',', ':'))}\n\n"

    usage = {**_ANSWER, "object": "chat.completion.chunk", "choices": []}
    events = [event({"role": "assistant", "content": ""})]
    events += [event({"content": " word"}) for _ in range(CHUNKS)]
    events += [event({}, "stop"), f"data: {json.dumps(usage, separators=(',', ':'))}\n\n"]
    events.append("data: [DONE]\n\n")
    top = (
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    )
    pieces = [b"%x\r\n%b\r\n" % (len(text), text.encode()) for text in events]
    return [top + pieces[0], *pieces[1:], b"0\r\n\r\n"]


class Upstream(asyncio.Protocol):
    """Answers every request at once; ``"stream":true`` gets a stream of CHUNKS chunks, one each
    CHUNK_S."""

    plain = json.dumps(_ANSWER, separators=(",", ":")).encode()
    plain = (
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-request-id: bench\r\n"
        b"content-length: %d\r\n\r\n%b" % (len(plain), plain)
    )
    stream = _stream_pieces()
    answered = 0

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.buffer = b""

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while True:
            end = self.buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            head = self.buffer[:end].lower()
            at = head.find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self.buffer) < end + 4 + length:
                return
            body = self.buffer[end + 4 : end + 4 + length]
            self.buffer = self.buffer[end + 4 + length :]
            streams = b'"stream":true' in body or b'"stream": true' in body
            if head.startswith(b"get "):
                count = b"%d" % Upstream.answered
                self.transport.write(
                    b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(count), count)
                )
                continue
            Upstream.answered += 1
            if b"stay idle" in body:
                self.transport.write(b"".join(self.stream[:4]))  # and nothing more
            elif streams:
                self._write(iter(self.stream), asyncio.get_running_loop())
            else:
                self.transport.write(self.plain)

    def _write(self, pieces: Iterator[bytes], loop: asyncio.AbstractEventLoop) -> None:
        piece = next(pieces, None)
        if piece is not None and not self.transport.is_closing():
            self.transport.write(piece)
            loop.call_later(CHUNK_S, self._write, pieces, loop)


async def _serve_upstream(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", port)
    await server.serve_forever()


class Client(asyncio.Protocol):
    """Sends one request after another over one connection, and notes how long each took."""

    def __init__(self, payload: bytes, deadline: float, done: "asyncio.Future[None]") -> None:
        self.payload = payload
        self.deadline = deadline
        self.done = done
        self.times: list[float] = []
        self.firsts: list[float] = []
        #: Answers by another status than 200, and connections that ended before their time.
        self.errors: Counter[int] = Counter()
        self.lost = 0
        self.buffer = b""
        self.left: int | None = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self._next()

    def _next(self) -> None:
        self.since = time.perf_counter()
        if self.since >= self.deadline:
            self.transport.close()
            return
        self.buffer = b""
        self.left = None
        self.first = 0.0
        self.transport.write(self.payload)

    def data_received(self, data: bytes) -> None:
        if not self.first:
            self.first = time.perf_counter()
        self.buffer = (self.buffer + data) if self.left is None else self.buffer[-4:] + data
        if self.left is None:
            end = self.buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            head = self.buffer[:end].lower()
            self.ok = head[9:12] == b"200"
            if not self.ok:
                self.errors[int(head[9:12])] += 1
            at = head.find(b"content-length:")
            if at >= 0:
                self.left = int(head[at + 15 :].split(b"\r\n", 1)[0]) - (len(self.buffer) - end - 4)
            else:
                self.left = -1
        elif self.left >= 0:
            self.left -= len(data)
        over = self.left == 0 if self.left >= 0 else self.buffer.endswith(b"0\r\n\r\n")
        if over:
            if self.ok:
                self.times.append(time.perf_counter() - self.since)
                self.firsts.append(self.first - self.since)
            self._next()

    def connection_lost(self, _: Exception | None) -> None:
        if time.perf_counter() < self.deadline:
            self.lost += 1
        if not self.done.done():
            self.done.set_result(None)


def answered(port: int) -> int:
    """How many calls the upstream at ``port`` has answered, by its own count."""
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
        return int(sock.recv(1000).rpartition(b"\r\n\r\n")[2])


def payload(
    port: int,
    model: str,
    *,
    stream: bool,
    size: int,
    key: str = "",
    headers: dict[str, str] | None = None,
) -> bytes:
    """One request, as bytes. ``size``: of the prompt."""
    body = json.dumps(
        {
            "model": model,
            "messages": [{"role": "user", "content": ("Is all well? " * (size // 13 + 1))[:size]}],
            "max_tokens": 100,
            "stream": stream,
            **({"stream_options": {"include_usage": True}} if stream else {}),
        }
    ).encode()
    auth = f"authorization: Bearer {key}\r\n" if key else ""
    auth += "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\n{auth}"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def _connection(port: int, data: bytes, deadline: float) -> list[Client]:
    """One connection until the deadline, made again when it is lost."""
    loop = asyncio.get_running_loop()
    clients: list[Client] = []
    while time.perf_counter() < deadline:
        done = loop.create_future()
        try:
            _, client = await loop.create_connection(
                lambda done=done: Client(data, deadline, done), "127.0.0.1", port
            )
        except OSError:
            await asyncio.sleep(0.01)
            continue
        clients.append(client)
        await asyncio.wait([done], timeout=max(deadline - time.perf_counter(), 0) + 20)
    return clients


async def _load(port: int, data: bytes, connections: int, seconds: float) -> dict[str, Any]:
    since = time.perf_counter()
    works = (_connection(port, data, since + seconds) for _ in range(connections))
    clients = [client for made in await asyncio.gather(*works) for client in made]
    elapsed = time.perf_counter() - since
    times = sorted(t for c in clients for t in c.times)
    firsts = sorted(t for c in clients for t in c.firsts)
    # By caller: how many answers each got, and how long it waited for one.
    counts = sorted(len(c.times) for c in clients)
    means = sorted(sum(c.times) / len(c.times) for c in clients if c.times)
    return {
        "fairness": counts[-1] / max(counts[0], 1) if counts else None,
        "unfair_waits": means[-1] / means[0] if means else None,
        "longest_ms": 1000 * times[-1] if times else None,
        "requests": len(times),
        "errors": sum((c.errors for c in clients), Counter()),
        "lost": sum(c.lost for c in clients),
        "per_s": len(times) / elapsed,
        "p50_ms": 1000 * times[len(times) // 2] if times else None,
        "p99_ms": 1000 * times[int(len(times) * 0.99)] if times else None,
        "first_p50_ms": 1000 * firsts[len(firsts) // 2] if firsts else None,
    }


def main() -> None:
    run = asyncio.run
    try:
        import uvloop

        run = uvloop.run
    except ImportError:
        pass
    if sys.argv[1] == "upstream":
        run(_serve_upstream(int(sys.argv[2])))
    else:
        port, connections, seconds = sys.argv[2:]
        data = sys.stdin.buffer.read()
        print(json.dumps(run(_load(int(port), data, int(connections), float(seconds)))))


if __name__ == "__main__":
    main()
