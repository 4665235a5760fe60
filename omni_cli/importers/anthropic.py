"""Anthropic's organisation reports: usage (``/v1/organizations/usage_report/messages`` pages,
``claude_api_tokens_*.csv``) and cost (``cost_report`` pages, ``claude_api_cost_*.csv``).

Usage rows sum a bucket's calls and do not say how many. The API's ``amount`` is a decimal
string in cents, the console's ``cost_usd`` is in dollars. Cost rows are invoice lines, never
calls; the console writes display names there (``Claude Opus 4.5``).
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from omni_cli.domain.imports import ImportedCall, InvoiceLine
from omni_cli.domain.periods import DAY_MS
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

SOURCE = "anthropic"
_DIMENSIONS = (
    "model",
    "workspace_id",
    "workspace",
    "api_key_id",
    "api_key",
    "service_tier",
    "usage_type",
    "context_window",
    "inference_geo",
    "speed",
)


def find_default(home: Path, env: Mapping[str, str]) -> list[Path]:  # noqa: ARG001 - no default
    return []


files = report_files


def _is_cost(row: Record) -> bool:
    return "amount" in row or "cost_usd" in row


def _period(bucket: Record) -> tuple[int, int]:
    if "usage_date_utc" in bucket:
        return at_ms(bucket["usage_date_utc"], "usage_date_utc"), DAY_MS
    start = at_ms(bucket.get("starting_at"), "starting_at")
    return start, max(at_ms(bucket.get("ending_at"), "ending_at") - start, 0)


def _usage_row(bucket: Record, row: Record, place: Place) -> ImportedCall:
    start, span = _period(bucket)
    if "usage_date_utc" in row:
        prefix = "usage_input_tokens_"
        names = ("no_cache", "cache_write_5m", "cache_write_1h", "cache_read")
        fresh, short, long, reads = (count(row.get(prefix + n), prefix + n) for n in names)
        output = count(row.get("usage_output_tokens"), "usage_output_tokens")
        searches = count(row.get("web_search_count"), "web_search_count")
    else:
        fresh = count(row.get("uncached_input_tokens"), "uncached_input_tokens")
        split = obj(row.get("cache_creation"))
        short = count(split.get("ephemeral_5m_input_tokens"), "ephemeral_5m_input_tokens")
        long = count(split.get("ephemeral_1h_input_tokens"), "ephemeral_1h_input_tokens")
        reads = count(row.get("cache_read_input_tokens"), "cache_read_input_tokens")
        output = count(row.get("output_tokens"), "output_tokens")
        tools = obj(row.get("server_tool_use"))
        searches = count(tools.get("web_search_requests"), "web_search_requests")
    if fresh is None and output is None:
        raise Unreadable("no token counts: not a usage report's row")
    writes = None if short is None and long is None else (short or 0) + (long or 0)
    usage, unstated = make_usage(
        None if fresh is None else fresh + (reads or 0) + (writes or 0),
        output,
        cached=reads,
        cache_write=writes,
        cache_write_1h=long,
    )
    model = text(row.get("model")) or text(row.get("model_version"))
    tier = text(row.get("speed")) or text(row.get("service_tier")) or text(row.get("usage_type"))
    identity = digest(start, span, model, *(text(row.get(d)) for d in _DIMENSIONS))
    return ImportedCall(
        source=SOURCE,
        external_id=place.numbered(identity),
        at_ms=start,
        provider="anthropic",
        model=model,
        usage=usage,
        unstated=unstated,
        agent=SOURCE,
        project=text(row.get("workspace")) or text(row.get("workspace_id")),
        file=place.file,
        line=place.line,
        requests=None,
        span_ms=span,
        tier=None if tier in ("standard", "message") else tier,
        web_searches=searches or 0,
    )


def _cost_row(bucket: Record, row: Record, place: Place) -> Iterator[InvoiceLine]:
    start, _ = _period(bucket)
    if "amount" in row:
        cost, rounding = money(row["amount"], "amount", per_usd=100)
        currency = text(row.get("currency"))
        if (currency or "USD").upper() != "USD":
            raise Unreadable(f"amounts in {currency} cannot be compared: not US dollars")
    else:
        cost, rounding = money(row["cost_usd"], "cost_usd")
    if cost is None:
        raise Unreadable("no amount")
    yield InvoiceLine(
        day_of(start),
        text(row.get("model")),
        token_kind(text(row.get("token_type")) or text(row.get("cost_type"))),
        None,
        cost,
        "anthropic",
        rounding,
        place.file,
        place.line,
    )


_REPORTS = OrganisationReports("Anthropic", ("usage_date_utc",), _is_cost, _usage_row, _cost_row)
read_file, invoice_file = _REPORTS.calls, _REPORTS.invoice
