"""A test of two models on live traffic that may be looked at at any time (B7).

Whether the challenger is better, or worse, is tested by e-processes for two success rates:
Turner, Ly & Grünwald, "Generic E-variables for exact sequential k-sample tests that allow for
optional stopping" (2024). Outcomes are taken in blocks of ``champions`` champion outcomes and
one challenger outcome. Before each block both rates are estimated from the blocks before; the
block's factor is its likelihood under those estimates over its likelihood at their weighted
mean. Estimates on the wrong side of the hypothesis bet nothing (factor 1). The product exceeds
1/alpha with a chance of at most alpha, however long the test runs and whenever it is stopped
(Ville's inequality).

It holds for the one-sided hypothesis "not better" too: with estimates a < b, a factor's
expectation falls in the champion's true rate and rises in the challenger's, so among all pairs
with challenger <= champion it is largest where they are equal, and there it is at most 1.

Each rate's own interval is a confidence sequence, valid at any time as well: the rates at which
a Beta(1, 1) mixture's likelihood does not outweigh their own by 1/alpha (Robbins 1970).
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

#: Pseudo-counts of an estimate before any data (the value that Turner et al. recommend).
_PRIOR = 0.18
ALPHA = 0.05


class Trial(Struct, frozen=True):
    """A challenger beside a role's champion. ``state``: running, stopped or promoted. Times ms UTC.

    ``share`` of what the challenger is asked, 0..1; ``settings``: see who runs it.
    """

    id: int
    role: str
    champion: str
    challenger: str
    share: float
    settings: Mapping[str, Any]
    started_at: int
    ended_at: int | None
    state: str
    reason: str


class AbTest(Trial, frozen=True):
    """``share`` of units for the challenger. ``settings``: see services/judge/abtest.py."""


class Unit(Struct, frozen=True):
    """``arm`` 1 is the challenger's. ``good`` None: it tells nothing by this test's metric."""

    unit: int
    arm: int
    joined_at: int
    settled_at: int | None
    good: bool | None
    cost_nusd: int | None
    latency_ms: int | None


class UnitCalls(Struct, frozen=True):
    """What a unit's requests in the role came to. ``value`` is the mean of the user's outcomes,
    0..1, None without any; ``cost_nusd`` None where a price is unknown."""

    calls: int
    pending: int
    failed: int
    last_at: int
    cost_nusd: int | None
    known_nusd: int
    latency_ms: int | None
    value: float | None


class Evidence(Struct, frozen=True):
    """``better`` and ``worse`` are e-values of the challenger being so, the largest so far:
    1/e bounds the chance of an equal challenger looking like this. ``champion`` and
    ``challenger``: (rate, low, high), None without outcomes. ``blocks`` of outcomes used."""

    better: float
    worse: float
    champion: tuple[float, float, float] | None
    challenger: tuple[float, float, float] | None
    blocks: int
    outcomes: tuple[int, int]

    def shown_better(self, alpha: float = ALPHA) -> bool:
        return self.better >= 1 / alpha

    def shown_worse(self, alpha: float = ALPHA) -> bool:
        return self.worse >= 1 / alpha

    def within(self, margin: float) -> bool:
        """Is the challenger shown to be worse by less than ``margin``?"""
        if self.champion is None or self.challenger is None:
            return False
        return self.challenger[1] - self.champion[2] > -margin


def champions_per_block(share: float) -> int:
    """How many champion outcomes come with each challenger outcome at this share of traffic."""
    return max(1, round((1 - share) / share))


def evidence(
    champion: Sequence[bool],
    challenger: Sequence[bool],
    *,
    champions: int,
    alpha: float = ALPHA,
) -> Evidence:
    """
    Args:
        champion, challenger: outcomes in the order in which they were settled.
        champions: champion outcomes in a block, fixed before the test.
        alpha: level of the intervals, shared between the two.
    """
    blocks = min(len(champion) // champions, len(challenger))
    logs = {"better": 0.0, "worse": 0.0}
    best = dict(logs)
    good = [0, 0]
    for block in range(blocks):
        a = (good[0] + _PRIOR) / (block * champions + 2 * _PRIOR)
        b = (good[1] + _PRIOR) / (block + 2 * _PRIOR)
        wins = sum(champion[block * champions : (block + 1) * champions])
        won = bool(challenger[block])
        side = "better" if b > a else "worse" if b < a else ""
        if side:
            mixed = (champions * a + b) / (champions + 1)
            logs[side] += wins * math.log(a / mixed)
            logs[side] += (champions - wins) * math.log((1 - a) / (1 - mixed))
            logs[side] += math.log(b / mixed) if won else math.log((1 - b) / (1 - mixed))
            best[side] = max(best[side], logs[side])
        good[0] += wins
        good[1] += won
    return Evidence(
        _exp(best["better"]),
        _exp(best["worse"]),
        _sequence(sum(champion), len(champion), alpha / 2),
        _sequence(sum(challenger), len(challenger), alpha / 2),
        blocks,
        (len(champion), len(challenger)),
    )


def _exp(log: float) -> float:
    return math.exp(min(log, 700.0))


def _sequence(good: int, total: int, alpha: float) -> tuple[float, float, float] | None:
    """A rate with the ends of its confidence sequence, by bisection on both sides of it."""
    if not total:
        return None
    rate = good / total
    mixture = math.lgamma(good + 1) + math.lgamma(total - good + 1) - math.lgamma(total + 2)
    limit = mixture - math.log(1 / alpha)

    def inside(p: float) -> bool:
        likelihood = good * math.log(p) if good else 0.0
        likelihood += (total - good) * math.log1p(-p) if total > good else 0.0
        return likelihood >= limit

    def end(outer: float) -> float:
        near, far = rate, outer
        for _ in range(50):
            middle = (near + far) / 2
            near, far = (middle, far) if inside(middle) else (near, middle)
        return far

    return rate, 0.0 if not good else end(0.0), 1.0 if good == total else end(1.0)
