"""OpenAI's Responses."""

from omni_cli.wire.facts import Facts


class ResponsesFacts(Facts):
    name = "openai-responses"
    client = "client:OpenAiResponses"
    servers = ("server:OpenAiResponses",)
    forwards = ("openai-beta",)
    counts = ("max_output_tokens",)
    prefixes = ("/v1", "")
    comments = True
    id_prefix = "resp_"
    answers_by = ("tools",)
