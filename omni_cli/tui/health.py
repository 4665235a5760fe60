"""From what happened to a state that a person reads: healthy, slow, failing, and the trend."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from omni_cli.domain.breaker import Breaker
from omni_cli.domain.models import Provider
from omni_cli.store.glance import Hour

State = Literal["healthy", "warning", "error", "maintenance", "unknown", "off"]
Trend = Literal["improving", "stable", "declining"]
Overall = Literal["healthy", "degraded", "critical", "unknown"]

#: Fewer attempts than this say nothing about a rate.
_LEAST = 5
#: Failed shares of the last hour's attempts from which a provider is in trouble, is failing.
_WARN, _FAIL = 0.05, 0.50
#: A mean answer above this is slow, ms: the catalogue's own limit between medium and slow.
SLOW_MS = 10_000.0
#: Trend: the newest hours against as many before them.
_TREND_HOURS = 6
#: What counts as a change: two points of failures, a quarter of the response time.
_FAIL_STEP, _TIME_STEP = 0.02, 0.25


@dataclass(frozen=True, slots=True)
class Health:
    """``why`` is empty for what is healthy."""

    state: State
    why: str = ""


@dataclass(frozen=True, slots=True)
class Recent:
    """Sums over some hours; ``latency_ms`` is the mean of good answers, None without any."""

    attempts: int
    failed: int
    latency_ms: float | None

    @property
    def failure_rate(self) -> float | None:
        return self.failed / self.attempts if self.attempts else None


def recent(hours: Iterable[Hour]) -> Recent:
    attempts = failed = spent_ms = timed = 0
    for hour in hours:
        attempts += hour.attempts
        failed += hour.failed_attempts
        spent_ms += hour.latency_ms
        timed += hour.latency_calls
    return Recent(attempts, failed, spent_ms / timed if timed else None)


def provider_health(
    provider: Provider,
    *,
    has_key: bool,
    test_error: str | None,
    breaker: Breaker | None,
    models_out: Sequence[str],
    last_hours: Recent,
    now_ms: int,
) -> Health:
    """
    Args:
        test_error: what the last connection test said, None where it passed or there was none.
        breaker: the provider's own circuit breaker.
        models_out: its models whose breakers are open.
        last_hours: its traffic of this hour and the one before.
    """
    if not provider.enabled:
        return Health("off", "disabled")
    if provider.status == "maintenance":
        return Health("maintenance", "in maintenance")
    if not has_key:
        return Health("error", "no key")
    if breaker is not None and not breaker.allows(now_ms):
        return Health("error", f"kept out: {breaker.last_error or 'failing'}")
    rate = last_hours.failure_rate
    counted = last_hours.attempts >= _LEAST and rate is not None
    if counted and rate is not None and rate >= _FAIL:
        return Health("error", f"{rate:.0%} of calls fail")
    if provider.status == "error":
        return Health("error", test_error or "connection test failed")
    if models_out:
        return Health("warning", f"{', '.join(models_out)} kept out")
    if counted and rate is not None and rate >= _WARN:
        return Health("warning", f"{rate:.0%} of calls fail")
    if last_hours.latency_ms is not None and last_hours.latency_ms > SLOW_MS:
        return Health("warning", "slow")
    if provider.status == "connected" or last_hours.attempts > last_hours.failed:
        return Health("healthy")
    return Health("unknown", test_error or "not tested yet")


def trend(hours: Sequence[Hour], now_hour: int) -> Trend | None:
    """The newest hours against those before; None where either has too few attempts."""
    border = now_hour - _TREND_HOURS
    new = recent(h for h in hours if h.hour > border)
    old = recent(h for h in hours if border - _TREND_HOURS < h.hour <= border)
    if new.failure_rate is None or old.failure_rate is None:
        return None
    if min(new.attempts, old.attempts) < _LEAST:
        return None
    step = new.failure_rate - old.failure_rate
    if abs(step) >= _FAIL_STEP:
        return "declining" if step > 0 else "improving"
    if new.latency_ms and old.latency_ms:
        share = new.latency_ms / old.latency_ms - 1
        if abs(share) >= _TIME_STEP:
            return "declining" if share > 0 else "improving"
    return "stable"


def overall(states: Sequence[State]) -> Overall:
    """Of the providers in use: critical when none is healthy, degraded when any is not."""
    used = [state for state in states if state not in ("off", "unknown")]
    if not used:
        return "unknown"
    well = sum(state == "healthy" for state in used)
    if not well and "error" in used:
        return "critical"
    return "healthy" if well == len(used) else "degraded"
