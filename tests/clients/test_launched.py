"""Real agents, started by ``omni launch`` before the simulator: three turns with their shell, what
the ledger says of it, and a cap that stops one in the midst of its work.

Not of the suite: OMNI_AGENTS names a folder with their programs (node_modules/.bin, where npm has
put them), and those that are there are asked.
"""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from omni_cli.domain.agents import AGENTS
from omni_cli.domain.ledger import RequestRow
from tests.clients import agents as clients
from tests.conftest import Fleet
from tests.integration.cli_process import Done, omni

FOLDER = os.environ.get("OMNI_AGENTS", "")
MODEL = "openai/gpt-4o-mini"
#: What each is told to do its work alone, after ``omni launch NAME -m MODEL --``.
ARGS = {
    "claude": ("-p", "{task}", "--allowedTools", "Bash"),
    "codex": (
        *("exec", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox"),
        "{task}",
    ),
    "gemini": ("-p", "{task}", "--skip-trust", "--yolo"),
    "qwen": ("-p", "{task}", "--yolo"),
    "opencode": ("run", "--", "{words}"),
    "aider": (
        *("--no-git", "--yes-always", "--no-check-update", "--no-show-model-warnings"),
        *("--no-show-release-notes", "--load", "{script}"),
    ),
}
#: As the nightly walk calls those that it knows. What some of their turns cost in US dollars, and
#: how many are asked for; aider goes on trying for a minute after each that was refused.
NAMES = {"claude": "claude-code", "gemini": "gemini-cli", "qwen": "qwen-code"}
CAPS = {"aider": (0.0015, 11)}
PATH = f"{FOLDER}:{os.environ['PATH']}"
HERE = [name for name in ARGS if FOLDER and shutil.which(AGENTS[name].program, path=FOLDER)]
pytestmark = pytest.mark.skipif(not FOLDER, reason="OMNI_AGENTS names no folder of agents")


@pytest.fixture
def project(tmp_path: Path, fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a home of its own beside it."""
    home, project = tmp_path / "home", tmp_path / "shop"
    for folder in (home, project):
        folder.mkdir()
    (project / "opencode.json").write_text('{"permission": "allow"}')
    monkeypatch.chdir(project)
    fleet.env.update(PATH=PATH, HOME=str(home), PWD=str(project), NO_COLOR="1")
    fleet.env["OPENCODE_DISABLE_MODELS_FETCH"] = "1"
    for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        fleet.env.pop(name, None)
    return project


def started(fleet: Fleet, project: Path, name: str, works: Sequence[str], *options: str) -> Done:
    """The agent at these commands, one after the other."""
    client = clients.AGENTS.get(NAMES.get(name, name))
    task = clients.task_of(client, works) if client else ""
    script = project / "work.txt"
    # aider has no shell that a model may use: its user runs the commands, and shows what came.
    script.write_text("".join(f"/run {work}\n/ask go on {n}\n" for n, work in enumerate(works)))
    words = {"{task}": [task], "{words}": task.split(" "), "{script}": [str(script)]}
    args = [arg for given in ARGS[name] for arg in words.get(given, [given])]
    return omni(fleet.env, "launch", name, "-m", MODEL, *options, "--", *args, timeout=300)


def rows_of(fleet: Fleet) -> list[RequestRow]:
    return sorted(fleet.app.ledger.recent(limit=999), key=lambda row: row.id)


@pytest.mark.parametrize("name", HERE)
def test_three_turns_are_a_session_that_is_told_right(
    fleet: Fleet, project: Path, name: str
) -> None:
    done = started(fleet, project, name, clients.WORK)
    assert done.code == 0, done.everything
    assert (project / "two.txt").read_text() == "made-42\n" * 2, done.everything
    rows = rows_of(fleet)
    assert len(rows) >= len(clients.WORK), done.everything
    known = AGENTS[name].known_as
    assert {row.state for row in rows} == {"ok"}
    assert {(row.agent.partition(":")[0], row.project, row.model) for row in rows} == {
        (known, "shop", MODEL)
    }
    assert len({row.session for row in rows}) == 1
    told = [(row.usage.input_tokens, row.usage.output_tokens) for row in rows]
    answered = [(one["input_tokens"], one["output_tokens"]) for one in fleet.sim.answered()]
    assert sorted(told) == sorted(answered)
    assert all(row.cost_nusd for row in rows)
    assert f"{AGENTS[name].title} in shop:" in done.err
    assert f"{len(rows)} calls" in done.err


@pytest.mark.parametrize("name", HERE)
def test_a_cap_stops_it_in_the_midst_of_its_work(fleet: Fleet, project: Path, name: str) -> None:
    cap, most = CAPS.get(name, (0.03, 40))
    works = [f"echo turn-{n} >> turns.txt" for n in range(most)]
    done = started(fleet, project, name, works, "--budget", str(cap))
    said = done.everything
    assert "turn-3" in (project / "turns.txt").read_text(), said
    answered = [row for row in rows_of(fleet) if row.state == "ok"]
    assert 3 < len(answered) < len(works), said
    assert sum(row.cost_nusd or 0 for row in answered) <= cap * 10**9
    # The agent says why, in its own words around omni's.
    assert re.search(r"the budget of session\s+launch:\S+ has\s+\$\S+ left", said), said
    assert f"of ${cap}" in done.err


@pytest.mark.parametrize("name", [name for name in HERE if AGENTS[name].home is not None])
def test_its_own_settings_lead_it_to_the_gateway(fleet: Fleet, project: Path, name: str) -> None:
    """As ``--write`` sets them, without the launcher; and no more once they are undone."""
    told = omni(fleet.env, "launch", name, "-m", MODEL, "--write", "--json").json
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    for path in map(Path, told["files"]):
        path.write_text(path.read_text().replace(told["gateway"], url))
    server = subprocess.Popen(
        [sys.executable, "-m", "omni_cli", "serve", "--port", str(port)], env=fleet.env
    )
    try:
        wait_until_up(port)
        client = clients.AGENTS[NAMES.get(name, name)]
        task = clients.task_of(client, clients.WORK)
        words = {"{task}": [task], "{words}": task.split(" ")}
        args = [arg for given in ARGS[name] for arg in words.get(given, [given])]
        program = shutil.which(AGENTS[name].program, path=FOLDER)
        done = subprocess.run(
            [str(program), *args],
            env=fleet.env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
        )
    finally:
        server.terminate()
        server.wait()
    said = done.stdout + done.stderr
    assert (project / "two.txt").read_text() == "made-42\n" * 2, said
    assert {(row.key, row.model, row.state) for row in rows_of(fleet)} == {
        (told["key"], MODEL, "ok")
    }
    assert omni(fleet.env, "launch", name, "--undo").code == 0
    assert not [
        path for path in map(Path, told["files"]) if "omni" in path.name or url in text(path)
    ]


def text(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def wait_until_up(port: int) -> None:
    until = time.monotonic() + 30
    while time.monotonic() < until:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.1)
