"""What is known of agents' sessions beside the rows of their requests."""

from collections.abc import Iterable, Sequence

from omni_cli.domain.sessions import Session, SessionRow
from omni_cli.repositories import Lock
from omni_cli.store.port import Store

#: Values of one statement.
_MOST_MARKS = 5_000
_FIELDS = tuple(name for name in Session.__struct_fields__ if name != "id")
#: What was said last holds, whichever was written first.
_SET = ", ".join(
    f"{name} = CASE WHEN excluded.{name} <> '' AND (sessions.{name} = ''"
    f" OR excluded.last_at >= sessions.last_at) THEN excluded.{name} ELSE sessions.{name} END"
    for name in _FIELDS
)
_NOTE = f"""
INSERT INTO sessions (id, {", ".join(_FIELDS)}, first_at, last_at)
VALUES (?, {", ".join("?" * len(_FIELDS))}, ?, ?)
ON CONFLICT (id) DO UPDATE SET {_SET},
    first_at = CASE WHEN excluded.first_at < sessions.first_at THEN excluded.first_at
        ELSE sessions.first_at END,
    last_at = CASE WHEN excluded.last_at > sessions.last_at THEN excluded.last_at
        ELSE sessions.last_at END
"""  # noqa: S608  # column names only


class SessionStore:
    def __init__(self, store: Store) -> None:
        self._store = store

    def note(self, rows: Iterable[SessionRow]) -> None:
        """Add sessions, or what more is known of them."""
        values = [
            (row.session.id, *(getattr(row.session, n) for n in _FIELDS), row.first_at, row.last_at)
            for row in rows
            if row.session.id
        ]
        if values:
            with self._store.transaction(Lock.LEDGER) as db:
                db.executemany(_NOTE, values)

    def of(self, ids: Sequence[str]) -> dict[str, SessionRow]:
        """Those of these that are known, by id."""
        found: dict[str, SessionRow] = {}
        for start in range(0, len(ids), _MOST_MARKS):
            some = tuple(ids[start : start + _MOST_MARKS])
            marks = ", ".join("?" * len(some))
            sql = f"SELECT * FROM sessions WHERE id IN ({marks})"  # noqa: S608  # marks only
            for row in self._store.db.execute(sql, some):
                session = Session(row["id"], *(row[name] for name in _FIELDS))
                found[session.id] = SessionRow(session, row["first_at"], row["last_at"])
        return found
