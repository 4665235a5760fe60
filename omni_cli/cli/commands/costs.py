"""``omni costs``: the trend, this month's end, budgets, and where the money goes; ``omni savings``:
what routing saved against the premium model, and how sure that is."""

import sys
from datetime import date
from typing import Annotated

import typer

from omni_cli.cli.common import From, JsonFlag, To, known_org, omni
from omni_cli.cli.render import bar, emit_json, note, out, paint
from omni_cli.cli.tables import Column, table
from omni_cli.domain.analytics import Share, Totals, change
from omni_cli.domain.money import format_usd, nusd_to_usd
from omni_cli.domain.words import counted
from omni_cli.services.money.costs import BudgetLine, CostOverview
from omni_cli.services.money.report_documents import costs_document, savings_document
from omni_cli.services.money.savings import SavingsReport, SavingsRow

costs_app = typer.Typer(rich_markup_mode=None)


@costs_app.command()
def costs(
    chart: Annotated[bool, typer.Option(help="Show the trend of 30 days.")] = True,
    as_json: JsonFlag = False,
) -> None:
    """Trend, today, week, month and its projection, budgets, and shares."""
    with omni() as omni_app:
        known_org(omni_app)
        omni_app.recover()
        overview = omni_app.costs.overview()
    if as_json:
        emit_json(costs_document(overview))
    else:
        _print_costs(overview, chart=chart)


def _print_costs(overview: CostOverview, *, chart: bool) -> None:
    if chart:
        out(paint("Spending, last 30 days", "bold") + f"  {overview.zone}")
        out(_trend(overview.trend))
        out()
    by_now = overview.yesterday_by_now_nusd
    moved = change(overview.today.cost_nusd, by_now)
    against = "" if moved is None else f"  ({moved:+.0%} on {format_usd(by_now)} yesterday by now)"
    out(f"Today       {_money(overview.today)}{against}")
    out(f"This week   {_money(overview.week)}")
    out(f"This month  {_money(overview.month)}  {overview.month_label}")
    projection = overview.projection
    between = ""
    if projection and projection.low_nusd is not None and projection.high_nusd is not None:
        low, high = format_usd(projection.low_nusd), format_usd(projection.high_nusd)
        between = f"  (four times in five {low} to {high})"
    out(f"Projected   {format_usd(None if projection is None else projection.nusd)}{between}")
    if projection is not None:
        out(paint(f"            {projection.method}", "dim"))
    for line in overview.budgets:
        out(f"Budget      {_budget(line)}")
    if not overview.budgets:
        out("Budget      none; omni budgets add all USD --per month keeps one")
    _print_shares("Cost by model, this month", overview.by_model)
    _print_shares("Cost by task, this month", overview.by_task)
    if overview.month.unknown_attempts:
        note(
            f"{overview.month.unknown_attempts:,} calls this month have no known price and are "
            "in no amount; omni usage names them, omni models price or omni reprice sets one"
        )


def _money(totals: Totals) -> str:
    text = format_usd(totals.known_nusd)
    if totals.estimated_nusd:
        text += f", {format_usd(totals.estimated_nusd)} of it estimated"
    return text


def _budget(line: BudgetLine) -> str:
    budget = line.status.budget
    text = f"{format_usd(line.limit_nusd)}/{budget.period}"
    text += f" | {_under(line.under_percent)}"
    if line.projection is not None and line.projected_under_percent is not None:
        word = f"projected {format_usd(line.projection.nusd)}: "
        text += f" | {word}{_under(line.projected_under_percent)}"
    over = min(line.under_percent or 0, line.projected_under_percent or 0) < 0
    return paint(text, "red" if over else "green")


def _under(percent: float | None) -> str:
    if percent is None:
        return "no money allowed"
    return f"{abs(percent):.0f}% {'under' if percent >= 0 else 'over'} budget"


def _print_shares(title: str, items: tuple[Share, ...]) -> None:
    if not items:
        return
    out()
    out(paint(title, "bold"))
    table(
        (Column.key(""), Column.words("", 1, 5), Column.money("cost"), Column.figure("share")),
        [
            (
                item.name,
                bar(item.share or 0.0),
                format_usd(item.nusd),
                "-" if item.share is None else f"{item.share:.0%}",
            )
            for item in items
        ],
    )


def _trend(trend: tuple[tuple[date, int | None], ...]) -> str:
    from omni_cli.cli.charts import day_bars, days_chart

    days, values = [day for day, _ in trend], [cost or 0 for _, cost in trend]
    if not sys.stdout.isatty():
        return "\n".join(day_bars(days, values, [format_usd(cost) for _, cost in trend]))
    return days_chart(
        days,
        [float(nusd_to_usd(cost)) for cost in values],
        title="US dollars a day",
        lines=14,
    )


savings_app = typer.Typer(rich_markup_mode=None)

_EVIDENCE = {
    "observed": "your own ratings, checks and comparisons",
    "published": "published benchmark results for the kind of task",
    "estimate": "estimates of the models' quality",
}


@savings_app.command()
def savings(
    period: Annotated[
        str | None, typer.Option(help="today, yesterday, week, month, or such as 30d.")
    ] = None,
    from_date: From = None,
    to_date: To = None,
    days: Annotated[bool, typer.Option("--days", help="Also day by day.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """What routing saved against always asking the premium model."""
    with omni() as omni_app:
        known_org(omni_app)
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
        _print_savings(report, premium, days=days)


def _print_savings(report: SavingsReport, premium: str, *, days: bool) -> None:
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
        note(f"{counted(report.unknown_attempts, 'call')} without a known price, left out")
    if report.imported_nusd:
        note(
            f"imported usage, which omni did not route, would have saved "
            f"{format_usd(report.imported_nusd)}; it is not counted"
        )
