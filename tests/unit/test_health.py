"""Verdicts on providers and models (D1)."""

import pytest

from omni_cli.domain.breaker import Breaker
from omni_cli.domain.evidence import Check, Hour, Sample, Window, window_of
from omni_cli.domain.health import (
    STUCK_MS,
    Health,
    bar,
    model_health,
    overall,
    overall_trend,
    provider_health,
    trend_of,
    with_models,
)
from omni_cli.domain.periods import HOUR_MS
from omni_cli.domain.record import replace

NOW = 1_800_000_000_000
THIS = NOW // HOUR_MS
GOOD = Sample("p", "p/m", NOW - 1000, True, 500, 100, 80)
BAD = replace(GOOD, good=False, error_code="overloaded", error_message="Service unavailable")


def _samples(marks: str, ms: int = 500) -> list[Sample]:
    """Oldest first: ``+`` good, ``-`` failed, ``?`` tells nothing."""
    made = []
    for age, mark in enumerate(reversed(marks)):
        sample = GOOD if mark == "+" else BAD
        good = None if mark == "?" else sample.good
        made.append(replace(sample, at_ms=NOW - 1000 * age, good=good, latency_ms=ms))
    return made


@pytest.mark.parametrize(
    ("marks", "status"),
    [
        ("", "unknown"),
        ("+", "healthy"),
        ("-", "warning"),
        ("--", "warning"),
        ("---", "error"),
        ("+++---", "error"),
        # One spell of trouble, and over: healthy as soon as a call is answered.
        ("---+", "healthy"),
        ("-+", "healthy"),
        ("+---------+", "healthy"),
        # Back again: an error by its own failures, not by those of the first spell.
        ("---+-", "warning"),
        ("---+---", "error"),
        # Twice recovered within the window is flapping, and is not hidden.
        ("-+-+", "warning"),
        ("---+---+", "warning"),
        ("-+-+--", "error"),
        ("-+-+" + "+" * 60, "healthy"),
        ("-" + "+" * 40, "healthy"),
        ("??", "unknown"),
        ("+?", "healthy"),
        ("---??", "error"),
    ],
)
def test_status_follows_the_recent_calls(marks: str, status: str) -> None:
    window = window_of(_samples(marks))
    assert model_health("p/m", window, [], now_ms=NOW).status == status


@pytest.mark.parametrize(
    ("marks", "status"),
    [
        ("---c", "healthy"),
        ("---cc", "healthy"),
        ("---c-", "warning"),
        ("---c---", "error"),
        ("---c---c", "warning"),
        ("-c-c+", "warning"),
        ("c---", "error"),
        ("+c", "healthy"),
        ("c", "unknown"),  # never tried: a list of models proves no model
    ],
)
def test_a_check_ends_what_it_can_disprove(marks: str, status: str) -> None:
    """``c``: its provider answered a check; it shows nothing of spent credit."""
    calls, checks = _with_checks(marks)
    provider = Health("p", "healthy", "answered a check")
    window = window_of(calls, checks)
    assert model_health("p/m", window, [], now_ms=NOW, provider=provider).status == status
    spent = [replace(c, error_code="quota_exceeded") if c.good is False else c for c in calls]
    if status == "healthy" and "-" in marks:
        window = window_of(spent, checks)
        assert model_health("p/m", window, [], now_ms=NOW, provider=provider).status == "error"


def _with_checks(marks: str) -> tuple[list[Sample], list[int]]:
    """The calls among the marks, and the times of the checks."""
    samples = _samples(marks.replace("c", "?"))
    told = [sample for sample, mark in zip(samples, reversed(marks), strict=True) if mark != "c"]
    checks = [sample.at_ms for sample, m in zip(samples, reversed(marks), strict=True) if m == "c"]
    return told, checks


def test_the_rate_counts_from_the_recovery_and_errors_stay_in_view() -> None:
    window = window_of(_samples("+---++"))
    assert (window.good, window.bad, window.forgotten, window.success_rate) == (2, 0, 3, 1.0)
    assert (window.calls, window.errors, window.recoveries) == (6, {"overloaded": 3}, 1)
    flapping = window_of(_samples("+---+-+"))
    assert (flapping.good, flapping.bad, flapping.flapping) == (3, 4, True)


def test_a_provider_whose_checks_come_and_go_is_a_warning() -> None:
    series = ((NOW - 90_000, False), (NOW - 60_000, True), (NOW - 30_000, False))
    check = Check(NOW, True, 20, 4, earlier=series)
    found = provider_health("p", samples=Window(), hours=[], now_ms=NOW, check=check)
    assert (found.status, "2 times" in found.reason) == ("warning", True)
    once = replace(check, earlier=series[:2])
    found = provider_health("p", samples=Window(), hours=[], now_ms=NOW, check=once)
    assert found.status == "healthy"


def test_window_measures() -> None:
    window = window_of(
        [
            replace(GOOD, at_ms=NOW - 9, latency_ms=1100, ttft_ms=100, output_tokens=100),
            replace(GOOD, at_ms=NOW - 8, latency_ms=2100, ttft_ms=100, output_tokens=200),
            replace(BAD, at_ms=NOW - 7),
        ]
    )
    assert window.success_rate == pytest.approx(2 / 3)
    assert window.latency_p50_ms == 1600
    assert window.tokens_per_s == pytest.approx(100)
    assert window.errors == {"overloaded": 1}
    assert (window.last_error, window.streak) == ("Service unavailable", 1)


def test_nothing_seen_is_unknown_not_zero() -> None:
    window = window_of([])
    assert window.success_rate is None
    assert window.latency_p50_ms is None
    assert model_health("p/m", window, [], now_ms=NOW).uptime is None


def test_open_breaker_is_an_error_and_a_waiting_one_a_warning() -> None:
    opened = Breaker().on_failure(NOW, "auth")
    found = model_health("p/m", Window(), [], now_ms=NOW, breaker=opened)
    assert found.status == "error"
    assert "next try in 300 s" in found.reason
    later = model_health("p/m", Window(), [], now_ms=NOW + 301_000, breaker=opened)
    assert later.status == "warning"


def test_provider_trouble_passes_down_to_its_models() -> None:
    down = Health("p", "error", "Nothing listens at 127.0.0.1")
    found = model_health("p/m", window_of(_samples("++")), [], now_ms=NOW, provider=down)
    assert (found.status, found.reason) == ("error", "Nothing listens at 127.0.0.1")


def test_failed_check_is_an_error_until_a_call_is_answered() -> None:
    failed = Check(NOW - 500, False, 4000, None, "timeout", "p sent nothing for 4 s")
    none = provider_health("p", samples=Window(), hours=[], now_ms=NOW, check=failed)
    assert none.status == "error"
    newer = window_of([replace(GOOD, at_ms=NOW - 100)])
    assert (
        provider_health("p", samples=newer, hours=[], now_ms=NOW, check=failed).status == "healthy"
    )
    limited = replace(failed, error_code="rate_limited")
    assert (
        provider_health("p", samples=Window(), hours=[], now_ms=NOW, check=limited).status
        == "warning"
    )


def test_old_checks_prove_nothing() -> None:
    old = Check(NOW - 2 * HOUR_MS, True, 100, 4)
    found = provider_health("p", samples=Window(), hours=[], now_ms=NOW, check=old)
    assert found.status == "unknown"


def test_no_key_and_maintenance() -> None:
    found = provider_health("p", samples=Window(), hours=[], now_ms=NOW, has_key=False)
    assert (found.status, found.reason) == ("error", "no key")
    found = provider_health("p", samples=Window(), hours=[], now_ms=NOW, maintenance=True)
    assert found.status == "maintenance"


def test_models_trouble_shows_at_the_provider() -> None:
    well = Health("p", "healthy", "answered a check")
    fine, ill = Health("p/a", "healthy", ""), Health("p/b", "error", "3 failures in a row")
    assert with_models(well, [fine, ill]).status == "warning"
    assert with_models(well, [ill, Health("p/c", "unknown", "")]).status == "error"
    assert with_models(well, [fine]) is well
    limited = Health("p", "warning", "rate limited")
    assert with_models(limited, [fine, ill]) is limited
    assert with_models(limited, [ill]).status == "error"


def test_overall_and_bar() -> None:
    assert overall(["healthy", "healthy", "unknown"]) == "healthy"
    assert overall(["healthy", "healthy", "error"]) == "degraded"
    assert overall(["healthy", "error"]) == "critical"
    assert overall(["maintenance", "healthy"]) == "healthy"
    assert overall(["unknown"]) == "unknown"
    assert bar(["healthy", "error", "healthy", "healthy"]) == "[●●●○] 3/4 healthy"
    assert overall_trend(["stable", "declining", "improving"]) == "declining"
    assert overall_trend([]) == "unknown"


def test_trend_needs_a_shown_difference() -> None:
    before = [Hour(THIS - 5, 95, 5, 95 * 500)]
    assert trend_of([*before, Hour(THIS, 20, 20, 20 * 500)], NOW) == "declining"
    assert trend_of([*before, Hour(THIS, 19, 1, 19 * 500)], NOW) == "stable"
    assert trend_of([Hour(THIS - 5, 20, 20, 20 * 500), Hour(THIS, 99, 1, 99 * 500)], NOW) == (
        "improving"
    )
    assert trend_of([*before, Hour(THIS, 40, 0, 40 * 900)], NOW) == "declining"
    assert trend_of([*before, Hour(THIS, 2, 0, 900)], NOW) == "unknown"


def test_uptime_weighs_hours_not_calls() -> None:
    hours = [Hour(THIS - 1, 1000, 0), Hour(THIS, 0, 2)]
    assert model_health("p/m", Window(), hours, now_ms=NOW).uptime == 0.5


def test_slow_against_the_usual_and_without_one() -> None:
    crawl = [
        replace(GOOD, at_ms=NOW - n, latency_ms=20_100, ttft_ms=100, output_tokens=100)
        for n in range(3)
    ]
    found = model_health("p/m", window_of(crawl), [], now_ms=NOW)
    assert (found.status, found.reason) == ("warning", "slow: 5.0 tokens a second, below 10")
    local = [Hour(THIS - 2, 50, 0, 50 * 20_000, 50 * 20_000, 50 * 100)]
    assert model_health("p/m", window_of(crawl), local, now_ms=NOW).status == "healthy"
    fast = [Hour(THIS - 2, 50, 0, 50 * 1000, 50 * 900, 50 * 100)]
    found = model_health("p/m", window_of(crawl), fast, now_ms=NOW)
    assert found.reason == "slow: 20.1 s, usually 1.0 s"


def test_stuck_calls_and_retired_models_warn() -> None:
    found = model_health("p/m", Window(), [], now_ms=NOW, stuck=2)
    assert found.status == "warning"
    assert f"{STUCK_MS // 1000} s" in found.reason
    window = window_of(_samples("++"))
    gone = model_health("p/m", window, [], now_ms=NOW, retired_on="2026-01-01", today="2026-06-01")
    assert gone.status == "warning"
    later = model_health("p/m", window, [], now_ms=NOW, retired_on="2026-12-01", today="2026-06-01")
    assert (later.status, later.retires_on) == ("healthy", "2026-12-01")
