"""The pages of docs/ as shell sessions: every block of a page, in its order, in one bash.

A block is run unless a comment before it says why not. Such comments are not seen by readers:

    <!-- not run: REASON -->    a word of REASONS; the block is shown and not run
    <!-- first: COMMANDS -->    run before the block: what a reader has and a test has not
    <!-- file: NAME -->         the block (TOML, JSON, ...) is the text of this file
    <!-- stays -->              runs in the background until the page ends, as a server does
    <!-- exits: N -->           the block's last command ends so
    <!-- answers: error -->     what it asks over HTTP is answered with an error, as it says
    <!-- home: empty -->        before all blocks: the page begins without a fleet

``sh`` blocks are commands alone. Of a ``console`` block what follows ``$ `` is one, and the lines
below are what it prints, by its words: numbers are another's, and what a simulated model says.
A command whose first line is an error fails; every other one ends with 0. Of a job in YAML omni's
own steps are run.
"""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.paths import REPO

PAGES = (REPO / "README.md", *sorted((REPO / "docs").glob("*.md")))
REASONS = {
    "install": "installs packages, or changes the machine",
    "network": "asks a vendor, or another host",
    "account": "needs an account at a vendor, or a program of one",
    "server": "needs a server that is not there: PostgreSQL, Redis, a collector",
    "terminal": "needs a person at a terminal",
    "agent": "needs a coding agent that is installed",
    "long": "takes minutes",
    "elsewhere": "run as written by another test, which the comment names",
}
#: What no test may do to the machine that it runs on.
CHANGES = re.compile(
    r"^\s*(sudo|useradd|systemctl|install -|apt|brew|npm|pipx|uv |\S*pip install|createdb)",
    re.MULTILINE,
)
_LONGEST_S = 180.0
#: Shells' blocks, by what stands after the three backquotes.
SHELL = ("sh", "bash", "console")
_BLOCK = re.compile(
    r"((?:^<!--(?:(?!-->).)*-->\n+)*)^```(\w*)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL
)
_NOTE = re.compile(r"<!-- ([a-z ]+?)(?:: (.*?))? ?-->", re.DOTALL)
#: Ports that pages name; each is another one here, so that nothing that runs beside is in the way.
PORTS = ("4000", "4041", "8123", "8421", "18431", "18433", "18441")
_PORT = re.compile(rf"(?<=[:\s=])({'|'.join(PORTS)})\b")
#: Words of a line that a page shows. What has a digit, and what is cut, is another's.
_WORD = re.compile(r"(?<![\w$.…-])[A-Za-z][A-Za-z'_-]{2,}(?![\w…])")
#: What a simulated model says, and what a page leaves out, are another's, too.
#: omni's steps of a job in CI.
_JOB = re.compile(r"^ +- run: (omni .*)", re.MULTILINE)
_REFUSED = re.compile(r'"error": ?[{"]')
_SPOKEN = re.compile(r"^(?:\[simulated|\.\.\.).*", re.MULTILINE)


#: For ``first``: ``YES='init|import'`` are commands that ask a reader at a terminal, who says yes;
#: with ``RECEIPT=1`` answers have the line below that they have there; ``up PORT`` waits for a
#: server. A gateway's usual port is another one here.
_AGREED = """YES= RECEIPT=
omni() {
  case "|$YES|" in *"|$*|"*) set -- "$@" --yes ;; esac
  case "$*" in serve*--port*) ;; serve*) set -- "$@" --port "$PORT" ;; esac
  if [ "$RECEIPT" ] && [ "$1" = chat ]; then set -- "$@" -u; fi
  command omni "$@"
}
up() {
  for n in $(seq 300); do curl -s -o /dev/null "127.0.0.1:$1" && return; sleep 0.1; done
}"""


@dataclass
class Step:
    """One command or one block of commands."""

    line: int
    command: str
    shown: str = ""
    code: int = 0
    stays: bool = False
    refused: bool = False


@dataclass
class Block:
    """A block as a page has it; ``line`` is that of its first backquotes."""

    line: int
    kind: str
    text: str
    notes: dict[str, str] = field(default_factory=dict)


def blocks(text: str) -> Iterator[Block]:
    """Every fenced block, with the comments that stand before it."""
    for found in _BLOCK.finditer(text):
        line = text.count("\n", 0, found.start(2)) + 1
        notes = {name: (value or "").strip() for name, value in _NOTE.findall(found[1])}
        yield Block(line, found[2], found[3], notes)


def steps(text: str) -> Iterator[Step]:
    """What of a page is run, in its order."""
    for block in blocks(text):
        notes = block.notes
        if "first" in notes:
            yield Step(block.line, notes["first"])
        if "file" in notes:
            yield Step(block.line, _written(notes["file"], block.text))
        if block.kind == "yaml":
            yield from (Step(block.line, line) for line in _JOB.findall(block.text))
        if block.kind not in SHELL or "not run" in notes:
            continue
        if block.kind == "console":
            yield from _session(block)
        else:
            code, stays = int(notes.get("exits", 0)), "stays" in notes
            yield Step(block.line, block.text, "", code, stays, "answers" in notes)


def _written(name: str, text: str) -> str:
    return f"mkdir -p \"$(dirname {name})\"; cat > {name} <<'END-OF-FILE'\n{text}END-OF-FILE"


def _session(block: Block) -> Iterator[Step]:
    """The commands of a console block, each with what is shown below it."""
    step: Step | None = None
    for number, line in enumerate(block.text.splitlines(), block.line + 1):
        if line.startswith("$ "):
            if step is not None:
                yield step
            step = Step(number, line[2:])
        elif step is not None and step.command.endswith("\\") and not step.shown:
            step.command += "\n" + line
        elif step is not None:
            step.shown += line + "\n"
            if step.shown.startswith("error: "):
                step.code = -1
    if step is not None:
        if "exits" in block.notes:
            step.code = int(block.notes["exits"])
        yield step


def missing(shown: str, said: str) -> list[str]:
    """Words that a page shows of a command and that the command did not say."""
    told = set(_WORD.findall(said))
    return [word for word in _WORD.findall(_SPOKEN.sub("", shown)) if word not in told]


def script(todo: list[Step], ports: Mapping[str, int]) -> str:
    """All steps as one bash script; the n-th one's output goes to ``n.out``, its exit code to
    ``done``."""
    lines = ["set -eo pipefail", "exec </dev/null", _AGREED]
    for number, step in enumerate(todo):
        command = _PORT.sub(lambda found: str(ports[found[1]]), step.command)
        out = f'"$STEPS/{number}.out"'
        if step.stays:
            lines += [
                f"{{ {command}\n}} >{out} 2>&1 &",
                f"for n in $(seq 200); do [ -s {out} ] && break; sleep 0.05; done; code=0",
            ]
        elif step.code or "\n" not in command.strip():
            lines.append(f"code=0; {{ {command}\n}} >{out} 2>&1 || code=$?")
        else:  # the first command that fails ends all
            lines.append(f"{{ {command}\n}} >{out} 2>&1; code=$?")
        lines.append(f'echo "{number} $code" >>"$STEPS/done"')
    return "\n".join(lines) + "\n"


def run(page: Path, folder: Path, env: Mapping[str, str], ports: Mapping[str, int]) -> list[str]:
    """Run a page in ``folder``; what went otherwise than it says, a text each."""
    todo = list(steps(page.read_text("utf-8")))
    if not todo:
        return []
    told = folder / ".steps"
    told.mkdir()
    shell = subprocess.Popen(
        ["bash", "-c", script(todo, ports)],
        cwd=folder,
        env={**env, "STEPS": str(told), "PORT": str(ports.get("4000", 0))},
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    with suppress(subprocess.TimeoutExpired):
        shell.wait(_LONGEST_S)
    with suppress(ProcessLookupError):  # what stays in the background is of its group
        os.killpg(shell.pid, signal.SIGTERM)
    shell.wait(10)
    done = (told / "done").read_text().split("\n")[:-1] if (told / "done").exists() else []
    codes = {int(n): int(code) for n, _, code in (line.partition(" ") for line in done)}
    wrong = []
    for number, step in enumerate(todo):
        out = told / f"{number}.out"
        said = out.read_text("utf-8", "replace") if out.exists() else ""
        at = f"{page.name}:{step.line}: {step.command.strip()}"
        code = codes.get(number)
        if code is None:
            wrong.append(f"{at}\nended the page's shell:\n{said[-2000:]}")
            break
        if (code == 0) if step.code == -1 else (code != step.code):
            wrong.append(f"{at}\nended with {code}:\n{said[-2000:]}")
        elif "Traceback" in said or (_REFUSED.search(said) and not (step.shown or step.refused)):
            wrong.append(f"{at}\n{said[-2000:]}")
        elif lacks := missing(step.shown, said):
            wrong.append(f"{at}\ndid not say {', '.join(lacks)}:\n{said[-3000:]}")
    return wrong


def programs(folder: Path) -> Path:
    """A folder with ``omni`` and ``python``, which are this checkout's."""
    folder.mkdir(parents=True)
    for name, words in (("omni", '-m omni_cli "$@"'), ("python", '"$@"')):
        program = folder / name
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" {words}\n')
        program.chmod(0o755)
    return folder
