"""aichat's ``config.yaml``. Format: its ``config.example.yaml``."""

from collections.abc import Mapping
from typing import Any

from omni_cli.domain.clouds import azure_base
from omni_cli.domain.secrets import Secret
from omni_cli.importers.configs.draft import Draft, Key, count, decimal, price

#: Its client types, with whom they mean and what is spoken there.
_TYPES = {
    "openai": ("openai", "openai"),
    "openai-compatible": ("", "openai"),
    "gemini": ("google", "gemini"),
    "claude": ("anthropic", "anthropic"),
    "ollama": ("ollama", "ollama"),
    "azure-openai": ("azure", "openai"),
    "bedrock": ("bedrock", "bedrock"),
    "vertexai": ("vertex", "gemini"),
    "vertexai-claude": ("vertex-anthropic", "anthropic"),
}
#: Clouds, by what their address is made of: aichat's field, and ours.
_CLOUDS: Mapping[str, Mapping[str, str]] = {
    "bedrock": {"region": "region"},
    "vertexai": {"project_id": "project", "location": "region"},
    "vertexai-claude": {"project_id": "project", "location": "region"},
}
_MODEL = ("name", "type", "max_input_tokens", "max_output_tokens", "input_price", "output_price")


def read(config: Mapping[str, Any], draft: Draft) -> None:
    slugs: dict[str, str] = {}
    for place, client in draft.tables(config.get("clients"), ("clients",)):
        kind = str(client.get("type"))
        name = str(client.get("name") or kind)
        if kind not in _TYPES:
            draft.leave((*place, "type"), "omni has no protocol of this client type")
            continue
        wanted, protocol = _TYPES[kind]
        url = client.get("api_base")
        parts = _CLOUDS.get(kind)
        if parts is not None:
            said = {ours: client.get(theirs) for theirs, ours in parts.items()}
            url = draft.cloud(wanted, said, (*place, "type"))
            if url is None:
                continue
        elif kind == "azure-openai" and isinstance(url, str):
            url = azure_base(url)
        elif protocol == "anthropic" and isinstance(url, str):
            url = url.rstrip("/").removesuffix("/v1")
        variable = name.upper().replace("-", "_") + "_API_KEY"
        literal = client.get("api_key")
        key: Key = Secret(literal) if isinstance(literal, str) else None
        # Where it does not say, a type is at its vendor's address, whatever its name.
        vendors = bool(wanted) and not url
        own = name != kind if vendors else draft.preset(wanted or name, protocol, str(url)) is None
        if literal is None and parts is None and own and (url or vendors):
            key = variable if kind != "ollama" else None
        slug = draft.provider(
            name if client.get("name") and not vendors else wanted or name,
            place,
            name=client.get("name") if vendors else None,
            protocol=protocol,
            url=url,
            keyed=parts is not None,
            key=key,
            key_place=(*place, "api_key"),
        )
        if slug is None:
            continue
        slugs[name] = slug
        for where, model in draft.tables(client.get("models"), (*place, "models")):
            if model.get("type", "chat") == "reranker" or not isinstance(model.get("name"), str):
                draft.leave(where, "omni has no rerankers, and no models without a name")
                continue
            draft.model(
                slug,
                model["name"],
                context_window=count(model.get("max_input_tokens")),
                max_output=count(model.get("max_output_tokens")),
                price=price(
                    "aichat's config.yaml",
                    input=decimal(model.get("input_price")),
                    output=decimal(model.get("output_price")),
                ),
            )
            draft.rest(model, where, _MODEL, "omni's models have no such setting")
        carried = ("type", "name", "api_base", "api_key", "models", *(parts or ()))
        draft.rest(client, place, carried, "omni's providers have no such setting")
    _role(config.get("model"), "default", ("model",), slugs, draft)
    for place, agent in draft.tables(config.get("agents"), ("agents",)):
        if agent.get("model"):
            _role(agent["model"], str(agent.get("name")), (*place, "model"), slugs, draft)
    of_all = ("clients", "model", "agents")
    draft.rest(config, (), of_all, "a setting of aichat's, not of a fleet")


def _role(
    value: object, role: str, place: tuple[str | int, ...], slugs: Mapping[str, str], draft: Draft
) -> None:
    if not value:
        return
    client, _, model = str(value).partition(":")
    if client not in slugs or not model:
        why = "names a client and no model" if client in slugs else "its client is not carried over"
        draft.leave(place, why)
        return
    draft.role(role, "aichat's model", [draft.model(slugs[client], model)], place)
