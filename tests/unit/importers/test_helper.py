"""Logs that several processes read: the same calls, marks and sums as one, and none lost or twice
when a helper dies."""

import errno
import json
import os
import pickle
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from omni_cli import importers as reading
from omni_cli.importers import ImportBatch, Importer, Marks, Work, importers, share

# Whoever runs the tests may have threads; what is forked here uses nothing of theirs.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


@pytest.fixture
def places(tmp_path: Path) -> dict[str, Path]:
    """Transcripts that repeat answers of others (grown, resumed, shown again by a sub-agent), lines
    that are broken or state no usage, and rollouts."""
    claude, codex = tmp_path / "claude/projects/p", tmp_path / "codex/sessions"
    for number in range(12):
        lines = [json.dumps({"type": "user", "message": {"role": "user", "content": "hi"}})]
        for answer in range(max(0, number - 2), number + 3):
            usage = {
                "input_tokens": 10 + answer,
                "output_tokens": 5 + (number == answer) * 40,
                "cache_read_input_tokens": 3,
                "cache_creation_input_tokens": 7,
                "cache_creation": {"ephemeral_5m_input_tokens": 7, "ephemeral_1h_input_tokens": 0},
            }
            line: dict[str, Any] = {
                "timestamp": f"2026-11-0{1 + answer % 7}T10:00:{answer:02}Z",
                "sessionId": f"s{number}",
                "cwd": f"/home/dev/p{number % 3}",
                "requestId": f"r{answer}",
                "isSidechain": number % 5 == 4,
                "message": {"id": f"m{answer}", "model": "claude-haiku-4-5", "usage": usage},
            }
            if answer % 6 == 5:
                line |= {"costUSD": 0.25, "uuid": f"u{answer}"}
                line["message"] |= {"id": f"n{number}-{answer}", "usage": {}}
            lines.append(json.dumps(line))
        lines += ['{"broken", "usage"', ""] if number % 4 == 1 else [""]
        claude.mkdir(parents=True, exist_ok=True)
        (claude / f"s{number}.jsonl").write_text("\n".join(lines))
        meta = {"id": f"c{number}", "cwd": "/home/dev/q", "model_provider": "openai"}
        counts = {"input_tokens": 100 + number, "cached_input_tokens": 9, "output_tokens": 7}
        counts |= {"reasoning_output_tokens": 1, "cache_write_input_tokens": 0}
        info = {"total_token_usage": counts, "last_token_usage": counts}
        stamp = f"2026-11-01T11:00:{number:02}Z"
        rollout = [
            {"type": "session_meta", "payload": meta},
            {"type": "turn_context", "payload": {"model": "gpt-5.5"}},
            {"type": "event_msg", "payload": {"type": "token_count", "info": info}},
        ]
        codex.mkdir(parents=True, exist_ok=True)
        text = "".join(json.dumps({"timestamp": stamp, **line}) + "\n" for line in rollout)
        (codex / f"rollout-c{number}.jsonl").write_text(text)
    return {"claude-code": claude.parents[1], "codex": codex.parent}


def _read(places: dict[str, Path]) -> tuple[list[ImportBatch], list[list[Any]], int]:
    """What is in them, how far they are read, and how many files this process left to others."""
    marks = [Marks({}) for _ in places]
    works = [
        Work(importers[name], [path], marks=mark)
        for (name, path), mark in zip(places.items(), marks, strict=True)
    ]
    whole = sum(len(work.wanted) for work in works)
    share(works)
    left = whole - sum(len(work.wanted) for work in works)
    batches = [work.load() for work in works]
    for batch in batches:
        batch.problems.sort(key=str)
    return batches, [[msgspec.structs.astuple(m) for m in mark.read] for mark in marks], left


@pytest.fixture
def many(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    def processes(cores: int) -> None:
        monkeypatch.setattr(reading, "_MUCH_BYTES", 0)
        monkeypatch.setattr(reading, "_cores", lambda: cores)
        monkeypatch.setattr(reading, "_may_fork", lambda: True)

    return processes


def _children() -> set[int]:
    """Processes that this one has and did not wait for; those of other tests, too."""
    told = Path("/proc/self/task").glob("*/children")
    return {int(child) for path in told for child in path.read_text().split()}


@pytest.mark.parametrize("cores", [2, 3, 8])
def test_several_processes_find_what_one_does(
    places: dict[str, Path], many: Callable[[int], None], cores: int
) -> None:
    alone = _read(places)
    assert alone[2] == 0
    many(cores)
    together = _read(places)
    assert together[:2] == alone[:2]
    assert 6 <= together[2] <= 24
    claude, codex = together[0]
    assert claude.rows > len(claude.calls) > 12
    assert [p.line for p in claude.problems] == [6, 7, 7]
    assert any(call.usage is None for call in claude.calls)
    assert len(codex.calls) == 12


def _dies_reading(monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    """Every helper is killed within the second file of ``source`` that it reads."""
    here, read_file, begun = os.getpid(), Importer.read_file, [0]

    def reads(self: Importer, *args: Any) -> Iterator[Any]:
        begun[0] += self.name == source
        for item in read_file(self, *args):
            if os.getpid() != here and self.name == source and begun[0] == 2:
                os.kill(os.getpid(), signal.SIGKILL)
            yield item

    monkeypatch.setattr(Importer, "read_file", reads)


def _dies_answering(monkeypatch: pytest.MonkeyPatch, whole: int) -> None:
    """Every helper is killed when half of the answer after ``whole`` is said."""
    said = [0]

    def dump(value: object, file: Any, protocol: int) -> None:
        text = pickle.dumps(value, protocol)
        if said[0] == whole:
            file.write(text[: len(text) // 2])
            file.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        said[0] += 1
        file.write(text)

    monkeypatch.setattr(pickle, "dump", dump)


@pytest.mark.parametrize(
    "fault",
    [
        lambda patch: _dies_reading(patch, "claude-code"),
        lambda patch: _dies_reading(patch, "codex"),
        lambda patch: _dies_answering(patch, 0),
        lambda patch: _dies_answering(patch, 1),
    ],
    ids=["reading the first", "reading the second", "in its first answer", "in its second"],
)
def test_a_helper_that_dies_loses_nothing_and_doubles_nothing(
    places: dict[str, Path],
    many: Callable[[int], None],
    monkeypatch: pytest.MonkeyPatch,
    fault: Callable[[pytest.MonkeyPatch], None],
) -> None:
    alone, before = _read(places), _children()
    many(2)
    fault(monkeypatch)
    together = _read(places)
    assert together[2] > 0
    assert together[:2] == alone[:2]
    assert _children() <= before


def test_without_room_for_a_process_this_one_reads_all(
    places: dict[str, Path], many: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = _read(places)

    def fork() -> int:
        raise OSError(errno.EAGAIN, "no room")

    many(3)
    monkeypatch.setattr(os, "fork", fork)
    assert _read(places)[:2] == alone[:2]
