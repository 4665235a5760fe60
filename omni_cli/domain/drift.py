"""A model that changes under the same name: it fails more, refuses, answers shorter or longer, or
scores worse than it did at the same kind of task.

What is usual is learned from a model's first calls at a task. Afterwards each call is a bet that
bad ones are more frequent than a bound above that usual rate, and each call begins a new bet
(an e-detector: Shin, Ramdas & Rinaldo, "E-detectors: a nonparametric framework for sequential
change detection", 2024). An unchanged model gives a false alarm once in RUN calls at most, on
average.
After an alarm the new usual is learned.
"""

import math
from typing import Literal

from msgspec import Struct, field

from omni_cli.domain.statistics import percentile, wilson

Change = Literal["fails", "refuses", "answers shorter", "answers longer", "scores low"]
#: Calls, or scores, that the usual is learned from.
LEARNED = 100
#: Calls between two false alarms of one kind about one model at one task, at least on average.
RUN = 5_000
#: How far above the bound a rate may lie, mixed, as shares of what is left to 1.
_STEPS = (0.05, 0.15, 0.35, 0.6, 0.9)
#: Answers shorter than this percentile of the usual ones, or longer than that, count as such.
_SHORT, _LONG = 0.1, 0.9


class Seen(Struct, frozen=True):
    """One call, or one outcome of an answer (``score`` 0..1). ``tokens`` None: no answer."""

    model: str
    task: str
    at_ms: int
    failed: bool = False
    refused: bool = False
    tokens: int | None = None
    score: float | None = None


class Test(Struct):
    """Against ``bound``: what each alternative has won. ``calls`` and ``bad`` since ``since_ms``,
    when bad ones last were no more than usual."""

    usual: float
    bound: float
    since_ms: int
    hands: list[float] = field(default_factory=lambda: [0.0] * len(_STEPS))
    calls: int = 0
    bad: int = 0
    rising: float = 0.0

    @property
    def e(self) -> float:
        return sum(self.hands) / len(self.hands)

    def take(self, *, bad: bool, at_ms: int) -> bool:
        """Whether it is shown by now that the rate lies above the bound."""
        for n, step in enumerate(_STEPS):
            self.hands[n] = (self.hands[n] + 1) * self._factor(step, bad=bad)
        # Where the change most likely began: the largest sum of a likelihood's logarithms.
        self.rising += math.log(self._factor(_STEPS[1], bad=bad))
        self.calls += 1
        self.bad += bad
        if self.rising <= 0:
            self.rising, self.calls, self.bad, self.since_ms = 0.0, 0, 0, at_ms
        return self.e >= RUN

    def _factor(self, step: float, *, bad: bool) -> float:
        rate = self.bound + step * (1 - self.bound)
        return rate / self.bound if bad else (1 - rate) / (1 - self.bound)


class Watched(Struct):
    """What is known of a model at a task, from ``since_ms`` on: counts while the usual is learned,
    ``short`` and ``long`` (tokens) and ``tests`` once it is."""

    model: str
    task: str
    since_ms: int
    tokens: list[int] = field(default_factory=list)
    calls: int = 0
    failed: int = 0
    refused: int = 0
    scored: int = 0
    low: int = 0
    short: float = 0.0
    long: float = 0.0
    tests: dict[str, Test] = field(default_factory=dict)


class Drift(Struct, frozen=True):
    """``usual`` and ``now``: rates before and since ``since_ms``, over ``calls``; ``e``: what
    the bets have won, RUN at least."""

    model: str
    task: str
    change: Change
    usual: float
    now: float
    calls: int
    e: float
    since_ms: int
    at_ms: int

    @property
    def told(self) -> str:
        """In a sentence."""
        words = {
            "fails": "of its calls failed",
            "refuses": "of its answers are refusals or cut off",
            "answers shorter": "of its answers are shorter than nine of ten were",
            "answers longer": "of its answers are longer than nine of ten were",
            "scores low": "of its scored answers were found bad",
        }
        return (
            f"{self.now:.0%} {words[self.change]} at {self.task or 'its work'} in the last "
            f"{self.calls}; usual are {self.usual:.0%} (e = {self.e:.3g})"
        )


def take(known: dict[str, Watched], seen: Seen) -> Drift | None:
    """Look at one call or outcome, in the order in which they came; what it shows, if anything.

    Args:
        known: by ``model|task``; kept by whoever looks, and changed here.
    """
    key = f"{seen.model}|{seen.task}"
    mine = known.get(key)
    if mine is None:
        mine = known[key] = Watched(seen.model, seen.task, seen.at_ms)
    bad = _learn(mine, seen)
    for change, is_bad in bad:
        test = mine.tests[change]
        if test.take(bad=is_bad, at_ms=seen.at_ms):
            known[key] = Watched(seen.model, seen.task, seen.at_ms)
            return Drift(
                seen.model,
                seen.task,
                change,
                test.usual,
                test.bad / max(test.calls, 1),
                test.calls,
                test.e,
                test.since_ms,
                seen.at_ms,
            )
    return None


def _learn(mine: Watched, seen: Seen) -> list[tuple[Change, bool]]:
    """What is to be tested of it; empty while the usual is learned."""
    if seen.score is not None:
        low = seen.score < 0.5
        if "scores low" in mine.tests:
            return [("scores low", low)]
        mine.scored += 1
        mine.low += low
        if mine.scored >= LEARNED:
            mine.tests["scores low"] = _test(mine.low, mine.scored, seen.at_ms)
        return []
    if "fails" in mine.tests:
        found: list[tuple[Change, bool]] = [("fails", seen.failed)]
        if not seen.failed:
            found.append(("refuses", seen.refused))
        if seen.tokens is not None and "answers shorter" in mine.tests and not seen.refused:
            found.append(("answers shorter", seen.tokens < mine.short))
            found.append(("answers longer", seen.tokens > mine.long))
        return found
    mine.calls += 1
    mine.failed += seen.failed
    mine.refused += seen.refused
    if seen.tokens is not None and not seen.refused:
        mine.tokens.append(seen.tokens)
    if mine.calls >= LEARNED:
        _settle(mine, seen.at_ms)
    return []


def _settle(mine: Watched, at_ms: int) -> None:
    """The usual is known."""
    mine.tests["fails"] = _test(mine.failed, mine.calls, at_ms)
    mine.tests["refuses"] = _test(mine.refused, max(mine.calls - mine.failed, 1), at_ms)
    if len(mine.tokens) >= LEARNED // 2:
        mine.short, mine.long = percentile(mine.tokens, _SHORT), percentile(mine.tokens, _LONG)
        shorter = sum(count < mine.short for count in mine.tokens)
        longer = sum(count > mine.long for count in mine.tokens)
        mine.tests["answers shorter"] = _test(shorter, len(mine.tokens), at_ms)
        mine.tests["answers longer"] = _test(longer, len(mine.tokens), at_ms)
    mine.tokens = []


def _test(bad: int, of: int, at_ms: int) -> Test:
    usual = wilson(bad, of)
    assert usual is not None
    return Test(usual.value, min(max(usual.high, 0.02), 0.95), at_ms)
