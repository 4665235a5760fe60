"""The root command: the table of commands, and how errors leave the process."""

import errno
import os
import signal
import sys
from contextlib import suppress
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Any, ClassVar, NoReturn

import typer

from omni_cli.cli.lazy import FAR, ORG, Entry, LazyGroup

_COMMANDS = "omni_cli.cli.commands."
#: What writing to a full disk, a dead terminal or a file of the wrong kind ends in.
_UNWRITABLE = frozenset((errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EFBIG, errno.EBADF))
#: Values of the environment from this length on are kept out of crash reports.
_SECRET_CHARS = 16


def _entry(module: str, help_line: str, section: str, *, hidden: bool = False) -> Entry:
    """``module``: in ``cli/commands``, with ``:NAME`` where its app is not ``app``."""
    name, _, app = module.partition(":")
    return Entry(f"{_COMMANDS}{name}:{app or 'app'}", help_line, section, hidden)


class Root(LazyGroup):
    table: ClassVar[dict[str, Entry]] = {
        "init": _entry("init", "Find keys and local servers, propose a fleet.", "Start"),
        "demo": _entry("demo", "See omni at work on a simulated fleet; no key needed.", "Start"),
        "simulator": _entry("simulator", "Providers without models, on this machine.", "Start"),
        "dash": _entry("dash", "The fleet alive on one screen; --web in a browser.", "Start"),
        "doctor": _entry("doctor", "Check the installation, and say what to mend.", "Start"),
        "chat": _entry("chat", "Ask the fleet; the right model answers.", "Use"),
        "route": _entry("route", "Which model would answer, and why. Sends nothing.", "Use"),
        "why": _entry(
            "requests:why_app", "The receipt of a request: decision, attempts, costs.", "Use"
        ),
        "rate": _entry(
            "requests:rate_app", "Say how good an answer was; routing learns from it.", "Use"
        ),
        "logs": _entry("requests:logs_app", "List requests in the ledger.", "Use"),
        "templates": _entry("templates", "Prompts that one keeps, for chat -t.", "Use"),
        "budgets": _entry("budgets", "Limits that no call passes; alerts before.", "Money"),
        "usage": _entry("usage", "Calls, tokens and cost, by anything.", "Money"),
        "daily": _entry("periods:daily_app", "Tokens and cost by day.", "Money"),
        "weekly": _entry("periods:weekly_app", "Tokens and cost by week.", "Money"),
        "monthly": _entry("periods:monthly_app", "Tokens and cost by month.", "Money"),
        "session": _entry("session", "Sessions: cost, live, as a tree; stop one.", "Money"),
        "blocks": _entry("periods:blocks_app", "Blocks of five hours, and how fast.", "Money"),
        "statusline": _entry("periods:statusline_app", "One line for a prompt.", "Money"),
        "costs": _entry("costs:costs_app", "Trend, projection, budgets, shares.", "Money"),
        "savings": _entry(
            "costs:savings_app", "What routing saved, signed, and how sure.", "Money"
        ),
        "calc": _entry("calc", "What a text, or N requests, would cost.", "Money"),
        "batches": _entry("batches", "Batches sent out: how far, held, cost.", "Money"),
        "import": _entry("import_", "Bring in usage that other tools recorded.", "Money"),
        "reconcile": _entry("reconcile", "Compare an invoice with the ledger.", "Money"),
        "export": _entry("export", "Ledger, usage and metrics for other tools.", "Money"),
        "reprice": _entry("reprice", "Correct what past calls cost; shown first.", "Money"),
        "health": _entry("health", "How every provider and model is doing.", "Know"),
        "discover": _entry("discover", "What providers serve now; add what is new.", "Know"),
        "compare": _entry("compare", "Ask several models the same; score what they say.", "Know"),
        "suite": _entry("compare:suite_app", "Check a suite of prompts; its schema.", "Know"),
        "ab": _entry("ab", "Try a challenger on a share of a role's traffic.", "Know"),
        "shadow": _entry("shadow", "A challenger answers in the background; compared.", "Know"),
        "watch": _entry("watch", "Keep checking, and alert; in the foreground.", "Know"),
        "providers": _entry("providers", "Accounts at APIs: add, test, keys.", "Fleet"),
        "keys": _entry("keys", "Keys of providers, client keys of the gateway.", "Fleet"),
        "models": _entry("models", "Models, prices, aliases; the catalogue.", "Fleet"),
        "roles": _entry("roles", "Who does which job.", "Fleet"),
        "rules": _entry("rules", "Conditions that prefer a model.", "Fleet"),
        "chains": _entry("chains", "Failover chains.", "Fleet"),
        "fleet": _entry("deploy:fleet_app", "The fleet as one document.", "Fleet"),
        "diff": _entry("deploy:diff_app", "What changed between two fleets.", "Fleet"),
        "apply": _entry("deploy:apply_app", "Make the fleet equal to a file.", "Fleet"),
        "import-config": _entry("import_config", "A fleet from another tool's file.", "Fleet"),
        "rollback": _entry("deploy:rollback_app", "Bring a revision back.", "Fleet"),
        "eval-router": _entry("eval_router", "Measure routing on labelled outcomes.", "Know"),
        "optimize": _entry("optimize", "Past requests under other settings.", "Know"),
        "report": _entry("report", "A month in one page: spent, saved, tried, next.", "Money"),
        "recommend": _entry("recommend", "What to change, what it saves, how sure.", "Know"),
        "deploy": _entry(
            "deploy:deploy_app", "Deploys on a share of traffic, or watched.", "Fleet"
        ),
        "cache": _entry("roles:cache_app", "Remembered answers of roles that opted in.", "Fleet"),
        "sync": _entry("sync", "One fleet, one bill, several machines, by git.", "Fleet"),
        "db": _entry("db", "The store: back up, restore, check, shrink.", "Fleet"),
        "config": _entry("config", "Settings of this user and project.", "Fleet"),
        "history": _entry(
            "history:history_app", "Every change of the fleet, as numbered revisions.", "Fleet"
        ),
        "audit": _entry("history:audit_app", "Who changed what, when, from what to what.", "Fleet"),
        "completion": _entry("completion", "Shell completion for bash, zsh, fish.", "Fleet"),
        "serve": _entry(
            "serve", "The gateway: one base URL for OpenAI, Anthropic, Ollama clients.", "Serve"
        ),
        "launch": _entry(
            "launch", "Start a coding agent on the fleet; capped, accounted.", "Serve"
        ),
        "help": _entry("help", "Help on a command, or on a word.", "Start"),
        "version": _entry("help:version_app", "Print the version.", "Start", hidden=True),
        "__complete": Entry(f"{_COMMANDS}completion:words_app", "", "", hidden=True),
    }

    together = (
        (("demo", "simulator"), "omni at work on simulated providers; no key needed."),
        (("help", "completion"), "Help on a command, or on a word; for the Tab key."),
        (("why", "rate"), "A request's receipt; how good its answer was."),
        (("daily", "weekly", "monthly"), "Tokens and cost by these."),
        (("blocks", "statusline"), "Blocks of five hours; a line for a prompt."),
        (("costs", "savings", "report"), "Projection; what was saved; a month's page."),
        (("import", "import-config"), "Usage, or a fleet, from other tools."),
        (("reconcile", "reprice"), "Compare an invoice; correct past costs."),
        (("health", "watch"), "How providers and models are doing; keep checking."),
        (("compare", "suite"), "Ask several models the same; score what they say."),
        (("ab", "shadow", "deploy"), "A challenger, or a new fleet, tried first."),
        (("optimize", "eval-router"), "Past requests under other settings; measured."),
        (("roles", "rules", "chains"), "Who does which job, and who stands in."),
        (("fleet", "diff", "apply", "rollback"), "The fleet as one document, and back."),
        (("history", "audit"), "Every change of the fleet, and by whom."),
    )

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command; one for a gateway's fleet has run there already."""
        if args and args[0] in self.table and not ctx.resilient_parsing:  # else for the Tab key
            from omni_cli.domain.commands import spelled

            args = spelled(args)
        remote = ctx.params.get("remote")
        if remote or (remote is None and "OMNI_REMOTE" in os.environ):
            from omni_cli.cli import remote as far
            from omni_cli.domain.commands import named

            if url := far.wanted(remote, args):
                FAR.set(True)
                if args[:1] == ["dash"]:
                    _of_everybody(ctx.params.get("org"))
                    raise typer.Exit(far.screens(url, args[1:]))
                if not named(args):
                    return self._only_here(ctx, args, url)
                org = ctx.params.get("org")
                org = os.environ.get("OMNI_ORG", "") if org is None else org
                raise typer.Exit(far.run(url, args, org))
        return super().resolve_command(ctx, args)

    def _only_here(self, ctx: Any, args: list[str], url: str) -> Any:
        """A command that does not exist, which says so itself; a group's help; else refuses."""
        from omni_cli.cli import remote as far

        name, command, rest = super().resolve_command(ctx, args)
        within = getattr(command, "commands", {})
        known = rest and (rest[0] in within or rest[0].startswith("-"))
        if within and not known and not command.invoke_without_command:
            return name, command, rest
        raise far.refused(url, f"{name} {rest[0]}" if rest and rest[0] in within else name)


app = typer.Typer(
    cls=Root,
    help="Fleet management for AI models: see, route, budget, survive, account.",
    rich_markup_mode=None,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


@app.callback(invoke_without_command=True)
def root(
    ctx: typer.Context,
    version: Annotated[bool, typer.Option("--version", "-V", help="Print the version.")] = False,
    org: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Work as this organisation (OMNI_ORG)."),
    ] = None,
    remote: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Work on a gateway's fleet (OMNI_REMOTE)."),
    ] = None,
) -> None:
    if version:
        from omni_cli import __version__

        sys.stdout.write(f"omni {__version__}\n")
        raise typer.Exit
    org = os.environ.get("OMNI_ORG", "") if org is None else org
    ORG.set(org)
    if org and ctx.invoked_subcommand is not None:
        _check_org(org, ctx.invoked_subcommand)
    if ctx.invoked_subcommand is not None:
        return
    if url := os.environ.get("OMNI_REMOTE", "") if remote is None else remote:
        from omni_cli.cli import remote as far

        _of_everybody(org)
        if sys.stdin.isatty() and sys.stdout.isatty():
            raise typer.Exit(far.screens(url, []))
        sys.stdout.write(ctx.get_help() + "\n")
        return
    if sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("TERM") != "dumb":
        from omni_cli.cli.commands.dash import run

        run()
    else:
        sys.stdout.write(ctx.get_help() + "\n")


def _of_everybody(org: str | None) -> None:
    """Raises UsageError: the screens show the whole fleet, and an organisation is named."""
    from omni_cli.domain.errors import UsageError

    if os.environ.get("OMNI_ORG", "") if org is None else org:
        raise UsageError(
            "the screens are of the whole fleet: they do not work for an organisation alone",
            hint="leave --org and OMNI_ORG away",
        )


def _check_org(org: str, command: str) -> None:
    """Raises UsageError: the command is not one of an organisation's."""
    from omni_cli.domain.commands import ORGANISATION
    from omni_cli.domain.errors import UsageError
    from omni_cli.services.fleet.organisation import check_org

    check_org(org)
    known = {name.partition(" ")[0] for name in ORGANISATION}
    if command not in known:
        raise UsageError(
            f"omni {command} is of the whole fleet: it does not work for {org} alone",
            hint=f"leave --org and OMNI_ORG away; for {org} work {', '.join(sorted(known))}",
        )


#: How Python says what a file's trouble is; its number and the name again tell nothing more.
_ERRNO = r"\[Errno \d+\] ([^:\n]+)(?:: '[^']*')?"
_NUMBER = r"is not a valid (?:int|float)(?: range)?\."
#: Failures that a wrong word may be the cause of.
_OF_WORDS = (1, 2, 3)


def main() -> NoReturn:
    """Run one command and leave with its exit code (cli/exits.py)."""
    from omni_cli.domain.errors import OmniError

    _open_closed()
    _tolerate()
    _settle_on_sigterm()
    try:
        code = typer.main.get_command(app)(prog_name="omni", standalone_mode=False) or 0
    except OmniError as exc:
        from omni_cli.cli.exits import exit_code

        code = exit_code(exc)
        hint = _nearer(exc.message, exc.hint) if code in _OF_WORDS else exc.hint
        _report(exc.code, exc.message, hint, getattr(exc, "pointer", lambda: "")())
    except KeyboardInterrupt:
        code = 130
        sys.stderr.write("\nterminated\n" if _Terminated.told else "\ninterrupted\n")
    except BrokenPipeError:
        # The reader (head, less) has what it wanted. Python would complain at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except OSError as exc:
        code = _crash(exc) if exc.filename or exc.errno not in _UNWRITABLE else _unwritable(exc)
    except Exception as exc:  # noqa: BLE001  # the last resort: told without secrets
        code = _usage_error(exc)
        if code is None:
            code = _crash(exc)
    _leave(code)


class _Terminated(KeyboardInterrupt):
    """SIGTERM: what is under way is settled as after Ctrl-C."""

    told = False


def _settle_on_sigterm() -> None:
    """Commands that serve or watch have handlers of their own, which take this one's place."""

    def stop(*_: object) -> None:
        _Terminated.told = True  # the frameworks on the way turn the exception into others
        interrupt = signal.getsignal(signal.SIGINT)
        if not callable(interrupt) or interrupt is signal.default_int_handler:
            raise _Terminated
        interrupt(signal.SIGINT, None)  # an event loop runs: it cancels its task, then raises

    with suppress(ValueError):  # not the main thread: somebody else's process
        signal.signal(signal.SIGTERM, stop)


def _unwritable(exc: OSError) -> int:
    """Standard output is full or gone: said once, and not again at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    _report("output", f"cannot write the output: {exc.strerror}", "make room where it goes")
    return 1


def _open_closed() -> None:
    """Descriptors that the caller closed (``<&-``) read and write nothing, instead of crashing."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115  # it stays open


def _tolerate() -> None:
    """Where the locale cannot write a character (Latin-1, ASCII), "?" stands for it."""
    for stream in (sys.stdout, sys.stderr):
        if not isinstance(stream, TextIOWrapper):
            continue
        # In the C locale Python lets odd bytes of its own input through, and fails on the rest.
        narrow = stream.errors == "surrogateescape" and "utf" not in stream.encoding.lower()
        if stream.errors == "strict" or narrow:
            stream.reconfigure(errors="replace")


def _crash(exc: Exception) -> int:
    """A fault of omni's own: where it happened, without anything that looks like a secret."""
    import traceback

    from omni_cli.domain.secrets import scrub

    known = [
        value
        for value in os.environ.values()
        if len(value) >= _SECRET_CHARS and not Path(value).exists()  # HOME, PWD: no secrets
    ]
    sys.stderr.write(scrub("".join(traceback.format_exception(exc)), known))
    _report(
        "internal",
        f"unexpected {type(exc).__name__}: a fault of omni's own",
        "the lines on stderr say where; they belong into a bug report",
    )
    return 1


def _nearer(message: str, hint: str) -> str:
    """The hint, with what a wrong word of the command line may have meant."""
    if FAR.get() or "did you mean" in f"{message} {hint}".casefold():
        return hint
    from omni_cli.cli.commands.completion import meant_at
    from omni_cli.domain.commands import spelled

    return f"{meant_at(spelled(sys.argv[1:]), message)} {hint}".strip()


def _usage_error(exc: Exception) -> int | None:
    """Click's own errors: wrong options, missing arguments, an abort. None for any other."""
    show = getattr(exc, "format_message", None)
    if show is None:
        if type(exc).__name__ == "Abort":
            sys.stderr.write("aborted\n")
            return 130
        return None
    context = getattr(exc, "ctx", None)
    path = context.command_path if context is not None else "omni"
    hint = f"{path} --help shows how it is used"
    if type(exc).__name__ == "NoSuchOption" and context is not None:
        option = getattr(exc, "option_name", "")
        if option in ("--remote", "--org"):
            hint = f"it goes before the command: omni {option} VALUE {path.partition(' ')[2]}"
        elif any(item.name in ("prompt", "prompts") for item in context.command.params):
            hint = f'a question that begins with a dash goes after --: {path} -- "-5 plus 3?"'
    import re

    said = re.sub(_NUMBER, "is no number.", show())
    said = re.sub(r" \(Possible options?: ([^)]*)\)", r". Did you mean \1?", said)
    _report("usage", said, _nearer(said, hint))
    return 2


def _report(code: str, message: str, hint: str, pointer: str = "") -> None:
    """One line, then what to do; as JSON on stdout where JSON was asked for."""
    import re

    from omni_cli.domain.secrets import scrub

    message = re.sub(_ERRNO, r"\1", message)
    # A key that was typed in the wrong place must not come back into a log.
    message, hint, pointer = scrub(message), scrub(hint), scrub(pointer)
    if "--json" in sys.argv:
        import json

        error = {"code": code, "message": message, "hint": hint}
        sys.stdout.write(json.dumps({"error": error}, ensure_ascii=False) + "\n")
        return
    from omni_cli.cli.render import paint

    sys.stderr.write(f"{paint('error:', 'red', sys.stderr)} {message}\n")
    if pointer:
        sys.stderr.write(f"{pointer}\n")
    if hint:
        sys.stderr.write(f"{paint('hint:', 'cyan', sys.stderr)} {hint}\n")


def _leave(code: int) -> NoReturn:
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as exc:
        code = code or _unwritable(exc)
    sys.exit(143 if code == 130 and _Terminated.told else code)
