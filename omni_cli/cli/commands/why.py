"""``omni why``: one request's receipt."""

from typing import Annotated, Any

import typer

from omni_cli.cli.common import JsonFlag, omni
from omni_cli.cli.render import emit_json, milliseconds, moment, out, paint
from omni_cli.cli.tables import Column, table
from omni_cli.domain.ids import id_text
from omni_cli.domain.pricing import format_usd, usd_to_nusd
from omni_cli.services.engine.decisions import is_unlooked
from omni_cli.services.money.receipt import AttemptReceipt, Receipt, receipt_document

app = typer.Typer(rich_markup_mode=None)


@app.command()
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
                _usd_text(candidate["expected_cost_usd"]),
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


def _usd_text(text: str | None) -> str:
    return format_usd(None if text is None else usd_to_nusd(text))
