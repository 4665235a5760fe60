"""One line of tabs with their jump keys."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from textual.content import Content
from textual.events import Click
from textual.message import Message
from textual.reactive import reactive
from textual.widget import Widget

from omni_cli.tui.registry import Tab


class TabBar(Widget):
    """Titles where they all fit, short ones where they do not."""

    DEFAULT_CSS = """
    TabBar { height: 1; background: $panel; color: $text-muted; }
    """
    active: reactive[str] = reactive("")

    @dataclass
    class Chosen(Message):
        tab: str

    def __init__(self, tabs: Sequence[Tab]) -> None:
        super().__init__()
        self._tabs = tabs

    def render(self) -> Content:
        return Content.assemble(
            *(piece for tab, title in self._titles() for piece in self._piece(tab, title))
        )

    def _piece(self, tab: Tab, title: str) -> tuple[tuple[str, str], ...]:
        on = tab.id == self.active
        ground = "bold $block-cursor-foreground on $block-cursor-background" if on else ""
        key = ground or "bold $primary"
        return ((f" {tab.key}", key), (f" {title} ", ground or "$foreground"))

    def _titles(self) -> list[tuple[Tab, str]]:
        wide = [(tab, tab.title) for tab in self._tabs]
        if sum(cell_len(title) + 4 for _, title in wide) <= self.size.width:
            return wide
        return [(tab, tab.title if tab.id == self.active else tab.short) for tab in self._tabs]

    def on_click(self, event: Click) -> None:
        at = 0
        for tab, title in self._titles():
            at += cell_len(title) + 4
            if event.x < at:
                self.post_message(self.Chosen(tab.id))
                return
