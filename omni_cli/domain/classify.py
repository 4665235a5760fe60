"""Decide locally what kind of job a prompt is (B1): rules and a small linear model."""

import math

from omni_cli.domain.classify_rules import evidence
from omni_cli.domain.difficulty import complexity_of, difficulty_of
from omni_cli.domain.features import form, intents, opening, words
from omni_cli.domain.tasks import TASK_TYPES, Signals, TaskEstimate

#: The two likeliest types are closer than this: unsure.
SURE_MARGIN = 0.2


def classify(signals: Signals) -> TaskEstimate:
    """Estimate type, complexity and difficulty of a request; never fails, never blocks."""
    shape = form(signals.text)
    head = opening(signals)
    scores = evidence(signals, shape, intents(head, words(head)))
    top = max(scores.values())
    weights = {t: math.exp(scores[t] - top) for t in TASK_TYPES}
    total = sum(weights.values())
    probabilities = {t: weights[t] / total for t in TASK_TYPES}
    ranked = sorted(TASK_TYPES, key=lambda t: -probabilities[t])
    difficulty = difficulty_of(ranked[0], shape)
    return TaskEstimate(
        task_type=ranked[0],
        probabilities=probabilities,
        complexity=complexity_of(difficulty),
        difficulty=difficulty,
        sure=probabilities[ranked[0]] - probabilities[ranked[1]] >= SURE_MARGIN,
    )
