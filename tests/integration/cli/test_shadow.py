"""``omni shadow`` from its start to a change that stands, on models of known quality (B7)."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from omni_cli.bootstrap import App
from omni_cli.domain.chat import ChatRequest, Message
from omni_cli.domain.periods import DAY_MS
from omni_cli.services.engine.chat_plan import ChatJob
from omni_cli.services.judge.monthly import html, markdown
from omni_cli.simulator import Simulator
from tests.integration.cli.conftest import Omni
from tests.integration.cli.fleet import connect

ROLE = "primary_coder"
CHAMPION, CHALLENGER = "anthropic/claude-sonnet-4-20250514", "anthropic/claude-3-haiku-20240307"
JUDGE = "openai/gpt-4o"
START = (
    "shadow", "start", ROLE, "--challenger", CHALLENGER, "--share", "100%", "--judge", JUDGE,
    "--margin", "40%", "--alpha", "0.2", "--budget", "5.00/day",
)  # fmt: skip


@pytest.fixture
def fleet(home: Path, sim: Simulator) -> Path:
    connect(home, sim, roles=True)
    with App({"OMNI_HOME": str(home), "USER": "t"}) as app:
        for rule in app.assignments.rules():
            app.fleet.remove_rule(rule.id)
    return home


@pytest.fixture
def app(fleet: Path) -> Iterator[App]:
    with App({"OMNI_HOME": str(fleet), "USER": "t"}, durable=False) as made:
        yield made


def _ask(app: App, count: int, *, start: int = 0) -> None:
    for number in range(start, start + count):
        request = ChatRequest((Message.text_of("user", f"Write a function for case {number}."),))
        run = app.chat.start(app.chat.plan(ChatJob(request, app.names.select(f"role:{ROLE}"))))
        for _ in app.chat.chunks(run, new_turns=request.messages):
            pass


def test_from_a_shadow_to_a_change_and_what_it_saved(omni: Omni, app: App, sim: Simulator) -> None:
    sim.fault("wrong", "anthropic/*", probability=0.02)
    with App(app.env, clock=lambda: app.clock() - 2 * DAY_MS / 1000, durable=False) as before:
        _ask(before, 4, start=50)
    assert omni(*START).code == 0
    _ask(app, 12)
    ran = omni("shadow", "run", ROLE, "--json")
    assert ran.code == 0, ran.err
    assert ran.data["paired"] == ran.data["pairs"] == 12
    assert ran.data["shown"] == "good enough"
    assert ran.data["judge_same_in_both_orders"]["of"] >= 0
    assert ran.data["cost_ratio"] < 0.2
    # Asked twice, nothing is paid twice.
    assert omni("shadow", "run", ROLE, "--json").data["paired"] == 0
    # Where it came from is evaluation, under a budget of its own.
    sources = {row["source"] for row in omni("usage", "--by", "source", "--json").data["rows"]}
    assert {"chat", "shadow", "judge"} <= sources

    found = [a for a in omni("recommend", "--json").data if a["current"]["model"] == CHAMPION]
    (advice,) = [a for a in found if a["type"] == "shadowed_model"]
    assert not [a for a in found if a["type"] == "cheaper_model"]
    assert "12 requests of your own" in advice["reasoning"]
    number = str(advice["id"])
    assert omni("recommend", "apply", number).code == 0
    (deploy,) = omni("deploy", "status", "--json").data
    assert deploy["state"] == "canary"
    assert omni("recommend", "undo", number).code == 0
    assert omni("deploy", "status", "--json").data == []
    assert omni("recommend", "apply", number).code == 0
    assert omni("deploy", "promote").code == 0
    assert omni("roles", "show", ROLE, "--json").data["models"][0]["model"] == CHALLENGER
    (ended,) = [r for r in omni("shadow", "status", "--all", "--json").data if r["reason"]]
    assert "another first model" in ended["reason"]

    later = app.clock() + 2 * DAY_MS / 1000
    with App(app.env, clock=lambda: later, durable=False) as after:
        _ask(after, 5, start=100)
        told = after.telling.of(after.advice.get(int(number)))
        page = after.monthly.of(None)
    assert told.verified is not None
    assert told.verified.calls == 5
    assert told.verified.saved_nusd > 0
    tried = " ".join(one.what for one in page.tried)
    assert f"{CHALLENGER} in the shadow of role {ROLE}" in tried or page.first.day == 1
    assert "# Models in " in markdown(page)
    assert "<table>" in html(page)
    months = omni("report", "--json").data
    assert {row["role"] for row in months["quality"]} == {ROLE}
    assert any("deploy" in one["what"] and "promoted" in one["found"] for one in months["tried"])
    assert omni("report", "2099-01").code == 2


def test_a_worse_challenger_ends_its_own_shadow(omni: Omni, app: App, sim: Simulator) -> None:
    sim.fault("wrong", CHALLENGER)
    assert omni(*START, "--margin", "1%").code == 0
    _ask(app, 8)
    data = omni("shadow", "run", ROLE, "--json").data
    assert data["shown"] == "worse"
    assert data["state"] == "stopped"
    assert not [b for b in omni("budgets", "list", "--json").data if "shadow" in str(b)]
    assert not [a for a in omni("recommend", "--json").data if a["type"] == "shadowed_model"]


def test_its_budget_is_a_hard_cap_and_half_a_pair_is_not_paid_for(
    omni: Omni, app: App, sim: Simulator
) -> None:
    assert omni(*START[:-1], "0.02/day").code == 0
    _ask(app, 6)
    ran = omni("shadow", "run", ROLE, "--json")
    assert ran.code == 0
    assert ran.data["paired"] < 6
    assert "a pair takes up to" in ran.data["left_because"]
    rows = app.ledger.recent(limit=100)
    spent = [row for row in rows if row.source in ("shadow", "judge")]
    assert sum(row.total_nusd or 0 for row in spent) <= 20_000_000
    assert sum(row.source == "shadow" for row in spent) == ran.data["paired"]


def test_what_only_passed_its_checks_is_no_proof(omni: Omni, app: App) -> None:
    start = [word if word != JUDGE else "none" for word in START]
    assert omni(*start).code == 0
    _ask(app, 10)
    ran = omni("shadow", "run", ROLE)
    assert "as far as checks tell" in ran.out
    assert "omni recommend" not in ran.out
    found = omni("recommend", "--json").data
    assert not [advice for advice in found if advice["type"] == "shadowed_model"]
    assert app.learning.quality() == {}


def test_a_chat_that_waits_is_compared_at_once_and_nothing_is_written_down(
    omni: Omni, app: App, sim: Simulator
) -> None:
    assert omni(*START, "--wait").code == 0
    ran = omni("chat", "-m", f"role:{ROLE}", "--no-log", "Write a function for kumquats.")
    assert ran.code == 0
    assert "shadow: 0.90 against 0.90 (judge)" in ran.err
    texts = "".join(str(tuple(row)) for row in app.store.db.execute("SELECT * FROM shadow_pairs"))
    texts += str(app.store.db.execute("SELECT * FROM shadow_claims").fetchall())
    assert "kumquats" not in texts
    assert app.store.db.execute("SELECT count(*) FROM turns").fetchone()[0] == 0


def _paid(app: App) -> dict[str, int]:
    """Calls by what they were for."""
    found: dict[str, int] = {}
    for row in app.ledger.recent(limit=200):
        found[row.source] = found.get(row.source, 0) + 1
    return found


@pytest.mark.parametrize("how", ["two at once", "one that dies"])
def test_a_request_is_paired_once_whoever_tries(
    omni: Omni, app: App, sim: Simulator, how: str
) -> None:
    """Two processes at once: one pays. One that is killed while the judge reads: its challenger's
    answer is not paid for again."""
    assert omni(*START).code == 0
    _ask(app, 3)
    if how == "one that dies":
        sim.fault("hang", JUDGE)
    command = [sys.executable, "-m", "omni_cli", "shadow", "run", ROLE, "--json"]
    both = [
        subprocess.Popen(command, env=os.environ, stdout=subprocess.PIPE)
        for _ in range(2 if how == "two at once" else 1)
    ]
    if how == "one that dies":
        end = time.monotonic() + 20
        kept = "SELECT count(*) FROM shadow_claims WHERE answer IS NOT NULL"
        while not app.store.db.execute(kept).fetchone()[0] and time.monotonic() < end:
            time.sleep(0.02)
        both[0].kill()
        both[0].communicate()
        sim.heal()
        assert omni("shadow", "run", ROLE, "--json").data["pairs"] == 3
    else:
        told = [json.loads(process.communicate()[0]) for process in both]
        assert sum(one["paired"] for one in told) == 3
    assert _paid(app)["shadow"] == 3
    (shadow,) = app.shadow.every()
    assert len(app.shadow.shadows.pairs(shadow.id)) == 3


def test_a_user_judges_pairs_without_names(omni: Omni, app: App, sim: Simulator) -> None:
    assert omni(*START).code == 0
    _ask(app, 4)
    assert omni("shadow", "judge", ROLE, "--json", stdin="1\n").data["judged"] == 0
    assert omni("shadow", "run", ROLE, "--json").data["paired"] == 4
    ran = omni("shadow", "judge", ROLE, "--json", stdin="nonsense\n1\nsame\nskip\n")
    assert ran.code == 0, ran.err
    assert (ran.data["judged"], ran.data["left"]) == (2, 2)
    assert ran.data["scored_by"] == {"judge": 2, "user": 2}
    assert ran.data["by_you"]["pairs"] == 2
    # The judge gave both answers the same points: it sides with "same" and not with "1".
    assert ran.data["judge_agrees_with_you"] == {"same": 1, "of": 2}
    names = [name.partition("/")[2] for name in (CHAMPION, CHALLENGER)]
    shown = ran.err
    assert "Write a function for case" in shown
    assert not any(f"--- {name}" in shown for name in names)
    (shadow,) = app.shadow.every()
    firsts = {one.pair.request: one.swapped for one in app.shadow.blind(shadow)}
    assert len(firsts) == 2
    words = app.learning.quality()
    assert words
    text = omni("shadow", "judge", ROLE, stdin="")
    assert "the judge sides with you in 1 of 2 pairs that you judged blind" in text.out
    # Without the conversation, nothing of the challenger's answer is kept.
    with app.store.transaction():
        app.store.db.execute("DELETE FROM conversations")
    app.maintenance.prune(63)
    kept = app.store.db.execute("SELECT count(*) FROM shadow_claims").fetchone()[0]
    assert kept == 0


def test_what_the_router_decides_has_a_shadow_too(omni: Omni, app: App, sim: Simulator) -> None:
    start = [word if word != ROLE else "auto" for word in START]
    assert omni(*start).code == 0
    assert omni("shadow", "start", "auto", *START[3:]).code == 2  # one is running
    _ask(app, 1)  # a role's is none of it
    for number in range(3):
        request = ChatRequest((Message.text_of("user", f"Write a function for case {number}."),))
        run = app.chat.start(app.chat.plan(ChatJob(request, app.names.select("auto"))))
        for _ in app.chat.chunks(run, new_turns=request.messages):
            pass
        assert run.row is not None
        assert run.row.model not in (CHALLENGER, JUDGE)
    ran = omni("shadow", "run", "auto", "--json")
    assert ran.code == 0, ran.err
    assert ran.data["paired"] == 3
    assert ran.data["champion"] == ""
    assert "what the router decides" in omni("shadow", "status", "auto").out
    assert not [a for a in omni("recommend", "--json").data if a["type"] == "shadowed_model"]
    assert omni("shadow", "stop", "auto").code == 0


def test_what_a_rule_sends_elsewhere_tells_nothing_of_the_role(omni: Omni, app: App) -> None:
    assert omni(*START).code == 0
    assert omni("rules", "add", "taskType == 'coding'", CHAMPION).code == 0
    app.refresh()
    _ask(app, 2)
    assert omni("shadow", "run", ROLE, "--json").data["paired"] == 0


def test_who_may_judge(omni: Omni, fleet: Path) -> None:
    own = omni(*START[:5], "--judge", CHAMPION)
    assert own.code == 2
    assert "would judge its own answers" in own.err
    # The premium model's provider would read what the role's providers read: nobody said it may.
    assert omni("config", "set", "general.premium_model", "openai/gpt-4o").code == 0
    quiet = omni("shadow", "start", ROLE, "--challenger", CHALLENGER)
    assert quiet.code == 0
    assert "nobody reads the answers" in quiet.out
    again = omni("shadow", "start", ROLE, "--challenger", CHALLENGER)
    assert again.code == 2
    assert f"omni shadow stop {ROLE}" in again.err
    assert omni("shadow", "stop", ROLE).code == 0
    assert omni("shadow", "stop", ROLE).code != 0
