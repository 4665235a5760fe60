"""kill -9 of ``omni chat`` at random moments, many processes at once (F3).

    python -m benchmarks.kill_test [--kills 200] [--processes 8] [--seed 1]

A simulator answers at a set speed; chats are started and killed at a random moment of their
lives. Afterwards: the store passes its integrity check, every attempt that the simulator
answered is in the ledger (found by the ``x-omni-attempt`` header that it came with), and the
next command has closed all that was left open.
"""

import argparse
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from omni_cli.bootstrap import App
from omni_cli.domain.budgets import Budget
from omni_cli.domain.ids import id_text, parse_id
from omni_cli.domain.record import replace
from omni_cli.simulator import Simulator
from omni_cli.simulator import fleet as scene

MODEL = "openai/gpt-4o-mini"
_ATTEMPTS = "SELECT request, n, state FROM attempts"
_UNDER_WAY = "SELECT id, 1, 'sent' FROM open_calls WHERE provider IS NOT NULL"
#: Kills fall evenly into these shares of the time that a chat takes when as many run at once.
_MOMENTS = (0.3, 1.1)


@dataclass(frozen=True)
class Result:
    """``answered``: attempts whose answer began; ``states``: attempts in the ledger by state."""

    kills: int
    survived: int
    answered: int
    requests: int
    states: Mapping[str, int]
    seconds: float


def prepare(folder: Path, sim: Simulator) -> dict[str, str]:
    """A home whose fleet is on ``sim``, under a budget; returns the environment to find it."""
    env = {"OMNI_HOME": str(folder), "USER": "tester"}
    with App(env) as app:
        for provider in scene.providers(sim.url):
            app.providers.put(
                replace(provider, auth_method="none", key_env=None, max_concurrency=32)
            )
        app.fleet.set_status(MODEL, "active")
        app.budgets.put(Budget(0, "all", "", "day", 10**12))
    return {**os.environ, **env}


def play(folder: Path, *, kills: int, processes: int, seed: int, time_box_s: float) -> Result:
    """Kill so many chats, or as many as fit into the time; then check. Raises AssertionError."""
    rng = random.Random(seed)
    began = time.monotonic()
    with Simulator(seed=seed, tokens_per_second=60) as sim:
        env = prepare(folder, sim)
        life_s = _life(env, processes)
        running: list[tuple[subprocess.Popen[bytes], float]] = []
        killed = survived = asked = 0
        while killed < kills and time.monotonic() - began < time_box_s:
            while len(running) < processes:
                moment = life_s * rng.uniform(*_MOMENTS)
                running.append((_chat(env, asked), time.monotonic() + moment))
                asked += 1
            for entry in list(running):
                process, until = entry
                if process.poll() is None and time.monotonic() < until:
                    continue
                if process.poll() is None:
                    process.send_signal(signal.SIGKILL)
                process.wait()
                killed += process.returncode == -signal.SIGKILL
                survived += process.returncode == 0
                assert process.returncode in (0, -signal.SIGKILL), process.returncode
                running.remove(entry)
            time.sleep(0.004)
        for process, _ in running:
            process.kill()
            process.wait()
            killed += 1
        answered = check(folder, sim)
    db = sqlite3.connect(folder / "omni.db")
    states = Counter(state for (state,) in db.execute("SELECT state FROM attempts"))
    (requests,) = db.execute("SELECT count(*) FROM requests").fetchone()
    db.close()
    seconds = time.monotonic() - began
    return Result(killed, survived, answered, requests, states, seconds)


def _life(env: Mapping[str, str], processes: int) -> float:
    """Seconds that a chat takes when so many run at once, all of them to their end."""
    began = time.monotonic()
    first = [_chat(env, -n) for n in range(1, processes + 1)]
    assert [process.wait() for process in first] == [0] * processes
    return time.monotonic() - began


def _chat(env: Mapping[str, str], number: int) -> "subprocess.Popen[bytes]":
    words = f"Say something long about the number {number}"
    return subprocess.Popen(
        [sys.executable, "-m", "omni_cli", "chat", "-m", MODEL, words],
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def check(folder: Path, sim: Simulator) -> int:
    """How many attempts the simulator began to answer; all are in the ledger and closed."""
    db = sqlite3.connect(folder / "omni.db")
    assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert db.execute("PRAGMA foreign_key_check").fetchall() == []
    entries = sim.answered()
    names = [entry["attempt"] for entry in entries]
    assert all(name is not None and parse_id(name.partition("-")[0]) for name in names)
    # A call under way has one row, which whoever settles it makes two of.
    _check_known(db, names, f"{_ATTEMPTS} UNION ALL {_UNDER_WAY}")
    with App({"OMNI_HOME": str(folder), "USER": "tester"}) as app:
        app.recovery.run()
        assert app.ledger.abandoned() == []
    _check_known(db, names, _ATTEMPTS)
    (pending,) = db.execute("SELECT count(*) FROM requests WHERE state = 'pending'").fetchone()
    (still,) = db.execute(
        "SELECT count(*) FROM attempts WHERE state IN ('planned', 'sent')"
    ).fetchone()
    (unseen,) = db.execute("SELECT coalesce(sum(held_nusd), 0) FROM attempts").fetchone()
    (held,) = db.execute("SELECT coalesce(sum(reserved_nusd), 0) FROM budget_periods").fetchone()
    # What was killed may have cost more than is known: that much, and no more, stays held.
    assert (pending, still, held) == (0, 0, unseen)
    sums = [
        db.execute(f"SELECT coalesce(sum({column}), 0) FROM {table}").fetchone()[0]
        for column, table in (
            ("cost_nusd", "attempts"),
            ("cost_nusd", "requests"),
            ("cost_nusd", "rollup_day"),
            ("spent_nusd", "budget_periods"),
        )
    ]
    assert len(set(sums)) == 1, sums
    db.close()
    return len(entries)


def _check_known(db: sqlite3.Connection, names: list[str], rows: str) -> None:
    """Every attempt whose answer began was sent, by these rows."""
    known = {f"{id_text(request)}-{n}": state for request, n, state in db.execute(rows)}
    for name in names:
        assert known.get(name, "missing") not in ("missing", "planned", "unsent"), name


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = play(
            Path(folder) / "omni",
            kills=given.kills,
            processes=given.processes,
            seed=given.seed,
            time_box_s=600,
        )
    states = ", ".join(f"{count} {state}" for state, count in sorted(result.states.items()))
    print(
        f"{result.kills} kills of {given.processes} processes at once in {result.seconds:.0f} s, "
        f"{result.survived} chats lived to their end"
    )
    print(
        f"the simulator answered {result.answered} attempts, all in the ledger; "
        f"{result.requests} requests, attempts: {states}"
    )
    print("integrity check ok, nothing left open, budgets = ledger = rollups")


if __name__ == "__main__":
    main()
