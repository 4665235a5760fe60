"""Values: ``msgspec.Struct`` classes, as ``class Price(Struct, frozen=True)``.

A frozen dataclass costs 1 ms each time a process starts, as it writes its own methods in source
text and compiles that; a struct costs a tenth of it, and is made, compared and hashed faster
(``python -m benchmarks.values``). What ``dataclasses`` does with values is done here, so that
nobody has to know.
"""

from typing import TYPE_CHECKING, Any

from msgspec import Struct

if TYPE_CHECKING:
    # The type checker knows this one, and checks names and types of the changes.
    from dataclasses import replace as replace  # noqa: TID251  # for the type checker only
else:
    from msgspec.structs import replace as replace


def asdict(value: Struct, /) -> dict[str, Any]:
    """Fields by name, with the values within as dicts, too; containers are copied."""
    return {name: _plain(getattr(value, name)) for name in value.__struct_fields__}


def _plain(value: Any) -> Any:
    if isinstance(value, Struct):
        return asdict(value)
    if isinstance(value, list | tuple):
        return type(value)(_plain(item) for item in value)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value
