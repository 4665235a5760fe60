"""The fleet's nouns as JSON values: what ``--json`` prints. Keys are stable, times are ISO UTC,
money is decimal text in US dollars, unknown is null."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from omni_cli.domain.health import Health
from omni_cli.domain.models import Chain, ModelInfo, Provider, Role, Rule
from omni_cli.domain.prices import KINDS, Price, price_to_json
from omni_cli.records import AuditEntry, Revision, StoredPrice

#: Keys of a price that are always there, null where the price has no such rate.
_ALWAYS = ("input", "cached", "cache_write", "output")


def iso(at_ms: int | None) -> str | None:
    """ISO 8601 in UTC with milliseconds."""
    if at_ms is None:
        return None
    whole = datetime.fromtimestamp(at_ms / 1000, UTC)
    return whole.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def provider_document(
    provider: Provider,
    *,
    key: str | None,
    masked: str | None,
    active: int,
    total: int,
    tested: tuple[int, int | None, str | None] | None,
    address: str,
    health: Health | None,
) -> dict[str, Any]:
    """
    Args:
        key: where the key is: ``env:NAME``, ``keyring``, ``file``, or None where there is none.
        masked: the key as it may be shown, or None.
        active: models of this provider at work; ``total`` all that omni knows of.
        address: where the base URL is from: ``env:NAME``, ``usual`` or ``settings``.
        tested: when in ms UTC, latency in ms and error of the last check.
        health: the health report's verdict; None for a provider that is disabled.
    """
    at_ms, latency_ms, error = tested or (None, None, None)
    return {
        "slug": provider.slug,
        "name": provider.name,
        "protocol": provider.protocol,
        "base_url": provider.base_url,
        "base_url_from": address,
        "auth_method": provider.auth_method,
        "key_env": provider.key_env,
        "key": key,
        "key_masked": masked,
        "enabled": provider.enabled,
        "status": provider.status,
        "health": None if health is None else health.status,
        "health_reason": None if health is None else health.reason,
        "max_concurrency": provider.max_concurrency,
        "simulated": provider.simulated,
        "headers": sorted(provider.headers),
        "models_active": active,
        "models_total": total,
        "tested_at": iso(at_ms),
        "latency_ms": latency_ms,
        "last_error": error,
    }


def price_document(row: StoredPrice | None) -> dict[str, Any]:
    """Rates are per 1,000,000 tokens; a rate with context tiers is ``{"base", "tiers"}``."""
    price = Price("unknown") if row is None else row.price
    document = price_to_json(price)
    rates = {kind: document.get(kind) for kind in KINDS if kind in document or kind in _ALWAYS}
    rest = {key: value for key, value in document.items() if key not in rates}
    return {"state": price.state, "origin": None if row is None else row.origin, **rates, **rest}


def model_document(model: ModelInfo, price: StoredPrice | None) -> dict[str, Any]:
    return {
        "id": model.id,
        "provider": model.provider,
        "wire_name": model.wire_name,
        "name": model.name,
        "aliases": list(model.aliases),
        "type": model.type,
        "status": model.status,
        "context_window": model.context_window,
        "max_output": model.max_output,
        "input_types": list(model.input_types),
        "output_types": list(model.output_types),
        "badges": sorted(model.badges),
        "lacks": sorted(model.lacks),
        "scores": dict(model.scores),
        "score_sources": dict(model.score_sources),
        "strengths": list(model.strengths),
        "recommended_for": list(model.recommended_for),
        "parameters_b": model.parameters_b,
        "complexity_factor": model.complexity_factor,
        "token_weights": dict(model.token_weights),
        "price": price_document(price),
        "is_system": model.is_system,
        "is_default": model.is_default,
        "hidden": model.hidden,
        "retired_on": model.retired_on,
        "added_at": iso(model.added_at),
        "updated_at": iso(model.updated_at),
    }


def role_document(role: Role) -> dict[str, Any]:
    return {
        "name": role.name,
        "description": role.description,
        "models": [{"model": item.model, "priority": item.priority} for item in role.models],
    }


def rule_document(rule: Rule) -> dict[str, Any]:
    return {
        "id": rule.id,
        "condition": rule.condition,
        "model": rule.model,
        "priority": rule.priority,
        "enabled": rule.enabled,
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


def chain_document(chain: Chain) -> dict[str, Any]:
    return {
        "name": chain.name,
        "max_cost_multiple": chain.max_cost_multiple,
        "any_cost": chain.any_cost,
        "allow_free_to_paid": chain.allow_free_to_paid,
        "hedge_ms": chain.hedge_ms,
        "links": [
            {
                "model": link.model,
                "max_retries": link.max_retries,
                "timeout_ms": link.timeout_ms,
            }
            for link in chain.links
        ],
    }


def revision_document(revision: Revision) -> dict[str, Any]:
    """Without the fleet itself."""
    return {
        "number": revision.number,
        "at": iso(revision.at_ms),
        "who": revision.who,
        "reason": revision.reason,
    }


def audit_document(entry: AuditEntry) -> dict[str, Any]:
    import json

    return {
        "id": entry.id,
        "at": iso(entry.at_ms),
        "who": entry.who,
        "action": entry.action,
        "target": entry.target,
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
