"""What the management API takes, as pydantic models; the OpenAPI document prints their schemas.

Fields are the source specs' (fleet, management, registry, provider plan) and omni's own; what only
is measured, such as ``usage``, may stand in a body that was read before, and is passed over.
Imported at the first such body, in a thread: pydantic takes longer to import than a request.
"""

from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, WithJsonSchema
from pydantic.json_schema import models_json_schema

from omni_cli.domain.errors import UsageError
from omni_cli.domain.models import CALL_SETTINGS, AuthMethod, ModelStatus, ModelType
from omni_cli.domain.money import figure
from omni_cli.domain.quality import OutcomeKind
from omni_cli.domain.scoring import KINDS
from omni_cli.plugins import plugins
from omni_cli.services.fleet.model_changes import ModelChange as Change
from omni_cli.services.fleet.model_changes import PriceChange
from omni_cli.services.judge.compare_plan import ComparisonType
from omni_cli.services.judge.spec_documents import SETTINGS_WORDS
from omni_cli.written import Discriminator, Field, Tag, Written, clean, one_of, said
from omni_cli.written import read as read

MOST_MODELS, MOST_PROMPTS, MOST_ITERATIONS, MOST_PHOTOS = 10, 200, 20, 50
_PER_1M = 1000


def _scorers() -> list[str]:
    """Those that name no file and no command of this machine."""
    known = [*KINDS, *plugins("omni.scorers")]
    known = [kind for kind in known if kind not in ("command", "json-schema")]
    return ["", *known, *(f"not-{kind}" for kind in known)]


def _dollars(value: object) -> object:
    """ "$0.003" is 0.003. Raises ValueError for what is no amount."""
    amount = figure(value.replace(",", "") if isinstance(value, str) else value)
    if amount is None:
        raise ValueError("no amount")
    return amount


_AMOUNT = 'a number of 0 or more, or the same in quotes ("2.5")'
#: US dollars, a number or text.
Rate = Annotated[
    Decimal,
    BeforeValidator(_dollars),
    Field(ge=0, strict=False),
    WithJsonSchema({"type": ["number", "string"], "minimum": 0, "x-said": _AMOUNT}),
]
Texts = Annotated[str | list[str], said("a text or a list of texts")]
Score = Annotated[float, Field(ge=0, le=100)]
Tokens = Annotated[int, Field(ge=1, le=999_999_999)]
#: Measured or told by omni: passed over in a body.
Told = Annotated[Any, Field(json_schema_extra={"readOnly": True})]


class Rates(Written):
    """US dollars per 1,000,000 tokens."""

    input: Rate | None = None
    cached: Rate | None = None
    output: Rate | None = None


class Pricing(Written):
    """``input``, ``cachedInput``, ``output``: US dollars per 1,000,000 tokens (registry spec); the
    others per 1,000 tokens, and terms of each request (management spec)."""

    input: Rate | None = None
    cachedInput: Rate | None = None
    output: Rate | None = None
    inputCostPer1kTokens: Rate | None = None
    outputCostPer1kTokens: Rate | None = None
    minimumCost: Rate | None = None
    freeThreshold: Annotated[int, Field(ge=0)] | None = None


class Costs(Written):
    """US dollars per 1,000 tokens; the average is told."""

    inputPer1k: Rate | None = None
    outputPer1k: Rate | None = None
    avgPer1k: Told = None


class Capabilities(Written):
    """Scores from 0 to 100, and what it takes and gives."""

    coding: Score | None = None
    reasoning: Score | None = None
    creativity: Score | None = None
    speed: Score | None = None
    context: Tokens | None = None
    maxTokens: Tokens | None = None
    inputTypes: list[Literal["text", "image"]] = []
    outputTypes: list[Literal["text", "json", "structured", "embedding", "image"]] = []
    languages: Told = None
    specialties: list[str] = []


def _at(name: str) -> Any:
    low, high = CALL_SETTINGS[name]
    return Field(ge=low, le=high)


class CallSettings(Written):
    """Of calls to one model; null takes one back. ``timeout``, ``retryDelay``: ms.
    ``rateLimitRpm``: calls that go out to it within a minute. ``batchSize``: at once where many
    are made."""

    timeout: Annotated[int, _at("timeout_ms")] | None = None
    maxRetries: Annotated[int, _at("max_retries")] | None = None
    retryDelay: Annotated[int, _at("retry_delay_ms")] | None = None
    rateLimitRpm: Annotated[int, _at("rate_limit_rpm")] | None = None
    batchSize: Annotated[int, _at("batch_size")] | None = None

    def said(self) -> dict[str, int | None]:
        """What it says, as ``domain/models.py:CALL_SETTINGS`` names it."""
        return {
            ours: getattr(self, theirs)
            for theirs, ours in SETTINGS_WORDS.items()
            if theirs in self.model_fields_set
        }


class OutcomeReport(Written):
    """How good an answer was: one of ``outcome``, ``score`` (0 to 1) and ``rating`` (1 to 5).
    ``request``: as the answer's header ``x-request-id`` (or ``request-id``) has it."""

    request: Annotated[str, Field(max_length=64)]
    outcome: Literal["pass", "fail"] | None = None
    score: Annotated[float, Field(ge=0, le=1)] | None = None
    rating: Annotated[float, Field(ge=1, le=5)] | None = None
    note: Annotated[str, Field(max_length=200)] = ""

    def verdict(self) -> tuple[OutcomeKind, float]:
        """Its kind, and the value as ``domain/quality.py:outcome_counts`` takes it.

        Raises UsageError: none of the three is there, or more than one.
        """
        if sum(value is not None for value in (self.outcome, self.score, self.rating)) != 1:
            raise UsageError("give one of outcome (pass or fail), score (0 to 1), rating (1 to 5)")
        if self.rating is not None:
            return "rating", self.rating
        return "test", float(self.outcome == "pass") if self.score is None else self.score


class AssignedRole(Written):
    role: str
    priority: Annotated[int, Field(ge=1, le=1000)] = 1
    description: str | None = None


def _kind(value: object) -> str | None:
    if isinstance(value, str):
        return "#name"
    return "#table" if isinstance(value, dict | Written) else None


#: A role by its name, or with a priority in it.
RoleAt = Annotated[
    Annotated[str, Tag("#name")] | Annotated[AssignedRole, Tag("#table")],
    Discriminator(_kind),
    said("a text in quotes, or a table of role and priority"),
]


class RoutingRule(Written):
    condition: str
    priority: Annotated[int, Field(ge=1, le=1000)] = 1


class ModelChange(Written):
    """A model, or what to change of it. ``assignedRoles`` and ``routingRules`` replace those that
    it has. ``sure``: take a model that its provider stops serving, or a price that looks wrong."""

    status: ModelStatus | None = None
    enabled: bool | None = None
    isActive: bool | None = None
    isDefault: bool | None = None
    name: str | None = None
    displayName: str | None = None
    aliases: list[str] = []
    type: ModelType | None = None
    modelType: ModelType | None = None
    parameters: Annotated[float, Field(gt=0)] | None = None
    context_length: Tokens | None = None
    context_window: Tokens | None = None
    max_tokens: Tokens | None = None
    tokenWeights: dict[str, Annotated[float, Field(gt=0)]] | None = None
    price: Rates | None = None
    pricing: Pricing | None = None
    costs: Costs | None = None
    capabilities: Capabilities | None = None
    strengths: list[str] = []
    recommendedFor: list[str] = []
    assignedRoles: list[AssignedRole] | None = None
    routingRules: list[RoutingRule] | None = None
    sure: bool = False
    health: Told = None
    usage: Told = None
    performance: Told = None
    configuration: CallSettings | None = None
    complexity_factor: Told = None
    is_system: Told = None
    addedAt: Told = None
    updatedAt: Told = None
    created_at: Told = None
    updated_at: Told = None
    id: Told = None
    provider: Told = None
    model: Told = None

    def change(self) -> Change:
        """What it says of the model itself."""
        able = self.capabilities or Capabilities()
        images, writes = "image" in able.inputTypes, able.outputTypes
        kind = self.modelType or self.type
        if kind is None and able.inputTypes:
            kind = "text" if not images else "multimodal" if "text" in able.inputTypes else "vision"
        badges = ["json-mode"] if {"json", "structured"} & set(writes) else []
        gives = [w for w in writes if w not in ("json", "structured")]
        scores = {k: getattr(able, k) for k in ("coding", "reasoning", "creativity", "speed")}
        return Change(
            name=self.displayName or self.name,
            aliases=self.aliases,
            context_window=self.context_window or self.context_length or able.context,
            max_output=self.max_tokens or able.maxTokens,
            type=kind,
            badges=badges,
            scores={k: v for k, v in scores.items() if v is not None},
            parameters_b=self.parameters,
            strengths=self.strengths or able.specialties,
            recommended_for=self.recommendedFor,
            token_weights=self.tokenWeights or {},
            gives=gives,
            settings={} if self.configuration is None else self.configuration.said(),
        )

    def asked_status(self) -> ModelStatus | None:
        """Raises UsageError: its words contradict each other."""
        said: set[ModelStatus] = set()
        if self.status is not None:
            said.add(self.status)
        elif self.isActive is not None:
            said.add("active" if self.isActive else "standby")
        if self.enabled is False:
            said.add("disabled")
        if self.enabled and "disabled" in said:
            raise UsageError("enabled contradicts status")
        if self.enabled is False and said - {"disabled"}:
            raise UsageError("enabled contradicts status")
        return next(iter(said), None)

    def price_change(self) -> PriceChange:
        """Raises UsageError: two fields give two prices."""
        rates: dict[str, Decimal] = {}
        terms: dict[str, Any] = {}

        def give(into: dict[str, Any], kind: str, value: Any) -> None:
            if value is not None and into.setdefault(kind, value) != value:
                raise UsageError(f"two prices for {kind}: {into[kind]} and {value}")

        for kind, rate in {} if self.price is None else dict(self.price).items():
            give(rates, kind, rate)
        if (given := self.pricing) is not None:
            give(rates, "input", given.input)
            give(rates, "cached", given.cachedInput)
            give(rates, "output", given.output)
            give(rates, "input", _per_1m(given.inputCostPer1kTokens))
            give(rates, "output", _per_1m(given.outputCostPer1kTokens))
            give(terms, "minimum_usd", given.minimumCost)
            give(terms, "free_requests_per_month", given.freeThreshold)
        if self.costs is not None:
            give(rates, "input", _per_1m(self.costs.inputPer1k))
            give(rates, "output", _per_1m(self.costs.outputPer1k))
        return PriceChange(rates, {k: v for k, v in terms.items() if v})


def _per_1m(rate: Decimal | None) -> Decimal | None:
    return None if rate is None else rate * _PER_1M


class NewModel(ModelChange):
    """Whose, and what its provider calls it: ``provider`` and ``model``, or ``id`` as
    PROVIDER/MODEL, or the name of one that omni knows. Any other ``id`` becomes a short name."""

    id: str | None = None
    provider: str | None = None
    model: str | None = None


class ModelRoles(Written):
    """Roles in which the model is put first, by name, or at the priority that is said;
    ``assignedRoles`` are instead all roles that it is to have."""

    roles: Annotated[list[RoleAt], said("a list of texts, or of tables of role and priority")] = []
    assignedRoles: list[AssignedRole] | None = None
    sure: bool = False


class RoleFirst(Written):
    """``model`` is put first in the role."""

    model: str
    sure: bool = False


class ProviderChange(Written):
    """``maxConcurrentRequests`` null: no limit. ``apiKey`` goes to the gateway's keyring or
    encrypted file and is never told; one that is masked is passed over."""

    name: str | None = None
    enabled: bool | None = None
    isActive: bool | None = None
    max_concurrency: Annotated[int, Field(ge=1)] | None = None
    maxConcurrentRequests: Annotated[int, Field(ge=1)] | None = None
    baseUrl: str | None = None
    apiEndpoint: str | None = None
    apiKey: str | None = None
    authMethod: AuthMethod | None = None
    maintenance: bool | None = None


class NewProvider(ProviderChange):
    """``slug`` (or ``id``): one that omni knows, or any with ``type`` and ``baseUrl``."""

    slug: str | None = None
    id: str | None = None
    type: str | None = None
    protocol: str | None = None


class Command(Written):
    """A command of omni's as it is typed, after ``omni``. ``stdin``: a key, for those that read
    one. ``columns``: how wide a terminal shows it; a pipe, without, takes everything."""

    args: Annotated[list[str], Field(min_length=1, max_length=200)]
    stdin: Annotated[str, Field(max_length=65_536)] = ""
    org: str = ""
    columns: Annotated[int, Field(ge=20, le=1000)] | None = None
    color: bool = False


class CostControls(Written):
    """Budgets of everything, US dollars; null: none. The thresholds are percent of a limit: where
    to warn, and where calls are refused; they are of both budgets."""

    dailyBudget: Rate | None = None
    monthlyBudget: Rate | None = None
    costAlertThreshold: Annotated[float, Field(gt=0, le=1000)] | None = None
    emergencyStopThreshold: Annotated[float, Field(ge=0, le=1000)] | None = None


class Configuration(Written):
    """The management spec's configuration; what is left out stays. ``featureModelAssignments``:
    the first model of each role. ``fallbackChain``: the chain ``default``, [] for none.
    ``autoFailover`` and ``failoverThreshold`` (a share of calls) are settings of this machine."""

    featureModelAssignments: dict[str, str] = {}
    fallbackChain: list[str] | None = None
    autoFailover: bool | None = None
    failoverThreshold: Annotated[float, Field(gt=0, le=1)] | None = None
    performanceSettings: dict[str, CallSettings] = {}
    costControls: CostControls = CostControls()
    sure: bool = False


class Discovery(Written):
    provider: str | None = None


class Optimizing(Written):
    """The past ``days``, and how many points of quality another setting may ``lose``."""

    days: Annotated[int, Field(ge=1, le=366)] | None = None
    lose: Annotated[float, Field(ge=0, le=100)] | None = None


class TestData(Written):
    """The management spec's: each photo goes with each prompt. A photo is a data: URL, or base64
    alone."""

    samplePhotos: Annotated[list[str], Field(max_length=MOST_PHOTOS)] = []
    testPrompts: list[str] = []
    iterations: Annotated[int, Field(ge=1, le=MOST_ITERATIONS)] = 1


class Comparison(Written):
    """``max_cost``: US dollars. ``selectedModels`` and ``testData`` say as ``models``, ``prompts``
    and ``iterations``. ``comparisonType``: by what the answer's ``recommendation`` goes."""

    models: Texts = []
    selectedModels: list[str] = []
    prompts: Texts = []
    testData: TestData = TestData()
    comparisonType: ComparisonType = "comprehensive"
    iterations: Annotated[int, Field(ge=1, le=MOST_ITERATIONS)] = 1
    max_tokens: Annotated[int, Field(ge=1)] = 1024
    max_cost: Annotated[float, Field(ge=0)] | None = None
    expect: Texts = []
    scorer: Annotated[str, one_of(_scorers)] = ""
    judge: str = ""
    name: str = ""


_BODIES: tuple[type[Written], ...] = (
    ModelChange, NewModel, ModelRoles, RoleFirst, ProviderChange, NewProvider, Command, Discovery,
    Configuration, Optimizing, Comparison, OutcomeReport
)  # fmt: skip


def schemas() -> dict[str, Any]:
    """By name, for an OpenAPI document's components."""
    _, found = models_json_schema(
        [(body, "validation") for body in _BODIES], ref_template="#/components/schemas/{model}"
    )
    named = clean(found)
    assert isinstance(named, dict)
    return dict(named["$defs"])
