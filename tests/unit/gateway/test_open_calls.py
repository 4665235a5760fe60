"""Calls under way: one narrow row each, seen by everybody, and never lost or held for ever."""

import itertools
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omni_cli.bootstrap import App
from omni_cli.domain.batch import (
    AttemptEnding,
    Batch,
    Opening,
    Progressed,
    RequestEnding,
    pack_decision,
)
from omni_cli.domain.budgets import Budget
from omni_cli.domain.chat import Usage
from omni_cli.domain.errors import Busy, SameId
from omni_cli.domain.ids import id_text
from omni_cli.domain.ledger import AttemptEnd, RequestEnd
from omni_cli.domain.record import replace
from omni_cli.store.maintenance import MaintenanceStore
from omni_cli.store.rebuild import RollupRebuild
from omni_cli.store.writer import Writer
from tests.unit.gateway.test_batches import NOW, PRICE, _app, _new, _opening, _writer

pytestmark = pytest.mark.usefixtures("engine")

DEAD = "1-00000000"
DECISION = '{"model":"openai/gpt-4o"}'


def _rows(app: App, table: str) -> int:
    return int(app.store.db.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


def _held(app: App) -> int:
    return int(
        app.store.db.execute(
            "SELECT coalesce(sum(reserved_nusd), 0) FROM budget_periods"
        ).fetchone()[0]
    )


def _problems(app: App) -> list[str]:
    kept = MaintenanceStore(app.store)
    return [*kept.problems(), *kept.budget_problems()]


def _ended(request: int, n: int = 1, cost: int = 40) -> list[Any]:
    usage = Usage(input_tokens=9, output_tokens=3)
    return [
        AttemptEnding(request, n, AttemptEnd("ok", NOW + 5, usage, cost_nusd=cost), "priced"),
        RequestEnding(request, RequestEnd("ok", NOW + 5, "openai/gpt-4o", "openai")),
    ]


def test_everybody_sees_what_is_under_way(tmp_path: Path) -> None:
    with _app(tmp_path) as app, _app(tmp_path) as other:
        new = _new(1, role="helper", key="k1")
        settled = _opening(_new(0))
        writer = _writer(app)
        writer.write(
            Batch(
                openings=[settled, _opening(new, decision=pack_decision(DECISION), price_id=None)]
            )
        )
        writer.write(Batch(endings=_ended(settled.request.id)))
        assert (_rows(app, "requests"), _rows(app, "open_calls")) == (1, 1)
        ledger = other.ledger
        row = ledger.find(id_text(new.id))
        assert (row.state, row.role, row.key, row.cost_nusd) == ("pending", "helper", "k1", None)
        assert ledger.find("last") == row == ledger.get(new.id)
        assert [found.id for found in ledger.recent(limit=5)] == [new.id, settled.request.id]
        assert [found.id for found in ledger.recent(limit=1)] == [new.id]
        assert [found.id for found in ledger.recent(limit=5, state="pending")] == [new.id]
        assert [found.id for found in ledger.recent(limit=5, state="ok")] == [settled.request.id]
        (attempt,) = ledger.attempts(new.id)
        assert (attempt.model, attempt.state, attempt.input_estimate) == (
            "openai/gpt-4o",
            "sent",
            100,
        )
        assert ledger.decision(new.id) == DECISION
        assert ledger.open_attempts("openai") == 1
        assert other.reports.anything_open()
        writer.write(Batch(endings=_ended(new.id)))
        assert ledger.decision(new.id) == DECISION
        assert ledger.open_attempts("openai") == 0
        assert not other.reports.anything_open()


def test_what_a_dead_process_left_is_charged_and_released(tmp_path: Path) -> None:
    with _app(tmp_path) as app:
        app.budgets.put(Budget(0, "all", "", "day", 10**9))
        new, silent = _new(1), _new(2)
        new.owner = silent.owner = DEAD
        writer = _writer(app)
        price = app.models.set_price("openai/gpt-4o", PRICE, origin="user", now_ms=NOW)
        openings = [
            _opening(new, decision=pack_decision(DECISION), price_id=price),
            _opening(silent, price_id=price, slots=1),
        ]
        writer.write(Batch(openings=openings))
        assert openings[1].full
        writer.write(Batch(progress=[Progressed(new.id, 1, NOW + 20, 80)]))
        assert _rows(app, "requests") == 0
        assert _problems(app) == []
        assert _held(app) == 500_000
        found = app.ledger.abandoned()
        assert {row.id for row in found} == {new.id, silent.id}
        assert app.recovery.run() == 2
        row = app.ledger.get(new.id)
        assert row is not None
        # 100 tokens sent at one micro-dollar, 80 characters are 20 tokens at four.
        assert (row.state, row.cost_nusd, row.estimated) == ("lost", 180_000, True)
        assert row.usage.output_tokens == 20
        waiting = app.ledger.get(silent.id)
        assert waiting is not None
        assert (waiting.state, waiting.attempts, waiting.cost_nusd) == ("lost", 0, None)
        # How much its provider charges is not known: the rest of the worst case stays held.
        (attempt,) = app.ledger.attempts(new.id)
        assert (_held(app), attempt.held_nusd) == (320_000, 320_000)
        assert (_rows(app, "open_calls"), _problems(app)) == (0, [])
        assert app.ledger.decision(new.id) == DECISION
        assert _problems(app) == []
        assert app.recovery.run() == 0


def test_one_that_waits_for_a_slot_ends_without_an_attempt(tmp_path: Path) -> None:
    with _app(tmp_path) as app:
        writer = _writer(app)
        first, second = _opening(_new(1), slots=1), _opening(_new(2), slots=1)
        writer.write(Batch(openings=[first, second]))
        assert second.full
        assert app.ledger.attempts(second.request.id) == []
        busy = RequestEnd("failed", NOW + 9, error_code=Busy.code, error_message="no slot")
        writer.write(Batch(endings=[RequestEnding(second.request.id, busy)]))
        row = app.ledger.get(second.request.id)
        assert row is not None
        assert (row.state, row.attempts, row.error_code) == ("failed", 0, "busy")
        assert _rows(app, "open_calls") == 1


@pytest.mark.parametrize("change", ["remove", "remove and set", "add", "disable"])
def test_budgets_that_change_while_a_call_is_under_way(tmp_path: Path, change: str) -> None:
    with _app(tmp_path) as app:
        budget = Budget(0, "all", "", "day", 10**9)
        ident = app.budgets.put(budget)
        writer, new = _writer(app), _new(1)
        writer.write(Batch(openings=[_opening(new)]))
        if change.startswith("remove"):
            app.budgets.delete(ident)
        if change == "remove and set":
            ident = app.budgets.put(budget)
            again = _opening(_new(2))
            writer.write(Batch(openings=[again]))
        if change == "add":
            app.budgets.put(Budget(0, "provider", "openai", "day", 10**9))
        if change == "disable":
            app.budgets.put(Budget(ident, "all", "", "day", 10**9, enabled=False))
        assert _problems(app) == []
        writer.write(Batch(endings=_ended(new.id)))
        assert _problems(app) == []
        assert _held(app) == (500_000 if change == "remove and set" else 0)
        spent = [app.budgets.status(b, NOW).spent_nusd for b in app.budgets.all() if b.enabled]
        assert spent == {"remove": [], "disable": [], "add": [40, 40]}.get(change, [40])


def test_an_id_is_given_once(tmp_path: Path) -> None:
    with _app(tmp_path) as app, _app(tmp_path) as other:
        _writer(app).write(Batch(openings=[_opening(_new(1))]))
        with pytest.raises(SameId):
            _writer(other).write(Batch(openings=[_opening(_new(1))]))
        assert not other.ledger.open(_new(1), None)
        settled = _new(3)
        assert other.ledger.open(settled, None)
        with pytest.raises(SameId):
            _writer(app).write(Batch(openings=[_opening(settled)]))


def test_a_call_that_ends_after_its_day_changes_what_that_day_left(tmp_path: Path) -> None:
    with _app(tmp_path) as app:
        app.budgets.put(Budget(0, "all", "", "day", 10**6, rollover=True))
        (budget,) = app.budgets.all()
        writer = _writer(app)
        writer.write(Batch(openings=[_opening(_new(1)), _opening(_new(2))]))
        tomorrow = NOW + 86_400_000
        assert app.budgets.status(budget, tomorrow).carried_nusd == 0
        end = AttemptEnd("ok", tomorrow, Usage(input_tokens=9), cost_nusd=40)
        over = RequestEnd("ok", tomorrow, "openai/gpt-4o", "openai")
        ended = _new(1).id
        writer.write(
            Batch(endings=[AttemptEnding(ended, 1, end, "priced"), RequestEnding(ended, over)])
        )
        assert app.budgets.status(budget, tomorrow).carried_nusd == 500_000 - 40
        assert _problems(app) == []


def test_calls_under_way_settle_into_a_restored_store(tmp_path: Path) -> None:
    """``db restore --force`` of a backup from before they began."""
    with _app(tmp_path) as app:
        app.budgets.put(Budget(0, "all", "", "day", 10**9))
        writer = _writer(app)
        retried = _opening(_new(2), n=2)
        writer.write(Batch(openings=[_opening(_new(1)), _opening(_new(2))]))
        failed = AttemptEnd("failed", NOW + 5, cost_nusd=7)
        retried.opened = True
        first = AttemptEnding(_new(2).id, 1, failed, "priced")
        writer.write(Batch(endings=[first], openings=[retried]))
        for table in ("open_calls", "requests", "attempts", "budget_periods"):
            app.store.db.execute(f"DELETE FROM {table}")
        writer.write(Batch(endings=[*_ended(_new(1).id), *_ended(_new(2).id, 2)]))
        assert _problems(app) == []
        (budget,) = app.budgets.all()
        status = app.budgets.status(budget, NOW)
        assert (status.spent_nusd, status.reserved_nusd) == (80, 0)
        for ident in (1, 2):
            row = app.ledger.get(_new(ident).id)
            assert row is not None
            assert (row.state, row.cost_nusd) == ("ok", 40)


def test_a_retry_and_a_call_that_waited_go_on_in_a_restored_store(tmp_path: Path) -> None:
    with _app(tmp_path) as app:
        app.budgets.put(Budget(0, "all", "", "day", 10**9))
        writer = _writer(app)
        first, waiting = _opening(_new(1), slots=1), _opening(_new(2), slots=1)
        writer.write(Batch(openings=[first, waiting]))
        assert waiting.full
        for table in ("open_calls", "requests", "attempts", "budget_periods"):
            app.store.db.execute(f"DELETE FROM {table}")
        retried = _opening(_new(1), n=2, slots=9)
        retried.opened = True
        failed = AttemptEnd("failed", NOW + 5, cost_nusd=7)
        ending = AttemptEnding(_new(1).id, 1, failed, "priced")
        waiting.slots = 9
        writer.write(Batch(endings=[ending], openings=[retried, waiting]))
        assert retried.committed
        assert waiting.committed
        assert _problems(app) == []
        writer.write(Batch(endings=[*_ended(_new(1).id, 2), *_ended(_new(2).id)]))
        assert _problems(app) == []
        (budget,) = app.budgets.all()
        status = app.budgets.status(budget, NOW)
        assert (status.spent_nusd, status.reserved_nusd) == (87, 0)


def test_the_guards_of_the_schema_are_on(tmp_path: Path) -> None:
    with _app(tmp_path) as app:
        writer = _writer(app)
        writer.write(Batch(openings=[_opening(_new(1))]))
        ending, over = _ended(_new(1).id)
        ending.end.state = "sideways"
        with pytest.raises(Exception, match="constraint"):
            writer.write(Batch(endings=[ending, over]))


_STEP = st.tuples(
    st.sampled_from(
        ["open", "end", "progress", "retry", "fail", "budget", "drop", "switch", "other"]
    ),
    st.integers(0, 5),
)


@pytest.mark.slow
@settings(max_examples=15, deadline=None)
@given(steps=st.lists(_STEP, max_size=25), slots=st.integers(1, 4))
def test_money_and_rows_add_up_whatever_happens(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]], slots: int
) -> None:
    """Two processes open, stream, retry and end calls while budgets come and go: at each step
    what budgets hold is what calls under way have leased, and in the end all of it is counted."""
    home = tmp_path_factory.mktemp("calls")
    with _app(home) as app, _app(home) as second:
        writers = [_writer(app), _writer(second)]
        ids = itertools.count(1)
        live: list[tuple[Writer, Opening]] = []
        done: dict[int, int] = {}
        unseen: dict[tuple[int, int], int] = {}

        def over(writer: Writer, opening: Opening) -> None:
            request = opening.request.id
            if opening.full:
                end = RequestEnd("failed", NOW + 9, error_code="busy")
                writer.write(Batch(endings=[RequestEnding(request, end)]))
                done[request] = done.get(request, 0)
                return
            done[request] = done.get(request, 0) + 40
            writer.write(Batch(endings=_ended(request, opening.n)))

        for kind, at in steps:
            writer, opening = live[at % len(live)] if live else (writers[0], None)
            if kind in ("open", "other"):
                writer = writers[kind == "other"]
                made = [_opening(_new(next(ids)), slots=slots) for _ in range(at % 3 + 1)]
                writer.write(Batch(openings=made))
                live += [(writer, one) for one in made if one.committed or one.full]
            elif kind == "budget":
                app.budgets.put(Budget(0, "all", "", "day", 10**9))
            elif kind == "drop":
                for budget in app.budgets.all():
                    app.budgets.delete(budget.id)
            elif kind == "switch":
                for budget in app.budgets.all():
                    app.budgets.put(replace(budget, enabled=not budget.enabled))
            elif opening is not None and kind == "end":
                live.remove((writer, opening))
                over(writer, opening)
            elif opening is not None and kind == "progress":
                row = Progressed(opening.request.id, opening.n, NOW + 20, 10 * at)
                writer.write(Batch(progress=[row]))
            elif opening is not None and kind == "retry" and opening.full:
                writer.write(Batch(openings=[opening]))
            elif opening is not None and kind in ("retry", "fail") and opening.committed:
                failed = AttemptEnd(
                    "failed", NOW + 5, Usage(input_tokens=7), cost_nusd=7, unseen=at % 2 == 1
                )
                if failed.unseen:
                    unseen[opening.request.id, opening.n] = opening.held_nusd - 7
                ending = AttemptEnding(opening.request.id, opening.n, failed, "priced")
                next_one = _opening(opening.request, n=opening.n + 1, slots=99)
                next_one.opened = True
                if kind == "retry":  # both in one transaction
                    writer.write(Batch(endings=[ending], openings=[next_one]))
                else:
                    writer.write(Batch(endings=[ending]))
                    writer.write(Batch(openings=[next_one]))
                done[opening.request.id] = done.get(opening.request.id, 0) + 7
                live[at % len(live)] = (writer, next_one)
            assert _problems(app) == []
        for writer, opening in live:
            over(writer, opening)
        assert _rows(app, "open_calls") == 0
        assert _problems(app) == []
        for request, cost in done.items():
            row = app.ledger.get(request)
            assert row is not None
            assert (row.cost_nusd or 0) == cost
        assert RollupRebuild(app.store).check().sound
        for budget in app.budgets.all():
            status = app.budgets.status(budget, NOW)
            assert status.spent_nusd == sum(done.values())
            assert status.reserved_nusd == sum(unseen.values())
