"""The store in one SQLite file: pragmas, the schema gate, transactions, and who is alive.

WAL lets readers and one writer work at once. ``synchronous=FULL`` where a person waits (the
CLI: some 0.3 ms a commit, beside a network call), NORMAL for the gateway's batches: both
survive a killed process, FULL also a power cut.
"""

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from omni_cli import system
from omni_cli.domain.errors import Locked, StoreError
from omni_cli.records import Lock
from omni_cli.store.port import SCHEMA_VERSION, SEALED, Connection, Month, Store

BUSY_TIMEOUT_MS = 15_000
#: A log shorter than this is left to grow, bytes.
_LOG_BYTES = 4 * 1024 * 1024

if TYPE_CHECKING:
    from omni_cli.records import StoreStats

# For a value that is no number or text, Python looks in vain for ways to adapt it, at 0.3 us each
# time. These say that it is one already.
_nothing: Any = {}.get  # None of None
sqlite3.register_adapter(type(None), _nothing)
sqlite3.register_adapter(bytes, bytes)
sqlite3.register_adapter(bool, int)


_LOCKED = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
#: What the file or the disk is to blame for.
_OURS = sqlite3.OperationalError
UNWRITABLE_HINT = "set OMNI_HOME to a folder that you can write"


def can_write(path: Path) -> bool:
    """Whether the store may be made or changed there: SQLite writes beside it, too."""
    try:
        folder = next(parent for parent in path.parents if parent.exists())
        return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)
    except OSError:
        return False


def _tell(path: Path | None, exc: sqlite3.DatabaseError, *, writes: bool) -> NoReturn:
    """Raise what whoever uses the store is told: nobody outside knows SQLite's own errors. A row
    that the schema refuses is a fault of ours, and stays what it is."""
    if path is None or not (isinstance(exc, _OURS) or type(exc) is sqlite3.DatabaseError):
        raise exc
    if not writes:
        hint = "omni doctor checks it; omni db restore brings back a backup"
        raise StoreError(f"cannot read the store {path}: {exc}", hint=hint) from exc
    kind = Locked if exc.sqlite_errorcode in _LOCKED else StoreError
    raise kind(
        f"cannot write to the store {path}: {exc}",
        hint="is the disk full, or another omni stuck? try again, then omni doctor",
    ) from exc


class _Cursor(sqlite3.Cursor):
    """Its rows are read as they are asked for, and the file may turn out to be broken there."""

    connection: "_Connection"

    def __next__(self) -> Any:
        try:
            return super().__next__()
        except sqlite3.DatabaseError as exc:
            _tell(self.connection.path, exc, writes=False)

    def fetchone(self) -> Any:
        try:
            return super().fetchone()
        except sqlite3.DatabaseError as exc:
            _tell(self.connection.path, exc, writes=False)

    def fetchall(self) -> list[Any]:
        try:
            return super().fetchall()
        except sqlite3.DatabaseError as exc:
            _tell(self.connection.path, exc, writes=False)


class _Connection(sqlite3.Connection):
    """``path``: of the store, once it is open."""

    path: Path | None = None

    def cursor(self, factory: Any = _Cursor) -> Any:
        return super().cursor(factory)

    def execute(self, sql: str, values: Any = (), /) -> sqlite3.Cursor:
        try:
            return super().execute(sql, values)
        except sqlite3.DatabaseError as exc:
            writes = self.in_transaction or sql.lstrip()[:6] != "SELECT"
            _tell(self.path, exc, writes=writes)

    def executemany(self, sql: str, rows: Iterable[Any], /) -> sqlite3.Cursor:
        try:
            return super().executemany(sql, rows)
        except sqlite3.DatabaseError as exc:
            _tell(self.path, exc, writes=True)


class SqliteStore(Store):
    """One connection and this process's life sign.

    The life sign is a locked file below ``run/``: the kernel frees the lock when the process
    ends however it ends, so another process can tell the dead from the slow without a clock.
    """

    def __init__(self, path: Path, *, durable: bool = True, moving: bool = False) -> None:
        """Args:
            moving: open it also while it is moved, for whoever does that.

        Raises:
            StoreError: the file cannot be opened, is no store, or is corrupt.
        """
        super().__init__()
        self.path = path
        self.where = str(path)
        self._moving = moving
        self._run_dir = path.parent / "run"
        self._life: int | None = None
        self._owner: str | None = None
        self._opened: Path | None = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            # SQLite gives the -wal and -shm files the mode that this one has when it opens it.
            # Only where there is none: to close any descriptor of a file is to give up the locks
            # that this process holds on it, those of its open connections too, and another
            # process that closes the store would then take away the log that they write to
            # (sqlite.org/howtocorrupt.html, 2.2).
            with contextlib.suppress(FileExistsError):
                os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
            # To look at each statement and row from Python costs a gateway a hundredth of its
            # work: what is not durable is for transactions, which translate errors themselves.
            self._sqlite = sqlite3.connect(
                path,
                timeout=BUSY_TIMEOUT_MS / 1000,
                isolation_level=None,
                check_same_thread=False,
                factory=_Connection if durable else sqlite3.Connection,
            )
            self.db = self._sqlite
            self._sqlite.row_factory = sqlite3.Row
            found = path.stat()
            self._file = found.st_dev, found.st_ino
            self._pragmas(durable)
            self._gate()
            self._opened = path
            if isinstance(self._sqlite, _Connection):
                self._sqlite.path = path
        except BaseException as exc:
            if "_sqlite" in self.__dict__:
                self._sqlite.close()
            if not isinstance(exc, (sqlite3.Error, OSError)):
                raise
            raise StoreError(
                f"cannot open the store {path}: {exc}",
                hint=UNWRITABLE_HINT
                if not can_write(path)
                else "omni doctor checks it; omni db restore brings back a backup",
            ) from exc

    def _pragmas(self, durable: bool) -> None:
        execute = self.db.execute
        execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
        self._use_wal()
        execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
        execute("PRAGMA foreign_keys = ON")
        execute("PRAGMA temp_store = MEMORY")

    def _use_wal(self) -> None:
        """Once in a store's life. SQLite does not wait for others here, whatever its timeout."""
        deadline = time.monotonic() + BUSY_TIMEOUT_MS / 1000
        while self.db.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
            try:
                self.db.execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)

    def _gate(self) -> None:
        version = self._version()
        if version == SCHEMA_VERSION:
            self._let_in(version, "")
            return
        if version >= SEALED:
            self._check_seal(version, moving=self._moving)
            return
        self._let_in(
            version, "upgrade omni; or bring an older backup back with omni db restore --force"
        )
        if version > SCHEMA_VERSION:
            return
        # One process makes or upgrades it, the others wait and find the work done.
        with _locked(self.path.parent / "migrate.lock"):
            version = self._version()
            if not version:
                self._make()
            elif version < SCHEMA_VERSION:
                from omni_cli.store.upgrade import upgrade

                upgrade(self._sqlite, version)

    def _version(self) -> int:
        return int(self.db.execute("PRAGMA user_version").fetchone()[0])

    def _make(self) -> None:
        from omni_cli.store.schema import statements

        with self.transaction() as db:
            for statement in statements():
                db.execute(statement)
            self._set_version(SCHEMA_VERSION)

    def _set_version(self, number: int) -> None:
        self.db.execute(f"PRAGMA user_version = {number}")

    def others(self) -> list[str]:
        """To leave WAL mode takes the file for oneself alone; whoever opens it next brings that
        back."""
        with self.impatient():
            try:
                self.db.execute("PRAGMA journal_mode = DELETE")
            except (StoreError, sqlite3.OperationalError) as exc:
                cause = exc.__cause__ if isinstance(exc, StoreError) else exc
                if getattr(cause, "sqlite_errorcode", None) in _LOCKED:
                    return ["another omni has it open (a dashboard, a gateway, a watch)"]
                raise
        return []

    def load(self, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        names = ", ".join(f'"{name}"' for name in columns)
        marks = ", ".join("?" * len(columns))
        self.db.executemany(f"INSERT INTO {table} ({names}) VALUES ({marks})", rows)  # noqa: S608  # our names

    def loaded(self) -> None:
        """SQLite counts on from the highest."""

    def prepare(self, first_ms: int) -> None:
        """There is nothing to be made."""

    def whole_months(self, before_ms: int) -> Sequence[Month]:  # noqa: ARG002  # it is one table
        return ()

    def drop_months(self, months: Sequence[Month]) -> None:
        """There are none."""

    def close(self) -> None:
        self.db.close()
        if self._life is not None:
            with contextlib.suppress(OSError):
                (self._run_dir / f"{self._owner}.lock").unlink()
            os.close(self._life)
            self._life = None

    def _begin(self, locks: tuple[Lock, ...]) -> None:  # noqa: ARG002  # SQLite has one lock
        """``BEGIN IMMEDIATE`` takes the write lock at once: a plain BEGIN that reads first and
        writes later fails with "locked" under concurrency however long it waits. It is the lock of
        everything, whatever is asked for."""
        self.db.execute("BEGIN IMMEDIATE")

    def _add(self, locks: tuple[Lock, ...]) -> None:
        """It has them all."""

    def _commit(self) -> None:
        self.db.execute("COMMIT")

    def _rollback(self) -> None:
        if self._sqlite.in_transaction:
            self.db.execute("ROLLBACK")

    def _tell(self, exc: Exception, *, writes: bool) -> None:
        if isinstance(exc, sqlite3.DatabaseError):
            _tell(self._opened, exc, writes=writes)

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[Connection]:
        self.db.execute("BEGIN")
        try:
            yield self.db
        finally:
            self.db.execute("ROLLBACK")

    def plain(self, sql: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        cursor = self._sqlite.cursor()
        cursor.row_factory = None
        return cursor.execute(sql, values).fetchall()

    @contextlib.contextmanager
    def impatient(self) -> Iterator[None]:
        """Do not wait for locks meanwhile."""
        (waits,) = self.db.execute("PRAGMA busy_timeout").fetchone()
        self.db.execute("PRAGMA busy_timeout = 0")
        try:
            yield
        finally:
            self.db.execute(f"PRAGMA busy_timeout = {int(waits)}")

    def for_batches(self) -> None:
        self.db.execute("PRAGMA busy_timeout = 0")
        # Checkpoints sync to disk: whoever writes runs them elsewhere (``checkpoint``).
        self.db.execute("PRAGMA wal_autocheckpoint = 0")

    def patient(self, wait_ms: int) -> None:
        self.db.execute(f"PRAGMA busy_timeout = {int(wait_ms)}")

    def hurry(self, patience_s: float) -> None:
        """It answers at once, or waits for locks."""

    def checkpoint(self) -> None:
        """Move the log into the store's file, which syncs to disk."""
        with contextlib.suppress(OSError, sqlite3.Error):
            if _size(self._log) >= _LOG_BYTES:
                with contextlib.closing(sqlite3.connect(self.path, timeout=0)) as db:
                    db.execute("PRAGMA wal_checkpoint(PASSIVE)")

    @property
    def _log(self) -> Path:
        return self.path.with_name(self.path.name + "-wal")

    @property
    def owner(self) -> str:
        """This process's name in the ledger; the first use takes its life sign."""
        if self._owner is None:
            self._run_dir.mkdir(exist_ok=True, mode=0o700)
            name = f"{os.getpid()}-{os.urandom(4).hex()}"
            self._life = os.open(self._run_dir / f"{name}.lock", os.O_CREAT | os.O_RDWR, 0o600)
            system.lock(self._life)
            self._owner = name
        return self._owner

    def is_alive(self, owner: str, grace_s: float = 0.0) -> bool:  # noqa: ARG002  # it is known
        """Whether the process that wrote ``owner`` still runs."""
        if owner == self._owner:
            return True
        path = self._run_dir / f"{owner}.lock"
        try:
            handle = os.open(path, os.O_RDWR)
        except FileNotFoundError:
            return _keeps_open(owner, path.name)
        try:
            system.lock(handle, wait=False)
        except BlockingIOError:
            return True
        else:
            with contextlib.suppress(OSError):
                path.unlink()
            return False
        finally:
            os.close(handle)

    def check_file(self) -> None:
        """Whether the store's file is still the one that is open here.

        Raises StoreError: it was removed, or another was put in its place. What is written then
        goes into a file that nobody will find.
        """
        try:
            found = self.path.stat()
        except OSError as exc:
            raise StoreError(
                f"the store {self.path} is gone: {exc.strerror or exc}",
                hint="bring it back (omni db restore), then start omni serve again",
            ) from exc
        if (found.st_dev, found.st_ino) != self._file:
            raise StoreError(
                f"the store {self.path} was replaced by another file while it was open",
                hint="start omni serve again",
            )

    def data_version(self, *, calls: bool = True) -> int:  # noqa: ARG002  # it counts commits
        return int(self.db.execute("PRAGMA data_version").fetchone()[0])

    def vacuum(self) -> tuple[int, int]:
        from sqlite_utils import Database

        before = _size(self.path)
        try:
            Database(self._sqlite).vacuum()
            self.db.execute("PRAGMA optimize")
            self.db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        except StoreError as exc:
            raise StoreError(
                f"cannot vacuum the store: {exc.__cause__}",
                hint="it needs as much free disk space again as the store is large, "
                "and no other omni writing meanwhile",
            ) from exc
        return before, _size(self.path)

    def problems(self) -> list[str]:
        found = [str(row[0]) for row in self.db.execute("PRAGMA integrity_check(20)")]
        found = [] if found == ["ok"] else found
        found += [
            f"{row[0]} row {row[1]} points at a missing row of {row[2]}"
            for row in self._sqlite.execute("PRAGMA foreign_key_check").fetchmany(20)
        ]
        return found

    def sizes(self) -> "StoreStats":
        from omni_cli.records import StoreStats

        (pages,), (free,), (size,) = (
            self.db.execute(f"PRAGMA {name}").fetchone()
            for name in ("page_count", "freelist_count", "page_size")
        )
        return StoreStats(
            path=str(self.path),
            schema=self._version(),
            size_bytes=pages * size,
            free_bytes=free * size,
            wal_bytes=_size(self._log),
            rows={},
            oldest_ms=None,
            newest_ms=None,
        )


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _keeps_open(owner: str, name: str) -> bool:
    """Whether a process still holds its life sign although somebody removed the file: as far as
    the system tells (Linux)."""
    try:
        handles = os.scandir(f"/proc/{owner.partition('-')[0]}/fd")
    except OSError:
        return False
    with handles:
        for handle in handles:
            with contextlib.suppress(OSError):
                if name in Path(handle).readlink().name:
                    return True
    return False


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    handle = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        deadline = time.monotonic() + BUSY_TIMEOUT_MS / 1000
        while True:
            try:
                system.lock(handle, wait=False)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
        yield
    finally:
        os.close(handle)
