"""The top lines: health of the providers and today's money, and the tabs."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from textual.content import Content
from textual.events import Click
from textual.message import Message
from textual.reactive import reactive
from textual.widget import Widget

from omni_cli.domain.errors import OmniError
from omni_cli.tui import text
from omni_cli.tui.data import Loader
from omni_cli.tui.overview import Overview, read_overview
from omni_cli.tui.registry import Tab
from omni_cli.tui.workers import tell

#: Above so many providers the bar would fill the line: it counts instead.
_MOST_SIGNS = 12


class StatusLine(Widget):
    """``omni  [●●●○] 3/4 healthy      today $12.47 ▼ 15% · 1,018 calls · budget 62%``"""

    DEFAULT_CSS = """
    StatusLine { height: 1; background: $panel; padding: 0 1; }
    """

    def __init__(self, loader: Loader) -> None:
        super().__init__()
        self._loader = loader
        self._overview: Overview | None = None
        self._reading = False

    def refresh_data(self) -> None:
        if not self._reading:
            self._reading = True
            self.run_worker(self._read, thread=True, group="status")

    def on_mount(self) -> None:
        self.refresh_data()

    def _read(self) -> None:
        found: Overview | None = None
        try:
            with self._loader.session() as omni:
                found = self._loader.memo("overview", omni, read_overview)
        except OmniError:
            pass  # the pane below says what is wrong, and what to do
        except Exception:
            self._reading = False  # what nobody expected is told by the app
            raise
        tell(self.app, self._take, found)

    def _take(self, overview: Overview | None) -> None:
        self._reading = False
        self._overview = overview
        self.refresh()

    def render(self) -> Content:
        view = self._overview
        left = Content.assemble(("omni", "bold $primary"), "  ")
        if view is None or not view.providers:
            return left
        left += health_bar(view)
        right = self._today(view)
        if cell_len((left + right).plain) + 2 > self.size.width:
            right = self._today(view, short=True)
        gap = self.size.width - cell_len((left + right).plain)
        return left + Content(" " * max(gap, 2)) + right

    def _today(self, view: Overview, *, short: bool = False) -> Content:
        shown = Content.assemble(("today ", "$foreground-muted"), (text.cost(view.today), "bold"))
        step, way = text.change(view.today.cost_nusd, view.yesterday.cost_nusd)
        if step and not short:
            shown += Content.styled(f" {step}", "$warning" if way == "up" else "$success")
        shown += Content.styled(f" · {text.count(view.today.calls)} calls", "$foreground-muted")
        used = None if view.budget is None else view.budget.used_percent
        if used is not None and not short:
            style = "$error" if used >= 100 else "$warning" if used >= 80 else "$foreground-muted"
            shown += Content.styled(f" · budget {used:.0f}%", style)
        return shown


def health_bar(view: Overview) -> Content:
    """``[●●▲○] 2/4 healthy``: one sign a provider in use, then how many are healthy."""
    states = [card.state for card in view.providers if card.state != "off"]
    signs = [text.SIGNS[state] for state in states]
    bar: list[str | tuple[str, str]] = [
        ("[", "$foreground-muted"),
        *signs,
        ("]", "$foreground-muted"),
        " ",
    ]
    words = f"{view.healthy}/{len(states)} healthy"
    style = text.SIGNS[view.overall][1]
    return Content.assemble(*(bar if len(states) <= _MOST_SIGNS else []), (words, style))


Piece = tuple[Tab, str]


class TabBar(Widget):
    """Shortens its titles where they do not fit; a click opens a tab."""

    DEFAULT_CSS = """
    TabBar { height: 1; background: $panel; }
    """
    active: reactive[str] = reactive("")

    @dataclass
    class Chosen(Message):
        tab: str

    def __init__(self, tabs: Sequence[Tab]) -> None:
        super().__init__()
        self._tabs = tabs

    def render(self) -> Content:
        shown = Content("")
        for tab, title in fitting(self._tabs, self.active, self.size.width):
            on = tab.id == self.active
            ground = "bold $block-cursor-foreground on $block-cursor-background" if on else ""
            head, _, rest = title.partition(tab.key)
            shown += Content.assemble(
                (head + tab.key, ground or "bold $primary"), (rest, ground or "$foreground")
            )
        return shown

    def on_click(self, event: Click) -> None:
        at = 0
        for tab, title in fitting(self._tabs, self.active, self.size.width):
            at += cell_len(title)
            if event.x < at:
                self.post_message(self.Chosen(tab.id))
                return


def fitting(tabs: Sequence[Tab], active: str, width: int) -> list[Piece]:
    """Each tab with its text, key first: the longest form of which all fit into ``width``."""
    forms = (
        [(tab, f" {tab.key} {tab.title} ") for tab in tabs],
        [(tab, f" {tab.key} {tab.title if tab.id == active else tab.short} ") for tab in tabs],
        [(tab, f" {tab.key} {tab.short} ") for tab in tabs],
        [(tab, f"{tab.key} {tab.short} ") for tab in tabs],
    )
    for form in forms:
        if sum(cell_len(title) for _, title in form) <= width:
            return form
    return [(tab, f"{tab.key}{tab.short} ") for tab in tabs]
