"""``omni completion``: scripts for the shells, and the hidden command that they call.

The scripts hand the line to ``omni __complete`` and read names back, one a line. Nothing that a
provider called a model is ever evaluated by a shell.
"""

import re
import shlex
from contextlib import suppress
from typing import Annotated, Any

import typer

from omni_cli.cli.render import out
from omni_cli.domain.errors import UsageError

#: Of shorter words everything is near.
_LEAST_MEANT = 3

app = typer.Typer(rich_markup_mode=None)
words_app = typer.Typer(rich_markup_mode=None)

BASH = r"""# bash completion for omni: source this file, or put it where bash-completion looks.
_omni() {
    local name
    COMPREPLY=()
    while IFS= read -r name; do
        COMPREPLY+=("$name")
    done < <(command omni __complete bash "${COMP_LINE:0:COMP_POINT}" 2>/dev/null)
}
complete -o default -F _omni omni
"""

ZSH = r"""#compdef omni
# zsh completion for omni: put this file into a folder of $fpath as _omni, or source it.
_omni() {
    local -a names
    local name
    while IFS= read -r name; do
        names+=("$name")
    done < <(command omni __complete zsh "${(j: :)words[1,CURRENT]}" 2>/dev/null)
    if (( $#names )); then
        _describe -V omni names
    else
        _files
    fi
}
if [[ "${funcstack[1]}" = _omni ]]; then
    _omni "$@"
else
    compdef _omni omni
fi
"""

FISH = r"""# fish completion for omni: put this file into ~/.config/fish/completions.
function __omni_names
    set -l names (command omni __complete fish (commandline -cp | string collect) 2>/dev/null)
    if test (count $names) -gt 0
        printf '%s\n' $names
    else
        __fish_complete_path (commandline -ct)
    end
end
complete -c omni -f -k -a '(__omni_names)'
"""

SCRIPTS: dict[str, str] = {"bash": BASH, "zsh": ZSH, "fish": FISH}
#: Where bash cuts a word besides white space: it completes only what follows.
_BASH_BREAKS = ":="


@app.command()
def completion(
    shell: Annotated[
        str,
        typer.Argument(
            autocompletion=lambda incomplete: [s for s in SCRIPTS if s.startswith(incomplete)],
            help="bash, zsh or fish.",
        ),
    ],
) -> None:
    """Print the script that completes commands, options and names.

    bash: eval "$(omni completion bash)" in ~/.bashrc

    zsh: omni completion zsh > a folder of $fpath, as _omni

    fish: omni completion fish > ~/.config/fish/completions/omni.fish
    """
    if shell not in SCRIPTS:
        raise UsageError(f"no completion for {shell!r}", hint=f"one of {', '.join(SCRIPTS)}")
    out(SCRIPTS[shell].rstrip("\n"))


@words_app.command()
def words(shell: Annotated[str, typer.Argument()], line: Annotated[str, typer.Argument()]) -> None:
    """What may stand at the end of a line (called by the completion scripts)."""
    for text in offers(shell, line):
        out(text)


def offers(shell: str, line: str) -> list[str]:
    """Candidates for the last word of ``line``, as ``shell`` takes them."""
    args, incomplete = split(line)
    found = []
    incomplete, candidates = _candidates(args, incomplete)
    cut = max(incomplete.rfind(mark) for mark in _BASH_BREAKS) + 1
    for value, text in candidates:
        if not value.isprintable():
            continue  # no name that a person typed has control characters
        help_line = " ".join(text.split())
        if shell == "fish":
            found.append(f"{value}\t{help_line}" if help_line else value)
        elif shell == "zsh":
            plain = value.replace("\\", "\\\\").replace(":", "\\:")
            found.append(f"{plain}:{help_line}" if help_line else plain)
        else:
            found.append(shlex.quote(value) if " " in value and not cut else value[cut:])
    return found


def meant_at(args: list[str], message: str) -> str:
    """Which of a command's words was wrong, by what its failure says, and what stands near it
    among those that the shell offers in its place: "did you mean openai?"; "" where none does."""
    from omni_cli.domain.words import meant

    for place, word in enumerate(args):
        option, given, value = word.rpartition("=") if word.startswith("--") else ("", "", word)
        if len(value) < _LEAST_MEANT or not re.search(rf"(?<![\w-]){re.escape(value)}\b", message):
            continue
        with suppress(Exception):  # what is being told is another failure
            known = [name for name, _ in _candidates(args[:place], option + given)[1]]
            if value not in known and (near := meant(value, known)):
                return near
    return ""


def split(line: str) -> tuple[list[str], str]:
    """Finished words after the program's name, and the one being typed ("" after a space).

    An open quote belongs to the last word.
    """
    for closing in ("", '"', "'"):
        lexer = shlex.shlex(line + closing, posix=True, punctuation_chars=False)
        lexer.whitespace_split = True
        lexer.commenters = ""
        try:
            found = list(lexer)
        except ValueError:
            continue
        if not closing and (not found or line[-1:].isspace()):
            return found[1:], ""
        return found[1:-1], found[-1] if len(found) > 1 else ""
    return [], ""


def _candidates(args: list[str], incomplete: str) -> tuple[str, list[tuple[str, str]]]:
    """The part of the word that is completed (without ``--option=``), and (value, help) pairs."""
    # Typer's own copy of Click since 0.26; the pin keeps both in step.
    from typer._click.shell_completion import _resolve_context, _resolve_incomplete

    from omni_cli.cli.app import app as root
    from omni_cli.cli.lazy import LazyGroup
    from omni_cli.domain.commands import spelled

    cli: Any = typer.main.get_command(root)
    context = _resolve_context(cli, {}, "omni", spelled(args) if len(args) > 1 else args)
    command: Any = context.command
    if isinstance(command, LazyGroup) and not incomplete.startswith("-"):
        # The table has the help lines: asking the commands for theirs would import them all.
        return incomplete, [
            (name, entry.help)
            for name, entry in command.table.items()
            if name.startswith(incomplete) and not entry.hidden
        ]
    asked: Any
    asked, incomplete = _resolve_incomplete(context, args, incomplete)
    if (kind := getattr(asked, "param_type_name", "")) and not asked._custom_shell_complete:
        from omni_cli.cli.values import offered

        name = asked.name if kind == "argument" else max(asked.opts, key=len)
        if words := offered(context.command_path.partition(" ")[2], name, incomplete, args):
            return incomplete, [(word, "") for word in words]
    items = asked.shell_complete(context, incomplete)
    return incomplete, [(str(i.value), str(i.help or "")) for i in items if i.type == "plain"]
