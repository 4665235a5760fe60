"""Settling many requests at once: the same rows as ``LedgerStore`` writes, with sums added up
in memory first.
"""

import json
import operator
from collections.abc import Sequence
from operator import attrgetter
from typing import TYPE_CHECKING

from omni_cli.domain.budgets import Budget
from omni_cli.domain.evidence import HOUR_MS
from omni_cli.domain.ledger import AttemptEnd, RequestEnd
from omni_cli.domain.record import record
from omni_cli.store.budgets import BudgetStore
from omni_cli.store.connection import Store
from omni_cli.store.health_windows import HealthWindowStore, hour_sums
from omni_cli.store.ledger import TOKEN_COLUMNS
from omni_cli.store.rollup_counts import NO_ATTEMPT, Counts, Outcome, attempt_sums
from omni_cli.store.rollups import RollupStore
from omni_cli.store.wide_insert import WideInsert

if TYPE_CHECKING:
    from omni_cli.store.batch_leases import Opening

_TOKENS = ", ".join(TOKEN_COLUMNS)
_REQUEST = WideInsert(f"""
INSERT INTO requests (id, created_at, settled_at, state, source, org, key, role, agent, task,
    complexity, difficulty, conversation, chain, model, provider, attempts, {_TOKENS},
    price_state, cost_nusd, estimated, premium_model, premium_cost_nusd, latency_ms, ttft_ms,
    finish_reason, error_code, error_message)
VALUES ({{}})
""")  # noqa: S608  # column names only
_ATTEMPT = WideInsert(f"""
INSERT INTO attempts (request, n, model, provider, state, started_at, first_at, ended_at,
    {_TOKENS}, input_estimate, output_bound, received_chars, price, cost_nusd, input_cost_nusd,
    reported_cost_nusd, estimated, http_status, provider_request_id, error_code, error_message,
    waited_ms, held_nusd)
VALUES ({{}})
""")  # noqa: S608  # column names only
_CHARGE = """
UPDATE budget_periods SET spent_nusd = spent_nusd + ?, reserved_nusd = reserved_nusd - ?
WHERE budget = ? AND start_at = ?
"""
#: Of a batch in one statement: each statement of its own costs 2 us more.
_OVER = "DELETE FROM open_calls WHERE id IN (SELECT value FROM json_each(?))"
_tokens = attrgetter(*TOKEN_COLUMNS)
_QUARTER_MS = 15 * 60 * 1000
#: What a budget may be about, as ``Budget.covers`` names it.
SCOPES = ("provider", "model", "role", "agent", "org", "key")


@record
class Lease:
    """A budget's period that holds an attempt's worst case back. ``turns_at``: its end, after which
    a change alters what the next period got from it; 0 where nothing is carried over."""

    budget: Budget
    start_at: int
    turns_at: int = 0


class Vanished(Exception):
    """Calls under way have no row in the store any more: it was restored meanwhile."""


@record
class Settled:
    """A request that is over with its only attempt, which ``opening`` was."""

    opening: "Opening"
    attempt: AttemptEnd
    priced: str | None
    end: RequestEnd


class BatchLedger:
    """Args:
    store: whose transaction must be open when ``settle`` is called.
    """

    def __init__(self, store: Store, budgets: BudgetStore) -> None:
        self._store = store
        self._budgets = budgets
        self._rollups = RollupStore(store)
        self._health = HealthWindowStore(store)

    def changed(self, items: Sequence[Settled], budgets: Sequence[Budget]) -> list[Settled]:
        """Those that began when other budgets were kept than now, or the same otherwise.

        Args:
            budgets: the list itself tells: it stays the same object while nothing changes.
        """
        return [item for item in items if item.opening.budgets is not budgets]

    def settle(self, items: Sequence[Settled]) -> None:
        """Write calls that are over into the ledger, whole.

        Args:
            items: each has its row in ``open_calls``, and its budgets are as when it began.

        Raises:
            Vanished: some have none; the transaction must roll back.
        """
        db = self._store.db
        over = db.execute(_OVER, (json.dumps([item.opening.request.id for item in items]),))
        if over.rowcount != len(items):
            raise Vanished
        _REQUEST.write(db, [_request_values(item) for item in items])
        _ATTEMPT.write(db, [_attempt_values(item) for item in items])
        decisions = [
            (item.opening.request.id, item.opening.decision)
            for item in items
            if item.opening.decision is not None and not item.opening.named
        ]
        if decisions:
            db.executemany("INSERT INTO decisions VALUES (?, ?)", decisions)
        self._charge(items)
        self._count(items)

    def _charge(self, items: Sequence[Settled]) -> None:
        sums: dict[tuple[int, int], list[int]] = {}
        turned: dict[tuple[int, int], Lease] = {}
        for item in items:
            opening, attempt = item.opening, item.attempt
            cost = attempt.cost_nusd or 0
            held = opening.held_nusd
            free = held - attempt.held_nusd(held) if attempt.unseen else held
            for lease in opening.leases:
                key = lease.budget.id, lease.start_at
                total = sums.get(key)
                if total is None:
                    total = sums[key] = [0, 0]
                total[0] += cost
                total[1] += free
                if lease.turns_at and attempt.ended_at >= lease.turns_at:
                    turned[key] = lease
        if sums:
            rows = [(spent, free, *key) for key, (spent, free) in sums.items()]
            self._store.db.executemany(_CHARGE, rows)
        for lease in turned.values():
            self._budgets.carry_on(lease.budget, lease.turns_at)

    def _count(self, items: Sequence[Settled]) -> None:
        """In rollups and health windows: one statement for each row that the batch touches."""
        counts: dict[tuple[object, ...], Counts] = {}
        hours: dict[tuple[str, str, int], Sequence[int]] = {}
        counting = self._rollups.counting()
        building = counting.building
        for item in items:
            opening, end, attempt = item.opening, item.end, item.attempt
            new = opening.request
            key = (
                new.created_at // _QUARTER_MS,
                opening.model,
                opening.provider,
                new.source,
                new.org,
                new.key,
                new.role,
                new.agent,
                new.task,
                building is not None and new.id <= building.done,
            )
            group = counts.get(key)
            if group is None:
                targets = counting.targets(new.id)
                group = counts[key] = Counts(new, targets, opening.provider, opening.model)
            cost = attempt.cost_nusd
            outcome = Outcome(
                end.state == "ok",
                cost or 0,
                end.premium_cost_nusd is not None and cost is not None and item.priced != "unknown",
                end.premium_model,
                end.premium_cost_nusd,
                attempt.usage.output_tokens,
                end.latency_ms,
                end.ttft_ms,
            )
            if attempt.state == "unsent":
                group.add(NO_ATTEMPT, outcome)
                continue
            group.add(attempt_sums(attempt), outcome)
            sums = hour_sums(opening.started_at, attempt.first_at, attempt)
            if sums is not None:
                hour = (opening.provider, opening.model, attempt.ended_at // HOUR_MS)
                known = hours.get(hour)
                hours[hour] = sums if known is None else list(map(operator.add, known, sums))
        for group in counts.values():
            self._rollups.add(group)
        for hour, total in hours.items():
            self._health.add(hour, total)


def _request_values(item: Settled) -> tuple[object, ...]:
    new, attempt, end = item.opening.request, item.attempt, item.end
    usage = attempt.usage
    return (
        new.id,
        new.created_at,
        end.settled_at,
        end.state,
        new.source,
        new.org,
        new.key,
        new.role,
        new.agent,
        new.task,
        new.complexity,
        new.difficulty,
        new.conversation,
        new.chain,
        end.model,
        end.provider,
        int(attempt.state != "unsent"),
        *_tokens(usage),
        item.priced,
        attempt.cost_nusd,
        int(usage.estimated),
        end.premium_model,
        end.premium_cost_nusd,
        end.latency_ms,
        end.ttft_ms,
        end.finish_reason,
        end.error_code,
        end.error_message,
    )


def _attempt_values(item: Settled) -> tuple[object, ...]:
    opening, end = item.opening, item.attempt
    usage = end.usage
    return (
        opening.request.id,
        1,
        opening.model,
        opening.provider,
        end.state,
        opening.started_at,
        end.first_at,
        end.ended_at,
        *_tokens(usage),
        opening.input_estimate,
        opening.output_bound,
        end.received_chars,
        opening.price_id,
        end.cost_nusd,
        end.input_cost_nusd,
        usage.reported_cost_nusd,
        int(usage.estimated),
        end.http_status,
        end.provider_request_id,
        end.error_code,
        end.error_message,
        opening.waited_ms,
        end.held_nusd(opening.held_nusd) if end.unseen else 0,
    )
