"""``omni roles switch`` against the simulator (A8)."""

import base64
from pathlib import Path

import pytest

from omni_cli.domain.budgets import Budget
from omni_cli.domain.chat import Completion
from omni_cli.domain.errors import AllProvidersFailed, BudgetExceeded, NotFound, UsageError
from omni_cli.domain.models import ModelInfo, Role
from omni_cli.services.engine.role_calls import flaw, kinds_of, request_of
from omni_cli.services.fleet.role_switch import switched_document, verified_lines
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
    assert fleet.app.role_switcher.switch("reviewer", CHEAP).verifications
    states = [row.state for row in fleet.app.ledger.recent(limit=5)]
    assert states == ["ok", "failed"]


def test_a_standby_model_sleeps_again_after_a_failure(fleet: Fleet) -> None:
    assert fleet.app.fleet.model(PREMIUM).status == "standby"
    before = fleet.app.fleet.document()
    fleet.sim.fault("401", PREMIUM)
    with pytest.raises(AllProvidersFailed):
        fleet.app.role_switcher.switch("reviewer", PREMIUM)
    assert fleet.app.fleet.model(PREMIUM).status == "standby"
    assert fleet.app.fleet.document() == before
    assert first(fleet) == GOOD


def test_a_budget_forbids_the_call_and_the_switch(fleet: Fleet) -> None:
    fleet.app.budgets.put(Budget(0, "all", "", "day", 1))
    with pytest.raises(BudgetExceeded, match="back on"):
        fleet.app.role_switcher.switch("reviewer", CHEAP)
    assert first(fleet) == GOOD


def test_without_a_call_nothing_is_sent(fleet: Fleet) -> None:
    done = fleet.app.role_switcher.switch("reviewer", FREE, verify=False)
    assert not done.verifications
    assert first(fleet) == FREE
    assert not list(fleet.app.ledger.recent(limit=5))
    with pytest.raises(UsageError):
        fleet.app.role_switcher.switch("reviewer", FREE)


def test_the_effect_is_measured_and_expected(fleet: Fleet) -> None:
    asked = omni(fleet.env, "chat", "-m", "role:reviewer", "Review: x = 1", "--json").json
    done = fleet.app.role_switcher.switch("reviewer", CHEAP)
    (row,) = [r for r in fleet.app.ledger.recent(limit=5) if r.source == "chat"]
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


# --- the kind of call that the role gets ------------------------------------------------------

SEES_NOT = "deepseek/deepseek-chat"


def asked(fleet: Fleet) -> list[str]:
    """Who was called as a test, oldest first."""
    rows = fleet.app.ledger.recent(limit=50)
    return [row.model for row in rows if row.source == "test"][::-1]


def assign(fleet: Fleet, role: str, description: str = "") -> None:
    fleet.app.fleet.assign_role(role, GOOD, 1, description)


def test_a_photo_role_is_proved_by_an_image(fleet: Fleet) -> None:
    assign(fleet, "photo_analysis")
    before = fleet.app.fleet.document()
    refused = omni(fleet.env, "roles", "switch", "photo_analysis", SEES_NOT)
    assert refused.code == 5, refused.everything
    assert "gets images" in refused.err
    assert "--no-verify" in refused.err
    assert fleet.app.fleet.document() == before
    assert asked(fleet) == []
    done = omni(fleet.env, "roles", "switch", "photo_analysis", CHEAP)
    assert done.code == 0, done.everything
    assert "verified: answered a question about an image" in done.out
    assert asked(fleet) == [CHEAP]


def test_traffic_tells_what_a_role_gets_whatever_its_name(fleet: Fleet, tmp_path: Path) -> None:
    assign(fleet, "helper")
    assert fleet.app.role_switcher.kinds(fleet.app.fleet.role("helper")) == ("text",)
    picture = tmp_path / "a.png"
    picture.write_bytes(base64.b64decode(str(request_of("image").messages[0].parts[0].data)))
    ran = omni(fleet.env, "chat", "-m", "role:helper", "-i", str(picture), "What is this?")
    assert ran.code == 0, ran.everything
    assert fleet.app.role_switcher.kinds(fleet.app.fleet.role("helper")) == ("image",)
    with pytest.raises(AllProvidersFailed, match="gets images"):
        fleet.app.role_switcher.switch("helper", SEES_NOT)
    # And a name alone proves nothing against twenty calls of another kind.
    photos = Role("photos", "", ())
    assert kinds_of(photos, {"chat": 19}, ()) == ("image",)
    assert kinds_of(photos, {"chat": 20}, ()) == ("text",)


@pytest.mark.parametrize(
    ("role", "kinds"),
    [
        ("agent_worker", ["tools"]),
        ("json_extractor", ["json"]),
        ("photo_agent", ["image", "tools"]),
        ("writer", ["text"]),
        ("reagent_lab", ["text"]),
    ],
)
def test_each_kind_is_asked_for_and_said(fleet: Fleet, role: str, kinds: list[str]) -> None:
    assign(fleet, role)
    done = fleet.app.role_switcher.switch(role, CHEAP)
    document = switched_document(done)
    assert [check["kind"] for check in document["verifications"]] == kinds
    assert document["verified"] == document["verifications"][0]
    assert asked(fleet) == [CHEAP] * len(kinds)
    assert len(verified_lines(done)) == len(kinds)


@pytest.mark.parametrize(
    ("role", "answer", "why"),
    [
        ("agent_worker", Completion(text="All is well."), "called no tool"),
        ("json_extractor", Completion(text="All is well."), "no JSON"),
        ("photo_tags", Completion(text="I'm sorry, I cannot help with that."), "refused"),
        ("writer", Completion(text=" "), "answered nothing"),
    ],
)
def test_an_answer_of_another_kind_proves_nothing(role: str, answer: Completion, why: str) -> None:
    (kind,) = kinds_of(Role(role, "", ()), {}, ())
    assert why in flaw(kind, answer)


def test_a_model_without_tools_does_not_become_an_agent(fleet: Fleet) -> None:
    """It answers, in words: the simulator's fault leaves the call away."""
    assign(fleet, "agent")
    fleet.sim.fault("empty", CHEAP)
    with pytest.raises(AllProvidersFailed, match="its call with a tool"):
        fleet.app.role_switcher.switch("agent", CHEAP)
    assert fleet.app.fleet.role("agent").models[0].model == GOOD


def test_a_model_nobody_knows_is_asked_and_told_what_else_it_takes(fleet: Fleet) -> None:
    """It sees, as the call shows; routing still prefers those of the role that are known to."""
    app = fleet.app
    app.fleet.put_model(
        ModelInfo("openai/gpt-4", "openai", "gpt-4", "Somebody's", status="active"),
        set_fields=("badges", "input_types"),
    )
    assign(fleet, "photo_tags")
    done = app.role_switcher.switch("photo_tags", "openai/gpt-4")
    assert [check.kind for check in done.verifications] == ["image"]
    (note,) = done.notes
    assert "--badge vision" in note
    assert switched_document(done)["notes"] == [note]
    assert not app.role_switcher.switch("photo_tags", CHEAP).notes
