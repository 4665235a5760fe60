"""Options that several commands take: declared once as a record, handed over as one value."""

import inspect
from collections.abc import Callable
from decimal import Decimal
from functools import wraps
from typing import Annotated, Any, TypeVar, get_type_hints

import typer
from msgspec import Struct
from msgspec.structs import fields

from omni_cli.cli.common import money

R = TypeVar("R")

From = Annotated[str | None, typer.Option("--from", help="YYYY-MM-DD, your zone's days; included.")]
To = Annotated[str | None, typer.Option("--to", help="YYYY-MM-DD; not included.")]


class TokenRates(Struct, frozen=True):
    """What tokens cost, as options."""

    price_in: Annotated[str | None, typer.Option("--price-in", help="USD per 1M input tokens.")] = (
        None
    )
    price_out: Annotated[
        str | None, typer.Option("--price-out", help="USD per 1M output tokens.")
    ] = None
    price_cached: Annotated[
        str | None, typer.Option("--price-cached", help="USD per 1M cached input tokens.")
    ] = None
    price_cache_write: Annotated[
        str | None, typer.Option("--price-cache-write", help="USD per 1M tokens written to cache.")
    ] = None

    def given(self) -> dict[str, Decimal]:
        """US dollars per 1M tokens by kind, of those that were said. Raises UsageError."""
        rates = {
            "input": money(self.price_in, "--price-in"),
            "output": money(self.price_out, "--price-out"),
            "cached": money(self.price_cached, "--price-cached"),
            "cache_write": money(self.price_cache_write, "--price-cache-write"),
        }
        return {kind: amount for kind, amount in rates.items() if amount is not None}


def grouped(command: "Callable[..., R]") -> "Callable[..., R]":
    """A command whose parameters of a struct's type are options, one for each field.

    ``def list_(view: View)`` takes ``--json``, ``--csv`` and whatever else ``View`` declares; its
    fields are annotated as Typer's parameters are, and each has a default.
    """
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, type[Any]] = {}
    parameters = []
    for name, parameter in inspect.signature(command).parameters.items():
        kind = hints[name]
        if not (isinstance(kind, type) and issubclass(kind, Struct)):
            parameters.append(parameter.replace(annotation=kind))
            continue
        groups[name] = kind
        parameters += [
            inspect.Parameter(
                item.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=item.default,
                annotation=item.type,
            )
            for item in fields(kind)
        ]

    @wraps(command)
    def run(**given: Any) -> R:
        for name, kind in groups.items():
            given[name] = kind(**{item.name: given.pop(item.name) for item in fields(kind)})
        return command(**given)

    flat = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in parameters]
    run.__dict__["__signature__"] = inspect.Signature(flat)  # which Typer reads
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in flat}
    return run
