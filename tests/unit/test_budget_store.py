"""Budgets: reserve, settle, release; scopes, periods, changes (store/budgets.py, C3)."""

import pytest

from omni_cli.domain.batch import AttemptEnding, Batch
from omni_cli.domain.budgets import Budget
from omni_cli.domain.chat import Usage
from omni_cli.domain.errors import BudgetExceeded, OmniError, UnknownPrice
from omni_cli.domain.ledger import AttemptEnd, NewAttempt
from omni_cli.domain.record import replace
from omni_cli.store.budgets import BudgetStore
from omni_cli.store.port import Store
from tests.beginning import begin
from tests.unit.world import World

pytestmark = pytest.mark.usefixtures("engine")

DAY_S = 86_400


def plan(world: World, reserve: int | None, request: int | None = None, **fields: str) -> int:
    """Plan an attempt that reserves so much; returns its request."""
    request = world.open(**fields) if request is None else request
    n = len(world.ledger.attempts(request)) + 1
    attempt = NewAttempt(request, n, "p/a", "p", 0, 0, reserve_nusd=reserve)
    begin(world.ledger, attempt, world.writer)
    return request


def settle(world: World, request: int, cost: int | None, n: int = 1) -> None:
    end = AttemptEnd("ok", 9, usage=Usage(), cost_nusd=cost)
    world.writer.write(Batch(endings=[AttemptEnding(request, n, end, "priced")]))


def figures(world: World, index: int = 0) -> tuple[int, int]:
    """(spent, reserved) of a budget now."""
    budget = world.budgets.all()[index]
    status = world.budgets.status(budget, int(world.clock() * 1000))
    return status.spent_nusd, status.reserved_nusd


class TestLeases:
    def test_reserve_settle_release(self, world: World) -> None:
        world.budgets.put(Budget(0, "all", "", "day", 1_000))
        request = plan(world, 600)
        assert figures(world) == (0, 600)
        settle(world, request, 250)
        assert figures(world) == (250, 0)
        assert world.open_leases() == 0

    def test_reserved_money_counts_as_gone(self, world: World) -> None:
        world.budgets.put(Budget(0, "all", "", "day", 1_000))
        plan(world, 600)
        with pytest.raises(BudgetExceeded) as raised:
            plan(world, 401)
        assert "reserved by calls under way or held" in raised.value.message
        assert "resets on 2026-06-16 at 00:00 UTC" in raised.value.message
        plan(world, 400)
        assert figures(world) == (0, 1_000)

    def test_a_refusal_writes_nothing(self, world: World) -> None:
        world.budgets.put(Budget(0, "all", "", "day", 1_000))
        world.budgets.put(Budget(0, "model", "p/a", "day", 10))
        request = world.open()
        with pytest.raises(BudgetExceeded):
            plan(world, 600, request)
        assert world.ledger.attempts(request) == []
        assert (figures(world, 0), figures(world, 1)) == ((0, 0), (0, 0))

    def test_money_may_pass_through_every_scope_at_once(self, world: World) -> None:
        scopes = {
            "provider": "p",
            "model": "p/a",
            "role": "r",
            "agent": "g",
            "org": "o",
            "key": "k",
        }
        for scope, value in {"all": "", **scopes}.items():
            world.budgets.put(Budget(0, scope, value, "month", 1_000))
            world.budgets.put(Budget(0, scope, value + "-other", "month", 0))
        world.budgets.delete(world.budgets.all()[1].id)  # "all" of another value covers too
        request = plan(world, 100, role="r", agent="g", org="o", key="k")
        settle(world, request, 40)
        spent = {
            b.scope: figures(world, i)[0] for i, b in enumerate(world.budgets.all()) if b.limit_nusd
        }
        assert spent == dict.fromkeys(["all", *scopes], 40)

    def test_an_unknown_price_needs_leave(self, world: World) -> None:
        world.budgets.put(Budget(0, "all", "", "day", 1_000))
        with pytest.raises(UnknownPrice):
            plan(world, None)
        world.budgets.put(Budget(0, "all", "", "day", 1_000, allow_unknown=True))
        settle(world, plan(world, None), None)
        assert figures(world) == (0, 0)

    def test_free_passes_an_overspent_budget_and_unknown_does_not(self, world: World) -> None:
        world.budgets.put(Budget(0, "all", "", "day", 100, allow_unknown=True))
        settle(world, plan(world, 100), 120)
        plan(world, 0)
        for reserve in (1, None):
            with pytest.raises(BudgetExceeded):
                plan(world, reserve)

    def test_the_emergency_stop_comes_before_the_limit(self, world: World) -> None:
        world.budgets.put(Budget(0, "all", "", "day", 1_000, stop_percent=90.0))
        with pytest.raises(BudgetExceeded):
            plan(world, 901)
        plan(world, 900)

    def test_a_disabled_budget_stops_nothing(self, world: World) -> None:
        world.budgets.put(Budget(0, "all", "", "day", 0, enabled=False))
        plan(world, 10**12)


class TestPeriods:
    def test_a_new_budget_knows_what_was_spent_before_it(self, world: World) -> None:
        settle(world, plan(world, None), 70)
        world.budgets.put(Budget(0, "all", "", "day", 100))
        assert figures(world) == (70, 0)

    def test_the_next_day_is_empty_again(self, world: World) -> None:
        world.budgets.put(Budget(0, "all", "", "day", 100))
        settle(world, plan(world, 100), 100)
        world.clock.now += DAY_S
        assert figures(world) == (0, 0)
        plan(world, 100)

    def test_a_call_is_charged_to_the_day_it_began(self, world: World) -> None:
        world.budgets.put(Budget(0, "all", "", "day", 100))
        request = plan(world, 100)
        world.clock.now += DAY_S
        settle(world, request, 60)
        assert figures(world) == (0, 0)
        world.clock.now -= DAY_S
        assert figures(world) == (60, 0)

    def test_what_is_left_rolls_over_but_not_what_is_reserved(self, world: World) -> None:
        world.budgets.put(Budget(0, "all", "", "day", 100, rollover=True))
        settle(world, plan(world, 20), 20)
        plan(world, 50)
        world.clock.now += DAY_S
        (budget,) = world.budgets.all()
        status = world.budgets.status(budget, int(world.clock() * 1000))
        assert status.carried_nusd == 100 - 20 - 50
        assert status.stop_at_nusd == 130 + (100 - 100)

    def test_what_comes_of_a_closed_period_changes_what_it_left(self, world: World) -> None:
        world.budgets.put(Budget(0, "all", "", "day", 100, rollover=True))
        late = plan(world, 50)
        world.clock.now += DAY_S
        (budget,) = world.budgets.all()

        def carried() -> int:
            return world.budgets.status(budget, int(world.clock() * 1000)).carried_nusd

        assert carried() == 50
        settle(world, late, 10)
        assert carried() == 90
        # As an import of yesterday's usage or a correction is written.
        row = world.ledger.get(late)
        assert row is not None
        world.store.db.execute("UPDATE attempts SET cost_nusd = 95")
        world.budgets.charge(row, "p", "p/a", 85)
        assert carried() == 5
        assert world.budgets.drifts() == []

    def test_a_raise_ends_when_it_says(self, world: World) -> None:
        until = int((world.clock() + 3_600) * 1000)
        world.budgets.put(Budget(0, "all", "", "day", 100, raise_nusd=50, raise_until=until))
        settle(world, plan(world, 150), 0)
        world.clock.now += 3_601
        with pytest.raises(BudgetExceeded):
            plan(world, 101)

    def test_the_clock_put_back_does_not_lose_or_double(self, world: World) -> None:
        world.budgets.put(Budget(0, "all", "", "day", 1_000))
        settle(world, plan(world, 10), 10)
        world.clock.now -= 3 * DAY_S
        settle(world, plan(world, 20), 20)
        assert figures(world) == (20, 0)
        world.clock.now += 3 * DAY_S
        assert figures(world) == (10, 0)


class TestChanges:
    def test_put_changes_by_id_or_by_what_it_covers(self, world: World) -> None:
        first = world.budgets.put(Budget(0, "all", "", "day", 100))
        assert world.budgets.put(Budget(0, "all", "", "day", 200)) == first
        stored = world.budgets.get(first)
        assert stored is not None
        assert world.budgets.put(replace(stored, limit_nusd=300)) == first
        assert (
            world.budgets.put(replace(stored, scope="model", value="p/a", period="week")) == first
        )
        assert [(b.scope, b.value, b.period) for b in world.budgets.all()] == [
            ("model", "p/a", "week")
        ]

    def test_settings_come_back_as_they_were(self, world: World) -> None:
        budget = Budget(
            0,
            "org",
            "acme",
            "month",
            5,
            alerts_percent=(10.0, 99.5),
            stop_percent=120.0,
            rollover=True,
            raise_nusd=7,
            raise_until=8,
            allow_unknown=True,
            zone="Asia/Kathmandu",
            week_start=6,
            month_day=15,
            enabled=False,
        )
        stored = world.budgets.get(world.budgets.put(budget))
        assert stored == replace(budget, id=stored.id if stored else 0)

    def test_a_raised_limit_keeps_what_is_reserved(self, world: World) -> None:
        world.budgets.put(Budget(0, "all", "", "day", 100))
        request = plan(world, 80)
        world.budgets.put(Budget(0, "all", "", "day", 500))
        assert figures(world) == (0, 80)
        settle(world, request, 80)
        assert figures(world) == (80, 0)

    @pytest.mark.parametrize("change", ["set", "remove and set", "off and on", "replace", "rename"])
    def test_a_call_under_way_counts_whatever_is_done_to_the_budget(
        self, world: World, change: str
    ) -> None:
        budget = Budget(0, "all", "", "day", 100)
        if change != "set":
            budget = replace(budget, id=world.budgets.put(budget))
        before, later = plan(world, 80), plan(world, 0)
        if change == "off and on":
            world.budgets.put(replace(budget, enabled=False))
            # Looked at while it is off, and a call made meanwhile.
            assert figures(world) == (0, 80)
            settle(world, later, 15)
            world.budgets.put(budget)
        else:
            settle(world, later, 15)
            if change == "remove and set":
                world.budgets.delete(budget.id)
            elif change == "replace":
                world.budgets.put(replace(budget, limit_nusd=99, zone="Asia/Kathmandu"))
            elif change == "rename":
                world.budgets.put(replace(budget, scope="provider", value="p"))
            if change in ("set", "remove and set"):
                world.budgets.put(replace(budget, id=0))
        assert figures(world) == (15, 80)
        with pytest.raises(BudgetExceeded):
            plan(world, 6)
        settle(world, before, 70)
        assert figures(world) == (85, 0)
        assert world.budgets.drifts() == []

    @pytest.mark.parametrize("unseen", [True, False])
    def test_what_nobody_saw_end_stays_held(self, world: World, unseen: bool) -> None:
        world.budgets.put(Budget(0, "all", "", "day", 1_000))
        request = plan(world, 600)
        end = AttemptEnd("failed", 9, cost_nusd=100, unseen=unseen)
        world.ledger.end_attempt(request, 1, end, priced="priced")
        assert figures(world) == (100, 500 if unseen else 0)
        (budget,) = world.budgets.all()
        status = world.budgets.status(budget, int(world.clock() * 1000))
        window = status.start_at, status.end_at
        assert world.budgets.held_nusd(budget, *window) == (500 if unseen else 0)
        assert world.budgets.drifts() == []

    def test_what_has_drifted_is_found_and_mended(self, world: World) -> None:
        budget = world.budgets.put(Budget(0, "all", "", "day", 1_000, rollover=True))
        plan(world, 600)
        settle(world, plan(world, 100), 70)
        world.store.db.execute(
            "UPDATE budget_periods SET spent_nusd = 3, reserved_nusd = 4, carried_nusd = 5"
        )
        (drift,) = world.budgets.drifts()
        assert (drift.budget.id, drift.stored) == (budget, (3, 4, 5))
        assert world.budgets.mend() == 1
        assert figures(world) == (70, 600)
        assert world.budgets.drifts() == []

    def test_a_call_of_a_restored_store_is_written_all_the_same(self, world: World) -> None:
        world.budgets.put(Budget(0, "all", "", "day", 1_000))
        requests = [plan(world, 300), plan(world, 200)]
        # As after ``db restore --force``: of one nothing is left, of the other its request.
        for table, key in (("attempts", "request"), ("requests", "id")):
            world.store.db.execute(f"DELETE FROM {table} WHERE {key} = ?", (requests[0],))
        world.store.db.execute("DELETE FROM attempts WHERE request = ?", (requests[1],))
        world.store.db.execute("DELETE FROM budget_periods")
        assert figures(world) == (0, 0)
        for request in requests:
            settle(world, request, 90)
            world.end(request)
            row = world.ledger.get(request)
            assert row is not None
            assert (row.state, row.cost_nusd, row.attempts) == ("ok", 90, 1)
        assert figures(world) == (180, 0)
        assert world.budgets.drifts() == []

    def test_a_look_at_what_is_switched_off_meanwhile_begins_no_period(self, world: World) -> None:
        """Nobody would keep it up to date."""
        world.budgets.put(Budget(0, "all", "", "day", 1_000))
        (seen,) = world.budgets.all()
        world.budgets.put(replace(seen, enabled=False))
        assert world.budgets.status(seen, int(world.clock() * 1000)).reserved_nusd == 0
        assert world.store.plain("SELECT * FROM budget_periods") == []
        world.budgets.delete(seen.id)
        world.budgets.status(seen, int(world.clock() * 1000))

    def test_kept_budgets_are_those_of_one_look(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """One is switched off in the middle of it, and on again: it is not forgotten."""
        world.budgets.put(Budget(0, "all", "", "day", 1_000))
        (kept,) = world.budgets.enabled()
        BudgetStore._last = ([], [])
        looked = type(world.store).plain

        def meanwhile(self: Store, sql: str) -> list[tuple[object, ...]]:
            rows = looked(self, sql)
            world.budgets.put(replace(kept, enabled=False))
            return rows

        with monkeypatch.context() as patch:
            patch.setattr(type(world.store), "plain", meanwhile)
            world.budgets.enabled()
        world.budgets.put(kept)
        assert list(world.budgets.enabled()) == [kept]

    def test_alerts_are_due_once(self, world: World) -> None:
        budget_id = world.budgets.put(Budget(0, "all", "", "day", 100))
        settle(world, plan(world, 85), 85)
        budget = world.budgets.get(budget_id)
        assert budget is not None
        now = int(world.clock() * 1000)
        status = world.budgets.status(budget, now)
        assert status.alerts_due == (50.0, 80.0)
        assert status.used_percent == 85.0
        world.budgets.mark_alerted(budget_id, status.start_at, 80.0)
        assert world.budgets.status(budget, now).alerts_due == ()


def test_a_refusal_says_what_to_type(world: World) -> None:
    world.budgets.put(Budget(0, "all", "", "day", 1))
    with pytest.raises(OmniError) as raised:
        plan(world, 5)
    assert "omni budgets raise" in raised.value.hint
