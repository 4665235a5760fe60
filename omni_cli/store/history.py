"""The ledger's past as replays, advice and exports read it: memory does not grow with it."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from omni_cli.domain.batch import unpack_decision
from omni_cli.domain.chat import Usage, message_from
from omni_cli.domain.ids import make_id
from omni_cli.domain.recommend_traffic import Repeats
from omni_cli.records import Answered
from omni_cli.store.port import Row, Table
from omni_cli.store.rows import TOKEN_COLUMNS

# One attempt: the tokens of several are not one answer's.
_WHICH = (
    "r.created_at >= :since AND r.state = 'ok' AND r.attempts = 1"
    " AND r.source IN ('chat', 'gateway', 'demo')"
)
_IDS = (
    f"SELECT r.id FROM requests r JOIN decisions d ON d.request = r.id WHERE {_WHICH}"  # noqa: S608  # names of ours only
    " ORDER BY r.id"
)
_ROW = (
    f"SELECT r.model, {', '.join(f'r.{name}' for name in TOKEN_COLUMNS)}, d.decision"  # noqa: S608  # names of ours only
    " FROM requests r JOIN decisions d ON d.request = r.id WHERE r.id = ?"
)


class DecisionStore(Table):
    def ids(self, since_ms: int) -> list[int]:
        """Answered requests with a decision, oldest first."""
        return [row[0] for row in self._store.db.execute(_IDS, {"since": since_ms})]

    def each(self, ids: list[int]) -> Iterator[tuple[str, Usage, str]]:
        """(who answered, tokens, the decision as JSON text) of each."""
        for request in ids:
            row = self._store.db.execute(_ROW, (request,)).fetchone()
            if row is not None:
                usage = Usage(**{name: row[name] for name in TOKEN_COLUMNS})
                yield row["model"], usage, unpack_decision(row["decision"])


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
#: The newest answered requests: of a model in a role; of all other models without a role; of a
#: model at a task without a role.
_ANSWERED = """
SELECT r.id, r.model, r.task, r.latency_ms, r.ttft_ms, r.cost_nusd, r.price_state, r.finish_reason,
    max(t.conversation) AS conversation, max(t.n) AS n
FROM requests r JOIN turns t ON t.request = r.id
WHERE r.state = 'ok' AND CASE :scope WHEN 'role' THEN r.model = :model AND r.role = :name
    WHEN 'auto' THEN r.model <> :model AND r.role = ''
    ELSE r.model = :model AND r.role = '' AND r.task = :name END
GROUP BY r.id ORDER BY r.id DESC LIMIT :most
"""


class StoredQuestions(Table):
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
            *asked, answer = [message_from(json.loads(text)) for (text,) in turns]
            plain = all(not m.tool_calls and m.role != "tool" for m in (*asked, answer))
            if not asked or answer.role != "assistant" or asked[-1].role != "user" or not plain:
                continue
            found.append(
                Answered(
                    request=row["id"],
                    model=row["model"],
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


_REQUESTS = """
SELECT * FROM requests WHERE created_at >= ? AND created_at < ? ORDER BY created_at, id
"""
_ATTEMPTS = """
SELECT a.*, (SELECT sum(delta_nusd) FROM adjustments j WHERE j.request = a.request AND j.n = a.n)
    AS adjusted_nusd
FROM attempts a WHERE request = ? ORDER BY n
"""


class LedgerExport(Table):
    def requests(self, start_ms: int, end_ms: int) -> Iterator[dict[str, Any]]:
        """Rows of ``requests`` by column name, oldest first."""
        for row in self._store.db.execute(_REQUESTS, (start_ms, end_ms)):
            yield dict(row)

    def attempts(self, request: int) -> list[dict[str, Any]]:
        """Rows of ``attempts``, in order, with the sum of later corrections (None: none)."""
        return [dict(row) for row in self._store.db.execute(_ATTEMPTS, (request,))]
