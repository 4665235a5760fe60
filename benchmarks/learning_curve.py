"""What a user's feedback adds to the quality table: simulated comparisons on real outcomes.

    python -m benchmarks.learning_curve

The table starts from what leaderboards say: how good each model is over all tasks, and how hard
each task type is for models on the whole, both over the training half; not which model is good
at what. That is left to feedback. Each event is a prompt of the training half that two models
answered, the router's choice and another at random; how well each did is what the user reports.
On the other half, the model of the highest utility (quality less price times the share of the
dearest model's cost) is chosen; printed is the mean utility, and its standard error over repeats.

With ``--shadows`` the other model is a challenger in the shadow instead, drawn by how likely it is
the best (Thompson sampling), and what is printed is the regret against a table that knows all
outcomes of the training half, and the challengers' cost beside what routing saved meanwhile.
"""

import math
import random
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from omni_cli.domain.classify import classify
from omni_cli.domain.quality import (
    PRIOR_STRENGTH,
    Cell,
    Prior,
    QualityTable,
    outcome_counts,
    shares,
)
from omni_cli.domain.routing_eval import fold_of
from omni_cli.domain.tasks import Signals
from tools.routing_data import bench_rows, index

EVENTS = (0, 50, 300, 1000)
#: The table that the simulated router decides with is renewed after this many events.
RENEWED_EVERY = 10
#: What the dearest model's mean cost is worth, in quality: two users, one thriftier.
PRICES = (0.05, 0.1)
#: How many standard deviations a cell is taken below its mean: what is little known must be
#: better to be chosen, else the luckiest of many noisy cells wins.
CAUTION = 1.0


@dataclass(frozen=True, slots=True)
class Case:
    """One prompt: type probabilities, and the measured quality of each model."""

    chances: Mapping[str, float]
    quality: Sequence[float]
    trains: bool


@dataclass(frozen=True, slots=True)
class World:
    """``costs``: mean cost of each model as a share of the dearest one's. ``price``: what all of
    it is worth in quality."""

    models: Sequence[str]
    costs: Sequence[float]
    cases: Sequence[Case]
    price: float


def load(bench: str, price: float, every: int = 1) -> World:
    """A benchmark as a world; only each ``every``-th row, for quick runs."""
    info = index()["benches"][bench]
    models = info["models"]
    rows = bench_rows(bench)[::every]
    cases = [
        Case(
            {t: p for t, p in classify(Signals(r["prompt"])).probabilities.items() if p > 0.02},
            r["s"],
            fold_of(r["prompt"], 2) == 0,
        )
        for r in rows
    ]
    prices = info["price_per_mtok"]
    means = [
        sum(row["c"][k] for row in rows) / len(rows) if "c" in rows[0] else prices[model]
        for k, model in enumerate(models)
    ]
    return World(models, [mean / max(means) for mean in means], cases, price)


def _cautious(cell: Cell) -> float:
    n = cell.alpha + cell.beta
    return cell.mean - CAUTION * math.sqrt(cell.mean * (1 - cell.mean) / (n + 1))


def _choice(world: World, table: QualityTable, chances: Mapping[str, float]) -> int:
    def utility(k: int) -> float:
        model = world.models[k]
        quality = sum(share * _cautious(table.cell(task, model)) for task, share in shares(chances))
        return quality - world.price * world.costs[k]

    return max(range(len(world.models)), key=utility)


def _mean_utility(world: World, table: QualityTable) -> float:
    gains = []
    for case in world.cases:
        if not case.trains:
            k = _choice(world, table, case.chances)
            gains.append(case.quality[k] - world.price * world.costs[k])
    return statistics.fmean(gains)


def _type_effects(cases: Sequence[Case], overall: float) -> dict[str, float]:
    """By how much models do better at a task type than on the whole."""
    sums: dict[str, tuple[float, float]] = {}
    for case in cases:
        quality = statistics.fmean(case.quality)
        for task, chance in case.chances.items():
            total, weight = sums.get(task, (0.0, 0.0))
            sums[task] = (total + chance * quality, weight + chance)
    return {task: total / weight - overall for task, (total, weight) in sums.items()}


def known(world: World) -> float:
    """Mean utility on the test half of a table that knows all outcomes of the training half."""
    seen: dict[tuple[str, str], tuple[float, float]] = {}
    for case in world.cases:
        if case.trains:
            for k in range(len(world.models)):
                _count(seen, case, world.models[k], case.quality[k])
    return _mean_utility(world, QualityTable(lambda *_: Prior(0.5, 0.1, "nothing"), seen))


def _count(
    seen: dict[tuple[str, str], tuple[float, float]], case: Case, model: str, quality: float
) -> None:
    wins, losses = outcome_counts("compare", quality)
    for task, chance in case.chances.items():
        old = seen.get((task, model), (0.0, 0.0))
        seen[task, model] = (old[0] + chance * wins, old[1] + chance * losses)


def _likeliest(
    world: World, table: QualityTable, case: Case, first: int, rng: random.Random
) -> int:
    """Another model than ``first``, as often as it is the best of the others by what is known."""

    def drawn(k: int) -> float:
        cells = [(share, table.cell(t, world.models[k])) for t, share in shares(case.chances)]
        quality = sum(share * rng.betavariate(c.alpha, c.beta) for share, c in cells)
        return quality - world.price * world.costs[k]

    return max((k for k in range(len(world.models)) if k != first), key=drawn)


@dataclass(frozen=True, slots=True)
class Point:
    """After so many events: mean utility, what the second models cost, and what the first ones
    saved against the dearest, both in calls of the dearest model."""

    utility: float
    spent: float
    saved: float


def learning_curve(
    world: World, seed: int, events: Sequence[int] = EVENTS, *, shadows: bool = False
) -> list[Point]:
    """On the test half after each number of ``events`` (rising)."""
    training = [case for case in world.cases if case.trains]
    means = {
        model: statistics.fmean(case.quality[k] for case in training)
        for k, model in enumerate(world.models)
    }
    overall = statistics.fmean(means.values())
    easier = _type_effects(training, overall)

    def prior(task: str, model: str) -> Prior:
        mean = min(0.99, max(0.01, means[model] + easier.get(task, 0.0)))
        return Prior(mean, PRIOR_STRENGTH, "means over tasks and over models")

    chooser = random.Random(seed)
    observed: dict[tuple[str, str], tuple[float, float]] = {}
    table, curve = QualityTable(prior), list[Point]()
    spent = saved = 0.0
    for event in range(max(events) + 1):
        if event % RENEWED_EVERY == 0 or event in events:
            table = QualityTable(prior, observed)
        if event in events:
            curve.append(Point(_mean_utility(world, table), spent, saved))
        case = chooser.choice(training)
        first = _choice(world, table, case.chances)
        if shadows:
            second = _likeliest(world, table, case, first, chooser)
        else:
            second = chooser.choice([k for k in range(len(world.models)) if k != first])
        spent += world.costs[second]
        saved += 1 - world.costs[first]
        for k in (first, second):
            _count(observed, case, world.models[k], case.quality[k])
    return curve


def main() -> None:
    shadows = "--shadows" in sys.argv[1:]
    for bench in ("llmrouter", "routerbench"):
        for price in PRICES:
            world = load(bench, price)
            most = known(world)
            for smart in (False, True) if shadows else (False,):
                curves = [learning_curve(world, seed, shadows=smart) for seed in range(10)]
                print(
                    f"{bench}, price {price}: mean utility after so many comparisons"
                    f"{' with likely challengers' if smart else ''}, 10 repeats"
                )
                for i, events in enumerate(EVENTS):
                    values = [curve[i].utility for curve in curves]
                    error = statistics.stdev(values) / len(values) ** 0.5
                    line = f"   {events:5d}  {statistics.fmean(values):.4f} +- {error:.4f}"
                    if shadows:
                        spent = statistics.fmean(curve[i].spent for curve in curves)
                        saved = statistics.fmean(curve[i].saved for curve in curves)
                        line += f"  regret {most - statistics.fmean(values):.4f}"
                        line += f"  challengers {spent:.1f}, saved {saved:.1f}"
                    print(line)


if __name__ == "__main__":
    main()
