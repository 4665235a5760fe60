"""LiteLLM, aider, OpenRouter, OpenAI, Anthropic and any CSV: what their exports mean."""

import json
from pathlib import Path
from typing import Any

import pytest

from omni_cli.domain.errors import UsageError
from omni_cli.domain.imports import ImportedCall, ImportProblem, InvoiceLine, unknown_only
from omni_cli.importers import importers, load
from omni_cli.importers.reconcile import read_invoice, recognise, resolved
from tests.unit.importers.support import IMPORTS, read, usages, write_lines


def spend(**changes: Any) -> dict[str, Any]:
    return {
        "request_id": "chatcmpl-1",
        "startTime": "2026-03-01T09:00:03Z",
        "endTime": "2026-03-01T09:00:05Z",
        "model": "openai/gpt-4o",
        "custom_llm_provider": "openai",
        "spend": 0.006,
        "prompt_tokens": 1200,
        "completion_tokens": 300,
        "cache_hit": "False",
        "status": "success",
        **changes,
    }


def litellm(path: Path, *rows: dict[str, Any]) -> list[ImportedCall]:
    path.write_text(json.dumps(list(rows)))
    return load("litellm", [path]).calls


def test_litellm_cache_hits_cost_nothing_and_unpriced_models_are_unknown(tmp_path: Path) -> None:
    hit, unpriced = litellm(
        tmp_path / "s.json",
        spend(cache_hit="True", spend=0.0),
        spend(request_id="chatcmpl-2", spend=0.0, startTime="2026-03-02T00:00:00Z"),
    )
    assert (hit.cache_hit, hit.recorded_cost_nusd) == (True, 0)
    assert (unpriced.cache_hit, unpriced.recorded_cost_nusd) == (False, None)
    assert hit.latency_ms == 2000


@pytest.mark.parametrize(
    ("details", "whole_input", "cached", "written"),
    [
        ({"prompt_tokens_details": {"cached_tokens": 200}}, 1200, 200, 0),
        ({"cache_read_input_tokens": 200, "cache_creation_input_tokens": 100}, 1200, 200, 100),
        ({"cache_read_input_tokens": 5000, "cache_creation_input_tokens": 100}, 6300, 5000, 100),
    ],
    ids=["openai", "anthropic through LiteLLM", "anthropic passed through"],
)
def test_litellm_cached_tokens(
    tmp_path: Path, details: dict[str, Any], whole_input: int, cached: int, written: int
) -> None:
    metadata = json.dumps({"additional_usage_values": details, "usage_object": None})
    (usage,) = usages(litellm(tmp_path / "s.json", spend(metadata=metadata)))
    assert (usage.input_tokens, usage.cached_tokens) == (whole_input, cached)
    assert usage.cache_write_tokens == written


def test_litellm_rows_as_a_page_and_as_lines(tmp_path: Path) -> None:
    rows = [spend(), spend(request_id="chatcmpl-2", status="failure", metadata="{damaged")]
    page = tmp_path / "page.json"
    page.write_text(json.dumps({"data": rows, "total": 2}))
    listed = write_lines(tmp_path / "rows.jsonl", *rows)
    for path in (page, listed):
        calls = load("litellm", [path]).calls
        assert sorted((c.external_id, c.outcome) for c in calls) == [
            ("chatcmpl-1", "success"),
            ("chatcmpl-2", "failure"),
        ]


def test_litellm_summaries_are_not_calls(tmp_path: Path) -> None:
    path = tmp_path / "s.json"
    path.write_text(json.dumps([{"startTime": "2026-03-01", "spend": 3.5, "users": {}}, spend()]))
    calls, problems = read("litellm", path)
    assert len(calls) == 1
    assert "summary" in problems[0].reason


def test_a_call_made_through_the_gateway_is_in_the_ledger_already(tmp_path: Path) -> None:
    calls = litellm(tmp_path / "s.json", spend(), spend(request_id="chatcmpl-2"))
    left = unknown_only(calls, external_ids=set(), ledger_ids={"chatcmpl-1"})
    assert [call.external_id for call in left] == ["chatcmpl-2"]


def aider_event(**properties: Any) -> dict[str, Any]:
    given = {
        "main_model": "openai/gpt-5.2",
        "prompt_tokens": 100,
        "completion_tokens": 10,
        "cost": 0.01,
        "total_cost": 0.01,
        **properties,
    }
    return {"event": "message_send", "properties": given, "user_id": "u", "time": 1_755_100_406}


def test_aider_sums_the_calls_cost_and_keeps_equal_calls_apart(tmp_path: Path) -> None:
    events = [
        aider_event(),
        aider_event(total_cost=0.02),
        aider_event(total_cost=0.02),  # written twice: a second call would have added to it
        aider_event(main_model="x/REDACTED", cost=0, total_cost=0),
        aider_event(main_model="x/REDACTED", cost=0, total_cost=0),
    ]
    path = write_lines(tmp_path / "a.jsonl", *events)
    copy = write_lines(tmp_path / "copy.jsonl", *events)
    calls = load("aider", [path, copy]).calls
    assert len(calls) == 4
    assert sum(c.recorded_cost_nusd or 0 for c in calls) == 20_000_000
    redacted = [c for c in calls if c.model == "x/REDACTED"]
    assert [(c.recorded_cost_nusd, c.provider) for c in redacted] == [(None, None)] * 2
    assert all(u.estimated for u in usages(calls))
    env = {"AIDER_ANALYTICS_LOG": str(path)}
    assert importers["aider"].find_default(tmp_path, env) == [path]


OPENROUTER_HEADER = (
    "generation_id,created_at,cost_total,cost_cache,byok_usage_inference,tokens_prompt,"
    "tokens_completion,tokens_reasoning,tokens_cached,model_permaslug,variant,cancelled,new_one"
)


def test_openrouter_overlapping_exports_byok_and_variants(tmp_path: Path) -> None:
    own_key = "gen-1,2026-03-01 23:59:59.999,0.01,-0.02,0.25,100,10,5,50,a/b,standard,false,x"
    free = "gen-2,2026-03-02 00:00:00.001,0,0,0,100,10,5,50,a/b,free,true,x"
    bad = "gen-3,2026-03-02 00:00:00.001,free,0,0,100,10,5,50,a/b,free,true,x"
    write_lines(tmp_path / "1.csv", OPENROUTER_HEADER, own_key, free)
    write_lines(tmp_path / "2.csv", OPENROUTER_HEADER, free, bad)
    batch = load("openrouter", [tmp_path])
    one, two = batch.calls
    assert (one.recorded_cost_nusd, one.byok_cost_nusd, one.tier) == (10_000_000, 250_000_000, None)
    assert (two.recorded_cost_nusd, two.tier, two.outcome) == (0, "free", "cancelled")
    assert two.at_ms - one.at_ms == 2
    assert [(Path(p.file).name, p.line) for p in batch.problems] == [("2.csv", 3)]
    assert batch.skips["column new_one"] == 2


def usage_page(*results: dict[str, Any]) -> dict[str, Any]:
    bucket = {"start_time": 1_730_419_200, "end_time": 1_730_505_600, "results": list(results)}
    return {"object": "page", "data": [bucket], "has_more": True, "next_page": "p2"}


def test_openai_rows_of_one_bucket_stay_apart_and_fields_may_be_null(tmp_path: Path) -> None:
    rows = [
        {"input_tokens": 10, "output_tokens": 1, "model": None},
        {"input_tokens": 20, "output_tokens": 2, "model": "m", "batch": True},
        {"input_tokens": 30, "output_tokens": 3, "model": "m", "batch": False},
        {"images": 3, "model": "m"},
    ]
    path = tmp_path / "u.json"
    path.write_text(json.dumps([usage_page(*rows)]))
    batch = load("openai", [path])
    assert sorted((c.model or "", c.tier or "") for c in batch.calls) == [
        ("", ""),
        ("m", ""),
        ("m", "batch"),
    ]
    assert batch.skips["rows without tokens"] == 1
    assert batch.skips["pages that say another page follows"] == 1


def test_openai_a_row_of_output_alone_counts_in_both_views(tmp_path: Path) -> None:
    path = tmp_path / "u.json"
    path.write_text(json.dumps(usage_page({"output_tokens": 5, "model": "m"})))
    assert [u.output_tokens for u in usages(load("openai", [path]).calls)] == [5]
    (line,) = importers["openai"].read_invoice(path)
    assert isinstance(line, InvoiceLine)
    assert (line.kind, line.tokens) == ("output", 5)


def test_openai_a_later_export_of_an_unfinished_day_replaces_it(tmp_path: Path) -> None:
    for name, tokens in (("a", 10), ("b", 25)):
        page = usage_page({"input_tokens": tokens, "output_tokens": 0, "model": "m"})
        (tmp_path / f"{name}.json").write_text(json.dumps(page))
    assert [u.input_tokens for u in usages(load("openai", [tmp_path]).calls)] == [25]


def test_openai_costs_in_another_currency_are_refused(tmp_path: Path) -> None:
    amount = {"value": 1.5, "currency": "eur"}
    path = tmp_path / "c.json"
    path.write_text(json.dumps(usage_page({"amount": amount, "line_item": "m, output"})))
    (problem,) = importers["openai"].read_invoice(path)
    assert isinstance(problem, ImportProblem)
    assert "US dollars" in problem.reason


@pytest.mark.parametrize("tool", ["openai", "anthropic"])
@pytest.mark.parametrize(
    "text", ["{}", "[]", '{"data": [{}]}', '{"data": [{"results": [{}]}]}', "{", "7"]
)
def test_reports_of_another_shape_give_nothing_and_do_not_fail(
    tmp_path: Path, tool: str, text: str
) -> None:
    path = tmp_path / "r.json"
    path.write_text(text)
    batch = load(tool, [path])
    assert batch.calls == []
    assert len(batch.problems) + batch.skips["rows without tokens"] == 1


@pytest.mark.parametrize("tool", ["openai", "anthropic"])
def test_a_csv_of_another_kind_is_refused_once(tmp_path: Path, tool: str) -> None:
    path = write_lines(tmp_path / "x.csv", "a,b", "1,2", "3,4")
    calls, problems = read(tool, path)
    assert calls == []
    assert [(p.line, "not one of" in p.reason) for p in problems] == [(1, True)]


# ---- any CSV


def generic(path: Path, *lines: str, mapping: dict[str, str] | None = None) -> Any:
    write_lines(path, *lines)
    return load("csv", [path], mapping=mapping)


def test_csv_columns_by_their_usual_names(tmp_path: Path) -> None:
    batch = generic(
        tmp_path / "u.csv",
        "Timestamp,Model,Prompt Tokens,completion_tokens,cached-tokens,Cost USD,Team",
        "2026-03-01T10:00:00+02:00,openai/gpt-4o,100,10,40,0.125,a",
        "1772355603,gpt-4o,100.0,,,,a",
    )
    one, two = batch.calls if batch.calls[0].line == 2 else reversed(batch.calls)
    assert (one.provider, one.recorded_cost_nusd, one.at_ms) == (
        "openai",
        125_000_000,
        1_772_352_000_000,
    )
    assert (one.usage.cached_tokens, one.usage.input_tokens) == (40, 100)
    assert (two.recorded_cost_nusd, two.provider) == (None, None)
    assert "output_tokens" in two.unstated
    assert batch.skips == {"column Team": 1}


def test_csv_mapping_goes_before_the_usual_names(tmp_path: Path) -> None:
    batch = generic(
        tmp_path / "u.csv",
        "day,model,deployment,fresh,cached_tokens,out,id",
        "2026-03-01,ignored,gpt-4o,60,40,5,r1",
        mapping={"model": "deployment", "input_uncached_tokens": "fresh", "output_tokens": "out"},
    )
    (call,) = batch.calls
    assert (call.model, call.external_id) == ("gpt-4o", "r1")
    assert (call.usage.input_tokens, call.usage.output_tokens) == (100, 5)
    assert batch.skips == {"column model": 1}


@pytest.mark.parametrize(
    ("mapping", "message"),
    [({"colour": "day"}, "no such field"), ({"model": "Deployment"}, "no such column")],
)
def test_csv_mappings_that_do_not_fit(
    tmp_path: Path, mapping: dict[str, str], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        generic(tmp_path / "u.csv", "day,model,out", "2026-03-01,m,5", mapping=mapping)


def test_csv_without_time_or_model_says_how_to_map(tmp_path: Path) -> None:
    batch = generic(tmp_path / "u.csv", "when,what,input_tokens", "2026-03-01,m,5")
    assert batch.calls == []
    assert "--map time=COLUMN, --map model=COLUMN" in batch.problems[0].reason


def test_csv_rows_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    batch = generic(
        tmp_path / "u.csv",
        "time,model,input_tokens,output_tokens,cached_tokens,cost",
        "2026-03-01,m,5,1,,",
        "2026-03-01,m,5,1,900,",
        "2026-03-01,m,,,,",
        "soon,m,5,1,,",
        '2026-03-01,m,"1,000",1,,',
        "2026-03-01,m,,,,0.5",
    )
    assert sorted(call.line for call in batch.calls) == [2, 7]
    assert [p.line for p in batch.problems] == [3, 4, 5, 6]
    assert "input_uncached_tokens" in batch.problems[0].reason


def test_csv_rows_without_id_that_are_equal_count_each_and_once_per_copy(tmp_path: Path) -> None:
    rows = ["time,model,input_tokens", "2026-03-01,m,5", "2026-03-01,m,5"]
    write_lines(tmp_path / "1.csv", *rows)
    write_lines(tmp_path / "2.csv", *rows)
    assert len(load("csv", [tmp_path]).calls) == 2


# ---- recognising invoices


@pytest.mark.parametrize("tool", ["openai", "anthropic", "openrouter", "litellm"])
def test_every_export_is_recognised_and_read(tool: str) -> None:
    for path in sorted((IMPORTS / tool).iterdir()):
        if path.name == "expected.json":
            continue
        assert recognise(path) == tool
        lines = list(read_invoice(path))
        assert lines
        assert all(isinstance(line, InvoiceLine) for line in lines)


def test_other_files_as_invoices(tmp_path: Path) -> None:
    table = write_lines(tmp_path / "u.csv", "date,model,input_tokens,cost", "2026-03-01,m,5,0.5")
    assert recognise(table) == "csv"
    assert [
        (ln.kind, ln.tokens, ln.cost_nusd)
        for ln in read_invoice(table)
        if isinstance(ln, InvoiceLine)
    ] == [("input", 5, None), ("total", None, 500_000_000)]
    other = write_lines(tmp_path / "x.json", {"hello": 1})
    with pytest.raises(UsageError, match="no report that omni knows"):
        list(read_invoice(other))
    with pytest.raises(UsageError, match="no such source"):
        list(read_invoice(other, "azure"))


def test_models_of_an_invoice_in_the_catalogues_words() -> None:
    known = {"Claude Opus 4.5": "anthropic/claude-opus-4-5"}
    line = InvoiceLine("2026-03-01", "Claude Opus 4.5", "input", cost_nusd=1)
    unknown = InvoiceLine("2026-03-01", "Claude Opus 9", "input", cost_nusd=1)
    unnamed = InvoiceLine("2026-03-01", None, "web_search", cost_nusd=1)
    found = [resolved(ln, lambda _, name: known.get(name)) for ln in (line, unknown, unnamed)]
    assert [ln.model for ln in found] == ["anthropic/claude-opus-4-5", "Claude Opus 9", None]


@pytest.mark.parametrize(
    ("text", "rounding"), [("1.50", 5_000_000), ("0.8958740000000000", 0), ("2", 0)]
)
def test_money_printed_in_cents_may_be_rounded(tmp_path: Path, text: str, rounding: int) -> None:
    header = "usage_date_utc,model,token_type,cost_usd"
    path = write_lines(tmp_path / "c.csv", header, f"2026-03-15,m,output,{text}")
    (line,) = importers["anthropic"].read_invoice(path)
    assert isinstance(line, InvoiceLine)
    assert line.rounding_nusd == rounding
