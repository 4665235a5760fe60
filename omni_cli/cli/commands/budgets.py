"""``omni budgets``: limits, alerts before them, and how far along each is."""

import sys
from collections.abc import Sequence
from datetime import date
from typing import Annotated, Any

import typer

from omni_cli.bootstrap import App
from omni_cli.cli.common import (
    JsonFlag,
    complete_models,
    complete_providers,
    complete_roles,
    grouped,
    omni,
)
from omni_cli.cli.common import money as usd
from omni_cli.cli.render import Style, emit_json, moment, note, out, paint
from omni_cli.cli.tables import Column, View, listing
from omni_cli.domain.budgets import SCOPES, Budget, BudgetStatus
from omni_cli.domain.errors import AssertionFailed, NotFound, UsageError
from omni_cli.domain.ids import id_text, parse_id
from omni_cli.domain.money import format_usd, usd_string, usd_to_nusd
from omni_cli.domain.periods import day_start, duration_ms
from omni_cli.domain.tasks import WEEKDAYS
from omni_cli.domain.words import counted
from omni_cli.services.money.budget_document import budget_document, status_document

app = typer.Typer(rich_markup_mode=None, no_args_is_help=True)

_BAR = 30
_STYLES: dict[str, Style] = {"ok": "green", "alert": "yellow", "stopped": "red", "off": "dim"}
Id = Annotated[int, typer.Argument(help="Its number: omni budgets list.")]


def _targets(incomplete: str) -> list[str]:
    scope, colon, rest = incomplete.partition(":")
    if not colon:
        names = ["all", *(f"{name}:" for name in SCOPES if name != "all")]
        return [name for name in names if name.startswith(incomplete)]
    known = {"model": complete_models, "provider": complete_providers, "role": complete_roles}
    found = known[scope](rest) if scope in known else []
    return [f"{scope}:{name}" for name in found]


@app.command()
def add(
    target: Annotated[
        str,
        typer.Argument(
            help=f"all, or {', '.join(f'{name}:' for name in SCOPES[1:])} with a name.",
            autocompletion=_targets,
        ),
    ],
    amount: Annotated[str, typer.Argument(help="US dollars per period.")],
    per: Annotated[str, typer.Option("--per", help="day, week or month.")] = "month",
    alert: Annotated[
        list[str] | None,
        typer.Option("--alert", help="Warn at this share of the limit; repeatable. 50, 80, 100."),
    ] = None,
    stop: Annotated[
        str | None, typer.Option("--stop", help="Refuse calls at this share. 100.")
    ] = None,
    rollover: Annotated[
        bool | None,
        typer.Option("--rollover/--no-rollover", help="Add what a period leaves to the next."),
    ] = None,
    allow_unknown: Annotated[
        bool | None,
        typer.Option(
            "--allow-unknown/--no-allow-unknown", help="Let calls of unknown price pass uncounted."
        ),
    ] = None,
    zone: Annotated[str | None, typer.Option(help="IANA time zone of its periods.")] = None,
    week_start: Annotated[str | None, typer.Option(help="Day a week begins on.")] = None,
    month_day: Annotated[
        int | None, typer.Option(min=1, max=31, help="Day a month begins on.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Make a budget, or change the one of the same target and period."""
    changes: dict[str, Any] = {
        "alerts_percent": None if alert is None else tuple(_percent(a, "--alert") for a in alert),
        "stop_percent": None if stop is None else _percent(stop, "--stop"),
        "rollover": rollover,
        "allow_unknown": allow_unknown,
        "zone": zone,
        "week_start": None if week_start is None else _weekday(week_start),
        "month_day": month_day,
    }
    limit = usd(amount, "AMOUNT")
    with omni() as omni_app:
        budget = omni_app.budget_admin.set(
            target,
            usd_to_nusd(limit or "0"),
            per,
            {name: value for name, value in changes.items() if value is not None},
        )
        if as_json:
            emit_json(budget_document(budget))
        else:
            _print_status(omni_app, [omni_app.budgets.status(budget, omni_app.now_ms())])


@app.command("list")
@grouped
def list_(*, view: View) -> None:
    """Every budget and its settings."""
    with omni() as omni_app:
        budgets = omni_app.budget_admin.all()
        zone = omni_app.zone
    listing(
        view,
        (
            Column.number("#"),
            Column.key("for"),
            Column.key("per"),
            Column.money("limit"),
            Column.figure("stops at", 4),
            Column("alerts", worth=3),
            Column.words("periods", 2),
            Column.words("", 5),
        ),
        [
            (
                str(budget.id),
                _whose(budget),
                budget.period,
                format_usd(budget.limit_nusd),
                f"{budget.stop_percent:g}%",
                ", ".join(f"{p:g}%" for p in budget.alerts_percent) or "none",
                _periods(budget),
                _notes(budget, zone),
            )
            for budget in budgets
        ],
        lambda: [budget_document(budget) for budget in budgets],
        empty=["no budgets; omni budgets add all 5 --per day makes one"],
        styles=[None if budget.enabled else "dim" for budget in budgets],
    )


@app.command()
def status(
    fail_over: Annotated[
        str | None,
        typer.Option("--fail-over", help="Exit with 7 when a budget is used above this share."),
    ] = None,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="Exit with 7 when a budget has stopped calls.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """How far along each budget is: spent, reserved, left, and when it resets."""
    limit = None if fail_over is None else _percent(fail_over, "--fail-over")
    with omni() as omni_app:
        omni_app.recovery.run()
        statuses = omni_app.budget_admin.statuses()
        if as_json:
            emit_json([status_document(status) for status in statuses])
        elif not statuses:
            note("no budgets; omni budgets add all 5 --per day makes one")
        else:
            _print_status(omni_app, statuses)
    above = [
        s
        for s in statuses
        if (limit is not None and s.used > limit) or (exit_code and s.state == "stopped")
    ]
    if above:
        names = ", ".join(f"{s.budget.label} ({s.used:.1f}%)" for s in above)
        message = f"used above {limit:g}%: {names}" if limit is not None else f"stopped: {names}"
        if as_json:
            # Standard output holds the statuses already.
            note(f"error: {message}")
            raise typer.Exit(7)
        raise AssertionFailed(message)


@app.command("raise")
def raise_(
    budget_id: Id,
    by: Annotated[str, typer.Option("--by", help="US dollars to add to the limit.")],
    lasting: Annotated[str | None, typer.Option("--for", help="How long: 6h, 1d, 2w.")] = None,
    until: Annotated[
        str | None, typer.Option("--until", help="YYYY-MM-DD, when that day begins.")
    ] = None,
) -> None:
    """Lift a limit for a while."""
    amount = usd(by, "--by")
    if (lasting is None) == (until is None):
        raise UsageError("say how long: --for 1d or --until YYYY-MM-DD")
    with omni() as omni_app:
        budget = omni_app.budget_admin.get(budget_id)
        end = (
            omni_app.now_ms() + duration_ms(lasting)
            if lasting is not None
            else _day(until or "", budget.zone)
        )
        fresh = omni_app.budget_admin.raise_by(budget_id, usd_to_nusd(amount or "0"), end)
        note(
            f"the {fresh.label} is {format_usd(fresh.raise_nusd)} higher until "
            f"{moment(end, omni_app.zone)}"
        )


@app.command()
def remove(budget_id: Id) -> None:
    """Take a budget away."""
    with omni() as omni_app:
        note(f"removed the {omni_app.budget_admin.remove(budget_id).label}")


@app.command()
def enable(budget_id: Id) -> None:
    """Keep a budget again; what was spent meanwhile counts."""
    with omni() as omni_app:
        note(f"the {omni_app.budget_admin.enable(budget_id, on=True).label} is kept")


@app.command()
def disable(budget_id: Id) -> None:
    """Stop keeping a budget, without forgetting its settings."""
    with omni() as omni_app:
        note(f"the {omni_app.budget_admin.enable(budget_id, on=False).label} is not kept")


@app.command()
@grouped
def held(*, view: View) -> None:
    """Calls whose end or cost was not seen, and what is held for them until they are reconciled."""
    with omni() as omni_app:
        omni_app.recovery.run()
        _show_held(omni_app, view)


@app.command()
def release(
    requests: Annotated[
        list[str] | None, typer.Argument(help="Requests: omni budgets held lists them.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Everything that is held.")] = False,
    model: Annotated[str | None, typer.Option("--model", help="All of a model.")] = None,
    day: Annotated[str | None, typer.Option("--day", help="All of a day, YYYY-MM-DD, UTC.")] = None,
    cost: Annotated[
        str | None, typer.Option("--cost", help="US dollars that they cost together.")
    ] = None,
    reason: Annotated[str, typer.Option("--reason", help="Kept with it.")] = "",
    as_json: JsonFlag = False,
) -> None:
    """Hold nothing more for some calls: they count as what is known to have come, or as --cost."""
    amount = None if cost is None else usd(cost, "--cost")
    with omni() as omni_app:
        omni_app.recovery.run()
        _release(
            omni_app,
            requests or (),
            every=every,
            model=model,
            day=day,
            cost_nusd=None if amount is None else usd_to_nusd(amount),
            reason=reason,
            as_json=as_json,
        )


def _show_held(omni_app: App, view: View) -> None:
    """Every call that budgets hold money for, and how much."""
    from omni_cli.services.money.held import held_document

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
        lambda: [held_document(charge) for charge in charges],
        empty=["nothing is held: every call was seen to end and counted, or is reconciled"],
    )
    if view.data or not charges:
        return
    held = sum(charge.attempt.held_nusd for charge in charges)
    out(f"{format_usd(held)} held for {counted(len(charges), 'call')}")
    note(
        "omni reconcile --held asks their providers; omni budgets release ID [--cost USD] frees it"
    )


def _release(
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
    out(f"{format_usd(held)} of {counted(changed, 'call')} is held no more")
    note(f"they count {format_usd(cost)}: {what}")


def _request(omni_app: App, text: str) -> int:
    span = parse_id(text)
    if span is None:
        raise NotFound(f"{text!r} is no request", hint="omni budgets held lists them")
    return omni_app.ledger.find(text).id


def tell_alerts(omni_app: App) -> None:
    """Warn on stderr of thresholds that were passed; each is told once per period."""
    for alert in omni_app.budget_admin.due_alerts():
        status = alert.status
        text = (
            f"the {status.budget.label} is {status.used:.0f}% used: "
            f"{format_usd(status.spent_nusd)} of {format_usd(status.whole_nusd)}; "
            f"resets {moment(status.end_at, omni_app.zone)}"
        )
        note(f"{paint(f'alert at {alert.percent:g}%:', 'yellow', sys.stderr)} {text}")


def _percent(text: str, option: str) -> float:
    try:
        value = float(text.strip().removesuffix("%"))
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1000:
        raise UsageError(f"{option} takes a percentage such as 80, not {text!r}")
    return value


def _weekday(text: str) -> int:
    names = [name for name in WEEKDAYS if name.startswith(text.lower())]
    if len(names) != 1:
        raise UsageError(f"--week-start is one of {', '.join(WEEKDAYS)}, not {text!r}")
    return WEEKDAYS.index(names[0])


def _day(text: str, zone: str) -> int:
    try:
        return day_start(date.fromisoformat(text), zone)
    except ValueError as exc:
        raise UsageError(f"--until {text!r} is no date", hint="write YYYY-MM-DD") from exc


def _whose(budget: Budget) -> str:
    return "all" if budget.scope == "all" else f"{budget.scope}:{budget.value}"


def _periods(budget: Budget) -> str:
    start = {
        "day": "",
        "week": f", from {WEEKDAYS[budget.week_start]}",
        "month": f", from day {budget.month_day}",
    }[budget.period]
    return f"{budget.zone}{start}"


def _notes(budget: Budget, zone: str) -> str:
    words = [] if budget.enabled else ["disabled"]
    if budget.rollover:
        words.append("rolls over")
    if budget.allow_unknown:
        words.append("allows unknown prices")
    if budget.raise_until is not None:
        words.append(f"+{format_usd(budget.raise_nusd)} until {moment(budget.raise_until, zone)}")
    return ", ".join(words)


def _print_status(omni_app: App, statuses: list[BudgetStatus]) -> None:
    for status in statuses:
        budget = status.budget
        style = _STYLES[status.state]
        out(
            f"{paint(f'#{budget.id} {budget.label}', 'bold')}  "
            f"{paint(_bar(status), style)} {status.used:.1f}%"
        )
        held = [f"{format_usd(status.spent_nusd)} of {format_usd(status.whole_nusd)} spent"]
        if status.estimated_nusd:
            held.append(f"{format_usd(status.estimated_nusd)} of it estimated")
        held.append(f"{format_usd(status.reserved_nusd)} reserved")
        if status.held_nusd:
            kept = f"{format_usd(status.held_nusd)} of it held"
            held.append(f"{kept} for calls not seen to end or not counted")
        held.append(f"{format_usd(max(status.left_nusd, 0))} left")
        out(f"   {', '.join(held)}; resets {moment(status.end_at, omni_app.zone)}")
        notes = _notes(budget, omni_app.zone)
        if status.carried_nusd:
            carried = f"{format_usd(status.carried_nusd)} carried over"
            notes = f"{carried}, {notes}" if notes else carried
        if notes:
            out(f"   {notes}")


def _bar(status: BudgetStatus) -> str:
    """Spent, then reserved, then free; ┊ stands at each alert and ┃ where calls stop."""
    whole = status.whole_nusd
    top = max(whole, status.stop_at_nusd, 1)

    def cell(nusd: float) -> int:
        return min(int(_BAR * nusd / top), _BAR)

    spent = cell(status.spent_nusd)
    held = max(cell(status.spent_nusd + status.reserved_nusd) - spent, 0)
    cells = list("█" * spent + "▒" * held + "░" * (_BAR - spent - held))
    for percent in status.budget.alerts_percent:
        at = cell(whole * percent / 100)
        if at < _BAR:
            cells[at] = "┊"
    stop = min(cell(status.stop_at_nusd), _BAR)
    cells.insert(stop, "┃")
    return "".join(cells)
