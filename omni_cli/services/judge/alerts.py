"""Alerts: what is worth telling, told once, and where to.

A subject's level is told when it changes. Two changes are told at once (trouble, and its end);
further ones within the quiet time wait until it is over, and then the level of that moment is
told: a flapping provider cannot flood anyone, and the last word is always true.
"""

import hashlib
import hmac
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol
from urllib.parse import urlsplit
from xml.sax.saxutils import escape

from msgspec import Struct

from omni_cli.domain.budgets import BudgetStatus
from omni_cli.domain.document import document
from omni_cli.domain.errors import ConnectionFailed, OmniError, UsageError
from omni_cli.domain.health import HealthStatus
from omni_cli.domain.money import format_usd
from omni_cli.ports import Clock
from omni_cli.repositories import Alerts
from omni_cli.services.judge.health_report import FleetHealth, HealthReporter

Level = Literal["ok", "info", "warning", "error"]
#: How long a place to tell may take, seconds.
SEND_S = 10.0


class Alert(Struct, frozen=True):
    """``key`` is the subject (``provider:openai``); levels of one subject follow each other."""

    key: str
    level: Level
    title: str
    text: str
    at_ms: int = 0


class Sink(Protocol):
    """A place to tell. Raises OmniError or OSError when it cannot."""

    name: str

    def send(self, alert: Alert) -> None: ...


class Alerter:
    """Args:
    quiet_s: seconds in which at most two alerts of one subject are told.
    note: told of places that could not be reached.
    """

    def __init__(
        self,
        store: Alerts,
        sinks: Sequence[Sink],
        *,
        clock: Clock,
        quiet_s: float,
        note: Callable[[str], None],
    ) -> None:
        self._store = store
        self._sinks = sinks
        self._clock = clock
        self._quiet_ms = int(quiet_s * 1000)
        self._note = note
        self._sending: list[threading.Thread] = []

    def consider(self, alert: Alert) -> bool:
        """Tell it if it is news; returns whether it was told."""
        now_ms = int(self._clock() * 1000)
        level, last, before = self._store.told(alert.key) or ("ok", 0, 0)
        if level == alert.level:
            return False
        # A clock that was put back must not silence alerts: a time to come counts as long ago.
        if last and before and 0 <= now_ms - before < self._quiet_ms:
            return False
        self._store.tell(alert.key, level=alert.level, text=alert.text, at_ms=now_ms)
        dated = Alert(alert.key, alert.level, alert.title, alert.text, now_ms)
        for sink in self._sinks:
            self._send(sink, dated)
        return True

    def finish(self) -> None:
        """Wait for what is being sent, SEND_S at most."""
        for thread in self._sending:
            thread.join(SEND_S)
        self._sending = []

    def _send(self, sink: Sink, alert: Alert) -> None:
        """Each place in its own thread: a slow webhook must not delay the watch."""

        def run() -> None:
            try:
                sink.send(alert)
            except (OmniError, OSError, subprocess.SubprocessError) as exc:
                self._note(f"alert not sent to {sink.name}: {exc}")

        self._sending = [thread for thread in self._sending if thread.is_alive()]
        thread = threading.Thread(target=run, name=f"alert {sink.name}", daemon=True)
        thread.start()
        self._sending.append(thread)


class Terminal:
    """A line through ``write``."""

    name = "terminal"

    def __init__(self, write: Callable[[Alert], None]) -> None:
        self._write = write

    def send(self, alert: Alert) -> None:
        self._write(alert)


class Desktop:
    """The desktop's own notifications."""

    name = "desktop"

    def __init__(self, words: Sequence[str]) -> None:
        self._words = words

    @classmethod
    def find(cls) -> "Desktop | None":
        """None where this machine has no way to notify."""
        if sys.platform == "darwin" and shutil.which("osascript"):
            return cls(("osascript",))
        path = shutil.which("notify-send")
        shown = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
        return cls((path,)) if path and shown else None

    def send(self, alert: Alert) -> None:
        if self._words[0] == "osascript":
            script = (
                f"display notification {json.dumps(alert.text)}"
                f" with title {json.dumps(alert.title)}"
            )
            words = [*self._words, "-e", script]
        else:
            urgency = "critical" if alert.level == "error" else "normal"
            words = [*self._words, "--app-name=omni", f"--urgency={urgency}"]
            words += ["--", alert.title, alert.text]
        subprocess.run(words, check=True, capture_output=True, timeout=SEND_S)  # noqa: S603  # the desktop's notifier


class Command:
    """The user's own command: the alert as JSON on its stdin, its level and title in
    ``OMNI_ALERT_LEVEL`` and ``OMNI_ALERT_TITLE``."""

    name = "command"

    def __init__(self, line: str) -> None:
        self._line = line

    def send(self, alert: Alert) -> None:
        env = {**os.environ, "OMNI_ALERT_LEVEL": alert.level, "OMNI_ALERT_TITLE": alert.title}
        subprocess.run(  # noqa: S602  # the user's own command, as typed
            self._line,
            shell=True,
            check=True,
            input=json.dumps(document(alert)),
            text=True,
            capture_output=True,
            timeout=SEND_S,
            env=env,
        )


class Webhook:
    """A POST of JSON. Slack and Discord get the shape that they take (``text``, ``content``);
    any other address gets both and the alert's fields.

    With a secret, ``X-Omni-Signature`` is ``sha256=`` and the HMAC-SHA256, in hex, of the value
    of ``X-Omni-Timestamp`` (seconds UTC), a dot, and the body.
    """

    name = "webhook"

    def __init__(self, url: str, secret: str | None, *, clock: Clock) -> None:
        if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
            raise UsageError("the webhook is no http or https address")
        self._url = url
        self._secret = secret
        self._clock = clock

    def body(self, alert: Alert) -> bytes:
        mark = {"ok": "✅", "info": "ℹ️", "warning": "⚠️", "error": "🔴"}[alert.level]
        line = f"{mark} {alert.title}: {alert.text}"
        host = urlsplit(self._url).hostname or ""
        fields: dict[str, Any] = {"text": line, "content": line, "alert": document(alert)}
        if host.endswith("slack.com"):
            fields = {"text": line}
        elif host.endswith(("discord.com", "discordapp.com")):
            fields = {"content": line}
        return json.dumps(fields, ensure_ascii=False).encode()

    def send(self, alert: Alert) -> None:
        import urllib.error
        import urllib.request

        body = self.body(alert)
        headers = {"content-type": "application/json", "user-agent": "omni"}
        if self._secret:
            stamp = str(int(self._clock()))
            headers["x-omni-timestamp"] = stamp
            headers["x-omni-signature"] = signature(self._secret, stamp, body)
        call = urllib.request.Request(  # noqa: S310  # the scheme was checked
            self._url, data=body, headers=headers, method="POST"
        )
        host = urlsplit(self._url).hostname
        # The address itself is a secret of Slack's and Discord's: errors name the host alone.
        try:
            with urllib.request.urlopen(call, timeout=SEND_S):  # noqa: S310  # the scheme was checked
                return
        except urllib.error.HTTPError as exc:
            fault = f"{host} answered {exc.code}"
            exc.close()
        except (OSError, ValueError):
            fault = f"{host} cannot be reached"
        raise ConnectionFailed(fault)


def sinks(
    tell: Callable[[Alert], None],
    *,
    desktop: bool,
    webhook: str,
    secret: str | None,
    command: str,
    clock: Clock,
) -> list[Sink]:
    """``tell``, and every place that is named. Raises UsageError: the webhook is no address."""
    found: list[Sink] = [Terminal(tell)]
    if desktop and (notifier := Desktop.find()) is not None:
        found.append(notifier)
    if webhook:
        found.append(Webhook(webhook, secret, clock=clock))
    if command:
        found.append(Command(command))
    return found


def signature(secret: str, stamp: str, body: bytes) -> str:
    """What ``X-Omni-Signature`` holds."""
    signed = hmac.new(secret.encode(), stamp.encode() + b"." + body, hashlib.sha256)
    return f"sha256={signed.hexdigest()}"


def budget_alerts(statuses: Iterable[BudgetStatus]) -> Iterator[Alert]:
    """The highest threshold that each budget has passed, and the stop where nothing is left."""
    for status in statuses:
        budget, used = status.budget, status.used_percent
        subject = f"budget:{budget.id}:{status.start_at}"
        text = f"{format_usd(status.spent_nusd)} of {format_usd(status.stop_at_nusd)} spent"
        if status.left_nusd <= 0:
            yield Alert(
                f"{subject}:stop",
                "error",
                f"the {budget.label} is used up",
                f"{text}; calls are refused until it resets, or omni budgets raise {budget.id}",
            )
            continue
        passed = [
            percent for percent in budget.alerts_percent if used is not None and used >= percent
        ]
        if passed:
            yield Alert(
                f"{subject}:{max(passed):g}",
                "warning",
                f"the {budget.label} is at {used:.0f} %",
                text,
            )


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


def every(name: str, seconds: float, run: Callable[[], list[Alert]]) -> Chore:
    """Due at once, and then each time so long after its last end."""
    ended = time.monotonic() - seconds

    def go() -> list[Alert]:
        nonlocal ended
        try:
            return run()
        finally:
            ended = time.monotonic()

    return Chore(name, lambda: ended + seconds - time.monotonic(), go)


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
    ) -> None:
        self._reporter = reporter
        self._alerter = alerter
        self._chores = chores
        self._changed = changed
        self._seen = seen
        self._note = note
        self._stop = stop

    def once(self) -> FleetHealth:
        """One round of everything that is due."""
        self.check()
        self.chores()
        health = self.look()
        self._alerter.finish()
        return health

    def run(self, interval_s: float) -> None:
        """Until ``stop``. ``interval_s``: between two rounds of checks."""
        next_check = next_look = time.monotonic()
        version = -1
        while not self._stop():
            now = time.monotonic()
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
            time.sleep(LOOK_S)
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
