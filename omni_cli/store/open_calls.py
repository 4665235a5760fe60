"""Calls under way of a gateway, one narrow row each.

A call that goes the usual way, one attempt that ends with its request, is written whole into the
ledger when it ends; until then its row here holds all that its settlement after a crash needs, and
what it reserves. That costs less than half of writing two wide rows twice. Everything else, a
second attempt above all, moves the row into the ledger first (``promote``) and goes on there.
"""

import json
import zlib
from collections.abc import Iterable
from sqlite3 import Connection, Row

from omni_cli.domain.chat import Usage
from omni_cli.domain.ledger import AttemptRow, RequestRow
from omni_cli.store.connection import Store

#: The schema's version that brought them.
OPEN_CALLS_SINCE = 11
#: ``provider`` is NULL while the call waits for a slot: nothing is sent and nothing reserved.
#: ``leases``, of calls that an older omni began, which knows no ``held_nusd``: JSON, a list of
#: [budget, start of its period, nano-dollars].
SCHEMA = """
CREATE TABLE open_calls (
    id INTEGER PRIMARY KEY,
    created_at INTEGER NOT NULL,
    source TEXT NOT NULL,
    owner TEXT NOT NULL,
    org TEXT NOT NULL,
    key TEXT NOT NULL,
    role TEXT NOT NULL,
    agent TEXT NOT NULL,
    task TEXT NOT NULL,
    complexity TEXT NOT NULL,
    difficulty REAL,
    conversation INTEGER,
    chain TEXT,
    model TEXT,
    provider TEXT,
    started_at INTEGER,
    input_estimate INTEGER,
    output_bound INTEGER,
    price INTEGER,
    first_at INTEGER,
    received_chars INTEGER NOT NULL DEFAULT 0,
    leases TEXT NOT NULL DEFAULT '[]',
    decision BLOB
) STRICT;
CREATE INDEX open_calls_by_provider ON open_calls (provider)
"""
_REQUEST = (
    "id, created_at, source, owner, org, key, role, agent, task, complexity, difficulty,"
    " conversation, chain"
)
_THESE = "id IN (SELECT value FROM json_each(:ids))"
_LEASES = """
FROM open_calls AS o, json_each(o.leases) AS l
JOIN budget_periods AS p
    ON p.budget = json_extract(l.value, '$[0]') AND p.start_at = json_extract(l.value, '$[1]')
"""
#: The order matters: what points at a row comes after it. A budget that was removed meanwhile took
#: what it held with it.
_PROMOTE = f"""
INSERT INTO requests (state, {_REQUEST})
SELECT 'pending', {_REQUEST} FROM open_calls WHERE {_THESE};

INSERT INTO attempts (request, n, model, provider, state, started_at, input_estimate,
    output_bound, price, first_at, received_chars, waited_ms, held_nusd)
SELECT id, 1, model, provider, 'sent', started_at, input_estimate, output_bound, price, first_at,
    received_chars, waited_ms, held_nusd
FROM open_calls WHERE {_THESE} AND provider IS NOT NULL;

INSERT INTO leases (request, n, budget, start_at, amount_nusd)
SELECT o.id, 1, p.budget, p.start_at, json_extract(l.value, '$[2]') {_LEASES}
WHERE o.{_THESE};

INSERT INTO decisions
SELECT id, decision FROM open_calls WHERE {_THESE} AND decision IS NOT NULL;

DELETE FROM open_calls WHERE {_THESE}
""".split(";")  # noqa: S608  # names of ours only
#: What all of them hold of budgets that are still there.
HELD_SQL = f"SELECT coalesce(sum(json_extract(l.value, '$[2]')), 0) {_LEASES}"


def promote(db: Connection, ids: Iterable[int]) -> None:
    """Move calls into the ledger's own tables, as pending requests with an attempt that was sent.

    Within the caller's transaction; ids that are not here change nothing.
    """
    values = {"ids": json.dumps(list(ids))}
    for statement in _PROMOTE:
        db.execute(statement, values)


class OpenCalls:
    """Calls under way as the ledger shows them."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def owners(self) -> list[str]:
        """Processes that have calls here, dead ones too."""
        return [row[0] for row in self._store.db.execute("SELECT DISTINCT owner FROM open_calls")]

    def of(self, owner: str) -> list[RequestRow]:
        rows = self._store.db.execute("SELECT * FROM open_calls WHERE owner = ?", (owner,))
        return [_request(row) for row in rows]

    def between(self, first: int, last: int) -> list[RequestRow]:
        """Those whose id lies in ``[first, last]``, newest first."""
        rows = self._store.db.execute(
            "SELECT * FROM open_calls WHERE id BETWEEN ? AND ? ORDER BY id DESC", (first, last)
        )
        return [_request(row) for row in rows]

    def attempt(self, request: int) -> AttemptRow | None:
        row = self._row(request)
        return None if row is None or row["provider"] is None else _attempt(row)

    def decision(self, request: int) -> str | None:
        """The routing decision as JSON text."""
        row = self._row(request)
        if row is None or row["decision"] is None:
            return None
        return zlib.decompress(row["decision"]).decode()

    def _row(self, request: int) -> Row | None:
        row: Row | None = self._store.db.execute(
            "SELECT * FROM open_calls WHERE id = ?", (request,)
        ).fetchone()
        return row


def _request(row: Row) -> RequestRow:
    return RequestRow(
        id=row["id"],
        created_at=row["created_at"],
        settled_at=None,
        state="pending",
        source=row["source"],
        owner=row["owner"],
        org=row["org"],
        key=row["key"],
        role=row["role"],
        agent=row["agent"],
        task=row["task"],
        complexity=row["complexity"],
        difficulty=row["difficulty"],
        conversation=row["conversation"],
        chain=row["chain"],
        model="",
        provider="",
        attempts=0,
        usage=Usage(),
        price_state=None,
        cost_nusd=None,
        adjusted_nusd=0,
        estimated=False,
        premium_model=None,
        premium_cost_nusd=None,
        latency_ms=None,
        ttft_ms=None,
        finish_reason=None,
        error_code=None,
        error_message=None,
    )


def _attempt(row: Row) -> AttemptRow:
    return AttemptRow(
        request=row["id"],
        n=1,
        model=row["model"],
        provider=row["provider"],
        state="sent",
        started_at=row["started_at"],
        first_at=row["first_at"],
        ended_at=None,
        usage=Usage(),
        input_estimate=row["input_estimate"],
        output_bound=row["output_bound"],
        received_chars=row["received_chars"],
        price=row["price"],
        cost_nusd=None,
        http_status=None,
        provider_request_id=None,
        error_code=None,
        error_message=None,
        waited_ms=row["waited_ms"],
        held_nusd=row["held_nusd"],
    )
