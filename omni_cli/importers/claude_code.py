"""Claude Code transcripts: ``projects/**/*.jsonl``, one line per content block of an answer.

Format as written by Claude Code 1.0 to 2.1 (the real sessions under ``shared/data/imports``);
rules for copies after ccusage 20 and its issues. Usage is the API's own, and read as the API's
is: what an advisor of another model used stands in its iterations, and is a call of its own here.
"""

from collections.abc import Iterator, Mapping
from functools import lru_cache
from operator import itemgetter
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct, field

from omni_cli.domain.chat import Usage
from omni_cli.domain.imports import ImportedCall, ImportProblem, LogFile
from omni_cli.domain.record import replace
from omni_cli.domain.sessions import Session
from omni_cli.importers.files import json_lines, parse_object, walk
from omni_cli.importers.values import (
    MAX_COUNT,
    Skips,
    Unreadable,
    at_ms,
    base_name,
    count,
    digest,
    nusd,
    obj,
    shared_text,
    text,
)
from omni_cli.wire.anthropic.client import read_usage

SOURCE = "claude-code"
#: A transcript only grows.
GROWS = True
#: The API's counts, and omni's field that is open where one is missing.
_COUNTS = {
    "input_tokens": "input_tokens",
    "output_tokens": "output_tokens",
    "cache_read_input_tokens": "cached_tokens",
    "cache_creation_input_tokens": "cache_write_tokens",
}
_NONE: frozenset[str] = frozenset()
_LIFETIMES = ("ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens")
_counts_of, _lifetimes_of = itemgetter(*_COUNTS), itemgetter(*_LIFETIMES)
#: The model that Claude Code names for its own error texts; no API answered.
SYNTHETIC = "<synthetic>"


def find_default(home: Path, env: Mapping[str, str]) -> list[Path]:
    """``$CLAUDE_CONFIG_DIR`` (a comma list) or both usual places, where they have projects."""
    configured = [part.strip() for part in env.get("CLAUDE_CONFIG_DIR", "").split(",")]
    roots = [Path(part).expanduser() for part in configured if part]
    if not roots:
        config = Path(env["XDG_CONFIG_HOME"]) if env.get("XDG_CONFIG_HOME") else home / ".config"
        roots = [config / "claude", home / ".claude"]
    return [root / "projects" for root in roots if (root / "projects").is_dir()]


def files(path: Path) -> list[Path]:
    """Transcripts of a file, a configuration folder or any folder below one."""
    if not path.is_dir():
        return [path]
    projects = path / "projects"
    root = projects if projects.is_dir() else path
    return walk(root, lambda name: name.endswith(".jsonl"))


class _Message(Struct, gc=False):
    id: Any = None
    model: Any = None
    usage: Any = None


class _Line(Struct, gc=False):
    """What counts of a line: not its text, which is the most of it, and is passed over."""

    message: _Message = field(default_factory=_Message)
    type: Any = None
    timestamp: Any = None
    uuid: Any = None
    requestId: Any = None  # noqa: N815 - Claude Code's own name, as those below
    sessionId: Any = None  # noqa: N815 - its own name
    isSidechain: Any = None  # noqa: N815 - its own name
    cwd: Any = None
    gitBranch: Any = None  # noqa: N815 - its own name
    costUSD: Any = None  # noqa: N815 - its own name
    data: Any = None


_decode = msgspec.json.Decoder(_Line).decode
_LINE = [name for name in _Line.__struct_fields__ if name != "message"]


def _line(raw: bytes) -> _Line:
    """Raises Unreadable."""
    try:
        return _decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _taken(_Line(), parse_object(raw))


def _taken(line: _Line, record: Mapping[str, Any]) -> _Line:
    """The line with what a record says instead."""
    message = obj(record.get("message"))
    return _Line(
        _Message(*(message.get(name) for name in _Message.__struct_fields__)),
        *(record.get(name, getattr(line, name)) for name in _LINE),
    )


def read_file(
    path: Path, skips: Skips, mark: LogFile | None = None
) -> Iterator[ImportedCall | ImportProblem]:
    told: tuple[object, ...] = ()
    calls: list[ImportedCall] = []
    for item in json_lines(path, (b'"usage"',), skips, mark, _line):
        if isinstance(item, ImportProblem):
            yield item
            continue
        number, line = item
        message = line.message
        # The lines of one answer mostly say the same, and then are read once.
        says = (
            message.id,
            message.usage,
            line.requestId,
            line.sessionId,
            line.isSidechain,
            line.costUSD,
        )
        if says == told and says[0] and says[1] and says[2]:
            yield from calls
            continue
        try:
            told, calls = (), list(_calls(line, path.name, number, skips))
            told = says
            yield from calls
        except Unreadable as exc:
            yield ImportProblem(str(path), number, str(exc))


def _calls(line: _Line, file: str, number: int, skips: Skips) -> Iterator[ImportedCall]:
    """The answer of a line, and the answers of other models within it."""
    if not isinstance(line.message.usage, dict):
        # A subagent's answer may be shown in its parent's transcript, one level down.
        inner = obj(obj(line.data).get("message"))
        if not isinstance(obj(inner.get("message")).get("usage"), dict):
            skips[f"no usage: {text(line.type) or 'untyped'}"] += 1
            return
        line = _taken(line, inner)
        line.isSidechain = True
    message = line.message
    model = shared_text(message.model)
    if model == SYNTHETIC:
        skips["synthetic answers"] += 1
        return
    counts = obj(message.usage)
    if not counts and line.costUSD is None:
        # A stopped task leaves such a line; no API answered.
        skips["empty usage"] += 1
        return
    usage, unstated, tier = _usage(counts)
    at = at_ms(line.timestamp)
    message_id, request_id = text(message.id), text(line.requestId)
    session = shared_text(line.sessionId)
    sidechain = line.isSidechain is True
    replay = sidechain and message_id is not None
    replay_id = f"replay:{message_id}" if message_id else None
    if replay and replay_id:
        external_id = replay_id
    elif message_id and request_id:
        external_id = f"{message_id}:{request_id}"
    else:
        # Without a request id (some proxies drop the header) lines cannot be told to be one
        # answer, so only literal copies of a line are.
        own = text(line.uuid) or digest(session, at, model, sorted(counts.items(), key=str))
        external_id = f"{message_id or '-'}:{request_id or '-'}:{at}:{own}"
    call = ImportedCall(
        source=SOURCE,
        external_id=external_id,
        at_ms=at,
        provider=_provider(model, message_id),
        model=model,
        usage=usage,
        unstated=unstated,
        recorded_cost_nusd=nusd(line.costUSD, "costUSD"),
        message_id=message_id,
        provider_request_id=request_id,
        session_id=session,
        agent=f"{SOURCE}:subagent" if sidechain else SOURCE,
        project=base_name(line.cwd),
        about=_about(session, text(line.gitBranch)),
        file=file,
        line=number,
        tier=tier,
        web_searches=count(
            obj(counts.get("server_tool_use")).get("web_search_requests"), "web_search_requests"
        )
        or 0,
        replay=replay,
        replay_id=replay_id,
    )
    if usage is None or not usage.beside:
        yield call
        return
    yield replace(call, usage=replace(usage, beside=()))
    for place, (name, used) in enumerate(usage.beside, 1):
        yield replace(
            call,
            external_id=f"{external_id}:beside{place}",
            replay_id=replay_id and f"{replay_id}:beside{place}",
            provider=_provider(name, message_id),
            model=name,
            usage=replace(used, beside=()),
            recorded_cost_nusd=None,
            web_searches=0,
        )


def _usage(counts: Mapping[str, Any]) -> tuple[Usage | None, frozenset[str], str | None]:
    said = _checked(counts)
    steps = counts.get("iterations")
    if isinstance(steps, list):
        said["iterations"] = [_checked(obj(step)) for step in steps]
    usage = read_usage(said)
    unstated = _NONE
    if not _COUNTS.keys() <= said.keys():
        unstated = frozenset(field for name, field in _COUNTS.items() if name not in said)
    speed, tier = text(counts.get("speed")), text(counts.get("service_tier"))
    if speed not in (None, "standard"):
        return usage, unstated, speed
    # Older versions wrote "default"; neither changes the price.
    return usage, unstated, None if tier in (None, "standard", "default") else tier


@lru_cache(maxsize=64)
def _about(session: str | None, branch: str | None) -> Session | None:
    """One value for the lines of a session."""
    return Session(session, branch=branch or "") if session else None


def _checked(counts: Mapping[str, Any]) -> dict[str, Any]:
    """The counts of one sampling without those that are not stated. Raises Unreadable."""
    try:
        told = (*_counts_of(counts), *_lifetimes_of(counts["cache_creation"]))
        if set(map(type, told)) == {int} and min(told) >= 0 and max(told) <= MAX_COUNT:
            return dict(counts)  # as nearly all are
    except (KeyError, TypeError):
        pass
    split = obj(counts.get("cache_creation"))
    numbers = {name: count(counts.get(name), name) for name in _COUNTS}
    lifetimes = {name: count(split.get(name), name) for name in _LIFETIMES}
    return {
        **{name: value for name, value in counts.items() if name not in _COUNTS},
        "cache_creation": {name: value or 0 for name, value in lifetimes.items()},
        **{name: value for name, value in numbers.items() if value is not None},
    }


def _provider(model: str | None, message_id: str | None) -> str | None:
    """Anthropic, unless the answer's id names a cloud or the model is another vendor's."""
    if message_id and message_id.startswith("msg_bdrk_"):
        return "bedrock"
    if message_id and message_id.startswith("msg_vrtx_"):
        return "vertex"
    return "anthropic" if model and model.startswith("claude") else None
