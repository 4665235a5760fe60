"""OpenAI's organisation reports: usage (``/v1/organization/usage/completions`` pages,
``completions_usage_*.csv``) and costs (``/costs`` pages, ``cost_*.csv``).

A usage row sums the requests of a bucket, usually a day; its fields are null unless the report
was grouped by them. Costs are another view of the same use: invoice lines, never calls.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from omni_cli.domain.imports import ImportedCall, ImportProblem, InvoiceLine
from omni_cli.importers.reports import lines_of, money, report_files, report_rows, token_kind
from omni_cli.importers.values import (
    Skips,
    Unreadable,
    at_ms,
    count,
    day_of,
    digest,
    make_usage,
    obj,
    text,
)

SOURCE = "openai"
_DIMENSIONS = ("project_id", "user_id", "api_key_id", "model", "batch", "service_tier")
_CACHED_AUDIO = "input_cached_audio_tokens"
_NEEDED = ("start_time", "end_time")
_IS_COST = "a cost report holds no calls: give it to `omni reconcile`"


def find_default(home: Path, env: Mapping[str, str]) -> list[Path]:  # noqa: ARG001 - no default
    return []


files = report_files


def read_file(path: Path, skips: Skips) -> Iterator[ImportedCall | ImportProblem]:
    repeats: Counter[str] = Counter()
    for item in report_rows(path, skips, "OpenAI", _NEEDED):
        if isinstance(item, ImportProblem):
            yield item
            continue
        line, bucket, row = item
        try:
            if _is_cost(row):
                yield ImportProblem(str(path), line, _IS_COST)
                return
            if row.get("input_tokens") in (None, "") and row.get("output_tokens") in (None, ""):
                skips["rows without tokens"] += 1
                continue
            yield _usage_row(bucket, row, path.name, line, repeats)
        except Unreadable as exc:
            yield ImportProblem(str(path), line, str(exc))


def invoice_file(path: Path, skips: Skips) -> Iterator[InvoiceLine | ImportProblem]:
    repeats: Counter[str] = Counter()
    for item in report_rows(path, skips, "OpenAI", _NEEDED):
        if isinstance(item, ImportProblem):
            yield item
            continue
        line, bucket, row = item
        try:
            if _is_cost(row):
                yield from _cost_row(bucket, row, path.name, line, skips)
            elif row.get("input_tokens") not in (None, ""):
                yield from lines_of(_usage_row(bucket, row, path.name, line, repeats))
            else:
                skips["rows without tokens"] += 1
        except Unreadable as exc:
            yield ImportProblem(str(path), line, str(exc))


def _is_cost(row: Mapping[str, Any]) -> bool:
    return "amount" in row or "amount_value" in row


def _period(bucket: Mapping[str, Any]) -> tuple[int, int]:
    start = count(bucket.get("start_time"), "start_time")
    end = count(bucket.get("end_time"), "end_time")
    if start is None or end is None or end < start:
        raise Unreadable("no start_time and end_time")
    return at_ms(start, "start_time"), (end - start) * 1000


def _usage_row(
    bucket: Mapping[str, Any],
    row: Mapping[str, Any],
    file: str,
    line: int | None,
    repeats: Counter[str],
) -> ImportedCall:
    start, span = _period(bucket)
    usage, unstated = make_usage(
        count(row.get("input_tokens"), "input_tokens"),
        count(row.get("output_tokens"), "output_tokens"),
        cached=count(row.get("input_cached_tokens"), "input_cached_tokens"),
        input_audio_tokens=count(row.get("input_audio_tokens"), "input_audio_tokens") or 0,
        cached_audio_tokens=count(row.get(_CACHED_AUDIO), _CACHED_AUDIO) or 0,
        output_audio_tokens=count(row.get("output_audio_tokens"), "output_audio_tokens") or 0,
    )
    tier = text(row.get("service_tier"))
    batch = str(row.get("batch")).lower() == "true"
    identity = digest(start, span, *(str(row.get(d) or "").lower() for d in _DIMENSIONS))
    repeats[identity] += 1
    return ImportedCall(
        source=SOURCE,
        external_id=f"{identity}:{repeats[identity]}",
        at_ms=start,
        provider="openai",
        model=text(row.get("model")),
        usage=usage,
        unstated=unstated,
        agent=SOURCE,
        project=text(row.get("project_id")),
        file=file,
        line=line,
        requests=count(row.get("num_model_requests"), "num_model_requests"),
        span_ms=span,
        tier="batch" if batch else None if tier == "default" else tier,
    )


def _cost_row(
    bucket: Mapping[str, Any], row: Mapping[str, Any], file: str, line: int | None, skips: Skips
) -> Iterator[InvoiceLine]:
    amount = row.get("amount")
    value = obj(amount).get("value") if "amount" in row else row.get("amount_value")
    currency = obj(amount).get("currency") if "amount" in row else row.get("amount_currency")
    if value in (None, ""):
        skips["days without cost"] += 1
        return
    if (text(currency) or "usd").lower() != "usd":
        raise Unreadable(f"amounts in {text(currency)} cannot be compared: not US dollars")
    cost, rounding = money(value, "amount")
    start, _ = _period(bucket)
    item = text(row.get("line_item"))
    model, _, kind = (item or "").rpartition(", ")
    yield InvoiceLine(
        day_of(start),
        model or None,
        "total" if item is None else token_kind(kind),
        None,
        cost,
        "openai",
        rounding,
        file,
        line,
    )
