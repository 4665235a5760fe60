"""Run the suite in two processes beside each other, halves of about the same length.

    python -m tests.halves [options of pytest]

The halves share nothing: each has its own folders, ports and pytest cache.
"""

import subprocess
import sys
import tempfile

_FIRST = ("tests/clients", "tests/integration/cli", "tests/integration/gateway")
HALVES = (_FIRST, ("tests", *(f"--ignore={path}" for path in _FIRST)))
#: pytest found no test to run, as where none of this half failed before.
_NONE = 5


def main(options: list[str]) -> int:
    """Returns 0 where both passed. The second half's output follows the first's."""
    with tempfile.TemporaryFile("w+") as later:
        runs = []
        for number, half in enumerate(HALVES):
            cache = f"cache_dir=.pytest_cache/half{number}"
            command = [sys.executable, "-m", "pytest", *half, "-o", cache, *options]
            shown = None if number == 0 else later
            runs.append(subprocess.Popen(command, stdout=shown, stderr=shown))
        codes = [run.wait() for run in runs]
        later.seek(0)
        sys.stdout.write(later.read())
    return max(0 if code == _NONE else code for code in codes)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
