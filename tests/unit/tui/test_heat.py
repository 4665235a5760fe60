"""Figures on a scale of five steps (tui.md D5)."""

from omni_cli.tui import heat


def test_steps_follow_the_figure_and_the_unknown_has_none() -> None:
    assert [heat.latency(ms) for ms in (500, 2_000, 8_000, 20_000, 60_000)] == list(heat.STEPS)
    assert heat.success(0.5) == heat.GRADES[0]
    assert heat.success(1.0) == heat.quality(0.95) == heat.GRADES[-1]
    column = [1_000_000, 40_000_000, None, 0]
    assert heat.cost(40_000_000, column) == heat.STEPS[-1]
    assert heat.STEPS.index(heat.cost(1_000_000, column)) < 4
    assert heat.cost(0, column) == heat.STEPS[0]
    assert {heat.cost(None, column), heat.latency(None), heat.success(None)} == {""}
