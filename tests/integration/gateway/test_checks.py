"""Checked answers at the gateway: what a caller is told of them, in each protocol."""

from typing import Any

import httpx
import pytest

from omni_cli.domain.money import usd_string
from tests.gateway_server import Served

CHEAP, DEAR = "openai/gpt-4o-mini", "anthropic/claude-3-haiku-20240307"
ASKED = [{"role": "user", "content": "Tell me at length of the sea."}]
BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": ASKED},
    "/v1/messages": {"messages": ASKED},
    "/v1/responses": {"input": "Tell me at length of the sea."},
    "/api/chat": {"messages": ASKED, "stream": False},
    "/v1/chat": {"messages": ASKED},
}
_LIMITS = {"/v1/responses": "max_output_tokens", "/api/chat": "options"}


def _body(path: str, tokens: int) -> dict[str, Any]:
    limit: Any = {"num_predict": tokens} if path == "/api/chat" else tokens
    return {"model": "auto", **BODIES[path], _LIMITS.get(path, "max_tokens"): limit}


@pytest.mark.parametrize("path", BODIES)
def test_the_verdict_is_a_header_and_the_answer_the_protocols_own(
    gateway: Served, http: httpx.Client, path: str
) -> None:
    own = path == "/v1/chat"  # its options are fields of its own
    checked = {} if own else {"x-omni-escalate": "1"}
    wished = {"escalate": True} if own else {}
    whole = http.post(path, json={**_body(path, 4_000), **wished}, headers=checked)
    assert whole.status_code == 200, whole.text
    assert whole.headers["x-omni-check"] == "passed"
    assert whole.headers["x-omni-attempts"] == "1"
    short = http.post(path, json={**_body(path, 3), **wished}, headers=checked)
    assert short.status_code == 200, short.text
    assert short.headers["x-omni-check"] == "failed: cut off by the length limit"
    assert int(short.headers["x-omni-attempts"]) > 1
    assert "[simulated" in short.text
    assert "x-omni-check" not in http.post(path, json=_body(path, 3)).headers
    gateway.settle(3)
    (failed,) = (row for row in gateway.app.ledger.recent(limit=3) if row.state == "failed")
    assert failed.model == short.headers["x-omni-model"]
    assert usd_string(failed.total_nusd or 0) == short.headers["x-omni-cost-usd"]


def test_a_paid_answer_is_given_where_the_time_is_over(gateway: Served, http: httpx.Client) -> None:
    gateway.sim.fault("hang", "anthropic/*")
    gateway.sim.fault("hang", "google/*")
    answer = http.post(
        "/v1/chat/completions",
        json={"model": CHEAP, "messages": ASKED, "max_tokens": 3},
        headers={"x-omni-escalate": "1", "x-omni-fallback": "1", "x-omni-timeout": "1"},
    )
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-omni-check"].startswith("failed")
    assert answer.headers["x-omni-model"] == CHEAP


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", {"model": CHEAP, "messages": ASKED, "stream": True}),
        ("/v1/embeddings", {"model": CHEAP, "input": "a"}),
    ],
)
def test_what_is_not_checked_is_refused_before_it_is_sent(
    gateway: Served, http: httpx.Client, path: str, body: dict[str, Any]
) -> None:
    answer = http.post(path, json=body, headers={"x-omni-escalate": "1"})
    assert answer.status_code == 400
    assert "x-omni-escalate" in answer.text
    assert gateway.sim.stats()["requests"] == 0
