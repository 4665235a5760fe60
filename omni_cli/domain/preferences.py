"""What a caller prefers: cost, speed, quality."""

from typing import Literal, get_args

from msgspec import Struct

Priority = Literal["cheap", "balanced", "best"]
Weekday = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
WEEKDAYS: tuple[Weekday, ...] = get_args(Weekday)
PRIORITIES: tuple[Priority, ...] = ("cheap", "balanced", "best")
LatencyPref = Literal["fast", "normal"]
LATENCY_PREFS: tuple[LatencyPref, ...] = ("fast", "normal")


class Weights(Struct, frozen=True):
    """The score formula's weights (requirement B3)."""

    cost: float = 0.4
    latency: float = 0.3
    task_match: float = 0.3


DEFAULT_WEIGHTS = Weights()
