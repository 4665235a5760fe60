"""Recommendations from the ledger's evidence: found, applied, taken back, and checked later."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from omni_cli.domain.analytics import Totals, day_key, key_date, sum_totals
from omni_cli.domain.errors import NotFound, UsageError
from omni_cli.domain.models import BADGES, ModelInfo, Role, RoleModel
from omni_cli.domain.periods import local_date
from omni_cli.domain.prices import Rates
from omni_cli.domain.quality import QualityTable
from omni_cli.domain.recommend import (
    AS_GOOD,
    Candidate,
    Finding,
    Work,
    budget_overrun,
    cheaper_model,
    missing_capability,
    ranked,
    retiring_model,
    unhealthy_model,
    unused_model,
)
from omni_cli.domain.recommend_traffic import (
    BULK_TASKS,
    Repeats,
    batching,
    prompt_caching,
    response_caching,
)
from omni_cli.ports import Clock
from omni_cli.records import StoredAdvice
from omni_cli.repositories import Advice, Assignments, Models, Providers, Reports
from omni_cli.services.costs import BudgetLine
from omni_cli.services.fleet import FleetService
from omni_cli.services.prices import PriceBook, rates_of, utc_day

#: Evidence of this many days is read.
WINDOW_DAYS = 28
_NO_TOTALS = Totals()


class Budgeted(Protocol):
    """The budgets' outlook (services/costs.py)."""

    def __call__(self) -> tuple[BudgetLine, ...]: ...


@dataclass(frozen=True, slots=True)
class Verified:
    """What an applied recommendation really saved: cost per call before and after, nano-dollars,
    and the saving over the calls since; negative when it cost more."""

    calls: int
    before_per_call_nusd: int
    after_per_call_nusd: int
    saved_nusd: int


class AdviceService:
    """Args:
    table: the quality table as routing uses it.
    budgets: how each budget's period is expected to end.
    repeats: stored questions that came again, from a time in ms on.
    cached: roles that remember answers.
    """

    def __init__(
        self,
        *,
        advice: Advice,
        reports: Reports,
        providers: Providers,
        models: Models,
        assignments: Assignments,
        fleet: FleetService,
        table: Callable[[], QualityTable],
        budgets: Budgeted,
        repeats: Callable[[int], list[Repeats]],
        cached: Callable[[], Collection[str]],
        zone: str,
        clock: Clock,
    ) -> None:
        self._advice = advice
        self._reports = reports
        self._providers = providers
        self._models = models
        self._assignments = assignments
        self._fleet = fleet
        self._table = table
        self._budgets = budgets
        self._repeats = repeats
        self._cached = cached
        self._zone = zone
        self._clock = clock

    def refresh(self) -> list[StoredAdvice]:
        """Look at the evidence anew; pending recommendations come best first, decided ones
        after them."""
        findings = self._find()
        self._advice.refresh(findings, now_ms=self._now())
        order = {finding.key: place for place, finding in enumerate(findings)}
        return sorted(
            self._advice.all(),
            key=lambda a: (a.status != "pending", order.get(a.finding.key, len(order)), a.id),
        )

    def get(self, advice_id: int) -> StoredAdvice:
        found = self._advice.get(advice_id)
        if found is None:
            raise NotFound(f"no recommendation {advice_id}", hint="omni recommend lists them")
        return found

    def apply(self, advice_id: int) -> StoredAdvice:
        """Do what it says, as one revision. Raises UsageError where a person has to act."""
        found = self.get(advice_id)
        if found.status == "applied":
            raise UsageError(f"recommendation {advice_id} is applied already")
        action = found.finding.action
        if action.kind == "none":
            raise UsageError(
                "this one needs your decision", hint=f"it comes down to: {action.command}"
            )
        undo: dict[str, object]
        label = f"recommendation {advice_id}"
        with self._fleet.change("recommend.apply", label, None, found.finding.title):
            if action.kind == "role":
                role = self._fleet.role(action.target)
                undo = {"role": role.name, "models": [[m.model, m.priority] for m in role.models]}
                self._fleet.put_role(_first(role, action.model))
            elif action.kind == "rule":
                rule = self._fleet.add_rule(f"taskType == '{action.target}'", action.model, 1)
                undo = {"rule": rule.id}
            else:
                before = self._fleet.model(action.target).status
                undo = {"model": action.target, "status": before}
                self._fleet.set_status(action.target, "standby")
            self._advice.decide(advice_id, "applied", now_ms=self._now(), undo=undo)
        return self.get(advice_id)

    def dismiss(self, advice_id: int) -> StoredAdvice:
        self.get(advice_id)
        self._advice.decide(advice_id, "dismissed", now_ms=self._now())
        return self.get(advice_id)

    def undo(self, advice_id: int) -> StoredAdvice:
        """Take an applied recommendation back; later changes elsewhere stay."""
        found = self.get(advice_id)
        if found.status == "dismissed":
            self._advice.decide(advice_id, "pending", now_ms=self._now())
            return self.get(advice_id)
        if found.status != "applied" or not found.undo:
            raise UsageError(f"recommendation {advice_id} is not applied")
        undo = found.undo
        with self._fleet.change("recommend.undo", f"recommendation {advice_id}", None, undo):
            if "role" in undo:
                role = self._fleet.role(undo["role"])
                models = tuple(RoleModel(model, priority) for model, priority in undo["models"])
                self._fleet.put_role(Role(role.name, role.description, models))
            elif "rule" in undo:
                self._fleet.remove_rule(undo["rule"])
            else:
                self._fleet.set_status(undo["model"], undo["status"])
            self._advice.decide(advice_id, "undone", now_ms=self._now())
        return self.get(advice_id)

    def verify(self, advice: StoredAdvice) -> Verified | None:
        """What it saved since it was applied; None without a call before or since.

        Days count whole: the day of applying belongs to neither side.
        """
        finding = advice.finding
        if advice.status != "applied" or advice.decided_at_ms is None or not finding.scope:
            return None
        decided = local_date(advice.decided_at_ms, self._zone)
        scope = dict(finding.scope)
        before = self._sum(
            day_key(decided - timedelta(days=WINDOW_DAYS)),
            day_key(decided - timedelta(days=1)),
            scope | {"model": finding.current},
        )
        after = self._sum(day_key(decided + timedelta(days=1)), 99_991_231, scope)
        if not before.calls or not after.calls:
            return None
        was = before.cost_nusd // before.calls
        return Verified(
            calls=after.calls,
            before_per_call_nusd=was,
            after_per_call_nusd=after.cost_nusd // after.calls,
            saved_nusd=was * after.calls - after.cost_nusd,
        )

    def _sum(self, first: int, last: int, filters: Mapping[str, str]) -> Totals:
        return sum_totals(self._reports.totals(first, last, (), filters).values())

    # --- finding -----------------------------------------------------------------------------

    def _find(self) -> list[Finding]:
        now = self._now()
        today = local_date(now, self._zone)
        first = day_key(today - timedelta(days=WINDOW_DAYS - 1))
        last = day_key(today)
        days = self._days(first, last)
        fleet = self._models.of_providers(p.slug for p in self._providers.all() if p.enabled)
        active = [model for model in fleet if model.status == "active"]
        prices = PriceBook(self._models, now_ms=now)
        prices.load(model.id for model in fleet)
        rates = {
            model.id: rates_of(None if row is None else row.price)
            for model in fleet
            for row in (prices.current(model.id),)
        }
        found = [
            rule(work)
            for work in self._work(first, last, days, self._lasting(active, utc_day(now)), rates)
            for rule in (cheaper_model, batching)
        ]
        found += [
            response_caching(repeats, days)
            for repeats in self._repeats(now - WINDOW_DAYS * 86_400_000)
            if repeats.role not in self._cached()
        ]
        findings = [finding for finding in found if finding is not None]
        findings += self._about_models(first, last, days, fleet, active, rates, utc_day(now))
        findings += self._about_budgets()
        return ranked(findings)

    def _lasting(self, active: list[ModelInfo], today: str) -> list[ModelInfo]:
        """Models that their providers go on serving."""
        simulated = {p.slug for p in self._providers.all() if p.simulated}
        return [m for m in active if m.provider in simulated or (m.retired_on or "9") > today]

    def _days(self, first: int, last: int) -> int:
        """Days that the evidence spans: a young ledger is not stretched over four weeks."""
        used = self._reports.daily(first, last)
        if not used:
            return 1
        return max((key_date(last) - key_date(min(used))).days + 1, 1)

    def _work(
        self,
        first: int,
        last: int,
        days: int,
        active: list[ModelInfo],
        rates: Mapping[str, Rates | None],
    ) -> list[Work]:
        table = self._table()
        roles = {role.name for role in self._assignments.roles()}
        by = self._reports.totals(first, last, ("source", "role", "task", "model"))
        grouped: dict[tuple[str, str, str], dict[str, Totals]] = {}
        for (source, role, task, model), totals in by.items():
            if source in ("import", "compare", "judge", "probe", "test") or not model:
                continue
            if role and role not in roles:
                continue
            key = ("role", role, model) if role else ("task", task, model)
            if key[1]:
                tasks = grouped.setdefault(key, {})
                tasks[task] = tasks.get(task, _NO_TOTALS) + totals
        # One piece of advice for a job: about the model that costs most there.
        dearest: dict[tuple[str, str], tuple[int, str]] = {}
        for (scope, name, model), tasks in grouped.items():
            cost = sum_totals(tasks.values()).cost_nusd
            dearest[scope, name] = max(dearest.get((scope, name), (-1, "")), (cost, model))
        found = []
        for (scope, name, model), tasks in sorted(grouped.items()):
            if dearest[scope, name][1] != model:
                continue
            totals = sum_totals(tasks.values())
            candidates = [
                candidate
                for other in active
                if other.id != model
                and (candidate := self._candidate(other, model, tasks, totals, rates, table))
            ]
            bulk = sum(part.calls for task, part in tasks.items() if task in BULK_TASKS)
            found.append(
                Work(
                    "role" if scope == "role" else "task",
                    name,
                    model,
                    totals,
                    days,
                    candidates,
                    bulk / max(totals.calls, 1),
                )
            )
        return found

    def _candidate(
        self,
        other: ModelInfo,
        current: str,
        tasks: Mapping[str, Totals],
        totals: Totals,
        rates: Mapping[str, Rates | None],
        table: QualityTable,
    ) -> Candidate | None:
        """``other`` in place of ``current`` for the same tokens; None where it cannot do it."""
        rate = rates.get(other.id)
        if rate is None or "text" not in other.output_types:
            return None
        if "image" in tasks and "image" not in other.input_types:
            return None
        if "agent_step" in tasks and "function-calling" not in other.badges:
            return None
        mean_input = totals.input_tokens / max(totals.calls, 1)
        if other.context_window is not None and other.context_window < 2 * mean_input:
            return None
        calls = max(sum(t.calls for t in tasks.values()), 1)
        as_good = 0.0
        basis = ""
        heaviest = 0
        for task, part in tasks.items():
            if not part.calls:
                continue
            cell = table.cell(task, other.id)
            bar = AS_GOOD * table.cell(task, current).mean
            as_good += part.calls / calls * cell.chance_at_least(bar)
            if part.calls > heaviest:
                heaviest, basis = part.calls, cell.basis
        cost = rate.cost_nusd(totals.input_tokens, totals.cached_tokens, totals.output_tokens)
        return Candidate(other.id, cost, as_good, basis)

    def _about_models(
        self,
        first: int,
        last: int,
        days: int,
        fleet: list[ModelInfo],
        active: list[ModelInfo],
        rates: Mapping[str, Rates | None],
        today: str,
    ) -> list[Finding]:
        findings: list[Finding] = []
        by_model = {
            model: totals
            for (model,), totals in self._reports.totals(first, last, ("model",)).items()
        }
        simulated = {p.slug for p in self._providers.all() if p.simulated}
        for model in active:
            uses = self._fleet.uses(model.id)
            totals = by_model.get(model.id, _NO_TOTALS)
            if model.retired_on and model.provider not in simulated and (uses or totals.calls):
                findings.append(
                    retiring_model(model.id, model.retired_on, uses or ["recent calls"], today)
                )
            sick = unhealthy_model(model.id, totals, days, uses, self._spare(model.id, by_model))
            if sick is not None:
                findings.append(sick)
            if not uses and not totals.attempts and days >= WINDOW_DAYS:
                findings.append(unused_model(model.id, days))
            rate = rates.get(model.id)
            if rate is not None:
                cached = prompt_caching(
                    "this traffic",
                    model.id,
                    totals,
                    days,
                    rate.input_pusd / 1_000_000,
                    rate.cached_pusd / 1_000_000,
                )
                if cached is not None:
                    findings.append(cached)
        for badge in BADGES:
            known = [model.id for model in fleet if badge in model.badges]
            if known and active and not any(badge in model.badges for model in active):
                findings.append(missing_capability(badge, known))
        return findings

    def _spare(self, model_id: str, by_model: Mapping[str, Totals]) -> str:
        """The next model of a role that this one serves, if it does not fail as well."""
        for role in self._assignments.roles():
            names = [item.model for item in role.models]
            if model_id in names:
                for name in names:
                    success = by_model.get(name, _NO_TOTALS).attempt_success
                    if name != model_id and (success is None or success >= 0.9):
                        return name
        return ""

    def _about_budgets(self) -> list[Finding]:
        return [
            budget_overrun(
                line.status.budget.label,
                line.status.budget.id,
                line.projection.nusd,
                line.limit_nusd,
            )
            for line in self._budgets()
            if line.projection is not None and line.projection.nusd > line.limit_nusd > 0
        ]

    def _now(self) -> int:
        return int(self._clock() * 1000)


def _first(role: Role, model: str) -> Role:
    """The role with ``model`` first and the others after it in their order."""
    rest = [item.model for item in role.models if item.model != model]
    models = tuple(RoleModel(name, place) for place, name in enumerate([model, *rest], 1))
    return Role(role.name, role.description, models)
