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
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal, Protocol
from urllib.parse import urlsplit

from msgspec import Struct

from omni_cli.domain.budgets import BudgetStatus
from omni_cli.domain.document import document
from omni_cli.domain.errors import ConnectionFailed, OmniError, UsageError
from omni_cli.domain.pricing import format_usd
from omni_cli.ports import Clock
from omni_cli.repositories import Alerts

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
