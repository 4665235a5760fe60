"""Secrets that do not show themselves, and the removal of secrets from text (A2)."""

import re
from collections.abc import Iterable
from typing import NoReturn

from omni_cli.domain.patterns import Pattern

REDACTED = "[key]"
#: Keys of omni's own gateway begin so (``omni keys create``): no provider takes them.
CLIENT_PREFIX = "omni-"
#: Fewer characters than this are not shown any part of.
_MASKABLE = 16
#: From this length on a known secret is looked for anywhere, also cut short; below, as a word.
_LONG = 8
#: A known secret cut short (by a length limit, or by its provider) still has so much of it.
_STUB = 10

_PREFIX = Pattern(r"(?:[A-Za-z]{1,8}[-_]|AIza|eyJ|AKIA)")
#: Vendors' prefixes: OpenAI, Anthropic, OpenRouter, DeepSeek, Moonshot (sk-), Groq (gsk_), xAI,
#: Perplexity, Hugging Face, Cerebras, NVIDIA, Fireworks, Replicate, Together, GitHub.
_VENDORS = (
    *("sk", "pk", "rk", "gsk", "xai", "pplx", "hf", "csk", "nvapi", "fw", "r8", "tgp_v1", "ghp"),
    *("gho", "github_pat"),
)
#: A digit within reach tells a key from words joined by hyphens, such as "sk-learn-contrib".
_DIGIT = r"(?=[A-Za-z0-9_.-]{0,200}[0-9])"
_KEY_LIKE = Pattern(
    rf"""
    (?<![A-Za-z0-9])(?:{"|".join(_VENDORS)})[-_]
        {_DIGIT}[A-Za-z0-9_.\-]{{8,}}
    | (?<![A-Za-z0-9])AIza[A-Za-z0-9_\-]{{10,}}           # Google
    | (?<![A-Za-z0-9])ya29\.[A-Za-z0-9_.\-]{{10,}}        # Google OAuth
    | (?<![A-Za-z0-9])AKIA[A-Z0-9]{{12,}}                 # AWS
    | (?<![A-Za-z0-9])eyJ[A-Za-z0-9_\-]{{8,}}\.[A-Za-z0-9_.\-]{{8,}}   # JSON web token
    | [A-Za-z0-9_\-]{{0,64}}\*{{3,}}[A-Za-z0-9_*\-]{{1,64}}   # masked by its own provider
    """,
    re.VERBOSE,
)
#: What precedes a key is kept: it tells where it stood.
_LABELLED = Pattern(
    r"""
    (   \b(?:bearer|basic)\s{1,4}
      | [?&;](?:api[_-]?key|key|access_token|token|secret)=
      | (?:api[_-]?key|access[_-]?token|auth[_-]?token|client[_-]?secret|password)
        ["']?\s{0,4}[:=]\s{0,4}["']?
      | ://[^\s/:@'"]{0,64}:(?=[^\s/@'"]{1,256}@)
    )
    [^\s"'&,;@)\]}<>\[]{4,}
    """,
    re.VERBOSE | re.IGNORECASE,
)

#: One of these is in whatever the two patterns find: most texts are never asked further, and their
#: patterns take six milliseconds to compile.
_KEY_SIGNS = (
    *(f"{vendor}{mark}" for vendor in _VENDORS for mark in "-_"),
    *("AIza", "ya29.", "AKIA", "eyJ", "***"),
)
_LABELS = ("bearer", "basic", "key", "token", "secret", "password", "://")


class Secret:
    """A secret text. Only ``reveal`` gives it out: repr, str, format and tracebacks do not.

    It cannot be pickled, so that no dump of a process's objects holds it by accident.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return f"Secret({mask(self._value)!r})"

    def __str__(self) -> str:
        return mask(self._value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return self._value == other._value

    def __hash__(self) -> int:
        return hash(("Secret", self._value))

    def __bool__(self) -> bool:
        return bool(self._value)

    def __deepcopy__(self, memo: object) -> "Secret":
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret cannot be pickled")


def mask(secret: str | Secret) -> str:
    """``sk-...XXXX``: the vendor's prefix and the last four characters; ``****`` when short."""
    value = secret.reveal() if isinstance(secret, Secret) else secret
    if len(value) < _MASKABLE:
        return "****"
    prefix = _PREFIX.match(value)
    shown = prefix.group() if prefix else ""
    if len(value) - len(shown) - 4 < _LONG:
        return "****"
    return f"{shown}...{value[-4:]}"


def scrub(text: str, secrets: Iterable[str | Secret] = ()) -> str:
    """``text`` without the known secrets, nor anything that looks like a key.

    Args:
        secrets: looked for as they are, percent-encoded, and (long ones) cut short. Secrets
            below eight characters are only found as whole words: "a" must not empty a page.
    """
    values = {s.reveal() if isinstance(s, Secret) else s for s in secrets} - {""}
    for value in sorted(values, key=len, reverse=True):
        text = _without(text, value)
    lower = text.lower()
    # Some letters outside ASCII count as others where capitals do not matter.
    if not text.isascii() or any(label in lower for label in _LABELS):
        text = _LABELLED.sub(rf"\1{REDACTED}", text)
    if any(sign in text for sign in _KEY_SIGNS):
        text = _KEY_LIKE.sub(REDACTED, text)
    return text


def _without(text: str, secret: str) -> str:
    if len(secret) < _LONG:
        return re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", REDACTED, text)
    text = text.replace(secret, REDACTED)
    if not secret.isalnum():
        from urllib.parse import quote  # a millisecond that only odd secrets cost

        text = text.replace(quote(secret, safe=""), REDACTED)
    if len(secret) < 2 * _STUB:
        return text
    # The rest of a stub is whatever prefix of the secret's own rest follows it.
    head, rest = secret[:_STUB], secret[_STUB:]
    at = text.find(head)
    while at >= 0:
        end = at + _STUB
        while end < len(text) and end - at < len(secret) and text[end] == rest[end - at - _STUB]:
            end += 1
        text = text[:at] + REDACTED + text[end:]
        at = text.find(head, at + len(REDACTED))
    return text
