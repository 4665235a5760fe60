"""Metrics in Prometheus' text form under OpenTelemetry's GenAI names (C8).

Values are sums since the first request that rollups know; a correction of a price can lower a
cost, which a scraper reads as a restarted counter. omni's own metrics begin with ``omni_``.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import get_args

from msgspec import Struct

from omni_cli.domain import semconv
from omni_cli.domain.analytics import BUCKETS_PER_DOUBLING, Totals
from omni_cli.domain.budgets import BudgetStatus
from omni_cli.domain.document import document
from omni_cli.domain.health import HealthStatus, SlotUse
from omni_cli.domain.ledger import EVALUATION, FOREIGN
from omni_cli.domain.money import usd, usd_string
from omni_cli.ports import Clock
from omni_cli.repositories import Budgets, Reports
from omni_cli.services.judge.health_report import FleetHealth
from omni_cli.services.money.savings import saved_of

_FIRST, _LAST = 0, 99_999_999
#: Powers of two of a millisecond up to some four minutes: edges of the latency buckets, so that
#: the histogram is exact.
_EDGES = range(4, 19)
_TOKENS = semconv.prometheus_name(semconv.TOKEN_USAGE)
_DURATION = semconv.prometheus_name(semconv.OPERATION_DURATION, "seconds")


class MetricsService(Struct, kw_only=True, eq=False):
    """Args:
    slots: each provider's queue, with what waited since a time (ms).
    zone: makes the rollups current before they are read.
    """

    reports: Reports
    budgets: Budgets
    slots: Callable[[int], Mapping[str, SlotUse]]
    health: Callable[[], FleetHealth]
    zone: Callable[[], str]
    clock: Clock

    def text(self) -> str:
        """The whole page, as the text format 0.0.4 has it."""
        self.zone()
        by = ("provider", "model")
        found = self.reports.totals(_FIRST, _LAST, by)
        sources = self.reports.totals(_FIRST, _LAST, ("source", *by))
        buckets = self.reports.latencies(_FIRST, _LAST, by)
        now = int(self.clock() * 1000)
        statuses = [self.budgets.status(b, now) for b in self.budgets.all() if b.enabled]
        models = [
            (_model_labels(*key), totals, buckets.get(key, {}))
            for key, totals in sorted(found.items())
        ]
        lines = [
            *_token_lines(models),
            *_duration_lines(models),
            *_own_lines(models),
            *_saving_lines(sources),
            *_budget_lines(statuses),
            *_slot_lines(self.slots(0)),
            *_health_lines(self.health()),
        ]
        return "\n".join(lines) + "\n"


_Model = tuple[dict[str, str], Totals, Mapping[int, int]]


def _model_labels(provider: str, model: str) -> dict[str, str]:
    return {
        semconv.prometheus_name(semconv.PROVIDER_NAME): semconv.provider_name(provider),
        semconv.prometheus_name(semconv.REQUEST_MODEL): model,
    }


def _sample(name: str, labels: Mapping[str, str], value: object) -> str:
    shown = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
    return f"{name}{{{shown}}} {value}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _head(name: str, kind: str, text: str) -> Iterator[str]:
    yield f"# HELP {name} {text}"
    yield f"# TYPE {name} {kind}"


def _operation(labels: Mapping[str, str]) -> dict[str, str]:
    return {semconv.prometheus_name(semconv.OPERATION_NAME): semconv.OPERATION_CHAT, **labels}


def _token_lines(models: Iterable[_Model]) -> Iterator[str]:
    # Rollups keep sums and counts of tokens, not sizes of single calls: one bucket holds all.
    yield from _head(_TOKENS, "histogram", "Tokens used, in and out.")
    kind = semconv.prometheus_name(semconv.TOKEN_TYPE)
    for labels, totals, _ in models:
        for name, tokens in (
            (semconv.TOKEN_INPUT, totals.input_tokens),
            (semconv.TOKEN_OUTPUT, totals.output_tokens),
        ):
            own = {**_operation(labels), kind: name}
            yield _sample(f"{_TOKENS}_bucket", {**own, "le": "+Inf"}, totals.attempts)
            yield _sample(f"{_TOKENS}_sum", own, tokens)
            yield _sample(f"{_TOKENS}_count", own, totals.attempts)


def _duration_lines(models: Iterable[_Model]) -> Iterator[str]:
    yield from _head(_DURATION, "histogram", "Time from request to the end of its answer.")
    for labels, totals, buckets in models:
        if not totals.latency_calls:
            continue
        own = _operation(labels)
        for power in _EDGES:
            below = sum(n for b, n in buckets.items() if b < power * BUCKETS_PER_DOUBLING)
            yield _sample(f"{_DURATION}_bucket", {**own, "le": f"{2**power / 1000:g}"}, below)
        yield _sample(f"{_DURATION}_bucket", {**own, "le": "+Inf"}, totals.latency_calls)
        yield _sample(f"{_DURATION}_sum", own, f"{totals.latency_ms / 1000:.3f}")
        yield _sample(f"{_DURATION}_count", own, totals.latency_calls)


def _own_lines(models: Iterable[_Model]) -> Iterator[str]:
    models = list(models)
    counters: tuple[tuple[str, str, Callable[[Totals], object]], ...] = (
        ("omni_requests_total", "Requests, under the model that answered.", lambda t: t.calls),
        ("omni_answered_total", "Requests that were answered.", lambda t: t.ok),
        ("omni_attempts_total", "Calls of a provider.", lambda t: t.attempts),
        ("omni_failed_attempts_total", "Calls that failed.", lambda t: t.failed_attempts),
        (
            "omni_unpriced_attempts_total",
            "Calls of unknown price: in no cost.",
            lambda t: t.unknown_attempts,
        ),
        (
            "omni_cost_usd_total",
            "US dollars, corrections included; absent where no price is known.",
            lambda t: usd(t.known_nusd),
        ),
        (
            "omni_estimated_cost_usd_total",
            "US dollars of omni_cost_usd_total that rest on estimated token counts.",
            lambda t: None if t.known_nusd is None else usd_string(t.estimated_nusd),
        ),
    )
    for name, text, value in counters:
        yield from _head(name, "counter", text)
        for labels, totals, _ in models:
            if (shown := value(totals)) is not None:
                yield _sample(name, labels, shown)


def _saving_lines(found: Mapping[tuple[str, ...], Totals]) -> Iterator[str]:
    """What ``omni savings`` is made of: premium less compared less overhead is the saving."""
    routed: dict[tuple[str, str], Totals] = {}
    for (source, provider, model), totals in found.items():
        if source not in EVALUATION | FOREIGN and totals.compared_calls:
            key = (provider, model)
            routed[key] = routed.get(key, Totals()) + totals
    figures: tuple[tuple[str, str, Callable[[Totals], int]], ...] = (
        (
            "omni_premium_cost_usd_total",
            "US dollars at the premium model, of routed requests that were compared.",
            lambda t: t.premium_nusd,
        ),
        (
            "omni_compared_cost_usd_total",
            "US dollars that these requests cost.",
            lambda t: t.compared_nusd,
        ),
    )
    for name, text, value in figures:
        yield from _head(name, "counter", text)
        for key, totals in sorted(routed.items()):
            yield _sample(name, _model_labels(*key), usd_string(value(totals)))
    saved = saved_of((source, totals) for (source, _, _), totals in found.items())
    name = "omni_overhead_cost_usd_total"
    yield from _head(name, "counter", "US dollars for nothing but having a fleet: in no saving.")
    overhead = {**saved.evaluation_nusd, "unanswered": saved.routed.unanswered_nusd}
    for kind, nusd in sorted(overhead.items()):
        yield _sample(name, {"kind": kind}, usd_string(nusd))
    name = "omni_saving_usd"
    yield from _head(name, "gauge", "US dollars saved, signed; absent where nothing was compared.")
    if saved.saving_nusd is not None:
        yield f"{name} {usd_string(saved.saving_nusd)}"


def _budget_lines(statuses: Iterable[BudgetStatus]) -> Iterator[str]:
    statuses = list(statuses)
    gauges: tuple[tuple[str, str, Callable[[BudgetStatus], int]], ...] = (
        ("omni_budget_stop_usd", "US dollars at which calls stop.", lambda s: s.stop_at_nusd),
        ("omni_budget_spent_usd", "US dollars spent this period.", lambda s: s.spent_nusd),
        ("omni_budget_reserved_usd", "US dollars held by open calls.", lambda s: s.reserved_nusd),
    )
    for name, text, value in gauges:
        yield from _head(name, "gauge", text)
        for status in statuses:
            budget = status.budget
            labels = document(budget, "scope", "value", "period")
            yield _sample(name, labels, usd_string(value(status)))


def _slot_lines(slots: Mapping[str, SlotUse]) -> Iterator[str]:
    figures: tuple[tuple[str, str, str, Callable[[SlotUse], object]], ...] = (
        ("omni_slots_limit", "gauge", "Calls that may be under way.", lambda s: s.limit),
        ("omni_slots_in_use", "gauge", "Calls under way.", lambda s: s.in_use),
        ("omni_slots_waiting", "gauge", "Calls that wait for a slot.", lambda s: s.waiting),
        ("omni_slot_waits_total", "counter", "Calls that had to wait.", lambda s: s.waits),
        (
            "omni_slot_wait_seconds_total",
            "counter",
            "Seconds that they waited.",
            lambda s: f"{s.waited_ms / 1000:.3f}",
        ),
    )
    name = semconv.prometheus_name(semconv.PROVIDER_NAME)
    for metric, kind, text, value in figures:
        yield from _head(metric, kind, text)
        for slug, use in sorted(slots.items()):
            if (shown := value(use)) is not None:
                yield _sample(metric, {name: semconv.provider_name(slug)}, shown)


def process_lines(pid: int, figures: Mapping[str, int]) -> str:
    """Of one gateway process; each scrape is answered by one of them."""
    lines: list[str] = []
    for name, value in figures.items():
        kind = "counter" if name.endswith("_total") else "gauge"
        lines += _head(f"omni_gateway_{name}", kind, "Of the process that answered this scrape.")
        lines.append(_sample(f"omni_gateway_{name}", {"process": str(pid)}, value))
    return "\n".join(lines) + "\n"


def _health_lines(fleet: FleetHealth) -> Iterator[str]:
    yield from _head("omni_provider_health", "gauge", "1 for the status that a provider has now.")
    for report in fleet.providers:
        for status in get_args(HealthStatus):
            labels = {"provider": report.provider.slug, "status": status}
            value = int(report.health.status == status)
            yield _sample("omni_provider_health", labels, value)
