"""``omni costs``: the trend, this month's end, budgets, and where the money goes."""

import shutil
import sys
from datetime import date
from typing import Annotated

import typer

from omni_cli.cli.common import JsonFlag, omni
from omni_cli.cli.render import bar, colour_on, emit_json, note, out, paint
from omni_cli.cli.tables import Column, table
from omni_cli.domain.analytics import Share, Totals, change
from omni_cli.domain.money import format_usd, nusd_to_usd
from omni_cli.services.money.costs import BudgetLine, CostOverview
from omni_cli.services.money.report_documents import costs_document

app = typer.Typer(rich_markup_mode=None)


@app.command()
def costs(
    chart: Annotated[bool, typer.Option(help="Show the trend of 30 days.")] = True,
    as_json: JsonFlag = False,
) -> None:
    """Trend, today, week, month and its projection, budgets, and shares."""
    with omni() as omni_app:
        omni_app.recover()
        overview = omni_app.costs.overview()
    if as_json:
        emit_json(costs_document(overview))
    else:
        _print(overview, chart=chart)


def _print(overview: CostOverview, *, chart: bool) -> None:
    if chart:
        out(paint("Spending, last 30 days", "bold") + f"  {overview.zone}")
        out(_trend(overview.trend))
        out()
    moved = change(overview.today.cost_nusd, overview.yesterday.cost_nusd)
    against = "" if moved is None else f"  ({moved:+.0%} against all of yesterday)"
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
        out("Budget      none; omni budgets set all USD --per month keeps one")
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
        size=(min(shutil.get_terminal_size().columns, 100), 14),
        colour=colour_on(sys.stdout),
    )
