"""Values that nobody changes, without the price of freezing them as they are made."""

from dataclasses import dataclass, field
from typing import TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def record(cls: type[T]) -> type[T]:
    """A dataclass with slots that the type checker holds frozen.

    At run time it is not: ``frozen=True`` costs 0.1 us a field each time one is made, 1.1 us for
    a ``Usage``. For what is made once a request, or once a chunk.
    """
    return dataclass(slots=True, unsafe_hash=True)(cls)
