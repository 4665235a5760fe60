"""Claude Code transcripts: ``projects/**/*.jsonl``, one line per content block of an answer.

Format as written by Claude Code 1.0 to 2.1 (the real sessions under ``shared/data/imports``);
rules for copies after ccusage 20 and its issues. Usage is the API's own, and read as the API's
is: what an advisor of another model used stands in its iterations, and is a call of its own here.
"""

import sys
from collections.abc import Iterator, Mapping
from functools import lru_cache
from operator import itemgetter
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct, field

from omni_cli.domain.chat import Usage
from omni_cli.domain.clouds import USUAL_PLACES
from omni_cli.domain.imports import ImportedCall, ImportProblem, LogFile
from omni_cli.domain.record import replace
from omni_cli.domain.sessions import Session, below
from omni_cli.importers.files import WITHOUT_USAGE, json_blocks, parse_object, walk
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
_NOTHING: Mapping[str, Any] = {}
_LIFETIMES = ("ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens")
_counts_of, _lifetimes_of = itemgetter(*_COUNTS), itemgetter(*_LIFETIMES)
#: The model that Claude Code names for its own error texts; no API answered.
SYNTHETIC = "<synthetic>"
_SUBAGENT = f"{SOURCE}:subagent"
#: No answer's id.
_NEVER = object()
#: How the ids of answers from Bedrock and Vertex begin.
_CLOUDS = ("msg_bdrk_", "msg_vrtx_")


def find_default(home: Path, env: Mapping[str, str]) -> list[Path]:
    """``$CLAUDE_CONFIG_DIR`` (a comma list) or both usual places, where they have projects."""
    configured = [part.strip() for part in env.get("CLAUDE_CONFIG_DIR", "").split(",")]
    roots = [Path(part).expanduser() for part in configured if part]
    if not roots:
        config = Path(env["XDG_CONFIG_HOME"]) if env.get("XDG_CONFIG_HOME") else home / ".config"
        roots = [config / "claude", home / ".claude"]
    return [root / "projects" for root in roots if (root / "projects").is_dir()]


def files(path: Path) -> list[str]:
    """Transcripts of a file, a configuration folder or any folder below one."""
    if not path.is_dir():
        return [str(path)]
    projects = path / "projects"
    root = projects if projects.is_dir() else path
    return walk(root, lambda name: name.endswith(".jsonl"))


class _Message(Struct, gc=False):
    id: str | None = None
    model: str | None = None
    usage: Any = None


class _Line(Struct, gc=False):
    """What counts of a line: not its text, which is the most of it, and is passed over."""

    message: Any = field(default_factory=_Message)
    uuid: str | None = None
    requestId: str | None = None  # noqa: N815 - Claude Code's own name, as those below
    sessionId: str | None = None  # noqa: N815 - its own name
    cwd: str | None = None
    gitBranch: str | None = None  # noqa: N815 - its own name
    agentId: str | None = None  # noqa: N815 - its own name
    timestamp: Any = None
    isSidechain: Any = None  # noqa: N815 - its own name
    costUSD: Any = None  # noqa: N815 - its own name
    data: Any = None


_Count = Annotated[int, Meta(ge=0, le=MAX_COUNT)] | None


class _Lifetimes(Struct, gc=False):
    ephemeral_5m_input_tokens: _Count = None
    ephemeral_1h_input_tokens: _Count = None


class _Counts(Struct, gc=False):
    """What is looked at of the API's usage."""

    input_tokens: _Count = None
    output_tokens: _Count = None
    cache_read_input_tokens: _Count = None
    cache_creation_input_tokens: _Count = None
    cache_creation: _Lifetimes | None = None
    service_tier: Any = None
    speed: Any = None
    inference_geo: Any = None
    iterations: Any = None
    output_tokens_details: Any = None
    prompt_tokens: Any = None
    server_tool_use: Any = None

    def plain(self) -> Usage | None:
        """Of an answer of which all counts are stated, and nothing else says what is charged."""
        split = self.cache_creation
        fresh, output = self.input_tokens, self.output_tokens
        read, written = self.cache_read_input_tokens, self.cache_creation_input_tokens
        if split is None or fresh is None or output is None or read is None or written is None:
            return None
        short, long = split.ephemeral_5m_input_tokens, split.ephemeral_1h_input_tokens
        if short is None or long is None:
            return None
        tier = self.service_tier
        if not (tier is None or tier == "standard"):
            return None
        if (
            self.speed
            or self.inference_geo
            or self.iterations
            or self.output_tokens_details
            or self.prompt_tokens
            or self.server_tool_use
        ) and not self._is_usual():
            return None
        if written < short + long:
            written = short + long
        return Usage(fresh + read + written, read, written, long, 0, 0, 0, output)

    def _is_usual(self) -> bool:
        """Whether what stands beside the counts says nothing of what is charged."""
        if self.speed not in _STANDARD or self.inference_geo not in USUAL_PLACES:
            return False
        tools, steps = self.server_tool_use, self.iterations
        if self.output_tokens_details or self.prompt_tokens:
            return False
        if tools and any(obj(tools).values()):
            return False
        if not steps:
            return True
        # One sampling, which is the answer's.
        step = obj(steps[0]) if isinstance(steps, list) and len(steps) == 1 else _NOTHING
        return step.get("type") == "message" and not step.get("model")

    def document(self) -> dict[str, Any]:
        """As it stood in the line."""
        said = {name: getattr(self, name) for name in self.__struct_fields__}
        if self.cache_creation is not None:
            said["cache_creation"] = {n: getattr(self.cache_creation, n) for n in _LIFETIMES}
        return {name: value for name, value in said.items() if value is not None}


_STANDARD = (None, "standard")


class _Answer(_Message):
    usage: _Counts | None = None


class _Whole(_Line):
    """A line as Claude Code writes it."""

    message: _Answer | str | float | bool | list[Any] | None = None


_decode_lines = msgspec.json.Decoder(_Whole).decode_lines
_NO_ANSWER = _Answer()
_TEXTS = ("uuid", "requestId", "sessionId", "cwd", "gitBranch", "agentId")
_OTHERS = ("timestamp", "isSidechain", "costUSD", "data")


def _lines(block: bytes) -> list[_Whole]:
    """Raises DecodeError."""
    found = _decode_lines(block)
    for line in found:
        answer = line.message
        if type(answer) is not _Answer:
            line.message = _NO_ANSWER
        # Else all that stands in it is its identity.
        elif answer.usage is not None and not ((line.requestId and answer.id) or line.uuid):
            raise msgspec.DecodeError
    return found


def _line(raw: bytes) -> _Line:
    """Raises Unreadable."""
    try:
        (line,) = _lines(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError):
        return _taken(_Line(), parse_object(raw))
    return line


def _taken(line: _Line, record: Mapping[str, Any]) -> _Line:
    """The line with what a record says instead."""
    message = obj(record.get("message"))
    return _Line(
        _Message(text(message.get("id")), text(message.get("model")), message.get("usage")),
        *(text(record.get(name, getattr(line, name))) for name in _TEXTS),
        *(record.get(name, getattr(line, name)) for name in _OTHERS),
    )


def read_file(
    path: Path, skips: Skips, mark: LogFile | None = None
) -> Iterator[ImportedCall | ImportProblem]:
    file = path.name
    # Of the answer before: its id, and what else its lines say again.
    answer: object = _NEVER
    said = request = session = aside = cost = None
    calls: list[ImportedCall] = []
    passed = 0
    for item in json_blocks(path, (b'"usage"',), skips, mark, parse=_line, at_once=_lines):
        if isinstance(item, ImportProblem):
            yield item
            continue
        for number, line in enumerate(item[1], item[0]):
            message = line.message
            usage = message.usage
            if usage is None and line.data is None:
                passed += 1
                continue
            # The lines of one answer mostly say the same, and then are read once.
            if (
                message.id == answer
                and usage == said
                and line.requestId == request
                and line.sessionId == session
                and line.isSidechain == aside
                and line.costUSD == cost
            ):
                yield from calls
                continue
            answer = _NEVER
            try:
                calls = _calls(line, file, number, skips)
            except Unreadable as exc:
                yield ImportProblem(str(path), number, str(exc))
                continue
            yield from calls
            if message.id and usage and line.requestId:
                answer, said, request, session = message.id, usage, line.requestId, line.sessionId
                aside, cost = line.isSidechain, line.costUSD
    if passed:
        skips[WITHOUT_USAGE] += passed


def _calls(line: _Line, file: str, number: int, skips: Skips) -> list[ImportedCall]:
    """The answer of a line, and the answers of other models within it."""
    said = line.message.usage
    if type(said) is not _Counts and not isinstance(said, dict):
        # A subagent's answer may be shown in its parent's transcript, one level down.
        inner = obj(obj(line.data).get("message"))
        if not isinstance(obj(inner.get("message")).get("usage"), dict):
            skips[WITHOUT_USAGE] += 1
            return []
        line.agentId = text(obj(line.data).get("agentId"))
        line = _taken(line, inner)
        line.isSidechain = True
        said = line.message.usage
    message = line.message
    sidechain = line.isSidechain is True
    model, provider, session, project, about = _place(
        message.model,
        line.sessionId,
        line.cwd,
        line.gitBranch,
        line.agentId if sidechain else None,
    )
    if model == SYNTHETIC:
        skips["synthetic answers"] += 1
        return []
    usage = said.plain() if type(said) is _Counts else None
    counts: Mapping[str, Any] = _NOTHING
    unstated, tier, searches = _NONE, None, 0
    if usage is None:
        counts = said.document() if type(said) is _Counts else obj(said)
        if not counts and line.costUSD is None:
            # A stopped task leaves such a line; no API answered.
            skips["empty usage"] += 1
            return []
        usage, unstated, tier = _usage(counts)
        used = obj(counts.get("server_tool_use"))
        searches = count(used.get("web_search_requests"), "web_search_requests") or 0
    message_id, request_id = text(message.id), text(line.requestId)
    if message_id and message_id.startswith(_CLOUDS):
        provider = _provider(model, message_id)
    at = at_ms(line.timestamp)
    replay_id = f"replay:{message_id}" if message_id else None
    if sidechain and replay_id:
        external_id = replay_id
    elif message_id and request_id:
        external_id = f"{message_id}:{request_id}"
    else:
        # Without a request id (some proxies drop the header) lines cannot be told to be one
        # answer, so only literal copies of a line are.
        own = text(line.uuid) or digest(session, at, model, sorted(counts.items(), key=str))
        external_id = f"{message_id or '-'}:{request_id or '-'}:{at}:{own}"
    call = ImportedCall(
        SOURCE,
        external_id,
        at,
        provider,
        model,
        usage,
        unstated,
        None if line.costUSD is None else nusd(line.costUSD, "costUSD"),
        message_id,
        request_id,
        session,
        _SUBAGENT if sidechain else SOURCE,
        project,
        about,
        file,
        number,
        sidechain and message_id is not None,
        replay_id,
        tier,
        searches,
    )
    if usage is None or not usage.beside:
        return [call]
    others = [
        replace(
            call,
            external_id=f"{external_id}:beside{place}",
            replay_id=replay_id and f"{replay_id}:beside{place}",
            provider=_provider(name, message_id),
            model=name,
            usage=replace(used, beside=()),
            recorded_cost_nusd=None,
            web_searches=0,
        )
        for place, (name, used) in enumerate(usage.beside, 1)
    ]
    return [replace(call, usage=replace(usage, beside=())), *others]


def _usage(counts: Mapping[str, Any]) -> tuple[Usage | None, frozenset[str], str | None]:
    from omni_cli.wire.anthropic.client import read_usage  # seldom asked: most say plain counts

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


@lru_cache(maxsize=1024)
def _place(
    model: str | None,
    session: str | None,
    cwd: str | None,
    branch: str | None,
    agent_id: str | None,
) -> tuple[str | None, str | None, str | None, str | None, Session | None]:
    """What the answers of a session have in common, each once in memory: model, provider, session,
    project, and what more is known of the session."""
    name, session = shared_text(model), shared_text(session)
    if session is None:
        return name, _provider(name, None), None, base_name(cwd), None
    own = sys.intern(below(session, text(agent_id) or ""))
    about = Session(own, branch=text(branch) or "", parent="" if own == session else session)
    return name, _provider(name, None), own, base_name(cwd), about


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
    for cloud, name in zip(_CLOUDS, ("bedrock", "vertex"), strict=True):
        if message_id and message_id.startswith(cloud):
            return name
    return "anthropic" if model and model.startswith("claude") else None
