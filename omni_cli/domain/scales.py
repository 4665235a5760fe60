"""The fixed scales on which the score formula takes cost and latency, 0 best.

Fixed: what a model scores does not depend on who else is in the fleet. Both grow with the
logarithm, because ten times as dear or as slow is the same step at any size, and flatten below
the least amount that anybody minds. Beyond the upper anchor they go on past 1, so that no two
amounts are taken for equal.
"""

from math import log1p

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
