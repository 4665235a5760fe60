"""Recorded names find their catalogue entry exactly or by a documented rule, or not at all."""

import pytest

from omni_cli.importers.names import provider_slug, resolve_model

KNOWN = {
    name: name
    for name in (
        "anthropic/claude-sonnet-4-5",
        "anthropic/claude-opus-4-20250514",
        "openai/gpt-4o",
        "openai/gpt-4o-2024-11-20",
        "google/gemini-2.5-flash",
        "openrouter/anthropic/claude-sonnet-4.5",
        "openrouter/openrouter/auto",
    )
} | {"gpt-4o": "openai/gpt-4o", "4o": "openai/gpt-4o"}


@pytest.mark.parametrize(
    ("provider", "wire", "want"),
    [
        ("openai", "gpt-4o", "openai/gpt-4o"),
        ("openai", "openai/gpt-4o", "openai/gpt-4o"),
        ("openai", "gpt-4o-2024-11-20", "openai/gpt-4o-2024-11-20"),  # exact before undated
        ("openai", "gpt-4o-2024-08-06", "openai/gpt-4o"),
        (None, "gpt-4o", "openai/gpt-4o"),
        (None, "4o", "openai/gpt-4o"),
        (None, "openai/gpt-4o", "openai/gpt-4o"),
        ("anthropic", "claude-sonnet-4-5-20250929", "anthropic/claude-sonnet-4-5"),
        ("anthropic", "claude-opus-4-20250514", "anthropic/claude-opus-4-20250514"),
        ("anthropic", "claude-sonnet-4-5-latest", "anthropic/claude-sonnet-4-5"),
        (None, "anthropic.claude-sonnet-4-5-20250929-v1:0", "anthropic/claude-sonnet-4-5"),
        ("bedrock", "us.anthropic.claude-sonnet-4-5-20250929-v1:0", "anthropic/claude-sonnet-4-5"),
        ("bedrock", "claude-sonnet-4-5-20250929", "anthropic/claude-sonnet-4-5"),
        (None, "bedrock/eu.anthropic.claude-sonnet-4-5-v2:0", "anthropic/claude-sonnet-4-5"),
        ("vertex_ai", "vertex_ai/claude-sonnet-4-5@20250929", "anthropic/claude-sonnet-4-5"),
        ("gemini", "gemini/gemini-2.5-flash", "google/gemini-2.5-flash"),
        ("google", "models/gemini-2.5-flash", "google/gemini-2.5-flash"),
        ("openrouter", "anthropic/claude-sonnet-4.5", "openrouter/anthropic/claude-sonnet-4.5"),
        (None, "openrouter/anthropic/claude-sonnet-4.5", "openrouter/anthropic/claude-sonnet-4.5"),
        ("openrouter", "openrouter/auto", "openrouter/openrouter/auto"),
        # never a guess
        ("openrouter", "openai/gpt-4o", None),
        ("acc", "gpt-4o", None),
        ("anthropic", "gpt-4o", None),
        ("openai", "gpt-4o-mini", None),
        ("openai", "gpt-4o-audio-preview", None),
        ("openai", "gpt-4", None),
        (None, "claude-sonnet-4-5", None),
        (None, "x/REDACTED", None),
        ("openai", "", None),
    ],
)
def test_resolve_model(provider: str | None, wire: str, want: str | None) -> None:
    assert resolve_model(provider, wire, KNOWN) == want


def test_provider_words() -> None:
    assert [provider_slug(w) for w in ("Google AI Studio", "moonshotai", "Acme", "", None)] == [
        "google",
        "moonshot",
        "acme",
        None,
        None,
    ]
