"""llm's ``extra-openai-models.yaml``, ``keys.json`` and ``aliases.json``.

Format: llm's documentation, "Other models", "API key management" and "Model aliases". The first
names keys, which are told; they are in the second.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from omni_cli.domain.secrets import Secret
from omni_cli.importers.configs.draft import Draft, LiteralKey, host_slug
from omni_cli.written import path_of

_KNOWN = ("model_id", "model_name", "api_base", "api_key_name", "headers", "aliases")
#: What llm writes into each keys.json, and nowhere else.
_NOTE = "// Note"
#: Vendors by the names that llm and its plugins give their keys.
_VENDORS = {"claude": "anthropic", "gemini": "google", "grok": "xai"}


def read(config: Sequence[Any] | Mapping[str, Any], draft: Draft) -> None:
    if isinstance(config, Mapping):
        (_keys if _NOTE in config else _aliases)(config, draft)
        return
    for place, entry in draft.tables(list(config), ()):
        name = entry.get("model_id")
        if not isinstance(name, str) or not name:
            draft.leave((*place, "model_id"), "is no text")
            continue
        url = entry.get("api_base")
        preset = draft.preset("openai", "openai", str(url) if url else None)
        wanted = preset.slug if preset else host_slug(url, "local")
        key_name = entry.get("api_key_name")
        # A key that nobody names is not sent to another address than OpenAI's.
        variable = f"{wanted.upper().replace('-', '_')}_API_KEY"
        slug = draft.provider(
            wanted,
            (*place, "api_base"),
            protocol="openai",
            url=url,
            key=variable if key_name and preset is None else None,
            headers=draft.table(entry.get("headers"), (*place, "headers")),
            headers_place=(*place, "headers"),
        )
        if slug is None:
            continue
        if key_name:
            draft.leave(
                (*place, "api_key_name"),
                f"llm's keys are not read: llm keys get NAME | omni keys set {slug}",
            )
        model_id = draft.model(slug, str(entry.get("model_name") or name))
        draft.alias(model_id, name, (*place, "model_id"))
        for where, alias in draft.texts(entry.get("aliases"), (*place, "aliases")):
            draft.alias(model_id, alias, where)
        draft.rest(entry, place, _KNOWN, "omni's models have no such setting")


def _keys(config: Mapping[str, Any], draft: Draft) -> None:
    for name, value in config.items():
        if name == _NOTE:
            continue
        if not isinstance(value, str) or not value:
            draft.leave((str(name),), "is no text")
            continue
        slug = _VENDORS.get(name, str(name))
        key = Secret(value)
        if slug in draft.document["providers"]:
            draft.keys[slug] = LiteralKey(slug, path_of((str(name),)), key)
        else:
            draft.provider(slug, (str(name),), key=key)


def _aliases(config: Mapping[str, Any], draft: Draft) -> None:
    for name, value in config.items():
        model_id = draft.known(value) if isinstance(value, str) else None
        if model_id is None:
            draft.leave((str(name),), "no model of a provider of the fleet is called so")
        else:
            draft.alias(model_id, str(name), (str(name),))
