"""The quality table's arithmetic, against exact values worked out another way."""

import math
from fractions import Fraction

import pytest

from omni_cli.domain.errors import UsageError
from omni_cli.domain.quality import (
    NO_EVIDENCE,
    OTHER_TASK_WEIGHT,
    SIBLING_WEIGHT,
    Cell,
    Prior,
    QualityTable,
    beta_tail,
    family_key,
    outcome_counts,
)
from omni_cli.services.engine.quality import TableQuality


def exact_tail(alpha: int, beta: int, bar: Fraction) -> float:
    """P(Beta >= bar) for whole parameters, as a binomial sum in exact fractions."""
    n = alpha + beta - 1
    return float(sum(math.comb(n, j) * bar**j * (1 - bar) ** (n - j) for j in range(alpha)))


@pytest.mark.parametrize("alpha", [1, 2, 17, 200])
@pytest.mark.parametrize("beta", [1, 3, 60, 150])
@pytest.mark.parametrize("bar", ["1/100", "3/10", "1/2", "77/100", "99/100"])
def test_beta_tail_equals_the_binomial_sum(alpha: int, beta: int, bar: str) -> None:
    x = Fraction(bar)
    assert beta_tail(float(alpha), float(beta), float(x)) == pytest.approx(
        exact_tail(alpha, beta, x), abs=1e-11
    )


@pytest.mark.parametrize(
    ("alpha", "beta", "bar", "tail"),
    [
        # P(X >= x) of Beta(a, 1) is 1 - x^a and of Beta(1, b) is (1 - x)^b: closed forms.
        (0.5, 1.0, 0.25, 0.5),
        (2.5, 1.0, 0.81, 1 - 0.81**2.5),
        (1.0, 0.5, 0.75, 0.5),
        (1.0, 7.25, 0.1, 0.9**7.25),
        # The arcsine distribution, Beta(1/2, 1/2).
        (0.5, 0.5, 0.3, 1 - 2 / math.pi * math.asin(math.sqrt(0.3))),
    ],
)
def test_beta_tail_with_fractional_parameters(
    alpha: float, beta: float, bar: float, tail: float
) -> None:
    assert beta_tail(alpha, beta, bar) == pytest.approx(tail, abs=1e-11)


def test_beta_tail_at_the_ends_and_for_many_observations() -> None:
    assert beta_tail(3.0, 4.0, 0.0) == 1.0
    assert beta_tail(3.0, 4.0, 1.0) == 0.0
    assert beta_tail(1e5, 1e5, 0.5) == pytest.approx(0.5, abs=1e-8)


def test_a_known_chance_is_not_worked_out_again() -> None:
    cell = Cell(0.8, 20.0)
    cell.chance_at_least(0.7)
    before = beta_tail.cache_info()
    for _ in range(20):
        cell.chance_at_least(0.7)
    after = beta_tail.cache_info()
    assert (after.misses, after.hits) == (before.misses, before.hits + 20)


def test_a_cell_moves_with_what_is_seen() -> None:
    cell = Cell(0.75, 20.0, wins=6.0, losses=4.0)
    assert cell.mean == pytest.approx((15 + 6) / 30)
    assert cell.observations == 10.0


def test_a_prior_of_certainty_stays_a_distribution() -> None:
    assert 0.9 < Cell(1.0, 20.0).mean < 1.0
    assert 0.0 < Cell(0.0, 20.0).chance_at_least(0.01) < 1.0


@pytest.mark.parametrize(
    ("kind", "value", "counts"),
    [
        ("rating", 5, (1.0, 0.0)),
        ("rating", 4, (0.75, 0.25)),
        ("rating", 1, (0.0, 1.0)),
        ("thumb", 1, (1.0, 0.0)),
        ("thumb", 0, (0.0, 1.0)),
        ("retry", 1, (0.0, 0.5)),
        ("test", 0, (0.0, 1.0)),
        ("compare", 0.5, (0.5, 0.5)),
    ],
)
def test_outcome_weights(kind: str, value: float, counts: tuple[float, float]) -> None:
    assert outcome_counts(kind, value) == counts


@pytest.mark.parametrize(("kind", "value"), [("rating", 0), ("rating", 6), ("thumb", -1)])
def test_outcomes_outside_their_range_are_refused(kind: str, value: float) -> None:
    with pytest.raises(UsageError, match="outcome lies between"):
        outcome_counts(kind, value)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("openrouter/anthropic/claude-3.5-haiku", "anthropic/claude-3-5-haiku-20241022"),
        ("ollama/llama3.1:8b", "groq/llama-3.1-8b-instant"),
        ("openai/gpt-4o", "openai/gpt-4o-2024-08-06"),
        ("openrouter/qwen/qwen3-32b:free", "groq/qwen/qwen3-32b"),
        ("google/gemini-2.0-flash", "google/gemini-2.0-flash-001"),
        ("anthropic/claude-haiku-4-5", "bedrock/us.anthropic.claude-haiku-4-5-20251001-v1:0"),
        ("anthropic/claude-haiku-4-5", "vertex-anthropic/claude-haiku-4-5@20251001"),
        ("openrouter/amazon/nova-pro-v1", "bedrock/eu.amazon.nova-pro-v1:0"),
    ],
)
def test_the_same_model_elsewhere_has_the_same_family(left: str, right: str) -> None:
    assert family_key(left) == family_key(right)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("openai/gpt-4o", "openai/gpt-4o-mini"),
        ("openai/gpt-4", "openai/gpt-4-turbo"),
        ("ollama/llama3.1:8b", "ollama/llama3.1:70b"),
        ("mistral/mistral-large-2411", "mistral/mistral-large-2512"),
        ("anthropic/claude-opus-4-1", "anthropic/claude-opus-4-5"),
        ("ollama/qwen3:8b", "openrouter/qwen/qwen3.8-27b"),
    ],
)
def test_different_models_keep_different_families(left: str, right: str) -> None:
    assert family_key(left) != family_key(right)


def priors(task_type: str, model_id: str) -> Prior | None:
    known = {"coding": 0.8, "chat": 0.9}
    if family_key(model_id) != "good" or task_type not in known:
        return None
    return Prior(known[task_type], 20.0, "a benchmark")


def test_an_unknown_cell_says_so() -> None:
    cell = QualityTable().cell("coding", "local/mystery")
    assert (cell.mean, cell.strength, cell.basis) == (0.5, 2.0, NO_EVIDENCE)


def test_a_prior_is_used_and_named() -> None:
    cell = QualityTable(priors).cell("coding", "p/good")
    assert cell.mean == pytest.approx(0.8)
    assert cell.basis == "a benchmark"


def test_an_unknown_model_borrows_from_its_own_outcomes_at_other_tasks() -> None:
    table = QualityTable(priors, {("chat", "x/new"): (8.0, 0.0)})
    cell = table.cell("math", "x/new")
    seen = 8.0 * OTHER_TASK_WEIGHT
    assert cell.mean == pytest.approx((0.5 * 2.0 + seen) / (2.0 + seen))
    assert "outcomes at other tasks (8)" in cell.basis
    assert cell.observations == 0.0
    # At the task where they were seen they count once, in full.
    assert table.cell("chat", "x/new").wins == 8.0


def test_outcomes_at_another_provider_count_in_part() -> None:
    table = QualityTable(priors, {("coding", "a/good"): (4.0, 2.0)})
    assert table.cell("coding", "a/good").wins == 4.0
    sibling = table.cell("coding", "b/org/good")
    assert (sibling.wins, sibling.losses) == (4.0 * SIBLING_WEIGHT, 2.0 * SIBLING_WEIGHT)


def test_a_mixture_weighs_by_type() -> None:
    judge = TableQuality(QualityTable(priors))
    ((mean, _, basis),) = judge({"coding": 0.75, "chat": 0.25, "math": 0.0}, ["p/good"])
    assert mean == pytest.approx(0.75 * 0.8 + 0.25 * 0.9)
    assert basis == "a benchmark"


def test_a_mixture_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="above zero"):
        TableQuality(QualityTable())({"coding": 0.0}, ["p/good"])
