"""What pairs of answers show, against simulated truth: false claims, power, intervals (B7)."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omni_cli.bootstrap import App
from omni_cli.domain.shadow import ALPHA, MARGIN, Claim, Pair, Shadow, evidence, least_pairs, wealth

Draw = Callable[[random.Random], float]


def _rates(champion: float, challenger: float) -> Draw:
    """Differences of answers that are right or wrong, at these rates."""
    return lambda rng: float(rng.random() < challenger) - float(rng.random() < champion)


def _points(mean: float, spread: float) -> Draw:
    """Differences of a judge's points, in tenths."""
    return lambda rng: max(-1.0, min(1.0, round(rng.gauss(mean, spread), 1)))


def _shown(draw: Draw, claim: str, *, repeats: int, pairs: int) -> float:
    """In which share of repeats ``claim`` was shown at any of the looks: e-values are the
    largest so far, so one look at the end is a look after every pair."""
    hits = 0
    for seed in range(repeats):
        rng = random.Random(seed)
        values = [draw(rng) for _ in range(pairs)]
        if claim == "worse":
            value = wealth([-value for value in values], MARGIN)[1]
        else:
            value = wealth(values, -MARGIN if claim == "good" else 0.0)[1]
        hits += value >= 1 / ALPHA
    return hits / repeats


@pytest.mark.parametrize(
    ("draw", "claim"),
    [
        (_rates(0.9, 0.9 - MARGIN), "good"),
        (_points(-MARGIN, 0.2), "good"),
        (_rates(0.8, 0.8), "better"),
        (_rates(0.9, 0.9 - MARGIN), "worse"),
    ],
)
def test_wrong_claims_stay_below_the_stated_risk(draw: Draw, claim: str) -> None:
    """At the very edge of each hypothesis, where a wrong claim is likeliest; 500 repeats."""
    assert _shown(draw, claim, repeats=500, pairs=150) <= ALPHA


def test_a_claim_lives_as_long_as_its_process(home: Path, engine: str) -> None:
    env = {"OMNI_HOME": str(home)}
    with App(env) as app, App(env) as other:
        shadow = Shadow(0, "coder", "a/b", "a/c", 1.0, {}, 1, None, "running", "")
        mine = app.shadow.shadows
        number = mine.start(shadow)
        assert mine.claim(number, 7) == Claim()
        theirs = other.shadow.shadows
        assert theirs.claim(number, 7) is None
        assert theirs.claim(number, 8) is not None
        mine.keep(number, 7, shadowed=9, answer="kept where the request's own texts are, only")
        mine.release(number, 7)
        assert theirs.claim(number, 7) == Claim()
        with app.store.transaction():  # whose process is gone
            app.store.db.execute("UPDATE shadow_claims SET owner = '1-gone', answer = 'said'")
        assert mine.claim(number, 7) == Claim(None, "said")
        mine.put(number, Pair(7, 9, 1, "", 1.0, 1.0, "check", None, 1, 1, 0))
        mine.release(number, 7)
        assert theirs.claim(number, 7) is None
        mine.say(number, 7, champion=1.0, challenger=0.5)
        (pair,) = mine.pairs(number)
        assert (pair.difference, pair.scored_by) == (-0.5, "user")


def test_a_users_own_words_keep_the_stated_risk() -> None:
    """The user judges what a judge had scored, in any order and looking after each word: of 500
    challengers at the very edge at most that share is ever shown good enough."""
    hits = 0
    for seed in range(500):
        rng = random.Random(seed)
        judged = [_points(-MARGIN, 0.2)(rng) for _ in range(80)]
        mine = [rng.choice([-0.5, 0.5, 0.0, 0.0, -0.5, 0.0, -0.1]) for _ in judged]
        order = rng.sample(range(80), 40)
        looks = [judged]
        for said in range(10, 41, 10):
            own = set(order[:said])
            looks.append([mine[i] if i in own else judged[i] for i in range(80)])
        hits += any(wealth(values, -MARGIN)[1] >= 1 / ALPHA for values in looks)
    assert hits / 500 <= ALPHA


def test_what_is_so_is_shown() -> None:
    assert _shown(_points(0.0, 0.2), "good", repeats=40, pairs=400) >= 0.9
    assert _shown(_points(-0.15, 0.25), "worse", repeats=40, pairs=300) >= 0.9
    assert _shown(_points(0.05, 0.2), "better", repeats=40, pairs=400) >= 0.9


@given(st.lists(st.sampled_from([-1.0, -0.3, 0.0, 0.1, 1.0]), min_size=1, max_size=40))
def test_the_interval_holds_the_mean_and_agrees_with_the_claims(values: list[float]) -> None:
    found = evidence(values)
    assert found.mean is not None
    assert found.low is not None
    assert found.high is not None
    assert -1 <= found.low <= found.mean + 1e-9
    assert found.mean - 1e-9 <= found.high <= 1
    mirrored = evidence([-value for value in values])
    assert mirrored.low == pytest.approx(-found.high)
    assert min(found.good_enough, found.better, found.worse) >= 1
    assert found.good_enough >= found.better - 1e-9  # the weaker claim is shown no later


def test_answers_that_never_differ_take_the_least_pairs() -> None:
    least = least_pairs()
    assert evidence([0.0] * least).shown() == "good enough"
    assert evidence([0.0] * (least - 1)).shown() == ""
    assert evidence([]).shown() == ""
