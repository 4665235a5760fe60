"""Every shell block of README.md and docs/ does what its page says, on the simulator."""

import base64
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from omni_cli.simulator import Simulator
from tests.pages.shell import (
    CHANGES,
    PAGES,
    PORTS,
    REASONS,
    SHELL,
    blocks,
    missing,
    programs,
    run,
    steps,
)
from tests.paths import REPO

#: Of all shell blocks at most this share is shown and not run.
_LEFT_OUT = 0.3
_PICTURE = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGNgYGD4DwABBAEAfbLI3wAAAABJRU5ErkJggg=="
)
#: Pages that another test runs as written, and asks more of.
_ELSEWHERE = {"scenarios": "tests/integration/test_scenarios.py"}
_EMPTY = "<!-- home: empty -->"


@dataclass(frozen=True)
class World:
    """What a reader's shell has: omni, keys of three vendors, the vendors, and a fleet."""

    env: dict[str, str]
    sim: Simulator
    folder: Path
    ports: dict[str, int]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("pages")
    ports = {}
    for name in PORTS:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            ports[name] = probe.getsockname()[1]
    with Simulator(seed=7) as sim:
        env = {
            "PATH": f"{programs(folder / 'bin')}:{os.environ['PATH']}",
            "PYTHONPATH": str(REPO),
            "HOME": str(folder / "user"),
            "OMNI_HOME": str(folder / "home"),
            "USER": "ann",
            "LANG": "C.UTF-8",
            "TZ": "UTC",
            "COLUMNS": "100",
            "OPENAI_API_KEY": "sk-of-the-simulator-0123456789",
            "OPENAI_BASE_URL": f"{sim.url}/openai/v1",
            "ANTHROPIC_API_KEY": "sk-ant-of-the-simulator-0123456789",
            "ANTHROPIC_BASE_URL": f"{sim.url}/anthropic",
            "OLLAMA_HOST": "127.0.0.1:9",
            "SIMULATOR": sim.url,
            "PICTURE": str(folder / "picture.png"),
            "FIXTURES": str(REPO / "fixtures"),
            "PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring",
        }
        (folder / "picture.png").write_bytes(_PICTURE)
        user = folder / "user"
        logs = REPO / "fixtures" / "imports"
        shutil.copytree(logs / "claude-code/generated/projects", user / ".claude/projects")
        shutil.copytree(logs / "codex/generated/sessions", user / ".codex/sessions")
        done = subprocess.run(
            ["omni", "init", "--yes", "--no-local"], env=env, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        yield World(env, sim, folder, ports)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_runs_as_written(page: Path, world: World, tmp_path: Path) -> None:
    text = page.read_text("utf-8")
    if page.stem in _ELSEWHERE or not any(steps(text)):
        return
    if lacks := [tool for tool in ("curl", "git", "jq") if shutil.which(tool) is None]:
        pytest.skip(f"no {', '.join(lacks)} here")
    home, folder = tmp_path / "home", tmp_path / "work"
    folder.mkdir()
    shutil.copytree(world.folder / "user", tmp_path / "user")
    if _EMPTY not in text:
        shutil.copytree(world.folder / "home", home)
    world.sim.reset()
    env = {**world.env, "OMNI_HOME": str(home), "HOME": str(tmp_path / "user")}
    wrong = run(page, folder, env, world.ports)
    assert not wrong, "\n\n".join(wrong)


def test_every_block_says_what_it_is_and_why_it_is_not_run() -> None:
    ran, left = 0, []
    for page in PAGES:
        for block in blocks(page.read_text("utf-8")):
            at = f"{page.name}:{block.line}"
            assert block.kind, f"{at}: a block says what it is: sh, console, text, toml, ..."
            if block.kind not in SHELL:
                continue
            if (why := block.notes.get("not run")) is None:
                ran += 1
                assert not CHANGES.search(block.text), f"{at}: changes the machine of whoever tests"
                continue
            assert why.partition(",")[0] in REASONS, f"{at}: {why!r} is no reason: {REASONS}"
            left.append(f"{at}: {why}")
    assert len(left) <= _LEFT_OUT * (ran + len(left)), "\n".join(left)


def test_a_page_that_says_something_else_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "```console\n$ echo 3 models\n5 models\n$ echo one\ntwo\n$ false\n"
        "$ ls nowhere\nerror: x\n```\n"
        "<!-- file: a.toml -->\n```toml\nx = 1\n```\n"
        "<!-- stays -->\n```sh\necho up; sleep 60\n```\n"
        "<!-- exits: 7 -->\n```sh\ngrep -q 'x = 1' a.toml; (exit 7)\n```\n"
        "<!-- not run: network -->\n```sh\nfalse\n```\n```sh\nfalse\necho later\n```\n"
    )
    wrong = run(page, tmp_path, dict(os.environ), {})
    lines = [text.partition("\n")[0] for text in wrong]
    assert [line.partition(": ")[2] for line in lines] == [
        "echo one",
        "false",
        "ls nowhere",
        "false",
    ]
    assert missing("[simulated x] never said\n12 calls of m5", "calls of 3") == []
