"""What the source specs call things: the same facts as every face shows, under the specs' names.

The fleet spec (``/api``) writes for people: "$4.37", "8.5 seconds", "99.2%". The management spec
(``/api/ai``) writes numbers: US dollars, milliseconds, shares from 0 to 1. The registry spec has
parameters, context and prices. Exact amounts stand beside them as decimal text (``*_usd``). What
is unknown is null, never 0.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from omni_cli.domain.analytics import Totals, day_key
from omni_cli.domain.classify import classify
from omni_cli.domain.health import HealthStatus
from omni_cli.domain.models import ModelInfo, Provider
from omni_cli.domain.money import format_usd
from omni_cli.domain.periods import iso, local_date
from omni_cli.domain.prices import Price
from omni_cli.domain.tasks import Signals
from omni_cli.ports import Clock
from omni_cli.records import StoredAdvice
from omni_cli.repositories import Assignments, Models, Reports
from omni_cli.services.fleet.browse import Listed
from omni_cli.services.judge.compare_plan import ComparisonType
from omni_cli.services.judge.compare_report import Report
from omni_cli.services.judge.health_report import FleetHealth, health_document
from omni_cli.services.money.savings import Saved
from omni_cli.services.money.usage import UsageQuery, UsageReport, UsageService

#: What a dashboard may offer beside its providers (management spec, ProviderDashboard).
ACTIONS = ("add_provider", "test_all_providers", "refresh_health_status", "configure_failover")
#: Days that growth is counted over, against as many before.
_WEEK = 7
_NO_TOTALS = Totals()
#: What the management spec's performanceSettings are called here (``domain/models.py``).
SETTINGS_WORDS = {
    "timeout": "timeout_ms",
    "maxRetries": "max_retries",
    "retryDelay": "retry_delay_ms",
    "rateLimitRpm": "rate_limit_rpm",
    "batchSize": "batch_size",
}


class SpecDocuments:
    """Args:
    rating: the mean (0..1) and the number of the user's ratings of a model.
    timeout_ms, max_retries: what calls are made with where no chain says otherwise.
    """

    def __init__(
        self,
        *,
        usage: UsageService,
        reports: Reports,
        assignments: Assignments,
        rating: Callable[[str], tuple[float, int] | None],
        health: Callable[[], FleetHealth],
        clock: Clock,
        timeout_ms: int,
        max_retries: int,
    ) -> None:
        self._usage = usage
        self._reports = reports
        self._assignments = assignments
        self._rating = rating
        self._health = health
        self._clock = clock
        self._usual = {"timeout_ms": timeout_ms, "max_retries": max_retries}

    # --- models -------------------------------------------------------------------------------

    def models(self, rows: Iterable[Listed], *, numbers: bool) -> list[dict[str, Any]]:
        """One a row. ``numbers``: as the management spec has them, else as the fleet spec."""
        one = self._info(self._sums()) if numbers else self._card(self._sums())
        return [{**_registry(row), **one(row)} for row in rows]

    def _card(self, sums: "_Sums") -> Callable[[Listed], dict[str, Any]]:
        """The fleet spec's Model Configuration."""
        health = self._states()
        roles, rules = self._assignments.roles(), self._assignments.rules()

        def document(row: Listed) -> dict[str, Any]:
            model, today, month = row.model, sums.today(row.model.id), sums.month(row.model.id)
            rates = [_per_1k(row, kind) for kind in ("input", "output")]
            rating = self._rating(model.id)
            return {
                "model": model.wire_name,
                "costs": {
                    "inputPer1k": _dollars(rates[0]),
                    "outputPer1k": _dollars(rates[1]),
                    "avgPer1k": _dollars(_mean(rates)),
                },
                "capabilities": {
                    **dict.fromkeys(("coding", "reasoning", "creativity", "speed")),
                    **model.scores,
                    "context": model.context_window,
                },
                "assignedRoles": [
                    {"role": role.name, "priority": at.priority, "description": role.description}
                    for at, role in sorted(
                        (
                            (at, role)
                            for role in roles
                            for at in role.models
                            if at.model == model.id
                        ),
                        key=lambda found: (found[0].priority, found[1].name),
                    )
                ],
                "routingRules": [
                    {"condition": rule.condition, "priority": rule.priority}
                    for rule in rules
                    if rule.model == model.id
                ],
                "health": health.get(model.id) or health.get(model.provider),
                "usage": {
                    "callsToday": today.calls,
                    "tokensToday": today.total_tokens,
                    "costToday": format_usd(today.known_nusd if today.attempts else 0),
                    "callsThisMonth": month.calls,
                    "costThisMonth": format_usd(month.known_nusd if month.attempts else 0),
                },
                "performance": {
                    "avgResponseTime": _seconds(row.latency_ms),
                    "successRate": _percent(month.attempt_success),
                    "qualityScore": None if row.quality is None else round(100 * row.quality),
                    "userRating": None if rating is None else round(1 + 4 * rating[0], 1),
                },
                "enabled": model.status != "disabled",
                "addedAt": iso(model.added_at),
                "updatedAt": iso(model.updated_at),
            }

        return document

    def _info(self, sums: "_Sums") -> Callable[[Listed], dict[str, Any]]:
        """The management spec's ModelInfo."""

        def document(row: Listed) -> dict[str, Any]:
            model, today = row.model, sums.today(row.model.id)
            price = None if row.price is None else row.price.price
            return {
                "displayName": model.name,
                "modelType": model.type,
                "capabilities": {
                    "maxTokens": model.max_output,
                    "inputTypes": list(model.input_types),
                    "outputTypes": list(model.output_types),
                    "languages": None,
                    "specialties": list(model.strengths),
                },
                "performance": {
                    "avgResponseTime": row.latency_ms,
                    "successRate": sums.month(model.id).attempt_success,
                    "accuracyScore": row.quality,
                    "throughput": sums.per_minute(model.id),
                },
                "pricing": {
                    **_registry(row)["pricing"],
                    "inputCostPer1kTokens": _number(_per_1k(row, "input")),
                    "outputCostPer1kTokens": _number(_per_1k(row, "output")),
                    "minimumCost": _number(None if price is None else price.minimum_usd),
                    "freeThreshold": None if price is None else price.free_requests_per_month,
                },
                "usage": {
                    "totalRequests": row.calls,
                    "requestsToday": today.calls,
                    "costToday": dollars(today.known_nusd if today.attempts else 0),
                    "usageGrowth": sums.growth(model.id),
                },
                "isActive": model.status == "active",
                "isDefault": model.is_default,
                "configuration": self.configuration(model),
                "recommendedFor": list(model.recommended_for),
            }

        return document

    def configuration(self, model: ModelInfo) -> dict[str, int | None]:
        """What its calls are made with where no chain says otherwise."""
        known: dict[str, int] = {**self._usual, **model.settings}
        return {theirs: known.get(ours) for theirs, ours in SETTINGS_WORDS.items()}

    def _states(self) -> Mapping[str, HealthStatus]:
        """By provider's slug and model's id."""
        found: dict[str, HealthStatus] = {}
        for report in self._health().providers:
            found[report.provider.slug] = report.health.status
            found.update({model.target: model.status for model in report.models})
        return found

    def _sums(self) -> "_Sums":
        return _Sums(self._usage, self._reports, self._clock)

    # --- usage --------------------------------------------------------------------------------

    def usage(
        self, query: UsageQuery, report: UsageReport, saved: Saved, premium: str
    ) -> dict[str, Any]:
        """The fleet spec's Usage Analytics over a report's days: every model, and its tasks.

        Args:
            saved: over the same requests.
            premium: the name of the model that savings are counted against, "" where none is set.
        """
        span, filters = (
            (day_key(report.first), day_key(report.last)),
            self._usage.known(query).filters,
        )
        models = self._reports.totals(*span, ("model",), filters)
        tasks = self._reports.totals(*span, ("model", "task"), filters)
        words = [word for word in re.split(r"[^A-Za-z0-9]+", premium) if word]
        word = next((word for word in reversed(words) if word.isalpha()), "".join(words))
        saving = format_usd(saved.saving_nusd)
        return {
            "date": report.last.isoformat(),
            "models": [
                {
                    "modelId": model,
                    **_counts(totals),
                    "byTask": {
                        task or "other": {"calls": t.calls, "cost": format_usd(t.known_nusd)}
                        for (of, task), t in sorted(tasks.items())
                        if of == model
                    },
                }
                for (model,), totals in sorted(models.items(), key=lambda i: -i[1].cost_nusd)
                if model
            ],
            "totalCost": format_usd(report.total.totals.known_nusd),
            "savingsVsPremium": saving,
            **({f"savingsVsAll{word}": saving} if word else {}),
        }

    # --- providers ----------------------------------------------------------------------------

    @staticmethod
    def status(fleet: FleetHealth) -> dict[str, Any]:
        """The management spec's ProviderDashboard, and its ProviderStatus for each."""
        document = health_document(fleet)
        for told in document["providers"]:
            cost = told["daily_cost_usd"]
            told |= {
                "responseTime": told["response_time_ms"],
                "successRate": told["success_rate"],
                "dailyRequests": told["daily_requests"],
                "dailyCost": None if cost is None else float(cost),
                "availableModels": told["available_models"],
                "lastError": told["last_error"],
            }
        return {
            **document,
            "totalProviders": document["total_providers"],
            "activeProviders": document["active_providers"],
            "healthyProviders": document["healthy_providers"],
            "actions": list(ACTIONS),
            "overallHealth": document["overall_health"],
            "lastHealthCheck": document["last_health_check"],
            "healthTrend": document["health_trend"],
        }


def provider_words(provider: Provider, document: Mapping[str, Any]) -> dict[str, Any]:
    """A provider under the names of the management spec and the provider plan.

    Args:
        document: what every face shows of it.
    """
    return {
        "id": provider.slug,
        "type": provider.protocol,
        "providerType": provider.protocol,
        "authMethod": provider.auth_method,
        "baseUrl": provider.base_url,
        "apiEndpoint": provider.base_url,
        "apiKey": document["key_masked"],
        "isActive": provider.enabled,
        "maxConcurrentRequests": provider.max_concurrency,
        "healthStatus": document["health"],
        "lastHealthCheck": document["tested_at"],
    }


def tested_words(document: Mapping[str, Any]) -> dict[str, Any]:
    """A test's outcome as the provider plan has it."""
    error = document["error"]
    return {
        "success": document["ok"],
        "latencyMs": document["latency_ms"],
        "error": None if error is None else error["message"],
    }


def discovery_words(document: Mapping[str, Any]) -> dict[str, Any]:
    """What providers serve, as the management spec's ModelDiscoveryTool has it."""
    return {
        "discoveryStatus": document["status"],
        "lastDiscovery": document["at"],
        "discoveredModels": {name: document[name] for name in ("new", "updated", "deprecated")},
    }


def setup_words(
    advice: Iterable[StoredAdvice], listed: Callable[[ModelInfo], Listed], models: Models
) -> dict[str, Any]:
    """Recommendations to put another model to a job, as the management spec's
    ModelRecommendation has them; each is applied by its ``id``."""
    found = []
    for one in advice:
        finding = one.finding
        now, then = models.get(finding.current), models.get(finding.recommended)
        if now is None or then is None:
            continue
        before, after = listed(now), listed(then)
        found.append(
            {
                "id": one.id,
                "featureType": finding.scope.get("role") or finding.scope.get("task") or None,
                "recommendedModel": then.id,
                "currentModel": now.id,
                "reason": finding.reasoning,
                "expectedImprovement": {
                    "accuracy": _change(before.quality, after.quality, "accuracy"),
                    "cost": _change(finding.daily_nusd, finding.recommended_daily_nusd, "cost"),
                    "speed": _faster(before.latency_ms, after.latency_ms),
                },
                "confidence": finding.confidence,
            }
        )
    return {"autoSetupRecommendations": found}


def _change(before: float | None, after: float | None, what: str) -> str | None:
    """ "+15% accuracy"; None where either is unknown."""
    if not before or after is None:
        return None
    return f"{round(100 * (after - before) / before):+d}% {what}"


def _faster(before_ms: float | None, after_ms: float | None) -> str | None:
    """ "2.0x faster"; None where either was not measured."""
    if not before_ms or not after_ms:
        return None
    times = before_ms / after_ms
    return f"{times:.1f}x faster" if times >= 1 else f"{1 / times:.1f}x slower"


def comparison_words(report: Report, results: Mapping[str, Any]) -> dict[str, Any]:
    """The fleet spec's Model Comparison.

    Args:
        results: the comparison as every face shows it.
    """
    best: dict[str, list[str]] = {}
    for what, name in results["summary"].items():
        if name:
            best.setdefault(name, []).append(_BEST[what])
    reasons = {item["modelId"]: item["reason"] for item in results["recommendations"]}
    tasks = Counter(classify(Signals(case.prompt)).task_type for case in report.plan.cases.values())
    figures = results["detailedResults"]
    return {
        "models": results["models"],
        "task": tasks.most_common(1)[0][0] if tasks else None,
        "results": [
            {
                "model": name,
                "quality": None
                if own["performance"]["accuracyScore"] is None
                else round(100 * own["performance"]["accuracyScore"]),
                "speed": _short(own["performance"]["avgResponseTime"]),
                "cost": format_usd(
                    None
                    if own["cost"]["costPerRequest"] is None
                    else round(own["cost"]["costPerRequest"] * 1e9)
                ),
                "bestFor": ", ".join(best.get(name, ())) or None,
            }
            for name, own in figures.items()
        ],
        "comparisonType": report.plan.settings.aim,
        "recommendation": _recommendation(report.plan.settings.aim, results, reasons, best),
    }


def _recommendation(
    aim: ComparisonType,
    results: Mapping[str, Any],
    reasons: Mapping[str, str],
    best: Mapping[str, list[str]],
) -> str | None:
    """Whoever is shown to be the best by what the comparison was for, and why."""
    if aim != "comprehensive":
        what = _BEST_OF[aim]
        name = results["summary"][what]
        if name is None:
            return None
        return f"{name}: {reasons.get(name) or f'the best by {_BEST[what]}'}"
    return next((f"{name}: {why}" for name, why in reasons.items() if name in best), None) or next(
        iter(reasons.values()), None
    )


_BEST_OF: Mapping[ComparisonType, str] = {
    "performance": "bestForSpeed",
    "cost": "bestForCost",
    "accuracy": "bestForAccuracy",
}
_BEST = {
    "winner": "all in all",
    "bestForCost": "cost",
    "bestForSpeed": "speed",
    "bestForAccuracy": "accuracy",
}


class _Sums:
    """What calls of each model came to: today, this month, this week and the one before."""

    def __init__(self, usage: UsageService, reports: Reports, clock: Clock) -> None:
        span, zone = usage.span(UsageQuery(period="month"))
        self._reports = reports
        now_ms = int(clock() * 1000)
        today = local_date(now_ms, zone)
        self._minutes = max(
            1, (now_ms - usage.span(UsageQuery(period="today"))[0].start_ms) // 60_000
        )
        week = today - timedelta(days=_WEEK - 1)
        self._today = self._of(today, today)
        self._month = self._of(local_date(span.start_ms, zone), today)
        self._week = self._of(week, today)
        self._before = self._of(week - timedelta(days=_WEEK), week - timedelta(days=1))

    def _of(self, first: date, last: date) -> dict[tuple[str, ...], Totals]:
        return self._reports.totals(day_key(first), day_key(last), ("model",))

    def today(self, model: str) -> Totals:
        return self._today.get((model,), _NO_TOTALS)

    def month(self, model: str) -> Totals:
        return self._month.get((model,), _NO_TOTALS)

    def per_minute(self, model: str) -> float:
        """Requests a minute since the day began."""
        return round(self.today(model).calls / self._minutes, 3)

    def growth(self, model: str) -> str | None:
        """ "+15% this week"; None where there was no week before."""
        before = self._before.get((model,), _NO_TOTALS).calls
        now = self._week.get((model,), _NO_TOTALS).calls
        return f"{100 * (now - before) / before:+.0f}% this week" if before else None


def _registry(row: Listed) -> dict[str, Any]:
    """The registry spec's fields that have another name elsewhere."""
    model = row.model
    price = None if row.price is None else row.price.price
    return {
        "parameters": model.parameters_b,
        "context_length": model.context_window,
        "pricing": {
            "input": _number(_rate(price, "input")),
            "cachedInput": _number(_rate(price, "cached")),
            "output": _number(_rate(price, "output")),
        },
        "created_at": iso(model.added_at),
    }


def _counts(totals: Totals) -> dict[str, Any]:
    return {
        "calls": totals.calls,
        "inputTokens": totals.input_tokens,
        "outputTokens": totals.output_tokens,
        "totalTokens": totals.total_tokens,
        "cost": format_usd(totals.known_nusd),
    }


def dollars(nusd: int | None) -> float | None:
    """US dollars as a JSON number; the exact amount is decimal text elsewhere."""
    return None if nusd is None else float(Decimal(nusd).scaleb(-9))


def _rate(price: Price | None, kind: str) -> Decimal | None:
    """US dollars per 1,000,000 tokens."""
    if price is None or price.state == "unknown":
        return None
    rate = getattr(price, kind)
    if rate is None:
        return Decimal(0) if price.state == "free" else None
    return Decimal(rate.base)


def _per_1k(row: Listed, kind: str) -> Decimal | None:
    rate = _rate(None if row.price is None else row.price.price, kind)
    return None if rate is None else rate / 1000


def _mean(rates: list[Decimal | None]) -> Decimal | None:
    known = [rate for rate in rates if rate is not None]
    return sum(known, Decimal(0)) / len(rates) if len(known) == len(rates) else None


def _dollars(amount: Decimal | None) -> str | None:
    return None if amount is None else f"${amount.normalize():f}"


def _number(amount: Decimal | None) -> float | None:
    return None if amount is None else float(amount)


def _seconds(latency_ms: float | None) -> str | None:
    return None if latency_ms is None else f"{latency_ms / 1000:.1f} seconds"


def _short(latency_ms: float | None) -> str | None:
    return None if latency_ms is None else f"{latency_ms / 1000:.3g}s"


def _percent(share: float | None) -> str | None:
    return None if share is None else f"{100 * share:.1f}%"
