"""``omni ab`` with real chats on the simulator (B7)."""

import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from omni_cli.bootstrap import App
from omni_cli.domain.chat import ChatRequest, Message
from omni_cli.domain.errors import OmniError
from omni_cli.services.engine.chat_plan import ChatJob
from omni_cli.services.judge.abtest import AbTests, Settings
from omni_cli.simulator import Simulator
from tests.integration.cli.conftest import Omni
from tests.integration.cli.fleet import connect

CHAMPION, CHALLENGER = "anthropic/claude-3-haiku-20240307", "openai/gpt-4o"
ROLE = "heartbeat"
START = ("ab", "start", ROLE, "--challenger", CHALLENGER, "--settle", "0")


@pytest.fixture
def fleet(home: Path, sim: Simulator) -> Path:
    connect(home, sim, roles=True)
    return home


@pytest.fixture
def app(fleet: Path) -> Iterator[App]:
    notes: list[str] = []
    with App({"OMNI_HOME": str(fleet), "USER": "t"}, durable=False, note=notes.append) as made:
        tests: AbTests = made.abtests
        tests.draw = random.Random(4).random
        yield made


def _say(app: App, *, keep: bool = False, conversation: int | None = None) -> tuple[int, str]:
    """One request in the role; its id and the model that answered or failed."""
    plan = app.chat.plan(
        ChatJob(
            ChatRequest((Message.text_of("user", "ping"),)),
            app.names.select(ROLE),
            keep=keep,
            conversation=conversation,
        )
    )
    plan = plan.__class__(plan.job, plan.decision, plan.targets[:1], plan.consent, None, plan.arm)
    run = app.chat.start(plan)
    try:
        for _ in app.chat.chunks(run):
            pass
    except OmniError:
        pass
    return run.id, plan.targets[0].model.id


def test_share_and_sticky_conversations(app: App) -> None:
    app.abtests.start(ROLE, CHALLENGER, 0.3, Settings(settle_s=3600))
    models = Counter(_say(app)[1] for _ in range(60))
    assert 8 <= models[CHALLENGER] <= 30
    assert models[CHALLENGER] + models[CHAMPION] == 60
    firsts = [_say(app, keep=True) for _ in range(12)]
    assert {model for _, model in firsts} == {CHAMPION, CHALLENGER}
    for conversation, model in firsts:
        assert [_say(app, keep=True, conversation=conversation)[1] for _ in range(2)] == [model] * 2


def test_conversations_from_before_are_left_alone(app: App) -> None:
    earlier, _ = _say(app, keep=True)
    app.abtests.start(ROLE, CHALLENGER, 0.99, Settings(settle_s=3600))
    assert {_say(app, keep=True, conversation=earlier)[1] for _ in range(5)} == {CHAMPION}


def test_the_receipt_says_so_and_status_counts(omni: Omni, fleet: Path) -> None:
    assert omni(*START, "--share", "99%").code == 0
    for _ in range(3):
        assert omni("chat", "-m", ROLE, "-n", "ping").code == 0
    assert "an arm of its A/B test" in omni("why", "last").out
    (data,) = omni("ab", "status", ROLE, "--json").data
    assert data["challenger"]["conversations"] + data["champion"]["conversations"] == 3
    assert data["challenger"]["good"] >= 1
    assert float(data["challenger_spent_usd"]) > 0
    assert data["verdict"] in ("too early to say anything", "no difference shown so far")
    assert "e = " in omni("ab", "status").out


def test_a_rule_comes_before_the_test(omni: Omni, fleet: Path) -> None:
    omni("rules", "add", "role == 'heartbeat'", "google/gemini-2.0-flash", "--priority", "1")
    omni(*START, "--share", "99%")
    assert omni("chat", "-m", ROLE, "-n", "ping", "--json").data["model_used"] == (
        "google/gemini-2.0-flash"
    )
    (data,) = omni("ab", "status", "--json").data
    assert data["challenger"]["open"] + data["champion"]["open"] == 0


def test_comparisons_and_probes_are_no_part_of_it(omni: Omni, fleet: Path) -> None:
    omni(*START, "--share", "99%")
    data = omni("compare", "ping", "-m", ROLE, "-m", "deepseek/deepseek-chat", "--json").data
    assert {a["model"] for a in data["answers"]} == {CHAMPION, "deepseek/deepseek-chat"}


def test_a_failing_challenger_is_stopped_by_itself(app: App, sim: Simulator) -> None:
    sim.fault("400", CHALLENGER)
    app.abtests.start(ROLE, CHALLENGER, 0.5, Settings(settle_s=0))
    asked = 0
    while app.abtests.tests(ROLE) and asked < 60:
        _say(app)
        asked += 1
    assert asked < 60
    (test,) = app.abtests.tests(ROLE, ended=True)
    assert (test.state, test.reason) == ("stopped", "the challenger is shown to be worse")
    assert {_say(app)[1] for _ in range(5)} == {CHAMPION}


def test_it_spends_no_more_than_allowed(app: App) -> None:
    app.abtests.start(ROLE, CHALLENGER, 0.9, Settings(settle_s=3600, max_nusd=900_000))
    costs: list[int] = []
    for _ in range(30):
        request, model = _say(app)
        row = app.ledger.get(request)
        assert row is not None
        if model == CHALLENGER:
            costs.append(row.total_nusd or 0)
    (test,) = app.abtests.tests(ROLE, ended=True)
    assert test.state == "stopped"
    assert "has cost" in test.reason
    assert sum(costs[:-1]) < 900_000  # only the last call could pass the limit


def test_promote_needs_evidence_or_force(omni: Omni, fleet: Path) -> None:
    omni(*START)
    refused = omni("ab", "promote", ROLE)
    assert refused.code == 7
    assert "not shown to be better yet" in refused.err
    assert omni("ab", "promote", ROLE, "--force").code == 0
    role = omni("roles", "show", ROLE, "--json").data
    models = sorted(role["models"], key=lambda m: m["priority"])
    assert [m["model"] for m in models][:2] == [CHALLENGER, CHAMPION]
    assert omni("ab", "status", "--json").data == []
    (ended,) = omni("ab", "status", "--all", "--json").data
    assert ended["state"] == "promoted"
    assert omni("history", "--json").data[0]["reason"].startswith("ab.promote")


def test_a_better_challenger_is_promoted_when_asked(app: App, sim: Simulator) -> None:
    sim.fault("400", CHAMPION)
    app.abtests.start(ROLE, CHALLENGER, 0.5, Settings(settle_s=0, auto=True))
    for _ in range(80):
        _say(app)
        if not app.abtests.tests(ROLE):
            break
    (test,) = app.abtests.tests(ROLE, ended=True)
    assert (test.state, test.reason) == ("promoted", "the challenger is shown to be better")
    assert app.fleet.role(ROLE).models[0].model == CHALLENGER


def test_ratings_as_the_metric(omni: Omni, fleet: Path) -> None:
    omni(*START, "--share", "99%", "--metric", "rating")
    for stars in ("5", "1"):
        omni("chat", "-m", ROLE, "-n", "ping")
        omni("rate", "last", stars)
    omni("chat", "-m", ROLE, "-n", "ping")
    (data,) = omni("ab", "status", "--json").data
    arms = [data["champion"], data["challenger"]]
    assert sum(arm["counted"] for arm in arms) == 2
    assert sum(arm["good"] for arm in arms) == 1


def test_stop_and_what_does_not_fit(omni: Omni, fleet: Path) -> None:
    assert omni("ab", "stop", ROLE).code == 1
    assert omni("ab", "start", ROLE, "--challenger", CHAMPION).code == 2
    assert omni("ab", "start", "nobody", "--challenger", CHALLENGER).code == 1
    assert omni(*START, "--share", "0%").code == 2
    assert omni(*START, "--share", "much").code == 2
    assert omni(*START).code == 0
    assert omni(*START).code == 2
    assert omni("ab", "stop", ROLE, "--json").data["state"] == "stopped"
    assert omni(*START).code == 0
