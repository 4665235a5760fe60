"""Usage, costs and savings from a ledger that was written the usual way (C2, C4, C5)."""

import random
import threading
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from omni_cli.domain.analytics import day_key
from omni_cli.domain.budgets import Budget, refusal
from omni_cli.domain.chat import Usage
from omni_cli.domain.errors import StoreError, UsageError
from omni_cli.domain.ids import make_id
from omni_cli.domain.imports import LogFile
from omni_cli.domain.ledger import AttemptEnd, NewAttempt, NewRequest, RequestEnd
from omni_cli.domain.quality import Prior, QualityTable
from omni_cli.domain.record import replace
from omni_cli.domain.sessions import Session, SessionRow
from omni_cli.services.judge.maintenance import ReportZone, same_zone
from omni_cli.services.money.costs import CostService
from omni_cli.services.money.savings import SavingsService
from omni_cli.services.money.usage import UsageQuery, UsageService
from omni_cli.store.budgets import BudgetStore
from omni_cli.store.imports import LogFileStore
from omni_cli.store.ledger import LedgerStore
from omni_cli.store.port import ZONE_KEY
from omni_cli.store.rebuild import RollupRebuild
from omni_cli.store.reports import ReportStore
from omni_cli.store.rollups import RollupStore
from omni_cli.store.sessions import SessionStore
from omni_cli.store.statusline import Figures
from tests.beginning import begin
from tests.engine import on_a_file, open_store

pytestmark = pytest.mark.usefixtures("engine")

ZONE = "Asia/Kathmandu"
#: A Wednesday, early afternoon in Kathmandu.
NOW = datetime(2026, 11, 18, 13, 0, tzinfo=ZoneInfo(ZONE))
CHEAP, DEAR, PREMIUM = "groq/small", "openai/large", "anthropic/best"


class Fleet:
    """A store and what reads it, with a clock that stands still."""

    def __init__(self, path: Path, zone: str = ZONE) -> None:
        self.store = open_store(path)
        if self.store.get_meta(ZONE_KEY) is None:
            self.store.set_meta(ZONE_KEY, zone)
        self.rollups = RollupStore(self.store)
        self.rebuild = RollupRebuild(self.store)
        self.budgets = BudgetStore(self.store)
        self.ledger = LedgerStore(self.store)
        self.reports = ReportStore(self.store)
        self.count = 0
        self.told: list[str] = []
        self.zone = zone

    def report_zone(self) -> ReportZone:
        return ReportZone(
            rollups=self.rollups,
            rebuild=lambda: self.rebuild,
            zone=self.zone,
            note=self.told.append,
        )

    def usage(self) -> UsageService:
        return UsageService(reports=self.reports, zone=self.report_zone(), clock=NOW.timestamp)

    def costs(self) -> CostService:
        return CostService(
            reports=self.reports,
            budgets=self.budgets,
            zone=self.report_zone(),
            clock=NOW.timestamp,
        )

    def savings(self, table: QualityTable | None = None) -> SavingsService:
        return SavingsService(
            reports=self.reports, usage=self.usage(), quality=lambda: table or QualityTable()
        )

    def call(
        self,
        cost: int | None,
        *,
        at: datetime = NOW,
        model: str = CHEAP,
        premium: int | None = None,
        state: str = "ok",
        latency: int | None = 1000,
        source: str = "chat",
        task: str = "coding",
        role: str = "",
        failed: int | None = None,
        tokens: tuple[int, int] = (100, 50),
        estimated: bool = False,
        session: str = "",
    ) -> None:
        """One request, after a failed attempt at DEAR that cost ``failed`` where that is given."""
        self.count += 1
        at_ms = int(at.timestamp() * 1000)
        request = make_id(at_ms, self.count)
        self.ledger.open(
            NewRequest(
                request,
                at_ms,
                source,
                self.ledger.owner,
                task=task,
                role=role,
                session=session,
            ),
            None,
        )
        tries = [
            (
                model,
                state,
                cost,
                Usage(input_tokens=tokens[0], output_tokens=tokens[1], estimated=estimated),
            )
        ]
        if failed is not None:
            tries.insert(0, (DEAR, "failed", failed, Usage(input_tokens=7)))
        for n, (name, ended, charged, used) in enumerate(tries, 1):
            provider = name.partition("/")[0]
            begin(
                self.ledger,
                NewAttempt(request, n, name, provider, at_ms, 1, reserve_nusd=charged or 0),
            )
            self.ledger.end_attempt(
                request,
                n,
                AttemptEnd(
                    ended,
                    at_ms,
                    used,
                    cost_nusd=charged,
                    input_cost_nusd=None if charged is None else charged // 4,
                ),
                priced="unknown" if charged is None else "priced",
            )
        self.ledger.end_request(
            request,
            RequestEnd(
                state,
                at_ms,
                model,
                model.partition("/")[0],
                None if premium is None else PREMIUM,
                premium,
                latency,
            ),
        )


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    found = Fleet(tmp_path / "omni.db")
    yield found
    found.store.close()


def at(day: int, hour: int = 12, minute: int = 0, month: int = 11) -> datetime:
    return datetime(2026, month, day, hour, minute, tzinfo=ZoneInfo(ZONE))


# --- usage --------------------------------------------------------------------------------------


def test_days_are_the_users_own(fleet: Fleet) -> None:
    # 18:15 UTC is midnight in Kathmandu.
    fleet.call(5, at=datetime(2026, 11, 17, 18, 14, 59, tzinfo=UTC))
    fleet.call(7, at=datetime(2026, 11, 17, 18, 15, tzinfo=UTC))
    assert fleet.usage().report(UsageQuery(period="today")).total.totals.cost_nusd == 7
    assert fleet.usage().report(UsageQuery(period="yesterday")).total.totals.cost_nusd == 5


def test_rows_by_model_keep_failures_with_who_failed(fleet: Fleet) -> None:
    fleet.call(10, failed=3)
    fleet.call(20, model=DEAR, latency=4000)
    fleet.call(None, model="own/unpriced")
    report = fleet.usage().report(UsageQuery(by="model"))
    rows = {row.name: row for row in report.rows}
    assert [row.name for row in report.rows] == [DEAR, CHEAP, "own/unpriced"]
    assert (rows[DEAR].totals.calls, rows[DEAR].totals.attempts) == (1, 2)
    assert rows[DEAR].totals.attempt_success == 0.5
    assert (rows[DEAR].totals.cost_nusd, rows[DEAR].totals.failed_nusd) == (23, 3)
    assert rows["own/unpriced"].totals.known_nusd is None
    assert report.total.totals.cost_nusd == 33
    assert report.total.totals.unknown_attempts == 1
    assert report.total.totals.success == 1.0
    assert rows[DEAR].p50_ms == pytest.approx(4000, rel=0.1)
    assert rows[CHEAP].p95_ms == pytest.approx(1000, rel=0.1)


def test_a_status_line_reads_what_reports_do(fleet: Fleet) -> None:
    for cost, session, days in ((7, "s", 2), (None, "s", 0), (5, "s/a", 0), (11, "t", 0)):
        fleet.call(cost, at=NOW - timedelta(days=days), session=session)
    began, now = (int((NOW - timedelta(days=d)).timestamp() * 1000) for d in (2, 0))
    rows = [
        SessionRow(Session(name, parent=parent), began, now)
        for name, parent in (("s", ""), ("s/a", "s"), ("t", ""))
    ]
    SessionStore(fleet.store).note(rows)
    LogFileStore(fleet.store).put("claude-code", [LogFile("/a", 3, 4, read_at=5)])
    day = day_key(NOW.date())
    figures = Figures(fleet.store.db, day)
    today = fleet.reports.totals(day, day)[()]
    assert figures.today() == (today.cost_nusd, today.unknown_attempts, today.attempts)
    assert figures.session("s") == (12, 1, 3)
    assert figures.session("t") == (11, 0, 1)
    assert figures.session("nobody") == (0, 0, 0)
    assert figures.logs("claude-code", ["/a", "/b"]) == {"/a": (3, 4, 5)}
    assert figures.logs("codex", ["/a"]) is None
    assert figures.window("no/model") is None
    assert {type(value) for value in figures.today()} == {int}


@pytest.mark.parametrize("seed", range(3))
def test_the_last_block_is_found_from_call_to_call_as_all_are_made(fleet: Fleet, seed: int) -> None:
    rng = random.Random(seed)
    at, end = NOW - timedelta(hours=60), NOW
    while at < end:
        fleet.call(10, at=at, model=rng.choice((CHEAP, DEAR)))
        # The whole gap, too: a call at the very end of a block begins the next.
        at += timedelta(minutes=rng.choice((2, 40, 90, 200, 299, 300, 301, 420)))
    usage = fleet.usage()
    blocks = usage.blocks()
    assert len(blocks) > 3
    for moment in [end - timedelta(minutes=rng.randint(0, 3600)) for _ in range(8)]:
        until = int(moment.timestamp() * 1000)
        made = [block for block in blocks if block.first_at <= until]
        began = made[-1].first_at if made else None
        assert fleet.reports.block_began(until) == began
        # From then on they are the same as from the first.
        some, all_left = usage.blocks("", until), [b for b in blocks if b.end_at > until]
        assert [vars(block) for block in some] == [vars(block) for block in all_left]
    assert fleet.reports.block_began(int(NOW.timestamp() * 1000), "nobody") is None


@pytest.mark.parametrize("by", ["role", "task", "source", "agent", "org", "key", "provider"])
def test_every_dimension_has_percentiles_and_the_same_total(fleet: Fleet, by: str) -> None:
    fleet.call(10, role="heartbeat", task="math", latency=100)
    fleet.call(20, task="coding", source="gateway", latency=900)
    report = fleet.usage().report(UsageQuery(by=by))
    assert sum(row.totals.cost_nusd for row in report.rows) == 30
    assert all(row.p50_ms is not None for row in report.rows)
    assert report.total.p95_ms == pytest.approx(900, rel=0.1)


def test_compare_takes_as_many_days_of_the_period_before(fleet: Fleet) -> None:
    fleet.call(100, at=at(17, month=10))
    fleet.call(900, at=at(30, month=10))  # later in October than the 18th: not like for like
    fleet.call(150, at=at(2))
    report = fleet.usage().report(UsageQuery(period="month", compare=True))
    assert (report.before_first, report.before_last) == (date(2026, 10, 1), date(2026, 10, 18))
    assert report.total.before is not None
    assert report.total.before.cost_nusd == 100
    assert report.total.totals.cost_nusd == 150
    assert report.last == date(2026, 11, 18)


def test_what_stopped_is_shown_when_compared(fleet: Fleet) -> None:
    fleet.call(100, at=at(17), model=DEAR)
    fleet.call(1, at=at(18))
    report = fleet.usage().report(UsageQuery(period="today", compare=True))
    rows = {row.name: row for row in report.rows}
    assert rows[DEAR].totals.calls == 0
    assert rows[DEAR].before is not None
    assert rows[DEAR].before.cost_nusd == 100


def test_series_has_every_day(fleet: Fleet) -> None:
    fleet.call(1, at=at(14), tokens=(10, 20))
    fleet.call(2, at=at(18), tokens=(30, 40))
    report = fleet.usage().report(UsageQuery(by="day", period="7d"))
    assert [(day.day, t.input_tokens, t.output_tokens) for day, t in report.series] == [
        (12, 0, 0), (13, 0, 0), (14, 10, 20), (15, 0, 0), (16, 0, 0), (17, 0, 0), (18, 30, 40),
    ]  # fmt: skip
    assert [row.name for row in report.rows] == ["2026-11-14", "2026-11-18"]
    assert all(row.p50_ms == pytest.approx(1000, rel=0.1) for row in report.rows)


def test_filters_and_what_is_none(fleet: Fleet) -> None:
    fleet.call(1, role="heartbeat")
    fleet.call(2, role="heartbeat", model=DEAR)
    fleet.call(4)
    found = fleet.usage().report(UsageQuery(by="model", filters={"role": "heartbeat"}))
    assert {row.name: row.totals.cost_nusd for row in found.rows} == {CHEAP: 1, DEAR: 2}
    assert found.rows[0].p50_ms is not None
    with pytest.raises(UsageError):
        fleet.usage().report(UsageQuery(by="colour"))
    with pytest.raises(UsageError):
        fleet.usage().report(UsageQuery(filters={"day": "x"}, by="nothing"))


def test_a_new_zone_makes_the_reports_anew_once(fleet: Fleet) -> None:
    fleet.call(5, at=datetime(2026, 11, 17, 18, 30, tzinfo=UTC))
    assert fleet.usage().report(UsageQuery(period="today")).total.totals.calls == 1
    fleet.zone = "UTC"
    assert fleet.usage().report(UsageQuery(period="today")).total.totals.calls == 0
    assert fleet.usage().report(UsageQuery(period="yesterday")).total.totals.calls == 1
    assert fleet.told == ["days are now UTC's: counted 1 of 1 requests"]
    assert fleet.rollups.zone == "UTC"


def test_calls_go_on_during_a_rebuild(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Writers on their own connections, as other processes have, while two rebuild at once."""
    monkeypatch.setattr("omni_cli.store.rebuild.CHUNK", 7)
    first = Fleet(tmp_path / "omni.db")
    for n in range(60):
        first.call(n + 1, at=at(1 + n % 17), failed=1 if n % 3 else None)
    faults: list[BaseException] = []

    def work(number: int, *, rebuild: bool) -> None:
        own = Fleet(tmp_path / "omni.db")
        own.count = 1000 * number
        try:
            if rebuild:
                own.rebuild.rebuild("America/New_York")
            else:
                for n in range(40):
                    own.call(n, at=at(1 + n % 17), premium=2 * n)
        except BaseException as exc:  # noqa: BLE001  # shown by the assertion below
            faults.append(exc)
        finally:
            own.store.close()

    threads = [
        threading.Thread(target=work, args=(number,), kwargs={"rebuild": number > 2})
        for number in (1, 2, 3, 4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults
    assert first.rollups.zone == "America/New_York"
    found = first.rebuild.check()
    assert found.sound, found
    assert first.reports.totals(0, 99_999_999)[()].calls == 140
    first.store.close()


def test_a_rebuild_for_another_zone_is_not_mixed_up(fleet: Fleet) -> None:
    fleet.call(1)
    fleet.rebuild._begin("UTC")
    with pytest.raises(StoreError, match="another process"):
        fleet.rebuild._step("Europe/Berlin")


# --- costs --------------------------------------------------------------------------------------


def test_overview(fleet: Fleet) -> None:
    fleet.call(1000, at=at(31, month=10))
    fleet.call(200, at=at(2))
    fleet.call(30, at=at(16), model=DEAR, task="research")
    fleet.call(4, at=at(17))
    fleet.call(5, at=at(18), estimated=True)
    fleet.call(None, at=at(18), model="own/unpriced")
    found = fleet.costs().overview()
    assert (found.today.cost_nusd, found.yesterday.cost_nusd) == (5, 4)
    assert found.today.estimated_nusd == 5
    assert found.week.cost_nusd == 39  # since Monday, the 16th
    assert found.month.cost_nusd == 239
    assert found.month_label == "2026-11-01 to 2026-11-30"
    assert found.month.unknown_attempts == 1
    assert len(found.trend) == 30
    assert found.trend[-1] == (date(2026, 11, 18), 5)
    assert sum(cost for _, cost in found.trend) == 1239
    assert [(s.name, s.nusd) for s in found.by_model] == [(CHEAP, 209), (DEAR, 30)]
    assert [(s.name, s.nusd) for s in found.by_task] == [("coding", 209), ("research", 30)]
    assert found.budgets == ()
    assert found.projection.nusd >= 239


def test_budget_line_says_what_is_under(fleet: Fleet) -> None:
    # The spec's figures: $312.40 of $500; see test_analytics for its "62 % under".
    dollars = 10**9
    fleet.budgets.put(Budget(0, "all", "", "month", 500 * dollars, zone=ZONE))
    fleet.budgets.put(Budget(0, "model", CHEAP, "month", dollars * 900, zone=ZONE))
    fleet.call(312_400_000_000, at=at(18))
    (line,) = fleet.costs().overview().budgets
    assert line.under_percent == pytest.approx(37.52)
    assert line.status.used_percent == pytest.approx(62.48)
    assert line.projection is not None
    assert line.projected_under_percent == pytest.approx(37.52)


def test_yesterday_counts_until_this_hour(fleet: Fleet) -> None:
    # The rollups' hours are UTC's; 13:00 in Kathmandu is 07:15, a quarter into one.
    fleet.call(100, at=NOW - timedelta(days=1, hours=2))
    fleet.call(40, at=NOW - timedelta(days=1) + timedelta(minutes=20))  # in the hour under way
    fleet.call(7_000, at=NOW - timedelta(days=1) + timedelta(hours=2))
    fleet.call(900, at=NOW - timedelta(days=2))
    assert fleet.costs().yesterday_by_now() == 110


def test_each_budget_is_judged_once_and_the_worst_comes_first(fleet: Fleet) -> None:
    for day in range(1, 19):
        fleet.call(1_000_000, at=at(day), role="writer" if day == 18 else "")
    dollar = 10**9
    fleet.budgets.put(Budget(0, "all", "", "month", dollar, zone=ZONE))
    fleet.budgets.put(Budget(0, "all", "", "week", 4_000_000, zone=ZONE))
    fleet.budgets.put(Budget(0, "role", "writer", "day", 1_000_000, zone=ZONE))
    tight = Budget(0, "model", CHEAP, "day", 2_600_000, zone=ZONE, alerts_percent=())
    fleet.budgets.put(tight)
    now = int(NOW.timestamp() * 1000)
    held = next(b for b in fleet.budgets.all() if b.scope == "model")
    said = refusal(fleet.budgets.status(held, now), dollar, "tomorrow")
    request = make_id(now, 999)
    fleet.ledger.open(NewRequest(request, now, "chat", fleet.ledger.owner), None)
    fleet.ledger.end_request(
        request,
        RequestEnd("refused", now, "", "", error_code=said.code, error_message=said.message),
    )
    found = [(x.level, x.status.budget.label, x.words) for x in fleet.costs().standings()]
    assert found == [
        ("error", "day budget of role writer", "calls are refused"),
        ("warning", "week budget of everything", "at its end 75% over"),
        ("warning", f"day budget of model {CHEAP}", "too little for some calls, 1 refused today"),
        ("ok", "month budget of everything", "on track"),
    ]
    # Raised, it no longer refuses what it refused.
    fleet.budgets.put(replace(held, limit_nusd=dollar))
    assert all("too little" not in x.words for x in fleet.costs().standings())


def test_weeks_and_months_begin_when_the_user_says(fleet: Fleet) -> None:
    fleet.call(1, at=at(14))  # a Saturday
    fleet.call(2, at=at(15))
    service = CostService(
        reports=fleet.reports,
        budgets=fleet.budgets,
        zone=fleet.report_zone(),
        clock=NOW.timestamp,
        week_start=6,
        month_day=15,
    )
    found = service.overview()
    assert found.week.cost_nusd == 2
    assert found.month.cost_nusd == 2
    assert found.month_label == "2026-11-15 to 2026-12-14"


# --- savings ------------------------------------------------------------------------------------


def test_savings_count_everything_that_a_fleet_costs(fleet: Fleet) -> None:
    fleet.call(10, premium=100, failed=5)  # a failed attempt at a dearer model before
    fleet.call(40, premium=30)  # dearer than the premium model
    fleet.call(3, state="failed")  # no answer: nothing to compare with
    fleet.call(8, source="judge", premium=80)  # would not exist without a fleet
    fleet.call(2, source="probe")
    fleet.call(6)  # answered when no premium model was set
    fleet.call(None, premium=70)  # nobody knows what it cost
    fleet.call(1, source="import", premium=50)  # not routed by omni
    found = fleet.savings().report()
    assert found.total is not None
    assert (found.total.premium_nusd, found.total.paid_nusd) == (130, 55)
    assert (found.unanswered_nusd, dict(found.evaluation_nusd)) == (3, {"judge": 8, "probe": 2})
    assert found.saving_nusd == 130 - 55 - 3 - 8 - 2
    assert found.saving_percent == pytest.approx(100 * 62 / 130)
    assert (found.uncompared_nusd, found.failed_nusd) == (6, 8)
    assert (found.unknown_attempts, found.imported_nusd) == (1, 49)
    assert sum(row.saving_nusd for row in found.by_day) == found.saving_nusd
    assert sum(row.saving_nusd for row in found.by_model) == found.saving_nusd + 8 + 2
    assert [b.model for b in found.baselines] == [PREMIUM]


def test_savings_are_signed_and_unknown_without_a_baseline(fleet: Fleet) -> None:
    fleet.call(6)
    found = fleet.savings().report()
    assert (found.saving_nusd, found.saving_percent, found.measured_share) == (None, None, None)
    fleet.call(40, premium=30)
    found = fleet.savings().report()
    assert found.saving_nusd == -10
    assert found.measured_share is None  # nothing was saved


def test_savings_say_what_they_rest_on(fleet: Fleet) -> None:
    fleet.call(10, premium=70, task="coding")  # published
    fleet.call(10, premium=30, task="math")  # seen by this user
    fleet.call(10, premium=30, model=DEAR)  # an estimate

    def priors(task: str, model: str) -> Prior | None:
        if (task, model) == ("coding", CHEAP):
            return Prior(0.8, 20.0, "SWE-bench 55")
        return Prior(0.8, 5.0, "estimate: as its predecessor") if model == DEAR else None

    table = QualityTable(priors, {("math", CHEAP): (3.0, 1.0)})
    found = fleet.savings(table).report()
    assert {e.kind: (e.calls, e.saving_nusd) for e in found.evidence} == {
        "observed": (1, 20), "published": (1, 60), "estimate": (1, 20),
    }  # fmt: skip
    assert found.measured_share == pytest.approx(0.8)


def test_a_correction_moves_the_saving(fleet: Fleet) -> None:
    fleet.call(10, premium=100)
    (request,) = fleet.store.db.execute("SELECT id FROM requests").fetchone()
    with fleet.rollups.recounting(request):
        fleet.store.db.execute(
            "INSERT INTO adjustments (request, n, at, who, reason, delta_nusd)"
            " VALUES (?, 1, 0, 'me', 'wrong price', 25)",
            (request,),
        )
        fleet.store.db.execute("UPDATE requests SET adjusted_nusd = 25")
    assert fleet.savings().report().saving_nusd == 65
    assert fleet.costs().overview().today.cost_nusd == 35
    assert fleet.rebuild.check().sound


@on_a_file
def test_reports_read_no_more_than_their_days(fleet: Fleet) -> None:
    fleet.call(1, at=at(1))
    fleet.call(2, at=at(18))
    assert fleet.reports.daily(day_key(date(2026, 11, 2)), day_key(date(2026, 11, 30))).keys() == {
        20261118
    }
    plan = " ".join(
        row["detail"]
        for row in fleet.store.db.execute(
            "EXPLAIN QUERY PLAN SELECT model, sum(cost_nusd) FROM rollup_day"
            " WHERE day BETWEEN 20261101 AND 20261130 GROUP BY model"
        )
    )
    assert "day>? AND day<?" in plan


def test_an_alias_of_the_zone_recounts_nothing(tmp_path: Path) -> None:
    with_name = Fleet(tmp_path / "omni.db", zone="UTC")
    with_name.call(5)
    assert same_zone("UTC", "Etc/UTC")
    assert not same_zone("UTC", "Europe/London")
    alias = Fleet(tmp_path / "omni.db", zone="Etc/UTC")
    assert alias.report_zone()() == "UTC"
    assert alias.told == []
    with_name.store.close()
    alias.store.close()
