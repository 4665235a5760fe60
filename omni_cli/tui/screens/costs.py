"""Costs: the trend and where it leads, and where the money goes (fleet spec, "Cost Analytics")."""

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any, ClassVar

from msgspec import Struct
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from omni_cli.bootstrap import App
from omni_cli.domain.analytics import Share
from omni_cli.domain.money import NUSD_PER_USD
from omni_cli.domain.periods import DAY_MS
from omni_cli.domain.pricing import format_usd
from omni_cli.domain.words import percent
from omni_cli.records import StoredAdvice
from omni_cli.services.money.costs import BudgetLine, CostOverview
from omni_cli.services.money.savings import Saved
from omni_cli.services.money.usage import UsageQuery
from omni_cli.tui import text
from omni_cli.tui.pane import Pane
from omni_cli.tui.usage_view import money
from omni_cli.tui.widgets.chart import COMING, LEVEL, LOWER, Column, axis_width, chart
from omni_cli.tui.widgets.tiles import Empty, set_empty

_MUTED = "$foreground-muted"
_DAYS = {"day": 1, "week": 7}


class CostView(Struct, frozen=True):
    """``saved``: of this month. ``opportunities``: pending recommendations that would save, the
    most first."""

    overview: CostOverview
    saved: Saved
    opportunities: tuple[StoredAdvice, ...]
    names: dict[str, str]


def read_costs(omni: App) -> CostView:
    """Raises OmniError."""
    overview = omni.costs.overview()
    found = [
        advice
        for advice in omni.advice.refresh()
        if advice.status == "pending" and (advice.finding.saving_monthly_nusd or 0) > 0
    ]
    found.sort(key=lambda a: -(a.finding.saving_monthly_nusd or 0))
    names = {}
    for share in overview.by_model:
        model = omni.models.get(share.name)
        if model is not None:
            names[share.name] = model.name
    saved = omni.savings.saved(UsageQuery(period="month"))
    return CostView(overview, saved, tuple(found), names)


def any_cost(view: CostView) -> bool:
    return bool(view.overview.month.attempts) or any(cost for _, cost in view.overview.trend)


# --- the trend -----------------------------------------------------------------------------------


def trend_columns(overview: CostOverview) -> tuple[Column, ...]:
    """30 days as they were, then each day that the month still has as the projection sees it.

    What the projection adds to the month is spread evenly over the days to come: it is made by
    weekday, but only its sum is given.
    """
    columns = [
        Column(day.strftime("%m-%d"), (cost or 0) / NUSD_PER_USD) for day, cost in overview.trend
    ]
    today = overview.trend[-1][0]
    coming = (_month_end(overview) - today).days
    rest = 0 if overview.projection is None else overview.projection.nusd
    rest -= overview.month.cost_nusd
    if coming > 0 and rest > 0:
        mean = rest / coming / NUSD_PER_USD
        columns += [
            Column((today + timedelta(days=n)).strftime("%m-%d"), mean, coming=True)
            for n in range(1, coming + 1)
        ]
    return tuple(columns)


def _month_end(overview: CostOverview) -> date:
    return date.fromisoformat(overview.month_label.rpartition(" ")[2])


def daily_limit(overview: CostOverview) -> tuple[float, str]:
    """What the tightest budget of everything allows a day, US dollars, and of which; 0 without."""
    found = []
    for line in overview.budgets:
        status = line.status
        days = max(round((status.end_at - status.start_at) / DAY_MS), 1)
        found.append((line.limit_nusd / days / NUSD_PER_USD, status.budget.period))
    return min(found, default=(0.0, ""))


def trend(view: CostView, size: tuple[int, int]) -> Content:
    """The chart with its legend."""
    overview = view.overview
    columns = trend_columns(overview)
    limit, period = daily_limit(overview)
    top = max((column.sum for column in columns), default=0.0)
    # A limit far above would press the columns flat: then it is said, not drawn.
    drawn = limit if 0 < limit <= 3 * top else 0.0
    room = size[0] - axis_width(columns, dollars, drawn)
    if room < len(columns):
        columns = columns[-max(room, 1) :]
    legend = Content.assemble(("SPENDING ", "bold $primary"), ("a day  ", _MUTED), LOWER, " spent")
    if any(column.coming for column in columns):
        legend += Content.assemble("  ", COMING, " projected")
    if limit:
        words = f"{dollars(limit)} a day, of the {period} budget"
        legend += Content.assemble("  ", LEVEL if drawn else "", f" {words}")
    body = chart(columns, size=(size[0], size[1] - 1), scale=dollars, level=drawn)
    return legend.truncate(size[0], ellipsis=True) + Content("\n") + body


def dollars(value: float) -> str:
    """US dollars on an axis."""
    if value >= 1000:
        return f"${value:,.0f}"
    return f"${value:.2f}" if value >= 0.01 or not value else f"${value:.2g}"


# --- the parts below -------------------------------------------------------------------------


def figures(view: CostView, width: int) -> Content:
    """Today, week, month, its end, and what is left of budgets."""
    overview = view.overview
    shown = Content.styled("SPENT", "bold $primary")
    step, way = text.change(overview.today.cost_nusd, overview.yesterday.cost_nusd)
    today = Content.styled(money(overview.today), "bold")
    if step:
        style = "$warning" if way == "up" else "$success"
        today += Content.assemble("  ", (step, style), (" against all of yesterday", _MUTED))
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
            f"\n{overview.month.unknown_attempts:,} calls have no known price: in no amount",
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


def share_bars(title: str, items: Sequence[Share], names: dict[str, str], width: int) -> Content:
    """Bars with amounts and shares of the whole."""
    shown = Content.assemble((title, "bold $primary"), (" this month", _MUTED))
    label = min(max(width // 3, 10), 24)
    amounts = [format_usd(item.nusd) for item in items]
    figure = max(map(len, amounts), default=0)
    room = width - label - 1 - figure - 7
    top = max((item.share or 0.0 for item in items), default=0.0)
    for item, amount in zip(items, amounts, strict=True):
        name = Content(names.get(item.name, item.name)).truncate(label, ellipsis=True)
        part = (item.share or 0.0) / top if top else 0.0
        full = max(round(part * room), 1 if part else 0)
        shown += Content("\n") + name.pad_right(max(label + 1 - name.cell_length, 0))
        shown += Content.assemble(
            ("█" * full, "$primary"),
            " " * (room - full),
            (f" {amount:>{figure}}", "bold"),
            (f" {percent(item.share):>5}", _MUTED),
        )
    if not items:
        shown += Content.styled("\nnothing was paid yet", _MUTED)
    return shown


def opportunities(view: CostView, width: int) -> Content:
    """What recommendations would save, together and one by one; empty without any."""
    found = view.opportunities
    if not found:
        return Content("")
    whole = sum(a.finding.saving_monthly_nusd or 0 for a in found)
    shown = Content.assemble(
        ("OPPORTUNITIES", "bold $primary"),
        "  together they would save ",
        (format_usd(whole), "bold $success"),
        " a month",
        ("  (- opens Recommendations)", _MUTED),
    ).truncate(width, ellipsis=True)
    for place, advice in enumerate(found[:4], 1):
        finding = advice.finding
        saves = f"saves {format_usd(finding.saving_monthly_nusd)}/month"
        title = Content(f"{place}. {finding.title}").truncate(width - len(saves) - 2, ellipsis=True)
        gap = " " * max(width - title.cell_length - len(saves), 1)
        shown += Content("\n") + title + Content(gap) + Content.styled(saves, "$success")
    return shown


_EMPTY = Content.assemble(
    ("Nothing was paid in these 30 days.\n\n", "bold"),
    ("  9", "bold $primary"),
    "             opens Chat: ask the fleet something\n",
    ("  omni import", "bold $primary"),
    "   brings in what other tools have used",
)
#: Lines that the chart takes: at least, at most.
_CHART = (8, 18)
#: From so many columns on the parts stand in two columns, and in three.
_ROOMY, _VAST = 100, 150


class CostsPane(Pane[CostView]):
    DEFAULT_CSS = """
    CostsPane.-empty #full { display: none; }
    CostsPane #full { padding: 0 1; }
    CostsPane #trend, CostsPane #opportunities { height: auto; }
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
        Binding("u", "go('usage')", "Usage"),
        Binding("b", "go('budgets')", "Budgets"),
        Binding("r", "go('recommendations')", "Recommendations"),
    ]

    _view: CostView | None = None

    def compose(self) -> ComposeResult:
        yield Empty(_EMPTY)
        with VerticalScroll(id="full"):
            yield Static(id="trend")
            yield Static(id="above")
            with Horizontal(id="parts"):
                yield Static(id="figures")
                yield Static(id="models")
                yield Static(id="tasks")
            yield Static(id="opportunities")

    def entry(self) -> Widget | None:
        return self.query_one(Empty) if self.has_class("-empty") else self.query_one("#full")

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
        lines = min(max(self.size.height * 2 // 5, _CHART[0]), _CHART[1])
        self.query_one("#trend", Static).update(trend(view, (width, lines)))
        self.query_one("#above", Static).update(figures(view, width))
        beside = 1 + self.has_class("-roomy") + self.has_class("-vast")
        part = width if beside == 1 else width // beside - 2
        self.query_one("#figures", Static).update(figures(view, part))
        overview = view.overview
        self.query_one("#models", Static).update(
            share_bars("BY MODEL", overview.by_model, view.names, part)
        )
        self.query_one("#tasks", Static).update(share_bars("BY TASK", overview.by_task, {}, part))
        found = self.query_one("#opportunities", Static)
        found.update(opportunities(view, width))
        found.display = bool(view.opportunities)

    def on_resize(self) -> None:
        self.set_class(self.size.width >= _ROOMY, "-roomy")
        self.set_class(self.size.width >= _VAST, "-vast")
        self.call_after_refresh(self._draw)

    def action_scroll(self, by: int) -> None:
        self.query_one("#full", VerticalScroll).scroll_relative(y=by, animate=False)

    async def action_go(self, tab: str) -> None:
        await self.omni.action_tab(tab)
