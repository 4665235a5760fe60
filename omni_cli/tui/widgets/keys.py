"""The keys of what has the focus, in the last line."""

from typing import Any

from msgspec import Struct
from rich.cells import cell_len
from textual import events
from textual.content import Content
from textual.reactive import reactive
from textual.screen import Screen
from textual.widget import Widget

from omni_cli.domain.record import replace


class Key(Struct, frozen=True):
    """``sign``: the key as it is written. ``left`` and ``right``: its cells, the last one not.
    ``apart``: at the right."""

    key: str
    sign: str
    title: str
    action: str
    enabled: bool
    tooltip: str
    left: int
    right: int
    apart: bool = False


#: Stay where there is no room for all: the help tells of the others.
_STAYING = ("help", "quit", "close", "app.help", "app.quit")


def _fitted(keys: list[Key], width: int) -> list[Key]:
    """The keys one beside the other, whole: without the last ones where there is no room, but with
    those that help and leave."""
    kept = list(keys)
    while sum(key.right - key.left + 1 for key in kept) - 1 > width:
        dropped = next((key for key in reversed(kept) if key.action not in _STAYING), None)
        if dropped is None:
            break
        kept.remove(dropped)
    placed, at = list[Key](), 0
    for key in kept:
        placed.append(replace(key, left=at, right=at + key.right - key.left))
        at = placed[-1].right + 1
    return placed


class Keys(Widget):
    """As Textual's Footer, in one widget: that one makes a widget of each key anew whenever the
    focus moves, which is the greater part of going to another tab. A click presses a key."""

    ALLOW_SELECT = False
    DEFAULT_CSS = """
    Keys { dock: bottom; height: 1; background: $panel; color: $footer-foreground; }
    """
    shown: reactive[tuple[Key, ...]] = reactive(())
    _hovered: reactive[Key | None] = reactive(None)

    def on_mount(self) -> None:
        self.screen.bindings_updated_signal.subscribe(self, self._changed)

    def _changed(self, screen: Screen[Any]) -> None:
        # A window without the focus takes it from the widget, too: then the keys stay. A page in a
        # browser may not have it yet when a widget is given it.
        looked_at = screen.app.app_focus or screen.focused is not None
        if looked_at and self.is_attached and screen is self.screen:
            self.call_after_refresh(self._read)

    def on_resize(self) -> None:
        self._read()

    def _read(self) -> None:
        if not self.is_attached:
            return
        found = list[Key]()
        active = self.screen.active_bindings
        seen = set[str]()
        for _, binding, enabled, tooltip in active.values():
            if binding.show and binding.action not in seen:
                seen.add(binding.action)
                found.append(self._key(binding, enabled, tooltip, 0))
        found = _fitted(found, self.size.width)
        if (last := active.get(self.app.COMMAND_PALETTE_BINDING)) is not None:
            _, binding, enabled, tooltip = last
            tooltip = tooltip or binding.description
            left = self.size.width - 1 - self._key(binding, enabled, tooltip, 0).right
            if not found or found[-1].right + 2 <= left:
                found.append(replace(self._key(binding, enabled, tooltip, left), apart=True))
        self.shown = tuple(found)

    def _key(self, binding: Any, enabled: bool, tooltip: str, left: int) -> Key:
        sign = self.app.get_key_display(binding)
        right = left + cell_len(f"{sign} {binding.description}")
        return Key(
            binding.key, sign, binding.description, binding.action, enabled, tooltip, left, right
        )

    def render(self) -> Content:
        line = Content("")
        for key in self.shown:
            if key.apart:
                gap = key.left - line.cell_length - 1
                line += Content.assemble(" " * gap, ("▏", "$foreground 20%"))
            else:
                line += Content(" " * (key.left - line.cell_length))
            how = ("" if key.enabled else " dim") + (
                " on $block-hover-background" if key == self._hovered else ""
            )
            line += Content.assemble(
                (key.sign, f"bold $footer-key-foreground{how}"),
                (f" {key.title}", f"$footer-description-foreground{how}"),
            )
        return line.truncate(self.size.width)

    def _at(self, x: int) -> Key | None:
        return next((key for key in reversed(self.shown) if key.left <= x < key.right), None)

    def on_mouse_move(self, event: events.MouseMove) -> None:
        self._hovered = self._at(event.x)
        self.tooltip = self._hovered.tooltip or None if self._hovered else None

    def on_leave(self) -> None:
        self._hovered = None

    def on_mouse_down(self, event: events.MouseDown) -> None:
        key = self._at(event.x)
        if key is not None and key.enabled:
            self.app.simulate_key(key.key)
        elif key is not None:
            self.app.bell()
