"""Ollama's chat and generate."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from omni_cli.wire.facts import Facts, named

if TYPE_CHECKING:
    from omni_cli.domain.chat import FinishReason


class OllamaFacts(Facts):
    name = "ollama"
    client = "client:Ollama"
    servers = ("server:OllamaChat", "server:OllamaGenerate", "server:OllamaEmbedding")
    title = "Ollama"
    reads = named(
        "top_k min_p repeat_penalty frequency_penalty presence_penalty",
        inside="options.",
        logprobs="logprobs",
        top_logprobs="top_logprobs",
        context="context",
    )
    writes = named(
        "top_k min_p repeat_penalty frequency_penalty presence_penalty",
        inside="options.",
        logprobs="logprobs",
        top_logprobs="top_logprobs",
    )
    #: What it has and the gateway has not: its clients read an error there as a text, too.
    owns = tuple(
        f"/api/{name}" for name in ("pull", "push", "create", "copy", "delete", "blobs", "me")
    )
    fills = True
    tells_weights = True
    prefixes = ("/api",)
    stream_type = "application/x-ndjson"
    streams_unasked = True
    means: ClassVar[Mapping[str, "FinishReason"]] = {
        "stop": "stop",
        "length": "length",
        "content_filter": "content_filter",  # another omni
    }
    #: Ollama itself knows the first two; its clients show any other word.
    finishes: ClassVar[Mapping[str, str]] = {
        "stop": "stop",
        "length": "length",
        "content_filter": "content_filter",
        "refusal": "content_filter",
    }
