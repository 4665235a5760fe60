"""A disk that is really full: nothing new is sent, and what was paid for is not lost (E3)."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from omni_cli.simulator import Simulator
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
    assert "simulated" in answers[0].text
    assert small.sim.stats()["requests"] == 1  # the refused one was never sent
    filler.unlink()
    small.settle(1)
    (row,) = small.app.ledger.recent(limit=5)
    assert (row.state, row.estimated) == ("ok", False)
    assert row.total_nusd
    assert httpx.post(url, json=ASK, timeout=20, trust_env=False).status_code == 200
    small.settle(2)
