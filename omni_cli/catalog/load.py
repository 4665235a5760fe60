"""Read the bundled catalogue; turn freshly downloaded price data into the same form."""

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from msgspec import Struct

from omni_cli.domain.errors import ConfigError
from omni_cli.domain.models import ModelInfo
from omni_cli.domain.prices import Price, price_from_json

FOLDER = Path(__file__).parent
FILE = "catalog.json"
#: The least share of the bundled models that a download must still hold.
_LEAST_SHARE = 0.5
_NEEDED = ("anthropic", "openai", "google")


class CatalogModel(Struct, frozen=True):
    """A model and its prices, oldest first, at least one.

    ``deprecated``: its provider has shut it down or means to; ``retired_on``: the ISO date of
    that, where known; ``note`` says where it is known from.
    """

    info: ModelInfo
    prices: tuple[Price, ...]
    deprecated: bool = False
    retired_on: str | None = None
    note: str = ""


class Catalog(Struct, frozen=True, dict=True):
    """``version`` changes with any content; ``checked`` is the day its source was read."""

    version: str
    source: str
    checked: str
    models: tuple[CatalogModel, ...]

    @cached_property
    def _named(self) -> Mapping[str, CatalogModel]:
        """Ids and aliases, in lower case."""
        names = {alias.casefold(): m for m in self.models for alias in m.info.aliases}
        return names | {model.info.id.casefold(): model for model in self.models}

    @cached_property
    def _wires(self) -> Mapping[str, CatalogModel | None]:
        """Wire names in lower case; None where several providers serve the name."""
        wires: dict[str, CatalogModel | None] = {}
        for model in self.models:
            wire = model.info.wire_name.casefold()
            wires[wire] = None if wire in wires else model
        return wires

    def find(self, name: str) -> CatalogModel | None:
        """The one model with this id, alias, or wire name; None where none or several have it.

        ``provider/alias`` is a model of that provider: "anthropic/claude-sonnet-4" is
        Anthropic's, though OpenRouter has a model of that wire name.
        """
        name = name.casefold()
        if found := self._named.get(name):
            return found
        provider, _, rest = name.partition("/")
        found = self._named.get(rest)
        if found is not None and found.info.provider == provider:
            return found
        return self._wires.get(name)


def load_catalog() -> Catalog:
    """The catalogue that came with this version of omni."""
    return _catalog(_bundled())


def apply_remote(data: bytes, *, checked: str) -> Catalog:
    """Newer prices over the bundled catalogue, for ``omni models update``.

    Args:
        data: the JSON that genai-prices publishes for its ``UpdatePrices`` (version 2).
        checked: ISO date of the download.

    Returns:
        A whole catalogue: our overrides and facts are applied as in the bundled one, and models
        that the download lacks stay as they were.

    Raises:
        ConfigError: the data is not of that form, or holds suspiciously little; nothing of it
            should then be used.
    """
    from omni_cli.catalog.convert import PROVIDERS, build_catalog, merge

    bundled = _bundled()
    try:
        providers = json.loads(data, parse_float=Decimal, parse_constant=_refuse)
        if not isinstance(providers, list):
            raise TypeError("not a list of providers")
        present = {provider["id"] for provider in providers}
        if missing := [name for name in _NEEDED if name not in present]:
            raise ValueError(f"no prices of {', '.join(missing)}")
        overrides, facts = read_tables()
        newer = build_catalog(
            providers,
            overrides,
            facts,
            source="genai-prices, downloaded",
            checked=checked,
            strict=False,
        )
        slugs = set(PROVIDERS.values())
        before = sum(m["id"].split("/", 1)[0] in slugs for m in bundled["models"])
        after = sum(m["id"].split("/", 1)[0] in slugs for m in newer["models"])
        if after < before * _LEAST_SHARE:
            raise ValueError(f"{after} models where the bundled catalogue has {before}")
        return _catalog(merge(bundled, newer))
    except (ValueError, TypeError, KeyError, AttributeError, ArithmeticError) as exc:
        raise ConfigError(
            f"the downloaded prices are not usable: {exc}",
            hint="the catalogue is unchanged; try again later",
        ) from exc


def read_tables() -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """``overrides.toml``, with ``badges.toml`` under "badges", and ``facts.toml``, if it exists."""
    import tomllib

    overrides = tomllib.loads((FOLDER / "overrides.toml").read_text("utf-8"))
    overrides["badges"] = tomllib.loads((FOLDER / "badges.toml").read_text("utf-8"))
    facts = FOLDER / "facts.toml"
    return overrides, tomllib.loads(facts.read_text("utf-8")) if facts.is_file() else {}


def _bundled() -> dict[str, Any]:
    text = (FOLDER / FILE).read_bytes()
    return cast("dict[str, Any]", json.loads(text))


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is no price")


def _catalog(data: Mapping[str, Any]) -> Catalog:
    seen: dict[str, tuple[Price, ...]] = {}
    models = tuple(_model(entry, seen, data["score_sources"]) for entry in data["models"])
    return Catalog(data["version"], data["source"], data["checked"], models)


def _model(
    entry: Mapping[str, Any], seen: dict[str, tuple[Price, ...]], texts: Sequence[str]
) -> CatalogModel:
    """``seen``: models with the same prices share them; ``texts``: the sources of scores."""
    rows = entry["prices"]
    key = repr(rows)
    prices = seen.get(key)
    if prices is None:
        prices = seen[key] = tuple(price_from_json(row) for row in rows)
    provider, wire_name = entry["id"].split("/", 1)
    info = ModelInfo(
        id=entry["id"],
        provider=provider,
        wire_name=wire_name,
        name=entry["name"],
        aliases=tuple(entry.get("aliases", ())),
        type=entry.get("type", "text"),
        context_window=entry.get("context_window"),
        max_output=entry.get("max_output"),
        input_types=tuple(entry.get("input_types", ("text",))),
        output_types=tuple(entry.get("output_types", ("text",))),
        badges=frozenset(entry.get("badges", ())),
        lacks=frozenset(entry.get("lacks", ())),
        scores=entry.get("scores", {}),
        score_sources={k: texts[i] for k, i in entry.get("score_sources", {}).items()},
        strengths=tuple(entry.get("strengths", ())),
        recommended_for=tuple(entry.get("recommended_for", ())),
        parameters_b=entry.get("parameters_b"),
        token_weights=entry.get("token_weights", {}),
        is_system=True,
    )
    return CatalogModel(
        info,
        prices,
        deprecated=entry.get("deprecated", False),
        retired_on=entry.get("retired_on"),
        note=entry.get("note", ""),
    )
