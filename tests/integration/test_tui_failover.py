"""Failover chains in the TUI: by keys and mouse, saved as revisions, taken back (E2, A9)."""

from pathlib import Path

import pytest
from textual.widgets import Input

from omni_cli.domain.models import Chain
from omni_cli.tui.screens.failover import FailoverPane
from omni_cli.tui.widgets.form import ConfirmScreen, FormScreen
from omni_cli.tui.widgets.links import LinkList
from omni_cli.tui.widgets.picker import PickerScreen
from omni_cli.tui.widgets.tiles import CardList
from tests.integration.tui_pilot import copy_home, notes, opened, press, read, shown
from tests.snapshot.scene import add_takeovers
from tests.snapshot.steps import settle

HAIKU, MINI = "anthropic/claude-3-5-haiku-20241022", "openai/gpt-4o-mini"
FAST, PRODUCTION = "Fast Chain", "Production Chain"


@pytest.fixture
def home(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_home(tmp_path / "omni", tmp_path_factory.mktemp("scene"), past=False)


def models(home: Path, name: str) -> list[str]:
    chain = read(home, lambda omni: omni.assignments.chain(name))
    return [] if chain is None else [link.model for link in chain.links]


def newest(home: Path) -> int:
    number: int = read(home, lambda omni: omni.audit.revisions(limit=1)[0].number)
    return number


@pytest.mark.parametrize(("down", "up"), [("shift+down", "shift+up"), ("J", "K")])
async def test_reorders_by_key_and_saves_one_revision(home: Path, down: str, up: str) -> None:
    before = newest(home)
    async with opened(home, "failover") as pilot:
        await press(pilot, "enter", down)
        assert "not saved" in shown(pilot.app, "#head")
        assert models(home, FAST) == [HAIKU, MINI]
        await press(pilot, "s")
        assert "not saved" not in shown(pilot.app, "#head")
        assert models(home, FAST) == [MINI, HAIKU]
        assert newest(home) == before + 1
        assert f"revision {before + 1}" in notes(pilot.app)
        await press(pilot, up, "s")
        assert models(home, FAST) == [HAIKU, MINI]


async def test_reorders_by_dragging(home: Path) -> None:
    async with opened(home, "failover") as pilot:
        await press(pilot, "down")
        first, second, third = models(home, PRODUCTION)
        links = pilot.app.query_one(LinkList)
        await pilot.mouse_down(links, offset=(6, 0))
        await pilot.hover(links, offset=(6, 3))
        assert [row.model for row in links.rows] == [second, first, third]
        await pilot.hover(links, offset=(6, 5))
        await pilot.mouse_up(links, offset=(6, 5))
        await settle(pilot)
        assert [row.model for row in links.rows] == [second, third, first]
        assert models(home, PRODUCTION) == [first, second, third]
        await press(pilot, "s")
        assert models(home, PRODUCTION) == [second, third, first]


async def test_adds_from_a_list_by_provider_with_the_defaults(home: Path) -> None:
    async with opened(home, "failover") as pilot:
        await press(pilot, "a")
        assert isinstance(pilot.app.screen, PickerScreen)
        await press(pilot, "=gemini flash", "down", "up", "enter", "s")
        chain = read(home, lambda omni: omni.assignments.chain(FAST))
        added = chain.links[-1]
        assert added.model.startswith("google/gemini")
        assert (added.max_retries, added.timeout_ms) == (2, 30_000)
        await press(pilot, "a", "escape")
        assert len(models(home, FAST)) == 3


async def test_edits_retries_and_timeout_in_place(home: Path) -> None:
    async with opened(home, "failover") as pilot:
        await press(pilot, "enter", "e", "=7", "tab", "=45000", "enter", "s")
        link = read(home, lambda omni: omni.assignments.chain(FAST)).links[0]
        assert (link.max_retries, link.timeout_ms) == (7, 45_000)


async def test_values_out_of_range_are_not_kept(home: Path) -> None:
    async with opened(home, "failover") as pilot:
        links = pilot.app.query_one(LinkList)
        before = links.rows
        await press(pilot, "enter")
        for keys in (("=11",), ("tab", "=999"), ("tab", "=120001"), ("backspace",)):
            await press(pilot, "e", *keys, "enter")
            assert links.editing, keys
            assert "runs from" in links.render().plain
            await press(pilot, "escape")
            assert not links.editing
            assert links.rows == before


async def test_double_click_edits_and_focus_keeps(home: Path) -> None:
    async with opened(home, "failover") as pilot:
        links = pilot.app.query_one(LinkList)
        await pilot.click(links, offset=(8, 2), times=2)
        await settle(pilot)
        assert links.editing
        assert links.cursor == 1
        await press(pilot, "=0")
        pilot.app.query_one("#chains", CardList).focus()
        await settle(pilot)
        assert links.rows[1].max_retries == 0


async def test_digits_stay_in_the_field(home: Path) -> None:
    """While editing, keys that jump to tabs or quit are text."""
    async with opened(home, "failover") as pilot:
        await press(pilot, "enter", "e", "q", "u", "1")
        links = pilot.app.query_one(LinkList)
        assert links.editing
        assert pilot.app.query_one(FailoverPane).display


async def test_undo_takes_back_edits_then_saved_changes(home: Path) -> None:
    async with opened(home, "failover") as pilot:
        links = pilot.app.query_one(LinkList)
        await press(pilot, "enter", "J", "e", "=5", "enter", "u")
        assert [row.max_retries for row in links.rows] == [2, 2]
        assert [row.model for row in links.rows] == [MINI, HAIKU]
        await press(pilot, "u")
        assert "not saved" not in shown(pilot.app, "#head")
        assert [row.model for row in links.rows] == [HAIKU, MINI]

        await press(pilot, "J", "s", "e", "=5", "enter", "s")
        saved = newest(home)
        await press(pilot, "u")
        assert newest(home) == saved + 1
        assert read(home, lambda omni: omni.assignments.chain(FAST)).links[1].max_retries == 2
        assert models(home, FAST) == [MINI, HAIKU]
        await press(pilot, "u")
        assert models(home, FAST) == [HAIKU, MINI]


async def test_undo_leaves_the_changes_of_others_or_asks(home: Path) -> None:
    """It is one ``u`` in all tabs: what was saved here goes, another's only after a question."""
    async with opened(home, "failover") as pilot:
        await press(pilot, "enter", "J", "s")
        read(home, lambda omni: omni.fleet.set_status(MINI, "disabled"))
        await press(pilot, "u")
        assert models(home, FAST) == [HAIKU, MINI]
        assert read(home, lambda omni: omni.fleet.model(MINI).status) == "disabled"
        await press(pilot, "u")
        assert isinstance(pilot.app.screen, ConfirmScreen)
        await press(pilot, "n")
        assert read(home, lambda omni: omni.fleet.model(MINI).status) == "disabled"


async def test_new_chain_needs_a_name_of_its_own_and_a_model(home: Path) -> None:
    async with opened(home, "failover") as pilot:
        await press(pilot, "n", f"={FAST}", "enter")
        assert isinstance(pilot.app.screen, FormScreen)
        assert "there is a chain" in shown(pilot.app, "#trouble-name")
        pilot.app.screen.query_one("#in-name", Input).value = "Night"
        await press(pilot, "enter")
        assert isinstance(pilot.app.screen, PickerScreen)
        await press(pilot, "=sonnet 4", "enter")
        assert read(home, lambda omni: omni.assignments.chain("Night")) is None
        await press(pilot, "s")
        assert len(models(home, "Night")) == 1
        await press(pilot, "u")
        assert models(home, "Night") == []


async def test_rename_and_consent_are_one_revision(home: Path) -> None:
    before = newest(home)
    async with opened(home, "failover") as pilot:
        await press(pilot, "r")
        for name, value in (("name", "Quick"), ("multiple", "any"), ("hedge", "800")):
            pilot.app.screen.query_one(f"#in-{name}", Input).value = value
        await press(pilot, "ctrl+s")
        pane = pilot.app.query_one(FailoverPane)
        assert pane.chosen == "Quick"
    chain = read(home, lambda omni: omni.assignments.chain("Quick"))
    assert isinstance(chain, Chain)
    assert chain.max_cost_multiple is None
    assert chain.any_cost
    assert chain.hedge_ms == 800
    assert newest(home) == before + 1


async def test_delete_asks_first(home: Path) -> None:
    async with opened(home, "failover") as pilot:
        await press(pilot, "delete")
        assert isinstance(pilot.app.screen, ConfirmScreen)
        await press(pilot, "n")
        assert models(home, FAST)
        await press(pilot, "delete", "y")
        assert not models(home, FAST)
        await press(pilot, "u")
        assert models(home, FAST) == [HAIKU, MINI]


async def test_the_last_model_stays(home: Path) -> None:
    async with opened(home, "failover") as pilot:
        links = pilot.app.query_one(LinkList)
        await press(pilot, "enter", "x")
        assert [row.model for row in links.rows] == [MINI]
        await press(pilot, "x")
        assert [row.model for row in links.rows] == [MINI]
        assert "at least one model" in notes(pilot.app)


async def test_the_chosen_chain_survives_a_restart(home: Path) -> None:
    async with opened(home, "failover") as pilot:
        await press(pilot, "down", "q")
    async with opened(home, "failover") as pilot:
        assert pilot.app.query_one(FailoverPane).chosen == PRODUCTION


async def test_a_change_elsewhere_appears(home: Path) -> None:
    async with opened(home, "failover") as pilot:
        read(home, lambda omni: omni.fleet.remove_chain(FAST))
        await press(pilot, "f5")
        assert pilot.app.query_one(FailoverPane).chosen == PRODUCTION


@pytest.mark.parametrize("width", [80, 200])
async def test_a_chain_says_who_took_over_and_how_its_models_are(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, width: int
) -> None:
    """tui.md D10: a chain was a list of names on an empty page."""
    home = copy_home(tmp_path / "past", tmp_path_factory.mktemp("scene"), past=True)
    add_takeovers(home)
    async with opened(home, "failover", (width, 40)) as pilot:
        assert "never lately" in shown(pilot.app, "#took")
        await press(pilot, "down")
        took = shown(pilot.app, "#took").splitlines()
        assert took[0].startswith("TOOK OVER  3 times")
        assert "1 h ago Claude Sonnet 4 overloaded > Gemini 2.0 Flash" in took[1]
        links = pilot.app.query_one(LinkList)
        drawn = str(links.render()).splitlines()
        assert all(len(line) <= links.size.width for line in drawn)
        # Health, and who comes next.
        assert [line[5] for line in drawn[::2]] == ["●", "○", "○"], drawn
        assert [line.startswith(("▌  ↓", "   ↓")) for line in drawn[1::2]] == [True, True, False]
        if width == 200:
            assert "x0.028 · took over 3x" in drawn[5]
