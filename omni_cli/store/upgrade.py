"""How files that an earlier build made become what ``schema.py`` says.

Tables and columns that are new there are made in a store that has them not, so adding one takes no
step. What else changes is a numbered step, which is never edited once released, and runs in
PostgreSQL, too: it calls nothing but ``execute``. Both only add where they can, so that an omni
that is still running goes on working on the store. All of it is one transaction for each.
"""

import re
from typing import TYPE_CHECKING, Any

from omni_cli.domain.errors import StoreError
from omni_cli.store.port import SCHEMA_VERSION
from omni_cli.store.schema import TABLES, schema_tables, statements

if TYPE_CHECKING:
    import sqlite3

    from sqlite_utils import Database

#: The oldest schema that can be brought on. Those before it were never released.
OLDEST = 17

_CREATES = re.compile(r"^CREATE (UNIQUE )?(TABLE|INDEX) (\w+)", re.MULTILINE)
_INDEX = re.compile(r"\s*CREATE (?:UNIQUE )?INDEX (\w+)\s+ON (\w+)\b(.*)", re.DOTALL)
#: In PostgreSQL.
_COLUMNS = "SELECT attname FROM pg_attribute WHERE attrelid = to_regclass(?) AND attnum > 0"
#: What budgets may be of, within the check of their table.
_SCOPES = r"\(scope IN \([^)]*\)\)"


def _make(db: Any, *names: str) -> None:
    """Tables and indexes that are not there yet, as ``schema.py`` has them."""
    for text in statements():
        found = _CREATES.search(text)
        if found is not None and found[3] in names:
            db.execute(_CREATES.sub(r"CREATE \1\2 IF NOT EXISTS \3", text))


def complete(db: Any) -> None:
    """Make the tables and columns that ``schema.py`` has and the store has not, and indexes on
    them."""
    fresh: dict[str, set[str]] = {}
    for table, columns in schema_tables().items():
        there = _columns_of(db, table)
        missing = [name for name in columns if name not in there]
        if not there:
            _make(db, table)
        else:
            for name in missing:
                db.execute(f"ALTER TABLE {table} ADD COLUMN {name} {columns[name]}")
        fresh[table] = set(missing)
    for text in statements():
        index = _INDEX.match(text)
        if index is not None and fresh[index[2]] & set(re.findall(r"\w+", index[3])):
            _make(db, index[1])


def _columns_of(db: Any, table: str) -> set[str]:
    """None of them where there is no such table."""
    if hasattr(db, "conn"):
        return set(db[table].columns_dict) if db[table].exists() else set()
    return {name for (name,) in db.execute(_COLUMNS, (table,)).fetchall()}


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


def _step_21(db: Any) -> None:
    """Budgets of sessions and projects."""
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


#: By the version that each leads to; versions that only added something have none.
STEPS: dict[int, Any] = {
    18: _step_18,
    19: _step_19,
    21: _step_21,
    26: _step_26,
    27: _step_27,
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
    steps(name=f"{SCHEMA_VERSION:04d} added")(complete)
    for number, step in STEPS.items():
        if number > version:
            steps(name=f"{number:04d}")(step)
    steps.apply(Database(db))
    db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
