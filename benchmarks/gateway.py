"""What the gateway costs: CPU per request, requests per second, latency and memory.

    python benchmarks/gateway.py                 the gateway alone
    python benchmarks/gateway.py --against nginx litellm
    python benchmarks/gateway.py --install       put LiteLLM into a scratch environment first

Everything runs on this machine: a load generator, the gateway, and an upstream that answers at
once. CPU is the server's own, user and system, from /proc. Rounds of the targets alternate, and
medians are shown: on a shared machine only figures of one run can be compared.
"""

import argparse
import asyncio
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve()
MODEL = "openai/gpt-4o"
CHUNKS = 64
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


# --- the upstream -----------------------------------------------------------------------------


def _stream_body() -> bytes:
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
    out = (
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    )
    for text in events:
        out += b"%x\r\n%b\r\n" % (len(text), text.encode())
    return out + b"0\r\n\r\n"


class Upstream(asyncio.Protocol):
    """Answers every request at once; ``"stream":true`` gets a stream of CHUNKS chunks."""

    plain = json.dumps(_ANSWER, separators=(",", ":")).encode()
    plain = (
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-request-id: bench\r\n"
        b"content-length: %d\r\n\r\n%b" % (len(plain), plain)
    )
    stream = _stream_body()
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
                self.transport.write(self.stream[:800])  # and nothing more
                continue
            self.transport.write(self.stream if streams else self.plain)


async def _serve_upstream(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", port)
    await server.serve_forever()


# --- the load ---------------------------------------------------------------------------------


class Client(asyncio.Protocol):
    """Sends one request after another over one connection, and notes how long each took."""

    def __init__(self, payload: bytes, deadline: float, done: "asyncio.Future[None]") -> None:
        self.payload = payload
        self.deadline = deadline
        self.done = done
        self.times: list[float] = []
        self.firsts: list[float] = []
        self.errors = 0
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
            if b" 200 " not in head[:20]:
                self.errors += 1
            at = head.find(b"content-length:")
            if at >= 0:
                self.left = int(head[at + 15 :].split(b"\r\n", 1)[0]) - (len(self.buffer) - end - 4)
            else:
                self.left = -1
        elif self.left >= 0:
            self.left -= len(data)
        over = self.left == 0 if self.left >= 0 else self.buffer.endswith(b"0\r\n\r\n")
        if over:
            now = time.perf_counter()
            self.times.append(now - self.since)
            self.firsts.append(self.first - self.since)
            self._next()

    def connection_lost(self, _: Exception | None) -> None:
        if time.perf_counter() < self.deadline:
            self.errors += 1
        if not self.done.done():
            self.done.set_result(None)


def payload(port: int, model: str, *, stream: bool, size: int, key: str = "") -> bytes:
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
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\n{auth}"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def _load(port: int, data: bytes, connections: int, seconds: float) -> dict[str, Any]:
    loop = asyncio.get_running_loop()
    deadline = time.perf_counter() + seconds
    clients: list[Client] = []
    ends = []
    for _ in range(connections):
        done = loop.create_future()
        ends.append(done)
        _, client = await loop.create_connection(
            lambda done=done: Client(data, deadline, done), "127.0.0.1", port
        )
        clients.append(client)
    since = time.perf_counter()
    await asyncio.wait(ends, timeout=seconds + 20)
    elapsed = time.perf_counter() - since
    times = sorted(t for c in clients for t in c.times)
    firsts = sorted(t for c in clients for t in c.firsts)
    return {
        "requests": len(times),
        "errors": sum(c.errors for c in clients),
        "per_s": len(times) / elapsed,
        "p50_ms": 1000 * times[len(times) // 2] if times else None,
        "p99_ms": 1000 * times[int(len(times) * 0.99)] if times else None,
        "first_p50_ms": 1000 * firsts[len(firsts) // 2] if firsts else None,
    }


# --- targets ----------------------------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@dataclass
class Target:
    """A server under test."""

    name: str
    port: int
    model: str
    pid: int
    key: str = ""
    rounds: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def pids(self) -> list[int]:
        """The process and its descendants."""
        found, todo = [], [self.pid]
        while todo:
            pid = todo.pop()
            found.append(pid)
            for path in Path(f"/proc/{pid}/task").glob("*/children"):
                todo += map(int, path.read_text().split())
        return found

    def cpu_s(self) -> float:
        ticks = 0
        for pid in self.pids():
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def rss_mb(self) -> float:
        pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in self.pids())
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def wait_for(port: int, path: str = "/health", timeout_s: float = 90.0) -> None:
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        try:
            with socket.create_connection(("127.0.0.1", port), 1) as sock:
                sock.sendall(f"GET {path} HTTP/1.0\r\nhost: x\r\n\r\n".encode())
                if sock.recv(64):
                    return
        except OSError:
            time.sleep(0.05)
    raise TimeoutError(f"nothing answers on port {port}")


@contextmanager
def running(command: list[str], log: Path, env: dict[str, str] | None = None) -> Iterator[int]:
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, stdout=out, stderr=subprocess.STDOUT, env={**os.environ, **(env or {})}
        )
        try:
            yield process.pid
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def make_home(home: Path, upstream: int, *, budget: bool) -> None:
    """A store with one provider, its model active, and a budget that never runs out."""
    from omni_cli.bootstrap import App
    from omni_cli.domain.budgets import Budget
    from omni_cli.domain.models import Provider

    with App({"OMNI_HOME": str(home), "USER": "bench"}) as app:
        with app.fleet.change("bench", "bench", None, "bench"):
            app.fleet.put_provider(
                Provider(
                    "openai",
                    "upstream",
                    "openai",
                    f"http://127.0.0.1:{upstream}/v1",
                    auth_method="none",
                    max_concurrency=100_000,
                    simulated=True,
                )
            )
            app.fleet.set_status(MODEL, "active")
        if budget:
            app.budgets.put(Budget(0, "all", "", "day", 10**15))


@contextmanager
def omni(scratch: Path, upstream: int, *, workers: int = 1) -> Iterator[Target]:
    home, port = scratch / "omni", free_port()
    make_home(home, upstream, budget=True)
    command = [sys.executable, "-m", "omni_cli", "serve", "--port", str(port)]
    if workers > 1:
        command += ["--workers", str(workers)]
    env = {"OMNI_HOME": str(home), "USER": "bench", "PYTHONPATH": str(HERE.parents[1])}
    with running(command, scratch / "omni.log", env) as pid:
        wait_for(port)
        yield Target("omni", port, MODEL, pid)


@contextmanager
def nginx(scratch: Path, upstream: int) -> Iterator[Target]:
    port = free_port()
    conf = scratch / "nginx.conf"
    conf.write_text(
        f"""worker_processes 1; daemon off; pid {scratch}/nginx.pid; error_log {scratch}/nginx.err;
events {{ worker_connections 4096; }}
http {{ access_log off; client_body_temp_path {scratch}/body; proxy_temp_path {scratch}/proxy;
fastcgi_temp_path {scratch}/f; uwsgi_temp_path {scratch}/u; scgi_temp_path {scratch}/s;
upstream up {{ server 127.0.0.1:{upstream}; keepalive 256; }}
server {{ listen 127.0.0.1:{port}; keepalive_requests 1000000; location / {{
proxy_pass http://up; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off;
client_max_body_size 64m; client_body_buffer_size 1m; }} }} }}
"""
    )
    with running(["nginx", "-c", str(conf), "-p", str(scratch)], scratch / "nginx.log") as pid:
        wait_for(port)
        yield Target("nginx", port, "gpt-4o", pid)


@contextmanager
def litellm(scratch: Path, upstream: int) -> Iterator[Target]:
    port = free_port()
    conf = scratch / "litellm.yaml"
    conf.write_text(
        f"""model_list:
  - model_name: gpt-4o
    litellm_params:
      model: openai/gpt-4o
      api_base: http://127.0.0.1:{upstream}/v1
      api_key: none
"""
    )
    binary = shutil.which("litellm") or str(_environment() / "bin" / "litellm")
    key = "sk-benchmark-0123456789abcdef0123456789abcdef"
    env = {
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_LOG": "ERROR",
        "LITELLM_MASTER_KEY": key,
    }
    command = [binary, "--config", str(conf), "--port", str(port), "--host", "127.0.0.1"]
    with running(command, scratch / "litellm.log", env) as pid:
        wait_for(port, "/health/liveliness", 120)
        yield Target("litellm", port, "gpt-4o", pid, key)


_TARGETS: dict[str, Callable[..., Any]] = {"nginx": nginx, "litellm": litellm}


def _environment() -> Path:
    return Path(tempfile.gettempdir()) / "omni-bench-env"


def install() -> None:
    """LiteLLM's proxy in an environment of its own."""
    where = _environment()
    if not (where / "bin" / "litellm").exists():
        subprocess.run([sys.executable, "-m", "venv", str(where)], check=True)
        subprocess.run([str(where / "bin" / "pip"), "install", "-q", "litellm[proxy]"], check=True)


# --- the run ----------------------------------------------------------------------------------


def measure(target: Target, *, connections: int, seconds: float, stream: bool, size: int) -> None:
    data = payload(target.port, target.model, stream=stream, size=size, key=target.key)
    command = [sys.executable, str(HERE), "--role", "load", str(target.port), str(connections)]
    before = target.cpu_s()
    done = subprocess.run([*command, str(seconds)], input=data, stdout=subprocess.PIPE, check=True)
    found = json.loads(done.stdout)
    found["cpu_us"] = 1e6 * (target.cpu_s() - before) / max(found["requests"], 1)
    found["rss_mb"] = target.rss_mb()
    kind = f"{'stream' if stream else 'plain'} {size // 1000} KB c={connections}"
    target.rounds.setdefault(kind, []).append(found)


async def _hold(port: int, data: bytes, streams: int, work: Callable[[], None]) -> int:
    """Do ``work`` with so many streams open that say nothing; returns how many still were."""
    made = [await asyncio.open_connection("127.0.0.1", port) for _ in range(streams)]
    for _, writer in made:
        writer.write(data)
    for reader, _ in made:
        await reader.readuntil(b"\r\n\r\n")
    await asyncio.to_thread(work)
    alive = sum(not reader.at_eof() for reader, _ in made)
    for _, writer in made:
        writer.close()
    return alive


def soak(target: Target, home: Path, upstream: int, seconds: float, streams: int) -> None:
    """The highest rate over 64 connections for a while, with idle streams open."""
    idle = payload(target.port, target.model, stream=True, size=100).replace(
        b"Is all well?", b"stay idle   "
    )
    memory = []

    def work() -> None:
        for _ in range(4):
            measure(target, connections=64, seconds=seconds / 4, stream=False, size=1000)
            memory.append(target.rss_mb())

    alive = asyncio.run(_hold(target.port, idle, streams, work))
    time.sleep(2)
    from omni_cli.bootstrap import App

    with App({"OMNI_HOME": str(home), "USER": "bench"}) as app:
        states = dict(
            app.store.db.execute("SELECT state, count(*) FROM requests GROUP BY state").fetchall()
        )
        held = app.store.db.execute("SELECT sum(reserved_nusd) FROM budget_periods").fetchone()[0]
    with socket.create_connection(("127.0.0.1", upstream)) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
        answered = int(sock.recv(1000).rpartition(b"\r\n\r\n")[2])
    (rounds,) = target.rounds.values()
    print(
        f"requests {sum(r['requests'] for r in rounds)}, errors {sum(r['errors'] for r in rounds)}"
    )
    print(f"idle streams open to the end: {alive} of {streams}")
    print(f"the upstream answered {answered}; the ledger holds {states}; reserved: {held}")
    print("RSS MB after each quarter: " + ", ".join(f"{m:.0f}" for m in memory))


def report(targets: list[Target]) -> None:
    kinds = list(dict.fromkeys(kind for target in targets for kind in target.rounds))
    print(
        f"{'':24}{'target':>10}{'req/s':>9}{'p50 ms':>9}{'p99 ms':>9}{'CPU us':>9}{'RSS MB':>8}"
        f"{'errors':>8}"
    )
    for kind in kinds:
        for target in targets:
            rounds = target.rounds.get(kind)
            if not rounds:
                continue

            def middle(name: str, rounds: list[dict[str, Any]] = rounds) -> float:
                return statistics.median(r[name] or 0 for r in rounds)

            print(
                f"{kind:24}{target.name:>10}{middle('per_s'):9.0f}{middle('p50_ms'):9.2f}"
                f"{middle('p99_ms'):9.2f}{middle('cpu_us'):9.0f}{middle('rss_mb'):8.0f}"
                f"{sum(r['errors'] for r in rounds):8d}"
            )


def main() -> None:
    made = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    made.add_argument("--against", nargs="*", default=[], choices=sorted(_TARGETS))
    made.add_argument("--install", action="store_true")
    made.add_argument("--rounds", type=int, default=3)
    made.add_argument("--seconds", type=float, default=3.0)
    made.add_argument("--connections", type=int, nargs="*", default=[1, 16, 64])
    made.add_argument("--workers", type=int, default=1)
    made.add_argument("--quick", action="store_true", help="plain requests at 16 only")
    made.add_argument("--soak", type=float, help="seconds at the highest rate; omni only")
    made.add_argument("--streams", type=int, default=1000, help="idle ones, for --soak")
    made.add_argument("--role", nargs="*")
    given = made.parse_args()
    if given.role:
        run = asyncio.run
        try:
            import uvloop

            run = uvloop.run
        except ImportError:
            pass
        if given.role[0] == "upstream":
            run(_serve_upstream(int(given.role[1])))
        else:
            port, connections, seconds = given.role[1:]
            data = sys.stdin.buffer.read()
            print(json.dumps(run(_load(int(port), data, int(connections), float(seconds)))))
        return
    if given.install:
        install()
    cases: list[tuple[int, bool, int]] = [(16, False, 1000)]
    if not given.quick:
        cases = [(c, False, 1000) for c in given.connections]
        cases += [(16, True, 1000), (16, False, 100_000)]
    with tempfile.TemporaryDirectory(prefix="omni-bench-") as folder:
        scratch = Path(folder)
        upstream = free_port()
        command = [sys.executable, str(HERE), "--role", "upstream", str(upstream)]
        with running(command, scratch / "upstream.log"):
            wait_for(upstream)
            from contextlib import ExitStack

            with ExitStack() as stack:
                targets = [stack.enter_context(omni(scratch, upstream, workers=given.workers))]
                targets += [
                    stack.enter_context(_TARGETS[name](scratch, upstream)) for name in given.against
                ]
                if given.soak:
                    soak(targets[0], scratch / "omni", upstream, given.soak, given.streams)
                    return
                for target in targets:  # warm
                    measure(target, connections=4, seconds=1.0, stream=False, size=1000)
                    target.rounds.clear()
                for _ in range(given.rounds):
                    for connections, stream, size in cases:
                        for target in targets:
                            measure(
                                target,
                                connections=connections,
                                seconds=given.seconds,
                                stream=stream,
                                size=size,
                            )
                report(targets)


if __name__ == "__main__":
    main()
