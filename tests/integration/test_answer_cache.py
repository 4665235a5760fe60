"""The same request is answered from memory, for roles that opted in (B8)."""

import threading

import pytest

from omni_cli.bootstrap import App
from omni_cli.domain.budgets import Budget
from omni_cli.domain.chat import ChatRequest, Message, Tool
from omni_cli.domain.record import replace
from omni_cli.services.engine.answer_cache import AnswerCache
from omni_cli.services.engine.chat import ChatRun
from omni_cli.services.engine.chat_plan import ChatJob
from omni_cli.services.engine.names import Selector
from tests.conftest import CHEAP, GOOD, Fleet
from tests.integration.cli_process import omni

ASKED = ChatRequest((Message.text_of("user", "Review: x = 1"),), max_output_tokens=60)


def ask(app: App, request: ChatRequest = ASKED, *, role: str = "reviewer") -> ChatRun:
    job = ChatJob(request, Selector("role", role), keep=False)
    run = app.chat.start(app.chat.plan(job))
    text = "".join(chunk.text for chunk in app.chat.chunks(run))
    assert text == run.completion.text
    return run


def sent(fleet: Fleet) -> int:
    return len(fleet.sim.answered())


def test_a_hit_costs_nothing_and_is_in_the_ledger(fleet: Fleet) -> None:
    env = fleet.env
    asked = ("chat", "-m", "role:reviewer", "Review: x = 1", "--json")
    assert omni(env, "roles", "cache", "reviewer", "--ttl", "1h").code == 0
    first = omni(env, *asked).json
    calls = sent(fleet)
    second = omni(env, *asked).json
    assert sent(fleet) == calls
    assert second["output"] == first["output"]
    assert second["cost_usd"] == "0"
    assert second["premium_cost_usd"] == first["premium_cost_usd"]
    assert second["savings_usd"] == first["premium_cost_usd"]
    receipt = omni(env, "why", "last", "--json").json
    assert (receipt["source"], receipt["role"]) == ("cache", "reviewer")
    assert receipt["cached_from"] == first["id"]
    assert f"the answer of {first['id']}" in omni(env, "why", "last").out
    streamed = omni(env, "chat", "-m", "role:reviewer", "Review: x = 1")
    assert first["output"] in streamed.out
    assert sent(fleet) == calls
    stats = omni(env, "cache", "stats", "--json").json
    assert (stats["answers"], stats["hits"], stats["roles"]) == (1, 2, {"reviewer": 3600})
    assert float(stats["saved_usd"]) == pytest.approx(2 * float(first["cost_usd"]))
    assert "forgot 1 answers" in omni(env, "cache", "clear").out
    omni(env, *asked)
    assert sent(fleet) == calls + 1


def test_savings_and_rollups_stay_exact(fleet: Fleet) -> None:
    app = fleet.app
    app.answers.set_ttl("reviewer", 60)
    first, second = ask(app), ask(app)
    assert first.row is not None
    assert second.row is not None
    assert second.row.premium_cost_nusd == first.row.premium_cost_nusd
    stats = app.learning.stats()
    assert sum(s.calls for s in stats.values()) == 1
    (total,) = app.reports.totals(0, 99_999_999).values()
    assert (total.calls, total.attempts, total.compared_calls) == (2, 1, 2)
    assert total.cost_nusd == first.row.total_nusd
    assert total.premium_nusd == 2 * (first.row.premium_cost_nusd or 0)
    assert app.rebuild.check().sound


def test_without_opting_in_nothing_is_kept(fleet: Fleet) -> None:
    ask(fleet.app)
    ask(fleet.app)
    assert sent(fleet) == 2
    assert fleet.app.answers.stats().answers == 0


@pytest.mark.parametrize(
    "other",
    [
        replace(ASKED, temperature=0.5),
        replace(ASKED, max_output_tokens=61),
        replace(ASKED, stop=("x",)),
        replace(ASKED, seed=1),
        replace(ASKED, extra={"top_k": 3}),
        replace(ASKED, tools=(Tool("look", "Looks", {"type": "object"}),)),
        replace(ASKED, messages=(Message.text_of("user", "Review: x = 2"),)),
        replace(ASKED, messages=(Message.text_of("system", "Be brief"), *ASKED.messages)),
    ],
)
def test_anything_else_is_another_request(fleet: Fleet, other: ChatRequest) -> None:
    fleet.app.answers.set_ttl("reviewer", 60)
    ask(fleet.app)
    assert ask(fleet.app, other).remembered is None
    assert ask(fleet.app, replace(ASKED, stream=False)).remembered is not None


def test_another_model_or_role_is_another_request(fleet: Fleet) -> None:
    app = fleet.app
    app.fleet.assign_role("critic", GOOD, 1)
    for role in ("reviewer", "critic"):
        app.answers.set_ttl(role, 60)
    ask(app)
    assert ask(app, role="critic").remembered is None
    app.role_switcher.switch("reviewer", CHEAP, verify=False)
    with App(fleet.env) as fresh:
        assert ask(fresh).remembered is None


def test_a_memory_fades(fleet: Fleet) -> None:
    now = [1_800_000_000.0]
    with App(fleet.env, clock=lambda: now[0]) as app:
        app.answers.set_ttl("reviewer", 60)
        ask(app)
        now[0] += 59.9
        assert ask(app).remembered is not None
        now[0] += 0.1
        assert ask(app).remembered is None
        now[0] -= 3_600  # a clock set back finds no answers of the future
        assert ask(app).remembered is None
        app.answers.set_ttl("reviewer", None)
        assert app.answers.stats().answers == 0


def test_budgets_are_untouched(fleet: Fleet) -> None:
    app = fleet.app
    app.answers.set_ttl("reviewer", 60)
    budget = Budget(0, "all", "", "day", 10**9)
    budget = replace(budget, id=app.budgets.put(budget))
    ask(app)
    spent = app.budgets.status(budget, app.now_ms())
    assert ask(app).remembered is not None
    after = app.budgets.status(budget, app.now_ms())
    assert (after.spent_nusd, after.reserved_nusd) == (spent.spent_nusd, spent.reserved_nusd)
    app.budgets.put(replace(budget, limit_nusd=0))
    assert ask(app).remembered is not None  # no money is needed


def test_broken_answers_are_not_kept(fleet: Fleet) -> None:
    app = fleet.app
    app.answers.set_ttl("reviewer", 60)
    cut = ask(app, replace(ASKED, max_output_tokens=1))
    assert cut.completion.finish_reason == "length"
    assert app.answers.stats().answers == 0
    fleet.sim.fault("503", GOOD)
    stand_in = ask(app)
    assert stand_in.row is not None
    assert stand_in.row.model != GOOD
    assert app.answers.stats().answers == 0


def test_the_least_used_goes_first(fleet: Fleet) -> None:
    store = fleet.app.answers
    store.set_ttl("reviewer", 10**6)

    def put(key: str, at: int, size: int = 40) -> None:
        store.put(
            key,
            role="reviewer",
            origin=1,
            answer="x" * size,
            cost_nusd=1,
            now_ms=at,
            limit_bytes=100,
        )

    put("a", 1)
    put("b", 2)
    found = store.find("a", now_ms=3)
    assert found is not None
    run = ask(fleet.app, role="reviewer")
    store.clear()
    put("a", 1)
    put("b", 2)
    store.hit(run.id, "a", found, now_ms=3)
    put("c", 4)
    assert store.find("b", now_ms=5) is None
    assert store.find("a", now_ms=5) is not None
    assert store.stats().bytes == 80
    put("huge", 6, size=101)
    assert store.find("huge", now_ms=7) is None


def test_many_writers_at_once(fleet: Fleet) -> None:
    fleet.app.answers.set_ttl("reviewer", 60)
    errors: list[BaseException] = []

    def work(number: int) -> None:
        try:
            with App(fleet.env) as app:
                for turn in range(4):
                    ask(app, replace(ASKED, seed=(number + turn) % 3))
        except BaseException as exc:  # noqa: BLE001  # shown by the test
            errors.append(exc)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    stats = fleet.app.answers.stats()
    assert stats.answers == 3
    rows = list(fleet.app.ledger.recent(limit=50))
    assert len(rows) == 16
    assert sum(row.source == "cache" for row in rows) == stats.hits == 16 - sent(fleet)
    assert fleet.app.rebuild.check().sound


def test_what_is_no_work_is_really_asked(fleet: Fleet) -> None:
    app = fleet.app
    app.answers.set_ttl("reviewer", 60)
    ask(app)
    plan = app.chat.plan(ChatJob(ASKED, Selector("role", "reviewer"), source="probe", keep=False))
    assert AnswerCache(app.answers, clock=app.clock).look(plan) is None
