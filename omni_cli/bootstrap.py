"""Wires services to adapters. Each piece is imported where it is first needed, so that a
command pays for what it uses and for nothing else."""

import os
import time
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omni_cli import config as settings
from omni_cli.domain.models import Provider
from omni_cli.ports import Clock

if TYPE_CHECKING:
    from omni_cli.ports import Transport
    from omni_cli.providers.presets import Preset
    from omni_cli.services.chat import ChatService
    from omni_cli.services.connection_test import ConnectionTester
    from omni_cli.services.fleet import FleetService
    from omni_cli.services.health import HealthRecorder
    from omni_cli.services.names import Names
    from omni_cli.services.recovery import Recovery
    from omni_cli.services.routing import RoutingService
    from omni_cli.store.assignments import AssignmentStore
    from omni_cli.store.audit import AuditStore
    from omni_cli.store.breakers import BreakerStore
    from omni_cli.store.budgets import BudgetStore
    from omni_cli.store.connection import Store
    from omni_cli.store.conversations import ConversationStore
    from omni_cli.store.learning import LearningStore
    from omni_cli.store.ledger import LedgerStore
    from omni_cli.store.models import ModelStore
    from omni_cli.store.providers import ProviderStore
    from omni_cli.store.rollups import RollupStore

_CATALOGUE_KEY = "catalogue"


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
        self.clock = clock
        self.note = note
        self._durable = durable
        self._cwd = cwd
        self.paths = settings.paths(self.env)

    def close(self) -> None:
        """Close what was opened."""
        transport = self.__dict__.pop("transport", None)
        if transport is not None:
            transport.close()
        store = self.__dict__.pop("store", None)
        if store is not None:
            store.close()

    def __enter__(self) -> "App":
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
            seed(ModelStore(store), load_catalog(), now_ms=self.now_ms())
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
    def budgets(self) -> "BudgetStore":
        from omni_cli.store.budgets import BudgetStore

        return BudgetStore(self.store)

    @cached_property
    def ledger(self) -> "LedgerStore":
        from omni_cli.store.ledger import LedgerStore

        return LedgerStore(self.store, self.rollups, self.budgets)

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

    # --- services ----------------------------------------------------------------------------

    @cached_property
    def _stored_keys(self) -> Mapping[str, str]:
        from omni_cli.keys import list_keys

        return list_keys(self.paths.data)

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
            audit=self.audit,
            names=self.names,
            clock=self.clock,
            who=self.who,
            unit=self.store.transaction,
            to_toml=_to_toml,
        )

    @cached_property
    def health(self) -> "HealthRecorder":
        from omni_cli.services.health import HealthRecorder

        return HealthRecorder(self.breakers, self.clock)

    @cached_property
    def routing(self) -> "RoutingService":
        from omni_cli.catalog.priors import load_priors
        from omni_cli.services.quality import TableQuality
        from omni_cli.services.routing import RoutingService

        priors = load_priors()
        return RoutingService(
            providers=self.providers,
            models=self.models,
            assignments=self.assignments,
            learning=self.learning,
            breakers=self.breakers,
            has_key=self.has_key,
            quality=TableQuality.load(self.learning, priors.lookup, priors.type_means),
            clock=self.clock,
        )

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
        )


def _to_toml(document: dict[str, Any]) -> str:
    import tomli_w

    return tomli_w.dumps(document)
