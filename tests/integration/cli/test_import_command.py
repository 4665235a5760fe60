"""C7: every sample through the real command, twice: the stated totals, then nothing new."""

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from omni_cli.bootstrap import App
from tests.integration.cli.conftest import Omni
from tests.integration.cli.money import Run, checked, ledger_sums, rollup_sums
from tests.unit.importers.support import IMPORTS, expected


@pytest.fixture
def run(omni: Omni, home: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.setenv("HOME", str(home))
    return checked(omni)


@pytest.fixture
def store(home: Path, run: Run) -> Iterator[App]:
    with App({"OMNI_HOME": str(home), "TZ": "UTC"}) as app:
        yield app


def samples() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(source, path below its folder, what omni's totals must be)"""
    for tool in ("claude-code", "codex", "gemini-cli", "opencode"):
        for name, want in expected(tool).items():
            total = want["totals"]
            cached = total.get("cacheReadTokens", 0)
            written = total.get("cacheCreationTokens", 0)
            kinds = {
                "input_tokens": total["inputTokens"] + cached + written,
                "cached_tokens": cached,
                "cache_write_tokens": written,
                "total_tokens": total["totalTokens"],
            }
            if (tool, name) == ("codex", "ccusage-fixture"):
                # Its hand-made totals add reasoning to the output that includes it already.
                kinds["total_tokens"] -= total["reasoningOutputTokens"]
            if (tool, name) == ("opencode", "generated-legacy-json"):
                kinds["total_tokens"] -= 16  # counted twice by ccusage: see the samples' README
            if tool == "opencode":
                kinds["recorded_cost_usd"] = str(total["totalCost"])
            yield tool, name, kinds
    for name, want in expected("llm").items():
        names = ("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens")
        yield "llm", name, {"calls": want["calls"], **{key: want[key] for key in names}}
    want = expected("litellm")
    for suffix in ("json", "csv"):
        yield "litellm", f"spend_logs.{suffix}", _prompt_sums(want, "spend")
    yield "aider", "analytics.jsonl", _prompt_sums(expected("aider"), "cost")
    want = expected("openrouter")
    yield (
        "openrouter",
        "activity.csv",
        {
            "rows": want["generations"],
            "input_tokens": want["tokens_prompt"],
            "output_tokens": want["tokens_completion"],
            "cached_tokens": want["tokens_cached"],
            "reasoning_tokens": want["tokens_reasoning"],
            "recorded_cost_usd": want["cost_total"],
            "byok_cost_usd": want["byok_usage_inference"],
        },
    )
    for name, want in expected("openai")["files"].items():
        if "num_model_requests" in want:
            yield (
                "openai",
                name,
                {
                    "calls": want["num_model_requests"],
                    "input_tokens": want["input_tokens"],
                    "cached_tokens": want["input_cached_tokens"],
                    "output_tokens": want["output_tokens"],
                },
            )
    for name, want in expected("anthropic")["files"].items():
        if "cache_read" in want:
            written = want["cache_write_5m"] + want["cache_write_1h"]
            yield (
                "anthropic",
                name,
                {
                    "input_tokens": want["input_tokens"] + want["cache_read"] + written,
                    "cached_tokens": want["cache_read"],
                    "cache_write_tokens": written,
                    "cache_write_1h_tokens": want["cache_write_1h"],
                    "output_tokens": want["output_tokens"],
                },
            )


def _prompt_sums(want: dict[str, Any], cost: str) -> dict[str, Any]:
    return {
        "calls": want["calls"],
        "input_tokens": want["prompt_tokens"],
        "output_tokens": want["completion_tokens"],
        "recorded_cost_usd": str(want[cost]),
    }


def check(found: dict[str, Any], want: dict[str, Any]) -> None:
    for name, value in want.items():
        if name.endswith("_usd"):
            # Stated sums are printed to six decimals, or carry a float's noise.
            assert abs(Decimal(found[name]) - Decimal(value)) < Decimal("0.0000006"), name
        else:
            assert found[name] == value, name


SAMPLES = list(samples())


@pytest.mark.parametrize(("tool", "name", "want"), SAMPLES, ids=[f"{t}-{n}" for t, n, _ in SAMPLES])
def test_sample_totals_twice(
    run: Run, store: App, tool: str, name: str, want: dict[str, Any]
) -> None:
    path = str(IMPORTS / tool / name)
    dry = run("import", tool, path, "--dry-run", "--json").data
    check(dry["totals"], want)
    assert not dry["applied"]
    assert store.store.db.execute("SELECT count(*) FROM requests").fetchone()[0] == 0
    first = run("import", tool, path, "--yes", "--json").data
    assert first["totals"] == dry["totals"]
    assert first["added"] == first["new"] == first["totals"]["rows"] > 0
    assert ledger_sums(store) == rollup_sums(store) == wanted_sums(first["totals"])
    again = run("import", tool, path, "--yes", "--json").data
    assert (again["added"], again["updated"], again["new"]) == (0, 0, 0)
    assert again["known"] == first["added"]
    assert again["totals"] == first["totals"]
    assert ledger_sums(store) == wanted_sums(first["totals"])


def wanted_sums(totals: dict[str, Any]) -> tuple[int, ...]:
    cost = 0 if totals["cost_usd"] is None else int(Decimal(totals["cost_usd"]) * 10**9)
    return (
        totals["rows"],
        totals["input_tokens"],
        totals["cached_tokens"],
        totals["output_tokens"],
        totals["unknown_rows"],
        cost,
    )


def test_names_of_other_tools_become_the_catalogues(run: Run) -> None:
    path = str(IMPORTS / "claude-code" / "generated")
    found = run("import", "claude-code", path, "--yes", "--json").data
    assert {m["recorded"]: m["model"] for m in found["models"]} == {
        "claude-sonnet-4-5": "anthropic/claude-sonnet-4-5",
        "claude-haiku-4-5": "anthropic/claude-haiku-4-5",
    }
    # The third-party total of the same files, to its last digit.
    cost = Decimal(str(expected("claude-code")["generated"]["totals"]["totalCost"]))
    assert Decimal(found["totals"]["cost_usd"]) == cost
    rows = run("logs", "--json").data
    assert {row["model_used"] for row in rows} == {m["model"] for m in found["models"]}
    assert {row["source"] for row in rows} == {"import"}


def csv_file(folder: Path, *rows: str) -> str:
    path = folder / "usage.csv"
    header = "time,model,provider,input_tokens,output_tokens,cost_usd,id,message_id,requests,agent"
    path.write_text("\n".join((header, *rows)) + "\n", "utf-8")
    return str(path)


def test_a_price_that_comes_later_fills_unknown_rows(run: Run, store: App, tmp_path: Path) -> None:
    path = csv_file(
        tmp_path,
        "2026-03-01T10:00:00Z,house-7b,openai,1000,100,0.02,a,,1,shop",
        "2026-03-01T11:00:00Z,gpt-4o,openai,1000,100,,b,,1,shop",
    )
    done = run("import", "csv", path, "--yes", "--json").data["totals"]
    # 1000 x 2.50 + 100 x 10 per million; the other has no price, and 0.02 is only its tool's word.
    assert (done["cost_usd"], done["unknown_rows"], done["recorded_cost_usd"]) == (
        "0.0035",
        1,
        "0.02",
    )
    dry = run("reprice", "--current", "--unknown", "--json").data
    assert (dry["changed"], dry["models"][0]["unknown"]) == (0, 1)
    run("providers", "add", "openai")
    run("models", "add", "openai/house-7b", "--price-in", "1", "--price-out", "2")
    ran = run("reprice", "--current", "--unknown", "--apply", "--json").data
    assert (ran["changed"], ran["filled"], ran["delta_usd"]) == (1, 1, "0.0012")
    assert ledger_sums(store)[-2:] == rollup_sums(store)[-2:] == (0, 4_700_000)
    assert run("reprice", "--current", "--apply", "--json").data["changed"] == 0


def test_recorded_costs_count_when_asked(run: Run, tmp_path: Path) -> None:
    path = csv_file(tmp_path, "2026-03-01T10:00:00Z,house-7b,,1000,100,0.02,a,,1,shop")
    found = run("import", "csv", path, "--recorded", "--yes", "--json").data
    assert (found["totals"]["cost_usd"], found["totals"]["unknown_rows"]) == ("0.02", 0)
    assert run("reprice", "--current", "--apply", "--json").data["changed"] == 0


def test_a_cost_without_tokens_is_taken_as_it_is(run: Run, tmp_path: Path) -> None:
    path = csv_file(tmp_path, "2026-03-01T10:00:00Z,gpt-4o,openai,,,0.02,a,,1,shop")
    found = run("import", "csv", path, "--yes", "--json").data
    assert found["totals"]["cost_usd"] == "0.02"
    assert run("reprice", "--current", "--apply", "--json").data["changed"] == 0


def test_a_row_of_many_calls_is_not_priced_as_one_long_one(run: Run, tmp_path: Path) -> None:
    """gemini-2.5-pro doubles its rate above 200,000 tokens a call; ten calls of 50,000 do not."""
    path = csv_file(tmp_path, "2026-03-01T00:00:00Z,gemini-2.5-pro,google,500000,0,,a,,10,x")
    found = run("import", "csv", path, "--yes", "--json").data["totals"]
    assert found["cost_usd"] == "0.625"  # 0.5 million at 1.25
    assert (found["calls"], found["estimated_rows"]) == (10, 1)
    assert run("reprice", "--current", "--apply", "--json").data["changed"] == 0


def test_a_call_through_the_gateway_counts_once(run: Run, store: App, tmp_path: Path) -> None:
    first = csv_file(tmp_path, "2026-03-01T10:00:00Z,gpt-4o,openai,1000,100,,a,msg_1,1,x")
    run("import", "csv", first, "--yes")
    with store.store.transaction() as db:
        db.execute("UPDATE requests SET source = 'gateway'")
        db.execute("DELETE FROM imports")
    second = csv_file(
        tmp_path,
        "2026-03-01T10:00:00Z,gpt-4o,openai,1000,100,,a,msg_1,1,x",
        "2026-03-01T10:00:09Z,gpt-4o,openai,7,1,,b,msg_2,1,x",
    )
    found = run("import", "csv", second, "--yes", "--json").data
    assert (found["added"], found["known"]) == (1, 1)


def test_a_call_that_another_tool_recorded_counts_once(run: Run, tmp_path: Path) -> None:
    path = IMPORTS / "claude-code" / "generated"
    first = run("import", "claude-code", str(path), "--yes", "--json").data
    message = next(path.rglob("*.jsonl")).read_text("utf-8").partition('"msg_')[2].partition('"')[0]
    row = f"2026-11-21T00:34:57Z,claude-sonnet-4-5,anthropic,9,9,,z,msg_{message},1,x"
    again = run("import", "csv", csv_file(tmp_path, row), "--yes", "--json").data
    assert first["added"] == 4
    assert (again["added"], again["known"]) == (0, 1)


def test_a_call_imported_unfinished_grows(run: Run, store: App, tmp_path: Path) -> None:
    row = "2026-03-01T10:00:00Z,gpt-4o,openai,{},{},,a,,1,x"
    run("import", "csv", csv_file(tmp_path, row.format(1000, 10)), "--yes")
    args = ("reprice", "--request", "last", "--cost", "0.5", "--reason", "test", "--apply")
    run(*args)
    found = run("import", "csv", csv_file(tmp_path, row.format(2000, 200)), "--yes", "--json").data
    assert (found["added"], found["updated"]) == (0, 1)
    assert ledger_sums(store) == rollup_sums(store) == (1, 2000, 0, 200, 0, 7_000_000)


def test_bad_lines_are_named_and_left_out(run: Run, store: App, tmp_path: Path) -> None:
    path = csv_file(
        tmp_path,
        "2026-03-01T10:00:00Z,gpt-4o,openai,1000,100,,a,,1,x",
        "yesterday,gpt-4o,openai,1000,100,,b,,1,x",
        "2026-03-01T10:00:00Z,gpt-4o,openai,-4,100,,c,,1,x",
    )
    ran = run("import", "csv", path, "--yes")
    assert f"{path}:3: time is not a time" in ran.err
    assert f"{path}:4: input_tokens is out of range" in ran.err
    assert "added 1 call" in ran.err
    assert ledger_sums(store)[0] == 1


def test_nothing_readable_is_an_error(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("a,b\n1,2\n")
    ran = run("import", "csv", str(path), code=1)
    assert "nothing could be read" in ran.err
    assert run("import", "csv", str(tmp_path / "none.csv"), code=1).err.startswith(
        "error: there is"
    )
    assert "usual place" in run("import", "codex", code=1).err
    assert "no such source" in run("import", "nope", code=2).err


def test_without_yes_a_pipe_writes_nothing(run: Run, store: App, tmp_path: Path) -> None:
    path = csv_file(tmp_path, "2026-03-01T10:00:00Z,gpt-4o,openai,1000,100,,a,,1,x")
    ran = run("import", "csv", path)
    assert "nothing was written; --yes writes it" in ran.err
    assert ledger_sums(store)[0] == 0


def test_the_usual_place_is_found(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "home" / ".codex" / "sessions"
    folder.parent.mkdir()
    folder.symlink_to(IMPORTS / "codex" / "generated" / "sessions")
    found = run("import", "codex", "--yes", "--json")
    assert found.data["paths"] == [str(folder.parent)]
    assert found.data["added"] > 0


def test_imports_are_audited(run: Run, store: App, tmp_path: Path) -> None:
    path = csv_file(tmp_path, "2026-03-01T10:00:00Z,gpt-4o,openai,1000,100,,a,,1,x")
    run("import", "csv", path, "--yes")
    entry = store.audit.entries(limit=1)[0]
    assert (entry.action, entry.target, entry.who) == ("ledger.import", "csv", "tester")


def test_a_folder_without_its_files_says_what_was_looked_for(omni: Omni, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    for source, looked in (("opencode", "opencode*.db"), ("aider", "*.jsonl")):
        found = omni("import", source, str(empty))
        assert found.code == 0
        assert f"is in {empty}: it looks for {looked}" in found.err
    missing = omni("import", "llm", str(empty))
    assert missing.code == 1
    assert f"there is no logs.db of llm in {empty}" in missing.err


def test_a_byte_that_is_no_text_costs_its_row_only(omni: Omni, tmp_path: Path) -> None:
    rows = [
        b'{"request_id":"%d","model":"gpt-4o","startTime":"2026-01-01T00:00:00Z","spend":0.1,'
        b'"prompt_tokens":1,"completion_tokens":1,"user":"%b"}' % (n, user)
        for n, user in enumerate((b"a", b"\xff", b"\xc3\xa9"))
    ]
    path = tmp_path / "spend.json"
    path.write_bytes(b"[" + b",\n".join(rows) + b"]")
    told = omni("import", "litellm", str(path), "--json").data
    assert told["new"] == 2
    assert told["problems"] == [{"file": str(path), "line": 2, "reason": "not valid UTF-8"}]


@pytest.mark.parametrize("source", ["csv", "litellm", "openai", "anthropic", "openrouter"])
def test_an_export_is_named_by_its_path(run: Run, source: str) -> None:
    ran = run("import", source, code=2)
    assert ran.err.startswith(f"error: {source} needs a path")
    assert f"omni import {source} PATH" in ran.err


def test_where_nothing_is_new_it_costs_nothing(run: Run, tmp_path: Path) -> None:
    path = csv_file(tmp_path, "2026-03-01T10:00:00Z,gpt-4o,openai,1000,100,,a,,1,x")
    run("import", "csv", path, "--yes")
    again = run("import", "csv", path, "--yes", "--json").data
    assert (again["new"], again["new_totals"]["cost_usd"]) == (0, "0")
    assert again["totals"]["cost_usd"] != "0"
