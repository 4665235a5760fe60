"""``omni reconcile``: an invoice or usage export against the ledger, and what to do about it."""

from collections import Counter, defaultdict
from datetime import date, timedelta
from pathlib import Path
from shlex import quote
from typing import Annotated, Any

import typer
from msgspec import Struct

from omni_cli.bootstrap import App
from omni_cli.cli.common import Apply, From, JsonFlag, To, given_span, omni
from omni_cli.cli.render import emit_json, note, number, out, paint
from omni_cli.cli.tables import Column, table
from omni_cli.domain.document import document
from omni_cli.domain.errors import AssertionFailed, NotFound, UsageError
from omni_cli.domain.ids import id_text
from omni_cli.domain.imports import ImportProblem, InvoiceLine, TokenKind
from omni_cli.domain.pricing import format_usd, usd_string
from omni_cli.domain.words import counted
from omni_cli.importers.reconcile import Drift, read_invoice, recognise, resolved
from omni_cli.importers.reconcile import reconcile as compare
from omni_cli.services.money.held import report_document
from omni_cli.services.money.reconciling import Reported

app = typer.Typer(rich_markup_mode=None)

_SHOWN = 40


class Advice(Struct, frozen=True):
    """Why a day's model may differ, and the command that puts it right, if there is one."""

    day: str
    model: str | None
    why: str
    command: str | None = None


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
        bool, typer.Option("--check", help="Exit with 7 when the two sides differ.")
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
    from omni_cli.cli.commands.import_ import parse_mapping

    if not file.exists():
        raise NotFound(f"there is no {file}")
    service = omni_app.reconciling
    skips: Counter[str] = Counter()
    theirs: list[InvoiceLine] = []
    problems: list[ImportProblem] = []
    for item in read_invoice(file, source, skips=skips, mapping=parse_mapping(mapping)):
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
    advice = _advise(omni_app, drifts, ours, file, name)
    if as_json:
        emit_json(
            {
                "file": str(file),
                "from": days[0],
                "to": days[-1],
                "lines": len(theirs),
                "agrees": not drifts,
                "unknown_attempts": unknown,
                "drifts": [_drift_document(drift) for drift in drifts],
                "advice": [document(one) for one in advice],
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


def _advise(
    omni_app: App, drifts: list[Drift], ours: list[InvoiceLine], file: Path, source: str | None
) -> list[Advice]:
    """One piece of advice for each day and model that differ; the same advice once."""
    places: dict[tuple[str, str | None], list[Drift]] = defaultdict(list)
    for drift in drifts:
        places[drift.day, drift.model].append(drift)
    seen = {(line.day, line.model) for line in ours if line.tokens}
    found: dict[tuple[str, str | None], Advice] = {}
    for (day, model), mine in places.items():
        advice: Advice | None
        if omni_app.reconciling.estimated(day, model):
            advice = _correction(omni_app, day, model, mine, file)
        else:
            advice = _cause(day, model, mine, (day, model) in seen, file, source)
        if advice is not None:
            found.setdefault((advice.why, advice.command), advice)
    return list(found.values())


def _cause(
    day: str,
    model: str | None,
    drifts: list[Drift],
    in_ledger: bool,
    file: Path,
    source: str | None,
) -> Advice | None:
    """What a drift at a day and model without estimated calls says, if it can be told."""
    findings = {drift.finding for drift in drifts}
    measures = {drift.measure for drift in drifts}
    if findings == {"missing_in_ledger"} and not in_ledger:
        if "tokens" in measures and source is not None:
            command = f"omni import {source} {quote(str(file))}"
            return Advice(day, model, "calls that did not go through omni", command)
        return Advice(
            day, model, "calls that did not go through omni; a usage export can be imported"
        )
    if findings == {"missing_on_invoice"}:
        return Advice(day, model, "not billed yet, or billed to another account")
    if measures != {"cost"} or model is None:
        return None
    if findings == {"missing_in_ledger"}:
        why = "its tokens are in the ledger, and omni knows no price for them"
        command = f"omni models price {quote(model)} --price-in USD --price-out USD"
        return Advice(day, model, why, command)
    after = date.fromisoformat(day) + timedelta(days=1)
    why = "the tokens agree and the price differs; what today's price list makes of it"
    command = f"omni reprice --current --model {quote(model)} --from {day} --to {after}"
    return Advice(day, model, why, command)


def _correction(
    omni_app: App, day: str, model: str | None, drifts: list[Drift], file: Path
) -> Advice:
    estimated = omni_app.reconciling.estimated(day, model)
    names = ", ".join(id_text(charge.request.id) for charge in estimated[:5])
    unseen = [charge for charge in estimated if charge.attempt.held_nusd]
    off = [drift.difference for drift in drifts if drift.measure == "cost"]
    known = sum(charge.current_nusd or 0 for charge in unseen)
    most = known + sum(charge.attempt.held_nusd for charge in unseen)
    if len(unseen) > 1 and off and model is not None and 0 <= known - sum(off) <= most:
        return Advice(
            day,
            model,
            f"the end of {len(unseen)} calls was not seen ({names}); "
            f"{format_usd(known - sum(off))} for them together would make the day agree",
            f"omni budgets release --model {quote(model)} --day {day} "
            f"--cost {usd_string(known - sum(off))} --reason {quote(file.name)}",
        )
    if len(estimated) > 1:
        why = f"{len(estimated)} calls were estimated ({names}); correct each with its true cost"
        return Advice(
            day, model, why, f"omni reprice --request {id_text(estimated[0].request.id)} --cost USD"
        )
    charge = estimated[0]
    money = [drift.difference for drift in drifts if drift.measure == "cost"]
    tokens: dict[TokenKind, int] = {
        drift.kind: drift.difference for drift in drifts if drift.measure == "tokens"
    }
    cost = omni_app.reconciling.corrected_nusd(charge, tokens, sum(money) if money else None)
    if cost is None:
        return Advice(day, model, f"call {names} was estimated, and does not explain it alone")
    return Advice(
        day,
        model,
        f"call {names} was estimated at {format_usd(charge.current_nusd)}; "
        f"{format_usd(cost)} would make the day agree",
        f"omni reprice --request {names} --attempt {charge.attempt.n} --cost {usd_string(cost)} "
        f"--reason {quote(file.name)} --apply",
    )


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


def _drift_document(drift: Drift) -> dict[str, Any]:
    def shown(value: int | None) -> int | str | None:
        if value is None or drift.measure == "tokens":
            return value
        return usd_string(value)

    return {
        **document(drift, "day", "model", "kind", "measure", "finding"),
        "ours": shown(drift.ours),
        "theirs": shown(drift.theirs),
        "difference": shown(drift.difference),
        "percent": None if drift.percent is None else str(drift.percent),
    }


def _reported(omni_app: App, from_date: str | None, to_date: str | None, *, as_json: bool) -> bool:
    sums = omni_app.reconciling.reported(*given_span(omni_app, from_date, to_date))
    rows = sorted(sums.items(), key=lambda item: -abs(item[1].ours_nusd - item[1].theirs_nusd))
    if as_json:
        emit_json([_reported_document(who, model, row) for (who, model), row in rows])
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
                Column.figure("most off", 2)._replace(align="left"),
            ),
            [
                (
                    who,
                    model,
                    number(row.calls) + (f" + {row.unpriced:,} unpriced" if row.unpriced else ""),
                    format_usd(row.ours_nusd),
                    format_usd(row.theirs_nusd),
                    format_usd(row.ours_nusd - row.theirs_nusd),
                    _share(row),
                    "" if row.worst is None else f"omni why {id_text(row.worst[0])}",
                )
                for (who, model), row in rows
            ],
        )
    return any(row.differing for row in sums.values())


def _share(row: Reported) -> str:
    if not row.theirs_nusd:
        return ""
    return f"{100 * (row.ours_nusd - row.theirs_nusd) / row.theirs_nusd:+.2f}%"


def _reported_document(who: str, model: str, row: Reported) -> dict[str, Any]:
    return {
        "reported_by": who,
        "model": model,
        **document(row, "calls", "differing", "ours_nusd", "theirs_nusd"),
        "drift_usd": usd_string(row.ours_nusd - row.theirs_nusd),
        "unpriced_calls": row.unpriced,
        "unpriced_theirs_usd": usd_string(row.unpriced_nusd),
        "most_off": None if row.worst is None else id_text(row.worst[0]),
    }
