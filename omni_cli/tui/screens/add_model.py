"""Add Model: a form for a model that the catalogue does not have, or has otherwise."""

from collections.abc import Callable, Sequence
from decimal import Decimal

from omni_cli.bootstrap import App
from omni_cli.domain.models import BADGES, CAPABILITIES, COMPLEXITY_BASE_B
from omni_cli.domain.money import figure
from omni_cli.services.fleet.model_changes import ModelChange, PriceChange, add_model
from omni_cli.tui.data import Loader
from omni_cli.tui.widgets.form import Field, FormScreen, Values

_TYPES = ("text", "vision", "multimodal")
_RATES = ("input", "output", "cached")
_COUNT = "a number of tokens, such as 128000 or 128K"
_MONEY = "an amount of 0 or more, such as 0.25"


def add_model_form(loader: Loader, providers: Sequence[str], provider: str | None) -> FormScreen:
    """Args: ``providers``: slugs of the fleet, at least one; ``provider``: the one to begin with.

    The new model is active at once. Dismissed as FormScreen.
    """
    first = provider if provider is not None and provider in providers else providers[0]
    fields = [
        Field("provider", "Provider", first, choices=tuple(providers)),
        Field("wire_name", "Model", "", "as the provider calls it: qwen3:8b", check=_wire_name),
        Field("name", "Shown as", "", "its name at the provider"),
        Field("aliases", "Aliases", "", "short names: qwen, q3", check=_aliases),
        Field("type", "Type", "text", choices=_TYPES),
        Field("context", "Context", "", "tokens: 128000 or 128K", check=_optional(_tokens, _COUNT)),
        Field("max_output", "Max output", "", "tokens", check=_optional(_tokens, _COUNT)),
        Field("badges", "Badges", "", "vision, streaming, reasoning ...", check=_badges),
        Field("scores", "Scores 0-100", "", "coding=90, speed=70", check=_scores),
        Field(
            "parameters",
            "Parameters (B)",
            "",
            "billions: 70",
            check=_optional(_above_zero, "a number above 0"),
        ),
        *(
            Field(
                f"price_{kind}",
                f"${kind}/1M",
                "",
                _price_hint(kind),
                check=_optional(_amount, _MONEY),
            )
            for kind in _RATES
        ),
    ]
    return FormScreen(loader, "Add a model", fields, _save, note=_note, save="Add")


def _save(omni: App, values: Values) -> None:
    """Raises UsageError, NotFound."""
    rates = {
        kind: Decimal(text)
        for kind in _RATES
        if (text := values[f"price_{kind}"].removeprefix("$"))
    }
    free = bool(rates) and not any(rates.values())
    change = ModelChange(
        name=values["name"] or None,
        aliases=_split(values["aliases"]),
        context_window=_tokens(values["context"]),
        max_output=_tokens(values["max_output"]),
        type=values["type"],
        badges=_split(values["badges"]),
        scores=_read_scores(values["scores"]) or {},
        parameters_b=float(values["parameters"]) if values["parameters"] else None,
    )
    price = PriceChange(free=True) if free else PriceChange(rates=rates)
    add_model(omni.fleet, omni.models, values["provider"], values["wire_name"], change, price)


def _note(values: Values) -> str:
    """The id, the complexity factor, and what is missing of a price."""
    said = []
    if values["wire_name"] and not _wire_name(values["wire_name"]):
        said.append(f"id {values['provider']}/{values['wire_name']}")
    if values["parameters"] and _above_zero(values["parameters"]) is not None:
        size = float(values["parameters"])
        factor = size / COMPLEXITY_BASE_B
        said.append(f"complexity factor {size:g} / {COMPLEXITY_BASE_B:g} = {factor:.3f}")
    given = [kind for kind in _RATES if values[f"price_{kind}"]]
    if not given:
        said.append("no price: its calls count as unknown cost")
    elif not {"input", "output"} <= set(given):
        said.append("a price needs input and output")
    elif not any(Decimal(values[f"price_{kind}"].removeprefix("$")) for kind in _well(values)):
        said.append("free")
    return " · ".join(said)


def _well(values: Values) -> list[str]:
    return [kind for kind in _RATES if _amount(values[f"price_{kind}"]) is not None]


def _price_hint(kind: str) -> str:
    return "US dollars per 1M cached tokens" if kind == "cached" else "US dollars; 0 where free"


def _optional(read: Callable[[str], object], words: str) -> Callable[[str], str]:
    """A check for a value that may be left out; ``words`` say what it should be."""

    def check(value: str) -> str:
        return "" if not value or read(value) is not None else words

    return check


def _wire_name(value: str) -> str:
    well = bool(value) and not any(c.isspace() for c in value)
    return "" if well else "the name that the provider's API takes"


def _split(value: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in value.split(",") if part.strip())


def _aliases(value: str) -> str:
    return "no slash in an alias" if "/" in value else ""


def _badges(value: str) -> str:
    unknown = [name for name in _split(value) if name not in BADGES]
    return f"no badge {unknown[0]!r}: {', '.join(BADGES)}" if unknown else ""


def _read_scores(value: str) -> dict[str, float] | None:
    found = {}
    for part in _split(value):
        name, _, number = (piece.strip() for piece in part.partition("="))
        try:
            score = float(number)
        except ValueError:
            return None
        if name not in CAPABILITIES or not 0 <= score <= 100:
            return None
        found[name] = score
    return found


def _scores(value: str) -> str:
    well = _read_scores(value) is not None
    return "" if well else f"name=0..100 with {', '.join(CAPABILITIES)}"


def _tokens(value: str) -> int | None:
    """128000, 128K or 1M; None for anything else."""
    unit = {"K": 1_000, "M": 1_000_000}.get(value[-1:].upper(), 1)
    digits = value[:-1] if unit > 1 else value
    return int(digits) * unit if digits.isdecimal() and int(digits) > 0 else None


def _above_zero(value: str) -> float | None:
    amount = _amount(value)
    return float(amount) if amount else None


def _amount(value: str) -> Decimal | None:
    """A decimal number of 0 or more; None for anything else."""
    amount = figure(value)
    return None if amount is None or amount < 0 else amount
