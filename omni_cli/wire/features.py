"""What each protocol's callers can ask for beside messages and tools, and which providers can be
told of it: one table, from which requests are read, written and documented.

A wish that the other side lacks is left out and said where it is harmless: the answer is to the
same question. Where it changes what is asked, the request is refused, naming the field.

Sources: OpenAI API reference, "Create chat completion", "Create a model response"; Anthropic API
reference, "Messages"; Gemini API reference, "Generating content", GenerationConfig; ollama/ollama
docs/api.md and docs/modelfile.md, "Valid parameters and values".
"""

from collections.abc import Mapping
from typing import Any, Literal

from msgspec import Struct, field

CHAT, RESPONSES, MESSAGES = "openai", "openai-responses", "anthropic"
GEMINI, OLLAMA = "gemini", "ollama"

#: The protocols that callers speak and providers are told in, by what people call them.
NAMES: Mapping[str, str] = {
    CHAT: "Chat Completions",
    RESPONSES: "Responses",
    MESSAGES: "Messages",
    GEMINI: "Gemini",
    OLLAMA: "Ollama",
}

Lacking = Literal["left out", "refused"]


class Feature(Struct, frozen=True):
    """A wish, and the field that says it by protocol; dots lead into objects.

    ``reads``: of callers. ``writes``: of providers. ``plain``: values that wish for nothing.
    ``lacking``: what becomes of it where a provider's protocol has no such field.
    """

    name: str
    reads: Mapping[str, str]
    writes: Mapping[str, str] = field(default_factory=dict)
    lacking: Lacking = "left out"
    plain: tuple[object, ...] = ()


def _both(name: str, lacking: Lacking = "left out", *plain: object, **fields: str) -> Feature:
    """One that is read and written by the same fields. ``fields``: by a letter a protocol."""
    found = {_LETTERS[letter]: path for letter, path in fields.items()}
    return Feature(name, found, found, lacking, plain)


def _read(name: str, lacking: Lacking = "left out", *plain: object, **fields: str) -> Feature:
    """One that no provider of another protocol can be told of."""
    return Feature(name, {_LETTERS[k]: path for k, path in fields.items()}, {}, lacking, plain)


_LETTERS = {"c": CHAT, "r": RESPONSES, "m": MESSAGES, "g": GEMINI, "o": OLLAMA}
_G = "generation_config."

FEATURES: tuple[Feature, ...] = (
    # --- sampling
    Feature(
        "top_k",
        {CHAT: "top_k", MESSAGES: "top_k", GEMINI: _G + "top_k", OLLAMA: "options.top_k"},
        {MESSAGES: "top_k", GEMINI: "generationConfig.topK", OLLAMA: "options.top_k"},
    ),
    Feature(
        "min_p",
        {CHAT: "min_p", OLLAMA: "options.min_p"},
        {OLLAMA: "options.min_p"},
        "left out",
        (0,),
    ),
    Feature(
        "repeat_penalty",
        {CHAT: "repetition_penalty", OLLAMA: "options.repeat_penalty"},
        {OLLAMA: "options.repeat_penalty"},
        "left out",
        (1,),
    ),
    Feature(
        "frequency_penalty",
        {
            CHAT: "frequency_penalty",
            GEMINI: _G + "frequency_penalty",
            OLLAMA: "options.frequency_penalty",
        },
        {
            CHAT: "frequency_penalty",
            GEMINI: "generationConfig.frequencyPenalty",
            OLLAMA: "options.frequency_penalty",
        },
        "left out",
        (0,),
    ),
    Feature(
        "presence_penalty",
        {
            CHAT: "presence_penalty",
            GEMINI: _G + "presence_penalty",
            OLLAMA: "options.presence_penalty",
        },
        {
            CHAT: "presence_penalty",
            GEMINI: "generationConfig.presencePenalty",
            OLLAMA: "options.presence_penalty",
        },
        "left out",
        (0,),
    ),
    _read("logit_bias", "refused", {}, c="logit_bias"),
    # --- what the answer holds
    _read("n", "refused", 1, c="n", g=_G + "candidate_count"),
    _read("logprobs", "refused", False, c="logprobs", g=_G + "response_logprobs", o="logprobs"),
    _read(
        "top_logprobs",
        "refused",
        0,
        c="top_logprobs",
        r="top_logprobs",
        g=_G + "logprobs",
        o="top_logprobs",
    ),
    Feature(
        "modalities",
        {CHAT: "modalities", GEMINI: _G + "response_modalities"},
        {CHAT: "modalities", GEMINI: "generationConfig.responseModalities"},
        "refused",
        (["text"], ["TEXT"], []),
    ),
    _read("audio", "refused", c="audio", g=_G + "speech_config"),
    _both("verbosity", "left out", "medium", c="verbosity", r="text.verbosity"),
    # --- tools
    Feature(
        "parallel_tool_calls",
        {
            CHAT: "parallel_tool_calls",
            RESPONSES: "parallel_tool_calls",
            MESSAGES: "tool_choice.disable_parallel_tool_use",
        },
        {
            CHAT: "parallel_tool_calls",
            RESPONSES: "parallel_tool_calls",
            MESSAGES: "tool_choice.disable_parallel_tool_use",
        },
        "left out",
        (True,),
    ),
    _read("max_tool_calls", r="max_tool_calls"),
    _read("functions", "refused", [], c="functions"),
    _read("function_call", "left out", "auto", "none", c="function_call"),
    _read("web_search_options", "refused", c="web_search_options"),
    _read("mcp_servers", "refused", [], m="mcp_servers"),
    # --- what is kept elsewhere
    _read("previous_response_id", "refused", "", r="previous_response_id"),
    _read("conversation", "refused", r="conversation"),
    _read("prompt", "refused", r="prompt"),
    _read("background", "refused", False, r="background"),
    _read("container", "refused", m="container"),
    _read("cached_content", "refused", "", g="cached_content"),
    _read("context", "refused", [], o="context"),
    # --- where and how it runs
    _both(
        "service_tier",
        "left out",
        "auto",
        "default",
        "standard",
        "standard_only",
        c="service_tier",
        r="service_tier",
    ),
    _read("speed", "left out", "standard", m="speed"),
    _read("inference_geo", "refused", "global", "not_available", m="inference_geo"),
    _read("safety_settings", "left out", [], g="safety_settings"),
    _read("truncation", "left out", "disabled", r="truncation"),
    _read("context_management", "left out", {}, [], m="context_management", r="context_management"),
    _read("task_budget", m="output_config.task_budget"),
    _read("prediction", c="prediction"),
    _read("media_resolution", g=_G + "media_resolution"),
    Feature(
        "cache_control",
        {CHAT: "cache_control", MESSAGES: "cache_control"},
        {MESSAGES: "cache_control"},
    ),
    _both("prompt_cache_key", "left out", "", c="prompt_cache_key", r="prompt_cache_key"),
    _both(
        "prompt_cache_retention",
        "left out",
        "in_memory",
        c="prompt_cache_retention",
        r="prompt_cache_retention",
    ),
    # --- whose it is
    _read("metadata", "left out", {}, c="metadata", r="metadata"),
    Feature(
        "user",
        {CHAT: "user", RESPONSES: "user", MESSAGES: "metadata.user_id"},
        {MESSAGES: "metadata.user_id"},
        "left out",
        ("",),
    ),
    _both("safety_identifier", "left out", "", c="safety_identifier", r="safety_identifier"),
    _both("store", "left out", c="store", r="store"),
)
BY_NAME: Mapping[str, Feature] = {feature.name: feature for feature in FEATURES}


def _reading(protocol: str) -> dict[str, dict[str, Feature]]:
    """By the object that the field is in ("" for the request's own), then by its name there."""
    found: dict[str, dict[str, Feature]] = {}
    for feature in FEATURES:
        if (path := feature.reads.get(protocol)) is not None:
            inside, _, name = path.rpartition(".")
            found.setdefault(inside, {})[name] = feature
    return found


_READ = {protocol: _reading(protocol) for protocol in NAMES}


def wishes_in(
    protocol: str, fields: Mapping[str, Any], known: frozenset[str], inside: str = ""
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The wishes among a request's fields, and the names of fields that nobody knows.

    Args:
        known: fields that are read elsewhere.
        inside: the object of the request whose fields these are, "" for its own.
    """
    readable = _READ[protocol].get(inside, {})
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
