"""Every attempt feeds the circuit breakers that all processes share through the store."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from omni_cli.domain.breaker import DEFAULT_SETTINGS, Breaker
from omni_cli.domain.errors import AuthError, ConnectionFailed, ProviderError, QuotaExceeded
from omni_cli.domain.record import replace
from omni_cli.ports import Clock

if TYPE_CHECKING:
    from omni_cli.repositories import Breakers
    from omni_cli.services.engine.attempts import Target

#: A wrong key, spent credit or a dead connection is the whole provider's trouble; anything else
#: is held against the one model.
_PROVIDER_WIDE = (AuthError, QuotaExceeded, ConnectionFailed)


class HealthRecorder:
    """Args:
    error_rate: the share of calls that fail at which a breaker opens, as the settings say now.
    """

    def __init__(
        self, breakers: Breakers, clock: Clock, error_rate: Callable[[], float] = lambda: 0.5
    ) -> None:
        self._breakers = breakers
        self._clock = clock
        self._error_rate = error_rate

    def admit(self, target: Target) -> str:
        """Why a call must not go now, or "". Claims the probe of breakers that wait for one.

        Nothing is claimed unless all breakers let the call go: a claim without a call would
        keep a model out until it runs out.
        """
        now_ms = self._now()
        waiting = []
        for name in _names(target):
            stored = self._breakers.get(name)
            if stored is None:
                continue
            breaker = Breaker.from_json(stored)
            verdict = breaker.allows(now_ms)
            if not verdict:
                return f"circuit breaker of {name} is open after {breaker.last_error}"
            if verdict == "probe":
                waiting.append(name)
        claimed: list[str] = []
        for name in waiting:
            if not self._claim(name, now_ms):
                for mine in claimed:
                    self._give_back(mine, now_ms, started_ms=now_ms)
                return f"another call is probing {name}"
            claimed.append(name)
        return ""

    def _claim(self, name: str, now_ms: int) -> bool:
        won = False

        def change(stored: str | None) -> str:
            nonlocal won
            breaker = Breaker.from_json(stored)
            claimed = breaker.claim(now_ms)
            won = claimed is not breaker
            return claimed.to_json()

        self._breakers.update(name, change, now_ms=now_ms)
        return won

    def succeeded(self, target: Target, *, started_ms: int) -> None:
        for name in (target.model.id, target.provider.slug):
            if self._breakers.get(name) is not None:
                self._answered(name, started_ms)

    def _answered(self, name: str, started_ms: int) -> None:
        now_ms = self._now()
        self._breakers.update(
            name,
            lambda stored: (
                Breaker.from_json(stored).on_success(now_ms, started_ms=started_ms)
            ).to_json(),
            now_ms=now_ms,
        )

    def failed(self, target: Target, error: ProviderError, *, started_ms: int) -> None:
        """Counts against the model or its provider. For the other one the call proves nothing:
        if it was that one's probe, the probe is given back."""
        now_ms = self._now()
        names = [target.model.id, target.provider.slug]
        if isinstance(error, _PROVIDER_WIDE):
            names.reverse()
        guilty, other = names
        percent = math.ceil(self._error_rate() * 100)
        settings = replace(DEFAULT_SETTINGS, rate_percent=percent)
        self._breakers.update(
            guilty,
            lambda stored: (
                Breaker.from_json(stored).on_failure(
                    now_ms,
                    error.code,
                    started_ms=started_ms,
                    retry_after_s=error.retry_after_s,
                    settings=settings,
                )
            ).to_json(),
            now_ms=now_ms,
        )
        self._give_back(other, now_ms, started_ms=started_ms)

    def cancelled(self, target: Target, *, started_ms: int) -> None:
        """The caller went away, or the call was never made: a claimed probe is given back."""
        for name in _names(target):
            self._give_back(name, self._now(), started_ms=started_ms)

    def _give_back(self, name: str, now_ms: int, *, started_ms: int) -> None:
        if self._breakers.get(name) is None:
            return
        self._breakers.update(
            name,
            lambda stored: (
                Breaker.from_json(stored).on_failure(now_ms, "cancelled", started_ms=started_ms)
            ).to_json(),
            now_ms=now_ms,
        )

    def forgive(self, name: str) -> None:
        """A person mended it (a new key, a passed test): start afresh."""
        if self._breakers.get(name) is not None:
            self._breakers.update(name, lambda _: Breaker().to_json(), now_ms=self._now())

    def _now(self) -> int:
        return int(self._clock() * 1000)


def _names(target: Target) -> tuple[str, str]:
    return target.model.id, target.provider.slug
