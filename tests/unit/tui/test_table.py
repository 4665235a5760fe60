"""Cells of a table are drawn without rich's console, as it would draw them."""

from itertools import product
from typing import Any

import pytest
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


async def test_rows_without_the_cursor_are_drawn_once() -> None:
    """The cursor's steps and the focus drew every row in sight anew."""
    app = Shown()
    async with app.run_test(size=(60, 20)) as pilot:
        table = app.query_one(Table)
        table.fill([Column("a", "A", width=8)], [Row(str(n), [str(n)]) for n in range(40)])
        await pilot.pause()
        drawn: list[int] = []
        plain = DataTable._render_line_in_row

        def seen(*args: Any, **named: Any) -> Any:
            drawn.append(1)
            return plain(*args, **named)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(DataTable, "_render_line_in_row", seen)
            for key in ("j", "j", "k"):
                await pilot.press(key)
            assert len(drawn) <= 3 * 2
            drawn.clear()
            app.set_focus(None)
            await pilot.pause()
            app.set_focus(table)
            await pilot.pause()
            assert len(drawn) <= 2 * 2  # of 20: below the cursor, and below the mouse
            drawn.clear()
            table.display = False
            await pilot.pause()
            table.display = True
            await pilot.pause()
            assert len(drawn) <= 2 * 2
            for _ in range(16):
                await pilot.press("j")  # to where it scrolls
            drawn.clear()
            await pilot.press("j")
            assert len(drawn) <= 3
