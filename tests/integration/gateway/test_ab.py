"""A/B tests and canaries on the gateway's traffic: shares, conversations, evidence (B7, A9)."""

import time
from typing import Any

import httpx

from omni_cli.services.judge.abtest import Settings
from tests.gateway_server import Served

CHAMPION, CHALLENGER = "anthropic/claude-3-haiku-20240307", "openai/gpt-4o-mini"
ROLE = "role:heartbeat"


def ask(http: httpx.Client, *turns: str) -> str:
    """Who answers the last of these turns, the user's first."""
    messages = [
        {"role": "assistant" if number % 2 else "user", "content": text}
        for number, text in enumerate(turns)
    ]
    body: dict[str, Any] = {"model": ROLE, "messages": messages, "max_tokens": 30}
    answer = http.post("/v1/chat/completions", json=body)
    assert answer.status_code == 200, answer.text
    return answer.headers["x-omni-model"]


def test_conversations_stay_where_they_began(gateway: Served, http: httpx.Client) -> None:
    earlier = ask(http, "before the test")
    test = gateway.app.abtests.start("heartbeat", CHALLENGER, 0.5, Settings(settle_s=0))
    time.sleep(0.6)  # the gateway looks for changes four times a second
    firsts = {f"question {number}": "" for number in range(20)}
    for question in firsts:
        firsts[question] = ask(http, question)
    assert set(firsts.values()) == {CHAMPION, CHALLENGER}
    for question, model in firsts.items():
        assert ask(http, question, "an answer", "and then?") == model
        assert ask(http, question) == model
    # One that began before the test has nothing to do with it.
    assert {ask(http, "before the test", "an answer", f"more {n}") for n in range(5)} == {earlier}
    gateway.settle(1 + 60 + 5)
    report = gateway.app.abtests.report(test)
    expected = list(firsts.values())
    assert report.challenger.units == expected.count(CHALLENGER)
    assert report.champion.units == expected.count(CHAMPION)
    assert report.challenger.good == report.challenger.counted
