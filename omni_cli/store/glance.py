"""Small reads for screens that are refreshed again and again.

Sums come from the rollups. The few reads of single requests look at a bounded number of the
newest ones only, so that their cost does not grow with the ledger.
"""

import re

from omni_cli.records import NEWEST, Call, Failure, ModelHour, Tally
from omni_cli.store.port import Store

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
    FROM attempts ORDER BY request DESC, n DESC LIMIT :newest)
WHERE error_code IS NOT NULL AND (CAST(:model AS TEXT) IS NULL OR model = :model)
  AND (CAST(:provider AS TEXT) IS NULL OR provider = :provider)
LIMIT :limit
"""
_CALL = """
    id, created_at, state, source, model, provider, role, agent, task, attempts, input_tokens,
    output_tokens, cost_nusd + adjusted_nusd AS cost_nusd, price_state, estimated, latency_ms,
    error_code
"""
_RECENT = f"""
SELECT {_CALL} FROM (SELECT * FROM requests ORDER BY created_at DESC, id DESC LIMIT :newest)
WHERE (CAST(:state AS TEXT) IS NULL OR state = :state)
  AND (CAST(:model AS TEXT) IS NULL OR model = :model)
  AND (:text = '%%' OR lower(model || ' ' || role || ' ' || agent || ' ' || task || ' '
       || source || ' ' || state || ' ' || coalesce(error_code, '')) LIKE :text ESCAPE '\\')
LIMIT :limit
"""  # noqa: S608  # our own column list
_RATING = """
SELECT avg(value), count(*) FROM (
    SELECT value, model FROM outcomes WHERE kind = 'rating' ORDER BY id DESC LIMIT :newest)
WHERE model = :model
"""


class GlanceStore:
    def __init__(self, store: Store) -> None:
        self._store = store

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

    def recent(
        self, *, limit: int, text: str = "", state: str | None = None, model: str | None = None
    ) -> list[Call]:
        """Requests, newest first, among the NEWEST.

        Args:
            text: found in model, role, agent, task, source, state or error code; any case.
        """
        rows = self._store.db.execute(
            _RECENT,
            {
                "limit": limit,
                "text": _pattern(text),
                "state": state,
                "model": model,
                "newest": NEWEST,
            },
        )
        return [Call(**{**dict(row), "estimated": bool(row["estimated"])}) for row in rows]

    def rating(self, model: str) -> tuple[float, int] | None:
        """(mean 0..1, how many) of the user's ratings of a model; None without any."""
        row = self._store.db.execute(_RATING, {"model": model, "newest": NEWEST}).fetchone()
        return None if not row[1] else (float(row[0]), int(row[1]))


def _pattern(text: str) -> str:
    """What finds ``text`` anywhere; "%%" where there is none."""
    return "%" + _LIKE.sub(r"\\\g<0>", text.strip().lower()) + "%"
