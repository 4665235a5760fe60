"""How long a provider asks to wait, in the many ways that providers say it."""

import re
import time
from collections.abc import Mapping

#: A longer wait than this (one day) is taken for a mistake in reading, and ignored.
_LONGEST_S = 86_400.0

_PARTS = re.compile(r"(\d+(?:\.\d+)?)(ms|h|m|s)")
_UNIT_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_TRY_AGAIN = re.compile(
    r"(?:try again|retry|available) in (?:about )?"
    r"((?:\d+(?:\.\d+)?(?:ms|h|m|s))+|\d+(?:\.\d+)? ?s)",
    re.IGNORECASE,
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
        status: only a 429 lets rate-limit reset headers and the message's words count.
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
        return None
    wait = _from_resets(headers)
    if wait is None and (match := _TRY_AGAIN.search(message)):
        wait = duration_s(match[1].replace(" ", ""))
    return wait


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
