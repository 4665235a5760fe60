"""What kind of job a prompt is, how hard, and what its caller prefers: cost, speed, quality."""

from collections.abc import Mapping
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


#: Task types (requirement B1), in a fixed order.
TASK_TYPES: tuple[str, ...] = (
    "chat",
    "coding",
    "debugging",
    "reasoning",
    "math",
    "analysis",
    "research",
    "writing",
    "summarization",
    "translation",
    "extraction",
    "image",
    "agent_step",
)
Complexity = Literal["low", "medium", "high"]
COMPLEXITIES: tuple[Complexity, ...] = ("low", "medium", "high")


class Signals(Struct, frozen=True):
    """What the classifier reads of a request.

    ``text``: the last user turn. ``system``: the system prompt. ``earlier``: the user's earlier
    turns, newest first. ``tools``: names of offered tools. ``attachments``: kinds
    ("image", "audio", "document") or file suffixes (".py"). ``turns``: messages so far.
    """

    text: str
    system: str = ""
    earlier: tuple[str, ...] = ()
    tools: tuple[str, ...] = ()
    attachments: tuple[str, ...] = ()
    turns: int = 1


class TaskEstimate(Struct, frozen=True):
    """``probabilities`` by task type, summing to 1. ``difficulty`` in 0..1.

    ``task_type`` is the likeliest type. ``sure`` is False where the two likeliest are too close
    to tell: the caller then mixes by the probabilities. ``form`` is the prompt's outward shape
    (see ``features.form_of``): with the type it names a finer cell of a quality table.
    """

    task_type: str
    probabilities: Mapping[str, float]
    complexity: Complexity
    difficulty: float
    sure: bool = True
    form: str = "open short"
