"""A command group that imports a command's module once it is named.

The table holds every command's help line, so ``omni --help`` imports none of them.
"""

import importlib
from contextvars import ContextVar
from typing import Any, ClassVar, NamedTuple

import typer
from typer.core import TyperGroup

#: Whose fleet the command is to work on, as ``App`` takes it.
ORG: ContextVar[str | None] = ContextVar("ORG", default=None)


class Entry(NamedTuple):
    """``target`` is "module:attribute", a Typer app with one command or a group."""

    target: str
    help: str
    section: str
    hidden: bool = False


#: Words that other tools have for it.
_NEAR = {
    "help": "--help (omni COMMAND --help)",
    "version": "--version",
    "ask": "'chat'",
    "test": "'doctor' or 'providers test'",
    "setup": "'init'",
    "cost": "'costs'",
    "status": "'health'",
}


def _nearest(word: str, known: list[str]) -> str:
    import difflib

    return " or ".join(f"'{name}'" for name in difflib.get_close_matches(word, known, 3, 0.6))


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

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and args[0] not in self.table and not args[0].startswith("-"):
            near = _NEAR.get(args[0]) or _nearest(args[0], list(self.table))
            ctx.fail(f"No such command {args[0]!r}.{near and f' Did you mean {near}?'}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002  # Click's signature
        sections: dict[str, list[tuple[str, str]]] = {}
        for name, entry in self.table.items():
            if not entry.hidden:
                sections.setdefault(entry.section, []).append((name, entry.help))
        for section, rows in sections.items():
            with formatter.section(section):
                formatter.write_dl(rows)
