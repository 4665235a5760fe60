"""Providers, and the states of circuit breakers that all processes share."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import convert

from omni_cli.domain.models import Provider, ProviderStatus
from omni_cli.domain.record import asdict
from omni_cli.records import Lock
from omni_cli.store.port import Row, Table
from omni_cli.store.slots import NO_LIMIT

if TYPE_CHECKING:
    from omni_cli.repositories import BreakerChange

_SELECT = "SELECT * FROM providers"
#: The columns that are the fields of a ``Provider``; the others tell of its last test.
FIELDS = Provider.__struct_fields__
_UPSERT = f"""
INSERT INTO providers ({", ".join(FIELDS)}) VALUES ({", ".join(f":{name}" for name in FIELDS)})
ON CONFLICT (slug) DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in FIELDS)}
"""  # noqa: S608  # names of ours only
_TESTED = """
UPDATE providers SET status = :status, tested_at = :at, test_latency_ms = :latency_ms,
                     last_error = :error
WHERE slug = :slug
"""


class ProviderStore(Table):
    def all(self) -> list[Provider]:
        """Sorted by slug."""
        return [_provider(row) for row in self._store.db.execute(f"{_SELECT} ORDER BY slug")]

    def get(self, slug: str) -> Provider | None:
        row = self._store.db.execute(f"{_SELECT} WHERE slug = ?", (slug,)).fetchone()
        return None if row is None else _provider(row)

    def put(self, provider: Provider) -> None:
        with self._store.transaction(Lock.FLEET) as db:
            db.execute(_UPSERT, _values(provider))

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


def _values(provider: Provider) -> dict[str, Any]:
    values = asdict(provider)
    values["headers"] = json.dumps(dict(provider.headers), sort_keys=True)
    values["max_concurrency"] = provider.max_concurrency or NO_LIMIT
    return values


def _provider(row: Row) -> Provider:
    values = {name: row[name] for name in FIELDS}
    values["headers"] = msgspec.json.decode(row["headers"])
    values["max_concurrency"] = (
        None if row["max_concurrency"] == NO_LIMIT else row["max_concurrency"]
    )
    return convert(values, Provider, strict=False)


class BreakerStore(Table):
    def all(self) -> Mapping[str, str]:
        return {
            row["target"]: row["state"]
            for row in self._store.db.execute("SELECT target, state FROM breakers")
        }

    def get(self, target: str) -> str | None:
        return self._value(str, "SELECT state FROM breakers WHERE target = ?", (target,))

    def update(self, target: str, change: BreakerChange, *, now_ms: int) -> None:
        """Read, change and write in one transaction; an unchanged state writes nothing."""
        with self._store.transaction(Lock.HEALTH) as db:
            row = db.execute("SELECT state FROM breakers WHERE target = ?", (target,)).fetchone()
            old = None if row is None else str(row[0])
            new = change(old)
            if new != old:
                db.execute(
                    "INSERT INTO breakers VALUES (?, ?, ?) ON CONFLICT (target)"
                    " DO UPDATE SET state = excluded.state, updated_at = excluded.updated_at",
                    (target, new, now_ms),
                )
