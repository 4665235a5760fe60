"""The fleet as the screens show it: read once, shared by the status line and several panes."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta

from omni_cli.bootstrap import App
from omni_cli.domain.breaker import Breaker
from omni_cli.domain.budgets import BudgetStatus
from omni_cli.domain.models import ModelInfo, Provider
from omni_cli.domain.periods import local_date, local_day
from omni_cli.domain.recommend import Finding
from omni_cli.records import StoredPrice
from omni_cli.store.advice import AdviceStore
from omni_cli.store.glance import GlanceStore, Hour, Tally
from omni_cli.tui.health import (
    Health,
    Overall,
    Recent,
    Trend,
    overall,
    provider_health,
    recent,
    trend,
)

_HOUR_MS = 3_600_000
#: Quality, speed and success are of so many days, today included.
SPAN_DAYS = 7
#: How many models get a medal.
MEDALS = 3


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums of one day. ``unknown_attempts``: calls whose price is unknown, not in the cost."""

    calls: int = 0
    tokens: int = 0
    cost_nusd: int = 0
    saved_nusd: int = 0
    unknown_attempts: int = 0


@dataclass(frozen=True, slots=True)
class ModelCard:
    """``medal`` 1 to 3 or None. ``quality`` and ``success`` 0..1, ``latency_ms`` the mean of
    good answers, all None where unknown. ``state``: active, standby, disabled, or out (it cannot
    be called: ``why`` says it). ``hours`` are calls of the last 24 hours, oldest first."""

    model: ModelInfo
    provider: Provider | None
    price: StoredPrice | None
    state: str
    why: str
    roles: tuple[str, ...]
    today: Totals
    quality: float | None
    latency_ms: float | None
    success: float | None
    medal: int | None
    hours: tuple[int, ...]

    @property
    def simulated(self) -> bool:
        return self.provider is not None and self.provider.simulated


@dataclass(frozen=True, slots=True)
class ProviderCard:
    """``test`` is (when in ms, latency in ms, error) of the last connection test."""

    provider: Provider
    health: Health
    trend: Trend | None
    latency_ms: float | None
    success: float | None
    today: Totals
    active: int
    total: int
    key: str | None
    test: tuple[int, int | None, str | None] | None
    last_error: str
    hours: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Overview:
    now_ms: int
    zone: str
    models: tuple[ModelCard, ...] = ()
    providers: tuple[ProviderCard, ...] = ()
    today: Totals = field(default_factory=Totals)
    yesterday: Totals = field(default_factory=Totals)
    #: The budget that is nearest to its limit, with its period.
    budget: BudgetStatus | None = None
    #: Recommendations that wait for a decision, the greatest saving first.
    advice: tuple[Finding, ...] = ()

    @property
    def overall(self) -> Overall:
        return overall([card.health.state for card in self.providers])


def read_overview(omni: App) -> Overview:
    """Everything the fleet's screens need, from rollups and the fleet's own tables.

    Raises OmniError.
    """
    now_ms, zone = omni.now_ms(), omni.rollups.zone
    providers = {provider.slug: provider for provider in omni.providers.all()}
    if not providers:
        return Overview(now_ms, zone)
    glance = GlanceStore(omni.store)
    today = local_day(now_ms, zone)
    date_now = local_date(now_ms, zone)
    first, before = (_as_day(date_now - timedelta(days=n)) for n in (SPAN_DAYS - 1, 1))
    days = glance.days(first, today)
    now_hour = now_ms // _HOUR_MS
    hours = glance.hours(now_hour - 23, now_hour)
    breakers = {name: Breaker.from_json(text) for name, text in omni.breakers.all().items()}
    known = omni.models.of_providers(providers)
    models = _fleet_models(omni, known)
    health = {
        slug: _health(omni, provider, models, breakers, hours, now_ms)
        for slug, provider in providers.items()
    }
    return Overview(
        now_ms=now_ms,
        zone=zone,
        models=_model_cards(omni, models, providers, health, breakers, days, hours, today),
        providers=tuple(
            _provider_card(omni, provider, health[slug], breakers, known, days, hours, today)
            for slug, provider in providers.items()
        ),
        today=totals(row for row in days if row.day == today),
        yesterday=totals(row for row in days if row.day == before),
        budget=_tightest(omni, now_ms),
        advice=_pending(omni),
    )


def totals(rows: Iterable[Tally]) -> Totals:
    """Add up tallies."""
    found = list(rows)
    return Totals(
        calls=sum(row.calls for row in found),
        tokens=sum(row.input_tokens + row.output_tokens for row in found),
        cost_nusd=sum(row.cost_nusd for row in found),
        saved_nusd=sum(row.saved_nusd for row in found),
        unknown_attempts=sum(row.unknown_attempts for row in found),
    )


def is_out(model: ModelInfo, health: Health, breaker: Breaker | None, now_ms: int) -> str:
    """Why an active model cannot be called now, or ""."""
    if breaker is not None and not breaker.allows(now_ms):
        return f"kept out: {breaker.last_error or 'failing'}"
    if health.state in ("off", "maintenance") or health.why == "no key":
        return f"{model.provider} {health.why}"
    return ""


def _as_day(day: date) -> int:
    return day.year * 10_000 + day.month * 100 + day.day


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


def _health(
    omni: App,
    provider: Provider,
    models: Sequence[ModelInfo],
    breakers: Mapping[str, Breaker],
    hours: Sequence[Hour],
    now_ms: int,
) -> Health:
    tested = omni.providers.last_test(provider.slug)
    last = now_ms // _HOUR_MS - 1
    return provider_health(
        provider,
        has_key=omni.has_key(provider),
        test_error=None if tested is None else tested[2],
        breaker=breakers.get(provider.slug),
        models_out=[
            model.name
            for model in models
            if model.provider == provider.slug
            and (found := breakers.get(model.id)) is not None
            and not found.allows(now_ms)
        ],
        last_hours=recent(h for h in hours if h.provider == provider.slug and h.hour >= last),
        now_ms=now_ms,
    )


def _model_cards(
    omni: App,
    models: Sequence[ModelInfo],
    providers: Mapping[str, Provider],
    health: Mapping[str, Health],
    breakers: Mapping[str, Breaker],
    days: Sequence[Tally],
    hours: Sequence[Hour],
    today: int,
) -> tuple[ModelCard, ...]:
    roles: dict[str, list[tuple[int, str]]] = {}
    for role in omni.assignments.roles():
        for item in role.models:
            roles.setdefault(item.model, []).append((item.priority, role.name))
    omni.browser.prices.load(model.id for model in models)
    cards = []
    for model in models:
        rows = [row for row in days if row.model == model.id]
        why = is_out(model, health[model.provider], breakers.get(model.id), omni.now_ms())
        mine, listed = measured(rows), omni.browser.listed(model)
        state = "out" if why and model.status == "active" else model.status
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
                latency_ms=mine.latency_ms,
                success=None if mine.failure_rate is None else 1 - mine.failure_rate,
                medal=None,
                hours=_by_hour((h for h in hours if h.model == model.id), omni.now_ms()),
            )
        )
    return _ranked(cards)


def measured(rows: Sequence[Tally]) -> Recent:
    """What days of tallies say of speed and failures."""
    timed = sum(row.latency_calls for row in rows)
    return Recent(
        attempts=sum(row.attempts for row in rows),
        failed=sum(row.failed_attempts for row in rows),
        latency_ms=sum(row.latency_ms for row in rows) / timed if timed else None,
    )


def _ranked(cards: Sequence[ModelCard]) -> tuple[ModelCard, ...]:
    """Best first: the chance of a good answer, which is quality times success.

    Medals go to models that have worked lately; the rest follow, active before standby.
    """

    def worth(card: ModelCard) -> float:
        return (card.quality or 0.0) * (card.success or 0.0)

    order = {"active": 0, "out": 1, "standby": 2, "disabled": 3}
    ranked = sorted(
        cards,
        key=lambda c: (order[c.state], -worth(c), -(c.quality or 0.0), c.model.name.lower()),
    )
    medals = iter(range(1, MEDALS + 1))
    return tuple(
        replace(card, medal=next(medals, None))
        if card.state == "active" and worth(card) > 0
        else card
        for card in ranked
    )


def _provider_card(
    omni: App,
    provider: Provider,
    health: Health,
    breakers: Mapping[str, Breaker],
    models: Sequence[ModelInfo],
    days: Sequence[Tally],
    hours: Sequence[Hour],
    today: int,
) -> ProviderCard:
    slug = provider.slug
    rows = [row for row in days if row.provider == slug]
    mine = [hour for hour in hours if hour.provider == slug]
    seen = measured(rows)
    test = omni.providers.last_test(slug)
    breaker = breakers.get(slug)
    return ProviderCard(
        provider=provider,
        health=health,
        trend=trend(mine, omni.now_ms() // _HOUR_MS),
        latency_ms=seen.latency_ms,
        success=None if seen.failure_rate is None else 1 - seen.failure_rate,
        today=totals(row for row in rows if row.day == today),
        active=sum(m.provider == slug and m.status == "active" for m in models),
        total=sum(m.provider == slug for m in models),
        key=omni.key_place(provider),
        test=test,
        last_error=(test[2] if test and test[2] else "") or (breaker.last_error if breaker else ""),
        hours=_by_hour(mine, omni.now_ms()),
    )


def _by_hour(rows: Iterable[Hour], now_ms: int) -> tuple[int, ...]:
    """Calls of each of the last 24 hours, oldest first."""
    now_hour = now_ms // _HOUR_MS
    counts = [0] * 24
    for row in rows:
        counts[row.hour - now_hour - 1] += row.calls
    return tuple(counts)


def _pending(omni: App) -> tuple[Finding, ...]:
    """As last found: looking for new ones takes longer than a refresh may."""
    found = [a.finding for a in AdviceStore(omni.store).all() if a.status == "pending"]
    return tuple(sorted(found, key=lambda f: (not f.urgent, -(f.saving_daily_nusd or 0), f.key)))


def _tightest(omni: App, now_ms: int) -> BudgetStatus | None:
    found = [omni.budgets.status(b, now_ms) for b in omni.budgets.all() if b.enabled]
    return max(found, key=lambda s: s.used_percent or 0.0, default=None)
