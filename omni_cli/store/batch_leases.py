"""Granting the budget leases of a batch: the budgets are read once for all of them, within the
transaction, so that any number of processes never pass a limit together."""

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass

from omni_cli.domain.budgets import Budget, BudgetStatus, refusal
from omni_cli.domain.errors import OmniError, UnknownPrice
from omni_cli.domain.ledger import NewRequest
from omni_cli.domain.pricing import Price, worst_case_nusd
from omni_cli.services.bounds import LEAST_OUTPUT
from omni_cli.store.batch_ledger import SCOPES, Lease
from omni_cli.store.budgets import BudgetStore, resets_at
from omni_cli.store.connection import Store

_RESERVE = """
UPDATE budget_periods SET reserved_nusd = reserved_nusd + ? WHERE budget = ? AND start_at = ?
"""


@dataclass(slots=True)
class Opening:
    """An attempt that is about to be sent, and its request's row when it is the first.

    ``most_in()`` and ``most_out`` bound its tokens, for the lease; ``slots`` is the most attempts
    that may be under way at its provider. After the write, one of these holds: ``error`` (it
    must not be sent), ``full`` (no slot is free; ask again), or ``committed``: it may go, with
    ``output_bound`` tokens of answer at most where a budget covers it. ``opened``: the request's
    row is written.
    """

    request: NewRequest
    n: int
    model: str
    provider: str
    started_at: int
    input_estimate: int
    most_in: Callable[[], int]
    most_out: int
    slots: int
    price_id: int | None = None
    price: Price | None = None
    decision: bytes | None = None
    output_bound: int | None = None
    opened: bool = False
    committed: bool = False
    full: bool = False
    error: OmniError | None = None
    leases: tuple[Lease, ...] = ()


#: The budgets that were read last, by the rows they were read from.
_LAST_BUDGETS: dict[tuple[tuple[object, ...], ...], list[Budget]] = {}


class BudgetList:
    """The enabled budgets as one transaction sees them, read once."""

    def __init__(self, store: Store, budgets: BudgetStore) -> None:
        self._store = store
        self._budgets = budgets
        self._found: list[Budget] | None = None

    def enabled(self) -> list[Budget]:
        if self._found is None:
            rows = self._store.db.execute("SELECT * FROM budgets WHERE enabled = 1")
            key = tuple(tuple(row) for row in rows)
            if key not in _LAST_BUDGETS:
                found = [budget for budget in self._budgets.all() if budget.enabled]
                _LAST_BUDGETS.clear()
                _LAST_BUDGETS[key] = found
            self._found = _LAST_BUDGETS[key]
        return self._found


@dataclass(slots=True)
class _Room:
    """A budget's period as this transaction sees it, with what it has granted so far."""

    status: BudgetStatus
    granted_nusd: int = 0

    @property
    def left_nusd(self) -> int:
        return self.status.left_nusd - self.granted_nusd


class Leases:
    """Grants the leases of one transaction."""

    def __init__(self, budgets: BudgetStore, all_budgets: BudgetList) -> None:
        self._budgets = budgets
        self._all = all_budgets
        self._rooms: dict[tuple[int, int], _Room] = {}
        self._covering: dict[tuple[str, ...], list[Budget]] = {}

    def grant(self, opening: Opening) -> OmniError | None:
        """Reserve the worst case in every budget that covers it; the error when one cannot."""
        enabled = self._all.enabled()
        if not enabled:
            return None
        new = opening.request
        scope = (opening.provider, opening.model, new.role, new.agent, new.org, new.key)
        covering = self._covering.get(scope)
        if covering is None:
            named = dict(zip(SCOPES, scope, strict=True))
            covering = [budget for budget in enabled if budget.covers(**named)]
            self._covering[scope] = covering
        if not covering:
            return None
        most_in = opening.most_in()
        need, unknown = self._need(opening, most_in), False
        if need is None:
            unknown = True
            for budget in covering:
                if not budget.allow_unknown:
                    return UnknownPrice(
                        f"the price of {opening.model} is unknown, so the {budget.label} "
                        "cannot hold it",
                        hint=f"omni models price {opening.model} --price-in USD --price-out USD",
                    )
            need = 0
        rooms = [self._room(budget, new.created_at) for budget in covering]
        bound = opening.most_out
        tightest = min(rooms, key=lambda room: room.left_nusd)
        if opening.price is not None and need and need > tightest.left_nusd:
            bound = _fitting(most_in, bound, opening.price, tightest.left_nusd)
            if bound < min(LEAST_OUTPUT, opening.most_out):
                status = tightest.status
                return refusal(status, need, resets_at(status))
            need = worst_case_nusd(most_in, bound, opening.price)
        opening.output_bound = None if unknown else bound
        opening.leases = tuple(
            Lease(room.status.budget.id, room.status.start_at, need) for room in rooms
        )
        for room in rooms:
            room.granted_nusd += need
        return None

    def reserve(self, db: sqlite3.Connection) -> None:
        """Hold back what was granted; each lease's own row is its caller's to write."""
        rows = [
            (room.granted_nusd, room.status.budget.id, room.status.start_at)
            for room in self._rooms.values()
            if room.granted_nusd
        ]
        if rows:
            db.executemany(_RESERVE, rows)

    def _need(self, opening: Opening, most_in: int) -> int | None:
        if opening.price is None or opening.price.state == "unknown":
            return None
        try:
            return worst_case_nusd(most_in, opening.most_out, opening.price)
        except UnknownPrice:
            return None

    def _room(self, budget: Budget, at_ms: int) -> _Room:
        for (budget_id, _), room in self._rooms.items():
            if budget_id == budget.id and room.status.start_at <= at_ms < room.status.end_at:
                return room
        status = self._budgets.status(budget, at_ms)
        return self._rooms.setdefault((budget.id, status.start_at), _Room(status))


def _fitting(input_tokens: int, most: int, price: Price, room_nusd: int) -> int:
    """The longest answer, in tokens, whose worst case fits into ``room_nusd``; may be 0."""
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        if worst_case_nusd(input_tokens, middle, price) <= room_nusd:
            low = middle
        else:
            high = middle - 1
    return low
