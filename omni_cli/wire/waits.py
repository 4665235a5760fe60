"""How long a provider asks to wait, in the many ways that providers say it."""

import re
import time
from collections.abc import Iterator, Mapping

#: A longer wait than this (400 days) is taken for a mistake in reading, and ignored.
_LONGEST_S = 400 * 86_400.0

_PARTS = re.compile(r"(\d+(?:\.\d+)?)(ms|h|m|s)")
_UNIT_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_SPELLED_S = {
    "ms": 0.001, "millisecond": 0.001, "s": 1.0, "sec": 1.0, "second": 1.0, "m": 60.0, "min": 60.0,
    "minute": 60.0, "h": 3600.0, "hr": 3600.0, "hour": 3600.0, "d": 86_400.0, "day": 86_400.0,
    "week": 604_800.0,
}  # fmt: skip
_AMOUNT = (
    r"\d+(?:\.\d+)? ?"
    r"(?:milliseconds?|seconds?|secs?|minutes?|mins?|hours?|hrs?|days?|weeks?|ms|[smhd])\b"
)
_AMOUNT_PIECE = re.compile(r"(\d+(?:\.\d+)?) ?([a-z]+)", re.IGNORECASE)
#: "try again in 1.2s", "retry after 86400 seconds", "reset after 142h40m7s", "wait 77443 seconds".
_TRY_AGAIN = re.compile(
    r"(?:try(?:ing)? again|retry(?:ing)?|available|resets?|renews?|wait|back|refresh\w*)"
    r"(?: again)?(?:\s+(?:in|after|for|at least|about|another))*\s+"
    rf"((?:(?:\d+(?:\.\d+)?(?:ms|h|m|s|d))+|{_AMOUNT})(?:,? (?:and )?{_AMOUNT})*)",
    re.IGNORECASE,
)
#: "You will regain access on 2026-12-01 at 00:00 UTC", "will reset at 2026-02-03 12:00:00".
_AT = re.compile(
    r"(?:regain access|resets?|available|renews?|try again|retry|back|until|重置)\D{0,40}?"
    r"(\d{4}-\d{2}-\d{2})(?:[T ]|,? at )?(\d{2}:\d{2}(?::\d{2})?)?(?:\.\d+)?",
    re.IGNORECASE,
)
_AT_BEFORE = re.compile(
    r"(\d{4}-\d{2}-\d{2})(?:[T ]| at )(\d{2}:\d{2}(?::\d{2})?)?.{0,12}重置", re.IGNORECASE
)


def duration_s(text: str) -> float | None:
    """Seconds of "20ms", "7.66s", "6m0s", "1h2m3s" or a plain number of seconds."""
    text = text.strip()
    try:
        return _sane(float(text))
    except ValueError:
        pass
    parts = _PARTS.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        return None
    return _sane(sum(float(number) * _UNIT_S[unit] for number, unit in parts))


def retry_after_s(
    status: int | None, headers: Mapping[str, str], message: str = ""
) -> float | None:
    """Seconds to wait before another try, or None when nothing says so.

    Args:
        status: only a 429 lets rate-limit reset headers count.
        headers: response headers, lower-case names.
        message: the provider's words ("Please try again in 1.2s").
    """
    milliseconds = headers.get("retry-after-ms")
    if milliseconds is not None and (wait := duration_s(milliseconds)) is not None:
        return wait / 1000
    value = headers.get("retry-after")
    if value is not None:
        wait = duration_s(value)
        if wait is None:
            wait = _until(value, headers)
        if wait is not None:
            return wait
    if status != 429:
        return told_s(message, headers)
    wait = _from_resets(headers)
    return told_s(message, headers) if wait is None else wait


def told_s(message: str, headers: Mapping[str, str] | None = None) -> float | None:
    """Seconds to wait by the words of a message: for how long, or until when.

    Args:
        headers: the answer's, whose date is the "now" that a moment is measured from.
    """
    if match := _TRY_AGAIN.search(message):
        return _sane(sum(_spelled(match[1])))
    if match := _AT.search(message) or _AT_BEFORE.search(message):
        return _until(f"{match[1]} {match[2] or '00:00'}", headers or {})
    return None


def _spelled(text: str) -> Iterator[float]:
    for number, unit in _AMOUNT_PIECE.findall(text):
        unit = unit.lower()
        yield float(number) * (_SPELLED_S.get(unit) or _SPELLED_S.get(unit.rstrip("s"), 0.0))


def until_s(moment: str) -> float | None:
    """Seconds from now to a moment, as ``retry_after_s`` reads them."""
    return _until(moment, {})


def _from_resets(headers: Mapping[str, str]) -> float | None:
    """The latest reset among exhausted limits; among all, when none says it is exhausted."""
    exhausted: list[float] = []
    every: list[float] = []
    for name, value in headers.items():
        if "ratelimit" not in name or "reset" not in name:
            continue
        wait = duration_s(value)
        if wait is None:
            wait = _until(value, headers)
        if wait is None:
            continue
        every.append(wait)
        if headers.get(name.replace("reset", "remaining"), "").strip() == "0":
            exhausted.append(wait)
    return max(exhausted or every, default=None)


def _until(moment: str, headers: Mapping[str, str]) -> float | None:
    """Seconds from the answer's own date (else now) to an HTTP, RFC 3339 or epoch date."""
    at = _epoch_s(moment)
    if at is None:
        return None
    sent_at = _epoch_s(headers["date"]) if "date" in headers else None
    return _sane(max(at - (time.time() if sent_at is None else sent_at), 0.0))


def _epoch_s(moment: str) -> float | None:
    # Imported here: both are needed only after an error, and email costs milliseconds.
    from datetime import UTC, datetime
    from email.utils import parsedate_to_datetime

    text = moment.strip()
    if text.isascii() and text.isdigit() and len(text) <= 14:
        number = int(text)
        return number / 1000 if number > 10**11 else float(number)  # else seconds
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        try:
            at = parsedate_to_datetime(text)
        except (ValueError, TypeError, OverflowError):
            return None
    try:
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    except (OverflowError, ValueError):
        return None


def _sane(seconds: float) -> float | None:
    return seconds if 0 <= seconds <= _LONGEST_S else None
