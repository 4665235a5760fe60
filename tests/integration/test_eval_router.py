"""``omni eval-router`` and ``omni route --scores``: figures from labelled rows."""

import json
from pathlib import Path

import pytest

from omni_cli.domain.errors import UsageError
from omni_cli.services.judge.eval_router import Labelled, evaluate, read_row, replay, score_line


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
