"""Search, filter and sort models (A6)."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field

from omni_cli.domain.errors import UsageError
from omni_cli.domain.prices import output_usd
from omni_cli.domain.quality import BY_SIZE
from omni_cli.domain.words import meant

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from omni_cli.domain.latency import Speed, SpeedOf
    from omni_cli.domain.models import ModelInfo
    from omni_cli.records import ModelStats, StoredPrice
    from omni_cli.services.money.prices import PriceBook

SORTS = ("name", "provider", "cost", "context", "quality", "speed", "popularity")
QUALITIES = ("high", "medium", "basic")
SPEEDS = ("fast", "medium", "slow")
#: Least quality (the router's estimate, mean over task types) to count as high, as medium: the
#: limits of the upper and lower third of the shipped priors.
HIGH, MEDIUM = 0.93, 0.86
#: Output tokens of a usual answer.
_USUAL_TOKENS = 400
#: Longest mean response, ms, to count as fast, as medium; without measurements the speed score
#: that the user gave decides, from 70 and from 40 on, and without that what is foreseen.
FAST_MS, MEDIUM_MS = 3_000.0, 10_000.0
_FAST_SCORE, _MEDIUM_SCORE = 70.0, 40.0


class Filters(Struct, frozen=True):
    """None and empty: no matter. ``max_price_in`` in US dollars per 1M input tokens; a model of
    unknown price never passes it. ``capability``: a badge or a capability with a score."""

    providers: Sequence[str] = ()
    statuses: Sequence[str] = ()
    capabilities: Sequence[str] = ()
    type: str | None = None
    search: str | None = None
    max_price_in: Decimal | None = None
    free: bool = False
    quality: str | None = None
    speed: str | None = None
    min_context: int | None = None


class Listed(Struct, frozen=True):
    """A model with what the list shows: ``quality`` 0..1 and ``latency_ms`` None where unknown;
    ``calls`` in the ledger. ``quality_basis``: what the quality rests on. ``speed``: what is known
    of it before anything was measured."""

    model: ModelInfo
    price: StoredPrice | None
    quality: float | None
    latency_ms: float | None
    calls: int
    quality_basis: str = ""
    speed: Speed | None = None

    @property
    def by_size(self) -> bool:
        """The quality is guessed from the model's size: nothing else is known of it."""
        return self.quality is not None and self.quality_basis.startswith(BY_SIZE)

    @property
    def average_usd(self) -> Decimal | None:
        """US dollars per 1M tokens, half input and half output; None where unknown."""
        from omni_cli.domain.pricing import blended  # only sorts by cost need it

        return None if self.price is None else blended(self.price.price)

    @property
    def quality_class(self) -> str | None:
        if self.quality is None:
            return None
        return "high" if self.quality >= HIGH else "medium" if self.quality >= MEDIUM else "basic"

    @property
    def foreseen_ms(self) -> float:
        """How long a usual answer takes by what was published, or by the model's class."""
        return math.inf if self.speed is None else self.speed.latency_ms(_USUAL_TOKENS)

    @property
    def speed_class(self) -> str | None:
        score = self.model.scores.get("speed")
        if self.latency_ms is not None:
            value, fast, medium = -self.latency_ms, -FAST_MS, -MEDIUM_MS
        elif score is not None:
            value, fast, medium = score, _FAST_SCORE, _MEDIUM_SCORE
        elif self.speed is not None:
            value, fast, medium = -self.foreseen_ms, -FAST_MS, -MEDIUM_MS
        else:
            return None
        return "fast" if value >= fast else "medium" if value >= medium else "slow"


class Browser(Struct):
    """
    Args:
        quality: the mean over task types of the chance that a model answers well, or None, and
            what it rests on.
        stats: measured behaviour by (model, task type).
    """

    prices: PriceBook
    quality: Callable[[str], tuple[float | None, str]]
    stats: Mapping[tuple[str, str], ModelStats]
    speeds: SpeedOf = lambda _model, _usd: None
    _seen: dict[str, tuple[int, float | None]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        total: dict[str, float] = {}
        timed: dict[str, int] = {}
        calls: dict[str, int] = {}
        for (model, _), row in self.stats.items():
            calls[model] = calls.get(model, 0) + row.calls
            if row.latency_ms is not None:
                total[model] = total.get(model, 0.0) + row.latency_ms * row.calls
                timed[model] = timed.get(model, 0) + row.calls
        for model, count in calls.items():
            seen = timed.get(model, 0)
            self._seen[model] = (count, total[model] / seen if seen else None)

    def listed(self, model: ModelInfo) -> Listed:
        calls, latency = self._seen.get(model.id, (0, None))
        price = self.prices.current(model.id)
        quality, basis = self.quality(model.id)
        speed = self.speeds(model, None if price is None else output_usd(price.price))
        return Listed(model, price, quality, latency, calls, basis, speed)

    def find(self, models: Iterable[ModelInfo], filters: Filters, sort: str) -> list[Listed]:
        """Raises UsageError for a filter or an order that there is not."""
        _check("--sort", sort, SORTS)
        _check("--quality", filters.quality, QUALITIES)
        _check("--speed", filters.speed, SPEEDS)
        kept = [model for model in models if _fits(model, filters)]
        self.prices.load(model.id for model in kept)
        rows = [row for row in map(self.listed, kept) if _row_fits(row, filters)]
        return sorted(rows, key=_KEYS[sort])


def _fits(model: ModelInfo, filters: Filters) -> bool:
    if filters.providers and model.provider not in filters.providers:
        return False
    if filters.statuses and model.status not in filters.statuses:
        return False
    if filters.type is not None and model.type != filters.type:
        return False
    if filters.min_context is not None and (model.context_window or 0) < filters.min_context:
        return False
    if not all(name in model.badges or name in model.scores for name in filters.capabilities):
        return False
    if filters.search:
        text = " ".join((model.id, model.name, *model.aliases)).lower()
        return all(word in text for word in filters.search.lower().split())
    return True


def _row_fits(row: Listed, filters: Filters) -> bool:
    price = None if row.price is None else row.price.price
    if filters.free and (price is None or price.state != "free"):
        return False
    if filters.max_price_in is not None:
        if price is None or price.state == "unknown":
            return False
        if price.state == "priced" and (
            price.input is None or price.input.base > filters.max_price_in
        ):
            return False
    if filters.quality is not None and row.quality_class != filters.quality:
        return False
    return filters.speed is None or row.speed_class == filters.speed


def _check(option: str, value: str | None, known: tuple[str, ...]) -> None:
    if value is not None and value not in known:
        raise UsageError(
            f"{option} is one of {', '.join(known)}, not {value!r}", hint=meant(value, known)
        )


def _speed_key(row: Listed) -> tuple[Any, ...]:
    """Measured ones first, fastest first; then by the user's speed score; then by what is
    foreseen; then the rest."""
    score = row.model.scores.get("speed")
    if row.latency_ms is not None:
        return (0, row.latency_ms, row.model.id)
    return (1, -score, row.model.id) if score is not None else (2, row.foreseen_ms, row.model.id)


def _or_last(value: Any, *, falling: bool = False) -> tuple[bool, Any]:
    """A sort key that puts unknown at the end."""
    if value is None:
        return True, 0
    return False, -value if falling else value


_KEYS: Mapping[str, Callable[[Listed], Any]] = {
    "name": lambda row: (row.model.name.lower(), row.model.id),
    "provider": lambda row: row.model.id,
    "cost": lambda row: (*_or_last(row.average_usd), row.model.id),
    "context": lambda row: (*_or_last(row.model.context_window, falling=True), row.model.id),
    "quality": lambda row: (*_or_last(row.quality, falling=True), row.model.id),
    "speed": _speed_key,
    "popularity": lambda row: (-row.calls, row.model.id),
}
