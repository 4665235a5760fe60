"""OpenAI's organisation reports: usage (``/v1/organization/usage/completions`` pages,
``completions_usage_*.csv``) and costs (``/costs`` pages, ``cost_*.csv``).

A usage row sums the requests of a bucket, usually a day; its fields are null unless the report
was grouped by them. Costs are another view of the same use: invoice lines, never calls.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from omni_cli.domain.imports import ImportedCall, InvoiceLine
from omni_cli.importers.reports import (
    OrganisationReports,
    Place,
    Record,
    money,
    report_files,
    token_kind,
)
from omni_cli.importers.values import (
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


def find_default(home: Path, env: Mapping[str, str]) -> list[Path]:  # noqa: ARG001 - no default
    return []


files = report_files


def _is_cost(row: Record) -> bool:
    return "amount" in row or "amount_value" in row


def _period(bucket: Record) -> tuple[int, int]:
    start = count(bucket.get("start_time"), "start_time")
    end = count(bucket.get("end_time"), "end_time")
    if start is None or end is None or end < start:
        raise Unreadable("no start_time and end_time")
    return at_ms(start, "start_time"), (end - start) * 1000


def _usage_row(bucket: Record, row: Record, place: Place) -> ImportedCall | None:
    if row.get("input_tokens") in (None, "") and row.get("output_tokens") in (None, ""):
        place.skips["rows without tokens"] += 1
        return None
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
    return ImportedCall(
        source=SOURCE,
        external_id=place.numbered(identity),
        at_ms=start,
        provider="openai",
        model=text(row.get("model")),
        usage=usage,
        unstated=unstated,
        agent=SOURCE,
        project=text(row.get("project_id")),
        file=place.file,
        line=place.line,
        requests=count(row.get("num_model_requests"), "num_model_requests"),
        span_ms=span,
        tier="batch" if batch else None if tier == "default" else tier,
    )


def _cost_row(bucket: Record, row: Record, place: Place) -> Iterator[InvoiceLine]:
    amount = row.get("amount")
    value = obj(amount).get("value") if "amount" in row else row.get("amount_value")
    currency = obj(amount).get("currency") if "amount" in row else row.get("amount_currency")
    if value in (None, ""):
        place.skips["days without cost"] += 1
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
        place.file,
        place.line,
    )


_REPORTS = OrganisationReports(
    "OpenAI", ("start_time", "end_time"), _is_cost, _usage_row, _cost_row
)
read_file, invoice_file = _REPORTS.calls, _REPORTS.invoice
