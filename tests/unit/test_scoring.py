"""Scorers and assertions (D2)."""

import pytest

from omni_cli.domain.assertions import FIGURES, parse
from omni_cli.domain.errors import UsageError
from omni_cli.domain.scoring import Scorer, consistency, numbers, score, similarity, verdict


@pytest.mark.parametrize(
    ("kind", "expect", "answer", "value"),
    [
        ("exact", ("42",), " 42\n", 1.0),
        ("exact", ("42",), "It is 42", 0.0),
        ("exact", ("a", "b"), "b", 1.0),
        ("iexact", ("Straße",), "STRASSE", 1.0),
        ("contains", ("red", "blue"), "red and green", 0.5),
        ("contains", ("Red",), "red", 0.0),
        ("icontains", ("Red",), "red", 1.0),
        ("contains-any", ("red", "blue"), "blue", 1.0),
        ("icontains-any", ("RED", "BLUE"), "none", 0.0),
        ("regex", (r"^\d{4}-\d\d$",), "date:\n2026-05", 1.0),
        ("numeric", ("1234.5",), "First 7, so the sum is 1,234.50.", 1.0),
        ("numeric", ("144",), "12 * 12 = 145", 0.0),
        ("numeric", ("1e3",), "1000", 1.0),
        ("numeric", ("-5",), "minus: -5", 1.0),
        ("numeric", ("5",), "five", 0.0),
        ("similarity", ("the cat sat",), "sat the cat", 1.0),
    ],
)
def test_scores(kind: str, expect: tuple[str, ...], answer: str, value: float) -> None:
    assert score(Scorer(kind, expect), answer).value == value


def test_tolerance_and_negation() -> None:
    near = Scorer("numeric", ("3.14",), {"tolerance": 0.01})
    assert score(near, "3.1416").value == 1.0
    assert score(Scorer("contains", ("sorry",), negate=True), "I am sorry").value == 0.0
    assert score(Scorer("contains", ("sorry",), negate=True), "Here it is").value == 1.0


def test_what_cannot_score_is_said() -> None:
    with pytest.raises(UsageError, match="needs something to expect"):
        score(Scorer("exact"), "x")
    with pytest.raises(UsageError, match="no regular expression"):
        score(Scorer("regex", ("(",)), "x")
    with pytest.raises(UsageError, match="no number"):
        score(Scorer("numeric", ("many",)), "5")


def test_numbers_and_words() -> None:
    assert numbers("1,234 and .5, then -2e3") == [1234.0, 0.5, -2000.0]
    assert similarity("a b c d", "a b x y") == 0.5
    assert similarity("", "") == 1.0
    assert consistency(["a"]) is None
    assert consistency(["a b", "a b", "a x"]) == pytest.approx((1 + 0.5 + 0.5) / 3)
    assert [verdict(v) for v in (1.0, 0.8, 0.5, 0.39)] == [
        "accurate",
        "accurate",
        "partial",
        "failed",
    ]


FIGURE = dict.fromkeys(FIGURES, None) | {"accuracy": 0.92, "costPerRequest": 0.004}


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("accuracy >= 0.9 && costPerRequest < 0.01", True),
        ("accuracy>=0.95", False),
        ("accuracy > 0.95 || costPerRequest <= 4e-3", True),
        ("!(accuracy < 0.9)", True),
        ("(accuracy > 0.95 || accuracy < 0.1) && costPerRequest < 1", False),
        ("totalCost < 5", False),  # unknown
    ],
)
def test_assertions(text: str, holds: bool) -> None:
    assertion = parse(text)
    assert assertion.model is None
    assert assertion.test(FIGURE) is holds


def test_assertion_of_one_model() -> None:
    assertion = parse("ollama/llama3.1:70b: accuracy >= 0.9")
    assert assertion.model == "ollama/llama3.1:70b"
    assert assertion.test(FIGURE)


@pytest.mark.parametrize(
    "text",
    ["accuracy", "speed > 1", "accuracy >> 1", "accuracy > x", "accuracy > 1 &&", "(accuracy > 1"],
)
def test_assertions_that_do_not_fit(text: str) -> None:
    with pytest.raises(UsageError, match="does not fit at"):
        parse(text)
