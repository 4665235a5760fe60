"""Bring a newer catalogue into the store, and say what changed."""

from dataclasses import dataclass, replace

from omni_cli.domain.prices import Price
from omni_cli.repositories import Models, StoredPrice
from omni_cli.services.catalogue import Catalogue, seed
from omni_cli.services.prices import PriceBook


@dataclass(frozen=True, slots=True)
class UpdateReport:
    """``added``: ids new to omni. ``repriced``: ids whose price in force is another now; one
    that the user priced is not among them, for that price stays."""

    models: int
    added: tuple[str, ...]
    repriced: tuple[str, ...]


def refresh(models: Models, catalogue: Catalogue, *, now_ms: int) -> UpdateReport:
    """To be called within one transaction."""
    before = PriceBook(models, now_ms=now_ms)
    known = {model.id: _amounts(before.current(model.id)) for model in models.all(hidden=True)}
    seed(models, catalogue, now_ms=now_ms)
    after = PriceBook(models, now_ms=now_ms)
    ids = [model.id for model in models.all(hidden=True)]
    return UpdateReport(
        models=len(ids),
        added=tuple(name for name in ids if name not in known),
        repriced=tuple(
            name for name in ids if name in known and _amounts(after.current(name)) != known[name]
        ),
    )


def _amounts(row: StoredPrice | None) -> Price | None:
    """A price without where and when it was read."""
    return None if row is None else replace(row.price, source="", source_date="", note="")
