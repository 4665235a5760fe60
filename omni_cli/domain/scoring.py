"""Scorers: how well an answer fits what was expected, 0 to 1, with a few words why.

Those that need a library, a process or a model are in ``services/judge/compare_report.py``.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal

from msgspec import Struct, field

from omni_cli.domain.errors import UsageError

#: One of ``KINDS``, or what another package adds (docs/plugins.md).
ScorerKind = str
KINDS: tuple[ScorerKind, ...] = (
    "exact", "iexact", "contains", "icontains", "contains-any", "icontains-any", "regex",
    "numeric", "similarity", "json-schema", "command", "judge",
)  # fmt: skip

#: From the first on an answer is accurate, from the second on partly so.
ACCURATE, PARTIAL = 0.8, 0.4

Verdict = Literal["accurate", "partial", "failed"]

_NUMBER = re.compile(r"[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:[eE][-+]?\d+)?|[-+]?\.\d+")
_WORD = re.compile(r"\w+")


class Scorer(Struct, frozen=True):
    """``expect``: texts that the kind compares with. ``settings``: ``tolerance`` (numeric),
    ``schema`` (json-schema), ``command``, ``rubric`` (judge). ``negate``: the opposite counts."""

    kind: ScorerKind
    expect: tuple[str, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    negate: bool = False


class Score(Struct, frozen=True):
    """``value`` 0..1."""

    value: float
    why: str = ""


def verdict(value: float) -> Verdict:
    if value >= ACCURATE:
        return "accurate"
    return "partial" if value >= PARTIAL else "failed"


def score(scorer: Scorer, answer: str) -> Score:
    """Raises UsageError: the scorer needs an expectation it does not have, or is not one of
    the pure kinds."""
    found = _score(scorer, answer)
    if scorer.negate:
        return Score(1.0 - found.value, "" if found.value < 1 else f"{scorer.kind} holds")
    return found


def _score(scorer: Scorer, answer: str) -> Score:
    kind, expect = scorer.kind, scorer.expect
    if not expect:
        raise UsageError(f"scorer {kind} needs something to expect", hint="--expect TEXT")
    match kind:
        case "exact":
            return _any(_plain(answer) == _plain(text) for text in expect)
        case "iexact":
            return _any(_plain(answer).casefold() == _plain(text).casefold() for text in expect)
        case "contains":
            return _share(expect, [text for text in expect if text in answer])
        case "icontains":
            low = answer.casefold()
            return _share(expect, [text for text in expect if text.casefold() in low])
        case "contains-any":
            return _any(text in answer for text in expect)
        case "icontains-any":
            return _any(text.casefold() in answer.casefold() for text in expect)
        case "regex":
            return _any(_compiled(text).search(answer) is not None for text in expect)
        case "numeric":
            return _numeric(answer, expect, scorer.settings.get("tolerance"))
        case "similarity":
            return Score(max(similarity(answer, text) for text in expect))
    raise UsageError(f"{kind} is no scorer of texts alone")


def _plain(text: str) -> str:
    return unicodedata.normalize("NFC", text).strip()


def _any(matches: Any) -> Score:
    return Score(1.0) if any(matches) else Score(0.0, "not as expected")


def _share(expect: Sequence[str], held: Sequence[str]) -> Score:
    missing = [text for text in expect if text not in held]
    why = f"lacks {', '.join(repr(text[:40]) for text in missing[:3])}" if missing else ""
    return Score(len(held) / len(expect), why)


def _compiled(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text, re.MULTILINE)
    except re.error as exc:
        raise UsageError(f"{text!r} is no regular expression: {exc}") from exc


def numbers(text: str) -> list[float]:
    """Every number in a text, in order; commas between groups of three digits are let pass."""
    return [float(match.replace(",", "")) for match in _NUMBER.findall(text)]


def _numeric(answer: str, expect: Sequence[str], tolerance: float | None) -> Score:
    """The answer's last number counts: reasoning comes before the result."""
    said = numbers(answer)
    if not said:
        return Score(0.0, "no number")
    for text in expect:
        wanted = numbers(text)
        if not wanted:
            raise UsageError(f"{text!r} is no number to expect")
        slack = tolerance if tolerance is not None else 1e-9 * max(1.0, abs(wanted[0]))
        if abs(said[-1] - wanted[0]) <= slack:
            return Score(1.0)
    return Score(0.0, f"says {said[-1]:g}")


def similarity(a: str, b: str) -> float:
    """F1 of the words that two texts share, order and case aside: 0 none, 1 all."""
    left = Counter(_WORD.findall(a.casefold()))
    right = Counter(_WORD.findall(b.casefold()))
    shared = (left & right).total()
    if not left and not right:
        return 1.0
    return 2 * shared / (left.total() + right.total()) if shared else 0.0


def consistency(answers: Sequence[str]) -> float | None:
    """Mean similarity of every two of several answers to one prompt; None for fewer than two."""
    pairs = [
        similarity(answers[i], answers[j])
        for i in range(len(answers))
        for j in range(i + 1, len(answers))
    ]
    return sum(pairs) / len(pairs) if pairs else None
