"""Write the table of all commands in ``docs/cli.md``, and the manual page ``docs/omni.1``:
``python -m tools.commands``.

Names, arguments and what each does are asked of the commands themselves.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from omni_cli.cli.app import app
from omni_cli.domain.commands import ALIASES

_ROOT = Path(__file__).resolve().parents[1]
PAGE, MANUAL = _ROOT / "docs" / "cli.md", _ROOT / "docs" / "omni.1"
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


def manual() -> str:
    """The manual page, in the macros of man(7). Options are left to each command's own help."""
    root: Any = typer.main.get_command(app)
    lines = [_HEAD]
    by_section: dict[str, list[str]] = {}
    for name, command, context in commands():
        section = root.table[name.partition(" ")[0]].section
        pieces = command.collect_usage_pieces(context)
        takes = "".join(
            f" \\fI{_roff(piece.strip('{}'))}\\fR"
            for piece in pieces
            if piece not in _NOT_ARGUMENTS
        )
        told = " ".join((command.help or "").partition("\n\n")[0].split())
        by_section.setdefault(section, []).append(
            f".TP\n\\fBomni {_roff(name)}\\fR{takes}\n{_roff(told)}\n"
        )
    for section, entries in by_section.items():
        lines += [f".SS {section}\n", *entries]
    return "".join(lines) + _TAIL


def _roff(text: str) -> str:
    """Text as roff takes it: a hyphen is one, and no line begins with a dot or a quote."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{text}" if text[:1] in (".", "'") else text


_HEAD = r""".\" made by python -m tools.commands
.TH OMNI 1 "" "omni" "User Commands"
.SH NAME
omni \- fleet management for AI models, in the terminal
.SH SYNOPSIS
.B omni
.RI [ options ]
.I command
.RI [ arguments ]
.br
.B omni
.SH DESCRIPTION
.B omni
sees, routes, budgets and accounts calls of AI models at many providers and on this machine.
Without a command, on a terminal, it opens the fleet on one screen.
.PP
.B omni
.I command
.B \-\-help
tells a command's options and examples;
.B \-\-json
prints what it shows as JSON.
.SH COMMANDS
"""
_TAIL = r""".SH ENVIRONMENT
.TP
.B OMNI_HOME
The folder of the store, the settings and stored keys.
.TP
.B NO_COLOR
No colour.
.TP
\fBOPENAI_API_KEY\fR, \fBANTHROPIC_API_KEY\fR, ...
Keys of providers, as their vendors name them.
.SH EXIT STATUS
0 success; 1 another failure; 2 usage; 3 a key or the configuration; 4 a budget or \-\-max\-cost;
5 every provider failed; 6 a price is unknown; 7 an assertion failed.
.SH FILES
.B omni doctor
tells where the store, the settings and stored keys are.
"""


def main() -> None:
    PAGE.write_text(page(), "utf-8")
    MANUAL.parent.mkdir(exist_ok=True)
    MANUAL.write_text(manual(), "utf-8")


if __name__ == "__main__":
    main()
