"""What settled calls add to the rollups, summed up in memory before it is written."""

import operator
from collections.abc import Sequence

from msgspec import Struct

from omni_cli.domain.analytics import latency_bucket
from omni_cli.domain.ledger import EVALUATION, FOREIGN, AttemptEnd, NewRequest, RequestRow

#: (suffix, zone) of each set of tables.
Targets = list[tuple[str, str]]
#: What a call is counted under beside its model.
Scope = RequestRow | NewRequest
#: How much of a moving average each new call leaves.
_KEEP, _TAKE = 0.9, 0.1
ATTEMPT_SUMS = (
    "attempts",
    "failed_attempts",
    "unknown_attempts",
    "estimated_attempts",
    "input_tokens",
    "cached_tokens",
    "cache_write_tokens",
    "output_tokens",
    "reasoning_tokens",
    "cost_nusd",
    "input_cost_nusd",
    "estimated_nusd",
    "failed_nusd",
)
REQUEST_SUMS = (
    "calls",
    "ok",
    "premium_nusd",
    "compared_nusd",
    "compared_calls",
    "unanswered_nusd",
    "latency_ms",
    "latency_calls",
)


class Outcome(Struct):
    """How one request ended, as rollups count it.

    ``compared``: what it cost and what the premium model would have cost are both known.
    """

    ok: bool
    spent_nusd: int
    compared: bool
    premium_model: str | None
    premium_nusd: int | None
    output_tokens: int
    latency_ms: int | None
    ttft_ms: int | None


class Counts:
    """Settled calls of one scope and model, added up before they are written.

    Args:
        scope: any of their requests: all lie within one quarter of an hour, which is never in two
            days of any zone.
    """

    __slots__ = ("buckets", "compared", "model", "provider", "scope", "stats", "sums", "targets")

    def __init__(self, scope: Scope, targets: Targets, provider: str, model: str) -> None:
        self.scope = scope
        self.targets = targets
        self.provider = provider
        self.model = model
        #: Of ATTEMPT_SUMS and REQUEST_SUMS.
        self.sums = [0] * (len(ATTEMPT_SUMS) + len(REQUEST_SUMS))
        #: Calls by latency's bucket.
        self.buckets: dict[int, int] = {}
        #: By premium model: calls, and what they would have cost there.
        self.compared: dict[str, list[int]] = {}
        self.stats: list[Outcome] = []

    def add_request(self, outcome: Outcome) -> None:
        self.add(NO_ATTEMPT, outcome)

    def add(self, attempt: tuple[int, ...], outcome: Outcome) -> None:
        """One request, and what ``attempt_sums`` says of its attempt."""
        ok, spent, compared = outcome.ok, outcome.spent_nusd, outcome.compared
        latency = outcome.latency_ms if ok else None
        premium = outcome.premium_nusd or 0 if compared else 0
        self.sums = list(
            map(
                operator.add,
                self.sums,
                (
                    *attempt,
                    1,
                    ok,
                    premium,
                    spent if compared else 0,
                    compared,
                    0 if ok or compared else spent,
                    latency or 0,
                    latency is not None,
                ),
            )
        )
        if latency is not None:
            bucket = latency_bucket(latency)
            self.buckets[bucket] = self.buckets.get(bucket, 0) + 1
        if compared and self.scope.source not in EVALUATION | FOREIGN:
            known = self.compared.setdefault(outcome.premium_model or "", [0, 0])
            known[0] += 1
            known[1] += premium
        self.stats.append(outcome)


NO_ATTEMPT = (0,) * len(ATTEMPT_SUMS)


def attempt_sums(end: AttemptEnd) -> tuple[int, ...]:
    """What one settled attempt adds, in the order of ATTEMPT_SUMS."""
    usage, cost = end.usage, end.cost_nusd or 0
    failed = end.state != "ok"
    return (
        1,
        failed,
        end.cost_nusd is None,
        usage.estimated,
        usage.input_tokens,
        usage.cached_tokens,
        usage.cache_write_tokens,
        usage.output_tokens,
        usage.reasoning_tokens,
        cost,
        end.input_cost_nusd or 0,
        cost if usage.estimated else 0,
        cost if failed else 0,
    )


def folded(outcomes: Sequence[Outcome]) -> dict[str, int | float | None]:
    """Calls in the order they ended, as one step of the moving averages."""
    good = [outcome for outcome in outcomes if outcome.ok]
    values: dict[str, int | float | None] = {
        "calls": len(outcomes),
        "ok": len(good),
        "output_tokens": sum(outcome.output_tokens for outcome in good),
    }
    for name, times in (
        ("latency", [outcome.latency_ms for outcome in good]),
        ("ttft", [outcome.ttft_ms for outcome in good]),
    ):
        known = [ms for ms in times if ms is not None]
        keep, add = 1.0, 0.0
        for ms in known:
            keep *= _KEEP
            add = add * _KEEP + ms * _TAKE
        values |= {
            f"{name}_first": known[0] if known else None,
            f"{name}_keep": keep,
            f"{name}_add": add,
        }
    return values
