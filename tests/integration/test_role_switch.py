"""``omni roles switch`` against the simulator (A8)."""

import pytest

from omni_cli.domain.budgets import Budget
from omni_cli.domain.errors import AllProvidersFailed, BudgetExceeded, NotFound, UsageError
from tests.conftest import CHEAP, FREE, GOOD, PREMIUM, Fleet
from tests.integration.cli_process import omni


def first(fleet: Fleet) -> str:
    return fleet.app.fleet.role("reviewer").models[0].model


def test_a_switch_is_proved_by_a_call_and_undone(fleet: Fleet) -> None:
    done = omni(fleet.env, "roles", "switch", "reviewer", CHEAP, "--json")
    assert done.code == 0, done.everything
    shown = done.json
    assert (shown["before"]["model"], shown["after"]["model"]) == (GOOD, CHEAP)
    assert shown["verified"]["latency_ms"] >= 0
    (row,) = list(fleet.app.ledger.recent(limit=5))
    assert (row.source, row.role, row.model, row.state) == ("test", "reviewer", CHEAP, "ok")
    assert [(m.model, m.priority) for m in fleet.app.fleet.role("reviewer").models] == [
        (CHEAP, 1),
        (GOOD, 2),
    ]
    undone = omni(fleet.env, *shown["undo"].split()[1:])
    assert undone.code == 0, undone.everything
    assert first(fleet) == GOOD
    with pytest.raises(NotFound):
        fleet.app.role_switcher.undo("reviewer")


def test_a_failing_model_is_rolled_back(fleet: Fleet) -> None:
    before = fleet.app.fleet.document()
    fleet.sim.fault("503", CHEAP)
    done = omni(fleet.env, "roles", "switch", "reviewer", CHEAP)
    assert done.code == 5, done.everything
    assert f"back on {GOOD}" in done.err
    assert fleet.app.fleet.document() == before


def test_a_short_fault_is_asked_over(fleet: Fleet) -> None:
    fleet.sim.fault("503", CHEAP, first=1)
    assert fleet.app.role_switcher.switch("reviewer", CHEAP).verification is not None
    states = [row.state for row in fleet.app.ledger.recent(limit=5)]
    assert states == ["ok", "failed"]


def test_a_standby_model_sleeps_again_after_a_failure(fleet: Fleet) -> None:
    assert fleet.app.fleet.model(PREMIUM).status == "standby"
    fleet.sim.fault("401", PREMIUM)
    with pytest.raises(AllProvidersFailed):
        fleet.app.role_switcher.switch("reviewer", PREMIUM)
    assert fleet.app.fleet.model(PREMIUM).status == "standby"
    assert first(fleet) == GOOD


def test_a_budget_forbids_the_call_and_the_switch(fleet: Fleet) -> None:
    fleet.app.budgets.put(Budget(0, "all", "", "day", 1))
    with pytest.raises(BudgetExceeded, match="back on"):
        fleet.app.role_switcher.switch("reviewer", CHEAP)
    assert first(fleet) == GOOD


def test_without_a_call_nothing_is_sent(fleet: Fleet) -> None:
    done = fleet.app.role_switcher.switch("reviewer", FREE, verify=False)
    assert done.verification is None
    assert first(fleet) == FREE
    assert not list(fleet.app.ledger.recent(limit=5))
    with pytest.raises(UsageError):
        fleet.app.role_switcher.switch("reviewer", FREE)


def test_the_effect_is_measured_and_expected(fleet: Fleet) -> None:
    asked = omni(fleet.env, "chat", "-m", "role:reviewer", "Review: x = 1", "--json").json
    done = fleet.app.role_switcher.switch("reviewer", CHEAP)
    (row,) = list(fleet.app.ledger.recent(limit=5, source="chat"))
    assert done.before.measured
    assert done.before.cost_per_call_nusd == row.total_nusd
    usage = asked["usage"]
    # $0.15 in and $0.60 out per 1M tokens.
    expected = usage["input_tokens"] * 150 + usage["output_tokens"] * 600
    assert not done.after.measured
    assert done.after.cost_per_call_nusd == expected


def test_a_later_change_is_not_undone_over(fleet: Fleet) -> None:
    fleet.app.role_switcher.switch("reviewer", CHEAP, verify=False)
    fleet.app.fleet.assign_role("reviewer", FREE, 1)
    with pytest.raises(UsageError):
        fleet.app.role_switcher.undo("reviewer")
