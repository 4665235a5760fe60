"""Recommendations and the rest of the fleet: who may be named, what is replaced, what is said."""

import json
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import pytest

from omni_cli.bootstrap import App
from omni_cli.domain.analytics import per_day
from omni_cli.domain.budgets import Budget
from omni_cli.domain.models import Chain, ChainLink, Provider
from omni_cli.domain.quality import beta_tail
from omni_cli.domain.recommend import Finding
from omni_cli.domain.record import replace
from omni_cli.services.judge.advice_document import open_saving_nusd
from omni_cli.tui.overview import read_overview
from omni_cli.tui.screens.costs import read_costs
from tests.integration.test_recommend import DAY_MS, NOON_MS, Clock, spend

OPUS, SONNET, HAIKU = (
    "anthropic/claude-opus-4-20250514",
    "anthropic/claude-sonnet-4-20250514",
    "anthropic/claude-3-haiku-20240307",
)
GPT, DEEPSEEK = "openai/gpt-4o", "deepseek/deepseek-chat"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def app(tmp_path: Path, clock: Clock) -> Iterator[App]:
    """Four providers connected, one model active."""
    with App({"OMNI_HOME": str(tmp_path), "USER": "t", "TZ": "UTC"}, clock=clock) as app:
        for slug in ("anthropic", "openai", "google", "deepseek"):
            protocol = {"anthropic": "anthropic", "google": "gemini"}.get(slug, "openai")
            app.fleet.put_provider(
                Provider(slug, slug, protocol, f"https://{slug}.example/v1", auth_method="none")
            )
        app.fleet.set_status(OPUS, "active")
        yield app


def findings(app: App) -> dict[str, tuple[int, Finding]]:
    return {a.finding.type: (a.id, a.finding) for a in app.advice.refresh()}


def coding(
    app: App, model: str = OPUS, *, days: tuple[int, ...] = (-1, 0), calls: int = 30
) -> None:
    for day in days:
        spend(app, model, role="", task="coding", day=day, calls=calls, tokens=(2_000, 800))


def test_every_face_ranks_recommendations_alike(app: App, clock: Clock) -> None:
    """The command, the Recommendations, Fleet and Costs tabs and the gateway's savings."""
    clock.now = NOON_MS / 1000 + 365 * 86_400
    for model in (GPT, OPUS):
        app.fleet.set_status(model, "active")
        app.fleet.assign_role("coder", model, 1)
    coding(app, days=(364, 365))
    spend(app, GPT, role="coder", task="chat", day=365, calls=40, tokens=(10, 10), failed=20)
    spend(app, GPT, role="notes", task="chat", day=365, calls=90, tokens=(9_000, 900), failed=50)
    told = app.telling.every()
    titles = [one.advice.finding.title for one in told]
    assert sum(one.advice.finding.urgent for one in told) > 1, titles
    assert [finding.title for finding in read_overview(app).advice] == titles
    costs = read_costs(app)
    shown = [one.finding.title for one in costs.opportunities]
    assert shown == [title for title in titles if title in shown] != []
    assert costs.open_nusd == open_saving_nusd(one.advice for one in told)


# --- who is named ---------------------------------------------------------------------------------


def test_a_model_on_standby_is_named_labelled_and_activated(app: App) -> None:
    coding(app)
    number, finding = findings(app)["cheaper_model"]
    other = app.fleet.model(finding.recommended)
    assert (other.status, finding.standby) == ("standby", True)
    assert finding.title == f"Add {other.id} for task coding"
    assert "on standby" in finding.reasoning
    before = app.fleet.document()
    app.advice.apply(number)
    assert app.fleet.model(other.id).status == "active"
    assert [rule.model for rule in app.assignments.rules()] == [other.id]
    app.advice.undo(number)
    assert app.fleet.model(other.id).status == "standby"
    assert not app.assignments.rules()
    assert app.fleet.document() == before


def test_a_model_whose_provider_is_not_there_is_not_named(app: App) -> None:
    coding(app)
    for slug in ("openai", "google", "deepseek", "anthropic"):
        provider = app.fleet.provider(slug)
        app.fleet.put_provider(
            Provider(slug, slug, provider.protocol, provider.base_url, key_env="NO_SUCH_VARIABLE")
        )
    found = findings(app)
    assert "cheaper_model" not in found
    assert "missing_capability" not in found


def test_what_is_retired_or_soon_will_be_is_never_named(app: App, clock: Clock) -> None:
    """In no quarter of two years does any advice name a model that leaves within 90 days."""
    for month in range(0, 24, 3):
        clock.now = NOON_MS / 1000 + month * 30 * 86_400
        coding(app, days=(month * 30 - 1, month * 30))
        limit = _day(clock, 90)
        for advice in app.advice.refresh():
            name = advice.finding.recommended
            if name and name != advice.finding.current:
                assert (app.fleet.model(name).retired_on or "9") > limit, advice.finding


def test_a_simulated_fleet_is_not_advised_what_is_gone_either(app: App, clock: Clock) -> None:
    """Its active models never retire; that is no reason to add what the real provider has ended."""
    clock.now = NOON_MS / 1000 + 365 * 86_400
    for provider in app.providers.all():
        app.fleet.put_provider(replace(provider, simulated=True))
    coding(app, days=(364, 365))
    advice = [a.finding for a in app.advice.refresh() if a.finding.standby]
    assert advice
    assert all(not app.fleet.model(found.recommended).retired_on for found in advice)


def _day(clock: Clock, days: int) -> str:
    from omni_cli.services.money.prices import utc_day

    return utc_day(int(clock.now * 1000) + days * DAY_MS)


def test_a_model_that_leaves_soon_is_no_stand_in(app: App) -> None:
    app.fleet.set_status(DEEPSEEK, "active")
    app.fleet.assign_role("coder", OPUS, 1)
    app.fleet.assign_role("coder", DEEPSEEK, 2)
    assert (app.fleet.model(DEEPSEEK).retired_on or "9") < "2026-09-13"  # it is June
    spend(app, OPUS, role="coder", task="coding", day=0, calls=40, tokens=(10, 10), failed=20)
    assert findings(app)["unhealthy_model"][1].recommended == ""
    app.fleet.set_status(HAIKU, "active")
    assert findings(app)["unhealthy_model"][1].recommended == HAIKU


def test_a_missing_badge_is_no_claim_about_requests(app: App) -> None:
    for _, finding in [v for k, v in findings(app).items() if k == "missing_capability"]:
        assert "unanswered" not in finding.reasoning
        assert finding.standby
        assert app.fleet.model(finding.recommended).status == "standby"


# --- replacing ------------------------------------------------------------------------------------


@pytest.fixture
def served(app: App) -> App:
    """GPT serves three roles, two rules and a chain, and fails half of its tries."""
    for model in (SONNET, GPT, DEEPSEEK):
        app.fleet.set_status(model, "active")
    for slug in ("anthropic", "openai", "deepseek"):
        old = app.fleet.provider(slug)
        app.fleet.put_provider(
            Provider(slug, slug, old.protocol, old.base_url, auth_method="none", simulated=True)
        )
    app.fleet.assign_role("assistant", GPT, 1)
    app.fleet.assign_role("coder", GPT, 1)
    app.fleet.assign_role("coder", DEEPSEEK, 2)
    app.fleet.assign_role("writer", SONNET, 1)
    app.fleet.assign_role("writer", GPT, 2)
    app.fleet.add_rule("taskType == 'chat'", GPT, 1)
    app.fleet.add_rule("inputTokens > 1000", GPT, 2)
    links = ChainLink(GPT, max_retries=1), ChainLink(SONNET, timeout_ms=9_000)
    app.fleet.put_chain(Chain("steady", links))
    spend(app, GPT, role="assistant", task="chat", day=0, calls=40, tokens=(10, 10), failed=20)
    return app


def test_replacing_a_model_replaces_it_everywhere_and_undo_puts_all_back(served: App) -> None:
    before = served.fleet.document()
    number, finding = findings(served)["unhealthy_model"]
    spare = finding.recommended
    revisions = len(served.audit.revisions())
    served.advice.apply(number)
    assert len(served.audit.revisions()) == revisions + 1
    for role in served.assignments.roles():
        assert role.models[0].model != GPT
        assert [m.model for m in role.models].count(spare) == 1
        assert role.models[-1].model == GPT
    assert {rule.model for rule in served.assignments.rules()} == {spare}
    chain = served.fleet.chain("steady")
    assert chain.links[-1] == ChainLink(GPT, max_retries=1)
    assert spare in [link.model for link in chain.links]
    served.advice.undo(number)
    assert served.fleet.document() == before


def test_where_the_spare_cannot_serve_it_is_left_and_said(served: App) -> None:
    served.fleet.assign_role("photo_tags", GPT, 1)
    served.fleet.assign_role("photo_tags", DEEPSEEK, 2)
    served.fleet.unassign_role("writer", GPT)
    served.fleet.add_rule("hasImages", GPT, 3)
    served.fleet.remove_chain("steady")
    number, finding = findings(served)["unhealthy_model"]
    assert finding.recommended == DEEPSEEK  # it stands next to GPT, and sees nothing
    assert "except in role photo_tags (it gets images), rule 3" in finding.reasoning
    served.advice.apply(number)
    assert served.fleet.role("photo_tags").models[0].model == GPT
    assert [r.model for r in served.assignments.rules()] == [DEEPSEEK, DEEPSEEK, GPT]


def test_undo_of_earlier_commits_is_understood(served: App) -> None:
    number, _ = findings(served)["unhealthy_model"]
    served.advice.apply(number)
    old = {"role": "coder", "models": [[GPT, 1], [DEEPSEEK, 2]]}
    served.store.db.execute("UPDATE advice SET undo = ? WHERE id = ?", (json.dumps(old), number))
    served.advice.undo(number)
    assert [m.model for m in served.fleet.role("coder").models] == [GPT, DEEPSEEK]


# --- how sure, and how much a day -----------------------------------------------------------------


def test_a_confidence_is_of_the_evidence_or_none(served: App) -> None:
    for day in range(-2, 1):
        coding(served, SONNET, days=(day,))
        spend(served, GPT, role="", task="extraction", day=day, calls=60, tokens=(4_000, 500))
    served.budgets.put(Budget(0, "all", "", "month", 1_000_000))
    kinds = set()
    for advice in served.advice.refresh():
        finding = advice.finding
        kinds.add(finding.type)
        if finding.type in ("cheaper_model", "repetitive_traffic"):
            assert finding.confidence is not None
        elif finding.type == "unhealthy_model":
            assert finding.confidence is None or finding.confidence < 1
        else:
            assert finding.confidence is None, finding
    assert {"batching", "budget_overrun", "cheaper_model"} <= kinds


def test_how_sure_it_is_that_a_model_fails(served: App) -> None:
    """Recomputed: 20 failures of 40, from every share being equally likely."""
    _, finding = findings(served)["unhealthy_model"]
    assert finding.confidence == beta_tail(21.0, 21.0, 0.1)


def test_an_overrun_does_not_point_to_itself(served: App) -> None:
    for day in range(-2, 1):
        coding(served, SONNET, days=(day,))
    served.budgets.put(Budget(0, "all", "", "month", 1_000_000))
    _, finding = findings(served)["budget_overrun"]
    assert "recommend" not in finding.action.command + finding.reasoning
    assert finding.action.command.startswith("omni budgets raise 1 --by ")


def test_today_counts_as_the_part_of_a_day_that_it_is(app: App, clock: Clock) -> None:
    """At 05:00 nothing was asked yet: twelve calls on each of three days are twelve a day."""
    coding(app, days=(-3, -2, -1), calls=12)
    clock.now = (NOON_MS - 7 * 3_600_000) / 1000
    _, finding = findings(app)["cheaper_model"]
    assert finding.calls_per_day == 12
    assert finding.daily_nusd == 12 * (2_000 * 15_000 + 800 * 75_000)


@pytest.mark.parametrize(
    ("total", "today", "days", "expected"),
    [
        (36, 0, 4, 12),  # three complete days, nothing yet today
        (39, 3, 4, 12),  # a little so far: an ordinary day as it seems
        (48, 12, 4, 12),
        (66, 30, 4, Fraction(66, 4)),  # today has more already
        (30, 30, 1, 30),  # nothing to go by but today
        (0, 0, 1, 0),
    ],
)
def test_the_rule_of_a_day(total: int, today: int, days: int, expected: Fraction) -> None:
    assert per_day(total, today, days) == expected


def test_one_day_is_not_one_days(app: App) -> None:
    coding(app, days=(0,))
    _, finding = findings(app)["cheaper_model"]
    assert "calls in 1 day cost" in finding.reasoning
