"""Day, hour and latency rollups, written in the ledger's own transactions.

Reports read these tables only: their size follows days and models, not requests. Days are days
in the user's zone, kept in ``meta`` and rebuilt by ``rebuild`` when it changes.
"""

import math

from omni_cli.domain.ledger import AttemptEnd, AttemptRow, RequestRow
from omni_cli.domain.periods import local_day
from omni_cli.store.connection import Store

ZONE_KEY = "zone"
#: Latency buckets grow by 2**(1/4), some 19 %: percentiles are off by at most 9 %.
BUCKETS_PER_DOUBLING = 4

_KEY = "day, source, org, key, provider, model, role, agent, task"
_VALUES = (
    "calls",
    "ok",
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
    "premium_nusd",
    "compared_nusd",
    "latency_ms",
    "latency_calls",
)
_HOUR_VALUES = (
    "calls",
    "attempts",
    "failed_attempts",
    "input_tokens",
    "output_tokens",
    "cost_nusd",
    "latency_ms",
    "latency_calls",
)


def _upsert(table: str, key: str, values: tuple[str, ...]) -> str:
    names = [*key.split(", "), *values]
    sums = ", ".join(f"{name} = {name} + excluded.{name}" for name in values)
    marks = ", ".join(f":{name}" for name in names)
    return (
        f"INSERT INTO {table} ({', '.join(names)}) VALUES ({marks})"  # noqa: S608  # our names
        f" ON CONFLICT ({key}) DO UPDATE SET {sums}"
    )


_ADD_DAY = _upsert("rollup_day", _KEY, _VALUES)
_ADD_HOUR = _upsert("rollup_hour", "hour, provider, model", _HOUR_VALUES)
_ADD_LATENCY = _upsert("rollup_latency", "day, provider, model, bucket", ("calls",))
_ADD_STATS = """
INSERT INTO model_stats (model, task, calls, ok, output_tokens, latency_ewma_ms, ttft_ewma_ms)
VALUES (:model, :task, 1, :ok, :output_tokens, :latency_ms, :ttft_ms)
ON CONFLICT (model, task) DO UPDATE SET
    calls = calls + 1, ok = ok + excluded.ok,
    output_tokens = output_tokens + excluded.output_tokens,
    latency_ewma_ms = CASE WHEN excluded.latency_ewma_ms IS NULL THEN latency_ewma_ms
        ELSE coalesce(latency_ewma_ms, excluded.latency_ewma_ms) * 0.9
             + excluded.latency_ewma_ms * 0.1 END,
    ttft_ewma_ms = CASE WHEN excluded.ttft_ewma_ms IS NULL THEN ttft_ewma_ms
        ELSE coalesce(ttft_ewma_ms, excluded.ttft_ewma_ms) * 0.9
             + excluded.ttft_ewma_ms * 0.1 END
"""


def latency_bucket(latency_ms: int) -> int:
    """Index of the bucket that holds a latency; 0 ms shares the bucket of 1 ms."""
    return math.floor(math.log2(max(latency_ms, 1)) * BUCKETS_PER_DOUBLING)


def bucket_latency_ms(bucket: int) -> float:
    """The bucket's geometric middle."""
    return float(2 ** ((bucket + 0.5) / BUCKETS_PER_DOUBLING))


class RollupStore:
    def __init__(self, store: Store) -> None:
        self._store = store

    @property
    def zone(self) -> str:
        """The zone whose days the rollups hold."""
        return self._store.get_meta(ZONE_KEY) or "UTC"

    def add_attempt(self, request: RequestRow, attempt: AttemptRow, end: AttemptEnd) -> None:
        """Count one settled attempt: its tokens, money and failure."""
        failed = int(end.state != "ok")
        cost = end.cost_nusd or 0
        estimated = int(end.usage.estimated)
        self._add(
            request,
            attempt.provider,
            attempt.model,
            attempts=1,
            failed_attempts=failed,
            unknown_attempts=int(end.cost_nusd is None),
            estimated_attempts=estimated,
            input_tokens=end.usage.input_tokens,
            cached_tokens=end.usage.cached_tokens,
            cache_write_tokens=end.usage.cache_write_tokens,
            output_tokens=end.usage.output_tokens,
            reasoning_tokens=end.usage.reasoning_tokens,
            cost_nusd=cost,
            input_cost_nusd=end.input_cost_nusd or 0,
            estimated_nusd=cost * estimated,
            failed_nusd=cost * failed,
        )

    def add_request(self, request: RequestRow) -> None:
        """Count one settled request under the model that answered it."""
        if request.state == "refused":
            return
        ok = int(request.state == "ok")
        compared = request.premium_cost_nusd is not None and request.total_nusd is not None
        timed = ok and request.latency_ms is not None
        self._add(
            request,
            request.provider,
            request.model,
            calls=1,
            ok=ok,
            premium_nusd=(request.premium_cost_nusd or 0) if compared else 0,
            compared_nusd=(request.total_nusd or 0) if compared else 0,
            latency_ms=(request.latency_ms or 0) if timed else 0,
            latency_calls=int(timed),
        )
        db = self._store.db
        if timed and request.latency_ms is not None:
            db.execute(
                _ADD_LATENCY,
                {
                    "day": local_day(request.created_at, self.zone),
                    "provider": request.provider,
                    "model": request.model,
                    "bucket": latency_bucket(request.latency_ms),
                    "calls": 1,
                },
            )
        if request.model and request.source != "import":
            db.execute(
                _ADD_STATS,
                {
                    "model": request.model,
                    "task": request.task,
                    "ok": ok,
                    "output_tokens": request.usage.output_tokens if ok else 0,
                    "latency_ms": request.latency_ms if ok else None,
                    "ttft_ms": request.ttft_ms if ok else None,
                },
            )

    def add_adjustment(
        self, request: RequestRow, provider: str, model: str, delta_nusd: int, **others: int
    ) -> None:
        """Count a correction on the day of the request that it corrects; ``others`` are changes
        of the rollup's other columns that come with it."""
        self._add(request, provider, model, cost_nusd=delta_nusd, **others)

    def _add(self, request: RequestRow, provider: str, model: str, **values: int) -> None:
        db = self._store.db
        shared = {"provider": provider, "model": model}
        db.execute(
            _ADD_DAY,
            {
                **dict.fromkeys(_VALUES, 0),
                **values,
                **shared,
                "day": local_day(request.created_at, self.zone),
                "source": request.source,
                "org": request.org,
                "key": request.key,
                "role": request.role,
                "agent": request.agent,
                "task": request.task,
            },
        )
        db.execute(
            _ADD_HOUR,
            {
                **dict.fromkeys(_HOUR_VALUES, 0),
                **{name: value for name, value in values.items() if name in _HOUR_VALUES},
                **shared,
                "hour": request.created_at // 3_600_000,
            },
        )
