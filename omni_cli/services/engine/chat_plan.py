"""Who is to answer a chat, and what that rests on; nothing is written or sent."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from msgspec import Struct, field

from omni_cli.domain.chat import ChatRequest
from omni_cli.domain.consent import Consent
from omni_cli.domain.errors import (
    AllProvidersFailed,
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
from omni_cli.domain.models import ChainLink
from omni_cli.domain.record import replace
from omni_cli.domain.routing import NO_EVIDENCE, Candidate, Decision
from omni_cli.domain.vendor_env import no_key_hint, refused_key_hint
from omni_cli.services.engine.attempts import AttemptSummary, Target
from omni_cli.services.engine.checks import Check
from omni_cli.services.engine.fleet_view import taken_out, wants_key
from omni_cli.services.engine.names import Selector
from omni_cli.services.engine.routing import RouteOptions, RoutingService, options_for
from omni_cli.services.engine.turns import listed

if TYPE_CHECKING:
    from omni_cli.repositories import Assignments
    from omni_cli.services.engine.chat import ChatRun


#: Sources whose requests may be in an A/B test: comparisons and probes are no one's work.
_TESTED = ("chat", "gateway")


class ChatJob(Struct, frozen=True):
    """What the caller wants: messages, who should answer, and what to note in the ledger.

    ``fallback``: may other models stand in for a model that was named. ``conversation``: id of
    the one this goes on with, or None. ``keep``: store messages for later turns. ``checks``: try
    a cheaper model first and go up where an answer fails these, or those that fit the request;
    None: no cascade. ``allowed``: whether a model may be called; None: all may. ``settled`` is
    called within the transaction that settles the request: what it writes is there if and only if
    the request is settled.
    """

    request: ChatRequest
    selector: Selector
    options: RouteOptions = field(default_factory=RouteOptions)
    source: Source = "chat"
    conversation: int | None = None
    keep: bool = True
    fallback: bool = False
    checks: tuple[Check, ...] | None = None
    allowed: Callable[[str], bool] | None = None
    org: str = ""
    key: str = ""
    settled: Callable[[ChatRun], None] | None = None


class Arm(Protocol):
    """An arm of an A/B test (services/judge/abtest.py): who leads the role."""

    @property
    def model(self) -> str: ...


class Experiments(Protocol):
    """The seam of requirement B7: which model leads a role for one request."""

    def arm(self, role: str, conversation: int | None) -> Any: ...
    def join(self, arm: Any, unit: int) -> None: ...


class ChatPlan(Struct, frozen=True):
    """A decision made and not yet carried out. ``arm``: of the A/B test that it is part of.
    ``hedge_ms``: the chain's: when its next model is asked beside one that has said nothing."""

    job: ChatJob
    decision: Decision
    targets: tuple[Target, ...]
    consent: Consent
    chain: str | None = None
    arm: Arm | None = None
    hedge_ms: int | None = None

    def passed(self) -> tuple[AttemptSummary, ...]:
        """Who was passed over that could take this: down, without budget, or too dear."""
        return tuple(
            [
                AttemptSummary(c.model, "skipped", c.kept_out, None, 0, message=c.dropped)
                for c in self.decision.candidates
                if c.kept_out
            ]
        )


class ChatPlanner(Struct, kw_only=True, eq=False):
    """Args:
    experiments: A/B tests of roles, where there may be any.
    failover: whether another model may stand in for the one that was chosen.
    """

    assignments: Assignments
    routing: RoutingService
    experiments: Experiments | None
    default_retries: int
    default_timeout_ms: int
    failover: bool

    def plan(self, job: ChatJob) -> ChatPlan:
        """Decide, without writing or sending anything.

        Raises:
            NoRoute: no model is eligible; the message says why for each.
            UsageError: all that could are image recognisers, and there is no image.
            UnknownPrice: the named model's price is unknown and that is forbidden.
        """
        selector = job.selector
        options = options_for(selector, job.options)
        named = selector.kind == "model"
        chain = self.assignments.chain(selector.name) if selector.kind == "chain" else None
        arm = self._arm(job, options) if not named and chain is None else None
        lead = None if arm is None else arm.model
        decision = self.routing.decide(
            job.request,
            replace(options, role_lead=lead),
            selector,
            fallback=job.fallback,
            allowed=job.allowed,
        )
        if decision.by != "role" or decision.model != lead:
            arm = None  # a rule or a filter came first: this answer tells nothing of the arm
        if arm is not None:
            decision = replace(decision, reason=f"{decision.reason}; an arm of its A/B test")
        job = replace(job, options=options)
        if decision.model is None:
            raise self._no_route(decision, options, selector)
        ranked, consent = decision.ranked(), decision.consent
        if job.checks is not None and not named:
            ranked = ladder(decision)
            # Whoever asks for a cascade asks for the dearer models in it too.
            consent = replace(consent, any_cost=True, free_to_paid=True, chain_multiple=None)
        if not self.failover:
            ranked = ranked[:1]
        expected = {c.model: c.expected_cost_nusd for c in decision.candidates}
        links = {} if chain is None else {link.model: link for link in chain.links}
        return ChatPlan(
            job,
            decision,
            tuple([self._target(name, expected.get(name), links.get(name)) for name in ranked]),
            consent,
            None if chain is None else chain.name,
            arm,
            None if chain is None else chain.hedge_ms,
        )

    def _arm(self, job: ChatJob, options: RouteOptions) -> Any:
        """The arm of an A/B test of the role, for real traffic only."""
        if self.experiments is None or not options.role or job.source not in _TESTED:
            return None
        return self.experiments.arm(options.role, job.conversation)

    def _target(
        self,
        model_id: str,
        expected_nusd: int | None,
        link: ChainLink | None,
    ) -> Target:
        model, provider, price = self.routing.known(model_id)
        retries = model.settings.get("max_retries", self.default_retries)
        timeout_ms = model.settings.get("timeout_ms", self.default_timeout_ms)
        return Target(
            model,
            provider,
            price,
            retries if link is None else link.max_retries,
            timeout_ms if link is None else link.timeout_ms,
            expected_nusd,
            partial(self.routing.price_named, provider),
        )

    def _no_route(self, decision: Decision, options: RouteOptions, selector: Selector) -> OmniError:
        reasons = [f"{c.model}: {decision.reason_of(c)}" for c in decision.candidates]
        kept_out = {c.kept_out for c in decision.candidates} - {""}
        if not reasons and selector.kind == "model":
            slug = selector.name.partition("/")[0]
            return NotFound(
                f"{selector.name}: its provider, {slug}, is not in the fleet",
                hint=f"omni providers add {slug}",
            )
        if not reasons:
            return NoRoute(
                "the fleet has no active model",
                hint="omni init finds keys and local servers and proposes a fleet; "
                "omni demo shows omni at work without any",
            )
        shown = listed(reasons)
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
                provider = self.routing.provider(slug)
                variable = None if provider is None else provider.key_env
                return MissingKey(message, hint=no_key_hint(slug, variable))
            return ConfigError(message, hint=refused_key_hint(slug))
        if kept_out:  # the request itself is no obstacle
            return self._kept_out(decision, kept_out, shown)
        message = f"no model can take this: {shown}"
        why = {decision.reason_of(c) for c in decision.candidates}
        if why == {"answers images only"}:
            return UsageError(message, hint="attach an image: omni chat -m MODEL -i FILE")
        if why == {"takes no images"}:
            believed = "so its source says; if it does: omni models edit MODEL --badge vision"
            return NoRoute(message, hint=believed)
        if why and all("tokens is too small for" in reason for reason in why):
            larger = "omni models list --all --sort context shows larger ones"
            return NoRoute(message, hint=f"shorten the input, or take a larger model: {larger}")
        return NoRoute(message, hint="omni doctor looks for the cause")

    def _kept_out(self, decision: Decision, by: set[str], shown: str) -> OmniError:
        refusals = (
            decision.consent.refusal(c.model, c.expected_cost_nusd)
            for c in decision.candidates
            if c.kept_out == "consent"
        )
        lift = next((refusal.lift for refusal in refusals if refusal is not None), "")
        message = f"no model may be called: {shown}"
        if "breaker" in by:
            return AllProvidersFailed(message, hint=lift or "omni health shows who is down")
        more = "omni budgets list shows what is left; omni budgets raise ID --by USD makes room"
        return BudgetExceeded(message, hint="; ".join(filter(None, (lift, more))))


#: A model below this share of the best one's quality is not worth a first try.
FIRST_TRY_SHARE = 0.6
_RUNGS = 3


def ladder(decision: Decision) -> list[str]:
    """At most three model ids in order of expected cost: the cheapest that may do, the one that
    routing would take, and the best. Models of unknown price come last."""
    eligible = [c for c in decision.candidates if c.eligible]
    eligible = [c for c in eligible if not c.unsure] or eligible
    if not eligible:
        return []
    best = max(eligible, key=_quality)
    chosen = next((c for c in eligible if c.model == decision.model), eligible[0])
    worth = [c for c in eligible if _quality(c) >= FIRST_TRY_SHARE * _quality(best)]
    cheapest = min(worth, key=_cost)
    rungs = {c.model: c for c in (cheapest, chosen, best)}
    return [c.model for c in sorted(rungs.values(), key=_cost)][:_RUNGS]


def _quality(candidate: Candidate) -> float:
    return NO_EVIDENCE if candidate.quality is None else candidate.quality


def _cost(candidate: Candidate) -> tuple[bool, int, float, str]:
    cost = candidate.expected_cost_nusd
    return cost is None, cost or 0, _quality(candidate), candidate.model
