"""A world of services over a real store, with a scripted provider."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.world import World


@pytest.fixture
def world(tmp_path: Path, engine: str) -> Iterator[World]:  # it runs on each
    made = World(tmp_path)
    yield made
    made.close()
