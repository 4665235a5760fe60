"""Adding and editing models: the user's fields on top of what the catalogue knows."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from msgspec import Struct, field

from omni_cli.domain.errors import UsageError
from omni_cli.domain.models import CALL_SETTINGS, ModelInfo, outputs_of
from omni_cli.domain.record import replace
from omni_cli.repositories import Models
from omni_cli.services.fleet.fleet import FleetService
from omni_cli.services.money.prices import PriceBook

TYPES = ("text", "vision", "multimodal")
#: What models write. The router chooses among those that write text.
OUTPUTS = ("text", "embedding", "image", "audio", "video")
#: Input types that go with a model's type.
_INPUTS: Mapping[str, tuple[str, ...]] = {
    "text": ("text",),
    "vision": ("image",),
    "multimodal": ("text", "image"),
}


class PriceChange(Struct, frozen=True):
    """``rates`` in US dollars per 1M tokens by kind; ``terms`` as FleetService.set_price."""

    rates: Mapping[str, Decimal] = field(default_factory=dict)
    terms: Mapping[str, Any] = field(default_factory=dict)
    free: bool = False

    def __bool__(self) -> bool:
        return self.free or bool(self.rates) or bool(self.terms)

    def check(self) -> None:
        """Raises UsageError unless it says enough to price a call."""
        if not self:
            return
        if self.free and (self.rates or self.terms):
            raise UsageError("a model is free or has a price, not both")
        if not self.rates and self.terms:
            return  # terms on the rates that there are
        if not self.free and not {"input", "output"} <= self.rates.keys():
            raise UsageError(
                "a price needs --price-in and --price-out, US dollars per 1M tokens",
                hint="give 0 for what costs nothing, or --free when nothing does",
            )


def settings_in(items: Sequence[str]) -> dict[str, int | None]:
    """Settings of calls as people write them: NAME=NUMBER, or NAME=none.

    Raises UsageError.
    """
    found: dict[str, int | None] = {}
    for item in items:
        name, _, value = (part.strip() for part in item.partition("="))
        if value != "none" and not (value.isascii() and value.isdigit() and len(value) < 10):
            raise UsageError(
                f"a setting is written NAME=NUMBER, or NAME=none, not {item!r}",
                hint=f"NAME is one of {', '.join(CALL_SETTINGS)}",
            )
        found[name.replace("-", "_")] = None if value == "none" else int(value)
    return found


class ModelChange(Struct, frozen=True):
    """What the user says of a model; None and empty: nothing said."""

    name: str | None = None
    aliases: Sequence[str] = ()
    context_window: int | None = None
    max_output: int | None = None
    type: str | None = None
    badges: Sequence[str] = ()
    scores: Mapping[str, float] = field(default_factory=dict)
    parameters_b: float | None = None
    strengths: Sequence[str] = ()
    recommended_for: Sequence[str] = ()
    token_weights: Mapping[str, float] = field(default_factory=dict)
    gives: Sequence[str] = ()
    #: Of ``CALL_SETTINGS``; None takes one back.
    settings: Mapping[str, int | None] = field(default_factory=dict)

    def applied(self, model: ModelInfo) -> tuple[ModelInfo, tuple[str, ...]]:
        """The changed model, and the names of the fields that the user set."""
        fields: dict[str, Any] = {
            name: value
            for name in ("name", "context_window", "max_output", "parameters_b")
            if (value := getattr(self, name)) is not None
        }
        if self.type is not None:
            if self.type not in TYPES:
                raise UsageError(f"--type is one of {', '.join(TYPES)}, not {self.type!r}")
            fields["type"] = self.type
            fields["input_types"] = _INPUTS[self.type]
            sees = "image" in fields["input_types"]
            fields["lacks"] = model.lacks - {"vision"} if sees else model.lacks | {"vision"}
        if self.gives:
            if odd := [kind for kind in self.gives if kind not in OUTPUTS]:
                raise UsageError(f"--gives is one of {', '.join(OUTPUTS)}, not {odd[0]!r}")
            fields["output_types"] = tuple(dict.fromkeys(self.gives))
        if self.aliases:
            fields["aliases"] = tuple(dict.fromkeys((*model.aliases, *self.aliases)))
        if self.badges:
            fields["badges"] = model.badges | frozenset(self.badges)
            fields["lacks"] = fields.get("lacks", model.lacks) - fields["badges"]
        if "vision" in self.badges and self.type is None and "image" not in model.input_types:
            fields["type"] = "multimodal"
            fields["input_types"] = (*model.input_types, "image")
        if self.scores:
            fields["scores"] = {**model.scores, **self.scores}
            fields["score_sources"] = {**model.score_sources, **dict.fromkeys(self.scores, "user")}
        if self.token_weights:
            fields["token_weights"] = {**model.token_weights, **self.token_weights}
        if self.settings:
            kept = {**model.settings, **self.settings}
            fields["settings"] = {name: value for name, value in kept.items() if value is not None}
        for name in ("strengths", "recommended_for"):
            if value := getattr(self, name):
                fields[name] = tuple(value)
        if self.parameters_b is not None and self.parameters_b <= 0:
            raise UsageError("--parameters-b is a number of billions above 0")
        return replace(model, **fields), tuple(fields)


def split_id(text: str, providers: Sequence[str]) -> tuple[str, str]:
    """``provider/wire_name`` or ``provider:wire_name``.

    Raises UsageError when neither stands there.
    """
    slug, slash, wire_name = text.partition("/")
    if not slash or (slug not in providers and slug.partition(":")[0] in providers):
        slug, slash, wire_name = text.partition(":")
    usable = wire_name == wire_name.strip() and wire_name.isprintable()
    if not slash or not slug or not wire_name or not usable:
        raise UsageError(
            f"{text!r} is no PROVIDER/MODEL", hint="for example: omni models add ollama/qwen3:8b"
        )
    return slug, wire_name


def add_model(
    fleet: FleetService,
    models: Models,
    slug: str,
    wire_name: str,
    change: ModelChange,
    price: PriceChange,
    *,
    like: str | None = None,
    sure: bool = False,
) -> tuple[ModelInfo, bool]:
    """Activate a model that omni knows, or create one. One revision.

    Args:
        like: the model that this is under another name, such as an Azure deployment's: a new one
            has its facts, and its price where none is given.

    Returns:
        the model, and whether it is new to omni.

    Raises:
        NotFound: the provider is not in the fleet.
        UsageError: a value does not fit; nothing was changed.
    """
    fleet.provider(slug)
    price.check()
    model_id = f"{slug}/{wire_name}"
    known = models.get(model_id)
    outputs = outputs_of(wire_name)
    base = known or ModelInfo(model_id, slug, wire_name, wire_name, output_types=outputs)
    twin = None
    if like is not None and (known is None or not known.is_system):
        twin = fleet.model(like)
        base = replace(
            twin,
            id=model_id,
            provider=slug,
            wire_name=wire_name,
            aliases=base.aliases,
            is_system=False,
            is_default=False,
            retired_on=None,
        )
    fresh, fields = change.applied(replace(base, status="active", hidden=False))
    with fleet.change("model.add", model_id, None, None):
        fleet.put_model(fresh, set_fields=(*fields, "status", "hidden"))
        if price:
            set_price(fleet, model_id, price, sure=sure)
        elif twin is not None:
            now_ms = fleet.now_ms()
            row = PriceBook(models, now_ms=now_ms).current(twin.id)
            if row is not None:
                models.set_price(model_id, row.price, origin=row.origin, now_ms=now_ms)
    return fleet.model(model_id), known is None


def edit_model(fleet: FleetService, name: str, change: ModelChange) -> ModelInfo:
    """Raises UsageError when nothing is said or a value does not fit."""
    model = fleet.model(name)
    fresh, fields = change.applied(model)
    if not fields:
        raise UsageError("nothing to change", hint="omni models edit --help lists what there is")
    fleet.put_model(fresh, set_fields=fields)
    return fleet.model(model.id)


def set_price(
    fleet: FleetService,
    name: str,
    price: PriceChange,
    *,
    source: str = "user",
    sure: bool = False,
) -> None:
    """Raises UsageError when it does not say enough, Doubtful as FleetService.set_price."""
    price.check()
    fleet.set_price(
        name, dict(price.rates), free=price.free, source=source, sure=sure, **price.terms
    )
