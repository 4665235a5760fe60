"""Corrections of what attempts cost: new rows beside the ledger's own, which stay as written."""

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from omni_cli.domain.chat import Usage
from omni_cli.domain.periods import DAY_MS
from omni_cli.domain.prices import Price, price_to_json
from omni_cli.records import Adjustment, Charge, Correction, DaySum, Lock
from omni_cli.store.budgets import BudgetStore
from omni_cli.store.ledger import LedgerStore
from omni_cli.store.port import Connection, Row, Store
from omni_cli.store.rollups import RollupStore
from omni_cli.store.rows import TOKEN_COLUMNS

_SUM = """
SELECT a.request, a.n, a.cost_nusd,
    CASE WHEN i.request IS NULL THEN 1 ELSE coalesce(i.calls, 0) END AS calls,
    (SELECT sum(delta_nusd) FROM adjustments j WHERE j.request = a.request AND j.n = a.n) AS delta
FROM requests r JOIN attempts a ON a.request = r.id
LEFT JOIN imports i ON i.request = r.id
"""
_CHARGES = (
    _SUM
    + """
WHERE (a.request, a.n) > (:request, :n) AND r.created_at >= :start AND r.created_at < :end
    AND a.state IN ('ok', 'failed', 'cancelled', 'lost') {where}
ORDER BY a.request, a.n LIMIT :limit
"""
)
_HELD = f"""{_SUM}
WHERE a.request IN (SELECT request FROM attempts WHERE held_nusd <> 0) AND a.held_nusd <> 0
    AND a.state NOT IN ('planned', 'sent')
ORDER BY a.request, a.n
"""  # noqa: S608  # names of ours only
_CHARGE = _SUM + "WHERE a.request = :request AND a.n = :n"
_ADD = """
INSERT INTO adjustments (request, n, at, who, reason, price, delta_nusd)
VALUES (:request, :n, :at, :who, :reason, :price, :delta)
"""
_FREE = "UPDATE attempts SET held_nusd = 0 WHERE request = :request AND n = :n"
_SET_INPUT = "UPDATE attempts SET input_cost_nusd = :input WHERE request = :request AND n = :n"
#: A request is of unknown price while any of its attempts is.
_UPDATE = """
UPDATE requests SET adjusted_nusd = adjusted_nusd + :delta, cost_nusd = coalesce(cost_nusd, 0),
    price_state = CASE
        WHEN EXISTS (
            SELECT 1 FROM attempts a WHERE a.request = :request AND a.cost_nusd IS NULL
                AND a.state NOT IN ('planned', 'sent') AND NOT EXISTS (
                    SELECT 1 FROM adjustments j WHERE j.request = a.request AND j.n = a.n)
        ) THEN 'unknown'
        WHEN price_state = 'unknown' OR :cost <> 0 THEN 'priced'
        ELSE price_state END
WHERE id = :request
"""


_DAILY = f"""
SELECT created_at / {DAY_MS} AS day, provider, model,
    {", ".join(f"sum({name}) AS {name}" for name in TOKEN_COLUMNS)},
    sum(charged) AS cost_nusd, count(*) - count(charged) AS unknown
FROM (
    SELECT r.created_at, a.*, CASE WHEN a.cost_nusd IS NULL THEN j.delta
        ELSE a.cost_nusd + coalesce(j.delta, 0) END AS charged
    FROM requests r JOIN attempts a ON a.request = r.id
    LEFT JOIN (SELECT request, n, sum(delta_nusd) AS delta FROM adjustments GROUP BY 1, 2) j
        ON j.request = a.request AND j.n = a.n
    WHERE r.created_at >= :first AND r.created_at < :after
        AND a.state NOT IN ('planned', 'sent', 'unsent') AND r.source <> 'demo' {{where}}
) AS charges
GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
"""  # noqa: S608  # column names only


def _day_ms(day: str) -> int:
    return int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()) * 1000


class AdjustmentStore:
    def __init__(self, store: Store) -> None:
        self._store = store
        self._ledger = LedgerStore(store)
        self._rollups = RollupStore(store)
        self._budgets = BudgetStore(store)

    def charges(
        self,
        *,
        after: tuple[int, int],
        limit: int,
        start_ms: int,
        end_ms: int,
        models: Sequence[str] = (),
        provider: str | None = None,
        only_unknown: bool = False,
        only_estimated: bool = False,
        only_reported: bool = False,
    ) -> list[Charge]:
        """Settled attempts in the order of their ids, at most ``limit`` behind ``after``.

        Args:
            after: (request, n) of the last one seen, (0, 0) to begin.
            models: ids or recorded names; none for all.
            provider: as recorded; None for all.
            only_unknown: those without a cost, corrections included.
            only_estimated: those whose tokens were estimated.
            only_reported: those for which the provider reported a cost.
        """
        where = ""
        values: dict[str, object] = {
            "request": after[0],
            "n": after[1],
            "start": start_ms,
            "end": end_ms,
            "limit": limit,
        }
        if models:
            values |= {f"model{i}": name for i, name in enumerate(models)}
            where += f" AND a.model IN ({', '.join(f':model{i}' for i in range(len(models)))})"
        if provider is not None:
            values["provider"] = provider
            where += " AND a.provider = :provider"
        if only_unknown:
            where += (
                " AND a.cost_nusd IS NULL AND NOT EXISTS"
                " (SELECT 1 FROM adjustments j WHERE j.request = a.request AND j.n = a.n)"
            )
        if only_estimated:
            where += " AND a.estimated = 1"
        if only_reported:
            where += " AND a.reported_cost_nusd IS NOT NULL"
        rows = self._store.db.execute(_CHARGES.format(where=where), values).fetchall()
        return [charge for charge in map(self._charge, rows) if charge is not None]

    def held(self) -> list[Charge]:
        """Attempts that are over and for which money is held yet, in the order of their ids."""
        rows = self._store.db.execute(_HELD).fetchall()
        return [charge for charge in map(self._charge, rows) if charge is not None]

    def unpriced_names(self) -> list[tuple[str, str]]:
        """(provider, model) of attempts without a cost of their own, as the ledger has them."""
        rows = self._store.db.execute(
            "SELECT DISTINCT provider, model FROM attempts"
            " WHERE cost_nusd IS NULL AND state NOT IN ('planned', 'sent') ORDER BY 1, 2"
        )
        return [(provider, model) for provider, model in rows]

    def charge(self, request: int, n: int) -> Charge | None:
        row = self._store.db.execute(_CHARGE, {"request": request, "n": n}).fetchone()
        return None if row is None else self._charge(row)

    def _charge(self, row: Row) -> Charge | None:
        request = self._ledger.get(row["request"])
        attempts = self._ledger.attempts(row["request"])
        if request is None:
            return None
        cost, delta = row["cost_nusd"], row["delta"]
        return Charge(
            request=request,
            attempt=next(attempt for attempt in attempts if attempt.n == row["n"]),
            current_nusd=None if cost is None and delta is None else (cost or 0) + (delta or 0),
            calls=row["calls"],
        )

    def apply(self, corrections: Iterable[Correction], *, at_ms: int, who: str, reason: str) -> int:
        """Write corrections with all sums that they change, in one transaction.

        Each is compared with the charge as it is by now, so that a second run writes nothing.

        Returns:
            How many attempts changed.
        """
        with self._store.transaction(Lock.LEDGER, Lock.BUDGETS) as db:
            changes: list[tuple[Charge, Correction]] = []
            for correction in corrections:
                charge = self.charge(correction.request, correction.n)
                if charge is None:
                    continue
                frees = correction.final and charge.attempt.held_nusd
                if frees or charge.current_nusd != correction.cost_nusd:
                    changes.append((charge, correction))
            with self._rollups.recounting(*{charge.request.id for charge, _ in changes}):
                for charge, correction in changes:
                    self._write(db, charge, correction, (at_ms, who, reason))
        return len(changes)

    def _write(
        self,
        db: Connection,
        charge: Charge,
        correction: Correction,
        signed: tuple[int, str, str],
    ) -> None:
        delta = correction.cost_nusd - (charge.current_nusd or 0)
        values = {
            "request": correction.request,
            "n": correction.n,
            "at": signed[0],
            "who": signed[1],
            "reason": signed[2],
            "price": correction.price,
            "delta": delta,
            "cost": correction.cost_nusd,
            "input": correction.input_nusd,
        }
        db.execute(_ADD, values)
        db.execute(_UPDATE, values)
        if correction.input_nusd is not None:
            # Not a charge, but the share of it that charts show as input.
            db.execute(_SET_INPUT, values)
        attempt = charge.attempt
        free = attempt.held_nusd if correction.final else 0
        if free:
            db.execute(_FREE, values)
        self._budgets.charge(charge.request, attempt.provider, attempt.model, delta, held=-free)

    def of_request(self, request: int) -> list[Adjustment]:
        """Corrections of a request, oldest first."""
        rows = self._store.db.execute(
            "SELECT n, at, who, reason, delta_nusd FROM adjustments WHERE request = ? ORDER BY id",
            (request,),
        )
        return [Adjustment(*row) for row in rows]

    def daily(self, first_day: str, last_day: str, *, with_imports: bool = True) -> list[DaySum]:
        """Tokens and money by day (UTC, both included), provider and model."""
        rows = self._store.db.execute(
            _DAILY.format(where="" if with_imports else " AND r.source <> 'import'"),
            {"first": _day_ms(first_day), "after": _day_ms(last_day) + DAY_MS},
        )
        return [
            DaySum(
                day=datetime.fromtimestamp(row["day"] * (DAY_MS // 1000), UTC).date().isoformat(),
                provider=row["provider"],
                model=row["model"],
                usage=Usage(**{name: row[name] for name in TOKEN_COLUMNS}),
                cost_nusd=row["cost_nusd"],
                unknown=row["unknown"],
            )
            for row in rows
        ]

    def add_price(self, model: str, price: Price, *, at_ms: int) -> int:
        """Keep the price of a correction for the record; no later call is charged by it."""
        text = json.dumps(price_to_json(price), sort_keys=True)
        with self._store.transaction(Lock.LEDGER, Lock.BUDGETS) as db:
            cursor = db.execute(
                "INSERT INTO prices (model, origin, state, price, effective_from, recorded_at,"
                " superseded_at) VALUES (?, 'user', ?, ?, ?, ?, ?) RETURNING id",
                (model, price.state, text, price.effective_from, at_ms, at_ms),
            )
            return int(cursor.fetchall()[0][0])
