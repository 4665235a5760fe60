"""Rules: what the surroundings and the form of a request say about its type."""

from collections.abc import Sequence

from omni_cli.domain.features import Form
from omni_cli.domain.tasks import TASK_TYPES, Signals

_BY_INTENT = {
    "translate": {"translation": 4.0},
    "summarize": {"summarization": 3.0},
    "extract": {"extraction": 1.6},
    "write": {"writing": 1.6},
    "code": {"coding": 1.5},
    "debug": {"debugging": 1.4},
    "math": {"math": 1.4},
    "reason": {"reasoning": 1.5},
    "analyse": {"analysis": 1.6},
    "research": {"research": 1.3},
    "image": {"image": 1.8},
    "agent": {"agent_step": 0.6},
    "explain": {"chat": 0.8},
    "converse": {"chat": 0.7},
}


def evidence(signals: Signals, shape: Form, found: Sequence[str]) -> dict[str, float]:
    """Log-odds by type, over all TASK_TYPES; chat leads where nothing speaks."""
    score = dict.fromkeys(TASK_TYPES, 0.0)
    score["chat"] = 1.0
    for i, intent in enumerate(found[:12]):
        for task, weight in _BY_INTENT[intent].items():
            score[task] += weight if i < 3 else weight / 3
    if shape.fences or shape.code >= 2:
        score["coding"] += 1.2
    if shape.trace:
        score["debugging"] += 1.5
    if shape.latex:
        score["math"] += 1.8
    if shape.mathy >= 2:
        score["math"] += 0.8
    if shape.schema or signals.tools:
        score["agent_step"] += 3.5
    if "image" in signals.attachments:
        score["image"] += 3.5
    return score
