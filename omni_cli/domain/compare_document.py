"""The results of a comparison as JSON values, under the spec's names."""

import math
from typing import Any

from omni_cli.domain.compare import Results
from omni_cli.domain.statistics import (
    Interval,
)


def results_document(found: Results) -> dict[str, Any]:
    """ModelComparisonResults of the model-provider-management spec: milliseconds, US dollars,
    rates 0 to 1; null where unknown, or where no difference is shown."""
    return {
        "summary": {
            "winner": found.winner,
            "bestForCost": found.best["cost"].name,
            "bestForSpeed": found.best["speed"].name,
            "bestForAccuracy": found.best["accuracy"].name if found.scored else None,
        },
        "detailedResults": {
            name: {
                "performance": {
                    "avgResponseTime": _rounded(_value(own.latency_ms), 1),
                    "successRate": _rounded(_value(own.success), 6),
                    "accuracyScore": _rounded(_value(own.accuracy), 6),
                    "consistencyScore": _rounded(own.consistency, 6),
                },
                "cost": {
                    "totalCost": _usd(own.total_nusd),
                    "costPerRequest": _usd(_value(own.per_request_nusd)),
                    "costPerAccurateResult": _usd(own.per_accurate_nusd),
                },
                "quality": {
                    "accurateResults": own.accurate,
                    "partialResults": own.partial,
                    "failedResults": own.failed,
                },
            }
            for name, own in found.figures.items()
        },
        "recommendations": [
            {
                "modelId": item.model,
                "reason": item.reason,
                # Down: a cap that rounding passes is none.
                "confidence": math.floor(item.confidence * 10_000) / 10_000,
                "tradeoffs": list(item.tradeoffs),
            }
            for item in found.recommendations
        ],
    }


def intervals_document(found: Results) -> dict[str, Any]:
    """The 95 % intervals, [low, high], who is tied with the best, and why nobody won."""
    return {
        "confidenceLevel": 0.95,
        "noWinner": found.no_winner or None,
        "tied": {criterion: list(best.tied) for criterion, best in found.best.items()},
        "intervals": {
            name: {
                "avgResponseTime": _ends(own.latency_ms, 1.0, floor=0.0),
                "successRate": _ends(own.success, 1.0),
                "accuracyScore": _ends(own.accuracy, 1.0),
                "costPerRequest": _ends(own.per_request_nusd, 1e-9, floor=0.0),
            }
            for name, own in found.figures.items()
        },
    }


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)


def _usd(nusd: float | None) -> float | None:
    """Means keep parts of a nano-dollar: two that differ must not look alike."""
    return None if nusd is None else round(nusd / 1e9, 15)


def _ends(
    interval: Interval | None, scale: float, *, floor: float | None = None
) -> list[float | None] | None:
    if interval is None:
        return None
    low = interval.low if floor is None else max(interval.low, floor)
    return [None if math.isinf(end) else round(end * scale, 12) for end in (low, interval.high)]


def _value(interval: Interval | None) -> float | None:
    return None if interval is None else interval.value
