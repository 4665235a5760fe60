"""The fleet as the gateway sees it: loaded once, cached by what callers ask for, reloaded when
it changes in the store, in the settings or among the keys."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NoReturn

from omni_cli.bootstrap import App
from omni_cli.domain.chat import ChatRequest, Message, Usage
from omni_cli.domain.errors import ConfigError, OmniError
from omni_cli.domain.models import ModelInfo, Provider
from omni_cli.domain.tasks import TaskEstimate
from omni_cli.gateway.breakers import LiveBreakers
from omni_cli.gateway.upstream import Origin, encode_head, locate
from omni_cli.ports import Endpoint, HttpCall, ProviderAdapter
from omni_cli.providers.registry import adapter
from omni_cli.services.attempts import Consent, Target
from omni_cli.services.chat import ChatJob
from omni_cli.services.health import HealthRecorder
from omni_cli.services.names import Selector
from omni_cli.services.prices import cost_or_none
from omni_cli.services.routing import RouteOptions, decision_document
from omni_cli.store.batch_writer import pack_decision

if TYPE_CHECKING:
    from omni_cli.domain.pricing import Price

#: What a named model is planned with: its plan does not depend on the request.
_ANY_REQUEST = ChatRequest((Message.text_of("user", "."),))
#: Names kept in the cache; callers may send any number of wrong ones.
_MOST_NAMES = 4_096
#: What the fleet was loaded from. Every change of the fleet is in the audit log.
_CHANGES = """
SELECT (SELECT coalesce(max(id), 0) FROM audit), (SELECT coalesce(max(id), 0) FROM prices)
"""


@dataclass(frozen=True, slots=True)
class Plan:
    """Who is to answer, in this order. ``decision`` is packed for the ledger.

    ``task`` None: nothing was classified, because nothing hung on it.
    """

    targets: tuple[Target, ...]
    consent: Consent
    decision: bytes
    chain: str | None = None
    role: str = ""
    task: TaskEstimate | None = None


@dataclass(slots=True)
class Line:
    """The way to one target: address and head of a call. ``call`` is what the adapter built:
    it tells how the answer is framed, and which secrets its errors must not repeat."""

    origin: Origin
    head: bytes
    call: HttpCall


@dataclass(slots=True)
class _Cache:
    plans: dict[str, Plan] = field(default_factory=dict)
    selectors: dict[str, Selector] = field(default_factory=dict)
    endpoints: dict[str, Endpoint] = field(default_factory=dict)
    lines: dict[tuple[str, bool], Line] = field(default_factory=dict)
    premium: "tuple[str | None, Price | None] | None" = None


class _NoTransport:
    """Stands where the CLI's HTTP client would be: the gateway sends by itself."""

    def fetch(self, *_: object, **__: object) -> NoReturn:
        raise AssertionError("the gateway does not send over the CLI's transport")

    def open(self, *_: object, **__: object) -> NoReturn:
        self.fetch()

    def close(self) -> None:
        """Nothing is open."""


class Fleet:
    """Args:
    app: reads the store over a connection of its own.
    """

    def __init__(self, app: App) -> None:
        self.app = app
        app.__dict__["transport"] = _NoTransport()
        self._seen: tuple[object, ...] = ()
        self._data_version = -1
        self._cache = _Cache()
        self.breakers: LiveBreakers | None = None

    def use(self, breakers: LiveBreakers) -> None:
        self.breakers = breakers
        self.app.__dict__["breakers"] = breakers
        self.app.__dict__["health"] = HealthRecorder(breakers, self.app.clock)

    @property
    def health(self) -> HealthRecorder:
        return self.app.health

    # --- change -------------------------------------------------------------------------------

    def poll(self) -> bool:
        """Reload what has changed since the last look; returns whether anything had."""
        version = self.app.store.data_version()
        stale = False
        if version != self._data_version:
            self._data_version = version
            if self.breakers is not None:
                stale = self.breakers.reload()
        seen = self._fingerprint()
        if seen != self._seen:
            self._seen = seen
            stale = True
        if stale:
            self.forget()
        return stale

    def forget(self) -> None:
        """Load everything anew on next use."""
        self._cache = _Cache()
        for name in ("config", "routing", "chat", "names", "_stored_keys"):
            self.app.__dict__.pop(name, None)

    def breakers_changed(self) -> None:
        """Plans rest on the breakers' states."""
        self._cache.plans.clear()
        for name in ("routing", "chat"):
            self.app.__dict__.pop(name, None)

    def _fingerprint(self) -> tuple[object, ...]:
        row = self.app.store.db.execute(_CHANGES).fetchone()
        files = [self.app.paths.config_file, *sorted(self.app.paths.data.glob("keys.*"))]
        stamps = tuple(path.stat().st_mtime_ns if path.exists() else 0 for path in files)
        # A price's day of effect, too, is a change.
        return (*row, *stamps, self.app.now_ms() // 86_400_000)

    # --- names and plans ----------------------------------------------------------------------

    def selector(self, text: str) -> Selector:
        """Raises NotFound, UsageError."""
        found = self._cache.selectors.get(text)
        if found is None:
            found = self.app.names.select(text)
            if len(self._cache.selectors) < _MOST_NAMES:
                self._cache.selectors[text] = found
        return found

    def named(self, text: str) -> Plan | None:
        """The plan of a model's name, None when ``text`` names something to decide about.

        Raises:
            NotFound, UsageError: nothing, or more than one thing, has that name.
            NoRoute: the model cannot be called.
        """
        plan = self._cache.plans.get(text)
        if plan is None:
            selector = self.selector(text)
            if selector.kind != "model":
                return None
            found = self.app.chat.plan(
                ChatJob(_ANY_REQUEST, selector, options=self._options(RouteOptions()))
            )
            document = {
                "model": selector.name,
                "reason": "named by the caller",
                "by": "name",
                "candidates": [{"model": selector.name, "eligible": True, "reason": "named"}],
            }
            plan = Plan(found.targets, found.consent, _pack(document))
            if len(self._cache.plans) < _MOST_NAMES:
                self._cache.plans[text] = plan
        return plan

    def decide(self, job: ChatJob) -> Plan:
        """The plan for a request that leaves the choice to omni.

        Raises:
            NoRoute, BudgetExceeded, UnknownPrice: no model may take it.
        """
        found = self.app.chat.plan(replace(job, options=self._options(job.options)))
        role = found.job.options.role or ""
        decision = decision_document(found.decision)
        return Plan(
            found.targets,
            found.consent,
            _pack(decision),
            chain=found.chain,
            role=role,
            task=found.decision.task,
        )

    def _options(self, options: RouteOptions) -> RouteOptions:
        config = self.app.config
        return replace(
            options,
            weights=config.routing.weights,
            allow_unknown_price=config.prices.allow_unknown,
        )

    def models(self) -> Iterator[ModelInfo]:
        """Active models, in the order of their ids."""
        yield from sorted(self.app.routing.active_models(), key=lambda model: model.id)

    # --- ways ---------------------------------------------------------------------------------

    def adapter(self, provider: Provider) -> ProviderAdapter:
        return adapter(provider.protocol)

    def endpoint(self, provider: Provider) -> Endpoint:
        """Address and key. Raises MissingKey."""
        found = self._cache.endpoints.get(provider.slug)
        if found is None:
            found = Endpoint(provider.base_url, self.app.key(provider), provider.headers)
            self._cache.endpoints[provider.slug] = found
        return found

    def line(self, target: Target, *, stream: bool) -> Line:
        """Where a body in the provider's own protocol goes. Raises MissingKey, BadRequest."""
        key = (target.model.id, stream)
        found = self._cache.lines.get(key)
        if found is None:
            call = self.adapter(target.provider).build(
                replace(_ANY_REQUEST, stream=stream),
                target.model.wire_name,
                self.endpoint(target.provider),
            )
            found = self._cache.lines[key] = line_of(call)
        return found

    def premium(self, usage: Usage) -> tuple[str | None, int | None]:
        """The premium model and what this usage costs there; None where unknown or unset."""
        if self._cache.premium is None:
            self._cache.premium = self._load_premium()
        model, price = self._cache.premium
        return model, cost_or_none(usage, price)

    def _load_premium(self) -> "tuple[str | None, Price | None]":
        named = self.app.config.general.premium_model
        if not named:
            return None, None
        from omni_cli.services.prices import PriceBook

        try:
            model = self.app.names.model(named)
        except OmniError:
            return named, None
        row = PriceBook(self.app.models, now_ms=self.app.now_ms()).current(model)
        return model, None if row is None else row.price


def line_of(call: HttpCall) -> Line:
    """Raises ConfigError when the provider's address or headers cannot be sent."""
    try:
        origin, path, host = locate(call.url)
        head = encode_head("POST", path, host, {"user-agent": "omni-cli", **call.headers})
    except ValueError as exc:
        message = f"the provider's address or headers cannot be used: {exc}"
    else:
        return Line(origin, head, call)
    raise ConfigError(message, hint="omni providers edit SLUG --base-url URL")


def _pack(document: dict[str, Any]) -> bytes:
    return pack_decision(json.dumps(document, separators=(",", ":")))
