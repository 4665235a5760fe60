"""Two fleets that came from one: what both changed, and the fleet with both sides' changes."""

from collections.abc import Mapping
from typing import Any, Literal

from msgspec import Struct

from omni_cli.services.fleet.deploy import compare

Side = Literal["mine", "theirs"]
_TABLES = ("providers", "models", "roles", "chains", "budgets")
_RULES = "rules"


class Conflict(Struct, frozen=True):
    """One thing that both sides changed, differently. Lines are those of ``omni diff``."""

    section: str
    name: str
    mine: tuple[str, ...]
    theirs: tuple[str, ...]


def merge(
    base: Mapping[str, Any],
    mine: Mapping[str, Any],
    theirs: Mapping[str, Any],
    prefer: Side | None = None,
) -> tuple[dict[str, Any], list[Conflict]]:
    """Both sides' changes since ``base``, as fleet documents.

    Each provider, model, role, chain and budget is one thing, and the rules together are one:
    their order counts. ``prefer`` settles what both changed; without it the conflicts are
    returned, and the document holds this side's version of them.
    """
    merged: dict[str, Any] = {}
    conflicts: list[Conflict] = []

    def settle(section: str, name: str, b: Any, m: Any, t: Any) -> Any:
        if m == t or t == b:
            return m
        if m == b:
            return t
        if prefer is None:
            conflicts.append(
                Conflict(section, name, _lines(section, name, b, m), _lines(section, name, b, t))
            )
        return t if prefer == "theirs" else m

    for section in _TABLES:
        b, m, t = base.get(section, {}), mine.get(section, {}), theirs.get(section, {})
        kept = {
            name: value
            for name in sorted({*m, *t})
            if (value := settle(section, name, b.get(name), m.get(name), t.get(name))) is not None
        }
        if kept:
            merged[section] = kept
    rules = settle(_RULES, "", base.get(_RULES), mine.get(_RULES), theirs.get(_RULES))
    if rules:
        merged[_RULES] = rules
    return merged, conflicts


def _lines(section: str, name: str, before: Any, after: Any) -> tuple[str, ...]:
    def document(value: Any) -> dict[str, Any]:
        if value is None:
            return {}
        return {section: value if section == _RULES else {name: value}}

    changes = compare(document(before), document(after))
    return tuple(line for change in changes for line in change.lines())
