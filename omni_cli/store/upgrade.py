"""How files that an earlier build made become what ``schema.py`` says: numbered steps.

Each is one transaction with its record, and never edited once released. Steps only add where they
can (tables, columns, indexes), so that an omni that is still running goes on working on the file.
Those after 19 run in PostgreSQL, too: they call nothing but ``execute``.
"""

from typing import TYPE_CHECKING, Any

from omni_cli.domain.errors import StoreError

if TYPE_CHECKING:
    import sqlite3

    from sqlite_utils import Database

#: The oldest schema that can be brought on. Those before it were never released.
OLDEST = 17


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


#: By the version that each leads to.
STEPS: dict[int, Any] = {18: _step_18, 19: _step_19, 20: _step_20}


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
