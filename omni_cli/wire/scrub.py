"""Keeps secrets and terminal control codes out of what providers say."""

import re
from collections.abc import Iterable, Mapping

from omni_cli.domain.patterns import Pattern

#: Longest message kept, in characters.
MAX_MESSAGE = 500

_MASK = "[key]"
#: Key shapes of known vendors, authorization headers, key parameters, and keys that the
#: provider itself masked with asterisks (it shows their first or last characters).
_KEY_LIKE = Pattern(
    r"""
    \b(?:sk|pk|rk|gsk|csk|xai|pplx|hf|nvapi|fw|tgp_v1|AQ)[-_.][A-Za-z0-9_*.\-]{6,}
    | \bAIza[A-Za-z0-9_*\-]{6,}
    | (?<![A-Za-z0-9])[A-Za-z0-9_.\-]*\*{3,}[A-Za-z0-9_.*\-]*
    | (?i:\bbearer)\s+[A-Za-z0-9_.~+/=*\-]{6,}
    | (?i:[?&](?:api[_-]?key|key|access_token|token)=)[^\s&"']+
    """,
    re.VERBOSE,
)
_SECRET_HEADER = Pattern(r"auth|key|token|secret|cookie|credential", re.IGNORECASE)
#: C0 and C1 controls (escape sequences start with them) and bidirectional overrides.
_CONTROL = Pattern(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]+")
#: An echoed key is recognised by this many of its first characters.
_PREFIX = 8


def secrets_in(headers: Mapping[str, str]) -> tuple[str, ...]:
    """The secret values of request headers, without the scheme word before them."""
    found: list[str] = []
    for name, value in headers.items():
        if _SECRET_HEADER.search(name):
            found.append(value.rpartition(" ")[2])
    return tuple(secret for secret in found if secret)


def echoes(text: str, secrets: Iterable[str]) -> bool:
    """Whether ``text`` holds one of the secrets, or more than its first characters."""
    return any(secret[:_PREFIX] in text for secret in secrets if len(secret) >= 4)


def scrub(text: str, secrets: Iterable[str] = ()) -> str:
    """One printable line of at most MAX_MESSAGE characters without anything like a key.

    Args:
        text: words of a provider or of a library.
        secrets: the call's own secrets; each is removed wherever it, or more than its first
            characters, appear.
    """
    for secret in secrets:
        if len(secret) > _PREFIX:
            text = re.sub(re.escape(secret[:_PREFIX]) + r"[^\s\"',;)]*", _MASK, text)
        elif len(secret) >= 4:
            text = text.replace(secret, _MASK)
    text = _KEY_LIKE.sub(_MASK, text)
    text = " ".join(_CONTROL.sub(" ", text).split())
    return text if len(text) <= MAX_MESSAGE else text[: MAX_MESSAGE - 1] + "…"
