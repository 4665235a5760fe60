"""Receipts of what the gateway answered, refused and gave up: what ``omni why`` makes of them."""

import json
import socket
import time
from typing import Any

import httpx
import pytest

from omni_cli.domain.budgets import Budget
from omni_cli.domain.ids import id_text
from omni_cli.domain.money import usd_string
from omni_cli.domain.record import replace
from omni_cli.tui.screens.receipt import receipt_text
from tests.gateway_server import Served
from tests.integration.cli_process import Done, omni

CHAT = "/v1/chat/completions"
OWN = "openai/gpt-4o"
MESSAGES = [{"role": "user", "content": "Is all well? Tell me at length."}]


def _ask(model: str = OWN, **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": MESSAGES, "max_tokens": 60, **more}


def _why(gateway: Served, *args: str) -> Done:
    done = omni({"OMNI_HOME": str(gateway.home), "USER": "test"}, "why", *args)
    assert done.code == 0, done.everything
    return done


def _shown(gateway: Served) -> str:
    """The receipt of the newest request on a screen of the TUI."""
    (row,) = gateway.app.ledger.recent(limit=1)
    return receipt_text(gateway.app.receipts.read(id_text(row.id)), "UTC").plain


@pytest.mark.parametrize("model", [OWN, "auto", "role:heartbeat", "chain:Fast Chain"])
def test_an_answers_receipt_tells_who_decided(
    gateway: Served, http: httpx.Client, model: str
) -> None:
    answer = http.post(CHAT, json=_ask(model))
    assert answer.status_code == 200, answer.text
    gateway.settle(1)
    receipt = _why(gateway, "--json").json
    used = answer.headers["x-omni-model"]
    decision = receipt["decision"]
    assert decision["model"] == receipt["model_used"] == used
    assert any(candidate["model"] == used for candidate in decision["candidates"])
    assert (decision["by"] == "named") == (model == OWN)
    text = _why(gateway).out
    assert decision["reason"] in text
    assert ("task  " in text) == (model != OWN)  # a named model's task is not looked at
    assert decision["reason"] in _shown(gateway)


def test_a_decision_of_an_older_gateway_is_read(gateway: Served, http: httpx.Client) -> None:
    http.post(CHAT, json=_ask())
    gateway.settle(1)
    (row,) = gateway.app.ledger.recent(limit=1)
    candidates = [{"model": OWN, "eligible": True, "reason": "named"}]
    old = {"model": OWN, "reason": "named by the caller", "by": "name", "candidates": candidates}
    store = gateway.app.store
    from omni_cli.domain.batch import pack_decision

    with store.transaction() as db:
        db.execute("INSERT INTO decisions VALUES (?, ?)", (row.id, pack_decision(json.dumps(old))))
    assert _why(gateway, "--json").json["decision"]["candidates"][0]["quality"] is None
    assert OWN in _why(gateway).out
    assert OWN in _shown(gateway)
    rated = omni({"OMNI_HOME": str(gateway.home), "USER": "test"}, "rate", "last", "5")
    assert rated.code == 0, rated.everything
    scores = omni({"OMNI_HOME": str(gateway.home), "USER": "test"}, "eval-router", "--ledger")
    assert scores.code == 0, scores.everything


def test_what_a_budget_refused_cost_nothing_and_names_its_model(
    gateway: Served, http: httpx.Client
) -> None:
    gateway.app.budgets.put(Budget(0, "model", OWN, "month", 1))
    answer = http.post(CHAT, json=_ask())
    assert answer.status_code == 402, answer.text
    assert answer.headers["x-omni-attempts"] == "0"
    assert answer.headers["x-omni-cost-usd"] == "0"
    gateway.settle(1)
    (row,) = gateway.app.ledger.recent(limit=1)
    assert answer.headers["x-omni-request-id"] == id_text(row.id)
    receipt = _why(gateway, "--json").json
    assert (receipt["state"], receipt["cost_usd"], receipt["attempts"]) == ("refused", "0", [])
    assert receipt["decision"]["model"] == OWN
    text = _why(gateway).out
    assert f"{OWN}, named by the caller" in text
    assert "nothing was sent" in text
    assert "unknown" not in text
    assert OWN in _shown(gateway)


def test_an_errors_answer_leads_to_its_receipt(gateway: Served, http: httpx.Client) -> None:
    gateway.sim.fault("503", "anthropic/*")
    answer = http.post("/v1/messages", json=_ask("anthropic/claude-sonnet-4-20250514"))
    assert answer.status_code >= 500
    gateway.settle(1)
    (row,) = gateway.app.ledger.recent(limit=1)
    attempts = gateway.app.ledger.attempts(row.id)
    assert answer.headers["x-omni-request-id"] == id_text(row.id)
    assert answer.headers["x-omni-attempts"] == str(len(attempts))
    assert answer.headers["x-omni-model"] == "anthropic/claude-sonnet-4-20250514"
    assert answer.headers["x-omni-cost-usd"] == usd_string(row.total_nusd or 0)


def test_a_named_model_keeps_to_the_maximum_cost(gateway: Served, http: httpx.Client) -> None:
    for path in (CHAT, "/v1/messages"):
        answer = http.post(path, json=_ask(), headers={"x-omni-max-cost": "0.0000001"})
        assert answer.status_code == 402, answer.text
        assert "x-omni-max-cost" in answer.text
    vectors = {"model": "openai/text-embedding-3-small", "input": "one two three " * 50}
    answer = http.post("/v1/embeddings", json=vectors, headers={"x-omni-max-cost": "0.0000001"})
    assert answer.status_code == 402, answer.text
    assert not gateway.sim.answered()
    for path, body in ((CHAT, _ask()), ("/v1/embeddings", vectors)):
        answer = http.post(path, json=body, headers={"x-omni-max-cost": "1"})
        assert answer.status_code == 200, answer.text


def test_vectors_save_nothing_against_a_chat_model(gateway: Served, http: httpx.Client) -> None:
    vectors = {"model": "openai/text-embedding-3-small", "input": "one two three"}
    assert http.post("/v1/embeddings", json=vectors).status_code == 200
    gateway.settle(1)
    receipt = _why(gateway, "--json").json
    assert receipt["cost_usd"] != "0"
    assert (receipt["premium_model"], receipt["savings_usd"]) == (None, None)


def test_a_caller_that_leaves_is_told_apart(gateway: Served, http: httpx.Client) -> None:
    gateway.sim.fault("hang", "*")
    with pytest.raises(httpx.ReadTimeout):
        # A plain answer would be read on: it is paid for.
        http.post(CHAT, json={**_ask(), "stream": True}, timeout=1.0)
    gateway.settle(1)
    (attempt,) = _why(gateway, "--json").json["attempts"]
    assert attempt["outcome"] == "cancelled"
    assert attempt["error_message"] == "the caller went away"


def test_a_request_whose_time_is_over_says_so(gateway: Served, http: httpx.Client) -> None:
    gateway.sim.fault("hang", "*")
    answer = http.post(CHAT, json=_ask(), headers={"x-omni-timeout": "0.2"})
    assert answer.status_code == 504
    gateway.settle(1)
    (attempt,) = _why(gateway, "--json").json["attempts"]
    assert attempt["error_message"] == "the request's time was over"


@pytest.fixture
def unreachable(gateway: Served) -> Served:
    """OpenAI's port is one that nobody listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    provider = gateway.app.providers.get("openai")
    assert provider is not None
    with gateway.app.fleet.change("test", "away", None, "openai"):
        gateway.app.fleet.put_provider(replace(provider, base_url=f"http://127.0.0.1:{port}/v1"))
    return gateway


def test_a_provider_that_cannot_be_reached_charges_nothing(
    unreachable: Served, http: httpx.Client
) -> None:
    gateway = unreachable
    gateway.app.budgets.put(Budget(0, "model", OWN, "month", 1_000_000_000))
    end = time.monotonic() + 5
    while time.monotonic() < end:  # until the gateway has seen the change
        answer = http.post(CHAT, json=_ask())
        if answer.status_code >= 500:
            break
        time.sleep(0.1)
    assert answer.status_code >= 500
    assert answer.headers["x-omni-cost-usd"] == "0"
    time.sleep(0.1)
    row = next(r for r in gateway.app.ledger.recent(limit=50) if r.state == "failed")
    attempts = gateway.app.ledger.attempts(row.id)
    assert attempts
    assert {(a.state, a.error_code, a.cost_nusd) for a in attempts} == {("failed", "connection", 0)}
    assert row.total_nusd == 0
