"""Figures on a scale of five steps, so that the eye finds what is unusual in a column.

Colours are theme variables; the figure itself says the same, so nothing is lost without them.
"""

from bisect import bisect_right
from collections.abc import Sequence
from math import log10

#: From what is good, or little, to what is bad, or much.
STEPS = ("$foreground-muted", "$foreground", "$secondary", "$warning", "$error")
#: From what is very good down.
GRADES = ("$error", "$warning", "$foreground", "$foreground", "$success")
_LATENCY_MS = (1_000, 4_000, 12_000, 30_000)
_SUCCESS = (0.9, 0.95, 0.98, 0.995)
_QUALITY = (0.6, 0.7, 0.8, 0.9)


def latency(ms: float | None) -> str:
    """The colour of a response time."""
    return "" if ms is None else STEPS[bisect_right(_LATENCY_MS, ms)]


def success(share: float | None) -> str:
    """The colour of a share of calls that went well, 0..1."""
    return "" if share is None else GRADES[bisect_right(_SUCCESS, share)]


def quality(share: float | None) -> str:
    """The colour of an estimated quality, 0..1."""
    return "" if share is None else GRADES[bisect_right(_QUALITY, share)]


def cost(nusd: int | None, column: Sequence[int | None]) -> str:
    """The colour of an amount among those of its column, nano-dollars: by its size from a
    thousandth of the largest up to it, ten times as much two steps on or so."""
    most = max((amount for amount in column if amount), default=0)
    if not nusd or nusd <= 0 or not most:
        return "" if nusd is None else STEPS[0]
    place = (3 + log10(nusd / most)) / 3 * len(STEPS)
    return STEPS[min(max(int(place), 0), len(STEPS) - 1)]
