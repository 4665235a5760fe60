"""Commands of the command line that work for one organisation, and on a gateway's fleet from afar.

A name is a command and its subcommand, as typed. What is in neither table works on this machine's
own fleet only.
"""

from collections.abc import Mapping, Sequence

from omni_cli.domain.errors import UsageError

#: By the scope that a gateway's key needs (``records.py:SCOPES``).
REMOTE: Mapping[str, str] = {
    name: scope
    for scope, names in {
        "read": """
            models list, models show, models compare, providers list, providers show, roles list,
            roles show, rules list, chains list, chains show, budgets list, budgets status,
            budgets held, keys list, usage, costs, savings, report, health, why, logs, recommend,
            recommend show, daily, weekly, monthly, blocks, batches list, batches show,
            history, audit, doctor, ab status, shadow status,
            cache stats, deploy status, db stats, session, templates list, templates show, route,
            calc, rules test
            """,
        "operate": """
            providers test, roles switch, models activate, models standby, models disable, rate,
            recommend apply, recommend dismiss, recommend undo, ab start, ab promote, ab stop,
            shadow start, shadow run, shadow stop, session stop, session resume
            """,
        "admin": """
            providers add, providers edit, providers remove, providers enable, providers disable,
            providers key, keys create, keys revoke, keys set, keys delete, models add, models edit,
            models remove, models alias, models price, roles assign, roles unassign, roles remove,
            roles cache, rules add, rules edit, rules remove, rules enable, rules disable,
            chains add, chains edit, chains move, chains edit-link, chains remove,
            chains remove-link, chains rename, budgets add, budgets raise, budgets remove,
            budgets enable, budgets disable, discover, optimize, rollback,
            deploy promote, deploy abort, cache clear, providers models, budgets release,
            batches release, db check
            """,
    }.items()
    for name in (" ".join(part.split()) for part in names.split(","))
}
#: What a terminal far away shows while it runs at the gateway (``gateway/terminals.py``): the whole
#: screen, with a key of scope admin.
SCREENS = frozenset({"dash"})
#: Everything else is of the machine where it is typed, and why.
LOCAL: Mapping[str, str] = {
    name: why
    for why, names in {
        "it reads or writes files of the machine where it runs": """
            templates add, import, reconcile, export ledger, export usage, export metrics,
            compare, suite check, suite schema, models update, fleet export, fleet init,
            fleet schema, diff, apply, import-config, eval-router, db backup, db restore, db move,
            chat
            """,
        "it serves, or starts programs, on the machine where it runs": """
            demo, simulator, watch, serve, launch, statusline, completion, config edit
            """,
        "it is about the machine where it runs: its settings, keys and folders": """
            init, keys path, config list, config get, config set, config unset, config path,
            config schema, config check, sync, sync init, sync status, sync usage, help, version,
            __complete, templates remove, templates schema
            """,
        "it asks at the terminal, or takes longer than a gateway lets a command run": """
            shadow judge, reprice, batches sync, db rebuild, db vacuum, db prune
            """,
    }.items()
    for name in (" ".join(part.split()) for part in names.split(","))
}
#: Other words for a subcommand: those of earlier versions, and what people try first.
ALIASES: Mapping[str, Mapping[str, str]] = {
    "models": {"enable": "activate", "create": "add", "delete": "remove", "set": "edit"},
    "providers": {"create": "add", "delete": "remove", "set": "edit"},
    "roles": {"add": "assign", "create": "assign", "delete": "remove"},
    "rules": {"create": "add", "delete": "remove", "set": "edit", "show": "list"},
    "chains": {"create": "add --new", "delete": "remove"},
    "budgets": {"set": "add", "edit": "add", "create": "add", "delete": "remove", "show": "status"},
    "keys": {"add": "create"},
    "batches": {"status": "show"},
    "templates": {"create": "add", "delete": "remove", "set": "add"},
    "config": {"show": "list", "add": "set", "edit-file": "edit", "remove": "unset"},
    "ab": {"show": "status", "list": "status", "add": "start", "remove": "stop"},
    "shadow": {"show": "status", "list": "status", "add": "start", "remove": "stop"},
    "deploy": {"show": "status", "list": "status"},
    "cache": {"show": "stats", "list": "stats"},
    "db": {"show": "stats"},
}
#: What a group of commands does where none of them is named.
BARE: Mapping[str, str] = {
    **dict.fromkeys(("models", "providers", "roles", "rules", "chains", "budgets"), "list"),
    **dict.fromkeys(("keys", "batches", "config", "templates"), "list"),
    **dict.fromkeys(("ab", "shadow", "deploy"), "status"),
    **dict.fromkeys(("cache", "db"), "stats"),
    **dict.fromkeys(("export", "suite", "fleet"), "--help"),
}
#: Set for a command whose output a terminal elsewhere shows, ``COLUMNS`` wide.
AFAR = "OMNI_TERMINAL_AFAR"
#: Options that reach what is not the fleet's: keys, variables of the gateway's machine, which would
#: be sent to whatever address is named with them; calls to providers of whoever may only read.
DENIED: Mapping[str, frozenset[str]] = {
    "providers add": frozenset({"--key-env"}),
    "providers edit": frozenset({"--key-env"}),
    "doctor": frozenset({"--online"}),
    "providers key": frozenset({"--show"}),
    "recommend": frozenset({"--prove"}),
    "health": frozenset({"--check", "--probe"}),
    "blocks": frozenset({"--live"}),
    "report": frozenset({"-o", "--output"}),
    "route": frozenset({"--file", "--image"}),
    "calc": frozenset({"-f", "--file"}),
}
#: Those that read a key from standard input.
READS_STDIN = frozenset({"keys set", "providers key", "providers add"})
#: Of everybody's requests at once, or of the fleet as one document: no organisation's.
_WHOLE = ("why", "logs", "recommend", "history", "audit", "doctor", "report", "ab", "cache",
          "deploy", "db", "shadow", "rate", "discover", "optimize", "rollback",
          "daily", "weekly", "monthly", "blocks", "batches", "session", "templates")  # fmt: skip
_WHOLE_TOO = (
    "rules test",
    "budgets held",
    "budgets release",
    "roles cache",
    "roles switch",
    "models update",
)
#: For one organisation (``--org``).
ORGANISATION = frozenset(
    name for name in REMOTE if name not in _WHOLE_TOO and name.partition(" ")[0] not in _WHOLE
) | {"chat", "route", "calc"}


def spelled(args: Sequence[str]) -> list[str]:
    """The arguments with a subcommand's own name in place of another word for it, or of none."""
    said = list(args)
    if not said or said[0] not in BARE:
        return said
    group, *rest = said
    if rest and not rest[0].startswith("-"):
        rest[:1] = ALIASES.get(group, {}).get(rest[0], rest[0]).split()
    elif not {"--help", "-h"}.intersection(rest):
        rest.insert(0, BARE[group])
    return [group, *rest]


def named(args: Sequence[str], known: Mapping[str, str] | frozenset[str] = REMOTE) -> str:
    """The name of the command that these arguments are; "" where ``known`` has none of them.

    A command that also has subcommands (``recommend``) is itself only where none of them follows.
    """
    args = spelled(args)
    if not args or args[0].startswith("-"):
        return ""
    if len(args) > 1 and (name := f"{args[0]} {args[1]}") in known:
        return name
    subcommands = {name.partition(" ")[2] for name in REMOTE if name.startswith(f"{args[0]} ")}
    if args[0] not in known or subcommands.intersection(args[1:]):
        return ""
    return args[0]


def check_here(env: Mapping[str, str], what: str) -> None:
    """Raises UsageError: the screens are shown far away, and this reaches what is not the
    fleet's: files, variables and programs of the gateway's machine."""
    if AFAR in env:
        raise UsageError(
            f"{what} does not work from afar", hint="it does on the gateway's own machine"
        )
