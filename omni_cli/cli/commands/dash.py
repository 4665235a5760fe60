"""``omni dash``: the terminal interface, or the same in a browser."""

import gc
import os
import sys
import tempfile
import threading
from pathlib import Path
from typing import Annotated

import typer

from omni_cli.domain.errors import ConfigError, UsageError
from omni_cli.plugins import install_line

app = typer.Typer(rich_markup_mode=None)

_HOST = "127.0.0.1"


@app.command()
def dash(
    web: Annotated[bool, typer.Option("--web", help="Serve it in a browser instead.")] = False,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of --web.")] = 8421,
    theme: Annotated[str | None, typer.Option(help="A theme's name.")] = None,
    tab: Annotated[str | None, typer.Option(help="Open this tab: fleet, providers...")] = None,
) -> None:
    """The fleet alive on one screen."""
    if web:
        serve(port, theme, tab)
        return
    # A web server's child talks to the browser through Textual's own driver.
    if "TEXTUAL_DRIVER" not in os.environ and not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError(
            "omni dash needs a terminal", hint="omni dash --web serves it in a browser"
        )
    if os.environ.get("TERM") == "dumb":
        raise UsageError(
            "this terminal (TERM=dumb) shows text only",
            hint="omni usage, omni costs and omni health print; omni dash --web opens a browser",
        )
    run(theme, tab)


def run(theme: str | None = None, tab: str | None = None) -> None:
    """Open it on this terminal.

    Raises UsageError: no such theme or tab.
    """
    from omni_cli.system import share_memory
    from omni_cli.tui.app import OmniApp
    from omni_cli.tui.registry import TABS

    share_memory()
    ids = [entry.id for entry in TABS]
    if tab is not None and tab not in ids:
        raise UsageError(f"no tab {tab!r}", hint=f"one of {', '.join(ids)}")
    omni_app = OmniApp(cwd=Path.cwd(), theme=theme, tab=tab, probing=True, ahead=True)
    if theme is not None and theme not in omni_app.themes:
        raise UsageError(f"no theme {theme!r}", hint=f"one of {', '.join(sorted(omni_app.themes))}")
    gc.set_threshold(700, 10, 10)  # Python's own again: it runs all day (omni_cli/__main__.py)
    omni_app.run()
    while omni_app.wants_demo:
        _demo(omni_app.theme)
        omni_app = OmniApp(cwd=Path.cwd(), theme=theme, probing=True, ahead=True)
        omni_app.run()
    if omni_app.return_code:
        raise typer.Exit(omni_app.return_code)


def _demo(theme: str) -> None:
    """The screens on a simulated fleet at work, until they are left; nothing of it stays."""
    from omni_cli.cli.commands.demo import open_home, play_on
    from omni_cli.simulator.server import Simulator
    from omni_cli.tui.app import OmniApp

    with tempfile.TemporaryDirectory(prefix="omni-demo-") as scratch:
        home, stop = Path(scratch), threading.Event()
        with Simulator(latency=0.15) as simulator:
            open_home(home, quiet=True).close()
            traffic = threading.Thread(target=play_on, args=(home, simulator, stop), daemon=True)
            traffic.start()
            env = {**os.environ, "OMNI_HOME": str(home)}
            OmniApp(env, cwd=home, theme=theme, tab="fleet", probing=True, ahead=True).run()
            stop.set()
            traffic.join(timeout=10)


def serve(port: int, theme: str | None, tab: str | None) -> None:
    """Serve it on loopback until interrupted; every browser tab is an omni of its own."""
    import shlex

    try:
        from omni_cli.tui.web import WebServer
    except ModuleNotFoundError as exc:
        if (exc.name or "").partition(".")[0] not in ("aiohttp", "textual_serve"):
            raise
        raise ConfigError(
            "omni dash --web needs a library that a plain install leaves out",
            hint=install_line("web"),
        ) from None

    words = [sys.executable, "-m", "omni_cli", "dash"]
    for option, value in (("--theme", theme), ("--tab", tab)):
        words += [] if value is None else [option, value]
    WebServer(shlex.join(words), host=_HOST, port=port, title="omni").serve()
