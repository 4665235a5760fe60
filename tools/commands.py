"""Write the table of all commands in ``docs/cli.md``: ``python -m tools.commands``.

Names, arguments and what each does are asked of the commands themselves.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from omni_cli.cli.app import app
from omni_cli.domain.commands import ALIASES

PAGE = Path(__file__).resolve().parents[1] / "docs" / "cli.md"
BEGIN, END = "<!-- made by python -m tools.commands -->\n", "<!-- to here -->\n"
#: What usage lines hold besides arguments.
_NOT_ARGUMENTS = ("[OPTIONS]", "COMMAND [ARGS]...")


def commands() -> Iterator[tuple[str, Any, Any]]:
    """Of every command that is shown: its name as typed, the command, its context."""
    root: Any = typer.main.get_command(app)
    context = root.make_context("omni", [], resilient_parsing=True)
    for name, entry in root.table.items():
        if not entry.hidden:
            yield from _below(root.get_command(context, name), name, context)


def _below(command: Any, name: str, parent: Any) -> Iterator[tuple[str, Any, Any]]:
    word = name.rpartition(" ")[2]
    context = command.make_context(word, [], parent=parent, resilient_parsing=True)
    within = command.list_commands(context) if hasattr(command, "list_commands") else []
    if not within or command.invoke_without_command:
        yield name, command, context
    for item in within:
        yield from _below(command.get_command(context, item), f"{name} {item}", context)


def table() -> str:
    """The table, as Markdown."""
    lines = ["| command | |", "| --- | --- |"]
    for name, command, context in commands():
        pieces = command.collect_usage_pieces(context)
        takes = [piece.strip("{}") for piece in pieces if piece not in _NOT_ARGUMENTS]
        group, _, verb = name.partition(" ")
        also = [
            word
            for word, meant in ALIASES.get(group, {}).items()
            if meant.partition(" ")[0] == verb
        ]
        told = " ".join((command.help or "").partition("\n\n")[0].split()).replace("|", "\\|")
        said = f" Also `{'`, `'.join(also)}`." if also else ""
        typed = " ".join(["omni", name, *takes]).replace("|", "\\|")
        lines.append(f"| `{typed}` | {told}{said} |")
    return "\n".join(lines) + "\n"


def page() -> str:
    """The page, with its table as the code has it."""
    before, _, rest = PAGE.read_text("utf-8").partition(BEGIN)
    return before + BEGIN + table() + END + rest.partition(END)[2]


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
