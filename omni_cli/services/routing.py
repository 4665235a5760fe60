"""From a request to a decision: classify, look at the fleet, decide."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from omni_cli.domain.breaker import Breaker
from omni_cli.domain.chat import ChatRequest, MediaPart
from omni_cli.domain.classify import classify
from omni_cli.domain.models import ModelInfo, Provider, RoleModel, Rule
from omni_cli.domain.preferences import DEFAULT_WEIGHTS, LatencyPref, Priority, Weights
from omni_cli.domain.pricing import nusd_to_usd, usd_string
from omni_cli.domain.routing import CompiledRule, Decision, Query, decide
from omni_cli.domain.tasks import Complexity, Signals, TaskEstimate
from omni_cli.domain.tokens import estimate_tokens
from omni_cli.ports import Clock
from omni_cli.repositories import Assignments, Breakers, Learning, Models, Providers
from omni_cli.services.fleet_view import FleetView, Quality
from omni_cli.services.prices import PriceBook

#: A long-lived process sees what others changed (D1: within 5 s) after at most this long, ms.
FRESH_MS = 4_000
_IMAGE_TOKENS = 1_000


@dataclass(frozen=True, slots=True)
class RouteOptions:
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
    conversation_model: str | None = None
    weights: Weights = DEFAULT_WEIGHTS
    allow_unknown_price: bool = True


class RoutingService:
    """Reads the fleet on first use, and again when what it read is older than FRESH_MS."""

    def __init__(
        self,
        *,
        providers: Providers,
        models: Models,
        assignments: Assignments,
        learning: Learning,
        breakers: Breakers,
        has_key: Callable[[Provider], bool],
        quality: Quality,
        clock: Clock,
    ) -> None:
        self._providers = providers
        self._models = models
        self._assignments = assignments
        self._learning = learning
        self._breakers = breakers
        self._has_key = has_key
        self._quality = quality
        self._clock = clock
        self._fleet: FleetView | None = None

    def decide(
        self,
        request: ChatRequest,
        options: RouteOptions,
        *,
        among: Iterable[str] | None = None,
        listed: bool = False,
    ) -> Decision:
        """Choose a model.

        Args:
            among: only these model ids, whatever their status; None: all active ones.
            listed: the user named them, one by one (a chain). A single one is named anyway.
        """
        estimate = self.estimate(request, options)
        fleet = self._load()
        if among is None:
            query = self._query(request, options, estimate, fleet)
            contenders = fleet.contenders(fleet.active, estimate, self._quality)
            return decide(query, contenders, fleet.rules)
        # Who names models has set rules and roles aside.
        wanted = set(among)
        named = len(wanted) == 1
        mine = frozenset(wanted) if named or listed else frozenset()
        query = self._query(request, replace(options, role=None), estimate, fleet, mine)
        chosen = [model for model in fleet.models if model.id in wanted]
        contenders = fleet.contenders(chosen, estimate, self._quality, named=named)
        decision = decide(query, contenders)
        if named and decision.model is not None:
            return replace(decision, by="named", reason=f"named; {decision.reason}")
        return decision

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

    def active_models(self) -> list[ModelInfo]:
        return list(self._load().active)

    def block(self, model_id: str) -> str:
        """Why a model cannot be called now, or ""."""
        fleet = self._load()
        for model in fleet.models:
            if model.id == model_id:
                return fleet.block(model)
        return "not in the fleet"

    def _load(self) -> FleetView:
        now_ms = int(self._clock() * 1000)
        if self._fleet is None or not 0 <= now_ms - self._fleet.now_ms < FRESH_MS:
            providers = {p.slug: p for p in self._providers.all()}
            self._fleet = FleetView(
                providers=providers,
                models=self._models.of_providers(providers),
                prices=PriceBook(self._models, now_ms=now_ms),
                rules=[_compiled(rule) for rule in self._assignments.rules() if rule.enabled],
                roles={role.name: role for role in self._assignments.roles()},
                stats=self._learning.stats(),
                breakers={
                    target: Breaker.from_json(text) for target, text in self._breakers.all().items()
                },
                keys={slug: self._has_key(provider) for slug, provider in providers.items()},
                now_ms=now_ms,
            )
        return self._fleet

    def _query(
        self,
        request: ChatRequest,
        options: RouteOptions,
        estimate: TaskEstimate,
        fleet: FleetView,
        named: frozenset[str] = frozenset(),
    ) -> Query:
        input_tokens = input_estimate(request)
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
            facts=rule_facts(request, options, estimate, input_tokens),
            weights=options.weights,
            allow_unknown_price=options.allow_unknown_price,
            listed=frozenset(listed),
        )


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
    kinds = [
        part.kind
        for message in request.messages
        for part in message.parts
        if isinstance(part, MediaPart)
    ]
    return Signals(
        text=users[-1] if users else "",
        system=request.system_text,
        earlier="\n".join(reversed(users[:-1])),
        tools=tuple(tool.name for tool in request.tools),
        attachments=tuple(dict.fromkeys(kinds)),
        turns=len(request.messages),
    )


def rule_facts(
    request: ChatRequest, options: RouteOptions, estimate: TaskEstimate, input_tokens: int
) -> Mapping[str, Any]:
    """The variables of the rule language (domain/rule_tree.py)."""
    return {
        "task_type": estimate.task_type,
        "complexity": estimate.complexity,
        "difficulty": estimate.difficulty,
        "priority": options.priority,
        "latency_pref": options.latency_pref,
        "role": options.role,
        "agent": options.agent,
        "org": options.org,
        "prompt": request.last_user_text,
        "input_tokens": input_tokens,
        "turns": len(request.messages),
        "max_cost": None if options.max_cost_nusd is None else nusd_to_usd(options.max_cost_nusd),
        "has_images": request.has_images,
        "has_tools": bool(request.tools),
        "needs_json": request.json_mode or request.json_schema is not None,
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


def prompt_form(decision: str | None) -> str:
    """The form of the prompt that a stored decision was about, "" where none is stored."""
    return "" if decision is None else str(json.loads(decision).get("form", ""))
