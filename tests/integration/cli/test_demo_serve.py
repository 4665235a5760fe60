"""``omni demo --serve``: a fleet to play with for whoever has installed nothing else (B1)."""

import os
import re
import signal
import time
from pathlib import Path

import pytest

from omni_cli.bootstrap import App
from omni_cli.simulator import Simulator
from tests.integration.cli.conftest import Omni, home, omni, seeded

__all__ = ["home", "omni", "seeded"]


def test_a_demo_in_the_background_answers_this_shell_until_it_is_ended(
    home: Path, omni: Omni, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "a demo"
    said = omni("demo", "--serve", "--env", "--keep", str(kept))
    assert said.code == 0, said
    exports = dict(re.findall(r"^export (\w+)='?([^'\n]+)'?$", said.out, re.MULTILINE))
    assert exports["OMNI_HOME"] == str(kept)
    pid = int(exports["OMNI_DEMO_PID"])
    try:
        with monkeypatch.context() as here:
            here.setenv("OMNI_HOME", exports["OMNI_HOME"])
            answer = omni("chat", "--json", "-m", "heartbeat", "Is the build server up?").data
            assert answer["output"].startswith("[simulated ")
            assert answer["cost_usd"] > "0"
    finally:
        os.kill(pid, signal.SIGTERM)
    for _ in range(100):
        if not Path(f"/proc/{pid}").exists() or os.waitpid(pid, os.WNOHANG) != (0, 0):
            break
        time.sleep(0.05)
    else:
        pytest.fail("it is still there")
    assert omni("demo", "--env").code == 2


def test_a_kept_demo_gets_todays_simulator_and_keeps_its_fleet(home: Path, tmp_path: Path) -> None:
    from omni_cli.cli.commands import demo

    with App({"OMNI_HOME": str(tmp_path / "kept")}) as app, Simulator() as first:
        demo._LONGEST_S, longest = 0.0, demo._LONGEST_S
        try:
            demo._stay(app, first, tmp_path, as_json=True)
            rules = app.assignments.rules()
            with Simulator() as second:
                demo._stay(app, second, tmp_path, as_json=True)
                assert {second.url} == {
                    re.sub(r"(http://[^/]+)/.*", r"\1", one.base_url) for one in app.providers.all()
                }
        finally:
            demo._LONGEST_S = longest
        assert app.assignments.rules() == rules
