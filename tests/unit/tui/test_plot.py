"""Charts as text: every value where it belongs, at any size (tui.md D4)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from omni_cli.tui import plot
from omni_cli.tui.plot import Plot, Point, Series, Whisker, draw, merged, units
from omni_cli.tui.widgets.chart import Shown, legend

_VALUES = st.floats(0, 1e9, allow_nan=False)


def lines(made: Plot, size: tuple[int, int], **how: object) -> list[str]:
    return [line.plain for line in draw(made, size, **how).lines]  # type: ignore[arg-type]  # keywords of draw


def columns(*values: float, coming: tuple[float, ...] = (), level: float = 0.0) -> Plot:
    labels = tuple(f"{n:02d}" for n in range(len(values)))
    return Plot(labels, (Series("a", "red", values),), plot.short, coming=coming, level=level)


@given(_VALUES.filter(lambda v: v > 1e-6), st.integers(2, 60))
def test_ticks_are_round_and_all_has_room(top: float, height: int) -> None:
    worth, each = units(top, height)
    assert worth * height >= top * 0.999
    assert worth * height <= top * 3
    step = f"{worth * each:e}".split("e")[0].rstrip("0").rstrip(".")
    assert len(step) <= 3, step  # 1, 2.5, 8


@given(
    st.lists(st.tuples(_VALUES, _VALUES), min_size=1, max_size=90),
    st.integers(30, 200),
    st.integers(3, 40),
    st.booleans(),
)
def test_every_line_fits_and_all_of_the_width_is_used(
    values: list[tuple[float, float]], width: int, height: int, curves: bool
) -> None:
    labels = tuple(f"{n:02d}" for n in range(len(values)))
    series = tuple(Series(name, "red", tuple(v[n] for v in values)) for n, name in enumerate("ab"))
    drawn = draw(
        Plot(labels, series, plot.short, "curves" if curves else "columns"), (width, height)
    )
    assert len(drawn.lines) == height
    assert all(cell_len(line.plain) <= width for line in drawn.lines)
    assert drawn.slots[-1][1] == width
    assert len(drawn.slots) * drawn.each >= len(values)


@given(st.lists(_VALUES, min_size=1, max_size=60), st.integers(1, 60))
def test_merging_loses_nothing(values: list[float], most: int) -> None:
    small, each = merged(columns(*values), most)
    assert len(small.labels) <= most
    assert sum(v or 0 for v in small.series[0].values) == pytest.approx(sum(values))
    assert len(small.labels) == -(-len(values) // each)


def test_columns_are_as_high_as_their_value_in_eighths() -> None:
    drawn = lines(columns(8, 4, 0.5, 0), (18, 5))
    assert [line.rstrip() for line in drawn] == [
        "  ███",
        "4 ███",
        "  ███ ███",
        "0 ███ ███ ▂▂▂",
        "  00  01  02  03",
    ]


def test_little_is_not_nothing() -> None:
    ground = lines(columns(1_000_000, 1, 0), (40, 6))[-2]
    assert "▁" in ground
    assert ground.rstrip().endswith("▁")  # the last one is nothing


def test_two_series_share_a_cell_in_their_own_colours() -> None:
    made = Plot(("a",), (Series("x", "red", (1.5,)), Series("y", "blue", (2.5,))), plot.short)
    drawn = draw(made, (12, 5))
    middle = drawn.lines[2]
    styles = {str(span.style) for span in middle.spans}
    assert "red on blue" in styles
    assert "▄" in middle.plain


def test_without_colours_series_differ_by_their_fill() -> None:
    made = Plot(("a",), (Series("x", "red", (2.0,)), Series("y", "blue", (2.0,))), plot.short)
    drawn = lines(made, (12, 5), signs=True)
    assert "▓" in drawn[0]
    assert "█" in drawn[3]


def test_what_is_to_come_stands_on_today_and_a_level_crosses_all() -> None:
    drawn = lines(columns(4, 2, coming=(0, 2), level=3), (20, 9))
    assert any("█" in line and "░" in line for line in drawn)
    assert sum("─" in line for line in drawn) == 1


def test_curves_break_where_nothing_is_known() -> None:
    values = (1.0, 1.0, None, None, 1.0, 1.0)
    made = Plot(tuple("abcdef"), (Series("p95", "red", values),), plot.seconds, "curves")
    drawn = draw(made, (40, 6))
    row = next(
        line.plain for line in drawn.lines if any(0x2800 < ord(c) < 0x2900 for c in line.plain)
    )
    (gap, _), (_, after) = drawn.slots[2], drawn.slots[3]
    assert not row[gap + 1 : after - 1].strip()


def test_a_whisker_goes_from_low_to_high() -> None:
    drawn = plot.whisker(Whisker(0.5, 0.25, 0.75, "red"), 1.0, 40).plain
    assert (drawn.index("├"), drawn.index("┤")) == (10, 30)
    assert drawn.startswith("█" * 10)


def test_points_lie_by_cost_and_quality() -> None:
    points = [Point("A", 1, 0.2, "red"), Point("B", 9, 0.9, "red"), Point("C", 9, 0.9, "red")]
    drawn = [
        line.plain
        for line in plot.scatter(points, (60, 14), x_scale=plot.dollars, y_scale=plot.short)
    ]
    at = {m: (row.index(m), n) for n, row in enumerate(drawn) for m in "ABC" if m in row}
    assert at["A"][0] < min(at["B"][0], at["C"][0])
    assert abs(at["B"][0] - at["C"][0]) == 1  # two alike stand beside each other
    assert at["A"][1] > at["B"][1] == at["C"][1]


def test_the_reading_says_the_slot_its_sum_and_its_parts_largest_first() -> None:
    made = Plot(("a", "b"), (Series("x", "red", (1, 2)), Series("y", "blue", (3, 5))), plot.short)
    shown = Shown(made, "COST a day", ("Mon", "Tue"), lambda v: f"${v:.2f}")
    assert legend(shown, 1, 1, 80).plain == " Tue  $7.00  ■ y $5.00  ■ x $2.00"
    assert legend(shown, 0, 2, 80).plain.startswith(" Mon to Tue  $11.00")
    assert legend(shown, None, 1, 80).plain == "COST a day  ■ x  ■ y"
    # What has no room is counted: half a name may be another's.
    assert legend(shown, None, 1, 19).plain == "COST a day  ■ x  +1"
    assert legend(shown, None, 1, 16).plain == "COST a day  +2"
