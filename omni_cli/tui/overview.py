"""The fleet as the screens show it: read once, shared by the status line and several panes."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Literal

from msgspec import Struct, field

from omni_cli.bootstrap import App
from omni_cli.domain.analytics import Totals as Sums
from omni_cli.domain.analytics import day_key
from omni_cli.domain.health import Health, HealthStatus, Overall, Trend
from omni_cli.domain.models import ModelInfo, Provider
from omni_cli.domain.periods import HOUR_MS, local_date, local_day
from omni_cli.domain.recommend import Finding, rank
from omni_cli.domain.record import replace
from omni_cli.records import ModelHour, StoredPrice, Tally
from omni_cli.services.judge.health_report import ProviderReport
from omni_cli.services.money.costs import BudgetLine
from omni_cli.services.money.savings import saved_of
from omni_cli.services.money.usage import UsageQuery
from omni_cli.tui.data import Loader

#: A health status, or "off" for a provider that is disabled.
State = HealthStatus | Literal["off"]
#: What a tile says of a model: its health while it is active, else how it is set.
ModelState = HealthStatus | Literal["standby", "disabled", "off"]
#: Quality, speed and success are of so many days, today included.
SPAN_DAYS = 7
#: How many models get a medal, and from how many calls in that time on.
MEDALS, MEDAL_CALLS = 3, 20


class Totals(Struct, frozen=True):
    """Sums of one day. ``unknown_attempts``: calls whose price is unknown, not in the cost."""

    calls: int = 0
    tokens: int = 0
    cost_nusd: int = 0
    unknown_attempts: int = 0


class Speed(Struct, frozen=True):
    """What some days' calls say: a mean of good answers in ms, and the share that succeeded,
    0..1; None without any."""

    latency_ms: float | None
    success: float | None
    attempts: int = 0


class ModelCard(Struct, frozen=True):
    """``medal`` 1 to 3 or None. ``quality`` and ``success`` 0..1, ``latency_ms`` the mean of
    good answers, all None where unknown. ``why`` is empty for what is healthy, standby or
    disabled. ``hours`` and ``bad_hours``: calls and failed attempts of each of the last 24 hours,
    oldest first. ``seen_at``: when the newest evidence of ``state`` came, ms. ``saving_nusd``: of
    today's requests against the premium model, None where it is unknown."""

    model: ModelInfo
    provider: Provider | None
    price: StoredPrice | None
    state: ModelState
    why: str
    roles: tuple[str, ...]
    today: Totals
    quality: float | None
    latency_ms: float | None
    success: float | None
    medal: int | None
    hours: tuple[int, ...]
    bad_hours: tuple[int, ...] = ()
    seen_at: int | None = None
    saving_nusd: int | None = None

    @property
    def simulated(self) -> bool:
        return self.provider is not None and self.provider.simulated


class ProviderCard(Struct, frozen=True):
    """``why`` is empty for what is healthy. ``test`` is (when in ms, latency in ms, error) of the
    last check; ``seen_at`` when the newest evidence of ``state`` came, ms."""

    provider: Provider
    state: State
    why: str
    trend: Trend
    latency_ms: float | None
    success: float | None
    today: Totals
    active: int
    total: int
    key: str | None
    test: tuple[int, int | None, str | None] | None
    hours: tuple[int, ...]
    bad_hours: tuple[int, ...] = ()
    seen_at: int | None = None


class Overview(Struct, frozen=True):
    """``overall`` and ``healthy`` are the health report's own."""

    now_ms: int
    zone: str
    models: tuple[ModelCard, ...] = ()
    providers: tuple[ProviderCard, ...] = ()
    overall: Overall = "unknown"
    healthy: int = 0
    today: Totals = field(default_factory=Totals)
    #: What yesterday had cost by this time of day, nano-dollars.
    yesterday_nusd: int = 0
    #: What today saved, nano-dollars, as ``omni savings`` has it; None where it is unknown.
    saving_nusd: int | None = None
    #: The budgets that hold, the worst first.
    budgets: tuple[BudgetLine, ...] = ()
    #: Recommendations that wait for a decision, the greatest saving first.
    advice: tuple[Finding, ...] = ()


def read_overview(omni: App) -> Overview:
    """Everything the fleet's screens need, from rollups and the fleet's own tables.

    Raises OmniError.
    """
    now_ms, zone = omni.now_ms(), omni.rollups.zone
    providers = {provider.slug: provider for provider in omni.providers.all()}
    if not providers:
        return Overview(now_ms, zone)
    glance = omni.glance
    today = local_day(now_ms, zone)
    date_now = local_date(now_ms, zone)
    first = day_key(date_now - timedelta(days=SPAN_DAYS - 1))
    days = glance.days(first, today)
    now_hour = now_ms // HOUR_MS
    hours = glance.hours(now_hour - 23, now_hour)
    known = omni.models.of_providers(providers)
    health = omni.reporter.report()
    reports = {report.provider.slug: report for report in health.providers}
    return Overview(
        now_ms=now_ms,
        zone=zone,
        models=_model_cards(
            omni, _fleet_models(omni, known), providers, reports, days, hours, today
        ),
        providers=_as_judged(
            (
                _provider_card(omni, provider, reports.get(slug), known, days, hours, today)
                for slug, provider in providers.items()
            ),
            reports,
        ),
        overall=health.overall,
        healthy=health.healthy,
        today=totals(row for row in days if row.day == today),
        yesterday_nusd=omni.costs.yesterday_by_now(),
        saving_nusd=omni.savings.saved(UsageQuery(period="today")).saving_nusd,
        budgets=omni.costs.standings(),
        advice=_pending(omni),
    )


def overview_of(loader: Loader, omni: App) -> Overview:
    """The one that all screens share. Raises OmniError."""
    return loader.memo("overview", omni, read_overview, _judged_again)


def _judged_again(omni: App, view: Overview) -> Overview:
    """The same after providers were checked: of all that is read only health can be another."""
    providers = {provider.slug: provider for provider in omni.providers.all()}
    health = omni.reporter.report()
    reports = {report.provider.slug: report for report in health.providers}
    judged = _judged(reports)
    models = []
    for card in view.models:
        found, seen_at = judged.get(card.model.id, (None, None))
        state, why = _model_state(card.model, found)
        if state != card.state:
            return read_overview(omni)  # it has another rank
        provider = providers.get(card.model.provider)
        models.append(replace(card, provider=provider, why=why, seen_at=seen_at))
    return replace(
        view,
        now_ms=omni.now_ms(),
        models=tuple(models),
        providers=_as_judged(
            (
                replace(
                    card,
                    provider=providers[slug],
                    test=omni.providers.last_test(slug),
                    **_health_of(reports.get(slug)),
                )
                for card in view.providers
                if (slug := card.provider.slug) in providers
            ),
            reports,
        ),
        overall=health.overall,
        healthy=health.healthy,
    )


def totals(rows: Iterable[Tally]) -> Totals:
    """Add up tallies."""
    found = list(rows)
    return Totals(
        calls=sum(row.calls for row in found),
        tokens=sum(row.input_tokens + row.output_tokens for row in found),
        cost_nusd=sum(row.cost_nusd for row in found),
        unknown_attempts=sum(row.unknown_attempts for row in found),
    )


def _fleet_models(omni: App, known: Sequence[ModelInfo]) -> list[ModelInfo]:
    """Active ones, those with a role, and those whose status the user has set."""
    touched = omni.models.touched()
    in_roles = {item.model for role in omni.assignments.roles() for item in role.models}
    return [
        model
        for model in known
        if model.status == "active"
        or model.id in in_roles
        or "status" in touched.get(model.id, frozenset())
    ]


def _model_cards(
    omni: App,
    models: Sequence[ModelInfo],
    providers: Mapping[str, Provider],
    reports: Mapping[str, ProviderReport],
    days: Sequence[Tally],
    hours: Sequence[ModelHour],
    today: int,
) -> tuple[ModelCard, ...]:
    roles: dict[str, list[tuple[int, str]]] = {}
    for role in omni.assignments.roles():
        for item in role.models:
            roles.setdefault(item.model, []).append((item.priority, role.name))
    omni.browser.prices.load(model.id for model in models)
    judged = _judged(reports)
    used: dict[str, list[tuple[str, Sums]]] = {}
    for (name, source), sums in omni.reports.totals(today, today, ("model", "source")).items():
        used.setdefault(name, []).append((source, sums))
    cards, calls = [], dict[str, int]()
    for model in models:
        rows = [row for row in days if row.model == model.id]
        seen, listed = measured(rows), omni.browser.listed(model)
        health, seen_at = judged.get(model.id, (None, None))
        state, why = _model_state(model, health)
        mine = [hour for hour in hours if hour.model == model.id]
        cards.append(
            ModelCard(
                model=model,
                provider=providers.get(model.provider),
                price=listed.price,
                state=state,
                why=why,
                roles=tuple(name for _, name in sorted(roles.get(model.id, []))),
                today=totals(row for row in rows if row.day == today),
                quality=listed.quality,
                latency_ms=seen.latency_ms,
                success=seen.success,
                medal=None,
                hours=_by_hour(mine, omni.now_ms()),
                bad_hours=_by_hour(mine, omni.now_ms(), failed=True),
                seen_at=seen_at,
                saving_nusd=saved_of(used.get(model.id, ())).saving_nusd,
            )
        )
        calls[model.id] = seen.attempts
    return _ranked(cards, calls)


def _as_judged(
    cards: Iterable[ProviderCard], reports: Mapping[str, ProviderReport]
) -> tuple[ProviderCard, ...]:
    """In the order of the report of health, those that are off last."""
    places = {slug: place for place, slug in enumerate(reports)}
    return tuple(sorted(cards, key=lambda c: places.get(c.provider.slug, len(places))))


def _judged(reports: Mapping[str, ProviderReport]) -> dict[str, tuple[Health, int | None]]:
    """By model: its health, and when the newest evidence of it came."""
    return {
        health.target: (health, report.seen_at(health))
        for report in reports.values()
        for health in report.models
    }


def _model_state(model: ModelInfo, health: Health | None) -> tuple[ModelState, str]:
    if model.status != "active":
        return model.status, ""
    if health is None:
        return "off", f"{model.provider} is disabled"
    return health.status, _why(health)


def _why(health: Health) -> str:
    return "" if health.status == "healthy" else health.reason


def measured(rows: Sequence[Tally]) -> Speed:
    """What days of tallies say of speed and failures."""
    attempts = sum(row.attempts for row in rows)
    timed = sum(row.latency_calls for row in rows)
    return Speed(
        latency_ms=sum(row.latency_ms for row in rows) / timed if timed else None,
        success=1 - sum(row.failed_attempts for row in rows) / attempts if attempts else None,
        attempts=attempts,
    )


def _ranked(cards: Sequence[ModelCard], calls: Mapping[str, int]) -> tuple[ModelCard, ...]:
    """Best first: the chance of a good answer, which is quality times success.

    Medals go to models that can be asked and were, often enough for a rank; what is down comes
    after what works, before standby.

    Args:
        calls: attempts of the last days by model.
    """

    def worth(card: ModelCard) -> float:
        return (card.quality or 0.0) * (card.success or 0.0)

    order = {"error": 1, "maintenance": 1, "off": 1, "standby": 2, "disabled": 3}
    ranked = sorted(
        cards,
        key=lambda c: (order.get(c.state, 0), -worth(c), -(c.quality or 0.0), c.model.name.lower()),
    )
    medals = iter(range(1, MEDALS + 1))
    return tuple(
        replace(card, medal=next(medals, None))
        if not order.get(card.state)
        and worth(card) > 0
        and calls.get(card.model.id, 0) >= MEDAL_CALLS
        else card
        for card in ranked
    )


def _provider_card(
    omni: App,
    provider: Provider,
    report: ProviderReport | None,
    models: Sequence[ModelInfo],
    days: Sequence[Tally],
    hours: Sequence[ModelHour],
    today: int,
) -> ProviderCard:
    slug = provider.slug
    rows = [row for row in days if row.provider == slug]
    mine = [hour for hour in hours if hour.provider == slug]
    seen = measured(rows)
    return ProviderCard(
        provider=provider,
        **_health_of(report),
        latency_ms=seen.latency_ms,
        success=seen.success,
        today=totals(row for row in rows if row.day == today),
        active=sum(m.provider == slug and m.status == "active" for m in models),
        total=sum(m.provider == slug for m in models),
        key=omni.keys.place(provider),
        test=omni.providers.last_test(slug),
        hours=_by_hour(mine, omni.now_ms()),
        bad_hours=_by_hour(mine, omni.now_ms(), failed=True),
    )


def _health_of(report: ProviderReport | None) -> dict[str, Any]:
    """What a provider's card says of its health."""
    if report is None:
        return {"state": "off", "why": "disabled", "trend": "unknown", "seen_at": None}
    found = report.health
    return {
        "state": found.status,
        "why": _why(found),
        "trend": found.trend,
        "seen_at": report.seen_at(found),
    }


def _by_hour(rows: Iterable[ModelHour], now_ms: int, *, failed: bool = False) -> tuple[int, ...]:
    """Calls, or failed attempts, of each of the last 24 hours, oldest first."""
    now_hour = now_ms // HOUR_MS
    counts = [0] * 24
    for row in rows:
        counts[row.hour - now_hour - 1] += row.failed_attempts if failed else row.calls
    return tuple(counts)


def _pending(omni: App) -> tuple[Finding, ...]:
    """As last found: looking for new ones takes longer than a refresh may."""
    found = (a.finding for a in omni.stored_advice.all() if a.status == "pending")
    return tuple(sorted(found, key=rank))
