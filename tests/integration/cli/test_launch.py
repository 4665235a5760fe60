"""``omni launch``: the real command starts an agent, here a small program that asks with what was
set, over the gateway, before the simulator."""

import json
import os
import pty
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from omni_cli.cli.app import app
from omni_cli.domain.agents import AGENTS
from omni_cli.domain.budgets import LAUNCHED
from omni_cli.domain.errors import ConfigError, NotFound, UsageError
from omni_cli.domain.sessions import Session
from omni_cli.gateway.launched import Launches, _locked
from omni_cli.services.fleet.agent_settings import mirror_settings
from omni_cli.services.money.usage import UsageQuery
from tests.conftest import CHEAP, GOOD, Fleet
from tests.integration.cli_process import omni
from tests.paths import REPO

#: Asks as often as it is told to, by what is set, and tells the answers.
AGENT = """#!{python}
import json, os, signal, sys, time
import urllib.error, urllib.request

def ask(path, headers, body):
    request = urllib.request.Request(path, json.dumps(body).encode(),
        {{"content-type": "application/json", **headers}})
    try:
        print("answered", urllib.request.urlopen(request, timeout=30).status, flush=True)
    except urllib.error.HTTPError as error:
        print("refused", error.code, error.read().decode(), flush=True)
        sys.exit(9)

said, env = [{{"role": "user", "content": "mend the test"}}], os.environ
own = {{"x-claude-code-session-id": "its-own"}}
what, times = (["-", "-", *sys.argv[1:]])[-2:]
times = times if times.isdigit() else 1
for turn in range(int(times)):
    if "ANTHROPIC_BASE_URL" in env:
        token = env.get("ANTHROPIC_AUTH_TOKEN") or env["ANTHROPIC_API_KEY"]
        ask(env["ANTHROPIC_BASE_URL"] + "/v1/messages",
            {{"x-api-key": token, **(own if what == "go" else {{}})}},
            {{"model": env["ANTHROPIC_MODEL"], "max_tokens": 64, "messages": said}})
    elif "GOOGLE_GEMINI_BASE_URL" in env:
        ask(f"{{env['GOOGLE_GEMINI_BASE_URL']}}/v1beta/models/{{env['GEMINI_MODEL']}}:generateContent",
            {{"x-goog-api-key": env["GEMINI_API_KEY"]}},
            {{"contents": [{{"role": "user", "parts": [{{"text": "mend the test"}}]}}]}})
    else:
        ask(env["OPENAI_BASE_URL"] + "/chat/completions",
            {{"authorization": "Bearer " + env["OPENAI_API_KEY"]}},
            {{"model": env["OPENAI_MODEL"], "messages": said, "max_tokens": 64}})
if what == "wait":
    def told(number, frame):
        print("told", number, flush=True)
        sys.exit(40 + number)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, told)
    print("waiting", flush=True)
    time.sleep(60)
sys.exit(7 if what == "fail" else 0)
"""


@pytest.fixture
def agents(fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    """Programs named as agents are, in a project of their own."""
    programs, project = tmp_path / "bin", tmp_path / "shop"
    for folder in (programs, project):
        folder.mkdir()
    for name in ("claude", "gemini", "qwen", "own-agent"):
        (programs / name).write_text(AGENT.format(python=sys.executable))
        (programs / name).chmod(0o755)
    monkeypatch.chdir(project)
    fleet.env["PATH"] = f"{programs}:{os.environ['PATH']}"
    yield fleet
    wait_for_nothing(fleet)


def wait_for_nothing(fleet: Fleet) -> None:
    """The gateway ends with the last session, and leaves neither key, budget nor folder."""
    launches = Launches(fleet.app)
    end = time.monotonic() + 20
    while list(launches.folder.glob("*-*")) and time.monotonic() < end:
        time.sleep(0.05)
    assert not list(launches.folder.glob("*-*"))
    assert not [key for key in fleet.app.client_keys.all() if key.session is not None]
    assert not [budget for budget in fleet.app.budgets.all() if budget.scope == "key"]


@pytest.mark.parametrize(
    ("words", "agent"),
    [
        (("claude",), "claude-code"),
        (("--env-openai", "own-agent"), "own-agent"),
    ],
)
def test_an_agents_calls_are_a_session_of_the_ledger(
    agents: Fleet, words: tuple[str, ...], agent: str
) -> None:
    done = omni(agents.env, "launch", "-m", GOOD, *words, "--", "fail", "2")
    assert done.code == 7, done.everything
    assert done.out.count("answered 200") == 2, done.everything
    rows = list(agents.app.ledger.recent(limit=9))
    assert len(rows) == 2
    (name,) = {row.session for row in rows}
    assert {(row.agent, row.project, row.model) for row in rows} == {(agent, "shop", GOOD)}
    report = agents.app.usage.report(UsageQuery(by="session"))
    assert [(row.name, row.totals.calls) for row in report.rows] == [(name, 2)]
    known = agents.app.sessions.of([name])[name].session
    assert known == Session(name, agent, "shop")
    cost = report.total.totals
    assert f"2 calls, {cost.total_tokens} tokens, $" in done.err
    assert re.search(r"in shop: \d+m \d\ds, .* saved", done.err), done.err
    assert done.err.count("2 calls") == 2  # all of them, and by model


@pytest.mark.parametrize("words", [("claude",), ("--env-openai", "own-agent")])
def test_a_cap_stops_the_session_in_mid_task(agents: Fleet, words: tuple[str, ...]) -> None:
    """And the agent is told which limit it was; nobody else is stopped by it."""
    done = omni(agents.env, "launch", "-m", GOOD, "--budget", "0.01", *words, "--", "go", "50")
    assert done.code == 9, done.everything
    assert 0 < done.out.count("answered 200") < 50, done.everything
    assert "refused 402" in done.out
    assert "budget of session launch:" in done.out
    assert "of $0.01" in done.err
    assert "1 refused" in done.err
    own = agents.app.sessions.of(["its-own"])  # which Claude Code makes for itself
    assert all(known.session.parent.startswith(LAUNCHED) for known in own.values())
    assert bool(own) == (words == ("claude",))
    spent = sum(row.cost_nusd or 0 for row in agents.app.ledger.recent(limit=99))
    assert 0 < spent <= 10_000_000
    done = omni(agents.env, "launch", "-m", GOOD, *words, "--", "go", "1")
    assert done.code == 0, done.everything


def test_the_documented_commands_work_as_written(agents: Fleet) -> None:
    agents.app.fleet.assign_role("strategy", GOOD, 1, "plans")  # of the fleet that init proposes
    block = (REPO / "docs" / "agents.md").read_text("utf-8").partition("## Starting an agent")[2]
    lines = block.partition("```sh\n")[2].partition("```")[0].splitlines()
    assert len(lines) == 5
    for line in lines:
        _, *words = shlex.split(line, comments=True)
        if len(words) == 1 or "--plan" in words:
            assert CliRunner().invoke(app, words).exit_code == 0
            continue
        done = omni(agents.env, *words)
        assert (done.code, done.out) == (0, "answered 200\n"), done.everything
        assert "1 call, " in done.err
        if "--budget" in words:
            assert " of $2.50" in done.err
    assert {row.agent for row in agents.app.ledger.recent(limit=9)} == {
        "claude-code",
        "gemini-cli",
        "own-agent",
    }


def begin(agents: Fleet, *args: str) -> subprocess.Popen[str]:
    """A launcher whose agent waits."""
    process = subprocess.Popen(
        [sys.executable, "-m", "omni_cli", "launch", *args, "--", "wait", "1"],
        env=agents.env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    while (line := process.stdout.readline().strip()) != "waiting":
        assert line.startswith("answered"), (line, process.communicate()[1])
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_are_the_agents(agents: Fleet, number: signal.Signals) -> None:
    process = begin(agents, "-m", CHEAP, "claude")
    process.send_signal(number)
    told, talk = process.communicate(timeout=30)
    assert told.strip() == f"told {number}"
    assert process.returncode == 40 + number
    assert "1 call" in talk


def test_ctrl_c_at_a_terminal_reaches_the_agent_once(agents: Fleet) -> None:
    """The agent has the terminal; when it has ended, omni tells its cost there."""
    ours, theirs = pty.openpty()
    code = "import fcntl, os, runpy, sys, termios; os.setsid(); fcntl.ioctl(0, termios.TIOCSCTTY)"
    command = [sys.executable, "-c", f"{code}; runpy.run_module('omni_cli', run_name='__main__')"]
    process = subprocess.Popen(
        [*command, "launch", "-m", CHEAP, "claude", "--", "wait", "1"],
        env=agents.env,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    said = ""
    with suppress(OSError):  # the terminal is closed
        while part := os.read(ours, 4096).decode():
            said += part
            if said.endswith("waiting\r\n"):
                os.write(ours, b"\x03")
    os.close(ours)
    assert process.wait(30) == 40 + signal.SIGINT, said
    assert said.count(f"told {int(signal.SIGINT)}") == 1
    assert "1 call, " in said


def test_a_fleet_file_neither_holds_nor_lifts_a_sessions_cap(agents: Fleet) -> None:
    launches = Launches(agents.app)
    process = begin(agents, "-m", CHEAP, "--budget", "1", "claude")
    exported = omni(agents.env, "fleet", "export").out
    assert LAUNCHED not in exported
    assert "[[budgets]]" not in exported
    Path("fleet.toml").write_text(exported.replace('task = "reads code"', 'task = "reads it"'))
    done = omni(agents.env, "apply", "fleet.toml", "--yes")
    assert done.code == 0, done.everything
    assert [budget.passing for budget in agents.app.budgets.all()] == [True]
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert launches.sweep() == []


def test_sessions_share_a_gateway_and_a_killed_launchers_things_are_found(agents: Fleet) -> None:
    launches = Launches(agents.app)
    first = begin(agents, "-m", CHEAP, "--budget", "1", "claude")
    second = begin(agents, "-m", CHEAP, "qwen")
    assert len(list(launches.folder.glob("gateway-*"))) == 1
    (dead,) = [key.name for key in agents.app.client_keys.all() if "claude" in key.name]
    assert [budget.value for budget in agents.app.budgets.all()] == [dead]
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    done = omni(agents.env, "launch", "-m", CHEAP, "qwen", "--", "go", "1")
    assert done.code == 0, done.everything
    assert dead not in [key.name for key in agents.app.client_keys.all()]
    assert not agents.app.budgets.all()
    assert not (launches.folder / f"session-{dead}").exists()
    assert all(_locked(path) for path in launches.folder.glob("gateway-*"))
    os.killpg(first.pid, signal.SIGKILL)  # the agent that nobody waits for
    first.communicate(timeout=30)
    second.send_signal(signal.SIGTERM)
    second.communicate(timeout=30)


def test_a_plan_shows_what_would_be_set_and_starts_nothing(
    agents: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("secrets.token_urlsafe", lambda _count: pytest.fail("a key was made"))
    for name in AGENTS:
        words = ["launch", "--plan", "--budget", "2.50", name, "--", "-p", "x"]
        done = CliRunner().invoke(app, [words[0], "--json", *words[1:]])
        assert done.exit_code == 0, done.output
        plan = json.loads(done.stdout)
        assert plan["budget_usd"] == "2.50"
        assert plan["command"][0] == name
        assert plan["command"][-2:] == ["-p", "x"]
        text = json.dumps(plan)
        assert "http://127.0.0.1:PORT" in text
        assert '"auto' in text or "/auto" in text
        assert not re.search(r"\{(url|key|model|small|folder)\}", text)
        shown = CliRunner().invoke(app, words).stdout
        assert all(f"set    {name}={value}" in shown for name, value in plan["set"].items())
    for name in ("claude", "codex"):
        own = CliRunner().invoke(app, ["launch", "--plan", "--json", "--subscription", name])
        plan = json.loads(own.stdout)
        assert (plan["subscription"], plan["model"]) == (True, None)
        assert "/subscription/" in json.dumps(plan)
        assert not {"ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"} & plan["set"].keys()
    assert not list(agents.app.client_keys.all())
    assert not Launches(agents.app).folder.exists()


def test_agents_of_this_machine_are_listed_and_one_that_is_not_says_how_to_get_it(
    agents: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = agents.env["PATH"].partition(":")[0]
    monkeypatch.setenv("PATH", programs)
    done = CliRunner().invoke(app, ["launch", "--json"])
    listed = {row["agent"]: row["path"] for row in json.loads(done.stdout)}
    assert set(listed) == set(AGENTS)
    assert listed["claude"] == f"{programs}/claude"
    assert listed["crush"] is None
    assert AGENTS["crush"].get in CliRunner().invoke(app, ["launch"]).stdout
    for words, error, said in (
        (("crush",), ConfigError, AGENTS["crush"].get),
        (("nothing-such",), UsageError, "--env-openai"),
        (("-m", "role:none", "claude"), NotFound, "roles are: reviewer"),
        (("--budget", "much", "claude"), UsageError, ""),
        (("--subscription", "qwen"), UsageError, "claude, codex"),
        (("--subscription", "--budget", "1", "claude"), UsageError, "without --subscription"),
    ):
        refused = CliRunner().invoke(app, ["launch", *words]).exception
        assert isinstance(refused, error)
        assert said in refused.hint
    assert not Launches(agents.app).folder.exists()


def test_a_home_of_the_sessions_own_is_the_users_but_for_what_omni_sets(tmp_path: Path) -> None:
    """Gemini CLI takes a system's settings from root's files alone."""
    mirror, home = AGENTS["gemini"].mirror, AGENTS["gemini"].home
    assert mirror is not None
    assert home is not None
    theirs, ours = home.path({}, tmp_path), tmp_path / "session" / mirror.at
    theirs.mkdir()
    mine = '{"ui": {"theme": "Dracula"}, "security": {"auth": {"selectedType": "oauth-personal"}}}'
    (theirs / "settings.json").write_text(mine)
    (theirs / "tmp").mkdir()
    assert mirror_settings(theirs, ours, mirror.files) == []
    assert json.loads((ours / "settings.json").read_text()) == {
        "ui": {"theme": "Dracula"},
        "security": {"auth": {"selectedType": "gemini-api-key"}},
    }
    (ours / "tmp" / "chat.json").write_text("kept")
    shutil.rmtree(tmp_path / "session")
    assert (theirs / "tmp" / "chat.json").read_text() == "kept"
    assert (theirs / "settings.json").read_text() == mine
    (theirs / "settings.json").write_text("{} // mine")
    assert mirror_settings(theirs, ours, mirror.files) == [theirs / "settings.json"]
    assert "gemini-api-key" in (ours / "settings.json").read_text()


def test_an_agents_own_settings_are_written_kept_and_undone(
    agents: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing that its user has in them, or changes meanwhile, is lost."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("CLAUDE_CONFIG_DIR", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)

    def run(*words: str) -> dict[str, Any]:
        done = CliRunner().invoke(app, ["launch", "--json", *words])
        assert done.exit_code == 0, (words, done.output, done.exception)
        told: dict[str, Any] = json.loads(done.stdout)
        return told

    file = tmp_path / ".claude/settings.json"
    file.parent.mkdir()
    before = '{"theme": "dark",\n  "env": {"ANTHROPIC_MODEL": "opus", "MINE": "1"}}'
    file.write_text(before)
    planned = run("--write", "--plan", "claude")
    assert (planned["applied"], file.read_text()) == (False, before)
    told = run("--write", "-m", CHEAP, "claude")
    written = json.loads(file.read_text())
    assert written["theme"] == "dark"
    assert written["env"]["MINE"] == "1"
    assert written["env"]["ANTHROPIC_MODEL"] == CHEAP
    assert written["env"]["ANTHROPIC_BASE_URL"] == told["gateway"]
    token = written["env"]["ANTHROPIC_AUTH_TOKEN"]
    assert token not in json.dumps(told)
    assert file.stat().st_mode & 0o077 == 0
    assert (tmp_path / ".claude/settings.json.before-omni").read_text() == before
    (key,) = [key for key in agents.app.client_keys.all() if key.name == "agent:claude-code"]
    assert agents.app.agent_sessions.live() == []
    run("--write", "-m", GOOD, "claude")  # again: what was there before stays known
    again = json.loads(file.read_text())
    assert again["env"]["ANTHROPIC_AUTH_TOKEN"] != token
    again["hooks"] = {"Stop": []}
    again["env"]["MORE"] = "2"
    file.write_text(json.dumps(again))
    run("--undo", "claude")
    assert json.loads(file.read_text()) == {
        "theme": "dark",
        "env": {"ANTHROPIC_MODEL": "opus", "MINE": "1", "MORE": "2"},
        "hooks": {"Stop": []},
    }
    assert key.name not in {one.name for one in agents.app.client_keys.all()}
    file.write_text(before)
    run("--write", "claude")
    run("--undo", "claude")
    assert file.read_text() == before  # to the byte
    for name in ("opencode", "crush", "codex", "gemini", "qwen"):
        told = run("--write", name)
        made = [Path(path) for path in told["files"]]
        assert told["gateway"] in "".join(path.read_text() for path in made)
        assert all(path.stat().st_mode & 0o077 == 0 for path in made)
        run("--undo", name)
        assert not list(made[0].parent.iterdir())
    for name, line in (
        ("codex", 'model_provider = "omni"'),
        ("gemini", "GEMINI_API_KEY=omni-…"),
        ("qwen", '  "env": {'),
    ):  # as its file has it, to be put in by hand
        shown = CliRunner().invoke(app, ["launch", "--write", "--plan", name])
        assert line in shown.stdout.splitlines()
    for path, mine in (
        (".codex/config.toml", 'model = "gpt-5"\n\n[projects."/shop"]\ntrust_level = "trusted"\n'),
        (".gemini/.env", "GEMINI_API_KEY=own\nOTHER=a=b\n"),
        (".qwen/settings.json", '{"model": {"name": "qwen3"}, "env": {"A": "1"}}'),
    ):
        name = path[1:].partition("/")[0]
        (tmp_path / path).write_text(mine)
        run("--write", name)
        assert "omni" in (tmp_path / path).read_text()
        run("--undo", name)
        assert (tmp_path / path).read_text() == mine
        if not path.endswith(".json"):
            commented = mine + "# mine\n"
            (tmp_path / path).write_text(commented)
            refused = CliRunner().invoke(app, ["launch", "--write", name]).exception
            assert "omni leaves it as it is" in str(refused)
            assert [(tmp_path / path).read_text(), *(tmp_path / path).parent.glob("*.before*")] == [
                commented
            ]
    file.write_text('{"a": 1} // mine')
    for words, said in (
        (("--write", "claude"), "no plain JSON object"),
        (("--undo", "claude"), "omni has not written"),
        (("--write", "aider"), "does not write the settings of aider"),
        (("--write", "--budget", "1", "claude"), "go with an agent"),
    ):
        refused = CliRunner().invoke(app, ["launch", *words]).exception
        assert said in str(refused)
    assert file.read_text() == '{"a": 1} // mine'
    assert not [one for one in agents.app.client_keys.all() if one.name.startswith("agent:")]
