"""Prices and the exact cost of a completion."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

PriceState = Literal["priced", "free", "unknown"]


@dataclass(frozen=True, slots=True)
class Tier:
    """From more than ``above_tokens`` input tokens on, ``rate`` holds."""

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
    and image input as input; 1 h cache write as cache write; reasoning, audio and image output
    as output. ``per_request_usd`` is a fee for each call, ``minimum_usd`` the least a call
    costs, ``free_requests_per_month`` calls that cost nothing. ``source`` names where the price
    was read (a page or data set, or "user"), ``source_date`` when.
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
