"""``omni db``: the store's file, its backups, its health and its size."""

import re
from pathlib import Path
from typing import Annotated

import typer

from omni_cli.cli.common import DryRun, JsonFlag, omni
from omni_cli.cli.render import emit_json, moment, note, out, paint, progress, size
from omni_cli.cli.tables import Column, table
from omni_cli.domain.document import document
from omni_cli.domain.errors import UsageError
from omni_cli.domain.money import format_usd, usd_string
from omni_cli.domain.periods import iso
from omni_cli.domain.words import counted
from omni_cli.records import BackupFacts

app = typer.Typer(rich_markup_mode=None, help="The store: back up, restore, check, shrink.")


@app.command()
def stats(as_json: JsonFlag = False) -> None:
    """Size, rows, and bytes per request."""
    with omni() as omni_app:
        found = omni_app.maintenance.stats()
        zone, report_zone = omni_app.zone, omni_app.rollups.zone
    requests = found.rows["requests"]
    each = round((found.size_bytes - found.free_bytes) / requests) if requests else None
    if as_json:
        emit_json(
            {
                **document(found, "path", "schema", "size_bytes", "free_bytes", "wal_bytes"),
                "bytes_per_request": each,
                "oldest": iso(found.oldest_ms),
                "newest": iso(found.newest_ms),
                "report_zone": report_zone,
                "rows": dict(found.rows),
            }
        )
        return
    out(f"store     {found.path}, schema {found.schema}")
    free = f", {size(found.free_bytes)} free inside" if found.free_bytes else ""
    out(f"size      {size(found.size_bytes)}{free}, log {size(found.wal_bytes)}")
    if each is not None:
        out(f"requests  {requests:,}, {each:,} bytes each with all that belongs to them")
        out(f"from      {moment(found.oldest_ms, zone)} to {moment(found.newest_ms, zone)} {zone}")
    out(f"reports   days of {report_zone}")
    out()
    table(
        (Column.key("table"), Column.number("rows")),
        [(k, f"{n:,}") for k, n in found.rows.items()],
    )


@app.command()
def check(as_json: JsonFlag = False) -> None:
    """Is the file sound; do reports, receipts, budgets and ledger agree to the nano-dollar?"""
    with omni() as omni_app:
        checked = omni_app.maintenance.check()
    problems, found, sound = checked.file, checked.rollups, checked.sound
    if as_json:
        emit_json(
            {
                "sound": sound,
                "file_problems": problems,
                "budget_problems": checked.budgets,
                "ledger_usd": usd_string(found.ledger_nusd),
                "receipts_usd": usd_string(found.receipts_nusd),
                "reports_usd": usd_string(found.day_nusd),
                "archived_usd": usd_string(found.archive_nusd),
                "different_rows": found.different_rows,
                "examples": list(found.examples),
            }
        )
    else:
        out(f"file      {'sound' if not problems else paint('damaged', 'red')}")
        for line in problems:
            out(f"          {line}")
        out(f"ledger    {format_usd(found.ledger_nusd)}")
        out(f"receipts  {format_usd(found.receipts_nusd)}")
        removed = f", {format_usd(found.archive_nusd)} of it of removed requests"
        out(f"reports   {format_usd(found.day_nusd)}{removed if found.archive_nusd else ''}")
        for line in found.examples:
            out(f"          {line}")
        out(f"budgets   {paint('differ', 'red') if checked.budgets else 'agree'}")
        for line in checked.budgets:
            out(f"          {line}")
        out(paint("all agree", "green") if sound else paint("they differ", "red"))
    if not sound:
        note(
            "omni db rebuild makes the sums of reports and budgets anew; "
            "omni db restore brings back a backup"
        )
        raise typer.Exit(1)


@app.command()
def rebuild() -> None:
    """Make the sums of reports and budgets anew from the ledger; goes on where one was cut off."""
    with omni() as omni_app:
        found, mended = omni_app.maintenance.rebuild(
            lambda done, total: progress(f"{done:,} of {total:,} requests")
        )
    progress()
    out(f"counted {counted(found, 'request')} anew")
    if mended:
        out(f"set {mended:,} {'period' if mended == 1 else 'periods'} of budgets right")


@app.command()
def backup(
    path: Annotated[Path, typer.Argument(help="The file to write.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Copy the store while it is in use; API keys are not in it."""
    with omni() as omni_app:
        facts = omni_app.maintenance.backup(path, overwrite=overwrite)
        _show(facts, omni_app.zone, "wrote", path, as_json=as_json)


@app.command()
def restore(
    path: Annotated[Path, typer.Argument(help="What omni db backup wrote.")],
    force: Annotated[
        bool, typer.Option("--force", help="Even while other omnis have the store open.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Put a backup in the store's place; the store of now is kept beside it."""
    with omni() as omni_app:
        facts, kept = omni_app.maintenance.restore(path, force=force)
        _show(facts, omni_app.zone, "restored", path, as_json=as_json)
    if kept is not None:
        note(f"the store as it was is {kept}")


@app.command()
def move(
    target: Annotated[
        str, typer.Argument(help="postgresql://USER@HOST/NAME, or a file.", show_default=False)
    ] = "",
    cancel: Annotated[
        bool, typer.Option("--cancel", help="Give a move up, or back: use again what is here.")
    ] = False,
    dry_run: DryRun = False,
    as_json: JsonFlag = False,
) -> None:
    """Carry the whole store to PostgreSQL, or back to a file; goes on where one was cut off."""
    if bool(target) is cancel:
        raise UsageError(
            "omni db move takes where to, or --cancel",
            hint="omni db move postgresql://USER@HOST/NAME, or omni db move FILE.db",
        )
    with omni() as omni_app:
        service = omni_app.maintenance
        if cancel:
            there = service.cancel_move()
            if as_json:
                emit_json({"cancelled": True, "to": there})
            else:
                out(f"{omni_app.place.name} is used again; what is in {there} stays as it is")
            return
        found = service.move(
            target,
            lambda table, rows: progress(f"{table}: {counted(rows, 'row')}"),
            dry_run=dry_run,
        )
        progress()
        kept = omni_app.paths.store
    total = sum(found.rows.values())
    if as_json:
        emit_json(
            {
                "from": found.source,
                "to": found.target,
                "rows": dict(found.rows),
                "money_usd": usd_string(found.money_nusd),
                "size_bytes": found.size_bytes,
                "dry_run": dry_run,
                "begun_before": found.under_way,
            }
        )
        return
    verb = "moved" if not dry_run else "would go on to move" if found.under_way else "would move"
    out(
        f"{verb} {counted(total, 'row')} of {counted(len(found.rows), 'table')}, and "
        f"{format_usd(found.money_nusd)} of calls, from {found.source} to {found.target}"
    )
    if dry_run:
        return
    if found.target.startswith("postgresql://"):
        note(f"use it from now on: export OMNI_DATABASE_URL={found.target}")
        note(f"  or, for this user: omni config set store.url {found.target}")
    else:
        note("use it from now on: unset OMNI_DATABASE_URL; omni config unset store.url")
        if found.target != str(kept):
            note(f"  and put it where omni looks for it: mv {found.target} {kept}")


@app.command()
def vacuum() -> None:
    """Give free pages back to the disk."""
    with omni() as omni_app:
        before, after = omni_app.maintenance.vacuum()
    out(f"{size(before)} before, {size(after)} after")


@app.command()
def prune(
    keep: Annotated[str, typer.Option(help="Days to keep, such as 365d.")],
    dry_run: DryRun = False,
    as_json: JsonFlag = False,
) -> None:
    """Remove old requests and conversations; reports keep their sums."""
    match = re.fullmatch(r"([1-9]\d{0,4})d", keep.strip())
    if match is None:
        raise UsageError(f"--keep takes days such as 365d, not {keep!r}")
    with omni() as omni_app:
        result = omni_app.maintenance.prune(
            int(match[1]), dry_run=dry_run, progress=lambda n: progress(f"{n:,} requests")
        )
        progress()
        before = moment(result.before_ms, omni_app.zone)
    if as_json:
        emit_json({"before": iso(result.before_ms), "requests": result.removed, "dry_run": dry_run})
        return
    out(f"{'would remove' if dry_run else 'removed'} {result.removed:,} requests before {before}")
    if result.removed and not dry_run:
        note("omni db vacuum gives the space back to the disk")


def _show(facts: BackupFacts, zone: str, word: str, path: Path, *, as_json: bool) -> None:
    if as_json:
        emit_json(
            {
                "path": str(path),
                **document(facts, "schema", "size_bytes", "requests"),
                "newest": iso(facts.newest_ms),
            }
        )
        return
    newest = f", the newest of {moment(facts.newest_ms, zone)}" if facts.newest_ms else ""
    out(f"{word} {path}: {size(facts.size_bytes)}, {counted(facts.requests, 'request')}{newest}")
