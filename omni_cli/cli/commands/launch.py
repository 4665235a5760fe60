"""``omni launch``: a coding agent on the fleet, capped and accounted as one session."""

import os
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from msgspec import Struct

from omni_cli import system
from omni_cli.bootstrap import App
from omni_cli.cli.common import JsonFlag, complete_selectors, money, omni
from omni_cli.cli.render import emit_json, note, out
from omni_cli.cli.tables import Column, View, listing
from omni_cli.domain.agents import (
    AGENTS,
    ANTHROPIC,
    OPENAI,
    Agent,
    Home,
    Mirror,
    filled,
    small_model,
)
from omni_cli.domain.budgets import LAUNCHED, Budget
from omni_cli.domain.errors import ConfigError, UsageError
from omni_cli.domain.money import format_usd, usd_to_nusd
from omni_cli.domain.periods import local_date
from omni_cli.domain.record import replace
from omni_cli.domain.sessions import Session, SessionRow, project_name, remote_name
from omni_cli.domain.words import counted, meant
from omni_cli.services.fleet.client_keys import session_key

app = typer.Typer(rich_markup_mode=None)

#: How long the last calls may take to be in the ledger once the agent has ended, seconds.
_SETTLE_S = 5.0
_RECENT = 1_000
#: Exit codes of shells: a command that is not there, and what is added to a signal's number.
_NOT_THERE, _SIGNALLED = 127, 128


class Setting(Struct, frozen=True):
    """What an agent is started with, its fields not filled in yet (domain/agents.py)."""

    agent: Agent
    args: tuple[str, ...]
    model: str
    #: The agent's own login goes to its vendor; nothing is billed by the call.
    own: bool = False

    def words(self, url: str, key: str, folder: str) -> dict[str, str]:
        model = self.agent.auto if self.model == "auto" else self.model
        return {
            "url": url,
            "key": key,
            "folder": folder,
            "model": model,
            "small": small_model(model),
        }

    def command(self, words: Mapping[str, str]) -> list[str]:
        return [self.agent.program, *filled(self.agent.args, words), *self.args]


def _complete(incomplete: str) -> list[str]:
    return [name for name in AGENTS if name.startswith(incomplete)]


@app.command()
def launch(
    agent: Annotated[
        str | None,
        typer.Argument(
            help=f"{', '.join(AGENTS)}, or with --env-openai or --env-anthropic any command.",
            autocompletion=_complete,
        ),
    ] = None,
    args: Annotated[list[str] | None, typer.Argument(help="What the agent gets, after --.")] = None,
    model: Annotated[
        str,
        typer.Option(
            "-m", "--model", help="As chat -m takes it.", autocompletion=complete_selectors
        ),
    ] = "auto",
    budget: Annotated[str | None, typer.Option(help="US dollars this session may spend.")] = None,
    env_openai: Annotated[
        bool, typer.Option("--env-openai", help="Set the variables of OpenAI's packages.")
    ] = False,
    env_anthropic: Annotated[
        bool, typer.Option("--env-anthropic", help="Set the variables of Anthropic's packages.")
    ] = False,
    subscription: Annotated[
        bool,
        typer.Option(
            "--subscription", help="The agent's own login, passed through untouched; only counted."
        ),
    ] = False,
    write: Annotated[
        bool,
        typer.Option(
            "--write", help="Set it in the agent's own settings, for good; start nothing."
        ),
    ] = False,
    undo: Annotated[
        bool, typer.Option("--undo", help="Take out of them what --write has set.")
    ] = False,
    plan: Annotated[
        bool, typer.Option("--plan", "--dry-run", help="Show what would be set; start nothing.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Start a coding agent on the fleet; alone: which agents are on this machine.

    Its calls go through a gateway of omni's that ends with the last session; its own files stay
    as they are. At its end: time, calls, tokens, cost, by model.
    """
    if agent is None:
        if env_openai or env_anthropic:
            raise UsageError("say what to run: omni launch --env-openai -- CMD")
        _list(as_json)
        return
    if as_json and not (plan or write or undo):
        raise UsageError("--json goes with --plan, --write and --undo, or with no agent at all")
    cap = money(budget, "--budget")
    limit = None if cap is None else usd_to_nusd(cap)
    chosen = _chosen(agent, env_openai=env_openai, env_anthropic=env_anthropic)
    if subscription:
        chosen = _with_own_login(chosen, model, limit)
    setting = Setting(chosen, tuple(args or ()), model, subscription)
    with omni() as omni_app:
        omni_app.names.select(model)
        if write or undo:
            if subscription or limit is not None or args or (write and undo):
                raise UsageError("--write and --undo go with an agent, --model and --plan only")
            _write_home(omni_app, setting, undo=undo, plan=plan, as_json=as_json)
            return
        if plan:
            _show_plan(setting, limit, as_json=as_json)
            return
        if shutil.which(chosen.program) is None:
            raise ConfigError(
                f"{chosen.title} is not on this machine: there is no {chosen.program}",
                hint=chosen.get or "check its name and PATH",
            )
        code = _run(omni_app, setting, limit)
    raise typer.Exit(code)


def _chosen(name: str, *, env_openai: bool, env_anthropic: bool) -> Agent:
    """The agent of that name, or a command with the variables asked for. Raises UsageError."""
    if env_openai or env_anthropic:
        env = {**(OPENAI if env_openai else {}), **(ANTHROPIC if env_anthropic else {})}
        unset = ("ANTHROPIC_AUTH_TOKEN",) if env_anthropic else ()
        return Agent(name, name, project_name(name), "", env, unset=unset)
    if name not in AGENTS:
        near = meant(name, AGENTS, most=1)
        raise UsageError(
            f"omni knows no agent {name!r}",
            hint=f"{near}{near and ' '}it knows {', '.join(AGENTS)}; any other: "
            f"omni launch --env-openai (or --env-anthropic) -- {name}",
        )
    return AGENTS[name]


def _with_own_login(agent: Agent, model: str, limit: int | None) -> Agent:
    """The agent as it is with its own login. Raises UsageError: it has none, or an option that
    is for the fleet."""
    if agent.own is None:
        able = ", ".join(name for name, one in AGENTS.items() if one.own is not None)
        raise UsageError(
            f"{agent.title} has no subscription that can be passed through",
            hint=f"--subscription is for {able}",
        )
    if model != "auto" or limit is not None:
        raise UsageError(
            "--subscription takes neither --model nor --budget: the agent's own vendor answers, "
            "and nothing is billed by the call",
            hint="without --subscription the fleet answers, and can be capped",
        )
    own = agent.own
    return replace(agent, env=own.env, unset=own.unset, args=own.args, files={})


def _list(as_json: bool) -> None:
    found = [(name, agent, shutil.which(agent.program)) for name, agent in AGENTS.items()]
    listing(
        View(as_json=as_json),
        (Column.key("agent"), Column.words("name", 3), Column.words("where, or how to get it", 1)),
        [(name, agent.title, where or f"not here: {agent.get}") for name, agent, where in found],
        lambda: [
            {"agent": name, "title": agent.title, "path": where, "get": agent.get}
            for name, agent, where in found
        ],
    )


def _show_plan(setting: Setting, limit: int | None, *, as_json: bool) -> None:
    words = setting.words("http://127.0.0.1:PORT", "omni-…", "FOLDER")
    agent = setting.agent
    document = {
        "agent": agent.known_as,
        "installed": shutil.which(agent.program) is not None,
        "command": setting.command(words),
        "set": filled(agent.env, words),
        "unset": list(agent.unset),
        "files": {f"FOLDER/{name}": filled(made, words) for name, made in _files(agent).items()},
        "model": None if setting.own else words["model"],
        "subscription": setting.own,
        "budget_usd": None if limit is None else format_usd(limit).removeprefix("$"),
        "project": _session(agent, "").project,
    }
    if as_json:
        emit_json(document)
        return
    import json
    import shlex

    out(f"run    {shlex.join(setting.command(words))}")
    for name, value in filled(agent.env, words).items():
        out(f"set    {name}={value}")
    for name in agent.unset:
        out(f"unset  {name}")
    for name, made in filled(_files(agent), words).items():
        out(f"write  FOLDER/{name}: {json.dumps(made)}")
    note("PORT: a free one of this machine; FOLDER: temporary; the key lasts for the session")
    if limit is not None:
        note(f"the session is stopped at {format_usd(limit)}")
    if not document["installed"]:
        note(f"{agent.program} is not on this machine" + (f": {agent.get}" if agent.get else ""))


def _files(agent: Agent) -> Mapping[str, Any]:
    """All that is written below the session's folder."""
    mirror = agent.mirror
    laid = {} if mirror is None else {f"{mirror.at}/{n}": made for n, made in mirror.files.items()}
    return {**agent.files, **laid}


def _write_home(omni_app: App, setting: Setting, *, undo: bool, plan: bool, as_json: bool) -> None:
    """Set omni's gateway in the agent's own settings, or take it out of them.

    Raises UsageError: omni cannot write this agent's; NotFound, ConfigError.
    """
    from omni_cli.keys.addresses import SERVE_PORT
    from omni_cli.services.fleet.agent_settings import (
        kept_at,
        settings_text,
        undo_settings,
        write_settings,
    )

    agent = setting.agent
    if agent.home is None:
        able = ", ".join(name for name, one in AGENTS.items() if one.home is not None)
        raise UsageError(
            f"omni does not write the settings of {agent.title}",
            hint=f"--write is for {able}; --plan shows what to set by hand",
        )
    env = omni_app.env
    folder = agent.home.path(env, Path(env.get("HOME") or Path.home()))
    files = [folder / name for name in agent.home.files]
    name, url = f"agent:{agent.known_as}", f"http://127.0.0.1:{SERVE_PORT}"
    key, token = session_key(name, Session(name, agent.known_as), omni_app.now_ms())
    made = filled(agent.home.files, setting.words(url, token, ""))
    if undo and not plan:
        undo_settings(folder, made)
        omni_app.client_keys.remove(name)
    elif not plan:
        write_settings(folder, made)
        with omni_app.store.transaction():
            omni_app.client_keys.remove(name)
            omni_app.client_keys.add(key, token)
    shown = filled(agent.home.files, setting.words(url, "omni-…", ""))
    if as_json:
        emit_json(
            {
                "agent": agent.known_as,
                "file": str(files[0]),
                "kept": str(kept_at(files[0])),
                "settings": shown[files[0].name],
                "files": {str(file): shown[file.name] for file in files},
                "gateway": url,
                "key": name,
                "applied": not plan,
                "undone": undo,
            }
        )
    elif undo:
        note(f"{'would take' if plan else 'took'} omni out of {', '.join(map(str, files))}")
    elif plan:
        for file in files:
            out(f"lay into {file}")
            out(settings_text(file, shown[file.name]).rstrip())
    else:
        for file in files:
            note(f"{agent.title} asks {url} from now on: {file}, as it was in {kept_at(file).name}")
        note(f"omni serve answers there; its calls are the key's, {name}")
        note(f"omni launch {setting.agent.program} --undo takes it out again")


def _run(omni_app: App, setting: Setting, limit: int | None) -> int:
    """The agent from its start to its end. Returns its exit code."""
    from omni_cli.gateway.launched import Launches

    launches = Launches(omni_app)
    agent = setting.agent
    known = "".join(c for c in agent.known_as if c.isalnum() or c in "._-")[:32]
    name = f"{LAUNCHED}{known}-{secrets.token_hex(4)}"
    started_ms, started = omni_app.now_ms(), time.monotonic()
    stop = _Stopper()
    try:
        with launches.alone():
            launches.sweep()
            folder = launches.begin(name)
            token = _admit(omni_app, _session(agent, name), limit, started_ms)
            port = launches.running() or launches.start()
        launches.wait(port, token)
        words = setting.words(f"http://127.0.0.1:{port}", token, str(folder))
        _write(folder, filled(agent.files, words))
        if agent.mirror is not None and agent.home is not None:
            _mirror(agent.home, agent.mirror, folder, words)
        code = stop.run(setting.command(words), _environment(agent, words))
        lasted_s = time.monotonic() - started
        if setting.own:
            _own_summary(omni_app, agent, name, started_ms, lasted_s)
        else:
            _summary(omni_app, agent, name, started_ms, lasted_s, limit)
    finally:
        launches.end(name)
    return code


def _session(agent: Agent, name: str) -> Session:
    """Where the user is: the folder's name, and its repository's remote and branch."""
    here = Path.cwd()
    return Session(
        name,
        agent.known_as,
        project_name(str(here)),
        remote_name(_git("remote", "get-url", "origin")),
        _git("branch", "--show-current"),
    )


def _git(*args: str) -> str:
    program = shutil.which("git")
    if program is None:
        return ""
    told = subprocess.run([program, *args], capture_output=True, text=True, check=False)  # noqa: S603  # fixed words
    return told.stdout.strip() if told.returncode == 0 else ""


def _admit(omni_app: App, session: Session, limit: int | None, now_ms: int) -> str:
    """Make the session's key, which is returned, and its budget. A month from today on is the
    longest period."""
    key, token = session_key(session.id, session, now_ms)
    day = local_date(now_ms, omni_app.zone).day
    with omni_app.store.transaction():
        omni_app.client_keys.add(key, token)
        omni_app.sessions.note([SessionRow(session, now_ms, now_ms)])
        if limit is not None:
            omni_app.budgets.put(
                Budget(0, "key", session.id, "month", limit, zone=omni_app.zone, month_day=day)
            )
    return token


def _write(folder: Path, files: Mapping[str, Any]) -> None:
    import json

    for name, made in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps(made), "utf-8")


def _mirror(home: Home, mirror: Mirror, folder: Path, words: Mapping[str, str]) -> None:
    from omni_cli.services.fleet.agent_settings import mirror_settings

    theirs = home.path(os.environ, Path.home())
    for odd in mirror_settings(theirs, folder / mirror.at, filled(mirror.files, words)):
        note(f"{odd} is no plain JSON: the agent does without it in this session")


def _environment(agent: Agent, words: Mapping[str, str]) -> dict[str, str]:
    env = {name: value for name, value in os.environ.items() if name not in agent.unset}
    for name in ("NO_PROXY", "no_proxy"):  # a proxy does not reach this machine
        env[name] = ",".join(filter(None, (env.get(name), "127.0.0.1,localhost")))
    return {**env, **filled(agent.env, words)}


class _Stopper:
    """Runs a command in the foreground: what would end omni is the command's to decide.

    At a terminal Ctrl-C reaches both already; elsewhere it is passed on, as SIGTERM and SIGHUP
    always are.
    """

    def __init__(self) -> None:
        self._child: subprocess.Popen[bytes] | None = None
        self._early: int | None = None

    def run(self, command: Sequence[str], env: Mapping[str, str]) -> int:
        before = {number: signal.signal(number, self._told) for number in system.PASSED}
        try:
            try:
                self._child = subprocess.Popen(command, env=env)  # noqa: S603  # what the user asked to run
            except OSError as exc:
                note(f"error: cannot run {command[0]}: {exc.strerror}")
                return _NOT_THERE
            if self._early is not None:
                self._child.send_signal(self._early)
            code = self._child.wait()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        return code if code >= 0 else _SIGNALLED - code

    def _told(self, number: int, _frame: object) -> None:
        if number in system.KEYED and system.at_terminal():
            return
        if self._child is None:
            self._early = number
        else:
            self._child.send_signal(number)


def _summary(
    omni_app: App, agent: Agent, name: str, started_ms: int, lasted_s: float, limit: int | None
) -> None:
    from omni_cli.services.money.usage import UsageQuery

    _settle(omni_app, name, started_ms)
    query = omni_app.usage.whole(
        UsageQuery(by="model", filters={"key": name}),
        local_date(started_ms, omni_app.zone).isoformat(),
        None,
    )
    report = omni_app.usage.report(query)
    saved = omni_app.savings.saved(query).saving_nusd
    total = report.total.totals
    minutes, seconds = divmod(round(lasted_s), 60)
    cost = format_usd(total.known_nusd) + ("" if limit is None else f" of {format_usd(limit)}")
    parts = [
        f"{minutes}m {seconds:02}s",
        counted(total.calls, "call"),
        counted(total.total_tokens, "token"),
        cost,
    ]
    if saved is not None:
        parts.append(f"{format_usd(saved)} saved")
    refused = omni_app.ledger.recent(limit=_RECENT, state="refused", since_ms=started_ms)
    if stopped := sum(row.key == name for row in refused):
        parts.append(f"{stopped:,} refused")
    if total.unknown_attempts:
        parts.append(f"{counted(total.unknown_attempts, 'call')} of unknown price")
    note(f"{agent.title} in {project_name(str(Path.cwd()))}: {', '.join(parts)}")
    for row in report.rows:
        used = row.totals
        note(
            f"  {row.name or '(no model)'}: {counted(used.calls, 'call')}, "
            f"{counted(used.total_tokens, 'token')}, {format_usd(used.known_nusd)}"
        )


def _own_summary(omni_app: App, agent: Agent, name: str, started_ms: int, lasted_s: float) -> None:
    """What the agent used of its own subscription, and what that is worth at list prices."""
    used = omni_app.agent_sessions.used(name, since_ms=started_ms)
    minutes, seconds = divmod(round(lasted_s), 60)
    calls, tokens = sum(u.calls for u in used), sum(u.total_tokens for u in used)
    worth = [u.list_nusd for u in used if u.list_nusd is not None]
    said = f", worth {format_usd(sum(worth))} at list prices" if worth else ""
    note(
        f"{agent.title} in {project_name(str(Path.cwd()))}: {minutes}m {seconds:02}s, "
        f"{counted(calls, 'call')}, {counted(tokens, 'token')}, $0.00 billed by the call{said}"
    )
    for one in used:
        price = "unknown" if one.list_nusd is None else format_usd(one.list_nusd)
        note(
            f"  {one.model or '(no model)'}: {counted(one.calls, 'call')}, "
            f"{counted(one.total_tokens, 'token')}, list price {price}"
        )


def _settle(omni_app: App, name: str, started_ms: int) -> None:
    """Wait for the session's last calls to be in the ledger."""
    end = time.monotonic() + _SETTLE_S
    while time.monotonic() < end:
        pending = omni_app.ledger.recent(limit=_RECENT, state="pending", since_ms=started_ms)
        if not any(row.key == name for row in pending):
            return
        time.sleep(0.05)
