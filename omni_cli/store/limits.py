"""Limits by the minute and at once that gateways keep together in PostgreSQL.

One round trip a request: a function of the database's own judges and counts, one at a time of a
name, by the database's clock. Its tables are not logged: what a server that crashed has forgotten
is counted anew. A minute's requests are weighed with those of the minute before, by how much of
that still lies within the last sixty seconds; tokens are those of the minute that runs.
"""

import json
from collections.abc import Collection, Mapping

from omni_cli.records import Verdict
from omni_cli.store.port import among
from omni_cli.store.postgres import PgConnection, named

#: An answer that takes longer is none, seconds: a request waits for it.
_PATIENCE_S = 0.5
_ENTER = "SELECT * FROM omni_enter(?, ?, ?, ?, ?, ?, ?)"
_SPEND = """
INSERT INTO limit_windows (name, minute, requests, tokens)
VALUES (?, floor(extract(epoch FROM clock_timestamp()) / 60)::bigint, 0, ?)
ON CONFLICT (name, minute) DO UPDATE SET tokens = limit_windows.tokens + excluded.tokens
"""
_RENEW = f"""
UPDATE limit_places SET until_at = (extract(epoch FROM clock_timestamp()) * 1000)::bigint + ?
WHERE place {among("?")}
"""  # noqa: S608  # a mark only


class LimitStore:
    """One connection of its own, for one thread at a time. All raise StoreError where the database
    does not answer."""

    def __init__(self, url: str, env: Mapping[str, str]) -> None:
        self.where = named(url, env)
        self._db = PgConnection(url, self.where, patience_s=_PATIENCE_S)

    def enter(
        self,
        name: str,
        *,
        rpm: int | None,
        tpm: int | None,
        tokens: int,
        most: int | None,
        place: int,
        held_ms: int,
    ) -> Verdict:
        """Count a request in, or say what refuses it.

        Args:
            most: requests at once; ``place`` is then held for ``held_ms``.
        """
        values = (name, rpm, tpm, tokens, most, place, held_ms)
        refused, left_requests, left_tokens, wait_ms = self._db.execute(_ENTER, values).fetchone()
        return Verdict(refused, left_requests, left_tokens, wait_ms)

    def spend(self, name: str, tokens: int) -> None:
        """Count tokens that were used."""
        self._db.execute(_SPEND, (name, tokens))

    def renew(self, places: Collection[int], held_ms: int) -> None:
        self._db.execute(_RENEW, (held_ms, json.dumps(list(places))))

    def leave(self, place: int) -> None:
        self._db.execute("DELETE FROM limit_places WHERE place = ?", (place,))

    def close(self) -> None:
        self._db.close()
