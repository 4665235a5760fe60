"""A5: the bundled catalogue is complete, unambiguous, sourced, and rebuilds to the byte."""

import json
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from importlib.resources import files

import pytest

from omni_cli.catalog import load
from omni_cli.catalog.load import Catalog, load_catalog, read_tables
from omni_cli.domain.models import BADGES, CAPABILITIES
from omni_cli.domain.prices import UNITS, price_on
from tests.paths import REPO, shared

#: Every model name in the five specs -> the one model that it means.
SPEC_NAMES = {
    "fleet-dashboard.md": {
        "Claude Opus": "anthropic/claude-opus-4-20250514",
        "Claude Sonnet": "anthropic/claude-sonnet-4-20250514",
        "Claude Haiku": "anthropic/claude-3-haiku-20240307",
        "GPT-4": "openai/gpt-4",
        "GPT-4 Turbo": "openai/gpt-4-turbo",
        "DeepSeek V3": "deepseek/deepseek-chat",
        "Gemini Pro": "google/gemini-1.5-pro",
        "Gemini Flash": "google/gemini-1.5-flash",
        "Kimi K2.5": "moonshot/kimi-k2.5",
        "o1": "openai/o1",
        "o3": "openai/o3",
        "Llama 3": "ollama/llama3",
        "Mistral Large": "mistral/mistral-large-latest",
        "Perplexity": "perplexity/sonar",
        "Claude Sonnet 4": "anthropic/claude-sonnet-4-20250514",
        "claude-sonnet-4-20250514": "anthropic/claude-sonnet-4-20250514",
        "claude-sonnet-4": "anthropic/claude-sonnet-4-20250514",
        "model-claude-sonnet-4": "anthropic/claude-sonnet-4-20250514",
        "claude-haiku": "anthropic/claude-3-haiku-20240307",
        "deepseek-v3": "deepseek/deepseek-chat",
        "model-deepseek-v3": "deepseek/deepseek-chat",
        "gpt-4-turbo": "openai/gpt-4-turbo",
    },
    "model-provider-management.md": {
        "Gemini 1.5 Flash": "google/gemini-1.5-flash",
        "Gemini 1.5 Pro": "google/gemini-1.5-pro",
        "Gemini 2.0 Flash": "google/gemini-2.0-flash",
        "Google Cloud Vision": "google-vision/LABEL_DETECTION",
        "GPT-4": "openai/gpt-4",
        "GPT-4 Vision": "openai/gpt-4-vision-preview",
        "GPT-4 Turbo": "openai/gpt-4-turbo",
        "GPT-4o": "openai/gpt-4o",
        "Claude 3 Haiku": "anthropic/claude-3-haiku-20240307",
        "Claude 3 Sonnet": "anthropic/claude-3-sonnet-20240229",
        "Claude 3 Opus": "anthropic/claude-3-opus-20240229",
        "Claude Sonnet": "anthropic/claude-sonnet-4-20250514",
        "General Detection": "clarifai/general-image-recognition",
        "NSFW Detection": "clarifai/nsfw-recognition",
    },
    "provider-ui-plan.md": {
        "Claude Opus 4": "anthropic/claude-opus-4-20250514",
        "Claude Sonnet 4": "anthropic/claude-sonnet-4-20250514",
        "Claude Haiku 3.5": "anthropic/claude-3-5-haiku-20241022",
        "Claude Sonnet 3.5": "anthropic/claude-3-5-sonnet-20241022",
        "Claude 3 Opus": "anthropic/claude-3-opus-20240229",
        "Claude Haiku": "anthropic/claude-3-haiku-20240307",
        "GPT-4o": "openai/gpt-4o",
        "GPT-4o mini": "openai/gpt-4o-mini",
        "GPT-4 Turbo": "openai/gpt-4-turbo",
        "o1": "openai/o1",
        "Gemini 2.0 Flash": "google/gemini-2.0-flash",
        "Gemini 1.5 Pro": "google/gemini-1.5-pro",
        "Gemini 1.5 Flash": "google/gemini-1.5-flash",
        "Llama 3.1 70B": "ollama/llama3.1:70b",
        "Mistral 7B": "ollama/mistral:7b",
    },
    "omni-router.md": {
        "gpt-4o-mini": "openai/gpt-4o-mini",
        "gpt-4o": "openai/gpt-4o",
        "claude-3-haiku": "anthropic/claude-3-haiku-20240307",
        "claude-3-sonnet": "anthropic/claude-3-sonnet-20240229",
    },
    "model-registry.md": {},
}
#: A family followed by what tells its models apart; "GPT-3 baseline" is a size, not a model.
_FAMILY = re.compile(
    r"\b(?:claude|gpt-[4-9]|gemini|kimi|deepseek|llama|mistral)(?:[- ]?(?:[a-z]*\d[\w.]*|opus|"
    r"sonnet|haiku|turbo|vision|flash|pro|large|mini))+",
    re.IGNORECASE,
)


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return load_catalog()


def test_the_names_are_those_of_the_specs() -> None:
    for spec, names in SPEC_NAMES.items():
        text = shared("specs", spec).read_text("utf-8")
        assert [name for name in names if name not in text] == []


@pytest.mark.parametrize("spec", SPEC_NAMES)
def test_every_model_name_of_the_specs_is_one_model(spec: str, catalog: Catalog) -> None:
    for name, expected in SPEC_NAMES[spec].items():
        found = catalog.find(name)
        assert found is not None, name
        assert found.info.id == expected, name


def test_no_model_name_of_the_specs_was_overlooked() -> None:
    for spec, names in SPEC_NAMES.items():
        text = shared("specs", spec).read_text("utf-8")
        known = {name.casefold() for name in names}
        for match in _FAMILY.finditer(text):
            found = match.group().casefold().rstrip(".")
            assert found in known, (spec, match.group())


def test_the_specs_exact_names_are_aliases_or_names(catalog: Catalog) -> None:
    for names in SPEC_NAMES.values():
        for name, key in names.items():
            model = catalog.find(key)
            assert model is not None
            info = model.info
            assert name in {*info.aliases, info.name, info.wire_name}, name


def test_a_name_means_one_model(catalog: Catalog) -> None:
    ids = Counter(m.info.id.casefold() for m in catalog.models)
    assert max(ids.values()) == 1
    aliases = Counter(a.casefold() for m in catalog.models for a in m.info.aliases)
    assert [a for a, n in aliases.items() if n > 1] == []
    # An alias is no other model's id; of several models' wire name it may settle the meaning.
    for model in catalog.models:
        for alias in model.info.aliases:
            assert ids.get(alias.casefold(), 0) == 0
            assert catalog.find(alias) is model


def test_find(catalog: Catalog) -> None:
    def found(name: str) -> str | None:
        model = catalog.find(name)
        return model.info.id if model else None

    assert found("OpenAI/GPT-4o") == "openai/gpt-4o"
    assert found("anthropic/claude-sonnet-4") == "anthropic/claude-sonnet-4-20250514"
    assert found("openai/claude-sonnet-4") is None
    assert found("openrouter/openai/gpt-4o") == "openrouter/openai/gpt-4o"
    assert found("gpt-oss-120b") is None  # served by two providers: no guess
    assert found("no-such-model") is None


def test_every_price_has_a_state_a_source_and_a_date(catalog: Catalog) -> None:
    for model in catalog.models:
        assert model.prices, model.info.id
        starts = [p.effective_from or "" for p in model.prices]
        assert starts == sorted(set(starts)), model.info.id
        assert starts[0] == "", model.info.id
        for price in model.prices:
            assert price.source, model.info.id
            assert price.source == "local" or price.source_date == catalog.checked
            if price.state == "unknown":
                assert price.note, model.info.id
                assert price.input is price.output is None
            elif price.state == "priced":
                units = [getattr(price, field) for field, _ in UNITS.values()]
                assert price.input or price.output or price.per_request_usd or any(units)


def test_the_nine_and_the_four_of_the_fleet_spec_are_priced(catalog: Catalog) -> None:
    """Input prices per 1M tokens that the fleet spec states and the providers' lists bear out.

    Its prices for DeepSeek V3 ($0.50), Gemini Pro ($0.50), Gemini Flash ($0.35) and Kimi K2.5
    ($2) are neither input nor output prices of any list; the catalogue has the lists'.
    """
    for name, usd in (
        ("Claude Opus", 15),
        ("Claude Sonnet", 3),
        ("GPT-4", 30),
        ("GPT-4 Turbo", 10),
    ):
        model = catalog.find(name)
        assert model is not None
        assert model.prices[-1].input is not None
        assert model.prices[-1].input.base == usd
    haiku = catalog.find("Claude Haiku")
    assert haiku is not None
    assert str(haiku.prices[-1].input.base) == "0.25"
    states = {}
    for name in SPEC_NAMES["fleet-dashboard.md"]:
        model = catalog.find(name)
        assert model is not None
        price = price_on(model.prices, "2026-11-21")
        assert price is not None
        states[model.info.id] = price.state
    assert Counter(states.values()) == {"priced": 13, "free": 1}


def test_models_are_well_formed(catalog: Catalog) -> None:
    for model in catalog.models:
        info = model.info
        assert info.id == f"{info.provider}/{info.wire_name}"
        assert info.name.strip()
        assert info.is_system
        assert info.badges <= set(BADGES)
        assert set(info.scores) <= set(CAPABILITIES)
        assert all(0 <= score <= 100 for score in info.scores.values())
        assert set(info.scores) == set(info.score_sources)
        assert info.context_window is None or info.context_window > 0
        assert model.retired_on is None or model.deprecated


def test_what_is_no_chat_model_says_so(catalog: Catalog) -> None:
    for name in ("text-embedding-3-small", "tts-1", "whisper-1", "gpt-image-1", "mistral-embed"):
        model = catalog.find(name)
        assert model is not None
        assert "text" not in model.info.output_types, name


def test_price_overrides_and_retirements_are_applied(catalog: Catalog) -> None:
    overrides, _ = read_tables()
    chat = catalog.find("deepseek/deepseek-chat")
    assert chat is not None
    assert [p.effective_from for p in chat.prices] == [None, "2025-09-05", "2025-09-29"]
    assert chat.retired_on == "2026-07-24"
    assert chat.deprecated
    for entry in overrides["retired"]:
        assert entry["source"].startswith("https://")
        for key in entry["ids"]:
            model = catalog.find(key)
            assert model is not None
            assert model.retired_on == entry["on"]


def test_reading_it_needs_nothing_heavy() -> None:
    code = (
        "import sys, omni_cli.catalog.load as l; l.load_catalog();"
        "heavy = {'genai_prices', 'pydantic', 'httpx', 'rich', 'tomllib', 'sqlite3'};"
        "sys.exit(', '.join(heavy & set(sys.modules)) or None)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=REPO)


def test_seeding_reads_it_quickly() -> None:
    """Against what parsing its file takes on the same machine: some 11 times that."""
    text = files("omni_cli.catalog").joinpath(load.FILE).read_bytes()

    def best(work: Callable[[], object]) -> float:
        times = []
        for _ in range(5):
            start = time.process_time()
            work()
            times.append(time.process_time() - start)
        return min(times)

    assert best(load_catalog) < 30 * best(lambda: json.loads(text))


@pytest.mark.slow
def test_overrides_have_no_dead_rule() -> None:
    """Each pattern of overrides.toml still meets a name."""
    from omni_cli.catalog.convert import wire_names
    from tools.catalogue import source_json

    overrides, _ = read_tables()
    slugs = {"xai": "x-ai", "moonshot": "moonshotai"}
    names = {
        provider["id"]: [
            n for m in provider["models"] for n in wire_names(m, provider["models"])[0]
        ]
        for provider in source_json()
    }
    for rule in overrides["drop"]:
        source = slugs.get(rule["provider"], rule["provider"])
        assert any(re.search(rule["pattern"], name) for name in names[source]), rule
        assert rule["reason"]
    wires = [m.info.wire_name.lower() for m in load_catalog().models]
    for rule in overrides["kind"]:
        assert any(re.search(rule["pattern"], wire) for wire in wires), rule
