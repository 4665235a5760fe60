"""Opens another tool's SQLite database for reading, while that tool may be writing it.

SQL outside ``store/`` stays in the importers: these are other programs' files, not omni's store.
"""

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from omni_cli.importers.values import Unreadable

#: How long another program's write lock is waited for.
_BUSY_S = 5.0


@contextmanager
def read_only(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that cannot write. Text that is not UTF-8 reads with replacement marks.

    Raises:
        Unreadable: missing, locked, or not a database.
    """
    with closing(_open(path)) as connection:
        connection.row_factory = sqlite3.Row
        connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
        yield connection


def _open(path: Path) -> sqlite3.Connection:
    if not path.is_file():
        raise Unreadable("the file disappeared")
    uri = path.absolute().as_uri()
    try:
        return _checked(f"{uri}?mode=ro")
    except sqlite3.Error as exc:
        # A database in WAL mode in a folder where its -shm file cannot be made opens only as
        # immutable, which ignores the -wal file: right only where there is none.
        wal = path.with_name(path.name + "-wal")
        if wal.exists():
            raise Unreadable(f"cannot be read: {exc}") from exc
        try:
            return _checked(f"{uri}?immutable=1")
        except sqlite3.Error:
            raise Unreadable(f"cannot be read: {exc}") from exc


def _checked(uri: str) -> sqlite3.Connection:
    connection = sqlite3.connect(uri, uri=True, timeout=_BUSY_S)
    try:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def columns(connection: sqlite3.Connection, table: str) -> frozenset[str]:
    """Column names of a table; empty when there is no such table.

    Raises:
        sqlite3.Error: the database is damaged.
    """
    found = connection.execute("SELECT name FROM pragma_table_info(?)", (table,))
    return frozenset(row[0] for row in found)


def as_mapping(row: sqlite3.Row) -> Mapping[str, Any]:
    return {key: row[key] for key in row.keys()}  # noqa: SIM118 - Row iterates over values
