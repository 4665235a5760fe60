"""What pilots of the TUI share: a fleet without a server, the app on it, and what it says."""

import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from textual.app import App as TextualApp
from textual.pilot import Pilot
from textual.widgets import Static

from omni_cli.bootstrap import App
from omni_cli.tui.app import OmniApp
from tests.snapshot.scene import clock, env_of, make_home
from tests.snapshot.steps import settle

_made: dict[bool, Path] = {}


def copy_home(folder: Path, template: Path, *, past: bool) -> Path:
    """The scene at ``folder``; it is made once, at ``template``."""
    if past not in _made:
        make_home(template, past=past)
        _made[past] = template
    shutil.copytree(_made[past], folder)
    return folder


@asynccontextmanager
async def opened(
    home: Path, tab: str, size: tuple[int, int] = (100, 30), *, ahead: bool = False
) -> AsyncIterator[Pilot[None]]:
    """The TUI on a home, settled, at the scene's time; with ``ahead`` when all tabs are made."""
    app = OmniApp(env_of(home), clock=clock, tab=tab, theme="dark", ahead=ahead)
    async with app.run_test(size=size) as pilot:
        for _ in range(500):  # its module is imported in a thread that is no worker
            if app.pane is not None:
                break
            await pilot.pause(0.01)
        await settle(pilot)
        yield pilot


async def press(pilot: Pilot[None], *keys: str) -> None:
    """Keys, each settled; a text longer than a key's name is typed: ``"=some text"``."""
    for key in keys:
        if key.startswith("="):
            await pilot.press(*("space" if c == " " else c for c in key[1:]))
        else:
            await pilot.press(key)
        await settle(pilot)


def read(home: Path, what: Callable[[App], Any]) -> Any:
    """Ask the store itself, through a connection of its own."""
    with App(env_of(home), clock=clock) as omni:
        return what(omni)


def shown(app: TextualApp[Any], selector: str) -> str:
    return str(app.screen.query_one(selector, Static).content)


def notes(app: TextualApp[Any]) -> str:
    return "\n".join(f"{n.title}: {n.message}" for n in app._notifications)
