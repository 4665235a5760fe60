"""What is chosen rests on what is known: no measurement, size or address stands for more (B4)."""

from pathlib import Path

import pytest

from omni_cli.bootstrap import App
from omni_cli.simulator import Simulator
from tests.integration.cli.conftest import Omni
from tests.integration.cli.fleet import connect

SONNET = "anthropic/claude-sonnet-4-20250514"
DEEPSEEK = "deepseek/deepseek-chat"
CODE = "Write a python function that parses ISO dates"


def _took(home: Path, model: str, task: str, latency_ms: float, calls: int) -> None:
    """As if ``calls`` calls of a model at a task had taken so long."""
    with App({"OMNI_HOME": str(home)}) as app, app.store.transaction() as db:
        db.execute(
            "INSERT OR REPLACE INTO model_stats VALUES (?, ?, ?, ?, ?, ?, ?)",
            (model, task, calls, calls, 200 * calls, latency_ms, latency_ms),
        )


def test_one_call_does_not_lock_a_task_onto_a_dear_model(
    omni: Omni, home: Path, sim: Simulator
) -> None:
    connect(home, sim)
    for model in ("openai/gpt-4o", "google/gemini-2.0-flash", "anthropic/claude-3-haiku-20240307"):
        assert omni("models", "disable", model).code == 0
    assert omni("route", "--json", CODE).data["model"] == DEEPSEEK
    said = "Write a python function that reverses a list"
    assert omni("chat", "-m", SONNET, said).code == 0
    decided = omni("route", "--json", said).data
    basis = {c["model"]: c["latency_basis"] for c in decided["candidates"] if c["eligible"]}
    assert basis == {SONNET: "measured", DEEPSEEK: "not measured"}
    answered = [omni("chat", "--json", f"{said}, variant {n}").data["model_used"] for n in range(8)]
    assert answered == [DEEPSEEK] * 8


@pytest.mark.parametrize(("latency_ms", "calls"), [(150.0, 1), (1_200.0, 1), (300.0, 30)])
def test_a_measured_model_does_not_beat_a_far_cheaper_unmeasured_one(
    omni: Omni, home: Path, sim: Simulator, latency_ms: float, calls: int
) -> None:
    connect(home, sim)
    decided = omni("route", "--json", CODE).data
    _took(home, SONNET, decided["task_type"], latency_ms, calls)
    again = omni("route", "--json", CODE).data
    assert again["model"] == decided["model"] != SONNET
    table = omni("route", "--explain", CODE).out
    assert "not measured" in table
