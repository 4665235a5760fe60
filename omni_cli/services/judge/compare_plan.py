"""What a comparison will ask: its settings, its cases by hash, and how both are stored; and how its
calls are carried out: many at once within a money limit, on one event loop, so many for each
provider, so that one which hangs delays nobody else's."""

import asyncio
import hashlib
import json
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Literal

from msgspec import Struct, field

from omni_cli.domain.chat import ChatChunk, ChatRequest, message_document, message_from
from omni_cli.domain.errors import BudgetExceeded, OmniError, UsageError
from omni_cli.domain.models import ModelInfo
from omni_cli.domain.record import asdict, replace
from omni_cli.domain.scoring import Scorer
from omni_cli.services.engine.chat import ChatRun, ChatService
from omni_cli.services.engine.chat_plan import ChatPlan
from omni_cli.services.engine.names import Names
from omni_cli.services.engine.own import Steps
from omni_cli.services.judge.suite import Case, scorers_of

#: Digits of a prompt's hash: enough for millions of prompts without two alike.
_HASH = 16


#: The management spec's.
ComparisonType = Literal["performance", "cost", "accuracy", "comprehensive"]


class Settings(Struct, frozen=True):
    """``retries`` after the first try of each call; ``concurrency`` of each provider.

    ``judge`` is a model's id, "" for none. ``max_tokens`` bounds every answer, and so its cost.
    """

    iterations: int = 1
    max_tokens: int = 1024
    temperature: float | None = None
    timeout_s: float = 60.0
    retries: int = 1
    concurrency: int = 4
    judge: str = ""
    #: By what a recommendation goes: all in all, or one criterion.
    aim: ComparisonType = "comprehensive"


class Plan(Struct, frozen=True):
    """``contenders`` as names.select takes them; ``cases`` by hash of what is asked."""

    contenders: tuple[str, ...]
    cases: Mapping[str, Case]
    settings: Settings
    name: str = ""
    #: Task types by hash, as routing sees them; filled when the calls are planned.
    tasks: dict[str, str] = field(default_factory=dict)

    @property
    def judged(self) -> bool:
        return bool(self.settings.judge)

    def request(self, prompt: str) -> ChatRequest:
        settings = self.settings
        return ChatRequest(
            self.cases[prompt].messages,
            max_output_tokens=settings.max_tokens,
            temperature=settings.temperature,
        )


def keyed(cases: Sequence[Case]) -> dict[str, Case]:
    """By hash of the messages; the same question with other expectations is asked again."""
    found: dict[str, Case] = {}
    for case in cases:
        text = json.dumps([message_document(message) for message in case.messages], sort_keys=True)
        key = hashlib.sha256(text.encode()).hexdigest()[:_HASH]
        same = sum(other.partition(".")[0] == key for other in found)
        found[f"{key}.{same}" if same else key] = case
    return found


def plan_document(plan: Plan) -> dict[str, Any]:
    return {
        "name": plan.name,
        "contenders": list(plan.contenders),
        "settings": asdict(plan.settings),
        "cases": [
            {
                "hash": key,
                "name": case.name,
                "messages": [message_document(message) for message in case.messages],
                "scorers": [asdict(scorer) for scorer in case.scorers],
            }
            for key, case in plan.cases.items()
        ],
    }


def plan_from(document: Mapping[str, Any]) -> Plan:
    return Plan(
        tuple(document["contenders"]),
        {
            case["hash"]: Case(
                tuple(message_from(values) for values in case["messages"]),
                tuple(
                    Scorer(s["kind"], tuple(s["expect"]), s["settings"], s["negate"])
                    for s in case["scorers"]
                ),
                case["name"],
            )
            for case in document["cases"]
        },
        Settings(**document["settings"]),
        document["name"],
    )


class Wanted(Struct, frozen=True):
    """``scoring``: of cases that bring no scorers of their own, as a suite's case writes them
    (``expect``, ``scorers``, ``schema`` ...); paths in it are below ``folder``. ``judge``: a
    model's name, "" for none."""

    models: Sequence[str]
    cases: Sequence[Case]
    scoring: Mapping[str, object]
    folder: Path
    judge: str = ""
    settings: Settings = field(default_factory=Settings)
    name: str = ""


def plan_of(names: Names, wanted: Wanted) -> Plan:
    """Raises:
    UsageError: nobody or nothing is named, or a scorer lacks what it needs.
    NotFound: a model or role that there is not.
    """
    if not wanted.models:
        raise UsageError("who is to be compared?", hint="name two models or roles")
    scorers = scorers_of(wanted.scoring, wanted.folder, "the scoring")
    cases = [
        case if case.scorers or not scorers else replace(case, scorers=scorers)
        for case in wanted.cases
    ]
    contenders = [contender(names, name) for name in wanted.models]
    judge = names.model(wanted.judge) if wanted.judge else ""
    if not judge and any(s.kind == "judge" for case in cases for s in case.scorers):
        raise UsageError("some cases need a judge", hint="name a model that is to judge")
    return Plan(
        tuple(dict.fromkeys(contenders)),
        keyed(cases),
        replace(wanted.settings, judge=judge),
        wanted.name,
    )


def contender(names: Names, text: str) -> str:
    """A model's id, or ``role:NAME``. Raises NotFound, UsageError."""
    selector = names.select(text)
    if selector.kind in ("auto", "chain"):
        raise UsageError(f"{text!r} is no model and no role", hint="name a model or a role")
    return selector.name if selector.kind == "model" else f"role:{selector.name}"


#: A contender that failed so often in a row, for reasons of its own, is asked no more.
GIVE_UP = 3
#: That a limit a minute is of, and a little: the store's clock counts whole milliseconds.
_MINUTE_S = 60.01


class Task(Struct, frozen=True):
    """One call. ``group``: tasks of one contender, given up together. ``worst_nusd``: the most
    that it can cost, None where unknown. ``keep`` stores its outcome, within its settlement."""

    group: str
    plan: ChatPlan
    worst_nusd: int | None
    keep: Callable[[ChatRun], None]


class Done(Struct, frozen=True):
    """A task's end. ``skipped``: it was not asked, and why is in ``error`` where there is one."""

    task: Task
    cost_nusd: int | None = None
    error: OmniError | None = None
    skipped: bool = False


class Purse:
    """Money shared by all calls: what was spent, and what those under way may yet cost."""

    def __init__(self, limit_nusd: int | None, spent_nusd: int) -> None:
        self._limit = limit_nusd
        self._changed = asyncio.Event()
        self._reserved = 0
        self._under_way = 0
        self.spent_nusd = spent_nusd

    async def take(self, worst_nusd: int, stop: Callable[[], bool]) -> bool:
        """Reserve a call's worst case; waits while others' reservations may yet come back.

        Returns False when it does not fit, or ``stop`` says so.
        """
        while not stop():
            needed = self.spent_nusd + self._reserved + worst_nusd
            if self._limit is None or needed <= self._limit:
                self._reserved += worst_nusd
                self._under_way += 1
                return True
            if not self._under_way:
                return False
            self._changed.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), 0.1)
        return False

    def settle(self, worst_nusd: int, cost_nusd: int) -> None:
        self._reserved -= worst_nusd
        self._under_way -= 1
        self.spent_nusd += cost_nusd
        self._changed.set()


class Pool:
    """Carries tasks out.

    Args:
        concurrency: calls at once for each provider.
        stop: True lets calls under way finish and starts no more.
    """

    def __init__(
        self,
        chat: ChatService,
        steps: Steps,
        purse: Purse,
        *,
        concurrency: int,
        stop: Callable[[], bool],
    ) -> None:
        self._chat = chat
        self._steps = steps
        self._purse = purse
        self._concurrency = concurrency
        self._asked_to_stop = stop
        self._broke = False
        self._fatal: BaseException | None = None
        self._streaks: dict[str, int] = {}
        #: By model: its room, and when calls went out to one that has a limit a minute.
        self._rooms: dict[str, asyncio.Semaphore] = {}
        self._sent: dict[str, deque[float]] = {}
        #: Ends of tasks; None where a line of them is through.
        self._events: asyncio.Queue[Done | None] = asyncio.Queue()
        self._lines: set[asyncio.Task[None]] = set()

    def run(self, tasks: Sequence[Task], done: Callable[[Done], None]) -> None:
        """Every task ends in exactly one ``done``.

        Raises:
            BudgetExceeded: a budget of the user's, or the limit, leaves no room for more.
            KeyboardInterrupt: passed on; calls under way stay so, and go on, and may be waited
                for, by calling ``drain``.
        """
        queues: dict[str, deque[Task]] = {}
        for task in tasks:
            slug = task.plan.targets[0].provider.slug
            queues.setdefault(slug, deque()).append(task)
        self._left = len(tasks)
        self._steps.run(self._start(queues))
        self.drain(done)

    async def _start(self, queues: dict[str, deque[Task]]) -> None:
        for slug, waiting in queues.items():
            for number in range(min(self._concurrency, len(waiting))):
                line = asyncio.create_task(self._work(waiting), name=f"ask {slug} {number}")
                self._lines.add(line)

    def drain(self, done: Callable[[Done], None]) -> None:
        """Hear of the tasks that have not ended yet."""
        while self._left:
            event = self._steps.run(self._next())
            if event is None:
                break  # something broke: a task has no end
            self._left -= 1
            done(event)
        if self._fatal is not None:
            raise self._fatal
        if self._broke and not self._asked_to_stop():
            raise BudgetExceeded(
                "the money limit leaves no room for the next call",
                hint="raise --max-cost and go on with --resume",
            )

    async def _next(self) -> Done | None:
        while (event := await self._events.get()) is None:
            if self._events.empty() and all(line.done() for line in self._lines):
                return None
        return event

    def _stopping(self) -> bool:
        return self._broke or self._fatal is not None or self._asked_to_stop()

    async def _work(self, waiting: deque[Task]) -> None:
        try:
            while waiting:
                self._events.put_nowait(await self._one(waiting.popleft()))
        except asyncio.CancelledError:
            raise
        except BaseException as exc:  # noqa: BLE001  # raised again by whoever waits
            self._fatal = self._fatal or exc
        finally:
            # Heard of once this line itself is done.
            asyncio.get_running_loop().call_soon(self._events.put_nowait, None)

    async def _one(self, task: Task) -> Done:
        if self._streaks.get(task.group, 0) >= GIVE_UP or self._stopping():
            return Done(task, skipped=True)
        worst = task.worst_nusd or 0
        if not await self._purse.take(worst, self._stopping):
            self._broke = self._broke or not self._stopping()
            return Done(task, skipped=True)
        cost: int | None = 0
        error: OmniError | None = None
        try:
            async with self._room(task.plan.targets[0].model):
                cost, error = await self._ask(task)
        finally:
            self._purse.settle(worst, worst if cost is None else cost)
        if isinstance(error, BudgetExceeded):
            self._fatal = self._fatal or error
            return Done(task, cost, error, skipped=True)
        self._streaks[task.group] = 0 if error is None else self._streaks.get(task.group, 0) + 1
        return Done(task, cost, error)

    @asynccontextmanager
    async def _room(self, model: ModelInfo) -> AsyncIterator[None]:
        """Once there is room for a call to it, by what its user set of the model: so many at once,
        and so many a minute, which this process spreads itself rather than be refused."""
        most = model.settings.get("batch_size", self._concurrency)
        async with self._rooms.setdefault(model.id, asyncio.Semaphore(most)):
            if rpm := model.settings.get("rate_limit_rpm"):
                sent = self._sent.setdefault(model.id, deque(maxlen=rpm))
                now = at = asyncio.get_running_loop().time()
                if len(sent) == rpm:
                    at = max(now, sent[0] + _MINUTE_S)
                sent.append(at)
                await asyncio.sleep(at - now)
            yield

    async def _ask(self, task: Task) -> tuple[int | None, OmniError | None]:
        """One call to its end; what it cost, and its failure if it failed."""
        run = self._chat.start(replace(task.plan, job=replace(task.plan.job, settled=task.keep)))
        error: OmniError | None = None
        try:
            await self._chat.carry_out(run, _unread)
        except OmniError as exc:
            error = exc
        return (None if run.row is None else run.row.known_nusd), error


async def _unread(_: ChatChunk) -> None:
    """The answer is looked at when it is whole."""
