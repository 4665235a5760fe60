"""Rollups made anew from the ledger, and compared with it.

A rebuild fills tables of its own, some thousand requests at a time, each time in one transaction
that also notes how far it is. Other processes go on meanwhile: reports read the old tables, and
calls are counted in the old ones and, where the rebuild has passed them, in the new (see
``RollupStore``). Whoever finds no request left swaps the tables. A rebuild that was cut off goes
on where it stopped.
"""

from collections.abc import Callable

from omni_cli.domain.errors import StoreError
from omni_cli.domain.periods import HOUR_MS, local_day
from omni_cli.records import Lock, RollupCheck
from omni_cli.store.port import ZONE_KEY, Connection, Store
from omni_cli.store.rollups import REBUILD_KEY, Building, RollupStore, pour
from omni_cli.store.schema import ROLLUPS, Rollup

#: Requests per transaction: some 100 ms, so that other processes' calls hardly wait.
CHUNK = 10_000
Progress = Callable[[int, int], None]

_LAST_OF_CHUNK = """
SELECT max(id), count(*) FROM (SELECT id FROM requests WHERE id > ? ORDER BY id LIMIT ?) AS chunk
"""
_MONEY = """
SELECT
    (SELECT coalesce(sum(cost_nusd), 0) FROM attempts)
        + (SELECT coalesce(sum(delta_nusd), 0) FROM adjustments),
    (SELECT coalesce(sum(coalesce(cost_nusd, 0) + adjusted_nusd), 0) FROM requests),
    (SELECT coalesce(sum(cost_nusd), 0) FROM rollup_day),
    (SELECT coalesce(sum(cost_nusd), 0) FROM rollup_hour),
    (SELECT coalesce(sum(cost_nusd), 0) FROM rollup_day_archive)
"""


class RollupRebuild:
    def __init__(self, store: Store) -> None:
        self._store = store
        self._rollups = RollupStore(store)

    def rebuild(self, zone: str, progress: Progress = lambda _done, _total: None) -> int:
        """Make the rollups anew with days of ``zone``; goes on with one that was cut off.

        Args:
            progress: called with the requests counted so far and all there are.

        Returns:
            How many requests this call has counted.

        Raises:
            StoreError: another process began one for another zone meanwhile.
        """
        db = self._store.db
        self._begin(zone)
        building = self._rollups.building
        passed = building.done if building else 0
        (total,) = db.execute("SELECT count(*) FROM requests").fetchone()
        (before,) = db.execute("SELECT count(*) FROM requests WHERE id <= ?", (passed,)).fetchone()
        counted = 0
        while True:
            step = self._step(zone)
            if step is None:
                progress(total, total)
                return counted
            counted += step
            progress(min(before + counted, total), total)

    def _begin(self, zone: str) -> None:
        with self._store.transaction(Lock.LEDGER) as db:
            building = self._rollups.building
            if building is not None and building.zone == zone:
                return
            for rollup in ROLLUPS:
                db.execute(f"DELETE FROM {rollup.table}_next")  # noqa: S608  # our names
                _copy(db, rollup, "_archive", "_next")
            self._store.set_meta(REBUILD_KEY, Building(zone, -1).text())

    def _step(self, zone: str) -> int | None:
        """Count one chunk; None when all is done and the tables are swapped."""
        with self._store.transaction(Lock.LEDGER) as db:
            building = self._rollups.building
            if building is None:  # another process did the last step
                return None
            if building.zone != zone:
                raise StoreError(
                    f"another process is making the reports anew for {building.zone}",
                    hint="two omnis with different zones share this store: "
                    "omni config set general.zone settles it",
                )
            last, count = db.execute(_LAST_OF_CHUNK, (building.done, CHUNK)).fetchone()
            if not count:
                self._swap(db, zone)
                return None
            pour(
                db,
                where="r.id > :after AND r.id <= :last",
                values={"after": building.done, "last": last},
                zone=zone,
                suffix="_next",
            )
            self._store.set_meta(REBUILD_KEY, Building(zone, last).text())
            return int(count)

    def _swap(self, db: Connection, zone: str) -> None:
        for rollup in ROLLUPS:
            db.execute(f"DELETE FROM {rollup.table}")  # noqa: S608  # our names
            _copy(db, rollup, "_next", "")
            db.execute(f"DELETE FROM {rollup.table}_next")  # noqa: S608  # our names
        self._store.set_meta(ZONE_KEY, zone)
        db.execute("DELETE FROM meta WHERE key = ?", (REBUILD_KEY,))

    def archive(self, requests: str) -> None:
        """Keep what some settled requests sum up to, in the transaction that deletes them.

        Args:
            requests: name of a table whose column ``id`` names them.

        Raises:
            StoreError: a rebuild is under way, which would miss them.
        """
        pour(
            self._store.db,
            where=f"r.id IN (SELECT id FROM {requests})",  # noqa: S608  # our names
            values={},
            zone=self._zone_to_keep(),
            suffix="_archive",
        )

    def divides(self, at_ms: int) -> bool:
        """Whether no row of the rollups holds calls from before a time and from after it."""
        zone = self._rollups.zone
        return at_ms % HOUR_MS == 0 and local_day(at_ms - 1, zone) != local_day(at_ms, zone)

    def archive_all(self, before_ms: int, stays: str) -> None:
        """Keep what all requests before a time sum up to that ``divides`` the rollups, in the
        transaction that deletes them: it stands there already.

        Args:
            stays: a condition on ``r``, the requests, of those that are not deleted.

        Raises:
            StoreError: a rebuild is under way, which would miss them.
        """
        zone, db = self._zone_to_keep(), self._store.db
        for rollup in ROLLUPS:
            name = rollup.key[0]
            limit = before_ms // HOUR_MS if name == "hour" else local_day(before_ms, zone)
            db.execute(f"DELETE FROM {rollup.table}_archive WHERE {name} < {limit}")  # noqa: S608  # our names
            _copy(db, rollup, "", "_archive", f"WHERE {name} < {limit}")
        pour(
            db,
            where=f"r.created_at < :before AND {stays}",
            values={"before": before_ms},
            zone=zone,
            suffix="_archive",
            sign=-1,
        )

    def _zone_to_keep(self) -> str:
        counting = self._rollups.counting()
        if counting.building is not None:
            raise StoreError(
                "the reports are being made anew: nothing can be removed meanwhile",
                hint="omni db rebuild finishes it",
            )
        return counting.zone

    def check(self) -> RollupCheck:
        """Compare the rollups with the ledger, both as they are at one moment; writes nothing."""
        with self._store.snapshot() as db:
            for rollup in ROLLUPS:
                db.execute(rollup.create("_check", temporary=True))
                _copy(db, rollup, "_archive", "_check")
            pour(db, where="true", values={}, zone=self._rollups.zone, suffix="_check")
            different = 0
            examples: list[str] = []
            for rollup in ROLLUPS:
                for left, right in (("", "_check"), ("_check", "")):
                    rows = db.execute(_difference(rollup, left, right)).fetchall()
                    different += len(rows)
                    word = "rollup" if left == "" else "ledger"
                    examples += [f"{rollup.table} {word}: {tuple(row)}" for row in rows[:3]]
            ledger, receipts, day, hour, archive = db.execute(_MONEY).fetchone()
        return RollupCheck(ledger, receipts, day, hour, archive, different, tuple(examples))


def _copy(db: Connection, rollup: Rollup, source: str, target: str, which: str = "") -> None:
    names = ", ".join((*rollup.key, *rollup.values))
    db.execute(
        f"INSERT INTO {rollup.table}{target} ({names})"  # noqa: S608  # our names
        f" SELECT {names} FROM {rollup.table}{source} {which}"
    )


def _difference(rollup: Rollup, left: str, right: str) -> str:
    """Rows of ``left`` that ``right`` has otherwise or not at all. Sums of nothing are nothing."""
    names = ", ".join((*rollup.key, *rollup.values))
    some = " OR ".join(f"{name} <> 0" for name in rollup.values)
    return (
        f"SELECT {names} FROM {rollup.table}{left} WHERE {some}"  # noqa: S608  # our names
        f" EXCEPT SELECT {names} FROM {rollup.table}{right}"
    )
