"""A comparison's answers turned into results: who is better, at what, and is it shown (D2).

Prompts are the units: several answers to one prompt are averaged first, since they are not
independent. (With a single prompt its repetitions are, and what is shown is shown of that prompt
alone.) Two models are compared unit by unit. A difference counts as shown when its
95 % interval leaves zero out.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from omni_cli.domain.scoring import Verdict, consistency, verdict
from omni_cli.domain.statistics import (
    Interval,
    bootstrap,
    mean,
    mean_interval,
    paired_difference,
    wilson,
)

Criterion = Literal["accuracy", "success", "cost", "speed"]
#: Larger is better, or smaller.
_LARGER: Mapping[Criterion, bool] = {
    "accuracy": True,
    "success": True,
    "cost": False,
    "speed": False,
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """One answer, or the lack of it. ``score`` None: nothing was there to score it by, or the
    call failed. Costs in nano-dollars, None where unknown; latency in ms."""

    contender: str
    prompt: str
    iteration: int
    ok: bool
    score: float | None = None
    latency_ms: int | None = None
    cost_nusd: int | None = 0
    output: str = ""


@dataclass(frozen=True, slots=True)
class Figures:
    """One contender's figures with their intervals. Money in nano-dollars."""

    requests: int
    success: Interval | None
    accuracy: Interval | None
    latency_ms: Interval | None
    consistency: float | None
    total_nusd: int | None
    known_nusd: int
    per_request_nusd: Interval | None
    per_accurate_nusd: float | None
    accurate: int
    partial: int
    failed: int


@dataclass(frozen=True, slots=True)
class Best:
    """``name`` None: no difference shown. ``tied``: the best by its figure, and all that are
    not shown to be worse."""

    name: str | None
    tied: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Recommendation:
    model: str
    reason: str
    confidence: float
    tradeoffs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Results:
    figures: Mapping[str, Figures]
    winner: str | None
    best: Mapping[Criterion, Best]
    recommendations: tuple[Recommendation, ...]
    scored: bool
    #: Prompts, or repetitions of the only one: what differences are judged over.
    units: int = 0


def results(outcomes: Sequence[Outcome], contenders: Sequence[str]) -> Results:
    """
    Args:
        outcomes: any order; contenders need not have answered the same prompts.
        contenders: in the order to show them.
    """
    scored = any(outcome.score is not None for outcome in outcomes)
    by = {name: [o for o in outcomes if o.contender == name] for name in contenders}
    figures = {name: _figures(own, scored) for name, own in by.items()}
    single = len({outcome.prompt for outcome in outcomes}) == 1
    table = _Table({name: _units(own, single) for name, own in by.items()}, scored)
    able = [name for name in contenders if figures[name].success and any(o.ok for o in by[name])]
    best = {criterion: table.best(criterion, able) for criterion in _LARGER}
    quality: Criterion = "accuracy" if scored else "success"
    won = table.winner(quality, able)
    winner = None if won is None else won[0]
    recommendations = _recommendations(table, best, won, able, quality)
    units = len({(o.prompt, o.iteration if single else 0) for o in outcomes})
    return Results(figures, winner, best, recommendations, scored, units)


def _units(own: Sequence[Outcome], single: bool) -> Sequence[Outcome]:
    return [replace(o, prompt=f"{o.prompt}#{o.iteration}") for o in own] if single else own


def _figures(own: Sequence[Outcome], scored: bool) -> Figures:
    good = [outcome for outcome in own if outcome.ok]
    unknown = any(outcome.cost_nusd is None for outcome in own)
    known = sum(outcome.cost_nusd or 0 for outcome in own)
    counts: dict[Verdict, int] = {"accurate": 0, "partial": 0, "failed": 0}
    for outcome in own:
        if not outcome.ok:
            counts["failed"] += 1
        elif outcome.score is not None:
            counts[verdict(outcome.score)] += 1
    prompts = _by_prompt(own)
    texts = [[o.output for o in group if o.ok] for group in prompts.values()]
    alike = [value for group in texts if (value := consistency(group)) is not None]
    timed = [o.latency_ms for o in good if o.latency_ms is not None]
    costs = [o.cost_nusd for o in own if o.cost_nusd is not None]
    return Figures(
        requests=len(own),
        success=wilson(len(good), len(own)),
        accuracy=_accuracy(prompts) if scored else None,
        latency_ms=mean_interval(timed),
        consistency=mean(alike) if alike else None,
        total_nusd=None if unknown else known,
        known_nusd=known,
        per_request_nusd=None if unknown else mean_interval(costs),
        per_accurate_nusd=None if unknown or not counts["accurate"] else known / counts["accurate"],
        accurate=counts["accurate"],
        partial=counts["partial"],
        failed=counts["failed"],
    )


def _accuracy(prompts: Mapping[str, Sequence[Outcome]]) -> Interval | None:
    """Wilson where every prompt was answered once and each score is 0 or 1, else a bootstrap
    over prompts, never narrower than Wilson's so that all-equal scores claim no certainty."""
    means = [value for group in prompts.values() if (value := _mean_score(group)) is not None]
    exact = wilson(math.fsum(means), len(means))
    if exact is None:
        return None
    once = all(len(group) == 1 for group in prompts.values())
    if once and all(value in (0.0, 1.0) for value in means):
        return exact
    found = bootstrap(len(means), lambda picks: mean([means[i] for i in picks]))
    if found is None or found.low == found.high:
        return exact
    return found


def _by_prompt(outcomes: Sequence[Outcome]) -> dict[str, list[Outcome]]:
    groups: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        groups.setdefault(outcome.prompt, []).append(outcome)
    return groups


def _mean_score(group: Sequence[Outcome]) -> float | None:
    """A failed call scores 0; an answer that nothing scores leaves the prompt out."""
    values = [0.0 if not o.ok else o.score for o in group]
    known = [value for value in values if value is not None]
    return mean(known) if known else None


class _Table:
    """Every contender's mean by prompt and criterion."""

    def __init__(self, by: Mapping[str, Sequence[Outcome]], scored: bool) -> None:
        self._cells: dict[tuple[str, Criterion], dict[str, float]] = {}
        reads: dict[Criterion, Callable[[Sequence[Outcome]], float | None]] = {
            "accuracy": _mean_score if scored else lambda _: None,
            "success": lambda group: mean([float(o.ok) for o in group]),
            "cost": _mean_cost,
            "speed": _mean_latency,
        }
        for name, own in by.items():
            for criterion, read in reads.items():
                self._cells[name, criterion] = {
                    prompt: value
                    for prompt, group in _by_prompt(own).items()
                    if (value := read(group)) is not None
                }

    def mean(self, name: str, criterion: Criterion) -> float | None:
        values = list(self._cells[name, criterion].values())
        return mean(values) if values else None

    def gap(self, a: str, b: str, criterion: Criterion) -> Interval | None:
        """a - b over the prompts that both have; None without any."""
        left, right = self._cells[a, criterion], self._cells[b, criterion]
        pairs = [(left[p], right[p]) for p in sorted(left.keys() & right.keys())]
        # Money and time are measured on a scale: two that differ by the same say so.
        counted = criterion in ("accuracy", "success")
        return paired_difference(pairs, fewest_equal=5 if counted else 2)

    def best(self, criterion: Criterion, names: Sequence[str]) -> Best:
        known = {n: value for n in names if (value := self.mean(n, criterion)) is not None}
        if not known:
            return Best(None, ())
        sign = -1.0 if _LARGER[criterion] else 1.0
        ranked = sorted(known, key=lambda name: sign * known[name])
        first = ranked[0]
        tied = [first]
        for other in ranked[1:]:
            gap = self.gap(first, other, criterion)
            if gap is None or not gap.excludes(0.0):
                tied.append(other)
        alone = len(tied) == 1 and len(known) == len(names)
        return Best(first if alone else None, tuple(tied))

    def winner(
        self, quality: Criterion, names: Sequence[str]
    ) -> tuple[str, Criterion, Sequence[str]] | None:
        """The best in quality; of those not shown to be worse the cheapest, then the fastest.

        Returns who, by what, and among whom; None where not even that is shown.
        """
        if len(names) == 1:
            return names[0], quality, names
        left: Sequence[str] = self.best(quality, names).tied
        if len(left) == 1:
            return left[0], quality, names
        order: tuple[Criterion, ...] = ("cost", "speed")
        for criterion in order:
            found = self.best(criterion, left)
            if found.name is not None:
                return found.name, criterion, left
            left = found.tied or left
        return None

    def confidence(self, name: str, criterion: Criterion, names: Sequence[str]) -> float:
        """Share of resampled prompt sets in which ``name`` is still the best of ``names``."""
        cells = {n: self._cells[n, criterion] for n in names if self._cells[n, criterion]}
        shared = sorted(set.intersection(*(set(c) for c in cells.values()))) if cells else []
        others = [n for n in cells if n != name]
        if name not in cells or not shared:
            return 0.0
        if not others:
            return 1.0
        sign = 1.0 if _LARGER[criterion] else -1.0

        def leads(picks: Sequence[int]) -> float:
            mine = sum(cells[name][shared[i]] for i in picks)
            rest = [sum(cells[n][shared[i]] for i in picks) for n in others]
            return float(all(sign * (mine - other) > 0 for other in rest))

        wins: list[float] = []

        def count(picks: Sequence[int]) -> float:
            wins.append(leads(picks))
            return wins[-1]

        bootstrap(len(shared), count, resamples=1000)
        # Never certain: with n prompts there is always one more that was not asked.
        return min(mean(wins[1:]), 1.0 - 1.0 / (len(shared) + 2))


def _mean_cost(group: Sequence[Outcome]) -> float | None:
    values = [outcome.cost_nusd for outcome in group]
    known = [value for value in values if value is not None]
    return mean(known) if len(known) == len(values) else None


def _mean_latency(group: Sequence[Outcome]) -> float | None:
    values = [o.latency_ms for o in group if o.ok and o.latency_ms is not None]
    return mean(values) if values else None


def _recommendations(
    table: _Table,
    best: Mapping[Criterion, Best],
    won: tuple[str, Criterion, Sequence[str]] | None,
    able: Sequence[str],
    quality: Criterion,
) -> tuple[Recommendation, ...]:
    reasons: dict[str, tuple[str, Criterion, Sequence[str]]] = {}
    word = "accuracy" if quality == "accuracy" else "success rate"
    if won is not None:
        name, criterion, among = won
        reason = f"the best {word}"
        if criterion == "cost":
            reason = f"the cheapest of those whose {word} is not shown to be lower"
        elif criterion == "speed":
            reason = f"the fastest of those not shown to be worse in {word} or cost"
        reasons[name] = (reason, criterion, among)
    others: tuple[tuple[Criterion, str], ...] = (("cost", "the cheapest"), ("speed", "the fastest"))
    for criterion, text in others:
        leader = best[criterion].name
        if leader is not None and len(able) > 1:
            reasons.setdefault(leader, (text, criterion, able))
    return tuple(
        Recommendation(
            name,
            reason,
            table.confidence(name, criterion, among),
            _tradeoffs(table, name, [n for n in able if n != name], quality),
        )
        for name, (reason, criterion, among) in reasons.items()
    )


def _tradeoffs(
    table: _Table, name: str, others: Sequence[str], quality: Criterion
) -> tuple[str, ...]:
    """What choosing ``name`` gives up against the best of the others."""
    found = []
    gaps = {o: gap for o in others if (gap := table.gap(name, o, quality)) is not None}
    if gaps:
        other, gap = min(gaps.items(), key=lambda item: item[1].value)
        word = "accuracy" if quality == "accuracy" else "success rate"
        if gap.value < 0 and gap.excludes(0.0):
            found.append(f"{word} {-gap.value:.0%} lower than {other}")
        elif not gap.excludes(0.0) and gap.low < 0:
            most = "an unknown amount" if math.isinf(gap.low) else f"{min(-gap.low, 1.0):.0%}"
            found.append(f"{word} may be up to {most} lower than {other}: too few prompts to tell")
    words: tuple[tuple[Criterion, str], ...] = (
        ("cost", "costs {:.1f} times as much as {}"),
        ("speed", "takes {:.1f} times as long as {}"),
    )
    for criterion, text in words:
        mine = table.mean(name, criterion)
        rest = {o: value for o in others if (value := table.mean(o, criterion)) is not None}
        if mine is None or not rest:
            continue
        least = min(rest, key=lambda other: rest[other])
        if rest[least] > 0 and mine > 1.1 * rest[least]:
            found.append(text.format(mine / rest[least], least))
    return tuple(found)
