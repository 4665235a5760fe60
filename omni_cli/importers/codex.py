"""Codex CLI rollouts: ``sessions/**/rollout-*.jsonl``.

``token_count`` events carry a session's cumulative total and its last turn; a call is the
difference of two totals. Counts follow OpenAI: input includes cached, output includes
reasoning. Forked and spawned sessions begin with a copy of their parent's events: with the
parent's times (told by the event's identity) or, in versions before ``token_usage_record``
lines, all stamped with the second of the copying (told by that).
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct, field

from omni_cli.domain.imports import ImportedCall, ImportProblem
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
_MARKERS = (b'"token_count"', b'"turn_context"', b'"session_meta"', b'"token_usage_record"')
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
    return name.endswith(".jsonl")


class _Session(Struct):
    """What earlier lines of a rollout said."""

    file: str
    session_id: str
    provider: str | None = None
    project: str | None = None
    agent: str = SOURCE
    copied: bool = False
    seen_meta: bool = False
    model: str | None = None
    total: Counts | None = None
    response: tuple[str | None, Counts | None] = (None, None)
    #: Second of a copied prefix while it lasts, and its first event, held until a second event
    #: shows whether it is one.
    prefix_second: int | None = None
    held: list[ImportedCall] = field(default_factory=list)


def read_file(path: Path, skips: Skips) -> Iterator[ImportedCall | ImportProblem]:
    session = _Session(path.name, path.stem)
    for item in json_lines(path, _MARKERS, skips):
        if isinstance(item, ImportProblem):
            yield item
            continue
        number, record = item
        try:
            yield from _line(session, record, number, skips)
        except Unreadable as exc:
            yield ImportProblem(str(path), number, str(exc))
    yield from session.held


def _line(
    session: _Session, record: Mapping[str, Any], number: int, skips: Skips
) -> Iterator[ImportedCall]:
    payload = obj(record.get("payload"))
    kind = record.get("type")
    if kind == "session_meta":
        _meta(session, payload)
    elif kind == "turn_context":
        session.model = text(payload.get("model")) or session.model
    elif kind == "token_usage_record":
        session.response = (text(payload.get("response_id")), _counts(payload.get("usage")))
    elif kind == "event_msg" and payload.get("type") == "token_count":
        call = _call(session, record, payload, number, skips)
        if call is not None:
            yield from _without_copied_prefix(session, call, skips)
    else:
        skips["lines without usage"] += 1


def _meta(session: _Session, payload: Mapping[str, Any]) -> None:
    if session.seen_meta:
        return  # a copied parent's header follows the session's own
    session.seen_meta = True
    session.session_id = text(payload.get("id")) or session.session_id
    session.provider = provider_slug(text(payload.get("model_provider")))
    session.project = base_name(payload.get("cwd"))
    source = payload.get("source")
    spawned = isinstance(source, dict) and "subagent" in source
    session.agent = f"{SOURCE}:subagent" if spawned else SOURCE
    session.copied = spawned or text(payload.get("forked_from_id")) is not None


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
    session: _Session, call: ImportedCall, skips: Skips
) -> Iterator[ImportedCall]:
    """Leaves out a copied history whose events all carry the second of the copying."""
    second = call.at_ms // 1000
    if not session.copied or call.message_id is not None:
        session.copied = False
        yield from session.held
        session.held.clear()
        yield call
    elif session.prefix_second is None:
        session.prefix_second = second
        session.held.append(call)
    elif second == session.prefix_second:
        skips["events copied from a parent session"] += 1 + len(session.held)
        session.held.clear()
    else:
        session.copied = False
        yield from session.held
        session.held.clear()
        yield call
