"""``omni templates``: prompts that one keeps, for ``omni chat -t``."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from omni_cli.cli.common import JsonFlag, grouped, omni
from omni_cli.cli.render import emit_json, note, out
from omni_cli.cli.tables import Column, View, listing
from omni_cli.domain.errors import UsageError, file_errors
from omni_cli.system import replace_text

app = typer.Typer(rich_markup_mode=None, help="Prompts that one keeps, for omni chat -t.")

Name = Annotated[str, typer.Argument(help="Its name; roles/NAME is a role's own.")]


@app.command("list")
@grouped
def list_(*, view: View) -> None:
    """All templates: your own, this project's, and those that speak for roles."""
    from omni_cli.services.engine.templates import kept, template_in

    with omni() as omni_app:
        found = list(kept(omni_app.paths.config, Path.cwd()))
    read = [(name, file, template_in(file)) for name, file in found]
    listing(
        view,
        (
            Column.key("template"),
            Column.words("takes", 6),
            Column.words("model", 5),
            Column.words("description", 7),
        ),
        [(name, ", ".join(t.wanted()), t.model or "-", t.description) for name, _, t in read],
        lambda: [
            {"name": name, "file": str(file), "takes": t.wanted(), **t.model_dump()}
            for name, file, t in read
        ],
        empty=["no templates yet: omni templates add NAME FILE"],
    )


@app.command()
def show(name: Name, as_json: JsonFlag = False) -> None:
    """One template, as it is written."""
    from omni_cli.services.engine.templates import file_of, template_in

    with omni() as omni_app:
        file = file_of(name, omni_app.paths.config, Path.cwd())
    template = template_in(file)
    if as_json:
        emit_json(
            {"name": name, "file": str(file), "takes": template.wanted(), **template.model_dump()}
        )
    else:
        out(file.read_text("utf-8").rstrip("\n"))


@app.command()
def add(
    name: Name,
    file: Annotated[str, typer.Argument(help="A TOML file; - reads stdin.")] = "-",
    replace: Annotated[
        bool, typer.Option("--replace", help="Instead of the one of this name.")
    ] = False,
) -> None:
    """Keep a template: description, model, system, prompt, params and defaults, as TOML."""
    from omni_cli.services.engine.templates import place_of, template_of

    with file_errors("read", file):
        text = sys.stdin.read() if file == "-" else Path(file).read_text("utf-8")
    template_of(text, "stdin" if file == "-" else file)
    with omni() as omni_app:
        place = place_of(name, omni_app.paths.config)
    if place.exists() and not replace:
        raise UsageError(f"there is a template {name!r} already", hint="--replace takes its place")
    replace_text(place, text)
    note(f"kept as {place}")


@app.command()
def remove(name: Name) -> None:
    """Delete a template of yours; a project's is a file of the project."""
    from omni_cli.domain.errors import NotFound
    from omni_cli.services.engine.templates import place_of

    with omni() as omni_app:
        place = place_of(name, omni_app.paths.config)
    try:
        place.unlink()
    except FileNotFoundError:
        raise NotFound(
            f"no template {name!r} of yours", hint="omni templates list shows them"
        ) from None
    out(f"deleted template {name}")


@app.command()
def schema() -> None:
    """The JSON Schema of templates, for editors that check and complete TOML."""
    from omni_cli.services.engine.templates import Template
    from omni_cli.written import schema_of

    emit_json(schema_of(Template, "a template of omni chat"))
