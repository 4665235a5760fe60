"""Figures on a scale of five steps (tui.md D5)."""

from decimal import Decimal

from omni_cli.domain.evidence import BAD_RATE, WARNING_RATE
from omni_cli.tui import heat, text


def test_steps_follow_the_figure_and_the_unknown_has_none() -> None:
    assert [heat.latency(ms) for ms in (500, 2_000, 8_000, 20_000, 60_000)] == list(heat.STEPS)
    assert heat.success(0.5) == heat.GRADES[0]
    assert heat.success(1.0) == heat.quality(0.95) == heat.confidence(0.9) == heat.GRADES[-1]
    prices = [heat.rate(Decimal(usd), "output") for usd in ("0.1", "1", "10", "25", "75")]
    assert prices == list(heat.AMOUNTS)
    assert heat.rate(Decimal(15), "input") == heat.AMOUNTS[-1]
    unknown = heat.latency(None), heat.success(None), heat.rate(None, "input")
    assert {*unknown, heat.cost(None, [1]), heat.confidence(None)} == {""}


def test_a_success_rate_is_judged_alike_by_its_sign_and_its_tint() -> None:
    for share in (0.5, BAD_RATE - 0.001, BAD_RATE, 0.949, WARNING_RATE, 1.0):
        sign, step = text.rated(share), heat.success(share)
        assert (sign == text.SIGNS["error"]) is (step == heat.GRADES[0]) is (share < BAD_RATE)
        warns = BAD_RATE <= share < WARNING_RATE
        assert (sign == text.SIGNS["warning"]) is (step == heat.GRADES[1]) is warns


def test_an_amount_is_judged_among_its_columns() -> None:
    column = [1_000_000, 40_000_000, 5_000_000, None, 0]
    assert heat.cost(40_000_000, column) == heat.AMOUNTS[-1]
    assert heat.AMOUNTS.index(heat.cost(1_000_000, column)) < 3
    assert heat.cost(0, column) == heat.AMOUNTS[0]
    assert heat.saving(40_000_000, column) == heat.GOOD
    # Where all cost much the same none is shown as dear.
    alike = [900, 1_000, 950]
    assert {heat.cost(amount, alike) for amount in alike} == {heat.AMOUNTS[2]}
