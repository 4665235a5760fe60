"""One request on its way to an answer: models in turn, retries, failover, hedges, settlement.

Nobody else answers a request: ``omni chat``, comparisons and probes carry it out by ``own.py``, the
gateway by ``gateway/exchange.py``. Both are this object, and say only how a call is prepared, how
its row is committed, and how its answer gets to whoever asked.

An attempt is prepared (what cannot be built must not be charged), committed (row and budget lease),
sent, read and settled. Another model may take over until the answer's beginning was handed out;
after that a failure ends the request with a typed error that says how much arrived, and what
arrived is charged.
"""

import asyncio
import random
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from typing import Any, ClassVar, Generic, TypeVar

from msgspec import Struct

from omni_cli.domain.batch import Opening
from omni_cli.domain.bounds import bound_of
from omni_cli.domain.breaker import MAX_RETRY_AFTER_S, delay_s
from omni_cli.domain.consent import Consent
from omni_cli.domain.errors import (
    AssertionFailed,
    Cancelled,
    OmniError,
    ProviderError,
    StreamInterrupted,
)
from omni_cli.domain.ledger import NewRequest, RequestEnd, RequestState
from omni_cli.domain.record import replace
from omni_cli.ports import Clock
from omni_cli.services.engine.attempts import AttemptSummary, Progress, Target
from omni_cli.services.engine.checks import Check
from omni_cli.services.engine.health import HealthRecorder
from omni_cli.services.engine.sending import Sending
from omni_cli.services.engine.settlement import Reading
from omni_cli.services.engine.turns import PASSED_ON, Turns, final, verdict

_MESSAGE_CHARS = 500
#: What a subclass prepares: the way to a target and the body for it.
W = TypeVar("W")


class Outrun(Cancelled):
    """Another attempt's answer began first."""

    def __init__(self) -> None:
        super().__init__("another model's answer began first")


class Race:
    """Attempts under way at once, at most one of which answers.

    A hedge bounds what a slow or silent provider costs in time: when no answer has begun after a
    while, the next model is asked as well (Dean and Barroso, "The Tail at Scale", 2013). Both are
    attempts like any other, with a lease and a charge of their own.
    """

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


class Fault(Struct, frozen=True):
    """Why a model did not answer. ``final``: no other would."""

    error: OmniError
    final: bool


class Call(ABC, Generic[W]):
    """
    Args:
        sleep: waits so many seconds.
        targets: in the order of the decision.
    """

    #: A longer wait that a provider asks for is left to others, seconds.
    most_wait_s: ClassVar[float] = MAX_RETRY_AFTER_S
    #: A single target's failure is told as it is, where nobody was passed over.
    told_as_it_is: ClassVar[bool] = False
    #: What whoever saw part of an answer can do.
    broken_hint: ClassVar[str] = "what arrived was charged; send it again"
    # Without slots an object of more than thirty fields loses its shared keys, and the interpreter
    # cannot read a field at once that its class has a default of.
    __slots__ = (
        "_rng",
        "_sleep",
        "accept",
        "asked",
        "clock",
        "consent",
        "ends_at_ms",
        "flaw",
        "health",
        "hedge_s",
        "hedged",
        "progress",
        "race",
        "reading",
        "targets",
    )

    def __init__(
        self,
        health: HealthRecorder,
        clock: Clock,
        rng: random.Random,
        sleep: Callable[[float], Awaitable[None]],
        targets: Sequence[Target],
        consent: Consent,
        progress: Progress,
    ) -> None:
        self.health = health
        self.clock = clock
        self.targets = targets
        self.consent = consent
        self.progress = progress
        self._rng = rng
        self._sleep = sleep
        #: Of the attempt that was begun last, or whose answer is taken.
        self.reading: Reading | None = None
        #: Who was asked last.
        self.asked: Target | None = None
        #: A second model was asked beside the first.
        self.hedged = False
        self.race: Race | None = None
        #: When a second model is asked beside the first, since that was asked; None: never.
        self.hedge_s: float | None = None
        #: Looks at each whole answer: one that fails is charged and kept back, and the next model
        #: is asked. Nothing is given before it passed, and nobody is asked beside another.
        self.accept: Check | None = None
        #: Why the last whole answer failed that, "" where it did not.
        self.flaw = ""
        #: When nobody else is asked, nor anybody again; None: somebody else sees to it.
        self.ends_at_ms: int | None = None

    # --- what a way of a request says ---------------------------------------------------------

    @abstractmethod
    def prepare(self, target: Target) -> W:
        """The call, ready to be committed. Raises what ends the target's turn."""

    @abstractmethod
    async def commit(self, way: W, target: Target) -> Reading:
        """Write the attempt's row and leases; it may go out then.

        Raises BudgetExceeded, UnknownPrice, Busy, StoreError: it must not be sent.
        """

    @abstractmethod
    async def exchange(self, way: W, target: Target, reading: Reading) -> None:
        """Send it, and hand on the whole of its answer, which is settled as such.

        Raises ProviderError: the provider refused, or its answer broke off.
        """

    def told(self, fault: ProviderError, way: W, target: Target) -> ProviderError:  # noqa: ARG002  # for those who add to it
        """The failure as the ledger is told it; its settlement is next."""
        return fault

    def veil(self, fault: ProviderError, way: W, target: Target) -> None:
        """The same before whoever asked is told of it."""

    def begun(self, reading: Reading) -> bool:
        """Part of the answer was handed out: nobody else can go on with it unseen."""
        return reading.shown

    def stopped(self, reason: BaseException) -> BaseException:
        """Why what was under way was given up, in words for the ledger."""
        return reason

    @property
    def gone(self) -> bool:
        """Whoever asked is gone: nobody else need be asked."""
        return False

    def over(self, reading: Reading, error: BaseException | None) -> None:
        """An attempt is settled."""

    def mends(self, error: OmniError, target: Target) -> bool:  # noqa: ARG002  # for those who can
        """Whether the same model is to be asked again at once, without what it refused."""
        return False

    def note_unsaid(self, target: Target, told: tuple[str, ...]) -> None:
        """Keep what the target's protocol, or the model, cannot be told of."""
        if told:
            self.progress.unsaid[target.model.id] = told

    def tell(self, line: str) -> None:
        """A retry, a failover, a shortened answer: as it happens."""

    def late_hint(self) -> str:
        """What to say where the request's time was over before everybody was asked."""
        return ""

    # --- the way of every request -------------------------------------------------------------

    async def answer(self) -> None:
        """Have it answered, and every attempt settled.

        Raises:
            StreamInterrupted: broken off after its beginning was handed out.
            AllProvidersFailed: no target answered.
            BudgetExceeded, UnknownPrice: nothing was tried because of money.
        """
        causes: list[tuple[str, OmniError]] = []
        turns = Turns(self.targets, self.consent, self.health.admit, self.skip)
        if self.hedge_s is not None:
            if await self._raced(self.hedge_s, turns, causes):
                return
        else:
            first, timed = True, self.ends_at_ms is not None
            while not (timed and self._late) and (target := turns.next()) is not None:
                if not first:
                    self.tell(f"falling back to {target.model.id}")
                first = False
                fault = await self._try_target(target, turns)
                if fault is not None:
                    self._note(causes, turns, target, fault)
                elif not self.flaw:
                    return
        lift = self.late_hint() if turns.left and self._late else turns.lift
        raise verdict(causes, self.progress, lift, as_they_are=self.told_as_it_is)

    async def _raced(
        self, after_s: float, turns: Turns, causes: list[tuple[str, OmniError]]
    ) -> bool:
        """One model after the other, and once the next beside the one under way; the same one again
        where there is no other. Returns whether it was answered."""
        willing = iter(turns.next, None)
        race = self.race = Race()
        now = asyncio.get_running_loop().time
        due: float | None = now() + after_s
        try:
            while True:
                if not race.asked:
                    first = None if self._late else next(willing, None)
                    if first is None:
                        return False
                    race.start(first, self._try_target(first, turns))
                ended = await race.next(None if due is None else max(due - now(), 0.0))
                if due is not None and now() >= due and not ended:
                    due = None
                    if not race.decided:
                        self._ask_more(race, willing, turns)
                for target, task in ended:
                    fault = task.result()
                    if fault is None:
                        return True
                    self._note(causes, turns, target, fault)
                    if fault.final:
                        return False
        finally:
            await race.close()

    def _ask_more(self, race: Race, willing: Iterator[Target], turns: Turns) -> None:
        more = next(willing, race.asked[0])
        race.start(more, self._try_target(more, turns))

    def _note(
        self, causes: list[tuple[str, OmniError]], turns: Turns, target: Target, fault: Fault
    ) -> None:
        """A target's turn is over."""
        error = fault.error
        causes.append((target.model.id, error))
        turns.failed(target, error.cause if isinstance(error, StreamInterrupted) else error)
        if fault.final:
            turns.end()

    @property
    def _late(self) -> bool:
        return self.ends_at_ms is not None and self.now_ms() >= self.ends_at_ms

    async def _try_target(self, target: Target, turns: Turns) -> Fault | None:
        """One model with its retries, each call of it committed, sent, read and settled; what went
        wrong at last, None when it answered."""
        admitted_at = self.now_ms() if turns.guarded else 0
        race, attempt, tries = self.race, 0, 0
        try:
            while True:
                attempt += 1
                committed = False
                try:
                    if self.ends_at_ms is not None:
                        target = self._in_time(target, self.ends_at_ms)
                    way = self.prepare(target)
                    if race is None:
                        reading = await self.commit(way, target)
                    else:
                        async with race.opening:
                            reading = await self.commit(way, target)
                        self.hedged = self.hedged or len(race.asked) > 1
                    committed, tries = True, tries + 1
                    error: BaseException | None = None
                    try:
                        await self.exchange(way, target, reading)
                    except ProviderError as exc:
                        fault = error = self.told(exc, way, target)
                        reading.fail(fault)
                        self.veil(fault, way, target)
                        if self.begun(reading):
                            raise interrupted(target, reading, fault, self.broken_hint) from None
                        raise
                    except BaseException as exc:
                        outrun = race is not None and race.outran()
                        error = Outrun() if outrun else self.stopped(exc)
                        reading.stop(error)
                        raise
                    finally:
                        self.over(reading, error)
                except StreamInterrupted as exc:
                    if self.accept is None:  # else nobody has seen any of it
                        raise
                    return Fault(exc, final=False)
                except PASSED_ON as exc:
                    if self.mends(exc, target):
                        continue
                    if not committed:
                        self.skip(target, exc.code, exc.message)
                    if self.gone:
                        raise asyncio.CancelledError from None
                    delay = self._wait_s(exc, attempt, target) if turns.again(exc) else None
                    if delay is None:
                        return Fault(exc, final=final(exc) and tries > 0)
                    self.tell(
                        f"{target.model.id}: {exc.code}: {exc.message}; "
                        f"trying again in {delay:.1f} s ({attempt}/{target.max_retries})"
                    )
                else:
                    return None
                await self._sleep(delay)
        finally:
            if turns.guarded and not tries:
                self.health.cancelled(target, started_ms=admitted_at)

    def _in_time(self, target: Target, ends_at_ms: int) -> Target:
        """The target with no more patience than its request's time allows."""
        left_ms = max(ends_at_ms - self.now_ms(), 1)
        return target if target.timeout_ms <= left_ms else replace(target, timeout_ms=left_ms)

    def _wait_s(self, error: OmniError, attempt: int, target: Target) -> float | None:
        """Before the same model is asked again, seconds; None: it is not."""
        if not isinstance(error, ProviderError) or attempt > target.max_retries:
            return None
        delay = delay_s(
            attempt,
            retry_after_s=error.retry_after_s,
            rng=self._rng,
            fixed_s=target.retry_delay_s,
            max_retry_after_s=self.most_wait_s,
        )
        ends_at = self.ends_at_ms
        if delay is not None and ends_at is not None and self.now_ms() + delay * 1000 >= ends_at:
            return None
        return delay

    def opening(
        self,
        new: NewRequest,
        target: Target,
        sent: Sending,
        estimate: int,
        *,
        opened: bool,
        decision: bytes | None = None,
        named: bool = False,
    ) -> Opening:
        """The next attempt, for whoever commits it. ``estimate``: tokens of its input."""
        stored, progress, provider = target.price, self.progress, target.provider
        price = None if stored is None else stored.price
        return Opening(
            new,
            progress.tries + 1,
            target.model.id,
            provider.slug,
            self.now_ms(),
            estimate,
            bound_of(price, sent.most),
            provider.max_concurrency,
            None if stored is None else stored.id,
            price,
            progress.room_nusd,
            progress.most_nusd or 0,
            decision,
            named,
            opened=opened,
            rpm=target.rpm,
        )

    def judge(self, target: Target, reading: Reading) -> None:
        """Settle the whole answer that came, with what its check says of it."""
        assert self.accept is not None
        self.flaw = flaw = self.accept(reading.folder.completion())
        reading.finish(flaw)
        if flaw:
            self.tell(f"{target.model.id}: check failed: {flaw}")

    async def claim(self, target: Target, reading: Reading) -> None:
        """Before anything of this attempt's answer goes out, or is settled as an answer."""
        if self.race is not None:
            await self.race.claim()
            self.reading, self.asked = reading, target

    def skip(self, target: Target, code: str, why: str) -> None:
        """A target is passed over."""
        self.progress.attempts.append(
            AttemptSummary(target.model.id, "skipped", code, None, 0, message=why)
        )
        self.tell(f"{target.model.id} skipped: {why}")

    def now_ms(self) -> int:
        return int(self.clock() * 1000)


def none_passed(flaw: str) -> AssertionFailed:
    """The end of a request of which no answer passed its check; the last one is given."""
    return AssertionFailed(
        f"no answer passed the check: {flaw}",
        hint="the last answer is shown; a better model may do: --priority best",
    )


def interrupted(
    target: Target, reading: Reading, fault: ProviderError, hint: str
) -> StreamInterrupted:
    """The error of an answer that broke off after part of it went out."""
    chars = reading.folder.received_chars
    return StreamInterrupted(
        f"{target.model.id} broke off after {chars} characters: {fault.message}",
        received_chars=chars,
        cause=fault,
        hint=hint,
    )


def request_end(
    progress: Progress,
    asked: Target | None,
    state: RequestState,
    error: OmniError | None,
    *,
    created_ms: int,
    now_ms: int,
    premium: tuple[str | None, int | None],
) -> RequestEnd:
    """What the ledger is told of a request that is over.

    Args:
        asked: who was asked last, where nobody's answer was kept.
        premium: the premium model and what the usage costs there.
    """
    last = progress.target or asked
    model, provider = ("", "") if last is None else (last.model.id, last.provider.slug)
    first = progress.first_token_at
    return RequestEnd(
        state=state,
        settled_at=now_ms,
        model=model,
        provider=provider,
        premium_model=premium[0],
        premium_cost_nusd=premium[1],
        latency_ms=now_ms - created_ms,
        ttft_ms=None if first is None else first - created_ms,
        finish_reason=progress.finish_reason,
        error_code=None if error is None else error.code,
        error_message=None if error is None else error.message[:_MESSAGE_CHARS],
    )
