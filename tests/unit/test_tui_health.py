"""From traffic, tests and breakers to the state that the TUI shows (D1)."""

from dataclasses import replace

import pytest

from omni_cli.domain.breaker import Breaker
from omni_cli.domain.models import Provider
from omni_cli.store.glance import Hour
from omni_cli.tui.health import Recent, overall, provider_health, recent, trend

NOW_MS = 1_770_314_400_000
HOUR = NOW_MS // 3_600_000
PROVIDER = Provider("p", "P", "openai", "https://example.test/v1", status="connected")
QUIET = Recent(0, 0, None)


def state(provider: Provider = PROVIDER, **given: object) -> tuple[str, str]:
    values: dict[str, object] = {
        "has_key": True,
        "test_error": None,
        "breaker": None,
        "models_out": (),
        "last_hours": QUIET,
        "now_ms": NOW_MS,
        **given,
    }
    found = provider_health(provider, **values)  # type: ignore[arg-type]
    return found.state, found.why


def hour(ago: int, attempts: int, failed: int = 0, mean_ms: int = 1000) -> Hour:
    good = attempts - failed
    return Hour(HOUR - ago, "p", "p/m", good, attempts, failed, 0, mean_ms * good, good)


def test_what_the_user_said_comes_first() -> None:
    down = Recent(100, 100, None)
    assert state(replace(PROVIDER, enabled=False), last_hours=down)[0] == "off"
    assert state(replace(PROVIDER, status="maintenance"), last_hours=down)[0] == "maintenance"


def test_a_missing_key_is_an_error_even_after_a_passed_test() -> None:
    assert state(has_key=False) == ("error", "no key")


def test_an_open_breaker_is_an_error_until_its_time_is_up() -> None:
    breaker = Breaker(
        state="open", since_ms=NOW_MS, until_ms=NOW_MS + 30_000, last_error="overloaded"
    )
    assert state(breaker=breaker) == ("error", "kept out: overloaded")
    assert state(breaker=replace(breaker, until_ms=NOW_MS))[0] == "healthy"


@pytest.mark.parametrize(
    ("failed", "expected"), [(0, "healthy"), (4, "healthy"), (5, "warning"), (50, "error")]
)
def test_failures_of_a_hundred_calls(failed: int, expected: str) -> None:
    assert state(last_hours=Recent(100, failed, 500.0))[0] == expected


def test_few_calls_prove_nothing() -> None:
    assert state(last_hours=Recent(4, 4, None))[0] == "healthy"


def test_slow_answers_and_kept_out_models_are_warnings() -> None:
    assert state(last_hours=Recent(9, 0, 10_001.0)) == ("warning", "slow")
    assert state(models_out=("M",)) == ("warning", "M kept out")


def test_untested_is_not_healthy_until_a_call_succeeds() -> None:
    fresh = replace(PROVIDER, status="disconnected")
    assert state(fresh)[0] == "unknown"
    assert state(fresh, last_hours=Recent(1, 0, 10.0))[0] == "healthy"


def test_the_trend_looks_at_failures_first_then_at_time() -> None:
    before = [hour(8, 50)]
    assert trend([*before, hour(1, 50)], HOUR) == "stable"
    assert trend([*before, hour(1, 50, failed=5)], HOUR) == "declining"
    assert trend([hour(8, 50, failed=5), hour(1, 50)], HOUR) == "improving"
    assert trend([*before, hour(1, 50, mean_ms=1300)], HOUR) == "declining"
    assert trend([*before, hour(1, 50, mean_ms=700)], HOUR) == "improving"
    assert trend([*before, hour(1, 4)], HOUR) is None
    assert trend([hour(1, 50)], HOUR) is None


def test_sums_keep_unknown_apart_from_zero() -> None:
    assert recent([]) == Recent(0, 0, None)
    assert recent([]).failure_rate is None
    assert recent([hour(1, 10, failed=10)]).latency_ms is None
    assert recent([hour(1, 3), hour(2, 1, mean_ms=5000)]).latency_ms == 2000


def test_the_whole() -> None:
    assert overall([]) == "unknown"
    assert overall(["off", "unknown"]) == "unknown"
    assert overall(["healthy", "off"]) == "healthy"
    assert overall(["healthy", "error"]) == "degraded"
    assert overall(["maintenance"]) == "degraded"
    assert overall(["error", "warning"]) == "critical"
