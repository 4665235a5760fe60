"""Costs: the trend and where it leads, and where the money goes (fleet spec, "Cost Analytics")."""

from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from omni_cli.bootstrap import App
from omni_cli.tui import cost_view
from omni_cli.tui.cost_view import CostView, read_costs
from omni_cli.tui.pane import Pane
from omni_cli.tui.widgets.empty import Empty, set_empty

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
        set_empty(self, not cost_view.any_cost(value))
        self.call_after_refresh(self._draw)

    def _draw(self) -> None:
        view = self._view
        if view is None:
            return
        width = self.query_one("#full").content_size.width - 1
        lines = min(max(self.size.height * 2 // 5, _CHART[0]), _CHART[1])
        self.query_one("#trend", Static).update(cost_view.trend(view, (width, lines)))
        self.query_one("#above", Static).update(cost_view.figures(view, width))
        beside = 1 + self.has_class("-roomy") + self.has_class("-vast")
        part = width if beside == 1 else width // beside - 2
        self.query_one("#figures", Static).update(cost_view.figures(view, part))
        overview = view.overview
        self.query_one("#models", Static).update(
            cost_view.share_bars("BY MODEL", overview.by_model, view.names, part)
        )
        self.query_one("#tasks", Static).update(
            cost_view.share_bars("BY TASK", overview.by_task, {}, part)
        )
        found = self.query_one("#opportunities", Static)
        found.update(cost_view.opportunities(view, width))
        found.display = bool(view.opportunities)

    def on_resize(self) -> None:
        self.set_class(self.size.width >= _ROOMY, "-roomy")
        self.set_class(self.size.width >= _VAST, "-vast")
        self.call_after_refresh(self._draw)

    def action_scroll(self, by: int) -> None:
        self.query_one("#full", VerticalScroll).scroll_relative(y=by, animate=False)

    async def action_go(self, tab: str) -> None:
        await self.omni.action_tab(tab)
