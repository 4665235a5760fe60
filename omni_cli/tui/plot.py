"""Figures as lines of text: columns over time, curves, bars with whiskers, points; all pure.

Columns are drawn in eighths of a cell and may be stacked, one series on the other; curves in
braille dots, two by four in a cell. Ticks are round and stand exactly on the lower edge of their
line. Where there are no colours, ``signs`` gives each series a fill of its own.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from math import ceil, floor, log10
from typing import Literal

from msgspec import Struct
from textual.content import Content

from omni_cli.domain.record import replace
from omni_cli.tui.colours import MARKS

#: Sign and style of a level across, and of what a projection adds.
LEVEL, COMING = ("─", "$warning"), ("░", "$foreground-muted")
#: Fills that differ without colour; there are never more series in a plot.
FILLS = "█▓▒░╳╱╲┼○•"
MUTED = "$foreground-muted"
_EIGHTHS = " ▁▂▃▄▅▆▇█"
#: What ticks are multiples of; several lines may stand between two.
_ROUND = (1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0)
#: The bit of a braille character for a dot at (x, y), counted from its lower left.
_DOTS = ((0x40, 0x04, 0x02, 0x01), (0x80, 0x20, 0x10, 0x08))
_BRAILLE = 0x2800
#: Less is drawn as nothing: a nano-dollar is a thousand times as much.
_NOTHING = 1e-12

Scale = Callable[[float], str]


class Series(Struct, frozen=True):
    """``values``: one a slot, >= 0; None where nothing is known (a curve has a gap there).
    ``mark``: stands beside its name, and unless it is the plain one in its part of a column."""

    name: str
    style: str
    values: tuple[float | None, ...]
    mark: str = MARKS[0]


class Plot(Struct, frozen=True):
    """Series over slots of time.

    ``labels``: of n >= 1 slots, in the order of time. ``kind``: series stacked as columns, the
    first at the ground, or each a curve. ``coming``: length n or 0, what a projection puts on top
    of each slot's column. ``cone``: length n or 0, the (low, high) of a projected slot, drawn
    behind curves. ``level``: a line across, in the series' unit; 0 for none.
    """

    labels: tuple[str, ...]
    series: tuple[Series, ...]
    scale: Scale
    kind: Literal["columns", "curves"] = "columns"
    coming: tuple[float, ...] = ()
    cone: tuple[tuple[float, float] | None, ...] = ()
    level: float = 0.0

    def sum(self, slot: int) -> float:
        """The height of a slot's column, without what is to come."""
        return sum(series.values[slot] or 0.0 for series in self.series)

    @property
    def top(self) -> float:
        """The largest value that is drawn."""
        slots = range(len(self.labels))
        if self.kind == "curves":
            known = [v for series in self.series for v in series.values if v is not None]
            known += [high for pair in self.cone if pair is not None for high in pair]
        else:
            coming = self.coming or (0.0,) * len(self.labels)
            known = [self.sum(slot) + coming[slot] for slot in slots]
        return max([*known, self.level], default=0.0)


def merged(plot: Plot, most: int) -> tuple[Plot, int]:
    """A plot of at most ``most`` slots, and how many of the given ones each stands for: the sum of
    columns, the mean of curves."""
    each = max(-(-len(plot.labels) // max(most, 1)), 1)
    if each == 1:
        return plot, 1
    starts = range(0, len(plot.labels), each)

    def joined(values: Sequence[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        if not known:
            return None
        return sum(known) / (len(known) if plot.kind == "curves" else 1)

    series = tuple(
        replace(s, values=tuple(joined(s.values[at : at + each]) for at in starts))
        for s in plot.series
    )
    return Plot(
        labels=tuple(plot.labels[at] for at in starts),
        series=series,
        scale=plot.scale,
        kind=plot.kind,
        coming=tuple(sum(plot.coming[at : at + each]) for at in starts) if plot.coming else (),
        cone=tuple(plot.cone[min(at + each, len(plot.cone)) - 1] for at in starts)
        if plot.cone
        else (),
        level=plot.level * (each if plot.kind == "columns" else 1),
    ), each


def units(top: float, lines: int) -> tuple[float, int]:
    """How much a line of the plot is worth, and how many lines lie between two ticks, so that each
    tick is a round number and all of ``top`` has room."""
    if top < _NOTHING or lines < 1:
        return 1.0, max(lines, 1)
    best: tuple[float, float, int] | None = None
    for each in range(min(2, lines), max(lines // 2, 2) + 1):
        least = top * each / lines
        tens = 10.0 ** floor(log10(least))
        step = next(s * tens * f for f in (1, 10) for s in _ROUND if s * tens * f >= least * 0.9999)
        found = step / each
        if best is None or found < best[0] * 0.999:
            best = found, step, each
    assert best is not None
    return best[0], best[2]


def axis(plot: Plot, lines: int) -> tuple[float, dict[int, str]]:
    """What a line is worth, and the label of each line that has one, counted from the ground."""
    worth, each = units(plot.top, lines)
    if plot.top < _NOTHING:
        return 1.0, {0: plot.scale(0.0)}
    while lines // each > 6:
        each *= 2
    return worth, {row: plot.scale(row * worth) for row in range(0, lines, each)}


def edges(slots: int, width: int) -> list[int]:
    """Where each slot begins, and where the last one ends: all of the width is used."""
    return [round(at * width / slots) for at in range(slots + 1)]


class Drawn(Struct, frozen=True):
    """Lines of a plot, and the cells (from, to) of each slot, so that a click finds one."""

    lines: tuple[Content, ...]
    slots: tuple[tuple[int, int], ...]
    each: int


def draw(
    plot: Plot, size: tuple[int, int], *, cursor: int | None = None, signs: bool = False
) -> Drawn:
    """A plot of ``size`` (cells, lines), axis and labels included; no lines where it has no room.

    Args:
        cursor: a slot to stand out; of the merged ones where they do not all fit.
        signs: fills instead of colours.
    """
    height = size[1] - 1
    if height < 1 or not plot.labels:
        return Drawn((), (), 1)
    left = max(len(label) for label in axis(plot, height)[1].values()) + 1
    plot, each = merged(plot, size[0] - left)
    worth, ticks = axis(plot, height)
    left = max(len(label) for label in ticks.values()) + 1
    width = size[0] - left
    if width < len(plot.labels):
        return Drawn((), (), each)
    at = edges(len(plot.labels), width)
    canvas = _columns if plot.kind == "columns" else _curves
    grid = canvas(plot, at, height, worth, signs)
    _level(plot, grid, worth)
    if cursor is not None and 0 <= cursor < len(plot.labels):
        _point(grid, at[cursor], at[cursor + 1])
    lines = []
    for row in range(height - 1, -1, -1):
        label = Content.styled(f"{ticks.get(row, ''):>{left - 1}} ", MUTED)
        lines.append(label + _line(grid[row]))
    lines.append(Content(" " * left) + _labels(plot.labels, at, cursor))
    slots = tuple((left + a, left + b) for a, b in pairwise(at))
    return Drawn(tuple(lines), slots, each)


#: A cell: its sign, the colour of it, the colour behind it.
Cell = tuple[str, str, str]
Grid = list[list[Cell]]
_NONE: Cell = (" ", "", "")


def _line(cells: Iterable[Cell]) -> Content:
    """Cells of one look are one piece: less to send to a terminal far away."""
    pieces: list[tuple[str, str]] = []
    for sign, colour, behind in cells:
        style = f"{colour} on {behind}" if behind else colour
        if pieces and pieces[-1][1] == style:
            pieces[-1] = pieces[-1][0] + sign, style
        else:
            pieces.append((sign, style))
    return Content.assemble(*pieces)


def _columns(plot: Plot, at: Sequence[int], height: int, worth: float, signs: bool) -> Grid:
    grid = [[_NONE] * at[-1] for _ in range(height)]
    slot_width = at[-1] / len(plot.labels)
    for slot in range(len(plot.labels)):
        parts = [
            (series.values[slot] or 0.0, series.style, FILLS[n % len(FILLS)])
            for n, series in enumerate(plot.series)
        ]
        coming = plot.coming[slot] if plot.coming else 0.0
        gap = 0 if slot_width < 3 else max(1, floor(slot_width / 6))
        for row, cell in enumerate(_stack(parts, coming, height, worth, signs)):
            for x in range(at[slot], max(at[slot + 1] - gap, at[slot] + 1)):
                grid[row][x] = cell
        if not signs:
            middle = (at[slot] + max(at[slot + 1] - gap, at[slot] + 1) - 1) // 2
            _mark(plot, slot, [row[middle] for row in grid], grid, middle)
    return grid


def _mark(plot: Plot, slot: int, column: Sequence[Cell], grid: Grid, x: int) -> None:
    """Set the marks of series that share a hue into the middle of what a slot has of them."""
    for series in plot.series:
        if series.mark != MARKS[0] and series.values[slot]:
            own = [row for row, cell in enumerate(column) if cell == ("█", series.style, "")]
            if own:
                grid[own[len(own) // 2]][x] = series.mark, "$background", series.style


def _stack(
    parts: Sequence[tuple[float, str, str]],
    coming: float,
    height: int,
    worth: float,
    signs: bool,
) -> list[Cell]:
    """One column's cells from the ground. Little is not nothing: it gets an eighth."""
    bounds, total = [], 0.0
    for value, style, fill in parts:
        low, total = total, total + value
        bounds.append((low / worth * 8, total / worth * 8, style, fill))
    whole, reach = round(total / worth * 8), (total + coming) / worth
    cells = []
    for row in range(height):
        base = row * 8
        inside = [
            (min(high, base + 8) - max(low, base), style, fill)
            for low, high, style, fill in bounds
            if high > base and low < base + 8
        ]
        filled = min(max(whole - base, 1 if not row and total else 0), 8)
        if not inside or not filled:
            cells.append((*COMING, "") if coming and reach >= row + 0.5 else _NONE)
        elif signs:
            _, _, fill = max(inside)
            cells.append((fill if filled >= 4 or not row else " ", "", ""))
        elif filled < 8 or len(inside) == 1:
            _, style, _ = max(inside, key=lambda part: part[0])
            cells.append((_EIGHTHS[filled], style, ""))
        else:
            # Two colours fit into a cell: the largest parts, in their order.
            most = sorted(sorted(inside, key=lambda part: -part[0])[:2], key=inside.index)
            share = most[0][0] / (most[0][0] + most[1][0])
            eighths = round(share * 8)
            if eighths in (0, 8):
                cells.append(("█", most[0 if eighths else 1][1], ""))
            else:
                cells.append((_EIGHTHS[eighths], most[0][1], most[1][1]))
    return cells


def _curves(plot: Plot, at: Sequence[int], height: int, worth: float, signs: bool) -> Grid:
    width = at[-1]
    grid = [[_NONE] * width for _ in range(height)]
    middles = [(a + b - 1) for a, b in pairwise(at)]  # in dots, two a cell
    _cone(plot, middles, grid, worth)
    for n, series in enumerate(plot.series):
        # Without colours the first curve is a line, the others have gaps.
        skip = n + 1 if signs else 1
        dots = [
            (x, min(max(value / worth * 4, 0.0), height * 4 - 1)) if value is not None else None
            for x, value in zip(middles, series.values, strict=True)
        ]
        for x, y in _path(dots):
            if x % skip or not 0 <= x < width * 2:
                continue
            column, row = x // 2, min(int(y) // 4, height - 1)
            sign, _, behind = grid[row][column]
            before = ord(sign) - _BRAILLE if _BRAILLE <= ord(sign) < _BRAILLE + 256 else 0
            bit = _DOTS[x % 2][int(y) % 4]
            grid[row][column] = chr(_BRAILLE + (before | bit)), series.style, behind
    return grid


def _path(dots: Sequence[tuple[int, float] | None]) -> Iterable[tuple[int, int]]:
    """Every dot of the lines between neighbours; a lone value is a short dash."""
    for n, here in enumerate(dots):
        if here is None:
            continue
        yield here[0], int(here[1])
        after = dots[n + 1] if n + 1 < len(dots) else None
        if after is None:
            if not n or dots[n - 1] is None:
                yield here[0] + 1, int(here[1])
            continue
        steps = max(abs(after[0] - here[0]), ceil(abs(after[1] - here[1])), 1)
        for step in range(steps):
            share = step / steps
            yield (
                round(here[0] + (after[0] - here[0]) * share),
                int(here[1] + (after[1] - here[1]) * share),
            )


def _cone(plot: Plot, middles: Sequence[int], grid: Grid, worth: float) -> None:
    known = [(x, pair) for x, pair in zip(middles, plot.cone, strict=False) if pair is not None]
    for (x0, (low0, high0)), (x1, (low1, high1)) in pairwise(known):
        for column in range(x0 // 2, x1 // 2 + 1):
            share = min(max((column * 2 - x0) / max(x1 - x0, 1), 0.0), 1.0)
            low, high = (low0 + (low1 - low0) * share), (high0 + (high1 - high0) * share)
            first, last = low / worth, high / worth
            for row in range(len(grid)):
                if row + 0.75 >= first and row + 0.25 <= last:
                    grid[row][column] = (*COMING, "")


def _level(plot: Plot, grid: Grid, worth: float) -> None:
    """A line across; over a filled cell its colour stands behind."""
    if not plot.level:
        return
    row = int(plot.level / worth)
    if row >= len(grid):
        return
    for x, (sign, colour, _) in enumerate(grid[row]):
        full = sign in _EIGHTHS[4:] and sign != " "
        if sign == " " or full or sign == COMING[0]:
            grid[row][x] = *LEVEL, colour if full else ""


def _point(grid: Grid, first: int, after: int) -> None:
    for row in grid:
        for x in range(first, after):
            sign, colour, behind = row[x]
            if not behind:
                row[x] = sign, colour, "$foreground 15%"


def _labels(labels: Sequence[str], at: Sequence[int], cursor: int | None) -> Content:
    """The labels that fit: the last one always, so that it is seen how far the plot reaches; the
    cursor's stands out."""
    room = at[-1]
    line, taken = [" "] * room, [False] * (room + 1)

    def put(slot: int) -> None:
        start = min(at[slot], room - len(labels[slot]))
        span = range(max(start - 1, 0), min(start + len(labels[slot]) + 1, room))
        if start >= 0 and not any(taken[x] for x in span):
            line[start : start + len(labels[slot])] = labels[slot]
            for x in range(start, start + len(labels[slot])):
                taken[x] = True

    pointed = cursor is not None and 0 <= cursor < len(labels)
    if cursor is not None and pointed:
        put(cursor)
    for slot in (0, len(labels) - 1, *range(1, len(labels) - 1)):
        put(slot)
    text = "".join(line)
    if cursor is None or not pointed:
        return Content.styled(text.rstrip(), MUTED)
    start = max(min(at[cursor], room - len(labels[cursor])), 0)
    end = start + len(labels[cursor])
    return Content.assemble(
        (text[:start], MUTED), (text[start:end], "bold reverse"), (text[end:].rstrip(), MUTED)
    )


# --- bars and points -------------------------------------------------------------------------


def bar(value: float, top: float, width: int, style: str) -> Content:
    """A bar in eighths of a cell, ``width`` cells with what is free; little is not nothing."""
    if top <= 0 or width <= 0 or value <= 0:
        return Content(" " * max(width, 0))
    eighths = min(max(round(value / top * width * 8), 1), width * 8)
    whole, part = divmod(eighths, 8)
    signs = "█" * whole + (" ▏▎▍▌▋▊▉"[part] if part else "")
    return Content.assemble((signs, style), " " * (width - len(signs)))


class Whisker(Struct, frozen=True):
    """``low`` to ``high`` is where the true value is likely to be; all in one unit, >= 0."""

    value: float
    low: float
    high: float
    style: str


def whisker(item: Whisker, top: float, width: int) -> Content:
    """A bar up to the value, with ├─┤ from low to high over it."""
    if top <= 0 or width < 3:
        return Content(" " * max(width, 0))

    def cell(value: float) -> int:
        return min(max(int(value / top * width), 0), width - 1)

    full = cell(item.value) + (1 if item.value > 0 else 0)
    cells: list[Cell] = [("█", item.style, "")] * full + [_NONE] * (width - full)
    low, high = cell(item.low), cell(item.high)
    if high > low:
        for x in range(low, high + 1):
            sign = "├" if x == low else "┤" if x == high else "─"
            cells[x] = sign, "bold $foreground", item.style if x < full else ""
    return _line(cells)


class Point(Struct, frozen=True):
    """``mark``: one cell, told again in the legend."""

    mark: str
    x: float
    y: float
    style: str


def scatter(
    points: Sequence[Point], size: tuple[int, int], *, x_scale: Scale, y_scale: Scale
) -> tuple[Content, ...]:
    """Points over two axes that begin at zero; where two share a cell the later
    one moves to the next free one."""
    height = size[1] - 2
    if height < 2 or not points:
        return ()
    worth, each = units(max(p.y for p in points), height)
    ticks = {row: y_scale(row * worth) for row in range(0, height, each)}
    left = max(len(label) for label in ticks.values()) + 1
    width = size[0] - left - 1
    if width < 8:
        return ()
    x_worth, x_each = units(max(p.x for p in points), width)
    while width // x_each > 6:
        x_each *= 2
    grid: Grid = [[_NONE] * width for _ in range(height)]
    for point in sorted(points, key=lambda p: (p.x, p.y)):
        row = min(int(point.y / worth), height - 1)
        x = min(int(point.x / x_worth), width - 1)
        beside = (*range(x, width), *range(x - 1, -1, -1))
        x = next((at for at in beside if grid[row][at] == _NONE), x)
        grid[row][x] = point.mark, f"bold {point.style}", ""
    lines = [
        Content.styled(f"{ticks.get(row, ''):>{left - 1}} │", MUTED) + _line(grid[row])
        for row in range(height - 1, -1, -1)
    ]
    ground = "".join("┴" if x and x % x_each == 0 else "─" for x in range(width))
    lines.append(Content.styled(" " * left + "└" + ground, MUTED))
    below, free = [" "] * (width + 1), 0
    for x in range(0, width, x_each):
        label = x_scale(x * x_worth)
        start = max(x + 1 - len(label) // 2, 0)
        if start >= free and start + len(label) <= len(below):
            below[start : start + len(label)] = label
            free = start + len(label) + 1
    lines.append(Content.styled(" " * left + "".join(below).rstrip(), MUTED))
    return tuple(lines)


# --- how figures read on an axis -------------------------------------------------------------


def short(value: float) -> str:
    """A count on an axis: 0, 850, 12K, 3.4M."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "K")):
        if value >= size * 0.9999:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"


def dollars(value: float) -> str:
    """US dollars on an axis: $0, $0.50, $2.5, $1,500."""
    if value >= 100 or value == round(value):
        return f"${value:,.0f}"
    if value >= 0.1:
        return f"${value:.2f}" if round(value, 1) != round(value, 9) else f"${value:.1f}0"
    return f"${value:.2g}"


def seconds(value: float) -> str:
    """Milliseconds on an axis: 0, 250ms, 1.5s."""
    if not value:
        return "0"
    return f"{value / 1000:.3g}s" if value >= 1000 else f"{value:.3g}ms"
