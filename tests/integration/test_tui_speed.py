"""What makes keys answer at once, as counts: never as times."""

import asyncio
import gc
import os
import pty
import select
import sys
import threading
import tty
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.color import ColorSystem
from textual._compositor import CompositorUpdate
from textual.widgets import ContentSwitcher

from omni_cli.bootstrap import App
from omni_cli.domain.health import Check
from omni_cli.tui import app as tui_app
from omni_cli.tui import data, driver, overview
from omni_cli.tui.app import OmniApp
from omni_cli.tui.data import Loader
from omni_cli.tui.driver import WaitingDriver
from omni_cli.tui.pane import Pane
from omni_cli.tui.registry import TABS
from tests.integration.test_tui import until
from tests.integration.tui_pilot import copy_home, opened
from tests.snapshot.scene import clock, env_of
from tests.snapshot.steps import settle


@pytest.fixture
def home(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_home(tmp_path / "home", tmp_path_factory.getbasetemp() / "past-home", past=True)


@pytest.fixture
def collector() -> Iterator[None]:
    """Python's, as it was before."""
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)
    gc.unfreeze()


@pytest.mark.usefixtures("collector")
async def test_tabs_are_made_while_no_key_comes_and_no_key_waits_for_the_collector(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first opening of a tab took 568 ms: its widgets were made and its data read then, and
    Python looked through all objects meanwhile."""
    monkeypatch.setattr(tui_app, "_AHEAD_AFTER_S", 0.0)
    monkeypatch.setattr(tui_app, "_REST_S", 0.05)
    monkeypatch.setattr(tui_app, "_TIDY_S", 3_600.0)  # on a busy machine its turn comes within
    whole, reads = list[str](), list[str]()

    def seen(phase: str, info: dict[str, int]) -> None:
        if phase == "start" and info["generation"] == 2:
            whole.append(phase)

    async with opened(home, "fleet", (120, 40), ahead=True) as pilot:
        app = pilot.app
        assert isinstance(app, OmniApp)
        switcher = app.query_one(ContentSwitcher)
        assert {pane.id for pane in switcher.children} == {tab.id for tab in TABS}
        assert [pane.id for pane in switcher.children if pane.display] == ["fleet"]
        assert app.focused is not None
        assert not app._notifications
        made = len(app.query("*"))
        for pane in app.query(Pane):
            assert pane._shown
            pane._fresh = True  # as if nothing had been written since
        monkeypatch.setattr(app, "store_changed", lambda: None)
        monkeypatch.setattr(Pane, "refresh_data", lambda pane: reads.append(pane.id))
        gc.callbacks.append(seen)
        try:
            for tab in ("usage", "activity", "costs", "catalogue"):
                await app.open_tab(tab)
                await settle(pilot)
                assert switcher.current == tab
                assert [pane.id for pane in switcher.children if pane.display] == [tab]
        finally:
            gc.callbacks.remove(seen)
        assert (whole, reads, len(app.query("*"))) == ([], [], made)
        app._heard = -3_600.0
        for _ in range(12):
            gc.collect(1)
        gc.callbacks.append(seen)
        app._tidy()
        gc.callbacks.remove(seen)
        assert whole == ["start"]  # while nobody presses a key


async def test_a_tab_that_is_asked_for_while_it_is_made_is_made_once(home: Path) -> None:
    async with opened(home, "fleet") as pilot:
        app = pilot.app
        assert isinstance(app, OmniApp)
        app.run_worker(app._made("costs"))
        await app.open_tab("costs")
        await settle(pilot)
        assert [pane.id for pane in app.query(Pane)] == ["fleet", "costs"]
        assert app.pane is not None
        assert app.pane.id == "costs"


async def test_a_step_that_scrolls_sends_4_kilobytes_at_most(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over SSH: Costs sent 12 KB a step, for every line stood elsewhere."""
    sent: list[int] = []

    def display(app: OmniApp, screen: object, frame: object) -> None:
        if isinstance(frame, CompositorUpdate):
            app.console._color_system = ColorSystem.TRUECOLOR
            sent.append(len(app.sent.spare(frame.render_segments(app.console)).encode()))

    monkeypatch.setattr(OmniApp, "_display", display)
    for size in ((80, 24), (120, 30)):
        async with opened(home, "costs", size) as pilot:
            app = pilot.app
            assert isinstance(app, OmniApp)
            for tab in ("costs", "catalogue"):
                await app.open_tab(tab)
                await settle(pilot)
                assert sum(sent) > 4_096  # the tab as it comes into sight
                assert app.focused is not None
                for step in range(8):
                    for _ in range(3 if tab == "catalogue" else 1):
                        sent.clear()
                        await pilot.press("j")
                        await pilot.pause()
                        assert sum(sent) <= 4_096, (size, tab, step, sent)
                moved = [part.id for part in app.screen.query("*") if part.scroll_offset.y]
                assert moved, (size, tab)


def test_a_check_of_providers_reads_their_health_again_and_nothing_else(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A round of checks every five seconds cost 12 ms of reading what no check changes."""
    whole = list[str]()
    plain = overview.read_overview
    monkeypatch.setattr(overview, "read_overview", lambda o: (whole.append("read"), plain(o))[1])
    loader = Loader(env_of(home), clock=clock)
    with App(env_of(home), clock=clock) as omni:
        slug = next(p.slug for p in omni.providers.all() if p.enabled)
        before = overview.overview_of(loader, omni)
        for error in (None, "it is on fire"):
            check = Check(omni.now_ms(), error is None, 7, 3, error and "server_error", error)
            provider = omni.fleet.provider(slug)
            omni.reporter.recorder.keep([(provider, check)], started_ms=check.at_ms, asked=False)
            loader._checked += 1
            omni.refresh()
            view = overview.overview_of(loader, omni)
            assert view != before
            assert view == plain(omni)
            before = view
            if error is None:
                assert whole == ["read"]
    loader.close()


async def test_what_others_write_beside_a_check_is_read(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A check is no other news, and neither hides any."""
    monkeypatch.setattr(data, "POLL_S", 0.02)
    monkeypatch.setattr(data, "FOLLOW_S", 60.0)
    loader, told = Loader(env_of(home), clock=clock), list[tuple[int, int]]()
    rounds = list[int]()

    def probe(omni: App, *, older_ms: int) -> bool:
        rounds.append(older_ms)
        omni.store.set_meta("checked", str(len(rounds)))
        if len(rounds) == 2:
            with App(env_of(home), clock=clock) as other:
                other.store.set_meta("written", "by another")
        return True

    monkeypatch.setattr(data, "probe_due", probe)
    loader.watch(lambda: told.append(loader._stamp))
    try:
        await asyncio.sleep(0.1)
        loader.probe(lambda: 0.5 if len(rounds) < 2 else 60.0, lambda: told.append(loader._stamp))
        await until(lambda: bool(told))
        assert told == [(0, 1)]
        await until(lambda: loader._generation == 1)
    finally:
        loader.close()


async def test_keys_are_waited_for_and_the_end_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ten times a second it was asked whether to end: 0.13 % of a processor."""
    ours, terminal = pty.openpty()
    tty.setraw(terminal)
    monkeypatch.setattr(sys, "__stdin__", os.fdopen(terminal, "rb", closefd=False))
    asked, typed, waits = threading.Event(), list[str](), list[float | None]()
    app = OmniApp({**os.environ, "OMNI_HOME": "/nowhere"})
    made = WaitingDriver(app)
    plain = select.select

    def waiting(*given: object) -> object:
        waits.append(given[3])
        if given[3] is None:
            asked.set()
        return plain(*given)

    monkeypatch.setattr(driver.select, "select", waiting)
    monkeypatch.setattr(driver, "_TICKING_S", 0.0)
    monkeypatch.setattr(made, "write", lambda data: None)
    monkeypatch.setattr(made, "process_message", lambda event: typed.append(event.key))
    for key in ("j", "k"):  # the second after it was suspended
        asked.clear()
        waits.clear()
        made._key_thread = thread = threading.Thread(target=made._run_input_thread, daemon=True)
        thread.start()
        assert await asyncio.to_thread(asked.wait, 5)
        os.write(ours, key.encode())
        await until(lambda key=key: typed[-1:] == [key])
        await until(lambda: len(waits) > 1)
        assert waits[-2:] == [None, None]
        made.disable_input()
        assert not thread.is_alive()
        made.close()
    os.close(ours)
    os.close(terminal)
