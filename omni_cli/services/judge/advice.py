"""Recommendations from the ledger's evidence: found, applied, taken back, and checked later."""

from collections.abc import Callable, Collection, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from omni_cli.domain.analytics import Totals, day_key, key_date, sum_totals
from omni_cli.domain.drift import Drift
from omni_cli.domain.errors import NotFound, OmniError, UsageError
from omni_cli.domain.evidence import BAD_RATE
from omni_cli.domain.hosts import is_here
from omni_cli.domain.ledger import EVALUATION
from omni_cli.domain.models import BADGES, ModelInfo, Provider
from omni_cli.domain.money import NUSD_PER_USD
from omni_cli.domain.periods import DAY_MS, day_start, local_date
from omni_cli.domain.quality import QualityTable
from omni_cli.domain.recommend import (
    Finding,
    Proof,
    Work,
    budget_overrun,
    cheaper_model,
    drifting_model,
    missing_capability,
    new_model,
    rank,
    retiring_model,
    shadowed_model,
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
from omni_cli.domain.shadow import least_pairs
from omni_cli.ports import Clock
from omni_cli.records import StoredAdvice
from omni_cli.repositories import Advice, Assignments, Discoveries, Models, Providers, Reports
from omni_cli.services.fleet.fleet import FleetService
from omni_cli.services.judge.advice_candidates import AdviceActions, Candidates, namable
from omni_cli.services.judge.outcomes import NEWS_MS
from omni_cli.services.money.costs import BudgetLine
from omni_cli.services.money.prices import PriceBook, rates_of, utc_day

if TYPE_CHECKING:
    from omni_cli.services.judge.deploys import Deploys
    from omni_cli.services.judge.shadow import Report as ShadowReport

#: Evidence of this many days is read.
WINDOW_DAYS = 28
_NO_TOTALS = Totals()
#: Of what a shadow has shown, first on this share of the role's traffic and for so long; it is
#: taken back where so much more than before fails.
CANARY_SHARE, CANARY_S, CANARY_SLACK = 0.2, 86_400.0, 0.05
#: Tokens of a judge's instructions and of its verdict, about.
_RUBRIC, _VERDICT = 160, 20
#: Advice that rests on the quality table alone: proof goes before it.
_GUESSES = ("cheaper_model", "repetitive_traffic")


class Verified(Struct, frozen=True):
    """What an applied recommendation really saved: cost per call before and after, nano-dollars,
    and the saving over the calls since; negative when it cost more."""

    calls: int
    before_per_call_nusd: int
    after_per_call_nusd: int
    saved_nusd: int


class AdviceService(Struct, kw_only=True, eq=False):
    """Args:
    table: the quality table as routing uses it.
    budgets: how each budget's period is expected to end.
    repeats: stored questions that came again, from a time in ms on, and since today began.
    cached: roles that remember answers.
    usable: whether a provider could be asked, that is, its key is there.
    actions: what applies advice and takes it back.
    shadows: where each that runs stands.
    drifts: changes of models that are news.
    premium: the premium model's id, which judges; raises OmniError without one.
    """

    advice: Advice
    reports: Reports
    providers: Providers
    models: Models
    assignments: Assignments
    fleet: FleetService
    table: Callable[[], QualityTable]
    budgets: Callable[[], tuple[BudgetLine, ...]]
    repeats: Callable[[int, int], list[Repeats]]
    cached: Callable[[], Collection[str]]
    usable: Callable[[Provider], bool]
    actions: AdviceActions
    shadows: "Callable[[], list[ShadowReport]]"
    deploys: "Callable[[], Deploys]"
    drifts: Callable[[], list[Drift]]
    discoveries: Discoveries
    premium: Callable[[], str]
    zone: str
    clock: Clock

    def refresh(self) -> list[StoredAdvice]:
        """Look at the evidence anew; pending recommendations come best first, decided ones
        after them."""
        findings = self._find()
        self.advice.refresh(findings, now_ms=self._now())
        return sorted(
            self.advice.all(), key=lambda a: (a.status != "pending", *rank(a.finding), a.id)
        )

    def get(self, advice_id: int) -> StoredAdvice:
        found = self.advice.get(advice_id)
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
        label = f"recommendation {advice_id}"
        if action.kind == "canary":
            undo = self._canary(found, label)
            self.advice.decide(advice_id, "applied", now_ms=self._now(), undo=undo)
            return self.get(advice_id)
        with self.fleet.change("recommend.apply", label, None, found.finding.title):
            undo = self.actions.do(action)
            self.advice.decide(advice_id, "applied", now_ms=self._now(), undo=undo)
        return self.get(advice_id)

    def _canary(self, found: StoredAdvice, label: str) -> dict[str, Any]:
        """Let a share of the role's traffic show it first; returns how to take it back."""
        finding = found.finding
        role = self.fleet.role(finding.action.target)
        names = [item.model for item in role.models]
        order = [finding.recommended, *(n for n in names if n != finding.recommended)]
        document = self.deploys().applier.current()
        document["roles"][role.name]["models"] = [
            {"model": name, "priority": place} for place, name in enumerate(order, 1)
        ]
        today = local_date(self._now(), self.zone)
        first = day_key(today - timedelta(days=WINDOW_DAYS - 1))
        was = self._sum(first, day_key(today), {"role": role.name, "model": finding.current})
        success = was.attempt_success or 1.0
        conditions = [f"successRate < {max(success - CANARY_SLACK, 0.5):.2f}"]
        if was.calls and was.cost_nusd and finding.recommended_daily_nusd is not None:
            conditions.append(f"costPerRequest > {was.cost_nusd / was.calls / NUSD_PER_USD:.9f}")
        self.deploys().begin(
            document,
            share=CANARY_SHARE,
            for_s=CANARY_S,
            condition=" || ".join(conditions),
            target=label,
        )
        under_way = self.deploys().stored.open()
        models = [[item.model, item.priority] for item in role.models]
        return {
            "roles": {role.name: models},
            "rules": {},
            "chains": {},
            "status": {},
            "deploy": None if under_way is None else under_way.id,
        }

    def dismiss(self, advice_id: int) -> StoredAdvice:
        self.get(advice_id)
        self.advice.decide(advice_id, "dismissed", now_ms=self._now())
        return self.get(advice_id)

    def undo(self, advice_id: int) -> StoredAdvice:
        """Take a decision back: it is pending again, since what it would save is as real as
        before. Of an applied one later changes elsewhere stay."""
        found = self.get(advice_id)
        if found.status == "dismissed":
            self.advice.decide(advice_id, "pending", now_ms=self._now())
            return self.get(advice_id)
        if found.status != "applied" or not found.undo:
            raise UsageError(f"recommendation {advice_id} is not applied")
        undo = found.undo
        if "deploy" in undo:
            under_way = self.deploys().stored.open()
            if under_way is not None and under_way.id == undo["deploy"]:
                self.deploys().abort(f"recommendation {advice_id} was taken back")
                self.advice.decide(advice_id, "undone", now_ms=self._now())
                return self.get(advice_id)
        with self.fleet.change("recommend.undo", f"recommendation {advice_id}", None, undo):
            self.actions.take_back(undo)
            self.advice.decide(advice_id, "pending", now_ms=self._now())
        return self.get(advice_id)

    def verify(self, advice: StoredAdvice) -> Verified | None:
        """What it saved since it was applied; None without a call before or since.

        Days count whole: the day of applying belongs to neither side.
        """
        finding = advice.finding
        if advice.status != "applied" or advice.decided_at_ms is None or not finding.scope:
            return None
        decided = local_date(advice.decided_at_ms, self.zone)
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
        return sum_totals(self.reports.totals(first, last, (), filters).values())

    # --- finding -----------------------------------------------------------------------------

    def _find(self) -> list[Finding]:
        now = self._now()
        today = local_date(now, self.zone)
        first = day_key(today - timedelta(days=WINDOW_DAYS - 1))
        last = day_key(today)
        days = self._days(first, last)
        fleet = self.models.of_providers(p.slug for p in self.providers.all() if p.enabled)
        active = [model for model in fleet if model.status == "active"]
        prices = PriceBook(self.models, now_ms=now)
        prices.load(model.id for model in fleet)
        rates = {
            model.id: rates_of(None if row is None else row.price)
            for model in fleet
            for row in (prices.current(model.id),)
        }
        candidates = Candidates(self._namable(fleet, utc_day(now)), rates, self.table())
        work = self._work(first, last, days, candidates)
        found = [rule(one) for one in work for rule in (cheaper_model, batching)]
        found += self._about_newcomers(work, candidates)
        found += [
            response_caching(repeats, days)
            for repeats in self.repeats(now - WINDOW_DAYS * DAY_MS, day_start(today, self.zone))
            if repeats.role not in self.cached()
        ]
        findings = [finding for finding in found if finding is not None]
        proven = self._about_shadows(first, last, days)
        beaten = {(f.scope.get("role"), f.current) for f in proven}
        findings = [
            f
            for f in findings
            if not (f.type in _GUESSES and (f.scope.get("role"), f.current) in beaten)
        ]
        findings += proven
        findings += self._about_models(first, last, days, active, candidates, utc_day(now))
        findings += self._about_drifts(first, last, active, candidates)
        findings += self._about_badges(active, candidates)
        findings += self._about_budgets()
        return findings

    def _namable(self, fleet: list[ModelInfo], today: str) -> tuple[ModelInfo, ...]:
        providers = self.providers.all()
        return namable(
            fleet,
            today=today,
            simulated={p.slug for p in providers if p.simulated},
            usable={p.slug for p in providers if p.enabled and self.usable(p)},
            here={p.slug for p in providers if is_here(p.base_url) and not p.simulated},
        )

    def _days(self, first: int, last: int) -> int:
        """Days that the evidence spans: a young ledger is not stretched over four weeks."""
        used = self.reports.daily(first, last)
        if not used:
            return 1
        return max((key_date(last) - key_date(min(used))).days + 1, 1)

    def _work(self, first: int, last: int, days: int, candidates: Candidates) -> list[Work]:
        roles = {role.name for role in self.assignments.roles()}
        grouped = self._grouped(first, last, roles)
        now = self._grouped(last, last, roles)
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
            bulk = sum(part.calls for task, part in tasks.items() if task in BULK_TASKS)
            found.append(
                Work(
                    "role" if scope == "role" else "task",
                    name,
                    model,
                    totals,
                    sum_totals(now.get((scope, name, model), {}).values()),
                    days,
                    candidates.of(model, tasks, totals),
                    bulk / max(totals.calls, 1),
                )
            )
        return found

    def _grouped(
        self, first: int, last: int, roles: Collection[str]
    ) -> dict[tuple[str, str, str], dict[str, Totals]]:
        """Real work by role (or type of task without one) and model, split by type of task."""
        by = self.reports.totals(first, last, ("source", "role", "task", "model"))
        grouped: dict[tuple[str, str, str], dict[str, Totals]] = {}
        for (source, role, task, model), totals in by.items():
            if source in EVALUATION or source == "import" or not model:
                continue
            if role and role not in roles:
                continue
            key = ("role", role, model) if role else ("task", task, model)
            if key[1]:
                tasks = grouped.setdefault(key, {})
                tasks[task] = tasks.get(task, _NO_TOTALS) + totals
        return grouped

    def _about_shadows(self, first: int, last: int, days: int) -> list[Finding]:
        """What shadows have shown, as far as it is worth a change."""
        found = []
        for report in self.shadows():
            shadow, seen = report.shadow, report.evidence
            if not report.advised or seen.mean is None:
                continue
            filters = {"role": shadow.role, "model": shadow.champion}
            work = Work(
                "role",
                shadow.role,
                shadow.champion,
                self._sum(first, last, filters),
                self._sum(last, last, filters),
                days,
                (),
            )
            better = report.shown == "better"
            proof = Proof(
                seen.pairs,
                better,
                seen.mean,
                -1.0 if seen.low is None else seen.low,
                1.0 if seen.high is None else seen.high,
                seen.better if better else seen.good_enough,
                report.cost_ratio,
            )
            finding = shadowed_model(work, shadow.challenger, proof)
            if finding is not None:
                found.append(finding)
        return found

    def _about_newcomers(self, work: list[Work], candidates: Candidates) -> list[Finding | None]:
        """New models of connected providers, each where it would save most."""
        known = {model.id for model in candidates.models}
        premium = self._premium_id()
        judge = candidates.rates.get(premium)
        pairs = least_pairs()
        found: list[Finding | None] = []
        for model in sorted(known & self._newly_found()):
            rate = candidates.rates.get(model)
            if rate is None:
                continue
            best, most = None, 0.0
            for one in work:
                calls = max(one.totals.calls, 1)
                used = (one.totals.input_tokens // calls, one.totals.output_tokens // calls)
                each = rate.cost_nusd(used[0], 0, used[1])
                read = 0
                if judge is not None and premium not in (model, one.model):
                    read = 2 * judge.cost_nusd(used[0] + 2 * used[1] + _RUBRIC, 0, _VERDICT)
                offer = new_model(one, model, each, read, pairs)
                saves = one.calls_per_day * (one.totals.cost_nusd / calls - each)
                if offer is not None and saves > most:
                    best, most = offer, saves
            found.append(best)
        return found

    def _newly_found(self) -> set[str]:
        """Models that providers have newly."""
        since = self._now() - NEWS_MS
        found = self.discoveries.history(limit=1_000)
        return {one.model for one in found if one.kind == "new" and one.at_ms >= since}

    def _premium_id(self) -> str:
        try:
            return self.premium()
        except OmniError:
            return ""

    def _about_drifts(
        self, first: int, last: int, active: list[ModelInfo], candidates: Candidates
    ) -> list[Finding]:
        in_use = {model.id for model in active}
        return [
            drifting_model(
                drift,
                [
                    r.name
                    for r in self.assignments.roles()
                    if r.models[:1] and r.models[0].model == drift.model
                ],
                candidates.substitute(drift.model, self._tasks(first, last, drift.model)),
            )
            for drift in self.drifts()
            if drift.model in in_use
        ]

    def _about_models(
        self,
        first: int,
        last: int,
        days: int,
        active: list[ModelInfo],
        candidates: Candidates,
        today: str,
    ) -> list[Finding]:
        findings: list[Finding] = []
        by_model = self._by_model(first, last)
        now = self._by_model(last, last)
        simulated = {p.slug for p in self.providers.all() if p.simulated}
        for model in active:
            uses = self.fleet.uses(model.id)
            totals = by_model.get(model.id, _NO_TOTALS)
            if model.retired_on and model.provider not in simulated and (uses or totals.calls):
                findings.append(
                    retiring_model(
                        model.id,
                        model.retired_on,
                        uses or ["recent calls"],
                        today,
                        candidates.substitute(model.id, self._tasks(first, last, model.id)),
                    )
                )
            sick = self._unhealthy(model, totals, days, uses, by_model, candidates)
            if sick is not None:
                findings.append(sick)
            if not uses and not totals.attempts and days >= WINDOW_DAYS:
                findings.append(unused_model(model.id, days))
            rate = candidates.rates.get(model.id)
            if rate is not None:
                cached = prompt_caching(
                    "this traffic",
                    model.id,
                    totals,
                    now.get(model.id, _NO_TOTALS),
                    days,
                    rate.input_pusd / 1_000_000,
                    rate.cached_pusd / 1_000_000,
                )
                if cached is not None:
                    findings.append(cached)
        return findings

    def _by_model(self, first: int, last: int) -> dict[str, Totals]:
        found = self.reports.totals(first, last, ("model",))
        return {model: totals for (model,), totals in found.items()}

    def _tasks(self, first: int, last: int, model: str) -> dict[str, Totals]:
        found = self.reports.totals(first, last, ("task",), {"model": model})
        return {task: totals for (task,), totals in found.items() if task and totals.calls}

    def _about_badges(self, active: list[ModelInfo], candidates: Candidates) -> list[Finding]:
        missing = [b for b in BADGES if active and not any(m.has(b) for m in active)]
        return [
            missing_capability(b, known) for b in missing if (known := candidates.with_badge(b))
        ]

    def _unhealthy(
        self,
        model: ModelInfo,
        totals: Totals,
        days: int,
        uses: list[str],
        by_model: Mapping[str, Totals],
        candidates: Candidates,
    ) -> Finding | None:
        found = unhealthy_model(model.id, totals, days, uses, "")
        if found is None:
            return None
        lasting = {m.id for m in candidates.models if m.status == "active"}
        spare = self._spare(model.id, by_model, lasting)
        kept = self.actions.kept(model.id, spare) if spare else []
        return unhealthy_model(model.id, totals, days, uses, spare, kept)

    def _spare(self, model_id: str, by_model: Mapping[str, Totals], lasting: set[str]) -> str:
        """Who stands next to a model in a role or chain, or is in use at all, and does not fail
        as well."""
        beside = [[i.model for i in role.models] for role in self.assignments.roles()]
        beside += [[link.model for link in chain.links] for chain in self.assignments.chains()]
        names = [name for group in beside if model_id in group for name in group]
        others = sorted(lasting, key=lambda n: -by_model.get(n, _NO_TOTALS).calls)
        for name in [*names, *others]:
            success = by_model.get(name, _NO_TOTALS).attempt_success
            well = success is None or success >= BAD_RATE
            if name != model_id and name in lasting and well:
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
            for line in self.budgets()
            if line.projection is not None and line.projection.nusd > line.limit_nusd > 0
        ]

    def _now(self) -> int:
        return int(self.clock() * 1000)
