"""``omni reprice``: what past calls should have cost; shown first, applied beside the ledger."""

import sys
from decimal import Decimal
from typing import Annotated, Any

import typer

from omni_cli.bootstrap import App
from omni_cli.cli.common import (
    From,
    JsonFlag,
    To,
    TokenRates,
    complete_models,
    confirmed,
    given_span,
    grouped,
    money,
    omni,
)
from omni_cli.cli.render import emit_json, note, number, out, paint, progress
from omni_cli.cli.tables import Column, table
from omni_cli.domain.errors import UsageError
from omni_cli.domain.ids import id_text
from omni_cli.domain.money import format_usd, usd, usd_string, usd_to_nusd
from omni_cli.domain.prices import Price, Rate
from omni_cli.services.money.reprice import Report, Selection, repricing_document

app = typer.Typer(rich_markup_mode=None)


@app.command()
@grouped
def reprice(
    model: Annotated[
        str | None,
        typer.Option("-m", "--model", autocompletion=complete_models, help="Only this model's."),
    ] = None,
    from_date: From = None,
    to_date: To = None,
    current: Annotated[
        bool, typer.Option("--current", help="By what the price list says for each call's day.")
    ] = False,
    unknown: Annotated[
        bool, typer.Option("--unknown", help="Only calls of unknown price.")
    ] = False,
    request: Annotated[
        str | None, typer.Option("--request", help="One request's id, with --cost.")
    ] = None,
    attempt: Annotated[
        int | None, typer.Option("--attempt", min=1, help="Which attempt of --request.")
    ] = None,
    cost: Annotated[
        str | None, typer.Option("--cost", help="What --request really cost, US dollars.")
    ] = None,
    reason: Annotated[str, typer.Option("--reason", help="Kept with each correction.")] = "",
    apply: Annotated[bool, typer.Option("--apply", help="Write it; without: only show.")] = False,
    yes: Annotated[bool, typer.Option("-y", "--yes", help="An odd price is meant so.")] = False,
    as_json: JsonFlag = False,
    *,
    rates: TokenRates,
) -> None:
    """Correct what past calls cost. Shows what would change; --apply writes it."""
    given = rates.given()
    if sum((bool(given), current, request is not None)) != 1:
        raise UsageError(
            "say what the right price is",
            hint="one of --current, --price-in USD --price-out USD, or --request ID --cost USD",
        )
    with omni() as omni_app:
        if request is not None:
            _one(omni_app, request, attempt, money(cost, "--cost"), reason, apply, as_json)
            return
        if given and model is None:
            raise UsageError("a price needs --model", hint="--current goes for all models")
        if given and not {"input", "output"} <= given.keys():
            raise UsageError("give both --price-in and --price-out")
        selection = Selection(model, *given_span(omni_app, from_date, to_date), unknown)
        report = confirmed(
            lambda sure: omni_app.repricing.run(
                selection,
                _price(given) if given else None,
                apply=apply,
                reason=reason or ("price list" if current else "price given by hand"),
                progress=lambda seen: progress(f"{seen:,} charges looked at"),
                sure=sure,
            ),
            yes,
        )
        progress()
    if as_json:
        emit_json(repricing_document(report))
    else:
        _show(report)


def _one(
    omni_app: App,
    request: str,
    attempt: int | None,
    cost: Decimal | None,
    reason: str,
    apply: bool,
    as_json: bool,
) -> None:
    if cost is None:
        raise UsageError("--request needs --cost USD")
    row = omni_app.ledger.find(request)
    charge = omni_app.repricing.charge_of(row.id, attempt)
    wanted = usd_to_nusd(cost)
    if apply:
        omni_app.repricing.set_cost(charge, wanted, reason=reason or "cost given by hand")
    if as_json:
        before = charge.current_nusd
        emit_json(
            {
                "request": id_text(row.id),
                "attempt": charge.attempt.n,
                "before_usd": usd(before),
                "after_usd": usd_string(wanted),
                "applied": apply,
            }
        )
        return
    out(
        f"{id_text(row.id)}, attempt {charge.attempt.n} at {charge.attempt.model}: "
        f"{format_usd(charge.current_nusd)} → {format_usd(wanted)}"
    )
    _ending(applied=apply, changed=int(charge.current_nusd != wanted))


def _price(rates: dict[str, Decimal]) -> Price:
    kinds: dict[str, Any] = {kind: Rate(rate) for kind, rate in rates.items()}
    return Price(state="priced", source="user", note="a correction of past calls", **kinds)


def _show(report: Report) -> None:
    if not report.by_model:
        out(f"{report.seen:,} charges looked at; none differs")
        return
    table(
        (
            Column.key("model"),
            Column.figure("changed", 7),
            Column.figure("were unknown", 3),
            Column.figure("before", 6),
            Column.figure("after", 6),
            Column.money("difference"),
            Column.figure("still unknown", 2),
        ),
        [
            (
                model or "(none)",
                number(change.changed),
                number(change.filled),
                format_usd(change.before_nusd),
                format_usd(change.after_nusd),
                format_usd(change.after_nusd - change.before_nusd),
                number(change.unknown),
            )
            for model, change in report.ranked
        ],
    )
    out(f"{report.seen:,} charges looked at, {report.changed:,} changed")
    _ending(applied=report.applied, changed=report.changed)


def _ending(*, applied: bool, changed: int) -> None:
    if applied:
        note(f"{changed:,} {'correction' if changed == 1 else 'corrections'} written")
    elif changed:
        note(paint("nothing was written; --apply writes it", "dim", sys.stderr))
