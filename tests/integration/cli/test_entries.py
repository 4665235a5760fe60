"""What is typed, piped or attached in odd ways, and how a command ends when it is told to."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from omni_cli.bootstrap import App
from omni_cli.simulator import Simulator
from tests.image_vendors import PIXEL
from tests.integration.cli.conftest import Omni
from tests.integration.cli.fleet import connect
from tests.paths import REPO

GPT = "openai/gpt-4o"
JPEG = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00" + b"\x00" * 40


@pytest.fixture
def fleet(omni: Omni, home: Path, sim: Simulator) -> Omni:
    connect(home, sim)
    return omni


def _rows() -> list[str]:
    with App() as app:
        return [row.state for row in app.ledger.recent(limit=10)]


@pytest.mark.parametrize("prompt", ["", "   ", "\n\t"])
def test_an_empty_question_is_not_sent(fleet: Omni, prompt: str) -> None:
    for command in ("chat", "route"):
        ran = fleet(command, prompt)
        assert ran.code == 2, command
        assert "nothing to ask" in ran.err
    assert _rows() == []


def test_a_question_that_begins_with_a_dash(fleet: Omni) -> None:
    for command in ("chat", "route"):
        assert "goes after --" in fleet(command, "-5 plus 3?").err
    assert fleet("route", "--", "-5 plus 3?").code == 0


def test_too_long_an_input_says_how_long(fleet: Omni) -> None:
    ran = fleet("chat", "word " * 3_000_000)
    assert ran.code == 1
    assert "tokens is too small for about 3," in ran.err
    assert "shorten the input" in ran.err


@pytest.mark.parametrize("option", ["-i", "-f"])
def test_an_image_is_what_it_holds(
    fleet: Omni, sim: Simulator, tmp_path: Path, option: str
) -> None:
    (tmp_path / "fake.png").write_text("only text")
    (tmp_path / "zip.png").write_bytes(b"PK\x03\x04" + bytes(range(128, 250)))
    for name in ("fake.png", "zip.png"):
        ran = fleet("chat", option, name, "what is it?")
        assert ran.code == 2, name
        assert name in ran.err
    assert _rows() == []
    (tmp_path / "photo.png").write_bytes(JPEG)
    (tmp_path / "pixel.txt").write_bytes(PIXEL)
    for name, kind in (("photo.png", "image/jpeg"), ("pixel.txt", "image/png")):
        from omni_cli.cli.prompts import read_prompt

        files, images = ([Path(name)], []) if option == "-f" else ([], [name])
        part = read_prompt(["x"], files, images)[1]
        assert part.media_type == kind


def test_words_of_a_search_need_no_quotes(fleet: Omni) -> None:
    both = fleet("models", "list", "gemini", "flash", "--all", "--json").data
    assert both == fleet("models", "list", "gemini flash", "--all", "--json").data
    assert both


# --- how a process ends -------------------------------------------------------------------------


def _start(*args: str, stdout: int, env: dict[str, str] | None = None) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-m", "omni_cli", *args],
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.PIPE,
        cwd=REPO,
        env={**os.environ, **(env or {})},
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_under_stdout_is_a_clean_error(fleet: Omni) -> None:
    for args in (("models", "list"), ("chat", "hi")):
        with Path("/dev/full").open("wb") as full:
            process = _start(*args, stdout=full.fileno())
            _, err = process.communicate(timeout=60)
        assert process.returncode == 1, args
        assert b"cannot write the output: No space left on device" in err
        assert b"Traceback" not in err
        assert b"Exception ignored" not in err
    assert "pending" not in _rows()


@pytest.mark.parametrize("behind", [False, True], ids=["foreground", "background"])
def test_sigterm_settles_as_ctrl_c_does(fleet: Omni, sim: Simulator, behind: bool) -> None:
    """A shell without job control lets what it starts in the background ignore Ctrl-C."""
    sim.fault("hang", match="openai/*")
    usual = signal.signal(signal.SIGINT, signal.SIG_IGN) if behind else None
    try:
        process = _start("chat", "-m", GPT, "hi", stdout=subprocess.PIPE)
    finally:
        if usual is not None:
            signal.signal(signal.SIGINT, usual)
    end = time.monotonic() + 30
    while not _sent() and time.monotonic() < end:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 143, err
    assert b"Traceback" not in err
    assert _rows() == ["cancelled"]


def _sent() -> bool:
    with App() as app:
        return any(
            attempt.state == "sent"
            for row in app.ledger.recent(limit=5)
            for attempt in app.ledger.attempts(row.id)
        )


def test_no_utf8_at_all(fleet: Omni) -> None:
    env = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": ""}
    for args in (("health",), ("models", "list"), ("--help",)):
        process = _start(*args, stdout=subprocess.PIPE, env=env)
        _, err = process.communicate(timeout=60)
        assert b"Traceback" not in err, (args, err)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_home_that_cannot_be_written(omni: Omni, home: Path) -> None:
    home.chmod(0o500)
    try:
        ran = omni("models", "list")
        assert "set OMNI_HOME to a folder that you can write" in ran.err
    finally:
        home.chmod(0o700)


def test_a_home_that_is_a_file(omni: Omni, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("OMNI_HOME", str(tmp_path / "file"))
    for command in (("models", "list"), ("calc", "x"), ("route", "x")):
        ran = omni(*command)
        assert ran.code == 1
        assert "set OMNI_HOME to a folder that you can write" in ran.err, ran.err
    checked = omni("doctor")
    assert checked.code == 1
    assert "set OMNI_HOME to a folder that you can write" in checked.out


# --- one way to gate, and to only show ----------------------------------------------------------


def test_exit_code_gates_every_command_that_judges(fleet: Omni) -> None:
    assert fleet("budgets", "status", "--exit-code").code == 0
    assert fleet("health", "--exit-code").code == fleet("health", "--fail").code
    for command in (
        ("diff", "x"),
        ("apply", "x"),
        ("reconcile", "x"),
        ("health",),
        ("budgets", "status"),
    ):
        assert "No such option" not in fleet(*command, "--exit-code").err, command
    for command in (("chat", "hi"), ("compare", "hi"), ("init",), ("apply", "x"), ("launch", "x")):
        for word in ("--plan", "--dry-run"):
            assert "No such option" not in fleet(*command, word).err, command


def test_words_that_no_model_at_work_has_are_looked_for_with_all(fleet: Omni) -> None:
    assert "omni models list kimi k2 --all" in fleet("models", "list", "kimi", "k2").err
