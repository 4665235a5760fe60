"""Group commit on the event loop: who is told what, and when."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path

import pytest

from omni_cli.bootstrap import App
from omni_cli.domain.batch import AttemptEnding, Batch, Opening, RequestEnding
from omni_cli.domain.bounds import Most
from omni_cli.domain.budgets import Budget
from omni_cli.domain.chat import Usage
from omni_cli.domain.errors import StoreError
from omni_cli.domain.ledger import AttemptEnd, NewRequest, RequestEnd
from omni_cli.domain.pricing import Price, Rate
from omni_cli.services.engine import commits as commits_module
from omni_cli.services.engine.commits import Commits
from omni_cli.store.budgets import BudgetStore
from omni_cli.store.connection import SqliteStore
from omni_cli.store.late_ledger import LateLedger
from omni_cli.store.rows import REQUESTS, pending, request_values
from omni_cli.store.writer import Writer


async def test_a_job_is_told_of_once_it_is_committed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A transaction that fails after its jobs ran runs them again; nobody is told before."""
    monkeypatch.setattr(commits_module, "_BROKEN_S", 0.05)
    with App({"OMNI_HOME": str(tmp_path)}, durable=False) as app:
        writer = Writer(app.store, app.ledger)
        write, runs, told = writer.write, list[str](), list[str]()

        def failing(batch: Batch) -> None:
            if len(runs) == 0 and batch.jobs:

                def fail() -> None:
                    raise StoreError("the disk is full")

                write(Batch(jobs=[*batch.jobs, fail]))  # within the transaction, after the job
            write(batch)

        monkeypatch.setattr(writer, "write", failing)
        ids = itertools.count(1)
        commits = Commits(writer, new_id=lambda: next(ids), note=told.append)

        def job() -> None:
            runs.append("run")
            app.store.set_meta("job", str(len(runs)))

        waiting = asyncio.ensure_future(commits.within(job))
        await asyncio.sleep(0.02)
        assert runs == ["run"]
        assert app.store.get_meta("job") is None  # rolled back
        assert not waiting.done()
        await waiting
        assert (runs, app.store.get_meta("job")) == (["run", "run"], "2")
        assert len(told) == 1
        await commits.close()


class _Far(SqliteStore):
    """A file that counts as a store over a network."""

    remote = True
    away = 0.0

    def away_s(self) -> float:
        return self.away

    def data_version(self, *, calls: bool = True) -> int:
        return super().data_version() if calls else 0


@pytest.fixture
async def far(tmp_path: Path) -> AsyncIterator[tuple[_Far, Commits]]:
    store = _Far(tmp_path / "omni.db", durable=False)
    BudgetStore(store).put(Budget(0, "all", "", "day", 10**9))
    ids = itertools.count(5_000)
    writer = Writer(store, LateLedger(store), away_s=10.0)
    commits = Commits(writer, new_id=lambda: next(ids), note=lambda _: None)
    opening = _ask(900)
    await commits.open(opening)  # the store was asked, and a slice was taken
    _end(commits, opening)
    await commits.within(lambda: None)
    yield store, commits
    await commits.close()
    store.close()


def _ask(number: int) -> Opening:
    new = NewRequest(number, int(time.time() * 1000), "gateway", "")
    most, price = Most(10, 10), Price("priced", input=Rate(Decimal(1)), output=Rate(Decimal(1)))
    return Opening(new, 1, "p/m", "p", 0, 10, most, None, None, price, named=True)


def _end(commits: Commits, opening: Opening) -> None:
    ident = opening.request.id
    end = AttemptEnd("ok", int(time.time() * 1000), Usage(1, output_tokens=1), cost_nusd=7)
    commits.end(AttemptEnding(ident, 1, end, "priced"))
    commits.end(RequestEnding(ident, RequestEnd("ok", end.ended_at, "p/m", "p")))


async def test_what_a_slice_holds_waits_for_no_store(far: tuple[_Far, Commits]) -> None:
    store, commits = far
    opening = _ask(901)
    with store.transaction():  # nothing can be written meanwhile
        future = commits.open(opening)
        assert future.done()
        assert opening.committed
        assert store.plain("SELECT id FROM open_calls") == []
        assert b'"id":901' in b"".join(p.read_bytes() for p in store.path.parent.glob("spool/*"))
    _end(commits, opening)
    await commits.within(lambda: None)
    assert store.plain("SELECT request, cost_nusd FROM attempts") == [(900, 7), (901, 7)]
    assert not any(path.stat().st_size for path in store.path.parent.glob("spool/*"))


async def test_a_store_that_is_away_for_long_is_asked(far: tuple[_Far, Commits]) -> None:
    store, commits = far
    store.away = 11.0
    future = commits.open(_ask(901))
    assert not future.done()
    await future


async def test_an_id_that_another_has_taken_is_changed_for_its_end_too(
    far: tuple[_Far, Commits],
) -> None:
    store, commits = far
    other = NewRequest(901, 5, "gateway", "1-00000000", key="another")
    with store.transaction() as db:
        REQUESTS.write(db, [request_values(pending(other))])
    opening = _ask(901)
    await commits.open(opening)
    _end(commits, opening)
    for _ in range(3):
        await asyncio.sleep(0.6)
        if len(store.plain("SELECT 1 FROM attempts")) == 2:
            break
    assert opening.request.id == 5_000
    assert store.plain("SELECT request, state FROM attempts") == [(900, "ok"), (5_000, "ok")]
    assert store.plain("SELECT key, state FROM requests WHERE id = 901") == [("another", "pending")]
    assert BudgetStore(store).drifts() == []


async def test_what_the_store_refuses_is_kept_though_the_journal_forgets_it(
    far: tuple[_Far, Commits], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, commits = far
    opening, write = _ask(901), Writer.write

    def refusing(self: Writer, batch: Batch) -> None:
        if 901 in batch.granted or any(ending.request == 901 for ending in batch.endings):
            raise ValueError("nobody knows why")
        write(self, batch)

    monkeypatch.setattr(Writer, "write", refusing)
    await commits.open(opening)
    _end(commits, opening)
    for number in (902, 903, 904):  # whole batches, after which the journal is emptied
        other = _ask(number)
        await commits.open(other)
        _end(commits, other)
        await asyncio.sleep(0.15)
    monkeypatch.setattr(Writer, "write", write)
    assert sorted(store.plain("SELECT request FROM attempts")) == [(900,), (902,), (903,), (904,)]
    assert LateLedger(store).catch_up()
    assert (901, 7) in store.plain("SELECT request, cost_nusd FROM attempts")
    assert store.plain("SELECT state FROM requests WHERE id = 901") == [("ok",)]
    assert BudgetStore(store).drifts() == []


async def test_what_begins_while_the_last_batch_is_written_is_written_too(
    far: tuple[_Far, Commits], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, commits = far
    BudgetStore(store).delete(1)  # of what a budget covers nothing is in hand by then
    await commits.within(lambda: None)
    late, write = _ask(901), Writer.write

    def slow(self: Writer, batch: Batch) -> None:
        if not late.committed:
            asyncio.run_coroutine_threadsafe(_begin(commits, late), commits._loop).result(5)
        write(self, batch)

    monkeypatch.setattr(Writer, "write", slow)
    await commits.close()
    monkeypatch.setattr(commits, "close", _nothing)
    assert store.plain("SELECT id FROM open_calls") == [(901,)]
    assert not list(store.path.parent.glob("spool/*"))


async def _begin(commits: Commits, opening: Opening) -> None:
    await commits.open(opening)


async def _nothing() -> None:
    """It is closed."""
