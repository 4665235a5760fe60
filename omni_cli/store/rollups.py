"""Day, hour and latency rollups, written in the ledger's own transactions.

Reports read these tables only: their size follows days and models, not requests. Days are days
in the user's zone, kept in ``meta``; ``store/rebuild.py`` makes them anew when it changes, in
tables of their own (``_next``), which calls that it has already counted are then added to too.

What a call adds is worked out twice: from its end, as it is settled (``attempt_sums``, ``Counts``),
and from the ledger's rows, in SQL (``pour``). The second defines it; ``RollupRebuild.check``
compares them, and the tests prove that they come to the same.
"""

import contextlib
import json
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from msgspec import Struct

from omni_cli.domain.analytics import TOTALS_FIELDS, latency_bucket
from omni_cli.domain.chat import TOKEN_FIELDS, Usage
from omni_cli.domain.ledger import (
    EVALUATION,
    FOREIGN,
    AttemptEnd,
    AttemptRow,
    NewRequest,
    RequestRow,
)
from omni_cli.domain.periods import HOUR_MS, local_day
from omni_cli.records import Lock
from omni_cli.store.port import ZONE_KEY, Connection, Table, among
from omni_cli.store.rows import getter
from omni_cli.store.schema import (
    BASELINE,
    DAY,
    HOUR,
    LATENCY,
    LATENCY_SCOPE,
    ROLLUPS,
    SESSION,
    Rollup,
)

REBUILD_KEY = "rollup_rebuild"
_QUARTER_MS = HOUR_MS // 4
_LAST_ID = (1 << 63) - 1
_ZEROS = {rollup.table: dict.fromkeys(rollup.values, 0) for rollup in ROLLUPS}
#: By table, each as it is first written.
_UPSERTS = {rollup.table: cache(rollup.upsert) for rollup in ROLLUPS}

# --- what one call adds, as it is settled -----------------------------------------------------

#: (suffix, zone) of each set of tables.
Targets = list[tuple[str, str]]
#: What a call is counted under beside its model.
Scope = RequestRow | NewRequest
#: How much of a moving average each new call leaves.
_KEEP, _TAKE = 0.9, 0.1
#: Kinds of tokens that reports add up: those of Totals.
_TOKENS = tuple(name for name in TOKEN_FIELDS if name in TOTALS_FIELDS)
_tokens_of = getter(Usage, _TOKENS)
ATTEMPT_SUMS = (
    "attempts",
    "failed_attempts",
    "unknown_attempts",
    "estimated_attempts",
    *_TOKENS,
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
        *_tokens_of(usage),
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
            f"{name}_start": known[0] * keep + add if known else None,
        }
    return values


# --- what the ledger's rows add up to, in SQL -------------------------------------------------


def _if(condition: str, value: str = "1") -> str:
    return f"sum(CASE WHEN {condition} THEN {value} ELSE 0 END)"


_FAILED = "a.state <> 'ok'"
_COST = "coalesce(a.cost_nusd, 0)"
_ATTEMPT_VALUES = {
    "attempts": "count(*)",
    "failed_attempts": _if(_FAILED),
    # An attempt whose unknown price was filled in later has a correction that holds its cost.
    "unknown_attempts": _if(
        "a.cost_nusd IS NULL AND NOT EXISTS (SELECT 1 FROM adjustments j"
        " WHERE j.request = a.request AND j.n = a.n)"
    ),
    "estimated_attempts": "sum(a.estimated)",
    **{name: f"sum(a.{name})" for name in _TOKENS},
    "cost_nusd": f"sum({_COST})",
    "input_cost_nusd": "sum(coalesce(a.input_cost_nusd, 0))",
    "estimated_nusd": f"sum({_COST} * a.estimated)",
    "failed_nusd": _if(_FAILED, _COST),
}
_ADJUSTMENT_VALUES = {
    "cost_nusd": "sum(j.delta_nusd)",
    "estimated_nusd": "sum(j.delta_nusd * a.estimated)",
    "failed_nusd": _if(_FAILED, "j.delta_nusd"),
}
_COMPARED = (
    "r.premium_cost_nusd IS NOT NULL AND r.cost_nusd IS NOT NULL"
    " AND coalesce(r.price_state, '') <> 'unknown'"
)
#: A baseline is what routed requests were compared with.
_UNROUTED = ", ".join(f"'{name}'" for name in sorted(EVALUATION | FOREIGN))
_TIMED = "r.state = 'ok' AND r.latency_ms IS NOT NULL"
_SPENT = "coalesce(r.cost_nusd, 0) + r.adjusted_nusd"
_REQUEST_VALUES = {
    "calls": "count(*)",
    "ok": _if("r.state = 'ok'"),
    "premium_nusd": _if(_COMPARED, "r.premium_cost_nusd"),
    "compared_nusd": _if(_COMPARED, _SPENT),
    "compared_calls": _if(_COMPARED),
    "unanswered_nusd": _if(f"r.state <> 'ok' AND NOT ({_COMPARED})", _SPENT),
    "latency_ms": _if(_TIMED, "r.latency_ms"),
    "latency_calls": _if(_TIMED),
}
# CROSS JOIN fixes the order: from a range of requests to their few attempts.
_ATTEMPTS = (
    "FROM requests r CROSS JOIN attempts a"
    " WHERE a.request = r.id AND a.state NOT IN ('planned', 'sent', 'unsent')"
)
_REQUESTS = "FROM requests r WHERE r.state NOT IN ('pending', 'refused')"
_ADJUSTMENTS = (
    "FROM requests r CROSS JOIN adjustments j CROSS JOIN attempts a"
    " WHERE j.request = r.id AND a.request = j.request AND a.n = j.n"
)
#: By what rows are grouped for a column of a key. A day is one of the user's zone, and a bucket is
#: of a scale of ours: both are made of these afterwards, and an hour is of its quarters.
_KEYS = {
    "day": f"r.created_at / {_QUARTER_MS}",
    "bucket": "r.latency_ms",
    "premium_model": "coalesce(r.premium_model, '')",
}
_TOTALS = (DAY, HOUR, SESSION)
#: Rollups, what their sums are, of which rows, and whose provider and model count.
_POURED: tuple[tuple[tuple[Rollup, ...], Mapping[str, str], str, str], ...] = (
    (_TOTALS, _ATTEMPT_VALUES, _ATTEMPTS, "a"),
    (_TOTALS, _REQUEST_VALUES, _REQUESTS, "r"),
    (_TOTALS, _ADJUSTMENT_VALUES, _ADJUSTMENTS, "a"),
    ((LATENCY, LATENCY_SCOPE), {"calls": "count(*)"}, f"{_REQUESTS} AND {_TIMED}", "r"),
    (
        (BASELINE,),
        _REQUEST_VALUES,
        f"{_REQUESTS} AND {_COMPARED} AND r.source NOT IN ({_UNROUTED})",
        "r",
    ),
)
_Picks = Callable[[Sequence[Any]], tuple[Any, ...]]


class _Select(Struct, frozen=True):
    """One look at the rows for several rollups, grouped by all that their keys hold.

    ``bucket``: where a row has its latency. Of each rollup: its key and its sums in a row, once its
    quarter has become a day and an hour, and the names of both.
    """

    sql: str
    bucket: int | None
    into: tuple[tuple[Rollup, _Picks, _Picks, tuple[str, ...]], ...]


def _select(
    rollups: tuple[Rollup, ...], values: Mapping[str, str], rows: str, model: str
) -> _Select:
    keys = list(dict.fromkeys(n for rollup in rollups for n in rollup.key if n != "hour"))
    found = ["day", "hour", *keys[1:], *values]
    columns = [
        _KEYS.get(name) or f"{model if name in ('provider', 'model') else 'r'}.{name}"
        for name in keys
    ]
    groups = ", ".join(str(n + 1) for n in range(len(keys)))
    into = []
    for rollup in rollups:
        sums = tuple(name for name in rollup.values if name in values)
        key_of, sums_of = (_picks([found.index(n) for n in part]) for part in (rollup.key, sums))
        into.append((rollup, key_of, sums_of, (*rollup.key, *sums)))
    return _Select(
        f"SELECT {', '.join([*columns, *values.values()])} {rows} AND {{where}} GROUP BY {groups}",
        found.index("bucket") if "bucket" in found else None,
        tuple(into),
    )


def _picks(places: Sequence[int]) -> _Picks:
    if len(places) > 1:
        return operator.itemgetter(*places)
    (place,) = places
    return lambda row: (row[place],)


_SELECTS = [_select(*poured) for poured in _POURED]
#: Of imported calls, which have one attempt each, of the request's own model, and no premium one:
#: what all of the above come to, in two looks.
_IMPORTED = [
    _select(
        _TOTALS,
        {**_ATTEMPT_VALUES, **_REQUEST_VALUES},
        "FROM requests r CROSS JOIN attempts a WHERE a.request = r.id",
        "r",
    ),
    _SELECTS[3],
]


def pour(
    db: Connection,
    *,
    where: str,
    values: Mapping[str, object],
    zone: str,
    suffix: str = "",
    sign: int = 1,
    selects: Sequence[_Select] = _SELECTS,
) -> None:
    """Add what some requests sum up to into the rollup tables with this suffix.

    Args:
        where: a condition on ``r``, the requests, with named parameters from ``values``.
        zone: the zone whose days count.
        sign: -1 takes the sums out again.
        selects: what is added up; less than all where it is known that nothing else is there.
    """
    for select in selects:
        looked = db.execute(select.sql.replace("{where}", where), values)
        _add_up(db, select, looked, zone, suffix, sign)


def _add_up(
    db: Connection,
    select: _Select,
    looked: Iterable[Sequence[Any]],
    zone: str,
    suffix: str = "",
    sign: int = 1,
) -> None:
    """Add the rows that a look has found."""
    days: dict[int, int] = {}

    def day_of(quarter: int) -> int:
        """The day of a quarter of an hour, which is never in two days of any zone."""
        day = days.get(quarter)
        if day is None:
            day = days[quarter] = local_day(quarter * _QUARTER_MS, zone)
        return day

    rows = []
    for quarter, *others in looked:
        row = [day_of(quarter), quarter * _QUARTER_MS // HOUR_MS, *others]
        if select.bucket is not None:
            row[select.bucket] = latency_bucket(row[select.bucket])
        rows.append(row)
    for rollup, key_of, sums_of, names in select.into:
        groups: dict[tuple[object, ...], tuple[int, ...]] = {}
        for found in rows:
            key, sums = key_of(found), sums_of(found)
            known = groups.get(key)
            groups[key] = sums if known is None else tuple(map(operator.add, known, sums))
        db.executemany(
            _UPSERTS[rollup.table](suffix),
            [
                {
                    **_ZEROS[rollup.table],
                    **dict(zip(names, (*key, *(sign * value for value in sums)), strict=True)),
                }
                for key, sums in groups.items()
                if rollup is not SESSION or any(key[1:3])  # session, project
            ],
        )


_KEY = tuple(dict.fromkeys(name for rollup in _TOTALS for name in rollup.key))[1:]


def _imported_sums(
    requests: Mapping[str, Sequence[Any]], of_input: Sequence[int | None]
) -> Iterator[tuple[Any, ...]]:
    """What ``_IMPORTED[0]`` finds of new imported calls whose columns are at hand, without a look
    at the rows. ``of_input``: the part of each cost that is for input."""
    ok = [state == "ok" for state in requests["state"]]
    failed = [not fine for fine in ok]
    timed = [ms is not None and fine for ms, fine in zip(requests["latency_ms"], ok, strict=True)]
    costs = [cost or 0 for cost in requests["cost_nusd"]]
    of_failed = list(map(operator.mul, costs, failed))
    columns: dict[str, Sequence[int]] = {
        "failed_attempts": failed,
        "unknown_attempts": [cost is None for cost in requests["cost_nusd"]],
        "estimated_attempts": requests["estimated"],
        **{name: requests[name] for name in _TOKENS},
        "cost_nusd": costs,
        "input_cost_nusd": [cost or 0 for cost in of_input],
        "estimated_nusd": list(map(operator.mul, costs, requests["estimated"])),
        "failed_nusd": of_failed,
        "ok": ok,
        "unanswered_nusd": of_failed,
        "latency_ms": [
            ms if use else 0 for ms, use in zip(requests["latency_ms"], timed, strict=True)
        ],
        "latency_calls": timed,
    }
    used = [(name, columns.get(name)) for name in (*ATTEMPT_SUMS, *REQUEST_SUMS)]
    kept = [column if column and any(column) else name for name, column in used]
    named = ("provider", "model", "agent", "session", "project")
    quarters = [at // _QUARTER_MS for at in requests["created_at"]]
    groups: dict[tuple[Any, ...], list[int]] = {}
    for place, key in enumerate(zip(quarters, *(requests[n] for n in named), strict=True)):
        groups.setdefault(key, []).append(place)
    for (quarter, *words), places in groups.items():
        whose = {"source": "import", **dict(zip(named, words, strict=True))}
        yield (
            quarter,
            *(whose.get(name, "") for name in _KEY if name != "hour"),
            *(
                len(places) * (column in ("attempts", "calls"))
                if isinstance(column, str)
                else sum([column[place] for place in places])
                for column in kept
            ),
        )


# --- the tables --------------------------------------------------------------------------------

_NOTHING = dict.fromkeys(DAY.values, 0)
_STATE = "SELECT key, value FROM meta WHERE key IN (?, ?)"
#: Several calls at once: each average decays by ``keep`` and takes ``add`` in; ``first`` stands for
#: what it was before where there was none.
_ADD_STATS = """
INSERT INTO model_stats (model, task, calls, ok, output_tokens, latency_ewma_ms, ttft_ewma_ms)
VALUES (:model, :task, :calls, :ok, :output_tokens, :latency_start, :ttft_start)
ON CONFLICT (model, task) DO UPDATE SET
    calls = model_stats.calls + excluded.calls, ok = model_stats.ok + excluded.ok,
    output_tokens = model_stats.output_tokens + excluded.output_tokens,
    latency_ewma_ms =
        coalesce(model_stats.latency_ewma_ms, :latency_first) * :latency_keep + :latency_add,
    ttft_ewma_ms = coalesce(model_stats.ttft_ewma_ms, :ttft_first) * :ttft_keep + :ttft_add
"""


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


class RollupStore(Table):
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

    def count_imported(
        self, requests: Mapping[str, Sequence[Any]], of_input: Sequence[int | None]
    ) -> None:
        """Count imported requests that were written just now and have no other rows.

        Args:
            requests: their columns.
            of_input: the part of each cost that is for input, nano-dollars.
        """
        with self._store.transaction(Lock.LEDGER) as db:
            targets = self._targets()
            selects = _IMPORTED
            if len(targets) == 1:  # else a rebuild has counted a part of all requests
                suffix, zone, _ = targets[0]
                _add_up(db, _IMPORTED[0], _imported_sums(requests, of_input), zone, suffix)
                is_timed = any(ms is not None for ms in requests["latency_ms"])
                selects = _IMPORTED[1:] if is_timed else []
            self._pour(db, list(requests["id"]), targets, 1, selects)

    @contextlib.contextmanager
    def recounting(self, *requests: int) -> Iterator[None]:
        """Count requests anew after any change to their rows, made inside in one transaction.

        For all that happens to a settled request: prices corrected or filled in, estimates
        replaced, an attempt settled late. Exact whatever changes. Rows that are written inside
        are counted once; many at a time cost far less each than one.
        """
        with self._store.transaction(Lock.LEDGER) as db:
            targets = self._targets()
            self._pour(db, requests, targets, -1)
            yield
            self._pour(db, requests, targets, 1)

    def _targets(self) -> list[tuple[str, str, int]]:
        """Of each set of tables its suffix, whose days it holds and the last request it counts."""
        counting = self.counting()
        building = counting.building
        targets = [("", counting.zone, _LAST_ID)]
        if building is not None:
            targets.append(("_next", building.zone, building.done))
        return targets

    def _pour(
        self,
        db: Connection,
        requests: Sequence[int],
        targets: Sequence[tuple[str, str, int]],
        sign: int,
        selects: Sequence[_Select] = _SELECTS,
    ) -> None:
        ids = json.dumps(requests)
        for suffix, zone, last in targets:
            pour(
                db,
                where=f"r.id {among(':ids')} AND r.id <= :last",
                values={"ids": ids, "last": last},
                zone=zone,
                suffix=suffix,
                sign=sign,
                selects=selects,
            )

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

    def add(self, counts: Counts) -> None:
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
            **_NOTHING,
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
            execute(_UPSERTS[DAY.table](suffix), day)
            execute(_UPSERTS[HOUR.table](suffix), hour)
            if scope.session or scope.project:
                named = {**day, "session": scope.session, "project": scope.project}
                execute(_UPSERTS[SESSION.table](suffix), named)

    def _add_by_day(
        self, at_ms: int, targets: Targets, rollup: Rollup, values: Mapping[str, int | str | None]
    ) -> None:
        for suffix, zone in targets:
            self._store.db.execute(
                _UPSERTS[rollup.table](suffix), {**values, "day": local_day(at_ms, zone)}
            )


def is_compared(request: RequestRow) -> bool:
    """Whether what the request cost and what the premium model would have cost are both known."""
    return (
        request.premium_cost_nusd is not None
        and request.cost_nusd is not None
        and request.price_state != "unknown"
    )
