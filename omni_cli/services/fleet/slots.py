"""The usual jobs within a coding agent's session, who of the fleet is to do each, and why.

A slot is a role and a rule. Quality comes first: a slot's model is the cheapest of those whose
estimated quality at its task is within a slack of the best that the fleet has. A step after which
something went wrong goes back to the strongest.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from omni_cli.domain.agents import AGENTS
from omni_cli.domain.errors import NoRoute, UsageError
from omni_cli.domain.models import ModelInfo, Rule
from omni_cli.repositories import Assignments, Providers
from omni_cli.services.fleet.fleet import FleetService
from omni_cli.services.fleet.setup import Chooser, Pick, PriorOf, RoleWish
from omni_cli.services.money.prices import PriceBook

#: What an agent's model must be known to do.
_TOOLS = frozenset({"function-calling"})
#: Agents that ask a vendor to search the web in calls of their own, by the protocol they speak.
_SEARCHES: Mapping[str, str] = {
    "claude-code": "anthropic",
    "gemini-cli": "gemini",
}
#: Of its window a model gets so much before the one for long input takes over, and how much wider
#: that must be.
_FULL, _WIDER = 0.75, 1.5
#: Tokens that an agent's conversation soon has: a narrower model does side tasks only.
_LEAST_WINDOW = 64_000


class Slot(Struct, frozen=True):
    """``when``: the rule's condition beside the agent's name, "" for all that is left."""

    name: str
    when: str
    wish: RoleWish


def _slot(
    name: str, when: str, about: str, task: str, slack: float, needs: frozenset[str] = _TOOLS
) -> Slot:
    return Slot(name, when, RoleWish(f"agent_{name}", about, task, slack, needs))


DEFAULT = _slot("default", "", "an agent's everyday steps", "coding", 0.03)
STRONG = _slot(
    "thinking",
    "(thinking && step == 'question') || stepFailed",
    "what a person asks an agent to think about, and steps that went wrong",
    "coding",
    0.0,
)
SLOTS: tuple[Slot, ...] = (
    _slot(
        "web_search", "webSearch && !hasTools", "searches of the web", "research", 0.05, frozenset()
    ),
    _slot(
        "images",
        "hasImages",
        "work with screenshots and pictures",
        "coding",
        0.05,
        _TOOLS | {"vision"},
    ),
    _slot("long_context", "", "conversations that are too long for the others", "coding", 0.05),
    _slot("background", "background", "titles, summaries, checks", "chat", 1.0, frozenset()),
    STRONG,
    DEFAULT,
)


class Chosen(Struct, frozen=True):
    """Who is to do a slot's work. ``models``: none where nobody can, or nobody else has to.
    ``rule``: its condition, "" where none is needed. ``why`` is for people."""

    slot: str
    role: str
    description: str
    models: tuple[str, ...]
    rule: str
    why: str
    is_new: bool = True


class Slots(Struct, frozen=True):
    agent: str
    chosen: tuple[Chosen, ...]

    @property
    def empty(self) -> bool:
        """Nothing is to be changed."""
        return not any(one.is_new for one in self.chosen)


def agent_named(name: str) -> str:
    """As reports call it. Raises UsageError."""
    for word, agent in AGENTS.items():
        if name in (word, agent.known_as):
            return agent.known_as
    known = ", ".join(agent.known_as for agent in AGENTS.values())
    raise UsageError(f"omni knows no agent {name!r}", hint=f"one of: {known}")


def propose_slots(
    agent: str,
    models: Sequence[ModelInfo],
    providers: Providers,
    assignments: Assignments,
    *,
    prices: PriceBook,
    prior: PriorOf,
    tasks: Sequence[str],
) -> Slots:
    """
    Args:
        models: those that are active.
        assignments: roles and rules that are there already stay as they are.
        prior: (task type, model id) to the estimated quality.
        tasks: the task types.

    Raises UsageError: no such agent; NoRoute: no active model is known to call tools.
    """
    agent = agent_named(agent)
    prices.load(model.id for model in models)
    chooser = Chooser(prices.of, prior, tasks, lambda _provider, _model: False)
    protocols = {provider.slug: provider.protocol for provider in providers.all()}
    roles = {role.name for role in assignments.roles()}
    picks = [chooser.pick(model, "balanced") for model in models]
    wide = [p for p in picks if (p.model.context_window or _LEAST_WINDOW) >= _LEAST_WINDOW]
    found = chooser.role(DEFAULT.wish, wide)
    if not found:
        raise NoRoute(
            "no active model is known to call tools, and to have room for what an agent reads",
            hint="omni models list shows them; omni models activate adds one",
        )
    base = next(pick for pick in picks if pick.model.id == found[0])
    known = {rule.condition for rule in assignments.rules()}
    chosen = []
    for slot in SLOTS:
        able = picks if slot.name == "background" else wide
        one = _choose(slot, agent, able, base, chooser, protocols)
        new = bool(one.models) and (one.rule not in known if one.rule else False)
        new = new or (bool(one.models) and one.role not in roles)
        chosen.append(
            Chosen(one.slot, one.role, one.description, one.models, one.rule, one.why, new)
        )
    return Slots(agent, tuple(chosen))


def _choose(
    slot: Slot,
    agent: str,
    able: Sequence[Pick],
    base: Pick,
    chooser: Chooser,
    protocols: Mapping[str, str],
) -> Chosen:
    whose, when = f"agent contains '{agent}'", slot.when
    if slot.name == "long_context":
        window = base.model.context_window
        able = [p for p in able if (p.model.context_window or 0) >= (window or 0) * _WIDER]
        if not window or not able:
            wide = f"{window:,} tokens" if window else "of unknown size"
            return _none(slot, f"no model has a much wider window than {base.model.id} ({wide})")
        when = f"inputTokens > {int(window * _FULL)}"
    if slot.name == "web_search":
        speaks = _SEARCHES.get(agent)
        if speaks is None:
            return _none(slot, "it asks no vendor for a search alone")
        able = [p for p in able if protocols[p.model.provider] == speaks]
        if not able:
            return _none(slot, f"no provider of the fleet speaks {speaks}: its searches fail")
    names = chooser.role(slot.wish, able)
    if not names:
        return _none(slot, f"no active model is known to have {', '.join(sorted(slot.wish.needs))}")
    first = next(pick for pick in able if pick.model.id == names[0])
    condition = f"{whose} && {when}" if "||" not in when else f"{whose} && ({when})"
    if slot.name == "default":
        condition = whose
    elif names[0] == base.model.id:
        return Chosen(
            slot.name, slot.wish.name, slot.wish.description, (), "", f"{names[0]}, as by default"
        )
    why = f"{slot.wish.description}: {_reason(slot.wish, first, able, chooser)}"
    return Chosen(slot.name, slot.wish.name, slot.wish.description, names, condition, why)


def _none(slot: Slot, why: str) -> Chosen:
    return Chosen(slot.name, slot.wish.name, slot.wish.description, (), "", why)


def _reason(wish: RoleWish, first: Pick, able: Sequence[Pick], chooser: Chooser) -> str:
    """What the choice rests on."""
    rated = {p.model.id: q for p in able if (q := chooser.at(wish.task, p.model.id)) is not None}
    mine = rated.get(first.model.id)
    price = "" if first.average_usd is None else f", ${first.average_usd:.2f} per 1M tokens"
    if mine is None:
        return f"the cheapest; nothing is known of its quality at {wish.task}{price}"
    top = max(rated, key=lambda name: (rated[name], name))
    told = f"quality {mine:.2f} at {wish.task}{price}"
    if top == first.model.id:
        return f"the best of the fleet, {told}"
    if wish.slack >= 1:
        return f"the cheapest that is good enough, {told}"
    return f"the cheapest within {wish.slack:.2f} of {top} ({rated[top]:.2f}), {told}"


def apply_slots(
    fleet: FleetService, rules: Sequence[Rule], roles: frozenset[str], new: Slots
) -> None:
    """Roles and rules as one revision. The user's own rules go on coming first."""
    known = {rule.condition for rule in rules}
    place = max((rule.priority for rule in rules), default=0)
    with fleet.change("fleet.slots", new.agent, None, None):
        for one in new.chosen:
            if one.models and one.role not in roles:
                for priority, model in enumerate(one.models, 1):
                    fleet.assign_role(one.role, model, priority, one.description)
            if one.rule and one.rule not in known:
                place += 1
                fleet.add_rule(one.rule, one.models[0], place)


def slots_document(found: Slots, *, applied: bool) -> dict[str, Any]:
    return {
        "applied": applied,
        "agent": found.agent,
        "slots": [
            {
                "slot": one.slot,
                "role": one.role if one.models else None,
                "models": list(one.models),
                "rule": one.rule or None,
                "new": one.is_new,
                "why": one.why,
            }
            for one in found.chosen
        ],
    }
