"""A/B tests of roles and the units (conversations, single requests) in their arms."""

from omni_cli.domain.abtest import AbTest, Unit, UnitCalls
from omni_cli.repositories import Lock
from omni_cli.store.port import Row
from omni_cli.store.trials import TrialStore

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
        row = self._store.db.execute(
            "SELECT arm FROM abtest_units WHERE test = ? AND unit = ?", (test, unit)
        ).fetchone()
        return None if row is None else int(row[0])

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
        return [_unit(row) for row in rows]

    def oldest_open(self, test: int) -> int | None:
        """When the oldest unit that is not settled joined, ms UTC."""
        row = self._store.db.execute(
            "SELECT min(joined_at) FROM abtest_units WHERE test = ? AND settled_at IS NULL",
            (test,),
        ).fetchone()
        return None if row[0] is None else int(row[0])

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


def _unit(row: Row) -> Unit:
    return Unit(
        row["unit"],
        row["arm"],
        row["joined_at"],
        row["settled_at"],
        None if row["good"] is None else bool(row["good"]),
        row["cost_nusd"],
        row["latency_ms"],
    )
