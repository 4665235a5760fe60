"""Damage of every kind is named by file and line, and the rest is read."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from omni_cli.domain.errors import UsageError
from omni_cli.domain.ids import RANDOM_BITS, make_id
from omni_cli.domain.imports import ImportProblem
from omni_cli.domain.record import replace
from omni_cli.importers import files, importers, load
from omni_cli.importers.values import MAX_MS, Unreadable, at_ms
from tests.paths import REPO
from tests.unit.importers.support import IMPORTS, read, write_lines
from tests.unit.importers.test_claude_code import line


def test_a_last_line_that_is_still_being_written(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.jsonl", line())
    whole = json.dumps(line("msg_2", "req_2"))
    with path.open("a") as file:
        file.write(whole[: len(whole) // 2])
    calls, problems = read("claude-code", path)
    assert [c.message_id for c in calls] == ["msg_1"]
    assert [(p.line, "cut off" in p.reason) for p in problems] == [(2, True)]
    with path.open("a") as file:
        file.write(whole[len(whole) // 2 :])
    calls, problems = read("claude-code", path)
    assert [c.message_id for c in calls] == ["msg_1", "msg_2"]
    assert problems == []


def test_invalid_utf8_spoils_its_line_only(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.jsonl", line(), line("msg_2", "req_2"), line("msg_3", "req_3"))
    path.write_bytes(path.read_bytes().replace(b"msg_2", b"msg_\xff"))
    calls, problems = read("claude-code", path)
    assert [c.message_id for c in calls] == ["msg_1", "msg_3"]
    assert [(p.line, p.reason) for p in problems] == [(2, "not valid UTF-8")]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes have names here")
def test_a_pipe_among_logs_is_not_waited_for(tmp_path: Path) -> None:
    project = tmp_path / "projects" / "p"
    project.mkdir(parents=True)
    write_lines(project / "b.jsonl", line())
    (project / "linked.jsonl").symlink_to(write_lines(tmp_path / "c.jsonl", line("msg_2", "req_2")))
    os.mkfifo(project / "a.jsonl")
    calls, problems = read("claude-code", tmp_path)
    assert [c.message_id for c in calls] == ["msg_1", "msg_2"]
    assert problems == []


@pytest.mark.parametrize("tool", list(importers))
def test_a_file_that_disappears(tmp_path: Path, tool: str) -> None:
    suffix = {"csv": ".csv", "openrouter": ".csv"}.get(tool, ".json")
    calls, problems = read(tool, tmp_path / f"gone{suffix}")
    assert calls == []
    assert [(p.line, p.reason) for p in problems] == [(None, "the file disappeared")]


def test_a_file_that_disappears_between_listing_and_reading(tmp_path: Path) -> None:
    first = write_lines(tmp_path / "a.jsonl", line())
    second = write_lines(tmp_path / "b.jsonl", line("msg_2", "req_2"))
    seen: list[tuple[str, int, int]] = []

    def progress(path: Path, index: int, total: int) -> None:
        seen.append((path.name, index, total))
        second.unlink(missing_ok=True)

    batch = load("claude-code", [tmp_path], progress=progress)
    assert [c.file for c in batch.calls] == [first.name]
    assert [(p.file, p.reason) for p in batch.problems] == [(str(second), "the file disappeared")]
    assert seen == [("a.jsonl", 0, 2), ("b.jsonl", 1, 2)]


def test_a_folder_where_a_file_should_be(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").mkdir()
    (tmp_path / "logs.db").mkdir()
    assert load("claude-code", [tmp_path]).calls == []
    assert [str(tmp_path) in p.file for p in load("llm", [tmp_path]).problems] == [True]


def test_a_huge_line_is_skipped_without_being_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "MAX_LINE_BYTES", 1 << 20)
    huge = line("msg_2", "req_2", padding="x" * (3 << 20))
    path = write_lines(tmp_path / "a.jsonl", line(), huge, line("msg_3", "req_3"))
    calls, problems = read("claude-code", path)
    assert [c.message_id for c in calls] == ["msg_1", "msg_3"]
    assert [(p.line, p.reason) for p in problems] == [(2, "line longer than 1 MiB")]


@pytest.mark.parametrize(
    "text",
    [
        "[" * 200_000 + '"usage"',
        '{"message": {"usage": ' + "9" * 10_000 + "}}",
        '["usage"]',
        '"usage"',
        "\0" * 50,
    ],
    ids=["deep", "long number", "array", "string", "zero bytes"],
)
def test_json_that_is_no_record(tmp_path: Path, text: str) -> None:
    path = write_lines(tmp_path / "a.jsonl", line(), text, line("msg_3", "req_3"))
    calls, problems = read("claude-code", path)
    assert [c.message_id for c in calls] == ["msg_1", "msg_3"]
    assert [p.line for p in problems] == [2]


def test_line_ends_blank_lines_and_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    rows = [json.dumps(line(f"msg_{n}", f"req_{n}")) for n in range(3)]
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n\r\n".join(rows).encode())
    calls, problems = read("claude-code", path)
    assert [c.line for c in calls] == [1, 3, 5]
    assert problems == []


def test_a_lone_surrogate_in_an_id_can_be_stored(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.jsonl", line("msg_\ud800", "req_1", cwd="/w/\udcff"))
    ((call,), _) = read("claude-code", path)
    assert call.external_id.encode("utf-8") == b"msg_?:req_1"
    assert call.project == "?"


@pytest.mark.parametrize("tool", ["claude-code", "codex"])
def test_lines_read_many_at_once_say_what_they_say_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tool: str
) -> None:
    samples = list((IMPORTS / tool).rglob("*.jsonl"))
    assert samples
    for sample in samples:
        whole = read(tool, sample)
        with monkeypatch.context() as small:
            small.setattr(files, "_BLOCK_BYTES", 700)
            assert read(tool, sample) == whole
        # Of a block with a blank line each is read alone.
        apart = tmp_path / sample.name
        apart.write_bytes(sample.read_bytes().replace(b"\n", b"\n\n"))
        calls, problems = read(tool, apart)
        assert [replace(call, line=None) for call in calls] == [
            replace(call, line=None) for call in whole[0]
        ]
        assert len(problems) == len(whole[1])


@pytest.mark.parametrize(
    "odd",
    [
        {"input_tokens": 3.0},
        {"input_tokens": "7"},
        {"input_tokens": None},
        {"input_tokens": -1},
        {"output_tokens": 2**60},
        {"cache_creation": None},
        {"cache_creation": {"ephemeral_1h_input_tokens": 5}},
        {"service_tier": "priority"},
        {"speed": "fast"},
        {"inference_geo": "us"},
        {"server_tool_use": {"web_search_requests": 2}},
        {"iterations": [{"type": "message", "input_tokens": 1, "output_tokens": 2}]},
        {"iterations": [{"type": "compaction", "input_tokens": 9, "output_tokens": 9}]},
        {"prompt_tokens": 10},
        {"output_tokens_details": {"thinking_tokens": 4}},
    ],
    ids=str,
)
@pytest.mark.parametrize("names", [{}, {"requestId": None}, {"requestId": None, "uuid": None}])
def test_odd_counts_are_read_the_same_among_many_and_alone(
    tmp_path: Path, odd: dict[str, object], names: dict[str, object]
) -> None:
    told = line("msg_2", "req_2", **names)
    plain = {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0}
    told["message"]["usage"] = {**told["message"]["usage"], "cache_creation": plain, **odd}
    many = read("claude-code", write_lines(tmp_path / "many.jsonl", line(), told))
    alone = read("claude-code", write_lines(tmp_path / "alone.jsonl", line(), "", told))
    assert [replace(call, line=None, file="") for call in many[0]] == [
        replace(call, line=None, file="") for call in alone[0]
    ]
    assert [problem.reason for problem in many[1]] == [problem.reason for problem in alone[1]]


# ---- arrays read an element at a time


def array_items(path: Path) -> list[tuple[int, object] | ImportProblem]:
    return list(files.json_array(path))


def test_array_elements_come_with_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('\n[\n {"a": 1},\n {\n  "b": "]"\n },\n 7\n]\ntrailing')
    assert array_items(path) == [(3, {"a": 1}), (4, {"b": "]"}), (7, 7)]


@pytest.mark.parametrize(
    ("text", "good", "problem_line"),
    [
        ('[{"a": 1},\n {"b": ', 1, 2),
        ('[{"a": 1},\n {"b": oops}, {"c": 1}]', 1, 2),
        ('{"a": 1}', 0, 1),
        ("", 0, 1),
        ('[{"a": 1}, {"b": 2}', 1, 1),
        ('[{"a": 1} {"b": 2}]', 0, 1),
    ],
    ids=["cut off", "damaged", "an object", "empty", "not closed", "no comma"],
)
def test_a_damaged_array_gives_what_came_before(
    tmp_path: Path, text: str, good: int, problem_line: int
) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    items = array_items(path)
    problems = [item for item in items if isinstance(item, ImportProblem)]
    assert len(items) - len(problems) == good
    assert [p.line for p in problems] == [problem_line]


def test_an_array_of_elements_larger_than_the_buffer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_BUFFER_BYTES", 64)
    want = [{"n": n, "text": "é" * (n * 37), "more": [n, {"x": -1.5e3}]} for n in range(40)]
    path = tmp_path / "a.json"
    path.write_text(json.dumps(want, indent=1, ensure_ascii=False), "utf-8")
    items = array_items(path)
    assert [item[1] for item in items if isinstance(item, tuple)] == want


def test_an_array_with_invalid_utf8(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b'[{"a": "\xff"}]')
    (problem,) = array_items(path)
    assert isinstance(problem, ImportProblem)
    assert "UTF-8" in problem.reason


# ---- tables


def table_items(path: Path, raw: bytes) -> list[tuple[int, dict[str, str]] | ImportProblem]:
    path.write_bytes(raw)
    return list(files.rows(path))


def test_rows_know_the_line_they_begin_on(tmp_path: Path) -> None:
    raw = b'\xef\xbb\xbfa,b\r\n1,"x\r\ny, ""z"""\r\n\r\n2,w\r\n'
    assert table_items(tmp_path / "t.csv", raw) == [
        (2, {"a": "1", "b": 'x\r\ny, "z"'}),
        (5, {"a": "2", "b": "w"}),
    ]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_other_delimiters_and_empty_last_columns(tmp_path: Path, delimiter: str) -> None:
    raw = "a,b,c\n1,2,\n".replace(",", delimiter).encode()
    assert table_items(tmp_path / "t.csv", raw) == [(2, {"a": "1", "b": "2", "c": ""})]


def test_damaged_rows_are_named_and_the_others_stand(tmp_path: Path) -> None:
    items = table_items(tmp_path / "t.csv", b'a,b\n1,2\n3\n4,\xff\n5,6,7\n8,9\n"x"y,1\n10,11\n')
    assert [item[1]["a"] for item in items if isinstance(item, tuple)] == ["1", "8", "10"]
    assert [item.line for item in items if isinstance(item, ImportProblem)] == [3, 4, 5, 7]


@pytest.mark.parametrize(
    "raw",
    ["a,b\n1,2\n".encode("utf-16"), b"a,a\n1,2\n"],
    ids=["UTF-16", "a name twice"],
)
def test_headers_that_cannot_be_used(tmp_path: Path, raw: bytes) -> None:
    (problem,) = table_items(tmp_path / "t.csv", raw)
    assert isinstance(problem, ImportProblem)
    assert problem.line == 1


def test_a_quote_that_never_closes(tmp_path: Path) -> None:
    items = table_items(tmp_path / "t.csv", b'a,b\n1,2\n3,"4\n5,6\n')
    assert items[0] == (2, {"a": "1", "b": "2"})
    assert [item.line for item in items if isinstance(item, ImportProblem)] == [3]


# ---- the registry


def test_listing_the_importers_loads_no_format() -> None:
    code = (
        "import sys, omni_cli.importers as i\n"
        "assert len(i.importers) == 12\n"
        "heavy = {'sqlite3', 'csv', 'hashlib', 'pydantic', 'httpx'}\n"
        "print(sorted(m for m in sys.modules if m in heavy or m.startswith('omni_cli.importers.')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPO
    )
    assert done.stdout.strip() == "[]"


def test_unknown_importers_and_mappings_where_there_are_none(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such importer"):
        load("cursor", [tmp_path])
    with pytest.raises(UsageError, match="--map is for csv"):
        load("codex", [tmp_path], mapping={"model": "Model"})
    with pytest.raises(UsageError, match="no invoice"):
        list(importers["codex"].read_invoice(tmp_path))


def test_skips_are_counted_for_the_caller(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.jsonl", {"type": "summary"}, {"type": "x", "usage": 1}, line())
    skips: Counter[str] = Counter()
    assert len(list(importers["claude-code"].read(path, skips=skips))) == 1
    assert skips == {"lines without usage": 2}


@pytest.mark.parametrize(
    "said", ["2999-01-01T00:00:00Z", "9999-12-31T23:59:59+00:00", 32_472_144_000_000, "1960-01-01"]
)
def test_a_time_that_no_id_can_hold_is_left_out_before_the_store_sees_it(said: object) -> None:
    with pytest.raises(Unreadable, match="timestamp is out of range"):
        at_ms(said)
    assert make_id(MAX_MS, (1 << RANDOM_BITS) - 1) < 2**63
