"""Ollama's chat and generate."""

from omni_cli.wire.facts import Facts


class OllamaFacts(Facts):
    name = "ollama"
    client = "client:Ollama"
    servers = ("server:OllamaChat", "generate:OllamaGenerate")
    embeds = True
    tells_weights = True
    prefixes = ("/api",)
    stream_type = "application/x-ndjson"
    streams_unasked = True
