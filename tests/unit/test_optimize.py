"""Replays of decisions under other settings (D4)."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from omni_cli.domain.optimize import (
    Option,
    Outcome,
    Past,
    Setting,
    frontier,
    replay,
    settings,
    suggestion,
)
from omni_cli.domain.tasks import Weights

CHEAP = Option("a/cheap", 0.80, 0.0, 10, 900.0, 12)
GOOD = Option("b/good", 0.90, 0.0, 100, 2_000.0, 90)
BEST = Option("c/best", 0.98, 0.0, 1_000, 4_000.0, 1_100)
EASY = Past("chat", "low", (CHEAP, GOOD, BEST))
HARD = Past("coding", "high", (CHEAP, GOOD, BEST))


def test_each_priority_has_its_bar() -> None:
    # cheap: 0.80 ± 0.05 of 0.98; best: the best there is.
    assert replay(Setting("cheap", Weights()), [EASY]).cost_nusd == CHEAP.cost_nusd
    assert replay(Setting("cheap", Weights()), [HARD]).cost_nusd == GOOD.cost_nusd
    best = replay(Setting("best", Weights()), [EASY, HARD])
    assert (best.cost_nusd, best.quality, best.latency_ms) == (2_200, 0.98, 4_000.0)


def test_weights_count_among_adequate_models() -> None:
    dear = replay(Setting("balanced", Weights(0.0, 0.0, 1.0)), [EASY])
    thrifty = replay(Setting("balanced", Weights(1.0, 0.0, 0.0)), [EASY])
    assert (dear.quality, thrifty.quality) == (0.98, 0.90)


def test_an_unmeasured_model_is_no_evidence() -> None:
    unknown = Option("d/new", None, 0.0, None, None, 5)
    found = replay(Setting("best", Weights()), [Past("chat", "low", (unknown,))])
    assert (found.quality, found.latency_ms, found.cost_nusd) == (0.5, None, 5)


def test_a_suggestion_keeps_its_promise() -> None:
    past = [EASY, HARD]
    today = replay(Setting("best", Weights()), past)
    others = [replay(setting, past) for setting in settings()]
    assert suggestion(today, others, may_lose=0.0) is None
    found = suggestion(today, others, may_lose=0.1)
    assert found is not None
    assert found.quality >= today.quality - 0.1
    assert found.cost_nusd < today.cost_nusd
    cheapest = suggestion(today, others, may_lose=1.0)
    assert cheapest is not None
    assert cheapest.cost_nusd == min(o.cost_nusd for o in others)


def test_settings_are_what_config_takes() -> None:
    found = settings()
    assert len(found) == len(set(found)) == 23
    for setting in found:
        w = setting.weights
        assert abs(w.cost + w.latency + w.task_match - 1) < 1e-9


outcomes = st.builds(
    Outcome,
    st.just(Setting("cheap", Weights())),
    st.integers(0, 50),
    st.integers(0, 20).map(lambda n: n / 20),
    st.none(),
)


@given(st.lists(outcomes, min_size=1, max_size=30))
def test_nobody_beats_the_frontier(found: list[Outcome]) -> None:
    best = frontier(found)
    for left, right in pairwise(best):
        assert left.cost_nusd < right.cost_nusd
        assert left.quality < right.quality
    for outcome in found:
        assert any(b.cost_nusd <= outcome.cost_nusd and b.quality >= outcome.quality for b in best)
