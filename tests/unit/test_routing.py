"""decide(): filters, rules, role, score, and the words for it (B3, B5)."""

from collections.abc import Sequence

import pytest

from omni_cli.domain import rules as rule_language
from omni_cli.domain.models import ModelInfo, Role, RoleModel, Rule
from omni_cli.domain.prices import Rates
from omni_cli.domain.record import replace
from omni_cli.domain.routing import CompiledRule, Contender, Decision, Query, decide
from omni_cli.domain.tasks import Complexity, Priority, TaskEstimate, Weights

TASK = TaskEstimate("coding", {"coding": 1.0}, "medium", 0.5)
QUERY = Query(task=TASK, input_tokens=1_000)


def contender(name: str, usd_per_1m: int | None = 1, **fields: object) -> Contender:
    """One that costs so many dollars per 1M tokens, both ways; None: price unknown."""
    info = {k: fields.pop(k) for k in list(fields) if k in ModelInfo.__struct_fields__}
    model = ModelInfo(f"p/{name}", "p", name, name, **info)  # type: ignore[arg-type]  # by name
    rates = None
    if usd_per_1m is not None:
        rates = Rates(usd_per_1m * 1_000_000, usd_per_1m * 1_000_000, usd_per_1m * 1_000_000)
    state = "unknown" if rates is None else "priced"
    return Contender(model, state, rates, **{"quality": 0.8, **fields})


def rule(condition: str, model: str, priority: int = 1, number: int = 1) -> CompiledRule:
    return CompiledRule(Rule(number, condition, model, priority), rule_language.parse(condition))


def why(decision: Decision, name: str) -> str:
    (found,) = [c for c in decision.candidates if c.model == f"p/{name}"]
    return decision.reason_of(found)


def order(decision: Decision) -> list[str]:
    return [c.model.removeprefix("p/") for c in decision.candidates if c.eligible]


class TestFilters:
    @pytest.mark.parametrize(
        ("left_out", "query", "reason"),
        [
            (contender("x", blocked="no key for p"), QUERY, "no key for p"),
            (
                contender("x", lacks=frozenset({"vision"})),
                replace(QUERY, image_input=True),
                "takes no images",
            ),
            (
                contender("x", lacks=frozenset({"json-mode"})),
                replace(QUERY, needs=frozenset({"json-mode"})),
                "has no json-mode",
            ),
            (contender("x", type="vision"), QUERY, "answers images only"),
            (contender("x", output_types=("labels",)), QUERY, "writes labels, not text"),
            (contender("x", output_types=("image",)), QUERY, "writes image, not text"),
            (contender("x", output_types=()), QUERY, "writes nothing, not text"),
            (
                contender("x", context_window=1_000),
                QUERY,
                "context of 1,000 tokens is too small for about 1,000",
            ),
            (
                contender("x", context_window=1_500, max_output=800),
                replace(QUERY, max_output_tokens=600),
                "context of 1,500 tokens is too small for about 1,000 and 600 to answer",
            ),
            (
                contender("x", 100),
                replace(QUERY, max_cost_nusd=10_000_000),
                "expected $0.15 is above the maximum $0.01",
            ),
            (
                contender("x", None),
                replace(QUERY, max_cost_nusd=10_000_000),
                "price unknown, so the maximum cost cannot be promised",
            ),
            (
                contender("x", None),
                replace(QUERY, allow_unknown_price=False),
                "price unknown (prices.allow_unknown is off)",
            ),
            (
                contender("x", quality=0.3),
                replace(QUERY, min_quality=0.6),
                "quality 30% is below 60%",
            ),
            (
                contender("x", quality=0.0),
                replace(QUERY, min_quality=0.4),
                "quality 0% is below 40%",
            ),
            (
                contender("x", quality=None),
                replace(QUERY, min_quality=0.6),
                "quality not measured is below 60%",
            ),
        ],
    )
    def test_each_drops_with_its_reason(
        self, left_out: Contender, query: Query, reason: str
    ) -> None:
        fine = contender("fine", 1, input_types=("text", "image"), quality=0.7)
        decision = decide(query, [left_out, fine])
        assert decision.model == "p/fine"
        assert why(decision, "x") == reason

    def test_room_for_the_answer_is_enough(self) -> None:
        query = replace(QUERY, max_output_tokens=9_000)
        # It could not write more than 500 anyway.
        assert decide(query, [contender("x", context_window=1_600, max_output=500)]).model == "p/x"

    def test_nobody_left_says_so(self) -> None:
        decision = decide(QUERY, [contender("x", blocked="disabled")])
        assert (decision.model, decision.by) == (None, "filters")
        assert decide(QUERY, []).reason == "the fleet has no active model"
        assert decision.ranked() == []


class TestBadges:
    NEED = replace(QUERY, needs=frozenset({"function-calling"}))

    def test_known_comes_before_unknown(self) -> None:
        knows = contender("knows", 9, badges=frozenset({"function-calling"}))
        decision = decide(self.NEED, [contender("silent", 1), knows])
        assert decision.model == "p/knows"
        assert why(decision, "silent") == "not known to have function-calling; others are"

    def test_unknown_is_not_no(self) -> None:
        decision = decide(self.NEED, [contender("a", 2), contender("b", 1)])
        assert decision.model == "p/b"
        assert "no model is known to have all that is needed" in decision.reason

    @pytest.mark.parametrize(
        "query",
        [replace(QUERY, needs=frozenset({"vision"})), replace(QUERY, image_input=True)],
    )
    def test_an_unknown_one_sees_last_and_a_blind_one_never(self, query: Query) -> None:
        three = [
            contender("blind", lacks=frozenset({"vision"})),
            contender("silent", quality=0.99),
            contender("eyes", 9, quality=0.5, badges=frozenset({"vision"})),
        ]
        decision = decide(query, three)
        assert decision.ranked() == ["p/eyes", "p/silent"]
        assert why(decision, "blind") == "takes no images"
        assert why(decision, "silent") == "not known to have vision; others are"
        assert decide(query, three[:2]).ranked() == ["p/silent"]

    def test_a_role_tries_its_unknown_ones_after_its_known_ones(self) -> None:
        role = Role("eyes", "", (RoleModel("p/silent", 1), RoleModel("p/sees", 2)))
        query = replace(QUERY, image_input=True, role=role)
        both = [
            contender("silent"),
            contender("sees", 9, badges=frozenset({"vision"})),
            contender("other", 1, badges=frozenset({"vision"})),
        ]
        assert decide(query, both).model == "p/sees"
        # What the user put into the role is named by the user.
        assert decide(query, [both[0], both[2]]).model == "p/silent"

    def test_a_hopeless_model_stands_in_last_however_cheap(self) -> None:
        role = Role("coder", "", (RoleModel("p/first", 1),))
        four = [
            contender("first", 5, quality=0.9),
            contender("tiny", 0, quality=0.1),
            contender("dear", 9, quality=0.9),
            contender("cheap", 1, quality=0.85),
        ]
        decision = decide(replace(QUERY, role=role), four)
        assert decision.ranked() == ["p/first", "p/cheap", "p/dear", "p/tiny"]

    def test_labels_are_for_who_listed_them(self) -> None:
        labels = contender("labels", 0, type="vision", output_types=("labels",))
        eyes = contender("eyes", 9, badges=frozenset({"vision"}))
        image = replace(QUERY, image_input=True)
        assert decide(image, [labels, eyes]).ranked() == ["p/eyes"]
        listed = replace(image, listed=frozenset({"p/labels"}))
        assert decide(listed, [labels]).ranked() == ["p/labels"]
        assert decide(listed, [labels, eyes]).ranked() == ["p/eyes", "p/labels"]
        role = Role("tags", "", (RoleModel("p/labels"),))
        assert decide(replace(listed, role=role), [labels, eyes]).model == "p/labels"
        asked = decide(replace(listed, image_input=False, role=role), [labels, eyes])
        assert asked.model == "p/eyes"
        assert why(asked, "labels") == "answers images only"


class TestScore:
    def test_the_formula_worked_by_hand(self) -> None:
        # Costs at 1,500 tokens: 1.5, 4.5 and 7.5 m$, of which ln(1 + cost / 0.01 m$) over
        # ln(100,001) is .43578, .53082 and .57512. Latencies 5, 2 and 1 s: ln(1 + s / 0.25)
        # over ln(481) is .49298, .35577 and .26060.
        three = [
            contender("a", 1, quality=0.90, latency_ms=5_000.0),
            contender("b", 3, quality=0.95, latency_ms=2_000.0),
            contender("c", 5, quality=0.92, latency_ms=1_000.0),
        ]
        decision = decide(QUERY, three)
        scores = {c.model: c.score for c in decision.candidates}
        assert scores == pytest.approx(
            {
                "p/a": 0.4 * 0.56422 + 0.3 * 0.50702 + 0.3 * 0.90,  # .648
                "p/b": 0.4 * 0.46918 + 0.3 * 0.64423 + 0.3 * 0.95,  # .666
                "p/c": 0.4 * 0.42488 + 0.3 * 0.73940 + 0.3 * 0.92,  # .668
            },
            abs=2e-5,
        )
        assert order(decision) == ["c", "b", "a"]
        assert decision.by == "score"
        assert decision.reason == "score 0.668: $0.0075 expected, quality 92%"

    def test_the_users_weights_count(self) -> None:
        two = [contender("cheap", 1, quality=0.80), contender("good", 9, quality=0.88)]
        assert decide(QUERY, two).model == "p/cheap"
        heavy = replace(QUERY, weights=Weights(cost=0.01, latency=0.0, task_match=0.99))
        assert decide(heavy, two).model == "p/good"

    @pytest.mark.parametrize("measured_ms", [200.0, 1_200.0, 2_700.0])
    @pytest.mark.parametrize("times_as_dear", [10, 30])
    def test_a_measurement_does_not_beat_a_model_many_times_cheaper(
        self, measured_ms: float, times_as_dear: int
    ) -> None:
        dear = contender("dear", times_as_dear, quality=0.96, latency_ms=measured_ms)
        assert decide(QUERY, [dear, contender("cheap", 1, quality=0.95)]).model == "p/cheap"
        measured = contender("cheap", 1, quality=0.95, latency_ms=2 * measured_ms)
        assert decide(QUERY, [dear, measured]).model == "p/cheap"

    def test_of_two_alike_the_quicker_one_answers(self) -> None:
        two = [contender("slow", 1, latency_ms=4_000.0), contender("quick", 1, latency_ms=900.0)]
        assert order(decide(QUERY, two)) == ["quick", "slow"]

    def test_what_nobody_timed_says_so(self) -> None:
        (candidate,) = decide(QUERY, [contender("new", 1)]).candidates
        assert (candidate.expected_latency_ms, candidate.latency_basis) == (None, "not measured")

    def test_an_unknown_price_scores_as_the_dearest(self) -> None:
        three = [contender("vague", None), contender("dear", 9), contender("cheap", 1)]
        decision = decide(QUERY, three)
        assert order(decision) == ["cheap", "dear", "vague"]
        assert "price unknown" in why(decision, "vague")

    def test_a_model_below_the_bar_does_not_win_by_its_price(self) -> None:
        # Free and fast, but 60 % is under 88 % of 0.9.
        two = [contender("weak", 0, quality=0.6), contender("good", 9, quality=0.9)]
        decision = decide(QUERY, two)
        assert decision.model == "p/good"
        assert "bar of 79%" in why(decision, "weak")

    def test_below_the_bar_quality_decides_who_stands_in(self) -> None:
        three = [contender("tiny", 0, quality=0.3), contender("fair", 9, quality=0.6)]
        assert order(decide(QUERY, [*three, contender("good", 9, quality=0.9)])) == [
            "good", "fair", "tiny",
        ]  # fmt: skip

    @pytest.mark.parametrize("priority", ["cheap", "balanced", "best"])
    def test_hard_work_is_for_who_can_show_it(self, priority: Priority) -> None:
        hard = replace(QUERY, priority=priority, task=replace(TASK, complexity="high"))
        unknown = contender("sized", 0, quality=0.93, spread=0.1, evidence=False)
        known = contender("known", 9, quality=0.8)
        decision = decide(hard, [unknown, known])
        assert order(decision) == ["known", "sized"]
        assert [c.adequate for c in decision.candidates] == [True, False]
        assert decide(hard, [unknown]).model == "p/sized"  # alone it is as good as any

    @pytest.mark.parametrize("priority", ["cheap", "balanced", "best"])
    @pytest.mark.parametrize("complexity", ["low", "medium", "high"])
    def test_a_model_nothing_is_known_of_comes_last(
        self, priority: Priority, complexity: Complexity
    ) -> None:
        query = replace(QUERY, priority=priority, task=replace(TASK, complexity=complexity))
        three = [
            contender("mystery", 0, quality=None, spread=0.29),
            contender("weak", 3, quality=0.4),
            contender("good", 9, quality=0.9),
        ]
        assert order(decide(query, three)) == ["good", "weak", "mystery"]

    def test_hard_work_raises_the_bar_and_easy_work_lowers_it(self) -> None:
        two = [contender("fair", 1, quality=0.76), contender("good", 9, quality=0.9)]
        for complexity, winner in (("low", "p/fair"), ("high", "p/good")):
            query = replace(QUERY, task=replace(TASK, complexity=complexity))
            assert decide(query, two).model == winner

    def test_ties_go_to_the_cheaper_then_to_the_first_name(self) -> None:
        level = replace(QUERY, weights=Weights(0.0, 0.0, 1.0))
        assert decide(level, [contender("b", 1), contender("a", 2)]).model == "p/b"
        assert decide(level, [contender("b", 1), contender("a", 1)]).model == "p/a"

    def test_a_short_answer_is_a_cheap_one(self) -> None:
        decision = decide(replace(QUERY, max_output_tokens=10), [contender("a", 1)])
        assert decision.candidates[0].expected_cost_nusd == 1_010_000

    def test_the_conversations_model_has_its_cache(self) -> None:
        rates = Rates(1_000_000, 100_000, 1_000_000)
        query = replace(QUERY, conversation_model="p/a", cached_tokens=900)
        found = decide(query, [replace(contender("a"), rates=rates, output_tokens=0)])
        assert found.candidates[0].expected_cost_nusd == 100 * 1_000 + 900 * 100

    def test_fees_count_and_fractions_round_up(self) -> None:
        assert Rates(1, 1, 1, floor_pusd=5_000).cost_nusd(1, 0, 0) == 6
        assert (
            decide(QUERY, [replace(contender("a"), price_state="free", rates=None)])
            .candidates[0]
            .expected_cost_nusd
            == 0
        )


class TestManner:
    THREE: Sequence[Contender] = (
        contender("cheap", 1, quality=0.80, latency_ms=3_000.0),
        contender("fast", 4, quality=0.84, latency_ms=500.0),
        contender("best", 9, quality=0.95, latency_ms=5_000.0),
    )

    def test_cheap_takes_the_cheapest_adequate(self) -> None:
        decision = decide(replace(QUERY, priority="cheap"), self.THREE)
        assert (decision.model, decision.by) == ("p/cheap", "cheapest")
        assert decision.reason == "$0.0015 expected, quality 80% is adequate"

    def test_fast_takes_the_fastest_adequate(self) -> None:
        decision = decide(replace(QUERY, latency_pref="fast"), self.THREE)
        assert (decision.model, decision.by) == ("p/fast", "fastest")
        assert decision.reason == "0.5 s expected, quality 84% is adequate"

    def test_best_takes_the_best(self) -> None:
        decision = decide(replace(QUERY, priority="best"), self.THREE)
        assert (decision.model, decision.by) == ("p/best", "quality")

    def test_best_takes_the_cheaper_of_two_equals(self) -> None:
        two = [contender("dear", 9, quality=0.9), contender("same", 1, quality=0.9)]
        assert decide(replace(QUERY, priority="best"), two).model == "p/same"


class TestRulesAndRoles:
    TWO = (contender("a", 1), contender("b", 9))
    FACTS = replace(QUERY, facts={"task_type": "coding", "complexity": "medium"})

    def test_a_rule_that_holds_comes_first(self) -> None:
        held = rule("taskType == 'coding' && complexity == 'medium'", "p/b")
        decision = decide(self.FACTS, self.TWO, [held])
        assert (decision.model, decision.by, decision.rule) == ("p/b", "rule", 1)
        assert decision.reason == "rule 1 holds: taskType == 'coding' && complexity == 'medium'"
        assert order(decision) == ["b", "a"]

    def test_the_first_that_holds_counts_and_others_are_passed_over(self) -> None:
        rules = [
            rule("taskType == 'math'", "p/b", number=1),
            rule("taskType == 'coding'", "p/gone", number=2),
            rule("complexity == 'medium'", "p/b", number=3),
        ]
        decision = decide(self.FACTS, self.TWO, rules)
        assert (decision.model, decision.rule) == ("p/b", 3)
        assert "rule 2 prefers p/gone, not eligible" in decision.reason

    def test_a_rule_does_not_overrule_a_filter(self) -> None:
        blocked = replace(self.TWO[1], blocked="disabled")
        decision = decide(self.FACTS, [self.TWO[0], blocked], [rule("taskType == 'coding'", "p/b")])
        assert decision.model == "p/a"

    def test_a_role_gives_its_first_that_is_eligible(self) -> None:
        role = Role("coder", "", (RoleModel("p/gone", 1), RoleModel("p/b", 2)))
        decision = decide(replace(self.FACTS, role=role), self.TWO)
        assert (decision.model, decision.by) == ("p/b", "role")
        assert decision.reason == (
            "role coder, priority 2; role coder prefers p/gone, not eligible"
        )

    def test_a_rule_comes_before_a_role(self) -> None:
        role = Role("coder", "", (RoleModel("p/b"),))
        query = replace(self.FACTS, role=role)
        assert decide(query, self.TWO, [rule("taskType == 'coding'", "p/a")]).model == "p/a"
