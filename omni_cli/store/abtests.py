"""Trials of a challenger against a role's champion, a table each: A/B tests here, with the units
(conversations, single requests) in their arms; ``shadows.py`` has the other."""

import json
from typing import ClassVar, Generic, TypeVar

from omni_cli.domain.abtest import AbTest, Trial, Unit, UnitCalls
from omni_cli.records import Lock
from omni_cli.store.port import Table, read, yes

T = TypeVar("T", bound=Trial)
_BEGUN = ("role", "champion", "challenger", "share", "settings", "started_at")


class TrialStore(Table, Generic[T]):
    table: ClassVar[str]
    kind: type[T]

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
        return [read(self.kind, row, "settings") for row in rows]


_CALLS = """
SELECT count(*) AS calls, count(CASE WHEN state = 'pending' THEN 1 END) AS pending,
    count(CASE WHEN state IN ('failed', 'lost') THEN 1 END) AS failed,
    max(coalesce(settled_at, created_at)) AS last_at,
    sum(coalesce(cost_nusd, 0) + adjusted_nusd) AS known,
    count(CASE WHEN price_state = 'unknown' THEN 1 END) AS unknown,
    avg(CASE WHEN state = 'ok' THEN latency_ms END) AS latency
FROM requests WHERE {where} AND role = :role
"""
_VALUE = """
SELECT avg(o.value) FROM requests AS r JOIN outcomes AS o ON o.request = r.id
WHERE {where} AND r.role = :role AND o.kind IN ('rating', 'thumb', 'test', 'retry')
"""
_UNDER_WAY = "SELECT count(*) FROM open_calls WHERE {where} AND role = :role"
#: A conversation's id is its first request's; a request outside of one stands for itself.
_OF_UNIT = "(conversation = :unit OR (id = :unit AND conversation IS NULL))"
_OF_UNIT_R = "(r.conversation = :unit OR (r.id = :unit AND r.conversation IS NULL))"


class AbTestStore(TrialStore[AbTest]):
    table = "abtests"
    kind = AbTest

    def running(self, role: str) -> AbTest | None:
        return next(iter(self.all(role, running=True)), None)

    def arm(self, test: int, unit: int) -> int | None:
        """The arm that a unit is in, None where it is not in the test."""
        return self._value(
            int, "SELECT arm FROM abtest_units WHERE test = ? AND unit = ?", (test, unit)
        )

    def join(self, test: int, unit: int, arm: int, *, at_ms: int) -> None:
        """Put a unit into an arm; one that is in the test stays where it is."""
        with self._store.transaction(Lock.TESTS) as db:
            db.execute(
                "INSERT INTO abtest_units (test, unit, arm, joined_at)"
                " VALUES (?, ?, ?, ?) ON CONFLICT (test, unit) DO NOTHING",
                (test, unit, arm, at_ms),
            )

    def units(self, test: int, *, settled: bool) -> list[Unit]:
        """In the order in which they were settled, or joined."""
        word = "NOT NULL" if settled else "NULL"
        rows = self._store.db.execute(
            f"SELECT * FROM abtest_units WHERE test = ? AND settled_at IS {word}"  # noqa: S608  # names of ours only
            " ORDER BY coalesce(settled_at, joined_at), unit",
            (test,),
        )
        return [read(Unit, row, good=yes(row["good"])) for row in rows]

    def oldest_open(self, test: int) -> int | None:
        """When the oldest unit that is not settled joined, ms UTC."""
        return self._value(
            int,
            "SELECT min(joined_at) FROM abtest_units WHERE test = ? AND settled_at IS NULL",
            (test,),
        )

    def calls(self, role: str, unit: int) -> UnitCalls:
        """What the ledger holds of a unit."""
        values = {"role": role, "unit": unit}
        row = self._store.db.execute(_CALLS.format(where=_OF_UNIT), values).fetchone()
        (live,) = self._store.db.execute(_UNDER_WAY.format(where=_OF_UNIT), values).fetchone()
        value = self._store.db.execute(_VALUE.format(where=_OF_UNIT_R), values).fetchone()[0]
        return UnitCalls(
            calls=row["calls"] + live,
            pending=(row["pending"] or 0) + live,
            failed=row["failed"] or 0,
            last_at=row["last_at"] or 0,
            cost_nusd=None if row["unknown"] else row["known"] or 0,
            known_nusd=row["known"] or 0,
            latency_ms=None if row["latency"] is None else round(row["latency"]),
            value=value,
        )

    def settle(self, test: int, unit: Unit) -> None:
        """Freeze a unit: what happens in it later changes no evidence."""
        with self._store.transaction(Lock.TESTS) as db:
            db.execute(
                "UPDATE abtest_units SET settled_at = ?, good = ?, cost_nusd = ?, latency_ms = ?"
                " WHERE test = ? AND unit = ? AND settled_at IS NULL",
                (
                    unit.settled_at,
                    None if unit.good is None else int(unit.good),
                    unit.cost_nusd,
                    unit.latency_ms,
                    test,
                    unit.unit,
                ),
            )
