"""A value as JSON, from its own definition.

Names say units throughout the house, so a field's name says how it is written: ``cost_nusd`` is
``cost_usd``, exact decimal text; ``used_at`` (ms) is ISO 8601 in UTC, and so is ``seen_at_ms``
as ``seen_at``. A field that is added to a value is in its document from then on.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from msgspec import Struct

from omni_cli.domain.money import usd
from omni_cli.domain.periods import iso


def document(value: Any, *names: str) -> dict[str, Any]:
    """
    Args:
        value: a Struct, or with ``names`` anything that has them; its tuples become lists,
            frozensets sorted lists, values within it documents.
        names: only these fields or properties of it, in this order; none: all fields.
    """
    return {
        key: write(getattr(value, name))
        for name, key, write in map(_written, names or value.__struct_fields__)
    }


@lru_cache(maxsize=1024)
def _written(name: str) -> tuple[str, str, Callable[[Any], Any]]:
    """The field, its key, and how its value is written."""
    if name.endswith("_nusd"):
        return name, f"{name[:-5]}_usd", usd
    if name.endswith("at_ms"):
        return name, name[:-3], iso
    if name.endswith("_at"):
        return name, name, iso
    return name, name, _plain


def _plain(value: Any) -> Any:
    if isinstance(value, Struct):
        return document(value)
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, frozenset):
        return sorted(value)
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return value
