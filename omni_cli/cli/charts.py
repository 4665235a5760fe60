"""Charts as wide as the terminal: drawn by plotext on request, or as plain bars where no terminal
looks on."""

import math
import shutil
import sys
from collections.abc import Callable, Sequence
from datetime import date
from typing import Any

from omni_cli.cli.render import bar, colour_on

#: Told apart without colour.
INPUT_MARK, OUTPUT_MARK = "█", "░"
_TICKS = 4


def days_chart(days: Sequence[date], *series: Sequence[float], title: str, lines: int = 16) -> str:
    """One column a day, the series on top of each other.

    Args:
        days, series: of one length n >= 1, in the order of time; one series, or two.
    """
    width = min(shutil.get_terminal_size().columns, 100)

    def draw(figure: Any) -> None:
        places = list(range(1, len(days) + 1))
        marks = [INPUT_MARK, OUTPUT_MARK][: len(series)]
        stacks = [list(values) for values in series]
        figure.draw(figure.bar(places, stacks, stacked=True, marker=marks, lines=False, width=0.7))
        step = max(1, -(-len(days) * 8 // width))
        shown = places[::step]
        figure.ruler("x").ticks(shown, [days[n - 1].strftime("%m-%d") for n in shown])
        top = max(map(sum, zip(*series, strict=True)), default=0.0)
        levels = [top * n / _TICKS for n in range(_TICKS + 1)] if top else [0.0]
        figure.ruler("y").ticks(levels, [f"{level:.3g}" for level in levels])

    return _drawn(draw, title, width, lines)


def frontier_chart(points: Sequence[tuple[str, float, float, float, float]], *, title: str) -> str:
    """Points with bands: cost to the right, on a scale of logarithms, quality up.

    Args:
        points: mark, cost above 0 in US dollars, quality 0..1, and the ends of its band; one at
            least. Of two on one place the later is seen.
    """

    def draw(figure: Any) -> None:
        spots = [(mark, math.log10(cost), 100 * q) for mark, cost, q, _, _ in points]
        for (_, _, _, low, high), (_, x, _) in zip(points, spots, strict=True):
            figure.draw(figure.signal([x, x], [100 * low, 100 * high], marker="│").lines())
        for mark, x, y in spots:
            figure.draw(figure.signal([x], [y], marker=mark))
        xs = sorted({round(x, 2) for _, x, _ in spots})
        shown = xs if len(xs) <= _TICKS else [xs[0], xs[len(xs) // 2], xs[-1]]
        figure.ruler("x").ticks(shown, [f"${10**x:.2g}" for x in shown])

    return _drawn(draw, title, min(shutil.get_terminal_size().columns, 80), 16)


def _drawn(draw: Callable[[Any], None], title: str, width: int, lines: int) -> str:
    # plotext costs some 100 ms to import and draws one global figure.
    from plotext import figure

    colour = colour_on(sys.stdout)
    figure.clear()
    try:
        figure.theme("simple" if colour else "colorless")
        figure.plot_size(width, lines)
        draw(figure)
        figure.title(title)
        text = str(figure.build().string())
    finally:
        figure.clear()
    return text if colour else text.replace("\x1b[0m", "")


def day_bars(days: Sequence[date], values: Sequence[int], labels: Sequence[str]) -> list[str]:
    """One line a day: date, bar, label. ``values`` are >= 0, or count as 0."""
    top = max(max(values, default=0), 1)
    return [
        f"{day.isoformat()}  {bar(max(value, 0) / top, 30)}  {label}"
        for day, value, label in zip(days, values, labels, strict=True)
    ]
