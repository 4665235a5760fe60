"""OpenAI's Responses."""

from omni_cli.wire.facts import Facts
from omni_cli.wire.openai import OpenAiFacts


class ResponsesFacts(Facts):
    name = "openai-responses"
    client = "client:OpenAiResponses"
    servers = ("server:OpenAiResponses",)
    forwards = ("openai-beta",)
    counts = ("max_output_tokens",)
    prefixes = ("/v1", "")
    comments = True
    id_prefix = "resp_"
    error_word = OpenAiFacts.error_word
    error_words = OpenAiFacts.error_words
    answers_by = ("tools",)
