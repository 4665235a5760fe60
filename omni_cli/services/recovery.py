"""Requests whose process died: found by its life sign, closed once, never left open.

What was never sent is released. What was sent is charged: for as much of the answer as was
written down, else for the input alone. Such figures are marked as estimated.
"""

from omni_cli.domain.chat import Usage
from omni_cli.domain.ledger import AttemptEnd, AttemptRow, RequestEnd, RequestRow
from omni_cli.ports import Clock
from omni_cli.repositories import Ledger, Models
from omni_cli.services.dispatch import CHARS_PER_TOKEN, input_cost
from omni_cli.services.prices import cost_or_none

_LOST = "its process ended before the answer was settled"


class Recovery:
    def __init__(self, ledger: Ledger, models: Models, clock: Clock) -> None:
        self._ledger = ledger
        self._models = models
        self._clock = clock

    def run(self) -> int:
        """Close every abandoned request; returns how many there were."""
        closed = 0
        for request in self._ledger.abandoned():
            with self._ledger.unit():
                closed += self._close(request)
        return closed

    def _close(self, request: RequestRow) -> bool:
        now = int(self._clock() * 1000)
        attempts = self._ledger.attempts(request.id)
        for attempt in attempts:
            if attempt.state == "planned":
                self._ledger.end_attempt(
                    request.id,
                    attempt.n,
                    AttemptEnd(state="unsent", ended_at=now, cost_nusd=0),
                    priced=None,
                )
            elif attempt.state == "sent":
                self._charge(attempt, now)
        last = attempts[-1] if attempts else None
        return self._ledger.end_request(
            request.id,
            RequestEnd(
                state="lost",
                settled_at=now,
                model=last.model if last else "",
                provider=last.provider if last else "",
                error_code="lost",
                error_message=_LOST,
            ),
        )

    def _charge(self, attempt: AttemptRow, now: int) -> None:
        price = None if attempt.price is None else self._models.price_by_id(attempt.price)
        usage = Usage(
            input_tokens=attempt.input_estimate,
            output_tokens=-(-attempt.received_chars // CHARS_PER_TOKEN),
            estimated=True,
        )
        self._ledger.end_attempt(
            attempt.request,
            attempt.n,
            AttemptEnd(
                state="lost",
                ended_at=now,
                usage=usage,
                first_at=attempt.first_at,
                received_chars=attempt.received_chars,
                cost_nusd=cost_or_none(usage, price),
                input_cost_nusd=input_cost(usage, price),
                error_code="lost",
                error_message=_LOST,
            ),
            priced="unknown" if price is None else price.state,
        )
