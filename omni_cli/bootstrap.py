"""Wires services to adapters: one lazy object. Each part is imported and made where it is first
needed, so that a command pays for what it uses and for nothing else."""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from omni_cli import config as settings
from omni_cli import system
from omni_cli.domain.errors import UsageError
from omni_cli.domain.models import ModelInfo
from omni_cli.domain.tasks import WEEKDAYS
from omni_cli.ports import Clock

if TYPE_CHECKING:
    from omni_cli import repositories
    from omni_cli.domain.latency import SpeedOf
    from omni_cli.domain.quality import PriorLookup, QualityTable
    from omni_cli.importers.logs import Logs
    from omni_cli.keys.access import KeyAccess
    from omni_cli.keys.addresses import Addresses
    from omni_cli.ports import Fetcher
    from omni_cli.providers.http import HttpTransport
    from omni_cli.providers.presets import Preset
    from omni_cli.records import StoreFacts
    from omni_cli.repositories import (
        Adjustments,
        Advice,
        Answers,
        Assignments,
        Audit,
        Breakers,
        Budgets,
        ClientKeys,
        Comparisons,
        Conversations,
        Discoveries,
        Glance,
        HealthWindows,
        Imports,
        Learning,
        Ledger,
        LogFiles,
        Models,
        Providers,
        Rebuild,
        Reports,
        Rollups,
        Sessions,
        Store,
        Writer,
    )
    from omni_cli.services.engine.batches import BatchService
    from omni_cli.services.engine.chat import ChatService
    from omni_cli.services.engine.health import HealthRecorder
    from omni_cli.services.engine.model_classifier import ModelClassifier
    from omni_cli.services.engine.names import Names
    from omni_cli.services.engine.own import Steps, Tools
    from omni_cli.services.engine.recovery import Recovery
    from omni_cli.services.engine.routing import RoutingService
    from omni_cli.services.fleet.apply import FleetApplier
    from omni_cli.services.fleet.browse import Browser
    from omni_cli.services.fleet.connection_test import ConnectionTester
    from omni_cli.services.fleet.describe import ProviderDocuments
    from omni_cli.services.fleet.discovery import DiscoveryService
    from omni_cli.services.fleet.fleet import FleetService
    from omni_cli.services.fleet.history import History
    from omni_cli.services.fleet.listing import Lister
    from omni_cli.services.fleet.organisation import Eyes, OrgModels, OrgProviders
    from omni_cli.services.fleet.probes import Prober
    from omni_cli.services.fleet.provider_maker import ProviderMaker
    from omni_cli.services.fleet.role_switch import RoleSwitcher
    from omni_cli.services.fleet.setup import Found, Proposal
    from omni_cli.services.fleet.slots import Slots
    from omni_cli.services.fleet.sync import SyncService
    from omni_cli.services.judge.abtest import AbTests
    from omni_cli.services.judge.advice import AdviceService
    from omni_cli.services.judge.advice_document import Telling
    from omni_cli.services.judge.alerts import Alert, Alerter
    from omni_cli.services.judge.compare import CompareService
    from omni_cli.services.judge.compare_report import CompareReports
    from omni_cli.services.judge.deploys import Deploys
    from omni_cli.services.judge.diagnosis import Diagnosis
    from omni_cli.services.judge.drift import DriftService
    from omni_cli.services.judge.health_report import CheckRecorder, FleetHealth, HealthReporter
    from omni_cli.services.judge.maintenance import MaintenanceService, ReportZone
    from omni_cli.services.judge.metrics import MetricsService
    from omni_cli.services.judge.monthly import MonthlyReports
    from omni_cli.services.judge.optimize import Optimizer
    from omni_cli.services.judge.proof import Prover
    from omni_cli.services.judge.rating import Ratings
    from omni_cli.services.judge.shadow import ShadowService
    from omni_cli.services.judge.spec_documents import SpecDocuments
    from omni_cli.services.money.activity import ActivityService
    from omni_cli.services.money.budget_admin import BudgetAdmin
    from omni_cli.services.money.costs import CostService
    from omni_cli.services.money.export import ExportService
    from omni_cli.services.money.held import HeldMoney
    from omni_cli.services.money.importing import Importing
    from omni_cli.services.money.ledger_names import LedgerNames
    from omni_cli.services.money.receipt import ReceiptService
    from omni_cli.services.money.reconciling import Reconciling
    from omni_cli.services.money.reprice import Repricing
    from omni_cli.services.money.savings import SavingsService
    from omni_cli.services.money.sessions import SessionService
    from omni_cli.services.money.statusline import Status
    from omni_cli.services.money.usage import UsageService
    from omni_cli.store.dumps import Dumps
    from omni_cli.store.late_ledger import LateLedger
    from omni_cli.store.limits import LimitStore
    from omni_cli.store.move import Mover
    from omni_cli.store.port import Store as Database

_CATALOGUE_KEY, _CHECKED_KEY = "catalogue", "catalogue_checked"
_DATABASES = ("postgresql://", "postgres://")
#: What ``refresh`` leaves beside all that is the store's: it does not rest on what may change.
_LASTING = ("transport", "calls", "steps", "system_models")


def _to_toml(document: dict[str, Any]) -> str:
    import tomli_w

    return tomli_w.dumps(document)


class App:
    """One process's omni. Everything is made on first use.

    Args:
        env: the environment; decides where files are and which keys there are.
        clock: seconds since the epoch, UTC.
        durable: flush every commit to disk (see store/connection.py).
        cwd: where to look for a project's settings.
        note: told what a person should know meanwhile: retries, failovers, keys left aside.
        org: whose fleet and use it is: an organisation's (services/fleet/organisation.py), or
            what all share, ""; None: as OMNI_ORG says.
    """

    def __init__(
        self,
        env: Mapping[str, str] | None = None,
        *,
        clock: Clock = time.time,
        durable: bool = True,
        cwd: Path | None = None,
        note: Callable[[str], None] = lambda _: None,
        org: str | None = None,
    ) -> None:
        self.env: Mapping[str, str] = os.environ if env is None else env
        self.clock = clock
        self.note = note
        self._durable = durable
        self._cwd = cwd
        self._lent: set[str] = set()
        #: Numbers of the revisions of the fleet that were made through this session.
        self.revised: list[int] = []
        self.paths = settings.paths(self.env)
        self.org = self.env.get("OMNI_ORG", "") if org is None else org

    def use(self, **parts: object) -> None:
        """Put the caller's own in the place of parts; they last, and the caller closes them."""
        self.__dict__.update(parts)
        self._lent.update(parts)

    def refresh(self) -> None:
        """Settings, keys, names or the fleet may be others now: make what rests on them anew."""
        for name in self._made():
            part = self.__dict__[name]
            stored = type(part).__module__.startswith("omni_cli.store.")
            if not (stored or name in _LASTING or name in self._lent):
                del self.__dict__[name]

    def made(self, name: str) -> bool:
        """Whether a part has been made, or lent."""
        return name in self._made()

    def _made(self) -> list[str]:
        parts = type(self).__dict__
        return [name for name in self.__dict__ if isinstance(parts.get(name), cached_property)]

    def close(self) -> None:
        """Close what was opened."""
        calls, steps = self.__dict__.pop("calls", None), self.__dict__.pop("steps", None)
        if steps is not None:
            steps.close(None if calls is None else calls.close())
        for name in ("transport", "_db"):
            part = self.__dict__.pop(name, None)
            if part is not None and name not in self._lent:
                part.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

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
        name = self.env.get("OMNI_USER") or self.env.get("USER") or f"uid {system.user_id()}"
        return f"{name} of {self.org}" if self.org else name

    # --- the store and its table families --------------------------------------------------------

    @property
    def store(self) -> "Store":
        """The store, with the bundled catalogue in it."""
        return self._db

    @cached_property
    def _db(self) -> "Database":
        store = self._open()
        self._seed(store)
        return store

    @cached_property
    def database_url(self) -> str:
        """Of the database that holds the store; "" where that is a file of this machine."""
        return settings.database_url(self.paths, self.env)

    def _open(self, *, moving: bool = False) -> "Database":
        durable = self._durable
        if url := self.database_url:
            from omni_cli.store.postgres import PostgresStore

            return PostgresStore(url, self.paths.data, env=self.env, durable=durable, moving=moving)
        from omni_cli.store.connection import SqliteStore

        return SqliteStore(self.paths.store, durable=durable, moving=moving)

    @property
    def store_name(self) -> str:
        """Where the store is, as a person is told: its file, or its database without a password."""
        return self._name_of(self.database_url or str(self.paths.store))

    def _name_of(self, place: str) -> str:
        if place.startswith(_DATABASES):
            from omni_cli.store.postgres import named

            return named(place, self.env)
        return str(Path(place).expanduser().absolute())

    def _seed(self, store: "Database") -> None:
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
    def _eyes(self) -> "Eyes":
        from omni_cli.services.fleet.organisation import Eyes, check_org

        return Eyes(check_org(self.org) if self.org else "")

    def organisations(self) -> set[str]:
        """All that anything here was made for, or used by."""
        from omni_cli.services.fleet.organisation import whose

        used = self.every_report.totals(0, 99_999_999, ("org",), {})
        kept = [item.slug for item in self.every_provider.all()]
        kept += [item.name for item in self.every_assignment.roles()]
        kept += [item.name for item in self.every_assignment.chains()]
        return {
            *(org for (org,) in used),
            *(key.org or "" for key in self.every_client_key.all()),
            *(whose(name) for name in kept),
            *(budget.value for budget in self.every_budget.all() if budget.scope == "org"),
        } - {""}

    @cached_property
    def every_provider(self) -> "Providers":
        """Also those of organisations."""
        from omni_cli.store.providers import ProviderStore

        return ProviderStore(self._db)

    @cached_property
    def every_model(self) -> "Models":
        """Also those of organisations."""
        from omni_cli.store.models import ModelStore

        return ModelStore(self._db)

    @cached_property
    def every_assignment(self) -> "Assignments":
        """Also those of organisations."""
        from omni_cli.store.assignments import AssignmentStore

        return AssignmentStore(self._db)

    @cached_property
    def providers(self) -> "OrgProviders":
        from omni_cli.services.fleet.organisation import OrgProviders

        return OrgProviders(
            self.every_provider,
            self._eyes,
            lambda: self.config.general.org_private_addresses,
            _addresses,
        )

    @cached_property
    def models(self) -> "OrgModels":
        from omni_cli.services.fleet.organisation import OrgModels

        return OrgModels(self.every_model, self.providers)

    @cached_property
    def assignments(self) -> "Assignments":
        from omni_cli.services.fleet.organisation import OrgAssignments

        return OrgAssignments(self.every_assignment, self.models, self._eyes)

    @cached_property
    def audit(self) -> "Audit":
        from omni_cli.store.audit import AuditStore

        return AuditStore(self._db)

    @cached_property
    def rollups(self) -> "Rollups":
        from omni_cli.store.rollups import RollupStore

        return RollupStore(self._db)

    @cached_property
    def every_report(self) -> "Reports":
        from omni_cli.store.reports import ReportStore

        return ReportStore(self._db)

    @cached_property
    def reports(self) -> "Reports":
        if not self.org:
            return self.every_report
        from omni_cli.services.fleet.organisation import OrgReports

        return OrgReports(self.every_report, self.org)

    @cached_property
    def rebuild(self) -> "Rebuild":
        from omni_cli.store.rebuild import RollupRebuild

        return RollupRebuild(self._db)

    @cached_property
    def every_budget(self) -> "Budgets":
        from omni_cli.store.budgets import BudgetStore

        return BudgetStore(self._db)

    @cached_property
    def budgets(self) -> "Budgets":
        if not self.org:
            return self.every_budget
        from omni_cli.services.fleet.organisation import OrgBudgets

        return OrgBudgets(self.every_budget, self.client_keys, self._eyes)

    @property
    def ledger(self) -> "Ledger":
        return self._ledger

    @cached_property
    def _ledger(self) -> "LateLedger":
        from omni_cli.store.late_ledger import LateLedger

        ledger = LateLedger(self._db)
        ledger.catch_up()
        return ledger

    @cached_property
    def writer(self) -> "Writer":
        """What calls are written through. It does not wait for locks from now on."""
        from omni_cli.store.leases import AWAY_S, STRICT_S
        from omni_cli.store.writer import Writer

        serves = self.config.store.when_away == "slices"
        return Writer(self._db, self._ledger, away_s=AWAY_S if serves else STRICT_S)

    @cached_property
    def glance(self) -> "Glance":
        from omni_cli.store.glance import GlanceStore

        return GlanceStore(self._db)

    @cached_property
    def every_client_key(self) -> "ClientKeys":
        from omni_cli.store.gateway_keys import GatewayKeyStore

        return GatewayKeyStore(self._db)

    @cached_property
    def client_keys(self) -> "ClientKeys":
        if not self.org:
            return self.every_client_key
        from omni_cli.services.fleet.organisation import OrgClientKeys

        return OrgClientKeys(self.every_client_key, self._eyes)

    @cached_property
    def stored_advice(self) -> "Advice":
        from omni_cli.store.advice import AdviceStore

        return AdviceStore(self._db)

    @cached_property
    def stored_breakers(self) -> "Breakers":
        from omni_cli.store.breakers import BreakerStore

        return BreakerStore(self._db)

    def store_facts(self) -> "StoreFacts":
        """A look at the store from outside: it may be missing, or broken."""
        if url := self.database_url:
            from omni_cli.store import postgres

            return postgres.examine(url, self.env)
        from omni_cli.store.maintenance import examine

        return examine(self.paths.store)

    def unwritable(self) -> str:
        """What to do where nothing can be kept; "" where it can."""
        from omni_cli.store.connection import UNWRITABLE_HINT, can_write

        return "" if can_write(self.paths.store) else UNWRITABLE_HINT

    @cached_property
    def imports(self) -> "Imports":
        from omni_cli.store.imports import ImportStore

        return ImportStore(self._db)

    @cached_property
    def log_files(self) -> "LogFiles":
        from omni_cli.store.imports import LogFileStore

        return LogFileStore(self._db)

    @cached_property
    def logs(self) -> "Logs":
        from omni_cli.importers.logs import Logs

        return Logs(
            importing=lambda: self.importing,
            log_files=self.log_files,
            home=Path(self.env.get("HOME") or Path.home()),
            env=self.env,
            clock=self.clock,
        )

    @cached_property
    def sessions(self) -> "Sessions":
        from omni_cli.store.sessions import SessionStore

        return SessionStore(self._db)

    @cached_property
    def adjustments(self) -> "Adjustments":
        from omni_cli.store.adjustments import AdjustmentStore

        return AdjustmentStore(self._db)

    @cached_property
    def learning(self) -> "Learning":
        from omni_cli.store.learning import LearningStore

        return LearningStore(self._db)

    @cached_property
    def conversations(self) -> "Conversations":
        from omni_cli.store.conversations import ConversationStore

        return ConversationStore(self._db)

    @cached_property
    def windows(self) -> "HealthWindows":
        from omni_cli.store.health_windows import HealthWindowStore

        return HealthWindowStore(self._db)

    @cached_property
    def discoveries(self) -> "Discoveries":
        from omni_cli.store.discoveries import DiscoveryStore

        return DiscoveryStore(self._db)

    @cached_property
    def comparisons(self) -> "Comparisons":
        from omni_cli.store.comparisons import ComparisonStore

        return ComparisonStore(self._db)

    @cached_property
    def answers(self) -> "Answers":
        from omni_cli.store.answer_cache import AnswerCacheStore

        return AnswerCacheStore(self._db)

    # --- keys, addresses, what this machine has --------------------------------------------------

    @cached_property
    def presets(self) -> "Mapping[str, Preset]":
        """Well-known providers by slug."""
        from omni_cli.providers.presets import PRESETS

        return PRESETS

    @cached_property
    def addresses(self) -> "Addresses":
        from omni_cli.keys.addresses import Addresses

        usual = {slug: preset.base_url for slug, preset in self.presets.items()}
        return Addresses(usual, self.env, self.store)

    @cached_property
    def keys(self) -> "KeyAccess":
        from omni_cli.keys.access import KeyAccess, OrgKeyAccess

        kind: Callable[..., KeyAccess] = KeyAccess
        if self.org:
            kind = partial(OrgKeyAccess, self.org)
        return kind(
            self.providers,
            self.addresses,
            self.env,
            self.paths.data,
            note=self.note,
            forgive=lambda slug: self.health.forgive(slug),
        )

    @cached_property
    def breakers(self) -> "Breakers":
        from omni_cli.services.engine.fresh_breakers import FreshBreakers

        return FreshBreakers(self.stored_breakers, lambda slug: self.keys.digest(slug))

    def find_providers(self, *, local: bool = True) -> "list[Found]":
        """What this machine could use (see ``Finder.find``). Raises ConfigError."""
        from omni_cli.keys.addresses import SERVE_PORT
        from omni_cli.providers.finding import Finder
        from omni_cli.wire.registry import adapter

        return Finder(
            there={provider.slug: provider for provider in self.providers.all()},
            keys=self.keys,
            addresses=self.addresses,
            env=self.env,
            fetcher=lambda: self.transport,
            ask=lambda provider, limit_s: self.lister.prepare(provider, timeout_s=limit_s),
            words=adapter("openai"),
            own_port=SERVE_PORT,
            note=self.note,
        ).find(local=local)

    def propose_fleet(self, found: "Sequence[Found]") -> "Proposal":
        """What ``omni init`` would set up."""
        from omni_cli.catalog.load import load_catalog
        from omni_cli.catalog.priors import load_priors
        from omni_cli.services.fleet.setup import proposal_for

        return proposal_for(
            found,
            providers=self.providers,
            models=self.models,
            assignments=self.assignments,
            deprecated=[entry.info for entry in load_catalog().models if entry.deprecated],
            prior_with=self.priors,
            tasks=load_priors().types,
            now_ms=self.now_ms(),
        )

    def propose_slots(self, agent: str) -> "Slots":
        """Roles and rules for the usual jobs within an agent's session, from the fleet at hand.

        Raises UsageError: no such agent; NoRoute: no active model is known to call tools.
        """
        from omni_cli.catalog.priors import load_priors
        from omni_cli.services.fleet.setup import Chooser
        from omni_cli.services.fleet.slots import agent_named, propose_slots
        from omni_cli.services.money.prices import PriceBook

        prices = PriceBook(self.models, now_ms=self.now_ms())
        active = [model for model in self.routing.active_models() if model.chats]
        prices.load(model.id for model in active)
        protocols = {provider.slug: provider.protocol for provider in self.providers.all()}

        return propose_slots(
            agent_named(agent),
            active,
            Chooser(prices.of, self.priors(), load_priors().types, lambda _provider, _model: False),
            lambda slug: protocols[slug],
            self.assignments.rules(),
            frozenset(role.name for role in self.assignments.roles()),
        )

    @property
    def catalogue_checked(self) -> str:
        """The ISO date on which the catalogue's prices were read at their source."""
        from omni_cli.catalog.load import load_catalog

        return self.store.get_meta(_CHECKED_KEY) or load_catalog().checked

    def update_catalogue(self, file: Path | None, url: str | None = None) -> dict[str, Any]:
        """Newer models and prices from a file or the network, all of it or nothing.

        Raises:
            UsageError: the file cannot be read.
            ProviderError: the network or the server failed.
            ConfigError: the data is not usable.
        """
        from omni_cli.catalog.update import contents, download, update
        from omni_cli.services.money.prices import utc_day
        from omni_cli.wire.registry import adapter

        data = contents(file) if file else download(self.transport, adapter("openai"), url)
        today = utc_day(self.now_ms())
        with self.store.transaction():
            report = update(self.models, data, today=today, now_ms=self.now_ms())
            self.store.set_meta(_CHECKED_KEY, today)
        return report

    # --- the fleet: changed, deployed, routed, browsed -------------------------------------------

    @cached_property
    def names(self) -> "Names":
        from omni_cli.services.engine.names import Names

        return Names(self.providers, self.models, self.assignments)

    @cached_property
    def fleet(self) -> "FleetService":
        from omni_cli.services.fleet.fleet import FleetService

        # Without an organisation the fleet is all of it: what it is written down as holds
        # everything, and its owner may change what is an organisation's.
        return FleetService(
            providers=self.providers if self.org else self.every_provider,
            models=self.models if self.org else self.every_model,
            assignments=self.assignments if self.org else self.every_assignment,
            budgets=self.budgets,
            whole=self.whole_fleet,
            revised=self.revised.append,
            audit=self.audit,
            names=self.names,
            clock=self.clock,
            who=self.who,
            unit=self.store.transaction,
            to_toml=_to_toml,
        )

    def whole_fleet(self) -> dict[str, Any]:
        """What a revision keeps: everybody's, and each organisation's."""
        from omni_cli.services.fleet.fleet_document import fleet_document

        return fleet_document(
            self.every_provider, self.every_model, self.every_assignment, self.every_budget
        )

    @cached_property
    def provider_maker(self) -> "ProviderMaker":
        """New providers, as far as they are known."""
        from omni_cli.services.fleet.provider_maker import ProviderMaker

        return ProviderMaker(
            self.presets, self.addresses.proposed, self.keys.place, variables=not self.org
        )

    @cached_property
    def system_models(self) -> Mapping[str, ModelInfo]:
        """The catalogue's models by id, as a store has them that nobody touched."""
        from omni_cli.catalog.load import load_catalog
        from omni_cli.services.fleet.catalogue import system_models

        return system_models(load_catalog())

    @cached_property
    def applier(self) -> "FleetApplier":
        from omni_cli.services.fleet.apply import FleetApplier

        if self.org:
            raise UsageError(
                f"the fleet as one document is everybody's: {self.org} cannot have or apply it",
                hint="leave --org and OMNI_ORG away",
            )
        return FleetApplier(
            fleet=self.fleet,
            providers=self.every_provider,
            models=self.every_model,
            assignments=self.every_assignment,
            budgets=self.budgets,
            catalogue=lambda model_id: self.system_models.get(model_id),
        )

    @cached_property
    def history(self) -> "History":
        from omni_cli.services.fleet.history import History

        return History(audit=self.audit, applier=self.applier)

    @cached_property
    def health(self) -> "HealthRecorder":
        from omni_cli.services.engine.health import HealthRecorder

        return HealthRecorder(
            self.breakers, self.clock, lambda: self.config.routing.failover_error_rate
        )

    @cached_property
    def routing(self) -> "RoutingService":
        from omni_cli.services.engine.quality import TableQuality
        from omni_cli.services.engine.routing import RoutingService

        return RoutingService(
            providers=self.providers,
            models=self.models,
            assignments=self.assignments,
            learning=self.learning,
            breakers=self.breakers,
            has_key=self.keys.has,
            quality=TableQuality.load(self.learning, self.priors()),
            clock=self.clock,
            consent=self.config.routing.consent,
            budgets=lambda at_ms: self.budgets.of_models(at_ms),
            speeds=lambda model, output_usd: self.speeds(model, output_usd),
        )

    @cached_property
    def speeds(self) -> "SpeedOf":
        """How fast models are before they were measured."""
        from omni_cli.catalog.speeds import load_speeds

        return load_speeds()

    @cached_property
    def browser(self) -> "Browser":
        """Models with price, quality and measured use, for lists."""
        from omni_cli.domain.quality import NO_EVIDENCE, family_key
        from omni_cli.domain.tasks import TASK_TYPES
        from omni_cli.services.engine.quality import TableQuality
        from omni_cli.services.fleet.browse import Browser
        from omni_cli.services.money.prices import PriceBook

        priors = self.priors()
        judge = TableQuality.load(self.learning, priors)
        evenly = dict.fromkeys(TASK_TYPES, 1.0)
        rated = {family_key(model) for _, model in judge.table.observed}

        def quality(model_id: str) -> tuple[float | None, str]:
            """As the router judges it, over all task types alike."""
            if family_key(model_id) not in rated and not any(priors(t, model_id) for t in evenly):
                return None, NO_EVIDENCE  # what the judge says, too: half the catalogue is so
            ((mean, _, basis),) = judge(evenly, [model_id])
            return mean, basis

        prices = PriceBook(self.models, now_ms=self.now_ms())
        # What everybody's calls were like is not counted by organisation.
        return Browser(prices, quality, {} if self.org else self.learning.stats(), self.speeds)

    def priors(self, listed: Mapping[str, float] | None = None) -> "PriorLookup":
        """Where quality starts: the user's own scores, what was published, what size suggests.

        Args:
            listed: sizes of models that are not in the store yet, in billions, by id.
        """
        from omni_cli.catalog.priors import load_priors
        from omni_cli.services.engine.own_scores import with_own_scores, with_sizes

        priors = load_priors()
        known = with_sizes(priors.lookup, priors.weak, self.models.sizes() | dict(listed or {}))
        return with_own_scores(known, self.models.own_scores())

    def quality_table(self) -> "QualityTable":
        from omni_cli.services.engine.quality import TableQuality

        return TableQuality.load(self.learning, self.priors()).table

    # --- calls to providers, and what dead processes left ----------------------------------------

    @cached_property
    def recovery(self) -> "Recovery":
        from omni_cli.services.engine.recovery import Recovery

        return Recovery(self.ledger, self.models, self.clock)

    @cached_property
    def transport(self) -> "Fetcher":
        from omni_cli.providers.http import HttpFetcher

        return HttpFetcher(outside=self._must_lead_out)

    def origins(self) -> dict[tuple[str, int], bool]:
        """Hosts and ports of all providers, and whether each is organisations' own alone: these
        must lead out of this machine's networks, unless the settings say otherwise."""
        from omni_cli.domain.hosts import host_and_port
        from omni_cli.services.fleet.organisation import whose

        free, found = self.config.general.org_private_addresses, dict[tuple[str, int], bool]()
        for provider in self.every_provider.all():
            origin = host_and_port(provider.base_url)
            own = bool(whose(provider.slug)) and not free
            found[origin] = own and found.get(origin, True)
        return found

    def _must_lead_out(self, host: str, port: int) -> bool:
        return self.origins().get((host, port), False)

    @cached_property
    def check_recorder(self) -> "CheckRecorder":
        from omni_cli.services.judge.health_report import CheckRecorder

        return CheckRecorder(self.store, self.windows, self.providers, self.breakers)

    @cached_property
    def tester(self) -> "ConnectionTester":
        from omni_cli.services.fleet.connection_test import ConnectionTester

        return ConnectionTester(
            recorder=self.check_recorder,
            claims=self.store,
            lister=self.lister,
            clock=self.clock,
            timer=time.perf_counter,
        )

    @cached_property
    def lister(self) -> "Lister":
        """Providers' lists of models, for checks and discovery."""
        from omni_cli.services.fleet.listing import Lister
        from omni_cli.wire.registry import adapter

        return Lister(adapter, lambda: self.transport, self.keys.get)

    @cached_property
    def abtests(self) -> "AbTests":
        """A/B tests of roles; also the router's seam to them."""
        import random

        from omni_cli.services.judge.abtest import AbTests
        from omni_cli.store.abtests import AbTestStore

        return AbTests(
            trials=AbTestStore(self._db),
            fleet=lambda: self.fleet,
            clock=self.clock,
            rng=random.Random(),
            note=self.note,
        )

    @cached_property
    def steps(self) -> "Steps":
        """The event loop of code that has none."""
        from omni_cli.services.engine.own import Steps

        return Steps()

    @cached_property
    def calls(self) -> "HttpTransport":
        """What calls go out over, within one event loop."""
        from omni_cli.providers.http import HttpTransport

        return HttpTransport(outside=self._must_lead_out)

    def _tools(self) -> "Tools":
        """What requests of this process's own are made with."""
        import random

        from omni_cli.services.engine.own import Singly, Tools, pause
        from omni_cli.store.writer import Writer
        from omni_cli.wire.registry import adapter

        writer = Writer(self._db, self._ledger, alone=True)
        return Tools(
            commits=Singly(writer, clock=self.clock, pause=writer.rung, reclaim=self.recovery.run),
            transport=lambda: self.calls,
            adapters=adapter,
            keys=self.keys.get,
            health=self.health,
            clock=self.clock,
            sleep=pause,
            rng=random.Random(),
            note=self.note,
            limit_s=self.config.chat.limit_s,
        )

    @cached_property
    def chat(self) -> "ChatService":
        import secrets
        from functools import cache

        from omni_cli.services.engine.answer_cache import AnswerCache
        from omni_cli.services.engine.chat import ChatService

        chat = self.config.chat
        return ChatService(
            models=self.models,
            assignments=self.assignments,
            learning=self.learning,
            conversations=self.conversations,
            ledger=self.ledger,
            routing=self.routing,
            tools=cache(self._tools),
            steps=lambda: self.steps,
            recovery=self.recovery,
            names=self.names,
            clock=self.clock,
            random_bits=lambda: secrets.randbits(20),
            premium_model=self.config.general.premium_model,
            default_retries=chat.max_retries,
            default_timeout_ms=int(chat.timeout_s * 1000),
            failover=self.config.routing.failover,
            # An organisation may have another role of a name that is tested.
            experiments=None if self.org else self.abtests,
            answers=AnswerCache(self.answers, clock=self.clock),
            org=self.org,
            classify=(lambda request: self.classifier.of(request))
            if self.config.routing.classifying_model
            else None,
        )

    @cached_property
    def classifier(self) -> "ModelClassifier":
        """A model that says what kind of job a prompt is, where the settings name one."""
        from omni_cli.services.engine.model_classifier import ModelClassifier

        routing = self.config.routing
        return ModelClassifier(
            chat=lambda: self.chat,
            names=self.names,
            name=routing.classifying_model,
            limit_s=routing.classifier_limit_s,
        )

    # --- reports over the rollups ----------------------------------------------------------------

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
            names=self.ledger_names.resolve,
            week_start=WEEKDAYS.index(self.config.general.week_start),
            month_day=self.config.general.month_day,
            sessions=self.sessions.of,
        )

    @cached_property
    def activity(self) -> "ActivityService":
        from omni_cli.services.money.activity import ActivityService

        return ActivityService(
            glance=self.glance, prices=self.models, clock=self.clock, zone=lambda: self.zone
        )

    @cached_property
    def agent_sessions(self) -> "SessionService":
        from omni_cli.services.money.prices import PriceBook
        from omni_cli.services.money.sessions import SessionService

        return SessionService(
            price=lambda model: PriceBook(self.models, now_ms=self.now_ms()).of(model),
            sessions=self.sessions,
            client_keys=self.client_keys,
            budgets=self.budgets,
            audit=self.audit,
            clock=self.clock,
            who=self.who,
            recover=self.recover,
        )

    def statusline(self, given: "Mapping[str, Any]") -> "Status":
        """What a line of an agent's prompt says, after what is new of its transcript is read."""
        from omni_cli.services.money.statusline import StatusLines

        path = given.get("transcript_path")
        if self.config.imports.follow and isinstance(path, str):
            self.logs.follow_session("claude-code", Path(path).expanduser())

        def window(name: str) -> int | None:
            model = self.models.get(f"anthropic/{name}")
            return None if model is None else model.context_window

        lines = StatusLines(
            reports=self.reports,
            sessions=self.sessions,
            usage=self.usage,
            zone=self.report_zone,
            clock=self.clock,
            window=window,
        )
        return lines.status(given)

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

        return SavingsService(reports=self.reports, usage=self.usage, quality=self.quality_table)

    @cached_property
    def exporting(self) -> "ExportService":
        from omni_cli.services.money.export import ExportService
        from omni_cli.store.history import LedgerExport

        return ExportService(
            rows=LedgerExport(self._db),
            reports=self.reports,
            report_zone=self.report_zone,
            zone=self.zone,
            clock=self.clock,
        )

    @cached_property
    def diagnosis(self) -> "Diagnosis":
        from omni_cli.services.judge.diagnosis import Diagnosis

        return Diagnosis(
            fleet=self.fleet,
            breakers=self.breakers,
            browser=self.browser,
            has_key=self.keys.has,
            key_place=self.keys.place,
            listing=self.tester.listing,
            clock=self.clock,
        )

    @cached_property
    def ratings(self) -> "Ratings":
        from omni_cli.services.judge.rating import Ratings

        return Ratings(ledger=self.ledger, learning=self.learning, clock=self.clock)

    @cached_property
    def provider_documents(self) -> "ProviderDocuments":
        """What every face shows of providers."""
        from omni_cli.services.fleet.describe import ProviderDocuments

        return ProviderDocuments(
            providers=self.providers,
            models=self.models,
            health=lambda: self.reporter.report(),
            key_place=self.keys.place,
            key_masked=self.keys.masked,
            address=self.addresses.source,
        )

    @cached_property
    def spec_documents(self) -> "SpecDocuments":
        """The specs' own names for what every face shows."""
        from omni_cli.services.judge.spec_documents import SpecDocuments

        return SpecDocuments(
            usage=self.usage,
            reports=self.reports,
            assignments=self.assignments,
            rating=(lambda _: None) if self.org else self.glance.rating,
            health=lambda: self.reporter.report(),
            clock=self.clock,
            timeout_ms=int(self.config.chat.timeout_s * 1000),
            max_retries=self.config.chat.max_retries,
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
            has_key=self.keys.has,
            clock=self.clock,
            private=self._private_health if self.org else None,
        )

    def _private_health(self, fleet: "FleetHealth") -> "FleetHealth":
        from omni_cli.domain.analytics import day_key
        from omni_cli.domain.periods import local_date
        from omni_cli.services.fleet.organisation import private

        today = day_key(local_date(self.now_ms(), self.report_zone()))
        return private(fleet, self.reports.totals(today, today, ("provider",)))

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
            copier=self._dumps() if self.database_url else maintenance,
            files=lambda: maintenance.MaintenanceStore(self._db),
            rollups=lambda: self.rebuild,
            audit=lambda: self.audit,
            recover=lambda: self.recovery.run(),
            mover=self._mover,
            rest=self.close,
            zone=self.zone,
            clock=self.clock,
            who=self.who,
            keep_days=self.config.store.keep_days,
        )

    def shared_limits(self) -> "LimitStore | None":
        """Where gateways keep limits together; None where the store is a file of one machine."""
        if not self.database_url:
            return None
        from omni_cli.store.limits import LimitStore

        return LimitStore(self.database_url, self.env)

    def _mover(self, target: str) -> "Mover":
        from omni_cli.store.move import Mover

        return Mover(
            lambda: self._open(moving=True),
            lambda: self._open_at(target),
            lambda: self._is_there(target),
            self._name_of(target),
        )

    def _is_there(self, place: str) -> bool:
        if place.startswith(_DATABASES):
            from omni_cli.store import postgres

            return postgres.examine(place, self.env).exists
        return Path(place).expanduser().exists()

    def _open_at(self, place: str) -> "Database":
        """A store elsewhere, for whoever moves this one there."""
        if place.startswith(_DATABASES):
            from omni_cli.store.postgres import PostgresStore

            return PostgresStore(place, self.paths.data, env=self.env, moving=True)
        from omni_cli.store.connection import SqliteStore

        return SqliteStore(Path(place).expanduser().absolute(), moving=True)

    def _dumps(self) -> "Dumps":
        from omni_cli.store.dumps import Dumps

        return Dumps(self.database_url, self.env)

    # --- budgets, imports, corrections, invoices -------------------------------------------------

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

    def same_model(self, slug: str, wire_name: str) -> str | None:
        """The catalogue's model that a cloud's provider serves under a name of its own."""
        from omni_cli.domain.clouds import cloud_of

        provider = self.providers.get(slug)
        cloud = None if provider is None else cloud_of(provider)
        if cloud is None:
            return None
        from omni_cli.importers.names import known_names, resolve_model

        vendor = {"aws": "bedrock", "google": "vertex", "azure": "openai"}[cloud]
        vendors = known_names((m.id, m.aliases) for m in self.system_models.values())
        return resolve_model(vendor, wire_name, vendors)

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
            key=self.keys.get,
            clock=self.clock,
            who=self.who,
        )

    @cached_property
    def batches(self) -> "BatchService":
        import secrets

        from omni_cli.services.engine.batches import BatchService
        from omni_cli.store.batches import BatchStore

        return BatchService(
            store=BatchStore(self._db),
            models=self.models,
            providers=self.providers,
            assignments=self.assignments,
            budgets=self.budgets,
            audit=self.audit,
            routing=self.routing,
            names=self.names,
            key=self.keys.get,
            clock=self.clock,
            bits=lambda: secrets.randbits(20),
        )

    @cached_property
    def reconciling(self) -> "Reconciling":
        from omni_cli.services.money.reconciling import Reconciling

        return Reconciling(
            self.adjustments,
            self.models,
            self.resolve_model,
            lambda: self.maintenance.files().pruned_before_ms(),
        )

    # --- knowing what is better ------------------------------------------------------------------

    @cached_property
    def advice(self) -> "AdviceService":
        from omni_cli.services.judge.advice import AdviceService
        from omni_cli.services.judge.advice_candidates import AdviceActions
        from omni_cli.store.history import StoredQuestions

        return AdviceService(
            advice=self.stored_advice,
            reports=self.reports,
            providers=self.providers,
            models=self.models,
            assignments=self.assignments,
            fleet=self.fleet,
            table=self.quality_table,
            budgets=lambda: self.costs.overview().budgets,
            repeats=lambda since_ms, today_ms: StoredQuestions(self._db).repeats(
                since_ms, today_ms
            ),
            cached=lambda: self.answers.roles(),
            usable=self.keys.has,
            actions=AdviceActions(
                self.fleet, self.assignments, lambda role: self.role_switcher.kinds(role)
            ),
            shadows=lambda: [self.shadow.report(one) for one in self.shadow.every()],
            deploys=lambda: self.deploys,
            drifts=lambda: self.drift.news(),
            discovered=self._discovered,
            premium=self._premium_id(),
            zone=self.rollups.zone,
            clock=self.clock,
        )

    def _discovered(self) -> set[str]:
        """Models that providers were newly found to have, of the last two weeks."""
        from omni_cli.services.judge.drift import NEWS_MS

        since = self.now_ms() - NEWS_MS
        found = self.discoveries.history(limit=1_000)
        return {one.model for one in found if one.kind == "new" and one.at_ms >= since}

    def _premium_id(self) -> str:
        """The premium model's id, "" where it is not set, or no model's name."""
        from omni_cli.domain.errors import OmniError

        try:
            return self.names.model(self.config.general.premium_model)
        except OmniError:
            return ""

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
            applier=self.applier,
            reports=self.reports,
            memory=self.store,
            machine_name=self.env.get("OMNI_MACHINE") or platform.node() or "machine",
            new_id=lambda: secrets.token_hex(6),
            clock=self.clock,
        )

    @cached_property
    def optimizer(self) -> "Optimizer":
        from omni_cli.services.judge.optimize import Optimizer
        from omni_cli.store.history import DecisionStore

        return Optimizer(
            decisions=DecisionStore(self._db),
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
            quality=lambda: TableQuality(self.quality_table()),
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
            steps=lambda: self.steps,
            clock=self.clock,
            random_bits=lambda: secrets.randbits(20),
            options=RouteOptions(allow_unknown_price=self.config.prices.allow_unknown),
        )

    @cached_property
    def deploy_store(self) -> "repositories.Deploys":
        from omni_cli.store.deploys import DeployStore

        return DeployStore(self._db)

    @cached_property
    def deploys(self) -> "Deploys":
        """Deploys on a share of traffic, or watched."""
        from omni_cli.services.judge.deploys import Deploys

        return Deploys(
            stored=self.deploy_store,
            applier=self.applier,
            abtests=self.abtests,
            revisions=self.audit,
            unit=self.store,
            clock=self.clock,
        )

    @cached_property
    def shadow(self) -> "ShadowService":
        """Challengers that answer in the shadow of a role."""
        from omni_cli.services.judge.shadow import ShadowService
        from omni_cli.store.history import StoredQuestions
        from omni_cli.store.shadows import ShadowStore

        return ShadowService(
            shadows=ShadowStore(self._db),
            questions=StoredQuestions(self._db),
            ledger=self.ledger,
            learning=self.learning,
            chat=self.chat,
            names=self.names,
            fleet=lambda: self.fleet,
            budgets=lambda: self.budget_admin,
            clock=self.clock,
            premium=self.config.general.premium_model,
            note=self.note,
        )

    @cached_property
    def drift(self) -> "DriftService":
        """Models that change under the same name."""
        from omni_cli.services.judge.drift import DriftService

        return DriftService(learning=self.learning, memory=self.store, clock=self.clock)

    @cached_property
    def monthly(self) -> "MonthlyReports":
        """A month in one page."""
        from omni_cli.services.judge.monthly import MonthlyReports

        return MonthlyReports(
            usage=self.usage,
            savings=self.savings,
            learning=self.learning,
            shadows=self.shadow,
            abtests=self.abtests,
            deploys=self.deploy_store,
            comparisons=self.comparisons,
            telling=lambda: self.telling,
            clock=self.clock,
        )

    @cached_property
    def prover(self) -> "Prover":
        """Proofs of recommendations on the user's own stored questions."""
        from omni_cli.services.judge.proof import Prover
        from omni_cli.store.history import StoredQuestions

        return Prover(
            questions=StoredQuestions(self._db),
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
        from omni_cli.store.advice import AlertStore

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
            AlertStore(self._db),
            sinks,
            clock=self.clock,
            quiet_s=wanted.quiet_minutes * 60,
            note=self.note,
        )


def _addresses(host: str) -> list[str]:
    """Of a host's name; none where nobody knows it."""
    import socket

    try:
        return [str(found[4][0]) for found in socket.getaddrinfo(host, None)]
    except OSError:
        return []
