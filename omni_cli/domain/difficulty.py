"""How hard a prompt is: a small linear score led by length. It breaks ties, no more.

What was measured (docs/routing.md): on questions of one subject, no score from the text alone
tells hard from easy much better than its length does.
"""

import math
from collections.abc import Mapping

from omni_cli.domain.features import Form
from omni_cli.domain.tasks import Complexity

#: What a type adds to the score, in logits, mixed by the type probabilities.
BY_TYPE: Mapping[str, float] = {
    "chat": -0.45,
    "translation": -0.4,
    "summarization": -0.2,
    "extraction": -0.2,
    "writing": -0.1,
    "image": -0.25,
    "math": 0.3,
    "reasoning": 0.35,
    "coding": 0.15,
    "debugging": 0.25,
    "research": 0.2,
    "analysis": 0.2,
    "agent_step": 0.1,
}
#: Weight of the natural logarithm of the length in characters, and the length that counts zero.
BY_LENGTH, TYPICAL = 0.75, math.exp(5.2)
#: Complexity is low below the first, high from the second on.
LOW, HIGH = 0.24, 0.5


def difficulty_of(probabilities: Mapping[str, float], shape: Form) -> float:
    """0..1: logistic in log-length and the mixed type.

    Signs of formal work (LaTeX, answer options) were tried and made the order worse.
    """
    score = BY_LENGTH * math.log((shape.length + 20) / TYPICAL)
    score += sum(BY_TYPE[task] * chance for task, chance in probabilities.items())
    return 1 / (1 + math.exp(-score))


def complexity_of(difficulty: float) -> Complexity:
    """The coarse word for a difficulty in 0..1."""
    return "low" if difficulty < LOW else "high" if difficulty >= HIGH else "medium"
