"""The ladder of a checked request: a cheaper model first, dearer ones where its answer fails."""

from omni_cli.domain.routing import NO_EVIDENCE, Candidate, Decision

#: A model below this share of the best one's quality is not worth a first try.
FIRST_TRY_SHARE = 0.6
_RUNGS = 3


def ladder(decision: Decision) -> list[str]:
    """At most three model ids in order of expected cost: the cheapest that may do, the one that
    routing would take, and the best. Models of unknown price come last."""
    eligible = [c for c in decision.candidates if c.eligible]
    eligible = [c for c in eligible if not c.unsure] or eligible
    if not eligible:
        return []
    best = max(eligible, key=_quality)
    chosen = next((c for c in eligible if c.model == decision.model), eligible[0])
    worth = [c for c in eligible if _quality(c) >= FIRST_TRY_SHARE * _quality(best)]
    cheapest = min(worth, key=_cost)
    rungs = {c.model: c for c in (cheapest, chosen, best)}
    return [c.model for c in sorted(rungs.values(), key=_cost)][:_RUNGS]


def _quality(candidate: Candidate) -> float:
    return NO_EVIDENCE if candidate.quality is None else candidate.quality


def _cost(candidate: Candidate) -> tuple[bool, int, float, str]:
    cost = candidate.expected_cost_nusd
    return cost is None, cost or 0, _quality(candidate), candidate.model
