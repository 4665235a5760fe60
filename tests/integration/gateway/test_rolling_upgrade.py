"""An older gateway serves on while this one comes up on the same database and brings it on."""

import io
import os
import re
import signal
import socket
import subprocess
import sys
import tarfile
import threading
import time
from pathlib import Path

import httpx
import pytest

from omni_cli.bootstrap import App
from omni_cli.simulator import Simulator
from omni_cli.store.port import SCHEMA_VERSION
from tests.engine import DATABASES
from tests.gateway_server import serving
from tests.paths import REPO
from tests.postgres import MISSING, programs

ASK = {
    "model": "openai/gpt-4o-mini",
    "messages": [{"role": "user", "content": "Is all well?"}],
    "max_tokens": 40,
}
_PORT = "omni_cli/store/port.py"
#: Makes a fleet and serves it, by the older commit's own code.
_OLDER = """
import os, sys
from omni_cli.bootstrap import App
from omni_cli.cli.app import main
from omni_cli.domain.budgets import Budget
from tests.gateway_server import build_fleet
with App(os.environ) as app:
    build_fleet(app, sys.argv[1])
    app.budgets.put(Budget(0, "all", "", "month", 10**10))
sys.argv = ["omni", "serve", "--port", sys.argv[2]]
main()
"""


def _git(*words: str) -> bytes:
    done = subprocess.run(["git", *words], cwd=REPO, capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"there is no history of git: {done.stderr.decode().strip()}")
    return done.stdout


def _earlier() -> tuple[str, int]:
    """The last commit whose store had an older schema, and which."""
    for commit in _git("log", "-n", "40", "--format=%H", "--", _PORT).decode().split():
        found = re.search(rb"^SCHEMA_VERSION = (\d+)", _git("show", f"{commit}:{_PORT}"), re.M)
        if found and int(found[1]) < SCHEMA_VERSION:
            return commit, int(found[1])
    pytest.skip("the history of git does not reach an older schema")


def test_an_older_gateway_serves_while_a_newer_one_comes_up(tmp_path: Path, sim: Simulator) -> None:
    if programs() is None:
        pytest.skip(MISSING)
    commit, schema = _earlier()
    older, url = tmp_path / "older", DATABASES.blank()
    archive = io.BytesIO(_git("archive", commit, "omni_cli", "tests"))
    with tarfile.open(fileobj=archive) as packed:
        packed.extractall(older, filter="data")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = {"OMNI_HOME": str(tmp_path / "old"), "OMNI_DATABASE_URL": url, "USER": "test"}
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", _OLDER, sim.url, str(port)], cwd=older, stderr=log,
            env={**os.environ, **env, "PYTHONPATH": str(older)},
        )  # fmt: skip
    codes: list[int] = []
    over = threading.Event()

    def ask(where: str) -> None:
        with httpx.Client(base_url=where, timeout=20, trust_env=False) as client:
            while not over.is_set():
                codes.append(client.post("/v1/chat/completions", json=ASK).status_code)
                time.sleep(0.05)

    asker = threading.Thread(target=ask, args=(f"http://127.0.0.1:{port}",))
    try:
        _wait(port, process, tmp_path / "log")
        asker.start()
        while len(codes) < 5:
            time.sleep(0.02)
        with App({**env, "OMNI_HOME": str(tmp_path / "new")}) as app:
            assert app.store.get_meta("schema") == str(SCHEMA_VERSION) != str(schema)
        with serving(tmp_path / "new", sim, env={"OMNI_DATABASE_URL": url}) as served:
            other = threading.Thread(target=ask, args=(served.url,))
            other.start()
            time.sleep(1.5)
            over.set()
            for thread in (asker, other):
                thread.join(20)
            process.send_signal(signal.SIGTERM)
            process.wait(30)
            assert set(codes) == {200}
            assert len(codes) > 20
            served.settle(len(codes), timeout_s=15)
        with App({**env, "OMNI_HOME": str(tmp_path / "new")}) as app:  # and nothing is in hand
            rows = list(app.ledger.recent(limit=10_000))
            (budget,) = app.budgets.enabled()
            status = app.budgets.status(budget, app.now_ms())
            assert status.spent_nusd == sum(row.total_nusd or 0 for row in rows) > 0
            assert status.reserved_nusd == 0
            assert app.maintenance.check().sound
    finally:
        over.set()
        process.kill()
        process.wait(10)


def _wait(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    end = time.monotonic() + 60
    while True:
        assert process.poll() is None, log.read_text()
        try:
            found = httpx.get(f"http://127.0.0.1:{port}/ready", timeout=5, trust_env=False)
            if found.status_code == 200:
                return
        except httpx.HTTPError:
            assert time.monotonic() < end, log.read_text()
        time.sleep(0.1)
