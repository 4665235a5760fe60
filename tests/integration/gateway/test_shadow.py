"""A challenger in the shadow of the gateway's traffic: after the caller, and unseen by it (B7)."""

import time
from typing import Any

import httpx
import pytest

from omni_cli.services.judge.shadow import Settings
from tests.gateway_server import Served

CHAMPION, CHALLENGER = "anthropic/claude-3-haiku-20240307", "openai/gpt-4o-mini"
JUDGE = "openai/gpt-4o"


def _wait(gateway: Served, pairs: int) -> list[Any]:
    (shadow,) = gateway.app.shadow.every()
    end = time.monotonic() + 10
    while time.monotonic() < end:
        found = gateway.app.shadow.shadows.pairs(shadow.id)
        if len(found) >= pairs:
            return found
        time.sleep(0.02)
    raise AssertionError(f"{len(found)} of {pairs} pairs")


@pytest.mark.parametrize(
    ("path", "stream", "role"),
    [
        ("/v1/chat/completions", False, "heartbeat"),
        ("/v1/messages", True, "heartbeat"),
        ("/v1/chat/completions", True, "heartbeat"),
        ("/v1/chat/completions", True, "auto"),
    ],
)
def test_answers_are_compared_in_every_way_of_passing_on(
    gateway: Served, http: httpx.Client, path: str, role: str, *, stream: bool
) -> None:
    gateway.app.shadow.start(
        role, CHALLENGER, share=1.0, budget_nusd=10**9, judge=JUDGE, settings=Settings()
    )
    time.sleep(0.6)  # the gateway looks for changes four times a second
    body = {
        "model": "auto" if role == "auto" else f"role:{role}",
        "messages": [{"role": "user", "content": "Is the kumquat up?"}],
        "max_tokens": 60,
        "stream": stream,
    }
    answer = http.post(path, json=body)
    assert answer.status_code == 200
    assert "gpt-4o-mini" not in answer.text
    (pair,) = _wait(gateway, 1)
    assert (pair.how, pair.champion, pair.challenger) == ("judge", 0.9, 0.9)
    rows = {row.source: row for row in gateway.app.ledger.recent(limit=10)}
    assert set(rows) == {"gateway", "shadow", "judge"}
    if role != "auto":
        assert rows["gateway"].model == CHAMPION
    assert rows["shadow"].id == pair.shadowed
    tables = (
        "shadow_pairs",
        "shadow_claims",
        "requests",
        "attempts",
        "decisions",
        "turns",
        "comparisons",
    )
    dump = [
        tuple(row) for t in tables for row in gateway.app.store.db.execute(f"SELECT * FROM {t}")
    ]  # names of ours only
    assert "kumquat" not in str(dump)
