"""How hard a prompt is: a small linear score led by length. It breaks ties, no more."""

import math

from omni_cli.domain.features import Form
from omni_cli.domain.tasks import Complexity

_TYPE = {
    "chat": -0.6,
    "translation": -0.5,
    "summarization": -0.3,
    "extraction": -0.3,
    "writing": -0.1,
    "image": -0.3,
    "math": 0.6,
    "reasoning": 0.7,
    "coding": 0.3,
    "debugging": 0.5,
    "research": 0.4,
    "analysis": 0.4,
    "agent_step": 0.2,
}
LOW, HIGH = 0.35, 0.65


def difficulty_of(task_type: str, shape: Form) -> float:
    """0..1, a logistic of log-length, type and a few signs of formal work."""
    score = 0.75 * (math.log(shape.length + 20) - 5.2) + _TYPE.get(task_type, 0.0)
    score += 0.3 * min(shape.latex, 2) / 2 + 0.2 * (shape.choices >= 3)
    return 1 / (1 + math.exp(-score))


def complexity_of(difficulty: float) -> Complexity:
    return "low" if difficulty < LOW else "high" if difficulty >= HIGH else "medium"
