"""omni usage, costs, savings, export and db, as they are typed (C2, C4, C5, C8)."""

import csv
import json
import os
import sqlite3
import stat
import subprocess
import sys
import threading
from decimal import Decimal
from io import StringIO
from pathlib import Path

import pytest

from omni_cli.bootstrap import App
from omni_cli.config import paths
from omni_cli.domain.chat import Usage
from omni_cli.domain.ids import make_id
from omni_cli.domain.ledger import AttemptEnd, NewAttempt, NewRequest, RequestEnd
from omni_cli.store import maintenance
from omni_cli.store.connection import SqliteStore
from tests.beginning import begin
from tests.engine import on_a_file
from tests.integration.cli.conftest import Omni
from tests.integration.cli.money import checked
from tests.paths import REPO

DAY_MS = 86_400_000
PREMIUM = "anthropic/claude-opus-4-20250514"


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")


def spend(
    app: App,
    cost: int | None,
    *,
    days_ago: int = 0,
    model: str = "openai/gpt-4o",
    role: str = "",
    premium: int | None = None,
    seed: int = 0,
) -> None:
    """One answered request of the past."""
    at = app.now_ms() - days_ago * DAY_MS
    request, provider = make_id(at, seed), model.partition("/")[0]
    ledger = app.ledger
    ledger.open(
        NewRequest(
            request, at, "chat", ledger.owner, role=role, agent='a "quoted", name', task="coding"
        ),
        None,
    )
    begin(ledger, NewAttempt(request, 1, model, provider, at, 100, reserve_nusd=cost or 0))
    ledger.end_attempt(
        request,
        1,
        AttemptEnd(
            "ok",
            at + 900,
            Usage(input_tokens=100, output_tokens=40),
            cost_nusd=cost,
            input_cost_nusd=None if cost is None else cost // 4,
        ),
        priced="unknown" if cost is None else "priced",
    )
    ledger.end_request(
        request,
        RequestEnd(
            "ok", at + 900, model, provider, PREMIUM if premium else None, premium, 900, 100, "stop"
        ),
    )


@pytest.fixture
def spent(home: Path) -> Path:
    """Three requests now, of which one has no price, and two of earlier."""
    with App({"OMNI_HOME": str(home), "TZ": "UTC"}, durable=False) as app:
        spend(app, 12_470_000_000, premium=57_670_000_000, role="coder", seed=1)
        spend(app, 1_500, model="groq/llama", seed=2)
        spend(app, None, model="own/unpriced", seed=3)
        spend(app, 2_000_000_000, days_ago=1, seed=4)
        spend(app, 4_000_000_000, days_ago=400, seed=5)
    return home


def test_usage_tables_json_and_csv_agree(omni: Omni, spent: Path) -> None:
    run = checked(omni)
    shown = run("usage")
    assert "openai/gpt-4o" in shown.out
    assert "$12.47" in shown.out
    assert "unknown" in shown.out
    assert "1 call without a known price, in no cost" in shown.err
    data = run("usage", "--json").data
    rows = {row["model"]: row for row in data["rows"]}
    assert rows["openai/gpt-4o"]["cost_usd"] == "12.47"
    assert rows["own/unpriced"]["cost_usd"] is None
    assert data["total"]["cost_usd"] == "12.4700015"
    assert data["total"]["unknown_attempts"] == 1
    assert data["total"]["latency_p50_ms"] == pytest.approx(900, rel=0.1)
    table = list(csv.DictReader(StringIO(run("usage", "--csv").out)))
    assert [row["model"] for row in table] == [*rows]
    assert table[0]["cost_usd"] == "12.47"
    assert [row["cost_usd"] for row in table if row["model"] == "own/unpriced"] == [""]


def test_usage_by_compares_filters_and_charts(omni: Omni, spent: Path) -> None:
    run = checked(omni)
    data = run("usage", "--by", "role", "--compare", "--json").data
    assert data["before"] is not None
    assert data["total"]["before"]["cost_usd"] == "2"
    only = run("usage", "--model", "openai/gpt-4o", "--period", "7d", "--json").data
    assert [row["model"] for row in only["rows"]] == ["openai/gpt-4o"]
    assert only["total"]["calls"] == 2
    assert len(only["days"]) == 7
    chart = run("usage", "--chart", "--period", "7d").out
    assert "tokens a day" in chart
    assert "█" in chart
    assert "░" in chart
    assert "\x1b" not in chart
    assert "change" in run("usage", "--compare").out


@pytest.mark.parametrize(
    "args",
    [("--by", "colour"), ("--period", "fortnight"), ("--json", "--csv"),
     ("--to", "2026-01-01"), ("--from", "2026-02-30")],
)  # fmt: skip
def test_usage_refuses_what_it_does_not_know(omni: Omni, home: Path, args: tuple[str, ...]) -> None:
    assert omni("usage", *args).code == 2


def test_empty_reports_say_so(omni: Omni, home: Path) -> None:
    run = checked(omni)
    assert "nothing was used" in run("usage").err
    assert run("usage", "--json").data["rows"] == []
    assert "$0.00" in run("costs").out
    assert "unknown" in run("savings").out
    assert "premium_model" in run("savings").err
    assert run("savings", "--json").data["saving_usd"] is None
    assert run("export", "ledger").out == ""
    assert "omni_cost_usd_total" in run("export", "metrics").out


def test_a_changed_zone_is_counted_anew_with_progress(omni: Omni, spent: Path) -> None:
    run = checked(omni)
    run("usage")
    run("config", "set", "general.zone", "Asia/Kathmandu")
    first = run("usage", "--period", "30d", "--json")
    assert first.data["zone"] == "Asia/Kathmandu"
    assert "counted 5 of 5 requests" in first.err
    assert run("usage", "--period", "30d", "--json").err == ""
    assert run("db", "check", "--json").data["sound"] is True


def test_reports_settle_what_a_dead_process_left(omni: Omni, spent: Path) -> None:
    with App({"OMNI_HOME": str(spent), "TZ": "UTC"}, durable=False) as app:
        at, ledger = app.now_ms(), app.ledger
        ledger.open(NewRequest(7, at, "chat", "1-dead"), None)
        begin(ledger, NewAttempt(7, 1, "openai/gpt-4o", "openai", at, 1000))
    total = checked(omni)("usage", "--json").data["total"]
    assert total["calls"] == 4
    assert total["ok"] == 3
    assert total["input_tokens"] == 1300


def test_costs(omni: Omni, spent: Path) -> None:
    run = checked(omni)
    run("budgets", "set", "all", "500")
    data = run("costs", "--json").data
    assert data["today"]["cost_usd"] == "12.4700015"
    assert data["yesterday"]["cost_usd"] == "2"
    assert len(data["trend"]) == 30
    assert data["projected_month"]["method"]
    (budget,) = data["budgets"]
    spent_share = 100 * Decimal(budget["spent_usd"]) / 500
    assert budget["under_percent"] == pytest.approx(float(100 - spent_share))
    shown = run("costs").out
    assert "% under budget" in shown
    assert "Cost by model" in shown
    assert "Projected" in shown
    assert shown.count("░  $0.00") >= 27


def test_savings(omni: Omni, spent: Path) -> None:
    run = checked(omni)
    data = run("savings", "--period", "today", "--json").data
    # The fleet spec's savingsVsAllSonnet of $45.20 at a cost of $12.47.
    assert data["saving_usd"] == "45.2"
    assert data["baselines"] == [{"model": PREMIUM, "calls": 1, "premium_usd": "57.67"}]
    assert data["uncompared_usd"] == "0.0000015"
    shown = run("savings", "--period", "today", "--days")
    assert "$45.20" in shown.out
    assert PREMIUM in shown.out
    assert "benchmark" in shown.out
    assert "could not be compared" in shown.err


def test_export_ledger_and_usage(omni: Omni, spent: Path, tmp_path: Path) -> None:
    run = checked(omni)
    lines = [json.loads(line) for line in run("export", "ledger").out.splitlines()]
    assert len(lines) == 5
    assert [line["created_at"] for line in lines] == sorted(line["created_at"] for line in lines)
    newest = next(line for line in lines if line["role"] == "coder")
    assert (newest["cost_usd"], newest["savings_usd"]) == ("12.47", "45.2")
    assert newest["attempts"][0]["outcome"] == "ok"
    total = sum(Decimal(line["cost_usd"]) for line in lines if line["cost_usd"] is not None)
    assert total == Decimal("18.4700015")
    target = tmp_path / "ledger.csv"
    run("export", "ledger", "--format", "csv", "-o", str(target))
    table = list(csv.DictReader(StringIO(target.read_text("utf-8"))))
    assert {row["agent"] for row in table} == {'a "quoted", name'}
    assert [row["cost_usd"] for row in table if row["model"] == "own/unpriced"] == [""]
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    usage = [json.loads(line) for line in run("export", "usage").out.splitlines()]
    assert sum(Decimal(row["cost_usd"]) for row in usage if row["cost_usd"]) == total
    today = run("export", "usage", "--from", lines[-1]["created_at"][:10], "--format", "csv").out
    assert len(today.splitlines()) == 1 + 3


def test_export_leaves_no_half_file(omni: Omni, spent: Path, tmp_path: Path) -> None:
    ran = omni("export", "ledger", "-o", str(tmp_path / "nowhere" / "x.jsonl"))
    assert ran.code == 2
    assert "cannot write" in ran.err


def test_metrics_are_prometheus_text(omni: Omni, spent: Path) -> None:
    text = checked(omni)("export", "metrics").out
    samples = {}
    kinds = {}
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            kinds[name] = kind
        elif not line.startswith("#"):
            key, _, value = line.rpartition(" ")
            assert key not in samples
            samples[key] = float(value)
    model = 'gen_ai_provider_name="openai",gen_ai_request_model="openai/gpt-4o"'
    chat = f'gen_ai_operation_name="chat",{model}'
    assert kinds["gen_ai_client_token_usage"] == "histogram"
    assert samples[f'gen_ai_client_token_usage_sum{{{chat},gen_ai_token_type="input"}}'] == 300
    duration = f"gen_ai_client_operation_duration_seconds_bucket{{{chat}"
    assert samples[f'{duration},le="0.512"}}'] == 0
    assert samples[f'{duration},le="1.024"}}'] == 3
    assert samples[f'{duration},le="+Inf"}}'] == 3
    assert samples[f"omni_cost_usd_total{{{model}}}"] == 18.47
    assert 'omni_unpriced_attempts_total{gen_ai_provider_name="own"' in text


# --- db -----------------------------------------------------------------------------------------


@on_a_file
def test_backup_and_restore_bring_back_everything(omni: Omni, spent: Path, tmp_path: Path) -> None:
    run = checked(omni)
    target = tmp_path / "backup.db"
    assert run("db", "backup", str(target), "--json").data["requests"] == 5
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert "exists already" in run("db", "backup", str(target), code=1).err
    with App({"OMNI_HOME": str(spent), "TZ": "UTC"}, durable=False) as app:
        spend(app, 5, seed=9)
    assert len(run("export", "ledger").out.splitlines()) == 6
    ran = run("db", "restore", str(target))
    assert len(run("export", "ledger").out.splitlines()) == 5
    (aside,) = spent.glob("omni.db.before-*")
    assert str(aside) in ran.err
    assert maintenance.inspect_backup(aside).requests == 6
    assert run("audit", "--json").data[0]["action"] == "restore"
    assert run("db", "check", "--json").data["sound"] is True


@on_a_file
def test_restore_refuses_what_is_not_sound(omni: Omni, spent: Path, tmp_path: Path) -> None:
    run = checked(omni)
    target = tmp_path / "backup.db"
    run("db", "backup", str(target))
    whole = target.read_bytes()
    cut = tmp_path / "cut.db"
    cut.write_bytes(whole[: len(whole) // 2])
    text = tmp_path / "text.db"
    text.write_text("not a store, though it is longer than a header of a hundred bytes" * 3)
    newer = tmp_path / "newer.db"
    newer.write_bytes(whole)
    with sqlite3.connect(newer) as db:
        db.execute("PRAGMA user_version = 999")
    empty = tmp_path / "empty.db"
    sqlite3.connect(empty).execute("CREATE TABLE t (x)").connection.close()
    for bad in (cut, text, newer, empty, tmp_path / "missing.db"):
        ran = run("db", "restore", str(bad), code=1)
        assert ran.err.startswith("error:")
    assert "newer omni" in run("db", "restore", str(newer), code=1).err
    assert len(run("export", "ledger").out.splitlines()) == 5
    assert not list(spent.glob("omni.db.before-*"))


@on_a_file
def test_restore_refuses_while_another_omni_is_open(
    omni: Omni, spent: Path, tmp_path: Path
) -> None:
    run = checked(omni)
    target = tmp_path / "backup.db"
    run("db", "backup", str(target))
    with App({"OMNI_HOME": str(spent), "TZ": "UTC"}, durable=False) as app:
        spend(app, 5, seed=9)
        assert "another omni" in run("db", "restore", str(target), code=1).err
        run("db", "restore", str(target), "--force")
        # The open one sees the restored store, and can go on writing to it.
        assert app.reports.totals(0, 99_999_999)[()].calls == 5
        spend(app, 7, seed=10)
    assert len(run("export", "ledger").out.splitlines()) == 6
    assert run("db", "check", "--json").data["sound"] is True


@on_a_file
def test_restore_replaces_a_damaged_store(omni: Omni, spent: Path, tmp_path: Path) -> None:
    run = checked(omni)
    target = tmp_path / "backup.db"
    run("db", "backup", str(target))
    live = spent / "omni.db"
    live.write_bytes(b"this is no database any more" * 1000)
    ran = run("db", "restore", str(target))
    assert len(run("export", "ledger").out.splitlines()) == 5
    (aside,) = spent.glob("omni.db.before-*")
    assert aside.read_bytes().startswith(b"this is no database")
    assert str(aside) in ran.err


def test_a_backup_is_whole_while_others_write(spent: Path, tmp_path: Path) -> None:
    stop = threading.Event()

    def write() -> None:
        with App({"OMNI_HOME": str(spent), "TZ": "UTC"}, durable=False) as app:
            seed = 100
            while not stop.is_set():
                spend(app, 11, seed=seed, premium=12)
                seed += 1

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for n in range(5):
            target = tmp_path / f"{n}.db"
            maintenance.backup(paths({"OMNI_HOME": str(spent)}).store, target, overwrite=False)
            with App({"OMNI_HOME": str(spent), "TZ": "UTC"}) as app:
                copy = SqliteStore(target, durable=False)
                found = type(app.rebuild)(copy).check()
                copy.close()
            # A request may have been copied between its attempt's end and its own; each is one
            # transaction, so its sums are in both.
            assert found.sound, found
    finally:
        stop.set()
        thread.join()


def test_prune_keeps_the_reports(omni: Omni, spent: Path) -> None:
    run = checked(omni)
    before = run("usage", "--period", "999d", "--json").data["total"]["cost_usd"]
    assert run("db", "prune", "--keep", "365d", "--dry-run", "--json").data["requests"] == 1
    assert run("db", "prune", "--keep", "365d", "--json").data["requests"] == 1
    assert len(run("export", "ledger").out.splitlines()) == 4
    assert run("usage", "--period", "999d", "--json").data["total"]["cost_usd"] == before
    checked_after = run("db", "check", "--json").data
    assert checked_after["sound"] is True
    assert checked_after["archived_usd"] == "4"
    run("db", "rebuild")
    assert run("usage", "--period", "999d", "--json").data["total"]["cost_usd"] == before
    assert run("db", "prune", "--keep", "5d", code=2).err.count("63d")
    assert run("db", "prune", "--keep", "soon", code=2)
    assert run("audit", "--json").data[0]["action"] == "prune"


@on_a_file
def test_check_finds_and_rebuild_mends_a_wrong_report(omni: Omni, spent: Path) -> None:
    run = checked(omni)
    with sqlite3.connect(spent / "omni.db") as db:
        db.execute("UPDATE rollup_day SET cost_nusd = cost_nusd + 1 WHERE model = 'groq/llama'")
    ran = run("db", "check", code=1)
    assert "they differ" in ran.out
    assert "omni db rebuild" in ran.err
    run("db", "rebuild")
    assert "all agree" in run("db", "check").out


def test_stats_and_vacuum(omni: Omni, spent: Path) -> None:
    run = checked(omni)
    data = run("db", "stats", "--json").data
    assert data["rows"]["requests"] == 5
    assert data["bytes_per_request"] > 0
    assert "requests  5" in run("db", "stats").out
    assert "after" in run("db", "vacuum").out


def test_reports_import_nothing_heavy(home: Path) -> None:
    """A report is read many times a day: no plotext, rich, httpx or pydantic for a table."""
    for args in (["usage", "--json"], ["costs", "--json"], ["savings", "--json"]):
        code = (
            "import sys\nfrom omni_cli.cli.app import main\n"
            f"sys.argv = ['omni', *{args!r}]\n"
            "try:\n    main()\nexcept SystemExit as left:\n    assert not left.code, left.code\n"
            "heavy = {'plotext', 'rich', 'httpx', 'pydantic', 'sqlite_utils', 'textual',"
            " 'genai_prices'} & set(sys.modules)\n"
            "assert not heavy, heavy\n"
        )
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "OMNI_HOME": str(home), "PYTHONPATH": str(REPO)},
            check=True,
            capture_output=True,
        )
