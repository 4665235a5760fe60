"""Which price holds for a model now, and what calls cost by it."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

from omni_cli.domain.chat import Usage
from omni_cli.domain.errors import UnknownPrice
from omni_cli.domain.pricing import Price, PriceState, Rate, cost_nusd, price_on
from omni_cli.domain.routing import Rates
from omni_cli.repositories import Models, StoredPrice

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
            self._rows[model_id] = self._in_force(rows.get(model_id, ()))

    def current(self, model_id: str) -> StoredPrice | None:
        """The price row that a call made now is charged by; None when there is none."""
        if model_id not in self._rows:
            self.load([model_id])
        return self._rows[model_id]

    def _in_force(self, rows: Sequence[StoredPrice]) -> StoredPrice | None:
        for origin in sorted({row.origin for row in rows}, key=lambda o: _ORIGIN_RANK.get(o, 9)):
            same = [row for row in rows if row.origin == origin]
            price = price_on([row.price for row in same], self._day)
            for row in same:
                if row.price is price:
                    return row
        return None


def state_of(row: StoredPrice | None) -> PriceState:
    return "unknown" if row is None else row.price.state


def cost_or_none(usage: Usage, price: Price | None) -> int | None:
    """Nano-dollars, or None where the price is not known."""
    if price is None:
        return None
    try:
        return cost_nusd(usage, price)
    except UnknownPrice:
        return None


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
