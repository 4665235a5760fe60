"""The first minutes in the TUI: from an empty home to models at work, without leaving it."""

import threading
from pathlib import Path

import pytest
from textual.events import Paste
from textual.pilot import Pilot
from textual.widgets import Input

from omni_cli.bootstrap import App
from omni_cli.cli.commands.demo import play_on
from omni_cli.simulator import Simulator
from omni_cli.tui.app import OmniApp
from omni_cli.tui.screens.fleet import FleetPane
from omni_cli.tui.screens.start import ProposalScreen
from omni_cli.tui.widgets.form import FormScreen
from omni_cli.tui.widgets.frames import FramedTiles
from tests.integration.tui_pilot import press, shown
from tests.snapshot.steps import settle


def env_of(home: Path) -> dict[str, str]:
    return {"OMNI_HOME": str(home), "HOME": str(home), "USER": "new", "TZ": "UTC"}


async def wait_for_proposal(pilot: Pilot[None], app: OmniApp) -> str:
    for _ in range(500):
        if isinstance(app.screen, ProposalScreen) and app.screen._proposed is not None:
            return shown(app, "#proposal")
        await pilot.pause(0.02)
    raise AssertionError("no proposal came")


async def test_from_an_empty_home_to_the_recommended_models_in_a_few_keys(tmp_path: Path) -> None:
    """a, the name's first letters, Enter, the key pasted, Ctrl+S, Enter: eight keys at most, and
    the fleet fills the whole width at once."""
    name, rest = ["a", "a", "n", "enter"], ["ctrl+s", "enter"]
    assert len(name) + len(["a paste"]) + len(rest) <= 8
    with Simulator(seed=3) as simulator:
        app = OmniApp(env_of(tmp_path), theme="dark")
        async with app.run_test(size=(80, 24)) as pilot:
            await settle(pilot)
            assert "Leave" not in app.export_screenshot()
            await press(pilot, *name)
            form = app.screen
            assert isinstance(form, FormScreen)
            assert app.focused is form.query_one("#in-key")
            app.post_message(Paste("sk-ant-test-1234567890abcdef"))
            await pilot.pause()
            assert form.query_one("#in-key", Input).value == "sk-ant-test-1234567890abcdef"
            form.query_one("#in-base_url", Input).value = f"{simulator.url}/anthropic"
            await press(pilot, rest[0])
            said = await wait_for_proposal(pilot, app)
            assert "recommended?" in said
            await press(pilot, rest[1])
            with App(env_of(tmp_path)) as omni:
                active = [model.id for model in omni.models.all() if model.status == "active"]
            assert active
            tiles = app.query_one(FramedTiles)
            assert set(tiles.keys) >= set(active)
            assert tiles._tile[0] == 39
            assert app.focused is tiles


async def test_detection_proposes_what_init_would_and_the_demo_is_offered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with App(env_of(tmp_path)) as omni:
        monkeypatch.setattr(App, "find_providers", lambda self, local=True: [])
        assert omni.propose_fleet([]).empty
    app = OmniApp(env_of(tmp_path), theme="dark")
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await pilot.press("i")
        assert "neither a key nor a local server" in await wait_for_proposal(pilot, app)
        await press(pilot, "escape")
        assert app.query_one(FleetPane).has_class("-empty")
        await pilot.press("D")
        await pilot.pause()
    assert app.wants_demo


def test_the_demo_is_at_work_until_it_is_told_to_stop(tmp_path: Path) -> None:
    stop = threading.Event()
    with Simulator(seed=3) as simulator:
        playing = threading.Thread(target=play_on, args=(tmp_path, simulator, stop))
        playing.start()
        stop.set()  # after the first question
        playing.join(timeout=30)
    assert not playing.is_alive()
    with App({"OMNI_HOME": str(tmp_path), "USER": "demo"}) as omni:
        assert len(list(omni.ledger.recent(limit=5))) == 1
