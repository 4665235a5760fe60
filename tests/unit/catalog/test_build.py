"""The catalogue is made reproducibly, and a download is checked before it is used."""

import json
from decimal import Decimal
from typing import Any

import pytest
from genai_prices.types import Provider, _providers_from_raw

from omni_cli.catalog.convert import build_catalog
from omni_cli.catalog.load import apply_remote, load_catalog
from omni_cli.domain.errors import ConfigError
from omni_cli.domain.prices import Rate
from tests.paths import REPO
from tools import catalogue

pytestmark = pytest.mark.slow


def as_published(providers: Any) -> bytes:
    """The JSON as genai-prices publishes it: amounts are JSON numbers."""
    text = json.dumps(providers, default=lambda amount: f"<amount>{amount}</amount>")
    return text.replace('"<amount>', "").replace('</amount>"', "").encode()


@pytest.fixture(scope="module")
def source() -> list[dict[str, Any]]:
    return catalogue.source_json()


def test_the_bundled_file_is_what_the_script_writes() -> None:
    path = REPO / "omni_cli" / "catalog" / "catalog.json"
    assert path.read_bytes() == catalogue.current()


def test_check_mode_tells_a_difference(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert catalogue.main(["--check"]) == 0
    assert "up to date" in capsys.readouterr().out
    monkeypatch.setattr(catalogue, "current", lambda: b'{"models":[]}')
    assert catalogue.main(["--check"]) == 1
    assert "out of date" in capsys.readouterr().out


def test_the_document_states_the_figures() -> None:
    text = (REPO / "docs" / "catalogue.md").read_text("utf-8")
    assert catalogue.counts(catalogue.current()) in text


def test_our_reading_of_the_format_is_genai_prices_own(source: list[dict[str, Any]]) -> None:
    """Its UpdatePrices reads what we take for the published form, and finds its own data."""
    from genai_prices.data import providers

    again = _providers_from_raw(json.loads(as_published(source), parse_float=Decimal))
    assert [summary(p) for p in again] == [summary(p) for p in providers]


def summary(provider: Provider) -> list[Any]:
    return [(m.id, m.match, m.prices, m.context_window, m.deprecated) for m in provider.models]


def test_a_download_of_the_same_data_changes_only_its_origin(source: list[dict[str, Any]]) -> None:
    before = load_catalog()
    after = apply_remote(as_published(source), checked="2026-12-01")
    assert [m.info for m in after.models] == [m.info for m in before.models]
    assert after.checked == "2026-12-01"
    assert after.version != before.version
    for old, new in zip(before.models, after.models, strict=True):
        assert [p.input for p in new.prices] == [p.input for p in old.prices]


def test_a_download_brings_new_prices_and_models_and_loses_none(
    source: list[dict[str, Any]],
) -> None:
    changed = json.loads(as_published(source), parse_float=Decimal)
    openai = next(p for p in changed if p["id"] == "openai")
    openai["models"] = [m for m in openai["models"] if m["id"] != "gpt-4"]
    gpt = next(m for m in openai["models"] if m["id"] == "gpt-4o")
    gpt["prices"]["input_mtok"] = Decimal("1.23")
    openai["models"].append(
        {"id": "gpt-9", "match": {"equals": "gpt-9"}, "prices": {"input_mtok": 1, "output_mtok": 2}}
    )
    after = apply_remote(as_published(changed), checked="2026-12-01")
    found = after.find("openai/gpt-4o")
    assert found is not None
    assert found.prices[-1].input == Rate(Decimal("1.23"))
    assert found.info.name == "GPT-4o"  # our titles and aliases still apply
    assert after.find("openai/gpt-9") is not None
    assert after.find("GPT-4") is not None  # gone from the download, kept from the bundle
    assert after.find("Claude Sonnet 4") is not None


def edit(source: list[dict[str, Any]], **fields: Any) -> bytes:
    changed = json.loads(as_published(source))
    openai = next(p for p in changed if p["id"] == "openai")
    openai["models"][0].update(fields)
    return json.dumps(changed).encode()


def test_a_download_that_is_not_sound_is_refused_whole(source: list[dict[str, Any]]) -> None:
    few = [{**p, "models": p["models"][:3]} for p in json.loads(as_published(source))]
    for data, why in (
        (b"", "not usable"),
        (b"<html>503</html>", "not usable"),
        (b"\xff\xfe\x00", "not usable"),
        (b"{}", "not a list"),
        (b"[1, 2]", "not usable"),
        (b"[]", "no prices of anthropic"),
        (json.dumps(few).encode(), "models where the bundled catalogue has"),
        (edit(source, prices={"input_mtok": -1}), "not negative"),
        (edit(source, prices={"input_mtok": float("nan")}), "NaN is no price"),
        (edit(source, prices={"input_mtok": "free"}), "not usable"),
        (edit(source, prices={"input_mtok": {"tiers": []}}), "not usable"),
        (edit(source, match={"sounds_like": "ada"}), "unknown clause"),
        (edit(source, match=None), "not usable"),
        (edit(source, prices=[{"constraint": {"weekday": 1}, "prices": {}}]), "condition"),
    ):
        with pytest.raises(ConfigError, match=why) as caught:
            apply_remote(data, checked="2026-12-01")
        assert "unchanged" in caught.value.hint


PROVIDER = {
    "id": "openai",
    "pricing_urls": ["https://example.org/prices"],
    "models": [
        {"id": "m-1", "match": {"equals": "m-1"}, "prices": {"input_mtok": 1, "output_mtok": 2}}
    ],
}


def built(overrides: dict[str, Any], facts: dict[str, Any] | None = None, **more: Any) -> Any:
    result = build_catalog(
        [PROVIDER], overrides, facts or {}, source="test", checked="2026-11-21", **more
    )
    texts = result["score_sources"]
    for model in result["models"]:
        if said := model.get("score_sources"):
            model["score_sources"] = {name: texts[place] for name, place in said.items()}
    return {model["id"]: model for model in result["models"]}


def test_facts_are_merged_with_their_source() -> None:
    facts = {
        "openai/m-1": {
            "context_window": 8192,
            "badges": ["vision"],
            "scores": {"coding": 80},
            "source": "a benchmark",
            "date": "2026-11-01",
        }
    }
    model = built({}, facts)["openai/m-1"]
    assert model["context_window"] == 8192
    assert model["badges"] == ["vision"]
    assert model["score_sources"] == {"coding": "a benchmark, 2026-11-01"}
    assert "source" not in model


@pytest.mark.parametrize(
    ("overrides", "facts", "why"),
    [
        ({"aliases": {"x": "openai/gone"}}, {}, "alias 'x'"),
        ({"price": [{"id": "openai/gone"}]}, {}, "price override"),
        ({"retired": [{"ids": ["openai/gone"], "on": "", "source": ""}]}, {}, "retirement"),
        ({}, {"openai/gone": {}}, "a fact"),
    ],
)
def test_a_rule_about_nothing_is_an_error_when_building(
    overrides: dict[str, Any], facts: dict[str, Any], why: str
) -> None:
    with pytest.raises(ValueError, match=why):
        built(overrides, facts)
    assert set(built(overrides, facts, strict=False)) == {"openai/m-1"}


def test_an_alias_of_two_models_is_an_error() -> None:
    other = {"id": "ollama/m-2", "name": "m-2", "prices": [{"state": "free", "source": "local"}]}
    aliases = {"Fast": "openai/m-1", "fast": "ollama/m-2"}
    with pytest.raises(ValueError, match="two models"):
        built({"model": [other], "aliases": aliases})
    with pytest.raises(ValueError, match="id of another"):
        built({"model": [other], "aliases": {"ollama/m-2": "openai/m-1"}})
