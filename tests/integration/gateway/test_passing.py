"""Requests of the provider's own protocol: passed through, and in the ledger to the last token."""

import json
from typing import Any

import httpx
import pytest

from omni_cli.domain.budgets import Budget
from omni_cli.domain.chat import ChatRequest, Message
from omni_cli.domain.tokens import estimate_tokens
from omni_cli.services.engine.chat_plan import ChatJob
from tests.gateway_server import Served

ASK: dict[str, Any] = {
    "model": "openai/gpt-4o",
    "messages": [{"role": "user", "content": "Is all well?"}],
    "max_tokens": 60,
}


def test_an_answer_passes_and_its_receipt_is_exact(gateway: Served, http: httpx.Client) -> None:
    answer = http.post("/v1/chat/completions", json=ASK)
    assert answer.status_code == 200
    body = answer.json()
    assert body["choices"][0]["message"]["content"]
    gateway.settle(1)
    (row,) = gateway.app.ledger.recent(limit=5)
    assert (row.state, row.model, row.source) == ("ok", "openai/gpt-4o", "gateway")
    assert row.usage.input_tokens == body["usage"]["prompt_tokens"]
    assert row.usage.output_tokens == body["usage"]["completion_tokens"]
    assert answer.headers["x-omni-model"] == "openai/gpt-4o"
    assert answer.headers["x-request-id"].startswith("req_")
    cost = answer.headers["x-omni-cost-usd"]
    assert row.total_nusd is not None
    assert row.total_nusd > 0
    assert cost == f"{row.total_nusd / 1e9:.9f}".rstrip("0")
    (attempt,) = gateway.app.ledger.attempts(row.id)
    assert attempt.state == "ok"
    (entry,) = gateway.sim.answered()
    assert entry["attempt"] == f"{answer.headers['x-omni-request-id']}-1"


def _events(text: str) -> list[Any]:
    return [
        json.loads(line[6:])
        for line in text.split("\n")
        if line.startswith("data: ") and line != "data: [DONE]"
    ]


@pytest.mark.parametrize("asked", [False, True])
def test_a_stream_passes_with_usage_only_where_asked(
    gateway: Served, http: httpx.Client, asked: bool
) -> None:
    ask = {**ASK, "stream": True}
    if asked:
        ask["stream_options"] = {"include_usage": True}
    answer = http.post("/v1/chat/completions", json=ask)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = _events(answer.text)
    assert "data: [DONE]" in answer.text
    assert any(not event["choices"] for event in events) is asked
    gateway.settle(1)
    (row,) = gateway.app.ledger.recent(limit=5)
    assert row.state == "ok"
    (entry,) = gateway.sim.answered()
    assert row.usage.output_tokens == entry["output_tokens"] > 0
    assert row.usage.input_tokens == entry["input_tokens"]
    assert not row.estimated
    assert ": omni request=" in answer.text


def test_unknown_fields_go_on_unchanged(gateway: Served, http: httpx.Client) -> None:
    answer = http.post(
        "/v1/chat/completions", json={**ASK, "user": "me-7", "made_up": [1, {"a": 2}]}
    )
    assert answer.status_code == 200
    (entry,) = gateway.sim.answered()
    assert entry["user"] == "me-7"


def test_budgets_are_charged_and_leases_released(gateway: Served, http: httpx.Client) -> None:
    number = gateway.app.budgets.put(Budget(0, "all", "", "day", 10**9))
    for _ in range(3):
        assert http.post("/v1/chat/completions", json=ASK).status_code == 200
    gateway.settle(3)
    budget = gateway.app.budgets.get(number)
    assert budget is not None
    status = gateway.app.budgets.status(budget, gateway.app.now_ms())
    assert status.reserved_nusd == 0
    rows = list(gateway.app.ledger.recent(limit=5))
    assert status.spent_nusd == sum(row.total_nusd or 0 for row in rows) > 0


def test_a_budget_that_is_used_up_refuses_before_anything_is_sent(
    gateway: Served, http: httpx.Client
) -> None:
    gateway.app.budgets.put(Budget(0, "all", "", "day", 10))
    answer = http.post("/v1/chat/completions", json=ASK)
    assert answer.status_code == 402
    assert answer.json()["error"]["code"] == "budget_exceeded"
    assert answer.headers["x-should-retry"] == "false"
    gateway.settle(1)
    (row,) = gateway.app.ledger.recent(limit=5)
    assert (row.state, row.attempts) == ("refused", 0)
    assert gateway.sim.stats()["requests"] == 0


def test_a_budget_that_leaves_little_bounds_the_answer(gateway: Served, http: httpx.Client) -> None:
    gateway.app.budgets.put(Budget(0, "all", "", "day", 8_000_000))
    answer = http.post("/v1/chat/completions", json={**ASK, "max_tokens": 100_000})
    assert answer.status_code == 200
    gateway.settle(1)
    (row,) = gateway.app.ledger.recent(limit=5)
    (attempt,) = gateway.app.ledger.attempts(row.id)
    assert attempt.output_bound is not None
    assert 256 <= attempt.output_bound < 100_000


def test_a_budget_holds_all_choices_of_an_answer(gateway: Served, http: httpx.Client) -> None:
    gateway.app.budgets.put(Budget(0, "all", "", "day", 4_000_000))  # gpt-4o: $10 per 1M out
    answer = http.post("/v1/chat/completions", json={**ASK, "max_tokens": 200, "n": 4})
    assert answer.status_code == 200, answer.text
    gateway.settle(1)
    (row,) = gateway.app.ledger.recent(limit=5)
    (attempt,) = gateway.app.ledger.attempts(row.id)
    assert attempt.output_bound is not None
    assert 256 <= attempt.output_bound <= 400
    assert attempt.output_bound % 4 == 0


def test_an_unknown_model_is_refused_by_name(http: httpx.Client) -> None:
    answer = http.post("/v1/chat/completions", json={**ASK, "model": "nobody/nothing"})
    assert answer.status_code == 404
    assert "nobody/nothing" in answer.json()["error"]["message"]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"x"', b"{}", b'{"model": 7}', b"\xff\xfe"])
def test_a_malformed_body_is_the_callers_fault(http: httpx.Client, body: bytes) -> None:
    answer = http.post("/v1/chat/completions", content=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"


def test_rollups_equal_the_ledger(gateway: Served, http: httpx.Client) -> None:
    for number in range(6):
        ask = {**ASK, "stream": number % 2 == 0, "max_tokens": 10 + number}
        assert http.post("/v1/chat/completions", json=ask).status_code == 200
    gateway.settle(6)
    db = gateway.app.store.db
    rows = list(gateway.app.ledger.recent(limit=10))
    rolled = db.execute(
        "SELECT sum(calls), sum(ok), sum(cost_nusd), sum(output_tokens), sum(attempts)"
        " FROM rollup_day"
    ).fetchone()
    assert tuple(rolled) == (
        6,
        6,
        sum(row.total_nusd or 0 for row in rows),
        sum(row.usage.output_tokens for row in rows),
        6,
    )
    assert db.execute("SELECT sum(good) FROM health_hours").fetchone()[0] == 6


@pytest.mark.parametrize("tokens", [3, 20, 60, 100, 400])
@pytest.mark.parametrize("way", ["passed", "translated", "plain", "command"])
def test_without_counts_every_face_estimates_alike(
    gateway: Served, http: httpx.Client, way: str, tokens: int
) -> None:
    gateway.sim.fault("no-usage", "*")
    model = "anthropic/claude-3-haiku-20240307" if way == "translated" else "openai/gpt-4o"
    messages = [{"role": "user", "content": "Say how all is, in a long letter."}]
    ask = {"model": model, "messages": messages, "max_tokens": tokens}
    if way == "command":
        request = ChatRequest(
            (Message.text_of("user", messages[0]["content"]),), max_output_tokens=tokens
        )
        selector = gateway.app.names.select(model)
        run = gateway.app.chat.start(gateway.app.chat.plan(ChatJob(request, selector)))
        text = "".join(chunk.text for chunk in gateway.app.chat.chunks(run))
    elif way == "plain":
        body = http.post("/v1/chat/completions", json=ask).json()
        text = body["choices"][0]["message"]["content"]
    else:
        answer = http.post("/v1/chat/completions", json={**ask, "stream": True})
        choices = [event["choices"][0] for event in _events(answer.text) if event["choices"]]
        text = "".join(choice["delta"].get("content") or "" for choice in choices)
    gateway.settle(1)
    (row,) = gateway.app.ledger.recent(limit=5)
    assert row.estimated
    sent = 4 + estimate_tokens(messages[0]["content"])
    assert row.usage.input_tokens == sent
    assert row.usage.output_tokens == min(estimate_tokens(text), tokens)
