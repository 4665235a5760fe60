"""opencode's ``opencode.json``. Format: its documentation, "Config" and "Providers", of V1 and V2.

V2 writes ``providers`` and ``agents``, and in a provider ``package`` and ``settings`` for V1's
``npm`` and ``options``.
"""

import re
from collections.abc import Mapping
from typing import Any

from omni_cli.domain.clouds import ADDRESSES
from omni_cli.domain.secrets import Secret
from omni_cli.importers.configs.draft import Draft, Key, Place, count, decimal, price

#: Packages with a protocol of their own, by the end of their name, as in "@ai-sdk/anthropic" or
#: "@opencode/ai/providers/anthropic"; any other is a vendor's whom omni knows, or not.
_PACKAGES = {
    "openai-compatible": "openai",
    "openai": "openai-responses",
    "responses": "openai-responses",
    "chat": "openai",
    "anthropic": "anthropic",
    "anthropic-compatible": "anthropic",
    "google": "gemini",
}
#: Clouds by opencode's names: ours, and what the address is made of.
_CLOUDS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "amazon-bedrock": ("bedrock", {"region": "region"}),
    "google-vertex": ("vertex", {"project": "project", "location": "region"}),
    "google-vertex-anthropic": ("vertex-anthropic", {"project": "project", "location": "region"}),
    "azure": ("azure", {"resourceName": "resource"}),
}


def read(config: Mapping[str, Any], draft: Draft) -> None:
    off, on = (
        {text for _, text in draft.texts(config.get(field), (field,))}
        for field in ("disabled_providers", "enabled_providers")
    )
    slugs: dict[str, str] = {}
    models: dict[str, str] = {}
    for place, value in _entries(config, draft, "provider", "providers"):
        name = str(place[-1])
        if name in off or (on and name not in on):
            why = "disabled_providers names it" if name in off else "enabled_providers does not"
            draft.leave(place, why)
            continue
        one = draft.table(value, place)
        slug = _provider(name, one, place, draft)
        if slug is not None:
            slugs[name] = slug
            models |= _models(slug, one, place, draft)
    _role(config.get("model"), "default", ("model",), slugs, models, draft)
    _role(config.get("small_model"), "small", ("small_model",), slugs, models, draft)
    for place, value in _entries(config, draft, "mode", "agent", "agents"):
        agent = draft.table(value, place)
        if agent.get("disable") is True:
            draft.leave(place, "it is disabled")
            continue
        _role(agent.get("model"), str(place[-1]), (*place, "model"), slugs, models, draft)
        draft.rest(agent, place, ("model", "disable"), "a setting of opencode's, not of a fleet")
    known = ("$schema", "provider", "providers", "model", "small_model", "mode", "agent", "agents",
             "disabled_providers", "enabled_providers")  # fmt: skip
    draft.rest(config, (), known, "a setting of opencode's, not of a fleet")


def _entries(config: Mapping[str, Any], draft: Draft, *fields: str) -> list[tuple[Place, Any]]:
    return [
        ((field, name), value)
        for field in fields
        for name, value in draft.table(config.get(field), (field,)).items()
    ]


def _provider(name: str, one: Mapping[str, Any], place: Place, draft: Draft) -> str | None:
    field = "settings" if "settings" in one else "options"
    options = draft.table(one.get(field), (*place, field))
    url = draft.filled(options.get("baseURL") or one.get("api"), (*place, field, "baseURL"))
    if url is None:
        return None
    key = _key(options.get("apiKey"), (*place, field, "apiKey"), draft)
    variables = draft.texts(one.get("env"), (*place, "env"))
    if options.get("apiKey") is None and variables:
        key = variables[0][1]
    package = one.get("package") or one.get("npm")
    spoken = re.split("[/:]", str(package or ""))[-1].removesuffix("-ai-provider")
    protocol = _PACKAGES.get(spoken) if package else "openai" if url else None
    wanted = "google" if name == "gemini" else name
    vendor = draft.preset(spoken, None, None) if package and protocol is None else None
    if vendor is not None:
        protocol = vendor.protocol
        wanted, url = (wanted, url) if url else (vendor.slug, vendor.base_url)
    elif package and protocol is None:
        told = "package" if "package" in one else "npm"
        draft.leave((*place, told), "omni does not know what this package speaks")
        return None
    if protocol == "anthropic" and isinstance(url, str):
        url = url.rstrip("/").removesuffix("/v1")
    parts: Mapping[str, str] = {}
    if name in _CLOUDS and not package and not url:
        wanted, parts = _CLOUDS[name]
        protocol = ADDRESSES[wanted].protocol
        said = {
            ours: draft.filled(options.get(theirs), (*place, field, theirs))
            for theirs, ours in parts.items()
        }
        if wanted == "bedrock" and options.get("endpoint"):
            url, parts = options["endpoint"], {**parts, "endpoint": ""}
        else:
            url = draft.cloud(wanted, said, (*place, field))
        if url is None:
            return None
    known = ("npm", "package", "name", "options", "settings", "models", "id", "api", "env",
             "headers")  # fmt: skip
    draft.rest(one, place, known, "omni's providers have no such setting")
    of_options = ("baseURL", "apiKey", "headers", *parts)
    draft.rest(options, (*place, field), of_options, "omni's providers have no such setting")
    at: Place = place if "headers" in one else (*place, field)
    return draft.provider(
        wanted,
        place,
        protocol=protocol,
        url=url,
        keyed=bool(parts),
        key=key,
        key_place=(*place, field, "apiKey"),
        name=one.get("name"),
        headers=draft.table(one.get("headers") or options.get("headers"), (*at, "headers")),
        headers_place=(*at, "headers"),
    )


def _key(value: object, place: Place, draft: Draft) -> Key:
    if not isinstance(value, str):
        return None
    if variable := re.fullmatch(r"\{env:(\w+)\}", value):
        return variable[1]
    if re.search(r"\{(env|file):", value):
        draft.leave(place, "a key in a file of its own: omni keys set PROVIDER < FILE keeps it")
        return None
    return Secret(value)


def _models(slug: str, one: Mapping[str, Any], place: Place, draft: Draft) -> dict[str, str]:
    """Ids by what the file calls them, as in "provider/name"."""
    found: dict[str, str] = {}
    for name, value in draft.table(one.get("models"), (*place, "models")).items():
        at = (*place, "models", name)
        model = draft.table(value, at)
        limit = draft.table(model.get("limit"), (*at, "limit"))
        cost = draft.table(model.get("cost"), (*at, "cost"))
        wire_name = str(model.get("id") or model.get("modelID") or name)
        model_id = draft.model(
            slug,
            wire_name,
            name=model["name"] if isinstance(model.get("name"), str) else None,
            context_window=count(limit.get("context")),
            max_output=count(limit.get("output")),
            price=price(
                "opencode.json",
                input=decimal(cost.get("input")),
                output=decimal(cost.get("output")),
                cached=decimal(cost.get("cache_read")),
                cache_write=decimal(cost.get("cache_write")),
            ),
        )
        if name != wire_name:
            draft.alias(model_id, name, at)
        found[f"{place[-1]}/{name}"] = model_id
        known = ("id", "modelID", "name", "limit", "cost")
        draft.rest(model, at, known, "omni's models have no such setting")
    return found


def _role(
    value: object,
    role: str,
    place: Place,
    slugs: Mapping[str, str],
    models: Mapping[str, str],
    draft: Draft,
) -> None:
    if not value:
        return
    provider, _, model = str(value).partition("/")
    slug = slugs.get(provider)
    if slug is None and draft.preset(provider, None, None) is not None:
        slug = draft.provider(provider, place)  # one that it knows by itself, as omni does
    if slug is None or not model:
        draft.leave(place, "its provider is not carried over")
        return
    model_id = models.get(str(value)) or draft.model(slug, model)
    draft.role(role, "opencode's model", [model_id], place)
