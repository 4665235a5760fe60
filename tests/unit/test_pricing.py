"""C1: exact cost by token kind, tiers, fees, allowances; the three price states."""

from decimal import Decimal
from fractions import Fraction

import pytest

from omni_cli.domain.chat import TOKEN_FIELDS, Usage
from omni_cli.domain.errors import UnknownPrice
from omni_cli.domain.money import format_usd, nusd_to_usd, usd_string, usd_to_nusd
from omni_cli.domain.prices import (
    INPUT_KINDS,
    KINDS,
    PARENTS,
    Price,
    Rate,
    Tier,
    price_from_json,
    price_on,
    price_to_json,
)
from omni_cli.domain.pricing import (
    blended,
    cost_nusd,
    costs_nusd,
    input_cost_nusd,
    price_lines,
    worst_case_nusd,
)
from omni_cli.domain.record import replace
from omni_cli.services.fleet.fleet_file import PriceTable

# Anthropic's published rates for Claude Sonnet 4, long-context tiers left out.
SONNET = Price(
    "priced",
    input=Rate(Decimal(3)),
    cached=Rate(Decimal("0.3")),
    cache_write=Rate(Decimal("3.75")),
    cache_write_1h=Rate(Decimal(6)),
    output=Rate(Decimal(15)),
)
TIERED = Price(
    "priced",
    input=Rate(Decimal("1.25"), (Tier(200_000, Decimal("2.5")),)),
    output=Rate(Decimal(10), (Tier(200_000, Decimal(15)),)),
)


def test_each_input_kind_is_charged_once_at_its_own_rate() -> None:
    usage = Usage(
        input_tokens=1000,
        cached_tokens=400,
        cache_write_tokens=300,
        cache_write_1h_tokens=100,
        output_tokens=50,
        reasoning_tokens=20,
    )
    # 300 plain, 400 cached, 200 written for 5 minutes, 100 for 1 hour, 50 out: nano-dollars.
    assert cost_nusd(usage, SONNET) == 300 * 3000 + 400 * 300 + 200 * 3750 + 100 * 6000 + 50 * 15000


def test_kinds_without_a_rate_cost_what_their_parent_costs() -> None:
    price = Price("priced", input=Rate(Decimal(2)), output=Rate(Decimal(8)))
    usage = Usage(
        input_tokens=100,
        cached_tokens=10,
        cache_write_tokens=20,
        cache_write_1h_tokens=5,
        input_image_tokens=30,
        input_audio_tokens=10,
        output_tokens=40,
        reasoning_tokens=10,
        output_image_tokens=5,
        output_audio_tokens=5,
    )
    assert cost_nusd(usage, price) == 100 * 2000 + 40 * 8000


def test_one_hour_writes_fall_back_to_the_five_minute_rate() -> None:
    price = Price("priced", input=Rate(Decimal(1)), cache_write=Rate(Decimal("1.25")))
    usage = Usage(input_tokens=8, cache_write_tokens=8, cache_write_1h_tokens=8)
    assert cost_nusd(usage, price) == 8 * 1250


@pytest.mark.parametrize(
    ("cached", "audio", "expected"),
    [
        (Rate(Decimal("0.1")), Rate(Decimal(1)), 1000),  # both: the dearer, never an undercharge
        (Rate(Decimal("0.1")), None, 100),
        (None, Rate(Decimal(1)), 1000),
        (None, None, 300),
    ],
)
def test_cached_audio_takes_the_dearer_of_its_two_parents(
    cached: Rate | None, audio: Rate | None, expected: int
) -> None:
    price = Price("priced", input=Rate(Decimal("0.3")), cached=cached, input_audio=audio)
    usage = Usage(input_tokens=1, cached_tokens=1, input_audio_tokens=1, cached_audio_tokens=1)
    assert cost_nusd(usage, price) == expected


def test_media_and_reasoning_rates() -> None:
    price = Price(
        "priced",
        input=Rate(Decimal(1)),
        input_image=Rate(Decimal(5)),
        input_audio=Rate(Decimal(32)),
        cached=Rate(Decimal("0.5")),
        cached_audio=Rate(Decimal("0.4")),
        output=Rate(Decimal(2)),
        reasoning=Rate(Decimal(3)),
        output_image=Rate(Decimal(30)),
        output_audio=Rate(Decimal(64)),
    )
    usage = Usage(
        input_tokens=100,
        input_image_tokens=10,
        input_audio_tokens=20,
        cached_tokens=15,
        cached_audio_tokens=5,
        output_tokens=100,
        reasoning_tokens=40,
        output_image_tokens=20,
        output_audio_tokens=10,
    )
    # Input: 10 image, 15 fresh audio, 5 cached audio, 10 other cached, 60 text.
    expected = 10 * 5000 + 15 * 32000 + 5 * 400 + 10 * 500 + 60 * 1000
    expected += 40 * 3000 + 20 * 30000 + 10 * 64000 + 30 * 2000
    assert cost_nusd(usage, price) == expected


def test_a_context_tier_reprices_every_token_from_the_first_token_beyond_it() -> None:
    at = Usage(input_tokens=200_000, output_tokens=1000)
    beyond = Usage(input_tokens=200_001, output_tokens=1000)
    assert cost_nusd(at, TIERED) == 200_000 * 1250 + 1000 * 10_000
    assert cost_nusd(beyond, TIERED) == 200_001 * 2500 + 1000 * 15_000


def test_tiers_may_be_given_in_any_order_and_on_some_kinds_only() -> None:
    tiers = (Tier(128, Decimal(3)), Tier(32, Decimal(2)))
    price = Price("priced", input=Rate(Decimal(1), tiers), output=Rate(Decimal(4)))
    costs = [cost_nusd(Usage(input_tokens=n, output_tokens=1), price) for n in (32, 33, 129)]
    assert costs == [32 * 1000 + 4000, 33 * 2000 + 4000, 129 * 3000 + 4000]


def test_fee_minimum_and_free_allowance() -> None:
    price = Price(
        "priced",
        input=Rate(Decimal(1)),
        output=Rate(Decimal(1)),
        per_request_usd=Decimal("0.012"),
        minimum_usd=Decimal("0.02"),
        free_requests_per_month=3,
    )
    small, big = Usage(input_tokens=10), Usage(input_tokens=50_000)
    assert cost_nusd(small, price) == 20_000_000
    assert cost_nusd(big, price) == 12_000_000 + 50_000_000
    assert cost_nusd(big, price, free_requests_used=2) == 0
    assert cost_nusd(big, price, free_requests_used=3) == 62_000_000
    kinds = [line.kind for line in price_lines(small, price, free_requests_used=0)]
    assert kinds == ["input", "request", "minimum", "free_allowance"]
    assert sum(x.cost_usd for x in price_lines(small, price, free_requests_used=0)) == 0
    assert sum(x.cost_usd for x in price_lines(small, price)) == Decimal("0.02")


@pytest.mark.parametrize(("tokens", "expected"), [(1, 0), (2, 1), (3, 2), (5, 2), (6, 3), (7, 4)])
def test_rounds_half_to_even_once_at_the_end(tokens: int, expected: int) -> None:
    price = Price("priced", input=Rate(Decimal("0.0005")))  # half a nano-dollar a token
    assert (
        Fraction(tokens, 2)
        == sum(
            (Fraction(x.cost_usd) for x in price_lines(Usage(input_tokens=tokens), price)),
            Fraction(),
        )
        * 10**9
    )
    assert cost_nusd(Usage(input_tokens=tokens), price) == expected


def test_free_costs_nothing_and_unknown_is_never_zero() -> None:
    usage = Usage(input_tokens=10**6, output_tokens=10**6)
    assert cost_nusd(usage, Price("free", source="local")) == 0
    assert price_lines(usage, Price("free")) == ()
    assert worst_case_nusd(10**6, 10**6, Price("free")) == 0
    unknown = Price("unknown", note="billed by the hour of audio")
    for call in (
        lambda: cost_nusd(Usage(), unknown),
        lambda: price_lines(usage, unknown),
        lambda: worst_case_nusd(1, 1, unknown),
    ):
        with pytest.raises(UnknownPrice, match="hour of audio") as caught:
            call()
        assert caught.value.code == "unknown_price"
        assert "--price-in" in caught.value.hint


def test_a_used_kind_without_any_rate_is_unknown_not_zero() -> None:
    embedding = Price("priced", input=Rate(Decimal("0.02")))
    assert cost_nusd(Usage(input_tokens=1000), embedding) == 20_000
    with pytest.raises(UnknownPrice, match="output, reasoning"):
        cost_nusd(Usage(input_tokens=1, output_tokens=2, reasoning_tokens=1), embedding)
    with pytest.raises(UnknownPrice, match="output"):
        price_lines(Usage(output_tokens=1), embedding)
    with pytest.raises(UnknownPrice, match="output"):
        worst_case_nusd(1, 1, embedding)
    assert worst_case_nusd(1000, 0, embedding) == 20_000


def test_overlapping_counts_charge_no_token_twice() -> None:
    price = Price(
        "priced",
        input=Rate(Decimal(4)),
        cached=Rate(Decimal("0.4")),
        input_image=Rate(Decimal(5)),
        input_audio=Rate(Decimal(32)),
        cached_audio=Rate(Decimal("0.2")),
        output=Rate(Decimal(1)),
    )
    # 900 of 1000 tokens cached and 800 are images: at least 700 must be both.
    image = Usage(input_tokens=1000, cached_tokens=900, input_image_tokens=800)
    assert cost_nusd(image, price) == 900 * 400 + 100 * 5000
    # The same with audio: the overlap is cached audio, which has a rate.
    audio = Usage(input_tokens=1000, cached_tokens=900, input_audio_tokens=800)
    assert cost_nusd(audio, price) == 200 * 400 + 700 * 200 + 100 * 32_000
    # More reasoning than output, and negative counts: cut, never a credit.
    assert cost_nusd(Usage(output_tokens=5, reasoning_tokens=9), price) == 5 * 1000
    assert cost_nusd(Usage(input_tokens=-5, cached_tokens=-9, output_tokens=-1), price) == 0


def test_worst_case_takes_the_dearest_reachable_rates() -> None:
    assert worst_case_nusd(1000, 100, SONNET) == 1000 * 6000 + 100 * 15_000
    plain = {"input", "cached", "output", "reasoning"}
    assert worst_case_nusd(1000, 100, SONNET, kinds=plain) == 1000 * 3000 + 100 * 15_000
    assert worst_case_nusd(200_000, 1, TIERED) == 200_000 * 1250 + 10_000
    assert worst_case_nusd(200_001, 1, TIERED) == 200_001 * 2500 + 15_000
    fee = Price(
        "priced",
        input=Rate(Decimal("0.0005")),
        output=Rate(Decimal(1)),
        per_request_usd=Decimal("0.01"),
    )
    assert worst_case_nusd(1, 0, fee) == 10_000_001  # rounded up: a bound, not an estimate


def test_bad_amounts_are_refused() -> None:
    for amount in (Decimal("-1"), Decimal("NaN"), Decimal("Infinity")):
        with pytest.raises(ValueError, match="finite and not negative"):
            cost_nusd(Usage(input_tokens=1), Price("priced", input=Rate(amount)))


def test_the_price_of_a_day() -> None:
    old, new = Price("priced", note="old"), Price("priced", effective_from="2026-03-13", note="new")
    assert price_on((old, new), "2026-03-12") is old
    assert price_on((new, old), "2026-03-13") is new
    assert price_on((new,), "2026-03-12") is None


def test_json_round_trip_keeps_every_digit() -> None:
    price = Price(
        "priced",
        input=Rate(Decimal("0.003625"), (Tier(200_000, Decimal("10")),)),
        reasoning=Rate(Decimal(3)),
        per_request_usd=Decimal("0.012"),
        minimum_usd=Decimal("0.1"),
        free_requests_per_month=1000,
        source="user",
        source_date="2026-11-21",
        effective_from="2026-01-01",
        note="batch rates left out",
    )
    data = price_to_json(price)
    assert data["input"] == {"base": "0.003625", "tiers": [[200000, "10"]]}
    assert price_from_json(data) == price


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"state": "cheap"},
        {"state": "priced", "input": 3.0},
        {"state": "priced", "input": "-3"},
        {"state": "priced", "input": "three"},
        {"state": "priced", "inputs": "3"},
        {"state": "priced", "input": {"tiers": []}},
    ],
)
def test_json_that_is_no_price_is_refused(data: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"price|amount|decimal"):
        price_from_json(data)


@pytest.mark.parametrize(
    ("nusd", "text"),
    [
        (0, "$0.00"),
        (120_000, "$0.00012"),
        (123_456, "$0.00012"),
        (1, "$0.000000001"),
        (12_470_000_000, "$12.47"),
        (-1_200_000_000, "-$1.20"),
        (-120_000, "-$0.00012"),
        (265_000_000, "$0.27"),
        (51_000_000, "$0.051"),
        (99_500_000, "$0.10"),
        (999_999_999, "$1.00"),
        (1_234_567_890_000, "$1,234.57"),
        (None, "unknown"),
    ],
)
def test_dollars_for_people(nusd: int | None, text: str) -> None:
    assert format_usd(nusd) == text


@pytest.mark.parametrize(
    ("nusd", "text"),
    [
        (0, "0"),
        (123_000, "0.000123"),
        (1, "0.000000001"),
        (-1_200_000_000, "-1.2"),
        (10**18 + 1, "1000000000.000000001"),
        (2_000_000_000, "2"),
    ],
)
def test_dollars_for_json_are_exact(nusd: int, text: str) -> None:
    assert usd_string(nusd) == text
    assert usd_to_nusd(text) == nusd
    assert nusd_to_usd(nusd) == Decimal(text)


def test_reading_dollars() -> None:
    assert usd_to_nusd("0.0000000005") == 0
    assert usd_to_nusd(Decimal("0.0000000015")) == 2
    assert usd_to_nusd("1e-3") == 1_000_000
    for text in ("", "ten", "NaN", "inf"):
        with pytest.raises(ValueError, match="not an amount"):
            usd_to_nusd(text)
    with pytest.raises(TypeError, match="float"):
        usd_to_nusd(0.1)


def test_fleet_spec_averages() -> None:
    """fleet-dashboard.md: $0.003 in, $0.015 out, avg $0.009 per 1K tokens."""
    assert blended(SONNET) == 9
    assert blended(SONNET, output_share=Decimal(0)) == 3
    assert blended(Price("free")) == 0
    assert blended(Price("unknown")) is None
    assert blended(Price("priced", input=Rate(Decimal(1)))) is None


def test_fleet_spec_usage_examples() -> None:
    """fleet-dashboard.md, "Usage Analytics".

    DeepSeek: 530,000 tokens at the spec's one price of $0.50 per 1M are $0.265, shown as $0.27.
    Claude Sonnet 4 contradicts itself: 245,000 in and 180,000 out at the spec's own $3 and $15
    are $3.435, and 425,000 at its "avg" $9 are $3.825; the printed $4.37 is neither. Its parts
    (2.50 + 1.20 + 0.67) do add up to it.
    """
    flat = Price("priced", input=Rate(Decimal("0.5")), output=Rate(Decimal("0.5")))
    cost = cost_nusd(Usage(input_tokens=320_000, output_tokens=210_000), flat)
    assert format_usd(cost) == "$0.27"
    sonnet = cost_nusd(Usage(input_tokens=245_000, output_tokens=180_000), SONNET)
    assert usd_string(sonnet) == "3.435"
    assert sum(map(usd_to_nusd, ("2.50", "1.20", "0.67"))) == usd_to_nusd("4.37")


def test_every_kind_of_token_has_a_rate_that_a_fleet_file_can_say() -> None:
    assert {f"{kind}_tokens" for kind in KINDS} == set(TOKEN_FIELDS)
    assert set(KINDS) <= set(Price.__struct_fields__)
    assert set(KINDS) <= set(PriceTable.model_fields)


def _whole(kind: str) -> set[str]:
    """The kinds whose counts include it, and itself."""
    return {kind}.union(*(_whole(parent) for parent in PARENTS.get(kind, ())))


@pytest.mark.parametrize("kind", KINDS)
def test_tokens_of_every_kind_are_charged_at_its_own_rate(kind: str) -> None:
    rates = {name: Rate(Decimal(place + 2)) for place, name in enumerate(KINDS)}
    price = replace(Price("priced"), **rates)
    usage = Usage(**{f"{name}_tokens": 7 for name in _whole(kind)})
    wanted = 7 * 1_000 * int(rates[kind].base)
    assert cost_nusd(usage, price) == costs_nusd(usage, price)[0] == wanted
    assert (input_cost_nusd(usage, price) == wanted) == (kind in INPUT_KINDS)
    assert [line.tokens for line in price_lines(usage, price) if line.tokens] == [7]
