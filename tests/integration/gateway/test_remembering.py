"""Answers from memory on the gateway's path, for roles that opted in (B8, E3)."""

import time
from typing import Any

import httpx
import pytest

from omni_cli.records import ClientKey
from omni_cli.store.gateway_keys import GatewayKeyStore
from tests.gateway_server import Served

HAIKU = "anthropic/claude-3-haiku-20240307"
CHAT, MESSAGES = "/v1/chat/completions", "/v1/messages"


def ask(text: str = "Is all well?", **more: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": text}]
    return {"model": "role:heartbeat", "messages": messages, "max_tokens": 60, **more}


@pytest.fixture(autouse=True)
def remembers(gateway: Served) -> None:
    gateway.app.answers.set_ttl("heartbeat", 3600)


def settled(gateway: Served, count: int) -> list[Any]:
    gateway.settle(count)
    time.sleep(0.1)  # what is remembered is written with the next batch
    return sorted(gateway.app.ledger.recent(limit=100), key=lambda row: row.id)


def test_the_same_request_costs_nothing(gateway: Served, http: httpx.Client) -> None:
    first = http.post(CHAT, json=ask())
    assert first.headers["x-omni-cache"] == "miss"
    settled(gateway, 1)
    second = http.post(CHAT, json=ask())
    assert second.headers["x-omni-cache"] == "hit"
    assert second.headers["x-omni-model"] == HAIKU
    assert second.headers["x-omni-cost-usd"] == "0"
    said = [a.json()["choices"][0]["message"]["content"] for a in (first, second)]
    assert said[0] == said[1]
    assert gateway.sim.stats()["requests"] == 1
    _, hit = settled(gateway, 2)
    assert (hit.source, hit.state, hit.total_nusd or 0) == ("cache", "ok", 0)
    assert hit.premium_cost_nusd > 0
    assert gateway.app.answers.stats().hits == 1


def test_other_protocols_and_streams_share_it(gateway: Served, http: httpx.Client) -> None:
    http.post(MESSAGES, json=ask(stream=True))
    settled(gateway, 1)
    for path, body in (
        (MESSAGES, ask()),
        (MESSAGES, ask(stream=True)),
        (CHAT, ask()),
        (CHAT, ask(stream=True)),
    ):
        answer = http.post(path, json=body)
        assert answer.headers["x-omni-cache"] == "hit", path
        assert "simulated claude-3-haiku" in answer.text.replace('"}}\n\n', "")
    assert gateway.sim.stats()["requests"] == 1


def test_what_is_not_the_same_is_asked(gateway: Served, http: httpx.Client) -> None:
    http.post(CHAT, json=ask())
    settled(gateway, 1)
    for body, headers in (
        (ask("Is all really well?"), {}),
        (ask(max_tokens=61), {}),
        (ask(temperature=0.3), {}),
        (ask(), {"cache-control": "no-cache"}),
        (ask(), {"x-omni-cache": "off"}),
        ({**ask(), "model": HAIKU}, {}),
    ):
        answer = http.post(CHAT, json=body, headers=headers)
        assert answer.status_code == 200, answer.text
        assert answer.headers.get("x-omni-cache") != "hit"
    assert gateway.sim.stats()["requests"] == 7


def test_organisations_do_not_share_it(gateway: Served, http: httpx.Client) -> None:
    keys = {}
    for org in ("acme", "globex"):
        made = ClientKey(name=f"k-{org}", shown="omni-...", created_at=1, org=org)
        GatewayKeyStore(gateway.app.store).add(made, f"omni-{org}")
        keys[org] = {"authorization": f"Bearer omni-{org}"}
    time.sleep(0.5)
    seen = []
    for count, org in enumerate(("acme", "globex", "acme"), 1):
        seen.append(http.post(CHAT, json=ask(), headers=keys[org]).headers["x-omni-cache"])
        settled(gateway, count)
    assert seen == ["miss", "miss", "hit"]


def test_a_key_gets_no_answer_of_a_model_that_it_may_not_call(
    gateway: Served, http: httpx.Client
) -> None:
    keys = {}
    for name, models in (("all", ()), ("narrow", ("openai/*",))):
        made = ClientKey(name=name, shown="omni-...", created_at=1, org="acme", models=models)
        GatewayKeyStore(gateway.app.store).add(made, f"omni-{name}")
        keys[name] = {"authorization": f"Bearer omni-{name}"}
    time.sleep(0.5)
    assert http.post(CHAT, json=ask(), headers=keys["all"]).headers["x-omni-model"] == HAIKU
    settled(gateway, 1)
    assert http.post(CHAT, json=ask(), headers=keys["all"]).headers["x-omni-cache"] == "hit"
    answer = http.post(CHAT, json=ask(), headers=keys["narrow"])
    if answer.status_code == 200:
        assert answer.headers["x-omni-model"].startswith("openai/")
        assert answer.headers.get("x-omni-cache") != "hit"
    else:
        assert answer.status_code == 403


def test_broken_answers_are_not_remembered(gateway: Served, http: httpx.Client) -> None:
    gateway.sim.fault("truncate:1", HAIKU, first=1)
    http.post(CHAT, json=ask(stream=True))
    settled(gateway, 1)
    assert http.post(CHAT, json=ask()).headers["x-omni-cache"] == "miss"
