"""Tables that are filled again and again and stay where the user was; vim keys work. One of them
sorts by what is chosen."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from msgspec import Struct
from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style
from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.coordinate import Coordinate
from textual.message import Message
from textual.widgets import DataTable, Static

from omni_cli.domain.record import replace

#: How many drawn cells are kept.
_CELLS = 2_000


class Column(Struct, frozen=True):
    """``width`` in cells, None as wide as its widest cell."""

    key: str
    title: str
    align: Literal["left", "right"] = "left"
    width: int | None = None


class Row(Struct, frozen=True):
    """``key`` finds it again after a refill."""

    key: str
    cells: Sequence[str | Text]


def flexible(columns: Sequence[Column], key: str, width: int) -> tuple[Column, ...]:
    """The columns with one as wide as the others, the padding and a scrollbar leave it."""
    left = width - 1 - sum((column.width or 0) + 2 for column in columns if column.key != key) - 2
    return tuple(replace(c, width=max(left, 8)) if c.key == key else c for c in columns)


def named(name: str, simulated: str) -> Text:
    """A model's name. ``simulated``: the colour of the mark of a simulated provider, or ""."""
    shown = Text(no_wrap=True, overflow="ellipsis")
    if simulated:
        shown.append("sim ", style=f"italic {simulated}")
    return shown.append(name)


class Table(DataTable[Text]):
    """Call ``fill`` with everything; the cursor stays on its row, or at the top if it was there."""

    DEFAULT_CSS = """
    Table { height: 1fr; }
    Table, Table:focus { background: $background; background-tint: $background 0%; }
    Table > .datatable--header { background: $panel; color: $foreground; text-style: bold; }
    Table > .datatable--cursor { background: $surface; color: $foreground; text-style: none; }
    Table:focus > .datatable--cursor { background: $primary 30%; text-style: bold; }
    Table:ansi:focus > .datatable--cursor {
        background: ansi_default; color: ansi_default; text-style: bold reverse;
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "select_cursor", "Open"),
        Binding("j", "cursor_down", "Down", show=False),
        Binding("k", "cursor_up", "Up", show=False),
        Binding("g", "scroll_top", "Top", show=False),
        Binding("G", "scroll_bottom", "Bottom", show=False),
        Binding("h", "cursor_left", "Left", show=False),
        Binding("l", "cursor_right", "Right", show=False),
    ]

    @dataclass
    class Sideways(Message):
        """Left or right was pressed, which moves no cursor of whole rows."""

        by: int

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002  # Textual's own name
        super().__init__(id=id, cursor_type="row", cell_padding=1)
        self._shape: tuple[Column, ...] = ()
        self._looks: list[tuple[str, list[object]]] | None = None
        self._cells: dict[Hashable, list[Segment]] = {}

    def fill(self, columns: Sequence[Column], rows: Sequence[Row]) -> None:
        """Show these rows. A column set that differs from the last one is set anew; what looks as
        it did is left alone: a whole table is much to send over SSH."""
        looks = [(row.key, [look(cell) for cell in row.cells]) for row in rows]
        if (tuple(columns), looks) == (self._shape, self._looks):
            return
        self._looks = looks
        at, key = self.cursor_row, self.chosen
        offset = self.scroll_offset
        with self.app.batch_update():
            if tuple(columns) != self._shape:
                self.clear(columns=True)
                self._shape = tuple(columns)
                for column in columns:
                    title = Text(column.title, justify=column.align)
                    self.add_column(title, key=column.key, width=column.width)
            else:
                self.clear()
            for row in rows:
                self.add_row(*map(self._cell, columns, row.cells), key=row.key)
            keys = [row.key for row in rows]
            if at and key in keys:
                self.move_cursor(row=keys.index(key), scroll=False)
            elif at and rows:
                self.move_cursor(row=min(at, len(rows) - 1), scroll=False)
            self.scroll_to(offset.x, offset.y, animate=False, force=True)

    def action_cursor_left(self) -> None:
        self._sideways(-1)

    def action_cursor_right(self) -> None:
        self._sideways(1)

    def _sideways(self, by: int) -> None:
        if self.max_scroll_x:
            self.scroll_relative(x=by * 4, animate=False)
        else:
            self.post_message(self.Sideways(by))

    def _render_cell(
        self,
        row_index: int,
        column_index: int,
        base_style: Style,
        width: int,
        cursor: bool = False,
        hover: bool = False,
    ) -> list[list[Segment]]:
        """As the base class, whose cells ask rich's console for their one line each, and anew when
        the focus comes or goes: that was most of what a tab with a table took to be drawn."""
        if row_index < 0:
            return super()._render_cell(row_index, column_index, base_style, width, cursor, hover)
        look, over = self._get_styles_to_render_cell(
            False, False, False, hover, cursor, self.show_cursor, self._show_hover_cursor,
            self.cursor_foreground_priority == "css", self.cursor_background_priority == "css",
        )  # fmt: skip
        under = base_style + Style.from_meta({"row": row_index, "column": column_index}) + look
        row, column = self.coordinate_to_cell_key(Coordinate(row_index, column_index))
        key = row, column, under, over, width, self._update_count
        found = self._cells.get(key)
        if found is None:
            if len(self._cells) >= _CELLS:
                self._cells.clear()
            cell, inner = self.get_cell(row, column).copy(), width - 2 * self.cell_padding
            cut = cell.overflow or "fold"
            if cell.justify == "right":
                cell.rstrip()
                cell.truncate(inner, overflow=cut)
                cell.pad_left(inner - cell.cell_len)
            cell.truncate(inner, overflow=cut, pad=True)
            pad, console = Segment(" " * self.cell_padding), self.app.console
            own = Segment.apply_style(cell.render(console), console.get_style(cell.style))
            drawn = [pad, *own, pad]
            found = self._cells[key] = list(Segment.apply_style(drawn, under, over))
        return [found]

    @property
    def chosen(self) -> str | None:
        """The key of the row under the cursor."""
        if not self.row_count or not self.is_valid_row_index(self.cursor_row):
            return None
        return self.coordinate_to_cell_key(self.cursor_coordinate).row_key.value

    def choose(self, key: str) -> None:
        """Put the cursor on a row; nothing where it is not there."""
        if any(row.value == key for row in self.rows):
            self.move_cursor(row=self.get_row_index(key))

    @staticmethod
    def _cell(column: Column, cell: str | Text) -> Text:
        shown = Text(cell) if isinstance(cell, str) else cell
        shown.justify = column.align
        return shown


def look(cell: str | Text) -> object:
    """All that is seen of a cell; texts of other styles are equal to rich."""
    return cell if isinstance(cell, str) else (cell.plain, str(cell.style), list(cell.spans))


class Line(Struct, frozen=True):
    """``cells`` by column key; ``values`` are what they sort by, None (unknown) always last."""

    key: str
    cells: Mapping[str, str | Text]
    values: Mapping[str, Any]


class SortableTable(Vertical):
    """Columns need a width, so that the totals stand below their column.

    Attributes:
        order: the column's key, and whether the largest comes first.
    """

    DEFAULT_CSS = """
    SortableTable { height: 1fr; }
    SortableTable #totals {
        height: 1; background: $panel; color: $foreground; text-style: bold;
    }
    """

    @dataclass
    class Sorted(Message):
        column: str
        falling: bool

    def __init__(
        self,
        order: tuple[str, bool],
        *,
        id: str | None = None,  # noqa: A002  # Textual's own name
    ) -> None:
        super().__init__(id=id)
        self.order = order
        self._columns: tuple[Column, ...] = ()
        self._lines: tuple[Line, ...] = ()

    def compose(self) -> ComposeResult:
        yield Table()
        yield Static(id="totals", markup=False)

    @property
    def table(self) -> Table:
        return self.query_one(Table)

    def fill(
        self, columns: Sequence[Column], lines: Sequence[Line], totals: Mapping[str, str]
    ) -> None:
        """Show lines in the chosen order, and below them ``totals`` by column key."""
        self._columns, self._lines = tuple(columns), tuple(lines)
        if self.order[0] not in [column.key for column in columns]:
            self.order = columns[0].key, False
        self._show()
        shown = "".join(f" {_fitted(totals.get(c.key, ''), c)} " for c in self._columns)
        self.query_one("#totals", Static).update(Content(shown))

    def step(self) -> None:
        """Sort by the column to the right, round and round."""
        keys = [column.key for column in self._columns]
        if keys:
            self.sort(keys[(keys.index(self.order[0]) + 1) % len(keys)])

    def reverse(self) -> None:
        self._set(self.order[0], not self.order[1])

    def sort(self, column: str) -> None:
        """By a column, numbers with the largest first; by the same one again, the other way."""
        if column == self.order[0]:
            self.reverse()
            return
        right = next(c.align for c in self._columns if c.key == column) == "right"
        self._set(column, right)

    def _set(self, column: str, falling: bool) -> None:
        self.order = column, falling
        self._show()
        self.post_message(self.Sorted(column, falling))

    def _show(self) -> None:
        key, falling = self.order
        known = [line for line in self._lines if line.values.get(key) is not None]
        unknown = [line for line in self._lines if line.values.get(key) is None]
        ranked = sorted(known, key=lambda line: line.values[key], reverse=falling) + unknown
        arrow = "▼" if falling else "▲"
        columns = [
            replace(c, title=_marked(c, arrow)) if c.key == key else c for c in self._columns
        ]
        self.table.fill(
            columns, [Row(line.key, [line.cells[c.key] for c in columns]) for line in ranked]
        )

    @on(DataTable.HeaderSelected)
    def _clicked(self, event: DataTable.HeaderSelected) -> None:
        event.stop()
        self.sort(str(event.column_key.value))


def _marked(column: Column, arrow: str) -> str:
    """The title with the arrow, cut so that the column keeps its width."""
    room = (column.width or 99) - 1
    title = column.title if cell_len(column.title) <= room else column.title[: room - 1] + "."
    return title + arrow


def _fitted(text: str, column: Column) -> str:
    width = column.width or 0
    if cell_len(text) >= width:
        return set_cell_size(text, width)
    return text.rjust(width) if column.align == "right" else text.ljust(width)
