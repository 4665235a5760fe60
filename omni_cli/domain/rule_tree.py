"""The tree of a routing rule: its nodes, the variables it may ask about, its canonical text."""

import operator
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Literal

from msgspec import Struct

from omni_cli.domain.steps import STEPS
from omni_cli.domain.tasks import COMPLEXITIES, TASK_TYPES

Kind = Literal["choice", "ordered", "text", "count", "share", "money", "flag"]
Value = str | int | float | Decimal | bool


class Variable(Struct, frozen=True):
    """``name`` is the specs' spelling; the fact's key is its snake_case form.

    Kinds: ``choice`` one of ``values``; ``ordered`` the same, rising; ``text`` free text;
    ``count`` a whole number; ``share`` 0..1; ``money`` US dollars, Decimal or float; ``flag`` bool.
    """

    name: str
    kind: Kind
    values: tuple[str, ...] = ()

    @property
    def example(self) -> str:
        """A condition that asks about this variable."""
        match self.kind:
            case "choice" | "ordered":
                return f"{self.name} == '{self.values[-1]}'"
            case "text":
                return f"{self.name} contains '...'"
            case "count":
                return f"{self.name} > 3"
            case "share":
                return f"{self.name} > 0.5"
            case "money":
                return f"{self.name} < 0.05"
            case "flag":
                return self.name


#: What a rule may ask about, by the key of its fact.
VARIABLES: Mapping[str, Variable] = {
    "task_type": Variable("taskType", "choice", TASK_TYPES),
    "complexity": Variable("complexity", "ordered", COMPLEXITIES),
    "difficulty": Variable("difficulty", "share"),
    "priority": Variable("priority", "choice", ("cheap", "balanced", "best")),
    "latency_pref": Variable("latencyPref", "choice", ("fast", "normal")),
    "role": Variable("role", "text"),
    "agent": Variable("agent", "text"),
    "org": Variable("org", "text"),
    "prompt": Variable("prompt", "text"),
    "input_tokens": Variable("inputTokens", "count"),
    "turns": Variable("turns", "count"),
    "max_cost": Variable("maxCost", "money"),
    "has_images": Variable("hasImages", "flag"),
    "has_tools": Variable("hasTools", "flag"),
    "needs_json": Variable("needsJson", "flag"),
    "background": Variable("background", "flag"),
    "thinking": Variable("thinking", "flag"),
    "tools": Variable("tools", "text"),
    "web_search": Variable("webSearch", "flag"),
    "sub_agent": Variable("subAgent", "flag"),
    "step": Variable("step", "choice", STEPS),
    "step_failed": Variable("stepFailed", "flag"),
    "requested_model": Variable("requestedModel", "text"),
}
_RANK: Mapping[str, int] = {value: rank for rank, value in enumerate(COMPLEXITIES)}
COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


class Constant(Struct, frozen=True):
    value: bool

    def holds(self, facts: Mapping[str, object]) -> bool:  # noqa: ARG002 - all nodes answer alike
        return self.value


class Flag(Struct, frozen=True):
    variable: str

    def holds(self, facts: Mapping[str, object]) -> bool:
        return bool(facts.get(self.variable))


class Compare(Struct, frozen=True):
    variable: str
    op: str
    value: Value

    def holds(self, facts: Mapping[str, object]) -> bool:
        fact = facts.get(self.variable)
        if fact is None:
            return False
        if self.variable == "complexity":
            return COMPARE[self.op](_RANK[str(fact)], _RANK[str(self.value)])
        if self.variable == "max_cost":
            fact = Decimal(str(fact))  # a float 0.05 is not the 0.05 of the rule
        return COMPARE[self.op](fact, self.value)


class Member(Struct, frozen=True):
    variable: str
    values: tuple[Value, ...]
    negated: bool = False

    def holds(self, facts: Mapping[str, object]) -> bool:
        fact = facts.get(self.variable)
        if fact is None:
            return False
        if self.variable == "max_cost":
            fact = Decimal(str(fact))  # as in Compare
        return (fact in self.values) is not self.negated


class Contains(Struct, frozen=True):
    variable: str
    text: str

    def holds(self, facts: Mapping[str, object]) -> bool:
        fact = facts.get(self.variable)
        return fact is not None and self.text.casefold() in str(fact).casefold()


class Not(Struct, frozen=True):
    item: "Node"

    def holds(self, facts: Mapping[str, object]) -> bool:
        return not self.item.holds(facts)


class And(Struct, frozen=True):
    """``items``: at least two."""

    items: tuple["Node", ...]

    def holds(self, facts: Mapping[str, object]) -> bool:
        for item in self.items:  # noqa: SIM110 - twice as fast as all() of a generator
            if not item.holds(facts):
                return False
        return True


class Or(Struct, frozen=True):
    """``items``: at least two."""

    items: tuple["Node", ...]

    def holds(self, facts: Mapping[str, object]) -> bool:
        for item in self.items:  # noqa: SIM110 - as in And
            if item.holds(facts):
                return True
        return False


Node = Constant | Flag | Compare | Member | Contains | Not | And | Or


def evaluate(tree: Node, facts: Mapping[str, object]) -> bool:
    """Does the rule hold? ``facts`` by the keys of VARIABLES; absent and None mean missing."""
    return tree.holds(facts)


def variables(tree: Node) -> frozenset[str]:
    """The keys of the facts that the rule asks for."""
    match tree:
        case Constant():
            return frozenset()
        case Not(item):
            return variables(item)
        case And(items) | Or(items):
            return frozenset().union(*map(variables, items))
        case _:
            return frozenset((tree.variable,))


def unparse(tree: Node) -> str:
    """The rule's canonical text: ``parse(unparse(tree)) == tree`` (within the length cap)."""
    match tree:
        case Constant(value):
            return _literal(value)
        case Flag(variable):
            return VARIABLES[variable].name
        case Compare(variable, op, value):
            return f"{VARIABLES[variable].name} {op} {_literal(value)}"
        case Member(variable, values, negated):
            word = "not in" if negated else "in"
            return f"{VARIABLES[variable].name} {word} [{', '.join(map(_literal, values))}]"
        case Contains(variable, text):
            return f"{VARIABLES[variable].name} contains {_literal(text)}"
        case Not(item):
            bare = isinstance(item, Constant | Flag | Not)
            return f"!{unparse(item)}" if bare else f"!({unparse(item)})"
        case And(items):
            return " && ".join(_within(item, And | Or) for item in items)
        case Or(items):
            return " || ".join(_within(item, Or) for item in items)


def _within(item: Node, parenthesised: Any) -> str:
    return f"({unparse(item)})" if isinstance(item, parenthesised) else unparse(item)


def _literal(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
    # 'f' of a Decimal never writes an exponent, and repr gives a float's shortest digits.
    return format(value if isinstance(value, Decimal) else Decimal(repr(value)), "f")
