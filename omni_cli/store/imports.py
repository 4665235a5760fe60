"""Imported calls: which are known already, and their rows in the ledger."""

import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal

from omni_cli.domain.chat import Usage
from omni_cli.domain.ids import RANDOM_BITS, make_id
from omni_cli.domain.imports import ImportedCall, LogFile, PricedCall, sessions_of
from omni_cli.domain.ledger import AttemptRow, RequestRow
from omni_cli.domain.periods import DAY_MS
from omni_cli.records import KnownCalls, Lock
from omni_cli.store.budgets import BudgetStore
from omni_cli.store.ledger import LedgerStore
from omni_cli.store.port import Connection, Store, among
from omni_cli.store.rollups import RollupStore
from omni_cli.store.rows import (
    ATTEMPTS,
    REQUESTS,
    TOKEN_COLUMNS,
    WideInsert,
    attempt_values,
    request_values,
    tokens_of,
)
from omni_cli.store.sessions import SessionStore

_State = Literal["ok", "failed", "cancelled"]
_STATES: dict[str | None, _State] = {
    "failure": "failed",
    "cancelled": "cancelled",
}
_NO_USAGE = Usage()
_SET_TOKENS = ", ".join(f"{name} = :{name}" for name in TOKEN_COLUMNS)

_IMPORT_COLUMNS = (
    "source",
    "external_id",
    "request",
    "message_id",
    "provider_request_id",
    "recorded_model",
    "calls",
    "content",
)
_IMPORTS = WideInsert("imports", _IMPORT_COLUMNS)
_TOKENS_OF = (
    "SELECT i.external_id, r.input_tokens + r.output_tokens FROM imports i"
    " JOIN requests r ON r.id = i.request WHERE i.source = ? AND i.external_id IN"
)
_IMPORTED_OF = "SELECT external_id FROM imports WHERE source = ? AND external_id IN"
#: Values of one statement.
_MOST_MARKS = 5_000
_TAKEN = f"SELECT id FROM requests WHERE id {among(':ids')}"  # noqa: S608  # a mark only
_IMPORTED = "SELECT request FROM imports WHERE source = ? AND external_id = ?"
_GROW_ATTEMPT = f"""
UPDATE attempts SET {_SET_TOKENS}, price = :price, cost_nusd = :cost_nusd,
    input_cost_nusd = :input_cost_nusd, reported_cost_nusd = :reported_cost_nusd,
    estimated = :estimated
WHERE request = :id AND n = 1
"""  # noqa: S608  # column names only
_GROW_REQUEST = f"""
UPDATE requests SET {_SET_TOKENS}, price_state = :price_state, cost_nusd = :cost_nusd,
    adjusted_nusd = 0, estimated = :estimated
WHERE id = :id
"""  # noqa: S608  # column names only
_UNDO_ADJUSTMENTS = """
INSERT INTO adjustments (request, n, at, who, reason, delta_nusd)
SELECT request, n, :at, :who, 'replaced by a later state of the imported call', -sum(delta_nusd)
FROM adjustments WHERE request = :id GROUP BY request, n HAVING sum(delta_nusd) <> 0
"""


_LOG_COLUMNS = tuple(name for name in LogFile.__struct_fields__ if name != "partial")
_LOGS = f"""SELECT {", ".join(f'"{name}"' for name in _LOG_COLUMNS)}
FROM log_files WHERE source = ? AND path IN"""  # noqa: S608  # column names only
_PUT_LOG = f"""
INSERT INTO log_files (source, {", ".join(f'"{name}"' for name in _LOG_COLUMNS)})
VALUES (?, {", ".join("?" * len(_LOG_COLUMNS))})
ON CONFLICT (source, path) DO UPDATE SET
    {", ".join(f'"{name}" = excluded."{name}"' for name in _LOG_COLUMNS if name != "path")}
"""  # noqa: S608  # column names only


class ImportStore:
    def __init__(self, store: Store) -> None:
        self._store = store
        self._ledger = LedgerStore(store)
        self._rollups = RollupStore(store)
        self._budgets = BudgetStore(store)
        self._sessions = SessionStore(store)

    def known(self, source: str, calls: Sequence[ImportedCall]) -> KnownCalls:
        """What the ledger holds of these calls' kind; ``calls`` is ordered by time."""
        own = self._own_ids(calls)
        if not self._any():
            nothing: frozenset[Any] = frozenset()
            return KnownCalls(nothing, nothing, nothing, own)

        def held(column: str, names: Iterable[str | None], of: str = "=") -> set[str]:
            """Those of these names that imports have: of this source, or ("<>") of others."""
            wanted = list({name for name in names if name})
            sql = f"SELECT {column} FROM imports WHERE source {of} ? AND {column} IN"  # noqa: S608  # names of ours
            return {name for (name,) in _among(self._store.db, sql, (source,), wanted)}

        said = [name for call in calls for name in call.ledger_ids]
        others = held("message_id", said, "<>") | held("provider_request_id", said, "<>")
        ids = held("external_id", [n for c in calls for n in (c.external_id, c.replay_id)])
        return KnownCalls(
            external_ids={(source, name) for name in ids},
            contents={(source, name) for name in held("content", [c.content for c in calls])},
            message_ids={
                (source, name)
                for name in held("message_id", [c.message_id for c in calls if c.replay])
            },
            ledger_ids=own | others,
        )

    def _any(self) -> bool:
        """Whether anything was ever imported: the first import need not look."""
        return self._store.db.execute("SELECT 1 FROM imports LIMIT 1").fetchone() is not None

    def _own_ids(self, calls: Sequence[ImportedCall]) -> frozenset[str]:
        """The providers' ids of calls that omni itself made in the same days."""
        if not any(call.ledger_ids for call in calls):
            return frozenset()
        last = max(call.at_ms + call.span_ms for call in calls)
        rows = self._store.db.execute(
            "SELECT a.provider_request_id FROM requests r JOIN attempts a ON a.request = r.id"
            " WHERE r.created_at BETWEEN ? AND ? AND r.source <> 'import'"
            " AND a.provider_request_id IS NOT NULL",
            (calls[0].at_ms - DAY_MS, last + DAY_MS),
        )
        return frozenset(name for (name,) in rows)

    def recorded_tokens(self, calls: Iterable[ImportedCall]) -> dict[tuple[str, str], int]:
        """(source, external_id) -> all tokens as imported before; calls not imported are left
        out, and those that retention has removed since."""
        found: dict[tuple[str, str], int] = {}
        if not self._any():
            return found
        by_source: dict[str, list[str]] = {}
        for call in calls:
            by_source.setdefault(call.source, []).append(call.external_id)
        for source, names in by_source.items():
            for name, tokens in _among(self._store.db, _TOKENS_OF, (source,), names):
                found[source, name] = tokens
        return found

    def add(self, rows: Iterable[PricedCall]) -> int:
        """Write new calls with their rollups and budgets in one transaction.

        Returns how many were written: one that another process imported meanwhile is left out.
        """
        with self._store.transaction(Lock.LEDGER, Lock.BUDGETS) as db:
            fresh = _free_ids(db, _not_imported(db, list(rows)))
            if not fresh:
                return 0
            requests, attempts = _columns(list(fresh), list(fresh.values()))
            REQUESTS.write_columns(db, requests, _REQUEST)
            ATTEMPTS.write_columns(db, attempts, _ATTEMPT)
            _IMPORTS.write_columns(db, _known(list(fresh), list(fresh.values())))
            self._rollups.count_imported(requests, attempts["input_cost_nusd"])
            self._sessions.note(sessions_of(row.call for row in fresh.values()))
            if self._budgets.all():
                for request_id, row in fresh.items():
                    cost = row.cost_nusd or 0
                    self._budgets.charge(_scope(request_id, row), row.provider, row.model, cost)
        return len(fresh)

    def grow(self, rows: Iterable[PricedCall], *, now_ms: int, who: str) -> int:
        """Bring calls that were imported unfinished to their later state; returns how many."""
        grown = 0
        with self._store.transaction(Lock.LEDGER, Lock.BUDGETS) as db:
            for row in rows:
                call = row.call
                found = db.execute(_IMPORTED, (call.source, call.external_id)).fetchone()
                if found is None and call.replay_id is not None:
                    found = db.execute(_IMPORTED, (call.source, call.replay_id)).fetchone()
                if found is not None:
                    db.execute(
                        "UPDATE imports SET external_id = ?, content = ? WHERE request = ?",
                        (call.external_id, call.content, found[0]),
                    )
                    self._grow(db, found[0], row, now_ms, who)
                    grown += 1
        return grown

    def _grow(
        self, db: Connection, request_id: int, row: PricedCall, now_ms: int, who: str
    ) -> None:
        before, attempt = self._row(request_id)
        values = _values(row) | {"id": request_id, "at": now_ms, "who": who}
        with self._rollups.recounting(request_id):
            for sql in (_UNDO_ADJUSTMENTS, _GROW_ATTEMPT, _GROW_REQUEST):
                db.execute(sql, values)
        more = (row.cost_nusd or 0) - (before.total_nusd or 0)
        self._budgets.charge(before, attempt.provider, attempt.model, more)

    def _row(self, request_id: int) -> tuple[RequestRow, AttemptRow]:
        request = self._ledger.get(request_id)
        if request is None:
            raise LookupError(request_id)
        return request, self._ledger.attempts(request_id)[0]


class LogFileStore:
    """How far logs of other tools are read."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def states(self, source: str) -> dict[str, tuple[int, int]]:
        """By path, its size and time of change when it was read."""
        sql = "SELECT path, bytes, changed_ns FROM log_files WHERE source = ?"
        rows = self._store.plain(sql, (source,))
        return {path: (size, changed_ns) for path, size, changed_ns in rows}

    def of(self, source: str, paths: Sequence[str]) -> dict[str, LogFile]:
        """Those of these files that were read, by path."""
        rows = _among(self._store.db, _LOGS, (source,), paths)
        return {row[0]: LogFile(*row) for row in rows}

    def read_at(self) -> dict[str, int]:
        """Source -> when it was last read, ms."""
        rows = self._store.db.execute("SELECT source, max(read_at) FROM log_files GROUP BY source")
        return dict(rows.fetchall())

    def knows(self, source: str) -> bool:
        """Whether any of its files was read: of ten thousands of them at once."""
        sql = "SELECT 1 FROM log_files WHERE source = ? LIMIT 1"
        return self._store.db.execute(sql, (source,)).fetchone() is not None

    def put(self, source: str, files: Iterable[LogFile]) -> None:
        values = [(source, *(getattr(file, name) for name in _LOG_COLUMNS)) for file in files]
        if values:
            with self._store.transaction(Lock.LEDGER) as db:
                db.executemany(_PUT_LOG, values)


def _among(
    db: Connection, sql: str, fixed: tuple[object, ...], names: Sequence[str]
) -> Iterator[tuple[Any, ...]]:
    """The rows of a statement that ends in IN, as many names at a time as it takes."""
    for at in range(0, len(names), _MOST_MARKS):
        some = names[at : at + _MOST_MARKS]
        marks = ", ".join("?" * len(some))
        for row in db.execute(f"{sql} ({marks})", (*fixed, *some)):
            yield tuple(row)


def _created(call: ImportedCall) -> int:
    """The middle of a report's day is the same date in nearly every zone, its start is not."""
    return call.at_ms + call.span_ms // 2


def _not_imported(db: Connection, rows: Sequence[PricedCall]) -> list[PricedCall]:
    """Those of them that are not imported yet, in their order."""
    known: set[tuple[str, str]] = set()
    for source in {row.call.source for row in rows}:
        ids = [row.call.external_id for row in rows if row.call.source == source]
        known.update((source, name) for (name,) in _among(db, _IMPORTED_OF, (source,), ids))
    return [row for row in rows if (row.call.source, row.call.external_id) not in known]


def _free_ids(db: Connection, rows: Sequence[PricedCall]) -> dict[int, PricedCall]:
    """By new ids at the calls' own times; the rows of one report share theirs."""
    ids = _wanted_ids([row.call for row in rows])
    taken = {found for (found,) in db.execute(_TAKEN, {"ids": json.dumps(ids)})}
    found: dict[int, PricedCall] = {}
    for candidate, row in zip(ids, rows, strict=True):
        if candidate in taken or candidate in found:
            for bits in itertools.count((candidate & _RANDOM) + 1):
                candidate = make_id(_created(row.call), bits)
                held = db.execute("SELECT 1 FROM requests WHERE id = ?", (candidate,)).fetchone()
                if held is None and candidate not in found:
                    break
        found[candidate] = row
    return found


_RANDOM = (1 << RANDOM_BITS) - 1


def _wanted_ids(calls: Sequence[ImportedCall]) -> list[int]:
    """By what identifies each, so that an import that is made again somewhere else gives the
    same."""
    from hashlib import blake2b  # loads OpenSSL

    return [
        make_id(
            call.at_ms + call.span_ms // 2,
            int.from_bytes(
                blake2b(f"{call.source}\n{call.external_id}".encode(), digest_size=4).digest()
            ),
        )
        for call in calls
    ]


#: What all imported rows have in common: whole rows, whose other values are written per call.
_REQUEST = request_values(RequestRow(id=0, created_at=0, source="import", attempts=1))
_ATTEMPT = attempt_values(
    AttemptRow(request=0, n=1, model="", provider="", state="ok", started_at=0)
)
_Columns = dict[str, Sequence[Any]]


def _columns(ids: Sequence[int], rows: Sequence[PricedCall]) -> tuple[_Columns, _Columns]:
    """What new requests and their attempts say, by column."""
    calls = [row.call for row in rows]
    created = [_created(call) for call in calls]
    usages = [call.usage or _NO_USAGE for call in calls]
    tokens = zip(*map(tokens_of, usages), strict=True)
    both: _Columns = {
        **dict(zip(TOKEN_COLUMNS, tokens, strict=True)),
        "state": [_STATES.get(call.outcome, "ok") for call in calls],
        "model": [row.model for row in rows],
        "provider": [row.provider for row in rows],
        "cost_nusd": [row.cost_nusd for row in rows],
        "estimated": [row.estimated for row in rows],
    }
    return {
        **both,
        "id": ids,
        "created_at": created,
        "settled_at": created,
        "agent": [call.agent or call.source for call in calls],
        "session": [call.session_id or "" for call in calls],
        "project": [call.project or "" for call in calls],
        "price_state": [row.price_state for row in rows],
        "latency_ms": [call.latency_ms for call in calls],
    }, {
        **both,
        "request": ids,
        "started_at": created,
        "ended_at": [at + (c.latency_ms or 0) for at, c in zip(created, calls, strict=True)],
        "price": [row.price for row in rows],
        "input_cost_nusd": [row.input_cost_nusd for row in rows],
        "reported_cost_nusd": [call.recorded_cost_nusd for call in calls],
        "provider_request_id": [call.message_id or call.provider_request_id for call in calls],
    }


def _scope(request_id: int, row: PricedCall) -> RequestRow:
    """What budgets go by."""
    call = row.call
    agent, session, project = call.agent or call.source, call.session_id or "", call.project or ""
    return RequestRow(
        id=request_id,
        created_at=_created(call),
        source="import",
        agent=agent,
        session=session,
        project=project,
    )


def _known(ids: Sequence[int], rows: Sequence[PricedCall]) -> _Columns:
    """What tells calls again, by column; in the order of the table's key, so that its pages are
    looked for once."""
    found = sorted(
        (
            call.source,
            call.external_id,
            request_id,
            call.message_id,
            call.provider_request_id,
            call.model,
            call.requests,
            call.content,
        )
        for request_id, call in zip(ids, [row.call for row in rows], strict=True)
    )
    return dict(zip(_IMPORT_COLUMNS, zip(*found, strict=True), strict=True))


def _values(row: PricedCall) -> dict[str, Any]:
    """What a later state of a call changes."""
    usage = row.call.usage or _NO_USAGE
    return {
        **{name: getattr(usage, name) for name in TOKEN_COLUMNS},
        "price": row.price,
        "price_state": row.price_state,
        "cost_nusd": row.cost_nusd,
        "input_cost_nusd": row.input_cost_nusd,
        "reported_cost_nusd": row.call.recorded_cost_nusd,
        "estimated": int(row.estimated),
    }
