"""The health of the whole fleet: read from what was seen, and unbilled checks on request (D1)."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from msgspec import Struct, field

from omni_cli.domain.breaker import DEFAULT_SETTINGS, Breaker
from omni_cli.domain.document import document
from omni_cli.domain.errors import MissingKey, OmniError, ProviderError
from omni_cli.domain.evidence import (
    AT_FAULT,
    UNSEEN_BY_CHECKS,
    WINDOW_MS,
    Check,
    Hour,
    Sample,
    Window,
    window_of,
    window_of_all,
)
from omni_cli.domain.health import (
    SEVERITY,
    Health,
    Overall,
    SlotUse,
    Trend,
    bar,
    model_health,
    overall,
    overall_trend,
    provider_health,
    with_models,
)
from omni_cli.domain.models import ModelInfo, Provider, ProviderStatus
from omni_cli.domain.money import usd
from omni_cli.domain.periods import HOUR_MS, iso
from omni_cli.domain.record import replace
from omni_cli.ports import Clock
from omni_cli.records import Lock
from omni_cli.repositories import Breakers, HealthWindows, Models, Providers, Store
from omni_cli.services.engine.at_once import at_once
from omni_cli.services.fleet.listing import Lister
from omni_cli.services.money.prices import utc_day

#: A check that fails opens the provider's breaker at once: it is a probe, not one call of many.
_AT_ONCE = replace(DEFAULT_SETTINGS, failures=1)


def check_of(result: int | Exception, now_ms: int, took_ms: int) -> Check:
    """How many models a provider listed, or what it failed with, as a check."""
    if isinstance(result, ProviderError):
        return Check(now_ms, False, took_ms, None, result.code, result.message)
    if isinstance(result, OmniError):
        return Check(now_ms, False, None, None, result.code, result.message)
    if isinstance(result, Exception):
        raise result
    return Check(now_ms, True, took_ms, result)


def _status(provider: Provider, check: Check) -> ProviderStatus:
    # Maintenance is the user's word: a test does not end it.
    if provider.status == "maintenance":
        return "maintenance"
    if check.ok:
        return "connected"
    return "disconnected" if check.error_code == MissingKey.code else "error"


class CheckRecorder(Struct, eq=False):
    """The only place that writes down what checks found, whoever asked for them."""

    unit: Store
    windows: HealthWindows
    providers: Providers
    breakers: Breakers

    def keep(
        self, found: Iterable[tuple[Provider, Check]], *, started_ms: int, asked: bool
    ) -> None:
        """
        Args:
            started_ms: when the providers were asked.
            asked: a person asked for these checks, and is told of what they forgive: see
                ``_forgive``.
        """
        with self.unit.transaction(Lock.FLEET, Lock.HEALTH):
            for provider, check in (found := list(found)):
                self.windows.add_check(provider.slug, check)
                self.providers.record_test(
                    provider.slug,
                    _status(provider, check),
                    at_ms=check.at_ms,
                    latency_ms=check.latency_ms,
                    error=check.error_message,
                )
        # Outside: they may have to open what keeps the keys.
        for provider, check in found:
            if check.ok:
                self._forgive(provider.slug, check.at_ms, asked=asked)
            else:
                self._blame(provider.slug, check, started_ms)

    def _forgive(self, slug: str, at_ms: int, *, asked: bool) -> None:
        """Close the breakers of a provider that answers, and of its models.

        Unless a person asked, what a list of models cannot disprove stays open until a call
        proves it: spent credit, a model that is gone, and a model that has failed again since
        the last check closed its breaker, because a provider may list what does not work.
        """
        for target, text in self.breakers.all().items():
            if target != slug and not target.startswith(f"{slug}/"):
                continue
            old = Breaker.from_json(text)
            again = target != slug and old.opened > 1
            if asked or not (again or old.last_error in UNSEEN_BY_CHECKS):
                self.breakers.update(
                    target,
                    lambda stored: Breaker.from_json(stored).on_check().to_json(),
                    now_ms=at_ms,
                )

    def _blame(self, slug: str, check: Check, started_ms: int) -> None:
        code = check.error_code
        if code not in AT_FAULT or code == "rate_limited":
            return
        # Calls that were answered meanwhile weigh more than a list that was not.
        since = self.windows.recent(started_ms, check.at_ms)
        if any(sample.good and sample.provider == slug for sample in since):
            return
        self.breakers.update(
            slug,
            lambda stored: (
                Breaker.from_json(stored).on_failure(check.at_ms, code, settings=_AT_ONCE).to_json()
            ),
            now_ms=check.at_ms,
        )


#: A provider's list of models must come within this, so that trouble shows within 5 s.
CHECK_S = 4.0


class ProviderReport(Struct, frozen=True):
    """A provider with its models. ``daily_nusd`` None where some cost is unknown; ``slots``: its
    queue now, and of the last hour."""

    provider: Provider
    health: Health
    models: tuple[Health, ...]
    check: Check | None
    active_models: int
    daily_requests: int
    daily_nusd: int | None
    slots: SlotUse = field(default=SlotUse(None))

    def seen_at(self, health: Health) -> int | None:
        """When the newest evidence for a verdict, its own or one of its models', came; None
        without any."""
        window = health.window
        found = (
            None if self.check is None else self.check.at_ms,
            window.last_good_at_ms,
            window.last_error_at_ms,
        )
        return max((at for at in found if at is not None), default=None)


class FleetHealth(Struct, frozen=True):
    at_ms: int
    overall: Overall
    trend: Trend
    providers: tuple[ProviderReport, ...]
    last_check_ms: int | None
    disabled: tuple[str, ...] = field(default=())

    def of(self, slug: str) -> Health | None:
        """A provider's verdict; None for one that is disabled or absent."""
        return next((r.health for r in self.providers if r.provider.slug == slug), None)

    @property
    def healthy(self) -> int:
        return sum(report.health.status == "healthy" for report in self.providers)

    @property
    def bar(self) -> str:
        return bar([report.health.status for report in self.providers])


class HealthReporter(Struct, kw_only=True, eq=False):
    """Args:
    has_key: whether a provider can be called, without unlocking anything.
    private: takes out of a report what its reader may not see.
    """

    providers: Providers
    models: Models
    breakers: Breakers
    windows: HealthWindows
    recorder: CheckRecorder
    lister: Lister
    has_key: Callable[[Provider], bool]
    clock: Clock
    private: Callable[[FleetHealth], FleetHealth] | None = None

    def report(self) -> FleetHealth:
        """Look at what is stored; sends nothing."""
        now_ms = self._now()
        look = _Look(
            now_ms=now_ms,
            samples=_grouped(self.windows.recent(now_ms - WINDOW_MS, now_ms)),
            hours=self.windows.hours(now_ms),
            checks=self.windows.checks(),
            breakers={k: Breaker.from_json(v) for k, v in self.breakers.all().items()},
            stuck=self.windows.stuck(now_ms),
            slots=self.windows.slots(now_ms - HOUR_MS),
            today=self.windows.today(now_ms),
        )
        every = self.providers.all()
        enabled = [provider for provider in every if provider.enabled]
        by_provider: dict[str, list[ModelInfo]] = {}
        for model in self._judged([provider.slug for provider in enabled], look):
            by_provider.setdefault(model.provider, []).append(model)
        judged = (
            self._provider(provider, by_provider.get(provider.slug, []), look)
            for provider in enabled
        )
        reports = tuple(sorted(judged, key=lambda report: SEVERITY.index(report.health.status)))
        checked = [r.check.at_ms for r in reports if r.check is not None]
        found = FleetHealth(
            at_ms=now_ms,
            overall=overall(report.health.status for report in reports),
            trend=overall_trend(report.health.trend for report in reports),
            providers=reports,
            last_check_ms=max(checked, default=None),
            disabled=tuple(provider.slug for provider in every if not provider.enabled),
        )
        return found if self.private is None else self.private(found)

    def _judged(self, slugs: list[str], look: "_Look") -> list[ModelInfo]:
        """Active models, and those of others that were called lately: a provider has hundreds."""
        found = {model.id: model for model in self.models.of_providers(slugs, ("active",))}
        for name in {name for samples in look.samples.values() for name in samples} - found.keys():
            model = self.models.get(name)
            if model is not None and model.provider in slugs and not model.hidden:
                found[name] = model
        return [found[name] for name in sorted(found)]

    def _provider(
        self, provider: Provider, models: list[ModelInfo], look: "_Look"
    ) -> ProviderReport:
        slug = provider.slug
        check = look.checks.get(slug)
        windows = look.windows_of(slug)
        own = provider_health(
            slug,
            samples=window_of_all(look.samples_of(slug), windows),
            hours=look.of_provider(slug),
            now_ms=look.now_ms,
            breaker=look.breakers.get(slug),
            check=check,
            maintenance=provider.status == "maintenance",
            has_key=self.has_key(provider),
            serves=any(model.status == "active" for model in models),
        )
        healths = tuple(
            model_health(
                model.id,
                windows.get(model.id, Window()),
                look.hours.get((slug, model.id), []),
                now_ms=look.now_ms,
                breaker=look.breakers.get(model.id),
                provider=own,
                # A simulated provider serves whatever the real one has retired.
                retired_on=None if provider.simulated else model.retired_on,
                today=utc_day(look.now_ms),
                stuck=look.stuck.get(model.id, 0),
            )
            for model in models
        )
        calls, nusd, unknown = look.today.get(slug, (0, 0, False))
        return ProviderReport(
            provider=provider,
            health=with_models(own, healths),
            models=healths,
            check=check,
            active_models=sum(model.status == "active" for model in models),
            daily_requests=calls,
            daily_nusd=None if unknown else nusd,
            slots=look.slots.get(slug, SlotUse(provider.max_concurrency)),
        )

    def check(
        self,
        slugs: Iterable[str] | None = None,
        *,
        limit_s: float = CHECK_S,
        asked: bool = False,
        together: bool = False,
    ) -> Iterator[tuple[str, Check]]:
        """Ask enabled providers for their models, all at once; yields as they answer.

        What was found is stored, and opens or closes the circuit breakers, so that routing
        knows it too. Providers without such a call are passed over. ``asked``: by a person, just
        now. ``together``: all is stored, and told, when the last one has answered: every reader of
        the store looks again once and not once for each.
        """
        wanted = None if slugs is None else set(slugs)
        enabled = [
            provider
            for provider in self.providers.all()
            if provider.enabled
            and provider.status != "maintenance"
            and (wanted is None or provider.slug in wanted)
        ]
        started = self._now()
        answers = self._answers(enabled, started, limit_s)
        for some in [list(answers)] if together else ([one] for one in answers):
            self.recorder.keep(some, started_ms=started, asked=asked)
            for provider, check in some:
                yield provider.slug, check

    def _answers(
        self, enabled: list[Provider], started_ms: int, limit_s: float
    ) -> Iterator[tuple[Provider, Check]]:
        ready, refused = self.lister.prepare_all(enabled, timeout_s=limit_s)
        by_slug = {provider.slug: provider for provider in enabled}
        for slug, result in at_once(self.lister.fetcher(), ready, limit_s=limit_s):
            now_ms = self._now()
            if isinstance(result, Exception) and not isinstance(result, OmniError):
                raise result
            found = result if isinstance(result, Exception) else len(result)
            yield by_slug[slug], check_of(found, now_ms, now_ms - started_ms)
        for slug, error in refused.items():
            if error.code != "usage":
                yield by_slug[slug], check_of(error, self._now(), 0)

    def prune(self) -> None:
        self.windows.prune(self._now())

    def _now(self) -> int:
        return int(self.clock() * 1000)


class _Look(Struct, frozen=True):
    """Everything stored that one report needs, read once."""

    now_ms: int
    samples: Mapping[str, Mapping[str, list[Sample]]]
    hours: dict[tuple[str, str], list[Hour]]
    checks: dict[str, Check]
    breakers: dict[str, Breaker]
    stuck: Mapping[str, int]
    slots: Mapping[str, SlotUse]
    today: dict[str, tuple[int, int, bool]]

    def samples_of(self, slug: str) -> Iterator[Sample]:
        for samples in self.samples.get(slug, {}).values():
            yield from samples

    def windows_of(self, slug: str) -> dict[str, Window]:
        """By model: those that were called lately."""
        check = self.checks.get(slug)
        answered = [
            at_ms
            for at_ms, ok in (() if check is None else check.series)
            if ok and self.now_ms - at_ms <= WINDOW_MS
        ]
        return {
            model: window_of(samples, answered)
            for model, samples in self.samples.get(slug, {}).items()
        }

    def of_provider(self, slug: str) -> list[Hour]:
        """Its models' hours and its checks together."""
        sums: dict[int, Hour] = {}
        for (provider, model), hours in self.hours.items():
            for hour in hours if provider == slug else ():
                old = sums.get(hour.hour, Hour(hour.hour, 0, 0))
                # A check's latency is no answer's: only its verdict counts.
                timed = hour if model else replace(hour, latency_ms=0)
                sums[hour.hour] = Hour(
                    hour.hour,
                    old.good + hour.good,
                    old.bad + hour.bad,
                    old.latency_ms + timed.latency_ms,
                    old.gen_ms + hour.gen_ms,
                    old.gen_tokens + hour.gen_tokens,
                )
        return [sums[hour] for hour in sorted(sums)]


def _grouped(samples: Iterable[Sample]) -> dict[str, dict[str, list[Sample]]]:
    """By provider and model."""
    found: dict[str, dict[str, list[Sample]]] = {}
    for sample in samples:
        found.setdefault(sample.provider, {}).setdefault(sample.model, []).append(sample)
    return found


def health_document(fleet: FleetHealth) -> dict[str, Any]:
    """What ``omni health --json`` prints."""
    return {
        "at": iso(fleet.at_ms),
        "overall_health": fleet.overall,
        "health_trend": fleet.trend,
        "last_health_check": iso(fleet.last_check_ms),
        "total_providers": len(fleet.providers) + len(fleet.disabled),
        "active_providers": len(fleet.providers),
        "healthy_providers": fleet.healthy,
        "bar": fleet.bar,
        "providers": [_provider_document(report) for report in fleet.providers],
    }


def _provider_document(report: ProviderReport) -> dict[str, Any]:
    check = report.check
    return {
        "id": report.provider.slug,
        "name": report.provider.name,
        "type": report.provider.protocol,
        "simulated": report.provider.simulated,
        **_target_document(report.health),
        "daily_requests": report.daily_requests,
        "daily_cost_usd": usd(report.daily_nusd),
        "available_models": report.active_models,
        "check": None
        if check is None
        else {
            **document(check, "at_ms", "ok", "latency_ms", "models"),
            "error": check.error_code,
            "message": check.error_message,
        },
        "slots": {
            **document(report.slots, "limit", "in_use", "waiting"),
            "waited_last_hour": report.slots.waits,
            "longest_wait_ms": report.slots.longest_ms,
        },
        "models": [{"id": m.target, **_target_document(m)} for m in report.models],
    }


def _target_document(health: Health) -> dict[str, Any]:
    window = health.window

    def whole(value: float | None) -> int | None:
        return None if value is None else round(value)

    return {
        "status": health.status,
        "reason": health.reason,
        "response_time_ms": whole(window.latency_p50_ms),
        "response_time_p95_ms": whole(window.latency_p95_ms),
        "ttft_ms": whole(window.ttft_p50_ms),
        "tokens_per_second": None if window.tokens_per_s is None else round(window.tokens_per_s, 1),
        "success_rate": None if window.success_rate is None else round(window.success_rate, 4),
        "recent_calls": window.calls,
        "recoveries": window.recoveries,
        "recovered_at": iso(window.since_ms or None),
        **document(window, "errors", "last_error", "last_error_at_ms"),
        "uptime": None if health.uptime is None else round(health.uptime, 4),
        "trend": health.trend,
        "retires_on": health.retires_on,
    }
