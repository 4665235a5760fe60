"""Command groups that import a command's module, and read a command's options, once it is named.

The table holds every command's help line, so ``omni --help`` imports none of them.
"""

import importlib
import inspect
import sys
from contextvars import ContextVar
from typing import Any, ClassVar, NamedTuple

import typer
from typer.core import TyperGroup
from typer.main import get_command_from_info, get_command_name
from typer.models import CommandInfo

from omni_cli.cli import LATER_IN_COMMANDS, find_within, later

#: Whose fleet the command is to work on, as ``App`` takes it.
ORG: ContextVar[str | None] = ContextVar("ORG", default=None)
#: Whether it works on a gateway's fleet, so that no name is this machine's to know.
FAR: ContextVar[bool] = ContextVar("FAR", default=False)


class Entry(NamedTuple):
    """``target`` is "module:attribute", a Typer app with one command or a group."""

    target: str
    help: str
    section: str
    hidden: bool = False


#: Of a group, whose subcommands have more.
_MOST_EXAMPLES = 4
#: Cells that a line of help has at least.
_LEAST_ROOM = 20
#: Words that other tools have for it.
_NEAR = {
    "ask": "'chat'",
    "test": "'doctor' or 'providers test'",
    "setup": "'init'",
    "cost": "'costs'",
    "status": "'health'",
}


def nearest(word: str, known: list[str]) -> str:
    """ "'chat' or 'chains'", of the names nearest to a wrong one."""
    import difflib

    return " or ".join(f"'{name}'" for name in difflib.get_close_matches(word, known, 3, 0.6))


def dress(command: Any, path: str) -> None:
    """Give a command what its help shows: what each option takes, and examples.

    Args:
        path: its name, as typed after ``omni``.
    """
    from omni_cli.cli.examples import EXAMPLES
    from omni_cli.cli.values import called

    for item in command.params:
        if item.param_type_name == "option" and not item.is_flag and not item.metavar:
            item.metavar = called(path, max(item.opts, key=len))
    lines = EXAMPLES.get(path, ())
    within = [found[0] for name, found in EXAMPLES.items() if name.startswith(f"{path} ")]
    lines = lines or tuple(within[:_MOST_EXAMPLES])
    if lines:
        command.epilog = "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


def _dressed(command: Any, path: str) -> Any:
    """The same, where its help is asked for."""
    if not {"--help", "-h"}.isdisjoint(sys.argv):
        dress(command, path)
    return command


def _list_rows(formatter: Any, rows: list[tuple[str, str]]) -> None:
    """Names and what they are for, which the width alone cuts."""
    first = max((len(name) for name, _ in rows), default=0)
    room = max(formatter.width - first - 4, _LEAST_ROOM)
    for name, line in rows:
        said = line if len(line) <= room else line[: room - 1].rstrip() + "…"
        formatter.write(f"{'':>{formatter.current_indent}}{name:<{first}}  {said}\n")


class Commands(TyperGroup):
    """A command's subcommands: to read the options of a dozen takes longer than to run one."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self._infos: dict[str, CommandInfo] = {}

    def fill(self, infos: list[CommandInfo]) -> None:
        self._infos = {_name(info): info for info in infos}
        names: Any = dict.fromkeys(self._infos)
        self.commands = names  # which are suggested for wrong ones

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002  # Click's signature
        return [name for name, info in self._infos.items() if not info.hidden]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002  # Click's signature
        info = self._infos.get(cmd_name)
        if info is None:
            return None
        _flatten(info)
        command = get_command_from_info(info, pretty_exceptions_short=True, rich_markup_mode=None)
        return _dressed(command, f"{self.name} {cmd_name}")

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002  # Click's signature
        rows = [
            (name, info.help or inspect.getdoc(info.callback) or "")
            for name, info in self._infos.items()
            if not info.hidden
        ]
        with formatter.section("Commands"):
            _list_rows(formatter, [(name, _first(line)) for name, line in rows])


def _import_msgspec() -> None:
    """Without what most commands never ask: modules that are to be loaded later, and
    typing_extensions, in whose place msgspec takes the standard library's own, which do the same
    from Python 3.11 on. A command starts a tenth sooner."""
    if "msgspec" in sys.modules:
        return
    for name in LATER_IN_COMMANDS:
        later(name)
    find_within()
    missing: Any = None
    there = sys.modules.setdefault("typing_extensions", missing)
    try:
        importlib.import_module("msgspec")
    finally:
        if there is None:
            del sys.modules["typing_extensions"]


def _name(info: CommandInfo) -> str:
    return info.name or get_command_name(getattr(info.callback, "__name__", ""))


def _first(text: str) -> str:
    """The first paragraph of a docstring, in one line."""
    return " ".join(text.partition("\n\n")[0].split())


def _flatten(info: CommandInfo) -> None:
    """Have the signature ready of a command whose options are grouped (cli/common.py)."""
    flatten = getattr(info.callback, "flatten", None)
    if flatten is not None:
        flatten()


def built(app: typer.Typer) -> Any:
    """The command, or group of commands, that a module declares."""
    # Typer would give every command its own --install-completion; omni completion is it.
    app._add_completion = False
    infos = app.registered_commands
    if len(infos) == 1 and not app.registered_callback:
        _flatten(infos[0])
        return typer.main.get_command(app)
    app.info.cls = Commands
    app.registered_commands = []
    try:
        group: Any = typer.main.get_group(app)
    finally:
        app.registered_commands = infos
    group.fill(infos)
    return group


class LazyGroup(TyperGroup):
    """Subclasses set ``table``: command name to Entry, in the order shown; ``together``: names that
    one line of the help tells of."""

    table: ClassVar[dict[str, Entry]] = {}
    together: ClassVar[tuple[tuple[tuple[str, ...], str], ...]] = ()

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002  # Click's signature
        return list(self.table)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002  # Click's signature
        entry = self.table.get(cmd_name)
        if entry is None:
            return None
        _import_msgspec()
        module, _, attribute = entry.target.partition(":")
        command = built(getattr(importlib.import_module(module), attribute))
        command.name = cmd_name
        command.help = command.help or entry.help
        return _dressed(command, cmd_name)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and args[0] not in self.table and not args[0].startswith("-"):
            near = _NEAR.get(args[0]) or nearest(args[0], list(self.table))
            ctx.fail(f"No such command {args[0]!r}.{near and f' Did you mean {near}?'}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002  # Click's signature
        sections: dict[str, list[tuple[str, str]]] = {}
        beside = {name for names, _ in self.together for name in names[1:]}
        shown = {names[0]: (", ".join(names), line) for names, line in self.together}
        for name, entry in self.table.items():
            if not entry.hidden and name not in beside:
                row = shown.get(name, (name, entry.help))
                sections.setdefault(entry.section, []).append(row)
        for section, rows in sections.items():
            with formatter.section(section):
                _list_rows(formatter, rows)
