"""opencode's messages: ``opencode.db`` (1.2 and later) or ``storage/message/*/*.json``.

``tokens.input`` excludes the cache. ``tokens.output`` excludes reasoning where ``total`` shows
it does (1.18), else it includes it (1.1). ``cost`` comes from opencode's own price table, which
gives 0 for what it does not know. Title calls are not stored by opencode.
"""

import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from omni_cli.domain.imports import ImportedCall, ImportProblem
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
    make_usage,
    obj,
    text,
)

SOURCE = "opencode"
#: States of one message: a file of an older version yields to the database.
_FROM_FILE, _FROM_DATABASE = 0, 1

_MESSAGES = "SELECT rowid AS row, id, session_id, data FROM message ORDER BY rowid"
_MESSAGES_AND_SESSIONS = """
SELECT m.rowid AS row, m.id, m.session_id, m.data, s.directory, s.parent_id
FROM message AS m LEFT JOIN session AS s ON s.id = m.session_id ORDER BY m.rowid
"""


def find_default(home: Path, env: Mapping[str, str]) -> list[Path]:
    if env.get("OPENCODE_DATA_DIR"):
        root = Path(env["OPENCODE_DATA_DIR"]).expanduser()
    else:
        data = Path(env["XDG_DATA_HOME"]) if env.get("XDG_DATA_HOME") else home / ".local/share"
        root = data / "opencode"
    return [root] if root.is_dir() and files(root) else []


def files(path: Path) -> list[Path]:
    """Databases first, then the message files of older versions."""
    if not path.is_dir():
        return [path]
    databases = sorted(path.glob("opencode*.db"))
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
            found = sqlite.columns(connection, "message")
            if not {"id", "session_id", "data"} <= found:
                yield ImportProblem(
                    str(path), None, "no table of messages: not opencode's database"
                )
                return
            sessions = sqlite.columns(connection, "session")
            with_sessions = {"id", "directory", "parent_id"} <= sessions
            query = _MESSAGES_AND_SESSIONS if with_sessions else _MESSAGES
            for row in connection.execute(query):
                last = row["row"]
                try:
                    call = _from_row(sqlite.as_mapping(row), path.name, skips)
                except Unreadable as exc:
                    yield ImportProblem(str(path), last, str(exc))
                    continue
                if call is not None:
                    yield call
    except Unreadable as exc:
        yield ImportProblem(str(path), None, str(exc))
    except sqlite3.Error as exc:
        yield ImportProblem(str(path), last, f"the database is damaged from here on: {exc}")


def _from_row(row: Mapping[str, Any], file: str, skips: Skips) -> ImportedCall | None:
    raw = row["data"]
    if not isinstance(raw, str):
        raise Unreadable("the message is not text")
    message_id = text(row["id"])
    if message_id is None:
        raise Unreadable("the message has no id")
    return _call(
        parse_object(raw),
        message_id,
        text(row["session_id"]),
        file=file,
        line=row["row"],
        revision=_FROM_DATABASE,
        skips=skips,
        directory=row.get("directory"),
        is_child=row.get("parent_id") is not None,
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
    is_child: bool = False,
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
    whole_in = None if fresh is None else fresh + (reads or 0) + (writes or 0)
    if output is not None and total == (whole_in or 0) + output + (reasoning or 0):
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
        agent=f"{SOURCE}:{name}" if is_child and name else SOURCE,
        project=base_name(place.get("root")) or base_name(place.get("cwd")) or base_name(directory),
        file=file,
        line=line,
        outcome="failure" if data.get("error") else None,
        revision=revision,
    )
