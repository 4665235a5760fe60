"""``omni why``, ``omni rate``, ``omni logs``: requests in the ledger."""

from typing import Annotated, Any

import typer

from omni_cli.cli.common import JsonFlag, complete_models, complete_roles, grouped, omni
from omni_cli.cli.render import emit_json, milliseconds, moment, out, paint
from omni_cli.cli.tables import Column, View, listing, table
from omni_cli.domain.document import document
from omni_cli.domain.errors import UsageError
from omni_cli.domain.ids import id_text
from omni_cli.domain.money import format_usd, shown_usd
from omni_cli.domain.periods import duration_ms
from omni_cli.domain.quality import OutcomeKind
from omni_cli.domain.search import ORDERS, STATES, Term, exactly, parse
from omni_cli.services.engine.decisions import is_unlooked
from omni_cli.services.money.activity import request_document
from omni_cli.services.money.receipt import AttemptReceipt, Receipt, receipt_document

why_app = typer.Typer(rich_markup_mode=None)


@why_app.command()
def why(
    request: Annotated[str, typer.Argument(help="Its id, the first part of it, or last.")] = "last",
    as_json: JsonFlag = False,
) -> None:
    """The receipt of a request: decision, attempts, costs."""
    with omni() as omni_app:
        receipt = omni_app.receipts.read(request)
        if as_json:
            emit_json(receipt_document(receipt))
        else:
            print_receipt(receipt, omni_app.zone)


def print_receipt(receipt: Receipt, zone: str) -> None:
    """The receipt for a person, on stdout."""
    row = receipt.row
    simulated = " (simulated)" if receipt.simulated else ""
    out(f"{paint(id_text(row.id), 'bold')}  {moment(row.created_at, zone)}  {row.state}{simulated}")
    if row.error_message:
        out(paint(f"{row.error_code}: {row.error_message}", "red"))
    out(f"model      {row.model or '-'}")
    for label, value in (("role", row.role), ("agent", row.agent), ("chain", row.chain)):
        if value:
            out(f"{label:<10} {value}")
    task = ", ".join(filter(None, (row.task, row.complexity and f"complexity {row.complexity}")))
    if task:
        out(f"task       {task}")
    usage = row.usage
    extra = [
        f"{count:,} {word}"
        for count, word in (
            (usage.cached_tokens, "cached"),
            (usage.cache_write_tokens, "cache write"),
            (usage.reasoning_tokens, "reasoning"),
        )
        if count
    ]
    out(
        f"tokens     {usage.input_tokens:,} in, {usage.output_tokens:,} out"
        + (f" (of these {', '.join(extra)})" if extra else "")
    )
    out(f"time       {milliseconds(row.latency_ms)}, first token {milliseconds(row.ttft_ms)}")
    if receipt.decision:
        _print_decision(receipt.decision)
    _print_attempts(receipt.attempts)
    for skipped in receipt.skipped:
        out(f"   not asked  {skipped['model']}: {skipped['why']}")
    for model, told in receipt.unsaid.items():
        out(f"   {model} could not be told: {'; '.join(told)}")
    for correction in receipt.corrections:
        out(
            f"   #{correction.n} corrected by {format_usd(correction.delta_nusd)} on "
            f"{moment(correction.at_ms, zone)} by {correction.who}: {correction.reason}"
        )
    out()
    out(f"cost       {_cost(receipt.cost_nusd, estimated=row.estimated)}")
    if row.premium_model:
        out(f"premium    {format_usd(row.premium_cost_nusd)} at {row.premium_model}")
    if row.savings_nusd is not None:
        word = "saved" if row.savings_nusd >= 0 else "paid more"
        out(f"{word:<10} {paint(format_usd(abs(row.savings_nusd)), 'green')}")
    for kind, share, remark in receipt.outcomes:
        out(f"{kind:<10} {share:.0%}{' · ' + remark if remark else ''}")
    if receipt.cached_from is not None:
        out(f"cache      the answer of {id_text(receipt.cached_from)}; nothing was sent")


def _print_decision(decision: dict[str, Any]) -> None:
    out()
    if is_unlooked(decision):  # a table of one candidate would say so once more
        out(paint("decision", "bold") + f"   {decision['model']}, {decision['reason']}")
        return
    out(paint("decision", "bold") + f"   {decision['reason']}")
    table(
        (
            Column.key("candidate"),
            Column.figure("quality", 4),
            Column.money("expected"),
            Column.figure("score", 3),
            Column.words("why", 9, 16),
        ),
        [
            (
                candidate["model"],
                "-" if candidate["quality"] is None else f"{candidate['quality']:.0%}",
                shown_usd(candidate["expected_cost_usd"]),
                "-" if candidate["score"] is None else f"{candidate['score']:.3f}",
                candidate["reason"],
            )
            for candidate in decision["candidates"]
        ],
        styles=[None if c["eligible"] else "dim" for c in decision["candidates"]],
    )


def _print_attempts(items: tuple[AttemptReceipt, ...]) -> None:
    attempts = [item.attempt for item in items]
    out()
    if not attempts:
        out(paint("attempts", "bold") + "   none: nothing was sent")
        return
    out(paint("attempts", "bold"))
    table(
        (
            Column.number("#"),
            Column.key("model"),
            Column.words("outcome", 9, 8),
            Column.figure("time", 3),
            Column.money("cost"),
            Column.words("", 8),
        ),
        [
            (
                str(attempt.n),
                attempt.model,
                attempt.state if attempt.error_code is None else attempt.error_code,
                milliseconds(attempt.latency_ms),
                _cost(attempt.cost_nusd, estimated=attempt.usage.estimated),
                attempt.error_message or "",
            )
            for attempt in attempts
        ],
    )
    for item in items:
        attempt = item.attempt
        for line in item.lines:
            out(
                f"   #{attempt.n} {line.kind:<16} {line.tokens:>10,} × "
                f"${line.rate_usd.normalize():f}/1M = ${line.cost_usd.normalize():f}"
            )
        if attempt.waited_ms:
            out(f"   #{attempt.n} waited {milliseconds(attempt.waited_ms)} for a slot")
        if item.unseen_nusd:
            out(
                f"   #{attempt.n} {item.unseen_why}: {format_usd(item.unseen_nusd)} more is held "
                "(omni budgets release)"
            )
        if item.reported_nusd is not None:
            ours = "" if item.drift_nusd is None else _drift(item.drift_nusd)
            out(f"   #{attempt.n} reported as {format_usd(item.reported_nusd)}{ours}")


def _drift(nusd: int) -> str:
    return f", {format_usd(abs(nusd))} {'less' if nusd > 0 else 'more'} than omni's price"


def _cost(nusd: int | None, *, estimated: bool) -> str:
    return format_usd(nusd) + (" (estimated)" if estimated and nusd else "")


rate_app = typer.Typer(rich_markup_mode=None)


@rate_app.command()
def rate(
    request: Annotated[str, typer.Argument(help="Its id, the first part of it, or last.")],
    stars: Annotated[int | None, typer.Argument(help="1 (useless) to 5 (perfect).")] = None,
    up: Annotated[bool, typer.Option("--up", help="Thumbs up.")] = False,
    down: Annotated[bool, typer.Option("--down", help="Thumbs down.")] = False,
    outcome: Annotated[
        str | None,
        typer.Option(help="pass or fail, or an exit status (0 is pass): a test's verdict."),
    ] = None,
    text: Annotated[str, typer.Option("--note", help="Why; stays on this machine.")] = "",
    as_json: JsonFlag = False,
) -> None:
    """Say how good an answer was; routing learns from it."""
    given = [value for value in (stars, up or None, down or None, outcome) if value is not None]
    if len(given) != 1:
        raise UsageError(
            "give one of: 1 to 5, --up, --down, --outcome",
            hint=f"omni rate {request} 5, or omni rate {request} --outcome pass",
        )
    kind, value = _verdict(stars, up, outcome)
    with omni() as omni_app:
        rated = omni_app.ratings.rate(request, kind, value, text)
    row = rated.row
    if as_json:
        emit_json(
            {
                "id": id_text(row.id),
                "model": row.model,
                "task_type": row.task,
                "kind": kind,
                **document(rated, "value", "wins", "losses"),
            }
        )
        return
    counts = f"{rated.wins:g} good, {rated.losses:g} bad"
    out(f"{row.model} at {row.task}: {counts} by your outcomes so far")


def _verdict(stars: int | None, up: bool, outcome: str | None) -> tuple[OutcomeKind, float]:
    if stars is not None:
        return "rating", float(stars)
    if outcome is None:
        return "thumb", 1.0 if up else 0.0
    words = {"pass": 1.0, "passed": 1.0, "ok": 1.0, "fail": 0.0, "failed": 0.0}
    if outcome.lower() in words:
        return "test", words[outcome.lower()]
    if outcome.isdigit():
        return "test", 1.0 if int(outcome) == 0 else 0.0
    raise UsageError(f"--outcome is pass, fail or an exit status, not {outcome!r}")


logs_app = typer.Typer(rich_markup_mode=None)


@logs_app.command()
@grouped
def logs(
    query: Annotated[
        list[str] | None,
        typer.Argument(help="Such as model:sonnet state:failed 'cost>0.01' since:2h."),
    ] = None,
    limit: Annotated[int, typer.Option("-n", "--limit", min=1, help="How many.")] = 20,
    model: Annotated[
        str | None,
        typer.Option("-m", "--model", autocompletion=complete_models, help="Only this one."),
    ] = None,
    role: Annotated[
        str | None, typer.Option(autocompletion=complete_roles, help="Only this one.")
    ] = None,
    state: Annotated[str | None, typer.Option(help=", ".join(STATES))] = None,
    source: Annotated[str | None, typer.Option(help="chat, demo, gateway, import, ...")] = None,
    since: Annotated[str | None, typer.Option(help="Such as 30m, 6h, 2d, 1w.")] = None,
    order: Annotated[str, typer.Option("--order", help=", ".join(ORDERS))] = "time",
    *,
    view: View,
) -> None:
    """List requests in the ledger, newest first.

    All that is asked for must hold. Fields: model, provider, role, agent, task, session, project,
    source, state, error, org, key (field:words, field=all of it, a,b for either, !field:words for
    not); cost, tokens, input, output, took, attempts with > >= < <= =; since:2h, until:2026-11-30.
    Other words are looked for in all names.
    """
    if state is not None and state not in STATES:
        raise UsageError(f"--state is one of {', '.join(STATES)}, not {state!r}")
    by = next((name for name in ORDERS if name == order), None)
    if by is None:
        raise UsageError(f"--order is one of {', '.join(ORDERS)}, not {order!r}")
    search = parse(" ".join(query or ()))
    if since is not None:
        duration_ms(since)
        search = search.also(Term("since", ":", (since,)))
    with omni() as omni_app:
        omni_app.recovery.run()
        asked = {"model": model, "role": role, "source": source}
        wanted = omni_app.ledger_names.resolve({k: v for k, v in asked.items() if v is not None})
        search = search.also(
            *exactly(model=wanted.get("model"), role=role, source=source, state=state)
        )
        found = omni_app.activity.find(search, limit=limit, order=by)
        rows = [one.row for one in found.found]
        zone = omni_app.zone
    listing(
        view,
        (
            Column.key("id"),
            Column.words("when", 6, 19),
            Column.words("state", 8, 7),
            Column.key("model"),
            Column.words("task", 2, 8),
            Column.figure("in", 3),
            Column.figure("out", 4),
            Column.money("cost"),
            Column.figure("time", 5),
        ),
        [
            (
                id_text(row.id),
                moment(row.created_at, zone),
                row.state,
                row.model,
                row.task,
                f"{row.usage.input_tokens:,}",
                f"{row.usage.output_tokens:,}",
                one.cost_words,
                milliseconds(row.latency_ms),
            )
            for one, row in zip(found.found, rows, strict=True)
        ],
        lambda: [request_document(row) for row in rows],
        empty=['no requests yet; omni chat "hello" makes one'],
        styles=[None if row.state == "ok" else "yellow" for row in rows],
    )
