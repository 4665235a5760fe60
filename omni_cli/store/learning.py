"""What was learned: outcomes of answers, quality counts, and measured speed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from omni_cli.records import Lock, ModelStats
from omni_cli.store.port import Table

if TYPE_CHECKING:
    from omni_cli.domain.drift import Seen


class LearningStore(Table):
    def stats(self) -> dict[tuple[str, str], ModelStats]:
        """By (model, task)."""
        return {
            (row["model"], row["task"]): ModelStats(
                calls=row["calls"],
                ok=row["ok"],
                mean_output_tokens=row["output_tokens"] / row["ok"] if row["ok"] else None,
                latency_ms=row["latency_ewma_ms"],
                ttft_ms=row["ttft_ewma_ms"],
            )
            for row in self._store.db.execute("SELECT * FROM model_stats")
        }

    def add_outcome(
        self,
        *,
        request: int | None,
        at_ms: int,
        model: str,
        task: str,
        form: str = "",
        kind: str,
        value: float,
        weight: float = 1.0,
        note: str = "",
    ) -> None:
        """Record how good an answer was: ``value`` 0..1, counted ``weight`` times.

        A new outcome of the same kind for the same request and model replaces the old one.
        """
        with self._store.transaction(Lock.LEARNING) as db:
            old = db.execute(
                "SELECT id, model, task, form, value, weight FROM outcomes"
                " WHERE request = ? AND kind = ? AND model = ?",
                (request, kind, model),
            ).fetchone()
            if old:
                self._count(old["task"], old["form"], old["model"], old["value"], -old["weight"])
                db.execute("DELETE FROM outcomes WHERE id = ?", (old["id"],))
            db.execute(
                "INSERT INTO outcomes (request, at, model, task, form, kind, value, weight, note)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (request, at_ms, model, task, form, kind, value, weight, note),
            )
            self._count(task, form, model, value, weight)

    def _count(self, task: str, form: str, model: str, value: float, weight: float) -> None:
        """A type's cell, and with a form that form's own ("coding/open short")."""
        self._store.db.executemany(
            "INSERT INTO quality (task, model, wins, losses) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (task, model) DO UPDATE SET"
            " "
            " wins = quality.wins + excluded.wins, losses = quality.losses + excluded.losses",
            [
                (cell, model, value * weight, (1 - value) * weight)
                for cell in ([task, f"{task}/{form}"] if form else [task])
            ],
        )

    def outcomes_of(self, request: int) -> list[tuple[str, float, str]]:
        """(kind, value 0..1, note), oldest first."""
        rows = self._store.db.execute(
            "SELECT kind, value, note FROM outcomes WHERE request = ? ORDER BY id", (request,)
        )
        return [(row["kind"], row["value"], row["note"]) for row in rows]

    def calls_since(self, request: int, since_ms: int, *, most: int) -> list[tuple[int, Seen]]:
        """Ended calls after ``request``, in their order: up to the first that is under way."""
        from omni_cli.domain.drift import Seen

        rows = self._store.db.execute(
            "SELECT id, model, task, created_at, state, finish_reason, output_tokens FROM requests"
            " WHERE id > :request AND created_at >= :since AND model <> ''"
            " AND id < coalesce((SELECT min(id) FROM open_calls), 9223372036854775807)"
            " AND state IN ('ok', 'failed', 'lost') AND source IN ('chat', 'gateway')"
            " ORDER BY id LIMIT :most",
            {"request": request, "since": since_ms, "most": most},
        )
        return [
            (
                row["id"],
                Seen(
                    row["model"],
                    row["task"],
                    row["created_at"],
                    failed=row["state"] != "ok",
                    refused=row["finish_reason"] in ("refusal", "content_filter", "length"),
                    tokens=row["output_tokens"] if row["state"] == "ok" else None,
                ),
            )
            for row in rows
        ]

    def scores_since(self, outcome: int, since_ms: int, *, most: int) -> list[tuple[int, Seen]]:
        """Outcomes after ``outcome``, in their order."""
        from omni_cli.domain.drift import Seen

        rows = self._store.db.execute(
            "SELECT id, model, task, at, value FROM outcomes"
            " WHERE id > ? AND at >= ? AND kind <> 'retry' ORDER BY id LIMIT ?",
            (outcome, since_ms, most),
        )
        return [
            (row["id"], Seen(row["model"], row["task"], row["at"], score=row["value"]))
            for row in rows
        ]

    def discount(self, model: str, task: str, before_ms: int, factor: float) -> None:
        """Let outcomes of before a time weigh less, ``factor`` of what they did."""
        with self._store.transaction(Lock.LEARNING) as db:
            rows = db.execute(
                "SELECT form, value, weight FROM outcomes WHERE model = ? AND task = ? AND at < ?",
                (model, task, before_ms),
            ).fetchall()
            for row in rows:
                self._count(task, row["form"], model, row["value"], row["weight"] * (factor - 1))
            db.execute(
                "UPDATE outcomes SET weight = weight * ? WHERE model = ? AND task = ? AND at < ?",
                (factor, model, task, before_ms),
            )

    def by_role(self, start_ms: int, end_ms: int) -> dict[str, tuple[int, float]]:
        """(outcomes, sum of their values) of a stretch of time, by the role of what was asked."""
        rows = self._store.db.execute(
            "SELECT r.role, count(*) AS n, sum(o.value) AS good FROM outcomes AS o"
            " JOIN requests AS r ON r.id = o.request"
            " WHERE o.at >= ? AND o.at < ? AND r.source IN ('chat', 'gateway') GROUP BY r.role",
            (start_ms, end_ms),
        )
        return {row["role"]: (row["n"], row["good"]) for row in rows}

    def rated(self) -> list[tuple[int, str, float]]:
        """(request, model, value 0..1) of every outcome that belongs to a request."""
        rows = self._store.db.execute(
            "SELECT request, model, value FROM outcomes WHERE request IS NOT NULL ORDER BY id"
        )
        return [(row["request"], row["model"], row["value"]) for row in rows]

    def quality(self) -> Mapping[tuple[str, str], tuple[float, float]]:
        """(wins, losses) by (task, model)."""
        return {
            (row["task"], row["model"]): (max(row["wins"], 0.0), max(row["losses"], 0.0))
            for row in self._store.db.execute("SELECT * FROM quality")
        }
