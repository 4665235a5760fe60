"""A list of cards: several lines each, one of them chosen."""

from collections.abc import Sequence
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import OptionList
from textual.widgets.option_list import Option


class CardList(OptionList):
    """Call ``fill`` with everything; the choice stays on its card."""

    DEFAULT_CSS = """
    CardList, CardList:focus {
        border: none; padding: 0; height: 1fr;
        background: $background; background-tint: $background 0%;
    }
    CardList > .option-list--option { padding: 0 1; }
    CardList > .option-list--option-highlighted { background: $surface; }
    CardList:focus > .option-list--option-highlighted {
        background: $primary 20%; color: $foreground; text-style: none;
    }
    CardList:ansi > .option-list--option-highlighted { background: ansi_bright_black; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "select", "Open"),
        Binding("j", "cursor_down", "Down", show=False),
        Binding("k", "cursor_up", "Up", show=False),
        Binding("g", "first", "First", show=False),
        Binding("G", "last", "Last", show=False),
    ]

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002  # Textual's own name
        super().__init__(id=id, markup=False)
        self._shown: list[tuple[str, Content]] = []

    def fill(self, cards: Sequence[tuple[str, Content]]) -> None:
        """(key, text) of each card."""
        fresh = list(cards)
        if fresh == self._shown:
            return
        key, at = self.chosen, self.highlighted
        same = [k for k, _ in fresh] == [k for k, _ in self._shown]
        with self.app.batch_update():
            if same:
                for index, (old, new) in enumerate(zip(self._shown, fresh, strict=True)):
                    if old[1] != new[1]:
                        self.replace_option_prompt_at_index(index, new[1])
            else:
                self.set_options([Option(text, id=key) for key, text in fresh])
                keys = [k for k, _ in fresh]
                if key in keys:
                    self.highlighted = keys.index(key)
                elif keys:
                    self.highlighted = min(at or 0, len(keys) - 1)
        self._shown = fresh

    @property
    def chosen(self) -> str | None:
        """The key of the highlighted card."""
        option = self.highlighted_option
        return None if option is None else option.id
