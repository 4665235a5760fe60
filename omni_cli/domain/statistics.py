"""Statistics for small samples: intervals and differences, in plain Python.

Sources: Wilson (1927) for one rate; Newcombe (1998), method 10, for the difference of two;
Student's t for a mean; the percentile bootstrap (Efron 1979) for ratios and paired differences;
Spearman for rank agreement. Tests hold them against scipy.
"""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache

from msgspec import Struct

CONFIDENCE = 0.95
#: Resamples of a bootstrap: the ends of a 95 % interval move by about 1 % of its width.
RESAMPLES = 2_000


class Interval(Struct, frozen=True):
    """An estimate with its confidence interval."""

    value: float
    low: float
    high: float

    def excludes(self, value: float = 0.0) -> bool:
        """Is ``value`` outside the interval, so that a difference from it is shown?"""
        return not self.low <= value <= self.high


def mean(values: Sequence[float]) -> float:
    """``values``: length n >= 1."""
    return math.fsum(values) / len(values)


def deviation(values: Sequence[float]) -> float:
    """Standard deviation of a sample (n - 1); 0 for fewer than two values."""
    if len(values) < 2:
        return 0.0
    middle = mean(values)
    return math.sqrt(math.fsum((value - middle) ** 2 for value in values) / (len(values) - 1))


def percentile(values: Sequence[float], share: float) -> float:
    """Linear between order statistics (numpy's default). ``values``: n >= 1; share 0..1."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def normal_quantile(confidence: float) -> float:
    """The two-sided bound: 1.96 for 0.95."""
    from statistics import NormalDist  # 10 ms that `omni chat` need not pay

    return NormalDist().inv_cdf(0.5 + confidence / 2)


@lru_cache(maxsize=256)
def t_quantile(confidence: float, freedom: int) -> float:
    """Student's two-sided bound for ``freedom`` >= 1 degrees of freedom.

    P(|T| > t) is a regularised incomplete beta function of v / (v + t^2); bisection finds t.
    """
    from omni_cli.domain.quality import beta_tail

    tail = 1.0 - confidence

    def beyond(t: float) -> float:
        return 1.0 - beta_tail(freedom / 2, 0.5, freedom / (freedom + t * t))

    low, high = 0.0, 1.0
    while beyond(high) > tail:
        high *= 2
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if beyond(middle) > tail else (low, middle)
    return (low + high) / 2


def wilson(good: float, total: int, confidence: float = CONFIDENCE) -> Interval | None:
    """A rate's interval; None without trials. ``good`` may be a sum of shares (0..1 each)."""
    if total <= 0:
        return None
    z = normal_quantile(confidence)
    rate = good / total
    scale = 1 + z * z / total
    centre = (rate + z * z / (2 * total)) / scale
    half = z / scale * math.sqrt(rate * (1 - rate) / total + z * z / (4 * total * total))
    # At the ends rounding must not leave the rate itself outside.
    return Interval(rate, max(0.0, min(centre - half, rate)), min(1.0, max(centre + half, rate)))


def rate_difference(good_a: float, total_a: int, good_b: float, total_b: int) -> Interval | None:
    """Rate of a minus rate of b (Newcombe's method 10); None without trials on either side."""
    a, b = wilson(good_a, total_a), wilson(good_b, total_b)
    if a is None or b is None:
        return None
    gap = a.value - b.value
    low = gap - math.hypot(a.value - a.low, b.high - b.value)
    high = gap + math.hypot(a.high - a.value, b.value - b.low)
    return Interval(gap, max(low, -1.0), min(high, 1.0))


def mean_interval(values: Sequence[float], confidence: float = CONFIDENCE) -> Interval | None:
    """A mean's interval by Student's t; None without values, unbounded with one."""
    if not values:
        return None
    middle = mean(values)
    if len(values) == 1:
        return Interval(middle, -math.inf, math.inf)
    half = t_quantile(confidence, len(values) - 1) * deviation(values) / math.sqrt(len(values))
    return Interval(middle, middle - half, middle + half)


def bootstrap(
    count: int,
    statistic: Callable[[Sequence[int]], float | None],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval | None:
    """Percentile bootstrap over ``count`` units.

    Args:
        statistic: from indices into the units (with repeats) to a number; None where it has no
            value there (a ratio with nothing below the line).
        seed: the same seed gives the same interval.

    Returns:
        None when the statistic has no value on the sample itself.
    """
    import random

    value = statistic(range(count)) if count else None
    if value is None:
        return None
    rng = random.Random(seed)
    found = []
    for _ in range(resamples):
        again = statistic(rng.choices(range(count), k=count))
        if again is not None:
            found.append(again)
    if not found:
        return Interval(value, -math.inf, math.inf)
    edge = (1 - CONFIDENCE) / 2
    return Interval(value, percentile(found, edge), percentile(found, 1 - edge))


def paired_difference(
    pairs: Sequence[tuple[float, float]], *, fewest_equal: int = 5
) -> Interval | None:
    """Mean of a - b over pairs, by Student's t; None without pairs.

    With one pair nothing can be shown: the interval is unbounded. So it is where fewer than
    ``fewest_equal`` differences are all the same: in scores of 0 and 1 a spread of zero then
    only means that too little was seen.
    """
    if not pairs:
        return None
    gaps = [a - b for a, b in pairs]
    found = mean_interval(gaps)
    if found is not None and len(gaps) < fewest_equal and deviation(gaps) == 0 and gaps[0] != 0:
        return Interval(found.value, -math.inf, math.inf)
    return found


def spearman(pairs: Sequence[tuple[float, float]]) -> float | None:
    """Rank correlation, ties averaged; None for fewer than three pairs or without spread."""
    if len(pairs) < 3:
        return None
    a, b = _ranks([x for x, _ in pairs]), _ranks([y for _, y in pairs])
    spread = deviation(a) * deviation(b)
    if spread == 0:
        return None
    middle_a, middle_b = mean(a), mean(b)
    together = math.fsum((x - middle_a) * (y - middle_b) for x, y in zip(a, b, strict=True))
    return together / (len(pairs) - 1) / spread


def _ranks(values: Sequence[float]) -> list[float]:
    order = sorted(range(len(values)), key=values.__getitem__)
    ranks = [0.0] * len(values)
    start = 0
    while start < len(order):
        end = start
        while end + 1 < len(order) and values[order[end + 1]] == values[order[start]]:
            end += 1
        for place in order[start : end + 1]:
            ranks[place] = (start + end) / 2 + 1
        start = end + 1
    return ranks


#: Of so many draws the middle 95 % are a band; seeded, so that the same requests have the same
#: bands whoever asks.
DRAWS, SEED = 200, 0


class Band(Struct, frozen=True):
    low: float
    high: float


def redrawn(columns: Sequence[Sequence[float]]) -> list[list[float]]:
    """Means of each column over requests drawn with replacement: DRAWS x columns.

    Args:
        columns: of one length n >= 1, a value for each request; all are drawn together.
    """
    import random

    dice = random.Random(SEED)
    n = len(columns[0])
    found = []
    for _ in range(DRAWS):
        rows = dice.choices(range(n), k=n)
        found.append([sum(map(column.__getitem__, rows)) / n for column in columns])
    return found


def band(values: Sequence[float]) -> Band:
    """The middle of CONFIDENCE of ``values``, one at least."""
    edge = (1 - CONFIDENCE) / 2
    return Band(percentile(values, edge), percentile(values, 1 - edge))
