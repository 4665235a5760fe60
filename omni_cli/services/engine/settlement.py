"""One attempt's answer being received, and its settlement in the ledger."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from omni_cli.domain.batch import Opening
from omni_cli.domain.bounds import DEFAULT_MAX_OUTPUT
from omni_cli.domain.chat import TOKEN_FIELDS, ChatChunk, CompletionFolder, Usage
from omni_cli.domain.clouds import SURCHARGE_PERCENT
from omni_cli.domain.errors import (
    Cancelled,
    ConnectionFailed,
    Malformed,
    OmniError,
    ProviderError,
    StoreError,
    TimedOut,
    UnknownPrice,
)
from omni_cli.domain.ledger import AttemptEnd, AttemptState
from omni_cli.domain.models import ModelInfo
from omni_cli.domain.prices import Price
from omni_cli.domain.pricing import borrowed, input_cost_nusd, units_nusd, worst_case_nusd
from omni_cli.domain.record import replace
from omni_cli.ports import Clock
from omni_cli.services.engine.attempts import AttemptSummary, Progress, Target
from omni_cli.services.engine.health import HealthRecorder
from omni_cli.services.money.prices import allowance_of, cost_or_none

if TYPE_CHECKING:
    from omni_cli.repositories import Attempts

#: How often a running stream's progress is written down, seconds.
CHECKPOINT_S = 0.25
#: Characters a token stands for when a provider sent no counts.
CHARS_PER_TOKEN = 4
#: Of an attempt that answered, and whose answer failed its check.
CHECK_FAILED = "check_failed"
_MESSAGE_CHARS = 500
#: What the Responses API calls an answer that is still to come.
_UNDER_WAY = ("queued", "in_progress")
#: More tokens than any one call has, how often a context may be read in one, and more nano-dollars
#: than any one call costs.
_MOST_TOKENS, _TIMES, _MOST_NUSD = 10**9, 10, 10**15
#: Any model can read so many, _TIMES over.
_FEW_TOKENS = 1 << 14


class Reading:
    """Takes an attempt's chunks, and settles it by exactly one of ``finish``, ``fail`` and
    ``stop``; a second one changes nothing in the ledger.

    Args:
        opening: its attempt, committed or about to be.
        saves: write down as chunks come how much has; else somebody else does.
        sent: tokens of the input by the estimator, where the attempt's row has less than that.
    """

    def __init__(
        self,
        ledger: Attempts,
        health: HealthRecorder,
        clock: Clock,
        opening: Opening,
        target: Target,
        progress: Progress,
        folder: CompletionFolder | None = None,
        saves: bool = True,
        sent: Callable[[], int] | None = None,
    ) -> None:
        self._ledger = ledger
        self._health = health
        self._clock = clock
        #: Its attempt.
        self.opening = opening
        bound = opening.output_bound
        self._bound = opening.most_out if bound is None else bound
        self._target = target
        self._progress = progress
        self._first_at: int | None = None
        self._saves = saves
        self._input = sent
        self._saved_at = 0.0
        self.folder = CompletionFolder() if folder is None else folder
        self.response_id: str | None = None
        #: Bytes may have left this machine.
        self.sent = False
        #: Something was handed out that cannot be taken back.
        self.shown = False

    def take(self, chunk: ChatChunk) -> None:
        self.folder.add(chunk)
        if not chunk.has_content:
            return
        self.shown = True
        if self._first_at is not None and not self._saves:
            return
        now = self._clock()
        if self._first_at is None:
            self._first_at = self._progress.first_token_at = int(now * 1000)
        if not self._saves:
            return
        # The clock may be put back meanwhile: the distance counts, not the direction.
        if abs(now - self._saved_at) >= CHECKPOINT_S:
            self._saved_at = now
            self._ledger.checkpoint(
                self.opening.request.id,
                self.opening.n,
                first_at=self._first_at,
                received_chars=self.folder.received_chars,
            )

    def finish(self, flaw: str = "") -> None:
        """The whole answer came. ``flaw``: why it fails its check, if it does."""
        usage = self._counted() or self._estimated()
        # An answer that its provider goes on writing in the background has not ended.
        pending = self.folder.raw_finish_reason in _UNDER_WAY and self.folder.usage is None
        self._settle("ok", usage, unseen=pending, flaw=flaw)
        self._keep(usage)
        try:  # noqa: SIM105  # of each request: a context costs as much as the look itself
            self._health.succeeded(self._target, started_ms=self.opening.started_at)
        except StoreError:
            pass  # what a store that takes nothing should not cost

    def fail(self, error: ProviderError) -> None:
        """A refusal in words costs nothing; silence after sending may have cost all that was
        asked for."""
        silent = isinstance(error, TimedOut | ConnectionFailed | Malformed)
        usage: Usage | None = None
        if self.folder.received_chars or self.folder.usage is not None:
            usage = self._partial()
        elif silent and error.status is None and error.reached:
            usage = self._estimated()
        # Who says that it failed before it said anything else has done no more.
        begun = silent or bool(self.folder.received_chars)
        self._settle("failed", usage, error, unseen=begun and not self._ended)
        if self.shown:
            self._keep(usage or Usage())
        with suppress(StoreError):
            self._health.failed(self._target, error, started_ms=self.opening.started_at)

    def stop(self, reason: BaseException) -> None:
        """The caller went away, or something broke that is not the provider's doing."""
        if isinstance(reason, OmniError):
            error = reason
        elif isinstance(reason, Exception):
            error = OmniError(f"unexpected {type(reason).__name__}")
        else:
            error = Cancelled("interrupted by the user")
        if self.sent:
            usage = self._partial()
            state: AttemptState = "cancelled" if isinstance(error, Cancelled) else "failed"
            self._settle(state, usage, error, unseen=not self._ended)
            self._keep(usage)
        else:
            self._settle("unsent", None, error)
        with suppress(StoreError):
            self._health.cancelled(self._target, started_ms=self.opening.started_at)

    def _keep(self, usage: Usage) -> None:
        self._progress.keep(self.folder, usage)
        self._progress.target = self._target

    @property
    def _ended(self) -> bool:
        """The provider has said why it ended and what it counted."""
        return self.folder.finish_reason is not None and self.folder.usage is not None

    def _partial(self) -> Usage:
        """Counts of an answer cut off: the provider's where it sent some, else estimates."""
        seen = self._counted()
        if seen is not None and self.folder.finish_reason is not None:
            return seen
        estimate = self._estimated()
        if seen is None:
            return estimate
        return replace(
            seen, output_tokens=max(seen.output_tokens, estimate.output_tokens), estimated=True
        )

    def _counted(self) -> Usage | None:
        """What the provider counted; None where it sent nothing that can be so.

        Nothing for something is no count: what was sent is then estimated, and so is an answer."""
        usage = self.folder.usage
        if usage is None:
            return None
        if not (plausible(usage, self._target.model) or self._reserved_for(usage)):
            return None
        if usage.units:
            usage = self._of_units(usage)
            if usage is None:
                return None
            if usage.units:
                return usage
        if not usage.output_tokens and self.folder.received_chars:
            return None
        if not usage.input_tokens and (sent := self._sent_tokens()):
            return replace(usage, input_tokens=sent, estimated=True)
        return usage

    def _of_units(self, usage: Usage) -> Usage | None:
        """Counts by what they are charged for: units where the price has rates of them, else
        tokens. None: there are none of these."""
        price = None if self._target.price is None else self._target.price.price
        if price is not None and units_nusd(usage.units, price) is not None:
            return Usage(units=usage.units, estimated=usage.estimated)
        return replace(usage, units=()) if usage.total_tokens else None

    def _reserved_for(self, usage: Usage) -> bool:
        """Whether counts cost no more than was thought of: many answers at once, and tools that a
        provider runs, make many tokens."""
        counts = [getattr(usage, name) for name in TOKEN_FIELDS]
        most = usage.input_tokens + usage.output_tokens
        if min(counts) < 0 or max(counts) > most or most > _MOST_TOKENS:
            return False
        if usage.reported_cost_nusd is not None:
            return False
        price = None if self._target.price is None else self._target.price.price
        cost = cost_or_none(usage, price)
        return cost is not None and 0 < cost <= self.opening.held_nusd

    def _uncounted_nusd(self, price: Price | None) -> int | None:
        """The most that an answer which was seen to end can be charged, where its provider did not
        count it: of what was reserved, all but the output that cannot have been.
        None: it is counted, or nothing was reserved."""
        reserved, counted = self.opening.held_nusd, self._counted()
        if not reserved or price is None:
            return None
        if counted is not None:
            if counted is self.folder.usage:
                return None
            came: int | None = counted.output_tokens
        else:
            hidden = "reasoning" in self._target.model.badges
            came = None if hidden else self.folder.most_tokens()
        bound = self._bound or self._target.model.max_output or DEFAULT_MAX_OUTPUT
        if came is None or came >= bound:
            return reserved
        try:
            # At the lowest tier of the context: no more is given back than was reserved for it.
            unused = worst_case_nusd(0, bound, price) - worst_case_nusd(0, came, price)
        except UnknownPrice:
            return reserved
        return reserved - unused

    def _sent_tokens(self) -> int:
        return self.opening.input_estimate if self._input is None else self._input()

    def _estimated(self) -> Usage:
        tokens, bound = self.folder.estimated_tokens(), self._bound
        return Usage(
            input_tokens=self._sent_tokens(),
            output_tokens=tokens if bound is None else min(tokens, bound),
            estimated=True,
        )

    def _beside_nusd(self, usage: Usage) -> int:
        """What the attempt's tokens do not show: what is charged by another unit, and what other
        models cost that had a part in the answer, as far as their prices are known (the cost is
        marked estimated all the same)."""
        cost, price, price_of = 0, self._target.price, self._target.price_of
        if usage.units and price is not None:
            cost += units_nusd(usage.units, price.price) or 0
        if price_of is not None:
            cost += sum(cost_or_none(used, price_of(name)) or 0 for name, used in usage.beside)
        return cost

    def _borrowed(self, usage: Usage, price: Price) -> bool:
        """Whether a kind was priced by text's rate: of a model that makes nothing else than images
        or sound, the rate of what it makes is no text's."""
        only = self._target.model.output_types
        if only in (("image",), ("audio",)):
            usage = replace(usage, output_image_tokens=0, output_audio_tokens=0)
        return borrowed(usage, price)

    def _settle(
        self,
        state: AttemptState,
        usage: Usage | None,
        error: OmniError | None = None,
        *,
        unseen: bool = False,
        flaw: str = "",
    ) -> None:
        """``usage`` None: the attempt cannot have cost anything. ``unseen``: nobody saw it end; the
        rest of what an answer without counts can have cost is held as well."""
        code, message = (CHECK_FAILED, flaw) if flaw else (None, "")
        if error is not None:
            code, message = error.code, error.message
        unseen = unseen and usage is not None
        price = None if self._target.price is None else self._target.price.price
        ended = int(self._clock() * 1000)
        if usage is not None and price is not None and self._borrowed(usage, price):
            usage = replace(usage, estimated=True)
        cost = 0 if usage is None else cost_or_none(usage, price)
        if cost and self._target.charged_more:
            usage = replace(usage or Usage(), estimated=True)
            cost += cost * SURCHARGE_PERCENT // 100
        if usage is not None and (usage.beside or usage.units):
            cost = None if cost is None else cost + self._beside_nusd(usage)
            usage = replace(usage, beside=(), units=())
        most = None
        if usage is not None and usage.estimated and not unseen:
            most = self._uncounted_nusd(price)
            unseen = most is not None
        end = AttemptEnd(
            state=state,
            ended_at=ended,
            usage=usage or Usage(),
            first_at=self._first_at,
            received_chars=self.folder.received_chars,
            cost_nusd=cost,
            input_cost_nusd=input_cost(usage, price) if usage and cost else cost,
            http_status=error.status if isinstance(error, ProviderError) else None,
            provider_request_id=self.folder.response_id or self.response_id,
            error_code=code,
            error_message=message[:_MESSAGE_CHARS] if code else None,
            unseen=unseen,
            most_nusd=most,
        )
        charged = self._ledger.end_attempt(
            self.opening.request.id,
            self.opening.n,
            end,
            priced=None if usage is None else price_state(cost, price),
            allowance=None if usage is None else allowance_of(price, self._target.model.id, ended),
        )
        if charged is not None:
            end = charged.end
        if not end.unseen or end.most_nusd is not None:
            more = end.held_nusd(self.opening.held_nusd)
            self._progress.billed(
                self.opening.n, None if end.cost_nusd is None else end.cost_nusd + more
            )
        if charged is None or state == "unsent":
            return
        self._progress.attempts.append(
            AttemptSummary(
                self._target.model.id,
                "rejected" if flaw else state,
                code,
                ended - self.opening.started_at,
                charged.end.cost_nusd,
                message,
            )
        )


def plausible(usage: Usage, model: ModelInfo) -> bool:
    """Whether a provider's counts can be so: none below zero, and none beyond what the model can
    read by far (tools that a provider runs make it read its context more than once)."""
    # Of nearly all answers that is enough.
    if 0 <= usage.all_bits < _FEW_TOKENS and usage.reported_cost_nusd is None:
        return True
    counts = [getattr(usage, name) for name in TOKEN_FIELDS]
    most = _MOST_TOKENS if model.context_window is None else _TIMES * model.context_window
    reported = usage.reported_cost_nusd
    return (
        min(counts) >= 0
        and max(counts) <= min(max(most, _TIMES * (model.max_output or 0)), _MOST_TOKENS)
        and (reported is None or 0 <= reported <= _MOST_NUSD)
    )


def estimated_usage(input_estimate: int, received_chars: int, output_bound: int | None) -> Usage:
    """Counts worked out from how much was sent and received, where nothing more is known.

    Never more output than was asked for: a reservation was made for no more.
    """
    output = -(-received_chars // CHARS_PER_TOKEN)
    return Usage(
        input_tokens=input_estimate,
        output_tokens=output if output_bound is None else min(output, output_bound),
        estimated=True,
    )


def price_state(cost: int | None, price: Price | None) -> str:
    """How a charge is to be read; a price that lacks a rate that was needed is unknown."""
    return "unknown" if price is None or cost is None else price.state


def input_cost(usage: Usage, price: Price | None) -> int | None:
    """The part of a known cost that is for input, nano-dollars; None where unknown."""
    if price is None or price.state == "unknown":
        return None
    return input_cost_nusd(usage, price)
