"""``omni sync``: one fleet and one sum of usage for several machines, through git."""

from pathlib import Path
from typing import Annotated

import typer

from omni_cli.cli.common import JsonFlag, omni
from omni_cli.cli.render import emit_json, moment, note, number, out, paint
from omni_cli.cli.tables import Column, table
from omni_cli.domain.analytics import Totals, sum_totals
from omni_cli.domain.errors import UsageError
from omni_cli.domain.money import format_usd
from omni_cli.domain.words import counted
from omni_cli.services.fleet.apply import Change
from omni_cli.services.fleet.sync import Synced, status_document, synced_document, usage_document

app = typer.Typer(rich_markup_mode=None, help="Share fleet and usage between machines, by git.")


@app.callback(invoke_without_command=True)
def sync(
    ctx: typer.Context,
    mine: Annotated[bool, typer.Option("--mine", help="Of what both changed, mine.")] = False,
    theirs: Annotated[bool, typer.Option("--theirs", help="Of what both changed, theirs.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Pull, merge, push. Never a key, never a prompt."""
    if ctx.invoked_subcommand is not None:
        return
    if mine and theirs:
        raise UsageError("either --mine or --theirs")
    with omni() as omni_app:
        omni_app.recover()
        omni_app.report_zone()
        done = omni_app.sync.sync("mine" if mine else "theirs" if theirs else None)
    if as_json:
        emit_json(synced_document(done))
    else:
        _show(done)
    if done.conflicts:
        raise typer.Exit(1)


@app.command()
def init(
    repository: Annotated[str, typer.Argument(help="A git URL, or the path of a bare repository.")],
) -> None:
    """Name the git repository to meet in; it should hold nothing else."""
    local = Path(repository).expanduser()
    with omni() as omni_app:
        omni_app.sync.init(str(local.resolve()) if local.exists() else repository)
    note("set up; omni sync pulls, merges and pushes")


@app.command()
def status(as_json: JsonFlag = False) -> None:
    """The repository, this machine, and what changed here since the last sync."""
    with omni() as omni_app:
        found = omni_app.sync.status()
        zone = omni_app.zone
    if as_json:
        emit_json(status_document(found))
        return
    out(f"repository   {found.url}")
    out(f"machine      {found.machine}")
    others = len([m for m in found.machines if m != found.machine])
    out(f"others       {others}")
    out(f"last sync    {'never' if found.synced_at is None else moment(found.synced_at, zone)}")
    out(f"fleet        {len(found.changes) or 'no'} changes here since")
    _lines(found.changes)


@app.command()
def usage(
    by: Annotated[
        str, typer.Option(help="machine, day, provider, model, role, agent, task, org, key, source")
    ] = "machine",
    as_json: JsonFlag = False,
) -> None:
    """What all machines used together, to the nano-dollar."""
    with omni() as omni_app:
        omni_app.recover()
        omni_app.report_zone()
        sums = omni_app.sync.usage(by)
        names = omni_app.sync.machine_names() if by == "machine" else {}
    total = sum_totals(sums.values())
    if as_json:
        emit_json(usage_document(by, sums, names))
        return

    def row(label: str, totals: Totals) -> tuple[str, ...]:
        return (
            label,
            number(totals.calls),
            number(totals.input_tokens),
            number(totals.output_tokens),
            format_usd(totals.known_nusd),
        )

    table(
        (
            Column.key(by),
            Column.figure("calls"),
            Column.figure("input", 3),
            Column.figure("output", 4),
            Column.money("cost"),
        ),
        [
            *(row(names.get(key, key) or "none", totals) for key, totals in sums.items()),
            row("all", total),
        ],
        total=True,
    )
    if total.unknown_attempts:
        note(f"{counted(total.unknown_attempts, 'call')} without a known price, in no cost")


def _show(done: Synced) -> None:
    for conflict in done.conflicts:
        what = f"{conflict.section.rstrip('s')} {conflict.name}".strip()
        out(f"{paint('both changed', 'yellow')} {what}")
        out("  here:")
        for line in conflict.mine or ("no change",):
            out(f"    {line}")
        out("  there:")
        for line in conflict.theirs or ("no change",):
            out(f"    {line}")
    if done.conflicts:
        note("nothing was synced: omni sync --mine keeps what is here, --theirs what is there")
        return
    if done.pulled:
        out("changed here:")
        _lines(done.pulled)
    if done.pushed:
        out("changed in the shared fleet:")
        _lines(done.pushed)
    note("synced" if done.sent else "synced: nothing new to send")
    if done.pulled:
        note("undo what changed here: omni history, then omni rollback N")


def _lines(changes: tuple[Change, ...]) -> None:
    for change in changes:
        for line in change.lines():
            out(f"  {line}")
