"""Findings from usage: what to change, what it would save, and how sure that is.

Pure: the services give measured sums, these functions give findings. Money is nano-dollars. A
month is 30 days and a year 12 such months, as in the fleet spec's example ($2.20 a day is $66 a
month and $792 a year).
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from msgspec import Struct, field

from omni_cli.domain.analytics import Totals, per_day
from omni_cli.domain.drift import Drift
from omni_cli.domain.models import retirement_words
from omni_cli.domain.money import format_usd
from omni_cli.domain.quality import beta_tail
from omni_cli.domain.record import asdict
from omni_cli.domain.words import counted

FindingType = Literal[
    "cheaper_model",
    "repetitive_traffic",
    "shadowed_model",
    "prompt_caching",
    "response_caching",
    "batching",
    "unhealthy_model",
    "retiring_model",
    "drifting_model",
    "new_model",
    "unused_model",
    "budget_overrun",
    "missing_capability",
]
Level = Literal["high", "medium", "low"]

DAYS_PER_MONTH = 30
MONTHS_PER_YEAR = 12
#: Fewer calls than this prove nothing.
LEAST_CALLS = 20
#: A candidate must be this likely to be about as good (see AS_GOOD) to be named.
LEAST_CONFIDENCE = 0.5
#: "As good": at least this share of the current model's quality.
AS_GOOD = 0.95
#: A model that needs no activation is named before another that would save up to this much more.
_NEWCOMER = 1.1
#: A model fails too often from this share of its tries on, and urgently from that.
_SICK, _VERY_SICK = 0.1, 0.3
#: A shadow of a new model is laid out for so many days.
_TRIAL_DAYS = 7
#: Savings below this a month are not worth a person's minute, nano-dollars (10 cents).
LEAST_MONTHLY_NUSD = 100_000_000
#: From these monthly savings on, a finding is of high or medium priority.
HIGH_MONTHLY_NUSD = 50 * 10**9
MEDIUM_MONTHLY_NUSD = 5 * 10**9


class Action(Struct, frozen=True):
    """What applying does. ``kind``: role (put ``model`` first in ``target``), rule (prefer it for
    task type ``target``), replace (``model`` takes the place of model ``target`` wherever that
    serves), canary (``model`` leads role ``target`` for a share of its traffic first), standby
    (take ``target`` out), or none (a person has to act: ``command`` says what to type). A
    ``model`` on standby is activated."""

    kind: Literal["role", "rule", "replace", "canary", "standby", "none"]
    target: str = ""
    model: str = ""
    command: str = ""


class Finding(Struct, frozen=True):
    """One recommendation. ``key`` is the same for the same advice on another day.

    ``daily_nusd`` and ``recommended_daily_nusd``: cost a day now and after, None where the advice
    is not about money. ``confidence`` 0..1, worked out from the evidence: of a cheaper model, that
    it is about as good; of a failing one or of repeated questions, that the true share is above
    the bar (both Bayesian, see ``sure_above``). None where nothing was measured that tells.
    ``sample``: calls that it rests on, over ``days``. ``standby``: ``recommended`` is not active.
    """

    key: str
    type: FindingType
    title: str
    reasoning: str
    action: Action
    effort: str
    sample: int
    days: int
    confidence: float | None = None
    current: str = ""
    recommended: str = ""
    calls_per_day: float = 0.0
    daily_nusd: int | None = None
    recommended_daily_nusd: int | None = None
    urgent: bool = False
    scope: Mapping[str, str] = field(default_factory=dict)
    standby: bool = False

    @property
    def saving_daily_nusd(self) -> int | None:
        if self.daily_nusd is None or self.recommended_daily_nusd is None:
            return None
        return self.daily_nusd - self.recommended_daily_nusd

    @property
    def saving_monthly_nusd(self) -> int | None:
        daily = self.saving_daily_nusd
        return None if daily is None else daily * DAYS_PER_MONTH

    @property
    def saving_yearly_nusd(self) -> int | None:
        monthly = self.saving_monthly_nusd
        return None if monthly is None else monthly * MONTHS_PER_YEAR

    @property
    def priority(self) -> Level:
        monthly = self.saving_monthly_nusd or 0
        if self.urgent or monthly >= HIGH_MONTHLY_NUSD:
            return "high"
        return "medium" if monthly >= MEDIUM_MONTHLY_NUSD else "low"

    @property
    def impact(self) -> Level:
        """How much an answer may change: the spec's "impact". Low where the same model goes on
        answering, or another whose quality is sure; medium where nothing tells."""
        if self.type in ("cheaper_model", "repetitive_traffic", "shadowed_model"):
            sure = self.confidence or 0.0
            return "low" if sure >= 0.8 else "medium" if sure >= 0.6 else "high"
        return "medium" if self.type in ("unhealthy_model", "retiring_model") else "low"


def sure_above(bar: float, hits: int, of: int) -> float:
    """The chance that the true share is ``bar`` or more after ``hits`` of ``of`` (each 0..n), every
    share being equally likely before: the tail of a Beta distribution."""
    return beta_tail(1.0 + hits, 1.0 + of - hits, bar)


class Candidate(Struct, frozen=True):
    """Another model for a piece of work: its cost for the same tokens, and the chance that it is
    about as good as the one in use. ``standby``: it would have to be activated."""

    model: str
    cost_nusd: int
    as_good: float
    basis: str
    standby: bool = False


class Work(Struct, frozen=True):
    """What one model did for one role (or, without a role, one task type) in a window of ``days``
    dates, the last of them today. ``totals`` include ``today``."""

    scope: Literal["role", "task"]
    name: str
    model: str
    totals: Totals
    today: Totals
    days: int
    candidates: Sequence[Candidate]
    #: Share of its calls whose kind of task is usually done in bulk (see recommend_traffic.py).
    bulk_share: float = 0.0

    @property
    def calls_per_day(self) -> float:
        return float(per_day(self.totals.calls, self.today.calls, self.days))

    @property
    def daily_nusd(self) -> int:
        return int(per_day(self.totals.cost_nusd, self.today.cost_nusd, self.days))

    @property
    def repetitive(self) -> bool:
        """Many small calls, such as heartbeats: every half hour or oftener, short in and out."""
        calls = max(self.totals.calls, 1)
        return (
            self.calls_per_day >= 48
            and self.totals.input_tokens / calls <= 500
            and self.totals.output_tokens / calls <= 100
        )


class Proof(Struct, frozen=True):
    """What a shadow showed: the mean difference of scores with its interval (-1..1), the e-value of
    what is claimed, and the challenger's cost as a share of the other's, None where unknown."""

    pairs: int
    better: bool
    mean: float
    low: float
    high: float
    e: float
    cost_ratio: float | None


def cheaper_model(work: Work) -> Finding | None:
    """The candidate that saves most among those that are likely as good."""
    totals = work.totals
    if totals.calls < LEAST_CALLS or totals.unknown_attempts or not totals.cost_nusd:
        return None
    sure = [
        candidate
        for candidate in work.candidates
        if candidate.model != work.model
        and candidate.as_good >= LEAST_CONFIDENCE
        and candidate.cost_nusd < totals.cost_nusd
    ]
    if not sure:
        return None

    def worth(candidate: Candidate) -> float:
        saved = (totals.cost_nusd - candidate.cost_nusd) * candidate.as_good
        return saved if candidate.standby else saved * _NEWCOMER

    best = max(sure, key=lambda c: (worth(c), c.as_good))  # of equals the first
    daily = work.daily_nusd
    after = daily * best.cost_nusd // totals.cost_nusd
    if (daily - after) * DAYS_PER_MONTH < LEAST_MONTHLY_NUSD:
        return None
    times = totals.cost_nusd / best.cost_nusd if best.cost_nusd else None
    cheaper = f"{times:.1f} times cheaper" if times else "free"
    small = work.repetitive
    what = f"{work.scope} {work.name}"
    return Finding(
        key=f"cheaper:{work.scope}:{work.name}:{work.model}:{best.model}",
        type="repetitive_traffic" if small else "cheaper_model",
        title=f"{'Add' if best.standby else 'Switch'} "
        + (f"{best.model} for {what}" if best.standby else f"{what} to {best.model}"),
        reasoning=(
            f"{totals.calls:,} calls in {counted(work.days, 'day')} cost "
            f"{format_usd(totals.cost_nusd)} at {work.model}; the same tokens at "
            f"{best.model} cost {format_usd(best.cost_nusd)}, "
            f"{cheaper}. It is {min(best.as_good, 0.99):.0%} likely to be about as good "
            f"({best.basis})."
            + (" It is on standby: applying this activates it." if best.standby else "")
            + (" The calls are small and alike, as status checks are." if small else "")
        ),
        action=Action("role" if work.scope == "role" else "rule", work.name, best.model),
        effort="one command",
        sample=totals.calls,
        days=work.days,
        confidence=best.as_good,
        current=work.model,
        recommended=best.model,
        calls_per_day=work.calls_per_day,
        daily_nusd=daily,
        recommended_daily_nusd=after,
        scope={work.scope: work.name},
        standby=best.standby,
    )


def shadowed_model(work: Work, challenger: str, proof: Proof) -> Finding | None:
    """A challenger that was shown, in the shadow of a role, to be as good for less, or better.

    Args:
        work: what the role's first model did there.
    """
    dearer = proof.cost_ratio is None or proof.cost_ratio >= 1
    if dearer and not proof.better:
        return None
    daily = work.daily_nusd
    after = None if proof.cost_ratio is None else round(daily * proof.cost_ratio)
    cost = "its cost is not known"
    if proof.cost_ratio is not None:
        cost = f"it costs {proof.cost_ratio:.0%} of what {work.model} costs"
    return Finding(
        key=f"shadowed:{work.name}:{work.model}:{challenger}",
        type="shadowed_model",
        title=f"Let {challenger} lead role {work.name}, on a share of it first",
        reasoning=(
            f"On {counted(proof.pairs, 'request')} of your own that both answered, {challenger} is "
            f"shown to be {'better' if proof.better else 'good enough'}: {proof.mean:+.1%} of a "
            f"score [{proof.low:+.1%} to {proof.high:+.1%}], e = {proof.e:.3g}; for the same "
            f"questions {cost}."
        ),
        action=Action("canary", work.name, challenger),
        effort="one command",
        sample=proof.pairs,
        days=work.days,
        confidence=1 - 1 / max(proof.e, 1.0),
        current=work.model,
        recommended=challenger,
        calls_per_day=work.calls_per_day,
        daily_nusd=daily if after is not None else None,
        recommended_daily_nusd=after,
        scope={"role": work.name},
    )


def unhealthy_model(
    model: str, totals: Totals, days: int, uses: Sequence[str], spare: str, kept: Sequence[str] = ()
) -> Finding | None:
    """A model in use that fails more than one try in ten.

    Args:
        uses: roles, rules and chains that name it.
        spare: who takes its place, "" where nobody can.
        kept: those of ``uses`` that the spare cannot serve, with the reason in brackets.
    """
    if totals.attempts < LEAST_CALLS or not uses:
        return None
    share = totals.failed_attempts / totals.attempts
    if share < _SICK:
        return None
    told = ""
    if spare:
        told = f" {spare} is healthy and takes its place in all of these; {model} stays behind it"
        told += f", except in {', '.join(kept)}." if kept else "."
    return Finding(
        key=f"unhealthy:{model}",
        type="unhealthy_model",
        title=f"Replace {model}, which fails {share:.0%} of its tries",
        reasoning=(
            f"{totals.failed_attempts:,} of {totals.attempts:,} tries in "
            f"{counted(days, 'day')} failed; it serves {', '.join(uses)}.{told}"
        ),
        action=Action("replace", model, spare)
        if spare
        else Action("none", command=f"omni models standby {model}"),
        effort="one command",
        sample=totals.attempts,
        days=days,
        confidence=sure_above(_SICK, totals.failed_attempts, totals.attempts),
        current=model,
        recommended=spare,
        urgent=share >= _VERY_SICK,
    )


def retiring_model(
    model: str, retired_on: str, uses: Sequence[str], today: str, other: str = ""
) -> Finding:
    """A model in use that its provider stops serving. ``other``: who may do instead."""
    gone = retired_on <= today
    names = f"-m {model} -m {other}" if other else f"-m {model} -m ANOTHER"
    command = f"omni compare 'a question of yours' {names}"
    roles = [use.removeprefix("role ") for use in uses if use.startswith("role ")]
    if gone and other:
        command = f"omni models activate {other}"
        if roles:
            command = f"omni roles switch {roles[0]} {other}"
    return Finding(
        key=f"retiring:{model}",
        type="retiring_model",
        title=f"{model} {'was' if gone else 'will be'} retired on {retired_on}",
        reasoning=f"It serves {', '.join(uses)}; its provider "
        f"{retirement_words(retired_on, today)}."
        + (f" {other} is likely about as good." if other else ""),
        action=Action("none", command=command),
        effort="choose another model",
        sample=0,
        days=0,
        current=model,
        recommended=other,
        urgent=True,
    )


def new_model(
    work: Work, model: str, each_nusd: int, judge_nusd: int, pairs: int
) -> Finding | None:
    """A model that a connected provider has newly, for the role where it would save most.

    Args:
        each_nusd: what it takes for a request of this work.
        judge_nusd: what a judge takes to read a pair of answers, 0 without one.
        pairs: after which answers that never differ are shown good enough.
    """
    calls = work.totals.calls
    if work.scope != "role" or calls < LEAST_CALLS or not work.calls_per_day:
        return None
    was = work.totals.cost_nusd / calls
    after = round(work.daily_nusd * each_nusd / was) if was else work.daily_nusd
    if (work.daily_nusd - after) * DAYS_PER_MONTH < LEAST_MONTHLY_NUSD:
        return None
    cost = pairs * (each_nusd + judge_nusd)
    share = min(1.0, pairs / (_TRIAL_DAYS * work.calls_per_day))
    days = pairs / (share * work.calls_per_day)
    percent = max(1, math.ceil(100 * share))
    return Finding(
        key=f"new:{work.name}:{model}",
        type="new_model",
        title=f"Try {model}, which is new, in the shadow of role {work.name}",
        reasoning=(
            f"For the same tokens it costs {each_nusd / was:.0%} of {work.model}. Whether it is "
            f"good enough is not known: a shadow tells on your own requests, for about "
            f"{format_usd(cost)} over some {days:.0f} days ({pairs} pairs at least"
            + (", read by a judge)." if judge_nusd else ", compared by checks alone).")
        ),
        action=Action(
            "none",
            command=f"omni shadow start {work.name} --challenger {model} --share {percent}% "
            f"--budget {_cents(math.ceil(cost / days))}/day",
        ),
        effort="one command",
        sample=calls,
        days=work.days,
        current=work.model,
        recommended=model,
        calls_per_day=work.calls_per_day,
        scope={"role": work.name},
    )


def drifting_model(drift: Drift, roles: Sequence[str], other: str = "") -> Finding:
    """A model that is not what it was. ``roles``: led by it; ``other``: who may do instead."""
    role = roles[0] if roles else ""
    command = f"omni compare 'a question of yours' -m {drift.model} -m {other or 'ANOTHER'}"
    if role and other:
        command = f"omni shadow start {role} --challenger {other} --share 20%"
    return Finding(
        key=f"drift:{drift.model}:{drift.task}:{drift.change}:{drift.at_ms}",
        type="drifting_model",
        title=f"{drift.model} has changed: {drift.change} at {drift.task or 'its work'}",
        reasoning=f"{drift.told}. What was learned of it before counts a quarter since."
        + (f" It leads role {', '.join(roles)}." if roles else ""),
        action=Action("none", command=command),
        effort="look at it",
        sample=drift.calls,
        days=0,
        current=drift.model,
        recommended=other,
        urgent=bool(roles),
    )


def unused_model(model: str, days: int) -> Finding:
    return Finding(
        key=f"unused:{model}",
        type="unused_model",
        title=f"Put {model} on standby",
        reasoning="It is active, serves no role, rule or chain, and had no call in "
        f"{counted(days, 'day')}.",
        action=Action("standby", model),
        effort="one command",
        sample=0,
        days=days,
        current=model,
    )


def budget_overrun(label: str, budget_id: int, projected_nusd: int, limit_nusd: int) -> Finding:
    over = projected_nusd - limit_nusd
    return Finding(
        key=f"overrun:{budget_id}",
        type="budget_overrun",
        title=f"The {label} will not last",
        reasoning=(
            f"At this pace the period ends at {format_usd(projected_nusd)}, "
            f"{format_usd(over)} above the limit of {format_usd(limit_nusd)}; calls are refused "
            f"from then on. omni usage --by model says what costs most."
        ),
        action=Action(
            "none", command=f"omni budgets raise {budget_id} --by {_cents(over)} --for 7d"
        ),
        effort="decide",
        sample=0,
        days=0,
        urgent=True,
    )


def _cents(nusd: int) -> str:
    """At least so many dollars, in whole cents."""
    return f"{-(-nusd // 10**7) / 100:.2f}"


def missing_capability(badge: str, models: Sequence[str]) -> Finding:
    """Args:
    models: not active, known to have the badge, the best suited first; n >= 1.
    """
    return Finding(
        key=f"missing:{badge}",
        type="missing_capability",
        title=f"No active model is known to have {badge}",
        reasoning="A request that needs it is refused, or goes to a model that may lack it. "
        f"Known to have it, and on standby: {', '.join(models[:3])}.",
        action=Action("none", command=f"omni models activate {models[0]}"),
        effort="one command",
        sample=0,
        days=0,
        recommended=models[0],
        standby=True,
    )


def rank(finding: Finding) -> tuple[bool, int, str]:
    """What every face sorts by: urgent ones first, then by monthly saving, then by title."""
    return not finding.urgent, -(finding.saving_monthly_nusd or 0), finding.title


def finding_to_json(finding: Finding) -> dict[str, Any]:
    """JSON values that ``finding_from_json`` reads back."""
    return asdict(finding)


def finding_from_json(data: Mapping[str, Any]) -> Finding:
    values = dict(data)
    values["action"] = Action(**values["action"])
    return Finding(**values)
