"""The fleet as one document: what a revision keeps and TOML shows. Never a secret.

System models appear only where the user touched them: the catalogue supplies the rest.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from omni_cli.domain.budgets import Budget
from omni_cli.domain.models import Chain, ModelInfo, Provider, Role, Rule
from omni_cli.domain.prices import Price
from omni_cli.domain.pricing import price_to_json
from omni_cli.domain.record import asdict
from omni_cli.repositories import Assignments, Budgets, Models, Providers
from omni_cli.services.money.budget_document import budget_name, budget_table

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
_ALWAYS = ("name", "protocol", "base_url", "auth_method", "enabled")


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
        if name not in _NOT_WRITTEN and (value or name in _ALWAYS)
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
