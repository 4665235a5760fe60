"""What an A/B test has shown so far, in words and as a document."""

from typing import TYPE_CHECKING, Any

from msgspec import Struct

from omni_cli.domain.abtest import (
    AbTest,
    Evidence,
)
from omni_cli.domain.money import usd
from omni_cli.domain.periods import iso
from omni_cli.domain.pricing import usd_string

if TYPE_CHECKING:
    from omni_cli.services.judge.abtest import Settings


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
    settings: "Settings"
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
            "counted": own.counted,
            "open": own.open,
            "good": own.good,
            "rate": None if rate is None else round(rate[0], 6),
            "interval": None if rate is None else [round(rate[1], 6), round(rate[2], 6)],
            "cost_usd": usd(own.cost_nusd),
            "cost_per_conversation_usd": None
            if own.per_unit_nusd is None
            else usd_string(round(own.per_unit_nusd)),
            "latency_ms": None if own.latency_ms is None else round(own.latency_ms),
        }

    return {
        "id": test.id,
        "role": test.role,
        "state": test.state,
        "reason": test.reason or None,
        "share": test.share,
        "alpha": report.settings.alpha,
        "metric": report.settings.metric,
        "goal": report.settings.goal,
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
