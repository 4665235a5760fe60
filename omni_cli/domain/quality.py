"""How good each model is at each kind of task: a table of Beta counts.

A cell starts from a prior (published benchmark results, or an estimate marked as such) that
weighs as much as ``strength`` observations, and moves with what its user saw: ratings, thumbs,
retries, tests, comparisons. A cell's uncertainty is used, not only its mean: routing asks for
the chance that the true quality reaches a bar.
"""

import math
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Literal

from msgspec import Struct

from omni_cli.domain.errors import UsageError
from omni_cli.domain.tasks import TASK_TYPES

#: Pseudo-observations behind a prior that rests on published results for its kind of task.
PRIOR_STRENGTH = 20.0
#: Behind a prior borrowed from other models: the mean of a task type, for a model that is known
#: at other tasks; the relation of quality to size, for one of which nothing but that is known.
POOLED_STRENGTH, SIZE_STRENGTH = 4.0, 3.0
#: Behind no knowledge at all: Beta(1, 1), every quality equally likely.
NO_EVIDENCE_STRENGTH = 2.0
#: Basis of a cell that nothing is known about.
NO_EVIDENCE = "no evidence"
#: How the basis of a prior begins that rests on the model's size alone.
BY_SIZE = "by its size"
#: Outcomes from which on a user's own show something of a model that nothing else is known of.
TELLING_OUTCOMES = 5.0

#: Weight of an outcome seen on the same model at another provider.
SIBLING_WEIGHT = 0.5
#: Weight of an outcome seen on another task type, for a model without any prior.
OTHER_TASK_WEIGHT = 0.25
#: Type probabilities below this are left out of a mixture, and the rest scaled up.
NEGLIGIBLE_PROBABILITY = 0.01
#: A prior mean stays this far from 0 and 1: no benchmark proves certainty.
MEAN_MARGIN = 0.005

OutcomeKind = Literal["rating", "thumb", "retry", "test", "compare"]
Counts = tuple[float, float]
#: Wins and losses by (task type, model id), as the store keeps them.
Observed = Mapping[tuple[str, str], Counts]

_TOKEN = re.compile(r"[a-z]+|\d+")
_NOISE = frozenset({"instruct", "it", "instant", "versatile", "latest", "preview", "free", "batch"})


def outcome_counts(kind: OutcomeKind, value: float = 1.0) -> Counts:
    """What one outcome adds to a cell.

    Args:
        kind: ``rating`` (1 to 5 stars), ``thumb`` (1 up, 0 down), ``retry`` (the user asked
            another model instead), ``test`` (1 the check passed, 0 it failed), ``compare``
            (share of a comparison's points that the model won, 0 to 1).
        value: as ``kind`` says; ignored for ``retry``.

    Returns:
        (wins, losses). A retry is half a loss: people also retry out of curiosity.

    Raises:
        UsageError: the value is outside its kind's range.
    """
    if kind == "retry":
        return 0.0, 0.5
    low, high = (1.0, 5.0) if kind == "rating" else (0.0, 1.0)
    if not low <= value <= high:
        raise UsageError(
            f"a {kind} outcome lies between {low:g} and {high:g}, not {value:g}",
            hint="ratings run from 1 to 5; thumbs, tests and comparisons from 0 to 1",
        )
    share = (value - low) / (high - low)
    return share, 1.0 - share


#: What stands before a model's name at Amazon Bedrock: where it may be worked out, and its vendor.
_BEDROCK = re.compile(
    r"(?:(?:[a-z]{2}|apac|global|us-gov)\.)?(ai21|amazon|anthropic|cohere|deepseek|google|meta|"
    r"minimax|mistral|moonshot(?:ai)?|nvidia|openai|qwen|writer|zai)\."
)


def _is_year(token: str) -> bool:
    """Or begins as one of this century."""
    return token.startswith("20") and token.isdecimal()


def _is_stamp(token: str) -> bool:
    """A date in one piece, or the number of a revision."""
    if len(token) == 8:
        return _is_year(token)
    return len(token) == 3 and token[0] == "0" and token.isdecimal()


@lru_cache(maxsize=8192)
def family_key(model_id: str) -> str:
    """A model's name without its provider and packaging, equal for the same model elsewhere.

    ``openrouter/anthropic/claude-3.5-haiku`` and ``anthropic/claude-3-5-haiku-20241022`` both
    give ``claude-3-5-haiku``. Dates, revision numbers like ``-001`` and words such as
    ``instruct``, ``latest`` or ``:free`` are dropped; sizes and version numbers stay. Bedrock's
    ``us.anthropic.claude-…-v1:0`` is the vendor's model, too.
    """
    name = model_id.lower().rsplit("/", 1)[-1]
    if (packed := _BEDROCK.match(name)) is not None:
        name = re.sub(r":\d+(?::\d+k)?$", "", name[packed.end() :])
        name = name if packed[1] == "amazon" else re.sub(r"-v\d+$", "", name)
    tokens = _TOKEN.findall(name)
    kept: list[str] = []
    skip = 0
    for index, token in enumerate(tokens):
        if skip:
            skip -= 1
        elif token in _NOISE or _is_stamp(token):
            continue
        elif len(token) == 4 and _is_year(token) and _is_month_day(tokens[index + 1 : index + 3]):
            skip = 2
        else:
            kept.append(token)
    return "-".join(kept)


def plainness(wire_name: str) -> tuple[bool, int, str]:
    """Sorts a model's several names: the family's own first, before those with dates, previews
    and variants."""
    return "preview" in wire_name, len(wire_name) - len(family_key(wire_name)), wire_name


def _is_month_day(tokens: list[str]) -> bool:
    return len(tokens) == 2 and all(re.fullmatch(r"[0-3]\d", token) for token in tokens)


@lru_cache(maxsize=65536)
def beta_tail(alpha: float, beta: float, bar: float) -> float:
    """P(X >= bar) for X ~ Beta(alpha, beta), both parameters > 0.

    The regularised incomplete beta function by its continued fraction (modified Lentz), on the
    side where it converges fast. Absolute error below 1e-9 for parameters up to 1e5.
    """
    if bar <= 0.0:
        return 1.0
    if bar >= 1.0:
        return 0.0
    if bar < (alpha + 1.0) / (alpha + beta + 2.0):
        return 1.0 - _incomplete(alpha, beta, bar)
    return _incomplete(beta, alpha, 1.0 - bar)


def _incomplete(a: float, b: float, x: float) -> float:
    """I_x(a, b) for x below the mean, where the continued fraction converges quickly."""
    front = math.exp(
        math.lgamma(a + b)
        - math.lgamma(a)
        - math.lgamma(b)
        + a * math.log(x)
        + b * math.log1p(-x)
        - math.log(a)
    )
    tiny = 1e-300
    c = 1.0
    d = 1.0 - (a + b) * x / (a + 1.0)
    d = 1.0 / (d if abs(d) > tiny else tiny)
    total = d
    for m in range(1, 2000):
        step = 1.0
        for numerator in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1.0 + numerator * d
            d = 1.0 / (d if abs(d) > tiny else tiny)
            c = 1.0 + numerator / c
            c = c if abs(c) > tiny else tiny
            step = c * d
            total *= step
        if abs(step - 1.0) < 1e-12:
            break
    return min(1.0, max(0.0, front * total))


class Prior(Struct, frozen=True):
    """Where a cell starts: a mean in 0..1, its weight in observations, and what it rests on."""

    mean: float
    strength: float
    basis: str


class Cell(Struct, frozen=True):
    """What is known of one model at one task type.

    ``wins`` and ``losses`` are what was observed, in fractions of outcomes; ``strength`` is > 0.
    """

    mean_prior: float
    strength: float
    wins: float = 0.0
    losses: float = 0.0
    basis: str = NO_EVIDENCE

    @property
    def alpha(self) -> float:
        return self._bounded_mean * self.strength + self.wins

    @property
    def beta(self) -> float:
        return (1.0 - self._bounded_mean) * self.strength + self.losses

    @property
    def _bounded_mean(self) -> float:
        return min(1.0 - MEAN_MARGIN, max(MEAN_MARGIN, self.mean_prior))

    @property
    def mean(self) -> float:
        return self.alpha / (self.alpha + self.beta)

    @property
    def observations(self) -> float:
        """Outcomes seen by this user, without the prior's pseudo-observations."""
        return self.wins + self.losses

    def chance_at_least(self, bar: float) -> float:
        """The chance that the model's true quality at this task is ``bar`` or more."""
        return beta_tail(self.alpha, self.beta, bar)


def shares(probabilities: Mapping[str, float]) -> list[tuple[str, float]]:
    """(task type, share) of the types that count in a mixture; the shares sum to 1.

    Raises ValueError when no probability is above zero.
    """
    kept = [(t, p) for t, p in probabilities.items() if p >= NEGLIGIBLE_PROBABILITY] or [
        (t, p) for t, p in probabilities.items() if p > 0.0
    ]
    total = sum(p for _, p in kept)
    if total <= 0.0:
        raise ValueError("a mixture needs a task type with a probability above zero")
    return [(t, p / total) for t, p in kept]


#: A prior for (task type, model id), or None where nothing is published.
PriorLookup = Callable[[str, str], Prior | None]


_NOTHING = Prior(0.5, NO_EVIDENCE_STRENGTH, NO_EVIDENCE)
_WEAK = (NO_EVIDENCE, BY_SIZE)


def is_evidence(basis: str) -> bool:
    """Whether a basis is more than the lack of one, or than the model's size."""
    return not basis.startswith(_WEAK)


def _no_priors(_task_type: str, _model_id: str) -> None:
    return None


class QualityTable:
    """``q[type][model]``: priors, what the user observed, and pooling where a cell is empty.

    Args:
        priors: the shipped priors' lookup.
        observed: this user's wins and losses.

    Its values never change.
    """

    __slots__ = ("_cells", "_models", "_observed", "_priors", "_siblings")

    def __init__(
        self,
        priors: PriorLookup = _no_priors,
        observed: Observed | None = None,
    ) -> None:
        self._priors = priors
        self._observed = dict(observed or {})
        self._cells: dict[tuple[str, str], Cell] = {}
        self._siblings: dict[tuple[str, str], Counts] = {}
        self._models: dict[str, Counts] = {}
        for (task_type, model_id), counts in self._observed.items():
            family = family_key(model_id)
            self._siblings[task_type, family] = _add(
                self._siblings.get((task_type, family), (0.0, 0.0)), counts
            )
            self._models[family] = _add(self._models.get(family, (0.0, 0.0)), counts)

    @property
    def observed(self) -> Observed:
        """This user's counts, for export; a copy."""
        return dict(self._observed)

    def knows(self, model_id: str) -> bool:
        """Whether anything at all is known of how good a model, or one of its family, is."""
        if family_key(model_id) in self._models:
            return True
        return any(self._priors(task, model_id) for task in TASK_TYPES)

    def cell(self, task_type: str, model_id: str) -> Cell:
        key = (task_type, model_id)
        cell = self._cells.get(key)
        if cell is None:
            cell = self._cells[key] = self._build(task_type, model_id)
        return cell

    def _build(self, task_type: str, model_id: str) -> Cell:
        family = family_key(model_id)
        own = self._observed.get((task_type, model_id), (0.0, 0.0))
        here = self._siblings.get((task_type, family), (0.0, 0.0))
        wins, losses = (
            max(0.0, o + SIBLING_WEIGHT * (h - o)) for o, h in zip(own, here, strict=True)
        )
        prior = self._priors(task_type, model_id) or _NOTHING
        if prior.basis.startswith(_WEAK):
            prior = self._borrowed(prior, family, here)
        return Cell(prior.mean, prior.strength, wins, losses, prior.basis)

    def _borrowed(self, prior: Prior, family: str, here: Counts) -> Prior:
        """A weak prior, moved by the model's outcomes at other tasks."""
        mean, strength, basis = prior.mean, prior.strength, prior.basis
        everywhere = self._models.get(family, (0.0, 0.0))
        wins, losses = (
            OTHER_TASK_WEIGHT * max(0.0, e - h) for e, h in zip(everywhere, here, strict=True)
        )
        seen = wins + losses
        if seen <= 0.0:
            return prior
        basis = f"{basis}; its outcomes at other tasks ({seen / OTHER_TASK_WEIGHT:g})"
        return Prior((mean * strength + wins) / (strength + seen), strength + seen, basis)


def _add(left: Counts, right: Counts) -> Counts:
    return left[0] + right[0], left[1] + right[1]
