"""Qwen Code chats: ``projects/<project>/chats/*.jsonl``, one record a line.

A record of type ``assistant`` carries ``usageMetadata`` in Gemini's words: ``promptTokenCount``
includes the cached part, ``candidatesTokenCount`` leaves thoughts out where the total shows it.
Source: QwenLM/qwen-code, packages/core/src/services/chatRecordingService.ts (``ChatRecord``).
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from omni_cli.domain.imports import ImportedCall, ImportProblem, LogFile
from omni_cli.domain.sessions import Session
from omni_cli.importers.files import json_lines, walk
from omni_cli.importers.values import (
    Skips,
    Unreadable,
    at_ms,
    base_name,
    count,
    digest,
    make_usage,
    shared_text,
    text,
)

SOURCE = "qwen-code"
#: A chat only grows.
GROWS = True


def find_default(home: Path, env: Mapping[str, str]) -> list[Path]:
    """``$QWEN_DATA_DIR`` (a comma list), or the usual place, where there are projects."""
    named = [part.strip() for part in env.get("QWEN_DATA_DIR", "").split(",") if part.strip()]
    roots = [Path(part).expanduser() for part in named] or [home / ".qwen"]
    return [root for root in roots if (root / "projects").is_dir()]


def files(path: Path) -> list[str]:
    if not path.is_dir():
        return [str(path)]
    root = path / "projects" if (path / "projects").is_dir() else path
    found = walk(root, lambda name: name.endswith(".jsonl"))
    return [file for file in found if f"{os.sep}chats{os.sep}" in file]


def read_file(
    path: Path, skips: Skips, mark: LogFile | None = None
) -> Iterator[ImportedCall | ImportProblem]:
    for item in json_lines(path, (b'"usageMetadata"',), skips, mark):
        if isinstance(item, ImportProblem):
            yield item
            continue
        number, record = item
        counts = record.get("usageMetadata")
        if record.get("type") != "assistant" or not isinstance(counts, dict):
            skips["other records"] += 1
            continue
        try:
            call = _call(record, counts, path, number)
        except Unreadable as exc:
            yield ImportProblem(str(path), number, str(exc))
            continue
        if call is None:
            skips["empty usage"] += 1
        else:
            yield call


def _call(
    record: Mapping[str, Any], counts: Mapping[str, Any], path: Path, line: int
) -> ImportedCall | None:
    names = ("promptToken", "candidatesToken", "cachedContentToken", "thoughtsToken", "totalToken")
    prompt, output, cached, thoughts, total = (count(counts.get(f"{n}Count"), n) for n in names)
    if not any((prompt, output, cached, thoughts, total)):
        return None
    if prompt is None and output is None:
        output = total
    elif output is not None and total == (prompt or 0) + output + (thoughts or 0):
        output += thoughts or 0
    usage, unstated = make_usage(prompt, output, cached=cached, reasoning=thoughts)
    at = at_ms(record.get("timestamp"))
    session = shared_text(record.get("sessionId")) or path.stem
    project = base_name(record.get("cwd"))
    branch = shared_text(record.get("gitBranch")) or ""
    return ImportedCall(
        source=SOURCE,
        external_id=text(record.get("uuid")) or digest(session, at, *counts.values()),
        at_ms=at,
        provider=None,
        model=shared_text(record.get("model")),
        usage=usage,
        unstated=unstated,
        session_id=session,
        about=Session(session, branch=branch) if branch else None,
        agent=SOURCE,
        project=project,
        file=path.name,
        line=line,
    )
