"""From genai-prices' matching rules to concrete wire names.

The source describes the names of a model by clauses ("starts with claude-3-opus"). Only names
that are written out there, or in ``overrides.toml``, become models: the rest is not guessed.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Clause = Mapping[str, Any]

#: A version or date that a provider appends for a frozen or a floating version of one model.
_SNAPSHOT = re.compile(r"-(latest|\d{8}|\d{4}-\d{2}-\d{2}|\d{4})$")


def matches(clause: Clause, name: str) -> bool:
    """Does ``clause`` accept ``name``? Case does not count, except in a regular expression.

    Raises ValueError for a clause of an unknown kind.
    """
    (kind, value), *rest = clause.items()
    if rest:
        raise ValueError(f"a clause has one key, not {sorted(clause)}")
    name = name.lower()
    match kind:
        case "or":
            return any(matches(part, name) for part in value)
        case "and":
            return all(matches(part, name) for part in value)
        case "regex":
            return re.search(value, name) is not None
        case "equals":
            return bool(name == value.lower())
        case "starts_with":
            return name.startswith(value.lower())
        case "ends_with":
            return name.endswith(value.lower())
        case "contains":
            return value.lower() in name
    raise ValueError(f"unknown clause {kind!r}")


def _written_out(clause: Clause) -> Iterator[str]:
    for kind, value in clause.items():
        if kind == "equals":
            yield value
        elif kind == "or":
            for part in value:
                yield from _written_out(part)


def first_match(models: Sequence[Mapping[str, Any]], name: str) -> Mapping[str, Any] | None:
    """The model that the source would price ``name`` as: the first that accepts it."""
    return next((m for m in models if matches(m["match"], name)), None)


def spelling(name: str) -> str:
    """Equal for two spellings of one name: case, and "." against "-" in a version."""
    return name.casefold().replace(".", "-")


def wire_names(
    model: Mapping[str, Any], models: Sequence[Mapping[str, Any]]
) -> tuple[dict[str, tuple[str, ...]], str | None]:
    """The concrete names of ``model`` and the main one of them.

    Args:
        model: one of ``models``, as in the source.
        models: all models of its provider, in the source's order.

    Returns:
        name -> other spellings of it, in the source's order, and the name that stands for the
        model itself (its id where that is a name), or None where no name is written out.
    """
    groups: dict[str, list[str]] = {}
    for name in dict.fromkeys((model["id"], *_written_out(model["match"]))):
        if first_match(models, name) is model:
            groups.setdefault(spelling(name), []).append(name)
    names: dict[str, tuple[str, ...]] = {}
    for group in groups.values():
        # Where case is the only difference, the lower-case spelling is the API's.
        main = next((n for n in group if n == group[0].lower()), group[0])
        others = tuple(n for n in group if n.casefold() != main.casefold())
        names[main] = others
    return names, next(iter(names), None)


def is_snapshot(name: str, of: str) -> bool:
    """Is ``name`` a frozen or floating version of the model named ``of``?"""
    return name == of or base_name(name) == base_name(of)


def base_name(name: str) -> str:
    """``name`` without the date or "latest" that ends it: "gpt-4o-2024-08-06" -> "gpt-4o"."""
    return _SNAPSHOT.sub("", name)
