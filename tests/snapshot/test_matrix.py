"""Every tab in every state, and the dialogs, at three sizes in two themes, as text with a digest
of its styles.

An app walks through all of it, so that a picture costs little. What is compared is in ``matrix/``,
a file a state: each screen's lines, then a digest of the styles in each theme. After looking at a
change write it anew:

    SNAPSHOT_MATRIX=update python -m pytest tests/snapshot/test_matrix.py
"""

import asyncio
import os
import shutil
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widget import Widget
from textual.widgets import Input, _loading_indicator

from omni_cli.domain.budgets import Budget
from omni_cli.domain.record import replace
from omni_cli.tui.app import OmniApp
from omni_cli.tui.pane import Pane
from omni_cli.tui.registry import TABS
from tests.snapshot.scene import add_sessions, add_takeovers, clock, env_of, open_app
from tests.snapshot.steps import _focus_is_shown, _footer_follows, _is_calm

FOLDER = Path(__file__).parent / "matrix"
SIZES = ((80, 24), (120, 40), (200, 60))
THEMES = ("dark", "light")
#: Tests see no variable of omni's: what was there when this was read.
UPDATE = os.environ.get("SNAPSHOT_MATRIX") == "update"
#: Names that are long, of two cells a letter, from right to left, and that look like markup.
_NAMES = (
    "A model whose name is so very long that no column is made for it, not even one",
    "通义千问 大模型 旗舰版 三点五",
    "نموذج اللغة الكبير",
    "[bold red]Not markup[/]",
    "Модель 🚀 эмодзи",
)

#: Dialogs and pages: name, tab, and the keys that lead there.
Way = tuple[str, str, tuple[str, ...]]
WAYS: tuple[Way, ...] = (
    ("fleet_table", "fleet", ("t",)),
    ("model", "fleet", ("j", "enter")),
    ("help", "fleet", ("question_mark",)),
    ("palette", "fleet", ("ctrl+p", *"son")),
    ("provider", "providers", ("j", "e")),
    ("pick_provider", "providers", ("a",)),
    ("remove", "providers", ("delete",)),
    ("facts", "catalogue", ("j", "j", "enter")),
    ("chain", "failover", ("n",)),
    ("budget", "budgets", ("e",)),
    ("receipt", "activity", ("j", "enter")),
    ("who_answers", "chat", ("ctrl+o",)),
    ("answers", "compare", ("v",)),
    ("switch", "roles", ("down", "right", "enter")),
    ("history", "history", ("j",)),
    ("recommendation", "recommendations", ("j",)),
    ("rules_tested", "roles", ("t",)),
)
Still = Callable[[Pilot[Any]], Awaitable[None]]


class Seen:
    """Pictures by name and size, each with the styles of every theme."""

    def __init__(self) -> None:
        self._lines: dict[str, list[str]] = {}

    def look(self, app: OmniApp, name: str, size: tuple[int, int], theme: str) -> None:
        name = f"=== {name} {size[0]}x{size[1]}"
        lines = self._lines.setdefault(name, [name, *picture(app)])
        assert lines[1 : len(lines) - THEMES.index(theme)] == picture(app), name
        lines.append(f"{theme} {styles(app)}")

    def __str__(self) -> str:
        return "\n".join(x for _, lines in sorted(self._lines.items()) for x in lines) + "\n"


@asynccontextmanager
async def opened(app: OmniApp, still: Still) -> AsyncIterator[Pilot[Any]]:
    async with app.run_test(size=SIZES[0]) as pilot:
        for _ in range(500):  # the first tab's module is imported in a thread that is no worker
            if app.pane is not None:
                break
            await pilot.pause(0.01)
        await still(pilot)
        yield pilot


async def walk(app: OmniApp, still: Still, *, warm: bool = False) -> str:
    """Every tab at every size in every theme. What costs most is done least often: sizes and
    themes change the whole app, tabs only what is seen.

    Args:
        warm: each tab was open before it is looked at.
    """
    seen = Seen()
    async with opened(app, still) as pilot:
        for tab in TABS if warm else ():
            await app.open_tab(tab.id)
            await still(pilot)
        for size, theme in product(SIZES, THEMES):
            await pilot.resize_terminal(*size)
            app.theme = theme
            for tab in TABS:
                await app.open_tab(tab.id)
                await still(pilot)
                seen.look(app, tab.id, size, theme)
    return str(seen)


async def rest(pilot: Pilot[Any]) -> None:
    """As ``settle``, hearing only what is seen: a pilot hears every widget of thirteen tabs at each
    pause, which was half the time."""
    app = pilot.app
    assert isinstance(app, OmniApp)
    calm = 0
    for _ in range(400):
        await app.workers.wait_for_complete()
        await _heard(app)
        well = _is_calm(app) and _focus_is_shown(app.screen) and _footer_follows(app.screen)
        calm = calm + 1 if well else 0
        if calm == 4:
            break
        await asyncio.sleep(0.02)  # what was laid out just now asks for more
    for box in app.screen.query(Input):
        box.cursor_blink = False
    app.clear_notifications()
    await _heard(app)


async def _heard(app: OmniApp) -> None:
    """Wait until the app and the widgets of the screen that are seen have nothing to do."""
    screen = app.screen
    parts = [
        w
        for w in screen.walk_children(Widget)
        if all(a.display for a in w.ancestors_with_self if isinstance(a, Widget))
    ]
    heard = [asyncio.Event() for _ in range(len(parts) + 2)]
    for part, event in zip((app, screen, *parts), heard, strict=True):
        if not part.call_later(event.set):
            event.set()
    for event in heard:
        await event.wait()
    await asyncio.sleep(0)
    screen._on_timer_update()


def picture(app: OmniApp) -> list[str]:
    """What stands on the screen; lines of nothing are counted."""
    lines: list[str] = []
    blank = 0
    for strip in app.screen._compositor.render_strips():
        line = strip.text.rstrip()
        if line:
            lines += [f"~ {blank}"] if blank else []
            lines.append(f"|{line}")
        blank = 0 if line else blank + 1
    return [*lines, f"~ {blank}"] if blank else lines


def styles(app: OmniApp) -> str:
    found = 0
    for strip in app.screen._compositor.render_strips():
        for segment in strip.simplify():
            said = f"{len(segment.text)}\0{segment.style}"
            found = zlib.crc32(said.encode(), found)
    return f"{found:08x}"


def compare(state: str, seen: str, home: Path) -> None:
    seen = seen.replace(str(home), "HOME")
    path = FOLDER / f"{state}.txt"
    if UPDATE:
        FOLDER.mkdir(exist_ok=True)
        path.write_text(seen, "utf-8")
    assert seen == path.read_text("utf-8"), "look at it, then write it with SNAPSHOT_MATRIX=update"


@pytest.fixture
def home() -> Iterator[Path]:
    """A path of always the same length: words wrap around it."""
    with TemporaryDirectory(prefix="o", dir="/tmp") as folder:
        yield Path(folder) / "home"


def app_on(home: Path, tab: str = "fleet") -> OmniApp:
    return OmniApp(env_of(home), clock=clock, theme=THEMES[0], tab=tab)


async def test_full(scene_home: Path, home: Path) -> None:
    compare("full", await walk(app_on(_full(scene_home, home)), rest), home)


async def test_dialogs(scene_home: Path, home: Path) -> None:
    """An app each: with one tab a size and a theme cost a tenth of what they cost with all."""
    _full(scene_home, home)
    seen = Seen()
    for name, tab, keys in WAYS:
        app = app_on(home, tab)
        async with opened(app, rest) as pilot:
            for key in keys:
                await pilot.press(key)
                await rest(pilot)
            for size, theme in product(SIZES, THEMES):
                await pilot.resize_terminal(*size)
                app.theme = theme
                await rest(pilot)
                seen.look(app, name, size, theme)
    compare("dialogs", str(seen), home)


def _full(scene: Path, home: Path) -> Path:
    shutil.copytree(scene, home)
    add_sessions(home)
    add_takeovers(home)
    with open_app(home) as omni:
        omni.advice.refresh()  # Costs does it, too, and it would be seen from then on
    return home


async def test_empty(home: Path) -> None:
    home.mkdir()
    compare("empty", await walk(app_on(home), rest), home)


async def test_long_names(scene_home: Path, home: Path) -> None:
    shutil.copytree(scene_home, home)
    with open_app(home) as omni:
        named = [m for m in omni.models.own() if m.status == "active"]
        for model, name in zip(named, _NAMES, strict=False):
            omni.models.put(replace(model, name=name), now_ms=omni.now_ms(), user_fields={"name"})
        for slug, name in zip(("anthropic", "deepseek"), _NAMES, strict=False):
            omni.fleet.put_provider(replace(omni.fleet.provider(slug), name=name))
        omni.fleet.rename_chain("Fast Chain", _NAMES[0].replace(",", "")[:63].strip())
        for agent in _NAMES[:2]:
            omni.budgets.put(Budget(0, "agent", agent, "month", 1_000_000_000))
        omni.advice.refresh()
    compare("names", await walk(app_on(home), rest), home)


async def test_a_store_that_does_not_open(home: Path) -> None:
    home.mkdir()
    (home / "omni.db").write_bytes(b"this is no database, however long it may be" * 200)
    compare("error", await walk(app_on(home), rest), home)


async def test_loading(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is read for long says so; its dots stand still here."""
    home.mkdir()
    monkeypatch.setattr(Pane, "_read", lambda *_: None)
    monkeypatch.setattr(_loading_indicator, "time", lambda: 0.0)

    async def waiting(pilot: Pilot[Any]) -> None:
        app = pilot.app
        assert isinstance(app, OmniApp)
        for _ in range(30):
            if app.pane is not None and app.pane.loading and _footer_follows(app.screen):
                break
            await pilot.pause(0.02)
        assert app.pane is not None
        for loading in (False, True):  # dots under way keep the colours of the theme they began in
            app.pane.loading = loading
            await _heard(app)

    compare("loading", await walk(app_on(home), waiting, warm=True), home)
