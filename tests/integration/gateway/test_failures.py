"""Failover before the first token, honesty after it, and callers that leave."""

import json
import socket
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from omni_cli.config import set_value
from omni_cli.domain.budgets import Budget
from tests.gateway_server import Served

OWN = "openai/gpt-4o"
MESSAGES = [{"role": "user", "content": "Is all well? Tell me at length."}]


def _ask(model: str = OWN, **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": MESSAGES, "max_tokens": 200, **more}


def _rows(gateway: Served) -> list[Any]:
    return list(gateway.app.ledger.recent(limit=100))


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("fault", ["503", "529", "reset-before", "401", "502", "malformed"])
def test_a_chain_goes_on_when_its_first_model_fails(
    gateway: Served, http: httpx.Client, fault: str, stream: bool
) -> None:
    if stream and fault == "malformed":
        fault = "truncate:0"
    gateway.sim.fault(fault, "anthropic/*")
    answer = http.post("/v1/chat/completions", json=_ask("chain:Fast Chain", stream=stream))
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-omni-model"] == "openai/gpt-4o-mini"
    gateway.settle(1)
    (row,) = _rows(gateway)
    assert (row.state, row.model) == ("ok", "openai/gpt-4o-mini")
    attempts = gateway.app.ledger.attempts(row.id)
    assert [a.state for a in attempts][-1] == "ok"
    assert all(a.state == "failed" for a in attempts[:-1])
    assert len(attempts) >= 2
    assert int(answer.headers["x-omni-attempts"]) == len(attempts)


@pytest.mark.parametrize("fault", ["truncate:5", "cut:5", "reset-mid:5", "error-in-stream:5"])
@pytest.mark.parametrize("model", [OWN, "anthropic/claude-3-haiku-20240307"])
def test_a_stream_that_breaks_off_ends_with_an_error_and_its_bill(
    gateway: Served, http: httpx.Client, fault: str, model: str
) -> None:
    gateway.sim.fault(fault, "*")
    gateway.sim.fault("slow-tokens:200", "*")  # else the end comes with the first token
    answer = http.post("/v1/chat/completions", json=_ask(model, stream=True))
    assert answer.status_code == 200
    events = [
        json.loads(line[6:]) for line in answer.text.split("\n") if line.startswith("data: {")
    ]
    assert "error" in events[-1], events[-1]
    assert "data: [DONE]" not in answer.text
    gateway.settle(1)
    (row,) = _rows(gateway)
    (attempt,) = gateway.app.ledger.attempts(row.id)
    assert (row.state, row.error_code, attempt.state) == ("failed", "stream_interrupted", "failed")
    assert row.usage.output_tokens > 0
    assert row.total_nusd


def test_a_caller_that_leaves_ends_the_providers_work_and_pays_for_what_came(
    gateway: Served, http: httpx.Client
) -> None:
    gateway.sim.fault("slow-tokens:50", "*")
    with http.stream("POST", "/v1/chat/completions", json=_ask(stream=True)) as answer:
        for _ in answer.iter_bytes():
            break
    gateway.settle(1)
    (row,) = _rows(gateway)
    assert row.state == "cancelled"
    assert row.estimated
    assert 0 < row.usage.output_tokens < 150
    end = time.monotonic() + 3
    while gateway.sim.stats()["in_flight"] and time.monotonic() < end:
        time.sleep(0.02)
    assert gateway.sim.stats()["in_flight"] == 0


def _ask_and_leave(gateway: Served, fault: str) -> int:
    """Ask for a plain answer and leave before it comes; returns the budget that covers it."""
    gateway.sim.fault(fault, "*")
    number = gateway.app.budgets.put(Budget(0, "all", "", "day", 10**12))
    body = json.dumps(_ask()).encode()
    host, port = gateway.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as sock:
        sock.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n%b"
            % (len(body), body)
        )
        end = time.monotonic() + 3
        while not gateway.sim.stats()["in_flight"] and time.monotonic() < end:
            time.sleep(0.02)
        time.sleep(0.1)
    return number


def _figures(gateway: Served, number: int) -> tuple[int, int]:
    """(spent, reserved) of a budget."""
    budget = gateway.app.budgets.get(number)
    assert budget is not None
    status = gateway.app.budgets.status(budget, gateway.app.now_ms())
    return status.spent_nusd, status.reserved_nusd


def test_a_plain_answer_is_read_to_its_end_though_its_caller_left(gateway: Served) -> None:
    """Its provider charges for it: the ledger has the exact figure, and nothing is held."""
    number = _ask_and_leave(gateway, "slow-first:0.5")
    gateway.settle(1)
    (row,) = _rows(gateway)
    (attempt,) = gateway.app.ledger.attempts(row.id)
    assert (row.state, row.error_code, attempt.state) == ("cancelled", "cancelled", "ok")
    assert row.usage.output_tokens > 0
    assert not row.estimated
    assert _figures(gateway, number) == (row.total_nusd, 0)


def test_what_a_caller_left_that_never_ended_stays_held(
    gateway: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("omni_cli.gateway.exchange.READ_ON_S", 0.1)
    number = _ask_and_leave(gateway, "hang")
    gateway.settle(1)
    (row,) = _rows(gateway)
    assert row.state == "cancelled"
    # Its provider may go on and charge for the whole: that much stays held.
    (attempt,) = gateway.app.ledger.attempts(row.id)
    assert attempt.held_nusd > 0
    assert _figures(gateway, number) == (attempt.cost_nusd, attempt.held_nusd)


def test_a_named_model_is_not_replaced_unasked(gateway: Served, http: httpx.Client) -> None:
    gateway.sim.fault("401", "openai/*")
    answer = http.post("/v1/chat/completions", json=_ask())
    assert answer.status_code == 502
    assert answer.headers["x-should-retry"] == "false"
    asked = http.post("/v1/chat/completions", json=_ask(), headers={"x-omni-fallback": "1"})
    assert asked.status_code == 200
    assert asked.headers["x-omni-model"] != OWN


def test_the_right_status_and_wait(gateway: Served, http: httpx.Client) -> None:
    expected = {"400": 400, "402": 429, "404": 404, "429-quota": 429, "400-context": 400}
    for fault, status in expected.items():
        gateway.sim.heal()
        gateway.sim.fault(fault, "*")
        answer = http.post("/v1/chat/completions", json=_ask())
        assert answer.status_code == status, fault
        assert answer.json()["error"]["message"]


def test_money_is_counted_once_over_retries(gateway: Served, http: httpx.Client) -> None:
    gateway.sim.fault("503", "openai/*", first=1)
    answer = http.post("/v1/chat/completions", json=_ask())
    assert answer.status_code == 200
    gateway.settle(1)
    (row,) = _rows(gateway)
    attempts = gateway.app.ledger.attempts(row.id)
    assert [a.state for a in attempts] == ["failed", "ok"]
    assert row.total_nusd == attempts[1].cost_nusd
    rolled = gateway.app.store.db.execute(
        "SELECT sum(cost_nusd), sum(attempts), sum(failed_attempts), sum(calls) FROM rollup_day"
    ).fetchone()
    assert tuple(rolled) == (row.total_nusd, 2, 1, 1)


def test_no_key_leaks_into_an_error(gateway: Served, http: httpx.Client) -> None:
    secret = "omni-verysecret0123456789abcdef"
    answer = http.post(
        "/v1/chat/completions",
        json=_ask("none/none"),
        headers={"authorization": f"Bearer {secret}"},
    )
    assert secret not in answer.text
    assert secret not in str(answer.headers)


def test_a_budget_that_is_used_up_is_told(
    gateway: Served, http: httpx.Client, tmp_path: Path
) -> None:
    """Where the settings say, whoever else watches."""
    told = tmp_path / "alerts.jsonl"
    set_value(gateway.app.paths, "alerts.command", f"cat >> {told}")
    gateway.app.budgets.put(Budget(0, "all", "", "day", 2_000_000))
    for _ in range(30):
        if http.post("/v1/chat/completions", json=_ask(max_tokens=30)).status_code == 402:
            break
    end = time.monotonic() + 15
    while time.monotonic() < end and not (told.exists() and told.read_text().count("budget:")):
        time.sleep(0.1)
    alerts = [json.loads(line) for line in told.read_text().splitlines()]
    assert {alert["key"].split(":")[0] for alert in alerts} == {"budget"}
