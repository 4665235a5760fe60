"""``omni daily|weekly|monthly|blocks``: short names of ``omni usage --by ...`` with the
columns that ccusage made known, and ``omni statusline`` for an agent's prompt."""

import functools
import re
import sys
import time
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

import typer
from msgspec import Struct

from omni_cli.bootstrap import App
from omni_cli.cli.common import JsonFlag, complete_models, grouped, omni
from omni_cli.cli.render import emit_json, moment, note, out, paint
from omni_cli.cli.tables import Column, View, folded, listing
from omni_cli.domain.blocks import Block
from omni_cli.domain.errors import UsageError
from omni_cli.domain.money import format_usd
from omni_cli.domain.periods import HOUR_MS
from omni_cli.domain.record import replace
from omni_cli.services.money.report_documents import blocks_document, row_document, usage_document
from omni_cli.services.money.usage import Dimension, UsageQuery, UsageReport, UsageRow

daily_app = typer.Typer(rich_markup_mode=None)
weekly_app = typer.Typer(rich_markup_mode=None)
monthly_app = typer.Typer(rich_markup_mode=None)
blocks_app = typer.Typer(rich_markup_mode=None)
statusline_app = typer.Typer(rich_markup_mode=None)

Order = Literal["asc", "desc", "cost"]
_COUNTS = (
    "uncached_input_tokens",
    "output_tokens",
    "cache_write_tokens",
    "cached_tokens",
    "total_tokens",
    "cost_usd",
    "unknown_attempts",
)
#: The agent whose subscription counts in blocks.
_CLAUDE = "claude-code"


class Wanted(Struct, frozen=True):
    """What these reports are of; ``cli/common.py`` makes these a command's options."""

    since: Annotated[
        str | None, typer.Option("-s", "--since", help="YYYY-MM-DD; without it everything.")
    ] = None
    until: Annotated[
        str | None, typer.Option("-u", "--until", help="YYYY-MM-DD, included; today without.")
    ] = None
    project: Annotated[str | None, typer.Option("-p", "--project", help="Only this one.")] = None
    agent: Annotated[str | None, typer.Option("--agent", help="Only this one.")] = None
    model: Annotated[
        str | None,
        typer.Option("-m", "--model", autocompletion=complete_models, help="Only this one."),
    ] = None
    breakdown: Annotated[
        bool, typer.Option("-b", "--breakdown", help="Each row by model, too.")
    ] = False
    order: Annotated[
        Order, typer.Option("-o", "--order", help="asc: the newest last; desc; or cost.")
    ] = "asc"
    compact: Annotated[bool, typer.Option("--compact", help="Only input, output and cost.")] = False


@daily_app.command()
@grouped
def daily(wanted: Wanted, view: View) -> None:
    """Tokens and cost by day: omni usage --by day."""
    report("day", wanted, view)


@weekly_app.command()
@grouped
def weekly(wanted: Wanted, view: View) -> None:
    """Tokens and cost by week: omni usage --by week."""
    report("week", wanted, view)


@monthly_app.command()
@grouped
def monthly(wanted: Wanted, view: View) -> None:
    """Tokens and cost by month: omni usage --by month."""
    report("month", wanted, view)


def read_first(omni_app: App) -> None:
    """Before a report: what is new in followed logs, and when they were read."""
    if omni_app.config.imports.follow:
        omni_app.logs.follow()
    omni_app.recover()


def tell_sources(omni_app: App, *, anything: bool) -> None:
    """After a report, on stderr: when agents' logs were read, or that there are some."""
    read_at = omni_app.logs.read_at()
    if read_at is not None:
        note(paint(f"logs read {moment(read_at, omni_app.zone)}", "dim", sys.stderr))
    elif not anything and (found := omni_app.logs.found()):
        titles = ", ".join(item.importer.title for item in found)
        note(f"there are logs of {titles}; omni import brings them in")


def report(by: Dimension, wanted: Wanted, view: View) -> None:
    """Print usage by days, weeks, months or sessions."""
    with omni() as omni_app:
        read_first(omni_app)
        given = {"project": wanted.project, "agent": wanted.agent, "model": wanted.model}
        query = UsageQuery(
            by=by,
            breakdown=wanted.breakdown,
            filters={name: value for name, value in given.items() if value is not None},
        )
        query = omni_app.usage.whole(query, wanted.since, wanted.until)
        found = _ordered(omni_app.usage.report(query), wanted.order)
        saved = omni_app.savings.saved(query) if view.as_json else None
        whole = None if saved is None else functools.partial(usage_document, found, saved)
        _print(view, found, whole, omni_app.zone, wanted)
        if not view.data:
            tell_sources(omni_app, anything=bool(found.rows))


def _ordered(report: UsageReport, order: Order) -> UsageReport:
    rows = list(report.rows)
    if report.by == "session":
        rows.sort(key=lambda row: (0 if row.session is None else row.session.last_at, row.name))
    if order == "cost":
        rows.sort(key=lambda row: -row.totals.cost_nusd)
    elif order == "desc":
        rows.reverse()
    return replace(report, rows=tuple(rows))


def _print(
    view: View, report: UsageReport, whole: Callable[[], Any] | None, zone: str, wanted: Wanted
) -> None:
    columns: list[tuple[Column, Callable[[UsageRow], str]]] = [
        (Column.key(report.by), lambda row: row.name or f"(no {report.by})"),
        *(_of_session(zone) if report.by == "session" else []),
        (Column.figure("input", 6), lambda row: f"{row.totals.uncached_tokens:,}"),
        (Column.figure("output", 7), lambda row: f"{row.totals.output_tokens:,}"),
        (Column.figure("cache write", 3), lambda row: f"{row.totals.cache_write_tokens:,}"),
        (Column.figure("cache read", 4), lambda row: f"{row.totals.cached_tokens:,}"),
        (Column.figure("total", 5), lambda row: f"{row.totals.total_tokens:,}"),
        (
            Column.money("cost"),
            lambda row: _cost(row.totals.known_nusd, row.totals.unknown_attempts),
        ),
    ]
    if wanted.compact:
        columns = [c for c in columns if c[0].head not in ("cache write", "cache read", "total")]
    span = f"{report.first} to {report.last}" if wanted.since or wanted.until else "yet"
    cells, documents = [], []
    whole_names = view.wide or view.data
    shown = {} if whole_names else _short([row.name for row in report.rows])
    for row in report.rows:
        short = replace(row, name=shown.get(row.name, row.name))
        cells.append([cell(short) for _, cell in columns])
        documents.append({report.by: row.name, "model": "", **_counts(row)})
        for part in row.parts:
            told = [
                cell(replace(part, name=f"  {part.name or '(no model)'}")) for _, cell in columns
            ]
            cells.append(told)
            documents.append({report.by: row.name, "model": part.name, **_counts(part)})
    listing(
        view,
        [column for column, _ in columns],
        cells,
        lambda: documents,
        whole=whole,
        fields=(report.by, "model", *_COUNTS),
        empty=[f"nothing was used {span}"],
        total=[cell(replace(report.total, name="total")) for _, cell in columns],
    )


_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def _short(names: Sequence[str]) -> dict[str, str]:
    """Of those that are UUIDs, as many groups as tell one from another: the whole would leave no
    room at 80 columns to say whose it is. ``omni session`` takes these, too."""
    uuids = [name for name in names if _UUID.fullmatch(name)]
    for groups in range(1, 5):
        found = {name: "-".join(name.split("-")[:groups]) for name in uuids}
        if len(set(found.values())) == len(uuids):
            return found
    return {}


def _of_session(zone: str) -> list[tuple[Column, Callable[[UsageRow], str]]]:
    def known(name: str) -> Callable[[UsageRow], str]:
        return lambda row: "" if row.session is None else getattr(row.session.session, name)

    return [
        (Column.words("agent", 4), known("agent")),
        (Column.words("project", 5, 8), known("project")),
        (Column.words("title", 1), known("title")),
        (
            Column.figure("last", 2),
            lambda row: "" if row.session is None else moment(row.session.last_at, zone)[:16],
        ),
    ]


def _cost(known_nusd: int | None, unknown: int) -> str:
    """``unknown``: of how many calls no price is known."""
    cost = format_usd(known_nusd)
    return cost if not unknown or known_nusd is None else f"{cost} + {unknown:,} unknown"


def _counts(row: UsageRow) -> dict[str, Any]:
    document = row_document(row)
    return {name: document[name] for name in _COUNTS}


# --- blocks of five hours -----------------------------------------------------------------------


@blocks_app.command()
def blocks(
    agent: Annotated[
        str | None,
        typer.Option(help="Whose; without it Claude Code's where there are any. all: everything."),
    ] = None,
    active: Annotated[bool, typer.Option("-a", "--active", help="Only the one under way.")] = False,
    recent: Annotated[
        bool, typer.Option("-r", "--recent", help="Only the last three days.")
    ] = False,
    live: Annotated[bool, typer.Option("--live", help="Go on showing the one under way.")] = False,
    interval: Annotated[float, typer.Option(min=0.5, help="Seconds between two looks.")] = 3.0,
    as_json: JsonFlag = False,
) -> None:
    """Blocks of five hours, with burn rate and projection of the one under way."""
    with omni() as omni_app:
        while True:
            read_first(omni_app)
            now = omni_app.now_ms()
            since = now - 72 * HOUR_MS if recent else 0
            whose, found = _blocks(omni_app, agent, since)
            if active or live:
                found = [block for block in found if block.active(now)]
            if as_json:
                emit_json(blocks_document(whose, found, now), compact=live)
            else:
                if live and sys.stdout.isatty():
                    sys.stdout.write("\x1b[H\x1b[J")
                _show_blocks(found, now, omni_app.zone)
            sys.stdout.flush()
            if not live:
                break
            time.sleep(interval)
        if not as_json:
            tell_sources(omni_app, anything=bool(found))


def _blocks(omni_app: App, agent: str | None, since: int) -> tuple[str, list[Block]]:
    """Whose they are, "" everybody's, and they."""
    if agent is not None:
        whose = "" if agent == "all" else agent
        found = omni_app.usage.blocks(whose, since)
        if whose and not found:
            omni_app.usage.names({"agent": whose})  # a typo is told, as by every report
        return whose, found
    found = omni_app.usage.blocks(_CLAUDE, since)
    return (_CLAUDE, found) if found else ("", omni_app.usage.blocks("", since))


def _show_blocks(found: list[Block], now: int, zone: str) -> None:
    view = View()
    listing(
        view,
        [
            Column.key("begins"),
            Column.words("state", 5, 6),
            Column.words("models", 2),
            Column.figure("input", 3),
            Column.figure("output", 4),
            Column.figure("cache write", 1),
            Column.figure("cache read", 1),
            Column.figure("total", 5),
            Column.money("cost"),
        ],
        [
            [
                moment(block.start_at, zone)[:16],
                f"{_span(block.left_ms(now))} left"
                if block.active(now)
                else f"{_span(block.last_at - block.first_at)}",
                ", ".join(name.rpartition("/")[2] for name in block.models),
                f"{block.input_tokens - block.cached_tokens - block.cache_write_tokens:,}",
                f"{block.output_tokens:,}",
                f"{block.cache_write_tokens:,}",
                f"{block.cached_tokens:,}",
                f"{block.total_tokens:,}",
                _cost(block.known_nusd, block.unknown),
            ]
            for block in found
        ],
        list,
        empty=["no block"],
    )
    for block in found:
        if block.active(now) and (burn := block.burn(now)) is not None:
            out()
            said = (
                f"burning {burn.tokens_per_minute:,.0f} tokens a minute, "
                f"{format_usd(burn.cost_per_hour_nusd)} an hour; at that rate "
                f"{burn.projected_tokens:,} tokens and {format_usd(burn.projected_cost_nusd)} "
                f"when it ends {moment(block.end_at, zone)[11:16]}"
            )
            out(folded(said))


def _span(ms: int) -> str:
    hours, minutes = divmod(ms // 60_000, 60)
    return f"{hours}h {minutes:02d}m" if hours else f"{minutes}m"


# --- one line for a prompt ----------------------------------------------------------------------


@statusline_app.command()
def statusline(
    as_json: JsonFlag = False,
    read: Annotated[
        str | None, typer.Option(hidden=True, help="Bring a session's logs into the ledger.")
    ] = None,
) -> None:
    """One line for an agent's prompt: session, today, block, context. Reads Claude Code's status
    JSON on stdin."""
    import json

    from omni_cli.services.money.statusline import status_document, status_line
    from omni_cli.statusline import read_on, transcripts

    if read is not None:
        with omni(quiet=True) as omni_app:
            omni_app.read_transcript(read)
        return
    if sys.stdin.isatty():
        raise UsageError(
            "statusline reads a status JSON on stdin",
            hint='in Claude Code\'s settings.json: "statusLine": '
            '{"type": "command", "command": "omni statusline"}',
        )
    try:
        given = json.loads(sys.stdin.read())
    except (ValueError, RecursionError):
        given = None
    if not isinstance(given, dict):
        raise UsageError("what came on stdin is no status JSON")
    with omni() as omni_app:
        status = omni_app.statusline(given)
        if as_json:
            emit_json(status_document(status))
        else:
            out(status_line(status))
        if status.logs_behind:
            sys.stdout.flush()
            read_on(transcripts(given)[0], status.logs_age_ms, str(omni_app.paths.data))
