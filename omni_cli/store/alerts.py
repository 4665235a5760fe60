"""What was told of each subject, so that no alert is told twice."""

from omni_cli.repositories import Lock
from omni_cli.store.connection import Store


class AlertStore:
    def __init__(self, store: Store) -> None:
        self._store = store

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
