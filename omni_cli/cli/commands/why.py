"""``omni why``: one request's receipt."""

from typing import Annotated, Any

import typer

from omni_cli.bootstrap import App
from omni_cli.cli.common import JsonFlag, omni
from omni_cli.cli.render import emit_json, iso, milliseconds, moment, out, paint, table
from omni_cli.domain.errors import OmniError
from omni_cli.domain.ids import id_text
from omni_cli.domain.ledger import AttemptRow, RequestRow
from omni_cli.domain.pricing import (
    NUSD_PER_USD,
    PriceLine,
    format_usd,
    price_lines,
    usd_string,
    usd_to_nusd,
)
from omni_cli.services.decisions import is_unlooked, recorded_decision
from omni_cli.usage_records import Adjustment

app = typer.Typer(rich_markup_mode=None)


@app.command()
def why(
    request: Annotated[str, typer.Argument(help="Its id, the first part of it, or last.")] = "last",
    as_json: JsonFlag = False,
) -> None:
    """The receipt of a request: decision, attempts, costs."""
    with omni() as omni_app:
        row = omni_app.ledger.find(request)
        if as_json:
            emit_json(why_document(omni_app, row.id))
        else:
            print_receipt(omni_app, row.id)


def why_document(omni_app: App, request_id: int) -> dict[str, Any]:
    """The receipt as JSON values. Raises NotFound."""
    origin = omni_app.answers.origin(request_id)
    return {
        **_document(*_receipt(omni_app, request_id)),
        "cached_from": None if origin is None else id_text(origin),
    }


def print_receipt(omni_app: App, request_id: int) -> None:
    """The receipt for a person, on stdout. Raises NotFound."""
    _print(*_receipt(omni_app, request_id), omni_app.zone)
    origin = omni_app.answers.origin(request_id)
    if origin is not None:
        out(f"cache      the answer of {id_text(origin)}; nothing was sent")


_Receipt = tuple[
    RequestRow,
    list[AttemptRow],
    Any,
    dict[int, "tuple[PriceLine, ...] | None"],
    list[tuple[str, float, str]],
    list[Adjustment],
]


def _receipt(omni_app: App, request_id: int) -> _Receipt:
    row = omni_app.ledger.find(id_text(request_id))
    attempts = omni_app.ledger.attempts(row.id)
    return (
        row,
        attempts,
        recorded_decision(row, attempts, omni_app.ledger.decision(row.id)),
        {attempt.n: _lines(omni_app, attempt) for attempt in attempts},
        omni_app.learning.outcomes_of(row.id),
        omni_app.adjustments.of_request(row.id),
    )


def _lines(omni_app: App, attempt: AttemptRow) -> tuple[PriceLine, ...] | None:
    """What the attempt was charged, line by line; None where the price is unknown."""
    price = None if attempt.price is None else omni_app.models.price_by_id(attempt.price)
    if price is None or not attempt.cost_nusd:
        return () if attempt.cost_nusd == 0 else None
    try:
        lines = price_lines(attempt.usage, price)
    except OmniError:
        return None
    # A report's row of many calls is charged by base rates: lines of one call would mislead.
    whole = round(sum(line.cost_usd for line in lines) * NUSD_PER_USD)
    return lines if whole == attempt.cost_nusd else None


def _document(
    row: RequestRow,
    attempts: list[AttemptRow],
    decision: Any,
    lines: dict[int, tuple[PriceLine, ...] | None],
    outcomes: list[tuple[str, float, str]],
    corrections: list[Adjustment],
) -> dict[str, Any]:
    unknown = row.price_state == "unknown"
    return {
        "id": id_text(row.id),
        "created_at": iso(row.created_at),
        "settled_at": iso(row.settled_at),
        "state": row.state,
        "source": row.source,
        "model_used": row.model or None,
        "role": row.role or None,
        "agent": row.agent or None,
        "chain": row.chain,
        "task_type": row.task or None,
        "complexity": row.complexity or None,
        "usage": usage_document(row),
        "cost_usd": None if unknown else usd_or_none(row.total_nusd),
        "known_cost_usd": usd_or_none(row.total_nusd),
        "price_state": row.price_state,
        "estimated": row.estimated,
        "premium_model": row.premium_model,
        "premium_cost_usd": usd_or_none(row.premium_cost_nusd),
        "savings_usd": None if unknown else usd_or_none(row.savings_nusd),
        "latency_ms": row.latency_ms,
        "ttft_ms": row.ttft_ms,
        "finish_reason": row.finish_reason,
        "error": None
        if row.error_code is None
        else {"code": row.error_code, "message": row.error_message},
        "decision": decision,
        "attempts": [
            {
                "n": attempt.n,
                "model": attempt.model,
                "outcome": attempt.state,
                "error": attempt.error_code,
                "error_message": attempt.error_message,
                "http_status": attempt.http_status,
                "waited_ms": attempt.waited_ms,
                "latency_ms": attempt.latency_ms,
                "cost_usd": usd_or_none(attempt.cost_nusd),
                "reported_cost_usd": usd_or_none(attempt.usage.reported_cost_nusd),
                "estimated": attempt.usage.estimated,
                "held_usd": usd_string(attempt.held_nusd),
                "provider_request_id": attempt.provider_request_id,
                "price_lines": [
                    {
                        "kind": line.kind,
                        "tokens": line.tokens,
                        "usd_per_1m": str(line.rate_usd),
                        "cost_usd": f"{line.cost_usd:f}",
                    }
                    for line in lines[attempt.n] or ()
                ],
            }
            for attempt in attempts
        ],
        "corrections": [
            {
                "attempt": correction.n,
                "at": iso(correction.at_ms),
                "who": correction.who,
                "reason": correction.reason,
                "delta_usd": usd_string(correction.delta_nusd),
            }
            for correction in corrections
        ],
        "outcomes": [
            {"kind": kind, "value": value, "note": text} for kind, value, text in outcomes
        ],
    }


def usage_document(row: RequestRow) -> dict[str, int]:
    """Token counts under the stable keys."""
    usage = row.usage
    return {
        "input_tokens": usage.input_tokens,
        "cached_tokens": usage.cached_tokens,
        "cache_write_tokens": usage.cache_write_tokens,
        "reasoning_tokens": usage.reasoning_tokens,
        "output_tokens": usage.output_tokens,
    }


def usd_or_none(nusd: int | None) -> str | None:
    return None if nusd is None else usd_string(nusd)


def _print(
    row: RequestRow,
    attempts: list[AttemptRow],
    decision: Any,
    lines: dict[int, tuple[PriceLine, ...] | None],
    outcomes: list[tuple[str, float, str]],
    corrections: list[Adjustment],
    zone: str,
) -> None:
    simulated = " (simulated)" if row.source == "demo" else ""
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
    if decision:
        _print_decision(decision)
    _print_attempts(attempts, lines)
    for skipped in (decision or {}).get("skipped", ()):
        out(f"   not asked  {skipped['model']}: {skipped['why']}")
    for correction in corrections:
        out(
            f"   #{correction.n} corrected by {format_usd(correction.delta_nusd)} on "
            f"{moment(correction.at_ms, zone)} by {correction.who}: {correction.reason}"
        )
    out()
    out(f"cost       {_cost(_known(row), estimated=row.estimated)}")
    if row.premium_model:
        out(f"premium    {format_usd(row.premium_cost_nusd)} at {row.premium_model}")
    if row.savings_nusd is not None and row.price_state != "unknown":
        word = "saved" if row.savings_nusd >= 0 else "paid more"
        out(f"{word:<10} {paint(format_usd(abs(row.savings_nusd)), 'green')}")
    for kind, share, remark in outcomes:
        out(f"{kind:<10} {share:.0%}{' · ' + remark if remark else ''}")


def _print_decision(decision: dict[str, Any]) -> None:
    out()
    if is_unlooked(decision):  # a table of one candidate would say so once more
        out(paint("decision", "bold") + f"   {decision['model']}, {decision['reason']}")
        return
    out(paint("decision", "bold") + f"   {decision['reason']}")
    table(
        ("candidate", "quality", "expected", "score", "why"),
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
        align=("left", "right", "right", "right"),
        styles=[None if c["eligible"] else "dim" for c in decision["candidates"]],
    )


def _print_attempts(
    attempts: list[AttemptRow], lines: dict[int, tuple[PriceLine, ...] | None]
) -> None:
    out()
    if not attempts:
        out(paint("attempts", "bold") + "   none: nothing was sent")
        return
    out(paint("attempts", "bold"))
    table(
        ("#", "model", "outcome", "time", "cost", ""),
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
        align=("right", "left", "left", "right", "right"),
    )
    for attempt in attempts:
        for line in lines[attempt.n] or ():
            out(
                f"   #{attempt.n} {line.kind:<16} {line.tokens:>10,} × "
                f"${line.rate_usd.normalize():f}/1M = ${line.cost_usd.normalize():f}"
            )
        if attempt.held_nusd and attempt.state not in ("planned", "sent"):
            out(
                f"   #{attempt.n} its end was not seen: {format_usd(attempt.held_nusd)} more is "
                "held (omni budgets release)"
            )
        if attempt.waited_ms:
            out(f"   #{attempt.n} waited {milliseconds(attempt.waited_ms)} for a slot")
        reported = attempt.usage.reported_cost_nusd
        if reported is not None and reported != attempt.cost_nusd:
            ours = "" if attempt.cost_nusd is None else _drift(attempt.cost_nusd - reported)
            out(f"   #{attempt.n} reported as {format_usd(reported)}{ours}")


def _drift(nusd: int) -> str:
    return f", {format_usd(abs(nusd))} {'less' if nusd > 0 else 'more'} than omni's price"


def _known(row: RequestRow) -> int | None:
    return None if row.price_state == "unknown" else row.total_nusd


def _cost(nusd: int | None, *, estimated: bool) -> str:
    return format_usd(nusd) + (" (estimated)" if estimated and nusd else "")


def _usd_text(text: str | None) -> str:
    return format_usd(None if text is None else usd_to_nusd(text))
