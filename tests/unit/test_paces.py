"""A model's limit of calls a minute, in the store."""

import time
from pathlib import Path

import pytest

from omni_cli.domain.batch import Batch
from omni_cli.domain.errors import Paced
from omni_cli.domain.ids import make_id
from omni_cli.domain.ledger import NewAttempt, NewRequest
from omni_cli.store.late_ledger import LateLedger
from omni_cli.store.ledger import LedgerStore
from omni_cli.store.port import Store
from omni_cli.store.writer import Writer
from tests.beginning import opening_of
from tests.engine import open_store


def goes(store: Store, writer: Writer, number: int, at: int) -> bool:
    """Whether a call of a process goes whose clock says ``at``."""
    ledger, ident = LedgerStore(store), make_id(at, number)
    ledger.open(NewRequest(ident, at, "chat", store.owner), "{}")
    attempt = NewAttempt(
        request=ident, n=1, model="openai/gpt-4o-mini", provider="openai", started_at=at,
        input_estimate=1, reserve_nusd=5,
    )  # fmt: skip
    opening = opening_of(ledger, attempt)
    opening.rpm = 2
    writer.write(Batch(openings=[opening]))
    assert opening.error is None or isinstance(opening.error, Paced)
    return opening.error is None


def test_machines_whose_clocks_differ_keep_it_together(
    engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the store's clock, which says when there is room again, too."""
    store = open_store(tmp_path / "omni.db", durable=True)
    writer = Writer(store, LateLedger(store), alone=True)
    now = int(time.time() * 1000)
    apart = (0, 300_000, -300_000, 0, 40_000, 0)
    went = [goes(store, writer, n, now + late) for n, late in enumerate(apart)]
    assert went == [True, True, False, False, False, False]
    monkeypatch.setattr(type(store), "now_ms", lambda _: now + 59_000)
    assert not goes(store, writer, 8, now)
    monkeypatch.setattr(type(store), "now_ms", lambda _: now + 120_000)
    assert [goes(store, writer, n, now) for n in (9, 10, 11)] == [True, True, False]
    store.close()
