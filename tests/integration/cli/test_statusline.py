"""omni statusline: the whole command and its short way say the same, and neither waits for logs."""

import io
import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from omni_cli import statusline
from omni_cli.bootstrap import App
from omni_cli.services.money.statusline import status_line
from omni_cli.store import statusline as store
from tests.integration.cli.conftest import Omni
from tests.integration.cli.test_agent_reports import line, logs  # noqa: F401  # a fixture

MODEL = {"id": "claude-sonnet-4-5", "display_name": "Sonnet 4.5"}


@pytest.fixture
def log(logs: Path) -> Path:  # noqa: F811  # the fixture
    """The transcript of a session under way, with one call."""
    path = logs / ".claude/projects/p/live.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text(line(_ago(900), "m1", 1000, "mine"))
    return path


def _ago(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - seconds))


class Short:
    """``omni statusline`` by the short way; ``statements``: what it asked the store."""

    def __init__(self, patch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._patch, self._capsys = patch, capsys
        self.statements: list[str] = []
        opened = store.open_to_read

        def traced(*args: Any) -> Any:
            import sqlite3

            connect = sqlite3.connect

            def noticed(*args: Any, **given: Any) -> Any:
                db = connect(*args, **given)
                db.set_trace_callback(self.statements.append)
                return db

            with pytest.MonkeyPatch.context() as within:
                within.setattr(sqlite3, "connect", noticed)
                return opened(*args)

        patch.setattr(store, "open_to_read", traced)

    def __call__(self, given: Any) -> str | None:
        """The line; None where the whole command is to answer."""
        raw = given if isinstance(given, str) else json.dumps(given)
        stdin = io.TextIOWrapper(io.BytesIO(raw.encode()), encoding="utf-8")
        self._patch.setattr(sys, "stdin", stdin)
        self.statements.clear()
        self._capsys.readouterr()
        if statusline.short():
            return self._capsys.readouterr().out
        assert sys.stdin.read() == raw  # what the whole command reads
        return None


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Short:
    return Short(monkeypatch, capsys)


@pytest.fixture(autouse=True)
def started(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Transcripts that a process of its own was to read."""
    found: list[str] = []
    monkeypatch.setattr(
        statusline.os, "posix_spawn", lambda _path, command, *_a, **_k: found.append(command[-1])
    )
    return found


def test_both_ways_say_what_the_reports_say(
    omni: Omni, short: Short, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    within = log.with_suffix("") / "subagents/agent-1.jsonl"
    within.parent.mkdir(parents=True)
    record = json.loads(line(_ago(300), "m2", 500, "mine"))
    within.write_text(json.dumps({**record, "isSidechain": True, "agentId": "1"}) + "\n")
    omni("import", "--yes")
    given = {"session_id": "mine", "transcript_path": str(log), "model": MODEL}
    assert short(given) is None  # nothing is noted yet
    said = omni("statusline", stdin=json.dumps(given)).out
    assert short(given) == said
    assert len(short.statements) <= 10
    document = omni("statusline", "--json", stdin=json.dumps(given)).data
    tree = omni("session", "mine", "--json").data
    assert document["session_usd"] == tree["cost_usd"] == "0.02253"  # 2 x 5 in, 1,500 out
    (today,) = omni("daily", "--since", _ago(0)[:10], "--json").data["rows"][-1:]
    assert document["today_usd"] == today["cost_usd"]
    (block,) = omni("blocks", "--active", "--json").data["blocks"]
    assert document["block_usd"] == block["cost_usd"]
    assert document["hour_usd"] == block["burn"]["cost_per_hour_usd"]
    assert (document["logs_behind"], document["logs_age_ms"]) == (False, None)
    assert said.startswith("Sonnet 4.5 | $0.023 session, $0.023 today, $0.023 block (")
    # What settings come to may be other now: the whole command says it, and notes it anew.
    (log.parents[3] / "config.toml").write_text('[general]\nzone = "Asia/Tokyo"\n')
    assert short(given) is None
    assert omni("statusline", stdin=json.dumps(given)).code == 0
    assert short(given) is not None
    for name, value in (("TZ", "Europe/Berlin"), ("OMNI_ORG", "acme"), ("OMNI_REMOTE", "http://x")):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(name, value)
            assert short(given) is None
    with pytest.MonkeyPatch.context() as patch:  # tomorrow
        now = time.time()
        patch.setattr(statusline.time, "time", lambda: now + 86_400)
        assert short(given) is None
    project = Path.cwd() / ".omni.toml"
    project.write_text("[imports]\nfollow = false\n")
    assert short(given) is None
    omni("statusline", stdin=json.dumps(given))
    assert short(given) is not None
    project.unlink()
    assert short(given) is not None  # what was noted without it


def test_logs_are_read_by_another_process_and_their_age_is_told(
    omni: Omni, short: Short, log: Path, started: list[str]
) -> None:
    given = {"session_id": "mine", "transcript_path": str(log)}
    omni("statusline", stdin=json.dumps(given))
    assert short(given) is not None
    assert started == []  # logs that were never imported are not followed
    omni("import", "--yes")
    assert "logs read" not in (short(given) or "")
    with log.open("a") as file:  # while the agent works
        file.write(line(_ago(60), "m2", 1000, "mine"))
    said = short(given)
    assert said is not None
    assert "$0.015 session" in said  # as far as it is read
    assert said.endswith("| logs read 0s ago\n")
    assert started == []  # a moment ago: not again yet
    now = time.time()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(statusline.time, "time", lambda: now + 70)
        said = short(given)
        assert said is not None
        assert said.endswith("| logs read 1m ago\n")
        assert started == [str(log)]
        short(given)
        assert len(started) == 2  # the mark's time is the file system's
    omni("statusline", stdin=json.dumps(given))
    assert omni("statusline", "--read", str(log)).code == 0
    said = short(given)
    assert said is not None
    assert "$0.03 session" in said
    assert "logs read" not in said
    fresh = log.with_name("fresh.jsonl")  # never read: at once, but not by each line
    fresh.write_text(line(_ago(5), "m3", 10, "fresh"))
    started.clear()
    for _ in range(3):
        said = short({"session_id": "fresh", "transcript_path": str(fresh)})
        assert said is not None
        assert "logs read" not in said
    assert len(started) <= 1


def test_what_cannot_be_answered_so_is_left_to_the_whole_command(
    omni: Omni, short: Short, home: Path
) -> None:
    omni("statusline", stdin="{}")
    assert short("{}") is not None
    for wrong in ("", "[]", "{", "text", '{"a": 1} x', '{"a": NaN'):
        assert short(wrong) is None
        assert omni("statusline", stdin=wrong).code == 2
    odd = (
        '{"model": {"id": "a\\u001b[1m\\ud83d\\ude00"}, "cost": {"total_cost_usd": 1e-3}}',
        '{"session_id": 7, "model": [], "cost": null, "context_window": {"used_percentage": true}}',
        ' {"context_window": {"context_window_size": 20, "current_usage": {"input_tokens": 9}}}\n',
        '{"cost": {"total_cost_usd": NaN}}',
    )
    for given in odd:
        assert short(given) == omni("statusline", stdin=given).out
    for value in ("1e400", "-1", "true", '"1"', "1e308", "[]", "9" * 400):
        given = (
            f'{{"cost": {{"total_cost_usd": {value}}}, "context_window": {{"context_window_size":'
            f' {value}, "used_percentage": {value}, "current_usage": {{"input_tokens": {value}}}}},'
            f' "rate_limits": {{"five_hour": {{"resets_at": {value}}}}}}}'
        )
        said = omni("statusline", stdin=given).out
        assert said == "unknown session, $0.00 today\n", given
        assert short(given) == said
    with App({"OMNI_HOME": str(home)}) as app:  # of another version, or moved
        app.store.db.execute("PRAGMA user_version = 1")
    assert short("{}") is None
    (home / "omni.db").write_bytes(b"no store at all" * 100)
    assert short("{}") is None
    (home / "omni.db").unlink()
    assert short("{}") is None


def test_one_line_for_a_prompt(logs: Path) -> None:  # noqa: F811  # the fixture
    log = logs / ".claude/projects/p/live.jsonl"
    log.parent.mkdir(parents=True)
    calls = (("2026-11-21T10:10:00Z", "m1"), ("2026-11-21T10:20:00Z", "m2"))
    log.write_text("".join(line(*call, 1000, "mine") for call in calls))
    now = 1_795_257_000.0  # 2026-11-21 10:30 UTC
    env = {"HOME": str(logs), "OMNI_HOME": str(logs), "TZ": "UTC"}
    given = {
        "session_id": "mine",
        "transcript_path": str(log),
        "model": MODEL,
        "cost": {"total_cost_usd": 9.5},
        "context_window": {"context_window_size": 200_000, "used_percentage": 12},
    }
    with App(env, clock=lambda: now) as app:
        unknown = app.statusline({"session_id": "other", "cost": {"total_cost_usd": 0.25}})
        assert (unknown.session_nusd, unknown.context_tokens) == (250_000_000, None)
        for found in app.logs.found():
            app.logs.keep(app.logs.read(found))
        status = app.statusline(given)
        assert status.session_nusd == 2 * (5 * 3000 + 1000 * 15_000)
        assert (status.block_left_ms, status.context_tokens) == (16_200_000, 24_000)
        shown = status_line(status)
        assert shown.startswith("Sonnet 4.5 | $0.03 session, ")
        assert "(4h 30m left) | $0.18/h | context 24,000 (12%)" in shown
        assert "\n" not in shown
        # What the agent says of its limit goes before what is worked out.
        reset = {"rate_limits": {"five_hour": {"resets_at": now + 60}}}
        assert app.statusline({**given, **reset}).block_left_ms == 60_000
        assert status_line(app.statusline({})).startswith("unknown session")


def test_the_entry_point_goes_the_short_way_for_this_line_alone(
    omni: Omni, monkeypatch: pytest.MonkeyPatch
) -> None:
    from omni_cli import __main__

    asked = []
    monkeypatch.setattr(statusline, "short", lambda: asked.append(1))
    monkeypatch.setattr("omni_cli.cli.app.main", lambda: None)
    for words in (["statusline"], ["statusline", "--json"], ["statusline", "--help"], ["--help"]):
        monkeypatch.setattr(sys, "argv", ["omni", *words])
        __main__.main()
    assert asked == [1]


@pytest.mark.parametrize("given", ["[" * 50_000, '{"a":' * 50_000, "[1]", "{", ""])
def test_what_is_no_status_is_said_however_deep_it_is(omni: Omni, given: str) -> None:
    result = omni("statusline", stdin=given)
    assert result.code == 2
    assert "what came on stdin is no status JSON" in result.err
