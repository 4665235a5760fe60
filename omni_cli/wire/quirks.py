"""Where OpenAI-compatible servers differ so that tolerance cannot help: request fields.

Answers are read by one tolerant parser; a request has to choose. Sources: each provider's API
reference; Mistral's 422 "extra_forbidden" for ``stream_options`` (BerriAI/litellm issue 8978).
"""

from functools import lru_cache
from typing import Literal

from msgspec import Struct

from omni_cli.wire.values import host_of


class Quirks(Struct, frozen=True):
    """``max_tokens``: the field that limits output. ``seed``: the field of the seed.

    ``stream_options``: may usage be asked for in a stream (the others send it unasked).
    ``replay``: the assistant message's field in which the provider wants its reasoning back.
    """

    max_tokens: str = "max_tokens"
    seed: str = "seed"
    stream_options: bool = True
    replay: Literal["reasoning_details", "reasoning_content"] | None = None


_DEFAULT = Quirks()
_REASONING_BACK = Quirks(replay="reasoning_content")

#: By the end of the host's name.
_BY_DOMAIN: dict[str, Quirks] = {
    # OpenAI's reasoning models refuse max_tokens; all of its models take the newer name.
    "openai.com": Quirks(max_tokens="max_completion_tokens"),
    "azure.com": Quirks(max_tokens="max_completion_tokens"),
    "mistral.ai": Quirks(seed="random_seed", stream_options=False),
    "perplexity.ai": Quirks(stream_options=False),
    "openrouter.ai": Quirks(replay="reasoning_details"),
    "deepseek.com": _REASONING_BACK,
    "moonshot.ai": _REASONING_BACK,
    "moonshot.cn": _REASONING_BACK,
    "z.ai": _REASONING_BACK,
}


@lru_cache(maxsize=256)
def quirks_of(base_url: str) -> Quirks:
    host = host_of(base_url)
    domain = ".".join(host.rsplit(".", 2)[-2:])
    return _BY_DOMAIN.get(domain, _DEFAULT)
