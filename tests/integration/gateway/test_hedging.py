"""A second model asked beside a slow one: who answers, what is charged, and within which limits."""

import json
import random
import socket
import threading
import time
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import httpx
import pytest

from omni_cli.domain.budgets import Budget
from omni_cli.domain.money import usd_string
from omni_cli.domain.record import replace
from omni_cli.services.engine.chat_plan import ChatJob
from omni_cli.services.engine.names import Selector
from omni_cli.wire.openai.server import OpenAiChat
from tests.gateway_server import Served

FAST = "chain:Fast Chain"
FIRST, SECOND = "anthropic/claude-3-5-haiku-20241022", "openai/gpt-4o-mini"
HEDGE = {"x-omni-hedge": "60"}
PATHS = ("/v1/chat/completions", "/v1/messages")


def _ask(**more: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": "Is all well? Tell me at length."}]
    return {"model": FAST, "messages": messages, "max_tokens": 40, **more}


def _attempts(gateway: Served) -> list[tuple[str, str, str | None]]:
    (row,) = gateway.app.ledger.recent(limit=5)
    return [(a.model, a.state, a.error_code) for a in gateway.app.ledger.attempts(row.id)]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("fault", ["hang", "slow-first:20"])
def test_a_silent_model_costs_little_time(
    gateway: Served, http: httpx.Client, path: str, fault: str, stream: bool
) -> None:
    gateway.sim.fault(fault, "anthropic/*")
    answer = http.post(path, json=_ask(stream=stream), headers=HEDGE)
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-omni-model"] == SECOND
    assert answer.headers["x-omni-attempts"] == "2"
    assert answer.headers["x-omni-hedged"] == "1"
    gateway.settle(1)
    # What was given up is told as that, and charged for the input that it was sent.
    assert _attempts(gateway) == [(FIRST, "cancelled", "cancelled"), (SECOND, "ok", None)]
    (row,) = gateway.app.ledger.recent(limit=5)
    assert (row.state, row.model) == ("ok", SECOND)
    costs = [a.cost_nusd for a in gateway.app.ledger.attempts(row.id)]
    assert all(costs)
    assert row.total_nusd == sum(cost or 0 for cost in costs)
    if not stream:
        assert answer.headers["x-omni-cost-usd"] == usd_string(row.total_nusd)
    end = time.monotonic() + 3
    while gateway.sim.stats()["in_flight"] and time.monotonic() < end:
        time.sleep(0.02)
    assert gateway.sim.stats()["in_flight"] == 0  # its provider was told


@pytest.mark.parametrize("stream", [False, True])
def test_a_model_in_time_is_asked_alone(gateway: Served, http: httpx.Client, stream: bool) -> None:
    # Slow to end, quick to begin: a stream that has begun is not hedged.
    if stream:
        gateway.sim.fault("slow-tokens:200", "*")
    answer = http.post(
        PATHS[0], json=_ask(stream=stream), headers={"x-omni-hedge": "60" if stream else "3000"}
    )
    assert answer.headers["x-omni-model"] == FIRST
    assert "x-omni-hedged" not in answer.headers
    gateway.settle(1)
    assert [state for _, state, _ in _attempts(gateway)] == ["ok"]


def test_the_slow_one_answers_when_the_other_fails(gateway: Served, http: httpx.Client) -> None:
    gateway.sim.fault("slow-first:0.4", "anthropic/*")
    gateway.sim.fault("401", "openai/*")
    answer = http.post(PATHS[0], json=_ask(), headers=HEDGE)
    assert answer.status_code == 200
    assert answer.headers["x-omni-model"] == FIRST
    gateway.settle(1)
    assert sorted(state for _, state, _ in _attempts(gateway)) == ["failed", "ok"]


def test_when_all_fail_all_are_named(gateway: Served, http: httpx.Client) -> None:
    gateway.sim.fault("slow-first:0.2,401", "anthropic/*")
    gateway.sim.fault("401", "*")
    answer = http.post(PATHS[0], json=_ask(), headers=HEDGE)
    assert answer.status_code == 503
    assert FIRST in answer.json()["error"]["message"]
    assert SECOND in answer.json()["error"]["message"]
    gateway.settle(1)


def test_a_model_alone_is_asked_twice(gateway: Served, http: httpx.Client) -> None:
    gateway.sim.fault("hang", "openai/*", first=1)
    answer = http.post(PATHS[0], json=_ask(model=SECOND), headers=HEDGE)
    assert answer.status_code == 200
    gateway.settle(1)
    assert [state for _, state, _ in _attempts(gateway)] == ["cancelled", "ok"]


def test_a_stream_that_breaks_off_after_a_hedge_is_told(
    gateway: Served, http: httpx.Client
) -> None:
    gateway.sim.fault("hang", "anthropic/*")
    gateway.sim.fault("truncate:5", "openai/*")
    gateway.sim.fault("slow-tokens:200", "openai/*")
    answer = http.post(PATHS[0], json=_ask(stream=True), headers=HEDGE)
    assert '"error"' in answer.text
    gateway.settle(1)
    (row,) = gateway.app.ledger.recent(limit=5)
    assert (row.state, row.error_code) == ("failed", "stream_interrupted")


def test_a_caller_that_leaves_ends_both(gateway: Served) -> None:
    gateway.sim.fault("hang", "*")
    number = gateway.app.budgets.put(Budget(0, "all", "", "day", 10**12))
    body = json.dumps(_ask()).encode()
    host, port = gateway.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as caller:
        caller.sendall(
            b"POST %b HTTP/1.1\r\nhost: localhost\r\nx-omni-hedge: 60\r\n"
            b"content-length: %d\r\n\r\n%b" % (PATHS[0].encode(), len(body), body)
        )
        end = time.monotonic() + 10
        while gateway.sim.stats()["in_flight"] < 2 and time.monotonic() < end:
            time.sleep(0.02)
    gateway.settle(1)
    (row,) = gateway.app.ledger.recent(limit=5)
    assert row.state == "cancelled"
    assert [state for _, state, _ in _attempts(gateway)] == ["cancelled", "cancelled"]
    budget = gateway.app.budgets.get(number)
    assert budget is not None
    # What both may cost yet stays held.
    held = [attempt.held_nusd for attempt in gateway.app.ledger.attempts(row.id)]
    assert all(held)
    assert gateway.app.budgets.status(budget, gateway.app.now_ms()).reserved_nusd == sum(held)


def test_it_stays_within_what_a_request_may_cost(gateway: Served, http: httpx.Client) -> None:
    """Both at their worst: of a maximum for one and a half calls, the hedge gets nothing."""
    gateway.sim.fault("slow-first:0.3", "anthropic/*")
    request = OpenAiChat().parse(_ask(model=FIRST)).request
    plan = gateway.app.chat.plan(ChatJob(request, Selector("model", FIRST)))
    worst = gateway.app.chat.worst_nusd(plan)
    assert worst
    for share, attempts in ((Decimal("1.5"), "1"), (Decimal("2.1"), "2")):
        most = {"x-omni-max-cost": usd_string(int(worst * share))}
        answer = http.post(PATHS[0], json=_ask(model=FIRST), headers={**HEDGE, **most})
        assert answer.status_code == 200, answer.text
        assert answer.headers["x-omni-attempts"] == attempts


def test_it_stays_within_budgets(gateway: Served, http: httpx.Client) -> None:
    """Where a budget leaves nothing for it, the hedge passes the next model over."""
    gateway.app.budgets.put(Budget(0, "provider", "openai", "day", 1))
    gateway.sim.fault("slow-first:0.3", "anthropic/*")
    answer = http.post(PATHS[0], json=_ask(), headers=HEDGE)
    assert answer.status_code == 200
    assert answer.headers["x-omni-model"] != SECOND
    assert f"{SECOND}=budget" in answer.headers["x-omni-skipped"]
    gateway.settle(1)
    assert SECOND not in [model for model, _, _ in _attempts(gateway)]


@pytest.mark.parametrize("value", ["soon", "-1", "1", "99999999", "1.5", ""])
def test_a_wrong_header_is_refused(gateway: Served, http: httpx.Client, value: str) -> None:
    answer = http.post(PATHS[0], json=_ask(), headers={"x-omni-hedge": value})
    assert answer.status_code == 400
    assert "x-omni-hedge" in answer.json()["error"]["message"]


def test_a_chain_says_when(gateway: Served, http: httpx.Client) -> None:
    chain = gateway.app.fleet.chain("Fast Chain")
    gateway.app.fleet.put_chain(replace(chain, hedge_ms=60))
    time.sleep(0.5)  # the gateway looks at the store four times a second
    gateway.sim.fault("slow-first:0.5", "anthropic/*")
    assert http.post(PATHS[0], json=_ask()).headers["x-omni-model"] == SECOND
    alone = http.post(PATHS[0], json=_ask(), headers={"x-omni-hedge": "off"})
    assert alone.headers["x-omni-model"] == FIRST


@pytest.fixture
def impatient(gateway: Served) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=gateway.url, timeout=20, trust_env=False, headers=HEDGE) as client:
        yield client


def test_whoever_is_first_exactly_one_answers(gateway: Served, impatient: httpx.Client) -> None:
    """Answers that come together, many times at once: one is taken, everything is settled."""
    chance = random.Random(11)
    for model in ("anthropic/*", "openai/*"):
        for _ in range(4):
            wait = chance.uniform(0.05, 0.14)
            gateway.sim.fault(f"slow-first:{wait:.3f}", model, probability=0.4)
    answers: list[httpx.Response] = []

    def ask(number: int) -> None:
        body = _ask(stream=number % 2 == 0)
        answers.append(impatient.post(PATHS[number % 3 == 0], json=body))

    for _ in range(6):
        threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [a.status_code for a in answers] == [200] * 48
    assert {a.headers["x-omni-model"] for a in answers} == {FIRST, SECOND}
    gateway.settle(48)
    for row in gateway.app.ledger.recent(limit=100):
        attempts = gateway.app.ledger.attempts(row.id)
        assert [a.n for a in attempts] == list(range(1, len(attempts) + 1))
        assert [a.state for a in attempts].count("ok") == 1
        assert {a.state for a in attempts} <= {"ok", "cancelled", "unsent"}
        assert row.total_nusd == sum(a.cost_nusd or 0 for a in attempts)
