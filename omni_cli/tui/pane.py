"""The base of every tab.

A pane says what to read (``wanted``, ``load``) and how to show it (``show``). Reading happens in
a worker thread, showing in the event loop; the base class sees to it that a pane is read when it
is first shown and again when the store has changed, never twice at once, and never while hidden.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, ClassVar, Generic, Protocol, TypeVar, runtime_checkable

from msgspec import Struct
from textual import events
from textual.binding import Binding
from textual.containers import Container
from textual.content import Content
from textual.geometry import Size
from textual.widget import Widget
from textual.widgets import Static

from omni_cli.bootstrap import App
from omni_cli.domain.errors import OmniError
from omni_cli.tui.data import Loader
from omni_cli.tui.workers import WorkerMixin, tell

Shown = TypeVar("Shown")
#: A command waits so long for a tab to be drawn, seconds.
_DRAWN_S = 2.0
#: An empty pane says that it reads after so long, seconds.
_PATIENCE_S = 0.4


@runtime_checkable
class Chooser(Protocol):
    """A list of any kind, whose lines have keys."""

    @property
    def chosen(self) -> str | None:
        """The key of the line under the cursor."""

    def choose(self, key: str) -> None:
        """Put the cursor on a line; nothing where it is not there."""


class Action(Struct, frozen=True):
    """``name`` as Textual runs it; ``key`` "" where only the palette has it."""

    name: str
    title: str
    key: str


def actions_of(kind: "type[Pane[Any]]") -> Iterator[Action]:
    """What can be done in a tab: its keys, then what has none."""
    for binding in Binding.make_bindings(kind.BINDINGS):
        if binding.description:
            yield Action(binding.action, binding.tooltip or binding.description, binding.key)
    for name, title in kind.ACTIONS:
        yield Action(name, title, "")


class Trouble(Static, can_focus=True):
    """Stands in the place of a pane that could not be read."""


class Pane(Container, WorkerMixin, Generic[Shown]):
    """Subclass it with the type of what ``load`` returns.

    Attributes:
        ACTIONS: (action name, title) pairs for the command palette, besides the bindings.
    """

    DEFAULT_CSS = """
    Pane { height: 1fr; width: 1fr; }
    Pane > Trouble { height: 1fr; padding: 1 2; }
    Pane.-failed > * { display: none !important; }
    Pane.-failed > Trouble { display: block !important; }
    """
    ACTIONS: ClassVar[tuple[tuple[str, str], ...]] = ()
    #: Actions on what the cursor is on: where there is nothing, they are no keys.
    ON_ONE: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, loader: Loader, *, id: str) -> None:  # noqa: A002  # Textual's own name
        super().__init__(id=id)
        self.loader = loader
        self._reading = False
        self._again = False
        self._fresh = False
        self._shown = False
        #: Whether there was ever anything to show.
        self._well = False
        #: The size and theme that it was last drawn for.
        self._fitted: tuple[Size, str] | None = None

    # --- what a subclass gives ---------------------------------------------------------------

    def wanted(self) -> Any:
        """What ``load`` needs to know of the widgets: read in the event loop, given to it."""
        return None

    def load(self, omni: App, wanted: Any) -> Shown:
        """Read through services; in a worker thread, so touch no widget here.

        Raises OmniError: it is shown in the pane's place, with its hint.
        """
        raise NotImplementedError

    def show(self, value: Shown) -> None:
        """Put into the widgets what was read."""
        raise NotImplementedError

    def resized(self) -> None:
        """The pane has another size, or the theme is another one; also before anything was read."""

    def entry(self) -> Widget | None:
        """The widget that gets the focus when the pane is opened."""
        return next((w for w in self.query("*") if w.focusable and w.display), None)

    @property
    def landing(self) -> Widget | None:
        """Where the focus goes: the entry, or what says why there is none."""
        return next(iter(self.query(Trouble)), None) or self.entry()

    def remember(self) -> dict[str, Any]:
        """What should survive a restart, as JSON values."""
        return {}

    def recall(self, kept: dict[str, Any]) -> None:
        """Before the first ``load``, when the widgets are there: take up what was kept."""

    def unsaved(self) -> str:
        """What would be lost if the app ended now, or ""."""
        return ""

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action in self.ON_ONE and self.has_class("-empty"):
            return False
        return super().check_action(action, parameters)

    # --- what the app calls --------------------------------------------------------------------

    async def reveal(self, key: str) -> None:
        """Wait until what is shown was read; with a key, put the cursor on its line."""
        while self._reading and self.is_attached:
            await asyncio.sleep(0.01)
        drawn = asyncio.Event()
        self.call_after_refresh(drawn.set)  # what is drawn only once it has a width
        with suppress(TimeoutError):
            await asyncio.wait_for(drawn.wait(), _DRAWN_S)
        if key and (shown := self.chooser) is not None:
            shown.choose(key)

    def place(self) -> dict[str, Any]:
        """The line under the cursor and how far it is scrolled, to be found again by ``put``."""
        shown = self.chooser
        if self._place or not isinstance(shown, Widget) or not isinstance(shown, Chooser):
            return self._place  # nothing was shown yet
        return {"row": shown.chosen, "scroll": shown.scroll_offset.y}

    def put(self, place: object) -> None:
        """Where the cursor goes once there is something to show; anything else is left alone."""
        self._place = place if isinstance(place, dict) else {}

    def _take_place(self) -> None:
        place, self._place = self._place, {}
        shown, row, scroll = self.chooser, place.get("row"), place.get("scroll")
        if isinstance(shown, Chooser) and isinstance(shown, Widget) and isinstance(row, str):
            shown.choose(row)
            if isinstance(scroll, int) and shown.chosen == row:
                shown.scroll_to(y=scroll, animate=False, force=True)

    @property
    def chooser(self) -> Chooser | None:
        """The list that the pane is about."""
        parts = (part for part in self.query("*") if part.display and isinstance(part, Chooser))
        return next((part for part in parts if isinstance(part, Chooser)), None)

    # --- what a subclass calls ---------------------------------------------------------------

    def refresh_data(self) -> None:
        """Read and show again; while reading is under way, once more after it."""
        if not self.is_attached:
            return
        if self._reading:
            self._again = True
            return
        self._reading = True
        self._fresh = True
        if not self._shown:
            self.set_timer(_PATIENCE_S, self._wait)
        wanted = self.wanted()
        self.run_worker(lambda: self._read(wanted), thread=True, group="read")

    def changed(self) -> None:
        """The app's word that the store has changed."""
        self._fresh = False
        if self.display and self.omni.is_pane_active(self):
            self.refresh_data()

    def opened(self) -> None:
        """The app's word that this pane is the one to be seen."""
        if not self._fresh:
            self.refresh_data()

    # --- inside ------------------------------------------------------------------------------

    def on_resize(self, event: events.Resize) -> None:
        # Textual tells the size whenever a pane comes into sight. Colours of cells are the theme's.
        if (event.size, self.app.theme) != self._fitted:
            self._fitted = event.size, self.app.theme
            self.resized()

    def _wait(self) -> None:
        """Show that it reads, where the first time takes long."""
        if not self._shown and self.is_attached and self.omni.is_pane_active(self):
            self.loading = True

    def _read(self, wanted: Any) -> None:
        value: Any
        try:
            with self.loader.session() as omni:
                value = self.load(omni, wanted)
            self._tell(self._loaded, value)
        except OmniError as exc:
            self._tell(self._failed, exc)
        except Exception:
            self._reading = False  # what nobody expected is told by the app
            self._shown = True
            said = OmniError("this could not be shown", hint="the log in the data folder says more")
            self._tell(self._stand_in, said)
            raise

    def _tell(self, what: Callable[..., None], *args: Any) -> None:
        """Call in the event loop, unless the app is going down meanwhile."""
        tell(self.app, what, *args)

    def _loaded(self, value: Shown) -> None:
        self._reading = False
        self._shown = True
        if self.is_attached:
            self.loading = False
            if not self._well:
                self._well = True
                self.set_class(False, "-failed")
                self.query(Trouble).remove()
            self.show(value)
            if self._place:
                self.call_after_refresh(self._take_place)
            self.call_after_refresh(self._leave_hidden)
        self._next()

    def _leave_hidden(self) -> None:
        """Take the focus from what ``show`` hid before it was ever drawn: nothing else would. What
        was shown as loading had to give it up, and gets it back: without it keys do nothing."""
        if not self.is_attached:
            return
        focused = self.screen.focused
        if focused is not None and self in focused.ancestors:
            parts = [part for part in focused.ancestors_with_self if isinstance(part, Widget)]
            if all(part.display for part in parts):
                return
            self.screen.set_focus(None)
        if self.screen.focused is None and self.omni.is_pane_active(self):
            self.screen.set_focus(self.landing)

    def _failed(self, error: OmniError) -> None:
        self._reading = False
        self._shown = True
        if self.is_attached:
            self._stand_in(error)
            if self.omni.is_pane_active(self):
                self.failed(error)
            self._fresh = False
            self.call_after_refresh(self._leave_hidden)
        self._next()

    def _stand_in(self, error: OmniError) -> None:
        """Where nothing was ever shown, say in its place why."""
        if not self.is_attached:
            return
        self.loading = False
        if self._well:
            return
        words = Content.assemble(
            ("✗ ", "$error"), (error.message, "bold"), f"\n\n{error.hint}" if error.hint else ""
        ) + Content.assemble("\n\n  ", ("F5", "bold $primary"), "  tries again")
        for old in self.query(Trouble):
            old.update(words)
            return
        self.mount(Trouble(words))
        self.set_class(True, "-failed")
        if self.omni.is_pane_active(self):
            self.call_after_refresh(lambda: self.screen.set_focus(self.landing))

    def failed(self, error: OmniError) -> None:
        """Reading failed. The default tells it as a notification and keeps what was shown."""
        self.omni.complain(error)

    def _next(self) -> None:
        if self._again:
            self._again = False
            self.refresh_data()
