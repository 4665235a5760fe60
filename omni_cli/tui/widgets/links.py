"""A chain's models in order: moved by key or by dragging, edited where they stand."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from msgspec import Struct
from rich.cells import cell_len
from textual import events
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.geometry import Region
from textual.message import Message
from textual.reactive import reactive
from textual.widget import Widget

from omni_cli.domain.models import MAX_RETRIES_RANGE, TIMEOUT_MS_RANGE
from omni_cli.domain.record import replace
from omni_cli.tui.text import clip

_LINES = 2
_MUTED = "$foreground-muted"
#: Field name, its words, its range, and how many digits it takes.
_FIELDS = (
    ("retries", MAX_RETRIES_RANGE, 2),
    ("timeout ms", TIMEOUT_MS_RANGE, 6),
)


class LinkRow(Struct, frozen=True):
    """``note`` says what is wrong with the model, or ""; ``facts`` stand at the right, the first
    ones where there is room. ``state``: sign and style of the model's health."""

    model: str
    name: str
    provider: str
    max_retries: int
    timeout_ms: int
    facts: tuple[str, ...] = ()
    note: str = ""
    state: tuple[str, str] = ("○", _MUTED)


class _Edit(Struct):
    """``fresh``: the next digit replaces the text, as if it were selected."""

    texts: list[str]
    at: int = 0
    fresh: bool = True


class LinkList(Widget, can_focus=True):
    """Set ``rows`` through ``fill``; what the user changes comes back as ``Changed``."""

    DEFAULT_CSS = """
    LinkList { height: auto; background: $background; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "cursor(-1)", "Up", show=False),
        Binding("down,j", "cursor(1)", "Down", show=False),
        Binding("shift+up,K", "move(-1)", "Move", key_display="⇧↑↓", tooltip="Move up"),
        Binding("shift+down,J", "move(1)", "Move down", show=False),
        Binding("e,enter", "edit", "Edit", key_display="e"),
    ]
    #: Dragging moves a model; Textual would mark the text it passes over as well.
    ALLOW_SELECT = False
    cursor: reactive[int] = reactive(0)

    @dataclass
    class Changed(Message):
        rows: tuple[LinkRow, ...]

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002  # Textual's own name
        super().__init__(id=id)
        self.rows: tuple[LinkRow, ...] = ()
        self._edit: _Edit | None = None
        self._dragged: tuple[LinkRow, ...] | None = None

    def fill(self, rows: Sequence[LinkRow]) -> None:
        """Show these, the cursor on its model; an edit or a drag under way is not disturbed."""
        if self.editing or self._dragged is not None or tuple(rows) == self.rows:
            return
        model = None if self.row is None else self.row.model
        self.rows = tuple(rows)
        models = [row.model for row in rows]
        last = max(len(rows) - 1, 0)
        self.cursor = models.index(model) if model in models else min(self.cursor, last)
        self.refresh(layout=True)

    @property
    def editing(self) -> bool:
        return self._edit is not None

    @property
    def row(self) -> LinkRow | None:
        """The one under the cursor."""
        return self.rows[self.cursor] if self.cursor < len(self.rows) else None

    def get_content_height(self, container: object, viewport: object, width: int) -> int:  # noqa: ARG002  # Textual's signature
        return max(len(self.rows) * _LINES + self.editing, 1)

    # --- drawing -----------------------------------------------------------------------------

    def render(self) -> Content:
        lines: list[Content] = []
        for at, row in enumerate(self.rows):
            lines += self._drawn(at, row)
        return Content("\n").join(lines)

    def _drawn(self, at: int, row: LinkRow) -> list[Content]:
        width, on = self.size.width, at == self.cursor
        held = on and self._dragged is not None
        focus = on and (self.has_focus or held)
        bar = ("▌" if on else " ", "bold $warning" if held else "$primary")
        ground = " on $primary 20%" if focus else " on $surface" if on else ""
        name = clip(row.name, max(width - 9 - cell_len(row.provider), 8))
        left = Content.assemble(
            bar,
            ("≡ ", "bold $warning" if held else _MUTED),
            (f"{at + 1} ", "bold $primary"),
            (f"{row.state[0]} ", row.state[1]),
            (name, "bold"),
            (f"  {row.provider}", _MUTED),
        )
        last = at == len(self.rows) - 1
        fields = Content.assemble(bar, ("    " if last else "  ↓ ", _MUTED))
        for index, (name, _, digits) in enumerate(_FIELDS):
            fields += self._field(at, index, name, digits)
        room = max(width - fields.cell_length, 0)
        if row.note:
            fields += Content.styled(clip(f"▲ {row.note}", room), "$warning")
        said = ""
        for fact in () if row.note else row.facts:  # half a price would be a wrong one
            longer = f"{said} · {fact}" if said else fact
            said = longer if cell_len(longer) <= room else said
        fields += Content.styled(said, _MUTED)
        lines = [left.pad_right(max(width - left.cell_length, 0))]
        lines.append(fields.pad_right(max(width - fields.cell_length, 0)))
        lines = [line.stylize_before(ground.strip()) if ground else line for line in lines]
        if on and self._edit is not None:
            said = self._trouble() or "Enter keeps · Tab other value · Esc leaves"
            style = "$error" if self._trouble() else _MUTED
            lines.append(Content.styled(f"      {said}", style))
        return lines

    def _field(self, at: int, index: int, name: str, digits: int) -> Content:
        row, edit = self.rows[at], self._edit
        value = (row.max_retries, row.timeout_ms)[index]
        if edit is None or at != self.cursor:
            return Content.assemble((f"{name} ", _MUTED), f"{value:<{digits}} ")
        text = edit.texts[index]
        here = index == edit.at
        shown = text if here and edit.fresh else text + ("▏" if here else "")
        style = ("reverse" if edit.fresh else "underline") if here else "underline"
        return Content.assemble(
            (f"{name} ", "bold" if here else _MUTED),
            (shown.ljust(digits), style),
            " ",
        )

    def watch_cursor(self) -> None:
        self._reveal()

    def _reveal(self) -> None:
        """Keep the cursor's lines in sight."""
        if self.is_attached and self.parent is not None:
            region = Region(0, self.cursor * _LINES, self.size.width, _LINES + self.editing)
            self.call_after_refresh(self._show_lines, region)

    def _show_lines(self, region: Region) -> None:
        holder = self.parent
        if isinstance(holder, Widget) and holder.is_attached:
            holder.scroll_to_region(region, animate=False, force=True)

    # --- moving ------------------------------------------------------------------------------

    def action_cursor(self, by: int) -> None:
        if self.rows:
            self.cursor = min(max(self.cursor + by, 0), len(self.rows) - 1)

    def action_move(self, by: int) -> None:
        if self._put(self.cursor, self.cursor + by):
            self.post_message(self.Changed(self.rows))

    def _put(self, at: int, to: int) -> bool:
        """Row ``at`` to place ``to``; whether anything moved."""
        to = min(max(to, 0), len(self.rows) - 1)
        if at == to or not self.rows:
            return False
        rows = list(self.rows)
        rows.insert(to, rows.pop(at))
        self.rows = tuple(rows)
        self.cursor = to
        self.refresh()
        return True

    # --- the mouse ---------------------------------------------------------------------------

    def _row_at(self, y: int) -> int:
        below = self.editing and y >= (self.cursor + 1) * _LINES
        return min(max((y - below) // _LINES, 0), len(self.rows) - 1)

    def on_mouse_down(self, event: events.MouseDown) -> None:
        if not self.rows:
            return
        at = self._row_at(event.y)
        if self.editing:
            if at == self.cursor:
                return
            self._keep()
        self.cursor = at
        self._dragged = self.rows
        self.capture_mouse()
        self.refresh()

    def on_mouse_move(self, event: events.MouseMove) -> None:
        if self._dragged is not None:
            self._put(self.cursor, self._row_at(event.y))

    def on_mouse_up(self) -> None:
        before, self._dragged = self._dragged, None
        self.release_mouse()
        self.refresh()
        if before is not None and before != self.rows:
            self.post_message(self.Changed(self.rows))

    def on_click(self, event: events.Click) -> None:
        if event.chain == 2:
            self.action_edit()

    # --- editing -----------------------------------------------------------------------------

    def action_edit(self) -> None:
        row = self.row
        if row is not None and not self.editing:
            self._edit = _Edit([str(row.max_retries), str(row.timeout_ms)])
            self.refresh(layout=True)
            self._reveal()

    def on_key(self, event: events.Key) -> None:
        """While editing, every key is the fields'."""
        edit = self._edit
        if edit is None:
            return
        event.stop()
        if event.key == "escape":
            self._leave()
        elif event.key == "enter":
            if not self._trouble():
                self._keep()
        elif event.key in ("tab", "shift+tab", "up", "down", "left", "right"):
            edit.at, edit.fresh = 1 - edit.at, True
        elif event.key in ("backspace", "delete"):
            edit.texts[edit.at] = "" if edit.fresh else edit.texts[edit.at][:-1]
            edit.fresh = False
        elif event.character is not None and event.character.isdecimal():
            old = "" if edit.fresh else edit.texts[edit.at]
            edit.texts[edit.at] = (old + event.character)[: _FIELDS[edit.at][2]]
            edit.fresh = False
        self.refresh()

    def on_blur(self) -> None:
        self._keep()
        self.refresh()

    def on_focus(self) -> None:
        self.refresh()

    def _trouble(self) -> str:
        """What is wrong with the texts, or ""."""
        if self._edit is not None:
            for (name, (low, high), _), text in zip(_FIELDS, self._edit.texts, strict=True):
                if not text.isdecimal() or not low <= int(text) <= high:
                    return f"{name} runs from {low:,} to {high:,}"
        return ""

    def _keep(self) -> None:
        """Take over what was typed, if it fits."""
        edit, row = self._edit, self.row
        if edit is None or row is None:
            return
        well = not self._trouble()
        self._leave()
        if well:
            retries, timeout = map(int, edit.texts)
            fresh = replace(row, max_retries=retries, timeout_ms=timeout)
            if fresh != row:
                at = self.cursor
                self.rows = (*self.rows[:at], fresh, *self.rows[at + 1 :])
                self.post_message(self.Changed(self.rows))

    def _leave(self) -> None:
        self._edit = None
        self.refresh(layout=True)
