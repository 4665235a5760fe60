"""``omni discover``: what providers serve now, and what changed."""

from typing import Annotated

import typer

from omni_cli.bootstrap import App
from omni_cli.cli.common import Apply, JsonFlag, complete_providers, omni
from omni_cli.cli.render import emit_json, milliseconds, moment, note, out, paint
from omni_cli.cli.tables import Column, table
from omni_cli.domain.discovery import FindingKind
from omni_cli.domain.document import document
from omni_cli.domain.periods import iso
from omni_cli.services.fleet.discovery import (
    LIMIT_S,
    Asked,
    Discovery,
    Found,
    discovery_document,
    touches,
)

app = typer.Typer(rich_markup_mode=None)

#: Findings of one kind that are shown; the rest is counted.
_MOST = 20


@app.command()
def discover(
    provider: Annotated[
        list[str] | None,
        typer.Option("-p", "--provider", autocompletion=complete_providers, help="Only these."),
    ] = None,
    apply: Apply = False,
    history: Annotated[
        bool, typer.Option("--history", help="What was found before; asks nobody.")
    ] = False,
    everything: Annotated[
        bool, typer.Option("--all", help="Also models that do not chat, and long lists whole.")
    ] = False,
    timeout: Annotated[
        float, typer.Option(min=0.5, help="Seconds that each provider has.")
    ] = LIMIT_S,
    as_json: JsonFlag = False,
) -> None:
    """What providers serve now: new, updated, deprecated and gone models. Never billed."""
    with omni(quiet=as_json) as omni_app:
        if history:
            _history(omni_app, as_json=as_json)
            return

        def progress(asked: Asked) -> None:
            if as_json:
                return
            if asked.error is not None:
                word = paint(asked.error.code, "yellow")
                note(f"{asked.provider}: {word}: {asked.error.message}")
            else:
                note(f"{asked.provider}: {asked.listed} models, {milliseconds(asked.took_ms)}")

        found = omni_app.discovery.discover(provider, limit_s=timeout, progress=progress)
        applied = omni_app.discovery.apply(found) if apply else None
        if as_json:
            emit_json(discovery_document(found, applied))
        else:
            _show(found, applied, everything=everything)
            waiting = [omni_app.models.get(model_id) for model_id in applied or ()]
            if any(model is not None and model.status == "standby" for model in waiting):
                out("on standby until a role or a rule uses them, or omni models activate does")
    heard = [asked for asked in found.asked if asked.listed is not None]
    if found.asked and not heard:
        raise typer.Exit(5)


def _show(found: Discovery, applied: list[str] | None, *, everything: bool) -> None:
    for item in found.found:
        if item.loud:
            out(paint(f"! {item.model}: {touches(item)}", "red"))
            for use in item.uses:
                kind, _, name = use.partition(" ")
                if kind == "role":
                    out(f"  omni roles switch {name} MODEL gives it another")
    shown = 0
    kinds: tuple[FindingKind, ...] = ("gone", "deprecated", "updated")
    for told in kinds:
        shown += _section(told, [f for f in found.of(told) if not f.loud], everything)
    new = found.of("new")
    chats = [item for item in new if item.finding.chats or everything]
    shown += _section("new", chats, everything)
    if len(new) > len(chats):
        out(f"and {len(new) - len(chats)} that do not chat, by their names; --all shows them")
    loud = any(item.loud for item in found.found)
    if not shown and not loud and len(new) == len(chats):
        out("nothing changed")
    todo = [item for item in found.found if item.recommended]
    if applied is not None:
        out(f"applied to {len(applied)} models" if applied else "nothing to apply")
    elif todo:
        out(f"omni discover --apply adds or updates {len(todo)} of these")


def _section(title: str, items: list[Found], everything: bool) -> int:
    if not items:
        return 0
    out(paint(title, "bold"))
    most = len(items) if everything else _MOST
    for item in items[:most]:
        out(f"  {item.model}: {touches(item)}")
    if len(items) > most:
        out(f"  and {len(items) - most} more; --all shows them")
    return len(items)


def _history(omni_app: App, *, as_json: bool) -> None:
    rows = omni_app.discoveries.history()
    if as_json:
        emit_json(
            [
                {
                    **document(row, "at_ms", "provider", "kind", "model"),
                    **row.details,
                    "applied_at": iso(row.applied_at_ms),
                }
                for row in rows
            ]
        )
        return
    if not rows:
        note("nothing was discovered yet; omni discover asks the providers")
        return
    table(
        (
            Column.words("when", 5, 19),
            Column.words("kind", 7, 8),
            Column.key("model"),
            Column.words("what", 9),
            Column.words("applied", 2, 10),
        ),
        [
            (
                moment(row.at_ms, omni_app.zone),
                row.kind,
                row.model,
                row.details["day"]
                or "; ".join(
                    f"{c['field']}: {c['before'] or 'unknown'} → {c['after']}"
                    for c in row.details["changes"]
                ),
                "-" if row.applied_at_ms is None else moment(row.applied_at_ms, omni_app.zone),
            )
            for row in rows
        ],
    )
