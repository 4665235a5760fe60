"""Requests settled in batches leave exactly the rows that the ledger itself writes."""

import itertools
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omni_cli.bootstrap import App
from omni_cli.domain.batch import AttemptEnding, Batch, Opening, RequestEnding
from omni_cli.domain.bounds import Most
from omni_cli.domain.budgets import Budget
from omni_cli.domain.chat import Usage
from omni_cli.domain.errors import BudgetExceeded, Locked, SameId
from omni_cli.domain.ledger import AttemptEnd, NewAttempt, NewRequest, RequestEnd
from omni_cli.domain.prices import Price, Rate
from omni_cli.store.writer import Writer
from tests.beginning import begin
from tests.engine import on_a_file

pytestmark = pytest.mark.usefixtures("engine")

NOW = 1_790_000_000_000
TABLES = (
    "requests",
    "attempts",
    "rollup_day",
    "rollup_hour",
    "rollup_latency",
    "health_hours",
    "budget_periods",
    "model_stats",
)
PRICE = Price("priced", input=Rate(Decimal(1)), output=Rate(Decimal(4)))


def _app(home: Path) -> App:
    return App({"OMNI_HOME": str(home), "USER": "test"}, durable=False)


def _writer(app: App) -> Writer:
    return Writer(app.store, app.ledger)


def _new(number: int, **fields: Any) -> NewRequest:
    return NewRequest(
        id=1_000 + number, created_at=NOW + number, source="gateway", owner="", **fields
    )


def _opening(new: NewRequest, n: int = 1, **fields: Any) -> Opening:
    given: dict[str, Any] = {
        "model": "openai/gpt-4o",
        "provider": "openai",
        "slots": 100,
        "most": Most(100, 100),
        "price": PRICE,
    }
    return Opening(request=new, n=n, started_at=NOW, input_estimate=100, **{**given, **fields})


def _dump(app: App) -> dict[str, list[tuple[Any, ...]]]:
    return {
        table: sorted(
            tuple(row) for row in app.store.db.execute(f"SELECT * FROM {table}").fetchall()
        )
        for table in TABLES
    }


_END = st.fixed_dictionaries(
    {
        "state": st.sampled_from(["ok", "failed", "cancelled"]),
        "input": st.integers(0, 90),
        "output": st.integers(0, 90),
        "cost": st.none() | st.integers(0, 400),
        "key": st.sampled_from(["", "k1"]),
        "task": st.sampled_from(["", "coding"]),
        "model": st.sampled_from(["openai/gpt-4o", "openai/gpt-4o-mini"]),
        "latency": st.integers(1, 900),
    }
)


@pytest.mark.slow
@settings(max_examples=6, deadline=None)
@given(ends=st.lists(_END, min_size=1, max_size=7), cut=st.integers(0, 7))
def test_a_batch_equals_its_requests_one_by_one(
    tmp_path_factory: pytest.TempPathFactory, ends: list[dict[str, Any]], cut: int
) -> None:
    folder = tmp_path_factory.mktemp("batch")
    with _app(folder / "a") as single, _app(folder / "b") as batched:
        for app in (single, batched):
            app.budgets.put(Budget(0, "all", "", "day", 10**12))
            app.budgets.put(Budget(0, "key", "k1", "month", 10**12))
        news, finals = [], []
        for number, item in enumerate(ends):
            news.append(_new(number, key=item["key"], task=item["task"]))
            usage = Usage(input_tokens=item["input"], output_tokens=item["output"])
            end = AttemptEnd(
                state=item["state"],
                ended_at=NOW + 500,
                usage=usage,
                first_at=NOW + 10,
                cost_nusd=item["cost"],
                input_cost_nusd=item["cost"],
            )
            done = RequestEnd(
                state=item["state"],
                settled_at=NOW + 500,
                model=item["model"],
                provider="openai",
                premium_model="p",
                premium_cost_nusd=500,
                latency_ms=item["latency"],
                ttft_ms=5,
            )
            finals.append((end, "unknown" if item["cost"] is None else "priced", done))
        ledger = single.ledger
        for new, item, (end, priced, done) in zip(news, ends, finals, strict=True):
            ledger.open(new, None)
            begin(ledger, NewAttempt(new.id, 1, item["model"], "openai", NOW, 100, None, 500, 100))
            ledger.end_attempt(new.id, 1, end, priced=priced)
            ledger.end_request(new.id, done)
        writer = _writer(batched)
        openings = [
            _opening(new, model=item["model"]) for new, item in zip(news, ends, strict=True)
        ]
        writer.write(Batch(openings=openings))
        assert all(opening.committed for opening in openings)
        endings: list[Any] = []
        for new, (end, priced, done) in zip(news, finals, strict=True):
            endings += [AttemptEnding(new.id, 1, end, priced), RequestEnding(new.id, done)]
        # The cut may fall between an attempt's end and its request's.
        writer.write(Batch(endings=endings[:cut]))
        writer.write(Batch(endings=endings[cut:]))
        found, expected = _dump(batched), _dump(single)
        # Calls that end in one batch have no order among them, and averages move by order.
        stats = [row[:5] for row in found.pop("model_stats")]
        assert stats == [row[:5] for row in expected.pop("model_stats")]
        assert found == expected


def test_a_batch_moves_averages_as_its_calls_one_by_one_would(tmp_path: Path) -> None:
    times = [400, 10, 90, 90, 700]
    with _app(tmp_path / "a") as single, _app(tmp_path / "b") as batched:
        for app, sizes in ((single, [1] * 5), (batched, [2, 3])):
            writer, numbers = _writer(app), iter(range(5))
            for size in sizes:
                openings = [_opening(_new(next(numbers))) for _ in range(size)]
                writer.write(Batch(openings=openings))
                endings: list[Any] = []
                for opening in openings:
                    new, end = opening.request, AttemptEnd("ok", NOW + 500, cost_nusd=0)
                    took = times[new.id - 1_000]
                    done = RequestEnd("ok", NOW + 500, "openai/gpt-4o", "openai", latency_ms=took)
                    endings += [AttemptEnding(new.id, 1, end, "free"), RequestEnding(new.id, done)]
                writer.write(Batch(endings=endings))
        (expected,), (found,) = _dump(single)["model_stats"], _dump(batched)["model_stats"]
        assert found[:5] == expected[:5]
        average = 400.0
        for took in times:
            average = 0.9 * average + 0.1 * took
        assert found[5] == pytest.approx(average) == pytest.approx(expected[5])
        assert found[6] is expected[6] is None


def test_leases_of_one_batch_never_pass_the_limit(tmp_path: Path) -> None:
    with _app(tmp_path) as app:
        # Each may cost 100 * 1 + 100 * 4 micro-dollars = 500,000 nano-dollars.
        app.budgets.put(Budget(0, "all", "", "day", 1_200_000))
        openings = [_opening(_new(number)) for number in range(4)]
        _writer(app).write(Batch(openings=openings))
        assert [opening.committed for opening in openings] == [True, True, False, False]
        assert isinstance(openings[2].error, BudgetExceeded)
        (budget,) = app.budgets.all()
        assert app.budgets.status(budget, NOW).reserved_nusd == 1_000_000


def test_an_unknown_price_passes_no_overspent_budget(tmp_path: Path) -> None:
    with _app(tmp_path) as app:
        app.budgets.put(Budget(0, "all", "", "day", 1_000_000, allow_unknown=True))
        writer = _writer(app)
        first, unknown = _opening(_new(1)), {"most": None, "price": None}
        passed = _opening(_new(2), **unknown)
        writer.write(Batch(openings=[first, passed]))
        assert passed.committed
        end = AttemptEnd("ok", NOW + 9, cost_nusd=1_200_000)
        writer.write(Batch(endings=[AttemptEnding(1_001, 1, end, "priced")]))
        refused = _opening(_new(3), **unknown)
        free = _opening(_new(4), price=Price("free"))
        writer.write(Batch(openings=[refused, free]))
        assert isinstance(refused.error, BudgetExceeded)
        assert free.committed


def test_the_answer_is_bounded_to_what_is_left(tmp_path: Path) -> None:
    with _app(tmp_path) as app:
        app.budgets.put(Budget(0, "all", "", "day", 5_000_000))
        opening = _opening(_new(1), most=Most(100, 50_000))
        _writer(app).write(Batch(openings=[opening]))
        assert opening.committed
        assert opening.output_bound == (5_000_000 - 100_000) // 4_000
        free = _opening(_new(2), price=Price("free"))
        _writer(app).write(Batch(openings=[free]))
        assert free.committed


def test_slots_are_taken_in_order_and_asked_for_again(tmp_path: Path) -> None:
    with _app(tmp_path) as app:
        writer = _writer(app)
        openings = [_opening(_new(number), slots=2) for number in range(3)]
        writer.write(Batch(openings=openings))
        assert [opening.full for opening in openings] == [False, False, True]
        end = AttemptEnd("ok", NOW + 5, cost_nusd=0)
        done = RequestEnd("ok", NOW + 5, "openai/gpt-4o", "openai")
        endings: list[Any] = [
            AttemptEnding(openings[0].request.id, 1, end, "priced"),
            RequestEnding(openings[0].request.id, done),
        ]
        writer.write(Batch(endings=endings, openings=[openings[2]]))
        assert openings[2].committed


def test_an_id_that_is_taken_writes_nothing(tmp_path: Path) -> None:
    with _app(tmp_path) as app:
        writer = _writer(app)
        writer.write(Batch(openings=[_opening(_new(1))]))
        with pytest.raises(SameId):
            writer.write(Batch(openings=[_opening(_new(2)), _opening(_new(1))]))
        assert app.ledger.get(1_002) is None


@on_a_file
def test_a_locked_store_is_told_at_once(tmp_path: Path) -> None:
    with _app(tmp_path) as app, _app(tmp_path) as other:
        writer = _writer(app)
        assert other.store.path == app.store.path
        with other.store.transaction(), pytest.raises(Locked):
            writer.write(Batch(openings=[_opening(_new(1))]))
        opening = _opening(_new(1))
        writer.write(Batch(openings=[opening]))
        assert opening.committed


def test_a_second_attempt_settles_the_usual_way(tmp_path: Path) -> None:
    with _app(tmp_path) as app:
        writer, ids = _writer(app), itertools.count()
        new = _new(next(ids))
        writer.write(Batch(openings=[_opening(new)]))
        failed = AttemptEnd("failed", NOW + 5, cost_nusd=0, error_code="overloaded")
        second = _opening(new, n=2)
        second.opened = True
        writer.write(Batch(endings=[AttemptEnding(new.id, 1, failed, None)], openings=[second]))
        good = AttemptEnd("ok", NOW + 9, Usage(output_tokens=3), cost_nusd=12)
        done = RequestEnd("ok", NOW + 9, "openai/gpt-4o", "openai")
        writer.write(
            Batch(endings=[AttemptEnding(new.id, 2, good, "priced"), RequestEnding(new.id, done)])
        )
        row = app.ledger.get(new.id)
        assert row is not None
        assert (row.attempts, row.cost_nusd, row.state) == (2, 12, "ok")


@pytest.mark.parametrize("order", [(1, 2), (2, 1)])
def test_attempts_that_ran_beside_each_other_all_end(
    tmp_path: Path, order: tuple[int, int]
) -> None:
    """A hedge that was given up ends in the batch of the first attempt and the request."""
    with _app(tmp_path) as app:
        writer, new = _writer(app), _new(0)
        writer.write(Batch(openings=[_opening(new)]))
        second = _opening(new, n=2)
        second.opened = True
        writer.write(Batch(openings=[second]))
        ends = {
            1: AttemptEnd("ok", NOW + 9, Usage(output_tokens=3), cost_nusd=12),
            2: AttemptEnd("cancelled", NOW + 8, Usage(input_tokens=5), cost_nusd=5),
        }
        endings = [AttemptEnding(new.id, n, ends[n], "priced") for n in order]
        done = RequestEnd("ok", NOW + 9, "openai/gpt-4o", "openai")
        writer.write(Batch(endings=[*endings, RequestEnding(new.id, done)]))
        row = app.ledger.get(new.id)
        assert row is not None
        assert (row.attempts, row.total_nusd) == (2, 17)
        assert [a.state for a in app.ledger.attempts(new.id)] == ["ok", "cancelled"]
