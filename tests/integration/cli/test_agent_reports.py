"""omni daily, weekly, monthly, session, blocks and statusline, over logs of agents."""

import json
import os
import shutil
import time
from pathlib import Path

import pytest

from omni_cli.bootstrap import App
from omni_cli.domain.blocks import BLOCK_MS, HourUse, blocks_of
from omni_cli.domain.periods import HOUR_MS
from omni_cli.tui import data
from tests.integration.cli.conftest import Omni
from tests.unit.importers.support import IMPORTS, expected

COUNTS = ("uncached_input_tokens", "output_tokens", "cache_write_tokens", "cached_tokens")
#: ccusage's names of them.
CCUSAGE = ("inputTokens", "outputTokens", "cacheCreationTokens", "cacheReadTokens")


@pytest.fixture
def logs(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with logs of Claude Code (two sessions) and Codex (two)."""
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("TZ", "UTC")
    for name in ("CLAUDE_CONFIG_DIR", "CODEX_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    shutil.copytree(IMPORTS / "claude-code/generated/projects", home / ".claude/projects")
    shutil.copytree(IMPORTS / "codex/generated/sessions", home / ".codex/sessions")
    return home


def line(at: str, message: str, output: int, session: str = "live") -> str:
    usage = {"input_tokens": 5, "output_tokens": output}
    told = {"id": message, "model": "claude-sonnet-4-5", "usage": usage}
    record = {"type": "assistant", "timestamp": at, "sessionId": session, "cwd": "/w/farm"}
    return json.dumps({**record, "requestId": f"req_{message}", "message": told}) + "\n"


def test_import_alone_finds_shows_and_brings_in_all(omni: Omni, logs: Path) -> None:
    shown = omni("import")
    assert shown.code == 0
    assert "Claude Code" in shown.out
    assert "Codex CLI" in shown.out
    assert "nothing was written; --yes writes it" in shown.err
    first = omni("import", "--yes", "--json").data
    assert (first["added"], [s["source"] for s in first["sources"]]) == (
        7,
        ["claude-code", "codex"],
    )
    again = omni("import", "--yes", "--json").data
    assert (again["added"], again["new"]) == (0, 0)
    assert all(s["files_unchanged"] == s["files"] > 0 for s in again["sources"])
    assert all(s["rows_read"] == 0 and s["read_at"] for s in again["sources"])


def test_import_alone_where_there_is_nothing(
    omni: Omni, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(home))
    found = omni("import", "--json")
    assert found.code != 0
    assert found.data["error"]["hint"] == (
        "name the tool and the file or folder: omni import SOURCE PATH"
    )


@pytest.mark.parametrize("by", ["daily", "weekly", "monthly", "session"])
def test_sums_are_ccusages_by_anything(omni: Omni, logs: Path, by: str) -> None:
    omni("import", "--yes")
    want = [expected(tool)["generated"]["totals"] for tool in ("claude-code", "codex")]
    told = omni(by, "--json", "--breakdown").data
    for name, other in zip(COUNTS, CCUSAGE, strict=True):
        sums = sum(total.get(other, 0) for total in want)
        assert told["total"][name] == sums == sum(row[name] for row in told["rows"])
        assert sums == sum(part[name] for row in told["rows"] for part in row["models"])
    assert told["total"]["total_tokens"] == sum(total["totalTokens"] for total in want)
    table = omni(by, "--breakdown")
    assert "cache write" in table.out
    assert f"{told['total']['total_tokens']:,}" in table.out
    assert "logs read" in table.err


def test_sessions_say_whose_they_are_and_projects_filter(omni: Omni, logs: Path) -> None:
    omni("import", "--yes")
    rows = omni("session", "--json").data["rows"]
    assert [(row["agent"], row["project"]) for row in rows].count(("claude-code", "shop")) == 2
    assert [row["last_at"] for row in rows] == sorted(row["last_at"] for row in rows)
    flipped = omni("session", "--json", "--order", "desc").data["rows"]
    assert [row["session"] for row in flipped] == [row["session"] for row in rows][::-1]
    dear = omni("session", "--json", "--order", "cost").data["rows"]
    costs = [float(row["cost_usd"] or 0) for row in dear]
    assert costs == sorted(costs, reverse=True)
    shop = omni("daily", "--json", "--project", "shop").data
    both = [row for row in rows if row["project"] == "shop"]
    assert shop["total"]["total_tokens"] == sum(row["total_tokens"] for row in both)
    for wrong in (("--since", "soon"), ("--since", "2026-02-02", "--until", "2026-02-01")):
        assert omni("daily", *wrong).code == 2
    assert omni("daily", "--project", "farm").code != 0
    early = omni("daily", "--json", "--until", "2026-01-01", "--since", "20251231").data
    assert (early["rows"], early["through"]) == ([], "2026-01-01")


def test_reports_read_what_is_new_first_unless_told_not_to(omni: Omni, logs: Path) -> None:
    omni("import", "--yes")
    before = omni("daily", "--json").data["total"]["output_tokens"]
    log = next((logs / ".claude/projects").rglob("*.jsonl"))
    with log.open("a") as file:
        file.write(line("2026-11-22T10:00:00Z", "m1", 40))
    assert omni("daily", "--json").data["total"]["output_tokens"] == before + 40
    assert omni("usage", "--by", "project", "--period", "400d", "--json").code == 0
    omni("config", "set", "imports.follow", "false")
    with log.open("a") as file:
        file.write(line("2026-11-22T10:00:00Z", "m2", 2))
    assert omni("daily", "--json").data["total"]["output_tokens"] == before + 40


def test_what_is_open_goes_on_reading(
    omni: Omni, logs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """omni watch, and the TUI."""
    omni("import", "--yes")
    log = next((logs / ".claude/projects").rglob("*.jsonl"))

    def calls() -> int:
        with App({"OMNI_HOME": str(logs), "HOME": str(logs), "TZ": "UTC"}) as app:
            return sum(t.calls for t in app.reports.totals(0, 99_999_999).values())

    before = calls()
    with log.open("a") as file:
        file.write(line("2026-11-22T10:00:00Z", "m1", 40))
    assert omni("watch", "--once", "--json").code == 0
    assert calls() == before + 1
    with log.open("a") as file:
        file.write(line("2026-11-22T10:00:00Z", "m2", 40))
    monkeypatch.setattr(data, "FOLLOW_S", 0.01)
    loader = data.Loader(dict(os.environ), clock=time.time)
    loader.watch(lambda: None)
    end = time.monotonic() + 20
    while calls() != before + 2 and time.monotonic() < end:
        time.sleep(0.05)
    loader.close()
    assert calls() == before + 2


def test_a_report_of_nothing_says_where_logs_are(omni: Omni, logs: Path) -> None:
    shown = omni("daily")
    assert "there are logs of Claude Code, Codex CLI; omni import brings them in" in shown.err
    omni("import", "--yes")
    blocks = omni("blocks", "--json").data
    assert blocks["agent"] == "claude-code"
    want = expected("claude-code")["generated"]["totals"]["totalTokens"]
    assert sum(block["total_tokens"] for block in blocks["blocks"]) == want
    assert omni("blocks", "--agent", "codex", "--json").data["blocks"]
    assert omni("blocks", "--active").err.startswith("no block")
    unknown = omni("blocks", "--agent", "codx")
    assert (unknown.code, "did you mean codex" in unknown.err) == (1, True)


def test_folders_without_a_log_are_no_logs(
    omni: Omni, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(home))
    for name in ("CLAUDE_CONFIG_DIR", "CODEX_HOME", "GEMINI_CLI_HOME", "QWEN_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)
    for name in (".claude/projects", ".codex/sessions", ".gemini/tmp", ".qwen/projects"):
        (home / name).mkdir(parents=True)
    assert omni("daily").err.splitlines() == ["nothing was used yet"]
    assert "there are logs" not in omni("blocks").err
    assert omni("daily", "--since", "2026-11-01", "--until", "2026-11-02").err.splitlines() == [
        "nothing was used 2026-11-01 to 2026-11-02"
    ]
    assert "found no logs of any agent" in omni("import").err


def test_a_block_without_a_known_price_costs_unknown(omni: Omni, logs: Path) -> None:
    log = logs / ".claude/projects/p/live.jsonl"
    log.parent.mkdir(parents=True)
    now = time.time()
    for before in (600, 300):
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now - before))
        with log.open("a") as file:
            file.write(line(at, f"m{before}", 40).replace("claude-sonnet-4-5", "nobodys-model"))
    omni("import", "--yes")
    (block,) = omni("blocks", "--active", "--json").data["blocks"]
    assert (block["cost_usd"], block["unknown_calls"]) == (None, 2)
    assert block["burn"]["cost_per_hour_usd"] is None
    shown = omni("blocks", "--active").out
    assert "$" not in shown
    status = omni("statusline", stdin="{}").out
    assert "unknown block (" in status
    assert "/h" not in status


def use(minute: int, model: str = "m", tokens: int = 10, last: int | None = None) -> HourUse:
    at = 60_000 * minute
    end = at if last is None else 60_000 * last
    return model, at, end, 1, tokens, 0, 0, 0, tokens * 1000, 0


def test_a_block_begins_with_the_hour_of_its_first_call_and_lasts_five() -> None:
    blocks = blocks_of([use(61), use(359), use(360), use(1500), use(59)])
    first, second, third = blocks
    assert (first.start_at, first.end_at, first.calls) == (0, BLOCK_MS, 2)
    assert (second.start_at, second.calls) == (5 * HOUR_MS, 2)
    assert third.start_at == 25 * HOUR_MS


def test_burn_and_projection_of_the_block_under_way() -> None:
    (block,) = blocks_of([use(0, tokens=600, last=60), use(120, "n", 600)])
    now = 3 * HOUR_MS
    burn = block.burn(now)
    assert block.active(now)
    assert burn is not None
    # 1,200 tokens in two hours, and two hours to go.
    assert (burn.tokens_per_minute, burn.projected_tokens) == (10.0, 2400)
    assert (burn.cost_per_hour_nusd, burn.projected_cost_nusd) == (600_000, 2_400_000)
    assert block.burn(block.end_at) is None
    assert blocks_of([use(0)])[0].burn(1) is None


def test_a_sessions_id_is_cut_to_what_tells_it_so_that_its_project_has_room(
    omni: Omni, logs: Path
) -> None:
    omni("import", "--yes")
    whole = [row["session"] for row in omni("session", "--json").data["rows"]]
    assert omni("session", "--quiet").out.split() == whole
    table = omni("session").out
    assert "shop" in table
    for name in whole:
        assert (name in table, name in omni("session", "--wide").out) == (False, True)
        (row,) = [line for line in table.splitlines() if name.startswith(line.split(" ")[0] or "?")]
        assert omni("session", row.split(" ")[0], "--json").data["id"] == name


def test_a_session_is_shown_as_a_tree_and_only_the_gateways_are_stopped(
    omni: Omni, logs: Path
) -> None:
    omni("import", "--yes")
    row = max(omni("session", "--json").data["rows"], key=lambda row: row["total_tokens"])
    tree = omni("session", row["session"], "--json").data
    assert (tree["calls"], tree["cost_usd"]) == (row["calls"], row["cost_usd"])
    assert tree["total_tokens"] == row["total_tokens"]
    assert sum(part["calls"] for part in tree["parts"]) + len(tree["turns"]) == tree["calls"]
    begun = omni("session", row["session"][:6])
    assert begun.code == 0
    assert tree["turns"][0]["id"] in omni("session", row["session"], "--wide").out
    stopped = omni("session", "stop", row["session"])
    assert stopped.code == 2
    assert "do not go through omni's gateway" in stopped.err
    assert omni("session", "stop").code == 2
    assert omni("session", "live", "--json").data == {"sessions": []}
