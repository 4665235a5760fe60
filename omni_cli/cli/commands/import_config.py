"""``omni import-config``: the fleet that another tool's configuration describes."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from omni_cli.cli.commands.deploy import show_changes
from omni_cli.cli.common import Apply, DryRun, JsonFlag, ask, omni
from omni_cli.cli.render import emit_json, note, out
from omni_cli.domain.document import document
from omni_cli.domain.errors import file_errors
from omni_cli.domain.words import counted
from omni_cli.importers.configs.draft import Draft, LiteralKey

app = typer.Typer(rich_markup_mode=None)


@app.command("import-config")
def import_config(
    source: Annotated[
        str,
        typer.Argument(help="litellm, claude-code-router, aichat, llm, opencode or crush."),
    ],
    file: Annotated[Path, typer.Argument(help="Its configuration; - reads stdin.")],
    plan: DryRun = False,
    yes: Apply = False,
    as_json: JsonFlag = False,
) -> None:
    """Add what another tool's configuration has to the fleet: providers, models, names, budgets.

    What cannot be carried over is named with its place in the file. A key that stands in the file
    itself is never shown; only with --yes it is kept as omni keeps keys.
    """
    from omni_cli.importers.configs import read_config

    with file_errors("read", file):
        text = sys.stdin.read() if str(file) == "-" else file.read_text("utf-8")
    with omni(quiet=as_json) as omni_app:
        draft = Draft(
            omni_app.applier.current(), omni_app.presets, omni_app.models.find, omni_app.env
        )
        read_config(source, text, draft)
        changes = omni_app.applier.plan(draft.document)
        stored = omni_app.keys.kept
        keys = [key for slug, key in draft.keys.items() if slug not in stored]
        told: dict[str, Any] = {
            "changes": [document(change) for change in changes],
            "left_out": [document(one, "place", "why") for one in draft.left],
            "keys": [document(key, "provider", "place") for key in keys],
        }
        if not as_json:
            show_changes(changes, as_json=False)
            _tell(draft, keys, kept=yes and not plan)
        if plan or not (changes or (yes and keys)):
            if as_json:
                emit_json(told)
            return
        if not yes and not ask(
            f"apply {counted(len(changes), 'change')}?",
            nobody="nobody is there to ask",
            hint="--yes applies without asking",
        ):
            raise typer.Exit(1)
        if yes:
            # First: a keyring that fails leaves the fleet as it was.
            for key in keys:
                where = omni_app.keys.keep(key.provider, key.secret.reveal())
                note(f"the key of {key.provider} is in the {where}")
        if not changes:
            return
        omni_app.applier.apply(
            draft.document, action="fleet.import", target=f"{source} {file.name}"
        )
        newest = omni_app.audit.revisions(limit=1)[0].number
    if as_json:
        emit_json({"revision": newest, **told})
        return
    undo = f"; omni rollback {newest - 1} undoes it" if newest > 1 else ""
    note(f"{counted(len(changes), 'change')} applied as revision {newest}{undo}")


def _tell(draft: Draft, keys: list[LiteralKey], *, kept: bool) -> None:
    if draft.left:
        out("not carried over:")
    for one in draft.left:
        out(f"  {one.place}: {one.why}")
    for key in [] if kept else keys:
        out(f"  {key.place}: a key; --yes keeps it, or: omni keys set {key.provider} < FILE")
