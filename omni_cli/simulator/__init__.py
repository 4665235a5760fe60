"""A loopback server that speaks the providers' protocols for real, for demos and tests.

It answers from a seed, not from a model, and says so: every answer carries the header
``x-omni-simulator: 1`` and its text is marked ``[simulated ...]``.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from omni_cli.simulator.server import Simulator

__all__ = ["Simulator"]


def __getattr__(name: str) -> object:
    # Lazy: reading the demo fleet's data must not load asyncio.
    if name == "Simulator":
        from omni_cli.simulator.server import Simulator

        return Simulator
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
