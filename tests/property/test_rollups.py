"""Rollups equal the ledger and its receipts to the nano-dollar, whatever happened (C1, C4)."""

import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omni_cli.domain.chat import Usage
from omni_cli.domain.ledger import AttemptEnd, NewAttempt, NewRequest, RequestEnd
from omni_cli.domain.periods import local_day
from omni_cli.store.connection import SqliteStore
from omni_cli.store.ledger import LedgerStore
from omni_cli.store.port import ZONE_KEY
from omni_cli.store.rebuild import RollupRebuild
from omni_cli.store.rollups import RollupStore
from tests.beginning import begin

#: Kathmandu is 5 h 45 min ahead; Berlin and New York shift their clocks in the span below, and
#: Apia is a day ahead of Honolulu.
ZONES = ("Asia/Kathmandu", "Europe/Berlin", "America/New_York", "Pacific/Apia")
#: Five days around Berlin's shift of 2026-03-29, in whole milliseconds.
FIRST = int(datetime(2026, 3, 27, tzinfo=UTC).timestamp() * 1000)
LAST = int(datetime(2026, 4, 1, tzinfo=UTC).timestamp() * 1000)
TABLES = (
    "requests",
    *(
        f"rollup_{name}{suffix}"
        for name in ("day", "hour", "latency", "latency_scope", "baseline")
        for suffix in ("", "_next", "_archive")
    ),
)
MODELS = (("openai", "openai/gpt-4o"), ("groq", "groq/llama"), ("x", ""))

times = st.integers(FIRST, LAST - 1)
money = st.one_of(st.none(), st.just(0), st.integers(1, 10**12))
tokens = st.integers(0, 5000)


@dataclass(frozen=True)
class Try:
    model: int
    state: str
    cost: int | None
    tokens_in: int
    tokens_out: int
    estimated: bool
    late: bool


@dataclass(frozen=True)
class Call:
    at: int
    source: str
    task: str
    role: str
    state: str
    premium: int | None
    latency: int | None
    tries: tuple[Try, ...]


tries = st.builds(
    Try,
    st.integers(0, 2),
    st.sampled_from(["ok", "failed", "cancelled", "lost", "unsent"]),
    money,
    tokens,
    tokens,
    st.booleans(),
    st.booleans(),
)
calls = st.builds(
    Call,
    times,
    st.sampled_from(["chat", "gateway", "judge", "probe", "import", "cache"]),
    st.sampled_from(["coding", "math", ""]),
    st.sampled_from(["", "heartbeat"]),
    st.sampled_from(["ok", "ok", "failed", "cancelled", "lost", "refused", "pending"]),
    money,
    st.one_of(st.none(), st.integers(0, 100_000)),
    st.lists(tries, max_size=3).map(tuple),
)
corrections = st.tuples(
    st.just("correct"), st.integers(0, 50), st.integers(-(10**9), 10**9), st.booleans()
)
actions = st.lists(
    st.one_of(
        calls.map(lambda call: ("call", call)),
        corrections,
        st.just(("rebuild step",)),
        st.sampled_from(ZONES).map(lambda zone: ("rebuild", zone)),
        times.map(lambda at: ("prune", at)),
    ),
    max_size=25,
)


@dataclass
class World:
    store: SqliteStore
    rollups: RollupStore
    rebuild: RollupRebuild
    ledger: LedgerStore
    count: int = 0

    def settle(self, request: int, n: int, item: Try) -> None:
        self.ledger.end_attempt(
            request,
            n,
            AttemptEnd(
                state=item.state,
                ended_at=LAST,
                usage=Usage(
                    input_tokens=item.tokens_in,
                    output_tokens=item.tokens_out,
                    estimated=item.estimated,
                ),
                cost_nusd=0 if item.state == "unsent" else item.cost,
                input_cost_nusd=None if item.cost is None else item.cost // 3,
            ),
            priced=None if item.state == "unsent" else "unknown" if item.cost is None else "priced",
        )

    def call(self, call: Call) -> None:
        self.count += 1
        # Clocks jump: ids follow the call's own time, not the order of arrival.
        request = (call.at - FIRST) * 1000 + self.count
        self.ledger.open(
            NewRequest(
                id=request,
                created_at=call.at,
                source=call.source,
                owner="test",
                role=call.role,
                task=call.task,
            ),
            None,
        )
        for n, item in enumerate(call.tries, 1):
            provider, model = MODELS[item.model]
            begin(
                self.ledger,
                NewAttempt(
                    request=request,
                    n=n,
                    model=model,
                    provider=provider,
                    started_at=call.at,
                    input_estimate=1,
                    reserve_nusd=item.cost,
                ),
            )
            if not item.late:
                self.settle(request, n, item)
        if call.state != "pending":
            provider, model = MODELS[call.tries[-1].model] if call.tries else ("", "")
            self.ledger.end_request(
                request,
                RequestEnd(
                    state=call.state,
                    settled_at=LAST,
                    model=model,
                    provider=provider,
                    premium_model=None if call.premium is None else "openai/o1",
                    premium_cost_nusd=call.premium if call.state == "ok" else None,
                    latency_ms=call.latency,
                ),
            )
        for n, item in enumerate(call.tries, 1):
            if item.late:
                self.settle(request, n, item)

    def correct(self, pick: int, delta: int, *, fill: bool) -> None:
        rows = self.store.db.execute(
            "SELECT request, n FROM attempts WHERE state NOT IN ('planned', 'sent')"
        ).fetchall()
        if not rows:
            return
        request, n = rows[pick % len(rows)]
        with self.rollups.recounting(request):
            self.store.db.execute(
                "INSERT INTO adjustments (request, n, at, who, reason, delta_nusd)"
                " VALUES (?, ?, 0, '', '', ?)",
                (request, n, delta),
            )
            self.store.db.execute(
                "UPDATE requests SET adjusted_nusd = adjusted_nusd + ?,"
                " price_state = iif(?, 'priced', price_state) WHERE id = ?",
                (delta, fill, request),
            )

    def prune(self, before: int) -> None:
        with self.store.transaction() as db:
            if self.rollups.building is not None:
                return
            db.execute("CREATE TEMP TABLE IF NOT EXISTS gone (id INTEGER PRIMARY KEY)")
            db.execute("DELETE FROM gone")
            db.execute(
                "INSERT INTO gone SELECT id FROM requests"
                " WHERE created_at < ? AND state != 'pending'",
                (before,),
            )
            self.rebuild.archive("gone")
            db.execute("DELETE FROM requests WHERE id IN (SELECT id FROM gone)")

    def act(self, action: tuple) -> None:
        match action:
            case ("call", call):
                self.call(call)
            case ("correct", pick, delta, fill):
                self.correct(pick, delta, fill=fill)
            case ("rebuild", zone):
                self.rebuild._begin(zone)
                self.rebuild._step(zone)
            case ("rebuild step",):
                if self.rollups.building is not None:
                    self.rebuild._step(self.rollups.building.zone)
            case ("prune", before):
                self.prune(before)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    store = SqliteStore(tmp_path_factory.mktemp("store") / "omni.db", durable=False)
    rollups = RollupStore(store)
    ledger = LedgerStore(store)
    return World(store, rollups, RollupRebuild(store), ledger)


def _clean(world: World, zone: str) -> None:
    with world.store.transaction() as db:
        for table in TABLES:
            db.execute(f"DELETE FROM {table}")
        db.execute("DELETE FROM meta WHERE key = 'rollup_rebuild'")
        world.store.set_meta(ZONE_KEY, zone)


@pytest.mark.parametrize("zone", ZONES)
@settings(max_examples=40, deadline=None)
@given(plan=actions, chunk=st.integers(1, 4))
def test_rollups_equal_ledger_equal_receipts(
    world: World,
    zone: str,
    plan: list[tuple],
    chunk: int,
) -> None:
    _clean(world, zone)
    with pytest.MonkeyPatch.context() as patch:
        # Rebuilds are left half done between other actions, as by a killed process.
        patch.setattr("omni_cli.store.rebuild.CHUNK", chunk)
        for action in plan:
            world.act(action)
        found = world.rebuild.check()
        assert found.sound, found
        world.rebuild.rebuild(zone)
        found = world.rebuild.check()
        assert found.sound, found
        assert world.rollups.zone == zone
        assert world.rollups.building is None


@settings(max_examples=30, deadline=None)
@given(plan=st.lists(calls, max_size=20))
def test_a_rebuilt_day_holds_that_zones_calls(world: World, plan: list[Call]) -> None:
    """Against days worked out call by call, not by the SQL that check() shares."""
    _clean(world, "UTC")
    for call in plan:
        world.call(call)
    for zone in ZONES:
        world.rebuild.rebuild(zone)
        expected: dict[int, int] = {}
        for call in plan:
            if call.state not in ("pending", "refused"):
                day = local_day(call.at, zone)
                expected[day] = expected.get(day, 0) + 1
        rows = world.store.db.execute(
            "SELECT day, sum(calls) FROM rollup_day GROUP BY day HAVING sum(calls) > 0"
        )
        assert dict(rows.fetchall()) == expected


def test_check_notices_a_lost_nano_dollar() -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = SqliteStore(Path(folder) / "omni.db", durable=False)
        rollups = RollupStore(store)
        rebuild = RollupRebuild(store)
        world = World(store, rollups, rebuild, LedgerStore(store))
        world.call(Call(FIRST, "chat", "", "", "ok", 5, 1, (Try(0, "ok", 7, 1, 1, False, False),)))
        assert rebuild.check().sound
        store.db.execute("UPDATE rollup_day SET cost_nusd = cost_nusd + 1")
        found = rebuild.check()
        assert not found.sound
        assert (found.ledger_nusd, found.day_nusd, found.different_rows) == (7, 8, 2)
        rebuild.rebuild(rollups.zone)
        assert rebuild.check().sound
        store.close()
