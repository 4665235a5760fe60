"""Day, hour and latency rollups, written in the ledger's own transactions.

Reports read these tables only: their size follows days and models, not requests. Days are days
in the user's zone, kept in ``meta``; ``store/rebuild.py`` makes them anew when it changes, in
tables of their own (``_next``), which calls that it has already counted are then added to too.
"""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass

from omni_cli.domain.analytics import latency_bucket
from omni_cli.domain.ledger import AttemptEnd, AttemptRow, RequestRow
from omni_cli.domain.periods import local_day
from omni_cli.store.connection import Store
from omni_cli.store.rollup_sql import (
    BASELINE,
    DAY,
    HOUR,
    HOUR_MS,
    LATENCY,
    LATENCY_SCOPE,
    ROLLUPS,
    Rollup,
    pour,
    register,
)

ZONE_KEY = "zone"
REBUILD_KEY = "rollup_rebuild"

_SUFFIXES = ("", "_next")
_ADD = {(rollup, suffix): rollup.upsert(suffix) for rollup in ROLLUPS for suffix in _SUFFIXES}
_NOTHING = {rollup: dict.fromkeys(rollup.values, 0) for rollup in (DAY, HOUR)}
#: (suffix, zone) of each set of tables.
_Targets = list[tuple[str, str]]
_STATE = "SELECT key, value FROM meta WHERE key IN (:zone, :rebuild)"
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


_LAST_ID = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class Building:
    """A rebuild under way: requests up to id ``done`` are counted in the ``_next`` tables."""

    zone: str
    done: int

    def text(self) -> str:
        return json.dumps({"zone": self.zone, "done": self.done})


class RollupStore:
    def __init__(self, store: Store) -> None:
        self._store = store

    @property
    def zone(self) -> str:
        """The zone whose days the rollups hold."""
        return self._state()[0]

    @property
    def building(self) -> Building | None:
        """The rebuild that is under way, in this process or another."""
        return self._state()[1]

    def _state(self) -> tuple[str, Building | None]:
        # Read anew each time: another process may be rebuilding, and this is its transaction's
        # view of how far it is.
        rows = self._store.db.execute(_STATE, {"zone": ZONE_KEY, "rebuild": REBUILD_KEY})
        found: dict[str, str] = dict(rows)
        text = found.get(REBUILD_KEY)
        return found.get(ZONE_KEY, "UTC"), None if text is None else Building(**json.loads(text))

    def _targets(self, request: int) -> _Targets:
        """Of the tables that count this request."""
        zone, building = self._state()
        if building is None or request > building.done:
            return [("", zone)]
        return [("", zone), ("_next", building.zone)]

    @contextlib.contextmanager
    def recounting(self, *requests: int) -> Iterator[None]:
        """Count requests anew after any change to their rows, made inside in one transaction.

        For all that happens to a settled request: prices corrected or filled in, estimates
        replaced, an attempt settled late. Exact whatever changes. Rows that are written inside
        are counted once; many at a time cost far less each than one.
        """
        with self._store.transaction() as db:
            register(db)
            zone, building = self._state()
            targets = [("", zone, _LAST_ID)]
            if building is not None:
                targets.append(("_next", building.zone, building.done))
            ids = json.dumps(requests)
            for sign in (-1, 1):
                for suffix, days_of, last in targets:
                    pour(
                        db,
                        where="r.id IN (SELECT value FROM json_each(:ids)) AND r.id <= :last",
                        values={"ids": ids, "last": last},
                        zone=days_of,
                        suffix=suffix,
                        sign=sign,
                    )
                if sign < 0:
                    yield

    def add_attempt(self, request: RequestRow, attempt: AttemptRow, end: AttemptEnd) -> None:
        """Count one settled attempt: its tokens, money and failure."""
        failed = int(end.state != "ok")
        cost = end.cost_nusd or 0
        estimated = int(end.usage.estimated)
        self._add(
            request,
            self._targets(request.id),
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
        spent = (request.cost_nusd or 0) + request.adjusted_nusd
        compared = int(is_compared(request))
        timed = ok and request.latency_ms is not None
        targets = self._targets(request.id)
        self._add(
            request,
            targets,
            request.provider,
            request.model,
            calls=1,
            ok=ok,
            premium_nusd=(request.premium_cost_nusd or 0) * compared,
            compared_nusd=spent * compared,
            compared_calls=compared,
            unanswered_nusd=spent * (1 - ok) * (1 - compared),
            latency_ms=(request.latency_ms or 0) if timed else 0,
            latency_calls=int(timed),
        )
        if timed and request.latency_ms is not None:
            bucket = latency_bucket(request.latency_ms)
            for rollup in (LATENCY, LATENCY_SCOPE):
                self._add_once(request, targets, rollup, bucket=bucket, calls=1)
        if compared:
            self._add_once(
                request,
                targets,
                BASELINE,
                premium_model=request.premium_model or "",
                compared_calls=1,
                premium_nusd=request.premium_cost_nusd,
            )
        if request.model and request.source not in ("import", "cache"):
            self._store.db.execute(
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

    def _add(
        self, request: RequestRow, targets: _Targets, provider: str, model: str, **values: int
    ) -> None:
        execute = self._store.db.execute
        day: dict[str, int | str | None] = {
            **_NOTHING[DAY],
            **values,
            "source": request.source,
            "org": request.org,
            "key": request.key,
            "provider": provider,
            "model": model,
            "role": request.role,
            "agent": request.agent,
            "task": request.task,
        }
        hour = {name: day[name] for name in (*HOUR.key[1:], *HOUR.values)}
        hour["hour"] = request.created_at // HOUR_MS
        for suffix, zone in targets:
            day["day"] = local_day(request.created_at, zone)
            execute(_ADD[DAY, suffix], dict(day))
            execute(_ADD[HOUR, suffix], hour)

    def _add_once(
        self,
        request: RequestRow,
        targets: _Targets,
        rollup: Rollup,
        **values: int | str | None,
    ) -> None:
        """Add one row's values by the request's day; other keys are the request's own."""
        own = {
            name: getattr(request, name)
            for name in rollup.key
            if name != "day" and name not in values
        }
        for suffix, zone in targets:
            day = local_day(request.created_at, zone)
            self._store.db.execute(_ADD[rollup, suffix], {**own, **values, "day": day})


def is_compared(request: RequestRow) -> bool:
    """Whether what the request cost and what the premium model would have cost are both known."""
    return (
        request.premium_cost_nusd is not None
        and request.cost_nusd is not None
        and request.price_state != "unknown"
    )
