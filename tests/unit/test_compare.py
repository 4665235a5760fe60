"""Results of comparisons: figures, winners, and "no difference shown" when that is the truth."""

import random

import pytest

from omni_cli.domain.compare import Outcome, results
from omni_cli.services.judge.compare_documents import intervals_document, results_document


def _answers(
    name: str,
    scores: list[float],
    *,
    cost: int = 1_000_000,
    ms: int = 1000,
    seed: int = 0,
) -> list[Outcome]:
    rng = random.Random(f"{name}{seed}")
    return [
        Outcome(
            name,
            f"p{n}",
            0,
            True,
            score,
            round(ms * rng.uniform(0.8, 1.2)),
            round(cost * rng.uniform(0.9, 1.1)),
            "text",
        )
        for n, score in enumerate(scores)
    ]


def test_documents_have_the_specs_fields() -> None:
    found = results(_answers("a", [1, 0, 0.5]) + _answers("b", [1, 1, 1]), ["a", "b"])
    document = results_document(found)
    assert set(document) == {"summary", "detailedResults", "recommendations"}
    assert set(document["summary"]) == {
        "winner",
        "bestForCost",
        "bestForSpeed",
        "bestForAccuracy",
    }
    detail = document["detailedResults"]["a"]
    assert detail["quality"] == {"accurateResults": 1, "partialResults": 1, "failedResults": 1}
    assert set(detail["performance"]) == {
        "avgResponseTime",
        "successRate",
        "accuracyScore",
        "consistencyScore",
    }
    assert detail["performance"]["accuracyScore"] == 0.5
    assert detail["cost"]["costPerAccurateResult"] == detail["cost"]["totalCost"]


def test_figures_are_exact_by_hand() -> None:
    own = [
        Outcome("a", "p", 0, True, 1.0, 100, 1_000_000, "same words"),
        Outcome("a", "p", 1, True, 0.0, 300, 3_000_000, "same words"),
        Outcome("a", "q", 0, False, None, 50, 0),
    ]
    detail = results_document(results(own, ["a"]))["detailedResults"]["a"]
    assert detail["performance"] == {
        "avgResponseTime": 200.0,
        "successRate": pytest.approx(2 / 3, abs=1e-6),
        "accuracyScore": 0.25,  # p: 0.5, q: 0
        "consistencyScore": 1.0,
    }
    assert detail["cost"] == {
        "totalCost": 0.004,
        "costPerRequest": pytest.approx(0.004 / 3, rel=1e-6),
        "costPerAccurateResult": 0.004,
    }
    assert detail["quality"] == {"accurateResults": 1, "partialResults": 0, "failedResults": 2}


def test_a_clear_winner_by_accuracy() -> None:
    rng = random.Random(1)
    good = [float(rng.random() < 0.95) for _ in range(60)]
    poor = [float(rng.random() < 0.5) for _ in range(60)]
    found = results(
        _answers("dear", good, cost=9_000_000) + _answers("poor", poor), ["dear", "poor"]
    )
    assert found.winner == "dear"
    assert found.best["accuracy"].name == "dear"
    assert found.best["cost"].name == "poor"
    first = found.recommendations[0]
    assert first.reason == "the best accuracy"
    assert first.confidence > 0.95
    assert any(text.startswith("costs ") for text in first.tradeoffs)
    cheap = next(r for r in found.recommendations if r.model == "poor")
    assert any("lower than dear" in text for text in cheap.tradeoffs)


def test_the_cheaper_of_two_equally_good_wins() -> None:
    scores = [1.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0, 1.0]
    found = results(
        _answers("dear", scores, cost=8_000_000) + _answers("cheap", scores), ["dear", "cheap"]
    )
    assert found.best["accuracy"].name is None
    assert set(found.best["accuracy"].tied) == {"dear", "cheap"}
    assert found.winner == "cheap"
    assert "cheapest of those whose accuracy is not shown to be lower" in (
        found.recommendations[0].reason
    )


def test_no_difference_is_said_where_none_is_shown() -> None:
    one = [
        Outcome("a", "p", 0, True, 1.0, 100, 5, "x"),
        Outcome("b", "p", 0, True, 0.0, 300, 9, "y"),
    ]
    found = results(one, ["a", "b"])
    assert found.winner is None
    assert {best.name for best in found.best.values()} == {None}
    assert found.recommendations == ()


def test_equal_models_are_seldom_told_apart() -> None:
    """Simulated truth: equal accuracy, cost and speed give a winner in about 1 of 7 cases at
    most: three looks at 5 % each."""
    rng = random.Random(5)
    winners = 0
    for trial in range(150):
        a = [float(rng.random() < 0.7) for _ in range(25)]
        b = [float(rng.random() < 0.7) for _ in range(25)]
        both = _answers("a", a, seed=trial) + _answers("b", b, seed=trial)
        winners += results(both, ["a", "b"]).winner is not None
    assert winners / 150 < 0.2


def test_repetitions_of_a_single_prompt_are_its_units() -> None:
    a = [Outcome("a", "p", n, True, 1.0, 100 + n, 5, "x") for n in range(8)]
    b = [Outcome("b", "p", n, True, 0.0, 300 + n, 9, "y") for n in range(8)]
    found = results(a + b, ["a", "b"])
    assert (found.winner, found.best["speed"].name) == ("a", "a")


def test_unknown_cost_stays_unknown() -> None:
    own = [Outcome("a", "p", 0, True, 1.0, 100, None), Outcome("b", "p", 0, True, 1.0, 100, 7)]
    found = results(own, ["a", "b"])
    document = results_document(found)
    assert document["detailedResults"]["a"]["cost"] == {
        "totalCost": None,
        "costPerRequest": None,
        "costPerAccurateResult": None,
    }
    assert document["summary"]["bestForCost"] is None


def test_without_scores_accuracy_is_unknown() -> None:
    own = [Outcome(name, f"p{n}", 0, True, None, 100, 5) for name in "ab" for n in range(6)]
    found = results(own, ["a", "b"])
    document = results_document(found)
    assert document["detailedResults"]["a"]["performance"]["accuracyScore"] is None
    assert document["summary"]["bestForAccuracy"] is None
    assert intervals_document(found)["intervals"]["a"]["accuracyScore"] is None


def test_a_model_that_never_answers_wins_nothing() -> None:
    dead = [Outcome("dead", f"p{n}", 0, False, None, None, 0) for n in range(6)]
    found = results(dead + _answers("live", [1.0, 1.0, 0.0, 1.0, 1.0, 0.0]), ["dead", "live"])
    assert found.winner == "live"
    assert found.best["cost"].name in (None, "live")


def test_all_right_claims_no_certainty() -> None:
    found = results(_answers("a", [1.0] * 5), ["a"])
    low, high = intervals_document(found)["intervals"]["a"]["accuracyScore"]
    assert 0.5 < low < 0.7
    assert high == 1.0


def test_one_model_wins_nothing_and_has_no_superlative() -> None:
    found = results(_answers("a", [1.0] * 5), ["a"])
    assert (found.winner, found.recommendations) == (None, ())
    assert {best.name for best in found.best.values()} == {None}
    assert found.no_winner == "one model, nothing to compare it with"


def test_failures_are_not_crowned() -> None:
    """Six answers each and none of them accurate, one model cheaper and faster by far."""
    found = results(
        _answers("dear", [0.0] * 6, cost=9_000_000, ms=4000) + _answers("cheap", [0.0] * 6),
        ["dear", "cheap"],
    )
    assert (found.winner, found.no_winner) == (None, "no accurate answer")
    assert found.best["cost"].name == "cheap"  # a fact of the figures, no praise
    assert found.recommendations == ()


def _unpriced(name: str, *, ms: int) -> list[Outcome]:
    return [Outcome(name, f"p{n}", 0, True, 1.0, ms + n, None, "x") for n in range(6)]


def test_an_unknown_price_neither_loses_nor_makes_the_other_win() -> None:
    known = _answers("known", [1.0] * 6, ms=4000)
    found = results(known + _unpriced("mystery", ms=400), ["known", "mystery"])
    assert found.best["cost"].name is None
    assert (found.winner, found.best["speed"].name) == ("mystery", "mystery")
    (only,) = found.recommendations
    assert "its price is unknown" in only.tradeoffs
    assert only.confidence <= 1 - 1 / 8
    # As fast as each other: nothing is left to tell them apart.
    same = results(_unpriced("known", ms=400) + _unpriced("mystery", ms=400), ["known", "mystery"])
    assert (same.winner, same.recommendations) == (None, ())


def test_who_alone_answered_wins_with_a_capped_confidence() -> None:
    dead = [Outcome("dead", f"p{n}", 0, False, None, None, 0) for n in range(6)]
    found = results(dead + _answers("live", [1.0] * 6), ["dead", "live"])
    (only,) = found.recommendations
    assert (found.winner, only.reason) == ("live", "the only one that answered")
    assert only.confidence == pytest.approx(1 - 1 / 8)
    assert found.best["speed"].name is None
    unasked = results(_answers("live", [1.0] * 6), ["unasked", "live"])
    assert unasked.winner is None


def test_without_a_scorer_nobody_wins() -> None:
    rows = [
        Outcome(name, f"p{n}", 0, True, None, 100 + n, cost + n)
        for name, cost in (("a", 5), ("b", 5_000))
        for n in range(6)
    ]
    found = results(rows, ["a", "b"])
    assert (found.winner, found.best["cost"].name) == (None, "a")
    assert "nothing to score the answers by" in found.no_winner
