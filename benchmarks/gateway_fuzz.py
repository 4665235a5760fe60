"""Fuzz the whole gateway for long: odd requests of real clients, odd answers of providers.

    python -m benchmarks.gateway_fuzz [ROUNDS [SEED]]

Prints what went wrong: a 500, a hang of 30 s, a stream that ends without a word. Ends with 1 if
anything did.
"""

import sys
import tempfile
from pathlib import Path

from tests.fuzz import run


def main(given: list[str]) -> int:
    rounds = int(given[0]) if given else 2_000
    seed = int(given[1]) if len(given) > 1 else 1
    with tempfile.TemporaryDirectory() as home:
        for name in ("requests", "answers"):
            (Path(home) / name).mkdir()
        faults = run(Path(home), rounds, seed)
    for fault in faults:
        sys.stdout.write(f"{fault}\n")
    sys.stdout.write(f"{2 * rounds} rounds, seed {seed}: {len(faults)} wrong\n")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
