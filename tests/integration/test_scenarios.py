"""The demo scenarios of the specs: the commands of docs/scenarios.md, run as written."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.paths import REPO

PAGE = REPO / "docs" / "scenarios.md"
#: Many questions one after the other are asked by one process: to start as many costs half a minute
#: and shows nothing that the page's other commands do not.
_LOOPS = re.compile(r"for n in \$\(seq (\d+)\); do\n  omni (.*) >/dev/null\ndone")
_ASK = """
import sys
from omni_cli.cli.app import main

count, *words = sys.argv[1:]
for n in range(1, int(count) + 1):
    sys.argv = ["omni", *(word.replace("{n}", str(n)) for word in words)]
    try:
        main()
    except SystemExit as left:
        if left.code:
            raise
"""
_COMMANDS = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
#: A part's commands, by its heading.
BLOCKS = {
    part.partition("\n")[0]: "".join(_COMMANDS.findall(part))
    for part in PAGE.read_text("utf-8").split("\n## ")
}


@dataclass(frozen=True)
class Shell:
    """A folder where one scenario after another is run by bash, as a reader would."""

    folder: Path
    env: dict[str, str]
    port: int

    def run(self, block: str) -> str:
        (self.folder / "ask.py").write_text(_ASK)
        block = _LOOPS.sub(
            lambda loop: f"python ask.py {loop[1]} {loop[2].replace('$n', '{n}')} >/dev/null", block
        )
        script = f"set -euo pipefail\n{block.replace('18433', str(self.port))}"
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=self.folder,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=120,
            check=False,
        )
        told = done.stdout.decode()
        assert done.returncode == 0, told
        return told


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """A shell after the page's set-up."""
    folder = tmp_path_factory.mktemp("scenarios")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    programs = folder / "bin"
    programs.mkdir()
    for name, words in (("omni", '-m omni_cli "$@"'), ("python", '"$@"')):
        program = programs / name
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" {words}\n')
        program.chmod(0o755)
    env = {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "HOME": str(folder),
        "PYTHONPATH": str(REPO),
        "OMNI_HOME": str(folder / "scenario-home"),
        "USER": "tester",
        "COLUMNS": "120",
    }
    made = Shell(folder, env, port)
    setup = BLOCKS["Set-up"].replace("18433", str(port))
    log = (folder / "setup.log").open("wb")
    process = subprocess.Popen(
        ["bash", "-c", f"set -euo pipefail\n{setup}\necho ready\nwait"],
        cwd=folder,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=log,
        start_new_session=True,
    )
    assert process.stdout is not None
    told = b""
    while b"ready\n" not in told:
        line = process.stdout.readline()
        told += line
        assert line, (told, (folder / "setup.log").read_text())
    yield made
    os.killpg(process.pid, signal.SIGTERM)
    process.wait(10)
    process.stdout.close()
    log.close()


def test_health_check(shell: Shell) -> None:
    told = shell.run(BLOCKS["A provider fails, and is well again"])
    well, failing, healed = re.split(r'\{"rules":\[', told)
    assert "3/3 healthy" in well
    assert re.search(r"openai +error .*overloaded", failing)
    assert "[simulated" in failing
    assert "[simulated gpt" not in told
    assert "3/3 healthy" in healed


def test_discovery(shell: Shell) -> None:
    told = shell.run(BLOCKS["New models are discovered"])
    assert "lab/gpt-6-luna: new to omni" in told
    assert "applied to" in told


def test_comparison(shell: Shell) -> None:
    told = shell.run(BLOCKS["Gemini 3.1 Flash Lite or GPT-5.5 for photo tagging"])
    assert "2 models, 3 prompts: 12 calls and 12 of the judge" in told
    assert "winner:" in told
    assert "cheapest: google/gemini-3.1-flash-lite" in told
    assert "✓" in told
    assert "google/gemini-3.1-flash-lite" in (shell.folder / "comparison.md").read_text()


def test_quick_switch(shell: Shell) -> None:
    told = shell.run(BLOCKS["Another model for a job, in one command"])
    assert "[simulated gemini-3.1-flash-lite]" in told
    assert "[simulated claude-sonnet-5-5]" in told
    rows = [line for line in told.splitlines() if re.match(r"(google|anthropic)/", line)]
    assert len(rows) == 2
    (role,) = json.loads(shell.run("omni roles list --json"))
    assert [m["model"] for m in role["models"]] == ["google/gemini-3.1-flash-lite"]


def test_cost_optimisation(shell: Shell) -> None:
    told = shell.run(BLOCKS["What it costs, and how to pay less"])
    assert "Switch role heartbeat to" in told
    assert "6 of your own questions" in told
    assert "omni recommend undo" in told
    assert "expected quality, %, by cost" in told
    last = json.loads(shell.run("omni chat -m role:heartbeat --json 'Is all well?'"))
    assert last["model_used"] != "anthropic/claude-sonnet-5-5"
