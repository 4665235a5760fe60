"""A challenger that answers a share of a role's requests in the shadow: what the pairs show (B7).

Each pair is one question with two answers, scored 0 to 1, so that a difference (challenger less
champion) lies within -1 and 1. Whether the mean difference passes a bound is tested by betting
(Waudby-Smith & Ramdas, "Estimating means of bounded random variables by betting", 2024): a wealth
whose factors have an expectation of at most 1 while the hypothesis holds. Its ever reaching
1/alpha has a chance of at most alpha then, however often one looks (Ville's inequality).
"""

from collections.abc import Mapping, Sequence
from typing import Literal

from msgspec import Struct

from omni_cli.domain.abtest import Trial

#: The chance, at most, that a challenger that is worse by the margin is ever shown good enough.
ALPHA = 0.05
#: By how much of a score, on average, a challenger may be worse and still be good enough.
MARGIN = 0.05
#: Shares of the wealth that are bet, mixed: small ones win where answers differ much.
_BETS = (0.03, 0.1, 0.25, 0.5, 0.8)
#: Beyond all doubt; a product goes no further.
_ENOUGH = 1e30
#: Halvings of the interval between a mean and the end of what is possible.
_HALVINGS = 24

How = Literal["check", "judge", "user", "failed"]
#: A user's word of two answers without names, and what it gives the first and the second.
WORDS: Mapping[str, tuple[float, float]] = {
    "1": (1.0, 0.5),
    "2": (0.5, 1.0),
    "same": (1.0, 1.0),
    "bad": (0.0, 0.0),
}


#: In place of a role's name: requests that the router decides. Their champion is whoever it chose.
AUTO = "auto"


class Shadow(Trial, frozen=True):
    """``share`` of the role's requests. ``settings``: see services/judge/shadow.py.

    ``role``: AUTO for what the router decides; ``champion`` is "" there. It is never promoted.
    """

    @property
    def of(self) -> str:
        """Whose shadow it is, in words."""
        return "what the router decides" if self.role == AUTO else f"role {self.role}"


class Pair(Struct, frozen=True):
    """One request that both answered. ``champion`` and ``challenger``: scores 0..1 by ``how``;
    ``agreed``: whether the judge named the same better answer in both orders, None where that
    does not apply. Costs in nano-dollars, None where a price is unknown.

    ``user_champion``, ``user_challenger``: by the user's own word, who read both without their
    names; None where they did not. It counts instead of the others."""

    request: int
    shadowed: int
    at_ms: int
    task: str
    champion: float
    challenger: float
    how: How
    agreed: bool | None
    champion_nusd: int | None
    challenger_nusd: int | None
    judge_nusd: int | None
    user_champion: float | None = None
    user_challenger: float | None = None

    @property
    def scored_by(self) -> How:
        return self.how if self.user_champion is None else "user"

    @property
    def difference(self) -> float:
        if self.user_champion is None or self.user_challenger is None:
            return self.challenger - self.champion
        return self.user_challenger - self.user_champion


class Claim(Struct, frozen=True):
    """Of a request that is to be paired; with the challenger's request and the text of its answer,
    where one who claimed it before, and died, came so far."""

    shadowed: int | None = None
    answer: str | None = None


class Evidence(Struct, frozen=True):
    """What pairs show of a challenger. ``mean``, ``low``, ``high``: of the difference, -1..1, with
    a confidence sequence; None without pairs. The rest are e-values, the largest so far."""

    pairs: int
    mean: float | None
    low: float | None
    high: float | None
    good_enough: float
    better: float
    worse: float

    def shown(self, alpha: float = ALPHA) -> Literal["better", "good enough", "worse", ""]:
        """The strongest of what is shown at this risk."""
        need = 1 / alpha
        if self.better >= need:
            return "better"
        if self.good_enough >= need:
            return "good enough"
        return "worse" if self.worse >= need else ""


def evidence(
    differences: Sequence[float], *, margin: float = MARGIN, alpha: float = ALPHA
) -> Evidence:
    """
    Args:
        differences: challenger less champion, each -1..1, in the order in which they came.
        margin: 0..1; worse by less is good enough, worse by more is worse.
    """
    if not differences:
        return Evidence(0, None, None, None, 1.0, 1.0, 1.0)
    mean = sum(differences) / len(differences)
    low, high = _interval(differences, mean, alpha)
    return Evidence(
        len(differences),
        mean,
        low,
        high,
        wealth(differences, -margin)[1],
        wealth(differences, 0.0)[1],
        wealth([-value for value in differences], margin)[1],
    )


def wealth(values: Sequence[float], bound: float) -> tuple[float, float]:
    """Against "the mean is at most ``bound``", values and bound within -1..1: the wealth at the
    end, and the largest that it was. Each factor is above 0, as no value is below -1."""
    unit = 1.0 + bound
    if unit <= 0:  # no mean is below -1
        return (1.0, 1.0) if all(value <= -1 for value in values) else (_ENOUGH, _ENOUGH)
    hands = [1.0] * len(_BETS)
    last = largest = 1.0
    for value in values:
        gain = (value - bound) / unit
        hands = [own * (1.0 + bet * gain) for own, bet in zip(hands, _BETS, strict=True)]
        last = sum(hands) / len(hands)
        largest = max(largest, last)
        if last > _ENOUGH:
            break
    return last, largest


def _interval(values: Sequence[float], mean: float, alpha: float) -> tuple[float, float]:
    """Means that are not refuted, each end at half of ``alpha``."""
    need = 2 / alpha

    def end(own: Sequence[float], near: float) -> float:
        far = -1.0
        for _ in range(_HALVINGS):
            middle = (near + far) / 2
            if wealth(own, middle)[0] >= need:
                far = middle
            else:
                near = middle
        return far

    return end(values, mean), -end([-value for value in values], -mean)


def least_pairs(*, margin: float = MARGIN, alpha: float = ALPHA) -> int:
    """Pairs after which answers that never differ are shown good enough: no trial takes fewer."""
    hands, pairs = [1.0] * len(_BETS), 0
    while sum(hands) / len(hands) < 1 / alpha:
        hands = [
            own * (1.0 + bet * margin / (1 - margin)) for own, bet in zip(hands, _BETS, strict=True)
        ]
        pairs += 1
    return pairs
