"""Usage and Costs in the TUI: what is counted, sorted, drawn, and drilled into (E2, C4, C5)."""

from pathlib import Path

import pytest
from rich.cells import cell_len
from textual.widgets import Input

from omni_cli.domain.money import format_usd
from omni_cli.services.money.usage import UsageQuery
from omni_cli.tui.screens.activity import ActivityPane
from omni_cli.tui.screens.compare import ComparePane
from omni_cli.tui.screens.model import ModelScreen
from omni_cli.tui.screens.usage import UsagePane
from omni_cli.tui.widgets.chart import Chart
from omni_cli.tui.widgets.form import FormScreen
from omni_cli.tui.widgets.picker import Choices
from omni_cli.tui.widgets.table import SortableTable
from tests.integration.tui_pilot import copy_home, notes, opened, press, read, shown
from tests.snapshot.steps import settle

SONNET = "anthropic/claude-sonnet-4-20250514"


@pytest.fixture
def home(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_home(tmp_path / "omni", tmp_path_factory.mktemp("scene"), past=True)


def keys(table: SortableTable) -> list[str]:
    return [str(row.key.value) for row in table.table.ordered_rows]


async def test_every_dimension_and_period_agrees_with_the_report(home: Path) -> None:
    async with opened(home, "usage", (120, 40)) as pilot:
        table, choices = pilot.app.query_one(SortableTable), pilot.app.query_one(Choices)
        seen = set()
        for at in range(9):
            by, period = choices.values["by"], choices.values["period"]
            seen |= {by, period}
            report = read(
                home, lambda omni, b=by, p=period: omni.usage.report(UsageQuery(by=b, period=p))
            )
            assert sorted(keys(table)) == sorted(row.name for row in report.rows)
            total = shown(pilot.app, "#totals")
            assert f"{report.total.totals.calls:,}" in total
            assert f"{report.total.totals.input_tokens:,}" in total
            assert format_usd(report.total.totals.cost_nusd) in total
            view = pilot.app.query_one(UsagePane)._view
            for field in ("calls", "input_tokens", "output_tokens", "cost_nusd"):
                drawn = sum(getattr(t, field) for row in view.slots.items.values() for t in row)
                assert drawn == getattr(report.total.totals, field), (by, period, field)
            await press(pilot, "d", *["p"] * (at % 3 == 2))
        assert len(seen) == 12


async def test_totals_stand_below_their_columns(home: Path) -> None:
    async with opened(home, "usage", (120, 40)) as pilot:
        table = pilot.app.query_one(SortableTable)
        line, at = shown(pilot.app, "#totals"), 0
        widths = {c.key.value: c.width for c in table.table.ordered_columns}
        for name in widths:
            at += widths[name] + 2
            cell = line[: at - 1]
            assert cell_len(cell) == at - 1
            if name == "calls":
                assert cell.endswith("1,095")
            if name == "cost":
                assert cell.rstrip().endswith("$7.47")


async def test_sorts_by_key_and_by_clicking_a_header(home: Path) -> None:
    async with opened(home, "usage") as pilot:
        table = pilot.app.query_one(SortableTable)
        report = read(home, lambda omni: omni.usage.report(UsageQuery(period="month")))
        by_cost = [row.name for row in report.rows]
        assert keys(table) == by_cost
        await press(pilot, "O")
        assert keys(table) == by_cost[::-1]
        await pilot.click(table.table, offset=(table.table.size.width - 45, 0))
        await settle(pilot)
        column = table.order[0]
        assert column in ("input", "output", "calls")
        rows = {row.name: row.totals for row in report.rows}
        field = {"input": "input_tokens", "output": "output_tokens", "calls": "calls"}[column]
        values = [getattr(rows[name], field) for name in keys(table)]
        assert values == sorted(values, reverse=True)
        await press(pilot, "o")
        assert table.order[0] != column


async def test_enter_drills_down_to_the_requests_of_a_model(home: Path) -> None:
    async with opened(home, "usage") as pilot:
        assert pilot.app.query_one(SortableTable).table.chosen == SONNET
        await press(pilot, "enter")
        activity = pilot.app.query_one(ActivityPane)
        assert pilot.app.pane is activity  # type: ignore[attr-defined]  # OmniApp's
        found = activity._value.listing.found
        assert {one.row.model for one in found} == {SONNET}
        assert (
            len(found)
            == read(
                home,
                lambda omni: omni.usage.report(
                    UsageQuery(period="month", filters={"model": SONNET})
                ),
            ).total.totals.calls
        )


@pytest.mark.parametrize(
    "steps", [("D",), ("d",), ("d", "d", "d")], ids=["provider", "agent", "task"]
)
async def test_enter_filters_activity_by_other_dimensions(home: Path, steps: str) -> None:
    async with opened(home, "usage") as pilot:
        await press(pilot, *steps)
        table = pilot.app.query_one(SortableTable)
        by = pilot.app.query_one(UsagePane)._view.report.by
        named = next(at for at, key in enumerate(keys(table)) if key)
        await press(pilot, *["j"] * named)
        name = table.table.chosen
        await press(pilot, "enter")
        found = pilot.app.query_one(ActivityPane)._value.listing.found
        assert name
        assert found
        assert {getattr(one.row, by) for one in found} == {name}


async def test_rows_without_a_name_say_why_they_do_not_open(home: Path) -> None:
    async with opened(home, "usage") as pilot:
        await press(pilot, "d")
        table = pilot.app.query_one(SortableTable)
        await press(pilot, *["j"] * keys(table).index(""), "enter")
        assert "these have no agent" in notes(pilot.app)
        assert pilot.app.query_one(UsagePane).display


async def test_custom_dates_are_checked_and_included(home: Path) -> None:
    async with opened(home, "usage") as pilot:
        await press(pilot, "c")
        form = pilot.app.screen
        assert isinstance(form, FormScreen)
        form.query_one("#in-first", Input).value = "2026-02-31"
        await settle(pilot)
        assert "a date such as" in shown(pilot.app, "#trouble-first")
        form.query_one("#in-first", Input).value = "2026-02-03"
        form.query_one("#in-last", Input).value = "2026-02-02"
        await press(pilot, "ctrl+s")
        assert "empty" in shown(pilot.app, "#said")
        form.query_one("#in-last", Input).value = "2026-02-04"
        await press(pilot, "ctrl+s")
        query = UsageQuery(from_date="2026-02-03", to_date="2026-02-05")
        report = read(home, lambda omni: omni.usage.report(query))
        assert format_usd(report.total.totals.cost_nusd) in shown(pilot.app, "#headline")


async def test_leaving_the_dates_keeps_the_period(home: Path) -> None:
    async with opened(home, "usage") as pilot:
        choices = pilot.app.query_one(Choices)
        spread = choices.render().plain
        await pilot.click(choices, offset=(spread.index("custom") + 1, 0))
        await settle(pilot)
        assert isinstance(pilot.app.screen, FormScreen)
        await press(pilot, "escape")
        assert choices.values["period"] == "month"


async def test_choices_are_clicked(home: Path) -> None:
    async with opened(home, "usage") as pilot:
        choices = pilot.app.query_one(Choices)
        await pilot.click(choices, offset=(choices.render().plain.index("role") + 1, 0))
        await settle(pilot)
        assert choices.values["by"] == "role"
        assert "primary_coder" in keys(pilot.app.query_one(SortableTable))


async def test_where_the_user_was_survives_a_restart(home: Path) -> None:
    async with opened(home, "usage", (80, 24)) as pilot:
        await press(pilot, "d", "d", "p", "o", "b", "q")
    async with opened(home, "usage", (80, 24)) as pilot:
        choices = pilot.app.query_one(Choices)
        assert choices.values == {"by": "role", "period": "today"}
        assert pilot.app.query_one(SortableTable).order[0] == "success"
        assert "COST" in pilot.app.query_one(Chart).render().plain


async def test_the_chart_reads_out_a_day_and_opens_its_hours(home: Path) -> None:
    async with opened(home, "usage", (120, 40)) as pilot:
        chart, pane = pilot.app.query_one(Chart), pilot.app.query_one(UsagePane)
        await press(pilot, "b", "left", "left")  # from the table: the last day, the one before
        report = read(home, lambda omni: omni.usage.report(UsageQuery(period="month")))
        day, totals = report.series[-2]
        line = chart.render().plain.splitlines()[0]
        assert f"{day:%a %Y-%m-%d}" in line
        assert format_usd(totals.cost_nusd) in line
        await press(pilot, "z")
        assert len(pane._view.slots.hours) == 24
        assert (pane._view.report.first, pane._view.report.last) == (day, day)
        items = pane._view.slots.items.values()
        assert sum(t.cost_nusd for row in items for t in row) == totals.cost_nusd
        await press(pilot, "escape")
        assert pane._view.report == report or pane._view.report.series == report.series


async def test_a_click_on_a_column_reads_it_out(home: Path) -> None:
    async with opened(home, "usage", (120, 40)) as pilot:
        chart = pilot.app.query_one(Chart)
        first, after = chart.drawn.slots[1]
        await pilot.click(chart, offset=((first + after) // 2, 5))
        await settle(pilot)
        assert chart.cursor == 1


async def test_costs_agree_with_the_service_and_say_what_would_save(home: Path) -> None:
    async with opened(home, "costs", (120, 40)) as pilot:
        overview = read(home, lambda omni: omni.costs.overview())
        figures = shown(pilot.app, "#above")
        for amount in (
            overview.today.cost_nusd,
            overview.week.cost_nusd,
            overview.month.cost_nusd,
            overview.projection.nusd,
        ):
            assert format_usd(amount) in figures
        assert "over" in figures  # the projection passes the budget of the scene
        models = shown(pilot.app, "#models")
        assert "Others" in models
        assert format_usd(overview.by_model[0].nusd) in models
        trend, month = pilot.app.query(Chart)
        assert "projected" in trend.render().plain
        # What is still to come of today stands on today's column, and all of it is projected.
        made, today = trend._shown.plot, len(overview.trend) - 1
        assert sum(made.coming[:today]) == 0
        assert sum(made.coming) == pytest.approx(sum(overview.projection.rest) / 1e9)
        assert len(made.coming) == len(made.labels) == today + len(overview.projection.rest)
        assert made.top <= max(
            made.level, *(made.sum(n) + made.coming[n] for n in range(today + 2))
        )
        low, high = month._shown.plot.cone[-1]
        assert low <= overview.projection.nusd / 1e9 <= high
        found = read(home, lambda omni: omni.advice.refresh())
        saving = sum(max(a.finding.saving_monthly_nusd or 0, 0) for a in found)
        assert format_usd(saving) in shown(pilot.app, "#opportunities")
        await press(pilot, "home", *["right"] * (today - 1), "enter")
        day = pilot.app.query_one(UsagePane)._view.report.first
        assert (pilot.app.pane.id, day) == ("usage", overview.trend[-2][0])  # type: ignore[attr-defined]  # OmniApp's
        await press(pilot, "6", "b")
        assert pilot.app.pane.id == "budgets"  # type: ignore[attr-defined]  # OmniApp's


async def test_a_models_page_draws_p50_and_p95_of_its_days(home: Path) -> None:
    async with opened(home, "fleet", (120, 60)) as pilot:
        pilot.app.push_screen(ModelScreen(pilot.app.loader, SONNET))
        await settle(pilot)
        chart = pilot.app.screen.query_one(Chart)
        p95, p50 = chart._shown.plot.series
        days = read(home, lambda omni: omni.usage.latency(SONNET))
        assert (p50.name, p95.name) == ("p50", "p95")
        assert [(a, b) for _, a, b in days] == list(zip(p50.values, p95.values, strict=True))
        today = read(
            home,
            lambda omni: omni.usage.report(UsageQuery(period="today", filters={"model": SONNET})),
        )
        assert days[-1][1:] == (today.total.p50_ms, today.total.p95_ms)
        await press(pilot, "left")
        assert "2026-02-05" in chart.render().plain


async def test_a_comparison_draws_whiskers_and_cost_against_accuracy(home: Path) -> None:
    async with opened(home, "compare", (120, 50)) as pilot:
        drawn = shown(pilot.app, "#pictures")
        report = pilot.app.query_one(ComparePane)._value.report
        found = report.results.figures[SONNET].accuracy
        assert f"{found.value:.0%} ({found.low:.0%} to {found.high:.0%})" in drawn
        assert "├" in drawn
        assert "against cost per request" in drawn
        dots = "\n".join(line[60:] for line in drawn.splitlines()[1:])
        assert all(mark in dots for mark in "ABC")
