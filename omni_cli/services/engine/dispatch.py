"""Carry out a decision: attempts in order, retries, failover, and every attempt in the ledger.

An attempt is planned (row and budget lease), marked as sent, called, and settled. Another model
may take over until the first token of an answer was handed out; after that a failure ends the
request with a typed error that says how much arrived, and what arrived is charged.
"""

import random
from collections.abc import Callable, Generator, Sequence
from typing import Protocol

from omni_cli.domain import retry
from omni_cli.domain.batch import SLOT_WAIT_S
from omni_cli.domain.bounds import over_maximum
from omni_cli.domain.chat import ChatChunk, ChatRequest, Completion
from omni_cli.domain.consent import Consent
from omni_cli.domain.errors import (
    AssertionFailed,
    AuthError,
    BadRequest,
    BudgetExceeded,
    Busy,
    OmniError,
    ProviderError,
    StreamInterrupted,
    UnknownPrice,
)
from omni_cli.domain.ids import id_text
from omni_cli.domain.ledger import NewAttempt
from omni_cli.domain.models import ProtocolName, Provider
from omni_cli.domain.pricing import format_usd
from omni_cli.domain.record import replace
from omni_cli.domain.vendor_env import refused_key_hint
from omni_cli.ports import Clock, Endpoint, HttpCall, ProviderAdapter, Transport
from omni_cli.repositories import Ledger
from omni_cli.services.engine.attempts import AttemptSummary, Progress, Target
from omni_cli.services.engine.bounds import Bounds, bounds
from omni_cli.services.engine.checks import Check
from omni_cli.services.engine.health import HealthRecorder
from omni_cli.services.engine.routing import input_estimate
from omni_cli.services.engine.settlement import Reading
from omni_cli.services.engine.turns import PASSED_ON, Turns, final, verdict

#: How often a call that waits for a slot looks at least, and for slots that dead processes hold,
#: seconds.
_SLOT_LOOK_S = 1.0
#: Names an attempt on the wire: ties a proxy's or a provider's log to the ledger.
ATTEMPT_HEADER = "x-omni-attempt"
#: What a request may take in all, seconds.
LIMIT_S = 900.0


class Keys(Protocol):
    def __call__(self, provider: Provider) -> str | None:
        """The provider's key; raises MissingKey when it needs one and none is found."""
        ...


class Dispatcher:
    """Args:
    adapters: protocol name to adapter.
    sleep: seconds to wait; replaced in tests.
    room: nano-dollars that the budgets leave for a request at a target, None without budget.
    await_turn: waits for a request's (its id) turn at a provider of so many slots, so many
        seconds at most; else the time is slept through.
    reclaim: frees what dead processes hold; called while waiting for a slot.
    note: told of retries and failovers as they happen (one line each).
    limit_s: what a request may take with all its tries and stand-ins; an answer that began goes
        on to its end.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        transport: Transport,
        adapters: Callable[[ProtocolName], ProviderAdapter],
        keys: Keys,
        health: HealthRecorder,
        clock: Clock,
        sleep: Callable[[float], None],
        rng: random.Random,
        room: Callable[[int, Target], int | None],
        await_turn: Callable[[int, str, int, float], None] | None = None,
        reclaim: Callable[[], object] = lambda: None,
        note: Callable[[str], None] = lambda _: None,
        limit_s: float = LIMIT_S,
    ) -> None:
        self._ledger = ledger
        self._transport = transport
        self._adapters = adapters
        self._keys = keys
        self._health = health
        self._clock = clock
        self._sleep = sleep
        self._rng = rng
        self._room = room
        self._await_turn = await_turn or (lambda *where: sleep(where[-1]))
        self._reclaim = reclaim
        self._note = note
        self._limit_ms = int(limit_s * 1000)

    def stream(
        self,
        request_id: int,
        request: ChatRequest,
        targets: Sequence[Target],
        consent: Consent,
        progress: Progress,
        *,
        accept: Check | None = None,
    ) -> Generator[ChatChunk]:
        """Yield the answer's chunks; ``progress`` tells who gave it and at what cost.

        Closing the iterator, or an exception thrown into it, settles what was received.

        Args:
            accept: looks at each whole answer; one that fails is kept back and charged, and the
                next target is tried. Nothing is handed out before it passed.

        Raises:
            StreamInterrupted: broken off after the first token.
            AllProvidersFailed: no target answered.
            BudgetExceeded, UnknownPrice: nothing was tried because of money.
            AssertionFailed: no answer passed ``accept``; the last one was handed out.
        """
        causes: list[tuple[str, OmniError]] = []
        rejected: list[ChatChunk] = []
        verdict_of_check = ""
        ends_at = self._now() + self._limit_ms
        turns = Turns(
            targets,
            consent,
            self._health.admit,
            lambda target, code, why: self._skip(progress, target, code, why),
        )
        asked = 0
        while self._now() < ends_at:
            admitted_at = self._now()
            target = turns.next()
            if target is None:
                break
            if asked:
                self._tell(progress, f"falling back to {target.model.id}")
            asked += 1
            tries = progress.tries
            try:
                if accept is None:
                    yield from self._try_target(
                        request_id, request, target, progress, turns, ends_at
                    )
                    return
                held = list(self._try_target(request_id, request, target, progress, turns, ends_at))
                verdict_of_check = accept(progress.completion or Completion())
                if not verdict_of_check:
                    yield from held
                    return
                rejected = held
                self._reject(request_id, progress, verdict_of_check)
            except StreamInterrupted as exc:
                if accept is None:
                    raise
                causes.append((target.model.id, exc))  # kept back, so nobody has seen it
                turns.failed(target, exc.cause)
            except PASSED_ON as exc:
                causes.append((target.model.id, exc))
                turns.failed(target, exc)
                if final(exc) and progress.tries > tries:
                    turns.end()
            finally:
                if turns.guarded and progress.tries == tries:
                    self._health.cancelled(target, started_ms=admitted_at)
        if rejected:
            yield from rejected
            raise AssertionFailed(
                f"no answer passed the check: {verdict_of_check}",
                hint="the last answer is shown; a better model may do: --priority best",
            )
        late = f"nobody else was asked, as its {self._limit_ms / 1000:g} s (chat.limit_s) are over"
        raise verdict(causes, progress, late if turns.left else turns.lift)

    def _reject(self, request_id: int, progress: Progress, verdict: str) -> None:
        """An answer came and was charged, and failed its check."""
        self._ledger.annotate(request_id, progress.tries, "check_failed", verdict)
        last = progress.attempts[-1]
        progress.attempts[-1] = replace(
            last, outcome="rejected", error="check_failed", message=verdict
        )
        self._tell(progress, f"{last.model}: check failed: {verdict}")

    def _try_target(
        self,
        request_id: int,
        request: ChatRequest,
        target: Target,
        progress: Progress,
        turns: Turns,
        ends_at: int,
    ) -> Generator[ChatChunk]:
        """One model with its retries, until the request's time is over. Raises the last error."""
        for attempt in range(1, target.max_retries + 2):
            tries = progress.tries
            left_ms = max(ends_at - self._now(), 1)
            if target.timeout_ms > left_ms:
                target = replace(target, timeout_ms=left_ms)
            try:
                yield from self._attempt(request_id, request, target, progress)
            except PASSED_ON as exc:
                if progress.tries == tries:
                    self._skip(progress, target, exc.code, exc.message)
                if not isinstance(exc, ProviderError) or not turns.again(exc):
                    raise
                if attempt > target.max_retries:
                    raise
                delay = retry.delay_s(attempt, retry_after_s=exc.retry_after_s, rng=self._rng)
                if delay is None or self._now() + delay * 1000 >= ends_at:
                    raise
                self._tell(
                    progress,
                    f"{target.model.id}: {exc.code}: {exc.message}; "
                    f"trying again in {delay:.1f} s ({attempt}/{target.max_retries})",
                )
                self._sleep(delay)
            else:
                return

    def _attempt(
        self, request_id: int, request: ChatRequest, target: Target, progress: Progress
    ) -> Generator[ChatChunk]:
        """One call: planned, sent, read, settled."""
        adapter = self._adapters(target.provider.protocol)
        endpoint = Endpoint(
            target.provider.base_url, self._keys(target.provider), target.provider.headers
        )
        call = adapter.build(request, target.model.wire_name, endpoint)
        bound = self._bound(request_id, call, target, progress)
        call = bound.call
        attempt = NewAttempt(
            request=request_id,
            n=progress.tries + 1,
            model=target.model.id,
            provider=target.provider.slug,
            started_at=self._now(),
            input_estimate=input_estimate(request),
            price=None if target.price is None else target.price.id,
            reserve_nusd=bound.reserve_nusd,
            output_bound=bound.output_bound,
            reserve_why=bound.why,
        )
        reading = Reading(
            ledger=self._ledger,
            health=self._health,
            clock=self._clock,
            attempt=attempt,
            target=target,
            progress=progress,
        )
        try:
            reading.begin(self._planned(attempt, target))
            progress.tries = attempt.n
            if progress.most_nusd is not None:
                progress.sent(attempt.n, bound.reserve_nusd or 0)
            reading.sent = True
            self._ledger.mark_sent(request_id, attempt.n)
            named = _named(call, attempt)
            with self._transport.open(adapter, named, timeout_s=target.timeout_ms / 1000) as answer:
                told = answer.headers
                reading.response_id = (
                    told.get("x-generation-id")
                    or told.get("x-request-id")
                    or told.get("request-id")
                )
                for chunk in answer:
                    reading.take(chunk)
                    yield chunk
            reading.finish()
        except (BudgetExceeded, UnknownPrice, Busy):
            raise  # by the plan: nothing was written
        except ProviderError as exc:
            if isinstance(exc, AuthError):
                exc.hint = refused_key_hint(target.provider.slug)
            reading.fail(exc)
            if reading.shown:
                raise StreamInterrupted(
                    f"{target.model.id} broke off after {reading.folder.received_chars} "
                    f"characters: {exc.message}",
                    received_chars=reading.folder.received_chars,
                    cause=exc,
                    hint="what arrived was kept and charged; send it again, or use --no-stream "
                    "to have whole answers only",
                ) from exc
            raise
        except BaseException as exc:
            reading.stop(exc)
            raise

    def worst_nusd(self, request: ChatRequest, target: Target) -> int | None:
        """The most that one call can cost, nothing being limited; None where that is unknown."""
        adapter = self._adapters(target.provider.protocol)
        endpoint = Endpoint(target.provider.base_url, None, target.provider.headers)
        try:
            call = adapter.build(request, target.model.wire_name, endpoint)
        except BadRequest:
            return 0  # it cannot be sent
        return self._bounds(call, target, None).reserve_nusd

    def _bound(self, request_id: int, call: HttpCall, target: Target, progress: Progress) -> Bounds:
        """The call bounded to what budgets and the request's maximum leave; says so where that
        shortens its answer. Raises BudgetExceeded, UnknownPrice: the maximum cannot hold it."""
        left = progress.room_nusd
        rooms = [room for room in (self._room(request_id, target), left) if room is not None]
        room = min(rooms, default=None)
        found = self._bounds(call, target, room)
        if left is not None and progress.most_nusd is not None:
            if found.reserve_nusd is None:
                raise UnknownPrice(
                    f"the price of {target.model.id} is unknown, so is whether it fits a maximum "
                    "cost",
                    hint=f"omni models price {target.model.id} --price-in USD --price-out USD",
                )
            if found.reserve_nusd > left:
                raise over_maximum(
                    target.model.id, found.reserve_nusd, left, progress.most_nusd, found.why
                )
        if found.cut_from is not None:
            whose = "the maximum cost" if room == left else "a budget"
            self._tell(
                progress,
                f"{target.model.id}: {whose} leaves {format_usd(room)}, so the answer is limited "
                f"to {found.output_bound or 0:,} tokens instead of {found.cut_from:,}",
            )
        return found

    def _bounds(self, call: HttpCall, target: Target, room: int | None) -> Bounds:
        price = None if target.price is None else target.price.price
        adapter = self._adapters(target.provider.protocol)
        return bounds(adapter, call, target.provider.base_url, target.model, price, room)

    def _planned(self, attempt: NewAttempt, target: Target) -> NewAttempt:
        """The attempt as it was written once its provider had a slot for it.

        Raises:
            Busy: the slots stayed taken, or others came first. Nothing was written.
            BudgetExceeded, UnknownPrice: as ``Ledger.plan``.
        """
        slots, slug = target.provider.max_concurrency, target.provider.slug
        began = attempt.started_at
        try:
            while not self._ledger.plan(attempt, slots=slots):
                assert slots is not None
                if attempt.waited_ms >= SLOT_WAIT_S * 1000:
                    raise Busy(
                        f"all {slots} slots of {slug} were taken for {SLOT_WAIT_S:.0f} s",
                        hint=f"omni providers edit {slug} --max-concurrency N",
                    )
                self._reclaim()
                self._await_turn(attempt.request, slug, slots, _SLOT_LOOK_S)
                now = self._now()
                attempt = replace(attempt, started_at=now, waited_ms=max(now - began, 1))
        except BaseException:
            self._ledger.leave_queue(attempt.request)
            raise
        return attempt

    def _skip(self, progress: Progress, target: Target, code: str, why: str) -> None:
        progress.attempts.append(
            AttemptSummary(target.model.id, "skipped", code, None, 0, message=why)
        )
        self._tell(progress, f"{target.model.id} skipped: {why}")

    def _tell(self, progress: Progress, line: str) -> None:
        progress.notes.append(line)
        self._note(line)

    def _now(self) -> int:
        return int(self._clock() * 1000)


def _named(call: HttpCall, attempt: NewAttempt) -> HttpCall:
    name = f"{id_text(attempt.request)}-{attempt.n}"
    return replace(call, headers={**call.headers, ATTEMPT_HEADER: name})
