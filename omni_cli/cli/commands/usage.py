"""``omni usage``: who used what, over any range, against the range before."""

import sys
from datetime import date
from typing import Annotated

import typer

from omni_cli.cli.common import (
    JsonFlag,
    complete_models,
    complete_providers,
    complete_roles,
    omni,
)
from omni_cli.cli.render import colour_on, emit_json, milliseconds, note, out, paint, table
from omni_cli.domain.analytics import Totals, change
from omni_cli.domain.errors import UsageError
from omni_cli.domain.money import format_usd
from omni_cli.services.money.report_documents import row_document, usage_document
from omni_cli.services.money.usage import DIMENSIONS, UsageQuery, UsageReport, UsageRow

app = typer.Typer(rich_markup_mode=None)

#: By these, reliability is the share of calls to the provider that went well; by anything else,
#: the share of requests that were answered, by whomever.
_BY_CALL = ("provider", "model")
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
def usage(
    by: Annotated[
        str, typer.Option("--by", help=", ".join(DIMENSIONS), autocompletion=_dimensions)
    ] = "model",
    period: Annotated[
        str | None, typer.Option(help="today, yesterday, week, month, or such as 30d.")
    ] = None,
    from_date: Annotated[
        str | None, typer.Option("--from", help="YYYY-MM-DD, your zone's days; included.")
    ] = None,
    to_date: Annotated[str | None, typer.Option("--to", help="YYYY-MM-DD; not included.")] = None,
    compare: Annotated[
        bool, typer.Option(help="Against the same days of the time before.")
    ] = False,
    provider: Annotated[
        str | None, typer.Option(help="Only this one.", autocompletion=complete_providers)
    ] = None,
    model: Annotated[
        str | None, typer.Option("-m", "--model", autocompletion=complete_models)
    ] = None,
    role: Annotated[str | None, typer.Option(autocompletion=complete_roles)] = None,
    agent: Annotated[str | None, typer.Option(help="Only this one.")] = None,
    task: Annotated[str | None, typer.Option(help="Only this task type.")] = None,
    source: Annotated[str | None, typer.Option(help="chat, gateway, import, judge, ...")] = None,
    chart: Annotated[bool, typer.Option("--chart", help="Draw tokens by day.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Calls, tokens, cost, latency and success, by anything."""
    if as_json and as_csv:
        raise UsageError("--json or --csv, not both")
    if by not in DIMENSIONS:
        raise UsageError(f"--by is one of {', '.join(DIMENSIONS)}, not {by!r}")
    with omni() as omni_app:
        wanted = {
            "provider": provider,
            "model": model,
            "role": role,
            "agent": agent,
            "task": task,
            "source": source,
        }
        omni_app.recover()
        query = UsageQuery(
            by=by,
            period=period,
            from_date=from_date,
            to_date=to_date,
            compare=compare,
            filters={name: value for name, value in wanted.items() if value is not None},
        )
        report = omni_app.usage.report(query)
        saved = omni_app.savings.saved(query) if as_json else None
    if saved is not None:
        emit_json(usage_document(report, saved))
    elif as_csv:
        _print_csv(report)
    else:
        _print(report, chart=chart)


def _success(report: UsageReport, totals: Totals) -> float | None:
    return totals.attempt_success if report.by in _BY_CALL else totals.success


def _print_csv(report: UsageReport) -> None:
    import csv

    writer = csv.writer(sys.stdout)
    writer.writerow((report.by, *_CSV))
    for row in report.rows:  # data only: whoever sums a column would count a total twice
        document = {
            **row_document(row),
            "success": _success(report, row.totals),
        }
        writer.writerow((row.name, *(document[name] for name in _CSV)))


def _print(report: UsageReport, *, chart: bool) -> None:
    days = _days(report.first, report.last)
    out(f"{paint(f'Usage by {report.by}, {report.label}', 'bold')}  {days} {report.zone}")
    if not report.rows:
        note(f"nothing was used {days}")
        return
    if chart:
        out()
        out(_chart(report))
    out()
    total = report.total.totals
    rows = [*report.rows, report.total]
    columns: list[tuple[str, list[str]]] = [
        (report.by, [row.name or f"(no {report.by})" for row in rows]),
        ("calls", [f"{row.totals.calls:,}" for row in rows]),
        ("success", [_percent(_success(report, row.totals)) for row in rows]),
        ("in", [f"{row.totals.input_tokens:,}" for row in rows]),
        ("out", [f"{row.totals.output_tokens:,}" for row in rows]),
        ("total", [f"{row.totals.total_tokens:,}" for row in rows]),
        ("cost", [format_usd(row.totals.known_nusd) for row in rows]),
    ]
    if total.estimated_nusd:
        columns.append(("estimated", [format_usd(row.totals.estimated_nusd) for row in rows]))
    if total.unknown_attempts:
        columns.append(("unpriced", [f"{row.totals.unknown_attempts:,}" for row in rows]))
    columns += [
        ("avg", [milliseconds(row.totals.mean_latency_ms) for row in rows]),
        ("p50", [milliseconds(row.p50_ms) for row in rows]),
        ("p95", [milliseconds(row.p95_ms) for row in rows]),
    ]
    if report.total.before is not None:
        columns.append(("cost before", [_before(row) for row in rows]))
        columns.append(("change", [_change(row) for row in rows]))
    table(
        [head for head, _ in columns],
        list(zip(*(cells for _, cells in columns), strict=True)),
        align=["left" if n == 0 else "right" for n in range(len(columns))],
        total=True,
    )
    _footnotes(report)


def _footnotes(report: UsageReport) -> None:
    total = report.total.totals
    if report.before_first is not None and report.before_last is not None:
        note(f"before: {_days(report.before_first, report.before_last)}")
    if total.unknown_attempts:
        note(
            f"{total.unknown_attempts:,} calls have no known price and are in no cost; "
            "omni models price sets one"
        )
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


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f}%"


def _days(first: date, last: date) -> str:
    return first.isoformat() if first == last else f"{first.isoformat()} to {last.isoformat()}"


def _chart(report: UsageReport) -> str:
    import shutil

    from omni_cli.cli.charts import INPUT_MARK, OUTPUT_MARK, stacked_days

    top = max((totals.total_tokens for _, totals in report.series), default=0)
    size, word = next(
        (item for item in ((1_000_000, "millions"), (1_000, "thousands")) if top >= item[0]),
        (1, ""),
    )
    return stacked_days(
        [day for day, _ in report.series],
        [totals.input_tokens / size for _, totals in report.series],
        [totals.output_tokens / size for _, totals in report.series],
        title=f"tokens a day{', ' if word else ''}{word}: {INPUT_MARK} input, {OUTPUT_MARK} output",
        size=(min(shutil.get_terminal_size().columns, 100), 16),
        colour=colour_on(sys.stdout),
    )
