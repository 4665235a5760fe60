"""What every request keeps to, whoever carries it out: the command line and the gateway alike.

Each scenario runs on a real store against the simulator, over loopback.
"""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from omni_cli.bootstrap import App
from omni_cli.domain.budgets import Budget
from omni_cli.domain.record import replace
from omni_cli.records import Lock
from tests.integration.engine.conftest import FIRST, HEDGED, SECOND, Way, Wish

#: By the name of a fault, whether the same model is asked again.
BEFORE = [("503", True), ("401", False), ("reset-before", True), ("truncate:0", True)]


def held_nusd(way: Way) -> int:
    (found,) = way.served.app.store.db.execute(
        "SELECT coalesce(sum(reserved_nusd), 0) FROM budget_periods"
    ).fetchone()
    return int(found)


@pytest.mark.parametrize("stream", [True, False])
def test_an_answer_is_one_attempt_with_its_cost(way: Way, stream: bool) -> None:
    done = way.ask(Wish(stream=stream))
    assert (done.error, done.row.state, done.states) == ("", "ok", [(FIRST, "ok")])
    assert done.text
    assert done.row.finish_reason in ("stop", "length")
    assert done.row.total_nusd == done.attempts[0].cost_nusd
    assert done.row.total_nusd
    assert done.row.latency_ms is not None
    assert done.attempts[0].held_nusd == 0


@pytest.mark.parametrize(("fault", "again"), BEFORE)
def test_before_an_answer_begins_another_model_takes_over(
    way: Way, fault: str, again: bool
) -> None:
    way.served.sim.fault(fault, "anthropic/*")
    done = way.ask(Wish())
    assert (done.error, done.row.state, done.row.model) == ("", "ok", SECOND)
    assert done.states == [(FIRST, "failed")] * (2 if again else 1) + [(SECOND, "ok")]


def test_a_retry_that_succeeds_is_two_attempts_of_one_model(way: Way) -> None:
    way.served.sim.fault("503", "anthropic/*", first=1)
    done = way.ask(Wish())
    assert done.states == [(FIRST, "failed"), (FIRST, "ok")]
    assert done.attempts[0].cost_nusd == 0


def test_a_wait_that_is_too_long_goes_to_the_next_model(way: Way) -> None:
    way.served.sim.fault("429:3600", "anthropic/*")
    done = way.ask(Wish())
    assert done.states == [(FIRST, "failed"), (SECOND, "ok")]


def test_silence_goes_to_the_next_model_and_holds_what_it_may_cost(way: Way) -> None:
    way.served.sim.fault("hang", "anthropic/*")
    done = way.ask(Wish())
    assert done.states == [(FIRST, "failed"), (SECOND, "ok")]
    assert done.attempts[0].error_code == "timeout"
    assert done.attempts[0].held_nusd


def test_a_second_model_is_asked_beside_a_silent_one(way: Way) -> None:
    way.served.sim.fault("hang", "anthropic/*")
    done = way.ask(Wish(HEDGED))
    assert (done.error, done.row.state, done.row.model) == ("", "ok", SECOND)
    # What was given up is charged for the question that it was sent.
    assert done.states == [(FIRST, "cancelled"), (SECOND, "ok")]
    assert all(attempt.cost_nusd for attempt in done.attempts)
    assert done.row.total_nusd == sum(attempt.cost_nusd or 0 for attempt in done.attempts)


def test_an_answer_in_time_is_asked_alone(way: Way) -> None:
    done = way.ask(Wish(HEDGED))
    assert done.states == [(FIRST, "ok")]


def test_when_nobody_answers_all_are_named(way: Way) -> None:
    way.served.sim.fault("401", "*")
    done = way.ask(Wish())
    assert (done.text, done.row.state) == ("", "failed")
    assert done.error == done.row.error_code == "all_providers_failed"
    assert done.row.error_message is not None
    assert FIRST in done.row.error_message
    assert SECOND in done.row.error_message


def test_what_one_model_finds_wrong_with_the_request_is_not_asked_again(way: Way) -> None:
    way.served.sim.fault("400", "*")
    done = way.ask(Wish())
    assert done.states == [(FIRST, "failed"), (SECOND, "failed")]
    assert done.error == "bad_request"


@pytest.mark.parametrize("fault", ["truncate:5", "cut:5", "reset-mid:5", "error-in-stream:5"])
def test_after_an_answer_began_its_break_is_told_and_charged(way: Way, fault: str) -> None:
    way.served.sim.fault(fault, "*")
    way.served.sim.fault("slow-tokens:200", "*")  # else the end comes with the first token
    done = way.ask(Wish())
    assert done.text
    assert done.error == done.row.error_code == "stream_interrupted"
    assert (done.row.state, done.states) == ("failed", [(FIRST, "failed")])
    assert done.row.usage.output_tokens
    assert done.row.total_nusd


def test_a_reader_that_leaves_pays_for_what_came_and_ends_the_call(way: Way) -> None:
    way.served.sim.fault("slow-tokens:50", "*")
    done = way.ask(Wish(max_tokens=400, keep=2))
    assert (done.row.state, done.states) == ("cancelled", [(FIRST, "cancelled")])
    assert done.row.usage.estimated
    assert done.row.total_nusd
    end = time.monotonic() + 5
    while way.served.sim.stats()["in_flight"] and time.monotonic() < end:
        time.sleep(0.01)
    assert way.served.sim.stats()["in_flight"] == 0


def test_an_answer_that_fails_its_check_goes_up_and_both_are_charged(way: Way) -> None:
    way.served.sim.fault("empty", "*", first=1)
    done = way.ask(Wish(stream=False, escalate=True, max_tokens=None))
    (cheap, _), (better, _) = done.states
    assert (done.error, done.row.state, done.row.model) == ("", "ok", better)
    assert done.states == [(cheap, "ok"), (better, "ok")]
    assert [attempt.error_code for attempt in done.attempts] == ["check_failed", None]
    assert done.row.total_nusd == sum(attempt.cost_nusd or 0 for attempt in done.attempts)
    learned = way.served.app.learning.quality
    end = time.monotonic() + 5
    while not learned() and time.monotonic() < end:
        time.sleep(0.01)
    verdicts = {model: value for (_, model), value in learned().items()}
    assert verdicts == {cheap: (0.0, 1.0), better: (1.0, 0.0)}


def test_where_nobody_has_a_better_one_the_last_answer_is_given(way: Way) -> None:
    """It was paid for, whether the next model's fails, too, or does not come."""
    cut_off = Wish(stream=False, escalate=True, max_tokens=3)
    models = []
    for _ in range(2):
        done = way.ask(cut_off)
        assert done.text
        assert done.error == done.row.error_code == "assertion_failed"
        assert done.row.state == "failed"
        answered = [attempt for attempt in done.attempts if attempt.state == "ok"]
        assert {attempt.error_code for attempt in answered} == {"check_failed"}
        assert done.row.model == answered[-1].model
        assert done.row.total_nusd == sum(attempt.cost_nusd or 0 for attempt in done.attempts)
        assert held_nusd(way) == 0
        models.append([attempt.model for attempt in answered])
        for model in models[0][1:]:
            way.served.sim.fault("503", model)
    assert len(models[0]) > 1
    assert models[1] == models[0][:1]


def test_a_budget_without_room_sends_nothing(way: Way) -> None:
    way.served.app.budgets.put(Budget(0, "agent", "poor", "day", 1))
    done = way.ask(Wish(SECOND, agent="poor"))
    assert (done.error, done.row.state, done.attempts) == ("budget_exceeded", "refused", [])
    assert way.served.sim.stats()["requests"] == 0
    assert held_nusd(way) == 0


def test_a_maximum_without_room_sends_nothing(way: Way) -> None:
    done = way.ask(Wish(SECOND, max_cost_nusd=1_000))
    assert (done.error, done.found) == ("budget_exceeded", None)
    assert way.served.sim.stats()["requests"] == 0


def test_a_budget_with_some_room_bounds_the_answer(way: Way) -> None:
    way.served.app.budgets.put(Budget(0, "agent", "some", "day", 2_000_000))
    done = way.ask(Wish(SECOND, agent="some", max_tokens=None))
    assert (done.error, done.states) == ("", [(SECOND, "ok")])
    # At $0.60 a million tokens of answer, less what the question costs.
    assert 3_000 < (done.attempts[0].output_bound or 0) < 3_334
    assert held_nusd(way) == 0


def test_a_maximum_gives_back_what_a_refusal_did_not_cost(way: Way) -> None:
    way.served.sim.fault("503", "openai/*", first=1)
    done = way.ask(Wish(SECOND, max_cost_nusd=2_000_000, max_tokens=None))
    assert (done.error, done.states) == ("", [(SECOND, "failed"), (SECOND, "ok")])
    first, second = (attempt.output_bound or 0 for attempt in done.attempts)
    assert 3_000 < second == first < 3_334


def test_a_maximum_is_used_up_by_a_call_that_nobody_saw_end(way: Way) -> None:
    way.served.sim.fault("truncate:0", "openai/*", first=1)
    done = way.ask(Wish(SECOND, max_cost_nusd=2_000_000, max_tokens=None))
    assert (done.error, done.states) == ("budget_exceeded", [(SECOND, "failed")])
    assert done.attempts[0].held_nusd


def test_an_open_breaker_passes_a_model_over(way: Way) -> None:
    way.served.sim.fault("401", "anthropic/*")
    first = way.ask(Wish())
    assert first.states == [(FIRST, "failed"), (SECOND, "ok")]
    time.sleep(0.3)  # the gateway's breakers are written a moment later
    second = way.ask(Wish())
    assert second.states == [(SECOND, "ok")]


@contextmanager
def held_store(way: Way, *, once_asked: bool) -> Iterator[None]:
    """Another process's transaction, for a third of a second: from now on, or from when a call is
    under way."""
    began, over = threading.Event(), threading.Event()

    def hold() -> None:
        with App(way.served.app.env) as other:
            while once_asked and not way.served.sim.stats()["in_flight"]:
                time.sleep(0.005)
            with other.store.transaction(Lock.LEDGER, Lock.BUDGETS, Lock.SLOTS):
                began.set()
                time.sleep(0.35)
        over.set()

    thread = threading.Thread(target=hold)
    thread.start()
    if not once_asked:
        assert began.wait(5)
    yield
    thread.join()
    assert began.is_set()
    assert over.is_set()


@pytest.mark.parametrize("late", ["before", "after"])
def test_a_store_that_is_late_delays_a_call_and_loses_nothing(way: Way, late: str) -> None:
    """Before: the row and its leases are waited for. After: the answer was paid for, and is
    written once the store takes it."""
    way.served.app.budgets.put(Budget(0, "all", "", "day", 10**12))
    if late == "after":
        way.served.sim.fault("slow-first:0.2", "*")
    with held_store(way, once_asked=late == "after"):
        done = way.ask(Wish())
    assert (done.error, done.row.state, done.states) == ("", "ok", [(FIRST, "ok")])
    assert done.row.total_nusd == done.attempts[0].cost_nusd
    assert not done.attempts[0].usage.estimated
    assert held_nusd(way) == 0


def test_what_a_dead_process_holds_is_freed_for_the_next_call(way: Way) -> None:
    """Its provider's only slot, its money: closed as lost, charged for what was sent, by whoever
    waits for the slot."""
    app, sim = way.served.app, way.served.sim
    slug = SECOND.partition("/")[0]
    app.fleet.put_provider(replace(app.fleet.provider(slug), max_concurrency=1))
    time.sleep(0.3)  # the gateway looks for changes four times a second
    sim.fault("hang", "*")
    dead = subprocess.Popen(
        [sys.executable, "-m", "omni_cli", "chat", "-m", SECOND, "Is all well?"],
        env={**os.environ, **app.env},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    end = time.monotonic() + 30
    while not sim.stats()["in_flight"] and time.monotonic() < end:
        time.sleep(0.01)
    dead.kill()
    dead.wait()
    (left,) = app.ledger.recent(limit=5)
    assert left.state == "pending"
    sim.heal()
    done = way.ask(Wish(SECOND))
    assert (done.error, done.states) == ("", [(SECOND, "ok")])
    lost = app.ledger.get(left.id)
    assert lost is not None
    assert (lost.state, lost.estimated) == ("lost", True)
    (attempt,) = app.ledger.attempts(left.id)
    assert attempt.cost_nusd
    assert attempt.held_nusd
