"""What makes keys answer at once, as counts: never as times."""

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.color import ColorSystem
from textual._compositor import CompositorUpdate
from textual.widgets import ContentSwitcher

from omni_cli.tui import app as tui_app
from omni_cli.tui.app import OmniApp
from omni_cli.tui.pane import Pane
from omni_cli.tui.registry import TABS
from tests.integration.tui_pilot import copy_home, opened
from tests.snapshot.steps import settle


@pytest.fixture
def home(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_home(tmp_path / "home", tmp_path_factory.getbasetemp() / "past-home", past=True)


@pytest.fixture
def collector() -> Iterator[None]:
    """Python's, as it was before."""
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)
    gc.unfreeze()


@pytest.mark.usefixtures("collector")
async def test_tabs_are_made_while_no_key_comes_and_no_key_waits_for_the_collector(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first opening of a tab took 568 ms: its widgets were made and its data read then, and
    Python looked through all objects meanwhile."""
    monkeypatch.setattr(tui_app, "_AHEAD_AFTER_S", 0.0)
    monkeypatch.setattr(tui_app, "_REST_S", 0.05)
    whole, reads = list[str](), list[str]()

    def seen(phase: str, info: dict[str, int]) -> None:
        if phase == "start" and info["generation"] == 2:
            whole.append(phase)

    async with opened(home, "fleet", (120, 40), ahead=True) as pilot:
        app = pilot.app
        assert isinstance(app, OmniApp)
        switcher = app.query_one(ContentSwitcher)
        assert {pane.id for pane in switcher.children} == {tab.id for tab in TABS}
        assert [pane.id for pane in switcher.children if pane.display] == ["fleet"]
        assert app.focused is not None
        assert not app._notifications
        made = len(app.query("*"))
        for pane in app.query(Pane):
            assert pane._shown
            pane._fresh = True  # as if nothing had been written since
        monkeypatch.setattr(app, "store_changed", lambda: None)
        monkeypatch.setattr(Pane, "refresh_data", lambda pane: reads.append(pane.id))
        gc.callbacks.append(seen)
        try:
            for tab in ("usage", "activity", "costs", "catalogue"):
                await app.open_tab(tab)
                await settle(pilot)
                assert switcher.current == tab
                assert [pane.id for pane in switcher.children if pane.display] == [tab]
        finally:
            gc.callbacks.remove(seen)
        assert (whole, reads, len(app.query("*"))) == ([], [], made)
        app._heard = 0.0
        for _ in range(12):
            gc.collect(1)
        gc.callbacks.append(seen)
        app._tidy()
        gc.callbacks.remove(seen)
        assert whole == ["start"]  # while nobody presses a key


async def test_a_tab_that_is_asked_for_while_it_is_made_is_made_once(home: Path) -> None:
    async with opened(home, "fleet") as pilot:
        app = pilot.app
        assert isinstance(app, OmniApp)
        app.run_worker(app._made("costs"))
        await app.open_tab("costs")
        await settle(pilot)
        assert [pane.id for pane in app.query(Pane)] == ["fleet", "costs"]
        assert app.pane is not None
        assert app.pane.id == "costs"


async def test_a_step_that_scrolls_sends_4_kilobytes_at_most(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over SSH: Costs sent 12 KB a step, for every line stood elsewhere."""
    sent: list[int] = []

    def display(app: OmniApp, screen: object, frame: object) -> None:
        if isinstance(frame, CompositorUpdate):
            app.console._color_system = ColorSystem.TRUECOLOR
            sent.append(len(app.sent.spare(frame.render_segments(app.console)).encode()))

    monkeypatch.setattr(OmniApp, "_display", display)
    for size in ((80, 24), (120, 30)):
        async with opened(home, "costs", size) as pilot:
            app = pilot.app
            assert isinstance(app, OmniApp)
            for tab in ("costs", "catalogue"):
                await app.open_tab(tab)
                await settle(pilot)
                assert sum(sent) > 4_096  # the tab as it comes into sight
                assert app.focused is not None
                for step in range(8):
                    for _ in range(3 if tab == "catalogue" else 1):
                        sent.clear()
                        await pilot.press("j")
                        await pilot.pause()
                        assert sum(sent) <= 4_096, (size, tab, step, sent)
                moved = [part.id for part in app.screen.query("*") if part.scroll_offset.y]
                assert moved, (size, tab)
