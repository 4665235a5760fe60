"""A request's receipt: what was decided, tried and charged, once for all who show it.

Price lines are given only where they add up to what was charged: a report's row of many calls is
charged by base rates, an allowance takes part of it, and lines of one call would mislead.
"""

from typing import Any

from msgspec import Struct

from omni_cli.domain.chat import tokens_document
from omni_cli.domain.document import document
from omni_cli.domain.errors import OmniError
from omni_cli.domain.ids import id_text
from omni_cli.domain.ledger import AttemptRow, RequestRow
from omni_cli.domain.money import NUSD_PER_USD, usd, usd_string
from omni_cli.domain.pricing import PriceLine, price_lines
from omni_cli.records import Adjustment
from omni_cli.repositories import Adjustments, Answers, Learning, Ledger, Models, Providers
from omni_cli.services.engine.decisions import recorded_decision


class AttemptReceipt(Struct, frozen=True):
    """``lines``: what it was charged for, empty where no lines add up to that. ``reported_nusd``:
    the provider's own figure, where it is another than ``attempt.cost_nusd``."""

    attempt: AttemptRow
    lines: tuple[PriceLine, ...]
    reported_nusd: int | None

    @property
    def unseen_nusd(self) -> int:
        """What a call whose end was not seen or counted still holds in budgets, beyond its cost."""
        return 0 if self.attempt.state in ("planned", "sent") else self.attempt.held_nusd

    @property
    def unseen_why(self) -> str:
        """Why that is held."""
        unended = self.attempt.state != "ok"
        return "its end was not seen" if unended else "its provider did not count it"

    @property
    def drift_nusd(self) -> int | None:
        """How much more omni charged than the provider reported; None where not both are known."""
        if self.reported_nusd is None or self.attempt.cost_nusd is None:
            return None
        return self.attempt.cost_nusd - self.reported_nusd


class Receipt(Struct, frozen=True):
    """``outcomes``: (kind, value 0..1, note). ``cached_from``: the request whose answer this is."""

    row: RequestRow
    attempts: tuple[AttemptReceipt, ...]
    decision: dict[str, Any] | None
    outcomes: tuple[tuple[str, float, str], ...]
    corrections: tuple[Adjustment, ...]
    cached_from: int | None
    simulated: bool

    @property
    def skipped(self) -> tuple[dict[str, Any], ...]:
        """Models that were not asked, with ``why``."""
        return tuple((self.decision or {}).get("skipped", ()))

    @property
    def unsaid(self) -> dict[str, list[str]]:
        """By model that was asked: what it could not be told of, or was told otherwise."""
        return dict((self.decision or {}).get("unsaid", {}))

    @property
    def cost_nusd(self) -> int | None:
        """What it cost, corrections included; None where a part of it has no known price."""
        return self.row.known_nusd


class ReceiptService(Struct, kw_only=True, eq=False):
    ledger: Ledger
    prices: Models
    outcomes: Learning
    adjustments: Adjustments
    answers: Answers
    providers: Providers

    def read(self, request: str) -> Receipt:
        """
        Args:
            request: an id, the first part of one, or ``last``.

        Raises NotFound, UsageError.
        """
        row = self.ledger.find(request)
        attempts = self.ledger.attempts(row.id)
        provider = self.providers.get(row.provider)
        return Receipt(
            row=row,
            attempts=tuple(map(self._attempt, attempts)),
            decision=recorded_decision(row, attempts, self.ledger.decision(row.id)),
            outcomes=tuple(self.outcomes.outcomes_of(row.id)),
            corrections=tuple(self.adjustments.of_request(row.id)),
            cached_from=self.answers.origin(row.id),
            simulated=row.source == "demo" or (provider is not None and provider.simulated),
        )

    def _attempt(self, attempt: AttemptRow) -> AttemptReceipt:
        reported = attempt.usage.reported_cost_nusd
        return AttemptReceipt(
            attempt,
            self._lines(attempt),
            None if reported == attempt.cost_nusd else reported,
        )

    def _lines(self, attempt: AttemptRow) -> tuple[PriceLine, ...]:
        price = None if attempt.price is None else self.prices.price_by_id(attempt.price)
        if price is None or not attempt.cost_nusd:
            return ()
        try:
            lines = price_lines(attempt.usage, price)
        except OmniError:
            return ()
        whole = round(sum(line.cost_usd for line in lines) * NUSD_PER_USD)
        return lines if whole == attempt.cost_nusd else ()


def receipt_document(receipt: Receipt) -> dict[str, Any]:
    """The receipt as JSON values: money as decimal text, null where unknown."""
    row = receipt.row
    return {
        "id": id_text(row.id),
        **document(row, "created_at", "settled_at", "state", "source"),
        "simulated": receipt.simulated,
        "model_used": row.model or None,
        "role": row.role or None,
        "agent": row.agent or None,
        "session": row.session or None,
        "project": row.project or None,
        "chain": row.chain,
        "task_type": row.task or None,
        "complexity": row.complexity or None,
        "usage": tokens_document(row.usage),
        "cost_usd": usd(receipt.cost_nusd),
        "known_cost_usd": usd(row.total_nusd),
        **document(row, "price_state", "estimated", "premium_model", "premium_cost_nusd"),
        **document(row, "savings_nusd", "latency_ms", "ttft_ms", "finish_reason"),
        "error": None
        if row.error_code is None
        else {"code": row.error_code, "message": row.error_message},
        "decision": receipt.decision,
        "attempts": [_attempt_document(item) for item in receipt.attempts],
        "corrections": [
            {
                "attempt": correction.n,
                **document(correction, "at_ms", "who", "reason", "delta_nusd"),
            }
            for correction in receipt.corrections
        ],
        "outcomes": [
            {"kind": kind, "value": value, "note": text} for kind, value, text in receipt.outcomes
        ],
        "cached_from": None if receipt.cached_from is None else id_text(receipt.cached_from),
    }


def _attempt_document(item: AttemptReceipt) -> dict[str, Any]:
    attempt = item.attempt
    return {
        "n": attempt.n,
        "model": attempt.model,
        "outcome": attempt.state,
        "error": attempt.error_code,
        **document(attempt, "error_message", "http_status", "latency_ms", "waited_ms"),
        "cost_usd": usd(attempt.cost_nusd),
        "reported_cost_usd": usd(attempt.usage.reported_cost_nusd),
        "drift_usd": usd(item.drift_nusd),
        "estimated": attempt.usage.estimated,
        "held_usd": usd_string(attempt.held_nusd),
        "provider_request_id": attempt.provider_request_id,
        "price_lines": [
            {
                "kind": line.kind,
                "tokens": line.tokens,
                "usd_per_1m": str(line.rate_usd),
                "cost_usd": f"{line.cost_usd:f}",
            }
            for line in item.lines
        ],
    }
