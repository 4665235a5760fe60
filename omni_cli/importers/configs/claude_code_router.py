"""claude-code-router's ``config.json``.

Format: its README. Its slots become roles, and rules that lead from the default one to the others.
"""

import re
from collections.abc import Mapping
from typing import Any

from omni_cli.domain.secrets import Secret
from omni_cli.importers.configs.draft import Draft, Key, Place, count

_SLOTS = {
    "default": "what has no slot of its own (claude-code-router)",
    "background": "small jobs in the background (claude-code-router)",
    "think": "reasoning and plans (claude-code-router)",
    "longContext": "long prompts (claude-code-router)",
    "webSearch": "web searches (claude-code-router)",
    "image": "images (claude-code-router)",
}
#: What it looks for in a request, in the order in which it does.
_WHEN = {
    "background": "background",
    "webSearch": "webSearch",
    "think": "thinking",
    "image": "hasImages",
}
#: Of its transformers, those that only say which vendor's dialect is spoken.
_DIALECTS = frozenset({"openai", "openrouter", "deepseek", "groq", "cerebras"})
#: What it takes for a long prompt where the file does not say, in tokens.
_LONG = 60_000


def read(config: Mapping[str, Any], draft: Draft) -> None:
    providers: dict[str, tuple[str, dict[str, str]]] = {}
    for place, one in draft.tables(_either(config, "Providers", "providers"), ("Providers",)):
        name = one.get("name")
        if not isinstance(name, str) or not name:
            draft.leave((*place, "name"), "is no text")
            continue
        slug = _provider(name, one, place, draft)
        if slug is None:
            continue
        models = {
            wire_name: draft.model(slug, wire_name)
            for _, wire_name in draft.texts(one.get("models"), (*place, "models"))
        }
        if name.lower() in providers:
            why = "a second one of this name, which means {} from here on, as in claude-code-router"
            draft.leave((*place, "name"), why.format(slug))
        providers[name.lower()] = slug, models
        known = ("name", "api_base_url", "api_key", "models", "transformer")
        draft.rest(one, place, known, "omni's providers have no such setting")
    router = draft.table(_either(config, "Router", "router"), ("Router",))
    found = {
        slot: model
        for slot in _SLOTS
        if (model := _model(router.get(slot), ("Router", slot), providers, draft)) is not None
    }
    others = draft.table(config.get("fallback"), ("fallback",))
    draft.rest(others, ("fallback",), found, "the Router has no such slot")
    for slot, model in found.items():
        next_ones = (
            _model(text, at, providers, draft)
            for at, text in draft.texts(others.get(slot), ("fallback", slot))
        )
        links = dict.fromkeys((model, *filter(None, next_ones)))
        draft.role(slot, _SLOTS[slot], list(links), ("Router", slot))
    if "longContext" in found:
        most = count(router.get("longContextThreshold")) or _LONG
        draft.rule(f"role == 'default' && inputTokens > {most}", found["longContext"])
    for slot, holds in _WHEN.items():
        if slot in found:
            draft.rule(f"role == 'default' && {holds}", found[slot])
    draft.rest(router, ("Router",), (*_SLOTS, "longContextThreshold"), "no slot that omni knows")
    if config.get("APIKEY"):
        draft.leave(("APIKEY",), "omni keys create NAME makes the keys that callers send")
    of_all = ("Providers", "providers", "Router", "router", "APIKEY", "fallback")
    draft.rest(config, (), of_all, "omni's fleet has no such setting")


def _either(config: Mapping[str, Any], *names: str) -> object:
    return next((config[name] for name in names if name in config), None)


def _provider(name: str, one: Mapping[str, Any], place: Place, draft: Draft) -> str | None:
    uses = _transformers(one.get("transformer"), (*place, "transformer"), draft)
    url = draft.filled(one.get("api_base_url"), (*place, "api_base_url"))
    if url is None:
        return None
    url, protocol = url.rstrip("/"), "openai"
    if "Anthropic" in uses or url.endswith("/v1/messages"):
        protocol, url = "anthropic", url.removesuffix("/messages").removesuffix("/v1")
    elif "gemini" in uses:
        protocol, url = "gemini", url.removesuffix("/models")
    for use in sorted(uses - _DIALECTS - {"Anthropic", "gemini"}):
        draft.leave((*place, "transformer", use), "omni has no transformers")
    if uses & {"vertex-gemini", "vertex-claude", "gemini-cli", "qwen-cli", "rovo-cli"}:
        draft.leave(place, "omni has no protocol for what this transformer reaches")
        return None
    return draft.provider(
        name,
        (*place, "api_base_url"),
        protocol=protocol,
        url=url,
        key=_key(one.get("api_key")),
        key_place=(*place, "api_key"),
    )


def _transformers(value: object, place: Place, draft: Draft) -> set[str]:
    """Those of the provider; options and those of a single model are left out, by name."""
    table = draft.table(value, place)
    uses = set()
    for number, use in enumerate(table.get("use") or ()):
        if isinstance(use, list) and use and isinstance(use[0], str):
            uses.add(use[0])
            if len(use) > 1 and use[0] in (*_DIALECTS, "gemini", "Anthropic"):
                draft.leave((*place, "use", number), "options of a transformer")
        elif isinstance(use, str):
            uses.add(use)
    draft.rest(table, place, ("use",), "transformers of one model: omni has none")
    return uses


def _key(value: object) -> Key:
    if not isinstance(value, str) or not value:
        return None
    variable = re.fullmatch(r"\$(?:\{(\w+)\}|(\w+))", value)
    return (variable[1] or variable[2]) if variable else Secret(value)


def _model(
    value: object,
    place: Place,
    providers: Mapping[str, tuple[str, dict[str, str]]],
    draft: Draft,
) -> str | None:
    """The model that "provider,model" means."""
    if not value:
        return None
    provider, _, wire_name = str(value).partition(",")
    slug, models = providers.get(provider.strip().lower(), ("", {}))
    if not slug or not wire_name.strip():
        draft.leave(place, "its provider is not carried over")
        return None
    wire_name = wire_name.strip()
    return models.get(wire_name) or draft.model(slug, wire_name)
