"""Cells of a table are drawn without rich's console, as it would draw them."""

from itertools import product

from rich.segment import Segment
from rich.style import Style
from rich.text import Text
from textual.app import App, ComposeResult
from textual.widgets import DataTable

from omni_cli.tui.widgets.table import Column, Row, Table

CELLS: tuple[str | Text, ...] = (
    "abc",
    "",
    "日本語の名前です",
    Text("x" * 30, "bold red"),
    Text(" leads", "italic"),
    Text("ok", no_wrap=True, overflow="ellipsis"),
    Text("日本 and long", no_wrap=True, overflow="ellipsis"),
    Text.assemble(("a", "red"), ("b ", "on blue"), "  "),
)


class Shown(App[None]):
    def compose(self) -> ComposeResult:
        yield Table()


def _seen(cell: list[list[Segment]]) -> list[tuple[str, Style | None]]:
    return [(character, part.style) for part in cell[0] for character in part.text]


async def test_a_cell_looks_as_textual_draws_it() -> None:
    app = Shown()
    async with app.run_test(size=(60, 20)) as pilot:
        table = app.query_one(Table)
        table.fill(
            [Column("left", "Left", width=8), Column("right", "Right", "right", 8)],
            [Row(str(n), [cell, Text(cell) if isinstance(cell, str) else cell.copy()])
             for n, cell in enumerate(CELLS)],
        )  # fmt: skip
        for focused in (True, False):
            app.set_focus(table if focused else None)
            await pilot.pause()
            of = product(range(len(CELLS)), (0, 1), (False, True), (False, True))
            for row, column, cursor, hover in of:
                where = row, column, table.rich_style, 10, cursor, hover
                table._cell_render_cache.clear()
                plain = _seen(DataTable._render_cell(table, *where))
                assert _seen(table._render_cell(*where)) == plain, (focused, *where)
