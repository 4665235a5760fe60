"""Budgets as a person handles them: set, raise, look at, be warned by. Kept by the store."""

from collections.abc import Mapping
from typing import Any, cast

from msgspec import Struct

from omni_cli.domain.budgets import SCOPES, Budget, BudgetScope, BudgetStatus
from omni_cli.domain.errors import NotFound, UsageError
from omni_cli.domain.periods import PeriodKind
from omni_cli.domain.record import replace
from omni_cli.domain.words import meant
from omni_cli.repositories import Budgets
from omni_cli.services.engine.names import Names
from omni_cli.services.fleet.fleet import FleetService
from omni_cli.services.money.budget_document import budget_name, budget_table, check_budget


class PeriodDefaults(Struct, frozen=True):
    """Where a new budget's periods begin, unless the user says otherwise."""

    zone: str
    week_start: int
    month_day: int


class Alert(Struct, frozen=True):
    """A threshold that was passed and not yet told of."""

    status: BudgetStatus
    percent: float


class BudgetAdmin(Struct, kw_only=True, eq=False):
    fleet: FleetService
    budgets: Budgets
    names: Names
    defaults: PeriodDefaults

    def set(self, target: str, limit_nusd: int, period: str, changes: Mapping[str, Any]) -> Budget:
        """Make a budget, or change the one of the same target and period.

        Args:
            target: ``all`` or ``SCOPE:NAME``.
            changes: fields of Budget to set; what is left out stays, or has its default.

        Raises:
            UsageError, NotFound, ConfigError: what does not fit.
        """
        scope, value = self._target(target)
        old = self._same(scope, value, period)
        base = old or Budget(
            0,
            scope,
            value,
            cast("PeriodKind", period),
            limit_nusd,
            zone=self.defaults.zone,
            week_start=self.defaults.week_start,
            month_day=self.defaults.month_day,
            since_ms=self.fleet.now_ms(),
        )
        fresh = replace(base, limit_nusd=limit_nusd, **changes)
        check_budget(fresh)
        fresh = replace(fresh, alerts_percent=tuple(sorted(set(fresh.alerts_percent))))
        return self._put("budget.set", old, fresh)

    def raise_by(self, budget_id: int, by_nusd: int, until_ms: int) -> Budget:
        """Lift a limit until a time. Another raise replaces the one before."""
        if by_nusd <= 0:
            raise UsageError("--by is more than 0")
        if until_ms <= self.fleet.now_ms():
            raise UsageError("the raise would be over already", hint="--for 1d, or a later --until")
        old = self.get(budget_id)
        return self._put(
            "budget.raise", old, replace(old, raise_nusd=by_nusd, raise_until=until_ms)
        )

    def enable(self, budget_id: int, *, on: bool) -> Budget:
        old = self.get(budget_id)
        action = "budget.enable" if on else "budget.disable"
        return self._put(action, old, replace(old, enabled=on))

    def remove(self, budget_id: int) -> Budget:
        old = self.get(budget_id)
        with self.fleet.change("budget.remove", budget_name(old), budget_table(old), None):
            self.budgets.delete(budget_id)
        return old

    def get(self, budget_id: int) -> Budget:
        found = self.budgets.get(budget_id)
        if found is None:
            raise NotFound(f"there is no budget {budget_id}", hint="omni budgets list shows them")
        return found

    def all(self) -> list[Budget]:
        return self.budgets.all()

    def status(self, budget: Budget) -> BudgetStatus:
        """Where a budget stands in the period that holds now."""
        return self.budgets.status(budget, self.fleet.now_ms())

    def statuses(self, *, disabled: bool = False) -> list[BudgetStatus]:
        """Every enabled budget in the period that holds now, its estimated and held parts worked
        out; with ``disabled`` those that are not kept, too."""
        now = self.fleet.now_ms()
        kept = [budget for budget in self.budgets.all() if disabled or budget.enabled]
        found = [self.budgets.status(budget, now) for budget in kept]
        return [
            replace(
                status,
                estimated_nusd=self.budgets.estimated_nusd(
                    status.budget, status.start_at, status.end_at
                ),
                held_nusd=self.budgets.held_nusd(status.budget, status.start_at, status.end_at),
            )
            for status in found
        ]

    def due_alerts(self) -> list[Alert]:
        """Thresholds passed since they were last told of, the highest of each budget.

        Each is handed out once per period, however many processes ask.
        """
        now = self.fleet.now_ms()
        alerts = []
        for budget in self.budgets.all():
            if not budget.enabled or not budget.alerts_percent:
                continue
            status = self.budgets.status(budget, now)
            if not status.alerts_due:
                continue
            highest = max(status.alerts_due)
            if self.budgets.mark_alerted(budget.id, status.start_at, highest):
                alerts.append(Alert(status, highest))
        return alerts

    def _put(self, action: str, old: Budget | None, fresh: Budget) -> Budget:
        before = None if old is None else budget_table(old)
        with self.fleet.change(action, budget_name(fresh), before, budget_table(fresh)):
            return replace(fresh, id=self.budgets.put(fresh))

    def _same(self, scope: str, value: str, period: str) -> Budget | None:
        for budget in self.budgets.all():
            if (budget.scope, budget.value, budget.period) == (scope, value, period):
                return budget
        return None

    def _target(self, text: str) -> tuple[BudgetScope, str]:
        scope, _, value = text.partition(":")
        if scope not in SCOPES or (scope == "all") != (value == ""):
            raise UsageError(
                f"{text!r} is nothing that a budget can be for",
                hint=f"{meant(scope, SCOPES, most=1)} Write all, or "
                f"{', '.join(f'{name}:NAME' for name in SCOPES if name != 'all')}".strip(),
            )
        if scope == "model":
            value = self.names.model(value)
        elif scope == "provider":
            value = self.fleet.provider(value).slug
        elif scope == "role":
            value = self.fleet.role(value).name
        return scope, value
