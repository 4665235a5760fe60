"""``omni savings``: what routing saved against the premium model, and how sure that is."""

from typing import Annotated

import typer

from omni_cli.cli.common import JsonFlag, omni
from omni_cli.cli.render import emit_json, note, out, paint
from omni_cli.cli.tables import Column, table
from omni_cli.domain.money import format_usd
from omni_cli.services.money.report_documents import savings_document
from omni_cli.services.money.savings import SavingsReport, SavingsRow

app = typer.Typer(rich_markup_mode=None)

_EVIDENCE = {
    "observed": "your own ratings, checks and comparisons",
    "published": "published benchmark results for the kind of task",
    "estimate": "estimates of the models' quality",
}


@app.command()
def savings(
    period: Annotated[
        str | None, typer.Option(help="today, yesterday, week, month, or such as 30d.")
    ] = None,
    from_date: Annotated[str | None, typer.Option("--from", help="YYYY-MM-DD; included.")] = None,
    to_date: Annotated[str | None, typer.Option("--to", help="YYYY-MM-DD; not included.")] = None,
    days: Annotated[bool, typer.Option("--days", help="Also day by day.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """What routing saved against always asking the premium model."""
    with omni() as omni_app:
        omni_app.recover()
        report = omni_app.savings.report(
            period=period or (None if from_date or to_date else "month"),
            from_date=from_date,
            to_date=to_date,
        )
        premium = omni_app.config.general.premium_model
    if as_json:
        emit_json(savings_document(report))
    else:
        _print(report, premium, days=days)


def _print(report: SavingsReport, premium: str, *, days: bool) -> None:
    span = f"{report.first.isoformat()} to {report.last.isoformat()}"
    total = report.total
    if total is None:
        hint = (
            "omni config set general.premium_model MODEL names the model to compare with"
            if not premium
            else f"no request was compared with {premium} in this time"
        )
        out(f"{paint(f'Savings, {report.label}', 'bold')}  unknown")
        note(hint)
        return
    saving = total.saving_nusd
    word = "saved" if saving >= 0 else "paid more"
    percent = report.saving_percent
    share = "" if percent is None else f"  ({percent:+.1f}% of the cost there)"
    out(paint(f"Savings, {report.label}", "bold") + f"  {span} {report.zone}")
    names = ", ".join(
        f"{b.model} ({b.calls:,} requests)" if len(report.baselines) > 1 else b.model
        for b in report.baselines
    )
    out(f"against     {names}")
    out(f"there       {format_usd(total.premium_nusd)} for {total.calls:,} requests")
    failed = f", {format_usd(report.failed_nusd)} of it failed attempts"
    out(f"paid        {format_usd(total.paid_nusd)}{failed if report.failed_nusd else ''}")
    if report.unanswered_nusd:
        out(f"unanswered  {format_usd(report.unanswered_nusd)} for requests without an answer")
    for source, cost in sorted(report.evaluation_nusd.items()):
        out(f"{source:<11} {format_usd(cost)} to judge models")
    out(f"{word:<11} {paint(format_usd(abs(saving)), 'green' if saving >= 0 else 'red')}{share}")
    out()
    _print_evidence(report)
    _print_rows("model", report.by_model)
    if days:
        _print_rows("day", report.by_day)
    _footnotes(report)


def _print_evidence(report: SavingsReport) -> None:
    if report.measured_share is not None:
        out(f"{report.measured_share:.0%} of the saving rests on measured quality:")
    table(
        (
            Column.money("before overhead"),
            Column.figure("requests", 3),
            Column.words("at models known by", 9, 20),
        ),
        [
            (format_usd(row.saving_nusd), f"{row.calls:,}", _EVIDENCE[row.kind])
            for row in report.evidence
            if row.calls
        ],
    )


def _print_rows(what: str, rows: tuple[SavingsRow, ...]) -> None:
    out()
    table(
        (
            Column.key(what),
            Column.figure("requests", 3),
            Column.figure("there", 6),
            Column.figure("paid", 7),
            Column.figure("overhead", 5),
            Column.money("saved"),
        ),
        [
            (
                row.name or f"(no {what})",
                f"{row.calls:,}",
                format_usd(row.premium_nusd),
                format_usd(row.paid_nusd),
                format_usd(row.overhead_nusd),
                format_usd(row.saving_nusd),
            )
            for row in rows
        ],
    )


def _footnotes(report: SavingsReport) -> None:
    if report.uncompared_nusd:
        note(f"{format_usd(report.uncompared_nusd)} of answered requests could not be compared")
    if report.unknown_attempts:
        note(f"{report.unknown_attempts:,} calls have no known price and are left out")
    if report.imported_nusd:
        note(
            f"imported usage, which omni did not route, would have saved "
            f"{format_usd(report.imported_nusd)}; it is not counted"
        )
