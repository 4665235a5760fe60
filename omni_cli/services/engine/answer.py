"""An answer as JSON values: what ``omni chat --json`` prints."""

from typing import Any

from omni_cli.domain.chat import tokens_document
from omni_cli.domain.ids import id_text
from omni_cli.domain.money import usd
from omni_cli.services.engine.chat import ChatRun


def result_document(run: ChatRun) -> dict[str, Any]:
    """What ``omni chat --json`` prints: stable keys, decimal strings, null where unknown."""
    row, completion = run.row, run.completion
    usage = row.usage if row is not None else run.progress.usage
    task = run.plan.decision.task

    return {
        "id": id_text(run.id),
        "output": completion.text,
        "model_used": None if row is None else row.model,
        "task_type": task.task_type,
        "complexity": task.complexity,
        "usage": tokens_document(usage),
        "cost_usd": None if row is None else usd(row.known_nusd),
        "premium_cost_usd": None if row is None else usd(row.premium_cost_nusd),
        "savings_usd": None if row is None else usd(row.savings_nusd),
        "price_state": None if row is None else row.price_state,
        "latency_ms": None if row is None else row.latency_ms,
        "ttft_ms": None if row is None else row.ttft_ms,
        "finish_reason": completion.finish_reason,
        "tool_calls": [
            {"id": call.id, "name": call.name, "arguments": call.arguments}
            for call in completion.tool_calls
        ],
        "attempts": [
            {
                "model": attempt.model,
                "outcome": attempt.outcome,
                "error": attempt.error,
                "latency_ms": attempt.latency_ms,
                "cost_usd": usd(attempt.cost_nusd),
            }
            for attempt in run.progress.attempts
        ],
    }
