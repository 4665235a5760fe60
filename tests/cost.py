"""What code costs by the processor's own count, as ratios within one run: a machine that others
load changes both sides, and no test asserts a time."""

import time
from collections.abc import Callable


def cpu_s(work: Callable[[], object], tries: int = 3) -> float:
    """The least of some tries, seconds of this process's CPU."""
    least = float("inf")
    for _ in range(tries):
        began = time.process_time()
        work()
        least = min(least, time.process_time() - began)
    return least
