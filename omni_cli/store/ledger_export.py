"""The ledger's raw rows in the order of time, streamed: memory does not grow with them."""

from collections.abc import Iterator
from typing import Any

from omni_cli.store.connection import Store

_REQUESTS = """
SELECT * FROM requests WHERE created_at >= ? AND created_at < ? ORDER BY created_at, id
"""
_ATTEMPTS = """
SELECT a.*, (SELECT sum(delta_nusd) FROM adjustments j WHERE j.request = a.request AND j.n = a.n)
    AS adjusted_nusd
FROM attempts a WHERE request = ? ORDER BY n
"""


class LedgerExport:
    def __init__(self, store: Store) -> None:
        self._store = store

    def requests(self, start_ms: int, end_ms: int) -> Iterator[dict[str, Any]]:
        """Rows of ``requests`` by column name, oldest first."""
        for row in self._store.db.execute(_REQUESTS, (start_ms, end_ms)):
            yield dict(row)

    def attempts(self, request: int) -> list[dict[str, Any]]:
        """Rows of ``attempts``, in order, with the sum of later corrections (None: none)."""
        return [dict(row) for row in self._store.db.execute(_ATTEMPTS, (request,))]
