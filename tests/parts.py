"""Run the suite in parts, one more beside each other than there are cores: a part of gateways, or
of screens, waits for a third of its time.

    python -m tests.parts [options of pytest]
    python -m tests.parts --quick               unit tests, without those marked slow

The parts share nothing: each has its own folders, ports and pytest cache. The longest begin first,
and whoever is free takes the next.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

#: In the order of the processor's time that they take, longest first.
_APART = (
    "tests/integration/gateway",
    "tests/integration/cli",
    "tests/unit",
    "tests/property",
    "tests/pages",
    "tests/clients",
    "tests/snapshot",
)
_SCREENS = "tests/integration/test_tui*.py"
#: What pytest is given for each part; the second has whatever no other has.
PARTS: tuple[tuple[str, ...], ...] = (
    tuple(sorted(map(str, Path("tests/integration").glob("test_tui*.py")))),
    ("tests", *(f"--ignore={path}" for path in _APART), f"--ignore-glob={_SCREENS}"),
    *((path,) for path in _APART),
)
_GATEWAY = "tests/unit/gateway"
QUICK: tuple[tuple[str, ...], ...] = (
    (_GATEWAY, "-m", "not slow"),
    ("tests/unit", f"--ignore={_GATEWAY}", "-m", "not slow"),
)
#: pytest found no test to run, as where none of this part failed before.
_NONE = 5


def run(number: int, part: Sequence[str], options: Sequence[str]) -> int:
    """One part; what it says is shown when it is over, in one piece."""
    cache = f"cache_dir=.pytest_cache/part{number}"
    command = [sys.executable, "-m", "pytest", *part, "-o", cache, *options]
    with tempfile.TemporaryFile() as said:
        code = subprocess.run(command, stdout=said, stderr=said, check=False).returncode
        said.seek(0)
        os.write(1, f"== {part[0]}\n".encode() + said.read())
    return 0 if code == _NONE else code


def main(options: list[str]) -> int:
    """Returns 0 where all passed."""
    quick = "--quick" in options
    parts = QUICK if quick else PARTS
    given = [option for option in options if option != "--quick"]
    with ThreadPoolExecutor((os.cpu_count() or 1) + 1) as beside:
        numbers = range(len(parts))
        return max(beside.map(lambda n: run(n, parts[n], given), numbers))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
