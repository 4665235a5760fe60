"""llm's ``extra-openai-models.yaml``. Format: llm's documentation, "Other models".

Its keys are in a file of its own under names; the names are told, the keys are not read.
"""

from collections.abc import Sequence
from typing import Any

from omni_cli.importers.configs.draft import Draft, host_slug

_KNOWN = ("model_id", "model_name", "api_base", "api_key_name", "headers", "aliases")


def read(config: Sequence[Any], draft: Draft) -> None:
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
