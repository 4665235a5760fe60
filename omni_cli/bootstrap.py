"""Wires services to adapters. Each piece is imported where it is first needed, so that a
command pays for what it uses and for nothing else."""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omni_cli import config as settings
from omni_cli.domain.models import ModelInfo, Provider
from omni_cli.ports import Clock

if TYPE_CHECKING:
    from omni_cli.domain.prices import Price
    from omni_cli.domain.quality import PriorLookup, QualityTable
    from omni_cli.ports import Transport
    from omni_cli.providers.presets import Preset
    from omni_cli.services.abtest import AbTests
    from omni_cli.services.advice import AdviceService
    from omni_cli.services.alerts import Alert, Alerter
    from omni_cli.services.browse import Browser
    from omni_cli.services.budget_admin import BudgetAdmin
    from omni_cli.services.chat import ChatService
    from omni_cli.services.compare import CompareService
    from omni_cli.services.compare_report import CompareReports
    from omni_cli.services.connection_test import ConnectionTester
    from omni_cli.services.costs import CostService
    from omni_cli.services.deploy import DeployService
    from omni_cli.services.discovery import DiscoveryService
    from omni_cli.services.export import ExportService
    from omni_cli.services.fleet import FleetService
    from omni_cli.services.health import HealthRecorder
    from omni_cli.services.health_report import HealthReporter
    from omni_cli.services.importing import Importing
    from omni_cli.services.listing import Lister
    from omni_cli.services.maintenance import MaintenanceService, ReportZone
    from omni_cli.services.metrics import MetricsService
    from omni_cli.services.names import Names
    from omni_cli.services.optimize import Optimizer
    from omni_cli.services.probes import Prober
    from omni_cli.services.reconciling import Reconciling
    from omni_cli.services.recovery import Recovery
    from omni_cli.services.reprice import Repricing
    from omni_cli.services.role_switch import RoleSwitcher
    from omni_cli.services.routing import RoutingService
    from omni_cli.services.savings import SavingsService
    from omni_cli.services.setup import Found, Proposal
    from omni_cli.services.sync import SyncService
    from omni_cli.services.usage import UsageService
    from omni_cli.store.adjustments import AdjustmentStore
    from omni_cli.store.answer_cache import AnswerCacheStore
    from omni_cli.store.assignments import AssignmentStore
    from omni_cli.store.audit import AuditStore
    from omni_cli.store.breakers import BreakerStore
    from omni_cli.store.budgets import BudgetStore
    from omni_cli.store.comparisons import ComparisonStore
    from omni_cli.store.connection import Store
    from omni_cli.store.conversations import ConversationStore
    from omni_cli.store.discoveries import DiscoveryStore
    from omni_cli.store.health_windows import HealthWindowStore
    from omni_cli.store.imports import ImportStore
    from omni_cli.store.learning import LearningStore
    from omni_cli.store.ledger import LedgerStore
    from omni_cli.store.models import ModelStore
    from omni_cli.store.providers import ProviderStore
    from omni_cli.store.rebuild import RollupRebuild
    from omni_cli.store.reports import ReportStore
    from omni_cli.store.rollups import RollupStore

_CATALOGUE_KEY = "catalogue"
_CHECKED_KEY = "catalogue_checked"


class App:
    """One process's omni. Everything is made on first use.

    Args:
        env: the environment; decides where files are and which keys there are.
        clock: seconds since the epoch, UTC.
        durable: flush every commit to disk (see store/connection.py).
        cwd: where to look for a project's settings.
    """

    def __init__(
        self,
        env: Mapping[str, str] | None = None,
        *,
        clock: Clock = time.time,
        durable: bool = True,
        cwd: Path | None = None,
        note: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.env: Mapping[str, str] = os.environ if env is None else env
        self._borrows = False
        self.clock = clock
        self.note = note
        self._durable = durable
        self._cwd = cwd
        self.paths = settings.paths(self.env)
        self._system_models: Mapping[str, ModelInfo] | None = None

    def close(self) -> None:
        """Close what was opened."""
        transport = self.__dict__.pop("transport", None)
        if transport is not None and not self._borrows:
            transport.close()
        store = self.__dict__.pop("store", None)
        if store is not None:
            store.close()

    def __enter__(self) -> "App":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def sibling(self) -> "App":
        """Another omni for another thread: its own store connection, the same transport."""
        made = App(self.env, clock=self.clock, durable=self._durable, cwd=self._cwd, note=self.note)
        made._borrows = True
        made.__dict__["transport"] = self.transport
        return made

    def now_ms(self) -> int:
        return int(self.clock() * 1000)

    @cached_property
    def config(self) -> settings.Config:
        return settings.load(self.paths, cwd=self._cwd)

    @cached_property
    def zone(self) -> str:
        """The user's IANA time zone."""
        return settings.local_zone(self.config, self.env)

    @cached_property
    def who(self) -> str:
        """Who is named in the audit log."""
        return self.env.get("OMNI_USER") or self.env.get("USER") or f"uid {os.getuid()}"

    # --- the store ---------------------------------------------------------------------------

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
        from omni_cli.services.catalogue import seed
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
    def ledger(self) -> "LedgerStore":
        from omni_cli.store.ledger import LedgerStore

        return LedgerStore(self.store, self.rollups, self.budgets)

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
    def breakers(self) -> "BreakerStore":
        from omni_cli.store.breakers import BreakerStore

        return BreakerStore(self.store)

    # --- reports -----------------------------------------------------------------------------

    @cached_property
    def report_zone(self) -> "ReportZone":
        from omni_cli.services.maintenance import ReportZone

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
    def usage(self) -> "UsageService":
        from omni_cli.services.usage import UsageService

        return UsageService(
            reports=self.reports,
            zone=self.report_zone,
            clock=self.clock,
            week_start=settings.WEEKDAYS.index(self.config.general.week_start),
            month_day=self.config.general.month_day,
        )

    @cached_property
    def costs(self) -> "CostService":
        from omni_cli.services.costs import CostService

        return CostService(
            reports=self.reports,
            budgets=self.budgets,
            zone=self.report_zone,
            clock=self.clock,
            week_start=settings.WEEKDAYS.index(self.config.general.week_start),
            month_day=self.config.general.month_day,
        )

    @cached_property
    def advice(self) -> "AdviceService":
        from omni_cli.services.advice import AdviceService
        from omni_cli.store.advice import AdviceStore

        return AdviceService(
            advice=AdviceStore(self.store),
            reports=self.reports,
            providers=self.providers,
            models=self.models,
            assignments=self.assignments,
            fleet=self.fleet,
            table=self._quality_table,
            budgets=lambda: self.costs.overview().budgets,
            zone=self.rollups.zone,
            clock=self.clock,
        )

    @cached_property
    def sync(self) -> "SyncService":
        import platform
        import secrets

        from omni_cli.services.sync import SyncService
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
    def answers(self) -> "AnswerCacheStore":
        from omni_cli.store.answer_cache import AnswerCacheStore

        return AnswerCacheStore(self.store)

    @cached_property
    def optimizer(self) -> "Optimizer":
        from omni_cli.services.optimize import Optimizer
        from omni_cli.store.decisions import DecisionStore

        return Optimizer(decisions=DecisionStore(self.store), models=self.models, clock=self.clock)

    @cached_property
    def role_switcher(self) -> "RoleSwitcher":
        from omni_cli.services.quality import TableQuality
        from omni_cli.services.role_switch import RoleSwitcher

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
    def savings(self) -> "SavingsService":
        from omni_cli.services.savings import SavingsService

        return SavingsService(reports=self.reports, usage=self.usage, quality=self._quality_table)

    def _quality_table(self) -> "QualityTable":
        from omni_cli.services.quality import TableQuality

        return TableQuality.load(self.learning, *self._priors()).table

    def _priors(self) -> "tuple[PriorLookup, Mapping[str, float]]":
        """Where quality starts: the user's own scores, else what was published; means by type."""
        from omni_cli.catalog.priors import load_priors
        from omni_cli.services.own_scores import with_own_scores

        priors = load_priors()
        return with_own_scores(priors.lookup, self.models.own_scores()), priors.type_means

    @cached_property
    def exporting(self) -> "ExportService":
        from omni_cli.services.export import ExportService
        from omni_cli.store.ledger_export import LedgerExport

        return ExportService(
            ledger=LedgerExport(self.store),
            reports=self.reports,
            report_zone=self.report_zone,
            zone=self.zone,
            clock=self.clock,
        )

    @cached_property
    def metrics(self) -> "MetricsService":
        from omni_cli.services.metrics import MetricsService

        return MetricsService(
            reports=self.reports, budgets=self.budgets, zone=self.report_zone, clock=self.clock
        )

    @cached_property
    def maintenance(self) -> "MaintenanceService":
        from omni_cli.services.maintenance import MaintenanceService
        from omni_cli.store import maintenance

        return MaintenanceService(
            path=self.paths.store,
            copier=maintenance,
            files=lambda: maintenance.MaintenanceStore(self.store, self.rebuild),
            rebuild=lambda: self.rebuild,
            audit=lambda: self.audit,
            recover=lambda: self.recovery.run(),
            zone=self.zone,
            clock=self.clock,
            who=self.who,
        )

    # --- services ----------------------------------------------------------------------------

    @cached_property
    def _stored_keys(self) -> Mapping[str, str]:
        from omni_cli.keys import list_keys

        return list_keys(self.paths.data)

    def kept_keys(self) -> Mapping[str, str]:
        """Whose keys omni keeps, and where: keyring or file. Opens neither."""
        return self._stored_keys

    def has_key(self, provider: Provider) -> bool:
        """Whether a call can be made, without unlocking anything."""
        from omni_cli.keys.sources import usual_variable

        return (
            provider.auth_method == "none"
            or usual_variable(provider.slug, provider.key_env, self.env) is not None
            or provider.slug in self._stored_keys
        )

    def key(self, provider: Provider) -> str | None:
        """The provider's key. Raises MissingKey when it needs one and none is found."""
        if provider.auth_method == "none":
            return None
        from omni_cli.keys import resolve

        found = resolve(provider.slug, provider.key_env, self.env, self.paths.data)
        if found is None:
            from omni_cli.domain.errors import MissingKey

            variable = provider.key_env or "the provider's variable"
            raise MissingKey(
                f"no key for {provider.slug}",
                hint=f"set {variable}, or: omni providers key {provider.slug} --stdin",
            )
        return found.secret.reveal()

    def key_place(self, provider: Provider) -> str | None:
        """Where the key is, ``env:NAME``, ``keyring`` or ``file``; None: nowhere. Opens nothing."""
        from omni_cli.keys.sources import usual_variable

        name = usual_variable(provider.slug, provider.key_env, self.env)
        return f"env:{name}" if name else self._stored_keys.get(provider.slug)

    def key_masked(self, provider: Provider) -> str | None:
        """The key as it may be shown; None where there is none. Raises ConfigError."""
        from omni_cli.domain.secrets import mask
        from omni_cli.keys import resolve

        found = resolve(provider.slug, provider.key_env, self.env, self.paths.data)
        return None if found is None else mask(found.secret)

    def keep_key(self, slug: str, key: str) -> str:
        """Store a provider's key; returns where: ``keyring`` or ``file``."""
        from omni_cli.keys import store_key

        where = store_key(slug, key, env=self.env, home=self.paths.data)
        self.__dict__.pop("_stored_keys", None)
        self.health.forgive(slug)
        return where

    def forget_key(self, slug: str) -> tuple[str, ...]:
        """Delete a stored key; returns where it was. The environment is the user's own."""
        from omni_cli.keys import delete_key

        gone = delete_key(slug, env=self.env, home=self.paths.data)
        self.__dict__.pop("_stored_keys", None)
        return gone

    @cached_property
    def names(self) -> "Names":
        from omni_cli.services.names import Names

        return Names(self.providers, self.models, self.assignments)

    @cached_property
    def fleet(self) -> "FleetService":
        from omni_cli.services.fleet import FleetService

        return FleetService(
            providers=self.providers,
            models=self.models,
            assignments=self.assignments,
            budgets=self.budgets,
            audit=self.audit,
            names=self.names,
            clock=self.clock,
            who=self.who,
            unit=self.store.transaction,
            to_toml=_to_toml,
        )

    @cached_property
    def deploy(self) -> "DeployService":
        from omni_cli.services.catalogue import system_models
        from omni_cli.services.deploy import DeployService

        def catalogue(model_id: str) -> "ModelInfo | None":
            from omni_cli.catalog.load import load_catalog

            if self._system_models is None:
                self._system_models = system_models(load_catalog())
            return self._system_models.get(model_id)

        return DeployService(
            fleet=self.fleet,
            providers=self.providers,
            models=self.models,
            assignments=self.assignments,
            budgets=self.budgets,
            catalogue=catalogue,
        )

    @cached_property
    def health(self) -> "HealthRecorder":
        from omni_cli.services.health import HealthRecorder

        return HealthRecorder(self.breakers, self.clock)

    @cached_property
    def routing(self) -> "RoutingService":
        from omni_cli.services.quality import TableQuality
        from omni_cli.services.routing import RoutingService

        return RoutingService(
            providers=self.providers,
            models=self.models,
            assignments=self.assignments,
            learning=self.learning,
            breakers=self.breakers,
            has_key=self.has_key,
            quality=TableQuality.load(self.learning, *self._priors()),
            clock=self.clock,
        )

    @cached_property
    def browser(self) -> "Browser":
        """Models with price, quality and measured use, for lists."""
        from omni_cli.domain.quality import QualityTable
        from omni_cli.services.browse import Browser
        from omni_cli.services.prices import PriceBook

        prior, type_means = self._priors()
        seen = self.learning.quality()
        table = QualityTable(prior, seen, type_means)
        rated = {model for _, model in seen}
        evenly = dict.fromkeys(type_means, 1.0)

        def quality(model_id: str) -> float | None:
            known = model_id in rated or any(prior(task, model_id) for task in evenly)
            return table.mixed(evenly, model_id).mean if known else None

        prices = PriceBook(self.models, now_ms=self.now_ms())
        return Browser(prices, quality, self.learning.stats())

    def find_providers(self, *, local: bool = True) -> "list[Found]":
        """What this machine could use: keys, and servers that answer on loopback.

        A provider that is in the fleet already is found as it is there.
        """
        from concurrent.futures import ThreadPoolExecutor

        from omni_cli.domain.errors import OmniError
        from omni_cli.providers.local import LISTING_S, listening, local_presets, with_keys
        from omni_cli.services.setup import Found

        there = {provider.slug: provider for provider in self.providers.all()}
        found = []
        for preset, name in with_keys(self.env, self._stored_keys):
            made = Provider(
                preset.slug, preset.name, preset.protocol, preset.base_url, key_env=name
            )
            provider = there.get(preset.slug, made)
            found.append(Found(provider, f"env:{name}" if name else "stored key"))
        urls = local_presets(self.env) if local else {}
        urls.update({s: p.base_url for s, p in there.items() if s in urls and p.enabled})
        servers = []
        for slug in listening(urls) if urls else ():
            preset = self.presets[slug]
            made = Provider(slug, preset.name, preset.protocol, urls[slug], auth_method="none")
            servers.append(there.get(slug, made))
        if not servers:
            return found
        tester, _ = self.tester, self.transport  # made here, not by several threads at once

        def ask(provider: Provider) -> "Found | None":
            try:
                served = tester.listing(provider, timeout_s=LISTING_S)
            except OmniError:
                return None  # something else listens there
            return Found(provider, f"answers at {provider.base_url}", tuple(served))

        with ThreadPoolExecutor(max_workers=len(servers)) as pool:
            return found + [answer for answer in pool.map(ask, servers) if answer is not None]

    def propose_fleet(self, found: "Sequence[Found]") -> "Proposal":
        """What ``omni init`` would set up; see services/setup.py."""
        from omni_cli.catalog.load import load_catalog
        from omni_cli.catalog.priors import load_priors
        from omni_cli.services.prices import PriceBook
        from omni_cli.services.setup import Fleet, propose

        priors = load_priors()
        prices = PriceBook(self.models, now_ms=self.now_ms())
        slugs = [provider.slug for provider in self.providers.all()]
        models = self.models.all()
        prices.load(model.id for model in models)

        def price(model_id: str) -> "Price | None":
            row = prices.current(model_id)
            return None if row is None else row.price

        return propose(
            found,
            models,
            retired=frozenset(m.info.id for m in load_catalog().models if m.deprecated),
            price=price,
            prior=priors.lookup,
            tasks=tuple(priors.type_means),
            there=Fleet(
                providers=frozenset(slugs),
                active=tuple(m for m in self.models.of_providers(slugs) if m.status == "active"),
                roles=frozenset(role.name for role in self.assignments.roles()),
                chains=frozenset(chain.name for chain in self.assignments.chains()),
            ),
        )

    @property
    def catalogue_checked(self) -> str:
        """The ISO date on which the catalogue's prices were read at their source."""
        stored = self.store.get_meta(_CHECKED_KEY)
        if stored is not None:
            return stored
        from omni_cli.catalog.load import load_catalog

        return load_catalog().checked

    def update_catalogue(self, file: Path | None, url: str | None = None) -> dict[str, Any]:
        """Newer models and prices from a file or the network, all of it or nothing.

        Raises:
            UsageError: the file cannot be read.
            ProviderError: the network or the server failed.
            ConfigError: the data is not usable.
        """
        from omni_cli.catalog.load import apply_remote
        from omni_cli.services.catalogue_update import refresh
        from omni_cli.services.prices import utc_day

        today = utc_day(self.now_ms())
        data = self._download(url) if file is None else _contents(file)
        catalogue = apply_remote(data, checked=today)
        with self.store.transaction():
            report = refresh(self.models, catalogue, now_ms=self.now_ms())
            self.store.set_meta(_CHECKED_KEY, today)
        return {
            "checked": today,
            "source": catalogue.source,
            "models": report.models,
            "added": list(report.added),
            "repriced": list(report.repriced),
        }

    def _download(self, url: str | None) -> bytes:
        from omni_cli.catalog.remote import TIMEOUT_S, URL
        from omni_cli.domain.errors import ProviderError
        from omni_cli.ports import HttpCall
        from omni_cli.providers.registry import adapter

        call = HttpCall("GET", url or URL, {"accept": "application/json"}, None, "json")
        try:
            # Any adapter does: it only words the server's refusal.
            return self.transport.fetch(adapter("openai"), call, timeout_s=TIMEOUT_S).encode()
        except ProviderError as exc:
            exc.hint = f"nothing was changed; download {call.url}, then omni models update --file"
            raise

    # --- money -------------------------------------------------------------------------------

    @cached_property
    def budget_admin(self) -> "BudgetAdmin":
        from omni_cli.services.budget_admin import BudgetAdmin, PeriodDefaults

        general = self.config.general
        return BudgetAdmin(
            fleet=self.fleet,
            budgets=self.budgets,
            names=self.names,
            defaults=PeriodDefaults(
                self.zone, settings.WEEKDAYS.index(general.week_start), general.month_day
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
        from omni_cli.services.importing import Importing

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
        from omni_cli.services.reprice import Repricing

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

    # --- knowing what is better ----------------------------------------------------------------

    @cached_property
    def lister(self) -> "Lister":
        """Providers' lists of models, for checks and discovery."""
        from omni_cli.providers.registry import adapter
        from omni_cli.services.listing import Lister

        return Lister(adapter, lambda: self.transport, self.key)

    @cached_property
    def windows(self) -> "HealthWindowStore":
        from omni_cli.store.health_windows import HealthWindowStore

        return HealthWindowStore(self.store)

    @cached_property
    def reporter(self) -> "HealthReporter":
        """The fleet's health."""
        from omni_cli.services.health_report import HealthReporter

        return HealthReporter(
            providers=self.providers,
            models=self.models,
            breakers=self.breakers,
            windows=self.windows,
            lister=self.lister,
            has_key=self.has_key,
            clock=self.clock,
        )

    @cached_property
    def discoveries(self) -> "DiscoveryStore":
        from omni_cli.store.discoveries import DiscoveryStore

        return DiscoveryStore(self.store)

    @cached_property
    def discovery(self) -> "DiscoveryService":
        """What providers serve now, and what changed."""
        from omni_cli.services.discovery import DiscoveryService

        return DiscoveryService(
            providers=self.providers,
            models=self.models,
            fleet=self.fleet,
            history=self.discoveries,
            lister=self.lister,
            clock=self.clock,
        )

    @cached_property
    def comparisons(self) -> "ComparisonStore":
        from omni_cli.store.comparisons import ComparisonStore

        return ComparisonStore(self.store)

    @cached_property
    def compare_reports(self) -> "CompareReports":
        from omni_cli.services.compare_report import CompareReports

        return CompareReports(self.comparisons, self.learning, self.ledger.decision, self.clock)

    @cached_property
    def compare(self) -> "CompareService":
        """The same prompts to several models."""
        import secrets

        from omni_cli.services.compare import CompareService
        from omni_cli.services.routing import RouteOptions

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
    def abtests(self) -> "AbTests":
        """A/B tests of roles; also the router's seam to them."""
        import random

        from omni_cli.services.abtest import AbTests
        from omni_cli.store.abtests import AbTestStore

        return AbTests(
            tests=AbTestStore(self.store),
            fleet=lambda: self.fleet,
            clock=self.clock,
            rng=random.Random(),
            note=self.note,
        )

    def prober(self, cap_nusd: int) -> "Prober":
        """Paid probes, ``cap_nusd`` nano-dollars a day at most."""
        from omni_cli.services.probes import Prober

        return Prober(
            chat=self.chat,
            names=self.names,
            spent=lambda: self.windows.spent_today("probe", self.now_ms()),
            cap_nusd=cap_nusd,
        )

    def alerter(self, tell: "Callable[[Alert], None]") -> "Alerter":
        """Alerts to ``tell`` and to every place that the settings name."""
        from omni_cli.keys import resolve
        from omni_cli.services.alerts import Alerter, Command, Desktop, Sink, Terminal, Webhook
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

    @cached_property
    def reconciling(self) -> "Reconciling":
        from omni_cli.services.reconciling import Reconciling

        return Reconciling(self.adjustments, self.models, self.resolve_model)

    @cached_property
    def recovery(self) -> "Recovery":
        from omni_cli.services.recovery import Recovery

        return Recovery(self.ledger, self.models, self.clock)

    @cached_property
    def transport(self) -> "Transport":
        from omni_cli.providers.http import HttpTransport

        return HttpTransport()

    @cached_property
    def presets(self) -> "Mapping[str, Preset]":
        """Well-known providers by slug."""
        from omni_cli.providers.presets import PRESETS

        return PRESETS

    @cached_property
    def tester(self) -> "ConnectionTester":
        from omni_cli.providers.registry import adapter
        from omni_cli.services.connection_test import ConnectionTester

        return ConnectionTester(
            providers=self.providers,
            claims=self.store,
            adapters=adapter,
            transport=lambda: self.transport,
            key=self.key,
            forgive=self.health.forgive,
            clock=self.clock,
            timer=time.perf_counter,
        )

    @cached_property
    def chat(self) -> "ChatService":
        import random
        import secrets

        from omni_cli.providers.registry import adapter
        from omni_cli.services.answer_cache import AnswerCache
        from omni_cli.services.attempts import Target
        from omni_cli.services.chat import ChatService
        from omni_cli.services.dispatch import Dispatcher

        def room(request_id: int, target: Target) -> int | None:
            row = self.ledger.get(request_id)
            if row is None:
                return None
            return self.budgets.room_nusd(target.provider.slug, target.model.id, row)

        chat = self.config.chat
        return ChatService(
            providers=self.providers,
            models=self.models,
            assignments=self.assignments,
            learning=self.learning,
            conversations=self.conversations,
            ledger=self.ledger,
            routing=self.routing,
            dispatcher=Dispatcher(
                ledger=self.ledger,
                transport=self.transport,
                adapters=adapter,
                keys=self.key,
                health=self.health,
                clock=self.clock,
                sleep=time.sleep,
                rng=random.Random(),
                room=room,
                reclaim=self.recovery.run,
                note=self.note,
            ),
            recovery=self.recovery,
            names=self.names,
            clock=self.clock,
            random_bits=lambda: secrets.randbits(20),
            premium_model=self.config.general.premium_model,
            default_retries=chat.max_retries,
            default_timeout_ms=int(chat.timeout_s * 1000),
            experiments=self.abtests,
            answers=AnswerCache(self.answers, clock=self.clock),
        )


def _contents(file: Path) -> bytes:
    from omni_cli.domain.errors import UsageError

    try:
        return file.read_bytes()
    except OSError as exc:
        raise UsageError(f"cannot read {file}: {exc.strerror}") from exc


def _to_toml(document: dict[str, Any]) -> str:
    import tomli_w

    return tomli_w.dumps(document)
