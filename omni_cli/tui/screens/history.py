"""History: the fleet's revisions, what each changed, and going back to one."""

from collections.abc import Sequence
from typing import Any, ClassVar

from msgspec import Struct
from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.widget import Widget
from textual.widgets import DataTable, Static

from omni_cli.bootstrap import App
from omni_cli.domain.errors import OmniError
from omni_cli.domain.record import replace
from omni_cli.domain.words import counted
from omni_cli.records import Revision
from omni_cli.services.fleet.apply import Change
from omni_cli.tui import text
from omni_cli.tui.pane import Pane
from omni_cli.tui.widgets.form import ConfirmScreen
from omni_cli.tui.widgets.table import Column, Row, Table, flexible
from omni_cli.tui.widgets.tiles import Empty, set_empty
from omni_cli.tui.widgets.words import Words
from omni_cli.tui.workers import tell

#: So many revisions are listed, and so many lines of a plan shown in a question.
_LISTED, _ASKED = 200, 12
_STYLES = {"+": "$success", "-": "$error", "~": "$warning"}
_EMPTY = Content.assemble(
    ("No change yet.\n\n", "bold"),
    "Every change of the fleet is a numbered revision here, with what it changed; each can be\n",
    "gone back to.",
)


class Past(Struct, frozen=True):
    """``revisions`` newest first, without the fleets themselves."""

    revisions: tuple[Revision, ...]
    now_ms: int
    zone: str


class HistoryPane(Pane[Past]):
    DEFAULT_CSS = """
    HistoryPane.-empty #full { display: none; }
    HistoryPane #list { width: 1fr; }
    HistoryPane #changes { width: 1fr; border-left: solid $foreground 20%; padding: 0 1; }
    """
    ON_ONE = frozenset({"back"})
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("b", "back", "Roll back", tooltip="Go back to this revision"),
    ]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._past: Past | None = None
        self._told: int | None = None

    def compose(self) -> ComposeResult:
        yield Empty(_EMPTY)
        with Horizontal(id="full"):
            yield Table(id="list")
            with VerticalScroll(id="changes"):
                yield Words(id="words", markup=False)

    def entry(self) -> Widget | None:
        return self.query_one(Empty if self.has_class("-empty") else Table)

    def load(self, omni: App, _wanted: Any) -> Past:
        found = omni.audit.revisions(limit=_LISTED)
        return Past(tuple(replace(r, fleet="") for r in found), omni.now_ms(), omni.zone)

    def show(self, value: Past) -> None:
        self._past = value
        set_empty(self, not value.revisions)
        self._draw()
        self._describe()

    def resized(self) -> None:
        self._draw()

    def _draw(self) -> None:
        past = self._past
        if past is None or not past.revisions:
            return
        width = self.size.width // 2
        wide = width >= 60
        columns = [
            Column("no", "No", "right", 4),
            Column("when", "When", width=11),
            *([Column("who", "Who", width=10)] if wide else []),
            Column("what", "Change", width=0),
        ]
        rows = []
        for revision in past.revisions:
            cells: list[str | Text] = [
                str(revision.number),
                text.clock(revision.at_ms, past.zone, today_ms=past.now_ms),
                Text(revision.reason, overflow="ellipsis", no_wrap=True),
            ]
            if wide:
                cells.insert(2, Text(revision.who, overflow="ellipsis", no_wrap=True))
            rows.append(Row(str(revision.number), cells))
        self.query_one(Table).fill(flexible(columns, "what", width), rows)

    @property
    def revision(self) -> Revision | None:
        """The one under the cursor."""
        key, past = self.query_one(Table).chosen, self._past
        revisions = () if past is None else past.revisions
        return next((r for r in revisions if str(r.number) == key), None)

    # --- what it changed ---------------------------------------------------------------------

    @on(DataTable.RowHighlighted)
    def _describe(self) -> None:
        revision = self.revision
        if revision is not None and revision.number != self._told:
            self._told = revision.number
            self.run_worker(
                lambda: self._compare(revision), thread=True, exclusive=True, group="diff"
            )

    def _compare(self, revision: Revision) -> None:
        try:
            with self.loader.session() as omni:
                shown = self._words(revision, omni.history.changes(revision.number))
        except OmniError as exc:
            shown = Content(f"{exc.message}\n{exc.hint}")
        tell(self.app, self._put, revision.number, shown)

    def _put(self, number: int, shown: Content) -> None:
        if self.is_attached and number == self._told:
            self.query_one("#words", Static).update(shown)
            self.query_one("#changes", VerticalScroll).scroll_home(animate=False)

    @staticmethod
    def _words(revision: Revision, changes: Sequence[Change]) -> Content:
        return Content.assemble(
            (f"Revision {revision.number}", "bold $primary"),
            (f" · {revision.who}\n", "$foreground-muted"),
            f"{revision.reason}\n",
            (f"{counted(len(changes), 'change')}\n\n", "$foreground-muted"),
            diff_text(changes),
        )

    # --- going back --------------------------------------------------------------------------

    @on(DataTable.RowSelected)
    def action_back(self) -> None:
        """Ask, with what it changes, then go back to the revision under the cursor."""
        revision = self.revision
        if revision is None:
            return
        number = revision.number

        def planned(changes: list[Change]) -> None:
            if not changes:
                self.notify(f"the fleet is as in revision {number}", timeout=3)
                return

            def answered(yes: bool | None) -> None:
                if yes:
                    self.act(lambda omni: omni.history.roll_back(number), done)

            detail = Content("This changes:\n") + diff_text(changes, most=_ASKED)
            question = f"Go back to revision {number}?"
            self.app.push_screen(ConfirmScreen(question, detail, yes="Roll back"), answered)

        def done(changes: list[Change]) -> None:
            self.omni.notify(
                f"{counted(len(changes), 'change')} as a new revision; u takes it back",
                title=f"Back on revision {number}",
            )

        self.act(lambda omni: omni.history.plan(number), planned)


def diff_text(changes: Sequence[Change], *, most: int = 400) -> Content:
    """Each change with the fields that differ, at most so many lines."""
    lines = [line for change in changes for line in change.lines()]
    shown = [Content.styled(line, _STYLES.get(line[0], "$foreground")) for line in lines[:most]]
    if len(lines) > most:
        shown.append(Content.styled(f"and {len(lines) - most:,} lines more", "$foreground-muted"))
    return Content("\n").join(shown)
