"""What a caller prefers: cost, speed, quality."""

from dataclasses import dataclass
from typing import Literal

Priority = Literal["cheap", "balanced", "best"]
PRIORITIES: tuple[Priority, ...] = ("cheap", "balanced", "best")
LatencyPref = Literal["fast", "normal"]
LATENCY_PREFS: tuple[LatencyPref, ...] = ("fast", "normal")


@dataclass(frozen=True, slots=True)
class Weights:
    """The score formula's weights (requirement B3)."""

    cost: float = 0.4
    latency: float = 0.3
    task_match: float = 0.3


DEFAULT_WEIGHTS = Weights()
