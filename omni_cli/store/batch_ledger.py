"""Settling many requests at once: the same rows as ``LedgerStore`` writes, with sums added up
in memory first.

Rollups and health windows are written by their own stores, over a buffer: upserts that only
add are summed by their key, so that a batch costs one statement for each row it touches, not
for each request.
"""

import json
import re
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import attrgetter
from typing import Any, cast

from omni_cli.domain.budgets import Budget
from omni_cli.domain.ledger import AttemptEnd, AttemptRow, NewRequest, RequestEnd, RequestRow
from omni_cli.store.budgets import BudgetStore
from omni_cli.store.connection import Store
from omni_cli.store.health_windows import HealthWindowStore
from omni_cli.store.ledger import TOKEN_COLUMNS
from omni_cli.store.rollup_sql import Rollup
from omni_cli.store.rollups import RollupStore

_SET = ", ".join(f"{name} = ?" for name in TOKEN_COLUMNS)
_END_ATTEMPT = f"""
UPDATE attempts SET {_SET}, state = ?, ended_at = ?, first_at = ?, received_chars = ?,
    cost_nusd = ?, input_cost_nusd = ?, reported_cost_nusd = ?, estimated = ?, http_status = ?,
    provider_request_id = ?, error_code = ?, error_message = ?
WHERE request = ? AND n = ? AND state = 'sent'
"""  # noqa: S608  # column names only
_END_REQUEST = f"""
UPDATE requests SET {_SET}, attempts = ?, cost_nusd = ?, price_state = ?, estimated = ?,
    state = ?, settled_at = ?, model = ?, provider = ?, premium_model = ?,
    premium_cost_nusd = ?, latency_ms = ?, ttft_ms = ?, finish_reason = ?, error_code = ?,
    error_message = ?, owner = NULL
WHERE id = ? AND state = 'pending'
"""  # noqa: S608  # column names only
_CHARGE = """
UPDATE budget_periods SET spent_nusd = spent_nusd + ?, reserved_nusd = reserved_nusd - ?
WHERE budget = ? AND start_at = ?
"""
#: Of a batch in one statement: each statement of its own costs 2 us more.
_RELEASE = """
DELETE FROM leases WHERE n = 1 AND request IN (SELECT value FROM json_each(?))
"""
_tokens = attrgetter(*TOKEN_COLUMNS)
_QUARTER_MS = 15 * 60 * 1000
_UPSERT = re.compile(r"ON CONFLICT\s*\(([^)]*)\)\s*DO UPDATE SET\s+(.*)", re.DOTALL)
_ADDS = re.compile(r"\s*(\w+) = \1 \+ excluded\.\1\s*")


@dataclass(frozen=True, slots=True)
class Lease:
    """What a budget's period holds back for one attempt."""

    budget: int
    start_at: int
    amount_nusd: int


@dataclass(slots=True)
class Settled:
    """A request of one attempt, from its row to its end. ``leases``: those it holds."""

    request: NewRequest
    started_at: int
    input_estimate: int
    output_bound: int | None
    price: int | None
    leases: tuple[Lease, ...]
    model: str
    provider: str
    attempt: AttemptEnd
    priced: str | None
    end: RequestEnd


@lru_cache(maxsize=64)
def _keys_of(sql: str) -> tuple[str, ...] | None:
    """The key's columns of an upsert that only adds; None for any other statement."""
    match = _UPSERT.search(sql)
    if match is None:
        return None
    if not all(_ADDS.fullmatch(part) for part in match[2].split(",")):
        return None
    return tuple(name.strip() for name in match[1].split(","))


class _BufferedDb:
    """Stands for a connection: collects writes, and reads once per batch what is read often."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._sums: dict[tuple[str, tuple[object, ...]], dict[str, Any]] = {}
        self._rest: dict[str, list[Mapping[str, Any]]] = {}
        self._read: dict[tuple[str, str], list[Any]] = {}

    def execute(self, sql: str, values: Mapping[str, Any]) -> list[Any]:
        if sql.lstrip().startswith("SELECT"):
            key = (sql, repr(values))
            if key not in self._read:
                self._read[key] = self._db.execute(sql, values).fetchall()
            return self._read[key]
        names = _keys_of(sql)
        if names is None:
            self._rest.setdefault(sql, []).append(values)
            return []
        row_key = (sql, tuple([values[name] for name in names]))
        row = self._sums.get(row_key)
        if row is None:
            self._sums[row_key] = dict(values)
        else:
            for name, value in values.items():
                if value and name not in names:
                    row[name] += value
        return []

    def flush(self) -> None:
        by_sql: dict[str, list[Mapping[str, Any]]] = {}
        for (sql, _), row in self._sums.items():
            by_sql.setdefault(sql, []).append(row)
        for sql, rows in (*by_sql.items(), *self._rest.items()):
            self._db.executemany(sql, rows)
        self.clear()

    def clear(self) -> None:
        self._sums.clear()
        self._rest.clear()
        self._read.clear()


class _BufferedStore:
    def __init__(self, db: _BufferedDb) -> None:
        self.db = db


class _SummedRollups(RollupStore):
    """Adds up what is counted under the same keys, then writes it by its base's own rules.

    A quarter of an hour never lies in two days of any zone, whose offsets are multiples of it.
    """

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self._seen: Any = None
        self._sums: dict[tuple[object, ...], tuple[Any, dict[str, Any]]] = {}
        self._single: dict[tuple[object, ...], tuple[Any, dict[str, Any]]] = {}

    def clear(self) -> None:
        self._seen = None
        self._sums.clear()
        self._single.clear()

    def flush(self) -> None:
        for (request, targets, provider, model), values in self._sums.values():
            super()._add(request, targets, provider, model, **values)
        for (request, targets, rollup), values in self._single.values():
            super()._add_once(request, targets, rollup, **values)

    def _state(self) -> Any:
        # One transaction sees one state.
        if self._seen is None:
            self._seen = super()._state()
        return self._seen

    def _add(
        self, request: RequestRow, targets: Any, provider: str, model: str, **values: int
    ) -> None:
        if len(targets) > 1:  # a rebuild is under way: which tables count depends on the id
            super()._add(request, targets, provider, model, **values)
            return
        key = (*_scope(request), provider, model)
        found = self._sums.get(key)
        if found is None:
            self._sums[key] = ((request, targets, provider, model), values)
            return
        sums = found[1]
        for name, value in values.items():
            if value:
                sums[name] = sums.get(name, 0) + value

    def _add_once(
        self, request: RequestRow, targets: Any, rollup: Rollup, **values: int | str | None
    ) -> None:
        if len(targets) > 1:
            super()._add_once(request, targets, rollup, **values)
            return
        keys = tuple([value for name, value in values.items() if name in rollup.key])
        key = (*_scope(request), request.provider, request.model, rollup, keys)
        found = self._single.get(key)
        if found is None:
            self._single[key] = ((request, targets, rollup), values)
            return
        sums = found[1]
        for name, value in values.items():
            if name not in rollup.key and value:
                sums[name] += value


def _scope(request: RequestRow) -> tuple[object, ...]:
    return (
        request.created_at // _QUARTER_MS,
        request.source,
        request.org,
        request.key,
        request.role,
        request.agent,
        request.task,
    )


class BatchLedger:
    """Args:
    store: whose transaction must be open when ``settle`` is called.
    """

    def __init__(self, store: Store, budgets: BudgetStore) -> None:
        self._store = store
        self._budgets = budgets
        self._buffer = _BufferedDb(store.db)
        buffered = cast("Store", _BufferedStore(self._buffer))
        self._rollups = _SummedRollups(buffered)
        self._health = HealthWindowStore(buffered)

    def settle(self, items: Sequence[Settled], budgets: Sequence[Budget]) -> None:
        """Write the end of requests that this process opened.

        Args:
            budgets: all enabled ones, as this transaction sees them.
        """
        db = self._store.db
        self._buffer.clear()
        self._rollups.clear()
        db.executemany(_END_ATTEMPT, [_attempt_values(item) for item in items])
        db.executemany(_END_REQUEST, [_request_values(item) for item in items])
        sums: dict[tuple[int, int], list[int]] = {}
        released: list[int] = []
        for item in items:
            row, attempt = _request_row(item), _attempt_row(item)
            if item.attempt.state != "unsent":
                self._rollups.add_attempt(row, attempt, item.attempt)
                self._health.add_attempt(attempt, item.attempt)
            self._rollups.add_request(row)
            if budgets or item.leases:
                self._charge(item, row, budgets, sums, released)
        if sums:
            db.executemany(_CHARGE, [(spent, held, *key) for key, (spent, held) in sums.items()])
        if released:
            db.execute(_RELEASE, (json.dumps(released),))
        self._rollups.flush()
        self._buffer.flush()

    def _charge(
        self,
        item: Settled,
        row: RequestRow,
        budgets: Sequence[Budget],
        sums: dict[tuple[int, int], list[int]],
        released: list[int],
    ) -> None:
        new, cost = item.request, item.attempt.cost_nusd or 0
        covering = {
            budget.id
            for budget in budgets
            if budget.covers(
                provider=item.provider,
                model=item.model,
                role=new.role,
                agent=new.agent,
                org=new.org,
                key=new.key,
            )
        }
        if covering != {lease.budget for lease in item.leases}:
            # A budget was set, changed or removed while the call was under way.
            self._budgets.settle(row, item.provider, item.model, 1, cost)
            return
        for lease in item.leases:
            total = sums.setdefault((lease.budget, lease.start_at), [0, 0])
            total[0] += cost
            total[1] += lease.amount_nusd
        released.append(new.id)


def _attempt_values(item: Settled) -> tuple[object, ...]:
    end, usage = item.attempt, item.attempt.usage
    return (
        *_tokens(usage),
        end.state,
        end.ended_at,
        end.first_at,
        end.received_chars,
        end.cost_nusd,
        end.input_cost_nusd,
        usage.reported_cost_nusd,
        int(usage.estimated),
        end.http_status,
        end.provider_request_id,
        end.error_code,
        end.error_message,
        item.request.id,
        1,
    )


def _request_values(item: Settled) -> tuple[object, ...]:
    attempt, end = item.attempt, item.end
    return (
        *_tokens(attempt.usage),
        int(attempt.state != "unsent"),
        attempt.cost_nusd,
        item.priced,
        int(attempt.usage.estimated),
        end.state,
        end.settled_at,
        end.model,
        end.provider,
        end.premium_model,
        end.premium_cost_nusd,
        end.latency_ms,
        end.ttft_ms,
        end.finish_reason,
        end.error_code,
        end.error_message,
        item.request.id,
    )


def _request_row(item: Settled) -> RequestRow:
    """The row as it now stands, without reading it."""
    new, attempt, end = item.request, item.attempt, item.end
    return RequestRow(
        id=new.id,
        created_at=new.created_at,
        source=new.source,
        org=new.org,
        key=new.key,
        role=new.role,
        agent=new.agent,
        task=new.task,
        complexity=new.complexity,
        difficulty=new.difficulty,
        conversation=new.conversation,
        chain=new.chain,
        settled_at=end.settled_at,
        state=end.state,
        owner=None,
        model=end.model,
        provider=end.provider,
        attempts=int(attempt.state != "unsent"),
        usage=attempt.usage,
        price_state=item.priced,
        cost_nusd=attempt.cost_nusd,
        adjusted_nusd=0,
        estimated=attempt.usage.estimated,
        premium_model=end.premium_model,
        premium_cost_nusd=end.premium_cost_nusd,
        latency_ms=end.latency_ms,
        ttft_ms=end.ttft_ms,
        finish_reason=end.finish_reason,
        error_code=end.error_code,
        error_message=end.error_message,
    )


def _attempt_row(item: Settled) -> AttemptRow:
    end = item.attempt
    return AttemptRow(
        request=item.request.id,
        n=1,
        model=item.model,
        provider=item.provider,
        state=end.state,
        started_at=item.started_at,
        first_at=end.first_at,
        ended_at=end.ended_at,
        usage=end.usage,
        input_estimate=item.input_estimate,
        output_bound=item.output_bound,
        received_chars=end.received_chars,
        price=item.price,
        cost_nusd=end.cost_nusd,
        http_status=end.http_status,
        provider_request_id=end.provider_request_id,
        error_code=end.error_code,
        error_message=end.error_message,
    )
