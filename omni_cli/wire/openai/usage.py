"""Token counts of OpenAI's two wire formats and their many dialects, in omni's convention."""

from decimal import Decimal

from omni_cli.domain.chat import Usage
from omni_cli.domain.record import replace
from omni_cli.wire.values import JsonObject, as_count, as_object, as_text, usd_to_nusd

#: xAI bills in ticks of 1e-10 US dollar (docs.x.ai, "Cost Tracking").
_TICKS_PER_NUSD = 10
#: Service tiers at the usual rates; any other has rates of its own (platform.openai.com, "Priority
#: processing", "Flex processing", "Batch API"). An answer names the one that served it.
USUAL_TIERS = frozenset({None, "", "auto", "default", "standard", "on_demand", "standard_only"})


def read_usage(value: object) -> Usage | None:
    """Usage of Chat Completions (``prompt_tokens``) or Responses (``input_tokens``).

    Returns:
        None when ``value`` holds no counts.
    """
    usage = as_object(value)
    usage = as_object(usage.get("billed_units")) or usage  # Cohere
    # A null count is no count: an unknown amount must not be told as zero.
    prompt = _first(usage, "prompt_tokens", "input_tokens")
    completion = _first(usage, "completion_tokens", "output_tokens")
    if prompt is None and completion is None:
        return None
    into = as_object(usage.get("prompt_tokens_details") or usage.get("input_tokens_details"))
    out = as_object(usage.get("completion_tokens_details") or usage.get("output_tokens_details"))
    input_tokens = prompt or 0
    output_tokens = completion or 0
    reasoning = as_count(out.get("reasoning_tokens"))
    apart = as_count(usage.get("reasoning_tokens"))
    # No part is larger than the whole.
    beside_it = reasoning > output_tokens or _counted_apart(
        usage, input_tokens, output_tokens, reasoning
    )
    if reasoning and beside_it:
        output_tokens += reasoning
    elif apart and not reasoning:
        # Perplexity's deep research counts reasoning beside the completion; SGLang within it.
        reasoning = apart
        if "citation_tokens" in usage or apart > output_tokens:
            output_tokens += apart
    cached = max(
        as_count(into.get("cached_tokens")),
        as_count(usage.get("prompt_cache_hit_tokens")),  # DeepSeek
        as_count(usage.get("num_cached_tokens")),  # Mistral
        as_count(usage.get("cached_tokens")),  # Moonshot
        as_count(usage.get("cache_read_input_tokens")),  # Anthropic behind a proxy
    )
    written = max(
        as_count(into.get("cache_write_tokens")),
        as_count(into.get("cached_creation_tokens")),  # new-api
        as_count(usage.get("cache_creation_input_tokens")),  # Anthropic behind a proxy
    )
    lifetimes = as_object(usage.get("cache_creation"))
    long_lived = max(
        as_count(lifetimes.get("ephemeral_1h_input_tokens")),  # Anthropic behind a proxy
        as_count(usage.get("claude_cache_creation_1_h_tokens")),  # new-api
    )
    heard = as_object(into.get("cached_tokens_details"))
    hidden = as_count(usage.get("total_tokens")) - input_tokens - output_tokens
    if beside := _beside(prompt or 0, cached, written, hidden):
        input_tokens += beside
        hidden -= beside
    unseen = hidden > 0 and "citation_tokens" not in usage
    if unseen:  # Gemini behind its OpenAI address tells of its thoughts in the total only
        output_tokens += hidden
        reasoning += hidden
    return Usage(
        input_tokens=input_tokens,
        cached_tokens=min(cached, input_tokens),
        cache_write_tokens=min(written, input_tokens),
        cache_write_1h_tokens=min(long_lived, written, input_tokens),
        input_image_tokens=min(as_count(into.get("image_tokens")), input_tokens),
        input_audio_tokens=min(as_count(into.get("audio_tokens")), input_tokens),
        cached_audio_tokens=min(as_count(heard.get("audio_tokens")), cached, input_tokens),
        output_tokens=output_tokens,
        reasoning_tokens=min(reasoning, output_tokens),
        output_image_tokens=min(as_count(out.get("image_tokens")), output_tokens),
        output_audio_tokens=min(as_count(out.get("audio_tokens")), output_tokens),
        reported_cost_nusd=_reported_cost(usage),
        estimated=unseen
        or as_text(usage.get("service_tier")) not in USUAL_TIERS
        or any(as_count(usage.get(name)) for name in _BY_USE)
        or "search_context_size" in usage,
    )


#: What is charged by the use beside the tokens: searches and sources of Perplexity and xAI, tools
#: that xAI's servers run, and Perplexity's fee by how much a search reads.
_BY_USE = ("num_search_queries", "num_sources_used", "num_server_side_tools_used")


def read_timings(value: object) -> Usage | None:
    """llama.cpp's own count, where its stream has no other: the prompt without what was cached."""
    timings = as_object(value)
    if "prompt_n" not in timings or "predicted_n" not in timings:
        return None
    cached = as_count(timings.get("cache_n"))
    return Usage(
        input_tokens=as_count(timings["prompt_n"]) + cached,
        cached_tokens=cached,
        output_tokens=as_count(timings["predicted_n"]),
    )


def _beside(prompt: int, cached: int, written: int, hidden: int) -> int:
    """Tokens of the cache that a server counts beside the prompt and not within it.

    Args:
        hidden: tokens of the total that neither prompt nor completion tells of.
    """
    if hidden > 0 and hidden in (cached + written, cached, written):
        return hidden
    # More than all cannot be a part of it.
    return (cached if cached > prompt else 0) + (written if written > prompt else 0)


def of_tier(usage: Usage | None, tier: object) -> Usage | None:
    """Marks the usage of an answer that was served at other rates than the usual ones."""
    if usage is None or as_text(tier) in USUAL_TIERS:
        return usage
    return replace(usage, estimated=True)


def _first(usage: JsonObject, *names: str) -> int | None:
    """The first of these that counts something; 0 where one says so, None where none does."""
    told = [value for name in names if _is_count(value := usage.get(name))]
    return next((n for value in told if (n := as_count(value))), 0) if told else None


def _is_count(value: object) -> bool:
    if isinstance(value, str):
        return value.isascii() and value.isdigit()
    return isinstance(value, int | float) and not isinstance(value, bool)


def _counted_apart(usage: JsonObject, prompt: int, completion: int, reasoning: int) -> bool:
    """True where the total shows that completion_tokens leaves reasoning out (xAI)."""
    return as_count(usage.get("total_tokens")) == prompt + completion + reasoning


def _reported_cost(usage: JsonObject) -> int | None:
    ticks = usage.get("cost_in_usd_ticks")
    if isinstance(ticks, int) and not isinstance(ticks, bool) and ticks >= 0:
        return int((Decimal(ticks) / _TICKS_PER_NUSD).to_integral_value())
    cost = usage.get("cost")
    if isinstance(cost, dict):  # Perplexity
        return usd_to_nusd(cost.get("total_cost"))
    reported = usd_to_nusd(cost)
    if reported is not None and usage.get("is_byok") is True:
        # OpenRouter with the user's own upstream key: its fee, and what the upstream charges.
        details = as_object(usage.get("cost_details"))
        reported += usd_to_nusd(details.get("upstream_inference_cost")) or 0
    return reported
