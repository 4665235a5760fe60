"""``omni rate``: outcomes that routing learns from."""

from typing import Annotated

import typer

from omni_cli.cli.common import JsonFlag, omni
from omni_cli.cli.render import emit_json, out
from omni_cli.domain.errors import UsageError
from omni_cli.domain.ids import id_text
from omni_cli.domain.quality import OutcomeKind, outcome_counts
from omni_cli.services.engine.routing import prompt_form

app = typer.Typer(rich_markup_mode=None)


@app.command()
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
    wins, losses = outcome_counts(kind, value)
    with omni() as omni_app:
        row = omni_app.ledger.find(request)
        if not row.model or row.state in ("pending", "refused"):
            raise UsageError(f"request {id_text(row.id)} has no answer to rate")
        share = wins / (wins + losses)
        omni_app.learning.add_outcome(
            request=row.id,
            at_ms=omni_app.now_ms(),
            model=row.model,
            task=row.task,
            form=prompt_form(omni_app.ledger.decision(row.id)),
            kind=kind,
            value=share,
            weight=wins + losses,
            note=text,
        )
        counts = omni_app.learning.quality().get((row.task, row.model), (0.0, 0.0))
    if as_json:
        emit_json(
            {
                "id": id_text(row.id),
                "model": row.model,
                "task_type": row.task,
                "kind": kind,
                "value": share,
                "wins": counts[0],
                "losses": counts[1],
            }
        )
        return
    out(f"{row.model} at {row.task}: {counts[0]:g} good, {counts[1]:g} bad by your outcomes so far")


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
