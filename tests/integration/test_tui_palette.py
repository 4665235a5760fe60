"""The palette: from any tab, any object and any action of another one, by a few letters."""

from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Input, OptionList

from omni_cli.domain.ids import id_text
from omni_cli.tui.app import OmniApp
from omni_cli.tui.palette import read_objects
from omni_cli.tui.registry import TABS
from omni_cli.tui.screens.model import ModelScreen
from omni_cli.tui.screens.receipt import ReceiptScreen
from omni_cli.tui.widgets.form import ConfirmScreen, FormScreen
from omni_cli.tui.widgets.picker import PickerScreen
from tests.integration.tui_pilot import copy_home, opened, press, read
from tests.snapshot.steps import settle


@pytest.fixture
def home(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    template = tmp_path_factory.getbasetemp() / "palette-scene"
    return copy_home(tmp_path / "omni", template, past=True)


def titles(pilot: Pilot[None]) -> list[str]:
    """Of what is listed, the first first."""
    options = pilot.app.screen.query_one(OptionList).options
    return [str(option.prompt).partition("\n")[0] for option in options]


async def search(pilot: Pilot[None], typed: str) -> None:
    """At once: key by key it would be searched, and settled, for every letter."""
    pilot.app.screen.query_one(Input).value = typed
    await pilot.pause()
    await settle(pilot)


async def choose(pilot: Pilot[None], typed: str) -> None:
    await press(pilot, "colon")
    await search(pilot, typed)
    await press(pilot, "enter")


def on(pilot: Pilot[None], tab: str) -> bool:
    app = pilot.app
    assert isinstance(app, OmniApp)
    return app.pane is not None and app.pane.id == tab


def chosen(pilot: Pilot[None]) -> str | None:
    app = pilot.app
    assert isinstance(app, OmniApp)
    assert app.pane is not None
    assert app.pane.chooser is not None
    return app.pane.chooser.chosen


async def test_actions_of_other_tabs_are_found_and_done(home: Path) -> None:
    """tui.md 22: from Fleet neither Add provider nor New budget was to be found."""
    async with opened(home, "fleet") as pilot:
        await choose(pilot, "add prov")
        assert on(pilot, "providers")
        assert isinstance(pilot.app.screen, PickerScreen)
        # A dialog is not left by the palette: its input would be lost.
        await press(pilot, "ctrl+p")
        assert isinstance(pilot.app.screen, PickerScreen)
        await press(pilot, "escape")
        await choose(pilot, "new budget")
        assert on(pilot, "budgets")
        assert isinstance(pilot.app.screen, FormScreen)


async def test_every_action_of_every_tab_is_there_once(home: Path) -> None:
    async with opened(home, "fleet") as pilot:
        await press(pilot, "ctrl+p")
        found = titles(pilot)
    assert {"Providers: Test all", "Budgets: New budget", "Failover: New chain"} <= set(found)
    assert {f"Go to {tab.title}" for tab in TABS} | {"Theme: Nord", "Reload", "Quit"} <= set(found)
    assert found[0].startswith("Fleet: ")
    assert len(found) == len(set(found))


async def test_objects_of_all_kinds_are_found(home: Path) -> None:
    newest = read(home, read_objects).requests[0][0]
    async with opened(home, "costs") as pilot:
        await choose(pilot, "sonet")  # letters in their order are enough
        assert isinstance(pilot.app.screen, ModelScreen)
        await press(pilot, "escape")
        for typed, tab, key in (
            ("deepseek provider", "providers", "deepseek"),
            ("month all budget", "budgets", "1"),
        ):
            await choose(pilot, typed)
            assert on(pilot, tab), typed
            assert chosen(pilot) == key
        await choose(pilot, id_text(newest))
        assert isinstance(pilot.app.screen, ReceiptScreen)


async def test_a_role_is_switched_from_anywhere_and_what_was_used_comes_first(home: Path) -> None:
    async with opened(home, "usage") as pilot:
        await press(pilot, "slash")
        await search(pilot, "switch primary_coder kimi")
        assert titles(pilot)[0] == "Switch primary_coder to Kimi K2.5"
        await press(pilot, "enter")
        assert isinstance(pilot.app.screen, ConfirmScreen)
        await press(pilot, "n", "colon")
        assert titles(pilot)[0] == "Switch primary_coder to Kimi K2.5"
        await press(pilot, "escape", "q")
    async with opened(home, "usage") as pilot:
        await press(pilot, "colon")
        assert titles(pilot)[0] == "Switch primary_coder to Kimi K2.5"
