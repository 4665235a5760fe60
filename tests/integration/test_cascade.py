"""Checked answers: a cheaper model first, the next one where the check fails, all on the bill."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from omni_cli.bootstrap import App
from omni_cli.domain.models import Provider
from omni_cli.simulator import Simulator

CHEAP, DEAR = "openai/gpt-4o-mini", "openai/gpt-4o"


@pytest.fixture
def home(tmp_path: Path, sim: Simulator) -> Path:
    with App({"OMNI_HOME": str(tmp_path), "USER": "tester"}) as app:
        app.fleet.put_provider(
            Provider("openai", "OpenAI", "openai", sim.base_url("openai"), auth_method="none")
        )
        for model in (CHEAP, DEAR):
            app.fleet.set_status(model, "active")
    return tmp_path


def chat(home: Path, *words: str) -> tuple[int, dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, "-m", "omni_cli", "chat", "--json", *words],
        env={**os.environ, "OMNI_HOME": str(home)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, json.loads(done.stdout)


def only(model: str) -> str:
    """A check that only this model's (simulated, signed) answers pass."""
    wire = model.split("/")[1]
    code = f"import sys; sys.exit('simulated {wire}]' not in sys.stdin.read())"
    return shlex.join([sys.executable, "-c", code])


def test_a_failed_check_goes_up_and_both_are_charged(home: Path) -> None:
    code, answer = chat(home, "--check", only(DEAR), "Name a colour.")
    assert code == 0
    assert answer["model_used"] == DEAR
    assert [(a["model"], a["outcome"]) for a in answer["attempts"]] == [
        (CHEAP, "rejected"),
        (DEAR, "ok"),
    ]
    costs = [float(a["cost_usd"]) for a in answer["attempts"]]
    assert min(costs) > 0
    assert float(answer["cost_usd"]) == pytest.approx(sum(costs), rel=1e-12)


def test_a_passed_check_stays_with_the_cheap_model(home: Path) -> None:
    code, answer = chat(home, "--check", only(CHEAP), "Name a colour.")
    assert code == 0
    assert [(a["model"], a["outcome"]) for a in answer["attempts"]] == [(CHEAP, "ok")]


def test_when_no_answer_passes_the_exit_code_says_so(home: Path) -> None:
    code, answer = chat(home, "--check", "false", "Name a colour.")
    assert code == 7
    assert answer["error"]["code"] == "assertion_failed"


def test_verdicts_are_outcomes_that_routing_learns_from(home: Path) -> None:
    chat(home, "--check", only(DEAR), "--task", "writing", "Name a colour.")
    with App({"OMNI_HOME": str(home)}) as app:
        quality = app.learning.quality()
    assert quality["writing", CHEAP] == (0.0, 1.0)
    assert quality["writing", DEAR] == (1.0, 0.0)


def test_an_empty_answer_goes_up(home: Path, sim: Simulator) -> None:
    sim.fault("empty", CHEAP, first=1)
    code, answer = chat(home, "--escalate", "Name a colour.")
    assert code == 0
    assert answer["attempts"][0]["outcome"] == "rejected"
    assert answer["model_used"] == DEAR
