"""The circuit breaker's transitions (B6)."""

import pytest

from omni_cli.domain.breaker import DEFAULT_SETTINGS, FATAL, TRANSIENT, Breaker

SECOND = 1_000
NOW = 1_700_000_000_000
OPEN = DEFAULT_SETTINGS.open_ms


def failing(times: int, *, at: int = NOW, code: str = "overloaded") -> Breaker:
    breaker = Breaker()
    for _ in range(times):
        breaker = breaker.on_failure(at, code)
    return breaker


def opened(at: int = NOW) -> Breaker:
    return failing(DEFAULT_SETTINGS.failures, at=at)


def test_the_error_codes_are_those_of_the_tree() -> None:
    assert {"rate_limited", "overloaded", "timeout", "connection", "malformed"} == TRANSIENT
    assert {"auth", "quota_exceeded", "model_not_found"} == FATAL


def test_opens_after_failures_in_a_row() -> None:
    assert failing(4).allows(NOW) is True
    breaker = opened()
    assert (breaker.state, breaker.last_error) == ("open", "overloaded")
    assert breaker.allows(NOW) is False
    assert breaker.allows(NOW + OPEN - 1) is False
    assert breaker.allows(NOW + OPEN) == "probe"


def test_a_success_ends_the_row() -> None:
    breaker = failing(4).on_success(NOW)
    assert breaker.on_failure(NOW, "timeout").state == "closed"


def test_opens_when_half_of_the_recent_calls_fail() -> None:
    breaker = Breaker()
    for call in range(10):
        assert breaker.state == "closed"
        at = NOW + call * SECOND
        breaker = breaker.on_success(at) if call % 2 else breaker.on_failure(at, "timeout")
    assert breaker.state == "closed"  # the tenth call, of which five failed, was a success
    assert breaker.on_failure(NOW + 10 * SECOND, "timeout").state == "open"


def test_old_failures_are_forgotten() -> None:
    breaker = failing(3)
    later = NOW + 3 * DEFAULT_SETTINGS.window_ms
    assert breaker.on_success(later) == Breaker(last_error="overloaded", last_error_ms=NOW)


def test_a_healthy_breaker_never_changes() -> None:
    breaker = Breaker()
    assert breaker.on_success(NOW) is breaker
    assert breaker.on_failure(NOW, "bad_request") is breaker
    assert breaker.on_failure(NOW, "cancelled") is breaker


@pytest.mark.parametrize("code", sorted(FATAL))
def test_errors_that_waiting_does_not_cure_open_at_once(code: str) -> None:
    breaker = Breaker().on_failure(NOW, code)
    assert (breaker.state, breaker.error, breaker.last_error) == ("open", True, code)
    assert breaker.allows(NOW + OPEN) is False
    assert breaker.allows(NOW + DEFAULT_SETTINGS.fatal_open_ms) == "probe"


def test_a_long_retry_after_opens_at_once_until_then() -> None:
    assert Breaker().on_failure(NOW, "rate_limited", retry_after_s=5).state == "closed"
    breaker = Breaker().on_failure(NOW, "rate_limited", retry_after_s=120)
    assert breaker.until_ms == NOW + 120 * SECOND
    for far in (86_400.0, float("inf")):
        breaker = Breaker().on_failure(NOW, "rate_limited", retry_after_s=far)
        assert breaker.until_ms == NOW + DEFAULT_SETTINGS.max_open_ms
    assert Breaker().on_failure(NOW, "rate_limited", retry_after_s=float("nan")).state == "closed"


def test_only_one_caller_gets_the_probe() -> None:
    at = NOW + OPEN
    breaker = opened()
    assert breaker.claim(at - 1) is breaker
    claimed = breaker.claim(at)
    assert claimed.state == "half_open"
    assert claimed.allows(at) is False
    assert claimed.claim(at) is claimed
    # Its process died: after a while another may.
    assert claimed.allows(at + DEFAULT_SETTINGS.probe_ms) == "probe"


def test_the_probe_decides() -> None:
    at = NOW + OPEN
    probing = opened().claim(at)
    healed = probing.on_success(at + 1, started_ms=at)
    assert (healed.state, healed.opened) == ("closed", 0)
    again = probing.on_failure(at + 1, "timeout", started_ms=at)
    assert (again.state, again.until_ms) == ("open", at + 1 + 2 * OPEN)
    assert probing.on_failure(at + 1, "bad_request", started_ms=at).state == "closed"
    released = probing.on_failure(at + 1, "cancelled", started_ms=at)
    assert released.allows(at + 1) == "probe"


def test_calls_from_before_change_nothing() -> None:
    breaker = opened()
    assert breaker.on_success(NOW + 5, started_ms=NOW - 5) is breaker
    late = breaker.on_failure(NOW + 5, "timeout", started_ms=NOW - 5)
    assert (late.until_ms, late.opened) == (breaker.until_ms, 1)
    probing = breaker.claim(NOW + OPEN)
    assert probing.on_failure(NOW + OPEN + 1, "timeout", started_ms=NOW).state == "half_open"
    assert probing.on_success(NOW + OPEN + 1, started_ms=NOW).state == "half_open"


def test_a_success_that_began_after_it_opened_closes_it() -> None:
    assert opened().on_success(NOW + 5, started_ms=NOW + 1).state == "closed"


def test_waiting_doubles_up_to_a_cap() -> None:
    breaker, at, waits = opened(), NOW, []
    for _ in range(8):
        waits.append((breaker.until_ms - at) // SECOND)
        at = breaker.until_ms
        breaker = breaker.claim(at).on_failure(at, "timeout", started_ms=at)
    assert waits == [30, 60, 120, 240, 480, 900, 900, 900]


def test_a_clock_put_back_does_not_lock_a_model_out() -> None:
    assert opened().allows(NOW - 86_400 * SECOND) == "probe"


@pytest.mark.parametrize("text", [None, "", "{", "[]", '{"state": "ajar"}', '{"good": "x"}', "{}"])
def test_an_unreadable_state_counts_as_new(text: str | None) -> None:
    assert Breaker.from_json(text) == Breaker()


def test_json_holds_only_what_differs() -> None:
    assert Breaker().to_json() == "{}"
    assert Breaker().on_failure(NOW, "auth").to_json() == (
        '{"error": true, "last_error": "auth", "last_error_ms": 1700000000000, "opened": 1,'
        ' "since_ms": 1700000000000, "state": "open", "until_ms": 1700000300000}'
    )
