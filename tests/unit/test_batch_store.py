"""What is held for a batch, and that each of its requests comes into the ledger once, however many
read its results (store/batches.py)."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from omni_cli.bootstrap import App
from omni_cli.domain.batches import Batch, KeptFile, Line, Outcome, Part
from omni_cli.domain.budgets import Budget
from omni_cli.domain.chat import Usage
from omni_cli.domain.errors import BudgetExceeded, UnknownPrice
from omni_cli.domain.ids import make_id
from omni_cli.domain.ledger import AttemptRow, RequestRow
from omni_cli.services.engine.batch_calls import due

pytestmark = pytest.mark.usefixtures("engine")

PRICE = '{"input": "1", "output": "2", "share": "0.5", "state": "priced"}'


@pytest.fixture
def app(tmp_path: Path) -> Iterator[App]:
    with App({"OMNI_HOME": str(tmp_path), "USER": "test"}) as made:
        yield made


def _open(app: App, count: int = 4, *, price: str | None = PRICE, unbounded: str = "") -> Batch:
    now = app.now_ms()
    batch = Batch(make_id(now, 7), "p", "acme", "k", "batch", "/v1/chat/completions", "file-1", now)
    batch.lines = count
    lines = [(Line(f"n-{n}", "p/a" if n % 2 else "p/b", "", 10, 5), 100) for n in range(count)]
    held = 0 if price is None else 100 * count // 2
    parts = [Part(m, "", price, False, count // 2, held) for m in ("p/a", "p/b")]
    store = app.batches.store
    store.open(batch, [(part, price is not None) for part in parts], lines, unbounded)
    return batch


def _outcomes(app: App, batch: Batch, cost: int = 40) -> list[Outcome]:
    found = []
    for waiting in app.batches.store.waiting(batch.id).values():
        usage = Usage(input_tokens=10, output_tokens=5)
        request = RequestRow(
            id=0,
            created_at=batch.created_at,
            source="gateway",
            org=batch.org,
            key=batch.key,
            agent=batch.agent,
            state="ok",
            settled_at=batch.created_at + 9,
            model=waiting.model,
            provider="p",
            attempts=1,
            usage=usage,
            price_state="priced",
            cost_nusd=cost,
        )
        attempt = AttemptRow(
            request=0,
            n=1,
            model=waiting.model,
            provider="p",
            state="ok",
            started_at=batch.created_at,
            usage=usage,
            cost_nusd=cost,
        )
        found.append(Outcome(waiting.n, request, attempt))
    return found


def _figures(app: App) -> list[tuple[int, int]]:
    """(spent, reserved) of each budget."""
    found = [app.budgets.status(budget, app.now_ms()) for budget in app.budgets.all()]
    return [(status.spent_nusd, status.reserved_nusd) for status in found]


def test_it_is_held_in_every_budget_that_covers_it(app: App) -> None:
    for scope, value in (("all", ""), ("model", "p/a"), ("org", "acme"), ("key", "other")):
        app.budgets.put(Budget(0, scope, value, "month", 1_000))
    batch = _open(app)
    assert _figures(app) == [(0, 400), (0, 200), (0, 400), (0, 0)]
    app.budgets.put(Budget(0, "agent", "batch", "month", 1_000))  # made since
    assert _figures(app)[-1] == (0, 400)
    store = app.batches.store
    assert store.settle(batch, _outcomes(app, batch)[:3]) == 3
    assert _figures(app)[0] == (120, 100)
    assert store.finish(batch.id, now_ms=app.now_ms())
    assert not store.finish(batch.id, now_ms=app.now_ms())
    assert _figures(app)[0] == (120, 0)
    found = store.get(batch.id)
    assert found is not None
    assert (found.state, found.settled, found.cost_nusd, found.held_nusd) == ("settled", 3, 120, 0)
    assert app.rebuild.check().different_rows == 0


def test_a_limit_refuses_it_whole(app: App) -> None:
    app.budgets.put(Budget(0, "all", "", "month", 1_000))
    app.budgets.put(Budget(0, "model", "p/b", "month", 199))
    with pytest.raises(BudgetExceeded, match="this batch may cost up to"):
        _open(app)
    with pytest.raises(UnknownPrice):
        _open(app, price=None)
    with pytest.raises(BudgetExceeded, match="line 3"):
        _open(app, unbounded="line 3: nothing bounds it")
    assert _figures(app) == [(0, 0), (0, 0)]
    assert app.batches.store.all() == []


def test_what_was_never_made_is_forgotten(app: App) -> None:
    app.budgets.put(Budget(0, "all", "", "month", 1_000))
    batch = _open(app)
    assert app.batches.store.never_made(batch.id)
    assert not app.batches.store.never_made(batch.id)
    assert _figures(app) == [(0, 0)]
    made = _open(app)
    made.state, made.remote = "open", "batch_1"
    app.batches.store.note(made, "state", "remote")
    assert not app.batches.store.never_made(made.id)
    assert _figures(app) == [(0, 400)]


def test_many_that_settle_at_once_write_each_request_once(app: App, tmp_path: Path) -> None:
    app.budgets.put(Budget(0, "all", "", "month", 100_000))
    batch = _open(app, 60)
    counts: list[int] = []

    def work() -> None:
        with App({"OMNI_HOME": str(tmp_path), "USER": "test"}) as other:
            outcomes = _outcomes(other, batch)
            ready.wait()
            parts = [outcomes[at : at + 7] for at in range(0, len(outcomes), 7)]
            counts.extend([other.batches.store.settle(batch, part) for part in parts])

    ready = threading.Barrier(3)
    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(counts) == 60
    rows = list(app.ledger.recent(limit=500))
    assert len({row.id for row in rows}) == len(rows) == 60
    assert _figures(app) == [(60 * 40, 0)]
    assert app.rebuild.check().different_rows == 0


def test_one_process_looks_after_them(app: App, tmp_path: Path) -> None:
    with App({"OMNI_HOME": str(tmp_path), "USER": "test"}) as other:
        assert app.batches.store.lead(now_ms=1_000, for_ms=500)
        assert app.batches.store.lead(now_ms=1_200, for_ms=500)
        assert not other.batches.store.lead(now_ms=1_600, for_ms=500)
        assert other.batches.store.lead(now_ms=1_701, for_ms=500)
        assert not app.batches.store.lead(now_ms=1_702, for_ms=500)
        assert app.batches.store.lead(now_ms=10, for_ms=500)  # the clock was set back


def test_a_file_is_its_senders(app: App) -> None:
    store = app.batches.store
    for ident, org, key in (("a", "acme", "k"), ("b", "acme", "l"), ("c", "", "m")):
        store.add_file(KeptFile(ident, "p", org, key, "batch", 1, "{}"))
    assert [file.id for file in store.files({"org": "acme"})] == ["b", "a"]
    assert [file.id for file in store.files({"key": "m"})] == ["c"]
    assert [file.id for file in store.files({})] == ["c", "b", "a"]
    assert store.files({"key": "m"}, ident="a") == []
    store.add_file(KeptFile("c", "p", "thief", "x", "batch", 2, '{"bytes": 3}'))
    (kept,) = store.files({"key": "m"})
    assert (kept.org, kept.document) == ("", '{"bytes": 3}')


def test_a_clock_that_was_set_back_keeps_none_waiting() -> None:
    batch = Batch(1, "p", "", "", "batch", "", "", 1_000, checked_at=10**12)
    assert due(batch, 10**11)
    assert not due(batch, 10**12 + 1)
