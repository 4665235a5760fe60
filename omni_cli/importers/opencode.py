"""opencode's messages: ``opencode.db`` (1.2 and later) or ``storage/message/*/*.json``.

``tokens.input`` excludes the cache. ``tokens.output`` excludes reasoning where ``total`` shows
it does (1.18), else it includes it (1.1). ``cost`` comes from opencode's own price table, which
gives 0 for what it does not know. Title calls are not stored by opencode.

opencode 2 keeps answers in ``session_message`` (``type`` assistant, reasoning never part of the
output), beside the older table, of which it brought over what was there under the same ids. A fork
copies its parent's messages under new ids with their times and counts, in either schema.
"""

import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from omni_cli.domain.imports import ImportedCall, ImportProblem
from omni_cli.domain.record import replace
from omni_cli.domain.sessions import Session, kept
from omni_cli.importers import sqlite
from omni_cli.importers.files import document, parse_object, walk
from omni_cli.importers.names import provider_slug
from omni_cli.importers.values import (
    Skips,
    Unreadable,
    at_ms,
    base_name,
    cost_if_known,
    count,
    digest,
    make_usage,
    obj,
    text,
)

SOURCE = "opencode"
#: States of one message: a file of an older version yields to the database, its older table to
#: the newer one.
_FROM_FILE, _FROM_DATABASE, _FROM_NEWER = 0, 1, 2

#: What tells apart answers of the same moment and length.
_SAID = ("providerID", "modelID", "cost")

_MESSAGES = "SELECT rowid AS row, id, session_id, data FROM message ORDER BY rowid"
_MESSAGES_AND_SESSIONS = """
SELECT m.rowid AS row, m.id, m.session_id, m.data, s.directory, s.parent_id, {title} AS title
FROM message AS m LEFT JOIN session AS s ON s.id = m.session_id ORDER BY m.rowid
"""
_NEWER = "SELECT rowid AS row, id, session_id, type, data FROM session_message ORDER BY rowid"
#: ``copied``: a row of a fork up to where it was made, of which its parent has the original.
_NEWER_AND_SESSIONS = """
SELECT m.rowid AS row, m.id, m.session_id, m.type, m.data, s.directory, s.parent_id,
    {title} AS title, EXISTS (SELECT 1 FROM session_message AS edge JOIN session_message AS original
        ON original.session_id = edge.session_id AND original.seq = m.seq
        AND original.type = m.type
        WHERE edge.id = s.fork_boundary AND edge.session_id = s.fork_session_id
        AND m.seq <= edge.seq) AS copied
FROM session_message AS m LEFT JOIN session_v2 AS s ON s.id = m.session_id ORDER BY m.rowid
"""


def find_default(home: Path, env: Mapping[str, str]) -> list[Path]:
    if env.get("OPENCODE_DATA_DIR"):
        root = Path(env["OPENCODE_DATA_DIR"]).expanduser()
    else:
        data = Path(env["XDG_DATA_HOME"]) if env.get("XDG_DATA_HOME") else home / ".local/share"
        root = data / "opencode"
    return [root] if root.is_dir() and files(root) else []


def files(path: Path) -> list[str]:
    """Databases first, then the message files of older versions."""
    if not path.is_dir():
        return [str(path)]
    databases = [str(file) for file in sorted(path.glob("opencode*.db"))]
    messages = path / "storage" / "message"
    root = messages if messages.is_dir() else path
    stored = walk(root, lambda name: name.startswith("msg_") and name.endswith(".json"))
    return databases + stored


def read_file(path: Path, skips: Skips) -> Iterator[ImportedCall | ImportProblem]:
    if path.suffix == ".json":
        yield from _read_message(path, skips)
    else:
        yield from _read_database(path, skips)


def _read_message(path: Path, skips: Skips) -> Iterator[ImportedCall | ImportProblem]:
    try:
        data = obj(document(path))
        call = _call(
            data,
            text(data.get("id")) or path.stem,
            text(data.get("sessionID")),
            file=path.name,
            line=None,
            revision=_FROM_FILE,
            skips=skips,
        )
    except Unreadable as exc:
        yield ImportProblem(str(path), None, str(exc))
        return
    if call is not None:
        yield call


def _read_database(path: Path, skips: Skips) -> Iterator[ImportedCall | ImportProblem]:
    last: int | None = None
    try:
        with sqlite.read_only(path) as connection:
            queries = _queries(connection)
            if not queries:
                yield ImportProblem(
                    str(path), None, "no table of messages: not opencode's database"
                )
                return
            repeats: Counter[str] = Counter()
            for row in chain.from_iterable(map(connection.execute, queries)):
                last = row["row"]
                try:
                    call = _from_row(sqlite.as_mapping(row), path.name, skips)
                except Unreadable as exc:
                    yield ImportProblem(str(path), last, str(exc))
                    continue
                if call is not None:
                    yield _numbered(call, repeats)
    except Unreadable as exc:
        yield ImportProblem(str(path), None, str(exc))
    except sqlite3.Error as exc:
        yield ImportProblem(str(path), last, f"the database is damaged from here on: {exc}")


def _queries(connection: sqlite3.Connection) -> list[str]:
    """What to ask of the tables of messages that there are, the newer one first."""
    queries = []
    if {"id", "session_id", "type", "data"} <= sqlite.columns(connection, "session_message"):
        known = sqlite.columns(connection, "session_v2")
        forks = {"id", "directory", "parent_id", "fork_session_id", "fork_boundary"} <= known
        numbered = "seq" in sqlite.columns(connection, "session_message")
        with_sessions = _NEWER_AND_SESSIONS.replace("{title}", _title(known))
        queries.append(with_sessions if forks and numbered else _NEWER)
    if {"id", "session_id", "data"} <= sqlite.columns(connection, "message"):
        known = sqlite.columns(connection, "session")
        with_sessions = _MESSAGES_AND_SESSIONS.replace("{title}", _title(known))
        queries.append(with_sessions if {"id", "directory", "parent_id"} <= known else _MESSAGES)
    return queries


def _title(columns: frozenset[str]) -> str:
    return "s.title" if "title" in columns else "NULL"


def _numbered(call: ImportedCall, repeats: Counter[str]) -> ImportedCall:
    """The call with its content's identity; equals within one session are no copies."""
    if call.content is None:
        return call
    key = f"{call.revision}:{call.session_id}:{call.content}"
    repeats[key] += 1
    return replace(call, content=f"{call.content}:{repeats[key]}")


def _from_row(row: Mapping[str, Any], file: str, skips: Skips) -> ImportedCall | None:
    raw = row["data"]
    if not isinstance(raw, str):
        raise Unreadable("the message is not text")
    message_id = text(row["id"])
    if message_id is None:
        raise Unreadable("the message has no id")
    if row.get("copied"):
        skips["messages copied by a fork"] += 1
        return None
    data = parse_object(raw)
    newer = "type" in row
    if newer:
        model = obj(data.get("model"))
        data = {
            "modelID": model.get("id"),
            "providerID": model.get("providerID"),
            **data,
            "role": row["type"],
        }
    return _call(
        data,
        message_id,
        text(row["session_id"]),
        file=file,
        line=row["row"],
        revision=_FROM_NEWER if newer else _FROM_DATABASE,
        skips=skips,
        directory=row.get("directory"),
        parent=text(row.get("parent_id")),
        title=text(row.get("title")),
    )


def _call(
    data: Mapping[str, Any],
    message_id: str,
    session_id: str | None,
    *,
    file: str,
    line: int | None,
    revision: int,
    skips: Skips,
    directory: object = None,
    parent: str | None = None,
    title: str | None = None,
) -> ImportedCall | None:
    if data.get("role") != "assistant":
        skips[f"role {text(data.get('role')) or 'unknown'}"] += 1
        return None
    tokens = obj(data.get("tokens"))
    fresh, output, reasoning, total = (
        count(tokens.get(name), name) for name in ("input", "output", "reasoning", "total")
    )
    cache = obj(tokens.get("cache"))
    reads = count(cache.get("read"), "cache.read")
    writes = count(cache.get("write"), "cache.write")
    if not any((fresh, output, reasoning, reads, writes)):
        skips["answers without tokens (unfinished or failed)"] += 1
        return None
    counts = (fresh, output, reasoning, reads, writes)
    whole_in = None if fresh is None else fresh + (reads or 0) + (writes or 0)
    apart = revision == _FROM_NEWER or total == (whole_in or 0) + (output or 0) + (reasoning or 0)
    if output is not None and apart:
        output += reasoning or 0
    usage, unstated = make_usage(
        whole_in, output, cached=reads, cache_write=writes, reasoning=reasoning
    )
    times = obj(data.get("time"))
    at = at_ms(times.get("created"), "time.created")
    done = None if times.get("completed") is None else at_ms(times["completed"], "time.completed")
    place = obj(data.get("path"))
    name = text(data.get("agent")) or text(data.get("mode"))
    return ImportedCall(
        source=SOURCE,
        external_id=message_id,
        at_ms=at,
        provider=provider_slug(text(data.get("providerID"))),
        model=text(data.get("modelID")),
        usage=usage,
        unstated=unstated,
        recorded_cost_nusd=cost_if_known(
            data.get("cost"), "cost", usage.total_tokens if usage else 0
        ),
        latency_ms=None if done is None else max(done - at, 0),
        session_id=session_id,
        agent=f"{SOURCE}:{name}" if parent and name else SOURCE,
        about=Session(session_id or "", parent=parent or "", title=kept(title or "")),
        project=base_name(place.get("root")) or base_name(place.get("cwd")) or base_name(directory),
        file=file,
        line=line,
        outcome="failure" if data.get("error") else None,
        revision=revision,
        content=None
        if done is None
        else digest(
            at, done, data.get("providerID"), data.get("modelID"), data.get("cost"), *counts
        ),
    )
