"""``omni reconcile``: an invoice or usage export against the ledger, and what to do about it."""

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from omni_cli.bootstrap import App
from omni_cli.cli.common import Apply, From, JsonFlag, To, given_span, omni, pairs
from omni_cli.cli.render import emit_json, note, number, out, paint
from omni_cli.cli.tables import Column, table
from omni_cli.domain.errors import AssertionFailed, NotFound, UsageError
from omni_cli.domain.ids import id_text
from omni_cli.domain.imports import ImportProblem, InvoiceLine
from omni_cli.domain.money import format_usd
from omni_cli.domain.record import replace
from omni_cli.domain.words import counted
from omni_cli.importers.reconcile import read_invoice, recognise, resolved
from omni_cli.services.money.held import report_document
from omni_cli.services.money.reconciling import (
    Drift,
    advise,
    compare,
    invoice_document,
    reported_document,
)

app = typer.Typer(rich_markup_mode=None)

_SHOWN = 40


@app.command()
def reconcile(
    file: Annotated[
        Path | None, typer.Argument(help="An invoice or usage export: CSV or JSON.")
    ] = None,
    source: Annotated[
        str | None,
        typer.Option("--source", help="Whose it is: openai, anthropic, openrouter, litellm, csv."),
    ] = None,
    mapping: Annotated[
        list[str] | None, typer.Option("--map", help="FIELD=COLUMN, for csv; repeatable.")
    ] = None,
    no_imports: Annotated[
        bool, typer.Option("--no-imports", help="Leave imported calls out of our side.")
    ] = False,
    reported: Annotated[
        bool,
        typer.Option("--reported", help="Costs that providers and tools reported, against ours."),
    ] = False,
    held: Annotated[
        bool,
        typer.Option("--held", help="Ask providers about calls whose end was not seen."),
    ] = False,
    apply: Apply = False,
    from_date: From = None,
    to_date: To = None,
    check: Annotated[
        bool, typer.Option("--exit-code", "--check", help="Exit with 7 where the two differ.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Compare an invoice or usage export with the ledger, and name what drifts."""
    if sum((reported, held, file is not None)) != 1:
        raise UsageError("give a FILE, --reported or --held")
    with omni() as omni_app:
        omni_app.recovery.run()
        if held:
            differs = _held(omni_app, apply=apply, as_json=as_json)
        elif file is None:
            differs = _reported(omni_app, from_date, to_date, as_json=as_json)
        else:
            differs = _file(
                omni_app, file, source, mapping or [], with_imports=not no_imports, as_json=as_json
            )
    if check and differs:
        if as_json:
            raise typer.Exit(7)
        raise AssertionFailed("the two sides differ")


def _held(omni_app: App, *, apply: bool, as_json: bool) -> bool:
    """Ask providers what held calls cost; returns whether any stays held."""
    reports = [omni_app.held.ask(charge) for charge in omni_app.held.all()]
    told = [(r.charge, r.cost_nusd) for r in reports if r.cost_nusd is not None]
    if apply and told:
        omni_app.held.settle(told, reason="reported by its provider")
    if as_json:
        emit_json([report_document(report, applied=apply) for report in reports])
    elif not reports:
        note("nothing is held: every call was seen to end and counted, or is reconciled")
    else:
        table(
            (
                Column.key("request"),
                Column.key("model"),
                Column.money("known cost"),
                Column.money("held"),
                Column.words("its provider says", 9),
            ),
            [
                (
                    id_text(report.charge.request.id),
                    report.charge.attempt.model,
                    format_usd(report.charge.current_nusd),
                    format_usd(report.charge.attempt.held_nusd),
                    report.why if report.cost_nusd is None else format_usd(report.cost_nusd),
                )
                for report in reports
            ],
        )
        if told and not apply:
            note("nothing was written; --apply writes it")
        elif told:
            note(f"{counted(len(told), 'call')} written as their providers say")
        if len(told) < len(reports):
            note("the others: omni reconcile BILL, or omni budgets release ID [--cost USD]")
    return len(told) < len(reports) or bool(told and not apply)


def _file(
    omni_app: App,
    file: Path,
    source: str | None,
    mapping: list[str],
    *,
    with_imports: bool,
    as_json: bool,
) -> bool:

    if not file.exists():
        raise NotFound(f"there is no {file}")
    service = omni_app.reconciling
    skips: Counter[str] = Counter()
    theirs: list[InvoiceLine] = []
    problems: list[ImportProblem] = []
    for item in read_invoice(
        file, source, skips=skips, mapping=pairs(mapping, "--map", "FIELD=COLUMN")
    ):
        if isinstance(item, ImportProblem):
            problems.append(item)
        else:
            theirs.append(resolved(item, service.resolve))
    for problem in problems:
        note(f"{paint('left out:', 'yellow')} {problem}")
    if not theirs:
        raise UsageError(f"{file} holds no lines to compare", hint="is it the whole export?")
    days = sorted({line.day for line in theirs})
    ours, unknown = service.ledger_lines(days[0], days[-1], with_imports=with_imports)
    drifts = compare(ours, theirs)
    name = source or (None if file.is_dir() else recognise(file))
    advice = advise(service, drifts, ours, file, name)
    if as_json:
        emit_json(
            {
                "file": str(file),
                **invoice_document(theirs, unknown, drifts, advice),
                "problems": [str(problem) for problem in problems],
            }
        )
        return bool(drifts)
    out(f"{len(theirs):,} lines from {days[0]} to {days[-1]} (UTC) in {file.name}")
    if unknown:
        note(
            f"{unknown:,} {'call' if unknown == 1 else 'calls'} of these days without a price: "
            "omni reprice --current --unknown"
        )
    if not drifts:
        out(paint("the ledger agrees", "green"))
        return False
    _show(drifts)
    if advice:
        out()
        for hint in advice:
            out(f"{hint.day} {hint.model or 'all models'}: {hint.why}")
            if hint.command:
                out(f"  {hint.command}")
    return True


def _show(drifts: list[Drift]) -> None:
    table(
        (
            Column.key("day"),
            Column.key("model"),
            Column.words("what", 8, 8),
            Column.figure("ours", 5),
            Column.figure("theirs", 6),
            Column.money("difference"),
            Column.figure("", 3),
            Column.words("finding", 9, 8),
        ),
        [
            (
                drift.day,
                drift.model or "(all models)",
                drift.kind if drift.measure == "tokens" else f"{drift.kind} cost",
                _amount(drift, drift.ours),
                _amount(drift, drift.theirs),
                _amount(drift, drift.difference),
                "" if drift.percent is None else f"{drift.percent:+}%",
                drift.finding.replace("_", " "),
            )
            for drift in drifts[:_SHOWN]
        ],
    )
    if len(drifts) > _SHOWN:
        out(f"and {len(drifts) - _SHOWN:,} more; --json lists all")


def _amount(drift: Drift, value: int | None) -> str:
    if value is None:
        return "-"
    return number(value) if drift.measure == "tokens" else format_usd(value)


def _reported(omni_app: App, from_date: str | None, to_date: str | None, *, as_json: bool) -> bool:
    sums = omni_app.reconciling.reported(*given_span(omni_app, from_date, to_date))
    rows = list(sums.items())
    if as_json:
        emit_json([reported_document(who, model, row) for (who, model), row in rows])
    elif not rows:
        note("no call in the ledger has a cost that its provider or tool reported")
    else:
        table(
            (
                Column.words("reported by", 5, 8),
                Column.key("model"),
                Column.figure("calls", 3),
                Column.figure("ours", 6),
                Column.figure("theirs", 6),
                Column.money("drift"),
                Column.figure("", 4),
                replace(Column.figure("most off", 2), align="left"),
            ),
            [
                (
                    who,
                    model,
                    number(row.calls) + (f" + {row.unpriced:,} unpriced" if row.unpriced else ""),
                    format_usd(row.ours_nusd),
                    format_usd(row.theirs_nusd),
                    format_usd(row.drift_nusd),
                    "" if row.drift is None else f"{row.drift:+.2%}",
                    "" if row.worst is None else f"omni why {id_text(row.worst[0])}",
                )
                for (who, model), row in rows
            ],
        )
    return any(row.differing for row in sums.values())
