"""Usage by anything, over any range, against the range before (C4)."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, timedelta
from typing import Literal, get_args

from msgspec import Struct, field

from omni_cli.domain.analytics import (
    LOOKBACK_DAYS,
    Totals,
    calendar,
    day_key,
    key_date,
    percentile,
    sum_totals,
)
from omni_cli.domain.blocks import BLOCK_MS, Block, blocks_of
from omni_cli.domain.errors import UsageError
from omni_cli.domain.periods import HOUR_MS, Span, day_start, local_date, parse_span
from omni_cli.domain.record import replace
from omni_cli.domain.sessions import SessionRow
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
    "week",
    "month",
]
DIMENSIONS: tuple[Dimension, ...] = get_args(Dimension)


#: Rows of these are stretches of days, in their order.
_CALENDAR = ("day", "week", "month")


class UsageQuery(Struct, frozen=True):
    """``period``, ``from_date`` and ``to_date`` as ``domain.periods.parse_span`` takes them.

    ``compare``: sum the range before too. ``breakdown``: each row by model, too. ``filters``:
    wanted values by dimension (not of days, weeks and months).
    """

    by: Dimension = "model"
    period: str | None = None
    from_date: str | None = None
    to_date: str | None = None
    compare: bool = False
    breakdown: bool = False
    filters: Mapping[str, str] = field(default_factory=dict)


class UsageRow(Struct, frozen=True):
    """``name`` is the dimension's value ("" where requests have none); of "day" and "week" their
    (first) date, of "month" its year and month.

    ``p50_ms`` and ``p95_ms``: of answered requests, within 9 %; None without any. ``before``:
    the same over the range before, None unless asked for. ``parts``: by model, dearest first, where
    that was asked for. ``session``: what is known of it, by session.
    """

    name: str
    totals: Totals
    p50_ms: float | None
    p95_ms: float | None
    before: Totals | None = None
    parts: tuple["UsageRow", ...] = ()
    session: SessionRow | None = None


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


class Slots(Struct, frozen=True):
    """Use over slots of time. ``hours``: since the epoch, UTC, where the slots are hours of a day.
    ``items``: value of the dimension -> sums, one a slot."""

    days: tuple[date, ...]
    hours: tuple[int, ...]
    items: Mapping[str, tuple[Totals, ...]]


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
    sessions: Callable[[Sequence[str]], Mapping[str, SessionRow]] = lambda _ids: {}

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

    def latency(self, model: str) -> tuple[tuple[date, float | None, float | None], ...]:
        """(date, p50, p95) in ms of a model's answers on each of the last 28 days, today the last;
        None on days without any. Within 9 %."""
        today = local_date(int(self.clock() * 1000), self.zone())
        first = today - timedelta(days=LOOKBACK_DAYS - 1)
        buckets = self.reports.latencies(day_key(first), day_key(today), ("day",), {"model": model})
        days = calendar(first, today + timedelta(days=1))
        found = [(key, buckets.get((str(key),), {})) for key in days]
        return tuple((key_date(k), percentile(b, 0.5), percentile(b, 0.95)) for k, b in found)

    def slots(self, report: UsageReport) -> "Slots":
        """The report's range in its slots of time, by its dimension: days, or the hours of a single
        day, on the clock of the report's zone. Of calendar dimensions there is none but time."""
        if report.by in _CALENDAR:
            return Slots(tuple(day for day, _ in report.series), (), {})
        if report.first != report.last:
            found = self.reports.daily_by(day_key(report.first), day_key(report.last), (report.by,))
            days = [day for day, _ in report.series]
            at = {day_key(day): n for n, day in enumerate(days)}
            rows = [(at[day], name, totals) for (day, (name,)), totals in found.items()]
            if report.by in ("session", "project"):
                # Days are kept only of what names one: what names none is the rest.
                rows += [(n, "", totals) for n, (_, totals) in enumerate(report.series)]
                rows += [(n, "", Totals() - totals) for n, name, totals in rows if name]
            return Slots(tuple(days), (), _slotted(rows, len(days)))
        start = day_start(report.first, report.zone)
        first, last = start // HOUR_MS, (start + 24 * HOUR_MS - 1) // HOUR_MS
        hours = self.reports.hourly_by(first, last, report.by)
        size = last - first + 1
        rows = [(hour - first, name, totals) for (hour, name), totals in hours.items()]
        return Slots((report.first,), tuple(range(first, last + 1)), _slotted(rows, size))

    def whole(self, query: UsageQuery, since: str | None, until: str | None) -> UsageQuery:
        """``query`` over days that are both included, as ccusage's reports take them: without
        ``since`` from the first day with any usage on. Raises UsageError: no dates."""
        today = local_date(int(self.clock() * 1000), self.zone())
        first = self.reports.first_day()
        start = _date(since, "--since") if since else key_date(first) if first else today
        end = _date(until, "--until") if until else max(today, start)
        if end < start:
            raise UsageError("--until is before --since")
        after = (end + timedelta(days=1)).isoformat()
        return replace(query, from_date=start.isoformat(), to_date=after)

    def blocks(self, agent: str = "", since_ms: int = 0) -> list[Block]:
        """Blocks of five hours of an agent with its sub-agents, or of everything, that had not
        ended by ``since_ms``; oldest first."""
        began = self.reports.block_began(since_ms, agent) if since_ms else None
        last = int(self.clock() * 1000) + BLOCK_MS
        blocks = blocks_of(self.reports.hours(since_ms if began is None else began, last, agent))
        return [block for block in blocks if block.end_at > since_ms]

    def _rows(
        self,
        query: UsageQuery,
        span: tuple[date, date],
        before: tuple[date | None, date | None],
        by_day: Mapping[int, Totals],
    ) -> tuple[UsageRow, ...]:
        keys = day_key(span[0]), day_key(span[1])
        parts = self._parts(query, keys)
        if query.by in _CALENDAR:
            return self._periods(query, keys, by_day, parts)
        buckets = self.reports.latencies(*keys, (query.by,), query.filters)
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
        known = self.sessions([key[0] for key in names]) if query.by == "session" else {}
        return tuple(
            _row(
                key[0],
                now.get(key, Totals()),
                buckets.get(key, {}),
                then.get(key, Totals()) if query.compare else None,
                parts.get(key[0], {}),
                known.get(key[0]),
            )
            for key in names
        )

    def _periods(
        self,
        query: UsageQuery,
        keys: tuple[int, int],
        by_day: Mapping[int, Totals],
        parts: Mapping[str, Mapping[str, Totals]],
    ) -> tuple[UsageRow, ...]:
        """Days, weeks or months in their order."""
        buckets = self.reports.latencies(*keys, ("day",), query.filters)
        days: dict[str, list[int]] = {}
        for day in sorted(by_day):
            days.setdefault(self._period(query.by, day), []).append(day)
        rows = []
        for name, group in days.items():
            calls: Counter[int] = Counter()
            for day in group:
                calls.update(buckets.get((str(day),), {}))
            totals = sum_totals(by_day[day] for day in group)
            rows.append(_row(name, totals, calls, None, parts.get(name, {})))
        return tuple(rows)

    def _period(self, by: Dimension, day: int) -> str:
        date_ = key_date(day)
        if by == "week":
            date_ -= timedelta(days=(date_.weekday() - self.week_start) % 7)
        return date_.isoformat()[: 7 if by == "month" else 10]

    def _parts(self, query: UsageQuery, keys: tuple[int, int]) -> dict[str, dict[str, Totals]]:
        """Row -> model -> sums, where that is asked for."""
        found: dict[str, dict[str, Totals]] = {}
        if not query.breakdown or query.by == "model":
            return found
        if query.by in _CALENDAR:
            lines = self.reports.daily_by(*keys, ("model",), query.filters)
            named = [(self._period(query.by, day), key[0], t) for (day, key), t in lines.items()]
        else:
            sums = self.reports.totals(*keys, (query.by, "model"), query.filters)
            named = [(key[0], key[1], totals) for key, totals in sums.items()]
        for name, model, totals in named:
            models = found.setdefault(name, {})
            models[model] = models.get(model, Totals()) + totals
        return found

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


def _slotted(rows: Iterable[tuple[int, str, Totals]], size: int) -> dict[str, tuple[Totals, ...]]:
    found: dict[str, list[Totals]] = {}
    for slot, name, totals in rows:
        sums = found.setdefault(name, [Totals()] * size)
        sums[slot] += totals
    return {name: tuple(row) for name, row in found.items()}


def _row(
    name: str,
    totals: Totals,
    buckets: Mapping[int, int],
    before: Totals | None,
    parts: Mapping[str, Totals] | None = None,
    session: SessionRow | None = None,
) -> UsageRow:
    ranked = sorted((parts or {}).items(), key=lambda item: (-item[1].cost_nusd, item[0]))
    return UsageRow(
        name,
        totals,
        percentile(buckets, 0.5),
        percentile(buckets, 0.95),
        before,
        tuple(UsageRow(model, sums, None, None) for model, sums in ranked),
        session,
    )


def _date(text: str, option: str) -> date:
    """YYYY-MM-DD or YYYYMMDD. Raises UsageError."""
    try:
        return date.fromisoformat(text.strip())
    except ValueError:
        raise UsageError(f"{option} takes a date such as 2026-11-30, not {text!r}") from None
