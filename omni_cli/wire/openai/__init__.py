"""OpenAI's Chat Completions, and the many who speak it."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from omni_cli.wire.facts import Facts, named

if TYPE_CHECKING:
    from omni_cli.domain.chat import FinishReason


class OpenAiFacts(Facts):
    name = "openai"
    client = "client:OpenAiCompatible"
    servers = ("server:OpenAiChat", "completions:OpenAiCompletions")
    batches = "batches:OpenAiBatches"
    title = "Chat Completions"
    reads = named(
        "top_k min_p frequency_penalty presence_penalty logit_bias n logprobs top_logprobs "
        "modalities audio verbosity parallel_tool_calls functions function_call "
        "web_search_options service_tier prediction cache_control prompt_cache_key "
        "prompt_cache_retention metadata user safety_identifier store",
        repeat_penalty="repetition_penalty",
    )
    writes = named(
        "frequency_penalty presence_penalty logprobs top_logprobs modalities verbosity "
        "parallel_tool_calls service_tier prompt_cache_key prompt_cache_retention "
        "safety_identifier store"
    )
    forwards = ("openai-beta",)
    counts = ("max_tokens", "max_completion_tokens", "n")
    tells_usage_on_wish = True
    short_tail = True
    fills = True
    passes = (
        "rerank",
        "moderations",
        "images/generations",
        "images/edits",
        "images/variations",
        "audio/speech",
        "audio/transcriptions",
        "audio/translations",
    )
    prefixes = ("/v1", "")
    comments = True
    id_prefix = "chatcmpl-"
    answers_by: ClassVar[tuple[str, ...]] = ("stream_options", "tools")
    finishes: ClassVar[Mapping[str, str]] = {
        "stop": "stop",
        "pause": "stop",
        "length": "length",
        "tool_calls": "tool_calls",
        "content_filter": "content_filter",
        "refusal": "content_filter",
        "error": "stop",
    }
    error_word = "api_error"
    error_words: ClassVar[Mapping[int, str]] = {
        400: "invalid_request_error",
        401: "authentication_error",
        402: "insufficient_quota",
        403: "permission_error",
        404: "invalid_request_error",
        408: "timeout_error",
        413: "invalid_request_error",
        429: "rate_limit_error",
    }
    means: ClassVar[Mapping[str, "FinishReason"]] = {
        "stop": "stop",
        "eos": "stop",
        "end_turn": "stop",
        "length": "length",
        "max_tokens": "length",
        "model_length": "length",  # Mistral: the context window is full
        "max_output_tokens": "length",
        "error_limit": "length",  # Cohere, and the two below
        "model_context_window_exceeded": "length",  # Z.ai, and Anthropic behind relays
        "tool_calls": "tool_calls",
        "tool_call": "tool_calls",
        "error_toxic": "content_filter",
        "function_call": "tool_calls",
        "tool_use": "tool_calls",
        "content_filter": "content_filter",
        "sensitive": "content_filter",  # Z.ai
        "safety": "content_filter",
        "recitation": "content_filter",
        "refusal": "refusal",
        "error": "error",
        "network_error": "error",  # Z.ai
        "insufficient_system_resource": "error",  # DeepSeek
        "abort": "error",  # SGLang
        "timeout": "error",
        "cancelled": "error",
    }
