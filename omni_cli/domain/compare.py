"""A comparison's answers turned into results: who is better, at what, and is it shown (D2).

Prompts are the units: several answers to one prompt are averaged first, since they are not
independent. (With a single prompt its repetitions are, and what is shown is shown of that prompt
alone.) Two models are compared unit by unit. A difference counts as shown when its
95 % interval leaves zero out.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from msgspec import Struct

from omni_cli.domain.record import replace
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


class Outcome(Struct, frozen=True):
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


class Figures(Struct, frozen=True):
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


class Best(Struct, frozen=True):
    """``name`` None: no difference shown. ``tied``: the best by its figure, and all that are
    not shown to be worse."""

    name: str | None
    tied: tuple[str, ...]


class Recommendation(Struct, frozen=True):
    model: str
    reason: str
    confidence: float
    tradeoffs: tuple[str, ...]


class Results(Struct, frozen=True):
    """``no_winner``: why there is none, "" where there is one. ``answered``: contenders with an
    answer; only among these somebody is the cheapest or the fastest."""

    figures: Mapping[str, Figures]
    winner: str | None
    best: Mapping[Criterion, Best]
    recommendations: tuple[Recommendation, ...]
    scored: bool
    #: Prompts, or repetitions of the only one: what differences are judged over.
    units: int = 0
    no_winner: str = ""
    answered: tuple[str, ...] = ()


NOTHING_SHOWN = "no difference shown"


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
    table = _Table({name: _units(own, single) for name, own in by.items()}, figures, scored)
    answered = tuple(name for name in contenders if any(o.ok for o in by[name]))
    # Who was not asked yet may be better than all that were; who only failed is not.
    able = [name for name in contenders if name in answered or not by[name]]
    best = {criterion: table.best(criterion, able) for criterion in _LARGER}
    won = table.winner(answered, able, contenders) if scored else None
    return Results(
        figures,
        None if won is None else won.name,
        best,
        _recommendations(table, best, won, answered, able),
        scored,
        len({(o.prompt, o.iteration if single else 0) for o in outcomes}),
        "" if won is not None else _no_winner(figures, best, answered, scored),
        answered,
    )


def _no_winner(
    figures: Mapping[str, Figures],
    best: Mapping[Criterion, Best],
    answered: Sequence[str],
    scored: bool,
) -> str:
    if len(figures) == 1:
        return "one model, nothing to compare it with"
    if not answered:
        return "nobody answered"
    if scored and not any(own.accurate for own in figures.values()):
        return "no accurate answer"
    if not scored and any(own.name for own in best.values()):
        return "none, nothing to score the answers by"
    return NOTHING_SHOWN


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


class _Won(Struct, frozen=True):
    """``among``: whom it leads in ``criterion``."""

    name: str
    criterion: Criterion
    among: Sequence[str]
    reason: str


class _Table:
    """Every contender's mean by prompt and criterion.

    Args:
        figures: what a reader is shown; no claim may contradict them.
    """

    def __init__(
        self,
        by: Mapping[str, Sequence[Outcome]],
        figures: Mapping[str, Figures],
        scored: bool,
    ) -> None:
        self.scored = scored
        self._figures = figures
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

    def accurate(self, name: str) -> int:
        return self._figures[name].accurate

    def shown(self, name: str, criterion: Criterion) -> float | None:
        """The figure that stands in the report."""
        own = self._figures[name]
        interval = {
            "accuracy": own.accuracy,
            "success": own.success,
            "cost": own.per_request_nusd,
            "speed": own.latency_ms,
        }[criterion]
        return None if interval is None else interval.value

    def gap(self, a: str, b: str, criterion: Criterion) -> Interval | None:
        """a - b over the prompts that both have; None without any."""
        left, right = self._cells[a, criterion], self._cells[b, criterion]
        pairs = [(left[p], right[p]) for p in sorted(left.keys() & right.keys())]
        # Money and time are measured on a scale: two that differ by the same say so.
        counted = criterion in ("accuracy", "success")
        return paired_difference(pairs, fewest_equal=5 if counted else 2)

    def best(self, criterion: Criterion, names: Sequence[str]) -> Best:
        """The leader in the figures shown, where it also leads prompt by prompt. Nobody leads
        whose figure others lack, and nobody leads alone."""
        known = {n: value for n in names if (value := self.shown(n, criterion)) is not None}
        if not known:
            return Best(None, ())
        sign = -1.0 if _LARGER[criterion] else 1.0
        ranked = sorted(known, key=lambda name: sign * known[name])
        first = ranked[0]
        tied = [first]
        for other in ranked[1:]:
            gap = self.gap(first, other, criterion)
            ahead = sign * (known[other] - known[first]) > 0
            if not (ahead and gap is not None and gap.excludes(0.0) and sign * gap.value < 0):
                tied.append(other)
        alone = len(tied) == 1 and len(known) == len(names) > 1
        return Best(first if alone else None, tuple(tied))

    def winner(
        self, answered: Sequence[str], able: Sequence[str], contenders: Sequence[str]
    ) -> _Won | None:
        """The best in accuracy; of those not shown to be worse the cheapest, then the fastest.

        None where not even that is shown, and for whoever gave no accurate answer.
        """
        if len(contenders) < 2:
            return None
        if len(able) == 1 and answered:
            name = answered[0]
            only = _Won(name, "accuracy", contenders, "the only one that answered")
            return only if self.accurate(name) else None
        left = self._not_worse("accuracy", able)
        if len(left) == 1:
            only = _Won(left[0], "accuracy", able, "the best accuracy")
            return only if self.accurate(left[0]) else None
        fit = [name for name in left if self.accurate(name)]
        those = "those" if len(fit) == len(left) else "those with an accurate answer"
        steps: tuple[tuple[Criterion, str], ...] = (
            ("cost", f"the cheapest of {those} whose accuracy is not shown to be lower"),
            ("speed", f"the fastest of {those} not shown to be worse in accuracy or cost"),
        )
        for criterion, reason in steps:
            found = self.best(criterion, fit).name
            if found is not None:
                return _Won(found, criterion, fit, reason)
            fit = self._not_worse(criterion, fit)
        return None

    def _not_worse(self, criterion: Criterion, names: Sequence[str]) -> list[str]:
        """Of ``names`` the tied, and those whose figure nobody knows."""
        tied = self.best(criterion, names).tied
        return [n for n in names if n in tied or self.shown(n, criterion) is None]

    def confidence(self, name: str, criterion: Criterion, names: Sequence[str]) -> float:
        """Share of resampled prompt sets in which ``name`` is still the best of ``names``."""
        cells = {n: self._cells[n, criterion] for n in names if self._cells[n, criterion]}
        shared = sorted(set.intersection(*(set(c) for c in cells.values()))) if cells else []
        others = [n for n in cells if n != name]
        if name not in cells or not shared:
            return 0.0
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
    won: _Won | None,
    answered: Sequence[str],
    able: Sequence[str],
) -> tuple[Recommendation, ...]:
    chosen = {} if won is None else {won.name: won}
    others: tuple[tuple[Criterion, str], ...] = (("cost", "the cheapest"), ("speed", "the fastest"))
    for criterion, text in others:
        leader = best[criterion].name
        if leader is not None and (table.accurate(leader) or not table.scored):
            chosen.setdefault(leader, _Won(leader, criterion, able, text))
    return tuple(
        Recommendation(
            one.name,
            one.reason,
            table.confidence(one.name, one.criterion, one.among),
            _tradeoffs(table, one.name, [n for n in answered if n != one.name]),
        )
        for one in chosen.values()
    )


def _tradeoffs(table: _Table, name: str, others: Sequence[str]) -> tuple[str, ...]:
    """What choosing ``name`` gives up against the best of the others."""
    found = []
    quality: Criterion = "accuracy" if table.scored else "success"
    word = "accuracy" if table.scored else "success rate"
    gaps = {o: gap for o in others if (gap := table.gap(name, o, quality)) is not None}
    if gaps:
        other, gap = min(gaps.items(), key=lambda item: item[1].value)
        mine, best = table.shown(name, quality), table.shown(other, quality)
        behind = 0.0 if mine is None or best is None else best - mine
        if gap.value < 0 and gap.excludes(0.0) and behind > 0:
            found.append(f"{word} {behind:.0%} lower than {other}")
        elif not gap.excludes(0.0) and gap.low < 0:
            most = "an unknown amount" if math.isinf(gap.low) else f"{min(-gap.low, 1.0):.0%}"
            found.append(f"{word} may be up to {most} lower than {other}: too few prompts to tell")
    words: tuple[tuple[Criterion, str], ...] = (
        ("cost", "costs {:.1f} times as much as {}"),
        ("speed", "takes {:.1f} times as long as {}"),
    )
    for criterion, text in words:
        mine = table.shown(name, criterion)
        rest = {o: value for o in others if (value := table.shown(o, criterion)) is not None}
        if mine is None and criterion == "cost":
            found.append("its price is unknown")
        if mine is None or not rest:
            continue
        least = min(rest, key=lambda other: rest[other])
        if rest[least] > 0 and mine > 1.1 * rest[least]:
            found.append(text.format(mine / rest[least], least))
    return tuple(found)
