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
