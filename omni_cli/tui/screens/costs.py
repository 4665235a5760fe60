"""Costs: the trend and where it leads, and where the money goes (fleet spec, "Cost Analytics")."""

import textwrap
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from itertools import accumulate
from typing import Any, ClassVar

from msgspec import Struct
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from omni_cli.bootstrap import App
from omni_cli.domain.analytics import OTHERS, Projection, Share
from omni_cli.domain.money import NUSD_PER_USD, format_usd
from omni_cli.domain.periods import DAY_MS
from omni_cli.domain.record import replace
from omni_cli.domain.words import counted, percent
from omni_cli.records import StoredAdvice
from omni_cli.services.judge.advice_document import open_saving_nusd
from omni_cli.services.money.costs import BudgetLine, CostOverview
from omni_cli.services.money.savings import Saved
from omni_cli.services.money.usage import UsageQuery
from omni_cli.tui import plot, text
from omni_cli.tui.colours import Look
from omni_cli.tui.pane import Pane
from omni_cli.tui.plot import Plot, Series
from omni_cli.tui.usage_view import model_looks, money
from omni_cli.tui.widgets.chart import Chart, Shown
from omni_cli.tui.widgets.tiles import Empty, set_empty
from omni_cli.tui.widgets.words import Words

_MUTED = "$foreground-muted"
_DAYS = {"day": 1, "week": 7}


class CostView(Struct, frozen=True):
    """``saved``: of this month. ``names``, ``looks``: of models. ``opportunities``: pending
    recommendations that would save, as ranked; ``open_nusd``: what all that are open would save
    in a month."""

    overview: CostOverview
    saved: Saved
    opportunities: tuple[StoredAdvice, ...]
    open_nusd: int
    names: dict[str, str]
    looks: dict[str, Look]


def read_costs(omni: App) -> CostView:
    """Raises OmniError."""
    overview = omni.costs.overview()
    advice = omni.advice.refresh()
    found = tuple(
        one
        for one in advice
        if one.status == "pending" and (one.finding.saving_monthly_nusd or 0) > 0
    )
    names = {}
    for share in overview.by_model:
        model = omni.models.get(share.name)
        if model is not None:
            names[share.name] = model.name
    saved = omni.savings.saved(UsageQuery(period="month"))
    named = [name for name, _ in overview.trend_by_model if name != OTHERS]
    looks = {**model_looks(omni, named), OTHERS: Look(_MUTED)}
    return CostView(overview, saved, found, open_saving_nusd(advice), names, looks)


def any_cost(view: CostView) -> bool:
    return bool(view.overview.month.attempts) or any(cost for _, cost in view.overview.trend)


# --- the charts ----------------------------------------------------------------------------------


def trend(view: CostView) -> Shown:
    """30 days as they were, and what today and each day of the month still to come are expected to
    add: the rest of today on today's column."""
    overview = view.overview
    days = [day for day, _ in overview.trend]
    rest = () if overview.projection is None else overview.projection.rest
    days += [days[-1] + timedelta(days=n) for n in range(1, len(rest))]
    coming = tuple(_usd(nusd) for nusd in rest)
    before = len(overview.trend) - bool(rest)
    own, after = view.looks, [0.0] * (len(days) - len(overview.trend))
    lines = tuple(
        Series(view.names.get(name, name), look.style, (*map(_usd, row), *after), look.mark)
        for name, row in overview.trend_by_model
        for look in [own[name]]
    )
    limit, period = daily_limit(overview)
    made = Plot(
        tuple(day.strftime("%m-%d") for day in days),
        lines,
        plot.dollars,
        coming=(*[0.0] * before, *coming) if rest else (),
    )
    # A limit far above would press the columns flat: then it is said, not drawn.
    if 0 < limit <= 3 * made.top:
        made = replace(made, level=limit)
    return Shown(
        made,
        "SPENDING a day",
        tuple(f"{day:%a %Y-%m-%d}" for day in days),
        _told,
        level=f"{plot.dollars(limit)} a day, of the {period} budget" if limit else "",
    )


def burn_up(overview: CostOverview) -> Shown:
    """This month, added up: as it was, where it leads, and the limit."""
    limits = [b.limit_nusd for b in overview.budgets if b.status.budget.period == "month"]
    return added_up(
        "THIS MONTH",
        overview.month_days,
        overview.projection,
        limit=min(limits, default=0),
        level="budget",
    )


def added_up(
    heading: str,
    days: Sequence[tuple[date, int]],
    projection: Projection | None,
    *,
    limit: int,
    level: str,
) -> Shown:
    """Spending of a period's days added up, the cone of its projection, and a limit across.

    Args:
        days: dates until today with nano-dollars.
        limit: nano-dollars; 0 for none.
    """
    sums = [_usd(amount) for amount in accumulate(nusd for _, nusd in days)]
    path = [] if projection is None else projection.path()
    dates = [day for day, _ in days]
    dates += [dates[-1] + timedelta(days=n) for n in range(1, len(path))]
    gap: list[float | None] = [None] * (len(days) - 1)
    after: list[float | None] = [None] * max(len(path) - 1, 0)
    cone: list[tuple[float, float] | None] = [None] * (len(days) - 1)
    expected = [_usd(step[0]) for step in path]
    cone += [(_usd(low), _usd(high)) for _, low, high in path]
    lines = [Series("spent", "$primary", (*sums, *after))]
    if len(path) > 1:
        # From where it stands now; what today still adds is in the step to tomorrow.
        lines.append(Series("projected", "$accent", (*gap, sums[-1], *expected[1:])))
    made = Plot(
        tuple(day.strftime("%m-%d") for day in dates),
        tuple(lines),
        plot.dollars,
        "curves",
        cone=tuple(cone) if len(path) > 1 else (),
    )
    if 0 < _usd(limit) <= 3 * made.top:
        made = replace(made, level=_usd(limit))
    return Shown(
        made,
        heading,
        tuple(f"{day:%a %Y-%m-%d}" for day in dates),
        _told,
        level=f"{format_usd(limit)} {level}" if limit else "",
        coming="4 of 5 cases",
    )


def each_day(
    heading: str, days: Sequence[tuple[date, int]], rest: Sequence[int], *, limit: int, level: str
) -> Shown:
    """A column for each day, what is still expected of today on the last one, a limit across."""
    made = Plot(
        tuple(day.strftime("%m-%d") for day, _ in days),
        (Series("spent", "$primary", tuple(_usd(nusd) for _, nusd in days)),),
        plot.dollars,
        coming=(*[0.0] * (len(days) - 1), _usd(rest[0])) if rest else (),
    )
    if 0 < _usd(limit) <= 3 * made.top:
        made = replace(made, level=_usd(limit))
    names = tuple(f"{day:%a %Y-%m-%d}" for day, _ in days)
    return Shown(made, heading, names, _told, level=level if limit else "")


def _usd(nusd: int) -> float:
    return nusd / NUSD_PER_USD


def _told(value: float) -> str:
    return format_usd(round(value * NUSD_PER_USD))


def daily_limit(overview: CostOverview) -> tuple[float, str]:
    """What the tightest budget of everything allows a day, US dollars, and of which; 0 without."""
    found = []
    for line in overview.budgets:
        status = line.status
        days = max(round((status.end_at - status.start_at) / DAY_MS), 1)
        found.append((line.limit_nusd / days / NUSD_PER_USD, status.budget.period))
    return min(found, default=(0.0, ""))


# --- the parts below -------------------------------------------------------------------------


def figures(view: CostView, width: int) -> Content:
    """Today, week, month, its end, and what is left of budgets."""
    overview = view.overview
    shown = Content.styled("SPENT", "bold $primary")
    step, way = text.change(overview.today.cost_nusd, overview.yesterday_by_now_nusd)
    today = Content.styled(money(overview.today), "bold")
    if step:
        style = "$warning" if way == "up" else "$success"
        by_now = format_usd(overview.yesterday_by_now_nusd)
        today += Content.assemble("  ", (step, style), (f" on {by_now} yesterday by now", _MUTED))
    projection = overview.projection
    between = ""
    if projection and projection.low_nusd is not None and projection.high_nusd is not None:
        low, high = format_usd(projection.low_nusd), format_usd(projection.high_nusd)
        between = f"  {low} to {high} in 4 of 5 cases"
    rows = (
        ("Today", today),
        ("This week", Content.styled(money(overview.week), "bold")),
        (
            "This month",
            Content.assemble(
                (money(overview.month), "bold"), (f"  {overview.month_label}", _MUTED)
            ),
        ),
        (
            "Projected",
            Content.assemble(
                (format_usd(None if projection is None else projection.nusd), "bold"),
                (between, _MUTED),
            ),
        ),
        ("Saved", saved_text(view.saved)),
    )
    for name, words in rows:
        shown += Content.styled(f"\n{name:<11}", _MUTED) + words.truncate(width - 11, ellipsis=True)
    for line in overview.budgets:
        shown += Content.styled(f"\n{'Budget':<11}", _MUTED) + _budget(line)
    if not overview.budgets:
        shown += Content.styled(f"\n{'Budget':<11}none: 7 Budgets, then n", _MUTED)
    if overview.month.unknown_attempts:
        shown += Content.styled(
            f"\n{counted(overview.month.unknown_attempts, 'call')} of no known price: in no amount",
            "$warning",
        )
    return shown


def saved_text(saved: Saved) -> Content:
    """This month's saving, as ``omni savings`` has it."""
    nusd = saved.saving_nusd
    if nusd is None:
        return Content.styled("unknown: nothing was compared with a premium model", _MUTED)
    word = "" if nusd >= 0 else "paid more: "
    shown = Content.styled(word + format_usd(abs(nusd)), "bold")
    shown += Content.styled(" against the premium model", _MUTED)
    spent = sum(saved.evaluation_nusd.values())
    return (
        shown + Content.styled(f", less {format_usd(spent)} to judge models", _MUTED)
        if spent
        else shown
    )


def _budget(line: BudgetLine) -> Content:
    shown = Content.assemble((f"{format_usd(line.limit_nusd)}/{line.status.budget.period}", "bold"))
    shown += _under(line.under_percent)
    if line.projected_under_percent is not None:
        shown += Content.styled(", at its end", _MUTED) + _under(line.projected_under_percent)
    return shown


def _under(percent: float | None) -> Content:
    if percent is None:
        return Content.styled(" no money allowed", "$warning")
    if percent < 0:
        return Content.styled(f" ▲ {-percent:.0f}% over", "$error")
    return Content.styled(f" ● {percent:.0f}% under", "$success")


def share_bars(
    title: str,
    items: Sequence[Share],
    width: int,
    *,
    names: Mapping[str, str] | None = None,
    own: Mapping[str, Look] | None = None,
) -> Content:
    """Bars with amounts and shares of the whole.

    Args:
        names, own: what an item is called, and its look, where it has one.
    """
    shown = Content.assemble((title, "bold $primary"), (" this month", _MUTED))
    label = min(max(width // 3, 10), 24)
    amounts = [format_usd(item.nusd) for item in items]
    figure = max(map(len, amounts), default=0)
    room = width - label - 1 - figure - 7
    top = max((item.share or 0.0 for item in items), default=0.0)
    for item, amount in zip(items, amounts, strict=True):
        look = (own or {}).get(item.name)
        name = Content((names or {}).get(item.name, item.name))
        if look is not None:
            name = Content.styled(f"{look.mark} ", look.style) + name
        name = name.truncate(label, ellipsis=True)
        shown += Content("\n") + name.pad_right(max(label + 1 - name.cell_length, 0))
        shown += plot.bar(item.share or 0.0, top, room, "$primary" if look is None else look.style)
        shown += Content.assemble((f" {amount:>{figure}}", "bold"), f" {percent(item.share):>5}")
    if not items:
        shown += Content.styled("\nnothing was paid yet", _MUTED)
    return shown


def opportunities(view: CostView, width: int) -> Content:
    """What recommendations would save, together and one by one; empty without any."""
    found = view.opportunities
    if not found:
        return Content("")
    shown = Content.assemble(
        ("OPPORTUNITIES", "bold $primary"),
        "  together they would save ",
        (format_usd(view.open_nusd), "bold $success"),
        " a month",
        ("  (- opens Recommendations)", _MUTED),
    ).truncate(width, ellipsis=True)
    for place, advice in enumerate(found[:4], 1):
        finding = advice.finding
        saves = f"saves {format_usd(finding.saving_monthly_nusd)}/month"
        title = Content(f"{place}. {finding.title}").truncate(width - len(saves) - 2, ellipsis=True)
        gap = " " * max(width - title.cell_length - len(saves), 1)
        shown += Content("\n") + title + Content(gap) + Content.styled(saves, "$success")
        why = textwrap.wrap(finding.reasoning, max(width - 3, 20), max_lines=2, placeholder=" …")
        shown += Content.styled("".join(f"\n   {line}" for line in why), _MUTED)
    return shown


_EMPTY = Content.assemble(
    ("Nothing was paid in these 30 days.\n\n", "bold"),
    ("  9", "bold $primary"),
    "             opens Chat: ask the fleet something\n",
    ("  omni import", "bold $primary"),
    "   brings in what other tools have used",
)
#: Lines of the charts: at least, as a rule at most, and at most where all else is seen, too.
_CHART = (8, 18, 36)
#: Lines of all else.
_BELOW = 24
#: From so many columns on the parts stand in two columns, and in three.
_ROOMY, _VAST = 100, 150


class CostsPane(Pane[CostView]):
    DEFAULT_CSS = """
    CostsPane.-empty #full { display: none; }
    CostsPane #full { padding: 0 1; }
    CostsPane #charts { height: 10; }
    CostsPane #trend { width: 2fr; }
    CostsPane #month { width: 1fr; min-width: 40; display: none; }
    CostsPane.-month #month { display: block; }
    CostsPane.-month #trend { display: none; }
    CostsPane.-roomy #trend, CostsPane.-roomy #month { display: block; }
    CostsPane.-roomy #month { margin-left: 2; }
    CostsPane #opportunities { height: auto; }
    CostsPane #parts { height: auto; layout: vertical; }
    CostsPane #parts Static { height: auto; width: 1fr; margin-top: 1; }
    CostsPane #opportunities { margin-top: 1; }
    CostsPane #above { height: auto; display: none; margin-top: 1; }
    CostsPane.-roomy #parts { layout: horizontal; }
    CostsPane.-roomy #parts Static { padding-right: 2; }
    CostsPane.-roomy #figures { display: none; }
    CostsPane.-roomy #above { display: block; }
    CostsPane.-vast #figures { display: block; }
    CostsPane.-vast #above { display: none; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j", "scroll(2)", "Down", show=False),
        Binding("k", "scroll(-2)", "Up", show=False),
        Binding("m", "month", "Day/month"),
        Binding("u", "go('usage')", "Usage"),
        Binding("b", "go('budgets')", "Budgets"),
        Binding("r", "go('recommendations')", "Recommendations"),
    ]

    _view: CostView | None = None

    def compose(self) -> ComposeResult:
        yield Empty(_EMPTY)
        with VerticalScroll(id="full"):
            with Horizontal(id="charts"):
                yield Chart(id="trend")
                yield Chart(id="month")
            yield Words(id="above")
            with Horizontal(id="parts"):
                yield Words(id="figures")
                yield Words(id="models")
                yield Words(id="tasks")
            yield Words(id="opportunities")

    def entry(self) -> Widget | None:
        if self.has_class("-empty"):
            return self.query_one(Empty)
        return next(chart for chart in self.query(Chart) if chart.display)

    def load(self, omni: App, _wanted: Any) -> CostView:
        return read_costs(omni)

    def show(self, value: CostView) -> None:
        self._view = value
        set_empty(self, not any_cost(value))
        self.call_after_refresh(self._draw)

    def _draw(self) -> None:
        view = self._view
        if view is None:
            return
        width = self.query_one("#full").content_size.width - 1
        height, (least, usual, most) = self.size.height, _CHART
        lines = max(least, min(height * 2 // 5, usual), min(height - _BELOW, most))
        self.query_one("#charts").styles.height = lines
        self.query_one("#trend", Chart).put(trend(view))
        self.query_one("#month", Chart).put(burn_up(view.overview))
        self.query_one("#above", Static).update(figures(view, width))
        beside = 1 + self.has_class("-roomy") + self.has_class("-vast")
        part = width if beside == 1 else width // beside - 2
        self.query_one("#figures", Static).update(figures(view, part))
        overview = view.overview
        self.query_one("#models", Static).update(
            share_bars("BY MODEL", overview.by_model, part, names=view.names, own=view.looks)
        )
        self.query_one("#tasks", Static).update(share_bars("BY TASK", overview.by_task, part))
        found = self.query_one("#opportunities", Static)
        found.update(opportunities(view, width))
        found.display = bool(view.opportunities)

    def resized(self) -> None:
        self.set_class(self.size.width >= _ROOMY, "-roomy")
        self.set_class(self.size.width >= _VAST, "-vast")
        self.call_after_refresh(self._draw)

    def action_month(self) -> None:
        """Where there is room for one chart only: the other one."""
        self.toggle_class("-month")
        entry = self.entry()
        if entry is not None:
            entry.focus()

    @on(Chart.Opened)
    async def _opened(self, event: Chart.Opened) -> None:
        """The hours of a day that was, in Usage."""
        view = self._view
        if view is None:
            return
        overview = view.overview
        trend = overview.trend if event.chart.id == "trend" else overview.month_days
        if event.first < len(trend):
            from omni_cli.tui.screens.usage import UsagePane

            await self.omni.open_tab("usage")
            self.omni.query_one(UsagePane).look_into(trend[event.first][0], "cost")

    def action_scroll(self, by: int) -> None:
        self.query_one("#full", VerticalScroll).scroll_relative(y=by, animate=False)

    async def action_go(self, tab: str) -> None:
        await self.omni.action_tab(tab)
