"""``omni history``: the fleet's numbered revisions."""

from typing import Annotated

import typer

from omni_cli.cli.common import omni
from omni_cli.cli.options import grouped
from omni_cli.cli.render import emit_json, moment, out
from omni_cli.cli.tables import Column, View, listing
from omni_cli.domain.errors import NotFound
from omni_cli.services.fleet.describe import revision_document

app = typer.Typer(rich_markup_mode=None)


@app.command()
@grouped
def history(
    number: Annotated[int | None, typer.Argument(help="Show this revision's fleet.")] = None,
    limit: Annotated[int, typer.Option("-n", "--limit", min=1, help="At most so many.")] = 20,
    *,
    view: View,
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
        if view.as_json:
            emit_json(revision_document(revision) | {"fleet": revision.fleet})
        else:
            out(revision.fleet.rstrip("\n"))
        return
    listing(
        view,
        (
            Column.number("no"),
            Column.words("when", 5, 19),
            Column.words("who", 2, 6),
            Column.words("change", 9),
        ),
        [(str(r.number), moment(r.at_ms, zone), r.who, r.reason) for r in revisions],
        lambda: [revision_document(revision) for revision in revisions],
        empty=["no revision yet: the fleet was never changed"],
    )
