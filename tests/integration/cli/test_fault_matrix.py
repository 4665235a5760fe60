"""The rows of the fault matrix that need another server than the simulator, or another clock:
DNS, TLS and clock skew against discovery and comparison; slow answers against discovery. The
other rows are in test_health.py, test_discover.py and test_compare.py (D1, D2, A7)."""

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from omni_cli.bootstrap import App
from omni_cli.simulator import Simulator
from tests.integration.cli.conftest import Omni
from tests.integration.cli.fleet import SLUGS, connect
from tests.integration.cli.test_health import _answer_plainly, _move

GPT, DEEPSEEK = "openai/gpt-4o", "deepseek/deepseek-chat"


@pytest.fixture
def fleet(home: Path, sim: Simulator) -> Path:
    connect(home, sim)
    return home


@pytest.fixture(params=["dns", "tls"])
def broken(request: pytest.FixtureRequest, fleet: Path) -> Iterator[str]:
    """openai is at a name that nobody has, or at a server that speaks no TLS; yields the word
    that its error must say."""
    if request.param == "dns":
        _move(fleet, "openai", "http://no-such-host.invalid/v1")
        yield "no-such-host.invalid"
        return
    with socket.create_server(("127.0.0.1", 0)) as server:
        stop = threading.Event()
        thread = threading.Thread(target=_answer_plainly, args=(server, stop), daemon=True)
        thread.start()
        _move(fleet, "openai", f"https://127.0.0.1:{server.getsockname()[1]}/v1")
        yield "TLS"
        stop.set()
        thread.join()


def test_discovery_hears_the_others(omni: Omni, fleet: Path, broken: str) -> None:
    began = time.monotonic()
    data = omni("discover", "--timeout", "3", "--json").data
    assert time.monotonic() - began < 5
    by_id = {p["id"]: p for p in data["providers"]}
    assert broken in str(by_id["openai"]["error"])
    assert all(by_id[slug]["listed"] for slug in SLUGS if slug != "openai")
    assert data["gone"] == []


def test_a_comparison_goes_on_with_the_others(
    omni: Omni, fleet: Path, sim: Simulator, broken: str
) -> None:
    ran = omni("compare", "a", "b", "-m", GPT, "-m", DEEPSEEK, "--retries", "0", "--json")
    assert ran.code == 0, ran.err
    states = {a["model"]: a["state"] for a in ran.data["answers"]}
    assert states[DEEPSEEK] == "ok"
    assert ran.data["detailedResults"][GPT]["performance"]["successRate"] == 0
    failed = [a for a in ran.data["answers"] if a["state"] != "ok"]
    assert all(broken in a["error_message"] for a in failed)
    # What failed on the way cost nothing, and what was answered is paid for once.
    with App({"OMNI_HOME": str(fleet)}) as app:
        rows = [r for r in app.ledger.recent(limit=100) if r.source == "compare"]
    answered = sum(n for path, n in sim.stats()["by_path"].items() if not path.endswith("/models"))
    assert sum(r.state == "ok" for r in rows) == answered == 2
    assert all((r.total_nusd or 0) == 0 for r in rows if r.state != "ok")
    omni("compare", "--resume", "last")
    again = sum(n for path, n in sim.stats()["by_path"].items() if not path.endswith("/models"))
    assert again == answered


@pytest.mark.parametrize("hours", [-3, 3])
def test_a_clock_that_was_off_loses_and_repeats_nothing(
    omni: Omni, fleet: Path, sim: Simulator, hours: int
) -> None:
    skewed = App(
        {"OMNI_HOME": str(fleet), "USER": "tester"}, clock=lambda: time.time() + hours * 3600
    )
    with skewed as app:
        app.discovery.discover(limit_s=3)
    data = omni("discover", "--json").data
    assert (data["gone"], data["status"]) == ([], "complete")
    omni("compare", "a", "-m", GPT, "-m", DEEPSEEK)
    before = sim.stats()["requests"]
    with skewed.__class__(
        {"OMNI_HOME": str(fleet), "USER": "tester"}, clock=lambda: time.time() + hours * 3600
    ) as app:
        comparison, plan = app.compare.load("last")
        assert app.compare.estimate(plan, comparison).calls == 0
    assert omni("compare", "--resume", "last").code == 0
    assert sim.stats()["requests"] == before


def test_slow_lists_are_given_up_in_time(omni: Omni, fleet: Path, sim: Simulator) -> None:
    sim.fault("slow-first:5", "openai/*")
    began = time.monotonic()
    data = omni("discover", "--timeout", "1.5", "--json").data
    assert time.monotonic() - began < 4
    by_id = {p["id"]: p for p in data["providers"]}
    assert by_id["openai"]["error"] is not None
    assert data["gone"] == []
