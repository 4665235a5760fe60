"""Budgets: a limit for a scope and a calendar period, kept by reserving before each call."""

from typing import Literal, get_args

from msgspec import Struct, field

from omni_cli.domain.errors import BudgetExceeded
from omni_cli.domain.money import format_usd
from omni_cli.domain.periods import PeriodKind, PeriodRule
from omni_cli.domain.sessions import is_within

BudgetScope = Literal[
    "all", "provider", "model", "role", "agent", "org", "key", "session", "project"
]
BudgetState = Literal["ok", "alert", "stopped", "off"]
_CENT_NUSD = 10_000_000
#: How a launcher's keys are called. No key that a person makes has a colon in its name.
LAUNCHED = "launch:"
#: Later than any raise ends, ms UTC.
_NEVER = 1 << 62
SCOPES: tuple[BudgetScope, ...] = get_args(BudgetScope)


class Budget(Struct, frozen=True):
    """``limit_nusd`` per ``period`` for ``scope``/``value`` (value is "" for scope "all").

    ``alerts_percent``: shares of the limit at which to warn. ``stop_percent``: the share at
    which calls are refused (100: at the limit). ``rollover``: what is left of a period is added
    to the next. ``raise_nusd`` is added to the limit until ``raise_until`` (ms UTC).
    ``allow_unknown``: let calls of unknown price pass (they cannot be counted).
    """

    id: int
    scope: BudgetScope
    value: str
    period: PeriodKind
    limit_nusd: int
    alerts_percent: tuple[float, ...] = (50.0, 80.0, 100.0)
    stop_percent: float = 100.0
    rollover: bool = False
    raise_nusd: int = 0
    raise_until: int | None = None
    allow_unknown: bool = False
    zone: str = "UTC"
    week_start: int = 0
    month_day: int = 1
    enabled: bool = True
    #: When it was made, ms UTC; nothing is carried over from before. 0: not known.
    since_ms: int = 0

    @property
    def passing(self) -> bool:
        """Whether it is a session's of ``omni launch`` and ends with it: no part of the fleet."""
        return self.scope == "key" and self.value.startswith(LAUNCHED)

    @property
    def label(self) -> str:
        """As a person says it: "day budget of model openai/gpt-4o"."""
        if self.passing:
            return f"budget of session {self.value}"
        whose = "everything" if self.scope == "all" else f"{self.scope} {self.value}"
        return f"{self.period} budget of {whose}"

    @property
    def rule(self) -> PeriodRule:
        return PeriodRule(
            kind=self.period,
            zone=self.zone,
            week_start=self.week_start,
            month_day=self.month_day,
        )

    def stop_at_nusd(self, carried_nusd: int, at_ms: int) -> int:
        """The sum of spent and reserved money that no call may pass."""
        raised = self.raise_until is not None and at_ms < self.raise_until
        whole = self.limit_nusd + carried_nusd + (self.raise_nusd if raised else 0)
        # Percentages are kept to thousandths, so the product stays an integer division.
        return whole * round(self.stop_percent * 1000) // 100_000

    def covers(self, **scopes: str) -> bool:
        """Whether a call with these scope values (provider=..., model=...) falls under it."""
        named = scopes.get(self.scope, "")
        if self.scope == "session":
            return is_within(named, self.value)
        return self.scope == "all" or named == self.value


class BudgetStatus(Struct, frozen=True):
    """A budget in one period: [start_at, end_at) in ms UTC.

    ``reserved_nusd``: what calls under way may cost, and what calls whose end was not seen may have
    cost; ``held_nusd`` is the second part, where it was worked out, as is ``estimated_nusd``.
    """

    budget: Budget
    start_at: int
    end_at: int
    carried_nusd: int
    spent_nusd: int
    reserved_nusd: int
    stop_at_nusd: int
    estimated_nusd: int = 0
    held_nusd: int = 0
    alerts_due: tuple[float, ...] = field(default=())

    @property
    def left_nusd(self) -> int:
        return self.stop_at_nusd - self.spent_nusd - self.reserved_nusd

    @property
    def state(self) -> BudgetState:
        """``off``: disabled. ``stopped``: calls are refused. ``alert``: a threshold is reached."""
        if not self.budget.enabled:
            return "off"
        if self.left_nusd <= 0:
            return "stopped"
        reached = any(self.used >= percent for percent in self.budget.alerts_percent)
        return "alert" if reached else "ok"

    @property
    def whole_nusd(self) -> int:
        """The period's limit, with what was carried over."""
        return self.budget.limit_nusd + self.carried_nusd

    @property
    def used(self) -> float:
        """Percent; a limit of nothing is used up by anything."""
        used = self.used_percent
        return used if used is not None else 100.0 * bool(self.spent_nusd)

    @property
    def used_percent(self) -> float | None:
        """Spent share of the limit (with what was carried over), None for a limit of zero."""
        return None if self.whole_nusd <= 0 else 100.0 * self.spent_nusd / self.whole_nusd


def refusal(status: BudgetStatus, need_nusd: int, resets: str, why: str = "") -> BudgetExceeded:
    """The error for a call that does not fit.

    Args:
        need_nusd: the call's worst case.
        resets: when the period ends, as the user reads time.
        why: what makes it so much.
    """
    budget = status.budget
    reserved = (
        f", {format_usd(status.reserved_nusd)} reserved by calls under way or held "
        "(omni budgets held)"
        if status.reserved_nusd
        else ""
    )
    reason = f" ({why})" if why else ""
    refused = BudgetExceeded(
        f"the {budget.label} has {format_usd(max(status.left_nusd, 0))} left of "
        f"{format_usd(status.stop_at_nusd)} ({format_usd(status.spent_nusd)} spent{reserved}); "
        f"this call may cost up to {format_usd(need_nusd)}{reason}; it resets {resets}",
        hint=f"a smaller --max-tokens or a cheaper model may fit; "
        f"omni budgets raise {budget.id} --by {_lift(status, need_nusd)} --for 1d makes room "
        "for a day",
    )
    refused.for_all = status.left_nusd <= 0 and budget.scope not in ("provider", "model")
    return refused


def _lift(status: BudgetStatus, need_nusd: int) -> str:
    """US dollars, in whole cents, that a raise must be for the call to fit."""
    budget = status.budget
    short = (need_nusd - status.left_nusd) * 100_000
    # A raise that still holds is replaced by the new one.
    raised = status.stop_at_nusd - budget.stop_at_nusd(status.carried_nusd, _NEVER)
    short += raised * 100_000
    share = max(round(budget.stop_percent * 1000), 1)
    cents = -(-short // (share * _CENT_NUSD)) + 1
    return f"{cents // 100}.{cents % 100:02d}"
