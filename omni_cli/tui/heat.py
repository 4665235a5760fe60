"""Figures on a scale of five steps, so that the eye finds what is unusual in a column; and chips.

Styles are of theme variables: what stands out has a tint behind it, greys without colour, and only
its ink in a terminal's own 16. The figure itself says the same, so nothing is lost without them.
"""

from bisect import bisect_right
from collections.abc import Sequence
from decimal import Decimal
from math import log10

from textual.content import Content

from omni_cli.domain.evidence import BAD_RATE, WARNING_RATE

#: From what is good to what is bad.
STEPS = (
    "$foreground-muted",
    "$foreground",
    "$ink-warm on $tint-warm",
    "$ink-warning on $tint-warning",
    "$ink-error on $tint-error",
)
GOOD = "$ink-success on $tint-success"
#: Up to what is very good.
GRADES = (STEPS[4], STEPS[3], STEPS[1], STEPS[1], GOOD)
#: From little to much, which is no fault.
AMOUNTS = (*STEPS[:4], "$ink-hot on $tint-hot")
_LATENCY_MS = (1_000, 4_000, 12_000, 30_000)
_SUCCESS = (BAD_RATE, WARNING_RATE, 0.98, 0.995)
_QUALITY = (0.6, 0.75, 0.85, 0.95)
#: US dollars per 1M tokens that a model writes; those that it reads cost a quarter as a rule.
_RATE, _READ = (0.5, 4, 16, 40), 4


def latency(ms: float | None) -> str:
    """The colour of a response time."""
    return "" if ms is None else STEPS[bisect_right(_LATENCY_MS, ms)]


def success(share: float | None) -> str:
    """The colour of a share of calls that went well, 0..1."""
    return "" if share is None else GRADES[bisect_right(_SUCCESS, share)]


def quality(share: float | None) -> str:
    """The colour of an estimated quality, 0..1."""
    return "" if share is None else GRADES[bisect_right(_QUALITY, share)]


def confidence(share: float | None) -> str:
    """The colour of how sure something is, 0..1."""
    return "" if share is None else GOOD if share >= 0.9 else STEPS[share >= 0.6]


def rate(usd: Decimal | None, kind: str) -> str:
    """The colour of a price, US dollars per 1M tokens of a kind ("input", "output")."""
    if usd is None:
        return ""
    return AMOUNTS[bisect_right(_RATE, float(usd) * (_READ if kind == "input" else 1))]


def saving(nusd: int | None, column: Sequence[int | None]) -> str:
    """The colour of what is saved, among all that is: the larger ones stand out."""
    step = cost(nusd, column)
    return {AMOUNTS[4]: GOOD, AMOUNTS[3]: GOOD, AMOUNTS[2]: "$success"}.get(step, step)


def chip(words: str, style: str = "$primary") -> Content:
    """A word in a box of the tint of ``style``, one of the states' colours, and a cell wider at
    either side."""
    kind = style.removeprefix("$").removeprefix("foreground-")
    return Content.styled(f" {words} ", f"$ink-{kind} on $tint-{kind}")


def cost(nusd: int | None, column: Sequence[int | None]) -> str:
    """The colour of an amount among those of its column, nano-dollars: by its size from a
    hundredth of the largest up to it, and none of those that are much alike stands out."""
    known = [amount for amount in column if amount and amount > 0]
    if not nusd or nusd <= 0 or not known:
        return "" if nusd is None else AMOUNTS[0]
    step = min(max(int((1 + log10(nusd / max(known)) / 2) * len(AMOUNTS)), 0), len(AMOUNTS) - 1)
    usual = nusd * len(known) < 1.5 * sum(known)
    return AMOUNTS[min(step, 2) if usual else step]
