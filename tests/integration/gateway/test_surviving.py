"""What must not end a gateway, or let it serve what it cannot know any more."""

import asyncio
import json
import os
import resource
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from omni_cli.bootstrap import App
from omni_cli.gateway.app import Watcher
from omni_cli.records import ClientKey
from omni_cli.simulator import Simulator
from omni_cli.store.gateway_keys import GatewayKeyStore
from tests.gateway_server import Served, build_fleet, seeded, serving
from tests.paths import REPO

ASK = {"model": "openai/gpt-4o-mini", "messages": [{"role": "user", "content": "Hi"}]}


@contextmanager
def _process(
    home: Path, *options: str, files: int | None = None
) -> Iterator[tuple[str, int, Path]]:
    """``omni serve`` as a process; yields its URL, its id, and where its words go."""
    env = {**os.environ, "OMNI_HOME": str(home), "PYTHONPATH": str(REPO)}
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]

    def limit() -> None:
        if files is not None:
            resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))

    log = home / "serve.log"
    with log.open("wb") as words:
        process = subprocess.Popen(
            [sys.executable, "-m", "omni_cli", "serve", "--port", str(port), *options],
            env=env,
            stderr=words,
            preexec_fn=limit,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        _until(lambda: _answers(url), 20)
        yield url, process.pid, log
    finally:
        process.kill()
        process.wait(20)


def _answers(url: str) -> bool:
    with suppress(httpx.HTTPError):
        return httpx.get(f"{url}/health", timeout=2, trust_env=False).status_code == 200
    return False


def _until(true: object, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not true():  # type: ignore[operator]  # a callable
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


def _children(pid: int) -> list[int]:
    return [
        int(child)
        for path in Path(f"/proc/{pid}/task").glob("*/children")
        for child in path.read_text().split()
    ]


def test_a_revoked_key_is_refused_after_file_descriptors_ran_out(tmp_path: Path) -> None:
    """Idle connections of callers without any key took them all; then they are closed."""
    (tmp_path / "omni.db").write_bytes(seeded())
    with Simulator() as sim, App({"OMNI_HOME": str(tmp_path), "USER": "t"}) as app:
        build_fleet(app, sim.url)
        keys = GatewayKeyStore(app.store)
        for name in ("mine", "other"):
            keys.add(ClientKey(name, name[:4]), f"omni-{name}")
        with (
            _process(tmp_path, files=128) as (url, _, log),
            httpx.Client(base_url=url, trust_env=False, timeout=20) as http,
        ):
            mine = {"authorization": "Bearer omni-mine"}
            path = "/v1/chat/completions"
            assert http.post(path, json=ASK, headers=mine).status_code == 200
            with ExitStack() as idle:
                for _ in range(300):
                    sock = idle.enter_context(socket.socket())
                    with suppress(OSError):
                        sock.connect(("127.0.0.1", http.base_url.port or 0))
                # Those who have a key are served all the while.
                codes = {http.post(path, json=ASK, headers=mine).status_code for _ in range(5)}
                assert codes == {200}
                time.sleep(0.5)
            keys.revoke("mine", now_ms=app.now_ms())
            _until(lambda: http.post(path, json=ASK, headers=mine).status_code == 401, 5)
            other = {"authorization": "Bearer omni-other"}
            assert http.post(path, json=ASK, headers=other).status_code == 200
            assert "no room for more than" in log.read_text()
            assert "Traceback" not in log.read_text()


def test_workers_end_with_their_master_and_others_take_the_port(tmp_path: Path) -> None:
    (tmp_path / "omni.db").write_bytes(seeded())
    with _process(tmp_path, "--workers", "2") as (url, pid, _):
        _until(lambda: len(_children(pid)) == 2, 20)
        workers = _children(pid)
        os.kill(pid, signal.SIGKILL)
        env = {**os.environ, "OMNI_HOME": str(tmp_path), "PYTHONPATH": str(REPO)}
        command = [sys.executable, "-m", "omni_cli", "serve", "--port", url.rpartition(":")[2]]
        again = subprocess.Popen(command, env=env, stderr=subprocess.DEVNULL)
        try:
            _until(lambda: not any(Path(f"/proc/{worker}").exists() for worker in workers), 20)
            _until(lambda: _answers(url), 20)
            assert again.poll() is None
        finally:
            again.send_signal(signal.SIGTERM)
            assert again.wait(20) == 0


@pytest.mark.parametrize("other", [False, True], ids=["removed", "replaced"])
def test_a_store_that_is_gone_is_noticed_and_never_served_around(
    tmp_path: Path, other: bool
) -> None:
    with ExitStack() as stack:
        gateway = stack.enter_context(serving(tmp_path, stack.enter_context(Simulator())))
        with httpx.Client(base_url=gateway.url, trust_env=False, timeout=10) as http:
            assert http.post("/v1/chat/completions", json=ASK).status_code == 200
            store, aside = tmp_path / "omni.db", tmp_path / "aside.db"
            store.rename(aside)
            if other:
                store.write_bytes(seeded())
            _until(lambda: http.get("/ready").status_code == 503, 2)
            refused = http.post("/v1/chat/completions", json=ASK)
            assert refused.status_code == 503
            assert ("replaced" if other else "gone") in refused.json()["error"]["message"]
            assert http.get("/health").status_code == 200
            aside.rename(store)
            _until(lambda: http.get("/ready").status_code == 200, 2)
            assert http.post("/v1/chat/completions", json=ASK).status_code == 200
            gateway.settle(2)  # the one that was refused was never begun


async def test_a_watcher_goes_on_whatever_it_meets(caplog: pytest.LogCaptureFixture) -> None:
    looks: list[BaseException | None] = [
        sqlite3.OperationalError("disk I/O error"),
        OSError(24, "Too many open files"),
        asyncio.CancelledError(),
        None,
    ]
    done = asyncio.Event()

    def work() -> None:
        if not looks:
            done.set()
            return
        error = looks.pop(0)
        if error is not None:
            raise error

    watcher = Watcher("watching a test", 0.001, work)
    await asyncio.wait_for(done.wait(), 5)
    assert watcher.failures == 3
    assert watcher.trouble == ""
    told = caplog.text
    assert "disk I/O error" in told
    assert "Too many open files" in told
    assert "starting it again" in told
    assert "well again" in told
    watcher.stop()


def test_metrics_tell_of_this_process(gateway: Served, http: httpx.Client) -> None:
    text = http.get("/metrics").text
    for name in ("connections", "callers_turned_away_total", "watch_failures_total"):
        assert f"omni_gateway_{name}{{process=" in text
    assert 'omni_slots_limit{gen_ai_provider_name="ollama"} 8' in text
    assert "omni_slots_waiting" in text
    health = json.loads(http.get("/api/provider-status").text)
    slots = {item["id"]: item["slots"]["limit"] for item in health["providers"]}
    assert (slots["openai"], slots["ollama"]) == (None, 8)
