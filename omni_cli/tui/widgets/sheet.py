"""A box of text over the screen, as most dialogs that only show something are."""

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.visual import VisualType
from textual.widgets import Static

from omni_cli.tui.widgets.keys import Keys


class Sheet(ModalScreen[None]):
    """Shows ``shown`` under a title, or what a subclass makes in ``parts``; Esc closes it."""

    DEFAULT_CSS = """
    Sheet { align: center middle; background: $background 60%; }
    Sheet > VerticalScroll {
        width: 84; max-width: 98%; height: auto; max-height: 94%;
        background: $surface; border: round $primary; padding: 0 1;
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,enter", "dismiss(None)", "Close"),
        Binding("j,down", "scroll(1)", "Down", show=False),
        Binding("k,up", "scroll(-1)", "Up", show=False),
    ]
    #: Whether the keys are listed below it.
    FOOTER: ClassVar[bool] = False
    subtitle = "Esc closes"

    def __init__(self, title: str, shown: VisualType = "") -> None:
        super().__init__()
        self.heading = title
        self._shown = shown

    def compose(self) -> ComposeResult:
        with VerticalScroll() as box:
            box.border_title = self.heading
            box.border_subtitle = self.subtitle
            yield from self.parts()
        if self.FOOTER:
            yield Keys()

    def parts(self) -> ComposeResult:
        yield Static(self._shown, markup=False)

    def action_scroll(self, by: int) -> None:
        self.query_one(VerticalScroll).scroll_relative(y=by, animate=False)
