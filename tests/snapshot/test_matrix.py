"""Every tab in every state at three sizes, the full one also in a second theme, as text with a
digest of its styles.

An app walks through all of it, so that a picture costs little. What is compared is in ``matrix/``,
a file a state: each screen's lines, then a digest of the styles in each theme. After looking at a
change write it anew:

    SNAPSHOT_MATRIX=update python -m pytest tests/snapshot/test_matrix.py
"""

import os
import shutil
import zlib
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from textual.pilot import Pilot

from omni_cli.domain.record import replace
from omni_cli.tui.app import OmniApp
from omni_cli.tui.pane import Pane
from omni_cli.tui.registry import TABS
from tests.snapshot.scene import add_sessions, clock, env_of, make_home, open_app
from tests.snapshot.steps import settle

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

Still = Callable[[Pilot[Any]], Awaitable[None]]


async def walk(
    app: OmniApp,
    still: Still,
    *,
    themes: Sequence[str] = THEMES,
    sizes: Sequence[tuple[int, int]] = SIZES,
) -> str:
    """Every tab at every size in the first theme, at one size in the others. What costs most is
    done least often: sizes and themes change the whole app, tabs only what is seen."""
    seen: dict[str, list[str]] = {}
    async with app.run_test(size=SIZES[0]) as pilot:
        await still(pilot)
        for size in sizes:
            await pilot.resize_terminal(*size)
            for theme in themes if themes and size == SIZES[1] else THEMES[:1]:
                app.theme = theme
                for tab in TABS:
                    await app.open_tab(tab.id)
                    await still(pilot)
                    app.clear_notifications()
                    await pilot.pause()
                    name = f"=== {tab.id} {size[0]}x{size[1]}"
                    lines = seen.setdefault(name, [name, *picture(app)])
                    if len(themes) > 1:
                        assert lines[1 : len(lines) - themes.index(theme)] == picture(app), name
                    if themes:
                        lines.append(f"{theme} {styles(app)}")
    return "\n".join(line for _, lines in sorted(seen.items()) for line in lines) + "\n"


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
            said = f"{segment.text}\0{segment.style}"
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


def app_on(home: Path) -> OmniApp:
    return OmniApp(env_of(home), clock=clock, theme=THEMES[0], tab="fleet")


async def test_full(scene_home: Path, home: Path) -> None:
    shutil.copytree(scene_home, home)
    add_sessions(home)
    with open_app(home) as omni:
        omni.advice.refresh()  # Costs does it, too, and it would be seen from then on
    compare("full", await walk(app_on(home), settle), home)


async def test_empty(home: Path) -> None:
    home.mkdir()
    compare("empty", await walk(app_on(home), settle, themes=THEMES[:1]), home)


async def test_long_names(home: Path) -> None:
    make_home(home, past=False)
    with open_app(home) as omni:
        named = [m for m in omni.models.own() if m.status == "active"]
        for model, name in zip(named, _NAMES, strict=False):
            omni.models.put(replace(model, name=name), now_ms=omni.now_ms(), user_fields={"name"})
        for slug, name in zip(("anthropic", "deepseek"), _NAMES, strict=False):
            omni.fleet.put_provider(replace(omni.fleet.provider(slug), name=name))
    compare("names", await walk(app_on(home), settle, themes=THEMES[:1]), home)


async def test_a_store_that_does_not_open(home: Path) -> None:
    """Its path is drawn, too, which is another each time: without styles."""
    home.mkdir()
    (home / "omni.db").write_bytes(b"this is no database, however long it may be" * 200)
    compare("error", await walk(app_on(home), settle, themes=(), sizes=SIZES[:2]), home)


async def test_loading(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is read for long says so; its dots move, so that only the text is compared."""
    home.mkdir()
    app = app_on(home)
    monkeypatch.setattr(Pane, "_read", lambda *_: None)

    async def waiting(pilot: Pilot[Any]) -> None:
        for _ in range(200):
            if app.pane is not None and app.pane.loading:
                break
            await pilot.pause(0.02)
        await pilot.pause()

    compare("loading", await walk(app, waiting, themes=(), sizes=SIZES[:1]), home)
