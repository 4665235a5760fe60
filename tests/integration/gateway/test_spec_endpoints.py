"""Every endpoint of the source specs, and every field of their examples, in their words (E3)."""

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from omni_cli.simulator import Simulator
from tests.gateway_server import Served, serving

SONNET = "anthropic/claude-sonnet-4-20250514"
MESSAGES = [{"role": "user", "content": "Fix this Python function that raises KeyError."}]
#: The fleet spec's Model Configuration, as it may be sent: its fields, and values of ours.
CARD: dict[str, Any] = {
    "id": "model-claude-sonnet-4",
    "name": "Claude Sonnet 4",
    "provider": "anthropic",
    "model": "claude-sonnet-4-20250514",
    "costs": {"inputPer1k": "$0.003", "outputPer1k": "$0.015", "avgPer1k": "$0.009"},
    "capabilities": {
        "coding": 95, "reasoning": 90, "creativity": 85, "speed": 80, "context": 200000
    },
    "assignedRoles": [
        {"role": "primary_coder", "priority": 1, "description": "Writes code"},
        {"role": "general_assistant", "priority": 2, "description": "Whatever comes"},
    ],
    "routingRules": [
        {"condition": "taskType == 'coding' && complexity == 'medium'", "priority": 1},
        {"condition": "taskType == 'debugging'", "priority": 2},
    ],
    "status": "active",
    "health": "healthy",
    "usage": {
        "callsToday": 156, "tokensToday": 485000, "costToday": "$4.37", "callsThisMonth": 3420,
        "costThisMonth": "$89.50",
    },
    "performance": {
        "avgResponseTime": "8.5 seconds", "successRate": "99.2%", "qualityScore": 94,
        "userRating": 4.7,
    },
    "enabled": True,
    "addedAt": "2026-01-15T00:00:00Z",
    "updatedAt": "2026-02-05T18:00:00Z",
}  # fmt: skip
#: The management spec's ModelInfo: each field, and what kind of value it is.
NUMBER, TEXT, TEXTS, TRUTH = (int, float), (str,), (list,), (bool,)
INFO: dict[str, Any] = {
    "id": TEXT, "name": TEXT, "displayName": TEXT, "provider": TEXT, "modelType": TEXT,
    "capabilities": {
        "maxTokens": NUMBER, "inputTypes": TEXTS, "outputTypes": TEXTS, "languages": TEXTS,
        "specialties": TEXTS,
    },
    "performance": {
        "avgResponseTime": NUMBER, "successRate": NUMBER, "accuracyScore": NUMBER,
        "throughput": NUMBER,
    },
    "pricing": {
        "inputCostPer1kTokens": NUMBER, "outputCostPer1kTokens": NUMBER, "minimumCost": NUMBER,
        "freeThreshold": NUMBER,
    },
    "usage": {
        "totalRequests": NUMBER, "requestsToday": NUMBER, "costToday": NUMBER, "usageGrowth": TEXT
    },
    "isActive": TRUTH, "isDefault": TRUTH, "recommendedFor": TEXTS,
    "configuration": {
        "timeout": NUMBER, "maxRetries": NUMBER, "retryDelay": NUMBER, "rateLimitRpm": NUMBER,
        "batchSize": NUMBER,
    },
}  # fmt: skip
REGISTRY: dict[str, Any] = {
    "id": TEXT, "name": TEXT, "parameters": NUMBER, "context_length": NUMBER,
    "context_window": NUMBER, "token_weights": (dict,), "complexity_factor": NUMBER,
    "pricing": {"input": NUMBER, "cachedInput": NUMBER, "output": NUMBER}, "is_system": TRUTH,
    "created_at": TEXT, "updated_at": TEXT,
}  # fmt: skip
STATUS: dict[str, Any] = {
    "id": TEXT, "name": TEXT, "type": TEXT, "status": TEXT, "responseTime": NUMBER,
    "successRate": NUMBER, "dailyRequests": NUMBER, "dailyCost": NUMBER,
    "availableModels": NUMBER, "lastError": TEXT,
}  # fmt: skip
DASHBOARD: dict[str, Any] = {
    "providers": TEXTS, "totalProviders": NUMBER, "activeProviders": NUMBER,
    "healthyProviders": NUMBER, "actions": TEXTS, "overallHealth": TEXT, "lastHealthCheck": TEXT,
    "healthTrend": TEXT,
}  # fmt: skip
PROVIDER: dict[str, Any] = {
    "slug": TEXT, "name": TEXT, "status": TEXT, "authMethod": TEXT, "baseUrl": TEXT,
    "enabled": TRUTH, "maxConcurrentRequests": NUMBER, "apiKey": TEXT, "id": TEXT, "type": TEXT,
    "providerType": TEXT, "apiEndpoint": TEXT, "isActive": TRUTH, "healthStatus": TEXT,
    "lastHealthCheck": TEXT,
}  # fmt: skip
USAGE: dict[str, Any] = {"date": TEXT, "models": TEXTS, "totalCost": TEXT, "savingsVsPremium": TEXT}
USAGE_MODEL: dict[str, Any] = {
    "modelId": TEXT, "calls": NUMBER, "inputTokens": NUMBER, "outputTokens": NUMBER,
    "totalTokens": NUMBER, "cost": TEXT, "byTask": (dict,),
}  # fmt: skip
ADVICE: dict[str, Any] = {
    "id": NUMBER, "type": TEXT, "priority": TEXT, "title": TEXT,
    "current": {"model": TEXT, "frequency": TEXT, "dailyCost": TEXT},
    "recommended": {"model": TEXT, "frequency": TEXT, "dailyCost": TEXT},
    "savings": {"daily": TEXT, "monthly": TEXT, "yearly": TEXT},
    "impact": TEXT, "reasoning": TEXT, "implementation": TEXT, "effort": TEXT, "status": TEXT,
}  # fmt: skip
COMPARED: dict[str, Any] = {"models": TEXTS, "task": TEXT, "results": TEXTS, "recommendation": TEXT}
COMPARED_MODEL: dict[str, Any] = {
    "model": TEXT,
    "quality": NUMBER,
    "speed": TEXT,
    "cost": TEXT,
    "bestFor": TEXT,
}


def holds(told: dict[str, Any], fields: dict[str, Any], where: str = "") -> None:
    """Each field is there, of its kind, or null where it is unknown."""
    for name, kind in fields.items():
        assert name in told, f"{where}{name} is missing"
        if isinstance(kind, dict):
            holds(told[name], kind, f"{where}{name}.")
        elif told[name] is not None:
            assert isinstance(told[name], kind), (where + name, told[name])


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with Simulator(seed=5) as sim, serving(tmp_path_factory.mktemp("specs"), sim) as found:
        yield found


@pytest.fixture(scope="module")
def http(served: Served) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=served.url, timeout=20, trust_env=False) as client:
        for _ in range(2):
            asked = {"model": SONNET, "messages": MESSAGES}
            assert client.post("/v1/chat/completions", json=asked).status_code == 200
        served.settle(2)
        yield client


#: (method, path, body, status, fields of the answer, where they are in it).
Endpoint = tuple[str, str, Any, int, dict[str, Any], str]
FLEET_SPEC: tuple[Endpoint, ...] = (
    ("GET", "/api/models", None, 200, CARD, "models"),
    ("GET", "/api/models/openai/gpt-4o", None, 200, CARD, ""),
    ("GET", f"/api/models/{SONNET}/usage", None, 200, USAGE, ""),
    ("GET", f"/api/models/{SONNET}/usage", None, 200, USAGE_MODEL, "models"),
    ("PUT", "/api/models/openai/gpt-4o/config", {"enabled": True, "costs": {
        "inputPer1k": "$0.0025", "outputPer1k": "$0.01"}}, 200, CARD, ""),
    ("PUT", "/api/models/openai/gpt-4o/roles", {"roles": [{"role": "research", "priority": 2,
        "description": "Reads"}]}, 200, {"assignedRoles": TEXTS}, ""),
    ("POST", "/api/models/openai/gpt-4o/test", {}, 200, {
        "success": TRUTH, "latencyMs": NUMBER, "model": TEXT, "cost": NUMBER}, ""),
    ("POST", "/api/models", {"provider": "openai", "model": "gpt-mine"}, 201, CARD, ""),
    ("DELETE", "/api/models/openai/gpt-mine", None, 200, {"deleted": TEXT}, ""),
    ("GET", "/api/models/analytics/usage?period=today", None, 200, USAGE, ""),
    ("GET", "/api/models/analytics/usage", None, 200, USAGE_MODEL, "models"),
    ("GET", "/api/models/analytics/costs", None, 200, {
        "today": (dict,), "week": (dict,), "month": (dict,), "projected_month": (dict,),
        "trend": TEXTS, "budgets": TEXTS, "by_model": TEXTS, "by_task": TEXTS}, ""),
    ("GET", "/api/models/analytics/compare", None, 200, {"comparison": (dict,)}, ""),
    ("GET", "/api/models/analytics/trends", None, 200, {"days": TEXTS}, ""),
    ("GET", "/api/models/recommendations", None, 200, {"recommendations": TEXTS}, ""),
    ("POST", "/api/models/optimize", {}, 200, {"applied": TRUTH, "suggested": (dict,)}, ""),
    ("GET", "/api/models/savings", None, 200, {
        "potentialMonthlySavings": NUMBER, "saving_usd": TEXT}, ""),
    ("POST", "/api/models/route", {"task": "coding", "complexity": "medium", "context": 9000}, 200,
        {"model": TEXT, "candidates": TEXTS, "task_type": TEXT, "complexity": TEXT}, ""),
    ("POST", "/api/models/route", {"task": "Write a haiku about rain"}, 200, {"model": TEXT}, ""),
)  # fmt: skip
MANAGEMENT_SPEC: tuple[Endpoint, ...] = (
    ("GET", "/api/ai/models", None, 200, INFO, "models"),
    ("POST", "/api/ai/models", {
        "id": "openai/gpt-own", "displayName": "Our own", "modelType": "multimodal",
        "capabilities": {"maxTokens": 4096, "inputTypes": ["text", "image"],
            "outputTypes": ["text", "json"], "specialties": ["safety_analysis"]},
        "pricing": {"inputCostPer1kTokens": 0.001, "outputCostPer1kTokens": 0.002},
        "isActive": True, "isDefault": True, "recommendedFor": ["photos"]}, 201, INFO, ""),
    ("GET", "/api/ai/models/openai/gpt-own", None, 200, INFO, ""),
    ("PUT", "/api/ai/models/openai/gpt-own", {"isActive": False}, 200, INFO, ""),
    ("DELETE", "/api/ai/models/openai/gpt-own", None, 200, {"deleted": TEXT}, ""),
    ("GET", "/api/ai/models/discover?provider=openai", None, 200, {
        "discoveryStatus": TEXT, "discoveredModels": (dict,)}, ""),
    ("GET", "/api/ai/providers", None, 200, PROVIDER, "providers"),
    ("POST", "/api/ai/providers", {
        "slug": "lab", "type": "openai", "baseUrl": "http://127.0.0.1:9/v1",
        "authMethod": "none", "enabled": True, "maxConcurrentRequests": 3}, 201, PROVIDER, ""),
    ("GET", "/api/ai/providers/lab", None, 200, PROVIDER, ""),
    ("PUT", "/api/ai/providers/lab", {"enabled": False}, 200, PROVIDER, ""),
    ("DELETE", "/api/ai/providers/lab", None, 200, {"deleted": TEXT}, ""),
    ("POST", "/api/ai/providers/openai/test", {}, 200, {
        "success": TRUTH, "latencyMs": NUMBER, "error": TEXT}, ""),
    ("GET", "/api/ai/providers/openai/models", None, 200, INFO, "models"),
    ("GET", "/api/ai/provider-status", None, 200, DASHBOARD, ""),
    ("GET", "/api/ai/provider-status", None, 200, STATUS, "providers"),
)  # fmt: skip
REGISTRY_SPEC: tuple[Endpoint, ...] = (
    ("GET", "/api/models", None, 200, REGISTRY, "models"),
    ("POST", "/api/models", {
        "provider": "ollama", "name": "own:7b", "parameters": 7, "context_length": 8192,
        "tokenWeights": {"input": 1.1}, "pricing": {"input": 0.1, "cachedInput": 0.05,
        "output": 0.2}}, 201, REGISTRY, ""),
    ("GET", "/api/models/ollama/own:7b", None, 200, REGISTRY, ""),
    ("PUT", "/api/models/ollama/own:7b", {"parameters": 14}, 200, REGISTRY, ""),
    ("DELETE", "/api/models/ollama/own:7b", None, 200, {"deleted": TEXT}, ""),
    ("GET", "/api/config/models", None, 200, REGISTRY, "models"),
)  # fmt: skip


@pytest.mark.parametrize(
    "endpoint",
    [*FLEET_SPEC, *MANAGEMENT_SPEC, *REGISTRY_SPEC],
    ids=lambda endpoint: f"{endpoint[0]} {endpoint[1]}",
)
def test_each_endpoint_in_the_specs_words(http: httpx.Client, endpoint: Endpoint) -> None:
    method, path, body, status, fields, within = endpoint
    sent = {} if body is None else {"json": body}
    answer = http.request(method, path, **sent)
    assert answer.status_code == status, answer.text
    told = answer.json()
    if within:
        assert told[within]
    for one in told[within] if within else [told]:
        if fields is CARD:
            _card(one)
        else:
            holds(one, fields)


def _card(told: dict[str, Any]) -> None:
    """Every field of the example, texts for texts, numbers for numbers, or null: unknown."""
    for name, value in CARD.items():
        assert name in told, name
        if isinstance(value, dict):
            assert set(value) <= set(told[name]), name
            for inner, example in value.items():
                if told[name][inner] is not None:
                    kind = str if isinstance(example, str) else int | float
                    assert isinstance(told[name][inner], kind), (name, inner)
        elif isinstance(value, list):
            assert all(set(item) == set(value[0]) for item in told[name]), name


def test_the_fleet_specs_model_goes_in_and_comes_out(http: httpx.Client) -> None:
    """Its example as it stands: what is set is set, what is measured is measured."""
    made = http.post("/api/models", json=CARD)
    assert made.status_code == 201, made.text
    told = http.get("/api/models/model-claude-sonnet-4").json()
    assert told["id"] == SONNET
    for name in ("name", "provider", "model", "costs", "capabilities", "assignedRoles",
                 "routingRules", "status", "enabled"):  # fmt: skip
        assert told[name] == CARD[name], name
    assert told["usage"]["callsToday"] == 2
    assert told["usage"]["costToday"].startswith("$0.")
    assert told["performance"]["successRate"] == "100.0%"
    assert told["performance"]["avgResponseTime"].endswith(" seconds")
    again = http.put(f"/api/models/{SONNET}", json={k: told[k] for k in CARD})
    assert again.status_code == 200, again.text
    for name in ("costs", "assignedRoles", "routingRules"):
        assert again.json()[name] == CARD[name]
    fewer = http.put(f"/api/models/{SONNET}/roles", json={"assignedRoles": []})
    assert fewer.json()["assignedRoles"] == []


def test_the_names_are_kept_that_were_sent(http: httpx.Client) -> None:
    made = http.post("/api/models", json={
        "provider": "ollama", "name": "sized:7b", "parameters": 350, "context_length": 8192,
        "pricing": {"input": 0.1, "output": 0.2}})  # fmt: skip
    told = made.json()
    assert (told["parameters"], told["complexity_factor"]) == (350, 2.0)
    assert told["pricing"] == {"input": 0.1, "cachedInput": None, "output": 0.2}
    assert told["context_window"] == told["context_length"] == 8192
    assert told["costs"] == {
        "inputPer1k": "$0.0001", "outputPer1k": "$0.0002", "avgPer1k": "$0.00015"
    }  # fmt: skip
    numbers = http.get("/api/ai/models/ollama/sized:7b").json()
    assert numbers["pricing"]["inputCostPer1kTokens"] == 0.0001
    assert http.delete("/api/models/ollama/sized:7b").json() == {"deleted": "ollama/sized:7b"}


def test_a_catalogue_model_is_hidden_and_said_to_be(http: httpx.Client) -> None:
    assert http.delete("/api/models/openai/gpt-4-turbo").json() == {"hidden": "openai/gpt-4-turbo"}
    back = http.post("/api/models", json={"id": "openai/gpt-4-turbo"})
    assert back.status_code == 201
    assert back.json()["is_system"] is True


def test_a_model_that_fails_its_test_is_told_of(served: Served, http: httpx.Client) -> None:
    served.sim.fault("401", "moonshot/*")
    told = http.post("/api/models/moonshot/kimi-k2.5/test", json={}).json()
    assert (told["success"], told["code"]) == (False, "auth")
    assert told["error"]
    served.sim.heal()


def test_a_key_that_is_sent_is_kept_and_never_told(served: Served, http: httpx.Client) -> None:
    secret = "sk-a-key-that-nobody-may-see-4321"
    asked = {"slug": "mine", "type": "openai", "baseUrl": "https://llm.example/v1"}
    made = http.post("/api/providers", json={**asked, "apiKey": secret})
    assert made.status_code == 201, made.text
    assert secret not in made.text
    assert made.json()["authMethod"] == "api_key"
    assert made.json()["key"] in ("file", "keyring")
    assert http.post("/api/providers", json={"slug": "mine"}).status_code in (400, 409)
    entries = served.app.audit.entries(limit=50)
    assert secret not in str(entries)
    assert http.delete("/api/providers/mine").json() == {"deleted": "mine"}


def test_the_context_that_is_asked_for_must_fit(http: httpx.Client) -> None:
    asked = {"task": "coding", "complexity": "medium", "context": 150_000}
    told = http.post("/api/models/route", json=asked).json()
    dropped = {c["model"]: c["reason"] for c in told["candidates"] if not c["eligible"]}
    assert "is too small" in dropped["openai/gpt-4o"]
    assert (told["task_type"], told["complexity"]) == ("coding", "medium")


def test_recommendations_are_decided_over_the_api(served: Served, http: httpx.Client) -> None:
    served.app.fleet.assign_role("writer", "anthropic/claude-sonnet-4-20250514", 1, "writes")
    body = {"model": "role:writer", "messages": [{"role": "user", "content": "Say hello."}]}
    for _ in range(100):  # the gateway looks for changes four times a second
        first = http.post("/v1/chat/completions", json=body)
        if first.headers["x-omni-model"].startswith("anthropic/"):
            break
        time.sleep(0.05)
    count = len(list(served.app.ledger.recent(limit=1_000)))
    for _ in range(40):
        assert http.post("/v1/chat/completions", json=body).status_code == 200
    served.settle(count + 40)
    listed = http.get("/api/models/recommendations").json()["recommendations"]
    assert listed
    for one in listed:
        holds(one, ADVICE)
    dear = next(one for one in listed if one["type"] == "cheaper_model")
    assert dear["current"]["frequency"]
    assert dear["savings"]["monthly"].startswith("$")
    path = f"/api/models/recommendations/{dear['id']}"
    assert http.post(f"{path}/apply").json()["status"] == "applied"
    assert http.post(f"{path}/undo").json()["status"] == "pending"
    other = listed[-1]["id"]
    dismissed = http.post(f"/api/models/recommendations/{other}/dismiss").json()
    assert dismissed["status"] == "dismissed"
    assert http.post("/api/models/recommendations/999999/apply").status_code == 404
    assert http.post("/api/models/recommendations/x/apply").status_code == 404


def test_a_comparison_in_the_fleet_specs_words(http: httpx.Client) -> None:
    asked = {"models": ["openai/gpt-4o", "google/gemini-2.0-flash"], "expect": "simulated",
             "prompts": ["Debug this loop in Python.", "Fix the bug in this code."]}  # fmt: skip
    name = http.post("/api/ai/models/compare", json=asked).json()["comparison"]
    for _ in range(200):
        if http.get(f"/api/ai/models/compare/{name}").json()["state"] == "complete":
            break
    told = http.get("/api/models/analytics/compare").json()["comparison"]
    holds(told, COMPARED)
    assert told["models"] == asked["models"]
    assert told["task"] in ("coding", "debugging")
    for one in told["results"]:
        holds(one, COMPARED_MODEL)
        assert one["speed"].endswith("s")
        assert one["cost"].startswith("$")


@pytest.mark.parametrize(
    ("path", "model"),
    [
        ("/api/ai/provider-status/stream?org=acme", "google/gemini-2.0-flash"),
        ("/api/provider-status/stream", "deepseek/deepseek-chat"),
    ],
)
def test_the_stream_as_a_websocket(served: Served, path: str, model: str) -> None:
    """What a browser's WebSocket gets: the state at once, each change, and an orderly end."""

    async def listen() -> None:
        address = served.url.replace("http:", "ws:") + path
        async with connect(address, proxy=None) as socket:
            first = json.loads(await asyncio.wait_for(socket.recv(), 10))
            holds(first, DASHBOARD)
            for one in first["providers"]:
                holds(one, STATUS)
            await (await socket.ping())
            await socket.send("ignored")
            provider = model.partition("/")[0]
            served.sim.fault("401", f"{provider}/*")
            asked = {"model": model, "messages": MESSAGES}
            async with httpx.AsyncClient(trust_env=False) as client:
                await client.post(f"{served.url}/v1/chat/completions", json=asked)
            while True:
                told = json.loads(await asyncio.wait_for(socket.recv(), 10))
                states = {one["id"]: one["status"] for one in told["providers"]}
                if states[provider] == "error":
                    break
            served.sim.heal()
        assert socket.close_code == 1000

    asyncio.run(listen())


def test_a_websocket_elsewhere_is_an_answer(served: Served) -> None:
    """A path that streams nothing answers as if nothing had been offered."""

    async def listen() -> None:
        with pytest.raises(InvalidStatus) as refused:
            async with connect(served.url.replace("http:", "ws:") + "/api/models", proxy=None):
                pass
        assert refused.value.response.status_code == 200

    asyncio.run(listen())


def test_a_gateway_that_ends_closes_its_sockets(tmp_path: Path) -> None:
    async def listen() -> None:
        with Simulator(seed=5) as sim, serving(tmp_path, sim) as found:
            address = found.url.replace("http:", "ws:") + "/api/provider-status/stream"
            socket = await connect(address, proxy=None)
            await socket.recv()
        await asyncio.wait_for(socket.wait_closed(), 10)
        assert socket.close_code == 1001

    asyncio.run(listen())
