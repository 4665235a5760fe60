"""Recorded names find their catalogue entry exactly or by a documented rule, or not at all."""

import pytest

from omni_cli.domain.clouds import in_dearer_region
from omni_cli.importers.names import Recorded, known_names, provider_slug, resolve_model
from tests.unit.importers.support import sample

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
        ("vertex_ai", "vertex_ai/claude-sonnet-4-5@default", "anthropic/claude-sonnet-4-5"),
        ("bedrock", "sa.anthropic.claude-sonnet-4-5-v1:0", "anthropic/claude-sonnet-4-5"),
        ("anthropic", "claude-sonnet-4.5", "anthropic/claude-sonnet-4-5"),
        ("gemini", "gemini/gemini-2.5-flash", "google/gemini-2.5-flash"),
        ("google", "models/gemini-2.5-flash", "google/gemini-2.5-flash"),
        ("openrouter", "anthropic/claude-sonnet-4.5", "openrouter/anthropic/claude-sonnet-4.5"),
        (None, "openrouter/anthropic/claude-sonnet-4.5", "openrouter/anthropic/claude-sonnet-4.5"),
        ("openrouter", "openrouter/auto", "openrouter/openrouter/auto"),
        ("anthropic", "claude-sonnet-4-5-20250929[1m]", "anthropic/claude-sonnet-4-5"),
        ("bedrock", "us.anthropic.claude-sonnet-4-5-v1:0[1m]", "anthropic/claude-sonnet-4-5"),
        (
            "bedrock",
            "arn:aws:bedrock:us-east-1:1234:inference-profile/us.anthropic.claude-sonnet-4-5-v1:0",
            "anthropic/claude-sonnet-4-5",
        ),
        (
            "vertex_ai",
            "publishers/anthropic/models/claude-sonnet-4-5@20250929",
            "anthropic/claude-sonnet-4-5",
        ),
        (
            None,
            "projects/p/locations/europe-west1/publishers/google/models/gemini-2.5-flash",
            "google/gemini-2.5-flash",
        ),
        # never a guess
        ("bedrock", "arn:aws:bedrock:eu-west-1:1:application-inference-profile/abc", None),
        ("openai", "ft:gpt-4o-2024-08-06:org::abc", None),
        ("openai", "publishers/openai/models/gpt-4o", None),
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


@pytest.mark.parametrize(
    ("name", "dearer"),
    [
        ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", True),
        ("eu.anthropic.claude-opus-4-6-v1", True),
        ("bedrock/jp.anthropic.claude-haiku-4-5-20251001-v1:0", True),
        ("arn:aws:bedrock:us-east-1:1:inference-profile/us.anthropic.claude-opus-5-v1:0", True),
        ("projects/p/locations/us-east5/publishers/anthropic/models/claude-sonnet-4-5", True),
        ("projects/p/locations/global/publishers/anthropic/models/claude-sonnet-4-5", False),
        ("global.anthropic.claude-sonnet-4-5-20250929-v1:0", False),
        ("us.anthropic.claude-sonnet-4-20250514-v1:0", False),
        ("eu.anthropic.claude-3-5-sonnet-20240620-v1:0", False),
        ("us.deepseek.r1-v1:0", False),
        ("claude-sonnet-4-5", False),
        (None, False),
    ],
)
def test_regions_that_cost_more(name: str | None, dearer: bool) -> None:
    assert in_dearer_region(name) is dearer


def test_provider_words() -> None:
    assert [provider_slug(w) for w in ("Google AI Studio", "moonshotai", "Acme", "", None)] == [
        "google",
        "moonshot",
        "acme",
        None,
        None,
    ]


def test_bare_names_are_known_where_one_model_has_them() -> None:
    known = known_names(
        [
            ("groq/gpt-oss-120b", ("oss",)),
            ("cerebras/gpt-oss-120b", ()),
            ("openai/gpt-4o", ("4o", "gpt-4o")),
            ("openrouter/openai/gpt-4o", ()),
        ]
    )
    assert known["gpt-4o"] == known["4o"] == "openai/gpt-4o"
    assert known["oss"] == "groq/gpt-oss-120b"
    assert "gpt-oss-120b" not in known
    # The router's bare name is the vendor's id, which stays the vendor's.
    assert known["openai/gpt-4o"] == "openai/gpt-4o"


def test_an_alias_is_resolved_by_the_model_that_answered() -> None:
    ids = [("openai", "gpt-4o"), ("deepseek", "deepseek-chat")]
    known = Recorded(lambda: [(f"{who}/{name}", ()) for who, name in ids])
    found = [known.of_call(call) for call in sample("llm", "responses-era").calls]
    assert found == ["openai/gpt-4o", "openai/gpt-4o", "deepseek/deepseek-chat"]
    assert known.of_call(sample("opencode", "generated-sqlite").calls[0]) is None
