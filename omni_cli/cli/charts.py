"""Charts of days: drawn by plotext on request, or as plain bars where no terminal looks on."""

import math
from collections.abc import Sequence
from datetime import date

from omni_cli.cli.render import bar

#: Told apart without colour.
INPUT_MARK, OUTPUT_MARK = "█", "░"
_TICKS = 4


def stacked_days(
    days: Sequence[date],
    lower: Sequence[float],
    upper: Sequence[float],
    *,
    title: str,
    size: tuple[int, int],
    colour: bool,
) -> str:
    """Columns of ``lower`` with ``upper`` on top, one a day.

    Args:
        days, lower, upper: of one length n >= 1, in the order of time.
        size: columns and lines.
    """
    return _draw(days, [list(lower), list(upper)], [INPUT_MARK, OUTPUT_MARK], title, size, colour)


def days_chart(
    days: Sequence[date],
    values: Sequence[float],
    *,
    title: str,
    size: tuple[int, int],
    colour: bool,
) -> str:
    """One column a day; see ``stacked_days``."""
    return _draw(days, [list(values)], [INPUT_MARK], title, size, colour)


def _draw(
    days: Sequence[date],
    series: list[list[float]],
    marks: list[str],
    title: str,
    size: tuple[int, int],
    colour: bool,
) -> str:
    # plotext costs some 100 ms to import and draws one global figure.
    from plotext import figure

    figure.clear()
    try:
        figure.theme("simple" if colour else "colorless")
        figure.plot_size(*size)
        places = list(range(1, len(days) + 1))
        figure.draw(figure.bar(places, series, stacked=True, marker=marks, lines=False, width=0.7))
        step = max(1, -(-len(days) * 8 // size[0]))
        shown = places[::step]
        figure.ruler("x").ticks(shown, [days[n - 1].strftime("%m-%d") for n in shown])
        top = max(map(sum, zip(*series, strict=True)), default=0.0)
        levels = [top * n / _TICKS for n in range(_TICKS + 1)] if top else [0.0]
        figure.ruler("y").ticks(levels, [f"{level:.3g}" for level in levels])
        figure.title(title)
        text = str(figure.build().string())
    finally:
        figure.clear()
    return text if colour else text.replace("\x1b[0m", "")


def frontier_chart(
    points: Sequence[tuple[str, float, float, float, float]],
    *,
    title: str,
    size: tuple[int, int],
    colour: bool,
) -> str:
    """Points with bands: cost to the right, on a scale of logarithms, quality up.

    Args:
        points: mark, cost above 0 in US dollars, quality 0..1, and the ends of its band; one at
            least. Of two on one place the later is seen.
    """
    from plotext import figure

    figure.clear()
    try:
        figure.theme("simple" if colour else "colorless")
        figure.plot_size(*size)
        spots = [(mark, math.log10(cost), 100 * q) for mark, cost, q, _, _ in points]
        for (_, _, _, low, high), (_, x, _) in zip(points, spots, strict=True):
            figure.draw(figure.signal([x, x], [100 * low, 100 * high], marker="│").lines())
        for mark, x, y in spots:
            figure.draw(figure.signal([x], [y], marker=mark))
        xs = sorted({round(x, 2) for _, x, _ in spots})
        shown = xs if len(xs) <= _TICKS else [xs[0], xs[len(xs) // 2], xs[-1]]
        figure.ruler("x").ticks(shown, [f"${10**x:.2g}" for x in shown])
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
