"""From a provider's words to the typed error: one table for all protocols.

Providers agree on little: the same trouble comes as 400, 403 or 429, with a code, a type or
only a sentence. Codes are looked at first, then the status, then the words.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from omni_cli.domain.errors import (
    AuthError,
    BadRequest,
    ContentFiltered,
    ContextTooLong,
    ModelNotFound,
    Overloaded,
    ProviderError,
    QuotaExceeded,
    RateLimited,
    TimedOut,
)
from omni_cli.wire.scrub import scrub
from omni_cli.wire.values import as_list, as_object, as_text
from omni_cli.wire.waits import duration_s, retry_after_s


@dataclass(frozen=True, slots=True)
class Detail:
    """What an error body says. ``codes``: every code, type and reason it names, upper-case."""

    message: str
    codes: tuple[str, ...] = ()
    code: str | None = None
    status: int | None = None
    wait_s: float | None = None


_HINTS: dict[type[ProviderError], str] = {
    AuthError: "Correct the provider's key, then: omni providers test PROVIDER",
    ModelNotFound: "See what the provider serves: omni discover",
    RateLimited: "Wait, or give the role a chain so that another model takes over.",
    QuotaExceeded: "Add credit at the provider, or use another provider's model.",
    Overloaded: "Try again, or give the role a chain so that another model takes over.",
    ContextTooLong: "Shorten the input, or choose a model with a larger context window.",
    ContentFiltered: "Rephrase the request, or choose another model.",
    TimedOut: "Try again, or raise the link's timeout_ms.",
}

#: Codes that settle the matter whatever the status is.
_BY_CODE: dict[str, type[ProviderError]] = {
    **dict.fromkeys(
        (
            "INSUFFICIENT_QUOTA",
            "BILLING_HARD_LIMIT_REACHED",
            "BILLING_ERROR",
            "BILLING_NOT_ACTIVE",
            "EXCEEDED_CURRENT_QUOTA_ERROR",
            "INSUFFICIENT_BALANCE",
            "INSUFFICIENT_CREDITS",
            "1113",  # Z.ai: the balance is used up, sent as 429
        ),
        QuotaExceeded,
    ),
    **dict.fromkeys(
        ("CONTEXT_LENGTH_EXCEEDED", "EXCEED_CONTEXT_SIZE_ERROR", "REQUEST_TOO_LARGE"),
        ContextTooLong,
    ),
    **dict.fromkeys(
        (
            "CONTENT_FILTER",
            "CONTENT_POLICY_VIOLATION",
            "MODERATION_BLOCKED",
            "DATA_INSPECTION_FAILED",
            "1301",  # Z.ai: unsafe content
        ),
        ContentFiltered,
    ),
    **dict.fromkeys(("INVALID_API_KEY", "API_KEY_INVALID", "AUTHENTICATION_ERROR"), AuthError),
    **dict.fromkeys(("MODEL_NOT_FOUND", "INVALID_MODEL", "UNKNOWN_MODEL"), ModelNotFound),
    **dict.fromkeys(("RATE_LIMIT_ERROR", "RATE_LIMIT_REACHED_ERROR"), RateLimited),
    "OVERLOADED_ERROR": Overloaded,
}

#: The HTTP status that a code or type stands for, for errors inside an answer of status 200.
_STATUS_OF: dict[str, int] = {
    "INVALID_REQUEST_ERROR": 400,
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "OUT_OF_RANGE": 400,
    "TOOL_USE_FAILED": 400,
    "INVALID_PROMPT": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_ERROR": 403,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND_ERROR": 404,
    "NOT_FOUND": 404,
    "RATE_LIMIT_EXCEEDED": 429,
    "RESOURCE_EXHAUSTED": 429,
    "TIMEOUT_ERROR": 504,
    "DEADLINE_EXCEEDED": 504,
    "API_ERROR": 500,
    "SERVER_ERROR": 500,
    "INTERNAL": 500,
    "INTERNAL_SERVER_ERROR": 500,
    "UNAVAILABLE": 503,
    "SERVICE_UNAVAILABLE": 503,
}

_QUOTA = re.compile(
    r"credit balance|insufficient (?:balance|credit|fund|quota)|exceeded your current quota"
    r"|(?:out of|used all|no) (?:available )?credits|requires more credits|billing hard limit"
    r"|monthly spending limit",
    re.IGNORECASE,
)
_KEY = re.compile(
    r"(?:api[ _-]?key|(?:access|auth|authentication) token|credentials?)\b.{0,40}"
    r"(?:not valid|invalid|incorrect|missing|expired|not found|required)"
    r"|(?:incorrect|invalid|missing|no|expired) (?:x-)?api[ _-]?key",
    re.IGNORECASE,
)
_CONTEXT = re.compile(
    r"context[ _](?:length|window|size|limit)|maximum context|prompt is too long"
    r"|input is too long|too many (?:input )?tokens|reduce the length"
    r"|(?:token count|tokens|input length|prompt length)\b.{0,60}"
    r"\b(?:exceeds?|exceeded|longer than|larger than)\b.{0,60}"
    r"\b(?:maximum|max|limit|allowed|supported|model)",
    re.IGNORECASE,
)
_CONTENT = re.compile(
    r"content management policy|content[ _]policy|content exists risk|safety system"
    r"|flagged (?:as|by|for)|requires moderation|violat\w+ (?:our |the )?(?:usage|content|safety)"
    r"|content filter",
    re.IGNORECASE,
)
_MODEL = re.compile(
    r"not a valid model|invalid model|model not exist|unknown model"
    r"|model\b.{0,80}\b(?:does not exist|not found|is not found|not supported for generate)",
    re.IGNORECASE,
)


def explain(status: int, headers: Mapping[str, str], body: str) -> ProviderError:
    """The typed error of an answer whose status is not 2xx."""
    detail = read_detail(body)
    if not detail.message.strip():
        detail = Detail(_status_words(status, body), detail.codes, detail.code)
    return fault(status, detail, headers)


def in_band(payload: object) -> ProviderError:
    """The typed error of an error object inside an answer of status 200."""
    return fault(None, detail_of(payload), {})


def fault(status: int | None, detail: Detail, headers: Mapping[str, str]) -> ProviderError:
    """Choose the error class.

    Args:
        status: HTTP status; None for an error inside an answer, whose own code counts then.
        detail: what the body says.
        headers: response headers, lower-case names.
    """
    meant = status if status is not None else detail.status
    if meant is None:
        meant = next((_STATUS_OF[code] for code in detail.codes if code in _STATUS_OF), None)
    kind = _class_of(meant, detail)
    wait_s = detail.wait_s
    if kind is QuotaExceeded:
        wait_s = None  # waiting does not help, whatever a daily limit's RetryInfo says
    elif wait_s is None:
        wait_s = retry_after_s(meant, headers, detail.message)
    return kind(
        scrub(detail.message) or "The provider reported an error without a message",
        hint=_HINTS.get(kind, ""),
        status=meant,
        retry_after_s=wait_s,
        provider_code=scrub(detail.code) if detail.code else None,
    )


def _class_of(status: int | None, detail: Detail) -> type[ProviderError]:
    words = detail.message
    for code in detail.codes:
        if code in _BY_CODE:
            return _BY_CODE[code]
    if status == 402:
        return QuotaExceeded
    if status == 429:
        # Google words every rate limit as a used-up quota, but says when to come back.
        used_up = _QUOTA.search(words) and detail.wait_s is None
        return QuotaExceeded if used_up else RateLimited
    if status in (408, 504, 524):
        return TimedOut
    if status is not None and status >= 500:
        # llama.cpp and some gateways report a prompt that is too long as a server error.
        return ContextTooLong if _CONTEXT.search(words) else Overloaded
    if status == 413:
        return ContextTooLong
    if _QUOTA.search(words):
        return QuotaExceeded
    if status == 401:
        return AuthError
    if _CONTENT.search(words):
        return ContentFiltered
    if status == 403:
        return AuthError
    if status == 404:
        return ModelNotFound
    if _CONTEXT.search(words):
        return ContextTooLong
    if _KEY.search(words):
        return AuthError
    if _MODEL.search(words):
        return ModelNotFound
    return BadRequest if status is not None else Overloaded


def read_detail(body: str) -> Detail:
    """What an error body says, whatever its shape; an empty message when it says nothing."""
    text = body.strip()
    try:
        return detail_of(json.loads(text))
    except (ValueError, RecursionError):
        looks_like_page = text[:1] == "<"
        return Detail("" if looks_like_page else text[:2000])


def detail_of(payload: object) -> Detail:
    """The same of parsed JSON: an error object, or an object or array that holds one."""
    if isinstance(payload, list):
        payload = payload[0] if payload else None
    if isinstance(payload, str):
        return Detail(payload)
    outer = as_object(payload)
    inner = outer.get("error")
    if isinstance(inner, str):
        return Detail(_join(inner, as_text(outer.get("message"))), *_codes(outer))
    error: dict[str, Any] = inner if isinstance(inner, dict) else outer
    message = as_text(error.get("message")) or _words(error.get("message"))
    message = message or _words(outer.get("detail")) or _words(outer.get("errors"))
    status_object = as_object(outer.get("status"))  # Clarifai
    if status_object and not message:
        message = _join(
            as_text(status_object.get("description")), as_text(status_object.get("details"))
        )
        error = status_object
    raw = as_object(error.get("metadata")).get("raw")  # OpenRouter: its upstream's own words
    if isinstance(raw, str) and raw:
        message = _join(message, read_detail(raw).message)
    codes, code = _codes(error)
    wait_s, reasons = _google_details(error.get("details"))
    return Detail(message, codes + reasons, code, _status(error), wait_s)


def _codes(error: Mapping[str, Any]) -> tuple[tuple[str, ...], str | None]:
    """All codes that ``error`` names, upper-case, and the one to show."""
    named = [error.get(key) for key in ("code", "type", "status")]
    texts = [str(value) for value in named if isinstance(value, str | int) and value]
    words = [text for text in texts if not text.isdigit()]
    return tuple(text.upper() for text in texts), next(iter(words or texts), None)


def _status(error: Mapping[str, Any]) -> int | None:
    for key in ("status_code", "code", "status"):
        value = error.get(key)
        if isinstance(value, str) and value.isdecimal() and len(value) == 3:
            value = int(value)
        if isinstance(value, int) and 400 <= value < 600:
            return value
    return None


def _google_details(details: object) -> tuple[float | None, tuple[str, ...]]:
    """The wait (google.rpc.RetryInfo) and the reasons (ErrorInfo) of an error's details.

    A used-up daily allowance counts as a quota: its RetryInfo speaks of seconds all the same.
    """
    wait_s: float | None = None
    reasons: list[str] = []
    for entry in map(as_object, as_list(details)):
        if delay := as_text(entry.get("retryDelay")):
            wait_s = duration_s(delay)
        if reason := as_text(entry.get("reason")):
            reasons.append(reason.upper())
        violations = map(as_object, as_list(entry.get("violations")))
        if any("PerDay" in as_text(violation.get("quotaId")) for violation in violations):
            reasons.append("INSUFFICIENT_QUOTA")
    return wait_s, tuple(reasons)


def _words(value: object) -> str:
    """The sentences in a validation report: text, an object or an array of them."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "; ".join(filter(None, (_words(item) for item in value[:3])))
    entry = as_object(value)
    said = next((entry[key] for key in ("msg", "message", "detail") if entry.get(key)), None)
    place = ".".join(str(step) for step in as_list(entry.get("loc")))
    text = _words(said) if said is not None else ""
    return f"{place}: {text}" if place and text else text


def _join(first: str, second: str) -> str:
    if not first or not second or second in first:
        return first or second
    return f"{first}: {second}"


def _status_words(status: int, body: str) -> str:
    if 300 <= status < 400:
        return f"HTTP {status}: the address redirects elsewhere"
    page = " with an HTML page; is the base URL right?" if body.lstrip()[:1] == "<" else ""
    return f"HTTP {status}{page or ' without a message'}"
