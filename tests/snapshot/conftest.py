"""One scene for all snapshots, made once; each test gets a copy. Time and data stand still."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from omni_cli.catalog import load, priors
from omni_cli.tui.app import OmniApp
from tests.snapshot import freeze
from tests.snapshot.scene import clock, env_of, make_home


# Not for the session: tests outside this package want today's catalogue.
@pytest.fixture(autouse=True, scope="package")
def frozen_data() -> Iterator[None]:
    """The catalogue and the priors as they were when the snapshots were taken."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(load, "_bundled", lambda: json.loads(freeze.CATALOG.read_bytes()))
        patch.setattr(
            priors,
            "load_priors",
            lambda: priors.Priors(json.loads(freeze.PRIORS.read_bytes())),
        )
        yield


@pytest.fixture(scope="package")
def scene_home(frozen_data: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("scene")
    make_home(home)
    return home


@pytest.fixture
def make_app(scene_home: Path, tmp_path: Path) -> Callable[..., OmniApp]:
    """``make_app(theme, tab)``: the TUI on a copy of the scene."""

    def make(theme: str = "dark", tab: str = "fleet", *, empty: bool = False) -> OmniApp:
        home = tmp_path / "home"
        if empty:
            home.mkdir()
        else:
            shutil.copytree(scene_home, home)
        return OmniApp(env_of(home), clock=clock, theme=theme, tab=tab)

    return make
