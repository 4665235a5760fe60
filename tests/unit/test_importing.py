"""C7: what an imported call costs and counts as, whatever its source leaves open."""

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from omni_cli.bootstrap import App
from omni_cli.domain.budgets import Budget
from omni_cli.domain.chat import Usage
from omni_cli.domain.imports import ImportedCall
from omni_cli.domain.models import ModelInfo, Provider
from omni_cli.domain.prices import Price, Rate, Tier
from omni_cli.domain.record import replace
from omni_cli.services.money import importing as module
from omni_cli.services.money.importing import Totals
from omni_cli.services.money.prices import by_sums, month_start, sum_cost_or_none
from omni_cli.store.rebuild import RollupRebuild

pytestmark = pytest.mark.usefixtures("engine")

NOW = 1_790_000_000_000  # 2026-09-21 UTC
DAY = 86_400_000
USAGE = Usage(input_tokens=1_000, output_tokens=100)


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[App]:
    monkeypatch.setattr(App, "_seed", lambda _self, store: store.set_meta("zone", "UTC"))
    with App({"OMNI_HOME": str(tmp_path)}, clock=lambda: NOW / 1000, cwd=tmp_path) as omni:
        omni.providers.put(Provider("p", "P", "openai", "http://127.0.0.1:9/v1", "none"))
        for name in ("m", "n"):
            omni.models.put(ModelInfo(f"p/{name}", "p", name, name), now_ms=NOW)
        omni.models.set_price("p/m", rates("1", "2"), origin="catalogue", now_ms=NOW)
        yield omni


def rates(rate_in: str, rate_out: str, **terms: object) -> Price:
    return Price("priced", Rate(Decimal(rate_in)), output=Rate(Decimal(rate_out)), **terms)


def call(n: int = 1, /, **fields: object) -> ImportedCall:
    base = ImportedCall("tool", f"id-{n}", NOW + n, "p", "m", USAGE, agent="tool:sub")
    return replace(base, **fields)


def priced(app: App, one: ImportedCall, **options: bool) -> tuple[str, int | None, bool]:
    (row,) = app.importing.plan("tool", [one], **options).new
    return row.price_state, row.cost_nusd, row.estimated


@pytest.mark.parametrize(
    ("fields", "state", "cost", "estimated"),
    [
        ({}, "priced", 1_200_000, False),
        ({"recorded_cost_nusd": 5}, "priced", 1_200_000, False),
        ({"model": "p/m", "provider": None}, "priced", 1_200_000, False),
        ({"model": "alias", "served_model": "m"}, "priced", 1_200_000, False),
        ({"model": "n"}, "unknown", None, False),
        ({"model": "nobody's"}, "unknown", None, False),
        ({"model": None, "provider": None}, "unknown", None, False),
        ({"model": "n", "recorded_cost_nusd": 5}, "unknown", None, False),
        ({"usage": None}, "unknown", None, False),
        ({"usage": None, "recorded_cost_nusd": 5}, "priced", 5, False),
        ({"cache_hit": True}, "free", 0, False),
        ({"tier": "free"}, "free", 0, False),
        ({"tier": "batch"}, "priced", 1_200_000, True),
        ({"web_searches": 2}, "priced", 1_200_000, True),
        ({"unstated": frozenset({"output_tokens"})}, "priced", 1_200_000, True),
        ({"unstated": frozenset({"cached_tokens"})}, "priced", 1_200_000, False),
        ({"requests": 7}, "priced", 1_200_000, False),
        ({"requests": None}, "priced", 1_200_000, False),
    ],
)
def test_what_a_call_costs(
    app: App, fields: dict[str, object], state: str, cost: int | None, estimated: bool
) -> None:
    assert priced(app, call(**fields)) == (state, cost, estimated)


def test_recorded_costs_count_where_asked_and_nothing_else_is_known(app: App) -> None:
    known, unknown = call(recorded_cost_nusd=5), call(model="n", recorded_cost_nusd=5)
    assert priced(app, known, trust_recorded=True) == ("priced", 1_200_000, False)
    assert priced(app, unknown, trust_recorded=True) == ("priced", 5, False)


def test_the_price_of_the_calls_own_day_counts(app: App) -> None:
    app.models.set_price(
        "p/m", rates("3", "3", effective_from="2026-09-01"), origin="catalogue", now_ms=NOW
    )
    before = call(at_ms=NOW - 60 * DAY)
    assert (priced(app, before)[1], priced(app, call())[1]) == (1_200_000, 3_300_000)


def test_sums_of_calls_are_priced_by_base_rates() -> None:
    tiered = Price(
        "priced",
        Rate(Decimal(1), (Tier(500, Decimal(9)),)),
        output=Rate(Decimal(2)),
        per_request_usd=Decimal("0.001"),
        minimum_usd=Decimal(5),
    )
    assert sum_cost_or_none(USAGE, tiered, 4) == 1_200_000 + 4 * 1_000_000
    assert by_sums(tiered)
    assert not by_sums(rates("1", "2", per_request_usd=Decimal(1)))
    assert sum_cost_or_none(USAGE, Price("free"), 4) == 0
    assert sum_cost_or_none(USAGE, Price("unknown"), 4) is None


def test_a_stopped_import_goes_on_where_it_stopped(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BATCH", 2)
    calls = [call(n) for n in range(7)]
    plan = app.importing.plan("tool", calls)

    def stop(done: int, whole: int) -> None:
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        app.importing.apply(plan, stop)
    assert money(app) == 4 * 1_200_000
    rest = app.importing.plan("tool", calls)
    assert (len(rest.new), rest.known) == (3, 4)
    assert app.importing.apply(rest) == (3, 0)
    assert money(app) == 7 * 1_200_000


def test_two_imports_at_once_add_each_call_once(app: App) -> None:
    calls = [call(n) for n in range(5)]
    first, second = (app.importing.plan("tool", calls) for _ in range(2))
    assert len(second.new) == 5
    assert app.importing.apply(first) == (5, 0)
    assert app.importing.apply(second) == (0, 0)
    assert money(app) == 5 * 1_200_000


def money(app: App) -> int:
    db = app.store.db
    (ledger,) = db.execute("SELECT sum(cost_nusd + adjusted_nusd) FROM requests").fetchone()
    (rollup,) = db.execute("SELECT sum(cost_nusd) FROM rollup_day").fetchone()
    assert ledger == rollup
    return int(ledger)


def test_many_calls_of_one_instant_keep_apart(app: App) -> None:
    calls = [call(n, at_ms=NOW) for n in range(1_500)]
    assert app.importing.apply(app.importing.plan("tool", calls)) == (1_500, 0)
    assert money(app) == 1_500 * 1_200_000


def test_a_days_sum_falls_on_its_day_east_and_west(app: App) -> None:
    midnight = NOW // DAY * DAY
    app.importing.apply(app.importing.plan("tool", [call(at_ms=midnight, span_ms=DAY)]))
    (row,) = app.ledger.recent(limit=1)
    assert row.created_at == midnight + DAY // 2


def test_imports_do_not_teach_the_router(app: App) -> None:
    app.importing.apply(app.importing.plan("tool", [call(latency_ms=9)]))
    assert app.learning.stats() == {}
    (row,) = app.ledger.recent(limit=1)
    assert (row.agent, row.source, row.latency_ms, row.state) == ("tool:sub", "import", 9, "ok")
    assert row.premium_cost_nusd is None


def test_outcomes_are_kept(app: App) -> None:
    calls = [call(1, outcome="failure"), call(2, outcome="cancelled"), call(3, outcome="success")]
    app.importing.apply(app.importing.plan("tool", calls))
    assert [r.state for r in app.ledger.recent(limit=9)] == ["ok", "cancelled", "failed"]


def test_imported_calls_are_counted_as_the_ledgers_rows_say(app: App) -> None:
    calls = [
        call(1, latency_ms=9, session_id="s", project="shop"),
        call(2, latency_ms=40, outcome="failure"),
        call(3, outcome="cancelled", at_ms=NOW + DAY),
        call(4, model="nobody's", session_id="s"),
        call(5, usage=None, recorded_cost_nusd=7),
        call(6, cache_hit=True, requests=3, span_ms=DAY),
        call(7, tier="batch", unstated=frozenset({"output_tokens"})),
    ]
    app.importing.apply(app.importing.plan("tool", calls[:4]))
    app.importing.apply(app.importing.plan("tool", calls))
    assert len(list(app.ledger.recent(limit=99))) == len(calls)
    assert RollupRebuild(app.store).check().sound


def test_growth_moves_budgets_by_the_difference(app: App) -> None:
    budget = Budget(0, "agent", "tool:sub", "month", 10**9)
    budget = replace(budget, id=app.budgets.put(budget))
    app.importing.apply(app.importing.plan("tool", [call()]))
    assert app.budgets.status(budget, NOW).spent_nusd == 1_200_000
    more = call(usage=Usage(input_tokens=3_000, output_tokens=100))
    plan = app.importing.plan("tool", [more])
    assert (len(plan.new), len(plan.grown), plan.known) == (0, 1, 0)
    assert app.importing.apply(plan) == (0, 1)
    assert app.budgets.status(budget, NOW).spent_nusd == 3_200_000
    assert money(app) == 3_200_000
    # Fewer tokens are an older state: they change nothing.
    assert app.importing.plan("tool", [call()]).grown == []


def test_a_row_that_retention_removed_does_not_come_back(app: App) -> None:
    app.importing.apply(app.importing.plan("tool", [call()]))
    with app.store.transaction() as db:
        db.execute("DELETE FROM requests")
    plan = app.importing.plan("tool", [call()])
    assert (plan.new, plan.grown, plan.known) == ([], [], 1)


def test_a_free_allowance_counts_calls_of_the_month(app: App) -> None:
    app.models.set_price(
        "p/m", rates("1", "2", free_requests_per_month=2), origin="catalogue", now_ms=NOW
    )
    month = month_start(NOW)
    calls = [call(n, at_ms=month + n) for n in range(3)]
    calls += [call(9, at_ms=month + 40 * DAY)]
    first = app.importing.plan("tool", calls[:1])
    app.importing.apply(first)
    costs = [row.cost_nusd for row in app.importing.plan("tool", calls).new]
    assert costs == [0, 1_200_000, 0]


def test_totals_say_unknown_apart() -> None:
    assert Totals().document()["cost_usd"] == "0"  # of no calls nothing is unknown
    assert Totals(rows=2, unknown=2).document()["cost_usd"] is None
    assert Totals(rows=2, unknown=1, cost_nusd=5 * 10**8).document()["cost_usd"] == "0.5"
    assert month_start(0) == 0
    assert month_start(NOW) == 1_788_220_800_000


def test_usage_of_a_closed_period_lowers_what_it_left(app: App) -> None:
    now = app.now_ms()
    app.budgets.put(Budget(0, "all", "", "day", 10**12, rollover=True))
    (budget,) = app.budgets.all()
    before = app.budgets.status(budget, now).carried_nusd
    app.importing.apply(app.importing.plan("tool", [call(at_ms=now - DAY)]))
    spent = app.budgets.status(budget, now - DAY).spent_nusd
    assert spent > 0
    assert app.budgets.status(budget, now).carried_nusd == before - spent
