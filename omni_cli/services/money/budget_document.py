"""Budgets as JSON values, as tables of the fleet document, and back."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from msgspec import structs

from omni_cli.domain.budgets import SCOPES, Budget, BudgetStatus
from omni_cli.domain.document import document
from omni_cli.domain.errors import OmniError, UsageError
from omni_cli.domain.money import NUSD_PER_USD, format_usd, usd_string, usd_to_nusd
from omni_cli.domain.periods import iso, period_kind
from omni_cli.domain.tasks import WEEKDAYS

_DEFAULTS = {item.name: item.default for item in structs.fields(Budget)}
_SHOWN = tuple(name for name in Budget.__struct_fields__ if name != "since_ms")
_PLAIN = (
    "alerts_percent",
    "stop_percent",
    "rollover",
    "allow_unknown",
    "zone",
    "week_start",
    "month_day",
    "enabled",
)


def budget_name(budget: Budget) -> str:
    """What tells budgets apart: "day all", "month model:openai/gpt-4o"."""
    whose = budget.scope if budget.scope == "all" else f"{budget.scope}:{budget.value}"
    return f"{budget.period} {whose}"


def budget_document(budget: Budget) -> dict[str, Any]:
    """A budget as every face shows it."""
    return {
        **document(budget, *_SHOWN),
        "value": budget.value or None,
        "raise_until": iso(budget.raise_until),
        "week_start": WEEKDAYS[budget.week_start],
    }


def status_document(status: BudgetStatus) -> dict[str, Any]:
    """A budget and how far along it is."""
    return {
        **budget_document(status.budget),
        "resets_at": iso(status.end_at),
        **document(status, "state", "start_at", "carried_nusd", "stop_at_nusd", "spent_nusd"),
        **document(status, "estimated_nusd", "reserved_nusd", "held_nusd", "left_nusd"),
        "used_percent": None if status.used_percent is None else round(status.used_percent, 3),
    }


def budget_table(budget: Budget) -> dict[str, Any]:
    """TOML-ready; amounts are decimal strings, the end of a raise is ISO 8601 in UTC."""
    table: dict[str, Any] = {"limit_usd": usd_string(budget.limit_nusd)}
    for name in _PLAIN:
        value = getattr(budget, name)
        if value != _DEFAULTS[name] or name == "zone":
            table[name] = list(value) if isinstance(value, tuple) else value
    if budget.raise_until is not None:
        table["raise_usd"] = usd_string(budget.raise_nusd)
        until = datetime.fromtimestamp(budget.raise_until / 1000, UTC)
        table["raise_until"] = until.isoformat(timespec="milliseconds")
    return table


def budget_from(name: str, table: Mapping[str, Any]) -> Budget:
    """The budget that ``budget_name`` and ``budget_table`` describe, without an id.

    Raises:
        UsageError: an unknown scope, period or field, or a value that does not fit.
    """
    period, _, whose = name.partition(" ")
    scope, _, value = whose.partition(":")
    unknown = table.keys() - {*_PLAIN, "limit_usd", "raise_usd", "raise_until"}
    if unknown:
        raise UsageError(f"budget {name}: unknown field {sorted(unknown)[0]!r}")
    try:
        values = {key: table[key] for key in _PLAIN if key in table}
        values |= {"scope": scope, "period": period}  # checked below
        if "alerts_percent" in values:
            values["alerts_percent"] = tuple(float(p) for p in values["alerts_percent"])
        if "raise_until" in table:
            until = datetime.fromisoformat(table["raise_until"])
            values["raise_until"] = round(until.timestamp() * 1000)
            values["raise_nusd"] = usd_to_nusd(table["raise_usd"])
        budget = Budget(
            0,
            value=value,
            limit_nusd=usd_to_nusd(table["limit_usd"]),
            **values,
        )
        check_budget(budget)
    except (TypeError, ValueError, KeyError) as exc:
        raise UsageError(f"budget {name} does not fit: {exc}") from exc
    return budget


def check_budget(budget: Budget) -> None:
    """Raises UsageError where a budget cannot be kept; ConfigError for a zone or a period's day."""
    if budget.scope not in SCOPES or (budget.scope == "all") != (budget.value == ""):
        raise UsageError(
            f"a budget is for all or for SCOPE:NAME, not {budget.scope}:{budget.value}",
            hint=f"scopes are {', '.join(SCOPES)}",
        )
    period_kind(budget.period)
    try:
        _ = budget.rule
    except OmniError as exc:
        raise UsageError(f"the {budget.label}: {exc.message}", hint=exc.hint) from exc
    if budget.limit_nusd < 0 or budget.raise_nusd < 0:
        raise UsageError("a budget's amounts are 0 or more")
    if max(budget.limit_nusd, budget.raise_nusd) > _MOST_NUSD:
        raise UsageError(f"a budget is at most {format_usd(_MOST_NUSD)}")
    if not 0 <= budget.stop_percent <= _MOST_PERCENT:
        raise UsageError(f"--stop is a percentage of the limit, 0 to {_MOST_PERCENT}")
    if not all(0 < percent <= _MOST_PERCENT for percent in budget.alerts_percent):
        raise UsageError(f"--alert is a percentage of the limit, above 0 to {_MOST_PERCENT}")


_MOST_PERCENT = 1000
#: With rollover and a raise, at ten times of it, a limit still fits the store's 64 bits.
_MOST_NUSD = 100_000_000 * NUSD_PER_USD
