"""opencode and llm: databases that another program may be writing, of several eras."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from omni_cli.importers import importers, load
from tests.unit.importers.support import read, usages


def assistant(**changes: Any) -> dict[str, Any]:
    tokens = {"input": 100, "output": 20, "reasoning": 5, "cache": {"read": 40, "write": 10}}
    tokens.update(changes.pop("tokens", {}))
    return {
        "role": "assistant",
        "modelID": "gpt-4o",
        "providerID": "openai",
        "cost": 0.01,
        "time": {"created": 1_795_221_539_816, "completed": 1_795_221_540_816},
        "path": {"cwd": "/w/shop/src", "root": "/w/shop"},
        "agent": "build",
        "tokens": tokens,
        **changes,
    }


def opencode_db(path: Path, messages: dict[str, Any], parent: str | None = None) -> Path:
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE session (id TEXT, parent_id TEXT, directory TEXT)")
        db.execute(
            "CREATE TABLE message (id TEXT, session_id TEXT, time_created INTEGER, data TEXT)"
        )
        db.execute("INSERT INTO session VALUES ('ses_1', ?, '/w/shop')", (parent,))
        for key, value in messages.items():
            data = value if isinstance(value, str | bytes) else json.dumps(value)
            db.execute("INSERT INTO message VALUES (?, 'ses_1', 1, ?)", (key, data))
        db.commit()
    return path


@pytest.mark.parametrize(
    ("total", "output"),
    [(175, 25), (170, 20), (None, 20)],
    ids=["excludes reasoning (1.18)", "includes it", "no total (1.1)"],
)
def test_opencode_output_and_reasoning(tmp_path: Path, total: int | None, output: int) -> None:
    tokens = {} if total is None else {"total": total}
    opencode_db(tmp_path / "opencode.db", {"m": assistant(tokens=tokens)})
    (call,) = load("opencode", [tmp_path]).calls
    assert call.usage is not None
    assert (call.usage.input_tokens, call.usage.output_tokens) == (150, output)
    assert (call.usage.cached_tokens, call.usage.cache_write_tokens) == (40, 10)
    assert (call.project, call.latency_ms, call.agent) == ("shop", 1000, "opencode")


def test_opencode_database_wins_over_the_older_file(tmp_path: Path) -> None:
    folder = tmp_path / "storage" / "message" / "ses_1"
    folder.mkdir(parents=True)
    old = assistant(id="msg_1", sessionID="ses_1", tokens={"output": 999})
    (folder / "msg_1.json").write_text(json.dumps(old))
    (folder / "msg_2.json").write_text(json.dumps({**old, "id": "msg_2"}))
    opencode_db(tmp_path / "opencode.db", {"msg_1": assistant()})
    calls = load("opencode", [tmp_path]).calls
    assert {c.external_id: c.usage.output_tokens for c in calls if c.usage} == {
        "msg_1": 20,
        "msg_2": 999,
    }


def test_opencode_rows_still_in_the_write_ahead_log_are_read(tmp_path: Path) -> None:
    path = opencode_db(tmp_path / "opencode.db", {})
    with closing(sqlite3.connect(path)) as writer:
        writer.execute("PRAGMA journal_mode=WAL")
        writer.execute("PRAGMA wal_autocheckpoint=0")
        data = json.dumps(assistant())
        writer.execute("INSERT INTO message VALUES ('m', 'ses_1', 1, ?)", (data,))
        writer.commit()
        before = path.read_bytes()
        assert len(load("opencode", [tmp_path]).calls) == 1
        assert path.read_bytes() == before


def test_opencode_subagents_unfinished_answers_and_free_prices(tmp_path: Path) -> None:
    nothing = {"input": 0, "output": 0, "reasoning": 0, "cache": {"read": 0, "write": 0}}
    messages = {
        "m1": assistant(cost=0),
        "m2": assistant(tokens=nothing),
        "m3": assistant(error={"name": "MessageAbortedError"}),
    }
    opencode_db(tmp_path / "opencode.db", messages, parent="ses_0")
    batch = load("opencode", [tmp_path])
    assert [(c.external_id, c.recorded_cost_nusd, c.outcome) for c in batch.calls] == [
        ("m1", None, None),
        ("m3", 10_000_000, "failure"),
    ]
    assert {c.agent for c in batch.calls} == {"opencode:build"}
    assert batch.skips["answers without tokens (unfinished or failed)"] == 1


def test_opencode_damaged_rows_are_named_and_the_others_stand(tmp_path: Path) -> None:
    messages = {
        "m1": '{"role": "assistant", ',
        "m2": assistant(time={}),
        "m3": assistant(),
        "m4": b"\xff\xfe",
        "m5": "[" * 100_000,
    }
    path = opencode_db(tmp_path / "opencode.db", messages)
    calls, problems = read("opencode", path)
    assert [call.external_id for call in calls] == ["m3"]
    assert [p.line for p in problems] == [1, 2, 4, 5]


def test_opencode_default_place(tmp_path: Path) -> None:
    importer = importers["opencode"]
    assert importer.find_default(tmp_path, {}) == []
    root = tmp_path / ".local/share/opencode"
    root.mkdir(parents=True)
    opencode_db(root / "opencode.db", {})
    assert importer.find_default(tmp_path, {}) == [root]
    assert importer.find_default(Path("/nowhere"), {"OPENCODE_DATA_DIR": str(root)}) == [root]


# ---- llm

LLM_COLUMNS = (
    "id TEXT, model TEXT, resolved_model TEXT, input_tokens INTEGER, output_tokens INTEGER, "
    "token_details TEXT, duration_ms INTEGER, datetime_utc TEXT, response_json TEXT"
)
Row = tuple[Any, ...]


def llm_row(
    own: str, given: int | None, output: int | None, details: object = None, **more: Any
) -> Row:
    text = details if details is None or isinstance(details, str) else json.dumps(details)
    return (
        own,
        more.get("model", "4o"),
        more.get("resolved"),
        given,
        output,
        text,
        120,
        more.get("at", "2026-05-01T10:00:00.5"),
        more.get("answer"),
    )


def llm_db(path: Path, **tables: list[Row]) -> Path:
    with closing(sqlite3.connect(path)) as db:
        for table, rows in tables.items():
            db.execute(f"CREATE TABLE {table} ({LLM_COLUMNS})")
            db.executemany(f"INSERT INTO {table} VALUES (?,?,?,?,?,?,?,?,?)", rows)
        db.commit()
    return path


def test_llm_row_in_both_tables_counts_once(tmp_path: Path) -> None:
    path = llm_db(
        tmp_path / "logs.db",
        responses=[llm_row("a", 10, 1), llm_row("b", 20, 2)],
        turns=[llm_row("b", 20, 2), llm_row("c", 30, 3)],
    )
    calls = load("llm", [path]).calls
    assert sorted(call.external_id for call in calls) == ["a", "b", "c"]
    assert sum(u.input_tokens for u in usages(calls)) == 60


def test_llm_null_counts_are_unknown(tmp_path: Path) -> None:
    path = llm_db(tmp_path / "logs.db", turns=[llm_row("a", None, None), llm_row("b", 5, None)])
    one, two = load("llm", [path]).calls
    assert one.usage is None
    assert two.usage is not None
    assert "output_tokens" in two.unstated


@pytest.mark.parametrize(
    ("details", "whole_input", "cached", "written"),
    [
        ({"prompt_tokens_details": {"cached_tokens": 40}}, 100, 40, 0),
        ({"input_tokens_details": {"cached_tokens": 40}}, 100, 40, 0),
        ({"cachedContentTokenCount": 40, "thoughtsTokenCount": 7}, 100, 40, 0),
        ({"cache_read_input_tokens": 40, "cache_creation_input_tokens": 10}, 150, 40, 10),
        ("{damaged", 100, 0, 0),
    ],
    ids=["openai", "openai responses", "gemini", "anthropic", "damaged"],
)
def test_llm_details_of_each_vendor(
    tmp_path: Path, details: object, whole_input: int, cached: int, written: int
) -> None:
    path = llm_db(tmp_path / "logs.db", turns=[llm_row("a", 100, 20, details)])
    (usage,) = usages(load("llm", [path]).calls)
    assert (usage.input_tokens, usage.cached_tokens) == (whole_input, cached)
    assert usage.cache_write_tokens == written


def test_llm_names_the_model_that_answered_and_the_answers_id(tmp_path: Path) -> None:
    answer = json.dumps({"id": "chatcmpl-1", "model": "gpt-4o-2024-08-06"})
    path = llm_db(
        tmp_path / "logs.db",
        turns=[
            llm_row("a", 1, 1, answer=answer),
            llm_row("b", 1, 1, resolved="gpt-4o", answer="{"),
        ],
    )
    one, two = load("llm", [path]).calls
    assert (one.model, one.served_model) == ("4o", "gpt-4o-2024-08-06")
    assert one.ledger_ids == ("chatcmpl-1",)
    assert (two.served_model, two.ledger_ids) == ("gpt-4o", ())


def test_llm_first_era_without_token_columns_and_a_bad_time(tmp_path: Path) -> None:
    path = tmp_path / "logs.db"
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE responses (id TEXT, model TEXT, datetime_utc TEXT)")
        db.execute("INSERT INTO responses VALUES ('a', 'gpt-4', '2023-07-01 10:00:00')")
        db.execute("INSERT INTO responses VALUES ('b', 'gpt-4', 'never')")
        db.commit()
    calls, problems = read("llm", tmp_path)
    assert [(c.external_id, c.usage, c.at_ms) for c in calls] == [("a", None, 1_688_205_600_000)]
    assert [p.line for p in problems] == [2]


@pytest.mark.parametrize("tool", ["llm", "opencode"])
def test_files_that_are_no_such_database(tmp_path: Path, tool: str) -> None:
    text = tmp_path / "text.db"
    text.write_text("this is not a database, whatever its name says " * 100)
    other = tmp_path / "other.db"
    with closing(sqlite3.connect(other)) as db:
        db.execute("CREATE TABLE t (x)")
    damaged = tmp_path / "damaged.db"
    rows = [llm_row(str(n), 1, 1, answer="x" * 900) for n in range(200)]
    whole = (
        llm_db(damaged, turns=rows)
        if tool == "llm"
        else opencode_db(damaged, {str(n): assistant(padding="x" * 900) for n in range(200)})
    )
    raw = bytearray(whole.read_bytes())
    raw[20 * 4096 : 22 * 4096] = b"\xa5" * 8192
    damaged.write_bytes(raw)
    for path in (text, other, tmp_path / "gone.db"):
        calls, problems = read(tool, path)
        assert calls == []
        assert [p.file for p in problems] == [str(path)]
    calls, problems = read(tool, damaged)
    assert len(calls) < 200
    assert any("damaged" in p.reason for p in problems)


def test_llm_default_places(tmp_path: Path) -> None:
    importer = importers["llm"]
    assert importer.find_default(tmp_path, {}) == []
    root = tmp_path / "Library/Application Support/io.datasette.llm"
    root.mkdir(parents=True)
    llm_db(root / "logs.db", turns=[])
    assert importer.find_default(tmp_path, {}) == [root / "logs.db"]
    found = importer.find_default(Path("/nowhere"), {"LLM_USER_PATH": str(root)})
    assert found == [root / "logs.db"]


def newer_db(path: Path, sessions: list[tuple[Any, ...]], rows: list[tuple[Any, ...]]) -> Path:
    """opencode 2's tables; ``sessions``: id, parent's id, forked from, boundary; ``rows``: id,
    session, type, number, data."""
    with closing(sqlite3.connect(path)) as db:
        db.execute(
            "CREATE TABLE session_v2 (id TEXT, parent_id TEXT, fork_session_id TEXT,"
            " fork_boundary TEXT, directory TEXT)"
        )
        db.execute(
            "CREATE TABLE session_message (id TEXT, session_id TEXT, type TEXT, seq INTEGER,"
            " data TEXT)"
        )
        db.executemany("INSERT INTO session_v2 VALUES (?, ?, ?, ?, '/w/shop')", sessions)
        kept = [(*row[:4], json.dumps(row[4])) for row in rows]
        db.executemany("INSERT INTO session_message VALUES (?, ?, ?, ?, ?)", kept)
        db.commit()
    return path


def newer(created: int = 1_795_221_539_816, *, done: bool = True, **tokens: Any) -> dict[str, Any]:
    data = assistant(tokens=tokens, model={"id": "gpt-5.1", "providerID": "openai"})
    for name in ("role", "modelID", "providerID"):
        del data[name]
    times = {"created": created}
    return {**data, "time": {**times, "completed": created + 900} if done else times}


def test_opencode_2_answers_and_the_older_table_they_were_brought_over_from(tmp_path: Path) -> None:
    path = opencode_db(tmp_path / "opencode.db", {"m1": assistant(), "m0": assistant(cost=0.5)})
    rows = [("m1", "ses_1", "assistant", 1, newer()), ("m2", "ses_1", "user", 2, {"text": "hi"})]
    newer_db(path, [("ses_1", None, None, None)], rows)
    batch = load("opencode", [tmp_path])
    assert {(c.external_id, c.model, c.usage.output_tokens) for c in batch.calls if c.usage} == {
        ("m1", "gpt-5.1", 25),
        ("m0", "gpt-4o", 20),
    }


@pytest.mark.parametrize("kept", ["times", "numbers"])
def test_opencode_2_forks_add_only_what_was_asked_in_them(tmp_path: Path, kept: str) -> None:
    """By the boundary where copies cannot be told by their times."""
    done = kept == "times"
    rows: list[tuple[Any, ...]] = []
    for session, edge in (("a", 2), ("b", 2), ("c", 1)):
        for n in range(1, edge + 1):
            at = 1_795_221_530_000 + n * 1000 + (0 if done else ord(session))
            data = newer(at, done=done, input=n * 100)
            rows.append((f"{session}{n}", session, "assistant", n, data))
        rows.append((f"{session}9", session, "assistant", 9, newer(input=5000 + ord(session))))
    forks = [("a", None, None, None), ("b", None, "a", "a2"), ("c", None, "b", "b1")]
    newer_db(tmp_path / "opencode.db", forks, rows)
    calls = load("opencode", [tmp_path]).calls
    assert sorted(c.external_id for c in calls) == ["a1", "a2", "a9", "b9", "c9"]


def test_opencode_forks_copy_and_equal_answers_of_one_session_do_not(tmp_path: Path) -> None:
    path = opencode_db(tmp_path / "opencode.db", {"m1": assistant(), "m2": assistant()})
    with closing(sqlite3.connect(path)) as db:
        for name in ("n1", "n2"):
            row = (name, json.dumps(assistant()))
            db.execute("INSERT INTO message VALUES (?, 'ses_2', 1, ?)", row)
        db.commit()
    assert [c.external_id for c in load("opencode", [tmp_path]).calls] == ["m1", "m2"]
