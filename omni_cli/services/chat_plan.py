"""Who is to answer a chat, and what that rests on; nothing is written or sent."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

from omni_cli.domain.chat import ChatRequest
from omni_cli.domain.errors import (
    BudgetExceeded,
    ConfigError,
    MissingKey,
    NoRoute,
    NotFound,
    OmniError,
    UnknownPrice,
    UsageError,
)
from omni_cli.domain.ledger import Source
from omni_cli.domain.models import Chain
from omni_cli.domain.preferences import PRIORITIES
from omni_cli.domain.routing import Decision
from omni_cli.domain.vendor_env import no_key_hint, refused_key_hint
from omni_cli.ports import Clock
from omni_cli.repositories import (
    Assignments,
    Models,
    Providers,
)
from omni_cli.services.attempts import Consent, Target
from omni_cli.services.cascade import ladder
from omni_cli.services.checks import Check
from omni_cli.services.fleet_view import taken_out, wants_key
from omni_cli.services.names import Selector
from omni_cli.services.prices import PriceBook
from omni_cli.services.routing import RouteOptions, RoutingService

if TYPE_CHECKING:
    from omni_cli.services.chat import ChatRun

#: Sources whose requests may be in an A/B test: comparisons and probes are no one's work.
_TESTED = ("chat", "gateway")
#: How many models stand in after the chosen one when nobody named a chain.
_AUTO_FALLBACKS = 2


@dataclass(frozen=True, slots=True)
class ChatJob:
    """What the caller wants: messages, who should answer, and what to note in the ledger.

    ``fallback``: may other models stand in for a model that was named. ``conversation``: id of
    the one this goes on with, or None. ``keep``: store messages for later turns. ``checks``: try
    a cheaper model first and go up where an answer fails these, or those that fit the request;
    None: no cascade. ``settled`` is called within the transaction that settles the request: what
    it writes is there if and only if the request is settled.
    """

    request: ChatRequest
    selector: Selector
    options: RouteOptions = field(default_factory=RouteOptions)
    source: Source = "chat"
    conversation: int | None = None
    keep: bool = True
    fallback: bool = False
    checks: tuple[Check, ...] | None = None
    org: str = ""
    key: str = ""
    external_id: str | None = None
    settled: "Callable[[ChatRun], None] | None" = None


class Arm(Protocol):
    """An arm of an A/B test (services/abtest.py): who leads the role."""

    @property
    def model(self) -> str: ...


class Experiments(Protocol):
    """The seam of requirement B7: which model leads a role for one request."""

    def arm(self, role: str, conversation: int | None) -> Any: ...
    def join(self, arm: Any, unit: int) -> None: ...


@dataclass(frozen=True, slots=True)
class ChatPlan:
    """A decision made and not yet carried out. ``arm``: of the A/B test that it is part of.
    ``hedge_ms``: the chain's, which only the gateway keeps."""

    job: ChatJob
    decision: Decision
    targets: tuple[Target, ...]
    consent: Consent
    chain: str | None = None
    arm: Arm | None = None
    hedge_ms: int | None = None


class ChatPlanner:
    """Args:
    experiments: A/B tests of roles, where there may be any.
    """

    def __init__(
        self,
        *,
        providers: Providers,
        models: Models,
        assignments: Assignments,
        routing: RoutingService,
        experiments: Experiments | None,
        clock: Clock,
        default_retries: int,
        default_timeout_ms: int,
    ) -> None:
        self._providers = providers
        self._models = models
        self._assignments = assignments
        self._routing = routing
        self._experiments = experiments
        self._clock = clock
        self._retries = default_retries
        self._timeout_ms = default_timeout_ms

    def plan(self, job: ChatJob) -> ChatPlan:
        """Decide, without writing or sending anything.

        Raises:
            NoRoute: no model is eligible; the message says why for each.
            UsageError: all that could are image recognisers, and there is no image.
            UnknownPrice: the named model's price is unknown and that is forbidden.
        """
        kind = job.selector.kind
        chain = self._assignments.chain(job.selector.name) if kind == "chain" else None
        options = job.options
        if kind == "role":
            options = replace(options, role=job.selector.name)
        if kind == "auto" and job.selector.name:
            options = _auto_options(options, job.selector.name)
        among: list[str] | None = None
        if kind == "model":
            among = [job.selector.name]
        elif chain is not None:
            among = [link.model for link in chain.links]
        arm = self._arm(job, options) if among is None else None
        lead = None if arm is None else arm.model
        decision = self._routing.decide(
            job.request, replace(options, role_lead=lead), among=among, listed=chain is not None
        )
        if decision.by != "role" or decision.model != lead:
            arm = None  # a rule or a filter came first: this answer tells nothing of the arm
        if arm is not None:
            decision = replace(decision, reason=f"{decision.reason}; an arm of its A/B test")
        job = replace(job, options=options)
        if decision.model is None:
            raise self._no_route(decision, options, job.selector)
        prices = PriceBook(self._models, now_ms=int(self._clock() * 1000))
        if chain is not None:
            return self._chain_plan(job, chain, decision, prices)
        ranked = decision.ranked() if kind != "model" or job.fallback else [decision.model]
        expected = _expected(decision)
        if kind == "model" and job.fallback:
            others = self._routing.decide(job.request, options)
            ranked += others.ranked()
            expected = _expected(others) | expected
        if job.checks is not None and kind != "model":
            ranked = ladder(decision)
        names = list(dict.fromkeys(ranked))[: 1 + _AUTO_FALLBACKS]
        targets = [
            self._target(name, expected, prices, self._retries, self._timeout_ms) for name in names
        ]
        # Whoever asks for a cascade asks for the dearer models in it too.
        consent = Consent() if job.checks is None else Consent(None, allow_free_to_paid=True)
        return ChatPlan(job, decision, tuple(targets), consent, arm=arm)

    def _arm(self, job: ChatJob, options: RouteOptions) -> Any:
        """The arm of an A/B test of the role, for real traffic only."""
        if self._experiments is None or not options.role or job.source not in _TESTED:
            return None
        return self._experiments.arm(options.role, job.conversation)

    def _chain_plan(
        self, job: ChatJob, chain: Chain, decision: Decision, prices: PriceBook
    ) -> ChatPlan:
        """The chain's own order counts; links that cannot be called are passed over."""
        eligible = {c.model for c in decision.candidates if c.eligible}
        expected = _expected(decision)
        targets = [
            self._target(link.model, expected, prices, link.max_retries, link.timeout_ms)
            for link in chain.links
            if link.model in eligible
        ]
        place = {link.model: position for position, link in enumerate(chain.links)}
        decision = replace(
            decision,
            model=targets[0].model.id,
            by="chain",
            reason=f"chain {chain.name}, first callable link",
            candidates=tuple(
                sorted(decision.candidates, key=lambda c: (not c.eligible, place[c.model]))
            ),
        )
        # Named one by one, so that no rule or role comes before the price.
        others = [m.id for m in self._routing.active_models() if m.id not in place]
        spare = self._routing.decide(
            job.request, replace(job.options, priority="cheap", latency_pref="normal"), among=others
        )
        if spare.model is not None:
            targets.append(
                self._target(spare.model, _expected(spare), prices, self._retries, self._timeout_ms)
            )
        consent = Consent(chain.max_cost_multiple, chain.allow_free_to_paid)
        return ChatPlan(job, decision, tuple(targets), consent, chain.name, hedge_ms=chain.hedge_ms)

    def _target(
        self,
        model_id: str,
        expected: Mapping[str, int | None],
        prices: PriceBook,
        max_retries: int,
        timeout_ms: int,
    ) -> Target:
        model = self._models.get(model_id)
        provider = None if model is None else self._providers.get(model.provider)
        if model is None or provider is None:
            raise NotFound(f"{model_id} is not in the fleet", hint="omni models list shows it")
        return Target(
            model,
            provider,
            prices.current(model_id),
            max_retries,
            timeout_ms,
            expected.get(model_id),
        )

    def _no_route(self, decision: Decision, options: RouteOptions, selector: Selector) -> OmniError:
        reasons = [f"{c.model}: {decision.reason_of(c)}" for c in decision.candidates]
        if not reasons and selector.kind == "model":
            slug = selector.name.partition("/")[0]
            return NoRoute(
                f"{selector.name}: its provider, {slug}, is not in the fleet",
                hint=f"omni providers add {slug}",
            )
        if not reasons:
            return NoRoute(
                "the fleet has no active model",
                hint="omni init finds keys and local servers and proposes a fleet; "
                "omni demo shows omni at work without any",
            )
        shown = "; ".join(reasons[:6]) + (f"; and {len(reasons) - 6} more" if reasons[6:] else "")
        if all("price unknown" in reason for reason in reasons):
            return UnknownPrice(
                f"no price is known: {shown}",
                hint="omni models price MODEL --price-in USD --price-out USD sets one",
            )
        if options.max_cost_nusd is not None and any("above the maximum" in r for r in reasons):
            return BudgetExceeded(
                f"no model fits the maximum cost: {shown}",
                hint="raise it (--max-cost; at the gateway x-omni-max-cost or max_cost)",
            )
        told = [(c.model.partition("/")[0], decision.reason_of(c)) for c in decision.candidates]
        told = [(slug, reason) for slug, reason in told if not taken_out(reason)]
        if told and all(wants_key(reason) for _, reason in told):
            slug, reason = told[0]
            message = f"no model can take this: {shown}"
            if reason.startswith("no key"):
                provider = self._providers.get(slug)
                variable = None if provider is None else provider.key_env
                return MissingKey(message, hint=no_key_hint(slug, variable))
            return ConfigError(message, hint=refused_key_hint(slug))
        message = f"no model can take this: {shown}"
        why = {decision.reason_of(c) for c in decision.candidates}
        if why == {"answers images only"}:
            return UsageError(message, hint="attach an image: omni chat -m MODEL -i FILE")
        if why == {"takes no images"}:
            believed = "so its source says; if it does: omni models edit MODEL --badge vision"
            return NoRoute(message, hint=believed)
        return NoRoute(message, hint="omni doctor looks for the cause")


def _expected(decision: Decision) -> dict[str, int | None]:
    return {c.model: c.expected_cost_nusd for c in decision.candidates}


def _auto_options(options: RouteOptions, word: str) -> RouteOptions:
    """``auto:fast`` is a latency preference, ``auto:cheap`` and the like are priorities."""
    if word == "fast":
        return replace(options, latency_pref="fast")
    return replace(options, priority=next(p for p in PRIORITIES if p == word))
