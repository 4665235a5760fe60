"""Codex CLI rollouts: ``sessions/**/rollout-*.jsonl``, or ``.jsonl.zst`` once they were idle.

``token_count`` events carry a session's cumulative total and its last turn; a call is the
difference of two totals. Counts follow OpenAI: input includes cached, output includes
reasoning. Forked and spawned sessions begin with a copy of their parent's events: with the
parent's times (told by the event's identity) or stamped with the moment of the copying. Those
are told by the parent's own totals where its file is there, else by how close they follow each
other: a model takes longer to answer than a line takes to be copied.
"""

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import lru_cache
from itertools import chain
from operator import sub
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import msgspec
from msgspec import Meta, Struct, field
from msgspec.structs import astuple

from omni_cli.domain.chat import Usage
from omni_cli.domain.imports import ImportedCall, ImportProblem, LogFile
from omni_cli.domain.record import replace
from omni_cli.domain.sessions import Session, remote_name
from omni_cli.importers.files import WITHOUT_USAGE, json_blocks, parse_object, walk
from omni_cli.importers.names import provider_slug
from omni_cli.importers.values import (
    MAX_COUNT,
    Skips,
    Unreadable,
    at_ms,
    base_name,
    count,
    obj,
    text,
)

SOURCE = "codex"
#: A rollout only grows.
GROWS = True
#: How far apart (ms) two lines of one copying can be: where the parent's totals tell it, where
#: only time does, and where nothing shows yet that anything was copied.
_WRITING_MS, _COPYING_MS, _AT_ONCE_MS = 10_000, 500, 15
#: input, cached, cache write, output, reasoning
Counts = tuple[int, int, int, int, int]


_Count = Annotated[int, Meta(ge=0, le=MAX_COUNT)] | None


class _Tokens(Struct, gc=False):
    input_tokens: _Count = 0
    cached_input_tokens: _Count = 0
    cache_write_input_tokens: _Count = 0
    output_tokens: _Count = 0
    reasoning_output_tokens: _Count = 0


class _Info(Struct, gc=False):
    total_token_usage: _Tokens | None = None
    last_token_usage: _Tokens | None = None
    model: Any = None
    model_name: Any = None


class _Payload(Struct, gc=False):
    type: Any = None
    info: _Info | None = None
    model: Any = None
    turn_id: Any = None
    response_id: Any = None
    usage: _Tokens | None = None
    id: Any = None
    cwd: Any = None
    timestamp: Any = None
    model_provider: Any = None
    source: Any = None
    forked_from_id: Any = None
    parent_thread_id: Any = None
    git: Any = None


class _Line(Struct, gc=False):
    """What counts of a line: not what was said, which is the most of it, and is passed over."""

    timestamp: Any = None
    type: Any = None
    payload: _Payload | str | float | bool | list[Any] | None = None


#: Lines and events that say something of use.
_KINDS = ("turn_context", "session_meta", "token_usage_record")
_EVENTS = ("token_count", "task_started")
_NO_INFO = _Info()
_NONE: frozenset[str] = frozenset()
_MARKERS = [f'"{name}"'.encode() for name in (*_KINDS, *_EVENTS)]
_decode_lines = msgspec.json.Decoder(_Line).decode_lines


def _line_of(raw: bytes) -> _Line:
    """Raises Unreadable."""
    try:
        (line,) = _decode_lines(raw)
    except (ValueError, RecursionError):  # also more or less than one line
        record = parse_object(raw)
        return _Line(record.get("timestamp"), record.get("type"), _payload(record.get("payload")))
    return line


def _payload(value: object) -> _Payload:
    """Of what is not all as Codex writes it. Raises Unreadable."""
    given = obj(value)
    payload = _Payload(*(given.get(name) for name in _Payload.__struct_fields__))
    payload.usage = _tokens(given.get("usage"))
    info = obj(given.get("info"))
    total, last = _tokens(info.get("total_token_usage")), _tokens(info.get("last_token_usage"))
    payload.info = _Info(total, last, info.get("model"), info.get("model_name"))
    return payload


def _tokens(value: object) -> _Tokens | None:
    """Raises Unreadable."""
    if not isinstance(value, dict):
        return None
    return _Tokens(*(count(value.get(name), name) for name in _Tokens.__struct_fields__))


def find_default(home: Path, env: Mapping[str, str]) -> list[Path]:
    root = Path(env["CODEX_HOME"]).expanduser() if env.get("CODEX_HOME") else home / ".codex"
    return (
        [root] if any((root / name).is_dir() for name in ("sessions", "archived_sessions")) else []
    )


def files(path: Path) -> list[str]:
    """Rollouts below a Codex home or any folder; an archived copy of a session is left out."""
    if not path.is_dir():
        return [str(path)]
    sessions, archived = path / "sessions", path / "archived_sessions"
    if not sessions.is_dir() and not archived.is_dir():
        return walk(path, _is_rollout)
    live = walk(sessions, _is_rollout)
    if not archived.is_dir():
        return live
    known = {file.removeprefix(str(sessions)) for file in live}
    kept = walk(archived, _is_rollout)
    return live + [file for file in kept if file.removeprefix(str(archived)) not in known]


def _is_rollout(name: str) -> bool:
    return name.endswith((".jsonl", ".jsonl.zst"))


#: No answer that a line before spoke of.
_NO_RESPONSE = (None, None)


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
    response: tuple[str | None, Counts | None] = _NO_RESPONSE
    inherited: list[Counts] | None = None
    held: list[ImportedCall] = field(default_factory=list)

    @property
    def is_own(self) -> bool:
        """Whether all that follows is its own."""
        return self.seen_meta and not self.copied


def read_file(
    path: Path, skips: Skips, mark: LogFile | None = None
) -> Iterator[ImportedCall | ImportProblem]:
    session = _Session(path.name, _stem(path))
    state, passed = b"", 0
    lines = json_blocks(path, _MARKERS, skips, mark, parse=_line_of, at_once=_decode_lines)
    first = next(lines, None)
    # Only now it is known whether the file is the one that was read before.
    if mark is not None and mark.offset and mark.state:
        session = msgspec.json.decode(mark.state, type=_Session)
    for item in chain([] if first is None else [first], lines):
        if isinstance(item, ImportProblem):
            yield item
            continue
        if mark is not None and mark.partial:  # a last line that has no end comes alone
            state = msgspec.json.encode(session)
        for number, line in enumerate(item[1], item[0]):
            payload = line.payload
            if type(payload) is not _Payload:
                passed += 1
                continue
            try:
                if line.type == "event_msg" and payload.type == "token_count" and session.is_own:
                    call = _call(session, line, payload, number, skips)
                    if call is not None:
                        yield call
                elif line.type in _KINDS or payload.type in _EVENTS:
                    yield from _line(session, line, payload, number, path, skips)
                else:
                    passed += 1
            except Unreadable as exc:
                yield ImportProblem(str(path), number, str(exc))
    if session.held and mark is not None and _is_being_written(path):
        mark.bytes = -1  # not as it is: it is looked at again, though it may not change
    else:
        yield from session.held
    if passed:
        skips[WITHOUT_USAGE] += passed
    if mark is not None:
        mark.state = (state or msgspec.json.encode(session)).decode()


def _stem(path: Path) -> str:
    return path.name.removesuffix(".zst").removesuffix(".jsonl")


def _is_being_written(path: Path) -> bool:
    """Whether what was copied into it may not all be there yet."""
    try:
        return time.time() * 1000 - path.stat().st_mtime_ns / 1_000_000 < _WRITING_MS
    except OSError:
        return False


def _line(
    session: _Session, line: _Line, payload: _Payload, number: int, path: Path, skips: Skips
) -> Iterator[ImportedCall]:
    before_ms = session.last_ms
    if session.copied or not session.seen_meta:
        session.last_ms = _time(line.timestamp)
    if line.type == "session_meta":
        _meta(session, payload, path)
    elif line.type == "turn_context" or payload.type == "task_started":
        session.model = text(payload.model) or session.model
        if session.copied and _is_own_turn(session, payload):
            yield from _own_from_here(session)
    elif line.type == "token_usage_record":
        session.response = (text(payload.response_id), _counts(payload.usage))
    elif line.type == "event_msg":
        call = _call(session, line, payload, number, skips)
        if call is not None:
            yield from _without_copied_prefix(session, call, before_ms, skips)
    else:
        skips[WITHOUT_USAGE] += 1


def _meta(session: _Session, payload: _Payload, path: Path) -> None:
    if session.seen_meta:
        # A copied parent's header follows the session's own.
        session.copied_header = session.copied_header or session.copied
        return
    session.seen_meta = True
    session.session_id = text(payload.id) or session.session_id
    session.provider = provider_slug(text(payload.model_provider))
    session.project = base_name(payload.cwd)
    spawn = obj(obj(payload.source).get("subagent"))
    spawned = "subagent" in obj(payload.source)
    session.agent = f"{SOURCE}:subagent" if spawned else SOURCE
    forked_from = text(payload.forked_from_id)
    session.parent = (
        forked_from
        or text(payload.parent_thread_id)
        or text(obj(spawn.get("thread_spawn")).get("parent_thread_id"))
    )
    session.copied = spawned or forked_from is not None
    git = obj(payload.git)
    session.about = Session(
        session.session_id,
        project=session.project or "",
        remote=remote_name(text(git.get("repository_url")) or ""),
        branch=text(git.get("branch")) or "",
        parent=(session.parent or "") if spawned else "",
    )
    session.began_ms = _time(payload.timestamp) or session.last_ms or 0
    if session.copied and session.parent is not None:
        inherited = _totals_of(path, session.parent)
        session.inherited = None if inherited is None else list(inherited)


def _time(value: object) -> int | None:
    try:
        return at_ms(value)
    except Unreadable:
        return None


def _is_own_turn(session: _Session, payload: _Payload) -> bool:
    """Whether a turn began after the session was made: its id is a UUID of version 7, whose first
    48 bits are its time in ms (RFC 9562, 5.7)."""
    try:
        turn = UUID(str(payload.turn_id))
    except ValueError:
        return False
    return turn.version == 7 and bool(session.began_ms) and turn.int >> 80 >= session.began_ms


def _totals_of(path: Path, session_id: str) -> tuple[Counts, ...] | None:
    """The totals, in their order, of a session whose file is beside ``path`` or in the same home;
    None where there is none."""
    tops = [folder for folder in path.parents if folder.name in ("sessions", "archived_sessions")]
    root = tops[0].parent if tops else path.parent
    for file in map(Path, chain.from_iterable(files(root / top) for top in _folders(root))):
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
    wanted = (b'"token_count"',)
    for item in json_blocks(path, wanted, Counter(), parse=_line_of, at_once=_decode_lines):
        for line in () if isinstance(item, ImportProblem) else item[1]:
            payload = line.payload
            if type(payload) is not _Payload or payload.info is None:
                continue
            total = _counts(payload.info.total_token_usage)
            if total is not None and (not found or found[-1] != total):
                found.append(total)
    return tuple(found)


def _call(
    session: _Session,
    line: _Line,
    payload: _Payload,
    number: int,
    skips: Skips,
) -> ImportedCall | None:
    info = payload.info or _NO_INFO
    total, last = _counts(info.total_token_usage), _counts(info.last_token_usage)
    response_id, response_counts = session.response
    if response_id is not None or response_counts is not None:
        session.response = _NO_RESPONSE
    before = session.total
    if total is not None:
        session.total = total
    spent = _spent(before, total, last)
    if spent is None or not any(spent):
        skips["token counts without new tokens"] += 1
        return None
    at = at_ms(line.timestamp)
    whole_in, read, written, output, reasoning = spent
    if read > whole_in:
        read = whole_in
    if written > whole_in - read:
        written = whole_in - read
    if reasoning > output:
        reasoning = output
    model = session.model
    if not (payload.model is None and info.model is None and info.model_name is None):
        model = text(payload.model) or text(info.model) or text(info.model_name) or model
    i, c, w, o, r = total or spent
    return ImportedCall(
        SOURCE,
        f"{at}:{i}/{c}/{w}/{o}/{r}",
        at,
        session.provider,
        model,
        Usage(whole_in, read, written, 0, 0, 0, 0, output, reasoning),
        _NONE,
        None,
        response_id if response_counts == spent else None,
        None,
        session.session_id,
        session.agent,
        session.project,
        session.about,
        session.file,
        number,
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
    i, c, w, o, r = map(sub, total, before)
    # Or-ed together they are below zero where one is.
    return (i, c, w, o, r) if i | c | w | o | r >= 0 else last or total


def _counts(tokens: _Tokens | None) -> Counts | None:
    if tokens is None:
        return None
    counts: Counts = astuple(tokens)
    if None in counts:
        i, c, w, o, r = (value or 0 for value in counts)
        return i, c, w, o, r
    return counts


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
    next will show. That the parent's file does not have it shows nothing alone: it may be there in
    part, or come later."""
    if session.inherited and session.total in session.inherited:
        del session.inherited[: session.inherited.index(session.total) + 1]
        if apart_ms > _WRITING_MS:
            return False if session.held or session.copying else None
        session.copying = True
        return True
    at_once = _COPYING_MS
    copied_all = session.copying and session.inherited == []
    if copied_all or not (session.copying or session.held or session.copied_header):
        at_once = _AT_ONCE_MS
    session.copying = session.copying or apart_ms <= at_once
    if session.copying:
        return apart_ms <= at_once
    return False if session.held else None


def _own_from_here(session: _Session) -> Iterator[ImportedCall]:
    session.copied, session.inherited = False, None
    yield from session.held
    session.held.clear()
