"""Cost analytics: the trend, periods, the projected month, budgets and shares (C5)."""

from collections.abc import Callable, Sequence
from datetime import date, timedelta
from typing import Literal

from msgspec import Struct

from omni_cli.domain.analytics import (
    LOOKBACK_DAYS,
    OTHERS,
    Projection,
    Share,
    Totals,
    calendar,
    day_key,
    key_date,
    project,
    shares,
    sum_totals,
)
from omni_cli.domain.budgets import Budget, BudgetStatus
from omni_cli.domain.money import format_usd
from omni_cli.domain.periods import (
    DAY_MS,
    HOUR_MS,
    PeriodKind,
    PeriodRule,
    day_start,
    local_date,
    window,
)
from omni_cli.ports import Clock
from omni_cli.repositories import Budgets, Reports

Level = Literal["ok", "warning", "error"]
TREND_DAYS = 30
#: Models shown by name, as in the fleet spec's chart; the others are summed.
TOP = 5


class BudgetLine(Struct, frozen=True):
    """``under_percent``: how far spending is below the limit, negative above it; None for a
    limit of zero. ``projection`` and ``projected_under_percent``: the same at the period's end,
    None where the budget's days are not the report's. ``refused``: calls that it refused today,
    and would refuse again as it stands."""

    status: BudgetStatus
    limit_nusd: int
    under_percent: float | None
    projection: Projection | None
    projected_under_percent: float | None
    refused: int = 0

    @property
    def whose(self) -> str:
        """ "everything", "role writer"."""
        budget = self.status.budget
        return "everything" if budget.scope == "all" else f"{budget.scope} {budget.value}"

    @property
    def level(self) -> Level:
        """How bad it is, with ``words``: the one judgement of every face."""
        if self.status.state == "stopped":
            return "error"
        over = self.projected_under_percent is not None and self.projected_under_percent < 0
        return "warning" if over or self.refused or self.status.state == "alert" else "ok"

    @property
    def words(self) -> str:
        """Such as "calls are refused", "too little for some calls, 12 refused today", "at its end
        96% over", "75% reached", "on track"; "within" where nothing is known of its end."""
        if self.status.state == "stopped":
            return "calls are refused"
        if self.refused:
            return f"too little for some calls, {self.refused:,} refused today"
        under = self.projected_under_percent
        if under is not None and under < 0:
            return f"at its end {-under:.0f}% over"
        if self.status.state == "alert":
            reached = max(p for p in self.status.budget.alerts_percent if self.status.used >= p)
            return f"{reached:g}% reached"
        return "within" if under is None else "on track"


#: The worst first.
_LEVELS: tuple[Level, ...] = ("error", "warning", "ok")
#: Budgets of these have days of their own in the reports.
_REPORTED = ("provider", "model", "role", "agent", "org", "key", "session", "project")


class CostOverview(Struct, frozen=True):
    """``trend``: the last 30 dates with what they cost, today the last; None for a day of which
    no price is known. ``projection``: None where that is so of the whole month. ``by_model`` and
    ``by_task`` are of this month. ``trend_by_model``: the trend by model, where those that
    ``by_model`` does not name are one. ``month_days``: this month's dates until today with what
    they cost. Calls of unknown price are in no amount: ``month`` counts them."""

    zone: str
    today: Totals
    yesterday: Totals
    yesterday_by_now_nusd: int
    week: Totals
    month: Totals
    month_label: str
    trend: tuple[tuple[date, int | None], ...]
    projection: Projection | None
    budgets: tuple[BudgetLine, ...]
    by_model: tuple[Share, ...]
    by_task: tuple[Share, ...]
    trend_by_model: tuple[tuple[str, tuple[int, ...]], ...] = ()
    month_days: tuple[tuple[date, int], ...] = ()


class Burn(Struct, frozen=True):
    """How a budget goes. ``days``: its period's dates until today with what they cost of it, of a
    daily one those of four weeks; empty where its days are not the report's. ``projection``: of
    its whole period. ``days_left`` until its stop is reached, as projected; None where it is not.
    ``refused``: calls of the last 24 hours that had no room in it."""

    status: BudgetStatus
    days: tuple[tuple[date, int], ...]
    after: date
    projection: Projection | None
    days_left: int | None
    refused: int


def under_percent(amount_nusd: int, limit_nusd: int) -> float | None:
    """How far an amount is below a limit, in per cent of the limit; negative above it.

    The fleet spec calls $312.40 of $500 "62 % under budget": 62.48 % is the part that is used,
    37.52 % the part that is left, and its projected $420 is 16 % under. omni says what is under.
    """
    return None if limit_nusd <= 0 else 100 * (limit_nusd - amount_nusd) / limit_nusd


class CostService(Struct, kw_only=True, eq=False):
    """Args:
    zone: gives the zone whose days the rollups hold, after making them so if need be.
    """

    reports: Reports
    budgets: Budgets
    zone: Callable[[], str]
    clock: Clock
    week_start: int = 0
    month_day: int = 1

    def yesterday_by_now(self) -> int:
        """What yesterday had cost by this time of day, nano-dollars; of the hour that is under way
        its share."""
        zone, now = self.zone(), int(self.clock() * 1000)
        today = local_date(now, zone)
        begin = day_start(today - timedelta(days=1), zone)
        until = min(begin + now - day_start(today, zone), day_start(today, zone))
        total = 0
        found = self.reports.hourly_by(begin // HOUR_MS, until // HOUR_MS, "provider")
        for (hour, _), sums in found.items():
            total += sums.cost_nusd * min(until - hour * HOUR_MS, HOUR_MS) // HOUR_MS
        return total

    def standings(self) -> tuple[BudgetLine, ...]:
        """Every enabled budget, the worst first."""
        zone, now = self.zone(), int(self.clock() * 1000)
        lines = self._budget_lines([b for b in self.budgets.all() if b.enabled], now, zone)
        return tuple(sorted(lines, key=lambda x: (_LEVELS.index(x.level), -x.status.used)))

    def overview(self) -> CostOverview:
        """Everything as of now."""
        zone, now = self.zone(), int(self.clock() * 1000)
        today = local_date(now, zone)
        week, _ = self._window("week", now, zone)
        month, after = self._window("month", now, zone)
        back = today - timedelta(days=max(TREND_DAYS, LOOKBACK_DAYS + 1))
        daily = self.reports.daily(day_key(min(week, month, back)), day_key(today))
        history = {day: totals.cost_nusd for day, totals in daily.items()}
        first_key = self.reports.first_day()
        first = None if first_key is None else key_date(first_key)
        span = day_key(month), day_key(today)

        def since(start: date) -> Totals:
            return sum_totals(t for day, t in daily.items() if day >= day_key(start))

        spent = since(month)
        yesterday = today - timedelta(days=1)
        trend_start = today - timedelta(days=TREND_DAYS - 1)
        by_model = self._shares(span, "model")
        return CostOverview(
            zone=zone,
            today=daily.get(day_key(today), Totals()),
            yesterday=daily.get(day_key(yesterday), Totals()),
            yesterday_by_now_nusd=self.yesterday_by_now(),
            week=since(week),
            month=spent,
            month_label=f"{month.isoformat()} to {(after - timedelta(days=1)).isoformat()}",
            trend=tuple(
                (key_date(key), daily.get(key, Totals()).known_nusd)
                for key in calendar(trend_start, today + timedelta(days=1))
            ),
            projection=None
            if spent.known_nusd is None
            else project(spent.cost_nusd, today, after, history, first),
            budgets=tuple(
                self._budget_lines(
                    [b for b in self.budgets.all() if b.enabled and b.scope == "all"], now, zone
                )
            ),
            by_model=by_model,
            by_task=self._shares(span, "task"),
            trend_by_model=self._trend(trend_start, today, by_model),
            month_days=tuple(
                (key_date(key), history.get(key, 0))
                for key in calendar(month, today + timedelta(days=1))
            ),
        )

    def burn(self, status: BudgetStatus) -> Burn:
        """How the budget of ``status`` goes, by the use of its own scope."""
        zone, now = self.zone(), int(self.clock() * 1000)
        budget, today = status.budget, local_date(now, zone)
        start, after = local_date(status.start_at, zone), local_date(status.end_at, zone)
        refused = self.reports.refused(budget.label, now - DAY_MS)
        if budget.zone != zone:
            return Burn(status, (), after, None, None, refused)
        back = min(start, today - timedelta(days=LOOKBACK_DAYS + 1))
        scope: dict[str, str] = {} if budget.scope == "all" else {budget.scope: budget.value}
        daily = self.reports.daily(day_key(back), day_key(today), scope)
        history = {day: totals.cost_nusd for day, totals in daily.items()}
        first = min(map(key_date, history), default=None)
        projection = project(status.spent_nusd, today, after, history, first)
        begin = back if budget.period == "day" else start
        days = tuple(
            (key_date(key), history.get(key, 0))
            for key in calendar(begin, today + timedelta(days=1))
        )
        path = projection.path()
        left = next((n for n, step in enumerate(path) if step[0] >= status.stop_at_nusd), None)
        return Burn(status, days, after, projection, left, refused)

    def _trend(
        self, start: date, today: date, ranked: Sequence[Share]
    ) -> tuple[tuple[str, tuple[int, ...]], ...]:
        days = calendar(start, today + timedelta(days=1))
        named = {share.name for share in ranked}
        found: dict[str, dict[int, int]] = {}
        for (day, (model,)), totals in self.reports.daily_by(days[0], days[-1], ("model",)).items():
            own = found.setdefault(model if model in named else OTHERS, {})
            own[day] = own.get(day, 0) + totals.cost_nusd
        order = [share.name for share in ranked if share.name in found]
        order += [OTHERS] if OTHERS in found and OTHERS not in order else []
        return tuple((name, tuple(found[name].get(day, 0) for day in days)) for name in order)

    def _window(self, kind: PeriodKind, now: int, zone: str) -> tuple[date, date]:
        start, end = window(PeriodRule(kind, zone, self.week_start, self.month_day), now)
        return local_date(start, zone), local_date(end, zone)

    def _shares(self, span: tuple[int, int], by: str) -> tuple[Share, ...]:
        found = self.reports.totals(*span, (by,))
        costs = {key or f"(no {by})": totals.cost_nusd for (key,), totals in found.items()}
        return shares({name: cost for name, cost in costs.items() if cost}, top=TOP)

    def _budget_lines(self, budgets: Sequence[Budget], now: int, zone: str) -> list[BudgetLine]:
        today = local_date(now, zone)
        span = day_key(today - timedelta(days=LOOKBACK_DAYS + 1)), day_key(today)
        first_key = self.reports.first_day()
        first = None if first_key is None else key_date(first_key)
        lines = []
        for budget in budgets:
            status = self.budgets.status(budget, now)
            limit = status.whole_nusd
            projection = None
            if budget.zone == zone and budget.scope in ("all", *_REPORTED):
                own: dict[str, str] = {} if budget.scope == "all" else {budget.scope: budget.value}
                history = {
                    day: totals.cost_nusd for day, totals in self.reports.daily(*span, own).items()
                }
                after = local_date(status.end_at, zone)
                projection = project(status.spent_nusd, today, after, history, first)
            # A limit that was raised since says another sum.
            stand = f" left of {format_usd(status.stop_at_nusd)} ("
            lines.append(
                BudgetLine(
                    status=status,
                    limit_nusd=limit,
                    under_percent=under_percent(status.spent_nusd, limit),
                    projection=projection,
                    projected_under_percent=None
                    if projection is None
                    else under_percent(projection.nusd, limit),
                    refused=self.reports.refused(budget.label, day_start(today, zone), stand),
                )
            )
        return lines
