"""The chart of every screen: columns or curves over time, with a cursor that reads out a slot; and
the bar of a budget. What is drawn is in ``tui/plot.py``."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from msgspec import Struct
from textual import events
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.message import Message
from textual.reactive import reactive
from textual.widget import Widget

from omni_cli.tui.plot import COMING, FILLS, LEVEL, Drawn, Plot, draw, merged

#: The sign of curves in a legend.
_LINE = "━"


class Shown(Struct, frozen=True):
    """``heading`` stands before the legend. ``names``: of each slot, as the reading says it ("Tue
    2026-02-03"). ``tell`` writes a value exactly. ``level``: what the line across is."""

    plot: Plot
    heading: str
    names: tuple[str, ...]
    tell: Callable[[float], str]
    level: str = ""
    coming: str = "projected"
    #: Instead of the names of series, where they stand beside the chart.
    hint: str = ""


class Chart(Widget, can_focus=True):
    """Call ``put``. Left and right read out a slot in the first line, Enter opens it.

    Attributes:
        cursor: the slot that is read out, of those that are drawn; None for none.
    """

    DEFAULT_CSS = """
    Chart { height: 1fr; width: 1fr; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left,h", "step(-1)", "Read out", key_display="←→"),
        Binding("right,l", "step(1)", "Read out", show=False),
        Binding("home", "jump(0)", "First", show=False),
        Binding("end", "jump(-1)", "Last", show=False),
        Binding("enter", "open", "Zoom"),
    ]
    cursor: reactive[int | None] = reactive(None)

    @dataclass
    class Opened(Message):
        """``first`` to ``last``: the slots of what was put that were opened, both included."""

        chart: "Chart"
        first: int
        last: int

        @property
        def control(self) -> "Chart":
            return self.chart

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002  # Textual's own name
        super().__init__(id=id)
        self._shown: Shown | None = None
        self._drawn = Drawn((), (), 1)

    def put(self, shown: Shown) -> None:
        """Draw this; the cursor stays where it was while there are as many slots."""
        before = self._shown
        if before is None or len(before.names) != len(shown.names):
            self.cursor = None
        self._shown = shown
        self.refresh()

    @property
    def drawn(self) -> Drawn:
        """As last rendered: for clicks and tests."""
        return self._drawn

    def render(self) -> Content:
        shown = self._shown
        width, height = self.content_size
        if shown is None or height < 3:
            return Content("")
        plain = self.app.no_color
        self._drawn = draw(shown.plot, (width, height - 1), cursor=self.cursor, signs=plain)
        first = legend(shown, self.cursor, self._drawn.each, width, signs=plain)
        return Content("\n").join([first, *self._drawn.lines])

    # --- the cursor --------------------------------------------------------------------------

    def action_step(self, by: int) -> None:
        """From nowhere to the last slot, else to a neighbour."""
        slots = len(self._drawn.slots)
        if slots:
            here = self.cursor
            self.cursor = slots - 1 if here is None else min(max(here + by, 0), slots - 1)

    def action_jump(self, to: int) -> None:
        slots = len(self._drawn.slots)
        self.cursor = None if not slots else slots - 1 if to else 0

    def action_open(self) -> None:
        """Open the slot of the cursor, without one the last."""
        shown, each, slots = self._shown, self._drawn.each, len(self._drawn.slots)
        if shown is None or not slots:
            return
        at = slots - 1 if self.cursor is None else self.cursor
        last = min((at + 1) * each, len(shown.names)) - 1
        self.post_message(self.Opened(self, at * each, last))

    def on_blur(self) -> None:
        self.refresh()

    def on_click(self, event: events.Click) -> None:
        x = event.x - self.gutter.left
        for slot, (first, after) in enumerate(self._drawn.slots):
            if first <= x < after:
                if self.cursor == slot:
                    self.action_open()
                self.cursor = slot
                return


def legend(
    shown: Shown, cursor: int | None, each: int, width: int, *, signs: bool = False
) -> Content:
    """Heading and series; with a cursor what they are there, the largest first. In ``width`` cells:
    what has no room is counted, not cut."""
    plot = shown.plot
    parts = list[Content]()
    if cursor is None or cursor * each >= len(shown.names):
        heading = Content.styled(shown.heading, "bold $primary")
        if plot.level and shown.level:
            parts.append(Content.assemble(LEVEL, f" {shown.level}"))
        if any(plot.coming) or any(high > low for low, high in filter(None, plot.cone)):
            parts.append(Content.assemble(COMING, f" {shown.coming}"))
        if shown.hint:
            parts.append(Content.styled(shown.hint, "$foreground-muted"))
        for n, series in enumerate(() if shown.hint else plot.series):
            parts.append(_swatch(plot, n, signs) + Content(f" {series.name}"))
        return _within(heading, parts, width)
    first, last = cursor * each, min((cursor + 1) * each, len(shown.names)) - 1
    name = shown.names[first] + (f" to {shown.names[last]}" if last > first else "")
    small, _ = merged(plot, -(-len(plot.labels) // each))
    heading = Content.styled(f" {name} ", "bold reverse")
    if plot.kind == "columns" and (small.sum(cursor) or not any(small.coming)):
        heading += Content.styled(f" {shown.tell(small.sum(cursor))}", "bold")
    values = [(s.values[cursor], n) for n, s in enumerate(small.series)]
    for value, n in sorted(values, key=lambda pair: -(pair[0] or 0.0)):
        if value is not None and (value or plot.kind == "curves"):
            said = f" {plot.series[n].name} {shown.tell(value)}"
            parts.append(_swatch(plot, n, signs) + Content(said))
    if small.coming and small.coming[cursor]:
        parts.append(Content.assemble(COMING, f" {shown.tell(small.coming[cursor])} to come"))
    pair = small.cone[cursor] if small.cone else None
    if pair is not None:
        low, high = map(shown.tell, pair)
        parts.append(Content.assemble(COMING, f" {low} to {high}"))
    return _within(heading, parts, width)


def _within(line: Content, parts: Sequence[Content], width: int) -> Content:
    """The first of the parts that fit, and how many do not."""
    for n, part in enumerate(parts):
        left = len(parts) - n
        more = 0 if left == 1 else len(f"  +{left - 1}")
        if line.cell_length + 2 + part.cell_length + more > width:
            return (line + Content.styled(f"  +{left}", "$foreground-muted")).truncate(width)
        line += Content("  ") + part
    return line


def _swatch(plot: Plot, n: int, signs: bool) -> Content:
    sign = plot.series[n].mark if plot.kind == "columns" else _LINE
    if signs:
        sign = FILLS[n % len(FILLS)] if plot.kind == "columns" else ("━", "┅", "┉")[min(n, 2)]
    return Content.styled(sign, plot.series[n].style)


_FREE, _HELD, _ALERT, _STOP = "░", "▒", "┊", "┃"


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
