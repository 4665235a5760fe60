"""Codex CLI rollouts: ``sessions/**/rollout-*.jsonl``, or ``.jsonl.zst`` once they were idle.

``token_count`` events carry a session's cumulative total and its last turn; a call is the
difference of two totals. Counts follow OpenAI: input includes cached, output includes
reasoning. Forked and spawned sessions begin with a copy of their parent's events: with the
parent's times (told by the event's identity) or stamped with the moment of the copying. Those
are told by the parent's own totals where its file is there, else by how close they follow each
other: a model takes longer to answer than a line takes to be copied.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
from msgspec import Struct, field

from omni_cli.domain.imports import ImportedCall, ImportProblem, LogFile
from omni_cli.domain.record import replace
from omni_cli.domain.sessions import Session, remote_name
from omni_cli.importers.files import json_lines, walk
from omni_cli.importers.names import provider_slug
from omni_cli.importers.values import (
    Skips,
    Unreadable,
    at_ms,
    base_name,
    count,
    make_usage,
    obj,
    text,
)

SOURCE = "codex"
#: A rollout only grows.
GROWS = True
_MARKERS = (
    b'"token_count"',
    b'"turn_context"',
    b'"session_meta"',
    b'"token_usage_record"',
    b'"task_started"',
)
#: How far apart (ms) two lines of one copying can be: where the parent's totals tell it, where
#: only time does, and where nothing shows yet that anything was copied.
_WRITING_MS, _COPYING_MS, _AT_ONCE_MS = 10_000, 500, 15
_FIELDS = (
    "input_tokens",
    "cached_input_tokens",
    "cache_write_input_tokens",
    "output_tokens",
    "reasoning_output_tokens",
)
#: input, cached, cache write, output, reasoning
Counts = tuple[int, int, int, int, int]


def find_default(home: Path, env: Mapping[str, str]) -> list[Path]:
    root = Path(env["CODEX_HOME"]).expanduser() if env.get("CODEX_HOME") else home / ".codex"
    return (
        [root] if any((root / name).is_dir() for name in ("sessions", "archived_sessions")) else []
    )


def files(path: Path) -> list[Path]:
    """Rollouts below a Codex home or any folder; an archived copy of a session is left out."""
    if not path.is_dir():
        return [path]
    sessions, archived = path / "sessions", path / "archived_sessions"
    if not sessions.is_dir() and not archived.is_dir():
        return walk(path, _is_rollout)
    live = walk(sessions, _is_rollout)
    known = {file.relative_to(sessions) for file in live}
    return live + [f for f in walk(archived, _is_rollout) if f.relative_to(archived) not in known]


def _is_rollout(name: str) -> bool:
    return name.endswith((".jsonl", ".jsonl.zst"))


class _Session(Struct):
    """What earlier lines of a rollout said.

    ``began_ms``: when it was made. ``last_ms``: time of the line before. While ``copied``, events
    may be a parent's: ``inherited`` are its totals that are still to come (None: its file is not
    there), ``held`` is a first event until the next shows which it is; ``copying``: it was shown.
    """

    file: str
    session_id: str
    provider: str | None = None
    project: str | None = None
    agent: str = SOURCE
    parent: str | None = None
    about: Session | None = None
    copied: bool = False
    seen_meta: bool = False
    copied_header: bool = False
    copying: bool = False
    began_ms: int = 0
    last_ms: int | None = None
    model: str | None = None
    total: Counts | None = None
    response: tuple[str | None, Counts | None] = (None, None)
    inherited: list[Counts] | None = None
    held: list[ImportedCall] = field(default_factory=list)


def read_file(
    path: Path, skips: Skips, mark: LogFile | None = None
) -> Iterator[ImportedCall | ImportProblem]:
    session = _Session(path.name, _stem(path))
    state = b""
    lines = json_lines(path, _MARKERS, skips, mark)
    first = next(lines, None)
    # Only now it is known whether the file is the one that was read before.
    if mark is not None and mark.offset and mark.state:
        session = msgspec.json.decode(mark.state, type=_Session)
    for item in chain([] if first is None else [first], lines):
        if mark is not None and mark.partial and not state:
            state = msgspec.json.encode(session)
        if isinstance(item, ImportProblem):
            yield item
            continue
        number, record = item
        try:
            yield from _line(session, record, number, path, skips)
        except Unreadable as exc:
            yield ImportProblem(str(path), number, str(exc))
    yield from session.held
    if mark is not None:
        mark.state = (state or msgspec.json.encode(session)).decode()


def _stem(path: Path) -> str:
    return path.name.removesuffix(".zst").removesuffix(".jsonl")


def _line(
    session: _Session, record: Mapping[str, Any], number: int, path: Path, skips: Skips
) -> Iterator[ImportedCall]:
    payload = obj(record.get("payload"))
    kind = record.get("type")
    before_ms = session.last_ms
    if session.copied or not session.seen_meta:
        session.last_ms = _time(record.get("timestamp"))
    if kind == "session_meta":
        _meta(session, payload, path)
    elif kind == "turn_context" or payload.get("type") == "task_started":
        session.model = text(payload.get("model")) or session.model
        if session.copied and _is_own_turn(session, payload):
            yield from _own_from_here(session)
    elif kind == "token_usage_record":
        session.response = (text(payload.get("response_id")), _counts(payload.get("usage")))
    elif kind == "event_msg" and payload.get("type") == "token_count":
        call = _call(session, record, payload, number, skips)
        if call is not None:
            yield from _without_copied_prefix(session, call, before_ms, skips)
    else:
        skips["lines without usage"] += 1


def _meta(session: _Session, payload: Mapping[str, Any], path: Path) -> None:
    if session.seen_meta:
        # A copied parent's header follows the session's own.
        session.copied_header = session.copied_header or session.copied
        return
    session.seen_meta = True
    session.session_id = text(payload.get("id")) or session.session_id
    session.provider = provider_slug(text(payload.get("model_provider")))
    session.project = base_name(payload.get("cwd"))
    spawn = obj(obj(payload.get("source")).get("subagent"))
    spawned = "subagent" in obj(payload.get("source"))
    session.agent = f"{SOURCE}:subagent" if spawned else SOURCE
    forked_from = text(payload.get("forked_from_id"))
    session.parent = (
        forked_from
        or text(payload.get("parent_thread_id"))
        or text(obj(spawn.get("thread_spawn")).get("parent_thread_id"))
    )
    session.copied = spawned or forked_from is not None
    git = obj(payload.get("git"))
    session.about = Session(
        session.session_id,
        project=session.project or "",
        remote=remote_name(text(git.get("repository_url")) or ""),
        branch=text(git.get("branch")) or "",
        parent=(session.parent or "") if spawned else "",
    )
    session.began_ms = _time(payload.get("timestamp")) or session.last_ms or 0
    if session.copied and session.parent is not None:
        inherited = _totals_of(path, session.parent)
        session.inherited = None if inherited is None else list(inherited)


def _time(value: object) -> int | None:
    try:
        return at_ms(value)
    except Unreadable:
        return None


def _is_own_turn(session: _Session, payload: Mapping[str, Any]) -> bool:
    """Whether a turn began after the session was made: its id is a UUID of version 7, whose first
    48 bits are its time in ms (RFC 9562, 5.7)."""
    try:
        turn = UUID(str(payload.get("turn_id")))
    except ValueError:
        return False
    return turn.version == 7 and bool(session.began_ms) and turn.int >> 80 >= session.began_ms


def _totals_of(path: Path, session_id: str) -> tuple[Counts, ...] | None:
    """The totals, in their order, of a session whose file is beside ``path`` or in the same home;
    None where there is none."""
    tops = [folder for folder in path.parents if folder.name in ("sessions", "archived_sessions")]
    root = tops[0].parent if tops else path.parent
    for file in chain.from_iterable(files(root / top) for top in _folders(root)):
        stem = _stem(file)
        if file != path and (stem == session_id or stem.endswith(f"-{session_id}")):
            try:
                return _totals(file, file.stat().st_mtime_ns)
            except OSError:
                continue
    return None


def _folders(root: Path) -> list[str]:
    return [n for n in ("sessions", "archived_sessions") if (root / n).is_dir()] or ["."]


@lru_cache(maxsize=64)
def _totals(path: Path, changed_ns: int) -> tuple[Counts, ...]:  # noqa: ARG001 - part of the key
    found: list[Counts] = []
    for item in json_lines(path, (b'"token_count"',), Counter()):
        if isinstance(item, ImportProblem):
            continue
        info = obj(obj(item[1].get("payload")).get("info"))
        try:
            total = _counts(info.get("total_token_usage"))
        except Unreadable:
            continue
        if total is not None and (not found or found[-1] != total):
            found.append(total)
    return tuple(found)


def _call(
    session: _Session,
    record: Mapping[str, Any],
    payload: Mapping[str, Any],
    number: int,
    skips: Skips,
) -> ImportedCall | None:
    info = obj(payload.get("info"))
    total, last = _counts(info.get("total_token_usage")), _counts(info.get("last_token_usage"))
    response_id, response_counts = session.response
    session.response = (None, None)
    before = session.total
    if total is not None:
        session.total = total
    spent = _spent(before, total, last)
    if spent is None or not any(spent):
        skips["token counts without new tokens"] += 1
        return None
    at = at_ms(record.get("timestamp"))
    identity = "/".join(map(str, total or spent))
    usage, unstated = make_usage(
        spent[0], spent[3], cached=spent[1], cache_write=spent[2], reasoning=spent[4]
    )
    return ImportedCall(
        source=SOURCE,
        external_id=f"{at}:{identity}",
        at_ms=at,
        provider=session.provider,
        model=text(payload.get("model"))
        or text(info.get("model"))
        or text(info.get("model_name"))
        or session.model,
        usage=usage,
        unstated=unstated,
        message_id=response_id if response_counts == spent else None,
        session_id=session.session_id,
        agent=session.agent,
        project=session.project,
        about=session.about,
        file=session.file,
        line=number,
    )


def _spent(before: Counts | None, total: Counts | None, last: Counts | None) -> Counts | None:
    """What one event adds.

    The difference of the totals, also over events that were lost. A session that begins in the
    middle (its first total is more than its first turn) or whose total falls back counts the
    turn alone.
    """
    if total is None:
        return last
    if before is None:
        return last or total
    if all(new >= old for new, old in zip(total, before, strict=True)):
        i, c, w, o, r = (new - old for new, old in zip(total, before, strict=True))
        return i, c, w, o, r
    return last or total


def _counts(value: object) -> Counts | None:
    if not isinstance(value, dict):
        return None
    i, c, w, o, r = (count(value.get(name), name) or 0 for name in _FIELDS)
    return i, c, w, o, r


def _without_copied_prefix(
    session: _Session, call: ImportedCall, before_ms: int | None, skips: Skips
) -> Iterator[ImportedCall]:
    """Leaves out a copied history that is stamped with the time of the copying."""
    if not session.copied or call.message_id is not None:
        yield from _own_from_here(session)
        yield call
    elif call.at_ms < session.began_ms:
        # It kept its time, and so the identity of the parent's.
        yield replace(call, session_id=session.parent or call.session_id, about=None)
    else:
        apart = call.at_ms - (session.began_ms if before_ms is None else before_ms)
        is_copy = _is_copy(session, apart)
        if is_copy is None:
            session.held.append(call)
        elif is_copy:
            skips["events copied from a parent session"] += 1 + len(session.held)
            session.held.clear()
        else:
            yield from _own_from_here(session)
            yield call


def _is_copy(session: _Session, apart_ms: int) -> bool | None:
    """Whether an event that follows the line before by ``apart_ms`` is of the parent; None: the
    next will show."""
    if session.inherited is not None and session.total is not None:
        if session.total not in session.inherited:
            return False
        del session.inherited[: session.inherited.index(session.total) + 1]
        if apart_ms > _WRITING_MS:
            return False if session.held or session.copying else None
        session.copying = True
        return True
    at_once = _COPYING_MS
    if not (session.copying or session.held or session.copied_header):
        at_once = _AT_ONCE_MS
    session.copying = session.copying or apart_ms <= at_once
    if session.copying:
        return apart_ms <= at_once
    return False if session.held else None


def _own_from_here(session: _Session) -> Iterator[ImportedCall]:
    session.copied, session.inherited = False, None
    yield from session.held
    session.held.clear()
