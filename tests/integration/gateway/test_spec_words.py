"""Every field that the source specs' examples and interfaces name is asked of the API.

``WORDS`` was taken out of the specs by a program: each key of each JSON example, and each member
of each interface, under its example's first word or its interface's name. The test looks for each
in what the API answers, or in what its OpenAPI document says that it takes.
"""

import base64
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from omni_cli.config import set_value
from omni_cli.simulator import Simulator
from tests.gateway_server import Served, serving

MODEL, OTHER = "openai/gpt-4o", "openai/gpt-4o-mini"
SONNET = "anthropic/claude-sonnet-4-20250514"
WORDS = {
    "Model Configuration": """id name provider model costs inputPer1k outputPer1k avgPer1k
        capabilities coding reasoning creativity speed context assignedRoles role priority
        description routingRules condition status health usage callsToday tokensToday costToday
        callsThisMonth costThisMonth performance avgResponseTime successRate qualityScore
        userRating enabled addedAt updatedAt""",
    "Usage Analytics": """date models modelId calls inputTokens outputTokens totalTokens cost byTask
        coding totalCost savingsVsAllSonnet""",
    "Cost Optimization Recommendation": """id type priority title current model frequency dailyCost
        recommended savings daily monthly yearly impact reasoning implementation effort status""",
    "Model Comparison": """comparison models task results model quality speed cost bestFor
        recommendation""",
    "ProviderDashboard": """providers totalProviders activeProviders healthyProviders actions
        overallHealth lastHealthCheck healthTrend""",
    "ProviderStatus": """id name type status responseTime successRate dailyRequests dailyCost
        availableModels lastError""",
    "ModelCatalog": """filters provider capability priceRange responseTime accuracy viewMode sortBy
        models""",
    "ModelInfo": """id name displayName provider modelType capabilities maxTokens inputTypes
        outputTypes languages specialties performance avgResponseTime successRate accuracyScore
        throughput pricing inputCostPer1kTokens outputCostPer1kTokens minimumCost freeThreshold
        usage totalRequests requestsToday costToday usageGrowth isActive isDefault configuration
        recommendedFor""",
    "ModelComparisonTool": """selectedModels comparisonType testData samplePhotos testPrompts
        iterations results""",
    "ModelComparisonResults": """summary winner bestForCost bestForSpeed bestForAccuracy
        detailedResults performance avgResponseTime successRate accuracyScore consistencyScore cost
        totalCost costPerRequest costPerAccurateResult quality accurateResults partialResults
        failedResults recommendations modelId reason confidence tradeoffs""",
    "ModelConfigurationManager": """featureModelAssignments photo_analysis description_generation
        safety_chat search_processing fallbackChain autoFailover failoverThreshold
        performanceSettings timeout maxRetries retryDelay rateLimitRpm batchSize costControls
        dailyBudget monthlyBudget costAlertThreshold emergencyStopThreshold""",
    "ModelDiscoveryTool": """discoveryStatus lastDiscovery scanAllProviders scanProvider
        autoSetupRecommendations applyRecommendations discoveredModels new updated deprecated""",
    "ModelRecommendation": """featureType recommendedModel currentModel reason expectedImprovement
        accuracy cost speed confidence""",
    "Model Manager": """id name parameters context_length context_window token_weights
        complexity_factor pricing input cachedInput output is_system created_at updated_at
        tokenWeights""",
    "POST /v1/chat": """messages priority latency_pref max_cost output model_used cost latency_ms
        savings_estimate""",
}  # fmt: skip
#: What is no field of an API, and what is in its place.
ELSEWHERE = {
    "viewMode": "the screen's own: omni models list has --grid and --compare",
    "scanAllProviders": "POST /api/ai/models/discover",
    "scanProvider": "POST /api/ai/models/discover",
    "applyRecommendations": "POST /api/models/recommendations/{advice}/apply",
}
FEATURES = ("photo_analysis", "description_generation", "safety_chat", "search_processing")
PIXEL = base64.b64encode(
    b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\1\0\0\0\1\x08\6\0\0\0\x1f\x15\xc4\x89"
).decode()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with Simulator(seed=5) as sim, serving(tmp_path_factory.mktemp("words"), sim) as found:
        yield found


@pytest.fixture(scope="module")
def http(served: Served) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=served.url, timeout=20, trust_env=False) as client:
        yield client


def compared(http: httpx.Client, **body: Any) -> dict[str, Any]:
    begun = http.post("/api/ai/models/compare", json=body)
    assert begun.status_code == 202, begun.text
    for _ in range(300):
        told = http.get(f"/api/ai/models/compare/{begun.json()['comparison']}").json()
        if told["state"] == "complete":
            return dict(told)
        time.sleep(0.02)
    raise AssertionError("the comparison is not over")


def test_photos_go_with_each_prompt(served: Served, http: httpx.Client) -> None:
    """Real images reach the models, and what is none is refused with its place."""
    before = len(served.sim.answered())
    told = compared(
        http,
        selectedModels=[MODEL, OTHER],
        comparisonType="cost",
        testData={
            "samplePhotos": [f"data:image/png;base64,{PIXEL}", PIXEL],
            "testPrompts": ["What is on it?", "Is it safe?"],
            "iterations": 1,
        },
    )
    assert told["prompts"] == 4
    assert len(served.sim.answered()) - before == 8
    assert {answer["prompt"] for answer in told["answers"]} == {
        f"{prompt} [photo {n}]" for prompt in ("What is on it?", "Is it safe?") for n in (1, 2)
    }
    newest = http.get("/api/models/analytics/compare").json()["comparison"]
    assert newest["comparisonType"] == "cost"
    cheapest = told["summary"]["bestForCost"]
    assert (
        newest["recommendation"] is None
        if cheapest is None
        else (newest["recommendation"].startswith(cheapest))
    )
    for photo, words in (("no base64!", "samplePhotos[0]"), ("aGVsbG8=", "no image")):
        body = {"selectedModels": [MODEL], "testData": {"samplePhotos": [photo]}}
        refused = http.post("/api/ai/models/compare", json=body)
        assert refused.status_code == 400
        assert words in refused.text


def test_the_catalogue_is_filtered_and_sorted_in_the_specs_words(http: httpx.Client) -> None:
    def asked(**query: str) -> list[dict[str, Any]]:
        answer = http.get("/api/ai/models", params=query)
        assert answer.status_code == 200, answer.text
        return list(answer.json()["models"])

    every = asked()
    assert {m["provider"] for m in asked(provider="openai,google")} == {"openai", "google"}
    assert {m["modelType"] for m in asked(capability="multimodal")} == {"multimodal"}
    assert 0 < len(asked(capability="multimodal")) < len(every)
    dear = asked(priceRange="0.001,0.01")
    assert dear
    assert all(0.001 <= m["pricing"]["inputCostPer1kTokens"] <= 0.01 for m in dear)
    assert {m["quality_class"] for m in asked(accuracy="high")} <= {"high"}
    names = [m["name"].lower() for m in asked(sortBy="name")]
    assert names == sorted(m["name"].lower() for m in every)
    costs = [m["pricing"]["inputCostPer1kTokens"] for m in asked(sortBy="cost")]
    assert costs[0] == min(costs)
    for wrong in ({"priceRange": "5,1"}, {"accuracy": "best"}, {"sortBy": "luck"}):
        refused = http.get("/api/ai/models", params=wrong)
        assert refused.status_code == 400
        assert next(iter(wrong)) in refused.text


def test_the_configuration_goes_in_and_does_what_it_says(
    served: Served, http: httpx.Client
) -> None:
    wanted = {
        "featureModelAssignments": dict.fromkeys(FEATURES, MODEL),
        "fallbackChain": [MODEL, SONNET],
        "autoFailover": False,
        "failoverThreshold": 0.25,
        "performanceSettings": {MODEL: {"maxRetries": 0}},
        "costControls": {
            "dailyBudget": 20, "monthlyBudget": 300, "costAlertThreshold": 75,
            "emergencyStopThreshold": 95,
        },
    }  # fmt: skip
    told = http.put("/api/ai/config", json=wanted)
    assert told.status_code == 200, told.text
    for name, value in wanted.items():
        if isinstance(value, dict) and name != "costControls":
            assert value.items() <= told.json()[name].items() or name == "performanceSettings"
        else:
            assert told.json()[name] == value
    assert http.get("/api/config").json()["performanceSettings"][MODEL]["maxRetries"] == 0
    budgets = {b["period"]: b for b in http.get("/api/budgets").json()["budgets"]}
    assert (budgets["day"]["limit_usd"], budgets["month"]["stop_percent"]) == ("20", 95)
    assert budgets["day"]["alerts_percent"] == [75]
    # Nobody stands in for the first of the chain any more.
    time.sleep(0.6)  # the gateway looks for changes four times a second
    served.sim.fault("500", MODEL)
    body = {"model": "chain:default", "messages": [{"role": "user", "content": "Say hello."}]}
    assert http.post("/v1/chat/completions", json=body).status_code >= 500
    back = {"autoFailover": True, "failoverThreshold": 0.5, "performanceSettings": {}}
    assert http.put("/api/config", json=back).status_code == 200
    time.sleep(0.6)
    stood_in = http.post("/v1/chat/completions", json=body)
    assert stood_in.headers["x-omni-model"] == SONNET
    served.sim.heal()
    none = {"costControls": {"dailyBudget": None, "monthlyBudget": None}, "fallbackChain": []}
    assert http.put("/api/config", json=none).json()["fallbackChain"] == []
    assert http.get("/api/budgets").json()["budgets"] == []
    refused = http.put("/api/config", json={"costControls": {"costAlertThreshold": 50}})
    assert refused.status_code == 400
    assert "dailyBudget" in refused.text
    changes = [entry.action for entry in served.app.audit.entries(limit=50)]
    assert {"config.set", "budget.set", "role.put"} & {*changes} >= {"config.set", "budget.set"}


def keys_of(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield str(key)
            yield from keys_of(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from keys_of(inner)


def test_every_word_of_the_specs_is_answered_or_taken(served: Served, http: httpx.Client) -> None:
    set_value(served.app.paths, "general.premium_model", SONNET)
    served.app.fleet.assign_role("writer", SONNET, 1, "writes")
    time.sleep(0.6)  # the gateway looks for changes four times a second
    said = [{"role": "user", "content": "Say hello."}]
    for _ in range(42):
        told = http.post("/v1/chat/completions", json={"model": "role:writer", "messages": said})
        assert told.headers["x-omni-model"] == SONNET
    prompts = [f"Debug loop {number} in Python." for number in range(12)]
    compared(http, selectedModels=[MODEL, OTHER], prompts=prompts, expect="simulated")
    paths = (
        "/api/models", f"/api/models/{SONNET}", "/api/models/analytics/usage",
        "/api/models/analytics/costs", "/api/models/recommendations", "/api/models/savings",
        "/api/models/analytics/compare", "/api/ai/models?sortBy=cost&provider=openai",
        "/api/ai/models/discover?provider=openai", "/api/ai/models/compare/last",
        "/api/ai/providers", "/api/ai/provider-status", "/api/ai/config", "/api/config/models",
    )  # fmt: skip
    documents: list[Any] = []
    for path in paths:
        answer = http.get(path)
        assert answer.status_code == 200, (path, answer.text)
        documents.append(answer.json())
    features = {"featureModelAssignments": dict.fromkeys(FEATURES, OTHER)}
    documents.append(http.put("/api/ai/config", json=features).json())
    chat = {"messages": said, "priority": "cheap", "latency_pref": "fast", "max_cost": 1}
    documents.append(http.post("/v1/chat", json=chat).json())
    openapi = http.get("/openapi.json").json()
    taken = {
        name
        for schema in openapi["components"]["schemas"].values()
        for name in schema.get("properties", {})
    } | {
        parameter["name"]
        for operations in openapi["paths"].values()
        for operation in operations.values()
        for parameter in operation.get("parameters", ())
    }
    told = {key for document in documents for key in keys_of(document)}
    for word, place in ELSEWHERE.items():
        verb, _, path = place.partition(" ")
        assert verb not in ("GET", "POST") or verb.lower() in openapi["paths"][path], word
    missing = {
        of: lost
        for of, words in WORDS.items()
        if (lost := [w for w in words.split() if w not in told | taken | ELSEWHERE.keys()])
    }
    assert not missing
