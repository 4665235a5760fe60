"""What a provider lists, against what it listed before and what omni knows (A7)."""

from collections.abc import Iterable, Mapping
from typing import Literal

from msgspec import Struct, field

from omni_cli.domain.models import OTHER_WORDS

FindingKind = Literal["new", "updated", "deprecated", "gone"]
KINDS: tuple[FindingKind, ...] = ("new", "updated", "deprecated", "gone")


class Facts(Struct, frozen=True):
    """A model as its provider lists it; None and empty where the listing is silent.

    ``prices``: US dollars per 1M tokens by kind, as decimal text.
    """

    name: str | None = None
    context_window: int | None = None
    max_output: int | None = None
    badges: frozenset[str] = frozenset()
    input_types: tuple[str, ...] = ()
    output_types: tuple[str, ...] = ()
    prices: Mapping[str, str] = field(default_factory=dict)


class Change(Struct, frozen=True):
    """One field of a model, before and after, as text; None: nothing was known."""

    field: str
    before: str | None
    after: str | None


class Known(Struct, frozen=True):
    """What omni holds of a model. ``facts`` as far as it knows them; ``fixed``: fields that the
    user set, which no listing changes (``price`` among them)."""

    facts: Facts
    active: bool = False
    retired_on: str | None = None
    fixed: frozenset[str] = frozenset()


class Finding(Struct, frozen=True):
    """One thing worth knowing. ``known``: omni had the model before. ``day``: ISO date of a
    retirement. ``chats``: as far as its name and listing tell, it answers in text."""

    kind: FindingKind
    wire_name: str
    known: bool
    active: bool = False
    changes: tuple[Change, ...] = ()
    day: str | None = None
    chats: bool = True


def findings(
    listed: Mapping[str, Facts],
    before: Mapping[str, Facts] | None,
    known: Mapping[str, Known],
) -> list[Finding]:
    """
    Args:
        listed: by wire name, what the provider lists now.
        before: what it listed at the last look; None at the first one.
        known: by wire name, the models that omni has of this provider.

    Returns:
        New: listed, and unknown to omni or not listed at the last look. Updated: of models at
        work, what differs from what omni holds; of others, what differs from the last look.
        Deprecated: at work, and with a day of retirement. Gone: listed at the last look, not now.
    """
    found: list[Finding] = []
    for wire_name in sorted(listed):
        facts, mine = listed[wire_name], known.get(wire_name)
        chats = _chats(wire_name, facts)
        if mine is None or (before is not None and wire_name not in before):
            found.append(
                Finding("new", wire_name, mine is not None, bool(mine and mine.active), chats=chats)
            )
        if mine is None:
            continue
        base = mine.facts if mine.active else (before or {}).get(wire_name)
        changes = () if base is None else _changes(base, facts, mine.fixed)
        if changes:
            found.append(Finding("updated", wire_name, True, mine.active, changes, chats=chats))
    for wire_name, mine in sorted(known.items()):
        if mine.active and mine.retired_on is not None:
            found.append(Finding("deprecated", wire_name, True, True, day=mine.retired_on))
    for wire_name in sorted(set(before or {}) - set(listed)):
        mine = known.get(wire_name)
        if mine is not None:
            chats = _chats(wire_name, (before or {})[wire_name])
            found.append(Finding("gone", wire_name, True, mine.active, chats=chats))
    return found


def _changes(before: Facts, after: Facts, fixed: Iterable[str]) -> tuple[Change, ...]:
    """Only what the listing states; what it is silent about did not change."""
    held = frozenset(fixed)
    found = []
    for name in ("context_window", "max_output"):
        old, new = getattr(before, name), getattr(after, name)
        if new is not None and new != old and name not in held:
            found.append(Change(name, None if old is None else str(old), str(new)))
    gained = after.badges - before.badges
    if gained and "badges" not in held:
        found.append(
            Change("badges", ", ".join(sorted(before.badges)) or None, ", ".join(sorted(gained)))
        )
    if "price" not in held and {"input", "output"} <= after.prices.keys():
        for kind, text in sorted(after.prices.items()):
            old_text = before.prices.get(kind)
            # A kind that omni has no price for is news only beside ones that differ.
            if (old_text is not None or not before.prices) and old_text != text:
                found.append(Change(f"price {kind}", old_text, text))
    return tuple(found)


def _chats(wire_name: str, facts: Facts) -> bool:
    if facts.output_types:
        return "text" in facts.output_types
    name = wire_name.lower()
    return not any(word in name for word in OTHER_WORDS)
