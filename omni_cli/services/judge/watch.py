"""Watching the fleet: checks on a schedule, a look at every change, and alerts."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from xml.sax.saxutils import escape

from msgspec import Struct

from omni_cli.domain.errors import UsageError
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


UNIT = "omni-watch.service"
LABEL = "dev.omni.watch"


class ServiceFile(Struct, frozen=True):
    """``start`` and ``stop``: what the user types, line by line."""

    path: Path
    text: str
    start: tuple[str, ...]
    stop: tuple[str, ...]
    remark: str = ""


def service_file(
    platform: str,
    home: Path,
    program: Sequence[str],
    variables: Mapping[str, str],
    env: Mapping[str, str],
) -> ServiceFile:
    """
    Args:
        platform: ``sys.platform``.
        program: the command with its arguments.
        variables: environment that the service needs; no secret belongs there.
        env: the user's environment, for XDG_CONFIG_HOME.

    Raises:
        UsageError: neither systemd nor launchd runs on this platform.
    """
    if platform == "darwin":
        return _launchd(home, program, variables)
    if platform.startswith("linux"):
        return _systemd(home, program, variables, env)
    raise UsageError(
        f"no user services on {platform}", hint="run omni watch in a terminal that stays open"
    )


def _systemd(
    home: Path, program: Sequence[str], variables: Mapping[str, str], env: Mapping[str, str]
) -> ServiceFile:
    folder = Path(env.get("XDG_CONFIG_HOME") or home / ".config") / "systemd" / "user"
    lines = [
        "[Unit]",
        "Description=omni watch: health of AI models",
        "After=network-online.target",
        "",
        "[Service]",
        f"ExecStart={' '.join(_quoted(word) for word in program)}",
        *(f"Environment={_quoted(f'{name}={value}')}" for name, value in variables.items()),
        "Restart=on-failure",
        "RestartSec=10",
        "Nice=10",
        "",
        "[Install]",
        "WantedBy=default.target",
    ]
    return ServiceFile(
        folder / UNIT,
        "\n".join(lines) + "\n",
        ("systemctl --user daemon-reload", f"systemctl --user enable --now {UNIT}"),
        (f"systemctl --user disable --now {UNIT}",),
        "A service sees no variables of your shell: keys must be in the keyring or in omni's "
        "own file (omni providers key SLUG --stdin).",
    )


def _quoted(word: str) -> str:
    """As systemd reads words: in double quotes, with its own marks doubled."""
    plain = word.replace("%", "%%").replace("$", "$$")
    if plain and not set(plain) & set(" \t\"'\\;"):
        return plain
    escaped = plain.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _launchd(home: Path, program: Sequence[str], variables: Mapping[str, str]) -> ServiceFile:
    path = home / "Library" / "LaunchAgents" / f"{LABEL}.plist"
    words = "".join(f"    <string>{escape(word)}</string>\n" for word in program)
    pairs = "".join(
        f"    <key>{escape(name)}</key>\n    <string>{escape(value)}</string>\n"
        for name, value in variables.items()
    )
    text = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" '
        '"http://www.apple.com/DTDs/PropertyList-1.0.dtd">\n'
        '<plist version="1.0">\n<dict>\n'
        f"  <key>Label</key>\n  <string>{LABEL}</string>\n"
        f"  <key>ProgramArguments</key>\n  <array>\n{words}  </array>\n"
        f"  <key>EnvironmentVariables</key>\n  <dict>\n{pairs}  </dict>\n"
        "  <key>RunAtLoad</key>\n  <true/>\n"
        "  <key>KeepAlive</key>\n  <dict>\n    <key>SuccessfulExit</key>\n    <false/>\n"
        "  </dict>\n</dict>\n</plist>\n"
    )
    return ServiceFile(
        path,
        text,
        (f"launchctl bootstrap gui/$(id -u) {path}",),
        (f"launchctl bootout gui/$(id -u)/{LABEL}",),
        "A service sees no variables of your shell: keys must be in the keyring or in omni's "
        "own file (omni providers key SLUG --stdin).",
    )
