"""Which price holds for a model now, and what calls cost by it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from omni_cli.domain.errors import UnknownPrice, UsageError
from omni_cli.domain.money import usd_to_nusd
from omni_cli.domain.periods import DAY_MS
from omni_cli.domain.prices import KINDS, UNITS, Price, PriceState, Rate, Rates, price_on
from omni_cli.domain.pricing import cost_nusd
from omni_cli.domain.record import replace

if TYPE_CHECKING:
    from omni_cli.domain.chat import Usage
    from omni_cli.domain.ledger import Allowance
    from omni_cli.records import StoredPrice
    from omni_cli.repositories import Ledger, Models

_ORIGIN_RANK: Mapping[str, int] = {"user": 0, "provider": 1, "catalogue": 2}


class PriceBook:
    """The prices of the day. The user's own always wins over the provider's listing, that over
    the catalogue's."""

    def __init__(self, models: Models, *, now_ms: int) -> None:
        self._models = models
        self._day = utc_day(now_ms)
        self._rows: dict[str, StoredPrice | None] = {}

    def load(self, model_ids: Iterable[str]) -> None:
        """Read the prices of these models in one go."""
        missing = [model_id for model_id in model_ids if model_id not in self._rows]
        rows = self._models.prices(missing) if missing else {}
        for model_id in missing:
            self._rows[model_id] = in_force(rows.get(model_id, ()), self._day)

    def load_all(self) -> None:
        """Read every model's prices in one go."""
        for model_id, rows in self._models.prices().items():
            self._rows[model_id] = in_force(rows, self._day)

    def current(self, model_id: str) -> StoredPrice | None:
        """The price row that a call made now is charged by; None when there is none."""
        if model_id not in self._rows:
            self.load([model_id])
        return self._rows[model_id]

    def of(self, model_id: str) -> Price | None:
        """Its terms."""
        row = self.current(model_id)
        return None if row is None else row.price


class PriceHistory:
    """The price list as it stands now, asked for any day."""

    def __init__(self, models: Models) -> None:
        self._models = models
        self._rows: dict[str, Sequence[StoredPrice]] = {}
        self._found: dict[tuple[str, int], StoredPrice | None] = {}

    def on(self, model_id: str, at_ms: int) -> StoredPrice | None:
        """The row for a call made at ``at_ms``; None when no price was in force."""
        key = model_id, at_ms // DAY_MS
        if key not in self._found:
            if model_id not in self._rows:
                self._rows[model_id] = self._models.prices([model_id]).get(model_id, ())
            self._found[key] = in_force(self._rows[model_id], utc_day(at_ms))
        return self._found[key]


def in_force(rows: Sequence[StoredPrice], day: str) -> StoredPrice | None:
    """Of one model's price rows the one that counts on ``day`` (ISO date, UTC)."""
    for origin in sorted({row.origin for row in rows}, key=lambda o: _ORIGIN_RANK.get(o, 9)):
        same = [row for row in rows if row.origin == origin]
        price = price_on([row.price for row in same], day)
        for row in same:
            if row.price is price:
                return row
    return None


def state_of(row: StoredPrice | None) -> PriceState:
    return "unknown" if row is None else row.price.state


def cost_or_none(
    usage: Usage, price: Price | None, *, free_requests_used: int | None = None
) -> int | None:
    """Nano-dollars, or None where the price is not known. Arguments as of ``cost_nusd``."""
    if price is None:
        return None
    try:
        return cost_nusd(usage, price, free_requests_used=free_requests_used)
    except UnknownPrice:
        return None


def sum_cost_or_none(usage: Usage, price: Price, requests: int) -> int | None:
    """What a usage report's row costs that adds up ``requests`` calls.

    Context tiers and minimum costs go by single calls, which a sum does not show: it is priced
    by the base rates (``by_sums`` tells where that may be too little).
    """
    rates: dict[str, Any] = {
        kind: Rate(rate.base)
        for kind in KINDS
        if (rate := getattr(price, kind)) is not None and rate.tiers
    }
    flat = replace(price, per_request_usd=Decimal(0), minimum_usd=Decimal(0), **rates)
    cost = cost_or_none(usage, flat)
    fee = 0 if price.state == "free" else requests * usd_to_nusd(price.per_request_usd)
    return None if cost is None else cost + fee


def by_sums(price: Price) -> bool:
    """Whether the price of a sum of calls can differ from the sum of their prices."""
    rates = (getattr(price, kind) for kind in KINDS)
    return bool(price.minimum_usd) or any(rate is not None and rate.tiers for rate in rates)


def by_units(price: Price) -> bool:
    """Whether something is charged that is not counted in tokens."""
    return any(getattr(price, field) is not None for field, _ in UNITS.values())


def allowance_used(price: Price | None, model: str, at_ms: int, ledger: Ledger) -> int | None:
    """Calls of the model in this calendar month (UTC) before ``at_ms``; None where its price has
    no free allowance, which costs no query."""
    if price is None or not price.free_requests_per_month:
        return None
    return ledger.calls_between(model, month_start(at_ms), at_ms)


def allowance_of(price: Price | None, model: str, at_ms: int) -> Allowance | None:
    """The free calls that one which ends at ``at_ms`` may be among; None without any."""
    if price is None or not price.free_requests_per_month:
        return None
    from omni_cli.domain.ledger import Allowance  # what lists prices knows of no calls

    return Allowance(model, month_start(at_ms), at_ms, price.free_requests_per_month, price.state)


def month_start(at_ms: int) -> int:
    """The first instant of the calendar month, UTC."""
    day = datetime.fromtimestamp(at_ms / 1000, UTC)
    first = day.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return int(first.timestamp()) * 1000


def rates_of(price: Price | None) -> Rates | None:
    """A price reduced to what an estimate needs; None where it says too little."""
    if price is None or price.state == "unknown":
        return None
    if price.state == "free":
        return Rates(0, 0, 0)
    if price.input is None or price.output is None:
        return None
    return Rates(
        input_pusd=_pico(price.input),
        cached_pusd=_pico(price.cached or price.input),
        output_pusd=_pico(price.output),
        floor_pusd=int(max(price.per_request_usd, price.minimum_usd) * 10**12),
    )


def _pico(rate: Rate) -> int:
    # USD per 1e6 tokens is 1e-6 USD per token: 1e6 pico-dollars.
    return int(rate.base * 1_000_000)


def utc_day(at_ms: int) -> str:
    """ISO date, UTC."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).date().isoformat()


#: A rate so many times off the published one is another unit; discounts and mark-ups are not.
FACTOR = 500
#: Where nothing is published: no model sold by the token costs less, or more, per 1M tokens
#: (the catalogue's own run from 0.004 to 600).
_LEAST, _MOST = Decimal("0.001"), Decimal(5_000)


class Doubtful(UsageError):
    """A value that may be meant, and most likely is not: to be confirmed."""

    code = "doubtful"


def published(models: Models, model_id: str, now_ms: int) -> StoredPrice | None:
    """The price in force that is not the user's own: the provider's listing or the catalogue."""
    rows = models.prices([model_id]).get(model_id, ())
    return in_force([row for row in rows if row.origin != "user"], utc_day(now_ms))


def doubt(rates: Mapping[str, Decimal], reference: StoredPrice | None) -> str:
    """What is odd about rates, US dollars per 1M tokens by kind; "" where nothing is."""
    for kind, rate in rates.items():
        if not rate:
            continue
        known = None if reference is None else getattr(reference.price, kind)
        if reference is not None and known is not None and known.base:
            times = max(rate / known.base, known.base / rate)
            if times >= FACTOR:
                word = "less" if rate < known.base else "more"
                origin = "catalogue" if reference.origin == "catalogue" else "provider"
                return (
                    f"{kind} at ${rate:f} is {times:,.0f} times {word} than the {origin} "
                    f"${known.base:f} per 1M tokens"
                )
        elif not _LEAST <= rate <= _MOST:
            word = "less" if rate < _LEAST else "more"
            return f"{kind} at ${rate:f} per 1M tokens is {word} than any model costs"
    return ""


def check_rates(rates: Mapping[str, Decimal], reference: StoredPrice | None, name: str) -> None:
    """Raises Doubtful."""
    if found := doubt(rates, reference):
        raise Doubtful(
            f"{name}: {found}",
            hint="prices are US dollars per 1,000,000 tokens (2.5, not 0.0000025); "
            'if it is meant: --yes, at the gateway "sure": true',
        )


def base_rates(price: Price) -> dict[str, Decimal]:
    """A price's rates by kind, without their tiers."""
    found = {kind: getattr(price, kind) for kind in KINDS}
    return {kind: rate.base for kind, rate in found.items() if rate is not None}
