"""The demo fleet: which providers one simulator plays, and their models.

Models in service, those of the demo among them, and older ones that the specs name, under the wire
names that the genai-prices catalogue knows. Context windows and output limits are those of the
catalogue and the vendors' model pages. ``ttft_s`` and ``tokens_per_s`` are invented for the demo
and used only when the simulator is asked for latency.
"""

from msgspec import Struct

from omni_cli.domain.hosts import LOCAL_SLOTS
from omni_cli.domain.models import ProtocolName, Provider


class SimModel(Struct, frozen=True):
    """``context`` and ``max_output`` in tokens; the latter only where the protocol lists it."""

    wire_name: str
    name: str
    context: int
    ttft_s: float
    tokens_per_s: float
    max_output: int | None = None


class SimProvider(Struct, frozen=True):
    """``path`` follows the server's address in this provider's base URL."""

    slug: str
    name: str
    protocol: ProtocolName
    path: str
    models: tuple[SimModel, ...]
    needs_key: bool = True


PROVIDERS: tuple[SimProvider, ...] = (
    SimProvider(
        "anthropic",
        "Anthropic",
        "anthropic",
        "/anthropic",
        (
            SimModel("claude-opus-5-5", "Claude Opus 5.5", 1_000_000, 1.5, 60),
            SimModel("claude-sonnet-5-5", "Claude Sonnet 5.5", 1_000_000, 0.9, 85),
            SimModel("claude-haiku-4-5", "Claude Haiku 4.5", 200_000, 0.4, 140),
            SimModel("claude-opus-4-20250514", "Claude Opus 4", 200_000, 1.6, 45),
            SimModel("claude-sonnet-4-20250514", "Claude Sonnet 4", 200_000, 1.0, 70),
            SimModel("claude-3-haiku-20240307", "Claude 3 Haiku", 200_000, 0.4, 130),
            SimModel("claude-3-5-haiku-20241022", "Claude Haiku 3.5", 200_000, 0.5, 110),
            SimModel("claude-3-5-sonnet-20241022", "Claude Sonnet 3.5", 200_000, 0.9, 75),
            SimModel("claude-3-opus-20240229", "Claude 3 Opus", 200_000, 1.8, 30),
        ),
    ),
    SimProvider(
        "openai",
        "OpenAI",
        "openai",
        "/openai/v1",
        (
            SimModel("gpt-6-sol", "GPT-6 Sol", 1_050_000, 0.7, 95),
            SimModel("gpt-6-luna", "GPT-6 Luna", 1_050_000, 0.3, 180),
            SimModel("gpt-5.5", "GPT-5.5", 1_050_000, 1.1, 70),
            SimModel("gpt-4", "GPT-4", 8_192, 1.2, 30),
            SimModel("gpt-4-turbo", "GPT-4 Turbo", 128_000, 0.9, 45),
            SimModel("gpt-4o", "GPT-4o", 128_000, 0.5, 90),
            SimModel("gpt-4o-mini", "GPT-4o mini", 128_000, 0.4, 120),
            SimModel("o1", "o1", 200_000, 4.0, 80),
            SimModel("o3", "o3", 200_000, 3.0, 90),
        ),
    ),
    SimProvider(
        "google",
        "Google",
        "gemini",
        "/google",
        (
            SimModel("gemini-3.5-flash", "Gemini 3.5 Flash", 1_048_576, 0.5, 170, 65_536),
            SimModel("gemini-3.1-flash-lite", "Gemini 3.1 Flash Lite", 1_048_576, 0.3, 210, 65_536),
            SimModel("gemini-1.5-pro", "Gemini Pro", 2_097_152, 0.9, 65, 8_192),
            SimModel("gemini-1.5-flash", "Gemini Flash", 1_048_576, 0.4, 160, 8_192),
            SimModel("gemini-2.0-flash", "Gemini 2.0 Flash", 1_048_576, 0.4, 170, 8_192),
        ),
    ),
    SimProvider(
        "deepseek",
        "DeepSeek",
        "openai",
        "/deepseek/v1",
        (
            SimModel("deepseek-v4-pro", "DeepSeek V4 Pro", 1_000_000, 1.3, 50),
            SimModel("deepseek-v4-flash", "DeepSeek V4 Flash", 1_000_000, 0.8, 90),
            SimModel("deepseek-chat", "DeepSeek V3", 128_000, 1.1, 40),
            SimModel("deepseek-reasoner", "DeepSeek R1", 128_000, 2.0, 35),
        ),
    ),
    SimProvider(
        "moonshot",
        "Moonshot (Kimi)",
        "openai",
        "/moonshot/v1",
        (
            SimModel("kimi-k2.6", "Kimi K2.6", 262_144, 0.8, 65),
            SimModel("kimi-k2.5", "Kimi K2.5", 262_144, 0.8, 60),
        ),
    ),
    SimProvider(
        "ollama",
        "Ollama",
        "ollama",
        "/ollama",
        (
            SimModel("llama3.1:70b", "Llama 3.1 70B", 131_072, 0.6, 18),
            SimModel("mistral:7b", "Mistral 7B", 32_768, 0.2, 60),
        ),
        needs_key=False,
    ),
)

_BY_SLUG = {provider.slug: provider for provider in PROVIDERS}
_BY_WIRE_NAME = {model.wire_name: model for p in PROVIDERS for model in p.models}


def base_url(url: str, slug: str) -> str:
    """The base URL of a provider on the server at ``url``. Raises KeyError."""
    return url.rstrip("/") + _BY_SLUG[slug].path


def providers(url: str) -> tuple[Provider, ...]:
    """The fleet's providers, all marked as simulated, on the server at ``url``."""
    return tuple(
        Provider(
            slug=p.slug,
            name=f"{p.name} (simulator)",
            protocol=p.protocol,
            base_url=base_url(url, p.slug),
            auth_method="api_key" if p.needs_key else "none",
            simulated=True,
            max_concurrency=None if p.needs_key else LOCAL_SLOTS,
        )
        for p in PROVIDERS
    )


def find(wire_name: str) -> SimModel | None:
    return _BY_WIRE_NAME.get(wire_name)


def served(provider: str, protocol: str) -> tuple[SimModel, ...]:
    """What a provider lists; a name that is not in the fleet lists all of its protocol's."""
    known = _BY_SLUG.get(provider)
    if known is not None:
        return known.models
    return tuple(m for p in PROVIDERS if p.protocol == protocol for m in p.models)
