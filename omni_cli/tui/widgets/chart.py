"""Columns over time, drawn with block characters: stacked, with a level line and a projection; and
bars of one line.

Plain text with theme colours, no global figure: any thread may draw, and every series has a sign
of its own, so that the chart reads without colour.
"""

from collections.abc import Callable, Sequence

from msgspec import Struct
from textual.content import Content

#: Sign and colour of the lower and the upper part of a column, and of a projected one.
LOWER, UPPER, COMING = ("█", "$primary"), ("▒", "$accent"), ("░", "$foreground-muted")
LEVEL = ("─", "$warning")
_EIGHTHS = " ▁▂▃▄▅▆▇█"
_MUTED = "$foreground-muted"
_WIDEST = 11


class Column(Struct, frozen=True):
    """``lower`` with ``upper`` on top, both >= 0. ``coming``: a projection, drawn faintly."""

    label: str
    lower: float
    upper: float = 0.0
    coming: bool = False

    @property
    def sum(self) -> float:
        return self.lower + self.upper


def merged(columns: Sequence[Column], most: int) -> tuple[tuple[Column, ...], int]:
    """At most ``most`` columns, and how many of the given ones each of them adds up."""
    each = max(-(-len(columns) // max(most, 1)), 1)
    if each == 1:
        return tuple(columns), 1
    groups = [columns[at : at + each] for at in range(0, len(columns), each)]
    return tuple(
        Column(
            group[0].label,
            sum(c.lower for c in group),
            sum(c.upper for c in group),
            all(c.coming for c in group),
        )
        for group in groups
    ), each


def axis_width(columns: Sequence[Column], scale: Callable[[float], str], level: float = 0) -> int:
    """Cells that the axis takes at the left: its labels and a space."""
    top = max((c.sum for c in columns), default=0.0)
    return max(len(scale(value)) for value in (max(top, level), max(top, level) / 2, 0.0)) + 1


def chart(
    columns: Sequence[Column],
    *,
    size: tuple[int, int],
    scale: Callable[[float], str],
    level: float = 0.0,
) -> Content:
    """A chart of ``size`` (columns, lines), axis and labels included.

    Args:
        columns: in the order of time; no more than fit (see ``merged``).
        scale: how a value reads on the axis.
        level: a line across, in the columns' unit; 0 for none.
    """
    left = axis_width(columns, scale, level)
    width, height = size[0] - left, size[1] - 1
    if not columns or height < 1 or width < len(columns):
        return Content("")
    top = max(max(c.sum for c in columns), level)
    slot = min(width // len(columns), _WIDEST)
    thick = slot - 1 if slot > 1 else 1
    at_level = min(int(level / top * height), height - 1) if level and top else -1
    marks = {height - 1: scale(top), height // 2: scale(top / 2), 0: scale(0.0)}
    if height < 4:
        del marks[height // 2]
    lines = []
    for row in range(height - 1, -1, -1):
        # The mark in the middle stands for its row's lower edge only where rows are even.
        label = marks.get(row, "") if top else ("0" if row == 0 else "")
        line = Content.styled(f"{label:>{left - 1}} ", _MUTED)
        for column in columns:
            sign, style = _cell(column, row, height, top)
            gap = " ", ""
            if row == at_level:
                # Across the columns too: over a full one it keeps the column's colour behind it.
                behind = f" on {style}" if sign == LOWER[0] else ""
                sign, style, gap = LEVEL[0], LEVEL[1] + behind, LEVEL
            line += Content.assemble((sign * thick, style), (gap[0] * (slot - thick), gap[1]))
        lines.append(line)
    labels = " " * left + _labels(columns, slot)
    return Content("\n").join([*lines, Content.styled(labels, _MUTED)])


def _cell(column: Column, row: int, height: int, top: float) -> tuple[str, str]:
    """What stands in one line of a column, counted from the ground."""
    if not top or not column.sum:
        return " ", ""
    lower, whole = (value / top * height for value in (column.lower, column.sum))
    if column.coming:
        full = row + 0.5 <= whole or row == 0
        return COMING if full else (" ", "")
    if not column.upper:
        filled = min(max(lower - row, 0.0), 1.0)
        if row == 0:
            # Little is not nothing.
            filled = max(filled, 1 / 8)
        return _EIGHTHS[int(filled * 8)], LOWER[1]
    if row + 0.5 <= lower:
        return LOWER
    if row + 0.5 <= whole:
        return UPPER
    if row == 0:
        return "▁", LOWER[1] if column.lower >= column.upper else UPPER[1]
    return " ", ""


def _labels(columns: Sequence[Column], slot: int) -> str:
    """The labels that fit, the first one always."""
    room = len(columns) * slot
    line, free = [" "] * room, 0
    for index, column in enumerate(columns):
        at = index * slot
        if at >= free and at + len(column.label) <= room:
            line[at : at + len(column.label)] = column.label
            free = at + len(column.label) + 1
    return "".join(line).rstrip()


_FREE, _HELD, _ALERT, _STOP = "░", "▒", "┊", "┃"


def split_bar(lower: int, upper: int, top: int, width: int) -> Content:
    """``lower`` and ``upper`` side by side, as long as their share of ``top``; ``width`` cells."""
    if top <= 0 or width <= 0:
        return Content(" " * max(width, 0))
    whole = min(round((lower + upper) / top * width), width)
    if not whole and lower + upper > 0:
        whole = 1
    first = min(round(lower / top * width), whole) if upper else whole
    return Content.assemble(
        (LOWER[0] * first, LOWER[1]),
        (UPPER[0] * (whole - first), UPPER[1]),
        " " * (width - whole),
    )


def budget_bar(
    *,
    spent: int,
    held: int,
    whole: int,
    stop: int,
    alerts: Sequence[float],
    width: int,
    style: str,
) -> Content:
    """Spent, then held (reserved by calls under way), then free.

    ┊ stands at each alert, ┃ where calls are refused; the bar reaches to the larger of ``whole``
    (the limit) and ``stop``, all in one unit; ``alerts`` in per cent of ``whole``.
    """
    top = max(whole, stop, 1)

    def cell(amount: float) -> int:
        return min(int(width * amount / top), width)

    first = cell(spent)
    if spent and not first:
        first = 1
    second = max(cell(spent + held) - first, 0)
    signs = list("█" * first + _HELD * second + _FREE * (width - first - second))
    styles = [style] * first + ["$primary"] * second + ["$foreground-muted"] * (width - len(signs))
    styles += ["$foreground-muted"] * (width - len(styles))
    for percent in alerts:
        at = cell(whole * percent / 100)
        if at < width and at != cell(stop):
            signs[at], styles[at] = _ALERT, "$warning"
    end = min(cell(stop), width - 1)
    signs[end], styles[end] = _STOP, "bold $error"
    return Content.assemble(*zip(signs, styles, strict=True))
