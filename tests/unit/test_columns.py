"""The ledger's columns: what a value has, the schema has, and every INSERT."""

import ast
import re
import sqlite3
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from msgspec import Struct
from sqlite_utils import Database

import omni_cli
from omni_cli.domain.chat import TOKEN_FIELDS, Usage
from omni_cli.domain.errors import Locked, StoreError
from omni_cli.domain.ledger import (
    AttemptEnd,
    AttemptRow,
    NewAttempt,
    NewRequest,
    RequestEnd,
    RequestRow,
)
from omni_cli.domain.models import Provider
from omni_cli.services.fleet.fleet_file import ProviderTable
from omni_cli.store import rows
from omni_cli.store.connection import SqliteStore
from omni_cli.store.maintenance import inspect_backup
from omni_cli.store.port import SCHEMA_VERSION
from omni_cli.store.upgrade import OLDEST, STEPS, complete
from tests import schema

pytestmark = pytest.mark.one_engine(
    "the columns of a file's tables, which PostgreSQL's are made of; its upgrade: test_postgres"
)

PACKAGE = Path(omni_cli.__file__).parent
#: What a row says of its counts beside ``usage`` itself.
_USAGE = set(TOKEN_FIELDS)


def _columns(store: SqliteStore, table: str) -> dict[str, str]:
    return {row["name"]: row["type"] for row in store.db.execute(f"PRAGMA table_info({table})")}


def _names(*kinds: type[Struct]) -> set[str]:
    return {name for kind in kinds for name in kind.__struct_fields__} - {"usage"}


def test_requests_have_one_list_of_columns(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "omni.db")
    known = set(_columns(store, "requests"))
    store.close()
    assert known == set(rows.REQUEST_COLUMNS) == _names(RequestRow) | _USAGE
    assert len(rows.REQUEST_COLUMNS) == len(known)
    # What begins and what ends one is all in its row, under the same name.
    assert _names(NewRequest, RequestEnd) <= _names(RequestRow)


def test_providers_have_a_column_for_each_field(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "omni.db")
    known = set(_columns(store, "providers"))
    store.close()
    assert known == {*Provider.__struct_fields__, "tested_at", "test_latency_ms", "last_error"}


def test_a_fleet_file_can_say_all_that_is_set_of_a_provider() -> None:
    assert {*ProviderTable.model_fields, "slug", "status"} == {*Provider.__struct_fields__}


def test_attempts_have_one_list_of_columns(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "omni.db")
    known = set(_columns(store, "attempts"))
    store.close()
    of_usage = {"reported_cost_nusd", "estimated"}
    assert known == set(rows.ATTEMPT_COLUMNS) == _names(AttemptRow) | _USAGE | of_usage
    assert len(rows.ATTEMPT_COLUMNS) == len(known)
    worked_out = {"reserve_nusd", "unseen", "most_nusd"}
    assert _names(NewAttempt, AttemptEnd) - worked_out <= _names(AttemptRow)


def test_calls_under_way_know_all_that_their_rows_will_need(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "omni.db")
    known = set(_columns(store, "open_calls"))
    store.close()
    # How far its stream is, is written down later.
    assert known == set(rows.OPEN_COLUMNS) | {"first_at", "received_chars"}
    assert _names(NewRequest) <= known


@pytest.mark.parametrize("table", ["requests", "attempts", "decisions", "open_calls"])
def test_a_table_of_the_ledger_is_inserted_into_at_one_place(table: str) -> None:
    found = [
        f"{path.relative_to(PACKAGE)}: {line.strip()}"
        for path in PACKAGE.rglob("*.py")
        for line in path.read_text("utf-8").splitlines()
        if re.search(rf"INSERT (OR \w+ )?INTO {table}\b|WideInsert\(\s*\"{table}\"", line)
        or (table == "open_calls" and line.strip() == '"open_calls",')
    ]
    assert len(found) == 1, found


def test_a_kind_of_token_is_named_where_it_means_something() -> None:
    """Readers of others' formats (wire/, importers/) name what they find there; of the rest only
    those that give a kind a meaning: its count, its price, its words."""
    readers = ("wire", "importers", "data", "providers", "simulator")
    found = {
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        if path.relative_to(PACKAGE).parts[0] not in readers
        and "cache_write_1h" in path.read_text("utf-8")
    }
    assert len(found) <= 6, sorted(found)
    assert {name for name in Usage.__annotations__ if name.endswith("_tokens")} == _USAGE
    assert all(Usage(**{name: 5}).all_bits == 5 for name in TOKEN_FIELDS)


def test_a_file_of_the_last_build_is_brought_on(tmp_path: Path) -> None:
    """As schema 17 left it: the same tables as a new one has, and its rows in them."""
    path = tmp_path / "omni.db"
    with sqlite3.connect(path) as old:
        old.executescript((schema.FOLDER / "29.sql").read_text("utf-8"))
        for sql in (
            "ALTER TABLE requests ADD COLUMN external_id TEXT",
            "CREATE UNIQUE INDEX requests_external ON requests (external_id)",
            "ALTER TABLE open_calls ADD COLUMN leases TEXT NOT NULL DEFAULT '[]'",
            "ALTER TABLE chains ADD COLUMN allow_free_to_paid INTEGER NOT NULL DEFAULT 0",
            "CREATE TABLE leases (request INTEGER NOT NULL REFERENCES requests (id))",
            "DROP INDEX attempts_by_response",
            "ALTER TABLE gateway_keys DROP COLUMN scope",
            "DROP INDEX requests_by_session",
            "DROP INDEX imports_by_content",
            "ALTER TABLE imports DROP COLUMN content",
            "ALTER TABLE gateway_keys DROP COLUMN session",
            *(
                f"ALTER TABLE {table} DROP COLUMN {column}"
                for table in ("requests", "open_calls")
                for column in ("session", "project")
            ),
            *(f"DROP TABLE rollup_session{suffix}" for suffix in ("", "_next", "_archive")),
            "DROP TABLE sessions",
            "DROP TABLE log_files",
            "DROP TABLE paced_calls",
            *(f"DROP TABLE {t}" for t in ("shadow_claims", "shadow_pairs", "shadows")),
            *(f"DROP TABLE {t}" for t in ("batch_lines", "batch_parts", "batches", "files")),
            "INSERT INTO chains (name, any_cost) VALUES ('kept', 1)",
            f"PRAGMA user_version = {OLDEST}",
        ):
            old.execute(sql)
        (budgets,) = old.execute("SELECT sql FROM sqlite_master WHERE name = 'budgets'").fetchone()
        old.execute("DROP TABLE budgets")
        old.execute(re.sub(r", 'session',\s+'project'", "", budgets))
        with pytest.raises(sqlite3.IntegrityError):
            old.execute("INSERT INTO budgets VALUES (1, 'session', 's', 'day', 1, '{}', 1)")
    old.close()
    upgraded = SqliteStore(path)
    _as_new(upgraded, tmp_path)
    assert "leases" not in Database(upgraded.db).table_names()
    upgraded.db.execute("INSERT INTO budgets VALUES (1, 'session', 's', 'day', 1, '{}', 1)")
    row = upgraded.db.execute("SELECT name, any_cost FROM chains").fetchone()
    assert tuple(row) == ("kept", 1)
    assert upgraded.db.execute("PRAGMA user_version").fetchone()[0] == SCHEMA_VERSION >= max(STEPS)
    upgraded.close()


def _as_new(store: SqliteStore, folder: Path) -> None:
    """It has the tables, columns and indexes of a new one."""
    fresh = SqliteStore(folder / "new.db")
    for table in Database(fresh.db).table_names():
        assert _columns(store, table) == _columns(fresh, table), table
    names = "SELECT name FROM sqlite_master"
    found, wanted = (
        {name for (name,) in each.db.execute(names).fetchall()} for each in (store, fresh)
    )
    assert wanted <= found
    fresh.close()


def test_a_changed_schema_has_another_number() -> None:
    told = "schema.py changed: raise SCHEMA_VERSION in store/port.py, then python -m tests.schema"
    assert schema.NEWEST.exists(), told
    assert schema.NEWEST.read_text("utf-8") == schema.text(), told


@pytest.mark.parametrize(("number", "recorded"), schema.recorded())
def test_a_store_of_each_recorded_schema_gets_what_is_new(
    number: int, recorded: Path, tmp_path: Path
) -> None:
    path = tmp_path / "omni.db"
    with sqlite3.connect(path) as old:
        old.executescript(f"{recorded.read_text('utf-8')} PRAGMA user_version = {number}")
    old.close()
    store = SqliteStore(path)
    _as_new(store, tmp_path)
    store.close()


def test_what_is_not_there_is_made(tmp_path: Path) -> None:
    """A table, a column of one, and their indexes need no step."""
    store = SqliteStore(tmp_path / "omni.db")
    gone = ("DROP INDEX requests_by_session", "DROP TABLE sessions")
    for sql in (*gone, *(f"ALTER TABLE requests DROP COLUMN {c}" for c in ("session", "project"))):
        store.db.execute(sql)
    complete(Database(store._sqlite))
    _as_new(store, tmp_path)
    store.close()


def test_an_older_file_says_what_to_type(tmp_path: Path) -> None:
    path = tmp_path / "omni.db"
    with sqlite3.connect(path) as old:
        old.execute("CREATE TABLE meta (key TEXT)")
        old.execute("PRAGMA user_version = 11")
    old.close()
    with pytest.raises(StoreError, match="before its first release") as caught:
        SqliteStore(path)
    assert "omni init" in caught.value.hint
    with pytest.raises(StoreError, match="before its first release"):
        inspect_backup(path)  # what could not be opened is not restored
    with sqlite3.connect(path) as old:  # nothing was changed
        assert old.execute("PRAGMA user_version").fetchone()[0] == 11
    old.close()


def test_every_transaction_of_the_store_names_what_it_locks() -> None:
    """An engine with more locks than one takes those that are named (SQLite has one)."""
    bare = [
        f"{path.name}: {line.strip()}"
        for path in (PACKAGE / "store").glob("*.py")
        for line in path.read_text("utf-8").splitlines()
        if "transaction()" in line and "self.transaction() as db" not in line
    ]
    assert not bare


def test_nobody_outside_the_store_sees_sqlites_errors(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "omni.db")
    with SqliteStore(tmp_path / "omni.db").transaction():
        store.db.execute("PRAGMA busy_timeout = 0")
        with pytest.raises(Locked), store.transaction():
            raise AssertionError("it is locked")
    with pytest.raises(StoreError):
        store.db.execute("SELECT nothing FROM nowhere")
    # What a row says wrong is a fault of ours.
    with pytest.raises(sqlite3.IntegrityError), store.transaction() as db:
        db.execute("INSERT INTO budgets (scope, period, limit_nusd) VALUES ('all', 'day', -1)")
    store.close()


@pytest.mark.parametrize("room", ["gateway", "tui", "cli", "services", "bootstrap", "domain"])
def test_no_room_but_the_store_knows_sqlite(room: str) -> None:
    found = [
        f"{path.relative_to(PACKAGE)}: {line.strip()}"
        for path in (PACKAGE / room).rglob("*.py")
        for line in path.read_text("utf-8").splitlines()
        if re.search(r"^\s*(import|from) sqlite3|\bsqlite3\.|\.store\.db\b", line)
    ]
    assert not found


def test_the_store_imports_in_no_circle() -> None:
    """Imports within functions count, too."""
    graph = {
        path.stem: {
            node.module.rpartition(".")[2]
            for node in ast.walk(ast.parse(path.read_text("utf-8")))
            if isinstance(node, ast.ImportFrom)
            and (node.module or "").startswith("omni_cli.store.")
        }
        for path in (PACKAGE / "store").glob("*.py")
    }
    TopologicalSorter(graph).prepare()


def test_a_value_of_the_ledger_is_made_by_names() -> None:
    """A new field, wherever it stands, moves no value into another column."""
    kinds = {k.__name__ for k in (NewRequest, NewAttempt, AttemptEnd, RequestEnd)}
    found = [
        f"{path.relative_to(PACKAGE)}:{call.lineno}"
        for path in PACKAGE.rglob("*.py")
        for call in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Name)
        and call.func.id in kinds
        and len(call.args) > 2  # what every one of a kind begins with
    ]
    assert not found
