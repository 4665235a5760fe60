"""From an empty machine to the first answer and a budget; from logs to this month (part D)."""

import sys
from pathlib import Path

import pytest

from omni_cli.cli.app import main
from omni_cli.simulator import Simulator
from tests.integration.cli.conftest import Omni, home, omni, seeded
from tests.integration.cli.test_agent_reports import logs
from tests.integration.cli.test_chat_talk import Screen

__all__ = ["home", "logs", "omni", "seeded"]


def at_terminal(patch: pytest.MonkeyPatch, typed: str, *args: str) -> tuple[int, str, str]:
    shown, said = Screen(), Screen()
    with patch.context() as here:
        here.setattr(sys, "stdin", Screen(typed))
        here.setattr(sys, "stdout", shown)
        here.setattr(sys, "stderr", said)
        here.setattr(sys, "argv", ["omni", *args])
        with pytest.raises(SystemExit) as left:
            main()
    code = left.value.code
    return code if isinstance(code, int) else 0, shown.getvalue(), said.getvalue()


def test_the_first_question_sets_up_a_fleet_where_there_is_none(
    home: Path, omni: Omni, sim: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    question = ("chat", "Why is the sky blue?")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-not-a-real-key-0123456789")
    monkeypatch.setenv("OPENAI_BASE_URL", f"{sim.url}/openai/v1")
    # Nobody is asked where nobody is there, and nothing is set up unasked.
    piped = omni(*question)
    assert (piped.code, "omni init" in piped.err) == (1, True)
    refused = at_terminal(monkeypatch, "n\n", *question)
    assert refused[0] == 1
    assert omni("providers", "--json").data == []

    code, shown, said = at_terminal(monkeypatch, "\n\n\n", *question)
    assert (code, "[simulated gpt-" in shown) == (0, True), said
    assert "omni why" in said.splitlines()[-1]
    assert omni("budgets", "add", "all", "5", "--per", "day").code == 0
    assert omni("budgets", "--json").data[0]["limit_usd"] == "5"
    again = at_terminal(monkeypatch, "", *question)
    assert "no fleet yet" not in again[2]


def test_an_empty_machine_is_told_what_to_do(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, shown, said = at_terminal(monkeypatch, "", "chat", "Why is the sky blue?")
    assert code == 3
    assert "export OPENAI_API_KEY=" in shown
    assert "omni demo" in shown + said


def test_init_puts_models_of_a_provider_to_work_that_was_added_by_hand(
    home: Path, omni: Omni, sim: Simulator
) -> None:
    where = ("--base-url", f"{sim.url}/openai/v1", "--no-auth")
    assert omni("providers", "add", "openai", *where).code == 0
    assert omni("init", "--yes", "--no-local").code == 0
    assert omni("chat", "Why is the sky blue?").out.startswith("[simulated ")


def test_init_says_so_where_nothing_is_at_work(home: Path, omni: Omni, sim: Simulator) -> None:
    where = ("--protocol", "openai", "--base-url", f"{sim.url}/openai/v1", "--no-auth")
    assert omni("providers", "add", "lab", *where).code == 0
    said = omni("init", "--yes", "--no-local")
    assert "no model of lab is at work" in said.out
    assert "omni providers models lab --add" in said.err


def test_two_commands_lead_from_agents_logs_to_this_month(omni: Omni, logs: Path) -> None:
    assert omni("import", "--yes").code == 0
    assert "$" in omni("monthly").out


def test_a_terminal_of_text_only_gets_text(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    code, shown, _ = at_terminal(monkeypatch, "")
    assert (code, shown.startswith("Usage: omni")) == (0, True)
    code, shown, said = at_terminal(monkeypatch, "", "dash")
    assert (code, shown, "TERM=dumb" in said) == (2, "", True)
