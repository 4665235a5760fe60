"""``omni health``: how every provider and model is doing."""

import functools
from typing import Annotated

import typer

from omni_cli.bootstrap import App
from omni_cli.cli.common import complete_models, grouped, money, omni
from omni_cli.cli.render import Style, milliseconds, moment, note, out, paint
from omni_cli.cli.tables import Column, View, listing
from omni_cli.domain.errors import AssertionFailed
from omni_cli.domain.health import Health, HealthStatus
from omni_cli.domain.money import format_usd, usd_to_nusd
from omni_cli.domain.words import percent
from omni_cli.services.judge.health_report import CHECK_S, FleetHealth, health_document

app = typer.Typer(rich_markup_mode=None)

_STYLES: dict[str, Style] = {
    "healthy": "green",
    "warning": "yellow",
    "degraded": "yellow",
    "error": "red",
    "critical": "red",
    "maintenance": "cyan",
    "unknown": "dim",
}


@app.command()
@grouped
def health(
    check: Annotated[
        bool, typer.Option("--check", help="Ask every provider now; never billed.")
    ] = False,
    probe: Annotated[
        list[str] | None,
        typer.Option(autocompletion=complete_models, help="Call a model for real; billed."),
    ] = None,
    probe_cap: Annotated[
        str, typer.Option(help="US dollars that probes may cost in a day.")
    ] = "0.05",
    models: Annotated[bool, typer.Option("--models", help="Show every model.")] = False,
    fail: Annotated[
        bool, typer.Option("--exit-code", "--fail", help="Exit with 7 unless all is healthy.")
    ] = False,
    timeout: Annotated[
        float, typer.Option(min=0.1, help="Seconds that a provider has for --check.")
    ] = CHECK_S,
    *,
    view: View,
) -> None:
    """How every provider and model is doing, from your own calls; --check asks them now."""
    with omni(quiet=view.data) as omni_app:
        if check:
            for _ in omni_app.reporter.check(limit_s=timeout, asked=True):
                pass
        if probe:
            _probe(omni_app, probe, probe_cap, quiet=view.data)
        report = omni_app.reporter.report()
        show(view, report, omni_app.zone, models=models)
    if fail and report.overall != "healthy":
        if view.as_json:
            raise typer.Exit(7)
        raise AssertionFailed(
            f"the fleet is {report.overall}", hint="omni health --check --models says why"
        )


def _probe(omni_app: App, names: list[str], cap: str, *, quiet: bool) -> None:
    amount = money(cap, "--probe-cap")
    prober = omni_app.prober(usd_to_nusd(amount) if amount is not None else 0)
    for name in names:
        result = prober.probe(name)
        if not quiet:
            said = "answered" if result.error is None else f"failed: {result.error.message}"
            cost = format_usd(result.cost_nusd)
            note(f"probe {result.model}: {said} in {milliseconds(result.latency_ms)}, {cost}")


def show(view: View, report: FleetHealth, zone: str, *, models: bool) -> None:
    """The report, on stdout."""
    if not report.providers and not view.data:
        out("no provider in the fleet; omni init finds what this machine can use")
        return
    word = paint(report.overall, _STYLES[report.overall])
    trend = "" if report.trend == "unknown" else f", {report.trend}"
    if not view.data:
        out(f"{report.bar} · fleet {word}{trend}")
        out()
    rows: list[tuple[str, ...]] = []
    styles: list[Style | None] = []
    for item in report.providers:
        cost = format_usd(item.daily_nusd)
        rows.append(
            (
                item.provider.slug,
                *_cells(item.health),
                f"{item.daily_requests:,}",
                cost,
                item.health.reason,
            )
        )
        styles.append(_row_style(item.health.status))
        if models:
            for model in item.models:
                rows.append(("  " + model.target, *_cells(model), "", "", model.reason))
                styles.append(_row_style(model.status))
    document = functools.partial(health_document, report)
    listing(
        view,
        (
            Column.key("provider"),
            Column.words("status", 9, 11),
            Column.figure("response", 4),
            Column.figure("p95", 1),
            Column.figure("success", 6),
            Column.figure("uptime", 2),
            Column.figure("today", 3),
            Column.money("cost"),
            Column.words("why", 7, 16),
        ),
        rows,
        lambda: document()["providers"],
        whole=document,
        styles=styles,
    )
    if view.data:
        return
    for item in report.providers:
        slots = item.slots
        if slots.waiting or slots.waits:
            out(
                f"{item.provider.slug}: {slots.waiting} wait for one of {slots.limit} slots; "
                f"{slots.waits:,} waited in the last hour, {milliseconds(slots.longest_ms)} at most"
            )
    if report.disabled:
        out(f"disabled: {', '.join(report.disabled)}")
    if report.last_check_ms is None:
        note("no provider was ever checked: omni health --check asks them, never billed")
    else:
        out(f"last check {moment(report.last_check_ms, zone)}")


def _cells(health: Health) -> tuple[str, ...]:
    window = health.window
    return (
        health.status,
        milliseconds(window.latency_p50_ms),
        milliseconds(window.latency_p95_ms),
        percent(window.success_rate, 1),
        percent(health.uptime, 1),
    )


def _row_style(status: HealthStatus) -> Style | None:
    return None if status == "healthy" else _STYLES[status]
