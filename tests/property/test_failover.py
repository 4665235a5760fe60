"""Breaker and retry: invariants over any history."""

import random

from hypothesis import given
from hypothesis import strategies as st

from omni_cli.domain.breaker import (
    BASE_S,
    CAP_S,
    DEFAULT_SETTINGS,
    FATAL,
    MAX_RETRY_AFTER_S,
    TRANSIENT,
    Breaker,
    delay_s,
)

CODES = sorted(TRANSIENT | FATAL | {"bad_request", "context_too_long", "cancelled"})
EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["ok", "fail", "claim"]),
        st.integers(0, 400_000),  # ms passed
        st.integers(0, 100_000),  # how long ago the call began
        st.sampled_from(CODES),
        st.none() | st.floats(),
    ),
    max_size=40,
)


def step(
    breaker: Breaker, now: int, what: str, lasted: int, code: str, asked: float | None
) -> Breaker:
    if what == "ok":
        return breaker.on_success(now, started_ms=now - lasted)
    if what == "claim":
        return breaker.claim(now)
    return breaker.on_failure(now, code, started_ms=now - lasted, retry_after_s=asked)


@given(EVENTS)
def test_no_history_keeps_a_model_out_for_longer_than_the_cap(
    events: list[tuple[str, int, int, str, float | None]],
) -> None:
    breaker, now = Breaker(), 1_700_000_000_000
    longest = max(DEFAULT_SETTINGS.max_open_ms, DEFAULT_SETTINGS.probe_ms)
    for what, passed, lasted, code, asked in events:
        now += passed
        allowed = breaker.allows(now)
        breaker = step(breaker, now, what, lasted, code, asked)
        assert Breaker.from_json(breaker.to_json()) == breaker
        assert breaker.allows(now + longest) in (True, "probe")
        assert (breaker.allows(now) is True) == (breaker.state == "closed")
        if what == "claim" and allowed == "probe":
            assert breaker.allows(now) is False  # the probe is given out once
        if breaker.state == "closed":
            assert breaker.streak < DEFAULT_SETTINGS.failures


@given(EVENTS, st.integers(0, 10_000))
def test_a_fresh_success_always_closes(
    events: list[tuple[str, int, int, str, float | None]], later: int
) -> None:
    breaker, now = Breaker(), 1_700_000_000_000
    for what, passed, lasted, code, asked in events:
        now += passed
        breaker = step(breaker, now, what, lasted, code, asked)
    breaker = breaker.on_success(now + later)
    assert breaker.allows(now + later) is True
    assert breaker.streak == 0


@given(st.integers(1, 100), st.none() | st.floats(-10, 100), st.integers(0, 2**32))
def test_delays_stay_in_their_bounds(attempt: int, asked: float | None, seed: int) -> None:
    delay = delay_s(attempt, retry_after_s=asked, rng=random.Random(seed))
    if asked is not None and asked > MAX_RETRY_AFTER_S:
        assert delay is None
    else:
        assert delay is not None
        assert 0 <= delay <= max(CAP_S, (asked or 0) + BASE_S)
        assert asked is None or delay >= asked
