"""Two attempts at once: the one whose answer begins first is taken, the other is given up.

A hedge bounds what a slow or silent provider costs in time: when no answer has begun after a
while, the next model is asked as well (Dean and Barroso, "The Tail at Scale", 2013). Both are
attempts like any other, with a lease and a charge of their own.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any

from msgspec import Struct

from omni_cli.domain.errors import Cancelled, UsageError
from omni_cli.domain.models import HEDGE_MS_RANGE
from omni_cli.services.engine.attempts import Target

_OFF = ("off", "no", "0")


class Hedge(Struct, frozen=True):
    """When another model is asked as well. ``after_s``: since the first was asked."""

    after_s: float


def wanted(header: str | None, setting_ms: int | None) -> float | None:
    """Seconds until another model is asked as well; None: never.

    Args:
        header: ``x-omni-hedge``, which goes before the chain's ``setting_ms``.

    Raises:
        UsageError: the header is neither "off" nor milliseconds.
    """
    low, high = HEDGE_MS_RANGE
    if header is None:
        return None if setting_ms is None else setting_ms / 1000
    text = header.strip().lower()
    if text in _OFF:
        return None
    if not text.isdecimal() or len(text) > len(str(high)) or not low <= int(text) <= high:
        raise UsageError(f"x-omni-hedge is off, or milliseconds from {low} to {high}")
    return int(text) / 1000


class Outrun(Cancelled):
    """Another attempt's answer began first."""


class Race:
    """Attempts under way at once, at most one of which answers the caller."""

    def __init__(self) -> None:
        self._running: dict[asyncio.Task[Any], Target] = {}
        self._winner: asyncio.Task[Any] | None = None
        #: Only one writes its row at a time: rows are numbered by those before.
        self.opening = asyncio.Lock()

    @property
    def decided(self) -> bool:
        return self._winner is not None

    @property
    def asked(self) -> list[Target]:
        return list(self._running.values())

    def start(self, target: Target, work: Coroutine[Any, Any, Any]) -> None:
        self._running[asyncio.get_running_loop().create_task(work)] = target

    async def claim(self) -> None:
        """For the attempt whose answer begins: from here on it is the only one. Returns when the
        others have been settled."""
        me = asyncio.current_task()
        if self._winner is me:
            return
        self._winner = me
        others = [task for task in self._running if task is not me]
        for task in others:
            task.cancel()
        if others:
            await asyncio.wait(others)

    def outran(self) -> bool:
        """Whether the attempt that asks was given up for another one."""
        return self._winner is not None and self._winner is not asyncio.current_task()

    async def next(self, timeout_s: float | None) -> list[tuple[Target, asyncio.Task[Any]]]:
        """Those that ended; none when the time is over. Attempts given up are not among them."""
        done, _ = await asyncio.wait(
            self._running, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED
        )
        ended = [(self._running.pop(task), task) for task in done]
        return [(target, task) for target, task in ended if not task.cancelled()]

    async def close(self) -> None:
        """Give up what is under way, and wait for it."""
        for task in self._running:
            task.cancel()
        if self._running:
            await asyncio.wait(self._running)
        self._running.clear()
