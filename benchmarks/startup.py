"""Cold starts beside a bare interpreter and, where it is installed, ``llm --help`` (F1).

    python -m benchmarks.startup [--runs 25]

Whole processes, taking turns, so that a busy moment of the machine falls on all alike; the
median of the runs. The store exists and holds the demo's fleet.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from omni_cli.bootstrap import App
from omni_cli.domain.record import replace
from omni_cli.services.fleet.demo import DEMO
from omni_cli.simulator import fleet as scene

#: What the issue asks for on an idle machine, milliseconds.
LIMIT_MS = 150


def prepare(folder: Path) -> dict[str, str]:
    """A home with the demo's models active; returns the environment to find it.

    Modules are compiled, as an installation compiles them, whatever the environment says.
    """
    with App({"OMNI_HOME": str(folder)}) as app:
        for provider in scene.providers("http://127.0.0.1:9"):
            app.providers.put(replace(provider, auth_method="none", key_env=None))
        for model in DEMO.active:
            app.fleet.set_status(model, "active")
    env = {**os.environ, "OMNI_HOME": str(folder), "PYTHONPYCACHEPREFIX": str(folder / "pyc")}
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    return env


def once_ms(command: Sequence[str], env: Mapping[str, str]) -> float:
    began = time.perf_counter()
    subprocess.run(
        command,
        env=dict(env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=True,
    )
    return 1000 * (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=25)
    runs = parser.parse_args().runs
    omni = str(Path(sys.executable).with_name("omni"))
    commands = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "omni --help": [omni, "--help"],
        "omni models list": [omni, "models", "list"],
        'omni route "..."': [omni, "route", "Fix this bug: KeyError in f()"],
    }
    llm = shutil.which("llm")
    if llm is not None:
        commands["llm --help"] = [llm, "--help"]
    with tempfile.TemporaryDirectory() as folder:
        env = prepare(Path(folder))
        times: dict[str, list[float]] = {name: [] for name in commands}
        for turn in range(runs + 1):
            for name, command in commands.items():
                took = once_ms(command, env)
                if turn:  # the first one compiles, and fills the disk's cache
                    times[name].append(took)
    bare = statistics.median(times["python -c pass"])
    peer = statistics.median(times["llm --help"]) if llm else None
    print(f"{'command':<20} {'median':>9} {'best':>9} {'to bare':>8} {'to llm':>8}")
    for name, taken in times.items():
        median = statistics.median(taken)
        beside = f"{median / peer:>7.2f}x" if peer else f"{'-':>8}"
        print(f"{name:<20} {median:>6.0f} ms {min(taken):>6.0f} ms {median / bare:>7.1f}x {beside}")
    over = [n for n in times if n.startswith("omni") and statistics.median(times[n]) > LIMIT_MS]
    print(
        f"limit {LIMIT_MS} ms on an idle machine: {'over: ' + ', '.join(over) if over else 'kept'}"
    )
    if llm is None:
        print("llm is not installed, so there is nothing to compare with")


if __name__ == "__main__":
    main()
