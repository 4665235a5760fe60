"""``omni report``: a month in one page."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from omni_cli.cli.common import JsonFlag, omni
from omni_cli.cli.render import emit_json, note
from omni_cli.domain.errors import UsageError, file_errors

app = typer.Typer(rich_markup_mode=None)

_FORMATS = ("md", "html", "json")


@app.command()
def report(
    month: Annotated[
        str | None, typer.Argument(help="Such as 2026-10; without it the one that is now.")
    ] = None,
    form: Annotated[
        str, typer.Option("--format", help="md, html or json.", autocompletion=lambda: [*_FORMATS])
    ] = "md",
    output: Annotated[Path | None, typer.Option("-o", "--output", help="A file.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """What a month cost and saved, how good it was, what was tried, what to do next."""
    if form not in _FORMATS:
        raise UsageError(f"--format is one of {', '.join(_FORMATS)}, not {form!r}")
    from omni_cli.services.judge.monthly import html, markdown, monthly_document

    with omni(quiet=as_json) as omni_app:
        found = omni_app.monthly.of(month)
    if as_json or form == "json":
        emit_json(monthly_document(found))
        return
    text = html(found) if form == "html" else markdown(found)
    if output is None:
        sys.stdout.write(text)
        return
    with file_errors("write", output):
        output.write_text(text, "utf-8")
    note(f"wrote {output}")
