"""Group commit on the event loop: who is told what, and when."""

import asyncio
import gc
import itertools
import sqlite3
import threading
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
from omni_cli.domain.errors import StoreError, Unsure
from omni_cli.domain.ledger import AttemptEnd, NewAttempt, NewRequest, RequestEnd
from omni_cli.domain.prices import Price, Rate
from omni_cli.services.engine import commits as commits_module
from omni_cli.services.engine.commits import Commits
from omni_cli.store.budgets import BudgetStore
from omni_cli.store.connection import SqliteStore
from omni_cli.store.late_ledger import LateLedger
from omni_cli.store.rows import REQUESTS, pending, request_values
from omni_cli.store.writer import Writer

pytestmark = pytest.mark.one_engine(
    "a file that counts as a store over a network, whose faults are made at their moment;"
    " test_database_away and benchmarks.budget_stress have the real one"
)


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


async def test_a_caller_that_leaves_a_batch_takes_no_other_call_with_it(
    far: tuple[_Far, Commits], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who asked the store goes away while a batch is written, which then fails: what went out from
    slices and was in it is written all the same."""
    store, commits = far
    monkeypatch.setattr(commits_module, "_BROKEN_S", 0.02)
    out, asks, write = _ask(901), _ask(902), Writer.write
    asks.slots = 5
    under_way, away = threading.Event(), threading.Event()

    def failing(self: Writer, batch: Batch) -> None:
        if batch.openings and not under_way.is_set():
            under_way.set()
            away.wait(5)
            raise StoreError("the database does not answer")
        write(self, batch)

    monkeypatch.setattr(Writer, "write", failing)
    await commits.open(out)
    asked = commits.open(asks)
    await asyncio.to_thread(under_way.wait, 5)
    asked.cancel()
    await asyncio.sleep(0)
    away.set()
    _end(commits, out)
    for number in (903, 904):  # after which the journal is emptied
        _end(commits, await _opened(commits, number))
        await commits.within(lambda: None)
    rows = store.plain("SELECT request, cost_nusd FROM attempts ORDER BY request")
    assert rows == [(900, 7), (901, 7), (903, 7), (904, 7)]
    assert BudgetStore(store).drifts() == []


async def test_a_journal_of_which_nobody_knows_what_is_written_is_left_for_others(
    far: tuple[_Far, Commits], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, commits = far
    done = Writer.done

    def wrong(self: Writer) -> None:
        monkeypatch.setattr(Writer, "done", done)
        raise ZeroDivisionError

    out, write = _ask(901), Writer.write
    monkeypatch.setattr(Writer, "write", lambda *_: None)
    monkeypatch.setattr(Writer, "done", wrong)
    faults: list[object] = []
    commits._loop.set_exception_handler(lambda _, what: faults.append(what["exception"]))
    await commits.open(out)
    _end(commits, out)
    await asyncio.sleep(0.2)
    gc.collect()
    assert [type(fault) for fault in faults] == [ZeroDivisionError]
    monkeypatch.setattr(Writer, "write", write)
    _end(commits, await _opened(commits, 902))
    await commits.within(lambda: None)
    assert store.plain("SELECT request FROM attempts") == [(900,), (902,)]
    await commits.close()
    monkeypatch.setattr(commits, "close", _nothing)
    assert LateLedger(store).catch_up()
    assert (901, 7) in store.plain("SELECT request, cost_nusd FROM attempts")


async def test_what_ends_after_the_last_batch_failed_puts_no_journal_in_its_place(
    far: tuple[_Far, Commits], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, commits = far
    write = Writer.write

    def away(self: Writer, batch: Batch) -> None:
        raise StoreError("the database does not answer")

    monkeypatch.setattr(Writer, "write", away)
    first, second = await _opened(commits, 901), await _opened(commits, 902)
    _end(commits, first)
    await commits.close()
    monkeypatch.setattr(commits, "close", _nothing)
    _end(commits, second)
    monkeypatch.setattr(Writer, "write", write)
    commits._writer.leave(written=False)  # as the process ends
    assert LateLedger(store).catch_up()
    rows = store.plain("SELECT request, state FROM attempts ORDER BY request")
    assert rows == [(900, "ok"), (901, "ok"), (902, "ok")]
    assert not list(store.path.parent.glob("spool/*"))


async def test_nothing_else_is_written_beside_the_last_batch(
    far: tuple[_Far, Commits], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What slices a batch returns or fills is planned for one at a time."""
    store, commits = far
    plan, write, plans = Writer.plan, Writer.write, list[bool]()
    asks = _ask(901)
    asks.slots = 5

    def slow(self: Writer, batch: Batch) -> None:
        before = len(plans)
        if before == 1:
            commits._loop.call_soon_threadsafe(commits.open, asks)
            time.sleep(0.05)
        assert len(plans) == before
        write(self, batch)

    def counted(self: Writer, batch: Batch, *, part: bool = False, last: bool = False) -> None:
        plans.append(last)
        plan(self, batch, part=part, last=last)

    monkeypatch.setattr(Writer, "write", slow)
    monkeypatch.setattr(Writer, "plan", counted)
    await commits.close()
    monkeypatch.setattr(commits, "close", _nothing)
    assert plans == [True]
    assert BudgetStore(store).drifts() == []
    assert store.plain("SELECT * FROM budget_slices") == []


async def test_a_process_killed_after_a_call_got_another_id_leaves_it_by_that(
    far: tuple[_Far, Commits], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, commits = far
    other = NewRequest(901, 5, "gateway", "1-00000000", key="another")
    with store.transaction() as db:
        REQUESTS.write(db, [request_values(pending(other))])
    opening, write = _ask(901), Writer.write

    def away(self: Writer, batch: Batch) -> None:
        if 5_000 in batch.granted:
            raise StoreError("the database does not answer")
        write(self, batch)

    monkeypatch.setattr(Writer, "write", away)
    await commits.open(opening)
    while opening.request.id == 901:
        await asyncio.sleep(0.02)
    await asyncio.sleep(0.05)
    _end(commits, opening)
    await commits.close()
    monkeypatch.setattr(commits, "close", _nothing)
    monkeypatch.setattr(Writer, "write", write)
    assert LateLedger(store).catch_up()
    assert store.plain("SELECT request, state FROM attempts") == [(900, "ok"), (5_000, "ok")]
    assert store.plain("SELECT key, state FROM requests WHERE id = 901") == [("another", "pending")]
    assert BudgetStore(store).drifts() == []


async def test_a_batch_of_which_nobody_knows_leaves_no_row_of_who_was_not_sent(
    far: tuple[_Far, Commits], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, commits = far
    monkeypatch.setattr(commits_module, "_BROKEN_S", 0.02)
    asks, write = _ask(901), Writer.write
    asks.slots, asks.request.owner = 5, commits.owner

    def unsure(self: Writer, batch: Batch) -> None:
        write(self, batch)
        if batch.openings:
            raise Unsure("the database does not answer")

    monkeypatch.setattr(Writer, "write", unsure)
    with pytest.raises(Unsure):
        await commits.open(asks)
    await commits.within(lambda: None)
    assert store.plain("SELECT id FROM open_calls") == []
    rows = store.plain("SELECT r.state, a.state, a.held_nusd, a.cost_nusd FROM requests r"
                       " JOIN attempts a ON a.request = r.id WHERE r.id = 901")  # fmt: skip
    assert rows == [("failed", "unsent", 0, 0)]
    assert BudgetStore(store).drifts() == []


async def test_a_dead_process_s_row_that_is_refused_stands_in_no_other_s_way(
    far: tuple[_Far, Commits], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, commits = far

    def away(self: Writer, batch: Batch) -> None:
        raise StoreError("the database does not answer")

    write = Writer.write
    monkeypatch.setattr(Writer, "write", away)
    for number in (901, 902, 903):
        _end(commits, await _opened(commits, number))
    await commits.close()
    monkeypatch.setattr(commits, "close", _nothing)
    monkeypatch.setattr(Writer, "write", write)
    reinstate = LateLedger.reinstate

    def refusing(self: LateLedger, request: NewRequest, attempt: NewAttempt) -> bool:
        if request.id == 902:
            raise sqlite3.IntegrityError("nobody knows why")
        return reinstate(self, request, attempt)

    monkeypatch.setattr(LateLedger, "reinstate", refusing)
    for path in store.path.parent.glob("spool/*.jsonl"):
        path.unlink()  # the same ends, which the journal has, too
    assert LateLedger(store).catch_up()
    assert store.plain("SELECT request FROM attempts") == [(900,), (901,), (903,)]
    (kept,) = store.path.parent.glob("spool/*")
    assert kept.suffix == ".unreadable"
    assert '"id": 902' in kept.read_text()
    assert BudgetStore(store).drifts() == []


async def _opened(commits: Commits, number: int) -> Opening:
    opening = _ask(number)
    await commits.open(opening)
    return opening


async def _begin(commits: Commits, opening: Opening) -> None:
    await commits.open(opening)


async def _nothing() -> None:
    """It is closed."""
