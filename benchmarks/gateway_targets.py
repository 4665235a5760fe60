"""What the benchmark of the gateway measures: omni, nginx, LiteLLM's proxy, Portkey's gateway."""

import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.gateway_load import payload

REPO = Path(__file__).resolve().parents[1]
MODEL = "openai/gpt-4o"
#: Where processes are given a share of the processor (Linux, cgroups of version 1), and the time
#: that it is a share of.
_GROUPS = Path("/sys/fs/cgroup/cpu")
_PERIOD_US = 10_000


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
    headers: dict[str, str] = field(default_factory=dict)
    rounds: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    store: Path | None = None

    def waited(self) -> int | None:
        """Calls that waited for a slot so far; None where nobody tells."""
        if self.store is None:
            return None
        with closing(sqlite3.connect(self.store)) as db:
            try:
                rows = db.execute("SELECT count(*) FROM attempts WHERE waited_ms > 0")
            except sqlite3.OperationalError:  # a checkout from before
                return None
            return int(rows.fetchone()[0])

    def pids(self) -> list[int]:
        return with_children(self.pid)

    def cpu_s(self) -> float:
        ticks = 0
        for pid in self.pids():
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def rss_mb(self) -> float:
        pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in self.pids())
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def with_children(pid: int) -> list[int]:
    """The process and its descendants."""
    found, todo = [], [pid]
    while todo:
        pid = todo.pop()
        found.append(pid)
        for path in Path(f"/proc/{pid}/task").glob("*/children"):
            todo += map(int, path.read_text().split())
    return found


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


def make_home(
    home: Path,
    upstream: int,
    *,
    budget: bool,
    slots: str | None = None,
    run: Callable[..., None] | None = None,
) -> None:
    """A store with one provider as ``omni providers add`` makes it, one model active, and a budget
    that never runs out.

    Args:
        slots: calls at once; by default what the command gives a server on this machine.
        run: runs an ``omni`` command of the checkout whose home it is.
    """
    run = run or omni_command(sys.executable, REPO, home)
    url = f"http://127.0.0.1:{upstream}/v1"
    limit = ["--max-concurrency", slots] if slots else []
    run(
        "providers", "add", "openai", "--protocol", "openai", "--base-url", url, "--no-auth", *limit
    )
    run("models", "activate", MODEL)
    run("config", "set", "chat.timeout_s", "600")  # streams that say nothing stay open
    if budget:
        run("budgets", "set", "all", "1000000", "--per", "day")


def omni_command(python: str, repo: Path, home: Path, database: str = "") -> Callable[..., None]:
    """What runs an ``omni`` command of a checkout on a home of its own."""
    env = _environ(repo, home, database)

    def run(*words: str) -> None:
        command = [python, "-m", "omni_cli", *words]
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"omni {' '.join(words)}: {done.stdout}{done.stderr}")

    return run


def _environ(repo: Path, home: Path, database: str = "") -> dict[str, str]:
    # Without the last, the folder that this runs in comes first.
    own = {"OMNI_HOME": str(home), "USER": "bench", "PYTHONPATH": str(repo)}
    own |= {"OMNI_DATABASE_URL": database} if database else {}
    return {**os.environ, **own, "PYTHONSAFEPATH": "1"}


@contextmanager
def omni(
    scratch: Path,
    upstream: int,
    *,
    workers: int = 1,
    name: str = "omni",
    checkout: Path | None = None,
    slots: str | None = None,
    database: str = "",
    joins: bool = False,
) -> Iterator[Target]:
    """Args:
    checkout: another one, which its own virtual environment runs.
    database: where its store is; "" for a file.
    joins: the fleet is there already.
    slots: as for ``make_home``.
    """
    repo = REPO if checkout is None else checkout.resolve()
    python = sys.executable if checkout is None else str(repo / ".venv" / "bin" / "python")
    home, port = scratch / name, free_port()
    run = omni_command(python, repo, home, database)
    if not joins:
        make_home(home, upstream, budget=True, slots=slots, run=run)
    command = [python, "-m", "omni_cli", "serve", "--port", str(port)]
    if workers > 1:
        command += ["--workers", str(workers)]
    with running(command, scratch / f"{name}.log", _environ(repo, home, database)) as pid:
        wait_for(port)
        yield Target(name, port, MODEL, pid, store=None if database else home / "omni.db")


@contextmanager
def postgres(scratch: Path, upstream: int) -> Iterator[Target]:
    """omni again, on a PostgreSQL server of this machine that flushes to disk."""
    from tests.postgres import running as server_running

    with server_running(safe=True) as server:
        server.command("CREATE DATABASE omni")
        with omni(scratch, upstream, name="postgres", database=server.url("omni")) as target:
            yield target


@contextmanager
def team(scratch: Path, upstream: int) -> Iterator[list[Target]]:
    """Two gateways before one PostgreSQL server."""
    from tests.postgres import running as server_running

    with server_running(safe=True) as server:
        server.command("CREATE DATABASE omni")
        url = server.url("omni")
        with (
            omni(scratch, upstream, name="first", database=url) as first,
            omni(scratch, upstream, name="second", database=url, joins=True) as second,
        ):
            yield [first, second]


@contextmanager
def at_most(cores: float, pids: Sequence[int]) -> Iterator[None]:
    """Let processes have so many cores, as on a machine of their own, and all of these: others of
    this one go behind them.

    Raises:
        OSError: this system has no control groups of version 1, or this user may make none.
    """
    group = _GROUPS / f"omni-bench-{os.getpid()}-{pids[0]}"
    group.mkdir()
    try:
        # Whoever has used up its share stops in the middle of whatever it does, a transaction, too:
        # for some ms, so that it is in the others' way as little as a slower machine would be.
        (group / "cpu.cfs_period_us").write_text(str(_PERIOD_US))
        (group / "cpu.cfs_quota_us").write_text(str(max(int(_PERIOD_US * cores), 1000)))
        (group / "cpu.shares").write_text("16384")
        for pid in pids:
            (group / "cgroup.procs").write_text(str(pid))
        yield
    finally:
        for pid in (group / "cgroup.procs").read_text().split():
            (_GROUPS / "cgroup.procs").write_text(pid)
        group.rmdir()


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


@contextmanager
def portkey(scratch: Path, upstream: int) -> Iterator[Target]:
    """Its open-source gateway: where to go comes with each request, and nothing is kept."""
    port = free_port()
    start = _node_environment() / "node_modules/@portkey-ai/gateway/build/start-server.js"
    command = ["node", str(start), f"--port={port}", "--headless"]
    with running(command, scratch / "portkey.log", {"NODE_ENV": "production"}) as pid:
        wait_for(port, "/", 60)
        headers = {
            "x-portkey-provider": "openai",
            "x-portkey-custom-host": f"http://127.0.0.1:{upstream}/v1",
        }
        yield Target("portkey", port, "gpt-4o", pid, "none", headers)


TARGETS: dict[str, Callable[..., Any]] = {
    "postgres": postgres,
    "nginx": nginx,
    "litellm": litellm,
    "portkey": portkey,
}


def _environment() -> Path:
    return Path(tempfile.gettempdir()) / "omni-bench-env"


def _node_environment() -> Path:
    return Path(tempfile.gettempdir()) / "omni-bench-node"


def install(names: list[str]) -> None:
    """LiteLLM's proxy and Portkey's gateway, in environments of their own."""
    where = _environment()
    if "litellm" in names and not (where / "bin" / "litellm").exists():
        subprocess.run([sys.executable, "-m", "venv", str(where)], check=True)
        subprocess.run([str(where / "bin" / "pip"), "install", "-q", "litellm[proxy]"], check=True)
    node = _node_environment()
    if "portkey" in names and not (node / "node_modules").exists():
        node.mkdir(exist_ok=True)
        # With newer ones of these it does not start (1.15.2).
        wanted = {
            "private": True,
            "dependencies": {"@portkey-ai/gateway": "1.15.2"},
            "overrides": {"hono": "4.9.7", "@hono/node-server": "1.13.8"},
        }
        (node / "package.json").write_text(json.dumps(wanted))
        subprocess.run(["npm", "install", "--no-audit", "--no-fund"], cwd=node, check=True)


@contextmanager
def upstream_at(scratch: Path) -> Iterator[int]:
    """The upstream, on a port of its own."""
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.gateway_load", "upstream", str(port)]
    with running(command, scratch / "upstream.log", {"PYTHONPATH": str(REPO)}):
        wait_for(port)
        yield port


def load(port: int, data: bytes, connections: int, seconds: float) -> dict[str, Any]:
    """What a load generator, a process of its own, found."""
    command = [sys.executable, "-m", "benchmarks.gateway_load", "load", str(port)]
    done = subprocess.run(
        [*command, str(connections), str(seconds)],
        input=data,
        stdout=subprocess.PIPE,
        check=True,
        env={**os.environ, "PYTHONPATH": str(REPO)},
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def measure(target: Target, *, connections: int, seconds: float, stream: bool, size: int) -> None:
    data = payload(
        target.port, target.model, stream=stream, size=size, key=target.key, headers=target.headers
    )
    waited, before = target.waited(), target.cpu_s()
    found = load(target.port, data, connections, seconds)
    found["cpu_us"] = 1e6 * (target.cpu_s() - before) / max(found["requests"], 1)
    found["rss_mb"] = target.rss_mb()
    if waited is not None:
        time.sleep(0.1)  # the last rows are written
        found["waited"] = ((target.waited() or 0) - waited) / max(found["requests"], 1)
    kind = f"{'stream' if stream else 'plain'} {size // 1000} KB c={connections}"
    target.rounds.setdefault(kind, []).append(found)
