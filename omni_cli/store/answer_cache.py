"""Whole answers by the request that they answer, for roles that opted in (B8)."""

from omni_cli.records import CachedAnswer, CacheStats, Lock
from omni_cli.store.port import Table

_FIND = """
SELECT origin, answer, cost_nusd FROM cache_answers JOIN cache_roles USING (role)
WHERE key = :key AND :now >= created_at AND :now < created_at + 1000 * ttl_s
"""
_STALE = """
DELETE FROM cache_answers WHERE NOT EXISTS (SELECT 1 FROM cache_roles r
    WHERE r.role = cache_answers.role AND :now < created_at + 1000 * r.ttl_s)
"""
_PUT = """
INSERT INTO cache_answers (key, role, origin, answer, bytes, cost_nusd, created_at, used_at)
VALUES (:key, :role, :origin, :answer, :bytes, :cost_nusd, :now, :now)
ON CONFLICT (key) DO UPDATE SET origin = excluded.origin, answer = excluded.answer,
    bytes = excluded.bytes, cost_nusd = excluded.cost_nusd, created_at = excluded.created_at,
    used_at = excluded.used_at
"""


class AnswerCacheStore(Table):
    def ttl_s(self, role: str) -> int | None:
        """How long the role's answers hold, seconds; None: it did not opt in."""
        return self._value(int, "SELECT ttl_s FROM cache_roles WHERE role = ?", (role,))

    def roles(self) -> dict[str, int]:
        rows = self._store.db.execute("SELECT role, ttl_s FROM cache_roles ORDER BY role")
        return {row["role"]: row["ttl_s"] for row in rows}

    def set_ttl(self, role: str, ttl_s: int | None) -> None:
        """None: the role opts out, and its answers are forgotten."""
        with self._store.transaction(Lock.ANSWERS) as db:
            if ttl_s is None:
                db.execute("DELETE FROM cache_roles WHERE role = ?", (role,))
                db.execute("DELETE FROM cache_answers WHERE role = ?", (role,))
                return
            db.execute(
                "INSERT INTO cache_roles VALUES (?, ?)"
                " ON CONFLICT (role) DO UPDATE SET ttl_s = excluded.ttl_s",
                (role, ttl_s),
            )

    def find(self, key: str, *, now_ms: int) -> CachedAnswer | None:
        row = self._store.db.execute(_FIND, {"key": key, "now": now_ms}).fetchone()
        return None if row is None else CachedAnswer(*row)

    def hit(self, request: int, key: str, found: CachedAnswer, *, now_ms: int) -> None:
        """The open request ``request`` is answered by what was found, at no cost."""
        with self._store.transaction(Lock.ANSWERS) as db:
            db.execute("UPDATE cache_answers SET used_at = ? WHERE key = ?", (now_ms, key))
            db.execute(
                "INSERT INTO cache_hits VALUES (?, ?, ?)", (request, found.origin, found.cost_nusd)
            )
            # Nothing was tried, so no attempt says that it cost nothing.
            db.execute(
                "UPDATE requests SET cost_nusd = 0, price_state = 'free'"
                " WHERE id = ? AND state = 'pending'",
                (request,),
            )

    def put(
        self,
        key: str,
        *,
        role: str,
        origin: int,
        answer: str,
        cost_nusd: int | None,
        now_ms: int,
        limit_bytes: int,
    ) -> None:
        """Keep an answer; expired ones go, then those that were used longest ago, until all fit."""
        size = len(answer.encode())
        if size > limit_bytes:
            return
        with self._store.transaction(Lock.ANSWERS) as db:
            db.execute(_STALE, {"now": now_ms})
            db.execute(
                _PUT,
                {
                    "key": key,
                    "role": role,
                    "origin": origin,
                    "answer": answer,
                    "bytes": size,
                    "cost_nusd": cost_nusd,
                    "now": now_ms,
                },
            )
            self._shrink(limit_bytes, key)

    def _shrink(self, limit_bytes: int, newest: str) -> None:
        db = self._store.db
        (total,) = db.execute("SELECT coalesce(sum(bytes), 0) FROM cache_answers").fetchone()
        while total > limit_bytes:
            old = db.execute(
                "SELECT key, bytes FROM cache_answers WHERE key != ? ORDER BY used_at, key LIMIT 1",
                (newest,),
            ).fetchone()
            db.execute("DELETE FROM cache_answers WHERE key = ?", (old["key"],))
            total -= old["bytes"]

    def origin(self, request: int) -> int | None:
        """The request whose answer this one got; None for one that was really asked."""
        return self._value(int, "SELECT origin FROM cache_hits WHERE request = ?", (request,))

    def stats(self) -> CacheStats:
        db = self._store.db
        kept = db.execute("SELECT count(*), coalesce(sum(bytes), 0) FROM cache_answers").fetchone()
        hits = db.execute("SELECT count(*), coalesce(sum(saved_nusd), 0) FROM cache_hits")
        return CacheStats(*kept, *hits.fetchone())

    def clear(self) -> int:
        """Forget all answers; returns how many there were."""
        with self._store.transaction(Lock.ANSWERS) as db:
            return int(db.execute("DELETE FROM cache_answers").rowcount)
