"""Bring a newer catalogue into the store, and say what changed."""

from msgspec import Struct

from omni_cli.domain.prices import Price
from omni_cli.domain.record import replace
from omni_cli.records import StoredPrice
from omni_cli.repositories import Models
from omni_cli.services.fleet.catalogue import Catalogue, seed
from omni_cli.services.money.prices import PriceBook


class UpdateReport(Struct, frozen=True):
    """``added``: ids new to omni. ``repriced``: ids whose price in force is another now; one
    that the user priced is not among them, for that price stays."""

    models: int
    added: tuple[str, ...]
    repriced: tuple[str, ...]


def refresh(models: Models, catalogue: Catalogue, *, now_ms: int) -> UpdateReport:
    """To be called within one transaction."""
    known = _prices(models, now_ms)
    seed(models, catalogue, now_ms=now_ms)
    now = _prices(models, now_ms)
    return UpdateReport(
        models=len(now),
        added=tuple(name for name in now if name not in known),
        repriced=tuple(name for name in now if name in known and now[name] != known[name]),
    )


def _prices(models: Models, now_ms: int) -> dict[str, Price | None]:
    """The price in force of every model."""
    book = PriceBook(models, now_ms=now_ms)
    ids = [model.id for model in models.all(hidden=True)]
    book.load(ids)
    return {model_id: _amounts(book.current(model_id)) for model_id in ids}


def _amounts(row: StoredPrice | None) -> Price | None:
    """A price without where and when it was read."""
    return None if row is None else replace(row.price, source="", source_date="", note="")
