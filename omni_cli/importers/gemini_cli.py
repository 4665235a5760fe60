"""Gemini CLI chats: ``tmp/<project>/chats/session-*.json`` (one object) and ``.jsonl``.

Written by Gemini CLI up to 0.20 as one object with ``messages``, later as a header line,
messages, and ``{"$set": …}`` updates. A message is written again when it changes; the last
state that carries tokens holds. ``thoughts`` are billed as output but not part of ``output``;
``tool`` (tool-use prompt) is billed as input.
"""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct

from omni_cli.domain.imports import ImportedCall, ImportProblem
from omni_cli.importers.files import document, json_lines, walk
from omni_cli.importers.values import Skips, Unreadable, at_ms, count, digest, make_usage, obj, text

SOURCE = "gemini-cli"
_MARKERS = (b'"tokens"', b'"sessionId"')
_HASH = re.compile(r"[0-9a-f]{64}")


def find_default(home: Path, env: Mapping[str, str]) -> list[Path]:
    base = Path(env["GEMINI_CLI_HOME"]).expanduser() if env.get("GEMINI_CLI_HOME") else home
    root = base / ".gemini"
    return [root] if (root / "tmp").is_dir() else []


def files(path: Path) -> list[str]:
    if not path.is_dir():
        return [str(path)]
    root = path / "tmp" if (path / "tmp").is_dir() else path
    found = walk(root, lambda name: name.endswith((".json", ".jsonl")))
    return [file for file in found if f"{os.sep}chats{os.sep}" in file]


class _Session(Struct):
    file: str
    session_id: str
    project: str | None
    model: str | None = None


def read_file(path: Path, skips: Skips) -> Iterator[ImportedCall | ImportProblem]:
    session = _Session(path.name, path.stem, _project(path))
    if path.suffix == ".jsonl":
        yield from _read_lines(path, session, skips)
    else:
        yield from _read_document(path, session, skips)


def _project(path: Path) -> str | None:
    """The folder above ``chats``, unless it is only a hash of the project's path."""
    parts = path.parts
    if "chats" not in parts[1:]:
        return None
    name = parts[len(parts) - 1 - parts[::-1].index("chats") - 1]
    return None if _HASH.fullmatch(name) else name


def _read_document(
    path: Path, session: _Session, skips: Skips
) -> Iterator[ImportedCall | ImportProblem]:
    try:
        whole = document(path)
    except Unreadable as exc:
        yield ImportProblem(str(path), None, str(exc))
        return
    messages = obj(whole).get("messages")
    if not isinstance(messages, list):
        skips["files without messages"] += 1
        return
    session.session_id = text(obj(whole).get("sessionId")) or session.session_id
    yield from _messages(path, session, messages, None, skips)


def _read_lines(
    path: Path, session: _Session, skips: Skips
) -> Iterator[ImportedCall | ImportProblem]:
    for item in json_lines(path, _MARKERS, skips):
        if isinstance(item, ImportProblem):
            yield item
            continue
        number, record = item
        session.session_id = text(record.get("sessionId")) or session.session_id
        replaced = obj(record.get("$set")).get("messages")
        messages = replaced if isinstance(replaced, list) else [record]
        yield from _messages(path, session, messages, number, skips)


def _messages(
    path: Path, session: _Session, messages: list[Any], line: int | None, skips: Skips
) -> Iterator[ImportedCall | ImportProblem]:
    for position, message in enumerate(messages, 1):
        record = obj(message)
        session.model = text(record.get("model")) or session.model
        if record.get("type") != "gemini" or not isinstance(record.get("tokens"), dict):
            skips["messages without tokens"] += 1
            continue
        try:
            call = _call(record, session, line, position if line is None else line)
        except Unreadable as exc:
            reason = f"message {position}: {exc}" if line is None else str(exc)
            yield ImportProblem(str(path), line, reason)
            continue
        yield call


def _call(
    record: Mapping[str, Any], session: _Session, line: int | None, revision: int
) -> ImportedCall:
    tokens = record["tokens"]
    names = ("input", "output", "cached", "thoughts", "tool", "total")
    fresh, output, cached, thoughts, tool, total = (count(tokens.get(n), n) for n in names)
    whole_in: int | None = None
    if fresh is not None:
        whole_in = fresh + (tool or 0)
        if total != whole_in + (output or 0) + (thoughts or 0):
            # Otherwise the total shows that the cached part is inside the input already.
            whole_in += cached or 0
    usage, unstated = make_usage(
        whole_in,
        None if output is None else output + (thoughts or 0),
        cached=cached,
        cache_write=0,
        reasoning=thoughts,
    )
    at = at_ms(record.get("timestamp"))
    own = text(record.get("id"))
    return ImportedCall(
        source=SOURCE,
        external_id=own or digest(session.session_id, at, *tokens.values()),
        at_ms=at,
        provider="google",
        model=text(record.get("model")) or session.model,
        usage=usage,
        unstated=unstated,
        session_id=session.session_id,
        agent=SOURCE,
        project=session.project,
        file=session.file,
        line=line,
        revision=revision,
    )
