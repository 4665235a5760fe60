"""Several slow calls at once, each on its own: none waits for another, none for ever."""

import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

from omni_cli.domain.errors import TimedOut

_T = TypeVar("_T")


def at_once(
    jobs: Mapping[str, Callable[[], _T]], *, limit_s: float
) -> Iterator[tuple[str, _T | Exception]]:
    """Run every job in a thread of its own; yield (name, result or its exception) as they end.

    A job that is not done after ``limit_s`` seconds yields TimedOut. Its thread is left behind:
    a daemon, so that it does not keep the process from ending.
    """
    done: queue.SimpleQueue[tuple[str, _T | Exception]] = queue.SimpleQueue()

    def run(name: str, job: Callable[[], _T]) -> None:
        try:
            done.put((name, job()))
        except Exception as exc:  # noqa: BLE001  # handed to the caller, whatever it is
            done.put((name, exc))

    deadline = time.monotonic() + limit_s
    for name, job in jobs.items():
        threading.Thread(target=run, args=(name, job), name=f"job {name}", daemon=True).start()
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
