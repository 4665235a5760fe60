"""Usage, costs and savings as JSON values, once: what the command line prints with ``--json`` and
what the gateway answers. Money is decimal text in US dollars; what is unknown is null, never 0."""

from typing import Any

from omni_cli.domain.analytics import Projection, Share, Totals
from omni_cli.domain.blocks import Block
from omni_cli.domain.document import document
from omni_cli.domain.money import usd, usd_string
from omni_cli.services.money.costs import BudgetLine, CostOverview
from omni_cli.services.money.savings import Saved, SavingsReport, SavingsRow
from omni_cli.services.money.usage import UsageReport, UsageRow


def totals_document(totals: Totals) -> dict[str, Any]:
    """Sums. Amounts are null where no call of them has a known price; those at the premium model
    where nothing was compared with it."""
    unknown, compared = totals.known_nusd is None, totals.compared_calls > 0
    return {
        **document(totals, "calls", "ok", "attempts", "failed_attempts"),
        "request_success": totals.success,
        "attempt_success": totals.attempt_success,
        **document(totals, "input_tokens", "cached_tokens", "cache_write_tokens"),
        "uncached_input_tokens": totals.uncached_tokens,
        **document(totals, "output_tokens", "reasoning_tokens", "total_tokens"),
        "cost_usd": usd(totals.known_nusd),
        "input_cost_usd": usd(None if unknown else totals.input_cost_nusd),
        "estimated_usd": usd(None if unknown else totals.estimated_nusd),
        "failed_usd": usd(None if unknown else totals.failed_nusd),
        **document(totals, "unknown_attempts", "estimated_attempts", "compared_calls"),
        "premium_usd": usd(totals.premium_nusd if compared else None),
        "compared_usd": usd(totals.compared_nusd if compared else None),
        "latency_avg_ms": _tenths(totals.mean_latency_ms),
    }


def usage_document(report: UsageReport, saved: Saved) -> dict[str, Any]:
    """``saved``: over the same requests."""
    return {
        "by": report.by,
        "period": report.label,
        "zone": report.zone,
        "from": report.first.isoformat(),
        "through": report.last.isoformat(),
        "before": None
        if report.before_first is None or report.before_last is None
        else {"from": report.before_first.isoformat(), "through": report.before_last.isoformat()},
        "rows": [_usage_row(report, row) for row in report.rows],
        "total": row_document(report.total),
        "saving_usd": usd(saved.saving_nusd),
        "days": [
            {"date": day.isoformat(), **totals_document(totals)} for day, totals in report.series
        ],
    }


def _usage_row(report: UsageReport, row: UsageRow) -> dict[str, Any]:
    found: dict[str, Any] = {report.by: row.name or None, **row_document(row)}
    if report.by == "session":
        known = row.session
        found |= {} if known is None else document(known.session, *_OF_SESSION)
        found |= {} if known is None else document(known, "first_at", "last_at")
    if row.parts:
        found["models"] = [{"model": part.name, **row_document(part)} for part in row.parts]
    return found


_OF_SESSION = ("agent", "project", "remote", "branch", "parent", "title")


def row_document(row: UsageRow) -> dict[str, Any]:
    """One row of a usage report, without its name."""
    before = row.before
    return {
        **totals_document(row.totals),
        "latency_p50_ms": _tenths(row.p50_ms),
        "latency_p95_ms": _tenths(row.p95_ms),
        "before": None if before is None else totals_document(before),
    }


def blocks_document(agent: str, blocks: list[Block], now_ms: int) -> dict[str, Any]:
    """``agent`` None: of everything."""
    return {"agent": agent or None, "blocks": [_block(block, now_ms) for block in blocks]}


def _block(block: Block, now_ms: int) -> dict[str, Any]:
    burn = block.burn(now_ms)
    return {
        **document(block, "start_at", "end_at", "first_at", "last_at", "models", "calls"),
        "active": block.active(now_ms),
        "left_ms": block.left_ms(now_ms),
        **document(block, "input_tokens", "cached_tokens", "cache_write_tokens"),
        **document(block, "output_tokens", "total_tokens"),
        "cost_usd": usd(block.known_nusd),
        "unknown_calls": block.unknown,
        "burn": None if burn is None else document(burn, *vars(burn)),
    }


# --- costs ---------------------------------------------------------------------------------------


def costs_document(overview: CostOverview) -> dict[str, Any]:
    return {
        "zone": overview.zone,
        "today": totals_document(overview.today),
        "yesterday": totals_document(overview.yesterday),
        "yesterday_by_now_usd": usd_string(overview.yesterday_by_now_nusd),
        "week": totals_document(overview.week),
        "month": {"days": overview.month_label, **totals_document(overview.month)},
        "projected_month": _projection_document(overview.projection),
        "trend": [{"date": day.isoformat(), "cost_usd": usd(cost)} for day, cost in overview.trend],
        "budgets": [_budget_document(line) for line in overview.budgets],
        "by_model": [_share_document("model", item) for item in overview.by_model],
        "by_task": [_share_document("task_type", item) for item in overview.by_task],
    }


def _projection_document(projection: Projection | None) -> dict[str, Any] | None:
    if projection is None:
        return None
    return {
        "usd": usd_string(projection.nusd),
        "low_usd": usd(projection.low_nusd),
        "high_usd": usd(projection.high_nusd),
        "method": projection.method,
    }


def _budget_document(line: BudgetLine) -> dict[str, Any]:
    status = line.status
    return {
        "id": status.budget.id,
        "period": status.budget.period,
        "limit_usd": usd_string(line.limit_nusd),
        "spent_usd": usd_string(status.spent_nusd),
        "reserved_usd": usd_string(status.reserved_nusd),
        "left_usd": usd_string(status.left_nusd),
        "used_percent": status.used_percent,
        "under_percent": line.under_percent,
        "projection": _projection_document(line.projection),
        "projected_under_percent": line.projected_under_percent,
    }


def _share_document(what: str, item: Share) -> dict[str, Any]:
    return {what: item.name, "cost_usd": usd_string(item.nusd), "share": item.share}


# --- savings -------------------------------------------------------------------------------------


def savings_document(report: SavingsReport) -> dict[str, Any]:
    """Savings are signed: below zero, the fleet cost more than the premium model alone."""
    return {
        "period": report.label,
        "zone": report.zone,
        "from": report.first.isoformat(),
        "through": report.last.isoformat(),
        "baselines": [document(baseline) for baseline in report.baselines],
        "saving_usd": usd(report.saving_nusd),
        "saving_percent": report.saving_percent,
        "total": None if report.total is None else _savings_row(report.total),
        "failed_attempts_usd": usd_string(report.failed_nusd),
        "unanswered_usd": usd_string(report.unanswered_nusd),
        "evaluation_usd": {
            source: usd_string(cost) for source, cost in sorted(report.evaluation_nusd.items())
        },
        "uncompared_usd": usd_string(report.uncompared_nusd),
        "unknown_attempts": report.unknown_attempts,
        "imported_saving_usd": usd(report.imported_nusd),
        "measured_share": report.measured_share,
        "evidence": [document(row) for row in report.evidence],
        "by_model": [{"model": row.name or None, **_savings_row(row)} for row in report.by_model],
        "by_day": [{"date": row.name, **_savings_row(row)} for row in report.by_day],
    }


def _savings_row(row: SavingsRow) -> dict[str, Any]:
    return document(row, "calls", "premium_nusd", "paid_nusd", "overhead_nusd", "saving_nusd")


def _tenths(value: float | None) -> float | None:
    return None if value is None else round(value, 1)
