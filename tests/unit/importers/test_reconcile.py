"""An invoice against the ledger: what differs, what is missing, what rounding explains."""

from decimal import Decimal

from omni_cli.domain.imports import InvoiceLine, TokenKind
from omni_cli.services.money.reconciling import Drift, compare

DAY = "2026-03-01"


def tokens(kind: TokenKind, n: int, model: str | None = "m", day: str = DAY) -> InvoiceLine:
    return InvoiceLine(day, model, kind, tokens=n)


def cost(
    kind: TokenKind, n: int, model: str | None = "m", day: str = DAY, rounding: int = 0
) -> InvoiceLine:
    return InvoiceLine(day, model, kind, cost_nusd=n, rounding_nusd=rounding)


def test_equal_sides_however_their_lines_are_cut() -> None:
    ours = [tokens("input", 60), tokens("input", 40), tokens("output", 5)]
    assert compare(ours, [tokens("output", 5), tokens("input", 100)]) == []
    assert compare([], []) == []


def test_a_difference_has_its_size_and_share() -> None:
    ours, theirs = [tokens("cached", 90)], [tokens("cached", 120)]
    (drift,) = compare(ours, theirs)
    assert drift == Drift(DAY, "m", "cached", "tokens", "differs", 90, 120)
    assert (drift.difference, drift.percent) == (-30, Decimal("-25.00"))


def test_what_is_missing_on_either_side_is_named() -> None:
    ours = [tokens("input", 5, "a"), tokens("input", 7, "b")]
    theirs = [tokens("input", 5, "a"), tokens("input", 9, "c")]
    found = {d.model: (d.finding, d.difference, d.percent) for d in compare(ours, theirs)}
    assert found == {
        "b": ("missing_on_invoice", 7, None),
        "c": ("missing_in_ledger", -9, Decimal("-100.00")),
    }


def test_only_the_invoices_days_providers_and_measures_count() -> None:
    other_day = tokens("input", 1, day="2026-02-28")
    other_provider = InvoiceLine(DAY, "m", "input", tokens=3, provider="openai")
    priced = cost("input", 500)
    theirs = [InvoiceLine(DAY, "m", "input", tokens=5, provider="anthropic")]
    ours = [tokens("input", 5), other_day, other_provider, priced]
    assert compare(ours, theirs) == []


def test_money_is_compared_at_the_level_both_sides_have() -> None:
    split = [cost("input", 300), cost("output", 700)]
    assert compare(split, [cost("total", 1000)]) == []
    assert compare([cost("total", 1000)], split) == []
    assert compare([*split, cost("total", 50, "n")], [cost("total", 1050, None)]) == []
    (drift,) = compare(split, [cost("total", 900)])
    assert (drift.kind, drift.measure, drift.difference) == ("total", "cost", 100)


def test_tokens_without_a_models_name_are_compared_by_day() -> None:
    ours = [tokens("input", 60, "a"), tokens("input", 40, "b")]
    assert compare(ours, [tokens("input", 100, None)]) == []


def test_a_fee_without_a_model_is_its_own_line() -> None:
    theirs = [cost("input", 300), cost("web_search", 10, None)]
    (drift,) = compare([cost("input", 300)], theirs)
    assert (drift.model, drift.kind, drift.finding) == (None, "web_search", "missing_in_ledger")


def test_rounding_on_paper_and_tolerance_are_allowed_for() -> None:
    ours = [cost("input", 1_234_567_890)]
    printed = [cost("input", 1_230_000_000, rounding=5_000_000)]
    assert compare(ours, printed) == []
    assert len(compare(ours, [cost("input", 1_230_000_000)])) == 1
    assert compare(ours, [cost("input", 1_230_000_000)], tolerance_nusd=5_000_000) == []
    assert len(compare([cost("input", 1_240_000_000)], printed)) == 1
