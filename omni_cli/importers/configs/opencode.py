"""opencode's ``opencode.json``. Format: its documentation, "Config" and "Providers"."""

import re
from collections.abc import Mapping
from typing import Any

from omni_cli.domain.clouds import ADDRESSES
from omni_cli.domain.secrets import Secret
from omni_cli.importers.configs.draft import Draft, Key, Place, count, decimal, price

#: Packages of the AI SDK with a protocol of their own; of any other the rest of its name is asked.
_PACKAGES = {
    "@ai-sdk/openai-compatible": "openai",
    "@ai-sdk/openai": "openai-responses",
    "@ai-sdk/anthropic": "anthropic",
    "@ai-sdk/google": "gemini",
}
#: Clouds by opencode's names: ours, and what the address is made of.
_CLOUDS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "amazon-bedrock": ("bedrock", {"region": "region"}),
    "google-vertex": ("vertex", {"project": "project", "location": "region"}),
    "google-vertex-anthropic": ("vertex-anthropic", {"project": "project", "location": "region"}),
    "azure": ("azure", {"resourceName": "resource"}),
}


def read(config: Mapping[str, Any], draft: Draft) -> None:
    off = {text for _, text in draft.texts(config.get("disabled_providers"), ("disabled",))}
    slugs: dict[str, str] = {}
    for name, value in draft.table(config.get("provider"), ("provider",)).items():
        place = ("provider", name)
        if name in off:
            draft.leave(place, "disabled_providers names it")
            continue
        one = draft.table(value, place)
        slug = _provider(name, one, place, draft)
        if slug is not None:
            slugs[name] = slug
            _models(slug, one, place, draft)
    _role(config.get("model"), "default", ("model",), slugs, draft)
    _role(config.get("small_model"), "small", ("small_model",), slugs, draft)
    for name, value in draft.table(config.get("agent"), ("agent",)).items():
        agent = draft.table(value, ("agent", name))
        _role(agent.get("model"), name, ("agent", name, "model"), slugs, draft)
    known = ("$schema", "provider", "model", "small_model", "agent", "disabled_providers")
    draft.rest(config, (), known, "a setting of opencode's, not of a fleet")


def _provider(name: str, one: Mapping[str, Any], place: Place, draft: Draft) -> str | None:
    options = draft.table(one.get("options"), (*place, "options"))
    url = options.get("baseURL")
    package = one.get("npm")
    protocol = _PACKAGES.get(str(package)) if package else "openai" if url else None
    if package and protocol is None:
        draft.leave((*place, "npm"), "omni does not know what this package speaks")
        return None
    if protocol == "anthropic" and isinstance(url, str):
        url = url.rstrip("/").removesuffix("/v1")
    wanted = "google" if name == "gemini" else name
    parts: Mapping[str, str] = {}
    if name in _CLOUDS and not package and not url:
        wanted, parts = _CLOUDS[name]
        said = {ours: options.get(theirs) for theirs, ours in parts.items()}
        protocol, url = ADDRESSES[wanted].protocol, draft.cloud(wanted, said, (*place, "options"))
        if url is None:
            return None
    known = ("npm", "name", "options", "models", "id")
    draft.rest(one, place, known, "omni's providers have no such setting")
    of_options = ("baseURL", "apiKey", "headers", *parts)
    draft.rest(options, (*place, "options"), of_options, "omni's providers have no such setting")
    return draft.provider(
        wanted,
        place,
        protocol=protocol,
        url=url,
        keyed=bool(parts),
        key=_key(options.get("apiKey"), (*place, "options", "apiKey"), draft),
        key_place=(*place, "options", "apiKey"),
        name=one.get("name"),
        headers=draft.table(options.get("headers"), (*place, "options", "headers")),
        headers_place=(*place, "options", "headers"),
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


def _models(slug: str, one: Mapping[str, Any], place: Place, draft: Draft) -> None:
    for name, value in draft.table(one.get("models"), (*place, "models")).items():
        at = (*place, "models", name)
        model = draft.table(value, at)
        limit = draft.table(model.get("limit"), (*at, "limit"))
        cost = draft.table(model.get("cost"), (*at, "cost"))
        wire_name = str(model.get("id") or name)
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
        known = ("id", "name", "limit", "cost")
        draft.rest(model, at, known, "omni's models have no such setting")


def _role(value: object, role: str, place: Place, slugs: Mapping[str, str], draft: Draft) -> None:
    if not value:
        return
    provider, _, model = str(value).partition("/")
    slug = slugs.get(provider)
    if slug is None and draft.preset(provider, None, None) is not None:
        slug = draft.provider(provider, place)  # one that it knows by itself, as omni does
    if slug is None or not model:
        draft.leave(place, "its provider is not carried over")
        return
    draft.role(role, "opencode's model", [draft.model(slug, model)], place)
