"""Amazon Bedrock's Converse, one form for all models that it serves."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from omni_cli.wire.facts import Facts, named

if TYPE_CHECKING:
    from omni_cli.domain.chat import FinishReason


class BedrockFacts(Facts):
    name = "bedrock"
    client = "client:Bedrock"
    title = "Converse"
    writes = named("top_k", inside="additionalModelRequestFields.")
    names_model = False
    stream_type = "application/vnd.amazon.eventstream"
    request_id = "x-amzn-requestid"
    finishes: ClassVar[Mapping[str, str]] = {
        "stop": "end_turn",
        "length": "max_tokens",
        "tool_calls": "tool_use",
        "content_filter": "content_filtered",
        "refusal": "content_filtered",
    }
    means: ClassVar[Mapping[str, "FinishReason"]] = {
        "end_turn": "stop",
        "stop_sequence": "stop",
        "max_tokens": "length",
        "model_context_window_exceeded": "length",
        "tool_use": "tool_calls",
        "guardrail_intervened": "content_filter",
        "content_filtered": "content_filter",
        "refusal": "refusal",
        "malformed_model_output": "error",
        "malformed_tool_use": "error",
    }
