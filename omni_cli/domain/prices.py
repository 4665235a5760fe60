"""Prices as they are published: rates by token kind, context tiers, fees; and their JSON form;
and their compiled form: integers over a common power of ten."""

from collections.abc import Mapping, Sequence
from decimal import Context, Decimal, InvalidOperation
from functools import cached_property
from typing import Any, Literal, cast

from msgspec import Struct

from omni_cli.domain.errors import UnknownPrice
from omni_cli.domain.money import dollars

PriceState = Literal["priced", "free", "unknown"]

#: US dollars; a dearer amount is a slip of the keyboard. At a dollar a token, what a thousand
#: models together charge for the longest prompts still fits the store's 64-bit nano-dollars.
MOST_USD = Decimal(1_000_000)

#: Every kind of token that may have a rate of its own, input kinds first.
INPUT_KINDS: tuple[str, ...] = (
    "input",
    "cached",
    "cache_write",
    "cache_write_1h",
    "input_image",
    "input_audio",
    "cached_audio",
)
OUTPUT_KINDS: tuple[str, ...] = ("output", "reasoning", "output_image", "output_audio")
KINDS: tuple[str, ...] = INPUT_KINDS + OUTPUT_KINDS


N_INPUT_KINDS = len(INPUT_KINDS)
#: Of calls in which there is neither sound nor picture.
TEXT_KINDS = ("input", "cached", "cache_write", "cache_write_1h", "output", "reasoning")
_TEXT = [KINDS.index(kind) for kind in TEXT_KINDS]
#: Kinds that lend their rate to a kind without one; of several, the dearest lends.
PARENTS: Mapping[str, tuple[str, ...]] = {
    "cached": ("input",),
    "cache_write": ("input",),
    "cache_write_1h": ("cache_write",),
    "input_image": ("input",),
    "input_audio": ("input",),
    "cached_audio": ("cached", "input_audio"),
    "reasoning": ("output",),
    "output_image": ("output",),
    "output_audio": ("output",),
}
#: What is charged otherwise than by the token, by what it is counted in: the field of ``Price``
#: that has its rate, and how many of it that rate is for.
UNITS: Mapping[str, tuple[str, int]] = {
    "audio_ms": ("per_audio_hour_usd", 3_600_000),
    "characters": ("per_million_characters_usd", 1_000_000),
    "images": ("per_image_usd", 1),
    "searches": ("per_thousand_searches_usd", 1_000),
}
#: Wide enough for any product of a token count and a rate.
EXACT = Context(prec=100)
PRICE_HINT = "set its price: omni models price MODEL --price-in USD --price-out USD"


class Tier(Struct, frozen=True):
    """From more than ``above_tokens`` input tokens on, ``rate`` holds for all tokens.

    All providers in the catalogue's source bill this way: passing the threshold re-prices the
    whole request, not only the tokens beyond it.
    """

    above_tokens: int
    rate: Decimal


class Rate(Struct, frozen=True):
    """US dollars per 1,000,000 tokens of one kind, with optional context tiers."""

    base: Decimal
    tiers: tuple[Tier, ...] = ()


class Plan(Struct, frozen=True):
    """A compiled price: integers in nano-dollars times ``scale`` (a power of ten).

    ``brackets``: (above_tokens, rate per token by ``KINDS`` or None), ascending; the first
    holds from 0 tokens on. ``dearest``: of each bracket, its threshold and the highest rate of
    input and of output, None where no rate is known. ``text``: of each, its threshold and the rates
    of text alone (``TEXT_KINDS``), None where one of them is not known.
    """

    scale: int
    brackets: tuple[tuple[int, tuple[int | None, ...]], ...]
    dearest: tuple[tuple[int, int | None, int | None], ...]
    text: tuple[tuple[int, tuple[int, ...] | None], ...]
    fee: int
    minimum: int


class Price(Struct, frozen=True, dict=True):
    """What a model costs from ``effective_from`` on (ISO date, UTC; None: always).

    A kind without a rate of its own is charged as its parent kind: cached, cache write, audio
    and image input as input; 1 h cache write as cache write; cached audio as the dearer of
    cached and audio input; reasoning, audio and image output as output. ``per_request_usd`` is
    a fee for each call, ``minimum_usd`` the least a call costs, ``free_requests_per_month``
    calls that cost nothing. ``per_audio_hour_usd`` and its like (``UNITS``) are for what is not
    counted in tokens. ``source`` names where the price was read (a page or data set, or
    "user"), ``source_date`` when. ``note`` says why a price is unknown, or what it leaves out.
    ``share``: what its rates are of the published ones; less than 1 within a batch.
    """

    state: PriceState
    input: Rate | None = None
    cached: Rate | None = None
    cache_write: Rate | None = None
    cache_write_1h: Rate | None = None
    output: Rate | None = None
    reasoning: Rate | None = None
    input_audio: Rate | None = None
    cached_audio: Rate | None = None
    output_audio: Rate | None = None
    input_image: Rate | None = None
    output_image: Rate | None = None
    per_request_usd: Decimal = Decimal(0)
    minimum_usd: Decimal = Decimal(0)
    free_requests_per_month: int = 0
    per_audio_hour_usd: Decimal | None = None
    per_million_characters_usd: Decimal | None = None
    per_image_usd: Decimal | None = None
    per_thousand_searches_usd: Decimal | None = None
    source: str = ""
    source_date: str = ""
    effective_from: str | None = None
    note: str = ""
    share: Decimal = Decimal(1)

    @cached_property
    def plan(self) -> Plan:
        """The compiled form. Raises UnknownPrice; ValueError for an amount that is no price."""
        return _compiled(self)


def _compiled(price: Price) -> Plan:
    if price.state == "unknown":
        why = f": {price.note}" if price.note else ""
        raise UnknownPrice(f"the price of this model is unknown{why}", hint=PRICE_HINT)
    rates = {kind: cast("Rate | None", getattr(price, kind)) for kind in KINDS}
    used = [r for r in rates.values() if r is not None]
    amounts = [r.base for r in used] + [t.rate for r in used for t in r.tiers]
    fees = (price.per_request_usd, price.minimum_usd)
    for amount in (*amounts, *fees):
        if not amount.is_finite() or amount < 0:
            raise ValueError(f"a price must be finite and not negative, not {amount}")
    # A rate of 10^-e dollars per million tokens is 10^(3-e) nano-dollars a token.
    digits = max((0, *(_exponent(a) - 3 for a in amounts), *(_exponent(a) - 9 for a in fees)))
    thresholds = sorted({0} | {t.above_tokens for r in used for t in r.tiers})
    brackets = tuple((above, _resolve(rates, above, digits + 3)) for above in thresholds)
    return Plan(
        scale=10**digits,
        brackets=brackets,
        dearest=tuple(
            (above, _highest(found[:N_INPUT_KINDS]), _highest(found[N_INPUT_KINDS:]))
            for above, found in brackets
        ),
        text=tuple((above, _text(found)) for above, found in brackets),
        fee=_scaled(price.per_request_usd, digits + 9),
        minimum=_scaled(price.minimum_usd, digits + 9),
    )


def _highest(rates: tuple[int | None, ...]) -> int | None:
    return max((rate for rate in rates if rate is not None), default=None)


def _text(rates: tuple[int | None, ...]) -> tuple[int, ...] | None:
    found = [rate for at in _TEXT if (rate := rates[at]) is not None]
    return tuple(found) if len(found) == len(_TEXT) else None


def _resolve(rates: Mapping[str, Rate | None], above: int, shift: int) -> tuple[int | None, ...]:
    """Integer rate of each kind for requests of more than ``above`` input tokens."""
    found: dict[str, int | None] = {}
    for kind in KINDS:
        rate = rates[kind]
        if rate is None:
            lent = [found[p] for p in PARENTS.get(kind, ())]
            # Of a cached audio token's two parents, one that only inherits says nothing.
            own = [found[p] for p in PARENTS.get(kind, ()) if rates[p] is not None]
            found[kind] = max((r for r in own or lent if r is not None), default=None)
            continue
        dollars = rate.base
        for tier in sorted(rate.tiers, key=lambda t: t.above_tokens):
            if tier.above_tokens <= above:
                dollars = tier.rate
        found[kind] = _scaled(dollars, shift)
    return tuple(found[kind] for kind in KINDS)


def _exponent(amount: Decimal) -> int:
    return -cast(int, amount.as_tuple().exponent)


def _scaled(amount: Decimal, shift: int) -> int:
    """``amount * 10**shift``, which the caller has made whole."""
    return int(EXACT.scaleb(amount, shift))


def price_on(prices: Sequence[Price], day: str) -> Price | None:
    """The price in force on ``day`` (ISO date, UTC): the latest start that is not after it.

    Of two with the same start the later in the sequence counts. None when none is in force.
    """
    started = [p for p in prices if p.effective_from is None or p.effective_from <= day]
    best: Price | None = None
    for price in started:
        if best is None or (price.effective_from or "") >= (best.effective_from or ""):
            best = price
    return best


_TEXTS = ("source", "source_date", "effective_from", "note")


def price_to_json(price: Price) -> dict[str, Any]:
    """A JSON object that ``price_from_json`` reads back to an equal price.

    Amounts are decimal strings; a rate with tiers is ``{"base": "3", "tiers": [[200000, "6"]]}``.
    """
    out: dict[str, Any] = {"state": price.state}
    for kind in KINDS:
        rate = cast("Rate | None", getattr(price, kind))
        if rate is not None:
            base = _plain(rate.base)
            tiers = [[t.above_tokens, _plain(t.rate)] for t in rate.tiers]
            out[kind] = {"base": base, "tiers": tiers} if tiers else base
    for name, amount in (
        ("per_request_usd", price.per_request_usd),
        ("minimum_usd", price.minimum_usd),
    ):
        if amount:
            out[name] = _plain(amount)
    for name, _ in UNITS.values():
        if (unit := getattr(price, name)) is not None:
            out[name] = _plain(unit)
    if price.share != 1:
        out["share"] = _plain(price.share)
    if price.free_requests_per_month:
        out["free_requests_per_month"] = price.free_requests_per_month
    out.update({name: value for name in _TEXTS if (value := getattr(price, name))})
    return out


def price_from_json(data: Mapping[str, Any]) -> Price:
    """Raises ValueError where ``data`` is not what ``price_to_json`` writes."""
    amounts = ("per_request_usd", "minimum_usd", "share", *(name for name, _ in UNITS.values()))
    known = {"state", *KINDS, *amounts, "free_requests_per_month", *_TEXTS}
    if unknown := data.keys() - known:
        raise ValueError(f"unknown price fields: {', '.join(sorted(unknown))}")
    state = data.get("state")
    if state not in ("priced", "free", "unknown"):
        raise ValueError(f"a price's state is priced, free or unknown, not {state!r}")
    fields: dict[str, Any] = {kind: _rate(data[kind]) for kind in KINDS if kind in data}
    for name in amounts:
        if name in data:
            fields[name] = _amount(data[name])
    fields.update(
        {name: data[name] for name in (*_TEXTS, "free_requests_per_month") if name in data}
    )
    return Price(state=state, **fields)


def _rate(data: object) -> Rate:
    if isinstance(data, Mapping):
        tiers = tuple(Tier(int(above), _amount(rate)) for above, rate in data.get("tiers", ()))
        return Rate(_amount(data.get("base")), tiers)
    return Rate(_amount(data))


def _amount(text: object) -> Decimal:
    if not isinstance(text, str):
        raise ValueError(f"amounts are decimal strings, not {text!r}")
    try:
        amount = Decimal(text)
    except InvalidOperation:
        raise ValueError(f"not a decimal number: {text!r}") from None
    if not amount.is_finite() or amount < 0:
        raise ValueError(f"a price must be finite and not negative, not {text!r}")
    if amount > MOST_USD:
        raise ValueError(f"a price is at most {MOST_USD:,} US dollars, not {text[:20]}")
    return amount


def _plain(amount: Decimal) -> str:
    """Decimal text without an exponent and without trailing zeros."""
    text = f"{amount:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


class Rates(Struct, frozen=True):
    """A price reduced to what an estimate needs, in pico-dollars (1e-12 USD) per token.

    ``floor`` is per request: fee and minimum.
    """

    input_pusd: int
    cached_pusd: int
    output_pusd: int
    floor_pusd: int = 0

    def cost_nusd(self, input_tokens: int, cached_tokens: int, output_tokens: int) -> int:
        """Expected cost, rounded up to a whole nano-dollar."""
        total = (
            (input_tokens - cached_tokens) * self.input_pusd
            + cached_tokens * self.cached_pusd
            + output_tokens * self.output_pusd
            + self.floor_pusd
        )
        return -(-total // 1_000)


def rate_text(price: Price | None, kind: str) -> str:
    """US dollars per 1M tokens: "$3.00", "free", "unknown"; "+" where more context costs more."""
    if price is None or price.state == "unknown":
        return "unknown"
    if price.state == "free":
        return "free"
    found: Rate | None = getattr(price, kind)
    return "-" if found is None else dollars(found.base) + ("+" if found.tiers else "")


def output_usd(price: Price) -> Decimal | None:
    """What 1M output tokens cost at least, US dollars; None where unknown."""
    if price.state == "free":
        return None
    return None if price.output is None else price.output.base
