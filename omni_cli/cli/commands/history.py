"""``omni history``: the fleet's numbered revisions."""

from typing import Annotated

import typer

from omni_cli.cli.common import JsonFlag, omni
from omni_cli.cli.render import emit_json, moment, note, out, table
from omni_cli.domain.errors import NotFound
from omni_cli.services.fleet.describe import revision_document

app = typer.Typer(rich_markup_mode=None)


@app.command()
def history(
    number: Annotated[int | None, typer.Argument(help="Show this revision's fleet.")] = None,
    limit: Annotated[int, typer.Option("-n", "--limit", min=1, help="At most so many.")] = 20,
    as_json: JsonFlag = False,
) -> None:
    """Every change of the fleet, newest first; a number shows that fleet as TOML."""
    with omni() as omni_app:
        zone = omni_app.zone
        if number is not None:
            revision = omni_app.audit.revision(number)
            if revision is None:
                raise NotFound(f"no revision {number}", hint="omni history lists them")
        else:
            revisions = omni_app.audit.revisions(limit=limit)
    if number is not None and revision is not None:
        if as_json:
            emit_json(revision_document(revision) | {"fleet": revision.fleet})
        else:
            out(revision.fleet.rstrip("\n"))
        return
    if as_json:
        emit_json([revision_document(revision) for revision in revisions])
        return
    if not revisions:
        note("no revision yet: the fleet was never changed")
        return
    table(
        ("no", "when", "who", "change"),
        [(str(r.number), moment(r.at_ms, zone), r.who, r.reason) for r in revisions],
        align=("right",),
    )
