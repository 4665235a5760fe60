"""Budgets, imports, corrections, invoices."""

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING

from omni_cli.domain.preferences import WEEKDAYS

if TYPE_CHECKING:
    from omni_cli.services.money.budget_admin import BudgetAdmin
    from omni_cli.services.money.held import HeldMoney
    from omni_cli.services.money.importing import Importing
    from omni_cli.services.money.reconciling import Reconciling
    from omni_cli.services.money.reprice import Repricing

from omni_cli.bootstrap.reporting import Reporting


class Money(Reporting):
    """Budgets, imports, corrections, invoices."""

    @cached_property
    def budget_admin(self) -> "BudgetAdmin":
        from omni_cli.services.money.budget_admin import BudgetAdmin, PeriodDefaults

        general = self.config.general
        return BudgetAdmin(
            fleet=self.fleet,
            budgets=self.budgets,
            names=self.names,
            defaults=PeriodDefaults(
                self.zone, WEEKDAYS.index(general.week_start), general.month_day
            ),
        )

    @cached_property
    def _known_names(self) -> Mapping[str, str]:
        """Names that other tools use for the catalogue's models."""
        from omni_cli.importers.names import known_names

        return known_names((model.id, model.aliases) for model in self.models.all(hidden=True))

    def resolve_model(self, provider: str | None, name: str) -> str | None:
        """The catalogue's id of a model as another tool wrote it; None where it is not certain."""
        from omni_cli.importers.names import resolve_model

        return resolve_model(provider, name, self._known_names)

    @cached_property
    def importing(self) -> "Importing":
        from omni_cli.importers.names import resolve_call
        from omni_cli.services.money.importing import Importing

        return Importing(
            imports=self.imports,
            models=self.models,
            ledger=self.ledger,
            audit=self.audit,
            clock=self.clock,
            who=self.who,
            resolve=lambda call: resolve_call(call, self._known_names),
        )

    @cached_property
    def repricing(self) -> "Repricing":
        from omni_cli.services.money.reprice import Repricing

        return Repricing(
            adjustments=self.adjustments,
            models=self.models,
            ledger=self.ledger,
            audit=self.audit,
            names=self.names,
            clock=self.clock,
            who=self.who,
            resolve=self.resolve_model,
        )

    @cached_property
    def held(self) -> "HeldMoney":
        from omni_cli.services.money.held import HeldMoney
        from omni_cli.wire.registry import adapter

        return HeldMoney(
            adjustments=self.adjustments,
            models=self.models,
            providers=self.providers,
            audit=self.audit,
            adapters=adapter,
            transport=lambda: self.transport,
            key=self.key,
            clock=self.clock,
            who=self.who,
        )

    @cached_property
    def reconciling(self) -> "Reconciling":
        from omni_cli.services.money.reconciling import Reconciling

        return Reconciling(self.adjustments, self.models, self.resolve_model)
