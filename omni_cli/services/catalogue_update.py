"""Bring a newer catalogue into the store, and say what changed."""

from dataclasses import dataclass

from omni_cli.repositories import Models
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
    known = {model.id: before.current(model.id) for model in models.all(hidden=True)}
    seed(models, catalogue, now_ms=now_ms)
    after = PriceBook(models, now_ms=now_ms)
    ids = [model.id for model in models.all(hidden=True)]
    return UpdateReport(
        models=len(ids),
        added=tuple(name for name in ids if name not in known),
        repriced=tuple(
            name for name in ids if name in known and after.current(name) != known[name]
        ),
    )
