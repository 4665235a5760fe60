"""OpenAI's Chat Completions, and the many who speak it."""

from omni_cli.wire.facts import Facts


class OpenAiFacts(Facts):
    name = "openai"
    client = "client:OpenAiCompatible"
    servers = ("server:OpenAiChat",)
    forwards = ("openai-beta",)
    counts = ("max_tokens", "max_completion_tokens", "n")
    tells_usage_on_wish = True
    short_tail = True
    embeds = True
    prefixes = ("/v1", "")
    comments = True
    id_prefix = "chatcmpl-"
    answers_by = ("stream_options",)
