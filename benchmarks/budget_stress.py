"""Budgets under stress: many processes, random costs, retries, crashes and clock jumps (C3).

    python -m benchmarks.budget_stress [--calls 10000] [--processes 8] [--seed 1] [--seconds 40]
    python -m benchmarks.budget_stress --postgres [--seed 1] [--seconds 120]

Workers carry out scripted calls through omni's own dispatcher on one store; they are killed
(kill -9) from outside and kill themselves in mid-call. While they run, and when all have ended
and recovery has run: no budget's spent and reserved money passes its limit, what stays held is what
calls whose end was not seen may have cost, and rollups, ledger and receipts have the same sum, to
the nano-dollar. Then a real gateway and real commands run before an upstream that keeps a bill of
its own (benchmarks/budget_bill.py): no limit is passed by that either. With --postgres that is four
gateways of two workers and four loops of commands before one PostgreSQL server, whose processes,
server and networks are killed and cut.
"""

import argparse
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from omni_cli.domain.budgets import Budget
from omni_cli.domain.chat import ChatChunk, Usage
from omni_cli.domain.consent import Consent
from omni_cli.domain.errors import (
    ConnectionFailed,
    Malformed,
    OmniError,
    Overloaded,
    RateLimited,
    TimedOut,
)
from omni_cli.domain.ids import make_id
from omni_cli.domain.ledger import NewRequest, RequestEnd
from omni_cli.domain.pricing import cost_nusd, price_lines
from omni_cli.domain.record import replace
from omni_cli.services.engine.attempts import Progress
from omni_cli.store.budgets import _SPENT, _sum
from tests.unit.world import NOON, Clock, Step, World, ask

MODELS = ("p/a", "q/b", "r/free")
#: Zones whose days begin at odd hours, so that periods do not fall together.
BUDGETS = (
    Budget(0, "all", "", "day", 40_000_000, zone="Asia/Kathmandu"),
    Budget(0, "model", "p/a", "month", 90_000_000, stop_percent=95.5),
    Budget(0, "provider", "q", "week", 60_000_000, zone="America/St_Johns", week_start=6),
    Budget(0, "role", "night", "day", 15_000_000),
)
_DAY_S = 86_400


@dataclass(frozen=True)
class Result:
    """``refused``: requests that a budget turned away. Money in nano-dollars."""

    requests: int
    attempts: int
    answered: int
    refused: int
    lost: int
    kills: int
    looks: int
    spent_nusd: int
    fullest_percent: float
    seconds: float


def prepare(folder: Path) -> None:
    world = World(folder, slots=100)
    world.model("p/a", "1.25", "10")
    world.model("q/b", "0.3", "2.5")
    world.model("r/free", free=True)
    for budget in BUDGETS:
        world.budgets.put(budget)
    world.close()


# --- a worker -----------------------------------------------------------------------------------


def work(folder: Path, seed: int, calls: int, crash: float) -> None:
    """Carry out ``calls`` requests; end by kill -9 in the middle of one with chance ``crash``."""
    rng = random.Random(seed)
    world = World(folder, clock=Clock(), slots=100)
    world.ids = iter(lambda: rng.getrandbits(20), -1)

    def die(chance: float) -> None:
        if rng.random() < chance:
            os.kill(os.getpid(), signal.SIGKILL)

    def steps() -> Iterator[Step]:
        """An answer, cut, silent or whole; its counts within what was asked for."""
        worst_output = json.loads(world.transport.calls[-1].body or b"")["max"] or 1_000
        die(crash / 2)
        kind = rng.random()
        if kind < 0.1:
            yield rng.choice([TimedOut("silence"), Malformed("garbage")])
        yield ChatChunk(text="x" * rng.randrange(1, 8 * worst_output + 50))
        world.clock.now += rng.random()
        die(crash / 2)
        if kind < 0.2:
            yield ConnectionFailed("reset")
        if kind < 0.25:
            signal.raise_signal(signal.SIGINT)  # Ctrl-C, as the event loop hears it
        if kind > 0.3:
            usage = Usage(rng.randrange(1, 18), output_tokens=rng.randrange(worst_output + 1))
            yield ChatChunk(usage=usage, finish_reason="stop")
        else:
            yield ChatChunk(finish_reason="stop")

    for _ in range(calls):
        # The clock jumps, also backwards, over days, weeks and a month's end.
        world.clock.now = NOON + rng.choice([-1, 0, 0, 0, 1, 1, 7, 20]) * _DAY_S + rng.random() * 60
        world.transport.script.clear()
        for model in MODELS:
            wire = model.partition("/")[2]
            for _ in range(4):
                world.transport.script[wire].append(
                    rng.choice([Overloaded("x", status=503), RateLimited("x", status=429)])
                    if rng.random() < 0.3
                    else steps()  # type: ignore[arg-type]  # read once, as a sequence is
                )
        one_call(world, rng)
    world.close()


def one_call(world: World, rng: random.Random) -> None:
    world.recovery.run()
    targets = [
        replace(world.target(model, retries=rng.randrange(3)), expected_nusd=1)
        for model in rng.sample(MODELS, rng.randrange(1, 4))
    ]
    now = int(world.clock() * 1000)
    request_id = make_id(now, next(world.ids))
    role = rng.choice(["", "night"])
    new = NewRequest(request_id, now, "chat", world.store.owner, role=role)
    if not world.ledger.open(new, None):
        return
    request = ask("hi", max_output_tokens=rng.choice([None, 1_000]))
    consent = Consent(any_cost=True, free_to_paid=True)
    progress, state = Progress(), "ok"
    try:
        for _ in world.stream(request_id, request, targets, consent, progress):
            pass
    except OmniError:
        state = "failed" if progress.tries else "refused"
    except KeyboardInterrupt:
        state = "cancelled"
    last = progress.target or targets[0]
    world.ledger.end_request(
        request_id,
        RequestEnd(
            state,  # type: ignore[arg-type]  # one of the states above
            int(world.clock() * 1000),
            model=last.model.id,
            provider=last.provider.slug,
        ),
    )


# --- the judge ----------------------------------------------------------------------------------


def look(db: sqlite3.Connection) -> float:
    """The fullest budget's share of its limit, in percent; no limit is passed."""
    fullest = 0.0
    rows = db.execute(
        "SELECT b.scope, b.limit_nusd, b.settings, p.start_at, p.spent_nusd, p.reserved_nusd"
        " FROM budget_periods p JOIN budgets b ON b.id = p.budget"
    ).fetchall()
    for scope, limit, settings, start, spent, reserved in rows:
        stop = limit * 955 // 1000 if '"stop_percent": 95.5' in settings else limit
        assert spent + reserved <= stop, (scope, start, spent, reserved, stop)
        fullest = max(fullest, 100 * spent / stop)
    return fullest


def verify(folder: Path) -> None:
    """Everything has ended: close what was abandoned, then compare every sum."""
    world = World(folder, slots=100)
    world.recovery.run()
    db = world.store.db
    # Spent, held and carried over are what the ledger's rows say.
    assert world.budgets.drifts() == []
    (still,) = db.execute(
        "SELECT count(*) FROM attempts WHERE state IN ('planned', 'sent')"
    ).fetchone()
    assert still == 0
    assert world.ledger.abandoned() == []

    def total(sql: str) -> int:
        return int(db.execute(sql).fetchone()[0] or 0)

    ledger = total("SELECT sum(cost_nusd) FROM attempts")
    assert ledger == total("SELECT sum(cost_nusd) FROM requests")
    assert ledger == total("SELECT sum(cost_nusd) FROM rollup_day")
    assert ledger == total("SELECT sum(cost_nusd) FROM rollup_hour")
    assert ledger == _receipts(world)
    for budget in world.budgets.all():
        for row in db.execute("SELECT * FROM budget_periods WHERE budget = ?", (budget.id,)):
            fresh = _sum(db, _SPENT, budget, row["start_at"], row["end_at"])
            assert fresh == row["spent_nusd"], budget.label
    world.close()


def _receipts(world: World) -> int:
    """The sum of what each attempt's own price and counts give."""
    total = 0
    for (request,) in world.store.db.execute("SELECT id FROM requests").fetchall():
        for attempt in world.ledger.attempts(request):
            if attempt.price is None or not attempt.cost_nusd:
                assert not attempt.cost_nusd
                continue
            price = world.models.price_by_id(attempt.price)
            assert price is not None
            cost = cost_nusd(attempt.usage, price)
            lines = sum(line.cost_usd for line in price_lines(attempt.usage, price))
            assert abs(int(lines * 10**9) - cost) <= 1
            assert cost == attempt.cost_nusd
            total += cost
    return total


# --- the whole ----------------------------------------------------------------------------------


def _start(folder: Path, seed: int, calls: int, crash: float) -> "subprocess.Popen[bytes]":
    args = ["--worker", str(folder), "--seed", str(seed), "--calls", str(calls)]
    return subprocess.Popen(
        [sys.executable, "-m", "benchmarks.budget_stress", *args, "--crash", str(crash)],
        cwd=Path(__file__).resolve().parents[1],
        stderr=subprocess.PIPE,
    )


def play(
    folder: Path, *, calls: int, processes: int, seed: int, batch: int, crash: float = 0.004
) -> Result:
    """Run the mix to its end and judge it. Raises AssertionError where money is wrong."""
    rng = random.Random(seed)
    prepare(folder)
    db = sqlite3.connect(folder / "omni.db", isolation_level=None)
    began = time.monotonic()
    running: list[subprocess.Popen[bytes]] = []
    started = kills = looks = 0
    fullest = 0.0
    while True:
        for worker in [w for w in running if w.poll() is not None]:
            error = worker.communicate()[1]
            assert worker.returncode in (0, -signal.SIGKILL), error.decode()
            running.remove(worker)
        (made,) = db.execute("SELECT count(*) FROM requests").fetchone()
        if made >= calls and not running:
            break
        while made < calls and len(running) < processes:
            running.append(_start(folder, seed * 1_000 + started, batch, crash))
            started += 1
        fullest = max(fullest, look(db))
        looks += 1
        time.sleep(rng.random() * 0.05)
        if running and rng.random() < 0.1:
            rng.choice(running).kill()
            kills += 1
    fullest = max(fullest, look(db))
    verify(folder)
    look(db)

    def count(sql: str) -> int:
        return int(db.execute(sql).fetchone()[0] or 0)

    result = Result(
        requests=count("SELECT count(*) FROM requests"),
        attempts=count("SELECT count(*) FROM attempts"),
        answered=count("SELECT count(*) FROM requests WHERE state = 'ok'"),
        refused=count("SELECT count(*) FROM requests WHERE state = 'refused'"),
        lost=count("SELECT count(*) FROM requests WHERE state = 'lost'"),
        kills=kills,
        looks=looks,
        spent_nusd=count("SELECT sum(cost_nusd) FROM attempts"),
        fullest_percent=fullest,
        seconds=time.monotonic() - began,
    )
    db.close()
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=10_000)
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--crash", type=float, default=0.004)
    parser.add_argument("--seconds", type=float, default=40, help="before an upstream with a bill")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--postgres", action="store_true", help="a team's gateways")
    given = parser.parse_args()
    if given.postgres:
        _bill(given.seconds, given.seed, postgres=True)
        return
    if given.worker is not None:
        work(given.worker, given.seed, given.calls, given.crash)
        return
    with tempfile.TemporaryDirectory() as folder:
        result = play(
            Path(folder),
            calls=given.calls,
            processes=given.processes,
            seed=given.seed,
            batch=100,
            crash=given.crash,
        )
    print(
        f"{result.requests:,} requests, {result.attempts:,} attempts by {given.processes} "
        f"processes in {result.seconds:.0f} s: {result.answered:,} answered, "
        f"{result.refused:,} refused by a budget, {result.lost:,} lost to kill -9 "
        f"({result.kills} from outside)"
    )
    print(
        f"spent {result.spent_nusd:,} nano-dollars; the fullest budget reached "
        f"{result.fullest_percent:.4f} % of its limit in {result.looks:,} looks"
    )
    print("no limit passed, rollups = ledger = receipts")
    _bill(given.seconds, given.seed, postgres=False)


def _bill(seconds: float, seed: int, *, postgres: bool) -> None:
    from benchmarks.budget_bill import play as play_bill

    with tempfile.TemporaryDirectory() as folder:
        verdict = play_bill(Path(folder), seconds=seconds, callers=6, seed=seed, postgres=postgres)
    print(
        f"{verdict.calls:,} calls on the upstream's own bill ({_listed(verdict.kinds)}); callers "
        f"were told {_listed(verdict.statuses)}; meanwhile {_listed(verdict.changes)}"
    )
    print("\n".join(verdict.figures))
    for line, count in verdict.logged.most_common():
        print(f"logged {count} times: {line}")
    print("\n".join(verdict.passed) or "no limit passed by the bill, none by the ledger")
    print("\n".join(verdict.history), end="")
    if verdict.passed:
        sys.exit(1)


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in sorted(counts.items()))


if __name__ == "__main__":
    main()
