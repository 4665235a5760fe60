"""From a request to a decision: classify, look at the fleet, decide."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from omni_cli.domain import rules as rule_language
from omni_cli.domain.breaker import Breaker
from omni_cli.domain.chat import ChatRequest, MediaPart
from omni_cli.domain.classify import classify
from omni_cli.domain.models import ModelInfo, Provider, Role
from omni_cli.domain.preferences import DEFAULT_WEIGHTS, LatencyPref, Priority, Weights
from omni_cli.domain.pricing import nusd_to_usd, usd_string
from omni_cli.domain.routing import (
    CompiledRule,
    Contender,
    Decision,
    Query,
    Rates,
    decide,
)
from omni_cli.domain.tasks import COMPLEXITIES, Complexity, Signals, TaskEstimate
from omni_cli.domain.tokens import estimate_tokens
from omni_cli.ports import Clock
from omni_cli.repositories import Assignments, Breakers, Learning, Models, ModelStats, Providers
from omni_cli.services.prices import PriceBook, rates_of, state_of, utc_day

#: Expected answer length where nothing was measured, tokens; the ledger replaces it.
DEFAULT_OUTPUT_TOKENS: Mapping[str, int] = {
    "chat": 200,
    "coding": 700,
    "debugging": 600,
    "reasoning": 600,
    "math": 500,
    "analysis": 700,
    "research": 900,
    "writing": 800,
    "summarization": 250,
    "translation": 300,
    "extraction": 200,
    "image": 250,
    "agent_step": 300,
}
#: Observations after which the measured length outweighs the default half and half.
_LENGTH_PRIOR = 5
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
    agent: str | None = None
    org: str | None = None
    needs: frozenset[str] = frozenset()
    conversation_model: str | None = None
    weights: Weights = DEFAULT_WEIGHTS
    allow_unknown_price: bool = True


class Quality(Protocol):
    """The seam of requirement B4: how likely a model answers a kind of prompt well."""

    def __call__(
        self, probabilities: Mapping[str, float], model_id: str
    ) -> tuple[float | None, str]:
        """(chance 0..1 or None without evidence, what it rests on)."""
        ...


class RoutingService:
    """Reads the fleet once, on first use; a long-lived process makes a new one on a change."""

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
        self._fleet: _Fleet | None = None

    def decide(
        self,
        request: ChatRequest,
        options: RouteOptions,
        *,
        among: Iterable[str] | None = None,
    ) -> Decision:
        """Choose a model.

        Args:
            among: only these model ids, whatever their status; None: all active ones.
        """
        estimate = self.estimate(request, options)
        wanted = None if among is None else set(among)
        fleet = self._load()
        chosen = [
            model
            for model in fleet.models
            if (model.status == "active" if wanted is None else model.id in wanted)
        ]
        fleet.prices.load(model.id for model in chosen)
        contenders = [
            self._contender(model, fleet, estimate, named=wanted is not None and len(wanted) == 1)
            for model in chosen
        ]
        return decide(self._query(request, options, estimate), contenders, fleet.rules)

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
        return [model for model in self._load().models if model.status == "active"]

    def block(self, model_id: str) -> str:
        """Why a model cannot be called now, or ""."""
        fleet = self._load()
        for model in fleet.models:
            if model.id == model_id:
                return self._blocked(model, fleet)
        return "not in the fleet"

    def _load(self) -> "_Fleet":
        if self._fleet is None:
            providers = {p.slug: p for p in self._providers.all()}
            now_ms = int(self._clock() * 1000)
            self._fleet = _Fleet(
                providers=providers,
                models=self._models.of_providers(providers),
                prices=PriceBook(self._models, now_ms=now_ms),
                rules=[
                    CompiledRule(rule, rule_language.parse(rule.condition))
                    for rule in self._assignments.rules()
                    if rule.enabled
                ],
                roles={role.name: role for role in self._assignments.roles()},
                stats=self._learning.stats(),
                breakers={
                    target: Breaker.from_json(text) for target, text in self._breakers.all().items()
                },
                keys={slug: self._has_key(provider) for slug, provider in providers.items()},
                now_ms=now_ms,
            )
        return self._fleet

    def _contender(
        self, model: ModelInfo, fleet: "_Fleet", estimate: TaskEstimate, *, named: bool
    ) -> Contender:
        row = fleet.prices.current(model.id)
        quality, basis = self._quality(estimate.probabilities, model.id)
        stats = fleet.stats.get((model.id, estimate.task_type))
        return Contender(
            model=model,
            price_state=state_of(row),
            rates=fleet.rates(model.id),
            blocked=self._blocked(model, fleet, named=named),
            quality=quality,
            quality_basis=basis,
            output_tokens=expected_output(estimate.task_type, stats, model.max_output),
            latency_ms=None if stats is None else stats.latency_ms,
        )

    def _blocked(self, model: ModelInfo, fleet: "_Fleet", *, named: bool = False) -> str:
        """``named``: the user asked for this model and no other: a breaker is no obstacle."""
        provider = fleet.providers.get(model.provider)
        if provider is None:
            return f"provider {model.provider} is not in the fleet"
        if not provider.enabled:
            return f"provider {provider.slug} is disabled"
        if provider.status == "maintenance":
            return f"provider {provider.slug} is in maintenance"
        if model.status == "disabled":
            return "disabled"
        if not fleet.keys[provider.slug]:
            return f"no key for {provider.slug}"
        if not named and not provider.simulated and self._is_retired(model, fleet):
            return f"retired by its provider on {model.retired_on}"
        for target in () if named else (model.id, provider.slug):
            breaker = fleet.breakers.get(target)
            if breaker is not None and not breaker.allows(fleet.now_ms):
                return f"circuit breaker of {target} is open: {breaker.last_error or 'failing'}"
        return ""

    @staticmethod
    def _is_retired(model: ModelInfo, fleet: "_Fleet") -> bool:
        return model.retired_on is not None and model.retired_on <= utc_day(fleet.now_ms)

    def _query(self, request: ChatRequest, options: RouteOptions, estimate: TaskEstimate) -> Query:
        input_tokens = input_estimate(request)
        needs = set(options.needs)
        if request.tools:
            needs.add("function-calling")
        if request.json_mode or request.json_schema is not None:
            needs.add("json-mode")
        role: Role | None = self._load().roles.get(options.role) if options.role else None
        cached = input_tokens if options.conversation_model else 0
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
        )


@dataclass(slots=True)
class _Fleet:
    """What one decision after another reads: loaded once."""

    providers: Mapping[str, Provider]
    models: Sequence[ModelInfo]
    prices: PriceBook
    rules: Sequence[CompiledRule]
    roles: Mapping[str, Role]
    stats: Mapping[tuple[str, str], ModelStats]
    breakers: Mapping[str, Breaker]
    keys: Mapping[str, bool]
    now_ms: int
    _rates: dict[str, Rates | None] = field(default_factory=dict)

    def rates(self, model_id: str) -> Rates | None:
        if model_id not in self._rates:
            row = self.prices.current(model_id)
            self._rates[model_id] = rates_of(None if row is None else row.price)
        return self._rates[model_id]


def expected_output(task: str, stats: ModelStats | None, max_output: int | None) -> int:
    """Tokens: the measured mean, pulled towards the task's default while data is thin."""
    expected = float(DEFAULT_OUTPUT_TOKENS.get(task, 400))
    if stats is not None and stats.mean_output_tokens is not None:
        weight = stats.ok / (stats.ok + _LENGTH_PRIOR)
        expected += (stats.mean_output_tokens - expected) * weight
    return round(expected if max_output is None else min(expected, max_output))


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
            if value >= 0.005
        },
        "sure": task.sure,
        "complexity": task.complexity,
        "difficulty": round(task.difficulty, 4),
        "by": decision.by,
        "candidates": [
            {
                "model": candidate.model,
                "eligible": candidate.eligible,
                "reason": decision.reason_of(candidate),
                "quality": None if candidate.quality is None else round(candidate.quality, 4),
                "quality_basis": candidate.quality_basis,
                "expected_cost_usd": None
                if candidate.expected_cost_nusd is None
                else usd_string(candidate.expected_cost_nusd),
                "expected_latency_ms": None
                if candidate.expected_latency_ms is None
                else round(candidate.expected_latency_ms),
                "score": candidate.score,
            }
            for candidate in decision.candidates
        ],
    }


def parse_complexity(text: str) -> Complexity:
    """Raises ValueError."""
    for value in COMPLEXITIES:
        if value == text:
            return value
    raise ValueError(text)
