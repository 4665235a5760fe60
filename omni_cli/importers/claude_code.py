"""Claude Code transcripts: ``projects/**/*.jsonl``, one line per content block of an answer.

Format as written by Claude Code 1.0 to 2.1 (the real sessions under ``shared/data/imports``);
rules for copies after ccusage 20 and its issues. Anthropic's ``input_tokens`` excludes both
cache reads and cache writes; omni's includes them.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from omni_cli.domain.imports import ImportedCall, ImportProblem
from omni_cli.importers.files import json_lines, walk
from omni_cli.importers.values import (
    Skips,
    Unreadable,
    at_ms,
    base_name,
    count,
    digest,
    make_usage,
    nusd,
    obj,
    shared_text,
    text,
)

SOURCE = "claude-code"
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


def read_file(path: Path, skips: Skips) -> Iterator[ImportedCall | ImportProblem]:
    for item in json_lines(path, (b'"usage"',), skips):
        if isinstance(item, ImportProblem):
            yield item
            continue
        number, record = item
        try:
            call = _call(record, path.name, number, skips)
        except Unreadable as exc:
            yield ImportProblem(str(path), number, str(exc))
            continue
        if call is not None:
            yield call


def _call(record: Mapping[str, Any], file: str, line: int, skips: Skips) -> ImportedCall | None:
    if not isinstance(obj(record.get("message")).get("usage"), dict):
        # A subagent's answer may be shown in its parent's transcript, one level down.
        inner = obj(obj(record.get("data")).get("message"))
        if not isinstance(obj(inner.get("message")).get("usage"), dict):
            skips[f"no usage: {text(record.get('type')) or 'untyped'}"] += 1
            return None
        record = {**record, **inner, "isSidechain": True}
    message = obj(record["message"])
    model = shared_text(message.get("model"))
    if model == SYNTHETIC:
        skips["synthetic answers"] += 1
        return None
    counts = obj(message["usage"])
    usage, unstated, tier = _usage(counts)
    at = at_ms(record.get("timestamp"))
    message_id, request_id = text(message.get("id")), text(record.get("requestId"))
    session = shared_text(record.get("sessionId"))
    sidechain = record.get("isSidechain") is True
    if message_id and request_id:
        external_id = f"{message_id}:{request_id}"
    else:
        # Without a request id (some proxies drop the header) lines cannot be told to be one
        # answer, so only literal copies of a line are.
        own = text(record.get("uuid")) or digest(
            session, at, model, sorted(counts.items(), key=str)
        )
        external_id = f"{message_id or '-'}:{request_id or '-'}:{at}:{own}"
    return ImportedCall(
        source=SOURCE,
        external_id=external_id,
        at_ms=at,
        provider=_provider(model, message_id),
        model=model,
        usage=usage,
        unstated=unstated,
        recorded_cost_nusd=nusd(record.get("costUSD"), "costUSD"),
        message_id=message_id,
        provider_request_id=request_id,
        session_id=session,
        agent=f"{SOURCE}:subagent" if sidechain else SOURCE,
        project=base_name(record.get("cwd")),
        file=file,
        line=line,
        tier=tier,
        web_searches=count(
            obj(counts.get("server_tool_use")).get("web_search_requests"), "web_search_requests"
        )
        or 0,
        replay=sidechain and message_id is not None,
    )


def _usage(counts: Mapping[str, Any]) -> tuple[Any, frozenset[str], str | None]:
    fresh = count(counts.get("input_tokens"), "input_tokens")
    output = count(counts.get("output_tokens"), "output_tokens")
    reads = count(counts.get("cache_read_input_tokens"), "cache_read_input_tokens")
    writes = count(counts.get("cache_creation_input_tokens"), "cache_creation_input_tokens")
    split = obj(counts.get("cache_creation"))
    short = count(split.get("ephemeral_5m_input_tokens"), "ephemeral_5m_input_tokens") or 0
    long = count(split.get("ephemeral_1h_input_tokens"), "ephemeral_1h_input_tokens") or 0
    if short or long:
        writes = max(writes or 0, short + long)
    usage, unstated = make_usage(
        None if fresh is None else fresh + (reads or 0) + (writes or 0),
        output,
        cached=reads,
        cache_write=writes,
        cache_write_1h=long,
        reasoning=None,
    )
    speed, tier = text(counts.get("speed")), text(counts.get("service_tier"))
    if speed not in (None, "standard"):
        return usage, unstated, speed
    # Older versions wrote "default"; neither changes the price.
    return usage, unstated, None if tier in (None, "standard", "default") else tier


def _provider(model: str | None, message_id: str | None) -> str | None:
    """Anthropic, unless the answer's id names a cloud or the model is another vendor's."""
    if message_id and message_id.startswith("msg_bdrk_"):
        return "bedrock"
    if message_id and message_id.startswith("msg_vrtx_"):
        return "vertex"
    return "anthropic" if model and model.startswith("claude") else None
