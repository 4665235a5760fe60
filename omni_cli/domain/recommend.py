"""Findings from usage: what to change, what it would save, and how sure that is.

Pure: the services give measured sums, these functions give findings. Money is nano-dollars. A
month is 30 days and a year 12 such months, as in the fleet spec's example ($2.20 a day is $66 a
month and $792 a year).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from omni_cli.domain.analytics import Totals
from omni_cli.domain.pricing import format_usd

FindingType = Literal[
    "cheaper_model",
    "repetitive_traffic",
    "prompt_caching",
    "response_caching",
    "batching",
    "unhealthy_model",
    "retiring_model",
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
#: Savings below this a month are not worth a person's minute, nano-dollars (10 cents).
LEAST_MONTHLY_NUSD = 100_000_000
#: From these monthly savings on, a finding is of high or medium priority.
HIGH_MONTHLY_NUSD = 50 * 10**9
MEDIUM_MONTHLY_NUSD = 5 * 10**9


@dataclass(frozen=True, slots=True)
class Action:
    """What applying does. ``kind``: role (put ``model`` first in ``target``), rule (prefer it for
    task type ``target``), standby (take ``target`` out), or none (a person has to act:
    ``command`` says what to type)."""

    kind: Literal["role", "rule", "standby", "none"]
    target: str = ""
    model: str = ""
    command: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """One recommendation. ``key`` is the same for the same advice on another day.

    ``daily_nusd`` and ``recommended_daily_nusd``: cost a day now and after, None where the advice
    is not about money. ``confidence`` 0..1; ``sample``: calls that it rests on, over ``days``.
    """

    key: str
    type: FindingType
    title: str
    reasoning: str
    action: Action
    effort: str
    sample: int
    days: int
    confidence: float
    current: str = ""
    recommended: str = ""
    calls_per_day: float = 0.0
    daily_nusd: int | None = None
    recommended_daily_nusd: int | None = None
    urgent: bool = False
    scope: Mapping[str, str] = field(default_factory=dict)

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
        """How much an answer may change: the spec's "impact". Low where the quality is sure."""
        if self.type in ("unused_model", "prompt_caching", "batching"):
            return "low"
        return "low" if self.confidence >= 0.8 else "medium" if self.confidence >= 0.6 else "high"


@dataclass(frozen=True, slots=True)
class Candidate:
    """Another model for a piece of work: its cost for the same tokens, and the chance that it is
    about as good as the one in use."""

    model: str
    cost_nusd: int
    as_good: float
    basis: str


@dataclass(frozen=True, slots=True)
class Work:
    """What one model did for one role (or, without a role, one task type) in a window."""

    scope: Literal["role", "task"]
    name: str
    model: str
    totals: Totals
    days: int
    candidates: Sequence[Candidate]
    #: Share of its calls whose kind of task is usually done in bulk (see recommend_traffic.py).
    bulk_share: float = 0.0

    @property
    def calls_per_day(self) -> float:
        return self.totals.calls / max(self.days, 1)

    @property
    def repetitive(self) -> bool:
        """Many small calls, such as heartbeats: every half hour or oftener, short in and out."""
        calls = max(self.totals.calls, 1)
        return (
            self.calls_per_day >= 48
            and self.totals.input_tokens / calls <= 500
            and self.totals.output_tokens / calls <= 100
        )


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
    best = max(
        sure, key=lambda c: ((totals.cost_nusd - c.cost_nusd) * c.as_good, c.as_good, c.model)
    )
    days = max(work.days, 1)
    daily, after = totals.cost_nusd // days, best.cost_nusd // days
    if (daily - after) * DAYS_PER_MONTH < LEAST_MONTHLY_NUSD:
        return None
    times = totals.cost_nusd / best.cost_nusd if best.cost_nusd else None
    cheaper = f"{times:.1f} times cheaper" if times else "free"
    small = work.repetitive
    what = f"{work.scope} {work.name}"
    return Finding(
        key=f"cheaper:{work.scope}:{work.name}:{work.model}:{best.model}",
        type="repetitive_traffic" if small else "cheaper_model",
        title=f"Switch {what} to {best.model}",
        reasoning=(
            f"{totals.calls:,} calls in {work.days} days cost {format_usd(totals.cost_nusd)} at "
            f"{work.model}; the same tokens at {best.model} cost {format_usd(best.cost_nusd)}, "
            f"{cheaper}. It is {best.as_good:.0%} likely to be about as good ({best.basis})."
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
    )


def unhealthy_model(
    model: str, totals: Totals, days: int, uses: Sequence[str], spare: str
) -> Finding | None:
    """A model in use that fails more than one try in ten."""
    if totals.attempts < LEAST_CALLS or not uses:
        return None
    share = totals.failed_attempts / totals.attempts
    if share < 0.1:
        return None
    roles = [use.removeprefix("role ") for use in uses if use.startswith("role ")]
    action = (
        Action("role", roles[0], spare)
        if roles and spare
        else Action("none", command=f"omni models standby {model}")
    )
    return Finding(
        key=f"unhealthy:{model}",
        type="unhealthy_model",
        title=f"Replace {model}, which fails {share:.0%} of its tries",
        reasoning=(
            f"{totals.failed_attempts:,} of {totals.attempts:,} tries in {days} days failed; "
            f"it serves {', '.join(uses)}."
            + (f" {spare} stands next and is healthy." if spare else "")
        ),
        action=action,
        effort="one command",
        sample=totals.attempts,
        days=days,
        confidence=min(0.99, totals.attempts / (totals.attempts + 20)),
        current=model,
        recommended=spare,
        urgent=share >= 0.3,
    )


def retiring_model(model: str, retired_on: str, uses: Sequence[str], today: str) -> Finding:
    """A model in use that its provider stops serving."""
    gone = retired_on <= today
    return Finding(
        key=f"retiring:{model}",
        type="retiring_model",
        title=f"{model} {'was' if gone else 'will be'} retired on {retired_on}",
        reasoning=f"It serves {', '.join(uses)}; calls {'fail' if gone else 'will fail'} then.",
        action=Action("none", command=f"omni compare ... -m {model} -m ANOTHER"),
        effort="choose another model",
        sample=0,
        days=0,
        confidence=0.95,
        current=model,
        urgent=True,
    )


def unused_model(model: str, days: int) -> Finding:
    return Finding(
        key=f"unused:{model}",
        type="unused_model",
        title=f"Put {model} on standby",
        reasoning=f"It is active, serves no role, rule or chain, and had no call in {days} days.",
        action=Action("standby", model),
        effort="one command",
        sample=0,
        days=days,
        confidence=0.9,
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
            "from then on."
        ),
        action=Action("none", command="omni costs; omni recommend lists what saves most"),
        effort="decide",
        sample=0,
        days=0,
        confidence=0.7,
        urgent=True,
    )


def missing_capability(badge: str, models: Sequence[str]) -> Finding:
    return Finding(
        key=f"missing:{badge}",
        type="missing_capability",
        title=f"No active model is known to have {badge}",
        reasoning=f"Requests that need it go unanswered; {', '.join(models[:3])} would do.",
        action=Action("none", command=f"omni models activate {models[0]}"),
        effort="one command",
        sample=0,
        days=0,
        confidence=0.9,
        recommended=models[0],
    )


def ranked(findings: Sequence[Finding]) -> list[Finding]:
    """Urgent ones first, then by monthly saving, then by title."""
    return sorted(findings, key=lambda f: (not f.urgent, -(f.saving_monthly_nusd or 0), f.title))


def finding_to_json(finding: Finding) -> dict[str, Any]:
    """JSON values that ``finding_from_json`` reads back."""
    from dataclasses import asdict

    return asdict(finding)


def finding_from_json(data: Mapping[str, Any]) -> Finding:
    values = dict(data)
    values["action"] = Action(**values["action"])
    return Finding(**values)
