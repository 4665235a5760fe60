"""Calendar periods in the user's zone: known boundaries, and what a user may type (C3, C4)."""

import timeit
from datetime import UTC, date, datetime
from itertools import pairwise

import pytest

from omni_cli.domain.errors import ConfigError, UsageError
from omni_cli.domain.periods import (
    PeriodRule,
    Span,
    day_start,
    days,
    local_date,
    local_day,
    parse_span,
    previous,
    window,
)

HOUR = 3_600_000


def ms(text: str) -> int:
    """A UTC time as milliseconds."""
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


@pytest.mark.parametrize(
    ("zone", "day", "start", "hours"),
    [
        ("UTC", "2026-03-29", "2026-03-29T00:00", 24),
        ("Europe/Berlin", "2026-03-29", "2026-03-28T23:00", 23),
        ("Europe/Berlin", "2026-10-25", "2026-10-24T22:00", 25),
        ("America/New_York", "2026-03-08", "2026-03-08T05:00", 23),
        ("Australia/Lord_Howe", "2026-04-05", "2026-04-04T13:00", 24.5),
        ("Asia/Kathmandu", "2026-01-01", "2025-12-31T18:15", 24),
        ("Australia/Eucla", "2026-01-01", "2025-12-31T15:15", 24),
        # Midnight did not exist: the day began at 01:00.
        ("America/Sao_Paulo", "2018-11-04", "2018-11-04T03:00", 23),
        # Midnight came twice: the day began at the first.
        ("America/Havana", "2026-11-01", "2026-11-01T04:00", 25),
        # At 00:01 the clock fell back to 23:01 of the day before, which took that minute along.
        ("America/St_Johns", "2010-11-07", "2010-11-07T03:30", 24),
        ("America/St_Johns", "2010-11-06", "2010-11-06T02:30", 25),
        ("Pacific/Apia", "2011-12-29", "2011-12-29T10:00", 24),
        ("Pacific/Apia", "2011-12-30", "2011-12-30T10:00", 0),
        ("Pacific/Apia", "2011-12-31", "2011-12-30T10:00", 24),
    ],
)
def test_day_boundaries(zone: str, day: str, start: str, hours: float) -> None:
    local = date.fromisoformat(day)
    begins = day_start(local, zone)
    assert begins == ms(start)
    assert day_start(date.fromordinal(local.toordinal() + 1), zone) - begins == hours * HOUR
    if hours:
        assert local_date(begins, zone) == local
        assert local_day(begins, zone) == int(day.replace("-", ""))
        assert local_day(begins - 1, zone) < local_day(begins, zone)


def test_days_of_apia_leave_out_the_skipped_date() -> None:
    listed = list(days(ms("2011-12-29T00:00"), ms("2012-01-01T00:00"), "Pacific/Apia"))
    assert [key for key, _, _ in listed] == [20111228, 20111229, 20111231, 20120101]
    assert listed[0][1] == ms("2011-12-29T00:00")
    assert listed[-1][2] == ms("2012-01-01T00:00")
    assert all(a[2] == b[1] for a, b in pairwise(listed))
    assert list(days(5, 5, "UTC")) == []


def test_two_days_can_begin_within_one_utc_day() -> None:
    # London: 00:00 UTC on 29 March, and, an hour ahead by then, 23:00 UTC.
    at = ms("2026-03-29T00:00")
    assert [local_day(at + h * HOUR, "Europe/London") for h in (-1, 0, 22, 23, 24)] == [
        20260328,
        20260329,
        20260329,
        20260330,
        20260330,
    ]


@pytest.mark.parametrize(
    ("rule", "at", "start", "end"),
    [
        (PeriodRule("day"), "2026-05-05T23:59:59.999", "2026-05-05", "2026-05-06"),
        (PeriodRule("week"), "2026-05-06T12:00", "2026-05-04", "2026-05-11"),
        (PeriodRule("week", week_start=6), "2026-05-10T00:00", "2026-05-10", "2026-05-17"),
        (PeriodRule("week", week_start=6), "2026-05-09T23:00", "2026-05-03", "2026-05-10"),
        (PeriodRule("month"), "2026-02-28T23:00", "2026-02-01", "2026-03-01"),
        (PeriodRule("month"), "2026-12-31T23:00", "2026-12-01", "2027-01-01"),
        (PeriodRule("month", month_day=15), "2026-01-14T00:00", "2025-12-15", "2026-01-15"),
        (PeriodRule("month", month_day=31), "2026-02-28T00:00", "2026-02-28", "2026-03-31"),
        (PeriodRule("month", month_day=31), "2026-02-27T00:00", "2026-01-31", "2026-02-28"),
        (PeriodRule("month", month_day=31), "2024-02-29T12:00", "2024-02-29", "2024-03-31"),
    ],
)
def test_windows_in_utc(rule: PeriodRule, at: str, start: str, end: str) -> None:
    assert window(rule, ms(at)) == (ms(start), ms(end))


def test_windows_follow_the_zone() -> None:
    berlin = PeriodRule("month", "Europe/Berlin")
    # 23:30 UTC on 31 March is already April there.
    april = (ms("2026-03-31T22:00"), ms("2026-04-30T22:00"))
    march = (ms("2026-02-28T23:00"), ms("2026-03-31T22:00"))
    assert window(berlin, ms("2026-03-31T23:30")) == april
    assert previous(berlin, ms("2026-03-31T23:30")) == march


@pytest.mark.parametrize(
    ("zone", "week_start", "month_day"),
    [("Mars/Olympus", 0, 1), ("../etc", 0, 1), ("", 0, 1), ("UTC", 7, 1), ("UTC", 0, 32)],
)
def test_a_wrong_rule_is_refused(zone: str, week_start: int, month_day: int) -> None:
    with pytest.raises(ConfigError):
        PeriodRule("month", zone, week_start, month_day)
    with pytest.raises(ConfigError):
        PeriodRule("year")


NOW = ms("2026-05-06T22:30")  # Wednesday; already Thursday the 7th in Berlin


@pytest.mark.parametrize(
    ("period", "first", "after", "before", "label"),
    [
        (None, "2026-05-07", "2026-05-08", "2026-05-06", "today"),
        ("today", "2026-05-07", "2026-05-08", "2026-05-06", "today"),
        ("yesterday", "2026-05-06", "2026-05-07", "2026-05-05", "yesterday"),
        ("week", "2026-05-04", "2026-05-11", "2026-04-27", "this week"),
        ("Month", "2026-05-01", "2026-06-01", "2026-04-01", "this month"),
        ("7d", "2026-05-01", "2026-05-08", "2026-04-24", "last 7 days"),
        ("30d", "2026-04-08", "2026-05-08", "2026-03-09", "last 30 days"),
        ("1d", "2026-05-07", "2026-05-08", "2026-05-06", "last 1 day"),
    ],
)
def test_named_periods(period: str | None, first: str, after: str, before: str, label: str) -> None:
    a, b, c = (day_start(date.fromisoformat(d), "Europe/Berlin") for d in (first, after, before))
    assert parse_span(now_ms=NOW, zone="Europe/Berlin", period=period) == Span(a, b, c, label)


def test_ranges_include_from_and_exclude_to() -> None:
    span = parse_span(now_ms=NOW, from_date="2026-01-10", to_date="2026-01-12")
    assert (span.start_ms, span.end_ms) == (ms("2026-01-10"), ms("2026-01-12"))
    assert span.before_ms == ms("2026-01-08")
    assert span.label == "2026-01-10 to 2026-01-12"
    assert parse_span(now_ms=NOW, from_date="2026-05-01").end_ms == ms("2026-05-07")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"period": "fortnight"}, "unknown period"),
        ({"period": "0d"}, "unknown period"),
        ({"period": "99999d"}, "unknown period"),
        ({"period": "7d", "from_date": "2026-01-01"}, "cannot be combined"),
        ({"to_date": "2026-01-01"}, "--to needs --from"),
        ({"from_date": "2026-13-01"}, "is not a date"),
        ({"from_date": "20260101"}, "is not a date"),
        ({"from_date": "2026-W01-1"}, "is not a date"),
        ({"from_date": "1066-10-14"}, "the year must be"),
        ({"from_date": "2026-01-02", "to_date": "2026-01-02"}, "empty"),
        ({"from_date": "2027-01-02"}, "empty"),
    ],
)
def test_ranges_that_mean_nothing(options: dict[str, str], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        parse_span(now_ms=NOW, **options)


def test_local_day_is_cheap_per_row() -> None:
    at = [NOW + i * 61_000 for i in range(5000)]

    def run() -> None:
        for moment in at:
            local_day(moment, "Asia/Kathmandu")

    assert min(timeit.repeat(run, number=1, repeat=5)) / len(at) < 5e-6  # the aim is 2
