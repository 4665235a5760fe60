"""Small reads for screens that are refreshed again and again.

Sums come from the rollups. Reads of failures and ratings look at a bounded number of the newest
ones only, so that their cost does not grow with the ledger; a search reads all.
"""

import re
from collections.abc import Mapping, Sequence

from omni_cli.domain.ledger import AttemptRow, RequestRow
from omni_cli.domain.record import replace
from omni_cli.domain.search import ANYWHERE, FIGURES, TIMES, Order, Search, Term
from omni_cli.records import NEWEST, Failure, ModelHour, Takeover, Tally
from omni_cli.store.port import Row, Table
from omni_cli.store.rows import attempt_row, open_rows, request_row, sending, under_way

#: What stands for more than itself in a pattern.
_LIKE = re.compile(r"[%_\\]")
_SUMS = """
    sum(calls) AS calls, sum(ok) AS ok, sum(attempts) AS attempts,
    sum(failed_attempts) AS failed_attempts, sum(unknown_attempts) AS unknown_attempts,
    sum(input_tokens) AS input_tokens, sum(output_tokens) AS output_tokens,
    sum(cost_nusd) AS cost_nusd,
    sum(latency_ms) AS latency_ms, sum(latency_calls) AS latency_calls
"""
_DAYS = f"""
SELECT day, provider, model, '' AS task, {_SUMS} FROM rollup_day
WHERE day BETWEEN :first AND :last GROUP BY day, provider, model
"""  # noqa: S608  # our own column list
_TASKS = f"""
SELECT day, provider, model, task, {_SUMS} FROM rollup_day
WHERE day = :day AND provider = :provider AND model = :model
GROUP BY day, provider, model, task ORDER BY sum(cost_nusd) DESC, sum(calls) DESC
"""  # noqa: S608  # names of ours only
_HOURS = """
SELECT hour, provider, model, calls, attempts, failed_attempts, cost_nusd, latency_ms,
       latency_calls
FROM rollup_hour WHERE hour BETWEEN :first AND :last ORDER BY hour
"""
# Ids rise with time, so the primary key gives the newest without a sort.
_ERRORS = """
SELECT request, n, model, provider, started_at, error_code, error_message FROM (
    SELECT request, n, model, provider, started_at, error_code, error_message
    FROM attempts ORDER BY request DESC, n DESC LIMIT :newest
) AS newest
WHERE error_code IS NOT NULL AND (CAST(:model AS TEXT) IS NULL OR model = :model)
  AND (CAST(:provider AS TEXT) IS NULL OR provider = :provider)
LIMIT :limit
"""
_TAKEOVERS = """
SELECT after.request, first.model AS failed, after.model, first.error_code FROM (
    SELECT request, n, model, state FROM attempts ORDER BY request DESC, n DESC LIMIT :newest
) AS after JOIN attempts AS first ON first.request = after.request AND first.n = 1
WHERE after.n > 1 AND after.state = 'ok' AND after.model <> first.model
ORDER BY after.request DESC
"""
#: Columns of a field that is no column of its own.
_FIELDS: Mapping[str, str] = {
    "error": "coalesce(error_code, '') || ' ' || coalesce(error_message, '')",
    "cost": "CASE WHEN cost_nusd IS NOT NULL THEN cost_nusd + adjusted_nusd"
    " WHEN state = 'refused' THEN 0 END",
    "tokens": "input_tokens + output_tokens",
    "input": "input_tokens",
    "output": "output_tokens",
    "took": "latency_ms",
}
_ORDER: Mapping[Order, str] = {
    "time": "",
    "cost": f"coalesce({_FIELDS['cost']}, -1) DESC, ",
    "took": "coalesce(latency_ms, -1) DESC, ",
    "tokens": f"{_FIELDS['tokens']} DESC, ",
}
_ATTEMPTS = """
SELECT * FROM attempts WHERE request IN ({marks}) ORDER BY request, n
"""
_RATING = """
SELECT avg(value), count(*) FROM (
    SELECT value, model FROM outcomes WHERE kind = 'rating' ORDER BY id DESC LIMIT :newest
) AS newest
WHERE model = :model
"""


class GlanceStore(Table):
    def days(self, first: int, last: int) -> list[Tally]:
        """By day, provider and model; days as yyyymmdd, both included."""
        rows = self._store.db.execute(_DAYS, {"first": first, "last": last})
        return [Tally(**dict(row)) for row in rows]

    def tasks(self, day: int, provider: str, model: str) -> list[Tally]:
        """One model's day by task, the dearest first."""
        rows = self._store.db.execute(_TASKS, {"day": day, "provider": provider, "model": model})
        return [Tally(**dict(row)) for row in rows]

    def hours(self, first: int, last: int) -> list[ModelHour]:
        """Hours since the epoch, both included, oldest first."""
        rows = self._store.db.execute(_HOURS, {"first": first, "last": last})
        return [ModelHour(**dict(row)) for row in rows]

    def errors(
        self, *, model: str | None = None, provider: str | None = None, limit: int = 5
    ) -> list[Failure]:
        """The latest failed attempts, newest first, among the NEWEST."""
        rows = self._store.db.execute(
            _ERRORS, {"model": model, "provider": provider, "limit": limit, "newest": NEWEST}
        )
        return [
            Failure(
                request=row["request"],
                model=row["model"],
                provider=row["provider"],
                at_ms=row["started_at"],
                code=row["error_code"],
                message=row["error_message"] or "",
            )
            for row in rows
        ]

    def takeovers(self) -> list[Takeover]:
        """Where another model answered than was asked first, newest first, of the NEWEST."""
        rows = self._store.db.execute(_TAKEOVERS, {"newest": NEWEST})
        return [
            Takeover(row["request"], row["failed"], row["model"], row["error_code"] or "")
            for row in rows
        ]

    def search(
        self,
        search: Search,
        *,
        limit: int,
        order: Order = "time",
        first_ms: int = 0,
        after_ms: int | None = None,
    ) -> list[RequestRow]:
        """Requests of all that there are, newest or largest first, with those under way.

        Args:
            first_ms, after_ms: begun from then on, and before; the search's own times are not read.
        """
        where, values = _where(search)
        values |= {"limit": limit, "first": first_ms}
        if after_ms is not None:
            where.append("created_at < :after")
            values["after"] = after_ms
        sql = f"SELECT * FROM requests WHERE {' AND '.join(['created_at >= :first', *where])}"  # noqa: S608  # names of ours only
        sql += f" ORDER BY {_ORDER[order]}created_at DESC, id DESC LIMIT :limit"
        rows = [request_row(row) for row in self._store.db.execute(sql, values)]
        live = [
            row
            for row in map(_live, open_rows(self._store.db))
            if first_ms <= row.created_at < (after_ms or _LATEST) and search.matches(row)
        ]
        if not live or order != "time":
            return rows
        rows += live
        return sorted(rows, key=lambda row: (row.created_at, row.id), reverse=True)[:limit]

    def attempts(self, requests: Sequence[int]) -> dict[int, list[AttemptRow]]:
        """All attempts of these requests (few enough for one statement), in their order."""
        found: dict[int, list[AttemptRow]] = {}
        if requests:
            sql = _ATTEMPTS.format(marks=", ".join("?" * len(requests)))
            for row in self._store.db.execute(sql, tuple(requests)):
                found.setdefault(row["request"], []).append(attempt_row(row))
            wanted = set(requests)
            for row in open_rows(self._store.db):
                sent = sending(row)
                if row["id"] in wanted and sent is not None:
                    found.setdefault(row["id"], []).append(sent)
        return found

    def rating(self, model: str) -> tuple[float, int] | None:
        """(mean 0..1, how many) of the user's ratings of a model; None without any."""
        row = self._store.db.execute(_RATING, {"model": model, "newest": NEWEST}).fetchone()
        return None if not row[1] else (float(row[0]), int(row[1]))


#: Later than any request.
_LATEST = 1 << 62


def _live(row: Row) -> RequestRow:
    """A call under way; its model is who is asked now."""
    return replace(under_way(row), model=row["model"] or "", provider=row["provider"] or "")


def _where(search: Search) -> tuple[list[str], dict[str, object]]:
    """Conditions and their values; all but those of time. Fields are of ``domain.search`` only."""
    where: list[str] = []
    values: dict[str, object] = {}
    for term in search.terms:
        if term.field in TIMES:
            continue
        some = []
        for value in term.values:
            name = f"v{len(values)}"
            some.append(_condition(term, name))
            exact = term.field in FIGURES or term.op == "=" or term.field == "state"
            values[name] = value if exact else "%" + _LIKE.sub(r"\\\g<0>", str(value)) + "%"
        where.append(f"{'NOT ' if term.negated else ''}({' OR '.join(some)})")
    return where, values


def _condition(term: Term, name: str) -> str:
    if term.field in FIGURES:
        op = "=" if term.op == ":" else term.op
        # What is unknown is neither more nor less.
        figure = _FIELDS.get(term.field, term.field)
        return f"CASE WHEN ({figure}) {op} :{name} THEN 1 ELSE 0 END = 1"
    columns = [_FIELDS.get(field, field) for field in ([term.field] if term.field else ANYWHERE)]
    text = " || ' ' || ".join(f"({column})" for column in columns)
    if term.op == "=" or term.field == "state":
        return f"lower({text}) = lower(:{name})"
    return f"lower({text}) LIKE lower(:{name}) ESCAPE '\\'"
