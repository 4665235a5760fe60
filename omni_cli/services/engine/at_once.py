"""Several slow calls at once: none waits for another, none for ever."""

import asyncio
import queue
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import TypeVar

from omni_cli.domain.errors import TimedOut
from omni_cli.ports import Fetcher, Transport

_T = TypeVar("_T")


def at_once(
    fetcher: Fetcher, jobs: Mapping[str, Callable[[Transport], Awaitable[_T]]], *, limit_s: float
) -> Iterator[tuple[str, _T | Exception]]:
    """Do all jobs in one event loop; yield (name, result or its exception) as they end.

    A job that is not done after ``limit_s`` seconds yields TimedOut. The loop's thread is left
    behind then: a daemon, so that it does not keep the process from ending.
    """
    done: queue.SimpleQueue[tuple[str, _T | Exception]] = queue.SimpleQueue()

    async def one(name: str, job: Callable[[Transport], Awaitable[_T]], over: Transport) -> None:
        try:
            done.put((name, await job(over)))
        except Exception as exc:  # noqa: BLE001  # handed to the caller, whatever it is
            done.put((name, exc))

    async def every(over: Transport) -> None:
        await asyncio.gather(*(one(name, job, over) for name, job in jobs.items()))

    deadline = time.monotonic() + limit_s
    if jobs:
        threading.Thread(
            target=fetcher.run, args=(every,), name="calls at once", daemon=True
        ).start()
    waiting = set(jobs)
    while waiting:
        try:
            name, result = done.get(timeout=max(deadline - time.monotonic(), 0.0))
        except queue.Empty:
            for name in sorted(waiting):
                yield name, TimedOut(f"{name} did not answer within {limit_s:g} s")
            return
        waiting.discard(name)
        yield name, result
