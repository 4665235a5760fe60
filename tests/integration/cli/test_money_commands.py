"""C1, C6, C7 from the command line: calc, reprice, reconcile, and what receipts say of them."""

import json
import re
import shlex
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from omni_cli.bootstrap import App
from omni_cli.domain.ids import id_text
from omni_cli.domain.tokens import estimate_tokens
from omni_cli.simulator import Simulator
from tests.integration.cli.conftest import Omni, Ran
from tests.integration.cli.money import Run, checked, ledger_sums, rollup_sums
from tests.unit.importers.support import IMPORTS

HEAD = "time,model,provider,input_tokens,output_tokens,cost_usd,id"


@pytest.fixture
def run(omni: Omni, home: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.setenv("HOME", str(home))
    return checked(omni)


@pytest.fixture
def store(home: Path, run: Run) -> Iterator[App]:
    with App({"OMNI_HOME": str(home), "TZ": "UTC"}) as app:
        yield app


def sheet(folder: Path, *rows: str, name: str = "usage.csv") -> str:
    path = folder / name
    path.write_text("\n".join((HEAD, *rows)) + "\n", "utf-8")
    return str(path)


# ---- calc


def test_calc_over_all_priced_models(run: Run) -> None:
    ran = run("calc", "--in", "1000", "--out", "500", "--requests", "3", "--json").data
    costs = [Decimal(line["request_usd"]) for line in ran["models"] if line["fits_context"]]
    assert costs == sorted(costs)
    assert len(costs) > 500
    by_name = {line["model"]: line for line in ran["models"]}
    # 1,000 x 2.50 + 500 x 10 dollars per million
    assert by_name["openai/gpt-4o"]["request_usd"] == "0.0075"
    assert by_name["openai/gpt-4o"]["total_usd"] == "0.0225"
    assert by_name["openai/gpt-4o"]["month_usd"] is None
    assert ran["counted_by"] == "given"
    assert ran["margin_percent"] is None


def test_calc_prices_the_users_own_fleet_first(run: Run) -> None:
    where = ("--protocol", "openai", "--base-url", "http://127.0.0.1:9/v1", "--no-auth")
    run("providers", "add", "own", *where)
    run("models", "add", "own/gpt-4o", "--price-in", "100", "--price-out", "200")
    run("models", "add", "own/llama", "--free")
    shown = run("calc", "--in", "1000", "--out", "5")
    assert [line.split()[0] for line in shown.out.splitlines()[2:]] == ["own/gpt-4o"]
    assert "own/llama is free" in shown.err
    assert "--all has the catalogue's" in shown.err
    every = run("calc", "--in", "1000", "--all", "--limit", "0", "--json").data["models"]
    names = {line["model"] for line in every}
    assert {"own/gpt-4o", "openai/gpt-5.5"} < names
    # Neither guards, embedders and readers of pictures nor batches, nor what is gone.
    odd = re.compile(r":batch$|guard|embed|ocr|whisper|claude-3-5-haiku")
    assert not [name for name in names if odd.search(name)]


def test_calc_counts_text_files_and_stdin(run: Run, tmp_path: Path) -> None:
    text = "Summarise the attached report in three short sentences."
    tokens = estimate_tokens(text)
    file = tmp_path / "prompt.txt"
    file.write_text(text)
    for args, stdin in (((text,), ""), (("-f", str(file)), ""), (("-",), text), ((), text)):
        found = run("calc", *args, "-m", "gpt-4o", "--json", stdin=stdin).data
        assert (found["input_tokens"], found["counted_by"], found["margin_percent"]) == (
            tokens,
            "estimate",
            20,
        )
        assert not found["models"][0]["exact_tokens"]
    shown = run("calc", text, "-m", "gpt-4o")
    assert "half of the estimates were within 8% and all within 20%" in shown.err
    assert "input only" in shown.err


def test_calc_with_a_price_of_ones_own_caching_and_a_month(run: Run) -> None:
    args = ("--in", "10000", "--cached", "8000", "--out", "100", "--per-month", "1000")
    found = run(
        "calc", *args, "-m", "claude-sonnet-4-5", "--custom", "in=1,out=2,cached=0.1", "--json"
    ).data["models"]
    assert [(line["model"], line["request_usd"]) for line in found] == [
        ("custom", "0.003"),
        ("anthropic/claude-sonnet-4-5", "0.0099"),
    ]
    assert [line["request_without_cache_usd"] for line in found] == ["0.0102", "0.0315"]
    assert [line["month_usd"] for line in found] == ["3", "9.9"]
    shown = run("calc", *args, "-m", "claude-sonnet-4-5").out
    assert re.search(r"claude-sonnet-4-5 +\$0\.0099 +\$0\.032 +\$9\.90", shown)


def test_calc_shows_few_lines_and_says_how_many_more(run: Run) -> None:
    shown = run("calc", "--in", "10", "--custom", "in=9999,out=1", "-n", "3")
    assert len(shown.out.splitlines()) == 2 + 3 + 1
    assert "custom" in shown.out
    assert re.search(r"and \d,?\d+ dearer ones; --limit 0 shows all", shown.err)


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        ((), 2, "nothing to count"),
        (("x", "--in", "5"), 2, "not both"),
        (("--in", "5", "--cached", "6"), 2, "part of the input"),
        (("--in", "5", "--custom", "in=1"), 2, "out="),
        (("-f", "nowhere.txt"), 2, "cannot read"),
        (("--in", "5", "-m", "nobody"), 1, "nobody"),
    ],
)
def test_calc_refuses_nonsense(run: Run, args: tuple[str, ...], code: int, words: str) -> None:
    assert words in run("calc", *args, code=code).err


def test_calc_does_not_guess_an_unknown_price(run: Run, sim: Simulator) -> None:
    run("providers", "add", "house", "--protocol", "openai", "--base-url", sim.url, "--no-auth")
    run("models", "add", "house/secret")
    refused = run("calc", "--in", "5", "-m", "house/secret", code=6)
    assert "omni models price house/secret --price-in USD --price-out USD" in refused.err


# ---- reprice


def test_reprice_shows_first_and_applies_with_a_reason(
    run: Run, store: App, tmp_path: Path
) -> None:
    path = sheet(tmp_path, "2026-03-01T10:00:00Z,gpt-4o,openai,1000,100,,a")
    run("import", "csv", path, "--yes")
    args = ("reprice", "--model", "gpt-4o", "--price-in", "5", "--price-out", "10")
    shown = run(*args)
    assert re.search(r"openai/gpt-4o +1 +0 +\$0.0035 +\$0.006 +\$0.0025 +0", shown.out)
    assert "nothing was written; --apply writes it" in shown.err
    assert ledger_sums(store)[-1] == 3_500_000
    applied = run(*args, "--reason", "they charged the old rate", "--apply", "--json").data
    assert (applied["changed"], applied["delta_usd"], applied["applied"]) == (1, "0.0025", True)
    assert ledger_sums(store)[-1] == rollup_sums(store)[-1] == 6_000_000
    receipt = run("why", "last")
    assert "corrected by $0.0025" in receipt.out
    assert "by tester: they charged the old rate" in receipt.out
    document = run("why", "last", "--json").data
    assert document["cost_usd"] == "0.006"
    assert document["attempts"][0]["cost_usd"] == "0.0035"
    assert document["corrections"][0]["delta_usd"] == "0.0025"
    assert "none differs" in run(*args, "--apply").out
    # And back to the price list, by day.
    late = ("reprice", "--current", "--from", "2026-03-02", "--apply", "--json")
    assert run(*late).data["looked_at"] == 0
    day = ("--from", "2026-03-01", "--to", "2026-03-02")
    assert run("reprice", "--current", *day, "--apply", "--json").data["delta_usd"] == "-0.0025"
    assert ledger_sums(store)[-1] == rollup_sums(store)[-1] == 3_500_000


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ((), "say what the right price is"),
        (("--current", "--price-in", "1"), "say what the right price is"),
        (("--price-in", "1", "--price-out", "1"), "a price needs --model"),
        (("--model", "gpt-4o", "--price-in", "1"), "both --price-in and --price-out"),
        (("--request", "last"), "--cost"),
        (("--current", "--from", "2026-03-02", "--to", "2026-03-02"), "range is empty"),
    ],
)
def test_reprice_refuses_nonsense(run: Run, args: tuple[str, ...], words: str) -> None:
    assert words in run("reprice", *args, code=2).err


# ---- reconcile


def test_an_export_agrees_once_it_is_imported(run: Run) -> None:
    path = str(IMPORTS / "litellm" / "spend_logs.json")
    before = run("reconcile", path, "--check", code=7)
    assert "calls that did not go through omni" in before.out
    hint = re.search(r"  (omni import litellm .*)", before.out)
    assert hint is not None
    run(*shlex.split(hint[1])[1:], "--yes")
    assert "the ledger agrees" in run("reconcile", path, "--check").out
    assert run("reconcile", path, "--json").data["agrees"]
    assert not run("reconcile", path, "--no-imports", "--json").data["agrees"]


def advice(ran: Ran) -> list[str]:
    return [item["command"] for item in ran.data["advice"] if item["command"]]


def test_one_estimated_call_is_corrected_by_the_command_that_is_named(
    run: Run, store: App, tmp_path: Path
) -> None:
    ours = sheet(
        tmp_path,
        "2026-03-01T10:00:00Z,gpt-4o,openai,1000,100,,a",
        "2026-03-01T11:00:00Z,gpt-4o,openai,1000,0,,b",
    )
    run("import", "csv", ours, "--yes")
    # The second broke off: its output was estimated at nothing.
    with store.store.transaction() as db:
        for table in ("attempts", "requests"):
            db.execute(f"UPDATE {table} SET estimated = 1 WHERE output_tokens = 0")
    bill = sheet(tmp_path, "2026-03-01,gpt-4o,openai,2000,500,,x", name="bill.csv")
    (command,) = advice(run("reconcile", bill, "--json"))
    # 1,000 x 2.50 + 400 x 10 dollars per million
    assert re.fullmatch(
        r"omni reprice --request \w{13} --attempt 1 --cost 0\.0065 --reason bill\.csv --apply",
        command,
    )
    run(*shlex.split(command)[1:])
    assert ledger_sums(store)[-1] == rollup_sums(store)[-1] == 3_500_000 + 6_500_000
    # An invoice in money decides by the money.
    money = sheet(tmp_path, "2026-03-01,gpt-4o,openai,,,0.02,x", name="money.csv")
    (command,) = advice(run("reconcile", money, "--json"))
    assert "--cost 0.0165" in command
    run(*shlex.split(command)[1:])
    assert "the ledger agrees" in run("reconcile", money).out


def test_tokens_that_agree_at_another_price_point_to_reprice(
    run: Run, store: App, tmp_path: Path
) -> None:
    row = "2026-03-01T10:00:00Z,gpt-4o,openai,1000,100,{},a"
    run("import", "csv", sheet(tmp_path, row.format("")), "--yes")
    run("reprice", "--request", "last", "--cost", "9", "--apply")
    bill = sheet(tmp_path, row.format("0.0035"), name="bill.csv")
    ran = run("reconcile", bill, "--json")
    (drift,) = ran.data["drifts"]
    assert (drift["measure"], drift["kind"], drift["difference"]) == ("cost", "total", "8.9965")
    (command,) = advice(ran)
    run(*shlex.split(command)[1:], "--apply")
    assert "the ledger agrees" in run("reconcile", bill).out


def test_display_names_on_invoices_find_the_model(run: Run) -> None:
    ran = run("reconcile", str(IMPORTS / "anthropic" / "claude_api_cost_2026_03.csv"), "--json")
    assert {drift["model"] for drift in ran.data["drifts"]} == {None, "anthropic/claude-opus-4-5"}


def test_what_providers_reported_against_ours(run: Run, tmp_path: Path) -> None:
    path = sheet(
        tmp_path,
        "2026-03-01T10:00:00Z,gpt-4o,openai,1000,100,0.004,a",
        "2026-03-01T11:00:00Z,gpt-4o,openai,1000,100,0.0035,b",
        "2026-03-01T12:00:00Z,house-7b,openai,1000,100,0.2,c",
    )
    run("import", "csv", path, "--yes")
    rows = {row["model"]: row for row in run("reconcile", "--reported", "--json").data}
    known, unknown = rows["openai/gpt-4o"], rows["house-7b"]
    assert (known["reported_by"], known["calls"], known["differing"]) == ("csv", 2, 1)
    assert (known["ours_usd"], known["theirs_usd"], known["drift_usd"]) == (
        "0.007",
        "0.0075",
        "-0.0005",
    )
    assert (unknown["calls"], unknown["unpriced_theirs_usd"]) == (0, "0.2")
    shown = run("reconcile", "--reported")
    assert f"omni why {known['most_off']}" in shown.out
    assert "reported as $0.004, $0.0005 more than omni's price" in run("why", known["most_off"]).out
    none = run("reconcile", "--reported", "--from", "2026-04-01")
    assert "no call in the ledger has a cost" in none.err
    assert run("reconcile", "--reported", "--check", code=7).out


def test_reconcile_refuses_what_it_cannot_read(run: Run, tmp_path: Path) -> None:
    assert "FILE" in run("reconcile", code=2).err
    assert "there is no" in run("reconcile", str(tmp_path / "x.csv"), code=1).err
    odd = tmp_path / "odd.json"
    odd.write_text(json.dumps({"a": 1}))
    assert "--source openai|anthropic" in run("reconcile", str(odd), code=2).err
    odd.write_text(json.dumps([{"request_id": 1}]))
    assert "no lines to compare" in run("reconcile", str(odd), code=2).err


# ---- the free allowance, on real calls


def test_free_calls_of_a_month_come_first(run: Run, sim: Simulator, store: App) -> None:
    model = "anthropic/claude-sonnet-4-5"
    run("providers", "add", "anthropic", "--base-url", f"{sim.url}/anthropic", "--no-auth")
    run("models", "activate", model)
    run("models", "price", model, "--price-in", "3", "--price-out", "15", "--free-requests", "2")
    for _ in range(3):
        run("chat", "-m", model, "hello")
    costs = [row.total_nusd for row in store.ledger.recent(limit=9)]
    assert costs[1:] == [0, 0]
    assert costs[0]
    newest = next(iter(store.ledger.recent(limit=1)))
    assert "cost" in run("why", id_text(newest.id)).out
