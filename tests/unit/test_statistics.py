"""domain/statistics.py against scipy, and against simulated truth (D2, B7)."""

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from omni_cli.domain import statistics as own

_DRAWN = random.Random(3)
SAMPLES = [
    [1.0, 2.0],
    [3.5, 1.25, 9.0, 4.0],
    [0.1 * n for n in range(1, 40)],
    [_DRAWN.gauss(10, 4) for _ in range(200)],
]


@pytest.mark.parametrize("good", [0, 1, 7, 19, 20])
@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
def test_wilson_is_scipys(good: int, confidence: float) -> None:
    found = own.wilson(good, 20, confidence)
    theirs = stats.binomtest(good, 20).proportion_ci(confidence, method="wilson")
    assert found is not None
    assert found.value == good / 20
    assert found.low == pytest.approx(theirs.low, abs=1e-9)
    assert found.high == pytest.approx(theirs.high, abs=1e-9)


def test_no_trials_give_no_interval() -> None:
    assert own.wilson(0, 0) is None
    assert own.rate_difference(1, 2, 0, 0) is None
    assert own.mean_interval([]) is None
    assert own.paired_difference([]) is None


@pytest.mark.parametrize("values", SAMPLES)
def test_mean_interval_is_students(values: list[float]) -> None:
    found = own.mean_interval(values)
    low, high = stats.t.interval(
        0.95, len(values) - 1, loc=sum(values) / len(values), scale=stats.sem(values)
    )
    assert found is not None
    assert (found.low, found.high) == pytest.approx((low, high), rel=1e-6)


@settings(max_examples=60, deadline=None)
@given(st.floats(0.5, 0.999), st.integers(1, 500))
def test_t_quantile_is_scipys(confidence: float, freedom: int) -> None:
    theirs = stats.t.ppf(0.5 + confidence / 2, freedom)
    assert own.t_quantile(confidence, freedom) == pytest.approx(theirs, rel=1e-5)


@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 0.95, 1.0])
@pytest.mark.parametrize("values", SAMPLES)
def test_percentile_is_scipys(values: list[float], share: float) -> None:
    theirs = stats.scoreatpercentile(values, share * 100)
    assert own.percentile(values, share) == pytest.approx(theirs)


def test_spearman_is_scipys_with_ties() -> None:
    pairs = [(1.0, 2.0), (2.0, 2.0), (2.0, 5.0), (4.0, 4.0), (5.0, 9.0), (6.0, 1.0)]
    theirs = stats.spearmanr([a for a, _ in pairs], [b for _, b in pairs]).statistic
    assert own.spearman(pairs) == pytest.approx(theirs)
    assert own.spearman([(1.0, 1.0), (1.0, 2.0), (1.0, 3.0)]) is None


def test_newcombes_published_example() -> None:
    """Newcombe (1998), table II, method 10: 56/70 against 48/80 gives 0.0524 to 0.3339."""
    found = own.rate_difference(56, 70, 48, 80)
    assert found is not None
    assert (found.low, found.high) == pytest.approx((0.0524, 0.3339), abs=5e-5)


def test_bootstrap_agrees_with_scipy() -> None:
    values = SAMPLES[3]
    found = own.bootstrap(len(values), lambda picks: own.mean([values[i] for i in picks]), seed=1)
    theirs = stats.bootstrap(
        (values,),
        lambda x, axis: x.mean(axis=axis),
        method="percentile",
        rng=1,
        n_resamples=2000,
    ).confidence_interval
    assert found is not None
    width = theirs.high - theirs.low
    assert found.low == pytest.approx(theirs.low, abs=0.1 * width)
    assert found.high == pytest.approx(theirs.high, abs=0.1 * width)


def test_bootstrap_of_what_has_no_value() -> None:
    assert own.bootstrap(3, lambda picks: None) is None
    assert own.bootstrap(0, lambda picks: 1.0) is None


def test_few_equal_differences_show_nothing() -> None:
    found = own.paired_difference([(1.0, 0.0), (1.0, 0.0)])
    assert found is not None
    assert not found.excludes(0.0)
    shown = own.paired_difference([(1.0, 0.0)] * 5)
    assert shown is not None
    assert shown.excludes(0.0)


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    """Simulated truth: at least 93 % of nominal 95 % intervals hold it."""
    rng = random.Random(11)
    held = 0
    for _ in range(600):
        good = sum(rng.random() < 0.8 for _ in range(40))
        found = own.wilson(good, 40)
        assert found is not None
        held += found.low <= 0.8 <= found.high
    assert held / 600 >= 0.93
    held = 0
    for _ in range(400):
        found = own.mean_interval([rng.gauss(3, 2) for _ in range(8)])
        assert found is not None
        held += found.low <= 3 <= found.high
    assert held / 400 >= 0.93


def test_one_value_bounds_nothing() -> None:
    found = own.mean_interval([4.0])
    assert found is not None
    assert (found.low, found.high) == (-math.inf, math.inf)
