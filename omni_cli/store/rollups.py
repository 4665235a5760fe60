"""Day, hour and latency rollups, written in the ledger's own transactions.

Reports read these tables only: their size follows days and models, not requests. Days are days
in the user's zone, kept in ``meta``; ``store/rebuild.py`` makes them anew when it changes, in
tables of their own (``_next``), which calls that it has already counted are then added to too.
"""

import contextlib
import json
from collections.abc import Iterator, Mapping

from msgspec import Struct

from omni_cli.domain.ledger import AttemptEnd, AttemptRow, RequestRow
from omni_cli.domain.periods import local_day
from omni_cli.repositories import Lock
from omni_cli.store.connection import Store
from omni_cli.store.rollup_counts import (
    ATTEMPT_SUMS,
    REQUEST_SUMS,
    Counts,
    Outcome,
    Scope,
    Targets,
    attempt_sums,
    folded,
)
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
_STATE = "SELECT key, value FROM meta WHERE key IN (?, ?)"
#: Several calls at once: each average decays by ``keep`` and takes ``add`` in; ``first`` stands for
#: what it was before where there was none.
_ADD_STATS = """
INSERT INTO model_stats (model, task, calls, ok, output_tokens, latency_ewma_ms, ttft_ewma_ms)
VALUES (:model, :task, :calls, :ok, :output_tokens, :latency_first * :latency_keep + :latency_add,
        :ttft_first * :ttft_keep + :ttft_add)
ON CONFLICT (model, task) DO UPDATE SET
    calls = calls + excluded.calls, ok = ok + excluded.ok,
    output_tokens = output_tokens + excluded.output_tokens,
    latency_ewma_ms = coalesce(latency_ewma_ms, :latency_first) * :latency_keep + :latency_add,
    ttft_ewma_ms = coalesce(ttft_ewma_ms, :ttft_first) * :ttft_keep + :ttft_add
"""


_LAST_ID = (1 << 63) - 1


class Building(Struct, frozen=True):
    """A rebuild under way: requests up to id ``done`` are counted in the ``_next`` tables."""

    zone: str
    done: int

    def text(self) -> str:
        return json.dumps({"zone": self.zone, "done": self.done})


class Counting(Struct, frozen=True):
    """Which tables count as one transaction sees it. ``zone``: whose days the rollups hold;
    ``building``: the rebuild that is under way, in this process or another."""

    zone: str
    building: Building | None

    def targets(self, request: int) -> Targets:
        """Of the tables that count this request."""
        building = self.building
        if building is None or request > building.done:
            return [("", self.zone)]
        return [("", self.zone), ("_next", building.zone)]


class RollupStore:
    def __init__(self, store: Store) -> None:
        self._store = store

    @property
    def zone(self) -> str:
        """The zone whose days the rollups hold."""
        return self.counting().zone

    @property
    def building(self) -> Building | None:
        """The rebuild that is under way, in this process or another."""
        return self.counting().building

    def counting(self) -> Counting:
        """Read anew in each transaction: another process may be rebuilding."""
        rows = self._store.db.execute(_STATE, (ZONE_KEY, REBUILD_KEY))
        found: dict[str, str] = dict(rows)
        text = found.get(REBUILD_KEY)
        building = None if text is None else Building(**json.loads(text))
        return Counting(found.get(ZONE_KEY, "UTC"), building)

    @contextlib.contextmanager
    def recounting(self, *requests: int) -> Iterator[None]:
        """Count requests anew after any change to their rows, made inside in one transaction.

        For all that happens to a settled request: prices corrected or filled in, estimates
        replaced, an attempt settled late. Exact whatever changes. Rows that are written inside
        are counted once; many at a time cost far less each than one.
        """
        with self._store.transaction(Lock.LEDGER) as db:
            register(db)
            counting = self.counting()
            building = counting.building
            targets = [("", counting.zone, _LAST_ID)]
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
        values = dict(zip(ATTEMPT_SUMS, attempt_sums(end), strict=True))
        targets = self.counting().targets(request.id)
        self._add(request, targets, attempt.provider, attempt.model, values)

    def add_request(self, request: RequestRow) -> None:
        """Count one settled request under the model that answered it."""
        if request.state == "refused":
            return
        counts = Counts(
            request, self.counting().targets(request.id), request.provider, request.model
        )
        spent = (request.cost_nusd or 0) + request.adjusted_nusd
        counts.add_request(
            Outcome(
                ok=request.state == "ok",
                spent_nusd=spent,
                compared=is_compared(request),
                premium_model=request.premium_model,
                premium_nusd=request.premium_cost_nusd,
                output_tokens=request.usage.output_tokens,
                latency_ms=request.latency_ms,
                ttft_ms=request.ttft_ms,
            )
        )
        self.add(counts)

    def add(self, counts: "Counts") -> None:
        """Count settled calls of one scope and model."""
        scope, targets, model = counts.scope, counts.targets, counts.model
        sums = dict(zip((*ATTEMPT_SUMS, *REQUEST_SUMS), counts.sums, strict=True))
        self._add(scope, targets, counts.provider, model, sums)
        own = {
            name: getattr(scope, name)
            for name in LATENCY_SCOPE.key
            if name not in ("day", "provider", "model", "bucket")
        }
        own |= {"provider": counts.provider, "model": model}
        for bucket, calls in counts.buckets.items():
            for rollup in (LATENCY, LATENCY_SCOPE):
                values = {**own, "bucket": bucket, "calls": calls}
                self._add_by_day(scope.created_at, targets, rollup, values)
        for premium, (calls, nusd) in counts.compared.items():
            values = {"premium_model": premium, "compared_calls": calls, "premium_nusd": nusd}
            self._add_by_day(scope.created_at, targets, BASELINE, values)
        if counts.stats and model and scope.source not in ("import", "cache"):
            self._store.db.execute(
                _ADD_STATS, {"model": model, "task": scope.task, **folded(counts.stats)}
            )

    def _add(
        self,
        scope: Scope,
        targets: Targets,
        provider: str,
        model: str,
        values: Mapping[str, int],
    ) -> None:
        execute = self._store.db.execute
        day: dict[str, int | str | None] = {
            **_NOTHING[DAY],
            **values,
            "source": scope.source,
            "org": scope.org,
            "key": scope.key,
            "provider": provider,
            "model": model,
            "role": scope.role,
            "agent": scope.agent,
            "task": scope.task,
        }
        hour = {name: day[name] for name in (*HOUR.key[1:], *HOUR.values)}
        hour["hour"] = scope.created_at // HOUR_MS
        for suffix, zone in targets:
            day["day"] = local_day(scope.created_at, zone)
            execute(_ADD[DAY, suffix], day)
            execute(_ADD[HOUR, suffix], hour)

    def _add_by_day(
        self, at_ms: int, targets: Targets, rollup: Rollup, values: Mapping[str, int | str | None]
    ) -> None:
        for suffix, zone in targets:
            self._store.db.execute(_ADD[rollup, suffix], {**values, "day": local_day(at_ms, zone)})


def is_compared(request: RequestRow) -> bool:
    """Whether what the request cost and what the premium model would have cost are both known."""
    return (
        request.premium_cost_nusd is not None
        and request.cost_nusd is not None
        and request.price_state != "unknown"
    )
