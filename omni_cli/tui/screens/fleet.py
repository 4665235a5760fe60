"""Fleet: who is at work, how good, at what cost (fleet spec, "Model Fleet Overview")."""

from typing import Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.widget import Widget
from textual.widgets import DataTable, Input, Static

from omni_cli.bootstrap import App
from omni_cli.domain.search import Search
from omni_cli.tui import fleet_view
from omni_cli.tui.actions import check_connection, offer_status
from omni_cli.tui.fleet_view import ORDERS, Aside
from omni_cli.tui.overview import Overview, overview_of
from omni_cli.tui.pane import Pane
from omni_cli.tui.screens.costs import each_day
from omni_cli.tui.screens.sessions import LiveSessions
from omni_cli.tui.screens.start import StartPanel
from omni_cli.tui.widgets.chart import Chart
from omni_cli.tui.widgets.frames import FramedTiles, Tile
from omni_cli.tui.widgets.table import Table
from omni_cli.tui.widgets.tiles import Tiles
from omni_cli.tui.widgets.words import Words

_VIEWS = ("tiles", "table")
_LISTS = (("calls", "Latest calls"), ("alerts", "Budgets and alerts"))
#: What fills a wide screen is shown from so many columns on; as omni.tcss has it.
_WIDE = 150
#: Ages are drawn anew so often, seconds.
_AGES_S = 10.0
_LATEST = 24
#: Lines of a tile with its frame; of what stands below the tiles, without the sessions.
_TILE, _LEAST = 5, 19


class FleetPane(Pane[tuple[Overview, Aside]]):
    DEFAULT_CSS = """
    FleetPane StartPanel { display: none; }
    FleetPane.-empty StartPanel { display: block; }
    FleetPane.-empty #full { display: none; }
    FleetPane #head { height: 1; padding: 0 1; }
    FleetPane #filter { height: 1; display: none; background: $surface; }
    FleetPane.-filter #filter { display: block; }
    FleetPane #list { width: 1fr; }
    FleetPane #models { display: none; }
    FleetPane.-table #models { display: block; }
    FleetPane.-table FramedTiles { display: none; }
    FleetPane #side { width: 38; border-left: solid $foreground 20%; padding: 0 1; display: none; }
    FleetPane #foot { height: auto; border-top: solid $foreground 20%; padding: 0 1; }
    FleetPane #aside { height: 1fr; display: none; }
    FleetPane #lists { height: 1fr; }
    FleetPane #aside .box {
        height: 1fr;
        border: round $foreground 30%; border-title-color: $primary; padding: 0 1; width: 1fr;
    }
    FleetPane #aside #live { height: auto; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "filter", "Filter", key_display="/"),
        Binding("o", "order(1)", "Sort"),
        Binding("O", "order(-1)", "Sort, backwards", show=False),
        Binding("t", "view", "Tiles/table"),
        Binding("x", "test", "Test"),
        Binding("d", "switch", "On/off"),
        Binding("l", "logs", "Logs"),
        Binding("escape", "clear", "Clear the filter", show=False),
    ]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._read_value: tuple[Overview, Aside] | None = None
        self._wide = False
        self._order = "rank"

    def compose(self) -> ComposeResult:
        yield StartPanel(self.loader)
        with Vertical(id="full"):
            with Horizontal():
                with Vertical(id="list"):
                    yield Words(id="head")
                    yield Input(placeholder="name, role, state", id="filter", compact=True)
                    yield FramedTiles()
                    yield Table(id="models")
                    with Vertical(id="aside"):
                        with Vertical(classes="box") as box:
                            box.border_title = "Spending, 30 days"
                            yield Chart()
                        with Vertical(classes="box", id="live") as box:
                            box.border_title = "Live sessions"
                            yield LiveSessions(self.loader, id="sessions")
                        with Horizontal(id="lists"):
                            for name, title in _LISTS:
                                with Vertical(classes="box") as box:
                                    box.border_title = title
                                    yield Words(id=name)
                with VerticalScroll(id="side", can_focus=False):
                    yield Words(id="today")
            yield Words(id="foot")

    def entry(self) -> Widget | None:
        if self.has_class("-empty"):
            return self.query_one(StartPanel).entry()
        return self._models if self.has_class("-table") else self.query_one(FramedTiles)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Without anything to do it with only what the start panel offers."""
        if self.has_class("-empty") and f"action_{action}" in FleetPane.__dict__:
            return False
        return super().check_action(action, parameters)

    def remember(self) -> dict[str, Any]:
        return {
            "view": _VIEWS[self.has_class("-table")],
            "order": self._order,
            "filter": self._words,
        }

    def recall(self, kept: dict[str, Any]) -> None:
        self.set_class(kept.get("view") == "table", "-table")
        if kept.get("order") in ORDERS:
            self._order = str(kept["order"])
        words = str(kept.get("filter") or "")
        self.query_one(Input).value = words
        self.set_class(bool(words), "-filter")

    def on_mount(self) -> None:
        self.set_interval(_AGES_S, self._grow_older)

    def _grow_older(self) -> None:
        if self.omni.is_pane_active(self) and not self.has_class("-table"):
            self.query_one(FramedTiles).redraw()

    # --- reading and showing -----------------------------------------------------------------

    def wanted(self) -> bool:
        return self.app.size.width >= _WIDE

    def load(self, omni: App, wanted: bool) -> tuple[Overview, Aside]:
        view = overview_of(self.loader, omni)
        if not wanted or not view.models:
            return view, Aside()
        days = self.loader.memo("costs", omni, lambda o: o.costs.overview()).trend
        latest = omni.activity.find(Search(), limit=_LATEST).found
        sessions = tuple(omni.agent_sessions.live())
        return view, Aside(tuple((day, nusd or 0) for day, nusd in days), sessions, latest)

    def show(self, value: tuple[Overview, Aside]) -> None:
        view = value[0]
        self._read_value = value
        if self.has_class("-empty") == bool(view.models):
            self.set_class(not view.models, "-empty")
            self.refresh_bindings()
        if not view.models:
            self.query_one(StartPanel).put(view)
            self._keep_focus()
            return
        # What was hidden until now has no width yet.
        self.call_after_refresh(self._draw)

    def _keep_focus(self) -> None:
        """In what can be seen: the panel, or the models."""
        focused = self.app.focused
        mine = focused is None or (self in focused.ancestors and not isinstance(focused, Input))
        if mine and self.omni.is_pane_active(self) and len(self.app.screen_stack) == 1:
            entry = self.entry()
            if entry is not None and entry is not focused:
                self.app.screen.set_focus(entry)

    def resized(self) -> None:
        wide, self._wide = self._wide, self.wanted()
        if self._wide and not wide and self._read_value is not None:
            self.refresh_data()
        self._draw()

    @property
    def _words(self) -> str:
        return self.query_one(Input).value.strip()

    def _draw(self) -> None:
        if self._read_value is None or not self.is_attached:
            return
        view, aside = self._read_value
        cards = fleet_view.chosen_cards(view, self._words, self._order)
        by_id = {card.model.id: card for card in cards}
        costs = [card.today.cost_nusd for card in view.models]
        width = self.query_one("#list").size.width
        head = fleet_view.head_text(view, len(cards), self._order, self._words)
        self.query_one("#head", Static).update(head)

        def tile(key: str, room: int) -> Tile:
            return fleet_view.model_tile(by_id[key], room, self.loader.now_ms(), costs)

        tiles = self.query_one(FramedTiles)
        tiles.frame(list(by_id), tile, lines=_TILE - 2)
        self._models.fill(
            fleet_view.columns(width),
            [fleet_view.row(c, width, self.omni.colour, costs) for c in cards],
        )
        side = self.query_one("#side").size.width - 4
        self.query_one("#today", Static).update(fleet_view.today_text(view, max(side, 32)))
        foot = self.query_one("#foot", Static)
        foot.update(fleet_view.foot_text(view, self.size.width - 2))
        self._draw_aside(view, aside)
        self._keep_focus()

    def _draw_aside(self, view: Overview, aside: Aside) -> None:
        """A wide screen's rest: the tiles take what they need of three fifths, as whole rows, or
        less where live sessions need it."""
        wide = bool(aside.spent) and not self.has_class("-table")
        self.set_class(wide, "-aside")
        tiles = self.query_one(FramedTiles)
        height = self.query_one("#list").size.height
        most = min(height * 3 // 5, height - _LEAST - len(aside.sessions)) // _TILE * _TILE
        tiles.styles.height = min(max(tiles.rows, _TILE), max(most, _TILE)) if wide else "1fr"
        if not wide:
            return
        sessions = self.query_one(LiveSessions)
        sessions.put(
            aside.sessions, view.now_ms, self.query_one("#list").size.width - 6, self.omni.colour
        )
        self.query_one("#live").display = sessions.display
        self.query_one(Chart).put(each_day("A DAY", aside.spent, (), limit=0, level=""))
        room = max(self.query_one("#list").size.width // 2 - 4, 20)
        self.query_one("#calls", Static).update(fleet_view.calls_text(aside, view, room))
        self.query_one("#alerts", Static).update(fleet_view.alerts_text(view, room))

    # --- actions -----------------------------------------------------------------------------

    @property
    def chosen(self) -> str | None:
        """The id of the model under the cursor."""
        if self.has_class("-table"):
            return self._models.chosen
        return self.query_one(FramedTiles).chosen

    @property
    def _models(self) -> Table:
        return self.query_one("#models", Table)

    @on(Tiles.Selected)
    @on(DataTable.RowSelected, "#models")
    def action_open(self) -> None:
        if self.chosen is not None:
            self.omni.show_model(self.chosen)

    @on(DataTable.RowSelected, "#sessions")
    def _open_session(self) -> None:
        self.query_one(LiveSessions).open()

    def action_view(self) -> None:
        self.toggle_class("-table")
        entry = self.entry()
        if entry is not None:
            entry.focus()
        self.call_after_refresh(self._draw)

    def action_order(self, by: int) -> None:
        names = list(ORDERS)
        self._order = names[(names.index(self._order) + by) % len(names)]
        self._draw()

    def action_filter(self) -> None:
        self.set_class(True, "-filter")
        self.query_one(Input).focus()

    def action_clear(self) -> None:
        self.query_one(Input).value = ""
        self._leave_filter()

    @on(Input.Changed, "#filter")
    def _typed(self) -> None:
        self._draw()

    @on(Input.Submitted, "#filter")
    def _leave_filter(self) -> None:
        self.set_class(bool(self._words), "-filter")
        entry = self.entry()
        if entry is not None:
            entry.focus()
        self._draw()

    def action_switch(self) -> None:
        model = self.chosen
        if model is not None:
            offer_status(self.omni, self.act, model)

    def action_test(self) -> None:
        model = self.chosen
        if model is not None:
            slug = model.partition("/")[0]
            self.act(lambda omni: check_connection(omni, slug), self.omni.report_test)

    def action_logs(self) -> None:
        if self.chosen is not None:
            self.omni.show_found(model=self.chosen)
