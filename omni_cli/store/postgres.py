"""The store in PostgreSQL: one database that any number of machines share.

The SQL is this package's own, said in PostgreSQL's words once and kept. A transaction takes the
locks that it names as advisory locks, in the order of ``LOCKS``, before it reads anything: under
READ COMMITTED each of its statements then sees what the holder before it committed, so that what
reads first and writes then is as right as under SQLite's one lock. Others that hold another lock
go on beside it.

Who lives is a lease: a row in ``owners`` that its process renews, by the database's clock. What
has changed is told with NOTIFY, and looked for in the write-ahead log's position besides.
"""

import contextlib
import functools
import hashlib
import os
import re
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

try:
    import psycopg
    from psycopg import conninfo, errors
    from psycopg.adapt import Loader
    from psycopg.types.numeric import Int8Dumper
except ImportError as exc:
    from omni_cli.domain.errors import ConfigError
    from omni_cli.plugins import install_line

    raise ConfigError(
        "a store in PostgreSQL needs the package psycopg, which is not installed",
        hint=install_line("postgres"),
    ) from exc

from omni_cli.domain.errors import ConfigError, Locked, StoreError, Unsure
from omni_cli.records import Lock, StoreFacts, StoreStats
from omni_cli.store import partitions
from omni_cli.store.port import LOCKS, SCHEMA_VERSION, SEALED, Connection, Cursor, Month, Store

if TYPE_CHECKING:
    from psycopg.abc import PQGen
    from psycopg.rows import RowMaker

#: What our advisory locks are told apart by from those of others in the database.
_CLASS = 0x6F6D6E69
_SCHEMA_LOCK = -1
#: What listens for news.
_CHANNEL = "omni_news"
#: How long a process counts as alive after its last sign, and how often it gives one, seconds. A
#: gateway that is cut off from the database for longer has its open calls closed by others.
LEASE_S = 20.0
_RENEW_S = 5.0
#: How often the log's position is looked at, where no NOTIFY came, seconds.
_POLL_S = 0.5
#: How long a lock is waited for, ms.
_LOCK_MS = 15_000
#: How long the server waits for the next statement of a transaction, ms: whoever has vanished, with
#: its machine or its network, holds locks that all others wait for.
_IDLE_MS = 15_000
#: How long a statement may take before its connection counts as dead, seconds: where a person or
#: a report waits, and where a gateway's batch does.
_PATIENCE_S, _BATCH_PATIENCE_S = 600.0, 5.0
#: How long an unsure COMMIT is asked after, seconds.
_DOUBT_S = 15.0
#: Whoever holds no other locks writes calls that begin and end, and nothing else.
_QUIET = frozenset({Lock.LEDGER, Lock.BUDGETS, Lock.SLOTS})
#: How often a gateway looks at the fleet where nobody told of a change, seconds.
_BACKSTOP_S = 5.0
_SCHEMA_KEY = "schema"
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
_AWAY = (errors.OperationalError, errors.InterfaceError)
#: Another transaction was in the way: the same again may succeed.
_TRY_AGAIN = (
    errors.LockNotAvailable,
    errors.DeadlockDetected,
    errors.SerializationFailure,
    errors.QueryCanceled,
)
_NOW = "(extract(epoch FROM clock_timestamp()) * 1000)::bigint"
#: Tables that only this engine needs.
_OWN_TABLES = """
CREATE TABLE owners (name TEXT PRIMARY KEY, until_at INTEGER NOT NULL)
"""
_RENEW = f"""
INSERT INTO owners VALUES (%s, {_NOW} + %s)
ON CONFLICT (name) DO UPDATE SET until_at = excluded.until_at
"""  # noqa: S608  # our words only
#: All budgets as one number. Who grants by them shares a lock of that number; who changes them
#: waits until nobody has that of before, at most so long, ms: one may be stopped, or cut off.
_BUDGETS = "SELECT hashtext(coalesce(string_agg(b::text, ' ' ORDER BY id), '')) FROM budgets b"
_EARS, _EARS_MS = _CLASS + 1, 1_000
#: A day later nobody's row names it any more.
_SWEEP = f"DELETE FROM owners WHERE until_at < {_NOW} - 86400000"  # noqa: S608  # our words only
_DAY_MS = 86_400_000
_THERE = f"SELECT to_regclass('meta') IS NOT NULL, {partitions.READY}"  # our words only
#: The rest has rows of that month, an older table holds it, others are in the way, or this user may
#: make no tables: then the rest takes what comes.
_NO_MONTH = (
    errors.CheckViolation,
    errors.InvalidObjectDefinition,
    errors.LockNotAvailable,
    errors.InsufficientPrivilege,
    errors.ReadOnlySqlTransaction,
)
_MONTHS_S = 3600.0

# --- SQL in PostgreSQL's words ------------------------------------------------------------------

_MARKS = re.compile(r"""'(?:[^']|'')*'|"[^"]*"|--[^\n]*|::|\?\d*|:[A-Za-z_]\w*""")
_LIST = re.compile(r"\(SELECT value FROM json_each\(([^()]*)\)\)")
#: All columns, as many as there are.
_WHOLE = re.compile(r"(?:\bSELECT|\bRETURNING|,)\s+(?:\w+\.)?\*")
_DEFINES = re.compile(r"\s*(?:--[^\n]*\n\s*)*(?:CREATE|ALTER)\b")
#: In this order.
_TYPES = tuple(
    (re.compile(pattern), word)
    for pattern, word in (
        (r"\bINTEGER PRIMARY KEY\b", "BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY"),
        (r"\bINTEGER\b", "BIGINT"),
        (r"\bREAL\b", "DOUBLE PRECISION"),
        (r"\bBLOB\b", "BYTEA"),
        # Texts are compared and sorted by their bytes, as in SQLite.
        (r"\bTEXT\b", 'TEXT COLLATE "C"'),
        (r"\bVIRTUAL\b", "STORED"),
        (r"\) STRICT(?:, WITHOUT ROWID)?\s*$", ")"),
    )
)


@functools.lru_cache(maxsize=4096)
def translate(sql: str) -> tuple[str, tuple[str, ...] | None]:
    """The statement as PostgreSQL takes it, and by which names its values go, None by position."""
    if _DEFINES.match(sql):
        for pattern, word in _TYPES:
            sql = pattern.sub(word, sql)
        return sql, None
    sql = _LIST.sub(r"(SELECT value::bigint FROM json_array_elements_text((\1)::json))", sql)
    sql = re.sub(r"\bINDEXED BY \w+", "", sql)
    names: list[str] = []
    count = 0

    def mark(found: re.Match[str]) -> str:
        nonlocal count
        text = found[0]
        if text[0] == "?":
            if len(text) > 1:
                return f"${text[1:]}"
            count += 1
            return f"${count}"
        if text[0] == ":" and text != "::":
            if text[1:] not in names:
                names.append(text[1:])
            return f"${names.index(text[1:]) + 1}"
        return text

    return _MARKS.sub(mark, sql), tuple(names) or None


@functools.lru_cache(maxsize=4096)
def _prepare(sql: str) -> bool | None:
    """False: never prepare it, None: when it is used often. A prepared statement that gives whole
    rows fails for good once a newer omni has added a column, and older ones are to run on."""
    return False if _WHOLE.search(sql) else None


class Row(tuple[Any, ...]):
    """Values by position or column name."""

    __slots__ = ()
    places: Mapping[str, int] = {}

    def __getitem__(self, key: Any) -> Any:
        if type(key) is str:
            return tuple.__getitem__(self, self.places[key])
        return tuple.__getitem__(self, key)

    def keys(self) -> Iterable[str]:
        return self.places.keys()


@functools.lru_cache(maxsize=1024)
def _row_of(names: tuple[str, ...]) -> type[Row]:
    return type("Row", (Row,), {"places": {n: i for i, n in enumerate(names)}, "__slots__": ()})


def _rows(cursor: psycopg.Cursor[Any]) -> "RowMaker[Any]":
    description = cursor.description
    if description is None:
        return tuple
    made = _row_of(tuple([column.name for column in description]))
    return functools.partial(tuple.__new__, made)


class _Number(Loader):
    """Sums of whole numbers are whole numbers; a mean is none."""

    def load(self, data: Any) -> int | float:
        text = bytes(data)
        return int(text) if text.lstrip(b"-").isdigit() else float(text)


class _BoolDumper(Int8Dumper):
    """Truth is 0 or 1 in every column."""

    def dump(self, obj: Any) -> bytes:
        return b"1" if obj else b"0"


class _Link(psycopg.Connection[Any]):
    """Gives up on a statement whose answer does not come: a network that drops what it is given
    tells nobody. ``pipe``: what is sent without waiting for each answer, within a batch.
    ``started``: when its server was."""

    patience_s: float | None = _PATIENCE_S
    pipe: psycopg.Pipeline | None = None
    started: str = ""

    def wait(self, gen: "PQGen[Any]", interval: float = 0.1, timeout: float | None = None) -> Any:
        return super().wait(gen, interval, timeout or self.patience_s)


class _Cursor(psycopg.RawCursor[Any]):
    """Of a statement that went into a pipe, too, it knows how many rows there were."""

    @property
    def rowcount(self) -> int:
        link = self.connection
        if isinstance(link, _Link) and link.pipe is not None:
            link.pipe.sync()
        return super().rowcount


def _clean(values: Any) -> Any:
    """Without the one character that PostgreSQL's texts cannot hold."""
    if isinstance(values, str):
        return values.replace("\0", "\N{REPLACEMENT CHARACTER}")
    if isinstance(values, (list, tuple)):
        return type(values)([_clean(value) for value in values])
    return values


class PgConnection:
    """As SQLite's: runs this package's SQL. Opens itself anew where the server was away."""

    def __init__(self, url: str, where: str, *, patience_s: float) -> None:
        self._url = url
        self._where = where
        self.patience_s = patience_s
        self._link: _Link | None = None
        #: Whether a transaction is open: what fails then fails whole.
        self.inside = False
        self._open_pipe: contextlib.AbstractContextManager[psycopg.Pipeline] | None = None

    def link(self) -> _Link:
        """The open connection. Raises StoreError: there is none to be had."""
        link = self._link
        if link is not None and not link.closed:
            return link
        if self.inside:
            self.tell(self.away("the connection was lost"))
        try:
            self._link = link = connect(self._url)
        except psycopg.Error as exc:
            self.tell(exc)
        link.patience_s = self.patience_s
        return link

    def hurry(self, patience_s: float) -> None:
        """Wait no longer for an answer from now on."""
        self.patience_s = patience_s
        if self._link is not None:
            self._link.patience_s = patience_s

    def execute(self, sql: str, values: Any = (), /) -> Cursor:
        text, names = translate(sql)
        if isinstance(values, Mapping):
            values = [values[name] for name in names or ()]
        prepare = _prepare(text)
        try:
            found: Cursor = self._run(
                lambda link: link.execute(text, values or None, prepare=prepare)
            )
        except errors.DataError:
            if (cleaned := _clean(values)) == values:
                raise
            found = self._run(lambda link: link.execute(text, cleaned, prepare=prepare))
        return found

    def executemany(self, sql: str, rows: Iterable[Any], /) -> Cursor:
        text, names = translate(sql)
        if names is None:
            given: Sequence[Any] = list(rows)
        else:
            given = [[row[name] for name in names] for row in rows]

        def run(link: _Link) -> Cursor:
            cursor = link.cursor()
            if len(given) == 1:
                return cursor.execute(text, given[0])
            if names is None and (form := _insert(text)) is not None:
                return _Several([link.execute(*part) for part in _wide(form, given)])
            cursor.executemany(text, given)
            return cursor

        if not given:
            return _NOTHING
        try:
            found: Cursor = self._run(run)
        except errors.DataError:
            if (cleaned := _clean(given)) == given:
                raise
            given = cleaned
            found = self._run(run)
        return found

    def command(self, text: str) -> psycopg.Cursor[Any]:
        """Statements of this engine's own, without values, in one round trip."""
        found: psycopg.Cursor[Any] = self._run(lambda link: link.execute(text, prepare=False))
        return found

    def copy(self, text: str, rows: Iterable[Sequence[Any]]) -> None:
        """Within a transaction: ``rows`` go where ``COPY ... FROM STDIN`` says."""

        def run(link: _Link) -> None:
            with link.cursor().copy(text.encode()) as sink:
                for row in rows:
                    sink.write_row(_clean(tuple(row)))

        self._run(run)

    @staticmethod
    def away(why: str) -> Exception:
        """What ``tell`` is told where nothing else was raised."""
        return errors.OperationalError(why)

    @property
    def server(self) -> str:
        """When the server that is connected was started; "" where none is."""
        return "" if self._link is None else self._link.started

    @property
    def piped(self) -> bool:
        return self._link is not None and self._link.pipe is not None

    def send(self, statements: Sequence[str]) -> psycopg.Cursor[Any]:
        """Statements of this engine's own, without values, the last of which gives the cursor: in a
        pipe that stays open until ``settle`` or ``give_up``, where a transaction begins with
        them."""

        def run(link: _Link) -> psycopg.Cursor[Any]:
            if not self.inside and link.pipe is None:
                # It stays open beyond this call: what ends a transaction ends it.
                pipe = link.pipeline()
                link.pipe = pipe.__enter__()
                self._open_pipe = pipe
            for text in statements[:-1]:
                link.execute(text)
            return link.execute(statements[-1])

        found: psycopg.Cursor[Any] = self._run(run)
        return found

    def settle(self) -> None:
        """Wait for what was sent. Raises what any of it raised."""
        self._run(self._end_pipe)

    def _end_pipe(self, link: _Link) -> None:
        pipe, self._open_pipe = self._open_pipe, None
        if pipe is not None:
            try:
                pipe.__exit__(None, None, None)
            finally:
                link.pipe = None

    def give_up(self) -> None:
        """Whatever becomes of what was sent."""
        if self._link is not None:
            with contextlib.suppress(psycopg.Error):
                self._end_pipe(self._link)

    def _run(self, run: Callable[[_Link], Any]) -> Any:
        again = not self.inside
        while True:
            link = self.link()
            try:
                return run(link)
            except psycopg.Error as exc:
                if not isinstance(exc, _AWAY) or isinstance(exc, _TRY_AGAIN):
                    self.tell(exc)
                lost = link.closed or isinstance(exc, _TIMED_OUT)
                if lost:
                    self.drop()
                if not (lost and again):
                    self.tell(exc)
                again = False

    def drop(self) -> None:
        """Close it, whatever state it is in; the next use opens another."""
        link, self._link = self._link, None
        if link is not None:
            with contextlib.suppress(Exception):
                link.close()
            with contextlib.suppress(Exception):
                self._end_pipe(link)

    close = drop

    def tell(self, exc: Exception) -> NoReturn:
        """Raise what whoever uses the store is told. A row that the schema refuses is a fault of
        ours, and stays what it is."""
        if isinstance(exc, _TRY_AGAIN):
            raise Locked(
                f"the database {self._where} stayed locked: {_words(exc)}",
                hint="try again; omni doctor looks at it",
            ) from exc
        if isinstance(exc, (*_AWAY, errors.InternalError)) and not _is_ours(exc):
            words = _words(exc)
            if _REFUSED.search(words):
                raise StoreError(
                    f"the database {self._where} cannot be used: {words}",
                    hint="createdb makes a database, createuser a user; a password comes from "
                    "PGPASSWORD or ~/.pgpass",
                ) from exc
            raise StoreError(
                f"the database {self._where} does not answer: {words}",
                hint="is PostgreSQL running and reachable? omni doctor looks at it",
            ) from exc
        raise exc


#: Raised where ``_Link.patience_s`` is over.
_TIMED_OUT: type[Exception] = getattr(errors, "_WaitTimeout", TimeoutError)


def _is_ours(exc: Exception) -> bool:
    return isinstance(exc, (errors.IntegrityError, errors.ProgrammingError))


#: The server is there, and does not let in whoever is named so.
_REFUSED = re.compile(
    r"FATAL: .*(does not exist|authentication failed|no pg_hba|not permitted to log in)"
    r"|no password supplied"
)


def _words(exc: Exception) -> str:
    return " ".join(str(exc).split()) or type(exc).__name__


#: An insert of rows that takes none of them for a change of another.
_INSERT = re.compile(r"(\s*INSERT INTO .*? VALUES )\(([^()]*)\)((?:(?!DO UPDATE).)*)", re.DOTALL)
_MARK = re.compile(r"\$(\d+)")
#: Most rows of one statement: they come in powers of two, so that few are ever prepared.
_MOST_ROWS = 32


@functools.lru_cache(maxsize=1024)
def _insert(text: str) -> "re.Match[str] | None":
    return _INSERT.fullmatch(text)


def _wide(form: "re.Match[str]", rows: Sequence[Sequence[Any]]) -> Iterator[tuple[str, list[Any]]]:
    """Many rows as few statements of many rows: each statement costs more than some rows."""
    at, width = 0, len(rows[0])
    while at < len(rows):
        count = min(_MOST_ROWS, 1 << ((len(rows) - at).bit_length() - 1))
        yield (
            _wide_text(form[1], form[2], form[3], width, count),
            [value for row in rows[at : at + count] for value in row],
        )
        at += count


@functools.lru_cache(maxsize=1024)
def _wide_text(before: str, marks: str, after: str, width: int, count: int) -> str:
    def row(first: int) -> str:
        return _MARK.sub(lambda mark: f"${int(mark[1]) + first}", marks)

    rows = [row(n * width) for n in range(count)]
    return f"{before}({'), ('.join(rows)}){after}"


class _Several:
    """What several statements for the rows of one have done."""

    def __init__(self, cursors: Sequence[Cursor]) -> None:
        self._cursors = cursors

    @property
    def rowcount(self) -> int:
        return sum(cursor.rowcount for cursor in self._cursors)

    def fetchone(self) -> None:
        return None

    def fetchall(self) -> list[Any]:
        return []

    def __iter__(self) -> Iterator[Any]:
        return iter(())


_NOTHING = _Several(())


def connect(url: str) -> _Link:
    """Open a connection as the store's are. Raises psycopg.Error."""
    given = conninfo.conninfo_to_dict(url)
    usual = {
        "application_name": "omni",
        "connect_timeout": "5",
        "keepalives_idle": "5",
        "keepalives_interval": "2",
        "keepalives_count": "3",
        "tcp_user_timeout": "10000",
    }
    link = _Link.connect(
        conninfo.make_conninfo("", **{**usual, **given}),
        autocommit=True,
        row_factory=_rows,
        cursor_factory=_Cursor,
        prepare_threshold=2,
    )
    link.prepared_max = 500
    link.adapters.register_dumper(int, Int8Dumper)
    link.adapters.register_dumper(bool, _BoolDumper)
    link.adapters.register_loader("numeric", _Number)
    cursor = link.execute(
        f"SET lock_timeout = {_LOCK_MS}; SET client_min_messages = warning;"
        f" SET idle_in_transaction_session_timeout = {_IDLE_MS};"
        f" {_WHICH_SERVER}",
        prepare=False,
    )
    while cursor.nextset():
        pass
    (link.started,) = next(cursor)
    return link


#: Other after each start, and after a backend's crash, from which a server recovers with its start
#: unchanged and its statistics forgotten.
_WHICH_SERVER = (
    "SELECT pg_postmaster_start_time()::text"
    " || coalesce((SELECT stats_reset::text FROM pg_stat_bgwriter), '')"
)


def named(url: str, env: Mapping[str, str] = os.environ) -> str:
    """Which database an address means, without its password. Raises ConfigError."""
    try:
        given = conninfo.conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        raise ConfigError(
            "the address of the store's database does not parse",
            hint="postgresql://USER@HOST:PORT/DATABASE, and the password in PGPASSWORD or "
            "~/.pgpass",
        ) from None
    if "service" in given:
        return f"of service {given['service']}"
    user = given.get("user") or env.get("PGUSER", "")
    host = given.get("host") or env.get("PGHOST", "localhost")
    port = given.get("port") or env.get("PGPORT", "5432")
    name = given.get("dbname") or env.get("PGDATABASE", user)
    return f"postgresql://{f'{user}@' if user else ''}{host}:{port}/{name}"


# --- the store -----------------------------------------------------------------------------------


class PostgresStore(Store):
    """Args:
    url: as libpq reads it (``postgresql://...``); what it does not say comes from libpq's usual
        places: PGPASSWORD, ~/.pgpass, a service file.
    folder: where this machine keeps what the database does not take.
    durable: a person or a report waits for its statements; else a gateway's batches do.
    moving: open it also while it is moved, for whoever does that.

    Raises:
        StoreError: the database cannot be reached, or was written by a newer omni.
        ConfigError: the address does not parse.
    """

    remote = True
    bears_s = LEASE_S

    def __init__(
        self,
        url: str,
        folder: Path,
        *,
        env: Mapping[str, str] = os.environ,
        durable: bool = True,
        moving: bool = False,
    ) -> None:
        super().__init__()
        self._moving = moving
        self.where = named(url, env)
        digest = hashlib.sha256(self.where.encode()).hexdigest()[:12]
        self.path = folder / f"postgres-{digest}" / "store"
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._url = url
        self._pg = PgConnection(
            url, self.where, patience_s=_PATIENCE_S if durable else _BATCH_PATIENCE_S
        )
        self.db: Connection = self._pg
        self._owner: str | None = None
        self._xid = self._server = ""
        #: Gives it, in a batch whose first statements are on their way.
        self._xids: psycopg.Cursor[Any] | None = None
        #: The budgets as they were before the transaction that is open changes them.
        self._before: int | None = None
        self._batches = False
        self._lock_ms = _LOCK_MS
        self._pulse: _Pulse | None = None
        try:
            self._gate()
        except BaseException:
            self._pg.close()
            raise

    # --- the schema -------------------------------------------------------------------------------

    def _gate(self) -> None:
        version, ahead = self._look()
        if version >= SEALED:
            self._check_seal(version, moving=self._moving)
            return
        if version < SCHEMA_VERSION:
            # One process makes or upgrades it, the others wait and find the work done.
            with self._changing_schema():
                version = self._version()
                if not version:
                    self._make()
                elif version < SCHEMA_VERSION:
                    self._upgrade(version)
        elif not ahead:
            self.make_months()
        self._let_in(version, "upgrade omni")

    def _version(self) -> int:
        """0: there is none yet."""
        return self._look()[0]

    def _look(self) -> tuple[int, bool]:
        """The schema's number, and whether the ledger has its next months."""
        there, ahead = self.db.execute(_THERE).fetchone()
        return (int(self.get_meta(_SCHEMA_KEY) or 0) if there else 0), ahead

    def make_months(self, first_ms: int | None = None) -> None:
        """Make the ledger's months up to those ahead that are not there, from a time on or now."""
        _make_months(self._pg.link(), first_ms)

    @contextlib.contextmanager
    def _changing_schema(self) -> Iterator[None]:
        self._pg.command(f"BEGIN; SELECT pg_advisory_xact_lock({_CLASS}, {_SCHEMA_LOCK})")
        self._pg.inside = True
        self._held = LOCKS
        try:
            yield
            self._pg.command("COMMIT")
        except BaseException:
            self._rollback()
            raise
        finally:
            self._pg.inside, self._held = False, None

    def _make(self) -> None:
        from omni_cli.store.partitions import LIMIT_TABLES
        from omni_cli.store.schema import statements

        own = (_OWN_TABLES, LIMIT_TABLES)
        made = [partitions.parted(translate(text)[0]) for text in [*statements(), *own]]
        (now_ms,) = self.db.execute(partitions.NOW_MS).fetchone()
        ahead = [text for several in partitions.months(now_ms, now_ms) for text in several]
        self._pg.command(";\n".join([*made, *partitions.rest(), *ahead]))
        self._set_version(SCHEMA_VERSION)

    def _upgrade(self, version: int) -> None:
        from omni_cli.store.upgrade import STEPS, complete

        # Who writes waits there, and not for a table while this waits for another of theirs.
        self._pg.command(f"SELECT {_taken(LOCKS)}")
        complete(self.db)
        for number, step in STEPS.items():
            if number > version:
                step(self.db)
        self._set_version(SCHEMA_VERSION)

    def _set_version(self, number: int) -> None:
        self.set_meta(_SCHEMA_KEY, str(number))

    # --- transactions -----------------------------------------------------------------------------

    def _begin(self, locks: tuple[Lock, ...]) -> None:
        wait = "" if self._lock_ms == _LOCK_MS else f"SET LOCAL lock_timeout = {self._lock_ms}"
        locked = f"SELECT pg_current_xact_id()::text, {_taken(locks)}"
        statements = [text for text in ("BEGIN", wait, locked) if text]
        try:
            if self._batches:
                self._xids = self._pg.send(statements)
                return
            cursor = self._pg.command("; ".join(statements))
        finally:
            self._pg.inside = True  # also where a lock was not to be had
            self._server = self._pg.server
        while cursor.nextset():
            pass
        self._xid = next(cursor)[0]

    def _add(self, locks: tuple[Lock, ...]) -> None:
        self._pg.send([f"SELECT {_taken(locks)}"])

    def _commit(self) -> None:
        # Of calls, which come all the time, the log's position tells.
        quiet = _QUIET.issuperset(self._held or ()) and self._before is None
        statements = ["COMMIT"] if quiet else [f"NOTIFY {_CHANNEL}", "COMMIT"]
        if self._xids is not None:
            # What the batch has asked so far is answered by then: no statement of it was in vain.
            self._xid, self._xids = next(self._xids)[0], None
        try:
            if self._pg.piped:
                told = self._pg.send(statements)
                self._pg.settle()
            else:
                told = self._pg.command("; ".join(statements))
        except StoreError:
            # The server may have committed and the answer been lost. It knows.
            self._pg.drop()
            self._pg.inside = False
            try:
                committed = self._is_committed()
            except StoreError as exc:
                unsure = "is it running and reachable? omni doctor looks at it"
                raise Unsure(exc.message, hint=exc.hint or unsure) from exc
            if not committed:
                raise
        else:
            self._pg.inside = False
            while told.nextset():
                pass
            if told.statusmessage != "COMMIT":
                # Something within it failed, whoever heard of that.
                raise StoreError(
                    f"the database {self.where} took back what it was to write",
                    hint="its log says why",
                )
        self._pg.inside = False
        if self._before is not None:
            before, self._before = self._before, None
            with contextlib.suppress(psycopg.Error, StoreError):  # it is written all the same
                self._await_ears(before)

    def changes_budgets(self) -> None:
        if self._before is None:
            (self._before,) = self.db.execute(_BUDGETS).fetchone()

    def _await_ears(self, before: int) -> None:
        """Until nobody grants by budgets as they were, or for a second."""
        (now,) = next(self._pg.command(_BUDGETS))
        if now == before:
            return
        try:
            lock = f"pg_advisory_lock({_EARS}, {before}), pg_advisory_unlock({_EARS}, {before})"
            self._pg.command(f"SET lock_timeout = {_EARS_MS}; SELECT {lock}")
        finally:
            self._pg.command(f"SET lock_timeout = {_LOCK_MS}")

    def _is_committed(self) -> bool:
        """What became of the transaction whose COMMIT was not answered: waits until the database
        is back, for it may not be written twice.

        Raises:
            StoreError: it stayed away.
            Unsure: another server answers. One that was killed forgets the numbers of transactions
                that it had not written down, and gives them to others.
        """
        deadline = time.monotonic() + _DOUBT_S
        while True:
            try:
                row = self._pg.execute(
                    "SELECT pg_xact_status(CAST(CAST(? AS TEXT) AS xid8))", (self._xid,)
                ).fetchone()
            except errors.InvalidParameterValue:  # a number that is yet to come
                return False
            except StoreError:
                if time.monotonic() > deadline:
                    raise
            else:
                if row[0] == "committed" and self._pg.server != self._server:
                    raise Unsure(f"the database {self.where} was started again meanwhile")
                if row[0] != "in progress":
                    return bool(row[0] == "committed")
            time.sleep(0.1)

    def _rollback(self) -> None:
        self._xids = self._before = None
        if self._pg.inside:
            try:
                self._pg.give_up()
                self._pg.command("ROLLBACK")
            except Exception:  # noqa: BLE001  # its end is the transaction's, too
                self._pg.drop()
            self._pg.inside = False

    def _tell(self, exc: Exception, *, writes: bool) -> None:  # noqa: ARG002  # the connection told
        if isinstance(exc, psycopg.Error):
            self._pg.tell(exc)

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[Connection]:
        # Who only reads may take its time.
        idle = "SET LOCAL idle_in_transaction_session_timeout = 0"
        self._pg.command(f"BEGIN ISOLATION LEVEL REPEATABLE READ; {idle}")
        self._pg.inside = True
        try:
            yield self.db
        finally:
            self._rollback()

    @contextlib.contextmanager
    def impatient(self) -> Iterator[None]:
        waits, self._lock_ms = self._lock_ms, 1
        try:
            yield
        finally:
            self._lock_ms = waits

    def for_batches(self) -> None:
        """Batches are written in a thread: they wait for their locks. Their statements are sent
        one behind the other, and waited for where an answer is needed: a batch of some fifteen
        takes five round trips."""
        self._batches = True

    def patient(self, wait_ms: int) -> None:
        self._lock_ms = wait_ms

    def hurry(self, patience_s: float) -> None:
        self._pg.hurry(patience_s)

    def checkpoint(self) -> None:
        """The server's own business."""

    # --- who lives, and what has changed ----------------------------------------------------------

    @property
    def owner(self) -> str:
        if self._owner is None:
            name = f"{os.getpid()}-{os.urandom(4).hex()}"
            # Before the first row names it. By a connection of its own where a transaction is open:
            # others are to see it whatever becomes of that.
            with connect(self._url) if self._pg.inside else contextlib.nullcontext() as other:
                link = other or self._pg.link()
                _renew(link, name)
            self._owner = name
            self._beat()
        return self._owner

    def is_alive(self, owner: str, grace_s: float = 0.0) -> bool:
        if owner == self._owner:
            return True
        row = self.db.execute(
            f"SELECT until_at + ? > {_NOW} FROM owners WHERE name = ?",  # noqa: S608  # our words only
            (int(grace_s * 1000), owner),
        ).fetchone()
        return row is not None and bool(row[0])

    def _beat(self) -> "_Pulse":
        if self._pulse is None:
            self._pulse = _Pulse(self._url, lambda: self._owner)
            self._pulse.start()
        return self._pulse

    def data_version(self, *, calls: bool = True) -> int:
        pulse = self._beat()
        if not pulse.listens.is_set():
            pulse.listens.set()
        return pulse.version if calls else pulse.told

    def away_s(self) -> float:
        return self._beat().away_s()

    def now_ms(self) -> int:
        return int(self.db.execute(f"SELECT {_NOW}").fetchone()[0])

    def heard(self) -> int:
        pulse = self._beat()
        if not pulse.listens.is_set():
            pulse.listens.set()
        return pulse.heard

    def check_file(self) -> None:
        """Raises StoreError: the database has been away for too long."""
        pulse = self._beat()
        pulse.listens.set()
        if pulse.why and pulse.away_s() > self.bears_s:
            raise StoreError(
                f"the database {self.where} does not answer: {pulse.why}",
                hint="is PostgreSQL running and reachable? omni doctor looks at it",
            )

    def close(self) -> None:
        if self._pulse is not None:
            self._pulse.stop()
            self._pulse = None
        if self._owner is not None:
            with contextlib.suppress(Exception):
                self._pg.execute("DELETE FROM owners WHERE name = ?", (self._owner,))
        self._pg.close()

    # --- moving it --------------------------------------------------------------------------------

    def others(self) -> list[str]:
        found = self.db.execute(
            "SELECT coalesce(client_addr::text, 'this machine'), count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            " AND application_name = current_setting('application_name') GROUP BY 1 ORDER BY 1"
        )
        lines = [f"connections of omni from {where}: {count}" for where, count in found]
        alive = self.db.execute(
            f"SELECT name FROM owners WHERE until_at > {_NOW} ORDER BY name"  # noqa: S608  # our words only
        )
        return lines or [
            f"the process {name} was there within {LEASE_S:.0f} s, and is cut off or was killed"
            for (name,) in alive
            if name != self._owner
        ]

    def load(self, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        names = ", ".join(f'"{name}"' for name in columns)
        self._pg.copy(f"COPY {table} ({names}) FROM STDIN", rows)

    def prepare(self, first_ms: int) -> None:
        # Ten years: what is older goes to the rest.
        (now_ms,) = self.db.execute(partitions.NOW_MS).fetchone()
        self.make_months(max(first_ms, now_ms - 3650 * _DAY_MS))

    def whole_months(self, before_ms: int) -> Sequence[Month]:
        return partitions.whole_months(self.db.execute, before_ms)

    def drop_months(self, months: Sequence[Month]) -> None:
        # A report that runs for long is not waited for: everybody else would wait behind this.
        self._pg.command(f"SET LOCAL lock_timeout = 2000; {partitions.dropping(months)}")

    def loaded(self) -> None:
        found = self.db.execute(
            "SELECT table_name, column_name FROM information_schema.columns"
            " WHERE table_schema = current_schema() AND is_identity = 'YES'"
        ).fetchall()
        for table, column in found:
            self._pg.command(
                f"SELECT setval(pg_get_serial_sequence('{table}', '{column}'),"  # noqa: S608  # the schema's names
                f" coalesce(max({column}), 1), max({column}) IS NOT NULL) FROM {table}"
            )
        self._pg.command("ANALYZE")

    # --- its size and soundness -------------------------------------------------------------------

    def vacuum(self) -> tuple[int, int]:
        before = self._size()
        self._pg.command("VACUUM (ANALYZE)")
        return before, self._size()

    def _size(self) -> int:
        return int(self.db.execute("SELECT pg_database_size(current_database())").fetchone()[0])

    def problems(self) -> list[str]:
        """Indexes and constraints that do not hold; ``pg_amcheck`` reads every page."""
        found = self.db.execute(
            "SELECT 'the index ' || indexrelid::regclass || ' is not valid' FROM pg_index"
            " WHERE NOT indisvalid"
            " UNION ALL SELECT 'the constraint ' || conname || ' is not valid' FROM pg_constraint"
            " WHERE NOT convalidated"
        )
        return [str(row[0]) for row in found]

    def sizes(self) -> StoreStats:
        return StoreStats(
            path=self.where,
            schema=self._version(),
            size_bytes=self._size(),
            free_bytes=0,
            wal_bytes=0,
            rows={},
            oldest_ms=None,
            newest_ms=None,
        )


def _make_months(link: psycopg.Connection[Any], first_ms: int | None = None) -> None:
    """Each in a transaction of its own, which locks the ledger's tables for a moment."""
    (now_ms,) = next(link.execute(partitions.NOW_MS))
    for statements in partitions.months(now_ms if first_ms is None else first_ms, now_ms):
        lock = f"SELECT pg_advisory_xact_lock({_CLASS}, {_SCHEMA_LOCK})"
        text = "; ".join(["SET LOCAL lock_timeout = 2000", lock, *statements])
        with contextlib.suppress(*_NO_MONTH):
            link.execute(text, prepare=False)


def _taken(locks: Iterable[Lock]) -> str:
    return ", ".join(f"pg_advisory_xact_lock({_CLASS}, {lock.value})" for lock in locks)


def _renew(link: psycopg.Connection[Any], owner: str) -> None:
    text = _RENEW.replace("%s", "$1", 1).replace("%s", "$2")
    link.execute(text, (owner, int(LEASE_S * 1000)))


def _awake() -> float:
    """Seconds that also pass while the machine sleeps, where the system tells (Linux)."""
    return time.clock_gettime(_CLOCK)


class _Pulse(threading.Thread):
    """Renews the process's lease and hears what others have written, over a connection of its own
    that it opens when it first needs one: a command that is over sooner pays nothing.

    Args:
        owner: the process's name, once it has one.
    """

    def __init__(self, url: str, owner: Callable[[], str | None]) -> None:
        super().__init__(name="store pulse", daemon=True)
        self._url = url
        self._owner = owner
        self._over = threading.Event()
        #: Set: somebody asks for news.
        self.listens = threading.Event()
        #: Grows with whatever is written, and with what others told of.
        self.version = self.told = 0
        #: When the database last answered, of a clock that counts sleep, and why it does not.
        self.answered_at = _awake()
        self.why = ""
        #: Grows as budgets are changed, which gateways grant by without asking.
        self.heard = -1
        #: By which number the process grants, whose lock it shares.
        self._budgets: int | None = None
        self._link: _Link | None = None
        self._renewed_at = self._months_at = time.monotonic()
        self._position = ""
        self._looked_at = time.monotonic()

    def away_s(self) -> float:
        return _awake() - self.answered_at

    def stop(self) -> None:
        self._over.set()
        self.listens.set()
        link = self._link
        if link is not None:
            # Wakes the thread, which waits for the server.
            with (
                contextlib.suppress(Exception),
                socket.socket(fileno=os.dup(link.fileno())) as other,
            ):
                other.shutdown(socket.SHUT_RDWR)
        if threading.current_thread() is not self:
            self.join(2.0)

    def run(self) -> None:
        self.listens.wait(_RENEW_S)
        while not self._over.is_set():
            try:
                with connect(self._url) as link:
                    link.patience_s = _BATCH_PATIENCE_S
                    self._link = link
                    link.execute(f"LISTEN {_CHANNEL}", prepare=False)
                    self.told += 1  # what was told of meanwhile nobody heard
                    self._budgets = None  # the lock went with the connection
                    self._look_at_budgets(link)
                    self._serve(link)
            except psycopg.Error as exc:
                self.why = _words(exc)
            finally:
                self._link = None
            self._over.wait(_POLL_S)

    def _serve(self, link: _Link) -> None:
        while not self._over.is_set():
            now = time.monotonic()
            owner = self._owner()
            if owner is not None and now - self._renewed_at >= _RENEW_S:
                _renew(link, owner)
                link.execute(_SWEEP)
                if now - self._months_at >= _MONTHS_S:
                    self._months_at = now
                    if not next(link.execute(_THERE))[1]:
                        _make_months(link)
                self._renewed_at = now
            (position,) = next(link.execute("SELECT pg_current_wal_insert_lsn()::text"))
            self.answered_at, self.why = _awake(), ""
            if position != self._position:
                self._position = position
                self.version += 1
                if now - self._looked_at >= _BACKSTOP_S:
                    self._looked_at = now
                    self.told += 1
                    self._look_at_budgets(link)
            # Nothing else may be asked within that generator.
            if told := list(link.notifies(timeout=_POLL_S, stop_after=1)):
                self.version += len(told)
                self.told += len(told)
                self._look_at_budgets(link)

    def _look_at_budgets(self, link: _Link) -> None:
        while True:
            (budgets,) = next(link.execute(_BUDGETS, prepare=False))
            if budgets == self._budgets:
                return
            self.heard += 1  # from now on nothing is granted by what they were
            shares = f"SELECT pg_advisory_lock_shared({_EARS}, {budgets})"
            if self._budgets is not None:
                shares += f", pg_advisory_unlock_shared({_EARS}, {self._budgets})"
            link.execute(shares, prepare=False)
            self._budgets = budgets  # unless they were changed before that lock was had


# --- from outside ---------------------------------------------------------------------------------


_FACTS = """
SELECT (SELECT value FROM meta WHERE key = 'schema'), pg_database_size(current_database()),
    (SELECT count(*) FROM requests) + (SELECT count(*) FROM open_calls),
    (SELECT count(*) FROM requests WHERE state = 'pending') + (SELECT count(*) FROM open_calls)
"""


def examine(url: str, env: Mapping[str, str]) -> StoreFacts:
    """A look at the database; one that does not answer is reported, not raised. Raises
    ConfigError: the address does not parse."""
    named(url, env)
    try:
        with connect(url) as link:
            server = link.info.parameter_status("server_version") or "?"
            (there,) = next(link.execute("SELECT to_regclass('meta') IS NOT NULL"))
            if not there:
                return StoreFacts(exists=False, newest=SCHEMA_VERSION, server=server)
            schema, size, requests, pending = next(link.execute(_FACTS))
    except psycopg.Error as exc:
        return StoreFacts(exists=True, problems=(_words(exc),), newest=SCHEMA_VERSION, server="?")
    return StoreFacts(
        exists=True,
        schema=int(schema or 0),
        newest=SCHEMA_VERSION,
        size_bytes=size,
        requests=requests,
        open_requests=pending,
        server=server,
    )
