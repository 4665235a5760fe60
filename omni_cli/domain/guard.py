"""Conditions on which a deploy is taken back, and how surely they hold.

The evidence is an e-process: a product of factors whose expectation is at most 1 while the
condition does not hold, so that the chance of its ever reaching 1/alpha is at most alpha, however
often one looks (Ville's inequality; Ramdas et al., "Game-theoretic statistics and safe
anytime-valid inference", 2023). A deploy is taken back on what is shown, not on a bad minute.
"""

import math
from collections.abc import Callable, Sequence
from typing import Literal

from msgspec import Struct

from omni_cli.domain.errors import UsageError
from omni_cli.domain.money import NUSD_PER_USD
from omni_cli.domain.patterns import Pattern

Metric = Literal["successRate", "errorRate", "costPerRequest", "p95"]
#: The chance, at most, that a deploy is taken back though no condition holds.
ALPHA = 0.01
#: Calls after a deploy that are looked at: by then it is shown or not worth showing.
MOST_CALLS = 20_000
_TERM = Pattern(r"\s*(successRate|errorRate|costPerRequest|p95)\s*([<>])\s*(\d+(?:\.\d+)?)\s*")
_WRONG_WAY: dict[Metric, str] = {
    "successRate": ">",
    "errorRate": "<",
    "costPerRequest": "<",
    "p95": "<",
}
#: Alternatives that are mixed: how far above the bound a rate may lie, and how boldly money is
#: bet.
_STEPS = (0.02, 0.05, 0.1, 0.2, 0.4, 0.7, 0.95)
_BETS = (0.02, 0.05, 0.1, 0.2, 0.4, 0.6)
_LEAST_RATE = 1e-6
#: Beyond all doubt; nothing is learned from more.
_ENOUGH = 1e30


class Condition(Struct, frozen=True):
    """``bound`` is a share for rates, US dollars for the cost, milliseconds for p95."""

    metric: Metric
    bound: float

    @property
    def text(self) -> str:
        sign = "<" if self.metric == "successRate" else ">"
        return f"{self.metric} {sign} {self.bound:g}"


class Call(Struct, frozen=True):
    """One request since the deploy. ``cost_nusd`` None: unknown; latency None: no answer."""

    ok: bool
    cost_nusd: int | None
    latency_ms: int | None


class Evidence(Struct, frozen=True):
    """``value``: the metric as measured, None without calls; ``shown``: the condition holds, ``e``
    having reached ``need``."""

    condition: Condition
    calls: int
    value: float | None
    e: float
    need: float

    @property
    def shown(self) -> bool:
        return self.e >= self.need


def parse_conditions(text: str) -> tuple[Condition, ...]:
    """``successRate < 0.95 || costPerRequest > 0.01 || p95 > 8000``; any one of them suffices.

    Raises UsageError that says what may stand there.
    """
    found = []
    for term in text.split("||"):
        match = _TERM.fullmatch(term)
        if match is None or (match[1], match[2]) in _WRONG_WAY.items():
            raise UsageError(
                f"{term.strip()!r} is no condition to roll back on",
                hint="successRate < 0.95, errorRate > 0.05, costPerRequest > 0.01 (US dollars), "
                "p95 > 8000 (ms); several are joined by ||",
            )
        bound = float(match[3])
        if match[1] in ("successRate", "errorRate") and bound > 1:
            raise UsageError(f"{term.strip()!r}: a rate lies between 0 and 1")
        found += [Condition(metric, bound) for metric in _WRONG_WAY if metric == match[1]]
    return tuple(found)


def evidence(conditions: Sequence[Condition], calls: Sequence[Call]) -> list[Evidence]:
    """Where each condition stands; the error is shared among them."""
    need = len(conditions) / ALPHA
    found = []
    for condition in conditions:
        values, factors = _measured(condition, calls)
        value = _value(condition, calls, values)
        found.append(Evidence(condition, len(values), value, _largest(values, factors), need))
    return found


def _measured(
    condition: Condition, calls: Sequence[Call]
) -> tuple[list[float], list[Callable[[float], float]]]:
    """What is measured of each call, and the factors that a value gives."""
    if condition.metric == "costPerRequest":
        costs = [call.cost_nusd / NUSD_PER_USD for call in calls if call.cost_nusd is not None]
        return costs, [_bet(share, condition.bound) for share in _BETS]
    if condition.metric == "p95":
        known = [call.latency_ms for call in calls if call.latency_ms is not None]
        bad = [float(latency > condition.bound) for latency in known]
        base = 0.05
    else:
        bad = [float(not call.ok) for call in calls]
        rate = condition.metric == "errorRate"
        base = condition.bound if rate else 1 - condition.bound
    base = min(max(base, _LEAST_RATE), 1 - _LEAST_RATE)
    return bad, [_likelihood(base + step * (1 - base), base) for step in _STEPS]


def _likelihood(other: float, base: float) -> Callable[[float], float]:
    """Of a bad call (1) or a good one (0) at the rate ``other`` against ``base`` below it."""
    return lambda bad: other / base if bad else (1 - other) / (1 - base)


def _bet(share: float, bound: float) -> Callable[[float], float]:
    """A share of one's wealth on the mean's being above ``bound``; costs are never negative."""
    unit = max(bound, 1e-12)
    return lambda cost: 1 + share * (cost / unit - 1)


def _largest(values: Sequence[float], factors: Sequence[Callable[[float], float]]) -> float:
    """The highest that the mixture ever was.

    Harm may begin late, so the product begins anew at every call: a share 1 / (n (n + 1)) of the
    stake waits for the n-th call, which keeps the whole an e-process.
    """
    playing = [0.0] * len(factors)
    largest = 1.0
    for number, value in enumerate(values, 1):
        enters = 1 / (number * (number + 1))
        playing = [
            (own + enters) * factor(value) for own, factor in zip(playing, factors, strict=True)
        ]
        waiting = 1 / (number + 1)
        largest = max(largest, sum(playing) / len(playing) + waiting)
        if largest > _ENOUGH:
            break
    return largest


def _value(condition: Condition, calls: Sequence[Call], values: Sequence[float]) -> float | None:
    if not values:
        return None
    if condition.metric == "p95":
        known = sorted(call.latency_ms for call in calls if call.latency_ms is not None)
        return float(known[min(math.ceil(0.95 * len(known)), len(known)) - 1])
    mean = sum(values) / len(values)
    return 1 - mean if condition.metric == "successRate" else mean
