"""Qwen Code's chats, made after its ``ChatRecord``."""

from pathlib import Path
from typing import Any

import pytest

from omni_cli.domain.imports import LogFile
from omni_cli.importers import importers, load
from omni_cli.importers.qwen_code import read_file
from tests.unit.importers.support import read, usages, write_lines


def record(own: str = "u1", **counts: int) -> dict[str, Any]:
    return {
        "uuid": own,
        "sessionId": "s1",
        "timestamp": "2026-05-01T10:00:00.000Z",
        "type": "assistant",
        "cwd": "/home/dev/shop",
        "gitBranch": "main",
        "model": "qwen3-coder-plus",
        "usageMetadata": counts,
    }


def chat(root: Path, *records: object) -> Path:
    return write_lines(root / "projects" / "-home-dev-shop" / "chats" / "s1.jsonl", *records)


@pytest.mark.parametrize(
    ("counts", "want"),
    [
        ({"promptTokenCount": 9, "candidatesTokenCount": 2, "totalTokenCount": 11}, (9, 2, 0)),
        (  # thoughts apart, as Gemini counts
            {"promptTokenCount": 100, "candidatesTokenCount": 20, "thoughtsTokenCount": 7,
             "cachedContentTokenCount": 60, "totalTokenCount": 127},
            (100, 27, 60),
        ),
        (  # thoughts within, as OpenAI does
            {"promptTokenCount": 100, "candidatesTokenCount": 20, "thoughtsTokenCount": 7,
             "totalTokenCount": 120},
            (100, 20, 0),
        ),
        ({"totalTokenCount": 321}, (0, 321, 0)),
    ],
)  # fmt: skip
def test_counts(tmp_path: Path, counts: dict[str, int], want: tuple[int, int, int]) -> None:
    chat(tmp_path, record(**counts))
    (usage,) = usages(load("qwen-code", [tmp_path]).calls)
    assert (usage.input_tokens, usage.output_tokens, usage.cached_tokens) == want


def test_copies_other_records_and_damage(tmp_path: Path) -> None:
    good = record(promptTokenCount=5, candidatesTokenCount=1)
    told = {**record("u2"), "type": "system"}
    path = chat(tmp_path, good, good, told, record("u3"), '{"usageMetadata": {', {"type": "user"})
    calls, problems = read("qwen-code", path)
    assert {(c.external_id, c.session_id, c.project, c.agent) for c in calls} == {
        ("u1", "s1", "shop", "qwen-code")
    }
    assert [problem.line for problem in problems] == [5]
    assert len(load("qwen-code", [tmp_path]).calls) == 1
    assert importers["qwen-code"].find_default(tmp_path, {}) == []
    env = {"QWEN_DATA_DIR": f"{tmp_path}, /nowhere"}
    assert importers["qwen-code"].find_default(tmp_path, env) == [tmp_path]


def test_a_chat_is_read_from_where_it_was_left(tmp_path: Path) -> None:
    from collections import Counter

    path = chat(tmp_path, record("u1", promptTokenCount=5))
    mark = LogFile(str(path))
    assert len(list(read_file(path, Counter(), mark))) == 1
    with path.open("a") as file:
        file.write(chat(tmp_path / "other", record("u2", promptTokenCount=5)).read_text())
    (more,) = read_file(path, Counter(), mark)
    assert getattr(more, "external_id", "") == "u2"
