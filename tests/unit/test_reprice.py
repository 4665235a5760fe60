"""C1: corrections beside the ledger: shown first, exact in every sum, written once."""

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from omni_cli.bootstrap import App
from omni_cli.domain.budgets import Budget
from omni_cli.domain.chat import Usage
from omni_cli.domain.errors import NotFound, UsageError
from omni_cli.domain.ids import make_id
from omni_cli.domain.ledger import AttemptEnd, AttemptState, NewAttempt, NewRequest, RequestEnd
from omni_cli.domain.models import ModelInfo, Provider
from omni_cli.domain.prices import Price, Rate
from omni_cli.domain.record import replace
from omni_cli.services.money import reprice as module
from omni_cli.services.money.reprice import Selection
from tests.beginning import begin

pytestmark = pytest.mark.usefixtures("engine")

NOW = 1_790_000_000_000  # 2026-09-21 UTC
MODEL = "p/m"


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[App]:
    # The catalogue is not needed: one model is.
    monkeypatch.setattr(App, "_seed", lambda _self, store: store.set_meta("zone", "Asia/Kathmandu"))
    env = {"OMNI_HOME": str(tmp_path), "OMNI_USER": "tester"}
    with App(env, clock=lambda: NOW / 1000, cwd=tmp_path) as omni:
        omni.providers.put(Provider("p", "P", "openai", "http://127.0.0.1:9/v1", "none"))
        omni.models.put(ModelInfo(MODEL, "p", "m", "M"), now_ms=NOW)
        yield omni


def rates(rate_in: str, rate_out: str, **terms: object) -> Price:
    return Price("priced", Rate(Decimal(rate_in)), output=Rate(Decimal(rate_out)), **terms)


def call(
    app: App,
    n: int,
    *,
    price: int | None,
    costs: tuple[int | None, ...],
    usage: Usage | None = None,
    state: AttemptState = "ok",
    premium: int | None = None,
) -> int:
    """One settled request, an attempt for each cost; returns its id."""
    request = make_id(NOW - n * 60_000, n)
    app.ledger.open(NewRequest(request, NOW - n * 60_000, "chat", app.store.owner, agent="a"), None)
    for index, cost in enumerate(costs, 1):
        begin(
            app.ledger, NewAttempt(request, index, MODEL, "p", NOW, 10, price=price, reserve_nusd=0)
        )
        end = AttemptEnd(state, NOW, usage=usage or Usage(1_000, output_tokens=100), cost_nusd=cost)
        priced = "unknown" if cost is None else "priced"
        app.ledger.end_attempt(request, index, end, priced=priced)
    app.ledger.end_request(
        request,
        RequestEnd(
            "ok" if state == "ok" else "failed",
            NOW,
            MODEL,
            "p",
            premium_model="x",
            premium_cost_nusd=premium,
            latency_ms=5,
        ),
    )
    return request


def sums(app: App) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """(money, unknown, saved) by the ledger and by the rollups."""
    db = app.store.db
    rows = [app.ledger.get(row[0]) for row in db.execute("SELECT id FROM requests")]
    known = [row for row in rows if row is not None]
    ledger = (
        sum((row.total_nusd or 0) for row in known),
        sum(
            attempt.cost_nusd is None
            and not any(a.n == attempt.n for a in app.adjustments.of_request(row.id))
            for row in known
            for attempt in app.ledger.attempts(row.id)
        ),
        sum((row.savings_nusd or 0) for row in known if row.price_state != "unknown"),
    )
    rollups = db.execute(
        "SELECT sum(cost_nusd), sum(unknown_attempts), sum(premium_nusd - compared_nusd)"
        " FROM rollup_day"
    ).fetchone()
    return ledger, tuple(rollups)


def test_a_given_price_is_shown_then_applied_once(app: App) -> None:
    price = app.models.set_price(MODEL, rates("1", "2"), origin="user", now_ms=NOW)
    request = call(app, 1, price=price, costs=(1_200_000,), premium=9_000_000)
    fresh = rates("2", "2")
    shown = app.repricing.run(Selection(MODEL), fresh, apply=False, reason="")
    assert (shown.changed, shown.delta_nusd, shown.applied) == (1, 1_000_000, False)
    assert sums(app)[0] == sums(app)[1] == (1_200_000, 0, 7_800_000)
    applied = app.repricing.run(Selection(MODEL), fresh, apply=True, reason="they were wrong")
    assert (applied.changed, applied.delta_nusd) == (1, 1_000_000)
    assert sums(app)[0] == sums(app)[1] == (2_200_000, 0, 6_800_000)
    again = app.repricing.run(Selection(MODEL), fresh, apply=True, reason="again")
    assert (again.changed, again.delta_nusd) == (0, 0)
    # The attempt stays as it was written; the reason is kept beside it.
    assert app.ledger.attempts(request)[0].cost_nusd == 1_200_000
    (adjustment,) = app.adjustments.of_request(request)
    assert (adjustment.reason, adjustment.who) == ("they were wrong", "tester")
    assert app.audit.entries(limit=1)[0].action == "ledger.reprice"


def test_what_tokens_do_not_show_stays(app: App) -> None:
    """An advisor's part, a sound's length: only the tokens' part is worked out anew."""
    price = app.models.set_price(MODEL, rates("1", "2"), origin="user", now_ms=NOW)
    advised = call(app, 1, price=price, costs=(1_200_000 + 50_000_000,))
    report = app.repricing.run(Selection(MODEL), rates("2", "2"), apply=True, reason="wrong")
    assert (report.changed, report.delta_nusd) == (1, 1_000_000)
    row = app.ledger.get(advised)
    assert row is not None
    assert row.total_nusd == 52_200_000
    assert not app.repricing.run(Selection(MODEL), rates("2", "2"), apply=True, reason="").changed


def test_how_many_units_there_were_is_not_known_afterwards(app: App) -> None:
    """A price by the hour says nothing of a call whose length nobody kept: it is not $0."""
    unpriced = app.models.set_price(MODEL, Price("unknown"), origin="user", now_ms=NOW)
    call(app, 1, price=unpriced, costs=(None,), usage=Usage())
    hours = Price("priced", per_audio_hour_usd=Decimal("0.36"))
    report = app.repricing.run(Selection(MODEL), hours, apply=True, reason="hours", sure=True)
    assert report.changed == 0
    assert report.by_model[MODEL].unknown == 1


def test_the_price_of_a_correction_charges_no_later_call(app: App) -> None:
    app.models.set_price(MODEL, rates("1", "2"), origin="user", now_ms=NOW)
    call(app, 1, price=None, costs=(None,))
    app.repricing.run(Selection(MODEL), rates("7", "7"), apply=True, reason="")
    (row,) = app.models.prices([MODEL])[MODEL]
    assert row.price == replace(rates("1", "2"))


def test_a_later_price_fills_unknown_costs(app: App) -> None:
    request = call(app, 1, price=None, costs=(None, None), premium=9_000_000)
    assert sums(app)[0] == sums(app)[1] == (0, 2, 0)
    stays = app.repricing.run(Selection(), None, apply=True, reason="")
    assert (stays.changed, stays.by_model[MODEL].unknown) == (0, 2)
    app.models.set_price(MODEL, rates("1", "2"), origin="user", now_ms=NOW)
    report = app.repricing.run(Selection(only_unknown=True), None, apply=True, reason="")
    assert report.by_model[MODEL].filled == 2
    row = app.ledger.get(request)
    assert row is not None
    assert (row.price_state, row.total_nusd, row.savings_nusd) == ("priced", 2_400_000, 6_600_000)
    assert sums(app)[0] == sums(app)[1] == (2_400_000, 0, 6_600_000)


def test_a_request_stays_unknown_while_one_of_its_attempts_is(app: App) -> None:
    price = app.models.set_price(MODEL, rates("1", "2"), origin="user", now_ms=NOW)
    request = call(app, 1, price=price, costs=(1_200_000, None))
    charge = app.repricing.charge_of(request, 1)
    app.repricing.set_cost(charge, 5, reason="invoice")
    row = app.ledger.get(request)
    assert row is not None
    assert (row.price_state, row.total_nusd) == ("unknown", 5)
    app.repricing.set_cost(app.repricing.charge_of(request, 2), 7, reason="invoice")
    row = app.ledger.get(request)
    assert row is not None
    assert (row.price_state, row.total_nusd) == ("priced", 12)
    assert sums(app)[0] == sums(app)[1]


def test_budgets_know_of_corrections_open_or_not_yet(app: App) -> None:
    budget = Budget(0, "model", MODEL, "month", 10**9, zone="Asia/Kathmandu")
    early = replace(budget, id=app.budgets.put(budget))
    price = app.models.set_price(MODEL, rates("1", "2"), origin="user", now_ms=NOW)
    call(app, 1, price=price, costs=(1_200_000,))
    assert app.budgets.status(early, NOW).spent_nusd == 1_200_000
    app.repricing.run(Selection(MODEL), rates("2", "2"), apply=True, reason="")
    assert app.budgets.status(early, NOW).spent_nusd == 2_200_000
    late = Budget(0, "agent", "a", "week", 10**9, zone="Asia/Kathmandu")
    late = replace(late, id=app.budgets.put(late))
    assert app.budgets.status(late, NOW).spent_nusd == 2_200_000
    # Downwards too.
    app.repricing.run(Selection(MODEL), rates("0", "0"), apply=True, reason="")
    assert app.budgets.status(early, NOW).spent_nusd == 0


def test_only_the_selected_days_and_what_tokens_decide(app: App) -> None:
    price = app.models.set_price(MODEL, rates("1", "2"), origin="user", now_ms=NOW)
    call(app, 1, price=price, costs=(1_200_000,))
    call(app, 5, price=price, costs=(1_200_000,))
    failed = Usage()
    call(app, 7, price=price, costs=(0,), usage=failed, state="failed")
    start = NOW - 2 * 60_000
    few = app.repricing.run(Selection(MODEL, start, NOW), rates("2", "2"), apply=False, reason="")
    assert (few.seen, few.changed) == (1, 1)
    every = app.repricing.run(
        Selection(MODEL), rates("2", "2", per_request_usd=Decimal(1)), apply=False, reason=""
    )
    assert (every.seen, every.changed) == (3, 2)


def test_chunks_of_any_size_give_the_same(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    for n in range(1, 8):
        call(app, n, price=None, costs=(None, None))
    monkeypatch.setattr(module, "CHUNK", 3)
    seen: list[int] = []
    report = app.repricing.run(
        Selection(MODEL), rates("1", "2"), apply=True, reason="", progress=seen.append
    )
    assert (report.seen, report.changed) == (14, 14)
    assert seen == [3, 6, 9, 12, 14]
    assert sums(app)[0] == sums(app)[1] == (14 * 1_200_000, 0, 0)


def test_a_free_allowance_is_used_up_in_order(app: App) -> None:
    for n in (3, 2, 1):
        call(app, n, price=None, costs=(None,))
    app.models.set_price(
        MODEL, rates("1", "2", free_requests_per_month=2), origin="user", now_ms=NOW
    )
    app.repricing.run(Selection(), None, apply=True, reason="")
    newest_first = [row.total_nusd for row in app.ledger.recent(limit=9)]
    assert newest_first == [1_200_000, 0, 0]


def test_what_cannot_be_meant_is_refused(app: App) -> None:
    with pytest.raises(UsageError):
        app.repricing.run(Selection(), rates("1", "1"), apply=False, reason="")
    with pytest.raises(NotFound):
        app.repricing.run(Selection("nobody"), None, apply=False, reason="")
    request = call(app, 1, price=None, costs=(4, 5))
    with pytest.raises(UsageError):
        app.repricing.charge_of(request)
    with pytest.raises(NotFound):
        app.repricing.charge_of(request, 3)
    assert app.repricing.charge_of(request, 2).current_nusd == 5
