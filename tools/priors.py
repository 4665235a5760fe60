"""Turn ``benchmarks.toml`` into ``priors.json``: ``python -m tools.priors``.

Benchmarks differ in difficulty and scale, and no two cover the same models. They are joined by
the models they share: every result is put on a linear scale (log-odds of a percentage, Elo in
nats), and one ability per model is fitted so that each benchmark is a line over it. What a
model's results in one skill have in common beyond that ability is its skill's deviation, shrunk
towards none. Task types are mixtures of skills, and the published results of three models at
ordinary difficulty fix where each type's scale lies. docs/quality-sources.md says what this is
worth. Options: ``--check`` writes nothing and fails where the file is not what the data gives.
"""

import argparse
import json
import math
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omni_cli.catalog.load import FOLDER
from omni_cli.domain.models import size_of_name
from omni_cli.domain.quality import PRIOR_STRENGTH, family_key
from omni_cli.domain.tasks import TASK_TYPES

TABLE = Path(__file__).with_name("benchmarks.toml")
FACTS = FOLDER / "facts.toml"
BADGES = FOLDER / "badges.toml"
PRIORS = FOLDER / "priors.json"

#: What a task type draws on; the weights sum to 1.
SKILLS: Mapping[str, Mapping[str, float]] = {
    "chat": {"chat": 0.7, "writing": 0.3},
    "coding": {"coding": 0.8, "agentic": 0.2},
    "debugging": {"coding": 0.5, "agentic": 0.5},
    "reasoning": {"reasoning": 0.8, "math": 0.2},
    "math": {"math": 1.0},
    "analysis": {"reasoning": 0.5, "data": 0.5},
    "research": {"reasoning": 0.4, "chat": 0.3, "summary": 0.3},
    "writing": {"writing": 0.7, "chat": 0.3},
    "summarization": {"summary": 0.6, "writing": 0.4},
    "translation": {"multilingual": 0.6, "language": 0.4},
    "extraction": {"data": 0.7, "writing": 0.3},
    "image": {"vision": 1.0},
    "agent_step": {"agentic": 0.6, "tools": 0.4},
}
#: Capability scores of the catalogue, by the task type they are read from.
CAPABILITY_TASKS = {"coding": "coding", "reasoning": "reasoning", "creativity": "writing"}

_ROUNDS = 300
#: Abilities are taken to be normal with this precision before any result is seen.
_ABILITY_PRECISION = 0.3
#: A benchmark's spread around its line is at least this, so that none decides alone.
_LEAST_VARIANCE = 0.15
#: How far log-odds and Elo (in nats) usually move with one unit of ability.
_TYPICAL_SPREAD = 0.55
#: Pull of a benchmark's slope towards 1, in results.
_SLOPE_RIDGE = 3.0
_SLOPE_LEAST = 0.25
#: A skill's deviation rests on its n results as n / (n + this).
_SKILL_RIDGE = 1.0
_SKILL_MOST = 1.0
#: Slope of a task type's calibration line, log-odds per unit of ability.
_LINE_RANGE = (0.4, 1.6)
#: A prior mean never leaves this range: a benchmark says little about the very ends.
_MEAN_RANGE = (0.05, 0.98)
#: Observations that a prior weighs with no result in the type's skills, and more for each.
_INDIRECT_STRENGTH = 8.0
_STRENGTH_PER_RESULT = 6.0
_ESTIMATE_STRENGTH = 5.0
#: Standard deviations below the line of ability over size at which an unknown model is placed:
#: who gets onto leaderboards is better than most of that size.
_UNSEEN_BELOW = 0.5
#: Below so many billion parameters ability falls off more steeply than above.
_HINGE_B = 3.0


@dataclass(frozen=True, slots=True)
class Benchmark:
    """``values``: by family key, on a linear scale of about one unit per unit of ability;
    ``scores``: as published.
    """

    key: str
    name: str
    skill: str
    scores: Mapping[str, float]
    values: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class _Line:
    """A benchmark's values over ability, and their variance around that."""

    at_zero: float
    slope: float
    variance: float

    @property
    def weight(self) -> float:
        return self.slope / self.variance


@dataclass(frozen=True, slots=True)
class Fit:
    """Abilities (mean 0, standard deviation 1) and skills' deviations, by family key."""

    ability: Mapping[str, float]
    deviation: Mapping[tuple[str, str], float]
    results: Mapping[tuple[str, str], tuple[str, ...]]

    def at(self, model: str, task_type: str) -> float:
        return self.ability[model] + sum(
            weight * self.deviation.get((model, skill), 0.0)
            for skill, weight in SKILLS[task_type].items()
        )

    def evidence(self, model: str, task_type: str) -> list[str]:
        """Keys of the benchmarks behind a cell, those of the heaviest skill first."""
        ranked = sorted(SKILLS[task_type].items(), key=lambda item: -item[1])
        return [key for skill, _ in ranked for key in self.results.get((model, skill), ())]


def read_benchmarks(table: Mapping[str, Any]) -> list[Benchmark]:
    """The ``benchmarks`` of the parsed table, in its order."""
    found = []
    for key, entry in table["benchmarks"].items():
        scores = {family_key(model): float(score) for model, score in entry["scores"].items()}
        values = {model: _linear(score, entry["unit"]) for model, score in scores.items()}
        values = (
            _standard(values)
            if entry["unit"] == "score"
            else {model: value / _TYPICAL_SPREAD for model, value in values.items()}
        )
        found.append(Benchmark(key, entry["name"], entry["skill"], scores, values))
    return found


def _linear(score: float, unit: str) -> float:
    if unit == "percent":
        return _logit(min(99.0, max(1.0, score)) / 100.0)
    if unit == "elo":
        return score * math.log(10.0) / 400.0
    if unit == "score":
        return score
    raise ValueError(f"unknown unit {unit!r}")


def _logit(share: float) -> float:
    return math.log(share / (1.0 - share))


def fit_abilities(benchmarks: Sequence[Benchmark]) -> Fit:
    """Alternate between the benchmarks' lines and the models' abilities until both stand."""
    values = {b.key: b.values for b in benchmarks}
    models = sorted({model for b in benchmarks for model in b.values})
    lines = {b.key: _Line(0.0, 1.0, 1.0) for b in benchmarks}
    ability: dict[str, float] = {}

    def by_model(lines: Mapping[str, _Line]) -> dict[str, list[tuple[_Line, float]]]:
        found: dict[str, list[tuple[_Line, float]]] = {model: [] for model in models}
        for key, points in values.items():
            for model, value in points.items():
                found[model].append((lines[key], value))
        return found

    for _ in range(_ROUNDS):
        ability = _standard(
            {
                model: sum(line.weight * (v - line.at_zero) for line, v in found)
                / (_ABILITY_PRECISION + sum(line.weight * line.slope for line, _ in found))
                for model, found in by_model(lines).items()
            }
        )
        lines = {key: _fit_line(ability, points) for key, points in values.items()}
    deviation: dict[tuple[str, str], float] = {}
    results: dict[tuple[str, str], tuple[str, ...]] = {}
    for model in models:
        for skill in {b.skill for b in benchmarks}:
            own = [b.key for b in benchmarks if b.skill == skill and model in b.values]
            if own:
                gap = sum((values[k][model] - lines[k].at_zero) / lines[k].slope for k in own)
                gap = (gap - len(own) * ability[model]) / (len(own) + _SKILL_RIDGE)
                deviation[model, skill] = max(-_SKILL_MOST, min(_SKILL_MOST, gap))
                results[model, skill] = tuple(reversed(own))
    return Fit(ability, deviation, results)


def _standard(points: Mapping[str, float]) -> dict[str, float]:
    """Shifted and scaled to mean 0 and standard deviation 1."""
    mean = sum(points.values()) / len(points)
    spread = math.sqrt(sum((v - mean) ** 2 for v in points.values()) / len(points)) or 1.0
    return {model: (v - mean) / spread for model, v in points.items()}


def _fit_line(ability: Mapping[str, float], points: Mapping[str, float]) -> _Line:
    """The line of ``points`` over ability; few points keep its slope and spread near 1."""
    n = len(points)
    x_mean = sum(ability[m] for m in points) / n
    y_mean = sum(points.values()) / n
    cross = sum((ability[m] - x_mean) * (y - y_mean) for m, y in points.items())
    square = sum((ability[m] - x_mean) ** 2 for m in points)
    slope = max(_SLOPE_LEAST, (cross + _SLOPE_RIDGE) / (square + _SLOPE_RIDGE))
    at_zero = y_mean - slope * x_mean
    off = sum((y - at_zero - slope * ability[m]) ** 2 for m, y in points.items())
    return _Line(at_zero, slope, max(_LEAST_VARIANCE, (off + 1.0) / (n + 1.0)))


def calibrate(fit: Fit, table: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
    """By task type: intercept and slope from ability to log-odds of a good answer."""
    lines = {}
    for task_type in TASK_TYPES:
        entry = table["calibration"][task_type]
        pairs = [
            (fit.at(family_key(model), task_type), _linear(score, entry["unit"]))
            for model, score in entry["scores"].items()
        ]
        x_mean = sum(x for x, _ in pairs) / len(pairs)
        y_mean = sum(y for _, y in pairs) / len(pairs)
        cross = sum((x - x_mean) * (y - y_mean) for x, y in pairs)
        square = sum((x - x_mean) ** 2 for x, _ in pairs)
        slope = min(_LINE_RANGE[1], max(_LINE_RANGE[0], cross / square))
        lines[task_type] = (y_mean - slope * x_mean, slope)
    return lines


@dataclass(frozen=True, slots=True)
class SizeLine:
    """Ability over the natural logarithm of billions of parameters: two lines that meet at
    _HINGE_B. ``spread``: standard deviation around them."""

    at_hinge: float
    below: float
    above: float
    spread: float
    models: int


def fit_sizes(points: Sequence[tuple[float, float]]) -> SizeLine:
    """Least squares; ``points``: (billions of parameters, ability), on both sides of _HINGE_B."""
    hinge = math.log(_HINGE_B)
    rows = [
        ((1.0, min(x - hinge, 0.0), max(x - hinge, 0.0)), ability)
        for x, ability in ((math.log(size), ability) for size, ability in points)
    ]
    # Normal equations, solved by elimination.
    system = [
        [sum(r[i] * r[j] for r, _ in rows) for j in range(3)] + [sum(r[i] * y for r, y in rows)]
        for i in range(3)
    ]
    for i in range(3):
        system[i] = [value / system[i][i] for value in system[i]]
        for other in range(3):
            if other != i:
                factor = system[other][i]
                pairs = zip(system[other], system[i], strict=True)
                system[other] = [value - factor * own for value, own in pairs]
    at_hinge, below, above = (row[3] for row in system)
    off = sum((y - at_hinge - below * r[1] - above * r[2]) ** 2 for r, y in rows)
    return SizeLine(at_hinge, below, above, math.sqrt(off / (len(rows) - 3)), len(rows))


def sized_points(
    fit: Fit,
    lines: Mapping[str, tuple[float, float]],
    table: Mapping[str, Any],
    sizes: Mapping[str, float],
) -> list[tuple[float, float]]:
    """(Billions of parameters, ability) of the models with results, and of the small ones."""
    intercept, slope = lines["chat"]  # whose scale is IFEval
    small = {
        name: (_linear(score, table["small"]["unit"]) - intercept) / slope
        for name, score in table["small"]["scores"].items()
    }
    points = [(sizes[model], ability) for model, ability in fit.ability.items() if model in sizes]
    return points + [
        (size, ability) for name, ability in small.items() if (size := size_of_name(name))
    ]


def known_sizes(table: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, float]:
    """Billions of parameters by family key: as published, else as the model's name says."""
    families = table["families"]
    names = {model for entry in table["benchmarks"].values() for model in entry["scores"]}
    named = {family_key(name): size for name in names if (size := size_of_name(name))}
    published = {
        family_key(model): float(entry["parameters_b"])
        for model, entry in facts.items()
        if "parameters_b" in entry
    }
    found = named | published
    return {families.get(key, key): size for key, size in found.items()}


def build_priors(
    table: Mapping[str, Any], seeing: frozenset[str], sizes: Mapping[str, float]
) -> dict[str, Any]:
    """The JSON form that ``catalog.priors`` reads.

    Args:
        table: the parsed ``benchmarks.toml``.
        seeing: family keys of models that take images.
        sizes: billions of parameters by family key, where they are known.

    Returns:
        ``models``: family key -> per task type [mean in thousandths, strength, evidence
        indexes], or null where the model is not known to take the task (images). ``by_size``:
        per task type the log-odds of a good answer at ``hinge_b`` billion parameters, and what
        each unit of their natural logarithm adds below and above, for models without results.
    """
    benchmarks = read_benchmarks(table)
    fit = fit_abilities(benchmarks)
    lines = calibrate(fit, table)
    index = {b.key: i for i, b in enumerate(benchmarks)}
    families = dict(table["families"])
    models: dict[str, Any] = {}
    for model in fit.ability:
        cells: list[list[Any] | None] = []
        for task_type in TASK_TYPES:
            evidence = fit.evidence(model, task_type)
            if task_type == "image" and not evidence and model not in seeing:
                cells.append(None)
                continue
            mean = _mean(fit, lines, model, task_type)
            strength = min(
                PRIOR_STRENGTH, _INDIRECT_STRENGTH + _STRENGTH_PER_RESULT * len(evidence)
            )
            cells.append([_permille(mean), strength, [index[key] for key in evidence[:3]]])
        models[model] = {"cells": cells, "all": _overall(benchmarks, index, model)}
    fitted = {model: entry["cells"] for model, entry in models.items()}
    for model, entry in table["estimates"].items():
        near = [fitted[families.get(key, key)] for key in entry["like"]]
        cells = [_estimate([cell[i] for cell in near]) for i in range(len(TASK_TYPES))]
        # Results in a type's own skills outweigh a guess; a guess outweighs mere inference.
        own = fitted.get(model, cells)
        cells = [o if o and o[2] else guess for o, guess in zip(own, cells, strict=True)]
        models[model] = {**models.get(model, {}), "cells": cells, "estimate": entry["basis"]}
    return {
        "types": list(TASK_TYPES),
        "benchmarks": [
            {"name": b.name, "scores": {m: b.scores[m] for m in sorted(b.scores)}}
            for b in benchmarks
        ],
        "families": families,
        "by_size": _by_size(fit_sizes(sized_points(fit, lines, table, sizes)), lines),
        "type_means": [_type_mean(models, i) for i in range(len(TASK_TYPES))],
        "models": {model: models[model] for model in sorted(models)},
    }


def _by_size(line: SizeLine, lines: Mapping[str, tuple[float, float]]) -> dict[str, Any]:
    at_hinge = line.at_hinge - _UNSEEN_BELOW * line.spread
    types = [
        [round(intercept + steep * at_hinge, 4), round(steep * line.below, 4),
         round(steep * line.above, 4)]
        for intercept, steep in (lines[task_type] for task_type in TASK_TYPES)
    ]  # fmt: skip
    return {"hinge_b": _HINGE_B, "models": line.models, "types": types}


def _mean(fit: Fit, lines: Mapping[str, tuple[float, float]], model: str, task_type: str) -> float:
    intercept, slope = lines[task_type]
    return 1.0 / (1.0 + math.exp(-intercept - slope * fit.at(model, task_type)))


def _overall(benchmarks: Sequence[Benchmark], index: Mapping[str, int], model: str) -> list[int]:
    """Up to three benchmarks that a model's ability rests on, the newest of the table first."""
    return [index[b.key] for b in benchmarks if model in b.values][:3]


def _permille(mean: float) -> int:
    return round(1000 * min(_MEAN_RANGE[1], max(_MEAN_RANGE[0], mean)))


def _estimate(near: Sequence[list[Any] | None]) -> list[Any] | None:
    known = [cell for cell in near if cell is not None]
    if not known:
        return None
    return [round(sum(cell[0] for cell in known) / len(known)), _ESTIMATE_STRENGTH, []]


def _type_mean(models: Mapping[str, Any], task: int) -> int:
    means = [int(entry["cells"][task][0]) for entry in models.values() if entry["cells"][task]]
    return round(sum(means) / len(means))


def capability_scores(table: Mapping[str, Any]) -> dict[str, dict[str, tuple[float, str, str]]]:
    """Family key -> capability -> (score 0-100, names of its benchmarks, URL of the first).

    Only what results measure directly. A score is the prior mean of the capability's task type
    in percent. Speed has no entry: no comparable published measurement was found.
    """
    benchmarks = read_benchmarks(table)
    fit = fit_abilities(benchmarks)
    lines = calibrate(fit, table)
    scores: dict[str, dict[str, tuple[float, str, str]]] = {}
    for model in fit.ability:
        for capability, task_type in CAPABILITY_TASKS.items():
            main = max(SKILLS[task_type], key=lambda skill: SKILLS[task_type][skill])
            if (model, main) in fit.results:
                used = [table["benchmarks"][key] for key in fit.results[model, main][:2]]
                mean = _permille(_mean(fit, lines, model, task_type)) / 10
                names = "; ".join(entry["name"] for entry in used)
                scores.setdefault(model, {})[capability] = (mean, names, used[0]["source"])
    return scores


def render(priors: Mapping[str, Any]) -> bytes:
    """JSON with one model a line, so that a rebuild shows what changed."""
    head = {key: value for key, value in priors.items() if key != "models"}
    lines = ",\n".join(
        f"{json.dumps(model)}:{json.dumps(entry, separators=(',', ':'))}"
        for model, entry in priors["models"].items()
    )
    text = json.dumps(head, separators=(",", ":"))
    return f'{text[:-1]},\n"models":{{\n{lines}\n}}}}\n'.encode()


def families_that_see(
    facts: Mapping[str, Any], families: Mapping[str, str], badges: Mapping[str, Any]
) -> frozenset[str]:
    """Family keys of the models with a vision badge in ``facts.toml`` or ``badges.toml``."""
    seeing = {m for m, entry in facts.items() if "vision" in entry.get("badges", ())}
    seeing.update(m for said in badges["said"] for m in said.get("vision", ()))
    keys = map(family_key, seeing)
    return frozenset(families.get(key, key) for key in keys)


def current() -> bytes:
    """The bytes that ``priors.json`` should hold."""
    table = tomllib.loads(TABLE.read_text("utf-8"))
    facts = tomllib.loads(FACTS.read_text("utf-8"))
    badges = tomllib.loads(BADGES.read_text("utf-8"))
    seeing = families_that_see(facts, table["families"], badges)
    return render(build_priors(table, seeing, known_sizes(table, facts)))


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.priors")
    parser.add_argument("--check", action="store_true", help="write nothing, fail on a difference")
    data = current()
    if not parser.parse_args(argv).check:
        PRIORS.write_bytes(data)
    elif not PRIORS.is_file() or PRIORS.read_bytes() != data:
        sys.stderr.write(f"{PRIORS.name} is not what {TABLE.name} gives: run this again\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
