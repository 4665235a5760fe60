"""The fleet as the router sees it: read once, for one decision after another."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct, field

from omni_cli.domain.breaker import Breaker
from omni_cli.domain.latency import Foreseen, Latencies, SpeedOf
from omni_cli.domain.models import ModelInfo, Provider, Role
from omni_cli.domain.prices import PriceState, Rates, output_usd
from omni_cli.domain.quality import is_evidence
from omni_cli.domain.routing import CompiledRule, Contender
from omni_cli.domain.tasks import TaskEstimate
from omni_cli.records import ModelStats
from omni_cli.services.money.prices import PriceBook, rates_of, state_of, utc_day

if TYPE_CHECKING:
    from omni_cli.domain.budgets import Budget, BudgetStatus

#: Of a model, whatever the prompt: state and rates of its price, why it is blocked, why it is
#: down, and the budgets of it alone.
_Fixed = tuple[PriceState, "Rates | None", str, str, "tuple[BudgetStatus, ...]"]
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
#: Why a model that answers through a batch interface is not asked.
_BY_BATCH = "answers through its provider's batch interface, not at once"


class Quality(Protocol):
    """The seam of requirement B4: how likely models answer a kind of prompt well."""

    def __call__(
        self, probabilities: Mapping[str, float], model_ids: Sequence[str], form: str = ""
    ) -> Sequence[tuple[float | None, float, str]]:
        """By model: mean 0..1 or None without evidence, its standard deviation, its basis."""
        ...


class FleetView(Struct, dict=True):
    """A snapshot taken at ``now_ms``. ``keys``: whether a provider can be called."""

    providers: Mapping[str, Provider]
    models: Sequence[ModelInfo]
    prices: PriceBook
    rules: Sequence[CompiledRule]
    roles: Mapping[str, Role]
    stats: Mapping[tuple[str, str], ModelStats]
    breakers: Mapping[str, Breaker]
    keys: Mapping[str, bool]
    now_ms: int
    budgets: Sequence[BudgetStatus] = ()
    speeds: SpeedOf = lambda _model, _usd: None
    _fixed: dict[str, _Fixed] = field(default_factory=dict)

    def model(self, model_id: str) -> ModelInfo | None:
        return self._by_id.get(model_id)

    @cached_property
    def active(self) -> Sequence[ModelInfo]:
        return [model for model in self.models if model.status == "active"]

    @cached_property
    def _by_id(self) -> Mapping[str, ModelInfo]:
        return {model.id: model for model in self.models}

    @cached_property
    def _latencies(self) -> Latencies:
        measured = (
            (model, task, row.latency_ms, max(1, row.ok))
            for (model, task), row in self.stats.items()
            if row.latency_ms is not None
        )
        return Latencies(measured, self.foreseen)

    def foreseen(self, model_id: str, task: str) -> Foreseen | None:
        """How long an answer of the usual length takes, as far as it is known beforehand."""
        model = self._by_id.get(model_id)
        if model is None:
            return None
        row = self.prices.current(model_id)
        speed = self.speeds(model, None if row is None else output_usd(row.price))
        if speed is None:
            return None
        tokens = expected_output(task, None, model.max_output)
        return Foreseen(speed.latency_ms(tokens), speed.calls, speed.basis)

    def see(self, breakers: Mapping[str, Breaker]) -> None:
        """Take over what the breakers are now."""
        self.breakers = breakers
        self._fixed.clear()

    def contenders(
        self,
        models: Sequence[ModelInfo],
        estimate: TaskEstimate,
        quality: Quality,
        *,
        named: Container[str] = (),
    ) -> list[Contender]:
        """``models`` for a prompt so classified; the ``named`` ones as for ``block``.

        One that is named and stands alone is asked also where it is down, and its budgets are
        its reservation's to keep.
        """
        self._fix(models)
        alone = len(models) == 1 and models[0].id in named
        task = estimate.task_type
        judged = quality(estimate.probabilities, [model.id for model in models], estimate.form)
        found = []
        for model, (mean, spread, basis) in zip(models, judged, strict=True):
            state, rates, blocked, down, budgets = self._fixed[model.id]
            stats = self.stats.get((model.id, task))
            latency = self._latencies.of(model.id, task)
            found.append(
                Contender(
                    model,
                    state,
                    rates,
                    self.block(model, named=True) if model.id in named else blocked,
                    mean,
                    basis,
                    expected_output(task, stats, model.max_output),
                    latency.ms,
                    spread,
                    latency.basis,
                    is_evidence(basis),
                    "" if alone else down,
                    () if alone else budgets,
                )
            )
        return found

    def _fix(self, models: Sequence[ModelInfo]) -> None:
        """What does not depend on the prompt, for models that it was not yet worked out for."""
        missing = [model for model in models if model.id not in self._fixed]
        self.prices.load(model.id for model in missing)
        for model in missing:
            row = self.prices.current(model.id)
            rates = rates_of(None if row is None else row.price)
            budgets = [s for s in self.budgets if _covers(s.budget, model)]
            self._fixed[model.id] = (
                state_of(row),
                rates,
                self.block(model),
                self.down(model),
                tuple(budgets),
            )

    def block(self, model: ModelInfo, *, named: bool = False) -> str:
        """Why a model cannot be called, or "". ``named``: the user asked for this very model: its
        retirement is no obstacle."""
        provider = self.providers.get(model.provider)
        if provider is None:
            return f"provider {model.provider} is not in the fleet"
        if not provider.enabled:
            return f"provider {provider.slug} is disabled"
        if provider.status == "maintenance":
            return f"provider {provider.slug} is in maintenance"
        if model.status == "disabled":
            return "disabled"
        if not self.keys[provider.slug]:
            return f"no key for {provider.slug}"
        retired = model.retired_on is not None and model.retired_on <= utc_day(self.now_ms)
        if retired and not provider.simulated and not named:
            return f"retired by its provider on {model.retired_on}"
        if model.by_batch and not named:
            return _BY_BATCH
        return ""

    def down(self, model: ModelInfo) -> str:
        """Why a model is left alone for a while, or ""."""
        for target in (model.id, model.provider):
            breaker = self.breakers.get(target)
            if breaker is not None and not breaker.allows(self.now_ms):
                return f"circuit breaker of {target} is open: {breaker.last_error or 'failing'}"
        return ""


def wants_key(reason: str) -> bool:
    """Whether a ``block`` is about the key alone: none is there, or it was refused."""
    refused = reason.startswith("circuit breaker of ") and reason.endswith(" is open: auth")
    return refused or reason.startswith("no key for ")


def taken_out(reason: str) -> bool:
    """Whether a ``block`` is the user's own doing, or the end of the model: no failure."""
    ends = ("disabled", " is in maintenance", _BY_BATCH)
    return reason.endswith(ends) or reason.startswith("retired by ")


def _covers(budget: Budget, model: ModelInfo) -> bool:
    return budget.covers(provider=model.provider, model=model.id)


def expected_output(task: str, stats: ModelStats | None, max_output: int | None) -> int:
    """Tokens: the measured mean, pulled towards the task's default while data is thin."""
    expected = DEFAULT_OUTPUT_TOKENS.get(task, 400)
    if stats is not None and stats.mean_output_tokens is not None:
        weight = stats.ok / (stats.ok + _LENGTH_PRIOR)
        expected += round((stats.mean_output_tokens - expected) * weight)
    return expected if max_output is None or expected <= max_output else max_output
