"""What reports read: sums over days, from the rollups alone. Days are yyyymmdd, both included."""

from collections.abc import Iterable, Iterator, Sequence

from omni_cli.domain.analytics import TOTALS_FIELDS, Totals
from omni_cli.domain.blocks import HourUse
from omni_cli.domain.errors import UsageError
from omni_cli.domain.periods import HOUR_MS
from omni_cli.records import Baseline, Filters, UsageLine
from omni_cli.store.port import Table
from omni_cli.store.schema import DAY, DIMENSIONS, HOUR, SESSION, Rollup
from omni_cli.store.statusline import block_began, hours

_SUMS = ", ".join(f"sum({name}) AS {name}" for name in TOTALS_FIELDS)
#: What only calls of agents have: kept in a rollup of its own.
NAMED = frozenset({"session", "project"})
_SMALL = frozenset({"day", "provider", "model"})
# All are answered from small partial indexes, and a table that holds only what is under way.
_OPEN = """
SELECT EXISTS (SELECT 1 FROM requests WHERE state = 'pending' AND owner IS NOT NULL)
    OR EXISTS (SELECT 1 FROM attempts WHERE state IN ('planned', 'sent'))
    OR EXISTS (SELECT 1 FROM open_calls)
"""
_BASELINES = """
SELECT premium_model, sum(compared_calls) AS calls, sum(premium_nusd) AS premium_nusd
FROM rollup_baseline WHERE day BETWEEN ? AND ?
GROUP BY premium_model HAVING sum(compared_calls) > 0 ORDER BY calls DESC, premium_model
"""
_REFUSED = """
SELECT count(*) FROM requests
WHERE created_at >= ? AND state = 'refused' AND substr(error_message, 1, CAST(? AS INTEGER)) = ?
    AND error_message LIKE '%' || ? || '%'
"""
_HOURLY_SUMS = "sum(calls), sum(input_tokens), sum(output_tokens), sum(cost_nusd)"
#: Of what the rollups do not keep by the hour: from the rows themselves.
_HOURLY_ROWS = """
SELECT created_at / 3600000 AS hour, {by}, count(*), sum(input_tokens), sum(output_tokens),
    sum(coalesce(cost_nusd, 0) + adjusted_nusd)
FROM requests
WHERE created_at >= :first_ms AND created_at < :after_ms AND state NOT IN ('pending', 'refused')
GROUP BY created_at / 3600000, {by}
"""
_LINES = f"""
SELECT day, {", ".join(DIMENSIONS)}, {", ".join(TOTALS_FIELDS)} FROM rollup_day
WHERE day BETWEEN ? AND ? AND (calls <> 0 OR attempts <> 0 OR cost_nusd <> 0)
ORDER BY day, {", ".join(DIMENSIONS)}
"""  # noqa: S608  # column names only


class ReportStore(Table):
    def anything_open(self) -> bool:
        """Whether any request or attempt is not settled: by a call under way or a dead process."""
        return bool(self._value(int, _OPEN))

    def first_day(self) -> int | None:
        """The first day with any usage."""
        return self._value(int, "SELECT min(day) FROM rollup_day")

    def totals(
        self, first: int, last: int, by: Sequence[str] = (), filters: "Filters | None" = None
    ) -> dict[tuple[str, ...], Totals]:
        """Sums by some of DIMENSIONS, or of those of sessions; without any, one sum under the empty
        tuple. What names no session counts under "" there."""
        found = self._totals(first, last, by, filters or {})
        named = [name for name in by if name in NAMED]
        if named and NAMED.isdisjoint(filters or ()):
            rest = [name for name in by if name not in NAMED]
            every = self._totals(first, last, rest, filters or {})
            for key, some in self._totals(first, last, rest, filters or {}, SESSION).items():
                every[key] = every.get(key, Totals()) - some
            for key, left in every.items():
                values = dict(zip(rest, key, strict=True))
                whole = tuple(values.get(name, "") for name in by)
                if left.calls or left.attempts or left.cost_nusd:
                    found[whole] = found.get(whole, Totals()) + left
        return found

    def _totals(
        self,
        first: int,
        last: int,
        by: Sequence[str],
        filters: Filters,
        rollup: Rollup | None = None,
    ) -> dict[tuple[str, ...], Totals]:
        rollup = rollup or _rollup_of(by, filters)
        where, values = _where(first, last, filters, rollup)
        rows = self._store.db.execute(
            f"SELECT {_listed(by)}{_SUMS} FROM {rollup.table} WHERE {where}{_grouped(by)}",  # noqa: S608  # names of ours only
            values,
        )
        width = len(by)
        return {
            tuple(row[:width]): Totals(*row[width:])
            for row in rows
            if row["calls"] or row["attempts"] or row["cost_nusd"]
        }

    def daily(self, first: int, last: int, filters: "Filters | None" = None) -> dict[int, Totals]:
        """Sums by day; days without usage are left out."""
        return {day: sums for (day, _), sums in self.daily_by(first, last, (), filters).items()}

    def latencies(
        self, first: int, last: int, by: Sequence[str] = (), filters: "Filters | None" = None
    ) -> dict[tuple[str, ...], dict[int, int]]:
        """Calls by latency bucket; ``by`` may hold "day" (as text) besides DIMENSIONS. They are not
        kept by session."""
        if not NAMED.isdisjoint((*by, *(filters or ()))):
            return {}
        where, values = _where(first, last, filters)
        narrow = _SMALL.issuperset(by) and _SMALL.issuperset(filters or ())
        table = "rollup_latency" if narrow else "rollup_latency_scope"
        keys = ", ".join([*by, "bucket"])
        rows = self._store.db.execute(
            f"SELECT {keys}, sum(calls) FROM {table} WHERE {where} GROUP BY {keys}",  # noqa: S608  # names of ours only
            values,
        )
        found: dict[tuple[str, ...], dict[int, int]] = {}
        for *key, bucket, calls in rows:
            if calls > 0:
                found.setdefault(tuple(map(str, key)), {})[bucket] = calls
        return found

    def hours(self, first_ms: int, last_ms: int, agent: str = "") -> list[HourUse]:
        """Use by hour and model, of an agent with its sub-agents, or of everything."""
        return hours(self._store.db, first_ms, last_ms, agent)

    def block_began(self, last_ms: int, agent: str = "") -> int | None:
        """The first call of the last block of five hours that began until then, ms UTC."""
        return block_began(self._store.db, last_ms, agent)

    def daily_by(
        self, first: int, last: int, by: Sequence[str], filters: "Filters | None" = None
    ) -> dict[tuple[int, tuple[str, ...]], Totals]:
        """Sums by day and some of DIMENSIONS, or of those of sessions, among what names one."""
        rollup = _rollup_of(by, filters or {})
        where, values = _where(first, last, filters, rollup)
        rows = self._store.db.execute(
            f"SELECT day, {_listed(by)}{_SUMS} FROM {rollup.table} WHERE {where}"  # noqa: S608  # names of ours only
            f"{_grouped(['day', *by])}",
            values,
        )
        width = 1 + len(by)
        return {(row["day"], tuple(row[1:width])): Totals(*row[width:]) for row in rows}

    def hourly_by(self, first: int, last: int, by: str) -> dict[tuple[int, str], Totals]:
        """Calls, tokens and cost by hour since the epoch (both included) and one dimension: as
        rollups have them by provider and model, else by the requests' own rows."""
        if by not in (*DIMENSIONS, *NAMED):
            raise ValueError(f"no dimension {by}")
        if by in HOUR.key:
            sql = (
                f"SELECT hour, {by}, {_HOURLY_SUMS} FROM rollup_hour"  # noqa: S608  # names of ours only
                f" WHERE hour BETWEEN :first AND :last GROUP BY hour, {by}"
            )
            values = {"first": first, "last": last}
        else:
            sql = _HOURLY_ROWS.format(by=by)
            values = {"first_ms": first * HOUR_MS, "after_ms": (last + 1) * HOUR_MS}
        return {
            (hour, name): Totals(
                calls=calls, input_tokens=tokens_in, output_tokens=tokens_out, cost_nusd=cost
            )
            for hour, name, calls, tokens_in, tokens_out, cost in self._store.db.execute(
                sql, values
            )
        }

    def refused(self, label: str, since_ms: int, said: str = "") -> int:
        """Requests since then that had no room in the budget of this label, by what they were
        told; ``said``: only those that were told this as well."""
        head = f"the {label} has "
        return self._value(int, _REFUSED, (since_ms, len(head), head, said)) or 0

    def baselines(self, first: int, last: int) -> list[Baseline]:
        """What requests were compared with, the most used first."""
        rows = self._store.db.execute(_BASELINES, (first, last))
        return [Baseline(row["premium_model"], row["calls"], row["premium_nusd"]) for row in rows]

    def lines(self, first: int, last: int) -> Iterator[UsageLine]:
        """Every rollup row with something in it, by day, one at a time."""
        width = 1 + len(DIMENSIONS)
        for row in self._store.db.execute(_LINES, (first, last)):
            yield UsageLine(
                row["day"], dict(zip(DIMENSIONS, row[1:width], strict=True)), Totals(*row[width:])
            )


def _rollup_of(by: Iterable[str], filters: Iterable[str]) -> Rollup:
    """Where sums by these are kept. Raises UsageError: nowhere."""
    names = {*by, *filters}
    if NAMED.isdisjoint(names):
        return DAY
    if left := names - set(SESSION.key):
        raise UsageError(
            f"usage is not kept by session and {sorted(left)[0]} together",
            hint=f"with session and project go {', '.join(SESSION.key[3:])}",
        )
    return SESSION


def _where(
    first: int, last: int, filters: "Filters | None", rollup: Rollup = DAY
) -> tuple[str, dict[str, object]]:
    """Filters name columns of the rollup; any other name is a mistake of the caller."""
    names = list(filters or ())
    if unknown := set(names) - set(rollup.key):
        raise ValueError(f"no dimension {', '.join(sorted(unknown))}")
    # The day column leads the key: a range of it is one stretch of the table.
    where = ["day BETWEEN :first AND :last", *(f"{name} = :{name}" for name in names)]
    return " AND ".join(where), {"first": first, "last": last, **(filters or {})}


def _listed(by: Sequence[str]) -> str:
    return "".join(f"{name}, " for name in by)


def _grouped(by: Sequence[str]) -> str:
    return f" GROUP BY {', '.join(by)}" if by else ""
