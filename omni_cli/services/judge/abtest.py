"""A/B tests of a role: a share of its conversations goes to a challenger (B7).

A conversation stays with its arm. It counts once, when it has been quiet for a while: as bad
where a request failed or the user's outcomes are below the middle, else as good. From then on
it is frozen, so that the evidence may be looked at at any time (domain/abtest.py).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from msgspec import Struct

from omni_cli.domain.abtest import AbTest, Evidence, Unit, UnitCalls, champions_per_block, evidence
from omni_cli.domain.document import document
from omni_cli.domain.errors import AssertionFailed, NotFound, UsageError
from omni_cli.domain.money import format_usd, usd, usd_string
from omni_cli.domain.periods import DAY_MS, iso
from omni_cli.domain.record import asdict, replace
from omni_cli.ports import Clock

if TYPE_CHECKING:
    from omni_cli.repositories import Trials
    from omni_cli.services.fleet.fleet import FleetService


class ArmReport(Struct, frozen=True):
    """``units`` settled, ``counted`` of them by the metric; money in nano-dollars a unit."""

    model: str
    units: int
    counted: int
    open: int
    good: int
    cost_nusd: int | None
    per_unit_nusd: float | None
    latency_ms: float | None


class Report(Struct, frozen=True):
    test: AbTest
    settings: Settings
    champion: ArmReport
    challenger: ArmReport
    evidence: Evidence
    spent_nusd: int
    verdict: str

    @property
    def may_promote(self) -> bool:
        return shown(self) != ""


def shown(report: Report) -> str:
    """Why the challenger may take over, or ""."""
    settings, found = report.settings, report.evidence
    if found.shown_better(settings.alpha):
        return "the challenger is shown to be better"
    old, new = report.champion.per_unit_nusd, report.challenger.per_unit_nusd
    cheaper = old is not None and new is not None and new < old
    if settings.goal == "cheaper" and cheaper and found.within(settings.margin):
        return f"the challenger costs less and is worse by less than {settings.margin:.0%}"
    return ""


def verdict_of(report: Report) -> str:
    if report.evidence.shown_worse(report.settings.alpha):
        return "the challenger is shown to be worse"
    why = shown(report)
    if why:
        return why
    if not report.evidence.blocks:
        return "too early to say anything"
    return "no difference shown so far"


def report_document(report: Report) -> dict[str, Any]:
    """What ``omni ab status --json`` prints for each test."""
    test, found = report.test, report.evidence

    def arm(own: ArmReport, rate: tuple[float, float, float] | None) -> dict[str, Any]:
        return {
            "model": own.model,
            "conversations": own.units,
            **document(own, "counted", "open", "good"),
            "rate": None if rate is None else round(rate[0], 6),
            "interval": None if rate is None else [round(rate[1], 6), round(rate[2], 6)],
            "cost_usd": usd(own.cost_nusd),
            "cost_per_conversation_usd": None
            if own.per_unit_nusd is None
            else usd_string(round(own.per_unit_nusd)),
            "latency_ms": None if own.latency_ms is None else round(own.latency_ms),
        }

    return {
        **document(test, "id", "role", "state"),
        "reason": test.reason or None,
        "share": test.share,
        **document(report.settings, "alpha", "metric", "goal"),
        "started_at": iso(test.started_at),
        "ended_at": iso(test.ended_at),
        "champion": arm(report.champion, found.champion),
        "challenger": arm(report.challenger, found.challenger),
        "e_value_better": round(found.better, 4),
        "e_value_worse": round(found.worse, 4),
        "p_value_better": round(min(1.0, 1 / found.better), 6),
        "p_value_worse": round(min(1.0, 1 / found.worse), 6),
        "challenger_spent_usd": usd_string(report.spent_nusd),
        "verdict": report.verdict,
        "may_promote": report.may_promote,
    }


Metric = Literal["success", "rating"]
Goal = Literal["better", "cheaper"]


class Settings(Struct, frozen=True):
    """``alpha``: the chance, at most, that an equal challenger is ever shown better (or worse).

    ``metric`` success: every quiet conversation counts; rating: those that the user rated.
    ``goal`` cheaper: enough if it costs less and is worse by less than ``margin``.
    ``max_nusd``: the most that the challenger's calls may cost, None: no limit.
    ``settle_s``: how long a conversation must be quiet. ``auto``: promote when shown.
    """

    alpha: float = 0.05
    metric: Metric = "success"
    goal: Goal = "better"
    margin: float = 0.05
    max_nusd: int | None = None
    settle_s: float = 600.0
    auto: bool = False


class Arm(Struct, frozen=True):
    """Who leads the role for one request. ``number`` 1 is the challenger's."""

    test: int
    number: int
    model: str


def _drawn() -> float:
    return random.random()  # looked up when a test runs: most processes never load it


class AbTests(Struct, kw_only=True, eq=False):
    """Args:
    fleet: made on demand: a chat that is in no test needs none.
    note: told of tests that end by themselves.
    """

    trials: Trials
    fleet: Callable[[], FleetService]
    clock: Clock
    draw: Callable[[], float] = _drawn
    note: Callable[[str], None] = lambda _: None

    # --- the router's seam -------------------------------------------------------------------

    def arm(self, role: str, conversation: int | None) -> Arm | None:
        """Who leads ``role`` for this request; None where no test runs, or the conversation
        began before it."""
        test = self.trials.running(role)
        if test is None:
            return None
        settings = Settings(**test.settings)
        oldest = self.trials.oldest_open(test.id)
        if oldest is not None and oldest < self._now() - settings.settle_s * 1000:
            self.evaluate(test)
            test = self.trials.running(role)
            if test is None:
                return None
        if conversation is not None:
            number = self.trials.arm(test.id, conversation)
            if number is None:
                return None
        else:
            number = int(self.draw() < test.share)
        if number and self._overspent(test, settings):
            return None
        return Arm(test.id, number, test.challenger if number else test.champion)

    def joined(self, test: AbTest, unit: int) -> bool:
        """Whether a conversation is in a test already."""
        return self.trials.arm(test.id, unit) is not None

    def join(self, arm: Arm, unit: int) -> None:
        """A request of this arm goes out: its conversation, or itself, is in the test."""
        self.trials.join(arm.test, unit, arm.number, at_ms=self._now())

    def _overspent(self, test: AbTest, settings: Settings) -> bool:
        if settings.max_nusd is None or self._spent(test) < settings.max_nusd:
            return False
        self._end(test, "stopped", f"the challenger has cost {format_usd(settings.max_nusd)}")
        return True

    def _spent(self, test: AbTest) -> int:
        settled = sum(
            unit.cost_nusd or 0 for unit in self.trials.units(test.id, settled=True) if unit.arm
        )
        return settled + sum(
            self.trials.calls(test.role, unit.unit).known_nusd
            for unit in self.trials.units(test.id, settled=False)
            if unit.arm
        )

    # --- the user's commands -----------------------------------------------------------------

    def start(self, role_name: str, challenger: str, share: float, settings: Settings) -> AbTest:
        """Begin; the challenger is activated.

        Raises:
            NotFound: no such role or model.
            UsageError: a number out of range, a test that runs already, an empty role.
        """
        if not 0 < share < 1:
            raise UsageError("--share lies between 0 and 100 %", hint="for example --share 10%")
        if not 0 < settings.alpha <= 0.5:
            raise UsageError("--alpha lies between 0 and 0.5")
        fleet = self.fleet()
        role = fleet.role(role_name)
        if not role.models:
            raise UsageError(f"role {role_name} has no model to test against")
        model = fleet.model(challenger)
        champion = role.models[0].model
        if model.id == champion:
            raise UsageError(f"{model.id} is the first model of role {role_name} already")
        if self.trials.running(role_name) is not None:
            raise UsageError(
                f"a test of role {role_name} is running", hint=f"omni ab stop {role_name}"
            )
        if model.status != "active":
            fleet.set_status(model.id, "active")
        number = self.trials.start(
            AbTest(
                id=0,
                role=role_name,
                champion=champion,
                challenger=model.id,
                share=share,
                settings=asdict(settings),
                started_at=self._now(),
                ended_at=None,
                state="running",
                reason="",
            )
        )
        return next(test for test in self.trials.all(role_name) if test.id == number)

    def tests(self, role: str | None = None, *, ended: bool = False) -> list[AbTest]:
        """Newest first."""
        return [t for t in self.trials.all(role) if ended or t.state == "running"]

    def report(self, test: AbTest) -> Report:
        """Where a test stands; settles what is due first."""
        if test.state == "running":
            self._settle(test)
        return self._report(test)

    def evaluate(self, test: AbTest) -> Report:
        """Settle what is due, and end the test where its evidence or its money says so."""
        self._settle(test)
        report = self._report(test)
        settings = report.settings
        role = self.fleet().role(test.role)
        if not role.models or role.models[0].model != test.champion:
            self._end(test, "stopped", f"role {test.role} has another first model now")
        elif report.evidence.shown_worse(settings.alpha):
            self._end(test, "stopped", "the challenger is shown to be worse")
        elif settings.max_nusd is not None and report.spent_nusd >= settings.max_nusd:
            self._end(test, "stopped", f"the challenger has cost {format_usd(report.spent_nusd)}")
        elif settings.auto and report.may_promote:
            self._promote(test, shown(report))
        return report

    def evaluate_all(self) -> list[AbTest]:
        """Every running test; returns those that ended by it."""
        before = [test for test in self.trials.all() if test.state == "running"]
        for test in before:
            self.evaluate(test)
        after = {test.id: test for test in self.trials.all()}
        return [after[test.id] for test in before if after[test.id].state != "running"]

    def promote(self, role: str, *, force: bool = False) -> Report:
        """The challenger becomes the role's first model, the champion its second.

        Raises:
            NotFound: no test of the role is running.
            AssertionFailed: it is not shown to be better, and ``force`` is not given.
        """
        test = self._running(role)
        report = self.report(test)
        if not report.may_promote and not force:
            raise AssertionFailed(
                f"{test.challenger} is not shown to be {report.settings.goal} yet: "
                f"{report.verdict}",
                hint="wait for more conversations, or --force",
            )
        self._promote(test, shown(report) or "by the user, before it was shown")
        return report

    def stop(self, role: str, reason: str = "stopped by the user") -> AbTest:
        """Raises NotFound: no test of the role is running."""
        test = self._running(role)
        self._end(test, "stopped", reason)
        return test

    def _running(self, role: str) -> AbTest:
        test = self.trials.running(role)
        if test is None:
            raise NotFound(
                f"no test of role {role!r} is running",
                hint=f"omni ab start {role} --challenger MODEL --share 10%",
            )
        return test

    def _promote(self, test: AbTest, reason: str) -> None:
        fleet = self.fleet()
        with fleet.change("ab.promote", test.role, test.champion, test.challenger):
            fleet.assign_role(test.role, test.champion, 2)
            fleet.assign_role(test.role, test.challenger, 1)
            self._end(test, "promoted", reason)

    def _end(self, test: AbTest, state: str, reason: str) -> None:
        if self.trials.end(test.id, state=state, reason=reason, at_ms=self._now()):
            self.note(f"A/B test of role {test.role}: {state}, {reason}")

    # --- evidence ----------------------------------------------------------------------------

    def _settle(self, test: AbTest) -> None:
        settings = Settings(**test.settings)
        now = self._now()
        for unit in self.trials.units(test.id, settled=False):
            calls = self.trials.calls(test.role, unit.unit)
            if calls.pending or (not calls.calls and now - unit.joined_at < DAY_MS):
                continue
            if calls.last_at > now - settings.settle_s * 1000:
                continue
            self.trials.settle(
                test.id,
                replace(
                    unit,
                    settled_at=now,
                    good=_good(calls, settings.metric),
                    cost_nusd=calls.cost_nusd,
                    latency_ms=calls.latency_ms,
                ),
            )

    def _report(self, test: AbTest) -> Report:
        settings = Settings(**test.settings)
        done = self.trials.units(test.id, settled=True)
        waiting = self.trials.units(test.id, settled=False)
        outcomes = [
            [bool(unit.good) for unit in done if unit.arm == arm and unit.good is not None]
            for arm in (0, 1)
        ]
        found = evidence(
            outcomes[0],
            outcomes[1],
            champions=champions_per_block(test.share),
            alpha=settings.alpha,
        )
        arms = [
            _arm(model, [u for u in done if u.arm == arm], sum(u.arm == arm for u in waiting))
            for arm, model in ((0, test.champion), (1, test.challenger))
        ]
        report = Report(test, settings, arms[0], arms[1], found, self._spent(test), "")
        return replace(report, verdict=verdict_of(report))

    def _now(self) -> int:
        return int(self.clock() * 1000)


def _good(calls: UnitCalls, metric: Metric) -> bool | None:
    if not calls.calls:
        return None
    if metric == "rating":
        return None if calls.value is None else calls.value >= 0.5
    if calls.failed:
        return False
    return calls.value is None or calls.value >= 0.5


def _arm(model: str, units: Sequence[Unit], waiting: int) -> ArmReport:
    costs = [unit.cost_nusd for unit in units]
    known = [cost for cost in costs if cost is not None]
    times = [unit.latency_ms for unit in units if unit.latency_ms is not None]
    complete = len(known) == len(costs) and bool(costs)
    return ArmReport(
        model,
        len(units),
        sum(unit.good is not None for unit in units),
        waiting,
        sum(unit.good is True for unit in units),
        sum(known) if complete else None,
        sum(known) / len(known) if complete else None,
        sum(times) / len(times) if times else None,
    )
