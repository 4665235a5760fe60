"""A disk that is really full: nothing new is sent, and what was paid for is not lost (E3)."""

import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from omni_cli.bootstrap import App
from omni_cli.domain.chat import ChatRequest, Message
from omni_cli.services.engine.chat_plan import ChatJob
from omni_cli.simulator import Simulator
from omni_cli.store.late_ledger import Spool
from tests.gateway_server import Served, serving

PATH = "/v1/chat/completions"
ASK = {
    "model": "openai/gpt-4o",
    "messages": [{"role": "user", "content": "Is all well?"}],
    "max_tokens": 40,
}


@pytest.fixture
def small(tmp_path: Path, sim: Simulator) -> Iterator[Served]:
    """A gateway whose store lies on a file system of 8 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(disk)]
    if sys.platform != "linux" or os.getuid() != 0:
        pytest.skip("only root can mount a small disk")
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        with serving(disk, sim) as served:
            yield served
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def _fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        for size in (65536, 512, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                continue


@pytest.mark.parametrize("stream", [False, True])
def test_a_command_shows_its_answer_and_writes_it_later(small: Served, stream: bool) -> None:
    filler = small.home / "filler"
    small.sim.fault("slow-first:0.7", "*", first=1)

    def fill() -> None:
        end = time.monotonic() + 5
        while not small.sim.stats()["in_flight"] and time.monotonic() < end:
            time.sleep(0.01)
        _fill(filler)

    other = threading.Thread(target=fill)
    request = ChatRequest(
        (Message.text_of("user", "Is all well?"),), max_output_tokens=40, stream=stream
    )
    with App({"OMNI_HOME": str(small.home), "USER": "test"}) as app:
        plan = app.chat.plan(ChatJob(request, app.names.select("openai/gpt-4o")))
        run = app.chat.start(plan)
        other.start()
        text = "".join(chunk.text for chunk in app.chat.chunks(run))
        other.join()
        assert "simulated" in text
        assert run.late is not None
        assert "is kept in" in run.late.hint
        assert app.ledger.get(run.id).state == "pending"  # type: ignore[union-attr]  # it is there
    with App({"OMNI_HOME": str(small.home), "USER": "test"}) as app:
        # The next command, while the disk is still full: nothing is taken for lost.
        app.recovery.run()
        assert app.ledger.get(run.id).state == "pending"  # type: ignore[union-attr]  # as above
    filler.unlink()
    for _ in range(2):
        with App({"OMNI_HOME": str(small.home), "USER": "test"}) as app:
            app.recovery.run()
            row = app.ledger.get(run.id)
            assert row is not None
            assert (row.state, row.attempts, row.estimated) == ("ok", 1, False)
            assert row.usage.output_tokens
            assert row.total_nusd
            assert not Spool(app.store.path).waiting()
            assert app.budgets.drifts() == []


def test_a_gateway_that_ends_before_a_locked_store_sets_its_rows_aside(
    tmp_path: Path, sim: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(tmp_path, sim) as served:
        url = served.url + PATH
        httpx.post(url, json=ASK, timeout=20, trust_env=False)
        served.settle(1)
        sim.fault("slow-first:0.6", "*", first=1)
        caller = threading.Thread(
            target=lambda: httpx.post(url, json=ASK, timeout=20, trust_env=False)
        )
        caller.start()
        end = time.monotonic() + 5
        while not sim.stats()["in_flight"] and time.monotonic() < end:
            time.sleep(0.01)
        # Another process holds the store for longer than the gateway waits for it.
        lock = sqlite3.connect(served.home / "omni.db", isolation_level=None)
        lock.execute("BEGIN IMMEDIATE")
        caller.join()
        monkeypatch.setattr("omni_cli.services.engine.commits._LAST_WAIT_MS", 200)
    lock.execute("ROLLBACK")
    lock.close()
    with App({"OMNI_HOME": str(tmp_path), "USER": "test"}) as app:
        app.recovery.run()
        rows = list(app.ledger.recent(limit=5))
        assert [(row.state, row.estimated) for row in rows] == [("ok", False)] * 2


@pytest.mark.parametrize("stream", [False, True])
def test_a_call_under_way_is_written_when_there_is_room_again(small: Served, stream: bool) -> None:
    url, filler = small.url + PATH, small.home / "filler"
    small.sim.fault("slow-first:1.5", "*", first=1)
    answers: list[httpx.Response] = []
    caller = threading.Thread(
        target=lambda: answers.append(
            httpx.post(url, json={**ASK, "stream": stream}, timeout=20, trust_env=False)
        )
    )
    caller.start()
    end = time.monotonic() + 5
    while not small.sim.stats()["in_flight"] and time.monotonic() < end:
        time.sleep(0.01)
    _fill(filler)
    refused = httpx.post(url, json=ASK, timeout=20, trust_env=False)
    assert refused.status_code == 503
    assert "full" in refused.json()["error"]["message"]
    caller.join()
    assert answers[0].status_code == 200
    assert "simul" in answers[0].text
    assert small.sim.stats()["requests"] == 1  # the refused one was never sent
    filler.unlink()
    small.settle(1)
    (row,) = small.app.ledger.recent(limit=5)
    assert (row.state, row.estimated) == ("ok", False)
    assert row.total_nusd
    assert httpx.post(url, json=ASK, timeout=20, trust_env=False).status_code == 200
    small.settle(2)
