"""Measure routing on labelled outcomes: the user's own file, a public benchmark, the ledger.

A table of quality by (task type, form) and model is filled from four fifths of the rows and asked
about the last fifth, five times over: in domain for the models' outcomes, and said so. The
classifier is the shipped one.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from omni_cli.domain.classify import classify
from omni_cli.domain.document import document
from omni_cli.domain.errors import UsageError
from omni_cli.domain.optimize import Option, Outcome, Past, Setting, banded, frontier, settings
from omni_cli.domain.optimize import replay as replay_past
from omni_cli.domain.routing_eval import (
    LadderReport,
    TypeReport,
    cross_fitted,
    fold_of,
    label_for,
    ladder_report,
    pair_curve,
    type_report,
)
from omni_cli.domain.statistics import Band, band, redrawn
from omni_cli.domain.tasks import Signals, TaskEstimate, Weights
from omni_cli.repositories import Learning, Ledger
from omni_cli.services.engine.decisions import read_decision
from omni_cli.services.judge.optimize import MOST, bands_document, evenly, setting_values

FOLDS = 5
#: Weight of difficulty against the table's expected gap: it breaks ties between like cells.
TIE_BREAK = 0.1
SHARES = (1.0, 0.99, 0.98, 0.95, 0.90)
#: The router's setting where nobody chose another.
TODAY = Setting("balanced", Weights())
#: Costs are in any one unit; replays count in whole billionths of it.
NUSD = 1_000_000_000


class Labelled(Struct, frozen=True):
    """One prompt with what is known of it. ``quality``: 0..1 by model; ``cost``: by model, in
    any one unit, None where unknown; ``task``: its true type, None where unlabelled."""

    id: str
    prompt: str
    quality: Mapping[str, float]
    cost: Mapping[str, float] | None
    task: str | None


class Measured(Struct, frozen=True):
    """A setting of the router on labelled rows: what it was expected to give (``outcome``), and the
    mean quality that the rows' labels say it gave, with its band."""

    outcome: Outcome
    quality: float
    band: Band


class RouterReport(Struct, frozen=True):
    """``ladder``: the table by type and form; ``by_type``: by type alone; ``length`` and
    ``apgr``: area under the recovered gap between ``weak`` and ``strong`` when ordered by prompt
    length and by the table. ``settings``: the router's own frontier on these rows, and
    ``predicted`` the quality that it expects, rows x models. Parts that the rows cannot tell are
    None.
    """

    name: str
    rows: int
    models: tuple[str, ...]
    types: TypeReport | None
    ladder: LadderReport | None = None
    by_type: LadderReport | None = None
    weak: str | None = None
    strong: str | None = None
    apgr: float | None = None
    apgr_by_type: float | None = None
    apgr_length: float | None = None
    settings: tuple[Measured, ...] = ()
    predicted: Sequence[Sequence[float]] = ()


def read_row(data: Mapping[str, Any], models: Sequence[str], place: str) -> Labelled:
    """A line in either form: ``scores``/``costs`` by model name, or ``s``/``c`` in the order of
    ``models``. Raises UsageError naming ``place``."""
    prompt = data.get("prompt")
    if not isinstance(prompt, str):
        raise UsageError(f'{place}: needs a "prompt"')
    scores, costs = data.get("scores", data.get("s")), data.get("costs", data.get("c"))
    try:
        quality = _by_model(scores, models)
        cost = None if costs is None else _by_model(costs, models)
    except (TypeError, ValueError) as exc:
        raise UsageError(
            f"{place}: scores and costs are numbers by model",
            hint='{"prompt": "...", "scores": {"gpt-4o": 1.0}, "costs": {"gpt-4o": 0.002}}',
        ) from exc
    task = data.get("type")
    return Labelled(str(data.get("id", place)), prompt, quality, cost, task)


def _by_model(values: Any, models: Sequence[str]) -> dict[str, float]:
    if values is None:
        return {}
    if isinstance(values, Mapping):
        return {str(name): float(value) for name, value in values.items()}
    return {name: float(value) for name, value in zip(models, values, strict=True)}


def evaluate(
    name: str,
    rows: Sequence[Labelled],
    *,
    pair: tuple[str, str] | None = None,
    prices: Mapping[str, float] | None = None,
) -> RouterReport:
    """Args:
    pair: (weak, strong) models for APGR; None takes the worst and the best on average.
    prices: cost of a call by model where the rows have none.

    Raises:
        UsageError: no rows, or models that are not in every row.
    """
    if not rows:
        raise UsageError(f"{name} holds no rows")
    estimates = [classify(Signals(row.prompt)) for row in rows]
    models = tuple(rows[0].quality)
    if any(tuple(row.quality) != models for row in rows):
        raise UsageError(f"{name}: every row needs scores of the same models, in one order")
    types = _types(rows, estimates)
    if len(models) < 2:
        return RouterReport(name, len(rows), models, types)
    quality = [[row.quality[model] for model in models] for row in rows]
    folds = [fold_of(row.prompt, FOLDS) for row in rows]
    chances = [estimate.probabilities for estimate in estimates]
    by_form = cross_fitted(chances, [estimate.form for estimate in estimates], quality, folds)
    by_type = cross_fitted(chances, ["any"] * len(rows), quality, folds)
    cost = _costs(rows, models, prices)
    means = [sum(row[k] for row in quality) / len(rows) for k in range(len(models))]
    weak, strong = pair or (models[means.index(min(means))], models[means.index(max(means))])
    for model in (weak, strong):
        if model not in models:
            raise UsageError(f"{name} has no scores of {model!r}", hint=", ".join(models))
    w, s = models.index(weak), models.index(strong)

    def apgr(hardness: Sequence[float]) -> float | None:
        nothing = [0.0] * len(rows)
        return pair_curve(
            [-h for h in hardness],
            [row[w] for row in quality],
            [row[s] for row in quality],
            nothing,
            nothing,
        ).apgr

    def gaps(predicted: Sequence[Sequence[float]]) -> list[float]:
        return [
            p[s] - p[w] + TIE_BREAK * e.difficulty
            for p, e in zip(predicted, estimates, strict=True)
        ]

    def ladder(predicted: Sequence[Sequence[float]]) -> LadderReport | None:
        if cost is None:
            return None
        named = [dict(zip(models, p, strict=True)) for p in predicted]
        return ladder_report(models, named, quality, cost, SHARES)

    return RouterReport(
        name=name,
        rows=len(rows),
        models=models,
        types=types,
        ladder=ladder(by_form),
        by_type=ladder(by_type),
        weak=weak,
        strong=strong,
        apgr=apgr(gaps(by_form)),
        apgr_by_type=apgr(gaps(by_type)),
        apgr_length=apgr([float(len(row.prompt)) for row in rows]),
        settings=() if cost is None else _settings(models, by_form, quality, cost, estimates),
        predicted=by_form,
    )


def _settings(
    models: Sequence[str],
    predicted: Sequence[Sequence[float]],
    quality: Sequence[Sequence[float]],
    cost: Sequence[Sequence[float]],
    estimates: Sequence[TaskEstimate],
) -> tuple[Measured, ...]:
    """The router's own settings on these rows, as ``omni optimize`` has them on the ledger's; of
    more than MOST rows as many, evenly. A model is expected to cost its mean."""
    kept = evenly(list(range(len(cost))), MOST)
    expected = [round(NUSD * sum(row[k] for row in cost) / len(cost)) for k in range(len(models))]
    past = [
        Past(
            estimates[i].task_type,
            estimates[i].complexity,
            tuple(
                Option(model, predicted[i][k], 0.0, expected[k], None, round(NUSD * cost[i][k]))
                for k, model in enumerate(models)
            ),
        )
        for i in kept
    ]
    base, *others = banded(replay_past(TODAY, past), [replay_past(one, past) for one in settings()])
    best = frontier([base, *others])
    found = []
    for outcome in best if base in best else (*best, base):
        seen = [
            quality[i][models.index(model)]
            for i, (model, _, _) in zip(kept, outcome.chosen, strict=True)
        ]
        found.append(
            Measured(outcome, sum(seen) / len(seen), band([row[0] for row in redrawn([seen])]))
        )
    return tuple(found)


def _settings_document(one: Measured) -> dict[str, Any]:
    """``cost`` of a call, in the rows' own unit."""
    outcome = one.outcome
    return {
        "settings": setting_values(outcome.setting),
        "cost": outcome.cost_nusd / NUSD / len(outcome.chosen),
        "expected_quality": round(outcome.quality, 4),
        "expected_quality_band": bands_document(outcome).get("expected_quality_band"),
        "measured_quality": round(one.quality, 4),
        "measured_quality_band": [round(one.band.low, 4), round(one.band.high, 4)],
    }


def _types(rows: Sequence[Labelled], estimates: Sequence[TaskEstimate]) -> TypeReport | None:
    labelled = [
        (row.task, estimate.task_type)
        for row, estimate in zip(rows, estimates, strict=True)
        if row.task
    ]
    if not labelled:
        return None
    gold = [task for task, _ in labelled]
    return type_report(gold, [label_for(found, task) for task, found in labelled])


def _costs(
    rows: Sequence[Labelled], models: Sequence[str], prices: Mapping[str, float] | None
) -> list[list[float]] | None:
    if all(row.cost is not None for row in rows):
        found = [[(row.cost or {})[model] for model in models] for row in rows]
    elif prices and all(prices.get(model) for model in models):
        found = [[prices[model] for model in models]] * len(rows)
    else:
        return None
    means = [sum(row[k] for row in found) for k in range(len(models))]
    return found if max(means) > min(means) else None


def _ladder(report: LadderReport | None) -> dict[str, Any] | None:
    if report is None:
        return None
    return {
        "aiq": round(report.aiq, 6),
        "single_aiq": round(report.single_aiq, 6),
        "best_model": report.best_model,
        "best_quality": round(report.best_quality, 6),
        "saved": {
            f"{share:g}": None if (s := report.saving_at(share)) is None else round(s, 6)
            for share in SHARES
        },
        "saved_band": {
            f"{share:g}": [None if end is None else round(end, 6) for end in ends]
            for share, ends in report.savings.items()
        },
        "frontier": [
            {
                "cost": point.cost,
                "cost_band": [point.costs.low, point.costs.high],
                "quality": round(point.quality, 6),
                "quality_band": [round(point.qualities.low, 6), round(point.qualities.high, 6)],
            }
            for point in report.frontier
        ],
    }


def report_document(report: RouterReport) -> dict[str, Any]:
    types = report.types
    return {
        **document(report, "name", "rows", "models"),
        "in_domain": True,
        "types": None
        if types is None
        else {
            "accuracy": round(types.accuracy, 6),
            "macro_f1": round(types.macro_f1, 6),
            "f1": {name: round(value, 6) for name, value in types.f1.items()},
        },
        **document(report, "weak", "strong", "apgr", "apgr_by_type", "apgr_length"),
        "by_type_and_form": _ladder(report.ladder),
        "by_type": _ladder(report.by_type),
        "settings": [_settings_document(one) for one in report.settings],
    }


class OwnModel(Struct, frozen=True):
    """How the quality that routing expected of a model compares with what the user saw."""

    model: str
    outcomes: int
    expected: float
    seen: float
    brier: float


def replay(outcomes: Sequence[tuple[str, float, float]]) -> list[OwnModel]:
    """The user's own ledger: (model, expected quality at the decision, outcome 0..1) by model."""
    grouped: dict[str, list[tuple[float, float]]] = {}
    for model, expected, seen in outcomes:
        grouped.setdefault(model, []).append((expected, seen))
    return [
        OwnModel(
            model,
            len(pairs),
            sum(e for e, _ in pairs) / len(pairs),
            sum(s for _, s in pairs) / len(pairs),
            sum((e - s) ** 2 for e, s in pairs) / len(pairs),
        )
        for model, pairs in sorted(grouped.items())
    ]


def own_outcomes(learning: Learning, ledger: Ledger) -> list[tuple[str, float, float]]:
    """What ``replay`` takes, of every answer that was rated and whose decision is kept."""
    found = []
    for request, model, value in learning.rated():
        text = ledger.decision(request)
        if text is None:
            continue
        found += [
            (model, candidate["quality"], value)
            for candidate in read_decision(text)["candidates"]
            if candidate["model"] == model and candidate["quality"] is not None
        ]
    return found


def own_document(row: OwnModel) -> dict[str, Any]:
    return {
        "model": row.model,
        "outcomes": row.outcomes,
        "expected_quality": round(row.expected, 4),
        "seen_quality": round(row.seen, 4),
        "brier": round(row.brier, 4),
    }


def score_line(
    row_id: str, candidates: Sequence[Mapping[str, Any]], estimate: Mapping[str, Any]
) -> dict[str, Any]:
    """One decision in the form that router benchmarks read: ``id``, ``type``, ``p_weak_ok`` (any
    number that rises with the chance that the cheapest model does) and ``q`` by model."""
    quality = {c["model"]: c["quality"] for c in candidates if c["quality"] is not None}
    priced = [c for c in candidates if c["eligible"] and c["expected_cost_usd"] is not None]
    easy = 1.0 - TIE_BREAK * float(estimate["difficulty"])
    if priced and quality:
        from decimal import Decimal

        cheapest = min(priced, key=lambda c: Decimal(c["expected_cost_usd"]))["model"]
        easy -= max(quality.values()) - quality.get(cheapest, 0.5)
    return {"id": row_id, "type": estimate["task_type"], "p_weak_ok": round(easy, 6), "q": quality}
