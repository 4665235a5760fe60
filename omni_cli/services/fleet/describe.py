"""The fleet's nouns as JSON values: what ``--json`` prints. Keys are stable, times are ISO UTC,
money is decimal text in US dollars, unknown is null. Below, the fleet as one document: what a
revision keeps and TOML shows; never a secret, and system models only where the user touched them:
the catalogue supplies the rest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from omni_cli.domain.document import document
from omni_cli.domain.models import Chain, ModelInfo, Provider, Role, Rule
from omni_cli.domain.periods import iso
from omni_cli.domain.prices import KINDS, Price, price_to_json
from omni_cli.domain.record import asdict

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from omni_cli.domain.budgets import Budget
    from omni_cli.records import AuditEntry, Revision, StoredPrice
    from omni_cli.repositories import Assignments, Budgets, Models, Providers
    from omni_cli.services.fleet.browse import Listed
    from omni_cli.services.fleet.connection_test import TestResult
    from omni_cli.services.judge.health_report import FleetHealth


#: Keys of a price that are always there, null where the price has no such rate.
_ALWAYS = ("input", "cached", "cache_write", "output")


class ProviderDocuments(Struct, kw_only=True, eq=False):
    """Providers as every face shows them.

    Args:
        health: the health report of now.
        key_place: where a key is, ``env:NAME``, ``keyring`` or ``file``; None: nowhere.
        key_masked: a key as it may be shown; unlocks a stored one.
        address: where a base URL is from: ``env:NAME``, ``usual`` or ``settings``.
    """

    providers: Providers
    models: Models
    health: Callable[[], FleetHealth]
    key_place: Callable[[Provider], str | None]
    key_masked: Callable[[Provider], str | None]
    address: Callable[[Provider], str]

    def all(self) -> list[dict[str, Any]]:
        health, providers = self.health(), self.providers.all()
        models = self.models.of_providers(provider.slug for provider in providers)
        return [self._document(provider, health, models) for provider in providers]

    def of(self, provider: Provider, *, masked: bool = False) -> dict[str, Any]:
        """``masked``: also unlock a stored key to show its mask; the environment's is free."""
        models = self.models.of_providers([provider.slug])
        return self._document(provider, self.health(), models, masked=masked)

    def keys(self, others: Iterable[Provider]) -> list[dict[str, Any]]:
        """Where there are keys: of the fleet's providers, then of ``others`` that are not in it.
        Unlocks what is stored."""
        fleet = {provider.slug: provider for provider in self.providers.all()}
        known = {provider.slug: provider for provider in others} | fleet
        return [
            {
                "provider": slug,
                "key": place,
                "key_masked": self.key_masked(provider),
                "in_fleet": slug in fleet,
            }
            for slug, provider in {**fleet, **known}.items()
            if (place := self.key_place(provider)) is not None
        ]

    def _document(
        self,
        provider: Provider,
        fleet: FleetHealth,
        models: Sequence[ModelInfo],
        *,
        masked: bool = False,
    ) -> dict[str, Any]:
        slug, health = provider.slug, fleet.of(provider.slug)
        key = self.key_place(provider) if provider.auth_method == "api_key" else None
        look = key is not None and (masked or key.startswith("env:"))
        at_ms, latency_ms, error = self.providers.last_test(slug) or (None, None, None)
        mine = [model for model in models if model.provider == slug]
        return {
            **document(provider),
            "headers": sorted(provider.headers),
            "base_url_from": self.address(provider),
            "key": key,
            "key_masked": self.key_masked(provider) if look else None,
            "health": None if health is None else health.status,
            "health_reason": None if health is None else health.reason,
            "models_active": sum(model.status == "active" for model in mine),
            "models_total": len(mine),
            "tested_at": iso(at_ms),
            "latency_ms": latency_ms,
            "last_error": error,
        }


def tested_document(result: TestResult) -> dict[str, Any]:
    """What asking a provider for its models came to."""
    error = result.error
    return {
        "provider": result.slug,
        **document(result, "ok", "status", "latency_ms", "models"),
        "skipped": result.wait_s > 0,
        "wait_s": round(result.wait_s, 1) or None,
        "error": None
        if error is None
        else {"code": error.code, "message": error.message, "hint": error.hint},
    }


def price_document(row: StoredPrice | None) -> dict[str, Any]:
    """Rates are per 1,000,000 tokens; a rate with context tiers is ``{"base", "tiers"}``."""
    price = Price("unknown") if row is None else row.price
    document = price_to_json(price)
    rates = {kind: document.get(kind) for kind in KINDS if kind in document or kind in _ALWAYS}
    rest = {key: value for key, value in document.items() if key not in rates}
    return {"state": price.state, "origin": None if row is None else row.origin, **rates, **rest}


def model_document(row: Listed) -> dict[str, Any]:
    """A model as every face shows it, with its quality as the router judges it and what calls of
    it were like; unknown is null."""
    return {
        **document(row.model),
        "complexity_factor": row.model.complexity_factor,
        "price": price_document(row.price),
        "quality": None if row.quality is None else round(row.quality, 4),
        **document(row, "quality_class", "quality_basis", "speed_class"),
        "latency_ms": None if row.latency_ms is None else round(row.latency_ms),
        "speed": None
        if row.speed is None
        else {
            "ttft_ms": round(row.speed.ttft_ms),
            "output_tokens_per_s": round(row.speed.tokens_s, 1),
            "basis": row.speed.basis,
            "source": row.speed.source,
        },
        "calls": row.calls,
    }


def chain_consent(chain: Chain) -> str:
    """What may stand in for its first model, in words."""
    if chain.any_cost:
        dearer = "any cost"
    elif chain.max_cost_multiple is None:
        dearer = "its models at any cost"
    else:
        dearer = f"up to {chain.max_cost_multiple:g} times the cost"
    paid = {None: "", True: ", free to paid", False: ", never free to paid"}
    return dearer + paid[chain.allow_free_to_paid]


def revision_document(revision: Revision) -> dict[str, Any]:
    """Without the fleet itself."""
    return document(revision, "number", "at_ms", "who", "reason")


def audit_document(entry: AuditEntry) -> dict[str, Any]:
    import json

    return {
        **document(entry, "id", "at_ms", "who", "action", "target"),
        "before": None if entry.before is None else json.loads(entry.before),
        "after": None if entry.after is None else json.loads(entry.after),
        "hash": entry.hash,
    }


def uses_document(uses: Sequence[str]) -> dict[str, list[str]]:
    """``uses`` as FleetService.uses gives them ("role x", "rule 3", "chain y"), by kind."""
    found: dict[str, list[str]] = {"roles": [], "rules": [], "chains": []}
    for use in uses:
        kind, _, name = use.partition(" ")
        found[f"{kind}s"].append(name)
    return found


#: Fields of a model that a document holds, in this order.
MODEL_FIELDS = (
    "name",
    "type",
    "context_window",
    "max_output",
    "input_types",
    "output_types",
    "badges",
    "lacks",
    "scores",
    "strengths",
    "recommended_for",
    "parameters_b",
    "token_weights",
    "settings",
    "status",
    "is_default",
    "hidden",
)


#: Of a provider: what its table is called by, and what is found out and not set.
_NOT_WRITTEN = ("slug", "status")
#: Fields that stand there whatever they say; others do where they say something.
_KEPT = ("name", "protocol", "base_url", "auth_method", "enabled")


def fleet_document(
    providers: Providers, models: Models, assignments: Assignments, budgets: Budgets
) -> dict[str, Any]:
    """TOML-ready: only strings, numbers, booleans, lists and tables; sorted by name."""
    prices = models.user_prices()
    touched = models.touched()
    found = {model.id: model for model in models.own()}
    for model_id in prices.keys() - found.keys():
        priced = models.get(model_id)
        if priced is not None:
            found[model_id] = priced
    return fleet_tables(
        providers.all(),
        [found[model_id] for model_id in sorted(found)],
        touched,
        {model_id: stored.price for model_id, stored in prices.items()},
        assignments.roles(),
        assignments.chains(),
        assignments.rules(),
        [budget for budget in budgets.all() if not budget.passing],
    )


def _provider(provider: Provider) -> dict[str, Any]:
    fields = asdict(provider)
    return {
        name: value
        for name, value in fields.items()
        if name not in _NOT_WRITTEN and (value or name in _KEPT)
    }


def fleet_tables(
    providers: Iterable[Provider],
    models: Iterable[ModelInfo],
    touched: Mapping[str, frozenset[str]],
    prices: Mapping[str, Price],
    roles: Iterable[Role],
    chains: Iterable[Chain],
    rules: Iterable[Rule],
    budgets: Iterable[Budget],
) -> dict[str, Any]:
    """As ``fleet_document`` has it. ``touched``: the fields of each model that the user set."""
    from omni_cli.services.money.budget_document import budget_name, budget_table

    described = {
        model.id: _model(model, touched.get(model.id, frozenset()), prices.get(model.id))
        for model in models
    }
    document: dict[str, Any] = {
        "providers": {provider.slug: _provider(provider) for provider in providers},
        "models": {model_id: fields for model_id, fields in described.items() if fields},
        "roles": {
            role.name: {
                **({"description": role.description} if role.description else {}),
                "models": [
                    {"model": item.model, "priority": item.priority}
                    for item in sorted(role.models, key=lambda item: (item.priority, item.model))
                ],
            }
            for role in roles
        },
        "chains": {
            chain.name: {
                **{
                    name: value
                    for name, value in (
                        ("max_cost_multiple", chain.max_cost_multiple),
                        ("any_cost", chain.any_cost or None),
                        ("allow_free_to_paid", chain.allow_free_to_paid),
                        ("hedge_ms", chain.hedge_ms),
                    )
                    if value is not None
                },
                "links": [
                    {
                        "model": link.model,
                        "max_retries": link.max_retries,
                        "timeout_ms": link.timeout_ms,
                    }
                    for link in chain.links
                ],
            }
            for chain in chains
        },
        "rules": [
            {
                "condition": rule.condition,
                "model": rule.model,
                "priority": rule.priority,
                "enabled": rule.enabled,
            }
            for rule in sorted(rules, key=lambda rule: rule.priority)
        ],
        "budgets": {
            budget_name(budget): budget_table(budget) for budget in sorted(budgets, key=budget_name)
        },
    }
    return {key: value for key, value in document.items() if value}


def _model(model: ModelInfo, touched: frozenset[str], price: Price | None) -> dict[str, Any]:
    wanted = touched if model.is_system else frozenset(MODEL_FIELDS) | {"aliases"}
    fields: dict[str, Any] = {}
    for name in (*MODEL_FIELDS, "aliases"):
        value = getattr(model, name)
        if name not in wanted or value is None or (not value and name not in touched):
            continue
        if isinstance(value, frozenset):
            value = sorted(value)
        elif isinstance(value, tuple):
            value = list(value)
        fields[name] = value if isinstance(value, str | int | float | list) else dict(value)
    if price is not None:
        fields["price"] = price_to_json(price)
    return fields
