"""Organisations share a gateway and see nothing of each other; narrow keys stay narrow (E3)."""

import random
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from omni_cli.domain.budgets import Budget
from omni_cli.domain.ids import id_text
from omni_cli.records import ClientKey
from omni_cli.simulator import Simulator
from omni_cli.store.gateway_keys import GatewayKeyStore
from tests.gateway_server import ACTIVE, Served, serving

ORGS = ("acme", "globex", "initech")
NAMES = (
    *ACTIVE, "auto", "auto:cheap", "auto:best", "auto:fast", "role:heartbeat", "chain:Fast Chain",
    "chain:Production Chain", "gpt-4o", "no/such-model",
)  # fmt: skip


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Served]:
    with Simulator(seed=3) as sim, serving(tmp_path, sim) as served:
        yield served


def _key(gateway: Served, name: str, **fields: Any) -> dict[str, str]:
    made = ClientKey(name=name, shown="omni-...", created_at=1, **fields)
    GatewayKeyStore(gateway.app.store).add(made, f"omni-{name}")
    return {"authorization": f"Bearer omni-{name}"}


def _ask(
    http: httpx.Client, dice: random.Random, key: dict[str, str], agent: str
) -> httpx.Response:
    """A request of one protocol or another; fallbacks are asked for now and then."""
    model = dice.choice(NAMES)
    messages = [{"role": "user", "content": f"Say {dice.randrange(100)}"}]
    headers = {**key, "x-omni-agent": agent}
    if dice.random() < 0.3:
        headers["x-omni-fallback"] = "1"
    path = dice.choice(("/v1/chat/completions", "/v1/messages", "/v1/chat", "/api/chat"))
    body = {"model": model, "messages": messages, "max_tokens": 30, "stream": False}
    return http.post(path, json=body, headers=headers)


@pytest.mark.parametrize("seed", [1, 2])
def test_nothing_of_another_organisation_shows(gateway: Served, seed: int) -> None:
    dice = random.Random(seed)
    keys = {org: _key(gateway, f"key-of-{org}", org=org) for org in ORGS}
    gateway.app.budgets.put(Budget(0, "org", "globex", "day", 10**12))
    time.sleep(0.5)
    sent: Counter[str] = Counter()
    with httpx.Client(base_url=gateway.url, timeout=20, trust_env=False) as http:
        for _ in range(60):
            org = dice.choice(ORGS)
            answer = _ask(http, dice, keys[org], f"agent-of-{org}")
            assert answer.status_code in (200, 400, 404), answer.text
            sent[org] += answer.status_code == 200
        end = time.monotonic() + 10
        while any(row.state == "pending" for row in gateway.app.ledger.recent(limit=200)):
            assert time.monotonic() < end
            time.sleep(0.02)
        rows = {
            org: [r for r in gateway.app.ledger.recent(limit=200) if r.org == org] for org in ORGS
        }
        assert {org: sum(r.state == "ok" for r in rows[org]) for org in ORGS} == dict(sent)
        paths = http.get("/openapi.json").json()["paths"]
        for org in ORGS:
            for path, operations in paths.items():
                if "get" not in operations or path == "/openapi.json":
                    continue
                real = path.replace("{id}", "openai/gpt-4o").replace("{slug}", "openai")
                closed = path.startswith("/api/") and path not in (
                    "/api/tags",
                    "/api/version",
                    "/api/ps",
                )
                # What is closed is so before a query is read.
                queries = ("?by=org",) if closed else ("", "?by=key", "?by=agent", "?by=org")
                for query in queries:
                    answer = http.get(real + query, headers=keys[org])
                    if closed:
                        assert answer.status_code == 403, path
                    for other in ORGS:
                        if other != org:
                            assert other not in answer.text, (path, query)
                            for row in rows[other]:
                                assert id_text(row.id) not in answer.text
            usage = http.get("/v1/usage", headers=keys[org]).json()
            assert usage["total"]["calls"] == len([r for r in rows[org] if r.state != "refused"])


@pytest.mark.parametrize("pattern", ["openai/*", "anthropic/claude-3*", "google/gemini-2.0-flash"])
def test_a_narrow_key_reaches_its_models_only(gateway: Served, pattern: str) -> None:
    """By no name, alias, role, chain, automatic choice or fallback, also when models fail."""
    from fnmatch import fnmatchcase

    dice = random.Random(pattern)
    key = _key(gateway, "narrow", models=(pattern,))
    time.sleep(0.5)
    allowed = [model for model in ACTIVE if fnmatchcase(model, pattern)]
    gateway.sim.fault("503", allowed[0], probability=0.5)
    seen = set()
    with httpx.Client(base_url=gateway.url, timeout=20, trust_env=False) as http:
        for _ in range(50):
            answer = _ask(http, dice, key, "")
            if answer.status_code == 200:
                seen.add(answer.headers["x-omni-model"])
    assert seen
    attempted = {
        attempt.model
        for row in gateway.app.ledger.recent(limit=200)
        for attempt in gateway.app.ledger.attempts(row.id)
    }
    assert all(fnmatchcase(model, pattern) for model in seen | attempted)
