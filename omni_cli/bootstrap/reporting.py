"""Reports over the rollups."""

from functools import cached_property
from typing import TYPE_CHECKING

from omni_cli.domain.preferences import WEEKDAYS

if TYPE_CHECKING:
    from omni_cli.services.fleet.describe import ProviderDocuments
    from omni_cli.services.judge.health_report import HealthReporter
    from omni_cli.services.judge.maintenance import MaintenanceService, ReportZone
    from omni_cli.services.judge.metrics import MetricsService
    from omni_cli.services.money.costs import CostService
    from omni_cli.services.money.export import ExportService
    from omni_cli.services.money.ledger_names import LedgerNames
    from omni_cli.services.money.receipt import ReceiptService
    from omni_cli.services.money.savings import SavingsService
    from omni_cli.services.money.usage import UsageService

from omni_cli.bootstrap.calls import Calls


class Reporting(Calls):
    """Reports over the rollups."""

    @cached_property
    def report_zone(self) -> "ReportZone":
        from omni_cli.services.judge.maintenance import ReportZone

        told = -1

        def progress(done: int, total: int) -> None:
            nonlocal told
            tenths = 10 * done // total if total else told
            if tenths > told:
                told = tenths
                self.note(f"days are now {self.zone}'s: counted {done:,} of {total:,} requests")

        return ReportZone(
            rollups=self.rollups, rebuild=lambda: self.rebuild, zone=self.zone, progress=progress
        )

    def recover(self) -> None:
        """Close what dead processes left open; loads nothing for it where nothing is."""
        if self.reports.anything_open():
            self.recovery.run()

    @cached_property
    def ledger_names(self) -> "LedgerNames":
        """What filters of reports may name."""
        from omni_cli.services.money.ledger_names import LedgerNames

        return LedgerNames(
            reports=self.reports,
            names=self.names,
            providers=self.providers,
            assignments=self.assignments,
            vendors=lambda: self.presets,
        )

    @cached_property
    def usage(self) -> "UsageService":
        from omni_cli.services.money.usage import UsageService

        return UsageService(
            reports=self.reports,
            zone=self.report_zone,
            clock=self.clock,
            known=self.ledger_names.resolve,
            week_start=WEEKDAYS.index(self.config.general.week_start),
            month_day=self.config.general.month_day,
        )

    @cached_property
    def costs(self) -> "CostService":
        from omni_cli.services.money.costs import CostService

        return CostService(
            reports=self.reports,
            budgets=self.budgets,
            zone=self.report_zone,
            clock=self.clock,
            week_start=WEEKDAYS.index(self.config.general.week_start),
            month_day=self.config.general.month_day,
        )

    @cached_property
    def receipts(self) -> "ReceiptService":
        from omni_cli.services.money.receipt import ReceiptService

        return ReceiptService(
            ledger=self.ledger,
            prices=self.models,
            outcomes=self.learning,
            adjustments=self.adjustments,
            answers=self.answers,
            providers=self.providers,
        )

    @cached_property
    def savings(self) -> "SavingsService":
        from omni_cli.services.money.savings import SavingsService

        return SavingsService(reports=self.reports, usage=self.usage, quality=self._quality_table)

    @cached_property
    def exporting(self) -> "ExportService":
        from omni_cli.services.money.export import ExportService
        from omni_cli.store.ledger_export import LedgerExport

        return ExportService(
            ledger=LedgerExport(self.store),
            reports=self.reports,
            report_zone=self.report_zone,
            zone=self.zone,
            clock=self.clock,
        )

    @cached_property
    def provider_documents(self) -> "ProviderDocuments":
        """What every face shows of providers."""
        from omni_cli.services.fleet.describe import ProviderDocuments

        return ProviderDocuments(
            providers=self.providers,
            models=self.models,
            health=lambda: self.reporter.report(),
            key_place=self.key_place,
            key_masked=self.key_masked,
            address=self.address_from,
        )

    @cached_property
    def reporter(self) -> "HealthReporter":
        """The fleet's health."""
        from omni_cli.services.judge.health_report import HealthReporter

        return HealthReporter(
            providers=self.providers,
            models=self.models,
            breakers=self.breakers,
            windows=self.windows,
            recorder=self.check_recorder,
            lister=self.lister,
            has_key=self.has_key,
            clock=self.clock,
        )

    @cached_property
    def metrics(self) -> "MetricsService":
        from omni_cli.services.judge.metrics import MetricsService

        return MetricsService(
            reports=self.reports,
            budgets=self.budgets,
            slots=self.windows.slots,
            health=lambda: self.reporter.report(),
            zone=self.report_zone,
            clock=self.clock,
        )

    @cached_property
    def maintenance(self) -> "MaintenanceService":
        from omni_cli.services.judge.maintenance import MaintenanceService
        from omni_cli.store import maintenance

        return MaintenanceService(
            path=self.paths.store,
            copier=maintenance,
            files=lambda: maintenance.MaintenanceStore(self.store, self.rebuild, self.budgets),
            rebuild=lambda: self.rebuild,
            audit=lambda: self.audit,
            recover=lambda: self.recovery.run(),
            zone=self.zone,
            clock=self.clock,
            who=self.who,
        )
