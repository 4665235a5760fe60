"""Periods tile the time line in every zone, and local days never run backwards."""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from omni_cli.domain.periods import PeriodRule, days, local_date, local_day, previous, window

ZONES = [
    "UTC",
    "Europe/London",
    "Europe/Dublin",
    "America/New_York",
    "America/St_Johns",
    "America/Sao_Paulo",
    "America/Havana",
    "America/Asuncion",
    "Africa/Casablanca",
    "Africa/Monrovia",
    "Asia/Kathmandu",
    "Asia/Tehran",
    "Asia/Gaza",
    "Australia/Eucla",
    "Australia/Lord_Howe",
    "Antarctica/Troll",
    "Pacific/Apia",
    "Pacific/Chatham",
    "Pacific/Kwajalein",
    "Pacific/Kiritimati",
    "Etc/GMT+12",
]
zones = st.sampled_from(ZONES)
moments = st.integers(0, 4_102_444_800_000)  # 1970 to 2100
rules = st.builds(
    PeriodRule,
    st.sampled_from(["day", "week", "month"]),
    zones,
    st.integers(0, 6),
    st.integers(1, 31),
)
DAY = timedelta(days=1)


@given(rules, moments)
def test_windows_tile_the_time_line(rule: PeriodRule, at: int) -> None:
    start, end = window(rule, at)
    assert start <= at < end
    assert window(rule, start) == window(rule, end - 1) == (start, end)
    assert previous(rule, at)[1] == start
    assert window(rule, end)[0] == end
    longest = {"day": 26, "week": 7 * 24 + 2, "month": 31 * 24 + 2}[rule.kind]
    assert end - start <= longest * 3_600_000


@given(rules, moments)
def test_windows_begin_on_the_day_that_the_rule_names(rule: PeriodRule, at: int) -> None:
    first = local_date(window(rule, at)[0], rule.zone)
    skipped = {date(2011, 12, 31), date(1993, 8, 22), date(1995, 1, 1), date(1995, 1, 2)}
    if first in skipped:  # these zones lost the day before, which the rule may have named
        return
    if rule.kind == "week":
        assert first.weekday() == rule.week_start
    if rule.kind == "month":
        assert first.day == rule.month_day or (
            first.day < rule.month_day and (first + DAY).day == 1
        )


@given(zones, moments, st.integers(0, 40 * 86_400_000))
def test_days_tile_a_window(zone: str, start: int, length: int) -> None:
    listed = list(days(start, start + length, zone))
    assert sum(end - begin for _, begin, end in listed) == length
    assert all(a[2] == b[1] and a[0] < b[0] for a, b in pairwise(listed))
    for key, begin, end in listed:
        assert local_day(begin, zone) == local_day(end - 1, zone) == key


@given(zones, moments, st.integers(0, 3 * 86_400_000))
def test_local_day_never_runs_backwards(zone: str, at: int, later: int) -> None:
    assert local_day(at, zone) <= local_day(at + later, zone)


@given(zones, moments)
def test_local_day_is_the_date_on_the_wall(zone: str, at: int) -> None:
    wall = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=at)).astimezone(
        ZoneInfo(zone)
    )
    found = local_date(at, zone)
    assert local_day(at, zone) == found.year * 10_000 + found.month * 100 + found.day
    if found != wall.date():
        # Only just before a clock that falls back over midnight, as St John's did.
        assert found == wall.date() - DAY
        assert wall.hour == 0
        assert any(
            (wall.astimezone(UTC) + timedelta(minutes=m)).astimezone(wall.tzinfo).date() == found
            for m in range(61)
        )
