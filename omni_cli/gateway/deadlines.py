"""When requests are over their time.

A timer of uvloop costs some 9,000 instructions, and nearly every request ends long before its
limit: limits of many seconds are looked at once a second, all together.
"""

import asyncio
from typing import Protocol

#: Limits from this on may be noticed a second late, seconds.
_LONG_S = 10.0


class Limited(Protocol):
    """Something that is to end in time."""

    def expire(self) -> None:
        """Its time is over."""


class Deadlines:
    """Args:
    loop: whose clock counts. Somebody calls ``sweep`` every second.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._due: dict[Limited, float] = {}
        self._timers: dict[Limited, asyncio.TimerHandle] = {}

    def __len__(self) -> int:
        """Requests under way."""
        return len(self._due) + len(self._timers)

    def add(self, limited: Limited, limit_s: float) -> None:
        """Call its ``expire`` once so many seconds have passed, unless it is removed before."""
        if limit_s >= _LONG_S:
            self._due[limited] = self._loop.time() + limit_s
        else:
            self._timers[limited] = self._loop.call_later(limit_s, limited.expire)

    def remove(self, limited: Limited) -> None:
        if self._due.pop(limited, None) is None:
            timer = self._timers.pop(limited, None)
            if timer is not None:
                timer.cancel()

    def sweep(self) -> None:
        """Tell those whose time is over."""
        now = self._loop.time()
        for limited in [limited for limited, due in self._due.items() if due <= now]:
            del self._due[limited]
            limited.expire()
