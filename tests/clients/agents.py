"""Coding agents at work through a gateway: tools over three turns, the ledger, a cancel.

The simulator makes the calls that the task dictates (docs/simulator.md): the agent runs the first
command in its shell, sends what it printed, is told the next. Run by tests/clients/nightly.py.
"""

import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from msgspec import Struct

from omni_cli.domain.ledger import RequestRow
from tests.gateway_server import Served


class Client(Struct, frozen=True):
    """``packages``: of pip or npm. ``kind``: who runs it. ``files``: of an agent's home.

    In an agent's command, env and files ``{url}``, ``{model}`` and ``{task}`` are filled in;
    ``{words}`` is the task in as many arguments (an agent may quote one that has spaces).
    ``shell``: its shell tool's name, the field of the command, and what else the tool asks for.
    ``agent``: what the ledger calls it.
    """

    kind: str
    packages: tuple[str, ...]
    command: tuple[str, ...] = ()
    env: dict[str, str] = {}
    files: dict[str, str] = {}
    shell: tuple[str, str, dict[str, Any]] = ("", "", {})
    agent: str = ""


_SAID = {"description": "Work"}
AGENTS: dict[str, Client] = {
    "claude-code": Client(
        "agent",
        ("@anthropic-ai/claude-code",),
        ("claude", "-p", "{task}", "--model", "{model}", "--allowedTools", "Bash"),
        {
            "ANTHROPIC_BASE_URL": "{url}",
            "ANTHROPIC_AUTH_TOKEN": "omni-key",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        },
        shell=("Bash", "command", _SAID),
        agent="claude-code",
    ),
    "codex": Client(
        "agent",
        ("@openai/codex",),
        (
            *("codex", "exec", "--skip-git-repo-check", "-m", "{model}"),
            "--dangerously-bypass-approvals-and-sandbox",
            *("-c", "model_provider=omni", "-c", "model_providers.omni.name=omni"),
            *("-c", "model_providers.omni.base_url={url}/v1"),
            *("-c", "model_providers.omni.env_key=OMNI_KEY"),
            *("-c", "model_providers.omni.wire_api=responses", "{task}"),
        ),
        {"OMNI_KEY": "omni-key"},
        shell=("exec_command", "cmd", {}),
        agent="codex",
    ),
    "gemini-cli": Client(
        "agent",
        ("@google/gemini-cli",),
        ("gemini", "-m", "{model}", "-p", "{task}", "--skip-trust", "--yolo"),
        {"GEMINI_API_KEY": "omni-key", "GOOGLE_GEMINI_BASE_URL": "{url}"},
        {".gemini/settings.json": '{"security":{"auth":{"selectedType":"gemini-api-key"}}}'},
        shell=("run_shell_command", "command", _SAID),
        agent="gemini-cli",
    ),
    "qwen-code": Client(
        "agent",
        ("@qwen-code/qwen-code",),
        ("qwen", "-p", "{task}", "--auth-type", "openai", "--yolo"),
        {
            "OPENAI_API_KEY": "omni-key",
            "OPENAI_BASE_URL": "{url}/v1",
            "OPENAI_MODEL": "{model}",
        },
        shell=("run_shell_command", "command", {**_SAID, "is_background": False}),
        agent="qwen-code",
    ),
    "opencode": Client(
        "agent",
        ("opencode-ai",),
        ("opencode", "run", "-m", "omni/{model}", "--", "{words}"),
        {"OPENCODE_DISABLE_MODELS_FETCH": "1", "OPENCODE_DISABLE_AUTOUPDATE": "1"},
        {
            "opencode.json": json.dumps(
                {
                    "permission": "allow",
                    "provider": {
                        "omni": {
                            "npm": "@ai-sdk/openai-compatible",
                            "options": {"baseURL": "{url}/v1", "apiKey": "omni-key"},
                            "models": {"{model}": {}},
                        }
                    },
                }
            )
        },
        shell=("bash", "command", _SAID),
        agent="opencode",
    ),
}
#: Plain commands: an agent may refuse $(...) and backticks.
WORK = (
    "echo MADE-42 | tr A-Z a-z > one.txt; cat one.txt",
    "cat one.txt one.txt > two.txt; wc -l two.txt",
    "echo END-42 | tr A-Z a-z; ls",
)
#: What only the commands' output holds: it stands in no prompt.
_PRINTED = ("made-42", "2 two.txt", "end-42")
_TIMEOUT_S = 120


def checked(
    name: str, client: Client, folder: Path, served: Served, model: str, bodies: list[bytes]
) -> Iterator[dict[str, Any]]:
    """What one agent's work with one model came to. ``bodies``: what the gateway is asked."""
    said = ""
    bodies.clear()
    before = {row.id for row in served.app.ledger.recent(limit=1_000_000)}
    answered = len(served.sim.answered())
    with _started(client, folder, served, model, task_of(client)) as (process, home):
        try:
            out, err = process.communicate(timeout=_TIMEOUT_S)
            if process.returncode or not out.strip():
                said = f"exit {process.returncode}: {(err or out).strip()[-400:] or 'nothing'}"
        except subprocess.TimeoutExpired:
            said = f"not done within {_TIMEOUT_S} s"
        two = home / "two.txt"
        ran = two.read_text() if two.exists() else ""
    rows = _settled(served, before)
    came = served.sim.answered()[answered:]
    sent = b"\n".join(bodies).decode(errors="replace")
    lacking = [text for text in _PRINTED if text not in sent]
    wrong = {
        "task": said,
        "tool": "" if ran == "made-42\n" * 2 else f"two.txt holds {ran!r}",
        "results": f"never sent back: {', '.join(lacking)}" if lacking else "",
        "ledger": _ledger(client, rows, came),
        "cancel": _cancelled(client, folder, served, model),
    }
    for check, trouble in wrong.items():
        line = {"client": name, "model": model, "check": check}
        yield {**line, "ok": not trouble, "said": trouble}


def task_of(client: Client, works: Sequence[str] = WORK) -> str:
    """The work, as calls of this agent's shell."""
    tool, field, more = client.shell
    calls = (f"[[call:{tool} {json.dumps({field: work, **more})}]]" for work in works)
    return "Say hello. " + " ".join(calls)


def _ledger(client: Client, rows: Sequence[RequestRow], came: Sequence[dict[str, Any]]) -> str:
    """What the ledger has wrong of what the simulator answered, "" where nothing is."""
    trouble = [f"{row.state} {row.error_code or ''}" for row in rows if row.state != "ok"]
    trouble += ["a row's tokens are estimated" for row in rows if row.estimated]
    told = [(row.usage.input_tokens, row.usage.output_tokens) for row in rows]
    real = [(entry["input_tokens"], entry["output_tokens"]) for entry in came]
    if sorted(told) != sorted(real):
        trouble.append(f"tokens {sorted(told)}, not {sorted(real)}")
    if len(rows) < len(WORK) + 1:
        trouble.append(f"{len(rows)} requests")
    if {row.agent.partition(":")[0] for row in rows} - {client.agent}:
        trouble.append(f"agents {sorted({row.agent for row in rows})}")
    if not all(row.session for row in rows) or len({row.session for row in rows}) != 1:
        trouble.append(f"sessions {[row.session for row in rows]}")
    return "; ".join(trouble)


def _cancelled(client: Client, folder: Path, served: Served, model: str) -> str:
    """Ctrl-C in the midst of an answer: the agent ends, the provider's call too, the row tells."""
    before = {row.id for row in served.app.ledger.recent(limit=1_000_000)}
    trouble = ""
    with _started(client, folder, served, model, "Tell [[sim:slow-tokens:1]]") as (process, _):
        if not _wait(lambda: served.sim.stats()["in_flight"] > 0, 60):
            return f"it asked nothing: {process.poll()}"
        time.sleep(1.5)
        os.killpg(process.pid, signal.SIGINT)
        if not _wait(lambda: process.poll() is not None, 15):
            trouble = "the agent goes on after Ctrl-C"
    if not _wait(lambda: served.sim.stats()["in_flight"] == 0, 15):
        trouble = "the provider's call goes on"
    rows = _settled(served, before)
    states = [row.state for row in rows]
    if "cancelled" not in states or set(states) - {"cancelled", "ok"}:
        trouble = trouble or f"rows are {states}"
    return trouble


@contextmanager
def _started(
    client: Client, folder: Path, served: Served, model: str, task: str
) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """The agent at work in a new folder that is its home, too; ended with all its children."""

    def filled(text: str) -> str:
        for key, value in {"url": served.url, "model": model, "task": task}.items():
            text = text.replace(f"{{{key}}}", value)
        return text

    # What an agent leaves running may still write while its folder goes.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as given:
        home = Path(given)
        env = {
            "PATH": f"{folder / 'node_modules' / '.bin'}:{os.environ['PATH']}",
            "HOME": given,
            "NO_COLOR": "1",
            **{key: filled(text) for key, text in client.env.items()},
        }
        for path, text in client.files.items():
            (home / path).parent.mkdir(parents=True, exist_ok=True)
            (home / path).write_text(filled(text))
        command: list[str] = []
        for part in client.command:
            command += task.split(" ") if part == "{words}" else [filled(part)]
        process = subprocess.Popen(
            command,
            cwd=home,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            yield process, home
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


def _settled(served: Served, before: set[str]) -> list[RequestRow]:
    """The newer rows, when none is pending any more or 10 s are over."""
    rows: list[RequestRow] = []

    def done() -> bool:
        rows[:] = [r for r in served.app.ledger.recent(limit=1_000_000) if r.id not in before]
        return all(row.state != "pending" for row in rows)

    _wait(done, 10)
    return rows


def _wait(done: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not done():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True
