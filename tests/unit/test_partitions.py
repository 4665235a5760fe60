"""Retention, the same on both engines: what is old goes, row by row or by whole months, and the
reports keep their sums."""

import itertools
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from unittest.mock import Mock

import pytest

from omni_cli.domain.chat import Usage
from omni_cli.domain.errors import StoreError, UsageError
from omni_cli.domain.ids import make_id
from omni_cli.domain.ledger import AttemptEnd, NewAttempt, NewRequest, RequestEnd
from omni_cli.services.judge.maintenance import MaintenanceService
from omni_cli.services.money.reconciling import Reconciling
from omni_cli.store import port
from omni_cli.store.adjustments import AdjustmentStore
from omni_cli.store.ledger import LedgerStore
from omni_cli.store.maintenance import MaintenanceStore
from omni_cli.store.port import SCHEMA_VERSION, Store
from omni_cli.store.rebuild import RollupRebuild
from tests.beginning import begin
from tests.engine import open_store

DAY_MS = 86_400_000
#: 2026-06-01 00:00 UTC.
JUNE = 1_780_272_000_000
_numbers = itertools.count(1)


def add_calls(store: Store, times: Iterable[int], *, ends: bool = True) -> list[int]:
    """Calls that began then and cost a thousand nano-dollars each; returns their ids."""
    ledger, ids = LedgerStore(store), []
    for at in times:
        request = make_id(at, next(_numbers))
        ledger.open(NewRequest(request, at, "chat", store.owner), "{}")
        begin(
            ledger,
            NewAttempt(
                request=request, n=1, model="openai/gpt-4o-mini", provider="openai",
                started_at=at, input_estimate=1, reserve_nusd=5000,
            ),
        )  # fmt: skip
        ids.append(request)
        if not ends:
            continue
        ledger.end_attempt(
            request,
            1,
            AttemptEnd(
                state="ok", ended_at=at + 9, usage=Usage(input_tokens=3, output_tokens=4),
                cost_nusd=1000, input_cost_nusd=300,
            ),
            priced="priced",
        )  # fmt: skip
        ledger.end_request(
            request, RequestEnd(state="ok", settled_at=at + 9, model="openai/gpt-4o-mini",
                                provider="openai", latency_ms=9)
        )  # fmt: skip
    return ids


def _counts(store: Store) -> list[int]:
    return [
        store.plain(f"SELECT count(*) FROM {table}")[0][0]
        for table in ("requests", "attempts", "decisions", "adjustments", "outcomes", "cache_hits")
    ]


def test_what_is_old_goes_and_its_sums_stay(engine: str, tmp_path: Path) -> None:
    store = open_store(tmp_path / "omni.db", durable=True)
    store.set_meta("zone", "UTC")
    store.prepare(JUNE - 100 * DAY_MS)
    # Two a day from February to June, one of March still under way.
    ids = add_calls(store, (JUNE + n * DAY_MS // 2 for n in range(-240, 40)))
    (running,) = add_calls(store, [JUNE - 80 * DAY_MS], ends=False)
    LedgerStore(store).end_attempt(  # and another is to be asked
        running, 1, AttemptEnd(state="failed", ended_at=JUNE, cost_nusd=7), priced="priced"
    )
    with store.transaction() as db:
        for request in (ids[0], ids[-1]):
            db.execute("INSERT INTO outcomes (request, at, model, task, kind, value)"
                       " VALUES (?, 1, 'm', 't', 'k', 1)", (request,))  # fmt: skip
            db.execute("INSERT INTO cache_hits VALUES (?, 1, 1)", (request,))
    files, rebuild = MaintenanceStore(store), RollupRebuild(store)
    spent = store.plain("SELECT sum(cost_nusd), sum(calls) FROM rollup_day")
    before = JUNE + 3 * DAY_MS
    assert sum(files.prune(before)) == 246
    assert store.plain("SELECT sum(cost_nusd), sum(calls) FROM rollup_day") == spent
    assert store.plain("SELECT min(id) FROM requests WHERE state = 'ok'") == [(ids[246],)]
    assert _counts(store) == [35, 35, 35, 0, 2, 1]
    assert store.plain("SELECT count(*) FROM outcomes WHERE request IS NULL") == [(1,)]
    checked = rebuild.check()
    assert checked.sound, checked.examples
    assert checked.archive_nusd == 246_000
    if engine == "postgres":
        names = {str(row[0]) for row in store.plain("SELECT relname FROM pg_class")}
        assert {"requests_202603", "requests_202606"} <= names  # a call of March is open
        assert not {"requests_202604", "attempts_202605", "decisions_202605"} & names
    # It ends, and goes with the next.
    LedgerStore(store).end_request(running, RequestEnd(state="failed", settled_at=before))
    assert sum(files.prune(before)) == 1
    assert sum(files.prune(before)) == 0
    checked = rebuild.check()
    assert checked.sound, checked.examples
    assert checked.archive_nusd == 246_007
    rebuild.rebuild("UTC")
    assert rebuild.check().sound
    store.close()


def test_what_the_settings_do_not_keep_goes_once_a_day(engine: str, tmp_path: Path) -> None:
    """By whichever gateway or watch comes first; what is open, holds money, or is a line of an
    unfinished batch stays, and an invoice of what is gone is refused rather than misread."""
    store = open_store(tmp_path / "omni.db", durable=True)
    store.set_meta("zone", "UTC")
    store.prepare(JUNE - 200 * DAY_MS)
    ids = add_calls(store, (JUNE - n * DAY_MS for n in (190, 180, 170, 70, 10)))
    (running,) = add_calls(store, [JUNE - 185 * DAY_MS], ends=False)
    with store.transaction() as db:
        db.execute(
            "INSERT INTO batches (id, provider, endpoint, created_at, state, lines)"
            " VALUES (1, 'openai', '/v1/chat/completions', 1, 'ended', 1)"
        )
        db.execute(
            "INSERT INTO batch_lines VALUES (1, 0, 'a', 'openai/gpt-4o-mini', '', 1, 0, ?)",
            (ids[1],),
        )
    now, entries = JUNE / 1000, []

    def service(keep_days: int) -> MaintenanceService:
        return MaintenanceService(
            path=tmp_path, copier=Mock(), files=lambda: MaintenanceStore(store), rollups=Mock(),
            audit=lambda: Mock(record=lambda **said: entries.append(said)), recover=lambda: 0,
            mover=Mock(), rest=Mock(), zone="UTC", clock=lambda: now, who="gateway",
            keep_days=keep_days,
        )  # fmt: skip

    assert service(0).retain() is None
    spent = store.plain("SELECT sum(cost_nusd), sum(calls) FROM rollup_day")
    done = service(90).retain()
    assert done is not None
    assert done.removed == 2
    left = {row[0] for row in store.plain("SELECT id FROM requests")}
    assert left == {ids[1], ids[3], ids[4], running}
    assert store.plain("SELECT sum(cost_nusd), sum(calls) FROM rollup_day") == spent
    assert RollupRebuild(store).check().sound
    (entry,) = entries
    assert (entry["action"], entry["after"]["by"]) == ("prune", "store.keep_days")
    # Another process of the same day finds it done; the next day, what has got old meanwhile goes.
    now += 3600
    assert service(63).retain() is None
    now += DAY_MS / 1000
    assert service(63).retain().removed == 1
    gone = MaintenanceStore(store).pruned_before_ms()
    ours = Reconciling(AdjustmentStore(store), Mock(), lambda _, name: name, lambda: gone)
    with pytest.raises(UsageError, match="were removed"):
        ours.ledger_lines("2026-03-01", "2026-03-31")
    assert ours.ledger_lines("2026-05-20", "2026-05-30")[0]
    # Of a fleet elsewhere the days end within days of UTC: one is half gone.
    kept = gone
    gone = kept - kept % DAY_MS + DAY_MS // 3
    half, whole = (f"{datetime.fromtimestamp((gone + n * DAY_MS) / 1000, UTC):%Y-%m-%d}"
                   for n in (0, 1))  # fmt: skip
    with pytest.raises(UsageError, match=f"before {whole}"):
        ours.ledger_lines(half, "2026-05-30")
    ours.ledger_lines(whole, "2026-05-30")
    # A batch that is over holds nothing back.
    with store.transaction() as db:
        db.execute("DELETE FROM batch_lines")
    now += DAY_MS / 1000
    assert service(63).retain().removed == 1
    store.close()


def test_who_had_it_open_works_on_when_a_newer_omni_has_brought_it_on(
    engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(tmp_path / "omni.db", durable=True)
    with store.transaction():
        store._set_version(SCHEMA_VERSION + 1)
    open_store(tmp_path / "omni.db").close()  # as its next report, or its next worker, does
    monkeypatch.setattr(port, "_opened", set())
    with pytest.raises(StoreError, match="written by a newer omni"):
        open_store(tmp_path / "omni.db")
    with store.transaction():
        store._set_version(SCHEMA_VERSION)
    store.close()
