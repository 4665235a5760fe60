"""C1: our cost equals genai-prices' own, for every bundled model and a thousand random usages.

``ModelPrice.calc_price`` takes 66 us, too long for a million calls. Its two halves are called
directly: the split of a usage into priced units once per set of units, the price of the units
once per distinct price. A sample of whole ``calc_price`` calls guards this short cut.
"""

import random
from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from functools import cache

import pytest
from genai_prices import types
from genai_prices._usage import UsageValue
from genai_prices.data import providers
from genai_prices.decompose import compute_leaf_values
from genai_prices.types import calc_unit_price
from genai_prices.units import UnitDef, _get_registry

from omni_cli.catalog.convert import PROVIDERS
from omni_cli.catalog.load import CatalogModel, load_catalog, read_tables
from omni_cli.catalog.timeline import TOKEN_UNITS
from omni_cli.domain.chat import Usage
from omni_cli.domain.prices import KINDS, Price
from omni_cli.domain.pricing import cost_nusd

pytestmark = pytest.mark.slow

USAGES = 1000
#: Priced on purpose unlike genai-prices, one by one.
EXPLAINED = {
    "deepseek/deepseek-chat": "genai-prices stops at DeepSeek's price list of February 2025",
    "deepseek/deepseek-reasoner": "genai-prices stops at DeepSeek's price list of February 2025",
    "mistral/mistral-large-latest": "genai-prices has the alias at Mistral Large 2's price",
    "google/gemini-pro": "genai-prices has the price per 1M characters as one per 1M tokens",
    "google/gemini-1.0-pro": "the same model as gemini-pro",
    "google/gemini-1.0-pro-vision-001": "as gemini-pro",
}
#: Not from genai-prices at all.
OWN_PROVIDERS = {"ollama", "clarifai", "google-vision"}
_UNITS = _get_registry().units
_PER_UNIT = {unit.price_key: unit for unit in _UNITS.values()}
_SLUGS = {slug: source for source, slug in PROVIDERS.items()}
_BY_ID = {provider.id: provider for provider in providers}


def random_usages(output: bool) -> list[Usage]:
    rng = random.Random(20261121)

    def some() -> int:
        return int(10 ** rng.uniform(0, 5.5)) if rng.random() < 0.6 else 0

    edges = (32_000, 100_000, 128_000, 199_999, 200_000, 256_000, 272_000)
    usages = [
        Usage(input_tokens=edge + past, cached_tokens=10, output_tokens=9 * output)
        for edge in edges
        for past in (0, 1)
    ]
    while len(usages) < USAGES:
        text, cached, write, write_1h, image, audio, cached_audio = (some() for _ in range(7))
        out, reasoning, image_out, audio_out = (some() if output else 0 for _ in range(4))
        usages.append(
            Usage(
                input_tokens=text + cached + write + write_1h + image + audio + cached_audio,
                cached_tokens=cached + cached_audio,
                cache_write_tokens=write + write_1h,
                cache_write_1h_tokens=write_1h,
                input_image_tokens=image,
                input_audio_tokens=audio + cached_audio,
                cached_audio_tokens=cached_audio,
                output_tokens=out + reasoning + image_out + audio_out,
                reasoning_tokens=reasoning,
                output_image_tokens=image_out,
                output_audio_tokens=audio_out,
            )
        )
    return usages


OURS = {output: random_usages(output) for output in (True, False)}


def theirs(usage: Usage) -> types.Usage:
    return types.Usage(
        input_tokens=usage.input_tokens,
        cache_read_tokens=usage.cached_tokens,
        cache_write_tokens=usage.cache_write_tokens,
        cache_write_1h_tokens=usage.cache_write_1h_tokens,
        input_image_tokens=usage.input_image_tokens,
        input_audio_tokens=usage.input_audio_tokens,
        cache_audio_read_tokens=usage.cached_audio_tokens,
        cache_image_read_tokens=0,
        output_tokens=usage.output_tokens,
        output_reasoning_tokens=usage.reasoning_tokens,
        output_image_tokens=usage.output_image_tokens,
        output_audio_tokens=usage.output_audio_tokens,
    )


THEIRS = {output: [theirs(u) for u in usages] for output, usages in OURS.items()}


@cache
def leaves(usage_keys: frozenset[str], output: bool) -> list[dict[str, UsageValue]]:
    units = {key: _UNITS[key] for key in usage_keys}
    return [compute_leaf_values(set(units), usage, units) for usage in THEIRS[output]]


def nusd(usd: Decimal) -> int:
    return int((usd * 10**9).to_integral_value(ROUND_HALF_EVEN))


def genai_costs(price: types.ModelPrice, output: bool) -> list[int]:
    """Nano-dollars of each usage, by genai-prices' own functions."""
    priced: list[tuple[UnitDef, Decimal | types.TieredPrices]] = [
        (_PER_UNIT[key], value) for key, value in vars(price).items() if value is not None
    ]
    fee = sum(
        (base(value) / unit.per for unit, value in priced if unit.usage_key == "requests"),
        Decimal(0),
    )
    priced = [(unit, value) for unit, value in priced if unit.usage_key != "requests"]
    counts = leaves(frozenset(unit.usage_key for unit, _ in priced), output)
    costs = []
    for usage, leaf in zip(OURS[output], counts, strict=True):
        total = fee
        for unit, value in priced:
            if count := leaf[unit.usage_key]:
                total += calc_unit_price(value, count, usage.input_tokens, unit.per)
        costs.append(nusd(total))
    return costs


def source_of(model: CatalogModel) -> types.ModelInfo:
    provider = _BY_ID[_SLUGS[model.info.provider]]
    names = (model.info.wire_name, *model.info.aliases)
    found = next((m for name in names if (m := provider.find_model(name))), None)
    assert found is not None, f"genai-prices does not know {model.info.id}"
    return found


def dearest_of_day(source: types.ModelInfo, price: Price) -> types.ModelPrice:
    """genai-prices' price on the first day of ``price``, the dearest hour in each unit."""
    day = datetime.fromisoformat(price.effective_from or "2020-01-01")
    hours = [time(h, m) for h in range(24) for m in (0, 30)]
    of_day = {id(p): p for h in hours if (p := source.get_prices(datetime.combine(day, h, UTC)))}
    units: dict[str, Decimal | types.TieredPrices] = {}
    for one in of_day.values():
        for key, value in vars(one).items():
            if value is not None and (key not in units or base(value) > base(units[key])):
                units[key] = value
    return types.ModelPrice(**units)


def base(value: Decimal | types.TieredPrices) -> Decimal:
    return value.base if isinstance(value, types.TieredPrices) else value


def compared() -> Iterator[tuple[CatalogModel, Price, types.ModelPrice]]:
    for model in load_catalog().models:
        if model.info.provider not in OWN_PROVIDERS and model.info.id not in EXPLAINED:
            for price in model.prices:
                yield model, price, dearest_of_day(source_of(model), price)


@pytest.fixture(scope="module")
def rows() -> list[tuple[CatalogModel, Price, types.ModelPrice]]:
    return list(compared())


def test_every_price_difference_is_explained() -> None:
    overrides, _ = read_tables()
    assert {entry["id"] for entry in overrides["price"]} == set(EXPLAINED)
    assert all(entry["source"] and entry["reason"] for entry in overrides["price"])


def test_every_bundled_model_costs_what_genai_prices_says(
    rows: list[tuple[CatalogModel, Price, types.ModelPrice]],
) -> None:
    assert len({model.info.id for model, _, _ in rows}) > 1300
    distinct = {}
    for model, price, source in rows:
        if price.state == "priced" and (price.input or price.output or price.per_request_usd):
            rates = tuple(sorted((k, repr(v)) for k, v in vars(source).items()))
            ours = tuple(repr(getattr(price, kind)) for kind in (*KINDS, "per_request_usd"))
            distinct[rates, ours] = (model, price, source)
    assert len(distinct) > 400
    wrong = []
    for model, price, source in distinct.values():
        output = price.output is not None  # without a rate genai-prices charges 0, we refuse
        mine = [cost_nusd(usage, price) for usage in OURS[output]]
        expected = genai_costs(source, output)
        bad = sum(a != b for a, b in zip(mine, expected, strict=True))
        # The short cut above is what a whole call of genai-prices gives.
        for i in range(3):
            assert expected[i] == nusd(source.calc_price(THEIRS[output][i])["total_price"])
        if bad:
            wrong.append((model.info.id, price.effective_from, bad))
    assert wrong == []


def test_unknown_means_that_genai_prices_has_no_token_price(
    rows: list[tuple[CatalogModel, Price, types.ModelPrice]],
) -> None:
    for model, price, source in rows:
        units = {key for key, value in vars(source).items() if value is not None}
        if price.state == "unknown":
            assert not units & {*TOKEN_UNITS, "requests_kcount"}, model.info.id
            assert price.note
        elif price.state == "free":
            assert all(base(value) == 0 for value in vars(source).values()), model.info.id


def test_periods_start_where_genai_prices_changes(
    rows: list[tuple[CatalogModel, Price, types.ModelPrice]],
) -> None:
    """No start date of the source is lost, unless the price before it was the same."""
    kept = {(model.info.id, price.effective_from) for model, price, _ in rows}
    for model in {model.info.id: model for model, _, _ in rows}.values():
        source = source_of(model)
        conditional = source.prices if isinstance(source.prices, list) else []
        for entry in conditional:
            if isinstance(entry.constraint, types.StartDateConstraint):
                start = entry.constraint.start_date
                if (model.info.id, start.isoformat()) in kept:
                    continue
                before = Price("priced", effective_from=str(start - timedelta(days=1)))
                after = Price("priced", effective_from=start.isoformat())
                units = [
                    {k: v for k, v in vars(dearest_of_day(source, p)).items() if k in TOKEN_UNITS}
                    for p in (before, after)
                ]
                assert units[0] == units[1], (model.info.id, start)


def test_aliases_that_the_source_knows_have_the_same_price() -> None:
    for model in load_catalog().models:
        if model.info.provider in OWN_PROVIDERS:
            continue
        provider = _BY_ID[_SLUGS[model.info.provider]]
        for alias in model.info.aliases:
            found = provider.find_model(alias)
            assert found is None or found is source_of(model), (model.info.id, alias)
