"""What reports read: sums over days, from the rollups alone. Days are yyyymmdd, both included."""

from collections.abc import Iterator, Mapping, Sequence

from omni_cli.domain.analytics import TOTALS_FIELDS, Totals
from omni_cli.records import Baseline, UsageLine
from omni_cli.store.port import Store
from omni_cli.store.schema import DIMENSIONS

_SUMS = ", ".join(f"sum({name}) AS {name}" for name in TOTALS_FIELDS)
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
_LINES = f"""
SELECT day, {", ".join(DIMENSIONS)}, {", ".join(TOTALS_FIELDS)} FROM rollup_day
WHERE day BETWEEN ? AND ? AND (calls <> 0 OR attempts <> 0 OR cost_nusd <> 0)
ORDER BY day, {", ".join(DIMENSIONS)}
"""  # noqa: S608  # column names only


class ReportStore:
    def __init__(self, store: Store) -> None:
        self._store = store

    def anything_open(self) -> bool:
        """Whether any request or attempt is not settled: by a call under way or a dead process."""
        return bool(self._store.db.execute(_OPEN).fetchone()[0])

    def first_day(self) -> int | None:
        """The first day with any usage."""
        (day,) = self._store.db.execute("SELECT min(day) FROM rollup_day").fetchone()
        return None if day is None else int(day)

    def totals(
        self,
        first: int,
        last: int,
        by: Sequence[str] = (),
        filters: Mapping[str, str] | None = None,
    ) -> dict[tuple[str, ...], Totals]:
        """Sums by some of DIMENSIONS; without any, one sum under the empty tuple."""
        where, values = _where(first, last, filters)
        rows = self._store.db.execute(
            f"SELECT {_listed(by)}{_SUMS} FROM rollup_day WHERE {where}{_grouped(by)}",  # noqa: S608  # names of ours only
            values,
        )
        width = len(by)
        return {
            tuple(row[:width]): Totals(*row[width:])
            for row in rows
            if row["calls"] or row["attempts"] or row["cost_nusd"]
        }

    def daily(
        self, first: int, last: int, filters: Mapping[str, str] | None = None
    ) -> dict[int, Totals]:
        """Sums by day; days without usage are left out."""
        where, values = _where(first, last, filters)
        rows = self._store.db.execute(
            f"SELECT day, {_SUMS} FROM rollup_day WHERE {where} GROUP BY day",  # noqa: S608  # names of ours only
            values,
        )
        return {row["day"]: Totals(*row[1:]) for row in rows}

    def latencies(
        self,
        first: int,
        last: int,
        by: Sequence[str] = (),
        filters: Mapping[str, str] | None = None,
    ) -> dict[tuple[str, ...], dict[int, int]]:
        """Calls by latency bucket; ``by`` may hold "day" (as text) besides DIMENSIONS."""
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

    def daily_by(
        self, first: int, last: int, by: Sequence[str]
    ) -> dict[tuple[int, tuple[str, ...]], Totals]:
        """Sums by day and some of DIMENSIONS."""
        where, values = _where(first, last, None)
        rows = self._store.db.execute(
            f"SELECT day, {_listed(by)}{_SUMS} FROM rollup_day WHERE {where}"  # noqa: S608  # names of ours only
            f"{_grouped(['day', *by])}",
            values,
        )
        width = 1 + len(by)
        return {(row["day"], tuple(row[1:width])): Totals(*row[width:]) for row in rows}

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


def _where(
    first: int, last: int, filters: Mapping[str, str] | None
) -> tuple[str, dict[str, object]]:
    """Filters name DIMENSIONS; any other name is a mistake of the caller."""
    names = list(filters or ())
    if unknown := set(names) - set(DIMENSIONS):
        raise ValueError(f"no dimension {', '.join(sorted(unknown))}")
    # The day column leads the key: a range of it is one stretch of the table.
    where = ["day BETWEEN :first AND :last", *(f"{name} = :{name}" for name in names)]
    return " AND ".join(where), {"first": first, "last": last, **(filters or {})}


def _listed(by: Sequence[str]) -> str:
    return "".join(f"{name}, " for name in by)


def _grouped(by: Sequence[str]) -> str:
    return f" GROUP BY {', '.join(by)}" if by else ""
