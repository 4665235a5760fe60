"""Who changed what: a hash chain of changes, and numbered snapshots of the fleet."""

import hashlib
import json

from omni_cli.records import AuditEntry, Lock, Revision
from omni_cli.store.port import Row, Table

_GENESIS = "0" * 64

_LAST = """
SELECT (SELECT coalesce(max(id), 0) FROM audit), (SELECT coalesce(max(id), 0) FROM prices)
"""


class AuditStore(Table):
    def record(
        self,
        *,
        at_ms: int,
        who: str,
        action: str,
        target: str,
        before: object = None,
        after: object = None,
    ) -> None:
        with self._store.transaction(Lock.AUDIT) as db:
            last = db.execute("SELECT hash FROM audit ORDER BY id DESC LIMIT 1").fetchone()
            fields = (
                at_ms,
                who,
                action,
                target,
                None if before is None else json.dumps(before, sort_keys=True),
                None if after is None else json.dumps(after, sort_keys=True),
                last[0] if last else _GENESIS,
            )
            db.execute(
                "INSERT INTO audit (at, who, action, target, before, after, previous_hash, hash)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (*fields, _digest(fields)),
            )

    def last_change(self) -> tuple[int, int]:
        """Tells whether the fleet has changed since it was read: every change has an entry, but for
        prices that a catalogue brings."""
        row = self._store.db.execute(_LAST).fetchone()
        return int(row[0]), int(row[1])

    def entries(self, *, limit: int = 100, target: str | None = None) -> list[AuditEntry]:
        """Newest first."""
        rows = self._store.db.execute(
            "SELECT * FROM audit WHERE (CAST(:target AS TEXT) IS NULL OR target = :target)"
            " ORDER BY id DESC LIMIT :limit",
            {"target": target, "limit": limit},
        )
        return [AuditEntry(*row) for row in rows]

    def first_broken(self) -> int | None:
        """Id of the first entry whose hash does not fit; None when the chain holds."""
        previous = _GENESIS
        for row in self._store.db.execute("SELECT * FROM audit ORDER BY id"):
            fields = tuple(row)[1:8]
            if row["previous_hash"] != previous or _digest(fields) != row["hash"]:
                return int(row["id"])
            previous = row["hash"]
        return None

    def add_revision(self, *, at_ms: int, who: str, reason: str, fleet: str) -> int:
        """Returns its number; a fleet equal to the last revision's makes none."""
        with self._store.transaction(Lock.AUDIT) as db:
            last = db.execute(
                "SELECT number, fleet FROM revisions ORDER BY number DESC LIMIT 1"
            ).fetchone()
            if last and last["fleet"] == fleet:
                return int(last["number"])
            cursor = db.execute(
                "INSERT INTO revisions (at, who, reason, fleet) VALUES (?, ?, ?, ?)"
                " RETURNING number",
                (at_ms, who, reason, fleet),
            )
            return int(cursor.fetchall()[0][0])

    def revisions(self, *, limit: int = 50) -> list[Revision]:
        """Newest first."""
        rows = self._store.db.execute(
            "SELECT * FROM revisions ORDER BY number DESC LIMIT ?", (limit,)
        )
        return [_revision(row) for row in rows]

    def revision(self, number: int) -> Revision | None:
        row = self._store.db.execute(
            "SELECT * FROM revisions WHERE number = ?", (number,)
        ).fetchone()
        return None if row is None else _revision(row)


def _digest(fields: tuple[object, ...]) -> str:
    return hashlib.sha256(json.dumps(fields).encode()).hexdigest()


def _revision(row: Row) -> Revision:
    return Revision(row["number"], row["at"], row["who"], row["reason"], row["fleet"])
