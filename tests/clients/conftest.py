"""A gateway over a simulator for each test, whose calls a budget holds: no field that a real client
sends may be one that a budget refuses."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from omni_cli.domain.budgets import Budget
from omni_cli.simulator import Simulator
from tests.gateway_server import Served, serving


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Served]:
    with Simulator(seed=7) as sim, serving(tmp_path, sim) as served:
        served.app.budgets.put(Budget(0, "all", "", "day", 10**12))
        yield served
