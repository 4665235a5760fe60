"""Recommendations and what became of them, and alerts that were told."""

import json

from omni_cli.domain.recommend import Finding, finding_from_json, finding_to_json
from omni_cli.records import Lock, StoredAdvice
from omni_cli.store.port import Row, Table


class AdviceStore(Table):
    def refresh(self, findings: list[Finding], *, now_ms: int) -> None:
        """Keep today's findings; pending ones that no longer hold go. What the user decided
        about a finding stays decided. Nothing new writes nothing: whoever watches the store
        would look again, and so on for ever."""
        kept = {advice.finding.key: (advice.status, advice.finding) for advice in self.all()}
        decided = {key for key, (status, _) in kept.items() if status != "pending"}
        now = {f.key: ("pending", f) for f in findings if f.key not in decided}
        if {key: value for key, value in kept.items() if key not in decided} == now:
            return
        with self._store.transaction(Lock.ADVICE) as db:
            gone = [(key,) for key in kept if key not in {finding.key for finding in findings}]
            db.executemany("DELETE FROM advice WHERE status = 'pending' AND key = ?", gone)
            db.executemany(
                "INSERT INTO advice (key, finding, seen_at) VALUES (?, ?, ?)"
                " ON CONFLICT (key) DO UPDATE SET finding = excluded.finding,"
                " seen_at = excluded.seen_at WHERE advice.status = 'pending'",
                [(f.key, json.dumps(finding_to_json(f), sort_keys=True), now_ms) for f in findings],
            )

    def all(self) -> list[StoredAdvice]:
        rows = self._store.db.execute("SELECT * FROM advice ORDER BY id")
        return [_advice(row) for row in rows]

    def get(self, advice_id: int) -> StoredAdvice | None:
        row = self._store.db.execute("SELECT * FROM advice WHERE id = ?", (advice_id,)).fetchone()
        return None if row is None else _advice(row)

    def decide(self, advice_id: int, status: str, *, now_ms: int, undo: object = None) -> None:
        with self._store.transaction(Lock.ADVICE) as db:
            db.execute(
                "UPDATE advice SET status = ?, decided_at = ?, undo = coalesce(?, undo)"
                " WHERE id = ?",
                (status, now_ms, None if undo is None else json.dumps(undo), advice_id),
            )


def _advice(row: Row) -> StoredAdvice:
    return StoredAdvice(
        id=row["id"],
        status=row["status"],
        finding=finding_from_json(json.loads(row["finding"])),
        seen_at_ms=row["seen_at"],
        decided_at_ms=row["decided_at"],
        undo=None if row["undo"] is None else json.loads(row["undo"]),
    )


class AlertStore(Table):
    def told(self, key: str) -> tuple[str, int, int] | None:
        """(level, when the last alert was sent, when the one before), ms UTC; 0: never."""
        row = self._store.db.execute(
            "SELECT level, sent_at, at FROM alerts WHERE key = ?", (key,)
        ).fetchone()
        return None if row is None else (row["level"], row["sent_at"] or 0, row["at"])

    def tell(self, key: str, *, level: str, text: str, at_ms: int) -> None:
        """Note that this level was told now."""
        with self._store.transaction(Lock.ALERTS) as db:
            db.execute(
                "INSERT INTO alerts (key, at, level, text, sent_at)"
                " VALUES (:key, 0, :level, :text, :at)"
                " ON CONFLICT (key) DO UPDATE SET at = coalesce(alerts.sent_at, 0),"
                " level = excluded.level, text = excluded.text, sent_at = excluded.sent_at",
                {"key": key, "level": level, "text": text, "at": at_ms},
            )
