"""What a fleet document looks like: every table, field and type, for errors that name the place.

``docs/fleet.md`` tells people the same; a test holds the two together.
"""

import difflib
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, NoReturn, get_args

from msgspec import Struct, field

from omni_cli.domain.errors import UsageError
from omni_cli.domain.models import AuthMethod, ModelStatus, ModelType
from omni_cli.domain.pricing import KINDS
from omni_cli.domain.secrets import scrub
from omni_cli.wire.registry import protocols

TEXT, FLAG, WHOLE, NUMBER, AMOUNT = "text", "true or false", "a whole number", "a number", "amount"
TEXTS, NUMBERS, NAMED_TEXTS = "a list of texts", "a table of numbers", "a table of texts"
_SAID = {TEXT: "a text in quotes", AMOUNT: 'an amount in quotes, such as "2.5"'}


class Table(Struct, frozen=True):
    """``fields``: shape by name: a word above, a tuple of the texts allowed, or another shape."""

    fields: Mapping[str, Any]
    needed: tuple[str, ...] = ()


class Named(Struct, frozen=True):
    """A table whose keys are names."""

    of: Table
    #: What the heading of one looks like.
    heading: str = field(default="")


class Rows(Struct, frozen=True):
    """A list of tables."""

    of: Table


class Rate:
    """An amount, or a table of a base and tiers."""


_PRICE = Table(
    {
        "state": ("priced", "free", "unknown"),
        **dict.fromkeys(KINDS, Rate()),
        "per_request_usd": AMOUNT,
        "minimum_usd": AMOUNT,
        "free_requests_per_month": WHOLE,
        **dict.fromkeys(("source", "source_date", "effective_from", "note"), TEXT),
    },
    ("state",),
)
DOCUMENT: Mapping[str, Named | Rows] = {
    "providers": Named(
        Table(
            {
                "name": TEXT,
                "protocol": protocols(),
                "base_url": TEXT,
                "auth_method": get_args(AuthMethod),
                "key_env": TEXT,
                "enabled": FLAG,
                "max_concurrency": WHOLE,
                "simulated": FLAG,
                "headers": NAMED_TEXTS,
            },
            ("name", "protocol", "base_url"),
        ),
        "[providers.NAME]",
    ),
    "models": Named(
        Table(
            {
                "name": TEXT,
                "type": get_args(ModelType),
                "context_window": WHOLE,
                "max_output": WHOLE,
                "input_types": TEXTS,
                "output_types": TEXTS,
                "badges": TEXTS,
                "lacks": TEXTS,
                "scores": NUMBERS,
                "strengths": TEXTS,
                "recommended_for": TEXTS,
                "parameters_b": NUMBER,
                "token_weights": NUMBERS,
                "status": get_args(ModelStatus),
                "is_default": FLAG,
                "hidden": FLAG,
                "aliases": TEXTS,
                "price": _PRICE,
            }
        ),
        '[models."PROVIDER/MODEL"]',
    ),
    "roles": Named(
        Table(
            {
                "description": TEXT,
                "models": Rows(Table({"model": TEXT, "priority": WHOLE}, ("model", "priority"))),
            }
        ),
        "[roles.NAME]",
    ),
    "chains": Named(
        Table(
            {
                "max_cost_multiple": NUMBER,
                "any_cost": FLAG,
                "allow_free_to_paid": FLAG,
                "hedge_ms": WHOLE,
                "links": Rows(
                    Table({"model": TEXT, "max_retries": WHOLE, "timeout_ms": WHOLE}, ("model",))
                ),
            },
            ("links",),
        ),
        "[chains.NAME]",
    ),
    "rules": Rows(
        Table(
            {"condition": TEXT, "model": TEXT, "priority": WHOLE, "enabled": FLAG},
            ("condition", "model", "priority"),
        )
    ),
    "budgets": Named(
        Table(
            {
                "limit_usd": AMOUNT,
                "alerts_percent": "a list of numbers",
                "stop_percent": NUMBER,
                "rollover": FLAG,
                "allow_unknown": FLAG,
                "zone": TEXT,
                "week_start": WHOLE,
                "month_day": WHOLE,
                "enabled": FLAG,
                "raise_usd": AMOUNT,
                "raise_until": TEXT,
            },
            ("limit_usd",),
        ),
        '[budgets."PERIOD SCOPE:NAME"]',
    ),
}


def check_shape(document: Mapping[str, Any]) -> None:
    """Raises UsageError with the path of the first value that does not fit."""
    for section, value in document.items():
        shape = DOCUMENT.get(section)
        if shape is None:
            _fail(section, f"is no section{_meant(section, DOCUMENT)}", ", ".join(DOCUMENT))
        _check(value, shape, section)


def _check(value: object, shape: Any, path: str) -> None:
    if isinstance(shape, Named):
        if not isinstance(value, Mapping):
            _fail(path, f"is written {shape.heading}, not {_kind(value)}")
        for name, item in value.items():
            _check(item, shape.of, f"{path}.{_key(name)}")
    elif isinstance(shape, Rows):
        if not isinstance(value, list):
            _fail(path, f"is a list of tables, not {_kind(value)}")
        for number, item in enumerate(value, 1):
            _check(item, shape.of, f"{path}[{number}]")
    elif isinstance(shape, Table):
        _check_table(value, shape, path)
    elif isinstance(shape, Rate):
        if isinstance(value, Mapping):
            tiers = Table({"base": AMOUNT, "tiers": "tiers"}, ("base",))
            _check_table(value, tiers, path)
        elif not _fits(value, AMOUNT):
            _fail(path, f"is {_SAID[AMOUNT]}, or a table of base and tiers, not {_kind(value)}")
    elif isinstance(shape, tuple):
        if value not in shape:
            _fail(path, f"is one of {', '.join(shape)}, not {_kind(value)}")
    elif not _fits(value, shape):
        _fail(path, f"is {_SAID.get(shape, shape)}, not {_kind(value)}")


def _check_table(value: object, shape: Table, path: str) -> None:
    if not isinstance(value, Mapping):
        _fail(path, f"is a table, not {_kind(value)}")
    for name in shape.needed:
        if name not in value:
            _fail(f"{path}.{name}", "is missing")
    for name, item in value.items():
        if name not in shape.fields:
            near = _meant(name, shape.fields)
            _fail(f"{path}.{_key(name)}", f"is no field{near}", ", ".join(shape.fields))
        _check(item, shape.fields[name], f"{path}.{name}")


def _fits(value: object, shape: str) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if shape == TEXT:
        return isinstance(value, str)
    if shape == FLAG:
        return isinstance(value, bool)
    if shape == WHOLE:
        return number and isinstance(value, int)
    if shape == NUMBER:
        return number and str(value) not in ("inf", "-inf", "nan")
    if shape == AMOUNT:
        try:
            amount = Decimal(value) if isinstance(value, str) else Decimal("NaN")
        except InvalidOperation:
            return False
        return amount.is_finite() and amount >= 0
    if shape == TEXTS:
        return isinstance(value, list) and all(isinstance(item, str) for item in value)
    if shape == NUMBERS:
        return isinstance(value, Mapping) and all(_fits(v, NUMBER) for v in value.values())
    if shape == NAMED_TEXTS:
        return isinstance(value, Mapping) and all(isinstance(v, str) for v in value.values())
    if shape == "a list of numbers":
        return isinstance(value, list) and all(_fits(item, NUMBER) for item in value)
    return isinstance(value, list) and all(  # tiers
        isinstance(pair, list)
        and len(pair) == 2
        and _fits(pair[0], WHOLE)
        and _fits(pair[1], AMOUNT)
        for pair in value
    )


def _kind(value: object) -> str:
    if isinstance(value, str):
        return repr(scrub(value if len(value) <= 40 else value[:39] + "…"))
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "a table"
    return "a list" if isinstance(value, list) else str(value)


def _key(name: str) -> str:
    return name if name.replace("_", "").replace("-", "").isalnum() else f'"{name}"'


def _meant(name: str, known: Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(name, list(known), 1, 0.6)
    return f": did you mean {near[0]}?" if near else ""


def _fail(path: str, what: str, known: str = "") -> NoReturn:
    hint = f"there are {known}" if known else "omni fleet export shows how it is written"
    raise UsageError(f"{path} {what}", hint=hint)
