"""Calendar periods in the user's time zone: days, weeks, months, and ranges a user types.

Times are milliseconds since the epoch, UTC; windows are ``(start_ms, end_ms)``, the end not
included. A local day starts at the first instant after every instant that the zone's clock
calls an earlier date. So days never overlap or leave a gap, whatever the clock does: they last
23 or 25 hours when it shifts, begin at 01:00 where midnight does not exist, and a date that a
zone skipped (Pacific/Apia, 2011-12-30) has no instants. Where a clock falls back over midnight
(America/St_Johns until 2011, from 00:01 to 23:01) the few instants before it count as the day
that they return to.
"""

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import Literal, get_args

from msgspec import Struct

from omni_cli.domain.errors import ConfigError, UsageError

#: Least days that requests are kept: budgets with rollover look at the whole period before, and
#: invoices are of one. Two months, and a day for zones.
MIN_KEEP_DAYS = 63
PeriodKind = Literal["day", "week", "month"]
PERIODS: tuple[PeriodKind, ...] = get_args(PeriodKind)
Window = tuple[int, int]

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
#: No offset from UTC in the tz database reaches this far, historic local mean times included.
_MAX_OFFSET_MS = 16 * HOUR_MS
#: Offsets are looked up in blocks of so many hours.
_BLOCK_HOURS = 32 * 24
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_ORDINAL = date(1970, 1, 1).toordinal()
_YEARS = range(1970, 3000)


def iso(at_ms: int | None) -> str | None:
    """ISO 8601 in UTC with milliseconds."""
    if at_ms is None:
        return None
    whole = datetime.fromtimestamp(at_ms / 1000, UTC)
    return whole.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def duration_ms(text: str) -> int:
    """``30s``, ``30m``, ``6h``, ``2d``, ``1w`` in milliseconds. Raises UsageError; also for 0."""
    match = re.fullmatch(r"([0-9]+)([smhdw])", text.strip())
    if match is None or not int(match[1]):
        raise UsageError(f"{text!r} is no span of time", hint="write it as 30m, 6h, 2d or 1w")
    size = {"s": 1_000, "m": 60_000, "h": HOUR_MS, "d": DAY_MS, "w": 7 * DAY_MS}
    return int(match[1]) * size[match[2]]


def period_kind(text: str) -> PeriodKind:
    """A budget's period by its name. Raises UsageError."""
    for kind in PERIODS:
        if kind == text:
            return kind
    raise UsageError(f"a budget is per {', '.join(PERIODS)}, not {text!r}")


class PeriodRule(Struct, frozen=True):
    """How time is cut into periods.

    ``zone`` is an IANA name; ``week_start`` 0 (Monday) to 6; ``month_day`` 1 to 31, the day a
    month begins on, taken as the last day in months that are shorter.

    Raises:
        ConfigError: a number out of range, or an unknown zone.
    """

    kind: PeriodKind
    zone: str = "UTC"
    week_start: int = 0
    month_day: int = 1

    def __post_init__(self) -> None:
        if self.kind not in ("day", "week", "month"):
            raise ConfigError(f"unknown period {self.kind!r}", hint="day, week or month")
        if self.week_start not in range(7):
            raise ConfigError("week_start must be 0 (Monday) to 6 (Sunday)")
        if self.month_day not in range(1, 32):
            raise ConfigError("month_day must be 1 to 31")
        zone_of(self.zone)


class Span(Struct, frozen=True):
    """A range to report on, and ``[before_ms, start_ms)``, the like range just before it."""

    start_ms: int
    end_ms: int
    before_ms: int
    label: str


@lru_cache(maxsize=64)
def zone_of(name: str) -> tzinfo:
    """Raises ConfigError: the zone is not in this machine's time zone database."""
    if name in ("UTC", "Etc/UTC"):  # works without a database
        return UTC
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as exc:
        hint = "IANA names look like Europe/Berlin; on Windows the tzdata package holds them"
        raise ConfigError(f"unknown time zone {name!r}", hint=hint) from exc


def _offset_ms(zone: tzinfo, at_ms: int) -> int:
    offset = (_EPOCH + timedelta(milliseconds=at_ms)).astimezone(zone).utcoffset()
    return 0 if offset is None else offset // timedelta(milliseconds=1)


@lru_cache(maxsize=1024)
def _runs(zone_name: str, block: int) -> tuple[tuple[int, int, int], ...]:
    """(start_ms, end_ms, offset_ms) of constant offsets, tiling one block of time.

    zoneinfo keeps its transitions to itself: hourly samples find the hour of one, halving finds
    the millisecond. Two within an hour would have to cancel out to be missed; none is known.
    """
    zone = zone_of(zone_name)
    start = block * _BLOCK_HOURS * HOUR_MS
    if zone is UTC:
        return ((start, start + _BLOCK_HOURS * HOUR_MS, 0),)
    runs: list[tuple[int, int, int]] = []
    offset = _offset_ms(zone, start)
    for hour in range(1, _BLOCK_HOURS + 1):
        at = block * _BLOCK_HOURS * HOUR_MS + hour * HOUR_MS
        later = _offset_ms(zone, at)
        if later == offset:
            continue
        low, high = at - HOUR_MS, at
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if _offset_ms(zone, middle) == offset else (low, middle)
        runs.append((start, high, offset))
        start, offset = high, later
    runs.append((start, (block + 1) * _BLOCK_HOURS * HOUR_MS, offset))
    return tuple(runs)


@lru_cache(maxsize=8192)
def _day_start(zone: str, ordinal: int) -> int:
    """Where the local date of this proleptic Gregorian ordinal starts, UTC ms."""
    midnight = (ordinal - _EPOCH_ORDINAL) * DAY_MS
    block_ms = _BLOCK_HOURS * HOUR_MS
    first = (midnight - _MAX_OFFSET_MS) // block_ms
    last = (midnight + _MAX_OFFSET_MS) // block_ms
    return max(
        min(end, midnight - offset)
        for block in range(first, last + 1)
        for start, end, offset in _runs(zone, block)
        # The runs that hold an instant of an earlier date.
        if start + offset < midnight
    )


def day_start(day: date, zone: str) -> int:
    """The first instant of a local date; that of the next one where the zone skipped it."""
    return _day_start(zone, day.toordinal())


def _ordinal(at_ms: int, zone: str) -> int:
    local_ms = at_ms + _offset_ms(zone_of(zone), at_ms)
    ordinal = _EPOCH_ORDINAL + local_ms // DAY_MS
    while _day_start(zone, ordinal) > at_ms:
        ordinal -= 1
    return ordinal


def local_date(at_ms: int, zone: str) -> date:
    """The local date of an instant."""
    return date.fromordinal(_ordinal(at_ms, zone))


def _key(ordinal: int) -> int:
    day = date.fromordinal(ordinal)
    return day.year * 10_000 + day.month * 100 + day.day


#: By zone and UTC day: where up to two local days begin in it, and the days around them.
_table: dict[str, dict[int, tuple[int, int, int, int, int]]] = {}


def local_day(at_ms: int, zone: str) -> int:
    """The local date of an instant as the number yyyymmdd. Meant to be called for every row."""
    try:
        first, second, a, b, c = _table[zone][at_ms // DAY_MS]
    except KeyError:
        first, second, a, b, c = _remember(zone, at_ms // DAY_MS)
    return a if at_ms < first else b if at_ms < second else c


def _remember(zone: str, utc_day: int) -> tuple[int, int, int, int, int]:
    start, end = utc_day * DAY_MS, (utc_day + 1) * DAY_MS
    pieces = list(days(start, end, zone))
    pieces += [(pieces[-1][0], end, end)] * (3 - len(pieces))
    (a, _, first), (b, _, second), (c, _, _) = pieces
    entry = first, second, a, b, c
    _table.setdefault(zone, {})[utc_day] = entry
    return entry


def days(start_ms: int, end_ms: int, zone: str) -> Iterator[tuple[int, int, int]]:
    """(yyyymmdd, start_ms, end_ms) of each local day, cut to the window: they tile it.

    Dates that the zone skipped do not occur.
    """
    ordinal = _ordinal(start_ms, zone)
    at = start_ms
    while at < end_ms:
        end = min(_day_start(zone, ordinal + 1), end_ms)
        if end > at:
            yield _key(ordinal), at, end
        at = max(at, end)
        ordinal += 1


def _month_start(year: int, month: int, month_day: int) -> date:
    """``month`` may be 0 or 13: the months around the year."""
    from calendar import monthrange

    year, month = year + (month - 1) // 12, (month - 1) % 12 + 1
    return date(year, month, min(month_day, monthrange(year, month)[1]))


def window(rule: PeriodRule, at_ms: int) -> Window:
    """The period that holds an instant: ``start_ms <= at_ms < end_ms``."""
    ordinal = _ordinal(at_ms, rule.zone)
    day = date.fromordinal(ordinal)
    if rule.kind == "day":
        first, after = ordinal, ordinal + 1
    elif rule.kind == "week":
        first = ordinal - (day.weekday() - rule.week_start) % 7
        after = first + 7
    else:
        month = day.month
        if day < _month_start(day.year, month, rule.month_day):
            month -= 1
        first = _month_start(day.year, month, rule.month_day).toordinal()
        after = _month_start(day.year, month + 1, rule.month_day).toordinal()
    return _day_start(rule.zone, first), _day_start(rule.zone, after)


def previous(rule: PeriodRule, at_ms: int) -> Window:
    """The period before the one that holds an instant."""
    return window(rule, window(rule, at_ms)[0] - 1)


def parse_span(
    *,
    now_ms: int,
    zone: str = "UTC",
    period: str | None = None,
    from_date: str | None = None,
    to_date: str | None = None,
    week_start: int = 0,
    month_day: int = 1,
) -> Span:
    """What ``--period``, ``--from`` and ``--to`` ask for.

    Args:
        period: ``today``, ``yesterday``, ``week`` or ``month`` (those that hold now), or ``Nd``:
            N local days, today the last. ``today`` when nothing is given.
        from_date: ``YYYY-MM-DD``, a local date, included.
        to_date: the same, not included; without it the range ends with today.

    Raises:
        UsageError: none of these, a mixture of both forms, or an empty range.
        ConfigError: an unknown zone, or ``week_start`` or ``month_day`` out of range.
    """
    today = _ordinal(now_ms, PeriodRule("day", zone, week_start, month_day).zone)
    if from_date is not None or to_date is not None:
        if period is not None:
            raise UsageError("--period cannot be combined with --from or --to")
        if from_date is None:
            raise UsageError("--to needs --from", hint="for example: --from 2026-01-01")
        first = _user_date(from_date, "--from")
        after = today + 1 if to_date is None else _user_date(to_date, "--to")
        if first >= after:
            hint = "--to is not included: one day is --from 2026-01-01 --to 2026-01-02"
            raise UsageError("the range is empty: --from is not before --to", hint=hint)
        return _span(zone, first, after, f"{from_date} to {to_date or 'today'}")
    period = (period or "today").strip().lower()
    if period in ("week", "month"):
        kind: PeriodKind = "week" if period == "week" else "month"
        rule = PeriodRule(kind, zone, week_start, month_day)
        return Span(*window(rule, now_ms), previous(rule, now_ms)[0], f"this {period}")
    if period == "today":
        return _span(zone, today, today + 1, "today")
    if period == "yesterday":
        return _span(zone, today - 1, today, "yesterday")
    count = re.fullmatch(r"([1-9][0-9]{0,3})d", period)
    if count is None:
        hint = "today, yesterday, week, month, or a number of days such as 7d or 30d"
        raise UsageError(f"unknown period {period!r}", hint=hint)
    n = int(count[1])
    return _span(zone, today + 1 - n, today + 1, f"last {n} day{'s' * (n > 1)}")


def _span(zone: str, first: int, after: int, label: str) -> Span:
    """Local days ``first`` to ``after``, the latter not included, by ordinal."""
    before, start, end = (_day_start(zone, o) for o in (2 * first - after, first, after))
    return Span(start, end, before, label)


def _user_date(text: str, option: str) -> int:
    try:
        if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
            raise ValueError(text)
        day = date.fromisoformat(text)
    except ValueError as exc:
        raise UsageError(f"{option} {text!r} is not a date", hint="write YYYY-MM-DD") from exc
    if day.year not in _YEARS:
        raise UsageError(f"{option} {text}: the year must be {_YEARS[0]} to {_YEARS[-1]}")
    return day.toordinal()
