"""Budgets and their periods, kept inside the ledger's own transactions (see leases.py)."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, ClassVar

from msgspec import Struct

from omni_cli.domain.budgets import Budget, BudgetStatus
from omni_cli.domain.periods import local_day, previous, window, zone_of
from omni_cli.domain.record import replace
from omni_cli.records import Lock
from omni_cli.store.port import ZONE_KEY, Connection, Row, Table

if TYPE_CHECKING:
    from omni_cli.domain.batch import LeaseKey
    from omni_cli.domain.ledger import RequestRow

_SETTINGS = (
    "alerts_percent",
    "stop_percent",
    "rollover",
    "raise_nusd",
    "raise_until",
    "allow_unknown",
    "zone",
    "week_start",
    "month_day",
    "since_ms",
)
_CHANGE = """
UPDATE budgets SET scope = :scope, value = :value, period = :period, limit_nusd = :limit_nusd,
    settings = :settings, enabled = :enabled
WHERE id = :id
"""
_UPSERT = """
INSERT INTO budgets (id, scope, value, period, limit_nusd, settings, enabled)
VALUES (:new, :scope, :value, :period, :limit_nusd, :settings, :enabled)
ON CONFLICT (scope, value, period) DO UPDATE SET
    limit_nusd = excluded.limit_nusd, settings = excluded.settings, enabled = excluded.enabled
"""
_ENABLED = "SELECT * FROM budgets WHERE enabled = 1 ORDER BY id"
_OF_MODELS = """
SELECT * FROM budgets WHERE enabled = 1 AND scope IN ('provider', 'model') ORDER BY id
"""
#: The last id that a budget had. None is given twice: a call under way still names the one that it
#: has a lease of.
_LAST_KEY = "last_budget"
_LAST = """
SELECT coalesce((SELECT max(id) FROM budgets), 0),
    coalesce((SELECT CAST(value AS BIGINT) FROM meta WHERE key = ?), 0)
"""
#: Start, end, carried, spent, reserved, alerted.
_Period = tuple[int, int, int, int, int, float]
_BEGIN = """
INSERT INTO budget_periods (budget, start_at, end_at, carried_nusd, spent_nusd, reserved_nusd)
VALUES (?, ?, ?, ?, ?, ?)
"""
_PERIOD = (
    "SELECT start_at, end_at, carried_nusd, spent_nusd, reserved_nusd, alerted"
    " FROM budget_periods WHERE budget = ?"
)
#: What was spent in a window, straight from the ledger.
_SPENT = """
SELECT coalesce(sum(cost), 0) FROM (
    SELECT coalesce(a.cost_nusd, 0) + coalesce(
        (SELECT sum(delta_nusd) FROM adjustments j WHERE j.request = a.request AND j.n = a.n), 0
    ) AS cost
    FROM requests r JOIN attempts a ON a.request = r.id
    WHERE r.created_at >= :start AND r.created_at < :end AND {scope}
) AS charges
"""
# From the few estimated attempts to their requests: a partial index knows them.
_ESTIMATED = _SPENT.replace(
    "requests r JOIN attempts a ON a.request = r.id",
    "attempts a CROSS JOIN requests r",
).replace("WHERE r.created_at", "WHERE r.id = a.request AND a.estimated = 1 AND r.created_at")
#: What a window's attempts hold, straight from their rows.
_HELD = """
SELECT (
    SELECT coalesce(sum(a.held_nusd), 0) FROM attempts a CROSS JOIN requests r
    WHERE r.id = a.request AND a.held_nusd <> 0
        AND r.created_at >= :start AND r.created_at < :end AND {scope}
) + (
    SELECT coalesce(sum(o.held_nusd), 0) FROM open_calls o
    WHERE o.created_at >= :start AND o.created_at < :end AND {open_scope}
) + (
    SELECT coalesce(sum(b.held_nusd), 0) FROM batch_parts b
    WHERE b.held_nusd <> 0 AND b.created_at >= :start AND b.created_at < :end AND {batch_scope}
) + (
    SELECT coalesce(sum(s.nusd), 0) FROM budget_slices s
    WHERE s.budget = :budget AND s.start_at < :end AND s.end_at > :start
)
"""
#: Of that, what calls that are over hold on to: their end was not seen.
_UNSEEN = """
SELECT coalesce(sum(a.held_nusd), 0)
FROM attempts a CROSS JOIN requests r
WHERE r.id = a.request AND a.held_nusd <> 0
    AND r.created_at >= :start AND r.created_at < :end AND {scope}
    AND a.state NOT IN ('planned', 'sent')
"""
_CHARGE = """
UPDATE budget_periods SET spent_nusd = spent_nusd + :cost, reserved_nusd = reserved_nusd + :held
WHERE budget = :budget AND start_at <= :at AND end_at > :at
"""
#: Slices, whose periods may be others by now.
_UNSLICE = """
UPDATE budget_periods SET reserved_nusd = reserved_nusd - ?
WHERE budget = ? AND start_at < ? AND end_at > ?
"""
_TAKE_SLICE = """
INSERT INTO budget_slices (owner, budget, start_at, end_at, nusd) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (owner, budget, start_at) DO UPDATE SET nusd = budget_slices.nusd + excluded.nusd
"""
_SHRINK = """
UPDATE budget_slices SET nusd = nusd - ? WHERE owner = ? AND budget = ? AND start_at = ?
"""
_SLICES = "SELECT budget, start_at, end_at, nusd FROM budget_slices WHERE owner = ?"
_SCOPE_SQL = {
    "all": ":value = ''",
    "provider": "a.provider = :value",
    "model": "a.model = :value",
    "role": "r.role = :value",
    "agent": "r.agent = :value",
    "org": "r.org = :value",
    "key": "r.key = :value",
    # And what its sub-agents' are named within it (domain/sessions.py).
    "session": "(r.session = :value OR substr(r.session, 1, length(:value) + 1) = :value || '/')",
    "project": "r.project = :value",
}


class PeriodDrift(Struct, frozen=True):
    """A period whose figures are not those of the ledger: (spent, reserved, carried over) as they
    are kept and as the ledger has them, nano-dollars."""

    budget: Budget
    start_at: int
    stored: tuple[int, int, int]
    ledger: tuple[int, int, int]


class BudgetStore(Table):
    #: The rows of kept budgets that were read last, and what was made of them: they seldom change.
    _last: ClassVar[tuple[list[tuple[object, ...]], list[Budget]]] = ([], [])

    def enabled(self) -> Sequence[Budget]:
        """Those that are kept: the same object as last time while none of them changes."""
        last = BudgetStore._last  # of all threads
        if self._store.plain(_ENABLED) != last[0]:
            rows = self._store.db.execute(_ENABLED).fetchall()
            # Both of one look: between two of them somebody may have changed one, and back.
            BudgetStore._last = last = [tuple(row) for row in rows], [*map(_budget, rows)]
        return last[1]

    def all(self) -> list[Budget]:
        rows = self._store.db.execute("SELECT * FROM budgets ORDER BY id")
        return [_budget(row) for row in rows]

    def get(self, budget_id: int) -> Budget | None:
        row = self._store.db.execute("SELECT * FROM budgets WHERE id = ?", (budget_id,)).fetchone()
        return None if row is None else _budget(row)

    def put(self, budget: Budget) -> int:
        """``budget.id`` 0 adds one, or replaces that of the same scope, value and period."""
        settings = {name: getattr(budget, name) for name in _SETTINGS}
        with self._store.transaction(Lock.BUDGETS) as db:
            self._store.changes_budgets()
            old = db.execute(
                "SELECT * FROM budgets WHERE id = :id OR (:id = 0 AND scope = :scope"
                " AND value = :value AND period = :period)",
                {
                    "id": budget.id,
                    "scope": budget.scope,
                    "value": budget.value,
                    "period": budget.period,
                },
            ).fetchone()
            new = max(db.execute(_LAST, (_LAST_KEY,)).fetchone()) + 1
            if old is None and not budget.id:
                self._store.set_meta(_LAST_KEY, str(new))
            db.execute(
                _CHANGE if budget.id else _UPSERT,
                {
                    "id": budget.id,
                    "new": new,
                    "scope": budget.scope,
                    "value": budget.value,
                    "period": budget.period,
                    "limit_nusd": budget.limit_nusd,
                    "settings": json.dumps(settings, sort_keys=True),
                    "enabled": int(budget.enabled),
                },
            )
            row = db.execute(
                "SELECT id FROM budgets WHERE scope = ? AND value = ? AND period = ?",
                (budget.scope, budget.value, budget.period),
            ).fetchone()
            # Another rule gives other windows and another rest to carry over: they are worked out
            # anew. Else they stay, for they know which alerts were told.
            if old is None or _counted_as(_budget(old)) != _counted_as(budget):
                db.execute("DELETE FROM budget_periods WHERE budget = ?", (row[0],))
            return int(row[0])

    def delete(self, budget_id: int) -> None:
        with self._store.transaction(Lock.BUDGETS) as db:
            self._store.changes_budgets()
            db.execute("DELETE FROM budgets WHERE id = ?", (budget_id,))

    def charge(
        self, request: RequestRow, provider: str, model: str, cost: int, *, held: int = 0
    ) -> None:
        """Add to what was spent, and to what is held. A period without a row yet will read both
        from the ledger."""
        if not cost and not held:
            return
        for budget in self._covering(provider, model, request):
            values = {"cost": cost, "held": held, "budget": budget.id, "at": request.created_at}
            self._store.db.execute(_CHARGE, values)
            if budget.rollover:
                self.carry_on(budget, window(budget.rule, request.created_at)[1])

    # --- slices -----------------------------------------------------------------------------------

    def slices(self, owner: str) -> list[tuple[int, int, int, int]]:
        """What a process has in hand: budget, period's start and end, nano-dollars."""
        rows = self._store.db.execute(_SLICES, (owner,)).fetchall()
        return [(row[0], row[1], row[2], row[3]) for row in rows]

    # A period whose row is made within the same transaction reads what slices have: they change
    # before it where they shrink, after it where they grow.

    def grow(self, owner: str, parts: Iterable[tuple[int, int, int, int]]) -> None:
        """Budget, period's start and end, nano-dollars more; the period's own row is the
        caller's."""
        self._store.db.executemany(_TAKE_SLICE, [(owner, *part) for part in parts])

    def shrink(self, owner: str, parts: Mapping[LeaseKey, int], *, sweep: bool) -> None:
        """By budget and period's start, nano-dollars less.

        Args:
            sweep: some may be empty then.
        """
        rows = [(nusd, owner, *key) for key, nusd in parts.items() if nusd]
        self._store.db.executemany(_SHRINK, rows)
        if sweep:
            self._store.db.execute(
                "DELETE FROM budget_slices WHERE owner = ? AND nusd = 0", (owner,)
            )

    def unslice(self, parts: Iterable[tuple[int, int, int, int]]) -> None:
        """Reserve less: budget, period's start and end, nano-dollars of a slice."""
        for budget, start, end, nusd in parts:
            self._store.db.execute(_UNSLICE, (nusd, budget, end, start))
            kept = self.get(budget) if end <= time.time() * 1000 else None
            if kept is not None and kept.rollover:
                self.carry_on(kept, end)

    def take_back(self, owner: str) -> None:
        """Return what a process has in hand that does not run any more."""
        with self._store.transaction(Lock.BUDGETS) as db:
            self.unslice(self.slices(owner))
            db.execute("DELETE FROM budget_slices WHERE owner = ?", (owner,))

    def forget(self, owner: str) -> None:
        """The same, whatever the periods say: they are set right by the ledger."""
        with self._store.transaction(Lock.BUDGETS) as db:
            db.execute("DELETE FROM budget_slices WHERE owner = ?", (owner,))
            self.mend()

    def forsaken(self, grace_s: float) -> list[str]:
        """Who has slices and has given no sign for so long."""
        rows = self._store.db.execute("SELECT DISTINCT owner FROM budget_slices").fetchall()
        return [str(row[0]) for row in rows if not self._store.is_alive(row[0], grace_s)]

    def carry_on(self, budget: Budget, start: int) -> None:
        """The period before ``start`` has changed: so has what it leaves to the one that begins
        there, where that was opened already."""
        db = self._store.db
        row = db.execute(
            "SELECT 1 FROM budget_periods WHERE budget = ? AND start_at = ?", (budget.id, start)
        ).fetchone()
        if row is not None:
            db.execute(
                "UPDATE budget_periods SET carried_nusd = ? WHERE budget = ? AND start_at = ?",
                (self._carried(db, budget, start), budget.id, start),
            )

    def of_models(self, at_ms: int) -> list[BudgetStatus]:
        """Enabled budgets of one provider or one model, as they stand. Nothing is written."""
        found = []
        for budget in map(_budget, self._store.db.execute(_OF_MODELS).fetchall()):
            period = self._period(budget, at_ms) or self._new_period(budget, at_ms)
            found.append(_status(budget, period, at_ms))
        return found

    def status(self, budget: Budget, at_ms: int) -> BudgetStatus:
        with self._store.transaction(Lock.BUDGETS):
            # As it is by now: another rule has other periods, and one that is off none.
            now = self.get(budget.id) or replace(budget, enabled=False)
            return self.status_within(now, at_ms)

    def mark_alerted(self, budget_id: int, start_at: int, percent: float) -> bool:
        """Returns False when another process has told of this threshold already."""
        with self._store.transaction(Lock.BUDGETS) as db:
            cursor = db.execute(
                "UPDATE budget_periods SET alerted = :percent"
                " WHERE budget = :budget AND start_at = :start AND alerted < :percent",
                {"percent": percent, "budget": budget_id, "start": start_at},
            )
            return cursor.rowcount > 0

    def estimated_nusd(self, budget: Budget, start: int, end: int) -> int:
        """What of the money spent in a window rests on estimated token counts."""
        return _sum(self._store.db, _ESTIMATED, budget, start, end)

    def held_nusd(self, budget: Budget, start: int, end: int) -> int:
        """What is held for calls of a window that are over and whose end was not seen."""
        return _sum(self._store.db, _UNSEEN, budget, start, end)

    def drifts(self) -> list[PeriodDrift]:
        """Periods whose figures are not those of the ledger. Ones that retention has reached are
        left out, and those that they leave something to: the ledger has not all of them."""
        db = self._store.db
        zone = self._store.get_meta(ZONE_KEY) or "UTC"
        (archived,) = db.execute("SELECT max(day) FROM rollup_day_archive").fetchone()
        found = []
        for budget in self.all():
            rows = db.execute(f"{_PERIOD} ORDER BY start_at", (budget.id,)).fetchall()
            for start, end, carried, spent, reserved, _ in rows:
                first = previous(budget.rule, start)[0] if budget.rollover else start
                if archived is not None and local_day(first, zone) <= archived:
                    continue
                true = PeriodDrift(
                    budget,
                    start,
                    (spent, reserved, carried),
                    (
                        _sum(db, _SPENT, budget, start, end),
                        self._held(db, budget, start, end),
                        self._carried(db, budget, start),
                    ),
                )
                if true.stored != true.ledger:
                    found.append(true)
        return found

    def mend(self) -> int:
        """Set periods that have drifted right by the ledger; returns how many."""
        with self._store.transaction(Lock.BUDGETS) as db:
            found = self.drifts()
            for drift in found:
                db.execute(
                    "UPDATE budget_periods SET spent_nusd = ?, reserved_nusd = ?, carried_nusd = ?"
                    " WHERE budget = ? AND start_at = ?",
                    (*drift.ledger, drift.budget.id, drift.start_at),
                )
        return len(found)

    def _covering(self, provider: str, model: str, request: RequestRow) -> list[Budget]:
        return [
            budget
            for budget in self.enabled()
            if budget.covers(
                provider=provider,
                model=model,
                role=request.role,
                agent=request.agent,
                org=request.org,
                key=request.key,
                session=request.session,
                project=request.project,
            )
        ]

    def status_within(self, budget: Budget, at_ms: int) -> BudgetStatus:
        """As ``status``, within the caller's transaction. A budget that is not kept has no row of
        its period, which would fall behind."""
        period = self._period(budget, at_ms)
        if period is None:
            period = self._new_period(budget, at_ms)
            if budget.enabled:
                self._store.db.execute(_BEGIN, (budget.id, *period[:5]))
        return _status(budget, period, at_ms)

    def _period(self, budget: Budget, at_ms: int) -> _Period | None:
        row = self._store.db.execute(
            f"{_PERIOD} AND start_at <= ? AND end_at > ?", (budget.id, at_ms, at_ms)
        ).fetchone()
        return None if row is None else tuple(row)

    def _new_period(self, budget: Budget, at_ms: int) -> _Period:
        """A period that has no row yet, as the ledger tells of it."""
        db = self._store.db
        start, end = window(budget.rule, at_ms)
        carried = self._carried(db, budget, start)
        spent, held = _sum(db, _SPENT, budget, start, end), self._held(db, budget, start, end)
        return start, end, carried, spent, held, 0.0

    def _carried(self, db: Connection, budget: Budget, start: int) -> int:
        """What the period before the one that begins at ``start`` leaves to it."""
        if not budget.rollover or budget.since_ms >= start:
            return 0
        before = previous(budget.rule, start)
        spent = _sum(db, _SPENT, budget, *before)
        # Calls that began before the turn of the period are still charged to the one before.
        return max(budget.limit_nusd - spent - self._held(db, budget, *before), 0)

    def _held(self, db: Connection, budget: Budget, start: int, end: int) -> int:
        scope = _SCOPE_SQL[budget.scope]
        open_scope = scope.replace("a.", "o.").replace("r.", "o.")
        batch_scope = scope.replace("a.", "b.").replace("r.", "b.")
        if budget.scope in ("session", "project"):
            batch_scope = "1 = 0"  # batches are of no session
        row = db.execute(
            _HELD.format(scope=scope, open_scope=open_scope, batch_scope=batch_scope),
            {"start": start, "end": end, "value": budget.value, "budget": budget.id},
        ).fetchone()
        return int(row[0])


def _status(budget: Budget, period: _Period, at_ms: int) -> BudgetStatus:
    start, end, carried, spent, reserved, alerted = period
    used = 100.0 * spent / max(budget.limit_nusd + carried, 1)
    return BudgetStatus(
        budget,
        start,
        end,
        carried,
        spent,
        reserved,
        budget.stop_at_nusd(carried, at_ms),
        alerts_due=tuple([p for p in budget.alerts_percent if alerted < p <= used]),
    )


def _counted_as(budget: Budget) -> tuple[object, ...]:
    """What the rows of its periods depend on."""
    return (
        budget.scope,
        budget.value,
        budget.rule,
        budget.limit_nusd,
        budget.rollover,
        budget.enabled,
    )


def resets_at(status: BudgetStatus) -> str:
    """When the period ends, as a refusal says it."""
    local = datetime.fromtimestamp(status.end_at / 1000, UTC)
    local = local.astimezone(zone_of(status.budget.zone))
    return local.strftime("on %Y-%m-%d at %H:%M %Z")


def _sum(db: Connection, sql: str, budget: Budget, start: int, end: int) -> int:
    """Nano-dollars of what is of the budget in [start, end)."""
    values = {"start": start, "end": end, "value": budget.value}
    return int(db.execute(sql.format(scope=_SCOPE_SQL[budget.scope]), values).fetchone()[0])


def _budget(row: Row) -> Budget:
    settings = json.loads(row["settings"])
    if "alerts_percent" in settings:
        settings["alerts_percent"] = tuple(settings["alerts_percent"])
    return Budget(
        id=row["id"],
        scope=row["scope"],
        value=row["value"],
        period=row["period"],
        limit_nusd=row["limit_nusd"],
        enabled=bool(row["enabled"]),
        **settings,
    )
