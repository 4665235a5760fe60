"""From a provider's words to the typed error: one table for all protocols.

Providers agree on little: the same trouble comes as 400, 403 or 429, with a code, a type or
only a sentence. Codes are looked at first, then the status, then the words.
"""

import re
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from omni_cli.domain.errors import (
    AuthError,
    BadRequest,
    ContentFiltered,
    ContextTooLong,
    Malformed,
    ModelNotFound,
    Overloaded,
    ProviderError,
    QuotaExceeded,
    RateLimited,
    TimedOut,
)
from omni_cli.domain.patterns import Pattern
from omni_cli.domain.record import replace
from omni_cli.wire import meanings, waits
from omni_cli.wire.meanings import STATUS_OF as _CODES
from omni_cli.wire.scrub import scrub
from omni_cli.wire.values import as_list, as_object, as_text, load_json
from omni_cli.wire.waits import duration_s, retry_after_s


class Detail(Struct, frozen=True):
    """What an error body says. ``codes``: every code, type and reason it names, upper-case."""

    message: str
    codes: tuple[str, ...] = ()
    code: str | None = None
    status: int | None = None
    wait_s: float | None = None


#: A thought that another model, or another vendor, has signed or encrypted: Anthropic's, Google's
#: and OpenAI's words for it.
_FOREIGN_THOUGHT = Pattern(
    r"signature.{0,40}(thinking|thought)|(thinking|thought)[_ ]?.{0,40}signature|"
    r"encrypted[_ ]content.{0,80}(verif|decrypt|invalid|pars)|invalid_encrypted_content|"
    r"(thinking|redacted_thinking).{0,60}cannot be modified|"
    # The turn under way begins with no thought, or with one that is not taken.
    r"expected .{0,3}thinking.{0,60}but found|invalid .{0,40}redacted_thinking|"
    r"thinking blocks.{0,40}not allowed|thinking.{0,40}must be passed back|"
    r"reasoning_content.{0,40}(missing|passed back|required)|missing.{0,9}reasoning_content|"
    # OpenAI's items that belong together, or that it never kept.
    r"without its required .{0,3}(reasoning|following)|items are not persisted",
    re.IGNORECASE | re.DOTALL,
)


def is_foreign_thought(error: Exception) -> bool:
    """Whether a provider refused what another model thought: without it, it would answer."""
    if not isinstance(error, BadRequest):
        return False
    said = f"{error.message} {error.provider_code or ''}"
    return bool(_FOREIGN_THOUGHT.search(said))


KEY_HINT = "Correct the provider's key, then: omni providers test PROVIDER"
_HINTS: dict[type[ProviderError], str] = {
    AuthError: KEY_HINT,
    ModelNotFound: "See what the provider serves: omni discover",
    RateLimited: "Wait, or give the role a chain so that another model takes over.",
    QuotaExceeded: "Add credit at the provider, or use another provider's model.",
    Overloaded: "Try again, or give the role a chain so that another model takes over.",
    ContextTooLong: "Shorten the input, or choose a model with a larger context window.",
    ContentFiltered: "Rephrase the request, or choose another model.",
    TimedOut: "Try again, or raise the link's timeout_ms.",
}

#: A wait that long is an allowance's, not a pace's.
_LONG_S = 3600.0
#: Where an allowance that is used up comes back, a shorter wait says nothing about it.
_SOON_S = 60.0
#: A 404 that is the server's own, not an answer about a model.
_NO_PAGE = Pattern(
    r"page not found|no such (?:route|path)|cannot (?:post|get)\b|invalid url|unknown request url"
    r"|^not found$|http 404",
    re.IGNORECASE,
)
_NO_PAGE_HINT = "Is the provider's base URL right? See what it serves: omni discover"


def explain(status: int, headers: Mapping[str, str], body: str) -> ProviderError:
    """The typed error of an answer whose status is not 2xx."""
    detail = read_detail(body)
    if not detail.message.strip():
        detail = replace(detail, message=_status_words(status, body))
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
    if (kind_of := headers.get("x-amzn-errortype")) is not None:  # Amazon Bedrock
        detail = replace(detail, codes=(*detail.codes, kind_of.partition(":")[0].upper()))
    if meant is None:
        meant = next((_CODES[code] for code in detail.codes if code in _CODES), None)
    wait_s = detail.wait_s
    if wait_s is None:
        wait_s = retry_after_s(meant, headers, detail.message)
    kind = _class_of(meant, detail)
    if kind is RateLimited and wait_s is not None and wait_s >= _LONG_S:
        kind = QuotaExceeded
    hint = _HINTS.get(kind, "")
    if kind is QuotaExceeded:
        # Waiting for seconds does not help, whatever a daily limit's RetryInfo says.
        wait_s = wait_s if wait_s is not None and wait_s >= _SOON_S else None
        if wait_s is not None:
            hint = (
                f"It comes back in about {_span(wait_s)}; till then use another provider's model."
            )
    elif kind is ModelNotFound and status == 404 and _NO_PAGE.search(detail.message):
        hint = _NO_PAGE_HINT
    for pattern, advice in meanings.CLOUD_HINTS:
        if pattern.search(detail.message):
            hint = advice
    error = kind(
        scrub(detail.message) or "The provider reported an error without a message",
        hint=hint,
        status=meant,
        retry_after_s=wait_s,
        provider_code=scrub(detail.code) if detail.code else None,
    )
    if isinstance(error, BadRequest):
        error.everywhere = bool(meanings.EVERYWHERE.search(detail.message))
    return error


def _span(seconds: float) -> str:
    """About how long, for a person: "12 min", "7 h", "6 days"."""
    for unit, size in (("days", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _class_of(status: int | None, detail: Detail) -> type[ProviderError]:
    words = detail.message
    if meanings.NEVER_FITS.search(words):
        return ContextTooLong
    coded = next(filter(None, map(meanings.code_meaning, detail.codes)), None)
    if coded is RateLimited and _used_up(detail) and not _by_minute(detail):
        return QuotaExceeded
    if coded is not None:
        return coded
    if status == 429:
        if _used_up(detail):
            return QuotaExceeded
        return Overloaded if meanings.full(words) else RateLimited
    if meanings.too_long(words):
        # llama.cpp and some gateways report a prompt that is too long as a server error.
        return ContextTooLong
    if meanings.spent(words):
        return QuotaExceeded
    if status is not None and status >= 500:
        if meanings.no_channel(words):
            return ModelNotFound
        return meanings.BY_STATUS.get(status, Overloaded)
    if status in (403, 404, 451) and meanings.filtered(words):
        return ContentFiltered
    if status == 404 and meanings.lacking(words):
        return BadRequest
    if status == 403:
        if meanings.about_model(words):
            return ModelNotFound
        return RateLimited if meanings.paced(words) else AuthError
    if status in meanings.BY_STATUS:
        return meanings.BY_STATUS[status]
    for pattern, kind in meanings.BY_WORDS:
        if pattern.search(words):
            return kind
    return BadRequest if status is not None else Overloaded


def _by_minute(detail: Detail) -> bool:
    """Model Studio calls a minute's tokens a quota, too; those that are given away are one."""
    paced = any(code.startswith("THROTTLING.") for code in detail.codes)
    return paced and "free" not in detail.message.lower()


def _used_up(detail: Detail) -> bool:
    """Of a refusal for too much: whether an allowance is spent, not only a pace exceeded."""
    words = detail.message
    long = bool(meanings.LONG_QUOTA.search(words))
    if not (long or meanings.spent(words)):
        return False
    # Google words every rate limit as a used-up quota, but says when to come back.
    near = detail.wait_s if detail.wait_s is not None else waits.told_s(words)
    return near is None or near >= (_SOON_S if long else _LONG_S)


def read_detail(body: str) -> Detail:
    """What an error body says, whatever its shape; an empty message when it says nothing."""
    text = body.strip()
    try:
        return detail_of(load_json(text))
    except Malformed:
        looks_like_page = text[:1] == "<"
        return Detail("" if looks_like_page else text[:2000])


def detail_of(payload: object) -> Detail:
    """The same of parsed JSON: an error object, or an object or array that holds one."""
    if isinstance(payload, list):
        payload = payload[0] if payload else None
    if isinstance(payload, str):
        return Detail(payload)
    outer = as_object(payload)
    if (base := as_object(outer.get("base_resp"))).get("status_code"):  # MiniMax
        code = f"MINIMAX:{base['status_code']}"
        return Detail(as_text(base.get("status_msg")), (code,), code)
    inner = outer.get("error")
    if isinstance(inner, str):
        text = _join(inner, as_text(outer.get("message")))
        named = _codes(outer)
        return Detail(text, *named, _status(outer), _told_wait(outer))
    error: dict[str, Any] = inner if isinstance(inner, dict) else outer
    message = as_text(error.get("message")) or _words(error.get("message"))
    message = message or _words(outer.get("detail")) or _words(outer.get("errors"))
    message = message or next(
        (text for key in _OTHER_NAMES if (text := as_text(outer.get(key)))), ""
    )
    status_object = as_object(outer.get("status"))  # Clarifai
    if status_object and not message:
        message = _join(
            as_text(status_object.get("description")), as_text(status_object.get("details"))
        )
        error = status_object
    metadata = as_object(error.get("metadata"))
    raw = metadata.get("raw")  # OpenRouter: its upstream's own words
    if isinstance(raw, str) and raw:
        message = _join(message, read_detail(raw).message)
    codes, shown = _codes(error)
    inner_error = as_object(error.get("innererror"))  # Azure
    if inner_code := as_text(inner_error.get("code")):
        codes = (*codes, inner_code.upper())
    wait_s, reasons = _google_details(error.get("details"))
    for told_in in (error, outer, as_object(error.get("details")), metadata):
        if wait_s is None:
            wait_s = _told_wait(told_in)
    if wait_s is None:
        told = {k.lower(): v for k, v in as_object(metadata.get("headers")).items()}
        wait_s = retry_after_s(429, {k: v for k, v in told.items() if isinstance(v, str)})
    return Detail(message, codes + reasons, shown, _status(error), wait_s)


#: Where some put their words: Baidu, Amazon, FastAPI's relatives.
_OTHER_NAMES = ("Message", "error_msg", "error_description", "msg", "title")
_WAIT_FIELDS = (
    "retry_after",
    "retry_after_seconds",
    "retryAfter",
    "retryAfterSeconds",
    "resets_in_seconds",
    "reset_after",
    "wait_seconds",
)
_MILLISECONDS = ("retry_after_ms", "retryAfterMs")
_MOMENTS = ("resets_at", "reset_at", "resetsAt", "resetAt")


def _told_wait(error: Mapping[str, Any]) -> float | None:
    """Seconds to wait that an error object itself names (ChatGPT plans, Cloudflare, litellm)."""
    for name in _WAIT_FIELDS:
        value = error.get(name)
        if isinstance(value, int | float | str) and not isinstance(value, bool):
            wait = duration_s(str(value))
            if wait is not None:
                return wait
    for name in _MILLISECONDS:
        value = error.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return duration_s(str(value / 1000))
    for name in _MOMENTS:
        moment = error.get(name)
        if isinstance(moment, int | float | str) and not isinstance(moment, bool):
            return waits.until_s(str(moment))
    return None


def _codes(error: Mapping[str, Any]) -> tuple[tuple[str, ...], str | None]:
    """All codes that ``error`` names, upper-case, and the one to show."""
    named = [error.get(key) for key in ("code", "type", "status", "__type", "error_code")]
    # A bare number of four digits is Mistral's or Cloudflare's own, a text of them Z.ai's.
    texts = [
        str(value)
        for value in named
        if isinstance(value, str) or (isinstance(value, int) and value < 1000)
        if value
    ]
    texts = [text.rpartition("#")[2] for text in texts]  # Amazon's full names
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


#: When an allowance comes back, in an ErrorInfo of Code Assist.
_RESET = "quotaResetDelay"


def _google_details(details: object) -> tuple[float | None, tuple[str, ...]]:
    """The wait (google.rpc.RetryInfo) and the reasons (ErrorInfo) of an error's details.

    A used-up daily allowance counts as a quota: its RetryInfo speaks of seconds all the same.
    """
    wait_s: float | None = None
    reasons: list[str] = []
    for entry in map(as_object, as_list(details)):
        delay = entry.get("retryDelay")
        if delay := as_text(delay) or str(as_object(delay).get("seconds", "")):
            wait_s = duration_s(delay)
        if reason := as_text(entry.get("reason")):
            reasons.append(reason.upper())
        if wait_s is None and (again := as_text(as_object(entry.get("metadata")).get(_RESET))):
            wait_s = duration_s(again)
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
