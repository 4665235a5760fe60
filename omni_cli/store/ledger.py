"""The ledger: a request's row is written before its call and settled after it.

What is here goes one request at a time: reading, settling what is no single attempt, and what
recovery needs. All calls are written through ``writer.py``, which does that by this where a request
is not over with its only attempt; both use the rows of ``rows.py``.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

from omni_cli.domain.batch import pack_decision, unpack_decision
from omni_cli.domain.errors import NotFound
from omni_cli.domain.ids import id_text, make_id, parse_id
from omni_cli.domain.ledger import (
    Allowance,
    AttemptEnd,
    AttemptRow,
    Charged,
    NewAttempt,
    NewRequest,
    RequestEnd,
    RequestRow,
)
from omni_cli.records import Lock
from omni_cli.store.budgets import BudgetStore
from omni_cli.store.health_windows import HealthWindowStore
from omni_cli.store.leases import FORSAKEN_S
from omni_cli.store.port import LOCKS, Connection, Store
from omni_cli.store.rollups import RollupStore
from omni_cli.store.rows import (
    ATTEMPTS,
    ENDED,
    OVER,
    REQUESTS,
    TOKEN_COLUMNS,
    add_decisions,
    attempt_row,
    attempt_values,
    open_row,
    open_rows,
    pending,
    promote,
    request_row,
    request_values,
    sending,
    sent_row,
    under_way,
)
from omni_cli.store.slots import ring_others, slots_in_use, whose_turn

#: What an attempt that begins or ends reads and changes.
_CALLS = (Lock.LEDGER, Lock.BUDGETS, Lock.SLOTS)
_KNOWN = "SELECT 1 FROM attempts WHERE request = ? AND n = ?"
#: All that an end says; a stream's first token may have been written down before.
_ENDING = (*(n for n in ENDED if n != "first_at"), *TOKEN_COLUMNS, "reported_cost_nusd")
_END_ATTEMPT = f"""
UPDATE attempts SET {", ".join(f"{name} = :{name}" for name in _ENDING)},
    first_at = coalesce(:first_at, first_at), estimated = :estimated, held_nusd = :held_nusd
WHERE request = :request AND n = :n AND state IN ('planned', 'sent')
"""  # noqa: S608  # column names only
_HOLDS = """
SELECT held_nusd FROM attempts WHERE request = ? AND n = ? AND state IN ('planned', 'sent')
"""
_ADD_TO_REQUEST = f"""
UPDATE requests SET attempts = attempts + :tried,
    {", ".join(f"{name} = {name} + :{name}" for name in TOKEN_COLUMNS)},
    cost_nusd = CASE WHEN CAST(:cost_nusd AS BIGINT) IS NULL THEN cost_nusd
                     ELSE coalesce(cost_nusd, 0) + :cost_nusd END,
    price_state = CASE WHEN CAST(:price_state AS TEXT) IS NULL THEN price_state
                       WHEN price_state IS NULL OR price_state = 'free' THEN :price_state
                       WHEN :price_state = 'unknown' THEN 'unknown'
                       ELSE price_state END,
    estimated = CASE WHEN :estimated = 1 THEN 1 ELSE estimated END
WHERE id = :request
"""  # noqa: S608  # column names only
_END_REQUEST = f"""
UPDATE requests SET {", ".join(f"{name} = :{name}" for name in OVER)}, owner = NULL
WHERE id = :id AND state = 'pending'
"""  # noqa: S608  # column names only
#: What recovery wrote of a call whose process lives after all: it was cut off from the database.
_TAKEN_FOR_LOST = """
SELECT * FROM attempts WHERE request = ? AND n = ? AND state = 'lost' AND error_code = 'lost'
    AND NOT EXISTS (SELECT 1 FROM adjustments j WHERE j.request = attempts.request)
"""
_REOPEN = f"""
UPDATE attempts SET state = 'sent', ended_at = NULL, cost_nusd = NULL, input_cost_nusd = NULL,
    estimated = 0, error_code = NULL, error_message = NULL,
    {", ".join(f"{name} = 0" for name in TOKEN_COLUMNS)}
WHERE request = :request AND n = :n
"""  # noqa: S608  # column names only
_TAKE_OUT = f"""
UPDATE requests SET attempts = attempts - 1,
    {", ".join(f"{name} = {name} - :{name}" for name in TOKEN_COLUMNS)},
    cost_nusd = CASE WHEN attempts > 1 THEN cost_nusd - :cost_nusd END,
    price_state = CASE WHEN attempts > 1 THEN price_state END,
    estimated = CASE WHEN attempts > 1 THEN estimated ELSE 0 END
WHERE id = :request
"""  # noqa: S608  # column names only
_END_LOST = f"""
UPDATE requests SET {", ".join(f"{name} = :{name}" for name in OVER)}
WHERE id = :id AND state = 'lost' AND error_code = 'lost'
"""  # noqa: S608  # column names only
_TAKEN = """
SELECT EXISTS (SELECT 1 FROM requests WHERE id = :id)
    OR EXISTS (SELECT 1 FROM open_calls WHERE id = :id)
"""
# The partial index keeps this as small as the number of calls under way.
_LEFT_OPEN = """
SELECT * FROM requests WHERE state <> 'pending' AND id IN
    (SELECT request FROM attempts WHERE state IN ('planned', 'sent'))
"""


class LedgerStore:
    """Writes join the caller's transaction when there is one (``unit()``)."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._rollups = RollupStore(store)
        self._budgets = BudgetStore(store)
        self._health = HealthWindowStore(store)

    def unit(self) -> AbstractContextManager[Connection]:
        """All writes inside, of whatever kind, happen together or not at all."""
        return self._store.transaction(*LOCKS)

    @property
    def owner(self) -> str:
        """The name of this process in the rows that it has open."""
        return self._store.owner

    def open(self, request: NewRequest, decision: str | None) -> bool:
        """``decision`` is the whole routing decision as JSON text.

        Returns False, with nothing written, when another request has this id.
        """
        with self._store.transaction(Lock.LEDGER) as db:
            if db.execute(_TAKEN, {"id": request.id}).fetchone()[0]:
                return False
            REQUESTS.write(db, [request_values(pending(request))])
            if decision is not None:
                add_decisions(db, [(request.id, pack_decision(decision))])
        return True

    def reinstate(self, request: NewRequest, attempt: NewAttempt) -> bool:
        """Have the row of an attempt under way in the store, whatever has become of it: another
        store may have been put in its place. What it holds is held again; no limit is asked.

        Returns:
            False when it was there.
        """
        with self._store.transaction(*_CALLS) as db:
            key = attempt.request, attempt.n
            if db.execute(_KNOWN, key).fetchone():
                self._reopen(db, *key)
                return False
            promote(db, (request.id,))
            if db.execute(_KNOWN, key).fetchone():
                return False
            self.open(request, None)
            row = self._request(db, request.id)
            again = sent_row(attempt)
            # The store that was put in its place may not know the price by which it was begun.
            if not db.execute("SELECT 1 FROM prices WHERE id = ?", (again.price,)).fetchone():
                again.price = None
            ATTEMPTS.write(db, [attempt_values(again)])
            self._budgets.charge(
                row, attempt.provider, attempt.model, 0, held=attempt.reserve_nusd or 0
            )
        return True

    def _reopen(self, db: Connection, request: int, n: int) -> None:
        """Take back what recovery guessed of an attempt whose process lives: its end is known."""
        row = db.execute(_TAKEN_FOR_LOST, (request, n)).fetchone()
        if row is None:
            return
        attempt, cost = attempt_row(row), row["cost_nusd"] or 0
        tokens = {name: row[name] for name in TOKEN_COLUMNS}
        with self._rollups.recounting(request):
            db.execute(_REOPEN, {"request": request, "n": n})
            db.execute(_TAKE_OUT, {"request": request, "cost_nusd": cost, **tokens})
        self._budgets.charge(self._request(db, request), attempt.provider, attempt.model, -cost)

    def end_attempt(
        self,
        request: int,
        n: int,
        end: AttemptEnd,
        *,
        priced: str | None,
        allowance: Allowance | None = None,
    ) -> Charged | None:
        """Settle one attempt: its row, the request's sums, budgets and rollups together.

        Args:
            end: with the cost without any allowance.
            priced: the price's state, or None for an attempt that cannot have cost anything.
            allowance: counted within the transaction: two calls are never both the last free one.

        Returns:
            What was written; None when it was settled already (by another process).
        """
        with self._store.transaction(*_CALLS) as db:
            if allowance is not None:
                used = self.calls_between(allowance.model, allowance.since_ms, allowance.until_ms)
                end, priced = allowance.charge(end, priced, used)
            pending = db.execute(
                "SELECT 1 FROM requests WHERE id = ? AND state = 'pending'", (request,)
            ).fetchone()
            if pending:
                ended = self._end_attempt(db, request, n, end, priced, count=True)
            else:
                # An interrupt left it open: its request is counted already, and changes with it.
                with self._rollups.recounting(request):
                    ended = self._end_attempt(db, request, n, end, priced, count=False)
            waiting = whose_turn(db, self._store.owner)
        ring_others(waiting)
        return Charged(end, priced) if ended else None

    def _end_attempt(
        self,
        db: Connection,
        request: int,
        n: int,
        end: AttemptEnd,
        priced: str | None,
        *,
        count: bool,
    ) -> bool:
        row = db.execute(_HOLDS, (request, n)).fetchone()
        if row is None:
            return False
        before = int(row[0])
        held, usage = end.held_nusd(before), end.usage
        values = {name: getattr(usage, name) for name in TOKEN_COLUMNS}
        values |= {"request": request, "n": n, "estimated": int(usage.estimated)}
        ended = {name: getattr(end, name) for name in ENDED}
        ended |= {"reported_cost_nusd": usage.reported_cost_nusd, "held_nusd": held}
        db.execute(_END_ATTEMPT, values | ended)
        sums = {"cost_nusd": end.cost_nusd, "price_state": priced}
        db.execute(_ADD_TO_REQUEST, values | sums | {"tried": int(end.state != "unsent")})
        row = self._request(db, request)
        attempt = self._attempt(db, request, n)
        self._budgets.charge(
            row, attempt.provider, attempt.model, end.cost_nusd or 0, held=held - before
        )
        if end.state != "unsent":
            if count:
                self._rollups.add_attempt(row, attempt, end)
            self._health.add_attempt(attempt, end)
        return True

    def end_request(self, request: int, end: RequestEnd) -> bool:
        """Returns False when it was settled already."""
        with self._store.transaction(Lock.LEDGER) as db:
            values = {name: getattr(end, name) for name in OVER}
            if not db.execute(_END_REQUEST, {**values, "id": request}).rowcount:
                if end.error_code == "lost":
                    return False
                # Unless it was taken for lost, and its process tells of its end after all.
                with self._rollups.recounting(request):
                    return bool(db.execute(_END_LOST, {**values, "id": request}).rowcount)
            self._rollups.add_request(self._request(db, request))
        return True

    def abandoned(self) -> list[RequestRow]:
        """Pending requests whose process no longer runs, and ended ones with an attempt that was
        left open (an interrupt can fall between an attempt's first row and its settlement)."""
        db = self._store.db
        owners = [
            owner
            for (owner,) in db.execute(
                "SELECT DISTINCT owner FROM requests WHERE state = 'pending' AND owner IS NOT NULL"
            )
            if not self._store.is_alive(owner)
        ]
        found = [
            request_row(row)
            for owner in owners
            for row in db.execute(
                "SELECT * FROM requests WHERE state = 'pending' AND owner = ?", (owner,)
            )
        ]
        found += [request_row(row) for row in db.execute(_LEFT_OPEN)]
        live = open_rows(db)
        dead = {
            owner for owner in {row["owner"] for row in live} if not self._store.is_alive(owner)
        }
        return found + [under_way(row) for row in live if row["owner"] in dead]

    def forsaken(self) -> bool:
        """Whether somebody who has long given no sign has slices of budgets."""
        return bool(self._budgets.forsaken(FORSAKEN_S))

    def take_back(self) -> None:
        """Return these."""
        for owner in self._budgets.forsaken(FORSAKEN_S):
            self._budgets.take_back(owner)

    def adopt(self, request: int) -> None:
        """Before another process settles it: have the request's own rows in the ledger."""
        with self._store.transaction(Lock.LEDGER) as db:
            promote(db, (request,))

    def open_attempts(self, provider: str) -> int:
        """How many attempts at this provider are under way, in all processes."""
        return slots_in_use(self._store.db, provider)

    def get(self, request: int) -> RequestRow | None:
        row = self._store.db.execute("SELECT * FROM requests WHERE id = ?", (request,)).fetchone()
        if row is not None:
            return request_row(row)
        row = open_row(self._store.db, request)
        return None if row is None else under_way(row)

    def find(self, text: str) -> RequestRow:
        """The request whose id is or begins with ``text``; "last" is the newest.

        Raises:
            NotFound: none, or more than one.
        """
        found: list[RequestRow] = []
        if text == "last":
            found = list(self.recent(limit=1))
        elif span := parse_id(text):
            rows = self._store.db.execute(
                "SELECT * FROM requests WHERE id BETWEEN ? AND ? LIMIT 2", span
            )
            live = open_rows(self._store.db, *span)
            found = [*map(request_row, rows), *map(under_way, live)]
        if len(found) == 1:
            return found[0]
        if found:
            raise NotFound(f"more than one request begins with {text!r}", hint="give more of it")
        if text == "last":
            raise NotFound("nothing was asked yet", hint='omni chat "your question" asks')
        raise NotFound(f"no request {text!r} in the ledger", hint="omni logs lists the latest")

    def recent(
        self, *, limit: int, state: str | None = None, since_ms: int = 0
    ) -> Iterator[RequestRow]:
        """Newest first."""
        sql = (
            "SELECT * FROM requests WHERE (CAST(:state AS TEXT) IS NULL OR state = :state)"
            " AND created_at >= :since ORDER BY created_at DESC, id DESC LIMIT :limit"
        )
        values = {"state": state, "since": since_ms, "limit": limit}
        rows = map(request_row, self._store.db.execute(sql, values))
        if state not in (None, "pending"):
            return rows
        live = map(under_way, open_rows(self._store.db))
        since = (row for row in live if row.created_at >= since_ms)
        newest = sorted([*rows, *since], key=lambda row: (row.created_at, row.id), reverse=True)
        return iter(newest[:limit])

    def attempts(self, request: int) -> list[AttemptRow]:
        """In the order they were made."""
        rows = self._store.db.execute(
            "SELECT * FROM attempts WHERE request = ? ORDER BY n", (request,)
        )
        found = [attempt_row(row) for row in rows]
        if not found and (live := open_row(self._store.db, request)) is not None:
            sent = sending(live)
            return [] if sent is None else [sent]
        return found

    def made(
        self, response: str, providers: Sequence[str] = (), since_ms: int = 0
    ) -> list[AttemptRow]:
        """Attempts that are over and that their provider names so, an id of a stored response; the
        newest first.

        Args:
            providers: whose calls since ``since_ms`` are looked through for a name that does not
                begin as OpenAI's do: for these there is an index.
        """
        if not response.startswith("resp"):
            values = {f"p{n}": slug for n, slug in enumerate(providers)}
            if not values:
                return []
            marks = ", ".join(f":{name}" for name in values)
            found = self._store.db.execute(
                "SELECT * FROM attempts WHERE request >= :first AND provider_request_id = :name"  # noqa: S608  # marks only
                f" AND provider IN ({marks}) ORDER BY request DESC, n DESC",
                {**values, "name": response, "first": make_id(since_ms, 0)},
            )
            return [attempt_row(row) for row in found]
        rows = self._store.db.execute(
            "SELECT * FROM attempts WHERE provider_request_id = ?"
            " AND provider_request_id >= 'resp' AND provider_request_id < 'resq'"
            " ORDER BY request DESC, n DESC",
            (response,),
        )
        return [attempt_row(row) for row in rows]

    def note_carried_out(
        self, request: int, more: Mapping[str, Any], named: Mapping[str, Any] | None = None
    ) -> None:
        """Add to a request's decision how it was carried out: who was passed over, what could not
        be said.

        Args:
            named: its decision where none was recorded, as its caller named the model.
        """
        with self._store.transaction(Lock.LEDGER) as db:
            row = db.execute(
                "SELECT decision FROM decisions WHERE request = ?", (request,)
            ).fetchone()
            decision = named if row is None else json.loads(unpack_decision(row[0]))
            if decision is None:
                return
            packed = pack_decision(json.dumps({**decision, **more}, separators=(",", ":")))
            if row is None:
                add_decisions(db, [(request, packed)])
                return
            db.execute("UPDATE decisions SET decision = ? WHERE request = ?", (packed, request))

    def decision(self, request: int) -> str | None:
        """The routing decision as JSON text."""
        row = self._store.db.execute(
            "SELECT decision FROM decisions WHERE request = ?", (request,)
        ).fetchone()
        row = row or open_row(self._store.db, request)
        return None if row is None or row["decision"] is None else unpack_decision(row["decision"])

    def calls_between(self, model: str, start_ms: int, end_ms: int) -> int:
        """How many calls of a model were answered that were asked for in ``[start, end)``."""
        row = self._store.db.execute(
            "SELECT count(*) FROM requests r JOIN attempts a ON a.request = r.id"
            " WHERE r.created_at >= ? AND r.created_at < ? AND a.model = ? AND a.state = 'ok'",
            (start_ms, end_ms, model),
        ).fetchone()
        return int(row[0])

    def _request(self, db: Connection, request: int) -> RequestRow:
        row = db.execute("SELECT * FROM requests WHERE id = ?", (request,)).fetchone()
        if row is None:
            raise NotFound(f"no request {id_text(request)} in the ledger")
        return request_row(row)

    def _attempt(self, db: Connection, request: int, n: int) -> AttemptRow:
        return attempt_row(
            db.execute(
                "SELECT * FROM attempts WHERE request = ? AND n = ?", (request, n)
            ).fetchone()
        )
