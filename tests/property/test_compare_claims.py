"""No claim of a comparison contradicts the figures beside it, whatever the answers were."""

import re
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from omni_cli.domain.compare import Outcome, results
from omni_cli.services.judge.compare_documents import intervals_document, results_document

scores = st.sampled_from([0.0, 0.0, 0.5, 1.0, 1.0])
#: A model: how often it answers, its price (None: nobody knows it), its time, and whether its
#: answers are good.
model = st.tuples(
    st.sampled_from([0.0, 0.5, 0.9, 1.0]),
    st.sampled_from([None, 0, 10, 10, 5_000, 900_000]),
    st.sampled_from([50, 50, 400, 3_000]),
    st.sampled_from([0.0, 0.2, 0.9, 1.0]),
)


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[Outcome], list[str]]:
    rng = draw(st.randoms(use_true_random=False))
    models = {f"m{n}": m for n, m in enumerate(draw(st.lists(model, min_size=1, max_size=4)))}
    prompts = draw(st.sampled_from([1, 2, 3, 8]))
    repeats = draw(st.sampled_from([1, 1, 3]))
    scored = draw(st.sampled_from([True, True, False]))
    rows = []
    for name, (answers, cost, ms, good) in models.items():
        asked = draw(st.sampled_from([prompts, prompts, prompts // 2]))
        for prompt in range(asked):
            for n in range(repeats):
                ok = rng.random() < answers
                score = (1.0 if rng.random() < good else rng.choice([0.0, 0.5])) if ok else None
                took = round(ms * rng.uniform(0.9, 1.1)) if ok else None
                paid = cost if ok or cost is None else 0
                rows.append(
                    Outcome(name, f"p{prompt}", n, ok, score if scored else None, took, paid, "x")
                )
    return rows, list(models)


def _leads(claimed: str, figures: dict[str, Any], *, most: bool) -> None:
    """``claimed`` has a figure that beats everybody's, and everybody's is known."""
    assert len(figures) > 1
    assert None not in figures.values(), figures
    rest = [value for name, value in figures.items() if name != claimed]
    best = max(rest) if most else min(rest)
    assert (figures[claimed] > best) if most else (figures[claimed] < best), (claimed, figures)


@settings(max_examples=120, deadline=None)
@given(tables())
def test_no_claim_contradicts_the_figures(table: tuple[list[Outcome], list[str]]) -> None:
    rows, names = table
    found = results(rows, names)
    document = results_document(found)
    details, summary = document["detailedResults"], document["summary"]

    def figures(group: str, field: str, among: list[str]) -> dict[str, Any]:
        return {name: details[name][group][field] for name in among}

    answered = [name for name in names if details[name]["performance"]["successRate"]]
    if summary["bestForCost"]:
        _leads(summary["bestForCost"], figures("cost", "costPerRequest", answered), most=False)
    if summary["bestForSpeed"]:
        _leads(
            summary["bestForSpeed"], figures("performance", "avgResponseTime", answered), most=False
        )
    if summary["bestForAccuracy"]:
        _leads(
            summary["bestForAccuracy"],
            figures("performance", "accuracyScore", answered),
            most=True,
        )
    winner = summary["winner"]
    assert (winner is None) == bool(intervals_document(found)["noWinner"])
    if winner is not None:
        assert len(names) > 1
        assert details[winner]["quality"]["accurateResults"] >= 1
    if len(names) == 1:
        assert set(summary.values()) == {None}
        assert document["recommendations"] == []
    cap = 1.0 - 1.0 / (found.units + 2)
    for item in document["recommendations"]:
        assert 0.0 <= item["confidence"] <= cap + 1e-9
        if found.scored:
            assert details[item["modelId"]]["quality"]["accurateResults"] >= 1
        for told in item["tradeoffs"]:
            _told(told, item["modelId"], details)


def _told(text: str, name: str, details: dict[str, Any]) -> None:
    words: dict[str, tuple[str, str]] = {
        r"costs ([\d.]+) times as much as (\S+)": ("cost", "costPerRequest"),
        r"takes ([\d.]+) times as long as (\S+)": ("performance", "avgResponseTime"),
    }
    for pattern, (group, field) in words.items():
        match = re.fullmatch(pattern, text)
        if match:
            ratio = details[name][group][field] / details[match[2]][group][field]
            assert abs(ratio - float(match[1])) <= 0.06 + ratio * 1e-3
            return
    match = re.fullmatch(r"accuracy (\d+)% lower than (\S+)", text)
    if match:
        mine, other = (details[n]["performance"]["accuracyScore"] for n in (name, match[2]))
        assert abs((other - mine) * 100 - float(match[1])) <= 0.51
        return
    assert re.fullmatch(
        r"its price is unknown|(accuracy|success rate) may be up to .+|success rate .+ lower .+",
        text,
    ), text
