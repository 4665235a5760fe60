"""Options that several commands take: declared once as a record, handed over as one value."""

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, get_type_hints

from msgspec import Struct
from msgspec.structs import fields

R = TypeVar("R")


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
