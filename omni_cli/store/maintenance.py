"""The store's file: backup, restore, vacuum, a look at it, and removing old raw rows."""

import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from omni_cli.domain.errors import StoreError
from omni_cli.domain.money import format_usd
from omni_cli.domain.record import replace
from omni_cli.records import BackupFacts, Lock, StoreFacts, StoreStats
from omni_cli.store.budgets import BudgetStore, PeriodDrift
from omni_cli.store.port import SCHEMA_VERSION, Month, Store
from omni_cli.store.rebuild import RollupRebuild
from omni_cli.store.schema import ROLLUPS
from omni_cli.store.upgrade import check

#: How long a restore waits for other processes' transactions.
_PATIENCE_S = 30.0
_PRUNE_CHUNK = 2_000
#: What may go of the requests ``r``: nothing that is open, holds money, or is a line of a batch
#: whose results are still to come.
_GOES = """
r.created_at < :before AND r.state <> 'pending'
    AND r.id NOT IN (SELECT request FROM attempts WHERE held_nusd <> 0)
    AND r.id NOT IN (SELECT request FROM batch_lines WHERE request IS NOT NULL)
"""
_OLD = f"""
INSERT INTO pruned SELECT id FROM requests r WHERE {_GOES} AND NOT ({{whole}})
ORDER BY created_at LIMIT :limit
"""  # noqa: S608  # ours
#: When old requests were removed by themselves, and those before when were, ms.
_RETAINED, _PRUNED = "retained_at", "pruned_before"
#: Challengers' answers to what is no longer kept.
_UNASKED = """
DELETE FROM shadow_claims WHERE answer IS NOT NULL
    AND request NOT IN (SELECT request FROM turns WHERE request IS NOT NULL)
"""
#: What goes with a request: with its month by itself, and not.
_STAYING = ("adjustments", "cache_hits")
_GOING = ("attempts", "decisions", *_STAYING)
_TABLES = ("requests", "attempts", "decisions", "adjustments", "outcomes", "turns")


class MaintenanceStore:
    """Work on an open store; see the functions below for work on files."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._rebuild = RollupRebuild(store)
        self._budgets = BudgetStore(store)

    def old_requests(self, before_ms: int) -> int:
        """How many requests ``prune`` would remove."""
        count = f"SELECT count(*) FROM requests r WHERE {_GOES}"  # noqa: S608  # ours
        return int(self._store.db.execute(count, {"before": before_ms}).fetchone()[0])

    def claim_retention(self, now_ms: int, every_ms: int) -> bool:
        """Whether nobody has removed old requests by itself for so long; then it is for the
        caller to do."""
        with self._store.transaction(Lock.META):
            at = int(self._store.get_meta(_RETAINED) or -every_ms)
            if 0 <= now_ms - at < every_ms:
                return False
            self._store.set_meta(_RETAINED, str(now_ms))
        return True

    def pruned_before_ms(self) -> int:
        """Requests before then may have been removed."""
        return int(self._store.get_meta(_PRUNED) or 0)

    def prune(self, before_ms: int) -> Iterator[int]:
        """Remove older settled requests with all that hangs on them, and conversations that were
        last used before; yields how many requests each transaction removed. Rollups stay.

        Raises:
            StoreError: reports are being made anew.
        """
        db = self._store.db
        # Whole months go last, at once; what else is older, row by row.
        months = self._store.whole_months(before_ms) if self._rebuild.divides(before_ms) else ()
        old = _OLD.format(whole=_within(months))
        if before_ms > self.pruned_before_ms() and self.old_requests(before_ms):
            self._store.set_meta(_PRUNED, str(before_ms))
        db.execute("CREATE TEMP TABLE IF NOT EXISTS pruned (id INTEGER PRIMARY KEY)")
        while True:
            with self._store.transaction(Lock.LEDGER):
                db.execute("DELETE FROM pruned")
                db.execute(old, {"before": before_ms, "limit": _PRUNE_CHUNK})
                (count,) = db.execute("SELECT count(*) FROM pruned").fetchone()
                if count:
                    self._rebuild.archive("pruned")
                    self._remove(_GOING, "IN (SELECT id FROM pruned)")
                    db.execute("DELETE FROM requests WHERE id IN (SELECT id FROM pruned)")
                else:
                    db.execute("DELETE FROM conversations WHERE updated_at < ?", (before_ms,))
                    db.execute(_UNASKED)
            if not count:
                break
            yield int(count)
        if months:
            yield self._drop(months, before_ms)

    def _drop(self, months: Sequence[Month], before_ms: int) -> int:
        db = self._store.db
        gone = _within(months)
        (count,) = db.execute(f"SELECT count(*) FROM requests r WHERE {gone}").fetchone()  # noqa: S608  # numbers only
        with self._store.transaction(Lock.LEDGER):
            if set(months) - set(self._store.whole_months(before_ms)):
                raise StoreError("old requests are being written", hint="try again")
            self._rebuild.archive_all(before_ms, f"NOT ({gone})")
            for month in months:
                self._remove(_STAYING, f">= {month.low} AND request < {month.high}")
            self._store.drop_months(months)
        return int(count)

    def _remove(self, tables: Sequence[str], which: str) -> None:
        """What hangs on some requests; ``which``: a condition's end, on their ids."""
        db = self._store.db
        for table in tables:
            db.execute(f"DELETE FROM {table} WHERE request {which}")  # noqa: S608  # our names
        db.execute(f"UPDATE outcomes SET request = NULL WHERE request {which}")  # noqa: S608  # our names

    def vacuum(self) -> tuple[int, int]:
        """See ``Store.vacuum``."""
        return self._store.vacuum()

    def problems(self) -> list[str]:
        """What the engine's own full check says; empty where all is well."""
        return self._store.problems()

    def budget_problems(self) -> list[str]:
        """Periods of budgets whose spent, reserved or carried money is not what the ledger's rows
        add up to, as lines to read."""
        with self._store.snapshot():  # one moment, beside calls under way
            return [_drift_line(drift) for drift in self._budgets.drifts()]

    def mend_budgets(self) -> int:
        """Set them right by the ledger; returns how many periods changed."""
        return self._budgets.mend()

    def stats(self) -> StoreStats:
        """Counts every row: seconds at tens of millions."""
        db = self._store.db
        tables = (*_TABLES, *(rollup.table for rollup in ROLLUPS))
        count = ", ".join(f"(SELECT count(*) FROM {name})" for name in tables)  # noqa: S608  # our names
        rows = dict(zip(tables, db.execute(f"SELECT {count}").fetchone(), strict=True))
        oldest, newest = db.execute(
            "SELECT (SELECT min(created_at) FROM requests), (SELECT max(created_at) FROM requests)"
        ).fetchone()
        return replace(self._store.sizes(), rows=rows, oldest_ms=oldest, newest_ms=newest)


def _within(months: Sequence[Month]) -> str:
    """A condition on ``r``, the requests: they are of one of them."""
    return " OR ".join(f"(r.id >= {m.low} AND r.id < {m.high})" for m in months) or "false"


def _drift_line(drift: PeriodDrift) -> str:
    day = datetime.fromtimestamp(drift.start_at / 1000, UTC).date().isoformat()
    words = ("spent", "reserved", "carried over")
    parts = [
        f"{word} {format_usd(kept)}, by the ledger {format_usd(true)}"
        for word, kept, true in zip(words, drift.stored, drift.ledger, strict=True)
        if kept != true
    ]
    return f"#{drift.budget.id} {drift.budget.label} from {day}: {'; '.join(parts)}"


def backup(path: Path, target: Path, *, overwrite: bool) -> BackupFacts:
    """Copy a store that others may be using, as it is at one moment; ``target`` appears whole.

    Raises:
        StoreError: ``target`` exists, or the store cannot be read.
    """
    if target.exists() and not overwrite:
        raise StoreError(f"{target} exists already", hint="another name, or --overwrite")
    if not path.exists():
        raise StoreError(f"there is no store at {path}")
    with fresh(target) as part:
        _copy(path, part)
        inspect_backup(part)
    return inspect_backup(target)


def inspect_backup(path: Path) -> BackupFacts:
    """Read a backup whole. Raises StoreError: it is no store, damaged, or of a newer omni."""
    if not path.is_file():
        raise StoreError(f"there is no file {path}")
    try:
        with closing(_connect(path)) as db:
            sound = db.execute("PRAGMA integrity_check(1)").fetchone()[0]
            schema = int(db.execute("PRAGMA user_version").fetchone()[0])
            if sound != "ok":
                raise StoreError(f"{path} is damaged: {sound}")
            if not schema:
                raise StoreError(f"{path} is no store of omni")
            check(schema)
            requests, newest = db.execute(
                "SELECT count(*), max(created_at) FROM requests"
            ).fetchone()
    except sqlite3.Error as exc:
        raise StoreError(f"{path} is no store of omni: {exc}") from exc
    if schema > SCHEMA_VERSION:
        raise StoreError(
            f"{path} was written by a newer omni (schema {schema}, this one knows "
            f"{SCHEMA_VERSION})",
            hint="upgrade omni, then restore",
        )
    return BackupFacts(str(path), schema, path.stat().st_size, requests, newest)


def restore(
    path: Path, source: Path, aside: Path, *, force: bool
) -> tuple[BackupFacts, Path | None]:
    """Put a backup in the store's place, in one transaction; the old store is kept as ``aside``,
    which is returned, too, where there was one.

    Args:
        force: also while other processes have the store open. Their calls under way are then not
            in the restored store.

    Raises:
        StoreError: the backup is not sound, or the store is in use.
    """
    facts = inspect_backup(source)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not path.exists():
        with fresh(path) as part:
            _copy(source, part)
        return facts, None
    try:
        _alone(path, force=force)
        with fresh(aside) as part:
            _copy(path, part)
        _overwrite(source, path)
    except sqlite3.DatabaseError as exc:
        if isinstance(exc, sqlite3.OperationalError):
            raise StoreError(f"cannot restore into {path}: {exc}") from exc
        # The store itself is damaged: SQLite cannot write into it, so its files make way.
        with fresh(path.with_name(path.name + ".restored"), keep=False) as part:
            _copy(source, part)
            path.replace(aside)
            for ending in ("-wal", "-shm"):
                with suppress(FileNotFoundError):
                    path.with_name(path.name + ending).replace(aside.with_name(aside.name + ending))
            part.replace(path)
    return facts, aside


def _alone(path: Path, *, force: bool) -> None:
    """Make sure that no other process has the store open, which leaving WAL mode needs."""
    with closing(_connect(path, timeout=0.5)) as db:
        db.execute("SELECT count(*) FROM sqlite_master").fetchone()
        try:
            db.execute("PRAGMA journal_mode = DELETE").fetchone()
        except sqlite3.OperationalError as exc:
            if "locked" not in str(exc):
                raise
            if not force:
                raise StoreError(
                    "another omni has the store open",
                    hint="end it (a dashboard, a gateway, a watch), or --force",
                ) from exc


def _overwrite(source: Path, path: Path) -> None:
    deadline = time.monotonic() + _PATIENCE_S

    def patience(_status: int, _remaining: int, _total: int) -> None:
        if time.monotonic() > deadline:
            raise StoreError("the store stayed locked", hint="try again when other omnis rest")

    with closing(_connect(source)) as taken, closing(_connect(path)) as live:
        taken.backup(live, pages=-1, progress=patience)


def _copy(source: Path, target: Path) -> None:
    with closing(_connect(source)) as taken, closing(sqlite3.connect(target)) as copy:
        taken.backup(copy, pages=-1)
        # One file, whatever becomes of it: no -wal that could be left behind.
        copy.execute("PRAGMA journal_mode = DELETE")


def _connect(path: Path, timeout: float = 15.0) -> sqlite3.Connection:
    uri = f"{path.resolve().as_uri()}?mode=rw"
    return sqlite3.connect(uri, uri=True, timeout=timeout, isolation_level=None)


@contextmanager
def fresh(target: Path, *, keep: bool = True) -> Iterator[Path]:
    """A new file beside ``target``, on disk before it takes its name; gone if anything fails."""
    part = target.with_name(f"{target.name}.{os.getpid()}.part")
    try:
        os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        yield part
        if keep:
            with part.open("rb+") as handle:
                os.fsync(handle.fileno())
            part.replace(target)
    except OSError as exc:
        raise StoreError(f"cannot write {target}: {exc}") from exc
    finally:
        part.unlink(missing_ok=True)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


#: Of any file: what this omni writes, and with what.
_facts = partial(StoreFacts, newest=SCHEMA_VERSION, sqlite=sqlite3.sqlite_version)


def examine(path: Path) -> StoreFacts:
    """Read-only; a file that is no store or is corrupt is reported, not raised."""
    if not path.exists():
        return _facts(exists=False)
    size = path.stat().st_size
    try:
        # Write access, which WAL needs to read beside a writer; query_only keeps it to reading.
        db = sqlite3.connect(f"{path.resolve().as_uri()}?mode=rw", uri=True, timeout=15.0)
    except sqlite3.Error as exc:
        return _facts(exists=True, problems=(str(exc),), size_bytes=size)
    try:
        db.execute("PRAGMA query_only = ON")
        found = [str(row[0]) for row in db.execute("PRAGMA quick_check(5)")]
        schema = int(db.execute("PRAGMA user_version").fetchone()[0])
        counts = (0, 0)
        if schema:
            counts = db.execute(
                "SELECT count(*), count(CASE WHEN state = 'pending' THEN 1 END) FROM requests"
            ).fetchone()
            if db.execute("SELECT 1 FROM sqlite_master WHERE name = 'open_calls'").fetchone():
                (live,) = db.execute("SELECT count(*) FROM open_calls").fetchone()
                counts = (counts[0] + live, counts[1] + live)
        return _facts(
            exists=True,
            problems=() if found == ["ok"] else tuple(found),
            journal_mode=str(db.execute("PRAGMA journal_mode").fetchone()[0]),
            schema=schema,
            size_bytes=size,
            requests=int(counts[0]),
            open_requests=int(counts[1]),
        )
    except sqlite3.Error as exc:
        return _facts(exists=True, problems=(str(exc),), size_bytes=size)
    finally:
        db.close()
