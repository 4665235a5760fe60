"""The sequential test against simulated truth: false promotions, power, coverage (B7)."""

import itertools
import random

import pytest

from omni_cli.domain.abtest import champions_per_block, evidence

ALPHA = 0.05


def _stream(rng: random.Random, rate: float, count: int) -> list[bool]:
    return [rng.random() < rate for _ in range(count)]


@pytest.mark.parametrize("champions", [1, 2])
@pytest.mark.parametrize("rate", [0.05, 0.5, 0.9])
def test_the_e_values_mean_is_at_most_one(champions: int, rate: float) -> None:
    """Exactly, over every outcome of three blocks of an equal challenger: the last value of an
    e-process has an expectation of 1 at most."""
    blocks = 3
    mean = 0.0
    for outcome in itertools.product((False, True), repeat=blocks * (champions + 1)):
        chance = 1.0
        for good in outcome:
            chance *= rate if good else 1 - rate
        a, b = list(outcome[: blocks * champions]), list(outcome[blocks * champions :])
        # The largest value so far can exceed that mean; the process itself is followed here.
        value = _product(a, b, champions)
        mean += chance * value
    assert mean <= 1.0 + 1e-9


def _product(a: list[bool], b: list[bool], champions: int) -> float:
    """The better-process' value now, from its maxima: they differ only where it has fallen."""
    import math

    good = [0, 0]
    log = 0.0
    for block in range(len(b)):
        p = (good[0] + 0.18) / (block * champions + 0.36)
        q = (good[1] + 0.18) / (block + 0.36)
        wins = sum(a[block * champions : (block + 1) * champions])
        if q > p:
            mixed = (champions * p + q) / (champions + 1)
            log += wins * math.log(p / mixed)
            log += (champions - wins) * math.log((1 - p) / (1 - mixed))
            log += math.log(q / mixed) if b[block] else math.log((1 - q) / (1 - mixed))
        good[0] += wins
        good[1] += b[block]
    found = evidence(a, b, champions=champions)
    assert found.better >= math.exp(log) - 1e-12
    return math.exp(log)


@pytest.mark.parametrize(("rate", "share"), [(0.9, 0.5), (0.6, 0.25), (0.3, 0.5)])
def test_false_promotions_stay_below_the_stated_rate(rate: float, share: float) -> None:
    """An equal challenger, looked at after every conversation: ``better`` is the largest e-value
    of all looks, so this counts whoever would have promoted at any of them."""
    rng = random.Random(17)
    champions = champions_per_block(share)
    promoted = stopped = 0
    trials = 400
    for _ in range(trials):
        a = _stream(rng, rate, 200 * champions)
        b = _stream(rng, rate, 200)
        found = evidence(a, b, champions=champions, alpha=ALPHA)
        promoted += found.shown_better(ALPHA)
        stopped += found.shown_worse(ALPHA)
    assert promoted / trials <= ALPHA
    assert stopped / trials <= ALPHA


def test_a_worse_challenger_is_promoted_even_more_seldom() -> None:
    rng = random.Random(3)
    promoted = 0
    for _ in range(300):
        a, b = _stream(rng, 0.8, 300), _stream(rng, 0.7, 300)
        promoted += evidence(a, b, champions=1).shown_better(ALPHA)
    assert promoted / 300 <= ALPHA


def test_clear_differences_are_found() -> None:
    rng = random.Random(9)
    worse = better = 0
    for _ in range(100):
        a = _stream(rng, 0.95, 150)
        worse += evidence(a, _stream(rng, 0.6, 150), champions=1).shown_worse(ALPHA)
        better += evidence(
            _stream(rng, 0.5, 150), _stream(rng, 0.85, 150), champions=1
        ).shown_better(ALPHA)
    assert worse >= 95
    assert better >= 95


@pytest.mark.slow
def test_confidence_sequences_hold_at_all_times() -> None:
    """The truth is inside both intervals after every tenth outcome in at least 95 % of runs."""
    rng = random.Random(21)
    held = 0
    for _ in range(200):
        a, b = _stream(rng, 0.8, 200), _stream(rng, 0.8, 200)
        inside = True
        for n in range(10, 201, 10):
            found = evidence(a[:n], b[:n], champions=1, alpha=ALPHA)
            assert found.champion is not None
            assert found.challenger is not None
            inside &= found.champion[1] <= 0.8 <= found.champion[2]
            inside &= found.challenger[1] <= 0.8 <= found.challenger[2]
        held += inside
    assert held / 200 >= 0.95


def test_margin_and_blocks() -> None:
    assert champions_per_block(0.1) == 9
    assert champions_per_block(0.5) == 1
    assert champions_per_block(0.9) == 1
    same = evidence([True] * 2000, [True] * 2000, champions=1)
    assert same.within(0.05)
    assert not same.shown_better()
    few = evidence([True] * 9, [True], champions=9)
    assert (few.blocks, few.within(0.05)) == (1, False)
    none = evidence([], [], champions=9)
    assert (none.better, none.champion, none.within(1.0)) == (1.0, None, False)
