"""Bring the catalogue's models and prices into the store, leaving the user's own untouched."""

from collections.abc import Iterable
from typing import Protocol

from msgspec import Struct

from omni_cli.domain.models import ModelInfo, fold_alias
from omni_cli.domain.prices import Price
from omni_cli.domain.record import replace
from omni_cli.records import StoredPrice
from omni_cli.repositories import Models
from omni_cli.services.money.prices import PriceBook


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
