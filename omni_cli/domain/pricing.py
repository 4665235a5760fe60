"""Prices and the exact cost of a completion.

Money is integer nano-dollars (1e-9 US dollar); Decimal appears only where prices are written
down or read by a person. Inside, a price is compiled once to integers over a common power of
ten, so that a cost is a sum of integer products, rounded half to even once, at the end.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from decimal import Decimal
from typing import TYPE_CHECKING, Any, cast

from msgspec import Struct

from omni_cli.domain.errors import UnknownPrice
from omni_cli.domain.money import NUSD_PER_USD
from omni_cli.domain.prices import (
    EXACT,
    INPUT_KINDS,
    KINDS,
    N_INPUT_KINDS,
    OUTPUT_KINDS,
    PRICE_HINT,
    UNITS,
    Plan,
    Price,
    Rate,
    Tier,
)
from omni_cli.domain.record import replace

if TYPE_CHECKING:
    from omni_cli.domain.chat import Usage


class PriceLine(Struct, frozen=True):
    """One line of a receipt.

    ``kind``: one of ``KINDS``, or "request" (fee), "minimum" (what lifts the sum to the minimum),
    "free_allowance" (negative: what the allowance takes off). ``tokens`` is 0 for these three.
    ``rate_usd``: US dollars per 1,000,000 tokens, per call for the others. ``cost_usd`` is exact.
    """

    kind: str
    tokens: int
    rate_usd: Decimal
    cost_usd: Decimal


def cost_nusd(usage: Usage, price: Price, *, free_requests_used: int | None = None) -> int:
    """Price one completion.

    Args:
        usage: token counts as reported; cached, cache-write, audio and image tokens are part of
            input; cached audio is part of cached and of audio; reasoning is part of output.
        price: US dollars per 1,000,000 tokens, one rate per token kind.
        free_requests_used: calls made this month before this one; None where that is not known:
            the allowance is then not applied.

    Returns:
        Nano-dollars (1e-9 US dollar), rounded half to even once, at the end.

    Raises:
        UnknownPrice: the price is unknown, or a used token kind has no rate.

    Source: the row's ``source``, as read at ``source_date``.
    """
    if price.state == "free" or (
        free_requests_used is not None and free_requests_used < price.free_requests_per_month
    ):
        return 0
    plan = price.plan
    rates = _rates(plan, usage.input_tokens)
    total = plan.fee
    for kind, tokens in _used(usage):
        rate = rates[kind]
        if rate is None:
            raise _no_rate(usage, price)
        total += tokens * rate
    if total < plan.minimum:
        total = plan.minimum
    return _round_half_even(total, plan.scale)


def units_nusd(units: Iterable[tuple[str, int]], price: Price) -> int | None:
    """What is not counted in tokens costs, nano-dollars, each rounded up; None where a rate of it
    is not known.

    Args:
        units: of ``UNITS``, and how many.
    """
    if price.state == "free":
        return 0
    total = 0
    for unit, count in units:
        field, per = UNITS[unit]
        rate: Decimal | None = getattr(price, field)
        if rate is None:
            return None
        total += -(-EXACT.multiply(rate * NUSD_PER_USD, Decimal(count)) // per).__int__()
    return total


def borrowed(usage: Usage, price: Price) -> bool:
    """Whether a kind of token that a vendor charges otherwise than text was priced by text's rate,
    for want of its own: audio, images made, a cache for an hour."""
    if price.state in ("free", "unknown"):
        return False
    if usage.cache_write_1h_tokens and price.cache_write_1h is None:
        return price.cache_write is not None
    return bool(
        (usage.input_audio_tokens and price.input_audio is None)
        or (usage.output_audio_tokens and price.output_audio is None)
        or (usage.output_image_tokens and price.output_image is None)
    )


def input_cost_nusd(usage: Usage, price: Price) -> int:
    """The part of ``cost_nusd`` that is for input and the fee, nano-dollars, rounded down.

    Raises UnknownPrice as ``cost_nusd`` does.
    """
    if price.state == "free":
        return 0
    plan = price.plan
    rates = _rates(plan, usage.input_tokens)
    total = plan.fee
    for kind, tokens in _used(usage):
        if kind < N_INPUT_KINDS:
            rate = rates[kind]
            if rate is None:
                raise _no_rate(usage, price)
            total += tokens * rate
    return total // plan.scale


def costs_nusd(usage: Usage, price: Price) -> tuple[int, int]:
    """``cost_nusd`` and ``input_cost_nusd`` in the time of one. Raises UnknownPrice."""
    if price.state == "free":
        return 0, 0
    plan = price.plan
    whole_in = usage.input_tokens
    rates = plan.text[0][1]
    for above, others in plan.text[1:]:
        if whole_in > above:
            rates = others
    read, written, long = usage.cached_tokens, usage.cache_write_tokens, usage.cache_write_1h_tokens
    fresh, short, thought = whole_in - read - written, written - long, usage.reasoning_tokens
    said = usage.output_tokens - thought
    if (
        rates is None
        or usage.input_image_tokens
        or usage.input_audio_tokens
        or usage.cached_audio_tokens
        or usage.output_image_tokens
        or usage.output_audio_tokens
        or fresh | read | short | long | said | thought < 0
    ):
        return cost_nusd(usage, price), input_cost_nusd(usage, price)
    # Text alone, as nearly all calls are.
    of_fresh, of_read, of_short, of_long, of_said, of_thought = rates
    of_input = plan.fee + fresh * of_fresh + read * of_read + short * of_short + long * of_long
    total = of_input + said * of_said + thought * of_thought
    if total < plan.minimum:
        total = plan.minimum
    if plan.scale == 1:
        return total, of_input
    return _round_half_even(total, plan.scale), of_input // plan.scale


def price_lines(
    usage: Usage, price: Price, *, free_requests_used: int | None = None
) -> tuple[PriceLine, ...]:
    """The receipt of one completion: used kinds in the order of ``KINDS``, then fees.

    The exact sum of ``cost_usd`` rounds to ``cost_nusd`` with the same arguments. A free model
    has no lines. Raises UnknownPrice as ``cost_nusd`` does.
    """
    if price.state == "free":
        return ()
    plan = price.plan
    unit = plan.scale * NUSD_PER_USD
    lines: list[PriceLine] = []
    total = plan.fee
    rates = _rates(plan, usage.input_tokens)
    for kind, tokens in _used(usage):
        rate = rates[kind]
        if rate is None:
            raise _no_rate(usage, price)
        total += tokens * rate
        rate_usd = _decimal(rate * 1_000_000, unit)
        lines.append(PriceLine(KINDS[kind], tokens, rate_usd, _decimal(tokens * rate, unit)))
    if plan.fee:
        lines.append(PriceLine("request", 0, price.per_request_usd, _decimal(plan.fee, unit)))
    if total < plan.minimum:
        lift = _decimal(plan.minimum - total, unit)
        lines.append(PriceLine("minimum", 0, price.minimum_usd, lift))
        total = plan.minimum
    if free_requests_used is not None and free_requests_used < price.free_requests_per_month:
        lines.append(PriceLine("free_allowance", 0, Decimal(0), _decimal(-total, unit)))
    return tuple(lines)


def worst_case_nusd(
    input_tokens: int,
    max_output_tokens: int,
    price: Price,
    *,
    kinds: Collection[str] | None = None,
) -> int:
    """The most that a call within these bounds can cost, for a reservation.

    Args:
        input_tokens: at most this many are sent.
        max_output_tokens: at most this many come back.
        price: as for ``cost_nusd``; its free allowance is not counted on.
        kinds: token kinds that can occur, of ``KINDS``; None for all. Leaving out kinds that the
            request cannot use (audio, cache writes) keeps the reservation from blocking others.

    Returns:
        Nano-dollars, rounded up: each token at the dearest rate of its direction and of the
        context tiers that can be reached, plus the fee, at least the minimum.

    Raises:
        UnknownPrice: the price is unknown, or a direction with tokens has no rate.
    """
    if price.state == "free":
        return 0
    plan = price.plan
    if kinds is None:
        if len(plan.dearest) == 1:  # no context tiers
            _, most_in, most_out = plan.dearest[0]
            if most_in is not None and most_out is not None:
                total = plan.fee
                if input_tokens > 0:
                    total += input_tokens * most_in
                if max_output_tokens > 0:
                    total += max_output_tokens * most_out
                return -(-(total if total > plan.minimum else plan.minimum) // plan.scale)
        total = plan.fee
        for tokens, at, name in ((input_tokens, 1, "input"), (max_output_tokens, 2, "output")):
            if tokens <= 0:
                continue
            tops = [row[at] for row in plan.dearest if row[0] < input_tokens or not row[0]]
            top = max((rate for rate in tops if rate is not None), default=None)
            if top is None:
                raise UnknownPrice(
                    f"no price is known for {name} tokens of this model", hint=PRICE_HINT
                )
            total += tokens * top
        return -(-max(total, plan.minimum) // plan.scale)
    reachable = [rates for above, rates in plan.brackets if above < input_tokens or above == 0]
    total = plan.fee
    for tokens, names, offset in (
        (input_tokens, INPUT_KINDS, 0),
        (max_output_tokens, OUTPUT_KINDS, N_INPUT_KINDS),
    ):
        if tokens <= 0:
            continue
        found = [
            rate
            for rates in reachable
            for name, rate in zip(names, rates[offset : offset + len(names)], strict=True)
            if rate is not None and name in kinds
        ]
        if not found:
            raise UnknownPrice(
                f"no price is known for {names[0]} tokens of this model", hint=PRICE_HINT
            )
        total += tokens * max(found)
    return -(-max(total, plan.minimum) // plan.scale)


def blended(price: Price, *, output_share: Decimal = Decimal("0.5")) -> Decimal | None:
    """US dollars per 1,000,000 tokens of a mix, below all context tiers.

    ``output_share`` is the share of output tokens, 0..1; one half gives the fleet spec's "avg".
    None where either rate is unknown.
    """
    if price.state == "free":
        return Decimal(0)
    if price.state == "unknown" or price.input is None or price.output is None:
        return None
    return EXACT.add(
        EXACT.multiply(price.input.base, 1 - output_share),
        EXACT.multiply(price.output.base, output_share),
    )


def of_batch(price: Price, share: Decimal) -> Price:
    """What a call costs within a batch.

    Args:
        share: what each rate is of the usual one, 0..1. Fees and minimum stay.
    """
    if share == price.share:
        return price
    changed: dict[str, Any] = {
        kind: Rate(
            EXACT.multiply(rate.base, share),
            tuple(Tier(t.above_tokens, EXACT.multiply(t.rate, share)) for t in rate.tiers),
        )
        for kind in KINDS
        if (rate := cast("Rate | None", getattr(price, kind))) is not None
    }
    return replace(price, share=share, **changed)


def _rates(plan: Plan, input_tokens: int) -> tuple[int | None, ...]:
    chosen = plan.brackets[0][1]
    for above, rates in plan.brackets[1:]:
        if input_tokens <= above:
            break
        chosen = rates
    return chosen


def _used(usage: Usage) -> list[tuple[int, int]]:
    """(place in ``KINDS``, tokens) of the kinds that occur, each token in exactly one of them."""
    cached_audio = usage.cached_audio_tokens
    if not (
        usage.cached_tokens
        or usage.cache_write_tokens
        or usage.cache_write_1h_tokens
        or usage.input_image_tokens
        or usage.input_audio_tokens
        or cached_audio
        or usage.reasoning_tokens
        or usage.output_image_tokens
        or usage.output_audio_tokens
    ):  # plain text, the most of all calls
        tokens_in, tokens_out = usage.input_tokens, usage.output_tokens
        if tokens_in > 0 and tokens_out > 0:
            return [(0, tokens_in), (N_INPUT_KINDS, tokens_out)]
        return [(at, n) for at, n in ((0, tokens_in), (N_INPUT_KINDS, tokens_out)) if n > 0]
    counts: tuple[int, ...] = (
        usage.input_tokens
        - usage.cached_tokens
        - usage.cache_write_tokens
        - usage.input_image_tokens
        - usage.input_audio_tokens
        + cached_audio,
        usage.cached_tokens - cached_audio,
        usage.cache_write_tokens - usage.cache_write_1h_tokens,
        usage.cache_write_1h_tokens,
        usage.input_image_tokens,
        usage.input_audio_tokens - cached_audio,
        cached_audio,
        usage.output_tokens
        - usage.reasoning_tokens
        - usage.output_image_tokens
        - usage.output_audio_tokens,
        usage.reasoning_tokens,
        usage.output_image_tokens,
        usage.output_audio_tokens,
    )
    if min(counts) < 0:
        counts = _untangled(usage)
    return [(at, tokens) for at, tokens in enumerate(counts) if tokens]


def _untangled(usage: Usage) -> tuple[int, ...]:
    """The same for counts that overlap or contradict each other.

    Providers report cached images both as cached and as image tokens, without the overlap. The
    smallest overlap that fits is taken as cached media; what still exceeds the direction's
    total is cut, so that no token is charged twice and none below zero.
    """
    total_in, total_out = max(0, usage.input_tokens), max(0, usage.output_tokens)
    cached = min(max(0, usage.cached_tokens), total_in)
    write = min(max(0, usage.cache_write_tokens), total_in - cached)
    write_1h = min(max(0, usage.cache_write_1h_tokens), write)
    audio = min(max(0, usage.input_audio_tokens), total_in)
    image = min(max(0, usage.input_image_tokens), total_in - audio)
    cached_audio = min(max(0, usage.cached_audio_tokens), cached, audio)
    over = cached + write + audio - cached_audio + image - total_in
    if over > 0:
        shared = min(over, image, cached - cached_audio)
        image -= shared
        over -= shared
    if over > 0:
        shared = min(over, audio - cached_audio, cached - cached_audio)
        cached_audio += shared
        over -= shared
    if over > 0:
        shared = min(over, image)
        image -= shared
        audio -= over - shared
    text = total_in - cached - write - (audio - cached_audio) - image
    reasoning = min(max(0, usage.reasoning_tokens), total_out)
    image_out = min(max(0, usage.output_image_tokens), total_out - reasoning)
    audio_out = min(max(0, usage.output_audio_tokens), total_out - reasoning - image_out)
    return (
        text,
        cached - cached_audio,
        write - write_1h,
        write_1h,
        image,
        audio - cached_audio,
        cached_audio,
        total_out - reasoning - image_out - audio_out,
        reasoning,
        image_out,
        audio_out,
    )


def _no_rate(usage: Usage, price: Price) -> UnknownPrice:
    plan = price.plan
    rates = _rates(plan, usage.input_tokens)
    missing = [KINDS[kind] for kind, _ in _used(usage) if rates[kind] is None]
    return UnknownPrice(f"no price is known for {', '.join(missing)} tokens", hint=PRICE_HINT)


def _decimal(numerator: int, power_of_ten: int) -> Decimal:
    return EXACT.divide(Decimal(numerator), Decimal(power_of_ten))


def _round_half_even(numerator: int, denominator: int) -> int:
    whole, rest = divmod(numerator, denominator)
    twice = 2 * rest
    return whole + (twice > denominator or (twice == denominator and whole & 1))
