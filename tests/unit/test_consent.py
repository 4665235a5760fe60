"""What a stand-in may cost unasked (G1): the rule, and who counts as the first choice."""

from collections.abc import Callable

import pytest

from omni_cli.config import Routing
from omni_cli.domain.budgets import Budget, BudgetStatus
from omni_cli.domain.consent import Consent
from omni_cli.domain.errors import UsageError
from omni_cli.domain.models import ModelInfo, Role, RoleModel, Rule
from omni_cli.domain.prices import Rates
from omni_cli.domain.record import replace
from omni_cli.domain.routing import CompiledRule, Contender, Decision, Query, decide
from omni_cli.domain.rules import parse
from omni_cli.domain.tasks import TaskEstimate
from omni_cli.gateway.options import from_headers
from omni_cli.services.engine.routing import RouteOptions

CENT = 10_000_000
PAID = Consent(first="p/a", first_nusd=2 * CENT)
FREE = Consent(first="p/a", first_nusd=0)
CHAIN = replace(PAID, listed=("q/b",), chain="steady")


@pytest.mark.parametrize(
    ("consent", "model", "cost", "word"),
    [
        # 1. what is listed, at any price, unless its chain forbids
        (CHAIN, "q/b", 1_000 * CENT, ""),
        (CHAIN, "q/b", None, ""),
        (replace(CHAIN, first_nusd=0), "q/b", 1_000 * CENT, ""),
        (replace(CHAIN, chain_multiple=2.0), "q/b", 4 * CENT, ""),
        (replace(CHAIN, chain_multiple=2.0), "q/b", 4 * CENT + 1, "more than 2 times"),
        (replace(CHAIN, chain_multiple=2.0), "q/b", None, "unknown"),
        (replace(CHAIN, chain_multiple=2.0, first_nusd=1), "q/b", 3, "more than 2 times"),
        (replace(CHAIN, first_nusd=0, free_only=True), "q/b", 1, "is free"),
        # 2. nothing below the floor
        (replace(PAID, first_nusd=1), "r/c", CENT + 1, ""),
        (replace(PAID, first_nusd=1), "r/c", CENT + 2, "more than 5 times"),
        (replace(PAID, first_nusd=1, floor_nusd=0), "r/c", 5, ""),
        (replace(PAID, first_nusd=1, floor_nusd=0), "r/c", 6, "more than 5 times"),
        (FREE, "r/c", CENT, ""),
        # 3. above it, the multiple; from free to paid a switch of its own
        (PAID, "r/c", 10 * CENT, ""),
        (PAID, "r/c", 10 * CENT + 1, "more than 5 times"),
        (PAID, "r/c", None, "unknown"),
        (replace(PAID, multiple=None), "r/c", 1_000 * CENT, ""),
        (replace(PAID, any_cost=True), "r/c", 1_000 * CENT, ""),
        (replace(CHAIN, chain_multiple=2.0, any_cost=True), "q/b", 1_000 * CENT, ""),
        (FREE, "r/c", CENT + 1, "is free"),
        (FREE, "r/c", None, "is free"),
        (replace(FREE, any_cost=True), "r/c", CENT + 1, "is free"),
        (replace(FREE, free_to_paid=True), "r/c", 1_000 * CENT, ""),
        # what costs nothing, the first choice itself, and a first choice of unknown price
        (replace(PAID, multiple=1.0, floor_nusd=0), "r/c", 0, ""),
        (replace(PAID, multiple=1.0, floor_nusd=0), "p/a", 1_000 * CENT, ""),
        (replace(PAID, first_nusd=None), "r/c", 1_000 * CENT, ""),
    ],
)
def test_the_rule(consent: Consent, model: str, cost: int | None, word: str) -> None:
    refusal = consent.refusal(model, cost)
    if not word:
        assert refusal is None
    else:
        assert refusal is not None
        assert word in refusal.why
        assert "p/a" in refusal.why  # against whom it is measured


@pytest.mark.parametrize(
    ("consent", "ways"),
    [
        (PAID, ("--any-cost", "x-omni-any-cost", "routing.max_fallback_multiple 0")),
        (FREE, ("--free-to-paid", "x-omni-free-to-paid", "routing.allow_free_to_paid true")),
        (replace(CHAIN, chain_multiple=2.0), ("omni chains edit 'steady' --any-cost",)),
        (
            replace(CHAIN, first_nusd=0, free_only=True),
            ("omni chains edit 'steady' --free-to-paid",),
        ),
    ],
)
def test_a_refusal_says_what_lifts_it(consent: Consent, ways: tuple[str, ...]) -> None:
    refusal = consent.refusal("q/b" if consent.listed else "r/c", 1_000 * CENT)
    assert refusal is not None
    assert all(way in refusal.lift for way in ways)


# --- whoever is down, or without budget, has failed ---------------------------------------------


def contender(model: str, usd_per_m: int, quality: float = 0.8) -> Contender:
    slug, _, name = model.partition("/")
    rates = Rates(usd_per_m * 10**6, usd_per_m * 10**6, usd_per_m * 10**6)
    return Contender(ModelInfo(model, slug, name, name), "priced", rates, quality=quality)


def left_with(contender: Contender, nusd: int) -> Contender:
    """A budget of its provider's own has so much left."""
    budget = Budget(1, "provider", contender.model.provider, "day", 10**9)
    status = BudgetStatus(budget, 0, 1, 0, 10**9 - nusd, 0, 10**9)
    return replace(contender, budgets=(status,))


#: Of 10,000 tokens and some 500: 1 $/M is about a cent.
QUERY = Query(TaskEstimate("chat", {"chat": 1.0}, "low", 0.2), 10_000)


CHEAP = contender("p/cheap", 1)
Absent = Callable[[Contender], Contender]


def fate(decision: Decision) -> dict[str, str]:
    return {c.model: c.kept_out for c in decision.candidates}


@pytest.mark.parametrize(
    ("absent", "kept_out"),
    [
        (lambda c: replace(c, down="breaker open"), "breaker"),
        (lambda c: left_with(c, 0), "budget"),
    ],
)
class TestAbsent:
    def test_who_stands_in_is_measured_against_who_is_absent(
        self, absent: Absent, kept_out: str
    ) -> None:
        decision = decide(QUERY, [absent(CHEAP), contender("q/dear", 10)])
        assert decision.model is None
        assert fate(decision) == {"p/cheap": kept_out, "q/dear": "consent"}
        lifted = replace(QUERY, consent=Consent(any_cost=True))
        decision = decide(lifted, [absent(CHEAP), contender("q/dear", 10)])
        assert decision.model == "q/dear"
        assert "in place of p/cheap" in decision.reason
        assert decision.consent.first == "p/cheap"

    def test_small_sums_need_none(self, absent: Absent, kept_out: str) -> None:
        small = replace(QUERY, input_tokens=10)
        decision = decide(small, [absent(CHEAP), contender("q/dear", 10)])
        assert decision.model == "q/dear"
        assert fate(decision)["p/cheap"] == kept_out

    def test_whoever_would_not_have_been_chosen_is_no_measure(
        self, absent: Absent, kept_out: str
    ) -> None:
        poor = absent(replace(CHEAP, quality=0.1))
        decision = decide(QUERY, [poor, contender("q/dear", 10)])
        assert decision.model == "q/dear"
        assert decision.consent.first == "q/dear"

    def test_a_roles_models_are_consent(self, absent: Absent, kept_out: str) -> None:
        role = Role("r", "", (RoleModel("p/cheap", 1), RoleModel("q/dear", 2)))
        fleet = [absent(CHEAP), contender("q/dear", 100), contender("s/other", 20)]
        decision = decide(replace(QUERY, role=role), fleet)
        assert (decision.model, decision.by) == ("q/dear", "role")
        assert fate(decision)["s/other"] == "consent"

    def test_a_rules_model_is_a_first_choice(self, absent: Absent, kept_out: str) -> None:
        rule = CompiledRule(Rule(1, "true", "p/cheap"), parse("priority == 'balanced'"))
        query = replace(QUERY, facts={"priority": "balanced"})
        better = contender("q/dear", 10, quality=1.0)
        assert decide(query, [absent(CHEAP), better], [rule]).model is None

    def test_after_a_chain_the_cheapest(self, absent: Absent, kept_out: str) -> None:
        query = replace(QUERY, order=("p/cheap", "q/b"), order_name="chain c")
        fleet = [
            absent(CHEAP),
            contender("q/b", 3),
            contender("r/c", 2, quality=0.99),
            contender("s/d", 1, quality=0.98),
            contender("t/hopeless", 1, quality=0.1),
        ]
        decision = decide(query, fleet)
        assert decision.ranked() == ["q/b", "s/d", "r/c", "t/hopeless"]
        assert decision.by == "chain"


def test_the_models_of_a_role_come_in_its_order_then_whoever_is_cheapest() -> None:
    role = Role("r", "", (RoleModel("q/b", 1), RoleModel("p/cheap", 2)))
    fleet = [contender("q/b", 9), CHEAP, contender("s/d", 3), contender("r/c", 2, quality=0.99)]
    assert decide(replace(QUERY, role=role), fleet).ranked() == ["q/b", "p/cheap", "r/c", "s/d"]


def test_a_budget_that_leaves_too_little_is_a_filter() -> None:
    short = left_with(contender("p/a", 1), CENT // 10)
    decision = decide(replace(QUERY, consent=Consent(any_cost=True)), [short, contender("q/b", 9)])
    assert decision.model == "q/b"
    assert "has $0.001 left" in decision.candidates[-1].dropped
    free = replace(short, price_state="free")
    assert decide(QUERY, [free, contender("q/b", 9)]).model == "p/a"
    vague = replace(short, rates=None, price_state="unknown")
    decision = decide(QUERY, [vague, contender("q/b", 9)])
    assert "cannot hold it" in decision.candidates[-1].dropped


@pytest.mark.parametrize(("text", "value"), [("1", True), ("true", True), ("0", False)])
def test_the_gateways_headers_lift_it(text: str, value: bool) -> None:
    headers = {"x-omni-any-cost": text, "x-omni-free-to-paid": text}
    options = from_headers(headers, RouteOptions())
    assert (options.any_cost, options.free_to_paid) == (value, value)


def test_a_header_that_says_neither_yes_nor_no_is_refused() -> None:
    with pytest.raises(UsageError, match="any_cost is true or false"):
        from_headers({"x-omni-any-cost": "perhaps"}, RouteOptions())


def test_the_settings_are_the_rules_figures() -> None:
    assert Routing().consent == Consent()
    changed = Routing(consent_floor_usd=0.5, max_fallback_multiple=0.0, allow_free_to_paid=True)
    assert changed.consent == Consent(50 * CENT, None, free_to_paid=True)
