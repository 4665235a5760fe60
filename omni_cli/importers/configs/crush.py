"""crush's ``crush.json``. Format: its README and JSON Schema."""

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from omni_cli.domain.clouds import ADDRESSES, azure_base
from omni_cli.domain.secrets import Secret
from omni_cli.importers.configs.draft import Draft, Key, Place, count, decimal, price

_TYPES = {
    "openai": "openai",
    "openai-compat": "openai",
    "anthropic": "anthropic",
    "gemini": "gemini",
    "google": "gemini",
    "openrouter": "openai",
    "azure": "openai",
}
#: Clouds by crush's names of a type, or of a provider that it knows by itself.
_CLOUDS = {"bedrock": "bedrock", "vertexai": "vertex"}
#: The variables in which crush looks for what Vertex AI's address is made of.
_VERTEX = {"VERTEXAI_PROJECT": "project", "VERTEXAI_LOCATION": "region"}


def read(config: Mapping[str, Any], draft: Draft) -> None:
    slugs: dict[str, str] = {}
    for name, value in draft.table(config.get("providers"), ("providers",)).items():
        place = ("providers", name)
        one = draft.table(value, place)
        if one.get("disable") is True:
            draft.leave(place, "it is disabled")
            continue
        slug = _provider(name, one, place, draft)
        if slug is None:
            continue
        slugs[name] = slug
        for at, model in draft.tables(one.get("models"), (*place, "models")):
            _model(slug, model, at, draft)
    for slot, choice in draft.table(config.get("models"), ("models",)).items():
        place = ("models", slot)
        chosen = draft.table(choice, place)
        provider, wanted = str(chosen.get("provider")), chosen.get("model")
        slug = slugs.get(provider)
        if slug is None and draft.preset(provider, None, None) is not None:
            slug = draft.provider(provider, place)  # one that it knows by itself, as omni does
        if slug is None or not isinstance(wanted, str):
            draft.leave(place, "its provider is not carried over")
            continue
        draft.role(slot, "crush's model", [draft.model(slug, wanted)], place)
        draft.rest(
            chosen, place, ("provider", "model"), "a parameter of each call: callers send it"
        )
    known = ("$schema", "providers", "models")
    draft.rest(config, (), known, "a setting of crush's, not of a fleet")


def _provider(name: str, one: Mapping[str, Any], place: Place, draft: Draft) -> str | None:
    kind, url = one.get("type"), draft.filled(one.get("base_url"), (*place, "base_url"))
    if url is None:
        return None
    cloud = _CLOUDS.get(str(kind or name))
    if cloud and not url:
        return _cloud(cloud, one, place, draft)
    if kind is not None and str(kind) not in _TYPES:
        draft.leave((*place, "type"), "omni has no protocol of this type")
        return None
    protocol = _TYPES[str(kind)] if kind else "openai" if url else None
    if protocol == "anthropic":
        url = url.rstrip("/").removesuffix("/v1")
    known = ("id", "name", "type", "base_url", "api_key", "extra_headers", "models", "disable")
    if kind == "azure" and url:
        more = draft.table(one.get("extra_params"), (*place, "extra_params"))
        draft.rest(more, (*place, "extra_params"), ("apiVersion",), "omni has no such setting")
        version = more.get("apiVersion")
        url = azure_base(f"{url.rstrip('/')}?api-version={version}" if version else url)
    azure = ("extra_params",) if kind == "azure" else ()
    draft.rest(one, place, (*known, *azure), "omni's providers have no such setting")
    headers = draft.table(one.get("extra_headers"), (*place, "extra_headers"))
    if protocol == "anthropic":
        headers.pop("anthropic-version", None)  # omni sends it anyway
    return draft.provider(
        "google" if name == "gemini" else name,
        place,
        protocol=protocol,
        url=url,
        key=_key(one.get("api_key"), (*place, "api_key"), draft),
        key_place=(*place, "api_key"),
        name=one.get("name"),
        headers=headers,
        headers_place=(*place, "extra_headers"),
    )


def _cloud(wanted: str, one: Mapping[str, Any], place: Place, draft: Draft) -> str | None:
    """One of which no address is said: crush takes region and project from variables."""
    named = [str(model.get("id")) for _, model in draft.tables(one.get("models"), place)]
    if wanted == "vertex" and any("claude" in name for name in named):
        wanted = "vertex-anthropic"
    said = {ours: draft.variable(theirs) for theirs, ours in _VERTEX.items()}
    url = draft.cloud(wanted, said if wanted != "bedrock" else {}, place)
    known = ("id", "name", "type", "models", "disable")
    draft.rest(one, place, known, "omni's providers have no such setting")
    if url is None:
        return None
    protocol = ADDRESSES[wanted].protocol
    return draft.provider(
        wanted, place, protocol=protocol, url=url, keyed=True, name=one.get("name")
    )


def _key(value: object, place: Place, draft: Draft) -> Key:
    if not isinstance(value, str) or not value:
        return None
    if variable := re.fullmatch(r"\$(?:\{(\w+)\}|(\w+))", value):
        return variable[1] or variable[2]
    if "$" in value:
        draft.leave(place, "a key that a command prints: COMMAND | omni keys set PROVIDER keeps it")
        return None
    return Secret(value)


def _model(slug: str, model: Mapping[str, Any], at: Place, draft: Draft) -> None:
    name = model.get("id")
    if not isinstance(name, str) or not name:
        draft.leave((*at, "id"), "is no text")
        return
    cached, cache_write = _cache(model, at, draft)
    draft.model(
        slug,
        name,
        name=model["name"] if isinstance(model.get("name"), str) else None,
        context_window=count(model.get("context_window")),
        max_output=count(model.get("default_max_tokens")),
        price=price(
            "crush.json",
            input=decimal(model.get("cost_per_1m_in")),
            output=decimal(model.get("cost_per_1m_out")),
            cached=cached,
            cache_write=cache_write,
        ),
    )
    known = ("id", "name", "context_window", "default_max_tokens", "cost_per_1m_in",
             "cost_per_1m_out", "cost_per_1m_in_cached", "cost_per_1m_out_cached")  # fmt: skip
    draft.rest(model, at, known, "omni's models have no such setting")


def _cache(model: Mapping[str, Any], at: Place, draft: Draft) -> tuple[str | None, str | None]:
    """What input costs that is read from a cache, and that is written to one.

    crush charges writes by the first field and reads by the second, and so are they filled in for
    Anthropic's models; for others its README and catalogue have the price of a read in either
    field, or in both. A read costs less than plain input, and a write costs more.
    """
    plain = decimal(model.get("cost_per_1m_in"))
    reads: list[str] = []
    write = None
    for field in ("cost_per_1m_in_cached", "cost_per_1m_out_cached"):
        rate = decimal(model.get(field))
        if rate is None or rate == "0":
            continue
        if plain is None:
            draft.leave((*at, field), "no price of plain input stands beside it")
        elif Decimal(rate) <= Decimal(plain):
            reads.append(rate)
        elif field == "cost_per_1m_in_cached":
            write = rate
        else:
            draft.leave((*at, field), "more than plain input costs: no price of cached input")
    return max(reads, key=Decimal, default=None), write
