"""Usage as the screen shows it: read through the report service, laid out as columns and lines."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Literal, get_args
from zoneinfo import ZoneInfo

from msgspec import Struct
from rich.cells import cell_len
from rich.text import Text
from textual.content import Content

from omni_cli.bootstrap import App
from omni_cli.domain.analytics import Totals
from omni_cli.domain.money import NUSD_PER_USD, format_usd
from omni_cli.domain.words import counted, percent
from omni_cli.services.money.usage import Slots, UsageQuery, UsageReport, UsageRow
from omni_cli.tui import heat, plot, text
from omni_cli.tui.colours import Look
from omni_cli.tui.colours import series as looks_of
from omni_cli.tui.plot import Plot, Series
from omni_cli.tui.widgets.chart import Shown
from omni_cli.tui.widgets.table import Column, Line, flexible

_MUTED = "$foreground-muted"
#: The table shows p95 and the change from so many columns on, the mean from so many.
_WIDE, _NORMAL = 110, 90
#: Cells of a name at least; with less the counts are shortened.
_NAME = 18
#: Series by name, the others are one.
_TOP = 9

Metric = Literal["tokens", "cost", "calls"]
METRICS: tuple[Metric, ...] = get_args(Metric)
_VALUE: Mapping[Metric, Callable[[Totals], float]] = {
    "tokens": lambda sums: sums.total_tokens,
    "cost": lambda sums: sums.cost_nusd / NUSD_PER_USD,
    "calls": lambda sums: sums.calls,
}
_SCALE: Mapping[Metric, Callable[[float], str]] = {
    "tokens": plot.short,
    "cost": plot.dollars,
    "calls": plot.short,
}


class UsageView(Struct, frozen=True):
    """``names``: how a row's name is shown, where that is another. ``looks``: each row's own,
    whatever its rank."""

    report: UsageReport
    slots: Slots
    names: Mapping[str, str]
    looks: Mapping[str, Look]


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
    elif query.by == "session":
        for row in report.rows:
            if row.session is not None:
                known = row.session.session
                said = known.title or known.project or known.agent
                names[row.name] = f"{said} · {row.name[:8]}" if said else row.name
    rows = [row.name for row in report.rows]
    own = model_looks(omni, rows) if query.by == "model" else looks_of(sorted(rows))
    return UsageView(report, omni.usage.slots(report), names, own)


def model_looks(omni: App, models: Iterable[str]) -> dict[str, Look]:
    """How models look in any chart: the same while the fleet is, whatever else is drawn."""
    fleet = omni.models.of_providers([provider.slug for provider in omni.providers.all()])
    active = sorted(model.id for model in fleet if model.status == "active")
    found = looks_of(dict.fromkeys([*active, *sorted(models)]))
    return {name: found[name] for name in models}


def told(metric: Metric) -> Callable[[float], str]:
    """How a value of the chart is written exactly."""
    if metric == "cost":
        return lambda value: format_usd(round(value * NUSD_PER_USD))
    return lambda value: f"{value:,.0f}"


def over_time(view: UsageView, metric: Metric, hint: str = "") -> Shown:
    """The chart: a series for each of the largest rows, the largest at the ground; ``hint`` where
    the bars beside it are its legend."""
    value, slots, own = _VALUE[metric], view.slots, view.looks
    if slots.hours:
        zone = ZoneInfo(view.report.zone)
        clock = [datetime.fromtimestamp(h * 3600, UTC).astimezone(zone) for h in slots.hours]
        labels = tuple(at.strftime("%H") for at in clock)
        names = tuple(f"{at:%Y-%m-%d %H:%M}" for at in clock)
    else:
        labels = tuple(day.strftime("%m-%d") for day in slots.days)
        names = tuple(f"{day:%a %Y-%m-%d}" for day in slots.days)
    curves = {name: tuple(map(value, row)) for name, row in slots.items.items()}
    ranked = sorted(curves, key=lambda name: (-sum(curves[name]), name))
    most = ranked if len(ranked) <= _TOP + 1 else ranked[:_TOP]
    series = [
        Series(view.names.get(n) or n or f"(no {view.report.by})", look.style, curves[n], look.mark)
        for n in most
        for look in [own.get(n, Look(_MUTED))]
        if any(curves[n])
    ]
    rest = [curves[name] for name in ranked[len(most) :]]
    if rest:
        sums = tuple(map(sum, zip(*rest, strict=True)))
        series.append(Series(f"{len(rest)} others", _MUTED, sums))
    made = Plot(labels, tuple(series), _SCALE[metric])
    per = "an hour" if slots.hours else "a day"
    return Shown(made, f"{metric.upper()} {per}", names, told(metric), hint=hint)


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
        f" · {counted(total.totals.calls, 'call')}",
        f" · {text.count(total.totals.total_tokens)} tokens",
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


def bars(view: UsageView, metric: Metric, size: tuple[int, int]) -> Content:
    """The same by row: the chart's legend with amounts."""
    width, height = size
    value, tell, own = _VALUE[metric], told(metric), view.looks
    shown = Content.assemble((f"{metric.upper()} ", "bold $primary"), f"by {view.report.by}")
    rows = sorted(
        (row for row in view.report.rows if value(row.totals) > 0),
        key=lambda row: -value(row.totals),
    )
    if not rows:
        return shown + Content.styled("\nnothing was paid", _MUTED)
    amounts = [tell(value(row.totals)) for row in rows]
    label = min(max(width // 3, 10), 24)
    figure = max(map(len, amounts))
    room = width - label - figure - 2
    top = max(value(row.totals) for row in rows)
    room_rows = len(rows) if len(rows) <= height - 1 else height - 2
    for row, amount in list(zip(rows, amounts, strict=True))[:room_rows]:
        look = own[row.name]
        name = Content.assemble((f"{look.mark} ", look.style), shown_name(view, row))
        name = name.truncate(label, ellipsis=True)
        shown += Content("\n") + name.pad_right(max(label + 1 - name.cell_length, 0))
        shown += plot.bar(value(row.totals), top, room, look.style)
        shown += Content.styled(f" {amount:>{figure}}", "bold")
    if len(rows) > room_rows:
        more = f"\n… and {len(rows) - room_rows} more in the table"
        shown += Content.styled(more, _MUTED)
    return shown


def table(
    view: UsageView, width: int, colour: Callable[[str], str]
) -> tuple[tuple[Column, ...], list[Line], dict[str, str]]:
    """Columns, lines and totals. Each column is as wide as its widest cell, the name takes what is
    left; counts are exact where that leaves enough for the name.

    Args:
        colour: a theme variable as rich writes colours.
    """
    for exact in (True, False):
        count: Callable[[int], str] = (lambda value: f"{value:,}") if exact else text.count
        lines = [_line(view, row, colour, count) for row in view.report.rows]
        totals = _totals_cells(view, count)
        columns = [Column("name", view.report.by.capitalize(), width=0)]
        for key, title in _titles(view, width):
            cells = [str(line.cells[key]) for line in lines] + [totals[key]]
            columns.append(Column(key, title, "right", max(len(title) + 1, *map(cell_len, cells))))
        if width - sum((c.width or 0) + 2 for c in columns) >= _NAME:
            break
    return flexible(columns, "name", width), lines, totals


def _titles(view: UsageView, width: int) -> list[tuple[str, str]]:
    return [
        ("calls", "Calls"),
        ("input", "Input"),
        ("output", "Output"),
        *((("tokens", "Tokens"),) if width >= _WIDE else ()),
        ("cost", "Cost"),
        ("success", "Success"),
        *((("mean", "Mean"),) if width >= _NORMAL else ()),
        *((("p95", "p95"),) if width >= _WIDE else ()),
        *((("before", _before(view)),) if width >= _WIDE and view.report.before_first else ()),
    ]


def _before(view: UsageView) -> str:
    """The days that "before" is of."""
    first, last = view.report.before_first, view.report.before_last
    if first is None or last is None or first == last:
        return "Before" if first is None else f"{first:%m-%d}"
    return f"{first:%m-%d}/{last:%m-%d}"


def _line(
    view: UsageView,
    row: UsageRow,
    colour: Callable[[str], str],
    count: Callable[[int], str],
) -> Line:
    sums, before = row.totals, row.before
    name = shown_name(view, row)
    shown = Text(no_wrap=True, overflow="ellipsis")
    look = view.looks[row.name]
    shown.append(f"{look.mark} ", style=colour(look.style))
    shown.append(name, style="" if row.name else "italic")
    # What comes on top of some amounts leaves the others where they are comparable.
    some = any(row.totals.unknown_attempts for row in view.report.rows)
    cost = money(sums) + ("    " if some and not sums.unknown_attempts else "")
    was = "-" if before is None else money(before)
    share = view.report.success(sums)
    costs = [other.totals.cost_nusd for other in view.report.rows]
    return Line(
        key=row.name,
        cells={
            "name": shown,
            "calls": count(sums.calls),
            "input": count(sums.input_tokens),
            "output": count(sums.output_tokens),
            "tokens": count(sums.total_tokens),
            "cost": Text(cost, style=colour(heat.cost(sums.known_nusd, costs))),
            "success": Text(percent(share, 1), style=colour(heat.success(share))),
            "mean": _took(sums.mean_latency_ms, colour),
            "p95": _took(row.p95_ms, colour),
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


def _took(ms: float | None, colour: Callable[[str], str]) -> Text:
    return Text(text.seconds(ms), style=colour(heat.latency(ms)))


def _totals_cells(view: UsageView, count: Callable[[int], str]) -> dict[str, str]:
    total = view.report.total
    sums = total.totals
    return {
        "name": f"Total of {len(view.report.rows)}",
        "calls": count(sums.calls),
        "input": count(sums.input_tokens),
        "output": count(sums.output_tokens),
        "tokens": count(sums.total_tokens),
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


def described(rows: Sequence[UsageRow]) -> bool:
    """Whether there is anything to show."""
    return any(row.totals.calls or row.totals.attempts for row in rows)
