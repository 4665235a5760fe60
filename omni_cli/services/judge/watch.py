"""Watching the fleet: checks on a schedule, a look at every change, and alerts."""

import time
from collections.abc import Callable, Iterator

from msgspec import Struct

from omni_cli.domain.health import HealthStatus
from omni_cli.services.judge.alerts import Alert, Alerter, Level
from omni_cli.services.judge.health_report import FleetHealth, HealthReporter

#: How often the store is asked whether anything changed, seconds.
LOOK_S = 1.0
#: A look without any change, because time alone changes verdicts, seconds.
IDLE_LOOK_S = 15.0

_LEVELS: dict[HealthStatus, Level] = {
    "healthy": "ok",
    "maintenance": "ok",
    "unknown": "ok",
    "warning": "warning",
    "error": "error",
}


class Chore(Struct, frozen=True):
    """Something to do every so often besides health: discovery, A/B tests, paid probes.

    ``due_s``: seconds until it is due, asked before each round. ``run`` returns alerts.
    """

    name: str
    due_s: Callable[[], float]
    run: Callable[[], list[Alert]]


class Watch:
    """Args:
    changed: a number that changes whenever another process writes to the store.
    stop: asked between steps; True ends the watch.
    seen: given the fleet's health after each look.
    """

    def __init__(
        self,
        *,
        reporter: HealthReporter,
        alerter: Alerter,
        chores: tuple[Chore, ...] = (),
        changed: Callable[[], int],
        seen: Callable[[FleetHealth], None],
        note: Callable[[str], None],
        stop: Callable[[], bool] = lambda: False,
        sleep: Callable[[float], None] = time.sleep,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._reporter = reporter
        self._alerter = alerter
        self._chores = chores
        self._changed = changed
        self._seen = seen
        self._note = note
        self._stop = stop
        self._sleep = sleep
        self._timer = timer

    def once(self) -> FleetHealth:
        """One round of everything that is due."""
        self.check()
        self.chores()
        health = self.look()
        self._alerter.finish()
        return health

    def run(self, interval_s: float) -> None:
        """Until ``stop``. ``interval_s``: between two rounds of checks."""
        next_check = next_look = self._timer()
        version = -1
        while not self._stop():
            now = self._timer()
            if now >= next_check:
                self.check()
                self._reporter.prune()
                next_check = now + interval_s
                next_look = now
            self.chores()
            fresh = self._changed()
            if fresh != version or now >= next_look:
                version = fresh
                self.look()
                next_look = now + IDLE_LOOK_S
            self._sleep(LOOK_S)
        self._alerter.finish()

    def check(self) -> None:
        """Ask every provider; look again as each answers, so that none waits for another."""
        for _slug, _check in self._reporter.check():
            self.look()

    def chores(self) -> None:
        for chore in self._chores:
            if chore.due_s() > 0:
                continue
            for alert in chore.run():
                self._alerter.consider(alert)

    def look(self) -> FleetHealth:
        health = self._reporter.report()
        for alert in health_alerts(health):
            self._alerter.consider(alert)
        self._seen(health)
        return health


def health_alerts(health: FleetHealth) -> Iterator[Alert]:
    """The level of every provider, as alerts; the alerter tells those that changed."""
    for report in health.providers:
        slug, verdict = report.provider.slug, report.health
        if verdict.status == "unknown":
            continue
        yield Alert(
            f"provider:{slug}", _LEVELS[verdict.status], f"{slug} {verdict.status}", verdict.reason
        )
