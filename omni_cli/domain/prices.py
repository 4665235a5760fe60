"""Prices as they are published: rates by token kind, context tiers, fees; and their JSON form."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any, Literal, cast

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


@dataclass(frozen=True, slots=True)
class Tier:
    """From more than ``above_tokens`` input tokens on, ``rate`` holds for all tokens.

    All providers in the catalogue's source bill this way: passing the threshold re-prices the
    whole request, not only the tokens beyond it.
    """

    above_tokens: int
    rate: Decimal


@dataclass(frozen=True, slots=True)
class Rate:
    """US dollars per 1,000,000 tokens of one kind, with optional context tiers."""

    base: Decimal
    tiers: tuple[Tier, ...] = ()


@dataclass(frozen=True, slots=True)
class Price:
    """What a model costs from ``effective_from`` on (ISO date, UTC; None: always).

    A kind without a rate of its own is charged as its parent kind: cached, cache write, audio
    and image input as input; 1 h cache write as cache write; cached audio as the dearer of
    cached and audio input; reasoning, audio and image output as output. ``per_request_usd`` is
    a fee for each call, ``minimum_usd`` the least a call costs, ``free_requests_per_month``
    calls that cost nothing. ``source`` names where the price was read (a page or data set, or
    "user"), ``source_date`` when. ``note`` says why a price is unknown, or what it leaves out.
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
    source: str = ""
    source_date: str = ""
    effective_from: str | None = None
    note: str = ""
    #: The compiled form; ``domain.pricing`` fills it in on first use.
    plan: Any = field(default=None, init=False, repr=False, compare=False)


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
    if price.free_requests_per_month:
        out["free_requests_per_month"] = price.free_requests_per_month
    out.update({name: value for name in _TEXTS if (value := getattr(price, name))})
    return out


def price_from_json(data: Mapping[str, Any]) -> Price:
    """Raises ValueError where ``data`` is not what ``price_to_json`` writes."""
    known = {"state", *KINDS, "per_request_usd", "minimum_usd", "free_requests_per_month", *_TEXTS}
    if unknown := data.keys() - known:
        raise ValueError(f"unknown price fields: {', '.join(sorted(unknown))}")
    state = data.get("state")
    if state not in ("priced", "free", "unknown"):
        raise ValueError(f"a price's state is priced, free or unknown, not {state!r}")
    fields: dict[str, Any] = {kind: _rate(data[kind]) for kind in KINDS if kind in data}
    for name in ("per_request_usd", "minimum_usd"):
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


@dataclass(frozen=True, slots=True)
class Rates:
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
