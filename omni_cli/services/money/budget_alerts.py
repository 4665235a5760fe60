"""Budgets as alerts: each threshold and the stop, told once in a period by whoever looks first."""

from collections.abc import Iterable, Iterator

from omni_cli.domain.budgets import BudgetStatus
from omni_cli.domain.pricing import format_usd
from omni_cli.services.judge.alerts import Alert


def budget_alerts(statuses: Iterable[BudgetStatus]) -> Iterator[Alert]:
    """The highest threshold that each budget has passed, and the stop where nothing is left."""
    for status in statuses:
        budget, used = status.budget, status.used_percent
        subject = f"budget:{budget.id}:{status.start_at}"
        text = f"{format_usd(status.spent_nusd)} of {format_usd(status.stop_at_nusd)} spent"
        if status.left_nusd <= 0:
            yield Alert(
                f"{subject}:stop",
                "error",
                f"the {budget.label} is used up",
                f"{text}; calls are refused until it resets, or omni budgets raise {budget.id}",
            )
            continue
        passed = [
            percent for percent in budget.alerts_percent if used is not None and used >= percent
        ]
        if passed:
            yield Alert(
                f"{subject}:{max(passed):g}",
                "warning",
                f"the {budget.label} is at {used:.0f} %",
                text,
            )
