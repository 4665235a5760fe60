"""From a request to a decision: classify, look at the fleet, decide."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from omni_cli.domain.breaker import Breaker
from omni_cli.domain.chat import ChatRequest, MediaPart
from omni_cli.domain.classify import classify
from omni_cli.domain.consent import DEFAULT_CONSENT, Consent
from omni_cli.domain.errors import NotFound
from omni_cli.domain.latency import SpeedOf
from omni_cli.domain.models import ModelInfo, Provider, RoleModel, Rule
from omni_cli.domain.money import nusd_to_usd, usd_string
from omni_cli.domain.prices import Price
from omni_cli.domain.record import replace
from omni_cli.domain.routing import CompiledRule, Decision, Query, decide
from omni_cli.domain.steps import (
    asked,
    is_side_task,
    step_of,
    system_of_task,
    wants_search,
    wants_thought,
)
from omni_cli.domain.tasks import (
    DEFAULT_WEIGHTS,
    PRIORITIES,
    Complexity,
    LatencyPref,
    Priority,
    Signals,
    TaskEstimate,
    Weights,
)
from omni_cli.domain.tokens import estimate_tokens
from omni_cli.ports import Clock
from omni_cli.records import StoredPrice
from omni_cli.services.engine.fleet_view import FleetView, Quality
from omni_cli.services.engine.names import AUTO_SELECTOR, Selector
from omni_cli.services.money.prices import PriceBook

if TYPE_CHECKING:
    from omni_cli.domain.budgets import BudgetStatus
    from omni_cli.repositories import Assignments, Breakers, Learning, Models, Providers

#: A long-lived process sees what others changed (D1: within 5 s) after at most this long, ms.
FRESH_MS = 4_000
_IMAGE_TOKENS = 1_000


class RouteOptions(Struct, frozen=True):
    """What the caller says about a request besides its messages."""

    priority: Priority = "balanced"
    latency_pref: LatencyPref = "normal"
    max_cost_nusd: int | None = None
    min_quality: float | None = None
    task_type: str | None = None
    complexity: Complexity | None = None
    role: str | None = None
    #: Comes before the role's own models (an A/B test's arm).
    role_lead: str | None = None
    agent: str | None = None
    org: str | None = None
    needs: frozenset[str] = frozenset()
    #: Tokens that it must be able to read, where they are more than the request's own.
    context_tokens: int = 0
    conversation_model: str | None = None
    weights: Weights = DEFAULT_WEIGHTS
    allow_unknown_price: bool = True
    #: The caller's leave for stand-ins, beside what the settings say (domain/consent.py).
    any_cost: bool = False
    free_to_paid: bool = False
    #: At the gateway: a cheaper model first, a dearer one where the answer fails its checks.
    escalate: bool = False


class RoutingService(Struct, kw_only=True, eq=False):
    """Reads the fleet on first use, and again when what it read is older than FRESH_MS.

    Args:
        consent: what the settings say of stand-ins.
        budgets: those of one provider or one model as they stand at a time, ms UTC.
        speeds: what is known of a model's speed before it was measured.
    """

    providers: Providers
    models: Models
    assignments: Assignments
    learning: Learning
    breakers: Breakers
    has_key: Callable[[Provider], bool]
    quality: Quality
    clock: Clock
    consent: Consent = DEFAULT_CONSENT
    budgets: Callable[[int], Sequence[BudgetStatus]] = lambda _: ()
    speeds: SpeedOf = lambda _model, _usd: None
    _fleet: FleetView | None = None

    def decide(
        self,
        request: ChatRequest,
        options: RouteOptions,
        selector: Selector = AUTO_SELECTOR,
        *,
        fallback: bool = False,
        allowed: Callable[[str], bool] | None = None,
    ) -> Decision:
        """Who is to answer, and who after, where the caller asked for ``selector``.

        Args:
            fallback: may others stand in for a model that is named.
            allowed: whether a model may be called at all; None: all may.
        """
        options = options_for(selector, options)
        estimate = self.estimate(request, options)
        fleet = self._load()
        order, order_name, consent = self._listed(selector)
        consent = replace(
            consent,
            any_cost=consent.any_cost or options.any_cost,
            free_to_paid=consent.free_to_paid or options.free_to_paid,
            free_only=consent.free_only and not options.free_to_paid,
        )
        if order:  # who names models has set rules and roles aside
            options = replace(options, role=None)
        alone = selector.kind == "model" and not fallback
        pool = [
            model
            for model in (fleet.models if order else fleet.active)
            if (model.id in order or (not alone and model.status == "active"))
            and (allowed is None or allowed(model.id))
        ]
        named = order if selector.kind == "model" else ()
        query = replace(
            self._query(request, options, estimate, fleet, selector, frozenset(order)),
            order=order,
            order_name=order_name,
            consent=consent,
        )
        contenders = fleet.contenders(pool, estimate, self.quality, named=named)
        return decide(query, contenders, fleet.rules)

    def _listed(self, selector: Selector) -> tuple[tuple[str, ...], str, Consent]:
        """The models that the caller's word stands for, in order, whose they are, and what may
        stand in for them. A role's are its decision's own matter."""
        if selector.kind == "model":
            return (selector.name,), "", self.consent
        chain = self.assignments.chain(selector.name) if selector.kind == "chain" else None
        if chain is None:
            return (), "", self.consent
        links = tuple(link.model for link in chain.links)
        consent = replace(
            self.consent,
            any_cost=chain.any_cost,
            free_to_paid=bool(chain.allow_free_to_paid or self.consent.free_to_paid),
            listed=links,
            chain=chain.name,
            chain_multiple=chain.max_cost_multiple,
            free_only=chain.allow_free_to_paid is False,
        )
        return links, f"chain {chain.name}", consent

    def estimate(self, request: ChatRequest, options: RouteOptions) -> TaskEstimate:
        """The classifier's view, with the caller's overrides on top."""
        estimate = classify(signals_of(request))
        if options.task_type is not None:
            estimate = replace(
                estimate,
                task_type=options.task_type,
                probabilities={options.task_type: 1.0},
                sure=True,
            )
        if options.complexity is not None:
            estimate = replace(estimate, complexity=options.complexity)
        return estimate

    def provider(self, slug: str) -> Provider | None:
        return self._load().providers.get(slug)

    def known(self, model_id: str) -> tuple[ModelInfo, Provider, StoredPrice | None]:
        """A model of the fleet, its provider and its price, as they were read. Raises NotFound."""
        fleet = self._load()
        model = fleet.model(model_id)
        provider = None if model is None else fleet.providers.get(model.provider)
        if model is None or provider is None:
            raise NotFound(f"{model_id} is not in the fleet", hint="omni models list shows it")
        fleet.prices.load([model_id])
        return model, provider, fleet.prices.current(model_id)

    def price_named(self, provider: Provider, name: str) -> Price | None:
        """The price of another model of a provider, by its vendor's name: its own, else that of the
        vendor whose protocol it speaks; None where neither is known."""
        prices = self._load().prices
        ids = (f"{provider.slug}/{name}", f"{provider.protocol}/{name}")
        prices.load(ids)
        found = next((row for row in map(prices.current, ids) if row is not None), None)
        return None if found is None else found.price

    def active_models(self) -> list[ModelInfo]:
        return list(self._load().active)

    def block(self, model_id: str) -> str:
        """Why a model cannot be called now, or ""."""
        fleet = self._load()
        model = fleet.model(model_id)
        return "not in the fleet" if model is None else fleet.block(model) or fleet.down(model)

    def breakers_changed(self) -> None:
        """Look at the breakers anew; everything else stays as it was read."""
        if self._fleet is not None:
            self._fleet.see(self._read_breakers())

    def _read_breakers(self) -> Mapping[str, Breaker]:
        return {target: Breaker.from_json(text) for target, text in self.breakers.all().items()}

    def _load(self) -> FleetView:
        now_ms = int(self.clock() * 1000)
        if self._fleet is None or not 0 <= now_ms - self._fleet.now_ms < FRESH_MS:
            providers = {p.slug: p for p in self.providers.all()}
            self._fleet = FleetView(
                providers=providers,
                models=self.models.of_providers(providers),
                prices=PriceBook(self.models, now_ms=now_ms),
                rules=[_compiled(rule) for rule in self.assignments.rules() if rule.enabled],
                roles={role.name: role for role in self.assignments.roles()},
                stats=self.learning.stats(),
                breakers=self._read_breakers(),
                keys={slug: self.has_key(provider) for slug, provider in providers.items()},
                now_ms=now_ms,
                budgets=self.budgets(now_ms),
                speeds=self.speeds,
            )
        return self._fleet

    def _query(
        self,
        request: ChatRequest,
        options: RouteOptions,
        estimate: TaskEstimate,
        fleet: FleetView,
        selector: Selector,
        named: frozenset[str] = frozenset(),
    ) -> Query:
        input_tokens = max(input_estimate(request), options.context_tokens)
        needs = set(options.needs)
        if request.tools:
            needs.add("function-calling")
        if request.json_mode or request.json_schema is not None:
            needs.add("json-mode")
        role = fleet.roles.get(options.role) if options.role else None
        if role is not None and options.role_lead is not None:
            rest = tuple(item for item in role.models if item.model != options.role_lead)
            role = replace(role, models=(RoleModel(options.role_lead), *rest))
        listed = {rule.rule.model for rule in fleet.rules} | named
        if role is not None:
            listed |= {item.model for item in role.models}
        cached = _cached_prefix(request) if options.conversation_model else 0
        return Query(
            task=estimate,
            input_tokens=input_tokens,
            max_output_tokens=request.max_output_tokens,
            priority=options.priority,
            latency_pref=options.latency_pref,
            max_cost_nusd=options.max_cost_nusd,
            min_quality=options.min_quality,
            needs=frozenset(needs),
            image_input=request.has_images,
            role=role,
            conversation_model=options.conversation_model,
            cached_tokens=cached,
            facts=rule_facts(request, options, estimate, input_tokens, selector)
            if fleet.rules
            else {},
            weights=options.weights,
            allow_unknown_price=options.allow_unknown_price,
            listed=frozenset(listed),
        )


def options_for(selector: Selector, options: RouteOptions) -> RouteOptions:
    """With what the caller's word says: a role; ``auto:fast`` is a latency preference,
    ``auto:cheap`` and the like are priorities."""
    if selector.kind == "role":
        return replace(options, role=selector.name)
    if selector.kind != "auto" or not selector.name:
        return options
    if selector.name == "fast":
        return replace(options, latency_pref="fast")
    return replace(options, priority=next(p for p in PRIORITIES if p == selector.name))


def _compiled(rule: Rule) -> CompiledRule:
    from omni_cli.domain.rules import parse

    return CompiledRule(rule, parse(rule.condition))


def input_estimate(request: ChatRequest) -> int:
    """Tokens of everything that is sent; text by the estimator, media by a flat figure."""
    total = 0
    for message in request.messages:
        total += 4 + estimate_tokens(message.text)
        total += _IMAGE_TOKENS * sum(isinstance(part, MediaPart) for part in message.parts)
        total += sum(estimate_tokens(call.name + call.arguments) for call in message.tool_calls)
    for tool in request.tools:
        text = tool.name + tool.description + json.dumps(tool.parameters, ensure_ascii=False)
        total += estimate_tokens(text)
    return total


#: Providers cache prompts from about this length on, tokens.
_LEAST_CACHED = 1_024


def _cached_prefix(request: ChatRequest) -> int:
    """Tokens that the last answer's model likely has in its cache: all but the new turn."""
    before = input_estimate(replace(request, messages=request.messages[:-1]))
    return before if before >= _LEAST_CACHED else 0


def signals_of(request: ChatRequest) -> Signals:
    """What the classifier reads."""
    users = [message.text for message in request.messages if message.role == "user"]
    if (
        request.tools
    ):  # an agent's own words beside the question, and its system prompt, tell nothing
        users = [text for said in users if (text := asked(said))] or users
    kinds = [
        part.kind
        for message in request.messages
        for part in message.parts
        if isinstance(part, MediaPart)
    ]
    return Signals(
        text=users[-1] if users else "",
        system=system_of_task(request),
        earlier=tuple(reversed(users[:-1])),
        tools=tuple(tool.name for tool in request.tools),
        attachments=tuple(dict.fromkeys(kinds)),
        turns=len(request.messages),
    )


def rule_facts(
    request: ChatRequest,
    options: RouteOptions,
    estimate: TaskEstimate,
    input_tokens: int,
    selector: Selector = AUTO_SELECTOR,
) -> Mapping[str, Any]:
    """The variables of the rule language (domain/rule_tree.py)."""
    step = step_of(request)
    cheap = selector.kind == "auto" and selector.name == "cheap"  # what launched agents ask of it
    return {
        "task_type": estimate.task_type,
        "complexity": estimate.complexity,
        "difficulty": estimate.difficulty,
        "priority": options.priority,
        "latency_pref": options.latency_pref,
        "role": options.role,
        "agent": options.agent,
        "org": options.org,
        "prompt": asked(request.last_user_text),
        "input_tokens": input_tokens,
        "turns": len(request.messages),
        "max_cost": None if options.max_cost_nusd is None else nusd_to_usd(options.max_cost_nusd),
        "has_images": request.has_images,
        "has_tools": bool(request.tools),
        "needs_json": request.json_mode or request.json_schema is not None,
        "background": cheap or is_side_task(request, options.agent, input_tokens),
        "thinking": wants_thought(request),
        "tools": " ".join(tool.name for tool in request.tools),
        "web_search": wants_search(request),
        "sub_agent": (options.agent or "").endswith(":subagent"),
        "step": step.kind,
        "step_failed": step.failed,
        "requested_model": ":".join(filter(None, (selector.kind, selector.name))),
    }


def decision_document(decision: Decision) -> dict[str, Any]:
    """The decision as JSON values: what ``omni route --json`` prints and the ledger keeps."""
    task = decision.task
    return {
        "model": decision.model,
        "reason": decision.reason,
        "task_type": task.task_type,
        "type_probabilities": {
            name: round(value, 4)
            for name, value in sorted(task.probabilities.items(), key=lambda item: -item[1])
            if value >= 0.00005
        },
        "sure": task.sure,
        "form": task.form,
        "complexity": task.complexity,
        "difficulty": round(task.difficulty, 4),
        "by": decision.by,
        "candidates": [
            {
                "model": candidate.model,
                "eligible": candidate.eligible,
                "not_known_to_have": candidate.unsure or None,
                "reason": decision.reason_of(candidate),
                "kept_out": candidate.kept_out or None,
                "quality": None if candidate.quality is None else round(candidate.quality, 4),
                "quality_spread": round(candidate.spread, 4),
                "quality_basis": candidate.quality_basis,
                "quality_evidence": candidate.evidence and candidate.quality is not None,
                "expected_cost_usd": None
                if candidate.expected_cost_nusd is None
                else usd_string(candidate.expected_cost_nusd),
                "expected_latency_ms": None
                if candidate.expected_latency_ms is None
                else round(candidate.expected_latency_ms),
                "latency_basis": candidate.latency_basis,
                "score": candidate.score,
            }
            for candidate in decision.candidates
        ],
    }


def stand_in_refusals(decision: Decision) -> dict[str, str]:
    """By model, why consent to its cost is missing should those before it fail."""
    refusals = {
        c.model: decision.consent.refusal(c.model, c.expected_cost_nusd)
        for c in decision.candidates
        if c.eligible
    }
    return {model: refusal.why for model, refusal in refusals.items() if refusal is not None}


def prompt_form(decision: str | None) -> str:
    """The form of the prompt that a stored decision was about, "" where none is stored."""
    return "" if decision is None else str(json.loads(decision).get("form", ""))
