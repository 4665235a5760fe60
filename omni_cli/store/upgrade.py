"""How files that an earlier build made become what ``schema.py`` says: numbered steps.

Each is one transaction with its record, and never edited once released. Steps only add where they
can (tables, columns, indexes), so that an omni that is still running goes on working on the file.
Those after 19 run in PostgreSQL, too: they call nothing but ``execute``.

A new table is made as ``schema.py`` has it today; so a column that one of these tables gets later
goes through ``_add``, which knows that it may be there.
"""

import re
from typing import TYPE_CHECKING, Any

from omni_cli.domain.errors import StoreError
from omni_cli.store.schema import TABLES, statements

if TYPE_CHECKING:
    import sqlite3

    from sqlite_utils import Database

#: The oldest schema that can be brought on. Those before it were never released.
OLDEST = 17

_CREATES = re.compile(r"^CREATE (UNIQUE )?(TABLE|INDEX) (\w+)", re.MULTILINE)
#: In PostgreSQL.
_THERE = "SELECT 1 FROM pg_attribute WHERE attrelid = to_regclass(?) AND attname = ?"
#: What budgets may be of, within the check of their table.
_SCOPES = r"\(scope IN \([^)]*\)\)"


def _make(db: Any, *names: str) -> None:
    """Tables and indexes that are not there yet, as ``schema.py`` has them."""
    for text in statements():
        found = _CREATES.search(text)
        if found is not None and found[3] in names:
            db.execute(_CREATES.sub(r"CREATE \1\2 IF NOT EXISTS \3", text))


def _add(db: Any, table: str, column: str, kind: str) -> None:
    """A column, unless the table was made with it."""
    if hasattr(db, "conn"):
        there = column in db[table].columns_dict
    else:
        there = db.execute(_THERE, (table, column)).fetchone() is not None
    if not there:
        db.execute(f"ALTER TABLE {table} ADD COLUMN {column} {kind}")


def _step_18(db: "Database") -> None:
    """What only calls that were begun by builds before 13 had, and columns that nothing read."""
    db["leases"].drop(ignore=True)
    for statement in (
        "DROP INDEX IF EXISTS requests_external",
        "ALTER TABLE requests DROP COLUMN external_id",
        "ALTER TABLE open_calls DROP COLUMN leases",
        "ALTER TABLE chains DROP COLUMN allow_free_to_paid",
    ):
        db.execute(statement)


def _step_19(db: "Database") -> None:
    """Who made a response that its caller asks for again."""
    db.execute(
        "CREATE INDEX IF NOT EXISTS attempts_by_response ON attempts (provider_request_id)\n"
        "    WHERE provider_request_id >= 'resp' AND provider_request_id < 'resq'"
    )


def _step_20(db: "Database") -> None:
    """What a key may do with the fleet; those of builds before manage all of it, or nothing."""
    db.execute("ALTER TABLE gateway_keys ADD COLUMN scope TEXT NOT NULL DEFAULT ''")


def _step_21(db: Any) -> None:
    """Sessions, and how far logs are read."""
    for table in ("requests", "open_calls"):
        for column in ("session", "project"):
            db.execute(f"ALTER TABLE {table} ADD COLUMN {column} TEXT NOT NULL DEFAULT ''")
    db.execute("ALTER TABLE imports ADD COLUMN content TEXT")
    db.execute("ALTER TABLE gateway_keys ADD COLUMN session TEXT NOT NULL DEFAULT ''")
    _make(db, "requests_by_session", "sessions", "sessions_by_time", "sessions_by_parent")
    _make(db, "imports_by_content", "log_files")
    _make(db, *(f"rollup_session{suffix}" for suffix in ("", "_next", "_archive")))
    (scopes,) = re.findall(_SCOPES, TABLES)
    if not hasattr(db, "conn"):  # PostgreSQL
        db.execute("ALTER TABLE budgets DROP CONSTRAINT budgets_scope_check")
        db.execute(f"ALTER TABLE budgets ADD CONSTRAINT budgets_scope_check CHECK {scopes}")
        return
    # In SQLite a check cannot be altered, and the table not made anew while others refer to it.
    # The words of its definition can be (SQLite, "ALTER TABLE", section 7).
    (old,) = db.execute("SELECT sql FROM sqlite_master WHERE name = 'budgets'").fetchone()
    new = re.sub(_SCOPES, scopes, old)
    (version,) = db.execute("PRAGMA schema_version").fetchone()
    db.execute("PRAGMA writable_schema = ON")
    db.execute("UPDATE sqlite_master SET sql = ? WHERE name = 'budgets'", (new,))
    db.execute(f"PRAGMA schema_version = {version + 1}")
    db.execute("PRAGMA writable_schema = OFF")


def _step_22(db: Any) -> None:
    """Batches, and the files that providers keep."""
    _make(db, "files", "files_by_id", "batches", "batches_by_remote", "batches_under_way")
    _make(db, "batch_parts", "batch_parts_held", "batch_lines")


def _step_23(db: Any) -> None:
    """Challengers in the shadow of a role."""
    _make(db, "shadows", "shadows_running", "shadow_pairs")


def _step_24(db: Any) -> None:
    """When a session was stopped: its calls are refused from then on."""
    _add(db, "sessions", "stopped_at", "INTEGER")


def _step_25(db: Any) -> None:
    """What gateways have in hand of budgets."""
    _make(db, "budget_slices")


def _step_26(db: Any) -> None:
    """In PostgreSQL, the ledger by months."""
    if not hasattr(db, "conn"):
        from omni_cli.store.partitions import part

        part(db)


def _step_27(db: Any) -> None:
    """In PostgreSQL, limits that gateways keep together."""
    if not hasattr(db, "conn"):
        from omni_cli.store.partitions import LIMIT_TABLES

        db.execute(LIMIT_TABLES)


def _step_28(db: Any) -> None:
    """Limits a minute of single models."""
    _make(db, "paced_calls")


def _step_29(db: Any) -> None:
    """Who pairs a request of a shadow, the challenger's answer where texts are kept, and what the
    user said of a pair."""
    _make(db, "shadow_claims")
    for column in ("user_champion", "user_challenger"):
        _add(db, "shadow_pairs", column, "REAL")


#: By the version that each leads to.
STEPS: dict[int, Any] = {
    18: _step_18,
    19: _step_19,
    20: _step_20,
    21: _step_21,
    22: _step_22,
    23: _step_23,
    24: _step_24,
    25: _step_25,
    26: _step_26,
    27: _step_27,
    28: _step_28,
    29: _step_29,
}


def check(version: int) -> None:
    """Raises StoreError: a file of this schema cannot be brought on."""
    if version < OLDEST:
        raise StoreError(
            f"the store was made by a build of omni before its first release (schema {version}; "
            f"this one reads {OLDEST} and later)",
            hint="start anew: move the file away, then omni init; or open it once with the last "
            f"build that wrote schema {OLDEST}",
        )


def upgrade(db: "sqlite3.Connection", version: int) -> None:
    """Bring a store of ``version`` to the newest. Raises StoreError: it is too old."""
    check(version)
    from sqlite_utils import Database, Migrations

    steps = Migrations("omni")
    for number, step in STEPS.items():
        if number > version:
            steps(name=f"{number:04d}")(step)
    steps.apply(Database(db))
    db.execute(f"PRAGMA user_version = {max(STEPS)}")
