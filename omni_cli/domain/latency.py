"""How long a model is expected to take: what was measured, drawn towards what is like it.

A few measurements are drawn towards the model's other tasks, those towards its provider's other
models, and those towards a typical latency, each as if it were five calls. Means are of
logarithms: one call that hung for a minute does not outweigh ten quick ones.

And the fixed scales on which the score formula takes cost and latency, 0 best: what a model scores
does not depend on who else is in the fleet. Both grow with the logarithm, because ten times as dear
or as slow is the same step at any size, and flatten below the least amount that anybody minds.
Beyond the upper anchor they go on past 1, so that no two amounts are taken for equal.
"""

from collections.abc import Iterable
from math import exp, log, log1p
from typing import Literal, NamedTuple

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

Basis = Literal["measured", "estimated", "not measured"]


class Expected(NamedTuple):
    """``ms`` None: nothing is known. ``calls``: of this model at this task."""

    ms: float | None
    basis: Basis
    calls: int = 0


UNKNOWN = Expected(None, "not measured")


class _Sum:
    """Weighted logarithms of latencies."""

    __slots__ = ("calls", "logs")

    def __init__(self) -> None:
        self.calls = 0.0
        self.logs = 0.0

    def add(self, latency_ms: float, calls: float) -> None:
        self.calls += calls
        self.logs += calls * log(latency_ms)


class Latencies:
    """Args:
    measured: (model id, task, mean latency in ms, calls >= 1) of whatever was measured.
    """

    def __init__(self, measured: Iterable[tuple[str, str, float, int]]) -> None:
        self._cells: dict[tuple[str, str], tuple[float, int]] = {}
        self._models: dict[str, _Sum] = {}
        self._providers: dict[str, _Sum] = {}
        self._found: dict[tuple[str, str], Expected] = {}
        for model, task, latency_ms, calls in measured:
            shown = max(1.0, latency_ms)
            self._cells[model, task] = (shown, calls)
            weight = min(float(calls), _MOST_CALLS)
            self._models.setdefault(model, _Sum()).add(shown, weight)
            self._providers.setdefault(model.partition("/")[0], _Sum()).add(shown, weight)

    def of(self, model: str, task: str) -> Expected:
        """What to expect of a model at a task."""
        found = self._found.get((model, task))
        if found is None:
            found = self._found[model, task] = self._work_out(model, task)
        return found

    def _work_out(self, model: str, task: str) -> Expected:
        provider = self._providers.get(model.partition("/")[0])
        if provider is None:
            return UNKNOWN
        mine = self._models.get(model) or _Sum()
        here_ms, calls = self._cells.get((model, task), (1.0, 0))
        here_logs = log(here_ms)
        weight = min(float(calls), _MOST_CALLS)
        # Each circle without the one inside it: nothing counts twice.
        mean = log(TYPICAL_LATENCY_MS)
        mean = _drawn(provider.logs - mine.logs, provider.calls - mine.calls, mean)
        mean = _drawn(mine.logs - weight * here_logs, mine.calls - weight, mean)
        mean = _drawn(calls * here_logs, float(calls), mean)
        return Expected(exp(mean), "measured" if calls else "estimated", calls)


def _drawn(logs: float, calls: float, towards: float) -> float:
    return (logs + PRIOR_CALLS * towards) / (max(calls, 0.0) + PRIOR_CALLS)
