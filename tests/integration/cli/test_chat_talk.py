"""What ``omni chat`` says beside the answer: who gave it and what it cost (A3)."""

import io
import sys
from pathlib import Path

import pytest

from omni_cli.cli.app import main
from omni_cli.simulator import Simulator
from tests.integration.cli.conftest import Omni, home, omni, seeded

__all__ = ["home", "omni", "seeded"]

MODEL = "lab/small"


class Screen(io.StringIO):
    """A terminal that stdout and stderr both write to, or two."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def lab(home: Path, omni: Omni, sim: Simulator) -> Path:
    where = ("--protocol", "openai", "--base-url", f"{sim.url}/openai/v1", "--no-auth")
    assert omni("providers", "add", "lab", *where).code == 0
    assert omni("models", "add", MODEL, "--price-in", "2.50", "--price-out", "10").code == 0
    return home


def on_screen(
    patch: pytest.MonkeyPatch, *args: str, stdout: io.StringIO | None = None
) -> tuple[str, str]:
    """What stdout and stderr show, both at a terminal unless ``stdout`` is given."""
    screen, talk = stdout or Screen(), Screen()
    with patch.context() as here:
        here.setattr(sys, "stdout", screen)
        here.setattr(sys, "stderr", talk)
        here.setattr(sys, "stdin", io.StringIO())
        here.setattr(sys, "argv", ["omni", *args])
        with pytest.raises(SystemExit) as left:
            main()
    assert not left.value.code, talk.getvalue()
    return screen.getvalue(), talk.getvalue()


def test_a_terminal_is_told_who_answered_and_what_it_cost(
    lab: Path, omni: Omni, monkeypatch: pytest.MonkeyPatch
) -> None:
    for piped in (None, io.StringIO()):
        answer, talk = on_screen(monkeypatch, "chat", "Name a colour.", stdout=piped)
        assert answer.startswith("[simulated small]")
        assert answer.endswith("\n")
        (line,) = talk.splitlines()
        assert len(line) <= 80, line
        assert line.startswith(f"{MODEL} · ")
        assert " · $0.0" in line
        shown = line.rpartition("omni why ")[2]
        assert omni("why", shown, "--json").data["id"] == shown
    assert omni("chat", "Name a colour.").err == ""  # no terminal, nothing asked
    assert MODEL in omni("chat", "-u", "Name a colour.").err


def test_quiet_and_the_setting_silence_it(
    lab: Path, omni: Omni, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert on_screen(monkeypatch, "chat", "-q", "Name a colour.")[1] == ""
    assert omni("config", "set", "chat.receipt", "false").code == 0
    assert on_screen(monkeypatch, "chat", "Name a colour.")[1] == ""
    assert MODEL in on_screen(monkeypatch, "chat", "-u", "Name a colour.")[1]


def test_the_line_comes_below_the_answer_where_both_go_to_one_file(
    lab: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        (tmp_path / "both").open("w+", encoding="utf-8") as shown,
        monkeypatch.context() as here,
        open(shown.fileno(), "w", encoding="utf-8", closefd=False) as err,
    ):
        here.setattr(sys, "stdout", shown)
        here.setattr(sys, "stderr", err)
        here.setattr(sys, "stdin", io.StringIO())
        here.setattr(sys, "argv", ["omni", "chat", "-u", "Name a colour."])
        with pytest.raises(SystemExit):
            main()
    *answer, line = (tmp_path / "both").read_text().splitlines()
    assert line.startswith(f"{MODEL} · ")
    assert answer[0].startswith("[simulated small]")
