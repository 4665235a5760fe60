"""The ledger's own promises: rows, ids, sums, transactions (store/ledger.py, connection.py)."""

import sqlite3
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from omni_cli.domain.batch import AttemptEnding, Batch
from omni_cli.domain.chat import Usage
from omni_cli.domain.errors import NotFound, StoreError
from omni_cli.domain.ids import id_text, make_id, parse_id
from omni_cli.domain.ledger import AttemptEnd, NewAttempt, NewRequest
from omni_cli.store.connection import SqliteStore
from tests.beginning import begin, opening_of
from tests.engine import on_a_file
from tests.unit.world import World


def attempt(request: int, n: int = 1, **fields: object) -> NewAttempt:
    values = {"model": "p/a", "provider": "p", "started_at": 1, "input_estimate": 3, **fields}
    return NewAttempt(request, n, **values)  # type: ignore[arg-type]  # known fields


def end(cost: int | None, state: str = "ok", **usage: int) -> AttemptEnd:
    return AttemptEnd(state, 9, usage=Usage(**usage), cost_nusd=cost)


@pytest.mark.usefixtures("engine")
class TestRows:
    def test_a_request_sums_its_attempts(self, world: World) -> None:
        request = world.open()
        for n, (cost, priced) in enumerate([(0, None), (5, "free"), (7, "priced")], 1):
            begin(world.ledger, attempt(request, n))
            world.ledger.end_attempt(request, n, end(cost, input_tokens=2), priced=priced)
        row = world.ledger.get(request)
        assert row is not None
        assert (row.cost_nusd, row.price_state, row.attempts) == (12, "priced", 3)
        assert row.usage.input_tokens == 6

    def test_one_unknown_attempt_makes_the_sum_unknown(self, world: World) -> None:
        request = world.open()
        for n, (cost, priced) in enumerate([(5, "priced"), (None, "unknown"), (7, "priced")], 1):
            begin(world.ledger, attempt(request, n))
            world.ledger.end_attempt(request, n, end(cost), priced=priced)
        row = world.ledger.get(request)
        assert row is not None
        assert (row.cost_nusd, row.price_state) == (12, "unknown")

    def test_settling_twice_changes_nothing(self, world: World) -> None:
        request = world.open()
        begin(world.ledger, attempt(request))
        assert world.ledger.end_attempt(request, 1, end(5), priced="priced")
        assert not world.ledger.end_attempt(request, 1, end(50, "failed"), priced="priced")
        assert world.ledger.attempts(request)[0].cost_nusd == 5

    def test_a_slot_is_taken_with_the_row_or_not_at_all(self, world: World) -> None:
        first, second = world.open(), world.open()
        goes, waits = (opening_of(world.ledger, attempt(r), slots=1) for r in (first, second))
        world.writer.write(Batch(openings=[goes]))
        world.writer.write(Batch(openings=[waits]))
        assert (goes.committed, waits.committed, waits.full) == (True, False, True)
        assert world.ledger.attempts(second) == []
        world.writer.write(Batch(endings=[AttemptEnding(first, 1, end(1), "priced")]))
        world.writer.write(Batch(openings=[waits]))
        assert waits.committed

    def test_an_id_that_is_taken_is_told(self, world: World) -> None:
        request = world.open()
        again = NewRequest(request, 0, "chat", "me")
        assert not world.ledger.open(again, None)

    def test_all_or_nothing(self, world: World) -> None:
        opened: list[int] = []

        def broken_off() -> None:
            with world.ledger.unit():
                opened.append(world.open())
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            broken_off()
        assert world.ledger.get(opened[0]) is None


class TestIds:
    def test_sort_by_time_and_read_back(self) -> None:
        early, late = make_id(1_800_000_000_000, 2**20 - 1), make_id(1_800_000_000_001, 0)
        assert early < late
        assert id_text(early) < id_text(late)
        assert parse_id(id_text(early)) == (early, early)

    def test_a_beginning_stands_for_all_that_begin_so(self) -> None:
        value = make_id(1_800_000_000_000, 77)
        found = parse_id("req_" + id_text(value)[:9].upper())
        assert found is not None
        assert found[0] <= value <= found[1]

    @pytest.mark.parametrize("text", ["", "uuuu", "z" * 14, "z" * 13, "8" + "0" * 12])
    def test_what_is_no_id(self, text: str) -> None:
        assert parse_id(text) is None

    def test_even_the_last_one_fits_into_sqlite(self, world: World) -> None:
        with pytest.raises(NotFound):
            world.ledger.find("7" + "z" * 12)
        with pytest.raises(NotFound, match="no request"):
            world.ledger.find("7")

    def test_find_wants_exactly_one(self, world: World) -> None:
        first, second = world.open(), world.open()
        assert world.ledger.find(id_text(first)).id == first
        assert world.ledger.find("last").id == second
        with pytest.raises(NotFound, match="more than one"):
            world.ledger.find(id_text(first)[:6])


@on_a_file
class TestStore:
    def test_nobody_else_can_read_it(self, tmp_path: Path) -> None:
        store = SqliteStore(tmp_path / "omni.db")
        store.set_meta("a", "b")
        files = list(tmp_path.glob("omni.db*"))
        assert len(files) == 3  # the file, its -wal and -shm
        assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
        store.close()

    def test_a_writer_waits_for_another_process(self, tmp_path: Path) -> None:
        store = SqliteStore(tmp_path / "omni.db")
        code = (
            "import sqlite3, sys, time; db = sqlite3.connect(sys.argv[1], isolation_level=None);"
            "db.execute('BEGIN IMMEDIATE'); print('locked', flush=True); time.sleep(0.6);"
            "db.execute('COMMIT')"
        )
        other = subprocess.Popen(
            [sys.executable, "-c", code, str(store.path)], stdout=subprocess.PIPE, text=True
        )
        assert other.stdout is not None
        assert other.stdout.readline().strip() == "locked"
        store.set_meta("written", "yes")  # else it would say that the store is locked
        other.wait()
        other.stdout.close()
        assert store.get_meta("written") == "yes"
        store.close()

    def test_a_lock_that_stays_is_a_store_error(self, tmp_path: Path) -> None:
        store = SqliteStore(tmp_path / "omni.db")
        store.db.execute("PRAGMA busy_timeout = 50")
        other = sqlite3.connect(store.path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="cannot write"):
            store.set_meta("a", "b")
        other.execute("ROLLBACK")
        other.close()
        store.set_meta("a", "b")
        store.close()

    def test_what_is_no_database_is_a_store_error(self, tmp_path: Path) -> None:
        (tmp_path / "omni.db").write_bytes(b"not a database, but long enough to be read" * 99)
        with pytest.raises(StoreError, match="cannot open"):
            SqliteStore(tmp_path / "omni.db")

    def test_an_interrupt_inside_a_transaction_leaves_none_open(self, tmp_path: Path) -> None:
        store = SqliteStore(tmp_path / "omni.db")

        def interrupted() -> None:
            with store.transaction() as db:
                db.execute("INSERT INTO meta VALUES ('k', 'v')")
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            interrupted()
        assert not store.db.in_transaction
        assert store.get_meta("k") is None
        store.set_meta("k", "w")
        store.close()

    def test_many_may_open_a_new_one_at_once(self, tmp_path: Path) -> None:
        found: list[object] = []

        def opened() -> None:
            try:
                store = SqliteStore(tmp_path / "omni.db")
                found.append(store.get_meta("nothing"))
                store.close()
            except StoreError as exc:
                found.append(exc)

        threads = [threading.Thread(target=opened) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == [None] * 8
