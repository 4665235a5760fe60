"""What a check of a provider found, kept once for all who judge by it: the health report, the
provider's last test, and the circuit breakers, so that routing knows in the same moment."""

from collections.abc import Sequence
from typing import Protocol

from omni_cli.domain.breaker import DEFAULT_SETTINGS, Breaker
from omni_cli.domain.errors import MissingKey, OmniError, ProviderError
from omni_cli.domain.evidence import AT_FAULT, UNSEEN_BY_CHECKS, Check, Sample
from omni_cli.domain.models import Provider, ProviderStatus
from omni_cli.domain.record import replace
from omni_cli.repositories import Breakers, Providers

#: A check that fails opens the provider's breaker at once: it is a probe, not one call of many.
_AT_ONCE = replace(DEFAULT_SETTINGS, failures=1)


class CheckWindows(Protocol):
    """See store/health_windows.py."""

    def add_check(self, provider: str, check: Check) -> None: ...
    def recent(self, since_ms: int, now_ms: int) -> Sequence[Sample]: ...


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


class CheckRecorder:
    """The only place that writes down what a check found, whoever asked for it."""

    def __init__(self, windows: CheckWindows, providers: Providers, breakers: Breakers) -> None:
        self._windows = windows
        self._providers = providers
        self._breakers = breakers

    def keep(self, provider: Provider, check: Check, *, started_ms: int, asked: bool) -> None:
        """
        Args:
            started_ms: when the provider was asked.
            asked: a person asked for this check, and is told of what it forgives: see
                ``_forgive``.
        """
        self._windows.add_check(provider.slug, check)
        self._providers.record_test(
            provider.slug,
            _status(provider, check),
            at_ms=check.at_ms,
            latency_ms=check.latency_ms,
            error=check.error_message,
        )
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
        for target, text in self._breakers.all().items():
            if target != slug and not target.startswith(f"{slug}/"):
                continue
            old = Breaker.from_json(text)
            again = target != slug and old.opened > 1
            if asked or not (again or old.last_error in UNSEEN_BY_CHECKS):
                self._breakers.update(
                    target,
                    lambda stored: Breaker.from_json(stored).on_check().to_json(),
                    now_ms=at_ms,
                )

    def _blame(self, slug: str, check: Check, started_ms: int) -> None:
        code = check.error_code
        if code not in AT_FAULT or code == "rate_limited":
            return
        # Calls that were answered meanwhile weigh more than a list that was not.
        since = self._windows.recent(started_ms, check.at_ms)
        if any(sample.good and sample.provider == slug for sample in since):
            return
        self._breakers.update(
            slug,
            lambda stored: (
                Breaker.from_json(stored).on_failure(check.at_ms, code, settings=_AT_ONCE).to_json()
            ),
            now_ms=check.at_ms,
        )
