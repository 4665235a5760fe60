"""Work that a gateway does again and again, and that must never stop being done."""

import asyncio
import logging
import time
from collections.abc import Callable

from omni_cli.domain.errors import OmniError

log = logging.getLogger("omni.gateway")

#: How often the same failure is logged again, seconds.
_AGAIN_S = 30.0


class Watcher:
    """Does ``work`` every ``period_s`` seconds. What it raises is logged and counted, and it goes
    on: a watcher that ended would leave a revoked key valid for good.

    Args:
        name: what it looks at, for the log.
    """

    def __init__(self, name: str, period_s: float, work: Callable[[], None]) -> None:
        self.name = name
        self.failures = 0
        #: Why it failed the last time, "" when it did not.
        self.trouble = ""
        self._period_s = period_s
        self._work = work
        self._told_at = -_AGAIN_S
        self._stopped = False
        self._task = self._begin()

    def _begin(self) -> "asyncio.Task[None]":
        task = asyncio.get_running_loop().create_task(self._run())
        task.add_done_callback(self._ended)
        return task

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._period_s)
            self.look()

    def look(self) -> None:
        """Once, now."""
        try:
            self._work()
        except OmniError as exc:
            self._failed(exc.message)
        except Exception as exc:  # noqa: BLE001  # whatever it is, the next look may be better
            self._failed(f"{type(exc).__name__}: {exc}")
        else:
            if self.trouble:
                log.warning("%s: well again", self.name)
                self.trouble = ""

    def _failed(self, why: str) -> None:
        self.failures += 1
        now = time.monotonic()
        if why != self.trouble or now - self._told_at >= _AGAIN_S:
            self._told_at = now
            log.error("%s failed, trying again: %s", self.name, why)
        self.trouble = why

    def _ended(self, task: "asyncio.Task[None]") -> None:
        if self._stopped or asyncio.get_running_loop().is_closed():
            return
        self.failures += 1
        why = "cancelled" if task.cancelled() else repr(task.exception())
        log.error("%s ended (%s); starting it again", self.name, why)
        self._task = self._begin()

    def stop(self) -> None:
        self._stopped = True
        self._task.cancel()
