"""Attempts of the past and of other processes, straight in the ledger."""

from decimal import Decimal

from omni_cli.domain.batch import Batch, Opening
from omni_cli.domain.bounds import Most
from omni_cli.domain.ledger import NewAttempt, NewRequest, RequestRow
from omni_cli.domain.prices import Price, Rate
from omni_cli.repositories import Ledger
from omni_cli.store.late_ledger import LateLedger
from omni_cli.store.ledger import LedgerStore
from omni_cli.store.writer import Writer

_FREE = Rate(Decimal(0))


def new_of(row: RequestRow) -> NewRequest:
    """A request as it was when it began."""
    return NewRequest(**{name: getattr(row, name) for name in NewRequest.__struct_fields__})


def opening_of(ledger: Ledger, attempt: NewAttempt, *, slots: int | None = None) -> Opening:
    """Of an attempt that costs ``attempt.reserve_nusd`` at most."""
    row, most = ledger.get(attempt.request), attempt.reserve_nusd
    assert row is not None
    known = most is not None
    return Opening(
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


def begin(ledger: Ledger, attempt: NewAttempt, writer: Writer | None = None) -> Writer:
    """Write an attempt of a request that is in the ledger; returns what wrote it.

    Raises BudgetExceeded, UnknownPrice.
    """
    if writer is None:
        assert isinstance(ledger, LedgerStore)
        store = ledger._store
        writer = Writer(store, LateLedger(store), alone=True)
    opening = opening_of(ledger, attempt)
    writer.write(Batch(openings=[opening]))
    if opening.error is not None:
        raise opening.error
    return writer
