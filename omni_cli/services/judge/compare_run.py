"""Many calls at once within a money limit: threads by provider, each with a store of its own."""

import queue
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, closing
from typing import Any, Protocol

from msgspec import Struct

from omni_cli.domain.errors import BudgetExceeded, OmniError
from omni_cli.domain.record import replace
from omni_cli.services.engine.chat import ChatRun, ChatService
from omni_cli.services.engine.chat_plan import ChatPlan

#: A contender that failed so often in a row, for reasons of its own, is asked no more.
GIVE_UP = 3


class Worker(Protocol):
    """A thread's own omni: services on a store connection of its own."""

    @property
    def chat(self) -> ChatService: ...


Spawn = Callable[[], AbstractContextManager[Any]]


class Task(Struct, frozen=True):
    """One call. ``group``: tasks of one contender, given up together. ``worst_nusd``: the most
    that it can cost, None where unknown. ``keep`` stores its outcome, within its settlement."""

    group: str
    plan: ChatPlan
    worst_nusd: int | None
    keep: Callable[[Any, ChatRun], None]


class Done(Struct, frozen=True):
    """A task's end. ``skipped``: it was not asked, and why is in ``error`` where there is one."""

    task: Task
    cost_nusd: int | None = None
    error: OmniError | None = None
    skipped: bool = False


class Purse:
    """Money shared by all threads: what was spent, and what calls under way may yet cost."""

    def __init__(self, limit_nusd: int | None, spent_nusd: int) -> None:
        self._limit = limit_nusd
        self._changed = threading.Condition()
        self._reserved = 0
        self._under_way = 0
        self.spent_nusd = spent_nusd

    def take(self, worst_nusd: int, stop: Callable[[], bool]) -> bool:
        """Reserve a call's worst case; waits while others' reservations may yet come back.

        Returns False when it does not fit, or ``stop`` says so.
        """
        with self._changed:
            while not stop():
                fits = (
                    self._limit is None
                    or self.spent_nusd + self._reserved + worst_nusd <= self._limit
                )
                if fits:
                    self._reserved += worst_nusd
                    self._under_way += 1
                    return True
                if not self._under_way:
                    return False
                self._changed.wait(0.1)
        return False

    def settle(self, worst_nusd: int, cost_nusd: int) -> None:
        with self._changed:
            self._reserved -= worst_nusd
            self._under_way -= 1
            self.spent_nusd += cost_nusd
            self._changed.notify_all()


class Pool:
    """Runs tasks: ``concurrency`` threads for each provider, so that one which hangs delays
    nobody else's.

    Args:
        spawn: makes a thread's own omni.
        stop: True lets calls under way finish and starts no more.
    """

    def __init__(
        self, spawn: Spawn, purse: Purse, *, concurrency: int, stop: Callable[[], bool]
    ) -> None:
        self._spawn = spawn
        self._purse = purse
        self._concurrency = concurrency
        self._asked_to_stop = stop
        self._broke = False
        self._fatal: BaseException | None = None
        self._streaks: dict[str, int] = {}
        self._lock = threading.Lock()
        self._events: queue.SimpleQueue[Done] = queue.SimpleQueue()

    def run(self, tasks: Sequence[Task], done: Callable[[Done], None]) -> None:
        """Every task ends in exactly one ``done``, called in this thread.

        Raises:
            BudgetExceeded: a budget of the user's, or the limit, leaves no room for more.
            KeyboardInterrupt: passed on; calls under way go on, and may be waited for by
                calling ``drain``.
        """
        queues: dict[str, queue.SimpleQueue[Task]] = {}
        for task in tasks:
            slug = task.plan.targets[0].provider.slug
            queues.setdefault(slug, queue.SimpleQueue()).put(task)
        self._left = len(tasks)
        self._threads = [
            threading.Thread(
                target=self._work, args=(waiting,), name=f"ask {slug} {number}", daemon=True
            )
            for slug, waiting in queues.items()
            for number in range(min(self._concurrency, waiting.qsize()))
        ]
        for thread in self._threads:
            thread.start()
        self.drain(done)

    def drain(self, done: Callable[[Done], None]) -> None:
        """Hear of the tasks that have not ended yet."""
        while self._left:
            # Asked before the queue is: a thread's last word is in it when it has ended.
            working = any(thread.is_alive() for thread in self._threads)
            try:
                event = self._events.get(timeout=0.2 if working else 0.0)
            except queue.Empty:
                if working:
                    continue
                break  # a thread broke: its task has no end
            self._left -= 1
            done(event)
        if self._fatal is not None:
            raise self._fatal
        if self._broke and not self._asked_to_stop():
            raise BudgetExceeded(
                "the money limit leaves no room for the next call",
                hint="raise --max-cost and go on with --resume",
            )

    def _stopping(self) -> bool:
        return self._broke or self._fatal is not None or self._asked_to_stop()

    def _work(self, waiting: "queue.SimpleQueue[Task]") -> None:
        try:
            with self._spawn() as worker:
                while True:
                    try:
                        task = waiting.get_nowait()
                    except queue.Empty:
                        return
                    self._events.put(self._one(worker, task))
        except BaseException as exc:  # noqa: BLE001  # raised again in the thread that waits
            self._fatal = self._fatal or exc

    def _one(self, worker: Worker, task: Task) -> Done:
        if self._streaks.get(task.group, 0) >= GIVE_UP or self._stopping():
            return Done(task, skipped=True)
        worst = task.worst_nusd or 0
        if not self._purse.take(worst, self._stopping):
            self._broke = self._broke or not self._stopping()
            return Done(task, skipped=True)
        cost: int | None = 0
        error: OmniError | None = None
        try:
            cost, error = _ask(worker, task)
        finally:
            self._purse.settle(worst, cost or 0)
        if isinstance(error, BudgetExceeded):
            self._fatal = self._fatal or error
            return Done(task, cost, error, skipped=True)
        with self._lock:
            self._streaks[task.group] = 0 if error is None else self._streaks.get(task.group, 0) + 1
        return Done(task, cost, error)


def _ask(worker: Worker, task: Task) -> tuple[int | None, OmniError | None]:
    """One call to its end; what it cost, and its failure if it failed."""
    job = replace(task.plan.job, settled=lambda run: task.keep(worker, run))
    run = worker.chat.start(replace(task.plan, job=job))
    error: OmniError | None = None
    try:
        with closing(worker.chat.chunks(run)) as chunks:
            for _ in chunks:
                pass
    except OmniError as exc:
        error = exc
    row = run.row
    return (None if row is None else row.total_nusd), error
