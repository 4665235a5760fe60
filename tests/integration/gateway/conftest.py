"""A gateway over a simulator for each test."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from omni_cli.simulator import Simulator
from tests.gateway_server import Served, serving


@pytest.fixture
def gateway(tmp_path: Path, sim: Simulator) -> Iterator[Served]:
    with serving(tmp_path, sim) as served:
        yield served


@pytest.fixture
def http(gateway: Served) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=gateway.url, timeout=20, trust_env=False) as client:
        yield client
