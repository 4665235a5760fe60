"""Discovery in the TUI: every provider is asked, and one key takes what is recommended (A7, E2)."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from omni_cli.domain.models import Provider
from omni_cli.simulator import Simulator
from omni_cli.tui.screens.discovery import DiscoveryScreen
from tests.integration.cli.test_discover import _model, listing
from tests.integration.test_tui import opened, read, until
from tests.integration.tui_pilot import press, shown
from tests.snapshot.scene import make_home

__all__ = ["listing"]
Listing = tuple[str, list[dict[str, Any]]]


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with Simulator(seed=3) as running:
        yield running


@pytest.fixture
def home(simulator: Simulator, tmp_path: Path) -> Path:
    folder = tmp_path / "omni"
    make_home(folder, url=simulator.url, past=False)
    return folder


async def test_asked_shown_and_taken(home: Path, simulator: Simulator, listing: Listing) -> None:
    simulator.fault("500", "openai/*")
    url, models = listing
    models[:] = [_model("one"), _model("two"), _model("embed-3")]
    fresh = Provider("fresh", "Fresh", "openai", url, auth_method="none", simulated=True)
    read(home, lambda omni: omni.fleet.put_provider(fresh))
    async with opened(home, "providers", (110, 40)) as pilot:
        await press(pilot, "f")
        screen = pilot.app.screen
        assert isinstance(screen, DiscoveryScreen)
        await until(lambda: screen._found is not None, 20)
        await pilot.pause()
        asked = shown(pilot.app, "#asked")
        assert "✗ openai:" in asked
        assert "● fresh: 3 models" in asked
        assert "asking…" not in asked
        found = shown(pilot.app, "#found")
        assert "fresh/one" in found
        assert "fresh/embed-3" not in found
        assert "a adds or updates" in found
        await press(pilot, "a")
        await until(lambda: screen._applied is not None, 20)
        await pilot.pause()
        assert "as one revision" in shown(pilot.app, "#found")
        assert read(home, lambda omni: omni.models.get("fresh/one")) is not None
        read(home, lambda omni: omni.fleet.assign_role("writer", "fresh/one", 1, ""))
        models[:] = [_model("two")]
        await press(pilot, "r")
        await until(lambda: screen._found is not None, 20)
        await pilot.pause()
        assert "✗ fresh/one: its provider no longer lists it; used by role writer" in shown(
            pilot.app, "#found"
        )
        await press(pilot, "a", "escape")
        assert not isinstance(pilot.app.screen, DiscoveryScreen)
