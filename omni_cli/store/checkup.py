"""A look at the store's file from outside: it changes nothing, and it survives a broken file."""

import sqlite3
from pathlib import Path

from msgspec import Struct

from omni_cli.store.connection import SCHEMA_VERSION


class StoreFacts(Struct, frozen=True):
    """``problems``: what SQLite's own check says, empty where the file is sound. ``newest``: the
    schema that this omni writes. ``open_requests``: not yet settled, alive or abandoned."""

    exists: bool
    problems: tuple[str, ...] = ()
    journal_mode: str = ""
    schema: int = 0
    newest: int = SCHEMA_VERSION
    size_bytes: int = 0
    requests: int = 0
    open_requests: int = 0
    sqlite: str = sqlite3.sqlite_version


def examine(path: Path) -> StoreFacts:
    """Read-only; a file that is no store or is corrupt is reported, not raised."""
    if not path.exists():
        return StoreFacts(exists=False)
    size = path.stat().st_size
    try:
        # Write access, which WAL needs to read beside a writer; query_only keeps it to reading.
        db = sqlite3.connect(f"{path.resolve().as_uri()}?mode=rw", uri=True, timeout=15.0)
    except sqlite3.Error as exc:
        return StoreFacts(exists=True, problems=(str(exc),), size_bytes=size)
    try:
        db.execute("PRAGMA query_only = ON")
        found = [str(row[0]) for row in db.execute("PRAGMA quick_check(5)")]
        schema = int(db.execute("PRAGMA user_version").fetchone()[0])
        counts = (0, 0)
        if schema:
            counts = db.execute(
                "SELECT count(*), count(CASE WHEN state = 'pending' THEN 1 END) FROM requests"
            ).fetchone()
            if db.execute("SELECT 1 FROM sqlite_master WHERE name = 'open_calls'").fetchone():
                (live,) = db.execute("SELECT count(*) FROM open_calls").fetchone()
                counts = (counts[0] + live, counts[1] + live)
        return StoreFacts(
            exists=True,
            problems=() if found == ["ok"] else tuple(found),
            journal_mode=str(db.execute("PRAGMA journal_mode").fetchone()[0]),
            schema=schema,
            size_bytes=size,
            requests=int(counts[0]),
            open_requests=int(counts[1]),
        )
    except sqlite3.Error as exc:
        return StoreFacts(exists=True, problems=(str(exc),), size_bytes=size)
    finally:
        db.close()
