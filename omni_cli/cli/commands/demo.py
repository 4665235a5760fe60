"""``omni demo``: the main job on a simulated fleet, with no key and no network."""

import itertools
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer

from omni_cli.bootstrap import App
from omni_cli.cli.commands.chat import ask, summary
from omni_cli.cli.common import JsonFlag
from omni_cli.cli.prompts import chat_request
from omni_cli.cli.render import emit_json, note, out, paint
from omni_cli.cli.tables import Column, table
from omni_cli.domain.chat import TextPart
from omni_cli.domain.errors import OmniError, UsageError
from omni_cli.domain.ids import id_text
from omni_cli.domain.money import format_usd
from omni_cli.domain.record import replace
from omni_cli.domain.words import tokens
from omni_cli.services.engine.answer import result_document
from omni_cli.services.engine.chat import ChatRun
from omni_cli.services.engine.chat_plan import ChatJob
from omni_cli.services.engine.routing import RouteOptions
from omni_cli.services.money.receipt import receipt_document

app = typer.Typer(rich_markup_mode=None)

#: A demo that nobody ends: its longest life, and how often it looks whether it has been left.
_LONGEST_S, _LOOK_S = 12 * 3600.0, 1.0
#: Between two questions of a fleet that is watched, seconds.
_PAUSE_S = 3.0
_ASKS: tuple[tuple[str, str, str], ...] = (
    ("heartbeat", "Is the build server up? Answer yes or no.", "a cheap role"),
    (
        "auto",
        (
            "My Python function raises KeyError: 'user_id' when the session has expired. "
            "Find the bug and fix it:\n\n```python\ndef current(session):\n"
            "    return load(session['user_id'])\n```"
        ),
        "a rule decides",
    ),
    ("auto", "Summarise in one sentence why teams keep more than one model.", "the score decides"),
    (
        "chain:Production Chain",
        "Draft a two-line status update about tonight's deployment.",
        "its first provider is down: watch the failover",
    ),
)


@app.command()
def demo(
    keep: Annotated[Path | None, typer.Option(help="Keep the demo's home in this folder.")] = None,
    serve: Annotated[
        bool, typer.Option("--serve", help="Stay up to be played with, until Ctrl-C.")
    ] = False,
    env: Annotated[
        bool,
        typer.Option("--env", help="With --serve: in the background; print what a shell takes."),
    ] = False,
    seed: Annotated[int, typer.Option(help="Other seeds give other answers.")] = 0,
    as_json: JsonFlag = False,
) -> None:
    """See omni at work on a simulated fleet; no key and no network needed."""
    from omni_cli.simulator.server import Simulator

    if env and not serve:
        raise UsageError("--env goes with --serve", hint='eval "$(omni demo --serve --env)"')
    if env:
        _print_env(_in_background(keep, seed))
        return
    with tempfile.TemporaryDirectory(prefix="omni-demo-") as scratch:
        home = (keep or Path(scratch)).resolve()
        quiet = as_json or serve
        with Simulator(seed=seed, latency=0.15) as simulator, open_home(home, quiet) as omni_app:
            if serve:
                _stay(omni_app, simulator, home, as_json=as_json)
                return
            runs = _play(omni_app, simulator, show=not as_json)
            if as_json:
                emit_json(
                    {
                        "simulated": True,
                        "fleet": [m.id for m in omni_app.routing.active_models()],
                        "requests": [result_document(run) for run in runs],
                        "receipt": receipt_document(omni_app.receipts.read(id_text(runs[-1].id))),
                    }
                )
                return
            _totals(runs)
    if keep is not None:
        name = _name()
        note(f"the demo's store is in {keep}: OMNI_HOME={shlex.quote(str(home))} {name} logs")
        note(
            f"its providers have gone; {name} demo --serve --keep {shlex.quote(str(keep))} has them"
        )


def _stay(omni_app: App, simulator: Any, home: Path, *, as_json: bool) -> None:
    """Serve the demo's fleet until Ctrl-C, SIGTERM, or whoever it was for has gone."""
    from omni_cli.simulator import fleet as scene

    if omni_app.providers.all():  # a home that was kept: its fleet stays, at today's port
        for provider in scene.providers(simulator.url):
            omni_app.fleet.put_provider(replace(provider, auth_method="none", key_env=None))
    else:
        _build(omni_app, simulator)
        for target, prompt, _ in _ASKS:
            _ask(omni_app, target, prompt, show=False)
    if as_json:
        emit_json({"home": str(home), "url": simulator.url, "pid": os.getpid()}, compact=True)
    else:
        name = _name()
        out(f"{paint('SIMULATED', 'yellow')} providers answer at {simulator.url}, until Ctrl-C")
        out()
        out("In another terminal:")
        out(f"  export OMNI_HOME={shlex.quote(str(home))}")
        for line in ('chat "why is the sky blue?"', "why", "usage", "costs", ""):
            out(f"  {name} {line}".rstrip())
    sys.stdout.flush()
    attended = _terminal()
    end = time.monotonic() + _LONGEST_S
    try:
        while time.monotonic() < end and home.is_dir() and _terminal() == attended:
            time.sleep(_LOOK_S)
    except KeyboardInterrupt:
        note("")


def _terminal() -> bool:
    """Whether this process has one; it is gone once its shell is."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True


def _in_background(keep: Path | None, seed: int) -> dict[str, Any]:
    """Start ``omni demo --serve`` beside the shell; returns what it says of itself.

    Raises OmniError: it did not start.
    """
    where = [] if keep is None else ["--keep", str(keep)]
    child = subprocess.Popen(  # noqa: S603  # omni itself
        [
            sys.executable,
            "-m",
            "omni_cli",
            "demo",
            "--serve",
            "--json",
            "--seed",
            str(seed),
            *where,
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        process_group=0,  # Ctrl-C in the shell is not for it
    )
    assert child.stdout is not None
    with child.stdout:
        line = child.stdout.readline()
    child.returncode = 0  # it lives on, and nobody waits for it
    if not line:
        raise OmniError("the demo did not start", hint="omni demo --serve says why")
    said: dict[str, Any] = json.loads(line)
    return said


def _print_env(said: dict[str, Any]) -> None:
    out(f"export OMNI_HOME={shlex.quote(said['home'])}")
    out(f"export OMNI_DEMO_PID={said['pid']}")
    note(f"a demo fleet answers {_name()} in this shell; kill $OMNI_DEMO_PID ends it")


def _name() -> str:
    """What starts omni from here: ``make demo`` leaves it in a folder that is not on PATH."""
    return "omni" if shutil.which("omni") else sys.argv[0]


def open_home(home: Path, quiet: bool) -> App:
    def tell(line: str) -> None:
        if not quiet:
            out(paint(f"  · {line}", "yellow"))

    omni_app = App({"OMNI_HOME": str(home), "USER": "demo"}, note=tell)
    from omni_cli.config import set_value
    from omni_cli.services.fleet.demo import DEMO

    set_value(omni_app.paths, "general.premium_model", DEMO.premium)
    return omni_app


def play_on(home: Path, simulator: Any, stop: threading.Event) -> None:
    """Set the demo's fleet up in ``home`` and put questions to it until ``stop``: some at first,
    so that there is something to see, then one every few seconds; now and then a provider fails."""
    with open_home(home, quiet=True) as omni_app:
        _build(omni_app, simulator)
        for turn in itertools.count():
            target, prompt, _ = _ASKS[turn % len(_ASKS)]
            if target.startswith("chain:"):
                simulator.fault("503", "anthropic/*")
            with suppress(OmniError):
                _ask(omni_app, target, prompt, show=False)
            simulator.heal()
            if stop.wait(0.0 if turn < 2 * len(_ASKS) else _PAUSE_S):
                return


def _build(omni_app: App, simulator: Any) -> None:
    from omni_cli.services.fleet.demo import build
    from omni_cli.simulator import fleet as scene

    build(omni_app.fleet, simulated=scene.providers(simulator.url))
    for _ in omni_app.reporter.check():
        pass


def _ask(omni_app: App, target: str, prompt: str, *, show: bool) -> ChatRun:
    request = chat_request((TextPart(prompt),), max_tokens=400)
    plan = omni_app.chat.plan(
        ChatJob(
            request=request,
            selector=omni_app.names.select(target),
            options=RouteOptions(agent="demo"),
            source="demo",
            keep=False,
        )
    )
    if show:
        out(f"→ {plan.decision.model}: {plan.decision.reason}")
    return ask(omni_app, plan, [], show=show)


def _play(omni_app: App, simulator: Any, *, show: bool) -> list[ChatRun]:
    _build(omni_app, simulator)
    if show:
        out(paint("SIMULATED", "yellow") + " providers on this machine; prices are the real ones")
        out()
        _fleet_table(omni_app)
    runs = []
    for target, prompt, why in _ASKS:
        if target.startswith("chain:"):
            simulator.fault("503", "anthropic/*")
        if show:
            out()
            head = prompt.split("\n")[0]
            out(paint(f"$ omni chat -m {target!r} {head!r}", "bold") + paint(f"   # {why}", "dim"))
        run = _ask(omni_app, target, prompt, show=show)
        if show:
            out(paint(summary(run), "dim"))
        runs.append(run)
    if show:
        out()
        out(paint(f"$ omni why {id_text(runs[-1].id)}", "bold"))
        from omni_cli.cli.commands.requests import print_receipt

        print_receipt(omni_app.receipts.read(id_text(runs[-1].id)), omni_app.zone)
    return runs


def _fleet_table(omni_app: App) -> None:
    prices = omni_app.models.prices()
    roles = {
        item.model: role.name
        for role in reversed(omni_app.assignments.roles())
        for item in role.models
        if item.priority == 1
    }
    rows = []
    for model in omni_app.routing.active_models():
        price = prices[model.id][-1].price if model.id in prices else None
        rates = [
            "unknown" if rate is None else f"${rate.base.normalize():f}"
            for rate in ((price.input, price.output) if price else (None, None))
        ]
        rows.append((model.id, roles.get(model.id, ""), tokens(model.context_window), *rates))
    table(
        (
            Column.key("model"),
            Column.words("role", 6),
            Column.figure("context", 3),
            Column.money("in /1M"),
            Column.money("out /1M"),
        ),
        rows,
    )


def _totals(runs: list[ChatRun]) -> None:
    rows = [run.row for run in runs if run.row is not None]
    cost = sum(row.total_nusd or 0 for row in rows)
    saved = sum(row.savings_nusd or 0 for row in rows)
    out()
    out(
        f"{len(rows)} requests cost {paint(format_usd(cost), 'bold')}; the same at "
        f"{rows[0].premium_model}: {format_usd(cost + saved)}; saved "
        f"{paint(format_usd(saved), 'green')}"
    )
    out()
    name = _name()
    words = {
        f"{name} init": "find your keys and local servers, set up a fleet",
        f'{name} chat "your question"': "ask it",
        f"{name} demo --serve": "keep this fleet up, and play with it",
    }
    width = max(map(len, words))
    out("Next:")
    for command, what in words.items():
        out(f"  {command:<{width}}    {what}")
