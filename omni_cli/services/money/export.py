"""The ledger and usage as plain rows for files (C8). Money is exact decimal text in US dollars,
times are ISO 8601 in UTC, None is unknown or absent."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import timedelta
from typing import Any

from msgspec import Struct

from omni_cli.domain.analytics import Totals, day_key, key_date
from omni_cli.domain.ids import id_text
from omni_cli.domain.ledger import EVALUATION, saving_nusd, total_nusd
from omni_cli.domain.money import usd
from omni_cli.domain.periods import PeriodRule, Span, iso, local_date, parse_span
from omni_cli.ports import Clock
from omni_cli.repositories import LedgerRows, Reports
from omni_cli.services.money.report_documents import totals_document

_TOKENS = (
    "input_tokens",
    "cached_tokens",
    "cache_write_tokens",
    "output_tokens",
    "reasoning_tokens",
)
_COUNTS = ("calls", "ok", "attempts", "failed_attempts", "unknown_attempts", "estimated_attempts")
LEDGER_COLUMNS = (
    "id",
    "created_at",
    "settled_at",
    "state",
    "source",
    "org",
    "key",
    "role",
    "agent",
    "task_type",
    "complexity",
    "difficulty",
    "chain",
    "provider",
    "model",
    "attempts",
    *_TOKENS,
    "price_state",
    "cost_usd",
    "known_cost_usd",
    "estimated",
    "premium_model",
    "premium_cost_usd",
    "savings_usd",
    "latency_ms",
    "ttft_ms",
    "finish_reason",
    "error_code",
    "error_message",
)
USAGE_COLUMNS = (
    "day",
    "source",
    "org",
    "key",
    "provider",
    "model",
    "role",
    "agent",
    "task_type",
    *_COUNTS,
    *_TOKENS,
    "cost_usd",
    "input_cost_usd",
    "estimated_usd",
    "failed_usd",
    "premium_usd",
    "compared_usd",
    "latency_ms",
    "latency_calls",
)


class ExportService(Struct, kw_only=True, eq=False):
    """Args:
    report_zone: gives the zone whose days the rollups hold.
    """

    rows: LedgerRows
    reports: Reports
    report_zone: Callable[[], str]
    zone: str
    clock: Clock

    def ledger(
        self, from_date: str | None, to_date: str | None, *, attempts: bool
    ) -> Iterator[dict[str, Any]]:
        """Requests, oldest first, under LEDGER_COLUMNS; with ``attempts``, these are objects in
        place of their number. Raises UsageError: no such range."""
        span = self._span(from_date, to_date, self.zone)
        for row in self.rows.requests(span.start_ms, span.end_ms):
            document = _request(row)
            if attempts:
                document["attempts"] = [_attempt(a) for a in self.rows.attempts(row["id"])]
            yield document

    def usage(self, from_date: str | None, to_date: str | None) -> Iterator[dict[str, Any]]:
        """Sums by day and all dimensions, under USAGE_COLUMNS. Raises UsageError."""
        zone = self.report_zone()
        span = self._span(from_date, to_date, zone)
        first, last = local_date(span.start_ms, zone), local_date(span.end_ms - 1, zone)
        for line in self.reports.lines(day_key(first), day_key(last)):
            yield _line(line.day, line.keys, line.totals)

    def _span(self, from_date: str | None, to_date: str | None, zone: str) -> Span:
        """Everything, unless dates are given."""
        now = int(self.clock() * 1000)
        if from_date is None:
            # Requests may lie some way in the future where a clock was wrong.
            tomorrow = local_date(now, PeriodRule("day", zone).zone) + timedelta(days=366)
            to_date = to_date or tomorrow.isoformat()
        return parse_span(
            now_ms=now, zone=zone, from_date=from_date or "1970-01-02", to_date=to_date
        )


def csv_lines(columns: Iterable[str], rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """RFC 4180 lines with a head, one at a time; None is an empty field."""
    import csv
    from io import StringIO

    names = list(columns)
    buffer = StringIO()
    writer = csv.writer(buffer)

    def line(values: Iterable[Any]) -> str:
        writer.writerow(values)
        text = buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()
        return text

    yield line(names)
    for row in rows:
        yield line(row[name] for name in names)


def json_lines(rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """One JSON object a line."""
    import json

    for row in rows:
        yield json.dumps(row, ensure_ascii=False) + "\n"


def _request(row: Mapping[str, Any]) -> dict[str, Any]:
    known = total_nusd(row["state"], row["cost_nusd"], row["adjusted_nusd"])
    cost = None if row["price_state"] == "unknown" else known
    premium = row["premium_cost_nusd"]
    document = {
        **row,
        "id": id_text(row["id"]),
        "created_at": iso(row["created_at"]),
        "settled_at": iso(row["settled_at"]),
        "task_type": row["task"],
        "cost_usd": usd(cost),
        "known_cost_usd": usd(known),
        "estimated": bool(row["estimated"]),
        "premium_cost_usd": usd(premium),
        "savings_usd": usd(saving_nusd(row["source"], row["price_state"], premium, cost)),
    }
    return {name: document[name] for name in LEDGER_COLUMNS}


def _attempt(row: Mapping[str, Any]) -> dict[str, Any]:
    cost, moved = row["cost_nusd"], row["adjusted_nusd"]
    return {
        "n": row["n"],
        "provider": row["provider"],
        "model": row["model"],
        "outcome": row["state"],
        "started_at": iso(row["started_at"]),
        "ended_at": iso(row["ended_at"]),
        **{name: row[name] for name in _TOKENS},
        "cost_usd": usd(None if cost is None and moved is None else (cost or 0) + (moved or 0)),
        "charged_usd": usd(cost),
        "reported_cost_usd": usd(row["reported_cost_nusd"]),
        "estimated": bool(row["estimated"]),
        "http_status": row["http_status"],
        "provider_request_id": row["provider_request_id"],
        "error_code": row["error_code"],
        "error_message": row["error_message"],
    }


def _line(day: int, keys: Mapping[str, str], totals: Totals) -> dict[str, Any]:
    told = totals_document(totals)
    if keys["source"] in EVALUATION:  # what it would have cost elsewhere is no part of any saving
        told |= {"premium_usd": None, "compared_usd": None}
    return {
        "day": key_date(day).isoformat(),
        **{name: keys["task" if name == "task_type" else name] for name in USAGE_COLUMNS[1:9]},
        **{name: told[name] for name in USAGE_COLUMNS[9:-2]},
        "latency_ms": totals.latency_ms,
        "latency_calls": totals.latency_calls,
    }
