"""Prices that are most likely typed in another unit: per token or per 1,000, not per 1,000,000."""

from collections.abc import Mapping
from decimal import Decimal

from omni_cli.domain.errors import UsageError
from omni_cli.domain.pricing import KINDS, Price
from omni_cli.records import StoredPrice
from omni_cli.repositories import Models
from omni_cli.services.money.prices import in_force, utc_day

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
