"""Requests whose process died: found by its life sign, closed once, never left open.

What was never sent is released. What was sent is charged: for as much of the answer as was
written down, else for the input alone. Such figures are marked as estimated, and the rest of the
worst case stays held: how much the provider charges is not known.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from omni_cli.domain.ledger import AttemptEnd, AttemptRow, RequestEnd, RequestRow
from omni_cli.domain.record import replace
from omni_cli.ports import Clock
from omni_cli.services.engine.settlement import estimated_usage, input_cost, price_state
from omni_cli.services.money.prices import allowance_of, cost_or_none

if TYPE_CHECKING:
    from omni_cli.repositories import Ledger, Models

_LOST = "its process ended before the answer was settled"


class Recovery:
    def __init__(self, ledger: Ledger, models: Models, clock: Clock) -> None:
        self._ledger = ledger
        self._models = models
        self._clock = clock

    def run(self) -> int:
        """Close every abandoned request; returns how many this call closed."""
        closed = 0
        if self._ledger.forsaken():
            self._ledger.take_back()
        found = self._ledger.abandoned()
        # What they have set aside is known: it must not be taken for lost.
        if found and not self._ledger.catch_up():
            return 0
        for request in found:
            with self._ledger.unit():
                closed += self._close(request)
        return closed

    def _close(self, request: RequestRow) -> bool:
        now = int(self._clock() * 1000)
        self._ledger.adopt(request.id)
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
        end = RequestEnd(
            state="lost",
            settled_at=now,
            model=last.model if last else "",
            provider=last.provider if last else "",
            error_code="lost",
            error_message=_LOST,
        )
        if last is not None and last.state == "ok" and last.ended_at is not None:
            # Answered and charged; only the request's own end was not written any more.
            end = replace(
                end,
                state="ok",
                latency_ms=last.ended_at - request.created_at,
                ttft_ms=None if last.first_at is None else last.first_at - request.created_at,
                error_code=None,
                error_message=None,
            )
        return self._ledger.end_request(request.id, end)

    def _charge(self, attempt: AttemptRow, now: int) -> None:
        price = None if attempt.price is None else self._models.price_by_id(attempt.price)
        usage = estimated_usage(
            attempt.input_estimate, attempt.received_chars, attempt.output_bound
        )
        cost = cost_or_none(usage, price)
        self._ledger.end_attempt(
            attempt.request,
            attempt.n,
            AttemptEnd(
                state="lost",
                ended_at=now,
                usage=usage,
                first_at=attempt.first_at,
                received_chars=attempt.received_chars,
                cost_nusd=cost,
                input_cost_nusd=input_cost(usage, price) if cost else cost,
                error_code="lost",
                error_message=_LOST,
                unseen=True,
            ),
            priced=price_state(cost, price),
            allowance=allowance_of(price, attempt.model, attempt.started_at),
        )
