"""A table that is filled again and again and stays where the user was; vim keys work."""

from collections.abc import Sequence
from typing import ClassVar, Literal

from msgspec import Struct
from rich.text import Text
from textual.binding import Binding, BindingType
from textual.widgets import DataTable

from omni_cli.domain.record import replace


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
    Table { height: 1fr; background: $background; }
    Table > .datatable--header { background: $panel; color: $foreground; text-style: bold; }
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

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002  # Textual's own name
        super().__init__(id=id, cursor_type="row", cell_padding=1)
        self._shape: tuple[Column, ...] = ()

    def fill(self, columns: Sequence[Column], rows: Sequence[Row]) -> None:
        """Show these rows. A column set that differs from the last one is set anew."""
        at, key = self.cursor_row, self.row_key
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

    @property
    def row_key(self) -> str | None:
        """The key of the row under the cursor."""
        if not self.row_count or not self.is_valid_row_index(self.cursor_row):
            return None
        return self.coordinate_to_cell_key(self.cursor_coordinate).row_key.value

    @staticmethod
    def _cell(column: Column, cell: str | Text) -> Text:
        shown = Text(cell) if isinstance(cell, str) else cell
        shown.justify = column.align
        return shown
