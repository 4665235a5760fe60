"""Gateways that grant from slices of budgets, in every order of asking, ending, writing and dying.

The store is a file that counts as one over a network, so that what runs is the gateway's own writer
and the store's own SQL, without a server. After each step: what the provider may have on its bill
is covered by what is spent and reserved, that passes no limit, and both are what the ledger's rows,
calls without a row yet and slices add up to. In the end nothing is in hand, and each call that was
sent is in the ledger once.
"""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from omni_cli.domain.batch import AttemptEnding, Batch, Ending, Opening, RequestEnding
from omni_cli.domain.bounds import Most
from omni_cli.domain.budgets import Budget
from omni_cli.domain.chat import Usage
from omni_cli.domain.errors import SameId, StoreError, Unsure
from omni_cli.domain.ledger import AttemptEnd, NewRequest, RequestEnd
from omni_cli.domain.prices import Price, Rate
from omni_cli.domain.record import replace
from omni_cli.services.engine.recovery import Recovery
from omni_cli.store.budgets import BudgetStore
from omni_cli.store.connection import SqliteStore
from omni_cli.store.late_ledger import LateLedger
from omni_cli.store.leases import slice_nusd
from omni_cli.store.models import ModelStore
from omni_cli.store.writer import Writer

NOW = 1_790_000_000_000
#: 1,000 nano-dollars a token.
PRICE = Price("priced", input=Rate(Decimal(1)), output=Rate(Decimal(1)))
LIMIT, KEY_LIMIT = 3_000_000, 2_000_000


class _Store(SqliteStore):
    """Takes itself for one over a network."""

    remote = True
    told = 0
    dead: set[str]
    #: How the next COMMIT goes: "well", or it is not known: "done", "undone".
    commits = "well"

    def _commit(self) -> None:
        how, self.commits = self.commits, "well"
        if how != "undone":
            super()._commit()
        if how != "well":
            raise Unsure("away")

    def is_alive(self, owner: str, grace_s: float = 0.0) -> bool:
        return owner not in self.dead

    def data_version(self, *, calls: bool = True) -> int:
        return super().data_version() if calls else self.told


class _Gateway:
    def __init__(self, path: Path, dead: set[str]) -> None:
        self.store = _Store(path, durable=False)
        self.store.dead = dead
        self.writer = Writer(self.store, LateLedger(self.store))
        self.batch = Batch()
        #: What is out at the provider.
        self.out: list[Opening] = []


class World:
    """``bill``: what the provider may charge for each call at most, by its request."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.dead: set[str] = set()
        self.ids = itertools.count(1_000)
        self.bill: dict[int, int] = {}
        self.answered: dict[int, int] = {}
        self.keyed: set[int] = set()
        self.look = _Store(path, durable=False)
        self.look.dead = self.dead
        self.budgets = BudgetStore(self.look)
        self.budgets.put(Budget(0, "all", "", "day", LIMIT))
        self.budgets.put(Budget(0, "key", "k", "month", KEY_LIMIT, rollover=True))
        self.gateways = [_Gateway(path, self.dead) for _ in range(2)]
        self.in_hand = 0

    # --- steps ------------------------------------------------------------------------------------

    def ask(self, at: _Gateway, size: int) -> None:
        key = "k" if size % 3 else ""
        new = NewRequest(next(self.ids), NOW, "gateway", at.store.owner, key=key)
        opening = Opening(
            new, 1, "p/m", "p", NOW, size, Most(size, size), None, None, PRICE, named=True
        )
        if at.writer.grant(opening):
            self.in_hand += 1
            at.batch.granted[new.id] = opening
        else:
            at.batch.openings = [opening]
            if not self.write(at, 0):
                at.batch.openings = []
                return
        if opening.committed:
            self.bill[new.id] = opening.held_nusd
            at.out.append(opening)
            if key:
                self.keyed.add(new.id)

    def end(self, at: _Gateway, share: int) -> None:
        if not at.out:
            return
        opening = at.out.pop(share % len(at.out))
        ident, held = opening.request.id, self.bill[opening.request.id]
        cost, unseen = held * (share % 5) // 5, share % 7 == 0
        end = AttemptEnd("ok", NOW + 5, Usage(1, output_tokens=1), cost_nusd=cost, unseen=unseen)
        self.bill[ident] = held if unseen else cost
        self.answered[ident] = cost
        endings: list[Ending] = [
            AttemptEnding(ident, 1, end, "priced"),
            RequestEnding(ident, RequestEnd("ok", NOW + 5, "p/m", "p")),
        ]
        for ending in endings:
            at.writer.ended(ending, at.batch.granted.get(ident))
        at.batch.endings += endings

    def write(self, at: _Gateway, number: int) -> bool:
        """``number``: whether it goes well, or the store goes away before, or in the moment of the
        COMMIT, after or before that."""
        at.writer.plan(at.batch)
        at.store.commits = {4: "undone", 5: "done"}.get(number % 6, "well")
        try:
            if number % 6 == 3:
                raise StoreError("away")
            at.writer.write(at.batch)
        except StoreError as exc:
            at.store.commits = "well"
            if isinstance(exc, SameId):
                raise
            at.writer.undone(exc)
            return False
        at.writer.done()
        at.batch = Batch()
        return True

    def die(self, at: _Gateway, _: int) -> None:
        """Killed: what is out may be charged whole."""
        self.dead.add(at.store.owner)
        at.writer.leave(written=False)
        at.store.db.close()
        self.gateways[self.gateways.index(at)] = _Gateway(self.path, self.dead)

    def recover(self, at: _Gateway, _: int) -> None:
        """Another one of the machine tells of the dead."""
        ledger = LateLedger(at.store)
        assert ledger.catch_up()
        Recovery(ledger, ModelStore(at.store), lambda: NOW / 1000).run()

    def change(self, _: _Gateway, number: int) -> None:
        """The same limit by another day, or switched off and on, or a little more."""
        budget = self.budgets.all()[number % 2]
        if number % 3 == 0:
            zone = "UTC" if budget.zone == "Etc/UTC" else "Etc/UTC"
            self.budgets.put(replace(budget, zone=zone))
        elif number % 3 == 1:
            with self.look.transaction():
                self.budgets.put(replace(budget, enabled=False))
                self.budgets.put(budget)
        else:
            self.budgets.put(replace(budget, limit_nusd=budget.limit_nusd + 1))
        for gateway in self.gateways:
            gateway.store.told += 1 if number % 5 else 0

    # --- what holds -------------------------------------------------------------------------------

    def check(self) -> None:
        assert self.budgets.drifts() == []
        if len(self.look.plain("SELECT 1 FROM budget_periods")) < 2:
            return  # asking would make the rows that the next call makes
        everything, of_key = self.budgets.all()
        for budget, due in (
            (everything, sum(self.bill.values())),
            (of_key, sum(self.bill[ident] for ident in self.keyed)),
        ):
            status = self.budgets.status(budget, NOW)
            assert status.left_nusd >= 0, (budget, status)
            assert due <= status.spent_nusd + status.reserved_nusd, (budget, status, due)

    def over(self) -> None:
        for gateway in self.gateways:
            while not self.write(gateway, 0):
                pass
            gateway.writer.plan(Batch(), last=True)
            gateway.writer.write(Batch())
            gateway.writer.done()
            self.die(gateway, 0)
        self.recover(self.gateways[0], 0)
        self.check()
        rows = dict(self.look.plain("SELECT request, cost_nusd FROM attempts"))
        assert rows.keys() == self.bill.keys()
        assert {ident: rows[ident] for ident in self.answered} == self.answered
        assert self.look.plain("SELECT * FROM budget_slices") == []
        assert self.look.plain("SELECT * FROM open_calls") == []
        held = sum(row[0] for row in self.look.plain("SELECT held_nusd FROM attempts"))
        assert self.budgets.status(self.budgets.all()[0], NOW).reserved_nusd == held

    def close(self) -> None:
        for gateway in self.gateways:
            gateway.writer.leave(written=True)
            gateway.store.close()
        self.look.close()


@contextmanager
def _world(folder: Path) -> Iterator[World]:
    clock = SimpleNamespace(time=lambda: NOW / 1000, monotonic=lambda: 1.0)
    with patch("omni_cli.store.writer.time", clock):
        world = World(folder / "omni.db")
        try:
            yield world
        finally:
            world.close()


_STEPS = (
    st.tuples(st.just("ask"), st.integers(0, 1), st.integers(1, 40))
    | st.tuples(st.sampled_from(["end", "write"]), st.integers(0, 1), st.integers(0, 30))
    | st.tuples(st.just("ask"), st.integers(0, 1), st.integers(1, 12))
    | st.tuples(
        st.sampled_from(["die", "recover", "change"]), st.integers(0, 1), st.integers(0, 30)
    )
)


#: A budget was switched off and on: its period's row is made by the batch that returns its slices.
_PERIOD_MADE_ANEW = [("ask", 0, 1), ("ask", 0, 1), ("ask", 0, 1), ("change", 0, 1), ("ask", 0, 1)]
#: A batch was written, and nobody knows, with the end of a call that had its row.
_ENDED_UNSURE = [("ask", 0, 1), ("ask", 0, 1), ("ask", 0, 1), ("end", 0, 0), ("write", 0, 17)]


@settings(max_examples=25, deadline=None)
@example(steps=_PERIOD_MADE_ANEW)
@example(steps=_ENDED_UNSURE)
@given(steps=st.lists(_STEPS, min_size=5, max_size=60))
def test_slices_pass_no_limit_and_leave_nothing_behind(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int, int]]
) -> None:
    with _world(tmp_path_factory.mktemp("slices")) as world:
        for name, which, number in steps:
            step: Any = getattr(world, name)
            step(world.gateways[which], number)
            world.check()
        world.over()


def test_most_calls_wait_for_no_store_until_little_is_left(tmp_path: Path) -> None:
    """And all of the limit can be spent: no slice keeps it from those who ask."""
    with _world(tmp_path) as world:
        asked = 0
        while len(world.bill) == asked:
            world.ask(world.gateways[asked % 2], 10)
            asked += 1
            world.end(world.gateways[(asked - 1) % 2], 4)  # it costs four fifths
            if not asked % 8:
                world.write(world.gateways[0], 0)
                world.write(world.gateways[1], 0)
            world.check()
        assert world.in_hand > asked // 2
        assert asked > LIMIT // 20_000
        world.over()


def test_of_a_machine_that_does_not_come_back_others_return_the_slices(tmp_path: Path) -> None:
    with _world(tmp_path) as world:
        gone, other = world.gateways
        world.ask(gone, 10)
        world.ask(gone, 10)
        assert world.look.plain("SELECT count(*) FROM budget_slices") == [(2,)]
        world.die(gone, 0)
        for journal in (tmp_path / "spool").glob(f"{gone.store.owner}.*"):
            journal.unlink()  # its disk is not here
        world.recover(other, 0)
        assert world.look.plain("SELECT * FROM budget_slices") == []
        ((held,),) = world.look.plain("SELECT sum(held_nusd) FROM attempts")
        assert world.budgets.status(world.budgets.all()[0], NOW).reserved_nusd == held
        assert world.budgets.drifts() == []


@pytest.mark.parametrize("workers", [1, 4, 32])
def test_slices_leave_room_for_the_largest_calls(workers: int) -> None:
    left, largest = 10**12, 10**8
    for _ in range(workers):
        left -= slice_nusd(left, largest, 10**9)
    assert left >= 14 * largest
    assert slice_nusd(16 * largest - 1, largest) == 0
