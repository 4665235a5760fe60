"""A cursor step sends what changes and not the whole list, which is much over SSH (tui.md 28)."""

from typing import Any

import pytest
from rich.text import Text
from textual.app import App, ComposeResult
from textual.content import Content
from textual.geometry import Region
from textual.widget import Widget

from omni_cli.tui.widgets.frames import FramedTiles, Tile
from omni_cli.tui.widgets.table import Column, Row, Table
from omni_cli.tui.widgets.tiles import CardList, Tiles
from omni_cli.tui.widgets.words import Words

_KEYS = [f"k{n}" for n in range(6)]


class Lists(App[None]):
    def compose(self) -> ComposeResult:
        yield Tiles()
        yield CardList()


def text(key: str, _width: int = 0) -> Content:
    return Content(f"{key}\nsecond line")


@pytest.mark.parametrize("kind", [Tiles, CardList])
async def test_a_step_refreshes_two_items(
    kind: type[Widget], monkeypatch: pytest.MonkeyPatch
) -> None:
    app = Lists()
    async with app.run_test(size=(60, 40)) as pilot:
        tiles, cards = app.query_one(Tiles), app.query_one(CardList)
        tiles.fill(_KEYS, text, lines=2)
        cards.fill([(key, text(key)) for key in _KEYS])
        widget = app.query_one(kind)
        widget.focus()
        await pilot.pause()
        seen: list[tuple[Region, ...]] = []
        whole = kind.refresh

        def refresh(self: Widget, *regions: Region, **how: Any) -> Widget:
            if self is widget and (regions or how.get("repaint", True)):
                seen.append(regions)
            return whole(self, *regions, **how)

        monkeypatch.setattr(kind, "refresh", refresh)
        await pilot.press("j")
        await pilot.pause()
        assert seen
        assert all(regions for regions in seen), "the whole list was sent"
        assert sum(region.height for regions in seen for region in regions) <= 8
        # What is filled again as it was sends nothing; one that changed, itself alone.
        seen.clear()
        tiles.fill(_KEYS, text, lines=2)
        cards.fill([(key, text(key)) for key in _KEYS])
        assert not seen
        if kind is Tiles:
            tiles.fill(_KEYS, lambda key, _: Content(key + "!" * (key == "k3")), lines=2)
            assert len([r for regions in seen for r in regions]) >= 1
        bars = [
            "".join(s.text for s in widget.render_line(y))[:1]  # type: ignore[attr-defined]  # of lists
            for y in range(12)
        ]
        assert bars == [" ", " ", "▌", "▌", *[" "] * 8]


async def test_a_table_that_looks_the_same_is_not_sent_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Page(App[None]):
        def compose(self) -> ComposeResult:
            yield Table()

    async with Page().run_test() as pilot:
        table, columns = pilot.app.query_one(Table), (Column("a", "A", width=5),)
        table.fill(columns, [Row("1", [Text("x", style="red")])])
        cleared: list[int] = []
        clear = Table.clear
        monkeypatch.setattr(
            Table, "clear", lambda self, **how: (cleared.append(1), clear(self, **how))[1]
        )
        table.fill(columns, [Row("1", [Text("x", style="red")])])
        assert not cleared
        table.fill(columns, [Row("1", [Text("x", style="blue")])])
        assert cleared


async def test_what_has_aged_is_sent_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of six tiles whose second line tells an age, one line each; what is as old as it was, not."""
    ages = dict.fromkeys(_KEYS, 0)

    def tile(key: str, _width: int) -> Tile:
        lines = (Content("healthy"), Content(f"{ages[key]} s ago"), Content("$1.00"))
        return Tile(Content(key), Content("lab"), lines, Content(""), "$primary")

    class Page(App[None]):
        def compose(self) -> ComposeResult:
            yield FramedTiles()

    async with Page().run_test(size=(90, 30)) as pilot:
        tiles = pilot.app.query_one(FramedTiles)
        tiles.frame(_KEYS, tile, lines=3)
        await pilot.pause()
        sent: list[Region] = []
        monkeypatch.setattr(
            FramedTiles, "refresh", lambda _, *regions, **_how: sent.extend(regions)
        )
        ages.update(k1=10, k4=10)
        tiles.redraw()
        assert [(region.width, region.height) for region in sent] == [(44, 1)] * 2
        assert {region.y for region in sent} == {2, 12}


async def test_words_lay_nothing_out_anew_that_stays_as_high(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Page(App[None]):
        def compose(self) -> ComposeResult:
            yield Words(Content("one\ntwo"))

    async with Page().run_test(size=(40, 10)) as pilot:
        words = pilot.app.query_one(Words)
        asked: list[bool] = []
        whole = Words.refresh

        def refresh(self: Words, *regions: Region, **how: Any) -> Words:
            asked.append(bool(how.get("layout")))
            return whole(self, *regions, **how)

        monkeypatch.setattr(Words, "refresh", refresh)
        words.update(Content("one\ntwo"))
        assert asked == []
        words.update(Content.from_markup("one\n[red]two[/]"))
        words.update(Content("uno\ndue"))
        assert asked == [False, False]
        words.update(Content("one\ntwo\nthree"))
        await pilot.pause()
        assert asked[2]
        assert words.size.height == 3
