"""A recommendation as JSON values: what ``omni recommend --json`` and the gateway give."""

import math
from collections.abc import Iterable
from typing import Any

from msgspec import Struct

from omni_cli.domain.document import document
from omni_cli.domain.money import format_usd, usd
from omni_cli.domain.periods import iso
from omni_cli.domain.recommend import Finding
from omni_cli.domain.words import counted
from omni_cli.records import StoredAdvice
from omni_cli.services.judge.advice import AdviceService, Verified
from omni_cli.services.judge.proof import Prover


class Told(Struct, frozen=True):
    """A recommendation with what it really saved and what its last proof showed, if anything."""

    advice: StoredAdvice
    verified: Verified | None
    proof: str | None

    def document(self) -> dict[str, Any]:
        return advice_document(self.advice, self.verified, self.proof)

    @property
    def outcome(self) -> str:
        """What an applied one really saved, in a sentence."""
        verified = self.verified
        if verified is None:
            return "applied; what it saves shows after a whole day of calls"
        saved = verified.saved_nusd
        return (
            f"applied; {'saved' if saved >= 0 else 'cost more by'} {format_usd(abs(saved))} over "
            f"{counted(verified.calls, 'call')} "
            f"({format_usd(verified.before_per_call_nusd)} → "
            f"{format_usd(verified.after_per_call_nusd)} per call)"
            + ("" if saved >= 0 else ": consider taking it back")
        )


def open_saving_nusd(found: Iterable[StoredAdvice]) -> int:
    """What the open ones would save in a month, nano-dollars; not all are about money."""
    return sum(
        advice.finding.saving_monthly_nusd or 0 for advice in found if advice.status == "pending"
    )


class Telling(Struct, eq=False):
    """What every face shows of recommendations."""

    advice: AdviceService
    prover: Prover

    def every(self, *, decided: bool = False) -> list[Told]:
        """All that are open or applied; with ``decided`` dismissed ones too."""
        shown = ("pending", "applied")
        return [self.of(a) for a in self.advice.refresh() if decided or a.status in shown]

    def of(self, advice: StoredAdvice) -> Told:
        return Told(advice, self.advice.verify(advice), self.prover.told(advice.id))


def advice_document(
    advice: StoredAdvice, verified: Verified | None, proof: str | None
) -> dict[str, Any]:
    """The fleet spec's recommendation. Money as decimal strings, null where it is not about
    money; ``confidence`` null where no evidence tells one.

    Args:
        proof: what its last proof showed, in a sentence.
    """
    finding = advice.finding
    return {
        "id": advice.id,
        "type": finding.type,
        "priority": finding.priority,
        "title": finding.title,
        "current": {
            "model": finding.current or None,
            **_pace(finding, finding.daily_nusd),
        },
        "recommended": {
            "model": finding.recommended or None,
            "status": None
            if not finding.recommended
            else "standby"
            if finding.standby
            else "active",
            **_pace(finding, finding.recommended_daily_nusd),
        },
        "savings": {
            "daily": _dollars(finding.saving_daily_nusd),
            "monthly": _dollars(finding.saving_monthly_nusd),
            "yearly": _dollars(finding.saving_yearly_nusd),
            "daily_usd": usd(finding.saving_daily_nusd),
            "monthly_usd": usd(finding.saving_monthly_nusd),
            "yearly_usd": usd(finding.saving_yearly_nusd),
        },
        "impact": finding.impact,
        "reasoning": finding.reasoning,
        "implementation": implementation(finding, advice.id),
        "effort": finding.effort,
        "confidence": _down(finding.confidence, 1000),
        "sample_size": finding.sample,
        "days": finding.days,
        "status": advice.status,
        "decided_at": iso(advice.decided_at_ms),
        "undo": f"omni recommend undo {advice.id}" if advice.status == "applied" else None,
        "proof": proof,
        "verified": None if verified is None else document(verified),
    }


def _pace(finding: Finding, daily_nusd: int | None) -> dict[str, Any]:
    """How often, and at what cost: exact, and as the fleet spec writes it."""
    calls = finding.calls_per_day
    return {
        "calls_per_day": round(calls, 1) or None,
        "frequency": frequency(calls) or None,
        "daily_cost_usd": usd(daily_nusd),
        "dailyCost": _dollars(daily_nusd),
    }


def frequency(calls_per_day: float) -> str:
    """For a person: "every 15 minutes", "3 times a day", "every 4 days"; "" for never."""
    if calls_per_day <= 0:
        return ""
    if calls_per_day >= _OFTEN:
        minutes = 1440 / calls_per_day
        return f"every {minutes:.0f} minutes" if minutes >= 2 else f"{calls_per_day:,.0f} a day"
    if calls_per_day >= 1.5:
        return f"{calls_per_day:.0f} times a day"
    days = 1 / calls_per_day
    return "once a day" if days < 1.5 else f"every {days:.0f} days"


def _dollars(nusd: int | None) -> str | None:
    return None if nusd is None else format_usd(nusd)


#: Calls a day from which on their distance is told.
_OFTEN = 24


def implementation(finding: Finding, number: int) -> str:
    """What to type."""
    if finding.action.kind == "none":
        return finding.action.command
    return f"omni recommend apply {number}"


def confidence_text(finding: Finding) -> str:
    """For a person: "88%", or "-" where no evidence tells."""
    sure = _down(finding.confidence, 100)
    return "-" if sure is None else f"{sure:.0%}"


def _down(share: float | None, parts: int) -> float | None:
    """Rounded down, and never 1: 0.9999 is not certain."""
    return None if share is None else min(math.floor(share * parts + 1e-9), parts - 1) / parts
