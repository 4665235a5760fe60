"""``omni import``: usage that other tools have recorded, into the ledger."""

import gc
import sys
from pathlib import Path
from typing import Annotated

import typer
from msgspec import Struct

from omni_cli.bootstrap import App
from omni_cli.cli.common import Apply, DryRun, JsonFlag, omni, pairs
from omni_cli.cli.render import emit_json, moment, note, number, out, paint, progress, size
from omni_cli.cli.tables import Column, table
from omni_cli.domain.errors import NotFound, OmniError, UsageError
from omni_cli.domain.money import format_usd
from omni_cli.domain.words import meant
from omni_cli.importers import ImportBatch, Importer, importer_names, importer_of, importers, load
from omni_cli.importers.logs import Found, Reading, found_document, import_document
from omni_cli.services.money.importing import ImportPlan, Totals

app = typer.Typer(rich_markup_mode=None)

_PROBLEMS_SHOWN = 20
_HELP = f"Which tool: {', '.join(importers)}; or what another package adds."


def _complete(incomplete: str) -> list[str]:
    return [name for name in importer_names() if name.startswith(incomplete)]


@app.command("import")
def import_(
    source: Annotated[
        str | None, typer.Argument(help=_HELP, autocompletion=_complete, show_default=False)
    ] = None,
    path: Annotated[
        list[Path] | None, typer.Argument(help="Files or folders; the tool's own place without.")
    ] = None,
    mapping: Annotated[
        list[str] | None, typer.Option("--map", help="FIELD=COLUMN, for csv; repeatable.")
    ] = None,
    dry_run: DryRun = False,
    yes: Apply = False,
    recorded: Annotated[
        bool,
        typer.Option("--recorded", help="Where no price is known, the tool's own cost counts."),
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Bring in usage that other tools recorded; without SOURCE, of all tools that are found here.

    Importing again adds nothing twice, and from the usual places reads only what is new.
    """
    if dry_run and yes:
        raise UsageError("--dry-run and --yes exclude each other")
    # Calls by the hundred thousand, none of which refers back: nothing to look for in them.
    gc.disable()
    with omni() as omni_app:
        if source is None or not path:
            if mapping:
                raise UsageError("--map goes with a file: omni import csv FILE --map FIELD=COLUMN")
            how = _How(dry_run=dry_run, yes=yes, recorded=recorded, as_json=as_json)
            _bring_in(omni_app, _found(omni_app, source), how)
            return
        places = _places(source, path)
        batch = load(
            source, places, mapping=pairs(mapping, "--map", "FIELD=COLUMN"), progress=_reading
        )
        progress()
        plan = omni_app.importing.plan(source, batch.calls, trust_recorded=recorded)
        if not as_json:
            _show(plan, batch, omni_app.zone)
        _problems(batch)
        if batch.problems and not batch.calls:
            raise OmniError(
                f"nothing could be read from {', '.join(map(str, places))}",
                hint=f"is it really a {source} export? omni import --help lists the formats",
            )
        added = changed = 0
        wanted = bool(plan.new or plan.grown) and not dry_run
        applied = wanted and (yes or (not as_json and _asked(len(plan.new) + len(plan.grown))))
        if applied:
            added, changed = omni_app.importing.apply(plan, _writing)
            progress()
        if as_json:
            emit_json(import_document(plan, batch, places, applied, added, changed))
        elif applied:
            note(f"added {added:,} {_calls(added)}" + (f", updated {changed:,}" if changed else ""))
            if plan.added.unknown:
                _how_to_price(plan)
        elif plan.new or plan.grown:
            note("nothing was written; --yes writes it")


def _how_to_price(plan: ImportPlan) -> None:
    """For each model of unknown price the command that prices its calls."""
    from omni_cli.services.money.reprice import price_command

    rows = dict.fromkeys(plan.unpriced())
    note("some prices are unknown; with the amounts per 1M tokens put in, this sets them:")
    for provider, name, known in rows:
        if not known:
            note(f"  {price_command(provider, name)}")
        else:
            note(f"  omni models price {name} --price-in USD --price-out USD")
    if any(known for _, _, known in rows):
        note("  omni reprice --current --unknown --apply")


class _How(Struct, frozen=True):
    """What the options say."""

    dry_run: bool
    yes: bool
    recorded: bool
    as_json: bool


def _found(omni_app: App, source: str | None) -> list[Found]:
    """Raises UsageError: no such source; NotFound: nothing of it is here."""
    logs = omni_app.logs.found()
    if source is None:
        if not logs:
            raise NotFound(
                "found no logs of any agent in its usual place",
                hint="name the tool and the file or folder: omni import SOURCE PATH",
            )
        return logs
    importer = _importer(source)
    if not importer.has_a_place:
        what = importer.reads or "files"
        raise UsageError(
            f"{source} needs a path: {importer.title} has no usual place",
            hint=f"omni import {source} PATH, a file or a folder with {what}",
        )
    found = [item for item in logs if item.source == source]
    if not found:
        raise NotFound(
            f"found nothing of {importer.title} in its usual place",
            hint=f"name the file or folder: omni import {source} PATH",
        )
    return found


def _bring_in(omni_app: App, found: list[Found], how: _How) -> None:
    """What is new of the logs that were found: shown, and written if that is wanted."""
    readings: list[Reading] = []
    # A ring, which goes with the process: to free each of its calls takes a twentieth of all.
    ring: list[object] = [readings]
    ring.append(ring)
    for reading in omni_app.logs.read_all(found, trust_recorded=how.recorded, progress=_reading):
        readings.append(reading)
        progress()
    if not how.as_json:
        _show_found(readings, omni_app.zone)
        for reading in readings:
            if reading.batch.calls:
                out()
                out(paint(reading.found.importer.title, "bold"))
                _show(reading.plan, reading.batch, omni_app.zone)
    for reading in readings:
        _problems(reading.batch)
    new = sum(len(r.plan.new) + len(r.plan.grown) for r in readings)
    # Without new calls the files are still known to be read.
    applied = not how.dry_run and (how.yes or (not how.as_json and bool(new) and _asked(new)))
    done = (
        {reading.found.source: omni_app.logs.keep(reading, _writing) for reading in readings}
        if applied or (not new and not how.dry_run and not how.as_json)
        else {}
    )
    progress()
    added, changed = (sum(pair[n] for pair in done.values()) for n in (0, 1))
    if how.as_json:
        emit_json(found_document(readings, applied, done))
    elif not new:
        note("nothing is new")
    elif applied:
        note(f"added {added:,} {_calls(added)}" + (f", updated {changed:,}" if changed else ""))
        for reading in readings:
            if reading.plan.added.unknown:
                _how_to_price(reading.plan)
    else:
        note("nothing was written; --yes writes it")


def _show_found(readings: list[Reading], zone: str) -> None:
    table(
        (
            Column.key("found"),
            Column.words("in", 5),
            Column.figure("files", 4),
            Column.figure("size", 3),
            Column.figure("read before", 2),
            Column.figure("new calls", 7),
            Column.money("cost"),
        ),
        [
            (
                reading.found.importer.title,
                ", ".join(map(str, reading.found.places)),
                f"{reading.files:,}",
                size(reading.marks.bytes),
                "-" if reading.found.read_at is None else moment(reading.found.read_at, zone),
                number(reading.plan.added.calls),
                _cells(reading.plan.added)[-2] if reading.plan.new else "-",
            )
            for reading in readings
        ],
    )


def _importer(source: str) -> Importer:
    """Raises UsageError: no such source."""
    importer = importer_of(source)
    if importer is None:
        known = importer_names()
        near = meant(source, known, most=1)
        if Path(source).exists() or "." in source or "/" in source:
            near = f"a file comes after who made it, as in omni import csv {source};"
        hint = f"{near}{near and ' '}one of: {', '.join(known)}"
        raise UsageError(f"no such source: {source}", hint=hint)
    return importer


def _places(source: str, paths: list[Path]) -> list[Path]:
    """Raises UsageError: no such source; NotFound: no such place."""
    importer = _importer(source)
    for path in paths:
        if not path.exists():
            raise NotFound(f"there is no {path}")
        files = importer.files(path) if path.is_dir() and importer.reads else [str(path)]
        if files and not any(Path(file).exists() for file in files):
            raise NotFound(f"there is no {importer.reads} of {importer.title} in {path}")
        if not files:
            note(f"nothing of {importer.title} is in {path}: it looks for {importer.reads}")
    return paths


def _asked(count: int) -> bool:
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    return typer.confirm(f"write {count:,} {_calls(count)} to the ledger?", err=True)


def _reading(file: Path, index: int, files: int) -> None:
    progress(f"reading {index + 1}/{files} {file.name}")


def _writing(done: int, whole: int) -> None:
    progress(f"writing {done:,}/{whole:,}")


def _calls(count: int) -> str:
    return "call" if count == 1 else "calls"


def _problems(batch: ImportBatch) -> None:
    for problem in batch.problems[:_PROBLEMS_SHOWN]:
        note(f"{paint('left out:', 'yellow', sys.stderr)} {problem}")
    if len(batch.problems) > _PROBLEMS_SHOWN:
        note(f"and {len(batch.problems) - _PROBLEMS_SHOWN:,} more; --json lists all")


def _show(plan: ImportPlan, batch: ImportBatch, zone: str) -> None:
    if not batch.calls:
        out("no calls found")
        return
    rows = plan.by_model.items()
    table(
        (
            Column.key("recorded as"),
            Column.words("model", 6),
            Column.figure("calls", 7),
            Column.figure("input", 4),
            Column.figure("cached", 3),
            Column.figure("output", 5),
            Column.money("cost"),
            Column.figure("recorded cost", 2),
        ),
        [
            (_recorded(key[1], key[2]), key[3] if plan.is_known(key) else "?", *_cells(sums))
            for key, sums in rows
        ]
        + [("all", "", *_cells(plan.all))],
        total=True,
    )
    first, last = (moment(batch.calls[i].at_ms, zone)[:10] for i in (0, -1))
    out(f"{first} to {last}, {batch.rows:,} rows read")
    parts = [f"{len(plan.new):,} new"]
    if plan.grown:
        parts.append(f"{len(plan.grown):,} with more tokens than before")
    parts.append(f"{plan.known:,} in the ledger already")
    out(", ".join(parts))
    if plan.all.estimated:
        out(
            f"{plan.all.estimated:,} at standard rates though the source names other terms "
            "(batch, fast, sums of tiered calls, searches) or leaves tokens open: marked estimated"
        )
    if batch.skips:
        passed = ", ".join(f"{count:,} {reason}" for reason, count in batch.skips.most_common(6))
        out(paint(f"passed over: {passed}", "dim"))


def _recorded(model: str | None, tier: str | None) -> str:
    return (model or "(none)") + (f" ({tier})" if tier else "")


def _cells(sums: Totals) -> tuple[str, ...]:
    cost = format_usd(sums.cost_nusd) if sums.unknown < sums.rows else "unknown"
    if 0 < sums.unknown < sums.rows:
        cost += f" + {sums.unknown:,} unknown"
    return (
        number(sums.calls),
        number(sums.tokens["input_tokens"]),
        number(sums.tokens["cached_tokens"]),
        number(sums.tokens["output_tokens"]),
        cost,
        format_usd(sums.recorded_nusd) if sums.recorded else "-",
    )
