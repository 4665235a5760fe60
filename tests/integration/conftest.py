"""Fixtures for tests that talk to a server."""

from collections.abc import Iterator

import pytest

from omni_cli.simulator import Simulator


@pytest.fixture
def sim() -> Iterator[Simulator]:
    """A fresh simulator: nothing asked yet, nothing cached, no fault rules."""
    with Simulator(seed=7) as simulator:
        yield simulator
