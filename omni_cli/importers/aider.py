"""aider's analytics log (``--analytics-log FILE``): JSONL events; ``message_send`` is a call.

``total_cost`` is cumulative over a session, ``cost`` is the call's. Token counts are aider's
own estimates when it streams, and it does not say when it does. There is no id: the identity
is the event's content, numbered where it repeats; where it cost something an equal one is a copy,
for a second call would have raised the total.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from omni_cli.domain.imports import ImportedCall, ImportProblem
from omni_cli.importers.files import json_lines
from omni_cli.importers.names import split_prefix
from omni_cli.importers.values import (
    Skips,
    Unreadable,
    at_ms,
    cost_if_known,
    count,
    digest,
    make_usage,
    obj,
    text,
)

SOURCE = "aider"
_IDENTITY = (
    "main_model",
    "edit_format",
    "prompt_tokens",
    "completion_tokens",
    "cost",
    "total_cost",
)


def find_default(home: Path, env: Mapping[str, str]) -> list[Path]:
    """``$AIDER_ANALYTICS_LOG``; aider writes no log unless it is asked to."""
    if not env.get("AIDER_ANALYTICS_LOG"):
        return []
    named = env["AIDER_ANALYTICS_LOG"]
    path = home / named.removeprefix("~/") if named.startswith("~/") else Path(named)
    return [path] if path.is_file() else []


def files(path: Path) -> list[Path]:
    return sorted(path.glob("*.jsonl")) if path.is_dir() else [path]


def read_file(path: Path, skips: Skips) -> Iterator[ImportedCall | ImportProblem]:
    seen: Counter[str] = Counter()
    for item in json_lines(path, (b'"message_send"',), skips):
        if isinstance(item, ImportProblem):
            yield item
            continue
        number, record = item
        if record.get("event") != "message_send":
            skips["other events"] += 1
            continue
        try:
            call = _call(record, path.name, number, seen)
        except Unreadable as exc:
            yield ImportProblem(str(path), number, str(exc))
            continue
        yield call


def _call(record: Mapping[str, Any], file: str, line: int, seen: Counter[str]) -> ImportedCall:
    properties = obj(record.get("properties"))
    at = at_ms(record.get("time"), "time")
    usage, unstated = make_usage(
        count(properties.get("prompt_tokens"), "prompt_tokens"),
        count(properties.get("completion_tokens"), "completion_tokens"),
        estimated=True,
    )
    tokens = usage.total_tokens if usage else 0
    cost = cost_if_known(properties.get("cost"), "cost", tokens)
    model = text(properties.get("main_model"))
    identity = digest(at, text(record.get("user_id")), *(properties.get(n) for n in _IDENTITY))
    seen[identity] = 1 if cost and properties.get("total_cost") else seen[identity] + 1
    return ImportedCall(
        source=SOURCE,
        external_id=f"{identity}:{seen[identity]}",
        at_ms=at,
        provider=split_prefix(model)[0],
        model=model,
        usage=usage,
        unstated=unstated,
        recorded_cost_nusd=cost,
        agent=SOURCE,
        file=file,
        line=line,
    )
