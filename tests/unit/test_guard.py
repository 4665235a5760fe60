"""Conditions on which a deploy is taken back: what fires, how soon, and how seldom wrongly."""

import random

import pytest

from omni_cli.domain.errors import UsageError
from omni_cli.domain.guard import ALPHA, Call, evidence, parse_conditions

GOOD, BAD = Call(True, 1_000_000, 900), Call(False, 0, 900)


def shown(text: str, calls: list[Call]) -> list[bool]:
    return [one.shown for one in evidence(parse_conditions(text), calls)]


def test_conditions_as_they_are_written() -> None:
    found = parse_conditions("successRate < 0.95||costPerRequest>0.01 || p95 > 8000")
    assert [one.text for one in found] == [
        "successRate < 0.95",
        "costPerRequest > 0.01",
        "p95 > 8000",
    ]
    for wrong in (
        "",
        "successRate > 0.9",
        "cost > 1",
        "p95 < 3",
        "errorRate > 5",
        "p95 > -1",
        "a &&",
    ):
        with pytest.raises(UsageError):
            parse_conditions(wrong)


def test_a_dead_model_is_seen_within_a_few_calls() -> None:
    assert shown("successRate < 0.95", [BAD] * 2) == [False]
    assert shown("successRate < 0.95", [BAD] * 4) == [True]
    assert shown("errorRate > 0.05", [GOOD] * 30 + [BAD] * 6) == [True]


def test_money_and_time() -> None:
    dear = Call(True, 40_000_000, 900)
    assert shown("costPerRequest > 0.01", [dear] * 8) == [True]
    assert shown("costPerRequest > 0.01", [GOOD] * 5_000) == [False]
    slow = Call(True, 1, 9_000)
    assert shown("p95 > 8000", [slow] * 5) == [True]
    assert shown("p95 > 8000", [GOOD] * 95 + [slow] * 5) == [False]
    unknown = Call(True, None, None)
    (found,) = evidence(parse_conditions("costPerRequest > 0.01"), [unknown] * 50)
    assert (found.calls, found.value, found.shown) == (0, None, False)


def test_what_is_measured_is_told() -> None:
    found = evidence(parse_conditions("successRate < 0.9 || p95 > 8000"), [GOOD] * 19 + [BAD])
    assert [one.value for one in found] == [0.95, 900]
    assert [one.calls for one in found] == [20, 20]


@pytest.mark.slow
@pytest.mark.parametrize("text", ["successRate < 0.95", "costPerRequest > 0.01", "p95 > 1000"])
def test_false_rollbacks_stay_below_the_stated_rate(text: str) -> None:
    """Exactly at the bound, the worst case, looked at after every one of 400 calls."""
    dice = random.Random(5)
    runs, false = 1_000, 0
    for _ in range(runs):
        calls = [
            Call(
                dice.random() >= 0.05,
                round(dice.expovariate(1 / 10_000_000)),
                2_000 if dice.random() < 0.05 else 500,
            )
            for _ in range(400)
        ]
        false += shown(text, calls)[0]
    # Above this, chance alone would explain it in one of some thousands of tests.
    assert false <= runs * ALPHA + 3.5 * (runs * ALPHA) ** 0.5


@pytest.mark.parametrize("rate", [0.8, 0.5])
def test_harm_is_found(rate: float) -> None:
    dice = random.Random(6)
    found = sum(
        shown("successRate < 0.95", [Call(dice.random() < rate, 0, 1) for _ in range(200)])[0]
        for _ in range(100)
    )
    assert found >= 97
