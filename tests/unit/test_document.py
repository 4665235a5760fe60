"""A value as JSON from its own definition: names say how a field is written."""

import json
from decimal import Decimal

from msgspec import Struct

from omni_cli.domain.budgets import Budget
from omni_cli.domain.document import document
from omni_cli.domain.models import Chain, ChainLink, ModelInfo, Role, RoleModel
from omni_cli.services.money.budget_document import budget_document


class _Inner(Struct, frozen=True):
    cost_nusd: int | None


class _Value(Struct, frozen=True):
    cost_nusd: int | None
    used_at: int | None
    seen_at_ms: int
    at_ms: int
    names: frozenset[str]
    inner: tuple[_Inner, ...]
    by_name: dict[str, _Inner]


def test_a_fields_name_says_how_it_is_written() -> None:
    value = _Value(
        1_500_000_000, None, 0, 1, frozenset({"b", "a"}), (_Inner(None),), {"x": _Inner(1)}
    )
    assert document(value) == {
        "cost_usd": "1.5",
        "used_at": None,
        "seen_at": "1970-01-01T00:00:00.000Z",
        "at": "1970-01-01T00:00:00.001Z",
        "names": ["a", "b"],
        "inner": [{"cost_usd": None}],
        "by_name": {"x": {"cost_usd": "0.000000001"}},
    }
    assert list(document(value, "at_ms", "cost_nusd")) == ["at", "cost_usd"]


def test_documents_keep_their_keys() -> None:
    """What scripts read: a field that is renamed takes its key along, so that this fails."""
    model = document(ModelInfo("p/m", "p", "m", "M"))
    assert {*model} == {
        "id", "provider", "wire_name", "name", "aliases", "type", "context_window", "max_output",
        "input_types", "output_types", "badges", "lacks", "scores", "score_sources", "strengths",
        "recommended_for", "parameters_b", "token_weights", "settings", "status", "is_system",
        "is_default", "hidden", "retired_on", "added_at", "updated_at",
    }  # fmt: skip
    assert document(Chain("c", (ChainLink("p/m"),))) == {
        "name": "c",
        "links": [{"model": "p/m", "max_retries": 2, "timeout_ms": 30_000}],
        "max_cost_multiple": None,
        "allow_free_to_paid": None,
        "hedge_ms": None,
        "any_cost": False,
    }
    role = Role("r", "does", (RoleModel("p/m", 2),))
    assert document(role) == {
        "name": "r",
        "description": "does",
        "models": [{"model": "p/m", "priority": 2}],
    }
    budget = budget_document(Budget(1, "all", "", "day", 2_500_000_000))
    assert {*budget} == {
        "id", "scope", "value", "period", "limit_usd", "alerts_percent", "stop_percent", "rollover",
        "allow_unknown", "raise_usd", "raise_until", "zone", "week_start", "month_day", "enabled",
    }  # fmt: skip
    assert (budget["limit_usd"], budget["value"], budget["week_start"]) == ("2.5", None, "monday")
    assert Decimal(budget["raise_usd"]) == 0
    json.dumps([model, budget])
