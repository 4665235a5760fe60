"""``omni config``: the settings of this user and project. No key and no money is kept there."""

import os
import shlex
import subprocess
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from omni_cli import config as settings
from omni_cli.bootstrap import App
from omni_cli.cli.common import (
    JsonFlag,
    YesFlag,
    agree_to_leaving,
    complete_settings,
    grouped,
    omni,
)
from omni_cli.cli.render import answer, emit_json, note, out
from omni_cli.cli.tables import Column, View, listing
from omni_cli.domain.errors import ConfigError
from omni_cli.domain.record import asdict
from omni_cli.system import replace_text

app = typer.Typer(rich_markup_mode=None, help="Settings of this user and project.")

Key = Annotated[
    str, typer.Argument(autocompletion=complete_settings, help="section.name, see config list.")
]
#: Settings that name a model: stored by its id, so that an alias may change hands.
_MODEL_KEYS = ("general.premium_model", "chat.default_model")


@app.command("list")
@grouped
def list_(*, view: View) -> None:
    """Every setting with its value, and where it comes from."""
    with omni() as omni_app:
        rows = _rows(omni_app)
    listing(
        view,
        (Column.key("setting"), Column.words("value", 9, 4), Column.words("from", 2, 7)),
        [(row["key"], _text(row["value"]), row["source"]) for row in rows],
        lambda: rows,
        styles=["dim" if row["source"] == "default" else None for row in rows],
    )


@app.command()
def get(key: Key, as_json: JsonFlag = False) -> None:
    """One setting's value."""
    settings.locate(key)
    with omni() as omni_app:
        rows = {row["key"]: row for row in _rows(omni_app)}
    answer(rows[key], _text(rows[key]["value"]), as_json=as_json)


@app.command("set")
def set_(
    key: Key,
    value: Annotated[str, typer.Argument(help="The new value.")],
    yes: YesFlag = False,
) -> None:
    """Change a setting of this user."""
    with omni() as omni_app:
        if key in _MODEL_KEYS and value:
            selector = omni_app.names.select(value)
            if key == "general.premium_model" or selector.kind == "model":
                value = omni_app.names.model(value)
                agree_to_leaving(omni_app, value, yes=yes, at_work=True)
        settings.set_value(omni_app.paths, key, value)
        row = next(row for row in _rows(omni_app) if row["key"] == key)
    out(f"{key} = {value}")
    if row["source"] not in ("user", "default"):
        note(f"here {row['source']} says {_text(row['value'])}, and that wins")


@app.command()
def unset(key: Key) -> None:
    """Back to the default."""
    with omni() as omni_app:
        settings.unset_value(omni_app.paths, key)
    out(f"{key} is unset")


@app.command()
def path(as_json: JsonFlag = False) -> None:
    """Where settings, store and keys are."""
    with omni() as omni_app:
        where, store = omni_app.paths, omni_app.place.name
        project = settings.project_file(Path.cwd())
    document = {
        "config": str(where.config_file),
        "store": store,
        "data": str(where.data),
        "project": None if project is None else str(project),
    }
    if as_json:
        emit_json(document)
    else:
        for name, value in document.items():
            out(f"{name:<8} {value or 'none'}")


@app.command()
def schema() -> None:
    """The settings file's JSON Schema, for editors that check and complete TOML."""
    from omni_cli.written import model_of, schema_of

    emit_json(schema_of(model_of(settings.Config), "omni's settings"))


@app.command()
def check(
    file: Annotated[
        Path | None, typer.Argument(help="Default: the user's file, and the project's.")
    ] = None,
) -> None:
    """Say whether the settings fit, and which value does not."""
    files = [file]
    if file is None:
        with omni() as omni_app:
            files = [omni_app.paths.config_file, settings.project_file(Path.cwd())]
    for path in files:
        if path is not None and (file is not None or path.exists()):
            settings.check_file(path)
            out(f"{path} fits")


@app.command()
def edit() -> None:
    """Open the user's file in $VISUAL or $EDITOR; a file with mistakes is not taken."""
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR")
    if not editor:
        raise ConfigError("neither VISUAL nor EDITOR is set", hint="EDITOR=nano omni config edit")
    with omni() as omni_app:
        file = omni_app.paths.config_file
    with tempfile.TemporaryDirectory(prefix="omni-config-") as folder:
        draft = Path(folder) / file.name
        draft.write_bytes(file.read_bytes() if file.exists() else _template().encode())
        try:
            code = subprocess.run([*shlex.split(editor), str(draft)], check=False).returncode  # noqa: S603  # the user's own editor
        except OSError as exc:
            raise ConfigError(f"cannot run {editor}: {exc.strerror}") from exc
        if code:
            raise ConfigError(f"{editor} ended with code {code}; nothing was changed")
        try:
            settings.load(settings.Paths(draft.parent, draft.parent))
        except ConfigError as exc:
            message = exc.message.replace(str(draft), "the edited text")
            raise ConfigError(f"{message}; nothing was changed", hint=exc.hint) from exc
        replace_text(file, draft.read_text("utf-8"))
    out(f"saved {file}")


def _rows(omni_app: App) -> list[dict[str, Any]]:
    """Raises ConfigError when a file does not parse."""
    # Read anew: a command may just have changed it.
    config = asdict(settings.load(omni_app.paths, cwd=Path.cwd()))
    user = settings.read_user_file(omni_app.paths)
    project = settings.project_file(Path.cwd())
    local = {} if project is None else settings.read_file(project)
    rows = []
    for key, default in settings.known_keys().items():
        section, _, name = key.partition(".")
        source = "default"
        if name in user.get(section, {}):
            source = "user"
        if name in local.get(section, {}):
            source = str(project)
        rows.append(
            {
                "key": key,
                "value": config[section][name],
                "default": default,
                "source": source,
            }
        )
    return rows


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _template() -> str:
    lines = ["# omni's settings; omni config list explains them.\n"]
    section = ""
    for key, default in settings.known_keys().items():
        head, _, name = key.partition(".")
        if head != section:
            section = head
            lines.append(f"\n[{section}]\n")
        shown = f'"{default}"' if isinstance(default, str) else _text(default)
        lines.append(f"# {name} = {shown}\n")
    return "".join(lines)
