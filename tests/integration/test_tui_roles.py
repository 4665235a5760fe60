"""Roles and rules, History, and undo anywhere, in the TUI: by keys, against the store."""

from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Input, Static

from omni_cli.simulator import Simulator
from omni_cli.tui.app import OmniApp
from omni_cli.tui.screens.roles import Matrix, RolesPane
from omni_cli.tui.screens.rule_forms import RuleTester
from omni_cli.tui.widgets.form import ConfirmScreen
from omni_cli.tui.widgets.picker import Pick
from omni_cli.tui.widgets.table import Table
from tests.integration.tui_pilot import copy_home, notes, opened, press, read, shown
from tests.snapshot.scene import make_home
from tests.snapshot.steps import settle

SONNET = "anthropic/claude-sonnet-4-20250514"


@pytest.fixture
def home(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_home(tmp_path / "omni", tmp_path_factory.mktemp("scene"), past=False)


def first(home: Path, role: str) -> str:
    model: str = read(home, lambda omni: omni.fleet.role(role).models[0].model)
    return model


def newest(home: Path) -> int:
    number: int = read(home, lambda omni: omni.audit.revisions(limit=1)[0].number)
    return number


async def test_a_role_is_switched_in_four_keys_and_taken_back_by_one(tmp_path: Path) -> None:
    home = tmp_path / "omni"
    with Simulator(seed=3) as running:
        make_home(home, url=running.url, past=False)
        before = first(home, "general_assistant")
        async with opened(home, "fleet") as pilot:
            await press(pilot, "R", "right", "enter")
            assert isinstance(pilot.app.screen, ConfirmScreen)
            effect = str(pilot.app.screen.query_one(Static).content)
            assert "now" in effect
            assert "a call" in effect
            chosen = pilot.app.query_one(Matrix).model
            await press(pilot, "y")
            assert first(home, "general_assistant") == chosen != before
            await press(pilot, "u")
            assert "took back role.switch general_assistant" in notes(pilot.app)
        assert first(home, "general_assistant") == before


async def test_the_preview_is_what_the_switch_then_says(home: Path) -> None:
    found = read(home, lambda omni: omni.role_switcher.preview("primary_coder", "openai/gpt-4"))
    done = read(
        home,
        lambda omni: omni.role_switcher.switch("primary_coder", "openai/gpt-4", verify=False),
    )
    assert (found.before, found.after) == (done.before, done.after)


async def test_the_matrix_has_the_figures_of_the_preview(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    home = copy_home(tmp_path / "omni", tmp_path_factory.mktemp("scene"), past=True)
    async with opened(home, "roles") as pilot:
        pane = pilot.app.query_one(RolesPane)
        assert pane._jobs is not None
        effects = pane._jobs.effects["primary_coder"]
    found = read(
        home, lambda omni: omni.role_switcher.preview("primary_coder", "deepseek/deepseek-chat")
    )
    assert found.before == effects[SONNET]
    assert found.after == effects["deepseek/deepseek-chat"]
    assert found.before.measured
    calls = sum(effect.calls for effect in effects.values())
    assert 6.5 <= calls / found.calls_a_day <= 8  # the scene's week
    assert found.a_day_nusd(found.after) < found.a_day_nusd(found.before)


async def test_the_matrix_narrows_to_roles_and_models(home: Path) -> None:
    async with opened(home, "roles") as pilot:
        matrix = pilot.app.query_one(Matrix)
        every = len(matrix.columns) - 1
        await press(pilot, "slash", "=coder flash", "enter")
        assert matrix._roles == ["primary_coder"]
        assert matrix._models
        assert all("flash" in model for model in matrix._models)
        assert pilot.app.focused is matrix
        await press(pilot, "escape")
        assert len(matrix.columns) - 1 == every == len(matrix._models)
        assert len(matrix._roles) > 1


async def test_the_cursor_leaves_its_figures_to_be_read(home: Path) -> None:
    """Textual's own rule for a focused table is a full block that hides dearer and cheaper."""
    async with opened(home, "roles") as pilot:
        matrix = pilot.app.query_one(Matrix)
        assert pilot.app.focused is matrix

        style = matrix.get_component_styles("datatable--cursor")
        ground = style.background
        assert style.color == matrix.styles.color
        pilot.app.query_one("#rules", Table).focus()
        await settle(pilot)
        assert matrix.get_component_styles("datatable--cursor").background != ground


async def test_rules_are_added_tried_and_switched_off(home: Path) -> None:
    async with opened(home, "roles", (110, 34)) as pilot:
        await press(pilot, "n")
        screen = pilot.app.screen
        screen.query_one("#in-condition", Input).value = "prompt contains 'invoice'"
        screen.query_one("#in-model", Pick).value = "openai/gpt-4"
        await press(pilot, "ctrl+s", "t")
        assert isinstance(pilot.app.screen, RuleTester)
        pilot.app.screen.query_one(Input).value = "sum up this invoice"
        await pilot.pause()
        await settle(pilot)
        said = shown(pilot.app, "#found")
        assert "● fires   3  prompt contains 'invoice'" in said
        assert "prompt 'sum up this invoice'" in said
        assert "openai/gpt-4: " in said
        await press(pilot, "escape")
        pilot.app.query_one("#rules", Table).choose("3")
        await press(pilot, "d")
        assert not read(home, lambda omni: omni.fleet.rule(3).enabled)
        await press(pilot, "u", "u")
        assert len(read(home, lambda o: o.assignments.rules())) == 2


async def test_history_shows_what_changed_and_goes_back_after_asking(home: Path) -> None:
    read(home, lambda omni: omni.fleet.assign_role("strategy", "openai/gpt-4", 1))
    read(home, lambda omni: omni.fleet.set_status("openai/gpt-4", "disabled"))
    at = newest(home)
    before = read(home, lambda omni: omni.audit.revision(at - 1).fleet)
    async with opened(home, "fleet") as pilot:
        await press(pilot, "H")
        assert "~ model openai/gpt-4\n    status: active → disabled" in shown(pilot.app, "#words")
        await press(pilot, "j", "enter")
        assert isinstance(pilot.app.screen, ConfirmScreen)
        assert "status: disabled → active" in str(pilot.app.screen.query_one(Static).content)
        await press(pilot, "n")
        assert newest(home) == at
        await press(pilot, "enter", "y")
        assert read(home, lambda omni: omni.fleet.document()) == before
        # A rollback is itself a change: what undoes it is where one came from.
        await press(pilot, "u")
        assert read(home, lambda omni: omni.fleet.model("openai/gpt-4").status) == "disabled"
        # Behind it lies a change of another session: that one is asked about.
        await press(pilot, "u")
        assert "tester, " in str(pilot.app.screen.query_one(Static).content)
        assert "status: active → disabled" in str(pilot.app.screen.query_one(Static).content)
        await press(pilot, "n")
        assert read(home, lambda omni: omni.fleet.model("openai/gpt-4").status) == "disabled"
        await press(pilot, "u", "y")
        assert read(home, lambda omni: omni.fleet.model("openai/gpt-4").status) == "active"
        assert "took back" in notes(pilot.app)


async def test_undo_takes_back_ones_own_change_and_leaves_those_of_others(home: Path) -> None:
    def status() -> str:
        return read(home, lambda omni: omni.fleet.model("openai/gpt-4").status)

    def rules() -> list[bool]:
        return read(home, lambda omni: [rule.enabled for rule in omni.assignments.rules()])

    async with opened(home, "roles") as pilot:
        pilot.app.query_one("#rules", Table).focus()
        await press(pilot, "d", "j", "d")
        assert rules() == [False, False]
        read(home, lambda omni: omni.fleet.set_status("openai/gpt-4", "disabled"))
        await press(pilot, "u")
        assert (rules(), status()) == ([False, True], "disabled")
        # What is no longer as it was left is not taken back, and said once.
        read(home, lambda omni: omni.fleet.remove_rule(1))
        await press(pilot, "u")
        assert (rules(), status()) == ([True], "disabled")
        assert "was changed again after revision" in notes(pilot.app)
        await press(pilot, "u")
        assert isinstance(pilot.app.screen, ConfirmScreen)
        await press(pilot, "y")
        assert sorted(rules()) == [False, True]


@pytest.mark.parametrize(
    ("tab", "keys"),
    [("fleet", "jjj"), ("fleet", "tjjj"), ("providers", "jj"), ("catalogue", "jjjj")],
    ids=["tiles", "table", "providers", "list"],
)
async def test_one_comes_back_to_the_same_place(home: Path, tab: str, keys: str) -> None:
    """tui.md 29: only cards or table was remembered."""

    def place(pilot: Pilot[None]) -> object:
        app = pilot.app
        assert isinstance(app, OmniApp)
        assert app.pane is not None
        return app.pane.place()

    async with opened(home, tab, (80, 24)) as pilot:
        first = place(pilot)
        await press(pilot, *keys)
        left = place(pilot)
        assert left != first
        await press(pilot, "q")
    async with opened(home, "costs") as pilot:
        await press(pilot, "q")  # where one was not keeps its place
    async with opened(home, tab, (80, 24)) as pilot:
        assert place(pilot) == left


async def test_the_matrix_shows_whole_columns_at_both_of_its_ends(home: Path) -> None:
    """Half a price would be a wrong one: "$0.0" of $0.028."""
    async with opened(home, "roles", (80, 24)) as pilot:
        matrix = pilot.app.query_one(Matrix)
        every = [str(cell).split() for key in matrix.rows for cell in matrix.get_row(key)]
        prices = {word for cell in every for word in cell if word.startswith("$")}
        for keys in ((), ("end",)):
            await press(pilot, *keys)
            lines = [matrix.render_line(y).text for y in range(8)]
            seen = {word for line in lines for word in line.split() if word.startswith("$")}
            assert seen
            assert seen <= prices
