"""``omni logs``: requests in the ledger, newest first."""

from typing import Annotated

import typer

from omni_cli.cli.common import complete_models, complete_roles, duration_ms, omni
from omni_cli.cli.options import grouped
from omni_cli.cli.render import milliseconds, moment
from omni_cli.cli.tables import Column, View, listing
from omni_cli.domain.errors import UsageError
from omni_cli.domain.ids import id_text
from omni_cli.domain.ledger import RequestRow
from omni_cli.domain.money import usd
from omni_cli.domain.periods import iso
from omni_cli.domain.pricing import format_usd
from omni_cli.services.money.receipt import tokens_document

app = typer.Typer(rich_markup_mode=None)

_STATES = ("pending", "ok", "failed", "cancelled", "lost", "refused")


@app.command()
@grouped
def logs(
    limit: Annotated[int, typer.Option("-n", "--limit", min=1, help="How many.")] = 20,
    model: Annotated[
        str | None, typer.Option("-m", "--model", autocompletion=complete_models)
    ] = None,
    role: Annotated[str | None, typer.Option(autocompletion=complete_roles)] = None,
    state: Annotated[str | None, typer.Option(help=", ".join(_STATES))] = None,
    source: Annotated[str | None, typer.Option(help="chat, demo, gateway, import, ...")] = None,
    since: Annotated[str | None, typer.Option(help="Such as 30m, 6h, 2d, 1w.")] = None,
    *,
    view: View,
) -> None:
    """List requests in the ledger, newest first."""
    if state is not None and state not in _STATES:
        raise UsageError(f"--state is one of {', '.join(_STATES)}, not {state!r}")
    with omni() as omni_app:
        omni_app.recovery.run()
        asked = {"model": model, "role": role, "source": source}
        wanted = omni_app.ledger_names.resolve({k: v for k, v in asked.items() if v is not None})
        rows = list(
            omni_app.ledger.recent(
                limit=limit,
                model=wanted.get("model"),
                state=state,
                source=source,
                role=role,
                since_ms=None if since is None else omni_app.now_ms() - duration_ms(since),
            )
        )
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
                _cost(row),
                milliseconds(row.latency_ms),
            )
            for row in rows
        ],
        lambda: [_document(row) for row in rows],
        empty=['no requests yet; omni chat "hello" makes one'],
        styles=[None if row.state == "ok" else "yellow" for row in rows],
    )


def _cost(row: RequestRow) -> str:
    """A refused request sent nothing; one under way is not settled."""
    if row.state in ("refused", "pending"):
        return "-"
    return format_usd(None if row.price_state == "unknown" else row.total_nusd)


def _document(row: RequestRow) -> dict[str, object]:
    unknown = row.price_state == "unknown"
    return {
        "id": id_text(row.id),
        "created_at": iso(row.created_at),
        "state": row.state,
        "source": row.source,
        "model_used": row.model or None,
        "task_type": row.task or None,
        "complexity": row.complexity or None,
        "role": row.role or None,
        "agent": row.agent or None,
        "conversation": None if row.conversation is None else id_text(row.conversation),
        "attempts": row.attempts,
        "usage": tokens_document(row),
        "cost_usd": None if unknown else usd(row.total_nusd),
        "price_state": row.price_state,
        "estimated": row.estimated,
        "savings_usd": usd(row.savings_nusd),
        "latency_ms": row.latency_ms,
        "ttft_ms": row.ttft_ms,
        "error_code": row.error_code,
    }
