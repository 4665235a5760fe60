"""``omni help``: a command's help by its name, or the commands that a word is about."""

from typing import Annotated, Any

import typer

from omni_cli.cli.lazy import LazyGroup, dress, nearest
from omni_cli.cli.render import out
from omni_cli.domain.commands import BARE, spelled
from omni_cli.domain.errors import UsageError

app = typer.Typer(rich_markup_mode=None)
version_app = typer.Typer(rich_markup_mode=None)


@app.command("help")
def help_(
    topic: Annotated[
        list[str] | None, typer.Argument(help="A command, such as models add; or any word.")
    ] = None,
) -> None:
    """Help on a command, or the commands that a word is about."""
    from omni_cli.cli.app import app as root

    group: Any = typer.main.get_command(root)
    context = group.make_context("omni", [], resilient_parsing=True)
    words = list(topic or ())
    if words and words[0] not in group.table:
        _about(group, words[0])
        return
    for word in spelled(words)[: len(words)] if words[:1] and words[0] in BARE else words:
        within = context.command
        command = within.get_command(context, word) if hasattr(within, "get_command") else None
        if command is None:
            known = within.list_commands(context) if hasattr(within, "list_commands") else []
            near = nearest(word, known)
            raise UsageError(
                f"{context.command_path} has no {word!r}",
                hint=f"did you mean {near}?" if near else f"omni help {context.info_name}",
            )
        context = command.make_context(word, [], parent=context, resilient_parsing=True)
    path = context.command_path.partition(" ")[2]
    if path:
        dress(context.command, path)
    out(context.get_help())


def _about(group: LazyGroup, word: str) -> None:
    """Raises UsageError: it is in no command's name or line."""
    found = [
        (name, entry.help)
        for name, entry in group.table.items()
        if not entry.hidden and word.casefold() in f"{name} {entry.help}".casefold()
    ]
    if not found:
        near = nearest(word, list(group.table))
        raise UsageError(
            f"no command is called {word!r}, or is about it",
            hint=f"did you mean {near}?" if near else "omni help lists all commands",
        )
    width = max(len(name) for name, _ in found)
    for name, line in found:
        out(f"omni {name:<{width}}  {line}")


@version_app.command()
def version() -> None:
    """Print the version."""
    from omni_cli import __version__

    out(f"omni {__version__}")
