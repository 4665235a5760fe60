"""What pilots do again and again."""

from collections.abc import Awaitable, Callable
from typing import Any

from textual.app import App
from textual.pilot import Pilot
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import ContentSwitcher, Input, TextArea

from omni_cli.tui.app import UNEXPECTED, OmniApp
from omni_cli.tui.pane import Pane
from omni_cli.tui.widgets.keys import Keys
from omni_cli.tui.widgets.status import TabBar

Step = Callable[[Pilot[Any]], Awaitable[None]]


async def settle(pilot: Pilot[Any]) -> None:
    """Wait until every worker is done and what it told has been shown; keep cursors still."""
    calm = 0
    for _ in range(400):
        await pilot.app.workers.wait_for_complete()
        await pilot.pause()
        faults = [n.message for n in pilot.app._notifications if n.title == UNEXPECTED]
        assert not faults, faults
        calm = calm + 1 if _is_calm(pilot.app) else 0
        if calm == 3:
            break
        if not calm:
            await pilot.pause(0.01)
    # On a busy machine the focus may leave what was hidden, and the footer follow it, later.
    for _ in range(200):
        if _focus_is_shown(pilot.app.screen) and _footer_follows(pilot.app.screen):
            break
        await pilot.pause(0.01)
    for box in pilot.app.screen.query(Input):
        box.cursor_blink = False
    for area in pilot.app.screen.query(TextArea):
        area.cursor_blink = False


def _is_calm(app: App[Any]) -> bool:
    """Whether the tab that was asked for is there, and no pane reads."""
    if not isinstance(app, OmniApp):
        return True
    base = app.screen_stack[0]
    asked = [bar.active for bar in base.query(TabBar)]
    seen = [switcher.current for switcher in base.query(ContentSwitcher)]
    return asked == seen and not any(pane._reading for pane in base.query(Pane))


def _focus_is_shown(screen: Screen[Any]) -> bool:
    focused = screen.focused
    return focused is None or all(
        part.display for part in focused.ancestors_with_self if isinstance(part, Widget)
    )


def _footer_follows(screen: Screen[Any]) -> bool:
    """Whether the footer shows the keys of what has the focus, and no longer others."""
    wanted = {b.action for _, b, _, _ in screen.active_bindings.values() if b.show}
    every = {b.action for _, b, _, _ in screen.active_bindings.values()}
    return all(wanted <= {key.action for key in line.shown} <= every for line in screen.query(Keys))


def press(*keys: str) -> Step:
    """Keys one after another, each settled: for ``run_before``."""

    async def run(pilot: Pilot[Any]) -> None:
        await settle(pilot)
        for key in keys:
            await pilot.press(key)
            await settle(pilot)

    return run
