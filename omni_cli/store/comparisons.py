"""Comparisons and their answers: what was paid for once is never asked for again."""

import json
from collections.abc import Mapping
from typing import Any

from omni_cli.domain.errors import NotFound
from omni_cli.domain.ids import parse_id
from omni_cli.records import ComparisonRow, JudgementRow, Lock, ResultRow
from omni_cli.store.port import Table, read

_RESULT_FIELDS = ResultRow.__struct_fields__
_PUT = f"""
INSERT INTO comparison_results (comparison, {", ".join(_RESULT_FIELDS)})
VALUES (:comparison, {", ".join(f":{name}" for name in _RESULT_FIELDS)})
ON CONFLICT (comparison, prompt, contender, iteration) DO UPDATE SET
    {", ".join(f"{n} = excluded.{n}" for n in _RESULT_FIELDS if n != "earlier_nusd")},
    earlier_nusd = comparison_results.earlier_nusd
        + coalesce(comparison_results.cost_nusd, 0)
"""  # noqa: S608  # column names only


class ComparisonStore(Table):
    """Writes join the caller's transaction when there is one."""

    def create(self, comparison: int, plan: Mapping[str, Any], *, at_ms: int) -> None:
        with self._store.transaction(Lock.COMPARISONS) as db:
            db.execute(
                "INSERT INTO comparisons VALUES (?, ?, ?, 'running', ?)",
                (comparison, at_ms, at_ms, json.dumps(plan, ensure_ascii=False)),
            )

    def set_state(self, comparison: int, state: str, *, at_ms: int) -> None:
        """``running``, ``stopped`` or ``complete``."""
        with self._store.transaction(Lock.COMPARISONS) as db:
            db.execute(
                "UPDATE comparisons SET state = ?, updated_at = ? WHERE id = ?",
                (state, at_ms, comparison),
            )

    def find(self, text: str) -> ComparisonRow:
        """The one whose id is or begins with ``text``; "last" is the newest. Raises NotFound."""
        if text == "last":
            rows = self._store.db.execute(
                "SELECT * FROM comparisons ORDER BY id DESC LIMIT 1"
            ).fetchall()
        else:
            span = parse_id(text)
            rows = (
                []
                if span is None
                else self._store.db.execute(
                    "SELECT * FROM comparisons WHERE id BETWEEN ? AND ? LIMIT 2", span
                ).fetchall()
            )
        if len(rows) != 1:
            word = "more than one comparison begins with" if rows else "no comparison"
            raise NotFound(f"{word} {text!r}", hint="omni compare --list shows them")
        return read(ComparisonRow, rows[0], "plan")

    def recent(self, *, limit: int = 50) -> list[ComparisonRow]:
        """Newest first."""
        rows = self._store.db.execute(
            "SELECT * FROM comparisons ORDER BY id DESC LIMIT ?", (limit,)
        )
        return [read(ComparisonRow, row, "plan") for row in rows]

    def put_result(self, comparison: int, row: ResultRow) -> None:
        """Keep an answer; one that replaces a failed try adds that one's cost to earlier."""
        with self._store.transaction(Lock.COMPARISONS) as db:
            values = {name: getattr(row, name) for name in _RESULT_FIELDS}
            db.execute(_PUT, {**values, "comparison": comparison})

    def results(self, comparison: int) -> list[ResultRow]:
        rows = self._store.db.execute(
            "SELECT * FROM comparison_results WHERE comparison = ?", (comparison,)
        )
        return [read(ResultRow, row) for row in rows]

    def put_judgement(self, comparison: int, row: JudgementRow) -> None:
        with self._store.transaction(Lock.COMPARISONS) as db:
            db.execute(
                "INSERT INTO comparison_judgements VALUES (?, ?, ?, ?, ?, ?, ?)"
                " ON CONFLICT (comparison, prompt, iteration, turn) DO UPDATE SET"
                " request = excluded.request, scores = excluded.scores,"
                " cost_nusd = coalesce(comparison_judgements.cost_nusd, 0) + excluded.cost_nusd",
                (
                    comparison,
                    row.prompt,
                    row.iteration,
                    row.turn,
                    row.request,
                    json.dumps(dict(row.scores)),
                    row.cost_nusd,
                ),
            )

    def judgements(self, comparison: int) -> list[JudgementRow]:
        rows = self._store.db.execute(
            "SELECT * FROM comparison_judgements WHERE comparison = ?", (comparison,)
        )
        return [read(JudgementRow, row, "scores") for row in rows]

    def ratings(self, requests: list[int]) -> dict[int, float]:
        """The user's own stars and thumbs of these requests, 0..1."""
        found: dict[int, float] = {}
        for start in range(0, len(requests), 500):
            some = requests[start : start + 500]
            marks = ", ".join("?" * len(some))
            sql = (
                "SELECT request, value FROM outcomes WHERE kind IN ('rating', 'thumb')"  # noqa: S608  # names of ours only
                f" AND request IN ({marks}) ORDER BY id"
            )
            for row in self._store.db.execute(sql, some):
                found[row["request"]] = row["value"]
        return found

    def spent_nusd(self, comparison: int) -> int:
        """Everything that its calls have cost so far, as far as it is known."""
        row = self._store.db.execute(
            "SELECT (SELECT coalesce(sum(coalesce(cost_nusd, 0) + earlier_nusd), 0)"
            "        FROM comparison_results WHERE comparison = :id)"
            "     + (SELECT coalesce(sum(cost_nusd), 0)"
            "        FROM comparison_judgements WHERE comparison = :id)",
            {"id": comparison},
        ).fetchone()
        return int(row[0])
