"""Attempts of the past and of other processes, straight in the ledger."""

from decimal import Decimal

from omni_cli.domain.batch import Opening
from omni_cli.domain.bounds import Most
from omni_cli.domain.ledger import NewAttempt, NewRequest, RequestRow
from omni_cli.domain.pricing import Price, Rate
from omni_cli.repositories import Ledger

_FREE = Rate(Decimal(0))


def new_of(row: RequestRow) -> NewRequest:
    """A request as it was when it began."""
    return NewRequest(**{name: getattr(row, name) for name in NewRequest.__struct_fields__})


def begin(ledger: Ledger, attempt: NewAttempt, *, slots: int | None = None) -> bool:
    """As ``Ledger.begin`` of a call that costs ``attempt.reserve_nusd`` at most."""
    row, most = ledger.get(attempt.request), attempt.reserve_nusd
    assert row is not None
    known = most is not None
    opening = Opening(
        new_of(row),
        attempt.n,
        attempt.model,
        attempt.provider,
        attempt.started_at,
        attempt.input_estimate,
        Most(0, attempt.output_bound or 0, fees_nusd=most or 0) if known else None,
        slots,
        attempt.price,
        Price("priced", input=_FREE, output=_FREE) if known else None,
        opened=True,
    )
    return ledger.begin(opening)
