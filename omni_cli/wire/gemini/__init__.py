"""Google's generateContent."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from omni_cli.wire.facts import Facts, named

if TYPE_CHECKING:
    from omni_cli.domain.chat import FinishReason


class GeminiFacts(Facts):
    name = "gemini"
    client = "client:Gemini"
    servers = ("server:GeminiContent", "embedding:GeminiEmbeddings")
    title = "Gemini"
    reads = named(
        "top_k frequency_penalty presence_penalty media_resolution",
        inside="generation_config.",
        n="generation_config.candidate_count",
        logprobs="generation_config.response_logprobs",
        top_logprobs="generation_config.logprobs",
        modalities="generation_config.response_modalities",
        audio="generation_config.speech_config",
        cached_content="cached_content",
        safety_settings="safety_settings",
    )
    writes = named(
        top_k="generationConfig.topK",
        frequency_penalty="generationConfig.frequencyPenalty",
        presence_penalty="generationConfig.presencePenalty",
        logprobs="generationConfig.responseLogprobs",
        top_logprobs="generationConfig.logprobs",
        modalities="generationConfig.responseModalities",
    )
    names_model = False
    # Google's own packages differ in the version that they ask for.
    prefixes = ("/v1beta", "/v1")
    owns = ("/v1beta/",)
    stream_type = "text/event-stream"
    comments = False  # Google's own package takes a comment for JSON
    finishes: ClassVar[Mapping[str, str]] = {
        "stop": "STOP",
        "tool_calls": "STOP",
        "pause": "STOP",
        "length": "MAX_TOKENS",
        "content_filter": "SAFETY",
        "refusal": "SAFETY",
        "error": "OTHER",
    }
    error_word = "INTERNAL"
    error_words: ClassVar[Mapping[int, str]] = {
        400: "INVALID_ARGUMENT",
        401: "UNAUTHENTICATED",
        402: "RESOURCE_EXHAUSTED",
        403: "PERMISSION_DENIED",
        404: "NOT_FOUND",
        429: "RESOURCE_EXHAUSTED",
        503: "UNAVAILABLE",
        504: "DEADLINE_EXCEEDED",
    }
    means: ClassVar[Mapping[str, "FinishReason"]] = {
        "STOP": "stop",
        "MAX_TOKENS": "length",
        "SAFETY": "content_filter",
        "RECITATION": "content_filter",
        "LANGUAGE": "content_filter",
        "BLOCKLIST": "content_filter",
        "PROHIBITED_CONTENT": "content_filter",
        "SPII": "content_filter",
        "IMAGE_SAFETY": "content_filter",
        "IMAGE_PROHIBITED_CONTENT": "content_filter",
        "FINISH_REASON_UNSPECIFIED": "stop",
    }  # any other tells of a failure: MALFORMED_FUNCTION_CALL, UNEXPECTED_TOOL_CALL, OTHER...

    @staticmethod
    def image_tokens(
        width: int | None = None, height: int | None = None, *, model: str = ""
    ) -> int:
        """Sources: Google, "Understand and count tokens" (258 a tile), which is as wide as two
        thirds of the shorter side, 256 to 768 pixels; "Media resolution" (2,240 at ultra high)."""
        from omni_cli.domain.tokens import image_patches, image_sides

        del model
        w, h = image_sides(width, height)
        tile = min(max(min(w, h) * 2 // 3, 256), 768)
        return max(2_240, 258 * image_patches(w, h, tile))
