"""What a text, or a number of requests, would cost on each model (C6). Sends nothing."""

from collections.abc import Iterable
from decimal import Decimal

from msgspec import Struct

from omni_cli.domain.chat import Usage
from omni_cli.domain.errors import UsageError
from omni_cli.domain.models import ModelInfo
from omni_cli.domain.pricing import Price, Rate
from omni_cli.domain.record import replace
from omni_cli.services.money.prices import cost_or_none

#: How far the estimate was off on recorded answers of six vendors: half of them less, all of
#: them less (tests/unit/test_tokens.py holds it to that).
MEDIAN_ERROR_PERCENT = 8
MOST_ERROR_PERCENT = 20
_CUSTOM_KINDS = {
    "in": "input",
    "out": "output",
    "cached": "cached",
    "cache_write": "cache_write",
    "reasoning": "reasoning",
}


class Workload(Struct, frozen=True):
    """``requests`` calls of these tokens each; ``cached_tokens`` are part of input.

    ``counted``: the input was counted from a text, so a model's token weight applies to it.
    ``per_month``: calls a month, for a projection; None: no projection.
    """

    input_tokens: int
    output_tokens: int
    cached_tokens: int = 0
    requests: int = 1
    per_month: int | None = None
    counted: bool = False

    def __post_init__(self) -> None:
        if min(self.input_tokens, self.output_tokens, self.cached_tokens) < 0:
            raise UsageError("token counts are 0 or more")
        if self.cached_tokens > self.input_tokens:
            raise UsageError(
                f"{self.cached_tokens:,} cached tokens are more than {self.input_tokens:,} of "
                "input: cached tokens are part of the input"
            )
        if self.requests < 1 or (self.per_month is not None and self.per_month < 0):
            raise UsageError("--requests is 1 or more, --per-month 0 or more")


class Line(Struct, frozen=True):
    """One model's costs, nano-dollars. ``uncached_nusd``: of a request without the cache.

    ``fits``: the tokens go into the model's context window, as far as that is known.
    ``own_cached_rate``: the price has a rate for cached input, so caching changes something.
    """

    model: str
    name: str
    input_tokens: int
    request_nusd: int
    uncached_nusd: int
    total_nusd: int
    month_nusd: int | None
    fits: bool
    own_cached_rate: bool


def calculate(workload: Workload, models: Iterable[tuple[ModelInfo, Price]]) -> list[Line]:
    """Cheapest first; models that are not priced by tokens in both directions are left out."""
    lines = [
        line
        for model, price in models
        if price.state == "priced" and price.input is not None and price.output is not None
        if (line := _line(workload, model, price)) is not None
    ]
    lines.sort(key=lambda line: (not line.fits, line.request_nusd, line.model))
    return lines


def _line(workload: Workload, model: ModelInfo, price: Price) -> Line | None:
    weight = model.token_weights.get("input", 1.0) if workload.counted else 1.0
    counted = -(-workload.input_tokens * round(weight * 1000) // 1000)
    usage = Usage(
        input_tokens=counted,
        cached_tokens=min(workload.cached_tokens, counted),
        output_tokens=workload.output_tokens,
    )
    cost = cost_or_none(usage, price)
    uncached = cost_or_none(replace(usage, cached_tokens=0), price)
    if cost is None or uncached is None:
        return None
    window = model.context_window
    return Line(
        model=model.id,
        name=model.name,
        input_tokens=counted,
        request_nusd=cost,
        uncached_nusd=uncached,
        total_nusd=cost * workload.requests,
        month_nusd=None if workload.per_month is None else cost * workload.per_month,
        fits=window is None or counted + workload.output_tokens <= window,
        own_cached_rate=price.cached is not None,
    )


def custom_price(text: str) -> Price:
    """``in=1.2,out=4.8[,cached=0.1][,cache_write=1.5][,request=0.01]``: US dollars per 1M tokens.

    Raises:
        UsageError: an unknown kind, a number that does not fit, or no ``in`` and ``out``.
    """
    rates: dict[str, Rate] = {}
    fee = Decimal(0)
    for part in text.split(","):
        kind, equals, amount = part.partition("=")
        try:
            value = Decimal(amount.strip().removeprefix("$"))
        except ArithmeticError:
            value = Decimal("NaN")
        kind = kind.strip()
        if not equals or not value.is_finite() or value < 0:
            raise UsageError(f"--custom {part!r} is no price", hint="--custom in=1.2,out=4.8")
        if kind == "request":
            fee = value
        elif kind in _CUSTOM_KINDS:
            rates[_CUSTOM_KINDS[kind]] = Rate(value)
        else:
            raise UsageError(
                f"--custom has no kind {kind!r}", hint=f"{', '.join(_CUSTOM_KINDS)}, request"
            )
    if not {"input", "output"} <= rates.keys():
        raise UsageError("--custom needs in= and out=", hint="--custom in=1.2,out=4.8")
    return Price(state="priced", per_request_usd=fee, source="custom", **rates)  # type: ignore[arg-type]  # kinds are Price's rate fields
