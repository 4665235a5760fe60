"""``GET /models`` of OpenAI-compatible servers: ids for all, and what richer listings add.

Sources: the models endpoints' references of OpenRouter (modalities, prices per token), Groq,
Mistral, Moonshot, Together (prices per million tokens), vLLM (``max_model_len``).
"""

from decimal import Decimal, InvalidOperation

from omni_cli.domain.errors import Malformed
from omni_cli.ports import RemoteModel
from omni_cli.providers._wire import (
    JsonObject,
    as_limit,
    as_list,
    as_object,
    as_text,
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
_FLAG_BADGES = {
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
    if not isinstance(entries, list):
        raise Malformed("The model list holds no list of models")
    models = (_model(as_object(entry)) for entry in entries)
    return [model for model in models if model is not None]


def _model(entry: JsonObject) -> RemoteModel | None:
    wire_name = as_text(entry.get("id"))
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
    flags = {**as_object(entry.get("capabilities")), **entry}
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
                )
                if (limit := as_limit(entry.get(field))) is not None
            ),
            None,
        ),
        max_output=as_limit(top.get("max_completion_tokens"))
        or as_limit(entry.get("max_completion_tokens")),
        input_types=inputs,
        output_types=_words(shape.get("output_modalities")),
        badges=frozenset(badges),
        prices=_prices(as_object(entry.get("pricing"))),
    )


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
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        rate = Decimal(str(value))
    except InvalidOperation:
        return None
    return rate if rate.is_finite() and 0 <= rate < 1_000_000 else None


def _plain(rate: Decimal) -> str:
    """Decimal text without exponent or trailing zeros."""
    text = f"{rate:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
