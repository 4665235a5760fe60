"""Usage as the screen shows it: read through the report service, laid out as columns and lines."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from msgspec import Struct
from rich.text import Text
from textual.content import Content

from omni_cli.bootstrap import App
from omni_cli.domain.analytics import Totals
from omni_cli.domain.periods import HOUR_MS, day_start
from omni_cli.domain.pricing import format_usd
from omni_cli.domain.words import percent
from omni_cli.services.money.usage import UsageQuery, UsageReport, UsageRow
from omni_cli.tui import text
from omni_cli.tui.widgets.chart import LOWER, UPPER, split_bar
from omni_cli.tui.widgets.chart import Column as ChartColumn
from omni_cli.tui.widgets.table import Column, Line, flexible

_MUTED = "$foreground-muted"
#: The table shows totals, p95 and the change from so many columns on, the mean from so many.
_WIDE, _NORMAL = 110, 90


class UsageView(Struct, frozen=True):
    """``columns`` are the chart's: hours of a single day, else days."""

    report: UsageReport
    columns: tuple[ChartColumn, ...]
    hourly: bool
    names: Mapping[str, str]


def read_usage(omni: App, query: UsageQuery) -> UsageView:
    """Raises UsageError: no such range."""
    report = omni.usage.report(query)
    names: dict[str, str] = {}
    if query.by == "model":
        for row in report.rows:
            model = omni.models.get(row.name)
            if model is not None:
                names[row.name] = model.name
    elif query.by == "provider":
        names = {provider.slug: provider.name for provider in omni.providers.all()}
    hourly = report.first == report.last
    columns = _hours(omni, report) if hourly else _days(report)
    return UsageView(report, columns, hourly, names)


def _hours(omni: App, report: UsageReport) -> tuple[ChartColumn, ...]:
    """The day's hours until now, on the clock of the report's zone."""
    zone = ZoneInfo(report.zone)
    start = day_start(report.first, report.zone)
    first, last = start // HOUR_MS, (start + 24 * HOUR_MS - 1) // HOUR_MS
    sums = {row.hour: row for row in omni.glance.hour_sums(first, last)}
    columns = []
    for hour in range(first, last + 1):
        row = sums.get(hour)
        label = datetime.fromtimestamp(hour * 3600, UTC).astimezone(zone).strftime("%H")
        columns.append(
            ChartColumn(
                label,
                0 if row is None else row.input_tokens,
                0 if row is None else row.output_tokens,
            )
        )
    return tuple(columns)


def _days(report: UsageReport) -> tuple[ChartColumn, ...]:
    return tuple(
        ChartColumn(day.strftime("%m-%d"), totals.input_tokens, totals.output_tokens)
        for day, totals in report.series
    )


def short(value: float) -> str:
    """Tokens on an axis: 0, 850, 12K, 3.4M."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "K")):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.0f}"


def shown_name(view: UsageView, row: UsageRow) -> str:
    """A row's name as a person reads it; "(no role)" where requests have none."""
    return view.names.get(row.name) or row.name or f"(no {view.report.by})"


def headline(view: UsageView, width: int) -> Content:
    """What it all came to, and against the range before."""
    report, total = view.report, view.report.total
    span = f"{report.first:%Y-%m-%d}"
    if report.last != report.first:
        span += f" to {report.last:%m-%d}"
    line = Content.assemble(
        (money(total.totals), "bold"),
        f" · {total.totals.calls:,} calls · {text.count(total.totals.total_tokens)} tokens",
    )
    before = total.before
    if before is not None:
        step, way = text.change(total.totals.cost_nusd, before.cost_nusd)
        if step:
            style = "$warning" if way == "up" else "$success" if way else _MUTED
            line += Content.assemble("  ", (step, style), (" cost, ", _MUTED))
            step, _ = text.change(total.totals.calls, before.calls)
            line += Content.styled(f"{step} calls against before", _MUTED)
        else:
            line += Content.styled("  nothing in the period before", _MUTED)
    room = width - line.cell_length - len(span)
    return line + Content.styled(" " * room + span, _MUTED) if room > 1 else line


def legend(*, hourly: bool, each: int) -> Content:
    per = "an hour" if hourly else "a day" if each == 1 else f"each {each} days"
    return Content.assemble(
        ("TOKENS ", "bold $primary"),
        (per, _MUTED),
        "  ",
        LOWER,
        " input  ",
        UPPER,
        " output",
    )


def cost_bars(view: UsageView, size: tuple[int, int]) -> Content:
    """Cost by row, the part for input against the part for output."""
    width, height = size
    lines = [
        Content.assemble(
            ("COST ", "bold $primary"),
            (f"by {view.report.by}", _MUTED),
            "  ",
            LOWER,
            " input  ",
            UPPER,
            " output",
        )
    ]
    rows = [row for row in view.report.rows if row.totals.cost_nusd > 0]
    top = max((row.totals.cost_nusd for row in rows), default=0)
    label = min(max(width // 3, 10), 24)
    amounts = [format_usd(row.totals.cost_nusd) for row in rows]
    room = width - label - 1 - max(map(len, amounts), default=0) - 1
    for row, amount in list(zip(rows, amounts, strict=True))[: height - 1]:
        sums = row.totals
        name = Content(shown_name(view, row)).truncate(label, ellipsis=True)
        lines.append(
            name.pad_right(max(label + 1 - name.cell_length, 0))
            + split_bar(sums.input_cost_nusd, sums.cost_nusd - sums.input_cost_nusd, top, room)
            + Content.styled(f" {amount}", "bold")
        )
    if len(rows) > height - 1:
        lines[-1] = Content.styled(f"… and {len(rows) - height + 2} more in the table", _MUTED)
    if not rows:
        lines.append(Content.styled("nothing was paid", _MUTED))
    return Content("\n").join(lines)


def table_columns(view: UsageView, width: int) -> tuple[Column, ...]:
    """The name takes what the others leave."""
    columns = [
        Column("name", view.report.by.capitalize(), width=0),
        Column("calls", "Calls", "right", 7),
        Column("input", "Input", "right", 7),
        Column("output", "Output", "right", 7),
        *((Column("tokens", "Tokens", "right", 7),) if width >= _WIDE else ()),
        Column("cost", "Cost", "right", 10),
        Column("success", "Success", "right", 7),
        *((Column("mean", "Mean", "right", 6),) if width >= _NORMAL else ()),
        *((Column("p95", "p95", "right", 6),) if width >= _WIDE else ()),
        *((Column("before", "Before", "right", 10),) if width >= _WIDE else ()),
    ]
    return flexible(columns, "name", width)


def table_lines(view: UsageView, colour: Callable[[str], str]) -> list[Line]:
    return [_line(view, row, colour) for row in view.report.rows]


def _line(view: UsageView, row: UsageRow, colour: Callable[[str], str]) -> Line:
    sums, before = row.totals, row.before
    name = shown_name(view, row)
    shown = Text(name, no_wrap=True, overflow="ellipsis", style="" if row.name else "italic")
    was = "-" if before is None else money(before)
    share = view.report.success(sums)
    success = Text(percent(share, 1))
    if share is not None and share < 0.95:
        success.stylize(colour("$warning"))
    return Line(
        key=row.name,
        cells={
            "name": shown,
            "calls": text.count(sums.calls),
            "input": text.count(sums.input_tokens),
            "output": text.count(sums.output_tokens),
            "tokens": text.count(sums.total_tokens),
            "cost": money(sums),
            "success": success,
            "mean": text.seconds(sums.mean_latency_ms),
            "p95": text.seconds(row.p95_ms),
            "before": was,
        },
        values={
            "name": name.lower(),
            "calls": sums.calls,
            "input": sums.input_tokens,
            "output": sums.output_tokens,
            "tokens": sums.total_tokens,
            "cost": sums.cost_nusd if sums.known_nusd is not None else None,
            "success": share,
            "mean": sums.mean_latency_ms,
            "p95": row.p95_ms,
            "before": None if before is None else before.cost_nusd,
        },
    )


def totals_cells(view: UsageView) -> dict[str, str]:
    total = view.report.total
    sums = total.totals
    return {
        "name": f"Total of {len(view.report.rows)}",
        "calls": text.count(sums.calls),
        "input": text.count(sums.input_tokens),
        "output": text.count(sums.output_tokens),
        "tokens": text.count(sums.total_tokens),
        "cost": money(sums),
        "success": percent(view.report.success(sums), 1),
        "mean": text.seconds(sums.mean_latency_ms),
        "p95": text.seconds(total.p95_ms),
        "before": "-" if total.before is None else money(total.before),
    }


def money(sums: Totals) -> str:
    """The cost; with "+ ?" where calls of unknown price come on top."""
    if sums.known_nusd is None:
        return "unknown"
    return format_usd(sums.cost_nusd) + (" + ?" if sums.unknown_attempts else "")


def drill_text(by: str, name: str) -> str:
    """What Activity filters by to show a row's requests; a provider is the head of its models."""
    return f"{name}/" if by == "provider" else name


def described(rows: Sequence[UsageRow]) -> bool:
    """Whether there is anything to show."""
    return any(row.totals.calls or row.totals.attempts for row in rows)
