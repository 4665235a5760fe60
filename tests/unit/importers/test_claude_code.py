"""The traps of Claude Code's transcripts: copies, forks, subagents, damage."""

from pathlib import Path
from typing import Any

import pytest

from omni_cli.domain.imports import grown, sessions_of, unknown_only
from omni_cli.domain.sessions import Session
from omni_cli.importers import importers, load
from tests.unit.importers.support import read, write_lines


def line(
    message_id: str | None = "msg_1",
    request_id: str | None = "req_1",
    *,
    at: str = "2026-03-01T10:00:00.000Z",
    out: int = 5,
    usage: dict[str, Any] | None = None,
    **fields: Any,
) -> dict[str, Any]:
    counts = {
        "input_tokens": 10,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "output_tokens": out,
    }
    message: dict[str, Any] = {"model": "claude-sonnet-4-5", "usage": {**counts, **(usage or {})}}
    if message_id:
        message["id"] = message_id
    record: dict[str, Any] = {
        "type": "assistant",
        "timestamp": at,
        "sessionId": "s1",
        "cwd": "/home/dev/shop",
        "message": message,
        **fields,
    }
    if request_id:
        record["requestId"] = request_id
    return record


def outputs(path: Path) -> list[int]:
    calls = load("claude-code", [path]).calls
    return [call.usage.output_tokens for call in calls if call.usage]


def test_a_growing_answer_counts_once_with_its_last_state(tmp_path: Path) -> None:
    write_lines(tmp_path / "a.jsonl", line(out=1), line(out=40), line(out=55))
    assert outputs(tmp_path) == [55]


def test_an_answer_imported_half_way_is_known_to_have_grown(tmp_path: Path) -> None:
    write_lines(tmp_path / "a.jsonl", line(out=1), line("msg_2", "req_2", out=7))
    first = load("claude-code", [tmp_path]).calls
    recorded = {(c.source, c.external_id): c.total_tokens for c in first}
    assert grown(first, recorded) == []
    write_lines(tmp_path / "b.jsonl", line(out=55), line("msg_3", "req_3"))
    again = load("claude-code", [tmp_path]).calls
    assert [(c.message_id, c.total_tokens) for c in grown(again, recorded)] == [("msg_1", 65)]


def test_a_fork_that_copies_history_into_a_new_file_adds_only_what_is_new(tmp_path: Path) -> None:
    write_lines(tmp_path / "a.jsonl", line(out=7))
    write_lines(
        tmp_path / "b.jsonl",
        line(out=7, sessionId="s2"),
        line("msg_2", "req_2", at="2026-03-01T11:00:00.000Z", out=9, sessionId="s2"),
    )
    calls = load("claude-code", [tmp_path]).calls
    assert [(c.external_id, c.session_id) for c in calls] == [
        ("msg_1:req_1", "s1"),
        ("msg_2:req_2", "s2"),
    ]


def test_lines_without_request_id_count_each_but_a_literal_copy_once(tmp_path: Path) -> None:
    first = line(request_id=None, uuid="u1")
    second = line(request_id=None, uuid="u2", at="2026-03-01T10:00:00.500Z")
    write_lines(tmp_path / "a.jsonl", first, second)
    write_lines(tmp_path / "b.jsonl", first)
    assert outputs(tmp_path) == [5, 5]


@pytest.mark.parametrize("replay_first", [True, False])
def test_a_sidechain_replay_under_another_request_id_is_dropped(
    tmp_path: Path, replay_first: bool
) -> None:
    original, replay = line(), line(request_id="req_other", isSidechain=True)
    records = [replay, original] if replay_first else [original, replay]
    write_lines(tmp_path / "a.jsonl", *records)
    (call,) = load("claude-code", [tmp_path]).calls
    assert call.provider_request_id == "req_1"
    assert call.agent == "claude-code"


def test_a_replay_read_after_its_original_was_imported_adds_nothing(tmp_path: Path) -> None:
    write_lines(tmp_path / "a.jsonl", line(request_id="req_other", isSidechain=True))
    calls = load("claude-code", [tmp_path]).calls
    before = {("claude-code", "msg_1")}
    assert len(calls) == 1
    assert unknown_only(calls, external_ids=set(), imported_message_ids=before) == []


def test_a_subagents_own_answers_count_under_its_name(tmp_path: Path) -> None:
    own = line("msg_sub", "req_sub", isSidechain=True, agentId="a1")
    write_lines(tmp_path / "s1" / "subagents" / "agent-a1.jsonl", own)
    shown = {"type": "progress", "timestamp": "2026-03-01T10:00:01.000Z", "sessionId": "s1"}
    inner = {k: own[k] for k in ("timestamp", "message", "requestId")}
    write_lines(tmp_path / "s1.jsonl", {**shown, "data": {"message": inner}})
    (call,) = load("claude-code", [tmp_path]).calls
    assert call.agent == "claude-code:subagent"
    assert call.external_id == "replay:msg_sub"


def test_cache_lifetimes_and_speed_reach_the_price(tmp_path: Path) -> None:
    split = {"ephemeral_5m_input_tokens": 300, "ephemeral_1h_input_tokens": 100}
    counts = {
        "cache_creation_input_tokens": 400,
        "cache_creation": split,
        "cache_read_input_tokens": 1000,
        "speed": "fast",
        "server_tool_use": {"web_search_requests": 2},
    }
    write_lines(tmp_path / "a.jsonl", line(usage=counts))
    (call,) = load("claude-code", [tmp_path]).calls
    assert call.usage is not None
    assert (call.usage.input_tokens, call.usage.cached_tokens) == (1410, 1000)
    assert (call.usage.cache_write_tokens, call.usage.cache_write_1h_tokens) == (400, 100)
    assert (call.tier, call.web_searches) == ("fast", 2)


@pytest.mark.parametrize(
    ("message_id", "model", "provider"),
    [
        ("msg_1", "claude-opus-4-5", "anthropic"),
        ("msg_bdrk_1", "claude-opus-4-5", "bedrock"),
        ("msg_vrtx_1", "claude-opus-4-5", "vertex"),
        ("msg_1", "kimi-k2", None),
    ],
)
def test_the_provider_is_only_named_where_it_is_certain(
    tmp_path: Path, message_id: str, model: str, provider: str | None
) -> None:
    record = line(message_id)
    record["message"]["model"] = model
    write_lines(tmp_path / "a.jsonl", record)
    (call,) = load("claude-code", [tmp_path]).calls
    assert (call.provider, call.model) == (provider, model)


def test_what_a_line_does_not_say_is_unknown(tmp_path: Path) -> None:
    record = line()
    record["message"]["usage"] = {"service_tier": "standard"}
    half = line("msg_2", "req_2")
    del half["message"]["usage"]["input_tokens"]
    write_lines(tmp_path / "a.jsonl", record, half)
    one, two = load("claude-code", [tmp_path]).calls
    assert one.usage is None
    assert {"input_tokens", "output_tokens"} <= one.unstated
    assert two.usage is not None
    assert "input_tokens" in two.unstated
    assert "output_tokens" not in two.unstated


@pytest.mark.parametrize(
    "damage",
    [
        {"timestamp": "yesterday"},
        {"timestamp": None},
        {"costUSD": "much"},
        {"usage": {"output_tokens": -5}},
        {"usage": {"output_tokens": 1.5}},
        {"usage": {"output_tokens": True}},
        {"usage": {"output_tokens": 10**30}},
        {"usage": {"cache_creation": {"ephemeral_1h_input_tokens": "x"}}},
    ],
)
def test_a_damaged_line_is_named_and_the_others_stand(
    tmp_path: Path, damage: dict[str, Any]
) -> None:
    path = write_lines(
        tmp_path / "a.jsonl",
        line(),
        line("msg_2", "req_2", **damage),
        line("msg_3", "req_3"),
    )
    calls, problems = read("claude-code", path)
    assert [call.message_id for call in calls] == ["msg_1", "msg_3"]
    assert [(p.file, p.line) for p in problems] == [(str(path), 2)]
    assert f"{path}:2: " in str(problems[0])


def test_default_places(tmp_path: Path) -> None:
    importer = importers["claude-code"]
    assert importer.find_default(tmp_path, {}) == []
    for folder in (".config/claude", ".claude", "other one"):
        (tmp_path / folder / "projects").mkdir(parents=True)
    assert importer.find_default(tmp_path, {}) == [
        tmp_path / ".config/claude/projects",
        tmp_path / ".claude/projects",
    ]
    named = {"CLAUDE_CONFIG_DIR": f"{tmp_path / 'missing'}, {tmp_path / 'other one'}"}
    assert importer.find_default(tmp_path, named) == [tmp_path / "other one/projects"]


def step(kind: str, input_tokens: int, output_tokens: int, **fields: Any) -> dict[str, Any]:
    return {
        "type": kind,
        "input_tokens": input_tokens,
        "output_tokens": output_tokens,
        **fields,
    }


@pytest.mark.parametrize(
    ("iterations", "want"),
    [
        ([step("message", 10, 5)], {"claude-sonnet-4-5": (10, 5)}),
        # Its own model, and not in the whole.
        (
            [step("message", 10, 5), step("advisor_message", 900, 70, model="claude-opus-4-7")],
            {"claude-sonnet-4-5": (10, 5), "claude-opus-4-7": (900, 70)},
        ),
        # The same model, and not in the whole.
        (
            [step("compaction", 5000, 300), step("message", 10, 5)],
            {"claude-sonnet-4-5": (5010, 305)},
        ),
        # Declined: not charged.
        (
            [step("fallback_message", 700, 1), step("message", 10, 5)],
            {"claude-sonnet-4-5": (10, 5)},
        ),
    ],
)
def test_what_stands_in_iterations_only_is_counted_where_it_is_billed(
    tmp_path: Path, iterations: list[dict[str, Any]], want: dict[str, tuple[int, int]]
) -> None:
    for isolated in (False, True):
        told = line(usage={"iterations": iterations}, isSidechain=isolated)
        write_lines(tmp_path / "a.jsonl", told, told)
        write_lines(tmp_path / "fork.jsonl", {**told, "sessionId": "s2"})
        calls = load("claude-code", [tmp_path]).calls
        found = {c.model: (c.usage.input_tokens, c.usage.output_tokens) for c in calls if c.usage}
        assert found == want
        assert len(calls) == len(want)


def test_an_empty_usage_is_no_call(tmp_path: Path) -> None:
    told = line()
    told["message"]["usage"] = {}
    write_lines(tmp_path / "a.jsonl", told)
    batch = load("claude-code", [tmp_path])
    assert not batch.calls
    assert batch.skips["empty usage"] == 1


def test_a_sub_agents_answers_are_a_session_within_its_parents(tmp_path: Path) -> None:
    """As the gateway names it (gateway/sessions.py)."""
    agent = {"isSidechain": True, "agentId": "a1b2"}
    own = line("msg_2", "req_2", gitBranch="main", **agent)
    odd = line("msg_3", "req_3", costUSD="0.5", **agent, requestTime=3.5, version=[])
    write_lines(tmp_path / "p" / "s1.jsonl", line(), line("msg_9", "req_9", agentId="a1b2"))
    write_lines(tmp_path / "p" / "s1" / "subagents" / "agent-a1b2.jsonl", own, "", odd)
    batch = load("claude-code", [tmp_path])
    assert {(call.message_id, call.session_id, call.agent) for call in batch.calls} == {
        ("msg_1", "s1", "claude-code"),
        ("msg_2", "s1/a1b2", "claude-code:subagent"),
        ("msg_3", "s1/a1b2", "claude-code:subagent"),
        ("msg_9", "s1", "claude-code"),
    }
    within = next(row.session for row in sessions_of(batch.calls) if row.session.parent)
    assert within == Session("s1/a1b2", "claude-code", "shop", branch="main", parent="s1")
