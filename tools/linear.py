"""The type model's training: softmax regression over hashed features, by plain SGD.

Several trainings that differ in nothing but chance (the order of the rows, the features left out)
are averaged: the mean of linear models is one of the same size. Chance comes from fixed seeds, and
every row is one gather, one 13-vector and one scatter in float64, so that the same rows give the
same weights to the byte.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from omni_cli.domain.classify import OFFSET, TypeModel
from omni_cli.domain.features import BUCKETS, extract
from omni_cli.domain.tasks import TASK_TYPES, Signals

FACTS_SCALE = 0.25
EPOCHS = 12
RATE = 0.5
#: Trainings of which the weights are the mean.
MEMBERS = 8
#: Of 256 features of a row so many are left out at each visit, so that no type hangs on one word;
#: and the share of a label that is spread over all types, as sources do not agree on them.
LEFT_OUT = 102
SPREAD = 0.1
#: Our own prompts count three times, benchmark questions labelled by their source little: they
#: are many and alike.
WEIGHT = {"seed": 3.0, "benchmark": 0.15, "labelled": 1.0}

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Encoded:
    """One row: ``buckets`` and ``values`` of equal length."""

    buckets: Ints
    values: Floats


@dataclass(frozen=True, slots=True)
class Fitted:
    """``weights``: BUCKETS x types; ``bias``: types."""

    weights: Floats
    bias: Floats


def signals_of(row: dict[str, Any]) -> Signals:
    return Signals(
        text=row["prompt"],
        system=row.get("system", ""),
        earlier=(row["earlier"],) if row.get("earlier") else (),
        tools=tuple(row.get("tools", ())),
        attachments=tuple(row.get("attachments", ())),
    )


def encode(row: dict[str, Any]) -> Encoded:
    found = extract(signals_of(row))
    spoken = 1 / math.sqrt(len(found.spoken))
    values = [FACTS_SCALE] * len(found.facts) + [spoken] * len(found.spoken)
    # Sorted: some features come from sets, whose order is another in each process.
    pairs = sorted(zip(found.facts + found.spoken, values, strict=True))
    return Encoded(np.array([b for b, _ in pairs]), np.array([v for _, v in pairs]))


def softmax(scores: Floats) -> Floats:
    raised = np.exp(scores - scores.max())
    return np.asarray(raised / raised.sum())


def fit(rows: Sequence[Encoded], labels: Sequence[str], weights: Sequence[float]) -> Fitted:
    """Weighted softmax regression; ``rows``, ``labels``, ``weights`` of equal length."""
    members = [_member(rows, labels, weights, 2 * i) for i in range(MEMBERS)]
    return Fitted(
        np.asarray(sum(member.weights for member in members) / MEMBERS),
        np.asarray(sum(member.bias for member in members) / MEMBERS),
    )


def _member(
    rows: Sequence[Encoded], labels: Sequence[str], weights: Sequence[float], seed: int
) -> Fitted:
    table = np.zeros((BUCKETS, len(TASK_TYPES)))
    bias = np.zeros(len(TASK_TYPES))
    number = {task: i for i, task in enumerate(TASK_TYPES)}
    order = list(range(len(rows)))
    shuffler, dice = random.Random(seed), random.Random(seed + 1)
    for epoch in range(EPOCHS):
        shuffler.shuffle(order)
        rate = RATE * (1 - epoch / EPOCHS) + 0.02
        for i in order:
            thrown = np.frombuffer(dice.randbytes(len(rows[i].buckets)), np.uint8)
            buckets = rows[i].buckets[thrown >= LEFT_OUT]
            values = rows[i].values[thrown >= LEFT_OUT] * (256 / (256 - LEFT_OUT))
            gradient = softmax(bias + values @ table[buckets]) - SPREAD / len(TASK_TYPES)
            gradient[number[labels[i]]] -= 1 - SPREAD
            gradient *= weights[i]
            np.subtract.at(table, buckets, rate * values[:, None] * gradient)
            bias -= 0.02 * rate * gradient
    return Fitted(table, bias)


def scores(model: Fitted, row: Encoded) -> Floats:
    return np.asarray(model.bias + row.values @ model.weights[row.buckets])


def log_loss(all_scores: Sequence[Floats], labels: Sequence[int], temperature: float) -> float:
    losses = [
        -math.log(max(softmax(s / temperature)[y], 1e-12))
        for s, y in zip(all_scores, labels, strict=True)
    ]
    return sum(losses) / len(losses)


def best_temperature(all_scores: Sequence[Floats], labels: Sequence[int]) -> float:
    """The temperature of least log loss, to 0.05."""
    grid = [0.5 + 0.05 * i for i in range(71)]
    return min(grid, key=lambda t: log_loss(all_scores, labels, t))


def quantised(model: Fitted, temperature: float) -> TypeModel:
    """int8 columns of one step for all; the temperature goes into step and bias."""
    top = float(np.abs(model.weights).max())
    step = top / 127
    whole = np.rint(model.weights / step).astype(np.int64) + OFFSET
    columns = tuple(whole[:, i].astype(np.uint8).tobytes() for i in range(len(TASK_TYPES)))
    bias = tuple(round(float(b) / temperature, 6) for b in model.bias)
    return TypeModel(round(step / temperature, 9), FACTS_SCALE, bias, columns)


def expected_calibration_error(
    confidence: Sequence[float], right: Sequence[bool], bins: int = 10
) -> float:
    """Mean gap between stated confidence and hit rate over equally wide bins, by their size."""
    gap = 0.0
    for i in range(bins):
        inside = [
            (c, r)
            for c, r in zip(confidence, right, strict=True)
            if i / bins < c <= (i + 1) / bins or (i == 0 and c == 0)
        ]
        gap += abs(sum(c for c, _ in inside) - sum(r for _, r in inside))
    return gap / max(1, len(confidence))
