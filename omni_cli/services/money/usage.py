"""Usage by anything, over any range, against the range before (C4)."""

from collections.abc import Callable, Mapping
from datetime import date, timedelta
from typing import Literal, get_args

from msgspec import Struct, field

from omni_cli.domain.analytics import Totals, calendar, day_key, key_date, percentile, sum_totals
from omni_cli.domain.errors import UsageError
from omni_cli.domain.periods import Span, local_date, parse_span
from omni_cli.domain.record import replace
from omni_cli.ports import Clock
from omni_cli.repositories import Reports

Dimension = Literal[
    "provider",
    "model",
    "agent",
    "role",
    "task",
    "org",
    "key",
    "source",
    "session",
    "project",
    "day",
]
DIMENSIONS: tuple[Dimension, ...] = get_args(Dimension)


class UsageQuery(Struct, frozen=True):
    """``period``, ``from_date`` and ``to_date`` as ``domain.periods.parse_span`` takes them.

    ``compare``: sum the range before too. ``filters``: wanted values by dimension (not day).
    """

    by: Dimension = "model"
    period: str | None = None
    from_date: str | None = None
    to_date: str | None = None
    compare: bool = False
    filters: Mapping[str, str] = field(default_factory=dict)


class UsageRow(Struct, frozen=True):
    """``name`` is the dimension's value ("" where requests have none), a date for "day".

    ``p50_ms`` and ``p95_ms``: of answered requests, within 9 %; None without any. ``before``:
    the same over the range before, None unless asked for.
    """

    name: str
    totals: Totals
    p50_ms: float | None
    p95_ms: float | None
    before: Totals | None = None


class UsageReport(Struct, frozen=True):
    """``rows``: dearest first, days in their order. ``series``: every date from ``first`` to
    ``last`` (both included, none in the future). ``before_first`` to ``before_last`` is what
    ``before`` covers: as many days of the period before as have begun of this one."""

    by: Dimension
    label: str
    zone: str
    first: date
    last: date
    before_first: date | None
    before_last: date | None
    rows: tuple[UsageRow, ...]
    total: UsageRow
    series: tuple[tuple[date, Totals], ...]

    def success(self, totals: Totals) -> float | None:
        """How reliable a row is, 0..1: by provider and model the share of calls that went well, by
        anything else the share of requests that were answered, by whomever."""
        return totals.attempt_success if self.by in ("provider", "model") else totals.success


class UsageService(Struct, kw_only=True, eq=False):
    """Args:
    zone: gives the zone whose days the rollups hold, after making them so if need be.
    known: a query's filters as the ledger has them; raises NotFound, UsageError.
    """

    reports: Reports
    zone: Callable[[], str]
    clock: Clock
    names: Callable[[Mapping[str, str]], dict[str, str]] = dict
    week_start: int = 0
    month_day: int = 1

    def span(self, query: UsageQuery) -> tuple[Span, str]:
        """The range asked for and its zone. Raises UsageError."""
        zone = self.zone()
        span = parse_span(
            now_ms=int(self.clock() * 1000),
            zone=zone,
            period=query.period,
            from_date=query.from_date,
            to_date=query.to_date,
            week_start=self.week_start,
            month_day=self.month_day,
        )
        return span, zone

    def known(self, query: UsageQuery) -> UsageQuery:
        """With its filters as the ledger has them. Raises NotFound, UsageError."""
        return replace(query, filters=self.names(query.filters))

    def report(self, query: UsageQuery) -> UsageReport:
        """Raises UsageError: no such dimension, or no such range; NotFound: no such filter."""
        for name in (query.by, *query.filters):
            if name not in DIMENSIONS:
                raise UsageError(f"cannot report by {name!r}", hint=", ".join(DIMENSIONS))
        query = self.known(query)
        span, zone = self.span(query)
        today = local_date(int(self.clock() * 1000), zone)
        first, last = local_date(span.start_ms, zone), local_date(span.end_ms - 1, zone)
        last = max(min(last, today), first)
        by_day = self.reports.daily(day_key(first), day_key(last), query.filters)
        series = tuple(
            (key_date(key), by_day.get(key, Totals()))
            for key in calendar(first, last + timedelta(days=1))
        )
        before_first = before_last = None
        if query.compare:
            before_first = local_date(span.before_ms, zone)
            whole = local_date(span.start_ms - 1, zone)
            before_last = min(before_first + (last - first), whole)
        return UsageReport(
            by=query.by,
            label=span.label,
            zone=zone,
            first=first,
            last=last,
            before_first=before_first,
            before_last=before_last,
            rows=self._rows(query, (first, last), (before_first, before_last), by_day),
            total=self._total(query, (first, last), (before_first, before_last), by_day),
            series=series,
        )

    def _rows(
        self,
        query: UsageQuery,
        span: tuple[date, date],
        before: tuple[date | None, date | None],
        by_day: Mapping[int, Totals],
    ) -> tuple[UsageRow, ...]:
        keys = day_key(span[0]), day_key(span[1])
        buckets = self.reports.latencies(*keys, (query.by,), query.filters)
        if query.by == "day":
            return tuple(
                _row(key_date(day).isoformat(), by_day[day], buckets.get((str(day),), {}), None)
                for day in sorted(by_day)
            )
        now = self.reports.totals(*keys, (query.by,), query.filters)
        then: dict[tuple[str, ...], Totals] = {}
        if before[0] and before[1]:
            then = self.reports.totals(
                day_key(before[0]), day_key(before[1]), (query.by,), query.filters
            )
        # What has stopped is as much of a change as what is new.
        names = sorted(
            {*now, *then},
            key=lambda key: (
                -(now.get(key) or Totals()).cost_nusd,
                -(now.get(key) or Totals()).calls,
                key,
            ),
        )
        return tuple(
            _row(
                key[0],
                now.get(key, Totals()),
                buckets.get(key, {}),
                then.get(key, Totals()) if query.compare else None,
            )
            for key in names
        )

    def _total(
        self,
        query: UsageQuery,
        span: tuple[date, date],
        before: tuple[date | None, date | None],
        by_day: Mapping[int, Totals],
    ) -> UsageRow:
        buckets = self.reports.latencies(day_key(span[0]), day_key(span[1]), (), query.filters)
        then = None
        if before[0] and before[1]:
            then = self.reports.totals(
                day_key(before[0]), day_key(before[1]), (), query.filters
            ).get((), Totals())
        return _row("total", sum_totals(by_day.values()), buckets.get((), {}), then)


def _row(name: str, totals: Totals, buckets: Mapping[int, int], before: Totals | None) -> UsageRow:
    return UsageRow(name, totals, percentile(buckets, 0.5), percentile(buckets, 0.95), before)
