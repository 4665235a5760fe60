"""Decisions as they were recorded: one document, whoever decided and whenever.

A request that named its model was decided by its caller. The gateway records no decision for one
that was sent: what it called says it all, and the row is worth 3 us a request.
"""

import json
from typing import Any

from omni_cli.domain.ledger import AttemptRow, RequestRow

#: Ways of deciding that weigh models; rules, roles, names and chains do not.
FREE = ("score", "cheapest", "fastest", "quality")
_TASK: dict[str, Any] = {
    "model": None,
    "reason": "",
    "task_type": None,
    "type_probabilities": {},
    "sure": None,
    "form": "",
    "complexity": None,
    "difficulty": None,
    "by": "named",
    "skipped": [],
}
_CANDIDATE: dict[str, Any] = {
    "reason": "",
    "eligible": True,
    "not_known_to_have": None,
    "kept_out": None,
    "quality": None,
    "quality_spread": None,
    "quality_basis": None,
    "quality_evidence": None,
    "expected_cost_usd": None,
    "expected_latency_ms": None,
    "latency_basis": None,
    "score": None,
}


def named_decision(model: str) -> dict[str, Any]:
    """The decision about a request whose caller named the model: nothing was classified.

    It has the keys of ``routing.decision_document``; what was not looked at is None.
    """
    candidate = {"model": model, "eligible": True, "reason": "named by the caller"}
    return {
        **_TASK,
        "model": model,
        "reason": "named by the caller",
        "candidates": [{**_CANDIDATE, **candidate}],
    }


def recorded_decision(
    row: RequestRow, attempts: "list[AttemptRow]", stored: str | None
) -> dict[str, Any] | None:
    """The decision about a request in the ledger, None where none was made.

    Args:
        stored: its JSON text in the ledger, if there is one.
    """
    if stored is not None:
        return read_decision(stored)
    named = row.source == "gateway" and not row.role and not row.chain
    return named_decision(attempts[0].model) if named and attempts else None


def is_unlooked(decision: dict[str, Any]) -> bool:
    """Whether the caller decided, and nothing was looked at."""
    return bool(decision["by"] == "named" and decision["task_type"] is None)


def read_decision(stored: str) -> dict[str, Any]:
    """A decision's JSON text. Documents of older versions lack keys; they get them."""
    document = json.loads(stored)
    if document.get("by") == "name":  # as gateways wrote it before
        return named_decision(document["model"])
    candidates = [{**_CANDIDATE, **candidate} for candidate in document.get("candidates", ())]
    return {**_TASK, **document, "candidates": candidates}
