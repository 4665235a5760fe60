"""Anthropic's Messages."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from omni_cli.wire.facts import Facts, named

if TYPE_CHECKING:
    from omni_cli.domain.chat import FinishReason


class AnthropicFacts(Facts):
    name = "anthropic"
    client = "client:Anthropic"
    servers = ("server:AnthropicMessages",)
    batches = "batches:AnthropicBatches"
    title = "Messages"
    reads = named(
        "top_k mcp_servers container speed inference_geo context_management cache_control",
        parallel_tool_calls="tool_choice.disable_parallel_tool_use",
        task_budget="output_config.task_budget",
        user="metadata.user_id",
    )
    writes = named(
        "top_k cache_control",
        parallel_tool_calls="tool_choice.disable_parallel_tool_use",
        user="metadata.user_id",
    )
    forwards = ("anthropic-beta", "anthropic-version")
    counts = ("max_tokens",)
    short_tail = True
    owns = ("/v1/messages",)
    comments = True
    request_id = "request-id"
    id_prefix = "msg_"
    finishes: ClassVar[Mapping[str, str]] = {
        "stop": "end_turn",
        "length": "max_tokens",
        "tool_calls": "tool_use",
        "content_filter": "refusal",
        "refusal": "refusal",
        "pause": "pause_turn",
        "error": "end_turn",
    }
    error_word = "api_error"
    error_words: ClassVar[Mapping[int, str]] = {
        400: "invalid_request_error",
        401: "authentication_error",
        402: "billing_error",
        403: "permission_error",
        404: "not_found_error",
        408: "timeout_error",
        413: "request_too_large",
        429: "rate_limit_error",
        503: "overloaded_error",
        504: "timeout_error",
    }
    means: ClassVar[Mapping[str, "FinishReason"]] = {
        "end_turn": "stop",
        "stop_sequence": "stop",
        "max_tokens": "length",
        "model_context_window_exceeded": "length",
        "tool_use": "tool_calls",
        "pause_turn": "pause",
        "compaction": "pause",
        "refusal": "refusal",
    }

    @staticmethod
    def image_tokens(
        width: int | None = None, height: int | None = None, *, model: str = ""
    ) -> int:
        """Sources: Anthropic, "Vision" and "What's new in Claude Opus 4.7" (width x height / 750,
        at most 4,784); measured as patches of 28 px and up to 4 more by the OmniGlyph project."""
        from omni_cli.domain.tokens import image_patches, image_sides

        del model
        w, h = image_sides(width, height)
        return min(max(image_patches(w, h, 28), -(-w * h // 750)), 4_784) + 4
