"""How sure a mean over requests is: percentiles of means over requests drawn anew (the bootstrap;
Efron & Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13). Seeded, so that the same
requests have the same bands whoever asks.
"""

import random
from collections.abc import Sequence

from msgspec import Struct

#: Of so many draws the middle 95 % are a band.
DRAWS, LEVEL, SEED = 200, 0.95, 0


class Band(Struct, frozen=True):
    low: float
    high: float


def redrawn(columns: Sequence[Sequence[float]], *, draws: int = DRAWS) -> list[list[float]]:
    """Means of each column over requests drawn with replacement: draws x columns.

    Args:
        columns: of one length n >= 1, a value for each request; all are drawn together.
    """
    dice = random.Random(SEED)
    n = len(columns[0])
    found = []
    for _ in range(draws):
        rows = dice.choices(range(n), k=n)
        found.append([sum(map(column.__getitem__, rows)) / n for column in columns])
    return found


def band(values: Sequence[float]) -> Band:
    """The middle LEVEL of ``values``, one at least."""
    ranked = sorted(values)
    cut = int((1 - LEVEL) / 2 * len(ranked))
    return Band(ranked[cut], ranked[-1 - cut])
