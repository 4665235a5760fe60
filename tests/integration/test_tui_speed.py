"""What makes keys answer at once, as counts: never as times."""

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest
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
