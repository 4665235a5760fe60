"""Wires services to adapters: one lazy object. Each part is imported and made where it is first
needed, so that a command pays for what it uses and for nothing else.

``_money.usage.UsageService`` is ``UsageService`` of ``services/money/usage.py``, which is imported
when the expression is reached.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cached_property, partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

from omni_cli import config as settings
from omni_cli import system
from omni_cli.catalog import is_in
from omni_cli.domain.errors import StoreError, UsageError
from omni_cli.domain.models import ModelInfo
from omni_cli.domain.tasks import WEEKDAYS
from omni_cli.places import settings_state
from omni_cli.ports import Clock


class _Room:
    """A package; each of its modules is imported when a part first needs it."""

    def __init__(self, package: str) -> None:
        self._package = package

    def __getattr__(self, name: str) -> ModuleType:
        module = import_module(f"{self._package}.{name}")
        setattr(self, name, module)
        return module


if TYPE_CHECKING:
    from types import ModuleType

    from omni_cli import catalog as _catalog
    from omni_cli import importers as _importers
    from omni_cli import keys as _keys
    from omni_cli import providers as _providers
    from omni_cli import repositories
    from omni_cli import store as _store
    from omni_cli import wire as _wire
    from omni_cli.domain.latency import SpeedOf
    from omni_cli.domain.quality import PriorLookup, QualityTable
    from omni_cli.ports import Fetcher
    from omni_cli.services import engine as _engine
    from omni_cli.services import fleet as _fleet
    from omni_cli.services import judge as _judge
    from omni_cli.services import money as _money

    # Their modules, so that types are known: many to a line, for nobody reads them.
    # isort: off
    # fmt: off
    import omni_cli.catalog.load, omni_cli.catalog.priors, omni_cli.catalog.speeds
    import omni_cli.catalog.update
    import omni_cli.importers.logs, omni_cli.importers.names
    import omni_cli.keys.access, omni_cli.keys.addresses, omni_cli.keys.sources
    import omni_cli.providers.finding, omni_cli.providers.http, omni_cli.providers.presets
    import omni_cli.services.engine.answer_cache, omni_cli.services.engine.batches
    import omni_cli.services.engine.chat, omni_cli.services.engine.fresh_breakers
    import omni_cli.services.engine.health, omni_cli.services.engine.model_classifier
    import omni_cli.services.engine.names, omni_cli.services.engine.own
    import omni_cli.services.engine.own_scores, omni_cli.services.engine.quality
    import omni_cli.services.engine.recovery, omni_cli.services.engine.routing
    import omni_cli.services.fleet.apply, omni_cli.services.fleet.browse
    import omni_cli.services.fleet.catalogue, omni_cli.services.fleet.client_keys
    import omni_cli.services.fleet.connection_test
    import omni_cli.services.fleet.describe, omni_cli.services.fleet.discovery
    import omni_cli.services.fleet.fleet
    import omni_cli.services.fleet.history, omni_cli.services.fleet.listing
    import omni_cli.services.fleet.organisation
    import omni_cli.services.fleet.provider_maker, omni_cli.services.fleet.role_switch
    import omni_cli.services.fleet.setup, omni_cli.services.fleet.slots
    import omni_cli.services.fleet.sync
    import omni_cli.services.judge.abtest, omni_cli.services.judge.advice
    import omni_cli.services.judge.advice_candidates, omni_cli.services.judge.advice_document
    import omni_cli.services.judge.alerts, omni_cli.services.judge.compare
    import omni_cli.services.judge.compare_report, omni_cli.services.judge.deploys
    import omni_cli.services.judge.diagnosis
    import omni_cli.services.judge.health_report, omni_cli.services.judge.maintenance
    import omni_cli.services.judge.metrics, omni_cli.services.judge.monthly
    import omni_cli.services.judge.optimize, omni_cli.services.judge.proof
    import omni_cli.services.judge.outcomes, omni_cli.services.judge.shadow
    import omni_cli.services.judge.spec_documents
    import omni_cli.services.money.activity, omni_cli.services.money.budget_admin
    import omni_cli.services.money.costs, omni_cli.services.money.export
    import omni_cli.services.money.held, omni_cli.services.money.importing
    import omni_cli.services.money.ledger_names, omni_cli.services.money.prices
    import omni_cli.services.money.receipt, omni_cli.services.money.reconciling
    import omni_cli.services.money.reprice, omni_cli.services.money.savings
    import omni_cli.services.money.sessions, omni_cli.services.money.statusline
    import omni_cli.services.money.usage
    import omni_cli.store.abtests, omni_cli.store.adjustments, omni_cli.store.advice
    import omni_cli.store.answer_cache, omni_cli.store.assignments, omni_cli.store.audit
    import omni_cli.store.batches, omni_cli.store.budgets
    import omni_cli.store.comparisons, omni_cli.store.conversations
    import omni_cli.store.deploys, omni_cli.store.discoveries, omni_cli.store.dumps
    import omni_cli.store.gateway_keys, omni_cli.store.git_clone, omni_cli.store.glance
    import omni_cli.store.health_windows, omni_cli.store.history, omni_cli.store.imports
    import omni_cli.store.late_ledger, omni_cli.store.learning, omni_cli.store.leases
    import omni_cli.store.maintenance, omni_cli.store.models
    import omni_cli.store.move, omni_cli.store.places, omni_cli.store.port
    import omni_cli.store.providers, omni_cli.store.rebuild, omni_cli.store.reports
    import omni_cli.store.rollups, omni_cli.store.sessions, omni_cli.store.shadows
    import omni_cli.store.writer
    import omni_cli.wire.registry
    # fmt: on
    # isort: on
else:
    _catalog, _importers = _Room("omni_cli.catalog"), _Room("omni_cli.importers")
    _keys, _providers = _Room("omni_cli.keys"), _Room("omni_cli.providers")
    _store, _wire = _Room("omni_cli.store"), _Room("omni_cli.wire")
    _engine, _fleet = _Room("omni_cli.services.engine"), _Room("omni_cli.services.fleet")
    _judge, _money = _Room("omni_cli.services.judge"), _Room("omni_cli.services.money")

_Part = TypeVar("_Part")

#: What ``refresh`` leaves beside all that is the store's: it does not rest on what may change.
_LASTING = ("transport", "calls", "steps", "system_models")


def _stored(make: Callable[[_store.port.Store], _Part]) -> cached_property[_Part]:
    """A part that is a family of the store's tables."""
    return cached_property(lambda app: make(app._db))


def _to_toml(document: dict[str, Any]) -> str:
    import tomli_w

    return tomli_w.dumps(document)


def _random_bits() -> int:
    """20 of them. The module ``secrets`` would load OpenSSL for it."""
    return int.from_bytes(os.urandom(3)) >> 4


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
    def store(self) -> repositories.Store:
        """The store, with the bundled catalogue in it."""
        return self._db

    @cached_property
    def _db(self) -> _store.port.Store:
        store = self.place.open(durable=self._durable)
        self._seed(store)
        return store

    def _seed(self, store: _store.port.Store) -> None:
        if not is_in(store):
            models = _store.models.ModelStore(store)
            notes = {_store.port.ZONE_KEY: self.zone}
            _catalog.update.bring(store, models, now_ms=self.now_ms(), notes=notes)

    @cached_property
    def place(self) -> _store.places.Place:
        """Where the store is."""
        url = settings.database_url(self.paths, self.env)
        return self._place(url or str(self.paths.store))

    def _place(self, where: str) -> _store.places.Place:
        return _store.places.Place(where, self.paths.data, self.env)

    # What is called "every" has also what is organisations'.
    every_provider = _stored(lambda db: _store.providers.ProviderStore(db))
    every_model = _stored(lambda db: _store.models.ModelStore(db))
    every_assignment = _stored(lambda db: _store.assignments.AssignmentStore(db))
    audit = _stored(lambda db: _store.audit.AuditStore(db))
    rollups = _stored(lambda db: _store.rollups.RollupStore(db))
    every_report = _stored(lambda db: _store.reports.ReportStore(db))
    rebuild = _stored(lambda db: _store.rebuild.RollupRebuild(db))
    every_budget = _stored(lambda db: _store.budgets.BudgetStore(db))
    glance = _stored(lambda db: _store.glance.GlanceStore(db))
    every_client_key = _stored(lambda db: _store.gateway_keys.GatewayKeyStore(db))
    stored_advice = _stored(lambda db: _store.advice.AdviceStore(db))
    stored_breakers = _stored(lambda db: _store.providers.BreakerStore(db))
    imports = _stored(lambda db: _store.imports.ImportStore(db))
    log_files = _stored(lambda db: _store.imports.LogFileStore(db))
    sessions = _stored(lambda db: _store.sessions.SessionStore(db))
    adjustments = _stored(lambda db: _store.adjustments.AdjustmentStore(db))
    learning = _stored(lambda db: _store.learning.LearningStore(db))
    conversations = _stored(lambda db: _store.conversations.ConversationStore(db))
    windows = _stored(lambda db: _store.health_windows.HealthWindowStore(db))
    discoveries = _stored(lambda db: _store.discoveries.DiscoveryStore(db))
    comparisons = _stored(lambda db: _store.comparisons.ComparisonStore(db))
    questions = _stored(lambda db: _store.history.StoredQuestions(db))
    answers = _stored(lambda db: _store.answer_cache.AnswerCacheStore(db))
    deploy_store = _stored(lambda db: _store.deploys.DeployStore(db))

    @cached_property
    def _eyes(self) -> _fleet.organisation.Eyes:
        return _fleet.organisation.Eyes(_fleet.organisation.check_org(self.org) if self.org else "")

    def organisations(self) -> set[str]:
        """All that anything here was made for, or used by."""
        return _fleet.organisation.organisations(
            self.every_report,
            self.every_client_key,
            self.every_provider,
            self.every_assignment,
            self.every_budget,
        )

    @cached_property
    def providers(self) -> _fleet.organisation.OrgProviders:
        return _fleet.organisation.OrgProviders(
            self.every_provider,
            self._eyes,
            lambda: self.config.general.org_private_addresses,
            system.addresses,
        )

    @cached_property
    def models(self) -> _fleet.organisation.OrgModels:
        return _fleet.organisation.OrgModels(self.every_model, self.providers)

    @cached_property
    def assignments(self) -> repositories.Assignments:
        return _fleet.organisation.OrgAssignments(self.every_assignment, self.models, self._eyes)

    @cached_property
    def reports(self) -> repositories.Reports:
        if not self.org:
            return self.every_report
        return _fleet.organisation.OrgReports(self.every_report, self.org)

    @cached_property
    def budgets(self) -> repositories.Budgets:
        if not self.org:
            return self.every_budget
        return _fleet.organisation.OrgBudgets(self.every_budget, self.client_keys, self._eyes)

    @cached_property
    def ledger(self) -> _store.late_ledger.LateLedger:
        ledger = _store.late_ledger.LateLedger(self._db)
        ledger.catch_up()
        return ledger

    @cached_property
    def writer(self) -> repositories.Writer:
        """What calls are written through. It does not wait for locks from now on."""
        serves = self.config.store.when_away == "slices"
        return _store.writer.Writer(
            self._db,
            self.ledger,
            away_s=_store.leases.AWAY_S if serves else _store.leases.STRICT_S,
        )

    @cached_property
    def client_keys(self) -> repositories.ClientKeys:
        if not self.org:
            return self.every_client_key
        return _fleet.organisation.OrgClientKeys(self.every_client_key, self._eyes)

    @cached_property
    def logs(self) -> _importers.logs.Logs:
        return _importers.logs.Logs(
            importing=lambda: self.importing,
            log_files=self.log_files,
            home=Path(self.env.get("HOME") or Path.home()),
            env=self.env,
            clock=self.clock,
        )

    # --- keys, addresses, what this machine has --------------------------------------------------

    @cached_property
    def presets(self) -> Mapping[str, _providers.presets.Preset]:
        """Well-known providers by slug."""
        return _providers.presets.PRESETS

    @cached_property
    def addresses(self) -> _keys.addresses.Addresses:
        usual = {slug: preset.base_url for slug, preset in self.presets.items()}
        return _keys.addresses.Addresses(usual, self.env, self.store)

    @cached_property
    def keys(self) -> _keys.access.KeyAccess:
        kind: Callable[..., _keys.access.KeyAccess] = _keys.access.KeyAccess
        if self.org:
            kind = partial(_keys.access.OrgKeyAccess, self.org)
        return kind(
            self.providers,
            self.addresses,
            self.env,
            self.paths.data,
            note=self.note,
            forgive=lambda slug: self.health.forgive(slug),
        )

    @cached_property
    def breakers(self) -> repositories.Breakers:
        return _engine.fresh_breakers.FreshBreakers(
            self.stored_breakers, lambda slug: self.keys.digest(slug)
        )

    def find_providers(self, *, local: bool = True) -> list[_fleet.setup.Found]:
        """What this machine could use (see ``Finder.find``). Raises ConfigError."""
        return _providers.finding.Finder(
            there={provider.slug: provider for provider in self.providers.all()},
            keys=self.keys,
            addresses=self.addresses,
            env=self.env,
            fetcher=lambda: self.transport,
            ask=lambda provider, limit_s: self.lister.prepare(provider, timeout_s=limit_s),
            words=_wire.registry.adapter("openai"),
            own_port=_keys.addresses.SERVE_PORT,
            note=self.note,
        ).find(local=local)

    def propose_fleet(self, found: Sequence[_fleet.setup.Found]) -> _fleet.setup.Proposal:
        """What ``omni init`` would set up."""
        return _fleet.setup.proposal_for(
            found,
            providers=self.providers,
            models=self.models,
            assignments=self.assignments,
            deprecated=[
                entry.info for entry in _catalog.load.load_catalog().models if entry.deprecated
            ],
            prior_with=self.priors,
            tasks=_catalog.priors.load_priors().types,
            now_ms=self.now_ms(),
        )

    def propose_slots(self, agent: str) -> _fleet.slots.Slots:
        """Roles and rules for the usual jobs within an agent's session, from the fleet at hand.

        Raises UsageError: no such agent; NoRoute: no active model is known to call tools.
        """

        return _fleet.slots.propose_slots(
            agent,
            [model for model in self.routing.active_models() if model.chats],
            self.providers,
            self.assignments,
            prices=self.price_book(),
            prior=self.priors(),
            tasks=_catalog.priors.load_priors().types,
        )

    # --- the fleet: changed, deployed, routed, browsed -------------------------------------------

    @cached_property
    def names(self) -> _engine.names.Names:
        return _engine.names.Names(self.providers, self.models, self.assignments)

    @cached_property
    def fleet(self) -> _fleet.fleet.FleetService:
        # Without an organisation the fleet is all of it: what it is written down as holds
        # everything, and its owner may change what is an organisation's.
        return _fleet.fleet.FleetService(
            providers=self.providers if self.org else self.every_provider,
            models=self.models if self.org else self.every_model,
            assignments=self.assignments if self.org else self.every_assignment,
            budgets=self.budgets,
            # What a revision keeps: everybody's, and each organisation's.
            whole=lambda: _fleet.describe.fleet_document(
                self.every_provider, self.every_model, self.every_assignment, self.every_budget
            ),
            revised=self.revised.append,
            audit=self.audit,
            names=self.names,
            clock=self.clock,
            who=self.who,
            unit=self.store.transaction,
            to_toml=_to_toml,
        )

    @cached_property
    def provider_maker(self) -> _fleet.provider_maker.ProviderMaker:
        """New providers, as far as they are known."""
        return _fleet.provider_maker.ProviderMaker(
            self.presets, self.addresses.proposed, self.keys.place, variables=not self.org
        )

    @cached_property
    def system_models(self) -> Mapping[str, ModelInfo]:
        """The catalogue's models by id, as a store has them that nobody touched."""
        return _fleet.catalogue.system_models(_catalog.load.load_catalog())

    @cached_property
    def applier(self) -> _fleet.apply.FleetApplier:
        if self.org:
            raise UsageError(
                f"the fleet as one document is everybody's: {self.org} cannot have or apply it",
                hint="leave --org and OMNI_ORG away",
            )
        return _fleet.apply.FleetApplier(
            fleet=self.fleet,
            providers=self.every_provider,
            models=self.every_model,
            assignments=self.every_assignment,
            budgets=self.budgets,
            catalogue=lambda model_id: self.system_models.get(model_id),
        )

    @cached_property
    def history(self) -> _fleet.history.History:
        return _fleet.history.History(audit=self.audit, applier=self.applier)

    @cached_property
    def health(self) -> _engine.health.HealthRecorder:
        return _engine.health.HealthRecorder(
            self.breakers, self.clock, lambda: self.config.routing.failover_error_rate
        )

    @cached_property
    def routing(self) -> _engine.routing.RoutingService:
        return _engine.routing.RoutingService(
            providers=self.providers,
            models=self.models,
            assignments=self.assignments,
            learning=self.learning,
            breakers=self.breakers,
            has_key=self.keys.has,
            quality=_engine.quality.TableQuality.load(self.learning, self.priors()),
            clock=self.clock,
            consent=self.config.routing.consent,
            budgets=lambda at_ms: self.budgets.of_models(at_ms),
            speeds=lambda model, output_usd: self.speeds(model, output_usd),
        )

    @cached_property
    def speeds(self) -> SpeedOf:
        """How fast models are before they were measured."""
        return _catalog.speeds.load_speeds()

    @cached_property
    def browser(self) -> _fleet.browse.Browser:
        """Models with price, quality and measured use, for lists."""
        judge = _engine.quality.TableQuality.load(self.learning, self.priors())
        # What everybody's calls were like is not counted by organisation.
        stats = {} if self.org else self.learning.stats()
        return _fleet.browse.Browser(self.price_book(), judge.overall, stats, self.speeds)

    def price_book(self) -> _money.prices.PriceBook:
        """What is in force now."""
        return _money.prices.PriceBook(self.models, now_ms=self.now_ms())

    def priors(self, listed: Mapping[str, float] | None = None) -> PriorLookup:
        """Where quality starts: the user's own scores, what was published, what size suggests.

        Args:
            listed: sizes of models that are not in the store yet, in billions, by id.
        """

        priors = _catalog.priors.load_priors()
        known = _engine.own_scores.with_sizes(
            priors.lookup, priors.weak, self.models.sizes() | dict(listed or {})
        )
        return _engine.own_scores.with_own_scores(known, self.models.own_scores())

    def quality_table(self) -> QualityTable:
        return _engine.quality.TableQuality.load(self.learning, self.priors()).table

    # --- calls to providers, and what dead processes left ----------------------------------------

    @cached_property
    def recovery(self) -> _engine.recovery.Recovery:
        return _engine.recovery.Recovery(self.ledger, self.models, self.clock)

    @cached_property
    def transport(self) -> Fetcher:
        return _providers.http.HttpFetcher(outside=self._must_lead_out)

    def origins(self) -> dict[tuple[str, int], bool]:
        """See ``services/fleet/organisation.py:origins``."""
        free = self.config.general.org_private_addresses
        return _fleet.organisation.origins(self.every_provider.all(), free=free)

    def _must_lead_out(self, host: str, port: int) -> bool:
        return self.origins().get((host, port), False)

    @cached_property
    def check_recorder(self) -> _judge.health_report.CheckRecorder:
        return _judge.health_report.CheckRecorder(
            self.store, self.windows, self.providers, self.breakers
        )

    @cached_property
    def tester(self) -> _fleet.connection_test.ConnectionTester:
        return _fleet.connection_test.ConnectionTester(
            recorder=self.check_recorder,
            claims=self.store,
            lister=self.lister,
            clock=self.clock,
            timer=time.perf_counter,
        )

    @cached_property
    def lister(self) -> _fleet.listing.Lister:
        """Providers' lists of models, for checks and discovery."""
        return _fleet.listing.Lister(_wire.registry.adapter, lambda: self.transport, self.keys.get)

    @cached_property
    def abtests(self) -> _judge.abtest.AbTests:
        """A/B tests of roles; also the router's seam to them."""
        return _judge.abtest.AbTests(
            trials=_store.abtests.AbTestStore(self._db),
            fleet=lambda: self.fleet,
            clock=self.clock,
            note=self.note,
        )

    @cached_property
    def steps(self) -> _engine.own.Steps:
        """The event loop of code that has none."""
        return _engine.own.Steps()

    @cached_property
    def calls(self) -> _providers.http.HttpTransport:
        """What calls go out over, within one event loop."""
        return _providers.http.HttpTransport(outside=self._must_lead_out)

    def _tools(self) -> _engine.own.Tools:
        """What requests of this process's own are made with."""
        import random

        writer = _store.writer.Writer(self._db, self.ledger, alone=True)
        return _engine.own.Tools(
            commits=_engine.own.Singly(
                writer, clock=self.clock, pause=writer.rung, reclaim=self.recovery.run
            ),
            transport=lambda: self.calls,
            adapters=_wire.registry.adapter,
            keys=self.keys.get,
            health=self.health,
            clock=self.clock,
            sleep=_engine.own.pause,
            rng=random.Random(),
            note=self.note,
            limit_s=self.config.chat.limit_s,
        )

    @cached_property
    def chat(self) -> _engine.chat.ChatService:
        from functools import cache

        chat = self.config.chat
        return _engine.chat.ChatService(
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
            random_bits=_random_bits,
            premium_model=self.config.general.premium_model,
            default_retries=chat.max_retries,
            default_timeout_ms=int(chat.timeout_s * 1000),
            failover=self.config.routing.failover,
            # An organisation may have another role of a name that is tested.
            experiments=None if self.org else self.abtests,
            answers=_engine.answer_cache.AnswerCache(self.answers, clock=self.clock),
            org=self.org,
            classify=(lambda request: self.classifier.of(request))
            if self.config.routing.classifying_model
            else None,
        )

    @cached_property
    def classifier(self) -> _engine.model_classifier.ModelClassifier:
        """A model that says what kind of job a prompt is, where the settings name one."""
        routing = self.config.routing
        return _engine.model_classifier.ModelClassifier(
            chat=lambda: self.chat,
            names=self.names,
            name=routing.classifying_model,
            limit_s=routing.classifier_limit_s,
        )

    # --- reports over the rollups ----------------------------------------------------------------

    @cached_property
    def report_zone(self) -> _judge.maintenance.ReportZone:
        return _judge.maintenance.ReportZone(
            rollups=self.rollups, rebuild=lambda: self.rebuild, zone=self.zone, note=self.note
        )

    def recover(self) -> None:
        """Close what dead processes left open; loads nothing for it where nothing is."""
        if self.reports.anything_open():
            self.recovery.run()

    @cached_property
    def ledger_names(self) -> _money.ledger_names.LedgerNames:
        """What filters of reports may name."""
        return _money.ledger_names.LedgerNames(
            reports=self.reports,
            names=self.names,
            providers=self.providers,
            assignments=self.assignments,
            vendors=lambda: self.presets,
        )

    @cached_property
    def usage(self) -> _money.usage.UsageService:
        return _money.usage.UsageService(
            reports=self.reports,
            zone=self.report_zone,
            clock=self.clock,
            names=self.ledger_names.resolve,
            week_start=WEEKDAYS.index(self.config.general.week_start),
            month_day=self.config.general.month_day,
            sessions=self.sessions.of,
        )

    @cached_property
    def activity(self) -> _money.activity.ActivityService:
        return _money.activity.ActivityService(
            glance=self.glance, prices=self.models, clock=self.clock, zone=lambda: self.zone
        )

    @cached_property
    def agent_sessions(self) -> _money.sessions.SessionService:
        return _money.sessions.SessionService(
            price=lambda model: self.price_book().of(model),
            sessions=self.sessions,
            client_keys=self.client_keys,
            budgets=self.budgets,
            audit=self.audit,
            clock=self.clock,
            who=self.who,
            recover=self.recover,
        )

    def statusline(self, given: Mapping[str, Any]) -> _money.statusline.Status:
        """What a line of an agent's prompt says. Notes for the next one what it takes to be said
        the short way (statusline.py)."""
        from omni_cli import statusline as short
        from omni_cli.domain.periods import PeriodRule, local_day, window

        zone, now = self.report_zone(), self.now_ms()
        day = local_day(now, zone)
        follow = self.config.imports.follow
        if self._cwd is not None and not self._db.remote:
            key, state = settings_state(self.env, str(self._cwd))
            schema = _store.port.SCHEMA_VERSION
            today = window(PeriodRule("day", zone), now)
            noted = short.Noted(state, schema, zone, day, *today, int(follow)).text()
            if self._db.get_meta(key) != noted:
                with suppress(StoreError):  # it can only be read
                    self._db.set_meta(key, noted)
        figures = _store.statusline.Figures(self._db.db, day)
        logs = short.transcripts(given) if follow else []
        return _money.statusline.Status(given, figures, now, *short.unread(logs, figures, now))

    def read_transcript(self, path: str) -> None:
        """What is new of one session's logs, where Claude Code's were imported before."""
        from omni_cli import statusline as short

        paths = [Path(log) for log in short.transcripts({"transcript_path": path})]
        self.logs.follow_session("claude-code", paths)

    @cached_property
    def costs(self) -> _money.costs.CostService:
        return _money.costs.CostService(
            reports=self.reports,
            budgets=self.budgets,
            zone=self.report_zone,
            clock=self.clock,
            week_start=WEEKDAYS.index(self.config.general.week_start),
            month_day=self.config.general.month_day,
        )

    @cached_property
    def receipts(self) -> _money.receipt.ReceiptService:
        return _money.receipt.ReceiptService(
            ledger=self.ledger,
            prices=self.models,
            outcomes=self.learning,
            adjustments=self.adjustments,
            answers=self.answers,
            providers=self.providers,
        )

    @cached_property
    def savings(self) -> _money.savings.SavingsService:
        return _money.savings.SavingsService(
            reports=self.reports, usage=self.usage, quality=self.quality_table
        )

    @cached_property
    def exporting(self) -> _money.export.ExportService:
        return _money.export.ExportService(
            rows=_store.history.LedgerExport(self._db),
            reports=self.reports,
            report_zone=self.report_zone,
            zone=self.zone,
            clock=self.clock,
        )

    @cached_property
    def diagnosis(self) -> _judge.diagnosis.Diagnosis:
        return _judge.diagnosis.Diagnosis(
            fleet=self.fleet,
            breakers=self.breakers,
            browser=self.browser,
            has_key=self.keys.has,
            key_place=self.keys.place,
            listing=self.tester.listing,
            clock=self.clock,
        )

    @cached_property
    def ratings(self) -> _judge.outcomes.Ratings:
        return _judge.outcomes.Ratings(ledger=self.ledger, learning=self.learning, clock=self.clock)

    @cached_property
    def key_service(self) -> _fleet.client_keys.ClientKeyService:
        """Makes the gateway's keys, and takes them back."""
        return _fleet.client_keys.ClientKeyService(
            keys=self.client_keys,
            budgets=self.budgets,
            audit=self.audit,
            unit=self.store,
            clock=self.clock,
            who=self.who,
            org=self.org,
            zone=self.zone,
        )

    @cached_property
    def provider_documents(self) -> _fleet.describe.ProviderDocuments:
        """What every face shows of providers."""
        return _fleet.describe.ProviderDocuments(
            providers=self.providers,
            models=self.models,
            health=lambda: self.reporter.report(),
            key_place=self.keys.place,
            key_masked=self.keys.masked,
            address=self.addresses.source,
        )

    @cached_property
    def spec_documents(self) -> _judge.spec_documents.SpecDocuments:
        """The specs' own names for what every face shows."""
        return _judge.spec_documents.SpecDocuments(
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
    def reporter(self) -> _judge.health_report.HealthReporter:
        """The fleet's health."""
        return _judge.health_report.HealthReporter(
            providers=self.providers,
            models=self.models,
            breakers=self.breakers,
            windows=self.windows,
            recorder=self.check_recorder,
            lister=self.lister,
            has_key=self.keys.has,
            clock=self.clock,
            private=partial(
                _fleet.organisation.private, reports=self.reports, zone=self.report_zone
            )
            if self.org
            else None,
        )

    @cached_property
    def metrics(self) -> _judge.metrics.MetricsService:
        return _judge.metrics.MetricsService(
            reports=self.reports,
            budgets=self.budgets,
            slots=self.windows.slots,
            health=lambda: self.reporter.report(),
            zone=self.report_zone,
            clock=self.clock,
        )

    @cached_property
    def maintenance(self) -> _judge.maintenance.MaintenanceService:
        return _judge.maintenance.MaintenanceService(
            path=self.paths.store,
            copier=_store.dumps.Dumps(self.place.where, self.env)
            if self.place.is_database
            else _store.maintenance,
            files=lambda: _store.maintenance.MaintenanceStore(self._db),
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

    def _mover(self, target: str) -> _store.move.Mover:
        there = self._place(target)
        return _store.move.Mover(
            lambda: self.place.open(moving=True),
            lambda: there.open(moving=True),
            there.exists,
            there.name,
        )

    # --- budgets, imports, corrections, invoices -------------------------------------------------

    @cached_property
    def budget_admin(self) -> _money.budget_admin.BudgetAdmin:
        general = self.config.general
        return _money.budget_admin.BudgetAdmin(
            fleet=self.fleet,
            budgets=self.budgets,
            names=self.names,
            defaults=_money.budget_admin.PeriodDefaults(
                self.zone, WEEKDAYS.index(general.week_start), general.month_day
            ),
        )

    @cached_property
    def recorded(self) -> _importers.names.Recorded:
        """The catalogue's models by the names that other tools write."""
        return _importers.names.Recorded(self.models.names)

    def same_model(self, slug: str, wire_name: str) -> str | None:
        """The catalogue's model that a cloud's provider serves under a name of its own."""
        shipped = self.system_models.values()
        vendors = _importers.names.Recorded(lambda: ((m.id, m.aliases) for m in shipped))
        return vendors.of_cloud(self.providers.get(slug), wire_name)

    @cached_property
    def importing(self) -> _money.importing.Importing:
        return _money.importing.Importing(
            imports=self.imports,
            models=self.models,
            ledger=self.ledger,
            audit=self.audit,
            clock=self.clock,
            who=self.who,
            resolve=self.recorded.of_call,
        )

    @cached_property
    def repricing(self) -> _money.reprice.Repricing:
        return _money.reprice.Repricing(
            adjustments=self.adjustments,
            models=self.models,
            ledger=self.ledger,
            audit=self.audit,
            names=self.names,
            clock=self.clock,
            who=self.who,
            resolve=self.recorded.model,
        )

    @cached_property
    def held(self) -> _money.held.HeldMoney:
        return _money.held.HeldMoney(
            adjustments=self.adjustments,
            models=self.models,
            providers=self.providers,
            audit=self.audit,
            adapters=_wire.registry.adapter,
            transport=lambda: self.transport,
            key=self.keys.get,
            clock=self.clock,
            who=self.who,
        )

    @cached_property
    def batches(self) -> _engine.batches.BatchService:

        return _engine.batches.BatchService(
            store=_store.batches.BatchStore(self._db),
            models=self.models,
            providers=self.providers,
            assignments=self.assignments,
            budgets=self.budgets,
            audit=self.audit,
            routing=self.routing,
            names=self.names,
            key=self.keys.get,
            clock=self.clock,
            bits=_random_bits,
        )

    @cached_property
    def reconciling(self) -> _money.reconciling.Reconciling:
        return _money.reconciling.Reconciling(
            self.adjustments,
            self.models,
            self.recorded.model,
            lambda: self.maintenance.files().pruned_before_ms(),
        )

    # --- knowing what is better ------------------------------------------------------------------

    @cached_property
    def advice(self) -> _judge.advice.AdviceService:
        return _judge.advice.AdviceService(
            advice=self.stored_advice,
            reports=self.reports,
            providers=self.providers,
            models=self.models,
            assignments=self.assignments,
            fleet=self.fleet,
            table=self.quality_table,
            budgets=lambda: self.costs.overview().budgets,
            repeats=self.questions.repeats,
            cached=lambda: self.answers.roles(),
            usable=self.keys.has,
            actions=_judge.advice_candidates.AdviceActions(
                self.fleet, self.assignments, lambda role: self.role_switcher.kinds(role)
            ),
            shadows=lambda: [self.shadow.report(one) for one in self.shadow.every()],
            deploys=lambda: self.deploys,
            drifts=lambda: self.drift.news(),
            discoveries=self.discoveries,
            premium=lambda: self.names.model(self.config.general.premium_model),
            zone=self.rollups.zone,
            clock=self.clock,
        )

    @cached_property
    def telling(self) -> _judge.advice_document.Telling:
        """What every face shows of recommendations."""
        return _judge.advice_document.Telling(self.advice, self.prover)

    @cached_property
    def sync(self) -> _fleet.sync.SyncService:
        import platform
        import secrets

        return _fleet.sync.SyncService(
            clone=_store.git_clone.GitClone(self.paths.data / "sync" / "clone"),
            fleet=self.fleet,
            applier=self.applier,
            reports=self.reports,
            memory=self.store,
            machine_name=self.env.get("OMNI_MACHINE") or platform.node() or "machine",
            new_id=lambda: secrets.token_hex(6),
            clock=self.clock,
        )

    @cached_property
    def optimizer(self) -> _judge.optimize.Optimizer:
        return _judge.optimize.Optimizer(
            decisions=_store.history.DecisionStore(self._db),
            models=self.models,
            zone=self.rollups.zone,
            clock=self.clock,
        )

    @cached_property
    def role_switcher(self) -> _fleet.role_switch.RoleSwitcher:
        return _fleet.role_switch.RoleSwitcher(
            fleet=self.fleet,
            models=self.models,
            reports=self.reports,
            chat=lambda: self.chat,
            quality=lambda: _engine.quality.TableQuality(self.quality_table()),
            memory=self.store,
            zone=self.rollups.zone,
            clock=self.clock,
        )

    @cached_property
    def discovery(self) -> _fleet.discovery.DiscoveryService:
        """What providers serve now, and what changed."""
        return _fleet.discovery.DiscoveryService(
            providers=self.providers,
            models=self.models,
            fleet=self.fleet,
            history=self.discoveries,
            lister=self.lister,
            clock=self.clock,
        )

    @cached_property
    def compare_reports(self) -> _judge.compare_report.CompareReports:
        return _judge.compare_report.CompareReports(
            self.comparisons, self.learning, self.ledger.decision, self.clock
        )

    @cached_property
    def compare(self) -> _judge.compare.CompareService:
        """The same prompts to several models."""

        return _judge.compare.CompareService(
            chat=self.chat,
            names=self.names,
            store=self.comparisons,
            reports=self.compare_reports,
            budgets=self.budgets,
            steps=lambda: self.steps,
            clock=self.clock,
            random_bits=_random_bits,
            options=_engine.routing.RouteOptions(
                allow_unknown_price=self.config.prices.allow_unknown
            ),
        )

    @cached_property
    def deploys(self) -> _judge.deploys.Deploys:
        """Deploys on a share of traffic, or watched."""
        return _judge.deploys.Deploys(
            stored=self.deploy_store,
            applier=self.applier,
            abtests=self.abtests,
            revisions=self.audit,
            unit=self.store,
            clock=self.clock,
        )

    @cached_property
    def shadow(self) -> _judge.shadow.ShadowService:
        """Challengers that answer in the shadow of a role."""
        return _judge.shadow.ShadowService(
            shadows=_store.shadows.ShadowStore(self._db),
            questions=self.questions,
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
    def drift(self) -> _judge.outcomes.DriftService:
        """Models that change under the same name."""
        return _judge.outcomes.DriftService(
            learning=self.learning, memory=self.store, clock=self.clock
        )

    @cached_property
    def monthly(self) -> _judge.monthly.MonthlyReports:
        """A month in one page."""
        return _judge.monthly.MonthlyReports(
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
    def prover(self) -> _judge.proof.Prover:
        """Proofs of recommendations on the user's own stored questions."""
        return _judge.proof.Prover(
            questions=self.questions,
            kept=self.comparisons,
            compare=self.compare,
            reports=self.compare_reports,
            names=self.names,
            premium=self.config.general.premium_model,
        )

    def prober(self, cap_nusd: int) -> _fleet.connection_test.Prober:
        """Paid probes, ``cap_nusd`` nano-dollars a day at most."""
        return _fleet.connection_test.Prober(
            chat=self.chat,
            names=self.names,
            spent=lambda: self.windows.spent_today("probe", self.now_ms()),
            cap_nusd=cap_nusd,
        )

    def alerter(self, tell: Callable[[_judge.alerts.Alert], None]) -> _judge.alerts.Alerter:
        """Alerts to ``tell`` and to every place that the settings name."""
        wanted = self.config.alerts
        secret = _keys.sources.resolve("webhook", "OMNI_WEBHOOK_SECRET", self.env, self.paths.data)
        return _judge.alerts.Alerter(
            _store.advice.AlertStore(self._db),
            _judge.alerts.sinks(
                tell,
                desktop=wanted.desktop,
                webhook=self.env.get("OMNI_WEBHOOK") or wanted.webhook,
                secret=None if secret is None else secret.secret.reveal(),
                command=wanted.command,
                clock=self.clock,
            ),
            clock=self.clock,
            quiet_s=wanted.quiet_minutes * 60,
            note=self.note,
        )
