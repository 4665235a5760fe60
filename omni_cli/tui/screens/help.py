"""``?``: what the keys do here, and everywhere."""

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import Static

from omni_cli.tui.pane import Pane, actions_of
from omni_cli.tui.registry import Tab
from omni_cli.tui.widgets.sheet import Sheet

_EVERYWHERE = (
    ("[ ]", "previous, next tab"),
    ("Ctrl+P : /", "find any model, role, budget, request ... or action"),
    ("Ctrl+T", "next theme"),
    ("u", "take back the last change made here"),
    ("F5", "read everything again"),
    ("j k ↓ ↑", "move; g and G to the ends"),
    ("Tab", "to the next part of the screen"),
    ("q", "quit; where you were is remembered"),
)
_SIGNS = (
    ("● healthy, active, ok", "▲ warning"),
    ("✗ error, failed", "◐ maintenance"),
    ("○ standby, unknown", "– disabled"),
)


class HelpScreen(Sheet):
    DEFAULT_CSS = "HelpScreen > VerticalScroll { width: 64; max-width: 96%; max-height: 90%; }"
    BINDINGS: ClassVar[list[BindingType]] = [("question_mark", "dismiss(None)", "Close")]

    def __init__(self, tabs: Sequence[Tab], pane: Pane[Any] | None) -> None:
        super().__init__("Keys")
        self._tabs = tabs
        self._pane = pane

    def parts(self) -> ComposeResult:
        if self._pane is not None:
            here = [*_of_entry(self._pane)]
            here += [(a.key, a.title) for a in actions_of(type(self._pane)) if a.key]
            yield Static(_section(f"Here: {self._pane.id}", here))
        yield Static(_section("Tabs", [(t.key, f"{t.title}: {t.about}") for t in self._tabs]))
        yield Static(_section("Everywhere", _EVERYWHERE))
        signs = "\n".join(f"  {left:<26}{right}" for left, right in _SIGNS)
        yield Static(Content.styled("Signs", "bold $primary") + Content(f"\n{signs}"))


def _of_entry(pane: Pane[Any]) -> Iterator[tuple[str, str]]:
    """The keys of what has the focus first: Enter, as a rule."""
    for kind in type(pane.entry()).__mro__:
        for binding in Binding.make_bindings(kind.__dict__.get("BINDINGS", ())):
            if binding.show and binding.description:
                yield binding.key, binding.tooltip or binding.description


def _section(title: str, rows: Sequence[tuple[str, str]]) -> Content:
    shown = Content.styled(title, "bold $primary")
    for key, words in rows:
        shown += Content.assemble("\n  ", (f"{_key_name(key):<10}", "bold"), words)
    return shown + Content("\n")


_KEY_NAMES = {"question_mark": "?", "escape": "Esc", "enter": "Enter", "slash": "/"}


def _key_name(key: str) -> str:
    return _KEY_NAMES.get(key, key)
