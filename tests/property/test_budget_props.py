"""Random mixes of processes, costs, crashes, retries and clock jumps against budgets (C3).

The full run of 10,000 calls is ``python -m benchmarks.budget_stress``.
"""

from pathlib import Path

import pytest

from benchmarks.budget_stress import play


@pytest.mark.parametrize(("seed", "processes", "crash"), [(1, 4, 0.0), (2, 8, 0.1)])
def test_no_limit_is_passed_and_nothing_stays_reserved(
    tmp_path: Path, seed: int, processes: int, crash: float
) -> None:
    result = play(tmp_path, calls=60, processes=processes, seed=seed, batch=8, crash=crash)
    assert result.requests >= 60
    assert result.answered > 0
    # The mix has to press against the limits, and processes have to die, to prove anything.
    assert result.fullest_percent > 20
    if crash:
        assert result.lost > 0
