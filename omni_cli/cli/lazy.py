"""A command group that imports a command's module once it is named.

The table holds every command's help line, so ``omni --help`` imports none of them.
"""

import importlib
from dataclasses import dataclass
from typing import Any, ClassVar

import typer
from typer.core import TyperGroup


@dataclass(frozen=True, slots=True)
class Entry:
    """``target`` is "module:attribute", a Typer app with one command or a group."""

    target: str
    help: str
    section: str
    hidden: bool = False


class LazyGroup(TyperGroup):
    """Subclasses set ``table``: command name to Entry, in the order shown."""

    table: ClassVar[dict[str, Entry]] = {}

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002  # Click's signature
        return list(self.table)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002  # Click's signature
        entry = self.table.get(cmd_name)
        if entry is None:
            return None
        module, _, attribute = entry.target.partition(":")
        app: typer.Typer = getattr(importlib.import_module(module), attribute)
        # Typer would give every command its own --install-completion; omni completion is it.
        app._add_completion = False
        command = typer.main.get_command(app)
        command.name = cmd_name
        command.help = command.help or entry.help
        return command

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002
        sections: dict[str, list[tuple[str, str]]] = {}
        for name, entry in self.table.items():
            if not entry.hidden:
                sections.setdefault(entry.section, []).append((name, entry.help))
        for section, rows in sections.items():
            with formatter.section(section):
                formatter.write_dl(rows)
