"""A list of cards: several lines each, one of them chosen."""

from collections.abc import Sequence
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import OptionList
from textual.widgets.option_list import Option


class CardList(OptionList):
    """Call ``fill`` with everything; the choice stays on its card.

    A bar at its left marks the chosen one, so that it is seen without colours.
    """

    DEFAULT_CSS = """
    CardList, CardList:focus {
        border: none; padding: 0; height: 1fr;
        background: $background; background-tint: $background 0%;
    }
    CardList > .option-list--option { padding: 0 1 0 0; }
    CardList > .option-list--option-highlighted { background: $surface; }
    CardList:focus > .option-list--option-highlighted {
        background: $primary 20%; color: $foreground; text-style: none;
    }
    CardList:ansi > .option-list--option-highlighted,
    CardList:ansi:focus > .option-list--option-highlighted { background: ansi_default; }
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
        self._marked: int | None = None

    def fill(self, cards: Sequence[tuple[str, Content]]) -> None:
        """(key, text) of each card."""
        fresh = list(cards)
        if fresh == self._shown:
            return
        key, at, before = self.chosen, self.highlighted, self._shown
        same = [k for k, _ in fresh] == [k for k, _ in before]
        # Set first: what follows moves the choice, and the bar is drawn on what is kept here.
        self._shown = fresh
        with self.app.batch_update():
            if same:
                for index, (old, new) in enumerate(zip(before, fresh, strict=True)):
                    if old[1] != new[1]:
                        shown = _marked(new[1], on=index == self._marked)
                        self.replace_option_prompt_at_index(index, shown)
            else:
                self._marked = None
                self.set_options([Option(_marked(text, on=False), id=key) for key, text in fresh])
                keys = [k for k, _ in fresh]
                if key in keys:
                    self.highlighted = keys.index(key)
                elif keys:
                    self.highlighted = min(at or 0, len(keys) - 1)
        self._mark(self.highlighted)

    def watch_highlighted(self, highlighted: int | None) -> None:
        super().watch_highlighted(highlighted)
        self._mark(highlighted)

    def _mark(self, chosen: int | None) -> None:
        """Move the bar; before the first ``fill`` is over there is nothing to move."""
        if chosen == self._marked or self.option_count != len(self._shown):
            return
        for index in (self._marked, chosen):
            if index is not None and index < len(self._shown):
                text = _marked(self._shown[index][1], on=index == chosen)
                self.replace_option_prompt_at_index(index, text)
        self._marked = chosen

    @property
    def chosen(self) -> str | None:
        """The key of the highlighted card."""
        option = self.highlighted_option
        return None if option is None else option.id


def _marked(text: Content, *, on: bool) -> Content:
    bar = Content.styled("▌", "$primary") if on else Content(" ")
    return Content("\n").join([bar + line for line in text.split("\n")])
