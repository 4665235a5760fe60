"""Several processes on one store: exact budgets, and nothing lost when one is killed."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from omni_cli.bootstrap import App
from omni_cli.domain.budgets import Budget
from omni_cli.domain.ids import id_text
from omni_cli.gateway.serve import bind_each
from omni_cli.records import ClientKey
from omni_cli.simulator import Simulator
from omni_cli.store.gateway_keys import GatewayKeyStore
from tests.gateway_server import build_fleet
from tests.paths import REPO

ASK = {
    "model": "openai/gpt-4o-mini",
    "messages": [{"role": "user", "content": "Is all well?"}],
    "max_tokens": 40,
}


@contextmanager
def _serving(home: Path, workers: int) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    env = {**os.environ, "OMNI_HOME": str(home), "PYTHONPATH": str(REPO)}
    command = [sys.executable, "-m", "omni_cli", "serve", "--port", str(port)]
    process = subprocess.Popen(
        [*command, "--workers", str(workers)], env=env, stderr=subprocess.PIPE
    )
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(300):
            try:
                if httpx.get(f"{url}/health", timeout=2, trust_env=False).status_code == 200:
                    break
            except httpx.HTTPError:
                time.sleep(0.05)
        yield url, process
    finally:
        process.send_signal(signal.SIGTERM)
        _, told = process.communicate(timeout=30)
        assert b"Traceback" not in told, told.decode()


def _children(pid: int) -> list[int]:
    found = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        found += [int(child) for child in path.read_text().split()]
    return found


def _ask_often(url: str, stop: threading.Event, codes: list[int]) -> None:
    while not stop.is_set():
        try:
            with httpx.Client(base_url=url, timeout=10, trust_env=False) as client:
                codes.extend(
                    client.post("/v1/chat/completions", json=ASK).status_code for _ in range(20)
                )
        except httpx.HTTPError:
            codes.append(0)


def test_a_killed_worker_loses_nothing_and_budgets_hold(tmp_path: Path) -> None:
    with Simulator(seed=7) as sim, App({"OMNI_HOME": str(tmp_path), "USER": "test"}) as app:
        build_fleet(app, sim.url)
        sim.fault("slow-first:0.02", "*")
        limit = 4_000_000
        number = app.budgets.put(Budget(0, "all", "", "day", limit))
        with _serving(tmp_path, 2) as (url, process):
            stop, codes = threading.Event(), list[int]()
            threads = [
                threading.Thread(target=_ask_often, args=(url, stop, codes)) for _ in range(8)
            ]
            for thread in threads:
                thread.start()
            time.sleep(1.5)
            victim = _children(process.pid)[0]
            os.kill(victim, signal.SIGKILL)
            time.sleep(1.5)
            stop.set()
            for thread in threads:
                thread.join()
            assert victim not in _children(process.pid)
        app.recover()
        rows = list(app.ledger.recent(limit=100_000))
        assert not [row for row in rows if row.state == "pending"]
        answered = sim.answered()
        known = {
            f"{id_text(row.id)}-{attempt.n}": attempt
            for row in rows
            for attempt in app.ledger.attempts(row.id)
            if attempt.state != "unsent"
        }
        assert {entry["attempt"] for entry in answered} <= set(known)
        whole = {e["attempt"] for e in answered if e["completed_at"] is not None}
        settled = {name for name, a in known.items() if a.state == "ok"}
        assert settled <= whole
        lost = {name for name, a in known.items() if a.state != "ok"}
        assert whole - settled <= lost
        assert len(lost) <= 16
        # The last answers of the killed worker went out before their rows were settled.
        assert codes.count(200) <= len(settled) + len(whole & lost)
        assert codes.count(200) > 20
        budget = app.budgets.get(number)
        assert budget is not None
        status = app.budgets.status(budget, app.now_ms())
        # What the killed worker's calls may still cost stays held; nothing else does.
        unseen = app.budgets.held_nusd(budget, status.start_at, status.end_at)
        assert status.reserved_nusd == unseen
        assert status.spent_nusd == sum(row.total_nusd or 0 for row in rows) <= limit
        rolled = app.store.db.execute("SELECT sum(cost_nusd) FROM rollup_day").fetchone()
        assert rolled[0] == status.spent_nusd


def test_two_processes_never_pass_a_limit_together(tmp_path: Path) -> None:
    with Simulator(seed=7) as sim, App({"OMNI_HOME": str(tmp_path), "USER": "test"}) as app:
        build_fleet(app, sim.url)
        limit = 300_000
        number = app.budgets.put(Budget(0, "all", "", "day", limit))
        with _serving(tmp_path, 2) as (url, _):
            stop, codes = threading.Event(), list[int]()
            threads = [
                threading.Thread(target=_ask_often, args=(url, stop, codes)) for _ in range(8)
            ]
            for thread in threads:
                thread.start()
            time.sleep(2.5)
            stop.set()
            for thread in threads:
                thread.join()
        assert 402 in codes
        assert 200 in codes
        budget = app.budgets.get(number)
        assert budget is not None
        status = app.budgets.status(budget, app.now_ms())
        assert 0 < status.spent_nusd <= limit
        assert status.reserved_nusd == 0


def test_each_worker_has_a_socket_and_nobody_else_the_port() -> None:
    sockets = bind_each("127.0.0.1", 0, 3)
    try:
        port = sockets[0].getsockname()[1]
        assert {sock.getsockname()[1] for sock in sockets} == {port}
        if sys.platform == "linux":
            assert len({sock.fileno() for sock in sockets}) == 3
        for workers in (1, 2):
            with pytest.raises(OSError, match="in use"):
                bind_each("127.0.0.1", port, workers)
    finally:
        for sock in sockets:
            sock.close()
    for sock in bind_each("127.0.0.1", port, 2):  # and it is free again
        sock.close()


@pytest.mark.skipif(sys.platform != "linux", reason="other kernels do not spread callers")
def test_callers_that_come_together_are_spread(tmp_path: Path) -> None:
    with Simulator(seed=7) as sim, App({"OMNI_HOME": str(tmp_path), "USER": "test"}) as app:
        build_fleet(app, sim.url)
        with _serving(tmp_path, 2) as (url, process):
            host, port = url.removeprefix("http://").split(":")
            callers = [socket.create_connection((host, int(port))) for _ in range(40)]
            for caller in callers:  # answered by whoever has it, be it only starting
                caller.sendall(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n")
            for caller in callers:
                caller.settimeout(20)
                assert caller.recv(100).startswith(b"HTTP/1.1 200")
            with_them = [_sockets(pid) for pid in _children(process.pid)]
            for caller in callers:
                caller.close()
            end = time.monotonic() + 5
            taken = [0, 0]
            while sum(taken) < 40 and time.monotonic() < end:
                time.sleep(0.02)
                without = [_sockets(pid) for pid in _children(process.pid)]
                taken = [count - rest for count, rest in zip(with_them, without, strict=True)]
    assert sum(taken) == 40
    assert min(taken) >= 5  # of a fair coin, fewer come up once in a million times


def _sockets(pid: int) -> int:
    found = 0
    for path in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found += str(path.readlink()).startswith("socket:")
        except FileNotFoundError:  # closed meanwhile
            continue
    return found


def test_a_revoked_key_opens_no_connection_of_any_worker(tmp_path: Path) -> None:
    with Simulator(seed=7) as sim, App({"OMNI_HOME": str(tmp_path), "USER": "test"}) as app:
        build_fleet(app, sim.url)
        keys = GatewayKeyStore(app.store)
        for name in ("one", "two"):
            made = ClientKey(name=name, shown="omni-...", created_at=1, org=name)
            keys.add(made, f"omni-{name}")
        with _serving(tmp_path, 2) as (url, _):

            def kept(name: str) -> httpx.Client:
                headers = {"authorization": f"Bearer omni-{name}"}
                return httpx.Client(base_url=url, headers=headers, timeout=20, trust_env=False)

            callers = [kept("one") for _ in range(12)]
            other = kept("two")
            for caller in callers:
                assert caller.post("/v1/chat/completions", json=ASK).status_code == 200
            assert other.post("/v1/chat/completions", json=ASK).status_code == 200
            time.sleep(0.3)
            # Whichever worker answers, an organisation sees its own.
            totals = {caller.get("/v1/usage").json()["total"]["calls"] for caller in callers}
            assert totals == {12}
            assert other.get("/v1/usage").json()["total"]["calls"] == 1
            keys.revoke("one", now_ms=app.now_ms())
            time.sleep(0.6)
            codes = {
                caller.post("/v1/chat/completions", json=ASK).status_code for caller in callers
            }
            assert codes == {401}
            assert other.post("/v1/chat/completions", json=ASK).status_code == 200
            for caller in (*callers, other):
                caller.close()
