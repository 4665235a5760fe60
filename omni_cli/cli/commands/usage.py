"""``omni usage``: who used what, over any range, against the range before."""

import functools
from collections.abc import Callable
from datetime import date
from typing import Annotated, Any

import typer

from omni_cli.cli.commands.periods import read_first
from omni_cli.cli.common import (
    From,
    To,
    complete_models,
    complete_providers,
    complete_roles,
    grouped,
    known_org,
    omni,
)
from omni_cli.cli.render import milliseconds, note, out, paint
from omni_cli.cli.tables import Column, View, listing
from omni_cli.domain.analytics import change
from omni_cli.domain.errors import UsageError
from omni_cli.domain.money import format_usd
from omni_cli.domain.words import counted, meant, percent
from omni_cli.services.money.report_documents import row_document, usage_document
from omni_cli.services.money.usage import DIMENSIONS, UsageQuery, UsageReport, UsageRow

app = typer.Typer(rich_markup_mode=None)

_CSV = (
    "calls",
    "attempts",
    "success",
    "input_tokens",
    "output_tokens",
    "total_tokens",
    "cost_usd",
    "unknown_attempts",
    "estimated_usd",
    "latency_avg_ms",
    "latency_p50_ms",
    "latency_p95_ms",
)


def _dimensions(incomplete: str) -> list[str]:
    return [name for name in DIMENSIONS if name.startswith(incomplete)]


@app.command()
@grouped
def usage(
    by: Annotated[
        str, typer.Option("--by", help=", ".join(DIMENSIONS), autocompletion=_dimensions)
    ] = "model",
    period: Annotated[
        str | None, typer.Option(help="today, yesterday, week, month, or such as 30d.")
    ] = None,
    from_date: From = None,
    to_date: To = None,
    compare: Annotated[
        bool, typer.Option(help="Against the same days of the time before.")
    ] = False,
    provider: Annotated[
        str | None, typer.Option(help="Only this one.", autocompletion=complete_providers)
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("-m", "--model", autocompletion=complete_models, help="Only this one."),
    ] = None,
    role: Annotated[
        str | None, typer.Option(autocompletion=complete_roles, help="Only this one.")
    ] = None,
    agent: Annotated[str | None, typer.Option(help="Only this one.")] = None,
    task: Annotated[str | None, typer.Option(help="Only this task type.")] = None,
    source: Annotated[str | None, typer.Option(help="chat, gateway, import, judge, ...")] = None,
    session: Annotated[str | None, typer.Option(help="Only this one.")] = None,
    project: Annotated[str | None, typer.Option(help="Only this one.")] = None,
    chart: Annotated[bool, typer.Option("--chart", help="Draw tokens by day.")] = False,
    *,
    view: View,
) -> None:
    """Calls, tokens, cost, latency and success, by anything."""
    if by not in DIMENSIONS:
        raise UsageError(
            f"--by is one of {', '.join(DIMENSIONS)}, not {by!r}", hint=meant(by, DIMENSIONS)
        )
    with omni() as omni_app:
        wanted = {
            "provider": provider,
            "model": model,
            "role": role,
            "agent": agent,
            "task": task,
            "source": source,
            "session": session,
            "project": project,
        }
        known_org(omni_app)
        read_first(omni_app)
        query = UsageQuery(
            by=by,
            period=period,
            from_date=from_date,
            to_date=to_date,
            compare=compare,
            filters={name: value for name, value in wanted.items() if value is not None},
        )
        report = omni_app.usage.report(query)
        saved = omni_app.savings.saved(query) if view.as_json else None
    if not view.data:
        _print_head(report, chart=chart)
    whole = None if saved is None else functools.partial(usage_document, report, saved)
    _print(view, report, whole)
    if not view.data and report.rows:
        _footnotes(report)


def _csv_row(report: UsageReport, row: UsageRow) -> dict[str, Any]:
    document = {**row_document(row), "success": report.success(row.totals)}
    return {report.by: row.name} | {name: document[name] for name in _CSV}


def _print_head(report: UsageReport, *, chart: bool) -> None:
    days = _days(report.first, report.last)
    out(f"{paint(f'Usage by {report.by}, {report.label}', 'bold')}  {days} {report.zone}")
    if report.rows:
        out()
        if chart:
            out(_chart(report))
            out()


def _print(view: View, report: UsageReport, whole: Callable[[], Any] | None) -> None:
    total = report.total.totals
    columns: list[tuple[Column, Callable[[UsageRow], str]]] = [
        (Column.key(report.by), lambda row: row.name or f"(no {report.by})"),
        (Column.figure("calls", 8), lambda row: f"{row.totals.calls:,}"),
        (Column.figure("success", 2), lambda row: percent(report.success(row.totals), 1)),
        (Column.figure("in", 5), lambda row: f"{row.totals.input_tokens:,}"),
        (Column.figure("out", 6), lambda row: f"{row.totals.output_tokens:,}"),
        (Column.figure("total", 7), lambda row: f"{row.totals.total_tokens:,}"),
        (Column.money("cost"), lambda row: format_usd(row.totals.known_nusd)),
        (Column.figure("estimated", 4), lambda row: format_usd(row.totals.estimated_nusd)),
        (Column.figure("unpriced", 3), lambda row: f"{row.totals.unknown_attempts:,}"),
        (Column.figure("avg", 1), lambda row: milliseconds(row.totals.mean_latency_ms)),
        (Column.figure("p50", 1), lambda row: milliseconds(row.p50_ms)),
        (Column.figure("p95", 1), lambda row: milliseconds(row.p95_ms)),
        (Column.figure("cost before", 8), _before),
        (Column.figure("change", 9), _change),
    ]
    without = {
        "estimated": not total.estimated_nusd,
        "unpriced": not total.unknown_attempts,
        "cost before": report.total.before is None,
        "change": report.total.before is None,
    }
    kept = [(column, cell) for column, cell in columns if not without.get(column.head)]
    listing(
        view,
        [column for column, _ in kept],
        [[cell(row) for _, cell in kept] for row in report.rows],
        lambda: [_csv_row(report, row) for row in report.rows],
        whole=whole,
        fields=(report.by, *_CSV),
        empty=[f"nothing was used {_days(report.first, report.last)}"],
        total=[cell(report.total) for _, cell in kept],
    )


def _footnotes(report: UsageReport) -> None:
    total = report.total.totals
    if report.before_first is not None and report.before_last is not None:
        note(f"before: {_days(report.before_first, report.before_last)}")
    if total.unknown_attempts:
        calls = counted(total.unknown_attempts, "call")
        note(f"{calls} without a known price, in no cost; omni models price sets one")
    if total.failed_nusd:
        note(f"{format_usd(total.failed_nusd)} of the cost went to failed attempts")


def _before(row: UsageRow) -> str:
    return "-" if row.before is None else format_usd(row.before.known_nusd)


def _change(row: UsageRow) -> str:
    if row.before is None:
        return "-"
    moved = change(row.totals.known_nusd, row.before.known_nusd)
    if moved is None:
        return "new" if row.totals.attempts and not row.before.attempts else "-"
    return f"{moved:+.0%}"


def _days(first: date, last: date) -> str:
    return first.isoformat() if first == last else f"{first.isoformat()} to {last.isoformat()}"


def _chart(report: UsageReport) -> str:
    from omni_cli.cli.charts import INPUT_MARK, OUTPUT_MARK, days_chart

    top = max((totals.total_tokens for _, totals in report.series), default=0)
    size, word = next(
        (item for item in ((1_000_000, "millions"), (1_000, "thousands")) if top >= item[0]),
        (1, ""),
    )
    return days_chart(
        [day for day, _ in report.series],
        [totals.input_tokens / size for _, totals in report.series],
        [totals.output_tokens / size for _, totals in report.series],
        title=f"tokens a day{', ' if word else ''}{word}: {INPUT_MARK} input, {OUTPUT_MARK} output",
    )
