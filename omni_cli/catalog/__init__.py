"""The bundled catalogue of models and prices: how it is made, read and refreshed."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from omni_cli.repositories import Store

#: In the store's notes: which catalogue it has, and when its prices were read at their source.
KEY, CHECKED_KEY = "catalogue", "catalogue_checked"


def stamp() -> str:
    """Changes with the bundled catalogue, without reading it: its size and time of change."""
    status = (Path(__file__).parent / "catalog.json").stat()
    return f"{status.st_size}-{status.st_mtime_ns}"


def is_in(store: "Store") -> bool:
    """Whether a store has the bundled catalogue."""
    return store.get_meta(KEY) == stamp()
