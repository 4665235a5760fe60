"""C1 as laws: sums, bounds and round trips hold for all usages and prices."""

from decimal import Decimal
from fractions import Fraction
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from omni_cli.domain.chat import Usage
from omni_cli.domain.money import format_usd, usd_string, usd_to_nusd
from omni_cli.domain.prices import KINDS, Price, Rate, Tier, price_from_json, price_to_json
from omni_cli.domain.pricing import (
    cost_nusd,
    costs_nusd,
    input_cost_nusd,
    price_lines,
    worst_case_nusd,
)

AMOUNTS = st.decimals(0, 200, places=6, allow_nan=False, allow_infinity=False)
COUNTS = st.integers(0, 400_000)
THRESHOLDS = st.sampled_from([1_000, 128_000, 200_000])


@st.composite
def rates(draw: st.DrawFn, *, tiered: bool = True) -> Rate:
    above = sorted(draw(st.sets(THRESHOLDS, max_size=2 if tiered else 0)))
    return Rate(draw(AMOUNTS), tuple(Tier(n, draw(AMOUNTS)) for n in above))


@st.composite
def prices(draw: st.DrawFn, *, tiered: bool = True, fees: bool = True) -> Price:
    fields: dict[str, Any] = {
        kind: draw(rates(tiered=tiered))
        for kind in KINDS
        if kind in ("input", "output") or draw(st.booleans())
    }
    fee = draw(AMOUNTS) if fees and draw(st.booleans()) else Decimal(0)
    minimum = draw(AMOUNTS) if fees and draw(st.booleans()) else Decimal(0)
    return Price("priced", **fields, per_request_usd=fee, minimum_usd=minimum)


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    """Consistent counts: the parts never exceed the whole."""
    text, cached, write, write_1h, image, audio, cached_audio = (draw(COUNTS) for _ in range(7))
    out, reasoning, image_out, audio_out = (draw(COUNTS) for _ in range(4))
    return Usage(
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


ANY_COUNT = st.integers(-10, 100_000)
#: Whatever a provider may report, consistent or not.
WILD = st.builds(Usage, *([ANY_COUNT] * 11))
FIELDS = (
    "input_tokens",
    "cached_tokens",
    "cache_write_tokens",
    "cache_write_1h_tokens",
    "input_image_tokens",
    "input_audio_tokens",
    "cached_audio_tokens",
    "output_tokens",
    "reasoning_tokens",
    "output_image_tokens",
    "output_audio_tokens",
)


def add(a: Usage, b: Usage) -> Usage:
    return Usage(**{name: getattr(a, name) + getattr(b, name) for name in FIELDS})


def exact_nusd(usage: Usage, price: Price) -> Fraction:
    return sum((Fraction(x.cost_usd) for x in price_lines(usage, price)), Fraction()) * 10**9


@given(usages() | WILD, prices())
def test_lines_sum_to_the_cost_and_count_every_token_once(usage: Usage, price: Price) -> None:
    cost = cost_nusd(usage, price)
    assert type(cost) is int
    assert cost == round(exact_nusd(usage, price))  # round() of a Fraction is half to even
    assert costs_nusd(usage, price) == (cost, input_cost_nusd(usage, price))
    lines = price_lines(usage, price)
    assert sum(x.tokens for x in lines) == max(0, usage.input_tokens) + max(0, usage.output_tokens)
    for line in lines:
        assert line.tokens >= 0
        assert line.cost_usd >= 0
        if line.tokens:
            assert line.cost_usd == line.tokens * line.rate_usd / 1_000_000


@given(usages(), usages(), prices(tiered=False, fees=False))
def test_additive_without_tiers_and_fees(a: Usage, b: Usage, price: Price) -> None:
    assert exact_nusd(add(a, b), price) == exact_nusd(a, price) + exact_nusd(b, price)
    assert abs(cost_nusd(add(a, b), price) - cost_nusd(a, price) - cost_nusd(b, price)) <= 1


@given(usages(), usages(), prices(tiered=False))
def test_more_tokens_never_cost_less(a: Usage, more: Usage, price: Price) -> None:
    assert cost_nusd(add(a, more), price) >= cost_nusd(a, price)


@given(usages() | WILD, st.integers(0, 1000), st.integers(0, 1000), prices())
def test_the_worst_case_bounds_every_usage_within_it(
    usage: Usage, spare_in: int, spare_out: int, price: Price
) -> None:
    bound = worst_case_nusd(
        max(0, usage.input_tokens) + spare_in, max(0, usage.output_tokens) + spare_out, price
    )
    assert type(bound) is int
    assert bound >= cost_nusd(usage, price)


@given(prices(), usages())
def test_a_stored_price_charges_the_same(price: Price, usage: Usage) -> None:
    stored = price_from_json(price_to_json(price))
    assert stored == price
    assert cost_nusd(usage, stored) == cost_nusd(usage, price)


@given(st.integers(-(10**18), 10**18))
def test_money_text_round_trips_and_zero_is_only_zero(nusd: int) -> None:
    assert usd_to_nusd(usd_string(nusd)) == nusd
    assert "e" not in usd_string(nusd).lower()
    shown = format_usd(nusd)
    assert (shown == "$0.00") is (nusd == 0)
    assert shown.startswith("-") is (nusd < 0)
