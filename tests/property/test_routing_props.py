"""What must hold of any fleet and any query (B3)."""

import random

from hypothesis import assume, given
from hypothesis import strategies as st

from omni_cli.domain.models import ModelInfo, Role, RoleModel
from omni_cli.domain.prices import Rates
from omni_cli.domain.record import replace
from omni_cli.domain.routing import Contender, Decision, Query, decide
from omni_cli.domain.tasks import TaskEstimate

NAMES = st.sampled_from([f"p/{letter}" for letter in "abcdefgh"])
QUALITY = st.none() | st.integers(0, 20).map(lambda n: n / 20)
LATENCY = st.none() | st.integers(0, 9).map(lambda n: n * 700.0)


@st.composite
def contenders(draw: st.DrawFn, name: str | None = None) -> Contender:
    model_id = name or draw(NAMES)
    model = ModelInfo(
        model_id,
        "p",
        model_id[2:],
        model_id,
        context_window=draw(st.none() | st.integers(1, 4_000)),
        badges=frozenset(draw(st.sets(st.sampled_from(["function-calling", "json-mode"])))),
    )
    rate = draw(st.none() | st.integers(0, 9))
    return Contender(
        model,
        "unknown" if rate is None else "priced",
        None if rate is None else Rates(rate * 10**6, rate * 10**6, rate * 10**6),
        draw(st.sampled_from(["", "", "", "disabled"])),
        draw(QUALITY),
        "",
        draw(st.integers(1, 900)),
        draw(LATENCY),
    )


FLEETS = st.lists(contenders(), max_size=8, unique_by=lambda c: c.model.id)


@st.composite
def queries(draw: st.DrawFn) -> Query:
    complexity = draw(st.sampled_from(["low", "medium", "high"]))
    return Query(
        task=TaskEstimate("coding", {"coding": 1.0}, complexity, 0.5),
        input_tokens=draw(st.integers(0, 3_000)),
        max_output_tokens=draw(st.none() | st.integers(1, 2_000)),
        priority=draw(st.sampled_from(["cheap", "balanced", "best"])),
        latency_pref=draw(st.sampled_from(["fast", "normal"])),
        max_cost_nusd=draw(st.none() | st.integers(0, 30_000_000)),
        min_quality=draw(st.none() | st.sampled_from([0.3, 0.7])),
        needs=frozenset(draw(st.sets(st.sampled_from(["function-calling", "json-mode"])))),
        role=draw(
            st.none()
            | st.lists(NAMES, max_size=2, unique=True).map(
                lambda names: Role("r", "", tuple(RoleModel(n, i) for i, n in enumerate(names)))
            )
        ),
        allow_unknown_price=draw(st.booleans()),
    )


def eligible(decision: Decision) -> list[str]:
    return [c.model for c in decision.candidates if c.eligible]


@given(queries(), FLEETS, contenders("p/new"))
def test_one_more_that_is_not_eligible_changes_nothing(
    query: Query, fleet: list[Contender], new: Contender
) -> None:
    before = decide(query, fleet)
    after = decide(query, [*fleet, new])
    assume("p/new" not in eligible(after))
    # Without anybody eligible before and after, only the reason may tell an empty fleet.
    assert (after.model, after.by) == (before.model, before.by)
    assert eligible(after) == eligible(before)
    if before.model is not None:
        assert after.reason == before.reason


@given(queries(), FLEETS, st.randoms(use_true_random=False))
def test_the_order_of_the_fleet_does_not_matter(
    query: Query, fleet: list[Contender], rng: random.Random
) -> None:
    shuffled = list(fleet)
    rng.shuffle(shuffled)
    assert decide(query, shuffled) == decide(query, fleet)


@given(queries(), FLEETS)
def test_the_same_question_has_the_same_answer(query: Query, fleet: list[Contender]) -> None:
    first = decide(query, fleet)
    assert decide(query, fleet) == first
    assert (first.model is None) == (not eligible(first))
    assert first.model is None or first.candidates[0].model == first.model
    assert sorted(c.model for c in first.candidates) == sorted(c.model.id for c in fleet)
    assert all(first.reason_of(candidate) for candidate in first.candidates)


@given(
    queries(),
    FLEETS,
    contenders("p/worse"),
    st.tuples(st.integers(0, 9), st.integers(0, 20), st.integers(0, 9)),
    st.sampled_from([0.0, 0.1]),
)
def test_cheaper_and_better_and_no_slower_is_never_passed_over(
    query: Query,
    fleet: list[Contender],
    worse: Contender,
    known: tuple[int, int, int],
    more: float,
) -> None:
    rate, quality, latency = known[0] * 10**6, known[1] / 20, known[2] * 700.0
    worse = replace(
        worse,
        price_state="priced",
        rates=Rates(rate, rate, rate),
        quality=quality,
        latency_ms=latency,
    )
    better = replace(
        worse,
        model=replace(worse.model, id="p/better"),
        rates=Rates(rate // 2, rate // 2, rate // 2),
        quality=min(1.0, quality + more),
        latency_ms=latency / 2,
    )
    ranked = eligible(decide(replace(query, role=None), [*fleet, worse, better]))
    if "p/worse" in ranked:
        assert "p/better" in ranked
        assert ranked.index("p/better") < ranked.index("p/worse")


@given(queries(), FLEETS)
def test_money_and_quality_limits_are_kept(query: Query, fleet: list[Contender]) -> None:
    for candidate in decide(query, fleet).candidates:
        if not candidate.eligible:
            continue
        if query.max_cost_nusd is not None:
            assert candidate.expected_cost_nusd is not None
            assert candidate.expected_cost_nusd <= query.max_cost_nusd
        if query.min_quality is not None:
            quality = 0.5 if candidate.quality is None else candidate.quality
            assert quality >= query.min_quality


@given(queries(), FLEETS, contenders("p/more"), st.integers(0, 20))
def test_one_more_does_not_turn_the_others_around(
    query: Query, fleet: list[Contender], more: Contender, best: int
) -> None:
    """A model that nobody measured, or that is no better than the best of those known, is
    irrelevant to how the others stand to each other."""
    query = replace(query, role=None, needs=frozenset(), min_quality=None, max_cost_nusd=None)
    known = contenders_known("p/known", best / 20)
    if more.quality is not None:
        more = replace(more, quality=min(more.quality, known.quality or 0.0))
    before = eligible(decide(query, [*fleet, known]))
    after = eligible(decide(query, [*fleet, known, more]))
    assert [model for model in after if model != "p/more"] == before


def contenders_known(model_id: str, quality: float) -> Contender:
    rates = Rates(10**6, 10**6, 10**6)
    model = ModelInfo(model_id, "p", model_id[2:], model_id)
    return Contender(model, "priced", rates, "", quality, "", 300, 2_000.0)
