"""What rollups hold, as SQL: how one call is added, and how the ledger's rows sum up.

The sums here define the rollups. What the ledger adds call by call must come to the same, which
``RollupRebuild.check`` compares and the tests prove.
"""

from collections.abc import Mapping
from sqlite3 import Connection

from msgspec import Struct

from omni_cli.domain.analytics import TOTALS_FIELDS, latency_bucket
from omni_cli.domain.ledger import EVALUATION, FOREIGN
from omni_cli.domain.periods import local_day


class Rollup(Struct, frozen=True):
    """A table of sums: ``key`` and ``values`` are its columns, in the table's order."""

    table: str
    key: tuple[str, ...]
    values: tuple[str, ...]

    def upsert(self, suffix: str, source: str | None = None) -> str:
        """Add to the sums of ``table + suffix``, from named parameters or a SELECT."""
        names = [*self.key, *self.values]
        sums = ", ".join(f"{name} = {name} + excluded.{name}" for name in self.values)
        rows = source or f"VALUES ({', '.join(f':{name}' for name in names)})"
        return (
            f"INSERT INTO {self.table}{suffix} ({', '.join(names)}) {rows}"
            f" ON CONFLICT ({', '.join(self.key)}) DO UPDATE SET {sums}"
        )


DIMENSIONS = ("source", "org", "key", "provider", "model", "role", "agent", "task")
DAY = Rollup("rollup_day", ("day", *DIMENSIONS), TOTALS_FIELDS)
HOUR = Rollup(
    "rollup_hour",
    ("hour", "provider", "model"),
    (
        "calls",
        "attempts",
        "failed_attempts",
        "input_tokens",
        "output_tokens",
        "cost_nusd",
        "latency_ms",
        "latency_calls",
    ),
)
LATENCY = Rollup("rollup_latency", ("day", "provider", "model", "bucket"), ("calls",))
LATENCY_SCOPE = Rollup("rollup_latency_scope", ("day", *DIMENSIONS, "bucket"), ("calls",))
BASELINE = Rollup("rollup_baseline", ("day", "premium_model"), ("compared_calls", "premium_nusd"))
ROLLUPS = (DAY, HOUR, LATENCY, LATENCY_SCOPE, BASELINE)
HOUR_MS = 3_600_000

_ATTEMPT_VALUES = {
    "attempts": "count(*)",
    "failed_attempts": "sum(a.state != 'ok')",
    # An attempt whose unknown price was filled in later has a correction that holds its cost.
    "unknown_attempts": "sum(a.cost_nusd IS NULL AND NOT EXISTS (SELECT 1 FROM adjustments j"
    " WHERE j.request = a.request AND j.n = a.n))",
    "estimated_attempts": "sum(a.estimated)",
    "input_tokens": "sum(a.input_tokens)",
    "cached_tokens": "sum(a.cached_tokens)",
    "cache_write_tokens": "sum(a.cache_write_tokens)",
    "output_tokens": "sum(a.output_tokens)",
    "reasoning_tokens": "sum(a.reasoning_tokens)",
    "cost_nusd": "sum(coalesce(a.cost_nusd, 0))",
    "input_cost_nusd": "sum(coalesce(a.input_cost_nusd, 0))",
    "estimated_nusd": "sum(coalesce(a.cost_nusd, 0) * a.estimated)",
    "failed_nusd": "sum(coalesce(a.cost_nusd, 0) * (a.state != 'ok'))",
}
_ADJUSTMENT_VALUES = {
    "cost_nusd": "sum(j.delta_nusd)",
    "estimated_nusd": "sum(j.delta_nusd * a.estimated)",
    "failed_nusd": "sum(j.delta_nusd * (a.state != 'ok'))",
}
_COMPARED = (
    "(r.premium_cost_nusd IS NOT NULL AND r.cost_nusd IS NOT NULL"
    " AND coalesce(r.price_state, '') != 'unknown')"
)
#: A baseline is what routed requests were compared with.
_UNROUTED = ", ".join(f"'{name}'" for name in sorted(EVALUATION | FOREIGN))
_TIMED = "(r.state = 'ok' AND r.latency_ms IS NOT NULL)"
_SPENT = "(coalesce(r.cost_nusd, 0) + r.adjusted_nusd)"
_REQUEST_VALUES = {
    "calls": "count(*)",
    "ok": "sum(r.state = 'ok')",
    "premium_nusd": f"sum(CASE WHEN {_COMPARED} THEN r.premium_cost_nusd ELSE 0 END)",
    "compared_nusd": f"sum({_COMPARED} * {_SPENT})",
    "compared_calls": f"sum({_COMPARED})",
    "unanswered_nusd": f"sum((r.state != 'ok') * (NOT {_COMPARED}) * {_SPENT})",
    "latency_ms": f"sum(CASE WHEN {_TIMED} THEN r.latency_ms ELSE 0 END)",
    "latency_calls": f"sum({_TIMED})",
}
# CROSS JOIN fixes the order: from a range of requests to their few attempts.
_ATTEMPTS = (
    "FROM requests r CROSS JOIN attempts a ON a.request = r.id"
    " WHERE a.state NOT IN ('planned', 'sent', 'unsent') AND {where}"
)
_REQUESTS = "FROM requests r WHERE r.state NOT IN ('pending', 'refused') AND {where}"
_ADJUSTMENTS = (
    "FROM requests r CROSS JOIN adjustments j ON j.request = r.id"
    " CROSS JOIN attempts a ON a.request = j.request AND a.n = j.n WHERE {where}"
)
_KEYS = {
    "day": "local_day(r.created_at, :zone)",
    "hour": f"r.created_at / {HOUR_MS}",
    "bucket": "latency_bucket(r.latency_ms)",
    "premium_model": "coalesce(r.premium_model, '')",
}


def _sums(rollup: Rollup, suffix: str, values: Mapping[str, str], rows: str, model: str) -> str:
    """``model``: the alias whose provider and model count."""
    keys = [
        _KEYS.get(name) or f"{model if name in ('provider', 'model') else 'r'}.{name}"
        for name in rollup.key
    ]
    wanted = [f":sign * {values[name]}" if name in values else "0" for name in rollup.values]
    groups = ", ".join(str(n + 1) for n in range(len(keys)))
    return rollup.upsert(suffix, f"SELECT {', '.join([*keys, *wanted])} {rows} GROUP BY {groups}")


def _pour_statements(suffix: str) -> list[str]:
    statements = []
    for rollup in (DAY, HOUR):
        statements += [
            _sums(rollup, suffix, _ATTEMPT_VALUES, _ATTEMPTS, "a"),
            _sums(rollup, suffix, _REQUEST_VALUES, _REQUESTS, "r"),
            _sums(rollup, suffix, _ADJUSTMENT_VALUES, _ADJUSTMENTS, "a"),
        ]
    for rollup in (LATENCY, LATENCY_SCOPE):
        rows = f"{_REQUESTS} AND {_TIMED}"
        statements.append(_sums(rollup, suffix, {"calls": "count(*)"}, rows, "r"))
    rows = f"{_REQUESTS} AND {_COMPARED} AND r.source NOT IN ({_UNROUTED})"
    statements.append(_sums(BASELINE, suffix, _REQUEST_VALUES, rows, "r"))
    return statements


def refill_baselines(db: Connection) -> None:
    """Make the baselines anew from the ledger and from what retention has kept of it."""
    register(db)
    row = db.execute("SELECT value FROM meta WHERE key = 'zone'").fetchone()
    db.execute("DELETE FROM rollup_baseline")
    db.execute("INSERT INTO rollup_baseline SELECT * FROM rollup_baseline_archive")
    statement = _pour_statements("")[-1].replace("{where}", "1")
    db.execute(statement, {"zone": "UTC" if row is None else row[0], "sign": 1})


def register(db: Connection) -> None:
    """Give a connection the functions that ``pour`` calls."""
    db.create_function("local_day", 2, local_day, deterministic=True)
    db.create_function("latency_bucket", 1, latency_bucket, deterministic=True)


def pour(
    db: Connection,
    *,
    where: str,
    values: Mapping[str, object],
    zone: str,
    suffix: str = "",
    sign: int = 1,
) -> None:
    """Add what some requests sum up to into the rollup tables with this suffix.

    Args:
        where: a condition on ``r``, the requests, with named parameters from ``values``.
        zone: the zone whose days count.
        sign: -1 takes the sums out again.
    """
    bound = {**values, "zone": zone, "sign": sign}
    for statement in _pour_statements(suffix):
        db.execute(statement.replace("{where}", where), bound)
