"""Knowing what is better: health, discovery, comparison, advice."""

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from omni_cli.services.fleet.discovery import DiscoveryService
    from omni_cli.services.fleet.probes import Prober
    from omni_cli.services.fleet.role_switch import RoleSwitcher
    from omni_cli.services.fleet.sync import SyncService
    from omni_cli.services.judge.advice import AdviceService
    from omni_cli.services.judge.advice_document import Telling
    from omni_cli.services.judge.alerts import Alert, Alerter
    from omni_cli.services.judge.compare import CompareService
    from omni_cli.services.judge.compare_report import CompareReports
    from omni_cli.services.judge.deploys import Deploys
    from omni_cli.services.judge.optimize import Optimizer
    from omni_cli.services.judge.proof import Prover
    from omni_cli.store.deploys import DeployStore

from omni_cli.bootstrap.setup import Setup


class Knowing(Setup):
    """Knowing what is better: health, discovery, comparison, advice."""

    @cached_property
    def advice(self) -> "AdviceService":
        from omni_cli.services.judge.advice import AdviceService
        from omni_cli.store.advice import AdviceStore
        from omni_cli.store.questions import StoredQuestions

        return AdviceService(
            advice=AdviceStore(self.store),
            reports=self.reports,
            providers=self.providers,
            models=self.models,
            assignments=self.assignments,
            fleet=self.fleet,
            table=self._quality_table,
            budgets=lambda: self.costs.overview().budgets,
            repeats=lambda since_ms, today_ms: StoredQuestions(self.store).repeats(
                since_ms, today_ms
            ),
            cached=lambda: self.answers.roles(),
            usable=self.has_key,
            gets=lambda role: self.role_switcher.kinds(role),
            zone=self.rollups.zone,
            clock=self.clock,
        )

    @cached_property
    def telling(self) -> "Telling":
        """What every face shows of recommendations."""
        from omni_cli.services.judge.advice_document import Telling

        return Telling(self.advice, self.prover)

    @cached_property
    def sync(self) -> "SyncService":
        import platform
        import secrets

        from omni_cli.services.fleet.sync import SyncService
        from omni_cli.store.git_clone import GitClone

        return SyncService(
            clone=GitClone(self.paths.data / "sync" / "clone"),
            fleet=self.fleet,
            deploy=self.deploy,
            reports=self.reports,
            memory=self.store,
            machine_name=self.env.get("OMNI_MACHINE") or platform.node() or "machine",
            new_id=lambda: secrets.token_hex(6),
            clock=self.clock,
        )

    @cached_property
    def optimizer(self) -> "Optimizer":
        from omni_cli.services.judge.optimize import Optimizer
        from omni_cli.store.decisions import DecisionStore

        return Optimizer(
            decisions=DecisionStore(self.store),
            models=self.models,
            zone=self.rollups.zone,
            clock=self.clock,
        )

    @cached_property
    def role_switcher(self) -> "RoleSwitcher":
        from omni_cli.services.engine.quality import TableQuality
        from omni_cli.services.fleet.role_switch import RoleSwitcher

        return RoleSwitcher(
            fleet=self.fleet,
            models=self.models,
            reports=self.reports,
            chat=lambda: self.chat,
            quality=lambda: TableQuality(self._quality_table()),
            memory=self.store,
            zone=self.rollups.zone,
            clock=self.clock,
        )

    @cached_property
    def discovery(self) -> "DiscoveryService":
        """What providers serve now, and what changed."""
        from omni_cli.services.fleet.discovery import DiscoveryService

        return DiscoveryService(
            providers=self.providers,
            models=self.models,
            fleet=self.fleet,
            history=self.discoveries,
            lister=self.lister,
            clock=self.clock,
        )

    @cached_property
    def compare_reports(self) -> "CompareReports":
        from omni_cli.services.judge.compare_report import CompareReports

        return CompareReports(self.comparisons, self.learning, self.ledger.decision, self.clock)

    @cached_property
    def compare(self) -> "CompareService":
        """The same prompts to several models."""
        import secrets

        from omni_cli.services.engine.routing import RouteOptions
        from omni_cli.services.judge.compare import CompareService

        return CompareService(
            chat=self.chat,
            names=self.names,
            store=self.comparisons,
            reports=self.compare_reports,
            budgets=self.budgets,
            spawn=self.sibling,
            clock=self.clock,
            random_bits=lambda: secrets.randbits(20),
            options=RouteOptions(allow_unknown_price=self.config.prices.allow_unknown),
        )

    @cached_property
    def deploy_store(self) -> "DeployStore":
        from omni_cli.store.deploys import DeployStore

        return DeployStore(self.store)

    @cached_property
    def deploys(self) -> "Deploys":
        """Deploys on a share of traffic, or watched."""
        from omni_cli.services.judge.deploys import Deploys
        from omni_cli.store.deploys import Deploy

        return Deploys(
            stored=self.deploy_store,
            make=Deploy,
            deploy=self.deploy,
            abtests=self.abtests,
            revisions=self.audit,
            unit=self.store,
            clock=self.clock,
        )

    @cached_property
    def prover(self) -> "Prover":
        """Proofs of recommendations on the user's own stored questions."""
        from omni_cli.services.judge.proof import Prover
        from omni_cli.store.questions import StoredQuestions

        return Prover(
            questions=StoredQuestions(self.store),
            kept=self.comparisons,
            compare=self.compare,
            reports=self.compare_reports,
            names=self.names,
            premium=self.config.general.premium_model,
        )

    def prober(self, cap_nusd: int) -> "Prober":
        """Paid probes, ``cap_nusd`` nano-dollars a day at most."""
        from omni_cli.services.fleet.probes import Prober

        return Prober(
            chat=self.chat,
            names=self.names,
            spent=lambda: self.windows.spent_today("probe", self.now_ms()),
            cap_nusd=cap_nusd,
        )

    def alerter(self, tell: "Callable[[Alert], None]") -> "Alerter":
        """Alerts to ``tell`` and to every place that the settings name."""
        from omni_cli.keys import resolve
        from omni_cli.services.judge.alerts import (
            Alerter,
            Command,
            Desktop,
            Sink,
            Terminal,
            Webhook,
        )
        from omni_cli.store.alerts import AlertStore

        wanted = self.config.alerts
        sinks: list[Sink] = [Terminal(tell)]
        desktop = Desktop.find() if wanted.desktop else None
        if desktop is not None:
            sinks.append(desktop)
        url = self.env.get("OMNI_WEBHOOK") or wanted.webhook
        if url:
            found = resolve("webhook", "OMNI_WEBHOOK_SECRET", self.env, self.paths.data)
            secret = None if found is None else found.secret.reveal()
            sinks.append(Webhook(url, secret, clock=self.clock))
        if wanted.command:
            sinks.append(Command(wanted.command))
        return Alerter(
            AlertStore(self.store),
            sinks,
            clock=self.clock,
            quiet_s=wanted.quiet_minutes * 60,
            note=self.note,
        )
