"""Routing figures: our own mathematics against the shared tool's, on random and on real rows."""

import gzip
import importlib.util
import json
import random
from types import ModuleType
from typing import Any

import pytest

from omni_cli.domain import routing_eval as ours
from tests.paths import shared
from tools.linear import expected_calibration_error


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tool", shared("tools", "eval_router.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def bench(name: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    data = shared("data", "routing")
    with gzip.open(data / f"{name}.jsonl.gz", "rt", encoding="utf-8") as fh:
        rows = [json.loads(line) for line in fh]
    info = json.loads((data / "index.json").read_text(encoding="utf-8"))["benches"][name]
    return rows, info


def test_types_agree_with_the_tool(tool: ModuleType) -> None:
    dice = random.Random(1)
    names = ["chat", "coding", "math", "image"]
    gold = [dice.choice(names[:3]) for _ in range(300)]
    guesses = [g if dice.random() < 0.6 else dice.choice(names) for g in gold]
    rows = [{"id": i, "type": g, "source": "x"} for i, g in enumerate(gold)]
    theirs = tool.type_metrics(rows, dict(enumerate(guesses)))
    report = ours.type_report(gold, guesses)
    assert report.accuracy == pytest.approx(theirs["accuracy"])
    assert report.macro_f1 == pytest.approx(theirs["macro_f1"])
    assert report.f1["math"] == pytest.approx(theirs["per_type"]["math"]["f1"])


def test_two_models_agree_with_the_tool(tool: ModuleType) -> None:
    rows, info = bench("routerbench")
    dice = random.Random(2)
    score = [round(dice.random(), 2) for _ in rows]  # many ties
    wi, si = (info["models"].index(info[k]) for k in ("weak", "strong"))
    theirs = tool.pair_metrics(rows, score, wi, si, info, boot=0)
    curve = ours.pair_curve(
        score,
        [r["s"][wi] for r in rows],
        [r["s"][si] for r in rows],
        [r["c"][wi] for r in rows],
        [r["c"][si] for r in rows],
    )
    assert curve.apgr == pytest.approx(theirs["apgr"])
    for share in (1.0, 0.98, 0.95, 0.9):
        assert curve.saving_at(share) == pytest.approx(theirs[f"saving@{share:g}"])


@pytest.mark.parametrize("name", ["routerbench", "llmrouter"])
def test_several_models_agree_with_the_tool(tool: ModuleType, name: str) -> None:
    rows, info = bench(name)
    rows = rows[::3]
    models, dice = info["models"], random.Random(3)
    means = {g: [dice.random() for _ in models] for g in {r["group"] for r in rows}}
    predicted = [dict(zip(models, means[r["group"]], strict=True)) for r in rows]
    theirs = tool.multi_metrics(rows, predicted, info)
    prices = info["price_per_mtok"]
    cost = [r.get("c") or [prices[m] for m in models] for r in rows]
    report = ours.ladder_report(models, predicted, [r["s"] for r in rows], cost)
    assert report.aiq == pytest.approx(theirs["router"]["aiq"])
    assert report.single_aiq == pytest.approx(theirs["zero"]["aiq"])
    assert report.best_model == theirs["best_single"]
    assert report.saving_equal == pytest.approx(theirs["router"]["save_eq"])
    assert report.saving_at(1.0) == (
        None if report.saving_equal is None else pytest.approx(report.saving_equal)
    )


def test_a_perfect_order_beats_random_and_a_bad_one_loses() -> None:
    weak, strong = [1.0, 0.0, 1.0, 0.0], [1.0, 1.0, 1.0, 1.0]
    nothing, price = [0.0] * 4, [1.0] * 4
    perfect = ours.pair_curve(weak, weak, strong, nothing, price)
    assert perfect.apgr == pytest.approx(0.75)
    assert perfect.saving_at(1.0) == pytest.approx(0.5)
    worst = ours.pair_curve([-w for w in weak], weak, strong, nothing, price)
    assert worst.apgr == pytest.approx(0.25)
    same = ours.pair_curve([0.5] * 4, weak, strong, nothing, price)
    assert same.apgr == pytest.approx(0.5)
    assert ours.pair_curve([1, 2], [1, 0], [0, 1], [0, 0], [1, 1]).apgr is None


def test_labels_of_the_eleven_types() -> None:
    assert ours.label_for("debugging", "chat") == "coding"
    assert ours.label_for("analysis", "reasoning") == "reasoning"
    assert ours.label_for("analysis", "research") == "research"
    assert ours.label_for("analysis", "chat") == "research"
    assert ours.label_for("image", "chat") == "image"


def test_calibration_error() -> None:
    assert expected_calibration_error([1.0, 1.0], [True, False]) == pytest.approx(0.5)
    assert expected_calibration_error([0.5] * 4, [True, False] * 2) == pytest.approx(0.0)
    assert expected_calibration_error([0.0], [True]) == pytest.approx(1.0)
    assert expected_calibration_error([], []) == 0.0


def test_a_table_tells_forms_of_one_type_apart() -> None:
    chances = [{"reasoning": 1.0}] * 400
    forms = ["choice short", "cloze short"] * 200
    quality = [[1.0, 0.0], [0.0, 1.0]] * 200
    table = ours.fit_table(chances, forms, quality)
    good, bad = table.predict({"reasoning": 1.0}, "choice short")
    assert good > 0.95
    assert bad < 0.05
    assert table.predict({"reasoning": 1.0}, "never seen") == pytest.approx([0.5, 0.5])


def test_cells_are_shrunk_and_mixed() -> None:
    table = ours.fit_table([{"math": 1.0}, {"chat": 1.0}], ["a", "a"], [[1.0], [0.0]])
    (math,), (chat,) = table.by_type["math"], table.by_type["chat"]
    assert math == pytest.approx((1 + 0.5 * 20) / 21)
    assert chat == pytest.approx((0 + 0.5 * 20) / 21)
    (mixed,) = table.predict({"math": 0.25, "chat": 0.75}, "b")
    assert mixed == pytest.approx(0.25 * math + 0.75 * chat)


def test_cross_fitting_never_uses_a_row_to_predict_itself() -> None:
    chances, forms = [{"math": 1.0}] * 4, ["x"] * 4
    before = ours.cross_fitted(chances, forms, [[1.0], [0.0], [1.0], [0.0]], [0, 1, 0, 1])
    after = ours.cross_fitted(chances, forms, [[0.0], [0.0], [0.0], [0.0]], [0, 1, 0, 1])
    assert before[0] == after[0] == pytest.approx([0.0])
    assert before[1] == pytest.approx([1.0])


@pytest.mark.slow
def test_feedback_passes_the_starting_table() -> None:
    from benchmarks.learning_curve import learning_curve, load

    shared("data", "routing")
    world = load("llmrouter", 0.05, every=2)
    curves = [learning_curve(world, seed, (0, 50, 300)) for seed in range(3)]
    start, early, later = (
        sum(point.utility for point in points) / len(points) for points in zip(*curves, strict=True)
    )
    assert early > start - 0.01
    assert later > start + 0.005
