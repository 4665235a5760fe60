"""Requests whose process died are found, charged for what they used, and closed once (F3)."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from omni_cli.domain.batch import AttemptEnding, Batch
from omni_cli.domain.budgets import Budget
from omni_cli.domain.chat import Usage
from omni_cli.domain.ledger import AttemptEnd, NewAttempt
from omni_cli.store.connection import SqliteStore
from omni_cli.store.rebuild import RollupRebuild
from tests.beginning import begin
from tests.engine import on_a_file
from tests.unit.world import World

#: The life sign of a process that has ended: no file holds its lock.
DEAD = "999999-dead"


def plan(world: World, request: int, **fields: object) -> NewAttempt:
    price = world.target("p/a").price
    attempt = NewAttempt(
        **{  # type: ignore[arg-type]  # checked by the dataclass's users below
            "request": request,
            "n": 1,
            "model": "p/a",
            "provider": "p",
            "started_at": 0,
            "input_estimate": 100,
            "price": None if price is None else price.id,
            "reserve_nusd": 700_000,
            "output_bound": 300,
            **fields,
        }
    )
    begin(world.ledger, attempt, world.writer)
    return attempt


@pytest.fixture
def lost(world: World) -> int:
    """A pending request of a dead process, under a budget."""
    world.model("p/a")
    world.budgets.put(Budget(0, "all", "", "day", 10**9))
    return world.open(owner=DEAD)


def spent(world: World) -> int:
    (budget,) = world.budgets.all()
    return world.budgets.status(budget, int(world.clock() * 1000)).spent_nusd


def _other(path: Path) -> "tuple[subprocess.Popen[str], str]":
    """Another process with the store open, and its name in the ledger."""
    code = (
        "import sys, time; from pathlib import Path;"
        "from omni_cli.store.connection import SqliteStore;"
        "store = SqliteStore(Path(sys.argv[1]));"
        "print(store.owner, flush=True); time.sleep(60)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def _kill(process: "subprocess.Popen[str]") -> None:
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


def _dies(store: SqliteStore, owner: str) -> bool:
    until = time.monotonic() + 5
    while store.is_alive(owner) and time.monotonic() < until:
        time.sleep(0.01)
    return not store.is_alive(owner)


@pytest.mark.usefixtures("engine")
class TestWhoWasTakenForDead:
    """A gateway that was cut off from the database for longer than its lease lives on, and tells of
    its ends when it is back: they are what happened, not what recovery guessed."""

    def test_the_real_end_takes_the_place_of_the_guess(self, world: World, lost: int) -> None:
        plan(world, lost)
        assert world.recovery.run() == 1
        assert (world.open_leases(), spent(world)) == (600_000, 100_000)
        usage = Usage(input_tokens=90, output_tokens=10)
        end = AttemptEnd("ok", 9, usage=usage, cost_nusd=123_000, input_cost_nusd=90_000)
        world.writer.write(Batch(endings=[AttemptEnding(lost, 1, end, "priced")]))
        world.end(lost, "ok")
        row = world.ledger.get(lost)
        assert row is not None
        assert (row.state, row.attempts, row.cost_nusd, row.price_state) == (
            "ok", 1, 123_000, "priced",
        )  # fmt: skip
        assert (row.usage.input_tokens, row.usage.output_tokens, row.estimated) == (90, 10, False)
        assert (world.open_leases(), spent(world)) == (0, 123_000)
        assert RollupRebuild(world.store).check().sound
        assert not world.budgets.drifts()

    def test_it_is_told_once(self, world: World, lost: int) -> None:
        plan(world, lost)
        world.recovery.run()
        end = AttemptEnd("ok", 9, usage=Usage(output_tokens=10), cost_nusd=5)
        for _ in range(2):
            world.writer.write(Batch(endings=[AttemptEnding(lost, 1, end, "priced")]))
        assert spent(world) == 5
        assert world.recovery.run() == 0


class TestWhatItIsCharged:
    def test_never_sent_is_released(self, world: World, lost: int) -> None:
        plan(world, lost)
        world.store.db.execute("UPDATE attempts SET state = 'planned'")  # by an older omni
        assert world.open_leases() == 700_000
        assert world.recovery.run() == 1
        (row,) = world.ledger.attempts(lost)
        assert (row.state, row.cost_nusd) == ("unsent", 0)
        assert (world.open_leases(), spent(world)) == (0, 0)

    def test_sent_without_an_answer_costs_the_input(self, world: World, lost: int) -> None:
        plan(world, lost)
        world.recovery.run()
        (row,) = world.ledger.attempts(lost)
        assert (row.state, row.cost_nusd, row.usage.estimated) == ("lost", 100_000, True)
        assert (world.open_leases(), spent(world)) == (600_000, 100_000)
        request = world.ledger.get(lost)
        assert request is not None
        assert (request.state, request.estimated, request.model) == ("lost", True, "p/a")

    def test_what_arrived_is_charged_but_never_above_the_lease(
        self, world: World, lost: int
    ) -> None:
        plan(world, lost)
        world.commits.checkpoint(lost, 1, first_at=5, received_chars=400)
        second = world.open(owner=DEAD)
        plan(world, second)
        world.commits.checkpoint(second, 1, first_at=5, received_chars=40_000)
        assert world.recovery.run() == 2
        costs = [world.ledger.attempts(r)[0].cost_nusd for r in (lost, second)]
        # 400 characters are 100 tokens at $2; 10,000 tokens were never asked for, 300 were.
        assert costs == [100_000 + 100 * 2_000, 700_000]

    def test_an_unknown_price_stays_unknown(self, world: World) -> None:
        world.model("p/a", None)
        request = world.open(owner=DEAD)
        plan(world, request, reserve_nusd=None)
        world.recovery.run()
        assert world.ledger.attempts(request)[0].cost_nusd is None
        row = world.ledger.get(request)
        assert row is not None
        assert (row.price_state, row.cost_nusd) == ("unknown", None)

    def test_a_price_without_an_output_rate_does_not_stop_it(self, world: World) -> None:
        world.model("p/a", "1", None)
        request = world.open(owner=DEAD)
        plan(world, request, reserve_nusd=None)
        world.commits.checkpoint(request, 1, first_at=5, received_chars=8)
        assert world.recovery.run() == 1
        assert world.ledger.attempts(request)[0].cost_nusd is None

    def test_an_answer_that_was_charged_counts_as_answered(self, world: World, lost: int) -> None:
        plan(world, lost)
        row = world.ledger.get(lost)
        assert row is not None
        end = AttemptEnd("ok", row.created_at + 900, first_at=row.created_at + 200, cost_nusd=5)
        world.ledger.end_attempt(lost, 1, end, priced="priced")
        world.recovery.run()
        request = world.ledger.get(lost)
        assert request is not None
        assert (request.state, request.error_code) == ("ok", None)
        assert (request.latency_ms, request.ttft_ms, request.cost_nusd) == (900, 200, 5)


class TestWhom:
    def test_the_living_are_left_alone(self, world: World) -> None:
        world.model("p/a")
        request = world.open()
        plan(world, request)
        assert world.recovery.run() == 0
        row = world.ledger.get(request)
        assert row is not None
        assert row.state == "pending"

    def test_a_second_run_changes_nothing(self, world: World, lost: int) -> None:
        plan(world, lost)
        assert world.recovery.run() == 1
        before = world.ledger.get(lost), spent(world)
        assert world.recovery.run() == 0
        assert (world.ledger.get(lost), spent(world)) == before

    def test_an_attempt_left_open_by_an_interrupt_is_closed_too(self, world: World) -> None:
        world.model("p/a")
        world.budgets.put(Budget(0, "all", "", "day", 10**9))
        request = world.open()
        plan(world, request)
        world.end(request, "cancelled")
        world.recovery.run()
        assert world.ledger.attempts(request)[0].state == "lost"
        assert (world.open_leases(), spent(world)) == (600_000, 100_000)

    @on_a_file
    def test_a_killed_process_is_told_from_a_slow_one(self, tmp_path: Path) -> None:
        process, owner = _other(tmp_path / "omni.db")
        store = SqliteStore(tmp_path / "omni.db")
        assert store.is_alive(owner)
        _kill(process)
        assert _dies(store, owner)
        assert not (tmp_path / "run" / f"{owner}.lock").exists()
        store.close()

    @pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="the system does not tell")
    @on_a_file
    def test_calls_of_a_process_whose_life_sign_was_removed_are_not_lost(
        self, tmp_path: Path
    ) -> None:
        world = World(tmp_path)
        world.model("p/a")
        process, owner = _other(tmp_path / "omni.db")
        request = world.open(owner=owner)
        plan(world, request)
        shutil.rmtree(tmp_path / "run")
        assert world.recovery.run() == 0
        assert [row.state for row in world.ledger.attempts(request)] == ["sent"]
        _kill(process)
        assert _dies(world.store, owner)
        assert world.recovery.run() == 1
        world.close()
