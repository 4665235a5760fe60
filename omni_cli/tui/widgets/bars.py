"""Bars in a line: two parts against a common top, and a budget with its marks."""

from collections.abc import Sequence

from textual.content import Content

from omni_cli.tui.widgets.chart import LOWER, UPPER

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
