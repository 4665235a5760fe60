"""``omni fleet``, ``diff``, ``apply``, ``rollback``: the fleet as a document; ``omni deploy``: what
is under way, on a share of traffic or watched."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from omni_cli.bootstrap import App
from omni_cli.cli.common import Apply, DryRun, JsonFlag, ask, omni
from omni_cli.cli.exits import ASSERTION
from omni_cli.cli.render import Style, answer, emit_json, moment, note, out, paint
from omni_cli.cli.tables import Column, table
from omni_cli.domain.errors import UsageError, file_errors
from omni_cli.domain.periods import duration_ms
from omni_cli.domain.words import counted, share_of
from omni_cli.services.fleet.apply import Change, changes_document
from omni_cli.services.judge.deploys import Standing, standing_document
from omni_cli.system import replace_text

ExitCode = Annotated[
    bool, typer.Option("--exit-code", help="Exit with 7 where there is a difference.")
]

fleet_app = typer.Typer(rich_markup_mode=None, no_args_is_help=True)
diff_app = typer.Typer(rich_markup_mode=None)
apply_app = typer.Typer(rich_markup_mode=None)
rollback_app = typer.Typer(rich_markup_mode=None)


@fleet_app.callback()
def fleet() -> None:
    """The whole fleet as one TOML document, without secrets."""


@fleet_app.command("export")
def export(
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Default: stdout.")] = None,
    revision: Annotated[int | None, typer.Option(help="That of a revision, not today's.")] = None,
) -> None:
    """Write the fleet as TOML."""
    with omni() as omni_app:
        if revision is None:
            text = omni_app.fleet.document()
        else:
            text = omni_app.history.revision(revision).fleet
    if output is None:
        sys.stdout.write(text)
        return
    with file_errors("write", output):
        replace_text(output, text)
    note(f"written to {output}")


@fleet_app.command("init")
def init(
    file: Annotated[Path, typer.Argument(help="The file to write; not one there is.")] = Path(
        "fleet.toml"
    ),
) -> None:
    """Write a commented fleet file: today's fleet, or examples where there is none."""
    from omni_cli.services.fleet.fleet_file import commented

    with omni() as omni_app:
        text = commented(omni_app.fleet.document(), file.name)
    try:
        with file.open("x", encoding="utf-8") as written:
            written.write(text)
    except FileExistsError:
        raise UsageError(
            f"{file} is there already", hint=f"omni diff {file} shows how it differs from the fleet"
        ) from None
    except OSError as exc:
        raise UsageError(f"cannot write {file}: {exc.strerror}") from exc
    note(f"written to {file}; next: omni apply {file} --plan")


@fleet_app.command("schema")
def schema() -> None:
    """The fleet file's JSON Schema, for editors that check and complete TOML."""
    from omni_cli.services.fleet.fleet_file import FleetFile
    from omni_cli.written import schema_of

    emit_json(schema_of(FleetFile, "omni's fleet file"))


@diff_app.command()
def diff(
    old: Annotated[str, typer.Argument(help="A revision's number or a TOML file.")],
    new: Annotated[
        str | None, typer.Argument(help="The same; left out: the fleet as it is.")
    ] = None,
    exit_code: ExitCode = False,
    as_json: JsonFlag = False,
) -> None:
    """What changed between two fleets."""
    from omni_cli.services.fleet.apply import compare

    with omni() as omni_app:
        before = _whole(omni_app, old)
        after = omni_app.applier.current() if new is None else _whole(omni_app, new)
    changes = compare(before, after)
    show_changes(changes, as_json=as_json)
    if changes and exit_code:
        raise typer.Exit(ASSERTION)


@apply_app.command("apply")
def apply(
    file: Annotated[Path, typer.Argument(help="A TOML document; - reads stdin.")],
    plan: DryRun = False,
    exit_code: ExitCode = False,
    yes: Apply = False,
    share: Annotated[
        str | None,
        typer.Option(help="Only to so much of the changed roles' new conversations: 10%."),
    ] = None,
    lasting: Annotated[
        str | None, typer.Option("--for", help="It stands after 30m, 2h or 1d; else it is yours.")
    ] = None,
    rollback_if: Annotated[
        str | None,
        typer.Option(help="'successRate < 0.95 || costPerRequest > 0.01': back by itself then."),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Make the fleet equal to a document."""
    with omni() as omni_app:
        wanted = _document(omni_app, str(file))
        changes = omni_app.applier.plan(wanted)
        if plan or not changes:
            show_changes(changes, as_json=as_json)
            if changes and exit_code:
                raise typer.Exit(ASSERTION)
            return
        if not as_json:
            show_changes(changes, as_json=False)
        for doubt in omni_app.applier.doubts(wanted):
            note(
                f"{paint('an odd price:', 'yellow', sys.stderr)} {doubt}; prices are per 1M tokens"
            )
        if not yes and not ask(
            f"apply {len(changes)} changes?",
            nobody="nobody is there to ask",
            hint="--yes applies without asking",
        ):
            raise typer.Exit(1)
        if share is None and rollback_if is None:
            if lasting is not None:
                raise UsageError("--for goes with --share or --rollback-if")
            omni_app.applier.apply(wanted, action="fleet.apply", target=str(file))
            show_applied(omni_app, changes, as_json=as_json)
            return
        omni_app.deploys.begin(
            wanted,
            share=None if share is None else share_of(share, "--share"),
            for_s=None if lasting is None else duration_ms(lasting) / 1000,
            condition=rollback_if or "",
            target=str(file),
        )
        if share is None:
            show_applied(omni_app, changes, as_json=as_json)
            note("watched: omni watch, the gateway and omni chat look; omni deploy status tells")
        elif as_json:
            emit_json({"share": share, **changes_document(changes)})
        else:
            note(f"{share} of new conversations try it; omni deploy status, promote, abort")


@rollback_app.command("rollback")
def rollback(
    number: Annotated[int, typer.Argument(help="omni history lists revisions.")],
    plan: DryRun = False,
    as_json: JsonFlag = False,
) -> None:
    """Bring back the fleet of a revision; itself a new revision, so it can be undone."""
    with omni() as omni_app:
        changes = omni_app.history.plan(number)
        if plan or not changes:
            show_changes(changes, as_json=as_json)
            return
        omni_app.history.roll_back(number)
        show_applied(omni_app, changes, as_json=as_json)


def show_applied(omni_app: App, changes: list[Change], *, as_json: bool) -> None:
    newest = omni_app.audit.revisions(limit=1)[0]
    if as_json:
        emit_json({"revision": newest.number, **changes_document(changes)})
        return
    # Before the first revision there was no fleet to go back to.
    undo = f"; omni rollback {newest.number - 1} undoes it" if newest.number > 1 else ""
    note(f"{counted(len(changes), 'change')} applied as revision {newest.number}{undo}")


def _whole(omni_app: App, source: str) -> dict[str, Any]:
    """A revision as it was written; of a file, what it leaves out at the defaults."""
    document = _document(omni_app, source)
    return document if source.isdigit() else omni_app.applier.whole(document)


def _document(omni_app: App, source: str) -> dict[str, Any]:
    import tomllib

    if source.isdigit():
        text = omni_app.history.revision(int(source)).fleet
    else:
        with file_errors("read", source):
            text = sys.stdin.read() if source == "-" else Path(source).read_text("utf-8")
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        raise UsageError(f"{source} is no TOML: {exc}") from exc
    if not source.isdigit():
        from omni_cli.services.fleet.fleet_file import FleetFile
        from omni_cli.written import read

        read(FleetFile, document, field="section")
    return document


_STYLES: dict[str, Style] = {"+": "green", "-": "red", "~": "yellow"}


def show_changes(changes: list[Change], *, as_json: bool) -> None:
    if as_json:
        emit_json(changes_document(changes))
        return
    if not changes:
        note("no difference")
    for change in changes:
        for line in change.lines():
            style = _STYLES.get(line[0])
            out(paint(line, style) if style else line)


deploy_app = typer.Typer(
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Deploys on a share of traffic, or watched; omni apply FILE --share 10% begins one.",
)


@deploy_app.command()
def status(
    everything: Annotated[bool, typer.Option("--all", help="Also those that have ended.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """The deploy under way, and what its traffic shows."""
    with omni(quiet=as_json) as omni_app:
        ended = [] if as_json else omni_app.deploys.check()
        for alert in ended:
            note(f"{alert.title}: {alert.text}")
        found = [
            omni_app.deploys.standing(deploy)
            for deploy in omni_app.deploy_store.recent()
            if everything or deploy.ended_at is None
        ]
        zone = omni_app.zone
    if as_json:
        emit_json([standing_document(one) for one in found])
        return
    if not found:
        note("no deploy is under way; omni apply FILE --share 10% begins one")
    for one in found:
        _show_standing(one, zone)


@deploy_app.command()
def promote(as_json: JsonFlag = False) -> None:
    """Let it stand: a canary is applied to all traffic."""
    with omni(quiet=as_json) as omni_app:
        _said(omni_app.deploys.promote(), as_json=as_json)


@deploy_app.command()
def abort(as_json: JsonFlag = False) -> None:
    """Take it back."""
    with omni(quiet=as_json) as omni_app:
        _said(omni_app.deploys.abort(), as_json=as_json)


def _said(words: str, *, as_json: bool) -> None:
    answer({"done": words}, words, as_json=as_json)


def _show_standing(one: Standing, zone: str) -> None:
    deploy = one.deploy
    what = "whole" if deploy.share is None else f"{deploy.share:.0%} of roles {_roles(deploy)}"
    out(
        f"deploy {paint(str(deploy.id), 'bold')}  {deploy.state}, {what}, "
        f"since {moment(deploy.started_at, zone)}"
    )
    if deploy.until_at is not None and deploy.ended_at is None:
        out(f"stands from {moment(deploy.until_at, zone)} on")
    if deploy.reason:
        out(deploy.reason)
    out(f"calls since: {one.calls:,}")
    if one.evidence:
        table(
            (
                Column.key("taken back if"),
                Column.figure("now", 6),
                Column.figure("calls", 3),
                Column.figure(f"evidence (shown from {one.evidence[0].need:g})", 5),
            ),
            [
                (
                    found.condition.text,
                    "-" if found.value is None else f"{found.value:.4g}",
                    str(found.calls),
                    f"{found.e:.3g}",
                )
                for found in one.evidence
            ],
        )


def _roles(deploy: Any) -> str:
    return ", ".join(sorted(deploy.tests))
