"""How long a model is expected to take: what was measured, drawn towards what is like it.

A few measurements are drawn towards the model's other tasks, those towards its provider's other
models, and those towards a typical latency, each as if it were five calls. Of a model whose speed
is foreseen the provider's other models say nothing, and its calls are drawn towards a part of that.
Means are of logarithms: one call that hung for a minute does not outweigh ten quick ones.

And the fixed scales on which the score formula takes cost and latency, 0 best: what a model scores
does not depend on who else is in the fleet. Both grow with the logarithm, because ten times as dear
or as slow is the same step at any size, and flatten below the least amount that anybody minds.
Beyond the upper anchor they go on past 1, so that no two amounts are taken for equal.
"""

from collections.abc import Callable, Iterable
from math import exp, log, log1p
from typing import TYPE_CHECKING, Literal, TypeAlias

from msgspec import Struct

if TYPE_CHECKING:
    from decimal import Decimal

    from omni_cli.domain.models import ModelInfo

#: Costs of a call far below this (nano-dollars; $0.00001) hardly differ: 0 is free.
COST_LEAST_NUSD = 10_000.0
#: A call of one dollar is 1 on the scale.
COST_ONE_NUSD = 1_000_000_000.0
#: Waits far below this hardly differ, ms.
LATENCY_LEAST_MS = 250.0
#: Two minutes, the longest time limit of a call, are 1 on the scale.
LATENCY_ONE_MS = 120_000.0
#: What a latency is taken for before anything was measured: short, so that nobody stays
#: unmeasured for being unmeasured, and no more than a dear model's few measurements can beat.
TYPICAL_LATENCY_MS = 1_500.0

_COST_SPAN = log1p(COST_ONE_NUSD / COST_LEAST_NUSD)
_LATENCY_SPAN = log1p(LATENCY_ONE_MS / LATENCY_LEAST_MS)


def cost_norm(cost_nusd: int | None) -> float:
    """0 for nothing, 1 for a dollar a call; an unknown cost counts as a dollar."""
    return 1.0 if cost_nusd is None else log1p(cost_nusd / COST_LEAST_NUSD) / _COST_SPAN


def latency_norm(latency_ms: float | None) -> float:
    """0 for at once, 1 for two minutes; None counts as TYPICAL_LATENCY_MS."""
    waited = TYPICAL_LATENCY_MS if latency_ms is None else latency_ms
    return log1p(waited / LATENCY_LEAST_MS) / _LATENCY_SPAN


#: Calls that the next wider circle counts for.
PRIOR_CALLS = 5.0
#: A model's calls at one task count for at most so many towards its neighbours.
_MOST_CALLS = 20.0

#: And where only the class of a model speaks for its speed: measured values soon outweigh that.
CLASS_CALLS = 2.0

Basis = Literal["measured", "estimated", "published", "by its class", "not measured"]


class Speed(Struct, frozen=True):
    """What is foreseen of a model. ``calls``: how many measured ones it counts for. ``source``: who
    published it, or what it was concluded from."""

    ttft_ms: float
    tokens_s: float
    calls: float
    basis: Basis
    source: str

    def latency_ms(self, output_tokens: int) -> float:
        """Until the last token of an answer of this length."""
        return self.ttft_ms + 1000.0 * output_tokens / self.tokens_s

    @property
    def words(self) -> str:
        """The figures with what they rest on; those that nobody published are marked."""
        sure = "" if self.basis == "published" else "~"
        return (
            f"{sure}{self.tokens_s:.0f} tokens a second, the first after "
            f"{sure}{self.ttft_ms / 1000:.1f} s ({self.basis}: {self.source})"
        )


#: How fast a model is before anything was measured, by what 1M of its output tokens cost in US
#: dollars (None: unknown); None: nothing can be said.
SpeedOf: TypeAlias = "Callable[[ModelInfo, Decimal | None], Speed | None]"


#: What is foreseen counts for so much of itself in a score: who was never measured must be tried
#: before its slowness is known. A usual answer is taken for about a typical latency then.
HOPE = 0.125


def weighed_ms(latency_ms: float | None, basis: str) -> float | None:
    """What a latency counts for in a score."""
    hoped = latency_ms is not None and basis in ("published", "by its class")
    return latency_ms * HOPE if latency_ms is not None and hoped else latency_ms


class Foreseen(Struct, frozen=True):
    """A latency before anything was measured, and how many calls it counts for."""

    ms: float
    calls: float
    basis: Basis


_NOTHING = Foreseen(TYPICAL_LATENCY_MS / HOPE, PRIOR_CALLS, "not measured")


class Expected(Struct, frozen=True):
    """``ms`` None: nothing is known. ``calls``: of this model at this task."""

    ms: float | None
    basis: Basis
    calls: int = 0


UNKNOWN = Expected(None, "not measured")


class _Sum:
    """Weighted logarithms of how much longer calls took than was foreseen."""

    __slots__ = ("calls", "logs")

    def __init__(self) -> None:
        self.calls = 0.0
        self.logs = 0.0

    def add(self, longer: float, calls: float) -> None:
        self.calls += calls
        self.logs += calls * longer


class Latencies:
    """Args:
    measured: (model id, task, mean latency in ms, calls >= 1) of whatever was measured.
    foreseen: of a model at a task, before anything was measured; None: nothing.
    """

    def __init__(
        self,
        measured: Iterable[tuple[str, str, float, int]],
        foreseen: Callable[[str, str], Foreseen | None] = lambda _model, _task: None,
    ) -> None:
        self._foreseen = foreseen
        self._cells: dict[tuple[str, str], tuple[float, int]] = {}
        self._models: dict[str, _Sum] = {}
        self._providers: dict[str, _Sum] = {}
        self._found: dict[tuple[str, str], Expected] = {}
        for model, task, latency_ms, calls in measured:
            start = foreseen(model, task) or _NOTHING
            longer = log(max(1.0, latency_ms) / (HOPE * start.ms))
            self._cells[model, task] = (longer, calls)
            weight = min(float(calls), _MOST_CALLS)
            self._models.setdefault(model, _Sum()).add(longer, weight)
            self._providers.setdefault(model.partition("/")[0], _Sum()).add(longer, weight)

    def of(self, model: str, task: str) -> Expected:
        """What to expect of a model at a task."""
        found = self._found.get((model, task))
        if found is None:
            found = self._found[model, task] = self._work_out(model, task)
        return found

    def _work_out(self, model: str, task: str) -> Expected:
        start = self._foreseen(model, task)
        mine = self._models.get(model)
        longer = 0.0
        if start is not None and mine is None:
            return Expected(start.ms, start.basis)
        if start is None:
            provider = self._providers.get(model.partition("/")[0])
            if provider is None:
                return UNKNOWN
            start, mine = _NOTHING, mine or _Sum()
            # Each circle without the one inside it: nothing counts twice.
            others = provider.logs - mine.logs, provider.calls - mine.calls
            longer = _drawn(*others, longer, start.calls)
        mine = mine or _Sum()
        here, calls = self._cells.get((model, task), (0.0, 0))
        weight = min(float(calls), _MOST_CALLS)
        longer = _drawn(mine.logs - weight * here, mine.calls - weight, longer, start.calls)
        longer = _drawn(calls * here, float(calls), longer, start.calls)
        ms = HOPE * start.ms * exp(longer)
        return Expected(ms, "measured" if calls else "estimated", calls)


def _drawn(logs: float, calls: float, towards: float, strength: float) -> float:
    return (logs + strength * towards) / (max(calls, 0.0) + strength)
