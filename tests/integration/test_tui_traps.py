"""What must not trap, lose or hide: dialogs, errors nobody expected, drafts, the focus."""

import threading
from pathlib import Path

import pytest
from textual.screen import ModalScreen
from textual.widgets import OptionList

from omni_cli.bootstrap import App
from omni_cli.tui.app import UNEXPECTED, OmniApp
from omni_cli.tui.faults import FILE, Ended
from omni_cli.tui.registry import TABS
from omni_cli.tui.screens.failover import FailoverPane
from omni_cli.tui.screens.help import HelpScreen
from omni_cli.tui.widgets.form import ConfirmScreen
from omni_cli.tui.widgets.keys import Keys
from omni_cli.tui.widgets.links import LinkList
from omni_cli.tui.widgets.picker import PickerScreen
from omni_cli.tui.widgets.status import StatusLine
from tests.integration.tui_pilot import copy_home, notes, opened, press
from tests.snapshot.scene import clock, env_of
from tests.snapshot.steps import settle


@pytest.fixture
def home(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_home(tmp_path / "home", tmp_path_factory.getbasetemp() / "past-home", past=True)


async def test_dialogs_dim_what_is_below_and_drafts_are_asked_about(home: Path) -> None:
    async with opened(home, "failover") as pilot:
        app = pilot.app
        assert isinstance(app, OmniApp)
        for dialog in (HelpScreen(app.tabs, app.pane), PickerScreen("", []), ConfirmScreen("?")):
            assert isinstance(dialog, ModalScreen)
            app.push_screen(dialog)
            await pilot.pause()
            assert 0 < dialog.styles.background.a < 1, type(dialog)
            app.pop_screen()
        assert not app.query_one(LinkList).allow_select

        pane = app.query_one(FailoverPane)
        app.query_one("#chains", OptionList).highlighted = 0
        app.query_one(LinkList).focus()
        await press(pilot, "shift+down", "q")
        question = app.screen
        assert isinstance(question, ConfirmScreen)
        assert pane.chain is not None
        assert f"{pane.chain.name} not saved" in question._detail
        await press(pilot, "n")
        assert app.is_running
        assert pane.unsaved()
        await press(pilot, "u", "q")
        assert app._exit


async def test_every_key_of_the_footer_can_be_read_at_80_columns(home: Path) -> None:
    async with opened(home, "fleet", (80, 24)) as pilot:
        for tab in TABS:
            await press(pilot, "escape", tab.key)
            if tab.id == "failover":
                await press(pilot, "enter")
            shown = [(k.sign, k.title, k.right) for k in pilot.app.query_one(Keys).shown]
            assert max(right for *_, right in shown) <= 80, (tab.id, shown)
            if tab.id == "chat":
                await press(pilot, "escape")


async def test_no_key_is_cut_wherever_the_focus_is(home: Path) -> None:
    """tui.md 27 on: a chart with the focus, a model's page and a narrow window cut "? He"."""
    async with opened(home, "usage", (80, 24)) as pilot:

        def line() -> tuple[list[str], int]:
            keys = pilot.app.screen.query_one(Keys)
            return [key.title for key in keys.shown], max(key.right for key in keys.shown)

        pilot.app.query_one("UsagePane Chart").focus()
        for width, size in ((80, (80, 24)), (50, (50, 20)), (120, (120, 40))):
            await pilot.resize_terminal(*size)
            await press(pilot)
            await pilot.pause()
            titles, right = line()
            assert {"Help", "Quit"} <= set(titles)
            assert right <= width, titles
        assert "palette" in titles
        await pilot.resize_terminal(80, 24)
        await press(pilot, "1", "j", "enter", "left")
        titles, right = line()
        assert {"Back", "Edit", "Help"} <= set(titles)
        assert right <= 80, titles


async def test_keys_that_have_nothing_to_act_on_are_not_shown(tmp_path: Path) -> None:
    """An empty Budgets offered to edit, raise, disable and delete."""
    async with opened(tmp_path / "empty", "budgets") as pilot:
        for tab, some, none in (
            ("7", {"New"}, {"Edit", "Raise", "Disable/enable", "Delete"}),
            ("minus", {"Undo"}, {"Apply", "Dismiss"}),
            ("4", {"New"}, {"Add", "Save", "Rename", "Delete"}),
            ("R", {"Assign", "New rule", "Test"}, {"Take out", "On/off", "Filter"}),
            ("H", set(), {"Roll back"}),
        ):
            await press(pilot, tab)
            titles = {key.title for key in pilot.app.query_one(Keys).shown}
            assert some | {"Help", "Quit"} <= titles, tab
            assert not none & titles, tab


async def test_what_nobody_expected_is_told_without_values(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: FailoverPane, omni: App, wanted: object) -> None:
        typed = "sk-ant-" + "a1B2" * 12
        raise KeyError(f"no {typed}")

    async with opened(home, "fleet") as pilot:
        app = pilot.app
        monkeypatch.setattr(FailoverPane, "load", broken)
        await pilot.press("4")
        for _ in range(200):
            if UNEXPECTED in notes(app):
                break
            await pilot.pause(0.01)
        assert "KeyError in test_tui_traps" not in notes(app)  # only places in omni
        assert "KeyError in pane.py" in notes(app)
        assert app.is_running
        said = notes(app)
        app.clear_notifications()
        monkeypatch.undo()
        await press(pilot, "f5")  # the pane reads again
        assert app.query_one(FailoverPane).chain is not None
    log = (home / "data" / FILE) if (home / "data").is_dir() else home / FILE
    assert "KeyError" in log.read_text("utf-8")
    assert "test_tui_traps.py" in log.read_text("utf-8")
    assert "a1B2" not in log.read_text("utf-8") + said


async def test_an_error_that_ends_it_says_so_in_two_lines_and_with_exit_code_1(home: Path) -> None:
    app = OmniApp(env_of(home), clock=clock, tab="fleet", theme="dark")

    def burst() -> None:
        key = "sk-secret-of-mine"
        raise ValueError(key)

    async def run() -> None:
        async with app.run_test() as pilot:
            app.call_later(burst)
            await pilot.pause()

    with pytest.raises(Ended) as raised:
        await run()
    assert app.return_code == 1
    assert "ValueError" in raised.value.words
    assert "secret" not in raised.value.words


async def test_what_is_read_for_long_says_so_until_it_is_there(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go = threading.Event()
    read = FailoverPane.load

    def slow(self: FailoverPane, omni: App, wanted: object) -> object:
        omni.note("counted 130,000 of 240,000 requests")
        go.wait(20)
        return read(self, omni, wanted)

    monkeypatch.setattr(FailoverPane, "load", slow)
    app = OmniApp(env_of(home), clock=clock, tab="failover", theme="dark")
    async with app.run_test() as pilot:
        pane = app.query_one(FailoverPane)
        for _ in range(300):
            if pane.loading:
                break
            await pilot.pause(0.01)
        assert pane.loading
        assert app.query_one(StatusLine)._slow == "counted 130,000 of 240,000 requests"
        go.set()
        await settle(pilot)
        assert not pane.loading
        assert pane.chain is not None


async def test_back_from_the_shell_everything_is_drawn(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl+Z stops it; what the shell wrote meanwhile is no longer what the terminal was sent."""
    stopped: list[bool] = []
    monkeypatch.setattr(OmniApp, "action_suspend_process", lambda _: stopped.append(True))
    async with opened(home, "fleet") as pilot:
        app = pilot.app
        assert isinstance(app, OmniApp)
        await press(pilot, "ctrl+z")
        assert stopped
        frame = "\x1b[1;1Homni\x1b[1;1H"
        for drawn_again in (
            lambda: app.app_resume_signal.publish(app),
            app.action_reload,
            app.on_resize,
        ):
            assert app.sent.spare(frame)
            assert not app.sent.spare(frame)
            drawn_again()
            await pilot.pause()
        assert app.sent.spare(frame)


async def test_the_row_of_the_cursor_can_be_read_in_sixteen_colours(home: Path) -> None:
    """Black, reversed, on a dark terminal: the chosen row was the one that could not be read."""
    async with opened(home, "usage") as pilot:
        pilot.app.theme = "terminal"
        for key, kind in (("5", "SortableTable Table"), ("R", "Matrix")):
            await press(pilot, key)
            cursor = pilot.app.query_one(kind).get_component_rich_style("datatable--cursor")
            assert cursor.reverse
            assert cursor.color is None or cursor.color.is_default, kind
            assert cursor.bgcolor is None or cursor.bgcolor.is_default, kind
