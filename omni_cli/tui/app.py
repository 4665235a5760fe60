"""The application: tabs, jump keys, command palette, themes, and the watch on the store."""

import asyncio
import contextlib
import gc
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from textual import events, on
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.driver import Driver
from textual.message import Message
from textual.screen import ModalScreen
from textual.widgets import ContentSwitcher
from textual.worker import WorkerFailed

from omni_cli import config as settings
from omni_cli.domain.commands import AFAR, check_here
from omni_cli.domain.errors import OmniError, UsageError
from omni_cli.ports import Clock
from omni_cli.services.fleet.connection_test import TestResult
from omni_cli.system import give_back_memory, replace_text
from omni_cli.tui import colours, faults
from omni_cli.tui.data import Loader
from omni_cli.tui.pane import Pane
from omni_cli.tui.registry import TABS, Tab
from omni_cli.tui.sent import Sent
from omni_cli.tui.theme import DEFAULT, load_themes, shipped_folder
from omni_cli.tui.widgets.keys import Keys
from omni_cli.tui.widgets.sheet import Sheet
from omni_cli.tui.widgets.status import StatusLine, TabBar

if TYPE_CHECKING:
    from textual.command import Provider

    from omni_cli.bootstrap import App as Omni

FILE = "tui.json"
#: How many commands the palette remembers.
_USED = 20


class UiState:
    """A dictionary per pane and one for the app, written whole on every save.

    A file that is missing, damaged or from another version is no error: it only holds comforts.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        self._all: dict[str, dict[str, Any]] = {}
        try:
            found = json.loads(self._path.read_text("utf-8"))
        except (OSError, ValueError):
            return
        if isinstance(found, dict):
            self._all = {str(k): v for k, v in found.items() if isinstance(v, dict)}

    def of(self, name: str) -> dict[str, Any]:
        """The remembered values of a pane ("fleet") or of the app ("app")."""
        return dict(self._all.get(name, {}))

    def keep(self, name: str, values: dict[str, Any]) -> None:
        self._all[name] = values

    def save(self) -> None:
        """Raises OSError."""
        replace_text(self._path, json.dumps(self._all, indent=1, sort_keys=True))


class StoreChanged(Message):
    """The store was written to, by this process or another, or the day or minute turned.

    What is shown should be read again. Several at once are as good as one.
    """

    def can_replace(self, message: Message) -> bool:
        return isinstance(message, StoreChanged)


#: The title of what is told when a worker failed on something that is no OmniError.
UNEXPECTED = "unexpected error"
#: How old a provider's last check may be, seconds: while its state is looked at, and otherwise.
PROBE_LOOKED_AT_S, PROBE_S = 5.0, 30.0
#: A new tab waits so long at most for the bar to be drawn, seconds.
_HEARD_S = 0.05
#: Long after the first paint, seconds; and a tab is made ahead only when no key came for so long.
_AHEAD_AFTER_S, _REST_S = 1.0, 0.3
#: Python looks through all objects for rubbish in 50 to 200 ms, and no key is answered meanwhile:
#: by itself after so many lesser turns only, here after a few, when no key came for some seconds.
_SELDOM, _TIDY_S, _FEW = 300, 5.0, 10


def _commands() -> "type[Provider]":
    from omni_cli.tui.palette import Commands

    return Commands


class OmniApp(App[None]):
    """The fleet on one screen.

    Args:
        env: the environment; decides where files are and which keys there are.
        clock: seconds since the epoch, UTC.
        cwd: where to look for a project's settings.
        theme: a theme's name, instead of the remembered one.
        tab: the id of the tab to open, instead of the remembered one.
        probing: whether providers are checked, unbilled, while it is open.
        ahead: whether tabs are made before they are asked for, while nothing else happens.
    """

    TITLE = "omni"
    CSS_PATH = "omni.tcss"
    ENABLE_COMMAND_PALETTE = True
    COMMANDS = {_commands}  # noqa: RUF012  # as the base class declares it
    HORIZONTAL_BREAKPOINTS = [  # noqa: RUF012  # as the base class declares it
        (0, "-narrow"),
        (100, "-normal"),
        (150, "-wide"),
    ]
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("question_mark", "help", "Help", key_display="?"),
        Binding("ctrl+t", "next_theme", "Theme", show=False),
        Binding("ctrl+p", "command_palette", "palette", show=False, priority=True),
        Binding("colon", "command_palette", "Find anything", show=False, key_display=":"),
        # Where a tab has no filter of its own.
        Binding("slash", "command_palette", "Find anything", show=False, key_display="/"),
        Binding("u", "undo", "Take back the last change made here", show=False),
        Binding("f5", "reload", "Reload", show=False),
        Binding("ctrl+z", "suspend_process", "Back to the shell until fg", show=False),
        Binding("right_square_bracket", "step(1)", "Next tab", show=False, key_display="]"),
        Binding("left_square_bracket", "step(-1)", "Previous tab", show=False, key_display="["),
        Binding("q", "quit", "Quit", show=True),
    ]

    def __init__(
        self,
        env: Mapping[str, str] | None = None,
        *,
        clock: Clock = time.time,
        cwd: Path | None = None,
        theme: str | None = None,
        tab: str | None = None,
        probing: bool = False,
        ahead: bool = False,
    ) -> None:
        #: What is on the terminal; before the base class, which asks for a driver.
        self.sent = Sent()
        super().__init__()
        self._probing, self._ahead = probing, ahead
        #: When there was a key or the mouse, as of ``time.monotonic``.
        self._heard = 0.0
        self._turns = {tab.id: asyncio.Lock() for tab in TABS}
        env = os.environ if env is None else env
        self.loader = Loader(env, clock=clock, cwd=cwd)
        self._clock = clock
        self._paths = settings.paths(env)
        self.ui = UiState(self._paths.data)
        self.tabs: tuple[Tab, ...] = TABS
        kept = self.ui.of("app")
        self.themes, self._theme_trouble = load_themes([shipped_folder(), self._paths.themes])
        for name in list(self.available_themes):
            self.unregister_theme(name)
        for found in self.themes.values():
            self.register_theme(found.theme)
        self._own_theme = kept.get("theme")
        wanted = theme or self._own_theme
        self.theme = wanted if wanted in self.themes else _usual_theme(env)
        self._first = tab or kept.get("tab")
        used = kept.get("used")
        #: Keys of the palette's commands, what was used last first.
        self.used = [key for key in used if isinstance(key, str)] if isinstance(used, list) else []
        self._looked_at = ""
        #: Whether it ended to make room for a live demo.
        self.wants_demo = False

    # --- layout ------------------------------------------------------------------------------

    def get_driver_class(self) -> type[Driver]:
        kind = super().get_driver_class()
        if sys.platform == "win32":
            return kind
        from omni_cli.tui.driver import sparing

        return sparing(kind, self.sent)

    def compose(self) -> ComposeResult:
        yield StatusLine(self.loader)
        yield TabBar(self.tabs)
        yield ContentSwitcher()
        yield Keys()

    async def on_mount(self) -> None:
        ids = [tab.id for tab in self.tabs]
        first = self._first
        await self.open_tab(first if first in ids else ids[0])
        for line in self._theme_trouble:
            self.notify(line, title="Theme left out", severity="warning")
        self.theme_changed_signal.subscribe(self, self._theme_changed)
        self.app_resume_signal.subscribe(self, self._draw_all)
        self.loader.note = self._tell_slow
        self.loader.watch(self._tell_changed)
        if self._probing:
            self.loader.probe(self._probe_period, self._tell_changed)
        if self._ahead:
            gc.freeze()
            gc.set_threshold(*gc.get_threshold()[:2], _SELDOM)
            self.set_interval(_TIDY_S, self._tidy)
            self.run_worker(self._make_ahead(), group="ahead")

    def on_resize(self) -> None:
        self.sent.forget()

    def _draw_all(self, _: object = None) -> None:
        """Whatever the terminal shows now."""
        self.sent.forget()
        self.refresh()

    async def on_event(self, event: events.Event) -> None:
        if isinstance(event, events.InputEvent):
            self._heard = time.monotonic()
        await super().on_event(event)

    async def open_tab(self, name: str) -> None:
        """Show a tab, made on first use."""
        bar = self.query_one(TabBar)
        bar.active = self._looked_at = name
        if self._pane(name) is None:
            # Importing and making it take longer than a key may: before, the bar shows that it was
            # heard.
            drawn = asyncio.Event()
            bar.call_after_refresh(drawn.set)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(drawn.wait(), _HEARD_S)
        pane = await self._made(name)
        if bar.active != name:
            return  # another tab was asked for meanwhile
        self.query_one(ContentSwitcher).current = name
        pane.opened()
        self.screen.set_focus(pane.landing)

    async def _made(self, name: str) -> Pane[Any]:
        """A tab's pane; who asks for it while it is made waits."""
        async with self._turns[name]:
            pane = self._pane(name)
            if pane is None:
                tab = next(tab for tab in self.tabs if tab.id == name)
                kind = await asyncio.to_thread(tab.load)
                pane = kind(self.loader, id=name)
                pane.display = False
                await self.query_one(ContentSwitcher).mount(pane)
                kept = self.ui.of(name)
                pane.recall(kept)
                pane.put(kept.get("place"))
            return pane

    async def _make_ahead(self) -> None:
        """Import, make and read the other tabs while nothing else happens, so that their keys
        answer at once. What was made stays, so that the collector passes over it from then on."""
        await asyncio.sleep(_AHEAD_AFTER_S)
        for tab in self.tabs:
            await self._rest()
            await asyncio.to_thread(tab.load)
            await self._rest()
            pane = await self._made(tab.id)
            await self._rest()
            await self._rehearse(pane)
            await self._rest()
            gc.collect()
            gc.freeze()

    async def _rehearse(self, pane: Pane[Any]) -> None:
        """Read and draw it below what is seen, so that its first opening is as quick as any."""
        if self.is_pane_active(pane) or not self.size:
            return
        pane.styles.layer = "below"
        pane.display = True
        pane.refresh_data()
        await pane.reveal("")
        pane.display = self.is_pane_active(pane)
        pane.styles.layer = None

    def _tidy(self) -> None:
        if gc.get_count()[2] >= _FEW and time.monotonic() - self._heard > _TIDY_S / 2:
            gc.collect()
            give_back_memory()

    async def _rest(self) -> None:
        """Wait until no key came for a moment, and no dialog dims what would be drawn."""
        while (left := self._heard + _REST_S - time.monotonic()) > 0 or len(self.screen_stack) > 1:
            await asyncio.sleep(max(left, _REST_S))
        await asyncio.sleep(0)

    async def compare(self, *models: str) -> None:
        """Open Compare with these models put together."""
        from omni_cli.tui.screens.compare import ComparePane

        await self.open_tab("compare")
        self.query_one(ComparePane).compare(*models)

    def _probe_period(self) -> float:
        """Asked from the probing thread."""
        return PROBE_LOOKED_AT_S if self._looked_at == "providers" else PROBE_S

    def _tell_slow(self, line: str) -> None:
        """From a thread that works on what takes long, such as counting days of another zone."""
        for status in self.screen_stack[0].query(StatusLine):
            status.post_message(StatusLine.Slow(line))

    def _tell_changed(self) -> None:
        self.post_message(StoreChanged())

    def _pane(self, name: str) -> Pane[Any] | None:
        made = (one for one in self.query_one(ContentSwitcher).children if one.id == name)
        return next((one for one in made if isinstance(one, Pane)), None)

    @property
    def pane(self) -> Pane[Any] | None:
        """The one to be seen."""
        current = self.query_one(ContentSwitcher).current
        return None if current is None else self._pane(current)

    def is_pane_active(self, pane: Pane[Any]) -> bool:
        return self.query_one(ContentSwitcher).current == pane.id

    # --- news --------------------------------------------------------------------------------

    @on(StoreChanged)
    def store_changed(self) -> None:
        """Let everything that is shown be read again."""
        base = self.screen_stack[0]
        # The news may come from a worker while the app is closing and its widgets are gone.
        for part in base.children:
            if isinstance(part, StatusLine):
                part.refresh_data()
            for pane in part.children if isinstance(part, ContentSwitcher) else ():
                if isinstance(pane, Pane):
                    pane.changed()
        for screen in self.screen_stack[1:]:
            again = getattr(screen, "refresh_data", None)
            if again is not None:
                again()

    @on(StatusLine.HealthChanged)
    def _health_changed(self, event: StatusLine.HealthChanged) -> None:
        """A toast and the bell for what went down or came back."""
        for names, said, severity in event.told():
            self.notify(said, title=names, severity=severity, markup=False, timeout=10)
        self.bell()

    def complain(self, error: OmniError) -> None:
        """Show an error and what to do about it."""
        text = error.message + (f"\n{error.hint}" if error.hint else "")
        self.notify(text, title=error.code.replace("_", " "), severity="error", markup=False)

    def _handle_exception(self, error: Exception) -> None:
        """Of a worker: told, and the screens go on. Anything else has ended a widget's messages:
        then they end, with exit code 1 and no values on the terminal."""
        cause = error.error if isinstance(error, WorkerFailed) else error
        log = faults.keep(self._paths.data, cause, self._clock())
        if isinstance(error, WorkerFailed):
            self.notify(
                f"could not do this: {faults.brief(cause)}\ndetails in {log}",
                title=UNEXPECTED,
                severity="error",
                markup=False,
            )
            return
        ended = faults.Ended(error, log)
        ended.__cause__ = error
        super()._handle_exception(ended)

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return colours.variables(self.current_theme)

    def colour(self, style: str) -> str:
        """A style of theme variables ("$success", "bold $ink-error on $tint-error") as rich writes
        it; without the colours that rich knows none of."""
        words = [
            self._rich_colour(word) if word.startswith("$") else word for word in style.split()
        ]
        if words and not words[-1] and "on" in words:
            words.remove("on")
        return " ".join(filter(None, words))

    def _rich_colour(self, variable: str) -> str:
        found = self.theme_variables.get(variable.removeprefix("$"), "")
        if self.current_theme.ansi or not found.startswith("#"):
            return found.removeprefix("ansi_").split(" ")[0].replace("default", "")
        return found[:7]

    def report_test(self, result: TestResult) -> None:
        """Say how a connection test went, with the provider's own words on failure."""
        took = "" if result.latency_ms is None else f" in {result.latency_ms} ms"
        if result.ok:
            self.notify(f"answers{took}, lists {result.models} models", title=result.slug)
        elif result.error is not None:
            words = result.error.message + (f"\n{result.error.hint}" if result.error.hint else "")
            self.notify(words, title=f"{result.slug} failed{took}", severity="error", markup=False)

    def show_found(self, **values: str) -> None:
        """The requests of which these fields are so: of a model, a session..."""
        self.run_worker(self._show_found(values), group="go")

    async def _show_found(self, values: Mapping[str, str]) -> None:
        from omni_cli.domain.search import Search, exactly
        from omni_cli.tui.screens.activity import ActivityPane

        await self.reach("activity")
        self.query_one(ActivityPane).only(Search(tuple(exactly(**values))))

    # --- actions -----------------------------------------------------------------------------

    @on(TabBar.Chosen)
    async def _chosen(self, event: TabBar.Chosen) -> None:
        await self.action_tab(event.tab)

    async def action_tab(self, name: str) -> None:
        if len(self.screen_stack) == 1 and any(tab.id == name for tab in self.tabs):
            await self.open_tab(name)

    async def action_step(self, by: int) -> None:
        """To the tab after or before this one, round and round."""
        ids = [tab.id for tab in self.tabs]
        at = ids.index(self.query_one(TabBar).active)
        await self.action_tab(ids[(at + by) % len(ids)])

    def action_reload(self) -> None:
        """Read again, and draw again what another program may have written over."""
        self._draw_all()
        self.loader.touch()
        self.store_changed()

    def action_undo(self) -> None:
        """The last change of the fleet that was made here; another's only after a question. Where
        a tab has an undo of its own, that one comes first."""
        from omni_cli.tui.actions import offer_undo

        offer_undo(self, self.act)

    def action_next_theme(self) -> None:
        names = sorted(self.themes)
        self.theme = names[(names.index(self.theme) + 1) % len(names)]
        self.notify(self.themes[self.theme].title, title="Theme", timeout=2)

    def action_help(self) -> None:
        from omni_cli.tui.screens.help import HelpScreen

        self.push_screen(HelpScreen(self.tabs, self.pane))

    async def on_key(self, event: Any) -> None:
        """Jump keys: only what no focused widget wanted arrives here."""
        if len(self.screen_stack) > 1:
            return
        for tab in self.tabs:
            if event.character == tab.key:
                event.stop()
                await self.open_tab(tab.id)
                return

    # --- the palette -------------------------------------------------------------------------

    def action_command_palette(self) -> None:
        """Over anything but a dialog, whose answer would be lost when a command leads away."""
        if isinstance(self.screen, ModalScreen) and not isinstance(self.screen, Sheet):
            self.bell()
            return
        super().action_command_palette()

    def run_command(self, key: str, run: Callable[[], Awaitable[Any] | None]) -> None:
        """Do what was chosen in the palette; it comes first the next time."""
        self.used = [key, *(other for other in self.used if other != key)][:_USED]

        async def go() -> None:
            made = run()
            if made is not None:
                await made

        self.run_worker(go(), group="palette")

    @property
    def open_tab_id(self) -> str:
        return self._looked_at

    async def reach(self, name: str, key: str = "") -> Pane[Any]:
        """Show a tab with nothing over it, wait for its data, and put the cursor on ``key``."""
        while len(self.screen_stack) > 1:
            await self.pop_screen()
        await self.open_tab(name)
        pane = self._pane(name)
        assert pane is not None
        await pane.reveal(key)
        return pane

    def act(self, work: "Callable[[Omni], Any]", done: Callable[[Any], None]) -> None:
        """As ``WorkerMixin.act``, for what belongs to no pane."""
        pane = self.pane
        assert pane is not None
        pane.act(work, done)

    def show_model(self, model: str) -> None:
        from omni_cli.tui.screens.model import ModelScreen

        self.push_screen(ModelScreen(self.loader, model))

    def show_receipt(self, request: int) -> None:
        from omni_cli.tui.screens.receipt import ReceiptScreen

        self.push_screen(ReceiptScreen(self.loader, request))

    def _theme_changed(self, _: object) -> None:
        # What was only taken because of the terminal is not remembered for another one.
        self._own_theme = self.theme
        if (pane := self.pane) is not None:
            pane.resized()  # cells of tables have the colours that they were filled with
        self._save()

    # --- the end -----------------------------------------------------------------------------

    def _save(self) -> None:
        self.ui.keep(
            "app",
            {"theme": self._own_theme, "tab": self.query_one(TabBar).active, "used": self.used},
        )
        for pane in self.query(Pane):
            if pane.id is not None:
                self.ui.keep(pane.id, {**pane.remember(), "place": pane.place()})
        # Comforts only: a full disk must not keep anyone from leaving.
        with contextlib.suppress(OSError):
            self.ui.save()

    async def on_unmount(self) -> None:
        self.loader.close()

    async def action_quit(self) -> None:
        """Leave; where something is not saved, only after a question."""
        unsaved = [words for pane in self.query(Pane) if (words := pane.unsaved())]
        if not unsaved:
            self._leave(True)
            return
        from omni_cli.tui.widgets.form import ConfirmScreen

        question = "Leave without saving?"
        self.push_screen(ConfirmScreen(question, "\n".join(unsaved), yes="Leave"), self._leave)

    def action_suspend_process(self) -> None:
        """Back to the shell; far away there is none that could bring it back."""
        if AFAR not in self.loader.env:
            super().action_suspend_process()

    def leave_for_demo(self) -> None:
        """End; whoever runs it shows a fleet of the simulator's, and then comes back here."""
        try:
            check_here(self.loader.env, "the demo")
        except UsageError as exc:
            self.notify(exc.message, severity="warning")
            return
        self.wants_demo = True
        self._leave(True)

    def _leave(self, yes: bool | None) -> None:
        if yes:
            self._save()
            self.exit()


def _usual_theme(env: Mapping[str, str]) -> str:
    """The terminal's own colours where it has only 16 of them; a browser has them all."""
    few = env.get("TERM") in ("linux", "xterm", "vt100", "screen", "ansi")
    many = env.get("COLORTERM") or env.get("TEXTUAL_COLOR_SYSTEM") == "truecolor"
    return "terminal" if few and not many else DEFAULT
