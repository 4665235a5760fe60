"""Which rules hold for a request, which one fires, and who would answer. Sends nothing."""

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from omni_cli.domain.chat import ChatRequest
from omni_cli.domain.document import document
from omni_cli.domain.models import Rule
from omni_cli.domain.routing import Decision
from omni_cli.domain.rules import VARIABLES, evaluate, parse, variables
from omni_cli.services.engine.names import AUTO_SELECTOR, Selector
from omni_cli.services.engine.routing import (
    RouteOptions,
    RoutingService,
    input_estimate,
    rule_facts,
)


class Tested(Struct, frozen=True):
    """``rules``: those that are on, in their order, and whether each holds. ``facts`` of the
    request by key. ``names``: the model or chain that it asks for, with which no rule counts."""

    names: str
    decision: Decision
    rules: tuple[tuple[Rule, bool], ...]
    facts: Mapping[str, object]

    def said(self, condition: str) -> dict[str, Any]:
        """The facts that a condition asks for, by the names that it calls them."""
        named = variables(parse(condition))
        return {VARIABLES[k].name: plain(v) for k, v in self.facts.items() if k in named}


def facts_of(
    routing: RoutingService, request: ChatRequest, options: RouteOptions, selector: Selector
) -> Mapping[str, object]:
    """What rules may ask of a request."""
    estimate = routing.estimate(request, options)
    return rule_facts(request, options, estimate, input_estimate(request), selector)


def try_rules(
    routing: RoutingService,
    rules: Sequence[Rule],
    request: ChatRequest,
    options: RouteOptions,
    selector: Selector = AUTO_SELECTOR,
) -> Tested:
    """Raises NoRoute."""
    facts = facts_of(routing, request, options, selector)
    tried = tuple((rule, evaluate(parse(rule.condition), facts)) for rule in rules if rule.enabled)
    named = selector.name if selector.kind in ("model", "chain") else ""
    decision = routing.decide(request, options, AUTO_SELECTOR if named else selector)
    return Tested(named, decision, tried, facts)


def tested_document(found: Tested) -> dict[str, Any]:
    decision = found.decision
    return {
        "names": found.names or None,
        "rule": decision.rule,
        "model": decision.model,
        "by": decision.by,
        "reason": decision.reason,
        "rules": [{**document(rule), "holds": holds} for rule, holds in found.rules],
        "facts": facts_document(found.facts),
    }


def facts_document(facts: Mapping[str, object]) -> dict[str, Any]:
    return {VARIABLES[key].name: plain(value) for key, value in facts.items()}


def plain(value: object) -> Any:
    """A fact as JSON shows it; money as text."""
    return value if isinstance(value, str | int | float | None) else str(value)
