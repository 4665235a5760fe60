"""What health is judged by: hourly counts, the last unbilled checks, and the recent attempts.

Hourly rows are written in the ledger's own transactions, one upsert an attempt; the recent
calls are read from the attempts themselves, by a range of their primary key.
"""

from collections.abc import Mapping, Sequence

from omni_cli.domain.evidence import AT_FAULT, WINDOW_MS, Check, Hour, Sample
from omni_cli.domain.health import STUCK_MS, SlotUse
from omni_cli.domain.ids import make_id
from omni_cli.domain.ledger import AttemptEnd, AttemptRow
from omni_cli.domain.periods import HOUR_MS, local_day
from omni_cli.records import Lock
from omni_cli.store.port import ZONE_KEY, Row, Table, read
from omni_cli.store.slots import slot_use

#: Most attempts that one look reads; a busy gateway's window is then shorter.
MOST_SAMPLES = 20_000
#: A call may have begun so long before it ended within the window, ms.
_LONGEST_MS = 10 * 60_000
#: A row dated later than now by more than this was written before the clock was set back.
_SKEW_MS = 60_000
KEEP_HOURS = 8 * 24

_SUMS = ("good", "bad", "latency_ms", "gen_ms", "gen_tokens")
_ADD = """
INSERT INTO health_hours (provider, model, hour, good, bad, latency_ms, gen_ms, gen_tokens)
VALUES (:provider, :model, :hour, :good, :bad, :latency_ms, :gen_ms, :gen_tokens)
ON CONFLICT (provider, model, hour) DO UPDATE SET
    good = health_hours.good + excluded.good, bad = health_hours.bad + excluded.bad,
    latency_ms = health_hours.latency_ms + excluded.latency_ms,
    gen_ms = health_hours.gen_ms + excluded.gen_ms,
    gen_tokens = health_hours.gen_tokens + excluded.gen_tokens
"""
_RECENT = """
SELECT a.provider, a.model, a.state, a.started_at, a.first_at, a.ended_at, a.output_tokens,
    a.error_code, a.error_message
FROM attempts AS a
WHERE a.request BETWEEN :first AND :last AND a.ended_at BETWEEN :since AND :until
    AND a.state IN ('ok', 'failed', 'cancelled')
ORDER BY a.request DESC LIMIT :most
"""
_STUCK = """
SELECT model, count(*) FROM (
    SELECT model, first_at, started_at FROM attempts WHERE state IN ('planned', 'sent')
    UNION ALL SELECT model, first_at, started_at FROM open_calls WHERE provider IS NOT NULL
) AS calls WHERE first_at IS NULL AND started_at BETWEEN :since AND :until GROUP BY model
"""
_CHECKED = """
INSERT INTO health_checks VALUES (:provider, :at, :ok, :latency_ms, :models, :code, :message)
ON CONFLICT (provider) DO UPDATE SET at = excluded.at, ok = excluded.ok,
    latency_ms = excluded.latency_ms, models = excluded.models,
    error_code = excluded.error_code, error_message = excluded.error_message
"""
_LOGGED = """
INSERT INTO health_check_log (provider, at, ok) VALUES (:provider, :at, :ok)
ON CONFLICT (provider, at) DO UPDATE SET ok = excluded.ok
"""
#: Nobody looks further back; a watch that checks every 30 s leaves some thirty rows.
_FORGET_LOGGED = "DELETE FROM health_check_log WHERE provider = :provider AND at < :before"


class HealthWindowStore(Table):
    def add_attempt(self, attempt: AttemptRow, end: AttemptEnd) -> None:
        """Count one settled attempt, where it tells something of its provider."""
        sums = hour_sums(attempt.started_at, attempt.first_at, end)
        if sums is not None:
            self.add((attempt.provider, attempt.model, end.ended_at // HOUR_MS), sums)

    def add(self, key: tuple[str, str, int], sums: Sequence[int]) -> None:
        """Add ``hour_sums`` to the hour of a provider's model: (provider, model, hour)."""
        names = ("provider", "model", "hour", *_SUMS)
        self._store.db.execute(_ADD, dict(zip(names, (*key, *sums), strict=True)))

    def add_check(self, provider: str, check: Check) -> None:
        """Keep a check as the provider's last, and count it."""
        with self._store.transaction(Lock.HEALTH) as db:
            db.execute(
                _CHECKED,
                {
                    "provider": provider,
                    "at": check.at_ms,
                    "ok": int(check.ok),
                    "latency_ms": check.latency_ms,
                    "models": check.models,
                    "code": check.error_code,
                    "message": check.error_message,
                },
            )
            db.execute(_LOGGED, {"provider": provider, "at": check.at_ms, "ok": int(check.ok)})
            db.execute(_FORGET_LOGGED, {"provider": provider, "before": check.at_ms - WINDOW_MS})
            if check.ok or check.error_code in AT_FAULT:
                db.execute(
                    _ADD,
                    {
                        "provider": provider,
                        "model": "",
                        "hour": check.at_ms // HOUR_MS,
                        "good": int(check.ok),
                        "bad": int(not check.ok),
                        "latency_ms": check.latency_ms or 0 if check.ok else 0,
                        "gen_ms": 0,
                        "gen_tokens": 0,
                    },
                )

    def checks(self) -> dict[str, Check]:
        """The last check of each provider, with those of the window before it."""
        earlier: dict[str, list[tuple[int, bool]]] = {}
        for slug, at_ms, ok in self._store.db.execute(
            "SELECT provider, at, ok FROM health_check_log ORDER BY at"
        ):
            earlier.setdefault(slug, []).append((at_ms, bool(ok)))
        return {
            row["provider"]: Check(
                row["at"],
                bool(row["ok"]),
                row["latency_ms"],
                row["models"],
                row["error_code"],
                row["error_message"],
                tuple(e for e in earlier.get(row["provider"], ()) if e[0] < row["at"]),
            )
            for row in self._store.db.execute("SELECT * FROM health_checks")
        }

    def recent(self, since_ms: int, now_ms: int) -> list[Sample]:
        """Attempts that ended within the window, newest first, at most MOST_SAMPLES."""
        rows = self._store.db.execute(
            _RECENT,
            {
                "first": make_id(since_ms - _LONGEST_MS, 0),
                "last": make_id(now_ms + _SKEW_MS, -1),
                "since": since_ms,
                "until": now_ms + _SKEW_MS,
                "most": MOST_SAMPLES,
            },
        )
        return [_sample(row) for row in rows]

    def slots(self, since_ms: int) -> Mapping[str, SlotUse]:
        """By provider, who calls and who waits to; see store/slots.py."""
        return slot_use(self._store.db, since_ms)

    def stuck(self, now_ms: int) -> Mapping[str, int]:
        """Calls under way without a token for STUCK_MS, by model; those of dead processes
        drop out when the next request settles them."""
        rows = self._store.db.execute(
            _STUCK, {"since": now_ms - _LONGEST_MS, "until": now_ms - STUCK_MS}
        )
        return {str(model): int(count) for model, count in rows}

    def hours(self, now_ms: int, hours: int = 26) -> dict[tuple[str, str], list[Hour]]:
        """By (provider, model), "" for the provider's checks; oldest first."""
        found: dict[tuple[str, str], list[Hour]] = {}
        this = now_ms // HOUR_MS
        for row in self._store.db.execute(
            "SELECT * FROM health_hours WHERE hour BETWEEN ? AND ? ORDER BY hour",
            (this - hours + 1, this),
        ):
            found.setdefault((row["provider"], row["model"]), []).append(read(Hour, row))
        return found

    def today(self, now_ms: int) -> dict[str, tuple[int, int, bool]]:
        """By provider: requests, nano-dollars and whether some cost is unknown, since midnight
        in the user's zone."""
        zone = self._store.get_meta(ZONE_KEY) or "UTC"
        rows = self._store.db.execute(
            "SELECT provider, sum(calls), sum(cost_nusd), sum(unknown_attempts) FROM rollup_day"
            " WHERE day = ? AND source != 'import' GROUP BY provider",
            (local_day(now_ms, zone),),
        )
        return {
            str(slug): (int(calls), int(cost), bool(unknown)) for slug, calls, cost, unknown in rows
        }

    def spent_today(self, source: str, now_ms: int) -> int:
        """Nano-dollars of one source's requests since midnight in the user's zone."""
        zone = self._store.get_meta(ZONE_KEY) or "UTC"
        row = self._store.db.execute(
            "SELECT sum(cost_nusd) FROM rollup_day WHERE day = ? AND source = ?",
            (local_day(now_ms, zone), source),
        ).fetchone()
        return int(row[0] or 0)

    def prune(self, now_ms: int) -> int:
        """Forget hours that no figure uses any more."""
        with self._store.transaction(Lock.HEALTH) as db:
            return db.execute(
                "DELETE FROM health_hours WHERE hour < ?", (now_ms // HOUR_MS - KEEP_HOURS,)
            ).rowcount


def hour_sums(started_at: int, first_at: int | None, end: AttemptEnd) -> tuple[int, ...] | None:
    """What one settled attempt adds, in the order of _SUMS; None where it tells nothing."""
    if end.state == "ok":
        writing = 0 if first_at is None else max(end.ended_at - first_at, 0)
        tokens = end.usage.output_tokens if writing else 0
        return 1, 0, max(end.ended_at - started_at, 0), writing, tokens
    if end.state == "failed" and end.error_code in AT_FAULT:
        return 0, 1, 0, 0, 0
    return None


def _sample(row: Row) -> Sample:
    good: bool | None = row["state"] == "ok"
    if not good and (row["state"] != "failed" or row["error_code"] not in AT_FAULT):
        good = None
    started, first, ended = row["started_at"], row["first_at"], row["ended_at"]
    return Sample(
        provider=row["provider"],
        model=row["model"],
        at_ms=ended,
        good=good,
        # A clock that jumped between start and end measures nothing.
        latency_ms=ended - started if ended >= started else None,
        ttft_ms=first - started if first is not None and first >= started else None,
        output_tokens=row["output_tokens"],
        error_code=row["error_code"],
        error_message=row["error_message"],
    )
