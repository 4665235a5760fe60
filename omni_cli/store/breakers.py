"""Circuit breaker states, shared by all processes through the store."""

from collections.abc import Mapping

from omni_cli.repositories import BreakerChange, Lock
from omni_cli.store.port import Store


class BreakerStore:
    def __init__(self, store: Store) -> None:
        self._store = store

    def all(self) -> Mapping[str, str]:
        return {
            row["target"]: row["state"]
            for row in self._store.db.execute("SELECT target, state FROM breakers")
        }

    def get(self, target: str) -> str | None:
        row = self._store.db.execute(
            "SELECT state FROM breakers WHERE target = ?", (target,)
        ).fetchone()
        return None if row is None else str(row[0])

    def update(self, target: str, change: BreakerChange, *, now_ms: int) -> None:
        """Read, change and write in one transaction; an unchanged state writes nothing."""
        with self._store.transaction(Lock.HEALTH) as db:
            row = db.execute("SELECT state FROM breakers WHERE target = ?", (target,)).fetchone()
            old = None if row is None else str(row[0])
            new = change(old)
            if new != old:
                db.execute(
                    "INSERT INTO breakers VALUES (?, ?, ?) ON CONFLICT (target)"
                    " DO UPDATE SET state = excluded.state, updated_at = excluded.updated_at",
                    (target, new, now_ms),
                )
