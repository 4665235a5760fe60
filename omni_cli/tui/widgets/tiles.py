"""Cards, and a list or grid of any length, of which only the lines in sight are drawn; what stands
there while there is nothing."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, ClassVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.geometry import Region, Size
from textual.message import Message
from textual.reactive import reactive
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.visual import Visual
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from omni_cli.tui.pane import Pane


class Empty(Static, can_focus=True):
    """Words that teach the next key; hidden until ``set_empty`` says so."""

    DEFAULT_CSS = """
    Empty { padding: 1 2; display: none; height: 1fr; max-width: 84; }
    """


def set_empty(pane: Pane[Any], empty: bool) -> None:
    """Show the words or the rest (class ``-empty``); the focus goes where keys work."""
    words = pane.query_one(Empty)
    if words.display == empty:
        return
    words.display = empty
    pane.set_class(empty, "-empty")
    pane.refresh_bindings()
    app = pane.omni
    focused = app.focused
    mine = focused is None or pane in focused.ancestors
    if mine and app.is_pane_active(pane) and len(app.screen_stack) == 1:
        app.screen.set_focus(pane.entry())


class CardList(OptionList):
    """Call ``fill`` with everything; the choice stays on its card.

    A bar at its left marks the chosen one, so that it is seen without colours. A step sends the two
    cards that change, not the whole list.
    """

    highlighted: reactive[int | None] = reactive(None, repaint=False)

    DEFAULT_CSS = """
    CardList, CardList:focus {
        border: none; padding: 0; height: 1fr;
        background: $background; background-tint: $background 0%;
    }
    CardList > .option-list--option { padding: 0 1 0 0; }
    CardList > .option-list--option-highlighted { background: $surface; }
    CardList > .card-list--bar { color: $primary; }
    CardList:focus > .option-list--option-highlighted {
        background: $primary 20%; color: $foreground; text-style: none;
    }
    CardList:ansi > .option-list--option-highlighted,
    CardList:ansi:focus > .option-list--option-highlighted { background: ansi_default; }
    """
    COMPONENT_CLASSES: ClassVar[set[str]] = {"card-list--bar"}
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
        key, at, before = self.chosen, self.highlighted, self._shown
        same = [k for k, _ in fresh] == [k for k, _ in before]
        # Contents of one text are equal, whatever their colours.
        if same and all(a.is_same(b) for (_, a), (_, b) in zip(fresh, before, strict=True)):
            return
        # Set first: what follows moves the choice, and the bar is drawn on what is kept here.
        self._shown = fresh
        with self.app.batch_update():
            if same:
                for index, (old, new) in enumerate(zip(before, fresh, strict=True)):
                    if not old[1].is_same(new[1]):
                        self.replace_option_prompt_at_index(index, _indented(new[1]))
            else:
                self.set_options([Option(_indented(text), id=key) for key, text in fresh])
                keys = [k for k, _ in fresh]
                if key in keys:
                    self.highlighted = keys.index(key)
                elif keys:
                    self.highlighted = min(at or 0, len(keys) - 1)
        self.refresh()

    def watch_highlighted(self, highlighted: int | None) -> None:
        scrolled = self.scroll_offset
        super().watch_highlighted(highlighted)
        if self.scroll_offset != scrolled:
            self.refresh()
        else:
            for index in {self._marked, highlighted}:
                if index is not None and index in self._index_to_line:
                    self.refresh_lines(self._index_to_line[index], self._heights[index])
        self._marked = highlighted

    def render_line(self, y: int) -> Strip:
        """The chosen card has a bar in the cell that all leave free at their left."""
        strip = super().render_line(y)
        line = self.scroll_offset.y + y
        if line >= len(self._lines) or self._lines[line][0] != self.highlighted:
            return strip
        (first, *_), style = strip, self.get_visual_style("card-list--bar").rich_style
        ground = Style(bgcolor=first.style.bgcolor) if first.style else Style()
        return Strip.join([Strip([Segment("▌", style + ground)]), strip.crop(1)])

    @property
    def chosen(self) -> str | None:
        """The key of the highlighted card."""
        option = self.highlighted_option
        return None if option is None else option.id

    def choose(self, key: str) -> None:
        """Put the cursor on a card; nothing where it is not there."""
        keys = [k for k, _ in self._shown]
        if key in keys:
            self.highlighted = keys.index(key)


def _indented(text: Content) -> Content:
    return Content("\n").join([Content(" ") + line for line in text.split("\n")])


Draw = Callable[[str, int], Content]
#: How many drawn lines are kept.
_INKED = 400


class Tiles(ScrollView, can_focus=True):
    """Call ``fill`` with everything; the cursor stays on its tile.

    A bar at its left marks the chosen tile, so that it is seen without colours.
    """

    DEFAULT_CSS = """
    Tiles { height: 1fr; background: $background; overflow-x: hidden; scrollbar-gutter: stable; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(0, -1)", "Up", show=False),
        Binding("down,j", "move(0, 1)", "Down", show=False),
        Binding("left,h", "move(-1, 0)", "Left", show=False),
        Binding("right,l", "move(1, 0)", "Right", show=False),
        Binding("pageup", "page(-1)", "Page up", show=False),
        Binding("pagedown", "page(1)", "Page down", show=False),
        Binding("home,g", "jump(0)", "First", show=False),
        Binding("end,G", "jump(-1)", "Last", show=False),
        Binding("enter", "select", "Open"),
    ]
    #: It paints for itself what it changes: a whole list is much to send over SSH.
    cursor: reactive[int] = reactive(0, repaint=False)

    @dataclass
    class Selected(Message):
        key: str

    @dataclass
    class Moved(Message):
        """The cursor is on another tile."""

        key: str

        def can_replace(self, message: Message) -> bool:
            return isinstance(message, Tiles.Moved)

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002  # Textual's own name
        super().__init__(id=id)
        self._keys: tuple[str, ...] = ()
        self._draw: Draw = lambda *_: Content("")
        self._lines, self._least = 1, 0
        self._drawn: dict[tuple[int, bool, bool], list[Strip]] = {}
        self._inked: dict[Hashable, Strip] = {}
        self._sized, self._inside = Size(-1, -1), 0

    def fill(self, keys: Sequence[str], draw: Draw, *, lines: int = 1, least: int = 0) -> None:
        """
        Args:
            draw: gives the text of a tile for its key and width; called for tiles in sight.
            lines: of a tile.
            least: tiles are at least so wide, as many beside each other as fit; 0: one.
        """
        chosen, before = self.chosen, self._drawn
        same = len(keys) == len(self._keys) and (lines, least) == (self._lines, self._least)
        still = tuple(keys) == self._keys and same
        self._keys, self._draw = tuple(keys), draw
        self._lines, self._least = lines, least
        self._drawn = {}
        self._measure()
        if chosen in self._keys:
            self.cursor = self._keys.index(chosen)
        else:
            self.cursor = min(self.cursor, max(len(keys) - 1, 0))
        if not same:
            self._reveal()
        if still:
            self._send_changed(before)
        else:
            self.refresh()

    def _send_changed(self, before: Mapping[tuple[int, bool, bool], list[Strip]]) -> None:
        """Refresh those lines of tiles in sight that look otherwise than they did."""
        height = self._tile[1]
        first = self.scroll_offset.y // height * self.across
        after = (self.scroll_offset.y + self.size.height) // height * self.across + self.across
        for index in range(first, min(after, len(self._keys))):
            on = index == self.cursor
            old, now = before.get((index, on, on and self.has_focus), ()), self._strips(index)
            place = self._region(index)
            for line, (a, b) in enumerate(zip_longest(old, now)):
                if a is not b and a != b:
                    self.refresh(Region(place.x, place.y + line, place.width, 1))

    def _region(self, index: int) -> Region:
        """Where a tile is in the widget."""
        width, height = self._tile
        row, column = divmod(index, self.across)
        return Region(column * width, row * height - self.scroll_offset.y, width, height)

    @property
    def chosen(self) -> str | None:
        """The key of the tile under the cursor."""
        return self._keys[self.cursor] if self.cursor < len(self._keys) else None

    def choose(self, key: str) -> None:
        """Put the cursor on a tile; nothing where it is not there."""
        if key in self._keys:
            self.cursor = self._keys.index(key)

    @property
    def keys(self) -> tuple[str, ...]:
        return self._keys

    @property
    def _whole(self) -> int:
        """Cells of a line; to ask the styles takes longer than to draw one that is known."""
        if self._sized != self.outer_size:
            self._sized, self._inside = self.outer_size, self.scrollable_content_region.width
            self._drawn.clear()
        return self._inside

    @property
    def across(self) -> int:
        """How many tiles stand beside each other."""
        return max(self._whole // self._least, 1) if self._least else 1

    @property
    def _tile(self) -> tuple[int, int]:
        """A tile's width, and its height with the line between rows of a grid."""
        return max(self._whole // self.across, 1), self._lines + bool(self._least)

    def _measure(self) -> None:
        rows = -(-len(self._keys) // self.across)
        self.virtual_size = Size(self._whole, rows * self._tile[1])

    def on_resize(self) -> None:
        self._measure()
        self._reveal()

    # --- drawing -----------------------------------------------------------------------------

    def render_line(self, y: int) -> Strip:
        _, height = self._tile
        row, line = divmod(y + self.scroll_offset.y, height)
        first = row * self.across
        strips = [
            self._strips(index)[line]
            for index in range(first, min(first + self.across, len(self._keys)))
            if line < self._lines
        ]
        whole = self._whole
        if len(strips) == 1 and strips[0].cell_length == whole:
            return strips[0]
        ground = self.visual_style.rich_style
        return Strip.join(strips).adjust_cell_length(whole, ground).crop(0, whole)

    def _strips(self, index: int) -> list[Strip]:
        on = index == self.cursor
        key = index, on, on and self.has_focus
        found = self._drawn.get(key)
        if found is None:
            lines = self._tile_lines(index, self.ground(on=on), on=on)
            found = self._drawn[key] = [self._strip(line, self._tile[0]) for line in lines]
        return found

    def _tile_lines(self, index: int, ground: str, *, on: bool) -> list[Content]:
        """A tile's lines, as wide as it is; ``ground``: the style below the chosen one."""
        inner = self._tile[0] - 1 - bool(self._least)
        bar = Content.styled("▌", "$primary") if on else Content(" ")
        lines = self._draw(self._keys[index], inner).split("\n")[: self._lines]
        lines += [Content("")] * (self._lines - len(lines))
        return [self._line(bar, line, inner, ground) for line in lines]

    def _strip(self, line: Content, width: int) -> Strip:
        """A line as it is sent. Most lines stay as they are when tiles are drawn anew, and drawing
        one costs ten times what making it does."""
        key = line.plain, tuple(line.spans), width, self.visual_style, self.app.theme
        found = self._inked.get(key)
        if found is None:
            if len(self._inked) >= _INKED:
                self._inked.clear()
            (found,) = Visual.to_strips(self, line, width, 1, self.visual_style, pad=True)
            self._inked[key] = found
        return found

    def ground(self, *, on: bool) -> str:
        """Below the chosen tile; 16 colours have no tint that could be read on."""
        if not on or self.app.current_theme.ansi:
            return ""
        return "on $primary 20%" if self.has_focus else "on $surface"

    @staticmethod
    def _line(bar: Content, line: Content, width: int, ground: str) -> Content:
        line = line.truncate(width, ellipsis=True)
        line = bar + line.pad_right(max(width - line.cell_length, 0))
        return line.stylize_before(ground) if ground else line

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._drawn.clear()

    def on_focus(self) -> None:
        self.refresh()

    def on_blur(self) -> None:
        self.refresh()

    # --- moving ------------------------------------------------------------------------------

    def watch_cursor(self, before: int, now: int) -> None:
        """Only the two tiles that change are sent to the terminal, unless the list scrolls."""
        if self.chosen is not None:
            self.post_message(self.Moved(self.chosen))
        scrolled = self.scroll_offset
        self._reveal()
        if self.scroll_offset != scrolled:
            self.refresh()
            return
        for index in (before, now):
            self.refresh(self._region(index))

    def _reveal(self) -> None:
        if self._keys:
            _, height = self._tile
            row = self.cursor // self.across
            region = Region(0, row * height, self.size.width, height)
            self.scroll_to_region(region, animate=False, force=True)

    def action_move(self, x: int, y: int) -> None:
        to = self.cursor + x + y * self.across
        if 0 <= to < len(self._keys):
            self.cursor = to

    def action_page(self, by: int) -> None:
        rows = max(self.size.height // self._tile[1], 1)
        self.cursor = min(
            max(self.cursor + by * rows * self.across, 0), max(len(self._keys) - 1, 0)
        )

    def action_jump(self, to: int) -> None:
        self.cursor = max(len(self._keys) - 1, 0) if to else 0

    def action_select(self) -> None:
        if self.chosen is not None:
            self.post_message(self.Selected(self.chosen))

    def on_click(self, event: events.Click) -> None:
        width, height = self._tile
        across = min((event.x + self.scroll_offset.x) // width, self.across - 1)
        index = (event.y + self.scroll_offset.y) // height * self.across + across
        if index < len(self._keys):
            self.cursor = index
            self.action_select()
