"""Bring the catalogue's models and prices into the store, leaving the user's own untouched."""

from collections.abc import Iterable
from typing import Protocol

from omni_cli.domain.models import ModelInfo, fold_alias
from omni_cli.domain.pricing import Price
from omni_cli.domain.record import replace
from omni_cli.repositories import Models


class CatalogueEntry(Protocol):
    """A catalogue's model with its prices, oldest first."""

    @property
    def info(self) -> ModelInfo: ...
    @property
    def prices(self) -> tuple[Price, ...]: ...
    @property
    def retired_on(self) -> str | None: ...


class Catalogue(Protocol):
    @property
    def models(self) -> Iterable[CatalogueEntry]: ...


def seed(models: Models, catalogue: Catalogue, *, now_ms: int) -> int:
    """Add or refresh every system model and its catalogue prices.

    Fields that the user set keep the user's values; user prices are rows of their own and win.
    New models start on standby. Returns how many models were added or changed.
    """
    known = {model.id: model for model in models.all(hidden=True)}
    taken = {alias: model.id for model in known.values() for alias in model.aliases}
    current = models.prices()
    user_fields = models.touched()
    changed = 0
    for entry in catalogue.models:
        old = known.get(entry.info.id)
        aliases = tuple(
            a for a in entry.info.aliases if taken.get(a, entry.info.id) == entry.info.id
        )
        fresh = replace(_system(entry), aliases=aliases)
        touched: frozenset[str] = frozenset()
        if old is not None:
            touched = user_fields.get(old.id, frozenset())
            kept = {name: getattr(old, name) for name in touched | {"status", "is_default"}}
            fresh = replace(fresh, **kept, added_at=old.added_at, updated_at=old.updated_at)
        if old is None or old != fresh:
            models.put(fresh, now_ms=now_ms, user_fields=touched)
            changed += 1
        rows = [row.price for row in current.get(fresh.id, []) if row.origin == "catalogue"]
        for price in entry.prices:
            if price not in rows:
                models.set_price(fresh.id, price, origin="catalogue", now_ms=now_ms)
    return changed


def system_models(catalogue: Catalogue) -> dict[str, ModelInfo]:
    """Every system model by id, as a store has it that nobody touched."""
    return {
        entry.info.id: replace(
            _system(entry), aliases=tuple(sorted(fold_alias(a) for a in entry.info.aliases))
        )
        for entry in catalogue.models
    }


def _system(entry: CatalogueEntry) -> ModelInfo:
    return replace(entry.info, is_system=True, status="standby", retired_on=entry.retired_on)
