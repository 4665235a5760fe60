"""The fleet's nouns: providers, models, roles, rules, chains."""

import re
from collections.abc import Mapping
from datetime import date, timedelta
from functools import lru_cache
from typing import Literal

from msgspec import Struct, field

from omni_cli.domain.patterns import Pattern

#: One of those that wire/registry.py lists.
ProtocolName = str
AuthMethod = Literal["api_key", "none"]
ProviderStatus = Literal["connected", "disconnected", "error", "maintenance"]
ModelStatus = Literal["active", "standby", "disabled"]
ModelType = Literal["text", "vision", "multimodal"]

#: Badges a model may carry; a need names one of them.
BADGES: tuple[str, ...] = ("vision", "function-calling", "json-mode", "streaming", "reasoning")
#: Capability scores, each 0-100.
CAPABILITIES: tuple[str, ...] = ("coding", "reasoning", "creativity", "speed")

#: GPT-3's size in billions of parameters, the unit of the complexity factor (registry spec).
COMPLEXITY_BASE_B = 175.0

DEFAULT_MAX_RETRIES = 2
DEFAULT_TIMEOUT_MS = 30_000
MAX_RETRIES_RANGE = (0, 10)
TIMEOUT_MS_RANGE = (1_000, 120_000)
#: When a second model may be asked beside the first.
HEDGE_MS_RANGE = (50, 120_000)
#: What may be set of calls to one model (management spec, performanceSettings), each from and to.
CALL_SETTINGS: Mapping[str, tuple[int, int]] = {
    "timeout_ms": TIMEOUT_MS_RANGE,
    "max_retries": MAX_RETRIES_RANGE,
    "retry_delay_ms": (0, 60_000),
    "rate_limit_rpm": (1, 1_000_000),
    "batch_size": (1, 1_000),
}


class Provider(Struct, frozen=True):
    """An account at an API. ``key_env`` names the variable that holds its key, if any.
    ``max_concurrency``: calls that may be under way at once, over all processes; None: no limit.
    """

    slug: str
    name: str
    protocol: ProtocolName
    base_url: str
    auth_method: AuthMethod = "api_key"
    key_env: str | None = None
    enabled: bool = True
    max_concurrency: int | None = None
    status: ProviderStatus = "disconnected"
    simulated: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)


#: Words in the names of models that embed or rank.
EMBEDDER_WORDS = ("embed", "rerank", "bge-", "minilm")
#: Words in the names of models that do not chat, for listings that do not say what comes out.
OTHER_WORDS = (
    *EMBEDDER_WORDS, "whisper", "tts", "transcribe", "speech", "audio",
    "realtime", "dall-e", "image", "imagen", "veo", "sora", "video", "moderation", "guard",
    "ocr", "aqa", "davinci-002", "babbage-002", "lyria",
)  # fmt: skip


class ModelInfo(Struct, frozen=True):
    """One callable model of a provider.

    ``id`` is ``provider/wire_name``. Token limits are in tokens; None means unknown.
    ``scores`` are 0-100 by capability, only those with a source. ``parameters_b`` is in
    billions. ``token_weights`` scale omni's token estimate for this model's tokenizer.
    Times are ms since the epoch, UTC. ``retired_on`` is the ISO date on which its provider stops
    (or stopped) serving it, None where none is known. A badge that is missing is unknown; ``lacks``
    are those that a source says the model has not. ``settings``: what its user set of
    ``CALL_SETTINGS``. A chain's link goes before ``timeout_ms`` and ``max_retries``;
    ``retry_delay_ms`` is waited before each further try, but for a provider that asks for longer;
    ``rate_limit_rpm``: calls that go out to it within a minute, of all processes; ``batch_size``:
    calls to it at once where many are made (comparisons and suites).
    """

    id: str
    provider: str
    wire_name: str
    name: str
    aliases: tuple[str, ...] = ()
    type: ModelType = "text"
    context_window: int | None = None
    max_output: int | None = None
    input_types: tuple[str, ...] = ("text",)
    output_types: tuple[str, ...] = ("text",)
    badges: frozenset[str] = frozenset()
    lacks: frozenset[str] = frozenset()
    scores: Mapping[str, float] = field(default_factory=dict)
    score_sources: Mapping[str, str] = field(default_factory=dict)
    strengths: tuple[str, ...] = ()
    recommended_for: tuple[str, ...] = ()
    parameters_b: float | None = None
    token_weights: Mapping[str, float] = field(default_factory=dict)
    settings: Mapping[str, int] = field(default_factory=dict)
    status: ModelStatus = "active"
    is_system: bool = False
    is_default: bool = False
    hidden: bool = False
    retired_on: str | None = None
    added_at: int | None = None
    updated_at: int | None = None

    def has(self, badge: str) -> bool | None:
        """Whether it has a badge; None where nobody says."""
        if badge in self.badges or (badge == "vision" and "image" in self.input_types):
            return True
        return False if badge in self.lacks else None

    @property
    def by_batch(self) -> bool:
        """Answers within a day, through its provider's batch interface only, so never a chat.

        OpenRouter's names say it (openrouter.ai/docs/batch-quickstart, read 2026-11-28).
        """
        return self.wire_name.endswith(":batch")

    @property
    def chats(self) -> bool:
        """Text comes out at once, and nothing says that it is a bare embedder, ear or guard."""
        texts = "text" in self.output_types and "text" in self.input_types
        other = any(word in self.wire_name.lower() for word in OTHER_WORDS)
        return texts and not other and not self.hidden and not self.by_batch

    @property
    def complexity_factor(self) -> float | None:
        """``parameters_b / 175`` (registry spec); None where the size is unknown."""
        return None if self.parameters_b is None else self.parameters_b / COMPLEXITY_BASE_B


class RoleModel(Struct, frozen=True):
    model: str
    priority: int = 1


class Role(Struct, frozen=True):
    """A job in the user's work: models in order of priority, 1 first."""

    name: str
    description: str = ""
    models: tuple[RoleModel, ...] = ()


class Rule(Struct, frozen=True):
    """``condition`` is in the specs' syntax; the lowest ``priority`` that holds wins."""

    id: int
    condition: str
    model: str
    priority: int = 1
    enabled: bool = True


class ChainLink(Struct, frozen=True):
    """One model of a chain: retries after the first try (0-10), timeout of each try."""

    model: str
    max_retries: int = DEFAULT_MAX_RETRIES
    timeout_ms: int = DEFAULT_TIMEOUT_MS


class Chain(Struct, frozen=True):
    """A failover chain, at least one link.

    To list a model is to consent to its cost. ``max_cost_multiple`` takes that back: whoever
    stands in may cost at most this many times the first link's expected cost; None: the links may
    cost anything, and models after them what the settings say. ``any_cost``: those, too, anything.
    ``allow_free_to_paid``: may a paid model stand in for a free first link; None: a link may.
    ``hedge_ms``: the next link is asked as well when no answer has begun by then, and the answer
    that begins first is taken; None: one after the other.
    """

    name: str
    links: tuple[ChainLink, ...]
    max_cost_multiple: float | None = None
    allow_free_to_paid: bool | None = None
    hedge_ms: int | None = None
    any_cost: bool = False


def outputs_of(wire_name: str) -> tuple[str, ...]:
    """What a model writes, as far as its name tells: local servers list embedding models beside
    the others and do not tell them apart."""
    name = wire_name.lower()
    return ("embedding",) if any(word in name for word in EMBEDDER_WORDS) else ("text",)


def fold_alias(name: str) -> str:
    """Aliases ignore case and treat spaces as dashes: "Claude Sonnet 4" is claude-sonnet-4."""
    return "-".join(name.lower().split())


#: A model that leaves within so many days is not advised any more.
LEAVING_DAYS = 90
#: One that leaves within so many days is put to work only when somebody says so again.
ASK_DAYS = 30


def is_leaving(model: ModelInfo, today: str, *, within_days: int = LEAVING_DAYS) -> bool:
    """Whether its provider has stopped serving it or means to soon. ``today``: ISO date."""
    if model.retired_on is None:
        return False
    return model.retired_on <= (date.fromisoformat(today) + timedelta(within_days)).isoformat()


def retired_for(retired_on: str | None, today: str) -> str:
    """Such as "retired 16 months ago", "retired 12 days ago"; "" for what is served. ISO dates."""
    if retired_on is None or retired_on > today:
        return ""
    days = (date.fromisoformat(today) - date.fromisoformat(retired_on)).days
    if days < 61:
        return f"retired {days} day{'s' * (days != 1)} ago" if days else "retired today"
    return f"retired {days * 12 // 365} months ago"


def retirement_words(retired_on: str, today: str) -> str:
    """Such as "stopped serving it on 2026-06-15", "stops serving it on 2027-01-14"; ISO dates."""
    return f"{'stopped' if retired_on <= today else 'stops'} serving it on {retired_on}"


# How large a model is, as far as its name tells: nearly every open model's name says it.

#: Experts of a mixture share their attention: 8x7b has 47 billion parameters, 8x22b 141.
_SHARED = 0.82
#: Fewer million parameters are a context window ("-1m"), not a model.
_LEAST_M = 14.0
_MOST_B = 5_000.0
_UNITS = {"m": 1e-3, "b": 1.0, "t": 1e3}

_MIXTURE = Pattern(r"(?<![a-z0-9.])(\d{1,3})x(\d{1,3}(?:\.\d+)?)b(?![a-z0-9])")
#: "70b", "1.1b", "135m", "1t"; "e4b" counts what is in use at once; not "a3b", the active part.
_PLAIN = Pattern(r"(?<![a-z0-9.])e?(\d{1,4}(?:\.\d+)?)([mbt])(?![a-z0-9])")


@lru_cache(maxsize=8192)
def size_of_name(name: str) -> float | None:
    """Billions of parameters, all experts together; None where the name does not say."""
    low = name.lower()
    found = [
        int(experts) * float(size) * _SHARED for experts, size in _MIXTURE.findall(low) if size
    ]
    found += [
        float(amount) * _UNITS[unit]
        for amount, unit in _PLAIN.findall(low)
        if unit != "m" or float(amount) >= _LEAST_M
    ]
    fitting = [size for size in found if 0.0 < size <= _MOST_B]
    return max(fitting, default=None)


def parse_size(text: str) -> float | None:
    """Billions of parameters from a listing's words, such as "7.2B" or "134.52M"."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMBT])\s*", text, re.IGNORECASE)
    if match is None:
        return None
    size = float(match[1]) * {**_UNITS, "k": 1e-6}[match[2].lower()]
    return size if 0.0 < size <= _MOST_B else None
