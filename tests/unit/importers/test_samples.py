"""C7: every sample gives exactly the totals stated beside it, and a second read adds nothing."""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

import pytest

from omni_cli.domain.imports import ImportedCall, InvoiceLine, collapse, unknown_only
from omni_cli.importers import Marks, importers, load
from tests.unit.importers.support import IMPORTS, days, expected, read, sample, split_totals, usages

NUSD = 1_000_000_000


def usd(amount: object) -> int:
    """Nano-dollars of a stated sum; float sums carry noise far below one nano-dollar."""
    return round(Decimal(str(amount)) * NUSD)


def recorded(calls: Iterable[ImportedCall]) -> int:
    return sum(call.recorded_cost_nusd or 0 for call in calls)


def display_name(call: ImportedCall) -> str:
    return f"{call.model}-fast" if call.tier == "fast" else str(call.model)


# ---- Claude Code: checked against ccusage, by day and model, and priced to check the split

#: US dollars per 1M tokens: input, cache read, 5 m write, 1 h write, output (README's factors).
CLAUDE_RATES: Mapping[str, tuple[str, ...]] = {
    "claude-sonnet-4-5": ("3", "0.3", "3.75", "6", "15"),
    "claude-sonnet-4-5-20250929": ("3", "0.3", "3.75", "6", "15"),
    "claude-haiku-4-5": ("1", "0.1", "1.25", "2", "5"),
    "claude-3-sonnet-20240229": ("3", "0.3", "3.75", "6", "15"),
}


def claude_cost(call: ImportedCall) -> int:
    """ccusage's "auto" mode: the recorded cost if there is one, else tokens times rates."""
    if call.recorded_cost_nusd is not None:
        return call.recorded_cost_nusd
    usage = call.usage
    assert usage is not None
    counts = (
        usage.input_tokens - usage.cached_tokens - usage.cache_write_tokens,
        usage.cached_tokens,
        usage.cache_write_tokens - usage.cache_write_1h_tokens,
        usage.cache_write_1h_tokens,
        usage.output_tokens,
    )
    rates = map(Decimal, CLAUDE_RATES[str(call.model)])
    return round(sum((n * r for n, r in zip(counts, rates, strict=True)), Decimal(0)) * 1000)


@pytest.mark.parametrize("name", ["ccusage-fixture", "claude-code-log", "generated", "traps"])
def test_claude_code_totals_by_day_and_model(name: str) -> None:
    want = expected("claude-code")[name]
    calls = sample("claude-code", name).calls
    assert split_totals(calls) == {k: v for k, v in want["totals"].items() if k != "totalCost"}
    assert sum(map(claude_cost, calls)) == usd(want["totals"]["totalCost"])
    assert len({call.session_id for call in calls}) == want["sessions"]
    by_day = days(calls)
    assert sorted(by_day) == [day["date"] for day in want["daily"]]
    for day in want["daily"]:
        found = by_day[day["date"]]
        kinds = split_totals(found)
        assert kinds == {kind: day[kind] for kind in kinds}
        assert sum(map(claude_cost, found)) == usd(day["totalCost"])
        assert {display_name(c) for c in found} == set(day["modelsUsed"])
        for model in day["modelBreakdowns"]:
            mine = [c for c in found if display_name(c) == model["modelName"]]
            kinds = split_totals(mine)
            del kinds["totalTokens"]
            assert kinds == {kind: model[kind] for kind in kinds}
            assert sum(map(claude_cost, mine)) == usd(model["cost"])


# ---- Codex, Gemini CLI, opencode: checked against ccusage


#: US dollars per 1M tokens: uncached input, cached, output.
CODEX_RATES: Mapping[str, tuple[str, str, str]] = {
    "gpt-5.1-codex": ("1.25", "0.125", "10"),
    "gpt-5.2-codex": ("1.75", "0.175", "14"),
    "gpt-5.3-codex": ("1.75", "0.175", "14"),
}


def codex_cost(call: ImportedCall) -> int:
    (usage,) = usages([call])
    counts = (usage.input_tokens - usage.cached_tokens, usage.cached_tokens, usage.output_tokens)
    rates = map(Decimal, CODEX_RATES[str(call.model)])
    return round(sum((n * r for n, r in zip(counts, rates, strict=True)), Decimal(0)) * 1000)


@pytest.mark.parametrize("name", ["ccusage-fixture", "generated"])
def test_codex_totals_by_day_and_model(name: str) -> None:
    def kinds(calls: list[ImportedCall]) -> dict[str, int]:
        found = split_totals(calls)
        found["reasoningOutputTokens"] = sum(u.reasoning_tokens for u in usages(calls))
        if name == "ccusage-fixture":
            # Its hand-made ``total_tokens`` add reasoning to the output that includes it (1000 +
            # 125 + 75 = 1200), against the real format and ccusage's own cost of the same rows.
            found["totalTokens"] += found["reasoningOutputTokens"]
        return found

    want = expected("codex")[name]
    calls = sample("codex", name).calls
    totals = kinds(calls)
    assert totals == {kind: want["totals"][kind] for kind in totals}
    assert sum(map(codex_cost, calls)) == usd(want["totals"]["costUSD"])
    assert len({call.session_id for call in calls}) == want["sessions"]
    by_day = days(calls)
    assert sorted(by_day) == [day["date"] for day in want["daily"]]
    for day in want["daily"]:
        found = by_day[day["date"]]
        assert kinds(found) == {kind: day[kind] for kind in totals}
        assert sum(map(codex_cost, found)) == usd(day["costUSD"])
        assert {call.model for call in found} == set(day["models"])
        for model, numbers in day["models"].items():
            mine = [call for call in found if call.model == model]
            assert kinds(mine) == {kind: numbers[kind] for kind in totals}


@pytest.mark.parametrize("name", ["generated", "generated-legacy"])
def test_gemini_cli_totals(name: str) -> None:
    want = expected("gemini-cli")[name]
    calls = sample("gemini-cli", name).calls
    kinds = split_totals(calls)
    # Thoughts are output in omni and only part of the total in ccusage.
    kinds["outputTokens"] -= sum(usage.reasoning_tokens for usage in usages(calls))
    assert kinds == {kind: want["totals"][kind] for kind in kinds}
    assert len({call.session_id for call in calls}) == want["sessions"]
    assert {call.model for call in calls} == set(want["daily"][0]["modelsUsed"])
    # gemini-2.5-flash: 0.30 in, 0.03 cached, 2.50 out per 1M tokens.
    spent = sum(
        (u.input_tokens - u.cached_tokens) * 300 + u.cached_tokens * 30 + u.output_tokens * 2500
        for u in usages(calls)
    )
    assert spent == usd(want["totals"]["totalCost"])


@pytest.mark.parametrize(
    ("name", "counted_twice_by_ccusage"), [("generated-legacy-json", 16), ("generated-sqlite", 0)]
)
def test_opencode_totals(name: str, counted_twice_by_ccusage: int) -> None:
    want = expected("opencode")[name]
    calls = sample("opencode", name).calls
    kinds = split_totals(calls)
    if not counted_twice_by_ccusage:
        kinds["outputTokens"] -= sum(usage.reasoning_tokens for usage in usages(calls))
    kinds["totalTokens"] += counted_twice_by_ccusage
    assert kinds == {kind: want["totals"][kind] for kind in kinds}
    assert recorded(calls) == usd(want["totals"]["totalCost"])
    assert len({call.session_id for call in calls}) == want["sessions"]
    assert sorted(days(calls)) == [day["date"] for day in want["daily"]]
    assert {call.model for call in calls} == set(want["daily"][0]["modelsUsed"])


# ---- llm, LiteLLM, aider, OpenRouter: checked against plain sums of each tool's own output


@pytest.mark.parametrize("name", ["responses-era", "turns-era"])
def test_llm_totals(name: str) -> None:
    want = expected("llm")[name]
    calls = sample("llm", name).calls
    assert len(calls) == want["calls"]
    for field in ("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens"):
        assert sum(getattr(usage, field) for usage in usages(calls)) == want[field]
    assert {call.model for call in calls} == set(want["models"])
    for model, numbers in want["models"].items():
        mine = [call for call in calls if call.model == model]
        assert len(mine) == numbers["calls"]
        assert sum(u.input_tokens for u in usages(mine)) == numbers["input_tokens"]
        assert sum(u.output_tokens for u in usages(mine)) == numbers["output_tokens"]


def check_prompt_sums(
    calls: list[ImportedCall], want: Mapping[str, Any], cost: str, slack_nusd: int = 0
) -> None:
    assert len(calls) == want["calls"]
    assert sum(u.input_tokens for u in usages(calls)) == want["prompt_tokens"]
    assert sum(u.output_tokens for u in usages(calls)) == want["completion_tokens"]
    assert abs(recorded(calls) - usd(want[cost])) <= slack_nusd


@pytest.mark.parametrize("file", ["spend_logs.json", "spend_logs.csv"])
def test_litellm_totals(file: str) -> None:
    want = expected("litellm")
    calls = sample("litellm", file).calls
    check_prompt_sums(calls, want, "spend")
    assert sum(u.total_tokens for u in usages(calls)) == want["total_tokens"]
    assert {call.model for call in calls} == set(want["models"])
    for model, numbers in want["models"].items():
        check_prompt_sums([c for c in calls if c.model == model], numbers, "spend")


def test_litellm_json_and_csv_are_the_same_calls() -> None:
    both = load("litellm", [IMPORTS / "litellm" / f"spend_logs.{s}" for s in ("json", "csv")])
    assert len(both.calls) == expected("litellm")["calls"]
    assert both.rows == 2 * len(both.calls)


def test_aider_totals() -> None:
    want = expected("aider")
    batch = sample("aider", "analytics.jsonl")
    # The stated sums are printed to six decimals.
    check_prompt_sums(batch.calls, want, "cost", slack_nusd=500)
    assert batch.rows + batch.skips["lines without usage"] == want["events"]
    assert {call.model for call in batch.calls} == set(want["models"])
    for model, numbers in want["models"].items():
        mine = [call for call in batch.calls if call.model == model]
        check_prompt_sums(mine, numbers, "cost", slack_nusd=500)


def test_openrouter_totals() -> None:
    want = expected("openrouter")
    batch = sample("openrouter", "activity.csv")
    assert batch.rows == want["rows"]
    assert len({call.external_id for call in batch.calls}) == want["generations"]
    assert recorded(batch.calls) == usd(want["cost_total"])
    assert sum(c.byok_cost_nusd for c in batch.calls) == usd(want["byok_usage_inference"])
    found = usages(batch.calls)
    assert sum(u.input_tokens for u in found) == want["tokens_prompt"]
    assert sum(u.output_tokens for u in found) == want["tokens_completion"]
    assert sum(u.cached_tokens for u in found) == want["tokens_cached"]
    assert sum(u.reasoning_tokens for u in found) == want["tokens_reasoning"]


def test_openrouter_activity_api_sums_are_days() -> None:
    calls = sample("openrouter", "activity_api.json").calls
    assert {(c.requests, c.recorded_cost_nusd, c.byok_cost_nusd) for c in calls} == {
        (5, 15_000_000, 12_000_000),
        (3, 2_000_000, 0),
    }
    assert {c.span_ms for c in calls} == {86_400_000}


# ---- OpenAI and Anthropic: usage as calls, costs as invoice lines only


def invoice(tool: str, file: str) -> list[InvoiceLine]:
    lines = list(importers[tool].read_invoice(IMPORTS / tool / file))
    assert all(isinstance(line, InvoiceLine) for line in lines)
    return [line for line in lines if isinstance(line, InvoiceLine)]


@pytest.mark.parametrize("file", list(expected("openai")["files"]))
def test_openai_files(file: str) -> None:
    want = expected("openai")["files"][file]
    if "amount_usd" in want:
        lines = invoice("openai", file)
        assert sum(line.cost_nusd or 0 for line in lines) == usd(want["amount_usd"])
        days_without = 1 if file.endswith(".csv") else 0
        assert len(lines) + days_without == want.get("rows", want.get("results"))
        calls, problems = read("openai", IMPORTS / "openai" / file)
        assert calls == []
        assert "omni reconcile" in problems[0].reason
        return
    batch = sample("openai", file)
    empty = batch.skips["rows without tokens"]
    assert batch.rows + empty == want.get("rows", want.get("results"))
    assert sum(call.requests or 0 for call in batch.calls) == want["num_model_requests"]
    found = usages(batch.calls)
    assert sum(u.input_tokens for u in found) == want["input_tokens"]
    assert sum(u.cached_tokens for u in found) == want["input_cached_tokens"]
    assert sum(u.output_tokens for u in found) == want["output_tokens"]
    tokens = sum(line.tokens or 0 for line in invoice("openai", file))
    assert tokens == want["input_tokens"] + want["output_tokens"]


@pytest.mark.parametrize("file", list(expected("anthropic")["files"]))
def test_anthropic_files(file: str) -> None:
    want = expected("anthropic")["files"][file]
    lines = invoice("anthropic", file)
    if "usd" in want:
        assert len(lines) == want.get("rows", want.get("results"))
        assert sum(line.cost_nusd or 0 for line in lines) == usd(want["usd"])
        if "amount_cents" in want:
            cents = sum(line.cost_nusd or 0 for line in lines)
            assert cents == round(Decimal(want["amount_cents"]) * NUSD / 100)
        return
    batch = sample("anthropic", file)
    assert batch.rows == want.get("rows", want.get("results"))
    kinds = ("input", "cache_write", "cache_write_1h", "cached", "output")
    names = ("input_tokens", "cache_write_5m", "cache_write_1h", "cache_read", "output_tokens")
    for kind, name in zip(kinds, names, strict=True):
        assert sum(line.tokens or 0 for line in lines if line.kind == kind) == want[name]
    assert sum(u.total_tokens for u in usages(batch.calls)) == sum(want[name] for name in names)


def test_anthropic_cost_rows_know_their_kind() -> None:
    assert [(ln.model, ln.kind) for ln in invoice("anthropic", "claude_api_cost_2026_03.csv")] == [
        ("Claude Opus 4.5", "input"),
        ("Claude Opus 4.5", "output"),
        (None, "web_search"),
    ]
    assert [ln.kind for ln in invoice("anthropic", "cost_report.json")] == ["input"]


# ---- all of them: reading again adds nothing

EVERYTHING = [
    *(("claude-code", n) for n in ("ccusage-fixture", "claude-code-log", "generated", "traps")),
    *(("codex", n) for n in ("ccusage-fixture", "generated")),
    *(("gemini-cli", n) for n in ("generated", "generated-legacy")),
    *(("opencode", n) for n in ("generated-legacy-json", "generated-sqlite")),
    *(("llm", n) for n in ("responses-era", "turns-era")),
    *(("litellm", f"spend_logs.{s}") for s in ("json", "csv")),
    ("aider", "analytics.jsonl"),
    *(("openrouter", n) for n in ("activity.csv", "activity_api.json")),
    *(("openai", n) for n in expected("openai")["files"] if "usage" in n),
    *(("anthropic", n) for n in expected("anthropic")["files"] if "cost" not in n),
]


@pytest.mark.parametrize(("tool", "name"), EVERYTHING)
def test_a_second_import_adds_nothing(tool: str, name: str) -> None:
    path = IMPORTS / tool / name
    once = load(tool, [path]).calls
    assert once
    assert load(tool, [path, path]).calls == once
    assert collapse([*once, *once]) == once
    known = {(call.source, call.external_id) for call in once}
    assert len(known) == len(once)
    assert unknown_only(load(tool, [path]).calls, external_ids=known) == []


@pytest.mark.parametrize(("tool", "name"), EVERYTHING)
def test_no_call_holds_a_whole_path(tool: str, name: str) -> None:
    for call in sample(tool, name).calls:
        for text in (call.project, call.file, call.agent):
            assert "/" not in (text or "")
            assert "\\" not in (text or "")


@pytest.mark.parametrize("tool", ["claude-code", "codex"])
def test_processes_that_read_together_find_what_one_finds(
    tool: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone, together = Marks({}), Marks({})
    once = load(tool, [IMPORTS / tool], marks=alone)
    monkeypatch.setattr("omni_cli.importers._MUCH_BYTES", 1)
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    many = load(tool, [IMPORTS / tool], marks=together)
    assert once.calls
    assert (many.calls, many.skips, many.rows) == (once.calls, once.skips, once.rows)
    assert set(map(str, many.problems)) == set(map(str, once.problems))
    assert together.read == alone.read
    assert any(mark.offset for mark in together.read)
