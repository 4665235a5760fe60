"""Trials of a challenger against a role's champion: the table that A/B tests and shadows each have
one of."""

import json
from typing import ClassVar, Generic, TypeVar

from omni_cli.domain.abtest import Trial
from omni_cli.repositories import Lock
from omni_cli.store.port import Row, Store

T = TypeVar("T", bound=Trial)
_BEGUN = ("role", "champion", "challenger", "share", "settings", "started_at")


class TrialStore(Generic[T]):
    table: ClassVar[str]
    kind: type[T]

    def __init__(self, store: Store) -> None:
        self._store = store

    def start(self, trial: T) -> int:
        """Returns the new one's id; the id given is not used."""
        values = {name: getattr(trial, name) for name in _BEGUN}
        values["settings"] = json.dumps(dict(trial.settings))
        with self._store.transaction(Lock.TESTS) as db:
            rows = db.execute(
                f"INSERT INTO {self.table} ({', '.join(_BEGUN)}, state) VALUES"  # noqa: S608  # names of ours only
                f" ({', '.join(f':{name}' for name in _BEGUN)}, 'running') RETURNING id",
                values,
            ).fetchall()
        return int(rows[0][0])

    def end(self, trial: int, *, reason: str, at_ms: int, state: str = "stopped") -> bool:
        """Returns False when it had ended already."""
        with self._store.transaction(Lock.TESTS) as db:
            changed = db.execute(
                f"UPDATE {self.table} SET state = ?, reason = ?, ended_at = ?"  # noqa: S608  # names of ours only
                " WHERE id = ? AND state = 'running'",
                (state, reason, at_ms, trial),
            ).rowcount
        return bool(changed)

    def all(self, role: str | None = None, *, running: bool = False) -> list[T]:
        """Newest first."""
        rows = self._store.db.execute(
            f"SELECT * FROM {self.table} WHERE (CAST(:role AS TEXT) IS NULL OR role = :role)"  # noqa: S608  # names of ours only
            " AND (:running = 0 OR state = 'running') ORDER BY id DESC",
            {"role": role, "running": int(running)},
        )
        return [self._trial(row) for row in rows]

    def _trial(self, row: Row) -> T:
        values = {name: row[name] for name in Trial.__struct_fields__}
        return self.kind(**{**values, "settings": json.loads(row["settings"])})
