"""What a status line reads: a few sums, each in one statement of either engine.

Nothing but the standard library's SQLite is imported, and that once a store is opened here: this is
read by a process of its own each time that a prompt is drawn (statusline.py).
"""

from __future__ import annotations

import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from omni_cli.domain.blocks import HourUse
    from omni_cli.store.port import Connection

#: How long it waits for whoever has the store to itself for a moment, s.
_PATIENCE_S = 1.0
_DAY_S = 86_400
#: Of an agent with its sub-agents.
_COUNTS = """state NOT IN ('pending', 'refused')
    AND (:agent = '' OR agent = :agent OR agent LIKE :within)"""
#: By the hour: from the rows themselves, for rollups know no hour of an agent.
_HOURS = f"""
SELECT model, min(created_at), max(created_at), count(*), sum(input_tokens), sum(cached_tokens),
    sum(cache_write_tokens), sum(output_tokens), sum(coalesce(cost_nusd, 0) + adjusted_nusd),
    sum(CASE WHEN cost_nusd IS NULL THEN 1 ELSE 0 END)
FROM requests
WHERE created_at BETWEEN :first AND :last AND {_COUNTS}
GROUP BY created_at / 3600000, model
"""  # noqa: S608  # texts of ours only
#: From call to call, never through all of them: back in steps of up to five hours until nothing was
#: called for so long, which begins a block anew, and from there on from block to block
#: (domain/blocks.py).
_BLOCK = f"""
WITH RECURSIVE back (at) AS (
    SELECT (SELECT created_at FROM requests WHERE created_at <= :last AND {_COUNTS}
        ORDER BY created_at DESC LIMIT 1)
    UNION ALL
    SELECT (SELECT created_at FROM requests
        WHERE created_at >= back.at - 18000000 AND created_at < back.at AND {_COUNTS}
        ORDER BY created_at LIMIT 1)
    FROM back WHERE back.at IS NOT NULL
), block (at) AS (
    SELECT min(at) FROM back
    UNION ALL
    SELECT (SELECT created_at FROM requests
        WHERE created_at >= block.at / 3600000 * 3600000 + 18000000 AND created_at <= :last
            AND {_COUNTS}
        ORDER BY created_at LIMIT 1)
    FROM block WHERE block.at IS NOT NULL
)
SELECT max(at) FROM block
"""  # noqa: S608  # texts of ours only
_KNOWN = "SELECT sum(cost_nusd), sum(unknown_attempts), sum(attempts) FROM"
_TODAY = f"{_KNOWN} rollup_day WHERE day = ?"
_BEGAN = "SELECT min(first_at) FROM sessions WHERE id = ? OR (parent = ? AND parent <> '')"
#: With its sub-agents'. From the day that it began on: the day leads the table's key.
_SESSION = f"""{_KNOWN} rollup_session WHERE day >= ? AND (session = ?
    OR session IN (SELECT id FROM sessions WHERE parent = ? AND parent <> ''))"""  # noqa: S608  # texts of ours only
_WINDOW = "SELECT context_window FROM models WHERE id = ?"
_LOGS = "SELECT path, bytes, changed_ns, read_at FROM log_files WHERE source = ? AND path IN"
_ANY_LOG = "SELECT 1 FROM log_files WHERE source = ? LIMIT 1"


def hours(db: Connection, first_ms: int, last_ms: int, agent: str = "") -> list[HourUse]:
    """Use by hour and model, of an agent with its sub-agents, or of everything."""
    values = {"first": first_ms, "last": last_ms, "agent": agent, "within": f"{agent}:%"}
    uses: Iterable[Any] = db.execute(_HOURS, values)
    return [tuple(row) for row in uses]


def block_began(db: Connection, last_ms: int, agent: str = "") -> int | None:
    """The first call of the last block of five hours that began until then, ms UTC."""
    values = {"last": last_ms, "agent": agent, "within": f"{agent}:%"}
    began: int | None = db.execute(_BLOCK, values).fetchone()[0]
    return began


class Figures:
    """Args:
    db: of either engine.
    day: which is today, as rollups write it (yyyymmdd).
    """

    def __init__(self, db: Connection, day: int) -> None:
        self._db = db
        self._day = day

    def today(self) -> tuple[int, int, int]:
        """Nano-dollars, and to how many tries of how many they add nothing."""
        return self._sums(_TODAY, (self._day,))

    def session(self, name: str) -> tuple[int, int, int]:
        """The same of a session, with its sub-agents'."""
        (began,) = self._db.execute(_BEGAN, (name, name)).fetchone()
        first = 0
        if began is not None:  # whichever zone days are of
            at = time.gmtime(began / 1000 - _DAY_S)
            first = at.tm_year * 10_000 + at.tm_mon * 100 + at.tm_mday
        return self._sums(_SESSION, (first, name, name))

    def _sums(self, sql: str, values: tuple[object, ...]) -> tuple[int, int, int]:
        cost, unknown, tries = self._db.execute(sql, values).fetchone()
        return cost or 0, unknown or 0, tries or 0

    def block(self, agent: str, last_ms: int) -> list[HourUse]:
        """Use in the last block of five hours, by hour and model."""
        began = block_began(self._db, last_ms, agent)
        return [] if began is None else hours(self._db, began, last_ms, agent)

    def window(self, model: str) -> int | None:
        """The context window of a model, tokens."""
        row = self._db.execute(_WINDOW, (model,)).fetchone()
        return None if row is None else row[0]

    def logs(self, source: str, paths: Sequence[str]) -> dict[str, tuple[int, int, int]] | None:
        """Path -> size and time of change (ns) when it was read, and when that was (ms); None where
        none of this source's ever was."""
        if self._db.execute(_ANY_LOG, (source,)).fetchone() is None:
            return None
        marks = ", ".join("?" * len(paths))
        rows = self._db.execute(f"{_LOGS} ({marks})", (source, *paths))
        return {path: (size, changed_ns, read_at) for path, size, changed_ns, read_at in rows}


def open_to_read(path: str, keys: Sequence[str]) -> tuple[Connection, int, dict[str, str]] | None:
    """A store's connection, the number of its schema, and what its ``meta`` has of these keys; None
    where there is no such file."""
    if not os.path.isfile(path):  # noqa: PTH113  # pathlib takes as long as all the rest
        return None
    import sqlite3

    name = path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")
    db: Any = sqlite3.connect(
        f"file:{name}?mode=ro", uri=True, timeout=_PATIENCE_S, isolation_level=None
    )
    (schema,) = db.execute("PRAGMA user_version").fetchone()
    marks = ", ".join("?" * len(keys))
    rows = db.execute(f"SELECT key, value FROM meta WHERE key IN ({marks})", keys)  # noqa: S608  # marks
    return db, schema, dict(rows)
