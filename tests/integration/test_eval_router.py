"""``omni eval-router`` and ``omni route --scores``: figures from labelled rows."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from omni_cli.domain.chat import Usage
from omni_cli.domain.classify import classify
from omni_cli.domain.errors import UsageError
from omni_cli.domain.ids import make_id
from omni_cli.domain.money import usd_string
from omni_cli.domain.pricing import cost_nusd
from omni_cli.domain.tasks import Signals
from omni_cli.services.judge.eval_router import (
    NUSD,
    TODAY,
    Labelled,
    RouterReport,
    evaluate,
    read_row,
    replay,
    score_line,
)
from omni_cli.services.judge.optimize import Optimizer
from omni_cli.services.money.prices import PriceBook
from tests.conftest import CHEAP, GOOD, Fleet


def rows(n: int = 200) -> list[Labelled]:
    """Code goes well with "coder", prose with "writer"; "coder" costs a third."""
    made = []
    for number in range(n):
        code = number % 2 == 0
        prompt = (
            f"Write a Python function that adds {number} to every item of a list."
            if code
            else f"Write a short poem about {number} autumn leaves falling on a lake."
        )
        quality = {"coder": float(code), "writer": float(not code or number % 10 == 0)}
        made.append(
            Labelled(
                str(number),
                prompt,
                quality,
                {"coder": 1.0, "writer": 3.0},
                "coding" if code else "writing",
            )
        )
    return made


def test_a_table_finds_who_is_good_at_what() -> None:
    report = evaluate("made", rows())
    assert report.types is not None
    assert report.types.accuracy > 0.95
    assert report.ladder is not None
    assert report.ladder.aiq > report.ladder.single_aiq + 0.2
    assert report.apgr is not None
    assert report.apgr > 0.7


class Decided:
    """Labelled rows as a ledger holds them: the router's expectations, and tokens that cost at
    GOOD's and CHEAP's prices what the rows say."""

    def __init__(self, made: Sequence[Labelled], report: RouterReport) -> None:
        self._made, self._report = made, report

    def ids(self, since_ms: int) -> list[int]:
        return [make_id(since_ms + n, n) for n in range(len(self._made))]

    def each(self, ids: list[int]) -> Iterator[tuple[str, Usage, str]]:
        expected = {}
        for model in (GOOD, CHEAP):
            costs = [row.cost[model] for row in self._made if row.cost]
            expected[model] = usd_string(round(NUSD * sum(costs) / len(costs)))
        for row, predicted in zip(self._made, self._report.predicted, strict=True):
            task = classify(Signals(row.prompt))
            candidates = [
                {
                    "model": model,
                    "eligible": True,
                    "quality": quality,
                    "expected_cost_usd": expected[model],
                    "expected_latency_ms": None,
                }
                for model, quality in zip(self._report.models, predicted, strict=True)
            ]
            decision = {"by": "score", "task_type": task.task_type, "complexity": task.complexity}
            tokens = 1_000 + 100 * int(row.id)
            yield (
                GOOD,
                Usage(input_tokens=tokens),
                json.dumps({**decision, "candidates": candidates}),
            )


def test_optimize_says_the_same_of_the_same_requests(fleet: Fleet) -> None:
    app, made = fleet.app, []
    prices = PriceBook(app.models, now_ms=app.now_ms())
    for row in rows(60):
        usage = Usage(input_tokens=1_000 + 100 * int(row.id))
        cost = {}
        for model in (GOOD, CHEAP):
            found = prices.current(model)
            assert found is not None
            cost[model] = cost_nusd(usage, found.price) / NUSD
        # The dear one is better at both, at code by little.
        quality = {GOOD: 1.0, CHEAP: 0.97 if row.task == "coding" else 0.7}
        made.append(Labelled(row.id, row.prompt, quality, cost, row.task))
    report = evaluate("mine", made)
    optimizer = Optimizer(
        decisions=Decided(made, report), models=app.models, clock=lambda: 1_781_481_600.0
    )
    found = optimizer.run(TODAY, days=1, may_lose=0.0)
    theirs = [(o.cost_nusd, o.quality, o.bands) for o in found.frontier]
    ours = [(m.outcome.cost_nusd, m.outcome.quality, m.outcome.bands) for m in report.settings]
    assert [o for o in ours if o in theirs] == theirs
    assert len(theirs) >= 2
    # What is expected in domain is near what the labels say, and a band holds its own mean.
    for one in report.settings:
        assert one.band.low <= one.quality <= one.band.high
        assert abs(one.outcome.quality - one.quality) < 0.15
    ladder = report.ladder
    assert ladder is not None
    for share, (low, high) in ladder.savings.items():
        saved = ladder.saving_at(share)
        assert low is None or saved is None or high is None or low <= saved + 1e-9 <= high + 2e-9


def test_models_must_be_the_same_in_every_row() -> None:
    odd = [*rows(10), Labelled("x", "hello", {"coder": 1.0}, None, None)]
    with pytest.raises(UsageError, match="same models"):
        evaluate("made", odd)
    with pytest.raises(UsageError, match="no rows"):
        evaluate("made", [])


def test_lines_in_both_forms_are_read() -> None:
    by_name = read_row({"prompt": "p", "scores": {"a": 1, "b": 0}}, (), "f, line 1")
    in_order = read_row({"prompt": "p", "s": [1, 0]}, ("a", "b"), "f, line 1")
    assert by_name.quality == in_order.quality == {"a": 1.0, "b": 0.0}
    with pytest.raises(UsageError, match="line 7"):
        read_row({"prompt": "p", "s": [1]}, ("a", "b"), "f, line 7")
    with pytest.raises(UsageError, match="prompt"):
        read_row({"scores": {}}, (), "f, line 2")


def test_replay_compares_expectation_with_outcomes() -> None:
    (one,) = replay([("a", 0.8, 1.0), ("a", 0.6, 0.0)])
    assert (one.outcomes, one.expected, one.seen) == (2, pytest.approx(0.7), 0.5)
    assert one.brier == pytest.approx((0.04 + 0.36) / 2)


def test_scores_order_prompts_by_how_safe_the_cheapest_model_is() -> None:
    def line(difficulty: float, cheap: float) -> float:
        candidates = [
            {"model": "c", "quality": cheap, "eligible": True, "expected_cost_usd": "0.001"},
            {"model": "d", "quality": 0.9, "eligible": True, "expected_cost_usd": "0.1"},
        ]
        task = {"task_type": "chat", "difficulty": difficulty}
        return float(score_line("1", candidates, task)["p_weak_ok"])

    assert line(0.2, 0.85) > line(0.2, 0.6)
    assert line(0.2, 0.85) > line(0.9, 0.85)


def test_the_command_reads_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from omni_cli.cli.commands.eval_router import eval_router

    file = tmp_path / "mine.jsonl"
    file.write_text(
        "\n".join(
            json.dumps(
                {
                    "id": r.id,
                    "prompt": r.prompt,
                    "scores": r.quality,
                    "costs": r.cost,
                    "type": r.task,
                }
            )
            for r in rows(60)
        )
    )
    eval_router([file], as_json=True)
    (document,) = json.loads(capsys.readouterr().out)
    assert document["rows"] == 60
    assert document["in_domain"] is True
    assert document["by_type_and_form"]["saved"]["1"] is not None
