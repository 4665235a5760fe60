"""Codex's cumulative totals as deltas, and histories that forks and subagents copy."""

from pathlib import Path
from typing import Any

import pytest

from omni_cli.http.coding import zstandard
from omni_cli.importers import importers, load
from omni_cli.importers.values import at_ms
from tests.unit.importers.support import read, usages, write_lines

CALL = (100, 40, 20, 5)  # input, cached, output, reasoning


def counts(of: tuple[int, int, int, int], times: int = 1) -> dict[str, int]:
    names = ("input_tokens", "cached_input_tokens", "output_tokens", "reasoning_output_tokens")
    found = {name: value * times for name, value in zip(names, of, strict=True)}
    return {**found, "total_tokens": found["input_tokens"] + found["output_tokens"]}


def event(at: str, total: int | None, last: int | None = 1, **info: Any) -> dict[str, Any]:
    """A token_count whose totals are ``total`` and ``last`` times CALL."""
    if total is not None:
        info["total_token_usage"] = counts(CALL, total)
    if last is not None:
        info["last_token_usage"] = counts(CALL, last)
    payload = {"type": "token_count", "info": info or None}
    return {"timestamp": at, "type": "event_msg", "payload": payload}


def meta(session: str, **fields: Any) -> dict[str, Any]:
    payload = {"id": session, "cwd": "/w/shop", "model_provider": "openai", **fields}
    return {"timestamp": "2026-05-01T00:00:00Z", "type": "session_meta", "payload": payload}


def turn(model: str = "gpt-5.1-codex") -> dict[str, Any]:
    return {
        "timestamp": "2026-05-01T00:00:00Z",
        "type": "turn_context",
        "payload": {"model": model},
    }


def record(response: str) -> dict[str, Any]:
    payload = {"response_id": response, "usage": counts(CALL)}
    return {"timestamp": "2026-05-01T00:00:00Z", "type": "token_usage_record", "payload": payload}


def at(second: int, ms: int = 0) -> str:
    return f"2026-05-01T10:{second // 60:02d}:{second % 60:02d}.{ms:03d}Z"


def inputs(path: Path) -> list[int]:
    return [usage.input_tokens for usage in usages(load("codex", [path]).calls)]


def test_totals_become_deltas_and_repeats_add_nothing(tmp_path: Path) -> None:
    write_lines(
        tmp_path / "r.jsonl",
        meta("s"),
        turn(),
        event(at(1), None, None),  # rate limits only
        event(at(2), 1),
        event(at(2), 1),
        event(at(9), 1),  # the same state told again later
        event(at(12), 3, 2),
    )
    calls = load("codex", [tmp_path]).calls
    assert [u.input_tokens for u in usages(calls)] == [100, 200]
    assert {(c.model, c.provider, c.project) for c in calls} == {
        ("gpt-5.1-codex", "openai", "shop")
    }


def test_an_event_that_was_lost_is_in_the_next_delta(tmp_path: Path) -> None:
    write_lines(tmp_path / "r.jsonl", event(at(1), 1), '{"timestamp":"2026-', event(at(3), 3))
    calls, problems = read("codex", tmp_path / "r.jsonl")
    assert sum(u.input_tokens for u in usages(calls)) == 300
    assert [p.line for p in problems] == [2]


@pytest.mark.parametrize(
    ("events", "want"),
    [
        ([event(at(1), 1, None), event(at(2), 3, None)], [100, 200]),  # totals alone
        ([event(at(1), None, 1), event(at(2), None, 2)], [100, 200]),  # turns alone
        ([event(at(1), 5, 1), event(at(2), 6, 1)], [100, 100]),  # begins in the middle
        ([event(at(1), 5, 5), event(at(2), 1, 1)], [500, 100]),  # the total starts over
    ],
)
def test_whichever_counts_are_there(
    tmp_path: Path, events: list[dict[str, Any]], want: list[int]
) -> None:
    write_lines(tmp_path / "r.jsonl", *events)
    assert inputs(tmp_path) == want


def test_a_fork_that_keeps_its_parents_times_counts_the_copy_once(tmp_path: Path) -> None:
    history = [event(at(1), 1), event(at(20), 2)]
    write_lines(tmp_path / "a.jsonl", meta("a"), turn(), *history)
    write_lines(
        tmp_path / "b.jsonl",
        meta("b", forked_from_id="a"),
        meta("a"),
        turn(),
        *history,
        event(at(50), 3),
    )
    assert inputs(tmp_path) == [100, 100, 100]


def test_a_spawned_session_that_stamps_its_copy_anew_counts_only_its_own(tmp_path: Path) -> None:
    spawn = {"subagent": {"thread_spawn": {"parent_thread_id": "a"}}}
    write_lines(tmp_path / "a.jsonl", meta("a"), turn(), event(at(1), 1), event(at(20), 2))
    copied = [event(at(60, ms), total) for ms, total in ((10, 1), (12, 2))]
    write_lines(tmp_path / "b.jsonl", meta("b", source=spawn), turn(), *copied, event(at(75), 3, 1))
    batch = load("codex", [tmp_path])
    assert [u.input_tokens for u in usages(batch.calls)] == [100, 100, 100]
    assert batch.calls[-1].agent == "codex:subagent"
    assert batch.skips["events copied from a parent session"] == 2


def test_a_spawned_session_with_its_own_counters_is_counted_in_full(tmp_path: Path) -> None:
    spawn = {"subagent": {"thread_spawn": {"parent_thread_id": "a"}}}
    own = [record("resp_1"), event(at(1, 1), 1), record("resp_2"), event(at(1, 2), 2)]
    write_lines(tmp_path / "b.jsonl", meta("b", source=spawn), turn(), *own)
    calls = load("codex", [tmp_path]).calls
    assert [call.message_id for call in calls] == ["resp_1", "resp_2"]


def test_one_call_only_in_a_spawned_session_is_not_lost(tmp_path: Path) -> None:
    write_lines(tmp_path / "b.jsonl", meta("b", forked_from_id="a"), turn(), event(at(1), 1))
    assert inputs(tmp_path) == [100]


def test_an_archived_copy_is_not_read_and_an_archived_session_is(tmp_path: Path) -> None:
    day = Path("2026/05/01")
    write_lines(tmp_path / "sessions" / day / "rollout-1.jsonl", event(at(1), 1))
    write_lines(tmp_path / "archived_sessions" / day / "rollout-1.jsonl", event(at(7), 1))
    write_lines(tmp_path / "archived_sessions" / day / "rollout-2.jsonl", event(at(9), 2))
    assert inputs(tmp_path) == [100, 100]
    assert importers["codex"].find_default(Path("/nowhere"), {"CODEX_HOME": str(tmp_path)}) == [
        tmp_path
    ]


def test_an_early_session_without_a_model_has_none(tmp_path: Path) -> None:
    write_lines(tmp_path / "r.jsonl", event(at(1), 1))
    (call,) = load("codex", [tmp_path]).calls
    assert call.model is None


def test_an_events_own_model_and_a_numeric_time(tmp_path: Path) -> None:
    named = event(at(1), 1, model="gpt-5.3-codex")
    named["timestamp"] = 1_767_312_001_000
    write_lines(tmp_path / "r.jsonl", turn("gpt-5.2-codex"), named)
    (call,) = load("codex", [tmp_path]).calls
    assert (call.model, call.at_ms) == ("gpt-5.3-codex", 1_767_312_001_000)


def burst(first_ms: int, *totals: int, apart_ms: int = 4) -> list[dict[str, Any]]:
    """Events that a fork of second 60 wrote in one go."""
    moments = ((60_000 + first_ms + n * apart_ms) for n in range(len(totals)))
    return [
        event(at(ms // 1000, ms % 1000), total) for ms, total in zip(moments, totals, strict=True)
    ]


def fork(parent: str = "a", second: int = 60, ms: int = 0) -> dict[str, Any]:
    record = meta("b", forked_from_id=parent, timestamp=at(second, ms))
    return {**record, "timestamp": at(second, ms)}


@pytest.mark.parametrize("with_parent", [True, False])
@pytest.mark.parametrize(
    "copied",
    [
        burst(5, 1, 2, 3),
        burst(990, 1, 2, 3, apart_ms=6),  # over a second's end
        burst(5, 1),  # of a session of one turn
    ],
    ids=["at once", "over a tick", "one turn"],
)
def test_a_copied_history_is_no_use_wherever_its_parent_is(
    tmp_path: Path, copied: list[dict[str, Any]], with_parent: bool
) -> None:
    home = tmp_path / "sessions" / "2026"
    if with_parent:
        first = [event(at(s), n) for n, s in enumerate((1, 20, 40, 50), 1)]
        parent = home / "01" / "rollout-2026-05-01T10-00-00-a.jsonl"
        write_lines(parent, meta("a"), turn(), *first)
    head = fork(ms=985 if copied[0]["timestamp"] > at(60, 900) else 0)
    context = {**turn(), "timestamp": head["timestamp"]}
    own = event(at(90), len(copied) + 2, 2)
    write_lines(home / "02" / "rollout-b.jsonl", head, context, *copied, own)
    assert inputs(tmp_path) == ([100] * 4 if with_parent else []) + [200]


def test_a_forks_own_answer_within_the_copying_is_told_by_the_parents_totals(
    tmp_path: Path,
) -> None:
    write_lines(tmp_path / "a.jsonl", meta("a"), turn(), event(at(1), 1), event(at(20), 2))
    write_lines(tmp_path / "b.jsonl", fork(), turn(), *burst(5, 1, 2), event(at(60, 90), 5, 3))
    assert inputs(tmp_path) == [100, 100, 300]


def test_a_turn_that_began_after_the_fork_is_its_own(tmp_path: Path) -> None:
    """Its id says when it began, so a fast answer is not taken for a copy."""
    began = at_ms(at(60, 20))
    own = f"{began >> 16:08x}-{began & 0xFFFF:04x}-7abc-8abc-0123456789ab"
    started = {
        "timestamp": at(60, 20),
        "type": "event_msg",
        "payload": {"type": "task_started", "turn_id": own},
    }
    lines = [fork(), *burst(5, 1, 2), started, event(at(60, 40), 4, 2)]
    write_lines(tmp_path / "b.jsonl", *lines)
    assert inputs(tmp_path) == [200]


def test_a_compressed_rollout_is_read_and_a_damaged_one_named(tmp_path: Path) -> None:
    plain = write_lines(tmp_path / "plain.jsonl", meta("s"), turn(), event(at(1), 1))
    packed = zstandard().compress(plain.read_bytes())
    plain.unlink()
    (tmp_path / "rollout-1.jsonl.zst").write_bytes(packed)
    (tmp_path / "rollout-2.jsonl.zst").write_bytes(packed[:-4] + b"xxxx")
    (tmp_path / "rollout-3.jsonl.zst").write_bytes(b"not zstd")
    batch = load("codex", [tmp_path])
    assert [u.input_tokens for u in usages(batch.calls)] == [100]
    assert {Path(problem.file).name for problem in batch.problems} >= {"rollout-3.jsonl.zst"}
