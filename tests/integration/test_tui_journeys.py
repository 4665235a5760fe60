"""The journeys of the findings take no more keys than they may (tui.md D). A role is switched in
test_tui_roles.py, a provider with its models added in test_tui_start_inside.py."""

from pathlib import Path

import pytest
from textual.widgets import Input

from omni_cli.tui.screens.chat import ChatPane
from omni_cli.tui.screens.receipt import ReceiptScreen
from omni_cli.tui.widgets.picker import Pick, PickerScreen
from tests.integration.tui_pilot import copy_home, opened, press, read, shown


@pytest.fixture
def home(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_home(tmp_path / "omni", tmp_path_factory.mktemp("scene"), past=True)


@pytest.mark.parametrize(("size", "place"), [((80, 24), "#foot"), ((120, 40), "#today")])
async def test_what_costs_most_today_takes_no_key(
    home: Path, size: tuple[int, int], place: str
) -> None:
    async with opened(home, "fleet", size) as pilot:
        said = shown(pilot.app, place)
    after = said.partition("most " if size[0] < 100 else "BY MODEL\n")[2]
    assert after.startswith("Claude Sonnet")


async def test_why_a_request_went_where_it_did_takes_three_keys(home: Path) -> None:
    async with opened(home, "fleet") as pilot:
        keys = "8", "j", "enter"
        assert len(keys) <= 3
        await press(pilot, *keys)
        assert isinstance(pilot.app.screen, ReceiptScreen)
        # The scene's requests keep no decision: what test_tui_activity.py draws of one.
        assert "model    " in shown(pilot.app, "#receipt")


async def test_a_budget_for_everything_takes_four_keys_and_for_a_role_is_picked(
    home: Path,
) -> None:
    def kept() -> set[tuple[str, str, int]]:
        found = read(home, lambda omni: omni.budget_admin.all())
        return {(b.scope, b.value, b.limit_nusd // 10**9) for b in found if b.period == "month"}

    before = kept()
    async with opened(home, "fleet") as pilot:
        await press(pilot, "7", "n", "9", "enter")
        assert kept() - before == {("all", "", 9)}
        # A letter opens the list with it: "l" and "e" of role leave the roles.
        await press(pilot, "n", "5", "tab", "r", "=ole:strat", "enter", "ctrl+s")
        assert ("role", "strategy", 5) in kept()
        # An agent that was never seen is typed.
        await press(pilot, "n", "6", "tab", "a", "=gent:New")
        options = pilot.app.screen.query_one("OptionList")
        assert options.highlighted_option.id == "agent:New"
        await press(pilot, "enter", "ctrl+s")
        assert ("agent", "New", 6) in kept()


async def test_who_answers_a_chat_is_picked(home: Path) -> None:
    async with opened(home, "chat", (100, 30)) as pilot:
        await press(pilot, "ctrl+o")
        assert isinstance(pilot.app.screen, PickerScreen)
        await press(pilot, "=deepseek", "enter")
        pane = pilot.app.query_one(ChatPane)
        assert pane.query_one(Pick).value == "deepseek/deepseek-chat"
        assert pilot.app.focused is pane.query_one("#prompt", Input)
        await press(pilot, "ctrl+o", "=best", "enter")
        assert pane.query_one(Pick).value == "auto:best"
