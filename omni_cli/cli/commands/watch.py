"""``omni watch``: keep checking and alert, in the foreground or as a user service."""

import signal
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from omni_cli.bootstrap import App
from omni_cli.cli.common import JsonFlag, money, omni
from omni_cli.cli.render import Style, emit_json, moment, note, out, paint
from omni_cli.domain.document import document
from omni_cli.domain.errors import UsageError
from omni_cli.domain.money import usd_to_nusd
from omni_cli.domain.words import counted
from omni_cli.services.judge.alerts import Alert, Chore, Watch, budget_alerts, every
from omni_cli.services.judge.health_report import CHECK_S, FleetHealth, health_document
from omni_cli.services.judge.shadow import shadow_alerts

app = typer.Typer(rich_markup_mode=None)

#: Least time between two tries of a discovery, seconds.
_AGAIN_S = 600.0
#: Between two looks at the A/B tests, seconds.
_EXPERIMENTS_S = 60.0
#: Between two looks at shadows, seconds, and requests that each compares then.
_SHADOWS_S, _SHADOWED = 5.0, 3
#: Between two looks at agents' logs, seconds.
_LOGS_S = 5.0
#: Between two looks whether old requests are to go, seconds.
_RETENTION_S = 600.0
#: Between two looks at budgets and deploys, seconds.
_OFTEN_S = 3.0

_STYLES: dict[str, Style | None] = {
    "ok": "green",
    "info": "cyan",
    "warning": "yellow",
    "error": "red",
}


@app.command()
def watch(
    interval: Annotated[
        float, typer.Option(min=1.0, help="Seconds between two checks of all providers.")
    ] = 30.0,
    discover_every: Annotated[
        float, typer.Option(min=0.0, help="Hours between two looks for new models; 0: never.")
    ] = 24.0,
    once: Annotated[bool, typer.Option("--once", help="One round, then end.")] = False,
    probe: Annotated[
        list[str] | None, typer.Option(help="A model to call for real now and then; billed.")
    ] = None,
    probe_every: Annotated[float, typer.Option(min=10.0, help="Seconds between probes.")] = 900.0,
    probe_cap: Annotated[
        str, typer.Option(help="US dollars that probes may cost in a day.")
    ] = "0.05",
    install: Annotated[
        bool, typer.Option("--install", help="Write a user service; it is not started.")
    ] = False,
    uninstall: Annotated[
        bool, typer.Option("--uninstall", help="Remove the user service's file.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Keep checking all providers, and alert on changes. Ends with Ctrl-C."""
    if install and uninstall:
        raise UsageError("--install and --uninstall exclude each other")
    with omni(quiet=as_json) as omni_app:
        if install or uninstall:
            options = ["--interval", f"{interval:g}", "--discover-every", f"{discover_every:g}"]
            for name in probe or ():
                options += ["--probe", name]
            if probe:
                options += ["--probe-every", f"{probe_every:g}", "--probe-cap", probe_cap]
            _service(omni_app, options, remove=uninstall)
            return
        cap = money(probe_cap, "--probe-cap")
        chores = _chores(omni_app, probe or [], probe_every, 0 if cap is None else usd_to_nusd(cap))
        if discover_every:
            chores += (_discovery(omni_app, discover_every * 3600),)
        chores += (_experiments(omni_app), _shadows(omni_app), _often(omni_app))
        if omni_app.config.store.keep_days:
            chores += (_retention(omni_app),)
        if omni_app.config.imports.follow:
            chores += (_logs(omni_app),)
        _watch(omni_app, interval, chores, once=once, as_json=as_json)


def _watch(
    omni_app: App, interval: float, chores: tuple[Chore, ...], *, once: bool, as_json: bool
) -> None:
    stopping = False

    def stop(*_: Any) -> None:
        nonlocal stopping
        stopping = True

    shown = ""

    def seen(health: FleetHealth) -> None:
        nonlocal shown
        line = f"{health.bar} · fleet {health.overall}"
        if as_json or line == shown:
            return
        shown = line
        out(f"{moment(health.at_ms, omni_app.zone)}  {line}")
        sys.stdout.flush()

    def tell(alert: Alert) -> None:
        if as_json:
            emit_json(document(alert), compact=True)
        else:
            word = paint(alert.title, _STYLES[alert.level] or "bold")
            out(f"{moment(alert.at_ms, omni_app.zone)}  {word}: {alert.text}")
        sys.stdout.flush()

    watcher = Watch(
        reporter=omni_app.reporter,
        alerter=omni_app.alerter(tell),
        chores=chores,
        changed=omni_app.store.data_version,
        seen=seen,
        note=note,
        stop=lambda: stopping,
    )
    if once:
        health = watcher.once()
        if as_json:
            emit_json(health_document(health), compact=True)
        return
    # A service manager ends its services by SIGTERM: end between two steps, not within one.
    signal.signal(signal.SIGTERM, stop)
    watcher.run(interval)


def _chores(omni_app: App, probes: list[str], every_s: float, cap_nusd: int) -> tuple[Chore, ...]:
    chores = []
    if probes:
        from omni_cli.services.fleet.connection_test import probe_chore

        chores.append(probe_chore(omni_app.prober(cap_nusd), probes, every_s))
    return tuple(chores)


def _discovery(omni_app: App, every_s: float) -> Chore:
    tried_at = time.monotonic() - _AGAIN_S

    def due_s() -> float:
        # Where nobody answers nothing is recorded as looked at: do not ask all the time.
        waited = tried_at + _AGAIN_S - time.monotonic()
        return max(waited, omni_app.discovery.due_s(every_s))

    def run() -> list[Alert]:
        nonlocal tried_at
        tried_at = time.monotonic()
        return omni_app.discovery.alerts(omni_app.discovery.discover(limit_s=CHECK_S))

    return Chore("discovery", due_s, run)


def _experiments(omni_app: App) -> Chore:
    """A/B tests end by themselves also while nobody asks the role."""

    def run() -> list[Alert]:
        return [
            Alert(
                f"ab:{test.id}", "info", f"A/B test of role {test.role} {test.state}", test.reason
            )
            for test in omni_app.abtests.evaluate_all()
        ]

    return every("ab", _EXPERIMENTS_S, run)


def _shadows(omni_app: App) -> Chore:
    """Challengers answer what was asked meanwhile, a few requests at a time."""
    return every("shadow", _SHADOWS_S, lambda: shadow_alerts(omni_app.shadow, most=_SHADOWED))


def _logs(omni_app: App) -> Chore:
    """Logs of agents that were imported before go on being read."""

    def run() -> list[Alert]:
        omni_app.logs.follow()
        return []

    return every("logs", _LOGS_S, run)


def _retention(omni_app: App) -> Chore:
    """Old requests go, once a day whoever does it."""

    def run() -> list[Alert]:
        done = omni_app.maintenance.retain()
        if done is None or not done.removed:
            return []
        text = f"{counted(done.removed, 'request')} from before {moment(done.before_ms, 'UTC')} UTC"
        return [Alert("retention", "info", "old requests were removed", text)]

    return every("retention", _RETENTION_S, run)


def _often(omni_app: App) -> Chore:
    """Budgets' thresholds and stops, whoever spends; the deploy under way; models that change."""

    def run() -> list[Alert]:
        money = budget_alerts(omni_app.budget_admin.statuses())
        return [*money, *omni_app.deploys.check(), *omni_app.drift.alerts()]

    return every("budgets and deploys", _OFTEN_S, run)


def _service(omni_app: App, options: list[str], *, remove: bool) -> None:
    from omni_cli.services.judge.alerts import service_file

    home = Path(omni_app.env.get("HOME") or Path.home())
    program = [sys.executable, "-m", "omni_cli", "watch", *options]
    kept = {k: v for k, v in omni_app.env.items() if k in ("OMNI_HOME", "XDG_DATA_HOME")}
    service = service_file(sys.platform, home, program, kept, omni_app.env)
    if remove:
        if not service.path.exists():
            out(f"there is no {service.path}")
            return
        out("first end the service:")
        for line in service.stop:
            out(f"  {line}")
        service.path.unlink()
        out(f"removed {service.path}")
        return
    service.path.parent.mkdir(parents=True, exist_ok=True)
    service.path.write_text(service.text, "utf-8")
    out(f"wrote {service.path}; nothing was started. To start it now and at every login:")
    for line in service.start:
        out(f"  {line}")
    if service.remark:
        note(service.remark)
