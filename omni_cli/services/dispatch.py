"""Carry out a decision: attempts in order, retries, failover, and every attempt in the ledger.

An attempt is planned (row and budget lease), marked as sent, called, and settled. Another model
may take over until the first token of an answer was handed out; after that a failure ends the
request with a typed error that says how much arrived, and what arrived is charged.
"""

import random
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from omni_cli.domain import retry
from omni_cli.domain.chat import ChatChunk, ChatRequest, Completion, CompletionFolder, Usage
from omni_cli.domain.errors import (
    AllProvidersFailed,
    AuthError,
    BadRequest,
    BudgetExceeded,
    Busy,
    Cancelled,
    ConnectionFailed,
    ContentFiltered,
    Malformed,
    OmniError,
    ProviderError,
    StreamInterrupted,
    TimedOut,
    UnknownPrice,
)
from omni_cli.domain.ledger import AttemptEnd, AttemptState, NewAttempt
from omni_cli.domain.models import ModelInfo, Provider
from omni_cli.domain.pricing import Price, format_usd, price_lines, worst_case_nusd
from omni_cli.domain.tokens import upper_bound_tokens
from omni_cli.ports import Clock, Endpoint, ProviderAdapter, Transport
from omni_cli.repositories import Ledger, StoredPrice
from omni_cli.services.health import HealthRecorder
from omni_cli.services.prices import cost_or_none, state_of

#: How often a running stream's progress is written down, seconds.
CHECKPOINT_S = 0.25
#: How long a call waits for a free slot of its provider, seconds.
SLOT_WAIT_S = 30.0
_SLOT_POLL_S = 0.05
#: Characters a token stands for when a provider sent no counts.
CHARS_PER_TOKEN = 4
#: Output bound used for reservations where neither request nor model names one, tokens.
DEFAULT_MAX_OUTPUT = 4_096
#: Least output that is worth asking for when a budget leaves little room, tokens.
LEAST_OUTPUT = 256
#: Errors that say the request itself is wrong: another model would get it no righter.
_FINAL = (BadRequest, ContentFiltered)


@dataclass(frozen=True, slots=True)
class Target:
    """A model to try, and how hard."""

    model: ModelInfo
    provider: Provider
    price: StoredPrice | None
    max_retries: int
    timeout_ms: int
    #: Expected cost of this request there, for the consent to dearer fallbacks.
    expected_nusd: int | None = None


@dataclass(frozen=True, slots=True)
class Consent:
    """What a fallback may cost unasked (a chain's settings)."""

    max_cost_multiple: float | None = 5.0
    allow_free_to_paid: bool = False

    def refusal(self, first: Target, later: Target) -> str:
        """Why ``later`` may not stand in for ``first``, or ""."""
        was_free = first.price is not None and first.price.price.state == "free"
        is_free = later.price is not None and later.price.price.state == "free"
        if was_free and not is_free and not self.allow_free_to_paid:
            return "costs money and the first choice is free"
        if self.max_cost_multiple is None or not first.expected_nusd:
            return ""
        if later.expected_nusd is None:
            return "its price is unknown, so it may be far dearer than the first choice"
        if later.expected_nusd > first.expected_nusd * self.max_cost_multiple:
            return (
                f"{format_usd(later.expected_nusd)} expected is more than "
                f"{self.max_cost_multiple:g} times the first choice's "
                f"{format_usd(first.expected_nusd)}"
            )
        return ""


@dataclass(frozen=True, slots=True)
class AttemptSummary:
    """One attempt, for the answer's own report. ``outcome``: ok, failed, cancelled, skipped."""

    model: str
    outcome: str
    error: str | None
    latency_ms: int | None
    cost_nusd: int | None
    message: str = ""


@dataclass(slots=True)
class Progress:
    """What a dispatch has done so far; read it at any time, also after an error."""

    attempts: list[AttemptSummary] = field(default_factory=list)
    completion: Completion | None = None
    target: Target | None = None
    first_token_at: int | None = None
    notes: list[str] = field(default_factory=list)
    tries: int = 0

    @property
    def usage(self) -> Usage:
        return (self.completion and self.completion.usage) or Usage()


class Keys(Protocol):
    def __call__(self, provider: Provider) -> str | None:
        """The provider's key; raises MissingKey when it needs one and none is found."""
        ...


class Dispatcher:
    """Args:
    adapters: protocol name to adapter.
    sleep: seconds to wait; replaced in tests.
    note: told of retries and failovers as they happen (one line each).
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        transport: Transport,
        adapters: Callable[[str], ProviderAdapter],
        keys: Keys,
        health: HealthRecorder,
        clock: Clock,
        sleep: Callable[[float], None],
        rng: random.Random,
        room: Callable[[int, Target], int | None],
        note: Callable[[str], None] = lambda _: None,
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
        self._note = note

    def stream(
        self,
        request_id: int,
        request: ChatRequest,
        targets: Sequence[Target],
        consent: Consent,
        progress: Progress,
    ) -> Generator[ChatChunk]:
        """Yield the answer's chunks; ``progress`` tells who gave it and at what cost.

        Closing the iterator, or an exception thrown into it, settles what was received.

        Raises:
            StreamInterrupted: broken off after the first token.
            AllProvidersFailed: no target answered.
            BudgetExceeded, UnknownPrice: nothing was tried because of money.
        """
        causes: list[tuple[str, OmniError]] = []
        for index, target in enumerate(targets):
            closed = self._health.admit(target) if len(targets) > 1 else ""
            if closed:
                self._skip(progress, target, "breaker", closed)
                continue
            if index:
                refused = consent.refusal(targets[0], target)
                if refused:
                    self._skip(progress, target, "consent", refused)
                    continue
                self._tell(progress, f"falling back to {target.model.id}")
            try:
                yield from self._try_target(request_id, request, target, progress)
            except (ProviderError, Busy, BudgetExceeded, UnknownPrice) as exc:
                causes.append((target.model.id, exc))
                if isinstance(exc, BudgetExceeded | UnknownPrice):
                    self._skip(progress, target, exc.code, exc.message)
                elif isinstance(exc, _FINAL):
                    break
                continue
            return
        raise self._verdict(causes, progress)

    def _try_target(
        self, request_id: int, request: ChatRequest, target: Target, progress: Progress
    ) -> Generator[ChatChunk]:
        """One model with its retries. Raises the last error."""
        for attempt in range(1, target.max_retries + 2):
            try:
                yield from self._attempt(request_id, request, target, progress)
            except ProviderError as exc:
                if not exc.retryable or attempt > target.max_retries:
                    raise
                delay = retry.delay_s(attempt, retry_after_s=exc.retry_after_s, rng=self._rng)
                if delay is None:
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
        bounded, reserve, input_bound = self._bound(request_id, request, target, progress)
        call = adapter.build(bounded, target.model.wire_name, endpoint)
        self._wait_for_slot(target)
        n = progress.tries + 1
        started = self._now()
        self._ledger.plan(
            NewAttempt(
                request=request_id,
                n=n,
                model=target.model.id,
                provider=target.provider.slug,
                started_at=started,
                input_estimate=input_bound.estimate,
                price=None if target.price is None else target.price.id,
                reserve_nusd=reserve,
            )
        )
        progress.tries = n
        reading = _Reading(self, request_id, n, target, input_bound.estimate, started, progress)
        self._ledger.mark_sent(request_id, n)
        try:
            with self._transport.open(adapter, call, timeout_s=target.timeout_ms / 1000) as answer:
                reading.response_id = answer.headers.get("x-request-id") or answer.headers.get(
                    "request-id"
                )
                for chunk in answer:
                    reading.take(chunk)
                    yield chunk
        except ProviderError as exc:
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
        except BaseException:
            reading.cancel()
            raise
        reading.finish()

    def _bound(
        self, request_id: int, request: ChatRequest, target: Target, progress: Progress
    ) -> "tuple[ChatRequest, int | None, _InputBound]":
        """The request with its output bounded to what the budgets leave, and its worst case.

        Without a budget the request goes out as it is.
        """
        bound = _input_bound(request)
        price = None if target.price is None else target.price.price
        if price is None or price.state == "unknown":
            return request, None, bound
        output = request.max_output_tokens or target.model.max_output or DEFAULT_MAX_OUTPUT
        worst = worst_case_nusd(bound.upper, output, price)
        room = self._room(request_id, target)
        if room is None:
            return request, worst, bound
        bounded = replace(request, max_output_tokens=output)
        if worst <= room:
            return bounded, worst, bound
        fitting = _fitting_output(bound.upper, output, price, room)
        if fitting < min(LEAST_OUTPUT, output):
            return bounded, worst, bound
        self._tell(
            progress,
            f"{target.model.id}: a budget leaves {format_usd(room)}, so the answer is limited "
            f"to {fitting:,} tokens instead of {output:,}",
        )
        return (
            replace(request, max_output_tokens=fitting),
            worst_case_nusd(bound.upper, fitting, price),
            bound,
        )

    def _wait_for_slot(self, target: Target) -> None:
        """Raises Busy when the provider's slots stay taken."""
        waited = 0.0
        while self._ledger.open_attempts(target.provider.slug) >= target.provider.max_concurrency:
            if waited >= SLOT_WAIT_S:
                raise Busy(
                    f"all {target.provider.max_concurrency} slots of {target.provider.slug} "
                    f"were taken for {SLOT_WAIT_S:.0f} s",
                    hint=f"omni providers edit {target.provider.slug} --max-concurrency N",
                )
            self._sleep(_SLOT_POLL_S)
            waited += _SLOT_POLL_S

    def _verdict(self, causes: list[tuple[str, OmniError]], progress: Progress) -> OmniError:
        if not causes:
            reasons = "; ".join(f"{a.model}: {a.message}" for a in progress.attempts)
            return AllProvidersFailed(f"no model may be called: {reasons}")
        if all(isinstance(exc, BudgetExceeded | UnknownPrice) for _, exc in causes):
            return causes[0][1]
        if len(causes) == 1 and isinstance(causes[0][1], AuthError | BadRequest | ContentFiltered):
            return causes[0][1]
        listed = "; ".join(f"{model}: {exc.code}: {exc.message}" for model, exc in causes)
        hint = next((exc.hint for _, exc in reversed(causes) if exc.hint), "")
        word = "no model answered" if len(causes) > 1 else "the model did not answer"
        return AllProvidersFailed(f"{word}: {listed}", causes=causes, hint=hint)

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


class _Reading:
    """One attempt's answer being received, and its settlement."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        request_id: int,
        n: int,
        target: Target,
        input_estimate: int,
        started: int,
        progress: Progress,
    ) -> None:
        self._dispatcher = dispatcher
        self._request_id = request_id
        self._n = n
        self._target = target
        self._input_estimate = input_estimate
        self._started = started
        self._progress = progress
        self._first_at: int | None = None
        self._saved_at = 0.0
        self.folder = CompletionFolder()
        self.shown = False
        self.response_id: str | None = None

    def take(self, chunk: ChatChunk) -> None:
        self.folder.add(chunk)
        if not chunk.has_content:
            return
        clock = self._dispatcher._clock()
        if self._first_at is None:
            self._first_at = self._progress.first_token_at = int(clock * 1000)
        self.shown = True
        if clock - self._saved_at >= CHECKPOINT_S:
            self._saved_at = clock
            self._dispatcher._ledger.checkpoint(
                self._request_id,
                self._n,
                first_at=self._first_at,
                received_chars=self.folder.received_chars,
            )

    def finish(self) -> None:
        usage = self.folder.usage or self._estimated()
        self._settle("ok", usage)
        self._progress.completion = replace(self.folder.completion(), usage=usage)
        self._progress.target = self._target
        self._dispatcher._health.succeeded(self._target, started_ms=self._started)

    def fail(self, error: ProviderError) -> None:
        """A refusal in words costs nothing; silence after sending may have cost the input."""
        silent = isinstance(error, TimedOut | ConnectionFailed | Malformed)
        if self.folder.received_chars or self.folder.usage is not None:
            usage = self._partial()
        elif silent and error.status is None:
            usage = Usage(input_tokens=self._input_estimate, estimated=True)
        else:
            usage = Usage()
        free = usage == Usage()
        self._settle("failed", usage, error=error, free=free)
        if self.shown:
            self._progress.completion = replace(self.folder.completion(), usage=usage)
            self._progress.target = self._target
        self._dispatcher._health.failed(self._target, error, started_ms=self._started)

    def cancel(self) -> None:
        usage = self._partial()
        self._settle("cancelled", usage, error=Cancelled("interrupted by the user"))
        self._dispatcher._health.cancelled(self._target, started_ms=self._started)
        self._progress.completion = replace(self.folder.completion(), usage=usage)
        self._progress.target = self._target

    def _partial(self) -> Usage:
        """Counts of an answer cut off: the provider's where it sent some, else estimates."""
        estimate = self._estimated()
        seen = self.folder.usage
        if seen is None:
            return estimate
        if self.folder.finish_reason is not None:
            return seen
        return replace(
            seen, output_tokens=max(seen.output_tokens, estimate.output_tokens), estimated=True
        )

    def _estimated(self) -> Usage:
        return Usage(
            input_tokens=self._input_estimate,
            output_tokens=-(-self.folder.received_chars // CHARS_PER_TOKEN),
            estimated=True,
        )

    def _settle(
        self,
        state: AttemptState,
        usage: Usage,
        *,
        error: OmniError | None = None,
        free: bool = False,
    ) -> None:
        price = None if self._target.price is None else self._target.price.price
        cost = 0 if free else cost_or_none(usage, price)
        ended = self._dispatcher._now()
        self._dispatcher._ledger.end_attempt(
            self._request_id,
            self._n,
            AttemptEnd(
                state=state,
                ended_at=ended,
                usage=usage,
                first_at=self._first_at,
                received_chars=self.folder.received_chars,
                cost_nusd=cost,
                input_cost_nusd=input_cost(usage, price) if cost else cost,
                http_status=error.status if isinstance(error, ProviderError) else None,
                provider_request_id=self.folder.response_id or self.response_id,
                error_code=None if error is None else error.code,
                error_message=None if error is None else error.message[:500],
            ),
            priced=None if free else state_of(self._target.price),
        )
        self._progress.attempts.append(
            AttemptSummary(
                model=self._target.model.id,
                outcome=state,
                error=None if error is None else error.code,
                latency_ms=ended - self._started,
                cost_nusd=cost,
                message="" if error is None else error.message,
            )
        )


@dataclass(frozen=True, slots=True)
class _InputBound:
    estimate: int
    upper: int


def _input_bound(request: ChatRequest) -> _InputBound:
    from omni_cli.services.routing import input_estimate

    estimate = input_estimate(request)
    texts = [message.text for message in request.messages]
    texts += [c.name + c.arguments for message in request.messages for c in message.tool_calls]
    texts += [f"{tool.name}{tool.description}{tool.parameters}" for tool in request.tools]
    # 16 tokens a message and tool cover every provider's framing.
    frames = 16 * (len(request.messages) + len(request.tools) + 1)
    media = 4_000 * sum(len(message.parts) for message in request.messages if message.parts)
    upper = sum(map(upper_bound_tokens, texts)) + frames + (media if request.has_images else 0)
    return _InputBound(estimate, max(estimate, upper))


def _fitting_output(input_tokens: int, most: int, price: Price, room: int) -> int:
    """The largest output bound whose worst case fits into ``room`` nano-dollars; may be 0."""
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        if worst_case_nusd(input_tokens, middle, price) <= room:
            low = middle
        else:
            high = middle - 1
    return low


def input_cost(usage: Usage, price: Price | None) -> int | None:
    """The part of a cost that is for input, nano-dollars; None where unknown."""
    if price is None or price.state == "unknown":
        return None
    lines = price_lines(usage, price)
    total = sum(
        line.cost_usd
        for line in lines
        if line.kind.startswith(("input", "cache")) or line.kind == "request"
    )
    return int(total * 10**9)
