"""Tiles with a frame: a name and whose it is in the upper edge, a note in the lower one."""

from collections.abc import Callable, Sequence
from typing import ClassVar

from msgspec import Struct
from textual.binding import Binding, BindingType
from textual.content import Content

from omni_cli.tui.widgets.tiles import Tiles

#: Corners and edges: of any tile, and of the chosen one, so that it is seen without colours.
_PLAIN, _CHOSEN = "╭─╮│╰╯", "┏━┓┃┗┛"
#: Most tiles beside each other.
_MOST = 3


class Tile(Struct, frozen=True):
    """``edge`` is the frame's colour. ``lines`` have the width that was asked for, or less."""

    title: Content
    whose: Content
    lines: tuple[Content, ...]
    note: Content
    edge: str


Frame = Callable[[str, int], Tile]


class FramedTiles(Tiles, inherit_bindings=False):
    """Call ``frame`` with everything; one to three stand beside each other. Letters are left to
    the pane, but for j and k."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(0, -1)", "Up", show=False),
        Binding("down,j", "move(0, 1)", "Down", show=False),
        Binding("left", "move(-1, 0)", "Left", show=False),
        Binding("right", "move(1, 0)", "Right", show=False),
        Binding("pageup", "page(-1)", "Page up", show=False),
        Binding("pagedown", "page(1)", "Page down", show=False),
        Binding("home,g", "jump(0)", "First", show=False),
        Binding("end,G", "jump(-1)", "Last", show=False),
        Binding("enter", "select", "Open"),
    ]
    #: Cells of a frame and of the gap beside it.
    SIDES = 5

    def frame(self, keys: Sequence[str], draw: Frame, *, lines: int, least: int = 38) -> None:
        """
        Args:
            draw: gives a tile for its key and the width of its lines; called for those in sight.
            lines: inside each frame.
            least: cells that a tile has at least, with its frame.
        """
        self._frame = draw
        self.fill(keys, lambda *_: Content(""), lines=lines + 2, least=least)

    def redraw(self) -> None:
        """Draw anew what is in sight and reads otherwise by now: what it says has aged."""
        before, self._drawn = self._drawn, {}
        self._send_changed(before)

    @property
    def rows(self) -> int:
        """Lines that all tiles take together."""
        return -(-len(self.keys) // self.across) * self._lines

    @property
    def across(self) -> int:
        return min(super().across, _MOST)

    @property
    def _tile(self) -> tuple[int, int]:
        width = self._whole // self.across
        return max(width, 1), self._lines

    def _tile_lines(self, index: int, ground: str, *, on: bool) -> list[Content]:
        width = self._tile[0]
        tile = self._frame(self.keys[index], max(width - self.SIDES, 8))
        framed = _framed(tile, width - 1, chosen=on, lines=self._lines - 2)
        return [(line.stylize_before(ground) if ground else line) + Content(" ") for line in framed]


def _framed(tile: Tile, width: int, *, chosen: bool, lines: int) -> list[Content]:
    corner_a, edge, corner_b, side, corner_c, corner_d = tuple(_CHOSEN if chosen else _PLAIN)
    style = f"bold {tile.edge}" if chosen else tile.edge
    whose = tile.whose.truncate(max(width // 2 - 6, 4), ellipsis=True)
    title = tile.title.truncate(max(width - whose.cell_length - 9, 4), ellipsis=True)
    rest = width - title.cell_length - whose.cell_length - 8
    top = Content.assemble(
        (f"{corner_a}{edge} ", style),
        title,
        (f" {edge * max(rest, 1)} ", style),
        whose,
        (f" {edge}{corner_b}", style),
    )
    inner = width - 4
    body = []
    for line in (*tile.lines, *[Content("")] * (lines - len(tile.lines)))[:lines]:
        cut = line.truncate(inner, ellipsis=True)
        cut = cut.pad_right(inner - cut.cell_length)
        body.append(Content.assemble((f"{side} ", style), cut, (f" {side}", style)))
    note = tile.note.truncate(max(width - 8, 4), ellipsis=True)
    if note.plain:
        bar = edge * max(width - note.cell_length - 5, 1)
        foot = Content.assemble((f"{corner_c}{bar} ", style), note, (f" {edge}{corner_d}", style))
    else:
        foot = Content.styled(f"{corner_c}{edge * (width - 2)}{corner_d}", style)
    return [top, *body, foot]
