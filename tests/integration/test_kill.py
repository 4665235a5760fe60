"""kill -9 loses no request that a provider answered (F3).

The full run of 200 kills is ``python -m benchmarks.kill_test``.
"""

from pathlib import Path

from benchmarks.kill_test import play


def test_kill_at_random_moments_loses_nothing(tmp_path: Path) -> None:
    result = play(tmp_path / "omni", kills=10, processes=8, seed=2, time_box_s=25)
    assert result.kills > 0
    # Some must have died in the middle of an answer, or nothing was proved.
    assert result.answered > 0
    assert result.states.get("lost", 0) > 0
