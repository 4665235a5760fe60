"""What callers can ask for beside messages and tools: wishes that only some protocols know.

Each protocol's ``Facts`` say which of them its callers have (``reads``) and its providers can be
told (``writes``), and in what field; requests are read, written and documented from that. A wish
that the other side lacks is left out and said where it is harmless: the answer is to the same
question. Where it changes what is asked, the request is refused, naming the field.

Sources: OpenAI API reference, "Create chat completion", "Create a model response"; Anthropic API
reference, "Messages"; Gemini API reference, "Generating content", GenerationConfig; ollama/ollama
docs/api.md and docs/modelfile.md, "Valid parameters and values".
"""

from collections.abc import Mapping
from typing import Any, Literal

from msgspec import Struct

from omni_cli.wire.facts import Facts


class Feature(Struct, frozen=True):
    """``plain``: values that wish for nothing. ``lacking``: what becomes of the wish where a
    provider's protocol has no field for it."""

    name: str
    plain: tuple[object, ...] = ()
    lacking: Literal["left out", "refused"] = "left out"


def _harmless(name: str, *plain: object) -> Feature:
    return Feature(name, plain)


def _needed(name: str, *plain: object) -> Feature:
    return Feature(name, plain, "refused")


FEATURES: tuple[Feature, ...] = (
    # --- sampling
    _harmless("top_k"),
    _harmless("min_p", 0),
    _harmless("repeat_penalty", 1),
    _harmless("frequency_penalty", 0),
    _harmless("presence_penalty", 0),
    _needed("logit_bias", {}),
    # --- what the answer holds
    _needed("n", 1),
    _needed("logprobs", False),
    _needed("top_logprobs", 0),
    _needed("modalities", ["text"], ["TEXT"], []),
    _needed("audio"),
    _harmless("verbosity", "medium"),
    # --- tools
    _harmless("parallel_tool_calls", True),
    _harmless("max_tool_calls"),
    _needed("functions", []),
    _harmless("function_call", "auto", "none"),
    _needed("web_search_options"),
    _needed("mcp_servers", []),
    # --- what is kept elsewhere
    _needed("previous_response_id", ""),
    _needed("conversation"),
    _needed("prompt"),
    _needed("background", False),
    _needed("container"),
    _needed("cached_content", ""),
    _needed("context", []),
    # --- where and how it runs
    _harmless("service_tier", "auto", "default", "standard", "standard_only"),
    _harmless("speed", "standard"),
    _needed("inference_geo", "global", "not_available"),
    _harmless("safety_settings", []),
    _harmless("truncation", "disabled"),
    _harmless("context_management", {}, []),
    _harmless("task_budget"),
    _harmless("prediction"),
    _harmless("media_resolution"),
    _harmless("cache_control"),
    _harmless("prompt_cache_key", ""),
    _harmless("prompt_cache_retention", "in_memory"),
    # --- whose it is
    _harmless("metadata", {}),
    _harmless("user", ""),
    _harmless("safety_identifier", ""),
    _harmless("store"),
)
BY_NAME: Mapping[str, Feature] = {feature.name: feature for feature in FEATURES}


_READ: dict[type[Facts], dict[str, dict[str, Feature]]] = {}


def _reading(facts: type[Facts]) -> dict[str, dict[str, Feature]]:
    """By the object that the field is in ("" for the request's own), then by its name there."""
    if facts not in _READ:
        found = _READ[facts] = {}
        for wish, path in facts.reads.items():
            inside, _, name = path.rpartition(".")
            found.setdefault(inside, {})[name] = BY_NAME[wish]
    return _READ[facts]


def wishes_in(
    facts: type[Facts], fields: Mapping[str, Any], known: frozenset[str], inside: str = ""
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The wishes among a request's fields, and the names of fields that nobody knows.

    Args:
        known: fields that are read elsewhere.
        inside: the object of the request whose fields these are, "" for its own.
    """
    readable = _reading(facts).get(inside, {})
    wishes: dict[str, Any] = {}
    strange: list[str] = []
    for name, value in fields.items():
        if value is None or name in known:
            continue
        feature = readable.get(name)
        if feature is None:
            if value is not False and value != {} and value != []:
                strange.append(f"{inside}.{name}" if inside else name)
        elif value not in feature.plain or isinstance(value, bool) != any(
            isinstance(plain, bool) for plain in feature.plain if plain == value
        ):
            wishes[feature.name] = value
    return wishes, tuple(strange)


def put(body: dict[str, Any], path: str, value: object) -> None:
    """Write ``value`` into ``body``, making the objects on the way."""
    *way, name = path.split(".")
    for step in way:
        body = body.setdefault(step, {})
    body[name] = value
