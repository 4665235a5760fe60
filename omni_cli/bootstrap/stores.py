"""The store and its table families."""

from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from omni_cli.store.adjustments import AdjustmentStore
    from omni_cli.store.answer_cache import AnswerCacheStore
    from omni_cli.store.assignments import AssignmentStore
    from omni_cli.store.audit import AuditStore
    from omni_cli.store.budgets import BudgetStore
    from omni_cli.store.comparisons import ComparisonStore
    from omni_cli.store.connection import Store
    from omni_cli.store.conversations import ConversationStore
    from omni_cli.store.discoveries import DiscoveryStore
    from omni_cli.store.health_windows import HealthWindowStore
    from omni_cli.store.imports import ImportStore
    from omni_cli.store.late_ledger import LateLedger
    from omni_cli.store.learning import LearningStore
    from omni_cli.store.models import ModelStore
    from omni_cli.store.providers import ProviderStore
    from omni_cli.store.rebuild import RollupRebuild
    from omni_cli.store.reports import ReportStore
    from omni_cli.store.rollups import RollupStore

from omni_cli.bootstrap.base import Base

_CATALOGUE_KEY = "catalogue"
_CHECKED_KEY = "catalogue_checked"


class Stores(Base):
    """The store and its table families."""

    @cached_property
    def store(self) -> "Store":
        """The store, with the bundled catalogue in it."""
        from omni_cli.store.connection import Store

        store = Store(self.paths.store, durable=self._durable)
        self._seed(store)
        return store

    def _seed(self, store: "Store") -> None:
        from omni_cli.catalog import stamp

        current = stamp()
        if store.get_meta(_CATALOGUE_KEY) == current:
            return
        from omni_cli.catalog.load import load_catalog
        from omni_cli.services.fleet.catalogue import seed
        from omni_cli.store.models import ModelStore
        from omni_cli.store.rollups import ZONE_KEY

        with store.transaction():
            if store.get_meta(_CATALOGUE_KEY) == current:
                return
            catalogue = load_catalog()
            seed(ModelStore(store), catalogue, now_ms=self.now_ms())
            store.set_meta(_CHECKED_KEY, catalogue.checked)
            store.set_meta(_CATALOGUE_KEY, current)
            if store.get_meta(ZONE_KEY) is None:
                store.set_meta(ZONE_KEY, self.zone)

    @cached_property
    def providers(self) -> "ProviderStore":
        from omni_cli.store.providers import ProviderStore

        return ProviderStore(self.store)

    @cached_property
    def models(self) -> "ModelStore":
        from omni_cli.store.models import ModelStore

        return ModelStore(self.store)

    @cached_property
    def assignments(self) -> "AssignmentStore":
        from omni_cli.store.assignments import AssignmentStore

        return AssignmentStore(self.store)

    @cached_property
    def audit(self) -> "AuditStore":
        from omni_cli.store.audit import AuditStore

        return AuditStore(self.store)

    @cached_property
    def rollups(self) -> "RollupStore":
        from omni_cli.store.rollups import RollupStore

        return RollupStore(self.store)

    @cached_property
    def reports(self) -> "ReportStore":
        from omni_cli.store.reports import ReportStore

        return ReportStore(self.store)

    @cached_property
    def rebuild(self) -> "RollupRebuild":
        from omni_cli.store.rebuild import RollupRebuild

        return RollupRebuild(self.store, self.rollups)

    @cached_property
    def budgets(self) -> "BudgetStore":
        from omni_cli.store.budgets import BudgetStore

        return BudgetStore(self.store)

    @cached_property
    def ledger(self) -> "LateLedger":
        from omni_cli.store.late_ledger import LateLedger

        ledger = LateLedger(self.store, self.rollups, self.budgets)
        ledger.catch_up()
        return ledger

    @cached_property
    def imports(self) -> "ImportStore":
        from omni_cli.store.imports import ImportStore

        return ImportStore(self.store, self.ledger, self.rollups, self.budgets)

    @cached_property
    def adjustments(self) -> "AdjustmentStore":
        from omni_cli.store.adjustments import AdjustmentStore

        return AdjustmentStore(self.store, self.ledger, self.rollups, self.budgets)

    @cached_property
    def learning(self) -> "LearningStore":
        from omni_cli.store.learning import LearningStore

        return LearningStore(self.store)

    @cached_property
    def conversations(self) -> "ConversationStore":
        from omni_cli.store.conversations import ConversationStore

        return ConversationStore(self.store)

    @cached_property
    def windows(self) -> "HealthWindowStore":
        from omni_cli.store.health_windows import HealthWindowStore

        return HealthWindowStore(self.store)

    @cached_property
    def discoveries(self) -> "DiscoveryStore":
        from omni_cli.store.discoveries import DiscoveryStore

        return DiscoveryStore(self.store)

    @cached_property
    def comparisons(self) -> "ComparisonStore":
        from omni_cli.store.comparisons import ComparisonStore

        return ComparisonStore(self.store)

    @cached_property
    def answers(self) -> "AnswerCacheStore":
        from omni_cli.store.answer_cache import AnswerCacheStore

        return AnswerCacheStore(self.store)
