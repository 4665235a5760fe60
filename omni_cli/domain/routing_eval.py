"""How good routing is, from labelled rows: types, two models, several models with costs.

Own implementation of the definitions that RouteLLM (PGR, APGR) and RouterBench (AIQ) publish,
so that ``omni eval-router`` needs no other tool. All rates and qualities run from 0 to 1; costs
are in any one unit. Sequences given together have equal length, one entry per query.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from zlib import crc32

from msgspec import Struct

from omni_cli.domain.statistics import Band, band, redrawn

Point = tuple[float, float]


def label_for(task_type: str, gold: str) -> str:
    """One of our types in words of the 11-type label set.

    Debugging is coding there; analysis is research or reasoning, whichever the label says.
    """
    if task_type == "debugging":
        return "coding"
    if task_type == "analysis":
        return gold if gold in ("research", "reasoning") else "research"
    return task_type


class TypeReport(Struct, frozen=True):
    """``macro_f1``: mean of ``f1`` over the types that occur as labels."""

    accuracy: float
    macro_f1: float
    f1: Mapping[str, float]


def type_report(gold: Sequence[str], predicted: Sequence[str]) -> TypeReport:
    """Accuracy and F1 by type; no rows give zeros."""
    pairs = list(zip(gold, predicted, strict=True))
    f1 = {}
    for task in sorted(set(gold)):
        both = sum(g == p == task for g, p in pairs)
        f1[task] = 2 * both / (sum(g == task for g, _ in pairs) + sum(p == task for _, p in pairs))
    right = sum(g == p for g, p in pairs)
    return TypeReport(right / max(1, len(pairs)), sum(f1.values()) / max(1, len(f1)), f1)


# ------------------------------------------------------------------ two models
def _area(points: Sequence[Point]) -> float:
    return sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in pairwise(points))


def _reach(points: Sequence[Point], target: float) -> float | None:
    """Smallest x at which the piecewise straight curve is at ``target`` or above."""
    if points[0][1] >= target:
        return points[0][0]
    for (x0, y0), (x1, y1) in pairwise(points):
        if y1 >= target:
            return x0 + (target - y0) / (y1 - y0) * (x1 - x0)
    return None


def _at(points: Sequence[Point], x: float) -> float:
    for (x0, y0), (x1, y1) in pairwise(points):
        if x <= x1:
            return y0 if x1 == x0 else y0 + (x - x0) / (x1 - x0) * (y1 - y0)
    return points[-1][1]


class PairCurve(Struct, frozen=True):
    """Mean ``quality`` and ``cost`` when the share x of the calls goes to the strong model."""

    quality: tuple[Point, ...]
    cost: tuple[Point, ...]

    @property
    def apgr(self) -> float | None:
        """Area under the share of the quality gap recovered; 0.5 is random order. None without
        a gap."""
        weak, strong = self.quality[0][1], self.quality[-1][1]
        if abs(strong - weak) < 1e-9:
            return None
        return (_area(self.quality) - weak) / (strong - weak)

    def saving_at(self, share_of_strong: float) -> float | None:
        """Cost saved against always-strong where quality first reaches that share of its
        quality, read off the 11-point curve; None if it never does or all is free."""
        grid = [(i / 10, _at(self.quality, i / 10)) for i in range(11)]
        found = _reach(grid, share_of_strong * self.quality[-1][1])
        if found is None or self.cost[-1][1] <= 0:
            return None
        return 1 - _at(self.cost, found) / self.cost[-1][1]


def pair_curve(
    weak_ok: Sequence[float],
    weak: Sequence[float],
    strong: Sequence[float],
    weak_cost: Sequence[float],
    strong_cost: Sequence[float],
) -> PairCurve:
    """Queries go to the strong model in rising order of ``weak_ok``; ties as in expectation.

    ``weak``, ``strong``: measured quality of each model. Needs one query at least.
    """
    n = len(weak_ok)
    order = sorted(range(n), key=lambda i: weak_ok[i])
    quality, cost = sum(weak), sum(weak_cost)
    qualities, costs = [(0.0, quality / n)], [(0.0, cost / n)]
    for place, i in enumerate(order):
        quality += strong[i] - weak[i]
        cost += strong_cost[i] - weak_cost[i]
        if place + 1 == n or weak_ok[order[place + 1]] != weak_ok[i]:
            qualities.append(((place + 1) / n, quality / n))
            costs.append(((place + 1) / n, cost / n))
    return PairCurve(tuple(qualities), tuple(costs))


# ------------------------------------------------------------------ several models with costs
def hull(points: Sequence[Point]) -> list[Point]:
    """Non-decreasing upper convex hull of (cost, quality) points."""
    best: dict[float, float] = {}
    for cost, quality in points:
        best[cost] = max(quality, best.get(cost, -math.inf))
    upper: list[Point] = []
    for point in sorted(best.items()):
        while len(upper) >= 2 and (upper[-1][0] - upper[-2][0]) * (point[1] - upper[-2][1]) >= (
            upper[-1][1] - upper[-2][1]
        ) * (point[0] - upper[-2][0]):
            upper.pop()
        upper.append(point)
    rising: list[Point] = []
    for point in upper:
        if not rising or point[1] > rising[-1][1]:
            rising.append(point)
    return rising


def aiq(points: Sequence[Point], cheapest: float, dearest: float) -> float:
    """RouterBench's average improvement in quality: mean height of the hull between the costs
    of the cheapest and the dearest single model, ``cheapest`` < ``dearest``."""
    inside = [(min(c, dearest), q) for c, q in hull(points) if c <= dearest * (1 + 1e-9)]
    inside = inside or [min(points)]
    if inside[0][0] > cheapest:
        inside.insert(0, (cheapest, inside[0][1]))
    inside.append((dearest, inside[-1][1]))
    return _area([(max(c, cheapest), q) for c, q in inside]) / (dearest - cheapest)


class Banded(Struct, frozen=True):
    """A policy of the hull: mean ``cost`` and ``quality`` of a request, each with its band."""

    cost: float
    quality: float
    costs: Band
    qualities: Band


class LadderReport(Struct, frozen=True):
    """``saving_equal``: cost saved against always the best single model, at its quality; None
    where the router never reaches it. ``single_aiq``: the same area for fixed choices.

    ``frontier``: the hull's policies, cheapest first. ``savings``: by share of the best model's
    quality the band of what is saved; None within it: never reached.
    """

    aiq: float
    single_aiq: float
    best_model: str
    best_quality: float
    saving_equal: float | None
    points: tuple[Point, ...]
    best_cost: float
    frontier: tuple["Banded", ...] = ()
    savings: Mapping[float, tuple[float | None, float | None]] = {}

    def saving_at(self, share: float) -> float | None:
        """Cost saved against always the best model where the hull reaches ``share`` of its
        quality; None if it never does."""
        return self.saving_against(share * self.best_quality, self.best_cost)

    def saving_against(self, quality: float, cost: float) -> float | None:
        """Share of ``cost`` saved where the hull reaches ``quality``; None if it never does."""
        reached = _reach(hull(self.points), quality)
        return None if reached is None else 1 - reached / cost


#: Prices of a unit of cost in units of quality, swept from free to dear.
LAMBDAS: tuple[float, ...] = (0.0, *(10 ** (x / 8) for x in range(-32, 41)))


def ladder_report(
    models: Sequence[str],
    predicted: Sequence[Mapping[str, float]],
    quality: Sequence[Sequence[float]],
    cost: Sequence[Sequence[float]],
    shares: Sequence[float] = (),
) -> LadderReport:
    """Policies argmax(predicted quality - lambda * mean cost) over all lambdas.

    ``predicted``: quality by model name, for each query. ``quality``, ``cost``: queries x models,
    as measured, models in the order of ``models``. Needs one query and two different costs.
    ``shares``: of the best model's quality, to say how sure a saving at it is; none: no bands.
    """
    n, columns = len(predicted), range(len(models))
    mean_cost = [sum(row[k] for row in cost) / n for k in columns]
    mean_quality = [sum(row[k] for row in quality) / n for k in columns]
    table = [[row.get(model, 0.0) for model in models] for row in predicted]
    points = []
    chosen: dict[Point, list[int]] = {}
    for price in LAMBDAS:
        spent = gained = 0.0
        picks = []
        for guess, q, c in zip(table, quality, cost, strict=True):
            k = max(columns, key=lambda k: (guess[k] - price * mean_cost[k], -mean_cost[k]))
            spent, gained = spent + c[k], gained + q[k]
            picks.append(k)
        points.append((spent / n, gained / n))
        chosen[points[-1]] = picks
    low, high = min(mean_cost), max(mean_cost)
    singles = list(zip(mean_cost, mean_quality, strict=True))
    best = max(columns, key=lambda k: (mean_quality[k], -mean_cost[k]))
    upper = hull(points)
    flat = [*upper, (max(high, upper[-1][0] * 1.0001), upper[-1][1])]
    reached = _reach(flat, mean_quality[best])
    frontier, savings = (
        _bands([chosen[point] for point in upper], upper, best, quality, cost, shares)
        if shares
        else ((), {})
    )
    return LadderReport(
        aiq(points, low, high),
        aiq(singles, low, high),
        models[best],
        mean_quality[best],
        None if reached is None else 1 - reached / mean_cost[best],
        tuple(points),
        mean_cost[best],
        frontier,
        savings,
    )


def _bands(
    picks: Sequence[Sequence[int]],
    points: Sequence[Point],
    best: int,
    quality: Sequence[Sequence[float]],
    cost: Sequence[Sequence[float]],
    shares: Sequence[float],
) -> tuple[tuple[Banded, ...], dict[float, tuple[float | None, float | None]]]:
    """The hull's policies, drawn again together with always the best model."""
    columns: list[list[float]] = []
    for own in (*picks, [best] * len(quality)):
        columns.append([row[k] for row, k in zip(cost, own, strict=True)])
        columns.append([row[k] for row, k in zip(quality, own, strict=True)])
    means = redrawn(columns)
    frontier = tuple(
        Banded(*point, band([row[2 * i] for row in means]), band([row[2 * i + 1] for row in means]))
        for i, point in enumerate(points)
    )
    never = -math.inf
    savings: dict[float, tuple[float | None, float | None]] = {}
    for share in shares:
        found = []
        for row in means:
            upper = hull([(row[2 * i], row[2 * i + 1]) for i in range(len(points))])
            reached = _reach(upper, share * row[-1])
            found.append(never if reached is None or not row[-2] else 1 - reached / row[-2])
        ends = band(found)
        low, high = (None if end == never else end for end in (ends.low, ends.high))
        savings[share] = low, high
    return frontier, savings


# ------------------------------------------------------------------ a table from labelled rows
#: Pseudo-observations: of the overall mean behind a type's cell, of the type behind its forms.
TYPE_STRENGTH, FORM_STRENGTH = 20.0, 10.0


class CellTable(Struct, frozen=True):
    """Expected quality by task type and by (type, form); one column per model.

    An outcome counts for each type by its probability. A type's cell is drawn towards the mean
    of all rows, a form's cell towards its type's.
    """

    by_type: Mapping[str, Sequence[float]]
    by_form: Mapping[tuple[str, str], Sequence[float]]

    def predict(self, probabilities: Mapping[str, float], form: str) -> list[float]:
        """Quality of each model: the cells, mixed by the probabilities."""
        cells = [
            (chance, self.by_form.get((task, form), self.by_type[task]))
            for task, chance in probabilities.items()
        ]
        width = len(cells[0][1])
        return [sum(chance * cell[k] for chance, cell in cells) for k in range(width)]


def _shrunk(
    sums: Sequence[float], weight: float, prior: Sequence[float], strength: float
) -> list[float]:
    return [(sums[k] + prior[k] * strength) / (weight + strength) for k in range(len(prior))]


def fit_table(
    probabilities: Sequence[Mapping[str, float]],
    forms: Sequence[str],
    quality: Sequence[Sequence[float]],
) -> CellTable:
    """A table from outcomes: ``quality`` is queries x models; one query at least.

    Give the same form for every query to have a table by type alone.
    """
    width = len(quality[0])
    overall = [sum(row[k] for row in quality) / len(quality) for k in range(width)]
    weights: dict[tuple[str, str], float] = {}
    sums: dict[tuple[str, str], list[float]] = {}
    for chances, form, row in zip(probabilities, forms, quality, strict=True):
        for task, chance in chances.items():
            for cell in ((task, ""), (task, form)):
                weights[cell] = weights.get(cell, 0.0) + chance
                total = sums.setdefault(cell, [0.0] * width)
                for k, value in enumerate(row):
                    total[k] += chance * value
    by_type = {
        task: _shrunk(total, weights[task, form], overall, TYPE_STRENGTH)
        for (task, form), total in sums.items()
        if not form
    }
    by_form = {
        (task, form): _shrunk(total, weights[task, form], by_type[task], FORM_STRENGTH)
        for (task, form), total in sums.items()
        if form
    }
    return CellTable(by_type, by_form)


def fold_of(text: str, folds: int) -> int:
    """Same words, same fold: repeats of a question in several files never straddle two folds."""
    return crc32(" ".join(text.lower().split())[:400].encode()) % folds


def cross_fitted(
    probabilities: Sequence[Mapping[str, float]],
    forms: Sequence[str],
    quality: Sequence[Sequence[float]],
    folds: Sequence[int],
) -> list[list[float]]:
    """Predicted quality, queries x models: each query by a table that saw no row of its fold."""
    predicted: list[list[float]] = [[] for _ in folds]
    for fold in sorted(set(folds)):
        others = [i for i, f in enumerate(folds) if f != fold]
        table = fit_table(
            [probabilities[i] for i in others],
            [forms[i] for i in others],
            [quality[i] for i in others],
        )
        for i, f in enumerate(folds):
            if f == fold:
                predicted[i] = table.predict(probabilities[i], forms[i])
    return predicted
