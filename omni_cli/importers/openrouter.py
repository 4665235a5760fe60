"""OpenRouter's activity: the CSV export (a row per generation) and ``GET /api/v1/activity``
(a row per day, model and endpoint).

``tokens_prompt`` includes cached, ``tokens_completion`` includes reasoning. ``cost_total`` and
``usage`` are what OpenRouter charged; ``byok_usage_inference`` is charged elsewhere, to the
user's own key. The API rows sum the generations of the CSV: import one or the other.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from omni_cli.domain.imports import ImportedCall, ImportProblem
from omni_cli.domain.periods import DAY_MS
from omni_cli.importers.files import document, rows
from omni_cli.importers.values import (
    Skips,
    Unreadable,
    at_ms,
    count,
    digest,
    make_usage,
    nusd,
    obj,
    text,
)

SOURCE = "openrouter"
_USED = frozenset(
    {
        "generation_id",
        "created_at",
        "cost_total",
        "byok_usage_inference",
        "tokens_prompt",
        "tokens_completion",
        "tokens_reasoning",
        "tokens_cached",
        "model_permaslug",
        "variant",
        "cancelled",
        "finish_reason_normalized",
        "generation_time_ms",
        "app_name",
    }
)


def find_default(home: Path, env: Mapping[str, str]) -> list[Path]:  # noqa: ARG001 - no default
    return []


def files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    return sorted(p for p in path.iterdir() if p.suffix in (".json", ".csv"))


def read_file(path: Path, skips: Skips) -> Iterator[ImportedCall | ImportProblem]:
    if path.suffix == ".json":
        yield from _read_days(path)
        return
    first = True
    for item in rows(path):
        if isinstance(item, ImportProblem):
            yield item
            continue
        line, row = item
        if first:
            first = False
            for column in sorted(row.keys() - _USED):
                skips[f"column {column}"] += 1
        try:
            yield _generation(row, path.name, line)
        except Unreadable as exc:
            yield ImportProblem(str(path), line, str(exc))


def _generation(row: Mapping[str, str], file: str, line: int) -> ImportedCall:
    generation = text(row.get("generation_id"))
    if generation is None:
        raise Unreadable("no generation_id")
    usage, unstated = make_usage(
        count(row.get("tokens_prompt"), "tokens_prompt"),
        count(row.get("tokens_completion"), "tokens_completion"),
        cached=count(row.get("tokens_cached"), "tokens_cached"),
        reasoning=count(row.get("tokens_reasoning"), "tokens_reasoning"),
    )
    cancelled = row.get("cancelled", "").lower() == "true"
    failed = row.get("finish_reason_normalized") == "error"
    variant = text(row.get("variant"))
    return ImportedCall(
        source=SOURCE,
        external_id=generation,
        at_ms=at_ms(row.get("created_at"), "created_at"),
        provider="openrouter",
        model=text(row.get("model_permaslug")),
        usage=usage,
        unstated=unstated,
        recorded_cost_nusd=nusd(row.get("cost_total"), "cost_total"),
        byok_cost_nusd=nusd(row.get("byok_usage_inference"), "byok_usage_inference") or 0,
        message_id=generation,
        latency_ms=count(row.get("generation_time_ms"), "generation_time_ms"),
        agent=text(row.get("app_name")) or SOURCE,
        file=file,
        line=line,
        tier=None if variant == "standard" else variant,
        outcome="cancelled" if cancelled else "failure" if failed else None,
    )


def _read_days(path: Path) -> Iterator[ImportedCall | ImportProblem]:
    try:
        data = obj(document(path)).get("data")
        if not isinstance(data, list):
            raise Unreadable("no list of activity rows in 'data'")
    except Unreadable as exc:
        yield ImportProblem(str(path), None, str(exc))
        return
    for position, record in enumerate(data, 1):
        try:
            yield _day(obj(record), path.name)
        except Unreadable as exc:
            yield ImportProblem(str(path), None, f"data row {position}: {exc}")


def _day(record: Mapping[str, Any], file: str) -> ImportedCall:
    start = at_ms(record.get("date"), "date")
    model = text(record.get("model_permaslug")) or text(record.get("model"))
    reasoning = count(record.get("reasoning_tokens"), "reasoning_tokens")
    usage, unstated = make_usage(
        count(record.get("prompt_tokens"), "prompt_tokens"),
        count(record.get("completion_tokens"), "completion_tokens"),
        reasoning=reasoning,
    )
    own = digest(start, model, record.get("endpoint_id"), record.get("provider_name"))
    return ImportedCall(
        source=SOURCE,
        external_id=f"day:{own}",
        at_ms=start,
        provider="openrouter",
        model=model,
        usage=usage,
        unstated=unstated,
        recorded_cost_nusd=nusd(record.get("usage"), "usage"),
        byok_cost_nusd=nusd(record.get("byok_usage_inference"), "byok_usage_inference") or 0,
        agent=SOURCE,
        file=file,
        requests=count(record.get("requests"), "requests"),
        span_ms=DAY_MS,
    )
