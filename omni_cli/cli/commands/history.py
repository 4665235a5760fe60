"""``omni history``, ``omni audit``: numbered revisions of the fleet, and who changed what."""

import json
from contextlib import suppress
from typing import Annotated

import typer

from omni_cli.cli.common import grouped, omni
from omni_cli.cli.render import emit_json, moment, out, paint
from omni_cli.cli.tables import Column, View, listing
from omni_cli.domain.errors import OmniError
from omni_cli.records import AuditEntry
from omni_cli.services.fleet.describe import audit_document, revision_document

history_app = typer.Typer(rich_markup_mode=None)


@history_app.command()
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
            revision = omni_app.history.revision(number)
        else:
            revisions = omni_app.audit.revisions(limit=limit)
    if number is not None:
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


audit_app = typer.Typer(rich_markup_mode=None)


@audit_app.command()
@grouped
def audit(
    target: Annotated[
        str | None, typer.Argument(help="Only of this provider, model, role, chain, rule.")
    ] = None,
    limit: Annotated[int, typer.Option("-n", "--limit", min=1, help="At most so many.")] = 20,
    verify: Annotated[
        bool, typer.Option("--verify", help="Check that no entry was changed or taken out.")
    ] = False,
    *,
    view: View,
) -> None:
    """The audit log, newest first. Its entries are chained by their hashes."""
    with omni() as omni_app:
        if verify:
            broken = omni_app.audit.first_broken()
        else:
            entries = omni_app.audit.entries(limit=limit, target=target)
            if target is not None and not entries:
                with suppress(OmniError):  # entries name models by id, people by alias
                    model_id = omni_app.names.model(target)
                    entries = omni_app.audit.entries(limit=limit, target=model_id)
        zone = omni_app.zone
    if verify:
        if view.as_json:
            emit_json({"ok": broken is None, "first_broken": broken})
        elif broken is None:
            out(f"{paint('ok', 'green')}  every entry is as it was written")
        else:
            out(f"{paint('broken', 'red')}  entry {broken} or the one before it was changed")
        if broken is not None:
            raise typer.Exit(1)
        return
    listing(
        view,
        (
            Column.number("no"),
            Column.words("when", 4, 19),
            Column.key("who"),
            Column.words("action", 6, 12),
            Column.key("target"),
            Column.words("change", 5, 8),
        ),
        [
            (str(e.id), moment(e.at_ms, zone), e.who, e.action, e.target, _difference(e))
            for e in entries
        ],
        lambda: [audit_document(entry) for entry in entries],
        empty=["nothing was changed yet"],
    )


def _difference(entry: AuditEntry) -> str:
    """What changed, in one line; an object's fields that stayed are left out."""
    before = None if entry.before is None else json.loads(entry.before)
    after = None if entry.after is None else json.loads(entry.after)
    if isinstance(before, dict) and isinstance(after, dict):
        names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
        return ", ".join(f"{n}: {_short(before.get(n))} > {_short(after.get(n))}" for n in names)
    if before is None:
        return f"new: {_short(after)}"
    return "gone" if after is None else f"{_short(before)} > {_short(after)}"


def _short(value: object) -> str:
    if value is None:
        return "nothing"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:59]}…"
