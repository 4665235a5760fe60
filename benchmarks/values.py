"""What a value costs as a dataclass and as a ``msgspec.Struct``: at start, and each time.

    python -m benchmarks.values [--classes 60] [--fields 6] [--runs 25]

Starts are whole processes taking turns, so that a busy moment of the machine falls on all alike;
the median of their processor times, as ratios to a bare interpreter. Both import what every
command imports before it makes a value (typer, datetime, decimal), so that only the difference is
seen.
"""

import argparse
import dataclasses
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import timeit
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

_BEFORE = "import typer, typer.core, datetime, decimal, uuid, collections.abc\n"
_HEAD = {
    "frozen dataclasses": "from dataclasses import dataclass\n",
    "structs": "import msgspec\n",
}
_CLASS = {
    "frozen dataclasses": "@dataclass(frozen=True, slots=True)\nclass V{n}:\n",
    "structs": "class V{n}(msgspec.Struct, frozen=True):\n",
}


def source(kind: str, classes: int, fields: int) -> str:
    """A module with that many classes; the last half of each one's fields has defaults."""
    lines = [_BEFORE]
    if kind in _HEAD:
        lines.append(_HEAD[kind])
        for n in range(classes):
            lines.append(_CLASS[kind].format(n=n))
            for i in range(fields):
                default = " = None" if i >= fields // 2 else ""
                lines.append(f"    field_{i}: int | None{default}\n")
    return "".join(lines)


def _spent_s() -> float:
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def starts(classes: int, fields: int, runs: int) -> dict[str, float]:
    """Milliseconds of the processor for a whole process, median, by what it makes."""
    with tempfile.TemporaryDirectory() as folder:
        commands = {"python -c pass": [sys.executable, "-c", "pass"]}
        for number, kind in enumerate(["imports only", *_HEAD]):
            (Path(folder) / f"m{number}.py").write_text(source(kind, classes, fields))
            commands[kind] = [sys.executable, "-c", f"import m{number}"]
        env = {**os.environ, "PYTHONPATH": folder, "PYTHONPYCACHEPREFIX": f"{folder}/pyc"}
        env.pop("PYTHONDONTWRITEBYTECODE", None)
        times: dict[str, list[float]] = {name: [] for name in commands}
        for turn in range(runs + 1):
            for name, command in commands.items():
                began = _spent_s()
                subprocess.run(command, env=env, check=True)
                if turn:  # the first one compiles, and fills the disk's cache
                    times[name].append(1000 * (_spent_s() - began))
    return {name: statistics.median(taken) for name, taken in times.items()}


@dataclasses.dataclass(frozen=True, slots=True)
class _Frozen:
    a: int
    b: int
    c: str
    d: str | None = None
    e: int = 0
    f: tuple[int, ...] = ()


@dataclasses.dataclass(slots=True, unsafe_hash=True)
class _Record:
    a: int
    b: int
    c: str
    d: str | None = None
    e: int = 0
    f: tuple[int, ...] = ()


class _Struct(msgspec.Struct, frozen=True):
    a: int
    b: int
    c: str
    d: str | None = None
    e: int = 0
    f: tuple[int, ...] = ()


def uses(kind: Any, replace: Callable[..., Any]) -> dict[str, float]:
    """Nanoseconds of each use of a value of six fields, best of five."""
    one, same = kind(1, 2, "c", "d"), kind(1, 2, "c", "d")
    whole: dict[str, Callable[[], object]] = {
        "make": lambda: kind(1, 2, "c", d="d"),
        "read": lambda: one.e,
        "equal": lambda: one == same,
        "hash": lambda: hash(one),
        "replace": lambda: replace(one, e=7),
    }
    return {
        name: min(timeit.repeat(use, number=20_000, repeat=5)) / 20_000 * 1e9
        for name, use in whole.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--classes", type=int, default=60)
    parser.add_argument("--fields", type=int, default=6)
    parser.add_argument("--runs", type=int, default=25)
    args = parser.parse_args()
    took = starts(args.classes, args.fields, args.runs)
    bare = took["python -c pass"]
    print(f"{args.classes} classes of {args.fields} fields, whole processes, to a bare interpreter")
    for name, ms in took.items():
        print(f"{name:<20} {ms:>7.1f} ms {ms / bare:>6.2f}x")
    rows = {
        "frozen dataclass": uses(_Frozen, dataclasses.replace),
        "unfrozen dataclass": uses(_Record, dataclasses.replace),
        "struct": uses(_Struct, msgspec.structs.replace),
    }
    print("\nnanoseconds each")
    print(f"{'':<20}" + "".join(f"{name:>9}" for name in rows["struct"]))
    for name, row in rows.items():
        print(f"{name:<20}" + "".join(f"{ns:>9.0f}" for ns in row.values()))


if __name__ == "__main__":
    main()
