"""The fleet as the gateway sees it: loaded once, cached by what callers ask for, reloaded when
it changes in the store, in the settings or among the keys."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn, cast

from msgspec import Struct, field

from omni_cli.bootstrap import App
from omni_cli.domain.batch import pack_decision
from omni_cli.domain.chat import ChatRequest, Message, Usage
from omni_cli.domain.consent import Consent
from omni_cli.domain.embeddings import Texts
from omni_cli.domain.errors import NoRoute, OmniError, UsageError
from omni_cli.domain.models import ModelInfo, Provider
from omni_cli.domain.periods import DAY_MS
from omni_cli.domain.record import replace
from omni_cli.domain.routing import Decision
from omni_cli.gateway.plans import Line, Plan, PlanQuery, line_of
from omni_cli.ports import Endpoint
from omni_cli.repositories import BreakerChange, Breakers
from omni_cli.services.engine.attempts import Target
from omni_cli.services.engine.chat_plan import ChatJob, ChatPlan
from omni_cli.services.engine.decisions import named_decision
from omni_cli.services.engine.fresh_breakers import FreshBreakers
from omni_cli.services.engine.health import HealthRecorder
from omni_cli.services.engine.names import Selector
from omni_cli.services.engine.routing import RouteOptions, decision_document
from omni_cli.services.fleet.organisation import owners
from omni_cli.services.judge.abtest import Arm
from omni_cli.services.money.prices import PriceBook, cost_or_none
from omni_cli.wire.registry import adapter

if TYPE_CHECKING:
    from omni_cli.domain.prices import Price


class LiveBreakers:
    """What this process has seen, over what the store said last.

    Args:
        stored: where all processes meet, within a job.
        seen: what it says, asked on start and on ``reload``.
        later: runs a job within the next transaction (Commits.job).
        changed: told when a breaker's state changed here.
    """

    def __init__(
        self,
        stored: Breakers,
        *,
        seen: Callable[[], Mapping[str, str]],
        later: Callable[[Callable[[], None]], None],
        changed: Callable[[], None],
    ) -> None:
        self._stored = stored
        self._seen = seen
        self._later = later
        self._changed = changed
        self._live = dict(seen())
        self._unwritten = 0

    def all(self) -> Mapping[str, str]:
        return self._live

    def get(self, target: str) -> str | None:
        return self._live.get(target)

    def update(self, target: str, change: BreakerChange, *, now_ms: int) -> None:
        """Change it here at once and in the store soon, where others may have changed it too."""
        old = self._live.get(target)
        new = change(old)
        if new == old:
            return
        self._live[target] = new
        self._changed()
        self._unwritten += 1
        pending = True

        def write() -> None:
            nonlocal pending
            self._stored.update(target, change, now_ms=now_ms)
            if pending:
                pending = False
                self._unwritten -= 1

        self._later(write)

    def reload(self) -> bool:
        """Take over what other processes wrote; returns whether anything is different."""
        if self._unwritten:
            return False
        fresh = dict(self._seen())
        if fresh == self._live:
            return False
        self._live.clear()
        self._live.update(fresh)
        return True


#: What a named model is planned with: its plan does not depend on the request.
_ANY_REQUEST = ChatRequest((Message.text_of("user", "."),))
#: Characters of a wrong name that are looked at.
_FOLDED = 100
#: Names kept in the cache; callers may send any number of wrong ones.
_MOST_NAMES = 4_096
#: What a call for embeddings is laid out with.
_ANY_TEXTS = Texts(["."])


class _Cache(Struct):
    plans: dict[str, Plan] = field(default_factory=dict)
    selectors: dict[str, Selector] = field(default_factory=dict)
    endpoints: dict[str, Endpoint] = field(default_factory=dict)
    near: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    lines: dict[tuple[str, str, bool], Line] = field(default_factory=dict)
    premium: "tuple[str | None, Price | None] | None" = None
    options: RouteOptions | None = None


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
        app.use(transport=_NoTransport())
        self._seen: tuple[object, ...] = ()
        self._data_version = -1
        self._changed = 0, 0
        self._cache = _Cache()
        self.breakers: LiveBreakers | None = None

    def use(self, breakers: LiveBreakers) -> None:
        self.breakers = breakers
        fresh = FreshBreakers(breakers, self.app.keys.digest)
        health = HealthRecorder(
            fresh, self.app.clock, lambda: self.app.config.routing.failover_error_rate
        )
        self.app.use(breakers=fresh, health=health)

    @property
    def health(self) -> HealthRecorder:
        return self.app.health

    # --- change -------------------------------------------------------------------------------

    def poll(self) -> bool:
        """Reload what has changed since the last look; returns whether anything had."""
        version = self.app.store.data_version(calls=False)
        stale = False
        if version != self._data_version:
            if self.breakers is not None:
                stale = self.breakers.reload()
            self._changed = self.app.audit.last_change()
            self._data_version = version
        elif not self.app.store.remote:  # its version does not tell of this process's own changes
            self._changed = self.app.audit.last_change()
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
        self.app.refresh()

    def breakers_changed(self) -> None:
        """Plans rest on the breakers' states."""
        self._cache.plans.clear()
        if self.app.made("routing"):
            self.app.routing.breakers_changed()

    def _fingerprint(self) -> tuple[object, ...]:
        config = self.app.paths.config_file
        stamp = config.stat().st_mtime_ns if config.exists() else 0
        # A price's day of effect, too, is a change.
        return (
            *self._changed,
            stamp,
            *self.app.keys.stamps(),
            self.app.now_ms() // DAY_MS,
        )

    # --- names and plans ----------------------------------------------------------------------

    def selector(self, text: str) -> Selector:
        """Raises NotFound, UsageError."""
        found = self._cache.selectors.get(text)
        if found is None:
            found = self.app.names.select(text, suggest=False)
            if len(self._cache.selectors) < _MOST_NAMES:
                self._cache.selectors[text] = found
        return found

    def near(self, text: str, allowed: Callable[[str], bool]) -> str:
        """What to say beside a name that nothing has: names that differ in their punctuation, case
        or provider only, found by one look into a table. More is no work for the event loop."""
        table = self._cache.near
        if not table:
            for model in self.models():
                for name in (model.id, *model.aliases):
                    table.setdefault(_folded(name), []).append((name, model.id))
            table.setdefault("", [])
        near = [n for n, ident in table.get(_folded(text[-_FOLDED:]), ()) if allowed(ident)][:3]
        if near:
            return f"did you mean {' or '.join(dict.fromkeys(near))}?"
        return "GET /v1/models lists the names that can be used here"

    def usable(self, selector: Selector, allowed: Callable[[str], bool]) -> bool:
        """Whether a key that may call these models has any use for the name."""
        if selector.kind == "model":
            return allowed(selector.name)
        if selector.kind == "role":
            role = self.app.assignments.role(selector.name)
            return role is not None and any(allowed(item.model) for item in role.models)
        if selector.kind == "chain":
            chain = self.app.assignments.chain(selector.name)
            return chain is not None and any(allowed(link.model) for link in chain.links)
        return True

    def named(self, text: str) -> Plan | None:
        """The plan of a model's name, None when ``text`` names something to decide about, or a
        model whose plan depends on the request: one that answers images only.

        Raises:
            NotFound, UsageError: nothing, or more than one thing, has that name.
            NoRoute: the model cannot be called.
        """
        plan = self._cache.plans.get(text)
        if plan is None:
            selector = self.selector(text)
            if selector.kind != "model" or self._wants_an_image(selector.name):
                return None
            found = self.app.chat.plan(ChatJob(_ANY_REQUEST, selector, options=self.options))
            decision = _pack(named_decision(selector.name))
            plan = Plan(found.targets, found.consent, decision, named=True)
            if len(self._cache.plans) < _MOST_NAMES:
                self._cache.plans[text] = plan
        return plan

    def _wants_an_image(self, model_id: str) -> bool:
        model = self.app.models.get(model_id)
        return model is not None and model.type == "vision"

    def direct(self, text: str) -> Plan:
        """The plan for what is no chat: the model that is named, whatever it writes.

        Raises:
            NotFound, UsageError: nothing, or more than one thing, has that name.
            NoRoute: the model cannot be called.
        """
        selector = self.selector(text)
        if selector.kind != "model":
            raise UsageError(f"{text!r} is no model's name, and this is decided by name only")
        blocked = self.app.routing.block(selector.name)
        if blocked:
            raise NoRoute(f"{selector.name}: {blocked}")
        decision = _pack(named_decision(selector.name))
        return Plan((self.target(selector.name),), Consent(), decision, named=True)

    def decide(self, query: "PlanQuery", *, allowed: Callable[[str], bool]) -> Plan:
        """The plan for a request that leaves the choice to omni.

        Args:
            allowed: whether the caller's key may call a model.

        Raises:
            NoRoute, BudgetExceeded, UnknownPrice: no model may take it.
        """
        conversation, known = self._conversation(query)
        found = self.app.chat.plan(
            ChatJob(
                query.request,
                query.selector,
                options=query.options,
                source="gateway",
                conversation=conversation if known else None,
                keep=False,
                fallback=query.fallback,
                checks=() if query.options.escalate else None,
                allowed=allowed if query.restricted else None,
                org=query.org,
                key=query.key,
            )
        )
        return Plan(
            found.targets,
            found.consent,
            _pack(decision_document(found.decision)),
            chain=found.chain,
            role=found.job.options.role or "",
            task=found.decision.task,
            arm=cast("Arm | None", found.arm),
            conversation=None if found.arm is None else conversation,
            hedge_ms=found.hedge_ms,
            asked=found if self._remembers(found) else None,
            passed=found.passed(),
        )

    def _conversation(self, query: PlanQuery) -> tuple[int | None, bool]:
        """Callers send a whole conversation each time: one is known by its first question, and
        by who asks it. Returns its number where an A/B test of the role runs, and whether it is
        in the test already, or began before it."""
        if query.selector.kind != "role":
            return None, False
        tests = self.app.abtests.tests(query.selector.name)
        if not tests:
            return None, False
        messages = query.request.messages
        first = next((message.text for message in messages if message.role == "user"), "")
        named = "\0".join((query.org, query.key, query.selector.name, first))
        digest = hashlib.sha256(named.encode("utf-8", "surrogatepass")).digest()
        number = int.from_bytes(digest[:8], "big") >> 1
        begun = any(message.role == "assistant" for message in messages)
        return number, begun or self.app.abtests.joined(tests[0], number)

    def _remembers(self, plan: ChatPlan) -> bool:
        role = plan.job.options.role
        remembered = plan.arm is None and plan.job.checks is None
        return bool(role) and remembered and self.app.answers.ttl_s(str(role)) is not None

    def explain(
        self,
        request: ChatRequest,
        selector: Selector,
        options: RouteOptions,
        *,
        allowed: Callable[[str], bool],
    ) -> Decision:
        """The decision about a request that is not sent."""
        return self.app.routing.decide(request, options, selector, allowed=allowed)

    def target(self, model_id: str) -> Target:
        """A model as it may be called now. Raises NotFound."""
        chat, routing = self.app.config.chat, self.app.routing
        model, provider, price = routing.known(model_id)
        return Target(
            model,
            provider,
            price,
            model.settings.get("max_retries", chat.max_retries),
            model.settings.get("timeout_ms", int(chat.timeout_s * 1000)),
            price_of=partial(routing.price_named, provider),
        )

    @property
    def options(self) -> RouteOptions:
        """What the settings say where a caller says nothing."""
        if self._cache.options is None:
            config = self.app.config
            self._cache.options = RouteOptions(
                priority=config.routing.priority,
                latency_pref=config.routing.latency_pref,
                weights=config.routing.weights,
                allow_unknown_price=config.prices.allow_unknown,
            )
        return self._cache.options

    def models(self) -> Iterator[ModelInfo]:
        """Active models, in the order of their ids."""
        yield from sorted(self.app.routing.active_models(), key=lambda model: model.id)

    # --- ways ---------------------------------------------------------------------------------

    def endpoint(self, provider: Provider) -> Endpoint:
        """Address and key. Raises MissingKey."""
        found = self._cache.endpoints.get(provider.slug)
        if found is None:
            found = Endpoint.of(provider, self.app.keys.get(provider))
            self._cache.endpoints[provider.slug] = found
        return found

    def line(self, target: Target, operation: str = "chat", *, stream: bool) -> Line:
        """Where a body in the provider's own protocol goes. Raises MissingKey, BadRequest.

        Args:
            operation: "chat", or "embeddings" or one of ``Facts.passes`` where its protocol has
                them.
        """
        key = (target.model.id, operation, stream)
        found = self._cache.lines.get(key)
        if found is None:
            client, name = adapter(target.provider.protocol), target.model.wire_name
            endpoint = self.endpoint(target.provider)
            if operation == "embeddings":
                call = client.embed(_ANY_TEXTS, name, endpoint)
            elif operation != "chat":
                call = client.passing(operation, name, endpoint)
            else:
                call = client.build(replace(_ANY_REQUEST, stream=stream), name, endpoint)
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
        try:
            model = self.app.names.model(named)
        except OmniError:
            return named, None
        row = PriceBook(self.app.models, now_ms=self.app.now_ms()).current(model)
        return model, None if row is None else row.price


class Fleets:
    """The fleet that all share, and those of organisations that have something of their own.

    Args:
        app: reads the store over a connection of its own, for all of them.
    """

    def __init__(self, app: App, breakers: Callable[[Callable[[], None]], LiveBreakers]) -> None:
        self.shared = Fleet(app)
        self.orgs: dict[str, Fleet] = {}
        self._breakers = breakers(self._breakers_changed)
        self.shared.use(self._breakers)
        self.poll()

    def of(self, org: str) -> Fleet:
        """As an organisation has it, "" for none."""
        return self.orgs.get(org, self.shared) if org else self.shared

    def poll(self) -> bool:
        """Reload what has changed since the last look; returns whether anything had."""
        if not self.shared.poll():
            return False
        app = self.shared.app
        have = owners(app.every_provider, app.every_assignment)
        self.orgs = {org: fleet for org, fleet in self.orgs.items() if org in have}
        for fleet in self.orgs.values():
            fleet.forget()
        for org in have - self.orgs.keys():
            own = App(app.env, clock=app.clock, org=org)
            own.use(_db=app.store)
            self.orgs[org] = Fleet(own)
            self.orgs[org].use(self._breakers)
        return True

    def _breakers_changed(self) -> None:
        for fleet in (self.shared, *self.orgs.values()):
            fleet.breakers_changed()


def _folded(name: str) -> str:
    """A name without its provider, its case and its punctuation."""
    return "".join(c for c in name.rpartition("/")[2].lower() if c.isalnum())


def _pack(document: dict[str, Any]) -> bytes:
    return pack_decision(json.dumps(document, separators=(",", ":")))
