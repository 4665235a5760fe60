"""The line of keys: a click presses one, and the palette's stands at the right."""

from typing import ClassVar

from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.events import AppBlur, AppFocus
from textual.widget import Widget

from omni_cli.tui.widgets.keys import Keys


class Page(App[None]):
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("a", "add", "Add", tooltip="Add one"),
        Binding("b", "never", "Never"),
        Binding("c", "hidden", "Hidden", show=False),
    ]
    added = 0

    def compose(self) -> ComposeResult:
        yield Keys()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return None if action == "never" else super().check_action(action, parameters)

    def action_add(self) -> None:
        self.added += 1

    def action_never(self) -> None:
        raise AssertionError


async def test_a_click_presses_a_key() -> None:
    app = Page()
    async with app.run_test(size=(60, 10)) as pilot:
        await pilot.pause()
        keys = app.query_one(Keys)
        assert not keys.children
        assert [(key.title, key.enabled) for key in keys.shown] == [
            ("Add", True),
            ("Never", False),
            ("palette", True),
        ]
        line = str(keys.render())
        assert line.startswith("a Add b Never ")
        assert line.rstrip().endswith("▏^p palette")
        await pilot.click(Keys, offset=(3, 0))
        await pilot.click(Keys, offset=(7, 0))
        await pilot.click(Keys, offset=(20, 0))
        assert app.added == 1
        await pilot.hover(Keys, offset=(2, 0))
        assert keys.tooltip == "Add one"


class Box(Widget, can_focus=True):
    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "open", "Open")]


async def test_the_keys_of_what_gets_the_focus_in_a_page_that_has_none_are_shown() -> None:
    """tui.md 20: in a browser the first line of keys was of nothing that had the focus."""

    class Late(Page):
        AUTO_FOCUS = None

        def compose(self) -> ComposeResult:
            yield Box()
            yield Keys()

    app = Late()
    async with app.run_test(size=(60, 10)) as pilot:
        app.post_message(AppBlur())
        await pilot.pause()
        app.query_one(Box).focus()
        await pilot.pause()
        assert "Open" in [key.title for key in app.query_one(Keys).shown]
        app.post_message(AppFocus())
        await pilot.pause()
        app.post_message(AppBlur())  # another window: what could be done stays to be read
        await pilot.pause()
        assert app.focused is None
        assert "Open" in [key.title for key in app.query_one(Keys).shown]
