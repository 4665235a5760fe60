"""Choose one of many: a list in groups that narrows as one types."""

from collections.abc import Sequence
from typing import ClassVar

from msgspec import Struct
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList
from textual.widgets.option_list import Option


class Item(Struct, frozen=True):
    """``search``: lower-case text in which every typed word must be found."""

    key: str
    shown: Content
    search: str


class PickerScreen(ModalScreen[str | None]):
    """Dismissed with the key that was chosen, or None.

    Args:
        groups: (heading, items) pairs; headings cannot be chosen.
    """

    DEFAULT_CSS = """
    PickerScreen { align: center middle; background: $background 60%; }
    PickerScreen > Vertical {
        width: 76; max-width: 98%; height: 90%;
        background: $surface; border: round $primary; padding: 0 1;
    }
    PickerScreen Input { background: $panel; }
    PickerScreen OptionList, PickerScreen OptionList:focus {
        height: 1fr; border: none; padding: 0; background: $surface;
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Cancel"),
        Binding("down", "move(1)", "Down", show=False, priority=True),
        Binding("up", "move(-1)", "Up", show=False, priority=True),
    ]

    def __init__(self, title: str, groups: Sequence[tuple[str, Sequence[Item]]]) -> None:
        super().__init__()
        self._title = title
        self._groups = groups

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title = self._title
            box.border_subtitle = "type to search · Enter chooses · Esc leaves"
            yield Input(placeholder="search", compact=True)
            yield OptionList(markup=False)

    def on_mount(self) -> None:
        self._narrow("")
        self.query_one(Input).focus()

    @on(Input.Changed)
    def _typed(self, event: Input.Changed) -> None:
        self._narrow(event.value)

    def _narrow(self, typed: str) -> None:
        words = typed.lower().split()
        options: list[Option] = []
        for heading, items in self._groups:
            found = [item for item in items if all(word in item.search for word in words)]
            if found:
                head = Content.styled(f"{heading}  {len(found)}", "bold $primary")
                options.append(Option(head, disabled=True))
                options += [Option(Content("  ") + item.shown, id=item.key) for item in found]
        if not options:
            options = [Option(Content("nothing like that"), disabled=True)]
        shown = self.query_one(OptionList)
        shown.set_options(options)
        first = next((at for at, option in enumerate(options) if not option.disabled), None)
        shown.highlighted = first
        if first is not None:
            shown.scroll_to(0, 0, animate=False)

    def action_move(self, by: int) -> None:
        shown = self.query_one(OptionList)
        if by > 0:
            shown.action_cursor_down()
        else:
            shown.action_cursor_up()

    @on(Input.Submitted)
    def _entered(self) -> None:
        option = self.query_one(OptionList).highlighted_option
        if option is not None and option.id is not None:
            self.dismiss(option.id)

    @on(OptionList.OptionSelected)
    def _chosen(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(event.option.id)

    def action_leave(self) -> None:
        self.dismiss(None)
