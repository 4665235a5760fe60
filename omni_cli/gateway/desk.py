"""Reports and changes of the fleet: work for the store that a call must not wait for."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from omni_cli.bootstrap import App

Value = TypeVar("Value")


class Desk:
    """Runs one job after another in a thread, over a store connection of its own.

    Args:
        app: made into a second one; it is used in the thread only.
    """

    def __init__(self, app: App) -> None:
        self._app = App(app.env, clock=app.clock)
        self._lock = asyncio.Lock()

    async def do(self, job: Callable[[App], Value]) -> Value:
        """Raises what ``job`` raises."""
        async with self._lock:
            return await asyncio.to_thread(self._run, job)

    def _run(self, job: Callable[[App], Value]) -> Value:
        # What was read before may have changed since.
        self._app.refresh()
        return job(self._app)

    def close(self) -> None:
        self._app.close()
