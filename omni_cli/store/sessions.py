"""What is known of agents' sessions beside the rows of their requests."""

from collections.abc import Iterable, Sequence

from omni_cli.domain.ledger import RequestRow
from omni_cli.domain.sessions import Session, SessionRow, SessionUse
from omni_cli.records import Lock
from omni_cli.store.port import Table
from omni_cli.store.rows import request_row, under_way

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
_USE = """
SELECT count(*), coalesce(sum(input_tokens + output_tokens), 0),
    coalesce(sum(coalesce(cost_nusd, 0) + adjusted_nusd), 0),
    coalesce(sum(CASE WHEN cost_nusd IS NULL AND state <> 'pending' THEN 1 ELSE 0 END), 0),
    coalesce(sum(CASE WHEN created_at >= :since THEN coalesce(cost_nusd, 0) + adjusted_nusd
        ELSE 0 END), 0),
    coalesce(sum(CASE WHEN source = 'import' THEN 0 ELSE 1 END), 0),
    coalesce(sum(CASE WHEN state = 'pending' THEN 1 ELSE 0 END), 0)
FROM requests WHERE session = :session AND session <> '' AND state <> 'refused'
"""
_UNDER_WAY = "SELECT count(*) FROM open_calls WHERE session = ?"
_CALLS = "SELECT * FROM requests WHERE session = ? AND session <> ''"
_OPEN_CALLS = "SELECT * FROM open_calls WHERE session = ?"
_LAST_MODEL = """
SELECT model FROM requests WHERE session = ? AND session <> '' AND model <> ''
ORDER BY created_at DESC, id DESC LIMIT 1
"""


class SessionStore(Table):
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
            for row in self._rows(f"id IN ({', '.join('?' * len(some))})", some):
                found[row.session.id] = row
        return found

    def named(self, text: str, limit: int = 2) -> list[SessionRow]:
        """Those whose id begins so."""
        return self._rows("id BETWEEN ? AND ? LIMIT ?", (text, f"{text}\uffff", limit))

    def within(self, parent: str) -> list[SessionRow]:
        """Sessions of its sub-agents, the oldest first."""
        return self._rows("parent = ? AND parent <> '' ORDER BY first_at, id", (parent,))

    def since(self, at_ms: int) -> list[SessionRow]:
        """Those with a call since then, the latest first."""
        return self._rows("last_at >= ? ORDER BY last_at DESC, id", (at_ms,))

    def _rows(self, where: str, values: Sequence[object]) -> list[SessionRow]:
        sql = f"SELECT * FROM sessions WHERE {where}"  # noqa: S608  # texts of ours only
        return [
            SessionRow(
                Session(row["id"], *(row[name] for name in _FIELDS)),
                row["first_at"],
                row["last_at"],
                row["stopped_at"],
            )
            for row in self._store.db.execute(sql, tuple(values))
        ]

    def stop(self, session: Session, at_ms: int | None, *, now_ms: int) -> None:
        """Refuse its calls from ``at_ms`` on; None: no longer."""
        with self._store.transaction(Lock.LEDGER) as db:
            self.note([SessionRow(session, now_ms, now_ms)] if not self.of([session.id]) else [])
            db.execute("UPDATE sessions SET stopped_at = ? WHERE id = ?", (at_ms, session.id))

    def stopped(self) -> frozenset[str]:
        rows = self._store.db.execute("SELECT id FROM sessions WHERE stopped_at IS NOT NULL")
        return frozenset(name for (name,) in rows)

    def use(self, session: str, since_ms: int = 0) -> SessionUse:
        """What its own calls came to, without its sub-agents' sessions."""
        values = {"session": session, "since": since_ms}
        row = self._store.db.execute(_USE, values).fetchone()
        live = self._store.db.execute(_UNDER_WAY, (session,)).fetchone()
        found = SessionUse(*row)
        return found + SessionUse(through_us=live[0], under_way=live[0])

    def calls(self, session: str) -> list[RequestRow]:
        """In the order they were made, those under way among them."""
        db = self._store.db
        found = [request_row(row) for row in db.execute(_CALLS, (session,))]
        found += [under_way(row) for row in db.execute(_OPEN_CALLS, (session,))]
        return sorted(found, key=lambda row: (row.created_at, row.id))

    def last_model(self, session: str) -> str:
        return self._value(str, _LAST_MODEL, (session,)) or ""
