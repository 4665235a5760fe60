"""What a fleet file may hold: one pydantic model a table.

``omni fleet schema`` prints them as JSON Schema; ``docs/fleet.md`` tells people the same, and a
test holds the two together. Ranges that the command line has, too, are in ``domain/models.py``.
"""

import tomllib
from typing import Annotated, Any

from omni_cli.domain.budgets import Budget
from omni_cli.domain.models import (
    DEFAULT_MAX_RETRIES,
    DEFAULT_TIMEOUT_MS,
    HEDGE_MS_RANGE,
    MAX_RETRIES_RANGE,
    TIMEOUT_MS_RANGE,
    AuthMethod,
    Chain,
    ChainLink,
    ModelStatus,
    ModelType,
    Provider,
    Role,
    RoleModel,
    Rule,
)
from omni_cli.domain.prices import Price, PriceState, price_from_json
from omni_cli.services.money.budget_document import budget_from
from omni_cli.wire.registry import protocols
from omni_cli.written import Amount, Discriminator, Field, Tag, Written, one_of, said


class ProviderTable(Written):
    name: str
    protocol: Annotated[str, one_of(protocols)]
    base_url: str
    auth_method: AuthMethod = "api_key"
    key_env: str | None = None
    enabled: bool = True
    max_concurrency: Annotated[int, Field(ge=1)] | None = None
    simulated: bool = False
    headers: dict[str, str] = {}

    def value(self, slug: str) -> Provider:
        return Provider(slug=slug, **dict(self))


class RateTable(Written):
    """``tiers``: from more than so many input tokens on, this rate holds for all of them."""

    base: Amount
    tiers: list[Annotated[tuple[int, Amount], Field(strict=False)]] = []


def _kind(value: object) -> str | None:
    return (
        "#amount"
        if isinstance(value, str)
        else "#table"
        if isinstance(value, dict | Written)
        else None
    )


#: US dollars per 1,000,000 tokens.
Rate = Annotated[
    Annotated[Amount, Tag("#amount")] | Annotated[RateTable, Tag("#table")],
    Discriminator(_kind),
    said('an amount in quotes, such as "2.5", or a table of base and tiers'),
]


class PriceTable(Written):
    """A kind of token without a rate of its own is charged as its parent kind."""

    state: PriceState
    input: Rate | None = None
    cached: Rate | None = None
    cache_write: Rate | None = None
    cache_write_1h: Rate | None = None
    input_image: Rate | None = None
    input_audio: Rate | None = None
    cached_audio: Rate | None = None
    output: Rate | None = None
    reasoning: Rate | None = None
    output_image: Rate | None = None
    output_audio: Rate | None = None
    per_request_usd: Amount | None = None
    minimum_usd: Amount | None = None
    free_requests_per_month: Annotated[int, Field(ge=0)] = 0
    per_audio_hour_usd: Amount | None = None
    per_million_characters_usd: Amount | None = None
    per_image_usd: Amount | None = None
    per_thousand_searches_usd: Amount | None = None
    source: str = ""
    source_date: str = ""
    effective_from: str | None = None
    note: str = ""

    def value(self) -> Price:
        """Raises ValueError: an amount is beyond what a price may be."""
        return price_from_json(self.model_dump(exclude_unset=True))


class ModelTable(Written):
    """What is left out is as the catalogue has it."""

    name: str = ""
    type: ModelType = "text"
    context_window: int | None = None
    max_output: int | None = None
    input_types: list[str] = []
    output_types: list[str] = []
    badges: list[str] = []
    lacks: list[str] = []
    scores: dict[str, float] = {}
    strengths: list[str] = []
    recommended_for: list[str] = []
    parameters_b: float | None = None
    token_weights: dict[str, float] = {}
    settings: dict[str, int] = {}
    status: ModelStatus = "active"
    is_default: bool = False
    hidden: bool = False
    aliases: list[str] = []
    price: PriceTable | None = None

    def values(self) -> dict[str, Any]:
        """The fields of a ``ModelInfo`` that the table sets."""
        shaped = self.model_dump(exclude_unset=True, exclude={"price"})
        for name, value in shaped.items():
            if isinstance(value, list):
                shaped[name] = frozenset(value) if name in ("badges", "lacks") else tuple(value)
        return shaped


class RoleModelTable(Written):
    model: str
    priority: int


class RoleTable(Written):
    description: str = ""
    models: list[RoleModelTable] = []

    def value(self, name: str) -> Role:
        return Role(
            name, self.description, tuple(RoleModel(m.model, m.priority) for m in self.models)
        )


class LinkTable(Written):
    model: str
    max_retries: Annotated[int, Field(ge=MAX_RETRIES_RANGE[0], le=MAX_RETRIES_RANGE[1])] = (
        DEFAULT_MAX_RETRIES
    )
    timeout_ms: Annotated[int, Field(ge=TIMEOUT_MS_RANGE[0], le=TIMEOUT_MS_RANGE[1])] = (
        DEFAULT_TIMEOUT_MS
    )


class ChainTable(Written):
    links: Annotated[list[LinkTable], Field(min_length=1), said("a list of one table or more")]
    max_cost_multiple: float | None = None
    any_cost: bool = False
    allow_free_to_paid: bool | None = None
    hedge_ms: Annotated[int, Field(ge=HEDGE_MS_RANGE[0], le=HEDGE_MS_RANGE[1])] | None = None

    def value(self, name: str) -> Chain:
        return Chain(
            name,
            tuple(ChainLink(link.model, link.max_retries, link.timeout_ms) for link in self.links),
            self.max_cost_multiple,
            self.allow_free_to_paid,
            self.hedge_ms,
            self.any_cost,
        )


class RuleTable(Written):
    condition: str
    model: str
    priority: int
    enabled: bool = True

    def value(self) -> Rule:
        return Rule(0, self.condition, self.model, self.priority, self.enabled)


class BudgetTable(Written):
    """``raise_usd`` on top of the limit, until ``raise_until`` (ISO 8601)."""

    limit_usd: Amount
    alerts_percent: list[float] = []
    stop_percent: float = 100
    rollover: bool = False
    allow_unknown: bool = True
    zone: str = "UTC"
    week_start: int = 0
    month_day: int = 1
    enabled: bool = True
    raise_usd: Amount | None = None
    raise_until: str | None = None

    def value(self, name: str) -> Budget:
        """Raises UsageError."""
        return budget_from(name, self.model_dump(exclude_unset=True))


class FleetFile(Written):
    """The whole fleet; what it leaves out is taken out."""

    providers: Annotated[dict[str, ProviderTable], said("written [providers.NAME]")] = {}
    models: Annotated[dict[str, ModelTable], said('written [models."PROVIDER/MODEL"]')] = {}
    roles: Annotated[dict[str, RoleTable], said("written [roles.NAME]")] = {}
    chains: Annotated[dict[str, ChainTable], said("written [chains.NAME]")] = {}
    rules: list[RuleTable] = []
    budgets: Annotated[dict[str, BudgetTable], said('written [budgets."PERIOD SCOPE:NAME"]')] = {}


_HEAD = """\
#:schema ./fleet.schema.json
# The fleet: omni fleet schema > fleet.schema.json lets an editor check and complete this file.
# omni apply {file} --plan shows what it would change, omni apply {file} makes the fleet equal to
# it: what it leaves out is taken out. No key stands here; they are in the environment, the OS
# keyring or omni's encrypted file.
"""
#: Of each kind of table: what it is for, and one to begin with.
_KINDS: dict[str, tuple[str, str]] = {
    "providers": (
        "Accounts at APIs: a name of yours, the protocol, where it is.",
        """[providers.openai]
name = "OpenAI"
protocol = "openai"
base_url = "https://api.openai.com/v1"
key_env = "OPENAI_API_KEY"
""",
    ),
    "models": (
        "Models at work, as PROVIDER/MODEL; prices in US dollars per 1M tokens, in quotes.",
        """[models."openai/gpt-6-luna"]
status = "active"
aliases = ["quick"]
""",
    ),
    "roles": (
        "Who does which job; the lowest priority is asked first.",
        """[roles.writer]
description = "writes and edits"
models = [{ model = "openai/gpt-6-luna", priority = 1 }]
""",
    ),
    "chains": (
        "Who stands in when a model fails, in this order.",
        """[chains.prod]
links = [{ model = "openai/gpt-6-luna", max_retries = 2, timeout_ms = 30000 }]
""",
    ),
    "rules": (
        "Conditions that prefer a model: omni help rules add.",
        """[[rules]]
condition = "taskType == 'coding'"
model = "openai/gpt-6-luna"
priority = 1
""",
    ),
    "budgets": (
        'Limits that no call passes: "PERIOD all", or "PERIOD SCOPE:NAME".',
        """[budgets."month all"]
limit_usd = "100"
""",
    ),
}


def commented(text: str, file: str = "fleet.toml") -> str:
    """A fleet's document with what each kind of table is for; of kinds that it has none of an
    example stands there, commented out."""
    import tomli_w

    document = tomllib.loads(text)
    parts = [_HEAD.format(file=file)]
    for kind, (about, example) in _KINDS.items():
        parts.append(f"\n# {about}\n")
        if isinstance(found := document.pop(kind, None), list) and found:
            # tomli-w writes short ones in one line, which here would belong to the table above.
            parts += [f"[[{kind}]]\n{tomli_w.dumps(one)}\n" for one in found]
        elif found:
            parts.append(tomli_w.dumps({kind: found}))
        else:
            parts += [f"# {line}\n" for line in example.splitlines()]
    return "".join(parts) + (tomli_w.dumps(document) if document else "")
