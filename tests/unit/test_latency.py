"""Expected latency: measured, drawn towards what is like it, and said which (M4)."""

import pytest

from omni_cli.domain.latency import (
    COST_ONE_NUSD,
    LATENCY_ONE_MS,
    PRIOR_CALLS,
    TYPICAL_LATENCY_MS,
    UNKNOWN,
    Latencies,
    cost_norm,
    latency_norm,
)


def test_nothing_known_is_said() -> None:
    assert Latencies([]).of("p/a", "chat") == UNKNOWN
    assert Latencies([("q/b", "chat", 900.0, 9)]).of("p/a", "chat") == UNKNOWN


def test_one_call_is_drawn_towards_the_typical() -> None:
    found = Latencies([("p/a", "chat", 100.0, 1)]).of("p/a", "chat")
    assert (found.basis, found.calls) == ("measured", 1)
    assert found.ms == pytest.approx(
        (100.0 * TYPICAL_LATENCY_MS**PRIOR_CALLS) ** (1 / (PRIOR_CALLS + 1))
    )


def test_many_calls_speak_for_themselves() -> None:
    found = Latencies([("p/a", "chat", 400.0, 1_000)]).of("p/a", "chat")
    assert found.ms == pytest.approx(400.0, rel=0.01)


def test_other_tasks_and_other_models_of_the_provider_give_an_estimate() -> None:
    quick = Latencies([("p/a", "chat", 200.0, 50)])
    assert quick.of("p/a", "coding").basis == "estimated"
    assert quick.of("p/b", "chat").basis == "estimated"
    other_task, other_model = quick.of("p/a", "coding").ms, quick.of("p/b", "chat").ms
    assert other_task is not None
    assert other_model is not None
    assert 200.0 < other_task < TYPICAL_LATENCY_MS
    assert 200.0 < other_model < TYPICAL_LATENCY_MS


def test_nothing_counts_twice() -> None:
    # With one model and one task the wider circles are empty: only the typical latency draws.
    alone = Latencies([("p/a", "chat", 300.0, 20)]).of("p/a", "chat").ms
    assert alone == pytest.approx(300.0**0.8 * TYPICAL_LATENCY_MS**0.2)


def test_the_scales_are_fixed_and_never_flat() -> None:
    assert cost_norm(0) == latency_norm(0.0) == 0.0
    assert cost_norm(int(COST_ONE_NUSD)) == pytest.approx(1.0)
    assert latency_norm(LATENCY_ONE_MS) == pytest.approx(1.0)
    assert latency_norm(None) == latency_norm(TYPICAL_LATENCY_MS)
    costs = [cost_norm(10**n) for n in range(3, 14)]
    assert costs == sorted(set(costs))
    assert cost_norm(None) == 1.0
