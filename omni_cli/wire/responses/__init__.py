"""OpenAI's Responses."""

from omni_cli.wire.facts import Facts, named
from omni_cli.wire.openai import OpenAiFacts

#: What ``include`` says for the tokens' likelihoods to be told.
LOGPROBS = "message.output_text.logprobs"


class ResponsesFacts(Facts):
    name = "openai-responses"
    client = "client:OpenAiResponses"
    servers = ("server:OpenAiResponses",)
    title = "Responses"
    reads = named(
        "top_logprobs parallel_tool_calls max_tool_calls previous_response_id conversation "
        "prompt background service_tier truncation context_management prompt_cache_key "
        "prompt_cache_retention metadata user safety_identifier store",
        verbosity="text.verbosity",
    )
    writes = named(
        "top_logprobs parallel_tool_calls service_tier prompt_cache_key "
        "prompt_cache_retention safety_identifier store",
        logprobs="include",
        verbosity="text.verbosity",
    )
    forwards = ("openai-beta",)
    counts = ("max_output_tokens",)
    prefixes = ("/v1", "")
    comments = True
    id_prefix = "resp_"
    error_word = OpenAiFacts.error_word
    error_words = OpenAiFacts.error_words
    answers_by = ("tools", "input")
