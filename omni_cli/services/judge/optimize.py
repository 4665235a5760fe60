"""The last days' requests through other routing settings, without asking anything again (D4)."""

import json
from bisect import bisect_left
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

from msgspec import Struct

from omni_cli.domain.analytics import per_day
from omni_cli.domain.chat import Usage
from omni_cli.domain.document import document
from omni_cli.domain.errors import NotFound
from omni_cli.domain.ids import EPOCH_MS, RANDOM_BITS, make_id
from omni_cli.domain.money import usd_string, usd_to_nusd
from omni_cli.domain.optimize import (
    Option,
    Outcome,
    Past,
    Setting,
    banded,
    frontier,
    replay,
    settings,
    suggestion,
)
from omni_cli.domain.periods import day_start, local_date
from omni_cli.domain.statistics import Band
from omni_cli.domain.tasks import COMPLEXITIES
from omni_cli.domain.words import counted
from omni_cli.ports import Clock
from omni_cli.repositories import Decisions, Models
from omni_cli.services.engine.decisions import FREE
from omni_cli.services.money.prices import PriceBook, cost_or_none

#: More requests than this are sampled evenly over the time.
MOST = 1_500
LEAST = 20


class Optimum(Struct, frozen=True):
    """``days``: dates from the oldest request's to today. ``requests``: all that were found,
    ``today_requests`` of them today; ``read`` of them were looked at, ``replayed`` were the
    router's to decide and have a known price. ``suggested`` None: no setting is cheaper without
    losing more quality than allowed. Costs are of the replayed ones."""

    days: int
    requests: int
    today_requests: int
    read: int
    replayed: int
    today: Outcome
    outcomes: tuple[Outcome, ...]
    frontier: tuple[Outcome, ...]
    suggested: Outcome | None

    def monthly_nusd(self, outcome: Outcome) -> int:
        """The cost of 30 ordinary days at this pace, nano-dollars."""
        pace = per_day(self.requests, self.today_requests, self.days)
        return int(outcome.cost_nusd * pace * 30 / max(self.read, 1))


class Optimizer(Struct, kw_only=True, eq=False):
    """Args:
    zone: whose days are counted.
    """

    decisions: Decisions
    models: Models
    clock: Clock
    zone: str = "UTC"

    def run(self, today: Setting, *, days: int, may_lose: float) -> Optimum:
        """Replay ``days`` days through all settings.

        Args:
            today: the setting in force.
            may_lose: expected quality, 0..1, that a suggestion may lose against today's.

        Raises NotFound where fewer than LEAST requests can be replayed.
        """
        now = int(self.clock() * 1000)
        date = local_date(now, self.zone)
        ids = self.decisions.ids(day_start(date - timedelta(days=days - 1), self.zone))
        kept = evenly(ids, MOST)
        past = list(self._past(kept, now))
        if len(past) < LEAST:
            raise NotFound(
                f"{counted(len(past), 'request')} of {counted(days, 'day')} can be replayed, "
                f"{LEAST} are needed",
                hint="requests with --model, a role, a rule or a chain are not the router's choice",
            )
        base, *outcomes = banded(replay(today, past), [replay(one, past) for one in settings()])
        oldest = EPOCH_MS + (ids[0] >> RANDOM_BITS)  # an id begins with its time
        return Optimum(
            max(1, (date - local_date(oldest, self.zone)).days + 1),
            len(ids),
            len(ids) - bisect_left(ids, make_id(day_start(date, self.zone), 0)),
            len(kept),
            len(past),
            base,
            tuple(outcomes),
            tuple(frontier([base, *outcomes])),
            suggestion(base, outcomes, may_lose=may_lose),
        )

    def _past(self, ids: list[int], now_ms: int) -> Iterator[Past]:
        prices = PriceBook(self.models, now_ms=now_ms)
        for answered_by, usage, text in self.decisions.each(ids):
            decision = json.loads(text)
            if decision.get("by") not in FREE or decision.get("complexity") not in COMPLEXITIES:
                continue
            options = []
            asked = [c for c in decision["candidates"] if not c.get("not_known_to_have")]
            for candidate in asked or decision["candidates"]:
                option = _option(candidate, answered_by, usage, prices)
                if option is not None:
                    options.append(option)
            if options:
                yield Past(decision["task_type"], decision["complexity"], tuple(options))


def _option(
    candidate: dict[str, Any], answered_by: str, usage: Usage, prices: PriceBook
) -> Option | None:
    """None where the model could not have answered, or nobody knows at what cost."""
    model = candidate["model"]
    row = prices.current(model) if candidate["eligible"] else None
    if row is None:
        return None
    if model != answered_by:
        # What one model had in its cache, another would have had to read.
        usage = usage.uncached()
    cost = cost_or_none(usage, row.price)
    if cost is None:
        return None
    expected = candidate["expected_cost_usd"]
    return Option(
        model,
        candidate["quality"],
        candidate.get("quality_spread") or 0.0,
        None if expected is None else usd_to_nusd(Decimal(expected)),
        candidate["expected_latency_ms"],
        cost,
        candidate.get("quality_evidence") is not False,
        candidate.get("latency_basis") or "measured",
    )


def evenly(ids: list[int], most: int) -> list[int]:
    if len(ids) <= most:
        return ids
    return [ids[n * len(ids) // most] for n in range(most)]


def setting_name(setting: Setting) -> str:
    """In words."""
    fast = ", fast" if setting.latency_pref == "fast" else ""
    if setting.priority != "balanced":
        return setting.priority + fast
    w = setting.weights
    return f"balanced, cost {w.cost:g}, latency {w.latency:g}, task {w.task_match:g}{fast}"


def setting_values(setting: Setting) -> dict[str, str]:
    """As the settings file has them."""
    return {
        "routing.priority": setting.priority,
        "routing.latency_pref": setting.latency_pref,
        "routing.cost_weight": f"{setting.weights.cost:g}",
        "routing.latency_weight": f"{setting.weights.latency:g}",
        "routing.task_weight": f"{setting.weights.task_match:g}",
    }


def bands_document(outcome: Outcome) -> dict[str, Any]:
    """Lower and upper ends, and what is other than today's; see domain/statistics.py."""
    bands = outcome.bands
    if bands is None:
        return {}

    def quality(of: Band) -> list[float]:
        return [round(of.low, 4), round(of.high, 4)]

    def cost(of: Band) -> list[str]:
        return [usd_string(round(of.low)), usd_string(round(of.high))]

    return {
        "cost_usd_band": cost(bands.cost),
        "expected_quality_band": quality(bands.quality),
        "cost_usd_against_today_band": cost(bands.cost_less),
        "quality_against_today_band": quality(bands.quality_less),
    }


def optimum_document(found: Optimum, *, applied: bool) -> dict[str, Any]:
    """What ``omni optimize --json`` prints."""

    def plain(outcome: Outcome) -> dict[str, Any]:
        latency = outcome.latency_ms
        return {
            "settings": setting_values(outcome.setting),
            "cost_usd": usd_string(outcome.cost_nusd),
            "cost_30_days_usd": usd_string(found.monthly_nusd(outcome)),
            "expected_quality": round(outcome.quality, 4),
            "expected_latency_ms": None if latency is None else round(latency),
            **bands_document(outcome),
        }

    return {
        **document(found, "days", "requests", "read", "replayed"),
        "today": plain(found.today),
        "suggested": None if found.suggested is None else plain(found.suggested),
        "frontier": [plain(outcome) for outcome in found.frontier],
        "settings": [plain(outcome) for outcome in found.outcomes],
        "applied": applied,
    }
