import pytest
from genai_prices import Usage, calc_price

from omni_cli.domain.models import TIMEOUT_MS_RANGE
from omni_cli.services.fleet.demo import DEMO
from omni_cli.simulator import fleet, routes
from tests.spec_fleet import SPECS


@pytest.mark.parametrize(
    ("path", "operation", "protocol", "provider", "target"),
    [
        ("/v1/chat/completions", "chat", "openai", "openai", ""),
        ("/groq/openai/v1/chat/completions", "chat", "openai", "groq", ""),
        ("/v1/responses", "chat", "openai-responses", "openai", ""),
        ("/anthropic/v1/messages", "chat", "anthropic", "anthropic", ""),
        ("/v1/messages/count_tokens", "count", "anthropic", "anthropic", ""),
        ("/v1beta/models/g-2:generateContent", "chat", "gemini", "google", "g-2"),
        ("/google/v1beta/models/g-2:countTokens", "count", "gemini", "google", "g-2"),
        ("/google/v1beta/models/g-2", "model", "gemini", "google", "g-2"),
        ("/api/chat", "chat", "ollama", "ollama", ""),
        ("/laptop/api/tags", "models", "ollama", "laptop", ""),
        ("/openai/v1/models", "models", "openai", "openai", ""),
        ("/openai/v1/models/gpt-4o", "model", "openai", "openai", "gpt-4o"),
        ("/openrouter/v1/models/meta%2Fllama", "model", "openai", "openrouter", "meta/llama"),
        ("/v2/models/food/outputs", "labels", "clarifai", "clarifai", "food"),
        ("/v1/images:annotate", "labels", "google-vision", "google-vision", ""),
    ],
)
def test_paths_mean_operations_whatever_the_prefix(
    path: str, operation: str, protocol: str, provider: str, target: str
) -> None:
    route = routes.find(path, "", {})
    assert route is not None
    found = (route.operation, route.protocol, route.provider, route.target)
    assert found == (operation, protocol, provider, target)


def test_who_lists_models_is_told_by_header_and_query() -> None:
    def protocol(query: str = "", **headers: str) -> str:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        route = routes.find("/v1/models", query, named)
        assert route is not None
        return route.protocol

    assert protocol() == "openai"
    assert protocol(anthropic_version="2023-06-01") == "anthropic"
    assert protocol(x_goog_api_key="k") == "gemini"
    assert protocol("key=k") == "gemini"


@pytest.mark.parametrize("path", ["/", "/nope", "/v1", "/v1/chat", "/api/generate"])
def test_other_paths_mean_nothing(path: str) -> None:
    assert routes.find(path, "", {}) is None


PATHS = {
    "openai": "/chat/completions",
    "anthropic": "/v1/messages",
    "gemini": "/v1beta/models/m:generateContent",
    "ollama": "/api/chat",
}


@pytest.mark.parametrize("provider", fleet.PROVIDERS, ids=lambda p: p.slug)
def test_each_provider_of_the_fleet_is_found_under_its_base_url(
    provider: fleet.SimProvider,
) -> None:
    route = routes.find(provider.path + PATHS[provider.protocol], "", {})
    assert route is not None
    assert (route.provider, route.protocol) == (provider.slug, provider.protocol)
    assert fleet.base_url("http://h:1/", provider.slug) == "http://h:1" + provider.path
    assert fleet.served(provider.slug, provider.protocol) == provider.models


def test_the_fleets_of_the_demo_and_of_the_specs_are_served() -> None:
    served = {f"{p.slug}/{m.wire_name}" for p in fleet.PROVIDERS for m in p.models}
    assert set(DEMO.active) <= served
    assert {link.model for chain in DEMO.chains for link in chain.links} <= set(DEMO.active)
    assert len(set(SPECS.active)) == 9
    assert set(SPECS.active) <= served
    links = [link for chain in SPECS.chains for link in chain.links]
    assert [chain.name for chain in SPECS.chains] == ["Production Chain", "Fast Chain"]
    assert {link.model for link in links} <= served
    low, high = TIMEOUT_MS_RANGE
    assert all(low <= link.timeout_ms <= high for link in links)


@pytest.mark.parametrize("model", SPECS.active)
def test_the_nine_have_a_price_under_their_wire_names(model: str) -> None:
    provider, name = model.split("/")
    provider = {"moonshot": "moonshotai"}.get(provider, provider)
    price = calc_price(Usage(input_tokens=1000, output_tokens=100), name, provider_id=provider)
    assert price.total_price > 0


def test_providers_are_marked_as_simulated() -> None:
    made = fleet.providers("http://127.0.0.1:1")
    assert all(p.simulated and "simulator" in p.name for p in made)
    assert [p.slug for p in made if p.auth_method == "none"] == ["ollama"]


def test_an_unknown_provider_lists_its_protocols_models() -> None:
    names = {model.wire_name for model in fleet.served("somewhere", "openai")}
    assert {"gpt-4o", "deepseek-chat", "kimi-k2.5"} <= names
    assert not any("claude" in name for name in names)
