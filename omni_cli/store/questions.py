"""The user's own questions, where they are stored: what came again, and samples to ask anew."""

from collections.abc import Sequence
from sqlite3 import Row

from omni_cli.domain.ids import make_id
from omni_cli.domain.recommend_traffic import Repeats
from omni_cli.records import Answered
from omni_cli.store.connection import Store
from omni_cli.store.conversations import message_from_json

_REPEATS = """
WITH asked AS (
    SELECT r.role, r.model, r.cost_nusd, r.id >= :today AS now,
        row_number() OVER (PARTITION BY r.role, r.model, t.message ORDER BY r.id) AS turn
    FROM turns t JOIN requests r ON r.id = t.request
    WHERE t.n = 0 AND r.id >= :first AND r.state = 'ok' AND r.role != ''
)
SELECT role, model, count(*) AS asked, count(CASE WHEN turn > 1 THEN 1 END) AS repeated,
    sum(CASE WHEN turn > 1 THEN coalesce(cost_nusd, 0) ELSE 0 END) AS cost,
    count(CASE WHEN now THEN 1 END) AS today,
    sum(CASE WHEN turn > 1 AND now THEN coalesce(cost_nusd, 0) ELSE 0 END) AS today_cost
FROM asked GROUP BY role, model ORDER BY role, model
"""
#: The newest answered requests of a model in a role, or of a task without a role.
_ANSWERED = """
SELECT r.id, r.task, r.latency_ms, r.ttft_ms, r.cost_nusd, r.price_state, r.finish_reason,
    max(t.conversation) AS conversation, max(t.n) AS n
FROM requests r JOIN turns t ON t.request = r.id
WHERE r.state = 'ok' AND r.model = :model
    AND CASE WHEN :scope = 'role' THEN r.role = :name ELSE r.role = '' AND r.task = :name END
GROUP BY r.id ORDER BY r.id DESC LIMIT :most
"""


class StoredQuestions:
    def __init__(self, store: Store) -> None:
        self._store = store

    def repeats(self, since_ms: int, today_ms: int) -> list[Repeats]:
        """By role and model, of conversations' first questions; ``today_ms``: when today began."""
        times = {"first": make_id(since_ms, 0), "today": make_id(today_ms, 0)}
        rows = self._store.db.execute(_REPEATS, times)
        return [Repeats(*row) for row in rows]

    def answered(self, scope: str, name: str, model: str, *, most: int) -> list[int]:
        """The newest requests of this work whose texts are stored, newest first."""
        rows = self._rows(scope, name, model, most)
        return [row["id"] for row in rows]

    def load(
        self, scope: str, name: str, model: str, requests: Sequence[int], *, most: int
    ) -> list[Answered]:
        """Those of ``requests`` that are plain questions: tool calls and their results cannot be
        asked of another model."""
        found = []
        for row in self._rows(scope, name, model, most):
            if row["id"] not in requests:
                continue
            turns = self._store.db.execute(
                "SELECT message FROM turns WHERE conversation = ? AND n <= ? ORDER BY n",
                (row["conversation"], row["n"]),
            ).fetchall()
            *asked, answer = [message_from_json(text) for (text,) in turns]
            plain = all(not m.tool_calls and m.role != "tool" for m in (*asked, answer))
            if not asked or answer.role != "assistant" or asked[-1].role != "user" or not plain:
                continue
            found.append(
                Answered(
                    request=row["id"],
                    task=row["task"],
                    messages=tuple(asked),
                    answer=answer.text,
                    finish_reason=row["finish_reason"],
                    latency_ms=row["latency_ms"],
                    ttft_ms=row["ttft_ms"],
                    cost_nusd=None if row["price_state"] == "unknown" else row["cost_nusd"],
                )
            )
        return found

    def _rows(self, scope: str, name: str, model: str, most: int) -> list[Row]:
        values = {"scope": scope, "name": name, "model": model, "most": most}
        return self._store.db.execute(_ANSWERED, values).fetchall()
