"""LiteLLM's spend log: rows of ``LiteLLM_SpendLogs`` as JSON (``/spend/logs``) or CSV.

``prompt_tokens`` includes cached. ``metadata`` is JSON inside a string. ``spend`` is 0 both for
answers from LiteLLM's cache and for models it has no price for.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from omni_cli.domain.imports import ImportedCall, ImportProblem
from omni_cli.importers.files import document, json_array, json_lines, lines, rows
from omni_cli.importers.names import provider_slug, split_prefix
from omni_cli.importers.values import (
    Skips,
    Unreadable,
    at_ms,
    cost_if_known,
    count,
    make_usage,
    nusd,
    obj,
    text,
)

SOURCE = "litellm"
Numbered = Iterator[tuple[int | None, Any] | ImportProblem]


def find_default(home: Path, env: Mapping[str, str]) -> list[Path]:  # noqa: ARG001 - no default
    return []


def files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    return sorted(p for p in path.iterdir() if p.suffix in (".json", ".jsonl", ".csv"))


def read_file(path: Path, skips: Skips) -> Iterator[ImportedCall | ImportProblem]:
    for item in _records(path, skips):
        if isinstance(item, ImportProblem):
            yield item
            continue
        line, record = item
        try:
            yield _call(obj(record), path.name, line)
        except Unreadable as exc:
            yield ImportProblem(str(path), line, str(exc))


def _records(path: Path, skips: Skips) -> Numbered:
    if path.suffix == ".csv":
        yield from rows(path)
        return
    first = next(iter(lines(path)), None)
    if isinstance(first, tuple) and first[1].startswith(b"{"):
        yield from _objects(path, skips, first[1])
    else:
        yield from json_array(path)


def _objects(path: Path, skips: Skips, first: bytes) -> Numbered:
    """A page ``{"data": [...]}`` as newer versions answer, or one row per line."""
    if first.endswith(b"}") and b'"request_id"' in first and b'"data"' not in first:
        yield from json_lines(path, (b'"request_id"',), skips)
        return
    try:
        whole = obj(document(path))
    except Unreadable as exc:
        yield ImportProblem(str(path), None, str(exc))
        return
    data = whole.get("data")
    if not isinstance(data, list):
        yield ImportProblem(str(path), None, "neither a list of spend log rows nor a page of them")
        return
    yield from ((None, record) for record in data)


def _call(record: Mapping[str, Any], file: str, line: int | None) -> ImportedCall:
    request_id = text(record.get("request_id"))
    if request_id is None:
        raise Unreadable("no request_id: a summary, not a spend log row")
    metadata = _inner_json(record.get("metadata"))
    usage, unstated = _usage(record, metadata)
    cache_hit = str(record.get("cache_hit")).lower() == "true"
    model = text(record.get("model"))
    prefix, _ = split_prefix(model)
    tokens = usage.total_tokens if usage else 0
    spend = record.get("spend")
    status = text(record.get("status"))
    at = at_ms(record.get("startTime"), "startTime")
    return ImportedCall(
        source=SOURCE,
        external_id=request_id,
        at_ms=at,
        provider=provider_slug(text(record.get("custom_llm_provider"))) or prefix,
        model=model,
        usage=usage,
        unstated=unstated,
        recorded_cost_nusd=(
            nusd(spend, "spend") if cache_hit else cost_if_known(spend, "spend", tokens)
        ),
        message_id=request_id,
        latency_ms=_latency(record, at),
        session_id=text(record.get("session_id")),
        agent=SOURCE,
        file=file,
        line=line,
        outcome=status if status in ("success", "failure") else None,
        cache_hit=cache_hit,
    )


def _latency(record: Mapping[str, Any], start: int) -> int | None:
    if record.get("request_duration_ms") not in (None, ""):
        return count(record["request_duration_ms"], "request_duration_ms")
    if record.get("endTime") in (None, ""):
        return None
    return max(at_ms(record["endTime"], "endTime") - start, 0)


def _inner_json(value: object) -> Mapping[str, Any]:
    if not isinstance(value, str):
        return obj(value)
    try:
        return obj(json.loads(value))
    except (ValueError, RecursionError):
        return {}  # tags and details only; the row's own counts and spend stand


def _usage(record: Mapping[str, Any], metadata: Mapping[str, Any]) -> tuple[Any, frozenset[str]]:
    details: dict[str, Any] = {}
    for name in ("usage_object", "additional_usage_values"):
        details.update({k: v for k, v in obj(metadata.get(name)).items() if v is not None})
    prompt = obj(details.get("prompt_tokens_details"))
    answer = obj(details.get("completion_tokens_details"))
    reads = count(details.get("cache_read_input_tokens"), "cache_read_input_tokens")
    if reads is None:
        reads = count(prompt.get("cached_tokens"), "cached_tokens")
    writes = count(details.get("cache_creation_input_tokens"), "cache_creation_input_tokens")
    split = obj(prompt.get("cache_creation_token_details"))
    long = count(split.get("ephemeral_1h_input_tokens"), "ephemeral_1h_input_tokens")
    whole_in = count(record.get("prompt_tokens"), "prompt_tokens")
    if whole_in is not None and (reads or 0) + (writes or 0) > whole_in:
        # Pass-through routes log Anthropic's own counts, where the cache is beside the input.
        whole_in += (reads or 0) + (writes or 0)
    return make_usage(
        whole_in,
        count(record.get("completion_tokens"), "completion_tokens"),
        cached=reads,
        cache_write=writes,
        cache_write_1h=long,
        reasoning=count(answer.get("reasoning_tokens"), "reasoning_tokens"),
    )
