"""Decide locally what kind of job a prompt is, and how hard (B1): offline, under half a ms."""

import math
from operator import itemgetter

from omni_cli.domain.difficulty import complexity_of, difficulty_of
from omni_cli.domain.features import Features, extract, form_of
from omni_cli.domain.tasks import TASK_TYPES, Signals, TaskEstimate
from omni_cli.domain.weights import OFFSET, TypeModel, shipped

#: Unsure when the two likeliest types are closer than this. Below it the first is right less
#: than six times in ten on sources the model has not seen (docs/routing.md).
SURE_MARGIN = 0.25


def logits(model: TypeModel, features: Features) -> list[float]:
    """One calibrated logit per type, in TASK_TYPES order."""
    facts, spoken = itemgetter(*features.facts), itemgetter(*features.spoken)
    n_facts, n_spoken = len(features.facts) * OFFSET, len(features.spoken) * OFFSET
    by_fact = model.step * model.facts_scale
    by_word = model.step / math.sqrt(len(features.spoken))
    return [
        bias + by_fact * (sum(facts(column)) - n_facts) + by_word * (sum(spoken(column)) - n_spoken)
        for bias, column in zip(model.bias, model.columns, strict=True)
    ]


def probabilities_of(scores: list[float]) -> list[float]:
    """Softmax."""
    top = max(scores)
    raised = [math.exp(score - top) for score in scores]
    total = sum(raised)
    return [value / total for value in raised]


def classify(signals: Signals) -> TaskEstimate:
    """Estimate type, complexity and difficulty of a request; no text is too odd or too long."""
    features = extract(signals)
    chances = probabilities_of(logits(shipped(), features))
    ranked = sorted(range(len(TASK_TYPES)), key=lambda i: -chances[i])
    probabilities = dict(zip(TASK_TYPES, chances, strict=True))
    difficulty = difficulty_of(probabilities, features.shape)
    return TaskEstimate(
        task_type=TASK_TYPES[ranked[0]],
        probabilities=probabilities,
        complexity=complexity_of(difficulty),
        difficulty=difficulty,
        sure=chances[ranked[0]] - chances[ranked[1]] >= SURE_MARGIN,
        form=form_of(features.shape),
    )
