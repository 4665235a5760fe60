"""Providers table."""

import json
from sqlite3 import Row

from omni_cli.domain.models import Provider, ProviderStatus
from omni_cli.repositories import Lock
from omni_cli.store.connection import Store
from omni_cli.store.slots import NO_LIMIT

_SELECT = "SELECT * FROM providers"
_UPSERT = """
INSERT INTO providers (slug, name, protocol, base_url, auth_method, key_env, enabled,
                       max_concurrency, status, simulated, headers)
VALUES (:slug, :name, :protocol, :base_url, :auth_method, :key_env, :enabled,
        :max_concurrency, :status, :simulated, :headers)
ON CONFLICT (slug) DO UPDATE SET
    name = excluded.name, protocol = excluded.protocol, base_url = excluded.base_url,
    auth_method = excluded.auth_method, key_env = excluded.key_env,
    enabled = excluded.enabled, max_concurrency = excluded.max_concurrency,
    status = excluded.status, simulated = excluded.simulated, headers = excluded.headers
"""
_TESTED = """
UPDATE providers SET status = :status, tested_at = :at, test_latency_ms = :latency_ms,
                     last_error = :error
WHERE slug = :slug
"""


class ProviderStore:
    def __init__(self, store: Store) -> None:
        self._store = store

    def all(self) -> list[Provider]:
        """Sorted by slug."""
        return [_provider(row) for row in self._store.db.execute(f"{_SELECT} ORDER BY slug")]

    def get(self, slug: str) -> Provider | None:
        row = self._store.db.execute(f"{_SELECT} WHERE slug = ?", (slug,)).fetchone()
        return None if row is None else _provider(row)

    def put(self, provider: Provider) -> None:
        with self._store.transaction(Lock.FLEET) as db:
            db.execute(
                _UPSERT,
                {
                    "slug": provider.slug,
                    "name": provider.name,
                    "protocol": provider.protocol,
                    "base_url": provider.base_url,
                    "auth_method": provider.auth_method,
                    "key_env": provider.key_env,
                    "enabled": int(provider.enabled),
                    "max_concurrency": provider.max_concurrency or NO_LIMIT,
                    "status": provider.status,
                    "simulated": int(provider.simulated),
                    "headers": json.dumps(dict(provider.headers), sort_keys=True),
                },
            )

    def delete(self, slug: str) -> None:
        with self._store.transaction(Lock.FLEET) as db:
            db.execute("DELETE FROM providers WHERE slug = ?", (slug,))

    def record_test(
        self,
        slug: str,
        status: ProviderStatus,
        *,
        at_ms: int,
        latency_ms: int | None,
        error: str | None,
    ) -> None:
        with self._store.transaction(Lock.FLEET) as db:
            db.execute(
                _TESTED,
                {
                    "slug": slug,
                    "status": status,
                    "at": at_ms,
                    "latency_ms": latency_ms,
                    "error": error,
                },
            )

    def last_test(self, slug: str) -> tuple[int, int | None, str | None] | None:
        """(when in ms UTC, latency in ms, error) of the last test, or None."""
        row = self._store.db.execute(
            "SELECT tested_at, test_latency_ms, last_error FROM providers WHERE slug = ?", (slug,)
        ).fetchone()
        return None if row is None or row[0] is None else (row[0], row[1], row[2])


def _provider(row: Row) -> Provider:
    return Provider(
        slug=row["slug"],
        name=row["name"],
        protocol=row["protocol"],
        base_url=row["base_url"],
        auth_method=row["auth_method"],
        key_env=row["key_env"],
        enabled=bool(row["enabled"]),
        max_concurrency=None if row["max_concurrency"] == NO_LIMIT else row["max_concurrency"],
        status=row["status"],
        simulated=bool(row["simulated"]),
        headers=json.loads(row["headers"]),
    )
