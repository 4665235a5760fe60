"""What a tab shows while there is nothing to show. It takes the focus, so that its keys work."""

from typing import Any

from textual.widgets import Static

from omni_cli.tui.pane import Pane


class Empty(Static, can_focus=True):
    """Words that teach the next key; hidden until ``set_empty`` says so."""

    DEFAULT_CSS = """
    Empty { padding: 1 2; display: none; height: 1fr; }
    """


def set_empty(pane: Pane[Any], empty: bool) -> None:
    """Show the words or the rest (class ``-empty``); the focus goes where keys work."""
    words = pane.query_one(Empty)
    if words.display == empty:
        return
    words.display = empty
    pane.set_class(empty, "-empty")
    app = pane.omni
    focused = app.focused
    mine = focused is None or pane in focused.ancestors
    if mine and app.is_pane_active(pane) and len(app.screen_stack) == 1:
        app.screen.set_focus(pane.entry())
