"""Imported calls: which are known already, and their rows in the ledger."""

import hashlib
import itertools
import json
from collections.abc import Iterable, Sequence
from typing import Any, Literal

from msgspec import Struct

from omni_cli.domain.chat import Usage
from omni_cli.domain.ids import RANDOM_BITS, make_id
from omni_cli.domain.imports import ImportedCall, LogFile, PricedCall, sessions_of
from omni_cli.domain.ledger import AttemptRow, RequestRow
from omni_cli.domain.periods import DAY_MS
from omni_cli.domain.record import replace
from omni_cli.records import KnownCalls
from omni_cli.repositories import Lock
from omni_cli.store.budgets import BudgetStore
from omni_cli.store.ledger import LedgerStore
from omni_cli.store.port import Connection, Store, among
from omni_cli.store.rollups import RollupStore
from omni_cli.store.rows import ATTEMPTS, REQUESTS, TOKEN_COLUMNS, attempt_values, request_values
from omni_cli.store.sessions import SessionStore

_State = Literal["ok", "failed", "cancelled"]
_STATES: dict[str | None, _State] = {
    "failure": "failed",
    "cancelled": "cancelled",
}
_SET_TOKENS = ", ".join(f"{name} = :{name}" for name in TOKEN_COLUMNS)

_ADD_IMPORT = """
INSERT INTO imports (source, external_id, request, message_id, provider_request_id,
    recorded_model, calls, content)
VALUES (:source, :external_id, :id, :message_id, :request_id, :recorded_model, :calls, :content)
"""
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
_PUT_LOG = f"""
INSERT INTO log_files (source, {", ".join(f'"{name}"' for name in _LOG_COLUMNS)})
VALUES (?, {", ".join("?" * len(_LOG_COLUMNS))})
ON CONFLICT (source, path) DO UPDATE SET
    {", ".join(f'"{name}" = excluded."{name}"' for name in _LOG_COLUMNS if name != "path")}
"""  # noqa: S608  # column names only


class _Lookup(Struct, frozen=True):
    """Asks the store about one key at a time, so that memory does not grow with the ledger."""

    db: Connection
    sql: str
    fixed: tuple[str, ...] = ()
    copies: int = 1

    def __contains__(self, key: object) -> bool:
        values = key if isinstance(key, tuple) else (key,)
        found = self.db.execute(self.sql, (*values * self.copies, *self.fixed)).fetchone()
        return found is not None


class _Either(Struct, frozen=True):
    own: frozenset[str]
    others: _Lookup

    def __contains__(self, key: object) -> bool:
        return key in self.own or key in self.others


class ImportStore:
    def __init__(self, store: Store) -> None:
        self._store = store
        self._ledger = LedgerStore(store)
        self._rollups = RollupStore(store)
        self._budgets = BudgetStore(store)
        self._sessions = SessionStore(store)

    def known(self, source: str, calls: Sequence[ImportedCall]) -> KnownCalls:
        """What the ledger holds of these calls' kind; ``calls`` is ordered by time."""
        db = self._store.db
        if not self._any():
            nothing: frozenset[Any] = frozenset()
            return KnownCalls(nothing, nothing, nothing, self._own_ids(calls))
        return KnownCalls(
            external_ids=_Lookup(db, "SELECT 1 FROM imports WHERE source = ? AND external_id = ?"),
            contents=_Lookup(db, "SELECT 1 FROM imports WHERE source = ? AND content = ?"),
            message_ids=_Lookup(db, "SELECT 1 FROM imports WHERE source = ? AND message_id = ?"),
            ledger_ids=_Either(
                self._own_ids(calls),
                _Lookup(
                    db,
                    "SELECT 1 FROM imports WHERE (message_id = ? OR provider_request_id = ?)"
                    " AND source <> ?",
                    (source,),
                    copies=2,
                ),
            ),
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
        for call in calls:
            row = self._store.db.execute(
                "SELECT r.input_tokens + r.output_tokens FROM imports i"
                " JOIN requests r ON r.id = i.request WHERE i.source = ? AND i.external_id = ?",
                (call.source, call.external_id),
            ).fetchone()
            if row is not None:
                found[call.source, call.external_id] = row[0]
        return found

    def add(self, rows: Iterable[PricedCall]) -> int:
        """Write new calls with their rollups and budgets in one transaction.

        Returns how many were written: one that another process imported meanwhile is left out.
        """
        with self._store.transaction(Lock.LEDGER, Lock.BUDGETS) as db:
            fresh = _free_ids(db, _not_imported(db, list(rows)))
            with self._rollups.recounting(*fresh, new=True):
                made = [_rows(request_id, row) for request_id, row in fresh.items()]
                REQUESTS.write(db, [request_values(request) for request, _ in made])
                ATTEMPTS.write(db, [attempt_values(attempt) for _, attempt in made])
                db.executemany(_ADD_IMPORT, [_known(*entry) for entry in fresh.items()])
                self._sessions.note(sessions_of(row.call for row in fresh.values()))
            if self._budgets.all():
                for (request, _), row in zip(made, fresh.values(), strict=True):
                    self._budgets.charge(request, row.provider, row.model, row.cost_nusd or 0)
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

    def all(self, source: str) -> dict[str, LogFile]:
        """By path."""
        rows = self._store.db.execute("SELECT * FROM log_files WHERE source = ?", (source,))
        return {row["path"]: LogFile(**{name: row[name] for name in _LOG_COLUMNS}) for row in rows}

    def read_at(self) -> dict[str, int]:
        """Source -> when it was last read, ms."""
        rows = self._store.db.execute("SELECT source, max(read_at) FROM log_files GROUP BY source")
        return dict(rows.fetchall())

    def put(self, source: str, files: Iterable[LogFile]) -> None:
        values = [(source, *(getattr(file, name) for name in _LOG_COLUMNS)) for file in files]
        if values:
            with self._store.transaction(Lock.LEDGER) as db:
                db.executemany(_PUT_LOG, values)


def _created(call: ImportedCall) -> int:
    """The middle of a report's day is the same date in nearly every zone, its start is not."""
    return call.at_ms + call.span_ms // 2


def _not_imported(db: Connection, rows: Sequence[PricedCall]) -> list[PricedCall]:
    """Those of them that are not imported yet, in their order."""
    known: set[tuple[str, str]] = set()
    for source in {row.call.source for row in rows}:
        ids = [row.call.external_id for row in rows if row.call.source == source]
        for at in range(0, len(ids), _MOST_MARKS):
            some = ids[at : at + _MOST_MARKS]
            sql = f"{_IMPORTED_OF} ({', '.join('?' * len(some))})"
            known.update((source, name) for (name,) in db.execute(sql, (source, *some)))
    return [row for row in rows if (row.call.source, row.call.external_id) not in known]


def _free_ids(db: Connection, rows: Sequence[PricedCall]) -> dict[int, PricedCall]:
    """By new ids at the calls' own times; the rows of one report share theirs."""
    places = [(_created(row.call), _bits(row.call)) for row in rows]
    wanted = json.dumps([_id_at(*place) for place in places])
    taken = {request_id for (request_id,) in db.execute(_TAKEN, {"ids": wanted})}
    found: dict[int, PricedCall] = {}
    for (created, first), row in zip(places, rows, strict=True):
        candidate = _id_at(created, first)
        if candidate in taken or candidate in found:
            for bits in itertools.count(first + 1):
                candidate = _id_at(created, bits)
                held = db.execute("SELECT 1 FROM requests WHERE id = ?", (candidate,)).fetchone()
                if held is None and candidate not in found:
                    break
        found[candidate] = row
    return found


def _bits(call: ImportedCall) -> int:
    digest = hashlib.blake2b(f"{call.source}\n{call.external_id}".encode(), digest_size=4)
    return int.from_bytes(digest.digest(), "big")


def _id_at(created_ms: int, bits: int) -> int:
    return make_id(created_ms, bits % (1 << RANDOM_BITS))


def _rows(request_id: int, row: PricedCall) -> tuple[RequestRow, AttemptRow]:
    call = row.call
    created = _created(call)
    state: _State = _STATES.get(call.outcome, "ok")
    usage = _usage(row)
    return RequestRow(
        id=request_id,
        created_at=created,
        source="import",
        agent=call.agent or call.source,
        session=call.session_id or "",
        project=call.project or "",
        state=state,
        settled_at=created,
        model=row.model,
        provider=row.provider,
        attempts=1,
        usage=usage,
        price_state=row.price_state,
        cost_nusd=row.cost_nusd,
        estimated=row.estimated,
        latency_ms=call.latency_ms,
    ), AttemptRow(
        request=request_id,
        n=1,
        model=row.model,
        provider=row.provider,
        state=state,
        started_at=created,
        ended_at=created + (call.latency_ms or 0),
        usage=usage,
        price=row.price,
        cost_nusd=row.cost_nusd,
        input_cost_nusd=row.input_cost_nusd,
        provider_request_id=call.message_id or call.provider_request_id,
    )


def _known(request_id: int, row: PricedCall) -> dict[str, Any]:
    call = row.call
    return {
        "id": request_id,
        "source": call.source,
        "external_id": call.external_id,
        "message_id": call.message_id,
        "request_id": call.provider_request_id,
        "recorded_model": call.model,
        "calls": call.requests,
        "content": call.content,
    }


def _usage(row: PricedCall) -> Usage:
    usage, reported = row.call.usage or Usage(), row.call.recorded_cost_nusd
    if usage.estimated == row.estimated and usage.reported_cost_nusd == reported:
        return usage
    return replace(usage, estimated=row.estimated, reported_cost_nusd=reported)


def _values(row: PricedCall) -> dict[str, Any]:
    """What a later state of a call changes."""
    usage = _usage(row)
    return {
        **{name: getattr(usage, name) for name in TOKEN_COLUMNS},
        "price": row.price,
        "price_state": row.price_state,
        "cost_nusd": row.cost_nusd,
        "input_cost_nusd": row.input_cost_nusd,
        "reported_cost_nusd": usage.reported_cost_nusd,
        "estimated": int(row.estimated),
    }
