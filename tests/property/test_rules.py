"""Rules: every tree survives its canonical text, and no input raises anything else."""

from decimal import Decimal

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from omni_cli.domain import rules
from omni_cli.domain.errors import RuleSyntaxError
from omni_cli.domain.rule_tree import (
    VARIABLES,
    And,
    Compare,
    Constant,
    Contains,
    Flag,
    Member,
    Not,
    Or,
    Value,
)

KEYS = st.sampled_from(sorted(VARIABLES))
TEXTS = st.text(max_size=12)


def values(key: str) -> st.SearchStrategy[Value]:
    variable = VARIABLES[key]
    match variable.kind:
        case "choice" | "ordered":
            return st.sampled_from(variable.values)
        case "text":
            return TEXTS
        case "count":
            return st.integers(0, 10**12)
        case "share":
            return st.floats(0, 1).map(abs)
        case "money":
            return st.decimals(0, 1000, places=6).map(abs)
        case "flag":
            return st.booleans()


def operators(key: str) -> st.SearchStrategy[str]:
    ordered = VARIABLES[key].kind in ("ordered", "count", "share", "money")
    return st.sampled_from(["==", "!=", "<", "<=", ">", ">="] if ordered else ["==", "!="])


LEAVES = st.one_of(
    st.builds(Constant, st.booleans()),
    st.builds(Flag, st.sampled_from([k for k, v in VARIABLES.items() if v.kind == "flag"])),
    KEYS.flatmap(lambda key: st.builds(Compare, st.just(key), operators(key), values(key))),
    KEYS.flatmap(
        lambda key: st.builds(
            Member,
            st.just(key),
            st.lists(values(key), min_size=1, max_size=3).map(tuple),
            st.booleans(),
        )
    ),
    st.builds(
        Contains,
        st.sampled_from([k for k, v in VARIABLES.items() if v.kind == "text"]),
        st.text(min_size=1, max_size=12),
    ),
)
TREES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.builds(Not, inner),
        st.builds(And, st.lists(inner, min_size=2, max_size=3).map(tuple)),
        st.builds(Or, st.lists(inner, min_size=2, max_size=3).map(tuple)),
    ),
    max_leaves=8,
)
FACTS = st.fixed_dictionaries({}, optional={k: st.none() | values(k) for k in VARIABLES})


@given(TREES)
def test_parse_inverts_unparse(tree: rules.Node) -> None:
    text = rules.unparse(tree)
    assume(len(text) <= rules.MAX_CHARS)
    assert rules.parse(text) == tree


@given(TREES, FACTS)
def test_evaluation_depends_on_the_variables_only(
    tree: rules.Node, facts: dict[str, object]
) -> None:
    asked = {key: facts.get(key) for key in rules.variables(tree)}
    assert rules.evaluate(tree, facts) is rules.evaluate(tree, asked)
    assert rules.evaluate(Not(tree), facts) is not rules.evaluate(tree, facts)


WORDS = (
    [v.name for v in VARIABLES.values()]
    + "== != < <= > >= === !== && || ! ( ) [ ] , in not and or contains true false".split()  # noqa: SIM905  # a list would fill a page
    + "'coding' 'x' \"low\" 1 0.5 3.5 9e9 - ' \\ . é \x00 \n".split(" ")  # noqa: SIM905  # a list would fill a page
)


def parsed(source: str) -> rules.Node | RuleSyntaxError:
    try:
        return rules.parse(source)
    except RuleSyntaxError as error:
        return error


@given(st.lists(st.sampled_from(WORDS), max_size=14).map(" ".join) | st.text(max_size=200))
def test_only_rule_syntax_errors_and_columns_inside(source: str) -> None:
    answer = parsed(source)
    if isinstance(answer, RuleSyntaxError):
        assert 1 <= answer.column <= len(source) + 1
        assert answer.message
    else:
        canonical = rules.unparse(answer)
        assert rules.parse(canonical) == answer
        assert rules.unparse(rules.parse(canonical)) == canonical


@pytest.mark.parametrize("source", ["maxCost == " + "9" * 980, "difficulty < 0." + "1" * 980])
def test_long_numbers_are_just_numbers(source: str) -> None:
    tree = rules.parse(source)
    assert isinstance(tree, Compare)
    assert isinstance(tree.value, Decimal | float)
    assert rules.parse(rules.unparse(tree)) == tree
