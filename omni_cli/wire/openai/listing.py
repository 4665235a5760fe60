"""``GET /models`` of OpenAI-compatible servers: ids for all, and what richer listings add.

Sources: the models endpoints' references of OpenRouter (modalities, prices per token), Groq,
Mistral, Moonshot, Together (prices per million tokens), vLLM (``max_model_len``), llama.cpp's
server (``meta``); LiteLLM's proxy, whose ``/model/info`` has ``model_name`` and ``model_info`` with
prices per token.
"""

from decimal import Decimal

from omni_cli.domain.money import figure
from omni_cli.ports import RemoteModel
from omni_cli.wire.values import (
    JsonObject,
    as_limit,
    as_list,
    as_object,
    as_text,
    listed,
    load_json,
)

_PER_TOKEN = {
    "prompt": "input",
    "completion": "output",
    "input_cache_read": "cached",
    "input_cache_write": "cache_write",
    "internal_reasoning": "reasoning",
}
_PARAMETER_BADGES = {
    "tools": "function-calling",
    "response_format": "json-mode",
    "structured_outputs": "json-mode",
    "reasoning": "reasoning",
}
#: The same in LiteLLM's words.
_COSTS = {
    "input_cost_per_token": "input",
    "output_cost_per_token": "output",
    "cache_read_input_token_cost": "cached",
    "cache_creation_input_token_cost": "cache_write",
    "output_cost_per_reasoning_token": "reasoning",
}
#: ``owned_by`` of servers that run weights themselves: llama.cpp, vLLM, SGLang, LM Studio, and
#: Ollama's OpenAI-compatible side.
_RUNNERS = frozenset(
    {"llamacpp", "vllm", "sglang", "organization_owner", "organization-owner", "library"}
)
#: When LiteLLM says that all of its models were made.
_LITELLM_CREATED = 1677610602
_FLAG_BADGES = {
    "supports_vision": "vision",
    "supports_function_calling": "function-calling",
    "supports_response_schema": "json-mode",
    "vision": "vision",
    "supports_image_in": "vision",
    "function_calling": "function-calling",
    "reasoning": "reasoning",
    "supports_reasoning": "reasoning",
}


def parse_models(body: str) -> list[RemoteModel]:
    """Raises Malformed when the body is no listing."""
    listing = load_json(body, "model list")
    entries = listing if isinstance(listing, list) else as_object(listing).get("data")
    if entries is None and isinstance(listing, dict) and listing.get("object") == "list":
        entries = []  # Ollama with no model writes null
    models = map(_model, listed(entries))
    return [model for model in models if model is not None]


def is_litellm(body: str) -> bool:
    """Whether a list is that of a LiteLLM proxy."""
    listing = as_object(load_json(body, "model list"))
    entries = [as_object(entry) for entry in as_list(listing.get("data"))]
    return bool(entries) and all(e.get("created") == _LITELLM_CREATED for e in entries)


def _model(entry: JsonObject) -> RemoteModel | None:
    wire_name = as_text(entry.get("model_name")) or as_text(entry.get("id"))
    if not wire_name:
        return None
    top = as_object(entry.get("top_provider"))
    shape = as_object(entry.get("architecture"))
    inputs = _words(shape.get("input_modalities"))
    badges = {
        _PARAMETER_BADGES[name]
        for name in _words(entry.get("supported_parameters"))
        if name in _PARAMETER_BADGES
    }
    info = as_object(entry.get("model_info"))
    meta = as_object(entry.get("meta"))
    flags = {**as_object(entry.get("capabilities")), **info, **entry}
    owner = as_text(entry.get("owned_by"))
    weights = as_limit(meta.get("n_params"))
    badges.update(badge for flag, badge in _FLAG_BADGES.items() if flags.get(flag) is True)
    if "image" in inputs:
        badges.add("vision")
    return RemoteModel(
        wire_name=wire_name,
        name=as_text(entry.get("name")) or as_text(entry.get("display_name")) or None,
        context_window=next(
            (
                limit
                for field in (
                    "context_length",
                    "context_window",
                    "max_context_length",
                    "max_model_len",
                    "max_input_tokens",
                )
                if (limit := as_limit(flags.get(field))) is not None
            ),
            None,
        )
        or as_limit(meta.get("n_ctx"))
        or as_limit(meta.get("n_ctx_train")),
        max_output=as_limit(top.get("max_completion_tokens"))
        or as_limit(entry.get("max_completion_tokens"))
        or as_limit(flags.get("max_output_tokens")),
        input_types=inputs,
        output_types=_words(shape.get("output_modalities")) or _by_mode(flags.get("mode")),
        badges=frozenset(badges),
        prices=_prices(as_object(entry.get("pricing"))) or _costs({**info, **entry}),
        parameters_b=None if weights is None else weights / 1e9,
        owner=owner,
        own_weights=owner.lower() in _RUNNERS or weights is not None,
    )


def _by_mode(mode: object) -> tuple[str, ...]:
    """LiteLLM's ``mode``, where it tells that a model does not chat."""
    return {"embedding": ("embedding",), "image_generation": ("image",)}.get(as_text(mode), ())


def _costs(entry: JsonObject) -> dict[str, str]:
    """Prices in LiteLLM's fields. It writes zero where it knows none."""
    rates = {kind: _rate(entry.get(field)) for field, kind in _COSTS.items()}
    known = {kind: _plain(rate * 1_000_000) for kind, rate in rates.items() if rate is not None}
    return known if any(known.get(kind, "0") != "0" for kind in ("input", "output")) else {}


def _words(value: object) -> tuple[str, ...]:
    return tuple(word for word in as_list(value) if isinstance(word, str))


def _prices(pricing: JsonObject) -> dict[str, str]:
    prices: dict[str, str] = {}
    for field, kind in _PER_TOKEN.items():
        if (rate := _rate(pricing.get(field))) is not None:
            prices[kind] = _plain(rate * 1_000_000)
    for kind in ("input", "output", "cached_input"):  # Together: already per million
        if (rate := _rate(pricing.get(kind))) is not None:
            prices["cached" if kind == "cached_input" else kind] = _plain(rate)
    return prices


def _rate(value: object) -> Decimal | None:
    """None for what is no price; a negative one means "varies" (OpenRouter's routers)."""
    rate = figure(value)
    return rate if rate is not None and 0 <= rate < 1_000_000 else None


def _plain(rate: Decimal) -> str:
    """Decimal text without exponent or trailing zeros."""
    text = f"{rate:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
