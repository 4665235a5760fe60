"""Where OpenAI-compatible servers differ so that tolerance cannot help: request fields.

Answers are read by one tolerant parser; a request has to choose. Sources: each provider's API
reference; Mistral's 422 "extra_forbidden" for ``stream_options`` (BerriAI/litellm issue 8978).
"""

import re
from functools import lru_cache
from typing import Literal

from msgspec import Struct

from omni_cli.domain.clouds import is_azure
from omni_cli.domain.patterns import Pattern
from omni_cli.domain.record import replace
from omni_cli.wire.fitting import MISTRAL_IDS, USUAL_NAMES, Alphabet, Says
from omni_cli.wire.openai import OpenAiFacts
from omni_cli.wire.values import host_of

#: OpenAI's 400: "string too long. Expected a string with maximum length 40" (vercel/ai#5171).
_IDS = Alphabet(Pattern(r"[^\s\x00-\x1f]{1,40}"), "call_")
_SAYS = Says(OpenAiFacts, _IDS, USUAL_NAMES, most_stops=4)
#: Wishes that OpenAI knows, and that other vendors' servers may refuse as strange.
_OPENAIS_OWN = frozenset(
    {
        "verbosity",
        "service_tier",
        "store",
        "safety_identifier",
        "prompt_cache_key",
        "prompt_cache_retention",
    }
)
_OTHERS = replace(_SAYS, lacks=_OPENAIS_OWN)


class Quirks(Struct, frozen=True):
    """``max_tokens``: the field that limits output. ``seed``: the field of the seed.

    ``stream_options``: may usage be asked for in a stream (the others send it unasked).
    ``replay``: the assistant message's field in which the provider wants its reasoning back.
    ``prefix``: the field that says of a last assistant message that it is to be gone on with.
    ``completes``: its models go on with a text that is no chat. ``fills``: the path of such a text
    with a gap, "" where there is none.
    ``caches``: whether parts may carry a cache marker of Anthropic's kind. ``says``: see there.
    """

    max_tokens: str = "max_tokens"
    seed: str = "seed"
    stream_options: bool = True
    replay: Literal["reasoning_details", "reasoning_content"] | None = None
    prefix: str = ""
    caches: bool = False
    says: Says = _SAYS

    @property
    def stranger(self) -> bool:
        """A vendor who takes OpenAI's protocol as it was, without its newer names."""
        return "verbosity" in self.says.lacks

    completes: bool = True
    fills: str = "/completions"


_DEFAULT = Quirks()
_REASONING_BACK = Quirks(replay="reasoning_content", says=_OTHERS)
_STRANGER = Quirks(says=_OTHERS)

#: By the end of the host's name.
_BY_DOMAIN: dict[str, Quirks] = {
    # OpenAI's reasoning models refuse max_tokens; all of its models take the newer name.
    "openai.com": Quirks(max_tokens="max_completion_tokens"),
    "azure.com": Quirks(max_tokens="max_completion_tokens"),
    "mistral.ai": Quirks(
        seed="random_seed",
        stream_options=False,
        prefix="prefix",
        says=replace(_OTHERS, ids=MISTRAL_IDS, hottest=1.5),
    ),
    "perplexity.ai": Quirks(stream_options=False, says=_OTHERS),
    "openrouter.ai": Quirks(replay="reasoning_details", caches=True),
    "deepseek.com": _REASONING_BACK,
    "moonshot.ai": replace(_REASONING_BACK, prefix="partial", says=replace(_OTHERS, hottest=1.0)),
    "moonshot.cn": replace(_REASONING_BACK, prefix="partial", says=replace(_OTHERS, hottest=1.0)),
    "z.ai": replace(_REASONING_BACK, says=replace(_OTHERS, hottest=1.0)),
    "bigmodel.cn": replace(_REASONING_BACK, says=replace(_OTHERS, hottest=1.0)),
    "xiaomimimo.com": _REASONING_BACK,
    "aliyuncs.com": Quirks(caches=True, says=_OTHERS),
    "groq.com": _STRANGER,
    "x.ai": _STRANGER,
    "cerebras.ai": _STRANGER,
    "cohere.ai": _STRANGER,
    "cohere.com": _STRANGER,
    "googleapis.com": _STRANGER,
    "together.xyz": _STRANGER,
    "fireworks.ai": _STRANGER,
    "minimax.io": _STRANGER,
    "minimaxi.com": _STRANGER,
}
#: Models whose own vendors want their reasoning back, wherever they are served.
_WANT_REASONING = re.compile(r"deepseek|kimi|mimo-|glm-[5-9]|glm-4\.[5-9]")


#: Vendors whose models take chats only, but for a few; and where some of these fill a gap.
_CHAT_ONLY = frozenset(
    {
        *("openai.com", "azure.com", "mistral.ai", "perplexity.ai", "deepseek.com", "moonshot.ai"),
        *("moonshot.cn", "z.ai", "bigmodel.cn", "xiaomimimo.com", "aliyuncs.com", "groq.com"),
        *("x.ai", "cohere.ai", "cohere.com", "googleapis.com", "minimax.io", "minimaxi.com"),
        *("anthropic.com", "github.ai", "githubcopilot.com"),
    }
)
_COMPLETES = re.compile(r"instruct$|davinci|babbage")
_FILLS = {"mistral.ai": "/fim/completions", "deepseek.com": "/beta/completions"}


@lru_cache(maxsize=1024)
def quirks_of(base_url: str, wire_name: str = "") -> Quirks:
    host = host_of(base_url)
    domain = "azure.com" if is_azure(base_url) else ".".join(host.rsplit(".", 2)[-2:])
    found = _BY_DOMAIN.get(domain, _DEFAULT)
    if domain in _CHAT_ONLY and not _COMPLETES.search(wire_name):
        found = replace(found, completes=False, fills=_FILLS.get(domain, ""))
    if found.replay is None and _WANT_REASONING.search(wire_name.lower()):
        return replace(found, replay="reasoning_content")
    return found
