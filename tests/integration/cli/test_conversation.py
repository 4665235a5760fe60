"""``omni chat`` without a question on a terminal: commands, history, Markdown as it comes (A10)."""

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from omni_cli.cli.app import main
from omni_cli.cli.conversation import COMMANDS, offers
from omni_cli.cli.markdown import Rendered, whole_blocks
from omni_cli.simulator import Simulator
from tests.integration.cli.conftest import Omni, home, omni, seeded
from tests.integration.cli.test_chat_talk import MODEL, Screen, lab

__all__ = ["home", "lab", "omni", "seeded"]

Talk = Callable[..., tuple[str, str]]


class Keys(Screen):
    """What is typed; "^C" is Ctrl-C."""

    def readline(self, size: int = -1) -> str:
        line = super().readline(size)
        if line.strip() == "^C":
            raise KeyboardInterrupt
        return line


@pytest.fixture
def talk(lab: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Talk]:
    """Type lines into a conversation; returns what stdout and stderr show."""

    def run(*lines: str, args: tuple[str, ...] = ()) -> tuple[str, str]:
        shown, said = Screen(), Screen()
        with monkeypatch.context() as here:
            here.setattr(sys, "stdin", Keys("".join(f"{line}\n" for line in lines)))
            here.setattr(sys, "stdout", shown)
            here.setattr(sys, "stderr", said)
            here.setattr(sys, "argv", ["omni", "chat", *args])
            with pytest.raises(SystemExit) as left:
                main()
        assert not left.value.code, said.getvalue()
        return shown.getvalue(), said.getvalue()

    return run


def test_a_conversation_goes_on_is_priced_saved_and_undone(
    talk: Talk, sim: Simulator, tmp_path: Path, omni: Omni
) -> None:
    (tmp_path / "notes.txt").write_text("a file's words")
    shown, said = talk(
        f"/file {tmp_path / 'notes.txt'}",
        "First question",
        "Second question",
        "/cost",
        "/why",
        "/rate 4 good enough",
        "/save kept.md",
        "/save kept.md",
        "/undo",
        "Third question",
        "/save after.md",
    )
    assert shown.count("[simulated small]") == 3
    assert "1 file with the next question" in said
    assert said.count(f"{MODEL} · ") == 3
    assert re.search(r"2 answers, \d+ tokens, \$0\.00\d+", said)
    assert "decision   named" in shown or "decision" in shown
    assert "rated 4 of 5" in said
    assert "kept.md is there already" in said
    kept, after = (tmp_path / "kept.md").read_text(), (tmp_path / "after.md").read_text()
    assert "a file's words" in kept
    assert kept.count("## user") == kept.count("## assistant") == 2
    assert "Second question" not in after
    assert "Third question" in after
    # What was undone is not sent again, and is not what -c goes on with.
    asked = [entry for entry in sim.answered() if entry["path"].endswith("chat/completions")]
    assert len(asked) == 3
    assert omni("chat", "-c", "--json", "And then?").code == 0
    stored = omni("logs", "--json").data
    assert len(stored) == 4


def test_an_error_and_ctrl_c_leave_the_conversation_standing(talk: Talk, sim: Simulator) -> None:
    sim.fault("503", first=9)
    shown, said = talk("Name a colour.", "^C", "/modle x", "/model lab/smal", "/rate 9", "/nothing")
    assert "error:" in said
    assert "did you mean /model?" in said
    assert "did you mean lab/small?" in said
    assert "/rate takes 1 (useless) to 5 (perfect)" in said
    sim.heal()
    shown, said = talk("/model lab/small", "Name a colour.", "/exit", "never sent")
    assert "answers come from model lab/small" in said
    assert shown.count("[simulated small]") == 1


def test_several_lines_are_one_question(talk: Talk, sim: Simulator, tmp_path: Path) -> None:
    talk('"""', "def f():", "    pass", '"""', "one \\", "two", "/save lines.md")
    kept = (tmp_path / "lines.md").read_text()
    assert "def f():\n    pass" in kept
    assert "one \ntwo" in kept


def test_help_names_every_command_and_the_tab_key_completes(talk: Talk) -> None:
    _, said = talk("/help", "/?")
    for name in COMMANDS:
        assert said.count(f"{name} ") >= 2
    assert offers("/mo", "/mo") == ["/model "]
    assert offers("/model auto:ch", "auto:ch") == ["auto:cheap"]
    assert MODEL in offers("/model la", "la")
    assert offers("/file te", "te") == []
    assert offers("a question", "question") == []


def test_a_block_is_whole_once_nothing_can_change_it() -> None:
    text = "One.\n\n- a\n\n  more of a\n\n```py\nx\n\ny\n```\n\nTwo"
    for end in range(len(text)):
        done, rest = whole_blocks(text[:end])
        assert "".join(done) + rest == text[:end]
    assert whole_blocks("One.\n\n") == ([], "One.\n\n")
    assert whole_blocks("One.\n\nT") == (["One.\n\n"], "T")
    assert whole_blocks("- a\n\n  b") == ([], "- a\n\n  b")
    assert whole_blocks("```\na\n\nb\n") == ([], "```\na\n\nb\n")
    assert [len(whole_blocks(text)[0]), whole_blocks(text)[1]] == [3, "Two"]


def test_markdown_takes_the_place_of_what_came_and_nothing_is_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = (
        "# Title\n\nSome **bold** words.\n\n1. one\n2. two\n\n```py\nx = 1\n\ny = 2\n```\n\nEnd.\n"
    )
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("LINES", "20")
    monkeypatch.setenv("NO_COLOR", "1")
    finals = []
    for size in (1, 3, len(text)):
        screen = Screen()
        monkeypatch.setattr(sys, "stdout", screen)
        rendered = Rendered()
        for start in range(0, len(text), size):
            rendered.write(text[start : start + size])
        rendered.close()
        finals.append(seen(screen.getvalue()))
    assert finals[0] == finals[1] == finals[2]
    joined = "\n".join(finals[0])
    for word in ("Title", "Some bold words.", "x = 1", "y = 2", "End."):
        assert joined.count(word) == 1, joined
    assert "**" not in joined
    assert "```" not in joined


def seen(output: str) -> list[str]:
    """What a terminal shows in the end: cursor up, and what is below it erased."""
    lines, row = [""], 0
    for piece in re.split(r"(\r|\n|\x1b\[\d+A|\x1b\[J|\x1b\[[\d;]*m)", output):
        if piece == "\n":
            row += 1
            if row == len(lines):
                lines.append("")
        elif up := re.fullmatch(r"\x1b\[(\d+)A", piece):
            row -= int(up[1])
        elif piece == "\x1b[J":
            lines[row:] = [""]
        elif piece != "\r" and not piece.startswith("\x1b"):
            lines[row] += piece
    return [line.rstrip() for line in lines]
