"""What every engine of the store offers: a connection that speaks one SQL, transactions that name
what they lock, who is alive, and what has changed.

The SQL of this package is written once, for SQLite and PostgreSQL: ``?`` or ``:name`` for values,
the tables of ``schema.py``, nothing that one of the two lacks. ``connection.py`` runs it as it
stands in SQLite, ``postgres.py`` says it in PostgreSQL's words.
"""

from __future__ import annotations

import contextlib
import json
import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec import Struct

from omni_cli.domain.errors import StoreError
from omni_cli.records import Lock

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path
    from typing import Protocol

    from omni_cli.records import StoreStats
else:
    # Making a protocol costs 0.2 ms, and nothing asks at run time whether a class fulfils one.
    Protocol = object

#: What the tables of ``schema.py`` are numbered, in either engine.
SCHEMA_VERSION = 29

#: Added to that number in a store that is being moved, or was (store/move.py): no omni opens it.
SEALED = 1_000_000
MOVE_KEY = "move"
#: The zone that days are counted in.
ZONE_KEY = "zone"

#: In this order locks are taken: whoever has one may only ask for later ones, so that no two
#: transactions ever wait for each other.
LOCKS = tuple(Lock)
_RANK = {lock: rank for rank, lock in enumerate(LOCKS)}


def among(values: str) -> str:
    """A condition's end: a column is one of the numbers of a JSON list, which ``values`` (a
    parameter) is."""
    return f"IN (SELECT value FROM json_each({values}))"  # noqa: S608  # a mark only


_V = TypeVar("_V", bound=Struct)
_W = TypeVar("_W", int, float, str)


class Row(Protocol):
    """Values by column name or position."""

    def __getitem__(self, key: Any, /) -> Any: ...
    def __iter__(self) -> Iterator[Any]: ...
    def __len__(self) -> int: ...
    def keys(self) -> Iterable[str]: ...


def read(kind: type[_V], row: Row, *texts: str, **more: Any) -> _V:
    """A value of the columns that are called as its fields.

    Args:
        texts: columns that hold JSON.
        more: fields that no column holds as they are.
    """
    values = {name: row[name] for name in kind.__struct_fields__ if name not in more}
    for name in texts:
        values[name] = json.loads(values[name])
    return kind(**values, **more)


def yes(number: int | None) -> bool | None:
    """As a column has it that may be NULL."""
    return None if number is None else bool(number)


class Cursor(Protocol):
    @property
    def rowcount(self) -> int: ...
    def fetchone(self) -> Any: ...
    def fetchall(self) -> list[Any]: ...
    def __iter__(self) -> Iterator[Any]: ...


class Connection(Protocol):
    """Runs SQL; rows are ``Row``."""

    def execute(self, sql: str, values: Any = ..., /) -> Cursor: ...
    def executemany(self, sql: str, rows: Iterable[Any], /) -> Cursor: ...
    def close(self) -> None: ...


#: Stores that this process has opened at its own schema: a newer omni's steps only add, so that it
#: may open them again when that has brought them on.
_opened: set[str] = set()


class Month(Struct, frozen=True):
    """A part of the ledger that can go as a whole: requests with ids in ``[low, high)``."""

    name: str
    low: int
    high: int


def sealed(where: str, note: Mapping[str, Any]) -> StoreError:
    """What whoever opens a sealed store is told."""
    if "from" in note:
        return StoreError(
            f"the store {where} is being filled from {note['from']}, or that was cut off",
            hint="the same omni db move again goes on with it",
        )
    to = note.get("to", "another store")
    if note.get("done"):
        return StoreError(
            f"the store {where} was moved to {to}",
            hint="omni db move --cancel uses again what is here, without what came since",
        )
    return StoreError(
        f"the store {where} is being moved to {to}, or that was cut off",
        hint=f"omni db move {to} goes on with it, omni db move --cancel gives it up",
    )


class Store(ABC):
    """One connection, and this process's life sign. ``path``: what the local files of this store
    (ends that it does not take, above all) are named after; with SQLite, its file."""

    path: Path
    db: Connection
    #: Whether each statement goes over a network: whoever must not wait for one does not run it.
    remote = False
    #: The store as a person is told of it, without a password.
    where: str
    #: For how long it may be away before ``check_file`` says so, seconds.
    bears_s = 0.0

    def __init__(self) -> None:
        #: The locks of the transaction that is open; None: none is.
        self._held: tuple[Lock, ...] | None = None

    # --- what an engine does ----------------------------------------------------------------------

    @abstractmethod
    def _begin(self, locks: tuple[Lock, ...]) -> None: ...

    @abstractmethod
    def _commit(self) -> None: ...

    @abstractmethod
    def _rollback(self) -> None:
        """End what is open, if anything is."""

    @abstractmethod
    def _add(self, locks: tuple[Lock, ...]) -> None:
        """Take further locks in the transaction that is open: in one with named locks."""

    @abstractmethod
    def _tell(self, exc: Exception, *, writes: bool) -> None:
        """Raise what whoever uses the store is told, where ``exc`` is the engine's own error."""

    @abstractmethod
    def snapshot(self) -> contextlib.AbstractContextManager[Connection]:
        """Read everything as it is at one moment, beside whoever writes; nothing is kept."""

    @abstractmethod
    def close(self) -> None: ...

    @property
    @abstractmethod
    def owner(self) -> str:
        """This process's name in the ledger; the first use takes its life sign."""

    @abstractmethod
    def is_alive(self, owner: str, grace_s: float = 0.0) -> bool:
        """Whether the process that wrote ``owner`` still runs; ``grace_s``: or may have run so long
        ago, where that is a lease."""

    @abstractmethod
    def check_file(self) -> None:
        """Raises StoreError: what is open here is not the store any more."""

    @abstractmethod
    def data_version(self, *, calls: bool = True) -> int:
        """Changes whenever another connection has written; without ``calls``, whenever it may have
        written something else than calls that begin and end."""

    def away_s(self) -> float:
        """For how long nothing was heard of it, seconds."""
        return 0.0

    def now_ms(self) -> int:
        """The time that all processes of this store agree on, whatever clock the ledger was given:
        of its server, or of the machine whose file it is."""
        return int(time.time() * 1000)

    def heard(self) -> int:
        """Changes whenever budgets may have been changed; below 0: nothing is heard yet."""
        return self.data_version(calls=False)

    def changes_budgets(self) -> None:  # noqa: B027  # where all ask the store, nothing is to do
        """Within a transaction that is about to: once it is over, whoever grants by budgets in
        another process knows of it."""

    @abstractmethod
    def impatient(self) -> contextlib.AbstractContextManager[None]:
        """Do not wait for locks meanwhile."""

    @abstractmethod
    def for_batches(self) -> None:
        """From now on this connection writes a gateway's batches: it does not wait for locks."""

    @abstractmethod
    def patient(self, wait_ms: int) -> None:
        """Wait for locks from now on: for the last batch of a process."""

    @abstractmethod
    def hurry(self, patience_s: float) -> None:
        """Wait no longer for an answer from now on, seconds: whoever reads has others to serve."""

    @abstractmethod
    def checkpoint(self) -> None:
        """What writing leaves behind for a thread of its own, and any thread may do."""

    @abstractmethod
    def vacuum(self) -> tuple[int, int]:
        """Give free space back to the disk; returns the size in bytes before and after.

        Raises:
            StoreError: another process is writing, or the disk has no room for a second copy.
        """

    @abstractmethod
    def others(self) -> list[str]:
        """Who else has the store open, as far as can be told: lines to read."""

    @abstractmethod
    def load(self, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """Insert many rows, within a transaction."""

    @abstractmethod
    def loaded(self) -> None:
        """Rows with numbers of their own were inserted: new ones count on from there."""

    @abstractmethod
    def prepare(self, first_ms: int) -> None:
        """Requests from then on are about to be inserted."""

    @abstractmethod
    def whole_months(self, before_ms: int) -> Sequence[Month]:
        """Parts of the ledger in which all is older, settled, and held by no budget; none where it
        is one table."""

    @abstractmethod
    def drop_months(self, months: Sequence[Month]) -> None:
        """Remove their requests with attempts and decisions, within a transaction. Raises Locked:
        somebody reads them for long."""

    @abstractmethod
    def _version(self) -> int:
        """The schema's number; 0: there is none yet."""

    @abstractmethod
    def _set_version(self, number: int) -> None:
        """Within a transaction."""

    @abstractmethod
    def problems(self) -> list[str]:
        """What the engine's own full check says; empty where all is well."""

    @abstractmethod
    def sizes(self) -> StoreStats:
        """Where it is and how large, without its rows."""

    # --- what all do ------------------------------------------------------------------------------

    @contextlib.contextmanager
    def transaction(self, *what: Lock) -> Iterator[Connection]:
        """A write transaction; nested use joins the outer one.

        Args:
            what: what nobody else may change until it ends; nothing named is everything. A nested
                use may name what comes later in ``LOCKS``.

        Raises:
            Locked, StoreError: the store stayed locked, is full, is away or is corrupt.
        """
        if self._held is not None:
            more = tuple([lock for lock in what or LOCKS if lock not in self._held])
            if more:
                self._join(more)
            yield self.db
            return
        locks = tuple(sorted(what, key=_RANK.__getitem__)) or LOCKS
        try:
            # BEGIN stands inside: an interrupt right after it must not leave it open.
            self._begin(locks)
            self._held = locks
            yield self.db
            self._commit()
        except BaseException as exc:
            self._rollback()
            if isinstance(exc, Exception):
                self._tell(exc, writes=True)
            raise
        finally:
            self._held = None

    def _join(self, more: tuple[Lock, ...]) -> None:
        held = self._held or ()
        more = tuple(sorted(more, key=_RANK.__getitem__))
        if held and _RANK[more[0]] < _RANK[held[-1]]:
            # Two that do so in turn would wait for each other for ever.
            names = ", ".join(lock.name for lock in held)
            raise AssertionError(f"the lock {more[0].name} is asked for after {names}")
        self._add(more)
        self._held = (*held, *more)

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """Outside a transaction, of a store that is not durable. Raises StoreError."""
        try:
            yield self.db
        except Exception as exc:
            self._tell(exc, writes=False)
            raise

    @property
    def in_transaction(self) -> bool:
        return self._held is not None

    def plain(self, sql: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Rows as tuples."""
        return [tuple(row) for row in self.db.execute(sql, values)]

    def probe(self) -> None:
        """Raises StoreError: it cannot be read."""
        self.db.execute("SELECT 1 FROM requests LIMIT 1").fetchone()

    # --- a store that is moved --------------------------------------------------------------------

    def seal_note(self) -> dict[str, Any] | None:
        """What a sealed store says of its move; None: it is not sealed."""
        if self._version() < SEALED:
            return None
        return dict(json.loads(self.get_meta(MOVE_KEY) or "{}"))

    def seal(self, note: Mapping[str, Any]) -> None:
        """From now on no omni opens it but one that moves it."""
        with self.transaction(Lock.META):
            self.set_meta(MOVE_KEY, json.dumps(note))
            self._set_version(SEALED + SCHEMA_VERSION)

    def unseal(self) -> None:
        with self.transaction(Lock.META) as db:
            db.execute("DELETE FROM meta WHERE key = ?", (MOVE_KEY,))
            self._set_version(SCHEMA_VERSION)

    def _let_in(self, version: int, hint: str) -> None:
        """Raises StoreError: a newer omni wrote it, and not while this process ran."""
        if version <= SCHEMA_VERSION:
            _opened.add(self.where)
        elif self.where not in _opened:
            raise StoreError(
                f"the store {self.where} was written by a newer omni (schema {version}, this one "
                f"knows {SCHEMA_VERSION})",
                hint=hint,
            )

    def _check_seal(self, version: int, *, moving: bool) -> None:
        """Raises StoreError: it is sealed, and whoever opens it does not move it, or moves one of
        another schema."""
        if version < SEALED:
            return
        if version != SEALED + SCHEMA_VERSION:
            raise StoreError(
                f"the store {self.where} is being moved by an omni of another version",
                hint="go on with that one",
            )
        if not moving:
            raise sealed(self.where, self.seal_note() or {})

    def get_meta(self, key: str) -> str | None:
        row = self.db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def set_meta(self, key: str, value: str) -> None:
        with self.transaction(Lock.META) as db:
            db.execute(
                "INSERT INTO meta VALUES (?, ?)"
                " ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                (key, value),
            )


class Table:
    """What reads and writes a family of tables."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def _value(self, kind: type[_W], sql: str, values: Any = ()) -> _W | None:
        """What stands first in the first row; None where there is none, or it is NULL."""
        row = self._store.db.execute(sql, values).fetchone()
        return None if row is None or row[0] is None else kind(row[0])
