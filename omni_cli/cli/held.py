"""Money held for calls whose cost nobody saw, as commands show and release it."""

from collections.abc import Sequence
from typing import Any

from omni_cli.bootstrap import App
from omni_cli.cli.render import emit_json, moment, note, out
from omni_cli.cli.tables import Column, View, listing, table
from omni_cli.domain.errors import NotFound, UsageError
from omni_cli.domain.ids import id_text, parse_id
from omni_cli.domain.money import usd
from omni_cli.domain.periods import iso
from omni_cli.domain.pricing import format_usd, usd_string
from omni_cli.records import Charge
from omni_cli.services.money.held import Report


def show_held(omni_app: App, view: View) -> None:
    """Every call that budgets hold money for, and how much."""
    charges = omni_app.held.all()
    listing(
        view,
        (
            Column.key("request"),
            Column.words("when", 3, 19),
            Column.key("model"),
            Column.words("outcome", 5, 8),
            Column.money("known cost"),
            Column.money("held"),
        ),
        [
            (
                id_text(charge.request.id),
                moment(charge.request.created_at, omni_app.zone),
                charge.attempt.model,
                charge.attempt.outcome,
                format_usd(charge.current_nusd),
                format_usd(charge.attempt.held_nusd),
            )
            for charge in charges
        ],
        lambda: [_document(charge) for charge in charges],
        empty=["nothing is held: every call was seen to end and counted, or is reconciled"],
    )
    if view.data or not charges:
        return
    held = sum(charge.attempt.held_nusd for charge in charges)
    out(f"{format_usd(held)} held for {len(charges):,} {_calls(len(charges))}")
    note(
        "omni reconcile --held asks their providers; omni budgets release ID [--cost USD] frees it"
    )


def release(
    omni_app: App,
    requests: Sequence[str],
    *,
    every: bool,
    model: str | None,
    day: str | None,
    cost_nusd: int | None,
    reason: str,
    as_json: bool,
) -> None:
    """Hold nothing more for some calls. Raises UsageError where none is named."""
    if not requests and not every and model is None and day is None:
        raise UsageError(
            "say which calls: their ids, --model, --day, or --all",
            hint="omni budgets held lists them",
        )
    charges = omni_app.held.chosen(
        [_request(omni_app, text) for text in requests],
        model=None if model is None else omni_app.names.model(model),
        day=day,
    )
    held = sum(charge.attempt.held_nusd for charge in charges)
    told = reason or ("released by hand" if cost_nusd is None else "cost given by hand")
    changed = omni_app.held.release(charges, cost_nusd, reason=told)
    after = [omni_app.adjustments.charge(c.request.id, c.attempt.n) for c in charges]
    cost = sum((charge.current_nusd or 0) for charge in after if charge is not None)
    if as_json:
        emit_json(
            {"released": changed, "released_usd": usd_string(held), "cost_usd": usd_string(cost)}
        )
        return
    what = "what is known to have come stays their cost" if cost_nusd is None else "as you say"
    out(f"{format_usd(held)} of {changed:,} {_calls(changed)} is held no more")
    note(f"they count {format_usd(cost)}: {what}")


def reconcile(omni_app: App, *, apply: bool, as_json: bool) -> bool:
    """Ask providers what held calls cost; returns whether any stays held."""
    reports = [omni_app.held.ask(charge) for charge in omni_app.held.all()]
    told = [(r.charge, r.cost_nusd) for r in reports if r.cost_nusd is not None]
    if apply and told:
        omni_app.held.settle(told, reason="reported by its provider")
    if as_json:
        emit_json([_report_document(report, applied=apply) for report in reports])
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
            note(f"{len(told):,} {_calls(len(told))} written as their providers say")
        if len(told) < len(reports):
            note("the others: omni reconcile BILL, or omni budgets release ID [--cost USD]")
    return len(told) < len(reports) or bool(told and not apply)


def _request(omni_app: App, text: str) -> int:
    span = parse_id(text)
    if span is None:
        raise NotFound(f"{text!r} is no request", hint="omni budgets held lists them")
    return omni_app.ledger.find(text).id


def _calls(count: int) -> str:
    return "call" if count == 1 else "calls"


def _document(charge: Charge) -> dict[str, Any]:
    attempt = charge.attempt
    return {
        "request": id_text(charge.request.id),
        "attempt": attempt.n,
        "at": iso(charge.request.created_at),
        "provider": attempt.provider,
        "model": attempt.model,
        "outcome": attempt.outcome,
        "provider_request_id": attempt.provider_request_id,
        "cost_usd": usd(charge.current_nusd),
        "held_usd": usd_string(attempt.held_nusd),
    }


def _report_document(report: Report, *, applied: bool) -> dict[str, Any]:
    cost = report.cost_nusd
    return {
        **_document(report.charge),
        "reported_usd": usd(cost),
        "why": report.why or None,
        "applied": applied and cost is not None,
    }
