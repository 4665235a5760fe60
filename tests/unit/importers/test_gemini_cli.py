"""Gemini CLI: both file formats, rewritten messages, and what ``total`` says about the parts."""

import json
from pathlib import Path
from typing import Any

import pytest

from omni_cli.domain.chat import Usage
from omni_cli.importers import importers, load
from tests.unit.importers.support import write_lines


def message(own: str = "m1", at: str = "2026-05-01T10:00:00Z", **tokens: int) -> dict[str, Any]:
    given = {"input": 0, "output": 0, "cached": 0, "thoughts": 0, "tool": 0, **tokens}
    given = {name: value for name, value in given.items() if value >= 0}
    return {
        "id": own,
        "timestamp": at,
        "type": "gemini",
        "model": "gemini-2.5-flash",
        "tokens": given,
    }


def only_usage(path: Path) -> Usage:
    (call,) = load("gemini-cli", [path]).calls
    assert call.usage is not None
    return call.usage


@pytest.mark.parametrize(
    ("tokens", "whole_input", "whole_output"),
    [
        # total = input + output + thoughts + tool: the cached part is inside the input
        (
            {"input": 100, "output": 10, "cached": 60, "thoughts": 5, "tool": 3, "total": 118},
            103,
            15,
        ),
        # total has the cached part on top: so is it here
        (
            {"input": 40, "output": 10, "cached": 60, "thoughts": 5, "tool": 3, "total": 118},
            103,
            15,
        ),
        # no total to tell by
        ({"input": 40, "output": 10, "cached": 60}, 100, 10),
    ],
)
def test_the_total_tells_whether_input_includes_cached(
    tmp_path: Path, tokens: dict[str, int], whole_input: int, whole_output: int
) -> None:
    usage = only_usage(write_lines(tmp_path / "chats" / "session-1.jsonl", message(**tokens)))
    assert (usage.input_tokens, usage.output_tokens) == (whole_input, whole_output)
    assert usage.cached_tokens == 60


def test_the_last_state_with_tokens_wins_even_when_it_is_smaller(tmp_path: Path) -> None:
    later = message(input=90, output=9, total=99)
    without = {key: value for key, value in later.items() if key != "tokens"}
    rewritten = {"$set": {"messages": [without], "lastUpdated": "2026-05-01T10:00:09Z"}}
    path = write_lines(
        tmp_path / "chats" / "session-1.jsonl",
        {"sessionId": "s1", "projectHash": "x", "kind": "main"},
        message(input=100, output=10, total=110),
        later,
        rewritten,
    )
    assert only_usage(path).total_tokens == 99


def test_messages_replaced_with_tokens_in_them_count_once(tmp_path: Path) -> None:
    one = message("m1", input=10, output=1, total=11)
    two = message("m2", input=20, output=2, total=22)
    path = write_lines(
        tmp_path / "chats" / "session-1.jsonl", one, {"$set": {"messages": [one, two]}}
    )
    calls = load("gemini-cli", [path]).calls
    assert [call.external_id for call in calls] == ["m1", "m2"]


def test_a_session_continued_in_the_new_format_counts_once(tmp_path: Path) -> None:
    one = message(input=10, output=1, total=11)
    chats = tmp_path / "tmp" / "shop" / "chats"
    chats.mkdir(parents=True)
    old = {"sessionId": "s1", "messages": [one]}
    (chats / "session-a.json").write_text(json.dumps(old))
    write_lines(chats / "session-b.jsonl", {"sessionId": "s1"}, one)
    (tmp_path / "tmp" / "shop" / "logs.json").write_text("not a chat")
    batch = load("gemini-cli", [tmp_path])
    (call,) = batch.calls
    assert (call.project, call.session_id) == ("shop", "s1")
    assert batch.problems == []


def test_a_project_known_only_by_its_hash_has_no_name(tmp_path: Path) -> None:
    path = tmp_path / ("ab" * 32) / "chats" / "session-1.jsonl"
    write_lines(path, message(input=1, output=1, total=2))
    (call,) = load("gemini-cli", [path]).calls
    assert call.project is None


def test_a_damaged_message_of_an_object_is_named(tmp_path: Path) -> None:
    path = tmp_path / "session-1.json"
    good = message("m2", input=1, output=1, total=2)
    bad = {**message("m1"), "tokens": {"input": "many"}}
    path.write_text(json.dumps({"messages": [bad, good, None, 7]}))
    batch = load("gemini-cli", [path])
    assert [call.external_id for call in batch.calls] == ["m2"]
    assert [(p.file, p.line) for p in batch.problems] == [(str(path), None)]
    assert "message 1" in batch.problems[0].reason


def test_default_place(tmp_path: Path) -> None:
    importer = importers["gemini-cli"]
    assert importer.find_default(tmp_path, {}) == []
    (tmp_path / ".gemini" / "tmp").mkdir(parents=True)
    assert importer.find_default(tmp_path, {}) == [tmp_path / ".gemini"]
    elsewhere = {"GEMINI_CLI_HOME": str(tmp_path)}
    assert importer.find_default(Path("/nowhere"), elsewhere) == [tmp_path / ".gemini"]
