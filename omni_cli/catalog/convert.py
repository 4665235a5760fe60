"""From the source's provider list, our overrides and facts to the catalogue's JSON form.

The form: ``{"version", "source", "checked", "score_sources": [...], "models": [...]}``; a model
holds the fields of ``ModelInfo`` that are not at their default, ``deprecated``, ``retired_on``,
``note``, and ``prices`` as ``price_to_json`` writes them, oldest first. Its own
``score_sources`` are by capability, as positions in the list at the top, which few texts fill.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from msgspec import Struct, field

from omni_cli.catalog.timeline import price_rows
from omni_cli.domain.models import BADGES

Clause = Mapping[str, Any]

#: A version or date that a provider appends for a frozen or a floating version of one model.
_SNAPSHOT = re.compile(r"-(latest|\d{8}|\d{4}-\d{2}-\d{2}|\d{4})$")


def matches(clause: Clause, name: str) -> bool:
    """Does ``clause`` accept ``name``? Case does not count, except in a regular expression.

    Raises ValueError for a clause of an unknown kind.
    """
    (kind, value), *rest = clause.items()
    if rest:
        raise ValueError(f"a clause has one key, not {sorted(clause)}")
    name = name.lower()
    match kind:
        case "or":
            return any(matches(part, name) for part in value)
        case "and":
            return all(matches(part, name) for part in value)
        case "regex":
            return re.search(value, name) is not None
        case "equals":
            return bool(name == value.lower())
        case "starts_with":
            return name.startswith(value.lower())
        case "ends_with":
            return name.endswith(value.lower())
        case "contains":
            return value.lower() in name
    raise ValueError(f"unknown clause {kind!r}")


def _written_out(clause: Clause) -> Iterator[str]:
    for kind, value in clause.items():
        if kind == "equals":
            yield value
        elif kind == "or":
            for part in value:
                yield from _written_out(part)


def first_match(models: Sequence[Mapping[str, Any]], name: str) -> Mapping[str, Any] | None:
    """The model that the source would price ``name`` as: the first that accepts it."""
    return next((m for m in models if matches(m["match"], name)), None)


def spelling(name: str) -> str:
    """Equal for two spellings of one name: case, and "." against "-" in a version."""
    return name.casefold().replace(".", "-")


def wire_names(
    model: Mapping[str, Any], models: Sequence[Mapping[str, Any]]
) -> tuple[dict[str, tuple[str, ...]], str | None]:
    """The concrete names of ``model`` and the main one of them.

    Args:
        model: one of ``models``, as in the source.
        models: all models of its provider, in the source's order.

    Returns:
        name -> other spellings of it, in the source's order, and the name that stands for the
        model itself (its id where that is a name), or None where no name is written out.
    """
    groups: dict[str, list[str]] = {}
    for name in dict.fromkeys((model["id"], *_written_out(model["match"]))):
        if first_match(models, name) is model:
            groups.setdefault(spelling(name), []).append(name)
    names: dict[str, tuple[str, ...]] = {}
    for group in groups.values():
        # Where case is the only difference, the lower-case spelling is the API's.
        main = next((n for n in group if n == group[0].lower()), group[0])
        others = tuple(n for n in group if n.casefold() != main.casefold())
        names[main] = others
    return names, next(iter(names), None)


def is_snapshot(name: str, of: str) -> bool:
    """Is ``name`` a frozen or floating version of the model named ``of``?"""
    return name == of or base_name(name) == base_name(of)


def base_name(name: str) -> str:
    """``name`` without the date or "latest" that ends it: "gpt-4o-2024-08-06" -> "gpt-4o"."""
    return _SNAPSHOT.sub("", name)


#: The source's provider ids, and omni's slugs for those that differ.
PROVIDERS: Mapping[str, str] = {
    "anthropic": "anthropic",
    "openai": "openai",
    "google": "google",
    "openrouter": "openrouter",
    "groq": "groq",
    "deepseek": "deepseek",
    "moonshotai": "moonshot",
    "mistral": "mistral",
    "perplexity": "perplexity",
    "x-ai": "xai",
    "cerebras": "cerebras",
    "zai": "zai",
}
_FACT_FIELDS = (
    "type",
    "context_window",
    "max_output",
    "input_types",
    "output_types",
    "badges",
    "scores",
    "strengths",
    "recommended_for",
    "parameters_b",
    "token_weights",
)

_CANONICAL_SLUG = re.compile(r"-\d{8}$")

Model = dict[str, Any]


class _Work(Struct):
    """``strict``: an override or fact about a model that is not there is an error."""

    overrides: Mapping[str, Any]
    strict: bool
    models: dict[str, Model] = field(default_factory=dict)
    #: Other spellings of wire names: taken as aliases only where nothing else has the name.
    spellings: dict[str, tuple[str, ...]] = field(default_factory=dict)


def build_catalog(
    providers: Sequence[Mapping[str, Any]],
    overrides: Mapping[str, Any],
    facts: Mapping[str, Any],
    *,
    source: str,
    checked: str,
    strict: bool = True,
) -> dict[str, Any]:
    """The catalogue's JSON form; the same input gives the same bytes.

    Args:
        providers: the source's provider objects (its JSON form, version 2).
        overrides: the parsed ``overrides.toml``, and under "badges" ``badges.toml``.
        facts: the parsed ``facts.toml``; may be empty.
        source: name and version of the source, for the prices' ``source``.
        checked: ISO date on which the source was read.
        strict: False passes over overrides and facts whose model the source no longer has.

    Raises:
        ValueError: the source is not of the expected form, or names are not unique.
    """
    work = _Work(overrides, strict)
    for provider in providers:
        if slug := PROVIDERS.get(provider["id"]):
            _add_provider(work, provider, slug, source, checked)
    for model in overrides.get("model", ()):
        work.models[model["id"]] = dict(model)
    _apply_prices(work)
    _apply_retirements(work)
    _apply_kinds(work)
    _apply_facts(work, facts)
    _apply_badges(work)
    _apply_aliases(work)
    models = [work.models[key] for key in sorted(work.models)]
    return {
        "version": f"{checked}-{_digest(models)}",
        "source": source,
        "checked": checked,
        "score_sources": _share_score_sources(models),
        "models": models,
    }


def _share_score_sources(models: Sequence[Model]) -> list[str]:
    texts = sorted({text for m in models for text in m.get("score_sources", {}).values()})
    place = {text: i for i, text in enumerate(texts)}
    for model in models:
        if said := model.get("score_sources"):
            model["score_sources"] = {name: place[text] for name, text in said.items()}
    return texts


def _digest(models: Sequence[Model]) -> str:
    return hashlib.sha256(json.dumps(models, sort_keys=True).encode()).hexdigest()[:12]


def merge(base: Mapping[str, Any], newer: Mapping[str, Any]) -> dict[str, Any]:
    """``newer`` over ``base``: a model that ``newer`` lacks stays, so that no name is lost."""
    texts = [*base["score_sources"], *newer["score_sources"]]
    shift = len(base["score_sources"])
    by_id = {model["id"]: model for model in base["models"]}
    for model in newer["models"]:
        said = {k: place + shift for k, place in model.get("score_sources", {}).items()}
        by_id[model["id"]] = model | ({"score_sources": said} if said else {})
    models = [by_id[key] for key in sorted(by_id)]
    taken = {key.casefold(): key for key in by_id}
    for model in models:
        for alias in model.get("aliases", ()):
            if taken.setdefault(alias.casefold(), model["id"]) != model["id"]:
                raise ValueError(f"two models are called {alias!r}")
    version = f"{newer['checked']}-{_digest(models)}"
    return {**newer, "version": version, "score_sources": texts, "models": models}


def _add_provider(
    work: _Work, provider: Mapping[str, Any], slug: str, source: str, checked: str
) -> None:
    models = provider["models"]
    urls = provider.get("pricing_urls") or ()
    origin = f"{source}: {urls[0]}" if urls else source
    for model in models:
        names, main = wire_names(model, models)
        rows = [{**row, "source": origin, "source_date": checked} for row in price_rows(model)]
        for named in work.overrides.get("name", ()):
            if named["of"] == f"{provider['id']}/{model['id']}":
                # The source knows the model by pattern only; its real names are ours to give.
                main = named["wire"]
                aliases = tuple(named.get("aliases", ()))
                rest = {n: o for n, o in names.items() if n != main and n not in aliases}
                names = {main: aliases, **rest}
        if slug == "openrouter":
            names = _without_canonical_slugs(names, main)
        for name, others in names.items():
            key = f"{slug}/{name}"
            if key in work.models or _dropped(work, slug, name):
                continue
            own = main is not None and is_snapshot(name, main)
            title = model.get("name") if name == main else None
            entry: Model = {"id": key, "name": title or name}
            if own and model.get("context_window"):
                entry["context_window"] = model["context_window"]
            if model.get("deprecated"):
                entry["deprecated"] = True
            entry["prices"] = rows
            work.models[key] = entry
            work.spellings[key] = others


def _without_canonical_slugs(
    names: Mapping[str, tuple[str, ...]], main: str | None
) -> dict[str, tuple[str, ...]]:
    """OpenRouter's dated slug ("openai/gpt-5.2-20251211") is the same endpoint as its short one."""
    dated = tuple(n for n in names if n != main and _CANONICAL_SLUG.search(n))
    return {n: (*o, *(dated if n == main else ())) for n, o in names.items() if n not in dated}


def _dropped(work: _Work, slug: str, name: str) -> bool:
    return any(
        rule["provider"] in (slug, "*") and re.search(rule["pattern"], name)
        for rule in work.overrides.get("drop", ())
    )


def _found(work: _Work, key: str, what: str) -> Model | None:
    model = work.models.get(key)
    if model is None and work.strict:
        raise ValueError(f"{what} is about {key!r}, which is not in the catalogue")
    return model


def _apply_prices(work: _Work) -> None:
    for entry in work.overrides.get("price", ()):
        if model := _found(work, entry["id"], "a price override"):
            common = {k: entry[k] for k in ("source", "source_date")}
            model["prices"] = [{**common, **row} for row in entry["rows"]]


def _apply_retirements(work: _Work) -> None:
    for entry in work.overrides.get("retired", ()):
        for key in entry["ids"]:
            if model := _found(work, key, "a retirement"):
                model["deprecated"] = True
                model["retired_on"] = entry["on"]
                model["note"] = f"shut down on {entry['on']} ({entry['source']})"
    for key, title in work.overrides.get("titles", {}).items():
        if model := _found(work, key, "a title"):
            model["name"] = title


def _apply_kinds(work: _Work) -> None:
    """What a model takes and gives, by the words of its name ("embed", "tts", ...)."""
    for model in work.models.values():
        for rule in work.overrides.get("kind", ()):
            if re.search(rule["pattern"], model["id"].split("/", 1)[1].lower()):
                for name in ("input_types", "output_types"):
                    if name in rule:
                        model.setdefault(name, rule[name])
                break


def _apply_facts(work: _Work, facts: Mapping[str, Any]) -> None:
    for key, table in facts.items():
        if model := _found(work, _canonical(work, key), "a fact"):
            model.update({name: table[name] for name in _FACT_FIELDS if name in table})
            if table.get("type") == "text" and "image" not in table.get("input_types", ("image",)):
                model["lacks"] = ["vision"]
            origin = ", ".join(str(table[k]) for k in ("source", "date") if k in table)
            if "scores" in table:
                said = table.get("score_sources", {})
                model["score_sources"] = {name: said.get(name, origin) for name in table["scores"]}


def _apply_badges(work: _Work) -> None:
    """Badges that others' lists give, that names speak of, and of a variant's plain model."""
    tables = work.overrides.get("badges", {})
    for said in tables.get("said", ()):
        for badge in BADGES:
            for key in said.get(badge, ()):
                if model := _found(work, _canonical(work, key), f"the badge {badge}"):
                    _give(model, badge)
    for named in tables.get("named", ()):
        for key, model in work.models.items():
            speaks = "text" in model.get("output_types", ("text",))
            if speaks and re.search(named["pattern"], key.split("/", 1)[1].lower()):
                _give(model, named["badge"])
    for key, model in work.models.items():
        plain, colon, suffix = key.rpartition(":")
        base = work.models.get(plain)
        if base is not None and f"{colon}{suffix}" in tables.get("variants", ()):
            if "badges" not in model:
                inherited = ("type", "input_types", "output_types", "lacks")
                model.update({name: base[name] for name in inherited if name in base})
            for badge in base.get("badges", ()):
                _give(model, badge)


def _give(model: Model, badge: str) -> None:
    """A badge more, unless a fact says that the model lacks it."""
    if badge in model.get("lacks", ()):
        return
    have = {*model.get("badges", ()), badge}
    model["badges"] = [name for name in BADGES if name in have]
    if badge == "vision":
        model.setdefault("type", "multimodal")
        model.setdefault("input_types", ["text", "image"])


def _canonical(work: _Work, key: str) -> str:
    """The id that ``key`` stands for, where it is another spelling of a model's own name."""
    slug = key.split("/", 1)[0]
    for model, others in work.spellings.items():
        if model.startswith(f"{slug}/") and key in {f"{slug}/{o}" for o in others}:
            return model
    return key


def _apply_aliases(work: _Work) -> None:
    owners: dict[str, str] = {}
    for alias, key in work.overrides.get("aliases", {}).items():
        if model := _found(work, key, f"the alias {alias!r}"):
            if owners.setdefault(alias.casefold(), key) != key:
                raise ValueError(f"the alias {alias!r} is given to two models")
            model.setdefault("aliases", []).append(alias)
    # A wire name is nobody else's alias, unless the overrides say so.
    wire_names_in_use = {k.casefold() for k in work.models} | {
        k.split("/", 1)[1].casefold() for k in work.models
    }
    free = _only_once(
        (alias, key)
        for key, others in work.spellings.items()
        for alias in others
        if alias.casefold() not in wire_names_in_use and alias.casefold() not in owners
    )
    for alias, key in free:
        work.models[key].setdefault("aliases", []).append(alias)
    for model in work.models.values():
        if "aliases" in model:
            model["aliases"] = sorted(model["aliases"], key=str.casefold)
    ids = {key.casefold(): key for key in work.models}
    for alias, key in owners.items():
        if ids.get(alias, key) != key:
            raise ValueError(f"the alias {alias!r} is the id of another model")


def _only_once(pairs: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    found: dict[str, list[tuple[str, str]]] = {}
    for alias, key in pairs:
        found.setdefault(alias.casefold(), []).append((alias, key))
    return (same[0] for same in found.values() if len(same) == 1)
