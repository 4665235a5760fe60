"""Usage: calls, tokens and cost by anything, over any range; Enter shows a row's requests."""

from datetime import date, timedelta
from typing import Any, ClassVar, get_args

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widget import Widget
from textual.widgets import DataTable, Static

from omni_cli.bootstrap import App
from omni_cli.domain.search import Search, Term
from omni_cli.services.money.usage import Dimension, UsageQuery
from omni_cli.tui import usage_view
from omni_cli.tui.pane import Pane
from omni_cli.tui.usage_view import METRICS, Metric, UsageView, read_usage
from omni_cli.tui.widgets.chart import Chart
from omni_cli.tui.widgets.form import Field, FormScreen, Values
from omni_cli.tui.widgets.picker import Choice, Choices
from omni_cli.tui.widgets.table import SortableTable, Table
from omni_cli.tui.widgets.tiles import Empty, set_empty
from omni_cli.tui.widgets.words import Words

_BY = tuple(
    (name, name)
    for name in ("provider", "model", "agent", "role", "task", "org", "key", "session", "project")
)
_PERIODS = (("today", "today"), ("week", "week"), ("month", "month"), ("custom", "custom"))
_EMPTY = Content.assemble(
    ("No usage in this range.\n\n", "bold"),
    ("  p", "bold $primary"),
    "             another period; ",
    ("c", "bold $primary"),
    " any two dates\n",
    ("  9", "bold $primary"),
    "             opens Chat: ask the fleet something\n",
    ("  omni import", "bold $primary"),
    "   brings in what other tools have used",
)
_ORDER = ("cost", True)
#: From so many columns on both charts stand side by side.
_ROOMY = 100


class UsagePane(Pane[UsageView]):
    DEFAULT_CSS = """
    UsagePane.-empty #full { display: none; }
    UsagePane #headline { height: 1; padding: 0 1; }
    UsagePane #charts { padding: 0 1; }
    UsagePane Chart { width: 2fr; }
    UsagePane #bars { width: 1fr; min-width: 44; height: 1fr; display: none; padding-left: 2; }
    UsagePane.-roomy #bars { display: block; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("d", "by(1)", "By"),
        Binding("D", "by(-1)", "By, backwards", show=False),
        Binding("p", "period(1)", "Period"),
        Binding("P", "period(-1)", "Period, backwards", show=False),
        Binding("c", "custom", "Dates"),
        Binding("o", "order", "Sort"),
        Binding("O", "reverse", "Sort the other way", show=False),
        Binding("b", "metric", "Tokens/cost/calls"),
        Binding("left", "read(-1)", "Read out", key_display="←→"),
        Binding("right", "read(1)", "Read out", show=False),
        Binding("z", "zoom", "Hours"),
        Binding("escape", "back", "Back to days", show=False),
    ]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._dates: tuple[str, str] | None = None
        self._view: UsageView | None = None
        self._metric: Metric = "tokens"
        #: The single day that is looked into, until ``back``.
        self._day: date | None = None

    def compose(self) -> ComposeResult:
        yield Choices([Choice("by", "d", _BY), Choice("period", "p", _PERIODS)])
        yield Words(id="headline")
        yield Empty(_EMPTY)
        with Vertical(id="full"):
            with Horizontal(id="charts"):
                yield Chart()
                yield Words(id="bars")
            yield SortableTable(_ORDER)

    def on_mount(self) -> None:
        self._choices.put("by", "model")
        self._choices.put("period", "month")

    @property
    def _choices(self) -> Choices:
        return self.query_one(Choices)

    @property
    def _table(self) -> SortableTable:
        return self.query_one(SortableTable)

    def entry(self) -> Widget | None:
        return self.query_one(Empty) if self.has_class("-empty") else self._table.table

    def remember(self) -> dict[str, Any]:
        return {
            "by": self._choices.values["by"],
            "period": self._choices.values["period"],
            "dates": list(self._dates or ()),
            "order": list(self._table.order),
            "metric": self._metric,
        }

    def recall(self, kept: dict[str, Any]) -> None:
        dates = kept.get("dates")
        if isinstance(dates, list) and len(dates) == 2 and all(map(_is_date, dates)):
            self._dates = (dates[0], dates[1])
        self._choices.put("by", kept.get("by"))
        if kept.get("period") != "custom" or self._dates is not None:
            self._choices.put("period", kept.get("period"))
        order = kept.get("order")
        if isinstance(order, list) and len(order) == 2:
            self._table.order = str(order[0]), bool(order[1])
        self._metric = next((m for m in METRICS if m == kept.get("metric")), self._metric)

    # --- reading and showing -----------------------------------------------------------------

    def wanted(self) -> UsageQuery:
        values = self._choices.values
        by = next(name for name in get_args(Dimension) if name == values["by"])
        if self._day is not None:
            end = self._day + timedelta(days=1)
            return UsageQuery(
                by=by, from_date=self._day.isoformat(), to_date=end.isoformat(), compare=True
            )
        if values["period"] == "custom" and self._dates is not None:
            first, last = self._dates
            after = date.fromisoformat(last) + timedelta(days=1)
            return UsageQuery(by=by, from_date=first, to_date=after.isoformat(), compare=True)
        return UsageQuery(by=by, period=values["period"], compare=True)

    def load(self, omni: App, wanted: UsageQuery) -> UsageView:
        return read_usage(omni, wanted)

    def show(self, value: UsageView) -> None:
        self._view = value
        set_empty(self, not usage_view.described(value.report.rows))
        self._share_room(len(value.report.rows) + 2)
        # The bars are as large as the layout makes them, which is not known before.
        self.call_after_refresh(self._draw)

    def _share_room(self, lines: int) -> None:
        """The table takes the ``lines`` that it needs, at most 55 %; the charts all the rest."""
        whole = self.size.height - 2
        self.query_one("#charts").styles.height = max(whole - min(lines, whole * 11 // 20), 3)

    def _draw(self) -> None:
        view = self._view
        if view is None:
            return
        width = self.size.width
        self.query_one("#headline", Static).update(usage_view.headline(view, width - 2))
        bars = self.query_one("#bars", Static)
        hint = ""
        if bars.display:
            bars.update(usage_view.bars(view, self._metric, bars.content_size))
            zoom = "z back to days" if self._day else "z into hours"
            hint = (
                "←→ reads out" if view.slots.hours and not self._day else f"←→ reads out · {zoom}"
            )
        self.query_one(Chart).put(usage_view.over_time(view, self._metric, hint))
        self._table.fill(*usage_view.table(view, width, self.omni.colour))

    def resized(self) -> None:
        self.set_class(self.size.width >= _ROOMY, "-roomy")
        if self._view is not None:
            self._share_room(len(self._view.report.rows) + 2)
        self.call_after_refresh(self._draw)

    # --- actions -----------------------------------------------------------------------------

    @on(Choices.Changed)
    def _changed(self, event: Choices.Changed) -> None:
        self._day = None if event.name == "period" else self._day
        if event.name == "period" and event.value == "custom":
            self._ask_dates()
        else:
            self.refresh_data()

    def action_by(self, by: int) -> None:
        self._choices.step("by", by)

    def action_period(self, by: int) -> None:
        """Custom is only stepped to once its dates are known."""
        choices = self._choices
        names = [name for name, _ in _PERIODS if name != "custom" or self._dates is not None]
        at = names.index(choices.values["period"]) if choices.values["period"] in names else 0
        choices.put("period", names[(at + by) % len(names)])
        self._day = None
        self.refresh_data()

    def action_custom(self) -> None:
        self._ask_dates()

    def _ask_dates(self) -> None:
        view = self._view
        first, last = self._dates or ("", "")
        if view is not None and not first:
            first, last = view.report.first.isoformat(), view.report.last.isoformat()
        kept: list[Values] = []

        def submit(omni: App, values: Values) -> None:
            after = date.fromisoformat(values["last"]) + timedelta(days=1)
            omni.usage.span(UsageQuery(from_date=values["first"], to_date=after.isoformat()))
            kept.append(values)

        def closed(done: bool | None) -> None:
            if done:
                self._dates = kept[-1]["first"], kept[-1]["last"]
            if self._dates is not None and (done or self._choices.values["period"] == "custom"):
                self._choices.put("period", "custom")
            elif self._choices.values["period"] == "custom":
                self._choices.put("period", "month")
            self.refresh_data()

        fields = [
            Field("first", "From", first, "YYYY-MM-DD", check=_check_date),
            Field("last", "To, included", last, "YYYY-MM-DD", check=_check_date),
        ]
        form = FormScreen(self.loader, "Usage between two dates", fields, submit, save="Show")
        self.app.push_screen(form, closed)

    def action_order(self) -> None:
        self._table.step()

    def action_reverse(self) -> None:
        self._table.reverse()

    def action_metric(self) -> None:
        self._metric = METRICS[(METRICS.index(self._metric) + 1) % len(METRICS)]
        self._draw()

    def action_read(self, by: int) -> None:
        """Move the chart's cursor, wherever the focus is."""
        self.query_one(Chart).action_step(by)

    @on(Table.Sideways)
    def _sideways(self, event: Table.Sideways) -> None:
        self.action_read(event.by)

    def action_zoom(self) -> None:
        """Into the hours of the day under the chart's cursor, and out of them again."""
        if self._day is not None:
            self.action_back()
        else:
            self.query_one(Chart).action_open()

    @on(Chart.Opened)
    def _opened(self, event: Chart.Opened) -> None:
        view = self._view
        if view is None or view.slots.hours:
            return
        if event.first != event.last:
            self._dates = (
                view.slots.days[event.first].isoformat(),
                view.slots.days[event.last].isoformat(),
            )
            self._choices.put("period", "custom")
        else:
            self._day = view.slots.days[event.first]
        self.refresh_data()

    def look_into(self, day: date, metric: Metric) -> None:
        """The hours of a day, from another tab."""
        self._day, self._metric = day, metric
        self.refresh_data()

    def action_back(self) -> None:
        if self._day is not None:
            self._day = None
            self.refresh_data()
        else:
            self.query_one(Chart).cursor = None

    @on(DataTable.RowSelected)
    def action_drill(self) -> None:
        """The requests of the row under the cursor, in Activity."""
        key, view = self._table.table.chosen, self._view
        if key is None or view is None:
            return
        if not key:
            self.notify(f"Activity filters by name; these have no {view.report.by}", timeout=3)
            return
        report = view.report
        after = report.last + timedelta(days=1)
        search = Search(
            (
                Term(report.by, "=", (key,)),
                Term("since", ":", (report.first.isoformat(),)),
                Term("until", ":", (after.isoformat(),)),
            )
        )
        self.omni.run_worker(self._drill(search), group="go")

    async def _drill(self, search: Search) -> None:
        from omni_cli.tui.screens.activity import ActivityPane

        omni = self.omni
        await omni.open_tab("activity")
        omni.query_one(ActivityPane).only(search)


def _check_date(value: str) -> str:
    return "" if _is_date(value) else "a date such as 2026-01-31"


def _is_date(value: object) -> bool:
    try:
        return isinstance(value, str) and bool(date.fromisoformat(value)) and len(value) == 10
    except ValueError:
        return False
