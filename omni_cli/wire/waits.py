"""How long a provider asks to wait, in the many ways that providers say it."""

import re
import time
from collections.abc import Iterator, Mapping

from omni_cli.domain.patterns import Pattern

#: A longer wait than this (400 days) is taken for a mistake in reading, and ignored.
_LONGEST_S = 400 * 86_400.0

_PARTS = Pattern(r"(\d+(?:\.\d+)?)(ms|d|h|m|s)")
_UNIT_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_SPELLED_S = {
    "ms": 0.001, "millisecond": 0.001, "s": 1.0, "sec": 1.0, "second": 1.0, "m": 60.0, "min": 60.0,
    "minute": 60.0, "h": 3600.0, "hr": 3600.0, "hour": 3600.0, "d": 86_400.0, "day": 86_400.0,
    "week": 604_800.0,
}  # fmt: skip
_AMOUNT = (
    r"\d+(?:\.\d+)? ?"
    r"(?:milliseconds?|seconds?|secs?|minutes?|mins?|hours?|hrs?|days?|weeks?|ms|[smhd])\b"
)
_AMOUNT_PIECE = Pattern(r"(\d+(?:\.\d+)?) ?([a-z]+)", re.IGNORECASE)
#: "try again in 1.2s", "retry after 86400 seconds", "reset after 142h40m7s", "wait 77443 seconds".
_TRY_AGAIN = Pattern(
    r"(?:try(?:ing)? again|retry(?:ing)?|available|resets?|renews?|wait|back|refresh\w*)"
    r"(?: again)?(?:\s+(?:in|after|for|at least|about|another))*\s+"
    rf"((?:(?:\d+(?:\.\d+)?(?:ms|h|m|s|d))+|{_AMOUNT})(?:,? (?:and )?{_AMOUNT})*)",
    re.IGNORECASE,
)
#: 请在 30 秒后重试, 5分钟后再试.
_SPELLED_CHINESE_S = {"毫秒": 0.001, "秒": 1.0, "分": 60.0, "小时": 3600.0, "天": 86_400.0}
_AFTER = Pattern(r"(\d+(?:\.\d+)?) ?(毫秒|秒|分|小时|天)钟?之?后")
_COMES_BACK = (
    r"(?:regain access|resets?|available|renews?|try again|retry|back|until|重置)\D{0,40}?"
)
_DAY = r"(\d{4}-\d{2}-\d{2})(?:[T ]|,? at )?(\d{2}:\d{2}(?::\d{2})?)?"
#: "You will regain access on 2026-12-01 at 00:00 UTC", "will reset at 2026-02-03 12:00:00 +0800".
_AT = Pattern(_COMES_BACK + _DAY + r"(?:\.\d+)?(?: ?([+-]\d{2}):?(\d{2}))?", re.IGNORECASE)
_AT_BEFORE = Pattern(_DAY + r".{0,12}重置", re.IGNORECASE)
#: "to reset on April 20, 2026 at 2:00 AM", "resets at Wed Oct 23 2024 23:13:13 GMT+0000".
_ON = Pattern(
    _COMES_BACK + r"([a-z]{3})[a-z]*\.? (\d{1,2})(?:st|nd|rd|th)?,? (\d{4})"
    r"(?:,? (?:at )?(\d{1,2}):(\d{2})(?::\d{2})? ?([ap]m)?)?",
    re.IGNORECASE,
)
_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
#: "resets 3pm (America/New_York)": the next time that it is so late there.
_CLOCK = Pattern(r"resets? (?:at )?(\d{1,2})(?::(\d{2}))? ?([ap]m) \(([\w/+-]+)\)", re.IGNORECASE)
#: "Claude AI usage limit reached|1749924000".
_EPOCH = Pattern(r"limit reached\|(\d{10})\b")


def duration_s(text: str) -> float | None:
    """Seconds of "20ms", "7.66s", "6m0s", "1d2h3s", "30 seconds" or a plain number of seconds."""
    text = text.strip()
    try:
        return _sane(float(text))
    except ValueError:
        pass
    parts = _PARTS.findall(text)
    if parts and "".join(number + unit for number, unit in parts) == text:
        return _sane(sum(float(number) * _UNIT_S[unit] for number, unit in parts))
    return _sane(sum(_spelled(text))) if re.fullmatch(_AMOUNT, text, re.IGNORECASE) else None


def retry_after_s(
    status: int | None, headers: Mapping[str, str], message: str = ""
) -> float | None:
    """Seconds to wait before another try, or None when nothing says so.

    Args:
        status: only a 429 lets rate-limit reset headers count.
        headers: response headers, lower-case names.
        message: the provider's words ("Please try again in 1.2s").
    """
    for name in ("retry-after-ms", "x-ms-retry-after-ms"):
        milliseconds = headers.get(name)
        if milliseconds is not None and (wait := duration_s(milliseconds)) is not None:
            return wait / 1000
    for name in ("retry-after", "x-retry-after"):
        value = headers.get(name)
        if value is None:
            continue
        wait = duration_s(value.partition(",")[0])  # a proxy may have joined two
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
    if match := _AFTER.search(message):
        return _sane(float(match[1]) * _SPELLED_CHINESE_S[match[2]])
    moment = _moment(message, _now_s(headers or {}))
    return None if moment is None else _until(moment, headers or {})


def _moment(message: str, now_s: float) -> str | None:
    """The moment of which a message says that then the limit is over, as ``_epoch_s`` reads it."""
    if match := _AT.search(message):
        zone = f"{match[3]}:{match[4]}" if match[3] else ""
        return f"{match[1]} {match[2] or '00:00'}{zone}"
    if match := _AT_BEFORE.search(message):
        return f"{match[1]} {match[2] or '00:00'}"
    if match := _EPOCH.search(message):
        return match[1]
    if (match := _ON.search(message)) and match[1].lower() in _MONTHS:
        month = _MONTHS.index(match[1].lower()) + 1
        hour = _hour(int(match[4] or 0), match[6])
        return f"{match[3]}-{month:02}-{int(match[2]):02} {hour:02}:{match[5] or '00'}"
    if match := _CLOCK.search(message):
        return _next_time(now_s, _hour(int(match[1]), match[3]), int(match[2] or 0), match[4])
    return None


def _hour(hour: int, half: str | None) -> int:
    return hour if half is None else hour % 12 + 12 * (half.lower() == "pm")


def _next_time(now_s: float, hour: int, minute: int, zone: str) -> str | None:
    from datetime import datetime, timedelta
    from zoneinfo import ZoneInfo

    try:
        now = datetime.fromtimestamp(now_s, ZoneInfo(zone))
        at = now.replace(hour=hour, minute=minute, second=0, microsecond=0)
    except (ValueError, OSError, KeyError):  # nobody's zone, or no hour
        return None
    return (at if at > now else at + timedelta(days=1)).isoformat()


def _spelled(text: str) -> Iterator[float]:
    for number, unit in _AMOUNT_PIECE.findall(text):
        unit = unit.lower()
        yield float(number) * (_SPELLED_S.get(unit) or _SPELLED_S.get(unit.rstrip("s"), 0.0))


def until_s(moment: str) -> float | None:
    """Seconds from now to a moment, as ``retry_after_s`` reads them."""
    return _until(moment, {})


def _from_resets(headers: Mapping[str, str]) -> float | None:
    """The latest reset among exhausted limits; the first of all, when none says it is exhausted:
    a day's limit comes back in hours, and a request that is a little early costs nothing."""
    exhausted: list[float] = []
    every: list[float] = []
    for name, value in headers.items():
        if "ratelimit" not in name.replace("rate-limit", "ratelimit"):
            continue
        if name == "ratelimit" and (match := _COMBINED.search(value)):  # IETF's drafts
            every.append(float(match[1]))
            continue
        if "reset" not in name:
            continue
        wait = duration_s(value)
        if wait is None:
            wait = _until(value, headers)
        if wait is None:
            continue
        every.append(wait)
        left = headers.get(name.replace("reset", "remaining"), "").strip()
        if left == "0" or headers.get(name.replace("reset", "status")) == "rejected":
            exhausted.append(wait)
    return max(exhausted) if exhausted else min(every, default=None)


_COMBINED = Pattern(r"\b(?:reset|t)=(\d+(?:\.\d+)?)")


def _until(moment: str, headers: Mapping[str, str]) -> float | None:
    """Seconds from the answer's own date (else now) to an HTTP, RFC 3339 or epoch date."""
    at = _epoch_s(moment)
    if at is None:
        return None
    return _sane(max(at - _now_s(headers), 0.0))


def _now_s(headers: Mapping[str, str]) -> float:
    """The answer's own date, seconds since the epoch; our clock's where it has none."""
    sent_at = _epoch_s(headers["date"]) if "date" in headers else None
    return time.time() if sent_at is None else sent_at


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
