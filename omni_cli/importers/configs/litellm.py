"""LiteLLM's proxy ``config.yaml``.

Format: LiteLLM's documentation, "Config.yaml", "Fallbacks", "Load balancing", "Budget routing".
A model group of one deployment is a model with the group's name as alias; one of several, or with
fallbacks, is a chain of that name.
"""

from collections.abc import Mapping
from typing import Any

from omni_cli.domain.clouds import ADDRESSES, azure_base
from omni_cli.domain.models import CALL_SETTINGS, MAX_RETRIES_RANGE, TIMEOUT_MS_RANGE
from omni_cli.domain.secrets import Secret
from omni_cli.importers.configs.draft import Draft, Key, Place, count, decimal, host_slug, price

#: Prefixes of a model and whom they mean; without an address the vendor's own is meant.
_PREFIXES: Mapping[str, tuple[str, str]] = {
    "openai": ("openai", "openai"),
    "text-completion-openai": ("openai", "openai"),
    "custom_openai": ("openai", "openai"),
    "hosted_vllm": ("vllm", "openai"),
    "lm_studio": ("lmstudio", "openai"),
    "llamafile": ("llamafile", "openai"),
    "xinference": ("xinference", "openai"),
    "litellm_proxy": ("litellm", "openai"),
    "anthropic": ("anthropic", "anthropic"),
    "gemini": ("google", "gemini"),
    "ollama": ("ollama", "ollama"),
    "ollama_chat": ("ollama", "ollama"),
    "openrouter": ("openrouter", "openai"),
    "groq": ("groq", "openai"),
    "deepseek": ("deepseek", "openai"),
    "moonshot": ("moonshot", "openai"),
    "mistral": ("mistral", "openai"),
    "perplexity": ("perplexity", "openai"),
    "xai": ("xai", "openai"),
    "cerebras": ("cerebras", "openai"),
    "together_ai": ("together", "openai"),
    "zai": ("zai", "openai"),
}
#: Prefixes of those whom omni does not know, with their address, which LiteLLM has built in.
_ELSEWHERE: Mapping[str, tuple[str, str]] = {
    "fireworks_ai": ("fireworks", "https://api.fireworks.ai/inference/v1"),
    "nvidia_nim": ("nvidia", "https://integrate.api.nvidia.com/v1"),
    "deepinfra": ("deepinfra", "https://api.deepinfra.com/v1/openai"),
    "sambanova": ("sambanova", "https://api.sambanova.ai/v1"),
    "dashscope": ("dashscope", "https://dashscope-intl.aliyuncs.com/compatible-mode/v1"),
}
_UNSPOKEN = frozenset(("azure_ai", "sagemaker", "sagemaker_chat", "watsonx"))
#: Clouds, by what their address is made of: LiteLLM's parameter, and ours.
_CLOUDS: Mapping[str, Mapping[str, str]] = {
    "azure": {"api_version": "api-version"},
    "bedrock": {"aws_region_name": "region"},
    "vertex_ai": {"vertex_project": "project", "vertex_location": "region"},
}
_PARAMS = ("model", "api_key", "api_base", "base_url", "extra_headers", "timeout", "max_retries",
           "max_budget", "budget_duration", "litellm_credential_name", "input_cost_per_token",
           "output_cost_per_token", "rpm")  # fmt: skip
_INFO = ("input_cost_per_token", "output_cost_per_token", "cache_read_input_token_cost",
         "cache_creation_input_token_cost", "max_input_tokens", "max_output_tokens", "max_tokens",
         "mode", "id", "base_model", "rpm")  # fmt: skip
_ENV = "os.environ/"


def read(config: Mapping[str, Any], draft: Draft) -> None:
    router = draft.table(config.get("router_settings"), ("router_settings",))
    module = draft.table(config.get("litellm_settings"), ("litellm_settings",))
    general = draft.table(config.get("general_settings"), ("general_settings",))
    credentials = {
        str(one.get("credential_name")): draft.table(
            one.get("credential_values"), (*place, "credential_values")
        )
        for place, one in draft.tables(config.get("credential_list"), ("credential_list",))
    }
    retries = next(
        (t["num_retries"] for t in (router, module) if type(t.get("num_retries")) is int), None
    )
    seconds = next(
        (
            t[name]
            for t, name in ((router, "timeout"), (module, "request_timeout"))
            if _seconds(t.get(name))
        ),
        None,
    )
    common: dict[str, Any] = {}
    if retries is not None:
        common["max_retries"] = min(max(retries, MAX_RETRIES_RANGE[0]), MAX_RETRIES_RANGE[1])
    if seconds is not None:
        common["timeout_ms"] = _ms(seconds)
    groups: dict[str, list[dict[str, Any]]] = {}
    places: dict[str, Place] = {}
    slugs: dict[str, list[str]] = {}
    for place, entry in draft.tables(config.get("model_list"), ("model_list",)):
        name = entry.get("model_name")
        if not isinstance(name, str) or not name:
            draft.leave((*place, "model_name"), "is no text")
            continue
        places.setdefault(name, (*place, "model_name"))
        groups.setdefault(name, [])
        link = _deployment(entry, place, draft, credentials, slugs, name)
        if link is not None:
            groups[name].append({**common, **link})
        draft.rest(entry, place, ("model_name", "litellm_params", "model_info", "rpm"), _NOWHERE)
    fallbacks = _fallbacks(draft, router, module, groups)
    for name, links in groups.items():
        place = places[name]
        if "*" in name or not links:
            continue
        if len(links) > 1 and not fallbacks.get(name):
            draft.leave(place, "its deployments are asked in the file's order, the next one where "
                        "one fails; requests are not spread over them")  # fmt: skip
        own = links[0].keys() - common.keys() - {"model"}
        if len(links) == 1 and not fallbacks.get(name) and not own:
            draft.alias(links[0]["model"], name, place)
        else:
            draft.chain(name, [*links, *fallbacks.get(name, ())], place)
    _group_aliases(draft, router, groups, fallbacks)
    _budgets(draft, router, module, general, slugs)
    if "master_key" in general:
        draft.leave(
            ("general_settings", "master_key"),
            "omni keys create NAME makes the keys that callers of the gateway send",
        )
    draft.rest(general, ("general_settings",), ("master_key", *_BUDGET), _NOWHERE)
    draft.rest(
        router,
        ("router_settings",),
        ("num_retries", "timeout", *_FALLBACKS, "model_group_alias", "provider_budget_config"),
        _NOWHERE,
    )
    draft.rest(
        module,
        ("litellm_settings",),
        ("num_retries", "request_timeout", *_FALLBACKS, *_BUDGET),
        _NOWHERE,
    )
    draft.rest(
        config,
        (),
        (
            "model_list",
            "router_settings",
            "litellm_settings",
            "general_settings",
            "credential_list",
        ),
        _NOWHERE,
    )


_NOWHERE = "omni's fleet has no such setting"
_BUDGET = ("max_budget", "budget_duration")
_FALLBACKS = ("fallbacks", "default_fallbacks")


def _deployment(
    entry: Mapping[str, Any],
    place: Place,
    draft: Draft,
    credentials: Mapping[str, Mapping[str, Any]],
    slugs: dict[str, list[str]],
    group: str,
) -> dict[str, Any] | None:
    """A link to the model; None where it cannot be carried over, or is all of a provider's."""
    at = (*place, "litellm_params")
    params = draft.table(entry.get("litellm_params"), at)
    info = draft.table(entry.get("model_info"), (*place, "model_info"))
    credential = params.get("litellm_credential_name")
    params = {**credentials.get(str(credential), {}), **params} if credential else params
    if credential and str(credential) not in credentials:
        draft.leave((*at, "litellm_credential_name"), "no credential_list entry has this name")
        return None
    text = params.get("model")
    if not isinstance(text, str) or not text:
        draft.leave((*at, "model"), "is no text")
        return None
    prefix, slash, wire_name = text.partition("/")
    if not slash:
        prefix, wire_name = _vendor(text), text
    if prefix in _UNSPOKEN:
        draft.leave((*at, "model"), f"omni has no protocol of {prefix}; {group!r} goes without it")
        return None
    if prefix not in _PREFIXES and prefix not in _CLOUDS and prefix not in _ELSEWHERE:
        draft.leave((*at, "model"), f"omni cannot tell which provider this is; {group!r} goes "
                    "without it")  # fmt: skip
        return None
    if not wire_name:
        draft.leave((*at, "model"), "names a provider and no model of it")
        return None
    cloud = prefix in _CLOUDS
    key = _key(params.get("api_key"))
    if cloud:
        wire_name = wire_name.removeprefix("converse/").removeprefix("invoke/")
        wanted = "vertex" if prefix == "vertex_ai" else prefix
        wanted += "-anthropic" if wanted == "vertex" and "claude" in wire_name else ""
        protocol, url = ADDRESSES[wanted].protocol, _cloud(prefix, wanted, params, at, draft)
    elif prefix in _ELSEWHERE:
        (wanted, usual), protocol = _ELSEWHERE[prefix], "openai"
        url = _address(params, at, draft)
        url, key = usual if url == "" else url, key or f"{prefix.upper()}_API_KEY"
    else:
        wanted, protocol = _PREFIXES[prefix]
        url = _address(params, at, draft)
    if url is None:
        return None
    if (
        url
        and not cloud
        and prefix not in _ELSEWHERE
        and draft.preset(wanted, protocol, url) is None
    ):
        wanted = host_slug(url, wanted)
    slug = draft.provider(
        wanted,
        (*at, "api_base" if url else "model"),
        protocol=protocol,
        url=(url.removesuffix("/v1") if protocol == "anthropic" and not cloud else url) or None,
        keyed=cloud,
        key=key,
        key_place=(*at, "api_key"),
        headers=draft.table(params.get("extra_headers"), (*at, "extra_headers")),
        headers_place=(*at, "extra_headers"),
    )
    draft.rest(
        params,
        at,
        (*_PARAMS, *_CLOUDS.get(prefix, ())),
        "a parameter of each call: callers send it, or omni has no such setting",
    )
    draft.rest(info, (*place, "model_info"), _INFO, _NOWHERE)
    if slug is None:
        return None
    slugs.setdefault(wanted, [])
    if slug not in slugs.setdefault(prefix, []):
        slugs[prefix].append(slug)
    rpm = next(filter(None, (count(t.get("rpm")) for t in (entry, params, info))), None)
    if "*" in wire_name:
        if rpm is not None:
            draft.leave((*at, "rpm"), "omni's limits are of one model: omni models edit MODEL "
                        "--setting rate_limit_rpm=N")  # fmt: skip
        if group not in (text, f"{slug}/*"):
            why = "any other name is refused: " if group == "*" else ""
            draft.leave((*place, "model_name"), f"{why}all of its models are called as {slug}/NAME")
        return None
    rates = {**params, **info}
    model_id = draft.model(
        slug,
        wire_name,
        context_window=count(info.get("max_input_tokens")),
        max_output=count(info.get("max_output_tokens") or info.get("max_tokens")),
        price=price(
            "LiteLLM's config.yaml",
            input=decimal(rates.get("input_cost_per_token"), 1_000_000),
            output=decimal(rates.get("output_cost_per_token"), 1_000_000),
            cached=decimal(rates.get("cache_read_input_token_cost"), 1_000_000),
            cache_write=decimal(rates.get("cache_creation_input_token_cost"), 1_000_000),
        ),
    )
    if cloud and rates.get("input_cost_per_token") is None:
        hint = " --like MODEL" if prefix == "azure" else ""
        draft.leave((*at, "model"), f"has no price yet: omni models add {model_id}{hint}")
    if rpm is not None:
        # LiteLLM counts each deployment for itself, omni the model: the largest of them.
        limits = draft.document["models"][model_id].setdefault("settings", {})
        most = max(rpm, limits.get("rate_limit_rpm", 0))
        limits["rate_limit_rpm"] = min(most, CALL_SETTINGS["rate_limit_rpm"][1])
    if params.get("max_budget") is not None:
        draft.budget(f"model:{model_id}", params["max_budget"], params.get("budget_duration"),
                     (*at, "max_budget"))  # fmt: skip
    link: dict[str, Any] = {"model": model_id}
    if _seconds(params.get("timeout")):
        link["timeout_ms"] = _ms(params["timeout"])
    if type(params.get("max_retries")) is int:
        link["max_retries"] = min(max(params["max_retries"], 0), MAX_RETRIES_RANGE[1])
    return link


def _vendor(model: str) -> str:
    """Whose a model is that has no prefix: LiteLLM knows the names of a few vendors."""
    heads = (("claude", "anthropic"), ("gemini", "gemini"), ("gpt-", "openai"), ("o1", "openai"),
             ("o3", "openai"), ("o4", "openai"), ("text-embedding", "openai"),
             ("dall-e", "openai"))  # fmt: skip
    return next((prefix for head, prefix in heads if model.startswith(head)), "")


def _cloud(
    prefix: str, slug: str, params: Mapping[str, Any], at: Place, draft: Draft
) -> str | None:
    """A cloud's address out of what it is made of; None where that is not known here."""
    said = {
        ours: draft.filled(params.get(name), (*at, name)) for name, ours in _CLOUDS[prefix].items()
    }
    base = _address(params, at, draft) if prefix == "azure" else ""
    if base is None or None in said.values():
        return None
    if prefix == "azure":
        version = said["api-version"]
        return base and azure_base(f"{base}?api-version={version}" if version else base)
    return draft.cloud(slug, said, (*at, "model"))


def _address(params: Mapping[str, Any], at: Place, draft: Draft) -> str | None:
    """The address; "" where none is said, None where it is not known here."""
    for name in ("api_base", "base_url"):
        if (text := draft.filled(params.get(name), (*at, name))) != "":
            return text
    return ""


def _key(value: object) -> Key:
    if not isinstance(value, str):
        return None
    return value.removeprefix(_ENV) if value.startswith(_ENV) else Secret(value)


def _fallbacks(
    draft: Draft,
    router: Mapping[str, Any],
    module: Mapping[str, Any],
    groups: Mapping[str, list[dict[str, Any]]],
) -> dict[str, list[dict[str, Any]]]:
    """By group: the links of the groups that take over, in order."""
    found: dict[str, list[dict[str, Any]]] = {}
    own: set[str] = set()  # those of which it says who takes over
    for section, table in (("router_settings", router), ("litellm_settings", module)):
        for place, entry in draft.tables(table.get("fallbacks"), (section, "fallbacks")):
            own.update(entry)
            for name, others in entry.items():
                if not groups.get(name):
                    draft.leave((*place, name), "no model of this name is carried over")
                    continue
                for where, other in draft.texts(others, (*place, name)):
                    if groups.get(other):
                        found.setdefault(name, []).extend(groups[other])
                    else:
                        draft.leave(where, f"no model of this name is carried over; {name!r} "
                                    "goes without it")  # fmt: skip
        at = (section, "default_fallbacks")
        for where, other in draft.texts(table.get(at[1]), at):
            if not groups.get(other):
                draft.leave(where, "no model of this name is carried over")
                continue
            for name in groups.keys() - own - {other}:
                # A chat stands in for no other kind of call.
                if not any("embed" in link["model"] for link in groups[name]):
                    found.setdefault(name, []).extend(groups[other])
    return found


def _group_aliases(
    draft: Draft,
    router: Mapping[str, Any],
    groups: Mapping[str, list[dict[str, Any]]],
    fallbacks: Mapping[str, list[dict[str, Any]]],
) -> None:
    at = ("router_settings", "model_group_alias")
    for name, target in draft.table(router.get("model_group_alias"), at).items():
        group = target.get("model") if isinstance(target, dict) else target
        links = groups.get(str(group))
        if not links:
            draft.leave((*at, name), "no model of this name is carried over")
        elif str(group) in draft.document["chains"]:
            draft.chain(name, [*links, *fallbacks.get(str(group), ())], (*at, name))
        else:
            draft.alias(links[0]["model"], name, (*at, name))


def _budgets(
    draft: Draft,
    router: Mapping[str, Any],
    module: Mapping[str, Any],
    general: Mapping[str, Any],
    slugs: Mapping[str, list[str]],
) -> None:
    for section, table in (("litellm_settings", module), ("general_settings", general)):
        if table.get("max_budget") is not None:
            draft.budget("all", table["max_budget"], table.get("budget_duration"),
                         (section, "max_budget"))  # fmt: skip
    at = ("router_settings", "provider_budget_config")
    for name, one in draft.table(router.get("provider_budget_config"), at).items():
        limit = draft.table(one, (*at, name))
        found = slugs.get(name, [])
        if len(found) != 1:
            draft.leave((*at, name), f"{len(found) or 'no'} providers of the fleet are meant; "
                        "omni budgets add provider:NAME sets one")  # fmt: skip
            continue
        usd = limit.get("budget_limit", limit.get("max_budget"))
        duration = limit.get("time_period", limit.get("budget_duration"))
        draft.budget(f"provider:{found[0]}", usd, duration, (*at, name))


def _seconds(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0


def _ms(seconds: float) -> int:
    return min(max(round(seconds * 1000), TIMEOUT_MS_RANGE[0]), TIMEOUT_MS_RANGE[1])
