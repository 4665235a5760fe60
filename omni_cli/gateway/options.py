"""What a caller says about its request besides its messages: headers, or fields of our own API."""

from collections.abc import Mapping
from typing import Any

from omni_cli.domain.errors import UsageError
from omni_cli.domain.models import BADGES, HEDGE_MS_RANGE
from omni_cli.domain.money import figure, usd_to_nusd
from omni_cli.domain.record import replace
from omni_cli.domain.tasks import COMPLEXITIES, LATENCY_PREFS, PRIORITIES, TASK_TYPES
from omni_cli.services.engine.routing import RouteOptions

#: Header to option.
_HEADERS = {
    "x-omni-priority": "priority",
    "x-omni-latency": "latency_pref",
    "x-omni-max-cost": "max_cost",
    "x-omni-task": "task_type",
    "x-omni-complexity": "complexity",
    "x-omni-agent": "agent",
    "x-omni-any-cost": "any_cost",
    "x-omni-free-to-paid": "free_to_paid",
    "x-omni-escalate": "escalate",
}
#: How a header says yes and no.
_TRUTHS = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
_OFF = ("off", "no", "0")
_LONGEST = 200
_MOST_CONTEXT = 999_999_999


def from_headers(headers: Mapping[str, str], default: RouteOptions) -> RouteOptions:
    """Raises UsageError when a header's value is none that it takes."""
    if _HEADERS.keys().isdisjoint(headers):
        return default
    found = {option: headers[header] for header, option in _HEADERS.items() if header in headers}
    return with_options(default, found)


def with_options(options: RouteOptions, given: Mapping[str, Any]) -> RouteOptions:
    """``options`` with the ones that are given and not null.

    Raises:
        UsageError: a value is none that its option takes.
    """
    changes: dict[str, Any] = {}
    for name, allowed in (
        ("priority", PRIORITIES),
        ("latency_pref", LATENCY_PREFS),
        ("task_type", TASK_TYPES),
        ("complexity", COMPLEXITIES),
    ):
        value = given.get(name)
        if value is None:
            continue
        if not isinstance(value, str) or value not in allowed:
            raise UsageError(f"{name} is one of {', '.join(allowed)}, not {value!r}")
        changes[name] = value
    for name in ("any_cost", "free_to_paid", "escalate"):
        value = given.get(name)
        if value is None:
            continue
        truth = _TRUTHS.get(str(value).strip().lower())
        if truth is None:
            raise UsageError(f"{name} is true or false (1 or 0 in a header), not {value!r}")
        changes[name] = truth
    if given.get("max_cost") is not None:
        changes["max_cost_nusd"] = _money(given["max_cost"])
    for name in ("agent", "role"):
        value = given.get(name)
        if value is None:
            continue
        if not isinstance(value, str) or len(value) > _LONGEST or not value.isprintable():
            raise UsageError(f"{name} must be printable text of at most {_LONGEST} characters")
        changes[name] = value
    if given.get("needs") is not None:
        needs = given["needs"]
        if not isinstance(needs, list) or not all(need in BADGES for need in needs):
            raise UsageError(f"needs is a list of {', '.join(BADGES)}")
        changes["needs"] = frozenset(needs)
    if given.get("context_tokens") is not None:
        tokens = given["context_tokens"]
        if type(tokens) is not int or not 0 <= tokens <= _MOST_CONTEXT:
            raise UsageError(f"context_tokens is a whole number from 0 to {_MOST_CONTEXT:,}")
        changes["context_tokens"] = tokens
    return replace(options, **changes)


def hedge_s(headers: Mapping[str, str], setting_ms: int | None) -> float | None:
    """Seconds until another model is asked as well; None: never.

    Args:
        headers: ``x-omni-hedge`` goes before the chain's ``setting_ms``.

    Raises:
        UsageError: the header is neither "off" nor milliseconds.
    """
    low, high = HEDGE_MS_RANGE
    header = headers.get("x-omni-hedge")
    if header is None:
        return None if setting_ms is None else setting_ms / 1000
    text = header.strip().lower()
    if text in _OFF:
        return None
    if not text.isdecimal() or len(text) > len(str(high)) or not low <= int(text) <= high:
        raise UsageError(f"x-omni-hedge is off, or milliseconds from {low} to {high}")
    return int(text) / 1000


def limit_s(headers: Mapping[str, str], most_s: float) -> float:
    """What a request may take, seconds: less than ``most_s`` where its caller wants less.

    Raises UsageError: the header is no number of seconds.
    """
    wish = headers.get("x-omni-timeout")
    if wish is None:
        return most_s
    try:
        seconds = float(wish)
    except ValueError:
        seconds = 0.0
    if not seconds > 0:
        raise UsageError(f"x-omni-timeout is a number of seconds, not {wish!r}")
    return min(seconds, most_s)


def _money(value: object) -> int:
    """Nano-dollars of US dollars as a number or decimal text. Raises UsageError."""
    amount = figure(value)
    if amount is None or not 0 <= amount < 10**9:
        raise UsageError(f"max_cost takes US dollars such as 0.05, not {value!r}")
    return usd_to_nusd(amount)
