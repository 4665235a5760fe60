"""How long the type classifier takes: loading its weights, and one prompt of several lengths.

python -m benchmarks.classify_speed
"""

import statistics
import time
from pathlib import Path

from omni_cli.domain.classify import PATH, classify, from_bytes
from omni_cli.domain.tasks import Signals

ROUNDS = 500
TEXT = (Path(__file__).parents[1] / "docs" / "routing.md").read_text(encoding="utf-8") * 40


def main() -> None:
    start = time.perf_counter()
    from_bytes(PATH.read_bytes())
    print(f"load {1e3 * (time.perf_counter() - start):.2f} ms")
    for length in (100, 2_000, 200_000):
        signals, taken = Signals(TEXT[:length]), []
        for _ in range(ROUNDS):
            start = time.perf_counter()
            classify(signals)
            taken.append(1e3 * (time.perf_counter() - start))
        p99 = statistics.quantiles(taken, n=100)[98]
        print(f"{length:7d} characters: median {statistics.median(taken):.3f} ms, p99 {p99:.3f} ms")


if __name__ == "__main__":
    main()
