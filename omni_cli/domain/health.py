"""How well providers and models are doing, judged from what was seen of them (D1).

Evidence, strongest first: circuit breakers, the calls of the last quarter of an hour, the last
unbilled check of the provider, the hours before. A target without any evidence is unknown,
never healthy.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal

from msgspec import Struct, field

from omni_cli.domain.breaker import Breaker
from omni_cli.domain.evidence import AT_FAULT, FLAPPING, WINDOW_MS, Check, Hour, Window, spells
from omni_cli.domain.periods import HOUR_MS
from omni_cli.domain.record import replace
from omni_cli.domain.statistics import rate_difference
from omni_cli.domain.words import counted

HealthStatus = Literal["healthy", "warning", "error", "maintenance", "unknown"]
Overall = Literal["healthy", "degraded", "critical", "unknown"]
Trend = Literal["improving", "stable", "declining", "unknown"]

#: In the order in which every face lists providers: what needs a person first.
SEVERITY: tuple[HealthStatus, ...] = ("error", "warning", "unknown", "healthy", "maintenance")

#: The reason of a provider that cannot be asked for want of a key.
NO_KEY = "no key"
#: Failures in a row, newest last, that make a model an error.
ERROR_STREAK = 3
#: Of at least so many calls, a success rate below this is an error while calls fail.
ENOUGH_CALLS = 4
ERROR_RATE = 0.5
#: Slow: so many times the usual; without a usual, fewer tokens a second than this.
SLOW_FACTOR = 3.0
SLOW_TOKENS_PER_S = 10.0
_ENOUGH_TIMED = 3
_ENOUGH_USUAL = 20
#: A call that has shown nothing for so long is a sign of its own, ms.
STUCK_MS = 20_000
#: Trend: the last hours against those before, with enough of both.
_TREND_RECENT_H, _TREND_LEAST = 1, 5


class SlotUse(Struct, frozen=True):
    """A provider's slots: the limit (None: none), calls under way and calls that wait now, and how
    many waited, how long together and at most, ms, since some time."""

    limit: int | None
    in_use: int = 0
    waiting: int = 0
    waits: int = 0
    waited_ms: int = 0
    longest_ms: int = 0


class Health(Struct, frozen=True):
    """One target's verdict, with the reason in words."""

    target: str
    status: HealthStatus
    reason: str
    window: Window = field(default_factory=Window)
    uptime: float | None = None
    trend: Trend = "unknown"
    retires_on: str | None = None


def model_health(
    target: str,
    window: Window,
    hours: Sequence[Hour],
    *,
    now_ms: int,
    breaker: Breaker | None = None,
    provider: "Health | None" = None,
    retired_on: str | None = None,
    today: str = "",
    stuck: int = 0,
) -> Health:
    """
    Args:
        hours: up to a day or more, any order, this hour included.
        provider: the verdict on the provider itself; its errors and maintenance pass down.
        today: ISO date, to compare ``retired_on`` with.
        stuck: calls under way that have shown nothing for STUCK_MS or longer.
    """
    status, reason = _model_verdict(
        window, hours, now_ms, breaker, provider, stuck, retired_on, today
    )
    uptime = _uptime(hours)
    return Health(target, status, reason, window, uptime, trend_of(hours, now_ms), retired_on)


def _model_verdict(
    window: Window,
    hours: Sequence[Hour],
    now_ms: int,
    breaker: Breaker | None,
    provider: Health | None,
    stuck: int,
    retired_on: str | None,
    today: str,
) -> tuple[HealthStatus, str]:
    if provider is not None and provider.status in ("maintenance", "error"):
        return provider.status, provider.reason
    by_breaker = _breaker_verdict(breaker, now_ms)
    if by_breaker is not None and by_breaker[0] == "error":
        return by_breaker
    if window.streak >= ERROR_STREAK:
        return "error", f"{window.streak} failures in a row: {window.last_error}"
    rate, told = window.success_rate, window.told
    failed = f"{window.bad} of {told} calls failed"
    if window.streak and rate is not None and told >= ENOUGH_CALLS and rate < ERROR_RATE:
        return "error", f"{failed}: {window.last_error}"
    if by_breaker is not None:
        return by_breaker
    if window.flapping:
        times = f"after {window.recoveries} recoveries"
        return "warning", f"{failed}, {times}: {window.last_error}"
    if window.streak:
        return "warning", f"{failed}: {window.last_error}"
    if stuck:
        return "warning", f"{stuck} under way without a token for over {STUCK_MS // 1000} s"
    slow = _slowness(window, hours, now_ms)
    if slow:
        return "warning", slow
    if retired_on is not None and today and retired_on <= today:
        return "warning", f"retired by its provider on {retired_on}"
    if window.good and window.forgotten:
        return "healthy", f"recovered: {window.good} answered since {window.forgotten} failed"
    if window.good:
        return "healthy", f"{counted(window.good, 'recent call')} answered"
    if window.forgotten:
        return "healthy", f"recovered: its provider answers since {window.forgotten} failed"
    if provider is not None and provider.status == "healthy":
        if any(hour.good for hour in hours):
            return "healthy", "its provider answers; no recent call"
        return "unknown", "not tried yet; its provider answers"
    return "unknown", "nothing was seen of it lately"


def provider_health(
    slug: str,
    *,
    samples: Window,
    hours: Sequence[Hour],
    now_ms: int,
    breaker: Breaker | None = None,
    check: Check | None = None,
    maintenance: bool = False,
    has_key: bool = True,
    serves: bool = False,
) -> Health:
    """The provider itself, without its models' own troubles (``with_models`` adds those).

    Args:
        samples: the recent calls of all its models together.
        serves: it has models at work, so that an empty list of models is odd.
    """
    uptime, trend = _uptime(hours), trend_of(hours, now_ms)

    def verdict(status: HealthStatus, reason: str) -> Health:
        return Health(slug, status, reason, samples, uptime, trend)

    if maintenance:
        return verdict("maintenance", "set to maintenance")
    if not has_key:
        return verdict("error", NO_KEY)
    fresh = check is not None and now_ms - check.at_ms <= HOUR_MS
    proven = samples.last_good_at_ms or 0
    if check is not None and fresh and not check.ok and check.at_ms > proven:
        said = check.error_message or check.error_code or "no answer"
        if check.error_code in AT_FAULT and check.error_code != "rate_limited":
            return verdict("error", said)
        return verdict("warning", said)
    by_breaker = _breaker_verdict(breaker, now_ms)
    if by_breaker is not None and by_breaker[0] == "error":
        return verdict(*by_breaker)
    if by_breaker is not None and not (check is not None and check.ok and fresh):
        return verdict(*by_breaker)
    back = 0 if check is None else _came_back(check, samples, now_ms)
    if back >= FLAPPING:
        minutes = WINDOW_MS // 60_000
        return verdict("warning", f"checks failed, then answered, {back} times in {minutes} min")
    if check is not None and check.ok and fresh:
        if serves and check.models == 0 and check.at_ms > proven:
            return verdict("warning", "it answers, but lists no models")
        return verdict("healthy", f"answered a check in {check.latency_ms} ms")
    if samples.good:
        return verdict("healthy", f"{counted(samples.good, 'recent call')} answered")
    return verdict("unknown", "nothing was seen of it lately")


def _came_back(check: Check, samples: Window, now_ms: int) -> int:
    """How often in the window checks failed and then the provider answered again."""
    evidence = [(at, ok, True) for at, ok in check.series if now_ms - at <= WINDOW_MS]
    if samples.last_good_at_ms is not None:
        evidence.append((samples.last_good_at_ms, True, True))
    return spells(sorted(evidence)).recoveries


def with_models(provider: Health, models: Sequence[Health]) -> Health:
    """The provider's status with its models in view: any trouble is a warning, and an error
    where every model that was seen is one."""
    if provider.status in ("error", "maintenance"):
        return provider
    seen = [model for model in models if model.status != "unknown"]
    bad = [model for model in seen if model.status in ("warning", "error")]
    lost = bool(seen) and all(model.status == "error" for model in seen)
    if not bad or (provider.status == "warning" and not lost):
        return provider
    worst = min(bad, key=lambda model: (model.status != "error", model.target))
    return replace(
        provider,
        status="error" if lost else "warning",
        reason=f"{worst.target}: {worst.reason}",
    )


def overall(statuses: Iterable[HealthStatus]) -> Overall:
    """Of the enabled providers. Critical: half or more of those known are errors, maintenance
    counting as absent; degraded: any trouble; unknown: nothing was seen of any."""
    counted = Counter(statuses)
    known = counted["healthy"] + counted["warning"] + counted["error"]
    if not known:
        return "unknown"
    if counted["error"] * 2 >= known:
        return "critical"
    return "degraded" if counted["error"] or counted["warning"] else "healthy"


def overall_trend(trends: Iterable[Trend]) -> Trend:
    """Declining where any is, else improving where any is."""
    seen = set(trends)
    order: tuple[Trend, ...] = ("declining", "improving", "stable")
    return next((trend for trend in order if trend in seen), "unknown")


def bar(statuses: Sequence[HealthStatus]) -> str:
    """``[●●●○] 3/4 healthy``; ◐ a warning, ○ an error, ◌ maintenance, · unknown."""
    marks = {"healthy": "●", "warning": "◐", "error": "○", "maintenance": "◌", "unknown": "·"}
    order = list(marks)
    ranked = sorted(statuses, key=order.index)
    healthy = sum(status == "healthy" for status in statuses)
    return f"[{''.join(marks[s] for s in ranked)}] {healthy}/{len(statuses)} healthy"


def trend_of(hours: Sequence[Hour], now_ms: int) -> Trend:
    """The last two clock hours against the day before: a shown difference of the success rate
    (95 %), else a mean latency half as long again or a third shorter."""
    this = now_ms // HOUR_MS
    recent = [h for h in hours if 0 <= this - h.hour <= _TREND_RECENT_H]
    before = [h for h in hours if _TREND_RECENT_H < this - h.hour <= 24 + _TREND_RECENT_H]
    good_a, bad_a = sum(h.good for h in recent), sum(h.bad for h in recent)
    good_b, bad_b = sum(h.good for h in before), sum(h.bad for h in before)
    if good_a + bad_a < _TREND_LEAST or good_b + bad_b < _TREND_LEAST:
        return "unknown"
    gap = rate_difference(good_a, good_a + bad_a, good_b, good_b + bad_b)
    if gap is not None and gap.excludes(0.0):
        return "improving" if gap.value > 0 else "declining"
    if good_a >= _TREND_LEAST and good_b >= _TREND_LEAST:
        now = sum(h.latency_ms for h in recent) / good_a
        then = sum(h.latency_ms for h in before) / good_b
        if then > 0 and now > 1.5 * then:
            return "declining"
        if then > 0 and now * 1.5 < then:
            return "improving"
    return "stable"


def _uptime(hours: Sequence[Hour]) -> float | None:
    """Mean over the hours with evidence, so that a busy hour weighs no more than a quiet one."""
    shares = [h.good / (h.good + h.bad) for h in hours if h.good + h.bad]
    return sum(shares) / len(shares) if shares else None


def _breaker_verdict(breaker: Breaker | None, now_ms: int) -> tuple[HealthStatus, str] | None:
    if breaker is None or breaker.state == "closed":
        return None
    said = breaker.last_error or "failures"
    allowed = breaker.allows(now_ms)
    if breaker.state == "half_open" or allowed:
        return "warning", f"circuit breaker waits for a call to prove it after {said}"
    seconds = -(-(breaker.until_ms - now_ms) // 1000)
    return "error", f"circuit breaker open after {said}; next try in {seconds} s"


def _slowness(window: Window, hours: Sequence[Hour], now_ms: int) -> str:
    this = now_ms // HOUR_MS
    usual = [h for h in hours if h.hour < this]
    good = sum(h.good for h in usual)
    if good >= _ENOUGH_USUAL:
        latency = sum(h.latency_ms for h in usual) / good
        gen_ms = sum(h.gen_ms for h in usual)
        speed = sum(h.gen_tokens for h in usual) * 1000 / gen_ms if gen_ms else None
        now = window.latency_p50_ms
        if window.good >= _ENOUGH_TIMED and now is not None and now > SLOW_FACTOR * latency > 0:
            return f"slow: {now / 1000:.1f} s, usually {latency / 1000:.1f} s"
        if speed is None:
            return ""
        floor = speed / SLOW_FACTOR
        word = f"usually {speed:.0f}"
    else:
        floor, word = SLOW_TOKENS_PER_S, f"below {SLOW_TOKENS_PER_S:.0f}"
    if window.timed >= _ENOUGH_TIMED and (window.tokens_per_s or 0.0) < floor:
        return f"slow: {window.tokens_per_s or 0:.1f} tokens a second, {word}"
    return ""
