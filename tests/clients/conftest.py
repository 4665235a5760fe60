"""A gateway over a simulator for each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from omni_cli.simulator import Simulator
from tests.gateway_server import Served, serving


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Served]:
    with Simulator(seed=7) as sim, serving(tmp_path, sim) as served:
        yield served
